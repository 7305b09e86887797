"""Rules broken on purpose: how long is waited, and for whom."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from rollover.core import gates, goals, ledger, machine, memory, servers, view
from rollover.core.ledger import Ledger, Patience
from rollover.core.timing import Instant
from rollover.core.view import View
from tests.sim.mutants.registry import mutant, nothing


@mutant("no wait at all")
def _(patch: Any) -> None:
    patch.setattr(machine, "wait", nothing)


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
    patch.setattr(gates, "_resolver_holds", nothing)


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
