"""What resolvers may hold, in two ways that come to the same (docs/exhaustive.md, Reductions).

*Everything*: whatever some resolver may hold is held, for as long as it may be. *Each*: so many caches that
fetch from either server whenever they like, each with one RRset and what is left of its TTL.
"""

from __future__ import annotations

Held = tuple[tuple[int, int], ...]  # RRset, steps left


class Everything:
    """All resolvers of the world at once: by RRset that no server gives any more, the longest that it may be held."""

    def __init__(self, ttl: int, certificates: int) -> None:
        self.ttl = ttl
        self.harmless = {0, (1 << certificates) - 1}  # accepted with every certificate

    def start(self) -> Held:
        """Return what is held at first."""
        return ()

    def after(self, held: Held, before: tuple[int, ...], now: tuple[int, ...], *, later: bool) -> Held:
        """Return what is held when the servers gave *before* and give *now*; *later*: a step of time passed."""
        left = {rrset: steps - later for rrset, steps in held if steps > later}
        left |= dict.fromkeys(before, self.ttl)  # fetched in the last moment
        return tuple(sorted((r, n) for r, n in left.items() if r not in now and r not in self.harmless))

    def fetched(self, held: Held, servers: tuple[int, ...]) -> tuple[Held, ...]:
        """Return what may be held after a fetch: it is held already."""
        return ()


class Each:
    """So many caches, told apart by nothing: only what they hold counts, not which of them holds it."""

    def __init__(self, ttl: int, many: int) -> None:
        self.ttl, self.many = ttl, many

    def start(self) -> Held:
        """Return what is held at first: nothing."""
        return ()

    def after(self, held: Held, before: tuple[int, ...], now: tuple[int, ...], *, later: bool) -> Held:
        """Return what is held when the servers changed, or a step of time passed."""
        return tuple(sorted((r, n - later) for r, n in held if n > later))

    def fetched(self, held: Held, servers: tuple[int, ...]) -> tuple[Held, ...]:
        """Return what may be held after one fetch: into an empty cache, or over what one has."""
        found = set()
        for rrset in set(servers):
            new = (rrset, self.ttl)
            if len(held) < self.many:
                found.add(tuple(sorted((*held, new))))
            for i in range(len(held)):
                found.add(tuple(sorted((*held[:i], new, *held[i + 1 :]))))
        return tuple(found)
