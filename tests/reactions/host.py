"""Faults 64 to 80, of the host, the clock, and what comes after, and the tool without its reaction."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from tests.reactions import mail, material, updates  # noqa: F401 - what also() refers to
from tests.reactions.registry import Swap, also, always, nothing, without

BESIDE = "_25._tcp.mx2.example.test."  # another host of the zone, in the test of fault 70


def confirmed(was: Any) -> Any:
    """Return what makes `core.ledger.observe` take every clock for one that was confirmed."""
    return lambda *asked, **options: was(*asked, **{**options, "clock_agrees": True})


@without(64, "there is no lock")
def _(swap: Swap) -> None:
    @asynccontextmanager
    async def free(*_: Any, **__: Any) -> AsyncIterator[None]:
        yield

    swap("state.lock.locked", lambda _: free)


also(64, 7, "an update has no prerequisite")


also(65, 49, "the lock of a run that was killed is never freed")


@without(66, "the wall clock alone measures")
def _(swap: Swap) -> None:
    swap("core.timing.elapsed", lambda _: lambda since, now: max(0.0, (now.wall - since.wall).total_seconds()))


also(66, 11, "what the primary says of the clock is passed over")


@without(66, "an instant in the future is left as it is")
def _(swap: Swap) -> None:
    swap("core.timing.not_in_future", lambda _: lambda instant, _now: instant)


@without(67, "a clock that nobody confirmed counts")
def _(swap: Swap) -> None:
    swap("core.ledger.observe", confirmed)


@without(67, "across a reboot a wall clock is exact")
def _(swap: Swap) -> None:
    def by(was: Any) -> Any:
        def elapsed(since: Any, now: Any) -> float:
            return float(was(replace(since, boot_id=now.boot_id, boot=float("-inf")), now))

        return elapsed

    swap("core.timing.elapsed", by)


@without(68, "an old ledger alone is enough")
def _(swap: Swap) -> None:
    swap("core.servers.incomplete", always(()))
    swap("core.servers.lacking", always(()))
    swap("core.ledger.observe", lambda _: lambda ledger, *_, **__: ledger)


@without(69, "a lineage that was taken once is not looked at again")
def _(swap: Swap) -> None:
    def by(was: Any) -> Any:
        return lambda host, *rest: was(host, *rest) if not host.store.fingerprints() else ()

    swap("engine.intake._scan", by)


@without(70, "a record goes at every owner of the zone")
def _(swap: Swap) -> None:
    def by(was: Any) -> Any:
        async def send(wire: Any, *rest: Any) -> None:
            deleted = [rdata for rrset in wire.update if rrset.deleting for rdata in rrset]
            for rdata in deleted:
                wire.delete(BESIDE, rdata)
            await was(wire, *rest)

        return send

    swap("dns.update._send", by)


@without(71, "a program inherits the environment")
def _(swap: Swap) -> None:
    swap("mail.run.ENVIRONMENT", lambda _: None)


@without(71, "the hook inherits the environment")
def _(swap: Swap) -> None:
    def by(was: Any) -> Any:
        def text(name: str) -> str:
            lines = was(name).splitlines(keepends=True)
            return "".join(x for x in lines if not x.startswith(("PATH=", "LC_ALL=", "unset ")))

        return text

    swap("hooks.shared_text", by)


@without(72, "a status file that cannot be written ends the run")
def _(swap: Swap) -> None:
    def by(was: Any) -> Any:
        def publish_status(host: Any, told: Any) -> None:
            was(host, told)
            json.loads((host.run_directory / "status.json").read_text())

        return publish_status

    swap("engine.status.publish_status", by)


@without(72, "an alert that failed counts as told")
def _(swap: Swap) -> None:
    def by(was: Any) -> Any:
        def run(command: Any, message: str) -> str:
            was(command, message)
            return ""

        return run

    swap("engine.alert._run", by)


@without(73, "a rollback waits for nothing")
def _(swap: Swap) -> None:
    swap("core.gates.wait", nothing)


@without(73, "what was revoked, expired or lost may be gone back to")
def _(swap: Swap) -> None:
    swap("core.goals.expired", always(False))
    swap("core.model.World.revoked", always(False))


@without(74, "a rollback waits as for a key that was never published")
def _(swap: Swap) -> None:
    def by(was: Any) -> Any:
        def ready_left(view: Any, goal: Any) -> float | None:
            left, span = was(view, goal), view.world.service.patience.span(0)
            return None if left is None else max(left, span) if view.world.book.rollback else left

        return ready_left

    swap("core.view.View.ready_left", by)


also(75, 4, "what became of an update is not read back")


@without(76, "what defers mail after the end is not told")
def _(swap: Swap) -> None:
    swap("core.troubles._deferred", always(()))


@without(77, "what is presented after the end is not matched")
def _(swap: Swap) -> None:
    swap("core.changes.protecting", nothing)


also(78, 44, "keys of later capabilities are passed over")
also(79, 44, "keys of later capabilities are passed over", "commands of later capabilities do nothing")


@without(79, "a key that cannot be read ends the run")
def _(swap: Swap) -> None:
    def by(was: Any) -> Any:
        def has_key(vault: Any, spki: str) -> bool:
            there = was(vault, spki)
            if (vault._keys / f"{spki}.pem").exists():
                vault.key(spki)
            return bool(there)

        return has_key

    swap("state.vault.Vault.has_key", by)


@without(80, "what Postfix had before is not compared with DNS")
def _(swap: Swap) -> None:
    swap("engine.release._refuse_unmatched", nothing)
