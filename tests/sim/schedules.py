"""When what happens: rollovers that come to their end, and in each some of what may go wrong.

A world where all goes wrong at once gets nowhere, and a rule that nobody comes to is not tested. So a schedule
is a row of rollovers; each has a few troubles, most of which end again, and in between time passes to the very
second at which the next step is due, or to one second before it.
"""

from __future__ import annotations

import random

from tests.sim.events import EVENTS, FAULTS, LEADS, PHASES, Event

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
    "a fault when a person looks": 1,
    "a kill when a person looks": 1,
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
    "a fault when a person looks",
    "tick that is killed",
    "a kill when it is due",
    "a kill when a person looks",
    "deploy that is killed",
)
TROUBLES = sorted(set(EVENTS) - set(BEGINNINGS) - set(DRIVING) - set(LEADS) - {"resume", "all is mended"})
#: What is met in every phase, so and so often (Tally.missing): each kind of fault.
KINDS = sorted({*TROUBLES, *FAULTS, "killed", "deploy what does not work"} - {"a server joins", "pause", "restart"})
#: What has to be there, or the fault finds nothing to strike.
PROVOKED_BY = {
    "disk full": "somebody copies a certificate of another host",
    "reload fails": "somebody copies a certificate of another host",
} | dict.fromkeys(("refused", "answer lost", "delayed", "lost", "not applied"), "somebody replaces the records")
#: An install is not due there, by protocol.md's order of steps: neither its disk nor its reload can fail.
NO_INSTALL = ("publishing", "propagating", "paused", "blocked")
CANNOT_BE = {(kind, phase) for kind in ("disk full", "reload fails") for phase in NO_INSTALL}
PAIRS = [(kind, phase) for kind in KINDS for phase in PHASES if (kind, phase) not in CANNOT_BE]
LED = 8  # pairs in a schedule that is led
#: Led to more often: what hardly comes by itself, and what not every way that leads there comes to.
RARE = {"publishing": 3, "installing": 5, "withdrawing": 5, "paused": 3, "rolling-back": 3, "waiting": 2, "blocked": 2}
RARER = {
    ("somebody writes the live file", "installing"): 12,
    ("killed", "withdrawing"): 5,
    ("deploy what does not work", "blocked"): 3,
    ("lag", "installing"): 4,
    ("disk full", "verifying"): 2,
} | {(kind, "retaining"): 4 for kind in PROVOKED_BY}
LED_TO = [
    pair for pair in PAIRS for _ in range(RARE.get(pair[1], 1) + 2 * (pair[0] in PROVOKED_BY) + RARER.get(pair, 0))
]


def schedule(seed: int) -> list[Event]:
    """Return the schedule of *seed*: a free one, or of an odd seed one that is led from phase to phase."""
    source = random.Random(f"schedule {seed}")
    if seed % 2:
        first = seed // 2 * LED
        pairs = [LED_TO[(first + i) * 331 % len(LED_TO)] for i in range(LED)]  # 331: neighbours have little in common
        events = [event for pair in pairs for event in _led(source, *pair)]
        return events + _row(source, 60 - len(events))
    return _row(source, source.randrange(40, 75))


def _row(source: random.Random, length: int) -> list[Event]:
    """Return a row of rollovers, of about so many events."""

    def one(of: dict[str, int]) -> Event:
        return source.choices(list(of), list(of.values()))[0], source.randrange(24)

    own = source.sample(TROUBLES, source.randrange(2, 8))
    events: list[Event] = []
    while len(events) < length:
        events += _rollover(source, one(BEGINNINGS), [one(DRIVING) for _ in range(source.randrange(5, 14))], own)
    return events


def _led(source: random.Random, kind: str, phase: str) -> list[Event]:
    """Return what leads into *phase*, something of *kind* there, and what the tool makes of it."""
    n = source.randrange(24)
    provoked = [(PROVOKED_BY[kind], n)] if kind in PROVOKED_BY else []
    return [("all is mended", n), (f"on to {phase}", n), *provoked, _event(kind, phase, n), ("a person looks", n)]


def _event(kind: str, phase: str, n: int) -> Event:
    if kind in FAULTS:  # an install becomes due when the wait ends
        return f"a fault when {'it is due' if phase == 'waiting' else 'a person looks'}", FAULTS.index(kind)
    return ("a kill when a person looks", n) if kind == "killed" else (kind, n)


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
