"""Core values to JSON and back; docs/state.md describes the form. Times are RFC 3339 with fractions."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any, ParamSpec, TypeVar

from rollover.core.errors import StateError
from rollover.core.ledger import Entry, Ledger
from rollover.core.model import Book, OpenInstall, Pause, Reload, Shown, Standing, State
from rollover.core.report import Report
from rollover.core.sighting import Endpoint, Outcome
from rollover.core.timing import Instant, parse_stamp
from rollover.core.tlsa import RRset, Tlsa

Json = dict[str, Any]
P = ParamSpec("P")
T = TypeVar("T")


def stored(read: Callable[P, T]) -> Callable[P, T]:
    """Let *read* raise StateError for what was never written in this form: a damaged row is no bug."""

    @functools.wraps(read)
    def checked(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return read(*args, **kwargs)
        except (ValueError, LookupError, TypeError, AttributeError, AssertionError) as error:
            raise StateError(
                "the database is damaged: a row is malformed",
                hint="restore rollover.db from a backup; what is served and published stays as it is. docs/state.md says how to start anew",
            ) from error

    return checked


@stored
def json_in(text: str) -> Any:
    """Read a column that holds JSON."""
    return json.loads(text)


@stored
def stamp_in(text: str) -> datetime:
    """Read a column that holds an instant of the wall clock."""
    return parse_stamp(text)


@stored
def records_in(rdata: Iterable[str]) -> RRset:
    """Read records, each as hex of its RDATA."""
    return frozenset(Tlsa.from_wire(bytes.fromhex(r)) for r in rdata)


@stored
def report_in(text: str) -> Json:
    """Read what Report.as_json() gave."""
    it: Json = json.loads(text)
    Report.from_json(it)  # a half of it is worse than none
    return it


def instant_out(it: Instant | None) -> list[Any] | None:
    """Return [wall, seconds since boot, boot id], or None."""
    return None if it is None else [it.wall.isoformat(), it.boot, it.boot_id]


@stored
def instant_in(it: list[Any] | None) -> Instant | None:
    """Read what instant_out() wrote."""
    return None if it is None else Instant(parse_stamp(it[0]), float(it[1]), str(it[2]))


@stored
def surely(it: list[Any]) -> Instant:
    """Read what instant_out() wrote of an instant that is there."""
    found = instant_in(it)
    assert found is not None
    return found


def rrset_out(it: RRset | None) -> list[str] | None:
    """Return the records as hex of their RDATA, sorted; None stays None (an RRset nobody saw)."""
    return None if it is None else sorted(r.to_wire().hex() for r in it)


def rrset_in(it: list[str] | None) -> RRset | None:
    """Read what rrset_out() wrote."""
    return None if it is None else records_in(it)


def ledger_out(it: Ledger) -> str:
    """Return a ledger as one JSON object."""
    return json.dumps(
        {
            "entries": [
                {
                    "rrset": rrset_out(e.rrset),
                    "ttl": e.ttl,
                    "gone": instant_out(e.gone),
                    "intended": instant_out(e.intended),
                }
                for e in it.entries
            ],
            "inception": it.inception.isoformat() if it.inception else None,
            "inceptions": [i.isoformat() for i in it.inceptions],
            "ours": rrset_out(it.ours),
            "absent": sorted(it.absent),
        }
    )


@stored
def ledger_in(owner: str, text: str) -> Ledger:
    """Read what ledger_out() wrote."""
    it = json.loads(text)
    return Ledger(
        owner,
        tuple(
            Entry(rrset_in(e["rrset"]), e["ttl"], instant_in(e["gone"]), instant_in(e["intended"]))
            for e in it["entries"]
        ),
        parse_stamp(it["inception"]) if it["inception"] else None,
        tuple(parse_stamp(i) for i in it["inceptions"]),
        rrset_in(it["ours"]),
        frozenset(it["absent"]),
    )


def _endpoint_out(it: Endpoint) -> list[Any]:
    return [it.host, it.address, it.port, it.sni, it.algorithm]


def _install_out(it: OpenInstall) -> Json:
    return {
        "since": instant_out(it.since),
        "latest": instant_out(it.latest),
        "was_active": it.was_active,
        "picture": [[_endpoint_out(e), s.outcome.value, list(s.fingerprints)] for e, s in it.picture.items()],
        "fingerprint": it.fingerprint,
    }


def _install_in(it: Json) -> OpenInstall:
    return OpenInstall(
        surely(it["since"]),
        surely(it["latest"]),
        it["was_active"],
        {Endpoint(*e): Shown(Outcome(o), tuple(f)) for e, o, f in it["picture"]},
        it["fingerprint"],
    )


def book_out(it: Book) -> str:
    """Return a book without its standings (they are rows of their own) as one JSON object."""
    return json.dumps(
        {
            "adopted": it.adopted,
            "goal": it.goal,
            "active": it.active,
            "queued": it.queued,
            "rollback": it.rollback,
            "hurry": it.hurry,
            "returning": it.returning,
            "return_spent": it.return_spent,
            "install": _install_out(it.install) if it.install else None,
            "reloads": {p: [r.identity, instant_out(r.at), r.repeats] for p, r in it.reloads.items()},
            "rounds": it.rounds,
            "activated": instant_out(it.activated),
            "quiet": instant_out(it.quiet),
            "dane_on": sorted(it.dane_on),
            "refill": sorted(it.refill),
            "pause": [instant_out(it.pause.since), it.pause.until.isoformat() if it.pause.until else None]
            if it.pause
            else None,
            "releasing": it.releasing,
        }
    )


@stored
def book_in(text: str, standings: Mapping[str, Standing]) -> Book:
    """Read what book_out() wrote."""
    it = json.loads(text)
    pause = it["pause"]
    return Book(
        adopted=it["adopted"],
        goal=it["goal"],
        active=it["active"],
        queued=it["queued"],
        rollback=it["rollback"],
        hurry=it["hurry"],
        returning=it["returning"],
        return_spent=it["return_spent"],
        install=_install_in(it["install"]) if it["install"] else None,
        reloads={p: Reload(r[0], surely(r[1]), r[2]) for p, r in it["reloads"].items()},
        rounds=it["rounds"],
        activated=instant_in(it["activated"]),
        quiet=instant_in(it["quiet"]),
        dane_on=frozenset(it["dane_on"]),
        refill=frozenset(it["refill"]),
        pause=Pause(surely(pause[0]), parse_stamp(pause[1]) if pause[1] else None) if pause else None,
        releasing=it["releasing"],
        standings=standings,
    )


def since_out(it: Mapping[str, datetime]) -> str:
    """Return the first instants of a credential's states as JSON."""
    return json.dumps({k: v.isoformat() for k, v in it.items()})


@stored
def standing_in(state: str, previous: str, blocked: str, since: str) -> Standing:
    """Build a standing from its row."""
    return Standing(State(state), previous, blocked, {k: parse_stamp(v) for k, v in json.loads(since).items()})
