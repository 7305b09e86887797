"""BIND 9 as the lab runs it: one process a server, its configuration written from a few facts."""

from __future__ import annotations

import secrets
from base64 import b64encode
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from . import addresses as at
from . import query
from .process import Server, run


@dataclass(frozen=True)
class Zone:
    """One `zone` statement."""

    name: str
    statement: str

    def text(self) -> str:
        return f'zone "{self.name}" {{\n{self.statement}\n}};\n'


class Bind(Server):
    """A named(8), with rndc at hand."""

    def __init__(self, name: str, directory: Path, address: str) -> None:
        super().__init__(name, directory)
        self.address = address
        self.zones: dict[str, Zone] = {}
        self.keys: list[Path] = []
        self.options = ""
        self._rndc_key = b64encode(secrets.token_bytes(32)).decode()

    def command(self) -> list[str]:
        # One worker thread: several of these share two cores with Postfix.
        return [str(at.ROOT / "bin/named"), "-f", "-n", "1", "-c", str(self._configuration)]

    @property
    def _configuration(self) -> Path:
        return self.directory / "named.conf"

    def write_configuration(self) -> None:
        """Write named.conf and rndc's key from what is known now."""
        key = f'key "rndc-key" {{ algorithm hmac-sha256; secret "{self._rndc_key}"; }};\n'
        (self.directory / "rndc.key").write_text(key)
        include = "".join(f'include "{path}";\n' for path in self.keys)
        self._configuration.write_text(f"""\
options {{
    directory "{self.directory}";
    listen-on {{ {self.address}; }};
    listen-on-v6 {{ none; }};
    query-source address {self.address};
    notify-source {self.address};
    transfer-source {self.address};
    pid-file "named.pid";
    lock-file none;
    session-keyfile "session.key";
    managed-keys-directory "{self.directory}";
    recursion no;
    dnssec-validation no;
    allow-transfer {{ any; }};
    notify-delay 0;
    notify-rate 1000;
    startup-notify-rate 1000;
    serial-query-rate 1000;
    {self.options}
}};
logging {{
    channel lab {{ file "{self.log}"; severity info; print-time yes; print-category yes; }};
    category default {{ lab; }};
    category update-security {{ lab; }};
}};
{include}{key}
controls {{ inet {self.address} port 953 allow {{ any; }} keys {{ "rndc-key"; }}; }};
{"".join(zone.text() for zone in self.zones.values())}
""")

    def spawn(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        self.write_configuration()
        super().spawn()

    def wait_ready(self) -> None:
        """Wait until each zone answers with signatures."""
        for zone in self.zones:
            self.wait_until(partial(query.is_signed, self.address, zone), f"{zone} signed")

    def start(self) -> None:
        """Start, and wait until each zone is served signed."""
        self.spawn()
        self.wait_ready()

    def rndc(self, *arguments: str) -> str:
        """Let rndc control this server; return its output. Raises LabError if it fails."""
        key = self.directory / "rndc.key"
        return run(["rndc", "-s", self.address, "-p", "953", "-k", key, *arguments])

    def apply(self) -> None:
        """Write the configuration anew and have the running server read it."""
        self.write_configuration()
        self.rndc("reconfig")

    def tlsa(self, owner: str = at.OWNER) -> query.RRset:
        """Return the TLSA RRset that this server serves now; empty if it serves none."""
        return query.ask(self.address, owner, "TLSA").rrset

    def serial(self, zone: str = at.DOMAIN) -> int:
        """Return the zone's SOA serial on this server."""
        return query.serial(self.address, zone)
