"""Faults of the mail server that come after the new certificate was written: the old record is the way back."""

from __future__ import annotations

import time

import pytest

from tests.lab import Certificate, Lab, wait_for
from tests.rollover.deferrals import all_sent, put_off_within, wall
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
from tests.rollover.written import adopted_under_strace, written

TTL = 2
VERIFY = 4
SPANS = {"check_every": "30s", "retain": "2s", "drain": "1s", "verify_timeout": f"{VERIFY}s"}
THROTTLE = 5  # seconds for which master leaves an smtpd alone that died: the lab's service_throttle_time
GREETING = 20  # seconds for which a sender waits for it: the lab's smtp_helo_timeout
SLACK = 30  # seconds that a busy machine may add to a bound


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
    with steady_mail(lab) as mail:
        new = _deployed(lab)
        advance_to(lab, "retaining")
        broken = wall()
        lab.mx.break_main_cf()
        lab.mx.reload()
        it = advance_until(lab, lambda it: "endpoint-failing" in codes(it, "critical"))
        assert it["level"] == "critical"
        assert "postfix" in problem(it, "endpoint-failing")["hint"]
        while wall() < broken + GREETING + 2:  # so long that senders give up, and longer than retain
            assert lab.rollover("advance", "mail").returncode == 1
            _both_published(lab, lab.old, new)
        assert lab.chain_file.read_bytes().count(b"BEGIN CERTIFICATE") == 2
        lab.mx.repair_main_cf()
        repaired = wall()
        wait_for(lambda: _answers(lab, new), "smtpd lives again, with the new certificate", 60)
        lives = wall()
        it = advance_to(lab, "retaining")
        assert "endpoint-failing" not in codes(it)
        _both_published(lab, lab.old, new)  # the clock of the withdrawal began anew
        advance_to(lab, "steady")
    assert lives - repaired <= THROTTLE + SLACK, "nothing of ours keeps it down"
    assert put_off_within(mail(), (broken, lives)) > 0, "smtpd was not dead"
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
    with steady_mail(lab):
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


@pytest.mark.lab(ttl=TTL)
def test_a_live_file_is_spoiled_between_install_and_reload(lab: Lab) -> None:
    """Between rename and reload somebody's copy with the key of another certificate gets in: the next tick sets it right.

    Until then it is critical, and the old record is there.
    """
    found = adopted_under_strace(lab, SPANS | {"retain": "4s"})
    with steady_mail(lab) as mail:
        new = written(lab, found)
        stranger = lab.certificate()
        spoiled = wall()
        lab.chain_file.write_bytes(stranger.privkey.read_bytes() + new.fullchain.read_bytes())
        told = lab.rollover("status", "--fresh", check=2).stdout
        assert "live-file" in told
        _both_published(lab, lab.old, new)
        advance_until(lab, lambda it: it["phase"] == "retaining", each=lambda _: _both_published(lab, lab.old, new))
        mended = wall()
        assert lab.served() == new.spki
        advance_to(lab, "steady")
    # No more than what new processes refused until the file was mended; those that ran on had the old one.
    put_off_within(mail(), (spoiled, mended))
    assert lab.mail.other == 0
    only_serves(lab, new)


@pytest.mark.fault(61)
@pytest.mark.lab(ttl=TTL)
def test_a_chain_file_that_smtpd_cannot_see(lab: Lab) -> None:
    """Postfix finds no file where the tool sees one: it is taken back after verify_timeout, critical, both records stay, until it is mended."""
    found = adopted_under_strace(lab, SPANS)
    with steady_mail(lab) as mail:
        new = written(lab, found)
        lab.mx.disarm_reload(lab.chain_file.parent)
        (seen_by_postfix,) = lab.mx.directory.glob("stale-*/mail.pem")
        blind = wall()
        seen_by_postfix.unlink()
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
        healed = wall()
        advance_until(lab, lambda it: "endpoint-failing" not in codes(it))
        ids = lab.load.send(10)
    all_sent(lab, ids)
    assert put_off_within(mail(), (blind, healed)) > 0, "smtpd was not blind"
    assert lab.mail.other == 0
    lab.rollover("rollback", "mail", "--to", new.fingerprint, check=0)  # what the hint says, once it is mended
    advance_to(lab, "steady")
    only_serves(lab, new)
