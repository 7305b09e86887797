"""Faults of the state directory and of its disk: two lines and an exit code, and nothing is lost by them."""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from rollover.core.errors import StateError
from rollover.core.ledger import Ledger
from rollover.core.model import Book, Standing
from rollover.core.timing import Instant
from rollover.core.tlsa import Tlsa
from rollover.state.store import Store
from tests.lab import Certificate, Lab, wait_for
from tests.rollover.driving import (
    advance_to,
    advance_until,
    codes,
    left_by_advance,
    only_serves,
    problem,
    service,
    tick,
    to_the_end,
    two_lines,
)

TTL = 2
LAB_OPTIONS = {"ttl": TTL, "senders": False}
SETTINGS = {"check_every": "30s", "retain": "1s", "drain": "1s"}
LONG = {"min_wait": "1d"}  # the rollover stands in the middle of its wait while the state is hurt


class Disks:
    """Small file systems of their own for the state and for the live file."""

    def __init__(self) -> None:
        self._mounted: list[Path] = []

    def mount(self, place: Path, size: str) -> None:
        place.mkdir(mode=0o700, exist_ok=True)
        options = f"size={size},mode=0700"
        subprocess.run(["mount", "--no-mtab", "-t", "tmpfs", "-o", options, "tmpfs", place], check=True)
        self._mounted.append(place)

    def unmount(self) -> None:
        for place in self._mounted:
            subprocess.run(["umount", "--no-mtab", "--lazy", place], check=True)


@pytest.fixture(scope="module")
def disks(_module_labs: list[Lab]) -> Iterator[Disks]:
    it = Disks()
    yield it
    it.unmount()


@pytest.fixture
def host(shared_lab: Lab, disks: Disks) -> Lab:
    """A host in the middle of a rollover that waits, its state and its live file on small disks."""
    if not shared_lab.chain_file.exists():
        disks.mount(shared_lab.state_directory, "2m")
        shared_lab.mx.stop()
        disks.mount(shared_lab.chain_file.parent, "64k")
        shared_lab.mx.start()  # in a mount namespace of its own, which has the new disk
        shared_lab.configure(**SETTINGS, **LONG)
        shared_lab.rollover("adopt", "mail", check=0)
        shared_lab.deploy(shared_lab.certificate(), check=0)
        assert advance_to(shared_lab, "waiting")["problems"] == []
    return shared_lab


def database(lab: Lab) -> Path:
    return lab.state_directory / "rollover.db"


def memory(lab: Lab) -> dict[str, list[object]]:
    """Return what must outlive every fault."""
    found: dict[str, list[object]] = {}
    with closing(sqlite3.connect(f"file:{database(lab)}?mode=ro", uri=True)) as it:
        for table in ("standing", "managed", "inbox", "intent"):
            found[table] = it.execute(f"SELECT * FROM {table} ORDER BY 1, 2").fetchall()
        found["goals"] = it.execute("SELECT book ->> 'goal', book ->> 'active' FROM service").fetchall()
    return found


# ------------------------------------------------------------------------------------------ faults


@contextmanager
def replaced(lab: Lab, change: Callable[[Path], object]) -> Iterator[None]:
    """Do *change* to the database; afterwards it is restored from a backup, and must not have been touched."""
    path, backup = database(lab), lab.directory / "backup.db"
    shutil.copy2(path, backup)
    change(path)
    hurt = path.read_bytes() if path.exists() else None
    try:
        yield
        assert (path.read_bytes() if path.exists() else None) == hurt, "evidence was destroyed"
    finally:
        shutil.copy2(backup, path)


def overwritten(start: float, end: float) -> Callable[[Path], None]:
    """Return what fills the database with 0xff from *start* to *end* (fractions), in whole sectors."""

    def change(path: Path) -> None:
        size = path.stat().st_size
        first, last = (int(size * x) // 512 * 512 for x in (start, end))
        with path.open("r+b") as file:
            file.seek(first)
            file.write(b"\xff" * (last - first))

    return change


def sql(statement: str) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        with closing(sqlite3.connect(path, isolation_level=None)) as it:
            it.execute(statement)

    return change


def of_another(path: Path) -> None:
    """Put another program's database there."""
    path.unlink()
    sql("CREATE TABLE address_book (name TEXT)")(path)


def broken(change: Callable[[Path], object]) -> Callable[[Lab], AbstractContextManager[None]]:
    return lambda lab: replaced(lab, change)


@contextmanager
def locked(lab: Lab) -> Iterator[None]:
    with closing(sqlite3.connect(database(lab), isolation_level=None)) as it:
        it.execute("BEGIN EXCLUSIVE")
        yield


@contextmanager
def read_only(lab: Lab, place: Callable[[Lab], Path]) -> Iterator[None]:
    """Mount a directory or one file read-only."""
    path = place(lab)
    subprocess.run(["mount", "--no-mtab", "--bind", path, path], check=True)
    try:
        subprocess.run(["mount", "--no-mtab", "-o", "remount,bind,ro", path], check=True)
        yield
    finally:
        subprocess.run(["umount", "--no-mtab", path], check=True)


@contextmanager
def open_to_others(lab: Lab) -> Iterator[None]:
    lab.state_directory.chmod(0o755)
    try:
        yield
    finally:
        lab.state_directory.chmod(0o700)


@contextmanager
def full(directory: Path) -> Iterator[None]:
    """Fill the file system of *directory* to its last octet."""
    filler = directory / "filler"
    descriptor = os.open(filler, os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        for size in (4096, 1):
            while True:
                try:
                    os.write(descriptor, b"x" * size)
                except OSError as error:
                    assert error.errno == errno.ENOSPC
                    break
        yield
    finally:
        os.close(descriptor)
        filler.unlink()


@dataclass
class Fault:
    """What hurts, what is said of it, and the exit codes of the commands; *status* 0: it still tells.

    *keeps*: a deploy is still recorded, so it is not tried here.
    """

    hurt: Callable[[Lab], AbstractContextManager[None]]
    words: str
    hint: str
    exits: int = 74
    status: int | None = None
    keeps: bool = False


RESTORE = "restore "
FAULTS = {
    "absent": Fault(broken(lambda path: path.unlink()), "rollover.db is gone, though ", "restore it from a backup"),
    "emptied": Fault(broken(lambda path: os.truncate(path, 0)), "rollover.db is empty, though ", "restore it from a backup"),
    "no-database": Fault(broken(lambda path: path.write_text("something else\n" * 999)), "file is not a database", RESTORE),
    "bad-header": Fault(broken(overwritten(0.0, 0.01)), "file is not a database", RESTORE),
    "bad-middle": Fault(broken(overwritten(0.02, 0.9)), "database disk image is malformed", RESTORE),
    "cut": Fault(broken(lambda path: os.truncate(path, path.stat().st_size // 2)), "database disk image is malformed", RESTORE),
    "bad-row": Fault(broken(sql("UPDATE service SET book = '}' || book")), "malformed", RESTORE),
    "bad-report": Fault(broken(sql("UPDATE service SET report = '}' || report")), "malformed", RESTORE, keeps=True),
    "half-report": Fault(broken(sql("UPDATE service SET report = '{}'")), "malformed", RESTORE, keeps=True),
    "newer": Fault(broken(sql("PRAGMA user_version = 99")), "was written by a newer version of rollover (schema 99", "install that version again"),
    "of-another": Fault(broken(of_another), "is no database of rollover", "check `state`"),
    "locked": Fault(locked, "database is locked", "another process holds it", exits=75),
    "read-only-database": Fault(lambda lab: read_only(lab, database), "readonly database", "mounted read-only", exits=73, status=0),
    "read-only-disk": Fault(lambda lab: read_only(lab, lambda lab: lab.state_directory), "ead-only file system", "read-only", exits=73, status=0),
    "open-directory": Fault(open_to_others, "is open to others (mode 0755)", "chmod 0700 ", exits=77),
    "full-disk": Fault(lambda lab: full(lab.state_directory), "", "make room", exits=73, status=0),
}  # fmt: skip


@pytest.mark.fault(50)
@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_fault(host: Lab, fault: Fault) -> None:
    """`status`, `advance` and `deploy` say it in two lines; what is served and published stays; once mended it goes on."""
    before, records, newer = memory(host), host.primary.tlsa(), host.certificate()
    commands = {
        "status": ("status", "mail"),
        "advance": ("advance", "mail"),
        "deploy": ("deploy", str(newer.fullchain), str(newer.privkey)),
    }
    if fault.keeps:
        del commands["deploy"]
    # A run that finds all as it was in the second of the last look has nothing to write, and meets no fault of a disk.
    seen = datetime.fromisoformat(left_by_advance()["seen"]).timestamp()
    wait_for(lambda: time.time() >= seen + 1, "the second of the last look is over")
    with fault.hurt(host), ThreadPoolExecutor(1 if fault.exits != 75 else 3) as pool:
        for name, done in zip(commands, pool.map(lambda words: host.rollover(*words), commands.values()), strict=True):
            if name == "status" and fault.status is not None:
                assert (done.returncode, done.stderr) == (fault.status, ""), done
                continue
            assert done.returncode == fault.exits, (name, done.stdout, done.stderr)
            message, hint = two_lines(done.stderr)
            assert fault.words in message, (name, message)
            assert fault.hint in hint, (name, hint)
            assert done.stdout == "", name
        assert host.served() == host.old.spki
        assert host.primary.tlsa() == records
    tick(host)
    assert memory(host) == before
    it = tick(host) if left_by_advance()["problems"] else left_by_advance()
    assert (it["phase"], it["level"], it["problems"]) == ("waiting", "ok", [])


def test_damaged_files_of_the_vault(host: Lab) -> None:
    """A garbled chain stops its service with the path and what helps; handing the certificate over mends it, and the key."""
    new, vault = in_progress(host), host.state_directory / "vault"
    chain, key = vault / "chains" / f"{new['fingerprint']}.pem", vault / "keys" / f"{new['spki_sha256']}.pem"
    kept = {path: host.directory / f"kept-{path.name}" for path in (chain, key)}
    for path, copy in kept.items():
        shutil.copy(path, copy)
        path.write_text(path.read_text().replace("M", "N", 1))
    message, hint = two_lines(host.rollover("advance", "mail", check=74).stderr)
    assert message == f"the chain {chain} is damaged"
    assert "hand the certificate over again" in hint
    assert host.served() == host.old.spki
    host.rollover("deploy", kept[chain], kept[key], check=0)
    for path, copy in kept.items():
        assert path.read_bytes() == copy.read_bytes()
    it = advance_to(host, "waiting")
    assert it["problems"] == []


READERS: dict[str, Callable[[Store], object]] = {
    "service.book = '}'": lambda it: it.book("mail"),
    "service.report = '[]'": lambda it: it.report("mail"),
    "service.report = '[1]'": lambda it: it.summaries(),
    "service.due = 'soon'": lambda it: it.due("mail"),
    "service.restore = '}'": lambda it: it.restore("mail"),
    "standing.since = '}'": lambda it: it.book("mail"),
    "standing.state = 'odd'": lambda it: it.book("mail"),
    "ledger.entries = '[]'": lambda it: it.ledgers(["o."]),
    "managed.rdata = 'zz'": lambda it: it.managed(["o."]),
    "zone.updated = '[]'": lambda it: it.zone("z."),
    "zone.servers = '}'": lambda it: it.zone("z."),
    "event.detail = '}'": lambda it: it.events("mail"),
    "event.time = 'then'": lambda it: it.events("mail"),
    "intent.detail = '}'": lambda it: it.open_intents("mail"),
    "intent.at = 'null'": lambda it: it.open_intents("mail"),
}


@pytest.mark.fault(50)
@pytest.mark.parametrize("damage", READERS)
def test_every_damaged_column_is_a_fault_of_the_state(tmp_path: Path, damage: str) -> None:
    """Whichever column is damaged, reading it says that the database is, and what to do: never a bug of the tool."""
    now = Instant(datetime(2026, 1, 1, tzinfo=UTC), 1.0, "boot")
    with closing(Store.open(tmp_path / "rollover.db")) as store:
        store.save_book("mail", Book(standings={"f": Standing()}))
        store.save_report("mail", {"name": "mail"}, now.wall)
        store.save_ledgers([Ledger("o.")])
        store.save_zone("z.", updated=now, servers={})
        store.manage("o.", frozenset({Tlsa(3, 1, 1, bytes(32))}))
        store.event("mail", "phase", "it went on", now.wall)
        store.intend("mail", "update", {}, now)
        column, _, value = damage.partition(" = ")
        table, _, name = column.partition(".")
        sql(f"UPDATE {table} SET {name} = {value}")(tmp_path / "rollover.db")
        with pytest.raises(StateError, match="malformed") as caught:
            READERS[damage](store)
    assert caught.value.exit_code == 74
    assert "restore rollover.db from a backup" in caught.value.hint


def test_key_gone_from_the_vault(host: Lab) -> None:
    """Without the key of the wanted certificate it is critical and nothing is installed; handing it over again helps."""
    new = in_progress(host)
    key = host.state_directory / "vault" / "keys" / f"{new['spki_sha256']}.pem"
    kept = host.directory / "kept.pem"
    shutil.move(key, kept)
    host.rollover("advance", "mail", check=1)
    found = problem(left_by_advance(), "goal-unusable")
    assert "its key is gone from the vault" in found["message"]
    assert "rollover deploy" in found["hint"]
    assert host.rollover("status").returncode == 2
    assert host.served() == host.old.spki
    chain = host.state_directory / "vault" / "chains" / f"{new['fingerprint']}.pem"
    host.rollover("deploy", chain, kept, check=0)
    assert key.stat().st_mode & 0o777 == 0o600
    assert advance_until(host, lambda it: not it["problems"])["phase"] == "waiting"


def in_progress(lab: Lab) -> dict[str, str]:
    """Return the wanted credential as `status` tells it."""
    (found,) = (c for c in service(lab)["credentials"] if c["goal"])
    return dict(found)


@pytest.mark.fault(47)
def test_full_disk_at_the_install(host: Lab) -> None:
    """No room for the live file: critical with its hint, the old file whole; with room again the rollover ends, and so does the next."""
    wanted = in_progress(host)
    before = host.chain_file.read_bytes()
    with full(host.chain_file.parent):
        host.configure(**SETTINGS)
        advance_until(host, lambda it: "install-refused" in codes(it, "critical"))
        found = problem(left_by_advance(), "install-refused")
        assert found["message"] == f"{host.chain_file}: No space left on device"
        assert found["hint"].startswith("make room")
        assert host.chain_file.read_bytes() == before
        assert sorted(p.name for p in host.chain_file.parent.iterdir()) == ["filler", host.chain_file.name]
        assert host.served() == host.old.spki
    to_the_end(host)
    assert host.served() == wanted["spki_sha256"]
    newest: Certificate = host.certificate()
    host.deploy(newest, check=0)
    to_the_end(host)
    only_serves(host, newest)


def test_nothing_there_yet(start_lab: Callable[..., Lab]) -> None:
    """Without database and vault `status` says so and makes nothing; `deploy` keeps a certificate all the same."""
    lab = start_lab(ttl=TTL, senders=False)
    assert lab.rollover("status").stdout.startswith("WARNING mail: not adopted")
    assert not lab.state_directory.exists()
    lab.rollover("advance", check=0)
    new = lab.certificate()
    assert f"{new.fingerprint[:16]} is recorded" in lab.deploy(new, check=0).stdout
    lab.rollover("adopt", "mail", check=0)
    to_the_end(lab)
    only_serves(lab, new)


@pytest.mark.fault(50)
def test_starting_anew(start_lab: Callable[..., Lab]) -> None:
    """With the database lost and no backup, `adopt` takes over what is served, as docs/state.md says, and renewals go on."""
    lab = start_lab(ttl=TTL, senders=False)
    lab.configure(**SETTINGS)
    lab.rollover("adopt", "mail", check=0)
    database(lab).unlink()
    _, hint = two_lines(lab.rollover("advance", check=74).stderr)
    assert "`rollover adopt SERVICE` starts anew" in hint
    lab.rollover("adopt", "mail", check=0)
    new = lab.certificate()
    lab.deploy(new, check=0)
    to_the_end(lab)
    only_serves(lab, new)
