"""Services that share an RRset: none of them gives up what another one needs, or was last seen to present."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from rollover.core.certificate import parse_chain
from rollover.core.changes import safe
from rollover.core.model import State
from rollover.core.report import unseen
from rollover.core.sighting import Endpoint, EndpointSighting, Outcome, Sighting
from rollover.core.steps import OwnerChange
from rollover.core.tlsa import EMPTY, Chain, RRset, record
from rollover.core.view import View
from rollover.dns.authoritative import DnsLook, NsSet
from rollover.engine import tick as module
from rollover.engine.host import Host
from rollover.engine.look import Looker
from rollover.engine.neighbours import note_shown
from rollover.engine.run import enter
from rollover.engine.tick import tick
from tests.pki import NOW
from tests.unit.core.worlds import owner
from tests.unit.engine.hosts import HOST, OWNER, StillClock, adopted, host, lineage

AGO = timedelta(seconds=1)


def chain_of(directory: Path) -> Chain:
    """Return the chain in a lineage."""
    return parse_chain((directory / "fullchain.pem").read_bytes())


def seen_with(it: Host, *chains: Chain, records: RRset = EMPTY) -> Sighting:
    """Return a sighting in which one endpoint presents *chains*."""
    at = replace(owner(), owner=OWNER, target=OWNER)
    servers = tuple(replace(a, rrset=records) for a in at.servers)
    place = EndpointSighting(Endpoint(HOST, "192.0.2.25", 25), Outcome.PRESENTED, chains)
    return Sighting(it.clock.now(), (replace(at, servers=servers),), (place,), (), clock_agrees=True)


def looked_at(it: Host, name: str, *chains: Chain, ago: timedelta = AGO) -> None:
    """Let a look at a service, a while ago, have shown *chains*."""
    looker = Looker(it, name)
    seen = seen_with(it, *chains)
    note_shown(it, View(looker.world(seen=seen), seen))
    told(it, name, ago, None)


def told(it: Host, name: str, ago: timedelta, due: datetime | None) -> None:
    """Let the report of a service be of a while ago."""
    world = Looker(it, name).world(seen=seen_with(it))
    it.store.save_report(name, replace(unseen(world, NOW), seen=NOW - ago).as_json(), due)


def two(directory: Path) -> tuple[Host, Chain, Chain]:
    """Return a host with two services at one owner, and what they serve."""
    it = host(directory, rsa='trust = "none"', ec='trust = "none"')
    first, second = lineage(directory / "a", label="a"), lineage(directory / "b", label="b")
    adopted(it, "rsa", first)
    adopted(it, "ec", second)
    return it, chain_of(first), chain_of(second)


def needing(it: Host) -> set[str]:
    """Return what `rsa` takes to be needed by others at its owner."""
    looker = Looker(it, "rsa")
    return {c.fingerprint for c in looker.world(seen=seen_with(it)).others.get(OWNER, ())}


def test_what_another_service_serves_is_needed_from_the_adoption_on(tmp_path: Path) -> None:
    """Also before it was ever looked at."""
    it, _, served = two(tmp_path)

    assert needing(it) == {served.fingerprint}


def test_what_another_service_presents_is_needed_whatever_its_book_says(tmp_path: Path) -> None:
    """An endpoint that came back from a snapshot presents what was removed long ago: its record is not taken away."""
    it, _, served = two(tmp_path)
    old = lineage(tmp_path / "c", label="c")
    fingerprint = adopted(it, "ec", old)
    book = it.store.book("ec")
    removed = replace(book.standings[fingerprint], state=State.REMOVED)
    book = replace(book, goal=served.fingerprint, active=served.fingerprint, standings={fingerprint: removed})
    it.store.save_book("ec", replace(book, quiet=replace(it.clock.now().plus(-200_000), boot_id="boot 0")))

    looked_at(it, "ec", served)
    assert needing(it) == {served.fingerprint}
    looked_at(it, "ec", chain_of(old))
    assert needing(it) == {served.fingerprint, fingerprint}
    it.store.save_book("ec", book)  # its clock began anew: processes that nobody met may present it still
    looked_at(it, "ec", served)
    assert needing(it) == {served.fingerprint, fingerprint}


def test_a_service_that_left_the_configuration_keeps_its_records(tmp_path: Path) -> None:
    """Its file was renamed, its daemon goes on: what it serves stays needed."""
    it, _, served = two(tmp_path)
    looked_at(it, "ec", served)
    without = host(tmp_path, rsa='trust = "none"')

    assert "ec" not in without.services
    assert needing(without) == {served.fingerprint}


def test_an_unknown_certificate_at_another_service_is_guarded_and_never_published(tmp_path: Path) -> None:
    """Over nothing its endpoint delivers; a record beside it would make senders refuse it."""
    it, mine, _ = two(tmp_path)
    stranger = chain_of(lineage(tmp_path / "x", label="x"))
    looked_at(it, "ec", stranger)
    looker = Looker(it, "rsa")
    seen = seen_with(it, mine)
    view = View(looker.world(seen=seen), seen)
    (at,) = seen.owners
    own = frozenset({record(mine, (3, 1, 1))})
    change = OwnerChange(OWNER, OWNER, at.zone, EMPTY, "", own, EMPTY, 3600)

    assert stranger in view.guarded(at)
    assert not view.publishable(stranger, at)
    assert not safe(view, change)
    looked_at(it, "ec", mine)
    assert safe(
        View(looker.world(seen=seen), seen), replace(change, add=own | {record(chain_of(tmp_path / "b"), (3, 1, 1))})
    )


def test_a_certificate_that_only_shares_a_key_with_one_of_the_vault_is_guarded_beside(tmp_path: Path) -> None:
    """Somebody copied it there. A record of its whole (3 0 1) is needed for as long as the other service presents it."""
    it, mine, served = two(tmp_path)
    copied = chain_of(lineage(tmp_path / "copied", label="b", names=(HOST, "b.example.org")))
    assert copied.spki_sha256 == served.spki_sha256
    looked_at(it, "ec", copied)
    records = frozenset(record(c, (3, 0, 1)) for c in (mine, served, copied))
    seen = seen_with(it, mine, records=records)
    view = View(Looker(it, "rsa").world(seen=seen), seen)
    (at,) = seen.owners
    its = frozenset({record(copied, (3, 0, 1))})

    assert copied in view.guarded(at)
    assert not safe(view, OwnerChange(OWNER, OWNER, at.zone, records, "", EMPTY, its, 3600))


def test_an_unknown_certificate_that_has_just_gone_is_guarded_for_as_long_as_an_old_process_may_live(
    tmp_path: Path,
) -> None:
    """Over nothing every certificate delivers: a record that comes back a second after the last look would refuse it."""
    it, mine, _ = two(tmp_path)
    stranger = chain_of(lineage(tmp_path / "x", label="x"))
    looker = Looker(it, "rsa")
    enter(looker, seen_with(it, stranger), {}, proving=False)
    own = frozenset({record(mine, (3, 1, 1))})

    def may_be_made(name: str) -> bool:
        seen = seen_with(it, mine)
        view = View(Looker(it, name).world(seen=seen), seen)
        (at,) = seen.owners
        needed = own | {record(chain_of(tmp_path / "b"), (3, 1, 1))}
        return safe(view, OwnerChange(OWNER, OWNER, at.zone, EMPTY, "", needed, EMPTY, 3600))

    enter(looker, seen_with(it, mine), {}, proving=False)
    assert not may_be_made("rsa")
    assert not may_be_made("ec"), "by a service beside it neither"
    clock = it.clock
    assert isinstance(clock, StillClock)
    clock.time = clock.time.plus(it.service("rsa").drain)
    enter(looker, seen_with(it, mine), {}, proving=False)
    assert may_be_made("rsa")
    assert may_be_made("ec")


def test_what_another_service_presented_by_itself_is_needed_for_as_long_as_an_old_process_may_live(
    tmp_path: Path,
) -> None:
    """A certificate that was only handed over to this service: an endpoint of the other presented it until its reload."""
    it, mine, served = two(tmp_path)
    enter(Looker(it, "ec"), seen_with(it, mine, served), {}, proving=False)
    assert needing(it) == {mine.fingerprint, served.fingerprint}
    enter(Looker(it, "ec"), seen_with(it, served), {}, proving=False)
    assert needing(it) == {mine.fingerprint, served.fingerprint}
    clock = it.clock
    assert isinstance(clock, StillClock)
    clock.time = clock.time.plus(it.service("ec").drain)
    enter(Looker(it, "ec"), seen_with(it, served), {}, proving=False)
    assert needing(it) == {served.fingerprint}


@pytest.mark.parametrize(("ago", "kept"), [(AGO, False), (timedelta(hours=2), True)], ids=["fresh", "old"])
@pytest.mark.parametrize("apart", [False, True], ids=["one certificate", "one key"])
def test_what_both_have_replaced_goes_only_after_a_fresh_look_at_the_other(
    tmp_path: Path, ago: timedelta, kept: bool, apart: bool
) -> None:
    """The other one's clock has run down, but that says nothing if nobody has looked at it for hours.

    Be it the same certificate, or two of the same key: each would keep its record for the other's, for ever.
    """
    it, mine, served = two(tmp_path)
    common = lineage(tmp_path / "c", label="c")
    for name, current in (("rsa", mine), ("ec", served)):
        fingerprint = adopted(it, name, lineage(tmp_path / f"c {name}", label="c") if apart else common)
        book = it.store.book(name)
        retired = {fingerprint: replace(book.standings[fingerprint], state=State.RETIRED)}
        quiet = it.clock.now().plus(-200_000)
        quiet = replace(quiet, boot_id="boot 0")
        it.store.save_book(
            name,
            replace(
                book,
                goal=current.fingerprint,
                active=current.fingerprint,
                quiet=quiet,
                standings={**book.standings, **retired},
            ),
        )
    looked_at(it, "ec", served, ago=ago)

    assert (fingerprint in needing(it)) is kept


# -------------------------------------------------------------------------------- clocks that were wrong


@pytest.mark.parametrize(
    ("ahead", "runs"), [(timedelta(seconds=300), 0), (timedelta(days=3650), 1)], ids=["soon", "2036"]
)
def test_a_look_that_a_wrong_clock_planned_is_due(
    tmp_path: Path, monkeypatch: Any, ahead: timedelta, runs: int
) -> None:
    """A clock that was ten years ahead for a minute must not stop all looks for ten years."""
    it = host(tmp_path, mail='trust = "none"')
    it.run_directory = tmp_path / "run"
    adopted(it, "mail", lineage(tmp_path / "a"))
    told(it, "mail", AGO, NOW + ahead)
    had: list[str] = []

    async def have_run(host: Host, name: str, ticked: Any) -> None:
        had.append(name)

    monkeypatch.setattr(module, "_have_run", have_run)
    monkeypatch.setattr(module, "reports_with", lambda host, newer: [])
    asyncio.run(tick(it, ["mail"], asked=False))

    assert len(had) == runs


def test_a_server_that_left_is_forgotten_only_by_a_clock_that_was_confirmed(tmp_path: Path) -> None:
    """After a reboot with a clock that is days ahead it is still asked; an instant in the future starts over."""
    it = host(tmp_path, mail='trust = "none"')
    clock = it.clock
    assert isinstance(clock, StillClock)
    looker = Looker(it, "mail")
    zone = "example.org."

    def ns(*servers: str, agrees: bool = True) -> None:
        dns = DnsLook((), agrees, "", {zone: NsSet(servers, 600)})
        looker.remember_servers(dns, clock.now())

    def asked() -> list[str]:
        return looker._remembered()[zone]

    ns("ns1", "ns2")
    assert asked() == ["ns1", "ns2"], "one that leaves just now has to be in the next look"
    ns("ns1")
    assert asked() == ["ns1", "ns2"]
    clock.time = replace(clock.time, wall=NOW + timedelta(days=3), boot_id="boot 2")
    ns("ns1", agrees=False)
    assert asked() == ["ns1", "ns2"]
    clock.time = replace(clock.time, wall=NOW - timedelta(days=3), boot_id="boot 3")
    ns("ns1")
    assert asked() == ["ns1", "ns2"]
    clock.time = clock.time.plus(602)
    ns("ns1")
    assert asked() == ["ns1", "ns2"], "a resolver counts in whole seconds, and rounds up"
    clock.time = clock.time.plus(2)
    ns("ns1")
    assert asked() == ["ns1"]


def test_a_server_is_asked_for_the_largest_ns_ttl_that_may_be_held(tmp_path: Path) -> None:
    """Lowered before a move, the TTL of before counts until it has run out; then the lower one does."""
    it = host(tmp_path, mail='trust = "none"')
    clock = it.clock
    assert isinstance(clock, StillClock)
    looker, zone = Looker(it, "mail"), "example.org."

    def ns(ttl: int, *servers: str) -> list[str]:
        looker.remember_servers(DnsLook((), True, "", {zone: NsSet(servers, ttl)}), clock.now())
        return sorted(looker._remembered()[zone])

    def later(seconds: float) -> None:
        clock.time = clock.time.plus(seconds)

    ns(86400, "ns1", "ns2")
    later(900)
    ns(300, "ns1", "ns2")
    later(900)
    assert ns(300, "ns1") == ["ns1", "ns2"]
    later(86403)
    assert ns(300, "ns1") == ["ns1", "ns2"]
    later(1)
    assert ns(300, "ns1") == ["ns1"], "and ns1 is remembered with 300 s from here on"
    ns(300, "ns1", "ns3")
    later(1)
    ns(300, "ns3")
    later(303)
    assert ns(300, "ns3") == ["ns1", "ns3"]
    later(1)
    assert ns(300, "ns3") == ["ns3"]
