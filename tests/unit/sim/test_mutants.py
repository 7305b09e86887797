"""Each rule of protocol.md broken on purpose, by name: the simulator sees it, and nothing else is asked."""

from __future__ import annotations

import pytest

from tests.sim.found import FOUND_BY, NOT_SEEN_YET
from tests.sim.hunt import found_by
from tests.sim.mutants import MUTANTS


@pytest.mark.parametrize("name", FOUND_BY)
def test_a_broken_rule_is_seen(name: str) -> None:
    """The schedule that once saw it sees it still; when schedules change, `tests/sim/run --mutants` finds others."""
    assert found_by(name, [FOUND_BY[name]]) is not None


def test_every_mutant_is_tried_or_named() -> None:
    """Those that no schedule has seen yet stand there by name: none is forgotten."""
    assert set(MUTANTS) == {*FOUND_BY, *NOT_SEEN_YET}
    assert not set(FOUND_BY) & set(NOT_SEEN_YET)
