"""TTLs that the tool sets, that were lowered before it came, or that an administrator changes meanwhile."""

from __future__ import annotations

import time
from datetime import datetime

import pytest

from tests.lab import Lab
from tests.lab import addresses as at
from tests.rollover.driving import (
    advance_to,
    alone_in_dns,
    codes,
    fill_caches,
    history,
    instant,
    left_by_advance,
    nothing_deferred,
    steady_mail,
)

SETTINGS = {"check_every": "30s", "retain": "1s", "drain": "1s"}
SHORT, LONG = 2, 5


def last(lab: Lab, kind: str) -> float:
    """Return when an event of *kind* was last."""
    return max(instant(event) for event in history(lab) if event["kind"] == kind)


def roll(lab: Lab) -> float:
    """Take a whole rollover to its end; return the seconds from the publication to the installation."""
    new = lab.certificate()
    held = set(fill_caches(lab))
    assert len(held) == 1
    lab.deploy(new, check=0)
    published = last(lab, "published")
    assert new.tlsa in lab.primary.tlsa().records
    lab.rollover("advance", "--wait", check=0)
    assert lab.served() == new.spki
    alone_in_dns(lab, new)
    return last(lab, "install") - published


@pytest.mark.lab(ttl=LONG)
def test_a_lower_ttl(lab: Lab) -> None:
    """A TTL that is configured is set; a lower one counts only when the higher one was waited out, and then does."""
    lab.configure(**SETTINGS)
    lab.rollover("adopt", "mail", check=0)
    lab.configure(**SETTINGS, ttl=f"{SHORT}s")
    with steady_mail(lab):
        lab.rollover("advance", "mail", check=0)
        assert (lab.primary.tlsa().records, lab.primary.tlsa().ttl) == ((lab.old.tlsa,), SHORT)
        assert lab.served() == lab.old.spki
        lowered = last(lab, "published")
        roll(lab)
        assert last(lab, "install") - lowered >= 2 * LONG - 1, "the old TTL, twice, from when it was gone"
        assert lab.primary.tlsa().ttl == SHORT
    assert not codes(left_by_advance(), "critical")
    nothing_deferred(lab)
    rest = last(lab, "withdrawn") + 2 * LONG + 1 - time.clock_gettime(time.CLOCK_REALTIME)
    time.sleep(max(0.0, rest))
    lab.deploy(lab.certificate(), check=0)
    it = advance_to(lab, "waiting", every=0)
    left = datetime.fromisoformat(it["next"]["not_before"]) - datetime.fromisoformat(it["seen"])
    assert left.total_seconds() <= 2 * SHORT + 1


@pytest.mark.lab(ttl=SHORT)
def test_a_higher_ttl(lab: Lab) -> None:
    """A higher TTL comes with the next record; the wait after that is two of it."""
    lab.configure(**SETTINGS, ttl=f"{LONG}s")
    lab.rollover("adopt", "mail", check=0)
    with steady_mail(lab):
        advance_to(lab, "steady")
        assert (lab.primary.tlsa().records, lab.primary.tlsa().ttl) == ((lab.old.tlsa,), LONG)
        took = roll(lab)
        assert took >= 2 * LONG - 1
        assert lab.primary.tlsa().ttl == LONG
    nothing_deferred(lab)


@pytest.mark.lab(ttl=SHORT)
def test_a_ttl_lowered_before_the_adoption(lab: Lab) -> None:
    """`adopt --ttl-was` counts the present RRset with the TTL that it had shortly before."""
    lab.configure(**SETTINGS)
    lab.rollover("adopt", "mail", "--ttl-was", f"{LONG}s", check=0)
    with steady_mail(lab):
        roll(lab)
    assert last(lab, "install") - last(lab, "adopted") >= 2 * LONG - 1
    assert lab.primary.tlsa().ttl == SHORT, "the TTL itself is kept"
    nothing_deferred(lab)


@pytest.mark.lab(ttl=SHORT)
def test_an_administrator_raises_the_ttl(lab: Lab) -> None:
    """A TTL raised in the wait, and once more before the next change, is the one that is waited for."""
    lab.configure(**SETTINGS)
    lab.rollover("adopt", "mail", check=0)
    new = lab.certificate()
    with steady_mail(lab):
        fill_caches(lab)
        lab.deploy(new, check=0)
        advance_to(lab, "waiting")
        lab.primary.update(f"update add {at.OWNER} {LONG} TLSA {lab.old.tlsa}")
        assert lab.primary.tlsa().ttl == LONG
        lab.rollover("advance", "--wait", check=0)
        assert lab.served() == new.spki
        assert (lab.primary.tlsa().records, lab.primary.tlsa().ttl) == ((new.tlsa,), LONG)
        assert roll(lab) >= 2 * LONG - 1
    nothing_deferred(lab)
