"""Keys and chains on disk: 0600 under 0700, written whole or not at all, immutable once there.

``keys/SPKI.pem`` holds a private key once, however many certificates it has; ``chains/FINGERPRINT.pem``
a chain, leaf first. Nothing else of this tool holds a key but the live file and its predecessor.
"""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from rollover.core.errors import CannotStore, CertificateError, PermissionsError, StateError

OWN = ".new-"


class Vault:
    """The directory ``STATE/vault``."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._keys = path / "keys"
        self._chains = path / "chains"

    def prepare(self) -> None:
        """Make the directories, 0700; refuse those that others may enter; drop what a killed run left.

        Raises PermissionsError, StateError.
        """
        for directory in (self._path, self._keys, self._chains):
            make_private(directory)
        for directory in (self._keys, self._chains):
            for left in directory.glob(f"{OWN}*"):
                if not Path(f"/proc/{left.name.rpartition('-')[2]}").exists():  # else a hook is just writing it
                    left.unlink(missing_ok=True)

    def put(self, *, fingerprint: str, spki: str, chain: bytes, key: bytes | None) -> None:
        """Store a chain and its key (PEM); what is there already stays as it is, unless it is damaged.

        *key* None: the vault has to have the key of *spki* already. The key goes first: a chain in
        the vault always has its key.
        """
        if key is not None:
            _write(self._keys / f"{spki}.pem", key, sound=lambda pem: _is_key(pem, spki))
        elif not self.has_key(spki):
            raise StateError(
                f"no key for {spki[:16]} in the vault", hint="give the key file too: `rollover deploy FULLCHAIN KEY`"
            )
        _write(self._chains / f"{fingerprint}.pem", chain, sound=lambda pem: _is_chain(pem, fingerprint))

    def has_key(self, spki: str) -> bool:
        """Tell whether the private key of *spki* is here."""
        return (self._keys / f"{spki}.pem").is_file()

    def key(self, spki: str) -> bytes:
        """Return a private key, PEM. Raises StateError when it is gone or damaged."""
        return _read(self._keys / f"{spki}.pem", "key", sound=lambda pem: _is_key(pem, spki))

    def chain(self, fingerprint: str) -> bytes:
        """Return a chain, PEM. Raises StateError when it is gone or damaged."""
        return _read(self._chains / f"{fingerprint}.pem", "chain", sound=lambda pem: _is_chain(pem, fingerprint))

    def has_chain(self, fingerprint: str) -> bool:
        """Tell whether a chain is here."""
        return (self._chains / f"{fingerprint}.pem").is_file()

    def empty(self) -> bool:
        """Tell whether nothing was ever stored here."""
        return not self._chains.is_dir() or not any(self._chains.iterdir())


def make_private(directory: Path) -> None:
    """Make *directory* with mode 0700, or check that nobody else may enter or change it.

    Raises PermissionsError for one that belongs to somebody else or is open to others; StateError
    when it cannot be made.
    """
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = directory.lstat()
    except OSError as error:
        raise _cannot(error)(
            f"cannot make {directory}: {error.strerror}",
            hint="check `state` in the configuration, rights and free space",
        ) from error
    _refuse_open(directory, found)


def check_private(directory: Path) -> None:
    """Check the same of a directory that may be absent, and make nothing."""
    try:
        found = directory.lstat()
    except FileNotFoundError:
        return
    _refuse_open(directory, found)


def _refuse_open(directory: Path, found: os.stat_result) -> None:
    if found.st_uid not in (os.geteuid(), 0):
        raise PermissionsError(
            f"{directory} belongs to user {found.st_uid}", hint=f"chown root: {directory}, or run this as its owner"
        )
    if found.st_mode & 0o077:
        raise PermissionsError(
            f"{directory} is open to others (mode {found.st_mode & 0o777:04o})", hint=f"chmod 0700 {directory}"
        )


def _is_key(pem: bytes, spki: str) -> bool:
    """Tell whether *pem* is the private key of *spki*."""
    from rollover.core.certificate import key_spki, parse_key  # cryptography: not for commands that only read

    try:
        return hashlib.sha256(key_spki(parse_key(pem))).hexdigest() == spki
    except CertificateError:
        return False


def _is_chain(pem: bytes, fingerprint: str) -> bool:
    """Tell whether *pem* is a chain whose leaf is *fingerprint*."""
    from rollover.core.certificate import parse_chain

    try:
        return parse_chain(pem).fingerprint == fingerprint
    except CertificateError:
        return False


def _write(path: Path, content: bytes, *, sound: Callable[[bytes], bool]) -> None:
    with suppress(OSError):
        if sound(path.read_bytes()):
            return
    temporary = path.with_name(f"{OWN}{path.name}-{os.getpid()}")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as out:
                out.write(content)
                out.flush()
                os.fsync(out.fileno())
            temporary.rename(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        _sync_directory(path.parent)
    except OSError as error:
        raise _cannot(error)(
            f"cannot write {path}: {error.strerror}",
            hint=f"make room, remount what is read-only, or check the rights of {path.parent}; nothing was lost",
        ) from error


def _cannot(error: OSError) -> type[StateError]:
    return CannotStore if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS) else StateError


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _read(path: Path, what: str, *, sound: Callable[[bytes], bool]) -> bytes:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise StateError(
            f"cannot read the {what} {path}: {error.strerror}",
            hint="hand the certificate over again: `rollover deploy FULLCHAIN KEY`",
        ) from error
    if not sound(content):
        raise StateError(
            f"the {what} {path} is damaged",
            hint="restore it from a backup, or hand the certificate over again: `rollover deploy FULLCHAIN KEY` mends it",
        )
    return content
