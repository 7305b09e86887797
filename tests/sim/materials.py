"""Certificates of the simulated world: the same bytes in every process, so that a seed replays exactly."""

from __future__ import annotations

import functools
import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cryptography.x509.oid import NameOID

EPOCH = datetime(2026, 11, 22, 14, 0, tzinfo=UTC)
DAY = timedelta(days=1)


@dataclass(frozen=True)
class Certificate:
    """A chain and its key: PEM for the tool, DER for the judge."""

    name: str
    fullchain: bytes
    key: bytes
    leaf: bytes
    leaf_spki: bytes
    issuers: tuple[tuple[bytes, bytes], ...]

    def __hash__(self) -> int:
        return hash(self.leaf)  # which bytes keep, where that of all fields would be worked out each time

    @functools.cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the leaf, hex."""
        return hashlib.sha256(self.leaf).hexdigest()

    @functools.cache  # noqa: B019  (certificates are kept for as long as the process lives)
    def record(self, usage: int, selector: int, mtype: int) -> str:
        """Return a record that matches, in presentation form; usage 2 names the issuer."""
        der, spki = (self.leaf, self.leaf_spki) if usage == 3 else self.issuers[0]
        content = spki if selector else der
        digest = {
            0: lambda b: b.hex(),
            1: lambda b: hashlib.sha256(b).hexdigest(),
            2: lambda b: hashlib.sha512(b).hexdigest(),
        }
        return f"{usage} {selector} {mtype} {digest[mtype](content)}"


@functools.cache
def _key(label: str) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(hashlib.sha256(label.encode()).digest())


def _build(
    subject: str,
    public: Ed25519PrivateKey,
    issuer: str,
    signer: Ed25519PrivateKey,
    names: tuple[str, ...],
    start: datetime,
    end: datetime,
) -> x509.Certificate:
    def name(text: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])

    builder = (
        x509.CertificateBuilder()
        .subject_name(name(subject))
        .issuer_name(name(issuer))
        .public_key(public.public_key())
        .serial_number(int.from_bytes(hashlib.sha256(f"{subject}{start}{end}".encode()).digest()[:8]))
        .not_valid_before(start)
        .not_valid_after(end)
        .add_extension(x509.BasicConstraints(ca=not names, path_length=None), critical=True)
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(n) for n in names]), critical=False)
    return builder.sign(signer, None)


@functools.cache
def certificate(
    name: str,
    *,
    key: str = "",
    hosts: tuple[str, ...] = ("mx1.example.test", "mx2.example.test"),
    start: int = -1,
    end: int = 3650,
    ca: str = "CA",
) -> Certificate:
    """Return the certificate *name* with the key *key* (its own without one); *start*, *end* in days from EPOCH."""
    anchor = _build(ca, _key(ca), ca, _key(ca), (), EPOCH - 3650 * DAY, EPOCH + 36500 * DAY)
    private = _key(key or name)
    leaf = _build(name, private, ca, _key(ca), hosts, EPOCH + start * DAY, EPOCH + end * DAY)

    def der(it: x509.Certificate) -> tuple[bytes, bytes]:
        public = it.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return it.public_bytes(Encoding.DER), public

    return Certificate(
        name,
        leaf.public_bytes(Encoding.PEM) + anchor.public_bytes(Encoding.PEM),
        private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        *der(leaf),
        (der(anchor),),
    )
