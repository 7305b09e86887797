"""Running the tool as a user does: its command, its configuration file, its clock."""

from __future__ import annotations

import atexit
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from . import warm
from .process import LabError

_DNS_KEYS = frozenset(
    ("primary", "tsig_key", "resolver", "also_check", "ignore", "settle", "propagation_warn", "timeout", "zone")
)

_JUMPED = Path(__file__).with_name("jumped")
_warm = warm.Warm()
atexit.register(_warm.close)


def toml(tables: Mapping[str, object], prefix: str = "") -> str:
    """Return *tables* as TOML. A list of mappings becomes an array of tables."""
    plain, nested = [], []
    for name, value in tables.items():
        path = f"{prefix}{name}"
        if isinstance(value, Mapping):
            nested.append(f"\n[{path}]\n{toml(value, path + '.')}")
        elif isinstance(value, list) and value and all(isinstance(v, Mapping) for v in value):
            nested += [f"\n[[{path}]]\n{toml(item, path + '.')}" for item in value]
        elif value is not None:
            plain.append(f"{name} = {_value(value)}\n")
    return "".join(plain + nested)


def _value(value: object) -> str:
    if isinstance(value, Path):
        value = str(value)
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_value(item) for item in value) + "]"
    # JSON's strings, numbers and booleans are TOML's.
    return json.dumps(value, ensure_ascii=False)


def split_changes(
    changes: Mapping[str, object],
) -> tuple[dict[str, object], dict[str, object]]:
    """Return what of *changes* belongs in [dns], and what in the service's table."""
    dns = {name: value for name, value in changes.items() if name in _DNS_KEYS}
    service = {name: value for name, value in changes.items() if name not in _DNS_KEYS}
    return dns, service


def environment(offset: str | None, more: Mapping[str, str] | None) -> dict[str, str]:
    """Return the environment of the tool; with *offset* ("+400s"), its wall clock jumped.

    CLOCK_MONOTONIC and CLOCK_BOOTTIME stay true, as they do when an administrator or NTP sets
    the clock. So do the times of files. Programs that the tool starts see the jump as well.
    """
    result = {**os.environ, "ROLLOVER_CONFIG": ""}
    del result["ROLLOVER_CONFIG"]
    if offset is not None:
        result |= {
            "LD_PRELOAD": str(_libfaketime()),
            "FAKETIME": offset,
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "NO_FAKE_STAT": "1",
            "PYTHONPATH": os.pathsep.join([str(_JUMPED), *filter(None, [result.get("PYTHONPATH")])]),
        }
    return result | dict(more or {})


def _libfaketime() -> Path:
    for library in Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"):
        return library
    raise LabError("libfaketime is not installed; ./test.sh installs what the lab needs")


def called(config: Path, *words: str | Path) -> list[str]:
    """Return `rollover --config CONFIG WORDS…`, as the command sees it."""
    path = Path(sys.prefix) / "bin" / "rollover"
    if not path.exists():
        raise LabError(f"{path} is not installed; ./test.sh installs it")
    return [str(path), "--config", str(config), *map(str, words)]


def program(config: Path, *words: str | Path) -> list[str]:
    """Return the same to be started as it is, without the reaction that ROLLOVER_WITHOUT names."""
    command = called(config, *words)
    if os.environ.get("ROLLOVER_WITHOUT"):
        return [sys.executable, "-c", "from tests.reactions import plugin; plugin.be_the_command()", *command]
    return command


def run_tool(
    arguments: tuple[str | Path, ...],
    config: Path,
    *,
    check: int | bool | None,
    offset: str | None,
    env: Mapping[str, str] | None,
    input: str | None,  # noqa: A002 - subprocess.run's name for it
    seconds: float,
) -> subprocess.CompletedProcess[str]:
    """Run `rollover --config CONFIG ARGUMENTS…`; see Lab.rollover."""
    command, cold = called(config, *arguments), program(config, *arguments)
    done = run_python("rollover.cli.app:main", cold, command, environment(offset, env), input=input, seconds=seconds)
    if check is not None and check is not False:
        wanted = 0 if check is True else check
        words = " ".join(str(word) for word in arguments)
        assert done.returncode == wanted, (
            f"`rollover {words}` exited {done.returncode}, not {wanted}\n{done.stdout}{done.stderr}"
        )
    return done


def run_python(
    entry: str,
    command: list[str],
    argv: list[str],
    env: Mapping[str, str],
    *,
    input: str | None = None,  # noqa: A002 - subprocess.run's name for it
    seconds: float = 120,
) -> subprocess.CompletedProcess[str]:
    """Run *command*, or *entry* with *argv* in a fork of a process that has imported it: the same, see warm."""
    if warm.fits(env):
        return _warm.run(entry, argv, env=env, input=input, seconds=seconds)
    return subprocess.run(
        command,
        input=input,
        stdin=subprocess.DEVNULL if input is None else None,
        capture_output=True,
        text=True,
        env=env,
        timeout=seconds,
        check=False,
    )
