"""Rules broken on purpose: what is wanted, and what is kept and told of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from rollover.core import goals, machine
from rollover.core.model import State
from rollover.core.timing import Instant
from rollover.core.view import View
from rollover.engine import served
from rollover.state.store import Store
from tests.sim.mutants.registry import mutant, nothing
from tests.sim.store import MemoryStore


@mutant("a newer certificate never waits for its turn")
def _(patch: Any) -> None:
    patch.setattr(goals, "_must_queue", lambda world, fingerprint, now: False)


@mutant("a queued certificate's turn never comes")
def _(patch: Any) -> None:
    patch.setattr(machine, "take_turn", nothing)


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


@mutant("what was handed over last is told by the clock")
def _(patch: Any) -> None:
    def by_hour(self: MemoryStore, service: str) -> list[str]:
        return [f for (s, f), _ in sorted(self._it.inbox.items(), key=lambda it: it[1]) if s == service]

    patch.setattr(MemoryStore, "inbox", by_hour)


@mutant("a paused service goes on", "pause")
def _(patch: Any) -> None:
    patch.setattr(machine, "paused", nothing)


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
