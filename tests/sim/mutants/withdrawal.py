"""Rules broken on purpose: when a record may go."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from rollover.core import goals, machine, memory
from rollover.core.sighting import Outcome
from rollover.core.view import View
from rollover.engine import look, neighbours, run
from tests.sim.mutants.registry import mutant, nothing


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
        credentials |= {c.fingerprint: c for _, _, c in it.presented if it.known(c)}
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
    patch.setattr(memory, "SILENT", ())


@mutant("what an endpoint presented before it went out of reach is forgotten", "out of reach")
def _(patch: Any) -> None:
    patch.setattr(memory, "SILENT", ())


@mutant("what a live file held a moment ago is forgotten", "out of reach")
def _(patch: Any) -> None:
    whole = memory._lately
    patch.setattr(memory, "_lately", lambda view: whole(replace(view, seen=replace(view.seen, live=()))))


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
    patch.setattr(machine, "withdraw", nothing)


@mutant("a key that two services renewed apart is kept by each for the other", "two owners, one target")
def _(patch: Any) -> None:
    patch.setattr(neighbours, "_keys", lambda *_: set())
