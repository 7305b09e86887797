"""A host with a configuration and a state of its own, and certificates on its disk. No servers."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from rollover.config import load
from rollover.core.model import Book, Standing, State
from rollover.core.timing import Instant
from rollover.engine.host import Host, open_host
from rollover.engine.intake import read_material, stage
from tests.pki import NOW, SERVER_AUTH, Made, key, make

HOST = "mail.example.org"
OWNER = f"_25._tcp.{HOST}."


@dataclass
class StillClock:
    """Stands still, with the dates of tests.pki."""

    time: Instant = field(default_factory=lambda: Instant(NOW, 1000.0, "boot 1"))

    def now(self) -> Instant:
        return self.time

    async def sleep(self, seconds: float) -> None:
        self.time = self.time.plus(seconds)


def root() -> Made:
    """Return the authority that issues what lineage() writes."""
    return make("Root", private=key("p256", "root"), ca=True)


def lineage(directory: Path, *, names: tuple[str, ...] = (HOST,), algorithm: str = "p256", label: str = "a") -> Path:
    """Write fullchain.pem and privkey.pem into *directory*, as certbot does; return it."""
    private = key(algorithm, label)
    leaf = make("", root(), private=private, names=names, extensions=(SERVER_AUTH,))
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "fullchain.pem").write_bytes(leaf.pem)
    (directory / "privkey.pem").touch(mode=0o600)
    (directory / "privkey.pem").write_bytes(
        private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())  # type: ignore[attr-defined]
    )
    return directory


def host(directory: Path, dns: str = "", **services: str) -> Host:
    """Open a host in *directory*; a service is further lines of its table, all of them for HOST by default."""
    text = f'state = "{directory}/state"\n[dns]\nprimary = "192.0.2.53"\ntsig_key = "/etc/rollover/tsig.key"\n{dns}\n'
    for name, lines in services.items():
        hosts = "" if "hosts" in lines else f'hosts = ["{HOST}"]\n'
        text += f'[services.{name}]\n{hosts}{lines}\n[[services.{name}.install]]\nkind = "postfix"\n'
        text += f'chain_file = "{directory}/live/{name}.pem"\nconfig_directory = "{directory}/postfix"\n'
    file = directory / "rollover.toml"
    file.write_text(text)
    it = open_host(load(file))
    it.clock = StillClock()
    return it


def hand_over(it: Host, source: Path, service: str | None = None) -> tuple[str, ...]:
    """Hand a lineage over, as a hook does; return the services that took it."""
    return stage(it, read_material(source / "fullchain.pem", source / "privkey.pem"), service=service).services


def adopted(it: Host, name: str, source: Path) -> str:
    """Let *name* serve what *source* holds; return its fingerprint."""
    hand_over(it, source, name)
    fingerprint = it.store.inbox(name)[-1]
    for taken in it.store.inbox(name):
        it.store.take_from_inbox(name, taken)
    book = Book(adopted=True, goal=fingerprint, active=fingerprint, standings={fingerprint: Standing(State.ACTIVE)})
    it.store.save_book(name, book)
    return fingerprint
