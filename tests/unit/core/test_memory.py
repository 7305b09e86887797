"""What a sighting leaves in the book: rounds, the clock of withdrawals, the states of credentials."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from rollover.core.memory import remember, remember_owners
from rollover.core.model import Book, Standing, State, World
from rollover.core.sighting import Endpoint, EndpointSighting, Outcome, Sighting
from rollover.core.timing import Instant
from tests.unit.core.worlds import (
    NOW,
    OWNER,
    SERVICE,
    TTL,
    at,
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

SERVED = look("A B", "B", "B")


def book(it: World, seen: Sighting) -> Book:
    """Return the book after a sighting."""
    return remembered(it, seen).book


def state(name: str, it: World, seen: Sighting) -> State:
    """Return the state of one certificate after a sighting."""
    return book(it, seen).standing(fp(name)).state


# -------------------------------------------------------------------------------------- rounds


def verifying(**it: Any) -> World:
    """Return a world in which B was installed and loaded."""
    return world("B", **{"loaded": "B", "install": opened(-5), "ledger": [past("A", -2 * TTL)], **it})


@pytest.mark.parametrize(("before", "after"), [(0, 1), (1, 2), (2, 3), (7, 8)])
def test_a_round_in_which_every_endpoint_presents_the_goal_counts(before: int, after: int) -> None:
    """6. Three rounds, counted across runs."""
    assert book(verifying(rounds=before), SERVED).rounds == after


BAD_ROUND = {
    "an endpoint presents the old one": look("A B", [end("B"), end("A", sni=False)], "B"),
    "one of several connections does": look("A B", [end("B A"), end("B", sni=False)], "B"),
    "an endpoint is not reached": look("A B", [*ends("B"), end("unreachable", "2001:db8::25")], "B"),
    "a restart would present another": look("A B", "B", "A"),
    "the file was not loaded": look("A B", "B", [replace(live("B"), identity="another")]),
    "a DANE sender would not accept it": look("A", "B", "B"),
    "nobody was asked": look("A B", [], "B"),
}


@pytest.mark.parametrize("seen", BAD_ROUND.values(), ids=BAD_ROUND)
def test_one_bad_round_starts_the_rounds_over(seen: Sighting) -> None:
    """Three good rounds are three in a row."""
    assert book(verifying(rounds=2), seen).rounds == 0


def test_rounds_are_counted_while_something_is_to_be_proven() -> None:
    """A steady service has none."""
    assert book(world("B", "B", loaded="B"), look("B", "B", "B")).rounds == 0
    assert book(world("B", "B", loaded="B", install=opened(-5)), look("B", "B", "B")).rounds == 1


# ----------------------------------------------------------------------- the clock of withdrawal


def quiet(seen: Sighting, before: Instant | None = None, **it: Any) -> Instant | None:
    """Return since when it is quiet after a sighting."""
    return book(world("B", "B", loaded="B", quiet=before, **it), seen).quiet


def test_it_is_quiet_since_nothing_but_the_goal_could_be_presented() -> None:
    """The first such sighting; later ones leave it."""
    assert quiet(SERVED) == NOW
    assert quiet(look("A B", "B", "B", now=500), NOW) == NOW


@pytest.mark.parametrize(
    "seen", [s for n, s in BAD_ROUND.items() if "DANE" not in n], ids=[n for n in BAD_ROUND if "DANE" not in n]
)
def test_the_clock_of_a_withdrawal_starts_over(seen: Sighting) -> None:
    """Whenever anything else is presented, in the live file, or an endpoint is unreached †."""
    assert quiet(seen, at(-500)) is None


def test_the_clock_of_a_withdrawal_starts_only_when_it_is_confirmed() -> None:
    """An instant of a clock that nobody confirmed measures nothing across a reboot †."""
    wrong = look("A B", "B", "B", clock=False)

    assert quiet(wrong) is None
    assert quiet(wrong, at(-500)) == at(-500)


def test_an_instant_in_the_future_starts_over() -> None:
    """With a confirmed clock from now on, else with the first one."""
    assert quiet(SERVED, at(500)) == NOW
    assert quiet(look("A B", "B", "B", clock=False), at(500)) is None
    behind = Instant(NOW.wall - timedelta(days=1), NOW.boot + 600, NOW.boot_id)
    assert quiet(SERVED, behind) == NOW


def test_without_a_goal_nothing_is_quiet_and_nothing_proven() -> None:
    """A goal whose key is gone; what else the sighting says is entered all the same."""
    it = world("B", "A", vault="A", install=opened(-5), rounds=2, dane_on=frozenset(), refill=frozenset({OWNER}))
    after = book(it, look("A B", "B", "B"))

    assert (after.rounds, after.quiet) == (0, None)
    assert (after.dane_on, after.refill) == (frozenset({OWNER}), frozenset())


# --------------------------------------------------------------------------------- DANE switched off


def test_an_owner_is_on_once_it_was_seen_with_records_while_something_is_active() -> None:
    """Once it was seen non-empty with a credential active."""
    assert book(world(dane_on=frozenset()), look("A")).dane_on == frozenset({OWNER})
    assert book(world(dane_on=frozenset()), look("", "A")).dane_on == frozenset()
    assert book(world(active="", dane_on=frozenset()), look("A")).dane_on == frozenset()
    assert book(world(dane_on=frozenset({"x."})), look("", "A")).dane_on == frozenset({"x."})


def test_the_permission_to_refill_ends_when_it_is_filled() -> None:
    """It was for the owners empty at that moment."""
    permitted = frozenset({OWNER, "x."})

    assert book(world(refill=permitted), look("A")).refill == frozenset({"x."})
    assert book(world(refill=permitted), look("", "A")).refill == permitted


# -------------------------------------------------------------------------------------- states


def waiting(state: State | Standing, **it: Any) -> World:
    """Return a world in which B, in a state, is the goal."""
    return world("B", **{"states": {"B": state}, "ledger": [past("A", -2 * TTL)], **it})


STATES = {
    "staged, its record nowhere": (waiting(State.GENERATED), look("A"), State.GENERATED),
    "on the primary": (waiting(State.GENERATED), look(owner("A B", "A")), State.PUBLISHED),
    "only on a secondary": (waiting(State.GENERATED), look(owner("A", "A B")), State.GENERATED),
    "published, the old RRset still held": (
        waiting(State.PUBLISHED, ledger=[past("A", -10)]),
        look("A B"),
        State.PUBLISHED,
    ),
    "published, one secondary without it": (waiting(State.PUBLISHED), look(owner("A B", "A")), State.PUBLISHED),
    "published, nobody holds the old RRset": (waiting(State.PUBLISHED), look("A B"), State.READY),
    "published, the clock not confirmed": (waiting(State.PUBLISHED), look("A B", clock=False), State.PUBLISHED),
    "published from the first, no clock needed": (
        waiting(State.PUBLISHED, ledger=[]),
        look("A B", clock=False),
        State.READY,
    ),
    "alone on every server": (waiting(State.GENERATED), look("B"), State.PUBLISHED),
    "the primary was not seen": (waiting(State.GENERATED), look(owner(None, "A B")), State.GENERATED),
    "removed, and wanted again": (waiting(State.REMOVED), look("A B"), State.PUBLISHED),
    "revoked stays revoked": (waiting(State.REVOKED), look("A B"), State.REVOKED),
    "active stays active": (world("A", "A"), look("B", "A"), State.ACTIVE),
}


@pytest.mark.parametrize(("it", "seen", "expected"), STATES.values(), ids=STATES)
def test_the_state_of_the_goal(it: World, seen: Sighting, expected: State) -> None:
    """Credential states after RFC 7583 §3.1: by what is in DNS."""
    assert state("A" if expected is State.ACTIVE else "B", it, seen) is expected


def test_each_state_is_noted_with_its_instant() -> None:
    """Status tells since when; the others of the service are looked at whatever comes before them."""
    published = book(waiting(State.GENERATED, states={"A": State.ACTIVE, "B": State.GENERATED}), look("A B"))
    ready = book(waiting(State.PUBLISHED, states={"C": State.REVOKED, "B": State.PUBLISHED}), look("A B C"))
    removed = book(replaced(states={"X": State.RETIRED, "A": State.RETIRED}), look("B", "B", "B"))

    assert published.standing(fp("B")) == Standing(State.PUBLISHED, since={"published": NOW.wall})
    assert ready.standing(fp("B")) == Standing(State.READY, since={"ready": NOW.wall})
    assert removed.standing(fp("A")) == Standing(State.REMOVED, since={"removed": NOW.wall})


def test_every_owner_has_to_have_the_record() -> None:
    """Published at all of them, or not."""
    service = replace(SERVICE, ports=(25, 465))
    it = waiting(State.GENERATED, service=service)
    second = "_465._tcp.mail.example.org."

    assert state("B", it, look([owner("A B"), owner("A", name=second)])) is State.GENERATED
    assert state("B", it, look([owner("A B"), owner("A B", name=second)])) is State.PUBLISHED


def replaced(state: State = State.RETIRED, **it: Any) -> World:
    """Return a world in which B is active and A is not wanted any more."""
    return world("B", "B", **{"loaded": "B", "states": {"A": state}, **it})


LEAVING = {
    "its record is still there": (replaced(), look("A B", "B", "B"), State.RETIRED),
    "its record is gone": (replaced(), look("B", "B", "B"), State.REMOVED),
    "a failed one whose record is gone": (replaced(State.READY), look("B", "B", "B"), State.REMOVED),
    "one secondary has it still": (replaced(), look(owner("B", "A B"), "B", "B"), State.RETIRED),
    "a secondary was not reached": (replaced(), look(owner("B", None), "B", "B"), State.RETIRED),
    "never published, never there": (replaced(State.GENERATED), look("B", "B", "B"), State.GENERATED),
    "removed, and revived by a restored zone": (replaced(State.REMOVED), look("A B", "B", "B"), State.REMOVED),
    "queued": (replaced(State.PUBLISHED, queued="A"), look("B", "B", "B"), State.PUBLISHED),
}


@pytest.mark.parametrize(("it", "seen", "expected"), LEAVING.values(), ids=LEAVING)
def test_a_credential_is_removed_when_its_record_is_gone(it: World, seen: Sighting, expected: State) -> None:
    """Removed: record gone, from every server."""
    assert state("A", it, seen) is expected


@pytest.mark.parametrize(
    ("since", "clock", "expected"),
    [
        (-999, True, State.RETIRED),
        (-1000, True, State.REMOVED),
        (-1000, False, State.RETIRED),
        (None, True, State.RETIRED),
    ],
)
def test_a_credential_whose_records_another_one_needs_is_removed_without_an_update(
    since: float | None, clock: bool, expected: State
) -> None:
    """A renewal with the same key: when its record would have been withdrawn."""
    quiet = None if since is None else at(since)
    it = world("A2=A", "A2=A", vault="A A2=A", loaded="A2=A", states={"A": State.RETIRED}, quiet=quiet)

    assert state("A", it, look("A", "A2=A", "A2=A", clock=clock)) is expected


def test_the_goal_is_not_removed_when_somebody_deletes_its_record() -> None:
    """It is published again."""
    assert state("B", waiting(State.READY), look("A")) is State.READY


# ------------------------------------------------------------------------------------- ledgers


def test_every_owner_has_a_ledger_of_its_own() -> None:
    """The sighting is entered into that of each owner."""
    second = "_465._tcp.mail.example.org."
    seen = look([owner("A"), owner(server("B", "ns1", primary=True), name=second)])
    ledgers = remember_owners(world(service=replace(SERVICE, ports=(25, 465))), seen, SERVICE.patience)

    assert {o: [e.rrset for e in it.entries] for o, it in ledgers.items()} == {OWNER: [r("A")], second: [r("B")]}
    assert {o: it.owner for o, it in ledgers.items()} == {OWNER: OWNER, second: second}
    assert World.ledger(replace(world(), ledgers={}), second).owner == second


def test_a_ledger_hears_whether_the_clock_was_confirmed() -> None:
    """Else nothing is gone."""
    it = world("B", ledger=[past("A", None)])
    confirmed = remember_owners(it, look("A B"), SERVICE.patience)[OWNER]
    silent = remember_owners(it, look("A B", clock=False), SERVICE.patience)[OWNER]

    assert [e.gone for e in confirmed.entries if e.rrset == r("A")] == [NOW]
    assert [e.gone for e in silent.entries if e.rrset == r("A")] == [None]


def test_remembering_twice_is_remembering_once() -> None:
    """Level-triggered: the same sighting again changes no clock and no state."""
    it = remembered(replaced(quiet=None), look("B", "B", "B"))

    assert remember(it, look("B", "B", "B")) == it.book


def test_what_was_presented_beside_the_goal_is_remembered_while_an_old_process_may_live() -> None:
    """Since it was last seen, for `drain`; not the goal itself; an instant in the future is taken for now."""
    it = remembered(world("B", "B", loaded="B"), look("A B C", [end("C"), end("A B", sni=False)], "B"))
    assert list(it.book.lately.items()) == [(name, NOW) for name in sorted((fp("A"), fp("C")))]

    later = book(it, look("A B C", "B", "B", now=99))
    assert later.lately == it.book.lately
    assert book(it, look("A B C", "B", "B", now=100)).lately == {}
    again = book(it, look("A B C", "A", "B", now=99))
    assert again.lately == {fp("C"): NOW, fp("A"): at(99)}
    ahead = book(world("B", "B", loaded="B", lately={fp("A"): at(500)}), look("A B", "B", "B"))
    assert ahead.lately == {fp("A"): NOW}


@pytest.mark.parametrize("silence", ["unreachable", "silent"])
def test_what_an_endpoint_presented_before_it_went_out_of_reach_is_remembered_until_it_is_reached(silence: str) -> None:
    """It may present it still, however long ago that was; its old processes live on for `drain` after that."""
    before = world("B", "B", loaded="B", lately={fp("A"): at(-500)})

    away = remembered(before, look("A B", [end("B"), end(silence, "192.0.2.26")], "B"))
    assert away.book.lately == {fp("A"): NOW}
    assert book(away, look("A B", "B", "B", now=99)).lately == {fp("A"): NOW}
    assert book(away, look("A B", "B", "B", now=100)).lately == {}
    assert book(before, look("A B", [end("B"), end("454", "192.0.2.26")], "B")).lately == {}


@pytest.mark.parametrize("silence", ["unreachable", "silent"])
def test_what_a_live_file_held_is_remembered_as_what_an_endpoint_presented(
    silence: str,
) -> None:
    """A restart that nobody could see would have let it present that; where all are reached, for `drain`."""
    before = world("B", "B", loaded="B")
    away = remembered(before, look("A B", [end("B"), end(silence, "192.0.2.26")], "A"))
    assert away.book.lately == {fp("A"): NOW}

    still = remembered(away, look("A B", [end("B"), end(silence, "192.0.2.26")], "B", now=500))
    assert still.book.lately == {fp("A"): at(500)}
    assert book(still, look("A B", "B", "B", now=599)).lately == {fp("A"): at(500)}
    assert book(still, look("A B", "B", "B", now=600)).lately == {}
    assert book(before, look("A B", "B", "A")).lately == {fp("A"): NOW}


def test_one_handshake_stands_behind_what_an_endpoint_showed_unless_more_did() -> None:
    """The evidence at the end of a rollover counts them."""
    assert EndpointSighting(Endpoint("mail.example.org", "192.0.2.25", 25), Outcome.PRESENTED).connections == 1
