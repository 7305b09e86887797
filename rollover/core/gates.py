"""3 and 4: what an install waits for. Every server first, then every cache.

They gate what is yet to be presented. Once the goal is in every live file and loaded there is
nothing to gate any more: late servers are then told by troubles.py.
"""

from __future__ import annotations

from rollover.core.changes import publishing
from rollover.core.model import Credential
from rollover.core.servers import Laggard, badly_signed, incomplete, lacking, running_out
from rollover.core.sighting import OwnerSighting
from rollover.core.steps import Phase, Rest
from rollover.core.tlsa import EMPTY, RRset, valid
from rollover.core.view import View, unmatched


def propagate(view: View) -> Rest | None:
    """3. Every server was reached, is not behind, has what the goal needs, signed well."""
    goal = view.goal
    if view.loaded(goal) or (view.is_return and view.ready_left(goal) == 0.0):
        return None
    if unseen := view.unseen():
        return view.blocked("owner-blocked", f"nobody looked at {', '.join(unseen)}")
    if blocked := [f"{o.owner} {o.blocked}" for o in view.seen.owners if o.blocked]:
        return view.blocked("owner-blocked", "; ".join(blocked))
    for owner in view.seen.owners:
        if (foreign := _foreign(view, owner, goal)) is not None:
            return foreign
    failed = view.world.failed
    if refused := [code for o in view.seen.owners if (code := failed.get(f"update:{o.target}")) and _lacks(o, view)]:
        phase = Phase.BLOCKED if "update-not-applied" in refused else Phase.PUBLISHING
        return Rest(phase, "the primary did not take the update", action="publish")
    late: list[Laggard] = []
    for owner in view.seen.owners:
        missing = incomplete(owner)
        late += missing
        if owner.primary is not None or not missing:  # beside a primary that was not seen nobody is late
            late += lacking(owner, view.needed(goal.chain, _current(owner)), goal.chain)
        late += (*badly_signed(owner), *running_out(owner, view.now.wall))
    if not late:
        return None
    by_server = {x.server: x for x in reversed(late)}
    problems = tuple(view.problem(x.code, f"{x.server} {x.reason}") for x in reversed(by_server.values()))
    return Rest(Phase.PROPAGATING, problems[0].message, soon=True, action="wait", problems=problems)


def _lacks(owner: OwnerSighting, view: View) -> bool:
    """Tell whether a record is missing, and not only a TTL other than asked for: a server may clamp that."""
    current = _current(owner)
    return owner.primary is None or not view.needed(view.goal.chain, current) <= current


def _foreign(view: View, owner: OwnerSighting, goal: Credential) -> Rest | None:
    """Return what stands in the way when nothing that we may add makes the RRset valid for the goal."""
    foreign = unmatched(_current(owner), goal.chain)
    if not foreign or publishing(view, owner) is not None:
        return None
    named = ", ".join(f'"{r}"' for r in sorted(foreign))
    remove = " ".join(f'--remove "{r}"' for r in sorted(foreign))
    return view.blocked(
        "foreign-record",
        f"{owner.target} has {named}, which the new certificate does not match",
        hint=f"if nobody needs it: `rollover adopt {view.world.service.name} {remove}`",
    )


def wait(view: View) -> Rest | None:
    """4. Until no resolver can hold an RRset that does not match the goal."""
    goal = view.goal
    if view.loaded(goal) or view.world.book.hurry == goal.fingerprint:
        return None
    left = view.ready_left(goal)
    if left == 0.0 and (view.seen.clock_agrees or view.never_in_doubt(goal)):
        return _resolver_holds(view, goal)
    if left is None:
        return Rest(Phase.PROPAGATING, "some server may still serve an older RRset", soon=True, action="wait")
    if not view.seen.clock_agrees:
        said = view.seen.clock_problem or "no signed answer of the primary could confirm our clock"
        code = "clock" if view.seen.clock_problem else "primary-unreachable"
        problems = (view.problem(code, said),)
        return Rest(Phase.WAITING, said, seconds=left, action="install", problems=problems)
    return Rest(Phase.WAITING, "until no resolver can hold the old RRset", seconds=left, action="install")


def _resolver_holds(view: View, goal: Credential) -> Rest | None:
    """The validating resolver has to say the same before the install; it never holds back a return."""
    if view.is_return:
        return None
    for owner in view.seen.owners:
        said = owner.resolver
        if said.rrset is None:
            code, text = "resolver-failed", f"no answer for {owner.owner}: {said.problem}"
        elif not said.authenticated:
            why = said.problem or "no AD flag"
            code, text = "zone-insecure", f"the resolver does not authenticate {owner.owner}: {why}"
        elif not valid(said.rrset, goal.chain):
            code, text = "resolver-stale", f"the resolver still gives an older RRset for {owner.owner} (TTL {said.ttl})"
        else:
            continue
        problems = (view.problem(code, text),)
        return Rest(Phase.WAITING, text, seconds=float(said.ttl), soon=True, action="install", problems=problems)
    return None


def _current(owner: OwnerSighting) -> RRset:
    primary = owner.primary
    return primary.rrset or EMPTY if primary is not None else EMPTY
