"""The worst orders of events that the simulator has found, on real servers: one service.

Each lost mail once, or switched DANE on, or served what nobody wanted: docs/simulation.md, What was found.
"""

from __future__ import annotations

import time

import dns.message
import dns.query
import pytest

from tests.lab import Certificate, Lab, wait_for
from tests.lab import addresses as at
from tests.rollover.driving import (
    advance_to,
    advance_to_full_wait,
    alone_in_dns,
    at_the_worst_moment,
    codes,
    fill_caches,
    forget_caches,
    goal,
    hand_over,
    history,
    instant,
    left_by_advance,
    nothing_deferred,
    problem,
    served_leaf,
    steady_mail,
    tick,
    to_the_end,
)
from tests.rollover.leftovers import inception, old_process

SPANS = {"check_every": "30s", "retain": "1s", "drain": "1s"}
KEPT = {"check_every": "30s", "retain": "1h", "drain": "1s"}
TTL, LONGER = 2, 4
NS_TTL, LOOKS = 10, 7  # seconds; for how long a tick looks again, and some more
NS2 = f"ns2.{at.DOMAIN}"


def adopted(lab: Lab, **changes: object) -> Certificate:
    """Let the tool take over; return the certificate that is to come."""
    lab.configure(**changes)
    lab.rollover("adopt", "mail", check=0)
    return lab.certificate()


def records_are(lab: Lab, *certificates: Certificate) -> None:
    """Wait until both servers have the records of these and no others."""
    wanted = tuple(sorted(c.tlsa for c in certificates))
    for server in (lab.primary, lab.secondary):
        wait_for(lambda server=server: server.tlsa().records == wanted, f"{server.name} has them")


def installed(lab: Lab, certificate: Certificate) -> float:
    """Return when *certificate* was installed last, in Unix time."""
    events = history(lab)
    return max(instant(e) for e in events if e["kind"] == "install" and e["fingerprint"] == certificate.fingerprint)


@pytest.mark.lab(ttl=LONGER)
def test_changed_and_changed_back_right_after_an_update_of_ours(lab: Lab) -> None:
    """A signature that is newer than the one of our own update tells of another RRset: a rollback waits for that one."""
    first = adopted(lab, **KEPT)
    hand_over(lab, first)
    advance_to(lab, "retaining")
    second = lab.certificate()

    with steady_mail(lab) as mail:
        hand_over(lab, second)
        everything = lab.primary.tlsa().records
        assert set(everything) == {lab.old.tlsa, first.tlsa, second.tlsa}
        ours = inception(lab)
        others = "\n".join(f"update add {at.OWNER} {LONGER} TLSA {c.tlsa}" for c in (lab.old, second))
        lab.primary.update(others.replace("update add", "update delete").replace(f" {LONGER} TLSA", " TLSA"))
        records_are(lab, first)
        time.sleep(1.1)  # a signature tells whole seconds
        assert fill_caches(lab) == [(first.tlsa,)] * len(lab.senders)
        lab.primary.update(others)
        back = time.clock_gettime(time.CLOCK_REALTIME)
        records_are(lab, lab.old, first, second)
        assert inception(lab) > ours, "nothing else tells that it was changed"

        lab.rollover("rollback", "mail", "--to", lab.old.fingerprint[:16], check=0)
        assert goal(left_by_advance()) == lab.old.fingerprint
        assert lab.served() == first.spki, "caches hold what the certificate of before does not match"
        assert lab.primary.tlsa().records == everything
        advance_to(lab, "retaining")
        assert lab.served() == lab.old.spki
        assert installed(lab, lab.old) - back >= 2 * LONGER - 1
        lab.configure(**SPANS)
        advance_to(lab, "steady")
        alone_in_dns(lab, lab.old)
    nothing_deferred(lab, mail())


@pytest.mark.lab(ttl=TTL)
def test_an_emptied_rrset_is_filled_while_an_old_process_lives(lab: Lab) -> None:
    """What comes back with `resume` has the record of what was presented a moment ago: an old process presents it yet."""
    new = adopted(lab, check_every="30s", retain="1s", drain="60s")
    with steady_mail(lab) as mail:
        hand_over(lab, new)
        advance_to(lab, "waiting")
        with old_process(lab.mx.address) as presents:
            advance_to(lab, "retaining")
            assert lab.served() == new.spki
            lab.primary.update(f"update delete {at.OWNER} TLSA")
            records_are(lab)
            lab.rollover("advance", "mail", check=1)
            assert problem(left_by_advance(), "dane-off")["level"] == "critical"
            assert not lab.primary.tlsa()

            lab.rollover("resume", "mail", check=0)
            assert set(lab.primary.tlsa().records) == {lab.old.tlsa, new.tlsa}, "not of what is served now alone"
            records_are(lab, lab.old, new)
            held = fill_caches(lab)
            assert presents() == lab.old.spki, "it has outlived the reload"
            assert all(lab.old.tlsa in records for records in held), "a sender that looks now may meet it"
            assert lab.served() == new.spki
        lab.configure(**SPANS)
        advance_to(lab, "steady")
        assert lab.served() == new.spki
    alone_in_dns(lab, new)
    # Without a record senders ask for no authentication: other connections are no fault here.
    assert (mail().deferred, mail().bounced) == (0, 0), mail().reasons


@pytest.mark.lab(ttl=TTL, owner="wildcard")
def test_a_late_copy_of_a_wildcard_that_is_deleted_meanwhile(lab: Lab) -> None:
    """An update that copies a wildcard's record arrives when somebody has deleted that: DANE stays off until `resume`."""
    new = adopted(lab, **SPANS, primary=lab.update_proxy.address, timeout="3s")
    wildcard = f"*._tcp.{at.HOST}"
    with steady_mail(lab) as mail:
        lab.update_proxy.hold_request()
        for _ in range(10):  # a hook that found a server slow has left the update to the next tick
            said = lab.deploy(new, check=0).stderr
            if lab.update_proxy.holds:
                break
        assert "outcome unknown" in said
        assert lab.update_proxy.holds == 1
        lab.primary.update(f"update delete {wildcard} TLSA")
        records_are(lab)
        assert lab.update_proxy.deliver_held() == "NXRRSET"
        for _ in range(2):
            lab.rollover("advance", "mail", check=1)
            assert problem(left_by_advance(), "dane-off")["level"] == "critical"
            records_are(lab)
            assert lab.served() == lab.old.spki

        lab.rollover("resume", "mail", check=0)
        records_are(lab, lab.old, new)
        assert "dane-off" not in codes(left_by_advance())
        to_the_end(lab)
        assert lab.served() == new.spki
    alone_in_dns(lab, new)
    assert lab.primary.tlsa(f"_587._tcp.{at.HOST}").records == (), "the wildcard stays deleted"
    assert (mail().deferred, mail().bounced) == (0, 0), mail().reasons


def go_back_to_a_zone_without_the_secondary(lab: Lab, new: Certificate) -> None:
    """Take the new record out and the secondary with it, here and at the parent; that follows this once, and no more."""
    file = lab.parent.directory / "test.db"
    lines = [x for x in file.read_text().splitlines() if x != f"{at.DOMAIN} NS {NS2}"]
    file.write_text("\n".join(lines).replace(" 1 5 2 ", " 100 5 2 ") + "\n")
    lab.parent.rndc("reload", "test")
    lab.primary.update(f"update delete {at.OWNER} TLSA {new.tlsa}\nupdate delete {at.DOMAIN} NS {NS2}")
    records_are(lab, lab.old)
    for server in (lab.primary, lab.secondary, lab.parent):
        wait_for(lambda server=server: not listed(server.address), f"{server.name} does not name it any more")
    lab.secondary.stop_transfers()


def listed(address: str) -> bool:
    """Tell whether the server at *address*, of the zone or of its parent, names the secondary in an NS RRset."""
    answer = dns.query.tcp(dns.message.make_query(at.DOMAIN, "NS"), address, timeout=5)
    return any(NS2 in str(rrset) for rrset in (*answer.answer, *answer.authority))


@pytest.mark.lab(ttl=TTL)
def test_a_server_that_left_the_ns_rrset_with_an_old_rrset(lab: Lab) -> None:
    """The first look that misses a server in the NS RRset asks it yet, and the wait begins when no resolver can any more."""
    lab.primary.update("\n".join(f"update add {at.DOMAIN} {NS_TTL} NS ns{n}.{at.DOMAIN}" for n in (1, 2)))
    wait_for(lambda: lab.secondary.serial() == lab.primary.serial(), "the secondary follows")
    forget_caches(lab)
    new = adopted(lab, **SPANS)
    late = lab.senders[0].resolver

    with steady_mail(lab) as mail:
        hand_over(lab, new)
        advance_to(lab, "waiting", every=0)
        late.ask_only(at.SECONDARY)  # as one that chose it from the NS RRset that it holds
        go_back_to_a_zone_without_the_secondary(lab, new)
        left = time.monotonic()
        lab.primary.update(f"update add {at.OWNER} {TTL} TLSA {new.tlsa}")
        for resolver in (lab.resolver, lab.senders[1].resolver):
            resolver.flush("test.")
        while time.monotonic() < left + NS_TTL - LOOKS:
            late.fill()
            lab.rollover("advance", "mail", check=75)
            it = left_by_advance()
            assert (it["phase"], lab.served()) == ("propagating", lab.old.spki), it
            assert problem(it, "secondary-stale")["message"].startswith(f"{NS2.rstrip('.')} ({at.SECONDARY})")
        while time.monotonic() < left + NS_TTL:
            assert late.fill().rrset.records == (lab.old.tlsa,)
            time.sleep(TTL / 4)
        late.ask_all()  # its NS RRset has expired
        advance_to_full_wait(lab, TTL)
        assert lab.served() == lab.old.spki
        assert lab.secondary.tlsa().records == (lab.old.tlsa,), "asked no more, not mended"
        to_the_end(lab)
        assert lab.served() == new.spki
        assert lab.primary.tlsa().records == (new.tlsa,)
    nothing_deferred(lab, mail())


@pytest.mark.lab(ttl=LONGER)
def test_a_queued_certificate_that_a_newer_one_overtakes(lab: Lab) -> None:
    """Of three certificates the last one is ready first and overtakes: the two before it are never served."""
    first = adopted(lab, **SPANS)
    second, last = lab.certificate(), lab.certificate(reuse_key_of=lab.old)
    with steady_mail(lab) as mail:
        with at_the_worst_moment(lab):
            hand_over(lab, first)
        advance_to_full_wait(lab, LONGER)
        assert f"{second.fingerprint[:16]} is queued" in lab.deploy(second, check=0).stdout
        assert second.tlsa not in lab.primary.tlsa().records
        lab.deploy(last, check=0)
        to_the_end(lab)
        assert served_leaf(lab) == last.fingerprint
        tick(lab)  # whose turn would it be?
        to_the_end(lab)
        assert served_leaf(lab) == last.fingerprint
    alone_in_dns(lab, last)
    nothing_deferred(lab, mail())
    events = history(lab)
    assert {e["fingerprint"] for e in events if e["kind"] == "install"} == {last.fingerprint}
    assert not [e for e in events if e["kind"] == "published" and second.tlsa in str(e)]
