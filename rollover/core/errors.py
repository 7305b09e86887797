"""Every error that an operator can meet: what happened, what to do now, the exit code.

An error is two lines on stderr (interface.md): the message says what and where, the hint says what
to do at 03:00. Exit codes follow sysexits(3). ``retryable`` marks those that a retry within seconds
may cure (tenacity retries only these); everything else waits for the next run or for a person.
``code`` is the stable name under which ``status`` reports the same fault.
"""

from __future__ import annotations

import errno
import traceback

EX_USAGE = 64
EX_DATAERR = 65
EX_UNAVAILABLE = 69
EX_SOFTWARE = 70
EX_CANTCREAT = 73
EX_IOERR = 74
EX_TEMPFAIL = 75
EX_NOPERM = 77
EX_CONFIG = 78


class RolloverError(Exception):
    """Base of all errors that are shown to an operator."""

    exit_code: int = EX_SOFTWARE
    retryable: bool = False
    code: str = "error"

    def __init__(self, message: str, *, hint: str) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(RolloverError):
    """The command line asks for something that does not exist."""

    exit_code = EX_USAGE
    code = "usage"


class ConfigError(RolloverError):
    """The configuration names something impossible; message has file, key and value."""

    exit_code = EX_CONFIG
    code = "configuration"


class CertificateError(RolloverError):
    """A certificate or key that must not be served (we reject it)."""

    exit_code = EX_DATAERR
    code = "certificate-rejected"


class PermissionsError(RolloverError):
    """A file or directory is open to others, or closed to us."""

    exit_code = EX_NOPERM
    code = "permissions"


class CannotWrite(RolloverError):
    """A file could not be created or replaced; the old one is untouched."""

    exit_code = EX_CANTCREAT
    code = "cannot-write"


class StateError(RolloverError):
    """The database or the vault cannot be read or written."""

    exit_code = EX_IOERR
    code = "state"


class CannotStore(StateError):
    """No room for the state, or its file system is read-only; what was stored is untouched."""

    exit_code = EX_CANTCREAT


class StateBusy(StateError):
    """Somebody else holds the database."""

    exit_code = EX_TEMPFAIL


class Busy(RolloverError):
    """Another run holds the lock."""

    exit_code = EX_TEMPFAIL
    code = "busy"


class ServerError(RolloverError):
    """A name server, resolver or mail server did not do its part. Theirs, not ours."""

    exit_code = EX_UNAVAILABLE
    code = "server"


class OurBug(RolloverError):
    """Something that cannot happen, happened."""

    exit_code = EX_SOFTWARE
    code = "bug"


def words(error: BaseException, program: str) -> tuple[str, str, int]:
    """Return message, hint and exit code of any error; *program*: our name and version, for a bug of ours."""
    match error:
        case RolloverError():
            return error.message, error.hint, error.exit_code
        case PermissionError():
            return _os_error(error), "run this as root", EX_NOPERM
        case OSError() if error.errno == errno.EROFS:
            return _os_error(error), "that file system is mounted read-only: remount it; nothing is lost", EX_CANTCREAT
        case OSError() if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            return (
                _os_error(error),
                "make room on that file system; nothing is lost, the next run goes on",
                EX_CANTCREAT,
            )
        case OSError():
            return _os_error(error), "see what is wrong there; nothing is lost, the next run goes on", EX_IOERR
    place = ""
    if frames := traceback.extract_tb(error.__traceback__):
        file = frames[-1].filename.rpartition("/")[2]
        place = f" in {file}, line {frames[-1].lineno}"
    # The text of an unforeseen error may quote anything, a key even: only --verbose shows it.
    return (
        f"a bug in {program}: {type(error).__name__}{place}",
        "the mail server goes on with what it serves; run it again as `rollover --verbose …` and report what that prints",
        EX_SOFTWARE,
    )


def _os_error(error: OSError) -> str:
    reason = error.strerror or type(error).__name__
    return f"{error.filename}: {reason}" if error.filename else reason
