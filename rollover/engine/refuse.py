"""Whether a service may serve a certificate: names, dates, key, revocation, and whether this host trusts it."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from rollover.config.models import ServiceConfig
from rollover.core.errors import CertificateError, StateError
from rollover.core.model import State
from rollover.core.tlsa import Chain
from rollover.engine.host import Host
from rollover.engine.trust import roots

if TYPE_CHECKING:
    from rollover.core.pem import PrivateKey


def refuse(host: Host, it: ServiceConfig, chain: Chain, key: PrivateKey) -> None:
    """Raise CertificateError if *chain* must not be served by service *it*.

    Raises ConfigError, PermissionsError for a ``trust`` that cannot be used.
    """
    from rollover.core.certificate import check

    now = host.clock.now().wall
    check(chain, key, hosts=it.hosts, now=now)
    book = host.store.book(it.name)
    for other in host.store.with_keys([chain.spki_sha256]):
        if book.standing(other).state is State.REVOKED:
            raise CertificateError(
                f"the key of certificate {chain.fingerprint[:16]} was revoked",
                hint="order a certificate with a new key and deploy that",
            )
    _refuse_untrusted(host, it, chain, now)


def _refuse_untrusted(host: Host, it: ServiceConfig, chain: Chain, now: datetime) -> None:
    """Raise CertificateError if the ``trust`` of the service forbids to serve *chain* (RFC 8461 §4.1)."""
    known = roots(host.config, it)
    if known is None:
        return
    reason = _untrusted(chain, known, it, now)
    if not reason or (it.trust == "auto" and not _active_is_trusted(host, it, chain, known, now)):
        return
    raise CertificateError(
        f"this host does not trust certificate {chain.fingerprint[:16]}: {reason}",
        hint=f'a test or staging certificate? For a private CA set `trust` of services.{it.name} to its file, or to "none"',
    )


def _active_is_trusted(host: Host, it: ServiceConfig, chain: Chain, known: list[bytes], now: datetime) -> bool:
    """Tell whether something would be lost: another certificate is served, and this host trusts that one."""
    from rollover.core.certificate import parse_chain

    active = host.store.book(it.name).active
    if not active or active == chain.fingerprint:
        return False
    try:
        served = parse_chain(host.vault.chain(active))
    except StateError:
        return False  # gone or damaged: nothing to compare with, and the run of the service tells that
    return not _untrusted(served, known, it, now)


def _untrusted(chain: Chain, known: list[bytes], it: ServiceConfig, now: datetime) -> str:
    from rollover.core.certificate import trusted

    return trusted(chain, roots=known, hosts=it.hosts, now=now)
