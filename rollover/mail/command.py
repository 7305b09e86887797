"""Any other daemon: its files, and the command that makes it read them again.

Its configuration is not looked at: that it presents what was installed is seen over the network.
"""

from __future__ import annotations

import grp
import pwd
from collections.abc import Callable, Sequence
from pathlib import Path

from rollover.core.errors import RolloverError
from rollover.core.sighting import LiveFile
from rollover.core.tlsa import Chain
from rollover.mail.errors import MailConfigError, ReloadFailed
from rollover.mail.livefile import File, install_files, look, matching_chain, usable_chain
from rollover.mail.run import find_program, run_async
from rollover.mail.target import Finding, joined

PUBLIC = 0o644  # a file of certificates alone


class CommandTarget:
    """A daemon with *chain_file* (key, then chain), or *cert_file* (the chain) and *key_file*, or all three.

    *place*: where its configuration stands, ``FILE: services.mail.install[0]``, for messages.
    *owner* and *group* are names or numbers, *mode* that of the files with the key. *reload* is a
    command as a list, run without a shell; empty for a daemon that looks by itself. *timeout* in seconds.
    Raises MailConfigError when the files do not make a certificate and a key.
    """

    def __init__(
        self,
        *,
        cert_file: str | Path | None = None,
        key_file: str | Path | None = None,
        chain_file: str | Path | None = None,
        owner: str | None = None,
        group: str | None = None,
        mode: int = 0o600,
        reload: Sequence[str] = (),
        timeout: float = 60.0,
        place: str = "",
    ) -> None:
        self.cert_file = str(cert_file or "")
        self.key_file = str(key_file or "")
        self.chain_file = str(chain_file or "")
        if bool(self.cert_file) != bool(self.key_file) or not self._paths():
            raise MailConfigError(
                "an install of kind command needs cert_file and key_file, or chain_file",
                hint="chain_file is one file with the key, then the chain",
            )
        self._owner = owner or ""
        self._group = group or ""
        self._mode = mode
        self._reload = tuple(reload)
        self._timeout = timeout
        self._place = place

    @property
    def label(self) -> str:
        return self.chain_file or self.key_file

    def live(self) -> LiveFile:
        looks = [look(Path(path)) for path in self._paths()]
        identity = "+".join(found.identity for found in looks) if all(found.identity for found in looks) else ""
        problem = next((found.problem for found in looks if found.problem), "")
        if problem:
            return LiveFile(self.label, identity, None, problem=problem)
        try:
            chain = self._chain([found.content for found in looks])
        except RolloverError as error:
            return LiveFile(self.label, identity, None, problem=f"{self.label}: {error.message}")
        if chain is None:
            return LiveFile(
                self.label,
                identity,
                None,
                problem=f"{self.chain_file} and {self.cert_file} hold different certificates",
            )
        return LiveFile(self.label, identity, chain)

    def served(self) -> tuple[bytes, bytes, str] | None:
        from rollover.core.certificate import split_pem  # here: see livefile.usable_chain

        live = self.live()
        if live.chain is None:
            if not any(Path(path).exists() for path in self._paths()):
                return None
            raise MailConfigError(live.problem, hint="put the key and the chain that the daemon serves today there")
        cert, key = self.cert_file or self.chain_file, self.key_file or self.chain_file
        found, _ = split_pem(look(Path(key)).content)
        _, chain = split_pem(look(Path(cert)).content)
        if found is None:  # replaced since live() saw it
            raise MailConfigError(f"{key}: the key is gone", hint="something else writes there; try again")
        return found, chain, " and ".join(dict.fromkeys((cert, key)))

    def install(self, key_pem: bytes, chain_pem: bytes) -> str:
        owner, group = self._account()
        contents = {
            self.key_file: (key_pem.rstrip(b"\n") + b"\n", self._mode),
            self.cert_file: (chain_pem.rstrip(b"\n") + b"\n", PUBLIC),
            self.chain_file: (joined(key_pem, chain_pem), self._mode),
        }
        return install_files(
            [File(Path(path), contents[path][0], contents[path][1], owner, group) for path in self._paths()]
        )

    async def reload(self) -> None:
        if not self._reload:
            return
        done = await run_async(self._reload, timeout=self._timeout)
        if done.status:
            command = " ".join(self._reload)
            raise ReloadFailed(
                f"`{command}` failed: {done.last_line}",
                hint=f"the new file is in place; mend the cause and run `{command}`",
            )

    def check(self) -> tuple[Finding, ...]:
        try:
            self._account()
            if self._reload:
                find_program(self._reload[0])
        except RolloverError as error:
            return (Finding(True, error.message, error.hint),)
        if self._mode & 0o007:
            return (
                Finding(
                    False, f"{self.label}: mode {self._mode:04o} lets everybody read the key", "mode 0640 and `group`"
                ),
            )
        return ()

    def _account(self) -> tuple[int | None, int | None]:
        """Return the numbers of owner and group; None for none configured. Raises MailConfigError."""
        key, name, database = "owner", self._owner, "passwd"
        try:
            owner = _number(name, lambda name: pwd.getpwnam(name).pw_uid)
            key, name, database = "group", self._group, "group"
            return owner, _number(name, lambda name: grp.getgrnam(name).gr_gid)
        except KeyError:
            at = f"{self._place}.{key}" if self._place else key
            raise MailConfigError(
                f'{at} = "{name}": there is no such {key.replace("owner", "user")} on this host',
                hint=f'write a name that `getent {database}` lists, such as {key} = "dovecot", or its number',
            ) from None

    def _paths(self) -> list[str]:
        """The files in the order in which they are replaced: the key comes before its certificate."""
        return [path for path in (self.key_file, self.cert_file, self.chain_file) if path]

    def _chain(self, contents: list[bytes]) -> Chain | None:
        """Return the chain in the files; None when they hold different ones. Raises CertificateError."""
        chains = [usable_chain(contents[-1])] if self.chain_file else []
        if self.cert_file:
            chains.append(matching_chain(contents[0], contents[1]))
        return chains[0] if len(set(chains)) == 1 else None


def _number(name: str, lookup: Callable[[str], int]) -> int | None:
    """Return the number of user or group *name*; None for none configured. Raises KeyError."""
    if not name:
        return None
    return int(name) if name.isdecimal() else lookup(name)
