"""Finds a private key in any form: in files, databases, logs, memory, and in what a traced run gave away.

    search = Search(new=pem_of_the_new_key)
    search.tree("/var/lib/rollover")              # every file, its name, its rows if it is SQLite's
    search.octets(stderr, "stderr")
    run = traced([...], log); search.run(run)     # arguments, environments, all that was written, and where

Not the file format is looked for but the secret numbers themselves, in windows of twelve octets: so the
same few needles find PKCS#8, SEC 1 or a JWK, PEM of any width, a dump of memory, and the half of a key. In
base64 a window has three forms, by where it begins. What is encrypted or compressed is not found.
"""

from __future__ import annotations

import base64
import os
import re
import sqlite3
import stat
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key

WINDOW = 12  # octets: 2^-96 for an accident
BATCH = 1 << 20  # octets
SQLITE = b"SQLite format 3\0"
BINARY, REVERSED, ESCAPED, HEXADECIMAL, BASE64, DECIMAL = (
    "binary",
    "binary, least octet first",  # as a bignum lies in memory
    "binary, escaped",
    "hexadecimal",
    "base64",
    "decimal",
)
# Line ends as they are written into logs, JSON and quoted strings; then whatever may stand between digits.
_ENDS = re.compile(rb"\\[nrt]|\\u000[ad]|#01[25]|\\01[25]")
_BETWEEN = b" \t\r\n\"':,;\\"
_ESCAPE = re.compile(rb"\\(?:x|u00)([0-9a-fA-F]{2})|\\([0-3][0-7]{2})|\\(.)", re.DOTALL)
_PLAIN = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"0": b"\0"}


@dataclass(frozen=True, order=True)
class Finding:
    """A copy of the key *key*: in what *form*, and where."""

    place: str
    key: str
    form: str


@dataclass(frozen=True)
class Given:
    """Something that left a traced process: *what* is "argument", "environment", or "written to" a path or socket."""

    program: str
    what: str
    content: bytes

    @property
    def place(self) -> str:
        """Where a copy in it is said to be: the path itself for a file that was written."""
        return self.what.removeprefix("written to ") if self.what.startswith("written to /") else str(self)

    def __str__(self) -> str:
        return f"{self.program}: {self.what}"


class Search:
    """For the private keys that are given by name, as PEM without a passphrase."""

    def __init__(self, **keys: bytes) -> None:
        self._needles = [
            (name, form, needle) for name, pem in keys.items() for form, needle in dict.fromkeys(_needles(pem))
        ]

    def octets(self, content: bytes, place: str) -> list[Finding]:
        """Return what is found in *content*, each key and form once."""
        if not content:
            return []
        plain = _ENDS.sub(b"", content).translate(None, _BETWEEN)
        views = {
            BINARY: content,
            REVERSED: content,
            ESCAPED: _ESCAPE.sub(_unescaped, content) if b"\\" in content else b"",
            HEXADECIMAL: plain.lower(),
            BASE64: plain.replace(b"-", b"+").replace(b"_", b"/"),
            DECIMAL: plain,
        }
        return sorted({Finding(place, name, form) for name, form, needle in self._needles if needle in views[form]})

    def tree(self, *directories: str | Path) -> list[Finding]:
        """Search every file below *directories*, its path, where it leads if it is a link, and rows of databases."""
        return self._each(x for directory in directories for path in _walk(Path(directory)) for x in _contents(path))

    def given(self, things: Sequence[Given]) -> list[Finding]:
        """Search what a traced run gave away; what was written to one place is one text, in the order of the calls."""
        together: dict[str, list[bytes]] = {}
        for thing in things:
            together.setdefault(thing.place, []).append(thing.content)
        environments = [place for place in together if place.endswith(": environment")]
        for place in environments:  # a program that was started twice, in the same one
            together[place] = list(dict.fromkeys(together[place]))
        return self._each((b"".join(pieces), place) for place, pieces in together.items())

    def _each(self, contents: Iterable[tuple[bytes, str]]) -> list[Finding]:
        """Search many, small ones together: only where something is in a batch is it asked for in which."""
        found: set[Finding] = set()
        batch: list[tuple[bytes, str]] = []
        size = 0
        for content, place in contents:
            batch.append((content, place))
            size += len(content)
            if size > BATCH:
                found |= self._in_batch(batch)
                batch, size = [], 0
        return sorted(found | self._in_batch(batch))

    def _in_batch(self, batch: Sequence[tuple[bytes, str]]) -> set[Finding]:
        if not self.octets(b"\n\0\n".join(content for content, _ in batch), ""):
            return set()
        return {x for content, place in batch for x in self.octets(content, place)}


def _contents(path: Path) -> Iterator[tuple[bytes, str]]:
    """Yield what can be searched of one path, and what that is called."""
    yield os.fsencode(path), f"{path} (its name)"
    kind = path.lstat().st_mode
    if stat.S_ISLNK(kind):
        yield os.fsencode(path.readlink()), str(path)
    elif stat.S_ISREG(kind):
        content = path.read_bytes()
        yield content, str(path)
        if content.startswith(SQLITE):
            yield _rows(path), str(path)


def _needles(pem: bytes) -> Iterator[tuple[str, bytes]]:
    for number in _numbers(pem):
        size = len(number)
        for start in sorted({*range(0, size - WINDOW, max(8, size // 4)), size - WINDOW}):
            window = number[start : start + WINDOW]
            yield BINARY, window
            yield ESCAPED, window
            yield REVERSED, window[::-1]
            yield HEXADECIMAL, window.hex().encode()
            for before in range(3):
                encoded = base64.b64encode(bytes(before) + window)
                yield BASE64, encoded[-(-before * 8 // 6) : (before + WINDOW) * 8 // 6]
        yield DECIMAL, str(int.from_bytes(number)).encode()


def _numbers(pem: bytes) -> list[bytes]:
    """Return the secret numbers of a key, most significant octet first."""
    key = load_pem_private_key(pem, None)
    if isinstance(key, ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey):
        return [key.private_bytes_raw()]
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return [key.private_numbers().private_value.to_bytes((key.key_size + 7) // 8)]
    assert isinstance(key, rsa.RSAPrivateKey)
    secret = key.private_numbers()
    return [n.to_bytes((n.bit_length() + 7) // 8) for n in (secret.d, secret.p, secret.q, secret.dmp1, secret.dmq1)]


def _unescaped(found: re.Match[bytes]) -> bytes:
    if found[1]:
        return bytes.fromhex(found[1].decode())
    return bytes([int(found[2], 8)]) if found[2] else _PLAIN.get(found[3], found[3])


def _walk(place: Path) -> Iterator[Path]:
    if place.is_symlink() or not place.is_dir():
        yield place
        return
    for directory, directories, files in os.walk(place):
        yield from (Path(directory) / name for name in (*directories, *files))


def _rows(path: Path) -> bytes:
    """Return every value of a database, whole: one that is longer than a page lies in pieces in the file."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro&immutable=1", uri=True)) as database:
        database.text_factory = bytes
        tables = [bytes(name) for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        rows = (row for table in tables for row in database.execute(f'SELECT * FROM "{table.decode()}"'))
        return b"\n".join(v if isinstance(v, bytes) else str(v).encode() for row in rows for v in row)


# ------------------------------------------------------------------------------------- a traced run

#: Whatever takes octets out of a process, and what starts one; the rest is looked at for other reasons.
WRITES = ("write", "pwrite64", "writev", "pwritev", "pwritev2", "sendto", "sendmsg", "sendmmsg", "process_vm_writev")
STARTS = ("execve", "execveat")
_STRING = re.compile(r'"((?:\\x[0-9a-f]{2})*)"(\.\.\.)?')
_CALL = re.compile(r"^\d+ +(\w+)\((.*)$")
_DESCRIPTOR = re.compile(r"^\d+<((?:\\x[0-9a-f]{2}|[^>\\])*)>")


@dataclass
class Run:
    """A run under strace -f: its end, and all that it and what it started gave away.

    *ends*: how each process ended, in strace's words; *calls*: the lines of the further calls that were asked for.
    """

    done: subprocess.CompletedProcess[bytes]
    given: list[Given]
    ends: list[str] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)


def traced(
    command: Sequence[str | Path],
    log: Path,
    *,
    env: Mapping[str, str],
    cwd: Path,
    also: Sequence[str] = (),
    inject: str = "",
) -> Run:
    """Run *command* to its end under strace; *also*: further calls to note; *inject*: a fault, as strace(1) writes it."""
    # --seccomp-bpf stops at these calls only, which is five times as quick; no signal is injected with it.
    faults = ["-e", f"inject={inject}"] if inject else ["--seccomp-bpf"]
    watched = ",".join(dict.fromkeys((*WRITES, *STARTS, *also)))
    # -v: environments in full. -s: nothing that is written here is longer.
    strace = ["strace", "-f", "-q", "-v", "-yy", "-xx", "-s", "2000000", "-e", f"trace={watched}"]
    done = subprocess.run(
        [*strace, *faults, "-o", log, *command],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        env=env,
        cwd=cwd,
        timeout=180,
        check=False,
    )
    return read_trace(log.read_text().splitlines(), done)


def read_trace(lines: Sequence[str], done: subprocess.CompletedProcess[bytes]) -> Run:
    """Return what the lines of `strace -f -v -yy -xx` tell; one that was cut short is an error."""
    run = Run(done, [])
    names: dict[str, str] = {}
    for line in lines:
        pid = line.partition(" ")[0]
        if " +++ " in line:
            run.ends.append(line.partition("+++ ")[2].removesuffix(" +++"))
        if (call := _CALL.match(line)) is None:
            continue
        name, arguments = call.groups()
        strings = [(bytes.fromhex(s.replace(r"\x", "")), cut) for s, cut in _STRING.findall(arguments)]
        if name not in {*WRITES, *STARTS}:
            run.calls.append(line)
            continue
        assert not any(cut for _, cut in strings), f"strace cut it short: {line[:200]}"
        if name in STARTS:
            names[pid] = Path(os.fsdecode(strings[0][0])).name
            words = arguments.split("], [", 1)
            count = len(_STRING.findall(words[0]))
            run.given.append(Given(names[pid], "argument", b"\n".join(s for s, _ in strings[:count])))
            run.given.append(Given(names[pid], "environment", b"\n".join(s for s, _ in strings[count:])))
        else:
            found = _DESCRIPTOR.match(arguments)
            where = re.sub(r"\\x([0-9a-f]{2})", lambda x: chr(int(x[1], 16)), found[1]) if found else "?"
            # Octets that were written in pieces, or as several of one call, are one after the other.
            content = b"".join(s for s, _ in strings)
            run.given.append(Given(names.get(pid, "?"), f"written to {where}", content))
    return run
