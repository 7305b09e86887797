"""The tool itself: the real engine, store and vault, one process after the other."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from rollover.config.models import AlertConfig, Config, DnsConfig, ServiceConfig
from rollover.core.errors import CannotStore, RolloverError
from rollover.core.model import Book
from rollover.core.report import Report
from rollover.engine import operate
from rollover.engine.adopt import adopt
from rollover.engine.hands import Hands as EngineHands
from rollover.engine.host import Host, core_service
from rollover.engine.intake import stage
from rollover.engine.material import Material
from rollover.engine.run import HOOK, run
from rollover.engine.status import reports
from rollover.engine.tick import tick
from rollover.state.store import Store
from rollover.state.vault import Vault
from tests.sim.faster import go_faster
from tests.sim.hands import Hands
from tests.sim.mailhands import SimEndpoints, SimTarget
from tests.sim.materials import Certificate
from tests.sim.names import SimNames
from tests.sim.store import MemoryStore, MemoryVault
from tests.sim.world import World

go_faster()


class Crash(BaseException):
    """kill -9, here."""


class SimStore(Store):
    """The store, with a point to die at before and after each commit, and a disk that may be full."""

    hands: Hands | None = None  # while the tables are made nobody dies

    @contextmanager
    def transaction(self) -> Iterator[None]:
        if self._db.in_transaction:
            yield
            return
        with super().transaction():
            yield
            if self.hands is not None:
                before_commit(self.hands)
        if self.hands is not None:
            self.hands.boundary("after a commit")


def before_commit(hands: Hands) -> None:
    """Die here, or find the disk full."""
    hands.boundary("before a commit")
    if hands.take("state disk full"):
        raise CannotStore("rollover.db: database or disk is full", hint="make room")


class Tool:
    """One installation. *directory*: its state on disk; *memory*: the database is not on it."""

    def __init__(self, world: World, directory: Path, loop: asyncio.AbstractEventLoop, *, memory: bool) -> None:
        self.world = world
        self.directory = directory
        self.loop = loop
        self.die_in = 0  # at which of the next points; 0: at none
        self.die_at = ""  # or at the next one of this name
        self.meanwhile: Callable[[], object] | None = None  # what happens in the midst of the next process
        self.meanwhile_in = 0  # at which of its points
        self.died_at = ""  # where the last process did
        self._mortal = False  # it dies when die_in is down to 0
        self.began = 0.0  # when the last process did
        self.looked_at: set[str] = set()  # services that the last process had a run of
        self.hands = Hands(world, self._boundary)
        self._kept: MemoryStore | None = None
        if memory:
            self._kept = MemoryStore()
            self._kept.on_commit = lambda: before_commit(self.hands)
            self._kept.committed = lambda: self.hands.boundary("after a commit")
        self.config = self._configure()
        self._services = {it.name: core_service(it, self.config) for it in self.config}
        self.vault = MemoryVault() if memory else Vault(directory / "vault")
        directory.mkdir(mode=0o700, exist_ok=True)
        self.vault.prepare()
        self._reader = self._process() if memory else None

    def _configure(self) -> Config:
        shape = self.world.shape
        services = {}
        for name, mail in self.world.mail.items():
            services[name] = ServiceConfig.model_validate(
                {
                    "name": name,
                    "hosts": list(dict.fromkeys(p.host for p in mail.places)),
                    "records": ["3 1 1", "3 1 2"] if shape.both else ["3 1 1"],
                    "ttl": f"{shape.enforced}s" if shape.enforced else "keep",
                    "ttls_to_wait": shape.ttls,
                    "min_wait": f"{shape.stretch}s",
                    "retain": f"{shape.retain}s",
                    "drain": f"{shape.drain}s",
                    "verify_timeout": "60s",
                    "check_every": "900s",
                    "trust": "none",
                    "install": [{"kind": "postfix", "chain_file": f"/live/{name}.pem"}],
                }
            )
        dns = DnsConfig.model_validate({"primary": "192.0.2.53", "tsig_key": "/key", "settle": f"{shape.settle}s"})
        return Config(Path("/rollover.toml"), self.directory, dns, AlertConfig(), services)

    def _boundary(self, where: str) -> None:
        if self.meanwhile is not None and where != "before a commit":  # there nobody else can write
            self.meanwhile_in -= 1
            if self.meanwhile_in <= 0:
                happen, self.meanwhile = self.meanwhile, None
                happen()
        self.die_in -= bool(self.die_in)
        if where == self.die_at or (self._mortal and not self.die_in):
            self.died_at = where
            raise Crash

    def _process(self) -> Host:
        """Return what a new process of the tool opens."""
        store: Store | None = self._kept
        if store is None:
            store = written = SimStore.open(self.directory / "rollover.db")
            written.hands = self.hands
        made = EngineHands(
            names=cast("Any", SimNames(self.hands)),
            endpoints=SimEndpoints(self.hands),
            targets={name: (cast("Any", SimTarget(self.hands, name)),) for name in self.world.mail},
        )
        return Host(
            config=self.config,
            services=self._services,
            store=store,
            vault=self.vault,
            clock=self.world,
            make_hands=lambda config, clock: made,
            run_directory=self.directory / "run",
        )

    # ------------------------------------------------------------------------------ commands

    def _do(self, what: str, work: Any) -> str:
        """Run one process of the tool; return what became of it."""
        host = self._process()
        self.looked_at, self.began = set(), self.world.t
        self.died_at, self._mortal = "", self.die_in > 0
        self.hands.asked.clear()
        try:
            coroutine: Coroutine[Any, Any, Any] = work(host)
            result = self.loop.run_until_complete(coroutine)
            self.looked_at = set(getattr(result, "outcomes", ()))
        except Crash:
            self.world.say(f"{what}: killed {self.died_at}")
            return "killed"
        except RolloverError as error:
            self.world.say(f"{what}: {type(error).__name__}: {error.message}")
            return error.code
        finally:
            self.die_in, self.die_at, self._mortal, self.hands.fault = 0, "", False, ""
            if self._kept is None:
                host.store.close()
        if self.hands.struck != "state disk full":  # then it could note nothing
            self.world.judge.ttl_unseen -= self.hands.asked
        for it in self.reports():
            self.world.say(
                f"{what}: {it.phase}, {it.level}: {it.summary[-90:]} {sorted({d.problem.code for d in it.problems})}"
            )
        return ""

    @contextmanager
    def _reading(self) -> Iterator[Host]:
        """Yield what a process opens that changes nothing."""
        if self._reader is not None:
            yield self._reader
            return
        host = self._process()
        try:
            yield host
        finally:
            host.store.close()

    def made(self, target: str, record: str) -> bool:
        """Tell whether the tool has noted a record as its own."""
        with self._reading() as host:
            return record in map(str, host.store.managed([target])[target])

    def book(self, service: str) -> Book:
        """Return what the tool remembers of a service."""
        with self._reading() as host:
            return host.store.book(service)

    def knows(self, it: Certificate) -> bool:
        """Tell whether a certificate was handed over, and not by a hook that died before it was stored."""
        with self._reading() as host:
            return it.fingerprint in host.store.fingerprints() and self.vault.has_chain(it.fingerprint)

    def reports(self) -> list[Report]:
        """Return what `status` says."""
        with self._reading() as host:
            return reports(host)

    def phases(self) -> set[str]:
        """Return where the services stand, in the words of `status`; a run that died in a step left it there."""
        with self._reading() as host:
            return {self._phase(host, it) for it in reports(host)}

    def _phase(self, host: Host, it: Report) -> str:
        book = host.store.book(it.name)
        begun = [(x.kind, x.detail) for x in host.store.open_intents(it.name)]
        if any(kind == "install" for kind, _ in begun):
            return "installing"
        for kind, detail in begun:
            if kind == "update":
                return "publishing" if any(c["add"] for c in detail["changes"]) else "withdrawing"
        if book.install is not None:
            return "rolling-back" if book.rollback or book.returning else "verifying"
        return it.phase.value

    def tick(self) -> str:
        """`rollover advance` of the timer."""
        return self._do("advance", lambda host: tick(host, list(self.config.services), asked=False))

    def look(self) -> str:
        """`rollover advance NAME…` of a person."""
        return self._do("advance by name", lambda host: tick(host, list(self.config.services), asked=True))

    def adopt(self, service: str) -> str:
        """`rollover adopt`."""
        return self._do("adopt", lambda host: adopt(host, service, say=lambda _: None))

    def deploy(self, it: Certificate, service: str) -> str:
        """`rollover deploy`, as a hook calls it."""

        async def work(host: Host) -> None:
            staged = stage(host, Material(it.fullchain, it.key, Path("/lineage/fullchain.pem")), service=service)
            for name in staged.services:
                await run(host, name, HOOK)

        return self._do(f"deploy {it.name}", work)

    def hand_over(self, it: Certificate, service: str) -> None:
        """`rollover deploy` of a hook that finds another process at work: the certificate is kept, and that is all."""
        with self._reading() as host:
            stage(host, Material(it.fullchain, it.key, Path("/lineage/fullchain.pem")), service=service)

    def rollback(self, service: str, to: str = "") -> str:
        """`rollover rollback`."""
        return self._do("rollback", lambda host: operate.rollback(host, service, to=to, say=lambda _: None))

    def pause(self, service: str) -> str:
        """`rollover pause`."""
        return self._do("pause", lambda host: operate.pause(host, service, None))

    def resume(self, service: str) -> str:
        """`rollover resume`."""
        return self._do("resume", lambda host: operate.resume(host, service))
