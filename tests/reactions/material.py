"""Faults 36 to 46, of what is handed over, and the tool without its reaction."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

from rollover.core.errors import CertificateError
from rollover.core.model import State
from rollover.core.rejection import Fault, Rejected
from tests.reactions.registry import Swap, always, nothing, without

LATER = {"standby", "key_type", "acme", "probe", "destroy_keys", "keep_keys", "vault", "tlsrpt"}
STARTED = Path(__file__).with_name("started")


def in_hooks_too(was: Any) -> Any:
    """Let a hook, which takes PYTHONPATH away, start the tool without the reaction as well: see started/sitecustomize.py."""
    return lambda *asked: ["env", f"PYTHONPATH={STARTED}:{STARTED.parents[2]}", *was(*asked)]


def taken(*faults: Fault) -> Callable[[Any], Any]:
    """Return what makes the check of a certificate take one with any of *faults*."""

    def by(was: Any) -> Any:
        def check(*asked: Any, **options: Any) -> None:
            try:
                was(*asked, **options)
            except Rejected as error:
                if error.fault not in faults:
                    raise

        return check

    return by


@without(36, "the key of another certificate is taken")
def _(swap: Swap) -> None:
    swap("core.certificate.check", taken(Fault.KEY_MISMATCH))


@without(37, "names, times and gaps in the chain are not looked at")
def _(swap: Swap) -> None:
    faults = (Fault.NAME, Fault.EXPIRED, Fault.NOT_YET_VALID, Fault.CHAIN_BROKEN)
    swap("core.certificate.check", taken(*faults))
    swap("engine.refuse._refuse_untrusted", nothing)


@without(38, "the same key is waited for, too")
def _(swap: Swap) -> None:
    def by(was: Any) -> Any:
        def ready_left(view: Any, goal: Any) -> float | None:
            left, service = was(view, goal), view.world.service
            since = view.world.book.standing(goal.fingerprint).since.get(State.GENERATED.value, view.now.wall)
            age = (view.now.wall - since) / timedelta(seconds=1)
            ttl = max(view.world.ledger(owner).largest_ttl for owner in service.owners)
            return None if left is None else max(left, service.patience.span(ttl) - age)

        return ready_left

    swap("hooks.command_words", in_hooks_too)
    swap("core.view.View.ready_left", by)


@without(39, "a revoked key is taken again")
def _(swap: Swap) -> None:
    def by(was: Any) -> Any:
        def refuse(*asked: Any) -> None:
            try:
                was(*asked)
            except CertificateError as error:
                if not error.message.endswith("was revoked"):
                    raise

        return refuse

    swap("engine.refuse.refuse", by)


@without(39, "a revoked key is published")
def _(swap: Swap) -> None:
    swap("core.model.World.revoked", always(False))


@without(40, "a key of another type is not published")
def _(swap: Swap) -> None:
    def by(was: Any) -> Any:
        def publishing(view: Any, owner: Any) -> Any:
            world = view.world
            active = world.credentials.get(world.book.active)
            other = active is not None and world.goal is not None and active.algorithm != world.goal.algorithm
            return None if other else was(view, owner)

        return publishing

    swap("core.changes.publishing", by)


@without(40, "the file of another service is taken over")
def _(swap: Swap) -> None:
    def by(was: Any) -> Any:
        return lambda self, chains, pairs, chain_file, beside: was(self, chains, pairs, chain_file, ())

    swap("mail.postfix.Postfix._pair", by)


@without(40, "of several algorithms the first is taken")
def _(swap: Swap) -> None:
    def by(was: Any) -> Any:
        return lambda self, chains, pairs, *rest: was(self, chains[:1], pairs[:1], *rest)

    swap("mail.postfix.Postfix._pair", by)


@without(41, "what was refused once is not looked at again")
def _(swap: Swap) -> None:
    def by(was: Any) -> Any:
        return lambda host, it, files, rejected: was(host, it, files, rejected) if rejected is None else ()

    swap("engine.intake._scan", by)


@without(42, "a newer certificate pushes out the one before it")
def _(swap: Swap) -> None:
    swap("core.goals._must_queue", always(False))


@without(43, "what this host does not trust is taken")
def _(swap: Swap) -> None:
    swap("engine.refuse._refuse_untrusted", nothing)


@without(44, "keys of later capabilities are passed over")
def _(swap: Swap) -> None:
    def known(table: Any) -> Any:
        return {k: known(v) if isinstance(v, dict) else v for k, v in table.items() if k not in LATER}

    swap("config.files._parse", lambda was: lambda *asked: known(was(*asked)))


@without(44, "commands of later capabilities do nothing")
def _(swap: Swap) -> None:
    def by(was: Any) -> Any:
        import typer

        from rollover.cli.app import COMMANDS, plain_typer

        def get_command(self: Any, ctx: Any, name: str) -> Any:
            if name in COMMANDS:
                return was(self, ctx, name)
            anything = {"ignore_unknown_options": True, "allow_extra_args": True}
            single = plain_typer()
            single.command(name, context_settings=anything)(lambda: None)
            return typer.main.get_command(single)

        return get_command

    swap("cli.app.LazyGroup.get_command", by)


@without(45, "that a certificate ends too early is not told")
def _(swap: Swap) -> None:
    def by(was: Any) -> Any:
        return lambda view: (p for p in was(view) if p.code != "certificate-late")

    swap("core.troubles._certificates", by)


@without(45, "the wait ends with the certificate that is served")
def _(swap: Swap) -> None:
    def by(was: Any) -> Any:
        def ready_left(view: Any, goal: Any) -> float | None:
            left, active = was(view, goal), view.world.credentials.get(view.world.book.active)
            if left is None or active is None:
                return left
            return min(left, max((active.not_after - view.now.wall) / timedelta(seconds=1), 0.0))

        return ready_left

    swap("core.view.View.ready_left", by)


@without(46, "that a source is gone is not told")
def _(swap: Swap) -> None:
    def by(was: Any) -> Any:
        return lambda host, name, files, *rest: None if files is None else was(host, name, files, *rest)

    swap("engine.intake._note_rejection", by)
