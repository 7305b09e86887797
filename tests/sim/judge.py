"""The judge of the world: what would defer mail now, and which of it was somebody else's doing, which no tool could prevent.

An excuse is for an RRset at an owner and a certificate, has a name, is counted, and ends with its cause.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tests.sim.mailhost import MailHost
from tests.sim.nameservers import Records, Server
from tests.sim.rules import valid

if TYPE_CHECKING:
    from tests.sim.world import World

PORT = 25
CAME_AND_WENT = "records came and went between two looks, and the wildcard above them has the signature that it had"
NOTHING_LEFT = "records came and went between two looks, and what is not there has no signature that could tell"
RESTORED_BETWEEN = "a secondary was restored and mended again, and nobody looked in between"
OUT_OF_SIGHT = "a server that nobody can ask from here was restored from an old copy"
LISTED_BETWEEN = "a name server was in the NS RRset between two looks only"
TTL_RAISED = "an administrator raised a TTL and changed the records"
UNSEEN = "an administrator changed what the tool could not look at"


class Violation(BaseException):
    """The tool did what it must not do. No error of a hand: the engine would take it for one, and go on."""


class Judge:
    """What is wrong in one world, and why it is excused."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.excused: dict[tuple[str, Records, str], str] = {}
        self.standing: dict[tuple[str, Records, str], str] = {}  # not to be fetched yet, but on its way
        self.unseen: dict[tuple[str, Records], tuple[float, str]] = {}  # until when, why
        self.blind: defaultdict[str, set[tuple[str, Records]]] = defaultdict(
            set
        )  # by zone: made on a primary out of reach
        self.ttl_unseen: set[str] = set()  # zones in which somebody changed a TTL that no process has noted yet
        self.met: Counter[str] = Counter()
        self.foreign: set[tuple[str, str]] = set()  # (name, record) that an administrator made
        self.strange: set[tuple[str, str]] = set()  # the same, of all times
        self.off: set[str] = set()  # names whose records somebody took away: DANE is off there

    def pairs(self) -> set[tuple[str, Records, str]]:
        """Return what would defer mail now: (owner, records that may be held, certificate)."""
        wrong = set()
        for mail in self.world.mail.values():
            for host in {place.host for place in mail.places}:
                owner = f"_{PORT}._tcp.{host}."
                presentable = mail.presentable(host)
                for records in self.world.zones.may_be_held(owner):
                    for name in presentable:
                        if not valid(records, self.world.certificates[name]):
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
        for mail in self.world.mail.values():
            for host in {place.host for place in mail.places}:
                owner = f"_{PORT}._tcp.{host}."
                target = self.world.zones.targets[owner]
                zone = self.world.zones.zone_of(target)
                transferring = {c.lookup(target)[0].records for z, c in self.world.transferring.values() if z == zone}
                for records in (self.world.served(owner), *self.world.in_flight.get(target, ()), *transferring):
                    wrong |= {
                        (owner, records, it)
                        for it in mail.presentable(host)
                        if not valid(records, self.world.certificates[it])
                    }
        return wrong

    def excuse_on_its_way(self, zone: str, name: str, why: str) -> None:
        """Excuse what somebody else made on the primary, for when the servers that the public asks have it.

        Only for certificates that may be presented now: what the tool installs later is its own doing.
        """
        records = self.world.zones.primary(zone).copy.lookup(name)[0].records
        for mail in self.world.mail.values():
            for host in {place.host for place in mail.places}:
                owner = f"_{PORT}._tcp.{host}."
                if (
                    name in (self.world.zones.targets[owner], self.world.own_name(owner)[1])
                    and self.world.own_name(owner)[0] == zone
                ):
                    for it in mail.presentable(host):
                        if not valid(records, self.world.certificates[it]):
                            self.standing[owner, records, it] = why

    def nobody_saw(self, server: Server, why: str, *, passed_on: float = 0.0) -> None:
        """Excuse what resolvers may hold of *server* now, whatever is presented: the tool cannot know of it.

        *passed_on*: for so many seconds other servers may come to have it by transfers that have begun.
        """
        for owner, target in self.world.zones.targets.items():
            if self.world.zones.zone_of(target) == server.zone:
                node, _ = server.copy.lookup(target)
                until = self.world.t + passed_on + self.world.stretched(node.ttl)
                if until > self.unseen.get((owner, node.records), (0.0, ""))[0]:
                    self.unseen[owner, node.records] = until, why

    def listed_unseen(self, server: Server) -> None:
        """Excuse what *server*, listed since the last look and no longer, gives those who still have that NS RRset."""
        if server.joined and not server.listed:
            for it in (server, *(s for s in self.world.zones.of(server.zone) if s.upstream is server and not s.seen)):
                self.nobody_saw(it, LISTED_BETWEEN, passed_on=max(0.0, server.asked_until - self.world.t))

    def edited_unseen(self, zone: str) -> None:
        """Excuse what somebody made on a primary that the tool cannot reach, whatever it installs before it can."""
        for owner, target in self.world.zones.targets.items():
            if self.world.zones.zone_of(target) == zone:
                self.blind[zone].add((owner, self.world.served(owner)))

    def primary_seen(self, zone: str) -> None:
        """The tool knows what the primary has: from now on what it installs is its own doing again."""
        blind = self.blind.pop(zone, set())
        for pair in self.on_its_way() | self.pairs() if blind else ():
            if pair[:2] in blind:
                self.standing[pair] = UNSEEN

    def secondary_seen(self, server: Server) -> None:
        """The tool has met there what somebody made on a primary out of reach: it is known now."""
        there = {(o, server.copy.lookup(t)[0].records) for o, t in self.world.zones.targets.items()}
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
                for m in self.world.mail.values()
                for host in {p.host for p in m.places}
                for it in m.presentable(host)
            }
            self.standing = {pair: why for pair, why in self.standing.items() if (pair[0], pair[2]) in shown}
        if not wrong:
            self.excused = {}  # an excuse ends with its cause
            return
        blind = set[tuple[str, Records]]().union(*self.blind.values())
        old = self._not_seen_since() if wrong - set(self.excused) else set()
        for pair in wrong - set(self.excused):
            until, why = self.unseen.get((pair[0], pair[1]), (0.0, ""))
            if pair[:2] in blind:
                until, why = self.world.t + 1, UNSEEN
            elif pair[:2] in old:
                until, why = self.world.t + 1, OUT_OF_SIGHT
            if self.world.t < until:
                self.excused[pair] = why
                self.met[why] += 1
        for pair in wrong & set(self.standing) - set(self.excused):
            self.excused[pair] = self.standing[pair]
            self.met[self.standing[pair]] += 1
        self.excused = {pair: why for pair, why in self.excused.items() if pair in wrong}
        for owner, records, name in sorted(wrong - set(self.excused), key=repr):
            held = ", ".join(sorted(self.world.told(r) for r in records)) or "nothing"
            raise Violation(f"at {self.world.t:g}: {name} may be presented at {owner} while a resolver may hold {held}")

    def _not_seen_since(self) -> set[tuple[str, Records]]:
        """Return what is given by servers that have an old copy again, or are listed again, and that nobody could ask."""
        zones = self.world.zones
        return {
            (owner, s.copy.lookup(target)[0].records)
            for owner, target in zones.targets.items()
            for s in zones.of(zones.zone_of(target))
            if s.unseen and zones.askable(s)
        }

    def switched(self, zone: str, name: str, *, was_on: bool) -> None:
        """Note that an administrator has left *name* with records, be it of a wildcard, or taken the last ones away."""
        if self.world.zones.primary(zone).copy.lookup(name)[0].records:
            self.off.discard(name)
        elif was_on:
            self.off.add(name)

    def update(self, zone: str, name: str, add: Records, delete: Records, after: Records, *, late: bool) -> None:
        """Look at what an update of the tool is about to make of *name*: *after*, of what is there until now."""
        world, there = self.world, self.world.zones.primary(zone).copy.lookup(name)[0].records
        if gone := {r for r in delete if (name, r) in self.foreign}:  # what it copied from a wildcard is its own
            raise Violation(
                f"at {world.t:g}: the tool deletes what is somebody else's: {sorted(map(world.told, gone))}"
            )
        if (name in self.off or _above(name) & self.off) and add and not there:
            raise Violation(f"at {world.t:g}: DANE was switched off at {name}, and the tool switches it on")
        self.foreign -= {(name, r) for r in add - there}  # what it makes is its own
        # What was refused before the update is not the update's doing, in whatever it makes of it.
        for mail in world.mail.values():
            for host in {place.host for place in mail.places}:
                owner = f"_{PORT}._tcp.{host}."
                for it in mail.presentable(host) if world.zones.targets[owner] == name else ():
                    if not valid(there, world.certificates[it]):
                        self.standing[owner, after, it] = "an update of records that were refused already"
                    elif mail.hidden(it):
                        self.standing[owner, after, it] = "an endpoint out of reach presents what was never its own"
                    elif not late:  # what was good until now: nothing that somebody else did before excuses it
                        self.standing.pop((owner, after, it), None)
                        self.excused.pop((owner, after, it), None)
                        if (
                            self.unseen.get((owner, after), (0.0, ""))[1] != TTL_RAISED
                        ):  # it may still come with that one
                            self.unseen.pop((owner, after), None)
                        self.blind[zone].discard((owner, after))


def _above(name: str) -> set[str]:
    """Return the wildcards that the records of *name* could be made from."""
    labels = name.split(".")
    return {".".join(["*", *labels[i:]]) for i in range(1, len(labels))}
