"""A mail server that does what a test writes: for what no real server can be brought to do."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Self

from tests.lab import addresses as at


class Peer:
    """One connection, seen from the server."""

    def __init__(self, connection: socket.socket, heard: list[str]) -> None:
        self.connection = connection
        self._heard = heard
        self._buffer = b""
        self.sent = 0

    def say(self, *lines: str | bytes) -> None:
        """Send lines; CRLF is added."""
        for line in lines:
            self.send((line.encode() if isinstance(line, str) else line) + b"\r\n")

    def send(self, octets: bytes) -> None:
        self.connection.sendall(octets)
        self.sent += len(octets)

    def hear(self) -> str:
        """Return the client's next line; "" when it is gone."""
        while b"\n" not in self._buffer:
            octets = self.connection.recv(4096)
            if not octets:
                return ""
            self._buffer += octets
        line, _, self._buffer = self._buffer.partition(b"\n")
        self._heard.append(line.decode().strip())
        return self._heard[-1]

    def wait_for_the_end(self) -> None:
        """Read until the client hangs up."""
        while self.connection.recv(4096):
            pass

    def start_tls(self, directory: Path, *, chain: str = "fullchain.pem") -> None:
        """Do the server's side of a handshake with the lineage in *directory*."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.set_ciphers("DEFAULT:@SECLEVEL=0")
        context.load_cert_chain(directory / chain, directory / "privkey.pem")
        self.connection = context.wrap_socket(self.connection, server_side=True)


Script = Callable[[Peer], None]


class ScriptedServer:
    """Runs *script* for each connection to *address* and *port*; use it as a context manager.

    *heard*: every line of every client. *peers*: the connections, in their order.
    """

    def __init__(self, script: Script, port: int = 25, address: str = at.SPARE[0]) -> None:
        self._script = script
        self.heard: list[str] = []
        self.peers: list[Peer] = []
        self.address, self.port = address, port
        self._socket = socket.create_server((address, port))
        self._threads = [threading.Thread(target=self._accept, daemon=True)]

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        for peer in self.peers:
            with contextlib.suppress(OSError):
                peer.connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(timeout=10)
        assert not any(thread.is_alive() for thread in self._threads)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            peer = Peer(connection, self.heard)
            self.peers.append(peer)
            thread = threading.Thread(target=self._serve, args=(peer,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, peer: Peer) -> None:
        with contextlib.suppress(OSError):
            self._script(peer)
        with contextlib.suppress(OSError):
            peer.connection.close()
