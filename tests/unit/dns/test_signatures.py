"""Signatures and proofs of denial, on a zone that is signed here, by dnspython."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import dns.dnssec
import dns.name
import dns.rdatatype
import dns.rrset
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from rollover.core.sighting import Signature
from rollover.dns import records
from rollover.dns.resolver import ZoneKeys
from rollover.dns.signatures import signatures_of, verify, verify_denial, wildcard_of

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
ZONE = dns.name.from_text("example.test.")
OWNER = dns.name.from_text("_25._tcp.mail.example.test.")
PRIVATE = ec.generate_private_key(ec.SECP256R1())
DNSKEY = dns.dnssec.make_dnskey(PRIVATE.public_key(), dns.dnssec.ECDSAP256SHA256, 257)
KEYS = ZoneKeys(dns.rrset.from_rdata(ZONE, 20, DNSKEY))
TLSA = dns.rrset.from_text(OWNER, 20, "IN", "TLSA", "3 1 1 " + "ab" * 32)


def signed(
    rrset: dns.rrset.RRset,
    *,
    signer: dns.name.Name = ZONE,
    inception: datetime = NOW - HOUR,
    expiration: datetime = NOW + HOUR,
    key=PRIVATE,
):
    """Return the RRSIG over *rrset*."""
    rrsig = dns.dnssec.sign(rrset, key, signer, DNSKEY, inception=inception, expiration=expiration, verify=False)
    return dns.rrset.from_rdata(rrset.name, rrset.ttl, rrsig)


def proof(*texts: str) -> list[dns.rrset.RRset]:
    """Return NSEC or NSEC3 records, each with its signature, as in an authority section."""
    section = []
    for text in texts:
        name, kind, rdata = text.split(" ", 2)
        rrset = dns.rrset.from_text(name, 5, "IN", kind, rdata)
        section += [rrset, signed(rrset)]
    return section


def nsec3_name(name: str) -> str:
    return dns.dnssec.nsec3_hash(name, b"\xaa", 1, 1).lower()


def nsec3_chain(names: Sequence[str], types: dict[str, str]) -> dict[str, str]:
    """Return the NSEC3 record of each of *names*, as text, in one closed chain."""
    hashes = sorted((nsec3_name(name), name) for name in names)
    following = [*hashes[1:], hashes[0]]
    return {
        name: f"{own}.example.test. NSEC3 1 0 1 aa {nxt} {types.get(name, '')}".strip()
        for (own, name), (nxt, _) in zip(hashes, following, strict=True)
    }


class TestRRset:
    def test_valid(self) -> None:
        """A signature by the zone's key, within its time, is valid, and dated."""
        verdict = verify(TLSA, list(signed(TLSA)), ZONE, KEYS, NOW)
        assert verdict.signature is Signature.VALID
        assert (verdict.inception, verdict.expiration) == (NOW - HOUR, NOW + HOUR)

    def test_missing(self) -> None:
        """No signature in a signed zone."""
        assert verify(TLSA, [], ZONE, KEYS, NOW).signature is Signature.MISSING

    def test_expired(self) -> None:
        """A right signature that ran out is expired, not bogus."""
        verdict = verify(TLSA, list(signed(TLSA)), ZONE, KEYS, NOW + 2 * HOUR)
        assert verdict.signature is Signature.EXPIRED
        assert "expired at 2026-11-22 13:00" in verdict.problem

    def test_not_yet_valid(self) -> None:
        """A right signature of the future is bogus for now."""
        verdict = verify(TLSA, list(signed(TLSA)), ZONE, KEYS, NOW - 2 * HOUR)
        assert verdict.signature is Signature.BOGUS
        assert "not valid before" in verdict.problem

    def test_expired_and_wrong(self) -> None:
        """A wrong signature that ran out as well is bogus."""
        other = ec.generate_private_key(ec.SECP256R1())
        verdict = verify(TLSA, list(signed(TLSA, key=other)), ZONE, KEYS, NOW + 2 * HOUR)
        assert verdict.signature is Signature.BOGUS

    def test_by_another_zone(self) -> None:
        """A signature in the name of another zone is bogus, though the key is the same."""
        parent = dns.name.from_text("test.")
        verdict = verify(TLSA, list(signed(TLSA, signer=parent)), ZONE, KEYS, NOW)
        assert verdict.signature is Signature.BOGUS
        assert "by test." in verdict.problem

    def test_one_good_signature_is_enough(self) -> None:
        """Beside an expired signature a good one counts, as it does for a resolver."""
        old = signed(TLSA, inception=NOW - 3 * HOUR, expiration=NOW - 2 * HOUR)
        verdict = verify(TLSA, [*old, *signed(TLSA)], ZONE, KEYS, NOW)
        assert verdict.signature is Signature.VALID
        assert verdict.expiration == NOW + HOUR

    @pytest.mark.parametrize(("keys", "outcome"), [
        (ZoneKeys(None), Signature.UNCHECKED),
        (ZoneKeys(None, bogus=True, problem="SERVFAIL"), Signature.BOGUS),
        (ZoneKeys(None, problem="timeout"), Signature.UNCHECKED),
    ])  # fmt: skip
    def test_without_keys(self, keys: ZoneKeys, outcome: Signature) -> None:
        """Without the zone's keys nothing is valid; it is bogus where the resolver refuses them."""
        assert verify(TLSA, list(signed(TLSA)), ZONE, keys, NOW).signature is outcome
        assert verify_denial([], OWNER, ZONE, keys, NOW).signature is outcome

    def test_wildcard(self) -> None:
        """A signature with fewer labels than the name betrays the wildcard, and verifies for the name."""
        wild = dns.rrset.from_text("*._tcp.mail.example.test.", 20, "IN", "TLSA", "3 1 1 " + "ab" * 32)
        rrsigs = list(signed(wild))
        assert wildcard_of(OWNER, rrsigs) == wild.name
        assert verify(TLSA, rrsigs, ZONE, KEYS, NOW).signature is Signature.VALID
        assert wildcard_of(OWNER, list(signed(TLSA))) is None
        assert wildcard_of(wild.name, rrsigs) is None

    def test_signatures_of(self) -> None:
        """Signatures over other types of the same name are not ours."""
        a = dns.rrset.from_text(OWNER, 20, "IN", "A", "192.0.2.1")
        section = [TLSA, a, signed(a)]
        assert signatures_of(section, OWNER, records.TLSA) == []
        assert len(signatures_of([*section, signed(TLSA)], OWNER, records.TLSA)) == 1


class TestDenialByNsec:
    @pytest.mark.parametrize(
        "text",
        [
            pytest.param("_25._tcp.mail.example.test. NSEC z.example.test. A RRSIG NSEC", id="the name, without TLSA"),
            pytest.param("mail.example.test. NSEC www.example.test. A RRSIG NSEC", id="a gap around it"),
            pytest.param("a.example.test. NSEC example.test. A RRSIG NSEC", id="the last gap of the zone"),
            pytest.param(
                "mail.example.test. NSEC _26._tcp.mail.example.test. A RRSIG NSEC", id="a gap up to a sibling"
            ),
            pytest.param("_25._tcp.mail.example.test. NSEC \\000._25._tcp.mail.example.test. RRSIG NSEC", id="minimal"),
        ],
    )
    def test_proves(self, text: str) -> None:
        """An NSEC that has the name without the type, or a gap around the name, proves it."""
        assert verify_denial(proof(text), OWNER, ZONE, KEYS, NOW).signature is Signature.VALID

    @pytest.mark.parametrize(
        "text",
        [
            pytest.param("_25._tcp.mail.example.test. NSEC z.example.test. TLSA RRSIG NSEC", id="the name, with TLSA"),
            pytest.param("_25._tcp.mail.example.test. NSEC z.example.test. CNAME RRSIG NSEC", id="the name, a CNAME"),
            pytest.param("www.example.test. NSEC z.example.test. A RRSIG NSEC", id="a gap elsewhere"),
            pytest.param("www.example.test. NSEC example.test. A RRSIG NSEC", id="the last gap, elsewhere"),
        ],
    )
    def test_proves_nothing(self, text: str) -> None:
        """Well signed NSEC records that speak of something else prove nothing."""
        verdict = verify_denial(proof(text), OWNER, ZONE, KEYS, NOW)
        assert verdict.signature is Signature.BOGUS
        assert "does not speak of this name" in verdict.problem

    def test_without_proof(self) -> None:
        """An empty answer without NSEC has no proof at all."""
        assert verify_denial([], OWNER, ZONE, KEYS, NOW).signature is Signature.MISSING

    def test_unsigned(self) -> None:
        """An NSEC without signature is none."""
        section = proof("mail.example.test. NSEC www.example.test. A")[:1]
        assert verify_denial(section, OWNER, ZONE, KEYS, NOW).signature is Signature.MISSING

    def test_expired(self) -> None:
        """An NSEC whose signature ran out."""
        section = proof("mail.example.test. NSEC www.example.test. A")
        assert verify_denial(section, OWNER, ZONE, KEYS, NOW + 2 * HOUR).signature is Signature.EXPIRED

    def test_one_of_two_expired(self) -> None:
        """Every NSEC of a proof counts: one that ran out makes it expired."""
        good = proof("mail.example.test. NSEC www.example.test. A")
        rrset = dns.rrset.from_text(ZONE, 5, "IN", "NSEC", "a.example.test. SOA")
        old = [rrset, signed(rrset, inception=NOW - 3 * HOUR, expiration=NOW - 2 * HOUR)]
        assert verify_denial([*good, *old], OWNER, ZONE, KEYS, NOW).signature is Signature.EXPIRED

    def test_closer_than_a_wildcard(self) -> None:
        """For an answer from a wildcard the name itself must be denied, not only the type."""
        encloser = dns.name.from_text("_tcp.mail.example.test.")
        gap = proof("mail.example.test. NSEC www.example.test. A")
        itself = proof("_25._tcp.mail.example.test. NSEC www.example.test. A")
        assert verify_denial(gap, OWNER, ZONE, KEYS, NOW, encloser=encloser).signature is Signature.VALID
        assert verify_denial(itself, OWNER, ZONE, KEYS, NOW, encloser=encloser).signature is Signature.BOGUS


class TestDenialByNsec3:
    names = ("example.test.", "mail.example.test.", "www.example.test.", "ns1.example.test.")

    def covering(self, chain: dict[str, str], name: str) -> str:
        """Return the record of *chain* whose gap holds the hash of *name*."""
        hashes = sorted((nsec3_name(n), n) for n in chain)
        wanted = nsec3_name(name)
        before = [n for h, n in hashes if h < wanted]
        return chain[before[-1] if before else hashes[-1][1]]

    def test_the_name_without_the_type(self) -> None:
        """An NSEC3 of the name itself, without TLSA, proves it."""
        chain = nsec3_chain([*self.names, str(OWNER)], {str(OWNER): "A RRSIG"})
        assert verify_denial(proof(chain[str(OWNER)]), OWNER, ZONE, KEYS, NOW).signature is Signature.VALID

    def test_the_name_with_the_type(self) -> None:
        """An NSEC3 of the name that has TLSA denies nothing."""
        chain = nsec3_chain([*self.names, str(OWNER)], {str(OWNER): "TLSA RRSIG"})
        assert verify_denial(proof(chain[str(OWNER)]), OWNER, ZONE, KEYS, NOW).signature is Signature.BOGUS

    def test_closest_encloser_and_next_closer(self) -> None:
        """The closest encloser together with a gap around the next closer name proves it."""
        chain = nsec3_chain(self.names, {})
        gap = self.covering(chain, "_tcp.mail.example.test.")
        section = proof(*dict.fromkeys([chain["mail.example.test."], gap]))
        assert verify_denial(section, OWNER, ZONE, KEYS, NOW).signature is Signature.VALID

    def test_closest_encloser_alone(self) -> None:
        """Without the gap around the next closer name nothing is proved."""
        names = [*self.names, *(f"h{i}.example.test." for i in range(20))]
        chain = nsec3_chain(names, {})
        encloser = chain["mail.example.test."]
        assert encloser != self.covering(chain, "_tcp.mail.example.test.") or pytest.fail("choose other names")
        assert verify_denial(proof(encloser), OWNER, ZONE, KEYS, NOW).signature is Signature.BOGUS

    def test_closer_than_a_wildcard(self) -> None:
        """For an answer from a wildcard a gap around the next closer name is enough (RFC 5155 §8.8)."""
        chain = nsec3_chain(self.names, {})
        encloser = dns.name.from_text("_tcp.mail.example.test.")
        gap = self.covering(chain, str(OWNER))
        assert verify_denial(proof(gap), OWNER, ZONE, KEYS, NOW, encloser=encloser).signature is Signature.VALID

    def test_the_hash_is_the_one_in_the_record(self) -> None:
        """Salt and iterations are taken from the record."""
        digest = base64.b32hexdecode(nsec3_name("mail.example.test.").upper())
        assert len(digest) == 20
        assert nsec3_name("mail.example.test.") != dns.dnssec.nsec3_hash("mail.example.test.", b"", 0, 1).lower()
