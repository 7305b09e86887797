"""Attacks on the way to every file that is written as root: directories that others change before or meanwhile.

The writers and their attacker are those of test_path_attacks.py.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from rollover.core.errors import PermissionsError, RolloverError
from rollover.directory import trusted_directory
from tests.servers.path_writers import (
    NOBODY,
    Writer,
    attempt,
    content,
    exchange,
    guess_names,
    place,
    unharmed,
)

# --- directories that others can change -----------------------------------------------------------


def _acl(directory: Path) -> None:
    """Let nobody write by an ACL: the group bits show the mask, the group stays root."""
    entries = [(0x01, 7, -1), (0x02, 7, NOBODY), (0x04, 5, -1), (0x10, 7, -1), (0x20, 5, -1)]
    value = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", t, p, i & 0xFFFFFFFF) for t, p, i in entries)
    os.setxattr(directory, "system.posix_acl_access", value)
    assert (directory.stat().st_mode & 0o7777, directory.stat().st_gid) == (0o775, 0)


def _group(directory: Path) -> None:
    os.chown(directory, 0, 50)
    directory.chmod(0o770)


OPEN: dict[str, Callable[[Path], None]] = {
    "writable by all": lambda d: d.chmod(0o777),
    "writable by a group": _group,
    "writable by an ACL": _acl,
    "of another user": lambda d: os.chown(d, NOBODY, 0),
}


@pytest.mark.parametrize("spoil", OPEN.values(), ids=OPEN)
@pytest.mark.parametrize("which", ["a directory above", "its directory"])
def test_an_open_directory_is_refused(base: Path, writer: Writer, which: str, spoil: Callable[[Path], None]) -> None:
    """Where another user can exchange the file or a directory on the way to it, nothing is written."""
    directory = place(base / "up", writer)
    before = content(directory)
    spoil(base / "up" if which == "a directory above" else directory)

    error = attempt(writer, directory)

    assert content(directory) == before
    assert (error is not None) == writer.says_so
    if error is not None:
        assert (type(error), error.exit_code) == (PermissionsError, 77)


@pytest.mark.parametrize("what", ["link", "directory"])
def test_what_another_user_made_in_a_directory_like_tmp_is_refused(base: Path, writer: Writer, what: str) -> None:
    """In a sticky directory only what belongs to root is a way: a link or directory of the attacker's is not."""
    shared = base / "shared"
    shared.mkdir()
    way = shared / "up"
    if what == "link":
        place(base / "up", writer)
        way.symlink_to(base / "up")
    else:
        place(way, writer)
    os.chown(way, NOBODY, NOBODY, follow_symlinks=False)
    shared.chmod(0o1777)
    before = content(way / writer.directory)

    error = attempt(writer, way / writer.directory)

    assert (error is not None) == writer.says_so
    assert content(way / writer.directory) == before


# --- exchanges between the look and the write -------------------------------------------------------


@pytest.mark.parametrize("leads", ["theirs", "roots"])
@pytest.mark.parametrize("level", ["its directory", "a directory above"])
@pytest.mark.parametrize("moment", ["entered", "looked at", "written", "renamed"])
def test_an_exchange_at_the_worst_moment_leads_nowhere(
    base: Path, writer: Writer, moment: str, level: str, leads: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whenever a directory becomes a link, the files are written where it was looked at, or not at all."""
    directory = place(base / "up", writer)
    before = content(directory).keys()
    attacked = directory if level == "its directory" else base / "up"
    really_open, really_rename, really_stat, done = os.open, os.rename, os.stat, []

    def now() -> None:
        if not done:
            done.append(moment)
            monkeypatch.undo()
            exchange(attacked, base / leads)

    def open_(path: Any, flags: int, *rest: Any, **options: Any) -> int:
        if (moment == "entered" and path == attacked.name) or (moment == "written" and flags & os.O_CREAT):
            now()
        return really_open(path, flags, *rest, **options)

    def rename(*names: Any, **options: Any) -> None:
        now()
        really_rename(*names, **options)

    def stat_(path: Any, **options: Any) -> os.stat_result:
        found = really_stat(path, **options)
        if path == attacked.name and "dir_fd" in options:
            now()  # after it was seen to be a directory
        return found

    guess_names(monkeypatch)
    monkeypatch.setattr(os, "open", open_)
    if moment == "renamed":
        monkeypatch.setattr(os, "rename", rename)
    if moment == "looked at":
        monkeypatch.setattr(os, "stat", stat_)

    with suppress(RolloverError, OSError):
        writer.write(directory)

    assert done == [moment]
    unharmed(base)
    moved = attacked.with_name("moved") / directory.relative_to(attacked)
    assert content(moved).keys() == before | (writer.targets if moment in {"written", "renamed"} else set())


def test_a_directory_that_becomes_the_attackers_is_seen(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A directory of theirs that takes the place of ours after the look is judged by what was opened, not seen."""
    (base / "up" / "live").mkdir(parents=True)
    really_open = os.open

    def open_(path: Any, flags: int, *rest: Any, **options: Any) -> int:
        if path == "live":
            monkeypatch.undo()
            (base / "up" / "live").rename(base / "up" / "moved")
            (base / "theirs").rename(base / "up" / "live")
        return really_open(path, flags, *rest, **options)

    monkeypatch.setattr(os, "open", open_)
    with (
        pytest.raises(PermissionsError, match=f"belongs to user {NOBODY}"),
        trusted_directory(base / "up" / "live"),
    ):
        pass
