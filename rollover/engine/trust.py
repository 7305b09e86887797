"""The CA certificates that ``trust`` of a service names: what a chain is checked against before it is served."""

from __future__ import annotations

from pathlib import Path

from rollover.config.models import Config, ServiceConfig
from rollover.core.errors import CertificateError, ConfigError, PermissionsError

SYSTEM_TRUST = Path("/etc/ssl/certs/ca-certificates.crt")


def roots(config: Config, it: ServiceConfig) -> list[bytes] | None:
    """Return the DER of the CA certificates to check chains of *it* against; None for no check.

    "auto" on a host that has no store, or a spoilt one, checks nothing: there is nothing to compare
    with. Raises ConfigError (78) for a file that is not there or holds no certificates, and
    PermissionsError (77) for one that is closed to us; both name file, key and value.
    """
    if it.trust == "none":
        return None
    path = it.trust if isinstance(it.trust, Path) else SYSTEM_TRUST
    place = f'{config.place(it.name, "trust")} = "{it.trust}"'
    if it.trust == "system":
        place += f" ({path})"
    hint = f'name a file of CA certificates in PEM; trust = "auto" takes those of this host ({SYSTEM_TRUST})'
    try:
        return _certificates(path, place, hint, decode=path != SYSTEM_TRUST)
    except (ConfigError, PermissionsError):
        if it.trust == "auto":
            return None
        raise


def _certificates(path: Path, place: str, hint: str, *, decode: bool) -> list[bytes]:
    """Return the DER of every certificate in *path*; *decode*: each is decoded, to see that it is one."""
    from rollover.core.path import load  # cryptography: not for commands that only read
    from rollover.core.pem import certificates_from_pem

    try:
        found = list(certificates_from_pem(path.read_bytes()))
        for der in found if decode else ():
            load(der)
    except PermissionError as error:
        raise PermissionsError(f"{place}: {error.strerror}", hint="run this as root") from error
    except OSError as error:
        raise ConfigError(f"{place}: {error.strerror}", hint=hint) from error
    except CertificateError as error:
        raise ConfigError(f"{place}: {error.message}", hint=hint) from error
    if not found:
        raise ConfigError(f"{place}: there is no certificate in it", hint=hint)
    return found
