"""`kill -9` while a service is adopted."""

from __future__ import annotations

import pytest

from tests.lab import Lab
from tests.rollover.driving import nothing_deferred, only_serves, steady_mail
from tests.rollover.points import effect_of
from tests.rollover.scene import Kills, Scene, ticked
from tests.rollover.tracing import COMMIT, INSTALL, RELOAD, trace

PREPARED = r"\.new-|live/\.mail\.pem\.rollover-\*$"  # files beside their place: tried with deploy and install


def adopted_again(lab: Lab) -> None:
    """Do what comes after the kill of an `adopt`: the timer does not wait for the person, who gives it again."""
    ticked(lab)
    assert lab.served() == lab.old.spki
    lab.rollover("adopt", "mail", check=0)
    ticked(lab)


@pytest.mark.fault(49)
@pytest.mark.lab(ttl=2)
def test_an_adoption_killed_at_any_call_is_finished_by_the_next(lab: Lab, capfd: pytest.CaptureFixture[str]) -> None:
    """Whatever call it dies at, Postfix goes on with its certificate, and given again it ends as if it had lived."""
    lab.configure(check_every="1m")
    with steady_mail(lab), lab.mx.edits_age_at_once():
        scene = Scene(lab)
        found = trace(lab, "adopt", "mail")
        assert found.done.returncode == 0, found.done.stderr
        assert {INSTALL, RELOAD, COMMIT} <= set(map(effect_of, found.points)), found.points
        kills = Kills("adopt", scene, found, ("adopt", "mail"), leave_out=PREPARED, commits=3, commit_sides=("before",))
        kills.try_all(lambda: adopted_again(lab), capfd, at_least=15)
        only_serves(lab, lab.old)

    nothing_deferred(lab)
    assert lab.primary.tlsa().records == (lab.old.tlsa,)
