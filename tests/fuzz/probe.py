"""A hostile mail server: its words before TLS, its octets instead of TLS, its words inside."""

from __future__ import annotations

import asyncio
import functools
from unittest import mock

from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL import SSL, crypto

from rollover.core.sighting import Endpoint, EndpointSighting, Outcome
from rollover.mail.probe import probe
from rollover.mail.wire import MAX_RECEIVED
from tests.fuzz import certificate, net

PORTS = (25, 143, 110, 465, 993, 995, 443)
SEPARATOR = b"\xff\xff"  # between what is sent at once
TLS = b"\x16TLS"  # here the server begins a handshake, with a sound certificate
MANY = b"\x17"  # the next part is sent again and again
SILENCE = b"\x18"  # it says nothing more, and does not hang up
TIMEOUT = 5.0


@functools.cache
def _context() -> SSL.Context:
    made = certificate.pki()
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.use_privatekey(crypto.PKey.from_cryptography_key(certificate.fixed(3)))
    context.use_certificate(crypto.X509.from_cryptography(made.leaf.certificate))
    context.add_extra_chain_cert(crypto.X509.from_cryptography(made.intermediate.certificate))
    return context


class Server:
    """Stands for the reader of a connection: gives the parts one after the other, whatever was said."""

    def __init__(self, parts: list[bytes]) -> None:
        self._parts = parts
        self._out = b""
        self._heard = b""
        self._tls: SSL.Connection | None = None
        self._shaken = False
        self.given = 0

    def hears(self, octets: bytes) -> None:
        self._heard += octets

    async def read(self, most: int) -> bytes:
        while not self._out:
            if self._tls is not None and not self._shaken:
                if not self._heard:
                    return b""
                self._shake(self._tls)
            elif not self._parts:
                return b""
            else:
                await self._next()
        given, self._out = self._out[:most], self._out[most:]
        self.given += len(given)
        assert self.given < 4 * MAX_RECEIVED
        return given

    async def _next(self) -> None:
        part = self._parts.pop(0)
        if part == SILENCE:
            await asyncio.sleep(1e6)
        elif part == TLS and self._tls is None:
            self._tls = SSL.Connection(_context(), None)
            self._tls.set_accept_state()
        elif part == MANY and self._parts and self._parts[0]:
            await asyncio.sleep(0.001)
            self._parts.insert(0, part)
            self._say(self._parts[1] * (1 + 2048 // len(self._parts[1])))
        else:
            self._say(part)

    def _say(self, octets: bytes) -> None:
        if self._tls is None:
            self._out += octets
        elif octets:
            self._tls.send(octets)
            self._out += self._tls.bio_read(1 << 20)

    def _shake(self, tls: SSL.Connection) -> None:
        tls.bio_write(self._heard)
        self._heard = b""
        try:
            tls.do_handshake()
            self._shaken = True
        except SSL.WantReadError:
            pass
        except SSL.Error:
            self._tls, self._parts = None, []
        try:
            self._out += tls.bio_read(1 << 20)
        except SSL.Error:
            return


def target(octets: bytes) -> None:
    """A server is an outcome with one printable line, in bounded time, after a bounded number of octets."""
    if not octets:
        return
    port = PORTS[octets[0] % len(PORTS)]
    parts = octets[1:].split(SEPARATOR)
    server = Server(parts)

    async def connect(*_: object, **__: object) -> tuple[Server, net.Writer]:
        return server, net.Writer(server.hears)

    endpoint = Endpoint("mail.example.org", "192.0.2.1", port, sni=bool(octets[0] & 0x80))
    with mock.patch("asyncio.open_connection", connect):
        seen = net.run(probe(endpoint, timeout=TIMEOUT), net.Loop(), TIMEOUT + 10)
    assert isinstance(seen, EndpointSighting)
    assert seen.detail.isprintable(), seen.detail
    assert len(seen.detail) < 400
    assert bool(seen.chains) == (seen.outcome is Outcome.PRESENTED)
    if seen.chains:
        assert seen.chains[0].links[0].der == certificate.pki().leaf.certificate.public_bytes(Encoding.DER)


def seeds() -> tuple[bytes, ...]:
    """A sound conversation on each port, and faults that real servers have shown."""
    hello = b"250-mail.example.org\r\n250-SIZE 10\r\n250 STARTTLS\r\n"
    smtp = [b"220 mail.example.org ESMTP\r\n", hello, b"220 go ahead\r\n"]
    imap = [b"* OK ready\r\n", b"* CAPABILITY IMAP4rev1 STARTTLS\r\na OK\r\n", b"b OK begin\r\n"]
    conversations = (
        (0, [*smtp, TLS, b"221 bye\r\n"]),
        (0x80, [*smtp, TLS, b"221-b\r\n221", b" ye\r\n"]),
        (1, [*imap, TLS, b"* BYE\r\nz OK\r\n"]),
        (2, [b"+OK\r\n", b"+OK begin\r\n", TLS, b"+OK bye\r\n"]),
        (3, [TLS, *smtp[:1], b"221 bye\r\n"]),
        (4, [TLS, b"* OK\r\n", b"z OK\r\n"]),
        (5, [TLS, b"+OK\r\n", b"+OK\r\n"]),
        (6, [TLS]),
        (0, [*smtp, b"\x15\x03\x03\x00\x02\x02\x28"]),
        (0, [*smtp[:2], b"454 4.7.0 TLS not available\r\n", b"221 bye\r\n"]),
        (0, [*smtp[:2], smtp[2] + b"250 injected\r\n"]),
        (0, [b"554 no\r\n", SILENCE]),
        (0, [MANY, b"220-"]),
        (1, [MANY, b"* OK\r\n"]),
        (0, [MANY, b"220-and\r\n"]),
        (3, [MANY, b"\x16\x03\x03\x40\x00" + bytes(64)]),
        (1, [b"* PREAUTH\r\n"]),
        (2, [b"-ERR no\r\n"]),
    )
    return tuple(bytes([port]) + SEPARATOR.join(parts) for port, parts in conversations)
