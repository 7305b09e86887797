"""A schedule is played: events, the rule after each, then peace, and what has to be true at the end."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from tests.sim.events import EVENTS, MEANWHILE, Event
from tests.sim.judge import CAME_AND_WENT, NOTHING_LEFT, TTL_RAISED, Violation
from tests.sim.materials import certificate
from tests.sim.nameservers import NOTHING, Copy, Node, Records, Server
from tests.sim.shape import Shape
from tests.sim.tool import Tool
from tests.sim.truth import Truth
from tests.sim.world import World


class Play:
    """One world while its schedule is played."""

    def __init__(self, shape: Shape, directory: Path, loop: asyncio.AbstractEventLoop, *, memory: bool = True) -> None:
        self.world = World(shape)
        self.tool = Tool(self.world, directory, loop, memory=memory)
        self.truth = Truth(self.world, self.tool)
        self.met: Counter[tuple[str, str]] = Counter()
        self.newest: dict[str, str] = {}  # by service, what was handed over last, unless a person went back since
        self._made = 0
        self._disturbed = False  # something happened in the midst of this run
        for name in self.world.mail:
            self.tool.adopt(name)
            self.world.wait(1)
        self.tick()

    # ------------------------------------------------------------------------------ what events use

    def service(self, n: int) -> str:
        """Return one of the services."""
        names = list(self.world.mail)
        return names[n % len(names)]

    def seconds_until_due(self, n: int) -> float | None:
        """Return the seconds until the next step of a service that is planned, by its own clock."""
        planned = [it.not_before for it in self.tool.reports() if it.not_before is not None]
        if not planned:
            return None
        return (planned[n % len(planned)] - self.world.now().wall).total_seconds()

    def until_due(self, n: int, *, short: float = 0.0) -> None:
        """Wait until the next step of service *n* is due, or *short* seconds less; not for what is far away."""
        seconds = self.seconds_until_due(n)
        if seconds is not None and seconds < 5000:
            self.world.wait(max(0.0, seconds - short))

    def tick(self, *, fault: str = "", die_in: int = 0, die_at: str = "", asked: bool = False) -> None:
        """Let the timer run the tool once, or a person."""
        self.tool.hands.fault, self.tool.die_in, self.tool.die_at = fault, die_in, die_at
        given_up = self.truth.given_up(self.newest)
        became = self.tool.look() if asked else self.tool.tick()
        self.world.judge.check()
        if became != "killed":
            if not self._disturbed:  # what came after the look is not what it saw
                self.truth.after_a_look(clean=not fault and not became)
                self.truth.nothing_good_is_given_up(self.newest, given_up)
            if not fault and not became:
                self.truth.what_fails_is_taken_back()

    def deploy(
        self, n: int, *, same_key: bool = False, broken: bool = False, die_in: int = 0, die_at: str = ""
    ) -> None:
        """Hand over a new certificate."""
        self._made += 1
        name, service = f"c{self._made}", self.service(n)
        key = ""
        if same_key:
            served = self.world.mail[service].live
            key = next((n for n in self.world.certificates if n == served), "")
        it = self.world.stage(name, key=key)
        if broken:
            self.world.mail[service].broken.add(name)
        self.tool.die_in, self.tool.die_at = die_in, die_at
        self.tool.deploy(it, service)
        if self.tool.knows(it):
            self.newest[service] = name
        self.world.judge.check()

    def hand_over(self, n: int) -> None:
        """Let a hook keep a new certificate while another process is at work."""
        self._made += 1
        name, service = f"c{self._made}", self.service(n)
        self.tool.hand_over(self.world.stage(name), service)
        self.newest[service] = name

    def meanwhile(self, n: int) -> bool:
        """Let something happen in the midst of a run, between its look and its effects; tell whether it did."""
        what = MEANWHILE[n % len(MEANWHILE)]
        self._disturbed = False

        def happen() -> None:
            self.world.say(f"meanwhile: {what}")
            self._disturbed = self.let(what, n) is not False
            for server in self.world.zones.servers:
                if server.edited:  # what the run decides of is older
                    self.world.judge.edited_unseen(server.zone)

        self.tool.meanwhile = happen
        self.tool.meanwhile_in = self.world.chance(f"meanwhile {len(self.world.log)}", (1, 1, 2, 2, 3, 4, 6))
        if n % 2:
            self.until_due(n)
        self.tick(asked=True)
        self.tool.meanwhile = None
        happened, self._disturbed = self._disturbed, False
        return happened

    def deploy_again(self, n: int) -> None:
        """Hand over a certificate that was handed over before: a hook run twice, an old lineage."""
        names, service = sorted(self.world.certificates), self.service(n)
        name, before = names[n % len(names)], self.truth.wanted(service)
        known = self.world.certificates[name].fingerprint in self.tool.book(service).standings
        self.tool.deploy(self.world.certificates[name], service)
        if not known and self.tool.knows(self.world.certificates[name]):
            self.newest[service] = name
        self.world.judge.check()
        if known and self.truth.wanted(service) - before == {name}:
            raise Violation(f"{name} was handed over before, and its hook made it wanted again")

    def deploy_bad(self, n: int) -> None:
        """Hand over what must be refused; nothing may come of it."""
        bad = (
            certificate("wrong name", hosts=("www.example.test",)),
            certificate("expired", start=-90, end=-1),
            certificate("not yet", start=4000, end=5000),
        )[n % 3]
        before = self.world.zones.primary("example.test.").copy
        said = self.tool.deploy(bad, self.service(n))
        if not said.startswith("certificate"):
            raise Violation(f"{bad.name} was not refused: {said!r}")
        if self.world.zones.primary("example.test.").copy is not before:
            raise Violation(f"{bad.name} changed the zone")

    def rollback(self, n: int) -> None:
        """Ask for the previous certificate."""
        if self.tool.rollback(self.service(n)) in ("", "killed"):  # or it was refused, and nothing is as a person asked
            self.newest.pop(self.service(n), None)
        self.world.judge.check()

    def pause(self, n: int) -> None:
        """Ask for no steps."""
        self.tool.pause(self.service(n))
        self.world.paused.add(self.service(n))

    def resume(self, n: int) -> None:
        """Ask for steps again; records that somebody took away may be made anew."""
        self.world.judge.off.clear()
        self.world.paused.discard(self.service(n))
        self.tool.resume(self.service(n))
        self.world.judge.check()

    def admin(self, zone: str, name: str, node: Node | None, what: str) -> None:
        """Let an administrator change the zone by hand."""
        self.world.say(f"an administrator of {zone} {what}")
        why = f"an administrator {what.split(' of ', maxsplit=1)[0].split(' to ', maxsplit=1)[0]}"
        there = bool(self.world.zones.primary(zone).copy.lookup(name)[0].records)
        if zone in self.world.judge.ttl_unseen:
            self.world.judge.nobody_saw(self.world.zones.primary(zone), TTL_RAISED, passed_on=200.0)
        primary = self.world.zones.primary(zone)
        before, above = primary.copy, Copy(0, {k: v for k, v in primary.copy.nodes.items() if k != name})
        if node is None and primary.edited and name in before.nodes:
            nothing_told = CAME_AND_WENT if above.lookup(name)[1] else NOTHING_LEFT
            self.world.judge.nobody_saw(primary, nothing_told, passed_on=200.0)
        self.world.zones.edit(zone, name, node)
        self._whose(name, node.records if node is not None else NOTHING)
        self.world.zones.primary(zone).edited = True
        if not self.world.zones.primary(zone).reached:
            self.world.judge.edited_unseen(zone)
        self.world.judge.switched(zone, name, was_on=there)
        self.world.judge.excuse_on_its_way(zone, name, why)
        self.world.judge.excuse(why)
        self.world.transfers()

    def _whose(self, name: str, left: Records) -> None:
        """Note whose records an administrator has left: what is gone is nobody's, what came back is who made it's."""
        judge = self.world.judge
        judge.strange |= judge.foreign
        judge.foreign = {it for it in judge.foreign if it[0] != name or it[1] in left}
        judge.foreign |= {(name, r) for r in left if (name, r) in judge.strange and not self.tool.made(name, r)}

    def empty(self, n: int) -> bool:
        """Let an administrator take all records of an owner away; tell whether there were any."""
        owners = sorted(self.world.zones.targets)
        zone, name = self.world.own_name(owners[n % len(owners)])
        if self.world.zones.primary(zone).copy.nodes.get(name) is None:
            return False
        self.admin(zone, name, None, "deletes all records")
        return True

    def let_lag(self, server: Server, *, lagging: bool) -> None:
        """Let a secondary get no transfers, or get them again."""
        server.lagging = lagging
        self.world.say(f"{server.label} {'gets no transfers' if lagging else 'gets transfers again'}")
        self.world.transfers()

    def hold_transfers(self, n: int) -> None:
        """Let one secondary get no transfers."""
        them = [s for s in self.world.zones.servers if s.upstream is not None and s.seen]
        self.let_lag(them[n % len(them)], lagging=True)

    def relapsed(self, server: Server) -> None:
        """A restored secondary follows its primary again after a while."""
        server.lagging = True
        self.world.say(f"{server.label} was restored from an old copy")
        server.unseen = server.restored = True

        def again() -> None:
            server.lagging = False
            self.world.judge.excuse("a secondary was restored from an old copy")
            self.world.transfers()

        self.world.later(200.0, again)

    # ------------------------------------------------------------------------------ the whole

    def happen(self, events: Sequence[Event]) -> None:
        """Let events happen one after the other."""
        for name, n in events:
            phases, self.tool.hands.struck, self.tool.died_at = self.tool.phases(), "", ""
            self.world.say(f"-- {name} {n}")
            happened = self.let(name, n)
            self.world.judge.check()
            if happened is not False:  # it found nothing to strike
                self._note(name, phases)

    def let(self, name: str, n: int) -> object:
        """Let one event happen; False if it found nothing to strike."""
        return EVENTS[name](self, n)

    def _note(self, name: str, phases: Iterable[str]) -> None:
        """Count what happened in which phase: a fault only if it struck, a kill only if the tool died of it."""
        kind = name
        if "a fault" in name:
            kind = self.tool.hands.struck
        elif "kill" in name:
            kind = "killed" if self.tool.died_at else ""
        if kind:
            self.met.update((kind, phase) for phase in phases)

    def make_peace(self) -> None:
        """Let everything be well again; the tool has to end in one and the same place by itself, within its bound."""
        self.world.say("-- peace")
        self._mend_all()
        for _ in range(2):
            self.world.judge.off.clear()
            self.world.paused.clear()
            for name in self.world.mail:
                self.tool.resume(name)
            if self._comes_to_rest():
                return
            self.truth.nothing_broken_is_kept()
            self._mend_certificates()  # what always gave 454 was taken back by now

    def mend(self, n: int) -> None:
        """Let persons mend everything, and the tool look."""
        self._mend_all()
        self._mend_certificates()
        for mail in self.world.mail.values():
            for place in mail.places:
                place.deaf = False
        held = [i for i, name in enumerate(self.world.mail) if self.world.judge.off or name in self.world.paused]
        for i in held:
            self.resume(i)
        self.tick(asked=True)

    def _mend_certificates(self) -> None:
        """Let the mail server use what it gave 454 for."""
        with self.world.judge.presented_by_somebody("peace"):
            for mail in self.world.mail.values():
                mail.broken.clear()

    def _mend_all(self) -> None:
        world = self.world
        world.skew = 0.0
        world.resolver.insecure = world.resolver.silent = False
        for server in world.zones.servers:
            world.zones.remember(server)
            server.lagging, server.reached, server.badly_signed = False, True, False
        world.judge.excuse("peace")
        world.transfers()
        with world.judge.presented_by_somebody("peace"):
            for mail in world.mail.values():
                if not self.tool.knows(world.certificates[mail.live]):
                    mail.write("c0")
                for place in mail.places:
                    place.reached = True
                    if not self.tool.knows(world.certificates[place.shows]):
                        place.shows = mail.live
                if any(place.ignored > 2 for place in mail.places):
                    mail.restart()  # as the hint says; the tool tells it again at ever longer intervals only
        self._remove_what_breaks()

    def _comes_to_rest(self) -> bool:
        """Let the timer run as it is planned; tell whether all is done within the bound, twice in a row."""
        end, well = self.world.t + self.world.shape.bound, 0
        while self.world.t < end:
            due = self.seconds_until_due(0)
            self.world.wait(min(max(due if due is not None else 60.0, 1.0), 300.0))
            self.tick(asked=True)
            done = all(str(it.phase) == "steady" for it in self.tool.reports())
            well = well + 1 if done and not self.truth.not_at_rest() else 0
            if well == 2:
                return True
        return False

    def _remove_what_breaks(self) -> None:
        """A person removes foreign records that no certificate can match, as the hint says."""
        for owner in self.world.zones.targets:
            zone, name = self.world.own_name(owner)
            node = self.world.zones.primary(zone).copy.nodes.get(name)
            if node is not None and not node.cname:
                bad = {
                    r for _, r in self.world.judge.strange | self.world.judge.foreign if r.startswith("2")
                } & node.records
                if bad:
                    self.admin(
                        zone,
                        name,
                        Node(node.records - bad, node.ttl) if node.records - bad else None,
                        "removes usage 2",
                    )


def play(shape: Shape, events: Sequence[Event], loop: asyncio.AbstractEventLoop, *, memory: bool = True) -> Play:
    """Play a schedule to its end. Raises Violation; the world of it is in its attribute *play*."""
    directory = Path(tempfile.mkdtemp(prefix="rollover-sim-", dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
    it: Play | None = None
    try:
        it = Play(shape, directory, loop, memory=memory)
        it.happen(events)
        it.make_peace()
        it.truth.at_rest()
        it.truth.newest_are_served(it.newest)
    except BaseException as error:
        error.play = it  # type: ignore[attr-defined]
        raise
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    return it
