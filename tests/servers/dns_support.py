"""What the tests of rollover/dns share: the hand with the lab's settings, and servers that misbehave."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any

import dns.flags
import dns.message
import dns.query
import dns.rdatatype

from rollover.clock import SystemClock
from rollover.core.sighting import OwnerSighting, ServerAnswer
from rollover.core.timing import Instant
from rollover.core.tlsa import RRset, Tlsa
from rollover.dns import update as updates
from rollover.dns.authoritative import DnsLook, look
from rollover.dns.keys import load_tsig_key
from rollover.dns.resolver import Resolver
from rollover.dns.settings import DnsSettings, ZoneSettings
from rollover.dns.update import Change, ReadBack
from tests.lab import Lab, wait_for
from tests.lab import addresses as at

NS3 = f"ns3.{at.DOMAIN}"
SPARE = at.SPARE[0]


class SkewedClock(SystemClock):
    """The clock of a host whose wall clock is wrong by *seconds*."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self._offset = timedelta(seconds=seconds)

    def now(self) -> Instant:
        true = super().now()
        return Instant(true.wall + self._offset, true.boot, true.boot_id)


def records(*texts: str) -> RRset:
    """Return TLSA records from presentation form."""
    return frozenset(Tlsa.parse(text) for text in texts)


def fake(number: int, params: str = "3 1 1") -> Tlsa:
    """Return a record of no key."""
    return Tlsa.parse(f"{params} {number:064x}")


class Hand:
    """rollover.dns on a lab. *changes* replace fields of DnsSettings."""

    def __init__(self, lab: Lab, *, offset: float = 0.0, **changes: Any) -> None:
        self.clock = SkewedClock(offset)
        fields: dict[str, Any] = {
            "primary": at.PRIMARY,
            "key": load_tsig_key(lab.tsig_key.path),
            "resolver": at.RESOLVER,
            "timeout": 2.0,
            "zones": (ZoneSettings("dane.test", at.PRIMARY, load_tsig_key(lab.dane_key.path)),),
        }
        self.settings = DnsSettings(**(fields | changes))

    @property
    def resolver(self) -> Resolver:
        return Resolver.of(self.settings, self.clock)

    def look(self, *owners: str, remembered: Mapping[str, Sequence[str]] | None = None) -> DnsLook:
        return asyncio.run(look(owners or (at.OWNER,), self.settings, self.resolver, self.clock, remembered=remembered))

    def see(self, owner: str = at.OWNER) -> OwnerSighting:
        return self.look(owner).owners[0]

    def change(
        self,
        add: Iterable[Tlsa] = (),
        delete: Iterable[Tlsa] = (),
        *,
        owner: str = at.OWNER,
        ttl: int | None = None,
        expect: RRset | None = None,
    ) -> Change:
        """Return a change of what the primary serves now."""
        seen = self.see(owner)
        primary = seen.primary
        assert primary is not None
        assert primary.rrset is not None
        return Change(
            owner_target=seen.target,
            zone=seen.zone,
            expect=primary.rrset if expect is None else expect,
            expect_wildcard=primary.wildcard,
            add=frozenset(add),
            delete=frozenset(delete),
            ttl=ttl if ttl is not None else primary.own_ttl or 20,
        )

    def update(self, *changes: Change) -> None:
        asyncio.run(updates.update(changes, self.settings, self.clock))

    def read_back(self, *changes: Change, within: float = 5.0) -> list[ReadBack]:
        return asyncio.run(updates.read_back(changes, self.settings, self.clock, within=within))

    def try_grant(self, owner: str = at.OWNER, zone: str = at.DOMAIN) -> None:
        asyncio.run(updates.try_grant(owner, zone, self.settings, self.clock))


def answer_of(seen: OwnerSighting, address: str, *, primary: bool = False) -> ServerAnswer:
    """Return the answer of the server at *address*: as the public sees it, or as the primary."""
    (found,) = [a for a in seen.servers if a.primary == primary and _is_at(a.server, address)]
    return found


def _is_at(label: str, address: str) -> bool:
    return label.endswith((f" {address}", f"({address})")) or label == address


def add_server(lab: Lab, address: str = SPARE, *, name: str = NS3, kind: str = "A") -> None:
    """Put one more server into the zone's own NS RRset; wait until both servers tell it."""
    lab.primary.update(f"update add {name} 20 {kind} {address}\nupdate add {at.DOMAIN} 20 NS {name}")
    for server in (lab.primary, lab.secondary):
        wait_for(lambda server=server: name in name_servers(server.address), f"{name} is in the NS RRset")


def remove_server(lab: Lab, name: str = NS3) -> None:
    """Take it out again."""
    lab.primary.update(f"update delete {at.DOMAIN} NS {name}\nupdate delete {name}")
    for server in (lab.primary, lab.secondary):
        wait_for(lambda server=server: name not in name_servers(server.address), f"{name} has left the NS RRset")


def name_servers(address: str) -> set[str]:
    """Return the NS RRset of example.test. as the server at *address* tells it."""
    response = dns.query.tcp(dns.message.make_query(at.DOMAIN, "NS"), address, timeout=2)
    return {rdata.target.to_text() for rrset in response.answer for rdata in rrset}


def forward(query: bytes, to: str = at.PRIMARY) -> bytes:
    """Return what the server at *to* answers to *query*, octet by octet, over UDP."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as upstream:
        upstream.settimeout(5)
        upstream.connect((to, 53))
        upstream.send(query)
        return upstream.recv(65535)


def is_about(query: bytes, kind: str) -> bool:
    """Tell whether *query* asks for records of *kind*."""
    question = dns.message.from_wire(query, question_only=True).question
    return bool(question) and question[0].rdtype == dns.rdatatype.from_text(kind)


def only_tlsa(reply: Callable[[bytes], bytes | None]) -> Callable[[bytes], bytes | None]:
    """Return a server that answers *reply* about TLSA, and like the primary about all else."""
    return lambda query: reply(query) if is_about(query, "TLSA") else forward(query)


def without_signatures(query: bytes) -> bytes:
    """Answer as the primary does to somebody who wants no DNSSEC."""
    message = dns.message.from_wire(query)
    message.want_dnssec(False)
    return forward(message.to_wire())


def tampered(query: bytes) -> bytes:
    """Answer with the primary's records and signatures, one octet of the TLSA rdata changed."""
    answer = bytearray(forward(query))
    marker = bytes([0, 35, 3, 1, 1])  # RDLENGTH, then "3 1 1"
    place = bytes(answer).find(marker)
    if place >= 0:
        answer[place + len(marker)] ^= 0xFF
    return bytes(answer)


def not_authoritative(query: bytes) -> bytes:
    """Answer with the primary's records, without the AA flag."""
    answer = bytearray(forward(query))
    answer[2] &= 0xFF ^ (dns.flags.AA >> 8)
    return bytes(answer)


def with_rcode(code: int) -> Callable[[bytes], bytes]:
    """Return a server that answers nothing but the response code *code*."""

    def reply(query: bytes) -> bytes:
        response = dns.message.make_response(dns.message.from_wire(query, question_only=True))
        response.set_rcode(code)
        return response.to_wire()

    return reply


def many(count: int) -> list[str]:
    """Return *count* records of no key, as rdata."""
    return [str(fake(1000 + i)) for i in range(count)]
