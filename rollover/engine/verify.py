"""`verify`: any host's certificates against its TLSA RRset, as a DANE sender judges them."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from rollover.clock import Clock
from rollover.core.errors import RolloverError
from rollover.core.problems import Level
from rollover.core.report import worst
from rollover.core.sender import Conclusion, verdict
from rollover.core.sighting import Endpoint, EndpointSighting, Outcome, ResolverAnswer
from rollover.core.tlsa import owner_name, usable
from rollover.dns.resolver import Resolver
from rollover.dns.settings import DnsSettings
from rollover.mail.probe import probe_all

TIMEOUT = 30.0


@dataclass(frozen=True, slots=True)
class Finding:
    """What one endpoint came to: *level*, and one line."""

    endpoint: str
    level: Level
    text: str

    def as_json(self) -> dict[str, Any]:
        """Return it for ``--json``."""
        return {"endpoint": self.endpoint, "level": str(self.level), "message": self.text}


@dataclass(frozen=True, slots=True)
class HostFindings:
    """One host and port: its records and what each address came to."""

    host: str
    port: int
    records: tuple[str, ...]
    authenticated: bool
    findings: tuple[Finding, ...]

    @property
    def level(self) -> Level:
        """The worst of its findings."""
        return worst(f.level for f in self.findings)

    def as_json(self) -> dict[str, Any]:
        """Return it for ``--json``."""
        return {
            "host": self.host,
            "port": self.port,
            "level": str(self.level),
            "records": list(self.records),
            "authenticated": self.authenticated,
            "endpoints": [f.as_json() for f in self.findings],
        }


async def verify(host: str, port: int, settings: DnsSettings, clock: Clock) -> HostFindings:
    """Judge every address of *host*. Servers that fail are findings, never exceptions."""
    resolver = Resolver.of(settings, clock)
    owner = owner_name(host, port)
    try:
        said, (addresses, secure) = await asyncio.gather(resolver.tlsa(owner), resolver.addresses(host))
    except RolloverError as error:
        return HostFindings(host, port, (), False, (Finding(f"{host}:{port}", Level.CRITICAL, error.message),))
    records = tuple(str(r) for r in sorted(said.rrset)) if said.rrset else ()
    trouble = _dns_trouble(said, secure, owner)
    if not addresses:
        trouble = Finding(f"{host}:{port}", Level.CRITICAL, f"{host} has no address")
    endpoints = [Endpoint(host, address, port) for address in addresses]
    seen = await probe_all(endpoints, timeout=TIMEOUT)
    findings = [trouble] if trouble is not None else []
    # Senders ask for TLSA where the addresses are authenticated (RFC 7672 §2.2.2), and believe what is.
    dane = bool(said.rrset) and said.authenticated and secure
    findings += [_judge(e, said, dane, clock) for e in seen]
    return HostFindings(host, port, records, said.authenticated, tuple(findings))


def _dns_trouble(said: ResolverAnswer, addresses_secure: bool, owner: str) -> Finding | None:
    if said.rrset is None:
        return Finding(
            owner, Level.CRITICAL, f"TLSA lookup fails: {said.problem}; DANE senders defer (RFC 7672 §2.1.2)"
        )
    if not said.rrset:
        return Finding(owner, Level.WARNING, "no TLSA record: no DANE")
    if not said.authenticated:
        return Finding(
            owner,
            Level.WARNING,
            "the resolver does not authenticate the answer: no DANE (is the zone signed, does the resolver validate?)",
        )
    if not addresses_secure:
        return Finding(
            owner, Level.WARNING, "the addresses are not authenticated: senders do not ask for TLSA (RFC 7672 §2.2.2)"
        )
    if not any(usable(r) for r in said.rrset):
        return Finding(owner, Level.WARNING, "no usable record: TLS is required, not authenticated (RFC 7672 §2.2)")
    return None


def _judge(e: EndpointSighting, said: ResolverAnswer, dane: bool, clock: Clock) -> Finding:
    """Return what senders make of one endpoint; *dane*: they ask for TLSA there, and believe the answer."""
    place = str(e.endpoint)
    if e.outcome is Outcome.UNREACHABLE:
        return Finding(place, Level.UNKNOWN, f"cannot be reached: {e.detail}")
    if e.outcome is not Outcome.PRESENTED:
        return Finding(place, Level.CRITICAL if dane else Level.WARNING, f"{e.outcome}: {e.detail}")
    chain = e.chains[-1]
    key = f"key {chain.spki_sha256[:16]}"
    if said.rrset is None:
        return Finding(place, Level.UNKNOWN, f"{key}: not judged, as the TLSA lookup fails")
    it = verdict(said.rrset, chain, names=(e.endpoint.host,), now=clock.now().wall)
    if not dane:
        would = f"; with DANE: {it.reason}" if said.rrset else ""
        return Finding(place, Level.OK, f"{key}: senders deliver without DANE{would}")
    if it.conclusion is Conclusion.REJECTS:
        return Finding(place, Level.CRITICAL, f"DANE senders defer: {key}: {it.reason}")
    if it.conclusion is Conclusion.ACCEPTS:
        return Finding(place, Level.OK, f"DANE senders deliver: {key}: {it.reason} ({it.record})")
    return Finding(place, Level.OK, f"{key}: {it.reason}")
