"""The tool's hand for name servers and resolver, in the simulated world."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from datetime import timedelta

from rollover.core.sighting import OwnerSighting, ResolverAnswer, ServerAnswer, Signature
from rollover.core.steps import OwnerChange
from rollover.core.tlsa import RRset, Tlsa
from rollover.dns.authoritative import DnsLook, NsSet
from rollover.dns.errors import ChangedUnderUs, OutcomeUnknown, PrimaryUnreachable, TsigBadTime, UpdateRefused
from rollover.dns.update import Applied, Change, ReadBack
from tests.sim.hands import FUDGE, Hands
from tests.sim.materials import EPOCH
from tests.sim.nameservers import NEGATIVE_TTL, NOTHING, NS_TTL, Kept, Landing, Records, Required, Server
from tests.sim.world import World


@functools.cache
def rrset_of(records: Records) -> RRset:
    """Return the tool's form of records."""
    return frozenset(map(Tlsa.parse, records))


@functools.cache
def records_of(rrset: RRset) -> Records:
    """Return the world's form of records."""
    return frozenset(map(str, rrset))


def _label(server: Server, primary: bool) -> str:
    return f"primary {server.label}" if primary else server.label


def prerequisites(change: OwnerChange) -> list[Required]:
    """Return the RRsets that have to be there, to the last record, for an update to be applied."""
    expect = records_of(change.expect)
    return [(change.target, NOTHING), (change.wildcard, expect)] if change.wildcard else [(change.target, expect)]


def world_nodes(world: World, server: Server) -> list[Server]:
    """Return the nodes that answer others under the address of *server*."""
    return [it for it in world.zones.servers if it.upstream is server and not it.seen]


class SimNames:
    """Name servers and resolver."""

    def __init__(self, hands: Hands) -> None:
        self.hands = hands
        self.world = hands.world

    async def look(
        self, owners: Sequence[str], remembered: Mapping[str, Sequence[str]], *, timeout: float | None
    ) -> DnsLook:
        world = self.world
        sightings = []
        ns = {}
        agrees, problem = True, ""
        errors = []
        for owner in owners:
            zone = world.zones.zone_of(owner)
            target = world.zones.targets[owner]
            hops = [(zone, owner)] + ([(world.zones.zone_of(target), target)] if target != owner else [])
            answers: list[ServerAnswer] = []
            ttl = 0
            for at, name in hops:
                here = []
                for server in world.zones.of(at):
                    if server.seen and (
                        server.upstream is None or server.listed or server.label in remembered.get(at, ())
                    ):
                        here += self._answers(server, name, ttl)
                ttl = max([ttl, *(a.ttl for a in here if a.cname)])
                answers += here
                public = tuple(s.label for s in world.zones.of(at) if s.public and s.seen and s.listed)
                ns[at] = NsSet(public, NS_TTL)
            last_zone, last = hops[-1]
            primary = world.zones.primary(last_zone)
            if not primary.reached:
                agrees = False
            elif abs(world.skew) > 10:
                agrees, problem = False, "clocks differ"
                if abs(world.skew) > FUDGE:
                    errors.append(
                        TsigBadTime(zone=last_zone, server=primary.label, theirs=world.wall(), ours=world.now().wall)
                    )
            said = self._resolver(last_zone, last)
            sightings.append(OwnerSighting(owner, last, last_zone, tuple(answers), said, ns_ttl=NS_TTL))
        world.wait(world.chance(f"look {len(world.log)}", (0.0, 0.2, 2.0)))
        return DnsLook(tuple(sightings), agrees, problem, ns, errors=tuple(errors[:1]))

    def _resolver(self, zone: str, name: str) -> ResolverAnswer:
        """Return what the host's own resolver says: what it has, for its TTL; then what some server has that it believes."""
        world, resolver = self.world, self.world.resolver
        if resolver.silent:
            return ResolverAnswer(None, authenticated=False, problem="timed out")
        if name not in resolver.kept or resolver.kept[name].until <= world.t:
            believed = [
                s
                for s in world.zones.of(zone)
                if world.zones.askable(s) and not s.badly_signed and s.reached and s.seen and s.listed
            ]
            if not believed:
                return ResolverAnswer(None, authenticated=False, problem="SERVFAIL")
            asked = believed[world.chance(f"asks {len(world.log)} {name}", tuple(range(12))) % len(believed)]
            node, _ = asked.copy.lookup(name)
            ttl = node.ttl if node.records else NEGATIVE_TTL
            resolver.kept[name] = Kept(node.records, world.t + ttl)
        kept = resolver.kept[name]
        left = max(0, int(kept.until - world.t))
        return ResolverAnswer(rrset_of(kept.records), authenticated=not resolver.insecure, ttl=left)

    def _answers(self, server: Server, name: str, ttl: int) -> list[ServerAnswer]:
        """Return what one server says; a primary that the public asks too stands there twice, as in a real look."""
        roles = [(True, False)] if server.upstream is None else []
        roles += [(False, True)] if server.public else []
        if not server.reached:
            return [
                ServerAnswer(_label(server, p), server.zone, p, public, reached=False, problem="timed out")
                for p, public in roles
            ]
        server.unseen = server.edited = False
        server.joined = server.joined and not server.listed
        if server.upstream is None:
            self.hands.asked.add(server.zone)
            self.world.judge.primary_seen(server.zone)
        else:
            self.world.judge.secondary_seen(server)
        for it in world_nodes(self.world, server):
            it.unseen = False  # it is never further behind than `settle`
        node, wildcard = server.copy.lookup(name)
        signature = Signature.BOGUS if server.badly_signed else Signature.VALID
        return [
            ServerAnswer(
                _label(server, primary),
                server.zone,
                primary,
                public,
                reached=True,
                rrset=None if node.cname else rrset_of(node.records),
                cname=node.cname,
                ttl=max(node.ttl, ttl),
                own_ttl=node.ttl,
                serial=server.copy.serial,
                signature=signature if public else Signature.UNCHECKED,
                inception=EPOCH + timedelta(seconds=node.signed) if node.records else None,
                wildcard=wildcard,
            )
            for primary, public in roles
        ]

    async def addresses(self, host: str) -> list[str]:
        return sorted({p.address for mail in self.world.mail.values() for p in mail.places if p.host == host})

    async def update(self, changes: Sequence[OwnerChange]) -> None:
        world, zone = self.world, changes[0].zone
        label = world.zones.primary(zone).label
        names = tuple(c.target for c in changes)
        if not world.zones.primary(zone).reached:
            raise PrimaryUnreachable(zone=zone, server=label, problem="timed out")
        if abs(world.skew) > FUDGE:
            raise TsigBadTime(zone=zone, server=label, theirs=world.wall(), ours=world.now().wall)
        fault = self.hands.take("refused", "answer lost", "delayed", "not applied", "lost")
        its = [(c.target, records_of(c.expect), records_of(c.add), records_of(c.delete), c.ttl) for c in changes]
        required = [it for c in changes for it in prerequisites(c)]
        self.hands.boundary("before the update")
        if fault == "refused":
            raise UpdateRefused(zone=zone, server=label, key="key", owners=names)
        if fault == "delayed":
            world.updates_in_flight += 1
            for name, expect, add, delete, _ in its:
                world.in_flight[name].append((expect - delete) | add)
            world.later(
                world.chance(f"lands {len(world.log)}", (3.0, 60.0, 290.0)),
                lambda: self._lands_late(zone, required, its),
            )
        if fault in ("delayed", "lost"):
            world.wait(5.0)
            raise OutcomeUnknown(zone=zone, server=label, problem="timed out")
        if fault == "not applied":
            return
        told = "; ".join(
            f"+{sorted(map(world.told, a - e))} -{sorted(map(world.told, d))} TTL {ttl}" for _, e, a, d, ttl in its
        )
        applied = world.land(zone, required, its)
        world.say(f"update of {zone} {told}" if applied else f"update of {zone}: prerequisite not met")
        self.hands.boundary("after the update")
        if fault == "answer lost":
            raise OutcomeUnknown(zone=zone, server=label, problem="timed out")
        if not applied:
            raise ChangedUnderUs(zone=zone, server=label, owners=names, rcode="NXRRSET")

    def _lands_late(self, zone: str, required: list[Required], its: list[Landing]) -> None:
        self.world.updates_in_flight -= 1
        for name, expect, add, delete, _ in its:
            self.world.in_flight[name].remove((expect - delete) | add)
        applied = self.world.land(zone, required, its, late=True)
        self.world.say(f"a late update of {zone} {'lands' if applied else 'does not meet its prerequisite'}")

    async def read_back(self, changes: Sequence[OwnerChange], *, once: bool = False) -> list[ReadBack]:
        found = []
        for c in changes:
            change = Change(c.target, c.zone, c.expect, c.wildcard, c.add, c.delete, c.ttl)
            primary = self.world.zones.primary(c.zone)
            (answer, *_) = self._answers(primary, c.target, 0)
            if not primary.reached:
                found.append(ReadBack(change, Applied.UNKNOWN, frozenset(), 0, answer))
                continue
            node = primary.copy.nodes.get(c.target)
            own = rrset_of(node.records) if node is not None else frozenset()
            outcome = (
                Applied.APPLIED
                if own == change.wanted
                else Applied.NOT_APPLIED
                if own == change.present
                else Applied.OTHER
            )
            found.append(ReadBack(change, outcome, own, node.ttl if node is not None else 0, answer))
        return found

    async def try_grant(self, owner: str, zone: str) -> None:
        raise NotImplementedError("no walk calls `check`")
