"""One tick: sources are looked at, every service that is due has its run, monitoring gets the result."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from rollover.core.errors import EX_TEMPFAIL, Busy, RolloverError
from rollover.core.report import Report
from rollover.core.timing import elapsed_boot
from rollover.engine.alert import raise_alerts
from rollover.engine.host import Host
from rollover.engine.intake import scan_sources
from rollover.engine.run import TICK, Outcome, run
from rollover.engine.status import publish_status, reports_with
from rollover.state.services import Summary

PAUSE = 0.5
MARGIN = 5.0
LONGEST_STAY = 60.0  # seconds: the timer comes every minute, and other services wait meanwhile


@dataclass(slots=True)
class Ticked:
    """What a tick came to: *outcomes* of the services that had a run; the others, by why they had none."""

    outcomes: dict[str, Outcome] = field(default_factory=dict)
    busy: list[str] = field(default_factory=list)
    unadopted: list[str] = field(default_factory=list)
    errors: list[Exception] = field(default_factory=list)
    told: list[Report] = field(default_factory=list)  # of every service, whether it had a run or not

    @property
    def exit_code(self) -> int:
        """The exit code of ``advance``, unless there were errors: theirs then."""
        codes = {o.exit_code for o in self.outcomes.values()} | ({EX_TEMPFAIL} if self.busy else {0})
        return 1 if 1 in codes else max(codes)

    @property
    def error(self) -> Exception | None:
        """The error to exit with, if there was one: rather a bug of ours than what was foreseen."""
        return min(self.errors, key=lambda e: isinstance(e, RolloverError | OSError), default=None)


async def tick(host: Host, names: Sequence[str], *, asked: bool) -> Ticked:
    """Do what is due of services *names*; what stops one of them is in the result, and stops no other.

    *asked*: a person named the services, so they are looked at even if nothing is due.
    """
    it = Ticked()
    try:
        scan_sources(host)
    except RolloverError as error:  # the state cannot be written: each service's run finds out and tells
        it.errors.append(error)
        asked = True
    now = host.clock.now().wall
    known = host.store.summaries()
    for name in names:
        service = known.get(name, Summary())
        if not service.adopted:
            it.unadopted.append(name)
        elif asked or service.due is None or not now < service.due <= now + _regular(host, name):
            await _have_run(host, name, it)
    newer = {name: o.report for name, o in it.outcomes.items() if o.error is not None}
    it.told = reports_with(host, newer)
    publish_status(host, it.told)  # also when nothing was due: after a reboot /run is empty
    # Also of services that had no run: a page may have been lost. Who holds the lock tells of the others.
    await raise_alerts(host, [r for r in it.told if r.name not in it.busy])
    return it


def _regular(host: Host, name: str) -> timedelta:
    """Return how far ahead a look is planned at the most: a later hour is that of a clock that was wrong."""
    return timedelta(seconds=host.services[name].check_every)


async def _have_run(host: Host, name: str, it: Ticked) -> None:
    try:
        outcome = await _run(host, name)
    except Busy:
        it.busy.append(name)
        return
    it.outcomes[name] = outcome
    if outcome.error is not None:
        it.errors.append(outcome.error)


async def _run(host: Host, name: str) -> Outcome:
    """Have a run of one service; stay while an install fails and cannot be judged yet.

    Mail is being deferred then: it is not left to wait for the next tick. No lock is held between.
    """
    outcome = await run(host, name, TICK)
    started, limit = host.clock.now(), min(host.services[name].verify_timeout, LONGEST_STAY) + MARGIN
    while outcome.failing and elapsed_boot(started, host.clock.now()) < limit:
        await host.clock.sleep(PAUSE)
        outcome = await run(host, name, TICK)
    return outcome
