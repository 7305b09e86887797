"""Pointing the mail server at the live file, proving that it reads it, and giving it its parameters back if not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import NoReturn

from rollover.core import goals
from rollover.core.machine import ROUNDS
from rollover.core.model import Book
from rollover.core.sighting import LiveFile, Sighting
from rollover.core.steps import Reload
from rollover.core.timing import elapsed_boot
from rollover.core.tlsa import Chain
from rollover.core.view import View
from rollover.engine.effects import Failed, perform
from rollover.engine.host import Host
from rollover.engine.look import Looker
from rollover.engine.run import PAUSE
from rollover.engine.served import NotServed
from rollover.mail.target import PostfixTarget

Say = Callable[[str], None]
PROOF = 15.0  # seconds for every endpoint to present what Postfix was pointed at


async def point(host: Host, name: str, seen: Sighting, say: Say) -> list[tuple[PostfixTarget, dict[str, str]]]:
    """Put the goal where the mail server is to read it, and point it there; what was is noted first, for release.

    Returns the instances whose main.cf was changed, each with its parameters from before. That counts
    as an install until it is proven: the file may be out of Postfix's sight (a container, SELinux).
    """
    pointed: list[tuple[PostfixTarget, dict[str, str]]] = []
    looker = Looker(host, name)
    book = looker.book()
    credential = looker.credential(book.active or book.goal)
    if credential is None:
        return pointed
    key, chain = host.vault.key(credential.spki), host.vault.chain(credential.fingerprint)
    for target in host.hands.targets[name]:
        if is_stale(target.live(), credential.chain, book):
            target.install(key, chain)
        if not isinstance(target, PostfixTarget):
            continue
        if not target.live().wiring:
            target.postfix.drop_ignored()
            continue
        _note_parameters(host, name, target)
        pointed.append((target, target.postfix.parameters()))
        now, before = host.clock.now(), looker.book()
        if before.goal == credential.fingerprint:  # else the rollover under way opens its own, and is judged
            opened = goals.open_install(before, credential.fingerprint, now, seen.endpoints, begun=False)
            host.store.save_book(name, opened, before)
        target.point()
        try:  # recorded: what is in place and loaded has nothing more to wait for
            await perform(host, looker.world(), seen, Reload((target.label,), why="its parameters are new"))
        except Failed as failure:
            raise failure.cause or failure from failure
        say(f"{target.postfix.config_directory}: smtpd_tls_chain_files = {target.chain_file}")
        host.store.event(
            name, "wired", f"{target.postfix.config_directory} reads {target.chain_file}", host.clock.now().wall
        )
    return pointed


async def proven(host: Host, name: str) -> bool:
    """Look until every endpoint presents the goal, and nothing else, as often as an install has to be proven."""
    return await shown(host, name, lambda view: view.world.goal is not None and view.proven(view.world.goal))


async def shown(host: Host, name: str, right: Callable[[View], bool]) -> bool:
    """Look until it is *right* in three looks one after the other; False when it was not within PROOF."""
    started, rounds = host.clock.now(), 0
    while elapsed_boot(started, host.clock.now()) < PROOF:
        looker = Looker(host, name)
        seen = await looker.look(proving=True)
        rounds = rounds + 1 if right(View(looker.world(seen=seen), seen)) else 0
        if rounds == ROUNDS:
            return True
        await host.clock.sleep(PAUSE)
    return False


async def undo(
    host: Host, name: str, pointed: list[tuple[PostfixTarget, dict[str, str]]], *, first: bool, why: str
) -> NoReturn:
    """Give Postfix its parameters back: not every endpoint presents what it is to read now. Raises NotServed."""
    for target, parameters in pointed:
        target.postfix.restore(parameters)
        await target.reload()
    before = host.store.book(name)
    with host.store.transaction():
        host.store.save_book(name, replace(before, install=None, adopted=not first), before)
        if first:
            host.store.forget_report(name)
        host.store.event(name, "not-adopted", f"the parameters of before are back: {why}", host.clock.now().wall)
    files = ", ".join(target.chain_file for target, _ in pointed)
    raise NotServed(
        f"not every endpoint presents the certificate once Postfix reads {files}; its parameters are as before",
        hint="look at the mail log: can Postfix see that file (container, SELinux, AppArmor)? Does a reload take effect?",
    )


def is_stale(live: LiveFile, active: Chain, book: Book) -> bool:
    """Tell whether a live file has to be written before anything reads it: DNS may have forgotten what is in it."""
    if live.chain is None or live.problem:
        return True
    return bool(live.wiring) and live.chain != active and book.install is None


def _note_parameters(host: Host, name: str, target: PostfixTarget) -> None:
    """Remember the parameters of before; those of the first adoption, not what somebody broke later."""
    noted = host.store.restore(name) or {}
    directory = target.postfix.config_directory
    if directory not in noted:
        host.store.save_restore(name, {**noted, directory: target.postfix.parameters()})
