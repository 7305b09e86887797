"""Mail in a steady flow, and the caches that it meets: what was lost, and whether the moment was the worst one."""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import Self

from tests.lab import Lab, wait_for
from tests.lab import addresses as at
from tests.lab.bind import Bind
from tests.lab.lab import SendingHost
from tests.lab.maillog import Counts, Mark
from tests.lab.unbound import Resolver

LEAST = 5  # messages that arrive at the senders in every whole second
THIN_ONCE_IN = 600  # no test of the sample takes so many seconds
BEAT = 0.1
HELD_UP = 0.2  # seconds within two
CATCH_UP = 4  # times as long as a machine stood still, until the messages of that time are there
LOOK = 0.02


class Heartbeat:
    """A thread that does nothing but wake up: how late it was tells how late the load generator may have been."""

    def __init__(self) -> None:
        self.late: Counter[int] = Counter()
        """For how long it was held up, in seconds, by the whole second of Unix time in which it should have woken."""
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _beat(self) -> None:
        while not self._over.is_set():
            begin, wall = time.monotonic(), time.clock_gettime(time.CLOCK_REALTIME)
            self._over.wait(BEAT)
            late = time.monotonic() - begin - BEAT
            self.late[int(wall + BEAT)] += late


@contextmanager
def _in_front() -> Iterator[None]:
    """Let threads that are started within the block go before the tool's processes, where that is permitted."""
    thread = threading.get_native_id()
    nice = os.getpriority(os.PRIO_PROCESS, thread)
    with suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, thread, nice - 10)
    try:
        yield
    finally:
        os.setpriority(os.PRIO_PROCESS, thread, nice)


@contextmanager
def steady_mail(lab: Lab, per_second: float = 8, *, least: int = LEAST) -> Iterator[Callable[[], Counts]]:
    """Keep mail flowing within the block; yields what returns the counts since it began.

    In every whole second of the block at least *least* messages arrive at the senders, else it fails; in a
    block that goes on for long (`./test.sh --all`) one second in THIN_ONCE_IN may have less. After the block every
    message has an outcome: count then.
    """
    begin = lab.mail.mark()  # nothing is in flight: every connection that is counted has its message
    with ExitStack() as running:
        with _in_front():
            heart = running.enter_context(Heartbeat())
            lab.load.start(per_second)
        try:
            time.sleep(1.0)  # from here on whole seconds are full
            full = lab.mail.mark()
            yield lambda: lab.mail.since(begin)
            end = lab.mail.mark()
        finally:
            lab.load.abandon()
    lab.load.stop()  # every message has an outcome
    _never_thin(lab, full, end, heart, least)


def _never_thin(lab: Lab, since: Mark, until: Mark, heart: Heartbeat, least: int) -> None:
    seconds = range(since.second + 1, until.second)
    found = thin(lab.mail.arrivals(), seconds, heart.late, least)
    assert len(found) <= len(seconds) // THIN_ONCE_IN, (
        f"less than {least} messages a second arrived at the senders: {'; '.join(found)}"
    )


def thin(arrived: Mapping[int, int], seconds: range, late: Mapping[int, float], least: int) -> list[str]:
    """Return where fewer than *least* messages arrived in a whole second, in words.

    arrived: how many in which second. late: for how long this machine kept a sleeper there from waking, in
    seconds. Where it stood still, which is nobody's fault, it is so many a second from there to when the
    generator, which keeps to its timetable, has caught up.
    """
    found = []
    begin = seconds.start
    while begin in seconds:
        end, many, held_up = begin, arrived.get(begin, 0), late.get(begin - 1, 0.0) + late.get(begin, 0.0)
        while many < least * (end - begin + 1) and held_up > HELD_UP and end < begin + CATCH_UP * held_up:
            end += 1
            many += arrived.get(end, 0)
            held_up += late.get(end, 0.0)
        if many < least * (end - begin + 1) and (end in seconds or held_up <= HELD_UP):
            found.append(
                f"{many} in {end - begin + 1} s from {begin} on, where this machine was late by {held_up:.1f} s"
            )
        begin = end + 1
    return found


def nothing_deferred(lab: Lab, mail: Counts | None = None) -> None:
    """Assert that all mail since the lab's start, or *mail*, arrived, every connection authenticated by DANE.

    To be called when no load is running. A sender makes one connection for each message.
    """
    assert not lab.load.running, "counted too early: mail is in flight"
    assert not lab.load.injected - lab.mail.outcomes(), "every message has an outcome"
    mail = lab.mail if mail is None else mail
    assert (mail.deferred, mail.bounced, mail.other) == (0, 0, 0), f"{mail}\n{mail.reasons}\n{_lines(lab, mail)}"
    assert mail.verified >= mail.sent > 0, mail


def _lines(lab: Lab, mail: Counts) -> str:
    """Return all that the senders' logs have of the messages that were not sent: their delays tell where time went."""
    ids = {event.queue_id for event in mail.events if event.queue_id and event.kind != "sent"}
    logs = [line for sender in lab.senders for line in sender.postfix.log_lines()]
    return "\n".join(line for line in logs if any(queue_id in line for queue_id in ids))


# ------------------------------------------------------------------------------------------- caches


def fill_caches(lab: Lab, owner: str = at.OWNER, target: str = "") -> list[tuple[str, ...]]:
    """Let every sender's resolver hold the RRset as it is now: the worst moment to change it.

    *target*: where the records are, if *owner* is a CNAME. Returns the records that each of them holds.
    """
    held = []
    for sender in lab.senders:
        sender.resolver.fill(owner)
        held.append(sender.resolver.cached(target or owner).records)
        assert held[-1], f"{sender.resolver.name} does not hold {target or owner}"
    return held


@contextmanager
def at_the_worst_moment(
    lab: Lab,
    owner: str = at.OWNER,
    *,
    target: str = "",
    server: Bind | None = None,
    senders: Sequence[SendingHost] = (),
) -> Iterator[None]:
    """Keep the senders' caches filled, out of phase; assert that they hold the old RRset when the block changes it.

    *target*: where the records are, if *owner* is a CNAME. *server*: whose change counts, the primary's by
    default. *senders*: whose caches; all by default. Until the change each is filled anew every half TTL.
    """
    place, watched = target or owner, server or lab.primary
    old = watched.tlsa(place).records
    caches = [_Cache(host.resolver, owner, place, old) for host in senders or lab.senders]
    for number, cache in enumerate(caches, 1):
        cache.fill(number / len(caches))
    held: list[tuple[str, ...]] = []
    second = [0]  # in which it changed
    over = threading.Event()
    heart = Heartbeat()

    def watch() -> None:
        while not over.is_set():
            if watched.tlsa(place).records != old:
                now, second[0] = time.monotonic(), int(time.time())
                held.extend([cache.held(now) for cache in caches])
                return
            for cache in caches:
                if time.monotonic() > cache.due:
                    cache.fill()
            over.wait(LOOK)

    watcher = threading.Thread(target=watch, name="worst-moment", daemon=True)
    with heart:
        watcher.start()
        try:
            yield
            wait_for(lambda: held, f"{watched.name} shows another RRset of {place} than {old}")
        finally:
            over.set()
            watcher.join()
    if held != [old] * len(caches):
        # Held for a TTL, filled anew every half of it: only a machine that stood still for the rest lets one expire.
        late = sum(late for when, late in heart.late.items() if second[0] - lab.ttl <= when <= second[0])
        assert late > HELD_UP, f"a cache did not hold the old RRset when it was changed: {held}, late by {late:.1f} s"


class _Cache:
    """What one sender's resolver is sure to hold, and until when (monotonic seconds)."""

    def __init__(self, resolver: Resolver, owner: str, place: str, old: tuple[str, ...]) -> None:
        self.resolver, self.owner, self.place, self.old = resolver, owner, place, old
        self.due = self.until = 0.0

    def fill(self, share: float = 1.0) -> None:
        """Let it hold the RRset for a TTL; the next time is due after *share* of half of that."""
        begin = time.monotonic()
        got = self.resolver.fill(self.owner).rrset
        self.due = begin + max(got.ttl, 1) / 2 * share
        if got.records == self.old:
            self.until = begin + got.ttl
        # Else the change came between forgetting and asking: it held the old RRset up to that very moment.

    def held(self, now: float) -> tuple[str, ...]:
        """Return what it held at *now*, a moment ago."""
        found = self.resolver.cached(self.place).records
        return self.old if now < self.until else found
