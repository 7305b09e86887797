"""The three name servers of the lab, and the ways in which a test can hurt them."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from pathlib import Path

import dns.name
import dns.query
import dns.rdatatype
import dns.zone

from . import addresses as at
from . import zones
from .bind import Bind, Zone
from .keys import TsigKey
from .process import run, wait_for
from .query import ask
from .zones import ZoneOptions

_MADE_BY_SIGNER = {
    dns.rdatatype.from_text(kind)
    for kind in ("RRSIG", "NSEC", "NSEC3", "NSEC3PARAM", "DNSKEY", "CDS", "CDNSKEY", "TYPE65534")
}


class SigningServer(Bind):
    """A primary that signs its zones itself (`dnssec-policy default; inline-signing yes;`)."""

    def __init__(self, name: str, directory: Path, address: str, key_directory: Path) -> None:
        super().__init__(name, directory, address)
        self.key_directory = key_directory

    def add_zone(self, name: str, text: str, policy: str = "") -> None:
        """Serve *text* as zone *name*; with *policy*, the rules of update-policy, updatable."""
        self.directory.mkdir(parents=True, exist_ok=True)
        (self.directory / _file(name)).write_text(text)
        self._declare(name, policy)

    def _declare(self, name: str, policy: str) -> None:
        rules = f"update-policy {{\n{policy}\n}};" if policy else ""
        self.zones[name] = Zone(
            name,
            f'type primary; file "{_file(name)}"; key-directory "{self.key_directory}";\n'
            f"dnssec-policy default; inline-signing yes;\n{rules}",
        )


class Primary(SigningServer):
    """The primary of example.test. and dane.test., which takes the updates."""

    def __init__(
        self,
        directory: Path,
        key_directory: Path,
        options: ZoneOptions,
        keys: Mapping[str, TsigKey],
        record: str,
    ) -> None:
        super().__init__("primary", directory, at.PRIMARY, key_directory)
        self.keys = [key.path for key in keys.values()]
        self.options = f"notify explicit; also-notify {{ {at.SECONDARY}; }};"
        self._admin = keys["admin"]
        self._zone_options = options
        self.add_zone(at.DOMAIN, zones.example(options, record), self._policy(None))
        self.add_zone(at.DANE_DOMAIN, zones.dane(options, record), self._dane_policy(None))

    def freeze(self, zone: str = at.DOMAIN) -> None:
        """Refuse every update to *zone* (`rndc freeze`) until `thaw`."""
        self.rndc("freeze", zone.rstrip("."))

    def thaw(self, zone: str = at.DOMAIN) -> None:
        """Take updates again."""
        self.rndc("thaw", zone.rstrip("."))

    def reconfigure(self, *, update_policy: str | None = None, dane_update_policy: str | None = None) -> None:
        """Replace the grants of the tool's keys by other rules; None restores them.

        The rules of the administrator's and the ACME client's keys stay. An empty string grants
        nothing; `grant rollover-key name _25._tcp.mail.example.test. TLSA(1);` limits the RRset.
        """
        self._declare(at.DOMAIN, self._policy(update_policy))
        self._declare(at.DANE_DOMAIN, self._dane_policy(dane_update_policy))
        self.apply()

    def update(self, text: str, zone: str = at.DOMAIN) -> None:
        """Let nsupdate(1) do *text* as the administrator, whose key may write anything.

        Names must be absolute. Returns when the primary serves the change: what it answers comes of
        the signed zone, which follows an update by a moment, so a record of the same update is waited
        for. Raises LabError with nsupdate's words when the server refuses.
        """
        name, done = f"latest-edit.{zone}", secrets.token_hex(8)
        mark = f'update delete {name} TXT\nupdate add {name} 1 TXT "{done}"'
        script = f"server {self.address}\nzone {zone}\n{text}\n{mark}\nsend\n"
        run(["nsupdate", "-v", "-k", self._admin.path], stdin=script)
        wait_for(
            lambda: ask(self.address, name, "TXT").rrset.records == (f'"{done}"',),
            f"the primary serves the edit of {zone}",
        )

    def _policy(self, tool: str | None) -> str:
        rules = zones.tool_grants(self._zone_options) if tool is None else tool
        return f"{rules}\n{zones.acme_grants()}\ngrant admin-key zonesub ANY;"

    def _dane_policy(self, tool: str | None) -> str:
        rules = zones.dane_grants() if tool is None else tool
        return f"{rules}\ngrant admin-key zonesub ANY;"


class Secondary(Bind):
    """The secondary of both zones. It can be cut off from the primary, or serve stale signatures."""

    def __init__(self, directory: Path, key_directory: Path) -> None:
        super().__init__("secondary", directory, at.SECONDARY)
        self.options = "min-refresh-time 1; min-retry-time 1; max-retry-time 5; notify no;"
        self._key_directory = key_directory
        for name in (at.DOMAIN, at.DANE_DOMAIN):
            self._declare(name, at.PRIMARY)

    def stop_transfers(self, *zones: str) -> None:
        """Hear no NOTIFY and reach no primary, of *zones* or of all; go on answering with the zones as they are."""
        for name in zones or (at.DOMAIN, at.DANE_DOMAIN):
            # Nothing listens at this address.
            self._declare(name, "127.0.0.99", "allow-notify { none; };")
        self.apply()

    def resume_transfers(self) -> None:
        """Follow the primary again, at once."""
        for name in (at.DOMAIN, at.DANE_DOMAIN):
            self._declare(name, at.PRIMARY)
        self.apply()
        for name in (at.DOMAIN, at.DANE_DOMAIN):
            self.rndc("refresh", name.rstrip("."))

    def expire_signatures(self, zone: str = at.DOMAIN, *, until: str = "20260102000000") -> None:
        """Serve the records of *zone* as they are now, under signatures that run out at *until* (UTC; long ago).

        The zone is static meanwhile: it does not follow the primary.
        """
        origin = dns.name.from_text(zone)
        content = dns.zone.Zone(origin)
        dns.query.inbound_xfr(self.address, content)
        lines = [
            f"{name.derelativize(origin)} {rdataset.ttl} IN "
            f"{dns.rdatatype.to_text(rdataset.rdtype)} {rdata.to_text(origin, relativize=False)}"
            for name, rdataset in content.iterate_rdatasets()
            if rdataset.rdtype not in _MADE_BY_SIGNER
            for rdata in rdataset
        ]
        unsigned, signed = (self.directory / f"{zone}expired{part}" for part in ("", ".signed"))
        unsigned.write_text("\n".join(lines) + "\n")
        command = ["dnssec-signzone", "-S", "-z", "-P", "-q", "-K", str(self._key_directory)]
        times = ["-s", "20260101000000", "-e", until]
        run([*command, *times, "-d", self.directory, "-o", zone, "-f", signed, unsigned])
        self.zones[zone] = Zone(zone, f'type primary; file "{signed}";')
        self.apply()

    def restore_signatures(self, zone: str = at.DOMAIN) -> None:
        """Follow the primary again, with its signatures; return when they are served."""
        self._declare(zone, at.PRIMARY)
        # The copy on disk may be older than the static zone was: transfer it all.
        (self.directory / f"secondary.{_file(zone)}").unlink(missing_ok=True)
        self.apply()
        wait_for(lambda: self.serial(zone) > 0, f"secondary transfers {zone}")

    def _declare(self, name: str, primary: str, more: str = "") -> None:
        self.zones[name] = Zone(
            name,
            f'type secondary; primaries {{ {primary}; }}; file "secondary.{_file(name)}"; {more}',
        )


def _file(zone: str) -> str:
    return f"{zone}db"
