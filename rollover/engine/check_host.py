"""What `check` finds on this host, without asking any server: files, programs, the hook, the timer."""

from __future__ import annotations

import os
import pwd
import shutil
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rollover import hooks, units
from rollover.config.models import ServiceConfig
from rollover.core.errors import CannotWrite, RolloverError
from rollover.core.problems import Level
from rollover.directory import trusted_directory
from rollover.engine.host import Host
from rollover.engine.paths import writable
from rollover.engine.sources import source_of
from rollover.engine.trust import SYSTEM_TRUST, roots

PROGRAMS = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"  # what systemd gives to the units


@dataclass(frozen=True, slots=True)
class Row:
    """One precondition: how it is, what was looked at, what helps."""

    level: Level
    what: str
    hint: str = ""


def check_host(host: Host) -> list[Row]:
    """Return what holds for every service."""
    return [Row(Level.OK, f"configuration {host.config.path} is in order"), *_host(host)]


def _host(host: Host) -> Iterator[Row]:
    if os.geteuid() != 0:
        yield Row(
            Level.WARNING, "not run as root: files and Postfix cannot be judged fully", "run `rollover check` as root"
        )
    yield from _ignored(host)
    yield from _alert(host)
    yield from _timer(host)


def _ignored(host: Host) -> Iterator[Row]:
    today = host.clock.now().wall.date()
    for entry in host.config.dns.ignore:
        if entry.until < today:
            yield Row(
                Level.WARNING,
                f"dns.ignore: {entry.server} was ignored until {entry.until}, and counts again",
                "take the entry out, or give it a later day",
            )


def _alert(host: Host) -> Iterator[Row]:
    if not (command := host.config.alert.command):
        return
    if shutil.which(command[0], path=PROGRAMS):
        yield Row(Level.OK, f"alert.command {command[0]} can be run")
        return
    path = Path(command[0])
    why = "is not executable" if path.is_absolute() and path.exists() else "does not exist"
    yield Row(
        Level.CRITICAL,
        f"{host.config.path}: alert.command: {path} {why}: nobody would be told",
        f"`chmod +x {path}`" if why.startswith("is not") else "name a program by its whole path, or take [alert] out",
    )


def _timer(host: Host) -> Iterator[Row]:
    if not (what := units.ticking()):
        yield Row(
            Level.WARNING,
            "nothing calls `advance`: no timer is active, and no crontab has a line for it",
            "`rollover units install` starts the timers; without systemd it prints the crontab lines",
        )
        return
    yield Row(Level.OK, f"{what} calls `advance`")
    if what in units.TIMERS and (closed := units.not_allowed(writable(host.config))):
        yield Row(
            Level.CRITICAL,
            f"rollover-advance.service may not write to {', '.join(closed)}",
            "the configuration has changed since: `rollover units install` again",
        )


def check_service(host: Host, name: str) -> Iterator[Row]:
    """Yield what is to be known of service *name*."""
    it = host.config.services[name]
    if host.store.book(name).adopted:
        yield Row(Level.OK, "adopted")
    else:
        yield Row(Level.WARNING, "not adopted yet", f"when the rest is in order: `rollover adopt {name}`")
    source = source_of(host, it)
    yield from _source(source)
    yield _hook(source)
    if it.retain == 0:
        yield Row(
            Level.WARNING,
            "retain is 0: a rollback after the install has to wait for caches",
            'retain = "1d" keeps the old record',
        )
    yield _trust(host, it)
    for i, install in enumerate(it.installs):
        for key, path in install.files.items():
            yield _file(path, host.config.place(name, f"install[{i}].{key}"))


def _source(source: tuple[Path, ...]) -> Iterator[Row]:
    if not source:
        yield Row(
            Level.WARNING,
            "no `source`: a hook that fails to run is not caught up",
            "set source to the lineage directory of the ACME client",
        )
    for path in source:
        if not path.exists():
            yield Row(
                Level.WARNING, f"source {path} does not exist", "correct `source`, or order the first certificate"
            )


def _hook(source: tuple[Path, ...]) -> Row:
    """Tell whether the ACME client that keeps *source*, or any where that says nothing, has our hook."""
    wanted = "acme.sh" if any(".acme.sh" in path.parts for path in source) else ""
    if any("letsencrypt" in path.parts for path in source):
        wanted = "certbot"
    account = pwd.getpwuid(os.geteuid())
    for client in (wanted,) if wanted else hooks.CLIENTS:
        try:
            path = hooks.CLIENTS[client].place(account, Path("/"))
            if hooks.ours(path) is not None:
                return Row(Level.OK, f"{path} is the hook of {client}")
        except RolloverError as error:
            if wanted:
                return Row(Level.WARNING, error.message, error.hint)
    late = "is noticed only by the next `advance`" if source else "is not noticed"
    return Row(
        Level.WARNING,
        f"no hook of {wanted or ' or '.join(hooks.CLIENTS)} is installed: a renewed certificate {late}",
        f"`rollover hook install {wanted or 'certbot'}`",
    )


def _trust(host: Host, it: ServiceConfig) -> Row:
    try:
        found = roots(host.config, it)
    except RolloverError as error:
        return Row(Level.CRITICAL, error.message, error.hint)
    if found is not None:
        return Row(Level.OK, f'trust = "{it.trust}": {len(found)} CA certificates to check a new chain by')
    if it.trust == "none":
        return Row(Level.OK, 'trust = "none": a new chain is not checked against any CA')
    return Row(
        Level.WARNING,
        f"no CA certificates at {SYSTEM_TRUST}: a staging certificate would be served like any other",
        'install ca-certificates, or name a file: trust = "/etc/ssl/my-ca.pem"',
    )


def _file(path: Path, place: str) -> Row:
    """Tell whether *path* can be replaced by rename, as an install does it; changes nothing."""
    directory, name = path.parent, path.name
    if not os.path.lexists(directory):  # an install makes the last directory, no more
        directory, name = directory.parent, directory.name
    try:
        with trusted_directory(directory) as held:
            if not os.access(".", os.W_OK, dir_fd=held):
                raise CannotWrite(f"{directory}: no writing there", hint="mounted read-only? Else run this as root")
            what = os.stat(name, dir_fd=held, follow_symlinks=False).st_mode
    except FileNotFoundError:
        return Row(Level.OK, f"{path} can be written")
    except RolloverError as error:
        return Row(Level.CRITICAL, f"{place}: {error.message}", error.hint)
    if stat.S_ISREG(what):
        return Row(Level.OK, f"{path} can be replaced")
    return Row(
        Level.CRITICAL,
        f"{place}: {path} is {'a symbolic link' if stat.S_ISLNK(what) else 'not a regular file'}, and is not replaced",
        f"see where it leads (`ls -l {path}`), then remove it, or configure another path",
    )
