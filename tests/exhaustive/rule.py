"""What must hold in every state, in words of its own: nothing here is the tool's.

An RRset is a number: bit *i* is the ``3 1 1`` record of certificate *i*. A certificate is accepted if the RRset
is empty (no DANE) or holds its record; there is one combination, so one match is enough (RFC 7671 §8).
"""

from __future__ import annotations

from collections.abc import Iterable

Pair = tuple[int, int]  # an RRset, a certificate


def accepted(rrset: int, certificate: int) -> bool:
    """Tell whether a sender that holds *rrset* delivers to a server that presents *certificate*."""
    return rrset == 0 or rrset >> certificate & 1 == 1


def deferred(held: Iterable[int], presentable: Iterable[int]) -> frozenset[Pair]:
    """Return what defers mail: an RRset that may be held, and a certificate that may be presented."""
    chains = tuple(presentable)
    return frozenset((r, c) for r in held for c in chains if not accepted(r, c))


def ended(servers: Iterable[int], presented: Iterable[int], in_file: int) -> bool:
    """Tell whether a rollover is over: one certificate everywhere, and its record alone on every server."""
    return set(presented) == {in_file} and set(servers) == {1 << in_file}
