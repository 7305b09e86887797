"""Why a certificate or key is rejected: one stable code for each rule, one error type.

The decisions are in pem.py, path.py and certificate.py; here are their names and common wordings.
"""

from __future__ import annotations

from enum import StrEnum

from rollover.core.errors import CertificateError

SUPPORTED = "RSA of 2048 bits or more, ECDSA P-256, ECDSA P-384, Ed25519"


class Fault(StrEnum):
    """Why a certificate or key is rejected: the ``code`` of a Rejected."""

    CERTIFICATE_UNREADABLE = "certificate-unreadable"
    KEY_UNREADABLE = "key-unreadable"
    KEY_ENCRYPTED = "key-encrypted"
    KEY_MISMATCH = "key-mismatch"
    ALGORITHM = "algorithm-unsupported"
    IS_CA = "certificate-is-ca"
    CHAIN_ORDER = "chain-order"
    CHAIN_BROKEN = "chain-broken"
    NAME = "certificate-name"
    PURPOSE = "certificate-purpose"
    NOT_YET_VALID = "certificate-not-yet-valid"
    EXPIRED = "certificate-expired"
    EXPIRES_SOON = "certificate-expires-soon"


class Rejected(CertificateError):
    """A certificate or key that must not be served (ours to reject); *fault* says which rule."""

    def __init__(self, fault: Fault, message: str, *, hint: str) -> None:
        super().__init__(message, hint=hint)
        self.fault = fault
        self.code = fault.value


def unreadable(message: str) -> Rejected:
    """Return the error for octets that are no certificate."""
    return Rejected(
        Fault.CERTIFICATE_UNREADABLE,
        message,
        hint="give the PEM file with the whole chain, for certbot fullchain.pem; if it is being written, try again",
    )


def unsupported(message: str) -> Rejected:
    """Return the error for a key or signature that senders or servers would not take."""
    return Rejected(Fault.ALGORITHM, message, hint=f"order a certificate with a key of {SUPPORTED}")


def several_keys(count: int) -> Rejected:
    """Return the error for a file with *count* private keys."""
    return Rejected(
        Fault.KEY_UNREADABLE,
        f"{count} private keys in one file; one was expected",
        hint="a service has one key: split the file, one service for each key",
    )
