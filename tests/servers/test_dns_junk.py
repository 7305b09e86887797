"""Name servers that answer junk: never an exception, always one line, and the others still count."""

from __future__ import annotations

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest

from rollover.core.sighting import Signature
from rollover.core.tlsa import Tlsa
from tests.lab import Lab, junk
from tests.lab import addresses as at
from tests.servers.dns_support import (
    SPARE,
    Hand,
    answer_of,
    forward,
    is_about,
    not_authoritative,
    only_tlsa,
    records,
    with_rcode,
)

LAB_OPTIONS = {"ttl": 20, "senders": False}

REFUSED, SERVFAIL, NXRRSET = dns.rcode.REFUSED, dns.rcode.SERVFAIL, dns.rcode.NXRRSET


def a_cname_and_more(query: bytes) -> bytes:
    """Answer with a CNAME and a TLSA record at one name."""
    response = dns.message.from_wire(junk.tlsa(b"\3\1\1" + bytes(32))(query))
    name = response.question[0].name
    response.answer.append(dns.rrset.from_text(name, 20, "IN", "CNAME", "elsewhere.example.test."))
    return response.to_wire()


def another_question(query: bytes) -> bytes:
    """Answer a question that nobody asked."""
    asked = dns.message.from_wire(query)
    other = dns.message.make_query("_25._tcp.other.example.test.", "TLSA", id=asked.id)
    response = dns.message.make_response(other)
    response.flags |= dns.flags.AA
    return response.to_wire()


def the_question_itself(query: bytes) -> bytes:
    """Send back what was sent."""
    return query


def with_more_behind(query: bytes) -> bytes:
    """Answer well, with octets behind the end."""
    return forward(query) + b"\0\0\0"


def nothing_at_all(query: bytes) -> bytes:
    """Answer with no octets."""
    return b""


def a_pointer_to_itself(query: bytes) -> bytes:
    """Answer with a name that is compressed to itself."""
    return query[:2] + b"\x84\x00\x00\x00\x00\x01\x00\x00\x00\x00" + b"\xc0\x0c" + bytes(10)


def a_zone_elsewhere(query: bytes) -> bytes:
    """Answer, authoritatively, that there is no such thing, without any SOA."""
    response = dns.message.make_response(dns.message.from_wire(query))
    response.flags |= dns.flags.AA
    return response.to_wire()


HUNDREDS = junk.tlsa(*(b"\3\1\1" + i.to_bytes(32, "big") for i in range(300)))

UNUSABLE = [
    pytest.param(junk.garbage, "not an answer", id="garbage"),
    pytest.param(nothing_at_all, "malformed answer", id="an empty datagram"),
    pytest.param(a_pointer_to_itself, "another question", id="a name that never ends"),
    pytest.param(junk.wrong_id, "wrong id", id="another's id"),
    pytest.param(another_question, "another question", id="another question"),
    pytest.param(the_question_itself, "not an answer", id="an echo"),
    pytest.param(only_tlsa(junk.cut_short), "malformed answer", id="cut short"),
    pytest.param(only_tlsa(with_more_behind), "octets behind its end", id="octets behind the end"),
    pytest.param(only_tlsa(junk.wrong_class), "class CH", id="another class"),
    pytest.param(junk.truncated, "truncated even over TCP", id="truncated over TCP too"),
    pytest.param(only_tlsa(HUNDREDS), "300 TLSA records", id="hundreds of records"),
    pytest.param(only_tlsa(a_cname_and_more), "CNAME and TLSA", id="a CNAME beside records"),
    pytest.param(with_rcode(REFUSED), "REFUSED", id="refused"),
    pytest.param(with_rcode(SERVFAIL), "SERVFAIL", id="servfail"),
    pytest.param(only_tlsa(with_rcode(NXRRSET)), "NXRRSET", id="a response code that makes no sense"),
    pytest.param(not_authoritative, "lame", id="not authoritative"),
    pytest.param(a_zone_elsewhere, "no SOA of example.test.", id="another zone"),
    pytest.param(junk.silence, "no answer in time", id="silence"),
]


class TestJunk:
    @pytest.mark.parametrize(("reply", "words"), UNUSABLE)
    def test_unusable(self, shared_lab: Lab, reply, words: str) -> None:
        """An unusable answer is a server that was not reached, with one line; the others are seen."""
        server = shared_lab.junk_server(reply)
        try:
            seen = Hand(shared_lab, timeout=1.0).look(remembered={at.DOMAIN: [SPARE]}).owners[0]
        finally:
            server.stop()
        answer = answer_of(seen, SPARE)
        assert not answer.reached
        assert answer.rrset is None
        assert words in answer.problem
        assert "\n" not in answer.problem
        assert server.queries > 0
        assert [a.reached for a in seen.servers if a is not answer] == [True, True, True]

    @pytest.mark.fault(31)
    def test_malformed_records_are_kept(self, shared_lab: Lab) -> None:
        """Malformed TLSA of others are part of the RRset, octet by octet, and hide no other record."""
        rdata = [b"", b"\3", b"\3\1", b"\3\1\1", b"\3\1\1\0", b"\3\1\2" + bytes(3), b"\3\1\1" + bytes(32)]
        server = shared_lab.junk_server(only_tlsa(junk.tlsa(*rdata)))
        try:
            seen = Hand(shared_lab).look(remembered={at.DOMAIN: [SPARE]}).owners[0]
        finally:
            server.stop()
        answer = answer_of(seen, SPARE)
        assert answer.reached
        assert answer.rrset == frozenset(Tlsa.from_wire(octets) for octets in rdata)
        assert answer.signature is Signature.MISSING

    @pytest.mark.parametrize("reply", [junk.garbage, junk.truncated, with_rcode(SERVFAIL), junk.silence, HUNDREDS])
    def test_from_the_primary(self, shared_lab: Lab, reply) -> None:
        """A primary that answers junk to signed questions is not reached; the public servers are."""
        server = shared_lab.junk_server(reply)
        try:
            seen = Hand(shared_lab, primary=SPARE, timeout=1.0).look()
        finally:
            server.stop()
        (owner,) = seen.owners
        assert owner.primary is None
        assert answer_of(owner, SPARE, primary=True).problem
        assert answer_of(owner, at.SECONDARY).rrset == records(shared_lab.old.tlsa)
        assert not seen.clock_agrees

    def test_an_unsigned_primary_is_not_believed(self, shared_lab: Lab) -> None:
        """Right records without a TSIG prove nothing about the primary."""

        def stripped(query: bytes) -> bytes:
            question = dns.message.from_wire(query, question_only=True).question[0]
            plain = dns.message.make_query(question.name, question.rdtype, want_dnssec=True)
            plain.id = int.from_bytes(query[:2], "big")
            plain.flags = dns.flags.Flag(0)
            return forward(plain.to_wire())

        server = shared_lab.junk_server(stripped)
        try:
            seen = Hand(shared_lab, primary=SPARE).look()
        finally:
            server.stop()
        primary = answer_of(seen.owners[0], SPARE, primary=True)
        assert not primary.reached
        assert "not signed with TSIG key rollover-key" in primary.problem


class TestJunkFromTheResolver:
    @pytest.mark.parametrize("reply", [junk.garbage, junk.truncated, junk.wrong_id, with_rcode(REFUSED)])
    def test_unusable(self, shared_lab: Lab, reply) -> None:
        """A resolver that answers junk is named, with the name that was asked; nothing is complete."""
        server = shared_lab.junk_server(reply)
        try:
            seen = Hand(shared_lab, resolver=SPARE, timeout=1.0).look().owners[0]
        finally:
            server.stop()
        assert seen.resolver.rrset is None
        assert f"resolver {SPARE} gives no answer for {at.OWNER} TLSA" in seen.resolver.problem
        assert [answer.reached for answer in seen.servers] == [False]

    def test_too_many_records(self, shared_lab: Lab) -> None:
        """Hundreds of records from the resolver are not believed."""
        server = shared_lab.junk_server(
            lambda query: HUNDREDS(query) if is_about(query, "TLSA") else forward(query, at.RESOLVER)
        )
        try:
            seen = Hand(shared_lab, resolver=SPARE).look().owners[0]
        finally:
            server.stop()
        assert seen.resolver.rrset is None
        assert "300 TLSA records" in seen.resolver.problem
        assert seen.primary.rrset == records(shared_lab.old.tlsa)
