"""Rules broken on purpose: what `status` tells of."""

from __future__ import annotations

from typing import Any

from rollover.core import report, troubles
from tests.sim.mutants.registry import mutant


def _without(patch: Any, *codes: str) -> None:
    whole = troubles.troubles
    patch.setattr(report, "troubles", lambda view: (it for it in whole(view) if it.code not in codes))


@mutant("nothing is told of endpoints that fail", "out of reach")
def _(patch: Any) -> None:
    _without(patch, "endpoint-failing", "endpoint-unreachable")


@mutant("nothing is told of bad signatures", "bad signatures")
def _(patch: Any) -> None:
    _without(patch, "signature-bad")


@mutant("nothing is told of a clock that is wrong", "clock")
def _(patch: Any) -> None:
    _without(patch, "clock")


@mutant("nothing is told of a resolver that authenticates nothing", "resolver")
def _(patch: Any) -> None:
    _without(patch, "zone-insecure")


@mutant("nothing is told of a resolver that is dead", "resolver")
def _(patch: Any) -> None:
    _without(patch, "resolver-failed")


@mutant("nothing is told of a server that is away for hours", "away")
def _(patch: Any) -> None:
    _without(patch, "server-unreachable", "primary-unreachable")
