"""Certificates and chains: files that a hook names, and what a hostile server presents."""

from __future__ import annotations

import base64
import functools
import hashlib
from contextlib import suppress

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from rollover.core.certificate import (
    certificates_from_pem,
    chain_from_der,
    chain_pem,
    check,
    covers,
    facts,
    parse_chain,
    split_pem,
    trusted,
)
from rollover.core.errors import CertificateError
from rollover.core.sender import Verdict, verdict
from rollover.core.tlsa import Chain, Tlsa, matches
from rollover.mail.livefile import usable_chain
from tests.pki import DAY, HOST, NOW, SERVER_AUTH, Pki, identifiers, key, make

PEM, ONE, MANY = 0, 1, 2


def fixed(number: int) -> ec.EllipticCurvePrivateKey:
    """Return a key that is the same in every run: corpora hold certificates for it, and signatures by it."""
    return ec.derive_private_key(2**200 + number, ec.SECP256R1())


@functools.cache
def pki() -> Pki:
    """Return root, intermediate and leaf with fixed keys."""
    root = make("Root", private=fixed(1), ca=True, end=3650 * DAY)
    intermediate = make("Intermediate", root, private=fixed(2), ca=True, pathlen=0, end=900 * DAY)
    leaf = make("", intermediate, private=fixed(3), names=(HOST,), extensions=(SERVER_AUTH,))
    return Pki(root, intermediate, leaf)


def target(octets: bytes) -> None:
    """A chain is read and judged, or rejected with a hint; nothing in it reaches a terminal unseen."""
    mode, octets = (octets[0] % 3, octets[1:]) if octets else (PEM, octets)
    if mode == PEM:
        _files(octets)
    elif mode == ONE:
        _presented([octets, *pki().full[1:]])
        _files(_armoured(octets))
    else:
        _presented(_parts(octets))


def _files(pem: bytes) -> None:
    for read in (certificates_from_pem, split_pem, usable_chain):
        with suppress(CertificateError):
            read(pem)
    with suppress(CertificateError):
        chain = parse_chain(pem)
        _judge(chain)
        assert parse_chain(chain_pem(chain)) == chain


def _presented(ders: list[bytes]) -> None:
    try:
        chain = chain_from_der(ders)
    except CertificateError as error:
        assert error.hint
        return
    assert tuple(link.der for link in chain.links) == tuple(ders)
    _judge(chain)


def _judge(chain: Chain) -> None:
    last, leaf = chain.links[-1], chain.links[0]
    records = [Tlsa(3, 1, 1, b"\0" * 32), Tlsa(2, 0, 1, b"\0" * 32), Tlsa(2, 1, 0, b"\0"), Tlsa(2, 1, 0, leaf.spki)]
    records += [Tlsa(2, 0, 0, last.der), Tlsa(2, 1, 0, last.spki), Tlsa(2, 0, 1, hashlib.sha256(last.der).digest())]
    for record in records:
        matches(record, chain)
        assert isinstance(verdict(frozenset({record}), chain, names=[HOST], now=NOW), Verdict)
    try:
        known = facts(chain)
        covers(known.names, HOST)
        check(chain, fixed(3), hosts=[HOST], now=NOW)
    except CertificateError as error:
        assert error.message.isprintable(), error.message
        assert error.hint
    with suppress(CertificateError):
        assert trusted(chain, roots=[pki().root.der, chain.links[-1].der], hosts=[HOST], now=NOW).isprintable()


def _armoured(der: bytes) -> bytes:
    return b"-----BEGIN CERTIFICATE-----\n" + base64.encodebytes(der) + b"-----END CERTIFICATE-----\n"


def _parts(octets: bytes) -> list[bytes]:
    """Take apart what is joined as length (two octets) and content."""
    parts = []
    while len(octets) > 2:
        length = int.from_bytes(octets[:2], "big")
        parts.append(octets[2 : 2 + length])
        octets = octets[2 + length :]
    return parts


def _joined(ders: list[bytes]) -> bytes:
    return b"".join(len(der).to_bytes(2, "big") + der for der in ders)


@functools.cache
def seeds() -> tuple[bytes, ...]:
    """A sound chain in each form, and leaves with each kind of name and extension."""
    sound = pki()
    odd = [
        make(
            "",
            sound.intermediate,
            names=(HOST, "*.example.org"),
            private=fixed(3),
            extensions=identifiers(fixed(3), fixed(2)),
        ),
        make("", sound.intermediate, private=fixed(3), extensions=(_general_names(),)),
        make("Self", private=fixed(3), names=(HOST,), ca=True),
        make("", sound.intermediate, private=key("ed25519", "x"), names=(HOST,), extensions=(SERVER_AUTH, _usage())),
        make("two\nlines \x1b[31m", private=fixed(3), names=(HOST,)),
        make("", sound.intermediate, private=key("p521"), names=(HOST,)),
    ]
    pem = sound.leaf.pem + sound.intermediate.pem + sound.root.pem
    return (
        bytes([PEM]) + pem,
        bytes([PEM]) + sound.intermediate.pem + sound.leaf.pem,
        bytes([ONE]) + sound.leaf.der,
        *(bytes([ONE]) + it.der for it in odd),
        bytes([MANY]) + _joined(sound.full),
        bytes([MANY]) + _joined([odd[0].der, sound.root.der, sound.intermediate.der]),
    )


def _general_names() -> x509.SubjectAlternativeName:
    import ipaddress

    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "x")])
    return x509.SubjectAlternativeName(
        [
            x509.DNSName(HOST),
            x509.IPAddress(ipaddress.ip_address("192.0.2.1")),
            x509.RFC822Name("a@example.org"),
            x509.UniformResourceIdentifier("https://example.org/"),
            x509.DirectoryName(name),
            x509.RegisteredID(x509.ObjectIdentifier("1.2.3.4")),
            x509.OtherName(x509.ObjectIdentifier("1.2.3.4"), b"\x0c\x01x"),
        ]
    )


def _usage() -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
