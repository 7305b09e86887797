"""Records of somebody else at the owner: never touched, and in the way only where they would defer mail."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.lab import Lab, wait_for
from tests.lab import addresses as at
from tests.lab.certificates import Authority
from tests.rollover.driving import (
    advance_to,
    advance_until,
    fill_caches,
    left_by_advance,
    nothing_deferred,
    problem,
    steady_mail,
    to_the_end,
)

TTL = 2
SETTINGS = {"check_every": "30s", "retain": "1s", "drain": "1s"}
OTHER_HOST = "3 1 1 " + "ab" * 32
OTHER_SHA512 = "3 1 2 " + "cd" * 64
OTHER_ANCHOR = "2 1 1 " + "ef" * 32


@pytest.mark.lab(ttl=TTL, foreign=(OTHER_HOST,))
def test_another_host_and_another_digest(lab: Lab) -> None:
    """Beside a foreign `3 1 1` nothing changes; beside a foreign `3 1 2` the new key gets a `3 1 2` of its own."""
    mine = [lab.old.tlsa, lab.old.record(3, 1, 2)]
    lab.primary.update("\n".join(f"update add {at.OWNER} {TTL} TLSA {r}" for r in (mine[1], OTHER_SHA512)))
    before = tuple(sorted((*mine, OTHER_HOST, OTHER_SHA512)))
    wait_for(lambda: lab.secondary.tlsa().records == before, "four records on both servers")
    lab.configure(**SETTINGS)
    told = lab.rollover("adopt", "mail", check=0).stdout
    for record in (OTHER_HOST, OTHER_SHA512):
        assert f"{record}: matches nothing seen; it stays" in told
    new = lab.certificate()
    with steady_mail(lab):
        assert set(fill_caches(lab)) == {before}
        lab.deploy(new, check=0)
        assert lab.primary.tlsa().records == tuple(sorted((*before, new.tlsa, new.record(3, 1, 2))))
        to_the_end(lab)
        assert lab.served() == new.spki
    assert lab.primary.tlsa().records == tuple(sorted((OTHER_HOST, OTHER_SHA512, new.tlsa, new.record(3, 1, 2))))
    nothing_deferred(lab)


@pytest.mark.lab(ttl=TTL)
def test_an_anchor_that_the_new_chain_lacks(lab: Lab) -> None:
    """A `2 1 1` of the old CA blocks a certificate of another one, before the install; `adopt --remove` helps."""
    anchor = lab.old.record(2, 1, 1)
    lab.primary.update(f"update add {at.OWNER} {TTL} TLSA {anchor}")
    wait_for(lambda: anchor in lab.secondary.tlsa().records, "the anchor's record on both servers")
    lab.configure(**SETTINGS, trust="none")
    lab.rollover("adopt", "mail", check=0)
    new = Authority(lab.directory / "other-ca").issue()
    with steady_mail(lab):
        fill_caches(lab)
        lab.deploy(new, check=0)
        for _ in range(2):
            lab.rollover("advance", check=1)
            it = left_by_advance()
            found = problem(it, "foreign-record")
            assert it["phase"] == "blocked"
            assert anchor in found["message"]
            assert lab.served() == lab.old.spki
            assert lab.primary.tlsa().records == tuple(sorted((anchor, lab.old.tlsa, new.tlsa)))
        _, command, *_ = found["hint"].split("`")
        assert command == f'rollover adopt mail --remove "{anchor}"'
        fill_caches(lab)
        lab.rollover(*shlex.split(command)[1:], check=0)
        assert lab.primary.tlsa().records == tuple(sorted((lab.old.tlsa, new.tlsa)))
        to_the_end(lab)
        assert lab.served() == new.spki
    assert lab.primary.tlsa().records == (new.tlsa,)
    nothing_deferred(lab)


@pytest.mark.lab(ttl=TTL, foreign=(OTHER_ANCHOR,))
def test_an_anchor_of_nobody(lab: Lab) -> None:
    """A `2 1 1` that nothing served matches is told as critical from the start, and never touched unasked."""
    lab.configure(**SETTINGS)
    lab.rollover("adopt", "mail", check=0)
    found = problem(left_by_advance(), "mail-deferred")
    assert OTHER_ANCHOR[:22] in found["message"]
    assert f'`rollover adopt mail --remove "{OTHER_ANCHOR}"`' in found["hint"]
    new = lab.certificate()
    lab.deploy(new, check=0)
    lab.rollover("advance", check=1)
    assert OTHER_ANCHOR in problem(left_by_advance(), "foreign-record")["message"]
    assert lab.served() == lab.old.spki
    assert OTHER_ANCHOR in lab.primary.tlsa().records
    assert lab.old.tlsa in lab.primary.tlsa().records
    lab.rollover("adopt", "mail", "--remove", OTHER_ANCHOR, check=0)
    to_the_end(lab)
    assert lab.served() == new.spki
    assert lab.primary.tlsa().records == (new.tlsa,)


def somebody_adds(lab: Lab, record: str) -> None:
    """Let somebody else add *record* at the owner; return when both servers have it."""
    lab.primary.update(f"update add {at.OWNER} {TTL} TLSA {record}")
    wait_for(lambda: record in lab.secondary.tlsa().records, "the foreign record on both servers")


@contextmanager
def mail_that_flows(lab: Lab) -> Iterator[None]:
    """Keep mail flowing within the block; assert that none was deferred, and that the flow never stood still.

    Five a second are asked of every three seconds that follow each other, not of each one: a reload of
    Postfix, also without the tool, now and then holds mail back for a second, and the next one makes up for it.
    """
    with steady_mail(lab) as mail:
        begin = lab.mail.mark()
        yield
        end = lab.mail.mark()
    nothing_deferred(lab, mail())
    counts = lab.mail.per_second()
    flow = [counts.get(second, 0) for second in range(begin.second + 1, end.second)]
    assert len(flow) >= 3
    assert min(map(sum, zip(flow, flow[1:], flow[2:], strict=False))) >= 3 * 5, flow


@pytest.mark.lab(ttl=TTL, senders=False)
def test_what_is_served_is_protected_beside_another_digest(lab: Lab) -> None:
    """A foreign `3 1 2` that appears beside our `3 1 1`: one tick gives the served key its own `3 1 2`, and says why."""
    lab.configure(**SETTINGS)
    lab.rollover("adopt", "mail", check=0)
    somebody_adds(lab, OTHER_SHA512)
    lab.rollover("advance", "mail")
    protected = tuple(sorted((lab.old.tlsa, lab.old.record(3, 1, 2), OTHER_SHA512)))
    assert lab.primary.tlsa().records == protected
    assert problem(left_by_advance(), "caches-stale")["level"] == "critical", "caches may hold what was there"
    it = advance_until(lab, lambda it: it["phase"] == "steady" and not it["problems"])
    assert it["level"] == "ok"
    assert lab.primary.tlsa().records == protected


@pytest.mark.lab(ttl=TTL, foreign=(OTHER_HOST,))
def test_an_anchor_that_the_new_chain_has_too(lab: Lab) -> None:
    """A `2 1 1` of the CA that issues the new certificate too is in nobody's way, and stays."""
    anchor = lab.old.record(2, 1, 1)
    somebody_adds(lab, anchor)
    lab.configure(**SETTINGS)
    lab.rollover("adopt", "mail", check=0)
    new = lab.certificate()
    with mail_that_flows(lab):
        fill_caches(lab)
        lab.deploy(new, check=0)
        to_the_end(lab)
        assert lab.served() == new.spki
    assert lab.primary.tlsa().records == tuple(sorted((anchor, OTHER_HOST, new.tlsa)))


@pytest.mark.lab(ttl=TTL)
def test_an_anchor_that_comes_in_the_middle_of_the_wait(lab: Lab) -> None:
    """A `2 1 1` of nobody that somebody adds during the wait holds the install back until it is removed."""
    lab.configure(**SETTINGS)
    lab.rollover("adopt", "mail", check=0)
    new = lab.certificate()
    with mail_that_flows(lab):
        fill_caches(lab)
        lab.deploy(new, check=0)
        advance_to(lab, "waiting")
        somebody_adds(lab, OTHER_ANCHOR)
        lab.rollover("advance", check=1)
        found = problem(left_by_advance(), "foreign-record")
        assert OTHER_ANCHOR in found["message"]
        assert lab.served() == lab.old.spki
        fill_caches(lab)
        lab.rollover(*shlex.split(found["hint"].split("`")[1])[1:], check=0)
        assert lab.served() == lab.old.spki, "caches hold the RRset with it yet"
        to_the_end(lab)
        assert lab.served() == new.spki
    assert lab.primary.tlsa().records == (new.tlsa,)
