"""A mail server that does not do its part: the old record stays, status says it, and it goes back where that helps."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.lab import Lab, wait_for
from tests.lab.certificates import Certificate
from tests.rollover.deferrals import all_sent, put_off_within, wall
from tests.rollover.driving import (
    advance_to,
    advance_until,
    codes,
    fill_caches,
    goal,
    history,
    instant,
    left_by_advance,
    nothing_deferred,
    only_serves,
    problem,
    served_if_any,
    service,
    steady_mail,
)
from tests.rollover.written import live_leaf

TTL = 2
VERIFY = 4
THROTTLE = 5  # seconds for which master leaves an smtpd alone that died: the lab's service_throttle_time
SLACK = 30  # seconds that a busy machine may add to a bound


def adopted(lab: Lab, **changes: object) -> None:
    """Let the tool take over, with short spans."""
    lab.configure(check_every="30s", retain="2s", drain="1s", verify_timeout=f"{VERIFY}s", **changes)
    lab.rollover("adopt", "mail", check=0)


def refuse_rsa(lab: Lab) -> None:
    """Harden Postfix for ECDSA, as an administrator may: an RSA certificate shares no cipher with anybody."""
    lab.mx.postconf(
        "smtpd_tls_protocols = TLSv1.2",
        "smtpd_tls_mandatory_protocols = TLSv1.2",
        "tls_high_cipherlist = ECDHE+aECDSA+AESGCM",
        "tls_medium_cipherlist = ECDHE+aECDSA+AESGCM",
        "smtpd_tls_ciphers = high",
    )
    lab.mx.reload()


def both_published(lab: Lab, new: Certificate) -> None:
    """Assert that the old record never went, and the new one is beside it."""
    assert lab.primary.tlsa().records == tuple(sorted((lab.old.tlsa, new.tlsa)))


@pytest.mark.fault(53)
@pytest.mark.lab(ttl=TTL)
def test_a_reload_that_changes_nothing(lab: Lab) -> None:
    """While Postfix goes on with the old certificate its record stays; it is critical, reloaded again, and done once it helps.

    No mail is deferred, but for the moment in which a person stops Postfix.
    """
    adopted(lab)
    new = lab.certificate()
    begin = lab.mail.mark()
    with steady_mail(lab) as mail:
        fill_caches(lab)
        lab.mx.disarm_reload()
        lab.deploy(new, check=0)
        it = advance_until(lab, lambda it: "endpoint-old" in codes(it, "critical"))
        assert lab.old.fingerprint[:16] in problem(it, "endpoint-old")["message"]
        assert it["phase"] == "verifying"
        for _ in range(3):
            assert lab.rollover("advance").returncode == 1
            both_published(lab, new)
            assert lab.served() == lab.old.spki
        assert lab.rollover("status").returncode == 2
        assert "loaded again" in lab.rollover("history", "mail").stdout
        lab.mx.rearm_reload()
        before, stopped = lab.mail.mark(), wall()
        lab.mx.stop()
        lab.mx.start()  # what the hint says
        started = wall()
        advance_to(lab, "steady")
    only_serves(lab, new)
    nothing_deferred(lab, lab.mail.between(begin, before))
    put_off_within(mail(), (stopped, started))
    assert lab.mail.other == 0
    assert not [reason for reason in lab.mail.reasons if "certificate" in reason.lower()]


@pytest.mark.fault(52)
@pytest.mark.lab(ttl=TTL)
def test_a_certificate_that_does_not_work_is_taken_back(lab: Lab) -> None:
    """TLS fails with the new certificate: after verify_timeout the old one is back by itself, and stays back."""
    adopted(lab)
    refuse_rsa(lab)
    new = lab.certificate(key="rsa")
    with steady_mail(lab) as mail:
        fill_caches(lab)
        lab.deploy(new, check=0)
        it = advance_until(lab, lambda it: "returned" in codes(it) and it["phase"] != "rolling-back")
        assert new.fingerprint[:16] in problem(it, "returned")["message"]
        assert problem(it, "returned")["level"] == "critical"
        wait_for(lambda: lab.served() == lab.old.spki, "the old certificate is served again")
        back = wall()
        for _ in range(3):
            assert lab.rollover("advance").returncode == 1
            assert lab.served() == lab.old.spki
        ids = lab.load.send(20)
    all_sent(lab, ids)
    installed, again = (instant(event) for event in history(lab) if event["kind"] == "install")
    assert put_off_within(mail(), (installed, back)) > 0, "a certificate that works was taken back"
    assert back - installed <= VERIFY + SLACK, "no longer than it took to be sure"
    assert again - installed >= VERIFY - 1, "told in whole seconds"
    assert lab.mail.other == 0
    assert lab.old.tlsa in lab.primary.tlsa().records
    told = lab.rollover("status")
    assert told.returncode == 2
    assert "was taken back" in told.stdout
    # A person mends the cause and tries it again.
    lab.mx.postconf("tls_high_cipherlist = ECDHE+AESGCM", "tls_medium_cipherlist = ECDHE+AESGCM")
    lab.mx.reload()
    lab.rollover("rollback", "mail", "--to", new.fingerprint, check=0)
    advance_to(lab, "steady")
    only_serves(lab, new)


@pytest.mark.fault(52)
@pytest.mark.lab(ttl=TTL, senders=False)
def test_a_resolver_that_dies_while_a_new_certificate_fails(lab: Lab) -> None:
    """The old certificate is back all the same; that it is proven everywhere is said only when the resolver lives again."""
    adopted(lab)
    lab.configure(check_every="30s", retain="2s", drain="1s", verify_timeout="12s", timeout="2s")
    refuse_rsa(lab)
    new = lab.certificate(key="rsa")
    lab.deploy(new, check=0)
    with ThreadPoolExecutor(1) as pool:
        ticks = pool.submit(advance_until, lab, lambda it: goal(it) == lab.old.fingerprint, seconds=90)
        wait_for(lambda: live_leaf(lab) == new.fingerprint or ticks.done(), "the new certificate is installed", 60)
        lab.resolver.stop()
        ticks.result()
    advance_until(lab, lambda _: live_leaf(lab) == lab.old.fingerprint, seconds=60)
    wait_for(lambda: served_if_any(lab) == lab.old.spki, "the old certificate is served again")
    for _ in range(2):
        lab.rollover("advance", "mail")
        assert left_by_advance()["phase"] == "rolling-back"
        both_published(lab, new)
    lab.resolver.start()
    it = advance_until(lab, lambda it: it["phase"] not in {"rolling-back", "verifying"})
    assert new.fingerprint[:16] in problem(it, "returned")["message"]
    assert lab.served() == lab.old.spki
    assert lab.old.tlsa in lab.primary.tlsa().records


@pytest.mark.fault(52)
@pytest.mark.lab(ttl=TTL)
def test_a_main_cf_that_kills_smtpd(lab: Lab) -> None:
    """main.cf breaks just before the install: critical, the old file is back, no record gone; mail flows once it is mended."""
    adopted(lab)
    new = lab.certificate()
    with steady_mail(lab) as mail:
        fill_caches(lab)
        lab.deploy(new, check=0)
        advance_to(lab, "waiting")
        broken = wall()
        lab.mx.break_main_cf()
        it = advance_until(lab, lambda it: "returned" in codes(it), each=lambda _: both_published(lab, new))
        assert it["level"] == "critical"
        assert "endpoint-failing" in codes(it, "critical")
        advance_until(lab, lambda _: live_leaf(lab) == lab.old.fingerprint, each=lambda _: both_published(lab, new))
        lab.mx.repair_main_cf()
        repaired = wall()
        wait_for(lambda: served_if_any(lab) == lab.old.spki, "smtpd lives again, with the old certificate", 60)
        lives = wall()
        advance_until(lab, lambda it: "endpoint-failing" not in codes(it))
        ids = lab.load.send(20)
    all_sent(lab, ids)
    assert lives - repaired <= THROTTLE + SLACK, "nothing of ours keeps it down"
    put_off_within(mail(), (broken, lives))
    assert lab.mail.other == 0
    assert not [reason for reason in lab.mail.reasons if "certificate" in reason.lower()]
    both_published(lab, new)
    assert service(lab)["level"] == "critical", "a person has to look why it was taken back"


@pytest.mark.lab(ttl=TTL)
def test_main_cf_pointed_elsewhere_before_the_install(lab: Lab) -> None:
    """Postfix reads another file: nothing is installed, it says which; `adopt`, as hinted, lets it go on."""
    adopted(lab)
    new = lab.certificate()
    elsewhere = lab.directory / "elsewhere.pem"
    elsewhere.write_bytes(lab.chain_file.read_bytes())
    elsewhere.chmod(0o600)
    with steady_mail(lab):
        fill_caches(lab)
        lab.deploy(new, check=0)
        lab.mx.postconf(f"smtpd_tls_chain_files = {elsewhere}")
        lab.mx.reload()
        it = advance_to(lab, "blocked")
        told = problem(it, "wiring")
        assert str(elsewhere) in told["message"]
        assert "rollover adopt mail" in told["hint"]
        for _ in range(2):
            assert lab.rollover("advance").returncode == 1
            assert left_by_advance()["phase"] == "blocked"
            both_published(lab, new)
        assert lab.served() == lab.old.spki
        assert "postconf" in lab.rollover("history", "mail").stdout, "how to finish by hand"
        lab.rollover("adopt", "mail", check=0)
        advance_to(lab, "steady")
    only_serves(lab, new)
    nothing_deferred(lab)


@pytest.mark.lab(ttl=TTL)
def test_a_live_file_that_somebody_spoils(lab: Lab) -> None:
    """A live file that Postfix cannot use is critical, and the next tick writes and loads it again.

    Until then every new smtpd refuses TLS: that mail is the spoiler's, and no tool's to save.
    """
    adopted(lab)
    stranger = lab.certificate()
    good = lab.chain_file.read_bytes()
    windows = []
    with steady_mail(lab) as mail:
        for spoiled in (b"", good[:300], stranger.privkey.read_bytes() + lab.old.fullchain.read_bytes()):
            since = wall()
            lab.chain_file.write_bytes(spoiled)
            fresh = lab.rollover("status", "--fresh")
            assert fresh.returncode == 2, fresh.stdout
            assert "live-file" in fresh.stdout
            lab.rollover("advance", "mail")
            assert lab.chain_file.read_bytes() == good
            assert "live-file" not in codes(left_by_advance())
            assert lab.served() == lab.old.spki
            windows.append((since, wall()))
    put_off_within(mail(), *windows)
    assert lab.mail.other == 0
    assert lab.primary.tlsa().records == (lab.old.tlsa,)
