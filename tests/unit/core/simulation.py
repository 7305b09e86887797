"""A small world of name servers, caches and mail servers in which the core is driven by random events.

Nothing is sampled: whatever a resolver may hold is held, until the last second. After each thing that
happens every RRset that may be held must be valid for every chain that may be presented, unless what
happened was somebody else's doing. One TTL is waited, not two, so that no second is hidden by patience.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import timedelta
from itertools import pairwise

from rollover.core import goals
from rollover.core.ledger import Ledger, Patience, intend, settle
from rollover.core.machine import decide
from rollover.core.memory import remember, remember_owners
from rollover.core.model import Book, Credential, Reload, Service, State, World
from rollover.core.sighting import (
    Endpoint,
    EndpointSighting,
    LiveFile,
    Outcome,
    OwnerSighting,
    ResolverAnswer,
    ServerAnswer,
    Sighting,
    Signature,
)
from rollover.core.steps import Activate, Install, OwnerChange, Rest, SetGoal, Step, Update
from rollover.core.steps import Reload as ReloadStep
from rollover.core.timing import Instant
from rollover.core.tlsa import EMPTY, Chain, RRset
from rollover.core.view import View
from tests.unit.core.worlds import FILE, HOST, NOW, OWNER, ZONE, chain, credential, fp, r

SERVICE = Service(
    "mail", (HOST,), (25,), patience=Patience(ttls=1), retain=400.0, drain=50.0, verify_timeout=60.0, check_every=900.0
)
SERVERS = ("ns1", "ns2", "ns3")  # each fed by the one before it
ENDPOINTS = ("192.0.2.25", "192.0.2.26")
ROUNDED_UP = 3  # seconds that resolver and sender add to a TTL, whole seconds being all that they count
LANDS_FOR = 300.0  # seconds in which a delayed update is still accepted: the TSIG fudge


class Deferred(AssertionError):
    """Mail would be deferred, and nobody but the tool did it."""


def matches_all(rrset: RRset, it: Chain) -> bool:
    """Tell whether every usable combination has a record of the leaf (no usage 2 in this world)."""
    own = {str(x) for x in r(f"{_name(it)} {_name(it)}:312")}
    return all(any(str(x) in own for x in rrset if x.params == p) for p in {x.params for x in rrset})


def _name(it: Chain) -> str:
    leaf = it.links[0]
    return f"{leaf.der.decode().removeprefix('certificate ')}={leaf.spki.decode().removeprefix('key ')}"


@dataclass(frozen=True)
class Copy:
    """A zone as one server has it."""

    serial: int
    rrset: RRset
    ttl: int
    signed: int  # which signature


@dataclass
class Place:
    """An endpoint: what it presents, whether we reach it, whether it hears the next reload."""

    shows: str
    reached: bool = True
    deaf: bool = False


@dataclass
class Killed(Exception):
    """The run was killed here."""


@dataclass
class Simulation:
    """One mail host, its zone on three servers, and the tool."""

    t: float = 0.0
    skew: float = 0.0
    booted: float = 0.0
    boots: int = 1
    copies: dict[str, Copy] = field(default_factory=dict)
    old: list[Copy] = field(default_factory=list)
    lagging: set[str] = field(default_factory=set)
    away: set[str] = field(default_factory=set)
    places: dict[str, Place] = field(default_factory=dict)
    live: str = "c0"
    written: int = 0
    broken: set[str] = field(default_factory=set)
    held: dict[RRset, float] = field(default_factory=dict)
    excused: set[tuple[RRset, str]] = field(default_factory=set)
    delayed: list[tuple[OwnerChange, float]] = field(default_factory=list)
    vault: dict[str, Credential] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    managed: RRset = EMPTY
    ledger: Ledger = field(default_factory=lambda: Ledger(OWNER))
    book: Book = field(default_factory=Book)
    fault: str = ""
    ttl_unseen: bool = False
    relapsed: set[str] = field(default_factory=set)
    said: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.copies = dict.fromkeys(SERVERS, Copy(1, r("c0"), 100, 1))
        self.places = {a: Place("c0") for a in ENDPOINTS}
        self._stage("c0")
        self.managed = r("c0")
        book = Book(adopted=True, goal=fp("c0"), active=fp("c0"), reloads={FILE: Reload("0", self.now())})
        self.book = goals.mark(book, fp("c0"), State.ACTIVE, NOW.wall)
        self.tick()

    # ------------------------------------------------------------------------------ time

    def now(self) -> Instant:
        """Return this instant on the tool's clocks."""
        wall = NOW.wall + timedelta(seconds=self.t + self.skew)
        return Instant(wall, self.t - self.booted, f"boot {self.boots}")

    def wait(self, seconds: float) -> None:
        """Let time pass; servers that do not lag follow."""
        self.t += seconds
        self.delayed = [(c, sent) for c, sent in self.delayed if self.t - sent <= LANDS_FOR]
        self.transfers()

    def reboot(self) -> None:
        """Reboot the mail host: what is in the live file is served."""
        self.booted, self.boots = self.t, self.boots + 1
        self.restart()

    # ------------------------------------------------------------------------------- DNS

    def _serve(self, server: str, copy: Copy) -> None:
        before = self.copies[server]
        if before == copy:
            return
        self.held[before.rrset] = max(self.held.get(before.rrset, 0.0), self.t + before.ttl + ROUNDED_UP)
        self.copies[server] = copy

    def transfers(self) -> None:
        """Let each server that does not lag take what the one before it has."""
        for upper, lower in pairwise(SERVERS):
            if lower not in self.lagging | self.relapsed and self.copies[upper].serial > self.copies[lower].serial:
                self._serve(lower, self.copies[upper])

    def edit(self, rrset: RRset, ttl: int | None = None) -> None:
        """Change the zone on the primary."""
        first = self.copies["ns1"]
        self.old.append(first)
        signed = max(x.signed for x in (*self.copies.values(), *self.old)) + 1
        self._serve("ns1", Copy(first.serial + 1, rrset, first.ttl if ttl is None else ttl, signed))

    def foreign(self, rrset: RRset, ttl: int | None = None) -> None:
        """Let somebody else change the zone: what that breaks is not the tool's doing."""
        self.edit(rrset, ttl)
        self.excuse()

    def relapse(self, server: str, back: int) -> None:
        """Let a secondary be restored from an old copy; it follows its primary again once that was seen.

        What nobody saw nobody can wait for.
        """
        if self.old:
            self._serve(server, self.old[-1 - back % len(self.old)])
            self.relapsed.add(server)
            self.excuse()

    def land(self, change: OwnerChange) -> bool:
        """Let an update arrive at the primary: it is applied if the RRset is exactly the expected one."""
        before = self.copies["ns1"].rrset
        if before != change.expect:
            return False
        for name in self.presentable():
            if not matches_all(before, self.chain(name)):
                self.excused.add((change.result, name))
        self.edit(change.result, change.ttl)
        return True

    def land_delayed(self) -> None:
        """Let a delayed update arrive."""
        if self.delayed:
            self.land(self.delayed.pop(0)[0])

    # ------------------------------------------------------------------------------ mail

    def restart(self) -> None:
        """Restart the mail servers: they read the live file."""
        for place in self.places.values():
            place.shows, place.deaf = self.live, False

    def reload(self) -> None:
        """Reload; who is deaf hears the next one."""
        for place in self.places.values():
            if not place.deaf:
                place.shows = self.live
            place.deaf = False

    def write(self, name: str) -> None:
        """Write the live file."""
        self.live, self.written = name, self.written + 1

    # -------------------------------------------------------------------------- the rule

    def chain(self, name: str) -> Chain:
        """Return the chain of a certificate of this world."""
        return chain(self.names.get(name, name))

    def presentable(self) -> set[str]:
        """Return every certificate that may be presented now, whether the tool can see it or not."""
        return {self.live, *(p.shows for p in self.places.values())} - self.broken

    def may_be_held(self) -> set[RRset]:
        """Return every RRset that a resolver may hold now."""
        return {c.rrset for c in self.copies.values()} | {x for x, until in self.held.items() if until > self.t}

    def pairs(self) -> Iterator[tuple[RRset, str]]:
        """Yield what would defer mail now: an RRset that may be held, and a certificate it does not match."""
        for rrset in self.may_be_held():
            for name in self.presentable():
                if not matches_all(rrset, self.chain(name)):
                    yield rrset, name

    def excuse(self) -> None:
        """Take what is wrong now for somebody else's doing."""
        self.excused |= set(self.pairs())

    def check(self) -> None:
        """Fail if mail is deferred by what the tool did."""
        wrong = set(self.pairs())
        self.excused &= wrong  # an excuse ends with what it was for
        if wrong - self.excused:
            rrset, name = min(wrong - self.excused, key=repr)
            held = ", ".join(sorted(str(x)[:14] for x in rrset))
            raise Deferred(f"at {self.t}: {name} is served, {{{held}}} may be held: {self.said[-12:]}")

    # -------------------------------------------------------------------------- the tool

    def _stage(self, name: str, key: str = "") -> None:
        self.names[name] = f"{name}={key}" if key else name
        it = replace(credential(self.names[name], days=3650), chain=self.chain(name))
        self.vault[it.fingerprint] = it

    def deploy(self, name: str, *, same_key: bool = False, broken: bool = False) -> None:
        """Hand over a certificate; *broken*: the mail server answers 454 with it."""
        key = self.names[self._active()].partition("=")[2] or self._active()
        self._stage(name, key if same_key else "")
        if broken:
            self.broken.add(name)
        self.book, said = goals.deploy(self.world(), fp(self.names[name]), self.now())
        self.said.append(f"deploy {name}: {said}")

    def rollback(self) -> None:
        """Ask for the previous certificate."""
        try:
            self.book, said = goals.rollback(self.world(), self.now())
        except goals.GoalRefused as refusal:
            said = refusal.message
        self.said.append(f"rollback: {said}")

    def resume(self) -> None:
        """Let it go on; what is empty may be filled if every endpoint is reached."""
        seen = self.look()
        empty = frozenset(o.owner for o in seen.owners if o.primary is not None and o.primary.rrset == EMPTY)
        reached = all(e.outcome is Outcome.PRESENTED for e in seen.endpoints)
        self.book = goals.resume(self.book, empty if reached else frozenset())

    def _active(self) -> str:
        return next(n for n in self.names if fp(self.names[n]) == self.book.active)

    def world(self, failed: dict[str, str] | None = None) -> World:
        """Return what the tool knows."""
        return World(
            SERVICE, self.book, self.vault, {OWNER: self.ledger}, {OWNER: self.managed}, failed=dict(failed or {})
        )

    def look(self) -> Sighting:
        """Return what the tool sees."""
        servers = []
        for name in SERVERS:
            copy, first = self.copies[name], name == "ns1"
            if name in self.away:
                servers.append(ServerAnswer(name, ZONE, first, public=True, reached=False, problem="timed out"))
                continue
            inception = NOW.wall + timedelta(seconds=copy.signed) if copy.rrset else None
            servers.append(
                ServerAnswer(
                    name,
                    ZONE,
                    first,
                    public=True,
                    reached=True,
                    rrset=copy.rrset,
                    ttl=copy.ttl,
                    own_ttl=copy.ttl,
                    serial=copy.serial,
                    signature=Signature.VALID,
                    inception=inception,
                )
            )
        said = ResolverAnswer(self.copies["ns1"].rrset, authenticated=True)
        shown = tuple(
            EndpointSighting(Endpoint(HOST, address, 25), Outcome.UNREACHABLE, detail="unreachable")
            if not place.reached
            else EndpointSighting(Endpoint(HOST, address, 25), Outcome.NO_TLS, detail="454")
            if place.shows in self.broken
            else EndpointSighting(Endpoint(HOST, address, 25), Outcome.PRESENTED, (self.chain(place.shows),))
            for address, place in self.places.items()
        )
        agrees = abs(self.skew) < 10 and "ns1" not in self.away
        return Sighting(
            self.now(),
            (OwnerSighting(OWNER, OWNER, ZONE, tuple(servers), said),),
            shown,
            (LiveFile(FILE, str(self.written), self.chain(self.live)),),
            clock_agrees=agrees,
        )

    def tick(self, fault: str = "") -> Step:
        """Let the tool run until it rests, with at most one fault; return what it rests in."""
        self.fault, failed = fault, dict[str, str]()
        for _ in range(40):
            seen = self.look()
            self.ttl_unseen = self.ttl_unseen and "ns1" in self.away
            self.relapsed &= self.away
            world = self.world(failed)
            self.ledger = remember_owners(world, seen, SERVICE.patience)[OWNER]
            world = replace(world, ledgers={OWNER: self.ledger})
            self.book = remember(world, seen)
            world = replace(world, book=self.book)
            step = decide(world, seen)
            if isinstance(step, Rest):
                if step.soon and step.seconds == 0.0:
                    continue
                return step
            self.said.append(f"{self.t:g} {type(step).__name__}: {step.why[:60]}")
            try:
                failed |= self.perform(step, world, seen)
            except Killed:
                return step
            self.check()
        raise AssertionError(f"goes round in circles: {self.said[-10:]}")

    def _cut(self, at: str) -> None:
        if self.fault == at:
            self.fault = ""
            raise Killed

    def perform(self, step: Step, world: World, seen: Sighting) -> dict[str, str]:
        """Do a step as the engine does it: intent, effect, outcome, and the faults in between."""
        now = self.now()
        if isinstance(step, Update):
            return self._update(step, now)
        if isinstance(step, Install):
            goal = world.goal
            assert goal is not None
            begun = any(x.chain is not None and x.chain.fingerprint == goal.fingerprint for x in seen.live)
            self.book = goals.open_install(self.book, goal.fingerprint, now, seen.endpoints, begun=begun)
            self._cut("after intent")
            if self.fault == "disk full":
                return {"install": "install-refused"}
            self.write(next(n for n in self.names if fp(self.names[n]) == goal.fingerprint))
            if self.away and View(world, seen).is_return:
                # Missing servers do not hold back a return: what somebody else put there, nobody saw.
                known = {e.rrset for e in self.ledger.entries}
                self.excused |= {(x, self.live) for x in self.may_be_held() if x not in known}
            self._cut("after write")
            self._load(FILE, again=False)
        elif isinstance(step, ReloadStep):
            self._load(*step.paths, again=step.again)
        elif isinstance(step, SetGoal):
            after = goals.take_return(self.book, step.fingerprint, step.why)
            self.book = after if step.returning else goals.set_goal(self.book, step.fingerprint)
        elif isinstance(step, Activate):
            self.book = goals.activate(self.book, now)
        return {}

    def _load(self, path: str, *, again: bool) -> None:
        self.reload()
        self._cut("after effect")
        before = self.book.reloads.get(path)
        repeats = before.repeats + 1 if again and before is not None else 0
        self.book = replace(self.book, reloads={path: Reload(str(self.written), self.now(), repeats)})

    def _update(self, step: Update, now: Instant) -> dict[str, str]:
        (change,) = step.changes
        failed = {f"update:{OWNER}": "update-failed"}
        before = self.ledger
        self.ledger = intend(self.ledger, change.result, change.ttl, now)
        self.managed |= change.add - change.expect
        self._cut("after intent")
        if self.fault == "refused" or abs(self.skew) > 300:
            self.ledger = before
            return failed
        if self.fault == "delayed":  # no answer: it may land yet
            self.fault = ""
            self.delayed.append((change, self.t))
            return failed
        applied = self.land(change)
        self._cut("after effect")
        if self.fault == "answer lost":
            self.fault = ""
            return failed
        self.ledger = settle(self.ledger, change.result) if applied else before
        return {} if applied else failed
