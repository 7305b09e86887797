"""systemd units and timers with the absolute path of this command; a crontab line without systemd."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from rollover.core.errors import CannotWrite, RolloverError
from rollover.hooks import command_words, discard, ours, replace, shared_text
from rollover.mail.errors import MailError
from rollover.mail.run import Finished, run

UNITS = ("rollover-advance.service", "rollover-advance.timer", "rollover-status.service", "rollover-status.timer")
TIMERS = tuple(unit for unit in UNITS if unit.endswith(".timer"))
DIRECTORY = Path("etc/systemd/system")
#: What `postfix reload` writes to, where Postfix is as the distribution has it; absent ones are passed over.
POSTFIX_PATHS = (Path("/var/spool/postfix"), Path("/var/lib/postfix"))
MARK_LINE = "# Written by `rollover units install`.\n"
_CRON_LINE = re.compile(r"^\s*[^#\s].*\brollover\b.*\sadvance\b", re.MULTILINE)


def install(
    *,
    command: str | Path,
    config: str | Path | None = None,
    writable: Sequence[str | Path] = (),
    dry_run: bool = False,
    root: Path = Path("/"),
) -> list[str]:
    """Write the units, reload systemd and start the timers; return one line for each thing done.

    *command* is the absolute path of ``rollover``, *config* is passed on when it is not the default.
    *writable*: directories that ``advance`` writes to: the state, those of the live files, queue and
    data directory of other Postfix instances; the units allow nothing else. Where systemd does not
    run, nothing is written and the crontab lines are returned.

    Raises UsageError for a relative *command*, CannotWrite (73) for a unit of somebody else's or when
    systemctl fails, PermissionsError (77).
    """
    words = command_words(command, config)
    if not _systemd_runs(root):
        return [
            "systemd does not run here; put this into /etc/cron.d/rollover instead:",
            f"  * * * * * root {shlex.join(words)} advance >/dev/null 2>&1",
            f"  5 * * * * root {shlex.join(words)} status --quiet",
        ]
    lines = []
    there = {unit: ours(root / DIRECTORY / unit) for unit in UNITS}  # all are looked at before one is written
    for unit in UNITS:
        path, content = root / DIRECTORY / unit, _text(unit, words, writable)
        if there[unit] == content:
            lines.append(f"{path} is in place")
        elif dry_run:
            lines.append(f"would write {path}")
        else:
            replace(path, content, 0o644)
            lines.append(f"wrote {path}")
    # Not `enable --now`: that fails in a chroot, where an image is made and nothing can be started.
    for arguments in (["daemon-reload"], ["enable", *TIMERS], ["start", *TIMERS]):
        if not dry_run:
            _systemctl(root, arguments)
        lines.append(f"{'would run' if dry_run else 'ran'}: systemctl {' '.join(arguments)}")
    return lines


def ticking(root: Path = Path("/")) -> str:
    """Return what calls ``advance`` here: the timer, or the crontab with a line for it; "" for nothing."""
    if _systemd_runs(root):
        timer = "rollover-advance.timer"
        with suppress(MailError):
            if run(["systemctl", "is-active", "--quiet", timer]).status == 0:
                return timer
    for path in (root / "etc/crontab", *sorted((root / "etc/cron.d").glob("*")), root / "var/spool/cron/crontabs/root"):
        with suppress(OSError, UnicodeDecodeError):
            if _CRON_LINE.search(path.read_text(encoding="utf-8")):
                return str(path)
    return ""


def not_allowed(writable: Sequence[str | Path], root: Path = Path("/")) -> list[str]:
    """Return which of *writable* the installed unit does not let ``advance`` write to; [] without a unit of ours."""
    with suppress(RolloverError):
        if (text := ours(root / DIRECTORY / "rollover-advance.service")) is not None:
            allowed = f" {text.partition('ReadWritePaths=')[2].partition(chr(10))[0]} "
            return [str(path) for path in writable if f" {_quoted(f'-{path}')} " not in allowed]
    return []


def remove(*, dry_run: bool = False, root: Path = Path("/")) -> list[str]:
    """Stop the timers and remove the units; return what was done. Raises as install() does."""
    paths = [root / DIRECTORY / unit for unit in UNITS]
    present = [path for path in paths if ours(path) is not None]
    if not present:
        return ["no units of rollover are there: nothing to remove; look into /etc/cron.d/rollover, too"]
    lines = []
    if _systemd_runs(root):
        timers = [path.name for path in present if path.name in TIMERS]
        for arguments in (["stop", *timers], ["disable", *timers]) if timers else ():
            if not dry_run:
                _systemctl(root, arguments)
            lines.append(f"{'would run' if dry_run else 'ran'}: systemctl {' '.join(arguments)}")
    for path in present:
        if not dry_run:
            discard(path)
        lines.append(f"{'would remove' if dry_run else 'removed'} {path}")
    if _systemd_runs(root) and not dry_run:
        _systemctl(root, ["daemon-reload"])
    return lines


def _text(unit: str, words: Sequence[str], writable: Sequence[str | Path]) -> str:
    text = shared_text(f"systemd/{unit}")
    if MARK_LINE.strip(".\n") not in text:
        text = MARK_LINE + text
    paths = dict.fromkeys(map(str, [*writable, *(POSTFIX_PATHS if "advance" in unit else ())]))
    # "-": a directory that is not there yet is no reason not to start.
    return text.replace("@ROLLOVER@", " ".join(map(_quoted, words))).replace(
        "@WRITABLE@", " ".join(_quoted(f"-{path}") for path in paths)
    )


def _quoted(word: str) -> str:
    """Return *word* as one word of a unit file (systemd.service(5), systemd.unit(5))."""
    word = word.replace("%", "%%").replace("\\", "\\\\").replace('"', '\\"').replace("$", "$$")
    return f'"{word}"' if any(c in word for c in " ;'\t\"") else word


def _systemd_runs(root: Path) -> bool:
    return (root / "run/systemd/system").is_dir()  # sd_booted(3)


def _systemctl(root: Path, arguments: Sequence[str]) -> Finished:
    if root != Path("/"):
        if arguments[0] not in ("enable", "disable"):
            return Finished(0, "", "")
        arguments = [f"--root={root}", *arguments]
    done = run(["systemctl", *arguments], timeout=60)
    if done.status:
        raise CannotWrite(
            f"`systemctl {' '.join(arguments)}` failed: {done.last_line}",
            hint="run it by hand as root to see why, then this command again",
        )
    return done
