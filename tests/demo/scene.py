"""What can be seen at one instant: the only thing that `screen` and `plain` know of."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

_STAMPED = re.compile(r"^\d{4}-\d\d-\d\dT(?P<time>\d\d:\d\d:\d\d)Z (?P<kind>\S+) +(?P<text>.*)$")
_HASH = re.compile(r"\b([0-9a-f]{8})[0-9a-f]{8,}\b")


@dataclass(frozen=True)
class Mail:
    """What the senders logged of one renewal.

    seconds: for each second since its start, how many messages were delivered and how many deferred.
    """

    delivered: int = 0
    deferred: int = 0
    verified: int = 0
    other: int = 0
    seconds: tuple[tuple[int, int], ...] = ()
    reason: str = ""

    @property
    def messages(self) -> int:
        """Messages with an outcome."""
        return self.delivered + self.deferred

    @property
    def bad_seconds(self) -> int:
        """In how many seconds a message was deferred."""
        return sum(1 for _, deferred in self.seconds if deferred)

    @property
    def deferring(self) -> bool:
        """Whether mail is being deferred now, or was a second ago."""
        return any(deferred for _, deferred in self.seconds[-2:])


@dataclass(frozen=True)
class Cache:
    """What a sender's resolver holds ("old", "old + new", "nothing"), and for how many seconds yet."""

    owner: str
    holds: str
    ttl: int


@dataclass(frozen=True)
class Wait:
    """A wait with a known end, in Unix seconds."""

    since: float
    until: float


@dataclass(frozen=True)
class Scene:
    """One look at everything. Records are named "old" and "new" as seen by the renewal under way."""

    renewal: int = 0
    """0 before the first, 1 the usual way, 2 with rollover."""
    elapsed: float = 0.0
    now: float = 0.0
    state: str = ""
    """One word for what goes on; with rollover its own, as `rollover status` tells it."""
    doing: str = ""
    wait: Wait | None = None
    servers: tuple[tuple[str, str], ...] = ()
    presents: str = ""
    caches: tuple[Cache, ...] = ()
    mail: tuple[Mail, ...] = field(default=(Mail(), Mail()))
    """Of the first and the second renewal."""
    log_title: str = ""
    log: tuple[str, ...] = ()


def log_line(line: str) -> tuple[str, str, str]:
    """Return time, kind and text of a line of `rollover history`, its long hashes cut short."""
    match = _STAMPED.match(line)
    if match is None:
        return "", "", shorten(line.strip())
    return match["time"], match["kind"], shorten(match["text"])


def shorten(text: str) -> str:
    """Cut hexadecimal numbers to their first eight digits."""
    return _HASH.sub(r"\1..", text)


def duration(seconds: float) -> str:
    """Return minutes and seconds, such as 1:05."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"
