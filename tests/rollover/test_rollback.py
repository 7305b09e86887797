"""`rollback` in each state of a rollover, with and without the wait; and the lineage that still holds what was rejected."""

from __future__ import annotations

import re
import time
from typing import Any

import pytest

from tests.lab import Certificate, Lab, wait_for
from tests.lab import addresses as at
from tests.rollover.driving import (
    advance_until,
    alone_in_dns,
    codes,
    fill_caches,
    goal,
    history,
    left_by_advance,
    nothing_deferred,
    only_serves,
    served_leaf,
    steady_mail,
    tick,
    to_the_end,
    two_lines,
    untouched,
)


def adopted(lab: Lab, **changes: Any) -> Certificate:
    """Adopt the service under a configuration with *changes*; return the certificate that comes next."""
    lab.configure(check_every="1m", **changes)
    lab.rollover("adopt", "mail", check=0)
    return lab.certificate()


def both(lab: Lab, new: Certificate) -> tuple[str, ...]:
    """Return the RRset of the safe harbour: the first certificate's record and that of *new*."""
    return tuple(sorted((lab.old.tlsa, new.tlsa)))


def stays(lab: Lab, kept: Certificate, rejected: Certificate) -> None:
    """Assert that *kept* stays wanted and served, though hook and lineage hand over *rejected* again and again."""
    lab.configure(check_every="1m", source=str(rejected.directory), retain="1h")
    for _ in range(2):
        tick(lab)
        assert (goal(left_by_advance()), served_leaf(lab)) == (kept.fingerprint, kept.fingerprint)
    assert "is known; nothing to do" in lab.deploy(rejected, check=0).stdout
    tick(lab)
    assert (goal(left_by_advance()), served_leaf(lab)) == (kept.fingerprint, kept.fingerprint)


@pytest.mark.lab(ttl=2)
def test_a_certificate_that_was_never_installed_is_called_off(lab: Lab) -> None:
    """Before the install the old one is wanted again at once, the new record goes, and nothing brings it back."""
    new = adopted(lab, min_wait="1h")

    with steady_mail(lab) as mail:
        fill_caches(lab)
        lab.deploy(new, check=0)
        tick(lab)
        assert left_by_advance()["phase"] == "waiting"
        with untouched(lab):
            said = lab.rollover("rollback", "mail", "--dry-run", check=0).stdout
            assert f"certificate {lab.old.fingerprint[:16]} is wanted" in said

        fill_caches(lab)
        assert "no mail is deferred" in lab.rollover("rollback", "mail", check=0).stdout
        assert goal(left_by_advance()) == lab.old.fingerprint
        to_the_end(lab)
        alone_in_dns(lab, lab.old)
        stays(lab, lab.old, new)

    nothing_deferred(lab, mail())
    only_serves(lab, lab.old)
    assert not [e for e in history(lab) if e["kind"] == "install"]


@pytest.mark.lab(ttl=2)
def test_during_verification_the_old_certificate_comes_back_at_once(lab: Lab) -> None:
    """While another address still shows the old one, a rollback reinstalls it within the command."""
    lab.second_mx(lab.old)
    new = adopted(lab, addresses=[at.MX, at.MX_SECOND], verify_timeout="60s")

    with steady_mail(lab) as mail:
        fill_caches(lab)
        lab.deploy(new, check=0)
        advance_until(lab, lambda it: it["phase"] == "verifying" and lab.served() == new.spki)
        assert "at once" in lab.rollover("rollback", "mail", check=0).stdout
        assert served_leaf(lab) == lab.old.fingerprint
        to_the_end(lab)

    nothing_deferred(lab, mail())
    only_serves(lab, lab.old)


@pytest.mark.lab(ttl=2)
def test_while_the_old_record_is_kept_a_rollback_is_instant(lab: Lab) -> None:
    """An active certificate is replaced within the command; the lineage that still holds it does not win."""
    new = adopted(lab, retain="1h")

    with steady_mail(lab) as mail:
        fill_caches(lab)
        lab.deploy(new, "--wait", check=0)
        assert (left_by_advance()["phase"], lab.served()) == ("retaining", new.spki)
        fill_caches(lab)
        said = lab.rollover("rollback", "mail", check=0).stdout
        assert "still published everywhere: it is installed at once, no mail is deferred" in said
        it = left_by_advance()
        assert (it["phase"], it["level"], served_leaf(lab)) == ("retaining", "ok", lab.old.fingerprint)
        stays(lab, lab.old, new)

        # Asked again it stays, too: only a name brings the rejected one back, and that is instant as well.
        assert "nothing changes" in lab.rollover("rollback", "mail", check=0).stdout
        assert served_leaf(lab) == lab.old.fingerprint
        lab.rollover("rollback", "mail", "--to", new.fingerprint[:12].upper(), check=0)
        assert served_leaf(lab) == new.fingerprint

    nothing_deferred(lab, mail())
    assert lab.primary.tlsa().records == both(lab, new)


@pytest.mark.lab(ttl=2)
def test_a_rollback_in_the_middle_of_a_withdrawal_waits_for_every_server(lab: Lab) -> None:
    """The old record is gone from the primary and not from the secondary: it is published, waited for, installed."""
    new = adopted(lab, retain="1s", drain="1s")

    with steady_mail(lab) as mail:
        fill_caches(lab)
        lab.deploy(new, "--wait", check=0)
        lab.secondary.stop_transfers()
        advance_until(lab, lambda _: lab.primary.tlsa().records == (new.tlsa,))
        assert lab.secondary.tlsa().records == both(lab, new)
        for sender in lab.senders:
            sender.resolver.ask_only(at.PRIMARY)
        fill_caches(lab)

        lab.rollover("rollback", "mail", check=0)
        assert lab.primary.tlsa().records == both(lab, new)
        time.sleep(2 * lab.ttl)  # the old RRset would be gone from caches, were it not for the secondary
        lab.rollover("advance", "mail", check=75)
        assert "secondary-stale" in codes(left_by_advance())
        assert lab.served() == new.spki, "nothing is installed while a server is behind"
        lab.secondary.resume_transfers()
        to_the_end(lab)

    nothing_deferred(lab, mail())
    only_serves(lab, lab.old)


@pytest.mark.lab(ttl=3)
def test_a_removed_certificate_comes_back_after_the_wait_or_without_it(lab: Lab) -> None:
    """It is published, waited for, installed: none is deferred. `--now` says how long mail will be, and it is so."""
    new = adopted(lab, retain="1s", drain="1s")
    lab.deploy(new, check=0)
    to_the_end(lab)
    alone_in_dns(lab, new)

    with steady_mail(lab) as mail:
        fill_caches(lab)
        said = lab.rollover("rollback", "mail", check=0).stdout
        assert "after its record was published, seen on every server, and waited for" in said
        assert lab.served() == new.spki
        assert "nothing changes" in lab.rollover("rollback", "mail", check=0).stdout, "one is under way"
        to_the_end(lab)
    nothing_deferred(lab, mail())
    only_serves(lab, lab.old)

    ttl = 10  # so that what was announced can be told from what a slow machine adds
    lab.primary.update(f"update add {at.OWNER} {ttl} TLSA {lab.old.tlsa}")
    wait_for(lambda: lab.secondary.tlsa().ttl == ttl, "the secondary follows")
    tick(lab)

    with steady_mail(lab) as mail:
        fill_caches(lab)
        said = lab.rollover("rollback", "mail", "--to", new.fingerprint, "--now", check=0).stdout
        announced = re.search(r"the old records of (\S+) will defer mail for up to (\d+) s from when its record", said)
        assert announced, said
        assert announced.groups() == (at.OWNER, str(ttl))
        assert said.index("will defer") < said.index("is wanted"), "it is said first"
        assert lab.served() == new.spki, "it did not wait"
        wait_for(lambda: mail().deferred, "caches defer mail, as was announced", ttl)
        time.sleep(ttl)  # all servers had the record before the command returned
        end = lab.mail.mark()
        to_the_end(lab)
    print(f"\n--now: {mail()}")
    assert lab.mail.since(end).sent
    assert (lab.mail.since(end).deferred, lab.mail.since(end).other) == (0, 0)
    only_serves(lab, new)


@pytest.mark.lab(ttl=2, senders=False)
def test_what_cannot_be_served_is_refused(lab: Lab) -> None:
    """No previous one, an unknown one, an expired one, one whose key is gone: 65, what helps instead, nothing changed."""
    new = adopted(lab, min_wait="1h")

    def refused(*words: str, **options: str) -> tuple[str, str]:
        with untouched(lab):
            done = lab.rollover("rollback", "mail", *words, check=65, **options)
        return two_lines(done.stderr)

    message, hint = refused()
    assert message == "there is no previous certificate"
    assert "--to FINGERPRINT" in hint
    lab.deploy(new, check=0)
    assert "is no certificate in the vault" in refused("--to", "0123456789")[0]
    assert "eight digits or more" in refused("--to", lab.old.fingerprint[:7])[1]
    message, hint = refused(offset="+100d")
    assert f"certificate {lab.old.fingerprint[:16]} expired at " in message
    assert "renew instead" in hint
    (lab.state_directory / "vault" / "keys" / f"{lab.old.spki}.pem").unlink()
    message, hint = refused()
    assert message == f"certificate {lab.old.fingerprint[:16]} or its key is not in the vault any more"
    assert "rollover deploy FULLCHAIN KEY" in hint
    assert goal(left_by_advance()) == new.fingerprint
