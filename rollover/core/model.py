"""What is configured and what is remembered of one service: values, no behaviour of their own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from rollover.core.ledger import Ledger, Patience
from rollover.core.sighting import Endpoint, EndpointSighting, Outcome
from rollover.core.timing import Instant
from rollover.core.tlsa import Chain, Params, RRset, owner_name


@dataclass(frozen=True, slots=True)
class Service:
    """One certificate chain on every name and port that serves it; spans in seconds.

    *ttl* None keeps the TTL that is there.
    """

    name: str
    hosts: tuple[str, ...]
    ports: tuple[int, ...]
    records: tuple[Params, ...] = ((3, 1, 1),)
    ttl: int | None = None
    patience: Patience = field(default_factory=Patience)
    retain: float = 86400.0
    drain: float = 600.0
    verify_timeout: float = 60.0
    check_every: float = 900.0
    propagation_warn: float = 3600.0

    @property
    def owners(self) -> tuple[str, ...]:
        """Every owner name of this service."""
        return tuple(owner_name(h, p) for h in self.hosts for p in self.ports)


class State(StrEnum):
    """Credential states after RFC 7583 §3.1."""

    GENERATED = "generated"
    PUBLISHED = "published"
    READY = "ready"
    ACTIVE = "active"
    RETIRED = "retired"
    REMOVED = "removed"
    REVOKED = "revoked"


@dataclass(frozen=True, slots=True)
class Credential:
    """A key and its chain, known by the leaf's SHA-256; immutable once staged."""

    fingerprint: str
    chain: Chain
    not_before: datetime
    not_after: datetime
    algorithm: str  # "rsa", "ecdsa", "ed25519"
    names: tuple[str, ...] = ()

    @property
    def spki(self) -> str:
        """SHA-256 of the public key, hex."""
        return self.chain.spki_sha256


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a credential stands in one service.

    *previous*: what was active when it first became the goal. *blocked*: why it failed when it was
    served; it is not tried again unasked. *since*: first instant of each state.
    """

    state: State = State.GENERATED
    previous: str = ""
    blocked: str = ""
    since: Mapping[str, datetime] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Shown:
    """What an endpoint did in the picture that an install keeps: outcome, and fingerprints shown."""

    outcome: Outcome
    fingerprints: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class OpenInstall:
    """An install from its first intent until a goal is activated, whatever the goal becomes meanwhile.

    *since*: the first intent; *latest*: the first one for *fingerprint*, what was installed last, from
    which verify_timeout counts; *was_active* and *picture*: how it was before the first of all.
    """

    since: Instant
    latest: Instant
    was_active: str
    picture: Mapping[Endpoint, Shown]
    fingerprint: str = ""


@dataclass(frozen=True, slots=True)
class Reload:
    """The last reload that is recorded for a live file: its *identity* then, how often repeated."""

    identity: str
    at: Instant
    repeats: int = 0


@dataclass(frozen=True, slots=True)
class Pause:
    """A person asked for no steps; *until* None: for ever."""

    since: Instant
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Book:
    """All that is remembered of one service beside the ledgers.

    *quiet*: since when every endpoint was reached and nothing but the goal could be presented; the
    clock of every withdrawal. *rounds*: good rounds of handshakes for the goal since the install.
    *hurry*: the goal for which a person chose not to wait. *rollback*, *returning*: a person's
    rollback, or the automatic return, made the goal the goal. *dane_on*: owners whose RRset was seen non-empty with a credential active;
    *refill*: those of them that a person allowed to fill again. *releasing*: a person takes the service out.
    *lately*: certificates that are not the goal, and when an endpoint was last seen to present each.
    """

    adopted: bool = False
    goal: str = ""
    active: str = ""
    queued: str = ""
    rollback: bool = False
    hurry: str = ""
    returning: bool = False
    return_spent: bool = False
    install: OpenInstall | None = None
    reloads: Mapping[str, Reload] = field(default_factory=dict)
    rounds: int = 0
    activated: Instant | None = None
    quiet: Instant | None = None
    dane_on: frozenset[str] = frozenset()
    refill: frozenset[str] = frozenset()
    pause: Pause | None = None
    releasing: bool = False
    lately: Mapping[str, Instant] = field(default_factory=dict)
    standings: Mapping[str, Standing] = field(default_factory=dict)

    def standing(self, fingerprint: str) -> Standing:
        """Return where *fingerprint* stands; a new standing for one never seen."""
        return self.standings.get(fingerprint, Standing())


@dataclass(frozen=True, slots=True)
class World:
    """Everything that a decision about one service may look at, beside the sighting.

    *credentials*: all that the vault holds, of every service, by fingerprint. *ledgers* by owner.
    *managed*: by target, the records that this store added or adopted. *others*: by owner, the
    chains that other services there still need, from the vault too; *strangers*: unknown ones that they
    present. *passing*: by fingerprint, unknown ones that this service's endpoints presented lately.
    *failed*: what has failed in this run and is not tried again in it, with the code of its problem.
    """

    service: Service
    book: Book
    credentials: Mapping[str, Credential]
    ledgers: Mapping[str, Ledger]
    managed: Mapping[str, RRset]
    others: Mapping[str, tuple[Chain, ...]] = field(default_factory=dict)
    failed: Mapping[str, str] = field(default_factory=dict)
    strangers: Mapping[str, tuple[Chain, ...]] = field(default_factory=dict)
    passing: Mapping[str, Chain] = field(default_factory=dict)

    @property
    def goal(self) -> Credential | None:
        """The credential that should be served."""
        return self.credentials.get(self.book.goal)

    def revoked(self, spki: str) -> bool:
        """Tell whether a certificate with this key was revoked: none for it is served again."""
        revoked = (f for f, it in self.book.standings.items() if it.state is State.REVOKED)
        return any(f in self.credentials and self.credentials[f].spki == spki for f in revoked)

    def ledger(self, owner: str) -> Ledger:
        """Return the ledger of *owner*, an empty one if nothing was ever seen there."""
        return self.ledgers.get(owner, Ledger(owner))


def picture(endpoints: tuple[EndpointSighting, ...]) -> dict[Endpoint, Shown]:
    """Return what to keep of *endpoints* when an install is opened."""
    return {e.endpoint: Shown(e.outcome, tuple(c.fingerprint for c in e.chains)) for e in endpoints}
