"""What may happen in the simulation, as a list of words: a walk can be written down, shrunk and kept."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable

from rollover.core import goals
from rollover.core.steps import Phase, Rest
from rollover.core.tlsa import EMPTY, needed
from tests.unit.core.simulation import ENDPOINTS, SERVERS, SERVICE, Simulation
from tests.unit.core.worlds import fp, r

Event = tuple[str, int]


def _place(s: Simulation, n: int) -> str:
    return ENDPOINTS[n % len(ENDPOINTS)]


def _toggle(them: set[str], name: str) -> None:
    them ^= {name}


def _without_one(s: Simulation, n: int) -> None:
    records = sorted(s.copies["ns1"].rrset)
    if records:
        s.foreign(s.copies["ns1"].rrset - {records[n % len(records)]})


def _blip(s: Simulation, n: int) -> None:
    before = s.copies["ns1"].rrset
    if not before:
        return  # over nothing there is no signature to tell of it: such a change cannot be seen
    s.foreign(r("x"))
    if n % 2:
        s.transfers()
        s.excuse()
    s.foreign(before)


def _ttl(s: Simulation, n: int) -> None:
    if not s.ttl_unseen and not s.delayed:
        s.foreign(s.copies["ns1"].rrset, (30, 100, 300)[n % 3])
        s.ttl_unseen = True


def _restored(s: Simulation, n: int) -> None:
    if s.old:
        s.foreign(s.old[n % len(s.old)].rrset)


def _reach(s: Simulation, n: int) -> None:
    place = s.places[_place(s, n)]
    place.reached = not place.reached


def _deaf(s: Simulation, n: int) -> None:
    s.places[_place(s, n)].deaf = True


def _stale_process(s: Simulation, n: int) -> None:
    names = sorted(s.names)
    s.places[_place(s, n)].shows = names[n // 2 % len(names)]
    s.excuse()


def _somebody_writes(s: Simulation, n: int) -> None:
    names = [*sorted(s.names), "x"]
    s.write(names[n % len(names)])
    s.excuse()


def _pause(s: Simulation, n: int) -> None:
    s.book = goals.pause(s.book, s.now(), None)


FAULTS = ("", "after intent", "after write", "after effect", "answer lost", "delayed", "refused", "disk full")
WAITS = (1, 20, 61, 103, 104, 130, 310, 450, 1300)
SKEWS = (0.0, 0.0, -3600.0, 200.0, 86400.0 * 30)

EVENTS: dict[str, Callable[[Simulation, int], object]] = {
    "tick": lambda s, n: s.tick(),
    "tick with a fault": lambda s, n: s.tick(FAULTS[n % len(FAULTS)]),
    "wait": lambda s, n: s.wait(WAITS[n % len(WAITS)]),
    "deploy": lambda s, n: s.deploy(f"c{len(s.names)}"),
    "deploy the same key": lambda s, n: s.deploy(f"c{len(s.names)}", same_key=True),
    "deploy what does not work": lambda s, n: s.deploy(f"c{len(s.names)}", broken=True),
    "rollback": lambda s, n: s.rollback(),
    "pause": _pause,
    "resume": lambda s, n: s.resume(),
    "lag": lambda s, n: _toggle(s.lagging, SERVERS[1 + n % 2]),
    "away": lambda s, n: _toggle(s.away, SERVERS[n % 3]),
    "relapse": lambda s, n: s.relapse(SERVERS[1 + n % 2], n // 2),
    "restored zone": _restored,
    "foreign record": lambda s, n: s.foreign(s.copies["ns1"].rrset | r(("x", "x:312", "c0:312")[n % 3])),
    "somebody deletes a record": _without_one,
    "somebody deletes all": lambda s, n: s.foreign(EMPTY),
    "somebody changes it and back": _blip,
    "somebody signs again": lambda s, n: s.foreign(s.copies["ns1"].rrset),
    "TTL": _ttl,
    "a delayed update lands": lambda s, n: s.land_delayed(),
    "restart": lambda s, n: s.restart(),
    "reboot": lambda s, n: s.reboot(),
    "clock": lambda s, n: setattr(s, "skew", SKEWS[n % len(SKEWS)]),
    "out of reach": _reach,
    "deaf to a reload": _deaf,
    "a process with another certificate": _stale_process,
    "somebody writes the live file": _somebody_writes,
}
#: How often each happens: the tool runs and time passes most of the time.
OFTEN = {"tick": 14, "tick with a fault": 6, "wait": 16, "deploy": 4, "lag": 2, "away": 2, "rollback": 2}


def walk(source: random.Random, length: int) -> list[Event]:
    """Return a random walk. Each has only some of what may happen: where all goes wrong, little goes far."""
    rare = [name for name in EVENTS if name not in OFTEN]
    names = [*OFTEN, *source.sample(rare, source.randrange(1, len(rare)))]
    weighted = [name for name in names for _ in range(OFTEN.get(name, 1))]
    return [(source.choice(weighted), source.randrange(12)) for _ in range(length)]


def play(events: Iterable[Event]) -> Simulation:
    """Let events happen one after the other; Deferred is raised at the first deferral that the tool caused."""
    s = Simulation()
    for name, n in events:
        s.said.append(name)
        EVENTS[name](s, n)
        s.check()
    return s


def settle_down(s: Simulation) -> Simulation:
    """Let everything be well again; the tool has to end in one and the same place by itself."""
    s.skew = 0.0
    s.away.clear()
    s.lagging.clear()
    for place in s.places.values():
        place.reached, place.deaf = True, False
    if s.live not in s.names:
        s.write(next(n for n in s.names if fp(s.names[n]) == s.book.active))
    s.restart()
    s.excuse()
    for again in range(3):
        if again:  # by now what does not work was taken back; what always gave 454 is mended
            s.broken.clear()
            s.excuse()
        s.resume()  # what is empty may be refilled only when every endpoint presents something
        for seconds in (60, 61, 62, 500, 500, 1000, 1000, 1000, 1000):
            s.wait(seconds)
            s.check()
            s.tick()
    return s


def at_rest(s: Simulation) -> None:
    """Assert that the goal is served, alone in DNS but for what is somebody else's, and nothing is left to do."""
    step = s.tick()
    assert isinstance(step, Rest)
    assert step.phase is Phase.STEADY, (step, s.said[-20:])
    goal = s.chain(next(n for n in s.names if fp(s.names[n]) == s.book.goal))
    assert s.book.goal == s.book.active
    assert {s.chain(p.shows).fingerprint for p in s.places.values()} == {goal.fingerprint}
    rrset = s.copies["ns1"].rrset
    wanted = needed(goal, rrset, SERVICE.records)
    assert wanted <= rrset
    assert not (rrset & s.managed) - wanted
    assert {c.rrset for c in s.copies.values()} == {rrset}


def run(events: Iterable[Event]) -> Simulation:
    """Play a walk, let everything be well again, and ask for the end."""
    s = settle_down(play(events))
    at_rest(s)
    return s
