"""A DNS proxy in front of the primary that loses updates, or the answers to them, or lets them arrive late."""

from __future__ import annotations

import socket
import threading
from typing import Literal

import dns.message
import dns.opcode
import dns.rcode

from . import addresses as at
from .listener import Hangup, Listener, Transport, read_frame, write_frame

Loss = Literal["silence", "hangup"]


class UpdateProxy(Listener):
    """Passes everything to the primary as it is, but for the UPDATEs that a test wants lost.

    Point the tool at it: `lab.configure(primary=lab.update_proxy.address)`.
    """

    name = "update-proxy"

    def __init__(self, address: str = at.PROXY, upstream: str = at.PRIMARY) -> None:
        super().__init__(address, self._pass_on)
        self._upstream = upstream
        self._lock = threading.Lock()
        self._answers_to_lose = 0
        self._requests_to_lose = 0
        self._loss: Loss = "silence"
        self._holds = False
        self._held: list[bytes] = []
        self.updates = 0
        """UPDATE messages that arrived here."""
        self.lost_answers = 0
        """Updates that the primary answered, and the client never heard of."""
        self.lost_requests = 0
        """Updates that never reached the primary."""

    def lose_answers(self, count: int = 1, loss: Loss = "silence") -> None:
        """Lose the answers to the next *count* updates, after the primary has dealt with them.

        loss: "silence" until the client gives up, or "hangup": the connection closes.
        """
        with self._lock:
            self._answers_to_lose, self._loss = count, loss

    def lose_requests(self, count: int = 1, loss: Loss = "silence") -> None:
        """Lose the next *count* updates before they reach the primary."""
        with self._lock:
            self._requests_to_lose, self._loss = count, loss

    def hold_request(self) -> None:
        """Keep the next update back until `deliver_held`; its client hears nothing, and gives up."""
        with self._lock:
            self._holds = True

    @property
    def holds(self) -> int:
        """How many updates are kept back."""
        return len(self._held)

    def deliver_held(self) -> str:
        """Let the update that was kept back arrive at the primary; return the response code that nobody hears."""
        with self._lock:
            message = self._held.pop()
        answer = self._ask(message, "tcp")
        assert answer is not None, "the primary hung up"
        return dns.rcode.to_text(dns.message.from_wire(answer, keyring=False).rcode())

    def _pass_on(self, message: bytes, transport: Transport) -> bytes | None:
        if _is_update(message) and self._kept_back(message):
            return None
        lose_request, lose_answer = self._fate() if _is_update(message) else (False, False)
        if lose_request:
            self._lose()
            return None
        answer = self._ask(message, transport)
        if lose_answer:
            with self._lock:
                self.lost_answers += 1
            self._lose()
            return None
        return answer

    def _kept_back(self, message: bytes) -> bool:
        with self._lock:
            holds, self._holds = self._holds, False
            if holds:
                self.updates += 1
                self._held.append(message)
            return holds

    def _fate(self) -> tuple[bool, bool]:
        """Return whether the next update, and whether its answer, is to be lost."""
        with self._lock:
            self.updates += 1
            if self._requests_to_lose:
                self._requests_to_lose -= 1
                self.lost_requests += 1
                return True, False
            if self._answers_to_lose:
                self._answers_to_lose -= 1
                return False, True
            return False, False

    def _lose(self) -> None:
        if self._loss == "hangup":
            raise Hangup

    def _ask(self, message: bytes, transport: Transport) -> bytes | None:
        kind = socket.SOCK_STREAM if transport == "tcp" else socket.SOCK_DGRAM
        with socket.socket(socket.AF_INET, kind) as upstream:
            upstream.settimeout(5)
            try:
                upstream.connect((self._upstream, 53))
                if transport == "udp":
                    upstream.send(message)
                    return upstream.recv(65535)
                write_frame(upstream, message)
                return read_frame(upstream)
            except OSError as error:
                # As the primary would: no answer over UDP, a closed connection over TCP.
                raise Hangup from error


def _is_update(message: bytes) -> bool:
    """Whether the opcode of the header is UPDATE (RFC 2136 §2.2)."""
    return len(message) > 3 and (message[2] >> 3) & 0x0F == dns.opcode.UPDATE
