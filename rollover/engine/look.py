"""One look at the world for one service, and everything remembered that a decision needs."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rollover.core.certificate import facts, parse_chain
from rollover.core.errors import RolloverError
from rollover.core.ledger import held
from rollover.core.model import Book, Credential, State, World
from rollover.core.problems import KINDS, Problem, problem
from rollover.core.sighting import Endpoint, EndpointSighting, Outcome, Sighting
from rollover.core.timing import Instant, elapsed, not_in_future
from rollover.core.tlsa import Chain
from rollover.engine.host import Host
from rollover.engine.neighbours import neighbours, passing
from rollover.state import codec

if TYPE_CHECKING:
    from rollover.dns.authoritative import DnsLook

UNRESOLVED = "?"  # the address of a host that has none, or whose addresses nobody told
CONNECTIONS = 1
CONNECTIONS_TO_VERIFY = 2  # a round of proof asks each endpoint more than once: several processes serve it


class Looker:
    """Looks and loads for one service; keeps parsed credentials for the length of a run."""

    def __init__(self, host: Host, name: str) -> None:
        self.host = host
        self.service = host.service(name)
        self._credentials: dict[str, Credential] = {}
        self._expected = ""
        self.dns: DnsLook | None = None

    # ------------------------------------------------------------------ memory

    def book(self) -> Book:
        """Return what is remembered of the service."""
        return self.host.store.book(self.service.name)

    def world(
        self,
        *,
        seen: Sighting | None = None,
        failed: Mapping[str, str] | None = None,
        book: Book | None = None,
        all_credentials: bool = False,
    ) -> World:
        """Return all that a decision may look at; with *seen*, also what it shows of other credentials."""
        store = self.host.store
        book = self.book() if book is None else book
        wanted = {f for f, s in book.standings.items() if s.state is not State.REMOVED}
        wanted |= {book.goal, book.active, book.queued, book.standing(book.goal).previous, *book.lately}
        wanted |= set(store.inbox(self.service.name))
        if all_credentials:
            wanted |= set(store.fingerprints())
        shown = {c for e in seen.endpoints for c in e.chains} if seen is not None else set()
        shown |= {x.chain for x in seen.live if x.chain is not None} if seen is not None else set()
        wanted |= store.with_keys({c.spki_sha256 for c in shown})
        owners = [o.owner for o in seen.owners] if seen is not None else list(self.service.owners)
        aliases = store.aliases()
        if seen is not None:
            aliases |= {o.owner: o.target for o in seen.owners}
        targets = {aliases.get(o, o) for o in owners}
        beside = neighbours(self.host, self.service, book, owners, aliases, self.credential)
        return World(
            service=self.service,
            book=book,
            credentials={f: c for f in wanted if f and (c := self.credential(f)) is not None},
            ledgers=store.ledgers(owners),
            managed=store.managed(targets),
            others=beside.needing,
            strangers=beside.strangers,
            failed=failed or {},
            passing=passing(self.host, self.service.name, book.lately),
        )

    def credential(self, fingerprint: str) -> Credential | None:
        """Return a credential of the vault; None when its chain or key is gone."""
        if fingerprint not in self._credentials:
            vault = self.host.vault
            if not vault.has_chain(fingerprint):
                return None
            chain = parse_chain(vault.chain(fingerprint))
            if not vault.has_key(chain.spki_sha256):
                return None
            known = facts(chain)
            self._credentials[fingerprint] = Credential(
                fingerprint, chain, known.not_before, known.not_after, known.algorithm, known.names
            )
        return self._credentials[fingerprint]

    # -------------------------------------------------------------------- look

    async def look(self, *, proving: bool = False, timeout: float | None = None) -> Sighting:
        """Look at name servers, resolver, endpoints and live files, all at the same time."""
        host = self.host
        dns = asyncio.ensure_future(host.hands.names.look(self.service.owners, self._remembered(), timeout=timeout))
        endpoints = await self._probe(CONNECTIONS_TO_VERIFY if proving else CONNECTIONS, timeout)
        self.dns = await dns
        live = tuple(target.live() for target in host.hands.targets[self.service.name])
        return Sighting(
            time=host.clock.now(),
            owners=self.dns.owners,
            endpoints=endpoints,
            live=live,
            clock_agrees=self.dns.clock_agrees,
            clock_problem=self.dns.clock_problem,
        )

    async def _probe(self, connections: int, timeout: float | None) -> tuple[EndpointSighting, ...]:
        places, unresolved = await self._places()
        return (*await self.host.hands.endpoints.probe(places, connections=connections, timeout=timeout), *unresolved)

    async def _places(self) -> tuple[list[Endpoint], list[EndpointSighting]]:
        """Return every endpoint of the service; a host without addresses is one that was not reached.

        So is one whose addresses no resolver tells. While an install is open it is asked all the same where it was when
        that was opened: a dead resolver must not starve the judgement of what fails there (protocol.md, 0).
        """
        configured = self.host.config.services[self.service.name].addresses
        places: list[Endpoint] = []
        unresolved: list[EndpointSighting] = []
        bare: set[tuple[str, int]] = set()
        for name in self.service.hosts:
            why = ""
            try:
                addresses = list(configured) or await self.host.hands.names.addresses(name)
                if not addresses:
                    why = f"{name} has no address"
            except RolloverError as error:
                addresses, why = self._pictured(name), error.message
            if why:
                unresolved.append(
                    EndpointSighting(
                        Endpoint(name, UNRESOLVED, self.service.ports[0]),
                        Outcome.UNREACHABLE,
                        detail=why,
                        connections=0,
                    )
                )
            for address in addresses:
                for port in self.service.ports:
                    algorithm = self._algorithm(name, port)
                    places.append(Endpoint(name, address, port, True, algorithm))
                    if (address, port) not in bare:  # without SNI the names of an address are one endpoint
                        bare.add((address, port))
                        places.append(Endpoint(name, address, port, False, algorithm))
        return places, unresolved

    def _pictured(self, name: str) -> list[str]:
        """Return the addresses at which host *name* was looked at when the open install began; none without one."""
        opened = self.book().install
        picture = opened.picture if opened is not None else ()
        return list(dict.fromkeys(e.address for e in picture if e.host == name and e.address != UNRESOLVED))

    def expect(self, chain: Chain) -> None:
        """Say what a service serves that is not adopted yet: where others serve too, its key type is asked for."""
        self._expected = facts(chain).algorithm

    def _algorithm(self, name: str, port: int) -> str:
        """Return the key type to ask for, where another service has a certificate at the same place."""
        shared = any(
            other.name != self.service.name and name in other.hosts and port in other.ports
            for other in self.host.services.values()
        )
        if not shared:
            return ""
        mine = self.credential(self.book().active)
        algorithm = mine.algorithm if mine is not None else self._expected
        return algorithm if algorithm in ("rsa", "ecdsa") else ""

    def refusals(self) -> list[Problem]:
        """Return where a primary refused our TSIG in the last look: what every update would meet."""
        errors = self.dns.errors if self.dns is not None else ()
        return [Problem(e.code, e.message, KINDS[e.code].level, e.hint) for e in errors]

    def notices(self) -> list[Problem]:
        """Return what is to be told beside the sighting: servers that are left out, a source that was refused."""
        name = self.service.name
        ignored = self.dns.ignored if self.dns is not None else ()
        told = [problem("server-ignored", f"{it} is left out by the configuration", service=name) for it in ignored]
        if rejected := self.host.store.rejection(name):
            told.append(problem("source-rejected", rejected[1], service=name))
        return told

    # ------------------------------------------------- servers that left an NS set

    def _remembered(self) -> dict[str, list[str]]:
        """Return all servers that are known of each zone, be there none: resolvers may still ask those that left.

        Also those that nobody was seen to leave out yet: one that leaves just now has to be in this look.
        """
        return {zone: list(self.host.store.zone(zone)[1]) for zone in self.host.store.zones()}

    def remember_servers(self, dns: DnsLook, now: Instant) -> None:
        """Note the NS sets that were seen: a server that leaves one is asked for its TTL longer.

        That time runs only by a clock that was confirmed (protocol.md, Time).
        """
        for zone, ns in dns.ns.items():
            _, servers = self.host.store.zone(zone)
            after: dict[str, Any] = {
                label: _listed(servers.get(label), ns.ttl, now, clock_agrees=dns.clock_agrees) for label in ns.servers
            }
            if ns.servers:
                for label, it in servers.items():
                    left = not_in_future(codec.instant_in(it["left"]) or now, now)
                    if label not in after and (not dns.clock_agrees or elapsed(left, now) <= held(it["ttl"])):
                        after[label] = {"left": codec.instant_out(left), "ttl": it["ttl"]}
                if after != servers:
                    self.host.store.save_zone(zone, servers=after)


def _listed(before: Mapping[str, Any] | None, ttl: int, now: Instant, *, clock_agrees: bool) -> dict[str, Any]:
    """Return what to remember of a server in an NS RRset with *ttl* seconds.

    The largest TTL counts for as long as a resolver may hold the RRset with it: who lowers it, as one does
    before a move, and then takes a server out has that server asked by some for the old one.
    """
    if before is not None and ttl < before["ttl"]:
        lower = not_in_future(codec.instant_in(before.get("lower")) or now, now)
        if not clock_agrees or elapsed(lower, now) <= held(before["ttl"]):
            return {"left": None, "ttl": before["ttl"], "lower": codec.instant_out(lower)}
    return {"left": None, "ttl": ttl}
