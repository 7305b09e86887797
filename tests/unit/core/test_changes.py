"""Which records are added and removed at one owner, and the gate of every update (protocol.md, Deciding)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from rollover.core.changes import (
    FIRST_TTL,
    protecting,
    publishing,
    safe,
    shadowing,
    switched_off,
    withdrawing,
    withdrawing_revoked,
)
from rollover.core.model import State
from rollover.core.sighting import OwnerSighting, Sighting
from rollover.core.steps import OwnerChange, Phase, Rest, Update
from rollover.core.tlsa import RRset, valid
from rollover.core.view import View
from tests.unit.core.worlds import (
    HOST,
    OWNER,
    SERVICE,
    TTL,
    at,
    chain,
    decided,
    end,
    fp,
    look,
    owner,
    past,
    r,
    server,
    world,
)

OTHER = "_25._tcp.mx2.example.org."
TWO = replace(SERVICE, hosts=(HOST, "mx2.example.org"))
COMBINATIONS = replace(SERVICE, records=((3, 1, 1), (3, 1, 2)))


def view(seen: Sighting, **it: Any) -> View:
    """Return a view of a world that is told by the words of world()."""
    return View(world(**it), seen)


def only(found: View) -> OwnerSighting:
    """Return the one owner of a view."""
    return found.seen.owners[0]


def plan(kind: Any, seen: Sighting, **it: Any) -> OwnerChange | None:
    """Return the change of one *kind* at the first owner."""
    found = view(seen, **it)
    return kind(found, only(found))


def added(kind: Any, seen: Sighting, **it: Any) -> RRset | None:
    """Return what a change adds, None without one."""
    change = plan(kind, seen, **it)
    return None if change is None else change.add


# ----------------------------------------------------------------------------------- protect

PROTECTED = {
    "what is presented and matched needs nothing": (look("A"), None),
    "what is presented and not matched is added": (look("B", "A"), "A"),
    "what a restart would present is added": (look("A", "A", "B"), "B"),
    "both of two that are presented": (look("C", "A B"), "A B"),
    "only in the combinations that are there †": (look("B:312", "A"), "A:312"),
    "in each of the combinations that are there": (look("B B:312", "A"), "A A:312"),
    "beside one's own half: the other half": (look("A B:312", "A"), "A:312"),
    "beside a usage-2 record that does not match: its own 3 1 1": (look("B", "A"), "A"),
    "an empty RRset defers nobody": (look("", "A"), None),
    "unusable records defer nobody": (look("A:111", "A"), None),
    "a key that the vault does not hold is not published": (look("A", "X"), None),
    "an unknown live file is not published": (look("A", "A", "X"), None),
}


@pytest.mark.parametrize(("seen", "words"), PROTECTED.values(), ids=PROTECTED)
def test_what_protects_what_is_presented(seen: Sighting, words: str | None) -> None:
    """1. Add what makes R valid for what is presentable, in R's combinations only, for keys of the vault only."""
    assert added(protecting, seen) == (None if words is None else r(words))


def test_protection_does_not_bring_in_the_configured_combinations() -> None:
    """A combination that is new here would have to be there for everybody: protection adds none †."""
    assert added(protecting, look("B", "A"), service=COMBINATIONS) == r("A")


def test_protection_removes_nothing_and_keeps_the_ttl() -> None:
    """Records go in one by one, and the RRset keeps its TTL."""
    change = plan(protecting, look(owner(server("B", "ns1", primary=True, ttl=77)), "A"))

    assert change == OwnerChange(OWNER, OWNER, "example.org.", r("B"), "", r("A"), r(""), 77)
    assert change.result == r("A B")


@pytest.mark.fault(39)
def test_a_revoked_key_is_never_published() -> None:
    """A revoked key that is presented is critical and publishes nothing."""
    assert added(protecting, look("A", "B"), states={"B": State.REVOKED}) is None
    assert added(protecting, look("A", "B"), states={"B": State.RETIRED}) == r("B")


def test_a_key_is_revoked_with_every_certificate_for_it() -> None:
    """Revoked is by key: another certificate with it does not make it known again."""
    states = {"B": State.REVOKED, "B2=B": State.RETIRED}

    assert added(protecting, look("A", "B2=B"), states=states, vault="A B B2=B") is None


def test_without_the_primary_nothing_is_planned() -> None:
    """What the primary serves is what an update is computed from."""
    seen = look(owner(None, "B"), "A")

    assert [plan(k, seen, goal="C") for k in (protecting, publishing, withdrawing)] == [None, None, None]


def test_a_blocked_owner_is_left_alone() -> None:
    """A CNAME loop, or a zone without a key, is for a person."""
    seen = look(owner("B", blocked="CNAME loop"), "A")

    assert [plan(k, seen, goal="C") for k in (protecting, publishing, withdrawing)] == [None, None, None]


def test_without_sni_an_address_shows_one_chain_for_all_its_names() -> None:
    """A sender that does not send SNI sees it whatever name it came for, so it is protected at each owner."""
    shows = [end("A"), end("B", sni=False), end("A", host="mx2.example.org")]
    found = view(look([owner("A"), owner("A", name=OTHER)], shows), service=TWO)

    assert [change.add for o in found.seen.owners if (change := protecting(found, o))] == [r("B"), r("B")]


# ----------------------------------------------------------------------------------- publish

PUBLISHED = {
    "the goal is there": (look("A B"), "B", None),
    "the goal is not there": (look("A"), "B", "B"),
    "a certificate with the same key needs nothing": (look("A"), "A2=A", None),
    "beside somebody's 3 1 2 a new key needs its own †": (look("A A:312"), "B", "B B:312"),
    "beside somebody's 2 1 1 it needs none of that": (look("A A:211"), "B", "B"),
    "beside unusable records": (look("A A:111"), "B", "B"),
    "over nothing, with what is served": (look("", "A"), "B", "A B"),
    "over nothing, what is served is the goal": (look("", "A"), "A", "A"),
}


@pytest.mark.parametrize(("seen", "goal", "words"), PUBLISHED.values(), ids=PUBLISHED)
def test_what_the_goal_needs(seen: Sighting, goal: str, words: str | None) -> None:
    """2. needed(goal), foreign combinations included; over nothing, what is served too."""
    it = {"goal": goal, "vault": "A B A2=A", "dane_on": frozenset[str]()}
    assert added(publishing, seen, **it) == (None if words is None else r(words))


def test_a_configured_combination_that_is_new_comes_for_everything_that_is_presented() -> None:
    """In a new combination what is served needs its record in the same update (RFC 7671 §8.3)."""
    assert added(publishing, look("A"), goal="B", service=COMBINATIONS) == r("A:312 B B:312")


def test_a_new_combination_comes_for_another_service_here_too() -> None:
    """Its chain is valid now, and has to stay so."""
    it: dict[str, Any] = {"others": {OWNER: ["E"]}, "service": COMBINATIONS}

    assert added(publishing, look("A E"), **it) == r("A:312 E:312")


def test_an_owner_where_dane_was_switched_off_is_not_refilled() -> None:
    """R entirely empty, once it was seen non-empty with a credential active: neither 1 nor 2 refills it."""
    seen = look("", "A")

    assert added(publishing, seen, goal="A") is None
    assert added(protecting, seen, goal="A") is None
    assert added(publishing, seen, goal="A", refill=frozenset({OWNER})) == r("A")


def test_names_that_share_a_target_are_switched_off_together() -> None:
    """A host that was added later must not refill what was emptied at their common target."""
    shared = [owner("", target="t.example.org."), owner("", name=OTHER, target="t.example.org.")]
    found = view(look(shared), service=TWO, dane_on=frozenset({OWNER}))

    assert [switched_off(found, o) for o in shared] == [True, True]
    assert [publishing(found, o) for o in shared] == [None, None]
    apart = view(look([owner(""), owner("", name=OTHER)]), service=TWO, dane_on=frozenset({OWNER}))
    assert [switched_off(apart, o) for o in apart.seen.owners] == [True, False]


def test_the_ttl_is_kept_or_the_configured_one() -> None:
    """The TTL that is there stays; 1 h for a first record; a configured one is enforced."""
    seen = look(owner(server("A", "ns1", primary=True, ttl=77)))
    empty = look("", "A")

    def ttl(seen: Sighting, **it: Any) -> int:
        change = plan(publishing, seen, goal="B", dane_on=frozenset(), **it)
        assert change is not None
        return change.ttl

    assert ttl(seen) == 77
    assert ttl(empty) == FIRST_TTL == 3600
    assert ttl(empty, ledger=[past("A", -50, ttl=300), past("A B", -90, ttl=60)]) == 300, "what was there comes back"
    assert ttl(seen, service=replace(SERVICE, ttl=600)) == 600
    assert ttl(empty, service=replace(SERVICE, ttl=600)) == 600


def test_a_ttl_that_is_not_the_configured_one_is_changed_by_adding_a_record_again() -> None:
    """The last TTL is the RRset's; the records stay the same."""
    change = plan(publishing, look("A B"), goal="B", service=replace(SERVICE, ttl=600))

    assert change is not None
    assert (len(change.add), change.add <= r("A B"), change.delete) == (1, True, r(""))
    assert (change.ttl, change.result) == (600, r("A B"))
    assert plan(publishing, look("A B"), goal="B", service=replace(SERVICE, ttl=TTL)) is None


def test_the_ttl_of_a_wildcard_is_not_ours_to_change() -> None:
    """An explicit RRset for the sake of a TTL would hide the wildcard for nothing."""
    first = server("A", "ns1", primary=True, wildcard="*._tcp.mail.example.org.")

    assert plan(publishing, look(owner(first)), service=replace(SERVICE, ttl=600)) is None


# ------------------------------------------------------------------------ wildcards and CNAMEs


def test_a_wildcard_that_matches_is_left_alone() -> None:
    """Nothing is to be published: nobody is told of what an explicit record would hide."""
    step = decided(world(), look(wildcard("A", "*.example.org.")))

    assert isinstance(step, Rest)
    assert step.phase is Phase.STEADY


def wildcard(words: str, above: str = "*._tcp.mail.example.org.") -> OwnerSighting:
    """Return an owner whose records come from a wildcard."""
    return owner(server(words, "ns1", primary=True, wildcard=above))


def test_the_first_explicit_record_under_a_wildcard_carries_what_the_wildcard_gave() -> None:
    """It shadows the wildcard at once: what is served must not be lost with it."""
    change = plan(publishing, look(wildcard("A X:312")), goal="B", managed="")

    assert change is not None
    assert change.wildcard == "*._tcp.mail.example.org."
    assert change.add == change.result == r("A X:312 B B:312")
    assert change.delete == r("")


def test_nothing_is_withdrawn_from_a_wildcard() -> None:
    """The wildcard's records are not at the owner."""
    assert plan(withdrawing, look(wildcard("A B"), "B", "B"), goal="B", active="B") is None


SHADOWS = {
    "right above the owner: only this name is covered": ("*._tcp.mail.example.org.", False),
    "above the host: its other names begin to exist": ("*.mail.example.org.", True),
    "above all hosts": ("*.example.org.", True),
    "written with capitals": ("*._TCP.mail.example.org.", False),
    "no wildcard": ("", False),
}


@pytest.mark.parametrize(("above", "hides"), SHADOWS.values(), ids=SHADOWS)
def test_what_an_explicit_record_would_hide(above: str, *, hides: bool) -> None:
    """Only a wildcard right above the owner can be shadowed without touching a sibling (RFC 4592 §2.2.2)."""
    assert shadowing(wildcard("A", above)) is hides


def test_a_record_that_would_hide_a_wildcard_from_others_is_neither_published_nor_added_for_protection() -> None:
    """No record of another's is ever changed; a person is told."""
    high = wildcard("A", "*.example.org.")
    it, seen = world("B"), look(high)
    step = decided(it, seen)

    assert isinstance(step, Rest)
    assert (step.phase, [p.code for p in step.problems]) == (Phase.BLOCKED, ["wildcard-shadow"])
    assert "*.example.org." in step.why
    assert added(protecting, look(high, "B")) is None


def test_a_cname_is_managed_at_its_target() -> None:
    """A CNAME at the owner moves it to its target, also in another zone."""
    seen = look(replace(owner("A", target="_25._tcp.dane.example.net."), zone="example.net."))
    seen = replace(
        seen,
        owners=(replace(seen.owners[0], servers=(replace(server("A", "ns1", primary=True), zone="example.net."),)),),
    )
    change = plan(publishing, seen, goal="B")

    assert change is not None
    assert (change.owner, change.target, change.zone) == (OWNER, "_25._tcp.dane.example.net.", "example.net.")


def shared(words: str, first: str, second: str, *, live: str = "A", **it: Any) -> View:
    """Return two hosts whose owners are CNAMEs to one target and which present different things."""
    owners = [owner(words, target="t.example.org."), owner(words, name=OTHER, target="t.example.org.")]
    shows = [end(first), end(second, "192.0.2.26", host="mx2.example.org")]
    it = {"managed": "", **it}
    found = view(look(owners, shows, live), service=TWO, **it)
    return replace(found, world=replace(found.world, managed={"t.example.org.": r("A B C")}))


@pytest.mark.fault(35)
def test_what_is_presented_at_either_name_is_protected_at_the_common_target() -> None:
    """Owners that are CNAMEs to one target share its RRset: the union counts."""
    found = shared("A", "A", "B")

    assert [change.add for o in found.seen.owners if (change := protecting(found, o))] == [r("B"), r("B")]


def test_one_update_is_sent_to_a_common_target() -> None:
    """Two names, one RRset, one change."""
    found = shared("A", "A", "A", goal="B")
    step = decided(found.world, found.seen)

    assert isinstance(step, Update)
    assert [(c.target, c.add) for c in step.changes] == [("t.example.org.", r("B"))]


@pytest.mark.fault(35)
def test_what_one_name_still_presents_stays_at_the_common_target() -> None:
    """Retire only when all have switched."""
    found = shared("A B", "B", "A", live="B", goal="B", active="B")

    assert [withdrawing(found, o) for o in found.seen.owners] == [None, None]


# ---------------------------------------------------------------------------------- withdraw

WITHDRAWN = {
    "what the goal does not need": (look("A B", "B", "B"), {}, "A"),
    "nothing beside what the goal needs": (look("B", "B", "B"), {}, None),
    "not what is presented": (look("A B", "A B", "B"), {}, None),
    "not what a restart would present": (look("A B", "B", "A"), {}, None),
    "not what is active": (look("A B", "B", "B"), {"active": "A"}, None),
    "not what waits for its turn": (look("A B", "B", "B"), {"queued": "A"}, None),
    "not what somebody else published": (look("X B", "B", "B"), {}, None),
    "not a record of ours that another service here needs": (look("A B", "B", "B"), {"others": {OWNER: ["A"]}}, None),
    "not a record of another service, which this vault copy does not hold": (
        look("B E", "B", "B"),
        {"others": {OWNER: ["E"]}, "managed": "B E"},
        None,
    ),
    "the one record of ours beside those of others": (look("A B X", "B", "B"), {}, "A"),
    "each of several": (look("A B C", "B", "B"), {}, "A C"),
    "in every combination": (look("A A:312 B B:312", "B", "B"), {"managed": "A A:312"}, "A A:312"),
    "a record that was not noted as ours": (look("A B", "B", "B"), {"managed": "B"}, None),
    "not the last record": (look("A", "B", "B"), {}, None),
    "what a restored zone revived": (look("C B", "B", "B"), {"vault": "B"}, "C"),
}


@pytest.mark.parametrize(("seen", "it", "words"), WITHDRAWN.values(), ids=WITHDRAWN)
def test_what_may_be_withdrawn(seen: Sighting, it: dict[str, Any], words: str | None) -> None:
    """8. By record: any that this store added and that no credential presentable, goal or queued here needs."""
    change = plan(withdrawing, seen, **{"goal": "B", "active": "B", **it})

    assert (None if change is None else change.delete) == (None if words is None else r(words))
    assert change is None or change.add == r("")


def test_a_revoked_key_may_go_before_the_others() -> None:
    """Its record alone, where others are still kept for a rollback."""
    it: dict[str, Any] = {"goal": "B", "active": "B", "states": {"C": State.REVOKED}}
    change = plan(withdrawing_revoked, look("A B C", "B", "B"), **it)

    assert change is not None
    assert change.delete == r("C")
    assert plan(withdrawing_revoked, look("A B", "B", "B"), **it) is None


# -------------------------------------------------------------------------------------- gate


def gate(seen: Sighting, delete: str = "", add: str = "", **it: Any) -> bool:
    """Tell whether the gate lets a change of the first owner pass."""
    found = view(seen, **it)
    expect = only(found).primary.rrset  # type: ignore[union-attr]
    change = OwnerChange(OWNER, only(found).target, "example.org.", expect or r(""), "", r(add), r(delete), TTL)
    return safe(found, change)


GATE = {
    "a record that nothing needs": (gate(look("A X"), "X"), True),
    "the record of what is presented": (gate(look("A B", "A B", "B"), "A", goal="B", active="B"), False),
    "the record of what a restart would present": (gate(look("A B", "B", "A"), "A", goal="B", active="B"), False),
    "the record of the goal": (gate(look("A B"), "B", goal="B"), False),
    "the record of the last active one, before activation †": (gate(look("A B", "B", "B"), "A", goal="B"), False),
    "the record of the replaced one, after it": (gate(look("A B", "B", "B"), "A", goal="B", active="B"), True),
    "the record of another service here": (gate(look("A E"), "E", others={OWNER: ["E"]}), False),
    "an unknown chain that is presented and matched": (gate(look("A X", "A X"), "X"), False),
    "a new combination without what is presented": (gate(look("A"), "", "B:312", goal="B"), False),
    "a new combination with all": (gate(look("A B"), "", "A:312 B:312", goal="B"), True),
    "what was not valid before cannot be lost": (gate(look("X", "A"), "X", "B"), True),
    "over nothing, without what is presented": (gate(look("", "A"), "", "B", goal="B"), False),
    "over nothing, beside an unknown chain": (gate(look("", "X A"), "", "A"), False),
}


@pytest.mark.parametrize(("passed", "expected"), GATE.values(), ids=GATE)
def test_the_gate_of_every_update(*, passed: bool, expected: bool) -> None:
    """It never makes R invalid for a chain for which it was valid and that is in use †."""
    assert passed is expected


def test_the_gate_looks_at_every_name_of_a_common_target() -> None:
    """What the other name presents counts, though the change was computed for the first."""
    found = shared("A B", "B", "A", goal="B", active="B")
    change = OwnerChange(OWNER, "t.example.org.", "example.org.", r("A B"), "", r(""), r("A"), TTL)

    assert not safe(found, change)


def test_under_a_wildcard_the_gate_compares_with_what_the_wildcard_gave() -> None:
    """An explicit record alone would take away what is served."""
    found, above = view(look(wildcard("A")), goal="B"), "*._tcp.mail.example.org."

    assert not safe(found, OwnerChange(OWNER, OWNER, "example.org.", r("A"), above, r("B"), r(""), TTL))
    assert safe(found, OwnerChange(OWNER, OWNER, "example.org.", r("A"), above, r("A B"), r(""), TTL))


def test_an_unsafe_update_is_not_sent_and_reported() -> None:
    """Over nothing, while an unknown certificate is presented, a first record would turn DANE on against it."""
    seen = look("", "A X")
    it = world("A", dane_on=frozenset())
    step = decided(it, seen)

    assert isinstance(step, Rest)
    assert [p.code for p in step.problems] == ["update-unsafe"]
    assert step.why == step.problems[0].message
    assert step.why == f"the update of {OWNER} would make senders refuse a certificate that is in use"


def test_an_unsafe_change_does_not_hold_up_another_owner() -> None:
    """Each owner for itself: what can be done safely is done."""
    shows = [end("A X"), end("A", "192.0.2.26", host="mx2.example.org")]
    seen = look([owner(""), owner("A", name=OTHER)], shows)
    it = world("B", service=TWO, dane_on=frozenset())
    step = decided(it, seen)

    assert isinstance(step, Update)
    assert [c.owner for c in step.changes] == [OTHER]


def test_the_result_of_a_change_is_valid_for_what_it_was_made_for() -> None:
    """Protection and publication do what they are for."""
    protected = plan(protecting, look("B X:312", "A"))
    published = plan(publishing, look("A X:312"), goal="B")

    assert protected is not None
    assert valid(protected.result, chain("A"))
    assert published is not None
    assert valid(published.result, chain("B"))


def test_one_update_holds_the_owners_of_one_zone() -> None:
    """Owners of a zone change together; another zone has an UPDATE of its own."""
    here = [owner("A"), owner("A", name=OTHER)]
    there = replace(owner("A", name="_465._tcp.mail.example.net."), zone="example.net.")
    there = replace(there, servers=tuple(replace(s, zone="example.net.") for s in there.servers))
    service = replace(TWO, hosts=(*TWO.hosts, "mail.example.net"))
    step = decided(world("B", service=service), look([*here, there]))

    assert isinstance(step, Update)
    assert (step.zone, [c.owner for c in step.changes]) == ("example.org.", [OWNER, OTHER])


def test_a_revoked_key_is_withdrawn_in_combinations_of_others_too() -> None:
    """What was published beside somebody's 3 1 2 goes with it; the other's record stays."""
    seen = look("A A:312 B B:312 X:312", "A")
    it: dict[str, Any] = {"states": {"B": State.REVOKED}, "managed": "B B:312"}
    change = plan(withdrawing_revoked, seen, **it)

    assert change is not None
    assert change.delete == r("B B:312")


def test_where_nothing_is_managed_nothing_is_withdrawn() -> None:
    """A target that this store never wrote to, with a revoked key in it or without."""
    seen = look(owner("A B", target="t.example.org."), "A")
    found = view(seen, states={"B": State.REVOKED})

    assert withdrawing(found, only(found)) is None
    assert withdrawing_revoked(found, only(found)) is None


LINGERING = {
    "a moment ago": ({fp("B"): at(-99)}, "B"),
    "for as long as an old process may live": ({fp("B"): at(-100)}, None),
    "a key that the vault does not hold": ({fp("X"): at(-1)}, None),
    "that, and one that it holds": ({fp("X"): at(-1), fp("B"): at(-1)}, "B"),
}


@pytest.mark.parametrize(("lately", "words"), LINGERING.values(), ids=LINGERING)
def test_what_was_presented_a_moment_ago_is_protected_and_kept(lately: dict[str, Any], words: str | None) -> None:
    """Old processes outlive a reload by up to `drain`: their certificate is published, and nobody takes its record.

    That it is to go is known meanwhile: a rollover does not end before it has gone.
    """
    assert added(protecting, look("A"), lately=lately) == (None if words is None else r(words))
    found = view(look("A B"), lately=lately)
    withdrawal = withdrawing(found, only(found))
    assert withdrawal is not None
    assert safe(found, withdrawal) is (words is None)
