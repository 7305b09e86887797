"""RFC 2136 updates of TLSA RRsets, signed with TSIG, over TCP; and what became of them.

Every update carries the exact RRset that the decision was made from as a prerequisite, so that a
replay, a second writer or a late arrival changes nothing; records go in and out one by one, never
by RRset, never by name. NOERROR does not mean "applied" (BIND drops silently what a CNAME or a
limit in its update-policy forbids): read_back() tells.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NoReturn

import dns.name
import dns.opcode
import dns.rcode
import dns.update

from rollover.clock import Clock
from rollover.core.errors import OurBug
from rollover.core.sighting import ServerAnswer
from rollover.core.tlsa import EMPTY, RRset, Tlsa
from rollover.dns import message
from rollover.dns.conversation import hear, interpret, tsig_error
from rollover.dns.errors import (
    ChangedUnderUs,
    NoAnswer,
    NotAuthoritative,
    NoTsigKey,
    NotZone,
    OutcomeUnknown,
    PrimaryUnreachable,
    UpdateFailed,
    UpdateNotSupported,
    UpdateRefused,
)
from rollover.dns.keys import TsigKey
from rollover.dns.message import Answer, Request
from rollover.dns.records import CNAME, TLSA, tlsa_rdata, to_name, to_text
from rollover.dns.resolver import Resolver, ZoneKeys
from rollover.dns.servers import Server, primaries_of
from rollover.dns.settings import DnsSettings
from rollover.dns.transport import Connection, in_seconds

READ_BACK_FIRST = 0.05  # seconds until the second look; doubled each time
READ_BACK_LONGEST = 1.0
TTL_PATIENCE = 3.0  # seconds until a TTL other than asked for is taken for the server's last word

_PREREQUISITE = {dns.rcode.YXDOMAIN, dns.rcode.YXRRSET, dns.rcode.NXRRSET, dns.rcode.NXDOMAIN}


@dataclass(frozen=True, slots=True)
class Change:
    """What is to become of one RRset. *ttl* in seconds, for all records added.

    *owner_target*: where the records live, the end of the CNAMEs. *expect*: what the primary served
    there when this was decided; with *expect_wildcard*, an absolute name, that came from this wildcard,
    and the name has no TLSA records of its own.
    """

    owner_target: str
    zone: str
    expect: RRset
    expect_wildcard: str
    add: RRset
    delete: RRset
    ttl: int

    @property
    def present(self) -> RRset:
        """The records that the name itself has before the change."""
        return EMPTY if self.expect_wildcard else self.expect

    @property
    def wanted(self) -> RRset:
        """The records that the name itself has after the change."""
        return (self.present - self.delete) | self.add


class Applied(StrEnum):
    """What a change came to."""

    APPLIED = "applied"
    NOT_APPLIED = "not-applied"  # the RRset is as it was: a CNAME, a limit in the update-policy
    OTHER = "other"  # neither as it was nor as wanted
    UNKNOWN = "unknown"  # the primary could not be asked


@dataclass(frozen=True, slots=True)
class ReadBack:
    """What the primary serves after *change*: records of the name itself, TTL in seconds.

    *answer* is the whole answer (serial, RRSIG inception, wildcard, CNAME). *ttl* may differ from
    what was asked for: BIND cuts it to the zone's max-zone-ttl.
    """

    change: Change
    outcome: Applied
    rrset: RRset
    ttl: int
    answer: ServerAnswer

    @property
    def problem(self) -> str:
        """Why it is not as wanted, as far as the answer tells; empty if applied."""
        if self.outcome is Applied.APPLIED:
            return ""
        if self.answer.cname:
            return f"a CNAME to {self.answer.cname} owns the name"
        return self.answer.problem or f"{len(self.change.add - self.rrset)} of {len(self.change.add)} records absent"


async def update(changes: Sequence[Change], settings: DnsSettings, clock: Clock) -> None:
    """Apply *changes*, all in one zone, all or none, in one UPDATE (RFC 2136 §3.7).

    Raises ChangedUnderUs when an RRset is no longer what was expected; OutcomeUnknown when no
    answer came that can be trusted; UpdateRefused, TsigBadKey, TsigBadSignature, TsigBadTime,
    NotAuthoritative, NotZone, UpdateFailed, UpdateNotSupported for what the server says;
    PrimaryUnreachable, PrimaryUnknown, ResolverError, NoTsigKey when nothing was sent.
    """
    zones = {change.zone for change in changes}
    if len(zones) != 1:
        raise OurBug(f"an update of {len(zones)} zones at once", hint="please report this")
    (zone,) = zones
    wire = dns.update.UpdateMessage(to_name(zone))
    for name, rrset in dict.fromkeys(required for change in changes for required in _required(change)):
        _require(wire, to_name(name), rrset)
    for change in changes:
        owner = to_name(change.owner_target)
        # Additions first: at no point of its processing is the RRset empty.
        for record in sorted(change.add):
            wire.add(owner, change.ttl, tlsa_rdata(record))
        for record in sorted(change.delete - change.add):
            wire.delete(owner, tlsa_rdata(record))
    await _send(wire, zone, tuple(change.owner_target for change in changes), settings, clock)


async def try_grant(owner: str, zone: str, settings: DnsSettings, clock: Clock) -> None:
    """Find out whether we may change *owner*, by an update that cannot change anything.

    It deletes a record that does not exist: NOERROR if granted, REFUSED if not, the serial stays.
    Raises as update().
    """
    wire = dns.update.UpdateMessage(to_name(zone))
    nobody = Tlsa(3, 1, 1, secrets.token_bytes(32))
    wire.delete(to_name(owner), tlsa_rdata(nobody))
    await _send(wire, zone, (owner,), settings, clock)


def _required(change: Change) -> Iterator[tuple[str, RRset]]:
    """Yield the RRsets that have to be there: the name's own, and the wildcard's that it is computed from.

    Taken away meanwhile, a copy of the wildcard would switch DANE on again. Two owners may have the same one, and
    BIND counts the records of a prerequisite: each may stand in a message once.
    """
    yield change.owner_target, change.present
    if change.expect_wildcard:
        yield change.expect_wildcard, change.expect


def _require(wire: dns.update.UpdateMessage, owner: dns.name.Name, present: RRset) -> None:
    """Add the prerequisites: exactly *present* (RFC 2136 §2.4.2) or none (§2.4.3), and no CNAME."""
    for record in sorted(present):
        wire.present(owner, tlsa_rdata(record))
    if not present:
        wire.absent(owner, TLSA)
    wire.absent(owner, CNAME)


async def _send(
    wire: dns.update.UpdateMessage, zone: str, owners: tuple[str, ...], settings: DnsSettings, clock: Clock
) -> None:
    key = settings.zone(zone).key
    if key is None:
        raise NoTsigKey(zone=zone)

    def signed() -> Request:
        return message.request(wire, now=clock.now().wall, key=key)

    failure: NoAnswer | None = None
    servers = await primaries_of(zone, settings, Resolver.of(settings, clock))
    for server in servers:
        place = server.label.removeprefix("primary ")
        try:
            async with Connection(server.address, server.port, in_seconds(settings.timeout), clock) as connection:
                answer = await connection.ask(signed)
        except NoAnswer as error:
            if error.sent:
                raise OutcomeUnknown(zone=zone, server=place, problem=error.problem) from None
            failure = error
            continue
        return _conclude(answer, key, zone, owners, place, clock)
    problem = failure.problem if failure else "no address"
    raise PrimaryUnreachable(zone=zone, server=servers[0].label.removeprefix("primary "), problem=problem)


def _conclude(answer: Answer, key: TsigKey, zone: str, owners: tuple[str, ...], server: str, clock: Clock) -> None:
    """Return if the server says NOERROR, else raise what it says (RFC 2136 §2.2, RFC 8945 §5.2)."""
    error = tsig_error(answer, key, zone, server, clock.now().wall)
    # Our own doubts about the time of an answer do not tell that the update was not applied.
    if error is not None and answer.tsig is not None and answer.tsig.error:
        raise error
    if answer.tsig is None:
        raise OutcomeUnknown(zone=zone, server=server, problem=f"{answer.rcode_text}, not signed with our key")
    if not answer.tsig.verified:
        raise OutcomeUnknown(zone=zone, server=server, problem=f"{answer.rcode_text}, {answer.tsig.problem}")
    if answer.rcode != dns.rcode.NOERROR:
        _complain(answer, key, zone, owners, server)


def _complain(answer: Answer, key: TsigKey, zone: str, owners: tuple[str, ...], server: str) -> NoReturn:
    names = tuple(to_text(to_name(owner)) for owner in owners)
    if answer.rcode in _PREREQUISITE:
        raise ChangedUnderUs(zone=zone, server=server, owners=names, rcode=answer.rcode_text)
    if answer.rcode == dns.rcode.REFUSED:
        raise UpdateRefused(zone=zone, server=server, key=key.name, owners=names)
    if answer.rcode == dns.rcode.NOTAUTH:
        raise NotAuthoritative(zone=zone, server=server)
    if answer.rcode == dns.rcode.NOTZONE:
        raise NotZone(zone=zone, server=server, owners=names)
    if answer.rcode == dns.rcode.SERVFAIL:
        raise UpdateFailed(zone=zone, server=server)
    raise UpdateNotSupported(zone=zone, server=server, rcode=answer.rcode_text)


async def read_back(
    changes: Sequence[Change], settings: DnsSettings, clock: Clock, *, within: float = 10.0
) -> list[ReadBack]:
    """Read each RRset from the primary until it is as wanted, for *within* seconds at the most.

    Where signing is inline the answer to an update comes before its effect. A TTL other than asked
    for is waited for as well, for three seconds, then told. Raises PrimaryUnknown and
    ResolverError; a primary that does not answer is an outcome.
    """
    zones = sorted({change.zone for change in changes})
    resolver = Resolver.of(settings, clock)
    found = await asyncio.gather(*(primaries_of(zone, settings, resolver) for zone in zones))
    servers = dict(zip(zones, found, strict=True))
    return list(
        await asyncio.gather(
            *(_read_back(change, servers[change.zone], settings.timeout, clock, within) for change in changes)
        )
    )


async def _read_back(
    change: Change, servers: Sequence[Server], timeout: float, clock: Clock, within: float
) -> ReadBack:
    deadline, ttl_deadline = in_seconds(within), in_seconds(min(within, TTL_PATIENCE))
    pause = READ_BACK_FIRST
    while True:
        left = deadline - in_seconds(0)
        result = _compare(change, await _read(change, servers, max(min(timeout, left), 0.5), clock))
        applied = result.outcome is Applied.APPLIED
        if applied and (not change.add or result.ttl == change.ttl):
            return result
        if in_seconds(pause) >= (ttl_deadline if applied else deadline):
            return result
        await clock.sleep(pause)
        pause = min(pause * 2, READ_BACK_LONGEST)


async def _read(change: Change, servers: Sequence[Server], timeout: float, clock: Clock) -> ServerAnswer:
    """Return the answer of the first address of the primary that answers, else the last failure."""
    zone, owner = to_name(change.zone), to_name(change.owner_target)
    for server in servers:
        heard = await hear(server, zone, owner, timeout, clock)
        if heard.answer is not None:
            break
    return interpret(heard, zone, owner, ZoneKeys(None), clock.now().wall)


def _compare(change: Change, answer: ServerAnswer) -> ReadBack:
    if not answer.reached:
        return ReadBack(change, Applied.UNKNOWN, EMPTY, 0, answer)
    own = EMPTY if answer.wildcard or answer.rrset is None else answer.rrset
    # The TTL of what is there now; a wildcard that shows through again is not ours.
    ttl = answer.ttl if own else 0
    if answer.rrset is not None and own == change.wanted:
        return ReadBack(change, Applied.APPLIED, own, ttl, answer)
    unchanged = answer.rrset is None or own == change.present
    return ReadBack(change, Applied.NOT_APPLIED if unchanged else Applied.OTHER, own, ttl, answer)
