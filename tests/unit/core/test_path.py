"""Paths: which links of a presented chain a usage-2 record may point at."""

from __future__ import annotations

import subprocess
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509

from rollover.core.certificate import Fault, chain_from_der, key_spki
from rollover.core.errors import CertificateError
from rollover.core.path import way_up
from tests.pki import ALGORITHMS, DAY, NOW, identifiers, key, make, pki

PKI = pki()
OTHER = pki("rsa")


def anchors(*ders: bytes) -> list[bool]:
    """Return which links of the chain made of *ders* are anchors."""
    return [link.anchor for link in chain_from_der(ders).links]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_issuers_are_anchors(algorithm: str) -> None:
    """Intermediate and root of a sound chain are anchors, the leaf is not."""
    assert anchors(*pki(algorithm).full) == [False, True, True]


IMPOSTOR = make("Intermediate", PKI.root, private=key(label="impostor"), ca=True)
NO_CA = make("Intermediate", PKI.root, private=PKI.intermediate.key)
DENIES = make(
    "Intermediate",
    PKI.root,
    private=PKI.intermediate.key,
    extensions=(x509.BasicConstraints(ca=False, path_length=None),),
)
NO_SIGNING = make(
    "Intermediate",
    PKI.root,
    private=PKI.intermediate.key,
    ca=True,
    extensions=(x509.KeyUsage(True, False, False, False, False, False, False, False, False),),
)
UNREADABLE = make(
    "Intermediate",
    PKI.root,
    private=PKI.intermediate.key,
    extensions=(x509.UnrecognizedExtension(x509.ObjectIdentifier("2.5.29.19"), b"\x30\x03x"),),
)
CROSS = make("Root", make("Other root", ca=True), private=PKI.root.key, ca=True)
LEAF, MIDDLE, ROOT = PKI.full
ODD_CHAINS = {
    "leaf alone": ([LEAF], [False]),
    "leaf twice": ([LEAF, LEAF, MIDDLE, ROOT], [False, False, True, True]),
    "intermediate twice": ([LEAF, MIDDLE, MIDDLE, ROOT], [False, True, False, True]),
    "a stranger in between": ([LEAF, OTHER.root.der, MIDDLE], [False, False, True]),
    "a stranger and its issuer": ([LEAF, *OTHER.full], [False] * 4),
    "root before intermediate": ([LEAF, ROOT, MIDDLE], [False, False, True]),
    "one that cannot be read before the issuer": ([LEAF, UNREADABLE.der, MIDDLE], [False, False, True]),
    "an impostor before the issuer": ([LEAF, IMPOSTOR.der, MIDDLE, ROOT], [False, False, False, False]),
    "an impostor after the issuer": ([LEAF, MIDDLE, IMPOSTOR.der, ROOT], [False, True, False, True]),
    "cross-signed root far before the root": ([LEAF, CROSS.der, MIDDLE, ROOT], [False, False, True, False]),
    "intermediate left out": ([LEAF, ROOT], [False, False]),
    "garbage in between": ([LEAF, b"garbage", MIDDLE], [False, False, True]),
    "nothing in between": ([LEAF, b"", MIDDLE], [False, False, True]),
    "issuer with another key": ([LEAF, IMPOSTOR.der, ROOT], [False, False, False]),
    "issuer without the CA flag": ([LEAF, NO_CA.der, ROOT], [False, False, False]),
    "issuer that says it is no CA": ([LEAF, DENIES.der, ROOT], [False, False, False]),
    "issuer that may not sign certificates": ([LEAF, NO_SIGNING.der], [False, False]),
    "cross-signed root after the self-signed one": ([LEAF, MIDDLE, ROOT, CROSS.der], [False, True, True, False]),
    "cross-signed root instead": ([LEAF, MIDDLE, CROSS.der], [False, True, True]),
}


@pytest.mark.parametrize(("ders", "expected"), ODD_CHAINS.values(), ids=ODD_CHAINS)
def test_only_what_leads_up_from_the_leaf_is_an_anchor(ders: list[bytes], expected: list[bool]) -> None:
    """Whatever else a server sends, a link is an anchor only on the path of signatures from the leaf."""
    assert anchors(*ders) == expected


def test_a_path_longer_than_a_ca_allows_ends_below_it() -> None:
    """A CA that may have no CA below it is no anchor above another CA (RFC 5280 §4.2.1.9)."""
    short = make("Short", ca=True, pathlen=0)
    below = make("Intermediate", short, private=PKI.intermediate.key, ca=True)

    assert anchors(LEAF, below.der, short.der) == [False, True, False]


def test_every_ca_below_counts_towards_the_path_length() -> None:
    """A CA that may have one CA below it is no anchor above two."""
    top = make("Top", ca=True, pathlen=1)
    upper = make("Upper", top, ca=True)
    lower = make("Lower", upper, ca=True)
    leaf = make("leaf", lower)

    assert anchors(leaf.der, lower.der, upper.der, top.der) == [False, True, True, False]


def test_a_self_issued_ca_does_not_lengthen_the_path() -> None:
    """A CA's certificate of its own new key does not count towards the path length (RFC 5280 §4.2.1.9)."""
    old, new = key(label="Short"), key(label="renewed")
    short = make("Short", private=old, ca=True, pathlen=0, extensions=identifiers(old))
    renewed = make("Short", short, private=new, ca=True, pathlen=0, extensions=identifiers(new, old))
    leaf = make("leaf", renewed, extensions=identifiers(key(label="leaf"), new))

    assert anchors(leaf.der, renewed.der, short.der) == [False, True, True]


def test_a_self_signed_leaf_has_no_anchor() -> None:
    """A self-signed leaf that is sent twice is not its own issuer."""
    alone = make("alone", ca=True)

    assert anchors(alone.der, alone.der) == [False, False]


@pytest.mark.parametrize("ders", [[], [b""], [b"garbage", LEAF], [LEAF[:-1]]], ids=["none", "empty", "garbage", "cut"])
def test_a_chain_without_a_leaf_is_refused(ders: list[bytes]) -> None:
    """There is no chain without a leaf that can be decoded."""
    with pytest.raises(CertificateError) as caught:
        chain_from_der(ders)

    assert caught.value.code == Fault.CERTIFICATE_UNREADABLE


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_spki_is_what_openssl_extracts(tmp_path: Path, algorithm: str) -> None:
    """The public key of a link has the octets that `openssl x509 -pubkey` finds in the certificate."""
    made = pki(algorithm).leaf
    (file := tmp_path / "leaf.pem").write_bytes(made.pem)
    command = f"openssl x509 -in {file} -noout -pubkey | openssl pkey -pubin -outform DER"
    theirs = subprocess.run(["sh", "-c", command], capture_output=True, check=True).stdout

    assert chain_from_der([made.der]).links[0].spki == theirs
    assert key_spki(made.key) == theirs


def test_key_identifiers_tell_an_issuer_from_one_of_the_same_name() -> None:
    """An impostor with another key identifier is passed over, as senders pass over it."""
    true, false = key(label="true"), key(label="false")
    issuer = make("Issuer", private=true, ca=True, extensions=identifiers(true))
    impostor = make("Issuer", private=false, ca=True, extensions=identifiers(false))
    leaf = make("leaf", issuer, extensions=identifiers(key(label="leaf"), true))

    assert anchors(leaf.der, impostor.der, issuer.der) == [False, False, True]


def test_the_way_up_prefers_what_is_in_date() -> None:
    """Of two certificates of one issuer senders take the first in date, or else the one that expired last."""
    private = PKI.intermediate.key
    dates = [(-9 * DAY, -4 * DAY), (-9 * DAY, -2 * DAY), (-9 * DAY, DAY), (-9 * DAY, 2 * DAY)]
    issuers = [make("Intermediate", PKI.root, private=private, ca=True, start=s, end=e) for s, e in dates]
    certificates = [made.certificate for made in (PKI.leaf, *issuers)]

    assert way_up(certificates, NOW) == [0, 3]
    assert way_up(certificates[:3], NOW) == [0, 2]
    assert way_up(certificates) == [0, 1]
    assert way_up([certificates[0], certificates[2], certificates[1]], NOW) == [0, 1]


@pytest.mark.parametrize(("start", "end"), [(timedelta(0), DAY), (-DAY, timedelta(0))], ids=["first", "last"])
def test_the_way_up_takes_the_first_and_the_last_second_for_in_date(start: timedelta, end: timedelta) -> None:
    """A certificate is in date from notBefore to notAfter, both included: no later one is looked for."""
    private = PKI.intermediate.key
    edge = make("Intermediate", PKI.root, private=private, ca=True, start=start, end=end)
    other = make("Intermediate", PKI.root, private=private, ca=True, start=-2 * DAY, end=2 * DAY)

    assert way_up([PKI.leaf.certificate, edge.certificate, other.certificate], NOW) == [0, 1]


def test_a_ca_that_may_sign_certificates_is_an_anchor() -> None:
    """As every public CA says of itself, in its key usage."""
    usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
    issuer = make("Issuer", ca=True, extensions=(usage,))
    leaf = make("leaf", issuer)

    assert anchors(leaf.der, issuer.der) == [False, True]
