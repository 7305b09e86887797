"""What is wrong in a sighting, whatever the next step is: the problems that report() tells."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from rollover.core.changes import switched_off
from rollover.core.ledger import Entry, Patience, held, wait_left
from rollover.core.model import Credential, World
from rollover.core.problems import Level, Problem, problem
from rollover.core.servers import badly_signed, incomplete, running_out
from rollover.core.sighting import Outcome, OwnerSighting
from rollover.core.timing import Instant, elapsed, elapsed_boot, stamp
from rollover.core.tlsa import Chain, RRset, combinations, owner_name, valid
from rollover.core.view import View, expired, unmatched

# A late server is worth a warning only after propagation_warn.
LATE = frozenset({"secondary-stale", "server-unreachable"})
# Where a hook's hurried look got no answer, a regular one may: postscreen greets after 6 s.
SILENCE = frozenset(
    {"endpoint-failing", "endpoint-unreachable", "server-unreachable", "primary-unreachable", "resolver-failed"}
)
EXPIRING_FRACTION = 5  # warn when less than a fifth of the lifetime is left: ACME clients renew at a third


def troubles(view: View) -> Iterator[Problem]:
    """Yield every problem that the sighting shows for an adopted service."""
    if not view.world.book.adopted:
        return
    yield from _deferred(view)
    yield from _chains(view)
    yield from _endpoints(view)
    yield from _dns(view)
    yield from _live(view)
    yield from _certificates(view)
    if view.seen.clock_problem:
        yield _p(view.world, "clock", view.seen.clock_problem)


def _p(world: World, code: str, message: str, level: Level | None = None) -> Problem:
    return problem(code, message, service=world.service.name, level=level)


def _deferred(view: View) -> Iterator[Problem]:
    for owner in view.seen.owners:
        shown = [(where, chain) for name, where, chain in view.at_endpoints if name == owner.owner]
        yield from _held(view, owner, shown)
        for answer in owner.servers:
            if answer.rrset is None or (answer.primary and not answer.public):
                continue
            for where, chain in shown:
                if not valid(answer.rrset, chain) and not answer.public:  # whoever asks it is not known
                    text = f"{answer.server} has an RRset of {owner.owner} without a match for {chain.fingerprint[:16]} at {where}"
                    yield view.problem("secondary-stale", text)
                    break
                if not valid(answer.rrset, chain):
                    bad = sorted(unmatched(answer.rrset, chain))
                    lacking = ", ".join(str(r)[:22] + "…" for r in bad)
                    # What names an issuer is never made here, so the repair is a person's.
                    remove = " ".join(f'--remove "{r}"' for r in bad if r.usage == 2)
                    yield view.problem(
                        "mail-deferred",
                        f"DANE mail is being deferred: {answer.server} gives {owner.owner} without a match ({lacking}) "
                        f"for {chain.fingerprint[:16]} at {where}",
                        f"if nobody needs it: `rollover adopt {view.world.service.name} {remove}`" if remove else "",
                    )
                    break
        yield from _ahead(view, owner, shown)


def _ahead(view: View, owner: OwnerSighting, shown: list[tuple[str, Chain]]) -> Iterator[Problem]:
    """Tell of what the primary has and no server that the public asks has yet: it will have it in a moment."""
    public = [a.rrset for a in owner.servers if a.public and a.rrset is not None]
    if owner.primary is None or owner.primary.rrset is None:
        return
    for where, chain in shown:
        if not valid(owner.primary.rrset, chain) and all(valid(r, chain) for r in public):
            text = (
                f"{owner.primary.server} has an RRset of {owner.owner} without a match for "
                f"{chain.fingerprint[:16]} at {where}; DANE mail is deferred once others have it"
            )
            yield view.problem("deferral-ahead", text)
            return


def _held(view: View, owner: OwnerSighting, shown: list[tuple[str, Chain]]) -> Iterator[Problem]:
    """Tell of an RRset that no server shows any more and that resolvers may still hold.

    What only may have been there, or may still land, was seen by nobody: it holds installs back, no more.
    """
    on_servers = {a.rrset for a in owner.servers}
    entries = [
        e
        for e in view.world.ledger(owner.owner).entries
        if e.rrset not in on_servers and not (e.intended or e.rrset is None)
    ]
    for where, chain in shown:
        wrong = [e for e in entries if not e.valid_for(chain)]
        left = [held(e.ttl) - (elapsed(e.gone, view.now) if e.gone is not None else 0.0) for e in wrong]
        if left and max(left) > 0:
            # Over by itself only if every server was seen to have left it.
            code = "caches-stale" if all(e.gone is not None for e in wrong) else "mail-deferred"
            yield _p(
                view.world,
                code,
                f"DANE mail may be deferred for {round(max(left))} s yet: resolvers may hold an RRset of {owner.owner} "
                f"that {chain.fingerprint[:16]} at {where} does not match",
            )
            return


def _chains(view: View) -> Iterator[Problem]:
    for where, chain in view.unknown():
        revoked = view.world.revoked(chain.spki_sha256)
        why = "which is revoked" if revoked else "which was never handed to this tool"
        text = f"{where} presents certificate {chain.fingerprint[:16]} (key {chain.spki_sha256[:16]}), {why}"
        yield _p(view.world, "unknown-certificate", text)


def _endpoints(view: View) -> Iterator[Problem]:
    book, service = view.world.book, view.world.service
    failing = view.failing()
    if book.install is not None and failing and elapsed_boot(book.install.latest, view.now) >= service.verify_timeout:
        failed = book.install.fingerprint or book.goal
        yield _p(view.world, "install-failed", f"certificate {failed[:16]} does not work: {'; '.join(failing)}")
    if book.return_spent:
        for fingerprint, standing in book.standings.items():
            if standing.blocked and fingerprint != book.goal:
                yield _p(view.world, "returned", f"certificate {fingerprint[:16]} was taken back: {standing.blocked}")
    dane = any(combinations(o.primary.rrset) for o in view.seen.owners if o.primary is not None and o.primary.rrset)
    for e in view.seen.endpoints:
        if e.outcome is Outcome.UNREACHABLE:
            yield _p(view.world, "endpoint-unreachable", f"{e.endpoint} cannot be reached: {e.detail}")
        elif e.outcome is not Outcome.PRESENTED:
            level = Level.CRITICAL if dane else Level.WARNING
            yield _p(view.world, "endpoint-failing", f"{e.endpoint}: {e.outcome}: {e.detail}", level)
    if all(e.outcome is Outcome.UNREACHABLE for e in view.seen.endpoints):
        yield _p(view.world, "endpoint-failing", "no endpoint of the service can be reached")
    looked_at = {owner_name(e.endpoint.host, e.endpoint.port) for e in view.seen.endpoints}
    for name in sorted(set(service.owners) - looked_at) if view.seen.endpoints else ():
        yield _p(view.world, "endpoint-unreachable", f"{name}: no endpoint was looked at")
    yield from _old(view)


def _old(view: View) -> Iterator[Problem]:
    """Tell of endpoints that still present another certificate of ours when there was time enough for the reload."""
    book, service = view.world.book, view.world.service
    if book.install is not None:
        since, level = book.install.latest, None
    elif book.goal == book.active and book.reloads:
        # Somebody's process, or a snapshot that came back: it is reloaded again, and no record is taken away.
        since, level = max((r.at for r in book.reloads.values()), key=lambda at: at.wall), Level.WARNING
    else:
        return
    if elapsed_boot(since, view.now) < service.verify_timeout:
        return
    for e in view.seen.endpoints:
        old = [c for c in e.chains if c.fingerprint != book.goal and view.known(c)]
        if old and e.outcome is Outcome.PRESENTED:
            text = f"{e.endpoint} still presents {old[0].fingerprint[:16]} after the reload"
            yield _p(view.world, "endpoint-old", text, level)


def _may_be_held(entry: Entry, patience: Patience, now: Instant) -> bool:
    return entry.gone is None or elapsed(entry.gone, now) < patience.span(entry.ttl)


def _resolver_differs(view: View, owner: OwnerSighting, rrset: RRset) -> Iterator[Problem]:
    """Tell of a resolver that gives what an endpoint's certificate does not match, when no cache can hold that any more."""
    patience = view.world.service.patience
    if any(e.rrset == rrset and _may_be_held(e, patience, view.now) for e in view.world.ledger(owner.owner).entries):
        return  # every resolver may, and that is told
    for name, where, chain in view.at_endpoints:
        if name == owner.owner and not valid(rrset, chain):
            text = f"the resolver gives an RRset of {owner.owner} that {chain.fingerprint[:16]} at {where} does not match (TTL {owner.resolver.ttl})"
            yield _p(view.world, "resolver-stale", text, Level.CRITICAL)
            return


def _dns(view: View) -> Iterator[Problem]:
    for name in view.unseen():
        yield _p(view.world, "owner-blocked", f"nobody looked at {name}")
    for owner in view.seen.owners:
        if owner.blocked:
            yield _p(view.world, "owner-blocked", f"{owner.owner} {owner.blocked}")
        for late in (*incomplete(owner), *badly_signed(owner), *running_out(owner, view.now.wall)):
            yield _p(view.world, late.code, f"{late.server} {late.reason}")
        said = owner.resolver
        if said.rrset is None:
            yield _p(view.world, "resolver-failed", f"no answer for {owner.owner}: {said.problem}")
        elif not said.authenticated:
            yield _p(
                view.world,
                "zone-insecure",
                f"the resolver does not authenticate {owner.owner}: {said.problem or 'no AD flag'}",
            )
        else:
            yield from _resolver_differs(view, owner, said.rrset)
        if switched_off(view, owner):
            yield _p(
                view.world,
                "dane-off",
                f"no TLSA record at {owner.owner}, where there was one: somebody switched DANE off",
            )


def _live(view: View) -> Iterator[Problem]:
    for live in view.seen.live:
        if live.problem or live.chain is None:
            yield _p(view.world, "live-file", live.problem or f"{live.path}: nothing there")
        if live.wiring:
            yield _p(view.world, "wiring", live.wiring)
        elif live.chain is not None and live.chain not in [c for _, _, c in view.at_endpoints]:
            yield from _after_a_restart(view, live.path, live.chain)


def _after_a_restart(view: View, path: str, chain: Chain) -> Iterator[Problem]:
    """Tell of a live file whose certificate some server's RRset does not match: no endpoint need show it yet."""
    for owner in view.seen.owners:
        for answer in owner.servers:
            if answer.rrset is not None and answer.public and not valid(answer.rrset, chain):
                text = f"{path} holds {chain.fingerprint[:16]}, which the RRset of {owner.owner} on {answer.server} does not match: a restart would defer mail"
                yield _p(view.world, "live-file", text)
                return


def _certificates(view: View) -> Iterator[Problem]:
    book, wall = view.world.book, view.now.wall
    active = view.world.credentials.get(book.active)
    if active is None:
        return
    left, lifetime = active.not_after - wall, active.not_after - active.not_before
    if expired(active, wall):
        yield _p(
            view.world,
            "certificate-expired",
            f"certificate {active.fingerprint[:16]} expired at {stamp(active.not_after)}",
        )
    elif left * EXPIRING_FRACTION < lifetime and book.goal == book.active:
        yield _p(
            view.world,
            "certificate-expiring",
            f"certificate {active.fingerprint[:16]} expires at {stamp(active.not_after)}",
        )
    goal = view.world.goal
    if goal is not None and goal.fingerprint != active.fingerprint and active.not_after <= wall + _earliest(view, goal):
        yield _p(
            view.world,
            "certificate-late",
            f"certificate {active.fingerprint[:16]} expires at {stamp(active.not_after)}, before {goal.fingerprint[:16]} can be ready",
        )


def _earliest(view: View, goal: Credential) -> timedelta:
    """Return how long it takes at least until the goal is ready, as far as can be told now."""
    service, longest = view.world.service, 0.0
    for owner in view.seen.owners:
        ledger = view.world.ledger(owner.owner)
        left = wait_left(ledger, goal.chain, service.patience, view.now)
        longest = max(longest, service.patience.span(ledger.largest_ttl) if left is None else left)
    return timedelta(seconds=longest)
