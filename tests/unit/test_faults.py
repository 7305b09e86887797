"""docs/faults.md is what the markers say, and what belongs to a later capability is refused by name."""

from __future__ import annotations

import ast
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rollover.cli.app import main as rollover
from rollover.config import load
from rollover.core.errors import ConfigError
from rollover.core.problems import Level
from rollover.core.sighting import OwnerSighting
from rollover.core.tlsa import Tlsa
from rollover.engine import check
from tests.faults import FAULTS, ROOT, TABLE, marked, table
from tests.reactions import WITHOUT
from tests.reactions.registry import import_the_tool, place
from tests.unit.core.worlds import owner, r, server

TESTS = list(marked())


def test_the_table_is_the_one_that_is_made() -> None:
    """What is committed is what `python -m tests.faults` writes."""
    assert TABLE.read_text() == table(TESTS), "run `python -m tests.faults`"


def test_every_fault_has_a_test() -> None:
    """All eighty, in order, those that wait for a later capability too; no marker has another number."""
    assert list(FAULTS) == list(range(1, 81))
    shown = {number for test in TESTS for number in test.numbers}
    assert shown <= set(FAULTS)
    assert [n for n in FAULTS if n not in shown] == []


def test_every_marker_is_read_and_on_a_test_that_is_run() -> None:
    """A number that is computed, or a marker on a helper, would be left out of the table unseen."""
    written = sum(path.read_text().count("@pytest.mark.fault(") for path in (ROOT / "tests").rglob("test_*.py"))
    own = Path(__file__).read_text().count('"@pytest.mark.fault("')
    assert len(TESTS) == written - own
    assert [t for t in TESTS if not t.name.startswith("test_")] == []
    assert {t.path.split("/")[1] for t in TESTS} <= {"rollover", "servers", "unit"}


@pytest.mark.parametrize("number", FAULTS)
def test_every_reaction_can_be_taken_out(number: int) -> None:
    """What `tests/reactions/run` takes out is there to be taken out; that the tests fail then is what it looks at."""
    import_the_tool()

    def found(target: str, by: Callable[[Any], Any]) -> None:
        holder, name = place(target)
        assert by(holder.__dict__[name]) is not holder.__dict__[name], target

    assert WITHOUT[number]
    for taken_out in WITHOUT[number].values():
        taken_out(found)


@pytest.mark.parametrize("number", FAULTS)
def test_every_reaction_is_where_the_table_says(number: int) -> None:
    """The functions that are named exist: whoever takes one out knows which tests have to fail."""
    for name in FAULTS[number].by.split(", "):
        room, module, *path = name.split(".")
        found = ast.parse((ROOT / "rollover" / room / f"{module}.py").read_text()).body
        for part in path:
            (it,) = (
                x
                for x in found
                if isinstance(x, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and x.name == part
            )
            found = it.body


SMALLEST = """
[dns]
primary = "192.0.2.53"
tsig_key = "/etc/rollover/tsig.key"
[services.mail]
hosts = ["mail.example.org"]
{}
[[services.mail.install]]
kind = "postfix"
chain_file = "/etc/rollover/live/mail.pem"
{}
"""


@pytest.mark.fault(44, 59, 78, 79)
@pytest.mark.parametrize(
    ("service", "after", "named"),
    [
        ("standby = true", "", "services.mail.standby"),
        ('key_type = "rsa-2048"', "", "services.mail.key_type"),
        ("", '[services.mail.acme]\ndirectory = "https://acme.example/"', "services.mail.acme"),
        ('probe = ["/usr/local/bin/probe"]', "", "services.mail.probe"),
        ('destroy_keys = "30d"', "", "services.mail.destroy_keys"),
        ("keep_keys = 2", "", "services.mail.keep_keys"),
        ("", "[vault]\nkeep_keys = 2", "vault"),
        ("", '[tlsrpt]\nmailbox = "/var/mail/tlsrpt"', "tlsrpt"),
    ],
)
def test_a_key_of_a_later_capability_is_refused(tmp_path: Path, service: str, after: str, named: str) -> None:
    """Standby keys, own orders, an external probe, TLSRPT, destroying keys: nobody relies on what has no effect. See mistakes._unknown."""
    file = tmp_path / "rollover.toml"
    file.write_text(SMALLEST.format(service, after))
    with pytest.raises(ConfigError) as caught:
        load(file)
    assert caught.value.exit_code == 78
    assert f"{named}: unknown key" in caught.value.message
    assert caught.value.hint


@pytest.mark.fault(44, 79)
@pytest.mark.parametrize("command", ["emergency", "renew", "csr", "destroy", "forget"])
def test_a_command_of_a_later_capability_is_refused(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """What a person would run when the CA revokes, or to be rid of a key, does not exist and says so: 64, nothing is done."""
    assert rollover([command, "mail"]) == 64
    assert f"no such command: {command}" in capsys.readouterr().err


def warned(seen: OwnerSighting) -> list[str]:
    """Return what `check` warns of in the records of an owner, each with its hint."""
    rows = list(check._records(seen))
    assert [row for row in rows if row.level is not Level.WARNING or not row.hint] == []
    return [row.what for row in rows]


@pytest.mark.fault(20, 31)
def test_check_warns_of_odd_ttls_and_malformed_records() -> None:
    """Before a rollover takes days, or nothing at all, and of a digest cut short, which stays until a person removes it."""
    assert warned(owner(server("A", "ns1", primary=True, ttl=3600))) == []
    (short,) = warned(owner(server("A", "ns1", primary=True, ttl=0)))
    assert short.startswith("TTL 0 s is shorter than is usual")
    (long,) = warned(owner(server("A", "ns1", primary=True, ttl=86401)))
    assert long == "TTL 86401 s: a rollover takes 48 h"
    cut = replace(server("A", "ns1", primary=True, ttl=3600), rrset=r("A") | {Tlsa(3, 1, 1, bytes(20))})
    (unusable,) = warned(owner(cut))
    assert "has an unusable record: 3 1 1 00" in unusable
