"""`hook` and `units`: what the ACME client and systemd call, put where they look for it."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import Annotated

import typer

from rollover.cli.app import plain_typer
from rollover.cli.options import options

hook = plain_typer()
units = plain_typer()

User = Annotated[str | None, typer.Option(metavar="U", help="The user that the client runs as, if not root.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would happen; change nothing.")]


@hook.callback()
def about_hook() -> None:
    """Put the hook where an ACME client looks for it, or take it away: certbot, acme.sh."""


@hook.command("install")
def hook_install(
    ctx: typer.Context,
    client: Annotated[str, typer.Argument(metavar="CLIENT")],
    user: User = None,
    dry_run: DryRun = False,
) -> None:
    """Install the hook of an ACME client, with absolute paths."""
    from rollover import hooks

    lines = hooks.install(client, command=own_command(), user=user, dry_run=dry_run, config=_config(ctx))
    print("\n".join(lines))


@hook.command("remove")
def hook_remove(
    client: Annotated[str, typer.Argument(metavar="CLIENT")], user: User = None, dry_run: DryRun = False
) -> None:
    """Remove the hook of an ACME client."""
    from rollover import hooks

    print("\n".join(hooks.remove(client, user=user, dry_run=dry_run)))


@units.callback()
def about_units() -> None:
    """Install or remove the systemd units and timers; without systemd, print the crontab line."""


@units.command("install")
def units_install(ctx: typer.Context, dry_run: DryRun = False) -> None:
    """Install rollover-advance and rollover-status, services and timers."""
    from rollover import units as them
    from rollover.engine.paths import writable

    paths = writable(options(ctx).load())
    print("\n".join(them.install(command=own_command(), config=_config(ctx), writable=paths, dry_run=dry_run)))


@units.command("remove")
def units_remove(dry_run: DryRun = False) -> None:
    """Remove the units and timers."""
    from rollover import units as them

    print("\n".join(them.remove(dry_run=dry_run)))


def own_command() -> Path:
    """Return the absolute path by which this command was called, so that hooks and units find it again."""
    called = Path(sys.argv[0])
    if called.name != "rollover":
        found = shutil.which("rollover")
        return Path(found) if found else Path(sys.executable).with_name("rollover")
    return Path(os.path.abspath(called))  # not resolved: pipx keeps the link when it upgrades


def _config(ctx: typer.Context) -> Path:
    """Return the configuration that hooks and units are to name; $ROLLOVER_CONFIG is not set for them."""
    from rollover.config.files import DEFAULT_PATH, VARIABLE

    return options(ctx).config or Path(os.environ.get(VARIABLE) or DEFAULT_PATH)
