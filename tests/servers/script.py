"""Runs what $SCRIPT holds: for the tests of tests/lab/warm.py."""

from __future__ import annotations

import os
import sys


def main() -> int:
    """Return what the script put into `code`."""
    names = {"os": os, "sys": sys, "code": 0}
    exec(os.environ["SCRIPT"], names)
    return int(names["code"])  # type: ignore[call-overload]
