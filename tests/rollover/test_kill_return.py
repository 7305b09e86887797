"""`kill -9` in the tick that takes a certificate back which an endpoint does not present."""

from __future__ import annotations

import pytest

from tests.lab import Lab
from tests.lab import addresses as at
from tests.lab.process import run
from tests.rollover.driving import (
    advance_until,
    codes,
    fill_caches,
    goal,
    nothing_deferred,
    problem,
    service,
    steady_mail,
)
from tests.rollover.points import effect_of
from tests.rollover.scene import Kills, Scene, ticked
from tests.rollover.tracing import COMMIT, INSTALL, RELOAD, trace

PREPARED = r"live/\.mail\.pem\.rollover-\*$"  # the new file beside its place: tried in test_kill_install
SUBMISSION = "_587._tcp.mail.example.test."
ONLY_ECDSA = (
    "smtpd_tls_mandatory_protocols=TLSv1.2",
    "smtpd_tls_mandatory_ciphers=high",
    "tls_high_cipherlist=ECDHE+aECDSA+AESGCM",
)


@pytest.mark.fault(49)
@pytest.mark.lab(ttl=2, ports=(25, 587))
def test_an_automatic_return_killed_at_any_call_ends_as_one_that_lived(
    lab: Lab, capfd: pytest.CaptureFixture[str]
) -> None:
    """Whatever call the tick dies at, the old certificate is served in the end, and stays.

    It fails on port 587 only, which no mail of the load goes to: an RSA key, where ECDSA alone is offered.
    """
    spans: dict[str, object] = {"drain": "1s", "check_every": "1m", "retain": "1h"}
    lab.configure(**spans, verify_timeout="1h")
    for setting in ONLY_ECDSA:
        run(["postconf", "-c", lab.mx.config_directory, "-P", f"587/inet/{setting}"])
    lab.mx.reload()
    lab.rollover("adopt", "mail", check=0)
    with steady_mail(lab):
        for owner in (at.OWNER, SUBMISSION):
            fill_caches(lab, owner)
        new = lab.certificate(key="rsa")
        lab.deploy(new, check=0)
        it = advance_until(lab, lambda _: lab.served() == new.spki)
        assert not codes(it) & {"returned"}
        assert it["phase"] == "verifying"
        lab.configure(**spans, verify_timeout="1s")  # from here on it has had its time
        scene = Scene(lab, (at.OWNER, SUBMISSION))
        found = trace(lab, "advance", "mail")
        assert found.done.returncode == 1, "a person is told"
        assert {INSTALL, RELOAD, COMMIT} <= set(map(effect_of, found.points)), found.points
        kills = Kills(
            "the automatic return",
            scene,
            found,
            ("advance", "mail"),
            leave_out=PREPARED,
            commits=2,
            commit_sides=("before",),
        )
        kills.try_all(lambda: ticked(lab), capfd, at_least=8)
        it = service(lab)
        assert (goal(it), lab.served()) == (lab.old.fingerprint, lab.old.spki)
        assert new.fingerprint[:16] in problem(it, "returned")["message"]
    nothing_deferred(lab)
