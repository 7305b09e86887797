"""Certificates come in: read, checked, put into the vault, handed to the services that want them.

What every hook calls ends here. Nothing here needs the lock: a certificate is durably recorded even
while another run holds it, and that run, or the next, takes it from the inbox.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rollover.config.models import ServiceConfig
from rollover.core.errors import (
    CannotStore,
    CertificateError,
    ConfigError,
    PermissionsError,
    RolloverError,
    StateBusy,
    StateError,
)
from rollover.engine.host import Host
from rollover.engine.material import Material, read_material
from rollover.engine.refuse import refuse
from rollover.engine.sources import Files, digest, files_of, from_source, identity, leaf_fingerprint, source_of

if TYPE_CHECKING:
    from rollover.core.certificate import Facts

__all__ = ["Material", "Staged", "read_material", "scan_sources", "source_of", "stage", "wanted_by"]

SCANNED = "scanned:"  # notes: what the files of a service's source were when all in them was known


@dataclass(frozen=True, slots=True)
class Staged:
    """What became of one certificate: the *services* that take it, and those that knew it before."""

    fingerprint: str
    services: tuple[str, ...] = ()
    known: tuple[str, ...] = ()
    reason: str = ""


def wanted_by(host: Host, material: Material, *, service: str | None) -> tuple[list[str], str]:
    """Return the services that take a certificate, checked for each; else why nobody does.

    *service*: for that one only. Raises CertificateError when it cannot be served by one that wants
    it: by source, or, where none is set, by the names in it and the type of its key.
    """
    services, reason, errors = _takers(host, material, service=service)
    if errors:
        raise errors[0]
    return services, reason


def _takers(host: Host, material: Material, *, service: str | None) -> tuple[list[str], str, list[RolloverError]]:
    """Return the services that take a certificate, why nobody does, and why others that want it cannot."""
    from rollover.core.certificate import facts, parse_chain, parse_key

    chain = parse_chain(material.chain)
    known = facts(chain)
    wanted = (
        [host.config.services[host.service(service).name]] if service else list(_wanting(host, material.path, known))
    )
    if not wanted:
        return [], _why_nobody(host, known), []
    key = parse_key(_key_of(host, material, known.spki_sha256))
    taken: list[str] = []
    errors: list[RolloverError] = []
    for it in wanted:
        try:
            refuse(host, it, chain, key)
        except (CertificateError, ConfigError, PermissionsError) as error:
            errors.append(error)
        else:
            taken.append(it.name)
    return taken, "", errors


def _key_of(host: Host, material: Material, spki: str) -> bytes:
    """Return the key that was given, or that the vault has. Raises what was wrong with the given one."""
    if material.refused is not None:
        raise material.refused
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

    A certificate that nobody wants is no error. Raises as wanted_by(), after the services that can
    serve it were given it, and StateError.
    """
    from rollover.core.certificate import chain_pem, key_pem, parse_chain, parse_key

    chain = parse_chain(material.chain)
    fingerprint, spki = chain.fingerprint, chain.spki_sha256
    wanted, reason, errors = _takers(host, material, service=service)
    if errors and not wanted:
        raise errors[0]
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
    if errors:
        raise errors[0]
    return Staged(fingerprint, tuple(fresh), tuple(old))


def _wanting(host: Host, path: Path, known: Facts) -> Iterator[ServiceConfig]:
    """Yield the services that want a certificate from *path*: by source, or by names and key where none is set."""
    from rollover.core.certificate import covers

    for it in host.config:
        if source := source_of(host, it):
            if from_source(path, source):
                yield it
        elif all(covers(known.names, name) for name in it.hosts) and _key_fits(host, it, known.algorithm):
            yield it


def _key_fits(host: Host, it: ServiceConfig, algorithm: str) -> bool:
    """Tell whether a key of this type is for *it*, where other services have certificates on its names and ports.

    There only the key type tells them apart: what one of them serves is not for the one beside it.
    """
    mine = set(host.services[it.name].owners)
    beside = [x.name for x in host.services.values() if x.name != it.name and mine & set(x.owners)]
    if not beside:
        return True
    own = _active_algorithm(host, it.name)
    return own == algorithm if own else algorithm not in {_active_algorithm(host, x) for x in beside}


def _active_algorithm(host: Host, name: str) -> str:
    """Return the key type of what a service serves; "" for a service that serves nothing of ours yet."""
    from rollover.core.certificate import facts, parse_chain

    active = host.store.book(name).active
    try:
        return facts(parse_chain(host.vault.chain(active))).algorithm if active else ""
    except StateError:
        return ""  # gone or damaged: its own run tells that


def _why_nobody(host: Host, known: Facts) -> str:
    from rollover.core.certificate import listed

    what = f"{known.algorithm} certificate" if known.algorithm else "certificate"
    return (
        f"no service wants a certificate for {listed(known.names)} from there "
        f"({what}; {', '.join(host.services)} looked at)"
    )


# ------------------------------------------------------------------------------------------ sources


def scan_sources(host: Host) -> list[str]:
    """Stage certificates that a hook failed to hand over; return the services that got one.

    Each service's ``source`` is looked at. What cannot be served is told by ``status`` for as long as
    it cannot: a mode, the time or the configuration may cure it, and the content stays the same. One
    service's fault, foreseen or not, is not the others'. Raises StateError where the state cannot be
    written: then nothing can be told either.
    """
    found: list[str] = []
    known, recorded = host.store.summaries(), host.store.notes("source:")
    scanned, rejections = host.store.notes(SCANNED), host.store.rejections()
    for it in host.config:
        if it.name not in known or not known[it.name].adopted:
            continue
        files: Files | None = None
        try:
            files = files_of(it.name, source_of(host, it, recorded))
            was = rejections.get(it.name)
            if files is None and scanned.get(it.name):
                _note_rejection(host, it.name, None, _gone(host, it, recorded), was)
                continue
            now = identity(files) if files is not None else ""
            if was is not None or (now and now != scanned.get(it.name)):
                found += _scan(host, it, files, was)
                host.store.note(f"{SCANNED}{it.name}", now)
        except (CannotStore, StateBusy):
            raise
        except Exception as error:  # of this service alone; the others are looked at all the same
            if it.name in scanned:
                host.store.forget_note(f"{SCANNED}{it.name}")
            _note_rejection(host, it.name, files, error, rejections.get(it.name))
    return found


def _gone(host: Host, it: ServiceConfig, recorded: Mapping[str, str]) -> CertificateError:
    """Return what is told of a source that had a certificate once: no renewal will come from there."""
    place = source_of(host, it, recorded)
    return CertificateError(
        f"{place[0] if place else 'its source'} has no certificate any more: what is served stays, and no renewal will come",
        hint="see whether the ACME client still has this order, and under which name; correct `source`",
    )


def _scan(host: Host, it: ServiceConfig, files: Files | None, rejected: tuple[str, str] | None) -> tuple[str, ...]:
    """Stage what *files* hold, unless it is known; return the services that got it. Raises RolloverError."""
    if files is None or host.store.knows(it.name, leaf_fingerprint(files[0])):
        if rejected is not None:
            host.store.reject(it.name, "", "")
            host.store.wake(it.name)
        return ()
    before = digest(files)
    try:
        return stage(host, read_material(*files), service=it.name).services
    except CertificateError:
        if digest(files) != before:
            return ()  # it is being written just now: the next tick sees it whole
        raise


def _note_rejection(
    host: Host, name: str, files: Files | None, error: Exception, rejected: tuple[str, str] | None
) -> None:
    """Note why the source of service *name* is not taken, once for each content and fault."""
    if isinstance(error, RolloverError):
        code, text, hint = error.code, error.message, error.hint
        if isinstance(error, ConfigError):
            text = f"{text}; {hint}"  # the problem's own hint tells of the ACME client
    else:  # its text may quote anything, a key even
        code = type(error).__name__
        text, hint = f"the source of {name} could not be looked at: a bug in rollover ({code})", "report it"
    mark = f"{digest(files) if files is not None else ''}:{code}"
    if isinstance(error, ConfigError):
        mark += f":{text}"  # of the others the text may tell the time
    if rejected is not None and rejected[0] == mark:
        return
    with host.store.transaction():
        host.store.reject(name, mark, text)
        host.store.wake(name)
        host.store.event_once(name, "rejected", text, host.clock.now().wall, hint=hint)
