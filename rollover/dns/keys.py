"""TSIG keys: the file as tsig-keygen(8) writes it, read only if nobody else can read it."""

from __future__ import annotations

import base64
import binascii
import os
import re
import stat
from dataclasses import dataclass, field
from pathlib import Path

import dns.exception
import dns.name
import dns.tsig

from rollover.core.errors import PermissionsError
from rollover.dns.errors import TsigKeyError

# RFC 8945 §6, Table 3; hmac-md5 must not be used. BIND's truncated forms (hmac-sha256-128) are
# written by no tool of its own and travel under another name than dnspython gives them.
ALGORITHMS = ("hmac-sha1", "hmac-sha224", "hmac-sha256", "hmac-sha384", "hmac-sha512")
MAX_FILE_SIZE = 65536

_TOKEN = re.compile(
    r"""\s+ | //[^\n]* | \#[^\n]* | /\*.*?\*/      # white space and the three kinds of comment
    | (?P<mark>[{};]) | "(?P<quoted>[^"\n]*)" | (?P<bare>[^\s"{};/\#][^\s"{};]*)""",
    re.VERBOSE | re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class TsigKey:
    """A TSIG key (RFC 8945): *name* and *algorithm* as BIND writes them, *secret* as octets."""

    name: str
    algorithm: str
    secret: bytes = field(repr=False)

    @property
    def dnspython(self) -> dns.tsig.Key:
        """The key as dnspython wants it. Its repr shows the secret: never print it."""
        return dns.tsig.Key(dns.name.from_text(self.name), self.secret, dns.name.from_text(self.algorithm))


def load_tsig_key(path: str | os.PathLike[str]) -> TsigKey:
    """Return the one key of the file *path*, a BIND ``key`` statement; comments are allowed.

    Raises PermissionsError for a file that others can read or write, that belongs to neither root
    nor us, or that we cannot read; TsigKeyError (a ConfigError) for anything else wrong with it.
    """
    try:
        # O_NONBLOCK: a FIFO put there must not hold us up.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    except PermissionError:
        raise PermissionsError(
            f"TSIG key file {path} cannot be read by this user",
            hint=f"run as root, or as the owner of {path}",
        ) from None
    except OSError as error:
        raise TsigKeyError(
            f"TSIG key file {path}: {error.strerror}",
            hint=f"make it: `umask 077; tsig-keygen NAME > {path}`, and give named the same statement",
        ) from None
    try:
        _check_owner_and_mode(path, os.fstat(descriptor))
        content = os.read(descriptor, MAX_FILE_SIZE + 1)
    except OSError as error:
        raise _unusable(path, error.strerror or "cannot be read") from None
    finally:
        os.close(descriptor)
    if len(content) > MAX_FILE_SIZE:
        raise _unusable(path, "too long")
    try:
        text = content.decode("ascii")
    except UnicodeDecodeError:
        raise _unusable(path, "not text") from None
    return _parse(path, text)


def _check_owner_and_mode(path: str | os.PathLike[str], status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise _unusable(path, "not a regular file")
    mode = stat.S_IMODE(status.st_mode)
    if mode & 0o066:
        raise PermissionsError(
            f"TSIG key file {path} has mode {mode:04o}: group or others can read or write it",
            hint=f"`chmod 600 {Path(path)}`, and change the key if others may have read it",
        )
    if status.st_uid not in {0, os.geteuid()}:
        raise PermissionsError(
            f"TSIG key file {path} belongs to user id {status.st_uid}, neither root nor us",
            hint=f"`chown root {Path(path)}` and `chmod 600 {Path(path)}`",
        )


def _unusable(path: str | os.PathLike[str], problem: str) -> TsigKeyError:
    return TsigKeyError(
        f"TSIG key file {path}: {problem}",
        hint='it must hold one statement as tsig-keygen(8) prints it: key "NAME" { algorithm …; secret "…"; };',
    )


def _parse(path: str | os.PathLike[str], text: str) -> TsigKey:
    """Read ``key NAME { algorithm A; secret "S"; };``, quotes optional, either order."""
    match _tokens(path, text):
        case ["key", str(name), "{", str(one), str(first), ";", str(two), str(second), ";", "}", ";"]:
            fields = {one: first, two: second}
        case _:
            raise _unusable(path, "not one key statement")
    if fields.keys() != {"algorithm", "secret"}:
        raise _unusable(path, "a key statement has one algorithm and one secret")
    algorithm = fields["algorithm"].lower().rstrip(".")
    if algorithm.startswith("hmac-md5"):
        raise _unusable(path, "hmac-md5 must not be used (RFC 8945 §6); make a new key with hmac-sha256")
    if algorithm not in ALGORITHMS:
        raise _unusable(path, f"algorithm {algorithm!r} is none of {', '.join(ALGORITHMS)}")
    try:
        key_name = dns.name.from_text(name).canonicalize().to_text(omit_final_dot=True)
        usable = key_name.strip(".@") != ""
    except (dns.exception.DNSException, ValueError):
        usable = False
    if not usable:
        raise _unusable(path, f"key name {name!r} is not a domain name")
    try:
        secret = base64.b64decode(fields["secret"], validate=True)
    except (binascii.Error, ValueError):
        raise _unusable(path, "the secret is not base64") from None
    if not secret:
        raise _unusable(path, "the secret is empty")
    return TsigKey(key_name, algorithm, secret)


def _tokens(path: str | os.PathLike[str], text: str) -> list[str]:
    tokens = []
    position = 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise _unusable(path, "not a BIND key statement")
        position = match.end()
        token = match["mark"] or match["bare"] or match["quoted"]
        if token is not None:
            tokens.append(token)
    return tokens
