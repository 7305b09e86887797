"""The file that a mail server reads: replaced atomically, its predecessor kept, never half-written.

protocol.md, Effects: new file in the same directory (O_EXCL, O_NOFOLLOW, 0600), the previous kept,
fsync, rename, fsync of the directory.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import secrets
import stat
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from rollover.core.errors import CannotWrite, CertificateError, PermissionsError, RolloverError
from rollover.core.sighting import LiveFile
from rollover.core.tlsa import Chain
from rollover.directory import trusted_directory
from rollover.mail.errors import DiskFault

MAX_SIZE = 1024 * 1024  # octets; no chain comes near
PREVIOUS = ".previous"


@dataclass(frozen=True, slots=True)
class File:
    """One file to be put in place. *owner* and *group* are numeric; None: those of this process."""

    path: Path
    content: bytes
    mode: int = 0o600
    owner: int | None = None
    group: int | None = None


def install(
    path: str | Path, pem: bytes, *, mode: int = 0o600, owner: int | None = None, group: int | None = None
) -> str:
    """Make *pem* the content of *path* and return the file's identity (see LiveFile).

    The content that was there before is kept in ``path.previous``. The same content with the same
    mode is left alone. Left-overs of killed runs are removed. The directory is made (0700) if only
    its last component is missing.

    Raises PermissionsError (77) when the path or a directory above it is open to others, is a link
    or no regular file, or is closed to us; CannotWrite (73) and DiskFault (74) when the disk
    refuses. Then the old file is as it was, and nothing is left beside it.
    """
    return install_files([File(Path(path), pem, mode, owner, group)])


def install_files(files: Sequence[File]) -> str:
    """Put all of *files* in place as install() does one; return their identity together.

    All are written and synced before the first is renamed, so a full disk changes none of them.
    Each is replaced atomically, but one after the other: who reads a key and a certificate in
    separate files during those microseconds may see them not match. One file for both has no such
    moment.
    """
    with ExitStack() as stack:
        # Each directory is held before anything is written: a key and its certificate go to the same one.
        held = {file.path.parent: stack.enter_context(_held(file.path)) for file in files}
        staged = [stack.enter_context(_staged(file, held[file.path.parent])) for file in files]
        return "+".join([file.commit() for file in staged])


class _Staged:
    """A file that is written beside its place and waits for the rename."""

    def __init__(self, file: File, directory: int) -> None:
        self._file = file
        self._directory = directory
        self._new: str | None = None
        self._kept: str | None = None

    def write(self) -> None:
        """Write the new file, and a copy of the old one; nothing if all is as wanted."""
        file, directory = self._file, self._directory
        uid = os.geteuid() if file.owner is None else file.owner
        gid = os.getegid() if file.group is None else file.group
        before, old = _present(directory, file.path)
        if before is not None and old == file.content:
            if (stat.S_IMODE(before.st_mode), before.st_uid, before.st_gid) == (file.mode, uid, gid):
                return
            old = None  # only the mode is wrong: the one before it stays the previous
        self._new = _write(directory, file.path.name, file.content, file.mode, uid, gid)
        if before is not None and old is not None:
            mode = stat.S_IMODE(before.st_mode) & file.mode
            self._kept = _write(directory, file.path.name, old, mode, before.st_uid, before.st_gid)

    def commit(self) -> str:
        """Rename; return the identity of what is in place then."""
        name = self._file.path.name
        with _explained(self._file.path):
            if self._kept is not None:
                _rename(self._directory, self._kept, name + PREVIOUS)
                self._kept = None
            if self._new is not None:
                _rename(self._directory, self._new, name)
                self._new = None
                os.fsync(self._directory)
            return _identity(self._directory, name, self._file.content)

    def clean(self) -> None:
        """Remove what was not renamed."""
        for name in (self._new, self._kept):
            if name is not None:
                with suppress(OSError):
                    os.unlink(name, dir_fd=self._directory)


@contextmanager
def _held(path: Path) -> Iterator[int]:
    """Yield a descriptor of the directory of *path*."""
    with ExitStack() as stack:
        with _explained(path):
            directory = stack.enter_context(trusted_directory(path.parent, create=True))
        yield directory


@contextmanager
def _staged(file: File, directory: int) -> Iterator[_Staged]:
    """Yield *file*, written and ready to be renamed; remove what was not."""
    with ExitStack() as stack:
        with _explained(file.path):
            _sweep(directory, file.path.name)
            staged = _Staged(file, directory)
            stack.callback(staged.clean)
            staged.write()
        yield staged


def read_live(path: str | Path) -> LiveFile:
    """Return what a restart of the mail server would present; never raises for what the file is.

    *identity* is "inode:mtime_ns:sha256", empty for no file. *chain* is None, and *problem* says why,
    when a server could not use it: absent, unreadable, the key not first (smtpd_tls_chain_files),
    several keys, or a key that is not that of the leaf.
    """
    path = Path(path)
    found = look(path)
    if found.problem:
        return LiveFile(str(path), found.identity, None, problem=found.problem)
    try:
        return LiveFile(str(path), found.identity, usable_chain(found.content))
    except RolloverError as error:
        return LiveFile(str(path), found.identity, None, problem=f"{path}: {error.message}")


@dataclass(frozen=True, slots=True)
class Look:
    """What stands at a path: its identity ("" for nothing), its content, or the *problem* with it."""

    identity: str = ""
    content: bytes = b""
    problem: str = ""


def look(path: Path) -> Look:
    """Read *path* as the mail server would, links followed; a FIFO or a huge file does not hold us."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
        try:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode):
                return Look(problem=f"{path} is not a regular file")
            with os.fdopen(descriptor, "rb", closefd=False) as file:
                content = file.read(MAX_SIZE + 1)
        finally:
            os.close(descriptor)
    except FileNotFoundError:
        return Look(problem=f"{path} does not exist")
    except OSError as error:
        return Look(problem=f"{path} cannot be read: {error.strerror}")
    identity = f"{found.st_ino}:{found.st_mtime_ns}:{hashlib.sha256(content).hexdigest()}"
    large = len(content) > MAX_SIZE
    return Look(identity, content, f"{path} is larger than {MAX_SIZE // 1024} KiB" if large else "")


def usable_chain(pem: bytes) -> Chain:
    """Return the chain in *pem*: one key, then its leaf, then issuers, as Postfix wants them.

    Raises CertificateError. Dates and names are not looked at: a server would present it all the same.
    """
    # Here, because commands that never look at a certificate should not pay for it.
    from rollover.core.certificate import split_pem

    key, chain = split_pem(pem)
    if key is not None and pem.find(key.split(b"\n", 1)[0]) > pem.find(chain.split(b"\n", 1)[0]) >= 0 and chain:
        raise CertificateError("the key does not stand before its certificate", hint="Postfix wants the key first")
    return matching_chain(key or b"", chain)


def matching_chain(key_pem: bytes, chain_pem: bytes) -> Chain:
    """Return the chain in *chain_pem* if *key_pem* is the key of its leaf. Raises CertificateError."""
    from rollover.core.certificate import certificates_from_pem, chain_from_der, key_spki, parse_key

    chain = chain_from_der(certificates_from_pem(chain_pem))
    if key_spki(parse_key(key_pem)) != chain.links[0].spki:
        raise CertificateError(
            "the key is not that of the certificate", hint="a server refuses TLS with it: put the right key beside it"
        )
    return chain


def _present(directory: int, path: Path) -> tuple[os.stat_result | None, bytes | None]:
    """Return what stands at the final path, and its content: None for nothing, or nothing that could be ours.

    Both are of the file that was opened: else a copy of one that took the name in between would get the
    rights of the one that was looked at. Raises PermissionsError for a link.
    """
    try:
        # Before it is opened, for the words: a link is not opened, and a device would be.
        _refuse_irregular(os.stat(path.name, dir_fd=directory, follow_symlinks=False), path)
    except FileNotFoundError:
        return None, None
    descriptor = os.open(path.name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory)
    with os.fdopen(descriptor, "rb") as file:
        found = os.fstat(descriptor)
        _refuse_irregular(found, path)
        content = file.read(MAX_SIZE + 1)
    return found, content if len(content) <= MAX_SIZE else None


def _refuse_irregular(found: os.stat_result, path: Path) -> None:
    if not stat.S_ISREG(found.st_mode):
        kind = "a symbolic link" if stat.S_ISLNK(found.st_mode) else "not a regular file"
        raise PermissionsError(
            f"{path}: is {kind}, and is not replaced",
            hint=f"see where it leads (`ls -l {path}`), then remove it, or configure another path",
        )


def _write(directory: int, name: str, content: bytes, mode: int, uid: int, gid: int) -> str:
    """Write *content* to a new file, durably, and return its name; nothing is left of a failure."""
    temporary = f".{name}.rollover-{secrets.token_hex(8)}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(temporary, flags, 0o600, dir_fd=directory)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            if (uid, gid) != (os.geteuid(), os.getegid()):
                os.fchown(descriptor, uid, gid)
            os.fchmod(descriptor, mode)
            os.fsync(descriptor)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary, dir_fd=directory)
        raise
    return temporary


def _rename(directory: int, old: str, new: str) -> None:
    os.rename(old, new, src_dir_fd=directory, dst_dir_fd=directory)


def _identity(directory: int, name: str, content: bytes) -> str:
    found = os.stat(name, dir_fd=directory, follow_symlinks=False)
    return f"{found.st_ino}:{found.st_mtime_ns}:{hashlib.sha256(content).hexdigest()}"


def _sweep(directory: int, name: str) -> None:
    """Remove what killed runs left: files of our own naming pattern, in a directory where nobody else may write.

    Whoever they belong to: one that was killed at the last moment has given it to the daemon's user already.
    """
    pattern = re.compile(re.escape(f".{name}.rollover-") + "[0-9a-f]{16}")
    for entry in os.listdir(directory):
        if pattern.fullmatch(entry) and stat.S_ISREG(os.stat(entry, dir_fd=directory, follow_symlinks=False).st_mode):
            os.unlink(entry, dir_fd=directory)


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Turn an OSError into the error of this project that tells what to do."""
    try:
        yield
    except OSError as error:
        text = f"{path}: {os.strerror(error.errno) if error.errno else error}"
        if error.errno in (errno.EACCES, errno.EPERM):
            raise PermissionsError(text, hint="run it as root, or mend the permissions of the directory") from error
        if error.errno == errno.EIO:
            raise DiskFault(text, hint="the disk fails: look at `dmesg`; the old file still serves") from error
        hints = {
            errno.ENOSPC: "make room on that file system; the old file still serves",
            errno.EDQUOT: "raise the quota there; the old file still serves",
            errno.EROFS: "the file system is mounted read-only: remount it, or mend the unit's ReadWritePaths",
        }
        raise CannotWrite(text, hint=hints.get(error.errno or 0, "the old file still serves")) from error
