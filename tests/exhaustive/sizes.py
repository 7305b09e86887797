"""The worlds that are explored, small ones first."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from unittest import mock

from rollover.core import machine
from tests.exhaustive.relative import LONGEST_RELOAD, STEP
from tests.exhaustive.scene import FAULTS, Shape

DNS = frozenset({"update killed", "update refused", "answer lost", "update late"})
MAIL = FAULTS - DNS - {"relapse"}
COPIES = (1, 2)  # what an older copy of the zone holds: one of the first two certificates' records alone

QUIET = Shape("two certificates, rollbacks, nothing fails")
ONWARD = Shape("two certificates, no rollbacks, nothing fails", rollbacks=False)
EACH = replace(QUIET, name="the same, two caches told apart", caches=2)
FAILING = replace(ONWARD, name="no rollbacks, all faults but relapse", faults=FAULTS - {"relapse"})
SLOW = replace(FAILING, name="the same, TTL of two steps", ttl=2)
RELAPSES = replace(ONWARD, name="no rollbacks, relapses", faults=frozenset({"relapse"}), relapses=COPIES)
THREE = replace(ONWARD, name="three certificates, no rollbacks, nothing fails", credentials=3)
BROKEN = replace(THREE, name="the same, the second one answered with 454", broken=frozenset({1}))
CI = (QUIET, EACH, FAILING, SLOW, RELAPSES, THREE, BROKEN)
SIZES = (
    *CI,
    replace(QUIET, name="rollbacks, DNS fails", faults=DNS),
    replace(QUIET, name="rollbacks, mail fails", faults=MAIL),
    replace(ONWARD, name="no rollbacks, all faults", faults=FAULTS, relapses=COPIES),
    replace(FAILING, name="no rollbacks, all but relapse, faults may coincide", together=True),
    replace(THREE, name="three certificates, rollbacks, nothing fails", rollbacks=True),
    replace(THREE, name="three certificates, rollbacks, two caches told apart", rollbacks=True, caches=2),
    replace(FAILING, name="three certificates, no rollbacks, all faults but relapse", credentials=3),
    replace(QUIET, name="two certificates, rollbacks, all faults", faults=FAULTS, relapses=COPIES),
    replace(THREE, name="three certificates, no rollbacks, all faults", faults=FAULTS, relapses=COPIES),
    replace(QUIET, name="three certificates, rollbacks, all faults", credentials=3, faults=FAULTS, relapses=COPIES),
)


@contextmanager
def scaled() -> Iterator[None]:
    """Let a deaf endpoint be told again every ten minutes at the latest, not every day: ages stay small."""
    with mock.patch.object(machine, "LONGEST_RELOAD_INTERVAL", LONGEST_RELOAD * STEP):
        yield
