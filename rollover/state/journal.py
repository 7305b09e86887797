"""Intents before effects, outcomes after them; the history that a person reads; small notes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from rollover.core.timing import Instant
from rollover.state import codec
from rollover.state.database import Database


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


class Journal(Database):
    """Rows of ``intent``, ``event`` and ``meta``."""

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
            OpenIntent(i, service, codec.text_in(kind), codec.intent_in(kind, detail), codec.surely(codec.list_in(at)))
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
        return [
            Event(codec.stamp_in(t), s, codec.text_in(k), codec.text_in(x), codec.json_in(d))
            for t, s, k, x, d in reversed(rows)
        ]

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
        return codec.text_in(rows[0][0]) if rows else None

    def notes(self, prefix: str) -> dict[str, str]:
        """Return the small facts whose key begins with *prefix*, by the rest of the key."""
        rows = self._rows("SELECT key, value FROM meta WHERE substr(key, 1, ?) = ?", len(prefix), prefix)
        return {codec.text_in(key)[len(prefix) :]: codec.text_in(value) for key, value in rows}

    def forget_note(self, key: str) -> None:
        """Drop the small fact under *key*."""
        self._do("DELETE FROM meta WHERE key = ?", key)
