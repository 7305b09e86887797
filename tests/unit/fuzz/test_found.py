"""What fuzzing found, each fault by name (docs/fuzzing.md)."""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import dns.name
import dns.rrset
import pytest
from cryptography import x509

from rollover.config import load
from rollover.core.certificate import chain_from_der, chain_pem, check, facts, parse_chain, trusted
from rollover.core.errors import CertificateError, ConfigError, StateError
from rollover.core.path import label, path_problem
from rollover.core.sender import verdict
from rollover.core.sighting import Signature
from rollover.core.tlsa import Tlsa
from rollover.dns import message, records
from rollover.dns.errors import TsigKeyError
from rollover.dns.keys import load_tsig_key
from rollover.dns.resolver import ZoneKeys
from rollover.dns.servers import MOST_NAMES, MOST_SERVERS, Discovery, Server
from rollover.dns.signatures import MAX_TRIED, verify, verify_denial
from rollover.dns.transport import WAITING, _Mailbox
from rollover.engine.intake import scan_sources
from rollover.engine.material import MAX_FILE, read_regular
from rollover.engine.neighbours import neighbours
from rollover.engine.sources import leaf_fingerprint
from rollover.mail.errors import MailConfigError
from rollover.mail.mastercf import Service
from rollover.mail.postfix import _read
from rollover.state.codec import json_in
from rollover.state.store import Store
from tests.fuzz import book, config, dns_look, zone
from tests.fuzz.certificate import fixed, pki
from tests.pki import HOST, NOW, make
from tests.unit.engine import hosts

KEY_FILE = 'key "{}" {{ algorithm hmac-sha256; secret "MDEyMzQ1Njc4OWFiY2RlZg=="; }};\n'


@pytest.mark.parametrize("name", ["a\\\\.", "a\\.", ".", "@", ""], ids=["\\\\.", "\\.", "root", "@", "empty"])
def test_key_name_that_dns_cannot_carry_is_refused_or_carried(tmp_path: Path, name: str) -> None:
    """A dot at the end may be escaped: the key has to sign, or the file is refused when it is read."""
    file = tmp_path / "tsig.key"
    file.touch(mode=0o600)
    file.write_text(KEY_FILE.format(name))
    try:
        key = load_tsig_key(file)
    except TsigKeyError as error:
        assert error.hint
    else:
        assert message.query(zone.OWNER, records.TLSA, now=NOW, key=key).mac


# --- configuration


@pytest.mark.parametrize(
    "line",
    ["ports = [" + "9" * 5000 + "]", "ports = 0x" + "f" * 5000, "retain = " + "9" * 400, "retain = 0x" + "f" * 400],
    ids=["5000 digits", "5000 digits in hex", "400 digits", "400 digits in hex"],
)
def test_number_beyond_all_bounds_is_a_mistake_in_the_configuration(tmp_path: Path, line: str) -> None:
    """Python refuses to read, write or round such numbers; whoever wrote one is told the file and what is right."""
    file = tmp_path / "rollover.toml"
    file.write_bytes(config.DNS + config.SERVICE.replace(b"[[", line.encode() + b"\n[[", 1))

    with pytest.raises(ConfigError) as told:
        load(file)

    assert str(file) in told.value.message
    assert told.value.hint


# --- certificates


def altered(old: bytes, new: bytes, certificate: bytes) -> bytes:
    """Return *certificate* with some octets changed; the signature is not looked at here."""
    assert len(old) == len(new)
    assert old in certificate
    return certificate.replace(old, new, 1)


LEAF = pki().leaf.der
ODD_LEAVES = {
    "of version 2": altered(b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x01", LEAF),
    "of version 9": altered(b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x08", LEAF),
    "with an X.400 address": altered(b"\x82\x10" + HOST.encode(), b"\xa3\x10" + HOST.encode(), LEAF),
    "with an issuer of bits": altered(b"\x0c\x0cIntermediate", b"\x03\x0c\x00ntermediate", LEAF),
    "signed with an unknown algorithm": LEAF.replace(
        b"\x2a\x86\x48\xce\x3d\x04\x03\x02", b"\x2a\x86\x48\xce\x3d\x04\x03\x7f"
    ),
}


@pytest.mark.parametrize("der", ODD_LEAVES.values(), ids=ODD_LEAVES)
def test_odd_certificate_is_rejected(der: bytes) -> None:
    """What the library reads only in part, or late, is rejected with a hint, and no server's chain is a bug."""
    with pytest.raises(CertificateError) as told:
        check(chain_from_der([der]), fixed(3), hosts=[HOST], now=NOW)

    assert told.value.hint


ODD_ROOTS = {
    "a date that does not exist": altered(b"261121140000Z", b"261199140000Z", pki().root.der),
    "a version that does not exist": altered(b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x0a", pki().root.der),
}


@pytest.mark.parametrize("root", ODD_ROOTS.values(), ids=ODD_ROOTS)
def test_root_that_only_openssl_reads_is_no_bug(root: bytes) -> None:
    """In a file of trusted CAs: OpenSSL complains, and the library cannot say of whom."""
    chain = chain_from_der(pki().ders)

    assert "cannot be decoded" in trusted(chain, roots=[root], hosts=[HOST], now=NOW)


def test_key_that_openssl_cannot_decode_is_no_bug() -> None:
    """A presented leaf on a curve that nobody knows: OpenSSL refuses it, and then cannot even give it out."""
    unknown = altered(bytes.fromhex("06082a8648ce3d030107"), bytes.fromhex("06082a8648ce3d030178"), LEAF)
    chain = chain_from_der([unknown, *pki().ders[1:]])
    record = Tlsa(2, 1, 1, hashlib.sha256(chain.links[-1].spki).digest())

    assert not verdict(frozenset({record}), chain, names=[HOST], now=NOW).delivers
    assert path_problem(chain, [pki().root.der], now=NOW)


def test_name_of_bits_is_no_bug() -> None:
    """A subject may only be text; what the library makes of another type is a TypeError, and late."""
    sound = make("mail of nobody", private=fixed(3)).der
    odd = x509.load_der_x509_certificate(sound.replace(b"\x0c\x0email of nobody", b"\x03\x0e\x00ail of nobody"))

    assert label(odd) == f"certificate {odd.serial_number:x}"


def test_names_in_a_certificate_cannot_move_the_cursor() -> None:
    """Control characters that somebody has had certified reach neither messages nor the terminal."""
    chain = chain_from_der([make("red \x1b[31m\nOK mail", private=fixed(3), names=(HOST,)).der, pki().root.der])

    with pytest.raises(CertificateError) as told:
        check(chain, fixed(3), hosts=["other.example.org"], now=NOW)

    assert told.value.message.isprintable()


def test_no_server_chooses_how_many_certificates_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file with hundreds is refused before they are held against each other; of a server's, the first ones count."""
    loaded = []
    load_one = x509.load_der_x509_certificate
    monkeypatch.setattr(x509, "load_der_x509_certificate", lambda der: loaded.append(der) or load_one(der))

    with pytest.raises(CertificateError, match="400 certificates"):
        parse_chain(pki().root.pem * 400)
    chain = chain_from_der([LEAF, *[pki().root.der] * 399])

    assert facts(chain).names == (HOST,)
    assert len(chain.links) == 400
    assert len(loaded) < 50


@pytest.mark.parametrize("name", ["fullchain.pem", "privkey.pem"])
def test_fifo_in_a_lineage_holds_nobody_up(tmp_path: Path, name: str) -> None:
    """Whoever owns the ACME client's directory cannot stop the ticks with it: neither the hook nor the scan waits."""
    it = hosts.host(tmp_path, mail=f'source = "{tmp_path}/source"')
    hosts.adopted(it, "mail", hosts.lineage(tmp_path / "first", label="a"))
    source = hosts.lineage(tmp_path / "source", label="b")
    (source / name).unlink()
    os.mkfifo(source / name, 0o600)

    assert scan_sources(it) == []

    kind, _ = it.store.rejection("mail")
    assert kind
    with pytest.raises(CertificateError, match="not a regular file"):
        hosts.hand_over(it, source)


def test_huge_file_in_a_lineage_fills_no_memory(tmp_path: Path) -> None:
    """Of a file without end only so much is read as a certificate can have."""
    (tmp_path / "fullchain.pem").touch()
    os.truncate(tmp_path / "fullchain.pem", 1 << 40)

    assert len(read_regular(tmp_path / "fullchain.pem")) == MAX_FILE + 1
    assert leaf_fingerprint(tmp_path / "fullchain.pem") == "unreadable"


def test_presented_chain_of_a_neighbour_is_read_back_in_any_order(tmp_path: Path) -> None:
    """What an endpoint of another service presents need not be in the order that a file of ours must have."""
    it = hosts.host(tmp_path, first="", second="")
    for number, name in enumerate(("first", "second")):
        hosts.adopted(it, name, hosts.lineage(tmp_path / name, label=str(number)))
    strange = chain_from_der([LEAF, pki().root.der, pki().intermediate.der])
    noted = {
        "owners": {hosts.OWNER: [strange.fingerprint]},
        "strangers": {strange.fingerprint: chain_pem(strange).decode()},
    }
    it.store.note("shown:second", json.dumps(noted))

    found = neighbours(it, it.service("first"), it.store.book("first"), [hosts.OWNER], {}, lambda _: None)

    assert found.strangers == {hosts.OWNER: (strange,)}


# --- the database


DEEP = "[" * 100_000
ROWS = {
    "nested without end": ("service", "book", DEEP),
    "a number for a text": ("service", "book", '{"goal": 1}'),
    "a list for a report": ("service", "report", "[]"),
    "an instant at the end of time": ("service", "due", "9999-12-31T23:59:59+00:00"),
    "an instant before the beginning": ("service", "due", "0001-01-01T00:00:00+14:00"),
    "a list of parameters": ("service", "restore", "[1]"),
    "servers without their TTL": ("zone", "servers", '{"ns": {}}'),
    "an instant that is infinite": ("intent", "at", '["2026-11-22T14:00:00+00:00", 1e999, "b"]'),
    "an intent without files": ("intent", "detail", '{"fingerprint": "ab"}'),
    "a detail that is text": ("event", "detail", '"x"'),
}


@pytest.mark.parametrize(("table", "column", "content"), ROWS.values(), ids=ROWS)
def test_damaged_row_is_a_damaged_database(tmp_path: Path, table: str, column: str, content: str) -> None:
    """A row that was never written so is found when it is read, not much later as a bug."""
    file = tmp_path / "rollover.db"
    store = Store.open(file)
    book.fill(store)
    store._rows(f"UPDATE {table} SET {column} = ?", content)

    with pytest.raises(StateError) as told:
        book.read_all(store)

    assert "backup" in told.value.hint
    store.close()


def test_database_with_an_empty_first_page_is_not_made_anew(tmp_path: Path) -> None:
    """Tables that cannot be found are not made again over those that are there: the file stays for a rescue."""
    file = tmp_path / "rollover.db"
    store = Store.open(file)
    book.fill(store)
    store.close()
    with file.open("r+b") as damaged:
        damaged.seek(60)
        damaged.write(bytes(4))  # the version of the schema
        damaged.seek(103)
        damaged.write(bytes(2))  # how many tables there are
    before = file.read_bytes()

    with pytest.raises(StateError):
        Store.open(file)

    assert file.read_bytes() == before


def test_damaged_schema_that_is_not_utf8_is_a_damaged_database(tmp_path: Path) -> None:
    """SQLite quotes the schema in its complaint, and the driver cannot decode that."""
    file = tmp_path / "rollover.db"
    store = Store.open(file)
    store.close()
    content = file.read_bytes()
    file.write_bytes(content.replace(b"CREATE TABLE alias", b"CREATE TABLE al\x80\xff\x80", 1))

    with pytest.raises(StateError) as told:
        Store.open(file).aliases()

    assert "backup" in told.value.hint


def test_other_sound_json_is_kept(tmp_path: Path) -> None:
    """What the store itself wrote is read as it was: the checks refuse nothing that is sound."""
    store = Store.open(tmp_path / "rollover.db")
    book.fill(store)

    book.read_all(store)

    assert json_in(json.dumps({"a": [1, None]})) == {"a": [1, None]}
    assert isinstance(store._db, sqlite3.Connection)
    store.close()


# --- DNS


def test_flood_of_datagrams_fills_no_memory() -> None:
    """What comes faster than it is read is dropped beyond some dozens."""
    mailbox = _Mailbox()
    for _ in range(100_000):
        mailbox.datagram_received(bytes(100), None)
        mailbox.error_received(OSError())

    assert mailbox.queue.qsize() == WAITING


def test_no_server_chooses_how_much_is_asked() -> None:
    """A thousand names in an NS RRset are not all looked up; that something was left out is told."""
    found = Discovery("example.org.")
    added = [found.add(Server(f"192.0.2.{number}")) for number in range(MOST_SERVERS + 10)]

    assert added.count(True) == MOST_SERVERS
    assert "not asked" in next(iter(found.problems.values()))


def test_dozens_of_name_servers_cost_a_bounded_number_of_questions() -> None:
    """The whole look with such an NS RRset ends, and asks for some of its names only."""
    servers = dns_look.Servers(bytes(5) + b"\xc7\x4f" * 12)

    dns_look.looked(servers, ())

    assert MOST_NAMES < servers.questions < 500


def test_unknown_hash_of_nsec3_is_ignored() -> None:
    """A validly signed NSEC3 with a hash that nobody knows proves nothing (RFC 5155 §8.1)."""
    nsec3 = dns.rrset.from_text(
        "0123456789abcdefghijklmnopqrstuv.example.org.", 60, "IN", "NSEC3", "2 0 0 - 0123456789abcdefghijklmnopqrstuv A"
    )

    verdict = verify_denial([nsec3, zone.signed(nsec3)], zone.OWNER, zone.ZONE, zone.KEYS, NOW)

    assert verdict.signature is Signature.BOGUS


def test_no_answer_chooses_how_many_signatures_are_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a thousand signatures over one RRset some are tried, as resolvers do."""
    rrset = dns.rrset.from_text(zone.OWNER, 60, "IN", "TLSA", dns_look.TLSA)
    (sound,) = zone.signed(rrset)
    bad = [replace_signature(sound, number.to_bytes(64, "big")) for number in range(1000)]
    tried = []
    monkeypatch.setattr("dns.dnssec.validate_rrsig", lambda *_, **__: tried.append(1))

    verify(rrset, bad, zone.ZONE, ZoneKeys(zone.KEYS.rrset), NOW)

    assert len(tried) == MAX_TRIED


def replace_signature(rrsig, signature: bytes):
    """Return *rrsig* with another signature."""
    return rrsig.replace(signature=signature)


# --- the terminal, and the mail server


def test_locale_without_an_ellipsis_ends_no_command(tmp_path: Path) -> None:
    """What a terminal or a cron job cannot show is written in ASCII; the command does what it was called for."""
    program = (
        "import sys; from rollover.cli.app import main; sys.exit(main(['hook', 'install', 'acme.sh', '--dry-run']))"
    )
    (tmp_path / "deploy").mkdir()
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "LE_WORKING_DIR": str(tmp_path)}

    done = subprocess.run([sys.executable, "-c", program], check=False, env=environment, capture_output=True, text=True)

    assert (done.returncode, done.stderr) == (0, "")
    assert "deploy \\u2026" in done.stdout


def test_odd_path_of_postfix_is_told() -> None:
    """No file can have a NUL in its name, whatever postconf prints."""
    with pytest.raises(MailConfigError) as told:
        _read("/etc/ssl/a\0.pem")

    assert told.value.message.isprintable()
    assert told.value.hint


@pytest.mark.parametrize("name", ["9" * 5000, "a\0b", "127.0.0.1:" + "9" * 5000])
def test_odd_service_of_master_cf_has_no_port(name: str) -> None:
    """What is neither a number that Python reads nor a name that the system takes is unknown."""
    assert Service(name, "inet", "smtpd").port is None
