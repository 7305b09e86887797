"""Several hooks and ticks at once: one outcome, and no error that needs a person."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from subprocess import CompletedProcess

import pytest

from tests.lab import Lab
from tests.rollover.driving import (
    advance_to,
    advance_until,
    at_the_worst_moment,
    history,
    nothing_deferred,
    only_serves,
    service,
    settled_serial,
    steady_mail,
    tick,
)

TTL = 2


def at_once(lab: Lab, *commands: tuple[str, ...]) -> list[CompletedProcess[str]]:
    """Run commands of the tool at the same time; return how they ended."""
    with ThreadPoolExecutor(len(commands)) as pool:
        return list(pool.map(lambda words: lab.rollover(*words), commands))


def adopted(lab: Lab) -> None:
    """Let the tool take over, with short spans."""
    lab.configure(check_every="30s", retain="2s", drain="1s", verify_timeout="5s")
    lab.rollover("adopt", "mail", check=0)


@pytest.mark.fault(64)
@pytest.mark.lab(ttl=TTL)
def test_two_hooks_and_an_advance_at_once(lab: Lab) -> None:
    """Two different certificates and a tick at the same moment: nobody fails, the one handed over last wins in the end."""
    adopted(lab)
    one, two = lab.certificate(), lab.certificate()
    with steady_mail(lab) as mail:
        with at_the_worst_moment(lab):
            ended = at_once(
                lab,
                ("deploy", str(one.fullchain), str(one.privkey)),
                ("deploy", str(two.fullchain), str(two.privkey)),
                ("advance",),
            )
            advance_until(lab, lambda _: len(lab.primary.tlsa().records) > 1, every=0)
        for done in ended:
            assert done.returncode in {0, 75}, done.stderr
            assert "bug" not in done.stderr
        assert [done.returncode for done in ended[:2]] == [0, 0]
        order = [e["fingerprint"] for e in _deployed(lab)]
        advance_to(lab, "steady")
    order = [e["fingerprint"] for e in _deployed(lab)] or order
    assert sorted(order) == sorted((one.fingerprint, two.fingerprint)), "each was taken exactly once"
    only_serves(lab, one if order[-1] == one.fingerprint else two)
    nothing_deferred(lab, mail())


def _deployed(lab: Lab) -> list[dict[str, str]]:
    return [e for e in history(lab) if e["kind"] == "deployed"]


@pytest.mark.fault(64)
@pytest.mark.lab(ttl=TTL)
def test_the_same_hook_many_times_at_once(lab: Lab) -> None:
    """A hook that fires ten times at once, a tick beside them, is one renewal; fired again it changes nothing."""
    adopted(lab)
    new = lab.certificate()
    words = ("deploy", str(new.fullchain), str(new.privkey))
    with steady_mail(lab, least=1) as mail:  # eleven processes at once hold up the load generator too
        with at_the_worst_moment(lab):
            *hooks, ticked = at_once(lab, *[words] * 10, ("advance", "mail"))
            for done in hooks:
                assert done.returncode == 0, done.stderr
            assert ticked.returncode in {0, 75}, ticked.stderr
            assert "error" not in ticked.stderr, ticked.stderr
            assert len(_deployed(lab)) <= 1, "taken once"
            advance_until(lab, lambda _: new.tlsa in lab.primary.tlsa().records, every=0)
        advance_to(lab, "steady")
        serial = settled_serial(lab)
        again = lab.rollover(*words, check=0)
        assert "is known" in again.stdout
        tick(lab)
        assert lab.primary.serial() == lab.secondary.serial() == serial
    assert len(_deployed(lab)) == 1
    published = [e for e in history(lab) if e["kind"] == "published"]
    assert len(published) == 1, published
    only_serves(lab, new)
    nothing_deferred(lab, mail())


@pytest.mark.lab(ttl=TTL, senders=False)
def test_orders_of_a_person_beside_ticks(lab: Lab) -> None:
    """Ticks, status, a pause and a rollback at the same moment: each ends well, and the rollback holds."""
    adopted(lab)
    new = lab.certificate()
    lab.deploy(new, check=0)
    advance_to(lab, "retaining")
    ended = at_once(lab, ("advance",), ("status",), ("rollback", "mail"), ("advance", "mail"), ("status", "--fresh"))
    assert ended[2].returncode == 0, ended[2].stderr
    for done in ended:
        assert done.returncode in {0, 1, 2, 75}, done.stderr
        assert "error" not in done.stderr, done.stderr
    advance_to(lab, "steady")
    assert lab.served() == lab.old.spki
    assert service(lab)["level"] == "ok"
