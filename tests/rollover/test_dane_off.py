"""Somebody else changes the RRset: empties it, takes the served record out, puts an old zone back."""

from __future__ import annotations

import pytest

from tests.lab import Lab, wait_for
from tests.lab import addresses as at
from tests.lab.certificates import Certificate
from tests.rollover.driving import (
    advance_to,
    advance_to_full_wait,
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
    to_the_end,
)

TTL = 3
SETTINGS = {"check_every": "30s", "retain": "1s", "drain": "1s"}


def rolling(lab: Lab) -> Certificate:
    """Let the tool take over, and a rollover come to its wait; return the certificate that is to come."""
    lab.configure(**SETTINGS)
    lab.rollover("adopt", "mail", check=0)
    new = lab.certificate()
    hand_over(lab, new)
    advance_to(lab, "waiting")
    return new


def seen_everywhere(lab: Lab, *records: str) -> None:
    """Wait until both servers have these records and no others."""
    for server in (lab.primary, lab.secondary):
        wait_for(lambda server=server: server.tlsa().records == tuple(sorted(records)), f"{server.name} has them")


@pytest.mark.lab(ttl=TTL)
def test_an_emptied_rrset(lab: Lab) -> None:
    """An RRset that somebody empties is critical and stays empty, until `resume`; then the rollover goes on."""
    new = rolling(lab)
    with steady_mail(lab) as mail:
        lab.primary.update(f"update delete {at.OWNER} TLSA")
        seen_everywhere(lab)
        for _ in range(2):
            lab.rollover("advance", check=1)
            it = left_by_advance()
            found = problem(it, "dane-off")
            assert (found["level"], it["phase"]) == ("critical", "blocked")
            assert at.OWNER in found["message"]
            assert "`rollover resume mail`" in found["hint"]
            assert not lab.primary.tlsa()
            assert lab.served() == lab.old.spki
        lab.rollover("resume", "mail", check=0)
        assert lab.primary.tlsa().records == tuple(sorted((lab.old.tlsa, new.tlsa)))
        assert "dane-off" not in codes(left_by_advance())
        to_the_end(lab)
        assert lab.served() == new.spki
    alone_in_dns(lab, new)
    # Without a record senders ask for no authentication: other connections are no fault here.
    assert (mail().deferred, mail().bounced) == (0, 0), mail().reasons


@pytest.mark.lab(ttl=TTL, senders=False)
def test_an_emptied_rrset_and_a_new_certificate(lab: Lab) -> None:
    """A certificate that comes while DANE is switched off is kept, and does not switch it on."""
    lab.configure(**SETTINGS)
    lab.rollover("adopt", "mail", check=0)
    lab.primary.update(f"update delete {at.OWNER} TLSA")
    new = lab.certificate()
    assert "is recorded" in lab.deploy(new, check=0).stdout
    lab.rollover("advance", check=1)
    assert problem(left_by_advance(), "dane-off")["level"] == "critical"
    assert not lab.primary.tlsa()
    assert lab.served() == lab.old.spki
    lab.rollover("pause", "mail", "--for", "1s", check=0)
    advance_until(lab, lambda it: it["phase"] != "paused")
    assert not lab.primary.tlsa(), "the end of a pause is nobody's consent"
    lab.rollover("resume", "mail", check=0)
    assert lab.old.tlsa in lab.primary.tlsa().records


@pytest.mark.fault(18)
@pytest.mark.lab(ttl=TTL, senders=False)
def test_the_served_record_is_deleted(lab: Lab) -> None:
    """Of two records somebody deletes the served one: the next tick puts it back, and says what was wrong."""
    new = rolling(lab)
    lab.primary.update(f"update delete {at.OWNER} TLSA {lab.old.tlsa}")
    seen_everywhere(lab, new.tlsa)
    lab.rollover("advance")
    assert lab.old.tlsa in lab.primary.tlsa().records
    assert lab.served() == lab.old.spki
    texts = [event["text"] for event in history(lab) if event["kind"] == "published"]
    assert any(lab.old.tlsa in text for text in texts)
    to_the_end(lab)
    assert lab.served() == new.spki
    alone_in_dns(lab, new)


@pytest.mark.fault(17)
@pytest.mark.lab(ttl=TTL)
def test_a_zone_from_a_backup(lab: Lab) -> None:
    """The old RRset comes back in the middle of the wait: published again, and waited for from the start."""
    new = rolling(lab)
    with steady_mail(lab) as mail:
        lab.primary.update(f"update delete {at.OWNER} TLSA {new.tlsa}")
        seen_everywhere(lab, lab.old.tlsa)
        with at_the_worst_moment(lab):
            advance_to_full_wait(lab, TTL)  # it has started over
        assert lab.served() == lab.old.spki
        assert lab.primary.tlsa().records == tuple(sorted((lab.old.tlsa, new.tlsa)))
        to_the_end(lab)
        assert lab.served() == new.spki
    alone_in_dns(lab, new)
    events = history(lab)
    published = [instant(event) for event in events if event["kind"] == "published"]
    (installed,) = (instant(event) for event in events if event["kind"] == "install")
    assert len(published) == 2
    assert installed - published[1] >= 2 * TTL - 1
    nothing_deferred(lab, mail())
