"""The commands for a person: made of what was seen last, safe to follow, and each zone by itself."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from rollover.core.certificate import parse_chain
from rollover.core.ledger import Entry, Ledger
from rollover.core.tlsa import Chain, RRset, Tlsa, record
from rollover.engine.byhand import by_hand
from rollover.engine.host import Host
from rollover.engine.intake import read_material, stage
from tests.unit.engine.hosts import HOST, OWNER, adopted, host, lineage

SUBMISSION = f"_587._tcp.{HOST}."
TARGET = "_25._tcp.mail.dane.example.net."
ANCHOR = Tlsa(2, 1, 1, b"\xef" * 32)
DANE = '[[dns.zone]]\nname = "dane.example.net"\nprimary = "192.0.2.54"\ntsig_key = "/etc/rollover/dane.key"'


def chain_of(it: Host, fingerprint: str) -> Chain:
    return parse_chain(it.vault.chain(fingerprint))


def blocked(directory: Path, *foreign: Tlsa, gone: Entry | None = None) -> tuple[Host, Chain, Chain]:
    """Return a host that serves one certificate and wants another, with what is known of its two owners."""
    it = host(directory, DANE, mail='trust = "none"\nports = [25, 587]\ndrain = "5m"')
    old = chain_of(it, adopted(it, "mail", lineage(directory / "old", label="old")))
    material = lineage(directory / "new", label="new")
    staged = stage(it, read_material(material / "fullchain.pem", material / "privkey.pem"), service="mail")
    it.store.save_book("mail", replace(it.store.book("mail"), goal=staged.fingerprint))
    mine = frozenset({record(old, (3, 1, 1))})
    entries = (Entry(mine | frozenset(foreign), 600), *((gone,) if gone else ()))
    it.store.save_ledgers([Ledger(OWNER, entries), Ledger(SUBMISSION, (Entry(mine, 300),))])
    it.store.save_aliases({OWNER: TARGET, SUBMISSION: SUBMISSION})
    for target in (TARGET, SUBMISSION):
        it.store.manage(target, mine)
    for zone in ("example.org.", "dane.example.net."):
        it.store.save_zone(zone, servers={"ns1 (192.0.2.53)": {"left": None, "ttl": 60}})
    return it, old, chain_of(it, staged.fingerprint)


def updates(lines: list[str], zone: str) -> list[str]:
    """Return the lines of every call of nsupdate for *zone*."""
    calls = "\n".join(lines).split("nsupdate ")[1:]
    return [line for call in calls if f"zone {zone}\n" in call for line in call.partition("\nEND")[0].splitlines()]


def told(rrset: RRset, verb: str, target: str) -> set[str]:
    return {f"{verb} {target} TLSA {rr}" for rr in rrset}


def test_each_zone_has_its_own_primary_and_key(tmp_path: Path) -> None:
    """An owner that is a CNAME is changed at its target, through the primary and with the key of that zone."""
    it, old, new = blocked(tmp_path)
    lines = list(by_hand(it, "mail"))
    here, there = updates(lines, "example.org."), updates(lines, "dane.example.net.")
    assert {"-k /etc/rollover/tsig.key <<END", "server 192.0.2.53 53"} <= set(here)
    assert {"-k /etc/rollover/dane.key <<END", "server 192.0.2.54 53"} <= set(there)
    assert f"update add {SUBMISSION} 300 TLSA {record(new, (3, 1, 1))}" in here
    assert f"update add {TARGET} 600 TLSA {record(new, (3, 1, 1))}" in there
    assert told(frozenset({record(old, (3, 1, 1))}), "update delete", TARGET) <= set(there)
    assert not [line for line in here if TARGET in line] and not [line for line in there if SUBMISSION in line]


def test_beside_another_combination_the_new_key_gets_its_own(tmp_path: Path) -> None:
    """Beside somebody's `3 1 2` a `3 1 2` of the new key is published, and the RRset must still be as it was seen."""
    foreign = Tlsa(3, 1, 2, b"\xcd" * 64)
    it, old, new = blocked(tmp_path, foreign)
    lines = updates(list(by_hand(it, "mail")), "dane.example.net.")
    assert [x for x in lines if x.startswith("update add")] == [
        f"update add {TARGET} 600 TLSA {record(new, (3, 1, n))}" for n in (1, 2)
    ]
    assert {x for x in lines if x.startswith("prereq")} == told(
        frozenset({record(old, (3, 1, 1)), foreign}), "prereq yxrrset", TARGET
    )
    assert not [x for x in lines if x.startswith("update delete") and str(foreign) in x]


def test_what_nothing_matches_is_removed_before_the_install(tmp_path: Path) -> None:
    """Somebody's `2 1 1` that would make senders refuse the new certificate goes in the first update, and is waited out."""
    it, _, _ = blocked(tmp_path, ANCHOR)
    lines = list(by_hand(it, "mail"))
    removal, wait = lines.index(f"update delete {TARGET} TLSA {ANCHOR}"), lines.index("sleep 1200")
    install = next(i for i, line in enumerate(lines) if "/live/mail.pem.new" in line)
    drain = lines.index("sleep 300")
    old = next(i for i, line in enumerate(lines) if line.startswith(f"update delete {SUBMISSION}"))
    assert removal < wait < install < drain < old < lines.index("rollover resume mail")


def test_an_update_that_nobody_saw_is_not_taken_for_done(tmp_path: Path) -> None:
    """After an update that the primary dropped its records are still to be published."""
    it, old, new = blocked(tmp_path)
    both = frozenset({record(old, (3, 1, 1)), record(new, (3, 1, 1))})
    ledger = it.store.ledgers([OWNER])[OWNER]
    it.store.save_ledgers([replace(ledger, entries=(*ledger.entries, Entry(both, 600, intended=it.clock.now())))])
    lines = updates(list(by_hand(it, "mail")), "dane.example.net.")
    assert f"update add {TARGET} 600 TLSA {record(new, (3, 1, 1))}" in lines
