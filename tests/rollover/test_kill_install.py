"""`kill -9` in the tick that installs, proves and activates."""

from __future__ import annotations

import pytest

from tests.lab import Certificate, Lab
from tests.rollover.driving import advance_to, fill_caches, nothing_deferred, only_serves, steady_mail
from tests.rollover.tracing import COMMIT, INSTALL, START, Tally, kill_until, killed_at, trace_due


def _deployed(lab: Lab) -> Certificate:
    fill_caches(lab)
    new = lab.certificate()
    lab.deploy(new, check=0)
    return new


@pytest.mark.lab(ttl=2)
def test_a_tick_killed_at_any_call_of_an_install_ends_as_one_that_lived(
    lab: Lab, capfd: pytest.CaptureFixture[str]
) -> None:
    """Whatever call the installing and proving tick dies at, the next goes on: one outcome, nothing deferred."""
    lab.configure(retain="1h", drain="1s", check_every="1m")
    lab.rollover("adopt", "mail", check=0)
    with steady_mail(lab, 6):
        first = _deployed(lab)
        found = trace_due(lab, "waiting", INSTALL)
        tally = Tally.of(found, commits=4)
        assert advance_to(lab, "retaining")["summary"].startswith(f"serving {first.fingerprint[:16]}")

        second = _deployed(lab)
        advance_to(lab, "waiting")
        kill_until(lab, tally, found, "retaining")
        assert lab.served() == second.spki

        # What comes once in an install needs further ones: back and forth, which needs no wait.
        wanted, other, made = first, second, 0
        while tally.goes_on(made):
            made = len(tally.fired)
            order = killed_at(
                lab, [(f"{START} | {COMMIT} | 1", "after")], found, "rollback", "mail", "--to", wanted.fingerprint
            )
            assert order.fired is not None, order
            kill_until(lab, tally, found, "retaining")
            assert lab.served() == wanted.spki
            wanted, other = other, wanted

        lab.configure(retain="1s", drain="1s", check_every="1m")
        advance_to(lab, "steady")
    tally.tell("the tick that installs", capfd)
    nothing_deferred(lab)
    only_serves(lab, other)
    assert {path.name for path in lab.chain_file.parent.iterdir()} == {"mail.pem", "mail.pem.previous"}
