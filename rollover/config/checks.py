"""What must be right between keys and between services; each value alone is right already."""

from __future__ import annotations

import os.path
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rollover.config.mistakes import Loc, Mistake, dotted
from rollover.config.models import MainTable, ServiceConfig


@dataclass(frozen=True, slots=True)
class Placed:
    """A service, and the file that it is in."""

    file: Path
    config: ServiceConfig


def across(file: Path, main: MainTable, services: list[Placed]) -> Iterator[Mistake]:
    """Yield every contradiction; *main* is what the main *file* has beside services."""
    yield from _zones_once(file, main)
    yield from _one_writer(services)
    yield from _not_its_own_source(services)
    yield from _one_ttl(services)


def _zones_once(file: Path, main: MainTable) -> Iterator[Mistake]:
    names = [zone.name for zone in main.dns.zones]
    for i, name in enumerate(names):
        if name in names[:i]:
            yield Mistake(
                file,
                f'dns.zone[{i}].name = "{name}": there already',
                "write one [[dns.zone]] with primary and tsig_key",
            )


def _outputs(service: Placed) -> Iterator[tuple[Loc, Path]]:
    for i, install in enumerate(service.config.installs):
        for key, path in install.files.items():
            yield ("services", service.config.name, "install", i, key), path


def _one_writer(services: list[Placed]) -> Iterator[Mistake]:
    """No file is written by two: each would undo what the other did, at every run."""
    first: dict[str, tuple[Path, Loc]] = {}
    for service in services:
        for loc, path in _outputs(service):
            name = os.path.normpath(path)
            if name in first:
                file, other = first[name]
                where = dotted(other) + ("" if file == service.file else f" in {file}")
                yield Mistake(
                    service.file,
                    f'{dotted(loc)} = "{path}": also written by {where}',
                    "give each install a file of its own, and name that in its daemon's configuration",
                )
            else:
                first[name] = (service.file, loc)


def _one_ttl(services: list[Placed]) -> Iterator[Mistake]:
    """An RRset has one TTL: two services there would set it over and over again."""
    first: dict[tuple[str, int], Placed] = {}
    for service in services:
        for place in ((host, port) for host in service.config.hosts for port in service.config.ports):
            other = first.setdefault(place, service)
            if other.config.ttl != service.config.ttl:
                yield Mistake(
                    service.file,
                    f"services.{service.config.name}.ttl: another one than services.{other.config.name} has,"
                    f" and both have records at _{place[1]}._tcp.{place[0]}",
                    "set the same ttl in both, or leave it out: an RRset has one TTL",
                )
                break


def _not_its_own_source(services: list[Placed]) -> Iterator[Mistake]:
    """What the ACME client keeps is never what the daemon reads (interface.md, Hooks)."""
    for service in services:
        for loc, path in _outputs(service):
            for source in service.config.source:
                if path == source or source in path.parents:
                    yield Mistake(
                        service.file,
                        f'{dotted(loc)} = "{path}": inside source = "{source}"',
                        "write to a file of its own, such as /etc/rollover/live/mail.pem: the ACME client's"
                        " files change before the new record is known everywhere",
                    )
