"""`adopt`: a first record only when every address works, and nothing is left behind when it cannot be proven."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.lab import Lab, RRset, wait_for
from tests.lab import addresses as at
from tests.lab.maillog import Mark
from tests.lab.query import ask
from tests.rollover.driving import (
    advance_to,
    forget_caches,
    nothing_deferred,
    only_serves,
    service,
    steady_mail,
    to_the_end,
    two_lines,
)

SETTINGS = {"check_every": "30s", "retain": "1s", "drain": "1s"}
TTL = 2


def refused(lab: Lab) -> str:
    """Assert that `adopt` refuses and changes nothing in DNS or Postfix; return why."""
    parameters = (lab.mx.config_directory / "main.cf").read_text()
    done = lab.rollover("adopt", "mail", check=69)
    assert not lab.primary.tlsa()
    assert (lab.mx.config_directory / "main.cf").read_text() == parameters
    assert not lab.chain_file.exists()
    return two_lines(done.stderr)[0]


@pytest.mark.lab(ttl=TTL, published=False, extra=f"{at.HOST} A {at.MX_SECOND}")
def test_a_first_record(lab: Lab) -> None:
    """It is published only when every address was seen to work; from then on mail is Verified, none is deferred."""
    lab.configure(**SETTINGS)
    with steady_mail(lab) as mail:
        assert f"{at.MX_SECOND}:25" in refused(lab), "nobody is there"
        another = lab.second_mx(lab.certificate())
        why = refused(lab)
        assert f"{at.MX_SECOND}:25" in why
        assert "presents certificate" in why
        lab.primary.update(f"update delete {at.HOST} A {at.MX_SECOND}")
        for server in (at.PRIMARY, at.SECONDARY):  # the signed zone follows the update by a moment
            wait_for(
                lambda server=server: ask(server, at.HOST, "A").rrset.records == (at.MX,),
                f"{server} has one address left",
            )
        forget_caches(lab)
        plan = lab.rollover("adopt", "mail", "--dry-run", check=0).stdout
        assert f"would publish the first record at {at.OWNER}: DANE is on from then" in plan
        assert not lab.primary.tlsa()
        said = lab.rollover("adopt", "mail", check=0).stdout
        assert "the first one turns DANE on" in said
        assert lab.primary.tlsa() == RRset((lab.old.tlsa,), 3600)
        wait_for(lambda: lab.secondary.tlsa().records, "the secondary follows")
        forget_caches(lab)
        on = wait_for(lambda: _since_when_verified(lab), "what was under way had looked for records before")
        advance_to(lab, "steady")
    another.stop()
    nothing_deferred(lab, lab.mail.since(on))
    counts = mail()
    assert (counts.deferred, counts.bounced) == (0, 0), counts.reasons
    assert counts.other > 0, "DANE was off"
    only_serves(lab, lab.old)


def _since_when_verified(lab: Lab) -> Mark | None:
    """Wait for twenty connections that are Verified; return the instant before them, None if others were among them."""
    begin = lab.mail.mark()
    wait_for(lambda: lab.mail.since(begin).verified >= 20, "mail goes on")
    return None if lab.mail.since(begin).other else begin


@pytest.mark.lab(ttl=TTL, published=False)
def test_a_first_record_and_a_certificate_right_after_it(lab: Lab) -> None:
    """The first record has the configured TTL; a new certificate right after it rolls over like any other."""
    lab.configure(**SETTINGS, ttl=f"{TTL}s")
    new = lab.certificate()
    with steady_mail(lab) as mail:
        for sender in lab.senders:
            sender.resolver.fill(at.OWNER)  # what they hold now is that there is no record
        lab.rollover("adopt", "mail", check=0)
        assert lab.primary.tlsa() == RRset((lab.old.tlsa,), TTL)
        lab.deploy(new, check=0)
        advance_to(lab, "steady")
    counts = mail()
    assert (counts.deferred, counts.bounced) == (0, 0), counts.reasons
    assert counts.verified > 0
    only_serves(lab, new)


@pytest.mark.lab(ttl=TTL, senders=False)
def test_postfix_cannot_see_the_live_file(lab: Lab) -> None:
    """A live directory out of Postfix's sight, as in a container: adopt fails, Postfix has its parameters back."""
    lab.configure(**SETTINGS)
    before = (lab.mx.config_directory / "main.cf").read_text()
    live = lab.chain_file.parent
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k,mode=0700", "tmpfs", live], check=True)
    try:
        message, hint = two_lines(lab.rollover("adopt", "mail", check=69).stderr)
        assert str(lab.chain_file) in message
        assert "parameters are as before" in message
        assert "SELinux" in hint
    finally:
        subprocess.run(["umount", "-l", live], check=True)
    wait_for(lambda: lab.served() == lab.old.spki, "the certificate of before is served")
    after = (lab.mx.config_directory / "main.cf").read_text()
    assert sorted(after.split()) == sorted(before.split())
    assert (service(lab)["phase"], service(lab)["level"]) == ("unadopted", "warning")
    lab.rollover("adopt", "mail", check=0)
    only_serves(lab, lab.old)


@pytest.mark.lab(ttl=TTL, senders=False)
def test_a_daemon_with_key_and_certificate_in_two_files(lab: Lab) -> None:
    """An install by command with `cert_file` and `key_file` is adopted as it is, and rolls over."""
    cert, key = (Path(lab.mx.get(f"smtpd_tls_{kind}_file")) for kind in ("cert", "key"))
    files = {"cert_file": str(cert), "key_file": str(key)}
    reload = ["postfix", "-c", str(lab.mx.config_directory), "reload"]
    lab.configure(**SETTINGS, install=[{"kind": "command", **files, "reload": reload}])
    new, other = lab.certificate(), lab.certificate()

    key.rename(key.with_suffix(".away"))
    message, _ = two_lines(lab.rollover("adopt", "mail", check=78).stderr)
    assert f"{key} does not exist" in message
    key.write_bytes(other.privkey.read_bytes())
    message, _ = two_lines(lab.rollover("adopt", "mail", check=78).stderr)
    assert "the key is not that of the certificate" in message
    key.with_suffix(".away").rename(key)

    before = cert.read_bytes(), key.read_bytes()
    said = lab.rollover("adopt", "mail", check=0).stdout
    assert f"adopted certificate {lab.old.fingerprint[:16]} ({cert} and {key})" in said
    assert (cert.read_bytes(), key.read_bytes()) == before
    lab.deploy(new, check=0)
    advance_to(lab, "steady")
    only_serves(lab, new)


@pytest.mark.lab(ttl=TTL, senders=False)
def test_a_primary_that_does_not_say_which_records_there_are(lab: Lab) -> None:
    """Which records are ours is decided once: without the primary's word adopt changes nothing, and can be repeated."""
    lab.configure(**SETTINGS, timeout="3s", addresses=[at.MX])  # the addresses need no name server that answers
    parameters = (lab.mx.config_directory / "main.cf").read_text()
    lab.primary.stop()
    message, hint = two_lines(lab.rollover("adopt", "mail", check=69).stderr)
    assert "did not say which records" in message
    assert "`rollover check`" in hint
    assert (lab.mx.config_directory / "main.cf").read_text() == parameters
    assert not lab.chain_file.exists()
    lab.primary.start()
    lab.rollover("adopt", "mail", check=0)
    new = lab.certificate()
    lab.deploy(new)
    to_the_end(lab)
    only_serves(lab, new)
