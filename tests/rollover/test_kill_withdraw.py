"""`kill -9` in the tick that withdraws the old record, and in what every run does."""

from __future__ import annotations

import pytest

from tests.lab import Lab
from tests.rollover.driving import advance_to, fill_caches, nothing_deferred, only_serves, steady_mail
from tests.rollover.tracing import UPDATE, Tally, kill_until, trace_due


@pytest.mark.lab(ttl=2)
def test_a_tick_killed_at_any_call_of_a_withdrawal_ends_as_one_that_lived(
    lab: Lab, capfd: pytest.CaptureFixture[str]
) -> None:
    """Whatever call the withdrawing tick dies at, the old record alone goes in the end, nothing deferred."""
    lab.configure(retain="1s", drain="1s", check_every="1m")
    lab.rollover("adopt", "mail", check=0)
    with steady_mail(lab, 6):
        fill_caches(lab)
        lab.deploy(lab.certificate(), check=0)
        found = trace_due(lab, "retaining", UPDATE)
        tally = Tally.of(found, routine=True)
        assert advance_to(lab, "steady")["level"] == "ok"

        made = -1
        while tally.goes_on(made):
            made = len(tally.fired)
            fill_caches(lab)
            new = lab.certificate()
            lab.deploy(new, check=0)
            advance_to(lab, "retaining")
            fill_caches(lab)
            kill_until(lab, tally, found, "steady")
    tally.tell("the tick that withdraws", capfd)
    nothing_deferred(lab)
    only_serves(lab, new)
