"""Whether mail is being deferred now, by what one sighting shows: the first thing to know at 03:00."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

from rollover.core.problems import Level, Problem
from rollover.core.sighting import Outcome
from rollover.core.tlsa import combinations
from rollover.core.view import View

SMTP = 25  # the port that other mail servers deliver to (RFC 7672 §3); on the others users wait, not mail


class Deferral(StrEnum):
    """The answer, as JSON has it; *words* are those of the line."""

    YES = "yes"
    MAYBE = "maybe"
    UNKNOWN = "unknown"
    NO = "no"

    @property
    def words(self) -> str:
        """The answer as a clause."""
        return {
            Deferral.YES: "mail is being deferred",
            Deferral.MAYBE: "mail may be deferred",
            Deferral.UNKNOWN: "whether mail is deferred is unknown",
            Deferral.NO: "no mail is deferred",
        }[self]


def deferral(view: View, found: Iterable[Problem], *, hurried: bool = False) -> Deferral:
    """Return whether mail is deferred now; *found*: the problems of the same sighting.

    *hurried*: an endpoint or resolver that was silent was given too little time to judge it by.
    """
    if not view.world.book.adopted:
        return Deferral.UNKNOWN  # nobody judged what is served
    found = tuple(found)
    codes = {p.code for p in found}
    answers = {Deferral.YES} if "mail-deferred" in codes else set()
    if codes & {"caches-stale", "deferral-ahead"} or any(
        p.code == "resolver-stale" and p.level is Level.CRITICAL for p in found
    ):
        answers.add(Deferral.MAYBE)
    silent = any(o.resolver.rrset is None for o in view.seen.owners)
    if "signature-bad" in codes:  # where every server is like that, a validating resolver has no answer
        answers.add(Deferral.YES if silent and not hurried else Deferral.MAYBE)
    elif silent:
        answers.add(Deferral.UNKNOWN)
    unseen = any(all(a.rrset is None for a in o.servers) for o in view.seen.owners)
    if view.unseen() or unseen:
        answers.add(Deferral.UNKNOWN)
    answers.add(_at_endpoints(view, hurried=hurried))
    return next(d for d in Deferral if d in answers)


def _at_endpoints(view: View, *, hurried: bool) -> Deferral:
    """Return what the endpoints that take mail say; a sender goes on to the next address of an MX."""
    dane = any(combinations(o.primary.rrset) for o in view.seen.owners if o.primary is not None and o.primary.rrset)
    mine = [e for e in view.seen.endpoints if e.endpoint.port == SMTP]
    if SMTP in view.world.service.ports and not mine:
        return Deferral.UNKNOWN
    dead = [e for e in mine if e.outcome is Outcome.NO_GREETING or (dane and e.outcome is Outcome.NO_TLS)]
    away = [e for e in mine if e.outcome is Outcome.UNREACHABLE]
    if hurried and (dead or away):
        return Deferral.UNKNOWN
    if dead:
        return Deferral.YES if len(dead) + len(away) == len(mine) else Deferral.MAYBE
    if away:  # all of them: the mail server is down, or only from here; one of them: nobody can see what it shows
        return Deferral.MAYBE if len(away) == len(mine) else Deferral.UNKNOWN
    return Deferral.NO
