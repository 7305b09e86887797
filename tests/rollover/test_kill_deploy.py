"""`kill -9` while a certificate is handed over, and in the tick that first sees its record everywhere."""

from __future__ import annotations

import json
import sqlite3

import pytest

from tests.lab import Lab, wait_for
from tests.rollover.driving import advance_to, fill_caches, nothing_deferred, only_serves, steady_mail
from tests.rollover.points import effect_of
from tests.rollover.scene import Kills, Scene, ticked
from tests.rollover.tracing import COMMIT, UPDATE, trace

SPANS = {"retain": "1s", "drain": "1s", "check_every": "1m"}


def _clock_runs(lab: Lab) -> bool:
    """Tell whether the ledger says since when the RRset with the old record alone is gone."""
    with sqlite3.connect(lab.state_directory / "rollover.db") as database:
        (entries,) = (x for (x,) in database.execute("SELECT entries FROM ledger"))
    alone = [e for e in json.loads(entries)["entries"] if e["rrset"] is not None and len(e["rrset"]) == 1]
    assert alone, entries
    return all(e["gone"] is not None for e in alone)


@pytest.mark.fault(49, 65)
@pytest.mark.lab(ttl=2)
def test_a_deploy_killed_at_any_call_loses_nothing(lab: Lab, capfd: pytest.CaptureFixture[str]) -> None:
    """Whatever call a deploy dies at, the next tick has the certificate from the lineage, and its record published.

    So it is with the tick that first sees the record everywhere, from which the wait is counted.
    """
    lab.configure(**SPANS, source=[str(lab.directory / "lineage")], min_wait="1h")  # however long the kills take
    lab.rollover("adopt", "mail", check=0)
    with steady_mail(lab):
        fill_caches(lab)
        new = lab.certificate(directory=lab.directory / "lineage")
        scene = Scene(lab)
        words = ("deploy", new.fullchain, new.privkey)
        found = trace(lab, *words)
        assert found.done.returncode == 0, found.done.stderr
        assert UPDATE in map(effect_of, found.points)

        def next_tick() -> None:
            ticked(lab)
            assert set(lab.primary.tlsa().records) == {lab.old.tlsa, new.tlsa}

        kills = Kills("deploy", scene, found, words)
        kills.try_all(next_tick, capfd, at_least=25)

        scene.restore()
        fill_caches(lab)
        lab.rollover(*words, check=0)
        wait_for(lambda: len(lab.secondary.tlsa().records) == 2, "the secondary follows")
        assert not _clock_runs(lab)
        scene = Scene(lab)
        found = trace(lab, "advance", "mail")
        assert _clock_runs(lab), "that tick saw the record everywhere"
        assert COMMIT in map(effect_of, found.points)
        kills = Kills("the tick that first sees the record everywhere", scene, found, ("advance", "mail"))
        kills.try_all(next_tick, capfd, at_least=4)
        assert lab.served() == lab.old.spki
        lab.configure(**SPANS, source=[str(lab.directory / "lineage")])
        advance_to(lab, "steady")
    nothing_deferred(lab)
    only_serves(lab, new)
    for directory in (lab.state_directory / "vault" / "keys", lab.state_directory / "vault" / "chains"):
        assert not list(directory.glob(".new-*"))
