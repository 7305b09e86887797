"""One tick: sources are looked at, and every service that is due has its run."""

from __future__ import annotations

from collections.abc import Sequence

from rollover.core.errors import EX_TEMPFAIL, Busy, RolloverError
from rollover.core.report import Report
from rollover.core.timing import elapsed_boot
from rollover.engine.host import Host
from rollover.engine.intake import scan_sources
from rollover.engine.run import TICK, Outcome, run
from rollover.state.services import Summary

PAUSE = 0.5
MARGIN = 5.0


async def tick(host: Host, names: Sequence[str], *, asked: bool) -> tuple[int, list[Report]]:
    """Return the exit code of ``advance`` and the reports of the services that had a run.

    *asked*: a person named the services, so they are looked at even if nothing is due.
    Raises the first error that a service met, after all had their turn.
    """
    scan_sources(host)
    now = host.clock.now().wall
    known = host.store.summaries()
    codes: list[int] = [0]
    told: list[Report] = []
    errors: list[RolloverError] = []
    for name in names:
        it = known.get(name, Summary())
        if not it.adopted or (it.due is not None and now < it.due and not asked):
            continue
        try:
            outcome = await _run(host, name)
        except Busy:
            codes.append(EX_TEMPFAIL)
        except RolloverError as error:  # one service's trouble is not the others'
            errors.append(error)
            host.store.event_once(name, "error", error.message, now, hint=error.hint)
        else:
            codes.append(outcome.exit_code)
            told.append(outcome.report)
    if errors:
        raise errors[0]
    return (1 if 1 in codes else max(codes)), told


async def _run(host: Host, name: str) -> Outcome:
    """Have a run of one service; stay while an install fails and cannot be judged yet.

    Mail is being deferred then: it is not left to wait for the next tick. No lock is held between.
    """
    outcome = await run(host, name, TICK)
    started, limit = host.clock.now(), host.services[name].verify_timeout + MARGIN
    while outcome.failing and elapsed_boot(started, host.clock.now()) < limit:
        await host.clock.sleep(PAUSE)
        outcome = await run(host, name, TICK)
    return outcome
