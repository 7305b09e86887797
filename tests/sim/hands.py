"""What the tool's hands have in common. Every effect has a point before and a point after it to die at."""

from __future__ import annotations

from collections.abc import Callable

from tests.sim.world import World

FUDGE = 300.0  # seconds that the clocks of both ends of a TSIG exchange may differ


class Hands:
    """All hands; *fault* is what goes wrong with the next effect, *boundary* where the tool may die."""

    def __init__(self, world: World, boundary: Callable[[str], None]) -> None:
        self.world = world
        self.boundary = boundary
        self.fault = ""
        self.struck = ""  # the last one that did
        self.asked: set[str] = set()  # zones whose primary has answered this process

    def take(self, *faults: str) -> str:
        """Return the fault that is due if it is one of *faults*; it happens once."""
        if self.fault in faults:
            self.struck, self.fault = self.fault, ""
            return self.struck
        return ""
