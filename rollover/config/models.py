"""The models of the configuration: every key of interface.md, nothing else, and nothing changes later.

Spans are seconds (float). Names are lower case without final dot. Paths are absolute.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PlainValidator, model_validator

from rollover.config import network as net
from rollover.config import values as v
from rollover.core.tlsa import Params

DEFAULT_STATE = Path("/var/lib/rollover")


class Table(BaseModel):
    """A table of the file: an unknown key is an error, and nothing can be changed after reading."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class IgnoredServer(Table):
    """A name server that is left out of "everywhere" up to and with a day, UTC; then it counts like any other."""

    server: Annotated[str, PlainValidator(net.server)]
    until: Annotated[date, PlainValidator(v.until)]


class ZoneConfig(Table):
    """A zone with another primary or key than ``[dns]`` names."""

    name: Annotated[str, PlainValidator(net.zone_name)]
    primary: Annotated[net.NameServer | None, PlainValidator(net.name_server(names=True, keys=False))] = None
    tsig_key: Annotated[Path | None, PlainValidator(v.absolute("/etc/rollover/dane.key"))] = None

    @model_validator(mode="after")
    def _says_something(self) -> ZoneConfig:
        if self.primary is None and self.tsig_key is None:
            v.wrong("it has neither primary nor tsig_key", "name one of them; for a zone like any other leave it out")
        return self


@dataclass(frozen=True, slots=True)
class ZoneAccess:
    """Where updates of a zone go (None: SOA MNAME), and the file of the key that signs them."""

    primary: net.NameServer | None
    tsig_key: Path


class DnsConfig(Table):
    """``[dns]``. *primary* None: SOA MNAME. *resolver* None: /etc/resolv.conf."""

    primary: Annotated[net.NameServer | None, PlainValidator(net.name_server(names=True, keys=False))] = None
    tsig_key: Annotated[Path, PlainValidator(v.absolute("/etc/rollover/tsig.key"))]
    resolver: Annotated[net.NameServer | None, PlainValidator(net.name_server(names=False, keys=False))] = None
    also_check: Annotated[
        tuple[Annotated[net.NameServer, PlainValidator(net.name_server(names=False, keys=True))], ...],
        AfterValidator(v.distinct),
    ] = ()
    ignore: tuple[IgnoredServer, ...] = ()
    settle: Annotated[float, PlainValidator(v.duration(0, 7 * v.DAY))] = 0.0
    propagation_warn: Annotated[float, PlainValidator(v.duration(0, 30 * v.DAY))] = v.HOUR
    timeout: Annotated[float, PlainValidator(v.duration(0.1, v.MINUTE))] = 5.0
    zones: tuple[ZoneConfig, ...] = Field(default=(), alias="zone")

    def for_zone(self, zone: str) -> ZoneAccess:
        """Return what holds for *zone*, given with or without final dot."""
        name = zone.rstrip(".").lower()
        for own in self.zones:
            if own.name == name:
                return ZoneAccess(own.primary or self.primary, own.tsig_key or self.tsig_key)
        return ZoneAccess(self.primary, self.tsig_key)


class PostfixInstall(Table):
    """An instance of Postfix that reads *chain_file* (key, then chain: smtpd_tls_chain_files)."""

    kind: Literal["postfix"]
    chain_file: Annotated[Path, PlainValidator(v.absolute("/etc/rollover/live/mail.pem"))]
    config_directory: Annotated[Path, PlainValidator(v.absolute("/etc/postfix"))] = Path("/etc/postfix")

    @property
    def files(self) -> dict[str, Path]:
        """Every file that is written, by key."""
        return {"chain_file": self.chain_file}


class CommandInstall(Table):
    """Any other daemon: files, and a command that makes it read them."""

    kind: Literal["command"]
    cert_file: Annotated[Path | None, PlainValidator(v.absolute("/etc/dovecot/mail.crt"))] = None
    key_file: Annotated[Path | None, PlainValidator(v.absolute("/etc/dovecot/mail.key"))] = None
    chain_file: Annotated[Path | None, PlainValidator(v.absolute("/etc/dovecot/mail.pem"))] = None
    owner: Annotated[str | None, PlainValidator(v.account)] = None
    group: Annotated[str | None, PlainValidator(v.account)] = None
    mode: Annotated[int, PlainValidator(v.mode)] = 0o600
    reload: Annotated[
        tuple[str, ...], PlainValidator(v.program('reload = ["systemctl", "reload", "dovecot"]', may_be_empty=False))
    ]

    @property
    def files(self) -> dict[str, Path]:
        """Every file that is written, by key."""
        named = {"cert_file": self.cert_file, "key_file": self.key_file, "chain_file": self.chain_file}
        return {key: path for key, path in named.items() if path is not None}

    @model_validator(mode="after")
    def _has_key_and_chain(self) -> CommandInstall:
        form = "name chain_file (key and chain in one file), or both cert_file and key_file"
        if not self.files:
            v.wrong("it names no file to write", form)
        if (self.cert_file is None) != (self.key_file is None):
            v.wrong("a new certificate beside an old key serves nothing", form)
        return self


Install = Annotated[PostfixInstall | CommandInstall, Field(discriminator="kind")]


def _whole_number(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        v.wrong("not a whole number", "write ttls_to_wait = 2")
    if not 1 <= value <= 10:
        v.wrong("out of range", "2 is what RFC 7671 §8.1 asks for, 1 the theoretical least, 10 the most")
    return value


class ServiceConfig(Table):
    """One certificate chain on every name and port that serves it. *ttl* None: keep what is there."""

    name: str
    hosts: Annotated[
        tuple[Annotated[str, PlainValidator(net.host_name)], ...],
        AfterValidator(v.filled),
        AfterValidator(v.distinct),
    ]
    ports: Annotated[
        tuple[Annotated[int, PlainValidator(net.port)], ...],
        AfterValidator(v.filled),
        AfterValidator(v.distinct),
    ] = (25,)
    addresses: Annotated[
        tuple[Annotated[str, PlainValidator(net.ip_address)], ...],
        AfterValidator(v.distinct),
    ] = ()
    source: Annotated[tuple[Path, ...], PlainValidator(v.source)] = ()
    records: Annotated[
        tuple[Annotated[Params, PlainValidator(v.record)], ...],
        AfterValidator(v.filled),
        AfterValidator(v.distinct),
    ] = ((3, 1, 1),)
    ttl: Annotated[int | None, PlainValidator(v.ttl)] = None
    ttls_to_wait: Annotated[int, PlainValidator(_whole_number)] = 2
    min_wait: Annotated[float, PlainValidator(v.duration(0, 30 * v.DAY))] = 0.0
    retain: Annotated[float, PlainValidator(v.duration(0, 365 * v.DAY))] = v.DAY
    drain: Annotated[float, PlainValidator(v.duration(0, 7 * v.DAY))] = 10 * v.MINUTE
    verify_timeout: Annotated[float, PlainValidator(v.duration(1, v.HOUR))] = v.MINUTE
    check_every: Annotated[float, PlainValidator(v.duration(1, v.DAY))] = 15 * v.MINUTE
    trust: Annotated[Path | Literal["auto", "system", "none"], PlainValidator(v.trust)] = "auto"
    installs: Annotated[tuple[Install, ...], AfterValidator(v.filled)] = Field(alias="install")


class AlertConfig(Table):
    """``[alert]``: *command* is run when a level changes, again every *repeat* while critical."""

    command: Annotated[
        tuple[str, ...], PlainValidator(v.program('command = ["/usr/local/bin/page"]', may_be_empty=True))
    ] = ()
    repeat: Annotated[float, PlainValidator(v.duration(1, 30 * v.DAY))] = 6 * v.HOUR


class MainTable(Table):
    """The main file without its services, which may be spread over many files."""

    state: Annotated[Path, PlainValidator(v.absolute("/var/lib/rollover"))] = DEFAULT_STATE
    dns: DnsConfig
    alert: AlertConfig = AlertConfig()


@dataclass(frozen=True, slots=True)
class Config:
    """All of it. *path* is the main file; *services* by name, in the order of the files.

    *files*: the file that each service is in, for messages about it.
    """

    path: Path
    state: Path
    dns: DnsConfig
    alert: AlertConfig
    services: dict[str, ServiceConfig]
    files: dict[str, Path] = field(default_factory=dict)

    def __iter__(self) -> Iterator[ServiceConfig]:
        return iter(self.services.values())

    def place(self, service: str, key: str) -> str:
        """Return where *key* of a service stands: ``FILE: services.mail.trust``, as every mistake is told."""
        name = service if re.fullmatch(r"[A-Za-z0-9_-]+", service) else f'"{service}"'
        return f"{self.files.get(service, self.path)}: services.{name}.{key}"
