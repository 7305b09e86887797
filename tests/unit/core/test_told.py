"""Why nothing is done, and what is wrong, word for word: what `status` prints and `history` keeps.

Each rest is stated whole: phase, reason, until when, whether a look within the run may be enough, what is next.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from rollover.core.deferral import Deferral
from rollover.core.model import Book, Pause, Reload, State, World
from rollover.core.problems import problem
from rollover.core.sighting import Endpoint, ResolverAnswer, Sighting, Signature
from rollover.core.steps import Activate, Install, Phase, Rest, SetGoal, Step, Update
from rollover.core.steps import Reload as ReloadStep
from tests.unit.core.test_report import HURT, told
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
    fp,
    live,
    look,
    opened,
    owner,
    past,
    r,
    rr,
    server,
    world,
)

A, B, X = (fp(x)[:16] for x in "ABX")
HERE = "mail.example.org 192.0.2.25:25"
READY = past("A", -2 * TTL)
BOTH = look("A B")
SERVED = look("A B", "B", "B")
ENDING = server("A B", expiration=NOW.wall + timedelta(seconds=3600 + TTL - 1))
PORTS = replace(SERVICE, ports=(25, 465))
SECOND = "_465._tcp.mail.example.org."


def rest(
    phase: Phase,
    why: str,
    action: str = "",
    *codes: str,
    seconds: float | None = None,
    soon: bool = False,
    message: str = "",
    hint: str = "",
) -> Rest:
    """Return a rest that tells of problems with these codes; their message is *why* unless there is another."""
    told = tuple(problem(c, message or why, service="mail", hint=hint) for c in codes)
    return Rest(phase, why, seconds, soon, action, told)


def wanted(*entries: object, **it: object) -> World:
    """Return a world in which B is wanted, and safe to serve unless *entries* say otherwise."""
    return world("B", **{"ledger": entries or [READY], **it})


def loaded(**it: object) -> World:
    """Return a world in which B was installed and loaded a second ago."""
    return wanted(**{"loaded": "B", "install": opened(-1), **it})


def served(**it: object) -> World:
    """Return a world in which B is active and nothing else was presented for long."""
    return world("B", "B", **{"ledger": [READY], "loaded": "B", **it})


def waiting(why: str, action: str, *codes: str, **more: object) -> Rest:
    """Return a rest that waits for servers."""
    return rest(Phase.PROPAGATING, why, action, *codes, soon=True, **more)


def refused(code: str) -> dict[str, str]:
    """Return what has failed when an update ended with *code*."""
    return {f"update:{OWNER}": code}


GATES: dict[str, tuple[World, Sighting, Rest]] = {
    "never adopted": (
        replace(world(), book=Book()),
        look(),
        rest(Phase.UNADOPTED, "not adopted", "", "not-adopted", message="was never adopted"),
    ),
    "being released": (
        world("B", releasing=True),
        look("A B"),
        rest(
            Phase.PAUSED, "being released", "release", "releasing", message="its release was begun and is not finished"
        ),
    ),
    "paused": (
        world("B", pause=Pause(at(-100))),
        look("A"),
        rest(Phase.PAUSED, "paused by a person", "", "paused", message="a person paused it"),
    ),
    "paused for a while": (
        world("B", pause=Pause(at(-100), at(50).wall)),
        look("A"),
        rest(Phase.PAUSED, "paused by a person", "resume", "paused", seconds=50, message="a person paused it"),
    ),
    "no goal": (
        world("B", vault="A"),
        look("A B"),
        rest(Phase.BLOCKED, "no wanted certificate, or its key is gone from the vault", "", "goal-unusable"),
    ),
    "an expired goal": (
        world("B", vault="A", more=[credential("B", days=-1)]),
        look("A B"),
        rest(Phase.BLOCKED, f"the wanted certificate {B} is expired", "", "goal-unusable"),
    ),
    "a revoked goal": (
        world("B", states={"B": State.REVOKED}),
        look("A B"),
        rest(Phase.BLOCKED, f"the key of the wanted certificate {B} is revoked", "", "goal-unusable"),
    ),
    "DANE switched off": (
        world("B", service=PORTS),
        look([owner(""), owner("", name=SECOND)], [end("A"), end("A", port=465)]),
        rest(
            Phase.BLOCKED,
            f"no TLSA record at {OWNER}, {SECOND}, where there was one: somebody switched DANE off",
            "",
            "dane-off",
        ),
    ),
    "a first record, an endpoint that refuses TLS": (
        world(dane_on=frozenset()),
        look("", [end("A"), end("454", sni=False)]),
        rest(
            Phase.BLOCKED,
            f"the first record of {OWNER} would turn DANE on, and {HERE} without SNI does not work: 454",
            "",
            "first-record",
        ),
    ),
    "a first record, an endpoint of which nothing more is known": (
        world(dane_on=frozenset()),
        look("", [replace(end("silent"), detail="")]),
        rest(
            Phase.BLOCKED,
            f"the first record of {OWNER} would turn DANE on, and {HERE} does not work: no-greeting",
            "",
            "first-record",
        ),
    ),
    "a first record, and nobody asked": (
        world(dane_on=frozenset()),
        look("", []),
        rest(
            Phase.BLOCKED,
            f"the first record of {OWNER} would turn DANE on, and no endpoint was looked at",
            "",
            "first-record",
        ),
    ),
    "a wildcard high above": (
        world("B"),
        look(owner(server("A", "ns1", primary=True, wildcard="*.example.org."))),
        rest(
            Phase.BLOCKED,
            f"{OWNER} has its record from *.example.org.; an explicit record would hide that from others",
            "",
            "wildcard-shadow",
        ),
    ),
    "owners that nobody looked at": (
        wanted(service=replace(SERVICE, ports=(25, 465, 587))),
        BOTH,
        rest(Phase.BLOCKED, f"nobody looked at {SECOND}, _587._tcp.mail.example.org.", "", "owner-blocked"),
    ),
    "owners that cannot be managed": (
        wanted(service=PORTS),
        look([owner("A", blocked="CNAME loop"), owner("A", name=SECOND, blocked="dangling CNAME")]),
        rest(Phase.BLOCKED, f"{OWNER} CNAME loop; {SECOND} dangling CNAME", "", "owner-blocked"),
    ),
    "foreign records": (
        world("B", vault="A", more=[credential("B", issuer="other")]),
        look("A B A:211 A:201"),
        rest(
            Phase.BLOCKED,
            f'{OWNER} has "{rr("A:201")}", "{rr("A:211")}", which the new certificate does not match',
            "",
            "foreign-record",
            hint=f'if nobody needs it: `rollover adopt mail --remove "{rr("A:201")}" --remove "{rr("A:211")}"`',
        ),
    ),
    "an update that was refused": (
        wanted(failed=refused("update-refused")),
        look("A"),
        rest(Phase.PUBLISHING, "the primary did not take the update", "publish"),
    ),
    "an update that was not applied": (
        wanted(failed=refused("update-not-applied")),
        look("A"),
        rest(Phase.BLOCKED, "the primary did not take the update", "publish"),
    ),
    "only a TTL was refused: a server may clamp it": (
        wanted(failed=refused("update-refused"), service=replace(SERVICE, ttl=60)),
        look(owner("B"), "B", "A"),
        Install(fp("B"), f"{FILE} is to hold {B}"),
    ),
    "a server without the record": (
        wanted(),
        look(owner("A B", "A")),
        waiting("ns2 lacks the new record", "wait", "secondary-stale"),
    ),
    "a server with an old combination": (
        wanted(),
        look(owner("A B", "A B X:312")),
        waiting("ns2 has an older RRset", "wait", "secondary-stale"),
    ),
    "a dead server": (wanted(), look(owner("A B", None)), waiting("ns2 timed out", "wait", "server-unreachable")),
    "a server with an expired signature": (
        wanted(),
        look(owner("A B", server("A B", signature=Signature.EXPIRED))),
        waiting("ns2 its signature is expired", "wait", "signature-bad"),
    ),
    "a server with a signature that nobody renews": (
        wanted(),
        look(owner("A B", ENDING)),
        waiting("ns2 its signature ends at 2026-11-22T15:01:39Z and was not renewed", "wait", "signature-expiring"),
    ),
    "an update that may still land": (
        wanted(past("A", None, intended=-10)),
        BOTH,
        waiting("some server may still serve an older RRset", "wait"),
    ),
    "the caches": (
        wanted(past("A", -50)),
        BOTH,
        rest(Phase.WAITING, "until no resolver can hold the old RRset", "install", seconds=150),
    ),
    "clocks that differ": (
        wanted(),
        look("A B", clock=False, clock_problem="clocks differ"),
        rest(Phase.WAITING, "clocks differ", "install", "clock", seconds=0),
    ),
    "a clock that nobody confirmed": (
        wanted(),
        look("A B", clock=False),
        rest(
            Phase.WAITING,
            "no signed answer of the primary could confirm our clock",
            "install",
            "primary-unreachable",
            seconds=0,
        ),
    ),
    "a resolver without an answer": (
        wanted(),
        look(owner("A B", resolver=None)),
        rest(Phase.WAITING, f"no answer for {OWNER}: SERVFAIL", "install", "resolver-failed", seconds=0, soon=True),
    ),
    "a resolver that does not authenticate": (
        wanted(),
        look(owner("A B", resolver=ResolverAnswer(r("A B"), authenticated=False, ttl=40))),
        rest(
            Phase.WAITING,
            f"the resolver does not authenticate {OWNER}: no AD flag",
            "install",
            "zone-insecure",
            seconds=40,
            soon=True,
        ),
    ),
    "a resolver that says why it does not": (
        wanted(),
        look(owner("A B", resolver=ResolverAnswer(r("A B"), authenticated=False, problem="no DS"))),
        rest(
            Phase.WAITING,
            f"the resolver does not authenticate {OWNER}: no DS",
            "install",
            "zone-insecure",
            seconds=0,
            soon=True,
        ),
    ),
    "a resolver that holds the old RRset of the second owner": (
        wanted(service=PORTS),
        look(
            [owner("A B"), owner("A B", name=SECOND, resolver=ResolverAnswer(r("A"), authenticated=True, ttl=30))],
            [end("A"), end("A", port=465)],
        ),
        rest(
            Phase.WAITING,
            f"the resolver still gives an older RRset for {SECOND} (TTL 30)",
            "install",
            "resolver-stale",
            seconds=30,
            soon=True,
        ),
    ),
    "main.cf names others": (
        wanted(),
        look("A B", "A", [live("A", wiring="main.cf names x"), live("A", "/second", wiring="main.cf names y")]),
        rest(Phase.BLOCKED, "main.cf names x; main.cf names y", "", "wiring"),
    ),
    "a file that cannot be written": (
        wanted(failed={"install": "install-refused"}),
        BOTH,
        rest(Phase.INSTALLING, f"{FILE} could not be written", "install"),
    ),
    "a daemon that is down": (
        wanted(install=opened(-1), failed={"reload": "install-refused"}),
        look("A B", "A", "B"),
        rest(Phase.INSTALLING, "the daemon could not be reloaded", "install"),
    ),
    "endpoints that fail": (
        loaded(),
        look("A B", "454", "B"),
        rest(Phase.VERIFYING, f"{HERE}: no TLS: 454; {HERE} without SNI: no TLS: 454", "verify", soon=True),
    ),
    "an endpoint that presents what nothing matches": (
        loaded(reloads={FILE: Reload("identity of B", at(-1))}),
        look("A B", [end("B"), end("X", sni=False)], "B"),
        rest(
            Phase.VERIFYING,
            f"{HERE} without SNI: presents {X}, which the RRset does not match",
            "verify",
            soon=True,
        ),
    ),
    "endpoints that fail after a rollback": (
        world("A", "B", ledger=[READY], loaded="A", install=opened(-1, of="A"), rollback=True),
        look("A B", [end("454")], "A"),
        rest(Phase.ROLLING_BACK, f"{HERE}: no TLS: 454", "verify", soon=True),
    ),
    "an endpoint that presents the old one": (
        loaded(reloads={FILE: Reload("identity of B", at(-1))}),
        look("A B", "A", "B"),
        rest(Phase.VERIFYING, f"{HERE} does not present the new certificate yet: presented", "verify", soon=True),
    ),
    "an endpoint that was away before": (
        loaded(install=opened(-1, shown="unreachable")),
        look("A B", [end("B"), end("unreachable", sni=False)], "B"),
        rest(
            Phase.VERIFYING,
            f"{HERE} without SNI does not present the new certificate yet: unreachable",
            "verify",
            soon=True,
        ),
    ),
    "one good round": (
        loaded(rounds=1),
        SERVED,
        rest(Phase.VERIFYING, "round 1 of 3 was good", "verify", seconds=0, soon=True),
    ),
    "nobody was asked": (
        loaded(),
        look("A B", [], "B"),
        rest(Phase.VERIFYING, "round 0 of 3 was good", "verify", soon=True),
    ),
    "nobody was asked after three rounds": (
        loaded(rounds=3),
        look("A B", [], "B"),
        rest(Phase.VERIFYING, "not every endpoint could be proven", "verify", soon=True),
    ),
    "a primary that was not seen": (
        served(states={"A": State.RETIRED}),
        look(owner(None, "A B"), "B", "B"),
        rest(Phase.RETAINING, "the primary was not seen", "withdraw"),
    ),
    "something else is presented": (
        served(quiet=None),
        SERVED,
        rest(Phase.RETAINING, "not every endpoint presents the served certificate", "withdraw"),
    ),
    "kept for a rollback": (
        served(quiet=at(-10)),
        SERVED,
        rest(Phase.RETAINING, "the replaced certificate's record is kept for a rollback", "withdraw", seconds=990),
    ),
    "kept for nobody": (
        served(quiet=at(-90), states={"C": State.REVOKED}),
        look("A B C", "B", "B"),
        rest(Phase.RETAINING, "the record of a revoked key is kept for `drain` only", "withdraw", seconds=10),
    ),
    "a withdrawal, and a clock that is wrong": (
        served(quiet=at(-5000)),
        look("A B", "B", "B", clock=False, clock_problem="BADTIME"),
        rest(Phase.RETAINING, "BADTIME", "withdraw"),
    ),
    "a withdrawal, and a clock that nobody confirmed": (
        served(quiet=at(-5000)),
        look("A B", "B", "B", clock=False),
        rest(Phase.RETAINING, "the clock could not be checked", "withdraw"),
    ),
    "a withdrawal, and a signer that has stopped": (
        served(quiet=at(-5000)),
        look(owner("A B", ENDING), "B", "B"),
        rest(Phase.RETAINING, "ns2 its signature ends at 2026-11-22T15:01:39Z and was not renewed", "withdraw"),
    ),
    "a withdrawal that was refused": (
        served(quiet=at(-5000), failed=refused("update-refused")),
        SERVED,
        rest(Phase.WITHDRAWING, "the primary did not take the withdrawal", "withdraw"),
    ),
    "nothing": (world(), look(), rest(Phase.STEADY, "all is done")),
}


@pytest.mark.parametrize(("it", "seen", "expected"), GATES.values(), ids=GATES)
def test_what_is_waited_for_is_told(it: World, seen: Sighting, expected: Step) -> None:
    """Whoever reads the status knows what holds things up, and what happens next."""
    assert decided(it, seen) == expected


FAILS = f"{HERE}: no TLS: 454; {HERE} without SNI: no TLS: 454"
STEPS: dict[str, tuple[World, Sighting, Step]] = {
    "taken back": (
        world("B", "A", loaded="B", install=opened(-60), ledger=[past("A")]),
        look("A B", "454", "B"),
        SetGoal(
            fp("A"),
            FAILS,
            returning=True,
            problems=(problem("returned", f"certificate {B} was taken back: {FAILS}", service="mail"),),
        ),
    ),
    "taken back, though another one is wanted by now": (
        world("C", "A", loaded="B", install=opened(-60), ledger=[past("A")]),
        look("A B C", "454", "B"),
        SetGoal(
            fp("A"),
            FAILS,
            returning=True,
            problems=(problem("returned", f"certificate {B} was taken back: {FAILS}", service="mail"),),
        ),
    ),
    "its turn": (
        world("A", "A", queued="C"),
        look("A"),
        SetGoal(fp("C"), "its turn: the one before it is done"),
    ),
    "installed": (wanted(), BOTH, Install(fp("B"), f"{FILE} is to hold {B}")),
    "loaded": (wanted(install=opened(-1)), look("A B", "A", "B"), ReloadStep((FILE,), "the file is new")),
    "loaded again": (
        wanted(install=opened(-60), reloads={FILE: Reload("identity of B", at(-60))}),
        look("A B", [end("B"), end("A", sni=False)], "B"),
        ReloadStep((FILE,), f"{HERE} without SNI presents something else", again=True),
    ),
    "active": (loaded(rounds=3), SERVED, Activate(fp("B"), "2 endpoints present it")),
}


@pytest.mark.parametrize(("it", "seen", "expected"), STEPS.values(), ids=STEPS)
def test_what_is_done_is_told_with_its_reason(it: World, seen: Sighting, expected: Step) -> None:
    """The reason is what the history keeps."""
    assert decided(it, seen) == expected


UPDATES = {
    "protection": (world("C"), look("A", "B"), Phase.PUBLISHING, "served, and not matched in DNS"),
    "publication": (world("B"), look("A"), Phase.PUBLISHING, "the wanted certificate needs it"),
    "withdrawal": (served(quiet=at(-1000)), SERVED, Phase.WITHDRAWING, "nothing needs it any more"),
    "withdrawal of a revoked key": (
        served(quiet=at(-100), states={"C": State.REVOKED}),
        look("A B C", "B", "B"),
        Phase.WITHDRAWING,
        "its key is revoked",
    ),
}


@pytest.mark.parametrize(("it", "seen", "phase", "why"), UPDATES.values(), ids=UPDATES)
def test_an_update_is_told_with_its_reason(it: World, seen: Sighting, phase: Phase, why: str) -> None:
    """Why a record came, or went."""
    step = decided(it, seen)

    assert isinstance(step, Update)
    assert (step.phase, step.why, step.zone, step.problems) == (phase, why, "example.org.", ())


# ---------------------------------------------------------------------------- what is wrong

NO_MATCH = f"gives {OWNER} without a match"
DEFERS = f"DANE mail is being deferred: {{}} {NO_MATCH} ({{}}…) for {{}} at {{}}"
HELD = f"resolvers may hold an RRset of {OWNER} that {A} at {HERE} does not match"
STRANGER = f"presents certificate {X} (key dff70c5a1a7c9164), which was never handed to this tool"
#: By the name of the fault in test_report.py: every message of its code.
MESSAGES: dict[str, list[str]] = {
    "the primary has not what is presented": [DEFERS.format(ns, str(rr("B"))[:22], A, HERE) for ns in ("ns1", "ns2")],
    "a public secondary has not what is presented": [DEFERS.format("ns2", str(rr("B"))[:22], A, HERE)],
    "what is presented without SNI is not matched": [
        DEFERS.format(ns, str(rr("A"))[:22], B, f"{HERE} without SNI") for ns in ("ns1", "ns2")
    ],
    "a resolver may hold what does not match": [f"DANE mail may be deferred for 73 s yet: {HELD}"],
    "and nobody can say whether a server still shows it": [f"DANE mail may be deferred for 103 s yet: {HELD}"],
    "the resolver gives what is not matched": [
        f"the resolver gives an RRset of {OWNER} that {B} at {HERE} does not match (TTL 0)"
    ],
    "a restart would present what a secondary does not match": [
        f"{FILE} holds {B}, which the RRset of {OWNER} on ns2 does not match: a restart would defer mail"
    ],
    "an endpoint presents an old certificate of ours": [f"{HERE} without SNI still presents {A} after the reload"],
    "an unknown certificate at an endpoint": [f"{HERE} {STRANGER}", f"{HERE} without SNI {STRANGER}"],
    "an unknown certificate in the live file": [f"{FILE} {STRANGER}"],
    "a revoked key at an endpoint": [
        f"{place} presents certificate {B} (key 54adb8575a8947c2), which is revoked"
        for place in (HERE, f"{HERE} without SNI")
    ],
    "no TLS where there is DANE": [f"{HERE}: no-tls: 454", f"{HERE} without SNI: no-tls: 454"],
    "no greeting where there is DANE": [
        f"{HERE}: no-greeting: silent",
        f"{HERE} without SNI: no-greeting: silent",
    ],
    "one endpoint is not reached": ["mail.example.org [2001:db8::25]:25 cannot be reached: unreachable"],
    "no endpoint is reached": ["no endpoint of the service can be reached"],
    "there is no endpoint to ask": ["no endpoint of the service can be reached"],
    "no endpoint of one owner was asked": [f"{SECOND}: no endpoint was looked at"],
    "an owner was not looked at": [f"nobody looked at {SECOND}"],
    "an owner that cannot be managed": [f"{OWNER} CNAME loop"],
    "a dead primary": ["ns1 timed out"],
    "bad signatures": ["ns2 its signature is expired"],
    "signatures that nobody renews": ["ns2 its signature ends at 2026-11-22T15:01:00Z and was not renewed"],
    "the resolver gives no answer": [f"no answer for {OWNER}: SERVFAIL"],
    "the zone is not authenticated": [f"the resolver does not authenticate {OWNER}: no AD flag"],
    "somebody switched DANE off": [f"no TLSA record at {OWNER}, where there was one: somebody switched DANE off"],
    "the live file is gone": ["absent"],
    "the live file is unusable": ["truncated"],
    "the live file is gone, and nobody said why": [f"{FILE}: nothing there"],
    "the mail server reads another file": ["main.cf names /etc/other.pem"],
    "the clocks differ": ["clocks differ by 400 s"],
    "what is served is expired": [f"certificate {A} expired at 2026-11-21T14:00:00Z"],
    "what is served expires soon": [f"certificate {A} expires at 2026-12-09T14:00:00Z"],
    "what is served expires before the next is ready": [
        f"certificate {A} expires at 2026-11-22T14:01:40Z, before {B} can be ready"
    ],
    "an install failed, and there is nothing to return to": [f"certificate {B} does not work: {FAILS}"],
    "an install was taken back": [f"certificate {B} was taken back: 454"],
    "an endpoint presents the old one long after the reload": [
        f"{HERE} without SNI still presents {A} after the reload"
    ],
}


@pytest.mark.parametrize(("name", "messages"), MESSAGES.items(), ids=MESSAGES)
def test_what_is_wrong_is_told_with_place_and_certificate(name: str, messages: list[str]) -> None:
    """Which server, owner, endpoint, file and certificate: whoever is called at night looks there first."""
    it, seen, code, level = HURT[name]
    found = [d.problem for d in told(it, seen).problems if d.problem.code == code]

    assert found == [problem(code, text, service="mail", level=level) for text in messages]


def test_what_a_hidden_primary_has_is_told_before_others_have_it() -> None:
    """Once, with the certificate that it will hurt; not beside a public server that hurts already."""
    hidden = replace(server("B", "ns1", primary=True), public=False)
    it = world(failed=refused("x"))

    def ahead(*others: str | None) -> list[str]:
        problems = [d.problem for d in told(it, look(owner(hidden, *others))).problems]
        return [p.message for p in problems if p.code == "deferral-ahead"]

    message = (
        f"ns1 has an RRset of {OWNER} without a match for {A} at {HERE}; DANE mail is deferred once others have it"
    )
    assert ahead("A") == [message]
    assert ahead("A", None) == [message]
    assert ahead("A", "B") == []


def test_a_record_that_names_an_issuer_is_a_persons_to_remove() -> None:
    """Each record that does not match is named as far as it has to be; of those only usage 2 has a command."""
    seen = look(owner("A", "B:312 A:211 A:201"), [end("A")])
    it = world(vault="A", others={})
    it = replace(it, credentials={fp("A"): credential("A", issuer="other")})
    shows = replace(end("A"), chains=(credential("A", issuer="other").chain,))
    (found,) = [
        d.problem for d in told(it, replace(seen, endpoints=(shows,))).problems if d.problem.code == "mail-deferred"
    ]
    bad = [rr("A:201"), rr("A:211"), rr("B:312")]

    assert found.message == DEFERS.format("ns2", "…, ".join(str(x)[:22] for x in bad), A, HERE)
    assert found.hint == (f'if nobody needs it: `rollover adopt mail --remove "{bad[0]}" --remove "{bad[1]}"`')


def test_a_server_that_nobody_is_known_to_ask_is_late_and_no_more() -> None:
    """One of `also_check`: named with the certificate it has no match for; the servers after it are looked at too."""
    further = replace(server("B", "ns2"), public=False)
    found = [d.problem for d in told(world(), look(owner("A", further, "B"))).problems]

    assert [(p.code, p.message) for p in found if "without a match" in p.message] == [
        ("secondary-stale", f"ns2 has an RRset of {OWNER} without a match for {A} at {HERE}"),
        ("mail-deferred", DEFERS.format("ns3", str(rr("B"))[:22], A, HERE)),
    ]


def test_the_words_for_mail_that_is_deferred_or_not() -> None:
    """The first thing in the line."""
    assert [d.words for d in Deferral] == [
        "mail is being deferred",
        "mail may be deferred",
        "whether mail is deferred is unknown",
        "no mail is deferred",
    ]


def test_an_endpoint_is_told_by_name_address_and_what_was_asked() -> None:
    """An IPv6 address in brackets; whether SNI was sent; which algorithm was asked for."""
    assert str(Endpoint(HOST, "192.0.2.25", 25)) == "mail.example.org 192.0.2.25:25"
    assert str(Endpoint(HOST, "2001:db8::25", 465, sni=False, algorithm="rsa")) == (
        "mail.example.org [2001:db8::25]:465 without SNI rsa"
    )
