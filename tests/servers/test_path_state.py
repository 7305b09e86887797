"""Attacks on what is opened and not replaced: the state, its database, files of clients.

The attacker, and what must not change, are those of test_path_attacks.py.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from rollover import hooks
from rollover.core.errors import CannotWrite, PermissionsError, RolloverError, StateError
from rollover.engine.status import run_directory
from rollover.state.store import Store
from rollover.state.vault import Vault, check_private, make_private
from tests.servers.path_writers import (
    MADE,
    NOBODY,
    attempt,
    exchange,
    host_with,
    place,
    unharmed,
    writers,
)

# --- the state ------------------------------------------------------------------------------------


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


def test_a_left_over_of_our_own_process_id_does_not_stop_the_vault(base: Path) -> None:
    """What a killed run left is swept also where its process id is ours by now."""
    it = writers()["vault, key"]
    directory = place(base / "up", it)
    (directory / it.files[0].temporary).write_bytes(b"half a key")

    assert attempt(it, directory) is None
    assert [p.name for p in directory.iterdir()] == [it.files[0].target]


def test_a_fifo_in_the_vault_holds_nobody(base: Path) -> None:
    """A FIFO where a key should be is replaced by the key."""
    it = writers()["vault, key"]
    directory = place(base / "up", it)
    os.mkfifo(directory / it.files[0].target)

    assert attempt(it, directory) is None
    assert (directory / it.files[0].target).is_file()


@pytest.mark.parametrize("what", ["vault, key", "vault, chain"])
def test_a_link_in_the_vault_to_a_sound_copy_is_not_read(base: Path, what: str) -> None:
    """What a link leads to is not in the vault, be it sound today: it is refused, and replaced when handed over again."""
    it, one = writers()[what], MADE[0]
    directory = place(base / "up", it)
    assert attempt(it, directory) is None
    there, vault = directory / it.files[0].target, Vault(directory.parent)
    there.rename(base / "theirs" / "copy")
    there.symlink_to(base / "theirs" / "copy")
    os.chown(base / "theirs" / "copy", NOBODY, NOBODY)

    with pytest.raises(StateError, match="cannot read"):
        vault.key(one.spki) if what == "vault, key" else vault.chain(one.fingerprint)
    assert attempt(it, directory) is None
    assert there.is_file() and not there.is_symlink()


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


# --- other places -----------------------------------------------------------------------------------


def test_a_fifo_in_a_home_directory_does_not_hold_root(base: Path) -> None:
    """A user's FIFO where the hook of acme.sh goes is somebody else's file, at once."""
    os.mkfifo(base / "theirs" / "rollover.sh")
    with pytest.raises(CannotWrite, match="was not written by rollover"):
        hooks.ours(base / "theirs" / "rollover.sh")


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
