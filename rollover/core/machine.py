"""decide(): the whole protocol. This file decides; everything else does what it is told.

Level-triggered: it looks at what is, not at what was done. The numbers are those of protocol.md.
"""

from __future__ import annotations

from collections.abc import Callable

from rollover.core.changes import protecting, publishing, safe, shadowing, withdrawing
from rollover.core.ledger import wait_left
from rollover.core.model import Credential, State, World
from rollover.core.problems import Problem, problem
from rollover.core.servers import Laggard, badly_signed, incomplete, lacking
from rollover.core.sighting import Outcome, OwnerSighting, Sighting
from rollover.core.steps import Activate, Install, OwnerChange, Phase, Reload, Rest, SetGoal, Step, Update
from rollover.core.timing import elapsed, elapsed_boot
from rollover.core.tlsa import valid
from rollover.core.view import View, expired, unmatched

ROUNDS = 3
LONGEST_RELOAD_INTERVAL = 86400.0


def decide(world: World, seen: Sighting) -> Step:
    """Return the one next thing to do. Total: every state, every sighting. Pure."""
    if not world.book.adopted:
        return Rest(Phase.UNADOPTED, "not adopted", problems=(_problem(world, "not-adopted", "was never adopted"),))
    if world.book.releasing:
        return Rest(Phase.PAUSED, "being released", action="release")
    view = View(world, seen)
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
    back = view.world.credentials.get(opened.was_active)
    if book.return_spent or back is None or back.fingerprint == book.goal or not _may_serve(view, back):
        return None  # stay; report() says critical
    why = "; ".join(failing)
    return SetGoal(
        back.fingerprint,
        why,
        returning=True,
        problems=(_problem(view.world, "returned", f"certificate {book.goal[:16]} was taken back: {why}"),),
    )


def protect(view: View) -> Step | None:
    """1. What is presented and in the vault is published at once, in the combinations that are there."""
    return _first_update(view, protecting, "served, and not matched in DNS", Phase.PUBLISHING)


def paused(view: View) -> Step | None:
    """A person's pause stops everything but 0, 1 and the install of a return or a rollback."""
    pause = view.world.book.pause
    if pause is None or (pause.until is not None and pause.until <= view.now.wall):
        return None
    left = None if pause.until is None else (pause.until - view.now.wall).total_seconds()
    rest = Rest(
        Phase.PAUSED,
        "paused by a person",
        seconds=left,
        action="resume" if left is not None else "",
        problems=(_problem(view.world, "paused", "a person paused it"),),
    )
    book = view.world.book
    if not (book.rollback or book.returning):
        return rest
    for rule in (unusable, propagate, wait, install, verify, activate):
        if (step := rule(view)) is not None:
            return step
    return rest


def take_turn(view: View) -> Step | None:
    """A queued certificate becomes the goal when nothing is under way, or what is has taken too long."""
    book = view.world.book
    if not book.queued or book.queued not in view.world.credentials:
        return None
    if book.install is not None:
        if elapsed_boot(book.install.since, view.now) < 2 * view.world.service.verify_timeout:
            return None
    elif book.goal != book.active:
        return None
    return SetGoal(book.queued, "its turn: the one before it is done")


def unusable(view: View) -> Step | None:
    """A goal that must not be served (any more) and is not: say so and stand still."""
    goal = view.world.goal
    if goal is None:
        return _blocked(view, "goal-unusable", "no wanted certificate, or its key is gone from the vault")
    if goal.fingerprint == view.world.book.active:
        return None
    if expired(goal, view.now.wall):
        return _blocked(view, "goal-unusable", f"the wanted certificate {goal.fingerprint[:16]} is expired")
    if view.world.book.standing(goal.fingerprint).state is State.REVOKED:
        return _blocked(view, "goal-unusable", f"the wanted certificate {goal.fingerprint[:16]} is revoked")
    return None


def publish(view: View) -> Step | None:
    """2. What the goal needs and the primary lacks, in one UPDATE for the owners of a zone."""
    for owner in view.seen.owners:
        if owner.primary is not None and shadowing(owner) and _needs_update(view, owner):
            text = f"{owner.owner} has its record from {owner.primary.wildcard}; an explicit record would hide that from others"
            return _blocked(view, "wildcard-shadow", text)
    empty = [o.owner for o in view.seen.owners if _switched_off(view, o)]
    step = _first_update(view, publishing, "the wanted certificate needs it", Phase.PUBLISHING)
    if step is not None or not empty:
        return step
    names = ", ".join(empty)
    return _blocked(view, "dane-off", f"no TLSA record at {names}, where there was one: somebody switched DANE off")


def propagate(view: View) -> Step | None:
    """3. Every server was reached, is not behind, has what the goal needs, signed well."""
    if _loaded(view):
        return None  # the gate is for what is yet to be installed; report() tells of late servers
    goal = _goal(view)
    blocked = tuple(o for o in view.seen.owners if o.blocked)
    if blocked:
        return _blocked(view, "owner-blocked", "; ".join(f"{o.owner} {o.blocked}" for o in blocked))
    for owner in view.seen.owners:
        primary = owner.primary
        foreign = unmatched(primary.rrset, goal.chain) if primary is not None and primary.rrset is not None else None
        if foreign and not _needs_update(view, owner):
            named = ", ".join(f'"{r}"' for r in sorted(foreign))
            remove = " ".join(f'--remove "{r}"' for r in sorted(foreign))
            return _blocked(
                view,
                "foreign-record",
                f"{owner.target} has {named}, which the new certificate does not match",
                hint=f"if nobody needs it: `rollover adopt {view.world.service.name} {remove}`",
            )
    if _is_return(view) and _ready(view) == 0.0:
        return None
    refused = [code for o in view.seen.owners if (code := view.world.failed.get(f"update:{o.target}"))]
    if refused:
        phase = Phase.BLOCKED if "update-not-applied" in refused else Phase.PUBLISHING
        return Rest(phase, "the primary did not take the update", action="publish")
    late: list[Laggard] = []
    for owner in view.seen.owners:
        primary = owner.primary
        rrset = primary.rrset if primary is not None and primary.rrset is not None else frozenset()
        late += incomplete(owner)
        late += lacking(owner, view.needed(goal.chain, rrset), goal.chain)
        late += badly_signed(owner)
    if not late:
        return None
    by_server = {x.server: x for x in reversed(late)}
    problems = tuple(_problem(view.world, x.code, f"{x.server} {x.reason}") for x in reversed(by_server.values()))
    return Rest(Phase.PROPAGATING, problems[0].message, soon=True, action="wait", problems=problems)


def wait(view: View) -> Step | None:
    """4. Until no resolver can hold an RRset that does not match the goal."""
    if _loaded(view) or view.world.book.hurry == _goal(view).fingerprint:
        return None
    left = _ready(view)
    if left == 0.0 and (view.seen.clock_agrees or _never_in_doubt(view)):
        return _resolver_holds(view)
    if left is None:
        return Rest(Phase.PROPAGATING, "some server may still serve an older RRset", soon=True, action="wait")
    if not view.seen.clock_agrees:
        said = view.seen.clock_problem or "no signed answer of the primary agreed with our clock"
        code = "clock" if view.seen.clock_problem else "primary-unreachable"
        return Rest(Phase.WAITING, said, seconds=left, action="install", problems=(_problem(view.world, code, said),))
    return Rest(Phase.WAITING, "until no resolver can hold the old RRset", seconds=left, action="install")


def install(view: View) -> Step | None:
    """5. Write the goal where the mail server reads it; reload until it is shown."""
    goal, book = _goal(view), view.world.book
    live = view.seen.live
    wiring = [x.wiring for x in live if x.wiring]
    wrong = [x for x in live if not view.live_is(x, goal)]
    if wiring and wrong and not _is_return(view):
        return _blocked(view, "wiring", "; ".join(wiring))
    if wrong and "install" not in view.world.failed:
        return Install(goal.fingerprint, why=f"{wrong[0].path} is to hold {goal.fingerprint[:16]}")
    if wrong:
        return Rest(Phase.INSTALLING, f"{wrong[0].path} could not be written", action="install")
    unloaded = tuple(x.path for x in live if not view.reload_recorded(x))
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
    goal, book = _goal(view), view.world.book
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
        return Rest(phase, f"round {book.rounds} of {ROUNDS} was good", seconds=0.0, soon=True, action="verify")
    return None


def activate(view: View) -> Step | None:
    """7. The goal is proven everywhere: it is active, its predecessor retired."""
    goal, book = _goal(view), view.world.book
    if book.install is None and book.goal == book.active:
        return None
    if not view.proven(goal):
        return Rest(Phase.VERIFYING, "not every endpoint could be proven", soon=True, action="verify")
    return Activate(goal.fingerprint, why=f"{len(view.seen.endpoints)} endpoints present it")


def withdraw(view: View) -> Step | None:
    """8. Records of ours that nothing needs any more, when nothing else was presentable for long enough."""
    service, book = view.world.service, view.world.book
    surplus = [c for o in view.seen.owners if (c := withdrawing(view, o)) is not None]
    if not surplus:
        return None
    goal = _goal(view)
    if book.quiet is None or not view.proven(goal):
        return Rest(Phase.RETAINING, "not every endpoint presents the served certificate", action="withdraw")
    span = service.drain if _only_revoked(view) else max(service.retain, service.drain)
    left = span - elapsed(book.quiet, view.now)
    if left > 0:
        return Rest(
            Phase.RETAINING, "the replaced certificate's record is kept for a rollback", seconds=left, action="withdraw"
        )
    if not view.seen.clock_agrees:
        return Rest(Phase.RETAINING, view.seen.clock_problem or "the clock could not be checked", action="withdraw")
    return _first_update(view, withdrawing, "nothing needs it any more", Phase.WITHDRAWING)


# ------------------------------------------------------------------------------------------ parts


def _problem(world: World, code: str, message: str, hint: str = "") -> Problem:
    return problem(code, message, service=world.service.name, hint=hint)


def _blocked(view: View, code: str, message: str, hint: str = "") -> Rest:
    return Rest(Phase.BLOCKED, message, problems=(_problem(view.world, code, message, hint),))


def _goal(view: View) -> Credential:
    goal = view.world.goal
    assert goal is not None  # unusable() stands before every rule that asks
    return goal


def _is_return(view: View) -> bool:
    """Tell whether the goal was served before: a return, a rollback, or what is active written again."""
    book = view.world.book
    return book.rollback or book.returning or book.goal == book.active


def _may_serve(view: View, credential: Credential) -> bool:
    state = view.world.book.standing(credential.fingerprint).state
    return not expired(credential, view.now.wall) and state is not State.REVOKED


def _switched_off(view: View, owner: OwnerSighting) -> bool:
    book, primary = view.world.book, owner.primary
    if primary is None or primary.rrset is None or primary.rrset:
        return False
    return owner.owner in book.dane_on and owner.owner not in book.refill


def _ready(view: View) -> float | None:
    """Return the seconds until the goal is ready at every owner; None while unknown."""
    goal, left = _goal(view), 0.0
    for owner in view.seen.owners:
        at_owner = wait_left(view.world.ledger(owner.owner), goal.chain, view.world.service.patience, view.now)
        if at_owner is None:
            return None
        left = max(left, at_owner)
    return left


def _never_in_doubt(view: View) -> bool:
    """Tell whether no RRset in the ledgers is invalid for the goal: then there is nothing to measure."""
    goal = _goal(view)
    return all(e.valid_for(goal.chain) for o in view.seen.owners for e in view.world.ledger(o.owner).entries)


def _loaded(view: View) -> bool:
    """Tell whether the goal is in every live file, and a reload is recorded for each."""
    goal = _goal(view)
    return all(view.live_is(x, goal) and view.reload_recorded(x) for x in view.seen.live)


def _resolver_holds(view: View) -> Step | None:
    """The validating resolver has to say the same before the install; it never holds back a return."""
    if _is_return(view):
        return None
    goal = _goal(view)
    for owner in view.seen.owners:
        said = owner.resolver
        if said.rrset is None:
            code, text = "resolver-failed", f"no answer for {owner.owner}: {said.problem}"
        elif not said.authenticated:
            code, text = (
                "zone-insecure",
                f"the resolver does not authenticate {owner.owner}: {said.problem or 'no AD flag'}",
            )
        elif not valid(said.rrset, goal.chain):
            code, text = "resolver-stale", f"the resolver still gives an older RRset for {owner.owner} (TTL {said.ttl})"
        else:
            continue
        return Rest(
            Phase.WAITING,
            text,
            seconds=float(said.ttl),
            soon=True,
            action="install",
            problems=(_problem(view.world, code, text),),
        )
    return None


def _only_revoked(view: View) -> bool:
    """Tell whether every surplus record belongs to a revoked key only: then only the drain is waited."""
    revoked = [c for f, c in view.world.credentials.items() if view.world.book.standing(f).state is State.REVOKED]
    for owner in view.seen.owners:
        change = withdrawing(view, owner)
        if change is None:
            continue
        theirs = frozenset().union(*(view.needed(c.chain, change.expect) for c in revoked))
        if not change.delete <= theirs:
            return False
    return True


def _needs_update(view: View, owner: OwnerSighting) -> bool:
    change = publishing(view, owner)
    return change is not None and f"update:{owner.target}" not in view.world.failed


def _first_update(
    view: View, plan: Callable[[View, OwnerSighting], OwnerChange | None], why: str, phase: Phase
) -> Step | None:
    """Return one UPDATE with the changes of the first zone that has any; an unsafe one is reported instead."""
    found: dict[str, OwnerChange] = {}
    for owner in view.seen.owners:
        if f"update:{owner.target}" in view.world.failed:
            continue
        if (change := plan(view, owner)) is not None:
            found.setdefault(change.target, change)
    unsafe = [c for c in found.values() if not safe(view, c)]
    if unsafe:
        text = f"the update of {unsafe[0].target} would make senders refuse a certificate that is in use"
        return _blocked(view, "update-unsafe", text)
    if not found:
        return None
    zone = next(iter(found.values())).zone
    return Update(zone, tuple(c for c in found.values() if c.zone == zone), why, phase)
