"""Put the deploy hook where an ACME client looks for it, and take it away again.

The scripts are in hooks/ of the source and in rollover/_share/hooks of an installed package. Only
the command is filled in: an absolute path, because clients run hooks with odd PATHs.
"""

from __future__ import annotations

import errno
import os
import pwd
import re
import secrets
import shlex
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from rollover.core.errors import CannotWrite, OurBug, PermissionsError, RolloverError, UsageError
from rollover.directory import trusted_directory

DEFAULT_CONFIG = Path("/etc/rollover/rollover.toml")
PLACEHOLDER = "@ROLLOVER@"
MAX_FILE = 1024 * 1024  # octets; no hook and no unit comes near
MARK = "Written by `rollover "  # in every file of ours


@dataclass(frozen=True, slots=True)
class Client:
    """An ACME client: the script in hooks/, where it goes, and what its user does then."""

    script: str
    mode: int
    place: Callable[[pwd.struct_passwd, Path], Path]
    advice: str


def install(
    client: str,
    *,
    command: str | Path,
    user: str | None = None,
    dry_run: bool = False,
    config: str | Path | None = None,
    root: Path = Path("/"),
) -> list[str]:
    """Write the hook of *client* ("certbot", "acme.sh"); return one line for each thing done or to be done.

    *command* is the absolute path of ``rollover``. *user*: whom the client runs as, if that is not
    root; the hook then goes through sudo(8) and the sudoers line is returned. *config*: passed on when
    it is not the default. *root* stands before every path. With *dry_run* nothing is written.

    Raises UsageError (64) for an unknown client or user, CannotWrite (73) where the client is not
    found or a file of somebody else stands, PermissionsError (77).
    """
    known, account = _client(client), _account(user)
    words = command_words(command, config)
    if account.pw_uid != 0:
        words = ["sudo", "-n", *words]
    path = known.place(account, root)
    content = shared_text(f"hooks/{known.script}").replace(PLACEHOLDER, shlex.join(words))
    before = ours(path)
    if before == content:
        lines = [f"{path} is in place"]
    elif dry_run:
        lines = [f"would write {path} (mode {known.mode:04o}), which runs: {shlex.join(words)} deploy …"]
    else:
        replace(path, content, known.mode, owner=_writer(client, account))
        lines = [f"wrote {path}, which runs: {shlex.join(words)} deploy …"]
    if known.advice:
        lines.append(known.advice)
    if account.pw_uid != 0:
        allowed = shlex.join(words[2:])
        lines.append(
            f"let {account.pw_name} run it: `visudo -f /etc/sudoers.d/rollover`, and there the line\n"
            f"  {account.pw_name} ALL=(root) NOPASSWD: {allowed} deploy *"
        )
    return lines


def remove(client: str, *, user: str | None = None, dry_run: bool = False, root: Path = Path("/")) -> list[str]:
    """Remove the hook of *client*; return what was done. A file that is not ours is left, CannotWrite."""
    known, account = _client(client), _account(user)
    path = known.place(account, root)
    if ours(path) is None:
        return [f"{path} is not there: nothing to remove"]
    if dry_run:
        return [f"would remove {path}"]
    discard(path, owner=_writer(client, account))
    return [f"removed {path}"]


# --- the clients ----------------------------------------------------------------------------------


def _certbot(account: pwd.struct_passwd, root: Path) -> Path:
    del account
    directory = root / "etc/letsencrypt"
    if not directory.is_dir():
        raise CannotWrite(
            f"certbot was not found: {directory} does not exist",
            hint="install certbot first; for another --config-dir, `rollover hook install certbot --dry-run` "
            "shows the command: copy the hook to renewal-hooks/deploy there",
        )
    return directory / "renewal-hooks/deploy/rollover"


def _acme_sh(account: pwd.struct_passwd, root: Path) -> Path:
    places = [root / account.pw_dir.lstrip("/") / ".acme.sh"]
    if account.pw_uid == os.geteuid() and (own := os.environ.get("LE_WORKING_DIR")):
        places.insert(0, root / own.lstrip("/"))
    for place in places:
        if (place / "acme.sh").is_file() or (place / "deploy").is_dir():
            return place / "deploy/rollover.sh"
    raise CannotWrite(
        f"acme.sh was not found in {' or '.join(map(str, places))}",
        hint="name the user that it runs as: --user USER; or its directory: LE_WORKING_DIR=DIR rollover hook install acme.sh",
    )


CLIENTS = {
    "certbot": Client("certbot/rollover", 0o755, _certbot, ""),
    "acme.sh": Client(
        "acme.sh/rollover.sh",
        0o644,
        _acme_sh,
        "once for each certificate, as the user of acme.sh: acme.sh --deploy -d NAME --deploy-hook rollover",
    ),
}


def _client(name: str) -> Client:
    try:
        return CLIENTS[name]
    except KeyError:
        raise UsageError(f"no hook for {name!r}", hint=f"known clients: {', '.join(CLIENTS)}") from None


def _account(user: str | None) -> pwd.struct_passwd:
    try:
        return pwd.getpwuid(os.geteuid()) if user is None else pwd.getpwnam(user)
    except KeyError:
        raise UsageError(
            f"no user {user or os.geteuid()} on this host", hint="name the user that the ACME client runs as"
        ) from None


def _writer(client: str, account: pwd.struct_passwd) -> pwd.struct_passwd | None:
    """Tell who writes: in a home directory its owner, so that links there lead root nowhere."""
    return None if client == "certbot" else account


# --- shared with units.py -------------------------------------------------------------------------


def shared_text(name: str) -> str:
    """Return the file *name* ("hooks/…", "systemd/…") that comes with the package.

    Raises OurBug when the package was put together without it.
    """
    package = Path(__file__).resolve().parent
    for place in (package / "_share", package.parent):
        with suppress(FileNotFoundError, NotADirectoryError):
            return (place / name).read_text(encoding="utf-8")
    raise OurBug(f"{name} is missing from the installation", hint="install the package again")


def command_words(command: str | Path, config: str | Path | None) -> list[str]:
    """Return the words that run ``rollover`` from anywhere. Raises UsageError for a relative *command*."""
    if not Path(command).is_absolute():
        raise UsageError(f"{command} is not an absolute path", hint="call rollover by its full path, or through PATH")
    words = [str(command)]
    if config is not None and (path := Path(config).absolute()) != DEFAULT_CONFIG:
        words += ["--config", str(path)]
    return words


def ours(path: Path) -> str | None:
    """Return the content of a file of ours at *path*; None for none. Raises CannotWrite for somebody else's."""
    with _explained(path):
        content = _content(path)
        if content is None and not path.is_symlink():
            return None
    if content is None or MARK not in content:
        raise CannotWrite(
            f"{path} was not written by rollover and is left alone", hint=f"look at it; if it may go: `rm {path}`"
        )
    return content


def _content(path: Path) -> str | None:
    """Return what stands at *path*, "" for what is no regular file; None for nothing or a link."""
    try:
        # O_NONBLOCK: in a home directory there may be a FIFO, which must not hold root.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        if error.errno == errno.ELOOP:
            return None
        raise
    with os.fdopen(descriptor, "rb", closefd=True) as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return ""
        return file.read(MAX_FILE).decode("utf-8", "replace")


def replace(path: Path, content: str, mode: int, *, owner: pwd.struct_passwd | None = None) -> None:
    """Write *content* to *path* atomically, as *owner*; missing directories are made 0755.

    Raises CannotWrite, PermissionsError.
    """
    # certbot runs whatever is executable there and does not end in "~": not even for a moment ours.
    temporary = f".{path.name}.{secrets.token_hex(8)}~"
    with _explained(path), acting_as(owner), _directory(path.parent, owner, create=True) as directory:
        _sweep(directory, path.name)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            descriptor = os.open(temporary, flags, 0o600, dir_fd=directory)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(content)
                file.flush()
                os.fchmod(descriptor, mode)
                os.fsync(descriptor)
            os.rename(temporary, path.name, src_dir_fd=directory, dst_dir_fd=directory)
        except BaseException:
            with suppress(OSError):
                os.unlink(temporary, dir_fd=directory)
            raise


def discard(path: Path, *, owner: pwd.struct_passwd | None = None) -> None:
    """Remove *path* as *owner*. Raises CannotWrite, PermissionsError."""
    with _explained(path), acting_as(owner), _directory(path.parent, owner) as directory:
        os.unlink(path.name, dir_fd=directory)


def _sweep(directory: int, name: str) -> None:
    """Remove what a run that was killed left there: files of the pattern that replace() writes first."""
    pattern = re.compile(re.escape(f".{name}.") + "[0-9a-f]{16}~")
    for entry in filter(pattern.fullmatch, os.listdir(directory)):
        os.unlink(entry, dir_fd=directory)


@contextmanager
def _directory(path: Path, owner: pwd.struct_passwd | None, *, create: bool = False) -> Iterator[int]:
    """Yield a descriptor of directory *path*.

    What root writes there is run by root: nobody else may be able to exchange it. A user's own
    directory is theirs to exchange; their rights, which acting_as() has taken, are what limits it.
    """
    if owner is None or owner.pw_uid == 0:
        with trusted_directory(path, create=create, parents=create, mode=0o755, sticky=True) as directory:
            yield directory
        return
    if create:
        path.mkdir(mode=0o755, parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def acting_as(owner: pwd.struct_passwd | None) -> Iterator[None]:
    """Let root touch files with the rights of *owner* for a while; nothing changes for others or None."""
    if owner is None or os.geteuid() != 0 or owner.pw_uid == 0:
        yield
        return
    groups, group = os.getgroups(), os.getegid()
    os.setgroups([])
    os.setegid(owner.pw_gid)
    os.seteuid(owner.pw_uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(group)
        os.setgroups(groups)


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except RolloverError:
        raise
    except PermissionError as error:
        raise PermissionsError(f"{path}: {error.strerror}", hint="run it as root") from error
    except OSError as error:
        raise CannotWrite(f"{path}: {error.strerror}", hint="nothing was changed") from error
