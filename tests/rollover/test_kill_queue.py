"""`kill -9` in the tick that ends one rollover and begins the one that was queued behind it."""

from __future__ import annotations

import pytest

from tests.lab import Lab
from tests.rollover.driving import advance_to, fill_caches, goal, nothing_deferred, service, steady_mail
from tests.rollover.points import effect_of
from tests.rollover.scene import Kills, Scene, due, ticked
from tests.rollover.tracing import RELOAD, UPDATE, trace


@pytest.mark.fault(49)
@pytest.mark.lab(ttl=15)  # what was queued waits for longer than any of the runs takes
def test_a_tick_killed_where_a_queued_certificate_gets_its_turn(lab: Lab, capfd: pytest.CaptureFixture[str]) -> None:
    """Whatever call dies from the reload to the next publication, the first is served and the second published.

    The calls before the reload are those of test_kill_install.
    """
    lab.configure(drain="1s", check_every="1m", retain="1h")
    lab.rollover("adopt", "mail", check=0)
    with steady_mail(lab):
        fill_caches(lab)
        first, second = lab.certificate(), lab.certificate()
        lab.deploy(first, check=0)
        advance_to(lab, "waiting")
        lab.deploy(second, check=0)
        assert goal(service(lab)) == first.fingerprint
        assert lab.primary.tlsa().records == tuple(sorted((lab.old.tlsa, first.tlsa)))
        due(lab, "waiting")
        scene = Scene(lab)
        fill_caches(lab)
        found = trace(lab, "advance", "mail")
        assert {RELOAD, UPDATE} <= set(map(effect_of, found.points)), found.points
        words = ("advance", "mail")
        kills = Kills(
            "a queued certificate's turn",
            scene,
            found,
            words,
            only=rf"^({RELOAD}|{UPDATE}) \|",
            commit_sides=("before",),
        )
        kills.try_all(lambda: ticked(lab), capfd, at_least=8)
        assert lab.served() == first.spki
        assert goal(service(lab)) == second.fingerprint
        assert lab.primary.tlsa().records == tuple(sorted((lab.old.tlsa, first.tlsa, second.tlsa)))
    nothing_deferred(lab)
