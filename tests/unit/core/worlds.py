"""Worlds and sightings in a few words, for tests of the core. No keys, no servers, no files.

A certificate is a letter: "A" has key "A" and issuer "CA"; "A2=A" is another certificate with key A.
An RRset is words: "A B" holds the 3 1 1 records of keys A and B, "A:312" the 3 1 2 of A, "A:211" the
2 1 1 of A's issuer, "A:111" one that no mail server uses. "" is empty. What an endpoint shows is words
too: "A", "A B" (both, at different connections), "454", "silent", "unreachable".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from rollover.core.ledger import Entry, Ledger, Patience
from rollover.core.machine import decide
from rollover.core.memory import remember, remember_owners
from rollover.core.model import Book, Credential, OpenInstall, Reload, Service, Shown, Standing, State, World
from rollover.core.sighting import (
    Endpoint,
    EndpointSighting,
    LiveFile,
    Outcome,
    OwnerSighting,
    ResolverAnswer,
    ServerAnswer,
    Sighting,
    Signature,
)
from rollover.core.steps import Step
from rollover.core.timing import Instant
from rollover.core.tlsa import EMPTY, Chain, Link, RRset, Tlsa, association

TTL = 100
HOST, ZONE = "mail.example.org", "example.org."
OWNER = "_25._tcp.mail.example.org."
FILE = "/etc/rollover/live/mail.pem"
NOW = Instant(datetime(2026, 11, 22, 14, 0, tzinfo=UTC), 500_000.0, "boot 1")
SERVICE = Service(
    "mail",
    (HOST,),
    (25,),
    patience=Patience(ttls=2),
    retain=1000.0,
    drain=100.0,
    verify_timeout=60.0,
    check_every=900.0,
)
OUTCOMES = {"454": Outcome.NO_TLS, "silent": Outcome.NO_GREETING, "unreachable": Outcome.UNREACHABLE}


def at(seconds: float) -> Instant:
    """Return the instant *seconds* after NOW (before it when negative)."""
    return NOW.plus(seconds)


# ------------------------------------------------------------------- certificates and records


def chain(name: str, *, issuer: str = "CA") -> Chain:
    """Return the chain of certificate *name*, with the key that the name tells."""
    name, _, key = name.partition("=")
    leaf = Link(f"certificate {name}".encode(), f"key {key or name}".encode())
    return Chain((leaf, Link(f"certificate {issuer}".encode(), f"key {issuer}".encode(), anchor=True)))


def fp(name: str) -> str:
    """Return the fingerprint of certificate *name*; "" for ""."""
    return chain(name).fingerprint if name else ""


def credential(name: str, *, days: float = 60, issuer: str = "CA") -> Credential:
    """Return a credential that ends *days* after NOW."""
    it = chain(name, issuer=issuer)
    end = NOW.wall + timedelta(days=days)
    return Credential(it.fingerprint, it, end - timedelta(days=90), end, "ecdsa", (HOST,))


def rr(word: str) -> Tlsa:
    """Return one record: "A" is the 3 1 1 of A, "A:312" its 3 1 2."""
    name, _, params = word.partition(":")
    usage, selector, mtype = (int(x) for x in (params or "311"))
    link = chain(name).links[1 if usage in (0, 2) else 0]
    return Tlsa(usage, selector, mtype, association(link, selector, mtype))


def r(words: str) -> RRset:
    """Return an RRset."""
    return frozenset(rr(w) for w in words.split())


# ------------------------------------------------------------------------------------- sightings


def server(
    words: str | None, name: str = "ns2", *, ttl: int = TTL, serial: int | None = 1, primary: bool = False, **more: Any
) -> ServerAnswer:
    """Return what a server says; None for words: it was not reached."""
    if words is None:
        return ServerAnswer(name, ZONE, primary, public=True, reached=False, problem="timed out", **more)
    fields: dict[str, Any] = {"signature": Signature.VALID, **more}
    return ServerAnswer(
        name, ZONE, primary, public=True, reached=True, rrset=r(words), ttl=ttl, own_ttl=ttl, serial=serial, **fields
    )


def owner(
    primary: str | ServerAnswer | None = "A",
    *secondaries: str | ServerAnswer | None,
    name: str = OWNER,
    resolver: str | ResolverAnswer | None = "",
    **more: Any,
) -> OwnerSighting:
    """Return an owner on its primary and its secondaries (one that says the same, without any).

    *resolver*: words, an answer, None for no answer; the same as the primary without it.
    """
    first = primary if isinstance(primary, ServerAnswer) else server(primary, "ns1", primary=True)
    rest = secondaries or (replace(first, server="ns2", primary=False),)
    others = [s if isinstance(s, ServerAnswer) else server(s, f"ns{i}") for i, s in enumerate(rest, 2)]
    if resolver is None or isinstance(resolver, str):
        said = None if resolver is None else r(resolver) if resolver else first.rrset or EMPTY
        resolver = ResolverAnswer(said, authenticated=said is not None, problem="" if said is not None else "SERVFAIL")
    return OwnerSighting(name, more.pop("target", name), ZONE, (first, *others), resolver, **more)


def end(
    words: str, address: str = "192.0.2.25", *, host: str = HOST, port: int = 25, sni: bool = True
) -> EndpointSighting:
    """Return what one endpoint does."""
    place = Endpoint(host, address, port, sni)
    if words in OUTCOMES:
        return EndpointSighting(place, OUTCOMES[words], detail=words)
    return EndpointSighting(place, Outcome.PRESENTED, tuple(chain(w) for w in words.split()))


def ends(words: str) -> tuple[EndpointSighting, ...]:
    """Return the two endpoints of an address, with SNI and without, doing the same."""
    return (end(words), end(words, sni=False))


def live(words: str, path: str = FILE, **more: Any) -> LiveFile:
    """Return a live file; "" for one that is absent."""
    it = chain(words) if words else None
    return LiveFile(path, f"identity of {words}", it, **{"problem": "" if words else "absent", **more})


def look(
    dns: str | OwnerSighting | Iterable[OwnerSighting] = "A",
    shows: str | Iterable[EndpointSighting] = "A",
    file: str | Iterable[LiveFile] = "A",
    *,
    now: float | Instant = 0.0,
    clock: bool = True,
    clock_problem: str = "",
) -> Sighting:
    """Return a sighting at *now* (an instant, or seconds after NOW)."""
    owners = owner(dns) if isinstance(dns, str) else dns
    return Sighting(
        now if isinstance(now, Instant) else at(now),
        (owners,) if isinstance(owners, OwnerSighting) else tuple(owners),
        ends(shows) if isinstance(shows, str) else tuple(shows),
        (live(file),) if isinstance(file, str) else tuple(file),
        clock_agrees=clock,
        clock_problem=clock_problem,
    )


# ---------------------------------------------------------------------------------------- memory


def past(words: str | None, gone: float | None = -10_000, *, ttl: int = TTL, intended: float | None = None) -> Entry:
    """Return an entry of a ledger: gone since *gone* seconds after NOW; None for one that is not gone."""
    return Entry(
        None if words is None else r(words),
        ttl,
        None if gone is None else at(gone),
        None if intended is None else at(intended),
    )


def world(
    goal: str = "A",
    active: str = "A",
    *,
    vault: str = "A B C",
    ledger: Iterable[Entry] | Mapping[str, Iterable[Entry]] = (),
    managed: str = "A B C",
    loaded: str = "A",
    states: Mapping[str, Standing | State] | None = None,
    service: Service = SERVICE,
    more: Iterable[Credential] = (),
    others: Mapping[str, Iterable[str]] | None = None,
    failed: Mapping[str, str] | None = None,
    queued: str = "",
    hurry: str = "",
    **book: Any,
) -> World:
    """Return a world: *goal* and *active* by letter, *loaded* is what was in the file at its last reload.

    *ledger*: what is remembered beside what the sighting will show; of every owner, or by owner.
    """
    known = {c.fingerprint: c for c in (*(credential(w) for w in vault.split()), *more)}
    standings = {fp(k): Standing(v) if isinstance(v, State) else v for k, v in (states or {}).items()}
    for name, state in ((active, State.ACTIVE), (goal, State.GENERATED), (queued, State.GENERATED)):
        if name:
            standings.setdefault(fp(name), Standing(state, since={state.value: NOW.wall}))
    fields: dict[str, Any] = {
        "adopted": True,
        "goal": fp(goal),
        "active": fp(active),
        "queued": fp(queued),
        "hurry": fp(hurry),
        "reloads": {FILE: Reload(f"identity of {loaded}", at(-5_000))} if loaded else {},
        "quiet": at(-5_000),
        "dane_on": frozenset(service.owners),
        "standings": standings,
        **book,
    }
    entries = ledger if isinstance(ledger, Mapping) else dict.fromkeys(service.owners, tuple(ledger))
    return World(
        service,
        Book(**fields),
        known,
        {o: Ledger(o, tuple(e)) for o, e in entries.items()},
        dict.fromkeys(service.owners, r(managed)),
        {o: tuple(chain(w) for w in names) for o, names in (others or {}).items()},
        failed or {},
    )


def opened(
    since: float, *, latest: float | None = None, was: str = "A", of: str = "B", shown: str = "A"
) -> OpenInstall:
    """Return an install of *of* that is open since *since*, when the endpoints showed *shown*."""
    picture = {
        e.endpoint: Shown(e.outcome, tuple(c.fingerprint for c in e.chains)) for e in (ends(shown) if shown else ())
    }
    return OpenInstall(at(since), at(since if latest is None else latest), fp(was), picture, fp(of))


def entered(it: World, seen: Sighting) -> World:
    """Return the world with the sighting entered into its ledgers, as every run does before it decides."""
    return replace(it, ledgers={**it.ledgers, **remember_owners(it, seen, it.service.patience)})


def decided(it: World, seen: Sighting) -> Step:
    """Return the step that is decided after the sighting was entered into the ledgers."""
    return decide(entered(it, seen), seen)


def remembered(it: World, seen: Sighting) -> World:
    """Return the world with the sighting entered into ledgers and book."""
    it = entered(it, seen)
    return replace(it, book=remember(it, seen))
