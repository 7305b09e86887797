"""`tests/lab/enter .venv/bin/python -m tests.demo [--ascii]`: what ./demo.sh runs after its set-up."""

from __future__ import annotations

import os
import signal
import sys
import time
from types import FrameType

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from tests.lab import Lab, LabError

from . import acts, verdict
from .plain import PlainLines
from .scene import Scene
from .screen import ASCII, FINE, SMALLEST, Glyphs, frame
from .watch import Watcher

INTRODUCTION = """\
The mail server mail.example.test has DANE: DNS holds the hash of its key, as a
TLSA record, and senders deliver only to a server that presents this key. These
servers are real, on loopback addresses that only this demonstration sees:

    3 BIND      primary and secondary of example.test, signed, and its parent
    1 Postfix   receives the mail
    2 Postfix   send {rate} messages a second; smtp_tls_security_level = dane
    3 Unbound   validate: one for each sender, one for rollover
    1 Pebble    the ACME server from which certbot gets its certificates

certbot renews twice: first the usual way, then with rollover. Each time both
senders' resolvers have fetched the old record right before: the worst moment.
"""


class View:
    """A live screen where the terminal can do it, plain lines elsewhere."""

    def __init__(self, glyphs: Glyphs) -> None:
        self.glyphs = glyphs
        self._scene = Scene()
        self.console = Console(highlight=False)
        able = sys.stdout.isatty() and os.environ.get("TERM", "dumb") not in {"dumb", "unknown"}
        big = self.console.width >= SMALLEST[0] and self.console.height >= SMALLEST[1]
        self._live: Live | None = None
        if able and big:
            self._live = Live(console=self.console, screen=True, refresh_per_second=4, get_renderable=self._render)
        else:
            self.console = Console(highlight=False, color_system=None, force_terminal=False, width=100)
        self._plain = PlainLines(lambda line: print(line, flush=True))

    def say(self, *lines: str | Text) -> None:
        """Print lines for good, outside of the live screen."""
        for line in lines:
            self.console.print(line, soft_wrap=True)

    def open(self) -> None:
        """Begin to show."""
        if self._live is not None:
            self._live.start()

    def close(self) -> None:
        """Give the terminal back. Safe to call twice."""
        if self._live is not None:
            self._live.stop()

    def show(self, scene: Scene) -> None:
        """Show *scene* from here on."""
        self._scene = scene
        if self._live is None:
            self._plain.show(scene)

    def _render(self) -> Group:
        width, height = self.console.size
        return Group(*frame(self._scene, width, height, self.glyphs))


def main() -> int:
    """Run the demonstration; return the exit code of the process."""
    begin = time.monotonic()
    view = View(ASCII if "--ascii" in sys.argv[1:] else FINE)

    def interrupted(number: int, where: FrameType | None) -> None:
        view.close()
        os.write(1, b"\ninterrupted; every server has ended, nothing is left behind\n")
        os._exit(130)  # threads and servers need not be waited for: the kernel ends them all

    # A shell without job control hands SIGINT on as ignored.
    signal.signal(signal.SIGINT, interrupted)
    try:
        scene = run(view)
    except (LabError, AssertionError) as error:
        view.close()
        print(f"demo.sh: error: the demonstration could not be carried through: {error}", file=sys.stderr)
        print(
            "demo.sh: hint: on a busy machine try again; ./test.sh tests/servers tells which server fails",
            file=sys.stderr,
        )
        return 70
    view.say("")
    shown = verdict.lines(
        scene, ttl=acts.TTL, per_second=acts.PER_SECOND, width=min(view.console.width, 100), glyphs=view.glyphs
    )
    view.say(*shown, f" It took {minutes(time.monotonic() - begin)}.")
    return verdict.exit_code(*scene.mail)


def minutes(seconds: float) -> str:
    """Return a duration in words."""
    return f"{int(seconds) // 60} min {int(seconds) % 60:02d} s"


def run(view: View) -> Scene:
    """Start the lab, renew twice, end the lab; return the last Scene."""
    view.say(INTRODUCTION.format(rate=acts.PER_SECOND))
    with Lab(ttl=acts.TTL, chain_file=True) as lab:
        view.say(f"==> the servers run, after {lab.started_in:.1f} s")
        view.say("==> certbot obtains a first certificate; Postfix presents it, DNS has its record")
        lab.configure(retain=acts.RETAIN)
        hook = acts.UsualHook(lab)
        acts.obtain(lab, hook)
        view.say("==> mail begins to flow")
        lab.load.start(acts.PER_SECOND)
        watcher = Watcher(lab, view.show)
        time.sleep(2)  # from here on, whole seconds are full
        view.open()
        try:
            watcher.start()
            acts.usual_way(lab, watcher, hook)
            acts.with_rollover(lab, watcher, hook)
            lab.load.stop()
            watcher.stop()
        finally:
            view.close()
    return watcher.scene


if __name__ == "__main__":
    sys.exit(main())
