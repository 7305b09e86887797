"""Processes of the lab: each server is one process group, watched until it is really gone."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

Result = TypeVar("Result")


class LabError(Exception):
    """The lab itself does not work as asked; never a finding about the tool."""


class NoAnswer(LabError):
    """A server did not answer, or not with what was asked for: perhaps not yet."""


def wait_for(condition: Callable[[], Result], what: str, seconds: float = 60.0, every: float = 0.02) -> Result:
    """Return the first true result of *condition*, asked every *every* seconds.

    An OSError or NoAnswer of the condition counts as "not yet". Raises LabError, naming *what*, after
    *seconds*.
    """
    deadline = time.monotonic() + seconds
    last: object = None
    while True:
        try:
            result = condition()
            if result:
                return result
            last = result
        except (OSError, NoAnswer) as error:
            last = error
        if time.monotonic() > deadline:
            raise LabError(f"not within {seconds:g} s: {what} (last seen: {last!r})")
        time.sleep(every)


def run(command: Sequence[str | Path], *, stdin: str | None = None, seconds: float = 60.0) -> str:
    """Run a command of the lab's own and return its output. Raises LabError if it fails."""
    done = subprocess.run(
        [str(word) for word in command],
        input=stdin,
        stdin=subprocess.DEVNULL if stdin is None else None,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=seconds,
        check=False,
    )
    if done.returncode != 0:
        words = " ".join(str(word) for word in command)
        raise LabError(f"`{words}` exited {done.returncode}: {done.stdout.strip()}")
    return done.stdout


class Server:
    """A daemon kept in the foreground. Its children share its process group and end with it."""

    name: str
    log: Path

    def __init__(self, name: str, directory: Path) -> None:
        self.name = name
        self.directory = directory
        self.log = directory / "log"
        self._output = directory / "output"
        self._process: subprocess.Popen[bytes] | None = None
        self.elsewhere = False
        """Whether it stands for another machine: then it goes before the tool's processes, where that is permitted."""

    def command(self) -> list[str]:
        """Return the command line that keeps the daemon in the foreground."""
        raise NotImplementedError

    def environment(self) -> dict[str, str] | None:
        """Return the daemon's environment; None for that of the test."""
        return None

    @property
    def running(self) -> bool:
        """Whether the first process of the daemon is alive."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """Process id of the daemon. Raises LabError if it was never started."""
        if self._process is None:
            raise LabError(f"{self.name} was not started")
        return self._process.pid

    def spawn(self) -> None:
        """Start the process and return at once; `start` of the subclasses also waits."""
        if self.running:
            raise LabError(f"{self.name} runs already")
        with self._output.open("ab") as output:
            self._process = subprocess.Popen(
                [*(["nice", "-n", "-10"] if self.elsewhere else []), *self.command()],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=self.directory,
                env=self.environment(),
                start_new_session=True,
            )

    def wait_until(self, condition: Callable[[], Result], what: str, seconds: float = 60) -> Result:
        """Wait for *condition*; fail at once, with the end of the log, if the daemon died."""

        def checked() -> Result:
            if not self.running:
                raise LabError(f"{self.name} ended by itself:\n{self.tail()}")
            return condition()

        return wait_for(checked, f"{self.name}: {what}", seconds)

    def stop(self) -> None:
        """End the daemon in the regular way (SIGTERM), and with force after ten seconds."""
        if self._process is None:
            return
        if self.running:
            self._process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout=30)
        self.kill()

    def kill(self) -> None:
        """End the daemon and its children by SIGKILL; return when none of them is left."""
        if self._process is None:
            return
        group = self._process.pid
        self.signal_group(signal.SIGKILL)
        self._process.wait(timeout=30)
        wait_for(lambda: not _group_exists(group), f"the processes of {self.name} end", 60, 0.005)

    def signal_group(self, number: signal.Signals) -> None:
        """Send a signal to the daemon and its children; none left is no error."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)

    def log_lines(self) -> Iterator[str]:
        """Return what the daemon wrote so far, its standard output first."""
        for path in (self._output, self.log):
            if path.exists():
                yield from path.read_text(errors="replace").splitlines()

    def tail(self, lines: int = 15) -> str:
        """Return the last *lines* lines of the log."""
        return "\n".join(list(self.log_lines())[-lines:])


def _group_exists(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True
