"""What a person orders, where it is refused, and what is said of what stays."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from rollover.core.errors import EX_USAGE, UsageError
from rollover.core.goals import GoalRefused
from rollover.core.sighting import Sighting
from rollover.engine.host import Host
from rollover.engine.look import Looker
from rollover.engine.operate import pause, resume, rollback
from rollover.engine.release import released
from rollover.engine.run import take_inbox
from tests.unit.core.worlds import NOW, OWNER, owner, rr
from tests.unit.engine.hosts import adopted, hand_over, host, lineage

ORDERS: dict[str, Callable[[Host], Coroutine[Any, Any, object]]] = {
    "pause": lambda it: pause(it, "mail", 60.0),
    "resume": lambda it: resume(it, "mail"),
}


@pytest.mark.parametrize("order", ORDERS)
def test_a_service_that_is_not_adopted_is_neither_paused_nor_resumed(tmp_path: Path, order: str) -> None:
    """Nothing is done for it, so the order is refused with the command that takes it over, and nothing is kept."""
    it = host(tmp_path, mail='trust = "none"')
    with pytest.raises(UsageError) as caught:
        asyncio.run(ORDERS[order](it))
    assert caught.value.exit_code == EX_USAGE
    assert f"nothing to {order}" in caught.value.message
    assert "`rollover adopt mail`" in caught.value.hint
    assert it.store.summaries() == {}


def test_a_refused_rollback_points_to_where_certificates_are_listed(tmp_path: Path) -> None:
    """`history` names every certificate that was ever handed over, also those whose record is long gone."""
    it = host(tmp_path, mail='trust = "none"')
    adopted(it, "mail", lineage(tmp_path / "first"))
    hand_over(it, lineage(tmp_path / "next", label="b"))
    (waiting,) = it.store.inbox("mail")
    take_inbox(Looker(it, "mail"))
    with pytest.raises(GoalRefused) as caught:
        asyncio.run(rollback(it, "mail", to="0123456789", say=print))
    assert "`rollover history mail` lists" in caught.value.hint
    assert waiting in {e.detail.get("fingerprint") for e in it.store.events("mail")}


@pytest.mark.parametrize(
    ("records", "said"),
    [("", "DANE is off for it."), ("B", f"DANE stays on for it, by records of somebody else: {OWNER} has {rr('B')}")],
    ids=["none", "foreign"],
)
def test_a_release_says_whose_records_stay(records: str, said: str) -> None:
    """After a withdrawal DANE is off only where nobody else has records."""
    assert released(Sighting(NOW, (owner(records),), (), (), clock_agrees=True)) == said
