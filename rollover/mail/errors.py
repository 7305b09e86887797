"""What goes wrong between us and the mail server of this host."""

from __future__ import annotations

from rollover.core.errors import EX_CONFIG, EX_IOERR, CannotWrite, ServerError


class MailError(ServerError):
    """The mail server of this host, or a command of it, did not do its part."""

    code = "install-refused"


class ReloadFailed(MailError):
    """The reload command failed: the new file is in place, and old processes may live on."""


class MailServerDown(ReloadFailed):
    """It does not run, so nothing can be reloaded; whoever starts it decides."""


class MailConfigError(MailError):
    """The mail server is configured in a way that cannot be taken over."""

    exit_code = EX_CONFIG
    code = "wiring"


class DiskFault(CannotWrite):
    """The disk failed (EIO); the old file is untouched."""

    exit_code = EX_IOERR
