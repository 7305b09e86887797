"""Records of somebody else at the owner: never touched, and in the way only where they would defer mail."""

from __future__ import annotations

import shlex

import pytest

from tests.lab import Lab, wait_for
from tests.lab import addresses as at
from tests.lab.certificates import Authority
from tests.rollover.driving import (
    advance_to,
    advance_until,
    fill_caches,
    hand_over,
    left_by_advance,
    nothing_deferred,
    problem,
    served_leaf,
    steady_mail,
    to_the_end,
    told_wait,
)

TTL = 2
SETTINGS = {"check_every": "30s", "retain": "1s", "drain": "1s"}
OTHER_HOST = "3 1 1 " + "ab" * 32
OTHER_SHA512 = "3 1 2 " + "cd" * 64
OTHER_ANCHOR = "2 1 1 " + "ef" * 32


def somebody_adds(lab: Lab, *records: str) -> None:
    """Let somebody else add *records* at the owner; return when both servers have them."""
    lab.primary.update("\n".join(f"update add {at.OWNER} {TTL} TLSA {record}" for record in records))
    wait_for(lambda: set(records) <= set(lab.secondary.tlsa().records), "the foreign records on both servers")


def all_kinds(lab: Lab) -> tuple[str, ...]:
    """Publish records of somebody else of all kinds beside ours, which match; return the whole RRset.

    A `3 1 1` of another host, a `3 1 2` beside one for the served key, the `2 1 1` of its CA.
    """
    records = (OTHER_HOST, OTHER_SHA512, lab.old.record(3, 1, 2), lab.old.record(2, 1, 1))
    somebody_adds(lab, *records)
    return tuple(sorted((lab.old.tlsa, *records)))


def whole_wait(lab: Lab) -> None:
    """Advance to the first look at a complete propagation; the wait that is told in it is not shortened."""
    it = left_by_advance()
    if it["phase"] != "waiting":
        it = advance_to(lab, "waiting", every=0)
    assert told_wait(it) >= 2 * TTL - 1, it


@pytest.mark.lab(ttl=TTL)
def test_records_of_all_kinds_that_are_in_nobodys_way(lab: Lab) -> None:
    """Beside a foreign `3 1 1`, a foreign `3 1 2` and the `2 1 1` of a CA that stays: the new key gets its own `3 1 2`."""
    before = all_kinds(lab)
    lab.configure(**SETTINGS)
    told = lab.rollover("adopt", "mail", check=0).stdout
    for record in (OTHER_HOST, OTHER_SHA512):
        assert f"{record}: matches nothing seen; it stays" in told
    new = lab.certificate()
    with steady_mail(lab):
        assert set(fill_caches(lab)) == {before}
        hand_over(lab, new)
        assert lab.primary.tlsa().records == tuple(sorted((*before, new.tlsa, new.record(3, 1, 2))))
        whole_wait(lab)
        to_the_end(lab)
        assert lab.served() == new.spki
    ours = {lab.old.tlsa, lab.old.record(3, 1, 2)}
    assert set(lab.primary.tlsa().records) == {*before, new.tlsa, new.record(3, 1, 2)} - ours
    nothing_deferred(lab)


@pytest.mark.lab(ttl=TTL)
def test_records_of_all_kinds_of_which_one_is_in_the_way(lab: Lab) -> None:
    """The `2 1 1` of the old CA blocks a certificate of another one, before the install; `adopt --remove` of it alone helps."""
    before = all_kinds(lab)
    anchor = lab.old.record(2, 1, 1)
    lab.configure(**SETTINGS, trust="none")
    lab.rollover("adopt", "mail", check=0)
    new = Authority(lab.directory / "other-ca").issue()
    harbour = {*before, new.tlsa, new.record(3, 1, 2)}
    with steady_mail(lab):
        assert set(fill_caches(lab)) == {before}
        hand_over(lab, new)
        for _ in range(2):
            lab.rollover("advance", check=1)
            it = left_by_advance()
            found = problem(it, "foreign-record")
            assert it["phase"] == "blocked"
            assert anchor in found["message"]
            assert lab.served() == lab.old.spki
            assert set(lab.primary.tlsa().records) == harbour
        _, command, *_ = found["hint"].split("`")
        assert command == f'rollover adopt mail --remove "{anchor}"'
        fill_caches(lab)
        lab.rollover(*shlex.split(command)[1:], check=0)
        assert set(lab.primary.tlsa().records) == harbour - {anchor}
        whole_wait(lab)
        to_the_end(lab)
        assert lab.served() == new.spki
    assert set(lab.primary.tlsa().records) == {OTHER_HOST, OTHER_SHA512, new.tlsa, new.record(3, 1, 2)}
    nothing_deferred(lab)


@pytest.mark.lab(ttl=TTL)
def test_what_the_first_adoption_removes_is_waited_for(lab: Lab) -> None:
    """Caches hold the whole RRset for its TTL: a renewal with the same key that does not match it is no matter of seconds."""
    whole = lab.old.record(3, 0, 1)
    somebody_adds(lab, whole)
    lab.configure(**SETTINGS)
    new = lab.certificate(reuse_key_of=lab.old)
    with steady_mail(lab):
        assert set(fill_caches(lab)) == {tuple(sorted((lab.old.tlsa, whole)))}
        lab.rollover("adopt", "mail", "--remove", whole, check=0)
        assert lab.primary.tlsa().records == (lab.old.tlsa,)
        lab.deploy(new, check=0)
        assert served_leaf(lab) == lab.old.fingerprint
        whole_wait(lab)
        to_the_end(lab)
        assert served_leaf(lab) == new.fingerprint
    assert lab.primary.tlsa().records == (lab.old.tlsa,)
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
    with steady_mail(lab):  # Postfix is content with the `3 1 1`; other senders are not
        fill_caches(lab)
        hand_over(lab, new)
        lab.rollover("advance", check=1)
        assert OTHER_ANCHOR in problem(left_by_advance(), "foreign-record")["message"]
        assert left_by_advance()["phase"] == "blocked"
        assert lab.served() == lab.old.spki
        assert set(lab.primary.tlsa().records) == {OTHER_ANCHOR, lab.old.tlsa, new.tlsa}
        fill_caches(lab)
        lab.rollover("adopt", "mail", "--remove", OTHER_ANCHOR, check=0)
        whole_wait(lab)
        to_the_end(lab)
        assert lab.served() == new.spki
    assert lab.primary.tlsa().records == (new.tlsa,)
    nothing_deferred(lab)


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


@pytest.mark.lab(ttl=TTL)
def test_an_anchor_that_comes_in_the_middle_of_the_wait(lab: Lab) -> None:
    """A `2 1 1` of nobody that somebody adds during the wait holds the install back until it is removed."""
    lab.configure(**SETTINGS)
    lab.rollover("adopt", "mail", check=0)
    new = lab.certificate()
    with steady_mail(lab):
        fill_caches(lab)
        hand_over(lab, new)
        advance_to(lab, "waiting")
        somebody_adds(lab, OTHER_ANCHOR)
        lab.rollover("advance", check=1)
        found = problem(left_by_advance(), "foreign-record")
        assert OTHER_ANCHOR in found["message"]
        assert left_by_advance()["phase"] == "blocked"
        assert lab.served() == lab.old.spki
        fill_caches(lab)
        lab.rollover(*shlex.split(found["hint"].split("`")[1])[1:], check=0)
        assert lab.served() == lab.old.spki, "caches hold the RRset with it yet"
        whole_wait(lab)
        to_the_end(lab)
        assert lab.served() == new.spki
    assert lab.primary.tlsa().records == (new.tlsa,)
    nothing_deferred(lab)
