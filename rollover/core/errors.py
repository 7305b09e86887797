"""Every error that an operator can meet: what happened, what to do now, the exit code.

An error is two lines on stderr (interface.md): the message says what and where, the hint says what
to do at 03:00. Exit codes follow sysexits(3). ``retryable`` marks those that a retry within seconds
may cure (tenacity retries only these); everything else waits for the next run or for a person.
``code`` is the stable name under which ``status`` reports the same fault.
"""

from __future__ import annotations

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
