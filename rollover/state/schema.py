"""The tables, and nothing else: plain SQL that another engine understands too. See docs/state.md."""

from __future__ import annotations

VERSION = 1

TABLES = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE service (
    name TEXT PRIMARY KEY,
    book TEXT NOT NULL,        -- JSON: goal, active, open install, clocks
    report TEXT,               -- JSON: what status tells, as of the last look
    due TEXT,                  -- not before this is a look needed. NULL: at the next tick
    restore TEXT               -- JSON: the mail server's parameters from before adopt
);
CREATE TABLE standing (
    service TEXT NOT NULL, fingerprint TEXT NOT NULL,
    state TEXT NOT NULL, previous TEXT NOT NULL, blocked TEXT NOT NULL, since TEXT NOT NULL,
    PRIMARY KEY (service, fingerprint)
);
CREATE TABLE credential (
    fingerprint TEXT PRIMARY KEY, spki TEXT NOT NULL, staged TEXT NOT NULL
);
CREATE TABLE inbox (               -- handed over by a hook, not yet looked at by a run with the lock
    service TEXT NOT NULL, fingerprint TEXT NOT NULL, at TEXT NOT NULL,
    PRIMARY KEY (service, fingerprint)
);
CREATE TABLE rejected (            -- what a source holds and cannot be served: told once
    service TEXT NOT NULL, digest TEXT NOT NULL, reason TEXT NOT NULL,
    PRIMARY KEY (service, digest)
);
CREATE TABLE ledger (owner TEXT PRIMARY KEY, entries TEXT NOT NULL);
CREATE TABLE alias (owner TEXT PRIMARY KEY, target TEXT NOT NULL);  -- where each owner's records were last seen
CREATE TABLE managed (target TEXT NOT NULL, rdata TEXT NOT NULL, PRIMARY KEY (target, rdata));
CREATE TABLE zone (name TEXT PRIMARY KEY, updated TEXT, servers TEXT);
CREATE TABLE event (
    id INTEGER PRIMARY KEY, time TEXT NOT NULL, service TEXT NOT NULL,
    kind TEXT NOT NULL, text TEXT NOT NULL, detail TEXT NOT NULL
);
CREATE INDEX event_service ON event (service, id);
CREATE TABLE intent (
    id INTEGER PRIMARY KEY, service TEXT NOT NULL, kind TEXT NOT NULL, detail TEXT NOT NULL,
    at TEXT NOT NULL, closed TEXT, outcome TEXT
);
CREATE INDEX intent_open ON intent (closed, service);
"""
