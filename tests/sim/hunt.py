"""Looking for the seeds that find a mutant: each rule broken on purpose has to be seen by the simulator alone."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence

import pytest

from tests.sim.events import Event
from tests.sim.judge import Violation
from tests.sim.mutants import MUTANTS, NEEDS
from tests.sim.play import play
from tests.sim.schedules import schedule
from tests.sim.shape import draw


def found_by(name: str, seeds: Iterable[int], *, most: int = 30) -> tuple[int, str] | None:
    """Return the first of *seeds* whose schedule fails under the mutant *name*, and how; None if none does.

    Of those whose schedules have what nobody would notice it without, *most* are played.
    """
    played = 0
    for seed in seeds:
        if not NEEDS[name] <= {draw(seed).form, *(what for what, _ in schedule(seed))}:
            continue
        played += 1
        if played > most:
            return None
        if seen := sees(name, seed, schedule(seed)):
            return seed, seen
    return None


def sees(name: str, seed: int, events: Sequence[Event]) -> str:
    """Return how a schedule in the world of *seed* fails under a mutant, or with none ("")."""
    loop = asyncio.new_event_loop()
    try:
        with pytest.MonkeyPatch.context() as patch:
            if name:
                MUTANTS[name](patch)
            play(draw(seed), events, loop)
    except (Exception, Violation) as error:  # a crash finds it as well as a deferral
        return f"{type(error).__name__}: {error}"
    finally:
        loop.close()
    return ""
