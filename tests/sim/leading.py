"""Leading a world into a phase, so that what goes wrong there is met often: some phases last for a moment only."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.sim.play import Play

#: Where a run dies to leave the world in a phase that otherwise lasts for as long as one effect.
DIES_AT = {
    "publishing": ("before the update", "after the update"),
    "installing": ("before the install", "after the install"),
    "withdrawing": ("before the update", "after the update"),
}
MOST = 14  # looks; a world in which something is wrong may not get there at all
AT_REST = {"steady", "retaining"}


def lead(p: Play, phase: str, n: int) -> None:
    """Do what brings service *n* into *phase*, as far as that is possible now."""
    if phase in p.tool.phases():
        return
    match phase:
        case "paused":
            p.pause(n)
            p.tick(asked=True)
        case "blocked":
            p.empty(n)
            p.tick(asked=True)
        case "publishing":
            _drive(p, "retaining", n)
            p.deploy(n, die_at=_one(phase, n))
        case "rolling-back":
            _drive(p, "steady" if n % 2 else "retaining", n)
            _deafen(p, n)
            p.rollback(n)
            _drive(p, phase, n)
        case _:
            _drive(p, phase, n)


def _one(phase: str, n: int) -> str:
    at = DIES_AT.get(phase, ("",))
    return at[n // 2 % len(at)]


def _deafen(p: Play, n: int) -> None:
    """Let nothing that is installed be proven yet."""
    for place in p.world.mail[p.service(n)].places:
        place.deaf = True


def _drive(p: Play, phase: str, n: int) -> None:
    if phase == "propagating":
        p.hold_transfers(n)
    if phase not in AT_REST | {"rolling-back"} and p.tool.phases() <= (
        {"steady"} if phase == "withdrawing" else AT_REST
    ):
        p.deploy(n)
    for _ in range(MOST):
        if phase in p.tool.phases() or (phase == "retaining" and p.tool.phases() == {"steady"}):
            return
        if phase in {"verifying", "rolling-back"}:
            _deafen(p, n)
        if p.seconds_until_due(n) is None:
            p.world.wait(61.0)  # for what nobody knows the end of
        p.until_due(n)
        p.tick(asked=True, die_at=_one(phase, n))
