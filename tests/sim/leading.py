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
ANCHOR = 4  # of "foreign record": one that names a CA of nobody here
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
            if n % 2:
                p.empty(n)
            else:  # by somebody's record that no certificate matches
                p.let("foreign record", ANCHOR)
                p.deploy(n)
            p.tick(asked=True)
        case "publishing":
            _rest(p, n)
            p.deploy(n, die_at=_one(phase, n))
        case "propagating":
            _rest(p, n)
            p.hold_transfers(n)
            _drive(p, phase, n)
        case "rolling-back":
            _roll_back(p, n)
            if phase not in p.tool.phases():  # what is served was a rollback already: there is no way back from it
                p.deploy(n)
                _roll_back(p, n)
        case _:
            _drive(p, phase, n)


def _one(phase: str, n: int) -> str:
    at = DIES_AT.get(phase, ("",))
    return at[n // 2 % len(at)]


def _deafen(p: Play, n: int) -> None:
    """Let nothing that is installed be proven yet."""
    for place in p.world.mail[p.service(n)].places:
        place.deaf = True


def _roll_back(p: Play, n: int) -> None:
    _drive(p, "retaining", n)
    _deafen(p, n)
    p.rollback(n)


def _drive(p: Play, phase: str, n: int) -> None:
    """Let the tool go on until it is there, from a rollover that begins when what was under way has ended."""
    before = {"steady"} if phase in {"retaining", "withdrawing"} else AT_REST
    begin = True
    for looks in range(MOST):
        phases = p.tool.phases()
        if phase in phases:
            return
        if phase == "verifying":
            _deafen(p, n)
        if begin and phase != "steady" and phases <= before:
            p.deploy(n)
            begin = False
        else:
            early = phase == "withdrawing" and not phases <= AT_REST
            _go_on(p, n, looks, die_at="" if early else _one(phase, n))


def _rest(p: Play, n: int) -> None:
    """Let what is under way come to its end."""
    for looks in range(MOST):
        if p.tool.phases() <= AT_REST:
            return
        _go_on(p, n, looks)


def _go_on(p: Play, n: int, looks: int, *, die_at: str = "") -> None:
    """Let the tool look when its next step is due; after some looks a while later."""
    if p.seconds_until_due(n) is None:
        p.world.wait(61.0)  # for what nobody knows the end of
    if looks > 2:
        p.world.wait(300.0)  # nothing is to be seen in each minute of ten in which an update may land
    p.until_due(n)
    p.tick(asked=True, die_at=die_at)
