"""Each rule of protocol.md broken on purpose, by name: the simulator sees it, and nothing else is asked."""

from __future__ import annotations

import pytest

from tests.sim.events import Event
from tests.sim.found import FOUND_BY, NOT_SEEN_YET
from tests.sim.hunt import found_by, sees
from tests.sim.mutants import MUTANTS
from tests.sim.written import WRITTEN


@pytest.mark.parametrize("name", FOUND_BY)
def test_a_broken_rule_is_seen(name: str) -> None:
    """The schedule that once saw it sees it still; when schedules change, `tests/sim/run --mutants` finds others."""
    assert found_by(name, [FOUND_BY[name]]) is not None


@pytest.mark.parametrize(("name", "seed", "events"), WRITTEN, ids=[name for name, *_ in WRITTEN])
def test_a_rarer_one_is_seen_by_a_schedule_written_for_it(name: str, seed: int, events: list[Event]) -> None:
    """With the rule broken it fails; as the rule is, it ends well. Those that once lost mail are among them."""
    assert sees("", seed, events) == ""
    assert sees(name, seed, events)


def test_every_mutant_is_tried_or_named() -> None:
    """Those that no schedule has seen yet stand there by name: none is forgotten."""
    parts = (set(FOUND_BY), {name for name, *_ in WRITTEN}, set(NOT_SEEN_YET))
    assert set.union(*parts) == set(MUTANTS)
    assert sum(map(len, parts)) == len(MUTANTS)
    assert len(MUTANTS) - len(NOT_SEEN_YET) >= 40
