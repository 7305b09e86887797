"""Hooks that are not for us, that fail, that never run; and how an administrator hears of what is wrong."""

from __future__ import annotations

import json
import shutil
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.lab import Certificate, Lab
from tests.rollover.driving import (
    codes,
    fill_caches,
    goal,
    history,
    left_by_advance,
    nothing_deferred,
    only_serves,
    problem,
    renewing,
    serve_lineage,
    served_leaf,
    settled_serial,
    steady_mail,
    tick,
    to_the_end,
    untouched,
)

WEB = "www.example.test"
FAILED = "reported error code"  # what certbot says of a hook whose exit status is not 0


@pytest.mark.lab(ttl=2)
def test_certbot_calls_the_hook_for_every_lineage_and_may_fail_to(lab: Lab) -> None:
    """A web certificate is left alone; what a broken hook, or none, did not hand over is found by `advance`."""
    lab.configure(check_every="1m", retain="1s", drain="1s")
    serve_lineage(lab)
    lab.certbot.certonly((WEB,))
    lab.rollover("adopt", "mail", check=0)
    lab.rollover("hook", "install", "certbot", check=0)

    with ExitStack() as stack, renewing(lab, WEB) as renewal:
        settled_serial(lab)  # certbot's challenge is gone
        stack.enter_context(untouched(lab))
    assert f"no service wants a certificate for {WEB}" in renewal.output
    assert FAILED not in renewal.output
    assert "error output" not in renewal.output

    with steady_mail(lab) as mail:
        # The hook runs while the configuration is being edited.
        good = lab.config_file.read_text()
        with renewing(lab, "mail.example.test") as renewal:
            lab.config_file.write_text(good.replace("[services.mail]", "[services.mail"))
        assert FAILED in renewal.output
        assert "rollover: error: " in renewal.output
        lab.config_file.write_text(good)
        missed = lab.certbot.lineage()
        lab.rollover("advance")
        assert goal(left_by_advance()) == missed.fingerprint
        fill_caches(lab)
        to_the_end(lab)
        only_serves(lab, missed)

        # There is no hook at all.
        lab.rollover("hook", "remove", "certbot", check=0)
        lab.certbot.renew("mail.example.test")
        newest = lab.certbot.lineage()
        fill_caches(lab)
        lab.rollover("advance")
        assert goal(left_by_advance()) == newest.fingerprint
        to_the_end(lab)

    nothing_deferred(lab, mail())
    only_serves(lab, newest)
    assert not [e for e in history(lab) if e["kind"] == "rejected"]


@pytest.mark.fault(41)
@pytest.mark.lab(ttl=2, senders=False)
def test_a_half_written_lineage_is_tried_again(lab: Lab, tmp_path: Path) -> None:
    """It is a warning, told once, for as long as the source holds it; whole, it is taken without a command."""
    new, alerts = lab.certificate(), tmp_path / "alerts"
    lineage = Certificate(tmp_path / "lineage")
    lineage.directory.mkdir()
    for name in ("fullchain.pem", "privkey.pem"):
        shutil.copy(lab.old.directory / name, lineage.directory)
    lab.configure(
        check_every="1m",
        source=str(lineage.directory),
        alert={"command": ["/bin/sh", "-c", f"cat >> {alerts}"]},
    )
    lab.rollover("adopt", "mail", check=0)
    quiet = lab.rollover("status", "--quiet", check=0)
    assert (quiet.stdout, quiet.stderr) == ("", "")
    whole = new.fullchain.read_text()

    for written, said in ((whole[: len(whole) // 4], "PEM"), (whole, "key")):
        lineage.fullchain.write_text(written)
        lab.rollover("advance")
        found = problem(left_by_advance(), "source-rejected")
        assert found["level"] == "warning"
        assert said in found["message"]
        assert goal(left_by_advance()) == lab.old.fingerprint
    quiet = lab.rollover("status", "--quiet", check=1)
    assert "source-rejected" in quiet.stdout
    assert len([e for e in history(lab) if e["kind"] == "rejected"]) == 2

    shutil.copy(new.privkey, lineage.privkey)
    lab.rollover("advance")
    assert goal(left_by_advance()) == new.fingerprint
    assert "source-rejected" not in codes(left_by_advance())
    assert [(x["code"], x["level"]) for x in told(alerts)] == [("source-rejected", "warning"), ("recovered", "ok")]
    assert all(x["service"] == "mail" and x["message"] for x in told(alerts))


@pytest.mark.lab(ttl=2, senders=False)
def test_a_mail_server_that_greets_slowly_is_no_trouble_for_a_hook(lab: Lab, tmp_path: Path) -> None:
    """A hook does not stay for a greeting that comes after seconds, as postscreen's; nobody is called for that."""
    alerts = tmp_path / "alerts"
    lab.configure(check_every="1m", alert={"command": ["/bin/sh", "-c", f"cat >> {alerts}"]})
    lab.rollover("adopt", "mail", check=0)
    lab.mx.postconf("smtpd_client_restrictions=sleep 2")
    lab.mx.reload()
    new = lab.certificate(reuse_key_of=lab.old)

    lab.deploy(new, check=0)
    it = left_by_advance()
    assert (goal(it), it["level"], codes(it)) == (new.fingerprint, "ok", set())
    assert served_leaf(lab) == lab.old.fingerprint, "installed without a picture of what was before"
    to_the_end(lab)

    only_serves(lab, new)
    assert served_leaf(lab) == new.fingerprint
    assert not alerts.exists()


@pytest.mark.lab(ttl=2, senders=False)
def test_what_is_critical_is_told_at_once_again_and_when_it_is_over(lab: Lab, tmp_path: Path) -> None:
    """`status` tells of the last look, `--fresh` looks and keeps nothing; `advance` calls the command of [alert]."""
    alerts = tmp_path / "alerts"
    alert = {"command": ["/bin/sh", "-c", f"cat >> {alerts}"]}
    lab.configure(check_every="1m", alert=alert | {"repeat": "1h"})
    lab.rollover("adopt", "mail", check=0)
    database = lab.state_directory / "rollover.db"
    before = database.read_bytes()

    lab.mx.kill()
    assert lab.rollover("status").returncode == 0
    fresh = lab.rollover("status", "--fresh")
    assert fresh.returncode == 2
    assert "endpoint-failing" in fresh.stdout
    assert lab.rollover("status").returncode == 0, "nothing was kept"
    assert database.read_bytes() == before
    assert not alerts.exists()

    for _ in range(2):
        lab.rollover("advance", "mail", check=1)
    assert lab.rollover("status").returncode == 2
    assert len(told(alerts)) == 1, "not again before `repeat` is over"
    lab.configure(check_every="1m", alert=alert | {"repeat": "1s"})
    deadline = time.monotonic() + 60
    while len(told(alerts)) < 2:
        assert time.monotonic() < deadline
        lab.rollover("advance", "mail", check=1)
    lab.configure(check_every="1m", alert=alert | {"repeat": "1h"})
    lab.mx.start()
    while len(told(alerts)) < 3:
        assert time.monotonic() < deadline + 60
        tick(lab)
    tick(lab)

    first, again, over = told(alerts)
    assert (first["code"], first["level"]) == (again["code"], again["level"])
    assert first["level"] == "critical"
    assert first["hint"]
    assert (over["code"], over["level"]) == ("recovered", "ok")


def told(alerts: Path) -> list[dict[str, str]]:
    """Return what the command of [alert] was given, one JSON problem a call."""
    return [json.loads(line) for line in alerts.read_text().splitlines()]
