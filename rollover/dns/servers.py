"""Which servers must be asked about a zone: those that the public asks, and those we were told of."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Coroutine, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import dns.name

from rollover.clock import Clock
from rollover.dns import message, records
from rollover.dns.errors import NoAnswer, PrimaryUnknown, ResolverError
from rollover.dns.keys import TsigKey
from rollover.dns.records import to_name, to_text
from rollover.dns.resolver import Resolver
from rollover.dns.settings import (
    DNS_PORT,
    DnsSettings,
    Ignored,
    is_address,
    join_host_port,
    split_host_port,
)
from rollover.dns.transport import ask, in_seconds

MOST_NAMES, MOST_SERVERS = (
    32,
    64,
)  # of one zone; 13 names fit into the root's answer. Who serves a zone must not choose how much is asked

_LABEL = re.compile(r"(?:(?P<name>\S+) \()?(?P<place>[^\s()]+)\)?")


@dataclass(frozen=True, slots=True)
class Server:
    """One server at one address. *name*: the host name in the NS RRset, or what was configured."""

    address: str
    port: int = DNS_PORT
    name: str = ""
    key: TsigKey | None = None
    public: bool = False
    primary: bool = False

    @property
    def label(self) -> str:
        """Name and address, as ``status`` prints them; parse() reads it again."""
        place = join_host_port(self.address, self.port)
        if self.primary:
            return f"primary {place}"
        return f"{self.name.rstrip('.')} ({place})" if self.name else place

    @property
    def place(self) -> tuple[str, int, str, bool]:
        """What makes it another server than the next: the key may choose a view."""
        return (self.address, self.port, self.key.name if self.key else "", self.primary)

    @classmethod
    def parse(cls, label: str) -> Server:
        """Read the label of a public server, or a bare address. Raises ValueError."""
        match = _LABEL.fullmatch(label.strip())
        if match is None:
            raise ValueError(f"not a server: {label!r}")
        host, port = split_host_port(match["place"])
        if not is_address(host):
            raise ValueError(f"not an address: {label!r}")
        return cls(host, port, match["name"] or "", public=True)


@dataclass
class Discovery:
    """What is known of a zone's public servers; it grows while they are asked.

    *problems*: servers, or sources of servers, that could not be found out: (label, problem).
    """

    zone: str
    names: set[str] = field(default_factory=set)
    servers: dict[tuple[str, int, str, bool], Server] = field(default_factory=dict)
    ns_ttl: int = 0
    problems: dict[str, str] = field(default_factory=dict)

    def add(self, server: Server) -> bool:
        """Note *server*; tell whether it is new. Of too many the rest is told as one that is not known."""
        if server.place in self.servers:
            return False
        if len(self.servers) >= MOST_SERVERS:
            self.problems[f"further addresses of {self.zone}"] = f"more than {MOST_SERVERS} are not asked"
            return False
        self.servers[server.place] = server
        return True


class Finder:
    """Finds the servers of zones for one look; what it found once it keeps for that look."""

    def __init__(self, settings: DnsSettings, resolver: Resolver, clock: Clock) -> None:
        self._settings = settings
        self._resolver = resolver
        self._clock = clock

    async def public_servers(self, zone: str) -> Discovery:
        """Return the servers in the NS RRset of *zone* and of its delegation (RFC 1034 §4.2.2).

        Both, because resolvers use either. Never raises: what fails is among the problems.
        """
        found = Discovery(zone)
        await asyncio.gather(self._from_child(found), self._from_parent(found))
        return found

    async def _from_child(self, found: Discovery) -> None:
        try:
            child = await self._resolver.ns(found.zone)
        except ResolverError as error:
            found.problems[f"name servers of {found.zone}"] = str(error)
            return
        found.ns_ttl = max(found.ns_ttl, child.ttl)
        await self.add_names(found, child.names)

    async def _from_parent(self, found: Discovery) -> None:
        zone = to_name(found.zone)
        if zone == dns.name.root:
            return
        label = f"delegation of {found.zone}"
        try:
            parent = await self._resolver.zone_of(to_text(zone.parent()))
            hosts = await self._resolver.ns(parent)
            addresses = await asyncio.gather(
                *(self._resolver.addresses(name) for name in sorted(hosts.names)[:MOST_NAMES]), return_exceptions=True
            )
        except ResolverError as error:
            found.problems[label] = str(error)
            return
        places = [address for entry in addresses if not isinstance(entry, BaseException) for address in entry[0]]
        referrals = await self._first_answers([self._referral(zone, place) for place in places[:MOST_SERVERS]])
        if not referrals:
            found.problems[label] = f"no server of {parent} tells it"
        for names, glue, ttl in referrals:
            found.ns_ttl = max(found.ns_ttl, ttl)
            for name, address in glue:
                found.add(Server(address, name=name, public=True))
            await self.add_names(found, names)

    async def _first_answers(self, questions: Sequence[Coroutine[None, None, _Referral | None]]) -> list[_Referral]:
        """Return all answers that come soon after the first; a dead server must not hold us up."""
        if not questions:
            return []
        tasks = [asyncio.ensure_future(question) for question in questions]
        pending = set(tasks)
        grace = self._settings.timeout / 10
        try:
            while pending:
                answered = any(task.done() and task.result() for task in tasks)
                _, pending = await asyncio.wait(
                    pending,
                    timeout=grace if answered else None,
                    return_when=asyncio.ALL_COMPLETED if answered else asyncio.FIRST_COMPLETED,
                )
                if answered:
                    break
            return [referral for task in tasks if task.done() and (referral := task.result())]
        finally:
            for task in pending:
                task.cancel()

    async def _referral(self, zone: dns.name.Name, address: str) -> _Referral | None:
        """Return NS names, glue and TTL as one server of the parent tells them; None if it does not."""
        question = message.query(zone, records.NS, now=self._clock.now().wall)
        try:
            answer = await ask(question, address, DNS_PORT, in_seconds(self._settings.timeout / 2), self._clock)
        except NoAnswer:
            return None
        # A server of both zones answers with the child's own RRset.
        rrset = message.find((*answer.answer, *answer.authority), zone, records.NS)
        if rrset is None:
            return None
        names = frozenset(to_text(rdata.target) for rdata in rrset if hasattr(rdata, "target"))
        glue = tuple(
            (to_text(extra.name), rdata.address)
            for extra in answer.additional
            if extra.rdtype in {records.A, records.AAAA} and to_text(extra.name) in names
            for rdata in extra
            if hasattr(rdata, "address")
        )
        return names, glue, rrset.ttl

    async def add_names(self, found: Discovery, names: Iterable[str]) -> list[Server]:
        """Resolve those of *names* that are new, and return the servers that this added."""
        new = [name for name in sorted(names) if name not in found.names]
        if len(found.names) + len(new) > MOST_NAMES:
            found.problems[f"further name servers of {found.zone}"] = f"more than {MOST_NAMES} are not asked"
            new = new[: MOST_NAMES - len(found.names)]
        found.names.update(new)
        results = await asyncio.gather(*(self._resolver.addresses(name) for name in new), return_exceptions=True)
        added = []
        for name, result in zip(new, results, strict=True):
            if isinstance(result, ResolverError):
                found.problems[name.rstrip(".")] = str(result)
            elif isinstance(result, BaseException):
                raise result
            elif not result[0]:
                found.problems[name.rstrip(".")] = "its name has no address"
            else:
                servers = [Server(address, name=name, public=True) for address in result[0]]
                added += [server for server in servers if found.add(server)]
        return added

    async def primaries(self, zone: str) -> list[Server]:
        """Return the primary of *zone* at each of its addresses (see primaries_of)."""
        return await primaries_of(zone, self._settings, self._resolver)

    def extra_servers(self) -> list[Server]:
        """Return the servers of ``also_check``."""
        servers = []
        for extra in self._settings.also_check:
            address, port = split_host_port(extra.address)
            servers.append(Server(address, port, key=extra.key))
        return servers


_Referral = tuple[frozenset[str], tuple[tuple[str, str], ...], int]


async def primaries_of(zone: str, settings: DnsSettings, resolver: Resolver) -> list[Server]:
    """Return the server that takes updates of *zone*, once for each of its addresses.

    That is the configured one, else the SOA MNAME (RFC 2136 §4.3). Raises PrimaryUnknown, ResolverError.
    """
    configured = settings.zone(zone)
    try:
        if configured.primary:
            host, port = split_host_port(configured.primary)
        else:
            host, port = await resolver.primary_name(zone), DNS_PORT
        addresses, _ = await resolver.addresses(host)
    except ValueError as error:
        raise PrimaryUnknown(zone=zone, problem=str(error)) from None
    if not addresses:
        raise PrimaryUnknown(zone=zone, problem=f"{host} has no address")
    return [Server(address, port, host, configured.key, primary=True) for address in addresses]


def ignored_by(server: Server, ignore: Sequence[Ignored], now: datetime) -> bool:
    """Tell whether *server* is left out for now; the primary never is."""
    if server.primary:
        return False
    words = {server.address, join_host_port(server.address, server.port), server.name.rstrip(".").lower(), server.label}
    return any(entry.until >= now.date() and entry.server.rstrip(".").lower() in words for entry in ignore)
