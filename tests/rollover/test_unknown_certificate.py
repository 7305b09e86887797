"""A certificate that nobody handed over: critical, named, and its key never published."""

from __future__ import annotations

import pytest

from tests.lab import Certificate, Lab, wait_for
from tests.rollover.driving import (
    advance_to_full_wait,
    advance_until,
    at_the_worst_moment,
    codes,
    hand_over,
    left_by_advance,
    nothing_deferred,
    problem,
    steady_mail,
    tick,
    whole_rrset,
)

TTL = 2
SECOND = "127.0.0.26"


def adopted(lab: Lab, **changes: object) -> None:
    """Let the tool take over, with short spans."""
    lab.configure(check_every="30s", retain="2s", drain="1s", verify_timeout="4s", **changes)
    lab.rollover("adopt", "mail", check=0)


def never_published(lab: Lab, stranger: Certificate, *records: str) -> None:
    """Assert that the servers have these *records* and no other, and the vault nothing of *stranger*."""
    whole_rrset(lab, *records)
    assert not list(lab.state_directory.rglob(f"*{stranger.spki}*"))


@pytest.mark.lab(ttl=TTL)
def test_on_an_endpoint(lab: Lab) -> None:
    """Another host answers at one of the addresses: critical, with the place and the certificate, whatever is tried."""
    adopted(lab)
    stranger = lab.certificate()
    lab.second_mx(stranger, SECOND)  # in no sender's DNS: only the tool is told of it
    spans = {"check_every": "30s", "retain": "2s", "drain": "1s", "verify_timeout": "4s"}
    lab.configure(addresses=["127.0.0.25", SECOND], **spans)
    with steady_mail(lab) as mail:
        for _ in range(3):
            assert lab.rollover("advance", "mail").returncode == 1
            it = left_by_advance()
            told = problem(it, "unknown-certificate")
            assert told["level"] == "critical"
            assert SECOND in told["message"]
            assert stranger.fingerprint[:16] in told["message"]
            assert "rollover deploy" in told["hint"]
            never_published(lab, stranger, lab.old.tlsa)
        status = lab.rollover("status")
        assert status.returncode == 2
        assert status.stdout.startswith("CRITICAL mail:")
        # A renewal beside it: published, waited for, installed; the old record stays while not all is proven.
        new = lab.certificate()
        with at_the_worst_moment(lab):
            hand_over(lab, new)
        advance_to_full_wait(lab, TTL)
        assert lab.served() == lab.old.spki
        advance_until(lab, lambda _: lab.served() == new.spki)
        for _ in range(3):
            lab.rollover("advance", "mail")
        never_published(lab, stranger, lab.old.tlsa, new.tlsa)
    nothing_deferred(lab, mail())


@pytest.mark.lab(ttl=TTL, senders=False)
def test_in_the_live_file(lab: Lab) -> None:
    """Somebody writes another certificate into the live file: critical and named; the wanted one comes back, theirs is kept beside it."""
    adopted(lab)
    stranger = lab.certificate()
    theirs = stranger.privkey.read_bytes() + stranger.fullchain.read_bytes()
    lab.chain_file.write_bytes(theirs)
    fresh = lab.rollover("status", "--fresh", "--json")
    assert fresh.returncode == 2
    assert "unknown-certificate" in fresh.stdout
    assert str(lab.chain_file) in fresh.stdout
    assert stranger.fingerprint[:16] in fresh.stdout
    lab.rollover("advance", "mail")
    assert lab.old.fullchain.read_text().strip() in lab.chain_file.read_text()
    assert lab.chain_file.with_name(lab.chain_file.name + ".previous").read_bytes() == theirs
    assert lab.served() == lab.old.spki
    assert stranger.fingerprint[:16] in lab.rollover("history", "mail").stdout, "what was found there is on record"
    never_published(lab, stranger, lab.old.tlsa)


@pytest.mark.lab(ttl=TTL, senders=False)
def test_main_cf_pointed_at_it(lab: Lab) -> None:
    """Somebody points Postfix at another certificate: both are told, nothing of it is published, `adopt` sets it right."""
    adopted(lab)
    stranger = lab.certificate()
    elsewhere = lab.directory / "theirs.pem"
    elsewhere.write_bytes(stranger.privkey.read_bytes() + stranger.fullchain.read_bytes())
    elsewhere.chmod(0o600)
    lab.mx.postconf(f"smtpd_tls_chain_files = {elsewhere}")
    lab.mx.reload()
    wait_for(lambda: lab.served() == stranger.spki, "Postfix serves theirs")
    assert lab.rollover("advance", "mail").returncode == 1
    it = left_by_advance()
    assert {"unknown-certificate", "wiring", "mail-deferred"} <= codes(it, "critical")
    assert "being deferred" in lab.rollover("status").stdout.splitlines()[0]
    never_published(lab, stranger, lab.old.tlsa)
    refused = lab.rollover("adopt", "mail")
    assert refused.returncode == 69, refused.stdout + refused.stderr
    lab.mx.postconf(f"smtpd_tls_chain_files = {lab.chain_file}")
    lab.mx.reload()
    wait_for(lambda: lab.served() == lab.old.spki, "ours is served again")
    assert tick(lab)["level"] == "ok"
