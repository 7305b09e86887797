"""How names, addresses and ports of the configuration are read (see values.py)."""

from __future__ import annotations

import ipaddress
import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rollover.config.values import text, wrong

DNS_PORT = 53

#: What the probe can speak: STARTTLS in SMTP and IMAP, TLS from the first octet.
PORTS = {25: "smtp", 587: "smtp", 143: "imap", 465: "tls", 993: "tls", 995: "tls"}
PORTS_TEXT = "25 and 587 (SMTP with STARTTLS), 143 (IMAP with STARTTLS), 465, 993 and 995 (implicit TLS)"

_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_ZONE_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")


def a_label(name: str) -> str:
    """Return the A-label form of an internationalised *name* (RFC 5890 §2.3.2.1), for a hint."""
    labels = unicodedata.normalize("NFC", name.lower()).split(".")
    return ".".join(x if x.isascii() else "xn--" + x.encode("punycode").decode() for x in labels)


def _name(value: str, label: re.Pattern[str], example: str) -> str:
    """Return *value* in lower case without the final dot, if it is a domain name of such labels."""
    name = value.rstrip(".").lower() if value.endswith(".") and not value.endswith("..") else value.lower()
    if not name.isascii():
        wrong("a name in DNS has ASCII letters only", f'write its A-label form: "{a_label(name)}"')
    if not name or len(name) > 253 or not all(label.fullmatch(x) for x in name.split(".")):
        wrong("not a domain name", f"write a name such as {example}")
    return name


def host_name(value: Any) -> str:
    """Return a fully qualified host name in lower case, A-labels, no final dot."""
    example = '"mail.example.org"'
    name = text(value, example=example)
    if address(name) is not None:
        wrong("an address", f"write the name in the MX record, such as {example}; addresses go into `addresses`")
    bare, colon, port = name.rpartition(":")
    if colon and port.isdecimal():
        wrong("a name with a port", f'write "{bare}" here, and the port into `ports`')
    if name.startswith("*."):
        wrong("a wildcard has no TLSA base domain", "write each host name that is in an MX record")
    if "@" in name or "/" in name or "_" in name:
        wrong("not a host name", f"write the name in the MX record, such as {example}")
    name = _name(name, _LABEL, example)
    if "." not in name or name.rpartition(".")[2].isdecimal():
        wrong("not a fully qualified host name", f"write the whole name, such as {example}")
    return name


def zone_name(value: Any) -> str:
    """Return the name of a zone in lower case, no final dot; underscores are usual in delegated ones."""
    return _name(text(value, example='"example.org"'), _ZONE_LABEL, '"example.org"')


def address(value: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Return *value* as an IP address; None if it is none."""
    try:
        return ipaddress.ip_address(value)
    except ValueError:
        return None


def ip_address(value: Any) -> str:
    """Return an address in its canonical form, if a server can be there."""
    found = address(text(value, example='"192.0.2.25"'))
    if found is None:
        wrong("not an IP address", 'write "192.0.2.25" or "2001:db8::25", without port or prefix length')
    if found.is_unspecified or found.is_multicast or str(found) == "255.255.255.255":
        wrong("no server can be reached at this address", "write the address that the MX host answers at")
    return str(found)


def port(value: Any) -> int:
    """Return a port whose protocol the probe speaks."""
    if isinstance(value, bool) or not isinstance(value, int):
        wrong("not a port number", "write a number without quotes, such as ports = [25]")
    if value not in PORTS:
        wrong("no protocol is known for this port", f"known are {PORTS_TEXT}")
    return value


@dataclass(frozen=True, order=True, slots=True)
class NameServer:
    """A name server as the configuration names it: host name or address, port, key file if any."""

    host: str
    port: int = DNS_PORT
    tsig_key: Path | None = None

    @property
    def is_address(self) -> bool:
        """Whether *host* is an IP address."""
        return address(self.host) is not None

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host and self.port != DNS_PORT else self.host
        return host if self.port == DNS_PORT else f"{host}:{self.port}"


def name_server(*, names: bool, keys: bool) -> Callable[[Any], NameServer]:
    """Return a reader of "HOST[:PORT]": *names* allows host names, *keys* a "#KEYFILE" at the end."""
    form = 'write "192.0.2.53", "192.0.2.53:5353" or "[2001:db8::53]:5353"'
    if names:
        form += ', or a name such as "ns1.example.net"'
    if keys:
        form += ", and #/path/of/its.key behind it where the server asks for a key"

    def read(value: Any) -> NameServer:
        place, mark, key = text(value, example='"192.0.2.53"').partition("#")
        if mark and not keys:
            wrong("no key file can be named here", form)
        if mark and not Path(key).is_absolute():
            wrong("what follows the # is not the whole path of a key file", form)
        tsig_key = Path(key) if mark else None
        host, number = place, DNS_PORT
        if address(place) is None:
            found = re.fullmatch(r"\[([^\[\]]+)\](?::(\d{1,5}))?|([^:\[\]]+):(\d{1,5})", place)
            if found is not None:
                host = found[1] or found[3]
                number = int(found[2] or found[4] or DNS_PORT)
        if not 1 <= number <= 65535:
            wrong("no such port", "a port is a number from 1 to 65535")
        if address(host) is not None:
            return NameServer(ip_address(host), number, tsig_key)
        if not names:
            wrong("not an address", form)
        if any(x in host for x in ":/@[]_ ") or host.rpartition(".")[2].isdecimal():
            wrong("neither a name nor an address", form)
        return NameServer(_name(host, _LABEL, '"ns1.example.net"'), number, tsig_key)

    return read


def server(value: Any) -> str:
    """Return the name (lower case, no final dot) or the canonical address of a name server."""
    found = name_server(names=True, keys=False)(value)
    if found.port != DNS_PORT:
        wrong("a port is not needed here", f'write "{found.host}"')
    return found.host
