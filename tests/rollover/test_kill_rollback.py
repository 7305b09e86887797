"""`kill -9` in a rollback."""

from __future__ import annotations

import pytest

from tests.lab import Lab
from tests.rollover.driving import advance_to, fill_caches, nothing_deferred, only_serves, steady_mail
from tests.rollover.tracing import COMMIT, INSTALL, RELOAD, START, Tally, effect_of, kill_next, trace

PREPARED = r"live/\.mail\.pem\.rollover-\*$"  # the new file beside its place: tried in test_kill_install


@pytest.mark.lab(ttl=2)
def test_a_rollback_killed_at_any_call_ends_as_one_that_lived(lab: Lab, capfd: pytest.CaptureFixture[str]) -> None:
    """Whatever call a rollback or its next tick dies at, the named certificate is served, nothing deferred."""
    lab.configure(retain="1h", drain="1s", check_every="1m")
    lab.rollover("adopt", "mail", check=0)
    with steady_mail(lab, 6):
        fill_caches(lab)
        new = lab.certificate()
        lab.deploy(new, check=0)
        advance_to(lab, "retaining")
        found = trace(lab, "rollback", "mail")
        assert found.done.returncode == 0, found.done.stderr
        assert {INSTALL, RELOAD, COMMIT} <= set(map(effect_of, found.points))
        assert lab.served() == lab.old.spki

        tally = Tally.of(found, leave_out=PREPARED, commits=4)
        wanted, other = new, lab.old
        made = -1
        while tally.goes_on(made):
            made = len(tally.fired)
            tally.after = START
            order = ("rollback", "mail", "--to", wanted.fingerprint)
            run = 0
            while kill_next(lab, tally, found, *(order if run % 2 == 0 else ("advance", "mail"))):
                run += 1
            lab.rollover(*order, check=0)  # killed before it was recorded, it has to be given again
            assert advance_to(lab, "retaining")["summary"].startswith(f"serving {wanted.fingerprint[:16]}")
            assert lab.served() == wanted.spki
            wanted, other = other, wanted
        lab.configure(retain="1s", drain="1s", check_every="1m")
        advance_to(lab, "steady")
    tally.tell("rollback", capfd)
    nothing_deferred(lab)
    only_serves(lab, other)
