"""release: out of the tool's care without one deferred message, with or without the records.

What the mail server is given back has to be matched by everything that a resolver may hold, as this
run saw it, and is proven as an adoption is; what other services at the same RRset need stays there,
and stays known as theirs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from math import ceil

from rollover.core.errors import RolloverError, ServerError, UsageError
from rollover.core.ledger import wait_left
from rollover.core.memory import remember_owners
from rollover.core.model import World
from rollover.core.servers import incomplete
from rollover.core.sighting import OwnerSighting, Sighting
from rollover.core.steps import OwnerChange, Phase, Update
from rollover.core.timing import elapsed
from rollover.core.tlsa import EMPTY, RRset, needed, valid
from rollover.engine.effects import Failed, perform
from rollover.engine.giveback import Previous, give_back, keep, previous_of
from rollover.engine.host import Host
from rollover.engine.look import UNRESOLVED, Looker
from rollover.engine.served import Served
from rollover.engine.uncovering import refuse_uncovering
from rollover.state.lock import locked

Say = Callable[[str], None]
LOCK = 60.0
RECORDS_STAY = "Its records stay: renew with the same key, or change them by hand first."


async def release(host: Host, name: str, *, withdraw: bool, say: Say) -> None:
    """Give the mail server its previous parameters back; with *withdraw*, after removing our records and waiting.

    Raises RolloverError while that would defer mail; the service is then under care as before.
    """
    async with locked(host.lock_file, host.clock, patience=LOCK):
        book = host.store.book(host.service(name).name)
        if not book.adopted:
            raise UsageError(f"service {name} is not adopted", hint="there is nothing to release")
        given = book.releasing  # a release that was cut off may have given them back already
        host.store.save_book(name, replace(book, releasing=True), book)
    try:
        previous_of(host, name)
        if withdraw:
            await _withdraw(host, name, say)
        async with locked(host.lock_file, host.clock, patience=LOCK):
            world, seen = await _look(host, name)
            previous = previous_of(host, name)
            _refuse_unmatched(world, seen, previous)
            _refuse_unresolved(seen, previous)
            given = True
            await give_back(host, name, seen, previous, say)
            with host.store.transaction():
                host.store.event(
                    name, "released", "the mail server has its previous parameters again", host.clock.now().wall
                )
                for owner in seen.owners:
                    host.store.unmanage(owner.target, _ours(world, owner))
                host.store.forget_service(name)
    except RolloverError as error:
        async with locked(host.lock_file, host.clock, patience=LOCK):
            await keep(host, name, error if given else None, say)
        raise
    say(f"{name} is released. " + (released(seen) if withdraw else RECORDS_STAY))


def released(seen: Sighting) -> str:
    """Return what is true of DANE after our records were withdrawn."""
    left = {o.target: o.primary.rrset for o in seen.owners if o.primary is not None and o.primary.rrset}
    if not left:
        return "DANE is off for it."
    told = "; ".join(f"{target} has {', '.join(map(str, sorted(rrset)))}" for target, rrset in sorted(left.items()))
    return f"DANE stays on for it, by records of somebody else: {told}"


async def _look(host: Host, name: str) -> tuple[World, Sighting]:
    """Return what is remembered with this sighting in it: what an earlier run saw does not count."""
    looker = Looker(host, name)
    seen = await looker.look()
    world = looker.world(seen=seen)
    ledgers = remember_owners(world, seen, host.longest_patience)
    host.store.save_ledgers(ledgers.values())
    return replace(world, ledgers=ledgers), seen


async def _withdraw(host: Host, name: str, say: Say) -> None:
    """Remove our records and wait until no resolver can hold them."""
    while True:
        async with locked(host.lock_file, host.clock, patience=LOCK):
            world, seen = await _look(host, name)
            changes = [c for o in seen.owners if (c := _removal(world, o)) is not None]
            hint = "remove them there by hand, then release again; or release without --withdraw"
            await refuse_uncovering(host, changes, hint)
            zones = {c.zone: [x for x in changes if x.zone == c.zone] for c in changes}
            for zone, its in zones.items():
                try:
                    await perform(
                        host, world, seen, Update(zone, tuple(its), "the service is released", Phase.WITHDRAWING)
                    )
                except Failed as failure:
                    raise failure.cause or failure from failure
            if not changes:
                left = _held_for(world, seen)
                if left == 0.0:
                    say("no resolver can hold the records any more")
                    return
                say(
                    f"waiting until no resolver can hold the records: {'for every server' if left is None else f'{round(left)} s'}"
                )
        await host.clock.sleep(min(max(left or 1.0, 1.0), 5.0) if not changes else 0.5)


def _ours(world: World, owner: OwnerSighting) -> RRset:
    """Return the records at *owner* that are this service's alone."""
    managed = world.managed.get(owner.target, EMPTY)
    theirs = [needed(c, managed, ()) for c in world.others.get(owner.owner, ())]
    return managed - EMPTY.union(*theirs)


def _removal(world: World, owner: OwnerSighting) -> OwnerChange | None:
    """Return the change that removes all of ours at *owner*. Raises ServerError where that would defer mail."""
    primary = owner.primary
    if primary is None or not primary.rrset:
        return None
    ours = _ours(world, owner) & primary.rrset
    if not ours:
        return None
    if primary.wildcard:
        raise ServerError(
            f"{owner.target} has its records from {primary.wildcard}, which is not this service's alone",
            hint="remove them there by hand, then release again; or release without --withdraw",
        )
    rest = primary.rrset - ours
    used = [c.chain for f, c in world.credentials.items() if f == world.book.active]
    others = (*world.others.get(owner.owner, ()), *world.strangers.get(owner.owner, ()))
    if not all(valid(rest, c) for c in (*used, *others)):
        raise ServerError(
            f"without our records {owner.target} would have {', '.join(map(str, sorted(rest)))}, which what is served does not match",
            hint=f'remove those first: `rollover adopt {world.service.name} --remove "RDATA"`; if another service needs them, release without --withdraw',
        )
    return OwnerChange(owner.owner, owner.target, owner.zone, primary.rrset, "", EMPTY, ours, primary.own_ttl)


def _held_for(world: World, seen: Sighting) -> float | None:
    """Return the seconds until no resolver can hold a record of ours; None while that cannot be known."""
    if not seen.clock_agrees:
        return None
    left = 0.0
    for owner in seen.owners:
        ours = _ours(world, owner)
        for entry in world.ledger(owner.owner).entries:
            if entry.rrset is not None and not entry.rrset & ours:
                continue
            if entry.gone is None:
                return None
            left = max(left, world.service.patience.span(entry.ttl) - elapsed(entry.gone, seen.time))
    return left


def _refuse_unmatched(world: World, seen: Sighting, previous: Sequence[Previous]) -> None:
    """What the mail server was configured with before has to be matched by what resolvers may hold."""
    for it in previous:
        for owner in seen.owners:
            if (refusal := _refusal(world, seen, owner, it.served)) is not None:
                raise refusal


def _refuse_unresolved(seen: Sighting, previous: Sequence[Previous]) -> None:
    """Where nobody tells an endpoint's address nothing can be proven afterwards."""
    for e in seen.endpoints if previous else ():
        if e.endpoint.address == UNRESOLVED:
            raise ServerError(
                f"what {e.endpoint.host} presents could not be seen afterwards: {e.detail}",
                hint="release again when its addresses can be looked up, or set `addresses` of the service",
            )


def _refusal(world: World, seen: Sighting, owner: OwnerSighting, before: Served) -> ServerError | None:
    """Return why what was served *before* must not be served at *owner* again now; None if it may."""
    chain = before.parsed
    entries = world.ledger(owner.owner).entries
    served = [a.rrset for a in owner.servers if a.rrset is not None]
    matched = owner.primary is not None and all(valid(rrset, chain) for rrset in served)
    if matched and all(e.valid_for(chain) for e in entries):
        return None  # it was never otherwise: nothing has to be measured, and nobody to be asked again
    left = wait_left(world.ledger(owner.owner), chain, world.service.patience, seen.time)
    late = incomplete(owner)
    if matched and left == 0.0 and not late and seen.clock_agrees:
        return None
    text = (
        f"Postfix's previous parameters name certificate {chain.fingerprint[:16]}, which {owner.owner} does not match "
    )
    if matched and late:
        return ServerError(
            f"{text}for all resolvers yet, as far as is known: {late[0].server} {late[0].reason}",
            hint="release again when every name server has the zone as the primary has it",
        )
    if matched and not seen.clock_agrees:
        return ServerError(
            f"{text}for all resolvers yet, as far as is known: {seen.clock_problem or 'nothing confirmed our clock'}",
            hint="see that time is synchronised here and on the primary, then release again",
        )
    return ServerError(
        text + ("for all resolvers yet" if matched else "in DNS"),
        hint=_way_out(world, before, left if matched else None),
    )


def _way_out(world: World, before: Served, left: float | None) -> str:
    """Return how a release becomes possible; *left*: seconds until it does by itself."""
    name, fingerprint = world.service.name, before.parsed.fingerprint
    if left is not None:
        return f"release again in {ceil(left)} s"
    if fingerprint in world.book.standings:  # deploy would know it already, and change nothing
        commands = f"`rollover rollback {name} --to {fingerprint[:16]}`, then `rollover advance {name} --wait`"
    else:
        commands = f"`rollover deploy {' '.join(before.files)} --service {name} --wait`"
    return f"{commands}, then release; or have those files hold what is served now"
