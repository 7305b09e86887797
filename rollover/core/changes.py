"""Which records to add and delete at one owner: for protection, for the goal, for withdrawal.

Records are never removed or added by RRset or name, and never somebody else's (protocol.md, Effects).
"""

from __future__ import annotations

from rollover.core.sighting import Outcome, OwnerSighting
from rollover.core.steps import OwnerChange
from rollover.core.tlsa import EMPTY, Chain, RRset, needed, owner_name, valid
from rollover.core.view import View, breaks

FIRST_TTL = 3600  # interface.md: "1h for a first record"


def protecting(view: View, owner: OwnerSighting) -> OwnerChange | None:
    """Return what makes the RRset valid for every presentable chain of ours; None when it is."""
    current = _current(owner)
    if not current or shadowing(owner):
        return None  # an empty RRset defers nobody; what would hide a wildcard is left to a person
    after = current
    for chain in (*view.presentable(owner), *view.lingering()):
        if view.known(chain) and not valid(current, chain):
            after |= needed(chain, current, ())
    return _change(view, owner, current, after) if after != current else None


def publishing(view: View, owner: OwnerSighting) -> OwnerChange | None:
    """Return what the goal needs and the primary lacks; None when it lacks nothing.

    Over nothing, or in a combination that is new here, what is presentable needs its record in the
    same update, or it would be refused (RFC 7671 §8.1, §8.3).
    """
    current, goal = _current(owner), view.world.goal
    if current is None or goal is None:
        return None
    if switched_off(view, owner) or premature(view, owner):
        return None
    after = current | view.needed(goal.chain, current)
    for chain in view.guarded(owner):
        if view.publishable(chain, owner) and valid(current, chain) and not valid(after, chain):
            after |= needed(chain, after, ())
    if after == current and not _wrong_ttl(view, owner):
        return None
    return _change(view, owner, current, after)


def withdrawing(view: View, owner: OwnerSighting) -> OwnerChange | None:
    """Return the removal of records that this store made and that no credential here needs."""
    return _without(view, owner, view.world.managed.get(owner.target, EMPTY))


def withdrawing_revoked(view: View, owner: OwnerSighting) -> OwnerChange | None:
    """Return the same, of records of revoked keys only."""
    keys = [c for c in view.world.credentials.values() if view.world.revoked(c.spki)]
    theirs = EMPTY.union(*(view.needed(c.chain, _current(owner) or EMPTY) for c in keys))
    return _without(view, owner, view.world.managed.get(owner.target, EMPTY) & theirs)


def _without(view: View, owner: OwnerSighting, ours: RRset) -> OwnerChange | None:
    current = _current(owner)
    if not current or (owner.primary is not None and owner.primary.wildcard):
        return None
    kept: RRset = EMPTY
    for chain in (*view.in_use(owner), *_queued(view)):
        if view.publishable(chain, owner):
            kept |= view.needed(chain, current)
    surplus = (ours & current) - kept
    return _change(view, owner, current, current - surplus) if surplus and surplus != current else None


def safe(view: View, change: OwnerChange) -> bool:
    """The gate of every update: no chain in use loses an RRset that was valid for it."""
    return all(
        not breaks(change.expect, change.result, view.guarded(owner))
        for owner in view.seen.owners
        if owner.target == change.target
    )


def switched_off(view: View, owner: OwnerSighting) -> bool:
    """Tell whether somebody switched DANE off: the RRset is empty, was not, and nobody allowed to refill it.

    Owners that are CNAMEs to one target share its RRset.
    """
    book = view.world.book
    names = {o.owner for o in view.seen.owners if o.target == owner.target}
    return _current(owner) == EMPTY and bool((names & book.dane_on) - book.refill)


def premature(view: View, owner: OwnerSighting) -> str:
    """Return why the first record must not be published yet; empty when it may.

    It turns DANE on: every endpoint that senders then look at has to work (RFC 7672 §2.2).
    """
    if _current(owner) != EMPTY or switched_off(view, owner):
        return ""
    names = {o.owner for o in view.seen.owners if o.target == owner.target}
    there = [e for e in view.seen.endpoints if owner_name(e.endpoint.host, e.endpoint.port) in names]
    broken = [e for e in there if e.outcome is not Outcome.PRESENTED]
    if broken:
        return f"{broken[0].endpoint} does not work: {broken[0].detail or broken[0].outcome}"
    return "" if there else "no endpoint was looked at"


def shadowing(owner: OwnerSighting) -> bool:
    """Tell whether an explicit record here would hide a wildcard from other names.

    The new name's ancestors begin to exist, so only a wildcard right above the target can be shadowed
    without touching a sibling (RFC 4592 §2.2.2, §3.3.1).
    """
    primary = owner.primary
    above = "*." + owner.target.partition(".")[2]
    return primary is not None and bool(primary.wildcard) and primary.wildcard.lower() != above


def _current(owner: OwnerSighting) -> RRset | None:
    return owner.primary.rrset if owner.primary is not None and not owner.blocked else None


def _queued(view: View) -> tuple[Chain, ...]:
    queued = view.world.credentials.get(view.world.book.queued)
    return (queued.chain,) if queued is not None else ()


def _wrong_ttl(view: View, owner: OwnerSighting) -> bool:
    wanted, primary = view.world.service.ttl, owner.primary
    if wanted is None or primary is None or not primary.rrset or primary.wildcard:
        return False
    return primary.own_ttl != wanted


def _change(view: View, owner: OwnerSighting, current: RRset, after: RRset) -> OwnerChange:
    primary = owner.primary
    wildcard = primary.wildcard if primary is not None else ""
    if view.world.service.ttl is not None:
        ttl = view.world.service.ttl
    elif primary is not None and current:
        ttl = primary.own_ttl
    else:  # records that somebody took away come back with the TTL that they had
        ttl = max((e.ttl for e in view.world.ledger(owner.owner).entries if e.rrset), default=FIRST_TTL)
    add = after if wildcard else after - current
    if not add and not current - after:
        add = frozenset(sorted(after)[:1])  # one record again is enough: the last TTL is the RRset's
    return OwnerChange(owner.owner, owner.target, owner.zone, current, wildcard, add, current - after, ttl)
