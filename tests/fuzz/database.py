"""The database file with octets changed, as a disk or a torn copy leaves it."""

from __future__ import annotations

import functools

from rollover.core.errors import StateError
from rollover.core.sighting import Sighting
from rollover.engine.cutoff import close_cut_off
from tests.fuzz import book


@functools.cache
def base() -> bytes:
    """Return a sound database."""
    return book.made()


def target(octets: bytes) -> None:
    """A damaged file is a StateError with a hint, and stays as it is; what can be read is sound."""
    damaged = bytearray(base())
    if octets[:1] == b"\xff":  # cut off
        damaged = damaged[: int.from_bytes(octets[1:3], "big")]
        octets = octets[3:]
    while len(octets) > 3:
        at, length = int.from_bytes(octets[:2], "big"), octets[2] % 16
        at %= len(damaged) or 1
        damaged[at : at + length] = octets[3 : 3 + length]
        octets = octets[3 + length :]
    before = bytes(damaged)
    book.place(before)
    try:
        with book.opened(write=False) as host:
            book.tell(host)
            book.read_all(host.store)
    except StateError as error:
        assert error.hint
    assert book.FILE.read_bytes() == before
    try:
        with book.opened(write=True) as host:
            book.read_all(host.store)
            close_cut_off(host, "mail", Sighting(book.AT, (), (), (), clock_agrees=True))
    except StateError as error:
        assert error.hint
        if before:
            assert book.FILE.read_bytes() == before, "written, though it was found to be damaged"


def seeds() -> tuple[bytes, ...]:
    """Nothing changed; the version, the first page's cells, and some text changed."""
    size = len(base())
    goal = base().find(b'"goal"')
    changes = [
        (60, b"\0\0\0\0"),
        (60, b"\0\0\0\x09"),
        (103, b"\0\0"),
        (goal, b"x"),
        (goal + 9, b"\xff\xfe"),
        (16, b"\0"),
    ]
    found = [at.to_bytes(2, "big") + bytes([len(new)]) + new for at, new in changes]
    return (b"", *found, b"".join(found[:3:2]), b"\xff" + (size // 2).to_bytes(2, "big"), b"\xff\0\0", b"\xff\0\x64")
