"""The worst orders of events that the simulator has found, on real servers: two services, one RRset.

Each lost mail of one of them for what was done for the other: docs/simulation.md, What was found.
"""

from __future__ import annotations

import time

import pytest

from tests.lab import Lab, wait_for
from tests.lab import addresses as at
from tests.rollover.driving import (
    advance_to,
    fill_caches,
    goal,
    history,
    instant,
    left_by_advance,
    nothing_deferred,
    steady_mail,
    told_wait,
)
from tests.rollover.leftovers import inception, old_process
from tests.rollover.two_services import OTHER_OWNER, TWO_MX, TwoServices

SHORT = {"retain": "1s", "drain": "1s"}
KEPT = {"retain": "1h", "drain": "1s"}
TTL, LONGER, LONG = 2, 3, 8


def last(lab: Lab, name: str, kind: str) -> float:
    """Return when an event of *kind* was last, in Unix time."""
    return max(instant(event) for event in history(lab, name) if event["kind"] == kind)


@pytest.mark.lab(ttl=TTL, cname_ttl=TTL, **TWO_MX)
def test_a_larger_ttl_that_only_the_other_service_saw(lab: Lab) -> None:
    """A TTL that somebody raised and one service lowered again is the one that a rollover of the other waits for."""
    both = TwoServices(lab, mail=SHORT | {"ttl": f"{TTL}s"}, other=SHORT)
    new = both.certificate()
    with steady_mail(lab) as mail:
        lab.primary.update(f"update add {at.CNAME_TARGET} {LONG} TLSA {lab.old.tlsa}")
        wait_for(lambda: lab.secondary.tlsa(at.CNAME_TARGET).ttl == LONG, "the secondary follows")
        fill_caches(lab, OTHER_OWNER, at.CNAME_TARGET)
        both.advance_until("mail", lambda _: lab.primary.tlsa(at.CNAME_TARGET).ttl == TTL)
        lowered = time.clock_gettime(time.CLOCK_REALTIME)
        assert both.records() == tuple(sorted((lab.old.tlsa, both.first.tlsa)))

        both.hand_over(new)
        it = both.advance_until("other", lambda it: it["phase"] == "waiting")
        assert told_wait(it) > 2 * TTL + 3, "no more than what this service has seen itself"
        assert both.served() == both.first.spki
        both.advance_until("other", lambda it: it["phase"] == "steady")
        assert (both.served(), lab.served()) == (new.spki, lab.old.spki)
        both.records_are(lab.old, new)
        assert last(lab, "other", "install") - lowered >= 2 * LONG - 2
    nothing_deferred(lab, mail())


@pytest.mark.lab(ttl=LONGER, cname_ttl=LONGER, **TWO_MX)
def test_a_new_signature_that_only_the_other_service_saw(lab: Lab) -> None:
    """Changed and put back: what one service's look tells of it is waited for in a rollback of the other."""
    both = TwoServices(lab, mail=SHORT, other=KEPT)
    later, new = both.certificate(), lab.certificate()
    both.hand_over(later)
    both.advance_until("other", lambda it: it["phase"] == "retaining")
    assert both.served() == later.spki

    with steady_mail(lab) as mail:
        before = inception(lab, at.CNAME_TARGET)
        record = f"{at.CNAME_TARGET} {LONGER} TLSA {both.first.tlsa}"
        lab.primary.update(f"update delete {at.CNAME_TARGET} TLSA {both.first.tlsa}")
        both.records_are(lab.old, later)
        time.sleep(1.1)  # a signature tells whole seconds
        held = fill_caches(lab, OTHER_OWNER, at.CNAME_TARGET)
        assert held == [tuple(sorted((lab.old.tlsa, later.tlsa)))] * len(lab.senders)
        lab.primary.update(f"update add {record}")
        back = time.clock_gettime(time.CLOCK_REALTIME)
        both.records_are(lab.old, both.first, later)
        assert inception(lab, at.CNAME_TARGET) > before, "nothing else tells that it was changed"
        lab.deploy(new, "--service", "mail", check=0)  # a look, and an update of its own
        both.records_are(lab.old, new, both.first, later)

        lab.rollover("rollback", "other", check=0)
        assert goal(left_by_advance("other")) == both.first.fingerprint
        assert both.served() == later.spki, "caches hold what the certificate of before does not match"
        both.advance_until("mail", lambda it: it["phase"] == "waiting")  # both waits at the same time
        both.advance_until("other", lambda it: it["phase"] == "retaining")
        assert both.served() == both.first.spki
        assert last(lab, "other", "install") - back >= 2 * LONGER - 1
        advance_to(lab, "retaining", "steady")
        assert lab.served() == new.spki
        both.configure(mail=SHORT, other=SHORT)
        both.advance_until("other", lambda it: it["phase"] == "steady")
        advance_to(lab, "steady")
        both.records_are(new, both.first)
    nothing_deferred(lab, mail())


@pytest.mark.lab(ttl=TTL, cname_ttl=TTL, **TWO_MX)
def test_what_the_other_service_presented_a_moment_ago(lab: Lab) -> None:
    """One that presents the neighbour's old certificate by mistake: its record stays while an old process may be met."""
    both = TwoServices(lab, mail=KEPT, other={"retain": "1s", "drain": "60s"})
    new = lab.certificate()
    with steady_mail(lab) as mail:
        lab.deploy(new, "--service", "mail", check=0)
        advance_to(lab, "retaining")
        assert lab.served() == new.spki

        mistaken = lab.directory / "mistaken.pem"
        mistaken.touch(mode=0o600)
        mistaken.write_bytes(lab.old.privkey.read_bytes() + lab.old.fullchain.read_bytes())
        right = both.mx.get("smtpd_tls_chain_files")
        assert right == str(both.chain_file)
        both.mx.postconf(f"smtpd_tls_chain_files={mistaken}")
        both.mx.reload()
        wait_for(lambda: both.served() == lab.old.spki, "it presents what the neighbour had")
        both.advance_until("other", lambda _: True)
        with old_process(at.MX_SECOND) as presents:
            both.mx.postconf(f"smtpd_tls_chain_files={right}")
            both.mx.reload()
            wait_for(lambda: both.served() == both.first.spki, "it presents its own again")

            both.advance_until("other", lambda _: True)  # a look that does not meet the old process
            both.configure(mail=SHORT, other={"retain": "1s", "drain": "60s"})
            it = both.advance_until("mail", lambda it: it["phase"] == "steady")
            assert it["level"] == "ok", it
            assert lab.old.tlsa in both.records(), "it would have been withdrawn by now"
            both.records_are(lab.old, new, both.first)
            held = fill_caches(lab, OTHER_OWNER, at.CNAME_TARGET)
            assert presents() == lab.old.spki, "it has outlived the reload"
            assert all(lab.old.tlsa in records for records in held), "a sender that looks now may meet it"

        both.configure(mail=SHORT, other=SHORT)
        both.advance_until(
            "other", lambda _: lab.rollover("advance", "mail").returncode == 0 and len(both.records()) == 2
        )
        both.records_are(new, both.first)
        assert (lab.served(), both.served()) == (new.spki, both.first.spki)
    nothing_deferred(lab, mail())
