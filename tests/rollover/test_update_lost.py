"""The answer to an update is lost, or the update itself: the same end as without."""

from __future__ import annotations

from typing import Literal

import pytest

from tests.lab import Lab
from tests.rollover.driving import (
    advance_to,
    advance_to_full_wait,
    alone_in_dns,
    at_the_worst_moment,
    codes,
    history,
    left_by_advance,
    nothing_deferred,
    problem,
    steady_mail,
    to_the_end,
)

TTL = 2
Lost = Literal["answers", "requests"]
Loss = Literal["silence", "hangup"]


def lose(lab: Lab, what: Lost, loss: Loss) -> None:
    """Let the proxy lose what belongs to the next update."""
    (lab.update_proxy.lose_answers if what == "answers" else lab.update_proxy.lose_requests)(1, loss)


def fired(lab: Lab, what: Lost) -> int:
    """Return how many the proxy has lost."""
    return lab.update_proxy.lost_answers if what == "answers" else lab.update_proxy.lost_requests


@pytest.mark.fault(4, 5, 75)
@pytest.mark.parametrize(
    ("what", "publishing", "withdrawing"),
    [("answers", "silence", "hangup"), ("requests", "hangup", "silence")],
    ids=["after it was applied", "before it was applied"],
)
@pytest.mark.lab(ttl=TTL)
def test_lost(lab: Lab, what: Lost, publishing: Loss, withdrawing: Loss) -> None:
    """Whatever is lost of the publication and of the withdrawal, what became of it is read back."""
    lab.configure(primary=lab.update_proxy.address, check_every="30s", timeout="3s", retain="1s", drain="1s")
    lab.rollover("adopt", "mail", check=0)
    new = lab.certificate()
    with steady_mail(lab) as mail:
        lose(lab, what, publishing)
        if what == "answers":
            with at_the_worst_moment(lab):
                done = lab.deploy(new, check=0)
        else:
            done = lab.deploy(new, check=0)
        assert fired(lab, what) == 1
        assert lab.served() == lab.old.spki
        if what == "answers":
            assert lab.primary.tlsa().records == tuple(sorted((lab.old.tlsa, new.tlsa)))
            assert done.stderr == "", "it was applied after all: nothing to tell"
            advance_to_full_wait(lab, TTL)
        else:
            assert lab.primary.tlsa().records == (lab.old.tlsa,)
            warning, hint = done.stderr.splitlines()
            assert "outcome unknown" in warning
            assert "the next run reads back" in hint
            assert problem(left_by_advance(), "update-unknown")["level"] == "warning"
            with at_the_worst_moment(lab):
                advance_to_full_wait(lab, TTL)
        advance_to(lab, "retaining")
        assert lab.served() == new.spki

        lose(lab, what, withdrawing)
        to_the_end(lab)
        assert fired(lab, what) == 2
    alone_in_dns(lab, new)
    assert not codes(left_by_advance(), "warning") | codes(left_by_advance(), "critical")
    kinds = [event["kind"] for event in history(lab)]
    assert (kinds.count("published"), kinds.count("withdrawn"), kinds.count("install")) == (1, 1, 1)
    updates = lab.update_proxy.updates
    assert updates == (2 if what == "answers" else 4), "nothing is sent twice that was applied"
    nothing_deferred(lab, mail())
