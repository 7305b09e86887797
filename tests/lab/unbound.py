"""A validating Unbound, its cache open to inspection."""

from __future__ import annotations

import re
import socket
from functools import partial
from pathlib import Path

from . import addresses as at
from . import query
from .process import LabError, Server

_RECORD = re.compile(r"^(?P<name>\S+)\s+(?P<ttl>\d+)\s+IN\s+(?P<type>\S+)\s+(?P<rdata>.+)$")


class Resolver(Server):
    """One unbound(8) whose trust anchor is the key of the zone test."""

    def __init__(self, name: str, directory: Path, address: str, anchor: str) -> None:
        super().__init__(name, directory)
        self.address = address
        self._anchor = anchor

    def command(self) -> list[str]:
        return [str(at.ROOT / "bin/unbound"), "-d", "-p", "-c", str(self.directory / "unbound.conf")]

    def spawn(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        (self.directory / "unbound.conf").write_text(f"""\
server:
    interface: {self.address}
    outgoing-interface: {self.address}
    access-control: 127.0.0.0/8 allow
    do-ip6: no
    do-not-query-localhost: no
    username: ""
    chroot: ""
    directory: "{self.directory}"
    logfile: "{self.log}"
    use-syslog: no
    log-time-ascii: yes
    log-servfail: yes
    num-threads: 1
    module-config: "validator iterator"
    trust-anchor: "test. DS {self._anchor}"
    local-zone: "test." nodefault
    # A bogus answer is kept for 60 s by default; tests of expired signatures want to see it end.
    val-bogus-ttl: 2
stub-zone:
    name: "test."
    stub-addr: {at.PARENT}
remote-control:
    control-enable: yes
    control-use-cert: no
    control-interface: {self._socket}
""")
        super().spawn()

    @property
    def _socket(self) -> Path:
        return self.directory / "control"

    def wait_ready(self) -> None:
        """Wait until it answers for both zones, authenticated."""
        for zone in (at.DOMAIN, at.DANE_DOMAIN):
            self.wait_until(partial(self._answers, zone), f"authenticated answer for {zone}")

    def _answers(self, zone: str) -> bool:
        if not self._socket.exists():
            return False
        if query.ask(self.address, zone, "SOA").authenticated:
            return True
        # What was asked before the zones were signed must not stay.
        self.control("flush_zone test.")
        return False

    def start(self) -> None:
        """Start, and wait until it validates."""
        self.spawn()
        self.wait_ready()

    def control(self, command: str) -> str:
        """Do what `unbound-control COMMAND` does. Raises LabError with its words if it fails."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(5)
            connection.connect(str(self._socket))
            connection.sendall(f"UBCT1 {command}\n".encode())
            with connection.makefile("r") as answer:
                words = answer.read()
        if words.startswith("error"):
            raise LabError(f"unbound-control {command}: {words.strip()}")
        return words

    def ask(self, name: str = at.OWNER, kind: str = "TLSA") -> query.Answer:
        """Ask this resolver; it answers from its cache if it can."""
        return query.ask(self.address, name, kind)

    def flush(self, name: str = at.OWNER) -> None:
        """Forget everything at and below *name*."""
        self.control(f"flush_zone {name}")

    def fill(self, name: str = at.OWNER, kind: str = "TLSA") -> query.Answer:
        """Forget, then ask: the cache now holds what is served for one whole TTL.

        Done right before a change this is the worst moment, which a sender's cache meets by luck
        otherwise. Targets of a CNAME are forgotten and asked for as well, and so are their whole zones:
        an older NS or SOA RRset beside an answer makes Unbound fetch it again before its time.
        """
        for target in (name, *self.ask(name, kind).cnames):
            self.flush(".".join(target.rstrip(".").split(".")[-2:]))
        # BIND puts the TLSA RRset of port 25 beside an MX: a sender that had to ask for that would bring a newer one.
        self.ask(name, kind)
        self.ask(at.DOMAIN, "MX")
        return self.ask(name, kind)

    def cached(self, name: str = at.OWNER, kind: str = "TLSA") -> query.RRset:
        """Return what the cache holds for *name* now, and for how many seconds it still does.

        Reading refreshes nothing. Empty if it holds nothing, or only what has expired.
        """
        records: set[str] = set()
        ttl = 0
        for line in self.control("dump_cache").splitlines():
            match = _RECORD.match(line)
            if match and match["name"] == name and match["type"] == kind and int(match["ttl"]):
                ttl = int(match["ttl"])
                records.add(_plain(match["rdata"], kind))
        return query.RRset(tuple(sorted(records)), ttl)

    def ask_only(self, address: str, zone: str = at.DOMAIN) -> None:
        """Ask one server alone for *zone*, whatever its NS RRset says, until `ask_all`."""
        self.control(f"stub_add {zone} {address}")
        self.flush(zone)

    def ask_all(self, zone: str = at.DOMAIN) -> None:
        """Ask the servers of the NS RRset again."""
        self.control(f"stub_remove {zone}")
        self.flush(zone)


def _plain(rdata: str, kind: str) -> str:
    if kind == "TLSA":
        usage, selector, matching_type, *hexadecimal = rdata.split()
        return f"{usage} {selector} {matching_type} {''.join(hexadecimal).lower()}"
    return rdata
