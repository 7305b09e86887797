"""A plugin of pytest, ``-p tests.reactions.plugin``: with ROLLOVER_WITHOUT="NUMBER: NAME" that reaction is not there.

It is taken out of the process that runs the tests; tests/lab/warm.py takes it out of the command.
"""

from __future__ import annotations

import os
import sys

from tests.reactions import take_out

VARIABLE = "ROLLOVER_WITHOUT"


def take_out_what_is_named() -> None:
    """Take out what the variable names."""
    number, _, name = os.environ[VARIABLE].partition(": ")
    take_out(int(number), name)


def be_the_command() -> None:
    """Be `rollover` without what is named, where it is started anew; its own name is the first argument."""
    take_out_what_is_named()
    from rollover.cli.app import main

    del sys.argv[0]
    sys.exit(main())


def pytest_configure() -> None:
    """Before any test module is imported."""
    if os.environ.get(VARIABLE):
        take_out_what_is_named()
