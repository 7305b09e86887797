"""What every authoritative server serves at some owners, and whether its signatures verify.

One look asks all servers at the same time: those of the NS RRset as the zone's own servers and the
parent's tell it, at all their addresses; the primary; ``also_check``; and servers that left the NS
RRset not long ago. A server that cannot be reached is in the picture as such. All servers, never
any (protocol.md, Terms).
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from rollover.clock import Clock
from rollover.core.errors import RolloverError
from rollover.core.sighting import OwnerSighting, ServerAnswer
from rollover.core.timing import TOLERANCE, stamp
from rollover.dns.errors import TsigBadTime
from rollover.dns.hop import Hop, Shared
from rollover.dns.resolver import MAX_CHAIN, Resolver
from rollover.dns.settings import DnsSettings, canonical


@dataclass(frozen=True, slots=True)
class NsSet:
    """The public servers of a zone now, as labels that ``remembered`` takes back; TTL in seconds."""

    servers: tuple[str, ...]
    ttl: int


@dataclass(frozen=True, slots=True)
class DnsLook:
    """What one look saw.

    *clock_agrees*: a TSIG-signed answer of a primary agreed with our clock to within 10 s, and none
    disagreed. *ns*: the NS set of each zone on the way. *ignored*: the servers left out. *errors*:
    where a primary refused our TSIG, the same error that an update would raise.
    """

    owners: tuple[OwnerSighting, ...]
    clock_agrees: bool
    clock_problem: str
    ns: Mapping[str, NsSet]
    ignored: tuple[str, ...] = ()
    errors: tuple[RolloverError, ...] = ()


async def look(
    owners: Sequence[str],
    settings: DnsSettings,
    resolver: Resolver,
    clock: Clock,
    *,
    remembered: Mapping[str, Sequence[str]] | None = None,
) -> DnsLook:
    """Return what is served at *owners*. Faults of servers never raise: they are part of the picture.

    *remembered*: for each zone, labels of servers that are or were in its NS set less than its TTL ago. Where
    the resolver is dead its keys tell the zone of an owner, so that primary and these are seen.
    Signatures are checked on the servers that the public asks (see signatures). One dead server or
    all of them: a look takes about ``settings.timeout``; longer only where the resolver is slow.
    """
    shared = Shared(settings, resolver, clock, remembered or {})
    this = _Look(shared)
    sightings = await asyncio.gather(*(this.follow(canonical(owner)) for owner in owners))
    sightings = [_without_strangers(it, shared) for it in sightings]
    agrees, problem = this.clock()
    return DnsLook(
        owners=tuple(sightings),
        clock_agrees=agrees,
        clock_problem=problem,
        ns=this.ns_sets(),
        ignored=tuple(sorted(shared.ignored)),
        errors=tuple(this.errors.values()),
    )


def _without_strangers(it: OwnerSighting, shared: Shared) -> OwnerSighting:
    """Leave out servers of ``also_check`` in zones that they do not serve, if they serve another one of this look.

    One that serves nothing at all stays in the picture: it was to have the change.
    """
    further = {server.label for server in shared.finder.extra_servers()}
    serving = {h.server.label for h in shared.heard if h.answer is not None}
    lame = {(h.server.label, h.zone) for h in shared.heard if h.lame and h.server.label in further & serving}
    return replace(it, servers=tuple(a for a in it.servers if a.public or (a.server, a.zone) not in lame))


class _Look:
    """Follows each owner to its target, and draws the sum."""

    def __init__(self, shared: Shared) -> None:
        self.shared = shared
        self.errors: dict[str, RolloverError] = {}

    async def follow(self, owner: str) -> OwnerSighting:
        """Look at *owner*, and at the target of its CNAME, and so on to the end."""
        believed = asyncio.ensure_future(self.shared.resolver.tlsa(owner))
        hops: list[Hop] = []
        name, blocked = owner, ""
        while True:
            hop = Hop(self.shared, name, is_alias_target=bool(hops))
            hops.append(hop)
            target = await hop.first_word()
            if not target:
                break
            if target in {passed.name for passed in hops}:
                blocked = f"CNAME loop: {' -> '.join([*(passed.name for passed in hops), target])}"
                break
            if len(hops) >= MAX_CHAIN:
                blocked = f"more than {MAX_CHAIN} CNAMEs one after the other at {owner}"
                break
            name = target
        servers: list[ServerAnswer] = []
        ttl = 0  # the largest of the CNAMEs so far
        for hop in hops:
            answers = await hop.answers(last=hop is hops[-1])
            servers += [replace(a, ttl=max(a.ttl, ttl)) if a.reached else a for a in answers]
            ttl = max([ttl, *(a.ttl for a in answers if a.cname)])
            blocked = blocked or hop.blocked()
        last = hops[-1]
        for hop in hops:
            if hop.error is not None and (hop is last or isinstance(hop.error, TsigBadTime)):
                self.errors.setdefault(hop.error.message, hop.error)
        return OwnerSighting(
            owner=owner,
            target=last.name,
            zone=last.zone,
            servers=tuple(servers),
            resolver=await believed,
            blocked=blocked,
            ns_ttl=last.ns_ttl,
        )

    def clock(self) -> tuple[bool, str]:
        """Tell whether the primaries' clocks agree with ours, and if not, why."""
        pairs = [
            (heard, theirs, ours) for heard in self.shared.heard if heard.server.primary for theirs, ours in heard.times
        ]
        for error in self.errors.values():
            if isinstance(error, TsigBadTime):
                return False, error.message
        for heard, theirs, ours in pairs:
            if abs((theirs - ours).total_seconds()) > TOLERANCE:
                return False, f"clocks differ: {stamp(theirs)} on {heard.server.address}, {stamp(ours)} on this host"
        if not pairs:
            # A primary that gave no answer is told as that; it says nothing about anybody's clock.
            unsigned = any(heard.server.primary and heard.answer is not None for heard in self.shared.heard)
            return False, "no TSIG-signed answer of a primary to check the clock by" if unsigned else ""
        return True, ""

    def ns_sets(self) -> dict[str, NsSet]:
        """Return the NS set of each zone that was found."""
        sets = {}
        for zone, task in self.shared.discoveries.items():
            found = task.result()
            sets[zone] = NsSet(tuple(sorted(server.label for server in found.servers.values())), found.ns_ttl)
        return sets
