"""Tests against real servers run inside a lab namespace, or fail and say so; what the attacks on paths share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.certificates import Authority
from tests.servers.mail_support import safe_directory
from tests.servers.path_writers import MADE, Writer, guess_names, victims, writers


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Fail, rather than skip, what would otherwise meddle with the host's own network."""
    copy = Path("/run/rollover-lab/etc")  # tests/lab/enter binds it over /etc
    if not (copy.is_dir() and copy.samefile("/etc")):
        pytest.fail(
            f"{item.path.name} needs the lab's namespace: run ./test.sh, "
            "or tests/lab/enter .venv/bin/pytest ARGUMENTS as root",
            pytrace=False,
        )


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What the writers of path_writers.py write, and what stood there before."""
    authority = Authority(tmp_path_factory.mktemp("authority") / "ca")
    MADE[:] = [authority.issue(), authority.issue()]
    yield
    MADE.clear()


@pytest.fixture
def base(certificates: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A directory of root's with what must not change, and a directory of the attacker's."""
    guess_names(monkeypatch)
    with safe_directory() as directory:
        victims(directory)
        yield directory


@pytest.fixture(params=list(writers()))
def writer(request: pytest.FixtureRequest, certificates: None) -> Writer:
    """Each of the things that write as root."""
    return writers()[request.param]
