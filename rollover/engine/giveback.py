"""Giving the mail server its previous parameters back, proving that it presents what they name, and taking them away if not.

What worked is noted before anything is changed, so that a release that was cut off can be given again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from rollover.core import goals
from rollover.core.errors import RolloverError, ServerError
from rollover.core.model import Book
from rollover.core.sighting import Endpoint, Outcome, Sighting
from rollover.engine.host import Host
from rollover.engine.look import Looker
from rollover.engine.pointing import point, shown
from rollover.engine.run import run_locked
from rollover.engine.served import NotServed, Served
from rollover.mail.target import PostfixTarget

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Previous:
    """What one instance is given back: *parameters*, and what they name."""

    target: PostfixTarget
    parameters: Mapping[str, str]
    served: Served


def previous_of(host: Host, name: str) -> list[Previous]:
    """Return what is given back, in each instance. Raises ServerError where Postfix could offer no TLS with it.

    An instance that had no certificate before keeps what it has: without one it would offer none either.
    """
    noted = host.store.restore(name) or {}
    found = []
    for target in host.hands.targets[name]:
        before = noted.get(target.postfix.config_directory, {}) if isinstance(target, PostfixTarget) else {}
        if not isinstance(target, PostfixTarget) or not any(before.values()):
            continue
        try:
            found.append(Previous(target, before, Served(*target.served_with(before))))
        except RolloverError as error:
            told = ", ".join(f"{k} = {v}" for k, v in before.items() if v)
            raise ServerError(
                f"Postfix could offer no TLS with its previous parameters ({told}): {error.message}",
                hint=f"it goes on with {target.chain_file}, where what is served now is; put a certificate and its own key "
                "into the files of before, then release again",
            ) from error
    return found


async def give_back(host: Host, name: str, seen: Sighting, previous: Sequence[Previous], say: Say) -> None:
    """Give each instance its parameters back, and prove it. Raises RolloverError when they do not take effect."""
    if not previous:
        return
    book = host.store.book(name)
    if book.install is None:  # what worked before is noted first: a release that is given again has to know
        opened = goals.open_install(book, book.active or book.goal, host.clock.now(), seen.endpoints, begun=False)
        host.store.save_book(name, opened, book)
    for it in previous:
        it.target.postfix.restore(it.parameters)
        await it.target.reload()
        say(f"{it.target.postfix.config_directory}: {', '.join(f'{k} = {v}' for k, v in it.parameters.items())}")
    wanted = {it.served.parsed.fingerprint for it in previous}
    kept = [t.live().chain for t in host.hands.targets[name] if all(t is not it.target for it in previous)]
    wanted |= {chain.fingerprint for chain in kept if chain is not None}
    worked = _worked(host.store.book(name), seen)
    if not await shown(host, name, lambda view: _presents(view.seen, worked, wanted)):
        files = ", ".join(dict.fromkeys(file for it in previous for file in it.served.files))
        raise NotServed(
            f"not every endpoint presents what is in {files} once Postfix has its previous parameters; it is to read "
            f"{' and '.join(it.target.chain_file for it in previous)} again, and {name} stays adopted",
            hint="look at the mail log: can Postfix use those files? Does a reload take effect? Then release again",
        )


def _worked(book: Book, seen: Sighting) -> frozenset[Endpoint]:
    """Return the endpoints that present a certificate now, or did when what is open was begun."""
    picture = book.install.picture if book.install is not None else {}
    before = {e for e, did in picture.items() if did.outcome is Outcome.PRESENTED}
    return frozenset(e.endpoint for e in seen.endpoints if e.outcome is Outcome.PRESENTED or e.endpoint in before)


def _presents(seen: Sighting, endpoints: frozenset[Endpoint], wanted: set[str]) -> bool:
    """Tell whether each of *endpoints* presents *wanted* certificates, and nothing else."""
    shows = {e.endpoint: {c.fingerprint for c in e.chains} for e in seen.endpoints if e.outcome is Outcome.PRESENTED}
    return all(e in shows and shows[e] <= wanted for e in endpoints)


async def keep(host: Host, name: str, undo: RolloverError | None, say: Say) -> None:
    """Have the service under care as before; *undo*: why Postfix has to read the live file again. Raises RolloverError."""
    try:
        if undo is not None:
            host.store.event(name, "not-released", undo.message, host.clock.now().wall, hint=undo.hint)
            await point(host, name, await Looker(host, name).look(), say)
    finally:
        book = host.store.book(name)
        host.store.save_book(name, replace(book, releasing=False), book)
    if undo is not None:
        await run_locked(host, name)  # it counts as an install until it is proven
