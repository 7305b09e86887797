"""Start mutmut, with one change: a mutant has to pass a few quick tests before it is shown all that reach it.

Most are seen by one of the first; to collect a thousand tests for each of them would take most of the time.
"""

from __future__ import annotations

from collections.abc import Iterable

from mutmut.__main__ import cli
from mutmut.runners.harness import PytestRunner
from mutmut.workers import isolation

FIRST = 40


class TwoSteps(PytestRunner):
    """Runs the quickest tests by themselves, then the others."""

    def run_tests(self, *, mutant_name: str | None, tests: Iterable[str]) -> int:
        """Return the exit code of the first step that fails; 0 if none does. They come quickest first."""
        given = list(tests)
        if len(given) <= 2 * FIRST:
            return super().run_tests(mutant_name=mutant_name, tests=given)
        first = super().run_tests(mutant_name=mutant_name, tests=given[:FIRST])
        return first or super().run_tests(mutant_name=mutant_name, tests=given[FIRST:])


if __name__ == "__main__":
    isolation.PytestRunner = TwoSteps  # type: ignore[misc]
    cli()
