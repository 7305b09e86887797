"""The ledger of an owner: every RRset that a resolver may still hold, and since when it is gone.

This is all there is to the clock (protocol.md, Ready): a certificate may be served when every RRset
in the ledger that does not match it has been gone from all servers for long enough. A renewed key,
a rollback, a foreign record, a relapse and a restored zone need no rules of their own.

Entries are kept by RRset *and* TTL, so a TTL that was lowered counts only after the RRset with the
higher one has been gone for its own time, and then does count.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime

from rollover.core.servers import answered, elsewhere, incomplete
from rollover.core.sighting import OwnerSighting, ServerAnswer
from rollover.core.timing import Instant, elapsed, not_earlier, not_in_future
from rollover.core.tlsa import Chain, RRset, Tlsa, valid

# An unanswered update may still land: twice the TSIG fudge (RFC 8945 §10 recommends 300 s).
MAY_LAND = 600.0
FORGET_AFTER = 86400.0
INCEPTIONS_KEPT = 64


# Whoever keeps an answer counts in whole seconds and rounds up: unbound gives one out through the last second of its
# TTL, and Postfix keeps what it was given then for two seconds more. Seconds that an answer may outlive its TTL.
ROUNDING = 3


def held(ttl: int) -> int:
    """Return for how many seconds an answer with *ttl* may be used, resolver and sender together."""
    return ttl + ROUNDING


@dataclass(frozen=True, slots=True)
class Patience:
    """How long an RRset must be gone: max(ttls x TTL, what may be held, min_wait) + settle, seconds."""

    ttls: int = 2  # RFC 7671 §8.1 asks for two TTLs; with one it is what resolver and sender may hold
    min_wait: float = 0.0
    settle: float = 0.0

    def span(self, ttl: int) -> float:
        """Return the seconds that an RRset with *ttl* must have been gone."""
        return max(self.ttls * ttl, held(ttl), self.min_wait) + self.settle


@dataclass(frozen=True, slots=True)
class Entry:
    """One RRset with one TTL, or one update that would make it.

    *rrset* None: something unknown may have been there, valid for nothing. *gone* None: some server
    shows it, or nobody can say that none does. *intended*: an update that would make it was sent
    and its answer is not known: an entry of its own, whoever shows that RRset already or meanwhile.
    """

    rrset: RRset | None
    ttl: int
    gone: Instant | None = None
    intended: Instant | None = None

    def valid_for(self, chain: Chain) -> bool:
        """Tell whether a sender that holds this RRset accepts *chain*."""
        return self.rrset is not None and valid(self.rrset, chain)


@dataclass(frozen=True, slots=True)
class Ledger:
    """What is remembered of one owner (absolute name, lower case).

    *inception*: of the primary's RRSIG in the last sighting; *inceptions*: those the primary was
    seen to have; *ours*: what our own last update makes, until it is seen; *absent*: the servers
    that the last sighting did not reach.
    """

    owner: str
    entries: tuple[Entry, ...] = ()
    inception: datetime | None = None
    inceptions: tuple[datetime, ...] = ()
    ours: RRset | None = None
    absent: frozenset[str] = field(default_factory=frozenset)

    @property
    def largest_ttl(self) -> int:
        """The largest TTL known here, seconds."""
        return max((e.ttl for e in self.entries), default=0)


def observe(ledger: Ledger, seen: OwnerSighting, now: Instant, *, clock_agrees: bool, keep: Patience) -> Ledger:
    """Return *ledger* with one sighting entered.

    *clock_agrees* tells whether a TSIG-signed answer agreed with our clock in this run: without it
    nothing becomes gone, and nothing is forgotten. *keep* is the longest patience of any service
    here, for forgetting.
    """
    shown: set[tuple[RRset | None, int]] = {(a.rrset, a.ttl) for a in seen.servers if a.rrset is not None}
    if elsewhere(seen):  # its CNAME leads where nobody looked: what is there may be fetched now
        shown.add((None, max([*(e.ttl for e in ledger.entries), *(a.ttl for a in seen.servers)], default=0)))
    complete = not incomplete(seen)
    known_gone = now if complete and clock_agrees else None
    entries = _each_once(_look_again(e, shown, now, known_gone, clock_agrees) for e in ledger.entries)
    known = {(e.rrset, e.ttl) for e in entries if e.intended is None}
    entries += [Entry(rrset, ttl) for rrset, ttl in sorted(shown - known, key=_by_content)]
    news, ledger = _signatures(ledger, seen)
    if news:
        ttl = max((e.ttl for e in entries), default=0)
        entries = [e for e in entries if not (e.rrset is None and e.ttl == ttl)]
        entries.append(Entry(None, ttl, gone=known_gone))
    return replace(
        ledger,
        entries=tuple(e for e in entries if not (clock_agrees and _forgettable(e, now, keep))),
        absent=frozenset(a.server for a in seen.servers if not answered(a)),
    )


def shown_beside(ledger: Ledger, seen: OwnerSighting) -> Ledger:
    """Return *ledger* with what a look at another owner with the same target has shown of its RRset.

    What any server shows is there again; what none shows is gone only by a look at the owner itself. A signature
    that nobody saw being made tells of another RRset in between, at this owner too.
    """
    shown = {(a.rrset, a.ttl) for a in seen.servers if a.rrset is not None}
    there = {rrset for rrset, _ in shown}
    entries = tuple(replace(e, gone=None) if e.gone is not None and e.rrset in there else e for e in ledger.entries)
    known = {e.rrset for e in entries}
    new: set[tuple[RRset | None, int]] = {
        (rrset, ttl if rrset in known else max(ttl, ledger.largest_ttl)) for rrset, ttl in shown
    }
    news, ledger = _signatures(ledger, seen)
    if news:
        entries = tuple(e for e in entries if e.rrset is not None)
        new.add((None, max([ledger.largest_ttl, *(ttl for _, ttl in new)])))
    new -= {(e.rrset, e.ttl) for e in entries}
    return replace(ledger, entries=(*entries, *(Entry(rrset, ttl) for rrset, ttl in sorted(new, key=_by_content))))


def _signatures(ledger: Ledger, seen: OwnerSighting) -> tuple[bool, Ledger]:
    """Tell whether the signatures seen mean that another RRset was there in between; and the ledger that knows them."""
    primary = seen.primary
    news = _came_back_with_news(ledger, seen)
    if primary is None:
        return news, ledger
    ours = ledger.ours
    # Once a signature was seen, its absence is a change too: somebody took the RRset away, or put it back.
    changed = bool(ledger.inceptions) and primary.inception != ledger.inception
    if ours is not None and primary.rrset == ours:
        ours = None  # what we see is what we did
        # But for who died, or was not answered, before the signature was read back: it may be of a change after ours.
        changed = changed and primary.inception is not None
    news = news or changed
    new = {a.inception for a in _signers(seen) if a.inception is not None} - set(ledger.inceptions)
    inceptions = (*ledger.inceptions, *sorted(new))[-INCEPTIONS_KEPT:]
    return news, replace(ledger, inception=primary.inception, inceptions=inceptions, ours=ours)


def _by_content(seen: tuple[RRset | None, int]) -> tuple[bool, list[Tlsa], int]:
    """Return what orders RRsets with their TTLs: a set has no order of its own that two runs would share."""
    rrset, ttl = seen
    return rrset is None, sorted(rrset or ()), ttl


def _look_again(
    entry: Entry, shown: set[tuple[RRset | None, int]], now: Instant, known_gone: Instant | None, clock_agrees: bool
) -> Entry:
    if entry.intended is not None:
        # Shown or not: a server that is behind may show it from before, or another update made it, and
        # this one may still land when the RRset that it expects is there again.
        intended = not_in_future(entry.intended, now)
        if elapsed(intended, now) < MAY_LAND:
            return replace(entry, gone=None, intended=intended)
    if (entry.rrset, entry.ttl) in shown:
        return entry if entry.gone is entry.intended is None else replace(entry, gone=None, intended=None)
    if entry.gone is None:
        return replace(entry, gone=known_gone, intended=None if known_gone else entry.intended)
    if clock_agrees and not_in_future(entry.gone, now) is not entry.gone:
        return replace(entry, gone=now)
    return entry


def _each_once(entries: Iterable[Entry]) -> list[Entry]:
    """Return *entries* with one for each RRset and TTL: the one that is gone last. Intents stay beside it."""
    last: dict[tuple[RRset | None, int, Instant | None], Entry] = {}
    for entry in entries:
        key = (entry.rrset, entry.ttl, entry.intended)
        other = last.get(key)
        if other is None or (other.gone and (entry.gone is None or not_earlier(entry.gone, other.gone))):
            last[key] = entry
    return list(last.values())


def _came_back_with_news(ledger: Ledger, seen: OwnerSighting) -> bool:
    """Tell whether a server that was away returns with a signature the primary was not seen to have.

    It may have served another RRset meanwhile. A server that returns as it left starts nothing over:
    else one lost packet a day would mean no rollover at a TTL of a day.
    """
    present = {a.inception for a in _signers(seen) if a.server not in ledger.absent or a.primary}
    return any(
        a.server in ledger.absent
        and a.rrset is not None
        and a.inception is not None
        and a.inception not in present
        and a.inception not in ledger.inceptions
        for a in seen.servers
    )


def _signers(seen: OwnerSighting) -> tuple[ServerAnswer, ...]:
    """Return the answers whose signatures tell the RRset's history: the primary's.

    Where that is signed behind the primary, those of all servers.
    """
    primary = seen.primary
    if primary is None:
        return ()
    if primary.inception is not None or not primary.rrset:
        return (primary,)
    return tuple(a for a in seen.servers if a.rrset is not None)


def _forgettable(entry: Entry, now: Instant, keep: Patience) -> bool:
    return entry.gone is not None and elapsed(entry.gone, now) > 2 * keep.span(entry.ttl) + FORGET_AFTER


def intend(ledger: Ledger, rrset: RRset, ttl: int, now: Instant) -> Ledger:
    """Return *ledger* with an update noted before it is sent: it makes *rrset* with *ttl* seconds.

    It counts as shown until its answer is known (settle()) or ten minutes have passed: it may land
    late. If it is known that it changed nothing, the ledger from before it holds again.
    """
    ttl = max(ttl, ledger.largest_ttl)
    return replace(ledger, entries=(*ledger.entries, Entry(rrset, ttl, intended=now)), ours=rrset)


def settle(ledger: Ledger, rrset: RRset, inception: datetime | None = None) -> Ledger:
    """Return *ledger* once it is known that the last update to *rrset* was applied: the next sighting decides alone.

    *inception*: of the signature that was read back with it. A later one is somebody else's doing, be the RRset
    the same. Another update, whose answer never came, may still land, be it to the same RRset.
    """
    if inception is not None and ledger.inceptions:
        known = (*ledger.inceptions, inception) if inception not in ledger.inceptions else ledger.inceptions
        ledger = replace(ledger, inception=inception, inceptions=known[-INCEPTIONS_KEPT:], ours=None)
    mine: Entry | None = None
    for e in ledger.entries:
        if e.rrset == rrset and e.intended and (mine is None or not_earlier(e.intended, mine.intended or e.intended)):
            mine = e
    if mine is None:
        return ledger
    shown = replace(mine, intended=None)
    rest = [e for e in ledger.entries if e is not mine and (e.rrset, e.ttl, e.intended) != (rrset, mine.ttl, None)]
    return replace(ledger, entries=(*rest, shown))


def wait_left(ledger: Ledger, chain: Chain, patience: Patience, now: Instant) -> float | None:
    """Return the seconds until serving *chain* is safe; 0 when it is, None while that is unknown.

    Source: RFC 7671 §8.1, RFC 7672 §4; protocol.md, Ready.
    """
    left = 0.0
    for entry in ledger.entries:
        if entry.valid_for(chain):
            continue
        if entry.gone is None:
            return None
        left = max(left, patience.span(entry.ttl) - elapsed(entry.gone, now))
    return left
