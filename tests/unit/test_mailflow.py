"""The count by which tests of whole rollovers know that mail flowed: never thin, but where the machine stood still."""

from __future__ import annotations

import pytest

from tests.rollover.mailflow import thin

FULL = dict.fromkeys(range(100, 120), 10)


@pytest.mark.parametrize(
    ("change", "late", "told"),
    [
        ({}, {}, 0),
        ({105: 5}, {}, 0),
        ({105: 4}, {}, 1),
        ({105: 0, 109: 4}, {}, 2),
        ({105: 4}, {105: 0.15}, 1),  # a machine that is merely busy
        ({105: 2}, {105: 0.7}, 0),
        ({105: 2}, {104: 0.7}, 0),  # it stood still over the end of a second
        ({105: 2, 106: 2, 107: 2}, {105: 0.7}, 1),  # what was late never came
        ({105: 0, 106: 0, 107: 0, 108: 40}, {105: 2.5}, 0),
        ({105: 0, 106: 0, 107: 0, 108: 40}, {}, 3),
        ({105: 0, 112: 0}, {105: 1.0}, 1),  # elsewhere it was on time
        ({119: 0}, {119: 1.0}, 0),  # the block ended before it could catch up
        ({119: 0}, {}, 1),
    ],
)
def test_thin(change: dict[int, int], late: dict[int, float], told: int) -> None:
    """A second with too few is told of, unless the machine stood still there and the messages came later."""
    assert len(thin(FULL | change, range(100, 120), late, 5)) == told
