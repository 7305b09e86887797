"""What the engine asks of anything that serves a certificate: see the live file, install, reload."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

from rollover.core.sighting import LiveFile
from rollover.mail.livefile import install, read_live

if TYPE_CHECKING:
    from rollover.mail.postfix import Postfix


class Finding(NamedTuple):
    """One thing that check() saw; *failed*: nothing can be installed until it is mended."""

    failed: bool
    message: str
    hint: str


class Target(Protocol):
    """One ``[[services.NAME.install]]``."""

    @property
    def label(self) -> str:
        """The path that stands for it in status and history; unique in a configuration."""
        ...

    def live(self) -> LiveFile:
        """Return what is on disk and whether the daemon's configuration reads it. Never raises."""
        ...

    def served(self) -> tuple[bytes, bytes, str] | None:
        """Return (key PEM, chain PEM, where) of what the daemon is configured with today; None while there is nothing.

        Raises MailError, CertificateError, PermissionsError where that cannot be told, or is no usable pair.
        """
        ...

    def install(self, key_pem: bytes, chain_pem: bytes) -> str:
        """Put key and chain in place, durably; return the identity that live() shows then.

        Raises PermissionsError, CannotWrite. Nothing is served before reload() or a restart.
        """
        ...

    async def reload(self) -> None:
        """Have the daemon present what is in place. Raises MailError and its subclasses."""
        ...

    def check(self) -> tuple[Finding, ...]:
        """Return what stands in the way. Changes nothing, never raises."""
        ...


class PostfixTarget:
    """Postfix through one chain file.

    *ports*: those of the service, None for all; *beside*: chain files of other services in the same instance.
    """

    def __init__(
        self,
        postfix: Postfix,
        chain_file: str | Path,
        *,
        ports: Collection[int] | None = None,
        beside: Collection[str | Path] = (),
    ) -> None:
        self.postfix = postfix
        self.chain_file = str(chain_file)
        self._ports = ports
        self._beside = tuple(map(str, beside))

    @property
    def label(self) -> str:
        return self.chain_file

    def live(self) -> LiveFile:
        wiring = self.postfix.wiring(self.chain_file, ports=self._ports, beside=self._beside)
        return dataclasses.replace(read_live(self.chain_file), wiring=wiring)

    def served(self) -> tuple[bytes, bytes, str] | None:
        return self.postfix.current_chain(self.chain_file, ports=self._ports, beside=self._beside)

    def served_with(self, parameters: Mapping[str, str]) -> tuple[bytes, bytes, str]:
        """Return the same of what Postfix would be configured with by *parameters*. Raises as served()."""
        return self.postfix.chain_of(parameters, self.chain_file, beside=self._beside)

    def install(self, key_pem: bytes, chain_pem: bytes) -> str:
        return install(self.chain_file, joined(key_pem, chain_pem))

    async def reload(self) -> None:
        await self.postfix.reload()

    def point(self) -> None:
        """Make Postfix read the chain file, beside those of other services that it reads already. Raises MailError."""
        named = self.postfix.parameters().get("smtpd_tls_chain_files", "").replace(",", " ").split()
        self.postfix.point_at(self.chain_file, beside=[path for path in self._beside if path in named])

    def check(self) -> tuple[Finding, ...]:
        return self.postfix.check(self.chain_file, ports=self._ports, beside=self._beside)


def joined(key_pem: bytes, chain_pem: bytes) -> bytes:
    """Return key, then chain, as smtpd_tls_chain_files wants them."""
    return key_pem.rstrip(b"\n") + b"\n" + chain_pem.rstrip(b"\n") + b"\n"
