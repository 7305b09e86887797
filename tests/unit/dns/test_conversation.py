"""What an answer means, on answers of a zone that is signed here."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import dns.dnssec
import dns.flags
import dns.name
import dns.rcode
import dns.rrset
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from rollover.core.sighting import ServerAnswer, Signature
from rollover.core.tlsa import EMPTY
from rollover.dns.conversation import Heard, interpret
from rollover.dns.message import Answer
from rollover.dns.resolver import ZoneKeys
from rollover.dns.servers import Server

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
ZONE = dns.name.from_text("example.test.")
OWNER = dns.name.from_text("_25._tcp.mail.example.test.")
PRIVATE = ec.generate_private_key(ec.SECP256R1())
DNSKEY = dns.dnssec.make_dnskey(PRIVATE.public_key(), dns.dnssec.ECDSAP256SHA256, 257)
KEYS = ZoneKeys(dns.rrset.from_rdata(ZONE, 20, DNSKEY))
TLSA = "TLSA 3 1 1 " + "ab" * 32


def rrset(name: str, ttl: int, text: str) -> dns.rrset.RRset:
    kind, rdata = text.split(" ", 1)
    return dns.rrset.from_text(name, ttl, "IN", kind, rdata)


def signature(over: dns.rrset.RRset, name: str = "") -> dns.rrset.RRset:
    """Return the RRSIG over *over*, as it is served at *name* (another one below a wildcard)."""
    rrsig = dns.dnssec.sign(over, PRIVATE, ZONE, DNSKEY, inception=NOW - HOUR, expiration=NOW + HOUR)
    return dns.rrset.from_rdata(dns.name.from_text(name) if name else over.name, over.ttl, rrsig)


def understood(
    *answer: dns.rrset.RRset,
    authority: tuple[dns.rrset.RRset, ...] = (),
    public: bool = True,
    keys: ZoneKeys = KEYS,
    now: datetime = NOW,
) -> ServerAnswer:
    said = Answer(dns.rcode.NOERROR, int(dns.flags.AA), answer=answer, authority=authority)
    return interpret(Heard(Server("192.0.2.1", public=public), answer=said, serial=7), ZONE, OWNER, keys, now)


def test_records() -> None:
    """Records with their TTL, serial and signature times."""
    records = rrset(str(OWNER), 20, TLSA)
    seen = understood(records, signature(records))
    assert (len(seen.rrset), seen.ttl, seen.own_ttl, seen.serial) == (1, 20, 20, 7)
    assert (seen.signature, seen.inception, seen.expiration) == (Signature.VALID, NOW - HOUR, NOW + HOUR)


def test_a_server_that_the_public_does_not_ask() -> None:
    """Its signatures are dated, not judged."""
    records = rrset(str(OWNER), 20, TLSA)
    seen = understood(records, signature(records), public=False, now=NOW + 5 * HOUR)
    assert (seen.signature, seen.problem, seen.expiration) == (Signature.UNCHECKED, "", NOW + HOUR)


def test_a_ttl_that_was_lowered_on_the_way() -> None:
    """A server that shows less than the signed TTL: a resolver may hold it for the signed one."""
    rrsig = signature(rrset(str(OWNER), 300, TLSA))
    seen = understood(rrset(str(OWNER), 20, TLSA), rrsig)
    assert (seen.ttl, seen.own_ttl) == (300, 20)


class TestWildcard:
    name = "*._tcp.mail.example.test."
    wild = rrset(name, 60, TLSA)
    records = rrset(str(OWNER), 60, TLSA)
    rrsig = signature(wild, str(OWNER))

    def test_with_proof(self) -> None:
        """An answer from a wildcard, with the proof that nothing closer exists."""
        gap = rrset(self.name, 5, "NSEC www.example.test. TLSA")
        seen = understood(self.records, self.rrsig, authority=(gap, signature(gap)))
        assert (seen.wildcard, seen.signature) == (self.name, Signature.VALID)

    def test_without_proof(self) -> None:
        """Without that proof a validating resolver refuses it."""
        seen = understood(self.records, self.rrsig)
        assert (seen.wildcard, seen.signature) == (self.name, Signature.MISSING)

    def test_with_a_proof_of_something_else(self) -> None:
        """A signed proof that speaks of another name does not help."""
        gap = rrset("www.example.test.", 5, "NSEC z.example.test. A")
        assert understood(self.records, self.rrsig, authority=(gap, signature(gap))).signature is Signature.BOGUS


class TestNothing:
    soa = rrset(str(ZONE), 300, "SOA ns1.example.test. h.example.test. 7 1 1 1 120")

    def test_negative_ttl(self) -> None:
        """The TTL of "nothing" is the lesser of the SOA's own and its MINIMUM (RFC 2308 §5)."""
        assert understood(authority=(self.soa,)).ttl == 120
        assert understood(authority=(rrset(str(ZONE), 60, self.soa.to_text().split(" ", 3)[3]),)).ttl == 60

    def test_proof(self) -> None:
        """Nothing, proved."""
        gap = rrset("mail.example.test.", 5, "NSEC www.example.test. A")
        seen = understood(authority=(self.soa, gap, signature(gap)))
        assert (seen.rrset, seen.signature, seen.inception) == (EMPTY, Signature.VALID, None)

    def test_no_proof(self) -> None:
        """Nothing, not proved."""
        assert understood(authority=(self.soa,)).signature is Signature.MISSING


class TestAlias:
    alias = rrset(str(OWNER), 30, "CNAME _tlsa.Example.test.")

    def test_cname(self) -> None:
        """A CNAME is told by its target in lower case; what the server knows of that is not taken."""
        target = rrset("_tlsa.example.test.", 20, TLSA)
        seen = understood(self.alias, signature(self.alias), target)
        assert (seen.cname, seen.rrset, seen.ttl) == ("_tlsa.example.test.", None, 30)
        assert seen.signature is Signature.VALID

    def test_from_a_dname(self) -> None:
        """A CNAME made from a signed DNAME is as good as that (RFC 6672 §5.3.1)."""
        dname = rrset("mail.example.test.", 90, "DNAME other.test.")
        made = rrset(str(OWNER), 0, "CNAME _25._tcp.other.test.")
        seen = understood(dname, signature(dname), made)
        assert (seen.cname, seen.ttl, seen.signature) == ("_25._tcp.other.test.", 90, Signature.VALID)

    @pytest.mark.parametrize("target", ["_25._tcp.elsewhere.test.", "_26._tcp.other.test."])
    def test_not_from_the_dname(self, target: str) -> None:
        """An unsigned CNAME that the DNAME does not make is not covered by its signature."""
        dname = rrset("mail.example.test.", 90, "DNAME other.test.")
        seen = understood(dname, signature(dname), rrset(str(OWNER), 0, f"CNAME {target}"))
        assert seen.signature is Signature.MISSING

    def test_and_records(self) -> None:
        """A CNAME and records at one name cannot be."""
        seen = understood(self.alias, rrset(str(OWNER), 20, TLSA))
        assert not seen.reached
        assert "at once" in seen.problem
