"""The published definition of a correct rollover (USENIX Security 2022), measured in simulated worlds without the judge."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from dataclasses import replace

import pytest

from tests.sim.mailhost import MailHost
from tests.sim.nameservers import Copy, Server, Zones
from tests.sim.play import Play, play
from tests.sim.rules import valid
from tests.sim.shape import draw

#: Three rollovers, one of them with a kill at the install, and a rollback.
EVENTS = [
    ("deploy", 0),
    ("on to waiting", 0),
    ("TTL", 2),
    ("on to retaining", 0),
    ("on to steady", 0),
    ("deploy", 1),
    ("on to waiting", 1),
    ("lag", 0),
    ("a kill when it is due", 3),
    ("lag", 0),
    ("on to steady", 0),
    ("deploy", 2),
    ("on to retaining", 0),
    ("rollback", 0),
    ("on to steady", 0),
]


class Witness:
    """Writes down what each server had since when, and what was installed when."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.had: defaultdict[int, list[tuple[float, Copy]]] = defaultdict(list)
        self.installed: list[tuple[float, MailHost, str]] = []
        serve, write, add = Zones.serve, MailHost.write, Zones.add

        def adding(zones: Zones, server: Server) -> None:
            self.had[id(server)].append((float("-inf"), server.copy))
            add(zones, server)

        def serving(zones: Zones, server: Server, copy: Copy) -> None:
            self.had[id(server)].append((zones._now(), copy))
            serve(zones, server, copy)

        def writing(mail: MailHost, name: str, *, by_tool: bool = False) -> None:
            if by_tool and name != mail.live:
                self.installed.append((mail.now(), mail, name))
            write(mail, name, by_tool=by_tool)

        for what, name, by in ((Zones, "add", adding), (Zones, "serve", serving), (MailHost, "write", writing)):
            patch.setattr(what, name, by)

    def wrong(self, played: Play) -> list[str]:
        """Return each install where what some server had two TTLs before it did not match what was installed."""
        zones, told = played.world.zones, []
        for at, mail, name in self.installed:
            for owner in {f"_25._tcp.{place.host}." for place in mail.places}:
                target = zones.targets[owner]
                for server in zones.of(zones.zone_of(target)):
                    copies = self.had[id(server)]
                    ttl = max(copy.lookup(target)[0].ttl for since, copy in copies if since <= at)
                    (*_, before) = (copy for since, copy in copies if since <= at - 2 * ttl)
                    if not valid(before.lookup(target)[0].records, played.world.certificates[name]):
                        told.append(f"{name} at {at:g}: not what {server.label} had {2 * ttl} s before")
        return told


@pytest.mark.parametrize("seed", range(12))
def test_two_ttls_before_a_key_changes_every_server_had_its_record(
    seed: int, loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever form the owner has, however late the servers are: with the largest TTL that there was until then."""
    witness = Witness(monkeypatch)
    played = play(replace(draw(seed), ttls=2, retain=400, settle=0, anycast=False), EVENTS, loop)

    assert len(witness.installed) >= 4, played.world.log
    assert witness.wrong(played) == []


def test_one_ttl_is_seen_to_be_too_few(loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch) -> None:
    """The measure can fail: a tool that waits for one TTL, in a world where that loses nothing, does not pass it."""
    witness = Witness(monkeypatch)
    played = play(replace(draw(3), ttls=1, stretch=0, settle=0, anycast=False), EVENTS, loop)

    assert witness.wrong(played)
