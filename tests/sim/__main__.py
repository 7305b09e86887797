"""``tests/sim/run --seeds 1000 --jobs 2``: play many worlds; ``--seed N``: shrink one and tell its story.

``--mutants``: break the rules one by one, and look for the first seed that sees each.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import signal
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial

from tests.sim.hunt import found_by
from tests.sim.mutants import MUTANTS
from tests.sim.schedules import schedule
from tests.sim.shape import draw
from tests.sim.shrink import failure, shrink, story
from tests.sim.soak import Tally, soak

CHUNK = 20
LEAST_EVENTS = 60
_FORK = multiprocessing.get_context("fork")  # what Python 3.14 starts instead imports everything anew


def main() -> int:
    """Return 1 if any seed failed, or any mutant lived."""
    parser = argparse.ArgumentParser(prog="tests/sim/run", description=__doc__)
    parser.add_argument(
        "--seeds", default="200", help="how many, or first-last, the last one not included; /2: every other"
    )
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--disk", action="store_true", help="the database on disk, too")
    parser.add_argument("--seed", type=int, help="only this one: shrink it if it fails, and tell what happens")
    parser.add_argument(
        "--pairs", type=int, default=0, help="fail if a kind of fault met a phase less often, or schedules are short"
    )
    parser.add_argument("--mutants", nargs="*", help="hunt these, or all, with these seeds")
    options = parser.parse_args()
    if options.seed is not None:
        return _one(options.seed)
    span, _, step = options.seeds.partition("/")
    first, dash, last = span.partition("-")
    seeds = range(int(first) if dash else 0, int(last if dash else first), int(step or 1))
    if options.mutants is not None:
        return _hunt(options.mutants or list(MUTANTS), seeds, options.jobs)
    begin = time.monotonic()
    tally = _play(seeds, options.jobs, memory=not options.disk)
    print(tally.table())
    print(f"{time.monotonic() - begin:.0f} s")
    rare = tally.missing(options.pairs)
    for (kind, phase), times in rare.items():
        print(f"{kind} met {phase} {times} times only")
    short = bool(options.pairs) and tally.median < LEAST_EVENTS
    if short:
        print(f"schedules are too short: fewer than {LEAST_EVENTS} events in the median")
    return 1 if tally.failed or rare or short or tally.seeds < len(seeds) else 0


def _leave_signals_to_the_first() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _play(seeds: range, jobs: int, *, memory: bool) -> Tally:
    """Play them; SIGINT or SIGTERM ends it early, with what there is by then."""
    tally = Tally()
    for it in (signal.SIGINT, signal.SIGTERM):  # in the background of a script a shell has the first one ignored
        signal.signal(it, signal.default_int_handler)
    chunks = [seeds[n : n + CHUNK] for n in range(0, len(seeds), CHUNK)]
    with ProcessPoolExecutor(jobs, _FORK, _leave_signals_to_the_first) as pool:
        parts = pool.map(partial(soak, memory=memory), chunks)
        try:
            for n, part in enumerate(parts, 1):
                tally.add(part)
                for seed, why in part.failed.items():
                    print(f"seed {seed}: {why}", flush=True)
                if n % 50 == 0:
                    print(f"{tally.seeds} of {len(seeds)} seeds", file=sys.stderr, flush=True)
        except KeyboardInterrupt:
            print(f"stopped after {tally.seeds} of {len(seeds)} seeds")
            pool.shutdown(wait=False, cancel_futures=True)
    return tally


def _hunt(names: list[str], seeds: range, jobs: int) -> int:
    alive = 0
    with ProcessPoolExecutor(jobs, max_tasks_per_child=1) as pool:
        hunts = {name: pool.submit(found_by, name, seeds) for name in names}
        for name, hunt in hunts.items():
            found = hunt.result()
            alive += found is None
            print(
                f"{'lives' if found is None else f'seed {found[0]}':>10}  {name}"
                + (f": {found[1][:110]}" if found else ""),
                flush=True,
            )
    print(f"{len(names) - alive} of {len(names)} found")
    return 1 if alive else 0


def _one(seed: int) -> int:
    loop, shape, events = asyncio.new_event_loop(), draw(seed), schedule(seed)
    if failure(shape, events, loop):
        events = shrink(shape, events, loop)
        print(story(shape, events, loop))
        return 1
    print(story(shape, events, loop))
    return 0


if __name__ == "__main__":
    sys.exit(main())
