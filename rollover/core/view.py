"""What a sighting means for one service: who presents what, which chains an RRset has to match.

Facts only; machine.py decides what to do about them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

from rollover.core.ledger import wait_left
from rollover.core.model import Credential, Shown, World
from rollover.core.problems import Problem, problem
from rollover.core.sighting import EndpointSighting, LiveFile, Outcome, OwnerSighting, Sighting
from rollover.core.steps import Phase, Rest
from rollover.core.timing import Instant, elapsed
from rollover.core.tlsa import Chain, RRset, needed, owner_name, valid

GREETED = (Outcome.PRESENTED, Outcome.NO_TLS)


@dataclass(frozen=True)
class View:
    """A world and one sighting of it. What every rule asks for is worked out once."""

    world: World
    seen: Sighting

    @property
    def now(self) -> Instant:
        """The end of the sighting: the instant for which everything here is true."""
        return self.seen.time

    # ----------------------------------------------------------------- telling

    def problem(self, code: str, message: str, hint: str = "") -> Problem:
        """Return a problem of this service; its own *hint*, or the table's."""
        return problem(code, message, service=self.world.service.name, hint=hint)

    def blocked(self, code: str, message: str, hint: str = "") -> Rest:
        """Return the step that stands still until a person, or the world, changes something."""
        return Rest(Phase.BLOCKED, message, problems=(self.problem(code, message, hint),))

    # ------------------------------------------------------------------ chains

    def known(self, chain: Chain) -> bool:
        """Tell whether the vault holds the key of *chain*, and it was not revoked."""
        return chain.spki_sha256 in self._keys

    @cached_property
    def _keys(self) -> frozenset[str]:
        """The keys that the vault holds and that were not revoked."""
        return frozenset(spki for c in self.world.credentials.values() if not self.world.revoked(spki := c.spki))

    @cached_property
    def at_endpoints(self) -> tuple[tuple[str, str, Chain], ...]:
        """(owner, where, chain) for every chain that an endpoint presents.

        Without SNI an address shows one chain for all its names: it counts at each of their owners.
        """
        found = []
        for e in self.seen.endpoints:
            place = (e.endpoint.address, e.endpoint.port)
            names = {owner_name(e.endpoint.host, e.endpoint.port): None}
            if not e.endpoint.sni:
                here = (x.endpoint for x in self.seen.endpoints if (x.endpoint.address, x.endpoint.port) == place)
                names |= {owner_name(x.host, x.port): None for x in here}
            found += [(owner, str(e.endpoint), chain) for chain in e.chains for owner in names]
        return tuple(found)

    @cached_property
    def presented(self) -> tuple[tuple[str, str, Chain], ...]:
        """(owner, where, chain) for every chain that an endpoint presents or a restart would."""
        owners = self.world.service.owners
        restarted = ((owner, x.path, x.chain) for x in self.seen.live if x.chain is not None for owner in owners)
        return (*self.at_endpoints, *restarted)

    def unknown(self) -> list[tuple[str, Chain]]:
        """Return where a chain is presented whose key the vault does not hold, each place once."""
        found = {
            (where, chain.fingerprint): (where, chain) for _, where, chain in self.presented if not self.known(chain)
        }
        return list(found.values())

    def presentable(self, owner: OwnerSighting) -> tuple[Chain, ...]:
        """Return the chains that may be presented to a sender that looked up *owner*'s target.

        Owners that are CNAMEs to one target share one RRset: the union counts.
        """
        names = {o.owner for o in self.seen.owners if o.target == owner.target}
        return tuple({c.fingerprint: c for name, _, c in self.presented if name in names}.values())

    def lingering(self) -> tuple[Chain, ...]:
        """Return what endpoints presented a moment ago: old processes outlive a reload by up to drain.

        Also what nobody handed to this tool: with a record where there was none, it would be refused.
        """
        world = self.world
        chains = {**world.passing, **{f: it.chain for f, it in world.credentials.items()}}
        lately = (f for f, at in world.book.lately.items() if elapsed(at, self.now) < world.service.drain)
        return tuple(chains[f] for f in lately if f in chains)

    def guarded(self, owner: OwnerSighting) -> tuple[Chain, ...]:
        """Return the chains for which no update may make the RRset invalid (protocol.md, the gate).

        What is in use, and what was presented a moment ago.
        """
        return (*self.in_use(owner), *self.lingering())

    def in_use(self, owner: OwnerSighting) -> tuple[Chain, ...]:
        """Return the chains that need their records at *owner* for as long as that lasts.

        Presentable, the goal, the last active one, and what other services here need or present. What lingers is
        not among them: a withdrawal has a clock of its own, which starts when the last of it was presented.
        """
        book = self.world.book
        mine = (self.world.credentials.get(f) for f in (book.goal, book.active))
        return (
            *self.presentable(owner),
            *(c.chain for c in mine if c is not None),
            *self.world.others.get(owner.owner, ()),
            *self.world.strangers.get(owner.owner, ()),
        )

    def publishable(self, chain: Chain, owner: OwnerSighting) -> bool:
        """Tell whether records of *chain* may be made: ours, or those of another service here."""
        return self.known(chain) or chain in self.world.others.get(owner.owner, ())

    def needed(self, chain: Chain, rrset: RRset) -> RRset:
        """Return what *chain* needs beside *rrset* in this service's combinations and in others'."""
        return needed(chain, rrset, self.world.service.records)

    # --------------------------------------------------------------- endpoints

    def rrsets_for(self, e: EndpointSighting) -> tuple[RRset, ...]:
        """Return the primary's RRset for the owner of an endpoint.

        Where the primary gave none, what the other servers gave: a dead one must not starve a judgement.
        """
        name = owner_name(e.endpoint.host, e.endpoint.port)
        for owner in self.seen.owners:
            if owner.owner == name:
                answers = (owner.primary,) if owner.primary is not None else owner.servers
                return tuple(a.rrset for a in answers if a.rrset is not None)
        return ()

    def shows_only(self, e: EndpointSighting, goal: Credential) -> bool:
        """Tell whether the endpoint was reached and every connection presented the goal."""
        return e.outcome is Outcome.PRESENTED and {c.fingerprint for c in e.chains} == {goal.fingerprint}

    def accepted(self, e: EndpointSighting, goal: Credential) -> bool:
        """Tell whether a DANE sender would accept what this endpoint presents."""
        rrsets = self.rrsets_for(e)
        return bool(rrsets) and all(valid(r, goal.chain) for r in rrsets)

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
            rrsets = self.rrsets_for(e)
            for chain in e.chains:
                same = before is not None and chain.fingerprint in before.fingerprints
                if rrsets and not any(valid(r, chain) for r in rrsets) and not same:
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
        looked_at = {owner_name(e.endpoint.host, e.endpoint.port) for e in self.seen.endpoints}
        return (
            looked_at >= set(self.world.service.owners)
            and self.loaded(goal)
            and all(self.shows_only(e, goal) for e in self.seen.endpoints)
        )

    def loaded(self, goal: Credential) -> bool:
        """Tell whether the goal is in every live file, and a reload is recorded for each."""
        return all(self.live_is(x, goal) and self.reload_recorded(x) for x in self.seen.live)

    # --------------------------------------------------------------------- goal

    @property
    def goal(self) -> Credential:
        """The goal, for the rules that stand behind the question whether there is one."""
        goal = self.world.goal
        assert goal is not None
        return goal

    @property
    def is_return(self) -> bool:
        """Whether the goal was served before: a return, a rollback, or what is active written again."""
        book = self.world.book
        return book.rollback or book.returning or book.goal == book.active

    def may_serve(self, credential: Credential) -> bool:
        """Tell whether *credential* is neither expired nor revoked."""
        return not expired(credential, self.now.wall) and not self.world.revoked(credential.spki)

    def unseen(self) -> tuple[str, ...]:
        """Return the owners of the service that this sighting says nothing of."""
        seen = {o.owner for o in self.seen.owners}
        return tuple(o for o in self.world.service.owners if o not in seen)

    def ready_left(self, goal: Credential) -> float | None:
        """Return the seconds until *goal* is ready at every owner by the ledgers; None while unknown."""
        world, left = self.world, 0.0
        for owner in {*world.service.owners, *(o.owner for o in self.seen.owners)}:
            ledger = world.ledger(owner)
            at_owner = wait_left(ledger, goal.chain, world.service.patience, self.now)
            if at_owner is None or not ledger.entries:  # without any, no server ever answered
                return None
            left = max(left, at_owner)
        return None if self.unseen() else left

    def never_in_doubt(self, goal: Credential) -> bool:
        """Tell whether no RRset in the ledgers is invalid for the goal: then there is nothing to measure."""
        return all(e.valid_for(goal.chain) for o in self.seen.owners for e in self.world.ledger(o.owner).entries)


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
