"""`deploy`, `advance`, `rollback`: what moves a rollover on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rollover.cli.common import Progress, host_of, names_of, run_async, tell

if TYPE_CHECKING:
    from rollover.core.report import Report
    from rollover.engine.host import Host
    from rollover.engine.tick import Ticked

WAIT_STEP = 1.0  # seconds between two runs of --wait


def deploy(
    ctx: typer.Context,
    fullchain: Annotated[Path, typer.Argument(metavar="FULLCHAIN", help="PEM file: the certificate, then its chain.")],
    key: Annotated[
        Path | None, typer.Argument(metavar="KEY", help="PEM file of the key; not needed if the vault has it.")
    ] = None,
    service: Annotated[
        str | None, typer.Option(metavar="NAME", help="For this service only; else source and names tell.")
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Stay until it is installed and proven.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan; change nothing.")] = False,
) -> int:
    """Take over a new certificate: what every hook calls."""
    from rollover.engine.intake import read_material, stage

    host = host_of(ctx, write=not dry_run)
    material = read_material(fullchain, key)
    if dry_run:
        from rollover.engine.plan import plan

        for line in run_async(plan(host, material, service=service)):
            print(line)
        return 0
    staged = stage(host, material, service=service)
    for name in staged.known:
        print(f"{name}: certificate {staged.fingerprint[:16]} is known; nothing to do")
    if staged.reason:
        print(staged.reason)
    for name in staged.services:
        print(f"{name}: certificate {staged.fingerprint[:16]} is recorded")
        _first_steps(host, name)
    if wait and (staged.services or staged.known):
        return run_async(_wait(host, [*staged.services, *staged.known], to_the_end=False))
    return 0


def _first_steps(host: Host, name: str) -> None:
    """Publish, or install what is ready. Whatever fails is left to the next tick: the certificate is safe."""
    from rollover.core.errors import Busy
    from rollover.engine.run import HOOK, run

    try:
        outcome = run_async(run(host, name, HOOK))
    except Busy:
        print(f"{name}: another run is at work and will take it")
    else:
        tell(host, name, outcome, hook=True)


def advance(
    ctx: typer.Context,
    services: Annotated[list[str] | None, typer.Argument(metavar="SERVICE", help="All without any.")] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Stay until all is done; interrupting loses nothing.")] = False,
) -> int:
    """Do what is due now; the timer calls it every minute."""
    host = host_of(ctx)
    names = names_of(host, services)
    if wait:
        return run_async(_wait(host, names, to_the_end=True, named=bool(services)))
    return run_async(_once(host, names, named=bool(services)))


async def _once(host: Host, names: list[str], *, named: bool) -> int:
    from rollover.engine.tick import tick

    ticked = await tick(host, names, asked=named)
    _say(host, ticked, named=named)
    return ticked.exit_code


def _say(host: Host, ticked: Ticked, *, named: bool) -> None:
    """Print the line of each service whose run left something wrong; nothing when all is well, for cron.

    Raises the error that stopped a run: what it says itself, on stderr, is not said twice.
    """
    from rollover.core.line import line
    from rollover.core.problems import Level

    now = host.clock.now().wall
    for outcome in ticked.outcomes.values():
        raised = outcome.error is not None and str(outcome.error) == str(ticked.error)
        if not raised and (outcome.report.level is not Level.OK or outcome.exit_code):
            print(line(outcome.report, now))
    for name in ticked.busy:
        print(f"{name}: another run is at work; nothing was done here")
    for name in ticked.unadopted if named else ():
        print(f"{name}: not adopted, nothing is done for it: `rollover adopt {name}`")
    if ticked.error is not None:
        raise ticked.error


async def _wait(host: Host, names: list[str], *, to_the_end: bool, named: bool = False) -> int:
    """Tick until every service is done, or waits for a person.

    Done is installed and proven; *to_the_end*: steady. What is critical and ends by itself is waited for.
    """
    from rollover.core.report import needs_person
    from rollover.core.steps import Phase
    from rollover.engine.tick import tick

    done = {Phase.STEADY, Phase.UNADOPTED} | (set() if to_the_end else {Phase.RETAINING})

    def ended(it: Report) -> bool:
        endless = it.phase is Phase.PAUSED and it.not_before is None
        return needs_person(it) or endless or (it.phase in done and not host.store.inbox(it.name))

    progress = Progress()
    try:
        while True:
            ticked = await tick(host, names, asked=False)
            told = [it for it in ticked.told if it.name in names]
            progress.show(told)
            if all(map(ended, told)):
                break
            await host.clock.sleep(WAIT_STEP)
    finally:
        progress.end()
    _say(host, ticked, named=named)
    return 1 if any(map(needs_person, told)) else ticked.exit_code


def rollback(
    ctx: typer.Context,
    service: Annotated[str, typer.Argument(metavar="SERVICE")],
    to: Annotated[
        str, typer.Option(metavar="FINGERPRINT", help="This certificate; eight digits or more. Else the previous one.")
    ] = "",
    now: Annotated[
        bool, typer.Option("--now", help="Do not wait for caches; says first who will defer, and for how long.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would happen; change nothing.")] = False,
) -> int:
    """Go back to the previous certificate, or to a named one."""
    from rollover.engine.operate import rollback as order

    host = host_of(ctx, write=not dry_run)
    outcome = run_async(order(host, host.service(service).name, to=to, hurry=now, dry_run=dry_run, say=print))
    if outcome is None:
        return 0
    tell(host, service, outcome)
    return 0
