"""Where the certificates of a service come from: its ``source``, the files in it, and whether they changed."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path

from rollover.config.models import ServiceConfig
from rollover.core.errors import CertificateError, ConfigError
from rollover.engine.host import Host
from rollover.engine.material import read_regular

Files = tuple[Path, Path | None]  # fullchain, key


def source_of(host: Host, it: ServiceConfig, recorded: Mapping[str, str] | None = None) -> tuple[Path, ...]:
    """Return where a service's certificates come from: as configured, else as adopt has recorded it.

    *recorded*: what adopt has recorded of every service, where that was read already.
    """
    if it.source:
        return it.source
    own = host.store.note(f"source:{it.name}") if recorded is None else recorded.get(it.name)
    return (Path(own),) if own else ()


def from_source(path: Path, source: Iterable[Path]) -> bool:
    """Tell whether *path* is one of *source* or lies in a directory of it; links count as what they name."""
    # To realpath() a loop of links is no error; Path.resolve() of Python 3.11 raises RuntimeError.
    here, real = Path(os.path.abspath(path)), Path(os.path.realpath(path))
    places = {here, here.parent, real, real.parent}
    return any(Path(os.path.abspath(s)) in places or Path(os.path.realpath(s)) in places for s in source)


def files_of(name: str, source: tuple[Path, ...]) -> Files | None:
    """Return (fullchain, key) of the source of service *name*; None while there is nothing.

    A source is a lineage directory, as certbot or acme.sh keep it, or the two files. Raises ConfigError
    for one that cannot be looked at.
    """
    if not source:
        return None
    try:
        if not stat.S_ISDIR(source[0].stat().st_mode):
            return source[0], source[1] if len(source) > 1 else None
        for chain, key in (
            ("fullchain.pem", "privkey.pem"),
            ("fullchain.cer", f"{source[0].name.removesuffix('_ecc')}.key"),
        ):
            if (source[0] / chain).exists():
                return source[0] / chain, source[0] / key
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise ConfigError(
            f"services.{name}.source = {str(source[0])!r}: {error.strerror}",
            hint="name the lineage directory, e.g. /etc/letsencrypt/live/NAME, or the files fullchain and key",
        ) from error
    return None


def identity(files: Files) -> str:
    """Return what changes whenever one of *files* may have: cheap enough for every tick."""
    return json.dumps([[str(path), *_identity(path)] for path in files if path is not None])


def _identity(path: Path) -> list[int | str]:
    try:
        it = path.stat()
    except OSError as error:
        return [type(error).__name__]
    return [it.st_dev, it.st_ino, it.st_size, it.st_mtime_ns, it.st_ctime_ns, it.st_mode]


def digest(files: Files) -> str:
    """Return a digest of the files' content, as far as they can be read now."""
    return hashlib.sha256(b"\0".join(_content(f) for f in files if f is not None)).hexdigest()


def _content(path: Path) -> bytes:
    try:
        return read_regular(path)
    except OSError as error:
        return type(error).__name__.encode()


def leaf_fingerprint(path: Path) -> str:
    """Return SHA-256 of the first certificate in *path*, hex, without decoding it; "unreadable" for none."""
    from rollover.core.pem import certificates_from_pem

    try:
        found = certificates_from_pem(read_regular(path))
    except (OSError, CertificateError):
        found = ()
    return hashlib.sha256(found[0]).hexdigest() if found else "unreadable"
