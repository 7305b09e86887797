"""The verdict of a DANE sender. tests/servers/test_oracles.py holds it against OpenSSL as well."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rollover.core.certificate import chain_from_der
from rollover.core.sender import Conclusion, strongest, verdict
from rollover.core.tlsa import EMPTY, Chain, RRset, Tlsa, association, record, valid
from tests.pki import DAY, HOST, NOW, Made, key, make, pki

PKI = pki()
CHAIN = chain_from_der(PKI.full)
SHORT = chain_from_der(PKI.ders)
STRANGER = make("stranger", ca=True)


def rr(usage: int, selector: int, mtype: int, made: Made = PKI.leaf) -> Tlsa:
    """Return the record of that combination for *made*."""
    return Tlsa(usage, selector, mtype, association(chain_from_der([made.der]).links[0], selector, mtype))


def conclude(*records: Tlsa, chain: Chain = CHAIN, names=(HOST,), now=NOW) -> Conclusion:
    """Return what a sender concludes from these records."""
    return verdict(frozenset(records), chain, names=names, now=now).conclusion


def test_no_records_mean_no_dane() -> None:
    """Without a record the message is delivered over opportunistic TLS."""
    found = verdict(EMPTY, CHAIN, names=[HOST], now=NOW)

    assert found.conclusion is Conclusion.NO_DANE
    assert found.delivers


UNUSABLE = {
    "PKIX usages": [rr(0, 0, 1, PKI.root), rr(1, 1, 1)],
    "a digest too short": [Tlsa(3, 1, 1, bytes(20))],
    "an unknown matching type": [Tlsa(3, 1, 3, bytes(32))],
    "full data that is no certificate": [Tlsa(3, 0, 0, b"garbage")],
    "full data that is no key": [Tlsa(2, 1, 0, b"garbage")],
    "rdata of two octets": [Tlsa.from_wire(b"\x03\x01")],
}


@pytest.mark.parametrize("records", UNUSABLE.values(), ids=UNUSABLE)
def test_unusable_records_mean_encryption_only(records: list[Tlsa]) -> None:
    """Records of which none is usable ask for TLS and authenticate nobody (RFC 7672 §2.2)."""
    found = verdict(frozenset(records), CHAIN, names=[HOST], now=NOW)

    assert found.conclusion is Conclusion.ENCRYPT_ONLY
    assert found.delivers
    assert found.record is None


@pytest.mark.parametrize("mtype", [0, 1, 2])
@pytest.mark.parametrize("selector", [0, 1])
def test_dane_ee_ignores_names_and_dates(selector: int, mtype: int) -> None:
    """A match of usage 3 is accepted whatever the certificate says of names, dates and issuers."""
    expired = make("", STRANGER, private=PKI.leaf.key, names=("elsewhere.example",), start=-9 * DAY, end=-DAY)
    rrset = frozenset([rr(3, selector, mtype, expired)])
    found = verdict(rrset, chain_from_der([expired.der]), names=[HOST], now=NOW)

    assert found.conclusion is Conclusion.ACCEPTS
    assert {found.record} == rrset
    assert conclude(rr(3, selector, mtype, STRANGER)) is Conclusion.REJECTS


def test_no_match_is_told_as_such() -> None:
    """A usable record that matches nothing makes the sender defer, and the reason says so."""
    found = verdict(frozenset([rr(3, 1, 1, STRANGER)]), CHAIN, names=[HOST], now=NOW)

    assert not found.delivers
    assert found.record is None
    assert found.reason == "no TLSA record matches the chain"


@pytest.mark.parametrize("made", [PKI.intermediate, PKI.root], ids=["intermediate", "root"])
def test_dane_ta_in_the_chain(made: Made) -> None:
    """A match of usage 2 is accepted while name and dates are right, and told why not otherwise."""
    record_ = rr(2, 1, 1, made)
    late = verdict(frozenset([record_]), CHAIN, names=[HOST], now=NOW + 61 * DAY)
    elsewhere = verdict(frozenset([record_]), CHAIN, names=["elsewhere.example"], now=NOW)

    assert conclude(record_) is Conclusion.ACCEPTS
    assert conclude(record_, names=["example.org", HOST]) is Conclusion.ACCEPTS  # next hop, then host
    assert conclude(record_, now=NOW - 2 * DAY) is Conclusion.REJECTS
    assert "2 1 1 matches, but: expired at 2027-01-21T14:00:00Z" in late.reason
    assert "is for mail.example.org, not for elsewhere.example" in elsewhere.reason
    assert not late.delivers
    assert not elsewhere.delivers


def test_dates_of_the_anchor() -> None:
    """A root out of date is refused as an anchor; an intermediate is not, for OpenSSL does not look."""
    old_root = make("Root", private=PKI.root.key, ca=True, start=-9 * DAY, end=-DAY)
    old_middle = make("Intermediate", PKI.root, private=PKI.intermediate.key, ca=True, start=-9 * DAY, end=-DAY)
    with_root = chain_from_der([*PKI.ders, old_root.der])
    with_middle = chain_from_der([PKI.leaf.der, old_middle.der, PKI.root.der])

    assert conclude(rr(2, 0, 1, old_root), chain=with_root) is Conclusion.REJECTS
    assert conclude(rr(2, 0, 1, old_middle), chain=with_middle) is Conclusion.ACCEPTS
    assert conclude(rr(2, 0, 1, PKI.root), chain=with_middle) is Conclusion.REJECTS


def test_an_anchor_that_is_not_sent() -> None:
    """A root that the server leaves out is matched by no digest; its full data is taken from DNS."""
    assert conclude(rr(2, 0, 1, PKI.root), chain=SHORT) is Conclusion.REJECTS
    assert conclude(rr(2, 1, 1, PKI.root), chain=SHORT) is Conclusion.REJECTS
    assert conclude(rr(2, 0, 0, PKI.root), chain=SHORT) is Conclusion.ACCEPTS
    assert conclude(rr(2, 1, 0, PKI.root), chain=SHORT) is Conclusion.ACCEPTS
    assert conclude(rr(2, 0, 0, STRANGER), chain=SHORT) is Conclusion.REJECTS
    assert conclude(rr(2, 1, 0, STRANGER), chain=SHORT) is Conclusion.REJECTS


@pytest.mark.parametrize("algorithm", ["rsa", "p256", "p384", "ed25519"])
def test_a_bare_anchor_key_of_each_algorithm(algorithm: str) -> None:
    """A key that only DNS has is taken as the anchor that signed the last certificate sent."""
    p = pki(algorithm)
    short = chain_from_der(p.ders)

    assert conclude(rr(2, 1, 0, p.root), chain=short) is Conclusion.ACCEPTS
    assert conclude(rr(2, 1, 0, STRANGER), chain=short) is Conclusion.REJECTS
    assert conclude(rr(2, 1, 0, p.root), chain=chain_from_der([p.leaf.der])) is Conclusion.REJECTS


def test_a_stranger_in_the_chain_is_no_anchor() -> None:
    """A record of a CA certificate that is sent along and issued nothing is not accepted."""
    assert conclude(rr(2, 0, 1, STRANGER), chain=chain_from_der([*PKI.full, STRANGER.der])) is Conclusion.REJECTS


def test_a_common_name_counts_only_without_dns_names() -> None:
    """Usage 2 takes the common name as the name of a certificate that has no other, as OpenSSL does."""
    private = PKI.leaf.key
    bare = make(HOST, PKI.intermediate, private=private)
    other = make(HOST, PKI.intermediate, private=private, names=("elsewhere.example",))
    rrset = rr(2, 1, 1, PKI.intermediate)

    assert conclude(rrset, chain=chain_from_der([bare.der, PKI.intermediate.der])) is Conclusion.ACCEPTS
    assert conclude(rrset, chain=chain_from_der([other.der, PKI.intermediate.der])) is Conclusion.REJECTS


AGILITY = {
    "the stronger digest is of another key": ([rr(3, 1, 1), rr(3, 1, 2, STRANGER)], Conclusion.REJECTS),
    "the stronger digest matches": ([rr(3, 1, 1, STRANGER), rr(3, 1, 2)], Conclusion.ACCEPTS),
    "the stronger digest is malformed": ([rr(3, 1, 1), Tlsa(3, 1, 2, bytes(32))], Conclusion.ACCEPTS),
    "the stronger digest has another selector": ([rr(3, 1, 1), rr(3, 0, 2, STRANGER)], Conclusion.ACCEPTS),
    "the stronger digest has another usage": ([rr(3, 1, 1), rr(2, 1, 2, STRANGER)], Conclusion.ACCEPTS),
    "full data beside a stronger digest": ([rr(3, 1, 0), rr(3, 1, 2, STRANGER)], Conclusion.ACCEPTS),
    "full data of another key": ([rr(3, 1, 0, STRANGER), rr(3, 1, 1)], Conclusion.ACCEPTS),
    "two keys, one digest": ([rr(3, 1, 1), rr(3, 1, 1, STRANGER)], Conclusion.ACCEPTS),
    "the issuer beside a strange leaf": ([rr(3, 1, 1, STRANGER), rr(2, 1, 1, PKI.root)], Conclusion.ACCEPTS),
}


@pytest.mark.parametrize(("records", "expected"), AGILITY.values(), ids=AGILITY)
def test_digest_agility(records: list[Tlsa], expected: Conclusion) -> None:
    """For each usage and selector only the strongest digest counts, and full data (RFC 7671 §9)."""
    assert conclude(*records) is expected


POOL = [rr(u, s, m, x) for x in (*vars(PKI).values(), STRANGER) for u in (2, 3) for s in (0, 1) for m in (0, 1, 2)]


@settings(deadline=None)
@given(st.frozensets(st.sampled_from(POOL), max_size=6))
def test_strongest_keeps_the_strongest_of_each(rrset: RRset) -> None:
    """What digest agility leaves has all full data, and one digest of each usage and selector: the best."""
    left = strongest(rrset)

    assert set(left) <= rrset
    assert {x for x in rrset if x.mtype == 0} <= set(left)
    for x in rrset:
        digests = {y.mtype for y in rrset if (y.usage, y.selector) == (x.usage, x.selector)} - {0}
        kept = {y.mtype for y in left if (y.usage, y.selector) == (x.usage, x.selector)} - {0}
        assert kept == ({max(digests)} if digests else set())


@settings(deadline=None)
@given(st.frozensets(st.sampled_from(POOL), max_size=4))
def test_valid_implies_delivery(rrset: RRset) -> None:
    """Whatever is valid for a sound chain, this sender delivers."""
    for chain in (CHAIN, SHORT):
        if valid(rrset, chain):
            assert verdict(rrset, chain, names=[HOST], now=NOW).delivers


def test_the_record_that_matched_is_named() -> None:
    """Of several records the verdict names the one that matched, whatever their order."""
    ours = record(CHAIN, (3, 1, 1))
    found = verdict(frozenset([rr(3, 1, 1, STRANGER), ours, rr(2, 1, 1, STRANGER)]), CHAIN, names=[HOST], now=NOW)

    assert found.record == ours


def test_a_leaf_for_another_key_of_the_same_name() -> None:
    """An issuer of the right name that did not sign the leaf is no anchor for it."""
    impostor = make("Intermediate", PKI.root, private=key(label="impostor"), ca=True)
    chain = chain_from_der([PKI.leaf.der, impostor.der, PKI.root.der])

    assert conclude(rr(2, 0, 1, impostor), chain=chain) is Conclusion.REJECTS
    assert conclude(rr(2, 1, 1, PKI.root), chain=chain) is Conclusion.REJECTS


def test_a_self_signed_leaf_sent_twice() -> None:
    """A self-signed leaf is not its own anchor, however often it is sent; its bare key is, as in OpenSSL."""
    alone = make("", private=PKI.leaf.key, names=(HOST,), ca=True)
    chain = chain_from_der([alone.der, alone.der])

    assert conclude(rr(2, 0, 1, alone), chain=chain) is Conclusion.REJECTS
    assert conclude(rr(2, 1, 1, alone), chain=chain) is Conclusion.REJECTS
    assert conclude(rr(2, 1, 0, alone), chain=chain) is Conclusion.ACCEPTS


def test_a_path_ends_at_a_self_signed_root() -> None:
    """What a cross-signed certificate of the root's key would lead to is not looked for."""
    older = make("Older root", ca=True)
    cross = make("Root", older, private=PKI.root.key, ca=True)
    both, instead = chain_from_der([*PKI.full, cross.der]), chain_from_der([*PKI.ders, cross.der])

    assert conclude(rr(2, 1, 0, older), chain=both) is Conclusion.REJECTS
    assert conclude(rr(2, 1, 0, older), chain=instead) is Conclusion.ACCEPTS


def test_two_cas_that_signed_each_other() -> None:
    """A circle of issuers ends the search instead of keeping it going."""
    first, second = key(label="first"), key(label="second")
    one = make("One", make("Two", private=second, ca=True), private=first, ca=True)
    two = make("Two", make("One", private=first, ca=True), private=second, ca=True)
    leaf = make("", one, names=(HOST,))
    chain = chain_from_der([leaf.der, one.der, two.der])

    assert conclude(rr(2, 1, 0, STRANGER), chain=chain) is Conclusion.REJECTS
    assert conclude(rr(2, 0, 1, two), chain=chain) is Conclusion.ACCEPTS


def test_dates_below_a_bare_anchor_key() -> None:
    """Where only DNS has the anchor's key, the dates of every certificate sent count."""
    old = make("Intermediate", PKI.root, private=PKI.intermediate.key, ca=True, start=-9 * DAY, end=-DAY)
    chain = chain_from_der([PKI.leaf.der, old.der])

    assert conclude(rr(2, 1, 0, PKI.root), chain=chain) is Conclusion.REJECTS
    assert conclude(rr(2, 1, 0, PKI.root), chain=SHORT) is Conclusion.ACCEPTS
    assert conclude(rr(2, 1, 0, PKI.root), chain=SHORT, now=NOW + 61 * DAY) is Conclusion.REJECTS


def test_an_anchor_in_dns_comes_before_the_chain() -> None:
    """A certificate in a 2 0 0 record is taken for the path before one of the same name in the chain."""
    cross = make("Root", make("Older root", ca=True), private=PKI.root.key, ca=True)

    assert conclude(rr(2, 0, 0, cross)) is Conclusion.ACCEPTS
    assert conclude(rr(2, 0, 0, cross), rr(2, 0, 1, PKI.root)) is Conclusion.ACCEPTS
    assert conclude(rr(2, 0, 1, cross), chain=chain_from_der([*PKI.full, cross.der])) is Conclusion.REJECTS


def test_garbage_in_the_chain_does_not_stop_a_verdict() -> None:
    """What is no certificate is passed over on the way to the anchor."""
    chain = chain_from_der([PKI.leaf.der, b"garbage", PKI.intermediate.der])

    assert conclude(rr(2, 1, 1, PKI.intermediate), chain=chain) is Conclusion.ACCEPTS


def test_the_issuer_that_matched_is_named() -> None:
    """With usage 2 too."""
    issuer = rr(2, 1, 1, PKI.intermediate)

    assert verdict(frozenset([issuer]), CHAIN, names=[HOST], now=NOW).record == issuer


def test_the_first_and_the_last_second_of_a_path_count() -> None:
    """Dates are inclusive on the way to an anchor, as RFC 5280 §4.1.2.5 has them."""
    for now in (NOW - DAY, NOW + 60 * DAY):
        assert conclude(rr(2, 1, 1, PKI.intermediate), now=now) is Conclusion.ACCEPTS


def test_every_certificate_below_an_anchor_has_to_be_in_date() -> None:
    """An intermediate between leaf and anchor as well, however far the anchor is from the leaf."""
    upper = make("Upper", PKI.root, ca=True)
    for end, expected in ((DAY, Conclusion.ACCEPTS), (-DAY, Conclusion.REJECTS)):
        lower = make("Lower", upper, ca=True, start=-9 * DAY, end=end)
        leaf = make("", lower, private=PKI.leaf.key, names=(HOST,))
        chain = chain_from_der([leaf.der, lower.der, upper.der])

        assert conclude(rr(2, 0, 1, upper), chain=chain) is expected


def test_of_two_certificates_of_one_issuer_the_one_in_date_is_on_the_path() -> None:
    """Whichever stands first."""
    old = make("Intermediate", PKI.root, private=PKI.intermediate.key, ca=True, start=-9 * DAY, end=-DAY)
    chain = chain_from_der([PKI.leaf.der, old.der, PKI.intermediate.der, PKI.root.der])

    assert conclude(rr(2, 0, 1, PKI.root), chain=chain) is Conclusion.ACCEPTS


def test_an_anchor_in_dns_is_known_by_its_key_too() -> None:
    """A 2 0 0 record brings the certificate, a 2 1 1 beside it names the same one; under a wrong name neither helps."""
    both = [rr(2, 0, 0, PKI.root), rr(2, 1, 1, PKI.root)]

    assert conclude(*both, chain=SHORT, names=["elsewhere.example"]) is Conclusion.REJECTS
    assert conclude(*both, chain=SHORT) is Conclusion.ACCEPTS


@pytest.mark.parametrize(("sent", "known"), [("p256", "rsa"), ("rsa", "p256"), ("ed25519", "rsa"), ("rsa", "ed25519")])
def test_a_bare_anchor_key_of_another_algorithm_signed_nothing(sent: str, known: str) -> None:
    """A key that cannot have made the signature is no anchor, and no bug."""
    chain = chain_from_der(pki(sent).ders)

    assert conclude(rr(2, 1, 0, pki(known).root), chain=chain) is Conclusion.REJECTS


def test_full_data_of_an_unknown_algorithm_is_well_formed() -> None:
    """A record of a key that no library here knows is usable: it matches, or it does not."""
    der = make("", private=key("ed25519"), names=(HOST,)).der.replace(bytes.fromhex("2b6570"), bytes.fromhex("2b657f"))

    assert conclude(Tlsa(3, 0, 0, der)) is Conclusion.REJECTS
