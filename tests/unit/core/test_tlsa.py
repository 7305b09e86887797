"""TLSA records: forms, owner names, association data, matching, valid(R, c) and needed(c)."""

from __future__ import annotations

import hashlib

import dns.rdata
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rollover.core.certificate import chain_from_der
from rollover.core.tlsa import (
    EMPTY,
    MALFORMED,
    Chain,
    Link,
    Params,
    Tlsa,
    association,
    combinations,
    matches,
    needed,
    owner_name,
    record,
    usable,
    valid,
)
from tests.pki import make, pki

unhurried = settings(deadline=None)  # on a loaded machine the first example may be slow

# Few certificates and few records, so that they often match, and often match the wrong one.
LINKS = [Link(f"certificate {i}".encode(), f"key {i // 2}".encode(), anchor) for i in range(4) for anchor in (0, 1)]
octet = st.integers(0, 255)
links = st.sampled_from(LINKS)
chains = st.lists(links, min_size=1, max_size=4).map(lambda ls: Chain(tuple(ls)))


@st.composite
def records(draw: st.DrawFn) -> Tlsa:
    """A record of any combination, unusable ones too, for one of the links or for nothing at all."""
    usage, selector, mtype = draw(st.integers(0, 4)), draw(st.integers(0, 2)), draw(st.integers(0, 3))
    link = draw(links)
    selected = (link.der, link.spki, b"neither")[selector]
    data = (selected, hashlib.sha256(selected).digest(), hashlib.sha512(selected).digest(), b"?")[mtype]
    return Tlsa(usage, selector, mtype, draw(st.sampled_from([data, data, data, data[:-1], b""])))


rrsets = st.frozensets(records(), max_size=7)


@unhurried
@given(st.binary(max_size=70))
def test_any_rdata_survives_a_round_trip(rdata: bytes) -> None:
    """Whatever others publish is written back octet for octet, in wire and in presentation form."""
    rr = Tlsa.from_wire(rdata)

    assert rr.to_wire() == rdata
    assert Tlsa.parse(str(rr)) == rr


@unhurried
@given(records().filter(usable))
def test_presentation_form_is_that_of_another_implementation(rr: Tlsa) -> None:
    """Our presentation form means the same octets to dnspython, and we read the form that it writes."""
    theirs = dns.rdata.from_text("IN", "TLSA", str(rr))

    assert theirs.to_wire() == rr.to_wire()
    assert Tlsa.parse(theirs.to_text()) == rr


@pytest.mark.parametrize(
    "text",
    ["3 1 1 0aFf", "3 1 1 0a ff", "  3\t1 1\n0AFF ", "\\# 5 0301010aff", "\\# 5 030101 0aff"],
    ids=["mixed case", "white space in the hex", "white space around", "generic form", "generic form in groups"],
)
def test_one_record_has_many_spellings(text: str) -> None:
    """All spellings that a zone file may have are read as the same record."""
    assert Tlsa.parse(text) == Tlsa(3, 1, 1, b"\x0a\xff")


NO_RECORDS = {
    "nothing": "",
    "no data": "3 1 1",
    "half an octet": "3 1 1 abc",
    "not hex": "3 1 1 zz",
    "usage above 255": "256 1 1 00",
    "usage below 0": "-1 1 1 00",
    "a letter for the usage": "x 1 1 00",
    "a superscript for the usage": "³ 1 1 00",
    "Arabic digits": "\u0663 1 1 00",
    "generic form without a length": "\\#",
    "generic form of another length": "\\# 4 030101",
    "generic form of no length": "\\# x 030101",
    "generic form with half an octet": "\\# 3 03010",
}


@pytest.mark.parametrize("text", NO_RECORDS.values(), ids=NO_RECORDS)
def test_what_is_no_record_is_refused(text: str) -> None:
    """Text that is no TLSA record raises ValueError instead of becoming another record."""
    with pytest.raises(ValueError):
        Tlsa.parse(text)


def test_a_record_that_is_not_as_long_as_it_says_is_told_as_such() -> None:
    """The generic form has its length in it: whoever mistyped sees the record."""
    with pytest.raises(ValueError, match=r"not as long as it says: '.{3} 4 030101'"):
        Tlsa.parse("\\# 4 030101")
    with pytest.raises(ValueError, match="not a TLSA record: '3 1 1'"):
        Tlsa.parse("3 1 1")


def test_rdata_too_short_to_take_apart_is_kept_whole() -> None:
    """RDATA of two octets can be named in a prerequisite, and is never usable."""
    rr = Tlsa.from_wire(b"\x03\x01")

    assert rr == Tlsa(MALFORMED, 0, 0, b"\x03\x01")
    assert str(rr) == "\\# 2 0301"
    assert str(Tlsa.from_wire(b"")) == "\\# 0"
    assert not usable(rr)
    assert Tlsa.from_wire(b"\x03\x01\x01") == Tlsa(3, 1, 1, b"")
    assert Tlsa.from_wire(b"\x03\x01\x01\xff") == Tlsa(3, 1, 1, b"\xff")


@pytest.mark.parametrize(
    ("host", "port", "owner"),
    [
        ("mail.example.org", 25, "_25._tcp.mail.example.org."),
        ("mail.example.org.", 465, "_465._tcp.mail.example.org."),
        ("Mail.Example.ORG", 25, "_25._tcp.mail.example.org."),
        ("MAIL.EXAMPLE.MX", 25, "_25._tcp.mail.example.mx."),
        ("mx.XN--Bcher-kva.example", 25, "_25._tcp.mx.xn--bcher-kva.example."),
    ],
    ids=["plain", "trailing dot", "capitals", "capitals that end in X", "A-labels"],
)
def test_owner_name(host: str, port: int, owner: str) -> None:
    """The owner is absolute and in lower case, however the host was written."""
    assert owner_name(host, port) == owner


def test_owner_name_of_a_u_label_is_refused() -> None:
    """A name with letters beyond ASCII is not guessed at: the record would stand at a wrong name."""
    with pytest.raises(ValueError, match="A-labels"):
        owner_name("mx.bücher.example", 25)


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ((3, 0, 0), b"certificate"),
        ((3, 0, 1), hashlib.sha256(b"certificate").digest()),
        ((3, 0, 2), hashlib.sha512(b"certificate").digest()),
        ((3, 1, 0), b"key"),
        ((3, 1, 1), hashlib.sha256(b"key").digest()),
        ((3, 1, 2), hashlib.sha512(b"key").digest()),
    ],
    ids=str,
)
def test_record_of_the_leaf(params: Params, expected: bytes) -> None:
    """Selector and matching type say what of the leaf stands in the record."""
    chain = Chain((Link(b"certificate", b"key"), Link(b"issuer", b"issuer's key", anchor=True)))

    assert record(chain, params) == Tlsa(*params, expected)
    assert matches(record(chain, params), chain)


def test_a_link_is_no_anchor_unless_somebody_found_it_to_be_one() -> None:
    """A record of usage 2 may point at anchors only; who says nothing of a link says that it is none."""
    chain = Chain((Link(b"certificate", b"key"), Link(b"issuer", b"issuer's key")))

    assert not matches(Tlsa(2, 1, 0, b"issuer's key"), chain)


@pytest.mark.parametrize("params", [(3, 2, 1), (3, 1, 3), (2, 1, 1), (1, 1, 1)], ids=str)
def test_no_record_of_an_impossible_combination(params: Params) -> None:
    """Selectors and matching types that do not exist, and usages that are never made, raise."""
    with pytest.raises((KeyError, ValueError)):
        record(Chain((LINKS[0],)), params)


@pytest.mark.parametrize(
    ("rr", "expected"),
    [
        (Tlsa(3, 1, 1, bytes(32)), True),
        (Tlsa(2, 0, 2, bytes(64)), True),
        (Tlsa(3, 1, 0, b"k"), True),
        (Tlsa(0, 1, 1, bytes(32)), False),
        (Tlsa(1, 1, 1, bytes(32)), False),
        (Tlsa(4, 1, 1, bytes(32)), False),
        (Tlsa(3, 2, 1, bytes(32)), False),
        (Tlsa(3, 1, 3, bytes(32)), False),
        (Tlsa(3, 1, 1, bytes(31)), False),
        (Tlsa(3, 1, 1, bytes(33)), False),
        (Tlsa(3, 1, 2, bytes(32)), False),
        (Tlsa(3, 1, 0, b""), False),
    ],
    ids=[
        "DANE-EE digest",
        "DANE-TA SHA2-512",
        "full data",
        "PKIX-TA",
        "PKIX-EE",
        "unknown usage",
        "unknown selector",
        "unknown matching type",
        "digest too short",
        "digest too long",
        "SHA2-256 as SHA2-512",
        "empty full data",
    ],
)
def test_usable(rr: Tlsa, expected: bool) -> None:
    """An SMTP sender uses DANE-EE and DANE-TA records of known form only."""
    assert usable(rr) is expected


@pytest.mark.parametrize(("selector", "mtype"), [(s, m) for s in (0, 1) for m in (0, 1, 2)])
def test_usage_2_needs_the_anchor_in_the_chain(selector: int, mtype: int) -> None:
    """A root matches where the server sends it, self-signed as it is, and not where it is left out."""
    p = pki()
    with_root, without = chain_from_der(p.full), chain_from_der(p.ders)
    rr = Tlsa(2, selector, mtype, association(with_root.links[2], selector, mtype))

    assert matches(rr, with_root)
    assert not matches(rr, without)


def test_usage_2_does_not_match_the_leaf() -> None:
    """A DANE-TA record made of the leaf matches nothing, even when the leaf is self-signed and sent twice."""
    alone = make("alone", ca=True)
    chain = chain_from_der([alone.der, alone.der])

    assert not matches(Tlsa(2, 0, 0, alone.der), chain)
    assert matches(Tlsa(3, 0, 0, alone.der), chain)


def test_usage_2_does_not_match_a_stranger_in_the_chain() -> None:
    """A CA certificate that is sent along and issued nothing in the chain matches nothing."""
    stranger, p = make("stranger", ca=True), pki()
    chain = chain_from_der([p.leaf.der, stranger.der, p.intermediate.der])

    assert not matches(Tlsa(2, 0, 0, stranger.der), chain)
    assert matches(Tlsa(2, 0, 0, p.intermediate.der), chain)


def test_usage_3_does_not_match_an_issuer() -> None:
    """A DANE-EE record made of the intermediate matches nothing."""
    p = pki()

    assert not matches(Tlsa(3, 0, 0, p.intermediate.der), chain_from_der(p.full))


def brute_force(rrset: frozenset[Tlsa], chain: Chain) -> bool:
    """RFC 7671 §8 word for word: each combination in the RRset has a record that matches the chain."""
    for usage in (2, 3):
        for selector in (0, 1):
            for mtype, size in ((0, None), (1, 32), (2, 64)):
                offered = {
                    rr.to_wire()[3:]
                    for rr in rrset
                    if rr.to_wire()[:3] == bytes([usage, selector, mtype])
                    and (len(rr.to_wire()) > 3 if size is None else len(rr.to_wire()) == size + 3)
                }
                presented = set()
                for position, link in enumerate(chain.links):
                    selected = link.spki if selector == 1 else link.der
                    if (usage == 3 and position == 0) or (usage == 2 and position > 0 and link.anchor):
                        presented.add(
                            {0: selected, 1: hashlib.sha256(selected).digest(), 2: hashlib.sha512(selected).digest()}[
                                mtype
                            ]
                        )
                if offered and not offered & presented:
                    return False
    return True


@settings(deadline=None, max_examples=600)
@given(rrsets, chains)
def test_valid_agrees_with_brute_force(rrset: frozenset[Tlsa], chain: Chain) -> None:
    """valid(R, c) is what a plain reading of RFC 7671 §8 says, for any records and any chain."""
    assert valid(rrset, chain) == brute_force(rrset, chain)


@unhurried
@given(chains, st.frozensets(records().filter(lambda rr: not usable(rr))))
def test_nothing_usable_is_valid(chain: Chain, rrset: frozenset[Tlsa]) -> None:
    """No record, or unusable ones only, ask nothing of the chain (RFC 7672 §2.2)."""
    assert valid(EMPTY, chain)
    assert valid(rrset, chain)


def test_another_digest_of_another_key_makes_it_invalid() -> None:
    """Beside a matching 3 1 1 a 3 1 2 of another key is fatal: digest agility hides the match."""
    chain, other = Chain((Link(b"c", b"k"),)), Chain((Link(b"o", b"o"),))
    rrset = frozenset([record(chain, (3, 1, 1)), record(other, (3, 1, 2))])

    assert not valid(rrset, chain)
    assert valid(rrset | {record(chain, (3, 1, 2))}, chain)


EE = st.sampled_from([(3, s, m) for s in (0, 1) for m in (0, 1, 2)])


@unhurried
@given(rrsets, chains, st.frozensets(EE, max_size=3))
def test_needed_makes_every_usage_3_combination_match(
    rrset: frozenset[Tlsa], chain: Chain, configured: frozenset[Params]
) -> None:
    """With the needed records beside them, nobody's usage-3 records can keep a sender from the chain."""
    added = needed(chain, rrset, configured)
    of_usage_3 = frozenset(rr for rr in rrset | added if rr.usage == 3)

    assert valid(of_usage_3, chain)
    assert configured <= combinations(added)


@unhurried
@given(rrsets, chains, st.frozensets(EE, max_size=3))
def test_needed_is_no_more_than_that(rrset: frozenset[Tlsa], chain: Chain, configured: frozenset[Params]) -> None:
    """One record for each configured combination and each usable usage-3 one in DNS, all of the leaf."""
    added = needed(chain, rrset, configured)

    assert {rr.params for rr in added} == configured | {p for p in combinations(rrset) if p[0] == 3}
    assert len(added) == len({rr.params for rr in added})
    assert all(matches(rr, chain) for rr in added)


def test_a_foreign_combination_needs_its_own_record() -> None:
    """Beside somebody's 3 1 2 a new key gets its own 3 1 2, though only 3 1 1 is configured."""
    ours, foreign = Chain((Link(b"c", b"k"),)), record(Chain((Link(b"o", b"o"),)), (3, 1, 2))

    assert needed(ours, frozenset({foreign}), ((3, 1, 1),)) == {record(ours, (3, 1, 1)), record(ours, (3, 1, 2))}
