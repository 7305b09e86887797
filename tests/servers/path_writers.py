"""Everything that writes as root, for test_path_attacks.py: where, to which names, and by way of which others."""

from __future__ import annotations

import itertools
import os
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rollover import hooks, units
from rollover.clock import SystemClock
from rollover.core.errors import RolloverError
from rollover.engine.status import publish_status
from rollover.mail.command import CommandTarget
from rollover.mail.livefile import install
from rollover.state.vault import Vault
from tests.lab.certificates import Certificate

NOBODY = 65534
PRECIOUS = b"precious"
PUBLIC = {"rollover", "deploy", "etc", "etc/systemd", "etc/systemd/system"}  # the others are 0700
LAST_UNIT = units.UNITS[-1]


@dataclass(frozen=True)
class Written:
    """One file that is written: its name, and the one that it has until it is whole."""

    target: str
    temporary: str


@dataclass(frozen=True)
class Writer:
    """One thing that writes as root: *files* into *directory* (below `up`), in the order in which they are made."""

    directory: str
    files: tuple[Written, ...]
    write: Callable[[Path], object]  # gets *directory*
    before: Callable[[Path], object] = lambda _: None  # what was there before the attack, likewise
    says_so: bool = True  # status.json is left alone silently: it must not stop a run

    @property
    def targets(self) -> set[str]:
        return {file.target for file in self.files}


MADE: list[Certificate] = []  # the one that is written, and its predecessor; none while tests are collected
_numbers = [itertools.count()]


def guess_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the attacker guess every random name: they are counted, from nought after place()."""
    monkeypatch.setattr(secrets, "token_hex", lambda octets: f"{next(_numbers[0]):0{2 * octets}x}")


def host_with(run: Path) -> Any:
    """Return what publish_status() needs of a host."""
    return SimpleNamespace(clock=SystemClock(), run_directory=run)


def _store(vault: Path) -> None:
    it = Vault(vault)
    it.prepare()
    one = MADE[0]
    it.put(fingerprint=one.fingerprint, spki=one.spki, chain=one.fullchain.read_bytes(), key=one.privkey.read_bytes())


def _store_but_the_chain(vault: Path) -> None:
    _store(vault)
    (vault / "chains" / f"{MADE[0].fingerprint}.pem").unlink()


def _install_pair(directory: Path, certificate: Certificate) -> None:
    files = {"key_file": directory / "imap.key", "cert_file": directory / "imap.crt"}
    target = CommandTarget(**files, group="mail", mode=0o640)
    target.install(certificate.privkey.read_bytes(), certificate.fullchain.read_bytes())


def _install_units(directory: Path) -> None:
    units.install(command="/bin/true", root=directory.parents[2])


def _all_units_but_one(directory: Path) -> None:
    (directory.parents[2] / "run/systemd/system").mkdir(parents=True)
    _install_units(directory)
    (directory / LAST_UNIT).unlink()


def _staged(*targets: str) -> tuple[Written, ...]:
    """Return the names of live files that are written together."""
    return tuple(
        Written(name, f".{name.removesuffix('.previous')}.rollover-{n:016x}") for n, name in enumerate(targets)
    )


def _kept(name: str) -> Written:
    return Written(name, f".new-{name}-{os.getpid()}")


def writers() -> dict[str, Writer]:
    key, chain = (f"{MADE[0].spki}.pem", f"{MADE[0].fingerprint}.pem") if MADE else ("KEY.pem", "CHAIN.pem")
    return {
        "live file": Writer("live", _staged("mail.pem"), lambda d: install(d / "mail.pem", b"a new key")),
        "live file with a predecessor": Writer(
            "live",
            _staged("mail.pem", "mail.pem.previous"),
            lambda d: install(d / "mail.pem", b"a new key"),
            before=lambda d: install(d / "mail.pem", b"an old key"),
        ),
        "key and certificate of a daemon": Writer(
            "live",
            _staged("imap.key", "imap.key.previous", "imap.crt", "imap.crt.previous"),
            lambda d: _install_pair(d, MADE[0]),
            before=lambda d: _install_pair(d, MADE[1]),
        ),
        "vault, key": Writer("state/vault/keys", (_kept(key),), lambda d: _store(d.parent)),
        "vault, chain": Writer(
            "state/vault/chains",
            (_kept(chain),),
            lambda d: _store(d.parent),
            before=lambda d: _store_but_the_chain(d.parent),
        ),
        "status.json": Writer(
            "rollover",
            (Written("status.json", f"status.json.{os.getpid()}"),),
            lambda d: publish_status(host_with(d), []),
            says_so=False,
        ),
        "hook": Writer(
            "deploy",
            (Written("rollover", f".rollover.{'0' * 16}~"),),
            lambda d: hooks.replace(d / "rollover", "#!/bin/sh\n", 0o755),
        ),
        "systemd unit": Writer(
            "etc/systemd/system",
            (Written(LAST_UNIT, f".{LAST_UNIT}.{'0' * 16}~"),),
            _install_units,
            before=_all_units_but_one,
        ),
    }


#: Each name that is written, by writer and number, with what it is called in the name of a test.
FILES = [(name, n) for name, writer in writers().items() for n in range(len(writer.files))]
FILE_IDS = [f"{name}: {n + 1}" if len(writers()[name].files) > 1 else name for name, n in FILES]


def victims(base: Path) -> None:
    """Make a file and a directory that must not change, and a directory of the attacker's."""
    (base / "victim").write_bytes(PRECIOUS)
    (base / "victim").chmod(0o600)
    (base / "theirs").mkdir()
    os.chown(base / "theirs", NOBODY, NOBODY)
    (base / "theirs").chmod(0o777)
    (base / "roots").mkdir(mode=0o700)


def unharmed(base: Path) -> None:
    """Assert that the victims are as they were, and that the attacker got nothing."""
    victim = base / "victim"
    assert (victim.read_bytes(), victim.stat().st_mode & 0o7777, victim.stat().st_uid) == (PRECIOUS, 0o600, 0)
    assert [*(base / "theirs").iterdir(), *(base / "roots").iterdir()] == []


def place(up: Path, writer: Writer) -> Path:
    """Make the writer's directory below *up* as it is on a host: of root, private where keys are."""
    directory = up / writer.directory
    directory.mkdir(parents=True)
    up.chmod(0o755)
    for path in (Path(writer.directory), *Path(writer.directory).parents[:-1]):
        (up / path).chmod(0o755 if str(path) in PUBLIC else 0o700)
    writer.before(directory)
    _numbers[0] = itertools.count()
    return directory


def content(directory: Path) -> dict[str, bytes]:
    """Return what is in *directory*, links and directories as what they are called."""
    return {
        path.name: path.read_bytes() if path.is_file() and not path.is_symlink() else b""
        for path in directory.iterdir()
    }


def attempt(writer: Writer, directory: Path) -> RolloverError | None:
    try:
        writer.write(directory)
    except RolloverError as error:
        assert error.hint
        return error
    return None


def exchange(directory: Path, leads: Path) -> None:
    """Do what an attacker would do who could: move the directory away, and a link in its place."""
    directory.rename(directory.with_name("moved"))
    directory.symlink_to(leads)
