"""What the mail server serves today, before anything is taken over: told by its files, and proven by its endpoints."""

from __future__ import annotations

from dataclasses import dataclass

from rollover.core.certificate import parse_chain
from rollover.core.errors import ConfigError, ServerError
from rollover.core.model import Book
from rollover.core.sighting import Outcome, Sighting
from rollover.core.tlsa import Chain
from rollover.engine.host import Host
from rollover.engine.look import Looker


class NotServed(ServerError):
    """An endpoint does not present what the mail server is configured with; adopting would be guessing."""

    code = "not-served"


@dataclass(frozen=True, slots=True)
class Served:
    """What the mail server is configured with today: PEM, and *where* it names it."""

    key: bytes
    chain: bytes
    where: str

    @property
    def parsed(self) -> Chain:
        """The chain."""
        return parse_chain(self.chain)

    @property
    def files(self) -> tuple[str, ...]:
        """The files, as *where* names them."""
        return tuple(self.where.rpartition(" = ")[2].split(" and "))


def configured(host: Host, looker: Looker) -> Served:
    """Return what is served today. Raises ConfigError, NotServed when it cannot be told."""
    targets = host.hands.targets[looker.service.name]
    found = [Served(*served) for target in targets if (served := target.served()) is not None]
    if not found:
        raise ConfigError(
            f"nothing is at {' and '.join(target.label for target in targets)}",
            hint="put the key and the chain that the daemon serves today there, then adopt",
        )
    first = found[0]
    for other in found[1:]:
        if other.parsed.fingerprint != first.parsed.fingerprint:
            raise NotServed(
                f"{first.where} is certificate {first.parsed.fingerprint[:16]}, "
                f"{other.where} is {other.parsed.fingerprint[:16]}",
                hint="put one of them into all, reload, then adopt; or describe the other as a service of its own",
            )
    return first


def active_chain(looker: Looker, book: Book) -> Chain:
    """Return what an adopted service serves. Raises ConfigError when the vault has lost it."""
    credential = looker.credential(book.active or book.goal)
    if credential is None:
        raise ConfigError(
            "the vault has lost the active certificate",
            hint="`rollover deploy FULLCHAIN KEY --service NAME` hands it over again",
        )
    return credential.chain


def refuse_unproven(seen: Sighting, chain: Chain) -> None:
    """Every endpoint has to be reached and to present *chain*: a first record turns DANE on."""
    for e in seen.endpoints:
        if e.outcome is not Outcome.PRESENTED:
            raise NotServed(
                f"{e.endpoint}: {e.outcome}: {e.detail}",
                hint="every address has to work before; set `addresses` if this one does not belong to the service",
            )
        for other in e.chains:
            if other.fingerprint != chain.fingerprint:
                raise NotServed(
                    f"{e.endpoint} presents certificate {other.fingerprint[:16]}, the mail server is configured with {chain.fingerprint[:16]}",
                    hint="reload the mail server; if another host answers there, set `addresses` or describe it as a service of its own",
                )
    if not seen.endpoints:
        raise NotServed("the service has no endpoint", hint="check `hosts`, `ports` and `addresses` of the service")


def refuse_unseen(seen: Sighting) -> None:
    """Which records are ours is decided once, so every primary has to have told which there are."""
    for owner in seen.owners:
        if owner.primary is None and not owner.blocked:
            why = next((a.problem for a in owner.servers if a.primary), "") or "no answer"
            raise ServerError(
                f"the primary of {owner.zone or owner.owner} did not say which records {owner.owner} has: {why}",
                hint="`rollover check` shows what is in the way; then adopt again",
            )
