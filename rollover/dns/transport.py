"""One exchange with one address: UDP with TCP after truncation, or TCP; bounded by a deadline.

Deadlines are instants of the event loop's own clock, which no administrator moves.
"""

from __future__ import annotations

import asyncio
import errno
import struct
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Self

from rollover.clock import Clock
from rollover.dns.errors import NoAnswer
from rollover.dns.message import Answer, NotOurs, Request, read

WAITING = 64  # datagrams that may wait to be read: a flood must not fill our memory
RESEND_AFTER = 0.8  # seconds, doubled each time: one lost datagram must not make a server "dead"


def in_seconds(seconds: float) -> float:
    """Return the deadline *seconds* from now."""
    return asyncio.get_running_loop().time() + seconds


def _os_problem(error: OSError) -> str:
    if isinstance(error, ConnectionRefusedError):
        return "connection refused"
    if isinstance(error, ConnectionError):
        return "connection lost"
    if error.errno in {errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT}:
        return "no route to it from this host"
    return error.strerror or type(error).__name__


async def ask(request: Request, address: str, port: int, deadline: float, clock: Clock) -> Answer:
    """Return the answer over UDP, or over TCP when that was truncated (RFC 7766 §5).

    Raises NoAnswer.
    """
    answer = await over_udp(request, address, port, deadline, clock)
    if answer.truncated:
        return await over_tcp(request, address, port, deadline, clock)
    return answer


class _Mailbox(asyncio.DatagramProtocol):
    """Datagrams and errors of one connected UDP socket, in order."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[bytes | OSError] = asyncio.Queue(WAITING)

    def datagram_received(self, data: bytes, addr: object) -> None:
        self._put(data)

    def error_received(self, exc: Exception) -> None:
        self._put(exc if isinstance(exc, OSError) else OSError(str(exc)))

    def _put(self, arrived: bytes | OSError) -> None:
        with suppress(asyncio.QueueFull):  # a flood: what is beyond is lost, as any datagram may be
            self.queue.put_nowait(arrived)


async def over_udp(request: Request, address: str, port: int, deadline: float, clock: Clock) -> Answer:
    """Return the answer over UDP, asking again while none comes. Raises NoAnswer.

    Datagrams that answer something else are passed over: anybody can send one (RFC 5452 §9).
    """
    loop = asyncio.get_running_loop()
    passed_over = ""
    interval = RESEND_AFTER
    transport = None
    try:
        async with asyncio.timeout_at(deadline):
            transport, mailbox = await loop.create_datagram_endpoint(_Mailbox, remote_addr=(address, port))
            while True:
                transport.sendto(request.wire)
                try:
                    async with asyncio.timeout(interval):
                        while True:
                            arrived = await mailbox.queue.get()
                            if isinstance(arrived, OSError):
                                raise NoAnswer(_os_problem(arrived))
                            try:
                                return read(arrived, request, clock.now().wall)
                            except NotOurs as stray:
                                passed_over = stray.problem
                except TimeoutError:
                    interval *= 2
    except TimeoutError:
        raise NoAnswer(passed_over or "no answer in time") from None
    except OSError as error:
        raise NoAnswer(_os_problem(error), sent=False) from None
    finally:
        if transport is not None:
            transport.close()


async def over_tcp(request: Request, address: str, port: int, deadline: float, clock: Clock) -> Answer:
    """Return the answer over a TCP connection of its own. Raises NoAnswer."""
    async with Connection(address, port, deadline, clock) as connection:
        return await connection.ask(lambda: request)


class Connection:
    """One TCP connection for some questions, one after the other. Entering raises NoAnswer."""

    def __init__(self, address: str, port: int, deadline: float, clock: Clock) -> None:
        self._place = (address, port)
        self._deadline = deadline
        self._clock = clock

    async def __aenter__(self) -> Self:
        try:
            async with asyncio.timeout_at(self._deadline):
                self._reader, self._writer = await asyncio.open_connection(*self._place)
        except TimeoutError:
            raise NoAnswer("no connection in time", sent=False) from None
        except OSError as error:
            raise NoAnswer(_os_problem(error), sent=False) from None
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writer.transport.abort()

    async def ask(self, make: Callable[[], Request]) -> Answer:
        """Return the answer to the request that *make* makes (and signs) now. Raises NoAnswer."""
        request = make()
        try:
            async with asyncio.timeout_at(self._deadline):
                self._writer.write(struct.pack("!H", len(request.wire)) + request.wire)
                await self._writer.drain()
                (length,) = struct.unpack("!H", await self._reader.readexactly(2))
                wire = await self._reader.readexactly(length)
        except TimeoutError:
            raise NoAnswer("no answer in time") from None
        except asyncio.IncompleteReadError:
            raise NoAnswer("connection closed without an answer") from None
        except OSError as error:
            raise NoAnswer(_os_problem(error)) from None
        answer = read(wire, request, self._clock.now().wall)
        if answer.truncated:
            raise NoAnswer("truncated even over TCP")
        return answer
