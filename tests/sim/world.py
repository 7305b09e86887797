"""The simulated world: time, name servers, mail servers; its judge looks at it after everything that happens.

Nothing is sampled: whatever a resolver may hold is held, until the last second.
"""

from __future__ import annotations

import hashlib
import heapq
from collections import defaultdict
from collections.abc import Callable
from datetime import datetime, timedelta
from itertools import count
from typing import TypeVar

from rollover.core.timing import Instant  # a value of the tool's interface to time, no rule
from tests.sim.judge import PORT, RESTORED_BETWEEN, Judge
from tests.sim.mailhost import MailHost, Place
from tests.sim.materials import EPOCH, Certificate, certificate
from tests.sim.nameservers import ROUNDED_UP, Copy, Landing, Node, Records, Required, Resolver, Server, Zones
from tests.sim.shape import HOSTS, Shape

T = TypeVar("T")
ZONE, OTHER_ZONE = "example.test.", "dane.test."
LANDS_FOR = 300.0  # seconds in which a delayed update is still accepted: the TSIG fudge


class World:
    """One world with its clock."""

    def __init__(self, shape: Shape) -> None:
        self.shape = shape
        self.t = 0.0
        self.skew = 0.0
        self.booted, self.boots = 0.0, 1
        self._now: tuple[object, Instant] = (), Instant(EPOCH, 0.0, "")
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()
        self.certificates: dict[str, Certificate] = {}
        self.names: dict[str, str] = {}  # by fingerprint
        self.log: list[str] = []
        self.judge = Judge(self)
        self.updates_in_flight = 0
        self.transferring: dict[int, tuple[str, Copy]] = {}  # zones on their way to a secondary
        self.in_flight: defaultdict[str, list[Records]] = defaultdict(list)  # by name, what they would make
        self.resolver = Resolver()
        self.paused: set[str] = set()  # services that a person paused
        self._make_dns()
        self._make_mail()

    # ------------------------------------------------------------------------------ making

    def _make_dns(self) -> None:
        shape = self.shape
        hosts = HOSTS[: max(len(shape.hosts), shape.services)]
        owners = {f"_{PORT}._tcp.{host}.": f"_{PORT}._tcp.{host}." for host in hosts}
        zones = {ZONE}
        if shape.form in {"cname", "two owners, one target"}:
            owners = {owner: f"_dane.{ZONE}" for owner in owners}
        elif shape.form == "cname to another zone":
            owners = {owner: f"_mx.{OTHER_ZONE}" for owner in owners}
            zones.add(OTHER_ZONE)
        elif shape.form == "two zones":
            second = f"_mx.{OTHER_ZONE}"
            owners = {owner: second if i else owner for i, owner in enumerate(owners)}
            zones.add(OTHER_ZONE)
        self.zones = Zones(owners, self.stretched, lambda: self.t)
        first = self.stage("c0")
        records = frozenset({first.record(3, 1, 1)} | ({first.record(3, 1, 2)} if shape.both else set()))
        for zone in sorted(zones):
            nodes: dict[str, Node] = {}
            for owner, target in owners.items():
                if owner != target and zone == ZONE:
                    nodes[owner] = Node(cname=target, ttl=shape.ttl, signed=1)
                if target.endswith(zone):
                    name = target.replace(f"_{PORT}", "*") if shape.form == "wildcard" else target
                    nodes[name] = Node(records, shape.ttl, signed=1)
            self._make_servers(zone, Copy(1, nodes))

    def _make_servers(self, zone: str, copy: Copy) -> None:
        shape = self.shape
        primary = Server(f"ns0.{zone}", zone, copy, public=not shape.hidden_primary)
        self.zones.add(primary)
        upper = primary
        for i in range(1, shape.secondaries + 1):
            delay = self.chance(f"{zone} {i}", (0.0, 0.0, 0.4, 5.0, 30.0))
            server = Server(f"ns{i}.{zone}", zone, copy, upstream=upper if shape.chained else primary, delay=delay)
            self.zones.add(server)
            upper = server
        if shape.anycast:  # a node that answers others under the last one's address; never more than `settle` behind
            self.zones.add(
                Server(f"far node of {upper.label}", zone, copy, upstream=upper, seen=False, delay=shape.settle * 0.9)
            )

    def _make_mail(self) -> None:
        self.mail: dict[str, MailHost] = {}
        for i in range(self.shape.services):
            hosts = self.shape.hosts if i == 0 else (HOSTS[i],)
            places = [
                Place(host, f"192.0.2.{10 * (i + 1) + n}", PORT, "c0")
                for host in hosts
                for n in range(self.shape.addresses)
            ]
            linger = self.chance(f"linger {i}", (0.0, 0.0, self.shape.drain * 0.9))
            self.mail[f"mail{i}" if i else "mail"] = MailHost("c0", places, lambda: self.t, linger)

    # ------------------------------------------------------------------------------ chance and time

    def chance(self, what: str, choices: tuple[T, ...]) -> T:
        """Return one of *choices*, always the same for this seed and *what*."""
        digest = hashlib.sha256(f"{self.shape.seed} {what}".encode()).digest()
        return choices[int.from_bytes(digest[:4]) % len(choices)]

    def stretched(self, ttl: int) -> float:
        """Return how long an answer may be used: a TTL, rounded up, or as many as the tool waits for."""
        return float(max(self.shape.ttls * ttl, ttl + ROUNDED_UP, self.shape.stretch))

    def wall(self) -> datetime:
        """Return true time."""
        return EPOCH + timedelta(seconds=self.t)

    def now(self) -> Instant:
        """Return this instant on the clocks of the tool's host."""
        clocks = self.t, self.skew, self.booted, self.boots
        if clocks != self._now[0]:
            wall = self.wall() + timedelta(seconds=self.skew)
            self._now = clocks, Instant(wall, self.t - self.booted, f"boot {self.boots}")
        return self._now[1]

    async def sleep(self, seconds: float) -> None:
        """Let time pass for the tool."""
        self.wait(seconds)

    def later(self, seconds: float, what: Callable[[], None]) -> None:
        """Let something happen in a while."""
        heapq.heappush(self._timers, (self.t + seconds, next(self._order), what))

    def wait(self, seconds: float) -> None:
        """Let time pass, and what is due in it happen."""
        end = self.t + seconds
        while self._timers and self._timers[0][0] <= end:
            at, _, what = heapq.heappop(self._timers)
            self.t = max(self.t, at)
            what()
        self.t = end
        self.judge.check()

    def say(self, text: str) -> None:
        """Note what happens, for the story."""
        self.log.append(f"{self.t:8.1f}  {text}")

    # ------------------------------------------------------------------------------ DNS

    def edit(self, zone: str, name: str, node: Node | None) -> None:
        """Change the zone on its primary; its secondaries follow in their time."""
        self.zones.edit(zone, name, node)
        self.transfers()

    def transfers(self) -> None:
        """Start a transfer to every server that is behind; it brings what the upper one has now, when it ends."""
        for server in list(self.zones.behind()):
            if server.upstream is not None:
                begun = next(self._order)
                self.transferring[begun] = server.zone, server.upstream.copy
                self.later(server.delay, lambda server=server, begun=begun: self._transferred(server, begun))  # type: ignore[misc]

    def _transferred(self, server: Server, begun: int) -> None:
        upper, (_, copy) = server.upstream, self.transferring.pop(begun)
        if upper is not None and not server.lagging and copy.serial > server.copy.serial:
            if server.unseen:
                self.judge.nobody_saw(server, RESTORED_BETWEEN)
            server.unseen, server.restored = False, upper.restored
            self.zones.serve(server, copy)
            self.judge.listed_unseen(server if server.seen else upper)
            if server.restored:
                self.judge.excuse("a secondary was restored from an old copy")
            self.judge.check()
            self.transfers()

    def own_name(self, owner: str) -> tuple[str, str]:
        """Return (zone, name) where the records of *owner* are now, be it a wildcard."""
        target = self.zones.targets[owner]
        zone = self.zones.zone_of(target)
        _, wildcard = self.zones.primary(zone).copy.lookup(target)
        return zone, wildcard or target

    # ------------------------------------------------------------------------------ certificates

    def stage(self, name: str, **options: object) -> Certificate:
        """Make a certificate of this world."""
        it = certificate(name, **options)  # type: ignore[arg-type]
        self.certificates[name] = it
        self.names[it.fingerprint] = name
        return it

    # ------------------------------------------------------------------------------ telling

    def told(self, record: str) -> str:
        """Return a record as a person would name it."""
        for name, it in self.certificates.items():
            if record[0] in "23" and record == it.record(int(record[0]), int(record[2]), int(record[4])):
                return f"{record[:5]} of {name}"
        return record[:14]

    def served(self, owner: str) -> Records:
        """Return what the primary has at *owner*."""
        target = self.zones.targets[owner]
        return self.zones.primary(self.zones.zone_of(target)).copy.lookup(target)[0].records

    def land(self, zone: str, required: list[Required], changes: list[Landing], *, late: bool = False) -> bool:
        """Let an update arrive. Applied whole or, where a prerequisite is not met, not at all."""
        primary = self.zones.primary(zone)
        for name, records in required:
            own = primary.copy.nodes.get(name, Node())
            if own.cname or own.records != records:
                return False
        for name, _, add, delete, ttl in changes:
            before = primary.copy.nodes.get(name, Node()).records
            after = (before - delete) | add
            self.judge.update(zone, name, add, delete, after, late=late)
            self.edit(zone, name, Node(after, ttl) if after else None)
        self.judge.check()
        return True
