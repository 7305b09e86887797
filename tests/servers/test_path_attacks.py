"""Attacks on every path that is written as root: links, open directories, exchanges between look and write.

What can be done to the live file alone is in test_mail_livefile.py. Here every writer meets the same
attacker, who is user nobody, or the test in the attacker's place at an instant of its choice: os.open
and os.rename are wrapped, so that nothing rests on winning a race.
"""

from __future__ import annotations

import asyncio
import os
import stat
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rollover import hooks
from rollover.clock import SystemClock
from rollover.core.errors import CannotWrite, PermissionsError, RolloverError
from rollover.directory import trusted_directory
from rollover.engine.status import publish_status, run_directory
from rollover.mail.livefile import install
from rollover.state.lock import locked
from rollover.state.store import Store
from rollover.state.vault import Vault, check_private, make_private
from tests.lab.certificates import Authority, Certificate
from tests.servers.mail_support import safe_directory

NOBODY = 65534
PRECIOUS = b"precious"


@dataclass(frozen=True)
class Writer:
    """One thing that writes as root: into *directory* (below `up`), to *target*, by way of *temporary*."""

    directory: str
    target: str
    temporary: str
    write: Callable[[Path], object]  # gets *directory*
    says_so: bool = True  # status.json is left alone silently: it must not stop a run


def host_with(run: Path) -> Any:
    """Return what publish_status() needs of a host."""
    return SimpleNamespace(clock=SystemClock(), run_directory=run)


def store_key(keys: Path) -> None:
    vault = Vault(keys.parent)
    vault.prepare()
    one = made()
    vault.put(
        fingerprint=one.fingerprint,
        spki=one.spki,
        chain=one.fullchain.read_bytes(),
        key=one.privkey.read_bytes(),
    )


async def take_lock(path: Path) -> None:
    async with locked(path, SystemClock(), patience=0.0):
        pass


_made: list[Certificate] = []


def made() -> Certificate:
    return _made[0]


def writers() -> dict[str, Writer]:
    key = f"{made().spki}.pem" if _made else "KEY.pem"
    return {
        "live file": Writer(
            "live", "mail.pem", f".mail.pem.rollover-{'0' * 16}", lambda d: install(d / "mail.pem", b"a new key")
        ),
        "vault": Writer("state/vault/keys", key, f".new-{key}-{os.getpid()}", store_key),
        "status.json": Writer(
            "rollover",
            "status.json",
            f"status.json.{os.getpid()}",
            lambda d: publish_status(host_with(d), []),
            says_so=False,
        ),
        "hook or unit": Writer(
            "deploy",
            "rollover",
            f".rollover.{'0' * 16}~",
            lambda d: hooks.replace(d / "rollover", "#!/bin/sh\n", 0o755),
        ),
    }


WRITERS = list(writers())


@pytest.fixture(scope="module", autouse=True)
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    _made[:] = [Authority(tmp_path_factory.mktemp("authority") / "ca").issue()]
    yield
    _made.clear()


@pytest.fixture
def base() -> Iterator[Path]:
    """A directory of root's with a file and a directory that must not change, and a directory of the attacker's."""
    with safe_directory() as directory:
        (directory / "victim").write_bytes(PRECIOUS)
        (directory / "victim").chmod(0o600)
        (directory / "theirs").mkdir()
        os.chown(directory / "theirs", NOBODY, NOBODY)
        (directory / "theirs").chmod(0o777)
        (directory / "roots").mkdir(mode=0o700)
        yield directory


@pytest.fixture(params=WRITERS)
def writer(request: pytest.FixtureRequest) -> Writer:
    return writers()[request.param]


@pytest.fixture(autouse=True)
def known_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the attacker guess every random name."""
    monkeypatch.setattr("secrets.token_hex", lambda octets: "00" * octets)


def place(base: Path, writer: Writer) -> Path:
    """Make the writer's directory as it is on a host: below `up`, of root, private where keys are."""
    directory = base / "up" / writer.directory
    directory.mkdir(parents=True)
    for path in (base / "up", *(base / "up" / p for p in Path(writer.directory).parents), directory):
        path.chmod(0o755 if path in {base / "up", base / "up/rollover", base / "up/deploy"} else 0o700)
    return directory


def attempt(writer: Writer, directory: Path) -> RolloverError | None:
    try:
        writer.write(directory)
    except RolloverError as error:
        assert error.hint
        return error
    return None


def unharmed(base: Path) -> None:
    """Assert that the victims are as they were, and that the attacker got nothing."""
    victim = base / "victim"
    assert (victim.read_bytes(), victim.stat().st_mode & 0o7777, victim.stat().st_uid) == (PRECIOUS, 0o600, 0)
    assert [*(base / "theirs").iterdir(), *(base / "roots").iterdir()] == []


def test_each_writer_writes_where_nobody_attacks(base: Path, writer: Writer) -> None:
    """Without an attack each of them puts its file there, and leaves nothing beside it."""
    directory = place(base, writer)

    assert attempt(writer, directory) is None
    assert [p.name for p in directory.iterdir()] == [writer.target]


# --- links at the names that are written ------------------------------------------------------------


@pytest.mark.parametrize("make", [os.symlink, os.link], ids=["symbolic link", "hard link"])
@pytest.mark.parametrize("name", ["target", "temporary"])
def test_a_link_is_never_written_through(
    base: Path, writer: Writer, name: str, make: Callable[[Path, Path], None]
) -> None:
    """A link at the target or at the temporary name is replaced or refused; what it leads to stays as it was."""
    directory = place(base, writer)
    planted = directory / getattr(writer, name)
    make(base / "victim", planted)

    error = attempt(writer, directory)

    unharmed(base)
    if error is None and (directory / writer.target).exists():
        there = (directory / writer.target).lstat()
        assert stat.S_ISREG(there.st_mode)
        assert there.st_ino != (base / "victim").stat().st_ino


@pytest.mark.parametrize("make", [os.symlink, os.link], ids=["symbolic link", "hard link"])
def test_a_link_that_comes_at_the_last_moment_is_not_written_through(
    base: Path, writer: Writer, make: Callable[[Path, Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A link that takes the temporary name right before the file is made stops the write."""
    directory = place(base, writer)
    really_open, planted = os.open, []

    def open_(path: Any, flags: int, *rest: Any, **options: Any) -> int:
        if flags & os.O_CREAT and not planted:
            planted.append(path)
            make(base / "victim", directory / writer.temporary)
        return really_open(path, flags, *rest, **options)

    monkeypatch.setattr(os, "open", open_)
    error = attempt(writer, directory)

    assert planted == [writer.temporary]
    assert (error is not None) == writer.says_so
    assert not (directory / writer.target).exists()
    unharmed(base)


def test_a_left_over_of_our_own_process_id_does_not_stop_the_vault(base: Path) -> None:
    """What a killed run left is swept also where its process id is ours by now."""
    it = writers()["vault"]
    directory = place(base, it)
    (directory / it.temporary).write_bytes(b"half a key")

    assert attempt(it, directory) is None
    assert [p.name for p in directory.iterdir()] == [it.target]


def test_a_fifo_in_the_vault_holds_nobody(base: Path) -> None:
    """A FIFO where a key should be is replaced by the key."""
    it = writers()["vault"]
    directory = place(base, it)
    os.mkfifo(directory / it.target)

    assert attempt(it, directory) is None
    assert (directory / it.target).is_file()


def test_a_link_as_database_is_not_followed(base: Path) -> None:
    """A database that is a symbolic link is refused, read or written, and nothing is made where it leads."""
    make_private(base / "state")
    for target in ("victim", "nothing"):
        link = base / "state" / target
        link.symlink_to(base / target)
        for write in (True, False):
            with pytest.raises(PermissionsError, match="is a symbolic link") as caught:
                Store.open(link, write=write)
            assert "ls -l" in caught.value.hint
    unharmed(base)
    assert not (base / "nothing").exists()


def test_a_database_of_somebody_else_is_not_believed(base: Path) -> None:
    """A hard link to the attacker's own database, or one that others may write, is refused; a sound one is 0600."""
    make_private(base / "state")
    path = base / "state" / "rollover.db"
    before = os.umask(0)
    try:
        Store.open(path).close()
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o7777 == 0o600
    path.rename(base / "theirs" / "rollover.db")
    os.chown(base / "theirs" / "rollover.db", NOBODY, NOBODY)
    os.link(base / "theirs" / "rollover.db", path)
    with pytest.raises(PermissionsError, match=f"belongs to user {NOBODY}"):
        Store.open(path)
    os.chown(path, 0, 0)
    path.chmod(0o660)
    with pytest.raises(PermissionsError, match="others may write it") as caught:
        Store.open(path, write=False)
    assert "chmod 0600" in caught.value.hint


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
    directory = place(base, writer)
    spoil(base / "up" if which == "a directory above" else directory)

    error = attempt(writer, directory)

    assert list(directory.iterdir()) == []
    assert (error is not None) == writer.says_so
    if error is not None:
        assert (type(error), error.exit_code) == (PermissionsError, 77)


@pytest.mark.parametrize("what", ["link", "directory"])
def test_what_another_user_made_in_a_directory_like_tmp_is_refused(base: Path, writer: Writer, what: str) -> None:
    """In a sticky directory only what belongs to root is a way: a link or directory of the attacker's is not."""
    shared = base / "shared"
    shared.mkdir()
    shared.chmod(0o1777)
    way = shared / "up"
    if what == "link":
        place(base, writer)
        way.symlink_to(base / "up")
        os.chown(way, NOBODY, NOBODY, follow_symlinks=False)
    else:
        (way / writer.directory).mkdir(parents=True)
        os.chown(way, NOBODY, NOBODY)

    error = attempt(writer, way / writer.directory)

    assert (error is not None) == writer.says_so
    assert list((way / writer.directory).iterdir()) == []


def test_the_state_is_refused_before_it_is_read(base: Path) -> None:
    """A state directory, or one above it, that others can exchange stops every command, those that only read too."""
    make_private(base / "up" / "state")
    os.chown(base / "up", NOBODY, NOBODY)
    for check in (make_private, check_private):
        with pytest.raises(PermissionsError, match=f"{base}/up: belongs to user {NOBODY}"):
            check(base / "up" / "state")
    check_private(base / "absent" / "state")  # nothing there, nothing wrong


def test_the_command_says_it_in_two_lines(base: Path) -> None:
    """`status` with its state below a directory of another user: exit 77, the directory and what to do."""
    make_private(base / "up" / "state")
    os.chown(base / "up", NOBODY, NOBODY)
    text = f'state = "{base}/up/state"\n[dns]\ntsig_key = "/k"\n[services.a]\nhosts = ["a.example"]\n'
    (base / "r.toml").write_text(f'{text}[[services.a.install]]\nkind = "postfix"\nchain_file = "/a/b.pem"\n')
    command = [Path(sys.prefix) / "bin" / "rollover", "--config", base / "r.toml", "status"]

    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    assert done.returncode == 77, done.stderr
    message, hint = done.stderr.splitlines()
    assert f"{base}/up: belongs to user {NOBODY}" in message
    assert f"chown root {base}/up" in hint


# --- exchanges between the look and the write -------------------------------------------------------


def exchange(directory: Path, leads: Path) -> None:
    """Do what an attacker would do who could: move the directory away, and a link in its place."""
    directory.rename(directory.with_name("moved"))
    directory.symlink_to(leads)


@pytest.mark.parametrize("leads", ["theirs", "roots"])
@pytest.mark.parametrize("level", ["its directory", "a directory above"])
@pytest.mark.parametrize("moment", ["entered", "looked at", "written", "renamed"])
def test_an_exchange_at_the_worst_moment_leads_nowhere(
    base: Path, writer: Writer, moment: str, level: str, leads: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whenever a directory becomes a link, the file is written where it was looked at, or not at all."""
    directory = place(base, writer)
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

    monkeypatch.setattr("secrets.token_hex", lambda octets: "00" * octets)
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
    assert [p.name for p in moved.iterdir()] == ([writer.target] if moment in {"written", "renamed"} else [])


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


def test_a_directory_that_is_made_is_not_followed_when_exchanged(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The state directory that was made a moment ago and is a link of theirs now is refused."""
    really_mkdir = os.mkdir

    def mkdir(path: Any, *rest: Any, **options: Any) -> None:
        really_mkdir(path, *rest, **options)
        if path == "state":
            monkeypatch.undo()
            exchange(base / "state", base / "theirs")

    monkeypatch.setattr(os, "mkdir", mkdir)
    with pytest.raises(RolloverError):
        make_private(base / "state")
    unharmed(base)
    assert (base / "theirs").stat().st_mode & 0o7777 == 0o777


# --- other places -----------------------------------------------------------------------------------


def test_a_fifo_in_a_home_directory_does_not_hold_root(base: Path) -> None:
    """A user's FIFO where the hook of acme.sh goes is somebody else's file, at once."""
    os.mkfifo(base / "theirs" / "rollover.sh")
    with pytest.raises(CannotWrite, match="was not written by rollover"):
        hooks.ours(base / "theirs" / "rollover.sh")


def test_the_pagers_lock_is_not_where_others_could_hold_it(base: Path) -> None:
    """A /run/rollover of another user is not used: who holds the lock there could keep alerts back."""
    (base / "run").mkdir()
    with run_directory(host_with(base / "run")):
        pass
    os.chown(base / "run", NOBODY, NOBODY)
    with pytest.raises(PermissionsError), run_directory(host_with(base / "run")):
        pass


def test_modes_do_not_depend_on_the_umask(base: Path) -> None:
    """A hostile umask makes neither the state nor /run/rollover wider or narrower."""
    for umask in (0o000, 0o777):
        before = os.umask(umask)
        try:
            make_private(base / f"a{umask}" / "state")
            with run_directory(host_with(base / f"run{umask}")):
                pass
        finally:
            os.umask(before)
        modes = [(base / name).stat().st_mode & 0o7777 for name in (f"a{umask}", f"a{umask}/state", f"run{umask}")]
        assert modes == [0o755, 0o700, 0o755]
