"""Looking for the seeds that find a mutant: each rule broken on purpose has to be seen by the simulator alone."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import pytest

from tests.sim.mutants import MUTANTS, NEEDS
from tests.sim.play import play
from tests.sim.schedules import schedule
from tests.sim.shape import draw
from tests.sim.world import Violation


def found_by(name: str, seeds: Iterable[int], *, most: int = 30) -> tuple[int, str] | None:
    """Return the first of *seeds* whose schedule fails under the mutant *name*, and how; None if none does.

    Of those whose schedules have what nobody would notice it without, *most* are played.
    """
    loop, played = asyncio.new_event_loop(), 0
    try:
        with pytest.MonkeyPatch.context() as patch:
            MUTANTS[name](patch)
            for seed in seeds:
                if not NEEDS[name] <= {draw(seed).form, *(what for what, _ in schedule(seed))}:
                    continue
                played += 1
                if played > most:
                    return None
                try:
                    play(draw(seed), schedule(seed), loop)
                except (Exception, Violation) as error:  # a crash finds it as well as a deferral
                    return seed, f"{type(error).__name__}: {error}"
    finally:
        loop.close()
    return None
