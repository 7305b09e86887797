"""The real engine, store and vault in a simulated world: no order of events loses mail, and the proof can fail."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator

import pytest

from rollover.core import machine
from tests.sim.play import play
from tests.sim.schedules import schedule
from tests.sim.shape import draw
from tests.sim.shrink import failure, shrink
from tests.sim.world import Violation

SEEDS = int(os.environ.get("SEEDS", "16"))


@pytest.fixture(scope="module")
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    """One event loop for all worlds."""
    it = asyncio.new_event_loop()
    yield it
    it.close()


@pytest.mark.parametrize("seed", range(SEEDS))
def test_no_schedule_defers_mail(seed: int, loop: asyncio.AbstractEventLoop) -> None:
    """Whatever happens, in whatever order: nothing is deferred by the tool, status is true, and it ends by itself."""
    play(draw(seed), schedule(seed), loop)


def test_a_seed_is_one_world(loop: asyncio.AbstractEventLoop) -> None:
    """The same seed tells the same story, to the last word; another one another."""
    first, again, other = (play(draw(seed), schedule(seed), loop).world.log for seed in (3, 3, 4))

    assert first == again
    assert first != other


def test_the_database_may_be_on_disk(loop: asyncio.AbstractEventLoop) -> None:
    """The faster level keeps the database in memory; what happens is the same."""
    kept = play(draw(5), schedule(5), loop).world.log
    written = play(draw(5), schedule(5), loop, memory=False).world.log

    assert kept == written


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

    short = shrink(shape, events, loop, tries=150)

    assert 0 < len(short) < len(events) / 4
    assert failure(shape, short, loop) == "Violation"


FOUND = {
    "a boot with a clock a few seconds ahead ended a wait early": (
        317,
        [
            ("deploy that is killed", 8),
            ("wait", 12),
            ("somebody changes it and back", 23),
            ("wait until it is due", 9),
            ("reboot without a clock", 13),
            ("a fault when it is due", 13),
            ("wait until it is due", 23),
            ("tick", 11),
        ],
    ),
    "a record was withdrawn that a neighbour's process had begun to present since its last look": (
        1439,
        [
            ("a person looks", 23),
            ("all is mended", 13),
            ("on to propagating", 13),
            ("somebody changes it and back", 13),
            ("a fault when it is due", 1),
            ("a person looks", 0),
            ("all is mended", 12),
            ("on to withdrawing", 12),
            ("on to rolling-back", 14),
            ("reboot", 11),
            ("a process with another certificate", 17),
            ("tick", 6),
            ("a fault when it is due", 2),
        ],
    ),
    "a server that had left the NS set since the last look was not asked in this one": (
        1927,
        [
            ("deploy that is killed", 15),
            ("wait", 12),
            ("a server leaves", 1),
            ("a person looks", 19),
            ("wait until it is due", 13),
        ],
    ),
    "a relapse that a look at another owner of the RRset had shown was not waited for": (
        2663,
        [("deploy", 13), ("wait until it is due", 9), ("a kill when it is due", 3), ("relapse", 2)],
    ),
    "a change and its undoing right after an update of our own passed for that update": (
        4097,
        [
            ("on to publishing", 12),
            ("on to retaining", 1),
            ("deploy", 9),
            ("somebody changes it and back", 6),
            ("rollback", 16),
        ],
    ),
    "an RRset was filled again while an old process still presented another certificate": (
        4437,
        [
            ("all is mended", 18),
            ("on to installing", 18),
            ("somebody replaces the records", 18),
            ("a fault when a person looks", 3),
            ("a person looks", 18),
            ("all is mended", 4),
            ("on to rolling-back", 4),
            ("all is mended", 21),
            ("on to paused", 21),
            ("on to propagating", 19),
            ("somebody writes the live file", 19),
            ("on to retaining", 3),
            ("a process with another certificate", 3),
            ("a person looks", 3),
            ("all is mended", 7),
            ("on to blocked", 7),
            ("away", 7),
            ("a person looks", 7),
        ],
    ),
    "a new combination was published while a neighbour had begun to present an unknown certificate": (
        6,
        [
            ("somebody writes the live file", 1),
            ("restart", 0),
            ("somebody replaces the records", 0),
            ("a person looks", 0),
        ],
    ),
}


@pytest.mark.parametrize("name", FOUND)
def test_what_was_found_once_stays_mended(name: str, loop: asyncio.AbstractEventLoop) -> None:
    """A schedule that once lost mail, made as short as it gets."""
    seed, events = FOUND[name]
    play(draw(seed), events, loop)
