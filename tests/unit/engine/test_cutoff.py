"""Intents without an outcome: closed by what the next look finds, and told."""

from __future__ import annotations

from pathlib import Path

import pytest

from rollover.core.sighting import LiveFile, Sighting
from rollover.engine.cutoff import close_cut_off
from tests.unit.core.worlds import FILE, NOW, OWNER, chain, fp, owner, rr
from tests.unit.engine.hosts import host

SEEN = Sighting(NOW, (owner("A B"),), (), (LiveFile(FILE, "identity", chain("B")),), clock_agrees=True)
CHANGE = {"owner": OWNER, "ttl": 100, "expect": [str(rr("A"))]}
ROWS = {
    "an update that was applied": (
        "update",
        {"zone": "example.org.", "changes": [{**CHANGE, "add": [str(rr("B"))], "delete": []}]},
        f"{OWNER} has what it was to have",
    ),
    "an addition that was not applied": (
        "update",
        {"zone": "example.org.", "changes": [{**CHANGE, "add": [str(rr("C"))], "delete": []}]},
        f"{OWNER} does not have what it was to have",
    ),
    "a removal that was not applied": (
        "update",
        {"zone": "example.org.", "changes": [{**CHANGE, "add": [], "delete": [str(rr("A"))]}]},
        f"{OWNER} does not have what it was to have",
    ),
    "an update of an owner that nobody sees": (
        "update",
        {"zone": "example.org.", "changes": [{**CHANGE, "owner": "_25._tcp.gone.", "add": [], "delete": []}]},
        "_25._tcp.gone. could not be seen on the primary",
    ),
    "an install that was done": ("install", {"fingerprint": fp("B"), "paths": [FILE]}, f"{FILE} holds it"),
    "an install that was not done": (
        "install",
        {"fingerprint": fp("C"), "paths": [FILE]},
        f"{FILE} does not hold it",
    ),
}


@pytest.mark.parametrize(("kind", "detail", "found"), ROWS.values(), ids=ROWS)
def test_an_effect_that_was_cut_off_is_closed_with_what_is_found(
    tmp_path: Path, kind: str, detail: dict[str, object], found: str
) -> None:
    """The history has one line of it, another service's stay open, and there is nothing left for the look after."""
    it = host(tmp_path, mail='trust = "none"', web='trust = "none"')
    it.store.intend("mail", kind, detail, NOW)
    it.store.intend("web", kind, detail, NOW)
    for _ in range(2):
        close_cut_off(it, "mail", SEEN)
    (told,) = it.store.events("mail")
    assert told.kind == "cut-off"
    assert told.text.endswith(f"was cut off; found: {found}")
    assert it.store.open_intents("mail") == []
    assert len(it.store.open_intents("web")) == 1
