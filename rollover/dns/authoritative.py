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

import dns.name

from rollover.clock import Clock
from rollover.core.errors import RolloverError
from rollover.core.sighting import OwnerSighting, ServerAnswer
from rollover.core.timing import stamp
from rollover.dns.conversation import Heard, hear, interpret
from rollover.dns.errors import PrimaryUnknown, ResolverError, TsigBadTime
from rollover.dns.records import to_name
from rollover.dns.resolver import MAX_CHAIN, Resolver, ZoneKeys
from rollover.dns.servers import Discovery, Finder, Server, ignored_by
from rollover.dns.settings import DnsSettings, canonical
from rollover.dns.transport import in_seconds

CLOCK_TOLERANCE = 10.0  # seconds that a TSIG-signed answer may differ from our clock
_MUCH, _LITTLE = 0.9, 0.4  # shares of the timeout: for a look at one zone, for a server in the worst case


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

    *remembered*: for each zone, labels of servers that left its NS set less than its TTL ago.
    Signatures are checked on the servers that the public asks (see signatures). One dead server or
    all of them: a look takes about ``settings.timeout``; longer only where the resolver is slow.
    """
    this = _Look(settings, resolver, clock, remembered or {})
    sightings = await asyncio.gather(*(this.follow(canonical(owner)) for owner in owners))
    agrees, problem = this.clock()
    return DnsLook(
        owners=tuple(sightings),
        clock_agrees=agrees,
        clock_problem=problem,
        ns=this.ns_sets(),
        ignored=tuple(sorted(this.ignored)),
        errors=tuple(this.errors.values()),
    )


class _Look:
    """What the owners of one look share: servers and keys of the zones, and the state of the clock."""

    def __init__(
        self, settings: DnsSettings, resolver: Resolver, clock: Clock, remembered: Mapping[str, Sequence[str]]
    ) -> None:
        self.settings = settings
        self.resolver = resolver
        self.time = clock
        self.finder = Finder(settings, resolver, clock)
        self.remembered = {canonical(zone): tuple(labels) for zone, labels in remembered.items()}
        self.discoveries: dict[str, asyncio.Task[Discovery]] = {}
        self.keys: dict[str, asyncio.Task[ZoneKeys]] = {}
        self.heard: list[Heard] = []
        self.deadline = in_seconds(settings.timeout * _MUCH)
        self.resolver_problem = ""  # it does not answer: it is not asked again in this look
        self.ignored: set[str] = set()
        self.errors: dict[str, RolloverError] = {}

    def discovery(self, zone: str) -> asyncio.Task[Discovery]:
        """Return what finds the public servers of *zone*; once for all owners."""
        if zone not in self.discoveries:
            self.discoveries[zone] = asyncio.ensure_future(self._discover(zone))
        return self.discoveries[zone]

    def zone_keys(self, zone: str) -> asyncio.Task[ZoneKeys]:
        """Return what asks for the keys of *zone*; once for all owners."""
        if zone not in self.keys:
            self.keys[zone] = asyncio.ensure_future(self._ask_for_keys(zone))
        return self.keys[zone]

    async def _discover(self, zone: str) -> Discovery:
        if self.resolver_problem:
            return Discovery(zone, problems={f"name servers of {zone}": self.resolver_problem})
        return await self.finder.public_servers(zone)

    async def _ask_for_keys(self, zone: str) -> ZoneKeys:
        if self.resolver_problem:
            return ZoneKeys(None, problem=self.resolver_problem)
        return await self.resolver.dnskeys(zone)

    async def follow(self, owner: str) -> OwnerSighting:
        """Look at *owner*, and at the target of its CNAME, and so on to the end."""
        believed = asyncio.ensure_future(self.resolver.tlsa(owner))
        hops: list[_Hop] = []
        name, blocked = owner, ""
        while True:
            hop = _Hop(self, name, is_alias_target=bool(hops))
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
        pairs = [(heard, theirs, ours) for heard in self.heard if heard.server.primary for theirs, ours in heard.times]
        for error in self.errors.values():
            if isinstance(error, TsigBadTime):
                return False, error.message
        for heard, theirs, ours in pairs:
            if abs((theirs - ours).total_seconds()) > CLOCK_TOLERANCE:
                return False, f"clocks differ: {stamp(theirs)} on {heard.server.address}, {stamp(ours)} on this host"
        if not pairs:
            # A primary that gave no answer is told as that; it says nothing about anybody's clock.
            unsigned = any(heard.server.primary and heard.answer is not None for heard in self.heard)
            return False, "no TSIG-signed answer of a primary to check the clock by" if unsigned else ""
        return True, ""

    def ns_sets(self) -> dict[str, NsSet]:
        """Return the NS set of each zone that was found."""
        sets = {}
        for zone, task in self.discoveries.items():
            found = task.result()
            sets[zone] = NsSet(tuple(sorted(server.label for server in found.servers.values())), found.ns_ttl)
        return sets


class _Hop:
    """One name on the way from an owner to its target, on all servers of its zone."""

    def __init__(self, look: _Look, name: str, *, is_alias_target: bool) -> None:
        self.look = look
        self.name = name
        self.zone = ""
        self.ns_ttl = 0
        self.is_alias_target = is_alias_target
        self.primary: ServerAnswer | None = None
        self.primary_is_lame = False
        self.error: RolloverError | None = None
        self.public: list[ServerAnswer] = []
        self.unknown: dict[str, str] = {}  # what could not be found out, by label
        self.tasks: dict[object, asyncio.Task[Heard]] = {}
        self.changed = asyncio.Event()  # one more answer, or nothing more to come
        self.running = asyncio.ensure_future(self._run())

    async def first_word(self) -> str:
        """Return the target of the CNAME here, as soon as that is known; "" where there is none.

        The primary's word counts. Without it, that of the first server that answers.
        """
        while True:
            finished = self.running.done()
            if self.primary is not None and self.primary.reached:
                return self.primary.cname
            spoken = [answer for answer in self.public if answer.reached]
            if spoken and (finished or self.primary is not None):
                return spoken[0].cname
            if finished:
                await self.running  # whatever it raised
                return ""
            self.changed.clear()
            waiter = asyncio.ensure_future(self.changed.wait())
            await asyncio.wait([waiter, self.running], return_when=asyncio.FIRST_COMPLETED)
            waiter.cancel()

    async def answers(self, *, last: bool) -> list[ServerAnswer]:
        """Return the answers of all servers, and a place for each that could not be asked.

        Records are changed at the *last* name only: elsewhere a primary that does not answer for
        the zone (a static one, hosted by somebody else) is left out.
        """
        await self.running
        answers = sorted(self.public, key=lambda answer: answer.server)
        if self.primary is not None and (last or self.primary.reached):
            answers.insert(0, self._with_wildcard(self.primary))
        for label, problem in self.unknown.items():
            if self._ignores(label):
                self.look.ignored.add(label)
            elif last or not label.startswith("primary"):
                answers.append(self._not_reached(label, problem, primary=label.startswith("primary")))
        return answers

    def _ignores(self, label: str) -> bool:
        return ignored_by(Server("", name=label), self.look.settings.ignore, self.look.time.now().wall)

    def _with_wildcard(self, primary: ServerAnswer) -> ServerAnswer:
        """Return *primary*, with the wildcard that signed servers betray where it does not sign itself."""
        if primary.inception is None and primary.rrset:
            for answer in self.public:
                if answer.wildcard and answer.rrset == primary.rrset:
                    return replace(primary, wildcard=answer.wildcard)
        return primary

    def blocked(self) -> str:
        """Return why nothing can be managed here; "" if nothing speaks against it."""
        words = {answer.cname for answer in self.public if answer.reached}
        if len(words) > 1 and (self.primary is None or not self.primary.reached):
            return f"name servers of {self.zone} disagree about a CNAME at {self.name}"
        is_target = self.is_alias_target and not any(words)
        if is_target and self.primary_is_lame and not self.look.settings.has_block(self.zone):
            return (
                f"the CNAME leads to {self.name} in zone {self.zone}, of which [dns] primary is not the primary;"
                f" add a [[dns.zone]] block for it"
            )
        if is_target and self.look.settings.zone(self.zone).key is None:
            return f"the CNAME leads to {self.name} in zone {self.zone}, for which there is no TSIG key"
        return ""

    def _not_reached(self, label: str, problem: str, *, primary: bool = False) -> ServerAnswer:
        return ServerAnswer(label, self.zone, primary=primary, public=not primary, reached=False, problem=problem)

    async def _run(self) -> None:
        try:
            self.zone = await self.look.resolver.zone_of(self.name)
        except (ResolverError, ValueError) as error:
            self.zone = self._zone_without_resolver()
            self.unknown[f"zone of {self.name}"] = str(error)
            if isinstance(error, ResolverError) and not error.refused:
                self.look.resolver_problem = str(error)
            if not self.zone:
                return
        zone, name = to_name(self.zone), to_name(self.name)
        self.look.zone_keys(self.zone)  # needed later; asked for now
        primaries = asyncio.ensure_future(self._ask_primary(zone, name))
        found = await self.look.discovery(self.zone)
        self.unknown |= found.problems
        servers = [*found.servers.values(), *self.look.finder.extra_servers(), *self._remembered()]
        for server in servers:
            self._start(server, zone, name)
        while pending := {task for task in self.tasks.values() if not task.done()}:
            await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
        await primaries
        for task in self.tasks.values():
            task.result()  # a bug of ours is not a fault of a server
        self.unknown |= {k: v for k, v in found.problems.items() if k not in self.unknown}
        self.ns_ttl = found.ns_ttl
        self.changed.set()

    def _zone_without_resolver(self) -> str:
        """Return the zone of our name from what is remembered or configured; "" if that does not help."""
        zones = [*self.look.remembered, *(canonical(block.name) for block in self.look.settings.zones)]
        name = to_name(self.name)
        fitting = [zone for zone in zones if name.is_subdomain(to_name(zone))]
        return max(fitting, key=len, default="")

    def _remembered(self) -> list[Server]:
        servers = []
        for label in self.look.remembered.get(self.zone, ()):
            try:
                servers.append(Server.parse(label))
            except ValueError as error:
                self.unknown[label] = str(error)
        return servers

    def _start(self, server: Server, zone: dns.name.Name, name: dns.name.Name) -> None:
        if server.place in self.tasks:
            return
        if ignored_by(server, self.look.settings.ignore, self.look.time.now().wall):
            self.look.ignored.add(server.label)
            return
        self.tasks[server.place] = asyncio.ensure_future(self._ask(server, zone, name))

    async def _ask(self, server: Server, zone: dns.name.Name, name: dns.name.Name) -> Heard:
        look = self.look
        seconds = max(look.deadline - in_seconds(0), look.settings.timeout * _LITTLE)
        heard = await hear(server, zone, name, seconds, look.time)
        look.heard.append(heard)
        if server.public and heard.ns_names:
            # The servers know better than the resolver's cache which servers there are.
            found = await look.discovery(self.zone)
            found.ns_ttl = max(found.ns_ttl, heard.ns_ttl)
            for new in await look.finder.add_names(found, heard.ns_names):
                self._start(new, zone, name)
        keys = await look.zone_keys(self.zone)
        answer = interpret(heard, zone, name, keys, look.time.now().wall)
        if not server.primary:
            self.public.append(answer)
            self.changed.set()
        return heard

    async def _ask_primary(self, zone: dns.name.Name, name: dns.name.Name) -> None:
        """Ask the primary at all its addresses; the first of them that answers is the primary."""
        try:
            servers = await self.look.finder.primaries(self.zone)
        except (PrimaryUnknown, ResolverError) as error:
            self.unknown[f"primary of {self.zone}"] = str(error)
            self.changed.set()
            return
        all_heard = await asyncio.gather(*(self._ask(server, zone, name) for server in servers))
        heard = next((h for h in all_heard if h.answer is not None), all_heard[0])
        self.primary_is_lame = heard.lame
        self.error = heard.error
        keys = await self.look.zone_keys(self.zone)
        self.primary = interpret(heard, zone, name, keys, self.look.time.now().wall)
        self.changed.set()


