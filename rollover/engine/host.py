"""One host: its configuration and its state; its hands are made when they are first needed.

Commands that only read what is remembered do not pay for the libraries that talk to servers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from rollover.clock import Clock, SystemClock
from rollover.config.models import Config, ServiceConfig
from rollover.core.errors import StateError, UsageError
from rollover.core.ledger import Patience
from rollover.core.model import Service
from rollover.engine.hands import Hands
from rollover.state.store import Store
from rollover.state.vault import Vault, check_private, make_private

RUN_DIRECTORY = Path("/run/rollover")


@dataclass(slots=True)
class Host:
    """Everything that a run needs."""

    config: Config
    services: Mapping[str, Service]
    store: Store
    vault: Vault
    clock: Clock
    make_hands: Callable[[Config, Clock], Hands]
    run_directory: Path = RUN_DIRECTORY
    _hands: Hands | None = field(default=None, repr=False)

    @property
    def hands(self) -> Hands:
        """The hands. Raises PermissionsError or ConfigError where a key file cannot be used."""
        if self._hands is None:
            self._hands = self.make_hands(self.config, self.clock)
        return self._hands

    @property
    def lock_file(self) -> Path:
        """The lock of the one writer."""
        return self.config.state / "lock"

    @property
    def longest_patience(self) -> Patience:
        """The longest that any service waits; for what may be forgotten."""
        every = [s.patience for s in self.services.values()]
        return Patience(max(p.ttls for p in every), max(p.min_wait for p in every), max(p.settle for p in every))

    def service(self, name: str) -> Service:
        """Return a service. Raises UsageError for one that is not configured."""
        if name not in self.services:
            raise UsageError(
                f"no service {name!r} in {self.config.path}", hint=f"configured: {', '.join(self.services) or 'none'}"
            )
        return self.services[name]


def _real(config: Config, clock: Clock) -> Hands:
    from rollover.engine.real import hands_of  # here: see the module's first lines

    return hands_of(config, clock)


def open_host(config: Config, *, write: bool = True, rebuild: bool = False) -> Host:
    """Open the state of *config*.

    *write* False: for commands that change nothing; nothing is made on disk. *rebuild*: a vault
    without a database is accepted (adopt starts anew). Raises StateError, PermissionsError.
    """
    vault = Vault(config.state / "vault")
    database = config.state / "rollover.db"
    if write:
        make_private(config.state)
    else:
        check_private(config.state)
    there = database.exists() and database.stat().st_size > 0
    if not there and not vault.empty() and not rebuild:
        raise StateError(
            f"{database} is {'empty' if database.exists() else 'gone'}, though {config.state}/vault has certificates",
            hint="restore it from a backup; without one `rollover adopt SERVICE` starts anew (docs/state.md)",
        )
    if write:
        vault.prepare()
    return Host(
        config=config,
        services={s.name: core_service(s, config) for s in config},
        store=Store.open(database, write=write),
        vault=vault,
        clock=SystemClock(),
        make_hands=_real,
    )


def core_service(it: ServiceConfig, config: Config) -> Service:
    """Return what the core needs of a configured service."""
    return Service(
        name=it.name,
        hosts=it.hosts,
        ports=it.ports,
        records=it.records,
        ttl=it.ttl,
        patience=Patience(it.ttls_to_wait, it.min_wait, config.dns.settle),
        retain=it.retain,
        drain=it.drain,
        verify_timeout=it.verify_timeout,
        check_every=it.check_every,
        propagation_warn=config.dns.propagation_warn,
    )
