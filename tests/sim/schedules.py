"""When what happens: rollovers that come to their end, and in each some of what may go wrong.

A world where all goes wrong at once gets nowhere, and a rule that nobody comes to is not tested. So a schedule
is a row of rollovers; each has a few troubles, most of which end again, and in between time passes to the very
second at which the next step is due, or to one second before it.
"""

from __future__ import annotations

import random
from bisect import bisect

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
    "meanwhile": 2,
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
    "resolver": "resolver",
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
TROUBLES = sorted(set(EVENTS) - set(BEGINNINGS) - set(DRIVING) - set(LEADS) - {"resume", "all is mended", "a hook"})
#: What is met in every phase, so and so often (Tally.missing): each kind of fault.
KINDS = sorted(
    {*TROUBLES, *FAULTS, "killed", "meanwhile", "deploy what does not work"} - {"a server joins", "pause", "restart"}
)
#: What has to be there, or the fault finds nothing to strike.
PROVOKED_BY = {
    "disk full": "somebody copies a certificate of another host",
    "reload fails": "somebody copies a certificate of another host",
} | dict.fromkeys(("refused", "answer lost", "delayed", "lost", "not applied"), "somebody replaces the records")
#: An install is not due there, by protocol.md's order of steps: neither its disk nor its reload can fail.
NO_INSTALL = ("publishing", "propagating", "paused", "blocked")
CANNOT_BE = {(kind, phase) for kind in ("disk full", "reload fails") for phase in NO_INSTALL}
PAIRS = [(kind, phase) for kind in KINDS for phase in PHASES if (kind, phase) not in CANNOT_BE]
#: What happens by itself: no process of the tool runs in it, so that something else can happen in the same phase.
BY_ITSELF = [it for it in KINDS if it in TROUBLES and it != "meanwhile" and not it.startswith("deploy")]
LED = 12  # visits in a schedule that is led
#: In which order a schedule comes to phases: those of a rollover as they follow each other, or it spends its time on the way.
ON_THE_WAY = (*(it for it in PHASES if it != "rolling-back"), "rolling-back")
STRIDE = 331  # neighbours have little in common
#: How often each phase is led to for a kind: what happens by itself comes by threes, and some phases come by themselves.
ALONE = {
    "steady": 3,
    "publishing": 11,
    "propagating": 16,
    "waiting": 12,
    "installing": 15,
    "verifying": 11,
    "retaining": 13,
    "withdrawing": 14,
    "rolling-back": 13,
    "paused": 15,
    "blocked": 17,
}
TOGETHER = {
    "steady": 1,
    "publishing": 4,
    "propagating": 6,
    "waiting": 5,
    "installing": 4,
    "verifying": 4,
    "retaining": 4,
    "withdrawing": 5,
    "rolling-back": 4,
    "paused": 6,
    "blocked": 6,
}
#: More often still: what not every way that leads there comes to.
RARER = {
    ("TTL", "blocked"): 5,
    ("TTL", "installing"): 2,
    ("TTL", "rolling-back"): 3,
    ("clock", "installing"): 1,
    ("TTL", "publishing"): 9,
    ("a server leaves", "blocked"): 7,
    ("a server leaves", "installing"): 4,
    ("a server leaves", "retaining"): 6,
    ("a server leaves", "rolling-back"): 10,
    ("a server leaves", "withdrawing"): 7,
    ("answer lost", "installing"): 5,
    ("answer lost", "rolling-back"): 5,
    ("answer lost", "waiting"): 12,
    ("delayed", "propagating"): 12,
    ("deploy bad material", "blocked"): 5,
    ("deploy bad material", "propagating"): 5,
    ("disk full", "rolling-back"): 7,
    ("disk full", "waiting"): 20,
    ("disk full", "withdrawing"): 7,
    ("disk full", "retaining"): 10,
    ("disk full", "verifying"): 26,
    ("foreign record", "blocked"): 10,
    ("foreign record", "installing"): 2,
    ("killed", "propagating"): 4,
    ("killed", "withdrawing"): 6,
    ("meanwhile", "blocked"): 6,
    ("meanwhile", "paused"): 4,
    ("meanwhile", "publishing"): 2,
    ("meanwhile", "waiting"): 2,
    ("not applied", "paused"): 5,
    ("not applied", "propagating"): 8,
    ("not applied", "waiting"): 6,
    ("refused", "installing"): 3,
    ("relapse", "publishing"): 4,
    ("reload fails", "rolling-back"): 6,
    ("reload fails", "verifying"): 17,
    ("reload fails", "waiting"): 14,
    ("reload fails", "withdrawing"): 9,
    ("restored zone", "publishing"): 7,
    ("somebody deletes a record", "blocked"): 5,
    ("somebody deletes all", "blocked"): 7,
    ("somebody signs again", "blocked"): 6,
    ("state disk full", "installing"): 10,
}
LED_TO = [
    pair for pair in PAIRS for _ in range((TOGETHER if pair[0] in BY_ITSELF else ALONE)[pair[1]] + RARER.get(pair, 0))
]


#: By phase: the visits, of those that go through LED_TO once, in which what happens there does so by itself.
IN_PHASE: dict[str, list[int]] = {phase: [] for phase in PHASES}
for _number in range(len(LED_TO)):
    _kind, _phase = LED_TO[_number * STRIDE % len(LED_TO)]
    if _kind in BY_ITSELF:
        IN_PHASE[_phase].append(_number)


def schedule(seed: int) -> list[Event]:
    """Return the schedule of *seed*: a free one, or of an odd seed one that is led from phase to phase."""
    source = random.Random(f"schedule {seed}")
    if seed % 2:
        numbers = range(seed // 2 * LED, (seed // 2 + 1) * LED)
        in_order = sorted(numbers, key=lambda number: ON_THE_WAY.index(_led_to(number)[1]))
        return [event for number in in_order for event in _visit(source, number)]
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


def _led_to(number: int) -> tuple[str, str]:
    """Return the pair that a visit is for."""
    return LED_TO[number * STRIDE % len(LED_TO)]


def _beside(number: int) -> list[str]:
    """Return what else happens there by itself: in each phase one kind after the other, all equally often."""
    times, at = divmod(number, len(LED_TO))
    in_phase = IN_PHASE[_led_to(number)[1]]
    first = 2 * (times * len(in_phase) + bisect(in_phase, at))
    return [BY_ITSELF[it % len(BY_ITSELF)] for it in (first, first + 1)]


def _visit(source: random.Random, number: int) -> list[Event]:
    """Return what leads into a phase, something of one kind there or of three, and what the tool makes of it."""
    kind, phase = _led_to(number)
    n = source.randrange(24)
    before = [(PROVOKED_BY[kind], n)] if kind in PROVOKED_BY else []
    if kind in BY_ITSELF:
        before = [(it, source.randrange(24)) for it in _beside(number)]
    return [("all is mended", n), (f"on to {phase}", n), *before, _event(kind, phase, n), ("a person looks", n)]


def _event(kind: str, phase: str, n: int) -> Event:
    if kind in FAULTS:  # an install becomes due when the wait ends
        return f"a fault when {'it is due' if phase == 'waiting' else 'a person looks'}", FAULTS.index(kind)
    return ("a kill when a person looks", n // 6) if kind == "killed" else (kind, n)


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
