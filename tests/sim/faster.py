"""The tool's functions whose answers depend on their arguments alone, each worked out once: the same story, sooner.

Also what a look spends on nobody: status.json, which only the slower level reads, and looks in the same second.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from rollover.core import certificate, report, servers, tlsa
from rollover.engine import run as runs
from rollover.engine import tick as ticks
from rollover.engine.host import Host
from rollover.state import codec, vault
from tests.sim.store import MemoryStore

PURE = (
    certificate.parse_chain,
    certificate.parse_key,
    certificate.facts,
    codec.json_in,
    tlsa.combinations,
    tlsa.needed,
    tlsa.owner_name,
    tlsa.record,
    tlsa.valid,
    vault._is_chain,
    vault._is_key,
)
#: The same, of one argument that is dearer to compare than to recognise.
OF_ONE = (servers.elsewhere, servers.incomplete)
KEPT = 256  # arguments


def _replace(work: Callable[..., Any], by: Callable[..., Any]) -> None:
    for name, module in list(sys.modules.items()):
        if name.startswith("rollover.") and getattr(module, work.__name__, None) is work:
            setattr(module, work.__name__, by)


def _once_for_each(work: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return *work* with the answers for the last few objects kept; they are recognised by identity."""
    kept: dict[int, tuple[Any, Any]] = {}

    @functools.wraps(work)
    def known(it: Any) -> Any:
        found = kept.get(id(it))
        if found is None:
            if len(kept) >= KEPT:
                kept.clear()
            found = kept[id(it)] = it, work(it)  # the object is kept too, or another one could get its identity
        return found[1]

    return known


def _work_out_once() -> None:
    for work in PURE:
        _replace(work, functools.lru_cache(maxsize=1 << 16)(work))
    for work in OF_ONE:
        _replace(work, _once_for_each(work))
    report.Report.from_json = staticmethod(_once_for_each(report.Report.from_json))  # type: ignore[assignment,method-assign]
    # Asked for at each of these: the hash of bytes is kept by the bytes, that of a tuple by nobody.
    tlsa.Chain.__hash__ = lambda self: hash(self.links[0].der)  # type: ignore[method-assign]


def _publish_where_there_are_files() -> None:
    """Let status.json be made by the slower level only."""
    for module in (runs, ticks):
        write, gather = module.publish_status, module.reports_with

        def publish_status(host: Host, told: Any, write: Any = write) -> None:
            if not isinstance(host.store, MemoryStore):
                write(host, told)

        def reports_with(host: Host, newer: Any, gather: Any = gather) -> Any:
            return [] if isinstance(host.store, MemoryStore) else gather(host, newer)

        module.publish_status = publish_status  # type: ignore[attr-defined]
        module.reports_with = reports_with  # type: ignore[attr-defined]


def _stay_shorter() -> None:
    """Let a run that waits for seconds look three times in them, not eight: nothing changes here in between."""
    ticks.TICK = replace(runs.TICK, linger=0.5)  # type: ignore[attr-defined]
    ticks.PAUSE = 5.0  # type: ignore[attr-defined]


def go_faster() -> None:
    """Do all this, for the rest of this process."""
    _work_out_once()
    _publish_where_there_are_files()
    _stay_shorter()
