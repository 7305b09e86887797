"""Explore worlds of growing size: python -m tests.exhaustive [--most STATES] [--from NUMBER] [--only NUMBER]."""

from __future__ import annotations

import argparse

from tests.exhaustive.explore import HEAD, Exploration, TooLarge
from tests.exhaustive.sizes import SIZES, scaled


def main() -> None:
    """Print a row for each world; Deferred or Stuck ends it with the story."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--most", type=int, default=10_000_000, help="states of one world; where it is given up")
    options.add_argument("--only", type=int, nargs="*", help="worlds by their number in the table, from 1")
    given = options.parse_args()
    print(HEAD, flush=True)
    with scaled():
        for number, shape in enumerate(SIZES, 1):
            if given.only and number not in given.only:
                continue
            try:
                print(Exploration(shape, most=given.most).explore().row(), flush=True)
            except TooLarge as bound:
                print(f"| {shape.name} | {bound} |", flush=True)


if __name__ == "__main__":
    main()
