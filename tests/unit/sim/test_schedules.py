"""The real engine, store and vault in a simulated world: no order of events loses mail, and the proof can fail."""

from __future__ import annotations

import ast
import asyncio
import os
from pathlib import Path

import pytest

from rollover.core import machine
from tests.sim.judge import Violation
from tests.sim.play import play
from tests.sim.schedules import schedule
from tests.sim.shape import draw
from tests.sim.shrink import failure, shrink, story

SEEDS = int(os.environ.get("SEEDS", "16"))


@pytest.mark.parametrize("seed", range(SEEDS))
def test_no_schedule_defers_mail(seed: int, loop: asyncio.AbstractEventLoop) -> None:
    """Whatever happens, in whatever order: nothing is deferred by the tool, status is true, and it ends by itself."""
    play(draw(seed), schedule(seed), loop)


def test_a_seed_is_one_world(loop: asyncio.AbstractEventLoop) -> None:
    """The same seed tells the same story, to the last word; another one another."""
    first, again, other = (play(draw(seed), schedule(seed), loop).world.log for seed in (3, 3, 4))

    assert first == again
    assert first != other


@pytest.mark.parametrize("seed", [5, 8, 9, 12])
def test_the_database_may_be_on_disk(loop: asyncio.AbstractEventLoop, seed: int) -> None:
    """The faster level keeps the database in memory; what happens is the same, disks that fill and kills included."""
    kept = play(draw(seed), schedule(seed), loop).world.log
    written = play(draw(seed), schedule(seed), loop, memory=False).world.log

    assert kept == written


@pytest.mark.parametrize("name", ["judge", "truth", "rules", "nameservers", "mailhost", "materials", "shape"])
def test_the_judge_is_not_the_tool(name: str) -> None:
    """What must hold, and what it is about, is written without the tool: a fault in both would hide itself."""
    tree = ast.parse(Path(f"tests/sim/{name}.py").read_text())
    modules = [n.module or "" for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)]
    modules += [a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names]

    assert modules
    assert not [it for it in modules if it.startswith("rollover")]


def _no_wait(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(machine, "wait", lambda view: None)


def test_the_simulator_sees_an_install_without_the_wait(
    loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The proof can fail: with the wait taken out the first schedule loses mail."""
    _no_wait(monkeypatch)
    with pytest.raises(Violation, match="may be presented at"):
        play(draw(0), schedule(0), loop)


def test_a_failing_schedule_is_shrunk(loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is left fails in the same way, and nothing of it can be left out."""
    _no_wait(monkeypatch)
    shape, events = draw(0), schedule(0)

    short = shrink(shape, events, loop)

    kind = failure(shape, short, loop)
    assert 0 < len(short) < len(events) / 4
    assert kind == failure(shape, list(schedule(0)), loop) != ""
    assert all(failure(shape, short[:i] + short[i + 1 :], loop) != kind for i in range(len(short)))


def test_a_failing_schedule_is_told(loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch) -> None:
    """The world, the schedule that can be played again, each event with what came of it, and what went wrong."""
    _no_wait(monkeypatch)
    shape, events = draw(0), schedule(0)

    first, second, *lines, last = story(shape, events, loop).splitlines()

    assert first == f"world: {shape}"
    assert second == f"schedule: {events}"
    told = [line.partition("-- ")[2] for line in lines if "-- " in line]
    assert told == [f"{name} {n}" for name, n in events[: len(told)]]
    assert told
    assert last.startswith("Violation: at ")
