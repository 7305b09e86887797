"""What a sighting leaves in the book: rounds, the quiet clock, the states of credentials."""

from __future__ import annotations

from dataclasses import replace

from rollover.core.goals import mark
from rollover.core.ledger import Ledger, Patience, observe
from rollover.core.model import Book, Credential, State, World
from rollover.core.servers import incomplete, lacking
from rollover.core.sighting import Outcome, Sighting
from rollover.core.timing import Instant, elapsed, not_in_future
from rollover.core.tlsa import EMPTY, RRset
from rollover.core.view import View

SILENT = (Outcome.UNREACHABLE, Outcome.NO_GREETING)
LEAVING = (State.PUBLISHED, State.READY, State.RETIRED)


def remember_owners(world: World, seen: Sighting, keep: Patience) -> dict[str, Ledger]:
    """Return the ledgers of the service's owners with *seen* entered."""
    return {
        o.owner: observe(world.ledger(o.owner), o, seen.time, clock_agrees=seen.clock_agrees, keep=keep)
        for o in seen.owners
    }


def remember(world: World, seen: Sighting) -> Book:
    """Return the book with *seen* entered; *world* already has the ledgers of it."""
    view, book, goal = View(world, seen), world.book, world.goal
    proven = goal is not None and view.proven(goal)
    good = goal is not None and proven and all(view.accepted(e, goal) for e in seen.endpoints)
    under_way = book.install is not None or book.goal != book.active
    filled = frozenset(o.owner for o in seen.owners if o.primary is not None and o.primary.rrset)
    book = replace(
        book,
        rounds=book.rounds + 1 if good and under_way else 0,
        quiet=_quiet(book.quiet, seen) if proven else None,
        dane_on=book.dane_on | filled if book.active else book.dane_on,
        refill=book.refill - filled,
        lately=_lately(view),
    )
    return _states(replace(world, book=book), seen)


def _lately(view: View) -> dict[str, Instant]:
    """Return what endpoints present, or a restart would, beside the goal, and what they did as long as a process may live on.

    A process that nobody met may have read the live file. One that is not reached may present still what it did: its time
    begins when it is reached again.
    """
    now, book = view.now, view.world.book
    before = {f: not_in_future(at, now) for f, at in book.lately.items()}
    if any(e.outcome in SILENT for e in view.seen.endpoints):
        kept = dict.fromkeys(before, now)
    else:
        kept = {f: at for f, at in before.items() if elapsed(at, now) < view.world.service.drain}
    shown = sorted({chain.fingerprint for _, _, chain in view.presented} - {book.goal})
    return kept | dict.fromkeys(shown, now)


def _quiet(before: Instant | None, seen: Sighting) -> Instant | None:
    """Return since when it is quiet. An instant of a clock that nobody confirmed would measure nothing."""
    if before is not None and not_in_future(before, seen.time) == before:
        return before
    return seen.time if seen.clock_agrees else None


def _states(world: World, seen: Sighting) -> Book:
    """Advance the states of credentials by what is in DNS (RFC 7583 §3.1)."""
    view, book = View(world, seen), world.book
    wall = seen.time.wall
    served = [o.primary.rrset for o in seen.owners if o.primary is not None and o.primary.rrset is not None]
    if len(served) < len(seen.owners):
        return book  # not every primary was seen
    for fingerprint, standing in book.standings.items():
        credential = world.credentials.get(fingerprint)
        if credential is None or standing.state in (State.REVOKED, State.ACTIVE):
            continue
        published = all(view.needed(credential.chain, r) <= r for r in served)
        wanted = fingerprint in (book.goal, book.queued)
        if standing.state in LEAVING and not wanted and _gone(view, credential):
            book = mark(book, fingerprint, State.REMOVED, wall)
        elif published and (standing.state is State.GENERATED or (standing.state is State.REMOVED and wanted)):
            book = mark(book, fingerprint, State.PUBLISHED, wall)
        elif published and standing.state is State.PUBLISHED and _ready(view, credential):
            book = mark(book, fingerprint, State.READY, wall)
    return book


def _gone(view: View, credential: Credential) -> bool:
    """Tell whether no server has a record of *credential* that nothing else needs.

    Where another credential needs all of them (a renewed certificate with the same key) there is
    nothing to withdraw: then the time of a withdrawal counts.
    """
    if any(incomplete(o) for o in view.seen.owners):
        return False
    world, service = view.world, view.world.service
    anywhere: RRset = EMPTY.union(*(a.rrset for o in view.seen.owners for a in o.servers if a.rrset is not None))
    kept = EMPTY.union(
        *(
            view.needed(c.chain, anywhere)
            for f in (world.book.goal, world.book.active, world.book.queued)
            if (c := world.credentials.get(f)) is not None
        )
    )
    own = view.needed(credential.chain, anywhere) - kept
    if own:
        return not own & anywhere
    quiet, span = world.book.quiet, max(service.retain, service.drain)
    return quiet is not None and view.seen.clock_agrees and elapsed(quiet, view.now) >= span


def _ready(view: View, credential: Credential) -> bool:
    sure = view.seen.clock_agrees or view.never_in_doubt(credential)
    return (
        sure
        and view.ready_left(credential) == 0.0
        and not any(lacking(o, EMPTY, credential.chain) for o in view.seen.owners)
    )
