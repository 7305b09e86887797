"""The live file: replaced whole or not at all, nowhere that others can write, nothing left behind."""

from __future__ import annotations

import errno
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rollover.core.errors import CannotWrite, PermissionsError, RolloverError
from rollover.mail.livefile import File, install, install_files, read_live
from tests.lab.certificates import Authority, Certificate
from tests.servers.mail_support import safe_directory

NOBODY = 65534


@pytest.fixture
def safe() -> Iterator[Path]:
    with safe_directory() as directory:
        yield directory


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority") / "ca")


@pytest.fixture(scope="module")
def one(authority: Authority) -> Certificate:
    return authority.issue()


@pytest.fixture(scope="module")
def two(authority: Authority) -> Certificate:
    return authority.issue(key="rsa")


@pytest.fixture
def disk(safe: Path) -> Path:
    """A file system of 64 KiB."""
    path = safe / "disk"
    path.mkdir(mode=0o700)
    subprocess.run(["mount", "--no-mtab", "-t", "tmpfs", "-o", "size=64k,mode=0700", "tmpfs", path], check=True)
    return path


def pem(certificate: Certificate) -> bytes:
    return certificate.privkey.read_bytes() + certificate.fullchain.read_bytes()


def listing(directory: Path) -> dict[str, tuple[bytes, int]]:
    return {p.name: (p.read_bytes(), p.stat().st_mode & 0o7777) for p in sorted(directory.iterdir()) if p.is_file()}


def refusal(call: Callable[[], object]) -> RolloverError:
    with pytest.raises(RolloverError) as caught:
        call()
    assert caught.value.hint
    return caught.value


# --- what it does ---------------------------------------------------------------------------------


def test_first_file_is_private_and_so_is_its_directory(safe: Path, one: Certificate) -> None:
    """The missing last directory is made 0700, the file 0600; its identity is what read_live() tells."""
    path = safe / "live" / "mail.pem"

    identity = install(path, pem(one))

    assert listing(path.parent) == {"mail.pem": (pem(one), 0o600)}
    assert path.parent.stat().st_mode & 0o7777 == 0o700
    seen = read_live(path)
    assert (seen.identity, seen.problem, seen.wiring) == (identity, "", "")
    assert seen.chain is not None and seen.chain.fingerprint == one.fingerprint
    assert re.fullmatch(rf"{path.stat().st_ino}:{path.stat().st_mtime_ns}:[0-9a-f]{{64}}", identity)


def test_umask_makes_it_neither_wider_nor_narrower(safe: Path, one: Certificate) -> None:
    """A hostile umask changes nothing about the mode."""
    for umask in (0o000, 0o777):
        before = os.umask(umask)
        try:
            install(safe / f"{umask}.pem", pem(one))
        finally:
            os.umask(before)
        assert (safe / f"{umask}.pem").stat().st_mode & 0o7777 == 0o600


def test_previous_is_kept(safe: Path, one: Certificate, two: Certificate) -> None:
    """The content that was replaced stands beside it, private; a reader of the old file keeps it."""
    path = safe / "mail.pem"
    first = install(path, pem(one))
    with path.open("rb") as reader:
        second = install(path, pem(two))
        assert reader.read() == pem(one)

    assert listing(safe) == {"mail.pem": (pem(two), 0o600), "mail.pem.previous": (pem(one), 0o600)}
    assert first != second


def test_same_content_is_left_alone(safe: Path, one: Certificate, two: Certificate) -> None:
    """Installing twice writes nothing: same inode, same time, and the previous stays what it was."""
    path = safe / "mail.pem"
    install(path, pem(one))
    identity = install(path, pem(two))
    before = safe.stat().st_mtime_ns

    assert install(path, pem(two)) == identity
    assert safe.stat().st_mtime_ns == before
    assert (safe / "mail.pem.previous").read_bytes() == pem(one)


def test_loosened_mode_is_mended(safe: Path, one: Certificate) -> None:
    """The same content in a file that others can read is written anew, and the loose copy is gone."""
    path = safe / "mail.pem"
    install(path, pem(one))
    path.chmod(0o644)

    install(path, pem(one))

    assert listing(safe) == {"mail.pem": (pem(one), 0o600)}


def test_owner_group_and_mode_are_set(safe: Path, one: Certificate) -> None:
    """A daemon that reads its key as another user gets it so from the first moment."""
    path = safe / "mail.pem"

    install(path, pem(one), mode=0o640, owner=0, group=NOBODY)

    found = path.stat()
    assert (found.st_uid, found.st_gid, found.st_mode & 0o7777) == (0, NOBODY, 0o640)


def test_trusted_link_on_the_way_is_followed(safe: Path, one: Certificate) -> None:
    """A link in a directory of root's, absolute or relative, is a way like any other."""
    (safe / "real").mkdir(mode=0o755)
    (safe / "relative").symlink_to("real")
    (safe / "absolute").symlink_to(safe / "relative")

    install(safe / "absolute" / "mail.pem", pem(one))

    assert (safe / "real" / "mail.pem").read_bytes() == pem(one)


# --- what it refuses ------------------------------------------------------------------------------


@pytest.mark.fault(62)
def test_link_at_the_end_is_refused(safe: Path, one: Certificate) -> None:
    """A path that is a link, wherever it leads, is not replaced, and its target stays as it was."""
    (safe / "target").write_text("precious")
    for name, target in (("absolute", safe / "target"), ("dangling", "nothing")):
        (safe / name).symlink_to(target)

        error = refusal(lambda name=name: install(safe / name, pem(one)))

        assert (type(error), error.exit_code) == (PermissionsError, 77)
        assert "symbolic link" in error.message and "ls -l" in error.hint
        assert (safe / name).is_symlink()
    assert (safe / "target").read_text() == "precious"
    assert len(list(safe.iterdir())) == 3


def test_fifo_is_refused_and_does_not_hold_anyone(safe: Path, one: Certificate) -> None:
    """A FIFO at the path holds neither the reader nor the writer."""
    path = safe / "mail.pem"
    os.mkfifo(path)

    assert "not a regular file" in read_live(path).problem
    assert "not a regular file" in refusal(lambda: install(path, pem(one))).message


def _group_writable(directory: Path) -> None:
    os.chown(directory, 0, 50)
    directory.chmod(0o770)


UNSAFE: dict[str, Callable[[Path], None]] = {
    "writable by all": lambda d: d.chmod(0o777),
    "sticky like /tmp": lambda d: d.chmod(0o1777),
    "writable by a group": _group_writable,
    "of another user": lambda d: os.chown(d, NOBODY, 0),
}


@pytest.mark.fault(62)
@pytest.mark.parametrize("spoil", UNSAFE.values(), ids=UNSAFE)
@pytest.mark.parametrize("place", ["its directory", "a directory above"])
def test_unsafe_directory_is_refused(safe: Path, one: Certificate, spoil: Callable[[Path], None], place: str) -> None:
    """Where others could exchange the file, or a directory on the way, no key is written."""
    bad = safe / "bad"
    bad.mkdir(mode=0o700)
    inner = bad / "live"
    inner.mkdir(mode=0o700)
    spoil(bad)
    directory = bad if place == "its directory" else inner

    error = refusal(lambda: install(directory / "mail.pem", pem(one)))

    assert (type(error), error.exit_code) == (PermissionsError, 77)
    assert str(bad) in error.message
    assert [p for p in bad.rglob("*") if p.is_file()] == []


def test_link_in_an_unsafe_directory_is_refused(safe: Path, one: Certificate) -> None:
    """A safe directory reached through a link that others can exchange is not safe."""
    (safe / "real").mkdir(mode=0o700)
    (safe / "open").mkdir(mode=0o777)
    (safe / "open").chmod(0o1777)
    (safe / "open" / "way").symlink_to(safe / "real")

    error = refusal(lambda: install(safe / "open" / "way" / "mail.pem", pem(one)))

    assert str(safe / "open") in error.message
    assert list((safe / "real").iterdir()) == []


def test_link_in_circles_ends(safe: Path, one: Certificate) -> None:
    """Links that lead to each other are an error, not a hang."""
    (safe / "a").symlink_to("b")
    (safe / "b").symlink_to("a")

    assert "too many symbolic links" in refusal(lambda: install(safe / "a" / "mail.pem", pem(one))).message


def test_only_the_last_directory_is_made(safe: Path, one: Certificate) -> None:
    """A mistyped path does not grow a tree; the hint makes the directory."""
    error = refusal(lambda: install(safe / "no" / "such" / "mail.pem", pem(one)))

    assert (type(error), error.exit_code) == (CannotWrite, 73)
    assert f"install -d -m 0700 {safe}/no" in error.hint
    assert list(safe.iterdir()) == []


def test_another_user_is_refused(safe: Path, one: Certificate) -> None:
    """Without the right to write there it is a matter of permission, 77."""
    safe.chmod(0o755)
    script = (
        "import os, sys; from rollover.mail.livefile import install; from rollover.core.errors import PermissionsError\n"
        "os.setgid(65534); os.setuid(65534)\n"
        "try: install(sys.argv[1], b'x')\n"
        "except PermissionsError as error: print(error.message, error.hint)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, safe / "m.pem"], capture_output=True, text=True, check=True)

    assert "Permission denied" in done.stdout and "root" in done.stdout


# --- when the disk refuses ------------------------------------------------------------------------


@pytest.mark.fault(47)
def test_full_disk_leaves_the_old_file(disk: Path, one: Certificate, two: Certificate) -> None:
    """With no room nothing is changed and nothing is left; with room again the same call succeeds."""
    path = disk / "mail.pem"
    install(path, pem(one))
    before = listing(disk)
    filler = disk / "filler"
    with pytest.raises(OSError, match="No space left"), filler.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))

    error = refusal(lambda: install(path, pem(two)))

    assert (type(error), error.exit_code) == (CannotWrite, 73)
    assert "No space left" in error.message and "make room" in error.hint
    filler.unlink()
    assert listing(disk) == before
    install(path, pem(two))
    assert path.read_bytes() == pem(two)


def test_unwritable_disk_changes_neither_file_of_a_pair(
    safe: Path, disk: Path, one: Certificate, two: Certificate
) -> None:
    """Key and certificate are both written before either is renamed: one refusal, no mixture."""
    key, cert = safe / "mail.key", disk / "mail.crt"

    def files(certificate: Certificate) -> list[File]:
        return [File(key, certificate.privkey.read_bytes()), File(cert, certificate.fullchain.read_bytes(), 0o644)]

    install_files(files(one))
    subprocess.run(["mount", "--no-mtab", "-o", "remount,ro", disk], check=True)

    error = refusal(lambda: install_files(files(two)))

    assert (type(error), error.exit_code) == (CannotWrite, 73)
    assert "Read-only file system" in error.message and str(cert) in error.message
    assert (key.read_bytes(), cert.read_bytes()) == (one.privkey.read_bytes(), one.fullchain.read_bytes())
    assert sorted(p.name for p in safe.iterdir()) == ["disk", "mail.key"]


@pytest.mark.fault(47)
def test_failing_disk_is_an_io_error(
    safe: Path, one: Certificate, two: Certificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """EIO when the new file is made durable: 74, the old file stays, no temporary file is left."""
    path = safe / "mail.pem"
    install(path, pem(one))

    def fail(descriptor: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fsync", fail)
    error = refusal(lambda: install(path, pem(two)))

    assert error.exit_code == 74
    assert "Input/output error" in error.message and "dmesg" in error.hint
    assert listing(safe) == {"mail.pem": (pem(one), 0o600)}


# --- kill -9 --------------------------------------------------------------------------------------

INSTALL = """
import sys, pathlib
from rollover.mail.livefile import install
install(sys.argv[1], pathlib.Path(sys.argv[2]).read_bytes())
"""
# The calls of a run that replaces a file; the process dies on entering each of them.
POINTS = [("fchmod", 1), ("fsync", 1), ("fchmod", 2), ("fsync", 2), ("renameat", 1), ("renameat", 2), ("fsync", 3)]


@pytest.mark.fault(63)
@pytest.mark.parametrize(("call", "number"), POINTS, ids=[f"{call} {number}" for call, number in POINTS])
def test_killed_at_any_call(safe: Path, one: Certificate, two: Certificate, call: str, number: int) -> None:
    """Killed at any call the file is wholly old or wholly new; the next install ends as if never killed."""
    path, source = safe / "live" / "mail.pem", safe / "source"
    install(path, pem(one))
    source.write_bytes(pem(two))
    command = ["strace", "-f", "-qq", "-o", safe / "trace", "-e", f"inject={call}:signal=KILL:when={number}"]

    killed = subprocess.run([*command, sys.executable, "-c", INSTALL, path, source], timeout=60, check=False)

    assert killed.returncode == -9
    assert (safe / "trace").read_text().count(f" {call}(") == number
    assert path.read_bytes() == pem(two if (call, number) == ("fsync", 3) else one)
    assert read_live(path).problem == ""
    left = [name for name in listing(path.parent) if name.startswith(".")]
    assert len(left) == {"fchmod 1": 1, "fsync 1": 1, "renameat 2": 1, "fsync 3": 0}.get(f"{call} {number}", 2)
    assert all(path.with_name(name).stat().st_mode & 0o077 == 0 for name in left)

    install(path, pem(two))

    assert listing(path.parent) == {"mail.pem": (pem(two), 0o600), "mail.pem.previous": (pem(one), 0o600)}


# --- reading --------------------------------------------------------------------------------------


def test_files_that_no_server_can_use(safe: Path, one: Certificate, two: Certificate) -> None:
    """Each unusable live file has no chain, and a problem that names the file and the reason."""
    key, chain, other = one.privkey.read_bytes(), one.fullchain.read_bytes(), two.privkey.read_bytes()
    cases = {
        "empty": (b"", "private key|certificate"),
        "garbage": (os.urandom(2000), "private key|certificate"),
        "key alone": (key, "certificate"),
        "chain alone": (chain, "private key"),
        "key behind its certificate": (chain + key, "before its certificate"),
        "another's key": (other + chain, "not that of the certificate"),
        "two keys": (key + other + chain, "keys"),
        "cut in the middle": ((key + chain)[:-200], "truncated"),
        "enormous": (key + chain + b"\n" * 2**20, "larger than"),
    }
    for name, (content, reason) in cases.items():
        path = safe / "mail.pem"
        path.write_bytes(content)

        seen = read_live(path)

        assert seen.chain is None, name
        assert re.search(reason, seen.problem), (name, seen.problem)
        assert str(path) in seen.problem and "\n" not in seen.problem
        assert seen.identity


def test_absent_file_has_no_identity(safe: Path) -> None:
    """No file, no identity; a directory in its place is no file either."""
    missing, directory = read_live(safe / "mail.pem"), read_live(safe)

    assert (missing.identity, missing.chain) == (directory.identity, directory.chain) == ("", None)
    assert "does not exist" in missing.problem and "not a regular file" in directory.problem


@pytest.mark.fault(63)
def test_left_overs_of_others_are_not_touched(safe: Path, one: Certificate) -> None:
    """Only left-overs of this very file, of our naming, are swept."""
    names = [".mail.pem.rollover-0123456789abcdef", ".web.pem.rollover-0123456789abcdef", ".mail.pem.swp", "mail.pem~"]
    for name in names:
        (safe / name).write_text("x")

    install(safe / "mail.pem", pem(one))

    assert sorted(p.name for p in safe.iterdir()) == sorted([*names[1:], "mail.pem"])


@pytest.mark.fault(63)
def test_a_left_over_that_was_given_to_the_daemon_is_swept(safe: Path, one: Certificate) -> None:
    """A run that died right before the rename left a key with the owner of the file that was to be: it goes, too."""
    left = safe / ".mail.pem.rollover-0123456789abcdef"
    left.write_bytes(pem(one))
    os.chown(left, 65534, 65534)
    left.chmod(0o640)

    install(safe / "mail.pem", pem(one), mode=0o640, owner=65534, group=65534)

    assert [p.name for p in safe.iterdir()] == ["mail.pem"]
