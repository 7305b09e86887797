"""The line of --wait that is written over: it fits into the terminal that it is shown on."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import sys
import termios

import pytest

from rollover.cli.common import Progress
from rollover.core.problems import Level
from rollover.core.report import Report
from rollover.core.steps import Phase

CLEAR = "\r\x1b[2K"


def waiting(summary: str) -> Report:
    """Return a report of a service that waits."""
    return Report("mail", ("mail.example.org",), Level.OK, Phase.WAITING, summary, None)


@pytest.mark.parametrize("columns", [40, 132, 0])
def test_the_line_is_cut_to_the_width_of_the_terminal(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line that wraps could not be written over; a terminal that does not tell its width has 80 columns."""
    master, slave = pty.openpty()
    try:
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        monkeypatch.delenv("COLUMNS", raising=False)
        with os.fdopen(slave, "w") as terminal:
            monkeypatch.setattr(sys, "stderr", terminal)
            progress = Progress()
            progress.show([waiting("x" * 300)])
            progress.show([waiting("short")])
            progress.end()
            terminal.flush()
            shown = ""
            while not shown.endswith("\r\n"):  # a terminal gives what is there so far
                shown += os.read(master, 4096).decode()
    finally:
        os.close(master)

    _, long, short = shown.split(CLEAR)
    assert long.startswith("mail: waiting: xxx")
    assert len(long) == (columns or 80) - 1
    assert short == "mail: waiting: short\r\n"


def test_elsewhere_it_is_a_whole_line_for_each_change(capsys: pytest.CaptureFixture[str]) -> None:
    """A log keeps everything, once."""
    progress = Progress()
    for summary in ("x" * 300, "x" * 300, "short"):
        progress.show([waiting(summary)])
    progress.end()

    assert capsys.readouterr().err.splitlines() == [f"mail: waiting: {'x' * 300}", "mail: waiting: short"]
