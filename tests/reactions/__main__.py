"""``tests/reactions/run [NUMBER…]``: take each reaction out, run the tests of its fault, and see each of them fail.

Needs what ./test.sh has installed; as root, for the labs. Prints each test that passes without the reaction.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from xml.etree import ElementTree as ET

from tests.faults import ROOT, Marked, marked
from tests.reactions import WITHOUT
from tests.reactions.plugin import VARIABLE

LONGEST = 1200.0  # seconds; a test that waits for what never comes gives up long before


def main() -> int:
    """Return 1 if a test did not fail."""
    parser = argparse.ArgumentParser(prog="tests/reactions/run", description=__doc__)
    parser.add_argument("numbers", nargs="*", type=int, help="faults; all if there is none")
    parser.add_argument("--jobs", type=int, default=2, help="tests, and labs, at a time")
    parser.add_argument("-k", default="", help="only tests with this in their name")
    options = parser.parse_args()
    asked = [
        (number, test)
        for test in marked()
        for number in test.numbers
        if (not options.numbers or number in options.numbers) and options.k in test.name
    ]
    asked.sort(key=lambda it: it[0])
    passed = 0
    with ThreadPoolExecutor(options.jobs) as pool:
        for (number, test), seen in zip(asked, pool.map(lambda it: seen_to_fail(*it), asked), strict=True):
            passed += not seen
            told = f"fails without: {seen}" if seen else "PASSES"
            print(
                f"{number:3} {test.path.removeprefix('tests/')}: {test.name.removeprefix('test_')}: {told}", flush=True
            )
    print(f"{len(asked)} tests of {len({n for n, _ in asked})} faults, {passed} do not fail without the reaction")
    return 1 if passed or not asked else 0


def seen_to_fail(number: int, test: Marked) -> str:
    """Return the reaction without which *test* fails; empty if it passes without each that is known."""
    for name in WITHOUT.get(number, {}):
        if fails(test, {VARIABLE: f"{number}: {name}"}):
            return name
    return ""


def fails(test: Marked, env: dict[str, str]) -> bool:
    """Tell whether any case of *test* fails in itself; that it could not be set up, or run at all, is no failure."""
    unit = test.path.startswith("tests/unit/")
    with tempfile.TemporaryDirectory(prefix="rollover-without-") as scratch:
        told = Path(scratch) / "told.xml"
        lab = [] if unit else ["--tx", "popen//python=tests/lab/python", "--dist", "loadfile"]
        command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "tests.reactions.plugin", "-p", "no:cacheprovider"]
        subprocess.run(
            [*command, *lab, f"--basetemp={scratch}/l", f"--junitxml={told}", test.id],
            cwd=ROOT,
            env={**os.environ, "TMPDIR": scratch, **env},
            capture_output=True,
            timeout=LONGEST,
            check=False,
        )
        cases = list(ET.parse(told).iter("testcase")) if told.exists() else []
    if not cases:
        raise SystemExit(f"{test.id} did not run: try it with -p tests.reactions.plugin and {env}")
    return any(case.find("failure") is not None for case in cases)


if __name__ == "__main__":
    sys.exit(main())
