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
            _rest(p, n)
            p.deploy(n, die_at=_one(phase, n))
        case "rolling-back":
            _rest(p, n)
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
    if phase not in {"steady", "rolling-back"}:
        begun = {"steady"} if phase in {"retaining", "withdrawing"} else AT_REST
        if p.tool.phases() <= begun:
            p.deploy(n)
    for _ in range(MOST):
        if phase in p.tool.phases():
            return
        if phase in {"verifying", "rolling-back"}:
            _deafen(p, n)
        _go_on(p, n, die_at=_one(phase, n))


def _rest(p: Play, n: int) -> None:
    """Let what is under way come to its end."""
    for _ in range(MOST):
        if p.tool.phases() <= AT_REST:
            return
        _go_on(p, n)


def _go_on(p: Play, n: int, *, die_at: str = "") -> None:
    if p.seconds_until_due(n) is None:
        p.world.wait(61.0)  # for what nobody knows the end of
    p.until_due(n)
    p.tick(asked=True, die_at=die_at)
