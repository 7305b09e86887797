"""Pebble, an ACME server for tests, and certbot, which proves control by dns-01 at the primary."""

from __future__ import annotations

import json
import os
import shutil
import ssl
import subprocess
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path

from . import addresses as at
from .certificates import Authority, Certificate
from .keys import TsigKey
from .process import LabError, NoAnswer, Server

_ETC = Path("/etc/letsencrypt")
"""certbot's own default; inside the lab it leads to a directory of the lab."""


class Pebble(Server):
    """Pebble at https://127.0.0.14:14000/dir. It makes a new root at each start."""

    url = f"https://{at.PEBBLE}:14000/dir"

    def __init__(self, directory: Path, authority: Authority, trust_file: Path) -> None:
        super().__init__("pebble", directory)
        self._authority = authority
        self._trust_file = trust_file
        self.ca_file = authority.root_file
        """What a client must trust to speak to it; not the root of what it issues."""

    def command(self) -> list[str]:
        config = str(self.directory / "pebble.json")
        return ["pebble", "-config", config, "-dnsserver", f"{at.PRIMARY}:53", "-strict=false"]

    def environment(self) -> dict[str, str]:
        return {**os.environ, "PEBBLE_VA_NOSLEEP": "1", "PEBBLE_WFE_NONCEREJECT": "0"}

    def spawn(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        listener = self._authority.issue((at.PEBBLE,), directory=self.directory / "listener")
        options = {
            "listenAddress": f"{at.PEBBLE}:14000",
            "managementListenAddress": f"{at.PEBBLE}:15000",
            "certificate": str(listener.fullchain),
            "privateKey": str(listener.privkey),
            "httpPort": 5002,
            "tlsPort": 5001,
            "ocspResponderURL": "",
            "externalAccountBindingRequired": False,
            "certificateValidityPeriod": 90 * 24 * 3600,
        }
        (self.directory / "pebble.json").write_text(json.dumps({"pebble": options}))
        super().spawn()

    def wait_ready(self) -> None:
        """Wait until it answers."""
        self.wait_until(lambda: self._get(self.url), "answers")

    def start(self) -> None:
        """Start, and add the root of what it issues to the lab's trust file."""
        self.spawn()
        self.wait_ready()
        with self._trust_file.open("ab") as file:
            file.write(self._get(f"https://{at.PEBBLE}:15000/roots/0"))

    def _get(self, url: str) -> bytes:
        context = ssl.create_default_context(cafile=str(self.ca_file))
        try:
            with urllib.request.urlopen(url, timeout=5, context=context) as answer:
                body: bytes = answer.read()
                return body
        except urllib.error.HTTPError as error:
            raise NoAnswer(f"{url}: {error}") from error


class Certbot:
    """certbot(1) with its configuration at /etc/letsencrypt, as on a real host."""

    def __init__(self, directory: Path, pebble: Pebble, key: TsigKey) -> None:
        self.directory = directory
        self.config_directory = _ETC
        self._pebble = pebble
        self._key = key

    def prepare(self) -> None:
        """Give /etc/letsencrypt an empty directory of this lab."""
        (self.directory / "etc").mkdir(parents=True)
        if _ETC.is_symlink():
            _ETC.unlink()
        _ETC.symlink_to(self.directory / "etc")
        credentials = self.directory / "rfc2136.ini"
        credentials.touch(mode=0o600)
        credentials.write_text(
            f"dns_rfc2136_server = {at.PRIMARY}\n"
            f"dns_rfc2136_name = {self._key.name}\n"
            f"dns_rfc2136_secret = {self._key.secret}\n"
            f"dns_rfc2136_algorithm = {self._key.algorithm.upper()}\n"
        )

    def remove(self) -> None:
        """Take the lab's directory away from /etc/letsencrypt."""
        if _ETC.is_symlink():
            _ETC.unlink()
        shutil.rmtree(self.directory, ignore_errors=True)

    def run(self, *arguments: str | Path, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        """Run certbot and return what it did. Raises LabError, with its words, if it fails."""
        self.start_pebble()
        environment = {**os.environ, "REQUESTS_CA_BUNDLE": str(self._pebble.ca_file), **(env or {})}
        # Debian's certbot runs on Debian's Python: nothing of the virtual environment for it.
        for name in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV"):
            environment.pop(name, None)
        command = [
            "/usr/bin/certbot",
            *(str(word) for word in arguments),
            "--non-interactive",
            "--work-dir",
            str(self.directory / "work"),
            "--logs-dir",
            str(self.directory / "log"),
        ]
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            env=environment,
            timeout=120,
            check=False,
        )
        if done.returncode != 0:
            raise LabError(f"certbot exited {done.returncode}: {done.stdout}{done.stderr}")
        return done

    def start_pebble(self) -> None:
        """Start Pebble unless it runs."""
        if not self._pebble.running:
            self._pebble.start()

    def certonly(
        self,
        names: Sequence[str] = ("mail.example.test",),
        *,
        lineage: str = "",
        more: Sequence[str] = (),
    ) -> Certificate:
        """Obtain a certificate with an ECDSA key by dns-01; return its lineage."""
        lineage = lineage or names[0]
        domains = [word for name in names for word in ("--domain", name)]
        self.run(
            "certonly",
            "--server",
            self._pebble.url,
            "--agree-tos",
            "--register-unsafely-without-email",
            "--key-type",
            "ecdsa",
            "--dns-rfc2136",
            "--dns-rfc2136-credentials",
            self.directory / "rfc2136.ini",
            "--dns-rfc2136-propagation-seconds",
            "1",
            "--cert-name",
            lineage,
            *domains,
            *more,
        )
        return self.lineage(lineage)

    def renew(
        self, lineage: str = "", *, reuse_key: bool = False, force: bool = True, more: Sequence[str] = ()
    ) -> subprocess.CompletedProcess[str]:
        """Do what certbot's timer does (`certbot renew`), for one lineage or for all.

        force: also when it is not due. Deploy hooks run; what they print is in the output.
        """
        chosen = ["--cert-name", lineage] if lineage else []
        options = ["--force-renewal"] if force else []
        # --reuse-key is remembered by the lineage; --new-key overrides it.
        options += ["--reuse-key"] if reuse_key else ["--new-key"]
        return self.run("renew", "--no-random-sleep-on-renew", *chosen, *options, *more)

    def lineage(self, name: str = "mail.example.test") -> Certificate:
        """Return what the lineage holds now; a renewal changes the files under it."""
        return Certificate(self.config_directory / "live" / name)
