"""Tests against real servers run inside a lab namespace, or fail and say so."""

from __future__ import annotations

import os

import pytest


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Fail, rather than skip, what would otherwise meddle with the host's own network."""
    if os.environ.get("ROLLOVER_LAB") != "1":
        pytest.fail(
            f"{item.path.name} needs the lab's namespace: run ./test.sh, "
            "or tests/lab/enter .venv/bin/pytest ARGUMENTS as root",
            pytrace=False,
        )
