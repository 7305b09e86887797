"""TLSA records in presentation form and as RDATA, and what is computed from them."""

from __future__ import annotations

import functools
from collections.abc import Iterator

from rollover.core.tlsa import Chain, Link, Tlsa, combinations, matches, needed, usable, valid

CHAIN = Chain((Link(b"leaf", b"key"), Link(b"issuer", b"its key", anchor=True)))


def target(octets: bytes) -> None:
    """RDATA goes round whole; text is a record or a ValueError; no record upsets the judgement."""
    found = {Tlsa.from_wire(octets)} | {Tlsa.from_wire(part) for part in octets.split(b"\xff")[:20]}
    assert Tlsa.from_wire(octets).to_wire() == octets
    try:
        found.add(read := Tlsa.parse(octets.decode("utf-8", "surrogateescape")))
    except ValueError:
        pass
    else:
        assert Tlsa.parse(str(read)) == read
    for record in found:
        assert Tlsa.from_wire(record.to_wire()) == record
        assert Tlsa.parse(str(record)) == record
        assert str(record).isascii()
        assert str(record).isprintable()
        assert usable(record) or not matches(record, CHAIN)
    assert valid(frozenset(found), CHAIN) == (combinations(found) <= {r.params for r in found if matches(r, CHAIN)})
    mine = needed(CHAIN, found, [(3, 1, 1)])
    assert all(matches(record, CHAIN) for record in mine)


@functools.cache
def seeds() -> tuple[bytes, ...]:
    """Records of each combination in both forms, and malformed ones."""

    def made() -> Iterator[bytes]:
        for record in needed(CHAIN, (), [(3, s, m) for s in (0, 1) for m in (0, 1, 2)]):
            yield str(record).encode()
            yield record.to_wire()
        yield b"\\# 3 030101"
        yield b"\\# 0"
        yield b"2 1 1 " + b"ab" * 32
        yield b"\x03\x01"
        yield b"\xff".join(record.to_wire() for record in needed(CHAIN, (), [(3, 1, 1), (3, 1, 2)]))

    return tuple(made())
