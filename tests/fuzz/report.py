"""A report as the database keeps it: the same JSON as in status.json, which nothing of ours reads."""

from __future__ import annotations

import json
from datetime import timedelta

from rollover.config import load
from rollover.core.errors import StateError
from rollover.core.line import line
from rollover.core.model import Book, World
from rollover.core.problems import problem
from rollover.core.report import Report, aged, due, failed, needs_person
from rollover.engine.host import core_service
from rollover.engine.status import as_json
from rollover.state.codec import report_in
from tests.fuzz import config
from tests.pki import NOW

config.MAIN.write_bytes(config.DNS + config.SERVICE)
_LOADED = load(config.MAIN)
WORLD = World(core_service(next(iter(_LOADED)), _LOADED), Book(adopted=True), {}, {}, {})

GOOD = {
    "name": "mail",
    "hosts": ["mail.example.org"],
    "level": "critical",
    "phase": "waiting",
    "summary": "serving 3f9a",
    "deferred": "no",
    "seen": "2026-11-22T13:59:10Z",
    "next": {"action": "install", "not_before": "2026-11-22T15:00:00Z"},
    "credentials": [{"fingerprint": "ab", "spki_sha256": "cd", "state": "active", "records": ["3 1 1 ab"]}],
    "problems": [
        {
            "code": "mail-deferred",
            "level": "critical",
            "message": "x",
            "hint": "run `rollover advance mail`",
            "since": "2026-11-22T13:00:00Z",
        }
    ],
}


def target(octets: bytes) -> None:
    """A stored report is told on one line and as JSON, or it is a StateError."""
    try:
        stored = report_in(octets.decode("utf-8", "surrogateescape"))
    except StateError as error:
        assert error.hint
        return
    it = Report.from_json(stored)
    told = [it, aged(it, WORLD, NOW), failed(it, problem("run-failed", "x", service="mail"), NOW)]
    for one in told:
        assert isinstance(line(one, NOW + timedelta(days=1)), str)
        needs_person(one)
        due(one, 900.0)
    document = json.loads(json.dumps(as_json(told, NOW)))
    assert len(document["services"]) == len(told)


def seeds() -> tuple[bytes, ...]:
    """Reports with and without what may be absent."""
    bare = GOOD | {"next": None, "seen": None, "problems": [], "credentials": [], "level": "ok", "phase": "steady"}
    return tuple(json.dumps(it).encode() for it in (GOOD, bare, GOOD | {"phase": "unadopted"}))
