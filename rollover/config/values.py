"""How one value of the configuration is read: text in, typed value out, or what would be right.

Each function is given to pydantic as a validator, and usable without it. All raise Wrong.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable
from datetime import date, datetime
from pathlib import Path
from typing import Any, Literal, NoReturn, TypeVar

from rollover.core.tlsa import Params

T = TypeVar("T", bound=Hashable)

MINUTE, HOUR, DAY = 60.0, 3600.0, 86400.0
UNITS = {"s": 1.0, "m": MINUTE, "h": HOUR, "d": DAY}

_DURATION = re.compile(r"(\d{1,9}(?:\.\d{1,3})?) ?([smhd])")
_ACCOUNT = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,31}\$?|\d{1,10}")


class Wrong(ValueError):
    """A value that cannot be: *problem* completes "KEY = VALUE: …", *right* is what to write instead."""

    def __init__(self, problem: str, right: str) -> None:
        super().__init__(problem)
        self.problem = problem
        self.right = right


def wrong(problem: str, right: str) -> NoReturn:
    """Refuse the value."""
    raise Wrong(problem, right)


def text(value: Any, *, example: str) -> str:
    """Return *value* if it is text that a line of output can hold."""
    if not isinstance(value, str):
        wrong("not text", f"write it in quotes, such as {example}")
    if not value.isprintable():
        wrong("it has control characters in it", f"write plain text, such as {example}")
    return value


# --- time


def span(seconds: float) -> str:
    """Return *seconds* as a duration of the configuration, "36h", in the largest unit that is whole."""
    for unit in "dhm":
        if seconds >= UNITS[unit] and seconds % UNITS[unit] == 0:
            return f"{seconds / UNITS[unit]:g}{unit}"
    return f"{seconds:g}s"


def duration(least: float, most: float) -> Callable[[Any], float]:
    """Return a reader of durations, "90s", that gives seconds from *least* to *most*."""

    def read(value: Any) -> float:
        form = 'write a number and a unit, "90s", "20m", "36h" or "2d"'
        if isinstance(value, int | float) and not isinstance(value, bool):
            like = f': for seconds "{value:g}s"' if least <= value <= most else ""
            wrong("a number without a unit", f"{form}{like}")
        found = _DURATION.fullmatch(text(value, example='"20m"').strip())
        if found is None:
            wrong("not a duration", form)
        seconds = float(found[1]) * UNITS[found[2]]
        if not least <= seconds <= most:
            wrong(
                "too short" if seconds < least else "too long",
                f'from "{span(least)}" to "{span(most)}" is possible here',
            )
        return seconds

    return read


def ttl(value: Any) -> int | None:
    """Return a TTL in whole seconds; None for "keep"."""
    if value == "keep":
        return None
    try:
        seconds = duration(1, 7 * DAY)(value)
    except Wrong as error:
        wrong(error.problem, f'write "keep" (keep what is there), or a duration: {error.right}')
    if seconds != int(seconds):
        wrong("not in whole seconds", 'a TTL counts whole seconds (RFC 2181 §8): write "1s" or more')
    return int(seconds)


def until(value: Any) -> date:
    """Return a day of the calendar."""
    form = 'write a day as until = "2026-12-24"'
    if isinstance(value, date) and not isinstance(value, datetime):
        return value
    if not isinstance(value, str) or not re.fullmatch(r"\d{4}-\d\d-\d\d", value):
        wrong("not a date", form)
    try:
        return date.fromisoformat(value)
    except ValueError:
        wrong("no such day in the calendar", form)


# --- records


def record(value: Any) -> Params:
    """Return "3 1 1" as (usage, selector, matching type); DANE-EE with a digest only."""
    form = 'write "3 1 1" (RFC 7671 §5.1); "3 1 2", "3 0 1" and "3 0 2" are possible too'
    fields = text(value, example='"3 1 1"').split()
    if len(fields) > 3:
        wrong("only the three numbers belong here", f"{form}; the digest is computed from each certificate")
    if len(fields) != 3 or not all(x.isdecimal() and len(x) < 4 for x in fields):
        wrong("not usage, selector and matching type", form)
    usage, selector, mtype = (int(x) for x in fields)
    if usage in (0, 1):
        wrong("SMTP clients cannot use PKIX-TA and PKIX-EE records (RFC 7672 §3.1.3)", form)
    if usage == 2:
        wrong("a record of usage 2 (DANE-TA) depends on keys of a CA that may change them without notice", form)
    if usage != 3:
        wrong("no such usage (RFC 6698 §2.1.1)", form)
    if selector not in (0, 1):
        wrong("no such selector (RFC 6698 §2.1.2)", form)
    if mtype == 0:
        wrong("matching type 0 puts the whole certificate or key into DNS (RFC 7671 §10.1.1)", form)
    if mtype not in (1, 2):
        wrong("no such matching type (RFC 6698 §2.1.3)", form)
    return (usage, selector, mtype)


# --- files and programs


def absolute(example: str) -> Callable[[Any], Path]:
    """Return a reader of paths; *example* goes into the hint."""

    def read(value: Any) -> Path:
        name = text(value, example=f'"{example}"')
        if not name:
            wrong("empty", f'write the whole path, such as "{example}"')
        if not name.startswith("/"):
            wrong("not a whole path: hooks and timers run in other directories", f'write it as "{example}"')
        path = Path(name)
        if path == Path("/") or ".." in path.parts:
            wrong("not a path of its own", f'write it without "..", as "{example}"')
        return path

    return read


def source(value: Any) -> tuple[Path, ...]:
    """Return the lineage directory or the files that may feed a service; empty for none."""
    read = absolute("/etc/letsencrypt/live/mail.example.org")
    if value == "":
        return ()
    if isinstance(value, list):
        return tuple(read(x) for x in value)
    return (read(value),)


def trust(value: Any) -> Path | Literal["auto", "system", "none"]:
    """Return which CA certificates count: "auto", "system", "none", or a file."""
    form = 'write "auto", "system", "none" or a file of CA certificates such as "/etc/ssl/my-ca.pem"'
    match value:
        case "auto":
            return "auto"
        case "system":
            return "system"
        case "none":
            return "none"
        case str() if value.startswith("/"):
            return absolute("/etc/ssl/my-ca.pem")(value)
        case _:
            wrong("neither one of the three words nor a whole path", form)


def mode(value: Any) -> int:
    """Return a file mode; one that opens a private key to everybody is refused."""
    form = 'write it in quotes and octal, mode = "0600" or "0640"'
    if isinstance(value, int):
        wrong("a number: octal or decimal cannot be told apart", form)
    found = re.fullmatch(r"0?([0-7]{3})", text(value, example='"0600"'))
    if found is None:
        wrong("not a file mode", form)
    bits = int(found[1], 8)
    if bits & 0o007:
        wrong("every user of this host could use the private key", form)
    if bits & 0o111 or not bits & 0o400:
        wrong("not a mode for a file that its owner reads", form)
    return bits


def account(value: Any) -> str:
    """Return the name or number of a user or group; whether it exists is asked when it is used."""
    name = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    if not isinstance(name, str) or not _ACCOUNT.fullmatch(name):
        wrong("not the name of a user or group", 'write a name such as "dovecot"')
    return name


def program(example: str, *, may_be_empty: bool) -> Callable[[Any], tuple[str, ...]]:
    """Return a reader of a program with its arguments, as a list: no shell takes part."""

    def read(value: Any) -> tuple[str, ...]:
        if not isinstance(value, list) or not all(isinstance(x, str) and "\0" not in x for x in value):
            wrong("not a list of words; no shell takes part", f"write each word on its own, such as {example}")
        if value and not value[0].strip():
            wrong("the program has no name", f"write program and arguments, such as {example}")
        if not value and not may_be_empty:
            wrong("empty", f"write program and arguments, such as {example}")
        return tuple(value)

    return read


# --- lists


def distinct(values: tuple[T, ...]) -> tuple[T, ...]:
    """Return *values* if none is there twice."""
    for value in values:
        if values.count(value) > 1:
            shown = " ".join(str(x) for x in value) if isinstance(value, tuple) else str(value)
            wrong(f"{shown} is there twice", "name each once")
    return values


def filled(values: tuple[T, ...]) -> tuple[T, ...]:
    """Return *values* if there is one at all."""
    if not values:
        wrong("empty", "name at least one")
    return values
