"""Keys of the lab: TSIG key files as tsig-keygen(8) writes them, DNSSEC keys, rndc's key."""

from __future__ import annotations

import base64
import os
import re
import secrets
from dataclasses import dataclass
from pathlib import Path

import dns.name
import dns.tsig
import dns.tsigkeyring

from .process import LabError, run

_STATEMENT = re.compile(r'key "(?P<name>[^"]+)" \{\s*algorithm (?P<algorithm>[\w-]+);\s*secret "(?P<secret>[^"]+)";')


@dataclass(frozen=True)
class TsigKey:
    """A TSIG key and its file, which named.conf includes and nsupdate -k reads."""

    name: str
    algorithm: str
    secret: str
    path: Path

    @property
    def keyring(self) -> dict[dns.name.Name, dns.tsig.Key]:
        """The key as dnspython wants it."""
        name = dns.name.from_text(self.name)
        return {name: dns.tsig.Key(name, self.secret, self.algorithm + ".")}

    def with_wrong_secret(self) -> TsigKey:
        """Return the same name and algorithm with another secret (BADSIG), as a file beside it."""
        secret = base64.b64encode(secrets.token_bytes(32)).decode()
        return self._variant("wrong-secret", secret=secret)

    def with_wrong_algorithm(self, algorithm: str = "hmac-sha512") -> TsigKey:
        """Return the same name and secret under another algorithm (BADKEY)."""
        return self._variant("wrong-algorithm", algorithm=algorithm)

    def with_unknown_name(self, name: str = "nobody-key") -> TsigKey:
        """Return a key that the server has never heard of (BADKEY)."""
        return self._variant("unknown-name", name=name)

    def _variant(
        self,
        suffix: str,
        *,
        name: str | None = None,
        algorithm: str | None = None,
        secret: str | None = None,
    ) -> TsigKey:
        text = self.path.read_text()
        text = text.replace(f'"{self.name}"', f'"{name or self.name}"')
        text = text.replace(f"algorithm {self.algorithm}", f"algorithm {algorithm or self.algorithm}")
        text = text.replace(self.secret, secret or self.secret)
        return _write(self.path.with_suffix(f".{suffix}.key"), text)


def new_tsig_key(name: str, path: Path, algorithm: str = "hmac-sha256") -> TsigKey:
    """Let tsig-keygen(8) make a key, and keep its output as it is in *path*, mode 0600."""
    return _write(path, run(["tsig-keygen", "-a", algorithm, name]))


def _write(path: Path, text: str) -> TsigKey:
    match = _STATEMENT.search(text)
    if match is None:
        raise LabError(f"not a key statement: {path}")
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    return TsigKey(match["name"], match["algorithm"], match["secret"], path)


def new_zone_key(zone: str, directory: Path) -> str:
    """Make the one key of a signed zone where named will find it; return its DS rdata.

    It is made before named starts, so that the parent's DS and the resolvers' trust anchor are
    known beforehand and all servers can start at once.
    """
    directory.mkdir(parents=True, exist_ok=True)
    key = run(["dnssec-keygen", "-q", "-k", "default", "-K", directory, zone]).strip()
    ds = run(["dnssec-dsfromkey", "-2", directory / key])
    return ds.strip().split(" DS ", 1)[1]
