"""A plugin of pytest: a test that did not run counts as a failure.

Loaded by ``-p tests.no_skips``. Skipped and expected failures fail the session; so do deselected
tests, unless they were deselected by -k, -m or --deselect on the command line.
"""

from __future__ import annotations

from typing import Any

import pytest


class NoSkips:
    """Counts what did not run, on this side and in the workers of xdist."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.absent: list[str] = []
        self.deselected = 0
        option = config.option
        self.selecting = bool(option.keyword or option.markexpr or config.getoption("deselect"))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note a test that was skipped, or that was expected to fail."""
        if report.skipped or hasattr(report, "wasxfail"):
            self.absent.append(report.nodeid)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Note a whole file that was skipped."""
        if report.skipped:
            self.absent.append(report.nodeid)

    def pytest_deselected(self, items: list[pytest.Item]) -> None:
        """Note what was left out, unless that was asked for."""
        if not self.selecting:
            self.deselected += len(items)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """Take what a worker left out: each collects the same tests, so the largest number counts."""
        self.deselected = max(self.deselected, getattr(node, "workeroutput", {}).get("deselected", 0))

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Fail the session when something did not run."""
        if hasattr(self.config, "workeroutput"):
            self.config.workeroutput["deselected"] = self.deselected
        elif (self.absent or self.deselected) and session.exitstatus in (
            pytest.ExitCode.OK,
            pytest.ExitCode.NO_TESTS_COLLECTED,
        ):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """Say which ones."""
        if self.absent or self.deselected:
            terminalreporter.section("a test that did not run counts as a failure", red=True)
            for name in self.absent:
                terminalreporter.line(f"did not run: {name}")
            if self.deselected:
                terminalreporter.line(f"deselected: {self.deselected}")


def pytest_configure(config: pytest.Config) -> None:
    """Register the counter."""
    config.pluginmanager.register(NoSkips(config), "no-skips")
