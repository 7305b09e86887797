"""What a sighting leaves in the book: rounds, the quiet clock, the states of credentials."""

from __future__ import annotations

from dataclasses import replace

from rollover.core.goals import ORDER, mark
from rollover.core.ledger import Ledger, Patience, observe, wait_left
from rollover.core.model import Book, State, World
from rollover.core.servers import lacking
from rollover.core.sighting import Sighting
from rollover.core.tlsa import EMPTY, RRset
from rollover.core.view import View


def remember_owners(world: World, seen: Sighting, keep: Patience) -> dict[str, Ledger]:
    """Return the ledgers of the service's owners with *seen* entered."""
    return {
        o.owner: observe(world.ledger(o.owner), o, seen.time, clock_agrees=seen.clock_agrees, keep=keep)
        for o in seen.owners
    }


def remember(world: World, seen: Sighting) -> Book:
    """Return the book with *seen* entered; *world* already has the ledgers of it."""
    view, book = View(world, seen), world.book
    goal = world.goal
    if goal is None:
        return replace(book, quiet=None, rounds=0)
    proven = view.proven(goal)
    good = proven and all(view.accepted(e, goal) for e in seen.endpoints)
    under_way = book.install is not None or book.goal != book.active
    quiet = (book.quiet or seen.time) if proven else None
    if quiet is not None and quiet.wall > seen.time.wall:
        quiet = seen.time  # an instant in the future starts over
    filled = frozenset(o.owner for o in seen.owners if o.primary is not None and o.primary.rrset)
    book = replace(
        book,
        rounds=book.rounds + 1 if good and under_way else 0,
        quiet=quiet,
        dane_on=book.dane_on | filled if book.active else book.dane_on,
        refill=book.refill - filled,
    )
    return _states(replace(world, book=book), seen)


def _states(world: World, seen: Sighting) -> Book:
    """Advance the states of credentials by what is in DNS (RFC 7583 §3.1)."""
    view, book = View(world, seen), world.book
    wall = seen.time.wall
    served = [o.primary.rrset for o in seen.owners if o.primary is not None and o.primary.rrset is not None]
    if len(served) < len(seen.owners):
        return book  # not every primary was seen
    anywhere: RRset = EMPTY.union(*(a.rrset for o in seen.owners for a in o.servers if a.rrset is not None), EMPTY)
    for fingerprint, standing in book.standings.items():
        credential = world.credentials.get(fingerprint)
        if credential is None or standing.state in (State.REVOKED, State.ACTIVE):
            continue
        everywhere = all(view.needed(credential.chain, r) <= r for r in served)
        nowhere = not view.needed(credential.chain, EMPTY) & anywhere
        if nowhere and standing.state is not State.GENERATED and standing.state is not State.REMOVED:
            if fingerprint != book.goal:
                book = mark(book, fingerprint, State.REMOVED, wall)
        elif (everywhere and _earlier(standing.state, State.PUBLISHED)) or (
            everywhere and standing.state is State.REMOVED and fingerprint == book.goal
        ):
            book = mark(book, fingerprint, State.PUBLISHED, wall)
        elif everywhere and standing.state is State.PUBLISHED and _ready(world, seen, fingerprint):
            book = mark(book, fingerprint, State.READY, wall)
    return book


def _earlier(a: State, b: State) -> bool:
    return ORDER.index(a) < ORDER.index(b)


def _ready(world: World, seen: Sighting, fingerprint: str) -> bool:
    chain = world.credentials[fingerprint].chain
    patience = world.service.patience
    return all(
        wait_left(world.ledger(o.owner), chain, patience, seen.time) == 0.0 and not lacking(o, EMPTY, chain)
        for o in seen.owners
    )
