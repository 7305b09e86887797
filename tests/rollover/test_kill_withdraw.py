"""`kill -9` in the tick that withdraws the old record, and in what every run does."""

from __future__ import annotations

import pytest

from tests.lab import Lab
from tests.rollover.driving import fill_caches, nothing_deferred, only_serves, steady_mail
from tests.rollover.points import effect_of
from tests.rollover.scene import Kills, Scene, due, ticked
from tests.rollover.tracing import UPDATE, trace

SPANS = {"drain": "1s", "check_every": "1m"}


@pytest.mark.fault(49)
@pytest.mark.lab(ttl=2)
def test_a_tick_killed_at_any_call_of_a_withdrawal_ends_as_one_that_lived(
    lab: Lab, capfd: pytest.CaptureFixture[str]
) -> None:
    """Whatever call the withdrawing tick dies at, the old record alone goes in the end, nothing deferred."""
    lab.configure(**SPANS, retain="1s")
    lab.rollover("adopt", "mail", check=0)
    with steady_mail(lab):
        fill_caches(lab)
        new = lab.certificate()
        lab.deploy(new, check=0)
        due(lab, "retaining")
        scene = Scene(lab)
        fill_caches(lab)
        found = trace(lab, "advance", "mail")
        assert UPDATE in map(effect_of, found.points), found.points
        kills = Kills("the tick that withdraws", scene, found, ("advance", "mail"), routine=True)
        kills.try_all(lambda: ticked(lab), capfd, at_least=30)
    nothing_deferred(lab)
    only_serves(lab, new)
