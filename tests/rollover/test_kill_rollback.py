"""`kill -9` in a rollback."""

from __future__ import annotations

import pytest

from tests.lab import Lab
from tests.rollover.driving import (
    advance_to,
    fill_caches,
    goal,
    left_by_advance,
    nothing_deferred,
    only_serves,
    steady_mail,
)
from tests.rollover.points import effect_of
from tests.rollover.scene import Kills, Scene, ticked
from tests.rollover.tracing import COMMIT, INSTALL, RELOAD, trace

PREPARED = r"live/\.mail\.pem\.rollover-\*$"  # the new file beside its place: tried in test_kill_install
SPANS = {"drain": "1s", "check_every": "1m"}


@pytest.mark.fault(49)
@pytest.mark.lab(ttl=2)
def test_a_rollback_killed_at_any_call_ends_as_one_that_lived(lab: Lab, capfd: pytest.CaptureFixture[str]) -> None:
    """Whatever call a rollback dies at, the next tick, or the same command again, serves the named certificate."""
    lab.configure(**SPANS, retain="1h")
    lab.rollover("adopt", "mail", check=0)
    with steady_mail(lab):
        fill_caches(lab)
        lab.deploy(lab.certificate(), check=0)
        advance_to(lab, "retaining")
        scene = Scene(lab)
        words = ("rollback", "mail", "--to", lab.old.fingerprint)
        found = trace(lab, *words)
        assert found.done.returncode == 0, found.done.stderr
        assert {INSTALL, RELOAD, COMMIT} <= set(map(effect_of, found.points))

        def next_tick() -> None:
            ticked(lab)
            if goal(left_by_advance()) != lab.old.fingerprint:  # killed before it was recorded: it is given again
                lab.rollover(*words, check=0)
                ticked(lab)

        kills = Kills("rollback", scene, found, words, leave_out=PREPARED, commits=4, commit_sides=("before",))
        kills.try_all(next_tick, capfd, at_least=10)
        assert lab.served() == lab.old.spki
        lab.configure(**SPANS, retain="1s")
        advance_to(lab, "steady")
    nothing_deferred(lab)
    only_serves(lab, lab.old)
