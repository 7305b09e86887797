"""README.md cannot drift from what the command says of itself."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import typer.main

from rollover.cli.app import COMMANDS, app
from rollover.config.models import AlertConfig, CommandInstall, DnsConfig, PostfixInstall, ServiceConfig, ZoneConfig
from rollover.core.problems import KINDS

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
TABLE = README[README.index("## Commands") : README.index("Durations are")]


def commands() -> dict[str, object]:
    """Return every command with its subcommands, by the words that call it."""
    group = typer.main.get_command(app)
    found: dict[str, object] = {}
    for name in COMMANDS:
        command = group.get_command(None, name)  # type: ignore[attr-defined, arg-type]
        below = getattr(command, "commands", None)
        found |= {f"{name} {sub}": it for sub, it in below.items()} if below else {name: command}
    return found


@pytest.mark.parametrize("words", sorted(commands()))
def test_every_command_and_option_is_in_the_table(words: str) -> None:
    """A command stands in README's table with each of its options and arguments."""
    row = next((line for line in TABLE.splitlines() if re.search(rf"`{words}[ `]", line)), None)
    assert row is not None, f"README.md has no row for `{words}`"
    cell = re.search(rf"`({words}[^`]*)`", row)
    assert cell is not None
    for parameter in commands()[words].params:  # type: ignore[attr-defined]
        if parameter.name == "help":
            continue
        for said in parameter.opts if parameter.param_type_name == "option" else [parameter.metavar]:
            assert said in cell[1] or said in row, f"README.md: {words} lacks {said}"


def test_the_table_has_no_command_that_does_not_exist() -> None:
    """Every command and option that README's table names exists."""
    known = commands()
    for cell in re.findall(r"`([a-z]+(?: install| remove)?[^`]*)`", TABLE):
        words = " ".join(re.match(r"[a-z]+(?: install| remove)?", cell)[0].split())  # type: ignore[index]
        if words in ("as", "rollover", "status") or words not in known:
            assert words in {*known, "rollover"}, f"README.md names {words}"
            continue
        options = {o for p in known[words].params for o in p.opts}  # type: ignore[attr-defined]
        assert set(re.findall(r"--[a-z-]+", cell)) <= options, f"README.md: options of {words}"


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


def test_every_key_of_the_configuration_is_in_the_table() -> None:
    """README names every key that the configuration takes."""
    rows = README[README.index("## Configuration") : README.index("## Leaving")]
    models = (DnsConfig, ZoneConfig, ServiceConfig, PostfixInstall, CommandInstall, AlertConfig)
    keys = {f.alias or name for m in models for name, f in m.model_fields.items()}
    words = set(re.findall(r"[a-z_]+", rows))
    assert keys - {"zone", "kind"} <= words | {"name"}, keys - words


def test_the_first_screen_says_what_it_is_shows_it_and_no_more() -> None:
    """One sentence, the danger, a short session, within the first 40 lines."""
    first = README.splitlines()[:40]
    assert "without one message being deferred" in first[2]
    assert any("rollover deploy" in line for line in first)
    assert any(line.startswith("## ") for line in first)
