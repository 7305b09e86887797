"""Mutants of the numbers, and of True and False, that stand outside of functions: constants, and defaults of fields.

mutmut changes functions only: it imports a file once and switches there. Here two of its operators are applied to the
rest of a file, and each mutant is imported anew, in a process of its own.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import importlib.util
import json
import os
import resource
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

PACKAGE = Path("rollover/core")
TESTS = Path("tests/unit/core")
RESULTS = Path("mutants/constants.json")
SLOW = {"test_properties.py", "test_survivors.py"}
LIKELY = ("words", "told", "problems")  # what sees most of them, after the tests of the file itself
SECONDS = 300  # of processor time for one mutant


class Change(NamedTuple):
    """One mutant: the line as it is and as it becomes, and the source of the whole file."""

    file: str
    before: str
    after: str
    source: str


def changes(file: Path) -> Iterator[Change]:
    """Yield the mutants of *file* outside of its functions."""
    import libcst as cst
    from libcst.metadata import MetadataWrapper, PositionProvider
    from mutmut.mutation.mutators import operator_name, operator_number

    class Visitor(cst.CSTVisitor):
        """Collects (node, what it becomes, its first line)."""

        METADATA_DEPENDENCIES = (PositionProvider,)
        found: list[tuple[cst.CSTNode, cst.CSTNode, int]]

        def on_visit(self, node: cst.CSTNode) -> bool:
            if isinstance(
                node, cst.FunctionDef | cst.Import | cst.ImportFrom | cst.Annotation | cst.Decorator | cst.Expr | cst.If
            ):
                return False  # If: TYPE_CHECKING; Expr: docstrings
            place = self.get_metadata(PositionProvider, node, None)
            for kind, operator in ((cst.BaseNumber, operator_number), (cst.Name, operator_name)):
                if isinstance(node, kind) and place is not None:
                    self.found += [(node, x, place.start.line) for x in operator(node)]
            return True

    wrapper = MetadataWrapper(cst.parse_module(file.read_text()))
    visitor = Visitor()
    visitor.found = []
    wrapper.visit(visitor)
    whole = wrapper.module.code
    for node, becomes, at in visitor.found:
        source = wrapper.module.deep_replace(node, becomes).code
        if source != whole:
            was, now = _line(whole, source, at)
            yield Change(str(file), was, now, source)


def _line(before: str, after: str, at: int) -> tuple[str, str]:
    """Return the first line that differs, on both sides."""
    for one, other in zip(before.splitlines()[at - 1 :], after.splitlines()[at - 1 :], strict=False):
        if one != other:
            return one.strip(), other.strip()
    return before.splitlines()[at - 1].strip(), ""


class Mutated(importlib.abc.MetaPathFinder, importlib.machinery.SourceFileLoader):
    """Finds one module, and loads another source for it."""

    def __init__(self, change: Change) -> None:
        super().__init__(change.file.removesuffix(".py").replace("/", "."), str(Path(change.file).resolve()))
        self.change = change

    def find_spec(self, name: str, path: object = None, target: ModuleType | None = None) -> object:
        """Return the module if it is the one; the others are found as ever."""
        return importlib.util.spec_from_file_location(name, self.path, loader=self) if name == self.name else None

    def get_code(self, name: str) -> object:
        """Return the mutant, compiled: nothing is cached."""
        return compile(self.change.source, self.path, "exec", dont_inherit=True)


def survives(change: Change) -> bool:
    """Tell whether all tests pass with *change*, in a process of its own."""
    pid = os.fork()
    if pid == 0:
        resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        os.dup2(1, 2)
        sys.meta_path.insert(0, Mutated(change))
        os._exit(_run(change))
    return os.waitpid(pid, 0)[1] == 0


def _run(change: Change) -> int:
    import pytest

    quick = [TESTS / f"test_{name}.py" for name in (Path(change.file).stem, *LIKELY)]
    first = [str(x) for x in dict.fromkeys(quick) if x.exists()]
    others = sorted(str(x) for x in TESTS.glob("test_*.py") if x.name not in SLOW and str(x) not in first)
    for files in (first, others):
        if code := int(pytest.main(["-x", "-q", "--tb=no", "-p", "no:cacheprovider", "-p", "no:xdist", *files])):
            return code
    return 0


def main() -> int:
    """Try each mutant; keep in RESULTS which were tried, so that it goes on where it was stopped."""
    import cryptography.x509  # noqa: F401  # once for all of them; what pytest rewrites must not be there before it
    import OpenSSL.crypto  # noqa: F401

    same = PACKAGE / "ledger.py"
    if not survives(Change(str(same), "", "", same.read_text())):
        raise SystemExit("the tests fail without any mutant")
    done = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for file in sorted(PACKAGE.glob("*.py")):
        for number, change in enumerate(changes(file)):
            key = f"{file}#{number}"
            if key not in done:
                done[key] = [*change[:3], survives(change)]
                RESULTS.write_text(json.dumps(done))
    return 0


if __name__ == "__main__":
    sys.exit(main())
