"""One full TLS handshake with one endpoint, and what it presents. Never a resumed session."""

from __future__ import annotations

import socket
import ssl

from cryptography import x509

from .certificates import spki_of

IMPLICIT_TLS = (465, 993, 995)


CIPHERS = {"rsa": "ECDHE+aRSA", "ecdsa": "ECDHE+aECDSA"}


def presented(address: str, port: int = 25, *, sni: str | None = None, algorithm: str = "") -> x509.Certificate:
    """Return the leaf that *address* presents. STARTTLS but for implicit-TLS ports.

    *sni* is the server name to ask for; None sends none. *algorithm*: "rsa" or "ecdsa", for a server
    that has both. Raises OSError (ssl.SSLError and refused connections included) when there is no
    handshake.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if algorithm:  # from TLS 1.3 on the cipher says nothing of the key
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers(CIPHERS[algorithm])
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with socket.create_connection((address, port), timeout=30) as plain:
        if port not in IMPLICIT_TLS:
            _imap_starttls(plain) if port == 143 else _smtp_starttls(plain)
        with context.wrap_socket(plain, server_hostname=sni) as encrypted:
            der = encrypted.getpeercert(binary_form=True)
            if port != 143 and port not in (993, 995):
                encrypted.sendall(b"QUIT\r\n")
    if der is None:
        raise ssl.SSLError("no certificate was presented")
    return x509.load_der_x509_certificate(der)


def served(address: str, port: int = 25, *, sni: str | None = None, algorithm: str = "") -> str:
    """Return the SHA-256 of the SubjectPublicKeyInfo that *address* presents, hexadecimal."""
    return spki_of(presented(address, port, sni=sni, algorithm=algorithm))


def greets(address: str, port: int) -> bool:
    """Whether the SMTP server answers with 220; on 465, whether it accepts a connection."""
    with socket.create_connection((address, port), timeout=30) as plain:
        if port in IMPLICIT_TLS:
            return True
        if not plain.recv(512).startswith(b"220"):
            return False
        plain.sendall(b"QUIT\r\n")
        return plain.recv(512).startswith(b"221")


def _smtp_starttls(plain: socket.socket) -> None:
    _expect(plain, b"220")
    plain.sendall(b"EHLO lab.test\r\n")
    _expect(plain, b"250")
    plain.sendall(b"STARTTLS\r\n")
    _expect(plain, b"220")


def _imap_starttls(plain: socket.socket) -> None:
    _expect(plain, b"* OK")
    plain.sendall(b"a STARTTLS\r\n")
    _expect(plain, b"a OK")


def _expect(plain: socket.socket, start: bytes) -> None:
    """Read one reply, of several lines for SMTP. Raises OSError if it does not begin so."""
    reply = b""
    while not (reply.endswith(b"\r\n") and reply.splitlines()[-1][3:4] != b"-"):
        part = plain.recv(4096)
        if not part:
            raise ConnectionResetError(f"connection closed after {reply!r}")
        reply += part
    if not reply.startswith(start):
        raise OSError(f"expected {start!r}, got {reply!r}")
