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
        self._logged: list[str] = []

    def show(self, scene: Scene) -> None:
        """Print the changes since the Scene before."""
        clock = datetime.fromtimestamp(scene.now, UTC)
        for line in self._changes(scene):
            self._write(f"{clock:%H:%M:%S}  {line}")
        self._last = scene

    def _changes(self, scene: Scene) -> Iterator[str]:
        last = self._last
        if scene.renewal != last.renewal:
            self._logged = []
            yield f"{scene.renewal} of {len(RENEWALS)}: {RENEWALS[scene.renewal - 1]}"
        if (scene.state, scene.doing) != (last.state, last.doing) and scene.state:
            yield f"{scene.state}: {scene.doing}{_until(scene)}"
        before = dict(last.servers)
        for name, serves in scene.servers:
            if before.get(name) != serves:
                yield f"{name} serves the {serves} record"
        if scene.presents != last.presents:
            yield f"Postfix presents the {scene.presents} certificate"
        held = {cache.owner: cache.holds for cache in last.caches}
        for cache in scene.caches:
            if held.get(cache.owner) != cache.holds:
                yield f"{cache.owner}'s cache holds {cache.holds}" + (f", for {cache.ttl} s more" if cache.ttl else "")
        yield from self._mail(scene)
        for line in scene.log:
            if line not in self._logged:
                self._logged.append(line)
                _, kind, text = log_line(line)
                yield f"{scene.log_title}: {kind}: {text}"

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
