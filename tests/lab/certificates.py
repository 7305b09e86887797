"""A certification authority for the lab: root, intermediate, leaves as an ACME client leaves them."""

from __future__ import annotations

import datetime as dt
import hashlib
import ipaddress
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import (
    CertificateIssuerPrivateKeyTypes,
    PublicKeyTypes,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

KeyType = Literal["p256", "p384", "rsa", "ed25519"]

_DAY = dt.timedelta(days=1)


@dataclass(frozen=True)
class Certificate:
    """A lineage directory: privkey.pem (0600), cert.pem, chain.pem, fullchain.pem."""

    directory: Path

    @property
    def privkey(self) -> Path:
        return self.directory / "privkey.pem"

    @property
    def fullchain(self) -> Path:
        return self.directory / "fullchain.pem"

    @property
    def cert(self) -> Path:
        return self.directory / "cert.pem"

    @property
    def chain(self) -> Path:
        return self.directory / "chain.pem"

    @cached_property
    def leaf(self) -> x509.Certificate:
        """The leaf as it was when first read (a renewal changes the files)."""
        return x509.load_pem_x509_certificate(self.fullchain.read_bytes())

    @property
    def spki(self) -> str:
        """SHA-256 of the SubjectPublicKeyInfo, hexadecimal."""
        return spki_of(self.leaf)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the leaf, hexadecimal."""
        return self.leaf.fingerprint(hashes.SHA256()).hex()

    @property
    def tlsa(self) -> str:
        """The record "3 1 1 …" for it (RFC 6698 §2.1)."""
        return f"3 1 1 {self.spki}"

    def record(self, usage: int, selector: int, matching_type: int) -> str:
        """Return association data of usage 3 for the leaf, of usage 2 for its issuer."""
        certificate = self.leaf
        if usage in (0, 2):
            certificate = x509.load_pem_x509_certificate(self.chain.read_bytes())
        octets = certificate.public_bytes(serialization.Encoding.DER)
        if selector == 1:
            octets = _spki(certificate.public_key())
        hashed = {0: octets, 1: hashlib.sha256(octets).digest(), 2: hashlib.sha512(octets).digest()}
        return f"{usage} {selector} {matching_type} {hashed[matching_type].hex()}"


class Authority:
    """A root, an intermediate, and the leaves that the intermediate signs."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir(parents=True)
        self._root_key = ec.generate_private_key(ec.SECP256R1())
        self._key = ec.generate_private_key(ec.SECP256R1())
        root_name, name = _name("Lab Root"), _name("Lab Intermediate")
        self.root = _authority(root_name, self._root_key.public_key(), root_name, self._root_key)
        self.intermediate = _authority(name, self._key.public_key(), root_name, self._root_key)
        self.root_file = directory / "root.pem"
        self.root_file.write_bytes(_pem(self.root))
        self._issued = 0

    def issue(
        self,
        names: Sequence[str] = ("mail.example.test",),
        *,
        key: KeyType = "p256",
        reuse_key_of: Certificate | None = None,
        not_before: dt.datetime | None = None,
        not_after: dt.datetime | None = None,
        directory: Path | None = None,
    ) -> Certificate:
        """Issue a leaf for *names* and write its lineage. Valid for 90 days from an hour ago."""
        self._issued += 1
        directory = directory or self.directory / f"leaf-{self._issued}"
        directory.mkdir(parents=True, exist_ok=True)
        private = _new_key(key) if reuse_key_of is None else _load_key(reuse_key_of.privkey)
        public = private.public_key()
        start = not_before or _now() - _DAY / 24
        leaf = (
            x509.CertificateBuilder()
            .subject_name(_name(names[0]))
            .issuer_name(self.intermediate.subject)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(start)
            .not_valid_after(not_after or start + 90 * _DAY)
            # Without it OpenSSL-based tools may take a leaf for a trust anchor.
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName([_general_name(name) for name in names]), critical=False)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()),
                critical=False,
            )
            .sign(self._key, hashes.SHA256())
        )
        _write(directory / "privkey.pem", _key_pem(private), 0o600)
        _write(directory / "cert.pem", _pem(leaf), 0o644)
        _write(directory / "chain.pem", _pem(self.intermediate), 0o644)
        _write(directory / "fullchain.pem", _pem(leaf) + _pem(self.intermediate), 0o644)
        return Certificate(directory)


def spki_of(certificate: x509.Certificate) -> str:
    """Return the SHA-256 of the certificate's SubjectPublicKeyInfo, hexadecimal."""
    return hashlib.sha256(_spki(certificate.public_key())).hexdigest()


def _spki(key: PublicKeyTypes) -> bytes:
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def _now() -> dt.datetime:
    # The lab stands outside the tool: its certificates are dated by the host's clock.
    return x509_time(0)


def x509_time(seconds: float) -> dt.datetime:
    """Return the instant *seconds* from now, as the arguments of `issue` want it."""
    now = dt.datetime.fromtimestamp(time.clock_gettime(time.CLOCK_REALTIME), dt.UTC)
    return (now + dt.timedelta(seconds=seconds)).replace(microsecond=0)


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _authority(
    name: x509.Name,
    public: ec.EllipticCurvePublicKey,
    issuer: x509.Name,
    signer: ec.EllipticCurvePrivateKey,
) -> x509.Certificate:
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(_now() - 365 * _DAY)
        .not_valid_after(_now() + 3650 * _DAY)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .sign(signer, hashes.SHA256())
    )


def _new_key(kind: KeyType) -> CertificateIssuerPrivateKeyTypes:
    if kind == "rsa":
        return rsa.generate_private_key(65537, 2048)
    if kind == "ed25519":
        return ed25519.Ed25519PrivateKey.generate()
    return ec.generate_private_key(ec.SECP256R1() if kind == "p256" else ec.SECP384R1())


def _load_key(path: Path) -> CertificateIssuerPrivateKeyTypes:
    key = serialization.load_pem_private_key(path.read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey)
    return key


def _key_pem(key: CertificateIssuerPrivateKeyTypes) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _write(path: Path, content: bytes, mode: int) -> None:
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
