"""Schedules in which an earlier version of the rules let mail fail, or stood still for ever: one test each."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from rollover.core import goals
from rollover.core.ledger import Patience
from rollover.core.model import Pause, Reload
from rollover.core.sighting import OwnerSighting, ResolverAnswer, ServerAnswer, Sighting, Signature
from rollover.core.steps import Install, Phase, Rest, SetGoal, Update
from rollover.core.timing import Instant
from rollover.core.tlsa import Tlsa, association
from tests.unit.core.worlds import (
    FILE,
    NOW,
    OWNER,
    SERVICE,
    TTL,
    ZONE,
    at,
    chain,
    credential,
    decided,
    end,
    ends,
    fp,
    live,
    look,
    opened,
    owner,
    past,
    r,
    remembered,
    server,
    world,
)

ONE = replace(SERVICE, patience=Patience(ttls=1))
SUBMISSION = "_587._tcp.mail.example.org."


# ------------------------------------------------------------------------- a CNAME that relapses


def _alias(name: str, target: str, *, serial: int, primary: bool = False) -> ServerAnswer:
    return ServerAnswer(
        name, ZONE, primary, public=True, reached=True, cname=target, ttl=TTL, serial=serial, signature=Signature.VALID
    )


def _led(now: float, first: str, second: str, *, records: str, serial: tuple[int, int]) -> Sighting:
    """Return a sighting of an owner whose CNAME leads to *first* on the primary, to *second* on the secondary."""
    servers = (
        _alias("ns1", first, serial=serial[0], primary=True),
        _alias("ns2", second, serial=serial[1]),
        server(records, "ns1", primary=True, serial=serial[0]),
        server(records, "ns2", serial=serial[1]),
    )
    it = OwnerSighting(OWNER, first, ZONE, servers, ResolverAnswer(r(records), authenticated=True))
    return look(it, now=now)


def test_a_secondary_whose_cname_relapses_starts_the_wait_over() -> None:
    """Where it leads then nobody looked: resolvers may have fetched the old RRset there until the last second."""
    old, new = "_t0.example.org.", "_t1.example.org."
    it = replace(world("B", service=ONE), managed={old: r("A"), new: r("A B")})
    for seen in (
        _led(0, old, old, records="A", serial=(1, 1)),
        _led(10, new, new, records="A B", serial=(2, 2)),
        _led(90, new, old, records="A B", serial=(2, 1)),
        _led(105, new, new, records="A B", serial=(2, 2)),
    ):
        it = remembered(it, seen)

    step = decided(it, _led(111, new, new, records="A B", serial=(2, 2)))
    assert isinstance(step, Rest)
    assert step.phase is Phase.WAITING
    assert isinstance(decided(it, _led(208, new, new, records="A B", serial=(2, 2))), Install)


# ------------------------------------------------------------------------------- a first record


@pytest.mark.parametrize("does", ["454", "silent", "unreachable"])
def test_no_first_record_for_an_endpoint_that_does_not_work(does: str) -> None:
    """A new port whose endpoint fails: the record that turns DANE on there is held back, and told."""
    it = world(service=replace(SERVICE, ports=(25, 587)), dane_on=frozenset({OWNER}))
    both = [owner("A"), owner("", name=SUBMISSION)]

    step = decided(it, look(both, [*ends("A"), end(does, port=587)]))
    assert isinstance(step, Rest)
    assert (step.phase, [p.code for p in step.problems]) == (Phase.BLOCKED, ["first-record"])
    published = decided(it, look(both, [*ends("A"), end("A", port=587)]))
    assert isinstance(published, Update)
    assert [c.owner for c in published.changes] == [SUBMISSION]


# -------------------------------------------------------------------- returns and who is behind them


def test_a_pause_does_not_stop_the_install_of_a_return_over_a_ttl() -> None:
    """What is ready to go back to needs neither another TTL nor a further combination first."""
    it = world("A", "A", loaded="B", returning=True, install=opened(-100), pause=Pause(at(-50)), ledger=[past("A")])
    seen = look("A B", "454", "B")

    for service in (SERVICE, replace(SERVICE, ttl=300), replace(SERVICE, records=((3, 1, 1), (3, 1, 2)))):
        assert isinstance(decided(replace(it, service=service), seen), Install)


def test_a_return_that_cannot_be_made_holds_no_queued_certificate_back() -> None:
    """Somebody's `2 1 1` matches what failed and what is queued, but not what was served before."""
    anchor = chain("B", issuer="CA2").links[1]
    foreign = Tlsa(2, 1, 1, association(anchor, 1, 1))
    a, b, c = credential("A", issuer="CA1"), credential("B", issuer="CA2"), credential("C", issuer="CA2")
    it = world("B", "A", vault="", more=[a, b, c], loaded="B", install=opened(-1000, of="B"), queued="C")
    seen = look(
        owner(replace(server("A B", "ns1", primary=True), rrset=r("A B") | {foreign})),
        "454",
        [replace(live("B"), chain=b.chain)],
    )
    back = decided(it, seen)
    assert isinstance(back, SetGoal)
    assert back.returning

    it = replace(it, book=goals.take_return(it.book, back.fingerprint, back.why))
    turn = decided(it, seen)
    assert isinstance(turn, SetGoal)
    assert turn.fingerprint == c.fingerprint


def test_a_return_that_is_on_its_way_goes_first() -> None:
    """The same without the foreign record: first away from what fails, also when caches have to be waited for."""
    it = world("B", "A", loaded="B", install=opened(-1000, of="B"), queued="C", ledger=[past("B", None)])
    back = decided(it, look("A B", "454", "B"))
    assert isinstance(back, SetGoal)
    it = replace(it, book=goals.take_return(it.book, back.fingerprint, back.why))

    step = decided(it, look("A B", "454", "B"))
    assert isinstance(step, Rest)
    assert step.phase is Phase.WAITING
    ready = replace(it, ledgers={OWNER: replace(it.ledger(OWNER), entries=(past("B"),))})
    installed = decided(ready, look("A B", "454", "B"))
    assert isinstance(installed, Install)
    assert installed.fingerprint == fp("A")


def test_an_intent_from_before_a_reboot_is_judged_from_its_own_install() -> None:
    """Intent, kill, reboot: verify_timeout counts from the install that follows, not from the boot."""
    after = Instant(NOW.wall + timedelta(hours=1), 300.0, "boot 2")
    it = world("B", loaded="A", ledger=[past("A")], install=opened(-1))
    seen = look("A B", "A", "A", now=after)
    assert isinstance(decided(it, seen), Install)

    book = goals.open_install(it.book, fp("B"), after, seen.endpoints, begun=False)
    assert book.install is not None
    assert book.install.latest == after
    it = replace(it, book=replace(book, reloads={FILE: Reload("identity of B", after)}))
    starting = decided(it, look("A B", "unreachable", "B", now=after.plus(1)))
    assert isinstance(starting, Rest), "a daemon that needs a second to start was not yet given its time"


@pytest.mark.parametrize("hurry", [False, True])
def test_every_rollback_empties_the_queue(hurry: bool) -> None:
    """Also one that repeats what is under way: what a person takes back must not be followed by something newer."""
    it = world("A", "B", loaded="B", rollback=True, queued="C", ledger=[past("A")])

    assert goals.rollback(it, NOW, hurry=hurry)[0].queued == ""


# ------------------------------------------------------------------------------- what is not known


def test_an_owner_that_no_server_ever_answered_for_is_not_ready() -> None:
    """A rollback does not wait for servers that are away, but somebody must have seen the RRset once."""
    it = world("A", "B", loaded="B", rollback=True, service=replace(SERVICE, ports=(25, 587)))
    nobody = owner(server(None, "ns1", primary=True), server(None, "ns2"), name=SUBMISSION, resolver=None)
    step = decided(it, look([owner("A B"), nobody], [*ends("B"), end("B", port=587)], "B"))

    assert isinstance(step, Rest)
    assert step.phase is Phase.PROPAGATING


def test_a_ttl_that_the_server_clamps_holds_nothing_back() -> None:
    """`ttl = "2d"` where the zone allows one: told, but the records are there and the rollover goes on."""
    service = replace(SERVICE, ttl=172_800)
    it = world("B", service=service, ledger=[past("A")], failed={f"update:{OWNER}": "update-not-applied"})

    assert isinstance(decided(it, look("A B")), Install)
    missing = decided(it, look("A"))
    assert isinstance(missing, Rest)
    assert missing.phase is Phase.BLOCKED


def test_behind_an_unsigned_primary_signatures_tell_who_is_late() -> None:
    """A signer counts serials of its own: a copy is late if its RRset, or its signature, is older."""
    hidden = replace(server("A B", "ns1", primary=True, serial=7), inception=None, signature=Signature.UNCHECKED)
    new, old = NOW.wall, NOW.wall - timedelta(hours=1)

    def signed(words: str, name: str, inception: object, serial: int) -> ServerAnswer:
        return replace(server(words, name, serial=serial), inception=inception)

    it = world("B", ledger=[past("A")])
    good = owner(hidden, signed("A B", "ns2", new, 2026), signed("A B", "ns3", new, 2026))
    lower = owner(hidden, signed("A B", "ns2", new, 3), signed("A B", "ns3", new, 3))
    late = owner(hidden, signed("A B", "ns2", new, 2026), signed("A B", "ns3", old, 2025))

    assert isinstance(decided(it, look(good)), Install)
    assert isinstance(decided(it, look(lower)), Install)
    step = decided(it, look(late))
    assert isinstance(step, Rest)
    assert step.phase is Phase.PROPAGATING
