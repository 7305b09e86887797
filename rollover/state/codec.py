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
FIRST_YEAR, LAST_YEAR = 1970, 9000  # of what is stored; RRSIG inceptions end in 2106
LONGEST_BOOT = 1e10  # seconds since boot, 300 years
P = ParamSpec("P")
T = TypeVar("T")


def stored(read: Callable[P, T]) -> Callable[P, T]:
    """Let *read* raise StateError for what was never written in this form: a damaged row is no bug."""

    @functools.wraps(read)
    def checked(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return read(*args, **kwargs)
        except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError) as error:
            raise StateError(
                "the database is damaged: a row is malformed",
                hint="restore rollover.db from a backup; what is served and published stays as it is. docs/state.md says how to start anew",
            ) from error

    return checked


def _a(kind: type[T], it: Any) -> T:
    """Return *it* if it is a *kind*: a value of another type would be met much later, as a bug."""
    if type(it) is not kind:
        raise TypeError(f"not of type {kind.__name__}")
    return it


def _each(kind: type[T], them: Any) -> list[T]:
    return [_a(kind, it) for it in _a(list, them)]


def _count(it: Any, most: int = 2**31 - 1) -> int:
    """Return a number of seconds, rounds or the like."""
    if not 0 <= _a(int, it) <= most:
        raise ValueError("out of range")
    return int(it)


def _moment(text: Any) -> datetime:
    """Return an instant of the wall clock with room around it: spans are added and taken away."""
    found = parse_stamp(_a(str, text))
    if not FIRST_YEAR <= found.year <= LAST_YEAR:
        raise ValueError("no instant of ours")
    return found


@stored
def json_in(text: str) -> Json:
    """Read a column that holds a JSON object."""
    return _a(dict, json.loads(_a(str, text)))


@stored
def list_in(text: str) -> list[Any]:
    """Read a column that holds a JSON array."""
    return _a(list, json.loads(_a(str, text)))


@stored
def text_in(text: str) -> str:
    """Read a column that holds text, which SQLite itself does not promise."""
    return _a(str, text)


@stored
def stamp_in(text: str) -> datetime:
    """Read a column that holds an instant of the wall clock."""
    return _moment(text)


@stored
def records_in(rdata: Iterable[str]) -> RRset:
    """Read records, each as hex of its RDATA."""
    return frozenset(Tlsa.from_wire(bytes.fromhex(r)) for r in rdata)


@stored
def report_in(text: str) -> Json:
    """Read what Report.as_json() gave."""
    it = json_in(text)
    read = Report.from_json(it)  # a half of it is worse than none
    problems = [x for d in read.problems for x in (d.problem.code, d.problem.message, d.problem.hint)]
    _each(str, [read.name, *read.hosts, read.summary, read.action, *problems])
    for moment in (read.seen, read.not_before, *(d.since for d in read.problems)):
        if moment is not None:
            _moment(moment.isoformat())
    return it


def instant_out(it: Instant | None) -> list[Any] | None:
    """Return [wall, seconds since boot, boot id], or None."""
    return None if it is None else [it.wall.isoformat(), it.boot, it.boot_id]


@stored
def instant_in(it: list[Any] | None) -> Instant | None:
    """Read what instant_out() wrote."""
    if it is None:
        return None
    wall, boot, boot_id = _a(list, it)
    if not abs(seconds := float(boot)) < LONGEST_BOOT:  # NaN is not
        raise ValueError("no seconds since boot")
    return Instant(_moment(wall), seconds, _a(str, boot_id))


@stored
def surely(it: list[Any]) -> Instant:
    """Read what instant_out() wrote of an instant that is there."""
    found = instant_in(it)
    if found is None:
        raise ValueError("no instant")
    return found


@stored
def servers_in(text: str) -> Json:
    """Read the servers of a zone: by label, the TTL of their NS RRset, and since when they are not in it."""
    it = json_in(text)
    for server in it.values():
        _count(server["ttl"])
        instant_in(server["left"])
    return it


@stored
def restore_in(text: str) -> Json:
    """Read the mail servers' parameters from before adopt, by directory."""
    it = json_in(text)
    for parameters in it.values():
        _each(str, list(_a(dict, parameters).values()))
    return it


@stored
def intent_in(kind: str, text: str) -> Json:
    """Read what was begun: the changes of an update, or the certificate and the files of an install."""
    it = json_in(text)
    if kind == "update":
        _a(str, it["zone"])
        for change in _a(list, it["changes"]):
            _each(str, [change["owner"], *_a(list, change["add"]), *_a(list, change["delete"])])
    elif kind == "install":
        _each(str, [it["fingerprint"], *_a(list, it["paths"])])
    return it


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
    it = json_in(text)
    return Ledger(
        owner,
        tuple(
            Entry(rrset_in(e["rrset"]), _count(e["ttl"], 2**32), instant_in(e["gone"]), instant_in(e["intended"]))
            for e in _a(list, it["entries"])
        ),
        _moment(it["inception"]) if it["inception"] else None,
        tuple(_moment(i) for i in _a(list, it["inceptions"])),
        rrset_in(it["ours"]),
        frozenset(_each(str, it["absent"])),
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
        _a(str, it["was_active"]),
        {_endpoint_in(e): Shown(Outcome(o), tuple(_each(str, f))) for e, o, f in _a(list, it["picture"])},
        _a(str, it["fingerprint"]),
    )


def _endpoint_in(it: list[Any]) -> Endpoint:
    host, address, port, sni, algorithm = it
    return Endpoint(_a(str, host), _a(str, address), _count(port, 65535), _a(bool, sni), _a(str, algorithm))


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
            "lately": {f: instant_out(at) for f, at in it.lately.items()},
        }
    )


@stored
def book_in(text: str, standings: Mapping[str, Standing]) -> Book:
    """Read what book_out() wrote."""
    it = json_in(text)
    pause = it["pause"]
    return Book(
        adopted=_a(bool, it["adopted"]),
        goal=_a(str, it["goal"]),
        active=_a(str, it["active"]),
        queued=_a(str, it["queued"]),
        rollback=_a(bool, it["rollback"]),
        hurry=_a(str, it["hurry"]),
        returning=_a(bool, it["returning"]),
        return_spent=_a(bool, it["return_spent"]),
        install=_install_in(it["install"]) if it["install"] else None,
        reloads={p: Reload(_a(str, r[0]), surely(r[1]), _count(r[2])) for p, r in it["reloads"].items()},
        rounds=_count(it["rounds"]),
        activated=instant_in(it["activated"]),
        quiet=instant_in(it["quiet"]),
        dane_on=frozenset(_each(str, it["dane_on"])),
        refill=frozenset(_each(str, it["refill"])),
        pause=Pause(surely(pause[0]), _moment(pause[1]) if pause[1] else None) if pause else None,
        releasing=_a(bool, it["releasing"]),
        lately={f: surely(at) for f, at in _a(dict, it.get("lately", {})).items()},  # not there before 2026-11
        standings=standings,
    )


def since_out(it: Mapping[str, datetime]) -> str:
    """Return the first instants of a credential's states as JSON."""
    return json.dumps({k: v.isoformat() for k, v in it.items()})


@stored
def standing_in(state: str, previous: str, blocked: str, since: str) -> Standing:
    """Build a standing from its row."""
    times = {k: _moment(v) for k, v in json_in(since).items()}
    return Standing(State(state), _a(str, previous), _a(str, blocked), times)
