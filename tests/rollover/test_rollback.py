"""`rollback` in each state of a rollover, with and without the wait; and the lineage that still holds what was rejected."""

from __future__ import annotations

import re
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.lab import Certificate, Lab, wait_for
from tests.lab import addresses as at
from tests.rollover.deferrals import arrived, put_off_within, wall
from tests.rollover.driving import (
    advance_until,
    alone_in_dns,
    codes,
    fill_caches,
    goal,
    history,
    instant,
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
from tests.rollover.written import adopted_under_strace, live_leaf, written

MINUTE = 60.0


def adopted(lab: Lab, **changes: Any) -> Certificate:
    """Adopt the service under a configuration with *changes*; return the certificate that comes next."""
    lab.configure(check_every="1m", **changes)
    lab.rollover("adopt", "mail", check=0)
    return lab.certificate()


def both(lab: Lab, new: Certificate) -> tuple[str, ...]:
    """Return the RRset of the safe harbour: the first certificate's record and that of *new*."""
    return tuple(sorted((lab.old.tlsa, new.tlsa)))


def stays(lab: Lab, kept: Certificate, rejected: Certificate, *, seconds: float = 0.0, **changes: Any) -> None:
    """Assert that *kept* stays wanted and served, though hook and lineage hand over *rejected* again and again.

    For *seconds*, with a tick every five of them. *changes*: those of the configuration that go on.
    """
    end = time.monotonic() + seconds
    lab.configure(**{"check_every": "1m", "retain": "1h", "source": str(rejected.directory), **changes})
    assert "is known; nothing to do" in lab.deploy(rejected, check=0).stdout
    while True:
        tick(lab)
        assert (goal(left_by_advance()), served_leaf(lab)) == (kept.fingerprint, kept.fingerprint)
        if (left := end - time.monotonic()) <= 0:
            return
        time.sleep(min(5.0, left))


@contextmanager
def revoked(lab: Lab, certificate: Certificate) -> Iterator[None]:
    """Let the state on disk say within the block that *certificate* is revoked: no command does it yet."""
    change = "UPDATE standing SET state = ? WHERE service = 'mail' AND fingerprint = ? RETURNING state"
    states = []
    for state in ("revoked", "active"):
        with sqlite3.connect(lab.state_directory / "rollover.db") as database:
            states += database.execute(change, (state, certificate.fingerprint)).fetchall()
        if state == "revoked":
            yield
    assert states == [("revoked",), ("active",)]


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
def test_between_writing_and_reload_the_old_certificate_comes_back_at_once(lab: Lab) -> None:
    """The live file is written and not loaded: a rollback puts the old one back within the command, and it stays."""
    spans = {"check_every": "1m", "retain": "1h"}
    found = adopted_under_strace(lab, spans)

    with steady_mail(lab) as mail:
        new = written(lab, found)
        assert live_leaf(lab) == new.fingerprint
        fill_caches(lab)
        assert "at once" in lab.rollover("rollback", "mail", check=0).stdout
        assert live_leaf(lab) == lab.old.fingerprint
        assert served_leaf(lab) == lab.old.fingerprint
        assert lab.primary.tlsa().records == both(lab, new)
        stays(lab, lab.old, new, **spans)

    nothing_deferred(lab, mail())
    assert lab.primary.tlsa().records == both(lab, new)


@pytest.mark.fault(74)
@pytest.mark.lab(ttl=2)
def test_during_verification_the_old_certificate_comes_back_at_once(lab: Lab) -> None:
    """While another address still shows the old one, a rollback reinstalls it within the command."""
    lab.second_mx(lab.old)
    two = {"addresses": [at.MX, at.MX_SECOND], "verify_timeout": "60s"}
    new = adopted(lab, **two)

    with steady_mail(lab) as mail:
        fill_caches(lab)
        lab.deploy(new, check=0)
        advance_until(lab, lambda it: it["phase"] == "verifying" and lab.served() == new.spki)
        assert "at once" in lab.rollover("rollback", "mail", check=0).stdout
        assert served_leaf(lab) == lab.old.fingerprint
        to_the_end(lab)
        stays(lab, lab.old, new, **two)

    nothing_deferred(lab, mail())
    only_serves(lab, lab.old)


@pytest.mark.fault(74)
@pytest.mark.lab(ttl=2)
def test_while_the_old_record_is_kept_a_rollback_is_instant(lab: Lab) -> None:
    """An active certificate is replaced within the command; the lineage that still holds it does not win in a minute."""
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
    nothing_deferred(lab, mail())

    stays(lab, lab.old, new, seconds=MINUTE)

    with steady_mail(lab) as mail:
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
        stays(lab, lab.old, new)

    nothing_deferred(lab, mail())
    only_serves(lab, lab.old)


@pytest.mark.fault(73)
@pytest.mark.lab(ttl=3)
def test_a_removed_certificate_comes_back_after_the_wait_or_without_it(lab: Lab) -> None:
    """It is published, waited for, installed: none is deferred. `--now` says how long mail will be, and it is so."""
    spans = {"retain": "1s", "drain": "1s"}
    new = adopted(lab, **spans)
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
        stays(lab, lab.old, new, **spans)
    nothing_deferred(lab, mail())
    only_serves(lab, lab.old)

    ttl = 10  # so that what was announced can be told from what a slow machine adds
    lab.primary.update(f"update add {at.OWNER} {ttl} TLSA {lab.old.tlsa}")
    wait_for(lambda: lab.secondary.tlsa().ttl == ttl, "the secondary follows")
    tick(lab)

    with steady_mail(lab) as mail:
        fill_caches(lab)
        begin = wall()
        said = lab.rollover("rollback", "mail", "--to", new.fingerprint, "--now", check=0).stdout
        announced = re.search(r"the old records of (\S+) will defer mail for up to (\d+) s from when its record", said)
        assert announced, said
        assert announced.groups() == (at.OWNER, str(ttl + 3)), "whole seconds, rounded up by resolver and sender"
        assert said.index("will defer") < said.index("is wanted"), "it is said first"
        assert lab.served() == new.spki, "it did not wait"
        # It was installed once every server had the record: the announced seconds count from then at the latest.
        until = instant([e for e in history(lab) if e["kind"] == "install"][-1]) + 1 + int(announced[2])
        time.sleep(max(0.0, until + 2 - wall()))  # some mail after it
        stays(lab, new, lab.old, **spans)
    counts = mail()
    assert put_off_within(counts, (begin, until)) > 0, "caches defer mail, as was announced"
    assert [e for e in counts.events if e.kind == "sent" and arrived(e.queue_id) > until]
    to_the_end(lab)
    only_serves(lab, new)


@pytest.mark.fault(73)
@pytest.mark.lab(ttl=2, senders=False)
def test_what_cannot_be_served_is_refused(lab: Lab) -> None:
    """None before it, unknown, expired, revoked, its key gone: 65, what helps instead, nothing changed."""
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
    with revoked(lab, lab.old):
        for words in ((), ("--now",), ("--to", lab.old.fingerprint)):
            message, hint = refused(*words)
            assert message == f"the key of certificate {lab.old.fingerprint[:16]} is revoked"
            assert "order a certificate with a new key" in hint
    (lab.state_directory / "vault" / "keys" / f"{lab.old.spki}.pem").unlink()
    message, hint = refused()
    assert message == f"certificate {lab.old.fingerprint[:16]} or its key is not in the vault any more"
    assert "rollover deploy FULLCHAIN KEY" in hint
    assert goal(left_by_advance()) == new.fingerprint
