"""What tests/mutation/survivors.md argues is of the code as it stands: an argument does not outlive its line."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.mutation.properties import undecorated
from tests.mutation.verdict import MODULE, SURVIVORS, Mutant, argued

ROOT = Path(__file__).parents[3]
ARGUED = argued(SURVIVORS.read_text(encoding="utf-8"))


def function(source: str, name: str) -> str:
    """Return the source of a function, or of a method by `Class.method`."""
    if name == MODULE:
        return source
    body = ast.parse(source).body
    for part in name.split("."):
        (found,) = [x for x in body if isinstance(x, ast.ClassDef | ast.FunctionDef) and x.name == part]
        body = found.body
    return str(ast.get_source_segment(source, found))


@pytest.mark.parametrize("mutant", ARGUED, ids=[f"{x.file}:{x.function}" for x in ARGUED])
def test_what_is_argued_is_in_the_code(mutant: Mutant) -> None:
    """Each line that a surviving mutant changes stands in its function, and what it would become is something else."""
    lines = {
        x.strip() for x in function((ROOT / mutant.file).read_text(encoding="utf-8"), mutant.function).splitlines()
    }

    assert mutant.removed
    assert set(mutant.removed) <= lines
    assert mutant.removed != mutant.added
    assert len(ARGUED[mutant]) > 20


ENTRY = """### `rollover/core/x.py`: `f`

    - if a < b:
    + if a <= b:

    - )
    - return c
    + )
    + return d

Neither makes a difference.
"""


def test_an_argument_holds_for_all_changes_above_it() -> None:
    """A line that is on both sides says nothing; a change without an argument, or without a function, is a mistake."""
    assert argued(ENTRY) == {
        Mutant("rollover/core/x.py", "f", ("if a < b:",), ("if a <= b:",)): "Neither makes a difference.",
        Mutant("rollover/core/x.py", "f", ("return c",), ("return d",)): "Neither makes a difference.",
    }
    with pytest.raises(ValueError, match="no argument"):
        argued(ENTRY.replace("Neither makes a difference.", ""))
    with pytest.raises(ValueError, match="in no function"):
        argued(ENTRY.split("\n", 1)[1])


def test_a_property_is_mutated_like_any_other_method() -> None:
    """The tool passes over what is decorated: without the decorator a class does the same."""
    source = "class A:\n    @property\n    def b(self):\n        return 1\n\n    @property\n    def c(self):\n        return 2\n"
    after = undecorated(source)
    space: dict[str, type] = {}
    exec(after, space)

    assert "@property" not in after
    assert (space["A"]().b, space["A"]().c) == (1, 2)
    assert isinstance(vars(space["A"])["c"], property)
