"""`kill -9` while a certificate is handed over: staged, and its record published."""

from __future__ import annotations

import sqlite3

import pytest

from tests.lab import Certificate, Lab
from tests.rollover.driving import (
    advance_to,
    fill_caches,
    goal,
    left_by_advance,
    nothing_deferred,
    only_serves,
    steady_mail,
)
from tests.rollover.tracing import UPDATE, Tally, effect_of, killed_at, trace


def _renewed(lab: Lab) -> Certificate:
    """Renew the lineage that `source` names."""
    return lab.certificate(directory=lab.directory / "lineage")


def _begun(lab: Lab) -> int:
    """Return the number of the last effect that was begun and whose outcome nobody wrote; 0 for none.

    The next look closes it, so that a greater number is a newer one.
    """
    with sqlite3.connect(lab.state_directory / "rollover.db") as database:
        return int(database.execute("SELECT coalesce(max(id), 0) FROM intent WHERE closed IS NULL").fetchone()[0])


@pytest.mark.lab(ttl=2)
def test_a_deploy_killed_at_any_call_loses_nothing(lab: Lab, capfd: pytest.CaptureFixture[str]) -> None:
    """Deploys of new certificates are killed, each a call later: the last one is served alone, nothing deferred.

    The secondary is late meanwhile, so that each new certificate takes the place of the one before it.
    """
    lab.configure(source=[str(lab.directory / "lineage")], retain="1s", drain="1s", check_every="1m")
    lab.rollover("adopt", "mail", check=0)
    with steady_mail(lab, 6):
        lab.secondary.stop_transfers()
        fill_caches(lab)
        new = _renewed(lab)
        found = trace(lab, "deploy", new.fullchain, new.privkey)
        assert found.done.returncode == 0, found.done.stderr
        assert UPDATE in map(effect_of, found.points)
        assert len(lab.primary.tlsa().records) == 2

        tally, begun = Tally.of(found), _begun(lab)
        for number, target in enumerate(tally.targets):
            new = _renewed(lab)
            end = killed_at(lab, [target], found, "deploy", new.fullchain, new.privkey)
            if end.fired is None:
                continue  # with all points: runs differ in the number of their writes
            assert (end.fired, end.code) == (target, -9), end
            tally.fired.append(target)
            assert lab.old.tlsa in lab.primary.tlsa().records
            begun, before = _begun(lab), begun
            if begun > before or number % 8 == 0:
                # An update that was begun counts as under way for ten minutes, unless a tick with the same
                # goal finds out. After other kills the next deploy is run enough: a tick stays for seconds
                # while a secondary is late.
                lab.rollover("advance", "mail")
                assert goal(left_by_advance()) == new.fingerprint, target
                assert new.tlsa in lab.primary.tlsa().records, target
        assert lab.served() == lab.old.spki

        lab.secondary.resume_transfers()
        advance_to(lab, "steady")
    tally.tell("deploy", capfd)
    nothing_deferred(lab)
    only_serves(lab, new)
    for directory in (lab.state_directory / "vault" / "keys", lab.state_directory / "vault" / "chains"):
        assert not list(directory.glob(".new-*"))
