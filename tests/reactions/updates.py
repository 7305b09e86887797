"""Faults 1 to 20, of updates and records, and the tool without its reaction."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import dns.rcode

from rollover.core.tlsa import EMPTY
from rollover.dns.records import CNAME, TLSA, tlsa_rdata
from tests.reactions.registry import Swap, always, nothing, without


def deaf_to(*codes: int) -> Callable[[Any], Any]:
    """Return what makes the end of an update take these response codes for success."""

    def by(was: Any) -> Any:
        return lambda answer, *rest: None if answer.rcode in codes else was(answer, *rest)

    return by


def read_as(change: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return what makes reading back give what *change* makes of each of its results."""

    def by(was: Any) -> Any:
        async def read_back(*asked: Any, **options: Any) -> Any:
            return [change(it) for it in await was(*asked, **options)]

        return read_back

    return by


def as_wanted(it: Any) -> Any:
    """Return a result as the answer NOERROR promises it."""
    from rollover.dns.update import Applied

    return replace(it, outcome=Applied.APPLIED, rrset=it.change.wanted, ttl=it.change.ttl)


def of_no_use(it: Any) -> Any:
    """Return a result that tells nothing, as if nobody had asked."""
    from rollover.dns.update import Applied

    return replace(it, outcome=Applied.UNKNOWN, rrset=EMPTY, ttl=0)


@without(1, "a CNAME is no obstacle to an update")
def _(swap: Swap) -> None:
    def by(was: Any) -> Any:
        del was

        def require(wire: Any, owner: Any, present: Any) -> None:
            assert CNAME  # what is not asked for
            for record in sorted(present):
                wire.present(owner, tlsa_rdata(record))
            if not present:
                wire.absent(owner, TLSA)

        return require

    swap("dns.update._require", by)


@without(2, "NOERROR is believed")
def _(swap: Swap) -> None:
    swap("dns.update.read_back", read_as(as_wanted))


@without(3, "the TTL that was sent is believed")
def _(swap: Swap) -> None:
    swap("dns.update.read_back", read_as(lambda it: replace(it, ttl=it.change.ttl) if it.ttl else it))


@without(3, "a TTL that is cut is sent again and again, and nothing else")
def _(swap: Swap) -> None:
    swap("core.gates._lacks", always(True))


for number in (4, 5):

    @without(number, "what became of an update is not read back")
    def _(swap: Swap) -> None:
        swap("dns.update.read_back", read_as(of_no_use))


for number in (6, 7):

    @without(number, "an update has no prerequisite")
    def _(swap: Swap) -> None:
        swap("dns.update._require", nothing)


@without(8, "what is refused counts as done")
def _(swap: Swap) -> None:
    swap("dns.update._complain", deaf_to(dns.rcode.REFUSED))


@without(9, "what is refused counts as done")
def _(swap: Swap) -> None:
    swap("dns.update._complain", deaf_to(dns.rcode.REFUSED))


@without(9, "what is refused for one owner is refused for all")
def _(swap: Swap) -> None:
    def by(was: Any) -> Any:
        del was
        from rollover.engine import effects

        return effects._update

    swap("engine.effects._update_all", by)


@without(10, "complaints about the key are passed over")
def _(swap: Swap) -> None:
    def by(was: Any) -> Any:
        from rollover.dns.errors import TsigBadTime

        return lambda *asked: it if isinstance(it := was(*asked), TsigBadTime) else None

    swap("dns.conversation.tsig_error", by)


@without(11, "complaints about the clock are passed over")
def _(swap: Swap) -> None:
    def by(was: Any) -> Any:
        from rollover.dns.errors import TsigBadTime

        return lambda *asked: None if isinstance(it := was(*asked), TsigBadTime) else it

    swap("dns.conversation.tsig_error", by)


@without(11, "what the primary says of the clock is passed over")
def _(swap: Swap) -> None:
    def by(was: Any) -> Any:
        async def look(*asked: Any, **options: Any) -> Any:
            return replace(await was(*asked, **options), clock_agrees=True, clock_problem="", errors=())

        return look

    swap("dns.authoritative.look", by)


@without(12, "what the server could not do counts as done")
def _(swap: Swap) -> None:
    swap("dns.update._complain", deaf_to(dns.rcode.SERVFAIL))


@without(13, "a primary that is away is told of nothing")
def _(swap: Swap) -> None:
    def by(was: Any) -> Any:
        return lambda owner: tuple(it for it in was(owner) if it.code != "primary-unreachable")

    swap("core.servers.incomplete", by)


@without(13, "that nothing was sent is not known")
def _(swap: Swap) -> None:
    def by(was: Any) -> Any:
        async def send(wire: Any, zone: str, *rest: Any) -> None:
            from rollover.dns.errors import OutcomeUnknown, PrimaryUnreachable

            try:
                await was(wire, zone, *rest)
            except PrimaryUnreachable as error:
                raise OutcomeUnknown(zone=zone, server="the primary", problem="timed out") from error

        return send

    swap("dns.update._send", by)


@without(14, "whose zone it is does not matter")
def _(swap: Swap) -> None:
    swap("dns.update._complain", deaf_to(dns.rcode.NOTAUTH))


@without(14, "where a name has no zone of ours nothing is blocked")
def _(swap: Swap) -> None:
    swap("core.servers.incomplete", always(()))
    swap("core.servers.lacking", always(()))
    swap("core.gates.propagate", nothing)


@without(15, "what is not signed is published all the same")
def _(swap: Swap) -> None:
    swap("dns.update.read_back", read_as(as_wanted))
    swap("core.gates.propagate", nothing)


@without(16, "what the public servers have does not count")
def _(swap: Swap) -> None:
    swap("core.servers.lacking", always(()))
    swap("core.servers.incomplete", always(()))
    swap(
        "core.ledger.observe",
        lambda was: lambda ledger, seen, *rest, **kw: was(ledger, primary_only(seen), *rest, **kw),
    )


def primary_only(seen: Any) -> Any:
    """Return a sighting of one owner in which only the primary was asked."""
    return replace(seen, servers=tuple(a for a in seen.servers if a.primary))


@without(17, "what was seen everywhere once is there for ever")
def _(swap: Swap) -> None:
    swap("core.changes.publishing", lambda was: lambda view, owner: was(view, owner) if not begun(view) else None)
    swap("core.gates.propagate", nothing)

    def by(was: Any) -> Any:
        def look_again(entry: Any, *rest: Any) -> Any:
            new = was(entry, *rest)
            return replace(new, gone=entry.gone) if new.gone is None else new

        return look_again

    swap("core.ledger._look_again", by)


def begun(view: Any) -> bool:
    """Tell whether the goal's record was published before."""
    from rollover.core.model import State

    return State.PUBLISHED.value in view.world.book.standing(view.world.book.goal).since


@without(18, "what is served is not protected")
def _(swap: Swap) -> None:
    swap("core.changes.protecting", nothing)


@without(19, "the last TTL that was seen counts")
def _(swap: Swap) -> None:
    def by(was: Any) -> Any:
        def observe(ledger: Any, seen: Any, *rest: Any, **options: Any) -> Any:
            new = was(ledger, seen, *rest, **options)
            ttl = min((a.ttl for a in seen.servers if a.rrset), default=None)
            if ttl is None:
                return new
            return replace(new, entries=tuple(replace(e, ttl=ttl) for e in new.entries))

        return observe

    swap("core.ledger.observe", by)


@without(19, "a TTL that is raised later does not count")
def _(swap: Swap) -> None:
    def by(was: Any) -> Any:
        def observe(ledger: Any, seen: Any, *rest: Any, **options: Any) -> Any:
            first = min((e.ttl for e in ledger.entries if e.rrset), default=seen.primary.ttl if seen.primary else 0)
            servers = tuple(replace(a, ttl=min(a.ttl, first)) for a in seen.servers)
            return was(ledger, replace(seen, servers=servers), *rest, **options)

        return observe

    swap("core.ledger.observe", by)


@without(20, "there is no shortest wait")
def _(swap: Swap) -> None:
    swap("core.ledger.Patience.span", lambda _: lambda self, ttl: float(self.ttls * ttl))


@without(20, "odd TTLs are not named")
def _(swap: Swap) -> None:
    def by(was: Any) -> Any:
        return lambda owner: (row for row in was(owner) if "TTL" not in row.what)

    swap("engine.check._records", by)
