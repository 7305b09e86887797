"""One connection to a mail server: lines in clear, then lines in TLS; bounded in memory.

Time is bounded by the caller (asyncio.timeout). A server that sends endless lines, or more octets
than any honest one, raises WireError like one that hangs up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Self

from OpenSSL import SSL, crypto

MAX_LINE = 4096  # octets; RFC 5321 §4.5.3.1.5 allows 512, greetings in the wild are longer
MAX_REPLY_LINES = 100
MAX_RECEIVED = 512 * 1024  # octets on one connection; OpenSSL itself refuses a chain of over 100 KiB
CLOSING = 1.0  # seconds for the last octets to leave

# RFC 7671 §3 asks for TLS 1.0 at least, and Postfix still allows it (smtp_tls_mandatory_protocols =
# >=TLSv1); but with OpenSSL 3 its handshakes over TLS 1.0 and 1.1 fail, and the mail is deferred. So
# a server without TLS 1.2 is none that presents its certificate, and is told with the reason.
OLDEST = SSL.TLS1_2_VERSION
TOO_OLD = ("alert protocol version", "unsupported protocol")  # how OpenSSL, there and here, puts it
CIPHERS = {
    "": b"ALL:!aNULL:!eNULL:@SECLEVEL=0",
    "rsa": b"aRSA:!eNULL:@SECLEVEL=0",
    "ecdsa": b"aECDSA:!eNULL:@SECLEVEL=0",
}


class WireError(Exception):
    """The peer hung up, sent nonsense, or too much; the message is one line for an operator."""


class TlsError(WireError):
    """The handshake failed; the message has what the peer or OpenSSL said."""


def words(octets: bytes, limit: int = 200) -> str:
    """Return *octets* from a peer as one printable line of at most *limit* characters."""
    text = "".join(c if c.isprintable() else "?" for c in octets.decode("utf-8", "replace").strip())
    return text if len(text) <= limit else text[: limit - 1] + "…"


def tls_context(algorithm: str) -> SSL.Context:
    """Return a context that accepts any certificate, never resumes, and asks for *algorithm* only.

    With "rsa" or "ecdsa" the handshake is TLS 1.2, whose cipher suites name the kind of key.
    """
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.set_verify(SSL.VERIFY_NONE)
    context.set_min_proto_version(OLDEST)
    if algorithm:
        context.set_max_proto_version(SSL.TLS1_2_VERSION)
    context.set_cipher_list(CIPHERS[algorithm])
    # A resumed session shows the certificate of the session, not the one that is served now.
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    context.set_options(SSL.OP_NO_TICKET)
    return context


def _reason(error: SSL.Error) -> str:
    """Return the last reason of OpenSSL's error queue."""
    for entry in reversed(error.args[0] if error.args and isinstance(error.args[0], list) else []):
        if reason := str(entry[-1]):
            old = any(words in reason for words in TOO_OLD)
            return f"{reason} (nothing later than TLS 1.1 there: senders defer)" if old else reason
    return "the handshake failed"


class Wire:
    """A connection that speaks lines. Make it with Wire.connect()."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._buffer = b""
        self._tls: SSL.Connection | None = None
        self.received = 0  # octets

    @classmethod
    async def connect(cls, address: str, port: int) -> Self:
        """Connect over TCP. Raises OSError."""
        return cls(*await asyncio.open_connection(address, port, limit=MAX_LINE))

    @property
    def address_literal(self) -> str:
        """Our end as an SMTP address literal (RFC 5321 §4.1.3): valid everywhere, needs no DNS."""
        host = str(self._writer.get_extra_info("sockname")[0]).partition("%")[0]
        return f"[IPv6:{host}]" if ":" in host else f"[{host}]"

    async def line(self) -> bytes:
        """Return the next line without its end. Raises WireError."""
        while b"\n" not in self._buffer:
            if len(self._buffer) > MAX_LINE:
                raise WireError(f"sent a line of more than {MAX_LINE} octets: {words(self._buffer, 60)}")
            self._buffer += await self._receive()
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line.rstrip(b"\r")

    async def send(self, line: str) -> None:
        """Send one line; CRLF is added. Raises WireError."""
        octets = line.encode() + b"\r\n"
        if self._tls is None:
            self._writer.write(octets)
        else:
            try:
                self._tls.send(octets)
            except SSL.Error as error:
                raise WireError("TLS was closed") from error
        await self._flush()

    async def start_tls(self, *, server_name: str, algorithm: str) -> Sequence[bytes]:
        """Do one full handshake; return the presented certificates in DER, leaf first.

        Without *server_name* no SNI is sent. Raises TlsError, or WireError if the peer hangs up.
        """
        if self._buffer:
            # RFC 3207 §4.2: what came in clear before the handshake must not count after it.
            raise TlsError(f"sent more after its answer to STARTTLS: {words(self._buffer, 60)}")
        self._tls = SSL.Connection(tls_context(algorithm), None)
        if server_name:
            self._tls.set_tlsext_host_name(server_name.encode("ascii"))
        self._tls.set_connect_state()
        while True:
            try:
                self._tls.do_handshake()
            except SSL.WantReadError:
                await self._flush()
                self._tls.bio_write(await self._receive_raw())
            except SSL.Error as error:
                with suppress(WireError):
                    await self._flush()  # our alert, for the log over there
                raise TlsError(f"TLS handshake failed: {_reason(error)}") from error
            else:
                break
        await self._flush()
        presented = self._tls.get_peer_cert_chain() or []
        return [crypto.dump_certificate(crypto.FILETYPE_ASN1, certificate) for certificate in presented]

    async def close(self) -> None:
        """Close TLS and TCP; never raises, never takes longer than CLOSING seconds."""
        with suppress(SSL.Error, WireError, OSError, TimeoutError):
            async with asyncio.timeout(CLOSING):
                if self._tls is not None:
                    self._tls.shutdown()
                    await self._flush()
        self._writer.close()
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(CLOSING):
                await self._writer.wait_closed()

    async def _receive(self) -> bytes:
        if self._tls is None:
            return await self._receive_raw()
        while True:
            try:
                return self._tls.recv(16384)
            except SSL.WantReadError:
                await self._flush()
                self._tls.bio_write(await self._receive_raw())
            except SSL.Error as error:
                raise WireError("hung up") from error

    async def _receive_raw(self) -> bytes:
        try:
            octets = await self._reader.read(16384)
        except OSError as error:
            raise WireError(f"hung up: {error.strerror or error}") from error
        if not octets:
            raise WireError("hung up")
        self.received += len(octets)
        if self.received > MAX_RECEIVED:
            raise WireError(f"sent more than {MAX_RECEIVED // 1024} KiB")
        return octets

    async def _flush(self) -> None:
        if self._tls is not None:
            with suppress(SSL.WantReadError):
                while True:
                    self._writer.write(self._tls.bio_read(65536))
        try:
            await self._writer.drain()
        except OSError as error:
            raise WireError(f"hung up: {error.strerror or error}") from error
