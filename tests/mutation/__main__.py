"""Start mutmut, with one change: tests are collected once, and each mutant runs those that reach it.

mutmut forks for each mutant, and has every child collect its tests anew: of a second that a mutant takes that is nearly
all. Here a child finds them collected, and runs them, the quickest first, until one fails.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

import pytest
from _pytest.config import _prepareconfig
from mutmut.__main__ import cli
from mutmut.mutation.trampoline import set_mutant_under_test
from mutmut.runners.harness import PytestRunner
from mutmut.utils.file_utils import change_cwd
from mutmut.workers import isolation


class CollectedOnce(PytestRunner):
    """Runs the tests of a session that is opened before the first fork."""

    parent = os.getpid()
    items: dict[str, pytest.Item]
    session: pytest.Session

    def run_forced_fail(self) -> int:
        """Do what is done last before the mutants; then open the session that they run in."""
        failed = super().run_forced_fail()
        set_mutant_under_test("")
        with change_cwd("mutants"):
            options = ["--rootdir=.", "-q", "-s", *self._pytest_add_cli_args, *self._pytest_add_cli_args_test_selection]
            config = _prepareconfig(options)
            config._do_configure()
            self.session = pytest.Session.from_config(config)
            config.hook.pytest_sessionstart(session=self.session)
            config.hook.pytest_collection(session=self.session)
        self.items = {item.nodeid: item for item in self.session.items}
        if pid := os.fork():
            if os.waitpid(pid, 0)[1]:
                raise SystemExit("collected once, the tests fail without any mutant")
        else:
            os._exit(self.run_tests(mutant_name=None, tests=self.items))
        return failed

    def run_tests(self, *, mutant_name: str | None, tests: Iterable[str]) -> int:
        """Return 1 if one of *tests* fails, 0 if none does."""
        if os.getpid() == self.parent:
            return super().run_tests(mutant_name=mutant_name, tests=tests)
        silent = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silent, 1)
        os.dup2(silent, 2)
        chosen = [self.items[name] for name in tests]
        with change_cwd("mutants"):
            for item, following in zip(chosen, [*chosen[1:], None], strict=True):
                item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
                if self.session.testsfailed:
                    return 1
        return 0


if __name__ == "__main__":
    isolation.PytestRunner = CollectedOnce  # type: ignore[misc]
    cli()
