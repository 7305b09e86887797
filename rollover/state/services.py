"""What is remembered of services: books, standings, reports, when the next look is due."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from rollover.core.model import Book, Standing
from rollover.state import codec
from rollover.state.database import Database


@dataclass(frozen=True, slots=True)
class Summary:
    """Whether a service is adopted, not before when it needs a look, the report of the last one."""

    adopted: bool = False
    due: datetime | None = None
    report: dict[str, Any] | None = None


class Services(Database):
    """Rows of ``service`` and ``standing``."""

    def book(self, service: str) -> Book:
        """Return what is remembered of *service*; an empty book for one never seen."""
        rows = self._rows("SELECT book FROM service WHERE name = ?", service)
        if not rows:
            return Book()
        standings = {
            codec.text_in(f): codec.standing_in(state, previous, blocked, since)
            for f, state, previous, blocked, since in self._rows(
                "SELECT fingerprint, state, previous, blocked, since FROM standing WHERE service = ?", service
            )
        }
        return codec.book_in(rows[0][0], standings)

    def summaries(self) -> dict[str, Summary]:
        """Return what a tick and ``status`` need of every service, in one query: there may be many."""
        return {
            codec.text_in(name): Summary(
                bool(adopted), codec.stamp_in(due) if due else None, codec.report_in(report) if report else None
            )
            for name, adopted, due, report in self._rows(
                "SELECT name, json_extract(book, '$.adopted'), due, report FROM service"
            )
        }

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
        with self.transaction():
            self._rows("DELETE FROM standing WHERE service = ? AND fingerprint = ?", service, fingerprint)
            self._look_into_the_source(service)

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
            self._look_into_the_source(service)

    def _look_into_the_source(self, service: str) -> None:
        """Forget that all that the service's source holds is known."""
        self._rows("DELETE FROM meta WHERE key = ?", f"scanned:{service}")

    def report(self, service: str) -> dict[str, Any] | None:
        """Return the report of the last look, None before the first."""
        rows = self._rows("SELECT report FROM service WHERE name = ?", service)
        return codec.report_in(rows[0][0]) if rows and rows[0][0] else None

    def save_report(self, service: str, report: Mapping[str, Any], due: datetime | None) -> None:
        """Store the report of a look, and not before when the next one is needed."""
        self._do(
            "UPDATE service SET report = ?, due = ? WHERE name = ?",
            json.dumps(report),
            due.isoformat() if due else None,
            service,
        )

    def forget_report(self, service: str) -> None:
        """Drop the report: what it tells of was undone."""
        self._do("UPDATE service SET report = NULL, due = NULL WHERE name = ?", service)

    def due(self, service: str) -> datetime | None:
        """Return not before when a look is needed; None for at once."""
        rows = self._rows("SELECT due FROM service WHERE name = ?", service)
        return codec.stamp_in(rows[0][0]) if rows and rows[0][0] else None

    def wake(self, service: str) -> None:
        """Make a look due at once."""
        self._do("UPDATE service SET due = NULL WHERE name = ?", service)

    def restore(self, service: str) -> dict[str, Any] | None:
        """Return what adopt noted of the mail servers' parameters, None if nothing."""
        rows = self._rows("SELECT restore FROM service WHERE name = ?", service)
        return codec.restore_in(rows[0][0]) if rows and rows[0][0] else None

    def save_restore(self, service: str, it: Mapping[str, Any]) -> None:
        """Note the mail servers' parameters from before adopt, for release."""
        self._do("UPDATE service SET restore = ? WHERE name = ?", json.dumps(it), service)
