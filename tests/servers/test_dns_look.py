"""rollover.dns.authoritative against BIND and Unbound: every server, every address, every signature."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import dns.message
import dns.name
import dns.rcode
import pytest

from rollover.core.servers import incomplete
from rollover.core.sighting import Signature
from rollover.core.tlsa import EMPTY
from rollover.dns.errors import TsigBadKey, TsigBadSignature, TsigBadTime
from rollover.dns.keys import load_tsig_key
from rollover.dns.settings import ExtraServer, Ignored
from tests.lab import Lab, junk, wait_for
from tests.lab import addresses as at
from tests.servers.dns_support import (
    NS3,
    SPARE,
    Hand,
    add_server,
    answer_of,
    fake,
    forward,
    is_about,
    many,
    only_tlsa,
    records,
    remove_server,
    tampered,
    with_rcode,
    without_signatures,
)

LAB_OPTIONS = {"ttl": 20, "senders": False, "ports": (25, 587)}
SUBMISSION = "_587._tcp.mail.example.test."
NOBODY = "_993._tcp.mail.example.test."


def today(days: int = 0):
    return (datetime.now(UTC) + timedelta(days=days)).date()


class TestHealthy:
    def test_every_server_is_asked(self, shared_lab: Lab) -> None:
        """The primary and both public servers say the same, with serial, TTL and valid signatures."""
        seen = Hand(shared_lab).look()
        (owner,) = seen.owners
        assert (owner.target, owner.zone, owner.blocked) == (at.OWNER, at.DOMAIN, "")
        labels = ["primary 127.0.0.53", "ns1.example.test (127.0.0.53)", "ns2.example.test (127.0.0.54)"]
        assert [answer.server for answer in owner.servers] == labels
        for answer in owner.servers:
            assert answer.reached
            assert answer.rrset == records(shared_lab.old.tlsa)
            assert (answer.ttl, answer.own_ttl) == (20, 20)
            assert answer.serial == shared_lab.primary.serial()
            assert answer.inception < datetime.now(UTC) < answer.expiration
        assert [a.signature for a in owner.servers] == [Signature.UNCHECKED, Signature.VALID, Signature.VALID]
        assert owner.primary is owner.servers[0]

    def test_resolver_and_clock_are_part_of_it(self, shared_lab: Lab) -> None:
        """The resolver's answer is authenticated, and the primary's clock agrees with ours."""
        seen = Hand(shared_lab).look()
        assert seen.owners[0].resolver.authenticated
        assert seen.owners[0].resolver.rrset == records(shared_lab.old.tlsa)
        assert (seen.clock_agrees, seen.clock_problem, seen.errors) == (True, "", ())
        assert seen.ns[at.DOMAIN].servers == ("ns1.example.test (127.0.0.53)", "ns2.example.test (127.0.0.54)")
        assert seen.ns[at.DOMAIN].ttl == seen.owners[0].ns_ttl == 20

    def test_a_healthy_server_is_asked_no_more_than_needed(self, shared_lab: Lab) -> None:
        """A look at two owners puts three questions for each to a healthy server; the figures are printed."""
        asked: set[bytes] = set()

        def answer(query: bytes) -> bytes:
            asked.add(query)  # sent again by a busy machine it is the same, with the same id
            return forward(query)

        server = shared_lab.junk_server(answer)
        try:
            hand = Hand(shared_lab, also_check=(ExtraServer(SPARE),), timeout=10.0)
            begin = time.monotonic()
            seen = hand.look(at.OWNER, SUBMISSION)
            took = time.monotonic() - begin
        finally:
            server.stop()
        print(f"look at two owners: {took * 1000:.0f} ms, {len(asked)} questions to one server")
        assert [answer.reached for owner in seen.owners for answer in owner.servers] == [True] * 8
        assert len(asked) == 6, [dns.message.from_wire(query).question for query in asked]

    def test_an_owner_without_records(self, shared_lab: Lab) -> None:
        """No TLSA is an answer too: an empty RRset, its denial signed, with the negative TTL."""
        seen = Hand(shared_lab).see(NOBODY)
        assert [answer.rrset for answer in seen.servers] == [EMPTY] * 3
        assert [a.signature for a in seen.servers] == [Signature.UNCHECKED, Signature.VALID, Signature.VALID]
        assert {answer.ttl for answer in seen.servers} == {2}
        assert seen.resolver.rrset == EMPTY
        assert seen.resolver.authenticated

    def test_no_other_type_is_taken_for_it(self, shared_lab: Lab) -> None:
        """A name that exists with other types only has no TLSA either, provably."""
        seen = Hand(shared_lab).see("www.example.test.")
        assert answer_of(seen, at.SECONDARY).rrset == EMPTY
        assert answer_of(seen, at.SECONDARY).signature is Signature.VALID

    @pytest.mark.fault(30)
    def test_an_answer_too_large_for_udp_is_asked_for_over_tcp(self, shared_lab: Lab) -> None:
        """An RRset that truncates every datagram is seen whole on every server."""
        lines = [f"update add {NOBODY} 20 TLSA {rdata}" for rdata in many(60)]
        shared_lab.primary.update("\n".join(lines))
        try:
            wait_for(lambda: len(shared_lab.secondary.tlsa(NOBODY).records) == 60, "the secondary follows")
            # Until its denials, aggressive NSEC included, have expired.
            wait_for(lambda: len(shared_lab.resolver.ask(NOBODY).rrset.records) == 60, "the resolver follows")
            seen = Hand(shared_lab).see(NOBODY)
            assert [len(answer.rrset) for answer in seen.servers] == [60] * 3
            assert answer_of(seen, at.SECONDARY).signature is Signature.VALID
            assert len(seen.resolver.rrset) == 60
        finally:
            shared_lab.primary.update(f"update delete {NOBODY} TLSA")
            shared_lab.resolver.flush(NOBODY)
            wait_for(lambda: not shared_lab.secondary.tlsa(NOBODY).records, "the secondary follows")

    def test_primary_from_the_soa(self, shared_lab: Lab) -> None:
        """Without a configured primary the SOA MNAME is the one."""
        seen = Hand(shared_lab, primary=None).see()
        assert seen.primary.server == "primary 127.0.0.53"

    def test_primary_by_name_and_port(self, shared_lab: Lab) -> None:
        """The primary may be configured as a name, and with a port."""
        assert Hand(shared_lab, primary="ns1.example.test:53").see().primary.reached

    def test_without_a_key_the_clock_is_unknown(self, shared_lab: Lab) -> None:
        """An unsigned exchange with the primary shows its records and says nothing about the time."""
        seen = Hand(shared_lab, key=None).look()
        assert seen.owners[0].primary.rrset == records(shared_lab.old.tlsa)
        assert not seen.clock_agrees
        assert "TSIG" in seen.clock_problem


class TestServersBehind:
    def test_stale_secondary(self, lab: Lab) -> None:
        """A secondary without transfers is seen with its old RRset and its old serial."""
        lab.secondary.stop_transfers()
        hand = Hand(lab)
        hand.update(hand.change(add=[fake(1)]))
        seen = hand.see()
        behind = answer_of(seen, at.SECONDARY)
        assert seen.primary.rrset == records(lab.old.tlsa) | {fake(1)}
        assert behind.rrset == records(lab.old.tlsa)
        assert behind.serial < seen.primary.serial

    def test_expired_signatures(self, lab: Lab) -> None:
        """Right records under signatures that ran out are told from good ones, and dated."""
        lab.secondary.expire_signatures()
        seen = Hand(lab).see()
        behind = answer_of(seen, at.SECONDARY)
        assert behind.rrset == records(lab.old.tlsa)
        assert behind.signature is Signature.EXPIRED
        assert behind.expiration < datetime.now(UTC)
        assert "expired" in behind.problem
        assert answer_of(seen, at.PRIMARY).signature is Signature.VALID

    def test_expired_denial(self, lab: Lab) -> None:
        """An empty answer whose denial has run out is no proof."""
        lab.secondary.expire_signatures()
        assert answer_of(Hand(lab).see(NOBODY), at.SECONDARY).signature is Signature.EXPIRED

    def test_dead_secondary(self, lab: Lab) -> None:
        """A secondary that is down is in the picture as not reached; the others are seen."""
        lab.secondary.kill()
        seen = Hand(lab).see()
        assert [answer.reached for answer in seen.servers] == [True, True, False]
        assert answer_of(seen, at.SECONDARY).problem == "connection refused"

    def test_silent_secondary_costs_one_timeout(self, lab: Lab) -> None:
        """A server that swallows everything holds the look up for the timeout, not longer."""
        hand = Hand(lab, timeout=3.0)  # datagrams go at 0, 0.8 and 2.4 s
        hand.look()  # what the resolver has to find out first is its own affair
        lab.secondary.kill()
        server = lab.junk_server(junk.silence, at.SECONDARY)
        begin = time.monotonic()
        seen = hand.see()
        took = time.monotonic() - begin
        print(
            f"look with a silent secondary: {took:.2f} s of {hand.settings.timeout:.0f} s, {server.queries} datagrams"
        )
        assert answer_of(seen, at.SECONDARY).problem == "no answer in time"
        assert 1 < server.queries <= 3, "one lost datagram is no dead server, and one question is enough"
        assert seen.primary.reached

    def test_dead_primary(self, lab: Lab) -> None:
        """Without the primary the public servers are still seen; nothing checks the clock."""
        lab.primary.kill()
        seen = Hand(lab).look()
        (owner,) = seen.owners
        assert owner.primary is None
        assert not answer_of(owner, at.PRIMARY, primary=True).reached
        assert answer_of(owner, at.SECONDARY).rrset == records(lab.old.tlsa)
        assert not seen.clock_agrees

    def test_dead_resolver(self, lab: Lab) -> None:
        """Without the resolver nothing is complete; what is remembered of the zone is still seen."""
        hand = Hand(lab)
        before = hand.look()
        remembered = {zone: ns.servers for zone, ns in before.ns.items()}
        lab.resolver.kill()
        seen = hand.look(remembered=remembered)
        (owner,) = seen.owners
        assert owner.resolver.rrset is None
        assert "127.0.0.10" in owner.resolver.problem
        assert owner.primary.rrset == records(lab.old.tlsa)
        assert answer_of(owner, at.SECONDARY).rrset == records(lab.old.tlsa)
        assert any(not answer.reached for answer in owner.servers)

    def test_silent_resolver(self, lab: Lab) -> None:
        """A resolver that swallows questions is asked once, and does not multiply its timeout."""
        hand = Hand(lab)
        remembered = {zone: ns.servers for zone, ns in hand.look().ns.items()}
        server = lab.junk_server(junk.silence)
        silent = Hand(lab, resolver=SPARE, timeout=1.0)
        begin = time.monotonic()
        owner = silent.look(remembered=remembered).owners[0]
        took = time.monotonic() - begin
        print(
            f"look with a silent resolver: {took:.2f} s of {silent.settings.timeout:.0f} s, {server.queries} datagrams"
        )
        assert 1 < server.queries <= 16, "no question is put again for each server"
        assert owner.primary.rrset == records(lab.old.tlsa)

    def test_what_is_remembered_may_be_nonsense(self, lab: Lab) -> None:
        """A remembered server that cannot be read is one that was not reached."""
        seen = Hand(lab).look(remembered={at.DOMAIN: ["nonsense"]}).owners[0]
        (unknown,) = [answer for answer in seen.servers if not answer.reached]
        assert unknown.server == "nonsense"

    def test_dead_resolver_and_no_memory(self, lab: Lab) -> None:
        """Without resolver and memory no zone is known: not reached, never "no servers, all well"."""
        lab.resolver.kill()
        (owner,) = Hand(lab).look().owners
        assert [answer.reached for answer in owner.servers] == [False]
        assert "127.0.0.10" in owner.servers[0].problem

    def test_dead_parent(self, lab: Lab) -> None:
        """When no server of the parent tells the delegation, that is in the picture too."""
        hand = Hand(lab)
        hand.look()  # the resolver knows the parent's name servers now
        lab.parent.kill()
        seen = hand.see()
        (unknown,) = [answer for answer in seen.servers if not answer.reached]
        assert unknown.server == "delegation of example.test."
        assert seen.primary.reached


class TestWhoIsAsked:
    @pytest.mark.fault(26)
    def test_a_server_that_only_the_zone_itself_names(self, lab: Lab) -> None:
        """A new name server counts at once, though the resolver still holds the old NS RRset."""
        hand = Hand(lab)
        lab.resolver.fill(at.DOMAIN, "NS")
        lab.junk_server(forward)
        add_server(lab)
        seen = hand.look()
        assert lab.resolver.cached(at.DOMAIN, "NS").records == ("ns1.example.test.", "ns2.example.test.")
        assert answer_of(seen.owners[0], SPARE).signature is Signature.VALID
        assert f"ns3.example.test ({SPARE})" in seen.ns[at.DOMAIN].servers

    @pytest.mark.fault(26)
    def test_a_server_that_only_the_delegation_names(self, lab: Lab) -> None:
        """A server that the parent still refers to is asked: some resolvers go by that."""
        lab.junk_server(forward)
        zone_file = lab.parent.directory / "test.db"
        text = zone_file.read_text().replace(" 1 5 2 ", " 100 5 2 ")
        zone_file.write_text(f"{text}{at.DOMAIN} NS {NS3}\n{NS3} A {SPARE}\n")
        lab.parent.rndc("reload")
        wait_for(lambda: b"\x03ns3" in forward(_referral(), at.PARENT), "the parent refers to ns3")
        seen = Hand(lab).see()
        # The name is not in the zone: the address comes from the glue, and the name is in doubt.
        assert answer_of(seen, SPARE).rrset == records(lab.old.tlsa)

    def test_a_name_server_without_address(self, lab: Lab) -> None:
        """A name in the NS RRset that has no address is not reached, not forgotten."""
        lab.primary.update(f"update add {at.DOMAIN} 20 NS nowhere.dane.test.")
        wait_for(lambda: lab.secondary.serial() == lab.primary.serial(), "the secondary follows")
        seen = Hand(lab).see()
        (unknown,) = [answer for answer in seen.servers if not answer.reached]
        assert unknown.server == "nowhere.dane.test"
        assert "no address" in unknown.problem

    @pytest.mark.fault(29)
    def test_an_address_family_out_of_reach(self, lab: Lab) -> None:
        """A server's IPv6 address that does not answer is not reached; IPv4 does not stand for it."""
        add_server(lab, "2001:db8::77", kind="AAAA")
        seen = Hand(lab).see()
        (unknown,) = [answer for answer in seen.servers if not answer.reached]
        assert unknown.server == "ns3.example.test (2001:db8::77)"

    def test_a_server_that_left_is_remembered(self, shared_lab: Lab) -> None:
        """A server that left the NS RRset is asked as long as it is remembered."""
        server = shared_lab.junk_server(forward)
        label = f"ns3.example.test ({SPARE})"
        try:
            seen = Hand(shared_lab).look(remembered={at.DOMAIN: [label]})
            assert answer_of(seen.owners[0], SPARE).public
            assert answer_of(seen.owners[0], SPARE).signature is Signature.VALID
            assert label not in seen.ns[at.DOMAIN].servers
        finally:
            server.stop()

    def test_also_check(self, shared_lab: Lab) -> None:
        """A further server is asked with its own key, over TCP; nobody checks its signatures."""
        key = load_tsig_key(shared_lab.tsig_key.path)
        seen = Hand(shared_lab, also_check=(ExtraServer(at.PRIMARY, key),)).see()
        (extra,) = [answer for answer in seen.servers if answer.server == at.PRIMARY]
        assert extra.rrset == records(shared_lab.old.tlsa)
        assert (extra.public, extra.primary, extra.signature) == (False, False, Signature.UNCHECKED)

    def test_also_check_with_a_key_that_it_does_not_know(self, shared_lab: Lab) -> None:
        """A further server that refuses its key is not reached, with the reason."""
        key = load_tsig_key(shared_lab.tsig_key.path)
        seen = Hand(shared_lab, also_check=(ExtraServer(f"{at.SECONDARY}:53", key),)).see()
        (extra,) = [answer for answer in seen.servers if answer.server == at.SECONDARY]
        assert not extra.reached
        assert "BADKEY" in extra.problem

    @pytest.mark.parametrize("word", ["ns2.example.test", "NS2.example.test.", "127.0.0.54"])
    def test_ignored(self, shared_lab: Lab, word: str) -> None:
        """A server is left out by name or address until the day given, and the look says so."""
        seen = Hand(shared_lab, ignore=(Ignored(word, today()),)).look()
        assert all(not answer.server.endswith("(127.0.0.54)") for answer in seen.owners[0].servers)
        assert seen.ignored == ("ns2.example.test (127.0.0.54)",)

    def test_ignored_no_longer(self, shared_lab: Lab) -> None:
        """From the day after, it counts again."""
        seen = Hand(shared_lab, ignore=(Ignored("ns2.example.test", today(-1)),)).look()
        assert answer_of(seen.owners[0], at.SECONDARY).reached
        assert seen.ignored == ()

    def test_the_primary_is_never_ignored(self, shared_lab: Lab) -> None:
        """Ignoring the primary's address leaves out what the public sees of it only."""
        seen = Hand(shared_lab, ignore=(Ignored(at.PRIMARY, today()),)).look()
        assert seen.owners[0].primary.reached
        assert seen.ignored == ("ns1.example.test (127.0.0.53)",)


def _referral() -> bytes:
    return dns.message.make_query(at.DOMAIN, "NS").to_wire()


class TestSignatures:
    @pytest.mark.fault(24)
    def test_changed_on_the_way(self, shared_lab: Lab) -> None:
        """Records that the zone's keys did not sign are bogus."""
        answer = self.of_one_more(shared_lab, tampered)
        assert answer.signature is Signature.BOGUS
        assert answer.rrset != records(shared_lab.old.tlsa)

    @pytest.mark.fault(24)
    def test_without_signatures(self, shared_lab: Lab) -> None:
        """A server that serves the zone unsigned is told from one that serves it signed."""
        answer = self.of_one_more(shared_lab, without_signatures)
        assert answer.signature is Signature.MISSING
        assert answer.rrset == records(shared_lab.old.tlsa)

    def test_denial_without_signatures(self, shared_lab: Lab) -> None:
        """An empty answer without proof is no answer that a validating resolver would take."""
        answer = self.of_one_more(shared_lab, without_signatures, NOBODY)
        assert (answer.rrset, answer.signature) == (EMPTY, Signature.MISSING)

    @pytest.mark.fault(28)
    def test_nothing_right_above_the_owner(self, shared_lab: Lab) -> None:
        """A server that has the records and says NXDOMAIN to the empty name above them is not well.

        Resolvers that minimise names (RFC 9156) stop there, and find no record. See conversation.interpret.
        """
        above = dns.name.from_text(at.OWNER).parent()

        def broken(query: bytes) -> bytes:
            (question,) = dns.message.from_wire(query, question_only=True).question
            answer = bytearray(forward(query))
            if question.name == above:
                answer[3] = (answer[3] & 0xF0) | dns.rcode.NXDOMAIN
            return bytes(answer)

        answer = self.of_one_more(shared_lab, broken)
        assert not answer.reached
        assert answer.problem == f"NXDOMAIN for {above}, which has {at.OWNER} below it"
        assert self.of_one_more(shared_lab, broken, NOBODY).rrset == EMPTY, "where there is nothing below, it may"
        assert self.of_one_more(shared_lab, forward).reached

    def test_a_zone_that_is_not_authenticated(self, shared_lab: Lab) -> None:
        """Behind a resolver that vouches for nothing, nothing is authenticated and nothing valid."""

        def unauthenticated(query: bytes) -> bytes:
            answer = bytearray(forward(query, at.RESOLVER))
            answer[3] &= 0xDF  # AD
            return bytes(answer)

        server = shared_lab.junk_server(unauthenticated)
        try:
            seen = Hand(shared_lab, resolver=SPARE).see()
            assert not seen.resolver.authenticated
            assert "not authenticated" in seen.resolver.problem
            assert {answer.signature for answer in seen.servers} == {Signature.UNCHECKED}
        finally:
            server.stop()

    def test_keys_that_the_resolver_refuses(self, shared_lab: Lab) -> None:
        """Where the resolver fails the zone's DNSKEY, every signature is bogus to its clients."""

        def refusing_keys(query: bytes) -> bytes:
            return with_rcode(2)(query) if is_about(query, "DNSKEY") else forward(query, at.RESOLVER)

        server = shared_lab.junk_server(refusing_keys)
        try:
            seen = Hand(shared_lab, resolver=SPARE).see()
            assert answer_of(seen, at.SECONDARY).signature is Signature.BOGUS
            assert "DNSKEY" in answer_of(seen, at.SECONDARY).problem
        finally:
            server.stop()

    def of_one_more(self, lab: Lab, reply, owner: str = at.OWNER):
        """Return the answer of one more public server that answers about TLSA as *reply* does."""
        server = lab.junk_server(only_tlsa(reply))
        try:
            seen = Hand(lab).look(owner, remembered={at.DOMAIN: [SPARE]})
            return answer_of(seen.owners[0], SPARE)
        finally:
            server.stop()


class TestWildcard:
    @pytest.mark.lab(owner="wildcard", senders=False)
    def test_wildcard(self, lab: Lab) -> None:
        """Records that come from a wildcard are told by their signature's label count."""
        seen = Hand(lab).see()
        assert {answer.wildcard for answer in seen.servers} == {"*._tcp.mail.example.test."}
        assert answer_of(seen, at.SECONDARY).signature is Signature.VALID

    @pytest.mark.lab(senders=False, extra=f"*._tcp.other.example.test. 60 CNAME {at.OWNER}")
    def test_wildcard_cname(self, lab: Lab) -> None:
        """A CNAME from a wildcard is followed, and its TTL counts."""
        seen = Hand(lab).see("_25._tcp.other.example.test.")
        assert seen.target == at.OWNER
        aliases = [answer for answer in seen.servers if answer.cname]
        assert {answer.wildcard for answer in aliases} == {"*._tcp.other.example.test."}
        assert {answer.signature for answer in aliases if answer.public} == {Signature.VALID}
        assert {answer.ttl for answer in seen.servers} == {60}


class TestCname:
    @pytest.mark.lab(owner="cname", cname_ttl=50, senders=False)
    def test_in_the_zone(self, lab: Lab) -> None:
        """A CNAME is followed; the target is where records live, and the largest TTL counts."""
        seen = Hand(lab).see()
        assert (seen.target, seen.zone, seen.blocked) == (at.CNAME_TARGET, at.DOMAIN, "")
        aliases, targets = seen.servers[:3], seen.servers[3:]
        assert {(a.cname, a.rrset, a.ttl) for a in aliases} == {(at.CNAME_TARGET, None, 50)}
        assert {(a.cname, a.rrset, a.ttl) for a in targets} == {("", records(lab.old.tlsa), 50)}
        assert {a.own_ttl for a in targets} == {20}
        assert {a.signature for a in seen.servers if a.public} == {Signature.VALID}
        assert seen.primary.rrset == records(lab.old.tlsa)
        assert seen.resolver.rrset == records(lab.old.tlsa)

    @pytest.mark.lab(owner="cname-other-zone", senders=False)
    def test_into_another_zone(self, lab: Lab) -> None:
        """The servers of both zones are asked; the target is managed with its own zone's key."""
        hand = Hand(lab)
        seen = hand.look()
        (owner,) = seen.owners
        assert (owner.target, owner.zone, owner.blocked) == (at.DANE_TARGET, at.DANE_DOMAIN, "")
        assert [answer.zone for answer in owner.servers] == [at.DOMAIN] * 3 + [at.DANE_DOMAIN] * 3
        assert {a.signature for a in owner.servers if a.public} == {Signature.VALID}
        assert set(seen.ns) == {at.DOMAIN, at.DANE_DOMAIN}
        hand.update(hand.change(add=[fake(1)]))
        assert hand.see().primary.rrset == records(lab.old.tlsa) | {fake(1)}

    @pytest.mark.lab(owner="cname-other-zone", senders=False)
    def test_a_further_server_of_one_of_the_zones(self, lab: Lab) -> None:
        """One of `also_check` that serves the target's zone alone is in the picture there; one that serves none is late."""

        def dane_only(query: bytes) -> bytes | None:
            message = dns.message.from_wire(query)
            if message.question[0].name.is_subdomain(dns.name.from_text(at.DANE_DOMAIN)):
                return forward(query)
            return refuse(query)

        def refuse(query: bytes) -> bytes:
            response = dns.message.make_response(dns.message.from_wire(query))
            response.set_rcode(dns.rcode.REFUSED)
            return response.to_wire()

        server = lab.junk_server(dane_only)
        hand = Hand(lab, also_check=(ExtraServer(SPARE),))
        (owner,) = hand.look().owners
        assert [(a.zone, a.reached) for a in owner.servers if a.server == SPARE] == [(at.DANE_DOMAIN, True)]
        assert not incomplete(owner)

        server.reply = refuse
        (owner,) = hand.look().owners
        assert [a.reached for a in owner.servers if a.server == SPARE] == [False, False]
        assert {late.server for late in incomplete(owner)} == {SPARE}

    @pytest.mark.lab(owner="cname-other-zone", senders=False)
    def test_into_a_zone_with_another_key(self, lab: Lab) -> None:
        """A target in a zone that our key may not see is said so by the error that an update has."""
        hand = Hand(lab, zones=(), key=load_tsig_key(lab.tsig_key.with_unknown_name().path))
        seen = hand.look()
        assert [type(error) for error in seen.errors] == [TsigBadKey]
        assert seen.owners[0].primary is None

    @pytest.mark.fault(32)
    @pytest.mark.lab(owner="cname-other-zone", senders=False)
    def test_into_a_zone_without_key(self, lab: Lab) -> None:
        """A target in a zone for which there is no key cannot be managed."""
        assert "no TSIG key" in Hand(lab, zones=(), key=None).see().blocked

    @pytest.mark.lab(senders=False, extra="_25._tcp.other.example.test. CNAME _25._tcp.mail.test.")
    def test_into_a_zone_of_another_primary(self, lab: Lab) -> None:
        """A target in a zone that the primary does not serve is blocked, with what to configure."""
        seen = Hand(lab).see("_25._tcp.other.example.test.")
        assert (seen.target, seen.zone) == ("_25._tcp.mail.test.", "test.")
        assert "[[dns.zone]]" in seen.blocked

    @pytest.mark.fault(32)
    @pytest.mark.lab(
        senders=False, extra="a.example.test. CNAME b.example.test.\nb.example.test. CNAME a.example.test."
    )
    def test_loop(self, lab: Lab) -> None:
        """A CNAME loop is blocked, named, and ends."""
        blocked = Hand(lab).see("a.example.test.").blocked
        assert blocked == "CNAME loop: a.example.test. -> b.example.test. -> a.example.test."

    @pytest.mark.lab(
        senders=False, extra="\n".join(f"c{i}.example.test. CNAME c{i + 1}.example.test." for i in range(12))
    )
    def test_chain_without_end(self, lab: Lab) -> None:
        """A chain longer than resolvers follow is blocked."""
        assert "more than 8 CNAMEs" in Hand(lab).see("c0.example.test.").blocked

    @pytest.mark.lab(senders=False, extra="d.example.test. CNAME nothing.here.example.test.")
    def test_target_without_records(self, lab: Lab) -> None:
        """A CNAME to a name that does not exist yet, in a zone of ours, can be managed."""
        seen = Hand(lab).see("d.example.test.")
        assert (seen.target, seen.blocked) == ("nothing.here.example.test.", "")
        assert seen.primary.rrset == EMPTY

    @pytest.mark.fault(32)
    @pytest.mark.lab(senders=False, extra="e.example.test. CNAME f.nowhere.")
    def test_target_in_no_zone(self, lab: Lab) -> None:
        """A CNAME into a zone that nobody can find leaves nothing reached, and nothing complete."""
        seen = Hand(lab).see("e.example.test.")
        assert seen.target == "f.nowhere."
        assert seen.primary is None
        assert any(not answer.reached for answer in seen.servers)

    @pytest.mark.lab(senders=False, extra="sub.example.test. DNAME mail.example.test.")
    def test_dname(self, lab: Lab) -> None:
        """A CNAME made from a DNAME is followed; it is the DNAME that is signed."""
        seen = Hand(lab).see("_25._tcp.sub.example.test.")
        assert seen.target == at.OWNER
        assert {answer.signature for answer in seen.servers if answer.public} == {Signature.VALID}

    @pytest.mark.lab(owner="cname", senders=False)
    def test_servers_that_disagree(self, lab: Lab) -> None:
        """A server that still has the old CNAME is seen with it; the primary's word is followed."""
        lab.secondary.stop_transfers()
        other = "_other.mail.example.test."
        lab.primary.update(
            f"update delete {at.OWNER} CNAME\nupdate add {at.OWNER} 20 CNAME {other}\n"
            f"update add {other} 20 TLSA {lab.old.tlsa}"
        )
        seen = Hand(lab).see()
        assert seen.target == other
        assert {a.cname for a in seen.servers if a.server.endswith("(127.0.0.54)")} == {at.CNAME_TARGET, ""}
        lab.primary.kill()
        assert "disagree" not in Hand(lab).see().blocked  # one server left: nobody to disagree with


class TestTsig:
    def test_wrong_secret(self, shared_lab: Lab) -> None:
        """A wrong secret is its own error, with a hint."""
        self.expect(shared_lab, shared_lab.tsig_key.with_wrong_secret(), TsigBadSignature, "BADSIG")

    def test_wrong_algorithm(self, shared_lab: Lab) -> None:
        """A wrong algorithm is what the server calls a key that it does not know."""
        self.expect(shared_lab, shared_lab.tsig_key.with_wrong_algorithm(), TsigBadKey, "hmac-sha512: BADKEY")

    def test_unknown_name(self, shared_lab: Lab) -> None:
        """A key name that the server never heard of."""
        self.expect(shared_lab, shared_lab.tsig_key.with_unknown_name(), TsigBadKey, "nobody-key")

    def expect(self, lab: Lab, key, error: type, words: str) -> None:
        """The primary is not reached, the public servers are, and the error is the right one."""
        seen = Hand(lab, key=load_tsig_key(key.path)).look()
        (owner,) = seen.owners
        assert [type(e) for e in seen.errors] == [error]
        primary = answer_of(owner, at.PRIMARY, primary=True)
        assert not primary.reached
        assert words in primary.problem
        assert all(answer.reached for answer in owner.servers if answer.public)
        assert not seen.clock_agrees

    @pytest.mark.parametrize("offset", [400.0, -400.0])
    def test_clock_far_off(self, shared_lab: Lab, offset: float) -> None:
        """Beyond the fudge the primary answers BADTIME, and the look names both times."""
        hand = Hand(shared_lab, offset=offset)
        seen = hand.look()
        (error,) = seen.errors
        assert isinstance(error, TsigBadTime)
        assert abs((error.ours - error.theirs).total_seconds() - offset) < 5
        assert not seen.clock_agrees
        assert "127.0.0.53" in seen.clock_problem
        assert "BADTIME" in seen.clock_problem

    @pytest.mark.parametrize("offset", [60.0, -60.0])
    def test_clock_somewhat_off(self, shared_lab: Lab, offset: float) -> None:
        """Within the fudge the records are seen, but the clocks do not agree."""
        seen = Hand(shared_lab, offset=offset).look()
        assert seen.owners[0].primary.rrset == records(shared_lab.old.tlsa)
        assert not seen.clock_agrees
        assert "clocks differ" in seen.clock_problem

    @pytest.mark.parametrize("offset", [5.0, -5.0])
    def test_clock_a_little_off(self, shared_lab: Lab, offset: float) -> None:
        """A few seconds are agreement."""
        assert Hand(shared_lab, offset=offset).look().clock_agrees


def test_a_name_server_that_went_is_not_asked_any_more(lab: Lab) -> None:
    """After a server has left NS RRset, delegation and memory, it is no part of the picture."""
    lab.junk_server(forward)
    add_server(lab)
    hand = Hand(lab)
    assert answer_of(hand.see(), SPARE).reached
    remove_server(lab)
    lab.resolver.flush(at.DOMAIN)
    assert len(hand.see().servers) == 3
