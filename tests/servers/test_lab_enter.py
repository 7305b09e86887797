"""tests/lab/enter: what goes through it, and that nothing of it is left, however it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab import wait_for

ENTER = Path(__file__).parents[1] / "lab" / "enter"
# Odd lengths of sleep by which the processes of one test are known from all others.
_marks = iter(f"{number}.{os.getpid()}" for number in range(5000, 6000))


def alive(mark: str) -> dict[int, str]:
    """Return the processes whose command line has *mark*: process id and command line."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                continue
            if mark in line:
                found[int(entry.name)] = line
    return found


def test_streams_and_exit_code_pass_through() -> None:
    """Standard input and output and the exit code are those of the command."""
    done = subprocess.run(
        [ENTER, "sh", "-c", "cat; echo err >&2; exit 7"], input="in\n", capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (7, "in\n", "err\n")


def test_nothing_to_run_is_a_usage_error() -> None:
    """Without a command it exits 64 (EX_USAGE) and says how it is called."""
    done = subprocess.run([ENTER], capture_output=True, text=True, check=False)
    assert done.returncode == 64
    assert done.stderr == "usage: tests/lab/enter COMMAND [ARGUMENT...]\n"


def test_files_of_the_host_stay_as_they_are() -> None:
    """What is written to /etc and /run inside is not there outside."""
    program = "echo x >/etc/rollover-mark && echo x >/run/rollover-mark && cat /etc/rollover-mark"
    done = subprocess.run([ENTER, "sh", "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "x\n"
    assert not Path("/etc/rollover-mark").exists()
    assert not Path("/run/rollover-mark").exists()


@pytest.fixture
def entered() -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """A command inside, with a child in a session of its own, as daemons have."""
    mark = next(_marks)
    program = f"setsid sleep {mark} & sleep {mark}"
    heard = ["env", "--default-signal=HUP"]  # below nohup it is ignored, and a shell cannot trap it then
    with subprocess.Popen([*heard, ENTER, "sh", "-c", program], stdin=subprocess.DEVNULL) as process:
        wait_for(lambda: sum(line.startswith("sleep") for line in alive(mark).values()) == 2, "both run")
        yield process, mark
        if process.poll() is None:
            process.kill()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP])
def test_signal_to_the_script_ends_all(entered: tuple[subprocess.Popen[bytes], str], number: int) -> None:
    """Killed, terminated or hung up, the script takes every process inside with it."""
    process, mark = entered
    process.send_signal(number)
    assert process.wait(timeout=60) != 0
    wait_for(lambda: not alive(mark), "all processes end")


@pytest.mark.parametrize("part", ["unshare", "/bin/sh", "sh -c"])
def test_death_of_any_part_ends_all(entered: tuple[subprocess.Popen[bytes], str], part: str) -> None:
    """Whichever process between the script and the command is killed, nothing is left."""
    process, mark = entered
    (chosen,) = (number for number, line in alive(mark).items() if line.startswith(part) and number != process.pid)
    os.kill(chosen, signal.SIGKILL)
    assert process.wait(timeout=60) != 0
    wait_for(lambda: not alive(mark), "all processes end")


def test_xdist_workers_end_with_their_controller(tmp_path: Path) -> None:
    """A pytest whose workers live in namespaces is killed; they and their servers end soon."""
    mark = next(_marks)
    (tmp_path / "test_it.py").write_text(
        f"import subprocess\n\n\ndef test_it():\n    subprocess.run(['sleep', '{mark}'])\n"
    )
    worker = f"2*popen//python={ENTER.parent / 'python'}"
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "no:cacheprovider",
        "--tx",
        worker,
        "--dist",
        "load",
        str(tmp_path),
    ]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL) as controller:
        wait_for(lambda: alive(mark), "the test runs in its worker", 30)
        controller.kill()
    wait_for(lambda: not alive(mark), "the workers end", 15)
