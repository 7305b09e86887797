"""A plugin of pytest: names the failures that may be this machine's, for one more run of just these tests.

Loaded by ``-p tests.second_chance``. A server that is given no processor for seconds answers late, whatever the
tool does. So each failure tells what the processors did meanwhile, and a session in which *every* failure came
while other guests of the host had a good part of them, and in which there are few of them, writes their names to
the file $ROLLOVER_TEST_AGAIN, one a line. test.sh runs these once more, one lab at a time, and says so; who fails
twice has failed. A failure on a machine that was this one's own has no second chance, nor have those beside it.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from tests.machine import Ticks, between, since, ticks

FILE = "ROLLOVER_TEST_AGAIN"
MOST = 8
_BEGAN = pytest.StashKey[Ticks]()
_SPENT = "processors"


class SecondChance:
    """Measures in the process of a test; decides in the one that has all reports."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.failed: dict[str, bool] = {}
        """Whether the machine was starved, by the name of each test that failed."""
        self.began = ticks()

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """Begin to measure."""
        item.stash[_BEGAN] = ticks()

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_makereport(self, item: pytest.Item, call: pytest.CallInfo[None]) -> None:
        """Let a failure tell, before its report is made, what the processors did since the test began."""
        if call.excinfo is not None:
            item.user_properties.append((_SPENT, [item.stash[_BEGAN], ticks()]))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note a failure; one that tells nothing, as of a process that died, is not the machine's."""
        if report.failed:
            spent = [between(*value) for name, value in report.user_properties if name == _SPENT]
            if spent:
                report.sections.append(("this machine", str(spent[-1])))
            starved = bool(spent) and spent[-1].starved
            self.failed[report.nodeid] = self.failed.get(report.nodeid, True) and starved

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Note a file that cannot be imported."""
        if report.failed:
            self.failed[report.nodeid] = False

    def pytest_sessionfinish(self) -> None:
        """Write the names."""
        file = os.environ.get(FILE)
        if file and not hasattr(self.config, "workeroutput"):
            few = len(self.failed) <= MOST and all(self.failed.values())
            Path(file).write_text("".join(f"{name}\n" for name in self.failed if few))

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """Say what kind of machine this was."""
        terminalreporter.line(f"this machine: {since(self.began)}")


def pytest_configure(config: pytest.Config) -> None:
    """Register what measures."""
    config.pluginmanager.register(SecondChance(config), "second-chance")
