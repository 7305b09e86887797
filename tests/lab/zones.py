"""The zones of the lab as text: what the parent delegates, and what the primary serves at first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from . import addresses as at

PORTS = (25, 143, 465, 587, 993, 995)
"""The ports whose owners the tool's key is granted."""

OwnerKind = Literal["plain", "cname", "cname-other-zone", "wildcard"]


@dataclass(frozen=True)
class ZoneOptions:
    """What a test may want to be different in the zones. TTLs in seconds."""

    ttl: int = 20
    """TTL of the TLSA RRset, and of the addresses."""
    negative_ttl: int = 2
    owner: OwnerKind = "plain"
    """What owns `_25._tcp.mail.example.test.`: the records, a CNAME, or a wildcard above it."""
    cname_ttl: int | None = None
    ports: Sequence[int] = (25,)
    """Ports with TLSA records from the start."""
    published: bool = True
    """Whether the first certificate's record is there from the start."""
    foreign: Sequence[str] = ()
    """TLSA rdata of others, beside it at port 25."""
    mx_addresses: Sequence[str] = (at.MX,)
    extra: str = ""
    """Further lines of the zone file of example.test."""
    hidden_primary: bool = False
    """Whether the primary is missing from the NS RRsets: only the secondary is asked."""
    refresh: int = field(default=5)
    """SOA REFRESH: how late a secondary is that never hears a NOTIFY."""


def owner(port: int = 25, host: str = at.HOST) -> str:
    """Return the TLSA owner name (RFC 6698 §3)."""
    return f"_{port}._tcp.{host}"


def tool_grants(options: ZoneOptions, key: str = "rollover-key") -> str:
    """Return the rules that let the tool's key write TLSA at its owners, and nothing else."""
    names = [owner(port) for port in PORTS]
    if options.owner == "cname":
        names.append(at.CNAME_TARGET)
    return "\n".join(f"grant {key} name {name} TLSA;" for name in names)


def dane_grants() -> str:
    """Return the same for the key of the second zone: one owner."""
    return f"grant dane-key name {at.DANE_TARGET} TLSA;"


def acme_grants(zone: str = at.DOMAIN) -> str:
    """Return the rules of the ACME client's key: TXT at the challenge names (RFC 8555 §8.4)."""
    names = [f"_acme-challenge.{label}{zone}" for label in ("", "mail.", "www.")]
    return "\n".join(f"grant acme-key name {name} TXT;" for name in names)


def parent(options: ZoneOptions, ds: Mapping[str, str]) -> str:
    """Return the zone test., with its two delegations."""
    lines = [_head("ns.test.", options, "ns.test."), f"ns.test. A {at.PARENT}"]
    for zone in (at.DOMAIN, at.DANE_DOMAIN):
        lines += [*(f"{zone} NS {server}" for server in _asked(options)), f"{zone} DS {ds[zone]}"]
    return "\n".join([*lines, *_name_servers()]) + "\n"


def example(options: ZoneOptions, record: str) -> str:
    """Return the zone example.test. *record* is the rdata for the first certificate."""
    lines = [
        _head(f"ns1.{at.DOMAIN}", options, *_asked(options)),
        *_name_servers(),
        f"@ MX 10 {at.HOST}",
        f"{at.WEB_HOST} A 127.0.0.80",
        *(f"{at.HOST} {'AAAA' if ':' in a else 'A'} {a}" for a in options.mx_addresses),
    ]
    rdata = ([record] if options.published else []) + list(options.foreign)
    cname_ttl = options.cname_ttl or options.ttl
    if options.owner == "cname":
        lines.append(f"{at.OWNER} {cname_ttl} CNAME {at.CNAME_TARGET}")
        lines += [f"{at.CNAME_TARGET} TLSA {data}" for data in rdata]
    elif options.owner == "cname-other-zone":
        lines.append(f"{at.OWNER} {cname_ttl} CNAME {at.DANE_TARGET}")
    elif options.owner == "wildcard":
        lines += [f"*._tcp.{at.HOST} TLSA {data}" for data in rdata]
    else:
        lines += [f"{at.OWNER} TLSA {data}" for data in rdata if 25 in options.ports]
    if options.published and options.owner != "wildcard":
        lines += [f"{owner(port)} TLSA {record}" for port in options.ports if port != 25]
    return "\n".join([*lines, options.extra]) + "\n"


def dane(options: ZoneOptions, record: str) -> str:
    """Return the zone dane.test., which a CNAME of example.test may point into."""
    lines = [_head(f"ns1.{at.DOMAIN}", options, *_asked(options))]
    if options.owner == "cname-other-zone":
        rdata = ([record] if options.published else []) + list(options.foreign)
        lines += [f"{at.DANE_TARGET} TLSA {data}" for data in rdata]
    return "\n".join(lines) + "\n"


def _head(primary: str, options: ZoneOptions, *asked: str) -> str:
    return "\n".join(
        [
            f"$TTL {options.ttl}",
            f"@ SOA {primary} hostmaster.example.test. 1 {options.refresh} 2 604800 {options.negative_ttl}",
            *(f"@ NS {server}" for server in asked),
        ]
    )


def _asked(options: ZoneOptions) -> list[str]:
    """Return the names of the servers that the public asks."""
    return [f"ns2.{at.DOMAIN}"] if options.hidden_primary else [f"ns1.{at.DOMAIN}", f"ns2.{at.DOMAIN}"]


def _name_servers() -> list[str]:
    return [f"ns1.{at.DOMAIN} A {at.PRIMARY}", f"ns2.{at.DOMAIN} A {at.SECONDARY}"]
