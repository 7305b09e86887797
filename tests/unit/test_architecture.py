"""The house of design: who may import whom, how large a file is, and what each test says of itself.

    cli → engine → dns, mail, state → core

The core imports the core. A hand (dns, mail, state) imports the core, the clock and its own room, never
another hand. Nobody imports cli. Modules at the top (config, hooks, units) serve cli and engine;
directory serves whatever writes.
"""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "rollover"
FILES = sorted(PACKAGE.rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("test_*.py"))

HANDS = {"dns", "mail", "state"}
#: What a room may import besides itself. The rooms are the packages and modules right below rollover/.
ALLOWED = {
    "": set(),
    "core": set(),
    "clock": {"core"},
    "config": {"", "core"},
    "directory": {"core"},  # the way to whatever root writes: keys, state, hooks, units, status.json
    "dns": {"core", "clock"},
    "mail": {"core", "clock", "directory"},
    "state": {"core", "clock", "directory"},
    "hooks": {"", "core", "config", "directory"},
    "units": {"", "core", "config", "hooks", "mail"},  # mail: runs systemctl as it runs postfix
    "engine": {"", "core", "clock", "config", "directory", "hooks", "units", *HANDS},
    "cli": {"", "core", "clock", "config", "directory", "hooks", "units", "engine", *HANDS},
}
#: Libraries that reach the world: none of them is for the core.
WORLD = {
    *("aiohttp", "asyncio", "dns", "logging", "multiprocessing", "os", "pathlib", "pydantic", "random", "requests"),
    *("rich", "secrets", "select", "shutil", "signal", "smtplib", "socket", "sqlite3", "ssl", "subprocess", "tempfile"),
    *("tenacity", "threading", "time", "typer", "urllib"),
}


def room(module: str) -> str:
    """Return the room of *module*: "dns" for rollover.dns.update, "" for rollover itself."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else ""


def name_of(file: Path) -> str:
    """Return the dotted name of the module in *file*."""
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(file): file for file in FILES}


def imports(file: Path) -> set[str]:
    """Return every module that *file* imports, at its top, inside functions and for typing alike."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative imports hide the arrows"
            base = str(node.module)
            below = {f"{base}.{alias.name}" for alias in node.names}
            found |= {x for x in below if x in MODULES} or {base}
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            literal = node.args[0]
            if isinstance(literal, ast.Constant):
                found.add(str(literal.value))
    return found


def arrows(module: str, imported: set[str]) -> set[str]:
    """Return the rooms of ours that *module* reaches and must not."""
    ours = {room(x) for x in imported if x == "rollover" or x.startswith("rollover.")}
    return ours - ALLOWED.get(room(module), set()) - {room(module)}


@pytest.mark.parametrize("module", MODULES)
def test_the_arrows_are_kept(module: str) -> None:
    """A module imports only what its room may import."""
    assert room(module) in ALLOWED, f"{module}: no such room in the house; argue for it, then enter it here"
    assert not arrows(module, imports(MODULES[module]))


@pytest.mark.parametrize(
    ("module", "imported", "wrong"),
    [
        ("rollover.core.machine", "rollover.clock", {"clock"}),
        ("rollover.core.machine", "rollover", {""}),
        ("rollover.dns.update", "rollover.mail.probe", {"mail"}),
        ("rollover.state.store", "rollover.config", {"config"}),
        ("rollover.engine.run", "rollover.cli.app", {"cli"}),
        ("rollover.config.models", "rollover.engine", {"engine"}),
        ("rollover.cli.app", "rollover.engine", set()),
        ("rollover.engine", "rollover.state.store", set()),
        ("rollover.dns.update", "rollover.core.tlsa", set()),
    ],
)
def test_a_wrong_arrow_is_seen(module: str, imported: str, wrong: set[str]) -> None:
    """The check itself refuses what the house refuses, and nothing else."""
    assert arrows(module, {imported}) == wrong


@pytest.mark.parametrize("module", [x for x in MODULES if room(x) == "core"])
def test_the_core_has_no_world(module: str) -> None:
    """No socket, file, clock, log or randomness is imported by the core."""
    assert not {x.partition(".")[0] for x in imports(MODULES[module])} & WORLD


@pytest.mark.parametrize("file", FILES, ids=lambda x: str(x.relative_to(ROOT)))
def test_a_file_is_small_and_says_what_it_is_for(file: Path) -> None:
    """Every module has a docstring, and is short enough to be read in one go."""
    source = file.read_text()

    assert ast.get_docstring(ast.parse(source))
    assert source.count("\n") <= 400


def test_every_library_is_declared() -> None:
    """What the package imports is in the standard library or in the dependencies of pyproject.toml."""
    import tomllib

    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    distribution = {"dns": "dnspython", "OpenSSL": "pyopenssl", "pydantic_core": "pydantic"}
    names = {x.split(">")[0].lower() for x in declared}
    used = {x.partition(".")[0] for file in FILES for x in imports(file)} - set(sys.stdlib_module_names) - {"rollover"}

    assert {distribution.get(x, x).lower() for x in used} <= names


@pytest.mark.parametrize("file", TESTS, ids=lambda x: str(x.relative_to(ROOT)))
def test_each_test_states_one_behaviour(file: Path) -> None:
    """Every test has a docstring whose first line is a sentence; none is skipped or expected to fail."""
    tree = ast.parse(file.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
            docstring = ast.get_docstring(node)
            assert docstring, f"{node.name} says nothing"
            assert docstring[-1] in ".?!)", f"{node.name}: not a sentence: {docstring}"
    called = {ast.unparse(x.func) for x in ast.walk(tree) if isinstance(x, ast.Call)}
    marks = {ast.unparse(x) for x in ast.walk(tree) if isinstance(x, ast.Attribute)}
    forbidden = {"pytest.skip", "pytest.xfail", "pytest.importorskip"}
    assert not called & forbidden
    assert not marks & {"pytest.mark.skip", "pytest.mark.skipif", "pytest.mark.xfail"}


@pytest.mark.parametrize("file", [*FILES, *TESTS], ids=lambda x: str(x.relative_to(ROOT)))
def test_nothing_is_left_for_later(file: Path) -> None:
    """No marker for later, no skipped check without its reason."""
    if file == Path(__file__).resolve():
        return
    source = file.read_text()

    assert not [x for x in ("TODO", "FIXME", "XXX", "HACK") if x in source]
    assert not [x for x in source.splitlines() if x.rstrip().endswith(("# type: ignore", "# noqa"))]
