"""Faults of docs/faults.md that only time makes: shown on the core alone. The lab shows the others."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from rollover.core.ledger import Patience, wait_left
from rollover.core.report import report
from rollover.core.steps import Install, Phase, Rest, Update
from rollover.core.timing import TOLERANCE, Instant
from rollover.core.view import View
from tests.unit.core.worlds import (
    HOST,
    NOW,
    OWNER,
    SERVICE,
    TTL,
    chain,
    credential,
    decided,
    ends,
    entered,
    fp,
    look,
    owner,
    past,
    r,
    server,
    world,
)

WEEKS = 3 * 7 * 86400.0


@pytest.mark.fault(20)
@pytest.mark.parametrize(
    ("ttl", "min_wait", "wait"), [(0, 0, 3), (0, 3600, 3600), (5, 3600, 3600), (86400, 3600, 172800)]
)
def test_a_ttl_of_nothing_and_one_of_a_day(ttl: int, min_wait: float, wait: float) -> None:
    """The floor is min_wait; a long TTL is waited out whole. See ledger.Patience.span."""
    assert Patience(ttls=2, min_wait=min_wait).span(ttl) == wait


@pytest.mark.fault(45)
def test_what_is_served_expires_before_the_next_is_ready() -> None:
    """It is told early, and the wait is not a second shorter. See troubles._certificates, gates.wait."""
    it = entered(world("B", vault="B", more=[credential("A", days=100 / 86400)], ledger=[past("A", -50)]), look("A B"))
    step = decided(it, look("A B"))

    assert isinstance(step, Rest)
    assert (step.phase, step.seconds) == (Phase.WAITING, 2 * TTL - 50)
    told = report(View(it, look("A B")), step, (), None)
    assert "certificate-late" in {d.problem.code for d in told.problems}


@pytest.mark.fault(67)
@pytest.mark.parametrize("confirmed", [True, False])
def test_a_reboot_in_the_middle_of_the_wait(*, confirmed: bool) -> None:
    """Across it only the wall clock tells, and only if the primary confirms it. See timing.elapsed, gates.wait."""
    it = world("B", ledger=[past("A", -2 * TTL - 2 * TOLERANCE)])
    rebooted = Instant(NOW.wall, 30.0, "boot 2")
    step = decided(it, look("A B", now=rebooted, clock=confirmed, clock_problem="" if confirmed else "BADTIME"))

    assert isinstance(step, Install) is confirmed
    early = Instant(NOW.wall - timedelta(seconds=1), 30.0, "boot 2")
    assert isinstance(decided(it, look("A B", now=early)), Rest)


@pytest.mark.fault(68)
def test_a_tool_that_did_not_run_for_weeks() -> None:
    """What was gone weeks ago may be there again: a server that shows it now is what counts. See ledger.observe."""
    it = world("B", ledger=[past("A", -WEEKS)])

    again = decided(it, look(owner("A B", "A")))
    assert isinstance(again, Rest)
    assert again.phase is Phase.PROPAGATING
    relapsed = entered(it, look(owner("A B", "A")))
    left = wait_left(relapsed.ledger(OWNER), chain("B"), SERVICE.patience, NOW)
    assert left is None, "its wait has not even begun"
    away = decided(it, look(owner("A B", None)))
    assert not isinstance(away, Install)
    assert isinstance(decided(it, look("A B")), Install), "all is seen to be well: nothing more to wait for"


@pytest.mark.fault(34)
def test_the_first_record_beside_a_wildcard() -> None:
    """It hides what the wildcard gave, so that comes with it, in the same update. See changes.publishing."""
    wildcard = server("A", "ns1", primary=True, wildcard=f"*._tcp.{HOST}.")
    step = decided(world("B", managed=""), look(owner(wildcard, replace(wildcard, server="ns2", primary=False))))

    assert isinstance(step, Update)
    assert step.changes[0].add == r("A B")


@pytest.mark.fault(29)
def test_one_address_family_of_a_name_server() -> None:
    """A server's second address that does not answer holds the install, whatever the first one says. See servers.incomplete."""
    it = world("B", ledger=[past("A", -2 * TTL)])
    step = decided(it, look(owner("A B", server("A B", "ns2 (192.0.2.54)"), server(None, "ns2 (2001:db8::54)"))))

    assert isinstance(step, Rest)
    assert "2001:db8::54" in step.problems[0].message


@pytest.mark.fault(60)
def test_a_stripped_starttls() -> None:
    """An endpoint without TLS proves nothing: nothing is activated, nothing is withdrawn. See view.proven, view.failing."""
    it = world("B", "B", loaded="B", ledger=[past("A", -2 * TTL)])

    assert not isinstance(decided(it, look("A B", "454", "B")), Update)
    step = decided(it, look("A B", ends("B"), "B"))
    assert isinstance(step, Update)
    assert step.changes[0].delete == r("A"), f"with TLS that of {fp('A')[:8]} goes"
