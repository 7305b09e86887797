"""What holds for every world: decide() is total, the gate is kept, nothing is installed before it is ready.

The rules are stated anew here, in other words than the core's, and a small world is driven at random.
EXAMPLES and WALKS make the search longer than a test run can be.
"""

from __future__ import annotations

import os
import random
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rollover.core.ledger import Entry, Patience
from rollover.core.machine import decide
from rollover.core.model import Pause, Reload, Standing, State, World
from rollover.core.problems import KINDS, Level
from rollover.core.report import Report, report
from rollover.core.sighting import Sighting, Signature
from rollover.core.steps import Activate, Install, Rest, SetGoal, Update
from rollover.core.steps import Reload as ReloadStep
from rollover.core.timing import Instant
from rollover.core.tlsa import Chain, RRset
from rollover.core.view import View
from tests.unit.core.walks import EVENTS, OFTEN, Event, play, run, walk
from tests.unit.core.worlds import (
    FILE,
    HOST,
    NOW,
    OWNER,
    SERVICE,
    TTL,
    at,
    chain,
    credential,
    end,
    fp,
    live,
    look,
    opened,
    owner,
    r,
    remembered,
    server,
    world,
)

EXAMPLES = int(os.environ.get("EXAMPLES", "80"))
FEW = settings(
    max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
WALKS = int(os.environ.get("WALKS", "40"))
OTHER = "_25._tcp.mx2.example.org."

# ------------------------------------------------------------------------- any world, any sighting

NAMES = ("A", "B", "C", "A2=A", "X")
records = st.lists(
    st.sampled_from(["A", "B", "C", "X", "A:312", "B:312", "X:312", "A:211", "X:211", "A:111"]), max_size=4, unique=True
).map(" ".join)
when = st.floats(-3000, 3000).map(round)
instants = st.builds(
    lambda wall, boot, reboot: Instant(
        at(wall).wall, NOW.boot + boot if not reboot else abs(boot), f"boot {1 + reboot}"
    ),
    when,
    when,
    st.booleans(),
)
entries = st.builds(
    Entry,
    rrset=st.one_of(st.none(), records.map(r)),
    ttl=st.sampled_from([0, 30, TTL, 1000]),
    gone=st.one_of(st.none(), instants),
    intended=st.one_of(st.none(), st.none(), instants),
)


@st.composite
def worlds(draw: st.DrawFn) -> tuple[World, Sighting]:
    """Return any world and any sighting of it, possible or not."""
    calm = draw(st.booleans())  # what stands in the way of an install is then in the ledger, if anywhere

    def maybe(it: Any, chance: int = 4) -> Any:
        return it if not calm and draw(st.integers(0, chance)) == 1 else None

    def odd(usual: Any, others: st.SearchStrategy[Any]) -> Any:
        return usual if calm or draw(st.integers(0, 1)) else draw(others)

    two = draw(st.booleans())
    service = replace(
        SERVICE,
        hosts=(HOST, "mx2.example.org") if two else (HOST,),
        records=draw(st.sampled_from([((3, 1, 1),), ((3, 1, 1), (3, 1, 2))])),
        ttl=draw(st.sampled_from([None, None, TTL, 600])),
        patience=Patience(ttls=draw(st.integers(1, 3)), min_wait=draw(st.sampled_from([0.0, 250.0]))),
    )
    common = odd("A B C A:312 B:312 C:312", records)
    shared = odd(None, st.just("t.example.org."))

    def one(name: str) -> Any:
        wildcard = odd("", st.sampled_from(["", "*." + name.partition(".")[2], "*.example.org."]))
        signature = Signature.BOGUS if maybe(1) else Signature.VALID
        words = odd(common, records)
        ttl = draw(st.sampled_from([TTL, 1000]))
        first = server(words, "ns1", primary=True, wildcard=wildcard, signature=signature, ttl=ttl)
        second = odd(words, st.one_of(records, st.none()))
        late = server(second, serial=0 if maybe(1) else 1) if second is not None else server(None)
        return owner(
            server(None, "ns1", primary=True) if maybe(1, 6) else first,
            late,
            name=name,
            target=shared or name,
            resolver=odd(words, st.sampled_from(["A", None])),
            blocked="CNAME loop" if maybe(1, 15) else "",
        )

    first = one(OWNER)
    second = replace(first, owner=OTHER) if shared else one(OTHER)
    owners = [first, *([second] if two and not maybe(1, 9) else [])]
    shows = st.sampled_from(["A", "B", "C", "A2=A", "X", "A B", "454", "silent", "unreachable"])
    usual = draw(shows)
    points = [end(draw(st.sampled_from([usual, usual, draw(shows)]))), end(usual, sni=False)]
    points += [end(draw(shows), "192.0.2.26", host="mx2.example.org")] if two else []
    file = live(draw(st.sampled_from(["A", "B", "C", "A2=A", "X", ""])), wiring=maybe("elsewhere", 12) or "")
    clock = draw(st.sampled_from([True, True, False]))
    seen = look(owners, [] if maybe(1, 9) else points, [file], now=draw(instants), clock=clock)
    state = st.sampled_from([x for x in State if x is not State.REVOKED or maybe(1, 9)])
    some = st.sampled_from(["A", "B", "C", "A2=A"])
    it = world(
        draw(some),
        draw(some),
        vault=odd("A B C A2=A", st.sampled_from(["A B", "B"])),
        more=[credential("C", days=-1)] if maybe(1, 9) else [],
        ledger={name: draw(st.lists(entries, max_size=3)) for name in service.owners},
        managed=draw(records),
        states={x: draw(st.builds(Standing, state, st.sampled_from(["", fp("A"), fp("B")]))) for x in ("A", "B", "C")},
        service=service,
        others={OWNER: ["E"]} if maybe(1) else None,
        failed=odd({}, st.sampled_from([{"install": "x"}, {"reload": "x"}, {f"update:{OWNER}": "update-not-applied"}])),
        queued=draw(st.sampled_from(["", "", "C"])),
        hurry=draw(st.sampled_from(["", "", "B"])),
        quiet=draw(st.one_of(st.none(), instants)),
        install=maybe(opened(draw(when), latest=draw(when), shown=draw(st.sampled_from(["", "A", "454"]))), 1),
        reloads={FILE: Reload(file.identity, draw(instants), draw(st.integers(0, 9)))}
        if draw(st.integers(0, 2))
        else {},
        rounds=draw(st.integers(0, 4)),
        rollback=draw(st.booleans()),
        returning=draw(st.booleans()),
        return_spent=draw(st.booleans()),
        dane_on=frozenset(draw(st.sampled_from([(), (OWNER,), (OWNER, OTHER)]))),
        refill=frozenset(draw(st.sampled_from([(), (), (OWNER,)]))),
        pause=maybe(Pause(draw(instants), draw(st.sampled_from([None, at(100).wall, at(-100).wall]))), 5),
        releasing=bool(maybe(1, 20)),
        adopted=not maybe(1, 20),
    )
    return remembered(it, seen), seen


# ----------------------------------------------------------------- the rules, in other words


def accepts(rrset: RRset, it: Chain) -> bool:
    """Tell whether every DANE sender that holds *rrset* accepts *it*: every combination has its record."""
    theirs = {x for n in (*NAMES, "E") if chain(n).links[0].spki == it.links[0].spki for x in r(f"{n} {n}:312")}
    theirs |= r("A:211")  # all certificates here have one issuer
    usable = [x for x in rrset if x.usage in (2, 3)]
    return all(any(x in theirs for x in usable if x.params == p) for p in {x.params for x in usable})


def in_use(it: World, seen: Sighting, names: set[str]) -> list[Chain]:
    """Return every chain for which no update may make the RRset of these owners invalid."""
    found = [x.chain for x in seen.live if x.chain is not None]
    hosts = {n.removeprefix("_25._tcp.").rstrip(".") for n in names}
    found += [c for e in seen.endpoints if e.endpoint.host in hosts for c in e.chains]
    found += [it.credentials[f].chain for f in (it.book.goal, it.book.active) if f in it.credentials]
    return found + [c for n in names for c in it.others.get(n, ())]


def sure(since: Instant, now: Instant) -> float:
    """Return the seconds that every clock that can tell agrees to."""
    clocks = [(now.wall - since.wall).total_seconds()]
    if now.boot_id == since.boot_id:
        clocks.append(now.boot - since.boot)
    return max(0, *[min(clocks)]) if min(clocks) > 0 else 0


@FEW
@given(worlds())
def test_decide_is_total(case: tuple[World, Sighting]) -> None:
    """Every state, every sighting: one step, never an error; what it reports is in the table."""
    step = decide(*case)

    assert isinstance(step, Update | Install | ReloadStep | SetGoal | Activate | Rest)
    assert step.why or isinstance(step, Activate)
    assert all(p.code in KINDS and p.hint for p in step.problems)
    assert decide(*case) == step


@FEW
@given(worlds())
def test_no_update_violates_the_gate(case: tuple[World, Sighting]) -> None:
    """It never makes R invalid for what is in use; it deletes only what is ours, adds only for known keys."""
    it, seen = case
    step = decide(it, seen)
    if not isinstance(step, Update):
        return
    assert step.changes
    known = {c.chain.links[0].spki for c in it.credentials.values()} | {
        c.links[0].spki for others in it.others.values() for c in others
    }
    ours = frozenset().union(*(r(f"{n} {n}:312") for n in (*NAMES, "E") if chain(n).links[0].spki in known))
    for change in step.changes:
        at_target = [o for o in seen.owners if o.target == change.target]
        primary = at_target[0].primary
        assert primary is not None
        assert change.expect == primary.rrset
        assert change.wildcard == primary.wildcard
        for it_is in in_use(it, seen, {o.owner for o in at_target}):
            assert accepts(change.result, it_is) or not accepts(change.expect, it_is)
        assert change.delete <= it.managed.get(change.target, frozenset())
        assert change.add - change.expect <= ours
        assert change.result
        assert change.result >= change.expect - change.delete
        assert f"update:{change.target}" not in it.failed
        assert change.zone == step.zone


@FEW
@given(worlds())
def test_nothing_is_installed_before_it_is_ready(case: tuple[World, Sighting]) -> None:
    """Ready: every RRset that is not valid for it has been gone for long enough, by every clock, at every owner."""
    it, seen = case
    step = decide(it, seen)
    if not isinstance(step, Install):
        return
    goal = it.credentials[step.fingerprint]
    assert step.fingerprint == it.book.goal
    assert goal.not_after > seen.time.wall or it.book.goal == it.book.active
    assert it.book.standing(step.fingerprint).state is not State.REVOKED
    served = [a.rrset for o in seen.owners for a in o.servers if a.rrset is not None]
    if not all(x.chain is not None and x.chain.fingerprint == step.fingerprint for x in seen.live):
        assert {o.owner for o in seen.owners} >= set(it.service.owners)
        assert all(accepts(x, goal.chain) for x in served)
    if it.book.hurry == it.book.goal:
        return
    patience = it.service.patience
    for name in it.service.owners:
        for entry in it.ledger(name).entries:
            if entry.rrset is not None and accepts(entry.rrset, goal.chain):
                continue
            assert entry.gone is not None
            assert sure(entry.gone, seen.time) >= max(patience.ttls * entry.ttl, patience.min_wait)
            assert seen.clock_agrees
    going_back = it.book.rollback or it.book.returning or it.book.goal == it.book.active
    if not going_back:
        assert all(a.reached for o in seen.owners for a in o.servers)
        assert all(o.resolver.rrset is not None and accepts(o.resolver.rrset, goal.chain) for o in seen.owners)


@FEW
@given(worlds())
def test_status_says_ok_only_when_nothing_is_wrong_and_nothing_unknown(case: tuple[World, Sighting]) -> None:
    """Report is total; ok means that all presented chains are matched by all servers, and that all was seen."""
    it, seen = case
    found = report(View(it, seen), decide(it, seen))

    assert Report.from_json(found.as_json()).as_json() == found.as_json()
    if found.level is not Level.OK or not it.book.adopted:
        return
    assert {o.owner for o in seen.owners} == set(it.service.owners)
    assert seen.endpoints
    for e in seen.endpoints:
        assert e.chains
        name = f"_25._tcp.{e.endpoint.host}."
        for o in seen.owners:
            if o.owner == name:
                assert all(accepts(a.rrset, c) for a in o.servers if a.rrset is not None for c in e.chains)
    assert all(x.chain is not None for x in seen.live)


# ------------------------------------------------------------------------------------- walks

events: st.SearchStrategy[list[Event]] = st.lists(
    st.tuples(st.sampled_from([*EVENTS, *(n for n, often in OFTEN.items() for _ in range(often))]), st.integers(0, 11)),
    max_size=40,
)


@settings(FEW, max_examples=EXAMPLES // 2)
@given(events)
def test_no_walk_defers_mail(walked: list[Event]) -> None:
    """Renewals, rollbacks, late servers, relapses, foreign edits, kills: what the tool does defers nothing.

    And when all is well again it ends in the same place by itself: the goal served, alone in DNS.
    """
    run(walked)


@pytest.mark.parametrize("seed", range(WALKS))
def test_no_random_walk_defers_mail(seed: int) -> None:
    """The same, further: each walk has its own choice of what may go wrong."""
    run(walk(random.Random(seed), 50))


def test_a_walk_without_faults_rolls_over() -> None:
    """The simulation itself: a certificate is published, waited for, installed, proven, and the old record goes."""
    tick, ttl = ("tick", 0), ("wait", 3)
    published: list[Event] = [("deploy", 0), tick, ("wait", 0), tick]
    installed: list[Event] = [*published, ttl, tick]

    s = play(published)
    assert (s.live, s.copies["ns3"].rrset) == ("c0", r("c0 c1"))
    s = play(installed)
    assert (s.live, s.book.active, s.copies["ns1"].rrset) == ("c1", fp("c1"), r("c0 c1"))
    assert play([*installed, ("wait", 7), tick]).copies["ns1"].rrset == r("c1")


def test_the_simulation_sees_an_install_that_comes_too_early() -> None:
    """If the wait were left out, it would say so: else the walks prove nothing."""
    s = play([("deploy", 0), ("tick", 0)])
    s.write("c1")
    with pytest.raises(AssertionError, match="c1 is served"):
        s.check()


def test_the_simulation_sees_a_withdrawal_that_comes_too_early() -> None:
    """The same for a record that is taken away while its certificate is served."""
    s = play([("deploy", 0), ("tick", 0)])
    s.edit(r("c1"))
    with pytest.raises(AssertionError, match="c0 is served"):
        s.check()
