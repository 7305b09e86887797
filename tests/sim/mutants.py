"""Mutants of the decisions, by name: rules of protocol.md broken on purpose, one at a time.

Each takes what pytest's monkeypatch is. The simulator has to find each by itself: FOUND_BY names the seeds that
did, and `python -m tests.sim --mutants` looks for them anew.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from rollover.core import changes, gates, goals, ledger, machine, memory, servers, timing, view
from rollover.core.ledger import Ledger, Patience
from rollover.core.model import State
from rollover.core.sighting import Outcome
from rollover.core.timing import Instant
from rollover.core.tlsa import EMPTY
from rollover.core.view import View
from rollover.engine import effects, look, neighbours, operate, run, served
from rollover.state.store import Store
from tests.sim.store import MemoryStore

Mutation = Callable[[Any], object]
MUTANTS: dict[str, Mutation] = {}
NEEDS: dict[str, set[str]] = {}


def mutant(name: str, *needs: str) -> Callable[[Mutation], Mutation]:
    """Enter a mutant under its name; *needs*: the events, and the form of the world, without which nobody would notice."""

    def enter(it: Mutation) -> Mutation:
        assert name not in MUTANTS, name
        MUTANTS[name], NEEDS[name] = it, set(needs)
        return it

    return enter


def _nothing(*_: Any, **__: Any) -> None:
    return None


# ------------------------------------------------------------------------------------------ the wait


@mutant("no wait at all")
def _(patch: Any) -> None:
    patch.setattr(machine, "wait", _nothing)


@mutant("the wait is a second short")
def _(patch: Any) -> None:
    whole = Patience.span
    patch.setattr(Patience, "span", lambda self, ttl: whole(self, ttl) - 1)


@mutant("one TTL where two are to be waited")
def _(patch: Any) -> None:
    patch.setattr(Patience, "span", lambda self, ttl: max(ttl, self.min_wait) + self.settle)


@mutant("min_wait is not looked at")
def _(patch: Any) -> None:
    patch.setattr(Patience, "span", lambda self, ttl: self.ttls * ttl + self.settle)


@mutant("settle is not looked at")
def _(patch: Any) -> None:
    patch.setattr(Patience, "span", lambda self, ttl: max(self.ttls * ttl, self.min_wait))


@mutant("the TTL of now, not the one that was served")
def _(patch: Any) -> None:
    whole = ledger.observe

    def observe(before: Ledger, seen: Any, now: Instant, **more: Any) -> Ledger:
        after = whole(before, seen, now, **more)
        ttl = seen.primary.ttl if seen.primary is not None else None
        entries = tuple(e if ttl is None or e.gone is None else replace(e, ttl=min(e.ttl, ttl)) for e in after.entries)
        return replace(after, entries=entries)

    patch.setattr(memory, "observe", observe)


@mutant("the shortest wait of all RRsets, not the longest")
def _(patch: Any) -> None:
    def wait_left(of: Ledger, chain: Any, patience: Patience, now: Instant) -> float | None:
        left = []
        for entry in of.entries:
            if not entry.valid_for(chain):
                if entry.gone is None:
                    return None
                left.append(max(0.0, patience.span(entry.ttl) - ledger.elapsed(entry.gone, now)))
        return min(left, default=0.0)

    patch.setattr(view, "wait_left", wait_left)


@mutant("an RRset that a server still shows is not waited for")
def _(patch: Any) -> None:
    whole = ledger.wait_left

    def wait_left(of: Ledger, *rest: Any) -> float | None:
        return whole(replace(of, entries=tuple(e for e in of.entries if e.gone is not None)), *rest)

    patch.setattr(view, "wait_left", wait_left)


@mutant("ready at one owner is ready at all", "two zones")
def _(patch: Any) -> None:
    def ready_left(self: View, goal: Any) -> float | None:
        found = [
            ledger.wait_left(self.world.ledger(o), goal.chain, self.world.service.patience, self.now)
            for o in self.world.service.owners
        ]
        known = [left for left in found if left is not None]
        return min(known) if known else None

    patch.setattr(View, "ready_left", ready_left)


# ------------------------------------------------------------------------------------------ the ledger


@mutant("gone from the primary is gone")
def _(patch: Any) -> None:
    whole = ledger.observe

    def observe(before: Ledger, seen: Any, now: Instant, **more: Any) -> Ledger:
        return whole(before, replace(seen, servers=tuple(a for a in seen.servers if a.primary)), now, **more)

    patch.setattr(memory, "observe", observe)


@mutant("a relapse is not noticed", "relapse")
def _(patch: Any) -> None:
    whole = ledger._look_again

    def look_again(entry: Any, *rest: Any) -> Any:
        return entry if entry.gone is not None else whole(entry, *rest)

    patch.setattr(ledger, "_look_again", look_again)


@mutant("what a look at another owner of the RRset shows is not noted", "two owners, one target")
def _(patch: Any) -> None:
    patch.setattr(run, "_beside", lambda *_: {})


@mutant("a larger TTL that a look at another owner shows is not noted", "two owners, one target")
def _(patch: Any) -> None:
    whole = ledger.shown_beside

    def shown_beside(before: Ledger, seen: Any) -> Ledger:
        known = {e.rrset for e in before.entries}
        fresh = tuple(a for a in seen.servers if a.rrset not in known)
        return whole(before, replace(seen, servers=fresh))

    patch.setattr(run, "shown_beside", shown_beside)


@mutant(
    "a signature is news only to the owner that was looked at", "two owners, one target", "somebody changes it and back"
)
def _(patch: Any) -> None:
    whole = ledger.shown_beside

    def shown_beside(before: Ledger, seen: Any) -> Ledger:
        after = whole(before, seen)
        told = tuple(e for e in after.entries if e.rrset is not None or e in before.entries)
        return replace(before, entries=told)

    patch.setattr(run, "shown_beside", shown_beside)


@mutant("what resume sees before it goes on is not noted", "two owners, one target")
def _(patch: Any) -> None:
    patch.setattr(operate, "enter", _nothing)


@mutant("a server that is behind does not hold the clock back", "lag")
def _(patch: Any) -> None:
    patch.setattr(ledger, "incomplete", lambda seen: [x for x in servers.incomplete(seen) if "stale" not in x.code])


@mutant("a server that is away does not hold the clock back", "cut off")
def _(patch: Any) -> None:
    patch.setattr(
        ledger, "incomplete", lambda seen: [x for x in servers.incomplete(seen) if "unreachable" not in x.code]
    )


@mutant("a server comes back with news, and nobody listens", "cut off", "somebody changes it and back")
def _(patch: Any) -> None:
    patch.setattr(ledger, "_came_back_with_news", lambda before, seen: False)


@mutant("what was there between two looks is not thought of", "somebody changes it and back")
def _(patch: Any) -> None:
    whole = ledger.observe

    def observe(before: Ledger, seen: Any, now: Instant, **more: Any) -> Ledger:
        return whole(replace(before, inceptions=(), inception=None), seen, now, **more)

    patch.setattr(memory, "observe", observe)


@mutant("a server that leaves the NS RRset is asked from the next look on", "a server leaves")
def _(patch: Any) -> None:
    def remembered(self: Any) -> dict[str, list[str]]:
        store = self.host.store
        return {z: [s for s, it in store.zone(z)[1].items() if it["left"] is not None] for z in store.zones()}

    patch.setattr(look.Looker, "_remembered", remembered)


@mutant("a server that has left the NS RRset is asked no more", "a server leaves")
def _(patch: Any) -> None:
    patch.setattr(look.Looker, "_remembered", lambda self: {z: [] for z in self.host.store.zones()})


@mutant("whatever is signed after an update is that update's doing", "somebody changes it and back")
def _(patch: Any) -> None:
    whole = ledger.settle
    patch.setattr(effects, "settle", lambda before, rrset, inception=None: whole(before, rrset))


@mutant("an update whose answer is lost will not land", "a fault when it is due", "rollback")
def _(patch: Any) -> None:
    patch.setattr(ledger, "MAY_LAND", 0.0)


@mutant("an update is entered with its own TTL only")
def _(patch: Any) -> None:
    def intend(before: Ledger, rrset: Any, ttl: int, now: Instant) -> Ledger:
        return ledger.intend(replace(before, entries=()), rrset, ttl, now)

    patch.setattr(effects, "intend", intend)


@mutant("the wall clock alone measures a wait", "clock")
def _(patch: Any) -> None:
    def elapsed(since: Instant, now: Instant) -> float:
        return max(0.0, (now.wall - since.wall).total_seconds())

    for module in (ledger, machine, memory, timing):
        patch.setattr(module, "elapsed", elapsed)


@mutant("a clock that nobody confirmed measures a wait", "reboot without a clock")
def _(patch: Any) -> None:
    whole, made = ledger.observe, look.Sighting

    def observe(before: Ledger, seen: Any, now: Instant, **more: Any) -> Ledger:
        return whole(before, seen, now, **{**more, "clock_agrees": True})

    def sighting(*args: Any, **kwargs: Any) -> Any:
        return made(*args, **{**kwargs, "clock_agrees": True})

    patch.setattr(memory, "observe", observe)
    patch.setattr(look, "Sighting", sighting)


@mutant("across a boot no doubt is left to the clocks", "reboot without a clock")
def _(patch: Any) -> None:
    patch.setattr(timing, "TOLERANCE", 0.0)


@mutant("an instant in the future is believed", "clock")
def _(patch: Any) -> None:
    for module in (ledger, memory):
        patch.setattr(module, "not_in_future", lambda instant, now: instant)


@mutant("the ledger is forgotten when a rollover ends")
def _(patch: Any) -> None:
    patch.setattr(ledger, "_forgettable", lambda entry, now, keep: entry.gone is not None)


# ------------------------------------------------------------------------------------------ propagation


@mutant("one server that has the record is enough")
def _(patch: Any) -> None:
    def lacking(owner: Any, wanted: Any, chain: Any) -> Any:
        found = servers.lacking(owner, wanted, chain)
        return () if len(found) < len([a for a in owner.servers if a.rrset is not None]) else found

    patch.setattr(gates, "lacking", lacking)
    patch.setattr(memory, "lacking", lacking)
    patch.setattr(view, "wait_left", _without_shown)


def _without_shown(of: Ledger, chain: Any, patience: Patience, now: Instant) -> float | None:
    return ledger.wait_left(replace(of, entries=tuple(e for e in of.entries if e.gone)), chain, patience, now)


@mutant("bad signatures are good enough", "bad signatures")
def _(patch: Any) -> None:
    patch.setattr(gates, "badly_signed", lambda owner: ())
    patch.setattr(gates, "_resolver_holds", _nothing)


@mutant("a return is never gated")
def _(patch: Any) -> None:
    whole = machine.wait
    patch.setattr(machine, "wait", lambda it: None if it.is_return else whole(it))
    patch.setattr(machine, "propagate", lambda it: None if it.is_return else gates.propagate(it))


@mutant("a rollback is always in a hurry")
def _(patch: Any) -> None:
    whole = goals.set_goal

    def set_goal(book: Any, fingerprint: str, *, rollback: bool = False) -> Any:
        after = whole(book, fingerprint, rollback=rollback)
        return replace(after, hurry=fingerprint) if rollback else after

    patch.setattr(goals, "set_goal", set_goal)


# ------------------------------------------------------------------------------------------ records


@mutant("the gate of every update is open")
def _(patch: Any) -> None:
    patch.setattr(machine, "safe", lambda view, change: True)
    patch.setattr(View, "in_use", lambda self, owner: ())
    patch.setattr(View, "lingering", lambda self: ())


@mutant("what is served and lacks its record is not protected")
def _(patch: Any) -> None:
    patch.setattr(machine, "protecting", _nothing)


@mutant("somebody else's combination gets no record", "foreign record")
def _(patch: Any) -> None:
    whole = changes.needed
    for module in (changes, view):
        patch.setattr(module, "needed", lambda chain, rrset, params: whole(chain, EMPTY, params or ((3, 1, 1),)))


@mutant("records of others are withdrawn too", "foreign record")
def _(patch: Any) -> None:
    def withdrawing(it: View, owner: Any) -> Any:
        return changes._without(it, owner, changes._current(owner) or EMPTY)

    patch.setattr(machine, "withdrawing", withdrawing)


@mutant("only the goal keeps its record")
def _(patch: Any) -> None:
    patch.setattr(machine, "safe", lambda view, change: True)
    patch.setattr(View, "in_use", lambda self, owner: (self.world.goal.chain,) if self.world.goal is not None else ())


@mutant("other services at the owner are forgotten", "two owners, one target")
def _(patch: Any) -> None:
    whole = look.Looker.world

    def world(self: Any, *args: Any, **kwargs: Any) -> Any:
        return replace(whole(self, *args, **kwargs), others={}, strangers={})

    patch.setattr(look.Looker, "world", world)


@mutant("nobody looks at the neighbours before a withdrawal", "two owners, one target")
def _(patch: Any) -> None:
    patch.setattr(run, "beside", lambda *_: [])


@mutant("DANE that somebody switched off is switched on again", "somebody deletes all")
def _(patch: Any) -> None:
    for module in (changes, machine):
        patch.setattr(module, "switched_off", lambda view, owner: False)


# ------------------------------------------------------------------------------------------ withdrawal


@mutant("a withdrawal before the last endpoint")
def _(patch: Any) -> None:
    def proven(self: View, goal: Any) -> bool:
        return self.loaded(goal) and any(self.shows_only(e, goal) for e in self.seen.endpoints)

    patch.setattr(View, "proven", proven)
    patch.setattr(View, "presentable", lambda self, owner: ())
    patch.setattr(View, "lingering", lambda self: ())


@mutant("what was presented a moment ago is forgotten")
def _(patch: Any) -> None:
    patch.setattr(View, "lingering", lambda self: ())


@mutant("an unknown certificate that was presented a moment ago is forgotten")
def _(patch: Any) -> None:
    patch.setattr(look, "passing", lambda *_: {})


@mutant("a certificate that only shares a key with one of the vault is not remembered", "two owners, one target")
def _(patch: Any) -> None:
    def note_shown(host: Any, it: View) -> None:
        credentials = dict(it.world.credentials)
        credentials |= {c.fingerprint: c for _, _, c in it.presented() if it.known(c)}
        neighbours.note_shown(host, replace(it, world=replace(it.world, credentials=credentials)))

    patch.setattr(run, "note_shown", note_shown)


@mutant("what another service presented a moment ago is forgotten", "two owners, one target")
def _(patch: Any) -> None:
    whole = neighbours.neighbours

    class Forgetful:
        def __init__(self, store: Any) -> None:
            self.store = store

        def __getattr__(self, name: str) -> Any:
            return getattr(self.store, name)

        def book(self, name: str) -> Any:
            return replace(self.store.book(name), lately={})

    patch.setattr(look, "neighbours", lambda host, *rest: whole(replace(host, store=Forgetful(host.store)), *rest))


@mutant("an endpoint that nobody reached is taken for proven", "out of reach")
def _(patch: Any) -> None:
    whole = View.shows_only
    patch.setattr(View, "shows_only", lambda self, e, goal: e.outcome is Outcome.UNREACHABLE or whole(self, e, goal))


@mutant("one connection that shows the new certificate is enough")
def _(patch: Any) -> None:
    def shows(self: View, e: Any, goal: Any) -> bool:
        return e.outcome is Outcome.PRESENTED and goal.fingerprint in {c.fingerprint for c in e.chains}

    patch.setattr(View, "shows_only", shows)
    patch.setattr(View, "presentable", lambda self, owner: ())
    patch.setattr(View, "lingering", lambda self: ())


@mutant("drain is not waited for")
def _(patch: Any) -> None:
    whole = look.Looker.world

    def world(self: Any, *args: Any, **kwargs: Any) -> Any:
        it = whole(self, *args, **kwargs)
        return replace(it, service=replace(it.service, drain=0.0))

    patch.setattr(look.Looker, "world", world)


@mutant("the clock of a withdrawal goes on while something else is shown")
def _(patch: Any) -> None:
    whole = memory.remember

    def remember(world: Any, seen: Any) -> Any:
        after = whole(world, seen)
        return after if after.quiet is not None else replace(after, quiet=world.book.quiet)

    patch.setattr(run, "remember", remember)
    patch.setattr(View, "lingering", lambda self: ())


@mutant("the clock of a withdrawal runs from the install")
def _(patch: Any) -> None:
    whole = goals.activate
    patch.setattr(
        goals, "activate", lambda book, now: replace(whole(book, now), quiet=book.install and book.install.since)
    )
    patch.setattr(View, "lingering", lambda self: ())


@mutant("what is retained is never withdrawn")
def _(patch: Any) -> None:
    patch.setattr(machine, "withdraw", _nothing)


# ------------------------------------------------------------------------------------------ installs


@mutant("what fails is not taken back", "deploy what does not work")
def _(patch: Any) -> None:
    patch.setattr(machine, "judge", _nothing)


@mutant("a return is made again and again", "deploy what does not work")
def _(patch: Any) -> None:
    whole = goals.take_return
    patch.setattr(goals, "take_return", lambda *args: replace(whole(*args), return_spent=False))


@mutant("what fails is the goal again", "deploy what does not work")
def _(patch: Any) -> None:
    whole = goals.take_return
    patch.setattr(goals, "take_return", lambda book, fingerprint, why: whole(book, book.goal, why))


@mutant("a reload that one address did not hear is not repeated", "deaf to a reload")
def _(patch: Any) -> None:
    patch.setattr(machine, "LONGEST_RELOAD_INTERVAL", 1e12)
    patch.setattr(machine, "elapsed_boot", lambda since, now: 0.0)


@mutant("a reload of another file counts")
def _(patch: Any) -> None:
    patch.setattr(View, "reload_recorded", lambda self, live: live.path in self.world.book.reloads)


@mutant("a live file is never compared with the goal")
def _(patch: Any) -> None:
    patch.setattr(View, "live_is", lambda self, live, goal: True)


@mutant("proven in no round")
def _(patch: Any) -> None:
    patch.setattr(machine, "verify", _nothing)
    patch.setattr(View, "proven", lambda self, goal: self.loaded(goal))
    patch.setattr(View, "presentable", lambda self, owner: ())
    patch.setattr(View, "lingering", lambda self: ())


# ------------------------------------------------------------------------------------------ goals


@mutant("a newer certificate never waits for its turn")
def _(patch: Any) -> None:
    patch.setattr(goals, "_must_queue", lambda world, fingerprint, now: False)


@mutant("a queued certificate's turn never comes")
def _(patch: Any) -> None:
    patch.setattr(machine, "take_turn", _nothing)


@mutant("what is queued outlives a newer certificate that overtakes it")
def _(patch: Any) -> None:
    whole = goals.set_goal
    patch.setattr(
        goals, "set_goal", lambda book, *args, **kwargs: replace(whole(book, *args, **kwargs), queued=book.queued)
    )


@mutant("a certificate that was rolled back comes again when its hook does")
def _(patch: Any) -> None:
    whole = goals.deploy

    def deploy(world: Any, fingerprint: str, now: Instant) -> Any:
        book = world.book
        known = {f: s for f, s in book.standings.items() if f != fingerprint}
        return whole(replace(world, book=replace(book, standings=known)), fingerprint, now)

    patch.setattr(goals, "deploy", deploy)


@mutant("a paused service goes on", "pause")
def _(patch: Any) -> None:
    patch.setattr(machine, "paused", _nothing)


@mutant("a pause stops what protects, too", "pause")
def _(patch: Any) -> None:
    patch.setattr(machine, "protect", lambda it: machine.paused(it) if it.world.book.pause else None)


@mutant("a credential whose record is gone counts as ready")
def _(patch: Any) -> None:
    def ready_left(self: View, goal: Any) -> float | None:
        state = self.world.book.standing(goal.fingerprint).state
        return 0.0 if state in (State.REMOVED, State.RETIRED) else whole(self, goal)

    whole = View.ready_left
    patch.setattr(View, "ready_left", ready_left)


# ------------------------------------------------------------------------------------------ state


@mutant("what was promised is not stored")
def _(patch: Any) -> None:
    for store in (Store, MemoryStore):
        patch.setattr(store, "save_ledgers", lambda self, ledgers: None)


@mutant("records that this tool made are not noted as its own")
def _(patch: Any) -> None:
    for store in (Store, MemoryStore):
        patch.setattr(store, "manage", lambda self, target, rrset: None)


@mutant("status says well whatever there is")
def _(patch: Any) -> None:
    from rollover.core import report

    patch.setattr(report, "troubles", lambda *args, **kwargs: [])


@mutant("a certificate served by somebody unknown is passed over")
def _(patch: Any) -> None:
    patch.setattr(View, "unknown", lambda self: [])


assert served  # the module that tells what is shown is loaded with the others
