"""ALL servers, never any: is a sighting of one owner complete, and who holds things back.

A server that is behind its primary may still pass through an RRset that the primary has left, so
"not behind" is asked as well as "reached" (protocol.md, Terms: complete).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from rollover.core.sighting import OwnerSighting, ServerAnswer, Signature
from rollover.core.timing import stamp
from rollover.core.tlsa import Chain, RRset, valid

BAD_SIGNATURES = (Signature.MISSING, Signature.EXPIRED, Signature.BOGUS)
# A signer renews a signature days before its end: with less than this beyond the TTL left, it has stopped.
SIGNATURE_MARGIN = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Laggard:
    """One server that holds a step back, with the reason as ``status`` prints it.

    *code* is the problem's stable name.
    """

    server: str
    code: str
    reason: str


def serial_older(a: int, b: int) -> bool:
    """Tell whether serial *a* is older than *b* in sequence space (RFC 1982 §3.2)."""
    return a != b and ((b - a) & 0xFFFFFFFF) < 0x80000000


def answered(answer: ServerAnswer) -> bool:
    """Tell whether *answer* says anything about the owner."""
    return answer.reached and (answer.rrset is not None or bool(answer.cname))


def primaries(owner: OwnerSighting) -> dict[str, ServerAnswer]:
    """Return the primary of each zone on the way to the records."""
    return {a.zone: a for a in owner.servers if a.primary and a.reached}


def behind(answer: ServerAnswer, primary: ServerAnswer | None, newest: datetime | None = None) -> bool:
    """Tell whether *answer* comes from an older copy of the zone than the primary's.

    By serial; where one has none, by the inception of the RRset's signature. *newest*: the newest one
    of the zone, where a signer behind the primary counts serials of its own: they cannot be compared.
    """
    if primary is None or answer is primary:
        return False
    if newest is not None and answer.rrset:
        return answer.rrset != primary.rrset or answer.inception is None or answer.inception < newest
    if answer.serial is not None and primary.serial is not None:
        return serial_older(answer.serial, primary.serial)
    if answer.inception is not None and primary.inception is not None:
        return answer.inception < primary.inception
    return True  # nothing to compare: in doubt it is behind


def incomplete(owner: OwnerSighting) -> tuple[Laggard, ...]:
    """Return why the sighting of *owner* is not complete; empty when it is."""
    first = primaries(owner)
    newest = {zone: _signed_behind(owner, it) for zone, it in first.items()}
    found = []
    for answer in owner.servers:
        if not answered(answer):
            code = "primary-unreachable" if answer.primary else "server-unreachable"
            found.append(Laggard(answer.server, code, answer.problem or "gave no answer"))
        elif behind(answer, first.get(answer.zone), newest.get(answer.zone)):
            theirs = first[answer.zone].serial
            text = f"has serial {answer.serial}, the primary {theirs}"
            if newest.get(answer.zone) is not None:
                text = "has an older copy than the primary or another server"
            found.append(Laggard(answer.server, "secondary-stale", text))
    return (*found, *elsewhere(owner))


def _signed_behind(owner: OwnerSighting, primary: ServerAnswer) -> datetime | None:
    """Return the newest inception of the RRset's signatures where not the primary but a signer behind it signs."""
    if primary.inception is not None or not primary.rrset:
        return None
    return max((a.inception for a in owner.servers if a.zone == primary.zone and a.inception is not None), default=None)


def elsewhere(owner: OwnerSighting) -> list[Laggard]:
    """Return the servers whose CNAMEs lead elsewhere than the primary's: nobody looked at the RRset there.

    In a zone whose primary is not ours to ask, all servers have to say the same.
    """
    found = []
    for zone in dict.fromkeys(a.zone for a in owner.servers):
        ways: dict[str, list[str]] = {}
        first = ""
        for a in owner.servers:
            if a.zone == zone and answered(a):
                ways.setdefault(a.server, []).append(a.cname)
                first = a.server if a.primary or not first else first
        found += [
            Laggard(server, "secondary-stale", f"leads to {' and '.join(filter(None, way)) or 'no other name'}")
            for server, way in ways.items()
            if way != ways[first]
        ]
    return found


def badly_signed(owner: OwnerSighting) -> tuple[Laggard, ...]:
    """Return the servers that the public asks and whose signatures do not hold."""
    return tuple(
        Laggard(a.server, "signature-bad", a.problem or f"its signature is {a.signature}")
        for a in owner.servers
        if a.reached and a.public and a.signature in BAD_SIGNATURES
    )


def running_out(owner: OwnerSighting, now: datetime) -> tuple[Laggard, ...]:
    """Return the servers that the public asks and whose good signatures end within the TTL and SIGNATURE_MARGIN.

    What is changed now would have to be signed by a signer that signs no more (RFC 6781 §4.4.2).
    """
    return tuple(
        Laggard(a.server, "signature-expiring", f"its signature ends at {stamp(a.expiration)} and was not renewed")
        for a in owner.servers
        if a.reached
        and a.public
        and a.signature is Signature.VALID
        and a.expiration is not None
        and a.expiration - now < timedelta(seconds=a.ttl) + SIGNATURE_MARGIN
    )


def lacking(owner: OwnerSighting, wanted: RRset, chain: Chain) -> tuple[Laggard, ...]:
    """Return the servers whose RRset has not all of *wanted* or is not valid for *chain*."""
    return tuple(
        Laggard(a.server, "secondary-stale", "lacks the new record" if not wanted <= a.rrset else "has an older RRset")
        for a in owner.servers
        if a.rrset is not None and not (wanted <= a.rrset and valid(a.rrset, chain))
    )
