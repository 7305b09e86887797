"""Attacks on every file that is written as root: links at its name, before the look and after it.

Here and in test_path_exchanges.py every writer of path_writers.py meets the same attacker, who is user nobody,
or the test in the attacker's place at an instant of its choice: os.open and os.rename are wrapped, so that
nothing rests on winning a race. What can be done to the live file alone is in test_mail_livefile.py; what is
opened and not replaced, in test_path_state.py and test_path_locks.py.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rollover import units
from rollover.core.errors import CannotWrite
from tests.servers.path_writers import (
    FILE_IDS,
    FILES,
    PRECIOUS,
    Writer,
    Written,
    attempt,
    content,
    place,
    unharmed,
    writers,
)

Make = Callable[[Path, Path], None]
LINKS = pytest.mark.parametrize("make", [os.symlink, os.link], ids=["symbolic link", "hard link"])


@pytest.fixture(params=FILES, ids=FILE_IDS)
def attacked(request: pytest.FixtureRequest, certificates: None) -> tuple[Writer, Written]:
    """A writer, and the one of its files that is attacked."""
    name, number = request.param
    return writers()[name], writers()[name].files[number]


def plant(make: Make, base: Path, name: Path) -> None:
    """Put a link to the victim at *name*, in place of what is there."""
    name.unlink(missing_ok=True)
    make(base / "victim", name)


def test_each_writer_writes_where_nobody_attacks(base: Path, writer: Writer) -> None:
    """Without an attack each of them puts its files there, private where a key is, and leaves nothing beside them."""
    directory = place(base / "up", writer)
    before = content(directory)

    assert attempt(writer, directory) is None

    assert content(directory).keys() == before.keys() | writer.targets
    for name, text in content(directory).items():
        assert b"PRIVATE KEY" not in text or (directory / name).stat().st_mode & 0o037 == 0


# --- links at the names that are written ------------------------------------------------------------


@LINKS
@pytest.mark.parametrize("name", ["target", "temporary"])
def test_a_link_is_never_written_through(base: Path, attacked: tuple[Writer, Written], name: str, make: Make) -> None:
    """A link at a target or at a temporary name is replaced, or refused and nothing changed; what it leads to stays."""
    writer, file = attacked
    directory = place(base / "up", writer)
    planted = getattr(file, name)
    plant(make, base, directory / planted)
    before = content(directory)

    error = attempt(writer, directory)

    unharmed(base)
    if error is not None:
        (directory / planted).unlink(missing_ok=True)  # a temporary name is free again, or it is not
        assert content(directory) == {name: text for name, text in before.items() if name != planted}
        return
    for target in writer.targets:
        there = (directory / target).lstat()
        assert stat.S_ISREG(there.st_mode)
        assert there.st_ino != (base / "victim").stat().st_ino


@LINKS
def test_a_link_that_comes_at_the_last_moment_is_not_written_through(
    base: Path, attacked: tuple[Writer, Written], make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A link that takes a temporary name right before that file is made stops the write, and nothing has changed."""
    writer, file = attacked
    directory = place(base / "up", writer)
    before = content(directory)
    really_open, planted = os.open, []

    def open_(path: Any, flags: int, *rest: Any, **options: Any) -> int:
        if flags & os.O_CREAT and path == file.temporary and not planted:
            planted.append(path)
            make(base / "victim", directory / file.temporary)
        return really_open(path, flags, *rest, **options)

    monkeypatch.setattr(os, "open", open_)
    error = attempt(writer, directory)

    assert planted == [file.temporary]
    assert (error is not None) == writer.says_so
    (directory / file.temporary).unlink(missing_ok=True)
    assert content(directory) == before
    unharmed(base)


@LINKS
def test_a_link_that_comes_before_the_rename_is_replaced(
    base: Path, attacked: tuple[Writer, Written], make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A link that takes the final name when the new file is ready gives way to it."""
    writer, file = attacked
    directory = place(base / "up", writer)
    really_rename, planted = os.rename, []

    def rename(old: Any, new: Any, **options: Any) -> None:
        if new == file.target:
            planted.append(new)
            plant(make, base, directory / new)
        really_rename(old, new, **options)

    monkeypatch.setattr(os, "rename", rename)

    assert attempt(writer, directory) is None
    assert planted == [file.target]
    assert stat.S_ISREG((directory / file.target).lstat().st_mode)
    assert PRECIOUS not in content(directory).values()
    unharmed(base)


@pytest.mark.parametrize(
    "make", [os.symlink, os.link, lambda _, name: os.mkfifo(name)], ids=["link", "hard link", "FIFO"]
)
@pytest.mark.parametrize("name", ["live file with a predecessor", "key and certificate of a daemon"])
def test_a_predecessor_is_the_file_that_was_looked_at(
    base: Path, name: str, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What takes the live file's name between look and copy gives nobody the content that it leads to.

    Else a daemon's group could read any file of root's in `.previous`, with the mode that the old file had.
    """
    writer = writers()[name]
    directory = place(base / "up", writer)
    really_open, planted = os.open, []

    def open_(path: Any, flags: int, *rest: Any, **options: Any) -> int:
        if path == writer.files[0].target and not planted:
            planted.append(path)
            plant(make, base, directory / path)
        return really_open(path, flags, *rest, **options)

    monkeypatch.setattr(os, "open", open_)
    error = attempt(writer, directory)

    assert planted == [writer.files[0].target]
    assert (error is None) == (make is os.link), "what is no file is refused, as it is when it was there before"
    for path in directory.iterdir():
        if stat.S_ISREG(path.lstat().st_mode) and path.read_bytes() == PRECIOUS:
            assert (path.stat().st_mode & 0o7777, path.stat().st_gid) == (0o600, 0), path
    unharmed(base)


@pytest.mark.parametrize("unit", units.UNITS)
def test_a_link_as_unit_is_nobodys_to_replace(base: Path, unit: str) -> None:
    """A link at the name of a unit is a unit of somebody else: install and remove name it and leave all as it is."""
    writer = writers()["systemd unit"]
    directory = place(base / "up", writer)
    plant(os.symlink, base, directory / unit)
    before = content(directory)

    for act in (lambda: units.install(command="/bin/false", root=base / "up"), lambda: units.remove(root=base / "up")):
        with pytest.raises(CannotWrite, match=f"{unit} was not written by rollover"):
            act()
    assert (directory / unit).is_symlink()
    assert content(directory) == before
    unharmed(base)
