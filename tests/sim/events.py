"""What may happen, as a list of words: a schedule can be written down, shrunk, replayed and kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tests.sim.judge import RESTORED_BETWEEN
from tests.sim.leading import lead
from tests.sim.materials import certificate
from tests.sim.nameservers import NS_TTL, ROUNDED_UP, Kept, Node

if TYPE_CHECKING:
    from tests.sim.mailhost import MailHost, Place
    from tests.sim.nameservers import Server
    from tests.sim.play import Play

Event = tuple[str, int]

WAITS = (1, 5, 20, 61, 103, 104, 130, 310, 450, 901, 1300)
SKEWS = (0.0, 8.0, -3600.0, 8.0, 200.0, 86400.0 * 30)
#: What may go wrong with the next effect of the tool that it can go wrong with.
FAULTS = ("refused", "answer lost", "delayed", "lost", "not applied", "disk full", "reload fails", "state disk full")


def _mail(p: Play, n: int) -> MailHost:
    return p.world.mail[p.service(n)]


def _place(p: Play, n: int) -> Place:
    places = _mail(p, n).places
    return places[n % len(places)]


def _secondary(p: Play, n: int) -> Server:
    them = [s for s in p.world.zones.servers if s.upstream is not None and s.seen]
    return them[n % len(them)]


def _owner(p: Play, n: int) -> str:
    owners = sorted(p.world.zones.targets)
    return owners[n % len(owners)]


def _toggle_lag(p: Play, n: int) -> None:
    server = _secondary(p, n)
    p.let_lag(server, lagging=not server.lagging)


def _toggle_away(p: Play, n: int) -> None:
    servers = [s for s in p.world.zones.servers if s.seen]
    server = servers[n % len(servers)]
    server.reached = not server.reached
    server.missed.clear()
    if server.edited and not server.reached:
        p.world.judge.edited_unseen(server.zone)
    p.world.say(f"{server.label} can {'' if server.reached else 'not '}be reached")


def _toggle_signature(p: Play, n: int) -> None:
    server = _secondary(p, n)
    p.world.zones.remember(server)
    server.badly_signed = not server.badly_signed
    p.world.judge.excuse("a server's signatures were mended over an RRset that nobody could fetch before")
    p.world.say(f"the signatures of {server.label} are {'bad' if server.badly_signed else 'good'}")


def _toggle_cut_off(p: Play, n: int) -> None:
    server = _secondary(p, n)
    server.lagging = server.reached
    server.reached = not server.reached
    server.missed.clear()
    p.world.say(f"{server.label} is {'back' if server.reached else 'cut off from here; others still ask it'}")
    p.world.transfers()


def _relapse(p: Play, n: int) -> bool:
    server = _secondary(p, n)
    old = p.world.zones.old.get(server.zone)
    if not old:
        return False
    for node in p.world.zones.servers:
        if node.upstream is server and not node.seen:  # it is never further behind than `settle`, so it had this
            p.world.zones.serve(node, server.copy)
    if server.unseen:
        p.world.judge.nobody_saw(server, RESTORED_BETWEEN)
    p.world.zones.serve(server, old[-1 - n % len(old)])
    p.relapsed(server)
    p.world.judge.excuse("a secondary was restored from an old copy")
    return True


def _restored(p: Play, n: int) -> bool:
    zone, name = p.world.own_name(_owner(p, n))
    old = p.world.zones.old.get(zone)
    node = old[n % len(old)].nodes.get(name) if old else None
    if node is None or not node.records:
        return False
    p.admin(zone, name, Node(node.records, node.ttl), "restores the old zone file")
    return True


def _foreign(p: Play, n: int) -> bool:
    zone, name = p.world.own_name(_owner(p, n))
    node = p.world.zones.primary(zone).copy.nodes.get(name)
    if node is None or node.cname:
        return False
    stranger, ours = certificate("x"), p.world.certificates["c0"]
    record = (
        stranger.record(3, 1, 1),
        stranger.record(3, 1, 2),
        ours.record(3, 0, 1),
        ours.record(2, 1, 1),
        certificate("x", ca="another CA").record(2, 1, 1),
        "0 0 1 " + "ab" * 32,
        stranger.record(3, 1, 1)[:-2],
    )[n % 7]
    if record in node.records:
        return False
    if not p.tool.made(p.world.zones.targets[_owner(p, n)], record):  # or nobody can tell whose it is
        p.world.judge.foreign.add((name, record))
    p.admin(zone, name, Node(node.records | {record}, node.ttl), f"adds {record[:16]}")
    return True


def _delete_one(p: Play, n: int) -> bool:
    zone, name = p.world.own_name(_owner(p, n))
    node = p.world.zones.primary(zone).copy.nodes.get(name)
    if node is None or not node.records:
        return False
    record = sorted(node.records)[n % len(node.records)]
    left = node.records - {record}
    p.admin(zone, name, Node(left, node.ttl) if left else None, f"deletes {p.world.told(record)}")
    return True


def _blip(p: Play, n: int) -> bool:
    zone, name = p.world.own_name(_owner(p, n))
    node = p.world.zones.primary(zone).copy.nodes.get(name)
    if node is None or not node.records:
        return False
    stranger = frozenset({certificate("x").record(3, 1, 1)})
    p.admin(zone, name, Node(stranger, node.ttl), "changes the records by mistake")
    p.world.wait((0.0, 2.0, 40.0)[n % 3])
    p.world.judge.excuse("an administrator replaced what is served")
    p.admin(zone, name, Node(node.records, node.ttl), "changes them back")
    return True


def _replace(p: Play, n: int) -> None:
    zone, name = p.world.own_name(_owner(p, n))
    node = p.world.zones.primary(zone).copy.nodes.get(name)
    stranger = frozenset({certificate("x").record(3, 1, 1)})
    ttl = node.ttl if node is not None else p.world.shape.ttl
    p.admin(zone, name, Node(stranger, ttl), "replaces the records by those of another host")


def _signs_again(p: Play, n: int) -> bool:
    zone, name = p.world.own_name(_owner(p, n))
    node = p.world.zones.primary(zone).copy.nodes.get(name)
    if node is None:
        return False
    p.world.edit(zone, name, Node(node.records, node.ttl, node.cname))
    p.world.say(f"{zone} is signed again")
    return True


def _ttl(p: Play, n: int) -> bool:
    zone, name = p.world.own_name(_owner(p, n))
    node = p.world.zones.primary(zone).copy.nodes.get(name)
    # Raised and lowered between two looks, nobody could know of it.
    ttl = (30, 60, 100, 300)[n % 4]
    if node is None or not node.records or node.ttl == ttl or zone in p.world.judge.ttl_unseen:
        return False
    p.admin(zone, name, Node(node.records, ttl), f"sets the TTL to {ttl}")
    p.world.judge.ttl_unseen.add(zone)
    return True


def _resolver(p: Play, n: int) -> bool:
    resolver = p.world.resolver
    match n % 3:
        case 0:  # it stretches what it has, as far as the tool is told that resolvers do
            longer = {k: Kept(v.records, p.world.t + p.world.stretched(0)) for k, v in resolver.kept.items()}
            resolver.kept |= {k: v for k, v in longer.items() if v.until > resolver.kept[k].until}
            p.world.say("the resolver keeps what it has")
            return bool(resolver.kept)
        case 1:
            resolver.insecure = not resolver.insecure
            p.world.say(f"the resolver authenticates {'nothing' if resolver.insecure else 'the zone again'}")
        case _:
            resolver.silent = not resolver.silent
            p.world.say(f"the resolver {'answers nothing' if resolver.silent else 'answers again'}")
    return True


def _leave_ns(p: Play, n: int) -> bool:
    server = _secondary(p, n)
    others = [s for s in p.world.zones.of(server.zone) if s.public and s.listed and s.seen and s is not server]
    if not server.listed or not others:
        return False
    server.listed, server.asked_until = False, p.world.t + NS_TTL + ROUNDED_UP
    server.missed.clear()
    p.world.zones.remember(server)
    p.world.judge.listed_unseen(server)
    p.world.say(f"{server.label} leaves the NS RRset")
    return True


def _join_ns(p: Play, n: int) -> bool:
    server = _secondary(p, n)
    if server.listed:
        return False
    server.listed, server.joined, server.asked_until = True, True, float("inf")
    server.missed.clear()
    for it in p.world.zones.servers:
        it.unseen = it.unseen or it is server or (it.upstream is server and not it.seen)
    p.world.judge.excuse("a name server joined with an old copy")
    p.world.say(f"{server.label} joins the NS RRset")
    return True


def _reach(p: Play, n: int) -> None:
    place = _place(p, n)
    place.reached = not place.reached
    p.world.say(f"{place.address} can {'' if place.reached else 'not '}be reached")


def _deaf(p: Play, n: int) -> None:
    _place(p, n).deaf = True
    p.world.say("one address does not hear the next reload")


def _stale_process(p: Play, n: int) -> None:
    place = _place(p, n)
    names = sorted(set(p.world.certificates) - _mail(p, n).broken)
    with p.world.judge.presented_by_somebody("an endpoint presents another certificate by itself"):
        place.shows, place.shown_since = names[n // 2 % len(names)], p.world.t
    p.world.say(f"{place.address} presents {place.shows}")


def _somebody_writes(p: Play, n: int) -> None:
    names = [*sorted(p.world.certificates), "x"]
    name = names[n % len(names)]
    if name == "x":
        p.world.stage("x")
    with p.world.judge.presented_by_somebody("somebody wrote the live file"):
        _mail(p, n).write(name)
    p.world.say(f"somebody writes {name} into the live file of {p.service(n)}")


def _somebody_copies(p: Play, n: int) -> None:
    p.world.stage("x")
    with p.world.judge.presented_by_somebody("somebody wrote the live file"):
        _mail(p, n).write("x")
    p.world.say(f"somebody copies a certificate of another host into the live file of {p.service(n)}")


def _restart(p: Play, n: int) -> None:
    for mail in p.world.mail.values():
        mail.restart()
    p.world.say("the mail servers are restarted")


def _reboot(p: Play, n: int) -> None:
    p.world.booted, p.world.boots = p.world.t, p.world.boots + 1
    _restart(p, n)
    p.world.say("the host was rebooted")


def _clock(p: Play, n: int) -> bool:
    before, p.world.skew = p.world.skew, SKEWS[n % len(SKEWS)]
    p.world.say(f"the clock is wrong by {p.world.skew:g} s")
    return p.world.skew != before


def _reboot_without_clock(p: Play, n: int) -> None:
    """Boot with a clock that nothing has set yet."""
    _clock(p, n)
    _reboot(p, n)


def _until_due(p: Play, n: int, **how: Any) -> None:
    """Wait until the next step is due, or a second less: where a rule is a second short, this is when it shows."""
    p.until_due(n, short=(1.0, 0.0, 0.4)[n % 3])
    p.tick(**how)


def _led(phase: str) -> Callable[[Play, int], object]:
    return lambda p, n: lead(p, phase, n)


def _fault(p: Play, n: int) -> None:
    p.tick(fault=FAULTS[n % len(FAULTS)])


PHASES = (
    "steady",
    "publishing",
    "propagating",
    "waiting",
    "installing",
    "verifying",
    "retaining",
    "withdrawing",
    "rolling-back",
    "paused",
    "blocked",
)
LEADS = {f"on to {phase}": _led(phase) for phase in PHASES}

#: What may happen in the midst of a run. Not what a prerequisite cannot name and no look sees before the effect: a TTL,
#: a live file or a process of the instant before.
MEANWHILE = (
    "somebody deletes a record",
    "a hook",
    "somebody replaces the records",
    "lag",
    "foreign record",
    "restart",
    "somebody deletes all",
    "away",
    "somebody signs again",
    "clock",
    "out of reach",
    "cut off",
    "deaf to a reload",
)
EVENTS: dict[str, Callable[[Play, int], object]] = {
    **LEADS,
    "meanwhile": lambda p, n: p.meanwhile(n),
    "a hook": lambda p, n: p.hand_over(n),
    "all is mended": lambda p, n: p.mend(n),
    "tick": lambda p, n: p.tick(),
    "tick with a fault": _fault,
    "tick that is killed": lambda p, n: p.tick(die_in=n + 1),
    "a person looks": lambda p, n: p.tick(asked=True),
    "wait": lambda p, n: p.world.wait(WAITS[n % len(WAITS)]),
    "wait until it is due": _until_due,
    "a fault when it is due": lambda p, n: _until_due(p, 1, fault=FAULTS[n % len(FAULTS)]),
    "a kill when it is due": lambda p, n: _until_due(p, 1, die_in=n + 1),
    "a fault when a person looks": lambda p, n: p.tick(fault=FAULTS[n % len(FAULTS)], asked=True),
    "a kill when a person looks": lambda p, n: p.tick(die_in=n + 1, asked=True),
    "deploy": lambda p, n: p.deploy(n),
    "deploy that is killed": lambda p, n: p.deploy(n, die_in=n + 1),
    "deploy with the same key": lambda p, n: p.deploy(n, same_key=True),
    "deploy what does not work": lambda p, n: p.deploy(n, broken=True),
    "deploy again": lambda p, n: p.deploy_again(n),
    "deploy bad material": lambda p, n: p.deploy_bad(n),
    "rollback": lambda p, n: p.rollback(n),
    "pause": lambda p, n: p.pause(n),
    "resume": lambda p, n: p.resume(n),
    "lag": _toggle_lag,
    "away": _toggle_away,
    "cut off": _toggle_cut_off,
    "bad signatures": _toggle_signature,
    "relapse": _relapse,
    "restored zone": _restored,
    "foreign record": _foreign,
    "somebody deletes a record": _delete_one,
    "somebody deletes all": lambda p, n: p.empty(n),
    "somebody changes it and back": _blip,
    "somebody replaces the records": _replace,
    "somebody signs again": _signs_again,
    "TTL": _ttl,
    "resolver": _resolver,
    "a server leaves": _leave_ns,
    "a server joins": _join_ns,
    "restart": _restart,
    "reboot": _reboot,
    "clock": _clock,
    "reboot without a clock": _reboot_without_clock,
    "out of reach": _reach,
    "deaf to a reload": _deaf,
    "a process with another certificate": _stale_process,
    "somebody writes the live file": _somebody_writes,
    "somebody copies a certificate of another host": _somebody_copies,
}
