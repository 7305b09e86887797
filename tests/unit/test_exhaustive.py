"""Every state of small worlds, with the real decide(); and that the exploration finds what is broken on purpose."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rollover.core import ledger, machine
from rollover.core.ledger import Entry, Ledger
from rollover.core.tlsa import RRset, valid
from rollover.core.view import View
from tests.exhaustive import moves, rule
from tests.exhaustive.explore import Deferred, Exploration, Stuck
from tests.exhaustive.scene import CHAINS, RRSETS, Shape
from tests.exhaustive.sizes import CI, EACH, ONWARD, QUIET, scaled

LATE = replace(QUIET, name="one update is late", faults=frozenset({"update late"}))
DEAF = replace(ONWARD, name="deaf to two reloads", faults=frozenset({"deaf"}), together=True)


@pytest.fixture(autouse=True)
def _scaled() -> Iterator[None]:
    with scaled():
        yield


@pytest.mark.parametrize("shape", CI, ids=lambda x: x.name)
def test_no_state_of_a_small_world_defers_mail_and_every_state_leads_to_the_end(shape: Shape) -> None:
    """The world is gone through completely; every fault that it may meet was met."""
    found = Exploration(shape).explore()

    assert found.states >= found.scenes > 40
    assert found.transitions > found.states
    assert {one for faults in found.faults for one in faults.split(moves.AND)} == shape.faults


def test_all_that_may_be_held_is_what_single_caches_come_to() -> None:
    """Caches influence no scene: with two told apart, and with all at once, the same scenes are reached."""
    each, everything = Exploration(EACH), Exploration(QUIET)
    each.check_caches()
    everything.check_caches()

    assert set(each.scenes) == set(everything.scenes)
    assert each.found.states > everything.found.states


# ------------------------------------------------------------------------------ it can fail


def nothing(view: View) -> None:
    """Stand in for a rule that was taken out."""


def no_wait(patch: pytest.MonkeyPatch) -> None:
    """4 is not waited for."""
    patch.setattr(machine, "wait", nothing)


def before_the_last_endpoint(patch: pytest.MonkeyPatch) -> None:
    """One endpoint that presents the new certificate is enough to activate it and to withdraw the old record."""

    def proven(self: View, goal: Any) -> bool:
        return self.loaded(goal) and any(self.shows_only(e, goal) for e in self.seen.endpoints)

    patch.setattr(View, "proven", proven)
    patch.setattr(View, "presentable", lambda self, owner: ())
    patch.setattr(View, "lingering", lambda self: ())
    patch.setattr(machine, "verify", nothing)


def replaced(patch: pytest.MonkeyPatch) -> None:
    """The new record replaces the old one in one update."""
    whole = machine.publishing

    def publishing(view: View, owner: Any) -> Any:
        change = whole(view, owner)
        return change and replace(change, delete=change.expect - change.add)

    patch.setattr(machine, "publishing", publishing)


def no_gate(patch: pytest.MonkeyPatch) -> None:
    """The same, and the gate of every update is open."""
    replaced(patch)
    patch.setattr(machine, "safe", lambda view, change: True)


def answered_by_whoever_shows_it(patch: pytest.MonkeyPatch) -> None:
    """A secondary that is behind and shows the RRset counts as the answer to an update that would make it."""
    whole = ledger._look_again

    def look_again(entry: Entry, shown: Any, *more: Any) -> Entry:
        shows = (entry.rrset, entry.ttl) in shown
        return replace(entry, gone=None, intended=None) if shows else whole(entry, shown, *more)

    patch.setattr(ledger, "_look_again", look_again)


def answered_by_another(patch: pytest.MonkeyPatch) -> None:
    """The answer to an update that was sent again counts for the first one too."""

    def settle(before: Ledger, rrset: RRset) -> Ledger:
        rest = [e for e in before.entries if e.rrset != rrset]
        return replace(before, entries=(*rest, Entry(rrset, before.largest_ttl)))

    patch.setattr(moves, "settle", settle)


@pytest.mark.parametrize(
    ("shape", "broken", "found", "last"),
    [
        (ONWARD, no_wait, Deferred, "transfer; installs 1. Then"),
        (DEAF, before_the_last_endpoint, Deferred, "updates {0 1} to {1}. Then"),
        (
            ONWARD,
            replaced,
            Stuck,
            "goes round in a circle",
        ),  # it is blocked, and what is served is noted anew in each look
        (ONWARD, no_gate, Deferred, "deploy 1; updates {0} to {1}. Then"),
        (LATE, answered_by_whoever_shows_it, Deferred, "the late update lands"),
        (LATE, answered_by_another, Deferred, "the late update lands"),
    ],
    ids=lambda x: x.__name__ if callable(x) else None,
)
def test_what_is_broken_on_purpose_is_found(
    shape: Shape, broken: Any, found: type[Exception], last: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a rule taken out the shortest way to deferred mail is found, and told; the gate alone prevents the third."""
    broken(monkeypatch)

    with pytest.raises(found) as story:
        Exploration(shape).explore()

    assert last in str(story.value)


# ---------------------------------------------------------------------------------- the rule


def test_the_rule_is_not_the_tools() -> None:
    """What must hold is written without the core."""
    tree = ast.parse(Path(rule.__file__ or "").read_text())
    names = [n.module or "" for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)]
    names += [a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names]

    assert names
    assert not [n for n in names if n.startswith("rollover")]


def test_a_number_stands_for_the_records_that_it_says() -> None:
    """Bit i is the 3 1 1 record with the SHA-256 of certificate i's key, and what is accepted is valid."""
    for mask, rrset in enumerate(RRSETS):
        keys = {hashlib.sha256(c.links[0].spki).hexdigest() for i, c in enumerate(CHAINS) if mask >> i & 1}
        assert {str(x) for x in rrset} == {f"3 1 1 {key}" for key in keys}
        for i, chain in enumerate(CHAINS):
            assert rule.accepted(mask, i) == valid(rrset, chain)
