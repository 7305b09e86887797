"""Whether the signatures of an answer verify, as a validating resolver would find (RFC 4035 §5).

Checked: the RRSIG over the RRset (or the CNAME, or the DNAME it was made from) against the zone's
keys; for an answer made from a wildcard, and for "there is nothing", also the RRSIG of every NSEC
or NSEC3 in the answer, and that one of them matches the name without the type, or covers the name
(NSEC3: the next closer name, RFC 5155 §8.3). Not checked: that no wildcard exists either, and
opt-out. All that at one given time; whether that is near the expiration is for others to judge.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import dns.dnssec
import dns.exception
import dns.name
import dns.rdatatype
import dns.rrset
from dns.dnssectypes import NSEC3Hash
from dns.rdtypes.ANY.NSEC import NSEC
from dns.rdtypes.ANY.NSEC3 import NSEC3
from dns.rdtypes.ANY.RRSIG import RRSIG

from rollover.core.sighting import Signature
from rollover.dns import records
from rollover.dns.message import find
from rollover.dns.resolver import ZoneKeys

_BADNESS = (Signature.VALID, Signature.UNCHECKED, Signature.EXPIRED, Signature.BOGUS, Signature.MISSING)

MAX_TRIED = 16
"""Signatures over one RRset that are looked at: resolvers stop there too, or one answer would hold them up."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """*signature*, why if it is not VALID, and the times of the RRSIG that decided."""

    signature: Signature
    problem: str = ""
    inception: datetime | None = None
    expiration: datetime | None = None


def worst(verdicts: Sequence[Verdict]) -> Verdict:
    """Return the worst of *verdicts*."""
    return max(verdicts, key=lambda verdict: _BADNESS.index(verdict.signature))


def signatures_of(
    section: Sequence[dns.rrset.RRset], name: dns.name.Name, kind: dns.rdatatype.RdataType
) -> list[RRSIG]:
    """Return the RRSIGs in *section* over the RRset of *name* and *kind*."""
    rrset = find(section, name, records.RRSIG, covers=kind)
    return [rdata for rdata in rrset or () if isinstance(rdata, RRSIG)]


def wildcard_of(name: dns.name.Name, rrsigs: Sequence[RRSIG]) -> dns.name.Name | None:
    """Return the wildcard that an answer for *name* was made from; None if from none (RFC 4034 §3.1.3)."""
    for rrsig in rrsigs:
        if rrsig.labels < len(name) - 1 and not name.is_wild():
            suffix: dns.name.Name = name.split(rrsig.labels + 1)[1]
            return dns.name.Name([b"*"]).concatenate(suffix)
    return None


def times(rrsigs: Sequence[RRSIG]) -> tuple[datetime | None, datetime | None]:
    """Return the latest inception and its expiration among *rrsigs*; None without any."""
    if not rrsigs:
        return None, None
    latest = max(rrsigs, key=lambda rrsig: (rrsig.inception, rrsig.expiration))
    return _instant(latest.inception), _instant(latest.expiration)


def verify(
    rrset: dns.rrset.RRset, rrsigs: Sequence[RRSIG], zone: dns.name.Name, keys: ZoneKeys, now: datetime
) -> Verdict:
    """Return what becomes of *rrset* at a validating resolver that has *keys* for *zone*."""
    inception, expiration = times(rrsigs)
    if keys.rrset is None:
        signature = Signature.BOGUS if keys.bogus else Signature.UNCHECKED
        return Verdict(signature, keys.problem, inception, expiration)
    kind = dns.rdatatype.to_text(rrset.rdtype)
    if not rrsigs:
        return Verdict(Signature.MISSING, f"no signature over {kind}")
    verdicts = [_verify_one(rrset, rrsig, zone, keys.rrset, now) for rrsig in rrsigs[:MAX_TRIED]]
    return min(verdicts, key=lambda verdict: _BADNESS.index(verdict.signature))


def _verify_one(
    rrset: dns.rrset.RRset, rrsig: RRSIG, zone: dns.name.Name, keys: dns.rrset.RRset, now: datetime
) -> Verdict:
    inception, expiration = _instant(rrsig.inception), _instant(rrsig.expiration)
    kind = dns.rdatatype.to_text(rrset.rdtype)
    at = now.timestamp()
    if rrsig.signer != zone:
        problem = f"signature over {kind} by {rrsig.signer}, not by {zone}"  # RFC 4035 §5.3.1
        return Verdict(Signature.BOGUS, problem, inception, expiration)
    expired, early = at > rrsig.expiration, at < rrsig.inception
    if expired:
        at = rrsig.expiration
    elif early:
        at = rrsig.inception
    try:
        dns.dnssec.validate_rrsig(rrset, rrsig, {zone: keys}, now=at)
    except (dns.exception.DNSException, ValueError) as error:
        return Verdict(Signature.BOGUS, f"signature over {kind}: {error}", inception, expiration)
    if expired:
        return Verdict(Signature.EXPIRED, f"signature over {kind} expired at {expiration}", inception, expiration)
    if early:
        return Verdict(Signature.BOGUS, f"signature over {kind} not valid before {inception}", inception, expiration)
    return Verdict(Signature.VALID, "", inception, expiration)


def verify_denial(
    authority: Sequence[dns.rrset.RRset],
    name: dns.name.Name,
    zone: dns.name.Name,
    keys: ZoneKeys,
    now: datetime,
    *,
    encloser: dns.name.Name | None = None,
) -> Verdict:
    """Return whether *authority* proves that there is no TLSA at *name*.

    With *encloser*, the parent of a wildcard that answered: that nothing closer than it exists.
    """
    if keys.rrset is None:
        return Verdict(Signature.BOGUS if keys.bogus else Signature.UNCHECKED, keys.problem)
    proofs = [rrset for rrset in authority if rrset.rdtype in {records.NSEC, records.NSEC3}]
    if not proofs:
        return Verdict(Signature.MISSING, "no signed proof that there is no TLSA record")
    verdicts = [verify(rrset, signatures_of(authority, rrset.name, rrset.rdtype), zone, keys, now) for rrset in proofs]
    verdict = worst(verdicts)
    if verdict.signature is Signature.VALID and not _denies(proofs, name, zone, encloser):
        return Verdict(Signature.BOGUS, "the proof of denial does not speak of this name")
    # The times are those of a proof, not of an RRset.
    return Verdict(verdict.signature, verdict.problem)


def _denies(
    proofs: Sequence[dns.rrset.RRset], name: dns.name.Name, zone: dns.name.Name, encloser: dns.name.Name | None
) -> bool:
    for rrset in proofs:
        rdata = rrset[0]
        if isinstance(rdata, NSEC):
            if rrset.name == name:
                if encloser is None and not _has_type(rdata):
                    return True
            # The last NSEC of a zone points back to its apex (RFC 4034 §4.1.1).
            elif rrset.name < name < rdata.next or (rdata.next <= rrset.name and name > rrset.name):
                return True
    return _denied_by_nsec3(proofs, name, zone, encloser)


def _denied_by_nsec3(
    proofs: Sequence[dns.rrset.RRset], name: dns.name.Name, zone: dns.name.Name, encloser: dns.name.Name | None
) -> bool:
    hashed = [
        (rrset.name.labels[0].upper(), rrset[0])
        for rrset in proofs
        if isinstance(rrset[0], NSEC3) and rrset[0].algorithm == NSEC3Hash.SHA1  # RFC 5155 §8.1: others are ignored
    ]
    step, closer = name, None
    while hashed and step.is_subdomain(zone):
        for owner, rdata in hashed:
            if _hash(step, rdata) == owner and encloser is None:
                if closer is None:
                    return not _has_type(rdata)
                return any(_covers(o, r, closer) for o, r in hashed)
        if step == encloser:
            return closer is not None and any(_covers(o, r, closer) for o, r in hashed)
        if step == dns.name.root:
            break
        step, closer = step.parent(), step
    return False


def _hash(name: dns.name.Name, rdata: NSEC3) -> bytes:
    return dns.dnssec.nsec3_hash(name, rdata.salt, min(rdata.iterations, 500), rdata.algorithm).encode()


def _covers(owner: bytes, rdata: NSEC3, name: dns.name.Name) -> bool:
    """Tell whether the hash of *name* lies in the gap behind *owner*, which may go over the end."""
    low, x, high = owner, _hash(name, rdata), base64.b32hexencode(rdata.next).rstrip(b"=")
    return low < x < high if low < high else (x > low or x < high)


def _has_type(rdata: NSEC | NSEC3) -> bool:
    """Tell whether the bitmap has TLSA or CNAME: then it denies neither."""
    kinds = (records.TLSA, records.CNAME)
    for window, bitmap in rdata.windows:
        for kind in kinds:
            octet, bit = divmod(kind & 0xFF, 8)
            if window == kind >> 8 and octet < len(bitmap) and bitmap[octet] & (0x80 >> bit):
                return True
    return False


def _instant(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
