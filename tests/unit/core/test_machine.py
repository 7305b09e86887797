"""decide(): steps 1 to 9 of protocol.md in their order. Step 0 is in test_judge.py, updates in test_changes.py."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from rollover.core.ledger import Patience
from rollover.core.model import Pause, Reload, Service, State
from rollover.core.sighting import EndpointSighting, ResolverAnswer, Sighting, Signature
from rollover.core.steps import Activate, Install, Phase, Rest, SetGoal, Step, Update
from rollover.core.steps import Reload as ReloadStep
from rollover.core.timing import Instant
from tests.unit.core.worlds import (
    FILE,
    HOST,
    NOW,
    OWNER,
    SERVICE,
    TTL,
    at,
    credential,
    decided,
    end,
    ends,
    entered,
    fp,
    live,
    look,
    opened,
    owner,
    past,
    r,
    server,
    world,
)

BOTH = look("A B")  # the new record is on every server; the old certificate is served
READY = past("A", -2 * TTL)
SERVED = look("A B", "B", "B")  # the new certificate is served
SECOND = "/etc/rollover/live/second.pem"


def kind(step: Step) -> str:
    """Return what a step is, in a word: the phase of a rest."""
    return step.phase.value if isinstance(step, Rest) else type(step).__name__.lower()


def codes(step: Step) -> list[str]:
    """Return the codes of what a step reports."""
    return [p.code for p in step.problems]


def waits(step: Step) -> Rest:
    """Return *step*, which has to be a rest."""
    assert isinstance(step, Rest), step
    return step


# --------------------------------------------------------------------------------- in order

STORY = {
    "a new certificate: its record is published": (world("B"), look("A"), "update"),
    "published on the primary only": (world("B", ledger=[past("A", None)]), look(owner("A B", "A")), "propagating"),
    "on every server: the wait begins": (world("B", ledger=[past("A", None)]), BOTH, "waiting"),
    "on every server, the old one gone for one TTL": (world("B", ledger=[past("A", -TTL)]), BOTH, "waiting"),
    "no resolver can hold the old RRset": (world("B", ledger=[READY]), BOTH, "install"),
    "the file is written and not loaded": (
        world("B", ledger=[READY], install=opened(-1)),
        look("A B", "A", "B"),
        "reload",
    ),
    "loaded, the endpoints still show the old one": (
        world("B", ledger=[READY], loaded="B", install=opened(-1), reloads={FILE: Reload("identity of B", at(-1))}),
        look("A B", "A", "B"),
        "verifying",
    ),
    "loaded and shown: three rounds": (
        world("B", ledger=[READY], loaded="B", install=opened(-1), rounds=2),
        SERVED,
        "verifying",
    ),
    "three rounds were good": (
        world("B", ledger=[READY], loaded="B", install=opened(-1), rounds=3),
        SERVED,
        "activate",
    ),
    "active: the old record stays for a rollback": (
        world("B", "B", ledger=[READY], loaded="B", quiet=at(-10)),
        SERVED,
        "retaining",
    ),
    "retained for long enough": (world("B", "B", ledger=[READY], loaded="B", quiet=at(-1000)), SERVED, "update"),
    "nothing is left to do": (world("B", "B", loaded="B"), look("B", "B", "B"), "steady"),
}


@pytest.mark.parametrize(("it", "seen", "expected"), STORY.values(), ids=STORY)
def test_a_rollover_from_the_first_step_to_the_last(it: Any, seen: Sighting, expected: str) -> None:
    """What is decided depends on what is, not on what was done."""
    assert kind(decided(it, seen)) == expected


def test_a_service_that_was_never_adopted_is_left_alone() -> None:
    """Nothing is done for it, whatever is seen."""
    step = waits(decided(replace(world("B"), book=replace(world("B").book, adopted=False)), look("X", "X", "X")))

    assert (step.phase, codes(step)) == (Phase.UNADOPTED, ["not-adopted"])


def test_what_nobody_configured_is_what_the_interface_says() -> None:
    """3 1 1 at the TTL that is there; a day kept, ten minutes drained, a minute to prove, a look every fifteen."""
    it = Service("mail", (HOST,), (25,))

    assert (it.records, it.ttl) == (((3, 1, 1),), None)
    assert (it.retain, it.drain, it.verify_timeout) == (86400, 600, 60)
    assert (it.check_every, it.propagation_warn) == (900, 3600)


def test_a_service_that_is_being_released_says_so() -> None:
    """A release that was cut off must not look like a service that is well; what is served is protected meanwhile."""
    step = waits(decided(world("B", releasing=True), look("A B", "B")))

    assert (step.phase, codes(step)) == (Phase.PAUSED, ["releasing"])
    assert isinstance(decided(world("B", releasing=True), look("A", "B")), Update)
    failing = world("B", "A", loaded="B", install=opened(-100), releasing=True, ledger=[past("A")])
    assert isinstance(decided(failing, look("A B", "454", "B")), SetGoal)


# -------------------------------------------------------------------------------- 1 protect


def test_protection_comes_before_publication() -> None:
    """1. What is presented and not matched defers mail now."""
    step = decided(world("C"), look("A", "B"))

    assert isinstance(step, Update)
    assert step.changes[0].add == r("B")


def test_a_record_that_only_a_secondary_lacks_is_waited_for_not_published_again() -> None:
    """1. Missing on another server only: report, go on."""
    step = decided(world(), look(owner("A", "B")))

    assert waits(step).phase is Phase.STEADY


def test_a_protection_that_failed_in_this_run_is_not_tried_again_in_it() -> None:
    """A step whose effect failed in this run is skipped for the rest of it."""
    it = world(failed={f"update:{OWNER}": "update-refused"})

    assert not isinstance(decided(it, look("B", "A")), Update)
    second = "_465._tcp.mail.example.org."
    both = replace(it, service=replace(SERVICE, ports=(25, 465)))
    step = decided(both, look([owner("B"), owner("B", name=second)], [end("A"), end("A", port=465)]))
    assert isinstance(step, Update)
    assert [c.target for c in step.changes] == [second]


# -------------------------------------------------------------------------------- 2 publish


def test_a_failed_publication_never_names_the_served_record_as_foreign() -> None:
    """What the goal lacks can still be added: the record of what is served is nobody's fault."""
    step = waits(decided(world("B", failed={f"update:{OWNER}": "update-refused"}), look("A")))

    assert (step.phase, codes(step)) == (Phase.PUBLISHING, [])


def test_an_update_that_was_answered_and_not_applied_blocks() -> None:
    """NOERROR and nothing done: a person is needed."""
    step = waits(decided(world("B", failed={f"update:{OWNER}": "update-not-applied"}), look("A")))

    assert step.phase is Phase.BLOCKED


def test_queued_certificates_are_not_published() -> None:
    """2. Only the goal is."""
    step = decided(world("B", queued="C", ledger=[past("A", -TTL)]), BOTH)

    assert kind(step) == "waiting"


def test_dane_that_was_switched_off_is_critical_and_waits_for_a_person() -> None:
    """1. R entirely empty, once it was seen non-empty: critical, and neither 1 nor 2 refills it."""
    step = waits(decided(world("B"), look("", "A")))
    assert (step.phase, codes(step)) == (Phase.BLOCKED, ["dane-off"])

    resumed = decided(world("B", refill=frozenset({OWNER})), look("", "A"))
    assert isinstance(resumed, Update)
    assert resumed.changes[0].add == r("A B")


def test_the_end_of_a_pause_is_no_consent() -> None:
    """1. The end of --for refills nothing."""
    it = world("B", pause=Pause(at(-100), at(-10).wall))

    assert codes(decided(it, look("", "A"))) == ["dane-off"]


def test_a_foreign_record_that_the_goal_does_not_match_blocks_before_the_install() -> None:
    """A 2 1 1 of another issuer stays, and the new certificate is not installed beside it."""
    foreign = [credential("B", issuer="other")]
    step = waits(decided(world("B", vault="A", more=foreign), look("A B A:211")))

    assert (step.phase, codes(step)) == (Phase.BLOCKED, ["foreign-record"])
    assert "rollover adopt mail --remove" in step.problems[0].hint
    assert "2 1 1" in step.problems[0].message
    assert "3 1 1" not in step.problems[0].message


# ------------------------------------------------------------------------------ 3 propagate

OLD = past("A", -2 * TTL)
ENDING = server("A B", expiration=NOW.wall + timedelta(seconds=3600 + TTL - 1))  # an hour beyond the TTL, less a second
LATE = {
    "a secondary without the record": (look(owner("A B", "A")), "secondary-stale"),
    "a dead secondary": (look(owner("A B", None)), "server-unreachable"),
    "a secondary that is behind, though it has the record": (
        look(owner("A B", server("A B", serial=0))),
        "secondary-stale",
    ),
    "a secondary with an expired signature": (
        look(owner("A B", server("A B", signature=Signature.EXPIRED))),
        "signature-bad",
    ),
    "a secondary with a signature that nobody renews": (look(owner("A B", ENDING)), "signature-expiring"),
    "the second of two secondaries": (look(owner("A B", "A B", None)), "server-unreachable"),
    "an old combination on a secondary": (look(owner("A B", "A B X:312")), "secondary-stale"),
    "the primary is dead and the rest is well": (look(owner(None, "A B")), "primary-unreachable"),
}


@pytest.mark.parametrize(("seen", "code"), LATE.values(), ids=LATE)
def test_one_server_that_is_not_as_it_should_be_holds_the_install(seen: Sighting, code: str) -> None:
    """3. The sighting is not complete, or some server lacks a record or serves it badly signed: wait."""
    it = replace(world("B"), ledgers=entered(world("B", ledger=[OLD]), BOTH).ledgers)
    step = waits(decided(it, seen))

    assert step.phase is Phase.PROPAGATING
    assert codes(step) == [code]
    assert step.soon


LATE_BESIDE: dict[str, tuple[Any, list[str]]] = {
    "one lacks the record, another is dead": (owner("A B", "A", None), ["ns3 timed out", "ns2 lacks the new record"]),
    "one of each owner": (
        [owner("A B", "A"), owner("A B", server(None, "ns5"), name="_25._tcp.mx2.example.org.")],
        ["ns2 lacks the new record", "ns5 timed out"],
    ),
    "the primary is dead: what it has nobody knows": (owner(None, "A"), ["ns1 timed out"]),
}


@pytest.mark.parametrize(("owners", "messages"), LATE_BESIDE.values(), ids=LATE_BESIDE)
def test_every_late_server_is_named(owners: Any, messages: list[str]) -> None:
    """Of all owners, and for whatever holds it back; beside a dead primary nobody else is called late."""
    it = replace(world("B"), ledgers=entered(world("B", ledger=[OLD]), BOTH).ledgers)
    it = replace(it, service=replace(SERVICE, hosts=(HOST, "mx2.example.org"))) if isinstance(owners, list) else it

    assert sorted(p.message for p in decided(it, look(owners)).problems) == sorted(messages)


def test_each_late_server_is_named_once() -> None:
    """With several owners a dead server is one problem."""
    seen = look([owner("A B", None), owner("A B", None, name="_25._tcp.mx2.example.org.")])
    it = world("B", service=replace(SERVICE, hosts=(HOST, "mx2.example.org")))

    assert codes(decided(it, seen)) == ["server-unreachable"]


def test_an_owner_that_cannot_be_managed_blocks() -> None:
    """A CNAME loop, or a target in a zone without a key, is for a person."""
    step = waits(decided(world("B"), look(owner("A", blocked="CNAME loop: a -> b -> a"))))

    assert (step.phase, codes(step)) == (Phase.BLOCKED, ["owner-blocked"])
    assert "CNAME loop" in step.why


def test_an_owner_that_nobody_looked_at_holds_the_install() -> None:
    """ALL owners: what was not seen is not known to be ready."""
    it = world("B", ledger=[READY], service=replace(SERVICE, ports=(25, 465)))
    step = waits(decided(it, BOTH))

    assert (step.phase, codes(step)) == (Phase.BLOCKED, ["owner-blocked"])
    assert "_465._tcp" in step.why


def test_every_owner_of_the_service_has_to_be_ready() -> None:
    """Installed only when all are."""
    service = replace(SERVICE, ports=(25, 465))
    second = "_465._tcp.mail.example.org."
    seen = look([owner("A B"), owner("A B", name=second)])
    late = world("B", service=service, ledger={OWNER: [READY], second: [past("A", -10)]})
    ready = world("B", service=service, ledger={OWNER: [READY], second: [READY]})

    assert waits(decided(late, seen)).seconds == 2 * TTL - 10
    assert isinstance(decided(ready, seen), Install)


# ----------------------------------------------------------------------------------- 4 wait


@pytest.mark.parametrize(("gone", "seconds"), [(0, 200), (-1, 199), (-199, 1), (-199.5, 0.5)])
def test_the_wait_says_how_long(gone: float, seconds: float) -> None:
    """4. Until no resolver can hold the old RRset: to the second."""
    step = waits(decided(world("B", ledger=[past("A", gone)]), BOTH))

    assert (step.phase, step.seconds, step.action) == (Phase.WAITING, seconds, "install")


def test_a_wait_that_is_over_is_over() -> None:
    """4. At two TTLs, not one second later."""
    assert isinstance(decided(world("B", ledger=[past("A", -200)]), BOTH), Install)


def test_the_configured_patience_counts() -> None:
    """4. min_wait and settle make the wait longer."""
    service = replace(SERVICE, patience=Patience(ttls=2, min_wait=250, settle=30))

    assert waits(decided(world("B", ledger=[past("A", -200)], service=service), BOTH)).seconds == 80


def test_an_old_rrset_that_may_still_be_shown_has_no_end_yet() -> None:
    """4. An update that may still land counts as shown."""
    it = world("B", ledger=[past("A", None, intended=-10)])

    assert waits(decided(it, BOTH)).seconds is None


def test_a_first_record_for_what_is_served_needs_no_wait() -> None:
    """An empty R defers nobody."""
    it = world("A", "A", ledger=[past("", None)], loaded="", dane_on=frozenset())

    assert isinstance(decided(it, look("A")), ReloadStep)


def test_a_certificate_with_the_same_key_is_installed_at_once() -> None:
    """Its record is there already: nothing to publish, nothing to wait for."""
    assert isinstance(decided(world("A2=A", vault="A A2=A"), look("A")), Install)


def test_a_wait_is_over_only_with_a_clock_that_was_confirmed() -> None:
    """Time: an R is gone, and a wait is over, only when a TSIG-signed exchange agreed with our clock †."""
    seen = look("A B", clock=False, clock_problem="clocks differ")
    step = waits(decided(world("B", ledger=[READY]), seen))
    assert (step.phase, codes(step), step.why) == (Phase.WAITING, ["clock"], "clocks differ")

    silent = waits(decided(world("B", ledger=[READY]), look("A B", clock=False)))
    assert codes(silent) == ["primary-unreachable"]


def test_where_nothing_is_measured_no_clock_is_needed() -> None:
    """A key that was always published is installed whatever the time is."""
    assert isinstance(decided(world("A2=A", vault="A A2=A"), look("A", clock=False)), Install)


RESOLVER = {
    "gives no answer": (owner("A B", resolver=None), "resolver-failed"),
    "does not authenticate": (owner("A B", resolver=ResolverAnswer(r("A B"), authenticated=False)), "zone-insecure"),
    "still gives the old RRset": (owner("A B", resolver="A"), "resolver-stale"),
}


@pytest.mark.parametrize(("seen", "code"), RESOLVER.values(), ids=RESOLVER)
def test_the_validating_resolver_has_to_say_the_same(seen: Any, code: str) -> None:
    """5. Only on a sighting that shows 3 and 4 true, through the resolver too."""
    step = waits(decided(world("B", ledger=[READY]), look(seen)))

    assert (step.phase, codes(step)) == (Phase.WAITING, [code])


@pytest.mark.parametrize("how", ["rollback", "returning"])
def test_a_return_that_is_ready_waits_for_no_server(how: str) -> None:
    """What was served before goes back at once, a dead secondary or not; what is new waits for it."""
    seen = look(owner("A B", None), "B", "B")
    it: dict[str, Any] = {"loaded": "B", "ledger": [past("B", -2 * TTL)]}

    assert isinstance(decided(world("A", "B", **{how: True}, **it), seen), Install)
    assert kind(decided(world("A", "B", **it), seen)) == "propagating"


def test_a_return_too_is_ready_only_at_owners_that_were_looked_at() -> None:
    """ALL owners: whether the records of the others are still there, nobody knows."""
    it = world("A", "B", loaded="B", rollback=True, ledger=[READY], service=replace(SERVICE, ports=(25, 465)))
    step = waits(decided(it, SERVED))

    assert (step.phase, codes(step)) == (Phase.BLOCKED, ["owner-blocked"])


def test_a_person_in_a_hurry_skips_the_wait_and_nothing_else() -> None:
    """--now: 3 is waited for, 4 is skipped, for this one goal only."""
    assert isinstance(decided(world("B", hurry="B", ledger=[past("A", -1)]), BOTH), Install)
    assert isinstance(decided(world("B", hurry="B"), look("A")), Update)
    assert kind(decided(world("B", hurry="B"), look(owner("A B", "A")))) == "propagating"
    assert kind(decided(world("B", hurry="C", ledger=[past("A", -1)]), BOTH)) == "waiting"


# -------------------------------------------------------------------------------- 5 install


def test_an_install_names_what_it_writes() -> None:
    """5. Due when the live file is not the goal."""
    assert decided(world("B", ledger=[READY]), BOTH) == Install(fp("B"), why=f"{FILE} is to hold {fp('B')[:16]}")


FILES = {
    "absent": live(""),
    "unusable": live("B", problem="the key does not match"),
    "somebody else's": live("X"),
    "the old one": live("A"),
}


@pytest.mark.parametrize("file", FILES.values(), ids=FILES)
def test_a_live_file_that_is_not_the_goal_is_written(file: Any) -> None:
    """5. Whatever is there instead."""
    seen = look("A B", "A", [file])

    assert isinstance(decided(world("B", ledger=[READY], install=opened(-1)), seen), Install)


def test_every_live_file_is_looked_at() -> None:
    """5. One of two that is not the goal, or is not loaded, is enough."""
    reloads = {FILE: Reload("identity of B", at(-1))}
    it = world("B", ledger=[READY], install=opened(-1), reloads=reloads)

    assert isinstance(decided(it, look("A B", "B", [live("B"), live("A", SECOND)])), Install)
    step = decided(it, look("A B", "B", [live("B"), live("B", SECOND)]))
    assert isinstance(step, ReloadStep)
    assert (step.paths, step.again) == ((SECOND,), False)


def test_a_reload_counts_for_the_file_as_it_is_now() -> None:
    """5. No reload is recorded for the live file as it is now (inode, mtime, hash)."""
    changed = [replace(live("B"), identity="the same certificate, written again")]

    assert isinstance(decided(world("B", "B", loaded="B"), look("B", "B", changed)), ReloadStep)


def test_a_file_that_was_written_and_not_loaded_is_gated_again() -> None:
    """A kill between write and reload: the sighting of this run decides, not that of the other."""
    it = world("B", ledger=[READY], install=opened(-1))

    assert kind(decided(it, look(owner("A B", "A"), "A", "B"))) == "propagating"
    assert isinstance(decided(it, look("A B", "A", "B")), ReloadStep)


def test_a_file_that_somebody_else_wrote_is_installed_like_any_other() -> None:
    """Loading it opens an install, so that it is judged, and taken back if it fails."""
    it = world("B", ledger=[READY])

    assert isinstance(decided(it, look("A B", "A", "B")), Install)


def test_a_configuration_that_reads_another_file_blocks_the_install() -> None:
    """What would be written would not be served."""
    seen = look("A B", "A", [live("A", wiring="main.cf names /etc/other.pem")])
    step = waits(decided(world("B", ledger=[READY]), seen))

    assert (step.phase, codes(step)) == (Phase.BLOCKED, ["wiring"])


def test_an_install_that_failed_in_this_run_is_left_to_the_next() -> None:
    """A full disk does not get better within the run."""
    step = waits(decided(world("B", ledger=[READY], failed={"install": "install-refused"}), BOTH))

    assert step.phase is Phase.INSTALLING


def test_a_reload_that_failed_in_this_run_is_left_to_the_next() -> None:
    """A daemon that is down does not come up within the run."""
    it = world("B", ledger=[READY], install=opened(-1), failed={"reload": "install-refused"})

    assert waits(decided(it, look("A B", "A", "B"))).phase is Phase.INSTALLING


@pytest.mark.parametrize(("repeats", "after"), [(0, 60), (1, 120), (2, 240), (5, 1920), (40, 86400)])
def test_what_presents_something_else_is_reloaded_at_doubling_intervals(repeats: int, after: float) -> None:
    """5. Reload again verify_timeout after the last reload, then at doubling intervals †."""

    def when(seconds: float) -> Step:
        reloads = {FILE: Reload("identity of B", at(-seconds), repeats)}
        return decided(world("B", ledger=[READY], install=opened(-seconds), reloads=reloads), look("A B", "A", "B"))

    assert not isinstance(when(after - 1), ReloadStep)
    step = when(after)
    assert isinstance(step, ReloadStep)
    assert step.again


def test_a_reload_that_failed_in_this_run_is_not_repeated_in_it() -> None:
    """However long the last one that worked is ago."""
    reloads = {FILE: Reload("identity of B", at(-999))}
    it = world("B", ledger=[READY], install=opened(-999), reloads=reloads, failed={"reload": "install-refused"})

    assert kind(decided(it, look("A B", [end("B"), end("A", sni=False)], "B"))) == "verifying"


def test_an_endpoint_that_presents_nothing_is_not_reloaded_for() -> None:
    """5. Only one that was reached and presents something else."""
    it = world("B", ledger=[READY], loaded="B", install=opened(-1))

    assert not isinstance(decided(it, look("A B", "unreachable", "B")), ReloadStep)
    assert not isinstance(decided(it, look("A B", "silent", "B")), ReloadStep)


@pytest.mark.fault(57)
def test_one_process_of_several_that_was_not_reloaded_is_seen() -> None:
    """An endpoint that presents both, at different connections, presents something else."""
    it = world("B", ledger=[READY], loaded="B", install=opened(-1))
    step = decided(it, look("A B", [end("B"), end("B A", sni=False)], "B"))

    assert isinstance(step, ReloadStep)


def test_an_old_certificate_that_cannot_be_made_valid_does_not_hold_the_install() -> None:
    """5. valid(R, old) as far as 1 could make it so: an unknown key is not published, and not waited for †."""
    it = world("B", ledger=[READY])

    assert isinstance(decided(it, look("A B", "X", "X")), Install)


def test_an_old_certificate_that_can_be_made_valid_is_first() -> None:
    """5. valid(R, old): what 1 can do is done before the install."""
    assert isinstance(decided(world("B", ledger=[READY]), look("B", "A")), Update)


# --------------------------------------------------------------------------------- 6 verify

ODD: dict[str, list[EndpointSighting]] = {
    "without SNI the old one": [end("B"), end("A", sni=False)],
    "the other address family is not reached": [*ends("B"), end("unreachable", "2001:db8::25")],
    "the other address presents the old one": [*ends("B"), end("A", "2001:db8::25")],
    "one of several connections presents the old one": [end("B A"), end("B", sni=False)],
}


@pytest.mark.parametrize("shows", ODD.values(), ids=ODD)
def test_every_endpoint_has_to_present_the_goal(shows: list[EndpointSighting]) -> None:
    """6. New full handshakes with every endpoint until each presents the goal: not any address, all."""
    reloads = {FILE: Reload("identity of B", at(-1))}
    it = world("B", ledger=[READY], install=opened(-1, shown=""), reloads=reloads, rounds=3)
    step = waits(decided(it, look("A B", shows, "B")))

    assert (step.phase, step.soon) == (Phase.VERIFYING, True)


def test_what_a_dane_sender_would_not_accept_is_not_proven() -> None:
    """6. And a DANE sender would accept it."""
    it = world("B", ledger=[READY], loaded="B", install=opened(-1), rounds=3)
    failed = replace(it, failed={f"update:{OWNER}": "update-refused"})

    assert waits(decided(failed, look("A", "B", "B"))).phase is Phase.VERIFYING


def test_two_good_rounds_are_not_three() -> None:
    """6. In three rounds, one right after the other."""
    step = waits(decided(world("B", ledger=[READY], loaded="B", install=opened(-1), rounds=2), SERVED))

    assert (step.phase, step.seconds, step.soon) == (Phase.VERIFYING, 0.0, True)


def test_a_service_without_endpoints_is_never_proven() -> None:
    """Nobody was asked: nothing is known, and nothing is activated or looked at in a loop."""
    it = world("B", ledger=[READY], loaded="B", install=opened(-1), rounds=3)
    step = waits(decided(it, look("A B", [], "B")))
    assert step.phase is Phase.VERIFYING

    step = waits(decided(replace(it, book=replace(it.book, rounds=0)), look("A B", [], "B")))
    assert step.seconds is None


# ------------------------------------------------------------------------------- 7 activate


def test_the_goal_is_activated_when_it_is_proven_everywhere() -> None:
    """7. A reload is recorded, the live file is the goal, every endpoint was reached and presents it."""
    it = world("B", ledger=[READY], loaded="B", install=opened(-1), rounds=3)
    step = decided(it, SERVED)

    assert isinstance(step, Activate)
    assert step.fingerprint == fp("B")


def test_a_secondary_that_is_behind_does_not_keep_the_goal_from_being_proven() -> None:
    """Whether senders accept it is judged by the primary: what others have is told as mail that is deferred."""
    it = world("B", ledger=[READY], loaded="B", install=opened(-1), rounds=3)

    assert isinstance(decided(it, look(owner("A B", "A"), "B", "B")), Activate)


def test_an_install_of_what_is_active_is_closed_too() -> None:
    """A live file that was written again is proven like any other; without an install nothing is."""
    again = world("B", "B", ledger=[READY], loaded="B", install=opened(-5), rounds=3)

    assert isinstance(decided(again, SERVED), Activate)
    assert kind(decided(replace(again, book=replace(again.book, install=None)), SERVED)) == "update"
    taken = replace(again, book=replace(again.book, install=None, active=fp("A")))
    assert isinstance(decided(taken, SERVED), Activate)


def test_an_owner_without_an_endpoint_is_not_proven() -> None:
    """7. Every name and port that serves it."""
    service = replace(SERVICE, ports=(25, 465))
    second = "_465._tcp.mail.example.org."
    it = world("B", ledger=[READY], loaded="B", install=opened(-1), rounds=3, service=service)
    owners = [owner("A B"), owner("A B", name=second)]

    assert not isinstance(decided(it, look(owners, "B", "B")), Activate)
    assert isinstance(decided(it, look(owners, [*ends("B"), end("B", port=465)], "B")), Activate)


# ------------------------------------------------------------------------------- 8 withdraw


def served(**it: Any) -> Any:
    """Return a world in which B is active, its predecessor's record still there."""
    return world("B", "B", **{"ledger": [READY], "loaded": "B", **it})


@pytest.mark.parametrize(("quiet", "left"), [(0, 1000), (-1, 999), (-999, 1)])
def test_a_replaced_record_stays_for_retain(quiet: float, left: float) -> None:
    """8. max(retain, drain) after activation."""
    step = waits(decided(served(quiet=at(quiet)), SERVED))

    assert (step.phase, step.seconds, step.action) == (Phase.RETAINING, left, "withdraw")


def test_then_that_one_record_is_withdrawn() -> None:
    """8. By record, never by RRset."""
    step = decided(served(quiet=at(-1000)), look("A B X:312 B:312", "B", "B"))

    assert isinstance(step, Update)
    assert (step.phase, step.changes[0].delete, step.changes[0].add) == (Phase.WITHDRAWING, r("A"), r(""))


def test_drain_counts_where_it_is_longer() -> None:
    """8. A withdrawal waits at least this long after the last endpoint changed."""
    service = replace(SERVICE, retain=0, drain=100)

    assert waits(decided(served(quiet=at(-99), service=service), SERVED)).seconds == 1
    assert isinstance(decided(served(quiet=at(-100), service=service), SERVED), Update)


def test_a_revoked_key_is_withdrawn_after_drain_only() -> None:
    """8. revoked: drain only, though another record is kept for a rollback beside it."""
    it: dict[str, Any] = {"states": {"C": State.REVOKED}}
    seen = look("A B C", "B", "B")

    assert waits(decided(served(quiet=at(-99), **it), seen)).seconds == 1
    step = decided(served(quiet=at(-100), **it), seen)
    assert isinstance(step, Update)
    assert step.changes[0].delete == r("C")
    assert waits(decided(served(quiet=at(-100), **it), SERVED)).seconds == 900
    both = decided(served(quiet=at(-1000), **it), seen)
    assert isinstance(both, Update)
    assert both.changes[0].delete == r("A C")


def test_a_rollover_is_not_done_while_the_primary_cannot_say_so() -> None:
    """It may have the record that has to go; where nothing was replaced a dead primary ends nothing."""
    dead = look(owner(None, "A B"), "B", "B")

    step = waits(decided(served(states={"A": State.RETIRED}), dead))
    assert (step.phase, step.action) == (Phase.RETAINING, "withdraw")
    assert waits(decided(served(states={"A": State.REMOVED}), dead)).phase is Phase.STEADY


NOT_QUIET = {
    "an endpoint is unreached": look("A B", [*ends("B"), end("unreachable", "2001:db8::25")], "B"),
    "an endpoint presents another chain": look("A B", [end("B"), end("A", sni=False)], "B"),
    "the live file was loaded never": look("A B", "B", [replace(live("B"), identity="another")]),
}


@pytest.mark.fault(59)
@pytest.mark.parametrize("seen", NOT_QUIET.values(), ids=NOT_QUIET)
def test_nothing_is_withdrawn_while_anything_else_could_be_presented(seen: Sighting) -> None:
    """8. Every endpoint was reached, and nothing else is presented, in the live file too."""
    step = decided(served(quiet=at(-5000)), seen)

    assert not isinstance(step, Update)


def test_nothing_is_withdrawn_when_the_clock_of_it_does_not_run() -> None:
    """8. The clock starts over whenever anything else is presented †."""
    assert waits(decided(served(quiet=None), SERVED)).phase is Phase.RETAINING


def test_a_withdrawal_too_needs_a_confirmed_clock() -> None:
    """Time: a wait is over only in a run whose clock was confirmed †."""
    step = waits(decided(served(quiet=at(-5000)), look("A B", "B", "B", clock=False, clock_problem="BADTIME")))

    assert (step.phase, step.why) == (Phase.RETAINING, "BADTIME")


def test_nothing_is_withdrawn_under_signatures_that_nobody_renews() -> None:
    """What is left after a withdrawal has to be signed, and the signer has stopped; renewed, it goes on."""
    stopped = look(owner("A B", ENDING), "B", "B")
    signed = look(owner("A B", replace(ENDING, expiration=NOW.wall + timedelta(seconds=3600 + TTL))), "B", "B")

    step = waits(decided(served(quiet=at(-5000)), stopped))
    assert (step.phase, step.action) == (Phase.RETAINING, "withdraw")
    assert "ns2 its signature ends at " in step.why
    assert isinstance(decided(served(quiet=at(-5000)), signed), Update)


def test_a_withdrawal_is_measured_on_both_clocks() -> None:
    """A wall clock that jumped forward by a day withdraws nothing."""
    jumped = Instant(NOW.wall.replace(day=24), NOW.boot, NOW.boot_id)

    assert waits(decided(served(quiet=at(-10)), look("A B", "B", "B", now=jumped))).seconds == 990


# ----------------------------------------------------------------------------- 9 and the rest


def test_late_servers_hold_nothing_once_the_goal_is_loaded() -> None:
    """3 and 4 gate what is yet to be presented; a steady service stays steady."""
    assert waits(decided(world(), look(owner("A", None)))).phase is Phase.STEADY
    assert waits(decided(world(), look(owner("A", server("A", signature=Signature.BOGUS))))).phase is Phase.STEADY


UNUSABLE = {
    "expired": (world("B", vault="A", more=[credential("B", days=-1)]), "expired"),
    "its key gone from the vault": (world("B", vault="A"), "gone"),
    "revoked": (world("B", states={"B": State.REVOKED}), "revoked"),
    "revoked by another certificate with its key": (
        world("B2=B", vault="A B B2=B", states={"B": State.REVOKED}),
        "revoked",
    ),
    "active and revoked": (world("A", states={"A": State.REVOKED}), "revoked"),
}


@pytest.mark.parametrize(("it", "why"), UNUSABLE.values(), ids=UNUSABLE)
def test_a_goal_that_must_not_be_served_stands_still(it: Any, why: str) -> None:
    """In doubt, stand still: the old certificate stays, and a person is told."""
    step = waits(decided(it, look("A B")))

    assert (step.phase, codes(step)) == (Phase.BLOCKED, ["goal-unusable"])
    assert why in step.why


def test_an_active_certificate_that_expired_is_served_on() -> None:
    """DANE-EE senders accept it still: nothing better is there."""
    assert waits(decided(world(vault="", more=[credential("A", days=-1)]), look("A"))).phase is Phase.STEADY


def test_a_goal_that_became_unusable_gives_its_turn_to_the_queued_one() -> None:
    """What can never be served must not starve what can."""
    expired = world("B", queued="C", vault="A C", more=[credential("B", days=-1)])
    lost = world("B", queued="C", vault="A C")

    assert [decided(x, look("A B")) for x in (expired, lost)] == [
        SetGoal(fp("C"), "its turn: the one before it is done")
    ] * 2


# ------------------------------------------------------------------------------------- pause

PAUSED = Pause(at(-100))


@pytest.mark.parametrize(
    ("it", "seen"),
    [
        (world("B", pause=PAUSED), look("A")),
        (world("B", pause=PAUSED, ledger=[READY]), BOTH),
        (world("B", "B", loaded="B", pause=PAUSED), SERVED),
        (world("A", "A", queued="C", pause=PAUSED), look("A")),
    ],
    ids=["publish", "install", "withdraw", "the turn of a queued one"],
)
def test_a_pause_stops(it: Any, seen: Sighting) -> None:
    """Pause stops all steps but 0, 1 and the install of a return or a rollback."""
    step = waits(decided(it, seen))

    assert (step.phase, codes(step)) == (Phase.PAUSED, ["paused"])


def test_a_pause_does_not_stop_protection() -> None:
    """What is served is protected, whoever sleeps."""
    assert isinstance(decided(world("A", pause=PAUSED), look("B", "A")), Update)


@pytest.mark.parametrize("how", ["rollback", "returning"])
def test_a_pause_does_not_stop_the_install_of_a_return_or_a_rollback(how: str) -> None:
    """A certificate that fails is taken back, paused or not †."""
    it = world("A", "B", loaded="B", pause=PAUSED, **{how: True})

    assert isinstance(decided(it, SERVED), Install)


def test_a_pause_stops_what_a_rollback_would_have_to_publish() -> None:
    """Only its install goes on: an update beside a person who works there does not."""
    it = world("A", "B", loaded="B", pause=PAUSED, rollback=True)
    step = waits(decided(it, look("B", "B", "B")))

    assert (step.phase, codes(step)) == (Phase.PAUSED, ["paused"])


def test_a_rollback_in_a_pause_still_says_that_it_is_paused() -> None:
    """Whatever it waits for."""
    it = world("A", "A", pause=PAUSED, rollback=True)
    assert codes(decided(it, look("A"))) == ["paused"]

    waiting = world("A", "B", loaded="B", pause=PAUSED, rollback=True, ledger=[past("B", -10)])
    step = waits(decided(waiting, SERVED))
    assert (step.phase, codes(step)) == (Phase.WAITING, ["paused"])


def test_a_pause_with_an_end_ends() -> None:
    """--for 4h: to the second, and it says when."""
    it = world("B", pause=Pause(at(-100), at(50).wall))

    step = waits(decided(it, look("A")))
    assert (step.phase, step.seconds, step.action) == (Phase.PAUSED, 50, "resume")
    assert isinstance(decided(it, look("A", now=50)), Update)


def test_a_wall_clock_that_jumps_ends_no_pause() -> None:
    """A person who works on the server is not surprised by a time server."""
    jumped = Instant(NOW.wall.replace(day=25), NOW.boot, NOW.boot_id)
    it = world("B", pause=Pause(at(-100), at(50).wall))

    assert waits(decided(it, look("A", now=jumped))).phase is Phase.PAUSED
