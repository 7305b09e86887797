"""Finding, reading and joining the files of the configuration."""

from __future__ import annotations

import os
import re
import stat
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from rollover.config import checks
from rollover.config.mistakes import EXAMPLES, Mistake, dotted, from_validation, raise_first, shown
from rollover.config.models import Config, MainTable, ServiceConfig
from rollover.core.errors import ConfigError, PermissionsError

DEFAULT_PATH = Path("/etc/rollover/rollover.toml")
VARIABLE = "ROLLOVER_CONFIG"
MAX_SIZE = 4 * 1024 * 1024  # octets; a thousand services are a tenth of it

_SERVICE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")


def load(path: Path | None = None) -> Config:
    """Return the configuration in *path*, else in $ROLLOVER_CONFIG, else in /etc/rollover/rollover.toml.

    ``services.d/*.toml`` beside that file are read too; they hold services and nothing else.
    Raises ConfigError for every mistake, PermissionsError for a file that is closed to us or open to
    others for writing.
    """
    main, named_by = _find(path)
    table = _read(main, named_by)
    mistakes: list[Mistake] = []
    parts = [_Part(main, table.pop("services", {})), *_more_services(main, mistakes)]
    top = _main_table(main, table, mistakes)
    services = _services(parts, mistakes)
    if not any(part.services for part in parts) and not mistakes:
        mistakes.append(Mistake(main, "no service is configured", f"write {EXAMPLES['services']}"))
    raise_first(mistakes)
    assert top is not None  # or raise_first() had raised
    raise_first(list(checks.across(main, top, services)))
    by_name, files = {s.config.name: s.config for s in services}, {s.config.name: s.file for s in services}
    return Config(main, top.state, top.dns, top.alert, by_name, files)


@dataclass(frozen=True, slots=True)
class _Part:
    """What a file has under ``services``: not looked at yet, so of any type."""

    file: Path
    services: Any


def _find(path: Path | None) -> tuple[Path, str]:
    """Return the main file, and who named it."""
    if path is not None:
        return path.absolute(), "named by --config"
    if named := os.environ.get(VARIABLE):
        return Path(named).absolute(), f"named by ${VARIABLE}"
    return DEFAULT_PATH, ""


def _read(file: Path, named_by: str = "") -> dict[str, Any]:
    """Return the tables of *file*."""
    try:
        with file.open("rb") as stream:
            _refuse_writable(file, os.fstat(stream.fileno()))
            content = stream.read(MAX_SIZE + 1)
    except (FileNotFoundError, NotADirectoryError):
        where = f" ({named_by})" if named_by else ""
        raise ConfigError(
            f"no configuration: {file} does not exist{where}",
            hint='"First rollover" in README.md has the smallest one; another place is named by --config FILE',
        ) from None
    except IsADirectoryError:
        raise ConfigError(
            f"{file}: a directory, not a file", hint=f"name the file in it: --config {file}/rollover.toml"
        ) from None
    except PermissionError:
        raise PermissionsError(
            f"{file}: not readable by user {os.geteuid()}", hint="run this as root, or as the owner of the file"
        ) from None
    except OSError as error:
        raise ConfigError(f"{file}: {error.strerror}", hint="see that it is a plain file on a sound disk") from None
    if len(content) > MAX_SIZE:
        raise ConfigError(f"{file}: larger than {MAX_SIZE} octets", hint="name a configuration file")
    return _parse(file, content)


def _refuse_writable(file: Path, status: os.stat_result) -> None:
    """Refuse a file that any user may write: commands in it are run as root."""
    if stat.S_ISREG(status.st_mode) and status.st_mode & stat.S_IWOTH:
        raise PermissionsError(f"{file}: every user of this host can write it", hint=f"chmod o-w {file}")


def _parse(file: Path, content: bytes) -> dict[str, Any]:
    """Return the tables in *content*."""
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{file}: line {line}: not UTF-8", hint="save the file as UTF-8") from None
    if text.startswith("\ufeff"):
        raise ConfigError(f"{file}: line 1: a byte order mark", hint="save the file as UTF-8 without BOM")
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise _syntax(file, text, str(error)) from None
    except ValueError as error:  # Python's own limit on the digits of a number
        hint = "a number that long is none; text is in quotes"
        raise ConfigError(f"{file}: {error}", hint=hint) from None
    except RecursionError:
        raise ConfigError(f"{file}: tables or lists too deep in one another", hint="see README.md") from None


def _syntax(file: Path, text: str, complaint: str) -> ConfigError:
    """Return the error for broken TOML: line and key; never the value, which may be a secret."""
    found = re.search(r" \((?:at line (\d+), column \d+|at end of document)\)$", complaint)
    line = int(found[1]) if found and found[1] else max(1, text.rstrip("\n").count("\n") + 1)
    what = complaint[: found.start()] if found else complaint
    lines = text.splitlines()
    key = re.match(r"\s*([A-Za-z0-9_.-]+)\s*=", lines[line - 1]) if line <= len(lines) else None
    near = f"line {line}, {key[1]}" if key else f"line {line}"
    if "Cannot overwrite" in what or "Cannot declare" in what or "Cannot mutate" in what:
        hint = "each key and each [table] is there once; a further install begins with [[services.NAME.install]]"
    else:
        hint = 'text is in quotes, lists in brackets: hosts = ["mail.example.org"]; a comment begins with #'
    return ConfigError(f"{file}: {near}: {what}", hint=hint)


def _more_services(main: Path, mistakes: list[Mistake]) -> Iterator[_Part]:
    """Yield what ``services.d/*.toml`` beside *main* hold, in the order of their names."""
    directory = main.parent / "services.d"
    try:
        files = sorted(x for x in directory.iterdir() if x.suffix == ".toml" and not x.name.startswith("."))
    except (FileNotFoundError, NotADirectoryError):
        return
    except PermissionError:
        raise PermissionsError(
            f"{directory}: not readable by user {os.geteuid()}", hint="run this as root, or as its owner"
        ) from None
    for file in files:
        table = _read(file)
        services = table.pop("services", {})
        for key in table:
            hint = f"write [services.NAME] here; everything else belongs in {main}"
            mistakes.append(Mistake(file, f"{dotted((key,))}: only services can be in this file", hint))
        yield _Part(file, services)


def _main_table(file: Path, table: Mapping[str, Any], mistakes: list[Mistake]) -> MainTable | None:
    """Return everything but the services; None when there are mistakes in it."""
    try:
        return MainTable.model_validate(table)
    except ValidationError as error:
        mistakes.extend(from_validation(file, error, ()))
        return None


def _services(parts: list[_Part], mistakes: list[Mistake]) -> list[checks.Placed]:
    """Return the services of all files that are right in themselves."""
    placed: list[checks.Placed] = []
    first: dict[str, Path] = {}
    for part in parts:
        if not isinstance(part.services, dict):
            text = shown("services", part.services)
            what = f"services = {text}: not a table" if text else "services: not a table"
            mistakes.append(Mistake(part.file, what, f"write {EXAMPLES['services']}"))
            continue
        for name, table in part.services.items():
            loc = ("services", name)
            if not isinstance(table, dict):
                hint = f"write {EXAMPLES['services']}"
                mistakes.append(Mistake(part.file, f"{dotted(loc)}: not a table", hint))
            elif not _SERVICE_NAME.fullmatch(name):
                hint = 'letters, digits, "-", "_" and "." are possible: [services.mail]'
                mistakes.append(Mistake(part.file, f"{dotted(loc)}: not a name for a service", hint))
            elif name in first:
                hint = "give one of them another name, or take it out"
                mistakes.append(Mistake(part.file, f"{dotted(loc)}: also in {first[name]}", hint))
            else:
                first[name] = part.file
                if (config := _service(part.file, name, table, mistakes)) is not None:
                    placed.append(checks.Placed(part.file, config))
    return placed


def _service(file: Path, name: str, table: dict[str, Any], mistakes: list[Mistake]) -> ServiceConfig | None:
    """Return one service; None when there are mistakes in it."""
    loc = ("services", name)
    if "name" in table:
        mistakes.append(
            Mistake(file, f"{dotted((*loc, 'name'))}: unknown key", "the name is in the header: [services.NAME]")
        )
        return None
    try:
        return ServiceConfig.model_validate({**table, "name": name})
    except ValidationError as error:
        mistakes.extend(from_validation(file, error, loc))
        return None
