"""One column of one row with another content: a damaged row in a file that SQLite finds sound."""

from __future__ import annotations

import functools
import sqlite3

from rollover.core.errors import StateError
from rollover.core.sighting import Sighting
from rollover.engine.cutoff import close_cut_off
from tests.fuzz import book, database

COLUMNS = (
    ("service", "book"),
    ("service", "report"),
    ("service", "due"),
    ("service", "restore"),
    ("standing", "state"),
    ("standing", "since"),
    ("standing", "previous"),
    ("ledger", "entries"),
    ("alias", "target"),
    ("managed", "rdata"),
    ("zone", "updated"),
    ("zone", "servers"),
    ("event", "time"),
    ("event", "detail"),
    ("event", "text"),
    ("intent", "detail"),
    ("intent", "at"),
    ("intent", "kind"),
    ("meta", "value"),
    ("inbox", "fingerprint"),
    ("rejected", "reason"),
    ("credential", "fingerprint"),
)
TEXT, BLOB, NUMBER = range(3)


def target(octets: bytes) -> None:
    """Any content of a column is read soundly, or is a StateError with a hint."""
    if len(octets) < 2:
        return
    table, column = COLUMNS[octets[0] % len(COLUMNS)]
    kind, content = octets[1] % 3, octets[2:]
    book.place(database.base())
    with sqlite3.connect(book.FILE) as connection:
        value: object = content
        if kind == NUMBER:
            value = int.from_bytes(content[:8], "big", signed=True)
        cast = "CAST(? AS TEXT)" if kind == TEXT else "?"
        connection.execute(f"UPDATE {table} SET {column} = {cast}", (value,))
    connection.close()
    try:
        with book.opened(write=False) as host:
            book.tell(host)
            book.read_all(host.store)
        with book.opened(write=True) as host:
            close_cut_off(host, "mail", Sighting(book.AT, (), (), (), clock_agrees=True))
    except StateError as error:
        assert error.hint


@functools.cache
def seeds() -> tuple[bytes, ...]:
    """Each column with what it has."""
    book.place(database.base())
    made = []
    with sqlite3.connect(book.FILE) as connection:
        for number, (table, column) in enumerate(COLUMNS):
            (value,) = connection.execute(f"SELECT {column} FROM {table}").fetchone()
            made.append(bytes([number, TEXT]) + str(value).encode())
    connection.close()
    return (*made, b"\0\1x", b"\0\2x")
