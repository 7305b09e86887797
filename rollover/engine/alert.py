"""[alert]: one JSON problem on stdin of a command, when a level changes, on recovery, and again while critical.

What was told is noted only when the command has taken it: a page that was lost is tried again at the next
tick. No other lock is held meanwhile, so a pager that hangs does not hold up a rollover.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from datetime import datetime

from rollover.core.errors import Busy, CannotWrite, PermissionsError, RolloverError
from rollover.core.problems import Level
from rollover.core.report import Report
from rollover.core.steps import Phase
from rollover.core.timing import parse_stamp, stamp
from rollover.engine.host import Host
from rollover.engine.status import run_directory
from rollover.state.lock import locked

TIMEOUT = 10.0  # seconds


async def raise_alerts(host: Host, told: Sequence[Report]) -> None:
    """Run the command for each report that has something new to tell. A failure of it never raises."""
    told = [it for it in told if it.phase is not Phase.UNADOPTED and _due(host, it)]
    if not told:
        return
    async with AsyncExitStack() as stack:
        try:
            # Without its place below /run, or where somebody else could hold it: twice is better than never.
            with suppress(OSError, CannotWrite, PermissionsError), run_directory(host) as held:
                lock = locked(host.run_directory / "alert.lock", host.clock, patience=0.0, directory=held)
                await stack.enter_async_context(lock)
        except Busy:
            return  # another run is telling; what it has not told, the next tick tells
        for it in told:
            if _due(host, it) and not _tell(host, it):
                return  # it is out of order: one try a tick is enough


def _due(host: Host, told: Report) -> bool:
    settings = host.config.alert
    if not settings.command:
        return False
    last = None
    with suppress(RolloverError):
        last = host.store.note(f"alerted:{told.name}")
    if last is None:
        return told.level is not Level.OK
    level, _, at = last.partition(" ")
    if level != str(told.level):
        return True
    age = (host.clock.now().wall - parse_stamp(at)).total_seconds()
    return told.level is Level.CRITICAL and age >= settings.repeat


def _tell(host: Host, told: Report) -> bool:
    """Run the command, and note that it was told if it exits 0; return whether it did."""
    command, now = host.config.alert.command, host.clock.now().wall
    failure = _run(command, json.dumps(_message(told, now)) + "\n")
    with suppress(RolloverError):  # a state that cannot be written must not stop a rollover
        if failure:
            host.store.event_once(told.name, "alert-failed", f"{command[0]}: {failure}", now)
        else:
            host.store.note(f"alerted:{told.name}", f"{told.level} {now.isoformat()}")
    return not failure


def _run(command: Sequence[str], message: str) -> str:
    """Run *command* with *message* on its stdin; return why it failed, empty if it exited 0."""
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,
        )
    except OSError as error:
        return error.strerror or str(error)
    with process:
        said = ""
        try:
            _, said = process.communicate(message, TIMEOUT)
        except subprocess.TimeoutExpired:
            if process.poll() is None:  # else only something that it left behind holds the pipe
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                return f"did not end within {TIMEOUT:g} s"
        return f"exit {process.returncode}: {said.strip()[-200:]}" if process.returncode else ""


def _message(told: Report, now: datetime) -> dict[str, object]:
    common: dict[str, object] = {
        "service": told.name,
        "hosts": list(told.hosts),
        "level": str(told.level),
        "time": stamp(now),
    }
    found = [d for d in told.problems if d.problem.level is told.level and told.level is not Level.OK]
    if not found:
        return {
            **common,
            "code": "recovered",
            "message": f"{told.name} is ok: {told.summary}",
            "hint": "",
            "since": stamp(now),
        }
    first = found[0]
    return {
        **common,
        "code": first.problem.code,
        "message": first.problem.message,
        "hint": first.problem.hint,
        "since": stamp(first.since),
    }
