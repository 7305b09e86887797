"""One tick: sources are looked at, and every service that is due has its run."""

from __future__ import annotations

from collections.abc import Sequence

from rollover.core.errors import Busy
from rollover.core.report import Report
from rollover.core.timing import elapsed_boot
from rollover.engine.host import Host
from rollover.engine.intake import scan_sources
from rollover.engine.run import TICK, run

PAUSE = 0.5
MARGIN = 5.0


async def tick(host: Host, names: Sequence[str], *, asked: bool) -> tuple[int, list[Report]]:
    """Return the exit code of ``advance`` and the reports of the services that had a run.

    *asked*: a person named the services, so they are looked at even if nothing is due.
    """
    scan_sources(host)
    now = host.clock.now().wall
    codes, told = [0], []
    for name in names:
        due = host.store.due(name)
        early = due is not None and now < due
        if early and not asked and not host.store.inbox(name):
            continue
        if not host.store.book(name).adopted:
            continue
        try:
            outcome = await run(host, name, TICK)
            started = host.clock.now()
            # Mail is being deferred: it is not left to wait for the next tick. No lock is held between.
            while (
                outcome.failing
                and elapsed_boot(started, host.clock.now()) < host.services[name].verify_timeout + MARGIN
            ):
                await host.clock.sleep(PAUSE)
                outcome = await run(host, name, TICK)
        except Busy:
            codes.append(75)
            continue
        codes.append(outcome.exit_code)
        told.append(outcome.report)
    return (1 if 1 in codes else max(codes)), told
