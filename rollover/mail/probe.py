"""One new full handshake with one endpoint: the chain as presented, or why there was none.

Nothing is verified here and nothing is resumed: the core judges what was seen. Never raises for
anything that a server does.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_address

from rollover.core.errors import CertificateError
from rollover.core.sighting import Endpoint, EndpointSighting, Outcome
from rollover.core.tlsa import Chain
from rollover.mail.dialogue import Dialogue, NoGreeting, NoStartTls, dialogue
from rollover.mail.wire import Wire, WireError

FAREWELL = 3.0  # seconds that a server has for its goodbye
AT_ONCE = 20  # connections of one look; Postfix allows 50 from one client (smtpd_client_connection_count_limit)

# Several connections, several outcomes: the first of these that occurred is reported. What surely
# defers mail comes before what may be a limit or a lost packet; a chain counts only if all went well.
WORST_FIRST = (Outcome.NO_TLS, Outcome.NO_GREETING, Outcome.UNREACHABLE)


@dataclass(frozen=True, slots=True)
class _Attempt:
    outcome: Outcome
    chain: Chain | None = None
    detail: str = ""


async def probe(endpoint: Endpoint, *, connections: int = 1, timeout: float = 10.0, helo: str = "") -> EndpointSighting:
    """Return what *connections* handshakes with *endpoint*, all at the same time, showed.

    *timeout* in seconds bounds each of them up to the end of its handshake; connections at the same
    time meet more server processes than one after another. *helo* is our name in SMTP, by default
    the address literal of our end. With several outcomes the worst is reported, and how often.
    """
    return (await probe_all([endpoint], connections=connections, timeout=timeout, helo=helo))[0]


async def probe_all(
    endpoints: Iterable[Endpoint],
    *,
    connections: int = 1,
    timeout: float = 10.0,
    at_once: int = AT_ONCE,
    helo: str = "",
) -> tuple[EndpointSighting, ...]:
    """Return what probe() says of each of *endpoints*, in their order; at most *at_once* connections."""
    limit = asyncio.Semaphore(at_once)
    return tuple(await asyncio.gather(*(_probe(endpoint, connections, timeout, helo, limit) for endpoint in endpoints)))


async def _probe(
    endpoint: Endpoint, connections: int, timeout: float, helo: str, limit: asyncio.Semaphore
) -> EndpointSighting:
    attempts: list[_Attempt] = []  # in the order in which they ended

    async def attempt() -> None:
        async with limit:
            attempts.append(await _handshake(endpoint, timeout, helo))

    await asyncio.gather(*(attempt() for _ in range(connections)))
    presented = [a.chain for a in attempts if a.chain is not None]
    for outcome in WORST_FIRST:
        failed = [a for a in attempts if a.outcome is outcome]
        if failed:
            share = f"{len(failed)} of {connections} connections: " if len(failed) < connections else ""
            return EndpointSighting(endpoint, outcome, detail=share + failed[-1].detail, connections=len(presented))
    # Most recent last: dict keeps the place of the first sight, so it is filled from the end.
    chains = tuple(reversed(dict.fromkeys(reversed(presented))))
    return EndpointSighting(endpoint, Outcome.PRESENTED, chains=chains, connections=len(presented))


async def _handshake(endpoint: Endpoint, timeout: float, helo: str) -> _Attempt:
    """Connect once, and finish politely whatever came of it."""
    spoken, implicit = dialogue(endpoint.port, helo)
    stage = Outcome.UNREACHABLE  # what it means if it ends here
    wire: Wire | None = None
    polite = False  # the server is listening to words
    try:
        async with asyncio.timeout(timeout):
            wire = await Wire.connect(endpoint.address, endpoint.port)
            stage = Outcome.NO_GREETING
            if not implicit:
                await spoken.greeting(wire)
                stage, polite = Outcome.NO_TLS, True
                await spoken.ask_for_tls(wire)
            polite = False
            ders = await wire.start_tls(server_name=_server_name(endpoint), algorithm=endpoint.algorithm)
            polite = True
        return _Attempt(Outcome.PRESENTED, _chain(ders))
    except NoGreeting as refusal:
        polite = True  # RFC 5321 §3.1: after 554 the client says QUIT
        return _Attempt(stage, detail=str(refusal))
    except NoStartTls as refusal:
        polite = True
        return _Attempt(Outcome.NO_TLS, detail=str(refusal))
    except CertificateError as error:
        return _Attempt(Outcome.NO_TLS, detail=f"presented an unusable certificate: {error.message}")
    except (OSError, WireError) as error:
        if implicit and wire is not None and wire.received:
            stage = Outcome.NO_TLS  # it said something, and it was no greeting in TLS
        return _Attempt(stage, detail=_cause(error, timeout))
    finally:
        if wire is not None:
            await _leave(wire, spoken, unheard_greeting=implicit, polite=polite)


def _cause(error: Exception, timeout: float) -> str:
    """Return one line for *error*; TimeoutError is an OSError too."""
    if isinstance(error, TimeoutError) and error.errno is None:
        return f"no answer within {timeout:g} s"
    if isinstance(error, OSError):
        return (os.strerror(error.errno) if error.errno else str(error)).lower()
    return str(error)


async def _leave(wire: Wire, spoken: Dialogue, *, unheard_greeting: bool, polite: bool) -> None:
    """Say goodbye where the protocol is at a point that allows it; then close."""
    if polite:
        with suppress(WireError, NoGreeting, NoStartTls, TimeoutError):
            async with asyncio.timeout(FAREWELL):
                if unheard_greeting:
                    await spoken.greeting(wire)
                await spoken.farewell(wire)
    await wire.close()


def _server_name(endpoint: Endpoint) -> str:
    """Return the SNI for *endpoint*; an address is none (RFC 6066 §3)."""
    host = endpoint.host.rstrip(".")
    with suppress(ValueError):
        ip_address(host)
        return ""
    try:
        return host.encode("idna").decode() if endpoint.sni else ""
    except UnicodeError:
        return ""  # no name that a sender could send


def _chain(ders: Sequence[bytes]) -> Chain:
    if not ders:
        raise CertificateError("no certificate", hint="")
    # Here, because commands that never look at a mail server should not pay for it.
    from rollover.core.certificate import chain_from_der

    return chain_from_der(ders)
