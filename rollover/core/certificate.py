"""Certificate and key: do they belong together, for which names, from when until when, trusted by whom.

Bytes come in, values go out; files are read elsewhere. This file decides whether a certificate may
be served at all (check). PEM and keys are in pem.py, paths in path.py, and offered here as well.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from rollover.core.errors import CertificateError
from rollover.core.path import (
    MAX_LINKS,
    chain_from_der,
    extension,
    issued,
    label,
    listed,
    load,
    names_of,
    path_problem,
    self_signed,
    serves_tls,
    tbs,
)
from rollover.core.pem import algorithm, certificates_from_pem, chain_pem, key_pem, key_spki, parse_key, split_pem
from rollover.core.rejection import Fault, Rejected, unreadable, unsupported
from rollover.core.timing import stamp
from rollover.core.tlsa import Chain

if TYPE_CHECKING:
    from cryptography import x509

    from rollover.core.pem import PrivateKey

__all__ = [
    "Facts",
    "Fault",
    "Rejected",
    "certificates_from_pem",
    "chain_from_der",
    "chain_pem",
    "check",
    "covers",
    "facts",
    "key_pem",
    "key_spki",
    "listed",
    "parse_chain",
    "parse_key",
    "split_pem",
    "trusted",
]

_LABEL = re.compile(r"[a-z0-9-]+")


def parse_chain(pem: bytes) -> Chain:
    """Return the chain of a fullchain file: leaf first, each followed by its issuer.

    Raises CertificateError for no certificate, truncation, garbage, or another order.
    """
    ders = certificates_from_pem(pem)
    if not ders:
        raise unreadable("no PEM certificate found")
    if len(ders) > MAX_LINKS:
        raise unreadable(f"{len(ders)} certificates in one file: no chain has more than {MAX_LINKS}")
    certificates = [load(der) for der in ders]
    for position, child in enumerate(certificates):
        names = tbs(ders[position])
        earlier = [x for x, der in zip(certificates[:position], ders, strict=False) if tbs(der).subject == names.issuer]
        if names.subject != names.issuer and any(issued(child, parent) for parent in earlier):
            raise Rejected(
                Fault.CHAIN_ORDER,
                f"certificates in the wrong order: {label(child)} stands after its issuer",
                hint="put the server's own certificate first, then each issuer after what it issued (fullchain.pem)",
            )
    return chain_from_der(ders)


@dataclass(frozen=True, slots=True)
class Facts:
    """What a leaf says about itself.

    *names*: DNS names in lower case A-labels, then addresses as text. *not_before* and *not_after*
    are aware UTC. *algorithm*: "rsa", "ecdsa", "ed25519", or "" for anything else. *serial*: hex.
    """

    fingerprint: str
    spki_sha256: str
    names: tuple[str, ...]
    not_before: datetime
    not_after: datetime
    algorithm: str
    issuer: str
    self_signed: bool
    serial: str


def facts(chain: Chain) -> Facts:
    """Return the facts of the leaf of *chain*; raises CertificateError when it cannot be decoded."""
    leaf = load(chain.links[0].der)
    try:
        kind = _algorithm(leaf, chain.links[0].spki)
    except CertificateError:
        kind = ""
    try:
        issuer = leaf.issuer.rfc4514_string()
    except (ValueError, TypeError):
        raise unreadable(f"the issuer of certificate {leaf.serial_number:x} cannot be decoded") from None
    return Facts(
        fingerprint=chain.fingerprint,
        spki_sha256=chain.spki_sha256,
        names=names_of(leaf),
        not_before=leaf.not_valid_before_utc,
        not_after=leaf.not_valid_after_utc,
        algorithm=kind,
        issuer=issuer,
        self_signed=self_signed(leaf),
        serial=f"{leaf.serial_number:x}",
    )


def covers(names: Iterable[str], host: str) -> bool:
    """Tell whether one of *names* is *host*; ``*.example.org`` stands for exactly one label.

    Source: RFC 6125 §6.4.3, as OpenSSL applies it: no partial wildcard, none right below the root.
    """
    host = host.rstrip(".").lower()
    label, _, parent = host.partition(".")
    wildcard = f"*.{parent}" if _LABEL.fullmatch(label) and "." in parent else host
    return any(name in (host, wildcard) for name in names)


def check(
    chain: Chain,
    key: PrivateKey,
    *,
    hosts: Iterable[str],
    now: datetime,
    minimum_remaining: timedelta = timedelta(0),
) -> None:
    """Raise CertificateError unless *chain* with *key* may be served for all *hosts* at *now*.

    Names and dates matter even beside ``3 1 1`` records: senders that follow MTA-STS look at them.
    No skew is granted on notBefore: public CAs backdate it by an hour, so one that lies in the future
    tells of a wrong clock here, and every wait would be measured on that clock.
    """
    leaf, known = load(chain.links[0].der), facts(chain)
    _check_leaf(leaf, chain.links[0].spki, self_signed=known.self_signed)
    if leaf.public_key() != key.public_key():
        raise Rejected(
            Fault.KEY_MISMATCH,
            f"the private key does not belong to the certificate for {listed(known.names)}",
            hint="give the key that stands beside this certificate; a renewal may have been caught half-way: try again",
        )
    _check_path(chain, now)
    for host in hosts:
        if not covers(known.names, host):
            raise Rejected(
                Fault.NAME,
                f"the certificate is for {listed(known.names)}, not for {host}",
                hint=f"order one that names {host} too, or correct `hosts` of the service",
            )
    _check_dates("the certificate", known.not_before, known.not_after, now)
    if known.not_after - now < minimum_remaining:
        raise Rejected(
            Fault.EXPIRES_SOON,
            f"the certificate expires at {stamp(known.not_after)}, sooner than a rollover can be finished",
            hint="renew it first",
        )


def trusted(chain: Chain, *, roots: Sequence[bytes], hosts: Iterable[str], now: datetime) -> str:
    """Return "" if *chain* leads to one of *roots* (DER) for all *hosts*, else the reason in one line.

    What a sender that follows MTA-STS concludes (RFC 8461 §4.1). Only the roots that *chain* names
    as issuers are decoded, so the whole system store may be given.
    """
    names = facts(chain).names
    if missing := [host for host in hosts if not covers(names, host)]:
        return f"the certificate does not name {missing[0]}"
    issuers = {tbs(link.der).issuer for link in chain.links if link.spki}
    return path_problem(chain, [root for root in roots if _subject(root) in issuers], now=now)


def _subject(root: bytes) -> bytes:
    """Return the subject of *root*; b"" for what is no certificate, which then is nobody's issuer."""
    try:
        return tbs(root).subject
    except IndexError:
        return b""


def _algorithm(leaf: x509.Certificate, spki: bytes) -> str:
    """Return the leaf's "rsa", "ecdsa" or "ed25519"; raises CertificateError for anything else."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    try:
        key = leaf.public_key()
    except (UnsupportedAlgorithm, ValueError):
        raise unsupported("the certificate's key is of an unknown algorithm") from None
    found = algorithm(key)
    if key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo) != spki:
        raise unsupported("the certificate's key is of type RSA-PSS, or names no standard curve")
    return found


def _check_leaf(leaf: x509.Certificate, spki: bytes, *, self_signed: bool) -> None:
    """Raise for a leaf that no server should present, whatever its names and dates."""
    from cryptography import x509
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import hashes

    if not self_signed:  # one made by `openssl req -x509` has the CA flag; DANE-EE senders do not look
        basic = extension(leaf, x509.BasicConstraints)
        if basic is not None and basic.ca:
            raise Rejected(
                Fault.IS_CA,
                f"the first certificate is one of a certificate authority: {label(leaf)}",
                hint="put the server's own certificate first; for certbot use fullchain.pem, not chain.pem",
            )
        try:
            digest = leaf.signature_hash_algorithm
        except UnsupportedAlgorithm:
            raise unsupported("the certificate is signed with an unknown algorithm") from None
        if isinstance(digest, (hashes.MD5, hashes.SHA1)):
            raise unsupported(f"the certificate is signed with {digest.name}")
    _algorithm(leaf, spki)
    if not serves_tls(leaf):
        raise Rejected(
            Fault.PURPOSE,
            "the certificate is not meant for TLS servers (key usage or extended key usage)",
            hint="order one with the extended key usage serverAuth",
        )


def _check_path(chain: Chain, now: datetime) -> None:
    """Raise unless each certificate issued the one before it, and none but a root is out of date."""
    before = load(chain.links[0].der)
    for link in chain.links[1:]:
        if not link.anchor:
            raise Rejected(
                Fault.CHAIN_BROKEN,
                f"the chain is broken: the certificate after {label(before)} did not issue it",
                hint="use the fullchain file as the ACME client wrote it, with no certificate twice",
            )
        before = load(link.der)
        names = tbs(link.der)
        if names.subject != names.issuer:  # senders take a root from their own store
            _check_dates(label(before), before.not_valid_before_utc, before.not_valid_after_utc, now)


def _check_dates(subject: str, not_before: datetime, not_after: datetime, now: datetime) -> None:
    if now < not_before:
        raise Rejected(
            Fault.NOT_YET_VALID,
            f"{subject} is not valid before {stamp(not_before)}; it is {stamp(now)}",
            hint="if this host's clock is wrong, correct it; else deploy again then",
        )
    if now > not_after:
        raise Rejected(
            Fault.EXPIRED,
            f"{subject} expired at {stamp(not_after)}; it is {stamp(now)}",
            hint="renew it; if this host's clock is wrong, correct it",
        )
