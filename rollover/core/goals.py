"""What should be served: a new certificate, a rollback, a pause. Each returns the book as it is after.

There is no separate path for a rollback: it makes another credential the goal, and decide() does the
rest (protocol.md, Goals).
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from rollover.core.errors import EX_DATAERR, RolloverError
from rollover.core.ledger import held, wait_left
from rollover.core.model import Book, Credential, OpenInstall, Pause, Standing, State, World, picture
from rollover.core.sighting import EndpointSighting
from rollover.core.timing import Instant, elapsed, elapsed_boot, not_earlier, stamp
from rollover.core.view import expired


class GoalRefused(RolloverError):
    """The credential that was asked for cannot become the goal."""

    exit_code = EX_DATAERR
    code = "goal-refused"


def mark(book: Book, fingerprint: str, state: State, wall: datetime) -> Book:
    """Return *book* with a credential in *state*; the first instant of each state is kept."""
    old = book.standing(fingerprint)
    if old.state is state and state.value in old.since:
        return book
    new = replace(old, state=state, since={state.value: wall, **old.since})
    return replace(book, standings={**book.standings, fingerprint: new})


def deploy(world: World, fingerprint: str, now: Instant) -> tuple[Book, str]:
    """Return the book after a certificate was handed over, and one line that says what became of it."""
    book = world.book
    if fingerprint in book.standings:
        return book, "known already; nothing changes"
    standing = Standing(since={State.GENERATED.value: now.wall})
    book = replace(book, standings={**book.standings, fingerprint: standing})
    if not book.goal or not book.adopted:
        return replace(book, goal=fingerprint, return_spent=False), "it is wanted"
    if _must_queue(world, fingerprint, now):
        return replace(book, queued=fingerprint), "it is queued: another certificate is on its way and will be first"
    return set_goal(book, fingerprint), "it is wanted"


def _must_queue(world: World, fingerprint: str, now: Instant) -> bool:
    """A certificate that is already being installed, or will be ready first, is let finish."""
    book = world.book
    if book.install is not None:
        return elapsed_boot(book.install.since, now) < 2 * world.service.verify_timeout
    if book.goal == book.active or book.goal not in world.credentials:
        return False
    goal = world.credentials[book.goal]
    if expired(goal, now.wall) or world.revoked(goal.spki):
        return False
    waiting = _ready_in(world, goal, now)
    newer = _ready_in(world, world.credentials[fingerprint], now)
    return waiting is not None and (newer is None or waiting < newer)


def _ready_in(world: World, credential: Credential, now: Instant) -> float | None:
    left = 0.0
    for owner in world.service.owners:
        at_owner = wait_left(world.ledger(owner), credential.chain, world.service.patience, now)
        if at_owner is None:
            return None
        left = max(left, at_owner)
    return left


def set_goal(book: Book, fingerprint: str, *, rollback: bool = False) -> Book:
    """Return *book* with another goal by a person's or a client's will; the return is allowed again.

    Nothing waits behind it: what was queued is older, and taking its turn would undo this.
    """
    standing = book.standing(fingerprint)
    never_goal = not standing.previous and State.ACTIVE.value not in standing.since
    if never_goal and book.active != fingerprint:
        book = replace(book, standings={**book.standings, fingerprint: replace(standing, previous=book.active)})
    return replace(
        book,
        goal=fingerprint,
        queued="",
        rollback=rollback,
        returning=False,
        return_spent=False,
        hurry="",
        rounds=0,
        quiet=None,
    )


def take_return(book: Book, fingerprint: str, why: str) -> Book:
    """Return *book* after the automatic return: what was installed and failed is blocked with its reason.

    A newer certificate that had become the goal meanwhile waits for its turn again.
    """
    failed = (book.install.fingerprint if book.install is not None else "") or book.goal
    waiting = book.goal if book.goal not in (failed, fingerprint) else ""
    return replace(
        book,
        goal=fingerprint,
        queued=book.queued or waiting,
        returning=True,
        rollback=False,
        return_spent=True,
        hurry="",
        rounds=0,
        quiet=None,
        standings={**book.standings, failed: replace(book.standing(failed), blocked=why)},
    )


def open_install(
    book: Book, fingerprint: str, now: Instant, seen: tuple[EndpointSighting, ...], *, begun: bool
) -> Book:
    """Return *book* with the intent to install *fingerprint*, noted before it is done.

    *begun*: some live file holds it already. Such an install, and one that was loaded, is not begun
    anew: else what fails and is written again at every tick would never be judged.
    """
    opened = book.install or OpenInstall(now, now, book.active, picture(seen))
    for reload in book.reloads.values():
        begun = begun or not_earlier(reload.at, opened.latest)
    if opened.fingerprint != fingerprint or not begun:
        opened = replace(opened, fingerprint=fingerprint, latest=now)
    return replace(book, install=opened, rounds=0, quiet=None)


def activate(book: Book, now: Instant) -> Book:
    """Return *book* with the goal proven: active, its predecessor retired, the install closed."""
    before = book.active
    book = mark(book, book.goal, State.ACTIVE, now.wall)
    if before and before != book.goal:
        book = mark(book, before, State.RETIRED, now.wall)
    return replace(
        book,
        active=book.goal,
        install=None,
        hurry="",
        rounds=0,
        activated=now,
        quiet=None,  # counted from the next sighting: only with a clock that agrees
    )


def rollback(world: World, now: Instant, *, to: str = "", hurry: bool = False) -> tuple[Book, str]:
    """Return the book after a person asked for the previous, or the named, certificate.

    *to* may be the beginning of a fingerprint, at least 8 digits. Raises GoalRefused when that
    certificate cannot be served.
    """
    book = world.book
    book = replace(book, queued="")  # whatever becomes of it: a newer certificate is not what a person wants now
    if (book.rollback or book.returning) and not to:
        if book.goal not in world.credentials:
            raise _not_in_the_vault(book.goal)
        if book.goal == book.active:
            return book, f"{book.goal[:16]} is served after a rollback; nothing changes. Name another one with --to"
        if hurry:
            return replace(book, hurry=book.goal), f"no more waiting for {book.goal[:16]}"
        return book, f"a rollback to {book.goal[:16]} is already under way; nothing changes"
    target = _find(world, to) if to else book.standing(book.goal).previous
    if not target:
        raise GoalRefused(
            "there is no previous certificate",
            hint=f"name one with --to FINGERPRINT; `rollover history {world.service.name}` lists them",
        )
    credential = world.credentials.get(target)
    if credential is None:
        raise _not_in_the_vault(target)
    if expired(credential, now.wall):
        raise GoalRefused(
            f"certificate {target[:16]} expired at {stamp(credential.not_after)}",
            hint="renew instead, and `rollover deploy` the new one; or name another one with --to",
        )
    if world.revoked(credential.spki):
        raise GoalRefused(
            f"the key of certificate {target[:16]} is revoked", hint="order a certificate with a new key and deploy it"
        )
    if target == book.goal and not hurry:
        return book, f"certificate {target[:16]} is already the wanted one; nothing changes"
    cleared = replace(book.standing(target), blocked="")
    book = replace(book, standings={**book.standings, target: cleared})
    book = set_goal(book, target, rollback=True)
    return (replace(book, hurry=target) if hurry else book), f"certificate {target[:16]} is wanted"


def _find(world: World, prefix: str) -> str:
    prefix = prefix.replace(":", "").lower()
    found = [f for f in world.credentials if len(prefix) >= 8 and f.startswith(prefix)]
    if len(found) == 1:
        return found[0]
    what = "names more than one certificate" if found else "is no certificate in the vault"
    raise GoalRefused(
        f"--to {prefix!r} {what}",
        hint=f"`rollover history {world.service.name}` lists the fingerprints; eight digits or more are enough",
    )


def _not_in_the_vault(fingerprint: str) -> GoalRefused:
    return GoalRefused(
        f"certificate {fingerprint[:16]} or its key is not in the vault any more",
        hint="hand it over again: `rollover deploy FULLCHAIN KEY`, or name another one with --to",
    )


def hurry_cost(world: World, fingerprint: str, now: Instant) -> dict[str, tuple[float, bool]]:
    """Return, by owner, for how many seconds senders may still hold an RRset that defers.

    With it, whether these seconds run from *now*; else some server still gives that RRset, and they
    run from when the record of *fingerprint* is on every server. What ``rollback --now`` says
    beforehand. One TTL and what is rounded up, not two TTLs: that is what can be held.
    """
    chain = world.credentials[fingerprint].chain
    cost = {}
    for owner in world.service.owners:
        wrong = [e for e in world.ledger(owner).entries if not e.valid_for(chain)]
        left = max((held(e.ttl) - (elapsed(e.gone, now) if e.gone is not None else 0.0) for e in wrong), default=0.0)
        if left > 0:
            cost[owner] = left, all(e.gone is not None for e in wrong)
    return cost


def pause(book: Book, now: Instant, until: datetime | None) -> Book:
    """Return *book* paused; *until* None for ever."""
    return replace(book, pause=Pause(now, until))


def resume(book: Book, refill: frozenset[str]) -> Book:
    """Return *book* going on, a release given up; *refill*: the owners empty now, which may be filled again."""
    return replace(book, pause=None, releasing=False, refill=book.refill | (refill & book.dane_on))
