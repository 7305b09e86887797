"""The ledger of an owner: every RRset that a resolver may still hold, and since when it is gone.

Each test is one sentence of protocol.md, "Ready: the ledger of an owner".
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from rollover.core.ledger import Entry, Ledger, Patience, intend, observe, settle, shown_beside, wait_left
from rollover.core.sighting import OwnerSighting
from rollover.core.timing import Instant
from tests.unit.core.worlds import NOW, OWNER, TTL, at, chain, owner, past, r, server

KEEP = Patience(ttls=2)
FIRST_SIGNED, SIGNED_AGAIN, LATER_STILL = (NOW.wall + timedelta(hours=x) for x in (-3, -2, -1))


def book(*entries: Entry) -> Ledger:
    """Return a ledger with these entries."""
    return Ledger(OWNER, entries)


def see(it: Ledger, seen: OwnerSighting, now: float | Instant = 0.0, *, clock: bool = True) -> Ledger:
    """Return the ledger after one sighting."""
    return observe(it, seen, now if isinstance(now, Instant) else at(now), clock_agrees=clock, keep=KEEP)


def entry(it: Ledger, words: str | None, ttl: int = TTL) -> Entry:
    """Return the one entry of an RRset with a TTL."""
    (found,) = [e for e in it.entries if (e.rrset, e.ttl) == (None if words is None else r(words), ttl)]
    return found


def left(it: Ledger, name: str, now: float = 0.0, **patience: float) -> float | None:
    """Return how long certificate *name* has to wait."""
    return wait_left(it, chain(name), Patience(**{"ttls": 2, **patience}), at(now))  # type: ignore[arg-type]


# ------------------------------------------------------------------------------------- ready

WAITS = {
    "nothing was ever there": (book(), "B", 0),
    "only what is valid for it": (book(past("B", None), past("A B", None)), "B", 0),
    "an empty RRset defers nobody": (book(past("", None), past("", 0)), "B", 0),
    "unusable records defer nobody": (book(past("A:111", None)), "B", 0),
    "some server shows what it does not match": (book(past("A", None)), "B", None),
    "gone this instant: two TTLs": (book(past("A", 0)), "B", 2 * TTL),
    "gone for one TTL: one more": (book(past("A", -TTL)), "B", TTL),
    "gone for two TTLs less a second": (book(past("A", -2 * TTL + 1)), "B", 1),
    "gone for two TTLs": (book(past("A", -2 * TTL)), "B", 0),
    "the latest of many counts": (book(past("A", -50), past("C", -10), past("A C", -30)), "B", 2 * TTL - 10),
    "one of many is shown": (book(past("A", -5000), past("C", None)), "B", None),
    "the same RRset with a larger TTL, gone longer": (
        book(past("A", -100, ttl=100), past("A", -150, ttl=300)),
        "B",
        2 * 300 - 150,
    ),
    "a combination in which it has no record": (book(past("B A:312", -10)), "B", 2 * TTL - 10),
    "something unknown is valid for nothing": (book(past(None, -10)), "B", 2 * TTL - 10),
    "a key that was there before: a rollback": (book(past("A", -9999), past("A B", None)), "A", 0),
    "a renewed certificate with the same key": (book(past("A", None)), "A2=A", 0),
}


@pytest.mark.parametrize(("it", "name", "seconds"), WAITS.values(), ids=WAITS)
def test_ready_is_when_everything_that_does_not_match_has_been_gone_for_long_enough(
    it: Ledger, name: str, seconds: float | None
) -> None:
    """Ready: each R that is not valid for c has been gone for ttls_to_wait times its TTL."""
    assert left(it, name) == seconds


def test_a_combination_of_usage_2_counts_like_any_other() -> None:
    """An RRset with another issuer's 2 1 1 is not valid, though the 3 1 1 matches."""
    it = Ledger(OWNER, (past("B X:211", -10),))

    assert left(it, "B") == 0  # the issuer of X is the issuer of B
    assert wait_left(it, chain("B", issuer="other"), KEEP, NOW) == 2 * TTL - 10


@pytest.mark.parametrize(
    ("patience", "seconds"),
    [
        (Patience(ttls=1), 103),
        (Patience(ttls=2), 200),
        (Patience(ttls=3), 300),
        (Patience(ttls=2, min_wait=150), 200),
        (Patience(ttls=2, min_wait=250), 250),
        (Patience(ttls=2, settle=30), 230),
        (Patience(ttls=2, min_wait=250, settle=30), 280),
    ],
)
def test_the_span_is_the_larger_of_ttls_and_min_wait_plus_settle(patience: Patience, seconds: float) -> None:
    """max(ttls_to_wait × TTL, min_wait), plus settle; never less than a resolver and Postfix together may hold."""
    assert patience.span(TTL) == seconds
    assert wait_left(book(past("A", 0)), chain("B"), patience, NOW) == seconds


# ------------------------------------------------------------------------- seen, shown, gone


def test_two_ttls_and_nothing_more_are_waited_for_unless_configured() -> None:
    """RFC 7671 §8.1: the default is what it asks for."""
    assert Patience() == Patience(ttls=2, min_wait=0, settle=0)
    assert Patience().span(TTL) == 2 * TTL


def test_what_any_server_shows_is_entered() -> None:
    """Every R that was seen on any server is kept, with the TTL it was seen with."""
    it = see(book(), owner("A B", server("A", ttl=300)))

    assert {(e.rrset, e.ttl, e.gone) for e in it.entries} == {(r("A B"), 100, None), (r("A"), 300, None)}


def test_an_rrset_is_gone_since_the_first_complete_sighting_that_does_not_show_it() -> None:
    """Since when it is gone: the first complete sighting since which no server shows it."""
    it = see(book(), owner("A"), -50)
    it = see(it, owner("A B"), -30)
    it = see(it, owner("A B"), -10)

    assert entry(it, "A").gone == at(-30)
    assert entry(it, "A B").gone is None
    assert left(it, "B") == 2 * TTL - 30


def test_one_server_that_shows_it_is_enough() -> None:
    """While a single secondary serves the old RRset it is not gone."""
    it = see(see(book(), owner("A"), -50), owner("A B", "A B", "A"), -30)

    assert entry(it, "A").gone is None
    assert left(it, "B") is None


NOT_COMPLETE = {
    "a server was not reached": owner("A B", None),
    "the primary was not reached": owner(None, "A B"),
    "a server is behind the primary, though it shows the new RRset": owner("A B", server("A B", serial=0)),
}


@pytest.mark.parametrize("seen", NOT_COMPLETE.values(), ids=NOT_COMPLETE)
def test_nothing_is_gone_in_a_sighting_that_is_not_complete(seen: OwnerSighting) -> None:
    """A server behind may still pass through an R that the primary has left †."""
    it = see(see(book(), owner("A"), -50), seen, -30)
    assert entry(it, "A").gone is None

    it = see(it, owner("A B"), -10)
    assert entry(it, "A").gone == at(-10)


@pytest.mark.fault(23)
def test_a_relapse_starts_over() -> None:
    """An RRset that is shown again is not gone, however long it was."""
    it = see(book(past("A", -190)), owner("A B", "A"), -5)
    assert left(it, "B") is None

    it = see(it, owner("A B"), 0)
    assert left(it, "B") == 2 * TTL


def test_a_server_that_was_not_reached_starts_nothing_over() -> None:
    """One lost packet a day must not mean that there is never a rollover at a TTL of a day."""
    signed = {"inception": FIRST_SIGNED}
    it = see(book(past("A", -150)), owner(server("A B", "ns1", primary=True, **signed)), -20)
    it = see(it, owner(server("A B", "ns1", primary=True, **signed), None), -10)
    it = see(it, owner(server("A B", "ns1", primary=True, **signed)), 0)

    assert entry(it, "A").gone == at(-150)
    assert left(it, "B") == 2 * TTL - 150


def test_a_ttl_that_was_lowered_counts_only_after_the_larger_one_ran_down() -> None:
    """The RRset with the larger TTL has to be gone for its own time."""
    it = see(book(), owner(server("A", "ns1", primary=True, ttl=1000)), -500)
    it = see(it, owner(server("A", "ns1", primary=True, ttl=10)), -400)
    it = see(it, owner(server("A B", "ns1", primary=True, ttl=10)), -100)

    assert left(it, "B") == 2 * 1000 - 400


def test_the_largest_ttl_on_any_server_counts() -> None:
    """A secondary that serves the old RRset with a larger TTL makes the wait longer."""
    it = see(book(), owner(server("A", "ns1", primary=True, ttl=10), server("A", ttl=500)), -50)
    it = see(it, owner("A B"), 0)

    assert left(it, "B") == 2 * 500


# ------------------------------------------------------------------------------------- clock


def test_nothing_is_gone_without_a_signed_answer_that_agrees_with_our_clock() -> None:
    """An R is gone only in a run in which a TSIG-signed exchange agreed with our clock †."""
    it = see(book(past("A", None)), owner("A B"), -50, clock=False)
    assert left(it, "B") is None

    it = see(it, owner("A B"), -10, clock=True)
    assert left(it, "B") == 2 * TTL - 10


@pytest.mark.fault(66)
def test_what_the_clock_says_has_not_come_yet_starts_over() -> None:
    """Instants in the future start over, in a run whose clock is confirmed."""
    it = see(book(past("A", 500)), owner("A B"), 0)

    assert entry(it, "A").gone == NOW
    assert left(it, "B") == 2 * TTL


def test_an_unconfirmed_clock_moves_no_instant() -> None:
    """A clock that was set back for an hour must not make a wait look older when it is right again."""
    it = see(book(past("A", -10)), owner("A B"), -4000, clock=False)

    assert entry(it, "A").gone == at(-10)


@pytest.mark.fault(67)
def test_a_clock_that_is_wrong_across_a_reboot_makes_nothing_forgotten() -> None:
    """Forgetting is a wait that is over: it too needs a run whose clock is confirmed."""
    far = Instant(NOW.wall + timedelta(days=3650), 30.0, "boot 2")
    it = see(book(past("A", -10)), owner("A B"), far, clock=False)

    assert entry(it, "A").gone == at(-10)


def test_entries_are_forgotten_when_nothing_could_need_them() -> None:
    """An entry that is gone for more than two waits and a day is dropped; not before."""
    limit = 2 * 2 * TTL + 86400
    it = book(past("A", -limit - 1), past("C", -limit))
    it = see(it, owner("B"), 0)

    assert {e.rrset for e in it.entries} == {r("C"), r("B")}


def test_what_is_shown_is_never_forgotten() -> None:
    """However old it is: it is there."""
    it = see(book(past("A", None)), owner("A"), Instant(NOW.wall + timedelta(days=400), 3e7, "boot 1"))

    assert entry(it, "A").gone is None


# ------------------------------------------------------------------------------------ intents


def test_an_intended_rrset_has_the_largest_ttl_that_is_known() -> None:
    """The largest TTL it was seen with on any server, also after the intent †."""
    it = intend(book(past("A", None, ttl=1000), past("C", -5)), r("A B"), 100, NOW)

    assert entry(it, "A B", 1000).intended == NOW
    assert entry(it, "A B", 1000).gone is None


def test_an_unanswered_update_may_still_land_for_ten_minutes() -> None:
    """An R that an unanswered update would make counts as shown until 10 minutes have passed †."""
    it = intend(see(book(), owner("A B"), -700), r("B"), TTL, at(-650))
    it = see(it, owner("A B"), -51)
    assert left(it, "A", -51) is None

    it = see(it, owner("A B"), -50)
    assert entry(it, "B").gone == at(-50)
    assert left(it, "A", -50) == 2 * TTL


def test_an_intent_of_a_clock_that_was_ahead_starts_over() -> None:
    """Ten minutes are counted from when the clock came to its senses, not from next year."""
    it = intend(book(), r("B"), TTL, at(86400))
    it = see(it, owner("A"), 0)
    it = see(it, owner("A"), 601)

    assert entry(it, "B").gone == at(601)


def test_an_update_that_is_known_to_be_applied_leaves_the_word_to_the_next_sighting() -> None:
    """Once the answer is known what is shown counts, nothing else."""
    it = settle(intend(book(past("A", None)), r("A B"), TTL, at(-10)), r("A B"))
    it = see(it, owner("A"), 0)

    assert entry(it, "A B").gone == NOW


def test_the_answer_to_one_update_says_nothing_of_another() -> None:
    """An earlier update whose answer was lost may land when a later one was applied."""
    it = intend(book(past("A B", None)), r("B"), TTL, at(-100))
    it = settle(intend(it, r("A B C"), TTL, at(-10)), r("A B C"))
    it = see(it, owner("A B C"), 0)

    assert left(it, "A") is None
    assert entry(it, "B").intended == at(-100)


def test_an_update_that_landed_is_shown() -> None:
    """A kill between update and outcome changes nothing: the next sighting sees what became of it."""
    it = see(intend(book(past("A", None)), r("A B"), TTL, at(-10)), owner("A B"), 0)

    assert Entry(r("A B"), TTL) in it.entries
    assert entry(it, "A").gone == NOW
    assert it.ours is None


def test_a_server_that_is_behind_does_not_answer_for_an_update() -> None:
    """A secondary that still shows what an unanswered update would make says nothing of it: it may still land."""
    it = intend(see(book(), owner("A B", "A"), -110), r("A"), TTL, at(-100))
    it = see(see(it, owner("A B", "A"), -90), owner("A B"), 0)

    assert left(it, "B") is None
    assert left(see(it, owner("A B"), 501), "B", 501) == 2 * TTL


def test_an_update_that_is_sent_again_does_not_answer_for_the_first_one() -> None:
    """The first one may still land when the RRset that it expects is there again."""
    it = intend(see(book(), owner("A B"), -110), r("A"), TTL, at(-100))
    it = see(settle(intend(it, r("A"), TTL, at(-60)), r("A")), owner("A"), -50)
    it = see(it, owner("A B"), 0)

    assert left(it, "B") is None
    assert left(see(it, owner("A B"), 501), "B", 501) == 2 * TTL


# ------------------------------------------------------------------------- what nobody saw


def signed(words: str, when: object, *, secondary: object = None) -> OwnerSighting:
    """Return an owner whose primary, and secondary, have signatures of these inceptions."""
    first = server(words, "ns1", primary=True, inception=when)
    return owner(first, server(words, inception=when if secondary is None else secondary))


def test_another_inception_on_the_primary_means_that_something_unknown_may_have_been_there() -> None:
    """One that is valid for nothing enters, gone since this sighting, with the largest TTL known †."""
    it = see(book(past("C", -5000, ttl=300)), signed("A B", FIRST_SIGNED), -50)
    it = see(it, signed("A B", SIGNED_AGAIN), -20)

    assert entry(it, None, 300).gone == at(-20)
    assert left(it, "B") == 2 * 300 - 20
    assert left(it, "A") == 2 * 300 - 20


def test_the_first_inception_that_is_seen_is_no_change() -> None:
    """An adopted service has nothing to be compared with."""
    it = see(book(past("A", None)), signed("A", FIRST_SIGNED), 0)

    assert left(it, "A") == 0


def test_our_own_update_is_no_unknown_change() -> None:
    """If the inception changed by our own update, what was there is known."""
    it = see(book(), signed("A", FIRST_SIGNED), -50)
    it = settle(intend(it, r("A B"), TTL, at(-40)), r("A B"), SIGNED_AGAIN)
    it = see(it, signed("A B", SIGNED_AGAIN), -30)

    assert not [e for e in it.entries if e.rrset is None]
    assert left(it, "B") == 2 * TTL - 30


def test_our_own_update_explains_one_change_only() -> None:
    """A signature after that is somebody else's."""
    it = see(book(), signed("A", FIRST_SIGNED), -50)
    it = settle(intend(it, r("A B"), TTL, at(-40)), r("A B"), SIGNED_AGAIN)
    it = see(see(it, signed("A B", SIGNED_AGAIN), -30), signed("A B", LATER_STILL), -20)

    assert entry(it, None).gone == at(-20)


def test_our_update_and_a_foreign_one_after_it_are_an_unknown_change() -> None:
    """What is there now is not what we made: somebody was there in between."""
    it = see(book(), signed("A", FIRST_SIGNED), -50)
    it = settle(intend(it, r("A B"), TTL, at(-40)), r("A B"))
    it = see(it, signed("A B C", SIGNED_AGAIN), -30)

    assert entry(it, None).gone == at(-30)


def test_an_rrset_that_vanished_and_came_back_is_an_unknown_change() -> None:
    """No signature where there was one, and one where there was none, are changes too."""
    it = see(book(), signed("A", FIRST_SIGNED), -50)
    it = see(it, signed("", None), -40)
    assert entry(it, None).gone == at(-40)

    it = see(it, signed("A", SIGNED_AGAIN), -10)
    assert entry(it, None).gone == at(-10)


def test_an_unknown_change_in_an_incomplete_sighting_is_not_gone_yet() -> None:
    """Whoever was not reached may show it still."""
    it = see(book(), signed("A", FIRST_SIGNED), -50)
    first = server("A", "ns1", primary=True, inception=SIGNED_AGAIN)
    it = see(it, owner(first, None), -40)
    assert left(it, "A") is None

    it = see(it, owner(first, server("A", inception=SIGNED_AGAIN)), -10)
    assert left(it, "A") == 2 * TTL - 10


def test_a_server_that_returns_with_a_signature_nobody_saw_starts_over() -> None:
    """It comes back with an inception that the primary was not seen to have."""
    it = see(book(), signed("A", FIRST_SIGNED), -50)
    it = see(it, owner(server("A", "ns1", primary=True, inception=FIRST_SIGNED), None), -40)
    it = see(it, signed("A", FIRST_SIGNED, secondary=SIGNED_AGAIN), -30)

    assert entry(it, None).gone == at(-30)


RETURNS = {
    "with the primary's signature of now": (SIGNED_AGAIN, SIGNED_AGAIN),
    "with one that the primary had before": (SIGNED_AGAIN, FIRST_SIGNED),
}


@pytest.mark.parametrize(("primary", "secondary"), RETURNS.values(), ids=RETURNS)
def test_a_server_that_returns_as_the_primary_was_starts_nothing_over(primary: object, secondary: object) -> None:
    """Its signature is known: it served what is in the ledger."""
    it = see(book(), signed("A", FIRST_SIGNED), -50)
    it = see(it, signed("A", SIGNED_AGAIN), -45)
    it = replace(it, entries=tuple(e for e in it.entries if e.rrset is not None))
    it = see(it, owner(server("A", "ns1", primary=True, inception=SIGNED_AGAIN), None), -40)
    it = see(it, signed("A", primary, secondary=secondary), -30)

    assert not [e for e in it.entries if e.rrset is None]


def test_a_server_that_was_never_away_may_be_signed_at_any_time() -> None:
    """Only who comes back is asked where it was: some servers sign by themselves."""
    it = see(book(), signed("A", FIRST_SIGNED), -50)
    it = see(it, signed("A", FIRST_SIGNED, secondary=SIGNED_AGAIN), -40)

    assert not [e for e in it.entries if e.rrset is None]


def test_a_server_on_the_way_of_a_cname_may_return() -> None:
    """The signature over a CNAME tells nothing of the RRset behind it."""
    alias = replace(
        server("A", "ns9", inception=LATER_STILL), zone="example.net.", rrset=None, cname="t.example.org.", ttl=TTL
    )
    first = server("A", "ns1", primary=True, inception=FIRST_SIGNED)
    it = see(book(), owner(first, alias), -50)
    it = see(it, owner(first, replace(alias, reached=False, cname="")), -40)
    it = see(it, owner(first, alias), -30)

    assert not [e for e in it.entries if e.rrset is None]


def test_behind_an_unsigned_primary_the_signatures_of_all_servers_are_known() -> None:
    """A hidden primary in front of a signer has no inception to compare with; one lost packet starts nothing over."""
    first = server("A", "ns1", primary=True)
    it = see(book(), owner(first, server("A", inception=FIRST_SIGNED)), -50)
    it = see(it, owner(first, None), -40)
    same = see(it, owner(first, server("A", inception=FIRST_SIGNED)), -30)
    news = see(it, owner(first, server("A", inception=SIGNED_AGAIN)), -30)

    assert not [e for e in same.entries if e.rrset is None]
    assert entry(news, None).gone == at(-30)


def test_only_so_many_inceptions_are_kept() -> None:
    """A zone that is signed every hour does not grow the ledger without end."""
    it = book()
    for hour in range(200):
        it = see(it, signed("A", NOW.wall + timedelta(hours=hour)), hour)

    assert len(it.inceptions) == 64
    assert it.inceptions[-1] == NOW.wall + timedelta(hours=199)
    assert len(it.entries) <= 2


def test_a_ledger_that_knows_no_ttl_makes_none_up() -> None:
    """An intent in an empty ledger has the TTL of its own update, be it nothing."""
    assert book().largest_ttl == 0
    assert intend(book(), r("A"), 0, NOW).entries[0].ttl == 0
    assert intend(book(past("B", ttl=70), past("C", ttl=30)), r("A"), 50, NOW).entries[-1].ttl == 70


def test_an_answer_settles_the_latest_intent_of_its_own_rrset() -> None:
    """What else may still land, or is shown, stays as it is: an earlier update to the same RRset too."""
    other, shown = past("A", None, intended=-5), past("B", None, ttl=30)
    latest, earlier = past("B", None, intended=-3), past("B", None, intended=-9)
    after = settle(book(other, latest, earlier, shown), r("B"))

    assert set(after.entries) == {other, earlier, shown, past("B", None)}
    assert settle(book(other, shown), r("B")) == book(other, shown)


def test_what_a_look_at_another_owner_shows_is_there_again() -> None:
    """A relapse that only the look of a service beside this one has met starts the wait over; nothing ends by it."""
    before = book(past("A", -500), past("A B", None))
    beside = replace(owner(server("A B", "ns1", primary=True), server("A", "ns2")), owner="_25._tcp.mx2.example.org.")

    after = shown_beside(before, beside)
    assert [(e.rrset, e.gone) for e in after.entries] == [(r("A"), None), (r("A B"), None)]
    assert shown_beside(before, replace(beside, servers=beside.servers[:1])) == before
    new = set(shown_beside(book(past("A B", None, ttl=300)), beside).entries[1:])
    assert new == {Entry(r("A"), 300), Entry(r("A B"), 100)}, "for as long as anything here was ever given out"


def test_a_signature_that_another_owner_met_is_news_here_too() -> None:
    """Changed and changed back; the look of the service beside saw it, and its update makes the signature a known one."""
    shown = replace(server("A", "ns1", primary=True), inception=at(-5).wall)
    before = replace(book(past("A", None)), inception=at(-100).wall, inceptions=(at(-100).wall,))

    told = shown_beside(before, owner(shown))
    assert {(e.rrset, e.ttl, e.gone) for e in told.entries} == {(r("A"), TTL, None), (None, TTL, None)}
    after = settle(intend(told, r("A B"), TTL, at(-2)), r("A B"), at(-1).wall)
    assert left(after, "A") is None
    seen = see(after, owner(replace(server("A B", "ns1", primary=True), inception=at(-1).wall)), 0)
    assert [e.gone for e in seen.entries if e.rrset is None] == [at(0)], "from now on it is waited for"
    assert shown_beside(told, owner(shown)) == told, "it is news once"

    known = replace(before, inceptions=(at(-100).wall, at(-5).wall), inception=at(-5).wall)
    assert shown_beside(known, owner(shown)) == known
    larger = replace(past("A", -500), ttl=7 * TTL)
    assert (None, 7 * TTL) in {
        (e.rrset, e.ttl) for e in shown_beside(replace(before, entries=(larger,)), owner(shown)).entries
    }


def test_a_larger_ttl_at_another_owner_is_noted_beside_the_one_that_is_known() -> None:
    """Somebody raised it, and the service beside lowered it again before this one looked: caches hold it for longer."""
    before = book(past("A", None, ttl=100), past("A", -500, ttl=60))
    larger, smaller = server("A", "ns1", primary=True, ttl=300), server("A", "ns2", ttl=100)

    after = shown_beside(before, owner(larger, smaller)).entries
    assert [(e.ttl, e.gone) for e in after] == [(100, None), (60, None), (300, None)]
    assert shown_beside(before, owner(smaller, larger)).entries == after
    assert [e.ttl for e in shown_beside(before, owner(smaller)).entries] == [100, 60]


def test_a_signature_that_is_newer_than_what_was_read_back_is_somebody_elses() -> None:
    """Changed and changed back between our update and the next look: what was there in between is waited for."""
    before = replace(book(past("A", None)), inception=at(-100).wall, inceptions=(at(-100).wall,))
    ours = settle(intend(before, r("A B"), TTL, at(-10)), r("A B"), at(-9).wall)

    same = replace(server("A B", "ns1", primary=True), inception=at(-9).wall)
    other = replace(same, inception=at(-5).wall)
    assert all(e.rrset is not None for e in see(ours, owner(same), 0).entries)
    assert any(e.rrset is None for e in see(ours, owner(other), 0).entries)
    unsigned = settle(intend(before, r("A B"), TTL, at(-10)), r("A B"))
    assert any(e.rrset is None for e in see(unsigned, owner(other), 0).entries), "nobody knows ours from theirs"


def test_entries_come_in_the_same_order_in_every_run() -> None:
    """A set has no order of its own; a ledger has, by what is in it: stored ones can be compared, and runs replayed."""
    words = ["A", "B", "C", "A B", "A C", "B C", "A B C"]
    alias = replace(server(None, "ns9"), reached=True, cname="elsewhere.example.org.")  # something unknown may be there
    servers = [server(w, f"ns{ttl}", ttl=ttl) for w in words for ttl in (70, 50)]
    seen = owner(server("A", "ns1", primary=True), *servers, alias)
    known = [(e.rrset, e.ttl) for e in see(book(), seen).entries]
    beside = [(e.rrset, e.ttl) for e in shown_beside(book(), seen).entries]

    assert known == [
        *sorted({(r("A"), 100), *((r(x), ttl) for x in words for ttl in (50, 70))}, key=lambda x: (sorted(x[0]), x[1])),
        (None, 100),
    ]
    assert beside == known[:-1]


def test_a_signature_that_was_read_back_is_known_once() -> None:
    """It is the primary's now, and one of those it was seen to have; only so many are kept."""
    it = replace(book(), inception=FIRST_SIGNED, inceptions=(FIRST_SIGNED,), ours=r("A"))
    again = settle(it, r("A"), SIGNED_AGAIN)
    full = replace(it, inceptions=tuple(NOW.wall + timedelta(hours=x) for x in range(64)))

    assert (again.inception, again.inceptions, again.ours) == (SIGNED_AGAIN, (FIRST_SIGNED, SIGNED_AGAIN), None)
    assert settle(again, r("A"), SIGNED_AGAIN).inceptions == (FIRST_SIGNED, SIGNED_AGAIN)
    assert settle(full, r("A"), SIGNED_AGAIN).inceptions == (*full.inceptions[1:], SIGNED_AGAIN)


def test_what_may_have_been_there_takes_no_entry_away() -> None:
    """The RRsets that were seen stay beside the unknown one, whatever their TTL."""
    it = see(see(book(past("B", -30)), signed("A", FIRST_SIGNED), -25), signed("A", SIGNED_AGAIN), -10)

    assert entry(it, "B").gone == at(-30)
    assert entry(it, "A").gone is None
    assert entry(it, None).gone == at(-10)


def test_an_update_whose_signature_nobody_read_back_explains_none() -> None:
    """It was killed, or landed late: somebody may have changed the RRset after it, and back, before this look."""
    it = intend(see(book(), signed("A", FIRST_SIGNED), -50), r("A B"), TTL, at(-40))
    it = see(it, signed("A", FIRST_SIGNED), -30)
    it = see(it, signed("A B", SIGNED_AGAIN), -20)

    assert entry(it, None).gone == at(-20)


def test_an_update_that_may_land_counts_as_shown_whatever_was_noted() -> None:
    """Gone is what cannot come any more."""
    assert entry(see(book(past("B", -50, intended=-5)), owner("A B")), "B").gone is None


def test_an_update_that_may_have_landed_is_an_intent_until_somebody_can_tell() -> None:
    """Shown, it is an RRset like any other; not shown in a complete look, it is gone; else it stays what it is."""
    it = intend(book(), r("A B"), TTL, at(-700))

    assert see(it, owner("A B")).entries == (Entry(r("A B"), TTL),)
    assert entry(see(it, owner("A")), "A B") == past("A B", 0)
    assert entry(see(it, owner("A"), clock=False), "A B") == past("A B", None, intended=-700)


def test_a_server_may_return_with_the_signature_of_another_one() -> None:
    """Behind a primary that is not signed: one that was there all the time has the same."""
    first = server("A", "ns1", primary=True)
    it = see(book(), owner(first, server("A", inception=FIRST_SIGNED), server(None, "ns3")), -50)
    again = owner(first, server("A", inception=SIGNED_AGAIN), server("A", "ns3", inception=SIGNED_AGAIN))

    assert not [e for e in see(it, again, -40).entries if e.rrset is None]


def test_of_a_signed_primary_only_its_own_signatures_are_known() -> None:
    """What a secondary signs by itself tells nothing of what the primary had."""
    assert see(book(), signed("A", FIRST_SIGNED, secondary=SIGNED_AGAIN)).inceptions == (FIRST_SIGNED,)
