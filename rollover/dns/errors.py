"""Errors of the hand that talks to name servers: each fault its own type, message and hint.

``outcome_unknown`` marks the errors after which an update may or may not have been applied, now or
later: the RRset that it would make counts as shown until the answer is known (protocol.md, Ready).
"""

from __future__ import annotations

from datetime import datetime

from rollover.core.errors import (
    EX_CONFIG,
    EX_NOPERM,
    EX_TEMPFAIL,
    EX_UNAVAILABLE,
    ConfigError,
    ServerError,
)
from rollover.core.timing import stamp


class NoAnswer(Exception):
    """One exchange with one server came to nothing; *problem* says why in one line.

    Internal to this room: it becomes a ServerAnswer that was not reached, or one of the errors
    below. *sent* tells whether the request may have arrived.
    """

    def __init__(self, problem: str, *, sent: bool = True) -> None:
        super().__init__(problem)
        self.problem = problem
        self.sent = sent


class TsigKeyError(ConfigError):
    """A TSIG key file that cannot be used. The message never shows the secret."""

    code = "tsig-key"


class ResolverError(ServerError):
    """The validating resolver gave no usable answer."""

    exit_code = EX_TEMPFAIL
    retryable = True
    code = "resolver-failed"

    def __init__(
        self, *, resolver: str, name: str, kind: str, problem: str, retryable: bool = True, refused: bool = False
    ) -> None:
        super().__init__(
            f"resolver {resolver} gives no answer for {name} {kind}: {problem}",
            hint=f"see what `dig {name} {kind} +dnssec @RESOLVER` says;"
            " [dns] resolver must name a validating resolver that works",
        )
        self.problem = problem
        self.retryable = retryable
        self.refused = refused  # it answered, with an error: SERVFAIL is also its word for bogus


class PrimaryUnknown(ConfigError):
    """Nothing tells where updates of a zone go, or that name has no address."""

    code = "primary-unknown"

    def __init__(self, *, zone: str, problem: str) -> None:
        super().__init__(
            f"no primary for zone {zone}: {problem}",
            hint=f"set [dns] primary, or a [[dns.zone]] block for {zone}, to the server that takes its updates",
        )


class NoTsigKey(ConfigError):
    """A zone is to be changed and there is no key for it."""

    code = "tsig-key"

    def __init__(self, *, zone: str) -> None:
        super().__init__(
            f"no TSIG key for zone {zone}",
            hint=f"set [dns] tsig_key, or a [[dns.zone]] block for {zone} with its tsig_key",
        )


class UpdateError(ServerError):
    """An UPDATE did not succeed. *server*, *zone* and *key* are names for an operator."""

    outcome_unknown = False

    def __init__(self, message: str, *, hint: str, server: str, zone: str) -> None:
        super().__init__(message, hint=hint)
        self.server = server
        self.zone = zone


class PrimaryUnreachable(UpdateError):
    """No connection to the primary; nothing was sent."""

    exit_code = EX_UNAVAILABLE
    retryable = True
    code = "primary-unreachable"

    def __init__(self, *, zone: str, server: str, problem: str) -> None:
        super().__init__(
            f"primary {server} of zone {zone} cannot be reached: {problem}",
            hint=f"is named running on {server}, and TCP port 53 open from here?",
            server=server,
            zone=zone,
        )


class OutcomeUnknown(UpdateError):
    """The UPDATE was sent and no answer that can be trusted came back: it may have been applied."""

    exit_code = EX_TEMPFAIL
    retryable = True
    outcome_unknown = True
    code = "update-unknown"

    def __init__(self, *, zone: str, server: str, problem: str) -> None:
        super().__init__(
            f"update of zone {zone} was sent to {server}, outcome unknown: {problem}",
            hint="nothing to do: the next run reads back what became of it",
            server=server,
            zone=zone,
        )


class UpdateRefused(UpdateError):
    """The primary rejected the update (RFC 2136 §2.2 RCODE REFUSED). Theirs, not ours."""

    exit_code = EX_NOPERM
    code = "update-refused"

    def __init__(self, *, zone: str, server: str, key: str, owners: tuple[str, ...]) -> None:
        grants = " ".join(f"grant {key} name {owner} TLSA;" for owner in owners)
        super().__init__(
            f"update of zone {zone} refused by {server}: REFUSED",
            hint=f"if the zone is frozen, thaw it; else grant: `{grants}`",
            server=server,
            zone=zone,
        )


class TsigBadKey(UpdateError):
    """The server does not know our key, or knows it with another algorithm (RFC 8945 §5.2.1)."""

    exit_code = EX_CONFIG
    code = "tsig-badkey"

    def __init__(self, *, zone: str, server: str, key: str, algorithm: str) -> None:
        super().__init__(
            f"{server} does not know TSIG key {key} with algorithm {algorithm}: BADKEY",
            hint=f"the key statement of {key} in named.conf on {server} must be the same, name and algorithm"
            " too, as in the file that tsig_key names; then `rndc reconfig`",
            server=server,
            zone=zone,
        )


class TsigBadSignature(UpdateError):
    """The server has another secret under our key's name (RFC 8945 §5.2.2)."""

    exit_code = EX_CONFIG
    code = "tsig-badsig"

    def __init__(self, *, zone: str, server: str, key: str) -> None:
        super().__init__(
            f"{server} has another secret for TSIG key {key}: BADSIG",
            hint=f"copy the key statement of {key} from named.conf on {server} to the file that tsig_key names",
            server=server,
            zone=zone,
        )


class TsigBadTime(UpdateError):
    """The clocks of the server and of this host differ by more than the fudge (RFC 8945 §5.2.3)."""

    exit_code = EX_TEMPFAIL
    code = "clock"

    def __init__(self, *, zone: str, server: str, theirs: datetime | None, ours: datetime) -> None:
        there = stamp(theirs) if theirs else "another time"
        super().__init__(
            f"clocks differ: {there} on {server}, {stamp(ours)} on this host: BADTIME",
            hint="find out which of the two is wrong and set it by NTP; no wait is counted until then",
            server=server,
            zone=zone,
        )
        self.theirs = theirs
        self.ours = ours


class NotAuthoritative(UpdateError):
    """The server is not the primary of the zone (RFC 2136 §2.2 RCODE NOTAUTH)."""

    exit_code = EX_CONFIG
    code = "not-authoritative"

    def __init__(self, *, zone: str, server: str) -> None:
        super().__init__(
            f"{server} is not the primary of zone {zone}: NOTAUTH",
            hint=f"[dns] primary, or a [[dns.zone]] block for {zone}, must name the server that takes its updates",
            server=server,
            zone=zone,
        )


class NotZone(UpdateError):
    """An owner is not inside the zone (RFC 2136 §2.2 RCODE NOTZONE): a zone cut moved."""

    exit_code = EX_CONFIG
    code = "not-zone"

    def __init__(self, *, zone: str, server: str, owners: tuple[str, ...]) -> None:
        super().__init__(
            f"{server} says that {', '.join(owners)} is not in zone {zone}: NOTZONE",
            hint=f"was a child zone delegated below {zone}? `dig SOA {owners[0]}` shows the zone now",
            server=server,
            zone=zone,
        )


class UpdateFailed(UpdateError):
    """The server could not do it, and undid it (RFC 2136 §3.4.2.1 RCODE SERVFAIL)."""

    exit_code = EX_TEMPFAIL
    code = "update-failed"

    def __init__(self, *, zone: str, server: str) -> None:
        super().__init__(
            f"update of zone {zone} failed on {server}: SERVFAIL",
            hint=f"the log of named on {server} says why: disk full, journal not writable, zone not loaded",
            server=server,
            zone=zone,
        )


class ChangedUnderUs(UpdateError):
    """A prerequisite did not hold: the RRset is not what the decision was made from. Decide anew."""

    exit_code = EX_TEMPFAIL
    retryable = True
    code = "rrset-changed"

    def __init__(self, *, zone: str, server: str, owners: tuple[str, ...], rcode: str) -> None:
        super().__init__(
            f"records at {', '.join(owners)} changed on {server} before our update: {rcode}",
            hint="nothing to do: the next run looks anew and decides from what is there",
            server=server,
            zone=zone,
        )


class UpdateNotSupported(UpdateError):
    """The server does not take RFC 2136 updates, or not this one (FORMERR, NOTIMP and others)."""

    exit_code = EX_UNAVAILABLE
    code = "update-not-supported"

    def __init__(self, *, zone: str, server: str, rcode: str) -> None:
        super().__init__(
            f"{server} cannot take an update of zone {zone}: {rcode}",
            hint="[dns] primary must name the primary itself, a server that takes RFC 2136 updates with TSIG",
            server=server,
            zone=zone,
        )
