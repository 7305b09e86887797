"""`status --fresh`: look now, tell, remember nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from rollover.core.machine import decide
from rollover.core.memory import remember, remember_owners
from rollover.core.problems import BY_A_RUN
from rollover.core.report import Report, report
from rollover.core.view import View
from rollover.engine.host import Host
from rollover.engine.look import Looker


async def fresh_reports(host: Host, names: Sequence[str]) -> list[Report]:
    """Return a report of each service from a look made now; nothing is stored.

    What no look can meet, because it happens to an effect, is told as the last run met it: a run clears it.
    """
    told = []
    for name in names:
        looker = Looker(host, name)
        seen = await looker.look()
        world = looker.world(seen=seen)
        world = replace(world, ledgers=remember_owners(world, seen, host.longest_patience))
        world = replace(world, book=remember(world, seen))
        stored = host.store.report(name)
        before = Report.from_json(stored) if stored else None
        met = [*looker.refusals(), *looker.notices()]
        if before is not None:
            met += [d.problem for d in before.problems if d.problem.code in BY_A_RUN - {it.code for it in met}]
        told.append(report(View(world, seen), decide(world, seen), met, before))
    return told
