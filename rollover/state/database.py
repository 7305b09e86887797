"""The connection to SQLite: opened, checked, synchronous=FULL; its errors in our words."""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Self

from rollover.core.errors import CannotStore, PermissionsError, StateBusy, StateError
from rollover.state.schema import TABLES, VERSION

BUSY_SECONDS = 20.0
# What the driver raises; it also decodes as UTF-8 what SQLite quotes of a damaged schema.
FAULTS = (sqlite3.Error, UnicodeDecodeError)
DAMAGED = ("malformed", "not a database", "decode", "too big", "no such table", "no such column", "unsupported")


class Database:
    """The connection and its transactions. Not shared between threads."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._db = connection
        self._path = path

    @classmethod
    def open(cls, path: Path, *, write: bool = True) -> Self:
        """Open the database, making it when *write*; else it is opened read-only and may be absent.

        Raises StateError for one that is corrupt, from a newer version, or cannot be opened;
        PermissionsError for a link, or a file that somebody else could write.
        """
        try:
            _refuse_planted(path)
            if write:
                with suppress(FileExistsError):  # SQLite would make it readable for others first; the journal follows
                    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
                connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None)
            elif path.exists():
                connection = sqlite3.connect(
                    f"file:{path}?mode=ro", uri=True, timeout=BUSY_SECONDS, isolation_level=None
                )
            else:
                connection = sqlite3.connect(":memory:", isolation_level=None)
            store = cls(connection, path)
            store._prepare(make=write or not path.exists())
        except (*FAULTS, OSError) as error:
            raise _state_error(path, error) from error
        return store

    def _prepare(self, *, make: bool) -> None:
        self._db.execute("PRAGMA synchronous = FULL")  # an outcome that was told must survive a power cut
        self._db.execute("PRAGMA foreign_keys = ON")
        version = self._db.execute("PRAGMA user_version").fetchone()[0]
        if version == 0 and make:
            # Before the transaction, which gives an empty file its first page.
            pages = self._db.execute("PRAGMA page_count").fetchone()[0]
            with self.transaction():
                if self._db.execute("PRAGMA user_version").fetchone()[0] == 0:  # another run may have been first
                    # A file with anything in it is not made anew, also where its first page seems to be empty.
                    if pages:
                        raise self._foreign()
                    for statement in TABLES.split(";"):
                        if statement.strip():
                            self._db.execute(statement)
                    self._db.execute(f"PRAGMA user_version = {VERSION}")
        elif version > VERSION:
            raise StateError(
                f"{self._path} was written by a newer version of rollover (schema {version}, this one knows {VERSION})",
                hint="install that version again, or restore the backup that was made before it",
            )
        elif version != VERSION:
            raise self._foreign()

    def _foreign(self) -> StateError:
        return StateError(f"{self._path} is no database of rollover", hint="check `state` in the configuration")

    def close(self) -> None:
        """Close the database."""
        self._db.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing; on disk when the block is left. Nested ones join the outer one."""
        if self._db.in_transaction:
            yield
            return
        self._rows("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._roll_back()
            raise
        self._rows("COMMIT")

    def _roll_back(self) -> None:
        if self._db.in_transaction:  # some errors, a full disk among them, have rolled back already
            self._db.execute("ROLLBACK")

    def _rows(self, sql: str, *values: object) -> list[Any]:
        try:
            return self._db.execute(sql, values).fetchall()
        except FAULTS as error:
            raise _state_error(self._path, error) from error

    def _do(self, sql: str, *values: object) -> None:
        with self.transaction():
            self._rows(sql, *values)


def _refuse_planted(path: Path) -> None:
    """Refuse what somebody put there while the directory was open to others: SQLite would follow and believe it.

    Raises PermissionsError.
    """
    try:
        found = path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return
    if not stat.S_ISREG(found.st_mode):
        kind = "a symbolic link" if stat.S_ISLNK(found.st_mode) else "not a regular file"
        raise PermissionsError(
            f"{path}: is {kind}, and is not opened", hint=f"see what it is (`ls -l {path}`), then restore the database"
        )
    if found.st_uid not in (0, os.geteuid()):
        raise PermissionsError(
            f"{path}: belongs to user {found.st_uid}",
            hint=f"if it is yours, `chown root {path}`; else somebody else made it: restore it from a backup",
        )
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise PermissionsError(
            f"{path}: others may write it (mode {stat.S_IMODE(found.st_mode):04o})", hint=f"`chmod 0600 {path}`"
        )


def _state_error(path: Path, error: Exception) -> StateError:
    if isinstance(error, StateError):
        return error
    text = str(error)
    if any(words in text for words in DAMAGED):
        hint = f"restore {path} from a backup; what is served and published stays as it is. docs/state.md says how to start anew"
    elif "readonly" in text or "read-only" in text or "Permission" in text:
        hint = "the state directory has to be writable by the user that runs this (root); is the file system mounted read-only?"
        return CannotStore(f"{path}: {text}", hint=hint)
    elif "full" in text:
        hint = f"make room on the file system of {path.parent}; nothing was lost, the next run goes on"
        return CannotStore(f"{path}: {text}", hint=hint)
    elif "locked" in text:
        hint = f"another process holds it for too long: `fuser -v {path}` shows it; the next run goes on"
        return StateBusy(f"{path}: {text}", hint=hint)
    else:
        hint = f"check `state` in the configuration and the rights of {path.parent}"
    return StateError(f"{path}: {text}", hint=hint)
