"""Run a program of the mail server: fixed PATH, C locale, nothing inherited, always with a timeout.

Hooks and cron start us with odd environments (a snap's, MAIL_CONFIG of somebody's shell); a program
that is run as root must not see them.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import BinaryIO

from rollover.mail.errors import MailError

PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
ENVIRONMENT = {"PATH": PATH, "LC_ALL": "C", "HOME": "/root"}
MAX_OUTPUT = 256 * 1024  # octets kept; `postconf -M` of a large site is a tenth of that


@dataclass(frozen=True, slots=True)
class Finished:
    """How a program ended."""

    status: int
    output: str
    errors: str

    @property
    def last_line(self) -> str:
        """The last line that it had to say: on stderr, else on stdout."""
        lines = [line.strip() for line in (self.errors or self.output).splitlines() if line.strip()]
        return lines[-1] if lines else f"exit status {self.status}"


def find_program(name: str) -> str:
    """Return the absolute path of *name* (left alone if it is one). Raises MailError."""
    found = shutil.which(name, path=PATH)
    if found is None:
        raise MailError(f"{name}: no such program in {PATH}", hint=f"install it, or correct the path: `{name}`")
    return found


def run(command: Sequence[str], *, timeout: float = 10.0) -> Finished:
    """Run *command*; after *timeout* seconds it is killed with all that it started.

    Its output goes to a file, not a pipe: a daemon that it starts, and that keeps the descriptor,
    does not hold us. Raises MailError if it is missing, cannot be started, or does not end.
    """
    program = find_program(command[0])
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        try:
            process = subprocess.Popen(
                [program, *command[1:]],
                env=ENVIRONMENT,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=errors,
                start_new_session=True,
                cwd="/",
            )
        except OSError as error:
            raise _not_started(command, error) from error
        try:
            status = process.wait(timeout)
        except subprocess.TimeoutExpired as error:
            raise _too_slow(command, timeout) from error
        finally:
            if process.poll() is None:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        return Finished(status, _tail(output), _tail(errors))


async def run_async(command: Sequence[str], *, timeout: float) -> Finished:
    """Do what run() does while other tasks go on."""
    return await asyncio.to_thread(run, command, timeout=timeout)


def _tail(file: BinaryIO) -> str:
    """Return the last MAX_OUTPUT octets of *file* as text."""
    file.seek(max(0, file.seek(0, os.SEEK_END) - MAX_OUTPUT))
    return file.read(MAX_OUTPUT).decode("utf-8", "replace")


def _too_slow(command: Sequence[str], timeout: float) -> MailError:
    return MailError(
        f"`{' '.join(command)}` did not end within {timeout:g} s and was stopped",
        hint="run it by hand to see what it waits for",
    )


def _not_started(command: Sequence[str], error: OSError) -> MailError:
    return MailError(
        f"`{' '.join(command)}` cannot be started: {os.strerror(error.errno) if error.errno else error}",
        hint="run it by hand as the same user",
    )
