"""Faults of the mail server that come after the new certificate was written: the old record is the way back."""

from __future__ import annotations

import time

import pytest

from tests.lab import Certificate, Lab, wait_for
from tests.rollover.driving import (
    advance_to,
    advance_until,
    codes,
    fill_caches,
    left_by_advance,
    nothing_deferred,
    only_serves,
    problem,
    steady_mail,
)
from tests.rollover.tracing import INSTALL, START, Trace, killed_at, trace

TTL = 2
VERIFY = 4
RATE = 10
SPANS = {"check_every": "30s", "retain": "2s", "drain": "1s", "verify_timeout": f"{VERIFY}s"}
THROTTLE = 5  # seconds for which master leaves an smtpd alone that died: the lab's service_throttle_time
SLACK = 5  # seconds in which messages already under way get their outcome on a busy machine


def _adopted(lab: Lab, **changes: str) -> None:
    lab.configure(**SPANS | changes)
    lab.rollover("adopt", "mail", check=0)


def _deployed(lab: Lab) -> Certificate:
    fill_caches(lab)
    new = lab.certificate()
    lab.deploy(new, check=0)
    return new


def _both_published(lab: Lab, *certificates: Certificate) -> None:
    assert set(lab.primary.tlsa().records) == {it.tlsa for it in certificates}


def _answers(lab: Lab, certificate: Certificate) -> bool:
    try:
        return lab.served() == certificate.spki
    except OSError:
        return False


@pytest.mark.lab(ttl=TTL)
def test_main_cf_breaks_before_the_old_record_goes(lab: Lab) -> None:
    """New processes die of main.cf while the old record is retained: it stays until all works again, and then goes by itself."""
    _adopted(lab, retain="6s")
    with steady_mail(lab, RATE) as mail:
        new = _deployed(lab)
        advance_to(lab, "retaining")
        broken = time.monotonic()
        lab.mx.break_main_cf()
        lab.mx.reload()
        it = advance_until(lab, lambda it: "endpoint-failing" in codes(it, "critical"))
        assert it["level"] == "critical"
        assert "postfix" in problem(it, "endpoint-failing")["hint"]
        end = time.monotonic() + 7  # longer than retain
        while time.monotonic() < end:
            assert lab.rollover("advance", "mail").returncode == 1
            _both_published(lab, lab.old, new)
        assert lab.chain_file.read_bytes().count(b"BEGIN CERTIFICATE") == 2
        lab.mx.repair_main_cf()
        wait_for(lambda: _answers(lab, new), "smtpd lives again, with the new certificate", 60)
        down = time.monotonic() - broken
        it = advance_to(lab, "retaining")
        assert "endpoint-failing" not in codes(it)
        _both_published(lab, lab.old, new)  # the clock of the withdrawal began anew
        advance_to(lab, "steady")
        deferred = mail().deferred
    assert 0 < deferred <= (down + THROTTLE + SLACK) * RATE, f"{deferred} deferred in {down:.0f} s"
    assert lab.mail.other == 0
    assert not [reason for reason in lab.mail.reasons if "certificate" in reason.lower()]
    only_serves(lab, new)


@pytest.mark.lab(ttl=TTL)
def test_main_cf_is_pointed_elsewhere_before_the_old_record_goes(lab: Lab) -> None:
    """Somebody points Postfix at a copy of the old certificate: its record stays, status is critical, adopt mends it."""
    _adopted(lab)
    elsewhere = lab.directory / "elsewhere.pem"
    elsewhere.write_bytes(lab.chain_file.read_bytes())
    elsewhere.chmod(0o600)
    with steady_mail(lab, RATE):
        new = _deployed(lab)
        advance_to(lab, "retaining")
        lab.mx.postconf(f"smtpd_tls_chain_files={elsewhere}")
        lab.mx.reload()
        wait_for(lambda: lab.served() == lab.old.spki, "Postfix serves what main.cf names")
        end = time.monotonic() + 5  # longer than retain
        while time.monotonic() < end:
            assert lab.rollover("advance", "mail").returncode == 1
            told = problem(left_by_advance(), "wiring")
            assert (told["level"], str(elsewhere) in told["message"]) == ("critical", True), told
            assert "rollover adopt mail" in told["hint"]
            _both_published(lab, lab.old, new)
        assert lab.mx.get("smtpd_tls_chain_files") == str(elsewhere), "what a person has set is a person's"
        lab.mx.postconf(f"smtpd_tls_chain_files={lab.chain_file}")
        lab.mx.reload()
        advance_to(lab, "steady")
    nothing_deferred(lab)
    only_serves(lab, new)


def _traced(lab: Lab) -> Trace:
    """Adopt under strace: how a live file is written is to be seen in that, too."""
    lab.configure(**SPANS)
    found = trace(lab, "adopt", "mail")
    assert found.done.returncode == 0, found.done.stderr
    return found


def _written(lab: Lab, found: Trace) -> Certificate:
    """Begin a rollover whose tick dies between writing and reload, so that somebody may come in; return what is written."""
    new = _deployed(lab)
    advance_to(lab, "waiting")
    at_install = [(f"{milestone} | {INSTALL} | 1", "after") for milestone in (START, f"{INSTALL}.previous")]
    for _ in range(30):
        if killed_at(lab, at_install, found, "advance", "mail").fired is not None:
            return new
        time.sleep(0.5)
    raise AssertionError(f"no tick came to {INSTALL}: {left_by_advance()}")


@pytest.mark.lab(ttl=TTL)
def test_a_live_file_is_spoiled_between_install_and_reload(lab: Lab) -> None:
    """Between rename and reload somebody's copy with the key of another certificate gets in: the next tick sets it right."""
    found = _traced(lab)
    with steady_mail(lab, RATE) as mail:
        new = _written(lab, found)
        stranger = lab.certificate()
        spoiled = time.monotonic()
        lab.chain_file.write_bytes(stranger.privkey.read_bytes() + new.fullchain.read_bytes())
        assert "live-file" in lab.rollover("status", "--fresh").stdout
        advance_to(lab, "retaining")
        window = time.monotonic() - spoiled
        assert lab.served() == new.spki
        advance_to(lab, "steady")
        deferred = mail().deferred
    # No more than what new processes refused until the file was mended; those that ran on had the old one.
    assert deferred <= (window + SLACK) * RATE, f"{deferred} deferred in {window:.0f} s"
    assert lab.mail.other == 0
    only_serves(lab, new)


@pytest.mark.lab(ttl=TTL)
def test_a_chain_file_that_smtpd_cannot_see(lab: Lab) -> None:
    """Postfix finds no file where the tool sees one: it is taken back after verify_timeout, critical, both records stay, until it is mended."""
    found = _traced(lab)
    with steady_mail(lab, RATE) as mail:
        new = _written(lab, found)
        lab.mx.disarm_reload(lab.chain_file.parent)
        (seen_by_postfix,) = lab.mx.directory.glob("stale-*/mail.pem")
        seen_by_postfix.unlink()
        blind = time.monotonic()
        it = advance_until(
            lab, lambda it: "returned" in codes(it, "critical"), each=lambda _: _both_published(lab, lab.old, new)
        )
        assert it["level"] == "critical"
        assert new.fingerprint[:16] in problem(it, "returned")["message"]
        # Putting the old one back does not help here; it is done once, and then it stands still.
        for _ in range(3):
            assert lab.rollover("advance", "mail").returncode == 1
            _both_published(lab, lab.old, new)
        told = lab.rollover("history", "mail").stdout
        assert told.count(f"{lab.old.fingerprint[:16]} is being installed") == 1, told
        lab.mx.rearm_reload()
        lab.mx.reload()
        wait_for(lambda: _answers(lab, lab.old), "smtpd sees the old certificate", 60)
        window = time.monotonic() - blind
        advance_until(lab, lambda it: "endpoint-failing" not in codes(it))
        time.sleep(2)
        healed = lab.mail.mark()
        lab.load.send(10)
        deferred = mail().deferred
    assert 0 < deferred <= (window + SLACK) * RATE, f"{deferred} deferred in {window:.0f} s"
    assert lab.mail.since(healed).deferred == 0
    assert lab.mail.other == 0
    lab.rollover("rollback", "mail", "--to", new.fingerprint, check=0)  # what the hint says, once it is mended
    advance_to(lab, "steady")
    only_serves(lab, new)
