"""What a person orders: rollback, pause, resume; release has a file of its own."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from datetime import timedelta
from math import ceil

from rollover.core import goals
from rollover.core.errors import UsageError
from rollover.core.ledger import wait_left
from rollover.core.model import Book, World
from rollover.core.sighting import Outcome
from rollover.core.timing import Instant, stamp
from rollover.engine.host import Host
from rollover.engine.look import Looker
from rollover.engine.run import Outcome as RunOutcome
from rollover.engine.run import Patience, enter, run_locked
from rollover.state.lock import locked

Say = Callable[[str], None]
LOCK = 60.0


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
        enter(looker, seen, {}, proving=False)  # it may show what no later look will
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
