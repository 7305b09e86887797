"""What ``status`` tells: the reports of the last looks, as they may be told now."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import Any

from rollover.core.errors import RolloverError
from rollover.core.model import Book, World
from rollover.core.report import SCHEMA, Report, aged, unseen, worst
from rollover.core.timing import stamp
from rollover.directory import trusted_directory
from rollover.engine.host import Host
from rollover.state.services import Summary

STATUS = "status.json"


def reports(host: Host, names: Sequence[str] = ()) -> list[Report]:
    """Return a report of each service (all without *names*), from memory; changes nothing."""
    now = host.clock.now().wall
    known = host.store.summaries()
    told = []
    for name in names or host.services:
        it = known.get(name, Summary())
        world = World(host.service(name), Book(adopted=it.adopted), {}, {}, {})
        told.append(aged(Report.from_json(it.report), world, now) if it.report else unseen(world, now))
    return told


def as_json(told: Sequence[Report], now: datetime) -> dict[str, Any]:
    """Return the document of ``status --json`` (interface.md)."""
    seen = [r.seen for r in told if r.seen is not None]
    return {
        "schema": SCHEMA,
        "time": stamp(now),
        "seen": stamp(min(seen)) if seen and len(seen) == len(told) else None,
        "level": str(worst(r.level for r in told)),
        "services": [r.as_json() for r in told],
    }


def reports_with(host: Host, newer: Mapping[str, Report]) -> list[Report]:
    """Return reports() with those of *newer*, by service, which the state may have had no room for."""
    return [newer.get(it.name, it) for it in reports(host)]


def publish_status(host: Host, told: Sequence[Report]) -> None:
    """Leave the status in /run/rollover/status.json, 0644, for monitoring that is not root.

    A failure must not stop a run between intent and outcome: it is left to ``status`` itself.
    """
    document = json.dumps(as_json(told, host.clock.now().wall), indent=1) + "\n"
    with suppress(OSError, RolloverError), run_directory(host) as directory:
        temporary = f"{STATUS}.{os.getpid()}"
        with suppress(FileNotFoundError):  # of a killed run, or something that we must not write into
            os.unlink(temporary, dir_fd=directory)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with os.fdopen(os.open(temporary, flags, 0o644, dir_fd=directory), "w") as out:
            os.fchmod(out.fileno(), 0o644)
            out.write(document)
        os.rename(temporary, STATUS, src_dir_fd=directory, dst_dir_fd=directory)


@contextmanager
def run_directory(host: Host) -> Iterator[int]:
    """Yield a descriptor of /run/rollover, made if it is not there. Raises RolloverError where others could write."""
    with trusted_directory(host.run_directory, create=True, parents=True, mode=0o755, sticky=True) as directory:
        yield directory
