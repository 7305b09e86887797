"""State and sighting into level, problems with hints, JSON; line.py makes one line of it.

The truth before all: ``ok`` is never said when mail is deferred or when nobody can know
(protocol.md, What must hold, 5). Every number is of the last sighting; its age is told.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from rollover.core.deferral import Deferral, deferral
from rollover.core.model import State, World
from rollover.core.problems import Level, Problem, problem
from rollover.core.steps import Activate, Install, Phase, Reload, Rest, SetGoal, Step, Update
from rollover.core.timing import parse_stamp, stamp
from rollover.core.tlsa import EMPTY
from rollover.core.troubles import LATE, SILENCE, troubles
from rollover.core.view import View

SCHEMA = 1
SHORT = 16
PASSING = frozenset({"caches-stale"})  # critical, and over by itself at a known time
ROLLED_OVER = frozenset(
    {"certificate-expired", "certificate-late", "resolver-stale"}
)  # what the rollover under way ends
AT_REST = frozenset({Phase.UNADOPTED, Phase.STEADY, Phase.RETAINING, Phase.PAUSED})


@dataclass(frozen=True, slots=True)
class Dated:
    """A problem and since when it is known."""

    problem: Problem
    since: datetime


@dataclass(frozen=True, slots=True)
class Report:
    """What ``status`` tells of one service, as stored after every look."""

    name: str
    hosts: tuple[str, ...]
    level: Level
    phase: Phase
    summary: str
    seen: datetime | None
    action: str = ""
    not_before: datetime | None = None
    credentials: tuple[Mapping[str, Any], ...] = ()
    problems: tuple[Dated, ...] = ()
    deferred: Deferral = Deferral.UNKNOWN

    def as_json(self) -> dict[str, Any]:
        """Return the service object of ``status --json`` (interface.md)."""
        return {
            "name": self.name,
            "hosts": list(self.hosts),
            "level": str(self.level),
            "phase": self.phase.value,
            "summary": self.summary,
            "deferred": self.deferred.value,
            "seen": stamp(self.seen) if self.seen else None,
            "next": {"action": self.action, "not_before": stamp(self.not_before) if self.not_before else None}
            if self.action
            else None,
            "credentials": [dict(c) for c in self.credentials],
            "problems": [
                {
                    "code": d.problem.code,
                    "level": str(d.problem.level),
                    "message": d.problem.message,
                    "hint": d.problem.hint,
                    "since": stamp(d.since),
                }
                for d in self.problems
            ],
        }

    @classmethod
    def from_json(cls, it: Mapping[str, Any]) -> Report:
        """Read back what as_json() wrote."""
        following = it["next"] or {}
        return cls(
            name=it["name"],
            hosts=tuple(it["hosts"]),
            level=Level[it["level"].upper()],
            phase=Phase(it["phase"]),
            summary=it["summary"],
            seen=parse_stamp(it["seen"]) if it["seen"] else None,
            action=following.get("action", ""),
            not_before=parse_stamp(following["not_before"]) if following.get("not_before") else None,
            credentials=tuple(it["credentials"]),
            problems=tuple(
                Dated(Problem(p["code"], p["message"], Level[p["level"].upper()], p["hint"]), parse_stamp(p["since"]))
                for p in it["problems"]
            ),
            deferred=Deferral(it.get("deferred", Deferral.UNKNOWN)),  # a report of an older version has none
        )


def worst(levels: Iterable[Level]) -> Level:
    """Return the level to act on: critical before unknown before warning before ok."""
    order = (Level.OK, Level.WARNING, Level.UNKNOWN, Level.CRITICAL)
    return max(levels, key=order.index, default=Level.OK)


def report(
    view: View, step: Step, extra: Sequence[Problem] = (), before: Report | None = None, *, hurried: bool = False
) -> Report:
    """Return what to tell after a run that ended in *step*.

    *extra*: what effects of this run met. *before*: the last report, for since when a problem is known.
    *hurried*: silence is no finding; the next regular look judges it.
    """
    world, now = view.world, view.now.wall
    known = {d.problem.code for d in before.problems} if before is not None else set()
    seen = (*troubles(view), *step.problems)
    found = _distinct((*(p for p in seen if not hurried or p.code not in SILENCE or p.code in known), *extra))
    if _phase(step) is Phase.BLOCKED and not any(p.level is Level.CRITICAL for p in found):
        found = (*found, view.problem("stuck", step.why))
    dated = tuple(_date(p, before, now, world.service.propagation_warn) for p in found)
    level, phase = worst(d.problem.level for d in dated), _phase(step)
    regular = None if hurried or not calm(phase, level) else now + timedelta(seconds=world.service.check_every)
    action, not_before = _next(step, now, regular)
    return Report(
        name=world.service.name,
        hosts=world.service.hosts,
        level=level,
        phase=phase,
        summary=_summary(world, step),
        seen=now,
        action=action,
        not_before=not_before,
        credentials=_credentials(view),
        problems=dated,
        deferred=deferral(view, seen, hurried=hurried),
    )


def calm(phase: Phase, level: Level) -> bool:
    """Tell whether a look every ``check_every`` will do; else every tick looks.

    RETAINING is calm: nothing is installed or waited for but the end of the wait, which has its own hour,
    and a minute's look for a day would only fill the mail log with handshakes. What harms is critical.
    """
    return phase in (Phase.STEADY, Phase.RETAINING) and level is not Level.CRITICAL


def due(it: Report, check_every: float) -> datetime | None:
    """Return not before when the next look is needed; None for the next tick."""
    if not calm(it.phase, it.level) or it.seen is None:
        return None
    regular = it.seen + timedelta(seconds=check_every)
    return min(regular, it.not_before) if it.not_before is not None else regular


def failed(it: Report, found: Problem, now: datetime) -> Report:
    """Return the last report *it* after a run that *found* stopped: what it tells of nobody could see again."""
    rest = tuple(d for d in it.problems if d.problem.code != found.code)
    since = min([*(d.since for d in it.problems if d.problem.code == found.code), now])
    problems = (Dated(found, since), *rest)
    level = worst(d.problem.level for d in problems)
    deferred = it.deferred if it.deferred is Deferral.YES else Deferral.UNKNOWN
    return replace(it, level=level, problems=problems, action="look", not_before=None, deferred=deferred)


def needs_person(it: Report) -> bool:
    """Tell whether something is wrong that nothing which is due by itself will end."""
    heals = PASSING if it.phase in AT_REST else PASSING | ROLLED_OVER
    found = {d.problem.code for d in it.problems if d.problem.level is Level.CRITICAL}
    return it.phase is Phase.BLOCKED or bool(found - heals)


def unseen(world: World, now: datetime) -> Report:
    """Return what to tell of a service that nobody ever looked at."""
    code = "never-looked" if world.book.adopted else "not-adopted"
    text = "nothing was observed yet" if world.book.adopted else "not adopted: nothing is done for it"
    found = problem(code, text, service=world.service.name)
    phase = Phase.STEADY if world.book.adopted else Phase.UNADOPTED
    return Report(
        world.service.name, world.service.hosts, found.level, phase, text, None, problems=(Dated(found, now),)
    )


def aged(it: Report, world: World, now: datetime) -> Report:
    """Return a stored report as it may be told now: too old a look is unknown, never ok."""
    if it.seen is None or it.phase is Phase.UNADOPTED:
        return it
    age = (now - it.seen).total_seconds()
    limit = 3 * world.service.check_every
    if -limit <= age <= limit:
        return it
    text = (
        f"last looked at {stamp(it.seen)}, {timedelta(seconds=round(abs(age)))} {'ago' if age > 0 else 'in the future'}"
    )
    stale = Dated(problem("stale-look", text, service=it.name), it.seen)
    problems = (stale, *(d for d in it.problems if d.problem.code != "stale-look"))
    level = worst(d.problem.level for d in problems)
    return replace(it, level=level, problems=problems, deferred=Deferral.UNKNOWN)


def _distinct(found: Iterable[Problem]) -> tuple[Problem, ...]:
    """Return each problem once: of two that tell the same, the one that says why.

    "Primary unreachable: … BADSIG" tells nothing beside the refusal itself, and its hint misleads.
    """
    once = {(p.code, p.message): p for p in found}.values()
    return tuple(p for p in once if not any(p.message.endswith(f" {other.message}") for other in once))


def _date(found: Problem, before: Report | None, now: datetime, late_after: float) -> Dated:
    known = [d.since for d in before.problems if d.problem.code == found.code] if before is not None else []
    since = min([*known, now])
    if found.code in LATE and (now - since).total_seconds() < late_after:
        found = replace(found, level=Level.OK)  # told, but not yet worth waking anybody
    return Dated(found, since)


def _phase(step: Step) -> Phase:
    if isinstance(step, Rest | Update):
        return step.phase
    return Phase.INSTALLING


def _next(step: Step, now: datetime, regular: datetime | None) -> tuple[str, datetime | None]:
    """Return the next act and not before when; *regular*: the next look, None for the next tick."""
    if not isinstance(step, Rest):
        acts = {Install: "install", Reload: "reload", SetGoal: "change of the wanted certificate", Activate: "activate"}
        return ("withdraw" if step.phase is Phase.WITHDRAWING else "publish") if isinstance(step, Update) else acts[
            type(step)
        ], None
    if step.phase is Phase.STEADY:
        return "look", regular
    if step.seconds is not None:
        return step.action, now + timedelta(seconds=step.seconds)
    if step.phase is Phase.RETAINING:
        return step.action, regular
    return step.action or ("look" if step.phase is Phase.BLOCKED else ""), None


def _summary(world: World, step: Step) -> str:
    book = world.book
    active = world.credentials.get(book.active)
    if active is None:
        return "serving nothing that this tool installed"
    text = f"serving {active.fingerprint[:SHORT]}, valid until {active.not_after:%Y-%m-%d}"
    if book.goal != book.active:
        text += f"; {book.goal[:SHORT]} is wanted: {step.why}"
    elif isinstance(step, Rest) and step.phase is not Phase.STEADY:
        text += f"; {step.why}"
    if book.queued:
        text += f"; {book.queued[:SHORT]} is queued"
    return text


def _credentials(view: View) -> tuple[Mapping[str, Any], ...]:
    book, rows = view.world.book, []
    current = EMPTY.union(
        *(o.primary.rrset for o in view.seen.owners if o.primary is not None and o.primary.rrset is not None)
    )
    for fingerprint, standing in book.standings.items():
        credential = view.world.credentials.get(fingerprint)
        if credential is None or (standing.state is State.REMOVED and fingerprint not in (book.goal, book.active)):
            continue
        rows.append(
            {
                "fingerprint": fingerprint,
                "spki_sha256": credential.spki,
                "state": standing.state.value,
                "goal": fingerprint == book.goal,
                "queued": fingerprint == book.queued,
                "blocked": standing.blocked or None,
                "not_after": stamp(credential.not_after),
                "records": [str(r) for r in sorted(view.needed(credential.chain, current))],
                "since": {k: stamp(v) for k, v in standing.since.items()},
            }
        )
    return tuple(rows)
