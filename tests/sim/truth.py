"""What has to be true after a look of the tool, and in the end: of what it says, mends, and comes to."""

from __future__ import annotations

import hashlib
from typing import Protocol

from tests.sim.hands import FUDGE
from tests.sim.judge import PORT, Violation
from tests.sim.materials import certificate
from tests.sim.nameservers import Records
from tests.sim.rules import valid
from tests.sim.tool import Tool
from tests.sim.world import World

VERIFY_TIMEOUT = 60.0  # as Tool configures it
PROPAGATION_WARN = 3600.0  # the default: from then on a server that cannot be reached is a warning (interface.md)
AGREES = 10.0  # seconds by which a clock may be wrong and pass for right
MENDED_BY = {f"3 {selector} {mtype}" for selector in "01" for mtype in "012"}


class Said(Protocol):
    """What `status` says of a service, as far as the judge looks at it; level and phase are their words."""

    @property
    def name(self) -> str: ...
    @property
    def level(self) -> object: ...


class Truth:
    """The judge of one installation. Every method raises Violation."""

    def __init__(self, world: World, tool: Tool) -> None:
        self.world = world
        self.tool = tool

    def after_a_look(self, *, clean: bool) -> None:
        """*clean*: nothing of ours went wrong in it, so that what could be mended is."""
        ended = self.world.t + self.world.skew
        for it in self.tool.reports():
            if it.name in self.tool.looked_at:
                self._must_be_true(it)
                if clean:
                    self._must_be_repaired(it)
                    for server in self.world.zones.servers:
                        if not server.reached:
                            server.missed[it.name] = min(server.missed.get(it.name, ended), ended)

    def _must_be_true(self, it: Said) -> None:
        """`status` never says ok while a server shows what an endpoint's certificate does not match, or nobody can know."""
        mail = self.world.mail[it.name]
        if str(it.level) != "ok":
            return
        if why := self._not_well(it.name):
            raise Violation(f"at {self.world.t:g}: status says ok while {why}")
        for place in mail.places:
            owner = f"_{PORT}._tcp.{place.host}."
            if not place.reached or place.shows in mail.broken:
                continue
            if place.shows == "x" and self._stranger() and place.shown_since <= self.tool.began:
                raise Violation(
                    f"at {self.world.t:g}: status says ok while {place.address} presents an unknown certificate"
                )
            for records in self._visible(owner):
                if not valid(records, self.world.certificates[place.shows]):
                    raise Violation(f"at {self.world.t:g}: status says ok while {place.shows} is refused at {owner}")

    def _not_well(self, name: str) -> str:
        """Return what a look at this service has to have met, whatever the records are; empty if there is nothing."""
        world, mail = self.world, self.world.mail[name]
        servers = [s for s in world.zones.servers if s.seen and s.listed]
        asked = all(s.reached for s in servers if s.upstream is None)  # who else could tell
        away = {s.label: s.missed[name] for s in servers if not s.reached and name in s.missed}
        began = self.tool.began + world.skew  # by the clock that the tool has: it can count by no other one
        return next(
            filter(
                None,
                (
                    *(f"{it.address} is out of reach" for it in mail.places if not it.reached),
                    *(f"{it.address} refuses TLS" for it in mail.places if it.shows in mail.broken),
                    *(f"{s.label} gives bad signatures" for s in servers if s.reached and s.public and s.badly_signed),
                    *(f"{s} has been away since {at:g}" for s, at in away.items() if began - at > PROPAGATION_WARN),
                    f"the clock is wrong by {world.skew:g} s" if asked and abs(world.skew) > AGREES else "",
                    "the resolver authenticates nothing" if world.resolver.insecure else "",
                    "the resolver answers nothing" if world.resolver.silent else "",
                    "a person has paused it" if name in world.paused else "",
                ),
            ),
            "",
        )

    def _stranger(self) -> bool:
        """Tell whether the key of the other host's certificate was never handed to the tool."""
        return not self.tool.vault.has_key(hashlib.sha256(certificate("x").leaf_spki).hexdigest())

    def _must_be_repaired(self, it: Said) -> None:
        """What somebody else broke is mended by the first look at it, where adding records can mend it."""
        world = self.world
        if abs(world.skew) > FUDGE:
            return
        mail = world.mail[it.name]
        shown = {(place.host, place.shows) for place in mail.places if place.reached}
        shown |= {(place.host, mail.live) for place in mail.places}  # what a restart would present
        for host, name in sorted(shown):
            owner = f"_{PORT}._tcp.{host}."
            primary = world.zones.primary(world.zones.zone_of(world.zones.targets[owner]))
            if not primary.reached or name in mail.broken:
                continue
            records, chain = world.served(owner), world.certificates[name]
            if not records or not self.tool.knows(chain) or valid(records, chain):
                continue
            own = {chain.record(3, int(r[2]), int(r[4])) for r in records if r[:5] in MENDED_BY}
            if valid(records | own, chain):
                raise Violation(
                    f"at {world.t:g}: {name} is refused at {owner}, and the look of this instant did not mend it"
                )

    def _visible(self, owner: str) -> set[Records]:
        """Return what those servers show that the tool could ask, all the time since its last process began."""
        zones, target = self.world.zones, self.world.zones.targets[owner]
        asked = [s for s in zones.of(zones.zone_of(target)) if s.reached and s.seen and zones.askable(s)]
        return {s.copy.lookup(target)[0].records for s in asked if s.since < self.tool.began}

    def nothing_broken_is_kept(self) -> None:
        """What TLS is refused with has been taken back long ago, in favour of what was active before it."""
        for name, mail in self.world.mail.items():
            if mail.live in mail.broken and mail.by_tool:
                raise Violation(f"at {self.world.t:g}: {mail.live} does not work, and {name} still serves it")

    def given_up(self, newest: dict[str, str]) -> set[str]:
        """Return the services whose newest certificate is blocked, or may be now: an endpoint fails."""
        return {name for name, it in newest.items() if self._blocked(name, it) or self._fails(name, it)}

    def nothing_good_is_given_up(self, newest: dict[str, str], before: set[str]) -> None:
        """An install is taken back where an endpoint fails, and for no other reason."""
        for name, it in newest.items():
            if name not in before and self._blocked(name, it) and not self._fails(name, it):
                raise Violation(f"at {self.world.t:g}: {it} was taken back from {name}, and no endpoint fails")

    def _blocked(self, name: str, newest: str) -> bool:
        return bool(self.tool.book(name).standing(self.world.certificates[newest].fingerprint).blocked)

    def _fails(self, name: str, newest: str) -> bool:
        """Tell whether TLS or a sender refuses something at an endpoint of a service, or nobody can reach it."""
        mail, zones = self.world.mail[name], self.world.zones
        for place in mail.places:
            owner = f"_{PORT}._tcp.{place.host}."
            shown = {*mail.shown_at(place), mail.live}
            rrsets = {self.world.served(owner), *zones.visible(owner)}
            if not place.reached or (shown | {newest}) & mail.broken:
                return True
            if not all(valid(r, self.world.certificates[it]) for r in rrsets for it in shown):
                return True
        return False

    def what_fails_is_taken_back(self) -> None:
        """What TLS is refused with is wanted no longer when `verify_timeout` is over."""
        for name, mail in self.world.mail.items():
            book = self.tool.book(name)
            since = max(mail.written_at, self.world.booted) + VERIFY_TIMEOUT
            if name not in self.tool.looked_at or mail.live not in mail.broken or not mail.by_tool:
                continue
            if since > self.tool.began or not any(p.reached and p.shows == mail.live for p in mail.places):
                continue
            judged = book.install is not None and book.goal != book.active and not book.return_spent
            if judged and self.world.names.get(book.goal) == mail.live:
                raise Violation(f"at {self.world.t:g}: {mail.live} does not work, and {name} still wants it")

    def at_rest(self) -> None:
        """Raise Violation unless each goal is served, alone in DNS but for what is somebody else's."""
        if why := self.not_at_rest():
            raise Violation(f"not at rest {self.world.shape.bound:g} s after the last fault: {why}")

    def newest_are_served(self, newest_of: dict[str, str]) -> None:
        """Raise Violation where another certificate than the one that was handed over last has become the goal."""
        for name, newest in newest_of.items():
            book = self.tool.book(name)
            if self.wanted(name) != {newest} and not book.standing(self.world.certificates[newest].fingerprint).blocked:
                raise Violation(f"{newest} was handed over last, and {sorted(self.wanted(name))} is wanted of {name}")

    def not_at_rest(self) -> str:
        world = self.world
        for it in self.tool.reports():
            if str(it.phase) != "steady":
                return f"{it.name} is {it.phase}: {it.summary} {[d.problem.message for d in it.problems]}"
            mail = world.mail[it.name]
            (goal,) = (world.names[str(c["fingerprint"])] for c in it.credentials if c["goal"])
            if {place.shows for place in mail.places} | {mail.live} != {goal}:
                return f"{it.name}: {goal} is wanted, {mail.live} and {[p.shows for p in mail.places]} are served"
        wanted = {world.certificates[mail.live].record(3, 1, m) for mail in world.mail.values() for m in (1, 2)}
        wanted |= {world.certificates[mail.live].record(3, 0, m) for mail in world.mail.values() for m in (0, 1, 2)}
        for owner in world.zones.targets:
            left = world.served(owner) - wanted - {record for _, record in world.judge.foreign}
            strangers = {certificate("x").record(3, 1, m) for m in (1, 2)}
            if left - strangers:
                return f"{owner} still has {sorted(map(world.told, left))}"
        return ""

    def wanted(self, service: str) -> set[str]:
        """Return the goal of a service and what is queued, by name."""
        book = self.tool.book(service)
        return {self.world.names[f] for f in (book.goal, book.queued) if f}
