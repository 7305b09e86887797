"""README.md cannot drift from what the command says of itself."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import typer.core
import typer.main
from pydantic import BaseModel

from rollover.cli.app import COMMANDS, app
from rollover.config import load
from rollover.config.models import (
    AlertConfig,
    CommandInstall,
    DnsConfig,
    MainTable,
    PostfixInstall,
    ServiceConfig,
    ZoneConfig,
)
from rollover.core.problems import KINDS

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
TABLE = README[README.index("## Commands") : README.index("Durations are")]
KEYS = README[README.index("## Configuration") : README.index("## Leaving")]


def cells(line: str) -> list[str]:
    """Return the cells of one row of a table."""
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def rows(text: str) -> list[list[str]]:
    """Return the rows of the table in *text*, without its header."""
    return [cells(line) for line in text.splitlines() if line.startswith("| `")]


def commands() -> dict[str, typer.core.TyperCommand]:
    """Return every command with its subcommands, by the words that call it."""
    group = typer.main.get_command(app)
    found: dict[str, typer.core.TyperCommand] = {}
    for name in COMMANDS:
        command = group.get_command(None, name)  # type: ignore[attr-defined, arg-type]
        below = getattr(command, "commands", None)
        found |= {f"{name} {sub}": it for sub, it in below.items()} if below else {name: command}
    return found


def signature(words: str, parameters: Iterable[Any]) -> str:
    """Return how a command is written: arguments, then options, what may be left out in brackets, … for several."""
    arguments, options = [], []
    for it in parameters:
        if it.param_type_name == "argument":
            text = it.metavar + ("…" if it.nargs == -1 else "")
            arguments.append(text if it.required else f"[{text}]")
        elif it.name != "help":
            value = "" if it.is_flag else f" {it.metavar}"
            options.append(f"[{it.opts[0]}{value}]" + ("…" if it.multiple else ""))
    return " ".join([words, *arguments, *options])


def test_the_table_of_commands_is_what_the_commands_take() -> None:
    """Every command stands in the table once, with each argument and option that it has, and no other."""
    told = [call for first, *_ in rows(TABLE) for call in re.findall(r"`([^`]+)`", first)]

    assert sorted(told) == sorted(signature(words, it.params) for words, it in commands().items())


def test_the_global_options_are_in_the_line_above_it() -> None:
    """The line that shows how to call the command has every global option."""
    line = signature("rollover", typer.main.get_command(app).params)

    assert f"    {line} COMMAND\n" in README


def test_a_crontab_line_has_an_absolute_path() -> None:
    """PATH in /etc/cron.d is /usr/bin:/bin, without /usr/local/bin: each crontab line names the command whole."""
    lines = re.findall(r"\* \* root (\S+)", README)

    assert lines and set(lines) == {"/usr/local/bin/rollover"}


@pytest.mark.parametrize("code", sorted(KINDS))
def test_every_problem_code_is_in_the_table_with_its_hint(code: str) -> None:
    """The table of problems says of each code what the tool says."""
    kind = KINDS[code]
    hint = kind.hint.format(service="SERVICE").replace("|", "\\|")
    assert f"| `{code}` | {kind.level} | {kind.meaning} | {hint} |" in README


def test_the_table_has_no_code_that_does_not_exist() -> None:
    """Every code in README's table of problems exists."""
    rows = README[README.index("### Problem codes") : README.index("## Configuration")]
    assert set(re.findall(r"^\| `([a-z-]+)` \|", rows, re.MULTILINE)) == set(KINDS)


SMALLEST = """
[dns]
tsig_key = "/k"
[[dns.zone]]
name = "z.example"
primary = "192.0.2.1"
tsig_key = "/z"
[alert]
[services.a]
hosts = ["a.example"]
[[services.a.install]]
kind = "postfix"
chain_file = "/a"
[services.b]
hosts = ["b.example"]
[[services.b.install]]
kind = "command"
chain_file = "/b"
reload = ["true"]
"""
#: The tables, as README writes them: where a line of theirs can be added to SMALLEST, and their models.
PLACES: dict[str, tuple[tuple[str, ...], tuple[type[BaseModel], ...]]] = {
    "": (("[services.a]\n",), (ServiceConfig,)),
    "[dns]": (("[dns]\n",), (DnsConfig,)),
    "[[dns.zone]]": (("[[dns.zone]]\n",), (ZoneConfig,)),
    "[[install]]": (("[[services.a.install]]\n", "[[services.b.install]]\n"), (PostfixInstall, CommandInstall)),
    "[alert]": (("[alert]\n",), (AlertConfig,)),
}
#: Defaults that are no value but what is done without one; in the models they are None or empty.
WITHOUT = {"SOA MNAME", "/etc/resolv.conf", "A and AAAA of each host", "as adopt found it", "that of `[dns]`", "none", "who runs it"}  # fmt: skip
#: Keys that are tables of their own; the name of a service is in its header.
TABLES = {("[dns]", "zone"), ("", "install"), ("", "name")}


def told_keys() -> dict[tuple[str, str], str]:
    """Return the default of each key, as README tells it, by (table, key)."""
    found = {}
    for first, default, _ in rows(KEYS):
        table, _, key = first.strip("`").rpartition(" ")
        assert (table, key) not in found, f"twice: {first}"
        found[table, key] = default
    return found


def test_the_table_of_keys_is_what_the_configuration_takes() -> None:
    """Every key stands in the table once, under its table, and no other does."""
    known = {
        (table, field.alias or name)
        for table, (_, models) in PLACES.items()
        for model in models
        for name, field in model.model_fields.items()
    }

    assert set(told_keys()) == (known - TABLES) | {("", "state")}


@pytest.mark.parametrize("place", sorted(told_keys()), ids=lambda place: " ".join(place).strip())
def test_each_default_is_the_one_of_the_model(place: tuple[str, str], tmp_path: Path) -> None:
    """A default that is a value changes nothing when it is written; a key without one has to be there."""
    table, key = place
    default = told_keys()[place]
    headers, models = PLACES[table]
    if place == ("", "state"):
        headers, models = ("\n[dns]\n",), (MainTable,)
    fields = [model.model_fields[key] for model in models if key in model.model_fields]
    if default == "":
        assert any(field.is_required() for field in fields), f"{key} has a default"
        return
    assert not any(field.is_required() for field in fields), f"{key} has no default"
    if default in WITHOUT:
        assert {field.get_default() for field in fields} <= {None, ()}
        return
    file = tmp_path / "rollover.toml"
    file.write_text(SMALLEST)
    plain = load(file)
    for header, model in zip(headers, models, strict=True):
        if key in model.model_fields:
            line = f"{key} = {default}\n"
            file.write_text(line + SMALLEST if key == "state" else SMALLEST.replace(header, header + line))
            assert load(file) == plain, line


def test_the_first_screen_says_what_it_is_shows_it_and_no_more() -> None:
    """One sentence, the danger, a short session, within the first 40 lines."""
    first = README.splitlines()[:40]
    assert "without one message being deferred" in first[2]
    assert any("rollover deploy" in line for line in first)
    assert any(line.startswith("## ") for line in first)
