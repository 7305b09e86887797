"""What the last record of a name hides: a wildcard above it, which nobody waited for."""

from __future__ import annotations

from collections.abc import Sequence

from rollover.core.errors import ServerError
from rollover.core.steps import OwnerChange
from rollover.engine.host import Host


async def refuse_uncovering(host: Host, changes: Sequence[OwnerChange], hint: str) -> None:
    """With the last record of a name goes what hides a wildcard above it (RFC 4592 §2.2.1). Raises ServerError.

    Nobody waited for that one to be in every cache, and what is served need not match it.
    """
    above: dict[str, str] = {}
    for change in changes:
        if change.result:
            continue
        labels = change.target.rstrip(".").split(".")
        depth = len(labels) - len(change.zone.rstrip(".").split("."))
        above |= {".".join(["*", *labels[n:]]) + ".": change.target for n in range(1, depth + 1)}
    if not above:
        return
    dns = await host.hands.names.look(tuple(above), {}, timeout=None)
    for owner in dns.owners:
        if owner.primary is not None and owner.primary.rrset and not owner.primary.wildcard:
            told = ", ".join(map(str, sorted(owner.primary.rrset)))
            raise ServerError(
                f"without these records {above[owner.owner]} would have those of {owner.owner}: {told}",
                hint=hint,
            )
