"""The real hands: name servers, mail servers and files, as the configuration names them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from rollover.clock import Clock
from rollover.config.models import Config, PostfixInstall, ServiceConfig
from rollover.core.sighting import Endpoint, EndpointSighting
from rollover.core.steps import OwnerChange
from rollover.dns.authoritative import DnsLook, look
from rollover.dns.keys import load_tsig_key
from rollover.dns.resolver import Resolver
from rollover.dns.settings import DnsSettings, ExtraServer, Ignored, ZoneSettings
from rollover.dns.update import Change, ReadBack, read_back, try_grant, update
from rollover.engine.hands import Hands
from rollover.mail.command import CommandTarget
from rollover.mail.postfix import Postfix
from rollover.mail.probe import probe_all
from rollover.mail.target import PostfixTarget, Target

PROBE_TIMEOUT = 15.0  # postscreen greets after six seconds


def hands_of(config: Config, clock: Clock) -> Hands:
    """Return the hands of a host. Raises PermissionsError, ConfigError for unusable key files."""
    return Hands(
        names=DnsHands(dns_settings(config), clock),
        endpoints=MailHands(),
        targets={s.name: targets_of(s, config) for s in config},
    )


class DnsHands:
    """The real name servers."""

    def __init__(self, settings: DnsSettings, clock: Clock) -> None:
        self.settings = settings
        self._clock = clock

    def _resolver(self, settings: DnsSettings) -> Resolver:
        return Resolver.of(settings, self._clock)

    async def look(
        self, owners: Sequence[str], remembered: Mapping[str, Sequence[str]], *, timeout: float | None
    ) -> DnsLook:
        settings = (
            self.settings if timeout is None else replace(self.settings, timeout=min(timeout, self.settings.timeout))
        )
        return await look(owners, settings, self._resolver(settings), self._clock, remembered=remembered)

    async def addresses(self, host: str) -> list[str]:
        return list((await self._resolver(self.settings).addresses(host))[0])

    async def update(self, changes: Sequence[OwnerChange]) -> None:
        await update([_change(c) for c in changes], self.settings, self._clock)

    async def read_back(self, changes: Sequence[OwnerChange], *, once: bool = False) -> list[ReadBack]:
        its = [_change(c) for c in changes]
        return await read_back(its, self.settings, self._clock, **({"within": 0.0} if once else {}))

    async def try_grant(self, owner: str, zone: str) -> None:
        await try_grant(owner, zone, self.settings, self._clock)


class MailHands:
    """The real mail servers."""

    async def probe(
        self, endpoints: Sequence[Endpoint], *, connections: int, timeout: float | None
    ) -> tuple[EndpointSighting, ...]:
        return await probe_all(endpoints, connections=connections, timeout=min(timeout or PROBE_TIMEOUT, PROBE_TIMEOUT))


def dns_settings(config: Config) -> DnsSettings:
    """Return the DNS settings with their keys read. Raises PermissionsError, ConfigError."""
    dns = config.dns
    return DnsSettings(
        primary=str(dns.primary) if dns.primary else None,
        key=load_tsig_key(dns.tsig_key),
        resolver=str(dns.resolver) if dns.resolver else None,
        also_check=tuple(
            ExtraServer(str(s), load_tsig_key(s.tsig_key) if s.tsig_key else None) for s in dns.also_check
        ),
        ignore=tuple(Ignored(i.server, i.until) for i in dns.ignore),
        settle=dns.settle,
        propagation_warn=dns.propagation_warn,
        timeout=dns.timeout,
        zones=tuple(
            ZoneSettings(
                z.name, str(z.primary) if z.primary else None, load_tsig_key(z.tsig_key) if z.tsig_key else None
            )
            for z in dns.zones
        ),
    )


def targets_of(it: ServiceConfig, config: Config) -> tuple[Target, ...]:
    """Return what writes and reloads for a service."""
    targets: list[Target] = []
    for i, install in enumerate(it.installs):
        if isinstance(install, PostfixInstall):
            beside = [
                str(other.chain_file)
                for service in config
                for other in service.installs
                if isinstance(other, PostfixInstall)
                and other.config_directory == install.config_directory
                and other.chain_file != install.chain_file
                and set(service.ports) & set(it.ports)
            ]
            postfix = Postfix(str(install.config_directory))
            targets.append(PostfixTarget(postfix, str(install.chain_file), ports=it.ports, beside=beside))
        else:
            targets.append(
                CommandTarget(
                    cert_file=str(install.cert_file or ""),
                    key_file=str(install.key_file or ""),
                    chain_file=str(install.chain_file or ""),
                    owner=install.owner or "",
                    group=install.group or "",
                    mode=install.mode,
                    reload=install.reload,
                    place=config.place(it.name, f"install[{i}]"),
                )
            )
    return tuple(targets)


def _change(it: OwnerChange) -> Change:
    return Change(
        owner_target=it.target,
        zone=it.zone,
        expect=it.expect,
        expect_wildcard=it.wildcard,
        add=it.add,
        delete=it.delete,
        ttl=it.ttl,
    )
