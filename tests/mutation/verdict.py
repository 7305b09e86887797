"""What a run of mutmut found, file by file, and whether each mutant that survived is argued in survivors.md.

To be started in the tree in which mutmut ran. A mutant is known by file, function and the lines that differ: its
number changes with every line that is added before it.
"""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tests.mutation.constants import RESULTS

SURVIVORS = Path(__file__).with_name("survivors.md")
LEAST = 0.95
KILLED = {"killed", "timeout"}  # a mutant that runs for ever is seen by whoever waits for the tests
MODULE = "module"  # in place of a function's name: what stands outside of all
HEADING = re.compile(r"### `(?P<file>\S+)`: `(?P<function>\S+)`")


class Mutant(NamedTuple):
    """One change of one function, or of the rest of a module: the lines taken out and put in, without indentation."""

    file: str
    function: str
    removed: tuple[str, ...]
    added: tuple[str, ...]


def argued(text: str) -> dict[Mutant, str]:
    """Return the mutants of survivors.md with the argument that stands below them.

    Raises ValueError for one without an argument, and for a change outside of any function.
    """
    found: dict[Mutant, str] = {}
    open_: list[Mutant] = []
    heading = None
    for block in re.split(r"\n{2,}", text):
        if here := HEADING.fullmatch(block.strip()):
            heading = here
        elif block.startswith(("    - ", "    + ")):
            if heading is None:
                raise ValueError(f"in no function: {block}")
            open_.append(Mutant(heading["file"], heading["function"], *_sides(block.splitlines())))
        elif open_ and block.strip() and not block.startswith("#"):
            found |= dict.fromkeys(open_, block.strip())
            open_ = []
    if open_:
        raise ValueError(f"no argument: {open_}")
    return found


def _sides(lines: list[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return what *lines* of a diff take out and put in; a line that stays the same says nothing."""
    out = [x.strip()[1:].strip() for x in lines if x.strip().startswith("-")]
    into = [x.strip()[1:].strip() for x in lines if x.strip().startswith("+")]
    same = (Counter(out) & Counter(into)).keys()
    return tuple(x for x in out if x not in same), tuple(x for x in into if x not in same)


def results() -> Iterator[tuple[str, str, Mutant | None]]:
    """Yield (file, status, mutant) of every mutant of the run in this directory; None for one that was killed."""
    from mutmut.stats import status_by_exit_code

    for meta in sorted(Path("mutants").rglob("*.meta")):
        file = str(meta.relative_to("mutants")).removesuffix(".meta")
        for key, code in json.loads(meta.read_text())["exit_code_by_key"].items():
            status = status_by_exit_code[code]
            yield file, status, None if status in KILLED else _mutant(file, key)
    for file, before, after, survived in json.loads(RESULTS.read_text()).values():
        yield (
            file,
            "survived" if survived else "killed",
            Mutant(file, MODULE, (before,), (after,)) if survived else None,
        )


def _mutant(file: str, key: str) -> Mutant:
    from mutmut.mutation.diff_apply import get_diff_for_mutant
    from mutmut.utils.format_utils import orig_function_and_class_names_from_key

    function, cls = orig_function_and_class_names_from_key(key)
    changed = [x for x in get_diff_for_mutant(key, path=file).splitlines()[2:] if x.startswith(("-", "+"))]
    name = function.removeprefix("_get_")
    return Mutant(file, f"{cls}.{name}" if cls else name, *_sides(changed))


def main() -> int:
    """Print the figures and every survivor that nobody argued; return 1 if there is one, or too few were killed."""
    counts: dict[str, Counter[str]] = {}
    alive: list[Mutant] = []
    for file, status, mutant in results():
        counts.setdefault(file, Counter())[status] += 1
        if mutant is not None:
            alive.append(mutant)
    print("| file | mutants | killed | timed out | survived |\n|---|---|---|---|---|")
    for file, count in [*counts.items(), ("**all**", sum(counts.values(), Counter()))]:
        rest = count.total() - sum(count[x] for x in KILLED)
        print(f"| {file} | {count.total()} | {count['killed']} | {count['timeout']} | {rest} |")
    score = 1 - len(alive) / max(1, sum(x.total() for x in counts.values()))
    known = argued(SURVIVORS.read_text())
    unknown = [x for x in alive if x not in known]
    print(f"\n{score:.2%} killed; {len(alive)} survive, {len(unknown)} of them not argued")
    for one in unknown:
        print(f"\n### `{one.file}`: `{one.function}`\n")
        print("\n".join([*(f"    - {x}" for x in one.removed), *(f"    + {x}" for x in one.added)]))
    for one in known.keys() - set(alive):
        print(f"\nargued, and killed or gone: {one}")
    return 1 if unknown or score < LEAST or not counts else 0


if __name__ == "__main__":
    sys.exit(main())
