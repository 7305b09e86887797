"""Which failures of the tests on real servers may be this machine's: tests/second_chance.py."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.machine import Spent, between
from tests.second_chance import FILE, MOST, SecondChance

ROOT = Path(__file__).resolve().parents[2]
# What /proc/stat would say: a hundred ticks for each reading, forty of them stolen.
CONFTEST = """
import itertools
import tests.second_chance as plugin

readings = itertools.count()
plugin.ticks = lambda: (lambda n: (n * 60, 0, 0, 0, 0, 0, 0, n * 40, 0, 0))(next(readings))
"""
ZERO = (0,) * 10


def after(stolen: int) -> list[tuple[str, Any]]:
    """Return the properties of a test in which so many of a hundred ticks were stolen."""
    return [("processors", [ZERO, (100 - stolen, 0, 0, 0, 0, 0, 0, stolen, 0, 0)])]


def failed(name: str, properties: list[tuple[str, Any]], when: Any = "call") -> pytest.TestReport:
    """Return the report of a test that failed."""
    return pytest.TestReport(name, ("", 0, ""), {}, "failed", None, when, user_properties=properties)


def names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *reports: pytest.TestReport) -> list[str]:
    """Return what is written for another run after these failures."""
    monkeypatch.setenv(FILE, str(tmp_path / "again"))
    plugin = SecondChance(SimpleNamespace())  # type: ignore[arg-type]
    for report in reports:
        plugin.pytest_runtest_logreport(report)
    plugin.pytest_sessionfinish()
    return (tmp_path / "again").read_text().splitlines()


def test_failures_while_others_had_the_processors_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each once, though its teardown failed too; at most so many."""
    few = [failed(f"t.py::test_{n}", after(40), when) for n in range(MOST) for when in ("call", "teardown")]
    assert names(tmp_path, monkeypatch, *few) == [f"t.py::test_{n}" for n in range(MOST)]
    assert names(tmp_path, monkeypatch, *few, failed("t.py::test_more", after(40))) == []
    assert names(tmp_path, monkeypatch) == []


@pytest.mark.parametrize("properties", [after(9), []], ids=["this machine's own", "of a process that died"])
def test_one_that_is_not_excused_takes_all_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, properties: list[tuple[str, Any]]
) -> None:
    """The run has failed then, whatever they would do."""
    other = failed("t.py::test_a", after(40))
    assert names(tmp_path, monkeypatch, other, failed("t.py::test_b", properties)) == []
    assert names(tmp_path, monkeypatch, other, failed("t.py::test_a", properties, "teardown")) == []


def test_what_cannot_be_imported_is_not_excused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of tests that fails to load fails the run."""
    monkeypatch.setenv(FILE, str(tmp_path / "again"))
    plugin = SecondChance(SimpleNamespace())  # type: ignore[arg-type]
    plugin.pytest_runtest_logreport(failed("t.py::test_a", after(40)))
    plugin.pytest_collectreport(pytest.CollectReport("u.py", "failed", None, []))
    plugin.pytest_sessionfinish()
    assert (tmp_path / "again").read_text() == ""


def test_a_worker_of_xdist_hands_over_what_it_measured(tmp_path: Path) -> None:
    """The name is one that pytest takes, and the report tells what the processors did."""
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "test_it.py").write_text("def test_a():\n    assert False\n\n\ndef test_b():\n    pass\n")
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    command = [sys.executable, "-m", "pytest", "-q", "-n", "1", "-p", "no:cacheprovider", "-p", "tests.second_chance"]
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    env |= {"PYTHONPATH": str(ROOT), FILE: str(tmp_path / "again")}
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 1
    assert (tmp_path / "again").read_text() == "test_it.py::test_a\n"
    assert "40% of the processors' time went to other guests" in done.stdout


def test_shares_of_what_the_processors_did() -> None:
    """proc_stat(5): guest time is in user time already, and is not counted twice."""
    then = (10, 0, 10, 100, 0, 0, 0, 0, 0, 0)
    assert between(then, (20, 0, 20, 160, 5, 5, 0, 10, 7, 7)) == Spent(idle=0.65, stolen=0.1)
    assert Spent(idle=0.4, stolen=0.02).quiet
    assert not Spent(idle=0.39, stolen=0.0).quiet
    assert not Spent(idle=0.9, stolen=0.03).quiet
    assert Spent(idle=0.5, stolen=0.1).starved
    assert not Spent(idle=0.0, stolen=0.09).starved
