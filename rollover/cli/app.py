"""The command line: the table of commands, the global options, and main().

A new command is one line in COMMANDS and a function in a file of its group. Its module is imported
only when it is called: `rollover status` does not pay for what other commands need.
"""

from __future__ import annotations

import ctypes
import io
import resource
import sys
from collections.abc import Sequence
from contextlib import suppress
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from rollover import __version__
from rollover.cli.errors import report
from rollover.cli.options import Options
from rollover.core.errors import UsageError

PR_SET_DUMPABLE = 4  # linux/prctl.h

#: Name → (where it is, what it does). The place is "module:function" below rollover.cli, or
#: "module:app" for a typer.Typer with subcommands (give that a callback). What it does is the first
#: line of the function's docstring, word for word: a test compares them.
COMMANDS: dict[str, tuple[str, str]] = {
    "check": ("checking:check", "Test every precondition; changes nothing. Exits 0, 1 (warnings) or 2."),
    "adopt": ("service:adopt", "Take over the certificate that the mail server serves today."),
    "deploy": ("rolling:deploy", "Take over a new certificate: what every hook calls."),
    "advance": ("rolling:advance", "Do what is due now; the timer calls it every minute."),
    "status": ("telling:status", "Tell how each service is; exits 0, 1, 2 or 3 for monitoring."),
    "history": ("telling:history", "Print every event of a service with its time, oldest first."),
    "rollback": ("rolling:rollback", "Go back to the previous certificate, or to a named one."),
    "pause": ("service:pause", "Take no step but those that protect what is served."),
    "resume": ("service:resume", "Go on after a pause, or fill an emptied RRset again; looks anew first."),
    "release": ("service:release", "Give the mail server its previous parameters back."),
    "verify": ("checking:verify", "Judge any host's certificates by its TLSA records, as a DANE sender does."),
    "hook": ("installing:hook", "Put the hook where an ACME client looks for it, or take it away: certbot, acme.sh."),
    "units": (
        "installing:units",
        "Install or remove the systemd units and timers; without systemd, print the crontab line.",
    ),
    "tlsa": ("records:tlsa", "Print the TLSA records of a certificate or key."),
}


class LazyGroup(TyperGroup):
    """Commands that are imported when they are called."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return the command; raises UsageError when there is none of that name."""
        if cmd_name not in COMMANDS:
            close = get_close_matches(cmd_name, COMMANDS, 1)
            hint = f"did you mean `rollover {close[0]}`?" if close else "`rollover --help` lists the commands"
            raise UsageError(f"no such command: {cmd_name}", hint=hint)
        module, _, attribute = COMMANDS[cmd_name][0].partition(":")
        target = getattr(import_module(f"rollover.cli.{module}"), attribute)
        if not isinstance(target, typer.Typer):
            single = plain_typer()
            single.command(cmd_name)(target)
            target = single
        command = typer.main.get_command(target)
        command.name = cmd_name
        return command

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the table without importing the commands."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, does) for name, (_, does) in COMMANDS.items()])


def plain_typer(**settings: Any) -> typer.Typer:
    """Return a Typer that prints plain text: no colours, no boxes, no tracebacks of its own."""
    return typer.Typer(
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 80},
        **settings,
    )


app = plain_typer(cls=LazyGroup)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"rollover {__version__}")
        raise typer.Exit


@app.callback()
def rollover(
    ctx: typer.Context,
    config: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Configuration; else $ROLLOVER_CONFIG, else /etc/rollover/rollover.toml."),
    ] = None,
    verbose: Annotated[bool, typer.Option("--verbose", help="Show where an error came from.")] = False,
    version: Annotated[  # noqa: ARG001  its callback does the work
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Change the TLS certificate of a DANE-protected mail server without one deferred message."""
    ctx.obj = Options(config=config, verbose=verbose)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command in *argv* (default: of the process); return the exit code. Never raises."""
    arguments = tuple(sys.argv[1:] if argv is None else argv)
    _leave_no_core()
    if isinstance(sys.stdout, io.TextIOWrapper):  # a locale without "…" must not end a command half-way
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        code = _run(list(arguments))  # a list of its own: typer takes it apart
        sys.stdout.flush()
    except BaseException as error:
        return report(error, verbose="--verbose" in arguments)
    return code


def _leave_no_core() -> None:
    """Let no core dump be written of this process: private keys are in its memory.

    The limit is for files; a dump that is piped to a program (systemd-coredump, apport) is made whatever
    the limit is, but not of a process that is not dumpable: core(5), PR_SET_DUMPABLE(2const). That also
    keeps others of the same user from reading its memory. Programs that it starts are dumpable again.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    with suppress(OSError, AttributeError):  # a C library without it: there is the limit
        ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)


def _run(arguments: list[str]) -> int:
    """Return the exit code of a command that ended by itself: what it returned or gave to typer.Exit."""
    group = typer.main.get_command(app)
    try:
        with group.make_context("rollover", arguments) as ctx:
            result = group.invoke(ctx)
    except typer.Exit as done:
        return done.exit_code
    return result if isinstance(result, int) else 0
