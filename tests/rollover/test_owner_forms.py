"""The owner is a CNAME, or its record comes from a wildcard: managed where it belongs, or refused in words."""

from __future__ import annotations

import re

import pytest

from tests.lab import Lab, wait_for
from tests.lab import addresses as at
from tests.rollover.driving import (
    advance_to_full_wait,
    at_the_worst_moment,
    hand_over,
    left_by_advance,
    nothing_deferred,
    problem,
    steady_mail,
    to_the_end,
)

TTL, CNAME_TTL = 2, 4
SETTINGS = {"check_every": "30s", "retain": "1s", "drain": "1s"}


def adopted(lab: Lab, **changes: object) -> None:
    """Let the tool take over what is served."""
    lab.configure(**SETTINGS | changes)
    lab.rollover("adopt", "mail", check=0)


@pytest.mark.fault(32)
@pytest.mark.parametrize(
    ("owner", "target"),
    [
        pytest.param("cname", at.CNAME_TARGET, marks=pytest.mark.lab(ttl=TTL, owner="cname", cname_ttl=CNAME_TTL)),
        pytest.param(
            "cname-other-zone",
            at.DANE_TARGET,
            marks=pytest.mark.lab(ttl=TTL, owner="cname-other-zone", cname_ttl=CNAME_TTL),
        ),
    ],
)
def test_cname(lab: Lab, owner: str, target: str) -> None:
    """The record is managed at the target of the CNAME, in its zone with its key; the largest TTL is waited for."""
    adopted(lab)
    new = lab.certificate()
    with steady_mail(lab) as mail:
        with at_the_worst_moment(lab, target=target):
            hand_over(lab, new, target=target)
        assert lab.primary.tlsa(target).records == tuple(sorted((lab.old.tlsa, new.tlsa)))
        advance_to_full_wait(lab, CNAME_TTL)  # the TTL of the CNAME is the larger one
        assert lab.served() == lab.old.spki
        to_the_end(lab)
        assert lab.served() == new.spki
    assert lab.primary.tlsa(target).records == (new.tlsa,)
    assert lab.resolver.ask(at.OWNER, "CNAME").rrset.records == (target,), "the CNAME itself is left alone"
    nothing_deferred(lab, mail())


@pytest.mark.fault(32)
@pytest.mark.lab(ttl=TTL, owner="cname-other-zone")
def test_cname_into_a_zone_without_a_grant(lab: Lab) -> None:
    """Without a key of its own for the target's zone it stands still, with the grant that helps."""
    adopted(lab, zone=None)
    new = lab.certificate()
    with steady_mail(lab) as mail:
        done = lab.deploy(new, check=0)
        warning, hint = done.stderr.splitlines()
        assert "update of zone dane.test. refused" in warning
        lab.rollover("advance", check=75)
        found = problem(left_by_advance(), "update-refused")
        assert found["hint"] == hint.removeprefix("rollover: hint: ")
        grant = re.search(r"`(grant [^`]+;)`", found["hint"])
        assert grant is not None
        assert grant[1] == f"grant rollover-key name {at.DANE_TARGET} TLSA;"
        assert lab.served() == lab.old.spki
        assert lab.primary.tlsa(at.DANE_TARGET).records == (lab.old.tlsa,)

        with at_the_worst_moment(lab, target=at.DANE_TARGET):
            lab.primary.reconfigure(dane_update_policy=grant[1])
            advance_to_full_wait(lab, TTL)
        assert lab.served() == lab.old.spki
        to_the_end(lab)
        assert lab.served() == new.spki
    assert lab.primary.tlsa(at.DANE_TARGET).records == (new.tlsa,)
    nothing_deferred(lab, mail())


@pytest.mark.fault(32)
@pytest.mark.lab(ttl=TTL)
def test_a_cname_to_a_zone_elsewhere(lab: Lab) -> None:
    """A CNAME into a zone of which [dns] primary is not the primary blocks, until a [[dns.zone]] names the right one."""
    lab.parent.keys = [lab.tsig_key.path]
    lab.parent.apply()
    ours = {"name": "example.test", "primary": at.PRIMARY}
    theirs = {"name": "dane.test", "primary": at.PRIMARY, "tsig_key": str(lab.dane_key.path)}
    adopted(lab, primary=at.PARENT, zone=[ours])
    new, target = lab.certificate(), at.DANE_TARGET
    lab.primary.update(f"update add {target} {TTL} TLSA {lab.old.tlsa}", at.DANE_DOMAIN)
    wait_for(lambda: lab.secondary.tlsa(target), "the secondary has the target")
    lab.primary.update(f"update delete {at.OWNER}\nupdate add {at.OWNER} {TTL} CNAME {target}")
    lab.resolver.flush(at.OWNER)
    with steady_mail(lab) as mail:
        lab.deploy(new, check=0)
        lab.rollover("advance", check=1)
        it = left_by_advance()
        assert it["phase"] == "blocked"
        found = problem(it, "owner-blocked")
        assert f"leads to {target} in zone dane.test." in found["message"]
        assert "[[dns.zone]]" in found["hint"]
        assert lab.served() == lab.old.spki
        assert lab.primary.tlsa(target).records == (lab.old.tlsa,)

        lab.configure(**SETTINGS, primary=at.PARENT, zone=[ours, theirs])
        with at_the_worst_moment(lab, target=target):
            advance_to_full_wait(lab, TTL)
        assert lab.served() == lab.old.spki
        to_the_end(lab)
        assert lab.served() == new.spki
    assert lab.primary.tlsa(target).records == tuple(sorted((lab.old.tlsa, new.tlsa))), "what it did not add stays"
    nothing_deferred(lab, mail())


@pytest.mark.fault(34)
@pytest.mark.lab(ttl=TTL, owner="wildcard")
def test_wildcard(lab: Lab) -> None:
    """A record from the wildcard right above gets company of its own at the owner; the wildcard stays as it is."""
    adopted(lab)
    new, other = lab.certificate(), f"_587._tcp.{at.HOST}"
    assert lab.primary.tlsa(other).records == (lab.old.tlsa,), "the wildcard answers for every port"
    with steady_mail(lab) as mail:
        with at_the_worst_moment(lab):
            hand_over(lab, new)
        assert lab.primary.tlsa().records == tuple(sorted((lab.old.tlsa, new.tlsa)))
        assert lab.primary.tlsa(other).records == (lab.old.tlsa,)
        advance_to_full_wait(lab, TTL)
        assert lab.served() == lab.old.spki
        to_the_end(lab)
        assert lab.served() == new.spki
    assert lab.primary.tlsa().records == (new.tlsa,)
    assert lab.primary.tlsa(other).records == (lab.old.tlsa,), "never touched"
    nothing_deferred(lab, mail())


@pytest.mark.fault(34)
@pytest.mark.lab(ttl=TTL)
def test_a_wildcard_high_above(lab: Lab) -> None:
    """Where an explicit record would hide the wildcard from other names it says so, until a person has made one."""
    wildcard, other = f"*.{at.HOST}", f"_587._tcp.{at.HOST}"
    lab.primary.update(f"update delete {at.OWNER}\nupdate add {wildcard} {TTL} TLSA {lab.old.tlsa}")
    lab.resolver.flush(at.HOST)
    adopted(lab)
    new = lab.certificate()
    with steady_mail(lab) as mail:
        lab.deploy(new, check=0)
        lab.rollover("advance", check=1)
        it = left_by_advance()
        assert it["phase"] == "blocked"
        found = problem(it, "wildcard-shadow")
        assert wildcard in found["message"]
        assert "by hand first" in found["hint"]
        assert lab.primary.tlsa(other).records == (lab.old.tlsa,), "still there for others"
        assert lab.served() == lab.old.spki

        lab.primary.update(f"update add {at.OWNER} {TTL} TLSA {lab.old.tlsa}")
        with at_the_worst_moment(lab):
            advance_to_full_wait(lab, TTL)
        assert lab.served() == lab.old.spki
        to_the_end(lab)
        assert lab.served() == new.spki
    assert new.tlsa in lab.primary.tlsa().records
    assert lab.primary.tlsa(wildcard).records == (lab.old.tlsa,), "never touched"
    nothing_deferred(lab, mail())
