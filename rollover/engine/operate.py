"""What a person orders: rollback, pause, resume, release."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import replace
from datetime import timedelta
from math import ceil

from rollover.core import goals
from rollover.core.errors import RolloverError, ServerError, UsageError
from rollover.core.ledger import wait_left
from rollover.core.memory import remember_owners
from rollover.core.model import Book, World
from rollover.core.sighting import Outcome, OwnerSighting, Sighting
from rollover.core.steps import OwnerChange, Phase, Update
from rollover.core.timing import Instant, stamp
from rollover.core.tlsa import EMPTY, Chain, valid
from rollover.engine.effects import Failed, perform
from rollover.engine.host import Host
from rollover.engine.look import Looker
from rollover.engine.run import Outcome as RunOutcome
from rollover.engine.run import Patience, run_locked
from rollover.mail.target import PostfixTarget
from rollover.state.lock import locked

Say = Callable[[str], None]
LOCK = 60.0
RECORDS_STAY = "Its records stay: renew with the same key, or change them by hand first."


async def rollback(
    host: Host, name: str, *, to: str = "", hurry: bool = False, dry_run: bool = False, say: Say
) -> RunOutcome | None:
    """Make the previous, or the named, certificate the wanted one and do what can be done now.

    Raises GoalRefused. Returns None for *dry_run*.
    """
    async with nullcontext() if dry_run else locked(host.lock_file, host.clock, patience=LOCK):
        looker = Looker(host, name)
        world = looker.world(all_credentials=True)
        if not world.book.adopted:
            raise UsageError(
                f"service {name} was never adopted", hint=f"there is nothing to roll back; `rollover adopt {name}`"
            )
        now = host.clock.now()
        book, said = goals.rollback(world, now, to=to, hurry=hurry)
        after = replace(world, book=book)
        left = _ready_in(after, book.goal, now)
        if hurry:
            _say_cost(goals.hurry_cost(after, book.goal, now), now, say)
        elif left == 0.0:
            say("its record is still published everywhere: it is installed at once, no mail is deferred")
        else:
            when = "after its record was published, seen on every server, and waited for"
            if left is not None:
                when += f" (not before {stamp(now.wall + timedelta(seconds=left))})"
            say(f"it is installed {when}; no mail is deferred")
        say(said)
        if dry_run:
            return None
        with host.store.transaction():
            host.store.save_book(name, book, world.book)
            if book != world.book:
                host.store.event(
                    name, "rollback", said + (" without waiting" if hurry else ""), now.wall, fingerprint=book.goal
                )
        return await run_locked(host, name, Patience(linger=15.0))


def _say_cost(cost: dict[str, tuple[float, bool]], now: Instant, say: Say) -> None:
    """Say beforehand who defers, and for how long, when nobody waits."""
    for owner, (seconds, from_now) in cost.items():
        end = f"from now, until {stamp(now.wall + timedelta(seconds=seconds))}"
        say(
            f"senders that hold the old records of {owner} will defer mail for up to {ceil(seconds)} s "
            f"{end if from_now else 'from when its record is on every server'}; nothing bounces"
        )
    if not cost:
        say("no sender holds records that it does not match: no mail is deferred")


def _ready_in(world: World, fingerprint: str, now: Instant) -> float | None:
    """Return the seconds until a credential is ready by the ledgers; None while that is not known."""
    chain, service = world.credentials[fingerprint].chain, world.service
    found = [wait_left(world.ledger(o), chain, service.patience, now) for o in service.owners]
    return None if None in found else max((f for f in found if f is not None), default=0.0)


async def pause(host: Host, name: str, seconds: float | None) -> str:
    """Stop all steps but those that protect what is served; returns a sentence. Raises UsageError."""
    async with locked(host.lock_file, host.clock, patience=LOCK):
        book, now = _adopted(host, name, "pause"), host.clock.now()
        until = now.wall + timedelta(seconds=seconds) if seconds is not None else None
        text = f"paused until {stamp(until)}" if until else "paused until `rollover resume`"
        with host.store.transaction():
            host.store.save_book(name, goals.pause(book, now, until), book)
            host.store.event(name, "paused", text, now.wall)
            host.store.wake(name)
        return text


def _adopted(host: Host, name: str, what: str) -> Book:
    """Return the book of a service that is adopted. Raises UsageError for any other: nothing is done for it."""
    book = host.store.book(host.service(name).name)
    if not book.adopted:
        raise UsageError(
            f"service {name} is not adopted: there is nothing to {what}", hint=f"`rollover adopt {name}` takes it over"
        )
    return book


async def resume(host: Host, name: str) -> RunOutcome:
    """Go on, after looking anew. Owners that are empty now may be filled again, if every endpoint was reached."""
    async with locked(host.lock_file, host.clock, patience=LOCK):
        _adopted(host, name, "resume")
        looker = Looker(host, name)
        seen = await looker.look()
        book = looker.book()
        empty = frozenset(
            o.owner
            for o in seen.owners
            if o.primary is not None and o.primary.rrset is not None and not o.primary.rrset
        )
        reached = bool(seen.endpoints) and all(e.outcome is Outcome.PRESENTED for e in seen.endpoints)
        after = goals.resume(book, empty if reached else frozenset())
        with host.store.transaction():
            host.store.save_book(name, after, book)
            host.store.event(
                name,
                "resumed",
                "a person let it go on"
                + (f"; {', '.join(sorted(after.refill))} may be filled again" if after.refill else ""),
                host.clock.now().wall,
            )
            host.store.wake(name)
        return await run_locked(host, name)


async def release(host: Host, name: str, *, withdraw: bool, say: Say) -> None:
    """Give the mail server its previous parameters back; with *withdraw*, after removing our records and waiting.

    Raises RolloverError while that would defer mail.
    """
    async with locked(host.lock_file, host.clock, patience=LOCK):
        looker = Looker(host, name)
        book = looker.book()
        if not book.adopted:
            raise UsageError(f"service {name} is not adopted", hint="there is nothing to release")
        host.store.save_book(name, replace(book, releasing=True), book)
    if withdraw:
        await _withdraw(host, name, say)
    async with locked(host.lock_file, host.clock, patience=LOCK):
        looker = Looker(host, name)
        seen = await looker.look()
        try:
            _refuse_unmatched(host, name, seen, looker)
            await _restore(host, name, say)
        except RolloverError:
            host.store.save_book(name, replace(looker.book(), releasing=False), looker.book())
            raise
        with host.store.transaction():
            host.store.event(
                name, "released", "the mail server has its previous parameters again", host.clock.now().wall
            )
            for owner in seen.owners:
                host.store.unmanage(owner.target, host.store.managed([owner.target])[owner.target])
            host.store.forget_service(name)
    say(f"{name} is released. " + (released(seen) if withdraw else RECORDS_STAY))


def released(seen: Sighting) -> str:
    """Return what is true of DANE after our records were withdrawn."""
    left = {o.target: o.primary.rrset for o in seen.owners if o.primary is not None and o.primary.rrset}
    if not left:
        return "DANE is off for it."
    told = "; ".join(f"{target} has {', '.join(map(str, sorted(rrset)))}" for target, rrset in sorted(left.items()))
    return f"DANE stays on for it, by records of somebody else: {told}"


async def _withdraw(host: Host, name: str, say: Say) -> None:
    """Remove our records and wait until no resolver can hold them."""
    while True:
        async with locked(host.lock_file, host.clock, patience=LOCK):
            looker = Looker(host, name)
            seen = await looker.look()
            world = looker.world(seen=seen)
            ledgers = remember_owners(world, seen, host.longest_patience)
            host.store.save_ledgers(ledgers.values())
            world = replace(world, ledgers=ledgers)
            changes = [c for o in seen.owners if (c := _removal(world, o)) is not None]
            zones = {c.zone: [x for x in changes if x.zone == c.zone] for c in changes}
            for zone, its in zones.items():
                try:
                    await perform(
                        host, world, seen, Update(zone, tuple(its), "the service is released", Phase.WITHDRAWING)
                    )
                except Failed as failure:
                    raise failure.cause or failure from failure
            if not changes:
                left = _nobody_holds(world, seen)
                if left == 0.0:
                    say("no resolver can hold the records any more")
                    return
                say(
                    f"waiting until no resolver can hold the records: {'for every server' if left is None else f'{round(left)} s'}"
                )
        await host.clock.sleep(min(max(left or 1.0, 1.0), 5.0) if not changes else 0.5)


def _removal(world: World, owner: OwnerSighting) -> OwnerChange | None:
    """Return the change that removes all of ours at *owner*. Raises ServerError where that would defer mail."""
    primary = owner.primary
    if primary is None or not primary.rrset:
        return None
    ours = world.managed.get(owner.target, EMPTY) & primary.rrset
    if not ours:
        return None
    rest = primary.rrset - ours
    used = [c.chain for f, c in world.credentials.items() if f == world.book.active]
    if not all(valid(rest, c) for c in (*used, *world.others.get(owner.owner, ()))):
        raise ServerError(
            f"without our records {owner.target} would have {', '.join(map(str, sorted(rest)))}, which what is served does not match",
            hint=f'remove those first: `rollover adopt {world.service.name} --remove "RDATA"`, or another service needs ours',
        )
    return OwnerChange(
        owner.owner, owner.target, owner.zone, primary.rrset, bool(primary.wildcard), EMPTY, ours, primary.own_ttl
    )


def _nobody_holds(world: World, seen: Sighting) -> float | None:
    """Return the seconds until no resolver can hold any record; None while some server still shows one."""
    nobody = Chain(())
    found = [wait_left(world.ledger(o.owner), nobody, world.service.patience, seen.time) for o in seen.owners]
    return None if None in found else max((f for f in found if f is not None), default=0.0)


def _refuse_unmatched(host: Host, name: str, seen: Sighting, looker: Looker) -> None:
    """What the mail server was configured with before has to be matched by what resolvers may hold."""
    from rollover.core.certificate import parse_chain  # here: cryptography is not for pause and resume

    world = looker.world(seen=seen)
    for target in host.hands.targets[name]:
        if not isinstance(target, PostfixTarget):
            continue
        before = (host.store.restore(name) or {}).get(target.postfix.config_directory)
        if not before:
            continue
        chain = parse_chain(target.postfix.chain_of(before))
        for owner in seen.owners:
            now_valid = (
                owner.primary is not None and owner.primary.rrset is not None and valid(owner.primary.rrset, chain)
            )
            left = wait_left(world.ledger(owner.owner), chain, world.service.patience, seen.time)
            if not now_valid or left != 0.0:
                raise ServerError(
                    f"Postfix's previous parameters name certificate {chain.fingerprint[:16]}, which {owner.owner} does not match "
                    + ("for all resolvers yet" if now_valid else "in DNS"),
                    hint=_way_out(world, chain, before, left if now_valid else None),
                )


def _way_out(world: World, chain: Chain, before: Mapping[str, str], left: float | None) -> str:
    """Return how a release becomes possible; *left*: seconds until it does by itself."""
    name, fingerprint = world.service.name, chain.fingerprint
    if left is not None:
        return f"release again in {ceil(left)} s"
    if fingerprint in world.book.standings:  # deploy would know it already, and change nothing
        commands = f"`rollover rollback {name} --to {fingerprint[:16]}`, then `rollover advance {name} --wait`"
    else:
        files = before.get("smtpd_tls_chain_files") or " ".join(
            before.get(f"smtpd_tls_{what}_file", what.upper()) for what in ("cert", "key")
        )
        commands = f"`rollover deploy {files} --service {name} --wait`"
    return f"{commands}, then release; or have those files hold what is served now"


async def _restore(host: Host, name: str, say: Say) -> None:
    noted = host.store.restore(name) or {}
    for target in host.hands.targets[name]:
        if isinstance(target, PostfixTarget) and (before := noted.get(target.postfix.config_directory)) is not None:
            target.postfix.restore(before)
            await target.reload()
            say(f"{target.postfix.config_directory}: {', '.join(f'{k} = {v}' for k, v in before.items())}")
