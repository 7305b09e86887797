"""``python -m tests.sim --seeds 0-1000 --jobs 2``: play many worlds; ``--seed N``: shrink one and tell its story."""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from concurrent.futures import ProcessPoolExecutor

from tests.sim.events import schedule
from tests.sim.shape import draw
from tests.sim.shrink import failure, shrink, story
from tests.sim.soak import Tally, soak

CHUNK = 50


def main() -> int:
    """Return 1 if any seed failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.sim", description=__doc__)
    parser.add_argument("--seeds", default="0-200", help="first-last, the last one not included")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--disk", action="store_true", help="the database on disk, too")
    parser.add_argument("--seed", type=int, help="only this one: shrink it if it fails, and tell what happens")
    options = parser.parse_args()
    if options.seed is not None:
        return _one(options.seed)
    first, _, last = options.seeds.partition("-")
    chunks = [range(n, min(n + CHUNK, int(last))) for n in range(int(first), int(last), CHUNK)]
    tally, begin = Tally(), time.monotonic()
    with ProcessPoolExecutor(options.jobs) as pool:
        for part in pool.map(_chunk, chunks, [not options.disk] * len(chunks)):
            tally.add(part)
            for seed, why in part.failed.items():
                print(f"seed {seed}: {why}", flush=True)
    print(tally.table())
    print(f"{time.monotonic() - begin:.0f} s")
    return 1 if tally.failed else 0


def _chunk(seeds: range, memory: bool) -> Tally:
    return soak(seeds, memory=memory)


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
