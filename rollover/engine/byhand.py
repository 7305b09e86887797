"""How a person could finish by hand, when the service is blocked: commands and files, nothing hidden.

The lines can be given to a shell as they stand; what is no command is a comment. They are made of
what the last look has left in the ledgers: they ask nobody.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from math import ceil

from rollover.config.models import Config, Install, PostfixInstall, ServiceConfig
from rollover.core.changes import FIRST_TTL
from rollover.core.ledger import wait_left
from rollover.core.model import Credential, World
from rollover.core.timing import Instant
from rollover.core.tlsa import EMPTY, Chain, RRset, needed, valid
from rollover.core.view import unmatched
from rollover.dns.servers import Server
from rollover.engine.host import Host
from rollover.engine.look import Looker


@dataclass(frozen=True, slots=True)
class ByHand:
    """What a person does at one target: *now* is there, *add* and *delete* make the install safe.

    *old* goes after it. *exact* False: what is there is not known well enough to be a prerequisite.
    """

    target: str
    zone: str
    now: RRset
    exact: bool
    ttl: int
    add: RRset
    delete: RRset
    old: RRset


def by_hand(host: Host, name: str) -> Iterator[str]:
    """Yield the lines that ``history`` prints for a blocked service."""
    world = Looker(host, name).world()
    wanted = world.goal or world.credentials.get(world.book.active)
    yield ""
    yield "# To finish by hand. Look at each step's outcome before the next; the tool stands still meanwhile."
    if wanted is None:
        yield "# The vault has no certificate: deploy one first."
        return
    yield f"rollover pause {name}"
    edits = {e.target: e for o in world.service.owners if (e := _edit(host, world, wanted, o)) is not None}
    zones = {e.zone: [x for x in edits.values() if x.zone == e.zone] for e in edits.values()}
    yield from _publishing(host, zones)
    yield "# 2. Ask every name server, until each has the same:"
    for zone, its in zones.items():
        for server in _servers(host, zone):
            for it in its:
                yield f"dig +norec @{server} {it.target} TLSA"
    wait = _wait(world, wanted.chain, edits.values(), host.clock.now())
    yield f"#    From then on wait {wait} s: so long may resolvers hold what does not match the certificate."
    yield f"sleep {wait}"
    yield f"# 3. Install certificate {wanted.fingerprint[:16]}, and look at what is presented."
    service = host.config.services[name]
    for install in service.installs:
        yield from _install(host.config, service, install, wanted)
    yield from (f"rollover verify {h}:{p}" for h in world.service.hosts for p in world.service.ports)
    yield from _withdrawing(host, zones, ceil(world.service.drain))
    yield f"rollover resume {name}"


# ------------------------------------------------------------------------------------------- DNS


def _edit(host: Host, world: World, wanted: Credential, owner: str) -> ByHand | None:
    """Return what is to be done at an owner; None where nothing is known of it."""
    target = host.store.aliases().get(owner, owner)
    # What an update was to make and nobody has seen is not there: it may be why a person is needed.
    shown = [e for e in world.ledger(owner).entries if e.gone is None and e.intended is None and e.rrset is not None]
    now = EMPTY.union(*(e.rrset for e in shown if e.rrset is not None))
    after = now | needed(wanted.chain, now, world.service.records)
    active = world.credentials.get(world.book.active)
    beside = (*((active.chain,) if active is not None else ()), *world.others.get(owner, ()))
    for chain in beside:
        if valid(now, chain) and not valid(after, chain):
            after |= needed(chain, after, ())  # a combination that is new here: all that is served needs it
    delete = unmatched(after, wanted.chain)
    rest = after - delete
    kept = needed(wanted.chain, rest, world.service.records).union(
        *(needed(c, rest, world.service.records) for c in world.others.get(owner, ()))
    )
    old = (world.managed.get(target, EMPTY) & rest) - kept
    if active is not None and active.fingerprint != wanted.fingerprint:
        old |= (needed(active.chain, rest, world.service.records) & rest) - kept
    ttl = world.service.ttl or max((e.ttl for e in shown), default=FIRST_TTL)
    wildcard = "wildcard-shadow" in _codes(host, world.service.name)
    add = after - delete - (EMPTY if wildcard else now)
    return ByHand(target, _zone(host, target), now, len(shown) == 1 and not wildcard, ttl, add, delete & now, old)


def _codes(host: Host, name: str) -> set[str]:
    report = host.store.report(name)
    return {p["code"] for p in report["problems"]} if report else set()


def _zone(host: Host, target: str) -> str:
    """Return the zone of *target*, as far as it is remembered; "" lets nsupdate(1) ask for it."""
    found = [z for z in host.store.zones() if target == z or target.endswith(f".{z.rstrip('.')}.")]
    return max(found, key=len, default="")


def _servers(host: Host, zone: str) -> list[str]:
    """Return the addresses of the zone's name servers, as options of dig(1)."""
    _, noted = host.store.zone(zone)
    its = [Server.parse(label) for label, it in noted.items() if it["left"] is None]
    return [x.address + (f" -p {x.port}" if x.port != 53 else "") for x in its]


def _publishing(host: Host, zones: dict[str, list[ByHand]]) -> Iterator[str]:
    yield "# 1. Publish the records of the wanted certificate beside those that are there."
    for zone, its in zones.items():
        lines: list[str] = []
        for it in its:
            if it.delete:
                yield f"#    What is removed at {it.target} is somebody else's, and would make senders refuse the certificate."
            if it.exact and (it.add or it.delete):
                lines += [f"prereq yxrrset {it.target} TLSA {rr}" for rr in sorted(it.now)]
            lines += [f"update add {it.target} {it.ttl} TLSA {rr}" for rr in sorted(it.add)]
            lines += [f"update delete {it.target} TLSA {rr}" for rr in sorted(it.delete)]
        yield from _nsupdate(host.config, zone, lines)
    if not any(it.add or it.delete for its in zones.values() for it in its):
        yield "#    They are all there."


def _withdrawing(host: Host, zones: dict[str, list[ByHand]], drain: int) -> Iterator[str]:
    yield "# 4. Only when each shows the new certificate, and not sooner than this: remove the old records, one by one."
    yield f"sleep {drain}"
    for zone, its in zones.items():
        yield from _nsupdate(
            host.config, zone, [f"update delete {it.target} TLSA {rr}" for it in its for rr in sorted(it.old)]
        )


def _nsupdate(config: Config, zone: str, lines: list[str]) -> Iterator[str]:
    if not lines:
        return
    access = config.dns.for_zone(zone)
    yield f"nsupdate -k {shlex.quote(str(access.tsig_key))} <<END"
    if access.primary is not None:
        yield f"server {access.primary.host} {access.primary.port}"
    if zone:
        yield f"zone {zone}"
    yield from lines
    yield "send"
    yield "END"


def _wait(world: World, chain: Chain, edits: Iterable[ByHand], now: Instant) -> int:
    """Return for how many seconds resolvers may hold what does not match *chain*, once it is right everywhere."""
    longest, patience = 0.0, world.service.patience
    ttls = [it.ttl for it in edits if not valid(it.now, chain)]
    for owner in world.service.owners:
        entries = world.ledger(owner).entries
        ttls += [e.ttl for e in entries if e.gone is None and not e.valid_for(chain)]
        gone = replace(world.ledger(owner), entries=tuple(e for e in entries if e.gone is not None))
        longest = max(longest, wait_left(gone, chain, patience, now) or 0.0)
    return ceil(max([longest, *(patience.span(ttl) for ttl in ttls)]))


# ------------------------------------------------------------------------------------------ mail


def _install(config: Config, service: ServiceConfig, install: Install, wanted: Credential) -> Iterator[str]:
    vault = config.state / "vault"
    key, chain = vault / "keys" / f"{wanted.spki}.pem", vault / "chains" / f"{wanted.fingerprint}.pem"
    parts = {"chain_file": (key, chain), "cert_file": (chain,), "key_file": (key,)}
    for what, path in install.files.items():
        new, place = shlex.quote(f"{path}.new"), shlex.quote(str(path))
        steps = [f"(umask 077; cat {' '.join(shlex.quote(str(p)) for p in parts[what])} > {new})"]
        if not isinstance(install, PostfixInstall):
            if install.owner or install.group:
                account = (install.owner or "") + (f":{install.group}" if install.group else "")
                steps.append(f"chown {shlex.quote(account)} {new}")
            steps.append(f"chmod {install.mode:04o} {new}")
        yield " && ".join([*steps, f"mv {new} {place}"])
    if isinstance(install, PostfixInstall):
        directory = shlex.quote(str(install.config_directory))
        files = ", ".join(map(str, _chain_files(config, service, install)))
        yield f"postconf -c {directory} -e {shlex.quote(f'smtpd_tls_chain_files = {files}')}"
        yield f"postfix -c {directory} reload"
    else:
        yield shlex.join(install.reload)


def _chain_files(config: Config, service: ServiceConfig, install: PostfixInstall) -> list[object]:
    """Return what Postfix reads: this service's file, and those of the services beside it (another key type)."""
    beside = [
        other.chain_file
        for it in config
        for other in it.installs
        if isinstance(other, PostfixInstall)
        and other.config_directory == install.config_directory
        and other.chain_file != install.chain_file
        and set(it.ports) & set(service.ports)
    ]
    return list(dict.fromkeys([install.chain_file, *beside]))
