"""A whole look at an owner, in which name servers and the resolver answer as hostile ones may.

Each question takes its answer from the input: a sound one, or a sound one spoilt in one of many ways.
"""

from __future__ import annotations

import contextlib
from unittest import mock

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.rrset
import dns.tsig

from rollover.dns.authoritative import DnsLook, look
from rollover.dns.resolver import Resolver
from rollover.dns.settings import DnsSettings, ExtraServer
from tests.fuzz import net
from tests.fuzz.dns_answer import KEY
from tests.fuzz.zone import DNSKEY, OWNER, ZONE, signed
from tests.pki import NOW

RESOLVER, PRIMARY, FURTHER = "192.0.2.1", "192.0.2.53", "192.0.2.99"
TIMEOUT = 5.0
MOST_QUESTIONS = 1200  # of one look: whatever servers say, they do not choose how much we ask
TLSA = "3 1 1 " + "ab" * 32
HELD = {
    ("example.org.", "SOA"): ["ns1.example.org. h.example.org. 7 60 60 60 60"],
    ("example.org.", "NS"): ["ns1.example.org.", "ns2.example.net."],
    ("example.org.", "DNSKEY"): [DNSKEY.to_text()],
    ("org.", "SOA"): ["ns.org. h.org. 7 60 60 60 60"],
    ("org.", "NS"): ["ns.org."],
    ("ns.org.", "A"): ["192.0.2.10"],
    ("ns1.example.org.", "A"): ["192.0.2.11"],
    ("ns2.example.net.", "A"): ["192.0.2.12"],
    (OWNER.to_text(), "TLSA"): [TLSA],
}
NAMES = [
    *(OWNER.to_text(), "example.org.", "mail.example.org.", "_tcp.mail.example.org.", "ns1.example.org.", "org."),
    *(
        "*.example.org.",
        "x.dane.example.org.",
        "_25._tcp.mail.example.net.",
        ".",
        "0123456789abcdefghijklmnopqrstuv.example.org.",
    ),
]
TYPES = ["TLSA", "CNAME", "DNAME", "SOA", "NS", "A", "AAAA", "RRSIG", "NSEC", "NSEC3", "DNSKEY", "OPT"]
SOUND = [
    TLSA,
    *(OWNER.to_text(), "x.dane.example.org.", "_25._tcp.mail.example.org.", "192.0.2.11", "2001:db8::1"),
    *(
        HELD["example.org.", "SOA"][0],
        "zz.example.org. A NSEC",
        "a.example.org. TLSA RRSIG",
        "\\000.example.org. CNAME",
    ),
    *("1 0 5 ab 0123456789abcdefghijklmnopqrstuv TLSA", "1 0 5 ab vvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvv A"),
    *("2 0 0 - 0123456789abcdefghijklmnopqrstuv A", "1 0 65535 - 00000000000000000000000000000000 A"),
]


class Tape:
    """The input, octet by octet; zeros behind its end, which mean sound answers."""

    def __init__(self, octets: bytes) -> None:
        self._octets, self._at = octets, 0

    def one(self) -> int:
        self._at += 1
        return self._octets[self._at - 1] if self._at <= len(self._octets) else 0

    def some(self, length: int) -> bytes:
        self._at += length
        return self._octets[self._at - length : self._at]


class Servers:
    """All servers of this world; the resolver is the one that follows CNAMEs into every zone."""

    def __init__(self, octets: bytes) -> None:
        self.tape = Tape(octets)
        self.questions = 0

    def datagrams(self, wire: bytes, place: tuple[str, int]) -> list[bytes | OSError]:
        self.questions += 1
        assert self.questions < MOST_QUESTIONS, "the servers choose how much is asked"
        return self._answers(wire, place[0])

    def _answers(self, wire: bytes, address: str) -> list[bytes | OSError]:
        how = self.tape.one()
        if how == 0xFF:
            return []
        if how == 0xFE:
            return [OSError(111, "refused")]
        if how == 0xFD:
            return [self.tape.some(self.tape.one())]
        if how == 0xFC:
            return [wire[:2] + self.tape.some(self.tape.one())]
        if how == 0xFB:
            return [bytes(20)] * 300  # a flood of strangers
        response = _sound(wire, address)
        if how >= 0xC0:
            self._spoil(response, how & 7)
        octets = response.to_wire(max_size=65535)
        for _ in range(how >> 3 & 7 if how >= 0xC0 else 0):
            at = int.from_bytes(self.tape.some(2), "big") % len(octets)
            octets = octets[:at] + bytes([self.tape.one()]) + octets[at + 1 :]
        return [octets]

    def _spoil(self, response: dns.message.Message, how: int) -> None:
        tape = self.tape
        match how:
            case 0:
                response.set_rcode(dns.rcode.Rcode(tape.one() & 15))
            case 1:
                response.flags ^= dns.flags.Flag(tape.one() << 4)  # AA, TC, RD, RA, AD, CD
            case 2:
                response.answer.clear()
            case 3 | 4 | 5:
                for _ in range(1 + (tape.one() & 3)):
                    self._add(response.answer if how != 4 else response.authority, sign=how == 5)
            case 6:
                response.answer.clear()
                self._add(response.authority, sign=True)
            case 7:
                hosts = [f"n{number}.example.org." for number in range(tape.one() % 80)]
                if hosts:
                    response.answer[:] = [dns.rrset.from_text_list(ZONE, 60, "IN", "NS", hosts)]

    def _add(self, section: list[dns.rrset.RRset], *, sign: bool) -> None:
        """Add an RRset of some name and type, of octets that fit or do not."""
        tape = self.tape
        name = dns.name.from_text(NAMES[tape.one() % len(NAMES)])
        kind = dns.rdatatype.from_text(TYPES[tape.one() % len(TYPES)])
        ttl, form = tape.one() << (tape.one() & 31), tape.one()
        rdata: dns.rdata.Rdata = dns.rdata.GenericRdata(dns.rdataclass.IN, kind, tape.some(form & 63))
        if form & 0xC0:
            with contextlib.suppress(dns.exception.DNSException):
                rdata = dns.rdata.from_text("IN", kind, SOUND[form % len(SOUND)])
        rrset = dns.rrset.RRset(name, dns.rdataclass.IN, kind)
        rrset.add(rdata, ttl & 0x7FFFFFFF)
        section.append(rrset)
        if sign and name.is_subdomain(ZONE) and kind != dns.rdatatype.RRSIG:
            section.append(signed(rrset, labels=tape.one() & 7))

    async def connect(self, address: str, port: int, **_: object) -> tuple[Stream, net.Writer]:
        stream = Stream(self, address)
        return stream, net.Writer(stream.hears)


class Stream:
    """A TCP connection: each message is answered, framed; junk is not framed, and then it hangs up."""

    def __init__(self, servers: Servers, address: str) -> None:
        self._servers, self._address = servers, address
        self._out, self._over = b"", False

    def hears(self, octets: bytes) -> None:
        for said in self._servers.datagrams(octets[2:], (self._address, 53))[:1] or [OSError()]:
            if isinstance(said, OSError):
                self._over = True
            elif len(said) < 12:
                self._out, self._over = self._out + said, True
            else:
                self._out += len(said).to_bytes(2, "big") + said

    async def readexactly(self, length: int) -> bytes:
        import asyncio

        if len(self._out) < length:
            if not self._over:
                await asyncio.sleep(1e6)
            raise asyncio.IncompleteReadError(self._out, length)
        part, self._out = self._out[:length], self._out[length:]
        return part


def _sound(wire: bytes, address: str) -> dns.message.Message:
    """Return what a sound server would answer to *wire*."""
    asked = dns.message.from_wire(wire, keyring={KEY.dnspython.name: KEY.dnspython})
    response = dns.message.make_response(asked)
    response.flags |= dns.flags.RA | dns.flags.AD if address == RESOLVER else dns.flags.AA
    name, kind = asked.question[0].name, asked.question[0].rdtype
    texts = HELD.get((name.to_text(), dns.rdatatype.to_text(kind)))
    if texts:
        rrset = dns.rrset.from_text_list(name, 60, "IN", kind, texts)
        response.answer.append(rrset)
        if kind == dns.rdatatype.TLSA:
            response.answer.append(signed(rrset))
    else:
        apex = "example.org." if name.is_subdomain(ZONE) else "org."
        soa = dns.rrset.from_text_list(apex, 60, "IN", "SOA", HELD[apex, "SOA"])
        response.authority.append(soa)
    return response


def target(octets: bytes) -> None:
    """A look ends in its time with a picture, whoever answers what; no server chooses how much is asked."""
    seen = looked(Servers(octets[1:]), (ExtraServer(FURTHER, KEY),) if octets[:1] > b"\x7f" else ())
    for owner in seen.owners:
        for answer in owner.servers:
            assert answer.problem.isprintable(), answer.problem
            assert len(answer.problem) < 2000
        assert owner.blocked.isprintable()


def looked(servers: Servers, extra: tuple[ExtraServer, ...]) -> DnsLook:
    """Return what a look at the owner sees of *servers*."""
    settings = DnsSettings(primary=PRIMARY, key=KEY, resolver=RESOLVER, also_check=extra, timeout=TIMEOUT)
    clock = net.StillClock()
    remembered = {"example.org.": ["old.example.org (192.0.2.77)", "nonsense"]}
    work = look([OWNER.to_text()], settings, Resolver.of(settings, clock), clock, remembered=remembered)
    with (
        mock.patch("asyncio.open_connection", servers.connect),
        mock.patch("dns.message.time.time", NOW.timestamp),
    ):
        return net.run(work, net.Loop(servers.datagrams), TIMEOUT * 30)


def seeds() -> tuple[bytes, ...]:
    """All sound; then each way to spoil, early and late in the look."""
    spoilt = [bytes([0xC0 | how]) for how in range(8)]
    adds = [
        bytes([0xC5, 0, name, kind, 60, 0, 0x40 + form]) for name in range(3) for kind, form in enumerate((0, 1, 2))
    ]
    return (
        b"\0",
        b"\x80",
        *(bytes(1 + at) + it + bytes([0x20] * 4) for it in spoilt for at in (0, 12)),
        *(bytes(14) + it for it in adds),
        bytes(9) + b"\xff\xfe\xfd\x05hello\xfc\x05hello\xfb",
        bytes(3) + b"\xc7\x27",
        bytes([0] * 5 + [0xC7, 79] * 2),
    )
