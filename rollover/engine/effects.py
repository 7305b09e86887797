"""Doing a step: intent stored before, outcome after, each in one transaction; every effect idempotent.

A kill at any instruction leaves either an intent that the next look sets right, or an outcome.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, assert_never

from rollover.core import goals
from rollover.core.errors import RolloverError, ServerError
from rollover.core.ledger import Ledger, intend, settle
from rollover.core.model import Reload, World
from rollover.core.problems import KINDS, Problem, problem
from rollover.core.sighting import Sighting
from rollover.core.steps import Activate, Install, OwnerChange, SetGoal, Update
from rollover.core.steps import Reload as ReloadStep
from rollover.core.timing import elapsed
from rollover.core.tlsa import RRset, matches
from rollover.core.view import View
from rollover.engine.host import Host

if TYPE_CHECKING:
    from rollover.dns.update import ReadBack

SPACING = 2.0  # seconds between updates of one zone: BIND 9.20 before .26 could crash on quicker ones
Effect = Update | Install | ReloadStep | SetGoal | Activate


class Failed(Exception):
    """An effect failed: *key* is not tried again in this run, *problem* goes into the report."""

    def __init__(self, key: tuple[str, ...], found: Problem, cause: RolloverError | None) -> None:
        super().__init__(found.message)
        self.key = key
        self.problem = found
        self.cause = cause


async def perform(host: Host, world: World, seen: Sighting, step: Effect) -> None:
    """Do *step*. Raises Failed."""
    if isinstance(step, Update):
        await _update_all(host, world, step)
    elif isinstance(step, Install):
        await _install(host, world, seen, step)
    elif isinstance(step, ReloadStep):
        await _reload(host, world, step)
    elif isinstance(step, SetGoal):
        _set_goal(host, world, step)
    elif isinstance(step, Activate):
        _activate(host, world, seen)
    else:
        assert_never(step)


# ------------------------------------------------------------------------------------------- DNS


async def _update_all(host: Host, world: World, step: Update) -> None:
    """Send the update; one that is refused for several owners is sent for each: one grant that is missing is one."""
    try:
        await _update(host, world, step)
        return
    except Failed as failure:
        if len(step.changes) == 1 or failure.problem.code != "update-refused":
            raise
    failures: list[Failed] = []
    for change in step.changes:
        try:
            await _update(host, world, replace(step, changes=(change,)))
        except Failed as failure:
            failures.append(failure)
    if failures:
        raise Failed(tuple(k for f in failures for k in f.key), failures[0].problem, failures[0].cause)


async def _update(host: Host, world: World, step: Update) -> None:
    store, name = host.store, world.service.name
    last, _ = store.zone(step.zone)
    if last is not None and (left := SPACING - elapsed(last, host.clock.now())) > 0:
        await host.clock.sleep(left)
    now = host.clock.now()
    owners = _owners_at(host, step)
    before = store.ledgers_or_new(o for at in owners.values() for o in at)
    with store.transaction():
        number = store.intend(name, "update", {"zone": step.zone, "changes": [_told(c) for c in step.changes]}, now)
        for change in step.changes:
            store.save_ledgers(intend(before[owner], change.result, change.ttl, now) for owner in owners[change.target])
            store.manage(change.target, _ours(world, change))
        store.save_zone(step.zone, updated=now)
    error: RolloverError | None = None
    try:
        await host.hands.names.update(step.changes)
    except RolloverError as refusal:
        error = refusal
    refused = error is not None and not getattr(error, "outcome_unknown", False)
    try:
        back = await host.hands.names.read_back(step.changes, once=refused)
    except RolloverError as silence:
        raise _update_failed(world, step, error or silence, number, host, None) from silence
    if all(_as_wanted(c, b) for c, b in zip(step.changes, back, strict=True)):
        with store.transaction():
            store.save_ledgers(
                settle(x, c.result, b.answer.inception)
                for c, b in zip(step.changes, back, strict=True)
                for x in store.ledgers(owners[c.target]).values()
            )
            store.close_intent(number, "applied", host.clock.now().wall)
            for change in step.changes:
                store.event(
                    name,
                    "published" if change.add else "withdrawn",
                    _sentence(change, step.why),
                    host.clock.now().wall,
                    zone=step.zone,
                    change=_told(change),
                )
        return
    # NOERROR and nothing done is no answer: where a signer is stuck, it shows later.
    if error is None:
        odd = [(c, b) for c, b in zip(step.changes, back, strict=True) if not _as_wanted(c, b)]
        if all(b.outcome == "applied" for _, b in odd):
            store.save_ledgers(before.values())  # the TTL that was intended never came
            raise _ttl_kept(world, step, odd, number, host)
        at = "; ".join(f"{c.target}: {b.problem or f'TTL {b.ttl}, not {c.ttl}'}" for c, b in odd)
        error = NotApplied(f"the primary of {step.zone} answered NOERROR and did not do it at {at}")
    raise _update_failed(world, step, error, number, host, before if refused else None)


def _as_wanted(change: OwnerChange, back: ReadBack) -> bool:
    """Tell whether the primary serves what was wanted; a change of the TTL alone has to show in the TTL."""
    only_ttl = not change.delete and change.add <= change.expect
    return back.outcome == "applied" and (not only_ttl or back.ttl == change.ttl)


def _ttl_kept(
    world: World, step: Update, odd: Sequence[tuple[OwnerChange, ReadBack]], number: int, host: Host
) -> Failed:
    """Return what tells that the server keeps a TTL of its own; the records are as wanted, so nothing waits for it."""
    at = "; ".join(f"{c.target} has TTL {b.ttl}, not {c.ttl}" for c, b in odd)
    host.store.close_intent(number, f"failed: {at}", host.clock.now().wall)
    found = problem("ttl-kept", f"the primary of {step.zone} keeps a TTL of its own: {at}", service=world.service.name)
    return Failed(tuple(f"update:{c.target}" for c in step.changes), found, None)


class NotApplied(ServerError):
    """NOERROR, and the RRset is as before (standards: a type limit, a CNAME at the owner)."""

    code = "update-not-applied"

    def __init__(self, message: str) -> None:
        super().__init__(
            message, hint="look for a limit such as `TLSA(1)` in update-policy and for a CNAME at the owner"
        )


def _update_failed(
    world: World, step: Update, error: RolloverError, number: int, host: Host, before: Mapping[str, Ledger] | None
) -> Failed:
    """Return what to raise. *before*: the ledgers that hold again, where it is known that nothing changed."""
    store, name, wall = host.store, world.service.name, host.clock.now().wall
    with store.transaction():
        if before is not None:
            store.save_ledgers(before.values())
        store.close_intent(number, f"{'failed' if before is not None else 'unknown'}: {error.message}", wall)
        store.event_once(name, "update-failed", error.message, wall, hint=error.hint, zone=step.zone)
    code = _code(error)
    found = Problem(code, error.message, KINDS[code].level, error.hint)
    return Failed(tuple(f"update:{c.target}" for c in step.changes), found, error)


def _owners_at(host: Host, step: Update) -> dict[str, list[str]]:
    """Return, by target, every owner whose records live there: each has a ledger of its own."""
    aliases = host.store.aliases()
    return {
        c.target: sorted({c.owner, *(owner for owner, target in aliases.items() if target == c.target)})
        for c in step.changes
    }


def _ours(world: World, change: OwnerChange) -> RRset:
    """Return what is ours to withdraw later: of a wildcard's records only those of our own keys."""
    if not change.wildcard:
        return change.add - change.expect
    return frozenset(r for r in change.add for c in world.credentials.values() if r.usage == 3 and matches(r, c.chain))


def _told(change: OwnerChange) -> dict[str, object]:
    return {
        "owner": change.target,
        "ttl": change.ttl,
        "expect": [str(r) for r in sorted(change.expect)],
        "add": [str(r) for r in sorted(change.add)],
        "delete": [str(r) for r in sorted(change.delete)],
    }


def _sentence(change: OwnerChange, why: str) -> str:
    parts = [f"added {r}" for r in sorted(change.add - change.expect)] + [f"removed {r}" for r in sorted(change.delete)]
    return f"{change.target} {', '.join(parts) or f'TTL set to {change.ttl}'}: {why}"


def _code(error: RolloverError) -> str:
    return error.code if error.code in KINDS else "update-failed"


# ------------------------------------------------------------------------------------------ mail


async def _install(host: Host, world: World, seen: Sighting, step: Install) -> None:
    store, name, goal = host.store, world.service.name, world.goal
    assert goal is not None
    paths = [x.path for x in seen.live]
    key, chain = host.vault.key(goal.spki), host.vault.chain(goal.fingerprint)  # before anything is begun
    now = host.clock.now()
    if world.book.install is None:
        store.note(f"before:{name}", str(sum(e.connections for e in seen.endpoints)))
        store.note(f"after:{name}", "0")
    begun = any(x.chain is not None and x.chain.fingerprint == goal.fingerprint for x in seen.live)
    book = goals.open_install(world.book, goal.fingerprint, now, seen.endpoints, begun=begun)
    with store.transaction():
        number = store.intend(name, "install", {"fingerprint": goal.fingerprint, "paths": paths}, now)
        store.save_book(name, book, world.book)
        store.event(
            name,
            "install",
            f"{goal.fingerprint[:16]} is being installed: {step.why}",
            now.wall,
            fingerprint=goal.fingerprint,
        )
        for where, stranger in View(world, seen).unknown():
            if where in paths:  # gone from there in a moment: the history is where it can still be found
                text = f"{where} held certificate {stranger.fingerprint[:16]} (key {stranger.spki_sha256[:16]}), which was never handed to this tool; it is kept in {where}.previous"
                store.event(name, "replaced", text, now.wall, fingerprint=stranger.fingerprint)
    for target in host.hands.targets[name]:
        try:
            target.install(key, chain)
        except RolloverError as error:
            raise _mail_failed(host, world, "install", error, number) from error
    store.close_intent(number, "written", host.clock.now().wall)
    await _reload(host, replace(world, book=book), ReloadStep(tuple(x.path for x in seen.live), "the file is new"))


async def _reload(host: Host, world: World, step: ReloadStep) -> None:
    store, name, book = host.store, world.service.name, world.book
    for target in host.hands.targets[name]:
        if target.label not in step.paths:
            continue
        identity = target.live().identity
        try:
            await target.reload()
        except RolloverError as error:
            raise _mail_failed(host, world, "reload", error, None) from error
        now = host.clock.now()
        before = book.reloads.get(target.label)
        repeats = before.repeats + 1 if step.again and before is not None else 0
        changed = replace(book, reloads={**book.reloads, target.label: Reload(identity, now, repeats)})
        with store.transaction():
            store.save_book(name, changed, book)
            store.event(
                name, "reloaded", f"{target.label} is loaded" + (f" again: {step.why}" if step.again else ""), now.wall
            )
        book = changed


def _mail_failed(host: Host, world: World, what: str, error: RolloverError, number: int | None) -> Failed:
    name, wall = world.service.name, host.clock.now().wall
    with host.store.transaction():
        host.store.event_once(name, f"{what}-failed", error.message, wall, hint=error.hint)
        if number is not None:
            host.store.close_intent(number, f"failed: {error.message}", wall)
    found = problem("install-refused", error.message, service=name, hint=error.hint)
    return Failed((what,), found, error)


# ----------------------------------------------------------------------------------------- goals


def _set_goal(host: Host, world: World, step: SetGoal) -> None:
    store, name, wall = host.store, world.service.name, host.clock.now().wall
    before = world.book
    if step.returning:
        after = goals.take_return(before, step.fingerprint, step.why)
        kind, text = (
            "returned",
            f"{before.goal[:16]} is taken back, {step.fingerprint[:16]} is wanted again: {step.why}",
        )
    else:
        after = goals.set_goal(before, step.fingerprint)
        kind, text = "goal", f"{step.fingerprint[:16]} is wanted: {step.why}"
    with store.transaction():
        store.save_book(name, after, before)
        store.event(name, kind, text, wall, fingerprint=step.fingerprint)


def _activate(host: Host, world: World, seen: Sighting) -> None:
    store, name, before = host.store, world.service.name, world.book
    now = host.clock.now()
    after = goals.activate(before, now)
    old = int(store.note(f"before:{name}") or 0)
    new = int(store.note(f"after:{name}") or 0)
    with store.transaction():
        store.save_book(name, after, before)
        text = (
            f"{after.active[:16]} is proven on {len(seen.endpoints)} endpoints: {new} connections after the install "
            f"presented nothing else, {old} before it"
        )
        store.event(
            name,
            "active",
            text,
            now.wall,
            fingerprint=after.active,
            previous=before.active,
            endpoints=[str(e.endpoint) for e in seen.endpoints],
            connections_before=old,
            connections_after=new,
        )
