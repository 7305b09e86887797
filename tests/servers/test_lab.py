"""The lab itself, on its real servers: what other tests take for granted is shown here."""

from __future__ import annotations

import time

from tests.lab import Lab, wait_for
from tests.lab.addresses import OWNER

LAB_OPTIONS = {"ttl": 5}


def test_starts_within_a_bound(shared_lab: Lab) -> None:
    """A whole lab starts in well under half a minute; the figure is printed."""
    print(f"started in {shared_lab.started_in:.2f} s")
    assert shared_lab.started_in < 30


def test_every_resolver_authenticates(shared_lab: Lab) -> None:
    """All three resolvers answer for the TLSA RRset with the AD flag."""
    for resolver in shared_lab.resolvers:
        answer = resolver.ask()
        assert answer.authenticated, resolver.name
        assert answer.rrset.records == (shared_lab.old.tlsa,)


def test_steady_load_is_verified_in_every_second(shared_lab: Lab) -> None:
    """Under load each second has five outcomes or more, all Verified, none deferred."""
    lab = shared_lab
    lab.load.start(per_second=8)
    time.sleep(2)
    since = lab.mail.mark()
    time.sleep(6)
    until = lab.mail.mark()
    lab.load.stop()
    assert lab.mail.minimum_per_second(since, until) >= 5
    assert lab.mail.verified == lab.mail.sent == len(lab.load.injected) >= 48
    assert (lab.mail.other, lab.mail.deferred, lab.mail.bounced) == (0, 0, 0)


def test_wrong_record_is_counted_as_deferrals(lab: Lab) -> None:
    """With a record that matches nothing every message is deferred, and none is sent."""
    wrong = lab.certificate().tlsa
    lab.primary.update(f"update delete {OWNER} TLSA\nupdate add {OWNER} 5 TLSA {wrong}")
    wait_for(lambda: lab.secondary.tlsa().records == (wrong,), "the secondary follows")
    for sender in lab.senders:
        sender.resolver.fill()
    lab.load.start()
    time.sleep(2)
    lab.load.stop()
    assert lab.mail.sent == lab.mail.verified == 0
    assert lab.mail.deferred == len(lab.load.injected) >= 10
    assert all("Server certificate not verified" in reason for reason in lab.mail.reasons)
