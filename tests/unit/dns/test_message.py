"""The reader of answers: any octets, any TSIG; and that dnspython agrees with what we sign."""

from __future__ import annotations

import struct
from datetime import UTC, datetime, timedelta

import dns.edns
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset
import dns.tsig
import dns.update
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rollover.core.sighting import ServerAnswer
from rollover.core.tlsa import Tlsa
from rollover.dns import message, records
from rollover.dns.conversation import Heard, interpret
from rollover.dns.errors import NoAnswer
from rollover.dns.keys import TsigKey
from rollover.dns.message import NotOurs, find, query, read, request
from rollover.dns.resolver import ZoneKeys
from rollover.dns.servers import Server

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
OWNER = dns.name.from_text("_25._tcp.mail.example.test.")
ZONE = dns.name.from_text("example.test.")
KEY = TsigKey("rollover-key", "hmac-sha256", b"k" * 32)
OTHER_KEY = TsigKey("rollover-key", "hmac-sha256", b"x" * 32)
KEYRING = {KEY.dnspython.name: KEY.dnspython}


@pytest.fixture
def their_clock(monkeypatch: pytest.MonkeyPatch):
    """Sets the time of dnspython, which stands for the server."""

    def set_to(when: datetime) -> None:
        monkeypatch.setattr("dns.message.time.time", when.timestamp)

    set_to(NOW)
    return set_to


def an_answer(asked: message.Request, *rrsets: str, aa: bool = True) -> bytes:
    """Return a well-formed answer with *rrsets* in zone file form."""
    response = dns.message.make_response(dns.message.from_wire(asked.wire, keyring=False))
    if aa:
        response.flags |= dns.flags.AA
    for text in rrsets:
        name, ttl, kind, rdata = text.split(" ", 3)
        response.answer.append(dns.rrset.from_text(name, int(ttl), "IN", kind, rdata))
    return response.to_wire()


class TestQuestions:
    def test_to_a_server(self) -> None:
        """An authoritative server is asked without recursion, for signatures, within a safe size."""
        parsed = dns.message.from_wire(query(OWNER, records.TLSA, now=NOW).wire)
        assert not parsed.flags & (dns.flags.RD | dns.flags.AD | dns.flags.CD)
        assert parsed.ednsflags & dns.flags.DO
        assert parsed.payload == 1232

    def test_to_a_resolver(self) -> None:
        """A resolver is asked to recurse, and to validate."""
        parsed = dns.message.from_wire(query(OWNER, records.TLSA, now=NOW, recursive=True).wire)
        assert parsed.flags & dns.flags.RD
        assert parsed.flags & dns.flags.AD
        assert not parsed.flags & dns.flags.CD

    @pytest.mark.parametrize("algorithm", ["hmac-sha1", "hmac-sha224", "hmac-sha256", "hmac-sha384", "hmac-sha512"])
    def test_signed(self, their_clock, algorithm: str) -> None:
        """What we sign, at the time that we give, verifies by dnspython's own reckoning."""
        key = TsigKey("a.key.example", algorithm, b"k" * 64)
        wire = query(OWNER, records.TLSA, now=NOW, key=key).wire
        parsed = dns.message.from_wire(wire, keyring={key.dnspython.name: key.dnspython})
        assert parsed.had_tsig
        assert parsed.tsig[0].time_signed == int(NOW.timestamp())
        assert parsed.tsig[0].fudge == 300

    def test_signed_with_the_wrong_time(self, their_clock) -> None:
        """The time in a signature is ours, not that of dnspython's clock."""
        wire = query(OWNER, records.TLSA, now=NOW - timedelta(seconds=400), key=KEY).wire
        with pytest.raises(dns.tsig.BadTime):
            dns.message.from_wire(wire, keyring=KEYRING)


class TestAnswers:
    asked = query(OWNER, records.TLSA, now=NOW)

    def test_well_formed(self) -> None:
        """Records are found by name and type; others are told apart."""
        wire = an_answer(self.asked, f"{OWNER} 20 TLSA 3 1 1 {'ab' * 32}", "other.test. 30 A 192.0.2.1")
        answer = read(wire, self.asked, NOW)
        assert answer.authoritative
        rrset = find(answer.answer, OWNER, records.TLSA)
        assert records.tlsa_rrset(rrset) == frozenset([Tlsa(3, 1, 1, b"\xab" * 32)])
        assert find(answer.answer, OWNER, records.A) is None

    def test_different_ttls_in_one_rrset(self) -> None:
        """Of different TTLs in one RRset the largest counts: a cache may take that."""
        wire = an_answer(self.asked, f"{OWNER} 20 TLSA 3 1 1 {'ab' * 32}", f"{OWNER} 90 TLSA 3 1 1 {'cd' * 32}")
        rrset = find(read(wire, self.asked, NOW).answer, OWNER, records.TLSA)
        assert (len(rrset), rrset.ttl) == (2, 90)

    def test_case_of_names(self) -> None:
        """Names are compared without regard to case."""
        wire = an_answer(self.asked, f"{str(OWNER).upper()} 20 TLSA 3 1 1 {'ab' * 32}")
        assert find(read(wire, self.asked, NOW).answer, OWNER, records.TLSA) is not None

    def test_what_the_server_says_about_its_error(self) -> None:
        """The text of an extended error (RFC 8914) is shown, on one line."""
        response = dns.message.make_response(dns.message.from_wire(self.asked.wire))
        response.set_rcode(dns.rcode.SERVFAIL)
        response.use_edns(0, 0, 1232, options=[dns.edns.EDEOption(6, "no\nkeys")])
        assert read(response.to_wire(), self.asked, NOW).rcode_text == "SERVFAIL (dnssec bogus: no keys)"

    @settings(deadline=None)
    @given(st.binary(max_size=200))
    @example(b"")
    def test_any_octets(self, octets: bytes) -> None:
        """Any octets are an answer or a NoAnswer."""
        for wire in (octets, self.asked.wire[:2] + octets, self.asked.wire[:2] + b"\x84\x00" + octets):
            try:
                read(wire, self.asked, NOW)
            except NoAnswer as failure:
                assert failure.problem
                assert "\n" not in failure.problem

    @settings(max_examples=400, deadline=None)
    @given(
        changes=st.lists(st.tuples(st.integers(2, 400), st.integers(0, 255)), min_size=1, max_size=6),
        cut=st.integers(0, 400),
    )
    def test_any_damage(self, changes: list[tuple[int, int]], cut: int) -> None:
        """A good answer, damaged anywhere, is read or refused; what is read is interpreted, never raised."""
        good = an_answer(
            self.asked,
            f"{OWNER} 20 TLSA 3 1 1 {'ab' * 32}",
            f"{OWNER} 20 RRSIG TLSA 13 5 20 20261206000000 20261122000000 1 {ZONE} {'ab' * 43}c=",
            f"{OWNER} 20 CNAME elsewhere.test.",
            f"{ZONE} 20 SOA ns1.example.test. hostmaster.example.test. 1 2 3 4 5",
            "a.example.test. 20 NSEC b.example.test. A TLSA",
            "0p9mhaveqvm6t7vbl5lop2u3t2rp3tom.example.test. 20 NSEC3 1 0 0 - 0p9mhaveqvm6t7vbl5lop2u3t2rp3ton A",
            "d.example.test. 20 DNAME e.test.",
        )
        wire = bytearray(good)
        for place, value in changes:
            wire[place % len(wire) if place % len(wire) > 1 else 2] = value
        try:
            answer = read(bytes(wire[: len(wire) - cut if cut < 40 else len(wire)]), self.asked, NOW)
        except NoAnswer:
            return
        keys = ZoneKeys(dns.rrset.from_text(ZONE, 20, "IN", "DNSKEY", f"257 3 13 {'a' * 86}=="))
        server = Server("192.0.2.1", public=True)
        seen = interpret(Heard(server, answer=answer, serial=1), ZONE, OWNER, keys, NOW)
        assert isinstance(seen, ServerAnswer)
        assert "\n" not in seen.problem

    @settings(deadline=None)
    @given(st.lists(st.binary(max_size=70), min_size=1, max_size=8, unique=True))
    def test_any_rdata(self, rdata: list[bytes]) -> None:
        """TLSA rdata of any form are all there, octet by octet, and go out again as they came."""
        body = b"".join(
            b"\xc0\x0c" + struct.pack("!HHIH", dns.rdatatype.TLSA, 1, 20, len(octets)) + octets for octets in rdata
        )
        wire = self.asked.wire[:2] + b"\x84\x00\x00\x01" + struct.pack("!HHH", len(rdata), 0, 0)
        wire += OWNER.to_wire() + struct.pack("!HH", dns.rdatatype.TLSA, 1) + body
        rrset = records.tlsa_rrset(find(read(wire, self.asked, NOW).answer, OWNER, records.TLSA))
        assert sorted(record.to_wire() for record in rrset) == sorted(rdata)
        update = dns.update.UpdateMessage(ZONE)
        for record in rrset:
            update.present(OWNER, records.tlsa_rdata(record))
        sent = request(update, now=NOW, key=None).wire
        for octets in rdata:
            assert struct.pack("!HHIH", dns.rdatatype.TLSA, 1, 0, len(octets)) + octets in sent


class TestTsig:
    asked = query(OWNER, records.TLSA, now=NOW, key=KEY)

    def answered(self, key: TsigKey = KEY, error: int = 0, other: bytes = b"") -> bytes:
        """Return an answer signed by dnspython, with its clock, as a server's would be."""
        question = dns.message.from_wire(self.asked.wire, keyring=KEYRING)
        response = dns.message.make_response(question)
        response.use_tsig({key.dnspython.name: key.dnspython}, tsig_error=error, other_data=other)
        response.request_mac = question.mac
        return response.to_wire()

    def test_verified(self, their_clock) -> None:
        """A right signature verifies, and tells the server's time."""
        tsig = read(self.answered(), self.asked, NOW).tsig
        assert (tsig.verified, tsig.error, tsig.time_signed, tsig.problem) == (True, 0, NOW, "")

    def test_of_another_key(self, their_clock) -> None:
        """A signature by another secret does not verify."""
        tsig = read(self.answered(OTHER_KEY), self.asked, NOW).tsig
        assert not tsig.verified
        assert not tsig.out_of_time
        assert "does not verify" in tsig.problem

    def test_tampered(self, their_clock) -> None:
        """An answer that was changed does not verify."""
        wire = bytearray(self.answered())
        wire[3] ^= 0x05
        assert not read(bytes(wire), self.asked, NOW).tsig.verified

    def test_answer_to_another_request(self, their_clock) -> None:
        """The signature covers our own: an answer to another request of the same id does not verify."""
        later = query(OWNER, records.TLSA, now=NOW + timedelta(seconds=1), key=KEY)
        wire = later.wire[:2] + self.answered()[2:]
        assert not read(wire, later, NOW).tsig.verified

    def test_of_another_time(self, their_clock) -> None:
        """A right signature of a time beyond the fudge is not believed, but dated."""
        question = self.answered()
        their_clock(NOW)
        tsig = read(question, self.asked, NOW + timedelta(seconds=301)).tsig
        assert (tsig.verified, tsig.out_of_time, tsig.time_signed) == (False, True, NOW)

    @pytest.mark.parametrize("error", ["BADKEY", "BADSIG", "BADTIME", "BADTRUNC"])
    def test_errors_of_the_server(self, their_clock, error: str) -> None:
        """The server's word on our signature is told, with its time where it gives that."""
        code = {"BADSIG": 16, "BADKEY": 17, "BADTIME": 18, "BADTRUNC": 22}[error]
        theirs = NOW + timedelta(seconds=4000)
        other = int(theirs.timestamp()).to_bytes(6, "big") if error == "BADTIME" else b""
        tsig = read(self.answered(error=code, other=other), self.asked, NOW).tsig
        assert (tsig.verified, tsig.error) == (False, code)
        assert tsig.server_time == (theirs if error == "BADTIME" else None)

    def test_unsigned(self) -> None:
        """An unsigned answer to a signed question is read, and has no TSIG to believe."""
        unsigned = dns.message.make_response(dns.message.from_wire(self.asked.wire, question_only=True))
        assert read(unsigned.to_wire(), self.asked, NOW).tsig is None

    def test_not_at_the_end(self, their_clock) -> None:
        """A TSIG anywhere but at the end is malformed (RFC 8945 §5.1)."""
        wire = self.answered()
        doubled = wire[:10] + struct.pack("!H", struct.unpack("!H", wire[10:12])[0] + 1) + wire[12:]
        doubled += b"\0" + struct.pack("!HHIH", dns.rdatatype.A, 1, 0, 4) + bytes(4)
        with pytest.raises(NoAnswer, match="TSIG not at its end"):
            read(doubled, self.asked, NOW)

    def test_a_time_that_no_calendar_has(self, their_clock) -> None:
        """Forty-eight bits of seconds need not be a date."""
        wire = self.answered(error=dns.rcode.BADTIME, other=b"\xff" * 6)
        assert read(wire, self.asked, NOW).tsig.server_time is None


def test_another_id_is_not_ours() -> None:
    """An answer with another id may be anybody's."""
    asked = query(OWNER, records.TLSA, now=NOW)
    wire = an_answer(asked)
    with pytest.raises(NotOurs, match="wrong id"):
        read(bytes([wire[0] ^ 1]) + wire[1:], asked, NOW)
