"""Questions to one name server, in-process: what it answers, with TTL and AD flag."""

from __future__ import annotations

from dataclasses import dataclass

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.query
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rdtypes.ANY.SOA
import dns.rdtypes.ANY.TLSA

from .process import NoAnswer


@dataclass(frozen=True)
class RRset:
    """Records in presentation form, sorted, and their TTL in seconds. False if there are none."""

    records: tuple[str, ...] = ()
    ttl: int = 0

    def __bool__(self) -> bool:
        return bool(self.records)


@dataclass(frozen=True)
class Answer:
    """One answer: response code, whether authenticated (AD), the RRset, CNAMEs on the way."""

    rcode: str
    authenticated: bool
    rrset: RRset
    cnames: tuple[str, ...] = ()


def ask(address: str, name: str, kind: str, *, port: int = 53, seconds: float = 20.0) -> Answer:
    """Ask one server over UDP, over TCP after a truncated answer.

    Recursion is desired and DNSSEC records are asked for; harmless with an authoritative server.
    Raises NoAnswer when no answer comes within *seconds*.
    """
    message = dns.message.make_query(name, kind, want_dnssec=True)
    message.flags |= dns.flags.AD
    try:
        answer, _ = dns.query.udp_with_fallback(message, address, timeout=seconds, port=port)
    except dns.exception.Timeout as error:
        raise NoAnswer(f"{address} does not answer {name} {kind}") from error
    wanted = dns.rdatatype.from_text(kind)
    rrset, cnames = RRset(), []
    for found in answer.answer:
        if found.rdtype == dns.rdatatype.CNAME and wanted != dns.rdatatype.CNAME:
            cnames.append(found[0].to_text())
        elif found.rdtype == wanted:
            rrset = RRset(tuple(sorted(text(rdata) for rdata in found)), found.ttl)
    return Answer(
        dns.rcode.to_text(answer.rcode()),
        bool(answer.flags & dns.flags.AD),
        rrset,
        tuple(cnames),
    )


def text(rdata: object) -> str:
    """Return presentation form; for TLSA without the spaces that dnspython may put in."""
    if isinstance(rdata, dns.rdtypes.ANY.TLSA.TLSA):
        return f"{rdata.usage} {rdata.selector} {rdata.mtype} {rdata.cert.hex()}"
    return str(rdata)


def serial(address: str, zone: str) -> int:
    """Return the SOA serial of *zone* at *address*. Raises NoAnswer if it serves none."""
    message = dns.message.make_query(zone, "SOA")
    try:
        answer = dns.query.udp(message, address, timeout=3)
    except dns.exception.Timeout as error:
        raise NoAnswer(f"{address} does not answer") from error
    found = answer.get_rrset(answer.answer, dns.name.from_text(zone), dns.rdataclass.IN, dns.rdatatype.SOA)
    if found is None or not isinstance(found[0], dns.rdtypes.ANY.SOA.SOA):
        raise NoAnswer(f"{address} serves no zone {zone}")
    return int(found[0].serial)


def is_signed(address: str, zone: str) -> bool:
    """Whether *address* serves the SOA of *zone* with a signature; False when it is not there."""
    message = dns.message.make_query(zone, "SOA", want_dnssec=True)
    try:
        # TCP: a server that does not listen yet refuses at once, where UDP would wait.
        answer = dns.query.tcp(message, address, timeout=1)
    except (dns.exception.Timeout, EOFError, OSError):
        return False
    return any(found.rdtype == dns.rdatatype.RRSIG for found in answer.answer)
