"""`kill -9` while a service is released, its records left or withdrawn."""

from __future__ import annotations

import pytest

from tests.lab import Lab
from tests.rollover.driving import left_by_advance, nothing_deferred, steady_mail
from tests.rollover.points import effect_of
from tests.rollover.scene import Kills, Scene, ticked
from tests.rollover.tracing import COMMIT, RELOAD, UPDATE, trace

PARAMETERS = ("smtpd_tls_cert_file", "smtpd_tls_key_file", "smtpd_tls_chain_files")


def released_again(lab: Lab, *words: str) -> None:
    """Do what comes after the kill of a `release`: as above, unless it was killed when all was done."""
    ticked(lab)
    assert lab.served() == lab.old.spki
    if left_by_advance()["phase"] != "unadopted":
        lab.rollover("release", "mail", *words, check=0)
        ticked(lab)
    assert left_by_advance()["phase"] == "unadopted"


@pytest.mark.fault(49)
@pytest.mark.lab(ttl=2)
def test_a_release_killed_at_any_call_is_finished_by_the_next(lab: Lab, capfd: pytest.CaptureFixture[str]) -> None:
    """Whatever call it dies at, given again it ends as if it had lived, and gives back what was before `adopt`."""
    before = [lab.mx.get(name) for name in PARAMETERS]
    lab.configure(check_every="1m")
    with steady_mail(lab), lab.mx.edits_age_at_once():
        lab.rollover("adopt", "mail", check=0)
        scene = Scene(lab)
        found = trace(lab, "release", "mail")
        assert found.done.returncode == 0, found.done.stderr
        assert {RELOAD, COMMIT} <= set(map(effect_of, found.points)), found.points
        kills = Kills("release", scene, found, ("release", "mail"), commit_sides=("before",))
        kills.try_all(lambda: released_again(lab), capfd, at_least=5)
        assert [lab.mx.get(name) for name in PARAMETERS] == before
    nothing_deferred(lab)
    assert lab.served() == lab.old.spki
    assert lab.primary.tlsa().records == (lab.old.tlsa,)


@pytest.mark.lab(ttl=1)
def test_a_release_that_withdraws_killed_at_any_call_of_it_is_finished_by_the_next(
    lab: Lab, capfd: pytest.CaptureFixture[str]
) -> None:
    """Whatever call dies before the records are gone from every cache, given again it waits for that, and ends.

    What comes after is what a release without records does: the test above.
    """
    before = [lab.mx.get(name) for name in PARAMETERS]
    lab.configure(check_every="1m")
    lab.rollover("adopt", "mail", check=0)
    with steady_mail(lab) as mail, lab.mx.edits_age_at_once():
        scene = Scene(lab)
        words = ("release", "mail", "--withdraw")
        found = trace(lab, *words)
        assert found.done.returncode == 0, found.done.stderr
        assert UPDATE in map(effect_of, found.points), found.points
        kills = Kills(
            "release --withdraw",
            scene,
            found,
            words,
            only=rf"^start \||^{UPDATE} \|",
            commits=2,
            commit_sides=("before",),
        )
        kills.try_all(lambda: released_again(lab, "--withdraw"), capfd, at_least=5)
        assert [lab.mx.get(name) for name in PARAMETERS] == before
    counts = mail()
    assert (counts.deferred, counts.bounced) == (0, 0), counts.reasons
    assert lab.served() == lab.old.spki
    assert lab.primary.tlsa().records == ()
