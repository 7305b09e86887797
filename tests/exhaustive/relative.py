"""What the tool remembers, as ages: states that differ only by the date are one state.

The real Book and Ledger are kept, with every instant in them moved so that now is always NOW. What is dropped or
capped here, and why that loses nothing, is told in docs/exhaustive.md, Reductions; each has its number there.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import fields, is_dataclass, replace
from functools import cache
from typing import Any, get_args, get_type_hints

from rollover.core.ledger import Entry, Ledger
from rollover.core.machine import ROUNDS
from rollover.core.model import Book, State
from rollover.core.sighting import Endpoint
from rollover.core.timing import Instant
from rollover.core.tlsa import Tlsa
from tests.unit.core.worlds import NOW, at

STEP = 300.0  # seconds: the TSIG fudge, half of what an unanswered update is given to land
VERIFY = 1  # steps: verify_timeout, drain
LONGEST_RELOAD = 2  # steps, where the tool has a day
MAY_LAND = 2  # steps: the ten minutes of the ledger
NEW, OLD = "identity now", "identity before"  # of the live file: what a recorded reload is compared with
HASHED = {Instant, Endpoint, Tlsa}  # values that are looked up as they are
SIGNED, SIGNED_NOW = NOW.wall, at(STEP).wall  # inception when last looked at; after a change since


@cache
def _bearing(kind: type) -> tuple[str, ...]:
    """Return the fields of a dataclass that may hold an instant, however deep; by their types."""
    if not is_dataclass(kind):
        return ()
    return tuple(name for name, hint in get_type_hints(kind).items() if _may_bear(hint))


def _may_bear(hint: Any) -> bool:
    if hint is Instant:
        return True
    return any(_may_bear(x) for x in get_args(hint)) or (isinstance(hint, type) and bool(_bearing(hint)))


def moved(thing: Any, change: Callable[[Instant], Instant]) -> Any:
    """Return *thing* with every instant in it changed, however deep it lies."""
    if thing is None:
        return None
    if type(thing) is Instant:
        return change(thing)
    if type(thing) is dict:
        return {k: moved(v, change) for k, v in thing.items()}
    if type(thing) is tuple:
        return tuple([moved(x, change) for x in thing])
    names = _bearing(type(thing))
    before = {k: v for k in names if (v := getattr(thing, k))}
    return replace(thing, **{k: moved(v, change) for k, v in before.items()}) if before else thing


@cache
def _names(kind: type) -> tuple[str, ...] | None:
    return tuple(f.name for f in fields(kind)) if is_dataclass(kind) else None


def frozen(thing: Any) -> Hashable:
    """Return what is equal for equal *things*, and can be looked up."""
    if type(thing) is dict:
        return tuple([(frozen(k), frozen(v)) for k, v in sorted(thing.items())])
    if type(thing) is tuple:
        return tuple([frozen(x) for x in thing])
    names = _names(type(thing))
    if names is None or type(thing) in HASHED:
        it: Hashable = thing
        return it
    return tuple([frozen(getattr(thing, name)) for name in names])


def age(instant: Instant) -> int:
    """Return how many steps ago *instant* was."""
    return round((NOW.wall - instant.wall).total_seconds() / STEP)


def ago(steps: int) -> Instant:
    """Return the instant *steps* ago."""
    return NOW.plus(-steps * STEP)


def older(thing: Any) -> Any:
    """Return *thing* after one step of time."""
    return moved(thing, lambda x: x.plus(-STEP))


def canonical_book(book: Book, retain: int) -> Book:
    """Return the one book for all that decide alike. *retain* in steps."""
    standings = {
        f: replace(
            s,
            state=State.GENERATED,
            blocked="",
            since={k: NOW.wall for k in s.since if k == State.ACTIVE.value},
        )
        for f, s in book.standings.items()
    }
    most = LONGEST_RELOAD.bit_length() - 1
    book = replace(
        book,
        activated=None,
        rounds=min(book.rounds, ROUNDS),
        reloads={p: replace(x, repeats=min(x.repeats, most)) for p, x in book.reloads.items()},
        standings=standings,
    )
    quiet, rest = book.quiet, replace(book, quiet=None)
    found: set[int] = set()
    moved(rest, lambda x: found.add(age(x)) or x)
    cap = max(2 * VERIFY, LONGEST_RELOAD)
    late = {a: cap + i for i, a in enumerate(sorted(a for a in found if a >= cap))}  # capped, in the same order
    rest = moved(rest, lambda x: ago(late.get(age(x), age(x))))
    return replace(rest, quiet=None if quiet is None else ago(min(age(quiet), max(retain, VERIFY))))


def canonical_ledger(ledger: Ledger, ttl: int) -> Ledger:
    """Return the one ledger for all that decide alike. *ttl* in steps."""
    kept = []
    for e in ledger.entries:
        if e.gone is not None and age(e.gone) >= ttl:
            continue
        gone = None if e.gone is None else ago(age(e.gone))
        intended = None if e.intended is None else ago(min(age(e.intended), MAY_LAND))
        kept.append(Entry(e.rrset, e.ttl, gone, intended))
    kept.sort(key=lambda e: (sorted(map(str, e.rrset or ())), repr(e.gone), repr(e.intended)))
    return replace(ledger, entries=tuple(kept), inception=SIGNED, inceptions=(SIGNED,))
