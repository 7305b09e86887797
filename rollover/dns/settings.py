"""What the configuration says about DNS, as this room needs it."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from datetime import date

from rollover.dns.keys import TsigKey

DNS_PORT = 53


@dataclass(frozen=True, slots=True)
class ExtraServer:
    """A further server that must have a change: "ADDRESS[:PORT]", with its own key if it needs one."""

    address: str
    key: TsigKey | None = None


@dataclass(frozen=True, slots=True)
class Ignored:
    """A server left out of "everywhere", by name or address, up to and including the day *until* (UTC)."""

    server: str
    until: date


@dataclass(frozen=True, slots=True)
class ZoneSettings:
    """A zone with another primary or key than the rest; None takes those of DnsSettings."""

    name: str
    primary: str | None = None
    key: TsigKey | None = None


@dataclass(frozen=True, slots=True)
class DnsSettings:
    """The ``[dns]`` block. Spans in seconds; *primary* and *resolver* as "HOST[:PORT]"."""

    primary: str | None = None
    key: TsigKey | None = None
    resolver: str | None = None
    also_check: tuple[ExtraServer, ...] = ()
    ignore: tuple[Ignored, ...] = ()
    settle: float = 0.0
    propagation_warn: float = 3600.0
    timeout: float = 5.0
    zones: tuple[ZoneSettings, ...] = field(default=())

    def zone(self, name: str) -> ZoneSettings:
        """Return primary and key for zone *name*: its own block, filled up from the general ones."""
        for block in self.zones:
            if canonical(block.name) == canonical(name):
                return ZoneSettings(name, block.primary or self.primary, block.key or self.key)
        return ZoneSettings(name, self.primary, self.key)

    def has_block(self, name: str) -> bool:
        """Tell whether zone *name* has a ``[[dns.zone]]`` block."""
        return any(canonical(block.name) == canonical(name) for block in self.zones)


def canonical(name: str) -> str:
    """Return the domain name *name* in lower case with its final dot."""
    return name.rstrip(".").lower() + "."


def is_address(host: str) -> bool:
    """Tell whether *host* is an IPv4 or IPv6 address."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def split_host_port(text: str, default: int = DNS_PORT) -> tuple[str, int]:
    """Return host and port of "ns.example.net", "192.0.2.53:5353", "[2001:db8::1]:53", "2001:db8::1".

    Raises ValueError for anything else.
    """
    text = text.strip()
    host, port = text, ""
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket or not is_address(host) or (rest and not rest.startswith(":")):
            raise ValueError(f"not an address in brackets: {text!r}")
        port = rest[1:]
        if rest and not port:
            raise ValueError(f"port missing: {text!r}")
    elif text.count(":") == 1:
        host, _, port = text.partition(":")
        if not port:
            raise ValueError(f"port missing: {text!r}")
    elif ":" in text and not is_address(text):
        raise ValueError(f"not an IPv6 address: {text!r}")
    if not host or any(c.isspace() for c in host) or "#" in host or "/" in host:
        raise ValueError(f"not a host name or address: {text!r}")
    if not port:
        return host, default
    if not (port.isascii() and port.isdecimal() and 0 < int(port) < 65536):
        raise ValueError(f"not a port: {port!r}")
    return host, int(port)


def join_host_port(host: str, port: int) -> str:
    """Return *host*, with the port only where it is not 53."""
    if port == DNS_PORT:
        return host
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
