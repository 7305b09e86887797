"""Many worlds: what was met, what failed. ``python -m tests.sim --help`` tells how to run it for long."""

from __future__ import annotations

import asyncio
import gc
import statistics
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from tests.sim.judge import Violation
from tests.sim.play import play
from tests.sim.schedules import PAIRS, schedule
from tests.sim.shape import draw


@dataclass
class Tally:
    """What became of many seeds."""

    seeds: int = 0
    failed: dict[int, str] = field(default_factory=dict)
    met: Counter[tuple[str, str]] = field(default_factory=Counter)
    excused: Counter[str] = field(default_factory=Counter)
    lengths: list[int] = field(default_factory=list)
    rollovers: int = 0
    crashes: int = 0

    def add(self, other: Tally) -> None:
        """Take the tally of another part into this one."""
        self.seeds += other.seeds
        self.failed |= other.failed
        self.met += other.met
        self.excused += other.excused
        self.lengths += other.lengths
        self.rollovers += other.rollovers
        self.crashes += other.crashes

    @property
    def median(self) -> float:
        """How many events a schedule has, in the median."""
        return statistics.median(self.lengths) if self.lengths else 0

    def missing(self, least: int) -> dict[tuple[str, str], int]:
        """Return what was met less often than that, of all kinds of fault and phases that can meet."""
        return {pair: self.met[pair] for pair in PAIRS if self.met[pair] < least}

    def table(self) -> str:
        """Return how often each kind of event met each phase, and the sums."""
        kinds = sorted({kind for kind, _ in self.met})
        phases = sorted({phase for _, phase in self.met})
        width = max(map(len, kinds), default=0)
        lines = [" " * width + "".join(f"{phase[:11]:>12}" for phase in phases)]
        lines += [f"{kind:<{width}}" + "".join(f"{self.met[kind, phase]:>12}" for phase in phases) for kind in kinds]
        lines += ["", "not preventable, told and repaired:"]
        lines += [f"  {count:>8} {why}" for why, count in self.excused.most_common()]
        lines.append(
            f"\n{self.seeds} seeds, {sum(self.lengths)} events ({self.median:g} in the median), {self.rollovers} installs, "
            f"{self.crashes} kills, {len(self.failed)} violations"
        )
        return "\n".join(lines)


def soak(seeds: Iterable[int], *, memory: bool = True) -> Tally:
    """Play the worlds of *seeds* one after the other."""
    tally = Tally()
    loop = asyncio.new_event_loop()
    gc.disable()  # a world is a knot of references: it is collected when it has ended
    try:
        for seed in seeds:
            events = schedule(seed)
            try:
                it = play(draw(seed), events, loop, memory=memory)
            except (Exception, Violation) as error:  # a fault of the simulation counts as one of the tool
                tally.failed[seed] = f"{type(error).__name__}: {error}"
                it = getattr(error, "play", None)
            tally.seeds += 1
            tally.lengths.append(len(events))
            if it is not None:
                tally.met += it.met
                tally.excused += it.world.judge.met
                tally.rollovers += sum("written into the live file" in line for line in it.world.log)
                tally.crashes += sum(": killed " in line for line in it.world.log)
            if seed % 8 == 7:
                del it
                gc.collect()
    finally:
        gc.enable()
        loop.close()
    return tally
