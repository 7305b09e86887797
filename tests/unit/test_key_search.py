"""The search for copies of private keys finds a planted leak of each form in each place."""

from __future__ import annotations

import base64
import json
import random
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from tests.servers import key_search
from tests.servers.key_search import Finding, Search, read_trace

KINDS: dict[str, Callable[[], Any]] = {
    "p256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "p384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "rsa": lambda: rsa.generate_private_key(65537, 2048),
    "ed25519": ed25519.Ed25519PrivateKey.generate,
}


@cache
def key(kind: str) -> Any:
    return KINDS[kind]()


def encoded(it: Any, encoding: Encoding = Encoding.PEM, form: PrivateFormat = PrivateFormat.PKCS8) -> bytes:
    return bytes(it.private_bytes(encoding, form, NoEncryption()))


def der(it: Any) -> bytes:
    return encoded(it, Encoding.DER)


def number(it: Any) -> bytes:
    """Return the private number alone: d of an EC or RSA key."""
    if isinstance(it, ed25519.Ed25519PrivateKey):
        return it.private_bytes_raw()
    secret = it.private_numbers()
    value = secret.private_value if isinstance(it, ec.EllipticCurvePrivateKey) else secret.d
    return int(value).to_bytes((it.key_size + 7) // 8)


def prime(it: Any) -> bytes:
    """Return p of an RSA key, which is as good as the whole; of others the number."""
    if not isinstance(it, rsa.RSAPrivateKey):
        return number(it)
    p = it.private_numbers().p
    return p.to_bytes((p.bit_length() + 7) // 8)


def traditional(it: Any) -> PrivateFormat:
    return PrivateFormat.PKCS8 if isinstance(it, ed25519.Ed25519PrivateKey) else PrivateFormat.TraditionalOpenSSL


def with_colons(octets: bytes) -> bytes:
    """Return *octets* as `openssl pkey -text` prints them."""
    pairs = [f"{octet:02x}" for octet in octets]
    lines = [":".join(pairs[i : i + 15]) for i in range(0, len(pairs), 15)]
    return b"priv:\n    " + ":\n    ".join(lines).encode()


LEAKS: dict[str, Callable[[Any], bytes]] = {
    "PEM": encoded,
    "PEM, SEC 1 or PKCS#1": lambda it: encoded(it, form=traditional(it)),
    "DER": der,
    "DER, SEC 1 or PKCS#1": lambda it: encoded(it, Encoding.DER, traditional(it)),
    "base64 of the DER without line breaks": lambda it: base64.b64encode(der(it)),
    "base64, URL alphabet, as in a JWK": lambda it: base64.urlsafe_b64encode(number(it)).rstrip(b"="),
    "base64, wrapped at 76": lambda it: base64.encodebytes(der(it)),
    "base64 of a whole file, behind something else": lambda it: base64.b64encode(b"x" * 10 + der(it)),
    "the raw number": number,
    "the raw prime": prime,
    "the raw number, least octet first": lambda it: number(it)[::-1],
    "hexadecimal": lambda it: number(it).hex().encode(),
    "hexadecimal, capitals": lambda it: der(it).hex().upper().encode(),
    "hexadecimal, colons and lines": lambda it: with_colons(number(it)),
    "the prime in hexadecimal": lambda it: prime(it).hex().encode(),
    "base64 of the prime": lambda it: base64.b64encode(prime(it)),
    "decimal": lambda it: str(int.from_bytes(number(it))).encode(),
    "JSON of the PEM": lambda it: json.dumps({"key": encoded(it).decode()}).encode(),
    "JSON of the octets": lambda it: json.dumps(number(it).decode("latin-1")).encode(),
    "repr of the PEM": lambda it: repr(encoded(it)).encode(),
    "repr of the DER": lambda it: repr(der(it)).encode(),
    "the first half of the number": lambda it: number(it)[: len(number(it)) // 2],
    "the second half of the number": lambda it: number(it)[len(number(it)) // 2 :],
    "a PEM cut in the middle of its number": lambda it: encoded(it)[:130] if len(der(it)) < 200 else encoded(it)[:1200],
    "log lines with a head each": lambda it: b"\n".join(b"Nov 23 04:00 mail x[7]: " + x for x in encoded(it).split()),
}


@cache
def search(*kinds: str) -> Search:
    return Search(**{kind: encoded(key(kind)) for kind in kinds})


@pytest.mark.parametrize("leak", LEAKS)
@pytest.mark.parametrize("kind", KINDS)
def test_each_form_of_each_key_is_found(kind: str, leak: str) -> None:
    """Whatever form a copy has, and whatever stands around it, it is found, and no other key is."""
    others = [x for x in KINDS if x != kind]
    content = b"something before\n" + LEAKS[leak](key(kind)) + b"\nand after"

    assert {found.key for found in search(kind).octets(content, "here")} == {kind}
    assert search(*others).octets(content, "here") == []


def test_what_is_public_is_no_finding() -> None:
    """Public keys, and 300 kB of chance, are not taken for a copy."""
    public = [key(kind).public_key() for kind in KINDS]
    content = b"".join(
        it.public_bytes(encoding, PublicFormat.SubjectPublicKeyInfo)
        for it in public
        for encoding in (Encoding.PEM, Encoding.DER)
    )

    assert search(*KINDS).octets(content + random.Random(1).randbytes(300_000), "here") == []


# --- places -------------------------------------------------------------------------------------------


def in_a_file(directory: Path, leak: bytes) -> Path:
    (directory / "a" / ".hidden").mkdir(parents=True)
    path = directory / "a" / ".hidden" / ".file~"
    path.write_bytes(b"\0" * 5000 + leak)
    return path


def in_a_row(directory: Path, leak: bytes) -> Path:
    """Put it in the middle of a value that is longer than a page, so that it lies in the file in pieces."""
    path = directory / "rollover.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("CREATE TABLE event (text)")
        for before in range(4000, 4100, 7):
            database.execute("INSERT INTO event VALUES (?)", (b"x" * before + leak + b"x" * 9000,))
    return path


def in_a_free_page(directory: Path, leak: bytes) -> Path:
    """Put it in a row that is deleted again; the file still has its pages."""
    path = directory / "rollover.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("PRAGMA secure_delete = OFF")
        database.execute("CREATE TABLE event (text)")
        database.execute("INSERT INTO event VALUES (?)", (leak + b"x" * 20_000,))
        database.execute("DELETE FROM event")
        assert database.execute("PRAGMA freelist_count").fetchone()[0] > 0
        assert database.execute("SELECT count(*) FROM event").fetchone()[0] == 0
    return path


def in_a_journal(directory: Path, leak: bytes) -> Path:
    """Let the journal of a transaction that was cut off hold what a page was before."""
    path = directory / "rollover.db"
    database = sqlite3.connect(path, isolation_level=None)
    database.execute("CREATE TABLE event (text)")
    database.execute("INSERT INTO event VALUES (?)", (leak,))
    database.execute("BEGIN IMMEDIATE")
    database.execute("PRAGMA cache_spill = 1")
    database.execute("UPDATE event SET text = ?", (b"",))
    journal = (directory / "rollover.db-journal").read_bytes()
    database.execute("COMMIT")
    database.close()
    path.unlink()
    kept = directory / "rollover.db-journal"
    kept.write_bytes(journal)
    return kept


def as_a_name(directory: Path, leak: bytes) -> Path:
    path = directory / leak.hex()[-200:]
    path.touch()
    return path


def as_a_links_target(directory: Path, leak: bytes) -> Path:
    path = directory / "link"
    path.symlink_to(leak.hex()[-200:])
    return path


PLACES = [in_a_file, in_a_row, in_a_free_page, in_a_journal, as_a_name, as_a_links_target]


@pytest.mark.parametrize("plant", PLACES, ids=lambda plant: plant.__name__)
def test_each_place_on_disk_is_searched(tmp_path: Path, plant: Callable[[Path, bytes], Path]) -> None:
    """A copy is found in hidden files, rows, free pages, journals, names and links, and its path is told."""
    (tmp_path / "harmless").write_text("nothing")
    assert search("p256").tree(tmp_path) == []

    path = plant(tmp_path, number(key("p256")))

    places = {found.place.removesuffix(" (its name)") for found in search("p256").tree(tmp_path)}
    assert places == {str(path)}


HOLDS_A_KEY = """
import re, sys
from cryptography.hazmat.primitives.serialization import load_pem_private_key
key = load_pem_private_key(sys.stdin.buffer.read(), None)
with open(sys.argv[1], "wb") as image, open("/proc/self/mem", "rb", 0) as memory:
    for line in open("/proc/self/maps").read().splitlines():
        first, last = (int(x, 16) for x in line.split()[0].split("-"))
        if " rw" in line and "[v" not in line:
            memory.seek(first)
            image.write(memory.read(last - first))
"""


@pytest.mark.parametrize("kind", ["p256", "p384"])
def test_a_key_in_the_memory_of_a_process_is_found(tmp_path: Path, kind: str) -> None:
    """What a core dump would hold of a process that has loaded a key is found, as a bignum of OpenSSL too."""
    image = tmp_path / "core"
    subprocess.run([sys.executable, "-c", HOLDS_A_KEY, image], input=encoded(key(kind)), check=True, timeout=60)

    forms = {found.form for found in search(kind).tree(tmp_path)}

    assert key_search.REVERSED in forms, forms


def hexadecimal(text: bytes) -> str:
    return "".join(f"\\x{octet:02x}" for octet in text)


def line(call: str) -> str:
    return f"17 {call} = 0"


TRACES: dict[str, tuple[Callable[[bytes], str], str]] = {
    "an argument": (lambda it: f'execve("{{}}", ["{{}}", "{hexadecimal(it)}"], ["{{}}"])', "tool: argument"),
    "an environment": (lambda it: f'execve("{{}}", ["{{}}"], ["{{}}", "{hexadecimal(it)}"])', "tool: environment"),
    "a file": (lambda it: f'write(3<{hexadecimal(b"/tmp/x")}>, "{hexadecimal(it)}", 9)', "/tmp/x"),
    "a socket": (
        lambda it: f'sendto(5<{hexadecimal(b"UDP:[127.0.0.1:9->127.0.0.53:53]")}>, "{hexadecimal(it)}", 9, 0)',
        "written to UDP:[127.0.0.1:9->127.0.0.53:53]",
    ),
    "two pieces": (
        lambda it: (
            f'writev(2<{hexadecimal(b"pipe:[9]")}>, [{{iov_base="{hexadecimal(it[:9])}"}}, '
            f'{{iov_base="{hexadecimal(it[9:])}"}}], 2 <unfinished ...>'
        ),
        "written to pipe:[9]",
    ),
}


@pytest.mark.parametrize("where", TRACES)
def test_each_way_out_of_a_process_is_searched(where: str) -> None:
    """A copy is found in arguments, environments, and whatever is written to a file, a socket or a pipe."""
    make, told = TRACES[where]
    text = make(number(key("p256"))).replace("{}", hexadecimal(b"/usr/bin/tool"))
    done = subprocess.CompletedProcess[bytes]([], 0, b"", b"")
    run = read_trace(
        [line(f'execve("{hexadecimal(b"/bin/tool")}", [], [])'), line(text), "17 +++ exited with 0 +++"], done
    )

    (found,) = {x.place for x in search("p256").given(run.given)}

    assert found.endswith(told)
    assert run.ends == ["exited with 0"]


def test_a_line_that_was_cut_short_is_no_clean_bill() -> None:
    """Where strace printed only the beginning of what was written, the search fails instead of finding nothing."""
    done = subprocess.CompletedProcess[bytes]([], 0, b"", b"")
    with pytest.raises(AssertionError, match="cut it short"):
        read_trace([line(f'write(1<{hexadecimal(b"/x")}>, "{hexadecimal(b"abc")}"..., 9)')], done)


def test_findings_tell_place_key_and_form() -> None:
    """What is printed of a finding says where, which key, in what form, and not the key."""
    (found,) = search("p256").octets(number(key("p256")).hex().encode(), "stderr")

    assert found == Finding("stderr", "p256", key_search.HEXADECIMAL)
