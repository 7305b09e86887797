"""Whether this machine had time to spare: only then are seconds a finding about the tool."""

from __future__ import annotations

from pathlib import Path

IDLE = 0.4  # of all processors' time, at the least
STOLEN = 0.02  # by other guests of the host, at the most


def ticks() -> tuple[int, ...]:
    """Return the first line of /proc/stat: user, nice, system, idle, iowait, irq, softirq, steal… since boot."""
    return tuple(map(int, Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]))


def was_quiet(since: tuple[int, ...]) -> bool:
    """Tell whether most of the time since *since* was idle, and next to none was another guest's."""
    spent = [now - then for then, now in zip(since, ticks(), strict=True)]
    whole = sum(spent[:8])
    return whole > 0 and (spent[3] + spent[4]) / whole >= IDLE and spent[7] / whole <= STOLEN
