"""A small certificate authority for tests: any chain, right or wrong, from fixed keys and dates.

Keys are made once a process (RSA is slow). Dates hang on NOW, never on the clock of the host.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

NOW = datetime(2026, 11, 22, 14, 0, tzinfo=UTC)
HOST = "mail.example.org"
ALGORITHMS = ("rsa", "p256", "p384", "ed25519")
DAY = timedelta(days=1)


@functools.cache
def key(algorithm: str = "p256", label: str = ""):
    """Return a private key; the same one for the same *algorithm* and *label*."""
    match algorithm:
        case "rsa":
            return rsa.generate_private_key(65537, 2048)
        case "rsa1024":
            return rsa.generate_private_key(65537, 1024)
        case "p256":
            return ec.generate_private_key(ec.SECP256R1())
        case "p384":
            return ec.generate_private_key(ec.SECP384R1())
        case "p521":
            return ec.generate_private_key(ec.SECP521R1())
        case "ed448":
            return ed448.Ed448PrivateKey.generate()
        case "ed25519":
            return ed25519.Ed25519PrivateKey.generate()
    raise ValueError(algorithm)


@dataclass(frozen=True)
class Made:
    """A certificate and its key."""

    certificate: x509.Certificate
    key: object

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(Encoding.DER)

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(Encoding.PEM)


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)] if text else [])


def make(
    subject: str,
    issuer: Made | None = None,
    *,
    private=None,
    ca: bool = False,
    pathlen: int | None = None,
    names: tuple[str, ...] = (),
    start: timedelta = -DAY,
    end: timedelta = 60 * DAY,
    issuer_name: str | None = None,
    digest: hashes.HashAlgorithm | None = None,
    extensions: tuple[x509.ExtensionType, ...] = (),
) -> Made:
    """Return a certificate for *private*, signed by *issuer* (by itself without one)."""
    private = private or key(label=subject)
    signer = issuer.key if issuer else private
    above = issuer.certificate.subject if issuer else _name(subject)
    builder = (
        x509.CertificateBuilder()
        .subject_name(_name(subject))
        .issuer_name(above if issuer_name is None else _name(issuer_name))
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW + start)
        .not_valid_after(NOW + end)
    )
    if ca:
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=pathlen), critical=True)
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(n) for n in names]), critical=False)
    for extension in extensions:
        builder = builder.add_extension(extension, critical=False)
    if not isinstance(signer, ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey):
        digest = digest or hashes.SHA256()
    return Made(builder.sign(signer, digest), private)


@dataclass(frozen=True)
class Pki:
    """Root, intermediate and leaf for HOST."""

    root: Made
    intermediate: Made
    leaf: Made

    @property
    def ders(self) -> list[bytes]:
        """The chain as most servers present it, leaf and intermediate."""
        return [self.leaf.der, self.intermediate.der]

    @property
    def full(self) -> list[bytes]:
        """The same with the root."""
        return [*self.ders, self.root.der]


def identifiers(private, issuer=None) -> tuple[x509.ExtensionType, ...]:
    """Return the key identifiers of a certificate for *private* under *issuer* (RFC 5280 §4.2.1.1)."""
    own, above = private.public_key(), (issuer or private).public_key()
    return (
        x509.SubjectKeyIdentifier.from_public_key(own),
        x509.AuthorityKeyIdentifier.from_issuer_public_key(above),
    )


SERVER_AUTH = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])


@functools.cache
def pki(algorithm: str = "p256") -> Pki:
    """Return a sound chain whose every key is of *algorithm*."""
    root = make("Root", private=key(algorithm, "root"), ca=True, end=3650 * DAY)
    intermediate = make("Intermediate", root, private=key(algorithm, "int"), ca=True, pathlen=0, end=900 * DAY)
    leaf = make("", intermediate, private=key(algorithm, "leaf"), names=(HOST,), extensions=(SERVER_AUTH,))
    return Pki(root, intermediate, leaf)
