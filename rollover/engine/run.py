"""The loop: look, remember, decide, do, until there is nothing to do now.

Nothing sleeps here for a TTL. Seconds are waited inside a run where a look may already show the next
state; hours are left to the next tick.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

from rollover import __version__
from rollover.core import goals
from rollover.core.errors import EX_TEMPFAIL, RolloverError, words
from rollover.core.ledger import Ledger, shown_beside
from rollover.core.machine import decide
from rollover.core.memory import remember, remember_owners
from rollover.core.model import Book, World
from rollover.core.problems import Level, Problem, problem
from rollover.core.report import Report, due, failed, needs_person, report, unseen
from rollover.core.sighting import Sighting
from rollover.core.steps import Install, Phase, Rest, Update
from rollover.core.timing import elapsed_boot
from rollover.core.troubles import LATE
from rollover.core.view import GREETED, View
from rollover.engine.alert import raise_alerts
from rollover.engine.cutoff import close_cut_off
from rollover.engine.effects import Failed, perform
from rollover.engine.host import Host
from rollover.engine.look import Looker
from rollover.engine.neighbours import beside, note_shown
from rollover.engine.status import publish_status, reports_with
from rollover.state.lock import locked
from rollover.state.services import Summary

PAUSE = 0.25  # seconds between the first two looks of one run
LONGEST_PAUSE = 1.0  # each is half as long again as the one before: a look is a dozen questions and handshakes
BELIEVED = 30.0  # seconds that a sighting may be old when an effect follows
MOST_STEPS = 60  # a run that does more than this is going round in circles


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a run may take: *lock* seconds for the lock, *linger* for what a look may soon show.

    *look*: seconds for each name server in a look; None for the configured timeout.
    """

    lock: float = 60.0
    linger: float = 5.0
    look: float | None = None


TICK = Patience()
HOOK = Patience(lock=0.3, linger=0.0, look=0.8)


@dataclass(slots=True)
class Outcome:
    """What a run of one service came to."""

    report: Report
    problems: list[Problem] = field(default_factory=list)
    failing: bool = False  # an open install fails, and cannot be judged yet
    error: Exception | None = None  # what stopped the run; *report* and *problems* tell of it too

    @property
    def exit_code(self) -> int:
        """0; 75 when something must be tried again; 1 when a person is needed (interface.md)."""
        # A server that is a moment behind is nothing to try again, unless it is what is waited for.
        waited_for = self.report.phase is Phase.PROPAGATING
        codes = {d.problem.code for d in self.report.problems if waited_for or d.problem.level is not Level.OK}
        if needs_person(self.report):
            return 1
        return 75 if self.problems or codes & (LATE | {"primary-unreachable", "resolver-failed"}) else 0


async def run(host: Host, name: str, patience: Patience = TICK) -> Outcome:
    """Do all that is due now for service *name*. Raises Busy when another run holds the lock.

    Any other error is in the outcome: it is told as a problem of the service, and not the other services'.
    """
    async with locked(host.lock_file, host.clock, patience=patience.lock):
        outcome = await run_locked(host, name, patience)
    if patience is not HOOK:  # it does not stay for a pager: the next tick tells
        await raise_alerts(host, [outcome.report])  # after the lock was given back
    return outcome


async def run_locked(host: Host, name: str, patience: Patience = TICK) -> Outcome:
    """As run(), for a caller that holds the lock, and raises the alerts after giving it back."""
    try:
        return await _run(host, name, patience)
    except Exception as error:
        return _stopped(host, name, error)


async def _run(host: Host, name: str, patience: Patience) -> Outcome:
    looker = Looker(host, name)
    failures: dict[str, str] = {}
    met: list[Problem] = []
    started = host.clock.now()
    proving = looked_beside = False
    pause = PAUSE
    for _ in range(MOST_STEPS):
        take_inbox(looker)
        seen = await looker.look(proving=proving, timeout=patience.look)
        world = enter(looker, seen, failures, proving=proving)
        step = decide(world, seen)
        if isinstance(step, Rest):
            proving = step.phase in (Phase.VERIFYING, Phase.ROLLING_BACK)
            if step.soon and elapsed_boot(started, host.clock.now()) < patience.linger:
                if step.seconds != 0.0:
                    await host.clock.sleep(pause)
                    pause = min(pause * 1.5, LONGEST_PAUSE)
                continue
            return _finish(looker, world, seen, step, met, patience)
        if patience.linger == 0.0 and isinstance(step, Install) and not _all_greeted(seen):
            rest = Rest(
                Phase.INSTALLING, "not every endpoint answered at once: left to the next tick", action="install"
            )
            return _finish(looker, world, seen, rest, met, patience)
        if isinstance(step, Update) and not looked_beside and (others := beside(host, name, step.changes)):
            await _look_beside(host, others, patience)
            looked_beside = True
            continue  # what they present now may need what this update takes away
        if elapsed_boot(seen.time, host.clock.now()) > BELIEVED:
            continue  # the host slept in between: look again
        try:
            await perform(host, world, seen, step)
        except Failed as failure:
            failures.update(dict.fromkeys(failure.key, failure.problem.code))
            met.append(failure.problem)
        if patience.linger == 0.0 and isinstance(step, Update):
            # A hook returns as soon as the record is out; the ticks do the rest.
            rest = (
                Rest(Phase.PUBLISHING, "its record could not be published yet", action="publish")
                if met
                else Rest(
                    Phase.PROPAGATING, "its record is on the primary, every server is looked at next", action="wait"
                )
            )
            return _finish(looker, world, seen, rest, met, patience)
        proving = True
    stuck = Rest(Phase.BLOCKED, f"more than {MOST_STEPS} steps in one run")
    return _finish(looker, world, seen, stuck, met, patience)


async def _look_beside(host: Host, names: Sequence[str], patience: Patience) -> None:
    """Look at services that share an RRset with this one, and remember what they present; nothing is done for them."""
    for name in names:
        looker = Looker(host, name)
        enter(looker, await looker.look(timeout=patience.look), {}, proving=False)


def _all_greeted(seen: Sighting) -> bool:
    """Tell whether the picture that an install keeps would be a true one."""
    return all(e.outcome in GREETED for e in seen.endpoints)


def take_inbox(looker: Looker) -> None:
    """Let what hooks have staged since become the goal, or be queued, in the order in which it came."""
    store, name = looker.host.store, looker.service.name
    for fingerprint in store.inbox(name):
        now = looker.host.clock.now()
        before = looker.book()
        book, said = goals.deploy(looker.world(book=before), fingerprint, now)
        with store.transaction():
            store.save_book(name, book, before)
            store.take_from_inbox(name, fingerprint)
            if book is not before:
                store.event(
                    name,
                    "deployed",
                    f"certificate {fingerprint[:16]} was handed over: {said}",
                    now.wall,
                    fingerprint=fingerprint,
                )


def enter(looker: Looker, seen: Sighting, failed: Mapping[str, str], *, proving: bool) -> World:
    """Store what the sighting says and return the world with it."""
    host, name = looker.host, looker.service.name
    world = looker.world(seen=seen, failed=failed)
    if not world.book.adopted:
        return world
    ledgers: dict[str, Ledger] = remember_owners(world, seen, host.longest_patience)
    world = replace(world, ledgers=ledgers)
    book: Book = remember(world, seen)
    with host.store.transaction():
        ledgers |= _beside(host, seen)
        host.store.save_ledgers(x for o, x in ledgers.items() if x != host.store.ledgers([o]).get(o))
        host.store.save_aliases({o.owner: o.target for o in seen.owners})
        if looker.dns is not None:
            looker.remember_servers(looker.dns, seen.time)
        if book != world.book:
            host.store.save_book(name, book, world.book)
        if book.rounds and proving:
            count = int(host.store.note(f"after:{name}") or 0) + sum(e.connections for e in seen.endpoints)
            host.store.note(f"after:{name}", str(count))
        close_cut_off(host, name, seen)
        note_shown(host, View(replace(world, book=book), seen))
        _tell_states(host, name, world.book, book, seen)
    return replace(world, book=book)


def _beside(host: Host, seen: Sighting) -> dict[str, Ledger]:
    """Return the ledgers of other services' owners that lead to an RRset of this sighting, with what it shows."""
    mine = {o.owner for o in seen.owners}
    by_target = {o.target: o for o in seen.owners}
    others = {o: t for o, t in host.store.aliases().items() if t in by_target and o not in mine}
    return {o: shown_beside(x, by_target[others[o]]) for o, x in host.store.ledgers(others).items()}


def _tell_states(host: Host, name: str, before: Book, after: Book, seen: Sighting) -> None:
    """Write into the history what the sighting has changed in the standing of credentials."""
    for fingerprint, standing in after.standings.items():
        old = before.standing(fingerprint).state
        if standing.state is not old:
            host.store.event(
                name,
                "state",
                f"certificate {fingerprint[:16]} is {standing.state} (was {old})",
                seen.time.wall,
                fingerprint=fingerprint,
                state=standing.state.value,
            )


def _finish(
    looker: Looker, world: World, seen: Sighting, step: Rest, met: list[Problem], patience: Patience
) -> Outcome:
    """Store the report of the run, tell what has changed, raise or clear the alert."""
    host, name = looker.host, looker.service.name
    stored = host.store.report(name)
    before = Report.from_json(stored) if stored else None
    met = [*met, *(p for p in looker.refusals() if p.message not in {m.message for m in met})]
    extra = [*met, *looker.notices()]
    hurried = patience.look is not None
    told = report(View(world, seen), step, extra, before, hurried=hurried)
    if world.book.adopted:
        with host.store.transaction():
            when = None if hurried else due(told, looker.service.check_every)
            host.store.save_report(name, told.as_json(), when)
            _tell_changes(host, before, told, step.why)
    publish_status(host, reports_with(host, {}))
    failing = world.book.install is not None and not world.book.return_spent and bool(View(world, seen).failing())
    return Outcome(told, met, failing)


def _stopped(host: Host, name: str, error: Exception) -> Outcome:
    """Tell of what stopped a run, in every way that the fault has left: it may be the state itself."""
    now, service = host.clock.now().wall, host.service(name)
    message, hint, code = words(error, f"rollover {__version__}")
    level = Level.WARNING if code == EX_TEMPFAIL else None  # what passes by itself wakes nobody
    found = problem("run-failed", message, service=name, level=level, hint=hint)
    it = Summary(adopted=True)
    with suppress(RolloverError):
        it = host.store.summaries().get(name, Summary())
    book = Book(adopted=it.adopted)
    before = Report.from_json(it.report) if it.report else unseen(World(service, book, {}, {}, {}), now)
    told = failed(before, found, now)
    if it.adopted:
        with suppress(RolloverError), host.store.transaction():
            host.store.save_report(name, told.as_json(), None)
            if (found.code, message) not in {(d.problem.code, d.problem.message) for d in before.problems}:
                host.store.event(name, "error", message, now, hint=hint)
        with suppress(RolloverError):
            publish_status(host, reports_with(host, {name: told}))
    return Outcome(told, [found], error=error)


def _tell_changes(host: Host, before: Report | None, told: Report, why: str) -> None:
    """Write into the history what began and what ended: phases and problems."""
    assert told.seen is not None
    old = {(d.problem.code, d.problem.level) for d in before.problems} if before is not None else set()
    new = {(d.problem.code, d.problem.level) for d in told.problems}
    for d in told.problems:
        if (d.problem.code, d.problem.level) not in old and d.problem.level is not Level.OK:
            host.store.event(
                told.name,
                "problem",
                f"{d.problem.level} {d.problem.code}: {d.problem.message}",
                told.seen,
                hint=d.problem.hint,
            )
    for code in sorted({c for c, level in old if level is not Level.OK} - {c for c, _ in new}):
        host.store.event(told.name, "recovered", f"{code} is over", told.seen)
    if before is not None and before.phase is not told.phase:
        host.store.event(told.name, "phase", f"{before.phase} -> {told.phase}: {why}", told.seen)
    if before is not None and told.phase is Phase.STEADY and before.phase is not Phase.STEADY:
        _tell_evidence(host, told)


def _tell_evidence(host: Host, told: Report) -> None:
    """End the history of a rollover with one line of evidence."""
    assert told.seen is not None
    proofs = [e for e in host.store.events(told.name, last=200) if e.kind == "active"]
    done = [e for e in host.store.events(told.name, last=200) if e.kind == "evidence"]
    if proofs and (not done or done[-1].time < proofs[-1].time):
        it = proofs[-1].detail
        text = (
            f"rollover to {it['fingerprint'][:16]} is complete: {len(it['endpoints'])} endpoints proven, "
            f"{it['connections_before']} connections before, {it['connections_after']} after, the old record is gone"
        )
        host.store.event(told.name, "evidence", text, told.seen, **it)
