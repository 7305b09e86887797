"""Renewals one upon another, and those that a person watches: queues, plans, --wait."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable

import pytest

from tests.lab import Certificate, Lab
from tests.lab import addresses as at
from tests.rollover.driving import (
    Service,
    advance_to,
    advance_to_full_wait,
    advance_until,
    alone_in_dns,
    at_the_worst_moment,
    begin_tool,
    goal,
    hand_over,
    history,
    instant,
    nothing_deferred,
    service,
    steady_mail,
    to_the_end,
    untouched,
)

TTL = 4
LAB_OPTIONS = {"ttl": 3}
STAMP = r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ"


def queued(it: Service) -> list[str]:
    """Return the fingerprints that wait for their turn."""
    return [c["fingerprint"] for c in it["credentials"] if c["queued"]]


def fill_one_before(lab: Lab, certificate: Certificate) -> Callable[[Service], None]:
    """Return what fills one sender's cache between ticks, until it is the turn of *certificate*."""

    def fill(it: Service) -> None:
        if goal(it) != certificate.fingerprint:
            lab.senders[0].resolver.fill()

    return fill


@pytest.mark.fault(42)
@pytest.mark.lab(ttl=TTL)
def test_a_second_and_a_third_renewal_wait_for_their_turn(lab: Lab) -> None:
    """What is on its way is let finish; the newest certificate is served in the end, alone in DNS; nothing is deferred."""
    lab.configure(check_every="1m", verify_timeout="30s")
    lab.rollover("adopt", "mail", check=0)
    first, second, third = (lab.certificate() for _ in range(3))

    with steady_mail(lab) as mail:
        with at_the_worst_moment(lab):
            hand_over(lab, first)
        advance_to_full_wait(lab, TTL)
        assert f"{second.fingerprint[:16]} is queued" in lab.deploy(second, check=0).stdout
        it = service(lab)
        assert (goal(it), queued(it)) == (first.fingerprint, [second.fingerprint])
        assert second.tlsa not in lab.primary.tlsa().records, "a queued certificate is not published"

        with at_the_worst_moment(lab):  # its turn comes with its publication, in one run
            it = advance_until(lab, lambda it: goal(it) == second.fingerprint, each=fill_one_before(lab, second))
        assert lab.served() == first.spki, "the first was let finish"

        # Postfix goes on with what it has: so the second is seen in verification for as long as it takes.
        lab.mx.disarm_reload()
        advance_to(lab, "verifying")
        assert lab.served() == first.spki
        assert f"{third.fingerprint[:16]} is queued" in lab.deploy(third, check=0).stdout
        it = service(lab)
        assert (it["phase"], goal(it), queued(it)) == ("verifying", second.fingerprint, [third.fingerprint])
        lab.mx.rearm_reload()
        lab.mx.reload()

        with at_the_worst_moment(lab):
            it = advance_until(lab, lambda it: goal(it) == third.fingerprint, each=fill_one_before(lab, third))
        assert lab.served() == second.spki
        it = advance_until(lab, lambda it: it["phase"] == "steady" and goal(it) == third.fingerprint)

    nothing_deferred(lab, mail())
    assert (lab.served(), queued(it), it["level"]) == (third.spki, [], "ok")
    alone_in_dns(lab, third)
    active = [e["fingerprint"] for e in history(lab) if e["kind"] == "active"]
    assert active[-3:] == [x.fingerprint for x in (first, second, third)]


@pytest.fixture
def host(shared_lab: Lab) -> Lab:
    """An adopted host with nothing under way."""
    if service(shared_lab)["phase"] == "unadopted":
        shared_lab.configure(check_every="1m")
        shared_lab.rollover("adopt", "mail", check=0)
    advance_to(shared_lab, "steady")
    return shared_lab


def test_a_plan_names_every_step_and_changes_nothing(host: Lab) -> None:
    """`deploy --dry-run` prints updates, waits, files and proofs with their times; no trace of it is left anywhere."""
    active = next(c for c in service(host)["credentials"] if c["state"] == "active")
    old, new = active["records"][0], host.certificate()

    with untouched(host):
        plan = host.deploy(new, "--dry-run", check=0).stdout.splitlines()

    assert plan[0].startswith(f"mail: certificate {new.fingerprint[:16]} for mail.example.test, valid until ")
    steps = [re.fullmatch(rf"  ({STAMP})  (.+)", line) for line in plan[1:]]
    assert all(steps), plan
    texts = [step[2] for step in steps if step]
    live = f"{active['fingerprint'][:16]} -> {new.fingerprint[:16]}"
    assert texts == [
        f"prereq yxrrset {at.OWNER} TLSA {old}",
        f"update add {at.OWNER} 3 TLSA {new.tlsa}",
        "at the earliest: no resolver can hold the old RRset (2 TTLs after every server has the new one)",
        f"write {host.chain_file} ({live}), keep {host.chain_file}.previous, reload",
        "prove mail.example.test 127.0.0.25:25 by new handshakes, three rounds",
        "prove mail.example.test 127.0.0.25:25 without SNI by new handshakes, three rounds",
        f"update delete {at.OWNER} TLSA {old}",
    ]
    at_second = [instant({"time": step[1]}) for step in steps if step]
    begin = at_second[0]
    assert [round(x - begin) for x in at_second] == [0, 0, 6, 6, 6, 6, 9]  # 2 TTLs of 3 s, then retain = 3 s


def test_a_person_can_watch_a_rollover_to_its_end(host: Lab) -> None:
    """`deploy --wait` shows what it waits for and until when, and returns once the certificate is proven."""
    new = host.certificate()

    with steady_mail(host) as mail:
        with at_the_worst_moment(host):
            done = host.deploy(new, "--wait", check=0)
        assert host.served() == new.spki
        it = service(host)
        assert it["phase"] in {"retaining", "withdrawing", "steady"}

    nothing_deferred(host, mail())
    shown = done.stderr.splitlines()
    assert all(line.startswith("mail: ") for line in shown), done.stderr
    assert any(re.search(rf"^mail: waiting until {STAMP}: .*{new.fingerprint[:16]} is wanted", x) for x in shown), shown
    assert re.search(rf"^mail: (retaining until {STAMP}|steady)", shown[-1]), shown
    assert len(shown) < 10, "a line a change, not one a look"


def test_an_interrupted_wait_loses_nothing(host: Lab) -> None:
    """Control-C ends `deploy --wait` with 75 and one line; `advance --wait` goes on from there until all is done."""
    new = host.certificate()

    with steady_mail(host) as mail:
        watching = begin_tool(host, "deploy", new.fullchain, new.privkey, "--wait")
        assert watching.stderr is not None
        read = ""
        while "waiting until" not in read:
            line = watching.stderr.readline()
            assert line, read
            read += line
        watching.send_signal(signal.SIGINT)
        _, rest = watching.communicate(timeout=90)
        assert watching.returncode == 75
        assert rest.splitlines()[-1] == "rollover: interrupted; nothing is lost, the next run goes on from here"
        assert host.served() != new.spki

        done = to_the_end(host)
        assert host.served() == new.spki

    nothing_deferred(host, mail())
    phases = [line.split()[1].rstrip(":") for line in done.stderr.splitlines()]
    assert "retaining" in phases
    assert phases[-1] == "steady"
    alone_in_dns(host, new)
