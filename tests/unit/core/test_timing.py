"""Spans on two clocks: a wall clock that anybody moves, a boot clock that nobody moves (protocol.md, Time)."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta, timezone

import pytest

from rollover.core.timing import (
    Instant,
    elapsed,
    elapsed_boot,
    not_earlier,
    not_in_future,
    parse_stamp,
    remaining,
    stamp,
)

WALL = datetime(2026, 11, 22, 14, 0, tzinfo=UTC)
START = Instant(WALL, 1000.0, "boot 1")


def later(wall: float, boot: float, boot_id: str = "boot 1") -> Instant:
    """Return an instant whose clocks have gone on by so much since START."""
    return Instant(WALL + timedelta(seconds=wall), START.boot + boot, boot_id)


ELAPSED = {
    "both clocks agree": (later(60, 60), 60),
    "the wall clock jumped forward: the boot clock counts": (later(86400, 60), 60),
    "the wall clock was set back: it counts, so the wait is longer": (later(10, 60), 10),
    "the wall clock was set back to before the start: nothing has passed": (later(-600, 60), 0),
    "after a reboot only the wall clock is left, each end of it in doubt": (later(60, -990, "boot 2"), 40),
    "after a reboot, set back": (later(-60, 5000, "boot 2"), 0),
}


@pytest.mark.parametrize(("now", "seconds"), ELAPSED.values(), ids=ELAPSED)
def test_what_surely_has_passed(now: Instant, seconds: float) -> None:
    """A wait is over only when each clock that can tell says so."""
    assert elapsed(START, now) == seconds


BOOT = {
    "the wall clock was set back: the boot clock goes on": (later(-600, 60), 60),
    "the wall clock jumped forward: the boot clock does not": (later(86400, 60), 60),
    "after a reboot it counts from boot": (Instant(WALL, 45.0, "boot 2"), 45),
    "never negative": (later(0, -5), 0),
    "never negative after a reboot": (Instant(WALL, -5.0, "boot 2"), 0),
}


@pytest.mark.parametrize(("now", "seconds"), BOOT.values(), ids=BOOT)
def test_a_return_is_measured_on_the_boot_clock_alone(now: Instant, seconds: float) -> None:
    """A wall clock that goes backwards must not delay a return."""
    assert elapsed_boot(START, now) == seconds


FUTURE = {
    "what has passed stays": (later(60, 60), False),
    "this very instant stays": (START, False),
    "the same second on the wall clock stays": (later(0, 60), False),
    "the same second since boot stays": (later(60, 0), False),
    "a wall clock set back makes it future": (later(-1, 60), True),
    "a boot clock that is behind within one boot makes it future": (later(60, -1), True),
    "the boot clock of another boot says nothing": (later(60, -900, "boot 2"), False),
}


@pytest.mark.parametrize(("now", "starts_over"), FUTURE.values(), ids=FUTURE)
def test_an_instant_in_the_future_starts_over(now: Instant, *, starts_over: bool) -> None:
    """What the clock says has not come yet is taken for now."""
    assert not_in_future(START, now) == (now if starts_over else START)


ORDER = {
    "the same instant": (START, True),
    "later on both clocks": (later(60, 60), True),
    "earlier on both clocks": (later(-60, -60), False),
    "the wall clock was set back meanwhile: the boot clock counts": (later(-600, 60), True),
    "the wall clock jumped forward meanwhile": (later(600, -60), False),
    "in another boot the wall clock is all there is": (later(60, -900, "boot 2"), True),
    "in another boot, at the same time": (later(0, -900, "boot 2"), True),
    "in another boot, earlier": (later(-60, 900, "boot 2"), False),
}


@pytest.mark.parametrize(("one", "expected"), ORDER.values(), ids=ORDER)
def test_which_of_two_instants_came_later(one: Instant, *, expected: bool) -> None:
    """By the boot-time clock within one boot, else by the wall clock; the same instant is not earlier."""
    assert not_earlier(one, START) is expected


def test_remaining_runs_down_to_nothing() -> None:
    """What is left of a span is never negative."""
    assert remaining(START, 100, later(30, 30)) == 70
    assert remaining(START, 100, later(100, 100)) == 0
    assert remaining(START, 100, later(500, 500)) == 0


def test_plus_moves_both_clocks() -> None:
    """An instant some seconds later is so on both clocks of the same boot."""
    assert START.plus(60) == later(60, 60)
    assert START.plus(-60) == later(-60, -60)


def test_an_instant_without_a_time_zone_is_refused() -> None:
    """A naive time cannot be compared with a server's."""
    with pytest.raises(ValueError, match="time zone"):
        Instant(datetime(2026, 11, 22, 14, 0), 0.0, "boot 1")


def test_a_stamp_is_utc_with_seconds_and_reads_back() -> None:
    """Times are printed as RFC 3339 in UTC, whatever zone they came in."""
    east = WALL.astimezone(timezone(timedelta(hours=2)))

    assert stamp(east) == "2026-11-22T14:00:00Z"
    assert parse_stamp(stamp(east)) == WALL
    assert parse_stamp("2026-11-22T16:00:00.250000+02:00") == WALL + timedelta(milliseconds=250)
    assert parse_stamp(stamp(east)).tzinfo is UTC


def test_a_stamp_does_not_depend_on_the_time_zone_of_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever compares the histories of two hosts compares one clock."""
    monkeypatch.setenv("TZ", "JST-9")
    time.tzset()
    try:
        assert stamp(WALL) == "2026-11-22T14:00:00Z"
    finally:
        monkeypatch.undo()
        time.tzset()
