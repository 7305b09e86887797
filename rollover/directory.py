"""Open a directory that only root and we can have tampered with, and hold it by descriptor.

Private keys, the state, units and hooks are written there as root. Whoever can write in one directory
on the way can put a link or another directory in its place between our look and our write; so every
step from the root is opened by descriptor, and refused when others may write there. What is written
then is named relative to the descriptor: what becomes of the path meanwhile does not matter.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rollover.core.errors import CannotWrite, PermissionsError

#: For the way: search permission is enough, so that it may be one that we cannot list.
WAY = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
HOLD = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
MAX_LINKS = 40  # as the kernel
ACL = "system.posix_acl_access"


@dataclass(frozen=True, slots=True)
class _Terms:
    """What may be made on the way, and which directories may be passed; see trusted_directory()."""

    create: bool = False
    parents: bool = False
    mode: int = 0o700
    sticky: bool = False


@contextmanager
def trusted_directory(
    path: Path, *, create: bool = False, parents: bool = False, mode: int = 0o700, sticky: bool = False
) -> Iterator[int]:
    """Yield a descriptor of directory *path* (absolute).

    *create*: its last component may be made, with *mode*; *parents*: those above it too (0755). *sticky*:
    directories like /tmp may be passed on the way if what stands there belongs to root or us, because
    nobody else can exchange that; without it they are refused.

    Symbolic links on the way are followed if they lie in a directory that is trusted itself. Raises
    PermissionsError where others could write, CannotWrite (from FileNotFoundError) if it does not exist,
    CannotWrite if it cannot be made or is no directory, OSError if we may not list it.
    """
    way = _walk(path, _Terms(create, parents, mode, sticky))
    try:
        held = os.open(".", HOLD, dir_fd=way)
    except OSError as error:
        error.filename = str(path)  # not "."
        raise
    finally:
        os.close(way)
    try:
        yield held
    finally:
        os.close(held)


def look_trusted(path: Path, *, sticky: bool = False) -> os.stat_result:
    """Return what stat(2) says of directory *path*, which need not be readable. Raises as trusted_directory()."""
    way = _walk(path, _Terms(sticky=sticky))
    try:
        return os.fstat(way)
    finally:
        os.close(way)


def _walk(path: Path, terms: _Terms) -> int:
    """Walk to *path* from the root; every directory passed is checked while it is held open."""
    if not path.is_absolute():
        raise CannotWrite(f"{path}: not an absolute path", hint="write it with a leading /")
    here, place = os.open("/", WAY), Path("/")
    ahead = list(path.parts[1:])[::-1]  # a stack: a link pushes its target on it
    links = 0
    try:
        while ahead:
            shared = _refuse_writable(here, place, sticky=terms.sticky)
            name = ahead.pop()
            found = _look(name, here, place, terms, last=not ahead)
            if shared:
                _refuse_foreign(found, place / name)
            if stat.S_ISLNK(found.st_mode):
                links += 1
                _refuse_loop(links, path)
                target = Path(os.readlink(name, dir_fd=here))
                ahead.extend(part for part in reversed(target.parts) if part != "/")
                if not target.is_absolute():
                    continue
                name, place = "/", Path("/")
            else:
                _refuse_file(found, place / name)
            there = os.open(name, WAY, dir_fd=here)
            os.close(here)
            here, place = there, place / name
        _refuse_writable(here, place, sticky=False)
    except BaseException:
        os.close(here)
        raise
    return here


def _look(name: str, here: int, place: Path, terms: _Terms, *, last: bool) -> os.stat_result:
    try:
        return os.stat(name, dir_fd=here, follow_symlinks=False)
    except FileNotFoundError as error:
        if not (terms.create if last else terms.parents):
            raise CannotWrite(
                f"{place / name}: no such directory", hint=f"create it: `install -d -m 0700 {place / name}`"
            ) from error
    _make(name, here, place, terms.mode if last else 0o755)
    return os.stat(name, dir_fd=here, follow_symlinks=False)


def _make(name: str, here: int, place: Path, mode: int) -> None:
    """Make directory *name*, with *mode* whatever the umask; that another run was first is no error."""
    try:
        parent = os.open(".", HOLD, dir_fd=here)
        try:
            os.mkdir(name, mode & 0o700, dir_fd=parent)
            made = os.open(name, HOLD, dir_fd=parent)
            try:
                os.fchmod(made, mode)  # whatever the umask
            finally:
                os.close(made)
            os.fsync(parent)
        finally:
            os.close(parent)
    except FileExistsError:
        return
    except PermissionError as error:
        raise PermissionsError(f"{place / name}: cannot be created", hint="run it as root") from error
    except OSError as error:
        raise CannotWrite(f"{place / name}: {error.strerror}", hint="the old file is untouched") from error


def _refuse_loop(links: int, path: Path) -> None:
    if links > MAX_LINKS:
        raise CannotWrite(f"{path}: too many symbolic links", hint="name the directory itself")


def _refuse_file(found: os.stat_result, place: Path) -> None:
    if not stat.S_ISDIR(found.st_mode):
        raise CannotWrite(f"{place}: not a directory", hint="name a file below a directory")


def _refuse_writable(descriptor: int, place: Path, *, sticky: bool) -> bool:
    """Raise PermissionsError unless only root and we may write in *place*.

    With *sticky* return True for one where others may write beside us, and exchange only what is theirs.
    """
    found = os.fstat(descriptor)
    _refuse_foreign(found, place)
    # The group bits of a directory with an ACL are its mask: group root says nothing of who may write then.
    by_group = found.st_mode & stat.S_IWGRP and (found.st_gid != 0 or _has_acl(descriptor))
    if not (found.st_mode & stat.S_IWOTH or by_group):
        return False
    if sticky and found.st_mode & stat.S_ISVTX:
        return True
    # At the end sticky does not help: in /tmp another user may create the name before we do.
    raise PermissionsError(
        f"{place}: others may write there (mode {stat.S_IMODE(found.st_mode):04o})",
        hint=f"`chmod go-w {place}`, or another path",
    )


def _has_acl(descriptor: int) -> bool:
    try:
        # By /proc: a descriptor of O_PATH has no attributes of its own to ask for.
        return bool(os.getxattr(f"/proc/self/fd/{descriptor}", ACL))
    except OSError as error:
        return error.errno not in {errno.ENODATA, errno.ENOTSUP}  # none, or a file system without


def _refuse_foreign(found: os.stat_result, place: Path) -> None:
    if found.st_uid not in (0, os.geteuid()):
        raise PermissionsError(
            f"{place}: belongs to user {found.st_uid}, who could exchange what is written there",
            hint=f"keep it below directories of root: `chown root {place}`, or another path",
        )
