"""What is wrong in the configuration, as a person reads it: file, key, value, and what would be right.

pydantic finds the mistakes; its words are for programmers, so each becomes a Mistake here. Values of
keys that may hold a secret are never repeated, and neither is the value of a key that is not known.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from rollover import __version__
from rollover.config import models
from rollover.config.values import Wrong
from rollover.core.errors import ConfigError

Loc = tuple[str | int, ...]
LARGEST_SHOWN = 10**18  # what is beyond, Python may refuse to write in decimals

#: Tables by their place, without list indices and names of services.
TABLES: dict[Loc, type[BaseModel]] = {
    (): models.MainTable,
    ("dns",): models.DnsConfig,
    ("dns", "zone"): models.ZoneConfig,
    ("dns", "ignore"): models.IgnoredServer,
    ("services",): models.ServiceConfig,
    ("services", "install", "postfix"): models.PostfixInstall,
    ("services", "install", "command"): models.CommandInstall,
    ("alert",): models.AlertConfig,
}

#: Keys that a later version will know: refused now, because they would be without effect.
LATER = {"standby", "key_type", "acme"}

#: An access key may have been pasted where its file belongs; commands carry tokens and passwords.
SECRET = {"tsig_key", "command", "reload"}
_LOOKS_SECRET = re.compile(r"[A-Za-z0-9+/_-]{16,}={1,2}|[A-Za-z0-9+/_-]{40,}")

#: What a key that is missing, or of a wrong type, looks like when it is right.
EXAMPLES = {
    "dns": 'a [dns] table with tsig_key = "/etc/rollover/tsig.key"',
    "services": 'a table [services.mail] with hosts = ["mail.example.org"] and one [[services.mail.install]]',
    "alert": 'an [alert] table with command = ["/usr/local/bin/page"]',
    "zone": 'a [[dns.zone]] table with name = "dane.example.org"',
    "install": '[[services.mail.install]] with kind = "postfix" and chain_file = "/etc/rollover/live/mail.pem"',
    "tsig_key": 'tsig_key = "/etc/rollover/tsig.key", the file that tsig-keygen(8) wrote',
    "also_check": 'also_check = ["192.0.2.54"]',
    "ignore": 'ignore = [{server = "ns3.example.net", until = "2026-12-24"}]',
    "server": 'server = "ns3.example.net"',
    "until": 'until = "2026-12-24"',
    "name": 'name = "dane.example.org"',
    "hosts": 'hosts = ["mail.example.org"]',
    "ports": "ports = [25]",
    "addresses": 'addresses = ["192.0.2.25"]',
    "records": 'records = ["3 1 1"]',
    "kind": 'kind = "postfix" or kind = "command"',
    "chain_file": 'chain_file = "/etc/rollover/live/mail.pem"',
    "reload": 'reload = ["systemctl", "reload", "dovecot"]',
}


@dataclass(frozen=True, slots=True)
class Mistake:
    """One mistake: *what* is the whole sentence after the name of the file."""

    file: Path
    what: str
    hint: str


def raise_first(mistakes: Sequence[Mistake]) -> None:
    """Raise ConfigError for the first of *mistakes*, and say how many more there are; none: return."""
    if not mistakes:
        return
    first, more = mistakes[0], len(mistakes) - 1
    rest = f" (and {more} more mistake{'s' if more > 1 else ''})" if more else ""
    raise ConfigError(f"{first.file}: {first.what}{rest}", hint=first.hint)


def dotted(loc: Loc) -> str:
    """Return ``services.mail.install[0].chain_file``; a name with dots in it stays in quotes."""
    path = ""
    for part in loc:
        if isinstance(part, int):
            path += f"[{part}]"
        else:
            bare = re.fullmatch(r"[A-Za-z0-9_-]+", part)
            path += ("." if path else "") + (part if bare else _quoted(part))
    return path


def _quoted(value: str) -> str:
    """Return *value* as TOML text on one line; nothing in it can move the cursor of a terminal."""
    cut = value if len(value) <= 80 else value[:79] + "…"
    quoted = json.dumps(cut, ensure_ascii=False)
    return "".join(c if c.isprintable() else f"\\u{ord(c):04X}" for c in quoted)


def shown(key: str, value: Any) -> str:
    """Return *value* as it stands in the file, short; empty when it could be a secret, or is a table."""
    if key in SECRET:
        return ""
    match value:
        case bool():
            return "true" if value else "false"
        case int() if abs(value) >= LARGEST_SHOWN:
            return ""
        case int() | float():
            return str(value)
        case str():
            if "#" in value:  # a key file is named behind it, and a key may have been pasted there
                value = value.partition("#")[0] + "#…"
            hidden = _LOOKS_SECRET.search(value) and not value.startswith("/")
            return "" if hidden else _quoted(value)
        case list() if all(isinstance(x, str | int) for x in value) and len(value) <= 6:
            parts = [shown(key, x) for x in value]
            return f"[{', '.join(parts)}]" if all(parts) else ""
        case list() | dict():
            return ""
        case _:
            return str(value)


def from_validation(file: Path, error: ValidationError, prefix: Loc) -> list[Mistake]:
    """Return the mistakes of a table that stands at *prefix* in *file*; unknown keys first.

    A key that is both missing and there under a mistyped name is one mistake.
    """
    unknown: list[Mistake] = []
    others: list[Mistake] = []
    taken: set[Loc] = set()
    details = error.errors(include_url=False)
    for detail in details:
        if detail["type"] == "extra_forbidden":
            meant, mistake = _unknown(file, prefix + detail["loc"])
            unknown.append(mistake)
            if meant:
                taken.add((*prefix, *detail["loc"][:-1], meant))
    for detail in details:
        loc = prefix + detail["loc"]
        if detail["type"] != "extra_forbidden" and not (detail["type"] == "missing" and loc in taken):
            others.append(_mistake(file, loc, detail))
    return unknown + others


def _place(loc: Loc) -> Loc:
    """Return the key of TABLES for a table at *loc*."""
    words = [x for x in loc if isinstance(x, str)]
    if words[:1] == ["services"]:
        del words[1:2]
    return tuple(words)


def _without_tag(loc: Loc) -> Loc:
    """Return *loc* without the kind of an install, which pydantic puts behind its index."""
    return tuple(
        part
        for i, part in enumerate(loc)
        if not (part in ("postfix", "command") and loc[i - 2 : i - 1] == ("install",) and isinstance(loc[i - 1], int))
    )


def _known(model: type[BaseModel]) -> list[str]:
    names = [field.alias or name for name, field in model.model_fields.items()]
    if model is models.MainTable:
        names.append("services")
    if model is models.ServiceConfig:
        names.remove("name")
    return names


def _table_name(place: Loc) -> str:
    """Return how the table at *place* is written in the file."""
    match place:
        case ():
            return "the top of the file, before the first [table]"
        case ("dns", "zone"):
            return "[[dns.zone]]"
        case ("services",):
            return "[services.NAME]"
        case ("services", "install", kind):
            return f'[[services.NAME.install]] with kind = "{kind}"'
        case _:
            return f"[{place[0]}]"


def _unknown(file: Path, loc: Loc) -> tuple[str, Mistake]:
    """Return the key that was probably meant (empty for none), and the mistake."""
    key = str(loc[-1])
    place = _place(loc[:-1])
    what = f"{dotted(_without_tag(loc))}: unknown key"
    known = _known(TABLES[place])
    if place == ("services",) and key in LATER:
        later = f"{what}: this is version {__version__}, it comes with a later one"
        return "", Mistake(file, later, "take it out; it would be without effect")
    if close := difflib.get_close_matches(key.lower(), known, 1, 0.7):
        return close[0], Mistake(file, what, f"did you mean `{close[0]}`?")
    elsewhere = [x for x, model in TABLES.items() if key in _known(model)]
    if elsewhere:
        return "", Mistake(file, what, f"`{key}` belongs in {' or '.join(_table_name(x) for x in elsewhere)}")
    if place == ("services",) and "." not in key:
        hint = f'known here: {", ".join(known)}; a name with a dot in it needs quotes: [services."mail.example.org"]'
        return "", Mistake(file, what, hint)
    return "", Mistake(file, what, f"known here: {', '.join(known)}")


def _mistake(file: Path, loc: Loc, detail: ErrorDetails) -> Mistake:
    """Return what pydantic reports as *detail*, in words for an operator."""
    place = _without_tag(loc)
    key = next((x for x in reversed(place) if isinstance(x, str)), "")
    if loc[:1] == ("services",) and len(place) == 2:
        key = "services"
    value = detail["input"]
    text = shown(key, value)
    named = f"{dotted(place)} = {text}" if text else dotted(place)
    example = EXAMPLES.get(key, "see the configuration in README.md")
    wrong = detail.get("ctx", {}).get("error")
    if isinstance(wrong, Wrong):
        return Mistake(file, f"{named}: {wrong.problem}", wrong.right)
    match detail["type"]:
        case "missing":
            return Mistake(file, f"{dotted(place)} is missing", f"write {example}")
        case "union_tag_not_found":
            if isinstance(value, dict):
                return Mistake(file, f"{dotted(place)}.kind is missing", f"write {EXAMPLES['kind']}")
            return Mistake(file, f"{named}: not a table", f"write {example}")
        case "union_tag_invalid":
            kind = shown("kind", value.get("kind"))
            daemon = 'for any other daemon than Postfix it is kind = "command" with a reload command'
            return Mistake(file, f"{dotted(place)}.kind = {kind}: no such kind", f"write {EXAMPLES['kind']}; {daemon}")
        case "tuple_type":
            if isinstance(value, dict):
                return Mistake(file, f"{dotted(place)}: one table, where a list of them belongs", f"write {example}")
            as_list = f"{key} = [{text}]" if isinstance(value, str | int) and text else example
            return Mistake(file, f"{named}: not a list", f"write {as_list}")
        case "model_type" | "dict_type":
            return Mistake(file, f"{named}: not a table", f"write {example}")
        case _:
            return Mistake(file, f"{named}: {detail['msg']}", f"write {example}")
