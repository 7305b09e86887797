"""A small DNS server inside the test: UDP and TCP on one address, one function to answer."""

from __future__ import annotations

import socket
import socketserver
import struct
import threading
from collections.abc import Callable
from typing import Any, Literal

Transport = Literal["udp", "tcp"]


class Hangup(Exception):
    """Raised by an answering function: close the connection without an answer."""


Respond = Callable[[bytes, Transport], bytes | None]
"""Takes a message and its transport, returns the answer; None is silence."""


class Listener:
    """Hands each message to *respond*, in a thread of its own. Messages are octets, unframed."""

    name = "listener"

    def __init__(self, address: str, respond: Respond, port: int = 53) -> None:
        self.address = address
        self._respond = respond
        self._servers: list[socketserver.BaseServer] = []
        self._port = port
        self._connections: set[socket.socket] = set()

    def start(self) -> None:
        """Listen. Raises OSError when the address is taken."""
        where = (self.address, self._port)
        self._servers = [_Tcp(where, _TcpHandler), _Udp(where, _UdpHandler)]
        for server in self._servers:
            server.listener = self  # type: ignore[attr-defined]
            threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self) -> None:
        """Stop listening and close every connection."""
        for server in self._servers:
            server.shutdown()
            server.server_close()
        self._servers = []
        for connection in list(self._connections):
            # The handler's thread closes it; this wakes it up.
            with_no_error(connection.shutdown, socket.SHUT_RDWR)


def with_no_error(function: Callable[..., object], *arguments: object) -> None:
    """Call *function*; an OSError means that the other side was faster."""
    try:
        function(*arguments)
    except OSError:
        return


def read_frame(connection: socket.socket) -> bytes | None:
    """Return the next message of a DNS-over-TCP connection (RFC 1035 §4.2.2); None at its end."""
    head = _read(connection, 2)
    return None if head is None else _read(connection, struct.unpack("!H", head)[0])


def write_frame(connection: socket.socket, message: bytes) -> None:
    """Send one message with its length."""
    connection.sendall(struct.pack("!H", len(message)) + message)


def _read(connection: socket.socket, size: int) -> bytes | None:
    octets = b""
    while len(octets) < size:
        part = connection.recv(size - len(octets))
        if not part:
            return None
        octets += part
    return octets


class _Quiet:
    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: clients that hang up are part of what is tested."""


class _Tcp(_Quiet, socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True


class _Udp(_Quiet, socketserver.ThreadingUDPServer):
    daemon_threads = True
    max_packet_size = 65535


class _TcpHandler(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        listener: Listener = self.server.listener  # type: ignore[attr-defined]
        connection: socket.socket = self.request
        listener._connections.add(connection)
        try:
            while (message := read_frame(connection)) is not None:
                answer = listener._respond(message, "tcp")
                if answer is not None:
                    write_frame(connection, answer)
        except Hangup:
            return
        finally:
            listener._connections.discard(connection)


class _UdpHandler(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        listener: Listener = self.server.listener  # type: ignore[attr-defined]
        message, plain = self.request
        request: Any = plain
        try:
            answer = listener._respond(message, "udp")
        except Hangup:
            return
        if answer is not None:
            request.sendto(answer, self.client_address)
