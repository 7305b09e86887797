"""Tests against real servers run inside a lab namespace, or fail and say so."""

from __future__ import annotations

from pathlib import Path

import pytest


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Fail, rather than skip, what would otherwise meddle with the host's own network."""
    copy = Path("/run/rollover-lab/etc")  # tests/lab/enter binds it over /etc
    if not (copy.is_dir() and copy.samefile("/etc")):
        pytest.fail(
            f"{item.path.name} needs the lab's namespace: run ./test.sh, "
            "or tests/lab/enter .venv/bin/pytest ARGUMENTS as root",
            pytrace=False,
        )
