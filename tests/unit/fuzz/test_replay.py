"""The corpora are replayed, with their neighbours, under limits; and each harness sees what it is there for."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from unittest import mock

import pytest

from tests.fuzz.targets import CORPUS, TARGETS, target

ROOT = Path(__file__).resolve().parents[3]
FILES = [path for path in CORPUS.rglob("*") if path.is_file()]
#: Two processes: ./test.sh has two workers, and one process imports everything once.
HALVES = [sorted(TARGETS)[::2], sorted(TARGETS)[1::2]]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python in a process of its own, in the directory of the project."""
    return subprocess.run(
        [sys.executable, *arguments], check=False, cwd=ROOT, capture_output=True, text=True, timeout=280
    )


@pytest.mark.parametrize("names", HALVES, ids=" ".join)
def test_whatever_comes_from_outside_is_an_error_of_ours(names: list[str]) -> None:
    """No input kept, and none near to one, raises anything undocumented, hangs, or fills the memory."""
    done = run("-m", "tests.fuzz", "--replay", *names)

    assert done.returncode == 0, done.stderr[-3000:]
    for name in names:
        assert f"{name}: {len(target(name).corpus)} inputs kept" in done.stdout


PLANTED = {
    "an error of no kind of ours": ("{}['x']", "KeyError"),
    "a hang": ("exec('while True: pass')", "Timeout"),
    "a hang in C": ("pow(3, 10**9)", "Timeout"),
    "memory without bound": ("bytearray(2 << 30)", "MemoryError"),
    "recursion without end": ("(lambda f: f(f))(lambda f: f(f))", "RecursionError"),
}


@pytest.mark.parametrize(("fault", "word"), PLANTED.values(), ids=PLANTED)
def test_planted_fault_is_seen(fault: str, word: str) -> None:
    """A target that does it fails the replay, and the input is named."""
    program = f"""
import sys
from tests.fuzz import replay
from tests.fuzz.targets import Target
replay.limit()
it = Target("planted", lambda octets: {fault}, lambda: [b"x"])
sys.exit(replay.corpus(it, seconds=1.0))
"""
    done = run("-c", program)

    assert done.returncode == 1
    assert "planted/seed 0" in done.stderr
    assert word in done.stderr


class BrokenError(Exception):
    """What no caller expects."""


PARSERS = {
    "certificate": "rollover.core.certificate.load",
    "config": "rollover.config.files._main_table",
    "database": "rollover.state.codec.parse_stamp",
    "deploy": "rollover.engine.material._read",
    "dns-answer": "rollover.dns.message._extended_error",
    "dns-look": "rollover.dns.hop.interpret",
    "key": "rollover.core.pem.algorithm",
    "postconf": "rollover.mail.mastercf.assignments",
    "probe": "rollover.mail.dialogue.words",
    "report": "rollover.core.report.parse_stamp",
    "rows": "rollover.state.codec.parse_stamp",
    "tlsa": "rollover.core.tlsa.usable",
    "tsig-key": "rollover.dns.keys._tokens",
}


@pytest.mark.parametrize("name", TARGETS)
def test_broken_parser_is_seen(name: str) -> None:
    """A parser that raises something new comes out of the target with some of the inputs that are kept."""
    it = target(name)
    inputs = [path.read_bytes() for path in it.corpus]

    def raises(octets: bytes) -> bool:
        try:
            it.run(octets)
        except (BrokenError, AssertionError):  # the command turns it into "a bug", which its target refuses
            return True
        return False

    with mock.patch(PARSERS[name], side_effect=BrokenError):
        assert any(raises(octets) for octets in inputs)


def test_corpora_are_small() -> None:
    """The minimised set only: each input adds something, and none is large."""
    assert {path.name for path in CORPUS.iterdir()} == set(TARGETS)
    assert len(FILES) < 400
    assert sum(path.stat().st_size for path in FILES) < 300_000
    assert max(path.stat().st_size for path in FILES) <= 8192
