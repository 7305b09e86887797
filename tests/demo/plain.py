"""Plain lines, one for each change: for a log, a pipe, or a terminal that cannot do more."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime

from .scene import Scene, log_line
from .screen import RENEWALS


class PlainLines:
    """Prints what is different from one Scene to the next, with the time (UTC) before it."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write
        self._last = Scene()
        self._logged: set[str] = set()
        self._held: dict[str, str] = {}

    def show(self, scene: Scene) -> None:
        """Print the changes since the Scene before."""
        clock = f"{datetime.fromtimestamp(scene.now, UTC):%H:%M:%S}"
        for line in self._changes(scene):
            self._write(f"{clock}  {line}")
        for line in scene.log:
            if line not in self._logged:
                self._logged.add(line)
                time, kind, text = log_line(line)
                if kind != "phase":  # told already
                    self._write(f"{time or clock}    {kind}: {text}")
        self._last = scene

    def _changes(self, scene: Scene) -> Iterator[str]:
        last = self._last
        begins = scene.renewal != last.renewal
        if begins:
            yield f"{scene.renewal} of {len(RENEWALS)}: {RENEWALS[scene.renewal - 1]}"
        if scene.state and (scene.state, scene.doing) != (last.state, last.doing):
            yield f"{scene.state}: {scene.doing}{_until(scene)}"
        before = dict(last.servers)
        for name, serves in scene.servers:
            if before.get(name) != serves and not begins:  # all is old then
                yield f"{name} serves: {serves}"
        if scene.presents != last.presents and not begins:
            yield f"Postfix presents: {scene.presents}"
        for cache in scene.caches:
            if cache.ttl and self._held.get(cache.owner) != cache.holds:
                self._held[cache.owner] = cache.holds
                if not begins:
                    yield f"{cache.owner}'s resolver holds: {cache.holds}, for {cache.ttl} s more"
        yield from self._mail(scene)

    def _mail(self, scene: Scene) -> Iterator[str]:
        if not scene.renewal:
            return
        mail, last = scene.mail[scene.renewal - 1], self._last.mail[scene.renewal - 1]
        if mail.deferring and not last.deferring:
            yield f"mail is being deferred: {mail.reason}"
        elif last.deferring and not mail.deferring:
            yield f"mail is delivered again; {mail.deferred} of {mail.messages} were deferred"


def _until(scene: Scene) -> str:
    if scene.wait is None:
        return ""
    clock = datetime.fromtimestamp(scene.wait.until, UTC)
    return f" ({scene.wait.until - scene.now:.0f} s, until {clock:%H:%M:%S})"
