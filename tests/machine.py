"""What this machine's processors did while a test ran: whether seconds, or a failure, are a finding about the tool."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

_IDLE, _IOWAIT, _STEAL, _FIELDS = 3, 4, 7, 8  # proc_stat(5): user, nice, system, idle, iowait, irq, softirq, steal

Ticks = tuple[int, ...]


@dataclass(frozen=True)
class Spent:
    """Shares, 0 to 1, of the time of all processors: *idle*, and *stolen* by other guests of the host."""

    idle: float
    stolen: float

    @property
    def quiet(self) -> bool:
        """Whether there was time to spare, and next to none was another guest's: seconds can be judged."""
        return self.idle >= 0.4 and self.stolen <= 0.02

    @property
    def starved(self) -> bool:
        """Whether so much was another guest's that servers may have stood still for seconds."""
        return self.stolen >= 0.1

    def __str__(self) -> str:
        return f"{self.stolen:.0%} of the processors' time went to other guests, {self.idle:.0%} was idle"


def ticks() -> Ticks:
    """Return how long all processors did what since boot."""
    return tuple(map(int, Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]))


def since(then: Ticks) -> Spent:
    """Return what the processors did since *then*."""
    return between(then, ticks())


def between(then: Ticks, now: Ticks) -> Spent:
    """Return what the processors did from *then* to *now*."""
    spent = [b - a for a, b in zip(then, now, strict=True)][:_FIELDS]
    whole = sum(spent) or 1
    return Spent((spent[_IDLE] + spent[_IOWAIT]) / whole, spent[_STEAL] / whole)
