"""What is remembered of DNS: ledgers, targets, records that are ours, zones."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from rollover.core.ledger import Ledger
from rollover.core.timing import Instant
from rollover.core.tlsa import RRset
from rollover.state import codec
from rollover.state.database import Database


class Records(Database):
    """Rows of ``ledger``, ``alias``, ``managed`` and ``zone``."""

    def ledgers(self, owners: Iterable[str]) -> dict[str, Ledger]:
        """Return the ledgers of *owners*, those that exist."""
        found = {}
        for owner in owners:
            for (text,) in self._rows("SELECT entries FROM ledger WHERE owner = ?", owner):
                found[owner] = codec.ledger_in(owner, text)
        return found

    def ledgers_or_new(self, owners: Iterable[str]) -> dict[str, Ledger]:
        """Return the ledgers of *owners*, empty ones for those that have none."""
        owners = list(owners)
        return {o: Ledger(o) for o in owners} | self.ledgers(owners)

    def save_ledgers(self, ledgers: Iterable[Ledger]) -> None:
        """Store ledgers whole."""
        with self.transaction():
            for it in ledgers:
                self._rows(
                    "INSERT INTO ledger (owner, entries) VALUES (?, ?) ON CONFLICT (owner) DO UPDATE SET entries = excluded.entries",
                    it.owner,
                    codec.ledger_out(it),
                )

    def aliases(self) -> dict[str, str]:
        """Return the target of every owner that was ever looked at."""
        return {codec.text_in(o): codec.text_in(t) for o, t in self._rows("SELECT owner, target FROM alias")}

    def save_aliases(self, targets: Mapping[str, str]) -> None:
        """Note where the records of owners live."""
        with self.transaction():
            for owner, target in targets.items():
                self._rows(
                    "INSERT INTO alias (owner, target) VALUES (?, ?) ON CONFLICT (owner) DO UPDATE SET target = excluded.target",
                    owner,
                    target,
                )

    def managed(self, targets: Iterable[str]) -> dict[str, RRset]:
        """Return, by target, the records that this store added or adopted."""
        return {
            target: codec.records_in(r[0] for r in self._rows("SELECT rdata FROM managed WHERE target = ?", target))
            for target in targets
        }

    def manage(self, target: str, records: RRset) -> None:
        """Note records as ours; noted with the intent, before they exist."""
        with self.transaction():
            for record in records:
                self._rows(
                    "INSERT OR IGNORE INTO managed (target, rdata) VALUES (?, ?)", target, record.to_wire().hex()
                )

    def unmanage(self, target: str, records: RRset) -> None:
        """Forget that records are ours (release)."""
        with self.transaction():
            for record in records:
                self._rows("DELETE FROM managed WHERE target = ? AND rdata = ?", target, record.to_wire().hex())

    def zones(self) -> list[str]:
        """Return the zones of which anything is noted."""
        return [codec.text_in(r[0]) for r in self._rows("SELECT name FROM zone")]

    def zone(self, name: str) -> tuple[Instant | None, dict[str, Any]]:
        """Return when we last updated *name*, and the servers seen in its NS set."""
        rows = self._rows("SELECT updated, servers FROM zone WHERE name = ?", name)
        if not rows:
            return None, {}
        updated, servers = rows[0]
        return codec.instant_in(codec.list_in(updated)) if updated else None, codec.servers_in(servers or "{}")

    def save_zone(self, name: str, *, updated: Instant | None = None, servers: Mapping[str, Any] | None = None) -> None:
        """Note an update of a zone, or its servers; what is not given stays."""
        with self.transaction():
            self._rows("INSERT OR IGNORE INTO zone (name) VALUES (?)", name)
            if updated is not None:
                self._rows("UPDATE zone SET updated = ? WHERE name = ?", json.dumps(codec.instant_out(updated)), name)
            if servers is not None:
                self._rows("UPDATE zone SET servers = ? WHERE name = ?", json.dumps(servers), name)
