"""`status` and `history`: they tell and change nothing."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from rollover.cli.common import host_of, names_of, run_async

if TYPE_CHECKING:
    from rollover.core.report import Report
    from rollover.engine.host import Host


def status(
    ctx: typer.Context,
    services: Annotated[list[str] | None, typer.Argument(metavar="SERVICE", help="All without any.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print only what is wrong; for cron.")] = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="Look now, instead of telling of the last look.")] = False,
) -> int:
    """Tell how each service is; exits 0, 1, 2 or 3 for monitoring."""
    from rollover.core.line import line
    from rollover.core.problems import Level
    from rollover.core.report import worst
    from rollover.engine.status import as_json as document
    from rollover.engine.status import reports

    host = host_of(ctx, write=False)
    names = names_of(host, services)
    told = run_async(_fresh(host, names)) if fresh else reports(host, names)
    level, now = worst(r.level for r in told), host.clock.now().wall
    if as_json:
        print(json.dumps(document(told, now), indent=1))
        return int(level)
    for it in told:
        if quiet and it.level is Level.OK:
            continue
        print(line(it, now))
        for d in it.problems:
            if not quiet or d.problem.level is not Level.OK:
                print(f"  {d.problem.level} {d.problem.code}: {d.problem.message}")
                print(f"    hint: {d.problem.hint}")
    return int(level)


async def _fresh(host: Host, names: list[str]) -> list[Report]:
    from rollover.engine.fresh import fresh_reports

    return await fresh_reports(host, names)


def history(
    ctx: typer.Context,
    service: Annotated[str, typer.Argument(metavar="SERVICE")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object a line.")] = False,
) -> int:
    """Print every event of a service with its time, oldest first."""
    from rollover.core.steps import Phase
    from rollover.core.timing import stamp
    from rollover.engine.status import reports

    host = host_of(ctx, write=False)
    name = host.service(service).name
    for event in host.store.events(name):
        if as_json:
            print(json.dumps({"time": stamp(event.time), "kind": event.kind, "text": event.text, **event.detail}))
        else:
            print(f"{stamp(event.time)} {event.kind:<14} {event.text}")
            if hint := event.detail.get("hint"):
                print(f"{'':<36}hint: {hint}")
    told = reports(host, [name])[0]
    if told.phase is Phase.BLOCKED and not as_json:
        from rollover.engine.byhand import by_hand

        for line in by_hand(host, name):
            print(line)
    return 0
