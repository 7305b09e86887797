"""TTLs that the tool sets, that were lowered before it came, or that an administrator changes meanwhile."""

from __future__ import annotations

import time
from datetime import datetime

import pytest

from tests.lab import Lab
from tests.lab import addresses as at
from tests.lab.certificates import Certificate
from tests.lab.query import RRset
from tests.rollover.driving import (
    advance_to,
    advance_until,
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
    tick,
    to_the_end,
    told_wait,
)

SETTINGS = {"check_every": "30s", "retain": "1s", "drain": "1s"}
SHORT, LONG = 2, 5


def last(lab: Lab, kind: str) -> float:
    """Return when an event of *kind* was last."""
    return max(instant(event) for event in history(lab) if event["kind"] == kind)


def deployed(lab: Lab) -> tuple[Certificate, float]:
    """Deploy a certificate at the worst moment; return it, and the wait as it is told in the first complete look."""
    new = lab.certificate()
    with at_the_worst_moment(lab):
        hand_over(lab, new)
    return new, told_wait(advance_until(lab, lambda it: it["phase"] == "waiting", every=0))


def ends(lab: Lab, new: Certificate, ttl: int) -> None:
    """Take the rollover to its end."""
    to_the_end(lab)
    assert lab.served() == new.spki
    alone_in_dns(lab, new)
    assert lab.primary.tlsa().ttl == ttl


@pytest.mark.fault(19)
@pytest.mark.lab(ttl=LONG)
def test_a_lower_ttl(lab: Lab) -> None:
    """A lower TTL comes with the next record, and counts only when the higher one was waited out; then it does."""
    lab.configure(**SETTINGS)
    lab.rollover("adopt", "mail", check=0)
    lab.configure(**SETTINGS, ttl=f"{SHORT}s")
    with steady_mail(lab) as mail:
        new, wait = deployed(lab)
        assert lab.primary.tlsa().ttl == SHORT
        assert wait >= 2 * LONG - 1, "the old RRset may be held as long as its own TTL said"
        ends(lab, new, SHORT)
    nothing_deferred(lab, mail())
    rest = last(lab, "withdrawn") + 2 * LONG + 1 - time.clock_gettime(time.CLOCK_REALTIME)
    time.sleep(max(0.0, rest))
    _, wait = deployed(lab)
    assert wait <= 2 * SHORT + 1


@pytest.mark.lab(ttl=SHORT)
def test_a_higher_ttl(lab: Lab) -> None:
    """A higher TTL is set on what is there, without a rollover; the next wait is two of it."""
    lab.configure(**SETTINGS)
    lab.rollover("adopt", "mail", check=0)
    lab.configure(**SETTINGS, ttl=f"{LONG}s")
    with steady_mail(lab) as mail:
        tick(lab)
        assert (lab.primary.tlsa().records, lab.primary.tlsa().ttl) == ((lab.old.tlsa,), LONG)
        new, wait = deployed(lab)
        assert wait >= 2 * LONG - 1
        ends(lab, new, LONG)
    assert not codes(left_by_advance(), "critical")
    nothing_deferred(lab, mail())


@pytest.mark.lab(ttl=SHORT, senders=False)
def test_a_ttl_lowered_before_the_adoption(lab: Lab) -> None:
    """`adopt --ttl-was` counts the present RRset with the TTL that it had shortly before, and keeps the one it has.

    So it does for a service that is under care already.
    """
    lab.configure(**SETTINGS)
    lab.rollover("adopt", "mail", check=0)
    lab.rollover("adopt", "mail", "--ttl-was", "1h", check=0)
    lab.deploy(lab.certificate(), check=0)
    it = advance_to(lab, "waiting", every=0)
    until = datetime.fromisoformat(it["next"]["not_before"]).timestamp()
    assert until - last(lab, "adopted") >= 2 * 3600 - 1
    assert lab.primary.tlsa().ttl == SHORT
    assert lab.served() == lab.old.spki


@pytest.mark.fault(19)
@pytest.mark.lab(ttl=SHORT)
def test_an_administrator_raises_the_ttl(lab: Lab) -> None:
    """A TTL that somebody raises in the middle of a wait is kept, and is the one that the next wait counts."""
    lab.configure(**SETTINGS)
    lab.rollover("adopt", "mail", check=0)
    with steady_mail(lab) as mail:
        new, _ = deployed(lab)
        lab.primary.update(f"update add {at.OWNER} {LONG} TLSA {lab.old.tlsa}")
        assert lab.primary.tlsa().ttl == LONG
        ends(lab, new, LONG)
        newer, wait = deployed(lab)
        assert wait >= 2 * LONG - 1
        ends(lab, newer, LONG)
    nothing_deferred(lab, mail())


@pytest.mark.fault(3)
@pytest.mark.lab(ttl=SHORT, senders=False)
def test_a_ttl_that_the_server_cuts_holds_nothing_back(lab: Lab) -> None:
    """`ttl = "2d"` where the zone's policy allows one day: a warning, and a rollover goes on with what is there."""
    lab.configure(**SETTINGS, ttl="2d")
    lab.rollover("adopt", "mail")
    kept = problem(left_by_advance(), "ttl-kept")
    assert kept["level"] == "warning"
    assert "has TTL 86400, not 172800" in kept["message"]
    assert lab.primary.tlsa() == RRset((lab.old.tlsa,), 86400)

    new = lab.certificate()
    lab.deploy(new, check=0)
    it = advance_to(lab, "waiting")
    assert "ttl-kept" in codes(it, "warning")
    assert not codes(it, "critical")
    assert set(lab.primary.tlsa().records) == {lab.old.tlsa, new.tlsa}
    assert told_wait(it) >= 2 * 86400 - 60
