"""What the engine asks of the world. Real hands are built in real.py; a simulation brings its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from rollover.core.sighting import Endpoint, EndpointSighting
from rollover.core.steps import OwnerChange

if TYPE_CHECKING:
    from rollover.dns.authoritative import DnsLook
    from rollover.dns.update import ReadBack
    from rollover.mail.target import Target


class Names(Protocol):
    """Name servers and the validating resolver."""

    async def look(
        self, owners: Sequence[str], remembered: Mapping[str, Sequence[str]], *, timeout: float | None
    ) -> DnsLook:
        """Return what every authoritative server and the resolver say. Faults of servers never raise."""
        ...

    async def addresses(self, host: str) -> list[str]:
        """Return A and AAAA of *host*. Raises ServerError when the resolver gives no answer."""
        ...

    async def update(self, changes: Sequence[OwnerChange]) -> None:
        """Send one UPDATE for changes of one zone. Raises a RolloverError when it was refused or got no answer."""
        ...

    async def read_back(self, changes: Sequence[OwnerChange], *, once: bool = False) -> list[ReadBack]:
        """Return what the primary serves now at each change, once it is what was wanted or time is up.

        *once*: look at it one time only, where nothing is to come any more.
        """
        ...

    async def try_grant(self, owner: str, zone: str) -> None:
        """Send the update that cannot change anything. Raises as update() does."""
        ...


class Endpoints(Protocol):
    """Mail servers, over the network."""

    async def probe(
        self, endpoints: Sequence[Endpoint], *, connections: int, timeout: float | None
    ) -> tuple[EndpointSighting, ...]:
        """Return what new full handshakes with each endpoint showed. Faults never raise."""
        ...


@dataclass(frozen=True, slots=True)
class Hands:
    """All hands of a host; *targets* by service."""

    names: Names
    endpoints: Endpoints
    targets: Mapping[str, tuple[Target, ...]]
