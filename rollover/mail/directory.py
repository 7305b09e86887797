"""Open a directory that only root and we can have tampered with, and hold it by descriptor.

A private key goes in there by rename. Whoever can write in one directory on the way can put a link
or another directory in its place between our look and our write; so every step from the root is
opened by descriptor, and refused when others may write there.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rollover.core.errors import CannotWrite, PermissionsError

DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
MAX_LINKS = 40  # as the kernel


@contextmanager
def trusted_directory(path: Path, *, create: bool = False) -> Iterator[int]:
    """Yield a descriptor of directory *path* (absolute); with *create* the last component may be made, 0700.

    Symbolic links on the way are followed if they lie in a directory that is trusted itself. Raises
    PermissionsError where others could write, CannotWrite if it does not exist or is no directory.
    """
    if not path.is_absolute():
        raise CannotWrite(f"{path}: not an absolute path", hint="write it with a leading /")
    descriptor = _open(path, create=create)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _open(path: Path, *, create: bool) -> int:
    """Walk to *path* from the root; every directory passed is checked while it is held open."""
    here, place = os.open("/", DIRECTORY), Path("/")
    ahead = list(path.parts[1:])[::-1]  # a stack: a link pushes its target on it
    links = 0
    try:
        while ahead:
            _refuse_writable(here, place)
            name = ahead.pop()
            found = _look(name, here, place, create=create and not ahead)
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
            there = os.open(name, DIRECTORY, dir_fd=here)
            os.close(here)
            here, place = there, place / name
        _refuse_writable(here, place)
    except BaseException:
        os.close(here)
        raise
    return here


def _look(name: str, here: int, place: Path, *, create: bool) -> os.stat_result:
    try:
        return os.stat(name, dir_fd=here, follow_symlinks=False)
    except FileNotFoundError:
        if not create:
            raise CannotWrite(
                f"{place / name}: no such directory", hint=f"create it: `install -d -m 0700 {place / name}`"
            ) from None
    _make(name, here, place)
    return os.stat(name, dir_fd=here, follow_symlinks=False)


def _make(name: str, here: int, place: Path) -> None:
    try:
        os.mkdir(name, 0o700, dir_fd=here)
        os.chmod(name, 0o700, dir_fd=here)  # whatever the umask
        os.fsync(here)
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


def _refuse_writable(descriptor: int, place: Path) -> None:
    """Raise PermissionsError unless only root and we may write in *place*."""
    found = os.fstat(descriptor)
    if found.st_uid not in (0, os.geteuid()):
        raise PermissionsError(
            f"{place}: belongs to user {found.st_uid}, who could exchange the key",
            hint=f"keep the file below directories of root: `chown root {place}`, or another path",
        )
    # Sticky does not help: in /tmp another user may create the name before we do.
    if found.st_mode & stat.S_IWOTH or (found.st_mode & stat.S_IWGRP and found.st_gid != 0):
        raise PermissionsError(
            f"{place}: others may write there (mode {stat.S_IMODE(found.st_mode):04o})",
            hint=f"`chmod go-w {place}`, or another path",
        )
