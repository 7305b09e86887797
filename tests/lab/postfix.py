"""Postfix instances: the MX that throws mail away, and the senders that insist on DANE."""

from __future__ import annotations

import grp
import os
import pwd
import shutil
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

from . import addresses as at
from .certificates import Certificate
from .endpoint import greets
from .process import LabError, Server, run

_DAEMONS = Path("/usr/lib/postfix/sbin")
_QUEUES = ("active", "bounce", "corrupt", "defer", "deferred", "flush", "hold", "incoming", "private", "saved", "trace")
_COMMON = {
    "compatibility_level": "3.6",
    "mail_owner": "postfix",
    "setgid_group": "postdrop",
    "mynetworks": "127.0.0.0/8, [2001:db8::]/32",
    "alias_maps": "",
    "alias_database": "",
    "local_recipient_maps": "",
    "biff": "no",
    "maillog_file_prefixes": "/run",
    "enable_long_queue_ids": "yes",
    "in_flow_delay": "0",
    "smtpd_peername_lookup": "no",
    "smtpd_client_connection_count_limit": "0",
    "smtputf8_enable": "no",
}
_SERVICES = """\
pickup    unix  n - n 60 1 pickup
cleanup   unix  n - n - 0 cleanup
qmgr      unix  n - n 300 1 qmgr
tlsmgr    unix  - - n 1000? 1 tlsmgr
rewrite   unix  - - n - - trivial-rewrite
bounce    unix  - - n - 0 bounce
defer     unix  - - n - 0 bounce
trace     unix  - - n - 0 bounce
verify    unix  - - n - 1 verify
flush     unix  n - n 1000? 0 flush
proxymap  unix  - - n - - proxymap
smtp      unix  - - n - - smtp
relay     unix  - - n - - smtp
showq     unix  n - n - - showq
error     unix  - - n - - error
retry     unix  - - n - - error
discard   unix  - - n - - discard
local     unix  - n n - - local
lmtp      unix  - - n - - lmtp
anvil     unix  - - n - 1 anvil
scache    unix  - - n - 1 scache
postlog   unix-dgram n - n - 1 postlogd
"""


class Postfix(Server):
    """One Postfix instance in a mount namespace of its own, so that its files can be bent.

    `postfix -c CONFIG_DIRECTORY reload` and all other commands work on it from outside.
    """

    def __init__(self, name: str, directory: Path, addresses: Sequence[str]) -> None:
        super().__init__(name, directory)
        self.addresses = tuple(addresses)
        self.config_directory = directory / "etc"
        self.queue_directory = directory / "queue"
        self._ports: tuple[int, ...] = (25,)

    @property
    def address(self) -> str:
        """The first address it listens on."""
        return self.addresses[0]

    def command(self) -> list[str]:
        master = [str(_DAEMONS / "master"), "-d", "-c", str(self.config_directory)]
        return ["unshare", "--mount", "--propagation", "private", *master]

    def write_configuration(self, main: Mapping[str, str], inet_services: str) -> None:
        """Create the instance's directories, main.cf and master.cf."""
        self._make_directories()
        parameters = {
            **_COMMON,
            "queue_directory": str(self.queue_directory),
            "data_directory": str(self.directory / "data"),
            "maillog_file": str(self.log),
            "inet_interfaces": ", ".join(self.addresses),
            "inet_protocols": "all" if any(":" in a for a in self.addresses) else "ipv4",
            **main,
        }
        lines = [f"{name} = {value}\n" for name, value in parameters.items()]
        (self.config_directory / "main.cf").write_text("".join(lines))
        (self.config_directory / "master.cf").write_text(inet_services + _SERVICES)
        self._age_main_cf()

    def _age_main_cf(self) -> None:
        # Postfix programs that find main.cf modified within the last two seconds wait until it is
        # older, lest they read half of an edit (load_file.c).
        main = self.config_directory / "main.cf"
        earlier = main.stat().st_mtime - 10
        os.utime(main, (earlier, earlier))

    @contextmanager
    def edits_age_at_once(self) -> Iterator[None]:
        """Let no program wait for two seconds after somebody else's edit of main.cf, within the block.

        For tests with dozens of edits, which come to nothing but that wait.
        """
        over = threading.Event()

        def watch() -> None:
            main = self.config_directory / "main.cf"
            while not over.wait(0.02):
                with suppress(FileNotFoundError):
                    if main.stat().st_mtime > time.time() - 5:
                        self._age_main_cf()

        watcher = threading.Thread(target=watch, name="edits-age", daemon=True)
        watcher.start()
        try:
            yield
        finally:
            over.set()
            watcher.join()

    def _make_directories(self) -> None:
        owner = pwd.getpwnam("postfix").pw_uid
        group = grp.getgrnam("postdrop").gr_gid
        (self.directory / "data").mkdir(parents=True)
        os.chown(self.directory / "data", owner, 0)
        self.config_directory.mkdir()
        for name in ("pid", *_QUEUES, "maildrop", "public"):
            (self.queue_directory / name).mkdir(parents=True, mode=0o700)
        for name in _QUEUES:
            os.chown(self.queue_directory / name, owner, 0)
        (self.queue_directory / "pid").chmod(0o755)
        for name, mode in (("maildrop", 0o730), ("public", 0o710)):
            os.chown(self.queue_directory / name, owner, group)
            (self.queue_directory / name).chmod(mode)

    def wait_ready(self) -> None:
        """Wait until every port of every address gives its greeting."""
        for address in self.addresses:
            for port in self._ports:
                self.wait_until(
                    partial(greets, address, port),
                    f"greeting at {address} port {port}",
                )

    def start(self) -> None:
        """Start, and wait for the greeting."""
        self.spawn()
        self.wait_ready()

    def reload(self) -> None:
        """Do `postfix reload`, as an administrator would."""
        run(["postfix", "-c", self.config_directory, "reload"])

    def get(self, parameter: str) -> str:
        """Return the value of a main.cf parameter (`postconf -h`)."""
        return run(["postconf", "-c", self.config_directory, "-h", parameter]).strip()

    def postconf(self, *edits: str) -> None:
        """Edit main.cf (`postconf -e NAME=VALUE…`); `reload` is another step."""
        run(["postconf", "-c", self.config_directory, "-e", *edits])
        self._age_main_cf()

    def _in_its_namespace(self, *command: str | Path) -> None:
        run(["nsenter", "--target", str(self.pid), "--mount", "--", *command])


class Mx(Postfix):
    """The receiving Postfix: accepts mail for example.test. and discards it."""

    def __init__(
        self,
        directory: Path,
        certificate: Certificate,
        *,
        addresses: Sequence[str] = (at.MX,),
        chain_file: bool = False,
        name: str = "mx",
    ) -> None:
        super().__init__(name, directory, addresses)
        self.certificate = certificate
        self._chain_file = chain_file
        self._stale: list[Path] = []
        self._main_cf = ""

    def spawn(self) -> None:
        if not self.config_directory.exists():
            self._configure()
        super().spawn()

    def _configure(self) -> None:
        tls = self.directory / "tls"
        tls.mkdir(parents=True)
        # Copies, as on a host where nobody told Postfix of the ACME client's directory.
        key, chain = tls / "key.pem", tls / "cert.pem"
        shutil.copy2(self.certificate.privkey, key)
        shutil.copy2(self.certificate.fullchain, chain)
        if self._chain_file:
            both = tls / "chain.pem"
            both.touch(mode=0o600)
            both.write_text(key.read_text() + chain.read_text())
            files = {"smtpd_tls_chain_files": str(both)}
        else:
            files = {"smtpd_tls_cert_file": str(chain), "smtpd_tls_key_file": str(key)}
        main = {
            "myhostname": "mail.example.test",
            "mydestination": "example.test, mail.example.test",
            "local_transport": "discard:",
            "smtpd_tls_security_level": "may",
            "smtpd_tls_loglevel": "1",
            "smtpd_delay_reject": "no",
            # How long master leaves a service alone that died at its start; a reload does not
            # shorten it. The default is 60 s, and each test of a broken main.cf would take that.
            "service_throttle_time": "5s",
            **files,
        }
        # 587: STARTTLS required; 465: TLS from the first octet.
        services = (
            "smtp inet n - n - - smtpd\n"
            "587 inet n - n - - smtpd -o smtpd_tls_security_level=encrypt\n"
            "465 inet n - n - - smtpd -o smtpd_tls_wrappermode=yes\n"
        )
        self.write_configuration(main, services)

    def break_main_cf(self) -> None:
        """Give main.cf a value that every new smtpd dies of; `postfix reload` still exits 0."""
        self._main_cf = self._main_cf or (self.config_directory / "main.cf").read_text()
        self.postconf("smtpd_tls_security_level=nonsense")

    def repair_main_cf(self) -> None:
        """Put main.cf back as it was before `break_main_cf`."""
        if not self._main_cf:
            raise LabError("main.cf was not broken")
        (self.config_directory / "main.cf").write_text(self._main_cf)
        self._age_main_cf()
        self._main_cf = ""

    def disarm_reload(self, *directories: Path) -> None:
        """Let Postfix see a copy of *directories* as they are now, whatever changes outside.

        As in a container whose volume does not follow: files are replaced, `postfix reload`
        exits 0, and the endpoint presents what it presented. The default is the directory of
        each certificate file that main.cf names.
        """
        for directory in directories or self._certificate_directories():
            copy = self.directory / f"stale-{len(self._stale)}"
            shutil.copytree(directory, copy, symlinks=True)
            self._in_its_namespace("mount", "--no-mtab", "--bind", copy, directory)
            self._stale.append(directory)

    def rearm_reload(self) -> None:
        """End `disarm_reload`: the next reload sees the files as they are."""
        for directory in self._stale:
            self._in_its_namespace("umount", "--no-mtab", directory)
            shutil.rmtree(self.directory / f"stale-{self._stale.index(directory)}")
        self._stale.clear()

    def _certificate_directories(self) -> list[Path]:
        names = ("smtpd_tls_chain_files", "smtpd_tls_cert_file", "smtpd_tls_key_file")
        values = [self.get(name) for name in names]
        return sorted({Path(value).parent for value in values if value.startswith("/")})


class Sender(Postfix):
    """A sending Postfix with `smtp_tls_security_level = dane` and a resolver of its own.

    Every message is a fresh attempt over a connection of its own; a deferred one is not tried
    again while the lab lives, and no deferral suspends the next message's attempt.
    """

    def __init__(self, name: str, directory: Path, address: str, resolver: str) -> None:
        super().__init__(name, directory, (address,))
        self._resolver = resolver

    def command(self) -> list[str]:
        # The resolver library reads /etc/resolv.conf, of which there is one a mount namespace.
        script = 'mount --no-mtab --bind "$1" /etc/resolv.conf && shift && exec "$@"'
        mount, *rest = super().command()
        inner = ["sh", "-c", script, "sh", str(self.directory / "resolv.conf")]
        return [mount, *rest[:3], *inner, *rest[3:]]

    def spawn(self) -> None:
        if not self.config_directory.exists():
            self._configure()
        super().spawn()

    def _configure(self) -> None:
        main = {
            "myhostname": f"{self.name}.test",
            "mydestination": "",
            "smtp_bind_address": self.address,
            "smtp_tls_security_level": "dane",
            "smtp_dns_support_level": "dnssec",
            "smtp_host_lookup": "dns",
            "smtp_tls_loglevel": "1",
            "smtp_connection_cache_on_demand": "no",
            "default_destination_concurrency_failed_cohort_limit": "0",
            "initial_destination_concurrency": "50",
            "default_destination_concurrency_limit": "50",
            "minimal_backoff_time": "1h",
            "maximal_backoff_time": "1h",
            "queue_run_delay": "1h",
            "smtp_connect_timeout": "20s",
            "smtp_helo_timeout": "20s",
            "inet_protocols": "all",
        }
        self.write_configuration(main, "smtp inet n - n - - smtpd\n")
        resolv_conf = f"nameserver {self._resolver}\noptions trust-ad edns0 timeout:10 attempts:2\n"
        (self.directory / "resolv.conf").write_text(resolv_conf)
