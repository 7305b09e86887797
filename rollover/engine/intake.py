"""Certificates come in: read, checked, put into the vault, handed to the services that want them.

What every hook calls ends here. Nothing here needs the lock: a certificate is durably recorded even
while another run holds it, and that run, or the next, takes it from the inbox.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rollover.config.models import ServiceConfig
from rollover.core.errors import CertificateError, PermissionsError, RolloverError, StateError
from rollover.core.model import State
from rollover.core.tlsa import Chain
from rollover.engine.host import Host

if TYPE_CHECKING:
    from datetime import datetime

    from rollover.core.pem import PrivateKey

SYSTEM_TRUST = Path("/etc/ssl/certs/ca-certificates.crt")
MAX_FILE = 1024 * 1024  # octets: no chain is larger; something else is


@dataclass(frozen=True, slots=True)
class Material:
    """A chain and its key as files hold them; *key* None: the vault has it."""

    chain: bytes
    key: bytes | None
    path: Path


@dataclass(frozen=True, slots=True)
class Staged:
    """What became of one certificate: the *services* that take it, and those that knew it before."""

    fingerprint: str
    services: tuple[str, ...] = ()
    known: tuple[str, ...] = ()
    reason: str = ""


def read_material(fullchain: Path, key: Path | None) -> Material:
    """Read the files that a hook names. Raises CertificateError (65), PermissionsError (77).

    FULLCHAIN may hold the key too. A key that others can read is refused: it is not secret any more.
    """
    from rollover.core.certificate import split_pem  # cryptography: not for commands that only read

    found, chain = split_pem(_read(fullchain, secret=False))
    if key is not None:
        found, _ = split_pem(_read(key, secret=True))
        if found is None:
            raise CertificateError(f"{key} holds no private key", hint="name the key file as the second argument")
    elif found is not None:
        _refuse_open(fullchain)
    return Material(chain, found, fullchain)


def _read(path: Path, *, secret: bool) -> bytes:
    if secret:
        _refuse_open(path)
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE + 1)
    except PermissionError as error:
        raise PermissionsError(
            f"cannot read {path}: {error.strerror}", hint="run this as root, as the ACME client does"
        ) from error
    except OSError as error:
        raise CertificateError(
            f"cannot read {path}: {error.strerror}",
            hint="give the files of the lineage, e.g. /etc/letsencrypt/live/NAME/fullchain.pem and privkey.pem",
        ) from error
    if len(content) > MAX_FILE:
        raise CertificateError(
            f"{path} is larger than any certificate ({MAX_FILE} octets)", hint="give the certificate file"
        )
    return content


def _refuse_open(path: Path) -> None:
    try:
        mode = path.stat().st_mode
    except OSError:
        return  # reading it tells why
    if stat.S_IMODE(mode) & 0o007 and path.is_file():
        raise PermissionsError(
            f"{path} can be read by others (mode {stat.S_IMODE(mode):04o}): its key is not secret any more",
            hint=f"chmod o= {path}; if the host has other users, order a certificate with a new key",
        )


def wanted_by(host: Host, material: Material, *, service: str | None) -> tuple[list[str], str]:
    """Return the services that take a certificate, checked for each; else why nobody does.

    *service*: for that one only. Raises CertificateError when it cannot be served by one that wants
    it: by name, by source, or, where no source is set, by the names in it.
    """
    from rollover.core.certificate import facts, parse_chain, parse_key

    chain = parse_chain(material.chain)
    known = facts(chain)
    wanted = (
        [host.config.services[host.service(service).name]]
        if service
        else list(_wanting(host, material.path, known.names))
    )
    if not wanted:
        return [], _why_nobody(host, known.names)
    key = parse_key(_key_of(host, material, known.spki_sha256))
    for it in wanted:
        _check(host, it, chain, key, known.fingerprint)
    return [it.name for it in wanted], ""


def _key_of(host: Host, material: Material, spki: str) -> bytes:
    """Return the key that was given, or that the vault has."""
    if material.key is not None:
        return material.key
    if not host.vault.has_key(spki):
        raise CertificateError(
            f"no key given for {material.path}, and the vault has none for it",
            hint="name the key file too: `rollover deploy FULLCHAIN KEY`",
        )
    return host.vault.key(spki)


def stage(host: Host, material: Material, *, service: str | None = None) -> Staged:
    """Check a certificate, store it, and put it into the inbox of the services that want it.

    A certificate that nobody wants is no error. Raises as wanted_by(), and StateError.
    """
    from rollover.core.certificate import chain_pem, key_pem, parse_chain, parse_key

    chain = parse_chain(material.chain)
    fingerprint, spki = chain.fingerprint, chain.spki_sha256
    wanted, reason = wanted_by(host, material, service=service)
    if not wanted:
        return Staged(fingerprint, reason=reason)
    now = host.clock.now().wall
    key = key_pem(parse_key(_key_of(host, material, spki)))
    host.vault.put(fingerprint=fingerprint, spki=spki, chain=chain_pem(chain), key=key)
    fresh, old = [], []
    with host.store.transaction():
        host.store.add_credential(fingerprint, spki, now)
        for name in wanted:
            if host.store.knows(name, fingerprint):
                old.append(name)
                continue
            host.store.put_in_inbox(name, fingerprint, now)
            host.store.wake(name)
            host.store.reject(name, "", "")
            fresh.append(name)
    return Staged(fingerprint, tuple(fresh), tuple(old))


def _check(host: Host, it: ServiceConfig, chain: Chain, key: PrivateKey, fingerprint: str) -> None:
    """Raise CertificateError if *chain* must not be served by this service."""
    from rollover.core.certificate import check

    now = host.clock.now().wall
    check(chain, key, hosts=it.hosts, now=now)
    book = host.store.book(it.name)
    for other in host.store.with_keys([chain.spki_sha256]):
        if book.standing(other).state is State.REVOKED:
            raise CertificateError(
                f"the key of certificate {fingerprint[:16]} was revoked",
                hint="order a certificate with a new key and deploy that",
            )
    roots = _roots(it)
    if roots is None:
        return
    reason = _untrusted(chain, roots, it, now)
    if not reason:
        return
    if it.trust == "auto":
        active = host.vault.chain(book.active) if book.active and host.vault.has_chain(book.active) else None
        if active is None or book.active == fingerprint:
            return
        from rollover.core.certificate import parse_chain

        if _untrusted(parse_chain(active), roots, it, now):
            return  # what is served is not trusted either
    raise CertificateError(
        f"this host does not trust certificate {fingerprint[:16]}: {reason}",
        hint=f'a test or staging certificate? For a private CA set `trust` of services.{it.name} to its file, or to "none"',
    )


def _roots(it: ServiceConfig) -> list[bytes] | None:
    """Return the DER of the CA certificates to check against; None for no check."""
    if it.trust == "none":
        return None
    path = it.trust if isinstance(it.trust, Path) else SYSTEM_TRUST
    try:
        pem = path.read_bytes()
    except OSError as error:
        if it.trust == "auto":
            return None  # a host without a store trusts nobody: nothing to compare
        raise PermissionsError(
            f"cannot read the CA certificates {path}: {error.strerror}", hint=f"check `trust` of services.{it.name}"
        ) from error
    return pem_certificates(pem)


def _untrusted(chain: Chain, roots: list[bytes], it: ServiceConfig, now: datetime) -> str:
    from rollover.core.certificate import trusted

    return trusted(chain, roots=roots, hosts=it.hosts, now=now)


def pem_certificates(pem: bytes) -> list[bytes]:
    """Return the DER of every certificate in *pem*, without parsing them: a system store has many."""
    blocks = re.findall(rb"-----BEGIN CERTIFICATE-----(.*?)-----END CERTIFICATE-----", pem, re.DOTALL)
    return [base64.b64decode(b"".join(b.split())) for b in blocks]


def _wanting(host: Host, path: Path, names: Iterable[str]) -> Iterable[ServiceConfig]:
    """Yield the services that want a certificate from *path*: by source, or by names where none is set."""
    from rollover.core.certificate import covers

    names = tuple(names)
    for it in host.config:
        if source := source_of(host, it):
            if _from_source(path, source):
                yield it
        elif all(covers(names, name) for name in it.hosts):
            yield it


def source_of(host: Host, it: ServiceConfig) -> tuple[Path, ...]:
    """Return where a service's certificates come from: as configured, else as adopt has recorded it."""
    recorded = host.store.note(f"source:{it.name}")
    return it.source or ((Path(recorded),) if recorded else ())


def _from_source(path: Path, source: Iterable[Path]) -> bool:
    """Tell whether *path* is one of *source* or lies in a directory of it; links count as what they name."""
    here = Path(os.path.abspath(path))
    places = {here, here.parent, here.resolve(), here.resolve().parent}
    return any(Path(os.path.abspath(s)) in places or s.resolve() in places for s in source)


def _why_nobody(host: Host, names: tuple[str, ...]) -> str:
    return f"no service wants a certificate for {', '.join(names) or 'no name'} from there ({', '.join(host.services)} looked at)"


# ------------------------------------------------------------------------------------------ sources


def scan_sources(host: Host) -> list[str]:
    """Stage certificates that a hook failed to hand over; return the services that got one.

    Each service's ``source`` is read. What cannot be served is told by ``status`` for as long as it
    cannot: a mode, the time or the configuration may cure it, and the content stays the same.
    """
    found: list[str] = []
    known = host.store.summaries()
    for it in host.config:
        if it.name not in known or not known[it.name].adopted:
            continue
        files = _files_of(source_of(host, it))
        rejected = host.store.rejection(it.name)
        if files is None or host.store.knows(it.name, _leaf_fingerprint(files[0])):
            if rejected is not None:
                host.store.reject(it.name, "", "")
                host.store.wake(it.name)
            continue
        digest = _digest(files)
        try:
            staged = stage(host, read_material(*files), service=it.name)
        except StateError:
            raise  # ours, not the certificate's
        except RolloverError as error:
            mark = f"{digest}:{error.code}"
            if digest == _digest(files) and (rejected is None or rejected[0] != mark):
                _note_rejection(host, it.name, mark, error)  # else it is being written just now, or was told
            continue
        found += staged.services
    return found


def _note_rejection(host: Host, name: str, mark: str, error: RolloverError) -> None:
    text = f"{error.message}"
    with host.store.transaction():
        host.store.reject(name, mark, text)
        host.store.wake(name)
        host.store.event_once(name, "rejected", text, host.clock.now().wall, hint=error.hint)


def _files_of(source: tuple[Path, ...]) -> tuple[Path, Path | None] | None:
    """Return (fullchain, key) of a source: a lineage directory, or the two files."""
    if not source:
        return None
    if len(source) == 1 and source[0].is_dir():
        for chain, key in (
            ("fullchain.pem", "privkey.pem"),
            ("fullchain.cer", f"{source[0].name.removesuffix('_ecc')}.key"),
        ):
            if (source[0] / chain).exists():
                return source[0] / chain, source[0] / key
        return None
    if not source[0].exists():
        return None
    return source[0], source[1] if len(source) > 1 else None


def _digest(files: tuple[Path, Path | None]) -> str:
    """Return a digest of the files' content, as far as they can be read now."""
    return hashlib.sha256(b"\0".join(_content(f) for f in files if f is not None)).hexdigest()


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        return type(error).__name__.encode()


def _leaf_fingerprint(path: Path) -> str:
    """Return SHA-256 of the first certificate in *path*, hex, without parsing it: this runs at every tick."""
    try:
        found = pem_certificates(path.read_bytes())
    except (OSError, ValueError):
        found = []
    return hashlib.sha256(found[0]).hexdigest() if found else "unreadable"
