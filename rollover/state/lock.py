"""One writer: a lock on the state directory, freed by the kernel when its holder dies."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from rollover.clock import Clock
from rollover.core.errors import Busy, PermissionsError
from rollover.core.timing import elapsed_boot

POLL = 0.1


@asynccontextmanager
async def locked(path: Path, clock: Clock, *, patience: float, directory: int | None = None) -> AsyncIterator[None]:
    """Hold the lock file *path*; wait for it up to *patience* seconds.

    *directory*: a descriptor of that of *path*, which does not lead elsewhere when the path does by now.
    Raises Busy when another run still holds it then, PermissionsError for a symbolic link or a file of
    another user, who could hold it for ever.
    """
    name = path if directory is None else path.name
    try:
        descriptor = os.open(name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600, dir_fd=directory)
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        raise PermissionsError(
            f"{path}: is a symbolic link, and is not followed",
            hint=f"see where it leads (`ls -l {path}`), then remove it",
        ) from error
    try:
        if (owner := os.fstat(descriptor).st_uid) not in (0, os.geteuid()):
            raise PermissionsError(
                f"{path}: belongs to user {owner}, and is not used as a lock",
                hint=f"see what it is (`ls -l {path}`), then remove it",
            )
        started = clock.now()
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if elapsed_boot(started, clock.now()) >= patience:
                    raise Busy(
                        f"another run of rollover holds {path}",
                        hint="it goes on by itself; `fuser -v " + str(path) + "` shows it. Try again in a minute",
                    ) from None
                await clock.sleep(POLL)
        yield
    finally:
        os.close(descriptor)
