"""Other services at the same RRset: what they need there, and what they were last seen to present.

Two services may share an owner, or CNAMEs of two owners may lead to one target. What one of them
does to the RRset must not harm the other, also while nobody looks at that one: it may have been
taken out of the configuration, or its last look may be long ago. Then nothing of it is given up.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from rollover.core.certificate import certificates_from_pem, chain_from_der, chain_pem
from rollover.core.model import Book, Credential, Service, State
from rollover.core.steps import OwnerChange
from rollover.core.timing import Instant, elapsed, parse_stamp
from rollover.core.tlsa import Chain, combinations
from rollover.core.view import View
from rollover.engine.host import Host
from rollover.state import codec
from rollover.state.services import Summary

SHOWN = "shown:"
MOST_STRANGERS = 8  # chains that are remembered of a service and are not in the vault, whatever their keys
MARGIN = 120.0  # seconds that a regular look may be late


@dataclass(frozen=True, slots=True)
class Neighbours:
    """By owner: chains of the vault that other services need there, and others that they present."""

    needing: Mapping[str, tuple[Chain, ...]]
    strangers: Mapping[str, tuple[Chain, ...]]


def note_shown(host: Host, view: View) -> None:
    """Remember what may be presented at each owner of a service, for those that share an RRset with it."""
    service, owners = view.world.service, dict[str, list[str]]()
    strangers: dict[str, str] = {}
    for owner in service.owners:
        owners[owner] = sorted({chain.fingerprint for name, _, chain in view.presented if name == owner})
    shown = {chain.fingerprint: chain for _, _, chain in view.presented}
    lately = {f: chain for f, chain in view.world.passing.items() if f in view.world.book.lately}
    for fingerprint, chain in (shown | lately).items():
        if fingerprint not in view.world.credentials and len(strangers) < MOST_STRANGERS:
            strangers[fingerprint] = chain_pem(chain).decode()
    text = json.dumps({"owners": owners, "strangers": strangers}, sort_keys=True)
    if host.store.note(SHOWN + service.name) != text:
        host.store.note(SHOWN + service.name, text)


def beside(host: Host, name: str, changes: Collection[OwnerChange]) -> list[str]:
    """Return the other configured services whose records an update changes in a way that could harm them.

    Records that are added in combinations that are there harm nobody.
    """
    harmful = {c.target for c in changes if c.delete or combinations(c.result) != combinations(c.expect)}
    aliases, known = host.store.aliases(), host.store.summaries()
    return [
        other.name
        for other in host.services.values()
        if other.name != name
        and known.get(other.name, Summary()).adopted
        and any(aliases.get(owner, owner) in harmful for owner in other.owners)
    ]


def neighbours(
    host: Host,
    service: Service,
    book: Book,
    owners: Collection[str],
    aliases: Mapping[str, str],
    credential: Callable[[str], Credential | None],
) -> Neighbours:
    """Return what other services at *owners* (or at their targets) need; those that are stored, not only configured.

    What another service has replaced it withdraws itself, by its own clock; a key that both have replaced
    may go when the other one's clock has run down too, in a look of its own that is not long ago.
    """
    now = host.clock.now()
    keys = _keys(book, credential)
    places = {aliases.get(owner, owner): owner for owner in owners}
    needing: dict[str, dict[str, Chain]] = {}
    strangers: dict[str, dict[str, Chain]] = {}
    for name, summary in host.store.summaries().items():
        if name == service.name or not summary.adopted:
            continue
        noted = _noted(host, name)
        shared = {other: at for other in noted["owners"] if (at := aliases.get(other, other)) in places}
        if not shared:
            continue
        configured, theirs = host.services.get(name), host.store.book(name)
        seen = parse_stamp(summary.report["seen"]) if summary.report and summary.report.get("seen") else None
        rested = configured is not None and seen is not None and _rested(configured, theirs, seen.timestamp(), now)
        wanted = {theirs.goal, theirs.active, theirs.queued}
        for fingerprint, standing in theirs.standings.items():
            if standing.state is State.REMOVED:  # its record may be there again, and old processes may present it
                kept = configured is not None and not rested
            else:
                it = credential(fingerprint)
                kept = not (rested and (fingerprint in book.standings or (it is not None and it.spki in keys)))
            if kept:
                wanted.add(fingerprint)
        for other, target in shared.items():
            # Lately: what nobody ever handed over to it may be another service's, and old processes present it still.
            for fingerprint in sorted({*wanted, *noted["owners"][other], *theirs.lately} - {""}):
                if (it := credential(fingerprint)) is not None:
                    needing.setdefault(target, {})[fingerprint] = it.chain
                elif fingerprint in noted["strangers"]:
                    strangers.setdefault(target, {})[fingerprint] = _chain(noted["strangers"][fingerprint])
    by_owner = {owner: aliases.get(owner, owner) for owner in owners}
    return Neighbours(
        {owner: tuple(needing[target].values()) for owner, target in by_owner.items() if target in needing},
        {owner: tuple(strangers[target].values()) for owner, target in by_owner.items() if target in strangers},
    )


def _keys(book: Book, credential: Callable[[str], Credential | None]) -> set[str]:
    """Return the keys of the certificates that a service was ever given: two services may renew one key apart."""
    return {it.spki for f in book.standings if (it := credential(f)) is not None}


def passing(host: Host, name: str, lately: Collection[str]) -> dict[str, Chain]:
    """Return the unknown chains of a service, of those that were *lately* presented, by fingerprint."""
    noted = _noted(host, name)["strangers"]
    return {f: _chain(noted[f]) for f in lately if f in noted}


def _chain(pem: str) -> Chain:
    return chain_from_der(certificates_from_pem(pem.encode()))  # in any order, as it came


def _noted(host: Host, name: str) -> Mapping[str, Any]:
    """Return what was last noted of a service; its configured owners where nothing ever was."""
    text = host.store.note(SHOWN + name)
    if text is not None:
        found: Mapping[str, Any] = codec.json_in(text)
        return found
    it = host.services.get(name)
    return {"owners": {owner: [] for owner in it.owners} if it is not None else {}, "strangers": {}}


def _rested(service: Service, book: Book, seen: float, now: Instant) -> bool:
    """Tell whether a look that is not long ago showed that nothing else was presented for as long as needed."""
    if book.quiet is None or now.wall.timestamp() - seen > 2 * service.check_every + MARGIN:
        return False
    span = max(service.retain, service.drain)
    return seen - book.quiet.wall.timestamp() >= span and elapsed(book.quiet, now) >= span
