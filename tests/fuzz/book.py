"""A database with something in every table, made by the store itself; and everything that reads it."""

from __future__ import annotations

import atexit
import contextlib
import json
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from rollover.config import load
from rollover.core.ledger import Entry, Ledger
from rollover.core.line import line
from rollover.core.model import Book, OpenInstall, Pause, Reload, Shown, Standing, State
from rollover.core.sighting import Endpoint, Outcome
from rollover.core.timing import Instant
from rollover.core.tlsa import Tlsa
from rollover.engine.host import Host, open_host
from rollover.engine.status import reports
from rollover.state import codec
from rollover.state.store import Store
from tests.fuzz import config, report
from tests.pki import NOW

DIRECTORY = Path(tempfile.mkdtemp(prefix="fuzz-"))
atexit.register(shutil.rmtree, DIRECTORY, ignore_errors=True)
STATE = DIRECTORY / "state"
FILE = STATE / "rollover.db"
MAIN = DIRECTORY / "rollover.toml"
MAIN.write_bytes(b'state = "' + bytes(STATE) + b'"\n' + config.DNS + config.SERVICE)
CONFIG = load(MAIN)

OWNER = "_25._tcp.mail.example.org."
A, B = "ab" * 32, "cd" * 32
AT = Instant(NOW, 1000.0, "boot 1")
OURS = frozenset({Tlsa(3, 1, 1, b"\xab" * 32)})


def fill(store: Store) -> None:
    """Write what a host has in the middle of a rollover."""
    install = OpenInstall(AT, AT.plus(5), A, {Endpoint("h", "192.0.2.1", 25): Shown(Outcome.PRESENTED, (A,))}, B)
    book = Book(
        adopted=True,
        goal=B,
        active=A,
        install=install,
        reloads={"/live.pem": Reload("1:2:3", AT, 1)},
        rounds=2,
        activated=AT,
        quiet=AT,
        dane_on=frozenset({OWNER}),
        pause=Pause(AT, NOW + timedelta(hours=4)),
        standings={A: Standing(State.ACTIVE, since={"active": NOW}), B: Standing(State.READY, previous=A)},
    )
    entries = (Entry(OURS, 3600), Entry(None, 60, AT, AT))
    with store.transaction():
        store.save_book("mail", book)
        store.save_report("mail", report.GOOD, NOW)
        store.save_restore("mail", {"/etc/postfix": {"smtpd_tls_cert_file": "/c"}})
        store.add_credential(A, B, NOW)
        store.put_in_inbox("mail", A, NOW)
        store.reject("mail", "mark", "reason")
        store.save_ledgers([Ledger(OWNER, entries, NOW, (NOW,), OURS, frozenset({"ns"}))])
        store.save_aliases({OWNER: OWNER})
        store.manage(OWNER, OURS)
        store.save_zone(
            "example.org.",
            updated=AT,
            servers={"ns (192.0.2.1)": {"ttl": 60, "left": codec.instant_out(AT)}, "x": {"ttl": 1, "left": None}},
        )
        store.event("mail", "published", "text", NOW, hint="h")
        store.note("source:mail", "/source")
        store.intend("mail", "install", {"fingerprint": B, "paths": ["/live.pem"]}, AT)


def read_all(store: Store) -> None:
    """Ask everything that the engine asks of a store."""
    book = store.book("mail")
    repr(replace(book, rounds=book.rounds + 1))
    for span in (timedelta(days=30), timedelta(days=3650)):
        for it in book.standings.values():
            assert all(at - span < at + span for at in it.since.values())
    assert book.goal in {*book.standings, book.goal}
    store.summaries()
    store.report("mail")
    store.due("mail")
    assert dict(store.restore("mail") or {}) is not None
    for ledger in store.ledgers_or_new([OWNER]).values():
        for entry in ledger.entries:
            assert timedelta(seconds=entry.ttl) >= timedelta(0)
            assert entry.gone is None or entry.gone.plus(entry.ttl)
    assert all(isinstance(x, str) for pair in store.aliases().items() for x in pair)
    store.managed([OWNER])
    for zone in store.zones():
        updated, servers = store.zone(zone)
        assert updated is None or updated.plus(2)
        assert dict(servers) is not None
    for event in store.events("mail"):
        json.dumps({"text": event.text, **event.detail})
    store.open_intents("mail")
    assert all(isinstance(x, str) for x in (*store.notes("source:").values(), *store.inbox("mail")))
    store.rejections()
    store.fingerprints()


def tell(host: Host) -> None:
    """Tell of every service, as `status` and `history` do."""
    for it in reports(host):
        line(it, NOW)


@contextlib.contextmanager
def opened(*, write: bool) -> Iterator[Host]:
    """Open the host, as the commands do, and close its database."""
    host = open_host(CONFIG, write=write)
    try:
        yield host
    finally:
        host.store.close()


def place(octets: bytes) -> None:
    """Let the state hold this database and nothing else."""
    STATE.mkdir(mode=0o700, exist_ok=True)
    (STATE / "rollover.db-journal").unlink(missing_ok=True)
    FILE.touch(mode=0o600)
    FILE.write_bytes(octets)


def made() -> bytes:
    """Return the octets of a filled database, the same in every run; small pages keep it small."""
    place(b"")
    with opened(write=True) as host:
        fill(host.store)
    with contextlib.closing(sqlite3.connect(FILE)) as connection:
        connection.execute("PRAGMA page_size = 512")
        connection.execute("VACUUM")
    return FILE.read_bytes()
