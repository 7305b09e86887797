"""What the senders saw, read from their logs: the only proof that counts."""

from __future__ import annotations

import re
import threading
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

_STAMP = re.compile(r"^(?P<when>\w{3} [ \d]\d \d\d:\d\d:\d\d) \S+ postfix\S*/(?P<daemon>\S+)\[\d+\]: ")
_TLS = re.compile(r"(?P<trust>\w+) TLS connection established to ")
_ARRIVAL = re.compile(r"\w+: client=")
_OUTCOME = re.compile(r"(?P<id>\w+): to=<[^>]*>, .*status=(?P<status>\w+) \((?P<reason>.*)\)$")


@dataclass(frozen=True)
class Event:
    """One line of a sender's log that matters. *second* is Unix time; logs resolve no finer."""

    second: int
    sender: str
    kind: str
    """sent, deferred, bounced…, or the trust of a TLS connection: Verified, Untrusted…"""
    queue_id: str
    text: str


@dataclass(frozen=True)
class Mark:
    """An instant in the logs: how many events had been read, and the second it was."""

    position: int
    second: int


class Counts:
    """Counts over a span of the logs."""

    def __init__(self, events: Sequence[Event]) -> None:
        self._span = events

    @property
    def events(self) -> Sequence[Event]:
        """The events of the span, in the order in which they were read."""
        return self._span

    def _of(self, *kinds: str) -> int:
        return sum(event.kind in kinds for event in self.events)

    @property
    def sent(self) -> int:
        """Messages delivered."""
        return self._of("sent")

    @property
    def deferred(self) -> int:
        """Messages put off: each would have to wait for the sender's next attempt."""
        return self._of("deferred")

    @property
    def bounced(self) -> int:
        """Messages given up."""
        return self._of("bounced", "expired", "undeliverable")

    @property
    def messages(self) -> int:
        """Messages with an outcome."""
        return sum(bool(event.queue_id) for event in self.events)

    @property
    def verified(self) -> int:
        """TLS connections in which the MX was authenticated by DANE."""
        return self._of("Verified")

    @property
    def other(self) -> int:
        """TLS connections in which it was not (Trusted, Untrusted, Anonymous)."""
        return self._of("Trusted", "Untrusted", "Anonymous")

    @property
    def reasons(self) -> Counter[str]:
        """Why messages were deferred or bounced."""
        return Counter(event.text for event in self.events if event.queue_id and event.kind != "sent")

    def per_second(self) -> dict[int, int]:
        """Messages with an outcome in each second that has one (Unix time → count)."""
        return dict(sorted(Counter(e.second for e in self.events if e.queue_id).items()))

    def __str__(self) -> str:
        return (
            f"{self.messages} messages: {self.sent} sent, {self.deferred} deferred, "
            f"{self.bounced} bounced; connections: {self.verified} Verified, {self.other} other"
        )


class MailLog(Counts):
    """The logs of all senders, read on as they grow. Itself the counts since the lab's start."""

    def __init__(self, logs: dict[str, Path]) -> None:
        super().__init__(())
        self._logs = logs
        self._offsets = dict.fromkeys(logs, 0)
        self._events: list[Event] = []
        self._arrivals: Counter[int] = Counter()
        # A live view may read while a test does.
        self._lock = threading.Lock()

    @property
    def events(self) -> Sequence[Event]:
        """Every event so far, in the order in which it was read; a sender's own in its order."""
        with self._lock:
            self._read_on()
            return tuple(self._events)

    def arrivals(self) -> Counter[int]:
        """Return the messages that the senders took in, by the whole second (Unix time) in which they did.

        That is the load, told by the senders' smtpd (`client=`): what the MX does later, a reload or
        a slow handshake, moves outcomes from one second to the next, but no arrival.
        """
        with self._lock:
            self._read_on()
            return self._arrivals.copy()

    def _read_on(self) -> None:
        for sender, path in self._logs.items():
            if path.exists():
                self._events += self._read(sender, path)

    def _read(self, sender: str, path: Path) -> Iterable[Event]:
        with path.open("rb") as file:
            file.seek(self._offsets[sender])
            grown = file.read()
        whole = grown[: grown.rfind(b"\n") + 1]
        self._offsets[sender] += len(whole)
        for line in whole.decode(errors="replace").splitlines():
            if (stamp := _STAMP.match(line)) is None:
                continue
            rest = line[stamp.end() :]
            if stamp["daemon"] == "smtpd" and _ARRIVAL.match(rest):
                self._arrivals[_second(stamp["when"])] += 1
            elif (event := _parse(sender, stamp["when"], rest)) is not None:
                yield event

    def mark(self) -> Mark:
        """Return the present instant, for `since`, `between` and the minima of a second."""
        return Mark(len(self.events), int(time.clock_gettime(time.CLOCK_REALTIME)))

    def since(self, mark: Mark) -> Counts:
        """Return the counts of what was logged after *mark*."""
        return Counts(self.events[mark.position :])

    def between(self, since: Mark, until: Mark) -> Counts:
        """Return the counts of what was logged after *since* and before *until*."""
        return Counts(self.events[since.position : until.position])

    def minimum_arrivals(self, since: Mark, until: Mark) -> int:
        """Return the least number of arrivals in any whole second between two marks.

        A second without any counts as 0. The seconds of the marks themselves are left out: they are
        not whole. Raises ValueError if no whole second lies between.
        """
        counts = self.arrivals()
        seconds = range(since.second + 1, until.second)
        if not seconds:
            raise ValueError("no whole second between the two marks")
        return min(counts[second] for second in seconds)

    def minimum_per_second(self, since: Mark, until: Mark, *, over: int = 1) -> float:
        """Return the least number of outcomes a second, in any *over* adjacent whole seconds between two marks.

        A second without any counts as 0. The seconds of the marks themselves are left out: they
        are not whole. Raises ValueError if too few whole seconds lie between. A reload of Postfix
        alone can move what one second misses into the next (seen without the tool): *over* 3 bears it.
        """
        counts = Counts(self.events).per_second()
        firsts = range(since.second + 1, until.second - over + 1)
        if not firsts:
            raise ValueError("too few whole seconds between the two marks")
        return min(sum(counts.get(first + n, 0) for n in range(over)) / over for first in firsts)

    def outcomes(self) -> set[str]:
        """Return the queue ids of the messages that have had an outcome."""
        return {event.queue_id for event in self.events if event.queue_id}


def _parse(sender: str, when: str, rest: str) -> Event | None:
    if (tls := _TLS.match(rest)) is not None:
        kind, queue_id, text = tls["trust"], "", rest
    elif (outcome := _OUTCOME.match(rest)) is not None:
        kind, queue_id, text = outcome["status"], outcome["id"], outcome["reason"]
    else:
        return None
    return Event(_second(when), sender, kind, queue_id, text)


def _second(when: str) -> int:
    """Return the Unix time of a log stamp, which has no year: this one, or the one before."""
    now = time.localtime()
    stamp = time.strptime(f"{now.tm_year} {when}", "%Y %b %d %H:%M:%S")
    if stamp.tm_mon > now.tm_mon:
        stamp = time.strptime(f"{now.tm_year - 1} {when}", "%Y %b %d %H:%M:%S")
    return int(time.mktime(stamp))
