"""Paths of certificates: who signed whom, which links a usage-2 record may point at.

This file decides what is an anchor (chain_from_der) and what a verifying sender thinks of a path
(path_problem, anchored_problem). cryptography and pyOpenSSL are imported where they are used: a command that needs no
certificate would pay a tenth of a second for them.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from rollover.core.errors import CertificateError
from rollover.core.rejection import unreadable
from rollover.core.timing import stamp
from rollover.core.tlsa import Chain, Link

if TYPE_CHECKING:
    from cryptography import x509
    from OpenSSL import crypto

T = TypeVar("T", bound="x509.ExtensionType")

PARTIAL_CHAIN = 0x80000  # X509_V_FLAG_…: a trust anchor need not be self-signed
NO_CHECK_TIME = 0x200000
TAG_VERSION = 0xA0  # the one optional field before the key
FIELDS_TO_SPKI = 6
MAX_LINKS = 32  # of a chain; each is held against each, so a server must not choose how many


def chain_from_der(ders: Sequence[bytes]) -> Chain:
    """Return the chain made of *ders*, leaf first, whatever else a server sent along.

    A link is an anchor if the certificates from the leaf up to it are the path that a sender takes
    (way_up), in this order, each a CA certificate that signed the one before; duplicates and strangers
    in between are passed over, and so is what stands behind MAX_LINKS. Dates and names of hosts are not
    looked at here.

    Raises CertificateError when there is no leaf or it cannot be parsed; other garbage is no anchor.
    """
    if not ders:
        raise unreadable("no certificate was given")
    certificates = [load(ders[0]), *map(_load_or_none, ders[1:MAX_LINKS])]
    certificates += [None] * (len(ders) - len(certificates))
    path = way_up(certificates)
    anchors: set[int] = set()
    below = 0
    for lower, upper in pairwise(path):
        child, parent = certificates[lower], certificates[upper]
        if upper < lower or child is None or parent is None or not issued(child, parent, below):
            break
        anchors.add(upper)
        below += not _self_issued(parent)  # RFC 5280 §4.2.1.9
    return Chain(
        tuple(
            Link(der, tbs(der).spki if c else b"", i in anchors)
            for i, (der, c) in enumerate(zip(ders, certificates, strict=True))
        )
    )


def way_up(certificates: Sequence[x509.Certificate | None], now: datetime | None = None) -> list[int]:
    """Return the positions of the path that OpenSSL builds from the first of *certificates*.

    It goes by names, key identifiers and key usage, wherever a certificate stands; the first that
    fits is taken, one in date at *now* before all others, and no signature is looked at. There is
    no second try: a certificate beside this path authenticates nothing.
    """
    path = [0]
    while (child := certificates[path[-1]]) is not None and not _fits(child, child):
        taken = [certificates[position] for position in path]
        fitting = [(i, c) for i, c in enumerate(certificates) if c is not None and c not in taken and _fits(child, c)]
        if not fitting:
            break
        in_date = [i for i, c in fitting if now is None or c.not_valid_before_utc <= now <= c.not_valid_after_utc]
        path.append(in_date[0] if in_date else max(fitting, key=lambda pair: pair[1].not_valid_after_utc)[0])
    return path


def _fits(child: x509.Certificate, parent: x509.Certificate) -> bool:
    """Tell whether *parent* looks like the issuer of *child*, as X509_check_issued(3) does."""
    from cryptography import x509

    if _tbs_of(child).issuer != _tbs_of(parent).subject:
        return False
    try:
        wanted, found = extension(child, x509.AuthorityKeyIdentifier), extension(parent, x509.SubjectKeyIdentifier)
        usage = extension(parent, x509.KeyUsage)
    except CertificateError:
        return False
    if wanted and found and wanted.key_identifier and wanted.key_identifier != found.key_identifier:
        return False
    return usage is None or usage.key_cert_sign or child == parent


def _self_issued(certificate: x509.Certificate) -> bool:
    names = _tbs_of(certificate)
    return names.subject == names.issuer


def path_problem(chain: Chain, roots: Sequence[bytes], *, now: datetime) -> str:
    """Return "" if OpenSSL finds a path for a TLS server from the leaf to one of *roots* (DER).

    Signatures, CA flags, path lengths, name constraints, purposes and dates count, names of hosts do
    not. Else the reason in one line.
    """
    found = _find_path(chain, roots, now=now, flags=0)
    return found if isinstance(found, str) else ""


def anchored_problem(chain: Chain, anchor: bytes, *, now: datetime, anchor_dated: bool) -> str:
    """Return "" if OpenSSL finds a path from the leaf to the trust anchor *anchor* (DER), root or not.

    As path_problem(), but the dates of *anchor* itself count only if *anchor_dated*.
    """
    found = _find_path(chain, [anchor], now=now, flags=PARTIAL_CHAIN | NO_CHECK_TIME)
    if isinstance(found, str):
        return found
    for certificate in found if anchor_dated else found[:-1]:
        if now < certificate.not_valid_before_utc:
            return f"not valid before {stamp(certificate.not_valid_before_utc)}: {label(certificate)}"
        if now > certificate.not_valid_after_utc:
            return f"expired at {stamp(certificate.not_valid_after_utc)}: {label(certificate)}"
    return ""


def _find_path(chain: Chain, anchors: Sequence[bytes], *, now: datetime, flags: int) -> list[x509.Certificate] | str:
    """Return OpenSSL's path from the leaf up to one of *anchors*, or why there is none."""
    from OpenSSL import crypto

    def opened(der: bytes) -> crypto.X509:
        return crypto.load_certificate(crypto.FILETYPE_ASN1, der)

    store = crypto.X509Store()
    store.set_time(now.astimezone(UTC))
    store.set_flags(flags)
    try:
        for der in anchors:
            store.add_cert(opened(der))
        rest = [opened(link.der) for link in chain.links[1:] if link.spki]
        verified = crypto.X509StoreContext(store, opened(chain.links[0].der), rest).get_verified_chain()
        path = [_given_out(certificate) for certificate in verified]
        for certificate in path:  # pyOpenSSL cannot ask OpenSSL for purpose "sslserver"
            if not serves_tls(certificate):
                return f"not meant for TLS servers: {label(certificate)}"
    except crypto.X509StoreContextError as error:
        return f"{error}: {_label_of(error.certificate)}"
    except (crypto.Error, ValueError):
        return "a certificate on the path cannot be decoded"
    except CertificateError as error:
        return error.message
    return path


def _label_of(certificate: crypto.X509) -> str:
    try:
        return label(_given_out(certificate))
    except CertificateError:
        return "a certificate that cannot be decoded"


def _given_out(certificate: crypto.X509) -> x509.Certificate:
    """Return what OpenSSL could read; cryptography is stricter, and some OpenSSL cannot even give out: CertificateError."""
    from OpenSSL import crypto

    try:
        der = crypto.dump_certificate(crypto.FILETYPE_ASN1, certificate)
    except crypto.Error:
        raise unreadable("a certificate cannot be decoded") from None
    return load(der)


def issued(child: x509.Certificate, parent: x509.Certificate, below: int = 0) -> bool:
    """Tell whether *parent*, a CA with *below* CAs between it and the leaf, signed *child*.

    Whether its key usage allows that is asked where the path is chosen (way_up).
    """
    from cryptography import x509

    try:
        basic = extension(parent, x509.BasicConstraints)
    except CertificateError:
        return False
    if basic is None or not basic.ca:
        return False
    if basic.path_length is not None and below > basic.path_length:
        return False
    return signed(child, parent)


def signed(child: x509.Certificate, parent: x509.Certificate) -> bool:
    """Tell whether *child* names *parent* as its issuer and bears its signature."""
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm

    try:
        child.verify_directly_issued_by(parent)
    except (InvalidSignature, UnsupportedAlgorithm, ValueError, TypeError):
        return False
    return True


def self_signed(certificate: x509.Certificate) -> bool:
    """Tell whether the certificate is signed with its own key, under its own name."""
    return signed(certificate, certificate)


def serves_tls(certificate: x509.Certificate) -> bool:
    """Tell whether its extensions allow TLS servers, as OpenSSL's purpose "sslserver" asks."""
    from cryptography import x509

    extended = extension(certificate, x509.ExtendedKeyUsage)
    if extended is not None and x509.oid.ExtendedKeyUsageOID.SERVER_AUTH not in extended:
        return False
    usage, basic = extension(certificate, x509.KeyUsage), extension(certificate, x509.BasicConstraints)
    if usage is None or (basic is not None and basic.ca):
        return True
    return usage.digital_signature or usage.key_encipherment or usage.key_agreement


def _load_or_none(der: bytes) -> x509.Certificate | None:
    try:
        return load(der)
    except CertificateError:
        return None


def load(der: bytes) -> x509.Certificate:
    """Return the certificate *der*; raises CertificateError for anything else."""
    from cryptography import x509

    try:
        certificate = x509.load_der_x509_certificate(der)
        # Decoded late by the library, and used by everybody: years that no datetime has are found here.
        certificate.not_valid_before_utc, certificate.not_valid_after_utc  # noqa: B018
    except (ValueError, TypeError, x509.InvalidVersion):
        raise unreadable("a certificate cannot be decoded") from None
    return certificate


def extension(certificate: x509.Certificate, kind: type[T]) -> T | None:
    """Return the extension of type *kind*, None if absent; raises CertificateError for nonsense."""
    from cryptography import x509

    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None
    except (ValueError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType):
        raise unreadable(f"an extension of certificate {certificate.serial_number:x} cannot be decoded") from None


def names_of(leaf: x509.Certificate) -> tuple[str, ...]:
    """Return its DNS names in lower case, then its addresses as text (subjectAltName, RFC 5280 §4.2.1.6)."""
    from cryptography import x509

    san = extension(leaf, x509.SubjectAlternativeName)
    if san is None:
        return ()
    hosts = [name.lower() for name in san.get_values_for_type(x509.DNSName)]
    return tuple(hosts + [str(address) for address in san.get_values_for_type(x509.IPAddress)])


def label(certificate: x509.Certificate) -> str:
    """Return the subject on one line, or, if it is empty, the names: for messages."""
    try:
        return printable(certificate.subject.rfc4514_string()) or listed(names_of(certificate))
    except (ValueError, TypeError, CertificateError):  # a name that is not in the encoding that it claims, or of bits
        return f"certificate {certificate.serial_number:x}"


def listed(names: Sequence[str]) -> str:
    """Return *names* for a message."""
    return printable(", ".join(names)) or "no name"


def printable(text: str) -> str:
    """Return *text* as one line that cannot move the cursor of a terminal: anybody can write into a certificate."""
    return "".join(c if c.isprintable() else "?" for c in text)


class Tbs(NamedTuple):
    """Three parts of a certificate, octet for octet as it carries them."""

    issuer: bytes
    subject: bytes
    spki: bytes


def tbs(der: bytes) -> Tbs:
    """Return issuer, subject and SubjectPublicKeyInfo of the certificate *der*.

    A record is made of the key as the certificate carries it (RFC 6698 §1.1): a library that encodes
    it anew may write other octets. Raises IndexError for octets that are no certificate.
    """
    at, _ = _element(der, _element(der, 0)[0])
    fields: list[bytes] = []
    while len(fields) < FIELDS_TO_SPKI:
        _, end = _element(der, at)
        if der[at] != TAG_VERSION:
            fields.append(der[at:end])
        at = end
    _serial, _signature, issuer, _validity, subject, spki = fields  # RFC 5280 §4.1
    return Tbs(issuer, subject, spki)


def _tbs_of(certificate: x509.Certificate) -> Tbs:
    from cryptography.hazmat.primitives.serialization import Encoding

    return tbs(certificate.public_bytes(Encoding.DER))


def _element(der: bytes, at: int) -> tuple[int, int]:
    """Return where the content of the DER element at *at* begins, and where it ends (X.690 §8.1)."""
    start, length = at + 2, der[at + 1]
    if length & 0x80:
        start += length & 0x7F
        length = int.from_bytes(der[at + 2 : start], "big")
    return start, start + length
