"""`kill -9` in the tick that installs, proves and activates."""

from __future__ import annotations

import pytest

from tests.lab import Lab
from tests.rollover.driving import advance_to, fill_caches, nothing_deferred, only_serves, steady_mail
from tests.rollover.points import effect_of
from tests.rollover.scene import Kills, Scene, due, ticked
from tests.rollover.tracing import INSTALL, RELOAD, trace


@pytest.mark.fault(48, 49, 65)
@pytest.mark.lab(ttl=2)
def test_a_tick_killed_at_any_call_of_an_install_ends_as_one_that_lived(
    lab: Lab, capfd: pytest.CaptureFixture[str]
) -> None:
    """Whatever call the installing and proving tick dies at, the next one ends it: one outcome, nothing deferred."""
    lab.configure(retain="1h", drain="1s", check_every="1m")
    lab.rollover("adopt", "mail", check=0)
    with steady_mail(lab):
        fill_caches(lab)
        new = lab.certificate()
        lab.deploy(new, check=0)
        due(lab, "waiting")
        scene = Scene(lab)
        found = trace(lab, "advance", "mail")
        assert {INSTALL, RELOAD} <= set(map(effect_of, found.points)), found.points
        kills = Kills("the tick that installs", scene, found, ("advance", "mail"), commit_sides=("before",))
        kills.try_all(lambda: ticked(lab), capfd, at_least=25)
        assert lab.served() == new.spki
        lab.configure(retain="1s", drain="1s", check_every="1m")
        advance_to(lab, "steady")
    nothing_deferred(lab)
    only_serves(lab, new)
    assert {path.name for path in lab.chain_file.parent.iterdir()} == {"mail.pem", "mail.pem.previous"}
