"""Every way in which a command can fail, as two lines on stderr and an exit code of sysexits(3).

    rollover: error: update of zone example.org refused by 192.0.2.53: REFUSED
    rollover: hint: if the zone is frozen, thaw it; else grant: …

A traceback is shown with --verbose only, above the two lines.
"""

from __future__ import annotations

import os
import sys
import traceback
from contextlib import suppress

import typer

from rollover import __version__
from rollover.core.errors import EX_IOERR, EX_SOFTWARE, EX_TEMPFAIL, EX_USAGE, words


def report(error: BaseException, *, verbose: bool) -> int:
    """Print *error* for an operator and return the exit code of the process."""
    match error:
        case SystemExit():
            return error.code if isinstance(error.code, int) else EX_SOFTWARE
        case BrokenPipeError():
            _forget_stdout()  # whoever read our output had enough: `rollover history mail | head`
            return EX_IOERR
    if verbose and not isinstance(error, typer.TyperException | KeyboardInterrupt):
        traceback.print_exception(error)
    message, hint, code = _words(error)
    _say(f"rollover: error: {_one_line(message)}" if hint else f"rollover: {message}")
    if hint:
        _say(f"rollover: hint: {_one_line(hint)}")
    if isinstance(error, OSError):
        _forget_stdout()
    return code


def _words(error: BaseException) -> tuple[str, str, int]:
    """Return message, hint and exit code; an empty hint for what is no error."""
    match error:
        case typer.TyperException():
            return _usage(error)
        case KeyboardInterrupt() | typer.Abort():
            return "interrupted; nothing is lost, the next run goes on from here", "", EX_TEMPFAIL
    return words(error, f"rollover {__version__}")


def _usage(error: typer.TyperException) -> tuple[str, str, int]:
    """Return what typer has to say about the command line, in our form."""
    message = error.message or error.format_message()
    if not error.message or getattr(error, "param", None) is not None:
        message = error.format_message()
    message = message.rstrip(".")
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "rollover"
    near = getattr(error, "possibilities", None) or ()
    meant = f"did you mean {' or '.join(sorted(near))}? " if near else ""
    return message[:1].lower() + message[1:], f"{meant}see `{command} --help`", EX_USAGE


def _one_line(text: str) -> str:
    """Return *text* on one line; what others wrote into it cannot move the cursor of a terminal."""
    return "".join(c if c.isprintable() else " " for c in " ".join(text.split()))


def _say(line: str) -> None:
    with suppress(OSError):  # nobody reads it: the exit code still tells
        print(line, file=sys.stderr, flush=True)


def _forget_stdout() -> None:
    """Let the flush at the end of the process go nowhere: it would fail again, with a traceback."""
    with suppress(OSError, ValueError):  # stdout is not always a file
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
