"""A service comes under care, is left alone for a while, and leaves: `adopt --dry-run`, `pause`, `resume`, `release`."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.lab import Lab, wait_for
from tests.lab import addresses as at
from tests.lab.process import run
from tests.rollover.driving import (
    advance_until,
    alone_in_dns,
    begin_tool,
    codes,
    fill_caches,
    goal,
    history,
    instant,
    left_by_advance,
    nothing_deferred,
    only_serves,
    served_if_any,
    served_leaf,
    service,
    steady_mail,
    tick,
    to_the_end,
    two_lines,
    untouched,
)


def configured(lab: Lab) -> dict[str, list[str]]:
    """Return all that is set of the MX: parameters, services, parameters of services. Their order may change."""
    return {
        option: sorted(run(["postconf", "-c", lab.mx.config_directory, option]).splitlines())
        for option in ("-n", "-M", "-P")
    }


@pytest.mark.fault(80)
@pytest.mark.lab(ttl=2)
def test_release_gives_postfix_back_and_leaves_valid_records(lab: Lab) -> None:
    """It is refused while the previous files hold what DNS does not match; the way that the hint names leads out.

    Postfix is as before then, to the last parameter, and for longer than a TTL no mail is deferred.
    """
    before = configured(lab)
    lab.configure(check_every="1m", retain="1s", drain="1s")
    lab.rollover("adopt", "mail", check=0)
    assert configured(lab) != before
    new = lab.certificate()
    lab.deploy(new, check=0)
    to_the_end(lab)
    ours = configured(lab)

    with steady_mail(lab) as mail:
        refused = lab.rollover("release", "mail")
        message, hint = two_lines(refused.stderr)
        assert refused.returncode == 69
        assert f"certificate {lab.old.fingerprint[:16]}, which {at.OWNER} does not match" in message
        assert (configured(lab), lab.served()) == (ours, new.spki)
        tick(lab)
        assert (left_by_advance()["phase"], left_by_advance()["level"]) == ("steady", "ok"), "it is cared for as before"

        commands = re.findall(r"`rollover ([^`]+)`", hint)
        assert len(commands) == 2, hint
        fill_caches(lab)
        for command in commands:
            lab.rollover(*command.split(), check=0)
        lab.rollover("release", "mail", check=0)
        assert (configured(lab), served_leaf(lab)) == (before, lab.old.fingerprint)
        assert lab.old.tlsa in lab.primary.tlsa().records
        lab.rollover("advance", check=0)
        time.sleep(lab.ttl + 1)  # no cache holds what was there while it was released

    nothing_deferred(lab, mail())
    assert lab.old.tlsa in lab.primary.tlsa().records
    assert service(lab)["phase"] == "unadopted"
    assert configured(lab) == before


@pytest.mark.lab(ttl=2, chain_file=True)
def test_a_released_service_can_be_adopted_again(lab: Lab) -> None:
    """What lay in the live file since is not served for a moment: DNS may not have its record any more."""
    before = configured(lab)
    lab.configure(check_every="1m", retain="1s", drain="1s")
    lab.rollover("adopt", "mail", check=0)
    with steady_mail(lab) as mail:
        lab.rollover("release", "mail", check=0)
        assert configured(lab) == before
        time.sleep(lab.ttl + 1)
    nothing_deferred(lab, mail())
    assert lab.primary.tlsa().records == (lab.old.tlsa,)

    # Then somebody changes the certificate by hand, as slowly as DANE wants it.
    by_hand = lab.certificate()
    lab.primary.update(f"update add {at.OWNER} 2 TLSA {by_hand.tlsa}")
    wait_for(lambda: by_hand.tlsa in lab.secondary.tlsa().records, "the secondary follows")
    time.sleep(2 * lab.ttl)
    Path(lab.mx.get("smtpd_tls_chain_files")).write_bytes(by_hand.privkey.read_bytes() + by_hand.fullchain.read_bytes())
    lab.mx.reload()
    wait_for(lambda: lab.served() == by_hand.spki, "Postfix presents it")
    lab.primary.update(f"update delete {at.OWNER} TLSA {lab.old.tlsa}")
    alone_in_dns(lab, by_hand)

    with steady_mail(lab) as mail:
        fill_caches(lab)
        lab.rollover("adopt", "mail", check=0)
        assert served_leaf(lab) == by_hand.fingerprint
        to_the_end(lab, but={"caches-stale"})  # for all the tool knows the record was changed just now
        advance_until(lab, lambda it: not it["problems"])

    nothing_deferred(lab, mail())
    only_serves(lab, by_hand)


@pytest.mark.lab(ttl=3)
def test_release_withdraws_and_waits_before_postfix_goes_back(lab: Lab) -> None:
    """`--withdraw`: no record is left, and Postfix's previous certificate is served once nobody can hold one."""
    before = configured(lab)
    lab.configure(check_every="1m", retain="1s", drain="1s")
    lab.rollover("adopt", "mail", check=0)
    new = lab.certificate()
    lab.deploy(new, check=0)
    to_the_end(lab)

    with steady_mail(lab) as mail:
        fill_caches(lab)
        said = lab.rollover("release", "mail", "--withdraw", check=0).stdout
        assert (configured(lab), served_leaf(lab)) == (before, lab.old.fingerprint)
        time.sleep(1)  # some mail to the certificate that no record ever named

    counts = mail()
    assert (counts.deferred, counts.bounced) == (0, 0), counts.reasons
    assert counts.verified, "until the records were gone from caches"
    assert counts.other, "after that, TLS without DANE"
    waits = [int(seconds) for seconds in re.findall(r"until no resolver can hold the records: (\d+) s", said)]
    assert max(waits) >= 2 * lab.ttl - 1, said
    assert "no resolver can hold the records any more" in said
    assert "DANE is off" in said
    assert lab.primary.tlsa().records == () == lab.secondary.tlsa().records
    assert service(lab)["phase"] == "unadopted"


@pytest.mark.lab(ttl=2, senders=False)
def test_a_withdrawal_that_is_refused_changes_nothing(lab: Lab) -> None:
    """In a frozen zone `release --withdraw` fails and says so; the service is under care as before, at once."""
    lab.configure(check_every="1m")
    lab.rollover("adopt", "mail", check=0)
    ours = configured(lab)
    lab.primary.freeze()

    refused = lab.rollover("release", "mail", "--withdraw")

    assert refused.returncode == 77
    assert "REFUSED" in two_lines(refused.stderr)[0]
    lab.rollover("advance", "mail", check=0)
    assert (left_by_advance()["phase"], left_by_advance()["level"]) == ("steady", "ok")
    assert (configured(lab), lab.primary.tlsa().records) == (ours, (lab.old.tlsa,))
    lab.primary.thaw()
    lab.rollover("release", "mail", "--withdraw", check=0)
    assert lab.primary.tlsa().records == ()


@pytest.mark.lab(ttl=2, senders=False)
def test_a_key_that_is_not_there_any_more_is_not_given_back(lab: Lab) -> None:
    """Without its own key Postfix would offer no TLS to senders that insist on it: refused before anything is changed."""
    before = configured(lab)
    key = Path(lab.mx.get("smtpd_tls_key_file"))
    kept = key.read_bytes()
    lab.configure(check_every="1m")
    lab.rollover("adopt", "mail", check=0)
    ours = configured(lab)

    for content, why in ((None, f"{key}: No such file"), (lab.certificate().privkey.read_bytes(), "not that of the")):
        key.unlink(missing_ok=True)
        if content is not None:
            key.write_bytes(content)
        for words in ((), ("--withdraw",)):
            message, hint = two_lines(lab.rollover("release", "mail", *words, check=69).stderr)
            assert why in message
            assert str(key) in message
            assert str(lab.chain_file) in hint, "what goes on being served, and a key that fits"
            assert (configured(lab), lab.primary.tlsa().records) == (ours, (lab.old.tlsa,))
        tick(lab)
        assert (left_by_advance()["phase"], left_by_advance()["level"]) == ("steady", "ok"), "it is cared for as before"
        assert lab.served() == lab.old.spki

    key.write_bytes(kept)
    lab.rollover("release", "mail", check=0)
    assert (configured(lab), served_leaf(lab)) == (before, lab.old.fingerprint)


@pytest.mark.lab(ttl=2, senders=False)
def test_an_instance_with_the_parameters_for_ecdsa_alone_is_released(lab: Lab) -> None:
    """What was adopted from `smtpd_tls_eccert_file` goes back to it."""
    run(["postconf", "-c", lab.mx.config_directory, "-X", "smtpd_tls_cert_file", "smtpd_tls_key_file"])
    tls = lab.directory / "mx" / "tls"
    lab.mx.postconf(f"smtpd_tls_eccert_file={tls}/cert.pem", f"smtpd_tls_eckey_file={tls}/key.pem")
    lab.mx.reload()
    before = configured(lab)
    lab.configure(check_every="1m")
    lab.rollover("adopt", "mail", check=0)
    assert configured(lab) != before

    lab.rollover("release", "mail", check=0)

    assert (configured(lab), served_leaf(lab)) == (before, lab.old.fingerprint)
    assert service(lab)["phase"] == "unadopted"


@contextmanager
def keyless(lab: Lab) -> Iterator[None]:
    """Let Postfix lose the key of before, where the tool still sees it: as in a container, or with SELinux."""
    tls = lab.directory / "mx" / "tls"
    copies = {path.name: path.read_bytes() for path in tls.iterdir()}
    lost = tls / "key.pem"
    lost.unlink()
    run(["mount", "-t", "tmpfs", "-o", "size=64k,mode=0700", "tmpfs", tls])
    try:
        for name, content in copies.items():
            (tls / name).write_bytes(content)
        yield
    finally:
        run(["umount", "-l", tls])
        lost.write_bytes(copies[lost.name])


@pytest.mark.lab(ttl=2, senders=False)
def test_what_does_not_work_when_it_was_given_back_is_taken_away_again(lab: Lab) -> None:
    """Postfix offers no TLS with its previous parameters: it reads the live file again, and stays under care.

    So it does when that release was killed, nobody knows when, and is given again.
    """
    before = configured(lab)
    lab.configure(check_every="1m", verify_timeout="5s")
    lab.rollover("adopt", "mail", check=0)
    ours = configured(lab)

    with keyless(lab):
        message, hint = two_lines(lab.rollover("release", "mail", check=69).stderr)
        assert f"not every endpoint presents what is in {lab.directory}/mx/tls/cert.pem" in message
        assert f"to read {lab.chain_file} again, and mail stays adopted" in message
        assert "mail log" in hint
        assert configured(lab) == ours
        wait_for(lambda: served_if_any(lab) == lab.old.spki, "the live file is served again")
        assert "not-released" in {event["kind"] for event in history(lab)}
        to_the_end(lab)
        assert (left_by_advance()["phase"], left_by_advance()["level"]) == ("steady", "ok")

        killed = begin_tool(lab, "release", "mail")
        wait_for(lambda: configured(lab) == before, "it has given the parameters back")
        wait_for(lambda: not served_if_any(lab), "Postfix offers no TLS")
        killed.kill()
        killed.communicate()
        lab.rollover("advance", "mail")
        assert not served_if_any(lab)
        assert left_by_advance()["level"] == "critical"
        lab.rollover("release", "mail", check=69)
        assert configured(lab) == ours
        wait_for(lambda: served_if_any(lab) == lab.old.spki, "the live file is served again")
        to_the_end(lab)

    lab.rollover("release", "mail", check=0)
    assert (configured(lab), served_leaf(lab)) == (before, lab.old.fingerprint)
    assert lab.primary.tlsa().records == (lab.old.tlsa,)


@pytest.mark.lab(ttl=2, senders=False)
def test_adopt_says_beforehand_what_it_would_do(lab: Lab) -> None:
    """`adopt --dry-run` tells whose each record is and what it would write; not even the state directory comes of it."""
    foreign = f"3 1 1 {'ab' * 32}"
    lab.primary.update(f"update add {at.OWNER} 2 TLSA {foreign}")

    with untouched(lab):
        plan = lab.rollover("adopt", "mail", "--dry-run", check=0).stdout.splitlines()

    assert not lab.state_directory.exists()
    assert f"{at.OWNER}: {lab.old.tlsa}: matches what is served" in plan
    assert f"{at.OWNER}: {foreign}: matches nothing seen; it stays" in plan
    assert any(
        x.startswith(f"would stage certificate {lab.old.fingerprint[:16]} of smtpd_tls_cert_file = ") for x in plan
    )
    assert f"would write {lab.chain_file}" in plan
    assert any(f"would set in {lab.mx.config_directory}: smtpd_tls_chain_files = {lab.chain_file}" in x for x in plan)

    lab.rollover("adopt", "mail", "--remove", foreign, check=0)
    with untouched(lab):
        again = lab.rollover("adopt", "mail", "--dry-run", check=0).stdout.splitlines()
    assert f"{at.OWNER}: {lab.old.tlsa}: ours" in again
    assert not [x for x in again if x.startswith("would")]


@pytest.mark.lab(ttl=2, senders=False)
def test_a_paused_service_stands_still_but_for_what_protects_it(lab: Lab) -> None:
    """A certificate is kept and not published; a record that goes missing comes back; then it goes on by itself or not."""
    lab.configure(check_every="1m")
    lab.rollover("adopt", "mail", check=0)
    lab.rollover("pause", "mail", check=0)
    new = lab.certificate()

    lab.deploy(new, check=0)
    tick(lab)
    it = left_by_advance()
    assert (it["phase"], codes(it), goal(it)) == ("paused", {"paused"}, new.fingerprint)
    assert lab.rollover("status").returncode == 1
    assert lab.primary.tlsa().records == (lab.old.tlsa,)
    foreign = f"3 1 1 {'cd' * 32}"
    lab.primary.update(f"update delete {at.OWNER} TLSA\nupdate add {at.OWNER} 2 TLSA {foreign}")
    advance_until(lab, lambda it: codes(it) == {"paused"})  # until the secondary has followed, mail is deferred
    assert lab.primary.tlsa().records == tuple(sorted((lab.old.tlsa, foreign))), "what is served is protected"
    assert (left_by_advance()["phase"], lab.served()) == ("paused", lab.old.spki)

    lab.rollover("resume", "mail", check=0)
    assert new.tlsa in lab.primary.tlsa().records
    lab.rollover("pause", "mail", "--for", "1h", check=0)
    tick(lab)
    it = left_by_advance()
    assert (it["phase"], it["next"]["action"]) == ("paused", "resume")
    lab.rollover("pause", "mail", "--for", "6s", check=0)
    to_the_end(lab)
    at_instants = {event["kind"]: instant(event) for event in history(lab)}  # of each kind the last
    assert at_instants["install"] >= at_instants["paused"] + 6 - 1, "told in whole seconds"
    assert lab.served() == new.spki
    assert lab.primary.tlsa().records == tuple(sorted((new.tlsa, foreign)))
