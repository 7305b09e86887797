"""Mail servers of the simulated world: a live file, and processes that read it once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field


@dataclass
class Place:
    """One address and port: what new processes present, and old ones that are still there until some instant."""

    host: str
    address: str
    port: int
    shows: str
    lingering: dict[str, float] = field(default_factory=dict)
    reached: bool = True
    deaf: bool = False
    met: str = ""  # what the tool saw it present, when it could last reach it
    ignored: int = 0  # reloads in a row that it did not hear
    shown_since: float = 0.0  # since when it presents what it does


@dataclass
class MailHost:
    """The mail server of one service. *live*: the certificate in its live file, by name."""

    live: str
    places: list[Place]
    now: Callable[[], float]
    linger: float = 0.0
    written: int = 0
    by_tool: bool = True  # the tool brought what is in the live file, nobody else had put it there before
    written_at: float = 0.0  # when the live file was
    theirs: bool = False  # somebody else wrote it, and nothing has read it since
    had: set[str] = field(default_factory=set)  # what was in the live file
    broken: set[str] = field(default_factory=set)

    def reload(self) -> None:
        """Let new processes read the file; old ones go on for a while. Who is deaf hears the next reload."""
        for place in self.places:
            place.ignored = place.ignored + 1 if place.deaf else 0
            if not place.deaf:
                self._leave(place)
                self._show(place)
            place.deaf = False

    def restart(self) -> None:
        """All processes are new."""
        self.theirs = False
        for place in self.places:
            self._show(place)
            place.deaf, place.ignored = False, 0
            place.lingering.clear()

    def _show(self, place: Place) -> None:
        if place.shows != self.live:
            place.shows, place.shown_since = self.live, self.now()

    def _leave(self, place: Place) -> None:
        if place.shows != self.live and self.linger:
            place.lingering[place.shows] = self.now() + self.linger

    def write(self, name: str, *, by_tool: bool = False) -> None:
        """Write the live file."""
        # Where somebody else broke TLS before, what comes then finds it so, and is not to blame for it.
        broken = {self.live, *(place.shows for place in self.places)} & self.broken
        self.theirs = not by_tool or (self.theirs and name == self.live)
        self.by_tool = by_tool and (self.by_tool or (name != self.live and not broken))
        self.had |= {self.live, name}
        self.written_at = self.now()
        self.live, self.written = name, self.written + 1

    def shown_at(self, place: Place) -> Iterator[str]:
        """Yield what processes at *place* present now."""
        yield place.shows
        yield from (name for name, until in place.lingering.items() if until > self.now())

    def hidden(self, name: str) -> bool:
        """Tell whether a certificate that never was this server's is presented only where the tool cannot have seen it."""
        at = [place for place in self.places if name in self.shown_at(place)]
        return name not in self.had | {self.live} and all(not it.reached and it.met != name for it in at)

    def presentable(self, host: str) -> set[str]:
        """Return every certificate that may be presented for *host*, now or after a restart."""
        shown = {self.live}
        for place in self.places:
            if place.host == host:
                shown.add(place.shows)
                if place.lingering:
                    shown.update(self.shown_at(place))
        return shown - self.broken
