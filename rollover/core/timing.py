"""Arithmetic on instants; spans are measured on two clocks.

A wait is over only if both clocks of one boot agree that so much has passed (protocol.md, Time):
a wall clock that jumps forward must not shorten a wait. Across a reboot only the wall clock is left.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

#: Seconds by which a wall clock that was found to agree may be wrong; so may be the one of another boot.
TOLERANCE = 10.0


@dataclass(frozen=True, slots=True)
class Instant:
    """One instant on both clocks: *wall* aware UTC, *boot* seconds since boot, *boot_id* which boot."""

    wall: datetime
    boot: float
    boot_id: str

    def __post_init__(self) -> None:
        if self.wall.tzinfo is None:
            raise ValueError("an instant needs a time zone")

    def plus(self, seconds: float) -> Instant:
        """Return the instant *seconds* later (earlier when negative)."""
        return Instant(self.wall + timedelta(seconds=seconds), self.boot + seconds, self.boot_id)


def elapsed(since: Instant, now: Instant) -> float:
    """Return the seconds that surely passed from *since* to *now*; never negative.

    Within one boot the smaller of both clocks counts; across boots only the wall clock exists, which at
    either end may be wrong by what passes for agreement: less that much is sure to have passed.
    """
    wall = (now.wall - since.wall).total_seconds()
    return max(0.0, min(wall, now.boot - since.boot) if since.boot_id == now.boot_id else wall - 2 * TOLERANCE)


def elapsed_boot(since: Instant, now: Instant) -> float:
    """Return the seconds on the boot-time clock alone; after a reboot, the seconds since boot.

    For deadlines that a wall clock set back must not stretch (``verify_timeout``).
    """
    if since.boot_id == now.boot_id:
        return max(0.0, now.boot - since.boot)
    return max(0.0, now.boot)


def not_in_future(instant: Instant, now: Instant) -> Instant:
    """Return *instant*, or *now* if the clock says that it has not come yet: it starts over."""
    if instant.wall > now.wall or (instant.boot_id == now.boot_id and instant.boot > now.boot):
        return now
    return instant


def not_earlier(one: Instant, other: Instant) -> bool:
    """Tell whether *one* is not earlier than *other*: by the boot-time clock within a boot, else by the wall clock."""
    if one.boot_id == other.boot_id:
        return one.boot >= other.boot
    return one.wall >= other.wall


def remaining(since: Instant, span: float, now: Instant) -> float:
    """Return how many seconds of *span* are left; 0 when it is over."""
    return max(0.0, span - elapsed(since, now))


def stamp(wall: datetime) -> str:
    """Return *wall* as RFC 3339 UTC with seconds, the form of every time that we print or store."""
    return wall.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def parse_stamp(text: str) -> datetime:
    """Return the aware UTC datetime that stamp() or datetime.isoformat() wrote."""
    return datetime.fromisoformat(text).astimezone(UTC)
