"""A primary that is in no NS RRset: its secondaries are what senders ask, and it is what the tool writes to."""

from __future__ import annotations

import pytest

from tests.lab import Lab, wait_for
from tests.lab import addresses as at
from tests.rollover.driving import (
    alone_in_dns,
    codes,
    hand_over,
    left_by_advance,
    nothing_deferred,
    problem,
    steady_mail,
    to_the_end,
)

TTL = 2


@pytest.mark.lab(ttl=TTL, hidden_primary=True)
def test_what_a_hidden_primary_has_wrong_is_told_before_anybody_is_given_it(lab: Lab) -> None:
    """No mail is deferred yet, and none is later: the alert comes in time, and so does the repair."""
    lab.configure(check_every="30s", retain="1s", drain="1s")
    lab.rollover("adopt", "mail", check=0)
    other = lab.certificate(names=("www.example.test",))
    with steady_mail(lab) as mail:
        lab.secondary.stop_transfers()
        lab.primary.reconfigure(update_policy="")  # or the first look at it would be the repair
        lab.primary.update(f"del {at.OWNER} TLSA\nadd {at.OWNER} {TTL} TLSA {other.tlsa}")
        lab.rollover("advance", "mail", check=1)

        it = left_by_advance()
        ahead = problem(it, "deferral-ahead")
        assert (it["level"], ahead["level"]) == ("critical", "critical")
        assert ahead["message"].startswith(f"primary {at.PRIMARY} has an RRset of {at.OWNER} without a match for "), (
            ahead
        )
        assert ahead["hint"]
        assert "update-refused" in codes(it)
        assert "mail-deferred" not in codes(it), "whoever asks is still given what matches"
        status = lab.rollover("status", check=2).stdout
        assert status.startswith("CRITICAL mail: "), status

        lab.primary.reconfigure()
        lab.rollover("advance", "mail")
        assert set(lab.primary.tlsa().records) == {lab.old.tlsa, other.tlsa}
        assert "deferral-ahead" not in codes(left_by_advance())
        lab.secondary.resume_transfers()
        wait_for(lambda: lab.old.tlsa in lab.secondary.tlsa().records, "the secondary has the records that match")
    nothing_deferred(lab, mail())


@pytest.mark.lab(ttl=TTL, hidden_primary=True)
def test_a_rollover_behind_a_hidden_primary(lab: Lab) -> None:
    """The wait counts from when the server that senders ask has the record."""
    lab.configure(check_every="30s", retain="1s", drain="1s")
    lab.rollover("adopt", "mail", check=0)
    with steady_mail(lab) as mail:
        new = lab.certificate()
        hand_over(lab, new)
        to_the_end(lab)
        assert lab.served() == new.spki
        alone_in_dns(lab, new)
    nothing_deferred(lab, mail())
