"""DNS messages: questions made and signed, answers read from octets that may be anything.

dnspython parses names and rdata; the walk over the records is ours, because dnspython refuses a
whole answer for one malformed TLSA record, takes the time from its own clock, and tells nothing of
the server's time when that refuses ours.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import dns.edns
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.rrset
import dns.tsig
import dns.wire
from dns.rdtypes.ANY.OPT import OPT
from dns.rdtypes.ANY.TSIG import TSIG

from rollover.dns.errors import NoAnswer
from rollover.dns.keys import TsigKey

IN = dns.rdataclass.IN
FUDGE = 300  # seconds, RFC 8945 §10
UDP_PAYLOAD = 1232  # octets that no path fragments
MAX_TTL = 2**31 - 1  # RFC 2181 §8
_QUESTION_MAY_BE_MISSING = {dns.rcode.FORMERR, dns.rcode.SERVFAIL, dns.rcode.NOTIMP, dns.rcode.REFUSED}
_WANTED_IN_ADDITIONAL = {dns.rdatatype.A, dns.rdatatype.AAAA, dns.rdatatype.OPT, dns.rdatatype.TSIG}
_SIGNED_TYPES = {dns.rdatatype.from_text(t) for t in ("TLSA", "CNAME", "DNAME", "NSEC", "NSEC3")}
"""The types whose signatures are looked at."""


class NotOurs(NoAnswer):
    """Octets that are no answer to the question asked: another id, question or operation."""


@dataclass(frozen=True, slots=True)
class Request:
    """A message ready to be sent. *mac* is that of its TSIG, empty without one."""

    wire: bytes
    id: int
    opcode: dns.opcode.Opcode
    question: tuple[dns.name.Name, dns.rdatatype.RdataType] | None
    key: TsigKey | None = field(default=None, repr=False)
    mac: bytes = b""


@dataclass(frozen=True, slots=True)
class Tsig:
    """The TSIG of an answer: *verified* if its MAC is ours and its time within the fudge.

    *error* is the server's word on our TSIG (RFC 8945 §5.2), *server_time* its time where it sent
    that along (BADTIME); *problem* why it was not verified.
    """

    verified: bool
    error: int
    time_signed: datetime | None
    server_time: datetime | None = None
    problem: str = ""
    out_of_time: bool = False  # the MAC is right, the time is not


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer to our question, taken apart. TLSA rdata are GenericRdata: octets, as served."""

    rcode: dns.rcode.Rcode
    flags: int
    answer: tuple[dns.rrset.RRset, ...] = ()
    authority: tuple[dns.rrset.RRset, ...] = ()
    additional: tuple[dns.rrset.RRset, ...] = ()
    tsig: Tsig | None = None
    extended_error: str = ""

    @property
    def authoritative(self) -> bool:
        """The AA flag."""
        return bool(self.flags & dns.flags.AA)

    @property
    def authenticated(self) -> bool:
        """The AD flag."""
        return bool(self.flags & dns.flags.AD)

    @property
    def truncated(self) -> bool:
        """The TC flag."""
        return bool(self.flags & dns.flags.TC)

    @property
    def rcode_text(self) -> str:
        """The name of the RCODE, and what the server says about it (RFC 8914)."""
        return dns.rcode.to_text(self.rcode) + (f" ({self.extended_error})" if self.extended_error else "")


def find(
    section: Sequence[dns.rrset.RRset],
    name: dns.name.Name,
    kind: dns.rdatatype.RdataType,
    covers: dns.rdatatype.RdataType = dns.rdatatype.NONE,
) -> dns.rrset.RRset | None:
    """Return the RRset of *name* and *kind* in *section*; RRSIGs by the type that they cover."""
    for rrset in section:
        if rrset.name == name and rrset.rdtype == kind and rrset.covers == covers:
            return rrset
    return None


def query(
    name: dns.name.Name,
    kind: dns.rdatatype.RdataType,
    *,
    now: datetime,
    key: TsigKey | None = None,
    recursive: bool = False,
) -> Request:
    """Return a question with DO set; *recursive* for a resolver: RD and AD too (RFC 6840 §5.7)."""
    message = dns.message.make_query(name, kind, want_dnssec=True, payload=UDP_PAYLOAD)
    message.flags = dns.flags.Flag(dns.flags.RD | dns.flags.AD) if recursive else dns.flags.Flag(0)
    return request(message, now=now, key=key)


def request(message: dns.message.Message, *, now: datetime, key: TsigKey | None) -> Request:
    """Return *message* as octets, signed with *key* at the time *now*."""
    wire = message.to_wire()
    mac = b""
    if key is not None:
        wire, mac = _signed(wire, message.id, key, int(now.timestamp()))
    asked = message.question[0] if message.question and message.opcode() == dns.opcode.QUERY else None
    question = (asked.name, asked.rdtype) if asked is not None else None
    return Request(wire, message.id, message.opcode(), question, key, mac)


def _signed(wire: bytes, identifier: int, key: TsigKey, now: int) -> tuple[bytes, bytes]:
    """Append a TSIG record (RFC 8945 §5.1). dnspython would sign with the time of its own clock."""
    secret = key.dnspython
    blank = TSIG(  # type: ignore[no-untyped-call]
        dns.rdataclass.ANY, dns.rdatatype.TSIG, secret.algorithm, now, FUDGE, b"", identifier, dns.rcode.NOERROR, b""
    )
    rdata, _ = dns.tsig.sign(wire, secret, blank, now, b"")  # type: ignore[no-untyped-call]
    owner, octets = secret.name.to_wire() or b"", rdata.to_wire()
    header = struct.pack("!HHIH", dns.rdatatype.TSIG, dns.rdataclass.ANY, 0, len(octets))
    (additional,) = struct.unpack("!H", wire[10:12])
    wire = wire[:10] + struct.pack("!H", additional + 1) + wire[12:]
    return wire + owner + header + octets, rdata.mac


def read(wire: bytes, asked: Request, now: datetime) -> Answer:
    """Take an answer apart.

    Raises NotOurs for octets that do not answer *asked*, NoAnswer for an answer that cannot be
    read, has a class other than IN, or carries junk behind its end; never anything else.
    """
    try:
        return _Reader(wire, asked, now).read()
    except (dns.exception.DNSException, ValueError, struct.error, IndexError) as error:
        raise NoAnswer(f"malformed answer: {type(error).__name__}") from error


class _Reader:
    def __init__(self, wire: bytes, asked: Request, now: datetime) -> None:
        self.wire = wire
        self.asked = asked
        self.now = now
        self.parser = dns.wire.Parser(wire)
        self.opt: OPT | None = None
        self.opt_ttl = 0
        self.tsig: Tsig | None = None

    def read(self) -> Answer:
        if len(self.wire) < 12:
            raise NotOurs("malformed answer: shorter than a header")
        identifier, flags, *counts = self.parser.get_struct("!HHHHHH")
        if identifier != self.asked.id:
            raise NotOurs("answer with a wrong id")
        if not flags & dns.flags.QR or dns.opcode.from_flags(flags) != self.asked.opcode:
            raise NotOurs("not an answer to our kind of message")
        self._question(counts[0], dns.rcode.Rcode(flags & 0xF))
        # An answer to an UPDATE may repeat our sections with class NONE and ANY (RFC 2136 §3.8).
        keep = self.asked.opcode == dns.opcode.QUERY
        sections = [self._section(count, last=i == 2, keep=keep) for i, count in enumerate(counts[1:])]
        if self.parser.remaining():
            raise NoAnswer("malformed answer: octets behind its end")
        rcode = dns.rcode.from_flags(flags, self.opt_ttl)
        return Answer(rcode, flags, sections[0], sections[1], sections[2], self.tsig, _extended_error(self.opt))

    def _question(self, count: int, rcode: dns.rcode.Rcode) -> None:
        seen = []
        for _ in range(count):
            name = self.parser.get_name(None, decompress=True)
            kind, rdclass = self.parser.get_struct("!HH")
            seen.append((name, kind, rdclass))
        if self.asked.question is None or (not seen and rcode in _QUESTION_MAY_BE_MISSING):
            return
        name, kind = self.asked.question
        if seen != [(name, kind, IN)]:
            raise NotOurs("answer to another question")

    def _section(self, count: int, *, last: bool, keep: bool) -> tuple[dns.rrset.RRset, ...]:
        rrsets: dict[tuple[dns.name.Name, int, int], dns.rrset.RRset] = {}
        for i in range(count):
            start = self.parser.current
            name = self.parser.get_name(None, decompress=True)
            kind, rdclass, ttl, length = self.parser.get_struct("!HHIH")
            if self._is_needless(kind, length, last=last):
                self.parser.get_bytes(length)
                continue
            rdata = self._rdata(dns.rdatatype.RdataType.make(kind), dns.rdataclass.RdataClass.make(rdclass), length)
            if kind == dns.rdatatype.OPT:
                if isinstance(rdata, OPT):
                    self.opt, self.opt_ttl = rdata, ttl
                continue
            if kind == dns.rdatatype.TSIG:
                if not last or i != count - 1 or not isinstance(rdata, TSIG):
                    raise NoAnswer("malformed answer: TSIG not at its end")  # RFC 8945 §5.1
                self.tsig = self._verify(name, rdata, start)
                continue
            if not keep:
                continue
            if rdclass != IN:
                raise NoAnswer(f"answer with a record of class {dns.rdataclass.to_text(rdclass)}")
            covers = rdata.covers()
            rrset = rrsets.setdefault((name, kind, covers), dns.rrset.RRset(name, IN, rdata.rdtype, covers))
            rrset.add(rdata)
            # The largest: what a resolver may hold longest (an RRset has one TTL, RFC 2181 §5.2).
            rrset.ttl = max(rrset.ttl, ttl if ttl <= MAX_TTL else 0)
        return tuple(rrsets.values())

    def _is_needless(self, kind: int, length: int, *, last: bool) -> bool:
        """Tell whether nobody reads such a record: taking rdata apart is what a look spends its time on."""
        if kind == dns.rdatatype.RRSIG and length >= 2:
            place = self.parser.current
            return int.from_bytes(self.wire[place : place + 2], "big") not in _SIGNED_TYPES
        return last and kind not in _WANTED_IN_ADDITIONAL

    def _rdata(self, kind: dns.rdatatype.RdataType, rdclass: dns.rdataclass.RdataClass, length: int) -> dns.rdata.Rdata:
        """Return parsed rdata; the bare octets for TLSA and for what does not parse."""
        start = self.parser.current
        end = start + length
        if length > self.parser.remaining():
            raise dns.exception.FormError
        if kind != dns.rdatatype.TLSA:
            try:
                with self.parser.restrict_to(length):
                    return dns.rdata.from_wire_parser(rdclass, kind, self.parser)
            except (dns.exception.DNSException, ValueError):
                pass
        self.parser.seek(end)
        return dns.rdata.GenericRdata(rdclass, kind, self.wire[start:end])

    def _verify(self, owner: dns.name.Name, rdata: TSIG, start: int) -> Tsig:
        """Check the TSIG record that begins at *start* (RFC 8945 §5.3, §5.4)."""
        signed = _instant(rdata.time_signed)
        server_time = None
        if rdata.error == dns.rcode.BADTIME and len(rdata.other) == 6:
            server_time = _instant(int.from_bytes(rdata.other, "big"))  # RFC 8945 §5.2.3
        if self.asked.key is None:
            return Tsig(verified=False, error=rdata.error, time_signed=signed, problem="signed, though we did not sign")
        problem, out_of_time = "", False
        try:
            dns.tsig.validate(  # type: ignore[no-untyped-call]
                self.wire, self.asked.key.dnspython, owner, rdata, int(self.now.timestamp()), self.asked.mac, start
            )
        except dns.tsig.PeerError:
            problem = f"TSIG error {dns.rcode.to_text(dns.rcode.Rcode.make(rdata.error), tsig=True)}"
        except dns.tsig.BadTime:
            problem, out_of_time = "TSIG with another time", True
        except (dns.exception.DNSException, NotImplementedError) as error:
            problem = f"TSIG does not verify ({type(error).__name__})"
        return Tsig(not problem, rdata.error, signed, server_time, problem, out_of_time)


def _instant(seconds: int) -> datetime | None:
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (OverflowError, ValueError, OSError):
        return None


def _extended_error(opt: OPT | None) -> str:
    """Return what the server says about its error (RFC 8914), on one line."""
    for option in opt.options if opt else ():
        if isinstance(option, dns.edns.EDEOption):
            try:
                words = dns.edns.EDECode.to_text(option.code).replace("_", " ").lower()
            except ValueError:
                words = f"extended error {int(option.code)}"
            text = "".join(c if c.isprintable() else " " for c in option.text or "")[:100]
            return f"{words}: {text}" if text else words
    return ""
