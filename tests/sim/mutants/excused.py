"""Rules broken on purpose that a judge who excuses too much passes over: each was, once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from rollover.core import machine, memory, timing, troubles
from rollover.core.ledger import Ledger
from rollover.core.model import Book
from rollover.core.sighting import Outcome, Signature
from rollover.core.timing import Instant
from rollover.core.view import View
from rollover.engine import run
from tests.sim.mutants.registry import mutant


@mutant("what some endpoint presents already is ready")
def _(patch: Any) -> None:
    def unless_shown(whole: Callable[[View], Any]) -> Callable[[View], Any]:
        def step(it: View) -> Any:
            goal = it.goal.fingerprint
            return None if any(c.fingerprint == goal for e in it.seen.endpoints for c in e.chains) else whole(it)

        return step

    patch.setattr(machine, "wait", unless_shown(machine.wait))
    patch.setattr(machine, "propagate", unless_shown(machine.propagate))


@mutant("what is served is protected only by a clock that is confirmed", "clock")
def _(patch: Any) -> None:
    whole = machine.protect
    patch.setattr(machine, "protect", lambda it: whole(it) if it.seen.clock_agrees else None)


@mutant("what a restart would present is not protected")
def _(patch: Any) -> None:
    whole = machine.protecting
    patch.setattr(machine, "protecting", lambda it, owner: whole(View(it.world, replace(it.seen, live=())), owner))
    lately = memory._lately
    patch.setattr(memory, "_lately", lambda it: lately(View(it.world, replace(it.seen, live=()))))


@mutant("records that are badly signed are not noted", "bad signatures")
def _(patch: Any) -> None:
    whole = memory.observe

    def observe(before: Ledger, seen: Any, now: Instant, **more: Any) -> Ledger:
        good = tuple(a for a in seen.servers if a.signature is not Signature.BOGUS)
        return whole(before, replace(seen, servers=good), now, **more)

    patch.setattr(memory, "observe", observe)


@mutant("what secondaries show while the primary is away is not noted", "cut off")
def _(patch: Any) -> None:
    whole = memory.observe

    def observe(before: Ledger, seen: Any, now: Instant, **more: Any) -> Ledger:
        return before if seen.primary is None and before.entries else whole(before, seen, now, **more)

    patch.setattr(memory, "observe", observe)


@mutant("records from a wildcard do not count as DANE that is on", "wildcard")
def _(patch: Any) -> None:
    whole = memory.remember

    def remember(world: Any, seen: Any) -> Book:
        after: Book = whole(world, seen)
        wild = {o.owner for o in seen.owners if o.primary is not None and o.primary.wildcard}
        return replace(after, dane_on=after.dane_on - (wild - world.book.dane_on))

    patch.setattr(run, "remember", remember)


@mutant("what does not work is taken back late", "deploy what does not work")
def _(patch: Any) -> None:
    whole = machine.judge

    def judge(it: View) -> Any:
        install, late = it.world.book.install, 15 * it.world.service.verify_timeout
        young = install is not None and timing.elapsed_boot(install.latest, it.now) < late
        return None if young else whole(it)

    patch.setattr(machine, "judge", judge)


@mutant("a good certificate is given up where one address did not hear the reload")
def _(patch: Any) -> None:
    whole = View._fails

    def fails(self: View, e: Any, before: Any) -> Any:
        goal = self.world.goal
        if e.outcome is Outcome.PRESENTED and goal is not None and not self.shows_only(e, goal):
            return f"{e.endpoint}: presents something else"
        return whole(self, e, before)

    patch.setattr(View, "_fails", fails)


@mutant("nothing is told of a deferral where anycast nodes need time")
def _(patch: Any) -> None:
    whole = troubles._deferred
    patch.setattr(troubles, "_deferred", lambda it: iter(()) if it.world.service.patience.settle else whole(it))
