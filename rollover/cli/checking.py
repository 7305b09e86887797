"""`check` and `verify`: is everything in place, here and elsewhere. They change nothing."""

from __future__ import annotations

import asyncio
import json
import os
from itertools import chain
from typing import TYPE_CHECKING, Annotated

import typer

from rollover.cli.common import host_of, names_of, run_async
from rollover.cli.options import options

if TYPE_CHECKING:
    from rollover.dns.settings import DnsSettings
    from rollover.engine.verify import HostFindings


def check(
    ctx: typer.Context,
    service: Annotated[str | None, typer.Argument(metavar="SERVICE", help="All without one.")] = None,
) -> int:
    """Test every precondition; changes nothing. Exits 0, 1 (warnings) or 2."""
    from rollover.core.problems import Level
    from rollover.engine.check import check as look
    from rollover.engine.check import check_host

    host = host_of(ctx, write=False, rebuild=True)
    names = names_of(host, [service] if service else None)
    highest = Level.OK
    of_each = ((f"{name}: ", run_async(look(host, name))) for name in names)  # one after another, printed at once
    for prefix, rows in chain([("", check_host(host))], of_each):
        for row in rows:
            word = {Level.OK: "ok", Level.WARNING: "warning", Level.CRITICAL: "failed"}[row.level]
            print(f"{word:<8}{prefix}{row.what}")
            if row.hint:
                print(f"        hint: {row.hint}")
            highest = max(highest, row.level)
    return int(highest)


def verify(
    ctx: typer.Context,
    hosts: Annotated[list[str], typer.Argument(metavar="HOST[:PORT]", help="Port 25 without one.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> int:
    """Judge any host's certificates by its TLSA records, as a DANE sender does."""
    from rollover.core.report import worst

    found = run_async(_verify(_settings(ctx), [_place(h) for h in hosts]))
    level = worst(f.level for f in found)
    if as_json:
        print(json.dumps({"schema": 1, "level": str(level), "hosts": [f.as_json() for f in found]}, indent=1))
        return int(level)
    for it in found:
        for record in it.records:
            print(f"_{it.port}._tcp.{it.host}. TLSA {record}{'' if it.authenticated else ' (not authenticated)'}")
        for finding in it.findings:
            print(f"{str(finding.level).upper()} {finding.endpoint}: {finding.text}")
    return int(level)


async def _verify(settings: DnsSettings, places: list[tuple[str, int]]) -> list[HostFindings]:
    from rollover.clock import SystemClock
    from rollover.engine.verify import verify as judge

    clock = SystemClock()
    return list(await asyncio.gather(*(judge(name, port, settings, clock) for name, port in places)))


def _place(text: str) -> tuple[str, int]:
    from rollover.config import network, values
    from rollover.core.errors import UsageError

    name, colon, port = text.partition(":")
    if colon and not (port.isdecimal() and port.isascii() and 0 < int(port) < 65536):
        raise UsageError(f"{text}: no such port", hint="write HOST or HOST:PORT, e.g. mail.example.org:25")
    try:
        return network.host_name(name), int(port) if colon else 25
    except values.Wrong as wrong:
        raise UsageError(f"{text}: {wrong.problem}", hint=wrong.right) from None


def _settings(ctx: typer.Context) -> DnsSettings:
    """Return resolver and timeout of the configuration; without one, unless one was named, of /etc/resolv.conf."""
    from rollover.config.files import DEFAULT_PATH, VARIABLE
    from rollover.dns.settings import DnsSettings

    given = options(ctx)
    if given.config is None and not os.environ.get(VARIABLE) and not DEFAULT_PATH.exists():
        return DnsSettings()
    dns = given.load().dns
    return DnsSettings(resolver=str(dns.resolver) if dns.resolver else None, timeout=dns.timeout)
