"""Keys and chains on disk: 0600 under 0700, written whole or not at all, immutable once there.

``keys/SPKI.pem`` holds a private key once, however many certificates it has; ``chains/FINGERPRINT.pem``
a chain, leaf first. Nothing else of this tool holds a key but the live file and its predecessor.
"""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from rollover.core.errors import CannotStore, CannotWrite, CertificateError, PermissionsError, StateError
from rollover.directory import look_trusted, trusted_directory

OWN = ".new-"
NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
MAX_FILE = 1024 * 1024  # octets; no chain comes near


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
        make_private(self._path)
        for directory in (self._keys, self._chains):
            with _private(directory, create=True) as held:
                _sweep(held)

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
        return _is_there(self._keys / f"{spki}.pem")

    def key(self, spki: str) -> bytes:
        """Return a private key, PEM. Raises StateError when it is gone or damaged."""
        return _read(self._keys / f"{spki}.pem", "key", sound=lambda pem: _is_key(pem, spki))

    def chain(self, fingerprint: str) -> bytes:
        """Return a chain, PEM. Raises StateError when it is gone or damaged."""
        return _read(self._chains / f"{fingerprint}.pem", "chain", sound=lambda pem: _is_chain(pem, fingerprint))

    def has_chain(self, fingerprint: str) -> bool:
        """Tell whether a chain is here."""
        return _is_there(self._chains / f"{fingerprint}.pem")

    def empty(self) -> bool:
        """Tell whether nothing was ever stored here."""
        return not self._chains.is_dir() or not any(self._chains.iterdir())


def make_private(directory: Path) -> None:
    """Make *directory* with mode 0700, or check that nobody else may enter, change or exchange it.

    Raises PermissionsError for one that belongs to somebody else, is open to others, or lies where
    others could exchange it; StateError when it cannot be made.
    """
    with _private(directory, create=True):
        pass


def check_private(directory: Path) -> None:
    """Check the same of a directory that may be absent, and make nothing."""
    try:
        found = look_trusted(directory, sticky=True)
    except CannotWrite as error:
        if isinstance(error.__cause__, FileNotFoundError):
            return
        raise StateError(error.message, hint="check `state` in the configuration") from error
    _refuse_open(directory, found)


@contextmanager
def _private(directory: Path, *, create: bool = False) -> Iterator[int]:
    """Yield a descriptor of a directory that is ours alone, on a way that nobody else can change."""
    with ExitStack() as stack:
        try:
            held = stack.enter_context(trusted_directory(directory, create=create, parents=create, sticky=True))
        except CannotWrite as error:
            reason = error.__cause__
            raise (_cannot(reason) if isinstance(reason, OSError) else StateError)(
                f"cannot make {directory}: {error.message}" if create else error.message,
                hint="check `state` in the configuration, rights and free space",
            ) from error
        _refuse_open(directory, os.fstat(held))
        yield held


def _refuse_open(directory: Path, found: os.stat_result) -> None:
    if found.st_uid not in (os.geteuid(), 0):
        raise PermissionsError(
            f"{directory} belongs to user {found.st_uid}", hint=f"chown root: {directory}, or run this as its owner"
        )
    if found.st_mode & 0o077:
        raise PermissionsError(
            f"{directory} is open to others (mode {found.st_mode & 0o777:04o})", hint=f"chmod 0700 {directory}"
        )


def _is_there(path: Path) -> bool:
    """Tell whether *path* is a file; what the disk does not let us look at is as good as gone.

    Else one bad block, at a key that is out of use for long, would stop whatever the service does.
    """
    try:
        return path.is_file()
    except OSError:
        return False


def _sweep(directory: int) -> None:
    """Remove the files of runs that died while they wrote them."""
    for name in os.listdir(directory):
        if not name.startswith(OWN):
            continue
        writer = name.rpartition("-")[2]
        # Of a living process: a hook is just writing it. Not of this one, which has only just begun.
        if writer == str(os.getpid()) or not Path(f"/proc/{writer}").exists():
            with suppress(FileNotFoundError):
                os.unlink(name, dir_fd=directory)


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
    try:
        with _private(path.parent) as directory:
            with suppress(OSError):
                if sound(_content(directory, path.name)):
                    return
            temporary = f"{OWN}{path.name}-{os.getpid()}"
            descriptor = os.open(temporary, NEW, 0o600, dir_fd=directory)
            try:
                with os.fdopen(descriptor, "wb") as out:
                    os.fchmod(descriptor, 0o600)  # whatever the umask
                    out.write(content)
                    out.flush()
                    os.fsync(descriptor)
                os.rename(temporary, path.name, src_dir_fd=directory, dst_dir_fd=directory)
            except BaseException:
                with suppress(OSError):
                    os.unlink(temporary, dir_fd=directory)
                raise
            os.fsync(directory)
    except OSError as error:
        raise _cannot(error)(
            f"cannot write {path}: {error.strerror}",
            hint=f"make room, remount what is read-only, or check the rights of {path.parent}; nothing was lost",
        ) from error


def _cannot(error: OSError) -> type[StateError]:
    return CannotStore if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS) else StateError


def _content(directory: int, name: str) -> bytes:
    """Return what is in the file *name*; no link is followed, and a FIFO holds nobody."""
    descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory)
    with os.fdopen(descriptor, "rb") as file:
        return file.read(MAX_FILE)


def _read(path: Path, what: str, *, sound: Callable[[bytes], bool]) -> bytes:
    try:
        with _private(path.parent) as directory:
            content = _content(directory, path.name)
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
