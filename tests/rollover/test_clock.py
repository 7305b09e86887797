"""The clock of the mail host jumps, within one boot, while the primary's is true."""

from __future__ import annotations

import time
from datetime import datetime

import pytest

from tests.lab import Lab
from tests.rollover.driving import (
    advance_to_full_wait,
    alone_in_dns,
    at_the_worst_moment,
    codes,
    hand_over,
    history,
    instant,
    left_by_advance,
    nothing_deferred,
    problem,
    steady_mail,
    to_the_end,
)

TTL = 2
LONGER_TTL = 6
SETTINGS = {"check_every": "30s", "retain": "1s", "drain": "1s"}


@pytest.mark.fault(11, 66)
@pytest.mark.lab(ttl=TTL)
def test_jumps_that_the_primary_contradicts(lab: Lab) -> None:
    """An hour ahead, an hour behind, a minute ahead: critical, nothing moves; with the true time it goes on."""
    lab.configure(**SETTINGS)
    lab.rollover("adopt", "mail", check=0)
    new = lab.certificate()
    with steady_mail(lab) as mail:
        with at_the_worst_moment(lab):
            hand_over(lab, new)
        advance_to_full_wait(lab, TTL)
        over = time.monotonic() + TTL + 3  # more than two TTLs of two seconds
        for offset in ("+3600s", "-3600s", "+60s"):
            lab.rollover("advance", check=1, offset=offset)
            it = left_by_advance()
            found = problem(it, "clock")
            assert (found["level"], it["level"]) == ("critical", "critical")
            assert "127.0.0.53" in found["message"], "which server's clock differs"
            assert lab.served() == lab.old.spki
            time.sleep(max(0.0, over - time.monotonic()))
        assert lab.rollover("status", offset="+60s").returncode == 2
        to_the_end(lab)
        assert lab.served() == new.spki
        assert "clock" not in codes(left_by_advance())
    alone_in_dns(lab, new)
    assert any(event["kind"] == "recovered" and "clock" in event["text"] for event in history(lab))
    nothing_deferred(lab, mail())


@pytest.mark.fault(66)
@pytest.mark.parametrize(("before", "after"), [(0, 7), (7, 0)], ids=["seven seconds ahead", "seven seconds back"])
@pytest.mark.lab(ttl=LONGER_TTL)
def test_a_jump_that_nobody_contradicts(lab: Lab, before: int, after: int) -> None:
    """A jump too small for the primary to contradict does not shorten a wait: the boot-time clock counts too."""
    lab.configure(**SETTINGS)
    lab.rollover("adopt", "mail", check=0, offset=f"+{before}s")
    new = lab.certificate()
    with steady_mail(lab) as mail:
        with at_the_worst_moment(lab):
            hand_over(lab, new, offset=f"+{before}s")
        it = advance_to_full_wait(lab, LONGER_TTL, offset=f"+{before}s")
        assert lab.served() == lab.old.spki
        to_the_end(lab, offset=f"+{after}s")
        assert lab.served() == new.spki
    alone_in_dns(lab, new)
    (installed,) = (instant(event) for event in history(lab) if event["kind"] == "install")
    really = (installed - after) - (datetime.fromisoformat(it["seen"]).timestamp() - before)
    assert really >= 2 * LONGER_TTL - 1, f"installed after {really:.0f} s"
    nothing_deferred(lab, mail())
