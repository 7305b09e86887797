"""`kill -9` while a certificate is handed over: staged, and its record published."""

from __future__ import annotations

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


@pytest.mark.lab(ttl=2)
def test_a_deploy_killed_at_any_call_loses_nothing(lab: Lab) -> None:
    """Deploys of new certificates are killed, each a call later: the last one is served alone, nothing deferred.

    The secondary is late meanwhile, so that each new certificate takes the place of the one before it.
    """
    lab.configure(source=[str(lab.directory / "lineage")], retain="1s", drain="1s", check_every="1m")
    lab.rollover("adopt", "mail", check=0)
    with steady_mail(lab):
        lab.secondary.stop_transfers()
        fill_caches(lab)
        new = _renewed(lab)
        found = trace(lab, "deploy", new.fullchain, new.privkey)
        assert found.done.returncode == 0, found.done.stderr
        assert UPDATE in map(effect_of, found.points)
        assert len(lab.primary.tlsa().records) == 2

        tally = Tally.of(found)
        for number, target in enumerate(tally.targets):
            new = _renewed(lab)
            end = killed_at(lab, [target], found, "deploy", new.fullchain, new.privkey)
            assert (end.fired, end.code) == (target, -9), end
            tally.fired.append(target)
            assert lab.old.tlsa in lab.primary.tlsa().records
            if number % 4 in {0, 3}:  # of each point one side: the tick alone goes on from there
                lab.rollover("advance", "mail")
                assert goal(left_by_advance()) == new.fingerprint, target
                assert new.tlsa in lab.primary.tlsa().records, target
        assert lab.served() == lab.old.spki

        lab.secondary.resume_transfers()
        advance_to(lab, "steady")
    print(f"deploy: {tally}")
    assert not tally.wanted
    nothing_deferred(lab)
    only_serves(lab, new)
    for directory in (lab.state_directory / "vault" / "keys", lab.state_directory / "vault" / "chains"):
        assert not list(directory.glob(".new-*"))
