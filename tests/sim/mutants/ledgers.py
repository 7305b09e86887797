"""Rules broken on purpose: what is remembered of an RRset."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from rollover.core import ledger, machine, memory, servers, timing
from rollover.core.ledger import Ledger
from rollover.core.timing import Instant
from rollover.engine import effects, look, operate, run
from tests.sim.mutants.registry import mutant, nothing


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
    patch.setattr(operate, "enter", nothing)


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
    _explain_by_ours(patch)


@mutant("an update that nobody read back explains what was signed after it", "somebody changes it and back")
def _(patch: Any) -> None:
    _explain_by_ours(patch)


def _explain_by_ours(patch: Any) -> None:
    """Take the signature over what an update of ours makes for that update's."""
    whole = ledger._signatures

    def signatures(before: Ledger, seen: Any) -> Any:
        primary = seen.primary
        if primary is not None and before.ours is not None and primary.rrset == before.ours:
            before = replace(before, inception=primary.inception)
        return whole(before, seen)

    patch.setattr(ledger, "_signatures", signatures)


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
