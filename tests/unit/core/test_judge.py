"""Step 0, judge: an install that does not work is taken back by itself, once (protocol.md, Deciding)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from rollover.core import goals
from rollover.core.model import OpenInstall, Reload, State, World
from rollover.core.sighting import EndpointSighting, Outcome, Sighting
from rollover.core.steps import Install, Phase, Rest, SetGoal, Step, Update
from rollover.core.timing import Instant
from rollover.core.view import View
from tests.unit.core.worlds import (
    FILE,
    NOW,
    TTL,
    at,
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
    server,
    world,
)

READY = past("A", -2 * TTL)


def installing(since: float = -60, *, was: str = "A", of: str = "B", shown: str = "A", **it: Any) -> World:
    """Return a world in which B was installed some seconds ago; *shown*: the picture from before."""
    opening = opened(since, was=was, of=of, shown=shown)
    return world("B", **{"ledger": [READY], "loaded": "B", "install": opening, **it})


def back(step: Step) -> str:
    """Return the fingerprint that an automatic return makes the goal, "" for any other step."""
    return step.fingerprint if isinstance(step, SetGoal) and step.returning else ""


# ------------------------------------------------------------------------------- what failing is

FAILING: dict[str, tuple[str, list[EndpointSighting], bool]] = {
    "454": ("A", [*ends("454")], True),
    "454 at one of two endpoints": ("A", [end("B"), end("454", sni=False)], True),
    "454, as in the picture": ("454", [*ends("454")], False),
    "a chain that R does not match": ("A", [*ends("X")], True),
    "a chain that R does not match, as in the picture": ("X", [*ends("X")], False),
    "another chain that R does not match than in the picture": ("X", [*ends("Y")], True),
    "one of several connections presents it": ("A", [end("B X"), end("B", sni=False)], True),
    "silence where there was a greeting": ("A", [*ends("silent")], True),
    "no connection where there was a greeting": ("A", [*ends("unreachable")], True),
    "silence where 454 was a greeting": ("454", [*ends("silent")], True),
    "silence, as in the picture": ("silent", [*ends("silent")], False),
    "unreachable before as after": ("unreachable", [*ends("unreachable")], False),
    "silence where nobody had been reached": ("unreachable", [*ends("silent")], False),
    "an endpoint that is not in the picture and is not reached": ("", [*ends("unreachable")], False),
    "an endpoint that is not in the picture with 454": ("", [*ends("454")], True),
    "it still presents the old chain": ("A", [*ends("A")], False),
    "it presents the new chain": ("A", [*ends("B")], False),
}


@pytest.mark.parametrize(("shown", "shows", "failing"), FAILING.values(), ids=FAILING)
def test_what_failing_is(shown: str, shows: list[EndpointSighting], *, failing: bool) -> None:
    """454 or a chain that R does not match, unless the picture shows the same; no greeting, only if it shows one."""
    it = installing(shown=shown)

    assert bool(back(decided(it, look("A B", shows, "B")))) is failing


def test_a_dead_primary_does_not_starve_the_judgement() -> None:
    """What the other servers give is R, where the primary gives nothing."""
    seen = look(owner(None, "A B"), "X", "B")

    assert back(decided(installing(), seen)) == fp("A")
    assert not back(decided(installing(), look(owner(None, "A B"), "A", "B")))
    assert not back(decided(installing(), look(owner(None, None), "X", "B")))


def test_nothing_is_judged_before_an_install() -> None:
    """Without an install of ours a failing endpoint is reported, not taken back."""
    it = world("B", ledger=[READY])

    assert not back(decided(it, look("A B", "454", "A")))


# ---------------------------------------------------------------------------------------- when


@pytest.mark.parametrize(("since", "returns"), [(-59, False), (-60, True), (-6000, True)])
def test_it_is_judged_after_verify_timeout(since: float, *, returns: bool) -> None:
    """Failing still after verify_timeout: the credential active when the install opened is the goal again."""
    step = decided(installing(since), look("A B", "454", "B"))

    assert back(step) == (fp("A") if returns else "")
    if returns:
        assert [p.code for p in step.problems] == ["returned"]
        assert "454" in step.why  # type: ignore[union-attr]


def test_a_lagging_server_never_starves_it() -> None:
    """Before all else †: whatever else there would be to do."""
    lagging = look(owner("A", "X", None), "454", "B")

    assert back(decided(installing(), lagging)) == fp("A")


def test_a_pause_does_not_starve_it() -> None:
    """Pause stops all steps but 0 and 1."""
    it = installing()
    it = replace(it, book=goals.pause(it.book, at(-100), None))

    assert back(decided(it, look("A B", "454", "B"))) == fp("A")


def test_it_comes_before_protection() -> None:
    """An endpoint that fails is taken back before anything is published for another."""
    assert back(decided(installing(), look("B", [end("454"), end("A", sni=False)], "B"))) == fp("A")


def test_a_clock_that_goes_backwards_does_not_delay_a_return() -> None:
    """verify_timeout uses boot time only."""
    wrong = Instant(NOW.wall.replace(year=2020), NOW.boot, NOW.boot_id)
    jumped = Instant(NOW.wall.replace(year=2030), NOW.boot, NOW.boot_id)

    assert back(decided(installing(-60), look("A B", "454", "B", now=wrong))) == fp("A")
    assert not back(decided(installing(-30), look("A B", "454", "B", now=jumped)))


def test_after_a_reboot_it_counts_from_boot() -> None:
    """What has failed for long before the reboot gets its time to start."""
    early = Instant(NOW.wall, 59.0, "boot 2")
    late = Instant(NOW.wall, 60.0, "boot 2")

    assert not back(decided(installing(-5000), look("A B", "454", "B", now=early)))
    assert back(decided(installing(-5), look("A B", "454", "B", now=late))) == fp("A")


# ------------------------------------------------------------------------------------ how often


def test_at_most_one_automatic_return() -> None:
    """At most one automatic return for each deployed certificate or manual rollback; then stay, critical."""
    assert not back(decided(installing(return_spent=True), look("A B", "454", "B")))


NOT_TO = {
    "expired": installing(vault="B", more=[credential("A", days=-1)]),
    "revoked": installing(states={"A": State.REVOKED}),
    "absent": installing(vault="B"),
    "itself": installing(was="B"),
    "the goal that it is already": replace(installing(), book=replace(installing().book, goal=fp("A"))),
}


@pytest.mark.parametrize("it", NOT_TO.values(), ids=NOT_TO)
def test_there_is_no_return_to_what_cannot_be_served(it: World) -> None:
    """Never to one that is revoked, expired or absent: then stay."""
    assert not back(decided(it, look("A B", "454", "B")))


def test_what_failed_is_blocked_and_the_return_is_spent() -> None:
    """The failed one is blocked with its reason."""
    book = goals.take_return(installing().book, fp("A"), "192.0.2.25:25: no TLS: 454")

    assert (book.goal, book.returning, book.return_spent, book.rollback) == (fp("A"), True, True, False)
    assert (book.rounds, book.quiet, book.hurry) == (0, None, "")
    assert book.standing(fp("B")).blocked == "192.0.2.25:25: no TLS: 454"
    assert not book.standing(fp("A")).blocked


def test_a_newer_goal_is_not_blamed_for_what_is_installed() -> None:
    """An install is open whatever the goal becomes meanwhile: the goal that waits takes its turn later."""
    it = installing()
    it = replace(it, book=replace(it.book, goal=fp("C")))
    step = decided(it, look("A B C", "454", "B"))
    assert back(step) == fp("A")

    book = goals.take_return(it.book, fp("A"), "454")
    assert (book.goal, book.queued) == (fp("A"), fp("C"))
    assert (book.standing(fp("B")).blocked, book.standing(fp("C")).blocked) == ("454", "")


def test_the_newest_stays_queued() -> None:
    """Where one is queued already, it is newer than the goal."""
    it = installing(queued="C", more=[credential("D")])
    book = goals.take_return(replace(it.book, goal=fp("D")), fp("A"), "454")

    assert book.queued == fp("C")


# ------------------------------------------------------------------- the return, and what waits


def returning(**it: Any) -> World:
    """Return a world right after an automatic return to A."""
    before = installing(**it)
    return replace(before, book=goals.take_return(before.book, fp("A"), "454"))


def test_a_return_is_installed_at_once() -> None:
    """Its record never left: every RRset in the ledger is valid for it."""
    assert decided(returning(), look("A B", "454", "B")) == Install(fp("A"), f"{FILE} is to hold {fp('A')[:16]}")


HELD_BACK_OTHERS: dict[str, Sighting] = {
    "a dead secondary": look(owner("A B", None), "454", "B"),
    "a secondary that is behind": look(owner("A B", server("A B", serial=0)), "454", "B"),
    "a dead primary": look(owner(None, "A B"), "454", "B"),
    "a resolver that does not answer": look(owner("A B", resolver=None), "454", "B"),
    "a clock that nobody confirmed": look("A B", "454", "B", clock=False),
    "a configuration that reads another file": look("A B", "454", [live("B", wiring="elsewhere")]),
}


@pytest.mark.parametrize("seen", HELD_BACK_OTHERS.values(), ids=HELD_BACK_OTHERS)
def test_what_holds_back_an_install_does_not_hold_back_a_return(seen: Sighting) -> None:
    """For a return to a credential that is ready by the ledger, 3's missing servers do not hold it back."""
    assert isinstance(decided(returning(), seen), Install)


def test_an_owner_where_dane_was_switched_off_does_not_hold_back_a_return() -> None:
    """Nothing has to be published for it; the other owners of the service have senders too."""
    second = "_465._tcp.mail.example.org."
    it = returning(ledger=())
    it = replace(it, service=replace(it.service, ports=(25, 465)))
    it = replace(it, book=replace(it.book, dane_on=frozenset(it.service.owners)))
    shows = [end("454"), end("454", port=465)]

    assert isinstance(decided(it, look([owner("A B"), owner("", name=second)], shows, "B")), Install)


def test_a_return_that_is_not_ready_waits_like_any_other() -> None:
    """A server that shows an RRset which the old certificate does not match is no safe harbour."""
    step = decided(returning(), look(owner("A B", "B"), "454", "B"))

    assert isinstance(step, Rest)
    assert step.phase is Phase.PROPAGATING


def test_a_queued_certificate_waits_until_the_return_is_in_place() -> None:
    """First away from what fails, however long the install has been open †."""
    it = returning(since=-5000, queued="C")
    assert isinstance(decided(it, look("A B", "454", "B")), Install)

    loaded = replace(it, book=replace(it.book, reloads={FILE: Reload("identity of A", at(-1))}))
    assert decided(loaded, look("A B", "A", "A")) == SetGoal(fp("C"), "its turn: the one before it is done")


def test_a_queued_certificate_becomes_the_goal_when_the_return_is_activated() -> None:
    """Not before: the return is proven first †."""
    it = returning(since=-70, queued="C")
    it = replace(it, book=replace(it.book, reloads={FILE: Reload("identity of A", at(-1))}, rounds=1))
    assert isinstance(decided(it, look("A B", "A", "A")), Rest)

    done = replace(it, book=goals.activate(it.book, NOW))
    turn = decided(done, look("A B", "A", "A"))
    assert turn == SetGoal(fp("C"), "its turn: the one before it is done")
    assert isinstance(turn, SetGoal)
    assert not turn.returning


@pytest.mark.parametrize(("since", "turn"), [(-119, False), (-120, True)])
def test_an_open_install_holds_a_queued_certificate_back_for_twice_verify_timeout(since: float, *, turn: bool) -> None:
    """An endpoint that is down for good must not hold back every renewal †."""
    it = installing(since, queued="C", shown="unreachable")
    step = decided(it, look("A B", [end("B"), end("unreachable", sni=False)], "B"))

    assert isinstance(step, SetGoal) is turn


def test_a_queued_certificate_that_ended_does_not_take_its_turn() -> None:
    """It would only block what works."""
    it = world("A", "A", queued="C", vault="A", more=[credential("C", days=-1)])

    assert isinstance(decided(it, look("A")), Rest)


def test_an_endpoint_that_still_presents_the_old_chain_holds_back_activation_only() -> None:
    """It holds back 7 and 8 only: nothing is taken back for it."""
    it = installing(-5000, rounds=3)
    it = replace(it, book=replace(it.book, reloads={FILE: Reload("identity of B", at(-1))}))
    step = decided(it, look("A B", [end("B"), end("A", sni=False)], "B"))

    assert isinstance(step, Rest)
    assert step.phase is Phase.VERIFYING


def test_protection_goes_on_while_an_install_is_open() -> None:
    """1 is never skipped."""
    assert isinstance(decided(installing(-1), look("B", "A", "B")), Update)


# ------------------------------------------------------------------- the install that is judged


def reopened(book: Any, words: str, now: float, *, begun: bool = False) -> OpenInstall:
    """Return the open install after an intent to install *words*."""
    after = goals.open_install(book, fp(words), at(now), ends("A"), begun=begun)
    assert (after.rounds, after.quiet) == (0, None)
    assert after.install is not None
    return after.install


def test_the_first_intent_keeps_the_picture_and_what_was_active() -> None:
    """An install is open from its first intent; both are of that instant."""
    first = reopened(world("B").book, "B", -10)

    assert (first.since, first.latest, first.was_active, first.fingerprint) == (at(-10), at(-10), fp("A"), fp("B"))
    assert [(s.outcome, s.fingerprints) for s in first.picture.values()] == [(Outcome.PRESENTED, (fp("A"),))] * 2


def test_another_goal_leaves_the_install_open() -> None:
    """Whatever the goal becomes meanwhile: since, picture and what was active stay, the time of the new one begins."""
    book = replace(world("C").book, install=opened(-100, was="Z", shown="454"))
    again = reopened(book, "C", -5, begun=True)

    assert (again.since, again.latest, again.was_active, again.fingerprint) == (at(-100), at(-5), fp("Z"), fp("C"))
    assert again.picture == opened(0, shown="454").picture


def test_a_file_that_is_written_again_at_every_tick_is_judged_all_the_same() -> None:
    """verify_timeout counts from when it was first there, else what fails for ever is never judged."""
    book = replace(world("B").book, install=opened(-50), reloads={})
    assert reopened(book, "B", -5, begun=True).latest == at(-50)

    loaded = replace(book, reloads={FILE: Reload("identity of B", at(-49))})
    assert reopened(loaded, "B", -5).latest == at(-50)


def test_an_install_of_which_nothing_was_done_begins_anew() -> None:
    """After a kill between intent and effect the new certificate has its full time to show."""
    book = replace(world("B").book, install=opened(-50), reloads={FILE: Reload("identity of A", at(-60))})

    assert reopened(book, "B", -5).latest == at(-5)


def test_the_view_says_why_it_fails() -> None:
    """The reason is what an operator reads in the history."""
    seen = look(owner("A B"), [end("454"), end("X", sni=False)], "B")
    first, second = View(installing(), seen).failing()

    assert "192.0.2.25:25" in first
    assert "454" in first
    assert fp("X")[:16] in second
    assert "without SNI" in second
    assert r("X") != r("A")
