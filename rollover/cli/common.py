"""What the commands share: a host from the global options, running a coroutine, progress on stderr."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Coroutine, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import typer

from rollover.cli.options import options

if TYPE_CHECKING:
    from rollover.core.report import Report
    from rollover.engine.host import Host
    from rollover.engine.run import Outcome

T = TypeVar("T")


def host_of(ctx: typer.Context, *, write: bool = True, rebuild: bool = False) -> Host:
    """Open the host that the global options name."""
    from rollover.engine.host import open_host

    return open_host(options(ctx).load(), write=write, rebuild=rebuild)


def run_async(work: Coroutine[Any, Any, T]) -> T:
    """Run *work* to its end."""
    import asyncio  # here: commands that only read do not pay for it

    return asyncio.run(work)


def names_of(host: Host, names: Sequence[str] | None) -> list[str]:
    """Return the services that were named, checked; all of them without any."""
    return [host.service(n).name for n in names] if names else list(host.services)


def tell(host: Host, name: str, outcome: Outcome, *, hook: bool = False) -> None:
    """Say what a run that a person ordered came to, once its wish is recorded: no failure of the run undoes that.

    What it met are warnings on stderr. *hook*: nobody waits for more, alerts are left to the next tick.
    Raises what nobody foresaw: a bug.
    """
    from rollover.core.errors import RolloverError
    from rollover.engine.alert import raise_alerts

    kept = "the certificate is kept, " if hook else ""
    for it in outcome.problems:
        print(f"rollover: warning: {name}: {it.message}; {kept}the next tick tries again", file=sys.stderr)
        print(f"rollover: hint: {it.hint}", file=sys.stderr)
    print(f"{name}: {outcome.report.phase}: {outcome.report.summary}")
    if not hook:
        run_async(raise_alerts(host, [outcome.report]))
    if outcome.error is not None and not isinstance(outcome.error, RolloverError | OSError):
        raise outcome.error


class Progress:
    """One line that is written over on a terminal, and a line a change elsewhere."""

    def __init__(self) -> None:
        self._tty = sys.stderr.isatty()
        self._last = ""

    def show(self, told: Sequence[Report]) -> None:
        """Show what each service waits for and until when."""
        from rollover.core.timing import stamp

        parts = []
        for it in told:
            until = f" until {stamp(it.not_before)}" if it.not_before else ""
            parts.append(f"{it.name}: {it.phase}{until}: {it.summary}")
        text = " | ".join(parts)
        if self._tty:
            # The last column stays free: a terminal that wraps there would leave the line behind.
            sys.stderr.write(f"\r\x1b[2K{text[: _width() - 1]}")
            sys.stderr.flush()
        elif text != self._last:
            print(text, file=sys.stderr, flush=True)
        self._last = text

    def end(self) -> None:
        """Leave the line."""
        if self._tty and self._last:
            sys.stderr.write("\n")


def _width() -> int:
    """Return the columns of the terminal that stderr is; 80 where it does not say."""
    try:
        columns = os.get_terminal_size(sys.stderr.fileno()).columns
    except (OSError, ValueError):
        columns = 0
    return columns or shutil.get_terminal_size().columns
