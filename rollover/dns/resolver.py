"""What a validating resolver says: TLSA, addresses, zones, name servers, keys, with the AD flag.

The AD flag is believed because the configuration names this resolver; the way to it must be safe
(loopback, or a network that is trusted), as RFC 7672 §2.2 asks of every DANE client.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset
import tenacity

from rollover.clock import Clock
from rollover.core.errors import ConfigError
from rollover.core.sighting import ResolverAnswer
from rollover.dns import message, records
from rollover.dns.errors import NoAnswer, ResolverError
from rollover.dns.records import to_name, to_text
from rollover.dns.settings import DnsSettings, is_address, join_host_port, split_host_port
from rollover.dns.transport import ask, in_seconds

MAX_CHAIN = 8  # CNAMEs one after the other
RESOLV_CONF = Path("/etc/resolv.conf")


@dataclass(frozen=True, slots=True)
class NameServers:
    """The NS RRset of a zone: host names, TTL in seconds."""

    names: frozenset[str]
    ttl: int


@dataclass(frozen=True, slots=True)
class ZoneKeys:
    """The DNSKEY RRset of a zone; None when it did not come authenticated.

    *bogus*: the resolver refuses it; *problem* is then what it said, and also when it said nothing.
    Neither: the zone is not signed, or nothing above it vouches for it.
    """

    rrset: dns.rrset.RRset | None
    bogus: bool = False
    problem: str = ""


class Resolver:
    """A validating resolver at one or more addresses, asked in this order.

    *timeout* in seconds bounds one question, all addresses and attempts together.
    """

    def __init__(self, servers: Sequence[tuple[str, int]], clock: Clock, *, timeout: float = 5.0) -> None:
        self._servers = tuple(servers)
        self._clock = clock
        self._timeout = timeout

    @classmethod
    def of(cls, settings: DnsSettings, clock: Clock) -> Resolver:
        """Return the resolver of the configuration, else those of /etc/resolv.conf.

        Raises ConfigError when neither names an address.
        """
        if settings.resolver:
            host, port = split_host_port(settings.resolver)
            if not is_address(host):
                raise ConfigError(
                    f"[dns] resolver = {settings.resolver!r}: not an address",
                    hint='give the address of a validating resolver, for example "127.0.0.1"',
                )
            return cls([(host, port)], clock, timeout=settings.timeout)
        servers = _name_servers_of(RESOLV_CONF)
        if not servers:
            raise ConfigError(
                f"{RESOLV_CONF} names no name server",
                hint="set [dns] resolver to the address of a validating resolver",
            )
        return cls(servers, clock, timeout=settings.timeout)

    @property
    def label(self) -> str:
        """The addresses, as errors name them."""
        return ", ".join(join_host_port(*server) for server in self._servers)

    async def tlsa(self, owner: str) -> ResolverAnswer:
        """Return the TLSA RRset at *owner* (CNAMEs followed) as senders behind a resolver see it.

        Never raises: no answer is an answer too. TTL in seconds, the largest on the way, as cached.
        """
        try:
            answer = await self._ask(to_name(owner), records.TLSA)
        except (ResolverError, ValueError) as error:
            return ResolverAnswer(None, authenticated=False, problem=str(error))
        name, ttl, problem = to_name(owner), 0, ""
        for _ in range(MAX_CHAIN):
            alias = message.find(answer.answer, name, records.CNAME)
            if alias is None:
                break
            name, ttl = alias[0].target, max(ttl, alias.ttl)
        else:
            problem = f"resolver {self.label}: chain of more than {MAX_CHAIN} CNAMEs at {owner}"
            return ResolverAnswer(None, authenticated=False, problem=problem)
        rrset = message.find(answer.answer, name, records.TLSA)
        if rrset is not None:
            ttl = max(ttl, rrset.ttl)
        if rrset is not None and len(rrset) > records.MAX_RECORDS:
            problem = f"resolver {self.label}: {len(rrset)} TLSA records at {owner}, not believed"
            return ResolverAnswer(None, authenticated=False, problem=problem)
        if not answer.authenticated:
            problem = f"resolver {self.label}: answer for {owner} TLSA is not authenticated"
        return ResolverAnswer(records.tlsa_rrset(rrset), answer.authenticated, problem, ttl)

    async def addresses(self, host: str) -> tuple[list[str], bool]:
        """Return all A and AAAA of *host*, and whether all of that came authenticated.

        An address stands for itself. Raises ResolverError if either question has no answer.
        """
        if is_address(host):
            return [host], True
        name = to_name(host)
        answers = await asyncio.gather(self._ask(name, records.A), self._ask(name, records.AAAA))
        found = [
            rdata.address
            for answer, kind in zip(answers, (records.A, records.AAAA), strict=True)
            for rrset in answer.answer
            if rrset.rdtype == kind
            for rdata in rrset
            if hasattr(rdata, "address")
        ]
        return list(dict.fromkeys(found)), all(answer.authenticated for answer in answers)

    async def zone_of(self, name: str) -> str:
        """Return the apex of the zone that *name* is in, wherever a CNAME there leads. Raises ResolverError.

        Asked for is the CNAME itself: a question for SOA would follow it, and fail with its target.
        """
        step = to_name(name)
        while True:
            try:
                answer = await self._ask(step, records.CNAME)
            except ResolverError as error:
                if not error.refused:
                    raise
                # Unbound says SERVFAIL where a DNAME makes the CNAME.
                answer = await self._ask(step, records.SOA)
            # Where a CNAME is there is no apex (RFC 1034 §3.6.2).
            if message.find(answer.answer, step, records.CNAME) is None:
                for rrset in answer.authority:
                    if rrset.rdtype == records.SOA and step.is_subdomain(rrset.name):
                        return to_text(rrset.name)
                # Some forwarders leave out the authority section.
                answer = await self._ask(step, records.SOA)
                if message.find(answer.answer, step, records.SOA) is not None:
                    return to_text(step)
            if step == dns.name.root:
                raise self._error(name, "SOA", "no zone found for it")
            step = step.parent()

    async def primary_name(self, zone: str) -> str:
        """Return the MNAME of the zone's SOA: the primary, if nothing else names it. Raises ResolverError."""
        name = to_name(zone)
        answer = await self._ask(name, records.SOA)
        soa = message.find(answer.answer, name, records.SOA)
        if soa is None or not hasattr(soa[0], "mname"):
            raise self._error(zone, "SOA", "it has none")
        return to_text(soa[0].mname)

    async def ns(self, zone: str) -> NameServers:
        """Return the NS RRset of *zone*; without one, no names. Raises ResolverError."""
        name = to_name(zone)
        answer = await self._ask(name, records.NS)
        rrset = message.find(answer.answer, name, records.NS)
        if rrset is None:
            return NameServers(frozenset(), 0)
        return NameServers(frozenset(to_text(rdata.target) for rdata in rrset if hasattr(rdata, "target")), rrset.ttl)

    async def dnskeys(self, zone: str) -> ZoneKeys:
        """Return the keys of *zone*, only if they came authenticated. Never raises."""
        name = to_name(zone)
        try:
            answer = await self._ask(name, records.DNSKEY)
        except ResolverError as error:
            return ZoneKeys(None, bogus=error.refused, problem=str(error))
        rrset = message.find(answer.answer, name, records.DNSKEY)
        return ZoneKeys(rrset if answer.authenticated else None)

    async def _ask(self, name: dns.name.Name, kind: dns.rdatatype.RdataType) -> message.Answer:
        """Ask, twice if need be. Raises ResolverError."""
        attempts = tenacity.AsyncRetrying(
            stop=tenacity.stop_after_attempt(2),
            wait=tenacity.wait_fixed(0.1),
            retry=tenacity.retry_if_exception(lambda e: isinstance(e, ResolverError) and e.retryable),
            sleep=self._clock.sleep,
            reraise=True,
        )
        deadline = in_seconds(self._timeout)
        return await attempts(self._ask_each, name, kind, deadline)

    async def _ask_each(self, name: dns.name.Name, kind: dns.rdatatype.RdataType, deadline: float) -> message.Answer:
        error: ResolverError | None = None
        for i, (address, port) in enumerate(self._servers):
            question = message.query(name, kind, now=self._clock.now().wall, recursive=True)
            # Each address gets its share of the time that is left.
            share = (deadline - in_seconds(0)) / (len(self._servers) - i)
            try:
                answer = await ask(question, address, port, in_seconds(max(share, 0.0)), self._clock)
            except NoAnswer as failure:
                error = self._error(to_text(name), dns.rdatatype.to_text(kind), failure.problem, retryable=True)
                continue
            if answer.rcode in {dns.rcode.NOERROR, dns.rcode.NXDOMAIN}:
                return answer
            error = self._error(to_text(name), dns.rdatatype.to_text(kind), answer.rcode_text, refused=True)
        assert error is not None
        raise error

    def _error(
        self, name: str, kind: str, problem: str, *, retryable: bool = False, refused: bool = False
    ) -> ResolverError:
        return ResolverError(
            resolver=self.label, name=name, kind=kind, problem=problem, retryable=retryable, refused=refused
        )


def _name_servers_of(path: Path) -> list[tuple[str, int]]:
    """Return the ``nameserver`` lines of resolv.conf(5), at most three as the library reads."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    words = (line.split() for line in lines)
    found = [w[1].partition("%")[0] for w in words if len(w) > 1 and w[0] == "nameserver"]
    return [(address, 53) for address in found if is_address(address)][:3]
