"""One name on the way from an owner to its target, on all servers of its zone."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace

import dns.name

from rollover.clock import Clock
from rollover.core.errors import RolloverError
from rollover.core.sighting import ServerAnswer
from rollover.dns.conversation import Heard, hear, interpret
from rollover.dns.errors import PrimaryUnknown, ResolverError
from rollover.dns.records import to_name
from rollover.dns.resolver import Resolver, ZoneKeys
from rollover.dns.servers import Discovery, Finder, Server, ignored_by
from rollover.dns.settings import DnsSettings, canonical
from rollover.dns.transport import in_seconds

_MUCH, _LITTLE = 0.9, 0.4  # shares of the timeout: for a look at one zone, for a server in the worst case


class Shared:
    """What the owners of one look share: servers and keys of the zones, and what was heard."""

    def __init__(
        self, settings: DnsSettings, resolver: Resolver, clock: Clock, remembered: Mapping[str, Sequence[str]]
    ) -> None:
        self.settings = settings
        self.resolver = resolver
        self.clock = clock
        self.finder = Finder(settings, resolver, clock)
        self.remembered = {canonical(zone): tuple(labels) for zone, labels in remembered.items()}
        self.discoveries: dict[str, asyncio.Task[Discovery]] = {}
        self.keys: dict[str, asyncio.Task[ZoneKeys]] = {}
        self.heard: list[Heard] = []
        self.ignored: set[str] = set()
        self.deadline = in_seconds(settings.timeout * _MUCH)
        self.resolver_problem = ""  # it does not answer: it is not asked again in this look

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


class Hop:
    """One name on the way from an owner to its target, on all servers of its zone."""

    def __init__(self, look: Shared, name: str, *, is_alias_target: bool) -> None:
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
        return ignored_by(Server("", name=label), self.look.settings.ignore, self.look.clock.now().wall)

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
        servers = [*found.servers.values(), *self.look.finder.extra_servers(), *self._remembered()]
        for server in servers:
            self._start(server, zone, name)
        while pending := {task for task in self.tasks.values() if not task.done()}:
            await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
        await primaries
        for task in self.tasks.values():
            task.result()  # a bug of ours is not a fault of a server
        self.unknown |= found.problems
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
        if ignored_by(server, self.look.settings.ignore, self.look.clock.now().wall):
            self.look.ignored.add(server.label)
            return
        self.tasks[server.place] = asyncio.ensure_future(self._ask(server, zone, name))

    async def _ask(self, server: Server, zone: dns.name.Name, name: dns.name.Name) -> Heard:
        look = self.look
        seconds = max(look.deadline - in_seconds(0), look.settings.timeout * _LITTLE)
        heard = replace(await hear(server, zone, name, seconds, look.clock), zone=self.zone)
        look.heard.append(heard)
        if server.public and heard.ns_names:
            # The servers know better than the resolver's cache which servers there are.
            found = await look.discovery(self.zone)
            found.ns_ttl = max(found.ns_ttl, heard.ns_ttl)
            names = set(heard.ns_names)
            if look.resolver_problem:  # which is told once: the addresses of these are remembered
                names -= {f"{other.name.rstrip('.')}." for other in self._remembered()}
            for new in await look.finder.add_names(found, names):
                self._start(new, zone, name)
        keys = await look.zone_keys(self.zone)
        answer = interpret(heard, zone, name, keys, look.clock.now().wall)
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
        self.primary = interpret(heard, zone, name, keys, self.look.clock.now().wall)
        self.changed.set()
