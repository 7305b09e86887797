"""What one look at the world saw. The hands fill these in; the core only reads them.

A sighting is believed for 30 seconds (protocol.md, Terms). Nothing here is remembered as a fact
about later: the ledger keeps what must be remembered.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from rollover.core.timing import Instant
from rollover.core.tlsa import Chain, RRset


class Signature(StrEnum):
    """What became of the RRSIG of an answer, or of the proof that there is nothing."""

    VALID = "valid"
    MISSING = "missing"
    EXPIRED = "expired"
    BOGUS = "bogus"
    UNCHECKED = "unchecked"  # a server that the public does not ask, or a zone without DNSSEC


@dataclass(frozen=True, slots=True)
class ServerAnswer:
    """What one authoritative server said about one owner.

    *server* is its name and address, as ``status`` prints it. *rrset* is None when it was not
    reached, gave no authoritative answer, or answered with a CNAME (*cname* then has the target,
    absolute, lower case). An owner without TLSA is an empty *rrset*. *ttl* in seconds is the largest
    on the way to this RRset: its own, that of its wildcard, those of the CNAMEs that lead to it.
    """

    server: str
    zone: str
    primary: bool  # the one that takes our updates
    public: bool  # resolvers ask it: its signatures count
    reached: bool
    problem: str = ""  # one line; empty when all was well
    rrset: RRset | None = None
    cname: str = ""
    ttl: int = 0
    own_ttl: int = 0  # of the RRset itself, which an update keeps
    serial: int | None = None  # SOA serial of its copy of the zone
    signature: Signature = Signature.UNCHECKED
    inception: datetime | None = None  # of the RRSIG over the RRset; None for no RRset
    expiration: datetime | None = None
    wildcard: str = ""  # the wildcard owner that this answer was made from; empty for an own RRset


@dataclass(frozen=True, slots=True)
class ResolverAnswer:
    """What the validating resolver said about one owner; CNAMEs followed by it."""

    rrset: RRset | None  # None: no answer (SERVFAIL, timeout)
    authenticated: bool  # the AD flag
    problem: str = ""
    ttl: int = 0


@dataclass(frozen=True, slots=True)
class OwnerSighting:
    """One owner everywhere.

    *target* is where the records live (the end of the CNAMEs as the primaries tell it; the owner
    itself without one), *zone* the zone of the target. *servers* holds every server of every zone
    on the way. *blocked*: why nothing can be managed here (CNAME loop, target in a zone without key…).
    """

    owner: str
    target: str
    zone: str
    servers: tuple[ServerAnswer, ...]
    resolver: ResolverAnswer
    blocked: str = ""
    ns_ttl: int = 0  # TTL of the NS RRset, for servers that leave it

    @property
    def primary(self) -> ServerAnswer | None:
        """The answer of the primary of the target's zone; None when there is none."""
        for answer in self.servers:
            if answer.primary and answer.zone == self.zone and answer.rrset is not None:
                return answer
        return None


class Outcome(StrEnum):
    """How a handshake with an endpoint ended."""

    PRESENTED = "presented"  # a chain was shown
    NO_TLS = "no-tls"  # greeted, but STARTTLS is not offered, refused (454), or the handshake failed
    NO_GREETING = "no-greeting"  # connected, then silence or hang-up before the greeting
    UNREACHABLE = "unreachable"  # no connection


@dataclass(frozen=True, order=True, slots=True)
class Endpoint:
    """One place where a chain is presented.

    *host* is the TLSA base domain and the SNI that senders use; *sni* tells whether we send it;
    *algorithm* ("rsa", "ecdsa" or "" for whatever the server prefers) which key we can verify.
    """

    host: str
    address: str
    port: int
    sni: bool = True
    algorithm: str = ""

    def __str__(self) -> str:
        place = f"[{self.address}]:{self.port}" if ":" in self.address else f"{self.address}:{self.port}"
        marks = ("" if self.sni else " without SNI") + (f" {self.algorithm}" if self.algorithm else "")
        return f"{self.host} {place}{marks}"


@dataclass(frozen=True, slots=True)
class EndpointSighting:
    """What the connections of one round to one endpoint showed.

    *chains*: every different chain that was presented, most recent last; empty unless PRESENTED.
    *connections*: how many full handshakes stand behind this.
    """

    endpoint: Endpoint
    outcome: Outcome
    chains: tuple[Chain, ...] = ()
    detail: str = ""
    connections: int = 1


@dataclass(frozen=True, slots=True)
class LiveFile:
    """The file that the mail server reads, as it is on disk now.

    *identity* names this very file content (inode, mtime in ns, SHA-256), *chain* is what a restart
    would present: None when the file is absent or unusable (*problem* says which and why). *wiring* is empty
    when the mail server's configuration names this file, else says what it names instead.
    """

    path: str
    identity: str
    chain: Chain | None
    problem: str = ""
    wiring: str = ""


@dataclass(frozen=True, slots=True)
class Sighting:
    """All that was observed for one service in one look; *time* is its end.

    *clock_agrees*: in this look a TSIG-signed answer agreed with our wall clock to within seconds
    (protocol.md, Time). *clock_problem* says what was wrong, BADTIME above all.
    """

    time: Instant
    owners: tuple[OwnerSighting, ...]
    endpoints: tuple[EndpointSighting, ...]
    live: tuple[LiveFile, ...]
    clock_agrees: bool
    clock_problem: str = ""
