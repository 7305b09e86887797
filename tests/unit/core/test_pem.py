"""PEM files: chains and keys as ACME clients and people leave them, cut and mixed up too."""

from __future__ import annotations

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from rollover.core.certificate import (
    Fault,
    certificates_from_pem,
    chain_pem,
    key_pem,
    key_spki,
    parse_chain,
    parse_key,
    split_pem,
)
from rollover.core.errors import CertificateError
from tests.pki import ALGORITHMS, key, make, pki

PKI = pki()
OTHER = pki("rsa")
LEAF, MIDDLE, ROOT = PKI.full
FULLCHAIN = PKI.leaf.pem + PKI.intermediate.pem
GARBAGE = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
KEY_PEM = PKI.leaf.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def test_a_fullchain_is_read_and_written_back() -> None:
    """The chain of a file has its certificates in their order, and is written as the same PEM."""
    chain = parse_chain(b"a comment\n" + FULLCHAIN.replace(b"\n", b"\r\n") + b"\nanother\n")

    assert [link.der for link in chain.links] == PKI.ders
    assert chain_pem(chain) == FULLCHAIN


def test_a_cross_signed_root_may_stand_before_the_self_signed_one() -> None:
    """Some CAs deliver both certificates of their root's key: that is no disorder."""
    cross = make("Root", make("Older root", ca=True), private=PKI.root.key, ca=True)

    assert len(parse_chain(FULLCHAIN + cross.pem + PKI.root.pem).links) == 4


def test_as_many_certificates_as_a_chain_may_have_are_read() -> None:
    """Thirty-two are, the next one is refused."""
    assert len(parse_chain(PKI.leaf.pem * 32).links) == 32


def test_an_older_label_of_certificates_is_read() -> None:
    """`X509 CERTIFICATE`, which RFC 7468 §5.1 names as one that parsers may take."""
    old = FULLCHAIN.replace(b" CERTIFICATE-", b" X509 CERTIFICATE-")

    assert certificates_from_pem(old) == (LEAF, MIDDLE)
    assert split_pem(old + KEY_PEM) == (KEY_PEM, old)


def test_a_certificate_that_cannot_be_read_is_nobodys_issuer() -> None:
    """What it says of itself is nonsense; it stands in nobody's way, and is no anchor."""
    nonsense = x509.UnrecognizedExtension(x509.ObjectIdentifier("2.5.29.19"), b"\x30\x03x")
    broken = make("Intermediate", PKI.root, private=PKI.intermediate.key, extensions=(nonsense,))

    assert [link.anchor for link in parse_chain(broken.pem + PKI.leaf.pem).links] == [False, False]


REVERSED = PKI.intermediate.pem + PKI.leaf.pem
UNREADABLE_CHAINS = {
    "an empty file": (b"", Fault.CERTIFICATE_UNREADABLE, "fullchain"),
    "a key only": (KEY_PEM, Fault.CERTIFICATE_UNREADABLE, "fullchain"),
    "DER": (LEAF, Fault.CERTIFICATE_UNREADABLE, "PEM"),
    "the end cut off": (FULLCHAIN[:-30], Fault.CERTIFICATE_UNREADABLE, "try again"),
    "no end between two": (
        FULLCHAIN.replace(b"-----END CERTIFICATE-----\n", b"", 1),
        Fault.CERTIFICATE_UNREADABLE,
        "try again",
    ),
    "not base64": (FULLCHAIN.replace(b"MII", b"M*II", 1), Fault.CERTIFICATE_UNREADABLE, "fullchain"),
    "base64 of something else": (PKI.leaf.pem + GARBAGE, Fault.CERTIFICATE_UNREADABLE, "fullchain"),
    "intermediate first": (REVERSED, Fault.CHAIN_ORDER, "own certificate first"),
    "root before intermediate": (PKI.leaf.pem + PKI.root.pem + PKI.intermediate.pem, Fault.CHAIN_ORDER, "fullchain"),
}


@pytest.mark.parametrize(("pem", "fault", "hint"), UNREADABLE_CHAINS.values(), ids=UNREADABLE_CHAINS)
def test_a_file_that_is_no_chain_is_refused(pem: bytes, fault: Fault, hint: str) -> None:
    """A chain file that was cut, mixed up or confused is refused, with what to give instead."""
    with pytest.raises(CertificateError) as caught:
        parse_chain(pem)

    assert caught.value.code == fault
    assert hint in caught.value.hint


def test_a_file_cut_anywhere_is_never_read_as_something_else() -> None:
    """A file caught while it is written is refused, unless it was cut exactly between two certificates."""
    whole = [FULLCHAIN, FULLCHAIN[:-1], PKI.leaf.pem, PKI.leaf.pem[:-1]]
    read = []
    for length in range(len(FULLCHAIN) + 1):
        try:
            chain = parse_chain(FULLCHAIN[:length])
        except CertificateError:
            continue
        assert [link.der for link in chain.links] in ([LEAF], [LEAF, MIDDLE])
        read.append(FULLCHAIN[:length])

    assert sorted(read) == sorted(whole)


def test_a_trust_store_is_taken_apart_without_being_decoded() -> None:
    """Every certificate of a store comes out, those with comments around and garbage within included."""
    store = b"# Root\n" + PKI.root.pem + b"# Other\n" + OTHER.root.pem + GARBAGE

    assert certificates_from_pem(store) == (PKI.root.der, OTHER.root.der, b"\0\0\0")
    assert certificates_from_pem(b"") == ()


EC_PARAMETERS = b"-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"
COMBINED = {
    "key first": KEY_PEM + FULLCHAIN,
    "chain first": FULLCHAIN + KEY_PEM,
    "key in between": PKI.leaf.pem + KEY_PEM + PKI.intermediate.pem,
    "with EC parameters": EC_PARAMETERS + KEY_PEM + FULLCHAIN,
}


@pytest.mark.parametrize("pem", COMBINED.values(), ids=COMBINED)
def test_a_combined_file_is_split(pem: bytes) -> None:
    """Key and chain are found in one file in any order."""
    private, chain = split_pem(pem)

    assert private == KEY_PEM
    assert chain == FULLCHAIN


def test_a_chain_file_splits_into_no_key() -> None:
    """A file without a key yields None for it."""
    assert split_pem(FULLCHAIN) == (None, FULLCHAIN)


@pytest.mark.parametrize("pem", [KEY_PEM + FULLCHAIN + KEY_PEM, KEY_PEM + FULLCHAIN[:-40]], ids=["two keys", "cut"])
def test_a_combined_file_that_is_ambiguous_is_refused(pem: bytes) -> None:
    """Two keys in one file, or a block without an end, are refused rather than guessed at."""
    with pytest.raises(CertificateError):
        split_pem(pem)


@pytest.mark.parametrize("form", [PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL], ids=["PKCS#8", "traditional"])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_key_is_read_and_written_as_pkcs8(algorithm: str, form: PrivateFormat) -> None:
    """Keys of every supported algorithm are read in both forms and written as PKCS#8."""
    made = key(algorithm, "leaf")
    if algorithm == "ed25519":
        form = PrivateFormat.PKCS8  # there never was another
    read = parse_key(EC_PARAMETERS + made.private_bytes(Encoding.PEM, form, NoEncryption()))

    assert key_pem(read) == made.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    assert key_spki(read) == made.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def pkcs8(algorithm: str) -> bytes:
    """Return a key of *algorithm* as PEM."""
    return key(algorithm).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def locked(form: PrivateFormat) -> bytes:
    """Return an encrypted key as PEM."""
    return OTHER.leaf.key.private_bytes(Encoding.PEM, form, BestAvailableEncryption(b"secret"))


BAD_KEYS = {
    "an empty file": (b"", Fault.KEY_UNREADABLE, "privkey.pem"),
    "a certificate": (FULLCHAIN, Fault.KEY_UNREADABLE, "privkey.pem"),
    "cut off": (KEY_PEM[:-40], Fault.KEY_UNREADABLE, "try again"),
    "garbage": (KEY_PEM.replace(KEY_PEM[40:60], b"A" * 20), Fault.KEY_UNREADABLE, "openssl pkey -check"),
    "two keys": (KEY_PEM + KEY_PEM, Fault.KEY_UNREADABLE, "split the file"),
    "encrypted": (locked(PrivateFormat.PKCS8), Fault.KEY_ENCRYPTED, "openssl pkey -in"),
    "encrypted in the old form": (locked(PrivateFormat.TraditionalOpenSSL), Fault.KEY_ENCRYPTED, "openssl pkey -in"),
    "RSA too short": (pkcs8("rsa1024"), Fault.ALGORITHM, "2048 bits"),
    "an unusual curve": (pkcs8("p521"), Fault.ALGORITHM, "P-384"),
    "another algorithm": (pkcs8("ed448"), Fault.ALGORITHM, "Ed25519"),
}


@pytest.mark.parametrize(("pem", "fault", "hint"), BAD_KEYS.values(), ids=BAD_KEYS)
def test_a_key_that_cannot_be_served_is_refused(pem: bytes, fault: Fault, hint: str) -> None:
    """A key file that is no usable key is refused with a hint, and nothing of it is in the message."""
    with pytest.raises(CertificateError) as caught:
        parse_key(pem)

    assert caught.value.code == fault
    assert hint in caught.value.hint
    assert not any(line and line.decode() in str(caught.value) for line in pem.splitlines()[1:-1])
