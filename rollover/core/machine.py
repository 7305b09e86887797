"""decide(): the whole protocol. This file decides; everything else does what it is told.

Level-triggered: it looks at what is, not at what was done. The numbers are those of protocol.md.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from rollover.core.changes import (
    premature,
    protecting,
    publishing,
    safe,
    shadowing,
    switched_off,
    withdrawing,
    withdrawing_revoked,
)
from rollover.core.gates import propagate, wait
from rollover.core.model import State, World
from rollover.core.servers import running_out
from rollover.core.sighting import Outcome, OwnerSighting, Sighting
from rollover.core.steps import Activate, Install, OwnerChange, Phase, Reload, Rest, SetGoal, Step, Update
from rollover.core.timing import elapsed, elapsed_boot, remaining
from rollover.core.view import View, expired

ROUNDS = 3
LONGEST_RELOAD_INTERVAL = 86400.0


def decide(world: World, seen: Sighting) -> Step:
    """Return the one next thing to do. Total: every state, every sighting. Pure."""
    view = View(world, seen)
    if not world.book.adopted:
        return Rest(Phase.UNADOPTED, "not adopted", problems=(view.problem("not-adopted", "was never adopted"),))
    if world.book.releasing:
        for rule in (judge, protect):  # a release that was cut off is no reason to let mail fail
            if (step := rule(view)) is not None:
                return step
        problems = (view.problem("releasing", "its release was begun and is not finished"),)
        return Rest(Phase.PAUSED, "being released", action="release", problems=problems)
    for rule in (
        judge,
        protect,
        paused,
        take_turn,
        unusable,
        publish,
        propagate,
        wait,
        install,
        verify,
        activate,
        withdraw,
    ):
        if (step := rule(view)) is not None:
            return step
    return Rest(Phase.STEADY, "all is done")


def judge(view: View) -> Step | None:
    """0. An install that still fails after verify_timeout is taken back, before all else."""
    book, service = view.world.book, view.world.service
    opened = book.install
    if opened is None:
        return None
    failing = view.failing()
    if not failing or elapsed_boot(opened.latest, view.now) < service.verify_timeout:
        return None
    back, failed = view.world.credentials.get(opened.was_active), opened.fingerprint or book.goal
    if book.return_spent or back is None or back.fingerprint in (book.goal, failed) or not view.may_serve(back):
        return None  # stay; report() says critical
    if view.loaded(back):
        return None  # it is what fails: there is nothing to take back
    why = "; ".join(failing)
    problems = (view.problem("returned", f"certificate {failed[:16]} was taken back: {why}"),)
    return SetGoal(back.fingerprint, why, returning=True, problems=problems)


def protect(view: View) -> Step | None:
    """1. What is presented and in the vault is published at once, in the combinations that are there."""
    return _first_update(view, protecting, "served, and not matched in DNS", Phase.PUBLISHING)


def paused(view: View) -> Step | None:
    """A person's pause stops everything but 0, 1 and the install of a return or a rollback."""
    book, pause = view.world.book, view.world.book.pause
    if pause is None:
        return None
    left = None
    if pause.until is not None:
        left = remaining(pause.since, (pause.until - pause.since.wall).total_seconds(), view.now)
        if left == 0.0:
            return None
    problems = (view.problem("paused", "a person paused it"),)
    action = "resume" if left is not None else ""
    rest = Rest(Phase.PAUSED, "paused by a person", seconds=left, action=action, problems=problems)
    if not (book.rollback or book.returning):
        return rest
    if any(publishing(view, o) is not None for o in view.seen.owners) and not _can_return(view):
        return rest
    for rule in (unusable, propagate, wait, install, verify, activate):
        if (step := rule(view)) is not None:
            return replace(step, problems=(*problems, *step.problems))
    return rest


def take_turn(view: View) -> Step | None:
    """A queued certificate becomes the goal when nothing is under way, or what is has taken too long."""
    book, goal, queued = view.world.book, view.world.goal, view.world.credentials.get(view.world.book.queued)
    if queued is None or not view.may_serve(queued):
        return None
    if book.install is not None:
        if elapsed_boot(book.install.since, view.now) < 2 * view.world.service.verify_timeout:
            return None
        if book.returning and goal is not None and not view.loaded(goal):
            gate = propagate(view)
            if gate is None or gate.phase is not Phase.BLOCKED:
                return None  # first away from what fails; the queued one has to be waited for
    elif book.goal != book.active and goal is not None and view.may_serve(goal):
        return None
    return SetGoal(queued.fingerprint, "its turn: the one before it is done")


def unusable(view: View) -> Step | None:
    """A goal that must not be served (any more) and is not: say so and stand still."""
    goal = view.world.goal
    if goal is None:
        return view.blocked("goal-unusable", "no wanted certificate, or its key is gone from the vault")
    if view.world.revoked(goal.spki):
        return view.blocked("goal-unusable", f"the key of the wanted certificate {goal.fingerprint[:16]} is revoked")
    if expired(goal, view.now.wall) and goal.fingerprint != view.world.book.active:
        return view.blocked("goal-unusable", f"the wanted certificate {goal.fingerprint[:16]} is expired")
    return None


def publish(view: View) -> Step | None:
    """2. What the goal needs and the primary lacks, in one UPDATE for the owners of a zone.

    What cannot be published does not hold back a return that needs nothing published.
    """
    step = _publish(view)
    return None if isinstance(step, Rest) and _can_return(view) else step


def _publish(view: View) -> Step | None:
    for owner in view.seen.owners:
        if owner.primary is not None and shadowing(owner) and _needs_update(view, owner):
            text = f"{owner.owner} has its record from {owner.primary.wildcard}; an explicit record would hide that from others"
            return view.blocked("wildcard-shadow", text)
    for owner in view.seen.owners:
        if why := premature(view, owner):
            return view.blocked("first-record", f"the first record of {owner.owner} would turn DANE on, and {why}")
    empty = [o.owner for o in view.seen.owners if switched_off(view, o)]
    step = _first_update(view, publishing, "the wanted certificate needs it", Phase.PUBLISHING)
    if step is not None or not empty:
        return step
    names = ", ".join(empty)
    return view.blocked("dane-off", f"no TLSA record at {names}, where there was one: somebody switched DANE off")


def install(view: View) -> Step | None:
    """5. Write the goal where the mail server reads it; reload until it is shown."""
    goal, book = view.goal, view.world.book
    live = view.seen.live
    wiring = [x.wiring for x in live if x.wiring]
    wrong = [x for x in live if not view.live_is(x, goal)]
    unloaded = tuple(x.path for x in live if not view.reload_recorded(x))
    # Somebody else wrote the file: loading it is an install like any other, judged and taken back if it fails.
    unopened = bool(unloaded) and book.install is None and book.goal != book.active
    if wiring and wrong and not view.is_return:
        return view.blocked("wiring", "; ".join(wiring))
    if wrong or unopened:
        path = (wrong or live)[0].path
        if "install" in view.world.failed:
            return Rest(Phase.INSTALLING, f"{path} could not be written", action="install")
        return Install(goal.fingerprint, why=f"{path} is to hold {goal.fingerprint[:16]}")
    if unloaded and "reload" not in view.world.failed:
        return Reload(unloaded, why="the file is new")
    if unloaded:
        return Rest(Phase.INSTALLING, "the daemon could not be reloaded", action="install")
    other = [e for e in view.seen.endpoints if e.outcome is Outcome.PRESENTED and not view.shows_only(e, goal)]
    if not other or "reload" in view.world.failed:
        return None
    stale = tuple(
        x.path
        for x in live
        if elapsed_boot(book.reloads[x.path].at, view.now)
        >= min(LONGEST_RELOAD_INTERVAL, view.world.service.verify_timeout * 2 ** min(book.reloads[x.path].repeats, 20))
    )
    return Reload(stale, why=f"{other[0].endpoint} presents something else", again=True) if stale else None


def verify(view: View) -> Step | None:
    """6. New full handshakes with every endpoint, in three rounds."""
    goal, book = view.goal, view.world.book
    if book.install is None and book.goal == book.active:
        return None
    going_back = book.rollback or book.returning
    phase = Phase.ROLLING_BACK if going_back else Phase.VERIFYING
    if failing := view.failing():
        return Rest(phase, "; ".join(failing), soon=True, action="verify")
    odd = [e for e in view.seen.endpoints if not (view.shows_only(e, goal) and view.accepted(e, goal))]
    if odd:
        return Rest(
            phase,
            f"{odd[0].endpoint} does not present the new certificate yet: {odd[0].detail or odd[0].outcome}",
            soon=True,
            action="verify",
        )
    if book.rounds < ROUNDS:
        at_once = 0.0 if view.proven(goal) else None
        return Rest(phase, f"round {book.rounds} of {ROUNDS} was good", seconds=at_once, soon=True, action="verify")
    return None


def activate(view: View) -> Step | None:
    """7. The goal is proven everywhere: it is active, its predecessor retired."""
    goal, book = view.goal, view.world.book
    if book.install is None and book.goal == book.active:
        return None
    if not view.proven(goal):
        return Rest(Phase.VERIFYING, "not every endpoint could be proven", soon=True, action="verify")
    return Activate(goal.fingerprint, why=f"{len(view.seen.endpoints)} endpoints present it")


def withdraw(view: View) -> Step | None:
    """8. Records of ours that nothing needs any more, when nothing else was presentable for long enough."""
    service, book = view.world.service, view.world.book
    if all(withdrawing(view, o) is None for o in view.seen.owners):
        replaced = any(it.state is State.RETIRED for it in book.standings.values())
        if replaced and any(o.primary is None for o in view.seen.owners):  # it may have what has to go
            return Rest(Phase.RETAINING, "the primary was not seen", action="withdraw")
        return None
    if book.quiet is None or not view.proven(view.goal):
        return Rest(Phase.RETAINING, "not every endpoint presents the served certificate", action="withdraw")
    revoked = [c for o in view.seen.owners if (c := withdrawing_revoked(view, o)) is not None]
    plan, why, left = withdrawing, "nothing needs it any more", max(service.retain, service.drain)
    if revoked and elapsed(book.quiet, view.now) < left:  # a revoked key's record is kept for nobody
        plan, why, left = withdrawing_revoked, "its key is revoked", service.drain
    if (left := remaining(book.quiet, left, view.now)) > 0:
        kept = "the replaced certificate's record is kept for a rollback"
        if plan is withdrawing_revoked:
            kept = "the record of a revoked key is kept for `drain` only"
        return Rest(Phase.RETAINING, kept, seconds=left, action="withdraw")
    if not view.seen.clock_agrees:
        return Rest(Phase.RETAINING, view.seen.clock_problem or "the clock could not be checked", action="withdraw")
    if ending := [x for o in view.seen.owners for x in running_out(o, view.now.wall)]:
        return Rest(Phase.RETAINING, f"{ending[0].server} {ending[0].reason}", action="withdraw")
    refused = Rest(Phase.WITHDRAWING, "the primary did not take the withdrawal", action="withdraw")
    return _first_update(view, plan, why, Phase.WITHDRAWING) or refused


# ------------------------------------------------------------------------------------------ parts


def _can_return(view: View) -> bool:
    """Tell whether the goal is one to go back to that is ready by the ledger and not yet served."""
    goal = view.world.goal
    return goal is not None and view.is_return and not view.loaded(goal) and view.ready_left(goal) == 0.0


def _needs_update(view: View, owner: OwnerSighting) -> bool:
    change = publishing(view, owner)
    return change is not None and f"update:{owner.target}" not in view.world.failed


def _first_update(
    view: View, plan: Callable[[View, OwnerSighting], OwnerChange | None], why: str, phase: Phase
) -> Step | None:
    """Return one UPDATE with the changes of the first zone that has any.

    An unsafe one is not sent, and reported when nothing else is left to send.
    """
    found: dict[str, OwnerChange] = {}
    for owner in view.seen.owners:
        if f"update:{owner.target}" in view.world.failed:
            continue
        if (change := plan(view, owner)) is not None:
            found.setdefault(change.target, change)
    allowed = [c for c in found.values() if safe(view, c)]
    if allowed:
        zone = allowed[0].zone
        return Update(zone, tuple(c for c in allowed if c.zone == zone), why, phase)
    if found:
        text = f"the update of {next(iter(found))} would make senders refuse a certificate that is in use"
        return view.blocked("update-unsafe", text)
    return None
