"""A secondary that is stale, dead or badly signed: nothing is installed before it is well again."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest

from tests.lab import Lab, wait_for
from tests.lab import addresses as at
from tests.lab.certificates import Certificate
from tests.rollover.driving import (
    Service,
    alone_in_dns,
    at_the_worst_moment,
    codes,
    hand_over,
    left_by_advance,
    nothing_deferred,
    problem,
    service,
    steady_mail,
    to_the_end,
    told_wait,
)

TTL = 2
NS2 = f"ns2.example.test ({at.SECONDARY})"


def adopted(lab: Lab) -> Certificate:
    """Let the tool take over; return the certificate that is to come."""
    lab.configure(check_every="30s", propagation_warn="1s", retain="1s", drain="1s")
    lab.rollover("adopt", "mail", check=0)
    return lab.certificate()


def stands_still(lab: Lab, new: Certificate, code: str, *, exits: int) -> Service:
    """Tick until no cache holds what was before; assert that nothing is installed, and who is named for it."""
    begin, ticks = time.monotonic(), 0
    while ticks < 2 or time.monotonic() - begin < 3 * TTL:
        lab.rollover("advance", check=exits)
        ticks += 1
        it = left_by_advance()
        assert it["phase"] == "propagating", it
        assert problem(it, code)["message"].startswith(NS2), it
        assert lab.served() == lab.old.spki
        assert lab.primary.tlsa().records == tuple(sorted((lab.old.tlsa, new.tlsa)))
    return it


def goes_on(lab: Lab) -> Service:
    """Assert that the second tick at the latest takes the rollover up, with no command given; return the service then."""
    for _ in range(2):
        lab.rollover("advance")
        it = left_by_advance()
        if it["phase"] != "propagating":
            break
    assert it["phase"] not in {"propagating", "publishing", "blocked"}, it
    assert not codes(it) & {"secondary-stale", "server-unreachable", "signature-bad"}, it
    return it


def ends(lab: Lab, new: Certificate) -> None:
    """Take the rollover to its end."""
    to_the_end(lab)
    assert lab.served() == new.spki
    alone_in_dns(lab, new)


@contextmanager
def dead(lab: Lab) -> Iterator[None]:
    """Have no secondary within the block; when it comes back it serves the old zone until its first transfer."""
    lab.secondary.kill()
    yield
    lab.secondary.start()


@contextmanager
def without_transfers(lab: Lab) -> Iterator[None]:
    """Have a stale secondary within the block, and to its very end a sender that fills its cache from it."""
    lab.secondary.stop_transfers()
    yield
    unlucky = lab.senders[0]
    unlucky.resolver.ask_only(at.SECONDARY)
    with at_the_worst_moment(lab, server=lab.secondary, senders=[unlucky]):
        lab.secondary.resume_transfers()


@pytest.mark.fault(21, 22)
@pytest.mark.parametrize(
    ("hurt", "code", "words"),
    [
        pytest.param(without_transfers, "secondary-stale", "has serial", id="no-transfers"),
        pytest.param(dead, "server-unreachable", "connection refused", id="dead"),
    ],
)
@pytest.mark.lab(ttl=TTL)
def test_held_back(lab: Lab, hurt: Callable[[Lab], AbstractContextManager[None]], code: str, words: str) -> None:
    """A secondary that does not have the record holds the installation back, by name, until it has it."""
    new = adopted(lab)
    with steady_mail(lab) as mail:
        with hurt(lab):
            with at_the_worst_moment(lab):
                hand_over(lab, new)
            found = problem(stands_still(lab, new, code, exits=75), code)
            assert words in found["message"]
            assert found["level"] == "warning", "propagation_warn is over"
            assert found["hint"]
            status = lab.rollover("status", check=1).stdout
            assert status.startswith(
                f"WARNING mail: no mail is deferred: {NS2} {found['message'].removeprefix(NS2).strip()} since "
            ), status
        wait_for(lambda: new.tlsa in lab.secondary.tlsa().records, "the secondary has the record")
        it = goes_on(lab)
        # Until it was well it handed out the old RRset: the wait counts from there, not from the publication.
        assert (it["phase"], lab.served()) == ("waiting", lab.old.spki)
        assert told_wait(it) >= 2 * TTL - 1, it
        ends(lab, new)
    nothing_deferred(lab, mail())


@pytest.mark.fault(24)
@pytest.mark.lab(ttl=TTL, senders=False)
def test_expired_signatures(lab: Lab) -> None:
    """A secondary with the right records under expired signatures holds back too, and is critical."""
    new = adopted(lab)
    hand_over(lab, new)
    wait_for(lambda: new.tlsa in lab.secondary.tlsa().records, "the record is on both servers")
    lab.secondary.expire_signatures()
    found = problem(stands_still(lab, new, "signature-bad", exits=1), "signature-bad")
    assert found["level"] == "critical"
    assert "expired" in found["message"]
    assert service(lab)["level"] == "critical"
    lab.secondary.restore_signatures()
    lab.resolver.flush(at.DOMAIN)
    goes_on(lab)
    ends(lab, new)
