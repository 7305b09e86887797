"""The lab: every server of a DANE mail host and of two senders, in one namespace."""

from __future__ import annotations

import itertools
import json
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Self

from . import addresses as at
from . import endpoint, zones
from .acme import Certbot, Pebble
from .certificates import Authority, Certificate, KeyType
from .command import run_tool, split_changes, toml
from .junk import JunkServer, Reply
from .keys import TsigKey, new_tsig_key, new_zone_key
from .load import Load
from .maillog import MailLog
from .nameservers import Primary, Secondary, SigningServer
from .postfix import Mx, Sender
from .process import LabError, Server, wait_for
from .proxy import UpdateProxy
from .unbound import Resolver
from .zones import OwnerKind, ZoneOptions

_numbers = itertools.count(1)


def inside_namespace() -> bool:
    """Whether this process was started by `enter`: /etc is the copy that it made.

    The environment alone is not believed: the lab writes below /etc and uses ports 25 and 53.
    """
    copy = at.ROOT / "etc"
    return copy.is_dir() and copy.samefile("/etc")


class SendingHost:
    """A sender and its resolver."""

    def __init__(self, postfix: Sender, resolver: Resolver) -> None:
        self.postfix = postfix
        self.resolver = resolver


class Lab:
    """A running lab. Use it as a context manager, or `start` and `stop` it.

    ttl: TTL in seconds of the TLSA RRset and of the addresses.
    owner: what owns the TLSA name of port 25, see OwnerKind.
    ports: the ports that have TLSA records, and that the tool's configuration names.
    published: False for a zone without the first certificate's record.
    foreign: rdata of others at the owner of port 25, from the start.
    mx_addresses: where the MX listens, and what its A and AAAA records say.
    chain_file: True for an MX that has `smtpd_tls_chain_files` already, not the legacy pair.
    key: key type of the first certificate.
    senders: False for a lab without senders, which starts faster: for tests of one hand.
    """

    running: ClassVar[list[Lab]] = []
    """The labs that were started and not stopped; one at a time, as they share the addresses."""

    def __init__(
        self,
        ttl: int = 20,
        *,
        owner: OwnerKind = "plain",
        cname_ttl: int | None = None,
        negative_ttl: int = 2,
        ports: Sequence[int] = (25,),
        published: bool = True,
        foreign: Sequence[str] = (),
        mx_addresses: Sequence[str] = (at.MX,),
        extra: str = "",
        refresh: int = 5,
        hidden_primary: bool = False,
        chain_file: bool = False,
        key: KeyType = "p256",
        senders: bool = True,
    ) -> None:
        if not inside_namespace():
            raise LabError("not inside a lab namespace: start it with tests/lab/enter COMMAND")
        self.ttl = ttl
        self.ports = tuple(ports)
        self.directory = at.ROOT / str(next(_numbers))
        self.options = ZoneOptions(
            ttl=ttl,
            negative_ttl=negative_ttl,
            owner=owner,
            cname_ttl=cname_ttl,
            ports=ports,
            published=published,
            foreign=foreign,
            mx_addresses=mx_addresses,
            extra=extra,
            refresh=refresh,
            hidden_primary=hidden_primary,
        )
        self._chain_file = chain_file
        self._key = key
        self._with_senders = senders
        self._junk_servers: list[JunkServer] = []
        self._extra_servers: list[Server] = []

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start every server at once and return when mail could flow. Raises LabError if not."""
        begin = time.monotonic()
        if Lab.running:
            raise LabError("another lab is running in this namespace; stop it first")
        Lab.running.append(self)
        self.directory.mkdir(parents=True)
        self._make_keys()
        self._make_servers()
        try:
            self.certbot.prepare()
            self.update_proxy.start()
            for server in self.servers:
                server.spawn()
            for server in self.servers:
                server.wait_ready()
            self._wait_in_step()
        except BaseException:
            self.stop()
            raise
        self.configure()
        self.started_in: float = time.monotonic() - begin
        """Seconds that `start` took."""

    def _make_keys(self) -> None:
        self.authority = Authority(self.directory / "ca")
        self.trust_file = self.directory / "trust.pem"
        shutil.copy(self.authority.root_file, self.trust_file)
        self.old: Certificate = self.certificate(key=self._key)
        """The certificate that the MX serves, and DNS has the record of, at the start."""
        directory = self.directory / "keys"
        with ThreadPoolExecutor(8) as pool:
            names = ("rollover", "dane", "acme", "admin")
            tsig = [pool.submit(new_tsig_key, f"{name}-key", self.directory / f"{name}.key") for name in names]
            zone_names = ("test.", at.DOMAIN, at.DANE_DOMAIN)
            ds = [pool.submit(new_zone_key, zone, directory) for zone in zone_names]
            self._tsig: dict[str, TsigKey] = {name: key.result() for name, key in zip(names, tsig, strict=True)}
            self._ds = {zone: one.result() for zone, one in zip(zone_names, ds, strict=True)}
        self.tsig_key = self._tsig["rollover"]
        self.dane_key = self._tsig["dane"]
        self.acme_key = self._tsig["acme"]

    def _make_servers(self) -> None:
        base, options, keys = self.directory, self.options, self.directory / "keys"
        self.parent = SigningServer("parent", base / "parent", at.PARENT, keys)
        self.parent.add_zone("test.", zones.parent(options, self._ds))
        self.primary = Primary(base / "primary", keys, options, self._tsig, self.old.tlsa)
        self.secondary = Secondary(base / "secondary", keys)
        anchor = self._ds["test."]
        self.resolver = Resolver("resolver", base / "resolver", at.RESOLVER, anchor)
        self.mx = Mx(
            base / "mx",
            self.old,
            addresses=options.mx_addresses,
            chain_file=self._chain_file,
        )
        self.senders: list[SendingHost] = []
        for number, address in enumerate(at.SENDERS if self._with_senders else ()):
            name = f"sender{number + 1}"
            where = at.SENDER_RESOLVERS[number]
            resolver = Resolver(f"{name}-resolver", base / f"{name}-resolver", where, anchor)
            postfix = Sender(name, base / name, address, where)
            resolver.elsewhere = postfix.elsewhere = True
            self.senders.append(SendingHost(postfix, resolver))
        self.update_proxy = UpdateProxy()
        self.pebble = Pebble(base / "pebble", self.authority, self.trust_file)
        self.certbot = Certbot(base / "certbot", self.pebble, self.acme_key)
        self.mail = MailLog({one.postfix.name: one.postfix.log for one in self.senders})
        self.load = Load([one.postfix.address for one in self.senders], self.mail)

    def _wait_in_step(self) -> None:
        """Wait until the secondary serves what the primary does, with signatures."""
        for zone in (at.DOMAIN, at.DANE_DOMAIN):
            wait_for(partial(self._in_step, zone), f"the secondary is in step for {zone}")

    def _in_step(self, zone: str) -> bool:
        return self.secondary.serial(zone) == self.primary.serial(zone)

    @property
    def resolvers(self) -> list[Resolver]:
        """The tool's resolver and those of the senders."""
        return [self.resolver, *(one.resolver for one in self.senders)]

    @property
    def servers(self) -> list[Any]:
        """Every server of the lab, in the order in which they are waited for."""
        postfixes = [self.mx, *(one.postfix for one in self.senders)]
        return [self.parent, self.primary, self.secondary, *self.resolvers, *postfixes]

    def stop(self) -> None:
        """End every process of the lab and remove its files. Safe to call twice."""
        if self not in Lab.running:
            return
        Lab.running.remove(self)
        self.load.abandon()
        for listener in (self.update_proxy, *self._junk_servers):
            listener.stop()
        everything = [*self._extra_servers, self.pebble, *self.servers]
        for server in everything:
            server.signal_group(9)
        for server in everything:
            server.kill()
        self.certbot.remove()
        shutil.rmtree(self.directory, ignore_errors=True)

    def logs(self, lines: int = 15) -> str:
        """Return the end of every server's log, for a test that failed."""
        everything = [*self.servers, *self._extra_servers, self.pebble]
        return "\n".join(f"--- {one.name}\n{one.tail(lines)}" for one in everything)

    # Certificates and endpoints

    def certificate(self, names: Sequence[str] = ("mail.example.test",), **options: Any) -> Certificate:
        """Issue a certificate of the lab's authority; options as of Authority.issue."""
        return self.authority.issue(names, **options)

    def served(self, address: str = "", port: int = 25, *, sni: str | None = None, algorithm: str = "") -> str:
        """Return the SPKI SHA-256 that the MX presents in a new handshake, hexadecimal."""
        return endpoint.served(address or self.options.mx_addresses[0], port, sni=sni, algorithm=algorithm)

    def second_mx(self, certificate: Certificate, address: str = at.MX_SECOND) -> Mx:
        """Start another Postfix at *address* that presents *certificate*; it ends with the lab.

        It gets mail only if `extra` or an update of the zone names its address.
        """
        name = f"mx-{address}"
        mx = Mx(self.directory / name, certificate, addresses=(address,), name=name)
        self._extra_servers.append(mx)
        mx.start()
        return mx

    def junk_server(self, reply: Reply, address: str = at.SPARE[0]) -> JunkServer:
        """Start a name server that answers `reply(query)`, see junk; it ends with the lab."""
        server = JunkServer(reply, address)
        server.start()
        self._junk_servers.append(server)
        return server

    # The tool

    @property
    def config_file(self) -> Path:
        """The tool's configuration, written by `configure`."""
        return self.directory / "rollover.toml"

    @property
    def state_directory(self) -> Path:
        """The tool's `state`."""
        return self.directory / "state"

    @property
    def chain_file(self) -> Path:
        """The `chain_file` of the service in the tool's configuration."""
        return self.directory / "live" / "mail.pem"

    def configure(
        self,
        *,
        services: Mapping[str, object] | None = None,
        alert: Mapping[str, object] | None = None,
        state: str | Path | None = None,
        **changes: object,
    ) -> Path:
        """Write the tool's configuration anew: the lab's defaults with *changes*.

        A change is a key of [dns] (`primary`, `tsig_key`, `zone`…) or of [services.mail] (`hosts`,
        `ports`, `retain`…); None leaves the key out. *services* adds further services or replaces
        `mail`. Waits that are days in a real configuration are seconds here.
        """
        dns_changes, service_changes = split_changes(changes)
        zone = {"name": "dane.test", "primary": at.PRIMARY, "tsig_key": str(self.dane_key.path)}
        dns: dict[str, object] = {
            "primary": at.PRIMARY,
            "tsig_key": str(self.tsig_key.path),
            "resolver": at.RESOLVER,
            "timeout": "5s",
            "zone": [zone] if self.options.owner == "cname-other-zone" else None,
        }
        mail: dict[str, object] = {
            "hosts": ["mail.example.test"],
            "ports": list(self.ports),
            "retain": "3s",
            "drain": "2s",
            "verify_timeout": "10s",
            "check_every": "1s",
            "trust": str(self.trust_file),
            "install": [
                {
                    "kind": "postfix",
                    "chain_file": str(self.chain_file),
                    "config_directory": str(self.mx.config_directory),
                }
            ],
        }
        self.chain_file.parent.mkdir(mode=0o700, exist_ok=True)
        tables: dict[str, object] = {
            "state": str(state or self.state_directory),
            "dns": dns | dns_changes,
            "services": {"mail": mail | service_changes} | dict(services or {}),
            "alert": alert,
        }
        self.config_file.write_text(toml(tables).lstrip())
        return self.config_file

    def rollover(
        self,
        *arguments: str | Path,
        check: int | bool | None = None,
        offset: str | None = None,
        env: Mapping[str, str] | None = None,
        input: str | None = None,  # noqa: A002 - subprocess.run's name for it
        seconds: float = 120,
    ) -> subprocess.CompletedProcess[str]:
        """Run the tool's command with the lab's configuration; output is text.

        check: the exit code that must come (True: 0), asserted with the output; None: any.
        offset: jump of the tool's wall clock, such as "+400s"; see command.environment.
        """
        return run_tool(
            arguments,
            self.config_file,
            check=check,
            offset=offset,
            env=env,
            input=input,
            seconds=seconds,
        )

    def deploy(self, certificate: Certificate, *more: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run `rollover deploy` on a certificate's files, as a hook would."""
        return self.rollover("deploy", certificate.fullchain, certificate.privkey, *more, **options)

    def status(self, *more: str) -> dict[str, Any]:
        """Return `rollover status --json`, whatever its exit code."""
        done = self.rollover("status", "--json", *more)
        try:
            result: dict[str, Any] = json.loads(done.stdout)
        except json.JSONDecodeError as error:
            raise AssertionError(f"status --json printed:\n{done.stdout}{done.stderr}") from error
        return result
