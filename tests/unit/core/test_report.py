"""What status tells: the level, the one line, the JSON; and never "ok" when something is wrong or unknown."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from rollover.core.deferral import Deferral, deferral
from rollover.core.ledger import ROUNDING, Patience
from rollover.core.line import line
from rollover.core.model import Book, Pause, Reload, Standing, State, World
from rollover.core.problems import Level, Problem, problem
from rollover.core.report import SCHEMA, Report, aged, due, failed, needs_person, report, unseen, worst
from rollover.core.sighting import ResolverAnswer, Sighting, Signature
from rollover.core.steps import Activate, Phase, Rest, SetGoal, Step, Update
from rollover.core.steps import Reload as ReloadStep
from rollover.core.timing import stamp
from rollover.core.view import View
from tests.unit.core.worlds import (
    FILE,
    NOW,
    OWNER,
    SERVICE,
    TTL,
    at,
    chain,
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

READY = past("A", -2 * TTL)


def told(it: World, seen: Sighting, *extra: Problem, before: Report | None = None, step: Step | None = None) -> Report:
    """Return the report of a run that saw *seen* and ended in what it decided."""
    it = entered(it, seen)
    return report(View(it, seen), step or decided(it, seen), extra, before)


def codes(it: Report) -> dict[str, Level]:
    """Return the codes of a report with their levels."""
    return {d.problem.code: d.problem.level for d in it.problems}


def later(seconds: float, it: World, seen: Sighting, first: Report | None = None) -> Report:
    """Return the report of the same thing seen *seconds* after NOW, after one of NOW."""
    return told(it, replace(seen, time=at(seconds)), before=first or told(it, seen))


# -------------------------------------------------------------------------------------- level


def test_a_steady_service_is_ok() -> None:
    """One line, no problem, and when it is looked at next."""
    it = told(world(), look())

    assert (it.level, it.phase, it.problems) == (Level.OK, Phase.STEADY, ())
    assert line(it, at(40).wall) == (
        f"OK mail: no mail is deferred; serving {fp('A')[:16]}, valid until 2027-01-21; seen 40 s ago; "
        "next: look not before 2026-11-22T14:15:00Z"
    )
    assert (it.action, it.not_before) == ("look", NOW.wall + timedelta(seconds=900))


def test_a_rollover_that_goes_well_is_ok() -> None:
    """It says what it waits for and until when, and wakes nobody."""
    it = told(world("B", ledger=[past("A", -50)]), look("A B"))

    assert (it.level, it.phase) == (Level.OK, Phase.WAITING)
    assert line(it, NOW.wall) == (
        f"OK mail: no mail is deferred; serving {fp('A')[:16]}, valid until 2027-01-21; {fp('B')[:16]} is wanted: "
        "until no resolver can hold the old RRset; seen 0 s ago; next: install not before 2026-11-22T14:02:30Z"
    )


@pytest.mark.parametrize(
    ("levels", "expected"),
    [
        ([], Level.OK),
        ([Level.OK, Level.WARNING], Level.WARNING),
        ([Level.UNKNOWN, Level.WARNING], Level.UNKNOWN),
        ([Level.UNKNOWN, Level.CRITICAL, Level.OK], Level.CRITICAL),
    ],
)
def test_the_worst_level_is_the_one_to_act_on(levels: list[Level], expected: Level) -> None:
    """Critical before unknown before warning before ok."""
    assert worst(levels) is expected


SECOND = "_465._tcp.mail.example.org."
HURT: dict[str, tuple[World, Sighting, str, Level]] = {
    "the primary has not what is presented": (
        world(failed={f"update:{OWNER}": "update-refused"}),
        look("B", "A"),
        "mail-deferred",
        Level.CRITICAL,
    ),
    "a public secondary has not what is presented": (world(), look(owner("A", "B")), "mail-deferred", Level.CRITICAL),
    "what is presented without SNI is not matched": (
        world(failed={f"update:{OWNER}": "x"}),
        look("A", [end("A"), end("B", sni=False)]),
        "mail-deferred",
        Level.CRITICAL,
    ),
    "a resolver may hold what does not match": (
        world(ledger=[past("B", -30)]),
        look(),
        "caches-stale",
        Level.CRITICAL,
    ),
    "a resolver may hold it for a second yet": (
        world(ledger=[past("B", 1 - TTL - ROUNDING)]),
        look(),
        "caches-stale",
        Level.CRITICAL,
    ),
    "and nobody can say whether a server still shows it": (
        world(ledger=[past("B", None)]),
        look(owner("A", None)),
        "mail-deferred",
        Level.CRITICAL,
    ),
    "the resolver gives what is not matched": (
        world("B", "B", loaded="B"),
        look(owner("B", resolver="A"), "B", "B"),
        "resolver-stale",
        Level.CRITICAL,
    ),
    "the resolver gives what nobody could hold any more": (
        world("B", "B", loaded="B", ledger=[past("A", -2 * TTL)]),
        look(owner("B", resolver="A"), "B", "B"),
        "resolver-stale",
        Level.CRITICAL,
    ),
    "a restart would present what a secondary does not match": (
        world("B", ledger=[past("A")]),
        look(owner("A B", "A"), "A", "B"),
        "live-file",
        Level.CRITICAL,
    ),
    "an endpoint presents an old certificate of ours": (
        world("B", "B", loaded="B"),
        look("A B", [end("B"), end("A", sni=False)], "B"),
        "endpoint-old",
        Level.WARNING,
    ),
    "an unknown certificate at an endpoint": (world(), look("A X", "X"), "unknown-certificate", Level.CRITICAL),
    "an unknown certificate in the live file": (world(), look("A X", "A", "X"), "unknown-certificate", Level.CRITICAL),
    "a revoked key at an endpoint": (
        world(states={"B": State.REVOKED}),
        look("A B", "B"),
        "unknown-certificate",
        Level.CRITICAL,
    ),
    "no TLS where there is DANE": (world(), look("A", "454"), "endpoint-failing", Level.CRITICAL),
    "no greeting where there is DANE": (world(), look("A", "silent"), "endpoint-failing", Level.CRITICAL),
    "no TLS without DANE": (world(dane_on=frozenset()), look("", "454"), "endpoint-failing", Level.WARNING),
    "one endpoint is not reached": (
        world(),
        look("A", [*ends("A"), end("unreachable", "2001:db8::25")]),
        "endpoint-unreachable",
        Level.WARNING,
    ),
    "no endpoint is reached": (world(), look("A", "unreachable"), "endpoint-failing", Level.CRITICAL),
    "there is no endpoint to ask": (world(), look("A", []), "endpoint-failing", Level.CRITICAL),
    "no endpoint of one owner was asked": (
        world(service=replace(SERVICE, ports=(25, 465))),
        look([owner("A"), owner("A", name=SECOND)]),
        "endpoint-unreachable",
        Level.WARNING,
    ),
    "an owner was not looked at": (
        world(service=replace(SERVICE, ports=(25, 465))),
        look("A", [*ends("A"), end("A", port=465)]),
        "owner-blocked",
        Level.CRITICAL,
    ),
    "an owner that cannot be managed": (
        world(),
        look(owner("A", blocked="CNAME loop")),
        "owner-blocked",
        Level.CRITICAL,
    ),
    "a dead primary": (world(), look(owner(None, "A")), "primary-unreachable", Level.WARNING),
    "bad signatures": (
        world(),
        look(owner("A", server("A", signature=Signature.EXPIRED))),
        "signature-bad",
        Level.CRITICAL,
    ),
    "signatures that nobody renews": (
        world(),
        look(owner("A", server("A", signature=Signature.VALID, expiration=NOW.wall + timedelta(minutes=61)))),
        "signature-expiring",
        Level.CRITICAL,
    ),
    "the resolver gives no answer": (world(), look(owner("A", resolver=None)), "resolver-failed", Level.WARNING),
    "the zone is not authenticated": (
        world(),
        look(owner("A", resolver=ResolverAnswer(r("A"), authenticated=False))),
        "zone-insecure",
        Level.CRITICAL,
    ),
    "somebody switched DANE off": (world(), look("", "A"), "dane-off", Level.CRITICAL),
    "the live file is gone": (world(failed={"install": "x"}), look("A", "A", ""), "live-file", Level.CRITICAL),
    "the live file is unusable": (
        world(failed={"install": "x"}),
        look("A", "A", [live("A", problem="truncated")]),
        "live-file",
        Level.CRITICAL,
    ),
    "the live file is gone, and nobody said why": (
        world(failed={"install": "x"}),
        look("A", "A", [live("", problem="")]),
        "live-file",
        Level.CRITICAL,
    ),
    "the mail server reads another file": (
        world(),
        look("A", "A", [live("A", wiring="main.cf names /etc/other.pem")]),
        "wiring",
        Level.CRITICAL,
    ),
    "the clocks differ": (
        world(),
        look("A", clock=False, clock_problem="clocks differ by 400 s"),
        "clock",
        Level.CRITICAL,
    ),
    "what is served is expired": (
        world(vault="", more=[credential("A", days=-1)]),
        look(),
        "certificate-expired",
        Level.CRITICAL,
    ),
    "what is served expires soon": (
        world(vault="", more=[credential("A", days=17)]),
        look(),
        "certificate-expiring",
        Level.WARNING,
    ),
    "what is served expires before the next is ready": (
        world("B", vault="B", more=[credential("A", days=100 / 86400)], ledger=[past("A", -50)]),
        look("A B"),
        "certificate-late",
        Level.WARNING,
    ),
    "what is served expires when the next is ready": (
        world("B", vault="B", more=[credential("A", days=150 / 86400)], ledger=[past("A", -50)]),
        look("A B"),
        "certificate-late",
        Level.WARNING,
    ),
    "the wanted one is expired": (
        world("B", vault="A", more=[credential("B", days=-1)]),
        look("A B"),
        "goal-unusable",
        Level.CRITICAL,
    ),
    "an install failed, and there is nothing to return to": (
        world("B", ledger=[READY], loaded="B", install=opened(-60), return_spent=True),
        look("A B", "454", "B"),
        "install-failed",
        Level.CRITICAL,
    ),
    "an install was taken back": (
        world(states={"B": Standing(State.READY, "", "454")}, return_spent=True),
        look(),
        "returned",
        Level.CRITICAL,
    ),
    "an endpoint presents the old one long after the reload": (
        world("B", ledger=[READY], loaded="B", install=opened(-60), reloads={FILE: Reload("identity of B", at(-1))}),
        look("A B", [end("B"), end("A", sni=False)], "B"),
        "endpoint-old",
        Level.CRITICAL,
    ),
    "a foreign record stands in the way": (
        world("B", vault="A", more=[credential("B", issuer="other")]),
        look("A B A:211"),
        "foreign-record",
        Level.CRITICAL,
    ),
    "it is paused": (world(pause=Pause(NOW)), look(), "paused", Level.WARNING),
    "its release stopped half way": (world(releasing=True), look(), "releasing", Level.WARNING),
    "it was never adopted": (replace(world(), book=Book()), look(), "not-adopted", Level.WARNING),
}


@pytest.mark.parametrize(("it", "seen", "code", "level"), HURT.values(), ids=HURT)
def test_ok_is_never_said_when_something_is_wrong(it: World, seen: Sighting, code: str, level: Level) -> None:
    """Each fault has its code, its level, a message and a hint; status says the worst."""
    found = told(it, seen)

    assert codes(found)[code] is level
    assert found.level is not Level.OK
    assert line(found, NOW.wall).startswith(f"{str(found.level).upper()} mail: ")
    for dated in found.problems:
        assert dated.problem.message
        assert dated.problem.hint


FINE = {
    "an RRset that no resolver can hold any more": (world(ledger=[past("B", -TTL - 3)]), look()),
    "one that matches too": (world(ledger=[past("A B", -5)]), look()),
    "one that only may have been there": (world(ledger=[past(None, -5)]), look()),
    "one that only may still land": (world(ledger=[past("B", None, intended=-5)]), look()),
    "a certificate with a fifth of its life left": (world(vault="", more=[credential("A", days=18)]), look()),
    "one that expires while the next one waits": (
        world("B", vault="B", more=[credential("A", days=2)], ledger=[past("A", -50)]),
        look("A B"),
    ),
    "a certificate that ends when the next one is ready": (
        world("B", vault="B", more=[credential("A", days=151 / 86400)], ledger=[past("A", -50)]),
        look("A B"),
    ),
    "a certificate with a second left, and the next one is ready": (
        world("B", vault="B", more=[credential("A", days=1 / 86400)], ledger=[READY]),
        look("A B"),
    ),
    "a resolver that may hold the old RRset for a second yet": (
        world("B", "B", loaded="B", ledger=[past("A", 1 - 2 * TTL)]),
        look(owner("B", resolver="A"), "B", "B"),
    ),
    "an old process, and the last of two reloads was a moment ago": (
        world("B", "B", reloads={FILE: Reload("identity of B", at(-1)), "/second": Reload("identity of B", at(-999))}),
        look("A B", [end("B"), end("A", sni=False)], [live("B"), live("B", "/second")]),
    ),
    "a failing install that still has its time": (
        world("B", ledger=[READY], loaded="B", install=opened(-59, shown="454")),
        look("A B", "B", "B"),
    ),
    "a certificate that failed once and was put aside by a newer one": (
        world(states={"B": Standing(State.READY, "", "454")}),
        look(),
    ),
}


@pytest.mark.parametrize(("it", "seen"), FINE.values(), ids=FINE)
def test_what_is_no_fault_wakes_nobody(it: World, seen: Sighting) -> None:
    """An alarm that is not meant is soon an alarm that is not heard."""
    found = told(it, seen)

    assert {c for c, level in codes(found).items() if level is not Level.OK} == set()
    assert found.level is Level.OK


def test_mail_is_deferred_by_what_the_public_asks() -> None:
    """A hidden primary defers nobody by itself, but what it has others take over."""
    hidden = replace(server("B", "ns1", primary=True), public=False)
    it = world(failed={f"update:{OWNER}": "x"})

    ahead = told(it, look(owner(hidden, "A")))
    assert "mail-deferred" not in codes(ahead)
    assert codes(ahead)["deferral-ahead"] is Level.CRITICAL
    assert ahead.deferred is Deferral.MAYBE
    assert "deferral-ahead" not in codes(told(it, look(owner("B", "B")))), "mail is being deferred: that is said"
    assert "mail-deferred" in codes(told(it, look(owner(hidden, "B"))))


def test_the_deferral_names_server_owner_certificate_and_endpoint() -> None:
    """Cause with server: whoever reads it at 03:00 knows where to look."""
    (found,) = [
        d.problem.message for d in told(world(), look(owner("A", "B"))).problems if d.problem.code == "mail-deferred"
    ]

    for word in ("ns2", OWNER, fp("A")[:16], "192.0.2.25:25", "being deferred"):
        assert word in found


def test_what_caches_may_hold_is_told_in_seconds() -> None:
    """As long as the longest of them may last."""
    it = world(ledger=[past("B", -30), past("C", -30, ttl=300)])
    (found,) = told(it, look()).problems

    assert "for 273 s yet" in found.problem.message


def test_a_goal_that_waits_explains_why_the_old_one_is_still_served() -> None:
    """The summary names both."""
    it = told(world("B"), look(owner("A B", "A")))

    assert it.summary.startswith(f"serving {fp('A')[:16]}")
    assert f"{fp('B')[:16]} is wanted" in it.summary


def test_a_queued_certificate_is_named() -> None:
    """Who handed over a second one sees what became of it."""
    it = told(world("B", queued="C", ledger=[past("A", -50)]), look("A B"))

    assert fp("C")[:16] in it.summary
    assert [c["queued"] for c in it.credentials if c["fingerprint"] == fp("C")] == [True]


def test_nothing_stands_still_without_a_word() -> None:
    """A blocked phase is critical, whatever it was that blocked."""
    found = told(world(), look(), step=Rest(Phase.BLOCKED, "more than 60 steps in one run"))

    assert (found.level, codes(found)) == (Level.CRITICAL, {"stuck": Level.CRITICAL})
    assert "more than 60 steps" in line(found, NOW.wall)
    minor = told(world(), look(owner("A", resolver=None)), step=Rest(Phase.BLOCKED, "more than 60 steps in one run"))
    assert list(codes(minor)) == ["resolver-failed", "stuck"]
    major = told(world(), look("A", "A", [live("A", problem="truncated")]), step=Rest(Phase.BLOCKED, "…"))
    assert list(codes(major)) == ["live-file"]


# ---------------------------------------------------------------------------------- since, late


def test_a_problem_is_known_since_it_was_first_seen() -> None:
    """Since is kept over any number of looks, and ends with the problem."""
    it, hurt = world(), look(owner("A", resolver=None))
    second = later(60, it, hurt)
    third = later(120, it, hurt, second)

    assert [d.since for d in third.problems] == [NOW.wall]
    well = later(180, it, look(), third)
    assert well.problems == ()
    again = later(240, it, hurt, well)
    assert [d.since for d in again.problems] == [at(240).wall]


@pytest.mark.parametrize(("seconds", "level"), [(0, Level.OK), (3599, Level.OK), (3600, Level.WARNING)])
@pytest.mark.parametrize(
    ("seen", "code"),
    [(look(owner("A", None)), "server-unreachable"), (look(owner("A", server("A", serial=0))), "secondary-stale")],
    ids=["away", "behind"],
)
def test_a_late_server_is_told_at_once_and_a_warning_after_a_while(
    seen: Sighting, code: str, seconds: float, level: Level
) -> None:
    """propagation_warn: from when on status warns that a server is late."""
    found = later(seconds, world(), seen)

    assert codes(found) == {code: level}
    assert found.level is level


def test_what_is_not_yet_a_warning_stays_out_of_the_line() -> None:
    """The line says what is done; the list of problems has it."""
    found = told(world(), look(owner("A", None)))

    assert line(found, NOW.wall).startswith("OK mail: no mail is deferred; serving")
    assert json.dumps(found.as_json()["problems"]).count("server-unreachable") == 1


# ---------------------------------------------------------------------------------- stale looks


@pytest.mark.parametrize(
    ("age", "level"),
    [(0, Level.OK), (2700, Level.OK), (-2700, Level.OK), (2701, Level.UNKNOWN), (-2701, Level.UNKNOWN)],
)
def test_a_look_that_is_too_old_is_unknown(age: float, level: Level) -> None:
    """Older than three check_every: unknown, never ok; from the future no less."""
    it = aged(told(world(), look()), world(), at(age).wall)

    assert it.level is level
    assert ("stale-look" in codes(it)) is (level is Level.UNKNOWN)


def test_a_stale_look_says_when_it_was_and_keeps_what_it_knew() -> None:
    """Critical stays critical."""
    first = told(world(), look(owner("A", "B")))
    it = aged(first, world(), at(86400).wall)

    assert it.level is Level.CRITICAL
    assert it.problems[0].problem == problem(
        "stale-look", f"last looked at {stamp(NOW.wall)}, 1 day, 0:00:00 ago", service="mail"
    )
    assert it.problems[0].since == NOW.wall
    before = aged(first, world(), at(-7200).wall).problems[0].problem
    assert before.message == f"last looked at {stamp(NOW.wall)}, 2:00:00 in the future"
    often = replace(world(), service=replace(SERVICE, check_every=0.1))
    assert aged(first, often, at(1).wall).problems[0].problem.message.endswith(", 0:00:01 ago")
    assert {d.problem.code for d in first.problems} < {d.problem.code for d in it.problems}
    assert aged(it, world(), at(90000).wall).problems[1:] == first.problems


def test_the_limit_follows_check_every() -> None:
    """A service that is looked at once a day is not unknown after an hour."""
    it = replace(world(), service=replace(SERVICE, check_every=86400))

    assert aged(told(it, look()), it, at(3 * 86400).wall).level is Level.OK


def test_a_service_that_nobody_looked_at_is_unknown() -> None:
    """Adopted and never seen: unknown; not adopted: that."""
    never, new = unseen(world(), NOW.wall), unseen(replace(world(), book=Book()), NOW.wall)

    assert (never.level, list(codes(never)), never.seen) == (Level.UNKNOWN, ["never-looked"], None)
    assert (new.level, list(codes(new)), new.phase) == (Level.WARNING, ["not-adopted"], Phase.UNADOPTED)
    assert aged(never, world(), at(1e6).wall) == never


# ----------------------------------------------------------------------------------- the line


def test_the_line_has_level_service_deferral_cause_since_age_next_act_and_a_command() -> None:
    """One line, for mail from cron."""
    it, seen = world("B", ledger=[READY]), look(owner("A B", resolver=None))
    found = later(60, it, seen)

    assert line(found, at(130).wall) == (
        f"WARNING mail: whether mail is deferred is unknown: no answer for {OWNER}: SERVFAIL since 2026-11-22T14:00:00Z; "
        "seen 70 s ago; next: install not before 2026-11-22T14:01:00Z. "
        "SERVFAIL there means that senders cannot deliver either: `dig +cd` tells whether it is DNSSEC"
    )


def test_a_deferral_is_the_first_thing_that_is_told() -> None:
    """Once, with server and since when; the hint's command is better than the history's."""
    found = told(world(), look(owner("A", "B")))

    assert line(found, at(180).wall).startswith("CRITICAL mail: DANE mail is being deferred: ns2")
    assert line(found, at(180).wall).endswith(
        "since 2026-11-22T14:00:00Z; seen 3 min ago; next: look at the next tick. Run `rollover advance mail`"
    )


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("mail-deferred", "Run `rollover advance mail`"),
        ("unknown-certificate", "If it is wanted: `rollover deploy FULLCHAIN KEY --service mail`"),
        ("install-failed", "`rollover rollback mail --to FINGERPRINT` installs another certificate"),
        ("endpoint-failing", "Look at the mail server's log (`postfix check`, `journalctl -u postfix`)"),
        ("endpoint-old", "Find the process that was not reloaded: `postfix status`, `ss -tlnp`"),
        ("caches-stale", "See: rollover history mail"),
        ("update-refused", "If the zone is frozen: `rndc thaw ZONE`"),
        (
            "returned",
            "Look at the mail server's log, mend the cause, then `rollover rollback mail --to FINGERPRINT` (the failed one) tries it again",
        ),
        ("goal-unusable", "`rollover rollback mail` or `rollover deploy` another one"),
        ("live-file", "`rollover advance mail` writes it again"),
        ("wildcard-shadow", "See: rollover history mail"),
        ("stuck", "`rollover advance mail` tries again"),
        ("stale-look", "`systemctl status rollover-advance.timer`, or look at the crontab"),
    ],
)
def test_the_line_ends_with_the_command_of_the_hint(code: str, said: str) -> None:
    """Its whole clause, for "if it is wanted" belongs to it; the history where no hint has a command."""
    it = problem(code, "…", service="mail", level=Level.CRITICAL)

    assert line(told(world(), look(), it), NOW.wall).endswith(f". {said}")


def test_a_clause_of_a_hint_keeps_its_last_word() -> None:
    """Only what ends it is left out."""
    it = problem("clock", "…", service="mail", hint="`dig example.org MX` lists every MX; or ask")

    assert line(told(world(), look(), it), NOW.wall).endswith(". `dig example.org MX` lists every MX")


def test_the_line_names_the_worst_and_counts_the_others() -> None:
    """Critical first, whatever came first."""
    minor = problem("resolver-failed", "no answer", service="mail")
    major = problem("clock", "clocks differ", service="mail")

    both = line(told(world(), look(), minor, major), NOW.wall)
    assert both.startswith("CRITICAL mail: no mail is deferred: clocks differ since ")
    assert "(and 1 more)" in both
    assert "more)" not in line(told(world(), look(), minor), NOW.wall)


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0, "seen 0 s ago"),
        (119, "seen 119 s ago"),
        (120, "seen 2 min ago"),
        (7200, "seen 2 h ago"),
        (86400, "seen 24 h ago"),
        (172800, "seen 2 d ago"),
        (200000, "seen 2 d ago"),
        (-90, "seen 90 s in the future"),
    ],
)
def test_the_age_of_the_look_is_told_in_the_unit_that_fits(seconds: float, said: str) -> None:
    """Also when all is well: what was seen long ago is no news."""
    assert f"; {said}; " in line(told(world(), look()), at(seconds).wall)


def test_what_was_never_looked_at_says_so() -> None:
    """Nobody knows whether its mail is deferred; of a service that was not adopted that is nobody's claim."""
    never, new = unseen(world(), NOW.wall), unseen(replace(world(), book=Book()), NOW.wall)

    assert line(never, NOW.wall).startswith("UNKNOWN mail: whether mail is deferred is unknown: nothing was observed")
    assert line(new, NOW.wall) == (
        "WARNING mail: not adopted: nothing is done for it; never looked at. "
        "Run `rollover check mail`, then `rollover adopt mail`"
    )


def test_an_act_without_an_hour_is_due_at_the_next_tick() -> None:
    """Nobody knows when a server comes back."""
    assert "next: wait at the next tick" in line(told(world("B"), look(owner("A B", "A"))), NOW.wall)


def test_what_is_critical_is_looked_at_by_the_next_tick() -> None:
    """What status promises is what the loop does: `check_every` is for what is calm."""
    calm = told(world(), look())
    critical = told(world(), look(), problem("clock", "…", service="mail"))
    stuck = told(world(), look(), step=Rest(Phase.BLOCKED, "…"))
    kept = told(world(), look(), step=Rest(Phase.RETAINING, "not every endpoint …", action="withdraw"))

    assert (calm.action, calm.not_before) == ("look", at(900).wall)
    assert (critical.action, critical.not_before) == ("look", None)
    assert (stuck.action, stuck.not_before) == ("look", None)
    assert (kept.action, kept.not_before) == ("withdraw", at(900).wall)
    it = entered(world(), look())
    hurried = report(View(it, look()), decided(it, look()), hurried=True)
    assert (hurried.action, hurried.not_before) == ("look", None)


@pytest.mark.parametrize(
    ("step", "seconds"),
    [
        (Rest(Phase.STEADY, "…"), 900),
        (Rest(Phase.RETAINING, "…", seconds=86400, action="withdraw"), 900),
        (Rest(Phase.RETAINING, "…", seconds=5, action="withdraw"), 5),
        (Rest(Phase.RETAINING, "…", action="withdraw"), 900),
        (Rest(Phase.WAITING, "…", seconds=3600, action="install"), None),
        (Rest(Phase.PROPAGATING, "…", action="wait"), None),
        (Rest(Phase.WITHDRAWING, "…", action="withdraw"), None),
        (Rest(Phase.BLOCKED, "…"), None),
    ],
)
def test_a_rollover_is_looked_at_by_every_tick(step: Rest, seconds: float | None) -> None:
    """What is calm every `check_every`, and when the record that was kept for a rollback may go."""
    it = told(world(), look(), step=step)

    assert due(it, 900) == (None if seconds is None else at(seconds).wall)
    assert due(replace(it, not_before=None), 900) == (None if seconds is None else at(900).wall)
    assert due(replace(it, level=Level.CRITICAL), 900) is None


# ---------------------------------------------------------------------------------- is mail deferred

DEFERRALS: dict[str, tuple[World, Sighting, Deferral]] = {
    "all is well": (world(), look(), Deferral.NO),
    "a server is away, and the others match": (world(), look(owner("A", None)), Deferral.NO),
    "the zone is not signed: nobody checks": (
        world(),
        look(owner("A", resolver=ResolverAnswer(r("A"), authenticated=False))),
        Deferral.NO,
    ),
    "no TLS where there is no DANE": (world(dane_on=frozenset()), look("", "454"), Deferral.NO),
    "a server has no match": (world(), look(owner("A", "B")), Deferral.YES),
    "no TLS where there is DANE": (world(), look("A", "454"), Deferral.YES),
    "nobody greets": (world(), look("A", "silent"), Deferral.YES),
    "one address of two does not greet": (
        world(),
        look("A", [*ends("A"), end("silent", "2001:db8::25")]),
        Deferral.MAYBE,
    ),
    "one address does not greet, the other is not reached": (
        world(),
        look("A", [end("silent"), end("unreachable", "2001:db8::25")]),
        Deferral.YES,
    ),
    "no address is reached": (world(), look("A", "unreachable"), Deferral.MAYBE),
    "one address is not reached": (
        world(),
        look("A", [*ends("A"), end("unreachable", "2001:db8::25")]),
        Deferral.UNKNOWN,
    ),
    "no address is known": (world(), look("A", []), Deferral.UNKNOWN),
    "a resolver gives what no cache should have any more": (
        world("B", "B", loaded="B"),
        look(owner("B", resolver="A"), "B", "B"),
        Deferral.MAYBE,
    ),
    "a resolver gives what the install waits for": (
        world("B", ledger=[READY]),
        look(owner("A B", resolver="A")),
        Deferral.NO,
    ),
    "caches may hold what does not match": (world(ledger=[past("B", -30)]), look(), Deferral.MAYBE),
    "signatures are bad on one server": (
        world(),
        look(owner("A", server("A", signature=Signature.EXPIRED))),
        Deferral.MAYBE,
    ),
    "signatures are bad, and no resolver takes them": (
        world(),
        look(owner("A", server("A", signature=Signature.EXPIRED), resolver=None)),
        Deferral.YES,
    ),
    "the resolver gives no answer": (world(), look(owner("A", resolver=None)), Deferral.UNKNOWN),
    "no server gives an answer": (world(), look(owner(None, None)), Deferral.UNKNOWN),
    "an owner was not looked at": (
        world(service=replace(SERVICE, ports=(25, 465))),
        look("A", [*ends("A"), end("A", port=465)]),
        Deferral.UNKNOWN,
    ),
    "it was never adopted": (replace(world(), book=Book()), look(), Deferral.UNKNOWN),
}


@pytest.mark.parametrize(("it", "seen", "expected"), DEFERRALS.values(), ids=DEFERRALS)
def test_whether_mail_is_deferred_is_told_by_what_was_seen(it: World, seen: Sighting, expected: Deferral) -> None:
    """Yes, perhaps, no, or unknown where it cannot be known; in the line and in the JSON."""
    found = told(it, seen)

    assert found.deferred is expected
    assert found.as_json()["deferred"] == expected.value
    said = line(found, NOW.wall)
    assert expected.words in said or said.split(": ", 1)[1].startswith(("DANE mail ", "was never adopted"))


def test_a_hook_in_a_hurry_does_not_say_that_nobody_greets() -> None:
    """Silence of a second is no finding."""
    it = entered(world(), look("A", "silent"))

    found = report(View(it, look("A", "silent")), decided(it, look("A", "silent")), hurried=True)
    assert found.deferred is Deferral.UNKNOWN


def test_a_hook_in_a_hurry_tells_of_silence_only_what_was_known_before() -> None:
    """Silence that a regular look has found stays; what is no silence is told at once."""
    seen = look(owner("A", resolver=None), "A", [live("A", problem="truncated")])
    it = entered(world(), seen)

    def hurried(before: Report | None) -> list[str]:
        return list(codes(report(View(it, seen), decided(it, seen), (), before, hurried=True)))

    assert hurried(None) == ["live-file"]
    assert hurried(told(world(), look())) == ["live-file"]
    assert sorted(hurried(told(world(), look(owner("A", resolver=None))))) == ["live-file", "resolver-failed"]


def test_a_look_that_took_its_time_finds_silence() -> None:
    """Unless it is said to be in a hurry."""
    it = entered(world(), look("A", "silent"))

    assert deferral(View(it, look("A", "silent")), ()) is Deferral.YES


def test_what_was_taken_back_is_named_and_nothing_else() -> None:
    """Not what only waits, nor the goal itself, which is tried again."""
    blocked = Standing(State.READY, "", "454")
    it = world(states={"A": replace(blocked, state=State.ACTIVE), "B": blocked, "C": State.READY}, return_spent=True)

    assert [d.problem.message for d in told(it, look()).problems] == [f"certificate {fp('B')[:16]} was taken back: 454"]


def test_a_failed_install_is_told_of_what_was_installed() -> None:
    """Whatever is wanted by now."""
    it = world("C", ledger=[READY], loaded="B", install=opened(-60, of="B"), return_spent=True)
    found = [d.problem for d in told(it, look("A B C", "454", "B")).problems]

    assert [p.message.split(" does")[0] for p in found if p.code == "install-failed"] == [f"certificate {fp('B')[:16]}"]


def test_without_any_endpoint_no_owner_is_said_to_lack_one() -> None:
    """One word is enough: none can be reached."""
    assert "endpoint-unreachable" not in codes(told(world(), look("A", [])))


def test_an_old_look_says_nothing_of_mail_now() -> None:
    """Unknown, whatever was seen then."""
    assert aged(told(world(), look()), world(), at(86400).wall).deferred is Deferral.UNKNOWN


def test_a_report_of_an_older_version_reads_back() -> None:
    """It has no word of deferral: unknown until the next look."""
    document = told(world(), look()).as_json()
    del document["deferred"]

    assert Report.from_json(document).deferred is Deferral.UNKNOWN


def test_a_run_that_was_stopped_is_told_beside_what_was_known() -> None:
    """Never ok; the last sighting keeps its age, and since when is kept while it lasts."""
    first = told(world(), look())
    stopped = failed(
        first, problem("run-failed", "key.key: others can read it", service="mail", hint="`chmod 600 k`"), at(60).wall
    )
    again = failed(stopped, problem("run-failed", "the same", service="mail", hint="`chmod 600 k`"), at(120).wall)

    assert codes(stopped) == {"run-failed": Level.CRITICAL}
    assert (stopped.level, stopped.seen, stopped.phase) == (Level.CRITICAL, first.seen, Phase.STEADY)
    waiting = failed(told(world("B", ledger=[past("A", -50)]), look("A B")), stopped.problems[0].problem, at(60).wall)
    assert (waiting.action, waiting.not_before) == ("look", None)
    assert [d.since for d in again.problems] == [at(60).wall]
    assert line(again, at(120).wall) == (
        "CRITICAL mail: whether mail is deferred is unknown: the same since 2026-11-22T14:01:00Z; seen 2 min ago; "
        "next: look at the next tick. `chmod 600 k`"
    )
    assert needs_person(again)
    deferred = failed(told(world(), look(owner("A", "B"))), problem("run-failed", "…", service="mail"), at(60).wall)
    assert deferred.deferred is Deferral.YES
    assert Report.from_json(json.loads(json.dumps(again.as_json()))) == again


def test_the_same_problem_is_told_once() -> None:
    """A step and the sighting may both name it."""
    seen = look(owner("A B", None))

    assert [d.problem.code for d in told(world("B"), seen).problems] == ["server-unreachable"]


def test_of_two_that_tell_the_same_the_one_that_says_why_is_kept() -> None:
    """Its hint helps; the other's misleads."""
    why = problem("tsig-badsig", "BADSIG from ns1", service="mail")
    beside = problem("primary-unreachable", "ns1 BADSIG from ns1", service="mail")

    assert [d.problem.code for d in told(world(), look(), beside, why).problems] == ["tsig-badsig"]


def test_a_step_that_is_not_a_rest_is_told_by_its_name() -> None:
    """A run that ends in the middle of something says in what."""
    publishing = told(world("B"), look("A"))
    writing = told(world("B", ledger=[READY]), look("A B"))

    assert (publishing.phase, publishing.action) == (Phase.PUBLISHING, "publish")
    assert (writing.phase, writing.action) == (Phase.INSTALLING, "install")


NEXT: dict[str, tuple[Step, Phase, str]] = {
    "a reload": (ReloadStep((FILE,), "…"), Phase.INSTALLING, "reload"),
    "another goal": (SetGoal(fp("A"), "…"), Phase.INSTALLING, "change of the wanted certificate"),
    "an activation": (Activate(fp("A")), Phase.INSTALLING, "activate"),
    "a withdrawal": (Update(OWNER, (), "…", Phase.WITHDRAWING), Phase.WITHDRAWING, "withdraw"),
    "a pause without an end": (Rest(Phase.PAUSED, "…"), Phase.PAUSED, ""),
}


@pytest.mark.parametrize(("step", "phase", "action"), NEXT.values(), ids=NEXT)
def test_what_comes_next_is_told_in_a_word(step: Step, phase: Phase, action: str) -> None:
    """Or not at all, where nothing comes by itself; never when, where nobody knows."""
    it = told(world(), look(), step=step)

    assert (it.phase, it.action, it.not_before) == (phase, action, None)
    assert it.as_json()["next"] == ({"action": action, "not_before": None} if action else None)


SUMMARIES: dict[str, tuple[World, Step, str]] = {
    "nothing installed by us": (
        world("B", ""),
        Rest(Phase.WAITING, "why"),
        "serving nothing that this tool installed",
    ),
    "steady": (world(), Rest(Phase.STEADY, "all is done"), "serving {A}, valid until 2027-01-21"),
    "wanted and queued": (
        world("B", queued="C"),
        Rest(Phase.WAITING, "why"),
        "serving {A}, valid until 2027-01-21; {B} is wanted: why; {C} is queued",
    ),
    "active and not at rest": (
        world(),
        Rest(Phase.RETAINING, "why"),
        "serving {A}, valid until 2027-01-21; why",
    ),
}


@pytest.mark.parametrize(("it", "step", "expected"), SUMMARIES.values(), ids=SUMMARIES)
def test_the_summary_says_what_is_served_wanted_and_queued(it: World, step: Step, expected: str) -> None:
    """In this order, on one line."""
    names = {x: fp(x)[:16] for x in "ABC"}

    assert told(it, look("A B C"), step=step).summary == expected.format(**names)


# ----------------------------------------------------------------------------------- the JSON

INSTANT, TEXT, NULL = "instant", str, type(None)
SERVICE_SHAPE: dict[str, Any] = {
    "name": TEXT,
    "hosts": [TEXT],
    "level": {"ok", "warning", "critical", "unknown"},
    "phase": {
        *("unadopted", "steady", "publishing", "propagating", "waiting", "installing", "verifying", "retaining"),
        *("withdrawing", "rolling-back", "paused", "blocked"),
    },
    "summary": TEXT,
    "next": (NULL, {"action": TEXT, "not_before": (NULL, INSTANT)}),
    "credentials": [
        {
            "fingerprint": TEXT,
            "spki_sha256": TEXT,
            "state": {x.value for x in State},
            "not_after": INSTANT,
            "records": [TEXT],
            "since": dict,
        }
    ],
    "problems": [
        {
            "code": TEXT,
            "level": {"ok", "warning", "critical", "unknown"},
            "message": TEXT,
            "hint": TEXT,
            "since": INSTANT,
        }
    ],
}


def fits(it: Any, shape: Any, place: str = "service") -> None:
    """Assert that a JSON value has the shape of interface.md; more fields are additive and allowed."""
    if isinstance(shape, tuple):
        if it is not None:
            fits(it, shape[1], place)
    elif shape == INSTANT:
        assert isinstance(it, str), place
        assert it.endswith("Z"), place
        assert datetime.fromisoformat(it).tzinfo is not None, place
    elif isinstance(shape, list):
        assert isinstance(it, list), place
        for one in it:
            fits(one, shape[0], f"{place}[]")
    elif isinstance(shape, set):
        assert it in shape, place
    elif isinstance(shape, dict):
        assert isinstance(it, dict), place
        assert set(shape) <= set(it), place
        for key, below in shape.items():
            fits(it[key], below, f"{place}.{key}")
    else:
        assert isinstance(it, shape), place


EVERY = {**{k: v[:2] for k, v in HURT.items()}, **FINE, "a steady service": (world(), look())}


@pytest.mark.parametrize(("it", "seen"), EVERY.values(), ids=EVERY)
def test_the_json_has_the_shape_of_the_interface_and_reads_back(it: World, seen: Sighting) -> None:
    """What is stored after a look is what status prints: nothing is lost on the way."""
    found = told(it, seen)
    document = json.loads(json.dumps(found.as_json()))

    fits(document, SERVICE_SHAPE)
    assert Report.from_json(document) == found
    assert Report.from_json(document).as_json() == document


def test_a_service_without_a_look_reads_back_too() -> None:
    """No instant, no next act."""
    never = unseen(world(), NOW.wall)

    fits(never.as_json(), SERVICE_SHAPE)
    assert never.as_json()["next"] is None
    assert never.as_json()["seen"] is None
    assert Report.from_json(never.as_json()) == never
    assert SCHEMA == 1


def test_a_credential_is_told_with_its_records_and_its_past() -> None:
    """Fingerprint, key, state, end, records as they are or would be published, since when."""
    since = {"published": at(-500).wall, "ready": at(-100).wall}
    it = told(world("B", states={"B": Standing(State.READY, fp("A"), "454", since)}), look("A B B:312 A:312"))
    (b,) = [c for c in it.credentials if c["fingerprint"] == fp("B")]

    assert b["spki_sha256"] == chain("B").spki_sha256
    assert (b["state"], b["goal"], b["queued"], b["blocked"]) == ("ready", True, False, "454")
    assert b["records"] == [str(x) for x in sorted(r("B B:312"))]
    assert b["since"] == {"published": "2026-11-22T13:51:40Z", "ready": "2026-11-22T13:58:20Z"}


def test_what_was_removed_is_not_listed() -> None:
    """Five years of renewals are history, not status; what is wanted again is told."""
    states = {"B": State.REMOVED, "C": State.RETIRED}

    assert {c["fingerprint"] for c in told(world(states=states), look()).credentials} == {fp("A"), fp("C")}
    assert fp("B") in {c["fingerprint"] for c in told(world("B", states=states), look()).credentials}


def test_patience_changes_nothing_of_what_caches_may_hold() -> None:
    """Two TTLs are waited; one, rounded up, is what can be held, and after that nobody is told of it."""
    slow = replace(SERVICE, patience=Patience(ttls=5))

    assert told(world(ledger=[past("B", -TTL - 3)], service=slow), look()).level is Level.OK


@pytest.mark.parametrize(
    ("code", "phase", "asks"),
    [
        ("caches-stale", Phase.STEADY, False),
        ("caches-stale", Phase.WAITING, False),
        ("certificate-expired", Phase.WAITING, False),
        ("certificate-expired", Phase.PROPAGATING, False),
        ("certificate-expired", Phase.STEADY, True),
        ("resolver-stale", Phase.STEADY, True),
        ("resolver-stale", Phase.WAITING, False),
        ("certificate-expired", Phase.PAUSED, True),
        ("caches-stale", Phase.BLOCKED, True),
        ("mail-deferred", Phase.WAITING, True),
        ("unknown-certificate", Phase.STEADY, True),
        ("certificate-expiring", Phase.STEADY, False),
    ],
)
def test_what_ends_by_itself_asks_for_nobody(code: str, phase: Phase, *, asks: bool) -> None:
    """A wait goes on through what time or the rollover under way ends; through nothing else that is critical."""
    level = Level.WARNING if code == "certificate-expiring" else Level.CRITICAL
    it = told(world(), look(), problem(code, "…", service="mail", level=level))

    assert needs_person(replace(it, phase=phase)) is asks


def test_a_further_server_that_has_something_else_is_told_when_it_lasts() -> None:
    """One of `also_check`: nobody knows who asks it, so it is a late server, and a warning after a while."""
    hidden = replace(server("B", "ns9"), public=False)
    first = told(world(), look(owner("A", hidden)))
    assert codes(first)["secondary-stale"] is Level.OK

    assert codes(later(7200, world(), look(owner("A", hidden), now=7200), first))["secondary-stale"] is Level.WARNING
