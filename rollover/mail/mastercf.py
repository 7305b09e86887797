"""What one Postfix instance is configured with, as postconf(1) tells it: main.cf, services, overrides.

Three short postconf calls (some 5 ms each) and no parsing of main.cf: macros, continuation lines
and defaults of this very Postfix version are its own business.
"""

from __future__ import annotations

import socket
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from rollover.mail.errors import MailConfigError
from rollover.mail.run import run

CHAIN_FILES = "smtpd_tls_chain_files"  # Postfix 3.4; one file holds the key and its chain
SNI_MAPS = "tls_server_sni_maps"
# Certificate and key in separate files, in the order in which Postfix loads them.
PAIRS = (
    ("smtpd_tls_cert_file", "smtpd_tls_key_file"),
    ("smtpd_tls_eccert_file", "smtpd_tls_eckey_file"),
    ("smtpd_tls_dcert_file", "smtpd_tls_dkey_file"),
)
LEGACY = tuple(name for pair in PAIRS for name in pair)
# tlsproxy(8) has each of them once more, by default the same.
PROXY = {name: name.replace("smtpd_", "tlsproxy_", 1) for name in (CHAIN_FILES, *LEGACY)}
CERTIFICATE_PARAMETERS = (CHAIN_FILES, *LEGACY, *PROXY.values())
SWITCHES = ("smtpd_tls_security_level", "smtpd_use_tls", "smtpd_enforce_tls", "smtpd_tls_wrappermode")
# Parameters whose default is the value of another one.
INHERITS = {key: certificate for certificate, key in PAIRS} | {proxy: name for name, proxy in PROXY.items()}


@dataclass(frozen=True, slots=True)
class Service:
    """One line of master.cf; *overrides* are its -o parameters, expanded."""

    name: str  # "smtp", "127.0.0.1:10025"
    kind: str  # "inet", "pass", "unix"
    program: str
    overrides: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.name}/{self.kind}"

    @property
    def port(self) -> int | None:
        """The TCP port that it listens on; None if it is not for the network or is unknown here."""
        if self.kind != "inet":
            return None
        name = self.name.rpartition(":")[2]
        try:
            return int(name) if name.isdecimal() else socket.getservbyname(name, "tcp")
        except (OSError, ValueError):  # unknown, or no name and no number at all
            return None


@dataclass(frozen=True, slots=True)
class Instance:
    """The configuration of one instance at one moment; values have their macros expanded."""

    main: Mapping[str, str]
    services: tuple[Service, ...]

    def value(self, name: str, service: Service | None = None) -> str:
        """Return what parameter *name* is for *service*: its override, an override that the default follows, main.cf."""
        if service is not None and name in service.overrides:
            return service.overrides[name]
        parent = INHERITS.get(name)
        if parent is not None and self.main.get(name, "") == self.main.get(parent, ""):
            return self.value(parent, service)
        return self.main.get(name, "")

    def certificates_of(self, service: Service | None = None) -> tuple[list[str], list[tuple[str, str]]]:
        """Return the chain files of *service* (main.cf's for None), and where it has none its (certificate, key) files."""
        named = PROXY if service is not None and service.program == "tlsproxy" else {name: name for name in PROXY}
        chains = self.value(named[CHAIN_FILES], service).replace(",", " ").split()
        if chains:
            return chains, []
        pairs = [(self.value(named[cert], service), self.value(named[key], service)) for cert, key in PAIRS]
        return [], [(cert, key) for cert, key in pairs if cert not in ("", "none")]

    def tls_services(self, ports: Collection[int] | None = None) -> list[Service]:
        """Return the services that present a certificate; with *ports*, of the network ones only those there.

        smtpd behind postscreen(8), and tlsproxy(8), have no port of their own and always count.
        """
        return [
            service
            for service in self.services
            if service.program == "tlsproxy"
            or (
                service.program == "smtpd"
                and self._speaks_tls(service)
                and (ports is None or service.kind != "inet" or service.port is None or service.port in ports)
            )
        ]

    def _speaks_tls(self, service: Service) -> bool:
        level, *older = (self.value(name, service) for name in SWITCHES)
        if older.pop() == "yes":  # smtpd_tls_wrappermode, whatever the level
            return True
        return level != "none" if level else "yes" in older


def postconf(config_directory: str, *arguments: str) -> str:
    """Run ``postconf -c`` *config_directory* with *arguments*; return its output.

    Raises MailError, and MailConfigError with the words of postconf when it refuses main.cf or master.cf.
    """
    done = run(["postconf", "-c", config_directory, *arguments])
    if done.status:
        raise MailConfigError(done.last_line, hint=f"see `postfix -c {config_directory} check`; mend the file it names")
    return done.output


def assignments(output: str) -> dict[str, str]:
    """Return the "name = value" lines of postconf's *output*."""
    pairs = (line.partition(" =") for line in output.splitlines() if " =" in line)
    return {name.strip(): value.strip() for name, _, value in pairs}


_read: dict[tuple[object, ...], Instance] = {}


def read_instance(config_directory: str) -> Instance:
    """Return how the instance in *config_directory* is configured now. Raises MailError.

    Within one process postconf is asked again only when main.cf or master.cf has changed: many
    services may share an instance, and each look asks for every one of them.
    """
    try:
        files = [(Path(config_directory) / name).stat() for name in ("main.cf", "master.cf")]
    except OSError:
        return _ask(config_directory)  # postconf says it better
    key = (config_directory, *((f.st_ino, f.st_size, f.st_mtime_ns, f.st_ctime_ns) for f in files))
    if key not in _read:
        _read[key] = _ask(config_directory)
    return _read[key]


def main_cf_with(config_directory: str, parameters: Mapping[str, str]) -> Instance:
    """Return main.cf as if it set *parameters*, and no other certificate parameter; no services. Raises MailError."""
    values = assignments(postconf(config_directory, "-d", *CERTIFICATE_PARAMETERS)) | dict(parameters)
    overrides = (word for name, value in values.items() for word in ("-o", f"{name}={value}"))
    return Instance(assignments(postconf(config_directory, "-x", *overrides, *CERTIFICATE_PARAMETERS)), ())


def _ask(config_directory: str) -> Instance:
    main = assignments(postconf(config_directory, "-x", *CERTIFICATE_PARAMETERS, *SWITCHES, SNI_MAPS))
    overrides: dict[str, dict[str, str]] = {}
    for place, value in assignments(postconf(config_directory, "-x", "-P")).items():
        service, _, name = place.rpartition("/")  # names of services of type unix may contain a slash
        overrides.setdefault(service, {})[name] = value
    services = []
    for line in postconf(config_directory, "-M").splitlines():
        columns = line.split(maxsplit=8)
        if len(columns) > 7:
            name, kind, program = columns[0], columns[1], columns[7]
            services.append(Service(name, kind, program.rpartition("/")[2], overrides.get(f"{name}/{kind}", {})))
    return Instance(main, tuple(services))
