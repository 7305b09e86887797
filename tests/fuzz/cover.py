"""Which inputs are worth keeping: the fewest that pass through all the steps that any of them passes through."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import rollover
from tests.fuzz.targets import Target

PACKAGE = str(Path(rollover.__file__).parent)  # type: ignore[arg-type]
Steps = frozenset[tuple[CodeType, int, int]]
"""From which line to which, within one function of the product."""


def steps(it: Target, octets: bytes) -> Steps:
    """Return the steps through the product that one input takes; what it raises is told by a replay, not here."""
    found: set[tuple[CodeType, int, int]] = set()

    def enter(frame: FrameType, event: str, _: Any) -> Any:
        code = frame.f_code
        if not code.co_filename.startswith(PACKAGE):
            return None
        last = 0

        def line(frame: FrameType, event: str, _: Any) -> Any:
            nonlocal last
            if event == "line":
                found.add((code, last, frame.f_lineno))
                last = frame.f_lineno
            return line

        return line

    sys.settrace(enter)
    try:
        it.run(octets)
    except Exception as error:
        print(f"an input of {it.name} fails: {type(error).__name__}", file=sys.stderr)
    finally:
        sys.settrace(None)
    return frozenset(found)


def fewest(it: Target, seeds: Iterable[bytes], inputs: Iterable[bytes], most: int) -> tuple[list[bytes], int]:
    """Return at most *most* of *inputs* that add to *seeds*; and how many steps all take.

    Those first that add most, the shorter first.
    """
    covered: set[tuple[CodeType, int, int]] = set().union(*(steps(it, octets) for octets in seeds))
    reached = {octets: steps(it, octets) for octets in sorted(set(inputs), key=lambda x: (len(x), x))}
    chosen: list[bytes] = []
    while len(chosen) < most:
        best = max(reached, key=lambda octets: len(reached[octets] - covered), default=b"")
        if not reached or not reached[best] - covered:
            break
        covered |= reached.pop(best)
        chosen.append(best)
    return chosen, len(covered)
