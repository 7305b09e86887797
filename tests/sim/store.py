"""The faster level: a store and a vault of Python values, under the same engine.

What is stored is immutable, so a transaction is the tables as they were, kept until it ends. The slower level,
with SQLite and files, has to tell the same story to the last word (test_schedules.py).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from rollover.core.errors import StateError
from rollover.core.ledger import Ledger
from rollover.core.model import Book, Standing
from rollover.core.timing import Instant
from rollover.core.tlsa import EMPTY, RRset
from rollover.state.journal import Event, OpenIntent
from rollover.state.services import Summary
from rollover.state.store import Store
from rollover.state.vault import Vault


@dataclass(frozen=True, slots=True)
class _Service:
    """A row of ``service``, its standings in the book."""

    book: Book
    report: Mapping[str, Any] | None = None
    due: datetime | None = None
    restore: Mapping[str, Any] | None = None


@dataclass(slots=True)
class _Tables:
    """All tables; each value in them is replaced, never changed."""

    services: dict[str, _Service] = field(default_factory=dict)
    credentials: dict[str, tuple[datetime, str]] = field(default_factory=dict)
    inbox: dict[tuple[str, str], datetime] = field(default_factory=dict)
    rejected: dict[str, tuple[str, str]] = field(default_factory=dict)
    ledgers: dict[str, Ledger] = field(default_factory=dict)
    aliases: dict[str, str] = field(default_factory=dict)
    managed: dict[str, RRset] = field(default_factory=dict)
    zones: dict[str, tuple[Instant | None, Mapping[str, Any]]] = field(default_factory=dict)
    intents: dict[int, OpenIntent] = field(default_factory=dict)  # the open ones
    notes: dict[str, str] = field(default_factory=dict)
    events: tuple[Event, ...] = ()
    numbered: int = 0

    def copy(self) -> _Tables:
        """Return tables that may be put back."""
        return replace(self, **{n: dict(it) for n in self.__slots__ if isinstance(it := getattr(self, n), dict)})


class MemoryStore(Store):
    """The store without a database. *on_commit* is called before each commit, and *committed* after it."""

    def __init__(self) -> None:
        self._it = _Tables()
        self._open = False
        self.on_commit: Callable[[], None] = lambda: None
        self.committed: Callable[[], None] = lambda: None

    def close(self) -> None:
        """There is nothing to close."""

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing; nested ones join the outer one."""
        if self._open:
            yield
            return
        before, self._open = self._it.copy(), True
        try:
            yield
            self.on_commit()
        except BaseException:
            self._it = before
            raise
        finally:
            self._open = False
        self.committed()

    # ------------------------------------------------------------------------------ services

    def book(self, service: str) -> Book:
        it = self._it.services.get(service)
        return it.book if it is not None else Book()

    def summaries(self) -> dict[str, Summary]:
        return {n: Summary(x.book.adopted, x.due, x.report) for n, x in self._it.services.items()}  # type: ignore[arg-type]

    def save_book(self, service: str, book: Book, before: Book | None = None) -> None:
        with self.transaction():
            it = self._it.services.get(service)
            stored: Mapping[str, Standing] = it.book.standings if it is not None else {}
            whole = replace(book, standings={**stored, **book.standings})
            self._it.services[service] = replace(it, book=whole) if it is not None else _Service(whole)

    def forget_standing(self, service: str, fingerprint: str) -> None:
        raise NotImplementedError("no walk takes a standing away")

    def forget_service(self, service: str) -> None:
        raise NotImplementedError("no walk releases a service")

    def report(self, service: str) -> dict[str, Any] | None:
        it = self._it.services.get(service)
        return dict(it.report) if it is not None and it.report is not None else None

    def save_report(self, service: str, report: Mapping[str, Any], due: datetime | None) -> None:
        self._change(service, report=report, due=due)

    def forget_report(self, service: str) -> None:
        self._change(service, report=None, due=None)

    def due(self, service: str) -> datetime | None:
        it = self._it.services.get(service)
        return it.due if it is not None else None

    def wake(self, service: str) -> None:
        self._change(service, due=None)

    def restore(self, service: str) -> dict[str, Any] | None:
        it = self._it.services.get(service)
        return dict(it.restore) if it is not None and it.restore is not None else None

    def save_restore(self, service: str, it: Mapping[str, Any]) -> None:
        self._change(service, restore=it)

    def _change(self, service: str, **values: Any) -> None:
        with self.transaction():
            if service in self._it.services:
                self._it.services[service] = replace(self._it.services[service], **values)

    # ------------------------------------------------------------------------------ inbox

    def add_credential(self, fingerprint: str, spki: str, at: datetime) -> None:
        with self.transaction():
            self._it.credentials.setdefault(fingerprint, (at, spki))

    def fingerprints(self) -> list[str]:
        return sorted(self._it.credentials, key=lambda f: (self._it.credentials[f][0], f))

    def with_keys(self, spkis: Iterable[str]) -> set[str]:
        wanted = set(spkis)
        return {f for f, (_, spki) in self._it.credentials.items() if spki in wanted}

    def put_in_inbox(self, service: str, fingerprint: str, at: datetime) -> None:
        with self.transaction():
            self._it.inbox.setdefault((service, fingerprint), at)

    def inbox(self, service: str) -> list[str]:
        return [f for s, f in self._it.inbox if s == service]

    def take_from_inbox(self, service: str, fingerprint: str) -> None:
        with self.transaction():
            self._it.inbox.pop((service, fingerprint), None)

    def knows(self, service: str, fingerprint: str) -> bool:
        return fingerprint in self.book(service).standings or (service, fingerprint) in self._it.inbox

    def rejection(self, service: str) -> tuple[str, str] | None:
        return self._it.rejected.get(service)

    def rejections(self) -> dict[str, tuple[str, str]]:
        return dict(self._it.rejected)

    def reject(self, service: str, digest: str, reason: str) -> None:
        with self.transaction():
            self._it.rejected.pop(service, None)
            if digest:
                self._it.rejected[service] = digest, reason

    # ------------------------------------------------------------------------------ records

    def ledgers(self, owners: Iterable[str]) -> dict[str, Ledger]:
        return {o: self._it.ledgers[o] for o in owners if o in self._it.ledgers}

    def save_ledgers(self, ledgers: Iterable[Ledger]) -> None:
        with self.transaction():
            self._it.ledgers |= {it.owner: it for it in ledgers}

    def aliases(self) -> dict[str, str]:
        return dict(self._it.aliases)

    def save_aliases(self, targets: Mapping[str, str]) -> None:
        with self.transaction():
            self._it.aliases |= targets

    def managed(self, targets: Iterable[str]) -> dict[str, RRset]:
        return {t: self._it.managed.get(t, EMPTY) for t in targets}

    def manage(self, target: str, records: RRset) -> None:
        with self.transaction():
            self._it.managed[target] = self._it.managed.get(target, EMPTY) | records

    def unmanage(self, target: str, records: RRset) -> None:
        with self.transaction():
            self._it.managed[target] = self._it.managed.get(target, EMPTY) - records

    def zones(self) -> list[str]:
        return list(self._it.zones)

    def zone(self, name: str) -> tuple[Instant | None, dict[str, Any]]:
        updated, servers = self._it.zones.get(name, (None, {}))
        return updated, dict(servers)

    def save_zone(self, name: str, *, updated: Instant | None = None, servers: Mapping[str, Any] | None = None) -> None:
        with self.transaction():
            was_updated, had = self._it.zones.get(name, (None, {}))
            self._it.zones[name] = updated or was_updated, had if servers is None else servers

    # ------------------------------------------------------------------------------ journal

    def intend(self, service: str, kind: str, detail: Mapping[str, Any], at: Instant) -> int:
        with self.transaction():
            self._it.numbered += 1
            kept = json.loads(json.dumps(detail))  # as it will be read
            self._it.intents[self._it.numbered] = OpenIntent(self._it.numbered, service, kind, kept, at)
            return self._it.numbered

    def close_intent(self, number: int, outcome: str, at: datetime) -> None:
        with self.transaction():
            self._it.intents.pop(number, None)

    def open_intents(self, service: str) -> list[OpenIntent]:
        return [it for it in self._it.intents.values() if it.service == service]

    def event(self, service: str, kind: str, text: str, at: datetime, **detail: object) -> None:
        with self.transaction():
            self._it.events += (Event(at, service, kind, text, detail),)

    def events(self, service: str, *, last: int | None = None) -> list[Event]:
        found = [it for it in self._it.events if it.service == service]
        return found if last is None else found[-last:]

    def note(self, key: str, value: str | None = None) -> str | None:
        if value is None:
            return self._it.notes.get(key)
        with self.transaction():
            self._it.notes[key] = value
        return value

    def notes(self, prefix: str) -> dict[str, str]:
        return {k[len(prefix) :]: v for k, v in self._it.notes.items() if k.startswith(prefix)}

    def forget_note(self, key: str) -> None:
        with self.transaction():
            self._it.notes.pop(key, None)


class MemoryVault(Vault):
    """The vault without files."""

    def __init__(self) -> None:
        self._pem: dict[str, bytes] = {}

    def prepare(self) -> None:
        """There is nothing to prepare."""

    def put(self, *, fingerprint: str, spki: str, chain: bytes, key: bytes | None) -> None:
        if key is not None:
            self._pem.setdefault(spki, key)
        elif not self.has_key(spki):
            raise StateError(f"no key for {spki[:16]} in the vault", hint="give the key file too")
        self._pem.setdefault(fingerprint, chain)

    def has_key(self, spki: str) -> bool:
        return spki in self._pem

    def key(self, spki: str) -> bytes:
        return self._pem[spki]

    def chain(self, fingerprint: str) -> bytes:
        return self._pem[fingerprint]

    def has_chain(self, fingerprint: str) -> bool:
        return fingerprint in self._pem

    def empty(self) -> bool:
        return not self._pem
