"""One conversation with one authoritative server about one owner, and what it means.

The order of the questions matters: a public server is asked for its serial before the RRset, the
primary after it. So the RRset of a server is at least as new as its serial says, that of the
primary at most as new, and a server whose serial is not behind cannot pass through an RRset that
the primary has left (protocol.md, Terms).
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from datetime import datetime

import dns.name
import dns.rcode
import dns.rdatatype
import dns.rdtypes.ANY.SOA
import dns.rrset
from dns.rdtypes.ANY.CNAME import CNAME
from dns.rdtypes.ANY.DNAME import DNAME
from dns.rdtypes.ANY.RRSIG import RRSIG

from rollover.clock import Clock
from rollover.core.errors import RolloverError
from rollover.core.sighting import ServerAnswer, Signature
from rollover.dns import message, records
from rollover.dns.errors import NoAnswer, TsigBadKey, TsigBadSignature, TsigBadTime, UpdateError
from rollover.dns.keys import TsigKey
from rollover.dns.message import Answer, Request, find
from rollover.dns.records import NS, SOA, TLSA, to_text
from rollover.dns.resolver import ZoneKeys
from rollover.dns.servers import Server
from rollover.dns.signatures import Verdict, signatures_of, times, verify, verify_denial, wildcard_of, worst
from rollover.dns.transport import Connection, ask, in_seconds

BADKEY, BADSIG, BADTIME = dns.rcode.BADKEY, dns.rcode.BADSIG, dns.rcode.BADTIME


@dataclass(frozen=True, slots=True)
class Heard:
    """What one server said. *problem* is empty when it answered, authoritatively, all that matters.

    *error* is the same as an error with a hint, where the primary refuses us; *times*: the server's
    clock and ours at the same moment, from an answer whose TSIG verified.
    """

    server: Server
    problem: str = ""
    answer: Answer | None = None
    serial: int | None = None
    ns_names: frozenset[str] = frozenset()
    ns_ttl: int = 0
    error: RolloverError | None = None
    lame: bool = False  # it says that the zone is not its own
    times: tuple[tuple[datetime, datetime], ...] = ()
    zone: str = ""  # the one that it was asked about
    denies_above: bool = False  # NXDOMAIN for the name right above the owner


class _Unusable(Exception):
    def __init__(self, problem: str, error: RolloverError | None = None, *, lame: bool = False, rcode: int = 0) -> None:
        super().__init__(problem)
        self.rcode = rcode
        self.problem = problem
        self.error = error
        self.lame = lame


async def hear(server: Server, zone: dns.name.Name, name: dns.name.Name, timeout: float, clock: Clock) -> Heard:
    """Ask *server* for the TLSA RRset at *name*, serial and NS RRset of *zone*; never raises.

    Over UDP, or TCP after truncation; the primary and whoever has a key over TCP, signed with it.
    All within *timeout* seconds.
    """
    talk, above = _Talk(server, zone, clock, in_seconds(timeout)), False
    try:
        if server.primary or server.key:
            async with Connection(server.address, server.port, talk.deadline, clock) as talk.connection:
                if server.primary:
                    tlsa, ns, soa = await talk.tlsa(name), await talk.ask(zone, NS), await talk.ask(zone, SOA)
                else:
                    soa, tlsa, ns = await talk.ask(zone, SOA), await talk.tlsa(name), await talk.ask(zone, NS)
        else:
            soa = await talk.ask(zone, SOA)
            tlsa, ns, above = await asyncio.gather(talk.tlsa(name), talk.ask(zone, NS), talk.denies_above(name, zone))
    except NoAnswer as failure:
        return Heard(server, failure.problem, times=tuple(talk.times))
    except _Unusable as failure:
        return Heard(server, failure.problem, error=failure.error, lame=failure.lame, times=tuple(talk.times))
    serials = find(soa.answer, zone, SOA)
    if serials is None or not hasattr(serials[0], "serial"):
        problem = f"no SOA of {to_text(zone)}: not authoritative for it"
        return Heard(server, problem, lame=True, times=tuple(talk.times))
    names = find(ns.answer, zone, NS)
    return Heard(
        server,
        answer=tlsa,
        serial=serials[0].serial,
        ns_names=frozenset(to_text(rdata.target) for rdata in names or () if hasattr(rdata, "target")),
        ns_ttl=names.ttl if names is not None else 0,
        times=tuple(talk.times),
        denies_above=above,
    )


class _Talk:
    """The questions to one server, each answer checked before it is used."""

    def __init__(self, server: Server, zone: dns.name.Name, clock: Clock, deadline: float) -> None:
        self.server = server
        self.zone = to_text(zone)
        self.clock = clock
        self.deadline = deadline
        self.connection: Connection | None = None
        self.times: list[tuple[datetime, datetime]] = []

    async def ask(self, name: dns.name.Name, kind: dns.rdatatype.RdataType) -> Answer:
        """Return a usable answer. Raises NoAnswer, _Unusable."""

        def question() -> Request:
            return message.query(name, kind, now=self.clock.now().wall, key=self.server.key)

        if self.connection is not None:
            answer = await self.connection.ask(question)
        else:
            answer = await ask(question(), self.server.address, self.server.port, self.deadline, self.clock)
        if self.server.key is not None:
            self._believe(answer, self.server.key)
        if answer.rcode in {dns.rcode.REFUSED, dns.rcode.NOTAUTH}:
            problem = f"{answer.rcode_text}: not authoritative for {self.zone}, or not for us"
            raise _Unusable(problem, lame=True)
        if answer.rcode not in {dns.rcode.NOERROR, dns.rcode.NXDOMAIN}:
            raise _Unusable(answer.rcode_text, rcode=answer.rcode)
        if not answer.authoritative:
            raise _Unusable(f"not authoritative for {self.zone} (lame)", lame=True)
        return answer

    async def tlsa(self, name: dns.name.Name) -> Answer:
        """Return the answer about TLSA; the CNAME alone where the server loses its way behind that.

        BIND says SERVFAIL to a CNAME loop, and to a chain longer than it follows.
        """
        try:
            return await self.ask(name, TLSA)
        except _Unusable as failure:
            if failure.rcode != dns.rcode.SERVFAIL:
                raise
            answer = await self.ask(name, records.CNAME)
            if find(answer.answer, name, records.CNAME) is None:
                raise
            return answer

    async def denies_above(self, name: dns.name.Name, zone: dns.name.Name) -> bool:
        """Tell whether a server that the public asks says NXDOMAIN to the name right above *name*. Never raises.

        Nothing is below such a name (RFC 8020 §2): a resolver that minimises names (RFC 9156 §2.3) stops there.
        """
        if not self.server.public or name.parent() == zone:
            return False
        try:
            answer = await self.ask(name.parent(), TLSA)
        except (NoAnswer, _Unusable):
            return False
        return answer.rcode == dns.rcode.NXDOMAIN

    def _believe(self, answer: Answer, key: TsigKey) -> None:
        """Accept only what is signed with our key; note the time of the server's clock."""
        if answer.tsig is None:
            raise _Unusable(f"{answer.rcode_text}, not signed with TSIG key {key.name}")
        if answer.tsig.verified and answer.tsig.time_signed is not None:
            self.times.append((answer.tsig.time_signed, self.clock.now().wall))
            return
        error = tsig_error(answer, key, self.zone, self.server.label, self.clock.now().wall)
        raise _Unusable(str(error) if error else answer.tsig.problem, error)


def tsig_error(answer: Answer, key: TsigKey, zone: str, server: str, now: datetime) -> UpdateError | None:
    """Return the server's complaint about our TSIG, or ours about its time; None if neither."""
    tsig = answer.tsig
    if tsig is None or tsig.verified:
        return None
    server = server.removeprefix("primary ")
    if tsig.error == BADKEY:
        return TsigBadKey(zone=zone, server=server, key=key.name, algorithm=key.algorithm)
    if tsig.error == BADSIG:
        return TsigBadSignature(zone=zone, server=server, key=key.name)
    if tsig.error == BADTIME:
        return TsigBadTime(zone=zone, server=server, theirs=tsig.server_time, ours=now)
    if tsig.out_of_time:
        return TsigBadTime(zone=zone, server=server, theirs=tsig.time_signed, ours=now)
    return None


def interpret(heard: Heard, zone: dns.name.Name, name: dns.name.Name, keys: ZoneKeys, now: datetime) -> ServerAnswer:
    """Return what *heard* says about *name*, its signatures checked where the public asks. Never raises."""
    server, answer = heard.server, heard.answer
    blank = ServerAnswer(
        server=server.label,
        zone=to_text(zone),
        primary=server.primary,
        public=server.public,
        reached=False,
        problem=heard.problem,
    )
    if answer is None:
        return blank
    alias, dname = _alias(answer, name)
    tlsa = find(answer.answer, name, TLSA)
    if alias is not None and tlsa is not None:
        return replace(blank, problem="answers with a CNAME and TLSA records at once")
    if tlsa is not None and len(tlsa) > records.MAX_RECORDS:
        return replace(blank, problem=f"{len(tlsa)} TLSA records; more than {records.MAX_RECORDS} are not believed")
    if heard.denies_above and (tlsa is not None or alias is not None):
        return replace(blank, problem=f"NXDOMAIN for {to_text(name.parent())}, which has {to_text(name)} below it")
    found = dname if dname is not None else alias if alias is not None else tlsa
    rrsigs = signatures_of(answer.answer, found.name, found.rdtype) if found is not None else []
    wildcard = wildcard_of(name, rrsigs) if dname is None else None
    verdict = _judge(answer, found, rrsigs, wildcard, zone, name, keys, now) if server.public else None
    inception, expiration = times(rrsigs)
    return replace(
        blank,
        reached=True,
        problem=verdict.problem if verdict else "",
        rrset=records.tlsa_rrset(tlsa) if alias is None else None,
        cname=to_text(alias[0].target) if alias is not None else "",
        ttl=_ttl(answer, zone, found, alias, rrsigs),
        own_ttl=tlsa.ttl if tlsa is not None else 0,
        serial=heard.serial,
        signature=verdict.signature if verdict else Signature.UNCHECKED,
        inception=inception,
        expiration=expiration,
        wildcard=to_text(wildcard) if wildcard is not None else "",
    )


def _alias(answer: Answer, name: dns.name.Name) -> tuple[dns.rrset.RRset | None, dns.rrset.RRset | None]:
    """Return the CNAME at *name*, and the DNAME above it if the CNAME was made from that (RFC 6672 §3.1)."""
    alias = find(answer.answer, name, records.CNAME)
    if alias is None or not isinstance(alias[0], CNAME):
        return None, None
    if signatures_of(answer.answer, name, records.CNAME):
        return alias, None
    for rrset in answer.answer:
        above = name != rrset.name and name.is_subdomain(rrset.name)
        if rrset.rdtype == records.DNAME and above and isinstance(rrset[0], DNAME):
            made = _concatenated(name.relativize(rrset.name), rrset[0].target)
            if made == alias[0].target:
                return alias, rrset
    return alias, None


def _concatenated(prefix: dns.name.Name, suffix: dns.name.Name) -> dns.name.Name | None:
    try:
        return prefix.concatenate(suffix)
    except dns.name.NameTooLong:
        return None


def _judge(
    answer: Answer,
    found: dns.rrset.RRset | None,
    rrsigs: list[RRSIG],
    wildcard: dns.name.Name | None,
    zone: dns.name.Name,
    name: dns.name.Name,
    keys: ZoneKeys,
    now: datetime,
) -> Verdict:
    if found is None:
        return verify_denial(answer.authority, name, zone, keys, now)
    verdict = verify(found, rrsigs, zone, keys, now)
    if wildcard is None:
        return verdict
    # RFC 4035 §5.3.4: an answer from a wildcard needs the proof that nothing closer exists.
    proof = verify_denial(answer.authority, name, zone, keys, now, encloser=wildcard.parent())
    return worst([verdict, proof])


def _ttl(
    answer: Answer,
    zone: dns.name.Name,
    found: dns.rrset.RRset | None,
    alias: dns.rrset.RRset | None,
    rrsigs: list[RRSIG],
) -> int:
    """Return how long, in seconds, a resolver may hold this answer at the most."""
    if found is not None:
        # A resolver may take the TTL that was signed, where the server lowered it (RFC 4035 §5.3.3).
        return max(found.ttl, alias.ttl if alias is not None else 0, *(rrsig.original_ttl for rrsig in rrsigs), 0)
    soa = find(answer.authority, zone, SOA)
    if soa is None or not isinstance(soa[0], dns.rdtypes.ANY.SOA.SOA):
        return 0
    return min(soa.ttl, soa[0].minimum)  # RFC 2308 §5
