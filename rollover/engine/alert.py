"""[alert]: one JSON problem on stdin of a command, when a level changes, on recovery, and again while critical."""

from __future__ import annotations

import json
import subprocess
from contextlib import suppress
from datetime import datetime

from rollover.core.problems import Level
from rollover.core.report import Report
from rollover.core.timing import parse_stamp, stamp
from rollover.engine.host import Host

TIMEOUT = 10.0  # seconds: a pager that hangs must not hold up a rollover


def alert(host: Host, told: Report) -> None:
    """Run the command if there is something to tell. A failure of it is written into the history only."""
    settings = host.config.alert
    now = host.clock.now().wall
    key = f"alerted:{told.name}"
    if not settings.command or not _due(host, told, now, key, settings.repeat):
        return
    message = json.dumps(_message(told, now)) + "\n"
    try:
        done = subprocess.run(
            settings.command, input=message, text=True, capture_output=True, timeout=TIMEOUT, check=False
        )
        problem = f"exit {done.returncode}: {done.stderr.strip()[-200:]}" if done.returncode else ""
    except (OSError, subprocess.SubprocessError) as error:
        problem = str(error)
    with suppress(Exception):  # the sink of alerts failing must not stop a rollover
        host.store.note(key, f"{told.level} {now.isoformat()}")
        if problem:
            host.store.event_once(told.name, "alert-failed", f"{settings.command[0]}: {problem}", now)


def _due(host: Host, told: Report, now: datetime, key: str, repeat: float) -> bool:
    last = host.store.note(key)
    if last is None:
        return told.level is not Level.OK
    level, _, at = last.partition(" ")
    if level != str(told.level):
        return True
    return told.level is Level.CRITICAL and (now - parse_stamp(at)).total_seconds() >= repeat


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
