"""What came in: credentials that the vault holds, what hooks have staged, what a source could not serve."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from rollover.state import codec
from rollover.state.database import Database


class Inbox(Database):
    """Rows of ``credential``, ``inbox`` and ``rejected``."""

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
        return [
            codec.text_in(r[0]) for r in self._rows("SELECT fingerprint FROM credential ORDER BY staged, fingerprint")
        ]

    def with_keys(self, spkis: Iterable[str]) -> set[str]:
        """Return the fingerprints of the credentials that have one of the keys *spkis*."""
        rows = [r for spki in spkis for r in self._rows("SELECT fingerprint FROM credential WHERE spki = ?", spki)]
        return {codec.text_in(r[0]) for r in rows}

    def put_in_inbox(self, service: str, fingerprint: str, at: datetime) -> None:
        """Hand a staged credential to the next run that holds the lock; needs no lock itself."""
        self._do(
            "INSERT OR IGNORE INTO inbox (service, fingerprint, at) VALUES (?, ?, ?)",
            service,
            fingerprint,
            at.isoformat(),
        )

    def inbox(self, service: str) -> list[str]:
        """Return what waits in the inbox, in the order in which it came, whatever the clock said then."""
        rows = self._rows("SELECT fingerprint FROM inbox WHERE service = ? ORDER BY rowid", service)
        return [codec.text_in(r[0]) for r in rows]

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
        """Return (mark, reason) of what the source holds and cannot be served."""
        rows = self._rows("SELECT digest, reason FROM rejected WHERE service = ?", service)
        return (codec.text_in(rows[0][0]), codec.text_in(rows[0][1])) if rows else None

    def rejections(self) -> dict[str, tuple[str, str]]:
        """Return the same of every service that has one."""
        rows = self._rows("SELECT service, digest, reason FROM rejected")
        return {codec.text_in(s): (codec.text_in(d), codec.text_in(r)) for s, d, r in rows}

    def reject(self, service: str, digest: str, reason: str) -> None:
        """Note that what the source holds cannot be served; *digest* marks content and fault, an empty one clears the note."""
        with self.transaction():
            self._rows("DELETE FROM rejected WHERE service = ?", service)
            if digest:
                self._rows("INSERT INTO rejected (service, digest, reason) VALUES (?, ?, ?)", service, digest, reason)
