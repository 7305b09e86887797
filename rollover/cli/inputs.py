"""Files and spans that are given on the command line."""

from __future__ import annotations

import sys
from pathlib import Path

from rollover.core.errors import CertificateError, PermissionsError, UsageError

LARGEST = 1024 * 1024  # octets: a hundred times a long chain


def read_pem(file: Path) -> bytes:
    """Return the content of *file*, of standard input for "-".

    Raises CertificateError when there is nothing to read, PermissionsError when we may not.
    """
    try:
        if str(file) == "-":
            content = sys.stdin.buffer.read(LARGEST + 1)
        else:
            with file.open("rb") as stream:
                content = stream.read(LARGEST + 1)
    except PermissionError:
        raise PermissionsError(f"{file}: permission denied", hint="run this as root, or as its owner") from None
    except IsADirectoryError:
        raise CertificateError(
            f"{file}: a directory", hint=f"name the file in it, for certbot {file}/fullchain.pem"
        ) from None
    except OSError as error:
        raise CertificateError(f"{file}: {error.strerror}", hint="name a PEM file that is there") from None
    if len(content) > LARGEST:
        raise CertificateError(f"{file}: larger than {LARGEST} octets", hint="name a PEM file with one chain")
    return content


def duration(option: str, text: str) -> float:
    """Return the seconds of "90s", "20m", "36h", "2d". Raises UsageError naming *option*."""
    from rollover.config import values

    try:
        return values.duration(0, 3650 * values.DAY)(text)
    except values.Wrong as wrong:
        raise UsageError(f'{option} "{text}": {wrong.problem}', hint=wrong.right) from None
