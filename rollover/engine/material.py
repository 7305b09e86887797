"""The files of a certificate and its key, as a hook names them."""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from rollover.core.errors import CertificateError, PermissionsError, RolloverError

MAX_FILE = 1024 * 1024  # octets: no chain is larger; something else is


@dataclass(frozen=True, slots=True)
class Material:
    """A chain and its key as files hold them; *key* None: the vault has it.

    *refused*: why the key cannot be taken, which matters only where somebody wants the certificate.
    """

    chain: bytes
    key: bytes | None
    path: Path
    refused: RolloverError | None = None


def read_material(fullchain: Path, key: Path | None) -> Material:
    """Read the files that a hook names. Raises CertificateError (65), PermissionsError (77).

    FULLCHAIN may hold the key too. A key that others can read is refused, once somebody wants it: it is
    not secret any more. Hooks are called for every lineage, and a web server's key is not ours to judge.
    """
    from rollover.core.certificate import split_pem  # cryptography: not for commands that only read

    found, chain = split_pem(_read(fullchain, secret=False))
    try:
        if key is not None:
            found = _key_in(key)
        elif found is not None:
            _refuse_open(fullchain)
    except (CertificateError, PermissionsError) as error:
        return Material(chain, None, fullchain, error)
    return Material(chain, found, fullchain)


def _key_in(path: Path) -> bytes:
    from rollover.core.certificate import split_pem

    found, _ = split_pem(_read(path, secret=True))
    if found is None:
        raise CertificateError(f"{path} holds no private key", hint="name the key file as the second argument")
    return found


def _read(path: Path, *, secret: bool) -> bytes:
    if secret:
        _refuse_open(path)
    try:
        content = read_regular(path)
    except PermissionError as error:
        raise PermissionsError(
            f"cannot read {path}: {error.strerror}", hint="run this as root, as the ACME client does"
        ) from error
    except OSError as error:
        raise CertificateError(
            f"cannot read {path}: {error.strerror}",
            hint="give the files of the lineage, e.g. /etc/letsencrypt/live/NAME/fullchain.pem and privkey.pem",
        ) from error
    if len(content) > MAX_FILE:
        raise CertificateError(
            f"{path} is larger than any certificate ({MAX_FILE} octets)", hint="give the certificate file"
        )
    return content


def read_regular(path: Path) -> bytes:
    """Return the content of a regular file, MAX_FILE octets and one at the most. Raises OSError.

    A FIFO that somebody put into a lineage must not hold us up, nor a huge file fill our memory.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "not a regular file", str(path))
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            return file.read(MAX_FILE + 1)
    finally:
        os.close(descriptor)


def _refuse_open(path: Path) -> None:
    try:
        mode = path.stat().st_mode
    except OSError:
        return  # reading it tells why
    if stat.S_IMODE(mode) & 0o007 and path.is_file():
        raise PermissionsError(
            f"{path} can be read by others (mode {stat.S_IMODE(mode):04o}): its key is not secret any more",
            hint=f"chmod o= {path}; if the host has other users, order a certificate with a new key",
        )
