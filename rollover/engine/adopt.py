"""adopt: take over what the mail server serves today, without a wrong first step.

Nothing is changed before every endpoint was seen to present what the mail server is configured with.
The mail server goes on with the same certificate: only the file that it reads it from changes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

from rollover.core.certificate import chain_pem, facts, key_pem, parse_key
from rollover.core.errors import UsageError
from rollover.core.goals import mark
from rollover.core.ledger import Entry
from rollover.core.model import State
from rollover.core.sighting import OwnerSighting, Sighting
from rollover.core.steps import OwnerChange, Phase, Update
from rollover.core.tlsa import EMPTY, Chain, RRset, Tlsa, matches, usable, valid
from rollover.core.view import View, breaks
from rollover.engine.effects import Failed, perform
from rollover.engine.host import Host
from rollover.engine.look import Looker
from rollover.engine.pointing import PROOF, is_stale, point, proven, undo
from rollover.engine.run import Outcome as RunOutcome
from rollover.engine.run import Patience, enter, run_locked
from rollover.engine.served import Served, active_chain, configured, refuse_unproven, refuse_unseen
from rollover.engine.uncovering import refuse_uncovering
from rollover.mail.target import PostfixTarget, Target
from rollover.state.lock import locked

LINEAGE = re.compile(r"/live/[^/]+/|/\.acme\.sh/|/dehydrated/certs/|/\.?lego/certificates/")
Say = Callable[[str], None]


async def adopt(
    host: Host, name: str, *, remove: Sequence[Tlsa] = (), ttl_was: int | None = None, dry_run: bool = False, say: Say
) -> RunOutcome | None:
    """Adopt service *name*; again for one that is adopted: its wiring is set right, *remove* is done.

    Returns what the run came to, None for *dry_run*. Raises RolloverError when something stands in the way.
    """
    async with nullcontext() if dry_run else locked(host.lock_file, host.clock, patience=60.0):
        looker = Looker(host, name)
        book = looker.book()
        served = configured(host, looker) if not book.adopted else None
        if served is not None:
            looker.expect(served.parsed)
        seen = await looker.look()
        chain = served.parsed if served is not None else active_chain(looker, book)
        refuse_unproven(seen, chain)
        if served is not None:
            refuse_unseen(seen)
        view = View(looker.world(seen=seen), seen)
        _list_records(view, chain, say)
        changes = _removals(view, chain, remove)
        await refuse_uncovering(host, changes, "remove those of the wildcard first, or leave one record here")
        if dry_run:
            _plan(seen, changes, served, say)
            for target in host.hands.targets[name]:
                _plan_target(target, is_stale(target.live(), chain, book), say)
            return None
        if served is not None:
            _enter(host, looker, served, seen, say)
        enter(looker, seen, {}, proving=False)  # what is removed now may be held for its TTL
        if ttl_was is not None:
            _enter_ttl(host, seen, ttl_was)
        for change in changes:
            await _remove(host, looker, seen, change, say)
        pointed = await point(host, name, seen, say)
        if pointed and not all(_current(o) for o in seen.owners) and not await proven(host, name):
            # The first record would turn DANE on for what does not work.
            await undo(host, name, pointed, first=served is not None, why="no first record was published")
        outcome = await run_locked(host, name, Patience(linger=PROOF))
        after = looker.book()
        if pointed and after.install is not None and after.goal == after.active:
            # Presented is what counts here: an RRset that somebody else spoiled was so before, too.
            seen = await looker.look(proving=True)
            view = View(looker.world(seen=seen), seen)
            if view.world.goal is None or not view.proven(view.world.goal):
                await undo(host, name, pointed, first=served is not None, why=outcome.report.summary)
            host.store.save_book(name, replace(after, install=None, rounds=0), after)
        return outcome


def _list_records(view: View, chain: Chain, say: Say) -> None:
    """Say of every TLSA record whose it is."""
    for owner in view.seen.owners:
        current = _current(owner)
        at = owner.owner if owner.target == owner.owner else f"{owner.owner} (-> {owner.target})"
        if owner.primary is None:
            say(f"{at}: {owner.blocked or 'the primary gave no answer'}")
        if not current and owner.primary is not None:
            say(f"{at}: no TLSA record; the first one turns DANE on for this name")
        ours = view.world.managed.get(owner.target, EMPTY)
        for rr in sorted(current):
            if rr in ours:
                whose = "ours"
            elif not usable(rr):
                whose = "unusable, so no sender looks at it; it stays"
            elif matches(rr, chain):
                whose = "matches what is served"
            else:
                whose = "matches nothing seen; it stays"
            say(f"{at}: {rr}: {whose}")


def _current(owner: OwnerSighting) -> RRset:
    return owner.primary.rrset or EMPTY if owner.primary is not None else EMPTY


def _removals(view: View, chain: Chain, remove: Sequence[Tlsa]) -> list[OwnerChange]:
    """Return the changes that remove what a person named. Raises UsageError, ServerError."""
    changes: list[OwnerChange] = []
    left = set(remove)
    for owner in view.seen.owners:
        current = _current(owner)
        gone = current & frozenset(remove)
        left -= gone
        if not gone or any(c.target == owner.target for c in changes):
            continue
        primary = owner.primary
        assert primary is not None
        if primary.wildcard:
            raise UsageError(
                f"{owner.target} has its records from {primary.wildcard}", hint="remove them there by hand"
            )
        after = current - gone
        if breaks(current, after, (*view.guarded(owner), chain)) or (not valid(after, chain) and valid(current, chain)):
            raise UsageError(
                f"without {', '.join(map(str, sorted(gone)))} senders would refuse what is served at {owner.target}",
                hint="remove all records of that usage, selector and matching type, or none",
            )
        changes.append(OwnerChange(owner.owner, owner.target, owner.zone, current, "", EMPTY, gone, primary.own_ttl))
    if left:
        raise UsageError(
            f"no such record: {', '.join(map(str, sorted(left)))}",
            hint='give it as listed, e.g. --remove "3 1 1 0a1b…"',
        )
    return changes


async def _remove(host: Host, looker: Looker, seen: Sighting, change: OwnerChange, say: Say) -> None:
    world = looker.world(seen=seen)
    step = Update(change.zone, (change,), "a person asked for it", Phase.WITHDRAWING)
    try:
        await perform(host, world, seen, step)
    except Failed as failure:
        raise failure.cause or failure from failure
    host.store.unmanage(change.target, change.delete)
    say(f"{change.target}: removed {', '.join(map(str, sorted(change.delete)))}")


def _enter_ttl(host: Host, seen: Sighting, ttl: int) -> None:
    """Enter the present RRsets with a TTL that was lowered shortly before (protocol.md, Ready); seconds."""
    with host.store.transaction():
        for owner in seen.owners:
            ledger = host.store.ledgers_or_new([owner.owner])[owner.owner]
            entry = Entry(_current(owner), ttl)
            host.store.save_ledgers([replace(ledger, entries=(*(e for e in ledger.entries if e != entry), entry))])


def _enter(host: Host, looker: Looker, served: Served, seen: Sighting, say: Say) -> None:
    """Store the served certificate as active, and its records as ours to withdraw later."""
    chain, name, store = served.parsed, looker.service.name, host.store
    known, now = facts(chain), host.clock.now()
    host.vault.put(
        fingerprint=known.fingerprint,
        spki=known.spki_sha256,
        chain=chain_pem(chain),
        key=key_pem(parse_key(served.key)),
    )
    book = looker.book()
    waiting = book.goal if book.goal != known.fingerprint else ""
    adopted = replace(book, adopted=True, goal=known.fingerprint, active=known.fingerprint, activated=now)
    adopted = mark(adopted, known.fingerprint, State.ACTIVE, now.wall)
    with store.transaction():
        store.add_credential(known.fingerprint, known.spki_sha256, now.wall)
        if waiting:  # handed over before the adoption: its turn comes now, as a new one
            standings = {f: s for f, s in adopted.standings.items() if f != waiting}
            adopted = replace(adopted, standings=standings)
            store.forget_standing(name, waiting)
            store.put_in_inbox(name, waiting, now.wall)
        store.save_book(name, adopted, None)
        for owner in seen.owners:
            current = _current(owner)
            mine = frozenset(r for r in current if r.usage == 3 and matches(r, chain))
            if owner.primary is not None and not owner.primary.wildcard:
                store.manage(owner.target, mine)
        store.save_aliases({o.owner: o.target for o in seen.owners})
        lineage = served.where.partition(" = ")[2].split(" and ")[0] or served.where
        if LINEAGE.search(lineage):
            store.note(f"source:{name}", str(Path(lineage).parent))
            say(f"source: {Path(lineage).parent} (as the mail server named it; `source` in the configuration wins)")
        store.event(
            name,
            "adopted",
            f"certificate {known.fingerprint[:16]} of {served.where} is active",
            now.wall,
            fingerprint=known.fingerprint,
        )
    say(f"adopted certificate {known.fingerprint[:16]} ({served.where}), valid until {known.not_after:%Y-%m-%d}")


def _plan(seen: Sighting, changes: Sequence[OwnerChange], served: Served | None, say: Say) -> None:
    """Say what adopt would do."""
    if served is not None:
        say(f"would stage certificate {served.parsed.fingerprint[:16]} of {served.where}")
    for change in changes:
        say(f"would remove from {change.target}: {', '.join(map(str, sorted(change.delete)))}")
    for owner in seen.owners:
        if owner.primary is not None and not _current(owner):
            say(f"would publish the first record at {owner.target}: DANE is on from then")


def _plan_target(target: Target, write: bool, say: Say) -> None:
    live = target.live()
    say(f"would write {live.path}" if write else f"{live.path} is there")
    if live.wiring and isinstance(target, PostfixTarget):
        say(
            f"would set in {target.postfix.config_directory}: smtpd_tls_chain_files = {target.chain_file} (now: {live.wiring})"
        )


def parse_records(texts: Sequence[str]) -> list[Tlsa]:
    """Return the records that a person named. Raises UsageError."""
    try:
        return [Tlsa.parse(t) for t in texts]
    except ValueError as error:
        raise UsageError(
            str(error), hint='give usage, selector, matching type and the data in hex: --remove "3 1 1 0a1b…"'
        ) from error
