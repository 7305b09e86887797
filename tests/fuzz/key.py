"""Private keys in PEM, and DER under each of the headers that PEM knows."""

from __future__ import annotations

import base64
import functools

from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat

from rollover.core.certificate import key_pem, key_spki, parse_key, split_pem
from rollover.core.errors import CertificateError
from tests.pki import key

HEADERS = (b"PRIVATE KEY", b"RSA PRIVATE KEY", b"EC PRIVATE KEY", b"ENCRYPTED PRIVATE KEY", b"DSA PRIVATE KEY")


def target(octets: bytes) -> None:
    """A key is one that is stored again as the same, or rejected in words that do not quote it."""
    if octets[:1] and octets[0] < len(HEADERS):
        header, body = HEADERS[octets[0]], base64.encodebytes(octets[1:])
        octets = b"-----BEGIN " + header + b"-----\n" + body + b"-----END " + header + b"-----\n"
    try:
        split_pem(octets)
    except CertificateError as error:
        assert error.hint
    try:
        read = parse_key(octets)
    except CertificateError as error:
        assert error.hint
        lines = [line.strip().decode("latin-1") for line in octets.splitlines()]
        assert not [x for x in lines if len(x) > 30 and x in error.message + error.hint]
        return
    assert key_spki(parse_key(key_pem(read))) == key_spki(read)


@functools.cache
def seeds() -> tuple[bytes, ...]:
    """Keys of every kind that is supported, and of some that are not, in every form."""
    made: list[bytes] = []
    for algorithm in ("p256", "ed25519", "p384", "p521", "ed448", "rsa", "rsa1024"):
        private = key(algorithm)
        made.append(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        made.append(b"\0" + private.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()))
        if algorithm in ("p256", "p521", "rsa1024"):
            traditional = private.private_bytes(Encoding.DER, PrivateFormat.TraditionalOpenSSL, NoEncryption())
            made.append((b"\1" if algorithm == "rsa1024" else b"\2") + traditional)
    encrypted = key().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"x"))
    return (*made, encrypted, made[0] + made[2])
