"""The simulated world: time, name servers, mail servers, and the rule that is checked after everything that happens.

Nothing is sampled: whatever a resolver may hold is held, until the last second. What somebody else
broke is excused by name for as long as it lasts, and counted; it has to be told and repaired.
"""

from __future__ import annotations

import hashlib
import heapq
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from itertools import count
from typing import TypeVar

from rollover.core.timing import Instant  # a value of the tool's interface to time, no rule
from tests.sim.mailhost import MailHost, Place
from tests.sim.materials import EPOCH, Certificate, certificate
from tests.sim.nameservers import ROUNDED_UP, Copy, Landing, Node, Records, Required, Server, Zones
from tests.sim.rules import valid
from tests.sim.shape import HOSTS, Shape

T = TypeVar("T")
ZONE, OTHER_ZONE = "example.test.", "dane.test."
PORT = 25
UNSEEN = "an administrator changed what the tool could not look at"
LANDS_FOR = 300.0  # seconds in which a delayed update is still accepted: the TSIG fudge


class Violation(BaseException):
    """The tool did what it must not do. No error of a hand: the engine would take it for one, and go on."""


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
        self.excused: dict[tuple[str, Records, str], str] = {}
        self.standing: dict[tuple[str, Records, str], str] = {}  # not to be fetched yet, but on its way
        self.unseen: dict[tuple[str, Records], tuple[float, str]] = {}  # until when, why
        self.blind: defaultdict[str, set[tuple[str, Records]]] = defaultdict(
            set
        )  # by zone: made on a primary out of reach
        self.ttl_unseen: set[str] = set()  # zones in which somebody changed a TTL that no process has noted yet
        self.met: Counter[str] = Counter()
        self.foreign: set[tuple[str, str]] = set()  # (name, record) that an administrator made
        self.off: set[str] = set()  # names whose records somebody took away: DANE is off there
        self.updates_in_flight = 0
        self.transferring: dict[int, tuple[str, Copy]] = {}  # zones on their way to a secondary
        self.in_flight: defaultdict[str, list[Records]] = defaultdict(list)  # by name, what they would make
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
        self.check()

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
                self.nobody_saw(server, "a secondary was restored and mended again, and nobody looked in between")
            server.unseen, server.restored = False, upper.restored
            self.zones.serve(server, copy)
            if server.restored:
                self.excuse("a secondary was restored from an old copy")
            self.check()
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

    # ------------------------------------------------------------------------------ the rule

    def pairs(self) -> set[tuple[str, Records, str]]:
        """Return what would defer mail now: (owner, records that may be held, certificate)."""
        wrong = set()
        for mail in self.mail.values():
            for host in {place.host for place in mail.places}:
                owner = f"_{PORT}._tcp.{host}."
                presentable = mail.presentable(host)
                for records in self.zones.may_be_held(owner):
                    for name in presentable:
                        if not valid(records, self.certificates[name]):
                            wrong.add((owner, records, name))
        return wrong

    def excuse(self, why: str) -> None:
        """Take what is wrong now for somebody else's doing, which no tool could prevent; counted by *why*."""
        for pair in self.pairs() - set(self.excused):
            self.excused[pair] = why
            self.met[why] += 1

    @contextmanager
    def presented_by_somebody(self, why: str) -> Iterator[None]:
        """Excuse what becomes wrong by what somebody else lets an endpoint present within; nothing that was wrong before.

        With it what becomes wrong when the records that the primary has by now come to the servers that the public asks.
        """
        before = self.pairs() | self.on_its_way()
        yield
        for pair in self.pairs() - before - set(self.excused):
            self.excused[pair] = why
            self.met[why] += 1
        self.standing |= dict.fromkeys(self.on_its_way() - before, why)

    def brought(self, mail: MailHost, name: str) -> None:
        """The tool brings *name* to where it was not: whoever presented it elsewhere before, this is the tool's doing."""
        owners = {f"_{PORT}._tcp.{place.host}." for place in mail.places}
        for kept in (self.excused, self.standing):
            for pair in [it for it in kept if it[0] in owners and it[2] == name]:
                del kept[pair]

    def on_its_way(self) -> set[tuple[str, Records, str]]:
        """Return what would defer mail if everybody had the records that the primaries have, or get by what may land."""
        wrong = set()
        for mail in self.mail.values():
            for host in {place.host for place in mail.places}:
                owner = f"_{PORT}._tcp.{host}."
                target = self.zones.targets[owner]
                zone = self.zones.zone_of(target)
                transferring = {c.lookup(target)[0].records for z, c in self.transferring.values() if z == zone}
                for records in (self.served(owner), *self.in_flight.get(target, ()), *transferring):
                    wrong |= {
                        (owner, records, it)
                        for it in mail.presentable(host)
                        if not valid(records, self.certificates[it])
                    }
        return wrong

    def excuse_on_its_way(self, zone: str, name: str, why: str) -> None:
        """Excuse what somebody else made on the primary, for when the servers that the public asks have it.

        Only for certificates that may be presented now: what the tool installs later is its own doing.
        """
        records = self.zones.primary(zone).copy.lookup(name)[0].records
        for mail in self.mail.values():
            for host in {place.host for place in mail.places}:
                owner = f"_{PORT}._tcp.{host}."
                if name in (self.zones.targets[owner], self.own_name(owner)[1]) and self.own_name(owner)[0] == zone:
                    for it in mail.presentable(host):
                        if not valid(records, self.certificates[it]):
                            self.standing[owner, records, it] = why

    def nobody_saw(self, server: Server, why: str, *, passed_on: float = 0.0) -> None:
        """Excuse what resolvers may hold of *server* now, whatever is presented: the tool cannot know of it.

        *passed_on*: for so many seconds other servers may come to have it by transfers that have begun.
        """
        for owner, target in self.zones.targets.items():
            if self.zones.zone_of(target) == server.zone:
                node, _ = server.copy.lookup(target)
                self.unseen[owner, node.records] = self.t + passed_on + self.stretched(node.ttl), why

    def edited_unseen(self, zone: str) -> None:
        """Excuse what somebody made on a primary that the tool cannot reach, whatever it installs before it can."""
        for owner, target in self.zones.targets.items():
            if self.zones.zone_of(target) == zone:
                self.blind[zone].add((owner, self.served(owner)))

    def primary_seen(self, zone: str) -> None:
        """The tool knows what the primary has: from now on what it installs is its own doing again."""
        blind = self.blind.pop(zone, set())
        for pair in self.on_its_way() | self.pairs() if blind else ():
            if pair[:2] in blind:
                self.standing[pair] = UNSEEN

    def secondary_seen(self, server: Server) -> None:
        """The tool has met there what somebody made on a primary out of reach: it is known now."""
        there = {(o, server.copy.lookup(t)[0].records) for o, t in self.zones.targets.items()}
        known = self.blind[server.zone] & there
        for pair in self.on_its_way() | self.pairs() if known else ():
            if pair[:2] in known:
                self.standing[pair] = UNSEEN
        self.blind[server.zone] -= known

    def check(self) -> None:
        """Fail if mail would be deferred by what the tool did."""
        wrong = self.pairs()
        if self.standing:
            shown = {
                (f"_{PORT}._tcp.{host}.", it)
                for m in self.mail.values()
                for host in {p.host for p in m.places}
                for it in m.presentable(host)
            }
            self.standing = {pair: why for pair, why in self.standing.items() if (pair[0], pair[2]) in shown}
        if not wrong:
            self.excused = {}  # an excuse ends with its cause
            return
        blind = set[tuple[str, Records]]().union(*self.blind.values())
        for pair in wrong - set(self.excused):
            until, why = self.unseen.get((pair[0], pair[1]), (0.0, ""))
            if pair[:2] in blind:
                until, why = self.t + 1, UNSEEN
            if self.t < until:
                self.excused[pair] = why
                self.met[why] += 1
        for pair in wrong & set(self.standing) - set(self.excused):
            self.excused[pair] = self.standing[pair]
            self.met[self.standing[pair]] += 1
        self.excused = {pair: why for pair, why in self.excused.items() if pair in wrong}
        for owner, records, name in sorted(wrong - set(self.excused), key=repr):
            held = ", ".join(sorted(self.told(r) for r in records)) or "nothing"
            raise Violation(f"at {self.t:g}: {name} may be presented at {owner} while a resolver may hold {held}")

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

    def switched(self, zone: str, name: str, *, was_on: bool) -> None:
        """Note that an administrator has left *name* with records, be it of a wildcard, or taken the last ones away."""
        if self.zones.primary(zone).copy.lookup(name)[0].records:
            self.off.discard(name)
        elif was_on:
            self.off.add(name)

    def _above(self, name: str) -> set[str]:
        """Return the wildcards that the records of *name* could be made from."""
        labels = name.split(".")
        return {".".join(["*", *labels[i:]]) for i in range(1, len(labels))}

    def land(self, zone: str, required: list[Required], changes: list[Landing], *, late: bool = False) -> bool:
        """Let an update arrive. Applied whole or, where a prerequisite is not met, not at all."""
        primary = self.zones.primary(zone)
        for name, records in required:
            own = primary.copy.nodes.get(name, Node())
            if own.cname or own.records != records:
                return False
        for name, _, add, delete, ttl in changes:
            before = primary.copy.nodes.get(name, Node()).records
            if gone := {r for r in delete if (name, r) in self.foreign}:  # what it copied from a wildcard is its own
                raise Violation(
                    f"at {self.t:g}: the tool deletes what is somebody else's: {sorted(map(self.told, gone))}"
                )
            everything = primary.copy.lookup(name)[0].records
            if (name in self.off or self._above(name) & self.off) and add and not everything:
                raise Violation(f"at {self.t:g}: DANE was switched off at {name}, and the tool switches it on")
            after = (before - delete) | add
            self.foreign -= {(name, r) for r in add - primary.copy.lookup(name)[0].records}  # what it makes is its own
            # What was refused before the update is not the update's doing, in whatever it makes of it.
            for mail in self.mail.values():
                for host in {place.host for place in mail.places}:
                    owner = f"_{PORT}._tcp.{host}."
                    for it in mail.presentable(host) if self.zones.targets[owner] == name else ():
                        if not valid(primary.copy.lookup(name)[0].records, self.certificates[it]):
                            self.standing[owner, after, it] = "an update of records that were refused already"
                        elif mail.hidden(it):
                            self.standing[owner, after, it] = "an endpoint out of reach presents what was never its own"
                        elif not late:  # what was good until now: nothing that somebody else did before excuses it
                            self.standing.pop((owner, after, it), None)
                            self.excused.pop((owner, after, it), None)
                            self.unseen.pop((owner, after), None)
                            self.blind[zone].discard((owner, after))
            self.edit(zone, name, Node(after, ttl) if after else None)
        self.check()
        return True
