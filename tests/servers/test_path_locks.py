"""Attacks on the two locks: of the state, and of the pager's command in /run/rollover.

A lock is opened and never replaced; whoever could hold it in our place could hold the tool, or its alerts, back.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rollover.clock import SystemClock
from rollover.core.errors import PermissionsError
from rollover.core.problems import Level
from rollover.core.report import Report
from rollover.core.steps import Phase
from rollover.engine.alert import raise_alerts
from rollover.engine.status import run_directory
from rollover.state.lock import locked
from rollover.state.store import Store
from rollover.state.vault import make_private
from tests.servers.path_writers import NOBODY, exchange, host_with, unharmed


async def take_lock(path: Path) -> None:
    async with locked(path, SystemClock(), patience=0.0):
        pass


def give_away(path: Path) -> None:
    """Let a file of the attacker's take the place of *path*, by a hard link."""
    theirs = path.parents[1] / "theirs" / path.name
    theirs.touch()
    os.chown(theirs, NOBODY, NOBODY)
    path.unlink(missing_ok=True)
    os.link(theirs, path)


def test_a_link_as_lock_is_not_followed(base: Path) -> None:
    """A lock that is a symbolic link is refused with its path; through a hard link nothing is written."""
    make_private(base / "state")
    link = base / "state" / "lock"
    link.symlink_to(base / "victim")
    with pytest.raises(PermissionsError, match="is a symbolic link") as caught:
        asyncio.run(take_lock(link))
    assert caught.value.exit_code == 77
    link.unlink()
    os.link(base / "victim", link)
    asyncio.run(take_lock(link))
    unharmed(base)


def test_a_lock_of_somebody_else_is_not_taken(base: Path) -> None:
    """A hard link to a file of the attacker's, who could hold it for ever, is refused at once and stays untouched."""
    make_private(base / "state")
    give_away(base / "state" / "lock")
    with (
        (base / "theirs" / "lock").open() as held,
        pytest.raises(PermissionsError, match=f"belongs to user {NOBODY}") as caught,
    ):
        fcntl.flock(held, fcntl.LOCK_EX)
        asyncio.run(take_lock(base / "state" / "lock"))
    assert "remove it" in caught.value.hint


# --- the lock of the pager --------------------------------------------------------------------------


@pytest.fixture
def pager(base: Path) -> Iterator[Callable[[], list[str]]]:
    """A host with `alert.lock` in base/run: a call tells of a new problem, and returns what the command got so far."""
    make_private(base / "state")
    store = Store.open(base / "state" / "rollover.db")
    got = base / "got"
    command = ("sh", "-c", f"cat >>{got}")
    host: Any = SimpleNamespace(
        config=SimpleNamespace(alert=SimpleNamespace(command=command)),
        clock=SystemClock(),
        store=store,
        run_directory=base / "run",
    )

    def tell() -> list[str]:
        told = Report("mail", ("mail.example.org",), Level.WARNING, Phase.STEADY, "a problem", None)
        asyncio.run(raise_alerts(host, [told]))
        return [json.loads(line)["level"] for line in got.read_text().splitlines()] if got.exists() else []

    yield tell
    store.close()


def held(path: Path) -> None:
    """Hold the attacker's file to the end of this process: the descriptor is never closed."""
    give_away(path)
    fcntl.flock(os.open(path, os.O_RDONLY), fcntl.LOCK_EX)


PLANTED: dict[str, Callable[[Path], object]] = {
    "a link to a file": lambda path: path.symlink_to(path.parents[1] / "victim"),
    "a link to nothing": lambda path: path.symlink_to(path.parents[1] / "theirs" / "made"),
    "a hard link to a file": lambda path: os.link(path.parents[1] / "victim", path),
    "a hard link to a lock that another user holds": held,
    "a FIFO": os.mkfifo,
    "a directory": Path.mkdir,
}


@pytest.mark.parametrize("plant", PLANTED.values(), ids=PLANTED)
def test_nothing_in_place_of_the_pagers_lock_keeps_an_alert_back(
    base: Path, pager: Callable[[], list[str]], plant: Callable[[Path], object]
) -> None:
    """A link, or a lock that somebody else holds, is not used: it is told without; what a link leads to stays as it was."""
    (base / "run").mkdir()
    plant(base / "run" / "alert.lock")

    assert pager() == ["warning"]

    (base / "theirs" / "alert.lock").unlink(missing_ok=True)  # the attacker's own
    unharmed(base)


@pytest.mark.parametrize("leads", ["theirs", "roots"])
def test_the_pagers_lock_is_made_where_it_was_looked_at(
    base: Path, pager: Callable[[], list[str]], leads: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A /run/rollover that becomes a link right before the lock is made leads it nowhere, and the alert is told."""
    really_open, done = os.open, []
    (base / "run").mkdir()

    def open_(path: Any, flags: int, *rest: Any, **options: Any) -> int:
        if flags & os.O_CREAT and Path(path).name == "alert.lock" and not done:
            done.append(path)
            exchange(base / "run", base / leads)
        return really_open(path, flags, *rest, **options)

    monkeypatch.setattr(os, "open", open_)

    assert pager() == ["warning"]
    assert done
    unharmed(base)
    assert [path.name for path in (base / "moved").iterdir()] == ["alert.lock"]


def test_the_pagers_lock_is_not_where_others_could_hold_it(base: Path) -> None:
    """A /run/rollover of another user is not used: who holds the lock there could keep alerts back."""
    (base / "run").mkdir()
    with run_directory(host_with(base / "run")):
        pass
    os.chown(base / "run", NOBODY, NOBODY)
    with pytest.raises(PermissionsError), run_directory(host_with(base / "run")):
        pass
