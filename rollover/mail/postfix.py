"""One Postfix instance: which certificate it is configured with, pointing it at ours, and reload.

It is changed by postconf(1) only. At every moment of a change it has a certificate: the new
parameter is set before the old ones go, and the other way about when they come back.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from rollover.core.errors import CertificateError, PermissionsError
from rollover.mail.errors import MailConfigError, MailError, MailServerDown, ReloadFailed
from rollover.mail.livefile import MAX_SIZE, matching_chain
from rollover.mail.mastercf import (
    CERTIFICATE_PARAMETERS,
    CHAIN_FILES,
    LEGACY,
    PROXY,
    SNI_MAPS,
    assignments,
    main_cf_with,
    postconf,
    read_instance,
)
from rollover.mail.run import run, run_async
from rollover.mail.target import Finding

RELOAD_TIMEOUT = 30.0  # seconds; `postfix reload` also checks the queue directories


class Postfix:
    """The instance whose main.cf is in *config_directory*."""

    def __init__(self, config_directory: str | Path = "/etc/postfix") -> None:
        self.config_directory = str(config_directory)

    # --- what it is configured with -----------------------------------------------------------------

    def wiring(
        self, chain_file: str | Path, *, ports: Collection[int] | None = None, beside: Collection[str | Path] = ()
    ) -> str:
        """Return "" if every TLS service presents what is in *chain_file*; else one line that says what it names.

        *ports*: only the services there, because another certificate for submission is nobody's
        mistake. *beside*: further files that are ours (RSA beside ECDSA). Some 15 ms; never raises.
        """
        try:
            instance = read_instance(self.config_directory)
        except MailError as error:
            return error.message
        services = instance.tls_services(ports)
        if not any(service.program == "smtpd" for service in services):
            where = "" if ports is None else f" on port {', '.join(map(str, sorted(ports)))}"
            return f"{self.config_directory}: no smtpd service{where} has TLS enabled (smtpd_tls_security_level)"
        ours = {os.path.normpath(path) for path in (chain_file, *beside)}
        for service in services:
            if instance.value(SNI_MAPS, service):
                return self._sni_maps(instance.value(SNI_MAPS, service))
            chains, pairs = instance.certificates_of(service)
            named = [os.path.normpath(path) for path in chains]
            if os.path.normpath(chain_file) not in named or not ours.issuperset(named):
                read = " and ".join(chains or [cert for cert, _ in pairs]) or "no certificate"
                return f"{self.config_directory}: service {service} is configured with {read}, not with {chain_file}"
        return ""

    def parameters(self) -> dict[str, str]:
        """Return the certificate parameters that main.cf sets, macros unexpanded; what restore() takes.

        Raises MailError.
        """
        return assignments(postconf(self.config_directory, "-n", *CERTIFICATE_PARAMETERS))

    def current_chain(
        self,
        chain_file: str | Path = "",
        *,
        ports: Collection[int] | None = None,
        beside: Collection[str | Path] = (),
    ) -> tuple[bytes, bytes, str]:
        """Return (key PEM, chain PEM, where) of the one certificate that Postfix is configured with today.

        What it names of *beside*, the chain files of other services, is theirs and does not count;
        *chain_file* is the file of the service that asks. *where* names parameters and files. Raises MailConfigError for none, several (by algorithm,
        by service, or by SNI) or unreadable files, and CertificateError for a key that is not the leaf's.
        """
        instance = read_instance(self.config_directory)
        if maps := instance.main.get(SNI_MAPS):
            raise MailConfigError(
                self._sni_maps(maps), hint=f"one certificate for all names: `postconf -X {SNI_MAPS}`, then adopt"
            )
        found = {str(s): instance.certificates_of(s) for s in instance.tls_services(ports)}
        if not found:
            raise MailConfigError(
                f"{self.config_directory}: no smtpd service has TLS enabled",
                hint="set smtpd_tls_security_level = may and a certificate first",
            )
        first, (chains, pairs) = next(iter(found.items()))
        for service, other in found.items():
            if other != (chains, pairs):
                raise MailConfigError(
                    f"{self.config_directory}: services {first} and {service} have different certificates",
                    hint="list in `ports` only those of this certificate, or remove the -o options in master.cf",
                )
        return self._pair(chains, pairs, chain_file, beside)

    def chain_of(
        self, parameters: Mapping[str, str], chain_file: str | Path = "", *, beside: Collection[str | Path] = ()
    ) -> tuple[bytes, bytes, str]:
        """Return the same of what main.cf would name with *parameters* (what point_at() returned). Raises as current_chain()."""
        chains, pairs = main_cf_with(self.config_directory, parameters).certificates_of()
        return self._pair(chains, pairs, chain_file, beside)

    def _pair(
        self,
        chains: Sequence[str],
        pairs: Sequence[tuple[str, str]],
        chain_file: str | Path,
        beside: Collection[str | Path],
    ) -> tuple[bytes, bytes, str]:
        """Return (key PEM, chain PEM, where) of the one certificate in *chains* or *pairs*. Raises as current_chain()."""
        theirs = {os.path.normpath(path) for path in beside}
        own = [path for path in chains if os.path.normpath(path) not in theirs]
        files = own or [path for pair in pairs for path in pair]
        if not files and chains:
            raise MailConfigError(
                f"{self.config_directory}: {CHAIN_FILES} names nothing but {' and '.join(chains)}, of other services",
                hint=f"write the key and the chain of this one to {chain_file}, name it too, reload, adopt: "
                f"`postconf -c {self.config_directory} -e '{CHAIN_FILES} = {', '.join((*chains, str(chain_file)))}'`",
            )
        if not files:
            raise MailConfigError(
                f"{self.config_directory}: Postfix is configured with no certificate",
                hint="`rollover deploy FULLCHAIN KEY --service NAME` stages the first one",
            )
        content = b"\n".join(_read(path) for path in dict.fromkeys(files))
        from rollover.core.certificate import split_pem  # here: see livefile.usable_chain

        if len(pairs) > 1 or len(re.findall(rb"-----BEGIN [A-Z ]*PRIVATE KEY-----", content)) > 1:
            raise MailConfigError(
                f"{self.config_directory}: Postfix is configured with certificates of several algorithms"
                f" ({', '.join(files)})",
                hint=f"one file for each service, key and chain, in {CHAIN_FILES}: {', '.join(map(str, (chain_file, *beside)))}"
                if beside
                else "keep one of them and reload, then adopt: "
                "`postconf -X smtpd_tls_eccert_file smtpd_tls_eckey_file`, or one file in smtpd_tls_chain_files",
            )
        key, chain = split_pem(content)
        where = " and ".join(dict.fromkeys(files))
        if key is None:
            raise CertificateError(f"no private key in {where}", hint="name the key in smtpd_tls_key_file")
        matching_chain(key, chain)
        return key, chain, (CHAIN_FILES if chains else "smtpd_tls_cert_file") + f" = {where}"

    # --- changing it --------------------------------------------------------------------------------

    def point_at(self, chain_file: str | Path, *, beside: Collection[str | Path] = ()) -> dict[str, str]:
        """Make main.cf name *chain_file* (and *beside*) and nothing else; return what restore() takes.

        The certificate and key parameters of old go: Postfix would ignore them and warn at every
        start. Takes effect with reload(). Raises MailConfigError, before anything is changed, where
        that would change what another service or parameter uses; MailError otherwise.
        """
        previous = self.parameters()
        self._refuse_side_effects(previous)
        postconf(self.config_directory, "-e", f"{CHAIN_FILES} = {', '.join(map(str, [*beside, chain_file]))}")
        self._unset([name for name in previous if name != CHAIN_FILES])
        return previous

    def drop_ignored(self) -> None:
        """Take away the parameters that Postfix ignores beside its chain files: point_at() may have been cut off.

        Nothing that is presented changes. They stay where another parameter is made of one. Raises MailError.
        """
        previous = self.parameters()
        ignored = [name for name in previous if name in (*LEGACY, *(PROXY[name] for name in LEGACY))]
        if not previous.get(CHAIN_FILES) or not ignored:
            return
        try:
            self._refuse_side_effects(previous)
        except MailConfigError:
            return  # check() tells of it
        self._unset(ignored)

    def restore(self, previous: Mapping[str, str]) -> None:
        """Give main.cf the certificate parameters *previous* again, and no others. Raises MailError.

        Takes effect with reload(). Values are as before to the letter; their place in the file may differ.
        """
        unknown = sorted(set(previous) - set(CERTIFICATE_PARAMETERS))
        if unknown:
            raise MailConfigError(f"{unknown[0]} is no certificate parameter", hint="restore what point_at() returned")
        if previous:
            postconf(self.config_directory, "-e", *(f"{name} = {value}" for name, value in previous.items()))
        self._unset([name for name in self.parameters() if name not in previous])

    async def reload(self) -> None:
        """Have the master process replace idle smtpd processes; busy ones finish their session first.

        Returning says only that the signal was sent. Raises MailServerDown, ReloadFailed, MailError.
        """
        done = await run_async(["postfix", "-c", self.config_directory, "reload"], timeout=RELOAD_TIMEOUT)
        if not done.status:
            return
        # Without a terminal it tells its reason to the mail log only, so it is asked.
        if not await self._running():
            raise MailServerDown(
                f"Postfix ({self.config_directory}) is not running",
                hint=f"look at its log, then `postfix -c {self.config_directory} start`: it reads the new file by itself",
            )
        raise ReloadFailed(
            f"`postfix -c {self.config_directory} reload` failed: {done.last_line}",
            hint=f"see `postfix -c {self.config_directory} check` and the mail log",
        )

    async def _running(self) -> bool:
        return (await run_async(["postfix", "-c", self.config_directory, "status"], timeout=RELOAD_TIMEOUT)).status == 0

    # --- judging it ---------------------------------------------------------------------------------

    def check(
        self, chain_file: str | Path, *, ports: Collection[int] | None = None, beside: Collection[str | Path] = ()
    ) -> tuple[Finding, ...]:
        """Return what stands in the way of serving *chain_file*, worst first. Changes nothing, never raises."""
        try:
            return tuple(sorted(self._findings(chain_file, ports, beside), key=lambda finding: not finding.failed))
        except MailError as error:
            return (Finding(True, error.message, error.hint),)

    def _findings(
        self, chain_file: str | Path, ports: Collection[int] | None, beside: Collection[str | Path]
    ) -> list[Finding]:
        findings = []
        at = self.config_directory
        instance = read_instance(at)
        if CHAIN_FILES not in instance.main:
            return [Finding(True, f"{at}: this Postfix does not know {CHAIN_FILES}", "Postfix 3.4 or later is needed")]
        if wrong := self.wiring(chain_file, ports=ports, beside=beside):
            hint = (
                f"`postconf -X {SNI_MAPS}`: one certificate for all names"
                if wrong.startswith(SNI_MAPS)
                else f"`rollover adopt` does it, or: `postconf -c {at} -e '{CHAIN_FILES} = {chain_file}'; postfix -c {at} reload`"
            )
            findings.append(Finding(True, wrong, hint))
        elif leftover := [name for name in LEGACY if instance.main.get(name) and name in self.parameters()]:
            findings.append(
                Finding(
                    False,
                    f"{at}: {leftover[0]} is set beside {CHAIN_FILES}; Postfix ignores it and warns at every start",
                    f"`postconf -c {at} -X {' '.join(leftover)}`",
                )
            )
        try:
            self._refuse_side_effects(self.parameters())
        except MailConfigError as error:
            findings.append(Finding(bool(wrong), error.message, error.hint))
        if run(["postfix", "-c", at, "status"]).status:
            findings.append(Finding(True, f"Postfix ({at}) is not running", f"`postfix -c {at} start`"))
        return findings

    def _refuse_side_effects(self, previous: Mapping[str, str]) -> None:
        """Raise MailConfigError where the old parameters are used for more than the default certificate."""
        at = self.config_directory
        instance = read_instance(at)
        for service in instance.tls_services() if not instance.value(CHAIN_FILES) else ():
            own = [name for name in LEGACY if name in service.overrides]
            if own and not instance.value(CHAIN_FILES, service):
                # With chain files in main.cf it would be ignored, and the service change its certificate.
                raise MailConfigError(
                    f"{at}/master.cf: service {service} has its own {own[0]} = {service.overrides[own[0]]}",
                    hint=f"same certificate: `postconf -c {at} -PX {' '.join(f'{service}/{name}' for name in own)}`; "
                    f"another one: give the service `-o {CHAIN_FILES}=FILE` instead",
                )
        used = re.compile(r"\$[{(]?(" + "|".join(LEGACY) + r")\b")
        # Values with their macros still in them; -P for the -o options of services.
        for output in (postconf(at, "-n"), postconf(at, "-P")):
            for name, value in assignments(output).items():
                macro = used.search(value)
                if macro and macro[1] in previous and name.rpartition("/")[2] not in CERTIFICATE_PARAMETERS:
                    raise MailConfigError(
                        f"{at}: {name} is made of ${macro[1]}, which goes when {CHAIN_FILES} comes",
                        hint=f"give {name} the name of the file itself: `postconf -xh {macro[1]}` prints it",
                    )

    def _unset(self, names: Sequence[str]) -> None:
        if names:
            postconf(self.config_directory, "-X", *names)

    def _sni_maps(self, value: str) -> str:
        return f"{SNI_MAPS} is set ({value}) in {self.config_directory}: certificates by name are not supported yet"


def _read(path: str) -> bytes:
    """Return the content of a certificate or key file that Postfix names."""
    try:
        with Path(path).open("rb") as file:
            return file.read(MAX_SIZE)
    except PermissionError as error:
        raise PermissionsError(f"{path}: {error.strerror}", hint="run it as root") from error
    except OSError as error:
        raise MailConfigError(f"{path}: {error.strerror}", hint="Postfix names a file that it cannot use") from error
    except ValueError as error:  # a NUL in it
        raise MailConfigError(f"{path!r} is no path", hint="Postfix names a file that it cannot use") from error
