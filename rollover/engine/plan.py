"""`deploy --dry-run`: every step with its clock time, the exact updates, the change to the mail server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from datetime import datetime, timedelta

from rollover.core import goals
from rollover.core.certificate import facts, listed, parse_chain
from rollover.core.changes import publishing
from rollover.core.ledger import wait_left
from rollover.core.memory import remember_owners
from rollover.core.model import Credential, World
from rollover.core.servers import incomplete
from rollover.core.sighting import Sighting
from rollover.core.steps import OwnerChange
from rollover.core.timing import stamp
from rollover.core.view import View
from rollover.engine.host import Host
from rollover.engine.intake import Material, wanted_by
from rollover.engine.look import Looker


async def plan(host: Host, material: Material, *, service: str | None) -> list[str]:
    """Return the lines of the plan; nothing is changed. Raises as a real deploy would."""
    services, reason = wanted_by(host, material, service=service)
    if not services:
        return [reason]
    lines = []
    for name in services:
        lines += [line async for line in _plan_one(host, name, material)]
    return lines


async def _plan_one(host: Host, name: str, material: Material) -> AsyncIterator[str]:
    looker = Looker(host, name)
    chain = parse_chain(material.chain)
    known = facts(chain)
    new = Credential(known.fingerprint, chain, known.not_before, known.not_after, known.algorithm, known.names)
    yield f"{name}: certificate {new.fingerprint[:16]} for {listed(new.names)}, valid until {stamp(new.not_after)}"
    world = looker.world()
    if not world.book.adopted:
        yield f"  {name} is not adopted: the certificate would be kept, and nothing else done. `rollover adopt {name}` first"
        return
    if new.fingerprint in world.book.standings:
        yield "  it is known already: nothing would change"
        return
    seen = await looker.look()
    world = looker.world(seen=seen)
    world = replace(world, credentials={**world.credentials, new.fingerprint: new})
    world = replace(world, ledgers=remember_owners(world, seen, host.longest_patience))
    book, said = goals.deploy(world, new.fingerprint, seen.time)
    if book.queued == new.fingerprint:
        yield f"  {said}"
    world = replace(world, book=replace(book, goal=new.fingerprint))
    for line in _steps(host, world, seen):
        yield line


def _steps(host: Host, world: World, seen: Sighting) -> Iterator[str]:
    view, service, now = View(world, seen), world.service, seen.time.wall
    goal = world.goal
    assert goal is not None
    changes = {c.target: c for o in seen.owners if (c := publishing(view, o)) is not None}
    for change in changes.values():
        yield from _update(now, change)
    late = [x for o in seen.owners for x in incomplete(o)]
    for laggard in late:
        yield f"  {stamp(now)}  held back until {laggard.server} is well: {laggard.reason}"
    ready = now + timedelta(seconds=_wait(world, seen))
    if ready > now:
        yield f"  {stamp(ready)}  at the earliest: no resolver can hold the old RRset ({service.patience.ttls} TTLs after every server has the new one)"
    for target in host.hands.targets[service.name]:
        live = target.live()
        yield f"  {stamp(ready)}  write {live.path} ({live.chain.fingerprint[:16] if live.chain else 'absent'} -> {goal.fingerprint[:16]}), keep {live.path}.previous, reload"
    for e in seen.endpoints:
        yield f"  {stamp(ready)}  prove {e.endpoint} by new handshakes, three rounds"
    gone = ready + timedelta(seconds=max(service.retain, service.drain))
    for owner in seen.owners:
        current = owner.primary.rrset if owner.primary is not None else None
        surplus = (world.managed.get(owner.target, frozenset()) & (current or frozenset())) - view.needed(
            goal.chain, current or frozenset()
        )
        for rr in sorted(surplus):
            yield f"  {stamp(gone)}  update delete {owner.target} TLSA {rr}"


def _update(now: datetime, change: OwnerChange) -> Iterator[str]:
    for rr in sorted(change.expect):
        yield (f"  {stamp(now)}  prereq yxrrset {change.wildcard or change.target} TLSA {rr}")
    for rr in sorted(change.add):
        yield f"  {stamp(now)}  update add {change.target} {change.ttl} TLSA {rr}"


def _wait(world: World, seen: Sighting) -> float:
    """Return the seconds until the goal is ready if it were published everywhere now."""
    goal, service = world.goal, world.service
    assert goal is not None
    longest = 0.0
    for owner in seen.owners:
        ledger = world.ledger(owner.owner)
        left = wait_left(ledger, goal.chain, service.patience, seen.time)
        spans = [service.patience.span(e.ttl) for e in ledger.entries if e.gone is None and not e.valid_for(goal.chain)]
        longest = max([longest, left or 0.0, *spans])
    return longest
