"""`kill -9` while a service is adopted."""

from __future__ import annotations

import shutil

import pytest

from tests.lab import Lab
from tests.rollover.driving import nothing_deferred, only_serves, service, steady_mail
from tests.rollover.tracing import START, Tally, kill_next, trace

PREPARED = r"\.new-|live/\.mail\.pem\.rollover-\*$"  # files beside their place: tried with deploy and install


@pytest.mark.lab(ttl=2)
def test_an_adoption_killed_at_any_call_is_finished_by_the_next(lab: Lab, capfd: pytest.CaptureFixture[str]) -> None:
    """Whatever call adopt dies at, Postfix goes on with its certificate, and adopt again ends as the first would."""
    parameters = lab.mx.get("smtpd_tls_cert_file"), lab.mx.get("smtpd_tls_key_file")
    lab.configure(check_every="1m")
    with steady_mail(lab):
        found = trace(lab, "adopt", "mail")
        assert found.done.returncode == 0, found.done.stderr
        tally = Tally.of(found, leave_out=PREPARED, commits=4)
        made = -1
        while tally.goes_on(made):
            made = len(tally.fired)
            lab.rollover("release", "mail", check=0)
            assert (lab.mx.get("smtpd_tls_cert_file"), lab.mx.get("smtpd_tls_key_file")) == parameters
            shutil.rmtree(lab.state_directory)
            for path in lab.chain_file.parent.iterdir():
                path.unlink()
            tally.after = START
            run = 0
            while kill_next(lab, tally, found, "adopt", "mail"):
                run += 1
                if run % 5 == 0:
                    ticked = lab.rollover("advance", "mail")  # the timer does not wait for it
                    assert ticked.returncode in {0, 1, 75}, ticked.stderr
            it = service(lab)
            assert (it["phase"], it["level"], it["problems"]) == ("steady", "ok", []), it
            assert lab.mx.get("smtpd_tls_chain_files") == str(lab.chain_file)
    tally.tell("adopt", capfd)
    nothing_deferred(lab)
    only_serves(lab, lab.old)
