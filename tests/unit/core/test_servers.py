"""ALL servers, never any: whether a sighting is complete, and who holds things back."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from rollover.core.servers import answered, badly_signed, incomplete, lacking, serial_older
from rollover.core.sighting import OwnerSighting, ServerAnswer, Signature
from tests.unit.core.worlds import NOW, chain, owner, r, server

EARLIER, LATER = NOW.wall - timedelta(hours=1), NOW.wall
FIRST = server("A", "ns1", primary=True)
CNAME = ServerAnswer("ns1", "example.net.", primary=True, public=True, reached=True, cname="t.example.org.", serial=7)


@pytest.mark.parametrize(
    ("a", "b", "older"),
    [
        (1, 2, True),
        (2, 1, False),
        (5, 5, False),
        (0xFFFFFFFF, 0, True),
        (0, 0xFFFFFFFF, False),
        (0, 0x7FFFFFFF, True),
        (0, 0x80000000, False),
    ],
)
def test_serials_are_compared_in_sequence_space(a: int, b: int, *, older: bool) -> None:
    """A serial that wrapped around is newer (RFC 1982 §3.2)."""
    assert serial_older(a, b) is older


COMPLETE = {
    "primary and secondary alike": owner("A"),
    "a secondary that is ahead": owner("A", server("A", serial=2)),
    "a secondary with the same copy and another RRset": owner("A", server("A B")),
    "an empty RRset is an answer": owner(""),
    "a newer signature where a serial is missing": owner(
        replace(FIRST, serial=None, inception=EARLIER), server("A", serial=1, inception=LATER)
    ),
    "the same signature where a serial is missing": owner(
        replace(FIRST, serial=None, inception=LATER), server("A", serial=1, inception=LATER)
    ),
    "the same serial, signed earlier": owner(replace(FIRST, inception=LATER), server("A", inception=EARLIER)),
    "all servers on the way say the same CNAME": owner(
        FIRST, server("A"), CNAME, replace(CNAME, server="ns8", primary=False)
    ),
}
INCOMPLETE = {
    "a dead secondary": (owner("A", None), "ns2", "server-unreachable"),
    "a dead primary": (owner(None, "A"), "ns1", "primary-unreachable"),
    "a secondary with an older serial": (owner("A", server("A", serial=0)), "ns2", "secondary-stale"),
    "a third one that is behind": (owner("A", "A", server("A", "ns3", serial=0)), "ns3", "secondary-stale"),
    "an older signature where a serial is missing": (
        owner(replace(FIRST, serial=None, inception=LATER), server("A", serial=1, inception=EARLIER)),
        "ns2",
        "secondary-stale",
    ),
    "a serial is missing, and one signature": (
        owner(replace(FIRST, serial=None, inception=EARLIER), server("A", serial=1)),
        "ns2",
        "secondary-stale",
    ),
    "another RRset behind a signer, with the newest signature": (
        owner(FIRST, server("B", inception=LATER), server("A", "ns3", inception=LATER)),
        "ns2",
        "secondary-stale",
    ),
    "no signature behind a signer": (
        owner(FIRST, server("A"), server("A", "ns3", inception=LATER)),
        "ns2",
        "secondary-stale",
    ),
    "nothing to compare": (owner(replace(FIRST, serial=None), server("A")), "ns2", "secondary-stale"),
    "one that says nothing of the owner": (owner("A", replace(server("A"), rrset=None)), "ns2", "server-unreachable"),
    "a CNAME to elsewhere, with the same serial": (
        owner(FIRST, server("A"), CNAME, replace(CNAME, server="ns8", primary=False, cname="old.example.org.")),
        "ns8",
        "secondary-stale",
    ),
    "records where the primary has a CNAME": (
        owner(FIRST, server("A"), CNAME, replace(CNAME, server="ns8", primary=False, cname="", rrset=r("A"))),
        "ns8",
        "secondary-stale",
    ),
    "two servers of a foreign zone that disagree": (
        owner(
            FIRST,
            server("A"),
            replace(CNAME, server="ns7", primary=False),
            replace(CNAME, server="ns8", primary=False, cname="old.example.org."),
        ),
        "ns8",
        "secondary-stale",
    ),
}


@pytest.mark.parametrize("seen", COMPLETE.values(), ids=COMPLETE)
def test_a_sighting_is_complete(seen: OwnerSighting) -> None:
    """Complete: every server was reached and none is older than the primary."""
    assert incomplete(seen) == ()


@pytest.mark.parametrize(("seen", "name", "code"), INCOMPLETE.values(), ids=INCOMPLETE)
def test_a_server_makes_a_sighting_incomplete(seen: OwnerSighting, name: str, code: str) -> None:
    """One server that is away, behind, or leads elsewhere is named, with the code that status prints."""
    (late,) = incomplete(seen)

    assert (late.server, late.code) == (name, code)
    assert late.reason


def test_a_server_behind_is_told_with_both_serials() -> None:
    """Whoever reads it at night sees how far behind the server is."""
    (late,) = incomplete(owner(server("A", "ns1", primary=True, serial=12), server("A", serial=9)))

    assert late.reason == "has serial 9, the primary 12"
    (signed,) = incomplete(owner(FIRST, server("A"), server("A", "ns3", inception=LATER)))
    assert signed.reason == "has an older copy than the primary or another server"
    (mute,) = incomplete(owner("A", replace(server("A"), rrset=None)))
    assert mute.reason == "gave no answer"


def test_where_a_server_leads_is_told_for_each_zone_on_the_way() -> None:
    """By the names it gives, all of them; and that it gives none where others have an alias."""
    second = replace(CNAME, server="ns8", primary=False)
    further = replace(CNAME, server="ns1", zone="example.com.", cname="a.example.com.")

    def told(*answers: ServerAnswer) -> list[tuple[str, str]]:
        return [(x.server, x.reason) for x in incomplete(owner(FIRST, server("A"), *answers))]

    assert told(CNAME, replace(second, cname="old.example.org.")) == [("ns8", "leads to old.example.org.")]
    assert told(CNAME, replace(second, cname="", rrset=r("A"))) == [("ns8", "leads to no other name")]
    twice = [replace(x, cname="u.example.net.") for x in (CNAME, second)]
    assert told(*twice, CNAME, replace(second, cname="v.example.org.")) == [
        ("ns8", "leads to u.example.net. and v.example.org.")
    ]
    elsewhere = [further, replace(further, server="ns9", primary=False, cname="b.example.com.")]
    assert told(CNAME, replace(second, cname="old.example.org."), *elsewhere) == [
        ("ns8", "leads to old.example.org."),
        ("ns9", "leads to b.example.com."),
    ]


@pytest.mark.parametrize("answer", [server(None), replace(server("A"), rrset=None)], ids=["away", "says nothing"])
def test_what_is_no_answer(answer: ServerAnswer) -> None:
    """A server that was not reached, or gave neither records nor a CNAME, has not answered."""
    assert not answered(answer)


def test_a_ttl_that_nobody_gave_is_none() -> None:
    """What was not answered has no seconds in which anybody could hold it."""
    assert (CNAME.ttl, CNAME.own_ttl, owner("A").ns_ttl) == (0, 0, 0)


def test_an_alias_and_an_empty_rrset_are_answers() -> None:
    """A CNAME, or the word that there is nothing, is an answer."""
    assert answered(CNAME)
    assert answered(server(""))


LACKING = {
    "has all that is wanted": (owner("A B"), "A B", []),
    "a secondary without the new record": (owner("A B", "A"), "B", ["ns2"]),
    "every server without it": (owner("A", "A"), "B", ["ns1", "ns2"]),
    "the new record beside a combination that does not match": (owner("A B", "A B A:312"), "B", ["ns2"]),
    "one that was not reached is not said to lack it": (owner("A B", None), "B", []),
}


@pytest.mark.parametrize(("seen", "wanted", "names"), LACKING.values(), ids=LACKING)
def test_who_lacks_what_a_certificate_needs(seen: OwnerSighting, wanted: str, names: list[str]) -> None:
    """Every server has to have the records, and an RRset that is valid for the chain."""
    assert [x.server for x in lacking(seen, r(wanted), chain("B"))] == names


def test_what_a_server_lacks_is_told() -> None:
    """A record that is not there yet, or an RRset from before in another combination."""
    (late,) = lacking(owner("A B", "A"), r("B"), chain("B"))
    (old,) = lacking(owner("B", "B A:312"), r("B A:312") - r("A:312"), chain("B"))
    (whole,) = lacking(owner("B", "B A:312"), r("B A:312"), chain("B"))[1:]

    assert (late.server, late.reason) == ("ns2", "lacks the new record")
    assert (old.server, old.reason) == (whole.server, whole.reason) == ("ns2", "has an older RRset")


@pytest.mark.parametrize("signature", [Signature.MISSING, Signature.EXPIRED, Signature.BOGUS])
def test_a_public_server_with_a_bad_signature_is_named(signature: Signature) -> None:
    """What validating senders take for bogus is as good as no answer."""
    (late,) = badly_signed(owner("A", server("A", signature=signature)))

    assert (late.server, late.code) == ("ns2", "signature-bad")
    assert signature.value in late.reason


def test_signatures_count_only_where_the_public_asks() -> None:
    """A hidden primary that does not sign, and a server that was not reached, are nobody's bad signature."""
    hidden = replace(server("A", "ns1", primary=True, signature=Signature.MISSING), public=False)

    assert badly_signed(owner(hidden, "A")) == ()
    assert badly_signed(owner("A", None)) == ()
    assert badly_signed(owner("A", server("A", signature=Signature.UNCHECKED))) == ()
