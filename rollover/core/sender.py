"""What an SMTP sender with opportunistic DANE concludes from a TLSA RRset and a presented chain.

This file decides whether one sender would deliver now: RFC 7672 as Postfix carries it out with
OpenSSL. valid() in tlsa.py is stricter about records, because it speaks for every sender; this one
also knows names and dates, on which a record of usage 2 depends.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING

from rollover.core.certificate import covers
from rollover.core.errors import CertificateError
from rollover.core.path import anchored_problem, extension, listed, load, names_of, tbs, way_up
from rollover.core.tlsa import Chain, Link, RRset, Tlsa, association, matches, usable

if TYPE_CHECKING:
    from cryptography import x509


class Conclusion(StrEnum):
    """What becomes of the message."""

    ACCEPTS = "accepts"  # authenticated, delivered
    REJECTS = "rejects"  # deferred
    NO_DANE = "no-dane"  # no record: opportunistic TLS, delivered
    ENCRYPT_ONLY = "encrypt-only"  # no usable record: TLS without authentication, delivered (RFC 7672 §2.2)


@dataclass(frozen=True, slots=True)
class Verdict:
    """A conclusion, the record that matched (with ACCEPTS only), and the reason in one line."""

    conclusion: Conclusion
    record: Tlsa | None
    reason: str

    @property
    def delivers(self) -> bool:
        """Tell whether mail is delivered; if not, it is deferred."""
        return self.conclusion is not Conclusion.REJECTS


def verdict(rrset: RRset, chain: Chain, *, names: Iterable[str], now: datetime) -> Verdict:
    """Return what a sender concludes that holds *rrset* and is shown *chain* at *now*.

    *names* are its reference identifiers: the TLSA base domain and the next-hop domain (RFC 7672
    §3.2.2). They and all dates count for usage 2 only: DANE-EE binds the key alone (RFC 7672 §3.1.1).
    Anchors that are in DNS and not in the chain (``2 0 0``, ``2 1 0``) are taken as OpenSSL takes them.
    """
    if not rrset:
        return Verdict(Conclusion.NO_DANE, None, "no TLSA record")
    records = strongest(rr for rr in rrset if usable(rr) and _decodable(rr))
    if not records:
        return Verdict(Conclusion.ENCRYPT_ONLY, None, "no usable TLSA record")
    for rr in records:
        if rr.usage == 3 and matches(rr, chain):
            return Verdict(Conclusion.ACCEPTS, rr, "the certificate of the server matches")
    problems = []
    wanted = tuple(names)
    for rr, path in _anchored([rr for rr in records if rr.usage == 2], chain, now):
        problem = path or _name_problem(chain, wanted)
        if not problem:
            return Verdict(Conclusion.ACCEPTS, rr, "an issuer of the server's certificate matches")
        problems.append(f"{rr.usage} {rr.selector} {rr.mtype} matches, but: {problem}")
    return Verdict(Conclusion.REJECTS, None, problems[0] if problems else "no TLSA record matches the chain")


def strongest(records: Iterable[Tlsa]) -> list[Tlsa]:
    """Return the records that digest agility leaves, sorted: the strongest digest, and full data.

    For each usage and selector on its own; SHA2-512 is stronger than SHA2-256 (RFC 7671 §9). Records
    that are not usable must have been taken out before, or they would hide others.
    """
    offered = sorted(set(records))
    best: dict[tuple[int, int], int] = {}
    for rr in offered:
        best[rr.usage, rr.selector] = rr.mtype  # sorted: the last is the strongest
    return [rr for rr in offered if rr.mtype in (0, best[rr.usage, rr.selector])]


def _anchored(records: Sequence[Tlsa], chain: Chain, now: datetime) -> Iterable[tuple[Tlsa, str]]:
    """Yield each DANE-TA record that points at an anchor, with what is wrong with the path to it."""
    in_dns = [Link(rr.association, tbs(rr.association).spki) for rr in records if (rr.selector, rr.mtype) == (0, 0)]
    links = [chain.links[0], *in_dns, *(link for link in chain.links[1:] if link.spki)]  # OpenSSL tries them first
    path = [links[position] for position in way_up([load(link.der) for link in links], now)]
    for rr in records:
        for link in path[1:]:
            if association(link, rr.selector, rr.mtype) == rr.association:
                # OpenSSL looks at the dates of an anchor only where it ends the chain by issuing itself.
                names = tbs(link.der)
                dated = names.subject == names.issuer
                yield rr, anchored_problem(Chain(tuple(path)), link.der, now=now, anchor_dated=dated)
    for rr in records:
        if (rr.selector, rr.mtype) == (1, 0) and _signed_with(load(path[-1].der), rr.association):
            yield rr, anchored_problem(Chain(tuple(path)), path[-1].der, now=now, anchor_dated=True)


def _signed_with(certificate: x509.Certificate, spki: bytes) -> bool:
    """Tell whether the key *spki*, of which no certificate is at hand, signed *certificate*."""
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
    from cryptography.hazmat.primitives.serialization import load_der_public_key

    try:
        key = load_der_public_key(spki)
        signature, covered = certificate.signature, certificate.tbs_certificate_bytes
        how, digest = certificate.signature_algorithm_parameters, certificate.signature_hash_algorithm
        if isinstance(key, rsa.RSAPublicKey) and isinstance(how, (padding.PKCS1v15, padding.PSS)) and digest:
            key.verify(signature, covered, how, digest)
        elif isinstance(key, ec.EllipticCurvePublicKey) and isinstance(how, ec.ECDSA):
            key.verify(signature, covered, how)
        elif isinstance(key, ed25519.Ed25519PublicKey) and how is None:
            key.verify(signature, covered)
        else:
            return False
    except (InvalidSignature, UnsupportedAlgorithm, ValueError):
        return False
    return True


def _decodable(rr: Tlsa) -> bool:
    """Tell whether full data is a certificate or key at all; OpenSSL passes over the record if not."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_der_public_key

    if rr.mtype != 0:
        return True
    try:
        if rr.selector == 0:
            load(rr.association).public_key()
        else:
            load_der_public_key(rr.association)
    except UnsupportedAlgorithm:
        return True  # well-formed, of an algorithm that cryptography does not know
    except (CertificateError, ValueError):
        return False
    return True


def _name_problem(chain: Chain, names: Sequence[str]) -> str:
    """Return "" if the leaf bears one of *names*; the common name counts where there is no DNS name."""
    from cryptography import x509

    leaf = load(chain.links[0].der)
    try:
        own = names_of(leaf)
        san = extension(leaf, x509.SubjectAlternativeName)
        if san is None or not san.get_values_for_type(x509.DNSName):
            own = tuple(str(n.value).lower() for n in leaf.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME))
    except (CertificateError, ValueError, TypeError):
        return "its names cannot be decoded"
    if any(covers(own, name) for name in names):
        return ""
    return f"the certificate is for {listed(own)}, not for {' or '.join(names)}"
