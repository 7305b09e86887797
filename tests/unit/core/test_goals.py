"""What should be served: deploy, the queue, rollback, pause (protocol.md, Goals and Rollback)."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from rollover.core import goals
from rollover.core.errors import EX_DATAERR
from rollover.core.model import Book, Pause, Reload, Standing, State, World
from rollover.core.steps import Install, Phase, Rest, Step, Update
from tests.unit.core.worlds import (
    FILE,
    NOW,
    OWNER,
    SERVICE,
    TTL,
    at,
    credential,
    decided,
    fp,
    look,
    opened,
    owner,
    past,
    r,
    world,
)

WAITING = [past("A", -50), past("A B", None)]  # B has 150 s to go, C was never published


def deployed(it: World, name: str) -> Book:
    """Return the book after certificate *name* was handed over."""
    return goals.deploy(it, fp(name), NOW)[0]


# -------------------------------------------------------------------------------------- deploy


def test_a_certificate_never_seen_before_becomes_the_goal() -> None:
    """Deploy of a credential never seen before makes it the goal; what was active is its previous †."""
    it = world("A", "A", return_spent=True)
    book, said = goals.deploy(it, fp("B"), NOW)

    assert (book.goal, book.active, book.queued) == (fp("B"), fp("A"), "")
    assert book.standing(fp("B")) == Standing(State.GENERATED, fp("A"), "", {"generated": NOW.wall})
    assert (book.quiet, book.rounds, book.return_spent) == (None, 0, False)
    assert "wanted" in said


KNOWN = {
    "a hook run twice": world("B", states={"B": State.PUBLISHED}),
    "what is active": world("B", "B"),
    "a certificate that was rolled back": world("A", "A", states={"B": State.RETIRED}),
    "a certificate that failed": world("A", "A", states={"B": Standing(State.READY, fp("A"), "454")}),
    "one that was removed long ago": world("A", "A", states={"B": State.REMOVED}),
    "the queued one": world("C", queued="B", install=opened(-1, of="C")),
}


@pytest.mark.parametrize("it", KNOWN.values(), ids=KNOWN)
def test_a_known_certificate_changes_nothing(it: World) -> None:
    """A hook run twice, a lineage scanned again, one that was rolled back or failed: nothing changes."""
    book, said = goals.deploy(it, fp("B"), NOW)

    assert book == it.book
    assert "known already" in said


def test_before_the_adoption_a_certificate_is_kept() -> None:
    """Nothing is served by us yet: the newest waits for adopt."""
    it = replace(world(), book=Book())
    first = deployed(it, "B")
    second = deployed(replace(it, book=first), "C")

    assert (first.goal, second.goal, second.active, second.adopted) == (fp("B"), fp("C"), "", False)
    waiting = world("B", ledger=WAITING, adopted=False, return_spent=True)
    book = deployed(waiting, "C")
    assert (book.goal, book.queued, book.return_spent) == (fp("C"), "", False)


# --------------------------------------------------------------------------------------- queue


def test_while_another_waits_and_will_be_ready_first_the_newer_one_is_queued() -> None:
    """If the waiting one will be ready first, it is let finish."""
    book = deployed(world("B", ledger=WAITING), "C")

    assert (book.goal, book.queued) == (fp("B"), fp("C"))


def test_a_second_is_enough_to_be_first() -> None:
    """What is ready now is let finish before what is ready in a second."""
    book = deployed(world("B", ledger=[past("A B", 1 - 2 * TTL)]), "C")

    assert (book.goal, book.queued) == (fp("B"), fp("C"))


ELSE = {
    "the waiting one is not on every server yet": [past("A", None)],
    "both would be ready at once": [past("A", -50), past("B C", None)],
    "the newer one is ready before": [past("A C", -10), past("B C", None)],
}


@pytest.mark.parametrize("ledger", ELSE.values(), ids=ELSE)
def test_else_the_newer_one_is_the_goal(ledger: list[Any]) -> None:
    """Only what is known to be ready first is let finish."""
    book = deployed(world("B", ledger=ledger), "C")

    assert (book.goal, book.queued) == (fp("C"), "")
    assert book.standing(fp("C")).previous == fp("A")


def test_a_newer_certificate_with_the_key_that_is_served_is_the_goal_at_once() -> None:
    """It needs no wait: nothing is to be ready before it."""
    it = world("B", ledger=WAITING, vault="A B A2=A")

    assert deployed(it, "A2=A").goal == fp("A2=A")


@pytest.mark.parametrize("state", [State.REVOKED, None], ids=["revoked", "expired"])
def test_a_goal_that_can_never_be_served_lets_nobody_wait(state: State | None) -> None:
    """An expired, revoked or lost goal is replaced at once."""
    if state is not None:
        it = world("B", ledger=WAITING, states={"B": state})
    else:
        it = world("B", ledger=WAITING, vault="A C", more=[credential("B", days=-1)])

    assert deployed(it, "C").goal == fp("C")
    assert deployed(world("B", ledger=WAITING, vault="A C"), "C").goal == fp("C")


@pytest.mark.fault(42)
@pytest.mark.parametrize(("since", "queued"), [(-1, True), (-119, True), (-120, False)])
def test_while_an_install_is_open_the_newer_one_is_queued(since: float, *, queued: bool) -> None:
    """While an install is open it is queued; one that has had twice verify_timeout holds none back †."""
    it = world("B", ledger=WAITING, install=opened(since))

    assert (deployed(it, "C").queued == fp("C")) is queued


def test_the_newest_of_several_is_the_queued_one() -> None:
    """A third renewal while the second is verified: in the end the newest is served."""
    it = world("B", ledger=WAITING, queued="C", install=opened(-1), more=[credential("D")])

    assert deployed(it, "D").queued == fp("D")


def test_a_newer_goal_leaves_no_older_certificate_in_the_queue() -> None:
    """Its turn would come after the newer one's, and put back what is older: paused, or with an install that takes long."""
    late = deployed(world("B", ledger=WAITING, queued="C", install=opened(-120), more=[credential("D")]), "D")
    paused = deployed(world("A", queued="C", pause=Pause(at(-9)), more=[credential("D")]), "D")

    assert (late.goal, late.queued) == (fp("D"), "")
    assert (paused.goal, paused.queued) == (fp("D"), "")


def test_what_takes_its_turn_leaves_the_queue() -> None:
    """And its previous is what is active then."""
    book = goals.set_goal(world("B", "B", queued="C").book, fp("C"))

    assert (book.goal, book.queued, book.standing(fp("C")).previous) == (fp("C"), "", fp("B"))


def test_a_new_goal_begins_from_nothing() -> None:
    """What was counted, skipped or allowed for the goal before does not hold for this one."""
    before = world("B", hurry="B", rounds=2, returning=True, return_spent=True, rollback=True).book
    after = goals.set_goal(before, fp("C"))

    assert (after.hurry, after.rounds, after.quiet) == ("", 0, None)
    assert (after.returning, after.return_spent, after.rollback) == (False, False, False)


def test_an_automatic_return_begins_from_nothing() -> None:
    """What failed is blamed and stays where it stands; the rollback, the hurry and the rounds were its own."""
    states = {"B": Standing(State.READY, fp("A"))}
    before = world("B", hurry="B", rounds=2, rollback=True, states=states, install=opened(-60)).book
    after = goals.take_return(before, fp("A"), "454")

    assert (after.goal, after.returning, after.return_spent) == (fp("A"), True, True)
    assert (after.hurry, after.rounds, after.quiet, after.rollback) == ("", 0, None, False)
    assert after.standing(fp("B")) == Standing(State.READY, fp("A"), "454")
    assert goals.take_return(replace(before, install=None), fp("A"), "454").standing(fp("B")).blocked == "454"


def test_an_install_begins_the_rounds_and_the_quiet_anew() -> None:
    """Good rounds of what is about to be replaced prove nothing of what replaces it."""
    book = goals.open_install(world("B", rounds=2).book, fp("B"), NOW, (), begun=False)

    assert (book.rounds, book.quiet) == (0, None)
    assert book.install is not None
    assert (book.install.fingerprint, book.install.since, book.install.latest) == (fp("B"), NOW, NOW)
    assert (book.install.was_active, book.install.picture) == (fp("A"), {})


def test_the_previous_is_what_was_active_when_it_first_became_goal() -> None:
    """A second time changes nothing of it †: else two rollbacks would run in a circle."""
    book = goals.set_goal(world("A", "A").book, fp("B"))
    book = goals.set_goal(replace(book, active=fp("C")), fp("B"))
    adopted = goals.set_goal(
        world("B", "B", states={"A": Standing(State.RETIRED, since={"active": NOW.wall})}).book, fp("A")
    )

    assert book.standing(fp("B")).previous == fp("A")
    assert adopted.standing(fp("A")).previous == ""


# ------------------------------------------------------------------------------------ activate


def test_activation_retires_the_predecessor_and_closes_the_install() -> None:
    """7. Goal active, predecessor retired."""
    it = world("B", install=opened(-5), rounds=3, hurry="B", states={"B": State.READY})
    book = goals.activate(it.book, NOW)

    assert (book.active, book.install, book.rounds, book.hurry) == (fp("B"), None, 0, "")
    assert (book.standing(fp("B")).state, book.standing(fp("A")).state) == (State.ACTIVE, State.RETIRED)
    assert book.standing(fp("B")).since["active"] == NOW.wall
    assert book.standing(fp("A")).since["retired"] == NOW.wall
    assert (book.activated, book.quiet) == (NOW, None)


def test_activating_what_is_active_retires_nobody() -> None:
    """A live file that was written again."""
    book = goals.activate(world("A", "A", install=opened(-5, of="A")).book, NOW)

    assert book.standing(fp("A")).state is State.ACTIVE


def test_the_first_instant_of_each_state_is_kept() -> None:
    """A certificate that is served a second time was active first when it was."""
    early = NOW.wall - timedelta(days=9)
    book = goals.mark(world("A", "A").book, fp("B"), State.ACTIVE, early)
    book = goals.mark(book, fp("B"), State.RETIRED, early + timedelta(days=1))
    book = goals.mark(book, fp("B"), State.ACTIVE, NOW.wall)

    assert book.standing(fp("B")).state is State.ACTIVE
    assert book.standing(fp("B")).since["active"] == early
    assert goals.mark(world(states={"B": State.READY}).book, fp("B"), State.READY, early).standing(fp("B")) == Standing(
        State.READY, since={"ready": early}
    )


# ------------------------------------------------------------------- rollback, row for row


def rolled(it: World, **options: Any) -> World:
    """Return the world after a rollback."""
    return replace(it, book=goals.rollback(it, NOW, **options)[0])


def loaded(it: World, words: str) -> World:
    """Return the world with what is in the live file, and loaded."""
    return replace(it, book=replace(it.book, reloads={FILE: Reload(f"identity of {words}", at(-1))}))


def deploying(**it: Any) -> World:
    """Return a world in which B was deployed over A."""
    return world("B", **{"states": {"B": Standing(State.READY, fp("A"))}, **it})


def over(**it: Any) -> World:
    """Return a world in which B is active and A was replaced."""
    states = {"B": Standing(State.ACTIVE, fp("A")), "A": Standing(State.RETIRED)}
    return world("B", "B", **{"loaded": "B", "states": states, **it})


def test_row_1_the_goal_was_never_installed() -> None:
    """Previous is the goal again; the new record is withdrawn like any other."""
    it = rolled(deploying(ledger=WAITING))
    assert (it.book.goal, it.book.rollback, it.book.quiet) == (fp("A"), True, None)

    step: Step = decided(replace(it, book=replace(it.book, quiet=at(-999))), look("A B"))
    assert isinstance(step, Rest)
    assert (step.phase, step.seconds) == (Phase.RETAINING, 1)
    step = decided(replace(it, book=replace(it.book, quiet=at(-1000))), look("A B"))
    assert isinstance(step, Update)
    assert step.changes[0].delete == r("B")


@pytest.mark.parametrize("shows", ["A", "B", "A B", "454"])
def test_row_2_the_live_file_is_written_or_verification_runs(shows: str) -> None:
    """Previous is reinstalled at once."""
    it = rolled(deploying(ledger=[past("A", -2 * TTL)], loaded="B", install=opened(-5)))

    assert isinstance(decided(it, look("A B", shows, "B")), Install)


def test_row_3_the_goal_is_active_and_previous_still_retired() -> None:
    """Previous is reinstalled at once: its record never left."""
    it = rolled(over(ledger=[past("A", -500)]))

    assert isinstance(decided(it, look("A B", "B", "B")), Install)


def test_row_4_previous_is_removed() -> None:
    """Published, waited for, installed."""
    removed = rolled(over(states={"B": Standing(State.ACTIVE, fp("A")), "A": State.REMOVED}))
    step = decided(removed, look("B", "B", "B"))
    assert isinstance(step, Update)
    assert step.changes[0].add == r("A")

    waiting = replace(removed, ledgers=world(ledger=[past("B", -10)]).ledgers)
    step = decided(waiting, look("A B", "B", "B"))
    assert isinstance(step, Rest)
    assert (step.phase, step.seconds) == (Phase.WAITING, 2 * TTL - 10)

    ready = replace(removed, ledgers=world(ledger=[past("B", -2 * TTL)]).ledgers)
    assert isinstance(decided(ready, look("A B", "B", "B")), Install)


def test_row_4_the_withdrawal_of_previous_is_under_way() -> None:
    """An update that may still land counts as shown: nothing is installed beside it."""
    it = rolled(over(ledger=[past("B", None, intended=-5)]))
    step = decided(it, look("A B", "B", "B"))

    assert isinstance(step, Rest)
    assert step.phase is Phase.PROPAGATING


def test_row_5_with_now() -> None:
    """3 is waited for, 4 is skipped; the command first says for how many seconds senders will defer."""
    it = over(states={"B": Standing(State.ACTIVE, fp("A")), "A": State.REMOVED}, ledger=[past("B", None, ttl=300)])
    it = rolled(it, hurry=True)
    assert it.book.hurry == fp("A")
    assert goals.hurry_cost(it, fp("A"), NOW) == {OWNER: (303, False)}

    assert isinstance(decided(it, look("B", "B", "B")), Update)
    late = decided(it, look(owner("A B", "B"), "B", "B"))
    assert isinstance(late, Rest)
    assert late.phase is Phase.PROPAGATING
    assert isinstance(decided(it, look("A B", "B", "B")), Install)


GONE = {
    "expired": (over(vault="B", more=[credential("A", days=-1)]), {}, "expired"),
    "revoked": (over(states={"B": Standing(State.ACTIVE, fp("A")), "A": State.REVOKED}), {}, "revoked"),
    "its key was revoked with another certificate": (
        over(
            states={"B": Standing(State.ACTIVE, fp("A2=A")), "A2=A": State.RETIRED, "A": State.REVOKED},
            vault="A B A2=A",
        ),
        {},
        "revoked",
    ),
    "absent, or its key gone": (over(vault="B"), {}, "not in the vault"),
    "never there": (world("A", "A"), {}, "no previous"),
    "no certificate at all": (over(), {"to": "0123456789abcdef"}, "is no certificate in the vault"),
    "too short a name": (over(), {"to": fp("A")[:7]}, "is no certificate in the vault"),
}


@pytest.mark.parametrize(("it", "options", "why"), GONE.values(), ids=GONE)
def test_row_6_previous_cannot_be_served(it: World, options: dict[str, Any], why: str) -> None:
    """Refused with 65, with what can be done instead."""
    with pytest.raises(goals.GoalRefused, match=why) as refusal:
        goals.rollback(it, NOW, **options)

    assert refusal.value.exit_code == EX_DATAERR
    assert refusal.value.hint


@pytest.mark.parametrize("hurry", [False, True])
def test_a_rollback_to_what_has_lost_its_key_since_is_refused(*, hurry: bool) -> None:
    """Asked again, it says what is missing, not that it is under way."""
    under_way = rolled(over())
    left = {f: c for f, c in under_way.credentials.items() if f != fp("A")}

    with pytest.raises(goals.GoalRefused, match="not in the vault"):
        goals.rollback(replace(under_way, credentials=left), NOW, hurry=hurry)


def test_a_name_that_two_certificates_have_is_refused() -> None:
    """Nobody guesses which one was meant."""
    it = over()
    twin = replace(credential("C"), fingerprint=fp("A")[:20] + "0" * 44)

    with pytest.raises(goals.GoalRefused, match="more than one"):
        goals.rollback(replace(it, credentials={**it.credentials, twin.fingerprint: twin}), NOW, to=fp("A")[:8])


# ------------------------------------------------------------------------------------ rollback


def test_a_rollback_empties_the_queue() -> None:
    """What waits for its turn would undo it."""
    assert rolled(over(queued="C")).book.queued == ""
    assert rolled(over(queued="C"), to=fp("B")).book.queued == ""


def test_a_rollback_of_a_rollback_changes_nothing() -> None:
    """When the goal is already a rollback it changes nothing: whoever runs it twice must not be back where he was."""
    it = rolled(over())
    book, said = goals.rollback(it, NOW)
    assert book == it.book
    assert "under way" in said

    done = replace(it, book=goals.activate(it.book, NOW))
    book, said = goals.rollback(done, NOW)
    assert book == done.book
    assert "nothing changes" in said
    assert goals.rollback(done, NOW, hurry=True)[0] == done.book


def test_after_an_automatic_return_a_rollback_changes_nothing() -> None:
    """The same holds for what was put back by itself."""
    it = deploying(ledger=WAITING, install=opened(-60))
    it = replace(it, book=goals.take_return(it.book, fp("A"), "454"))

    assert goals.rollback(it, NOW)[0] == it.book
    done = replace(it, book=goals.activate(it.book, NOW))
    assert goals.rollback(done, NOW)[0] == done.book


def test_unless_it_adds_now() -> None:
    """--now takes the wait from the rollback that is under way."""
    it = rolled(over())

    assert goals.rollback(it, NOW, hurry=True)[0] == replace(it.book, hurry=fp("A"))


def test_unless_it_names_another_one() -> None:
    """--to is what a person wants, whatever was before; eight digits are enough, with colons and capitals too."""
    it = rolled(over())
    colons = ":".join(fp("C")[i : i + 2] for i in range(0, 16, 2)).upper()

    assert rolled(it, to=colons).book.goal == fp("C")
    assert rolled(it, to=fp("B")[:8]).book.goal == fp("B")


def test_a_rollback_takes_the_blame_from_what_it_names() -> None:
    """It may be tried again: the automatic return is allowed again too."""
    states = {"B": Standing(State.READY, fp("A"), "454")}
    it = rolled(world("A", "A", states=states, return_spent=True), to=fp("B"))

    assert (it.book.goal, it.book.return_spent) == (fp("B"), False)
    assert it.book.standing(fp("B")) == Standing(State.READY, fp("A"))


def test_a_deploy_after_a_rollback_is_no_rollback() -> None:
    """A newer certificate is a goal like any other, with a rollback of its own."""
    it = rolled(over())
    it = loaded(replace(it, book=goals.activate(it.book, NOW)), "A")
    book = deployed(it, "C")

    assert (book.goal, book.rollback, book.returning) == (fp("C"), False, False)
    assert goals.rollback(replace(it, book=book), NOW)[0].goal == fp("A")


def test_a_goal_that_is_named_again_stays_what_it_is() -> None:
    """--to the wanted certificate: nothing but the queue changes."""
    it = deploying(ledger=WAITING)
    book, said = goals.rollback(it, NOW, to=fp("B"))

    assert book == it.book
    assert "already the wanted one" in said
    assert goals.rollback(it, NOW, to=fp("B"), hurry=True)[0].hurry == fp("B")


HURRY: dict[str, tuple[list[Any], tuple[float, bool] | None]] = {
    "what is shown: its whole TTL and what is rounded up, from when the record is on every server": (
        [past("B", None, ttl=300)],
        (303, False),
    ),
    "what is gone: the rest of one TTL, not of two, from now": ([past("B", -40)], (63, True)),
    "the longest of several, one of which is shown": ([past("B", -40), past("C", None, ttl=70)], (73, False)),
    "what nobody saw counts too": ([past(None, -40)], (63, True)),
    "the last second": ([past("B", -102)], (1, True)),
    "nothing left": ([past("B", -103)], None),
    "nothing that does not match": ([past("A B", None)], None),
}


@pytest.mark.parametrize(("ledger", "cost"), HURRY.values(), ids=HURRY)
def test_what_a_hurry_costs(ledger: list[Any], cost: tuple[float, bool] | None) -> None:
    """At most the longest TTL in the ledger, announced: one TTL, rounded up, is what can be held."""
    assert goals.hurry_cost(over(ledger=ledger), fp("A"), NOW) == ({OWNER: cost} if cost else {})


# --------------------------------------------------------------------------------------- pause


def test_a_pause_is_noted_with_its_end() -> None:
    """With --for it ends by itself, else never."""
    book = world().book

    assert goals.pause(book, NOW, None).pause == Pause(NOW, None)
    assert goals.pause(book, NOW, at(60).wall).pause == Pause(NOW, at(60).wall)


def test_resume_permits_to_refill_only_what_was_emptied() -> None:
    """It permits only the owners empty at that moment, of those that were seen with records."""
    book = goals.pause(world().book, NOW, None)
    after = goals.resume(replace(book, releasing=True), frozenset({OWNER, "_25._tcp.new.example.org."}))

    assert (after.pause, after.releasing) == (None, False)
    assert after.refill == frozenset({OWNER})
    assert goals.resume(replace(book, refill=frozenset({"x."})), frozenset()).refill == frozenset({"x."})


def test_an_expired_certificate_ends_with_its_last_second() -> None:
    """A certificate is not served from the instant on at which it ends."""
    ends_now = replace(credential("A"), not_after=NOW.wall)
    later = replace(credential("A"), not_after=NOW.wall + timedelta(seconds=1))

    assert goals.expired(ends_now, NOW.wall)
    assert not goals.expired(later, NOW.wall)
    assert SERVICE.owners == (OWNER,)
