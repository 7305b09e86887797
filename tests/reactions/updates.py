"""Faults 1 to 20, of updates and records, and the tool without its reaction."""

from __future__ import annotations

from typing import Any

from tests.reactions.registry import Swap, nothing, without


@without(7, "an update has no prerequisite")
def _(swap: Swap) -> None:
    swap("dns.update._require", nothing)


@without(18, "what is served is not protected")
def _(swap: Swap) -> None:
    def by(was: Any) -> Any:
        del was
        return lambda *_, **__: []

    swap("core.changes.protecting", by)
