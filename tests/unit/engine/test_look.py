"""Where the endpoints of a service are looked for, also when nobody tells the addresses of its hosts."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rollover.core.errors import ServerError
from rollover.core.machine import decide
from rollover.core.model import OpenInstall, Shown
from rollover.core.sighting import Endpoint, EndpointSighting, LiveFile, Outcome
from rollover.core.steps import SetGoal
from rollover.core.tlsa import record
from rollover.core.view import View
from rollover.dns.authoritative import DnsLook
from rollover.engine.hands import Hands
from rollover.engine.host import Host
from rollover.engine.look import Looker
from tests.unit.core.worlds import owner
from tests.unit.engine.hosts import HOST, OWNER, adopted, hand_over, host, lineage

ADDRESSES = ("192.0.2.25", "2001:db8::25")
WHY = f"resolver 192.0.2.1: no answer for {HOST} A: timed out"


class Lost:
    """Name servers that say what they serve, and a resolver that says *addresses*; nothing at all for None."""

    def __init__(self, addresses: list[str] | None, dns: DnsLook) -> None:
        self._addresses = addresses
        self._dns = dns

    async def look(self, *_: object, **__: object) -> DnsLook:
        return self._dns

    async def addresses(self, host: str) -> list[str]:
        if self._addresses is None:
            raise ServerError(WHY, hint="see whether it runs")
        return self._addresses


class Refusing:
    """Endpoints that all answer 454 to STARTTLS; remembers which were asked."""

    asked: tuple[Endpoint, ...] = ()

    async def probe(self, endpoints: Sequence[Endpoint], **_: object) -> tuple[EndpointSighting, ...]:
        self.asked = tuple(endpoints)
        return tuple(EndpointSighting(e, Outcome.NO_TLS, detail="454") for e in endpoints)


class File:
    """What reads the live file."""

    def __init__(self, live: LiveFile) -> None:
        self._live = live

    def live(self) -> LiveFile:
        return self._live


def failing_install(directory: Path, addresses: list[str] | None) -> tuple[Host, Refusing, str]:
    """Return a host on which what was installed two `verify_timeout` ago fails, and what was served before."""
    it = host(directory, mail='trust = "none"')
    old = adopted(it, "mail", lineage(directory / "old", label="old"))
    hand_over(it, lineage(directory / "new", label="new"))
    (new,) = it.store.inbox("mail")
    looker = Looker(it, "mail")
    before, after = looker.credential(old), looker.credential(new)
    assert before is not None and after is not None
    places = [Endpoint(HOST, address, 25, sni) for address in (*ADDRESSES, "?") for sni in (True, False)]
    picture = {e: Shown(Outcome.UNREACHABLE if e.address == "?" else Outcome.PRESENTED, (old,)) for e in places}
    since = it.clock.now().plus(-120)
    book = it.store.book("mail")
    it.store.save_book("mail", replace(book, goal=new, install=OpenInstall(since, since, old, picture, new)), book)
    records = frozenset(record(c.chain, (3, 1, 1)) for c in (before, after))
    at = replace(owner(), owner=OWNER, target=OWNER)
    at = replace(at, servers=tuple(replace(a, rrset=records) for a in at.servers))
    endpoints = Refusing()
    names: Any = Lost(addresses, DnsLook((at,), clock_agrees=True, clock_problem="", ns={}))
    target: Any = File(LiveFile("mail.pem", "identity", after.chain))
    it.make_hands = lambda *_: Hands(names, endpoints, {"mail": (target,)})
    return it, endpoints, old


def test_a_dead_resolver_does_not_starve_the_judgement(tmp_path: Path) -> None:
    """What fails is looked at where it was when the install was opened, and is taken back; nothing counts as proven."""
    it, endpoints, old = failing_install(tmp_path, None)
    looker = Looker(it, "mail")

    seen = asyncio.run(looker.look())

    assert {(e.host, e.address, e.port, e.sni) for e in endpoints.asked} == {
        (HOST, address, 25, sni) for address in ADDRESSES for sni in (True, False)
    }
    unresolved = EndpointSighting(Endpoint(HOST, "?", 25), Outcome.UNREACHABLE, detail=WHY, connections=0)
    assert unresolved in seen.endpoints
    world = looker.world(seen=seen)
    step = decide(world, seen)
    assert isinstance(step, SetGoal)
    assert (step.fingerprint, step.returning) == (old, True)
    shown = tuple(
        e if e == unresolved else replace(e, outcome=Outcome.PRESENTED, chains=(world.goal.chain,))  # type: ignore[union-attr]
        for e in seen.endpoints
    )
    assert world.goal is not None
    view = View(world, replace(seen, endpoints=shown))
    assert [e.endpoint for e in seen.endpoints if not view.shows_only(e, world.goal)]
    assert not view.proven(world.goal)


@pytest.mark.parametrize(
    ("addresses", "asked", "unresolved"),
    [(["192.0.2.26"], {"192.0.2.26"}, False), ([], set(), True)],
    ids=["another address", "no address"],
)
def test_what_the_resolver_says_is_believed(
    tmp_path: Path, addresses: list[str], asked: set[str], unresolved: bool
) -> None:
    """Where the mail server was when the install was opened counts only while nobody tells where it is."""
    it, endpoints, _ = failing_install(tmp_path, addresses)

    seen = asyncio.run(Looker(it, "mail").look())

    assert {e.address for e in endpoints.asked} == asked
    assert any(e.endpoint.address == "?" for e in seen.endpoints) is unresolved


def test_without_an_open_install_nothing_is_asked_where_it_was(tmp_path: Path) -> None:
    """An address that nobody confirms is not where mail goes: there is one endpoint, which was not reached."""
    it, endpoints, _ = failing_install(tmp_path, None)
    book = it.store.book("mail")
    it.store.save_book("mail", replace(book, install=None), book)

    seen = asyncio.run(Looker(it, "mail").look())

    assert endpoints.asked == ()
    assert [(e.endpoint.address, e.outcome) for e in seen.endpoints] == [("?", Outcome.UNREACHABLE)]
