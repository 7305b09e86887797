"""When what happens: rollovers that come to their end, and in each some of what may go wrong.

A world where all goes wrong at once gets nowhere, and a rule that nobody comes to is not tested. So a schedule
is a row of rollovers; each has a few troubles, most of which end again, and in between time passes to the very
second at which the next step is due, or to one second before it.
"""

from __future__ import annotations

import random

from tests.sim.events import EVENTS, Event

#: How a rollover begins.
BEGINNINGS = {
    "deploy": 12,
    "deploy that is killed": 2,
    "deploy with the same key": 1,
    "deploy what does not work": 2,
    "deploy again": 1,
    "rollback": 3,
}
#: What drives it on.
DRIVING = {
    "wait until it is due": 10,
    "tick": 5,
    "tick with a fault": 2,
    "a fault when it is due": 2,
    "tick that is killed": 2,
    "a kill when it is due": 2,
    "a person looks": 1,
    "wait": 2,
}
#: What ends by the same event, or by another one.
ENDED_BY = {
    "lag": "lag",
    "away": "away",
    "cut off": "cut off",
    "bad signatures": "bad signatures",
    "out of reach": "out of reach",
    "pause": "resume",
    "clock": "clock",
    "reboot without a clock": "clock",
    "a server leaves": "a server joins",
}
#: What cuts a run short, so that the next thing happens in the middle of a step.
CUTS = (
    "tick with a fault",
    "a fault when it is due",
    "tick that is killed",
    "a kill when it is due",
    "deploy that is killed",
)
TROUBLES = sorted(set(EVENTS) - set(BEGINNINGS) - set(DRIVING) - {"resume"})


def schedule(seed: int) -> list[Event]:
    """Return the schedule of *seed*."""
    source = random.Random(f"schedule {seed}")

    def one(of: dict[str, int]) -> Event:
        return source.choices(list(of), list(of.values()))[0], source.randrange(24)

    own = source.sample(TROUBLES, source.randrange(2, 8))
    length = source.randrange(45, 110)
    events: list[Event] = []
    while len(events) < length:
        events += _rollover(source, one(BEGINNINGS), [one(DRIVING) for _ in range(source.randrange(5, 14))], own)
    return events


def _rollover(source: random.Random, begin: Event, driving: list[Event], own: list[str]) -> list[Event]:
    """Return one rollover with troubles of *own* kinds; what begins here mostly ends here."""
    events = [begin]
    ends: list[tuple[int, Event]] = []  # in how many events
    for event in driving:
        events.append(event)
        events += [ended for left, ended in ends if left <= 0]
        ends = [(left - 1, ended) for left, ended in ends if left > 0]
        if event[0] in CUTS and source.random() < 0.15:
            events.append(("rollback", source.randrange(24)))  # a person who saw that it failed
        if source.random() < (0.5 if event[0] in CUTS else 0.25):
            name, n = source.choice(own), source.randrange(24)
            events.append((name, n))
            if name in ENDED_BY and source.random() < 0.9:
                ends.append((source.randrange(4), (ENDED_BY[name], 0 if ENDED_BY[name] == "clock" else n)))
    return events + [ended for _, ended in ends]
