"""States, intents and events, in SQLite with synchronous=FULL.

One small interface, plain SQL: another engine can stand here. Every effect has its intent in a
transaction before it and its outcome in one after it; a run that dies in between is found by the
next one. Keys are never in here (see vault.py).
"""

from __future__ import annotations

from rollover.state.inbox import Inbox
from rollover.state.journal import Journal
from rollover.state.records import Records
from rollover.state.services import Services


class Store(Services, Inbox, Records, Journal):
    """The database of one host."""
