"""The one line of ``status``: what a person reads at 03:00, and acts on."""

from __future__ import annotations

import re
from datetime import datetime

from rollover.core.problems import Level
from rollover.core.report import Dated, Report
from rollover.core.steps import Phase
from rollover.core.timing import stamp

URGENCY = (Level.OK, Level.WARNING, Level.UNKNOWN, Level.CRITICAL)
UNITS = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))
#: A command in a hint: backquoted, and begun by a program that an operator has.
COMMAND = re.compile(r"`(?:rollover|rndc|chmod|chown|dig|postfix|systemctl|timedatectl) [^`]*`")
HISTORY = "`rollover history "


def line(it: Report, now: datetime) -> str:
    """Return level, service, whether mail is deferred, cause and since when, age, next act, one command."""
    bad = sorted((d for d in it.problems if d.problem.level is not Level.OK), key=_urgency, reverse=True)
    told = [f"{_head(it, bad)}{_cause(it, bad)}", _age(it.seen, now)]
    if it.action:
        told.append(
            f"next: {it.action} {f'not before {stamp(it.not_before)}' if it.not_before else 'at the next tick'}"
        )
    return "; ".join(told) + (f". {_help(it, bad[0])}" if bad else "")


def _urgency(it: Dated) -> int:
    return URGENCY.index(it.problem.level)


def _head(it: Report, bad: list[Dated]) -> str:
    """Return the beginning; a cause that tells itself whether mail is deferred needs no second word of it."""
    head = f"{str(it.level).upper()} {it.name}: "
    if it.phase is Phase.UNADOPTED or (bad and bad[0].problem.message.startswith("DANE mail ")):
        return head
    return f"{head}{it.deferred.words}{': ' if bad else '; '}"


def _cause(it: Report, bad: list[Dated]) -> str:
    if not bad:
        return it.summary
    more = f" (and {len(bad) - 1} more)" if len(bad) > 1 else ""
    since = f" since {stamp(bad[0].since)}" if it.seen is not None else ""  # else since anybody's guess
    return f"{bad[0].problem.message}{since}{more}"


def _age(seen: datetime | None, now: datetime) -> str:
    if seen is None:
        return "never looked at"
    seconds = round((now - seen).total_seconds())
    span, unit = next(((s, u) for s, u in UNITS if abs(seconds) >= 2 * s), UNITS[-1])
    return f"seen {abs(seconds) // span} {unit} {'ago' if seconds >= 0 else 'in the future'}"


def _help(it: Report, first: Dated) -> str:
    """Return the clause of the hint that has a command; the history where it has none."""
    clauses = [c for c in re.split(r"(?<=[;.]) (?=[^`]*(?:`[^`]*`[^`]*)*$)", first.problem.hint) if COMMAND.search(c)]
    best = next((c for c in clauses if HISTORY not in c), "")
    clause = best.rstrip(";.")
    return f"{clause[:1].upper()}{clause[1:]}" if clause else f"See: rollover history {it.name}"
