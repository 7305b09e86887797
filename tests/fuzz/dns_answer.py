"""One answer of a name server, octet by octet: read, and judged as a server's and a resolver's word."""

from __future__ import annotations

import functools
import struct
from datetime import datetime

import dns.flags
import dns.message
import dns.rrset
import dns.update

from rollover.core.sighting import ServerAnswer, Signature
from rollover.dns import message, records
from rollover.dns.conversation import Heard, interpret, tsig_error
from rollover.dns.errors import NoAnswer
from rollover.dns.keys import TsigKey
from rollover.dns.message import Answer, Request
from rollover.dns.resolver import ZoneKeys
from rollover.dns.servers import Server
from tests.fuzz.zone import KEYS, OWNER, ZONE, signed
from tests.pki import NOW

KEY = TsigKey("rollover-key", "hmac-sha256", b"k" * 32)
PLAIN, SIGNED, UPDATE = range(3)


@functools.cache
def _asked(kind: int) -> Request:
    """Return one question of each kind, always the same."""
    if kind == UPDATE:
        change = dns.update.UpdateMessage(ZONE, id=0x1234)
        change.add(OWNER, 20, "TLSA", "3 1 1 " + "ab" * 32)
        return message.request(change, now=NOW, key=KEY)
    question = dns.message.make_query(OWNER, records.TLSA, want_dnssec=True, id=0x1234)
    return message.request(question, now=NOW, key=KEY if kind == SIGNED else None)


def target(octets: bytes) -> None:
    """Octets are an answer or a NoAnswer; an answer is a picture, whatever is in it."""
    if not octets:
        return
    kind = octets[0] % 3
    wire = struct.pack("!H", 0x1234) + octets[1:]
    try:
        answer = message.read(wire, _asked(kind), NOW)
    except NoAnswer as error:
        assert error.problem.isprintable()
        return
    assert answer.rcode_text.isprintable()
    if kind != PLAIN:
        tsig_error(answer, KEY, "example.org.", "192.0.2.53", NOW)
    judge(answer, NOW)


def judge(answer: Answer, now: datetime) -> None:
    """Ask for the picture that each kind of server would give with this answer."""
    for server in (Server("192.0.2.1", name="ns.example.org.", public=True), Server("192.0.2.53", primary=True)):
        for keys in (KEYS, ZoneKeys(None), ZoneKeys(None, bogus=True, problem="SERVFAIL")):
            seen = interpret(Heard(server, answer=answer, serial=1), ZONE, OWNER, keys, now)
            assert isinstance(seen, ServerAnswer)
            assert isinstance(seen.signature, Signature)
            assert seen.problem.isprintable(), seen.problem
            assert 0 <= seen.ttl < 2**32
            assert seen.rrset is None or len(seen.rrset) <= records.MAX_RECORDS


def _wire(kind: int, *rrsets: str, authority: tuple[str, ...] = (), sign: bool = False, rcode: int = 0) -> bytes:
    response = dns.message.make_response(dns.message.from_wire(_asked(kind).wire, keyring=False))
    response.flags |= dns.flags.AA
    response.set_rcode(rcode)
    for section, texts in ((response.answer, rrsets), (response.authority, authority)):
        for text in texts:
            name, ttl, kind_of, rdata = text.split(" ", 3)
            rrset = dns.rrset.from_text(name, int(ttl), "IN", kind_of, rdata)
            section.append(rrset)
            if sign:
                section.append(signed(rrset))
    return bytes([kind]) + response.to_wire()[2:]


def seeds() -> tuple[bytes, ...]:
    """Answers of every shape that a sound server gives."""
    owner, tlsa = OWNER.to_text(), "3 1 1 " + "ab" * 32
    soa = "example.org. 60 SOA ns.example.org. h.example.org. 7 60 60 60 60"
    nsec = "mail.example.org. 60 NSEC zz.example.org. A RRSIG NSEC"
    return (
        _wire(PLAIN, f"{owner} 20 TLSA {tlsa}", sign=True),
        _wire(PLAIN, f"{owner} 20 TLSA {tlsa}", f"{owner} 20 TLSA 2 0 0 ab"),
        _wire(SIGNED, f"{owner} 20 TLSA {tlsa}"),
        _wire(PLAIN, f"{owner} 20 CNAME x.dane.example.org.", sign=True),
        _wire(PLAIN, f"{owner} 20 CNAME _25._tcp.mail.example.net.", "example.org. 20 DNAME example.net.", sign=True),
        _wire(PLAIN, authority=(soa, nsec), sign=True),
        _wire(
            PLAIN, authority=(soa, "a.example.org. 60 NSEC3 1 0 5 ab 0123456789abcdefghijklmnopqrstuv TLSA"), rcode=3
        ),
        _wire(UPDATE),
        _wire(UPDATE, rcode=5),
    )
