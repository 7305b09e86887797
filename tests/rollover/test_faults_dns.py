"""Faults of name servers that come in the middle of a rollover: named, nothing installed, nothing lost.

The numbers are those of docs/faults.md.
"""

from __future__ import annotations

import shutil
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dns.message
import dns.name
import pytest

from tests.lab import Certificate, Lab, wait_for, zones
from tests.lab import addresses as at
from tests.lab.nameservers import SigningServer
from tests.lab.query import ask
from tests.rollover.driving import (
    Service,
    advance_to,
    advance_to_full_wait,
    advance_until,
    alone_in_dns,
    codes,
    forget_caches,
    hand_over,
    left_by_advance,
    problem,
    to_the_end,
    two_lines,
)
from tests.servers.dns_support import NS3, SPARE, add_server, forward

TTL = 2
OVER = (
    TTL + 4
)  # seconds after which the wait of a rollover that nothing held back is over: two TTLs, one and three at least
SETTINGS = {"check_every": "30s", "propagation_warn": "1s", "retain": "1s", "drain": "1s"}


def adopted(lab: Lab, **changes: object) -> Certificate:
    """Let the tool take over; return the certificate that is to come."""
    lab.configure(**SETTINGS | changes)
    lab.rollover("adopt", "mail", check=0)
    return lab.certificate()


def rolling(lab: Lab, **changes: object) -> Certificate:
    """Let a rollover come to its wait; return the certificate that is to come."""
    new = adopted(lab, **changes)
    hand_over(lab, new)
    advance_to(lab, "waiting", every=0)
    return new


def stands_still(lab: Lab, code: str, phase: str = "propagating") -> Service:
    """Tick twice; assert that *code* is told, that it stands in *phase*, and that nothing is installed."""
    for _ in range(2):
        done = lab.rollover("advance", "mail")
        assert done.returncode in {1, 75}, done
        it = left_by_advance()
        assert code in codes(it), it
        assert it["phase"] == phase, it
        assert lab.served() == lab.old.spki
    return it


def ends(lab: Lab, new: Certificate) -> None:
    """Take the rollover to its end."""
    to_the_end(lab)
    assert lab.served() == new.spki
    alone_in_dns(lab, new)


@pytest.mark.fault(25)
@pytest.mark.lab(ttl=TTL, senders=False)
def test_a_signer_that_stopped(lab: Lab) -> None:
    """Signatures that end within the hour are critical and hold the install, and the withdrawal, until they are renewed.

    See servers.running_out, gates.propagate, machine.withdraw.
    """
    soon = f"{datetime.now(UTC) + timedelta(minutes=40):%Y%m%d%H%M%S}"
    new = adopted(lab, retain="1h")
    hand_over(lab, new)
    wait_for(lambda: new.tlsa in lab.secondary.tlsa().records, "the record is on both servers")
    lab.secondary.expire_signatures(until=soon)
    found = problem(stands_still(lab, "signature-expiring"), "signature-expiring")
    assert found["level"] == "critical"
    assert at.SECONDARY in found["message"]
    lab.secondary.restore_signatures()
    forget_caches(lab)
    advance_until(lab, lambda it: it["phase"] == "retaining")
    assert lab.served() == new.spki
    lab.secondary.expire_signatures(until=soon)
    lab.configure(**SETTINGS)
    time.sleep(1.5)  # retain and drain are over
    for _ in range(2):
        assert lab.rollover("advance", "mail").returncode == 1
        assert lab.old.tlsa in lab.primary.tlsa().records
    assert "signature-expiring" in codes(left_by_advance(), "critical")
    lab.secondary.restore_signatures()
    forget_caches(lab)
    ends(lab, new)


@pytest.mark.fault(23, 26)
@pytest.mark.lab(ttl=TTL, senders=False)
def test_a_new_name_server_that_cannot_make_up_its_mind(lab: Lab) -> None:
    """One that joins in the middle of the wait counts at once; each time it shows the old RRset the wait starts over.

    See hop.Hop._ask, ledger.observe.
    """
    new = adopted(lab)
    owner = dns.name.from_text(at.OWNER)
    past = dns.message.from_wire(forward(dns.message.make_query(at.OWNER, "TLSA", want_dnssec=True).to_wire()))
    old = True

    def answer(query: bytes) -> bytes:
        asked = dns.message.from_wire(query, question_only=True)
        if not old or asked.question[0].name != owner:
            return forward(query)
        past.id = asked.id
        return past.to_wire()

    lab.junk_server(answer)
    hand_over(lab, new)
    advance_to(lab, "waiting", every=0)
    add_server(lab)
    found = problem(stands_still(lab, "secondary-stale"), "secondary-stale")
    assert found["message"].startswith(f"{NS3.rstrip('.')} ({SPARE}) ")
    old = False
    advance_to_full_wait(lab, TTL)
    old = True
    stands_still(lab, "secondary-stale")
    old = False
    advance_to_full_wait(lab, TTL)
    assert lab.served() == lab.old.spki
    ends(lab, new)


def ds(lab: Lab, serial: int, *, there: bool) -> None:
    """Put the DS RRset of the zone into the parent, or take it out; wait until every resolver goes by it."""
    file = lab.parent.directory / "test.db"
    kept = lab.directory / "test.db"
    if not kept.exists():
        shutil.copy(file, kept)
    lines = [x for x in kept.read_text().splitlines() if there or not x.startswith(f"{at.DOMAIN} DS ")]
    file.write_text("\n".join(lines).replace(" 1 5 2 ", f" {serial} 5 2 ") + "\n")
    lab.parent.rndc("reload", "test")
    wait_for(lambda: bool(ask(at.PARENT, at.DOMAIN, "DS").rrset.records) is there, "the parent follows")
    lab.resolver.flush("test.")
    wait_for(lambda: lab.resolver.ask(at.OWNER).authenticated is there, "the resolver follows")


@pytest.mark.fault(27)
@pytest.mark.lab(ttl=TTL, senders=False)
def test_the_ds_record_goes(lab: Lab) -> None:
    """Without the DS at the parent DANE is off for every sender: critical, nothing is installed, nothing is withdrawn.

    See gates._resolver_holds, troubles._dns.
    """
    new = rolling(lab)
    ds(lab, 100, there=False)
    time.sleep(OVER)
    it = stands_still(lab, "zone-insecure", "waiting")
    assert problem(it, "zone-insecure")["level"] == "critical"
    assert set(lab.primary.tlsa().records) == {lab.old.tlsa, new.tlsa}
    ds(lab, 200, there=True)
    ends(lab, new)


@pytest.mark.fault(14)
@pytest.mark.lab(ttl=TTL, senders=False)
def test_a_zone_cut_between_the_host_and_its_owner(lab: Lab) -> None:
    """Somebody delegates `_tcp` of the host: our primary does not have the name any more; nothing is installed, it says so.

    See conversation._Talk.ask, gates.propagate.
    """
    new, above = rolling(lab), f"_tcp.{at.HOST}"
    lab.primary.update(f"update add {above} {TTL} NS ns1.dane.test.")
    forget_caches(lab)
    it = stands_still(lab, "primary-unreachable")
    assert "not authoritative" in problem(it, "primary-unreachable")["message"]
    lab.primary.update(f"update delete {above} NS")
    forget_caches(lab)
    ends(lab, new)


@pytest.mark.fault(16)
@pytest.mark.lab(ttl=TTL, senders=False)
def test_a_view_that_the_public_does_not_see(lab: Lab) -> None:
    """The primary takes the update, and shows it, in a copy of the zone that no public server follows: never installed.

    See servers.lacking, servers.incomplete.
    """
    internal = SigningServer("internal", lab.directory / "internal", at.SPARE[1], lab.directory / "keys")
    internal.keys = [lab.tsig_key.path]
    internal.add_zone(at.DOMAIN, zones.example(lab.options, lab.old.tlsa), zones.tool_grants(lab.options))
    internal.start()
    try:
        new = adopted(lab, primary=internal.address)
        lab.deploy(new, check=0)
        it = stands_still(lab, "secondary-stale")
        assert set(internal.tlsa().records) == {lab.old.tlsa, new.tlsa}, "the primary has it"
        late = {p["message"].split()[0] for p in it["problems"] if p["code"] == "secondary-stale"}
        assert late == {"ns1.example.test", "ns2.example.test"}
        advance_until(lab, lambda it: "secondary-stale" in codes(it, "warning"))
        assert lab.served() == lab.old.spki
        assert lab.primary.tlsa().records == (lab.old.tlsa,)
    finally:
        internal.stop()


@pytest.mark.fault(33)
@pytest.mark.lab(ttl=2 * TTL, senders=False, owner="cname", cname_ttl=2 * TTL)
def test_a_cname_that_somebody_retargets(lab: Lab) -> None:
    """In the middle of the wait the CNAME leads elsewhere: published there, and waited for from the start.

    See changes.publishing, ledger.wait_left.
    """
    new, target, ttl = adopted(lab), f"_other.{at.HOST}", 2 * TTL  # half of the wait is more than what is rounded
    lab.primary.reconfigure(update_policy=f"{zones.tool_grants(lab.options)}\ngrant rollover-key name {target} TLSA;")
    lab.primary.update(f"update add {target} {ttl} TLSA {lab.old.tlsa}")
    hand_over(lab, new, target=at.CNAME_TARGET)
    advance_to(lab, "waiting", every=0)
    time.sleep(ttl)
    lab.primary.update(f"update delete {at.OWNER}\nupdate add {at.OWNER} {ttl} CNAME {target}")
    forget_caches(lab)
    advance_to_full_wait(lab, ttl)
    assert set(lab.primary.tlsa(target).records) == {lab.old.tlsa, new.tlsa}
    assert lab.served() == lab.old.spki
    to_the_end(lab)
    assert lab.served() == new.spki


@pytest.mark.fault(34)
@pytest.mark.lab(ttl=TTL, senders=False, owner="wildcard")
def test_a_withdrawal_that_would_uncover_a_wildcard(lab: Lab) -> None:
    """After a rollover under a wildcard the last record hides what nothing matches any more: it is not taken away.

    See engine.uncovering.
    """
    new = adopted(lab)
    hand_over(lab, new)
    to_the_end(lab)
    assert lab.primary.tlsa().records == (new.tlsa,)
    wildcard = f"*._tcp.{at.HOST}"
    message, hint = two_lines(lab.rollover("release", "mail", "--withdraw", check=69).stderr)
    assert message == f"without these records {at.OWNER} would have those of {wildcard}: {lab.old.tlsa}"
    assert "by hand" in hint
    told, hint = two_lines(lab.rollover("adopt", "mail", "--remove", new.tlsa, check=69).stderr)
    assert told == message
    assert "first" in hint
    assert (lab.primary.tlsa().records, lab.served()) == ((new.tlsa,), new.spki)
    lab.primary.update(f"update delete {wildcard} TLSA")
    lab.rollover("release", "mail", "--withdraw", check=0)
    assert lab.primary.tlsa().records == ()


@pytest.mark.fault(13)
@pytest.mark.lab(ttl=TTL, senders=False)
def test_a_primary_that_goes_away(lab: Lab) -> None:
    """Down in the middle of the wait, and again before the withdrawal: named, nothing moves, and it goes on by itself.

    See servers.incomplete, gates.wait, machine.withdraw.
    """
    new = rolling(lab, retain="1h")
    lab.primary.stop()
    stands_still(lab, "primary-unreachable")
    lab.primary.start()
    advance_to(lab, "retaining")
    lab.primary.stop()
    lab.configure(**SETTINGS)
    time.sleep(1.5)  # retain and drain are over
    for _ in range(2):
        it = tick_or_later(lab)
        assert "primary-unreachable" in codes(it)
        assert it["phase"] == "retaining", "not done"
    assert set(lab.secondary.tlsa().records) == {lab.old.tlsa, new.tlsa}
    lab.primary.start()
    ends(lab, new)


def tick_or_later(lab: Lab) -> Service:
    """Run `advance mail` once, whatever it has to report."""
    done = lab.rollover("advance", "mail")
    assert done.returncode in {0, 1, 75}, done
    return left_by_advance()


@pytest.mark.fault(76)
@pytest.mark.lab(ttl=TTL, senders=False)
def test_an_old_copy_of_the_zone_after_the_end(lab: Lab) -> None:
    """A secondary that comes back with both records harms nobody; with the old one alone it is critical and named.

    See troubles._deferred.
    """
    new = adopted(lab)
    before = kept_copy(lab)
    hand_over(lab, new)
    wait_for(lambda: new.tlsa in lab.secondary.tlsa().records, "the record is on both servers")
    between = kept_copy(lab)
    ends(lab, new)
    lab.secondary.stop_transfers()
    put_back(lab, between)
    it = tick_or_later(lab)
    assert "mail-deferred" not in codes(it)
    assert "secondary-stale" in codes(it)
    put_back(lab, before)
    assert lab.rollover("advance", "mail").returncode == 1
    found = problem(left_by_advance(), "mail-deferred")
    assert found["level"] == "critical"
    assert f"ns2.example.test ({at.SECONDARY})" in found["message"]
    assert lab.rollover("status").returncode == 2
    lab.secondary.resume_transfers()
    wait_for(lambda: lab.secondary.tlsa().records == (new.tlsa,), "the secondary follows")
    advance_until(lab, lambda it: it["level"] == "ok")


def kept_copy(lab: Lab) -> Path:
    """Return a copy of the secondary's zone file, with all that it has now."""
    lab.secondary.rndc("sync", "-clean", at.DOMAIN)
    copy = lab.directory / f"copy-{time.monotonic_ns()}"
    shutil.copy(lab.secondary.directory / f"secondary.{at.DOMAIN}db", copy)
    return copy


def put_back(lab: Lab, copy: Path) -> None:
    """Have the secondary start with *copy*, as after a restored backup."""
    lab.secondary.stop()
    for path in lab.secondary.directory.glob(f"secondary.{at.DOMAIN}db*"):
        path.unlink()
    shutil.copy(copy, lab.secondary.directory / f"secondary.{at.DOMAIN}db")
    lab.secondary.start()


@pytest.mark.fault(15)
@pytest.mark.lab(ttl=TTL, senders=False)
def test_a_signer_without_its_keys(lab: Lab) -> None:
    """The update is taken and cannot be signed: what is not shown signed is not published, and nothing is installed.

    See update.read_back, servers.lacking.
    """
    new = adopted(lab)
    keys = list((lab.directory / "keys").glob("Kexample.test.*.private"))
    assert keys
    for key in keys:
        key.rename(key.with_suffix(".away"))
    lab.deploy(new)
    it = stands_still(lab, "update-failed", "publishing")
    assert "changed on 127.0.0.53 before our update" in problem(it, "update-failed")["message"]
    assert lab.primary.tlsa().records == (lab.old.tlsa,)
    for key in keys:
        key.with_suffix(".away").rename(key)
    lab.primary.stop()
    lab.primary.start()  # it signs then what it had taken
    ends(lab, new)
