"""Faults 47 to 63, of the live file and the mail server, and the tool without its reaction."""

from __future__ import annotations

import os
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from rollover.core.errors import Busy, RolloverError
from rollover.core.sighting import EndpointSighting, Outcome
from tests.reactions import material  # noqa: F401 - what also() refers to
from tests.reactions.registry import Swap, also, always, nothing, without

SNI_MAPS = "tls_server_sni_maps"


def of_endpoints(chosen: Callable[[Any], bool]) -> Callable[[Any], Any]:
    """Return what makes a question to a view one about *chosen* endpoints only."""

    def by(was: Any) -> Any:
        def asked(view: Any, *rest: Any) -> Any:
            ends = tuple(e for e in view.seen.endpoints if chosen(e))
            return was(replace(view, seen=replace(view.seen, endpoints=ends)), *rest)

        return asked

    return by


def one_is_enough(swap: Swap) -> None:
    """Let one endpoint that shows the goal stand for all, and nobody present anything else."""

    def by(was: Any) -> Any:
        del was
        return lambda view, goal: view.loaded(goal) and any(view.shows_only(e, goal) for e in view.seen.endpoints)

    swap("core.view.View.proven", by)
    swap("core.view.View.presentable", always(()))
    swap("core.view.View.lingering", always(()))


def last_chain(was: Any) -> Any:
    """Return what makes a probe tell of the connection that ended last."""

    async def probed(*asked: Any, **options: Any) -> Any:
        it = await was(*asked, **options)
        return replace(it, chains=it.chains[-1:])

    return probed


@without(47, "what could not be written counts as written")
def _(swap: Swap) -> None:
    def by(was: Any) -> Any:
        del was

        def write(directory: int, name: str, content: bytes, *_: Any) -> str:
            temporary = f".{name}.rollover-{secrets.token_hex(8)}"
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=directory)
            with suppress(OSError):
                os.write(descriptor, content)
                os.fsync(descriptor)
            os.close(descriptor)
            return temporary

        return write

    swap("mail.livefile._write", by)


@without(48, "a reload is noted before it is made, and made once")
def _(swap: Swap) -> None:
    def by(was: Any) -> Any:
        async def reload(host: Any, world: Any, step: Any) -> None:
            from rollover.core.model import Reload

            book, now = world.book, host.clock.now()
            live = {t.label: t.live().identity for t in host.hands.targets[world.service.name]}
            noted = replace(book, reloads={**book.reloads, **{p: Reload(live[p], now, 0) for p in step.paths}})
            host.store.save_book(world.service.name, noted, book)
            await was(host, replace(world, book=noted), step)

        return reload

    def once(was: Any) -> Any:
        return lambda view: None if getattr(step := was(view), "again", False) else step

    swap("engine.effects._reload", by)
    swap("core.machine.install", once)


@without(49, "the lock of a run that was killed is never freed")
def _(swap: Swap) -> None:
    @asynccontextmanager
    async def held(path: Path, *_: Any, **__: Any) -> AsyncIterator[None]:
        mark = Path(f"{path}.held")
        try:
            mark.touch(exist_ok=False)
        except FileExistsError as error:
            raise Busy("another run is at work") from error
        try:
            yield
        finally:
            mark.unlink()

    swap("state.lock.locked", lambda _: held)


@without(50, "errors of the database are not expected")
def _(swap: Swap) -> None:
    swap("state.database.FAULTS", lambda _: ())


@without(50, "what is stored is believed to be sound")
def _(swap: Swap) -> None:
    for reader in ("json_in", "list_in", "text_in", "stamp_in", "book_in"):
        swap(f"state.codec.{reader}", lambda was: was.__wrapped__)


@without(50, "a database that is gone is made anew")
def _(swap: Swap) -> None:
    swap("state.vault.Vault.empty", always(True))


@without(51, "a reload that failed counts as made")
def _(swap: Swap) -> None:
    def by(was: Any) -> Any:
        async def reload(self: Any) -> None:
            with suppress(RolloverError):
                await was(self)

        return reload

    swap("mail.postfix.Postfix.reload", by)


@without(52, "what does not work is never taken back")
def _(swap: Swap) -> None:
    swap("core.machine.judge", nothing)


@without(53, "what an endpoint presents is not compared with the goal")
def _(swap: Swap) -> None:
    swap("core.view.View.shows_only", lambda _: lambda _self, e, _goal: e.outcome is Outcome.PRESENTED)


@without(53, "the connection that ended last stands for all")
def _(swap: Swap) -> None:
    swap("mail.probe._probe", last_chain)


@without(54, "one endpoint is enough")
def _(swap: Swap) -> None:
    one_is_enough(swap)


@without(54, "what a service of master.cf has is not looked at")
def _(swap: Swap) -> None:
    def by(was: Any) -> Any:
        return lambda self, name, service=None: was(self, name)

    swap("mail.mastercf.Instance.value", by)
    swap("mail.postfix.Postfix.wiring", always(""))


@without(54, "what another service has is changed with it")
def _(swap: Swap) -> None:
    swap("mail.postfix.Postfix._refuse_side_effects", nothing)


@without(55, "nobody looks for a table of certificates by name")
def _(swap: Swap) -> None:
    def by(was: Any) -> Any:
        return lambda self, name, service=None: "" if name == SNI_MAPS else was(self, name, service)

    swap("mail.mastercf.Instance.value", by)


@without(56, "only smtpd on a port of its own counts")
def _(swap: Swap) -> None:
    def by(was: Any) -> Any:
        return lambda self, ports=None: [s for s in was(self, ports) if (s.program, s.kind) == ("smtpd", "inet")]

    swap("mail.mastercf.Instance.tls_services", by)


@without(56, "the first line is the greeting")
def _(swap: Swap) -> None:
    def by(was: Any) -> Any:
        del was

        async def greeting(_self: Any, wire: Any) -> None:
            await wire.line()

        return greeting

    swap("mail.dialogue.Smtp.greeting", by)


also(57, 54, "one endpoint is enough")


also(57, 53, "the connection that ended last stands for all")


@without(57, "one connection of an endpoint is enough")
def _(swap: Swap) -> None:
    def by(was: Any) -> Any:
        del was
        return lambda _self, e, goal: goal.fingerprint in {c.fingerprint for c in e.chains}

    swap("core.view.View.shows_only", by)


also(58, 54, "one endpoint is enough")


@without(58, "nobody looks at an IPv6 address")
def _(swap: Swap) -> None:
    def by(was: Any) -> Any:
        async def probe(endpoint: Any, *rest: Any) -> Any:
            if ":" in endpoint.address:
                return EndpointSighting(endpoint, Outcome.UNREACHABLE, detail="not looked at")
            return await was(endpoint, *rest)

        return probe

    swap("mail.probe._probe", by)


also(59, 54, "one endpoint is enough")


@without(59, "what cannot be reached is passed over")
def _(swap: Swap) -> None:
    reached = of_endpoints(lambda e: e.outcome in (Outcome.PRESENTED, Outcome.NO_TLS))
    swap("core.view.View.proven", reached)
    swap("core.machine.withdraw", reached)


also(59, 44, "keys of later capabilities are passed over")


@without(60, "no TLS is taken for silence")
def _(swap: Swap) -> None:
    def by(was: Any) -> Any:
        async def probe(*asked: Any) -> Any:
            it = await was(*asked)
            return replace(it, outcome=Outcome.UNREACHABLE) if it.outcome is Outcome.NO_TLS else it

        return probe

    swap("mail.probe._probe", by)


@without(60, "an endpoint without TLS counts as one that is well")
def _(swap: Swap) -> None:
    def by(was: Any) -> Any:
        return lambda self, e, goal: e.outcome is Outcome.NO_TLS or was(self, e, goal)

    swap("core.view.View.shows_only", by)


@without(61, "what could not be put in place counts as put")
def _(swap: Swap) -> None:
    def by(was: Any) -> Any:
        def install_files(files: Any) -> str:
            with suppress(RolloverError):
                return str(was(files))
            return ""

        return install_files

    swap("mail.livefile.install_files", by)


also(61, 52, "what does not work is never taken back")


@without(62, "links and directories of others are trusted")
def _(swap: Swap) -> None:
    swap("mail.livefile._refuse_irregular", nothing)
    swap("directory._refuse_writable", always(False))


@without(63, "left-over files stay")
def _(swap: Swap) -> None:
    swap("mail.livefile._sweep", nothing)


@without(63, "every hidden file beside it is swept")
def _(swap: Swap) -> None:
    def by(was: Any) -> Any:
        del was

        def sweep(directory: int, _name: str) -> None:
            for entry in os.listdir(directory):
                if entry.startswith("."):
                    os.unlink(entry, dir_fd=directory)

        return sweep

    swap("mail.livefile._sweep", by)
