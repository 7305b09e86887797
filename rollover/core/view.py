"""What a sighting means for one service: who presents what, which chains an RRset has to match.

Facts only; machine.py decides what to do about them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

from rollover.core.model import Credential, Shown, State, World
from rollover.core.sighting import EndpointSighting, LiveFile, Outcome, OwnerSighting, Sighting
from rollover.core.timing import Instant
from rollover.core.tlsa import Chain, RRset, needed, owner_name, valid

GREETED = (Outcome.PRESENTED, Outcome.NO_TLS)


@dataclass(frozen=True, slots=True)
class View:
    """A world and one sighting of it."""

    world: World
    seen: Sighting

    @property
    def now(self) -> Instant:
        """The end of the sighting: the instant for which everything here is true."""
        return self.seen.time

    # ------------------------------------------------------------------ chains

    def known(self, chain: Chain) -> bool:
        """Tell whether the vault holds the key of *chain*, and it was not revoked."""
        return any(
            c.spki == chain.spki_sha256 and self.world.book.standing(c.fingerprint).state is not State.REVOKED
            for c in self.world.credentials.values()
        )

    def presented(self) -> Iterator[tuple[str, str, Chain]]:
        """Yield (owner, where, chain) for every chain that an endpoint presents or a restart would."""
        for e in self.seen.endpoints:
            for chain in e.chains:
                yield owner_name(e.endpoint.host, e.endpoint.port), str(e.endpoint), chain
        for live in self.seen.live:
            if live.chain is not None:
                for owner in self.world.service.owners:
                    yield owner, live.path, live.chain

    def unknown(self) -> list[tuple[str, Chain]]:
        """Return where a chain is presented whose key the vault does not hold, each place once."""
        found = {
            (where, chain.fingerprint): (where, chain) for _, where, chain in self.presented() if not self.known(chain)
        }
        return list(found.values())

    def presentable(self, owner: OwnerSighting) -> tuple[Chain, ...]:
        """Return the chains that may be presented to a sender that looked up *owner*'s target.

        Owners that are CNAMEs to one target share one RRset: the union counts.
        """
        names = {o.owner for o in self.seen.owners if o.target == owner.target}
        return tuple({c.fingerprint: c for name, _, c in self.presented() if name in names}.values())

    def guarded(self, owner: OwnerSighting) -> tuple[Chain, ...]:
        """Return the chains for which no update may make the RRset invalid (protocol.md, the gate).

        Presentable, the goal, the last active one, and those of other services here.
        """
        book = self.world.book
        mine = (self.world.credentials.get(f) for f in (book.goal, book.active))
        return (
            *self.presentable(owner),
            *(c.chain for c in mine if c is not None),
            *self.world.others.get(owner.owner, ()),
        )

    def needed(self, chain: Chain, rrset: RRset) -> RRset:
        """Return what *chain* needs beside *rrset* in this service's combinations and in others'."""
        return needed(chain, rrset, self.world.service.records)

    # --------------------------------------------------------------- endpoints

    def rrset_for(self, e: EndpointSighting) -> RRset | None:
        """Return the primary's RRset for the owner of an endpoint; None when it was not seen."""
        name = owner_name(e.endpoint.host, e.endpoint.port)
        for owner in self.seen.owners:
            if owner.owner == name:
                return owner.primary.rrset if owner.primary is not None else None
        return None

    def shows_only(self, e: EndpointSighting, goal: Credential) -> bool:
        """Tell whether the endpoint was reached and every connection presented the goal."""
        return e.outcome is Outcome.PRESENTED and {c.fingerprint for c in e.chains} == {goal.fingerprint}

    def accepted(self, e: EndpointSighting, goal: Credential) -> bool:
        """Tell whether a DANE sender would accept what this endpoint presents."""
        rrset = self.rrset_for(e)
        return rrset is not None and valid(rrset, goal.chain)

    def failing(self) -> tuple[str, ...]:
        """Return why endpoints fail, against the picture from before the install (step 0).

        Failing: TLS refused, or a chain that the RRset does not match, unless the picture shows the
        same; no greeting, only if the picture shows one.
        """
        opened = self.world.book.install
        picture = opened.picture if opened is not None else {}
        return tuple(reason for e in self.seen.endpoints if (reason := self._fails(e, picture.get(e.endpoint))))

    def _fails(self, e: EndpointSighting, before: Shown | None) -> str:
        if e.outcome is Outcome.NO_TLS:
            same = before is not None and before.outcome is Outcome.NO_TLS
            return "" if same else f"{e.endpoint}: no TLS: {e.detail}"
        if e.outcome is Outcome.PRESENTED:
            rrset = self.rrset_for(e)
            for chain in e.chains:
                same = before is not None and chain.fingerprint in before.fingerprints
                if rrset is not None and not valid(rrset, chain) and not same:
                    return f"{e.endpoint}: presents {chain.fingerprint[:16]}, which the RRset does not match"
            return ""
        greeted = before is not None and before.outcome in GREETED
        return f"{e.endpoint}: {e.outcome}: {e.detail}" if greeted else ""

    # --------------------------------------------------------------- live files

    def live_is(self, live: LiveFile, goal: Credential) -> bool:
        """Tell whether a live file holds the goal, usable."""
        return live.chain is not None and not live.problem and live.chain.fingerprint == goal.fingerprint

    def reload_recorded(self, live: LiveFile) -> bool:
        """Tell whether a reload is recorded for this very file (inode, mtime, hash)."""
        last = self.world.book.reloads.get(live.path)
        return last is not None and last.identity == live.identity

    def proven(self, goal: Credential) -> bool:
        """Tell whether the goal, and nothing else, can be presented anywhere: step 7's question."""
        return (
            bool(self.seen.endpoints)
            and all(self.live_is(x, goal) and self.reload_recorded(x) for x in self.seen.live)
            and all(self.shows_only(e, goal) for e in self.seen.endpoints)
        )


def unmatched(rrset: RRset, chain: Chain) -> RRset:
    """Return the records of the usable combinations of *rrset* that nothing in *chain* matches."""
    bad = frozenset(r for r in rrset if not valid(frozenset({r}), chain))
    good = {r.params for r in rrset if r not in bad}
    return frozenset(r for r in bad if r.params not in good)


def breaks(before: RRset, after: RRset, chains: Iterable[Chain]) -> tuple[Chain, ...]:
    """Return the chains that *before* is valid for and *after* is not: the gate of every update."""
    return tuple(c for c in chains if valid(before, c) and not valid(after, c))


def expired(credential: Credential, wall: datetime) -> bool:
    """Tell whether the certificate's validity is over."""
    return credential.not_after <= wall
