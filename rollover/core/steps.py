"""What decide() may answer: one step, with why. The engine does it; nothing here does anything."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from rollover.core.problems import Problem
from rollover.core.tlsa import RRset


class Phase(StrEnum):
    """The phases of interface.md, as ``status`` prints them."""

    UNADOPTED = "unadopted"
    STEADY = "steady"
    PUBLISHING = "publishing"
    PROPAGATING = "propagating"
    WAITING = "waiting"
    INSTALLING = "installing"
    VERIFYING = "verifying"
    RETAINING = "retaining"
    WITHDRAWING = "withdrawing"
    ROLLING_BACK = "rolling-back"
    PAUSED = "paused"
    BLOCKED = "blocked"


@dataclass(frozen=True, slots=True)
class OwnerChange:
    """The change of one RRset, with the exact RRset that it was computed from.

    *owner*: the name that resolvers ask; *target*: where the records live. *expect*: what the
    primary serves; made from *wildcard*, an absolute name, it does not exist at the target, and *add* then has
    to carry what the wildcard gave, or it would be shadowed. *wildcard* is empty for an own RRset. *ttl* in seconds.
    """

    owner: str
    target: str
    zone: str
    expect: RRset
    wildcard: str
    add: RRset
    delete: RRset
    ttl: int

    @property
    def result(self) -> RRset:
        """The RRset after the change."""
        before = frozenset() if self.wildcard else self.expect
        return (before - self.delete) | self.add


@dataclass(frozen=True, slots=True)
class Update:
    """Send one UPDATE to the primary of *zone*."""

    zone: str
    changes: tuple[OwnerChange, ...]
    why: str
    phase: Phase
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True, slots=True)
class Install:
    """Write the goal into every live file that is not it, then reload."""

    fingerprint: str
    why: str
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True, slots=True)
class Reload:
    """Reload the daemons that read these live files."""

    paths: tuple[str, ...]
    why: str
    again: bool = False
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True, slots=True)
class SetGoal:
    """Make another credential the goal: the automatic return, or a queued certificate's turn."""

    fingerprint: str
    why: str
    returning: bool = False
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True, slots=True)
class Activate:
    """Record that the goal is proven on every endpoint."""

    fingerprint: str
    why: str = ""
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True, slots=True)
class Rest:
    """Nothing to do now. *seconds*: when to look again at the latest; None: at the next regular look.

    *soon*: a look within this run may already be enough (verification, propagation).
    *action*: what happens next, for ``next`` in the status.
    """

    phase: Phase
    why: str
    seconds: float | None = None
    soon: bool = False
    action: str = ""
    problems: tuple[Problem, ...] = field(default_factory=tuple)


Step = Update | Install | Reload | SetGoal | Activate | Rest
