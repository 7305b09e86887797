"""certbot renews: with a new key, with the wait taken out, with the same key."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests import machine
from tests.lab import Certificate, Lab, wait_for
from tests.lab import addresses as at
from tests.rollover.driving import (
    Service,
    advance_to,
    advance_until,
    alone_in_dns,
    at_the_worst_moment,
    codes,
    fill_caches,
    forget_caches,
    goal,
    history,
    instant,
    nothing_deferred,
    renewing,
    serve_lineage,
    served_leaf,
    service,
    settled_serial,
    steady_mail,
    told_wait,
)

TTL = 20
LAB_OPTIONS = {"ttl": TTL}
REST = 5  # seconds for all but the wait and the propagation, on a machine with time to spare
NOISE = 40  # seconds that a busy one may add; the figures are printed


@pytest.fixture
def host(shared_lab: Lab) -> Lab:
    """A host where certbot's lineage is served and adopted, its hook installed, nothing under way."""
    if service(shared_lab)["phase"] == "unadopted":
        shared_lab.configure(check_every="1m")
        serve_lineage(shared_lab)
        shared_lab.rollover("adopt", "mail", check=0)
        shared_lab.rollover("hook", "install", "certbot", check=0)
    advance_to(shared_lab, "steady")
    forget_caches(shared_lab)
    return shared_lab


def renew_at_the_worst_moment(
    lab: Lab, then: Callable[[], object] = lambda: None
) -> tuple[Certificate, Certificate, float]:
    """Let certbot renew with a new key; return the old and the new certificate, and the seconds to the secondary.

    The senders' caches are filled right before the hook, and shown to hold the old RRset the instant the new
    one is published; *then* is called when both servers have it.
    """
    old = lab.certbot.lineage()
    assert lab.primary.tlsa().records == (old.tlsa,)
    with renewing(lab) as renewal:
        with at_the_worst_moment(lab):
            renewal.let_hooks_run()
            new = lab.certbot.lineage()
            wait_for(lambda: new.tlsa in lab.primary.tlsa().records, "the hook publishes", 90)
            published = time.monotonic()
        wait_for(lambda: new.tlsa in lab.secondary.tlsa().records, "the secondary has it", 90)
        propagation = time.monotonic() - published
        then()
    assert lab.primary.tlsa().records == tuple(sorted((old.tlsa, new.tlsa)))
    return old, new, propagation


def test_a_renewed_certificate_rolls_over_without_one_deferred_message(host: Lab) -> None:
    """The hook hands over a new key: it is published, waited for, installed, proven, and alone at the end."""
    began = len(history(host))
    ticks = machine.ticks()

    with steady_mail(host) as mail:
        old, new, propagation = renew_at_the_worst_moment(host)
        assert host.served() == old.spki, "the hook has returned, and nothing is installed"
        first = advance_until(host, lambda it: it["phase"] == "waiting", every=0)
        looks: list[Service] = []
        advance_until(host, lambda it: it["phase"] == "retaining", seconds=300, each=looks.append)
        assert host.served() == new.spki
        it = advance_to(host, "steady")

    nothing_deferred(host, mail())
    alone_in_dns(host, new)
    assert (it["level"], codes(it), goal(it)) == ("ok", set(), new.fingerprint)
    events = history(host)[began:]
    took = _instant_of(events, "phase", "-> retaining") - _instant_of(events, "deployed")
    wait = told_wait(first)
    rest = took - wait - propagation
    had_time = machine.since(ticks).quiet
    print(
        f"\ndeploy to retaining: {took:.0f} s at TTL {TTL} s: told to wait {wait:.0f} s, propagation {propagation:.1f} s, "
        f"all else {rest:.1f} s{'' if had_time else ', on a busy machine'}; {mail()}"
    )
    assert 2 * TTL <= wait <= 2 * TTL + 1
    over = datetime.fromisoformat(first["next"]["not_before"]) + timedelta(seconds=1)
    assert {it["next"]["not_before"] for it in looks if it["phase"] == "waiting"} <= {first["next"]["not_before"]}
    assert not [it for it in looks if it["phase"] == "waiting" and datetime.fromisoformat(it["seen"]) > over]
    assert rest <= REST + (0 if had_time else NOISE)
    _proven(events, old.fingerprint, new.fingerprint)
    told = host.rollover("history", "mail", check=0).stdout.splitlines()[-1]
    before, after = (events[-1][f"connections_{when}"] for when in ("before", "after"))
    assert told.endswith(
        f"  rollover to {new.fingerprint[:16]} is complete: 2 endpoints proven, "
        f"{before} connections before, {after} after, the old record is gone"
    ), told


@pytest.mark.fault(38)
def test_a_renewal_with_the_same_key_is_installed_without_a_wait(host: Lab) -> None:
    """`certbot renew --reuse-key`: the hook itself installs the certificate, and DNS is not touched."""
    old = host.certbot.lineage()
    assert served_leaf(host) == old.fingerprint
    began = len(history(host))

    with steady_mail(host) as mail:
        with renewing(host, reuse_key=True):
            serial = settled_serial(host)  # certbot's challenge is gone: from here on nobody has to change the zone
            fill_caches(host)
        new = host.certbot.lineage()
        assert served_leaf(host) == new.fingerprint, "the hook has returned, no tick was needed"
        it = advance_to(host, "steady")
        assert served_leaf(host) == new.fingerprint

    nothing_deferred(host, mail())
    assert new.fingerprint != old.fingerprint
    assert new.spki == old.spki
    assert (goal(it), codes(it)) == (new.fingerprint, set())
    assert host.primary.serial(at.DOMAIN) == serial == host.secondary.serial(at.DOMAIN)
    alone_in_dns(host, new)
    events = history(host)[began:]
    assert not {e["kind"] for e in events} & {"published", "withdrawn"}
    assert not [e for e in events if e["kind"] == "phase" and "waiting" in e["text"]]
    took = _instant_of(events, "reloaded") - _instant_of(events, "deployed")
    print(f"\ndeploy to reload with the same key: {took:.0f} s; {mail()}")


def test_with_the_wait_taken_out_mail_is_deferred(host: Lab, tmp_path: Path) -> None:
    """The control: the same tool, the same renewal, but for the rule that waits; then senders' caches defer mail."""
    (tmp_path / "sitecustomize.py").write_text("from rollover.core import machine\nmachine.wait = lambda view: None\n")

    with steady_mail(host) as mail:
        hasty = partial(host.rollover, "advance", "mail", env={"PYTHONPATH": str(tmp_path)})
        _, new, _ = renew_at_the_worst_moment(host, then=hasty)
        assert host.served() == new.spki
        wait_for(lambda: mail().deferred, "mail is deferred", TTL)

    print(f"\nwithout the wait: {mail()}")
    assert mail().other > 0
    assert any("not verified" in reason for reason in mail().reasons), mail().reasons
    host.stop()  # caches hold what must not be relied upon: nobody goes on from here


def _instant_of(events: list[dict[str, Any]], kind: str, text: str = "") -> float:
    return instant(next(e for e in events if e["kind"] == kind and text in e["text"]))


def _proven(events: list[dict[str, Any]], old: str, new: str) -> None:
    """The history ends with one line of evidence, of this rollover."""
    last = events[-1]
    assert last["kind"] == "evidence"
    assert [e["kind"] for e in events].count("evidence") == 1
    assert (last["previous"], last["fingerprint"]) == (old, new)
    assert len(last["endpoints"]) == 2, "with and without SNI"
    assert last["connections_before"] >= 2
    assert last["connections_after"] >= 6, "three rounds"
    assert f"{len(last['endpoints'])} endpoints proven" in last["text"]
