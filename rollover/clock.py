"""The only place that knows the time, and the only one that sleeps.

Two clocks (protocol.md, Time): wall-clock UTC, which an administrator or NTP may move, and the
boot-time clock, which nobody moves but which starts over at each boot (CLOCK_BOOTTIME counts
suspended time too).
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from rollover.core.timing import Instant


class Clock(Protocol):
    """What the engine and the hands ask of time; a simulation brings its own."""

    def now(self) -> Instant:
        """Return this instant on both clocks."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Let *seconds* pass."""
        ...


class SystemClock:
    """The clocks of this host."""

    def __init__(self) -> None:
        self._boot_id = Path("/proc/sys/kernel/random/boot_id").read_text().strip()

    def now(self) -> Instant:
        """Return this instant: aware UTC, seconds since boot, boot id."""
        return Instant(
            wall=datetime.now(UTC),
            boot=time.clock_gettime(time.CLOCK_BOOTTIME),
            boot_id=self._boot_id,
        )

    async def sleep(self, seconds: float) -> None:
        """Let *seconds* pass without holding up other tasks."""
        import asyncio  # here, because commands that never wait should not pay for it

        await asyncio.sleep(seconds)
