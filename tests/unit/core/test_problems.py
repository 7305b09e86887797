"""The table of problems: stable codes, each with a hint that helps at night."""

from __future__ import annotations

import ast
import string
from pathlib import Path

import pytest

from rollover.core.problems import KINDS, Level, problem

PACKAGE = Path(__file__).parents[3] / "rollover"
#: Functions and methods that make a problem, and at which place its code stands.
MAKERS = {"problem": 0, "blocked": 0, "_p": 1, "Laggard": 1}


def emitted() -> dict[str, set[str]]:
    """Return every code that a call in the package names, and in which files."""
    found: dict[str, set[str]] = {}
    for file in sorted(PACKAGE.rglob("*.py")):
        tree = ast.parse(file.read_text())
        for node in ast.walk(tree):
            if not isinstance(node, ast.Call):
                continue
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if name in MAKERS and len(node.args) > MAKERS[name]:
                for code in _literals(node.args[MAKERS[name]], tree):
                    found.setdefault(code, set()).add(str(file.relative_to(PACKAGE)))
    return found


def _literals(node: ast.expr, tree: ast.AST) -> set[str]:
    """Return the texts that an expression may be: itself, or what is assigned to its name in the file."""
    if isinstance(node, ast.Constant):
        return {str(node.value)}
    if isinstance(node, ast.IfExp):
        return _literals(node.body, tree) | _literals(node.orelse, tree)
    if isinstance(node, ast.Name):
        return _assigned(node.id, tree)
    return set()


def _assigned(name: str, tree: ast.AST) -> set[str]:
    values: set[str] = set()
    for node in ast.walk(tree):
        if not isinstance(node, ast.Assign):
            continue
        for target in node.targets:
            if isinstance(target, ast.Name) and target.id == name:
                values |= _literals(node.value, tree)
            elif isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
                for one, value in zip(target.elts, node.value.elts, strict=True):
                    if isinstance(one, ast.Name) and one.id == name:
                        values |= _literals(value, tree)
    return values


EMITTED = emitted()


def test_the_search_finds_codes_however_they_are_written() -> None:
    """As a literal, through a name, in a choice, in a tuple: else the next test proves nothing."""
    assert {"dane-off", "server-unreachable", "primary-unreachable", "resolver-stale", "clock", "mail-deferred"} <= set(
        EMITTED
    )
    assert len(EMITTED) >= 25


@pytest.mark.parametrize("code", sorted(EMITTED))
def test_every_code_that_is_told_is_in_the_table(code: str) -> None:
    """Nothing is told by a code that nobody can look up."""
    assert code in KINDS, EMITTED[code]


def test_every_row_can_be_told() -> None:
    """Each row is made somewhere, or is the code of an error that a run meets."""
    errors = {
        node.value.value
        for file in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Assign | ast.AnnAssign)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
        and "code" in {getattr(t, "id", "") for t in (node.targets if isinstance(node, ast.Assign) else [node.target])}
    }

    assert set(KINDS) - set(EMITTED) - errors == set()


@pytest.mark.parametrize("code", sorted(KINDS))
def test_every_row_says_what_it_means_and_what_to_do(code: str) -> None:
    """A meaning that is a sentence, a hint that fits on two lines, and no field that nobody fills."""
    kind = KINDS[code]

    assert kind.code == code
    assert set(code) <= set(string.ascii_lowercase + "-")
    assert kind.level is not Level.OK
    assert kind.meaning[0].isupper()
    assert kind.meaning[-1] in ".?"
    assert 10 < len(kind.hint) < 200
    assert {name for _, name, _, _ in string.Formatter().parse(kind.hint) if name is not None} <= {"service"}
    assert kind.hint.format(service="mail") == problem(code, "", service="mail").hint


def test_a_problem_takes_the_level_and_the_hint_of_its_row() -> None:
    """Unless it has better ones."""
    row = problem("paused", "a person paused it", service="mail")
    own = problem("paused", "it", service="mail", level=Level.CRITICAL, hint="do this")

    assert (row.level, row.hint, row.message) == (Level.WARNING, "`rollover resume mail`", "a person paused it")
    assert (own.level, own.hint) == (Level.CRITICAL, "do this")


def test_a_level_of_ok_is_a_level_of_its_own() -> None:
    """What is told and wakes nobody keeps that level."""
    assert problem("secondary-stale", "", service="mail", level=Level.OK).level is Level.OK


def test_a_code_that_is_not_in_the_table_is_refused() -> None:
    """Nobody invents one on the way."""
    with pytest.raises(KeyError):
        problem("invented", "", service="mail")


def test_the_levels_are_the_exit_codes_of_monitoring() -> None:
    """0 ok, 1 warning, 2 critical, 3 unknown; as words in lower case."""
    assert [(int(x), str(x)) for x in Level] == [(0, "ok"), (1, "warning"), (2, "critical"), (3, "unknown")]
