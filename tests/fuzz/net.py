"""A network without a network: an event loop whose time jumps, and peers that say what a target lets them say."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from rollover.core.timing import Instant
from tests.pki import NOW

T = TypeVar("T")
Datagrams = Callable[[bytes, tuple[str, int]], list[bytes | OSError]]


class StuckError(Exception):
    """Nothing is ready, nothing is due: the code under test would wait for ever."""


class _Selector(selectors.SelectSelector):
    """Never waits: it moves the clock instead."""

    now = 1000.0

    def select(self, timeout: float | None = None) -> list[Any]:
        ready = super().select(0)
        if not ready:
            if timeout is None:
                raise StuckError
            self.now += max(timeout, 0.0)
        return ready


class Loop(asyncio.SelectorEventLoop):
    """An event loop with a clock of its own, and datagrams that go to *datagrams*."""

    def __init__(self, datagrams: Datagrams | None = None) -> None:
        self._clock = _Selector()
        self._datagrams = datagrams
        super().__init__(self._clock)
        # What a task raised that nobody waits for comes out of the one that fails; a log of it at the end of
        # the task's life would format a traceback in the middle of anything.
        self.set_exception_handler(lambda *_: None)

    def time(self) -> float:
        return self._clock.now

    async def create_datagram_endpoint(  # type: ignore[override]
        self, factory: Callable[[], Any], *, remote_addr: tuple[str, int]
    ) -> tuple[Any, Any]:
        assert self._datagrams is not None
        protocol = factory()
        return _Datagrams(self, protocol, self._datagrams, remote_addr), protocol


class _Datagrams:
    def __init__(self, loop: Loop, protocol: Any, answer: Datagrams, place: tuple[str, int]) -> None:
        self._loop, self._protocol, self._answer, self._place = loop, protocol, answer, place

    def sendto(self, wire: bytes) -> None:
        for said in self._answer(wire, self._place):
            if isinstance(said, OSError):
                self._loop.call_soon(self._protocol.error_received, said)
            else:
                self._loop.call_soon(self._protocol.datagram_received, said, self._place)

    def close(self) -> None:
        return


class Writer:
    """Our end of a connection: what is written goes to *hears*."""

    def __init__(self, hears: Callable[[bytes], None]) -> None:
        self.write = hears
        self.transport = self

    async def drain(self) -> None:
        return

    def close(self) -> None:
        return

    abort = close

    async def wait_closed(self) -> None:
        return

    def get_extra_info(self, name: str) -> tuple[str, int]:
        return ("192.0.2.9", 40000)


class StillClock:
    """The wall clock of the code under test."""

    def now(self) -> Instant:
        return Instant(NOW, 1000.0, "boot 1")

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


def run(work: Coroutine[Any, Any, T], loop: Loop, longest: float) -> T:
    """Return what *work* returns; raises AssertionError if that took more than *longest* seconds of its time."""
    begin = loop.time()
    try:
        found = loop.run_until_complete(work)
        assert loop.time() - begin < longest, f"{loop.time() - begin:.0f} s"
    finally:
        if left := asyncio.all_tasks(loop):
            for task in left:
                task.cancel()
            loop.run_until_complete(asyncio.wait(left))
        loop.close()
    return found
