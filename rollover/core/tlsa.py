"""TLSA records: association data, owner names, matching, and valid(R, c).

This file decides what a record matches. RFC 6698 (record), RFC 7671 (operations), RFC 7672 (SMTP).
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Collection
from dataclasses import dataclass

DIGESTS = {1: hashlib.sha256, 2: hashlib.sha512}
DIGEST_LENGTH = {1: 32, 2: 64}
MALFORMED = -1

Params = tuple[int, int, int]


@dataclass(frozen=True, order=True, slots=True)
class Tlsa:
    """One record: usage, selector, matching type, certificate association data (RFC 6698 §2.1).

    An RDATA of fewer than three octets cannot be taken apart; it is kept whole in *association*
    with usage -1, because a prerequisite must name every record of an RRset, other people's junk too.
    """

    usage: int
    selector: int
    mtype: int
    association: bytes

    @property
    def params(self) -> Params:
        """The combination to which the rule of RFC 7671 §8 applies."""
        return (self.usage, self.selector, self.mtype)

    @classmethod
    def parse(cls, text: str) -> Tlsa:
        r"""Read presentation form, "3 1 1 hex", white space allowed in the hex (RFC 6698 §2.2).

        The generic form, "\# length hex" (RFC 3597 §5), is read too: it is how ``str`` writes what has
        no other form. Raises ValueError for anything else.
        """
        fields = text.split()
        if fields[:1] == ["\\#"] and len(fields) > 1:
            rdata = bytes.fromhex("".join(fields[2:]))
            if fields[1] != str(len(rdata)):
                raise ValueError(f"not as long as it says: {text!r}")
            return cls.from_wire(rdata)
        if len(fields) < 4 or not all(f.isascii() and f.isdecimal() and int(f) < 256 for f in fields[:3]):
            raise ValueError(f"not a TLSA record: {text!r}")
        return cls(int(fields[0]), int(fields[1]), int(fields[2]), bytes.fromhex("".join(fields[3:])))

    @classmethod
    def from_wire(cls, rdata: bytes) -> Tlsa:
        """Read RDATA octets; never fails (see the class)."""
        if len(rdata) < 3:
            return cls(MALFORMED, 0, 0, rdata)
        return cls(rdata[0], rdata[1], rdata[2], rdata[3:])

    def to_wire(self) -> bytes:
        """Return the RDATA octets."""
        if self.usage == MALFORMED:
            return self.association
        return bytes(self.params) + self.association

    def __str__(self) -> str:
        if self.usage == MALFORMED or not self.association:
            rdata = self.to_wire()
            return f"\\# {len(rdata)} {rdata.hex()}".rstrip()
        return f"{self.usage} {self.selector} {self.mtype} {self.association.hex()}"


RRset = frozenset[Tlsa]
EMPTY: RRset = frozenset()


@dataclass(frozen=True, slots=True)
class Link:
    """One certificate of a chain: its DER, its SubjectPublicKeyInfo in DER.

    *anchor*: it is a CA certificate and its signature on the link before it verifies, so a usage-2
    record may point at it.
    """

    der: bytes
    spki: bytes
    anchor: bool = False


@dataclass(frozen=True, slots=True)
class Chain:
    """A certificate chain as a server presents it, leaf first."""

    links: tuple[Link, ...]

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the leaf, hex: the name of a credential."""
        return _name(self.links[0].der)

    @property
    def spki_sha256(self) -> str:
        """SHA-256 of the leaf's SubjectPublicKeyInfo, hex: the name of a key."""
        return _name(self.links[0].spki)


@functools.lru_cache(maxsize=512)  # asked for thousands of times in a run, of a handful of certificates
def _name(der: bytes) -> str:
    return hashlib.sha256(der).hexdigest()


def association(link: Link, selector: int, mtype: int) -> bytes:
    """Return the certificate association data of *link* (RFC 6698 §2.1.2, §2.1.3).

    Raises KeyError or ValueError for a selector or matching type that does not exist.
    """
    if selector not in (0, 1):
        raise ValueError(f"no selector {selector}")
    selected = link.spki if selector else link.der
    return selected if mtype == 0 else DIGESTS[mtype](selected).digest()


def record(chain: Chain, params: Params) -> Tlsa:
    """Return the DANE-EE record of the leaf of *chain* in the combination *params*.

    Raises ValueError for another usage: a record of usage 2 names an issuer, and is never made here.
    """
    usage, selector, mtype = params
    if usage != 3:
        raise ValueError(f"not a DANE-EE combination: {usage} {selector} {mtype}")
    return Tlsa(usage, selector, mtype, association(chain.links[0], selector, mtype))


def owner_name(host: str, port: int) -> str:
    """Return ``_PORT._tcp.HOST.`` in lower case, A-labels, absolute (RFC 6698 §3).

    Raises ValueError for a U-label: there are two ways to encode some of them (IDNA 2003 and 2008),
    and a record at the wrong name protects nothing.
    """
    if not host.isascii():
        raise ValueError(f"host name {host!r} is not in A-labels (xn--…)")
    return f"_{port}._tcp.{host.rstrip('.').lower()}."


def usable(rr: Tlsa) -> bool:
    """Tell whether an SMTP client may use *rr*.

    Usages 0 and 1 are unusable for SMTP (RFC 7672 §3.1.3), and so is a digest of a wrong length or
    an unknown selector or matching type (RFC 7671 §10.1.1, RFC 6698 §4.1).
    """
    if rr.usage not in (2, 3) or rr.selector not in (0, 1) or rr.mtype not in (0, 1, 2):
        return False
    return bool(rr.association) if rr.mtype == 0 else len(rr.association) == DIGEST_LENGTH[rr.mtype]


def matches(rr: Tlsa, chain: Chain) -> bool:
    """Tell whether *rr* matches *chain*: usage 3 the leaf, usage 2 an issuer of it in the chain.

    A trust anchor that the server does not send matches nothing, self-signed root or not (RFC 7672
    §3.1.2): senders have no store to take it from. Some accept one from a ``2 0 0`` record; not all.
    """
    if not usable(rr) or not chain.links:
        return False
    candidates = chain.links[:1] if rr.usage == 3 else tuple(x for x in chain.links[1:] if x.anchor)
    return any(association(x, rr.selector, rr.mtype) == rr.association for x in candidates)


def combinations(rrset: RRset) -> frozenset[Params]:
    """Return the usable combinations in *rrset*."""
    return frozenset(rr.params for rr in rrset if usable(rr))


def valid(rrset: RRset, chain: Chain) -> bool:
    """Tell whether every DANE sender that holds *rrset* accepts *chain*.

    Every usable combination has a record that matches (RFC 7671 §8). An empty RRset is valid: no
    DANE. One with unusable records only is valid too: RFC 7672 §2.2 asks for TLS, unauthenticated.
    Where a sender must rely on usage 2 it looks at names and dates as well (RFC 7672 §3.1.2), and a
    chain knows no clock: sender.verdict() tells that part.
    """
    matched = {rr.params for rr in rrset if matches(rr, chain)}
    return combinations(rrset) <= matched


def needed(chain: Chain, rrset: RRset, configured: Collection[Params]) -> RRset:
    """Return the DANE-EE records that *chain* needs beside *rrset*.

    One in each configured combination, and one in each usage-3 combination that somebody else
    published: beside a foreign ``3 1 2`` a new key needs its own ``3 1 2`` (RFC 7671 §8).
    """
    wanted = set(configured) | {p for p in combinations(rrset) if p[0] == 3}
    return frozenset(record(chain, p) for p in wanted)
