"""`check`: each precondition ok, warning or failed, with a hint. Changes nothing in DNS, Postfix or state.

A grant is tested by an update that cannot change anything.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Iterator
from datetime import datetime

from rollover.core.errors import RolloverError
from rollover.core.problems import Level
from rollover.core.servers import badly_signed, incomplete, running_out
from rollover.core.sighting import Outcome, OwnerSighting, Sighting
from rollover.core.tlsa import combinations, owner_name, usable, valid
from rollover.engine.check_host import Row, check_host, check_service
from rollover.engine.hands import Hands
from rollover.engine.host import Host
from rollover.engine.look import UNRESOLVED, Looker

__all__ = ["Row", "check", "check_host"]

LONG_TTL, SHORT_TTL = 86400, 60
NOT_FOUND_OUT = ("zone of ", "name servers of ", "delegation of ", "primary of ")  # in the place of a server's name
MANY_RECORDS = 10  # large senders have failed above twelve


async def check(host: Host, name: str) -> list[Row]:
    """Return every precondition of service *name*, in the order in which a person would mend them.

    A fault that several things meet is one row.
    """
    rows: dict[str, Row] = {}
    async for row in _rows(host, name):
        rows.setdefault(row.what, row)
    return list(rows.values())


async def _rows(host: Host, name: str) -> AsyncIterator[Row]:
    for row in check_service(host, name):
        yield row
    try:
        hands = host.hands
    except RolloverError as error:
        yield Row(Level.CRITICAL, error.message, error.hint)
        return
    looker = Looker(host, name)
    seen = await looker.look()
    for row in _clock(seen):
        yield row
    refused = {problem.message for problem in looker.refusals()}
    for problem in looker.refusals():
        if problem.message != seen.clock_problem:
            yield Row(Level.CRITICAL, problem.message, problem.hint)
    for server in looker.dns.ignored if looker.dns is not None else ():
        yield Row(
            Level.WARNING, f'{server} is left out of "everywhere"', "take it out of `ignore` when it is well again"
        )
    for owner in seen.owners:
        for row in _owner(owner, refused, seen.time.wall):
            yield row
        if owner.zone and not owner.blocked and not refused:  # refused: the same would be said of every update
            yield await _grant(hands, owner)
    for row in _endpoints(seen):
        yield row
    adopted = looker.book().adopted
    for target in hands.targets[name]:
        live = target.live()
        for finding in target.check():
            not_yet = not adopted and finding.message == live.wiring  # adopt is what sets it right
            yield Row(Level.WARNING if not_yet or not finding.failed else Level.CRITICAL, finding.message, finding.hint)
        if live.problem and adopted:
            yield Row(Level.CRITICAL, live.problem, f"`rollover advance {name}` writes it again")
        elif not live.wiring:
            yield Row(Level.OK, f"{live.path} is what the mail server reads")


async def _grant(hands: Hands, owner: OwnerSighting) -> Row:
    try:
        await hands.names.try_grant(owner.target, owner.zone)
    except RolloverError as error:
        return Row(Level.CRITICAL, error.message, error.hint)
    return Row(Level.OK, f"the primary lets our key change {owner.target} TLSA")


def _clock(seen: Sighting) -> Iterator[Row]:
    if seen.clock_problem:
        yield Row(Level.CRITICAL, seen.clock_problem, "`timedatectl`, `chronyc tracking` here and on the primary")
    elif seen.clock_agrees:
        yield Row(Level.OK, "the TSIG key works, and the primary's clock agrees with ours")
    else:
        yield Row(
            Level.WARNING,
            "no signed answer of the primary: the clock could not be compared",
            "see what follows about the primary",
        )


def _owner(owner: OwnerSighting, refused: Collection[str], now: datetime) -> Iterator[Row]:
    """Yield what is wrong at one owner; *refused*: what was told of the primary already."""
    if owner.blocked:
        yield Row(
            Level.CRITICAL,
            f"{owner.owner} {owner.blocked}",
            "a CNAME's target needs a [[dns.zone]] block with its key where the zone is another",
        )
        return
    said = owner.resolver
    if said.rrset is None:
        yield Row(
            Level.CRITICAL,
            said.problem or f"the resolver gives no answer for {owner.owner}",
            "start it, or name another as `[dns] resolver`; where it says SERVFAIL, `dig +cd` tells whether it is DNSSEC",
        )
    if owner.target != owner.owner:
        yield Row(Level.OK, f"{owner.owner} is a CNAME: its records are managed at {owner.target}")
    late = [*incomplete(owner), *badly_signed(owner), *running_out(owner, now)]
    unknown = [x for x in late if x.server.startswith(NOT_FOUND_OUT)] if said.rrset is None else []
    if unknown:
        yield Row(
            Level.WARNING,
            f"{owner.owner}: which name servers its zone has cannot be found out without the resolver",
            "mend the resolver, then `rollover check` again",
        )
    late = [x for x in late if x not in unknown]
    late = [x for x in late if x.reason not in refused]
    for x in late:
        yield Row(
            Level.CRITICAL,
            f"{owner.zone}: {x.server} {x.reason}",
            "nothing is installed until every server is well; a known outage goes into `ignore`",
        )
    if not late and not refused and not unknown:
        yield Row(Level.OK, f"{owner.target}: {len(owner.servers)} name servers reached, same zone, signatures verify")
    if said.rrset is not None and not said.authenticated:
        yield Row(
            Level.CRITICAL,
            f"the resolver does not authenticate {owner.owner}",
            "sign the zone, put the DS record into the parent; `resolver` has to validate",
        )
    elif said.rrset is not None:
        yield Row(Level.OK, f"the resolver authenticates {owner.owner}")
    yield from _records(owner)


def _records(owner: OwnerSighting) -> Iterator[Row]:
    primary = owner.primary
    if primary is None or primary.rrset is None:
        return
    if not primary.rrset:
        yield Row(
            Level.WARNING, f"no TLSA record at {owner.target}: DANE is off until adopt", "adopt publishes the first one"
        )
        return
    if primary.wildcard:
        yield Row(
            Level.WARNING,
            f"the record of {owner.owner} comes from {primary.wildcard}",
            "the first change makes an explicit RRset there, with what the wildcard gave",
        )
    if len(primary.rrset) > MANY_RECORDS:
        yield Row(
            Level.WARNING,
            f"{len(primary.rrset)} TLSA records at {owner.target}: some senders fail above twelve",
            "remove old ones: `rollover adopt SERVICE --remove RDATA`",
        )
    for rr in sorted(primary.rrset):
        if not usable(rr):
            yield Row(
                Level.WARNING,
                f"{owner.target} has an unusable record: {rr}",
                "SMTP senders use usages 2 and 3 with a digest of the right length only (RFC 7672 §3.1.3)",
            )
    if any(u == 2 for u, _, _ in combinations(primary.rrset)):
        yield Row(
            Level.WARNING,
            f"{owner.target} has records of usage 2: a certificate of another issuer is not installed beside them",
            "with a public CA that changes intermediates, remove them",
        )
    if primary.own_ttl > LONG_TTL:
        yield Row(
            Level.WARNING,
            f"TTL {primary.own_ttl} s: a rollover takes {2 * primary.own_ttl // 3600} h",
            'set ttl = "1h"',
        )
    elif primary.own_ttl < SHORT_TTL:
        yield Row(
            Level.WARNING,
            f"TTL {primary.own_ttl} s is shorter than is usual (300 to 3600 s)",
            'set ttl = "1h", or min_wait',
        )


def _endpoints(seen: Sighting) -> Iterator[Row]:
    rrsets = {o.owner: o.primary.rrset for o in seen.owners if o.primary is not None}
    for e in seen.endpoints:
        rrset = rrsets.get(owner_name(e.endpoint.host, e.endpoint.port))
        if e.outcome is not Outcome.PRESENTED:
            unknown = e.endpoint.address == UNRESOLVED  # no address was found: nothing was tried
            yield Row(
                Level.CRITICAL,
                f"{e.endpoint.host}: {e.detail}" if unknown else f"{e.endpoint}: {e.outcome}: {e.detail}",
                "its A and AAAA records, or `addresses`, tell where the mail server is"
                if unknown
                else "every address has to work; set `addresses` if this one is not of the service",
            )
        elif rrset and not all(valid(rrset, c) for c in e.chains):
            yield Row(
                Level.CRITICAL,
                f"{e.endpoint} presents {e.chains[-1].fingerprint[:16]}, which the TLSA RRset does not match: mail is being deferred",
                "publish its record now: `rollover adopt` does, or nsupdate by hand",
            )
        else:
            yield Row(Level.OK, f"{e.endpoint} presents {e.chains[-1].fingerprint[:16]}")
