"""``python -m tests.fuzz TARGET --seconds 60``: look for new inputs with atheris, keep what reaches new code.

``--replay [TARGET…]``: run what is kept, and its neighbours, without atheris; ./test.sh does that. What is
looked for and what was found: docs/fuzzing.md.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from tests.fuzz.targets import CORPUS, TARGETS, target

LARGEST = 8192  # octets of an input
KEPT = 15  # inputs of a target that are kept beside its seeds, those first that add most
LIMITS = (f"-max_len={LARGEST}", "-timeout=20", "-rss_limit_mb=1536", "-keep_seed=1", "-len_control=0")
INSTRUMENTED = {"config": ["rollover", "tomllib"], "dns-answer": ["rollover", "dns"]}  # else rollover alone


def main() -> int:
    """Return 1 if any input failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join(TARGETS))
    parser.add_argument("--replay", action="store_true")
    parser.add_argument("--seconds", type=int, default=60)
    if sys.argv[1:2] == ["--worker"]:  # one run of libFuzzer, which ends the process
        return _worker(sys.argv[2], sys.argv[3:])
    options = parser.parse_args()
    if unknown := sorted(set(options.targets) - set(TARGETS)):
        parser.error(f"no target {unknown[0]}; there are {', '.join(TARGETS)}")
    if options.replay:
        return _replay(options.targets or list(TARGETS))
    if len(options.targets) != 1:
        parser.error("name one target")
    return _fuzz(options.targets[0], options.seconds)


def _replay(names: list[str]) -> int:
    from tests.fuzz import replay  # here: hypothesis is not for the worker

    replay.limit()
    failed = 0
    for name in names:
        it = target(name)
        failed += replay.corpus(it) + replay.neighbours(it)
        print(f"{name}: {len(it.corpus)} inputs kept; {time.process_time():.1f} s of processor time so far", flush=True)
    return 1 if failed else 0


def _fuzz(name: str, seconds: int) -> int:
    """Fuzz for so long, then keep the fewest inputs that take all the steps that were taken. Findings stay in this directory."""
    from tests.fuzz import cover

    it, kept = target(name), CORPUS / name
    if not kept.is_dir():
        kept.mkdir(parents=True)
        for number, octets in enumerate(it.seeds()):  # written once: signatures differ from run to run
            (kept / f"seed-{number:02}").write_bytes(octets)
    with tempfile.TemporaryDirectory(prefix=f"fuzz-{name}-") as found:
        for path in it.corpus:
            shutil.copy(path, found)
        ended = _libfuzzer(name, f"-max_total_time={seconds}", "-print_final_stats=1", found)
        inputs = [path.read_bytes() for path in Path(found).iterdir()]
    seeds = [path.read_bytes() for path in kept.glob("seed-*")]
    chosen, steps = cover.fewest(it, seeds, inputs, KEPT)
    for path in it.corpus:
        if not path.name.startswith("seed-"):
            path.unlink()
    for octets in chosen:
        (kept / hashlib.sha256(octets).hexdigest()[:12]).write_bytes(octets)
    print(f"{name}: {len(inputs)} inputs, {len(chosen)} kept, {steps} steps from line to line in rollover")
    return ended


def _libfuzzer(name: str, *arguments: str) -> int:
    """Run libFuzzer with *arguments*; return its exit status. The end of what it tells is shown."""
    command = [sys.executable, "-m", "tests.fuzz", "--worker", name, *LIMITS, *arguments]
    process = subprocess.run(command, check=False, stderr=subprocess.PIPE, text=True, errors="replace")
    lines = [line for line in process.stderr.splitlines() if not re.match(r"#\d+\s+(NEW|REDUCE|pulse)", line)]
    print("\n".join(lines[-60:]), file=sys.stderr)
    return process.returncode


def _worker(name: str, arguments: list[str]) -> int:
    import atheris

    with atheris.instrument_imports(include=INSTRUMENTED.get(name, ["rollover"])):
        it = target(name)
        for octets in (b"", *it.seeds()):  # what is imported late, too
            with suppress(AssertionError):  # atheris tells of it where a target counts the lines
                it.run(octets)
    atheris.Setup([sys.argv[0], *arguments], it.run)
    atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main())
