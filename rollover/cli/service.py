"""`adopt`, `release`, `pause`, `resume`: a service comes under care, and leaves it."""

from __future__ import annotations

from typing import Annotated

import typer

from rollover.cli.common import host_of, run_async, tell


def adopt(
    ctx: typer.Context,
    service: Annotated[str, typer.Argument(metavar="SERVICE")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would happen; change nothing.")] = False,
    remove: Annotated[
        list[str] | None, typer.Option(metavar="RDATA", help='Remove this record, e.g. "3 1 1 0a1b…"; may be repeated.')
    ] = None,
    ttl_was: Annotated[str | None, typer.Option(metavar="DURATION", help="The TTL was this until shortly ago.")] = None,
) -> int:
    """Take over the certificate that the mail server serves today."""
    from rollover.cli.inputs import duration
    from rollover.engine.adopt import adopt as order
    from rollover.engine.adopt import parse_records

    host = host_of(ctx, write=not dry_run, rebuild=True)
    name = host.service(service).name
    ttl = round(duration("--ttl-was", ttl_was)) if ttl_was else None
    outcome = run_async(order(host, name, remove=parse_records(remove or []), ttl_was=ttl, dry_run=dry_run, say=print))
    if outcome is not None:
        tell(host, name, outcome)
    return 0


def release(
    ctx: typer.Context,
    service: Annotated[str, typer.Argument(metavar="SERVICE")],
    withdraw: Annotated[bool, typer.Option("--withdraw", help="Remove the TLSA records first, and wait.")] = False,
) -> int:
    """Give the mail server its previous parameters back."""
    from rollover.engine.release import release as order

    host = host_of(ctx)
    run_async(order(host, host.service(service).name, withdraw=withdraw, say=print))
    return 0


def pause(
    ctx: typer.Context,
    service: Annotated[str, typer.Argument(metavar="SERVICE")],
    span: Annotated[
        str | None, typer.Option("--for", metavar="DURATION", help='For so long, e.g. "4h"; else until resume.')
    ] = None,
) -> int:
    """Take no step but those that protect what is served."""
    from rollover.cli.inputs import duration
    from rollover.engine.operate import pause as order

    host = host_of(ctx)
    seconds = duration("--for", span) if span else None
    print(f"{service}: {run_async(order(host, host.service(service).name, seconds))}")
    return 0


def resume(ctx: typer.Context, service: Annotated[str, typer.Argument(metavar="SERVICE")]) -> int:
    """Go on after a pause, or fill an emptied RRset again; looks anew first."""
    from rollover.engine.operate import resume as order

    host = host_of(ctx)
    outcome = run_async(order(host, host.service(service).name))
    tell(host, service, outcome)
    return 0
