"""Mutants of the decisions, by name: rules of protocol.md broken on purpose, one at a time.

The simulator has to find each by itself: FOUND_BY names the seeds that did, and `python -m tests.sim --mutants`
looks for them anew.
"""

from __future__ import annotations

from tests.sim.mutants import (
    excused,
    goals,
    installs,
    ledgers,
    records,
    telling,
    waiting,
    withdrawal,
)  # each enters its own
from tests.sim.mutants.registry import MUTANTS, NEEDS

__all__ = ["MUTANTS", "NEEDS", "excused", "goals", "installs", "ledgers", "records", "telling", "waiting", "withdrawal"]
