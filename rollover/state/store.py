"""States, intents and events, in SQLite with synchronous=FULL.

One small interface, plain SQL: another engine can stand here. Every effect has its intent in a
transaction before it and its outcome in one after it; a run that dies in between is found by the
next one. Keys are never in here (see vault.py).
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from rollover.core.errors import StateError
from rollover.core.ledger import Ledger
from rollover.core.model import Book, Standing
from rollover.core.timing import Instant, parse_stamp
from rollover.core.tlsa import EMPTY, RRset, Tlsa
from rollover.state import codec
from rollover.state.schema import TABLES, VERSION

BUSY_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Event:
    """One line of history."""

    time: datetime
    service: str
    kind: str
    text: str
    detail: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class OpenIntent:
    """An effect that was begun and whose outcome nobody wrote."""

    id: int
    service: str
    kind: str
    detail: Mapping[str, Any]
    at: Instant


class Store:
    """The database of one host. Not shared between threads."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._db = connection
        self._path = path

    @classmethod
    def open(cls, path: Path, *, write: bool = True) -> Store:
        """Open the database, making it when *write*; else it is opened read-only and may be absent.

        Raises StateError for one that is corrupt, from a newer version, or cannot be opened.
        """
        try:
            if write:
                made = not path.exists()
                connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None)
                if made:
                    path.chmod(0o600)
            elif path.exists():
                connection = sqlite3.connect(
                    f"file:{path}?mode=ro", uri=True, timeout=BUSY_SECONDS, isolation_level=None
                )
            else:
                connection = sqlite3.connect(":memory:", isolation_level=None)
            store = cls(connection, path)
            store._prepare(make=write or not path.exists())
        except (sqlite3.Error, OSError) as error:
            raise _state_error(path, error) from error
        return store

    def _prepare(self, *, make: bool) -> None:
        self._db.execute("PRAGMA synchronous = FULL")  # an outcome that was told must survive a power cut
        self._db.execute("PRAGMA foreign_keys = ON")
        version = self._db.execute("PRAGMA user_version").fetchone()[0]
        if version == 0 and make:
            with self.transaction():
                if self._db.execute("PRAGMA user_version").fetchone()[0] == 0:  # another run may have been first
                    for statement in TABLES.split(";"):
                        if statement.strip():
                            self._db.execute(statement)
                    self._db.execute(f"PRAGMA user_version = {VERSION}")
        elif version > VERSION:
            raise StateError(
                f"{self._path} was written by a newer version of rollover (schema {version}, this one knows {VERSION})",
                hint="install that version again, or restore the backup that was made before it",
            )
        elif version != VERSION:
            raise StateError(f"{self._path} is no database of rollover", hint="check `state` in the configuration")

    def close(self) -> None:
        """Close the database."""
        self._db.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing; on disk when the block is left. Nested ones join the outer one."""
        if self._db.in_transaction:
            yield
            return
        self._rows("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._roll_back()
            raise
        self._rows("COMMIT")

    def _roll_back(self) -> None:
        if self._db.in_transaction:  # some errors, a full disk among them, have rolled back already
            self._db.execute("ROLLBACK")

    def _rows(self, sql: str, *values: object) -> list[Any]:
        try:
            return self._db.execute(sql, values).fetchall()
        except sqlite3.Error as error:
            raise _state_error(self._path, error) from error

    def _do(self, sql: str, *values: object) -> None:
        with self.transaction():
            self._rows(sql, *values)

    # ---------------------------------------------------------------- services

    def book(self, service: str) -> Book:
        """Return what is remembered of *service*; an empty book for one never seen."""
        rows = self._rows("SELECT book FROM service WHERE name = ?", service)
        if not rows:
            return Book()
        standings = {
            f: codec.standing_in(state, previous, blocked, since)
            for f, state, previous, blocked, since in self._rows(
                "SELECT fingerprint, state, previous, blocked, since FROM standing WHERE service = ?", service
            )
        }
        return codec.book_in(rows[0][0], standings)

    def save_book(self, service: str, book: Book, before: Book | None = None) -> None:
        """Store *book*; of the standings only those that differ from *before*."""
        with self.transaction():
            self._rows(
                "INSERT INTO service (name, book) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET book = excluded.book",
                service,
                codec.book_out(book),
            )
            known: Mapping[str, Standing] = before.standings if before is not None else {}
            for fingerprint, it in book.standings.items():
                if known.get(fingerprint) != it:
                    self._rows(
                        "INSERT INTO standing (service, fingerprint, state, previous, blocked, since) VALUES (?, ?, ?, ?, ?, ?)"
                        " ON CONFLICT (service, fingerprint) DO UPDATE SET state = excluded.state,"
                        " previous = excluded.previous, blocked = excluded.blocked, since = excluded.since",
                        service,
                        fingerprint,
                        it.state.value,
                        it.previous,
                        it.blocked,
                        codec.since_out(it.since),
                    )

    def forget_standing(self, service: str, fingerprint: str) -> None:
        """Drop one standing: the service shall meet that certificate as a new one."""
        self._do("DELETE FROM standing WHERE service = ? AND fingerprint = ?", service, fingerprint)

    def forget_service(self, service: str) -> None:
        """Drop the book of a released service; its history and credentials stay."""
        with self.transaction():
            for table, column in (
                ("service", "name"),
                ("standing", "service"),
                ("inbox", "service"),
                ("rejected", "service"),
            ):
                self._rows(f"DELETE FROM {table} WHERE {column} = ?", service)  # noqa: S608  (constants)

    def report(self, service: str) -> dict[str, Any] | None:
        """Return the report of the last look, None before the first."""
        rows = self._rows("SELECT report FROM service WHERE name = ?", service)
        return json.loads(rows[0][0]) if rows and rows[0][0] else None

    def save_report(self, service: str, report: Mapping[str, Any], due: datetime | None) -> None:
        """Store the report of a look, and not before when the next one is needed."""
        self._do(
            "UPDATE service SET report = ?, due = ? WHERE name = ?",
            json.dumps(report),
            due.isoformat() if due else None,
            service,
        )

    def due(self, service: str) -> datetime | None:
        """Return not before when a look is needed; None for at once."""
        rows = self._rows("SELECT due FROM service WHERE name = ?", service)
        return parse_stamp(rows[0][0]) if rows and rows[0][0] else None

    def wake(self, service: str) -> None:
        """Make a look due at once."""
        self._do("UPDATE service SET due = NULL WHERE name = ?", service)

    def restore(self, service: str) -> dict[str, Any] | None:
        """Return what adopt noted of the mail servers' parameters, None if nothing."""
        rows = self._rows("SELECT restore FROM service WHERE name = ?", service)
        return json.loads(rows[0][0]) if rows and rows[0][0] else None

    def save_restore(self, service: str, it: Mapping[str, Any]) -> None:
        """Note the mail servers' parameters from before adopt, for release."""
        self._do("UPDATE service SET restore = ? WHERE name = ?", json.dumps(it), service)

    # ------------------------------------------------------------- credentials

    def add_credential(self, fingerprint: str, spki: str, at: datetime) -> None:
        """Note that the vault holds a credential; again is no error."""
        self._do(
            "INSERT OR IGNORE INTO credential (fingerprint, spki, staged) VALUES (?, ?, ?)",
            fingerprint,
            spki,
            at.isoformat(),
        )

    def fingerprints(self) -> list[str]:
        """Return every credential that the vault was given, oldest first."""
        return [r[0] for r in self._rows("SELECT fingerprint FROM credential ORDER BY staged, fingerprint")]

    def with_keys(self, spkis: Iterable[str]) -> set[str]:
        """Return the fingerprints of the credentials that have one of the keys *spkis*."""
        return {r[0] for spki in spkis for r in self._rows("SELECT fingerprint FROM credential WHERE spki = ?", spki)}

    def put_in_inbox(self, service: str, fingerprint: str, at: datetime) -> None:
        """Hand a staged credential to the next run that holds the lock; needs no lock itself."""
        self._do(
            "INSERT OR IGNORE INTO inbox (service, fingerprint, at) VALUES (?, ?, ?)",
            service,
            fingerprint,
            at.isoformat(),
        )

    def inbox(self, service: str) -> list[str]:
        """Return what waits in the inbox, in the order in which it came."""
        return [r[0] for r in self._rows("SELECT fingerprint FROM inbox WHERE service = ? ORDER BY at, rowid", service)]

    def take_from_inbox(self, service: str, fingerprint: str) -> None:
        """Drop one credential from the inbox: it is in the book now."""
        self._do("DELETE FROM inbox WHERE service = ? AND fingerprint = ?", service, fingerprint)

    def knows(self, service: str, fingerprint: str) -> bool:
        """Tell whether *service* was ever given this credential."""
        return bool(
            self._rows("SELECT 1 FROM standing WHERE service = ? AND fingerprint = ?", service, fingerprint)
            or self._rows("SELECT 1 FROM inbox WHERE service = ? AND fingerprint = ?", service, fingerprint)
        )

    def rejection(self, service: str) -> tuple[str, str] | None:
        """Return (digest, reason) of what the source holds and cannot be served."""
        rows = self._rows("SELECT digest, reason FROM rejected WHERE service = ?", service)
        return (rows[0][0], rows[0][1]) if rows else None

    def reject(self, service: str, digest: str, reason: str) -> None:
        """Note that the source's present content cannot be served; an empty digest clears the note."""
        with self.transaction():
            self._rows("DELETE FROM rejected WHERE service = ?", service)
            if digest:
                self._rows("INSERT INTO rejected (service, digest, reason) VALUES (?, ?, ?)", service, digest, reason)

    # --------------------------------------------------------------------- DNS

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
        return dict(self._rows("SELECT owner, target FROM alias"))

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
            target: frozenset(
                Tlsa.from_wire(bytes.fromhex(r[0]))
                for r in self._rows("SELECT rdata FROM managed WHERE target = ?", target)
            )
            or EMPTY
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
        return [r[0] for r in self._rows("SELECT name FROM zone")]

    def zone(self, name: str) -> tuple[Instant | None, dict[str, Any]]:
        """Return when we last updated *name*, and the servers seen in its NS set."""
        rows = self._rows("SELECT updated, servers FROM zone WHERE name = ?", name)
        if not rows:
            return None, {}
        return codec.instant_in(json.loads(rows[0][0])) if rows[0][0] else None, json.loads(rows[0][1] or "{}")

    def save_zone(self, name: str, *, updated: Instant | None = None, servers: Mapping[str, Any] | None = None) -> None:
        """Note an update of a zone, or its servers; what is not given stays."""
        with self.transaction():
            self._rows("INSERT OR IGNORE INTO zone (name) VALUES (?)", name)
            if updated is not None:
                self._rows("UPDATE zone SET updated = ? WHERE name = ?", json.dumps(codec.instant_out(updated)), name)
            if servers is not None:
                self._rows("UPDATE zone SET servers = ? WHERE name = ?", json.dumps(servers), name)

    # ------------------------------------------------------- intents and events

    def intend(self, service: str, kind: str, detail: Mapping[str, Any], at: Instant) -> int:
        """Write an intent before its effect; returns its number."""
        with self.transaction():
            self._rows(
                "INSERT INTO intent (service, kind, detail, at) VALUES (?, ?, ?, ?)",
                service,
                kind,
                json.dumps(detail),
                json.dumps(codec.instant_out(at)),
            )
            return int(self._rows("SELECT last_insert_rowid()")[0][0])

    def close_intent(self, number: int, outcome: str, at: datetime) -> None:
        """Write the outcome of an effect."""
        self._do("UPDATE intent SET closed = ?, outcome = ? WHERE id = ?", at.isoformat(), outcome, number)

    def open_intents(self, service: str) -> list[OpenIntent]:
        """Return the effects of *service* that were begun and never finished."""
        return [
            OpenIntent(i, service, kind, json.loads(detail), codec.surely(json.loads(at)))
            for i, kind, detail, at in self._rows(
                "SELECT id, kind, detail, at FROM intent WHERE closed IS NULL AND service = ? ORDER BY id", service
            )
        ]

    def event(self, service: str, kind: str, text: str, at: datetime, **detail: object) -> None:
        """Write one line of history."""
        self._do(
            "INSERT INTO event (time, service, kind, text, detail) VALUES (?, ?, ?, ?, ?)",
            at.isoformat(),
            service,
            kind,
            text,
            json.dumps(detail),
        )

    def event_once(self, service: str, kind: str, text: str, at: datetime, **detail: object) -> None:
        """Write a line of history unless the last one of the service says the same (a fault that stays)."""
        last = self.events(service, last=1)
        if not last or (last[0].kind, last[0].text) != (kind, text):
            self.event(service, kind, text, at, **detail)

    def events(self, service: str, *, last: int | None = None) -> list[Event]:
        """Return the history of *service*, oldest first; only the *last* ones when given."""
        rows = self._rows(
            "SELECT time, service, kind, text, detail FROM event WHERE service = ? ORDER BY id DESC LIMIT ?",
            service,
            -1 if last is None else last,
        )
        return [Event(parse_stamp(t), s, k, x, json.loads(d)) for t, s, k, x, d in reversed(rows)]

    def note(self, key: str, value: str | None = None) -> str | None:
        """Return a small fact under *key*; store *value* when given."""
        if value is not None:
            self._do(
                "INSERT INTO meta (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
                key,
                value,
            )
            return value
        rows = self._rows("SELECT value FROM meta WHERE key = ?", key)
        return rows[0][0] if rows else None


def _state_error(path: Path, error: Exception) -> StateError:
    if isinstance(error, StateError):
        return error
    text = str(error)
    if "malformed" in text or "not a database" in text:
        hint = f"restore {path} from a backup; what is served and published stays as it is. docs/state.md says how to start anew"
    elif "readonly" in text or "read-only" in text or "Permission" in text:
        hint = "the state directory has to be writable by the user that runs this (root); is the file system mounted read-only?"
    elif "full" in text:
        hint = f"make room on the file system of {path.parent}; nothing was lost, the next run goes on"
    elif "locked" in text:
        hint = "another run holds it for too long: `ps ax | grep rollover`; the next run goes on"
    else:
        hint = f"check `state` in the configuration and the rights of {path.parent}"
    return StateError(f"{path}: {text}", hint=hint)
