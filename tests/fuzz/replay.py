"""Replays corpora, and their neighbours made by hypothesis, in this process: under a limit of memory and of time.

`python -m tests.fuzz --replay` is what ./test.sh runs. It ends at the first input that takes longer than
SECONDS, with the stack of what hung; an input that raises is told and counted, and the rest goes on.
"""

from __future__ import annotations

import contextlib
import faulthandler
import io
import resource
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.fuzz.targets import Target

SECONDS = 20.0  # for one input: a hang, not a slow machine
MEMORY = 1536 * 1024 * 1024  # octets of address space; the libraries alone take a third of it
EXAMPLES = 30  # of hypothesis, for each target


def limit(memory: int = MEMORY) -> None:
    """Limit this process for the rest of its life."""
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


@contextlib.contextmanager
def watched(name: str, seconds: float = SECONDS) -> Iterator[None]:
    """End the process with a stack if the block takes longer than *seconds*; C code that hangs, too."""
    print(name, end=" ", file=sys.stderr, flush=True)  # the last line tells which input it was
    faulthandler.dump_traceback_later(seconds, exit=True)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()
    print("ok", file=sys.stderr)


def corpus(it: Target, seconds: float = SECONDS) -> int:
    """Run the target on all that is kept for it, or on its seeds; return how many inputs failed."""
    inputs = [(path.name, path.read_bytes()) for path in it.corpus]
    if not inputs:
        inputs = [(f"seed {number}", octets) for number, octets in enumerate(it.seeds())]
    return sum(not _passes(it, f"{it.name}/{name}", octets, seconds) for name, octets in inputs)


def _passes(it: Target, name: str, octets: bytes, seconds: float) -> bool:
    try:
        with watched(name, seconds):
            it.run(octets)
    except Exception:
        print(f"failed: {name}", file=sys.stderr)
        traceback.print_exc()
        return False
    return True


def edits(inputs: Sequence[bytes]) -> st.SearchStrategy[bytes]:
    """Return inputs that are near to *inputs*: parts cut out, put in, doubled, or overwritten."""

    def apply(octets: bytes, changes: list[tuple[int, int, bytes]]) -> bytes:
        for at, length, new in changes:
            place = at % (len(octets) + 1)
            octets = octets[:place] + new + octets[place + length :]
        return octets

    change = st.tuples(st.integers(0, 1 << 16), st.integers(0, 9), st.binary(max_size=9))
    return st.builds(apply, st.sampled_from(inputs), st.lists(change, max_size=5))


def neighbours(it: Target, examples: int = EXAMPLES) -> int:
    """Run the target on inputs near to the corpus, the same in every run; return 1 if one failed."""
    inputs = [path.read_bytes() for path in it.corpus] or list(it.seeds())

    @settings(
        max_examples=examples,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],  # to shrink takes long; the input is told as it is
        suppress_health_check=list(HealthCheck),
    )
    @given(edits(inputs))
    def each(octets: bytes) -> None:
        it.run(octets)

    return 0 if _holds(it.name, each) else 1


def _holds(name: str, each: Callable[[], None]) -> bool:
    try:
        with watched(f"{name}/neighbours", SECONDS * 3), contextlib.redirect_stdout(io.StringIO()):
            each()
    except Exception:
        print(f"failed: {name}/neighbours", file=sys.stderr)
        traceback.print_exc()
        return False
    return True
