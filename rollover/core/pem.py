"""PEM files of certificates and keys (RFC 7468): blocks, chains, private keys.

This file decides which keys are supported. cryptography is imported where it is used: a command that
needs no certificate would pay a tenth of a second for it.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, TypeAlias, cast

from rollover.core.rejection import Fault, Rejected, several_keys, unreadable, unsupported
from rollover.core.tlsa import Chain

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    PrivateKey: TypeAlias = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey

LEAST_RSA_BITS = 2048
CURVES = ("secp256r1", "secp384r1")
_BEGIN = re.compile(rb"-----BEGIN ([A-Z0-9 ]*)((?:-----)?)")


def blocks(pem: bytes, fault: Fault) -> Iterator[tuple[bytes, bytes]]:
    """Yield (type, whole block) in order; text between blocks is a comment (RFC 7468 §5.2).

    Raises CertificateError for a block that does not end, or whose first line does not.
    """
    at = 0
    while found := _BEGIN.search(pem, at):
        mark = b"-----END " + found[1] + found[2]
        end = pem.find(mark, found.end())
        following = _BEGIN.search(pem, found.end())
        if not found[2] or end < 0 or (following and following.start() < end):
            raise _truncated(fault)
        at = end + len(mark)
        yield found[1], pem[found.start() : at]
    if pem[at:].lstrip().startswith(b"-"):  # cut within the first dashes of a block
        raise _truncated(fault)


def _truncated(fault: Fault) -> Rejected:
    return Rejected(
        fault,
        "a PEM block begins and does not end: the file is truncated",
        hint="the file may still be being written: try again, or copy it anew from the ACME client",
    )


def certificates_from_pem(pem: bytes) -> tuple[bytes, ...]:
    """Return the DER of every certificate in *pem*, undecoded: quick even for a system trust store.

    Raises CertificateError for a truncated block or one that is not base64. None at all is ().
    """
    ders = []
    for kind, block in blocks(pem, Fault.CERTIFICATE_UNREADABLE):
        if kind in (b"CERTIFICATE", b"X509 CERTIFICATE"):
            body = b"".join(block.split(b"-----")[2].split())
            try:
                ders.append(base64.b64decode(body, validate=True))
            except binascii.Error:
                raise unreadable("a CERTIFICATE block is not base64") from None
    return tuple(ders)


def chain_pem(chain: Chain) -> bytes:
    """Return *chain* as PEM, leaf first."""
    return b"".join(
        b"-----BEGIN CERTIFICATE-----\n"
        + b"".join(text[i : i + 64] + b"\n" for i in range(0, len(text), 64))
        + b"-----END CERTIFICATE-----\n"
        for text in (base64.b64encode(link.der) for link in chain.links)
    )


def split_pem(pem: bytes) -> tuple[bytes | None, bytes]:
    """Take apart a file that holds a key and a chain in any order: (key PEM or None, chain PEM).

    A legacy ``EC PARAMETERS`` block is dropped. Raises CertificateError for truncation or several keys.
    """
    kinds = list(blocks(pem, Fault.CERTIFICATE_UNREADABLE))
    keys = [block for kind, block in kinds if kind.endswith(b"PRIVATE KEY")]
    chain = [block for kind, block in kinds if kind in (b"CERTIFICATE", b"X509 CERTIFICATE")]
    if len(keys) > 1:
        raise several_keys(len(keys))
    return (keys[0] + b"\n" if keys else None), b"".join(block + b"\n" for block in chain)


def parse_key(pem: bytes) -> PrivateKey:
    """Return the one private key in *pem* (PKCS#8, or the traditional forms of RSA and EC).

    Raises CertificateError for none, several, truncated, encrypted, inconsistent, or an unsupported
    algorithm. The message never quotes the key.
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    keys = [block for kind, block in blocks(pem, Fault.KEY_UNREADABLE) if kind.endswith(b"PRIVATE KEY")]
    if len(keys) > 1:
        raise several_keys(len(keys))
    if not keys:
        raise Rejected(
            Fault.KEY_UNREADABLE,
            "no PEM private key found",
            hint="name the key file, for certbot privkey.pem; for a combined file, the file with both",
        )
    if keys[0].startswith(b"-----BEGIN ENCRYPTED") or b"Proc-Type: 4,ENCRYPTED" in keys[0]:
        raise Rejected(
            Fault.KEY_ENCRYPTED,
            "the private key is encrypted; a mail server starts without anyone to type a passphrase",
            hint="store it decrypted, mode 0600: openssl pkey -in KEY -out NEWKEY",
        )
    try:
        key = load_pem_private_key(keys[0], None)
    except UnsupportedAlgorithm:
        raise unsupported("the private key's algorithm is unknown") from None
    except (ValueError, TypeError):
        raise Rejected(
            Fault.KEY_UNREADABLE,
            "the private key cannot be decoded",
            hint="see what openssl says: openssl pkey -check -noout -in KEY",
        ) from None
    algorithm(key.public_key())  # raises for what is not supported
    return cast("PrivateKey", key)


def key_pem(key: PrivateKey) -> bytes:
    """Return *key* as unencrypted PKCS#8 PEM, which every mail server reads."""
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def key_spki(key: PrivateKey) -> bytes:
    """Return the SubjectPublicKeyInfo of *key* in DER, as a certificate for it will carry it."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def algorithm(public_key: object) -> str:
    """Return "rsa", "ecdsa" or "ed25519"; raises CertificateError for what we do not support."""
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    if isinstance(public_key, ed25519.Ed25519PublicKey):
        return "ed25519"
    if isinstance(public_key, ec.EllipticCurvePublicKey):
        if public_key.curve.name in CURVES:
            return "ecdsa"
        raise unsupported(f"elliptic curve {public_key.curve.name} is not supported")
    if isinstance(public_key, rsa.RSAPublicKey):
        if public_key.key_size >= LEAST_RSA_BITS:
            return "rsa"
        raise unsupported(f"an RSA key of {public_key.key_size} bits is too short")
    raise unsupported("the key's algorithm is not supported")
