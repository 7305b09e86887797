"""Faults 21 to 35, of name servers and owners, and the tool without its reaction."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import dns.rcode

from rollover.core.tlsa import owner_name, usable
from rollover.dns.transport import over_udp
from tests.reactions.registry import Swap, always, nothing, without


def but(*codes: str) -> Callable[[Any], Any]:
    """Return what makes a function that tells of servers, or of problems, tell all but those with *codes*."""
    return lambda was: lambda *asked: tuple(it for it in was(*asked) if it.code not in codes)


def found(change: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return what makes the look at one owner give what *change* makes of it."""

    def by(was: Any) -> Any:
        async def follow(self: Any, owner: str) -> Any:
            return change(await was(self, owner))

        return follow

    return by


@without(21, "a late server holds nothing back")
def _(swap: Swap) -> None:
    def by(was: Any) -> Any:
        def observe(ledger: Any, seen: Any, *rest: Any, **options: Any) -> Any:
            there = seen.primary.rrset if seen.primary is not None else None
            servers = tuple(a for a in seen.servers if a.rrset in (None, there))
            return was(ledger, replace(seen, servers=servers), *rest, **options)

        return observe

    swap("core.servers.incomplete", but("secondary-stale"))
    swap("core.servers.lacking", always(()))
    swap("core.ledger.observe", by)


@without(22, "a server that does not answer holds nothing back")
def _(swap: Swap) -> None:
    swap("core.servers.incomplete", but("server-unreachable"))


@without(23, "what is shown again is gone as before")
def _(swap: Swap) -> None:
    def by(was: Any) -> Any:
        def look_again(entry: Any, *rest: Any) -> Any:
            new = was(entry, *rest)
            return replace(new, gone=entry.gone) if new.gone is None else new

        return look_again

    swap("core.ledger._look_again", by)


@without(24, "bad signatures hold nothing back")
def _(swap: Swap) -> None:
    swap("core.servers.badly_signed", always(()))


@without(24, "signatures are not verified")
def _(swap: Swap) -> None:
    def by(was: Any) -> Any:
        del was
        from rollover.core.sighting import Signature
        from rollover.dns.signatures import Verdict, times

        return lambda _rrset, rrsigs, *_: Verdict(Signature.VALID, "", *times(rrsigs))

    swap("dns.signatures.verify", by)


@without(25, "signatures that are about to end hold nothing back")
def _(swap: Swap) -> None:
    swap("core.servers.running_out", always(()))


@without(26, "servers that only the zone itself names are not asked")
def _(swap: Swap) -> None:
    def by(was: Any) -> Any:
        async def hear(*asked: Any) -> Any:
            return replace(await was(*asked), ns_names=frozenset())

        return hear

    swap("dns.conversation.hear", by)


@without(26, "servers that only the delegation names are not asked")
def _(swap: Swap) -> None:
    swap("dns.servers.Finder._from_parent", nothing)


@without(27, "the resolver holds nothing back")
def _(swap: Swap) -> None:
    swap("core.gates._resolver_holds", nothing)


@without(28, "what is said of the name above is passed over")
def _(swap: Swap) -> None:
    swap(
        "dns.conversation.interpret",
        lambda was: lambda heard, *rest: was(replace(heard, denies_above=False), *rest),
    )


@without(29, "an IPv6 address that does not answer holds nothing back")
def _(swap: Swap) -> None:
    swap("core.servers.incomplete", lambda was: lambda owner: tuple(x for x in was(owner) if "::" not in x.server))


@without(29, "name servers are asked over IPv4 only")
def _(swap: Swap) -> None:
    def by(was: Any) -> Any:
        return lambda self, server, *rest: None if ":" in server.address else was(self, server, *rest)

    swap("dns.hop.Hop._start", by)


@without(30, "a truncated answer is taken as it is")
def _(swap: Swap) -> None:
    swap("dns.transport.ask", lambda _: over_udp)


@without(31, "malformed records are dropped")
def _(swap: Swap) -> None:
    swap("dns.records.tlsa_rrset", lambda was: lambda rrset: frozenset(r for r in was(rrset) if usable(r)))


@without(31, "malformed records are not named")
def _(swap: Swap) -> None:
    def by(was: Any) -> Any:
        return lambda owner: (row for row in was(owner) if "unusable record" not in row.what)

    swap("engine.check._records", by)


@without(32, "the TTL of a CNAME does not count")
def _(swap: Swap) -> None:
    def own(seen: Any) -> Any:
        return replace(seen, servers=tuple(replace(a, ttl=a.own_ttl) if a.rrset else a for a in seen.servers))

    swap("dns.authoritative._Look.follow", found(own))


@without(32, "a CNAME blocks nothing")
def _(swap: Swap) -> None:
    swap("dns.authoritative._Look.follow", found(lambda seen: replace(seen, blocked="")))


@without(32, "a target in no zone is left out")
def _(swap: Swap) -> None:
    def left_out(seen: Any) -> Any:
        return replace(seen, servers=tuple(a for a in seen.servers if not a.server.startswith("zone of ")))

    swap("dns.authoritative._Look.follow", found(left_out))


@without(32, "what the target's zone refuses is taken for done")
def _(swap: Swap) -> None:
    def by(was: Any) -> Any:
        return lambda answer, *rest: None if answer.rcode == dns.rcode.REFUSED else was(answer, *rest)

    swap("dns.update._complain", by)


@without(33, "the wait for another target goes on where it stood")
def _(swap: Swap) -> None:
    def by(was: Any) -> Any:
        def observe(ledger: Any, *rest: Any, **options: Any) -> Any:
            before = {(e.rrset, e.ttl): e.gone for e in ledger.entries}
            new = was(ledger, *rest, **options)
            seen = (e for e in new.entries if e.rrset is not None)
            return replace(new, entries=tuple(replace(e, gone=before.get((e.rrset, e.ttl)) or e.gone) for e in seen))

        return observe

    swap("core.ledger.observe", by)


@without(34, "what the wildcard gave is not taken along")
def _(swap: Swap) -> None:
    def by(was: Any) -> Any:
        def alone(*asked: Any) -> Any:
            it = was(*asked)
            return replace(it, add=it.add - it.expect) if it.wildcard else it

        return alone

    swap("core.changes._change", by)
    swap("core.changes.safe", always(True))


@without(34, "a wildcard high above is hidden from others")
def _(swap: Swap) -> None:
    swap("core.changes.shadowing", always(False))


@without(34, "nobody looks for a wildcard that comes to light")
def _(swap: Swap) -> None:
    swap("engine.uncovering.refuse_uncovering", nothing)


@without(34, "a wildcard is taken for records of the name")
def _(swap: Swap) -> None:
    swap("dns.signatures.wildcard_of", nothing)


@without(35, "each name counts for itself")
def _(swap: Swap) -> None:
    def by(was: Any) -> Any:
        return lambda view, owner: was(replace(view, seen=replace(view.seen, owners=(owner,))), owner)

    swap("core.view.View.presentable", by)


@without(35, "nobody looks at the second name")
def _(swap: Swap) -> None:
    def by(was: Any) -> Any:
        def of_first_names(world: Any, seen: Any) -> Any:
            names = {o.target: o.owner for o in reversed(seen.owners)}.values()
            service = world.service
            hosts = tuple(h for h in service.hosts if owner_name(h, service.ports[0]) in names)
            owners = tuple(o for o in seen.owners if o.owner in names)
            ends = tuple(e for e in seen.endpoints if e.endpoint.host in hosts)
            return was(
                replace(world, service=replace(service, hosts=hosts)),
                replace(seen, owners=owners, endpoints=ends, live=seen.live[: len(hosts)]),
            )

        return of_first_names

    swap("core.machine.decide", by)
    swap("core.memory.remember", by)
