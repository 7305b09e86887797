"""rollover.dns.resolver against Unbound, and against resolvers that fail."""

from __future__ import annotations

import asyncio
import time

import dns.message
import pytest

from rollover.clock import SystemClock
from rollover.core.errors import EX_TEMPFAIL, ConfigError
from rollover.core.tlsa import EMPTY
from rollover.dns.errors import ResolverError
from rollover.dns.resolver import Resolver
from rollover.dns.settings import DnsSettings
from tests.lab import Lab, junk, wait_for
from tests.lab import addresses as at
from tests.servers.dns_support import SPARE, forward, is_about, records, with_rcode

IMAPS = "_993._tcp.mail.example.test."
LAB_OPTIONS = {
    "ttl": 20,
    "senders": False,
    "extra": (
        "alias.example.test. 77 CNAME _25._tcp.mail.example.test.\n"
        "dangling.example.test. CNAME nothing.nowhere.\n"
        "loop.example.test. CNAME loop.example.test.\n"
        "both.example.test. A 192.0.2.1\nboth.example.test. AAAA 2001:db8::1\n"
        "sub.example.test. DNAME mail.example.test.\n"
    ),
}


@pytest.fixture
def resolver(shared_lab: Lab) -> Resolver:
    return Resolver([(at.RESOLVER, 53)], SystemClock(), timeout=2.0)


class TestAnswers:
    async def test_tlsa(self, shared_lab: Lab, resolver: Resolver) -> None:
        """TLSA records come with the AD flag and what is left of their TTL."""
        answer = await resolver.tlsa(at.OWNER)
        assert answer.rrset == records(shared_lab.old.tlsa)
        assert answer.authenticated
        assert 0 < answer.ttl <= 20
        assert answer.problem == ""

    async def test_tlsa_through_a_cname(self, shared_lab: Lab, resolver: Resolver) -> None:
        """A CNAME is followed, and the larger TTL counts."""
        answer = await resolver.tlsa("alias.example.test.")
        assert answer.rrset == records(shared_lab.old.tlsa)
        assert 20 < answer.ttl <= 77

    async def test_no_tlsa(self, resolver: Resolver) -> None:
        """No records is an authenticated answer."""
        answer = await resolver.tlsa("www.example.test.")
        assert (answer.rrset, answer.authenticated) == (EMPTY, True)

    async def test_addresses(self, resolver: Resolver) -> None:
        """A and AAAA come together; an address stands for itself; no address is no error."""
        assert await resolver.addresses("both.example.test") == (["192.0.2.1", "2001:db8::1"], True)
        assert await resolver.addresses("2001:db8::7") == (["2001:db8::7"], True)
        assert await resolver.addresses("nobody.example.test") == ([], True)

    @pytest.mark.parametrize(
        ("name", "zone"),
        [
            (at.OWNER, at.DOMAIN),
            ("_25._tcp.nothing.there.example.test.", at.DOMAIN),
            (at.DOMAIN, at.DOMAIN),
            ("mail.dane.test.", at.DANE_DOMAIN),
            ("other.test.", "test."),
            ("alias.example.test.", at.DOMAIN),
            ("dangling.example.test.", at.DOMAIN),
            ("loop.example.test.", at.DOMAIN),
            ("_25._tcp.sub.example.test.", at.DOMAIN),
        ],
    )
    async def test_zone_of(self, resolver: Resolver, name: str, zone: str) -> None:
        """The zone of a name is found whether it exists, is an apex, or a CNAME to anywhere."""
        assert await resolver.zone_of(name) == zone

    async def test_zone_of_where_the_authority_section_is_left_out(self, shared_lab: Lab) -> None:
        """A forwarder that keeps answers only is enough to find a zone."""

        def answers_only(query: bytes) -> bytes:
            response = dns.message.from_wire(forward(query, at.RESOLVER))
            response.authority = []
            return response.to_wire()

        server = shared_lab.junk_server(answers_only)
        try:
            found = await Resolver([(SPARE, 53)], SystemClock(), timeout=2.0).zone_of(at.OWNER)
        finally:
            server.stop()
        assert found == at.DOMAIN

    async def test_ns(self, resolver: Resolver) -> None:
        """The NS RRset comes with its TTL; a name without one has no servers."""
        servers = await resolver.ns(at.DOMAIN)
        assert servers.names == {"ns1.example.test.", "ns2.example.test."}
        assert 0 < servers.ttl <= 20
        assert (await resolver.ns("www.example.test.")).names == frozenset()

    async def test_primary_name(self, resolver: Resolver) -> None:
        """The SOA names the primary; a name that is no apex has none."""
        assert await resolver.primary_name(at.DOMAIN) == "ns1.example.test."
        with pytest.raises(ResolverError, match=r"www\.example\.test\. SOA"):
            await resolver.primary_name("www.example.test.")

    async def test_dnskeys(self, resolver: Resolver) -> None:
        """Keys come only if they are authenticated."""
        keys = await resolver.dnskeys(at.DOMAIN)
        assert keys.rrset is not None
        assert not keys.bogus

    async def test_an_answer_too_large_for_udp(self, shared_lab: Lab, resolver: Resolver) -> None:
        """What does not fit into a datagram is asked for over TCP."""
        shared_lab.primary.update("\n".join(f"update add {IMAPS} 20 TLSA 3 1 1 {i:064x}" for i in range(80)))
        # Until the denials in its cache, aggressive NSEC included, have expired.
        wait_for(lambda: len(shared_lab.resolver.ask(IMAPS).rrset.records) == 80, "the resolver follows")
        assert len((await resolver.tlsa(IMAPS)).rrset) == 80


class TestFailures:
    async def test_bogus(self, start_lab) -> None:
        """Where both servers' signatures have run out, no keys and no records come, and it says who."""
        lab = start_lab(senders=False)
        lab.secondary.expire_signatures()
        lab.resolver.ask_only(at.SECONDARY)
        resolver = Resolver([(at.RESOLVER, 53)], SystemClock(), timeout=2.0)
        answer = await resolver.tlsa(at.OWNER)
        assert answer.rrset is None
        assert f"resolver 127.0.0.10 gives no answer for {at.OWNER} TLSA: SERVFAIL" in answer.problem
        assert (await resolver.dnskeys(at.DOMAIN)).bogus

    async def test_dead(self, shared_lab: Lab) -> None:
        """A resolver that is not there is named, and may be tried again."""
        resolver = Resolver([(at.SPARE[3], 53)], SystemClock(), timeout=1.0)
        with pytest.raises(ResolverError, match=r"127\.0\.0\.59 .* example\.test\. NS: connection refused") as e:
            await resolver.ns(at.DOMAIN)
        assert (e.value.retryable, e.value.exit_code) == (True, EX_TEMPFAIL)
        keys = await resolver.dnskeys(at.DOMAIN)
        assert (keys.rrset, keys.bogus) == (None, False)

    async def test_silent_is_bounded(self, shared_lab: Lab) -> None:
        """A resolver that swallows questions costs the timeout, attempts and all."""
        server = shared_lab.junk_server(junk.silence)
        begin = time.monotonic()
        try:
            with pytest.raises(ResolverError, match="no answer in time"):
                await Resolver([(SPARE, 53)], SystemClock(), timeout=1.0).ns(at.DOMAIN)
        finally:
            server.stop()
        print(f"a silent resolver at a timeout of 1 s: {time.monotonic() - begin:.2f} s, {server.queries} datagrams")
        assert 1 <= server.queries <= 3, "the second attempt has what is left of the time, not a second of its own"

    async def test_the_second_one_helps(self, shared_lab: Lab) -> None:
        """When the first resolver fails the next one is asked."""
        resolver = Resolver([(at.SPARE[3], 53), (at.RESOLVER, 53)], SystemClock(), timeout=2.0)
        assert (await resolver.tlsa(at.OWNER)).rrset == records(shared_lab.old.tlsa)

    async def test_the_second_attempt_helps(self, shared_lab: Lab) -> None:
        """One unreadable answer is asked for again."""
        asked: list[bytes] = []

        def first_garbage(query: bytes) -> bytes:
            asked.append(query)
            return junk.garbage(query) if len(asked) == 1 else forward(query, at.RESOLVER)

        server = shared_lab.junk_server(first_garbage)
        try:
            answer = await Resolver([(SPARE, 53)], SystemClock(), timeout=2.0).tlsa(at.OWNER)
        finally:
            server.stop()
        assert answer.rrset == records(shared_lab.old.tlsa)
        assert len(asked) == 2

    async def test_an_error_of_one_name_is_no_error_of_all(self, shared_lab: Lab) -> None:
        """An error for AAAA makes the addresses of a host unknown, rather than half known."""
        server = shared_lab.junk_server(
            lambda query: with_rcode(2)(query) if is_about(query, "AAAA") else forward(query, at.RESOLVER)
        )
        try:
            with pytest.raises(ResolverError, match="AAAA: SERVFAIL"):
                await Resolver([(SPARE, 53)], SystemClock(), timeout=2.0).addresses("both.example.test")
        finally:
            server.stop()


class TestSettings:
    def test_from_resolv_conf(self, shared_lab: Lab) -> None:
        """Without a configured resolver those of /etc/resolv.conf are asked."""
        resolver = Resolver.of(DnsSettings(), SystemClock())
        assert resolver.label == at.RESOLVER
        assert asyncio.run(resolver.tlsa(at.OWNER)).authenticated

    def test_with_a_port(self, shared_lab: Lab) -> None:
        """A resolver may be configured with a port."""
        assert Resolver.of(DnsSettings(resolver="127.0.0.1:5353"), SystemClock()).label == "127.0.0.1:5353"

    def test_a_name_is_refused(self) -> None:
        """A resolver by name could not be resolved."""
        with pytest.raises(ConfigError, match="not an address"):
            Resolver.of(DnsSettings(resolver="resolver.example.net"), SystemClock())
