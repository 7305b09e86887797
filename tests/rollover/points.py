"""Effects of a run, as system calls: what they are called, and how one is found again in another run.

Both the reading of an strace and the helper that kills name system calls by label() and Sequence, so
that a point found in one run is the same point in the next, whatever process ids, random names and
numbers of looks lie between.
"""

from __future__ import annotations

import re
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

# Calls of which nothing is left when the process is dead. Whatever else touches a watched place
# counts as an effect: a call that nobody thought of is tried, not forgotten.
LEAVES_NOTHING = re.compile(
    r"p?read(64|v)?|lseek|(new)?f?(l)?stat(x|at|fs)?|fstatat|f?statfs|f?access(at2?)?|readlink(at)?|getdents(64)?"
    r"|close(_range)?|dup[23]?|fcntl|flock|ioctl|mmap|chdir|connect|bind|epoll_ctl|p?poll|p?select6?"
    r"|getrandom|[gs]etsockopt|get(sock|peer)name|recv(from|msg)|shutdown|getcwd|fadvise64|newfstatat"
)
SENDS = frozenset({"sendto", "sendmsg", "write", "writev"})
#: Places where nothing is left, either; tempfile tries one file of a random name before it uses the directory.
NOBODYS = re.compile(rf"/dev/.*|/proc/.*|{re.escape(tempfile.gettempdir())}/[a-z0-9_]{{8}}")
UPDATE = 5  # opcode, RFC 2136


@dataclass(frozen=True)
class Call:
    """One system call of the tool. *places*: the files and sockets that it names, absolute.

    *words*: the arguments of a program; *creates*: O_CREAT or O_TRUNC; *opcode*: of a DNS message.
    """

    name: str
    places: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    creates: bool = False
    opcode: int | None = None


@dataclass(frozen=True)
class Watched:
    """Where effects are looked for: directories by the name they get in labels, the primary's address."""

    directories: dict[str, str]
    primary: str

    def short(self, path: str) -> str:
        """Return *path* in a form that is the same in every run; "" outside of what is watched."""
        for directory, name in self.directories.items():
            if path == directory or path.startswith(directory + "/"):
                rest = re.sub(r"[0-9a-f]{16,}|\d+", "*", path.removeprefix(directory))
                return name + rest
        return ""


def label(call: Call, watched: Watched) -> str:
    """Return what an effect is called; "" for a call that is none."""
    if LEAVES_NOTHING.fullmatch(call.name):
        return ""
    if call.name == "execve":
        program = Path(call.places[0]).name
        return " ".join(["execve", program, *(w for w in call.words[1:] if re.fullmatch(r"-?[A-Za-z]+", w))])
    if call.name in {"open", "openat", "openat2"} and not call.creates:
        return ""
    if any(p.endswith(f"->{watched.primary}") for p in call.places) and call.name in SENDS:
        what = "UPDATE" if call.opcode == UPDATE else "a query"
        return f"{call.name} {what} to the primary"
    found = [short for p in call.places if (short := watched.short(p))]
    return f"{call.name} {' -> '.join(found)}" if found else ""


def outside(call: Call, watched: Watched) -> list[str]:
    """Return what a call leaves behind where nobody looks for effects: a place that is missing in *watched*."""
    opens = call.name in {"open", "openat", "openat2"} and not call.creates
    other = opens or call.name in {"execve", "fsync", "fdatasync"}
    if other or LEAVES_NOTHING.fullmatch(call.name) or label(call, watched):
        return []
    return [f"{call.name} {p}" for p in call.places if p.startswith("/") and not NOBODYS.fullmatch(p)]


def opcode_of(message: bytes, *, tcp: bool) -> int | None:
    """Return the opcode of a DNS message; None if there is too little of it."""
    flags = message[4 if tcp else 2 :][:1]
    return (flags[0] >> 3) & 15 if flags else None


def is_milestone(effect: str) -> bool:
    """Tell whether an effect is one by which others are located: they happen once or twice in a run."""
    return (
        ("rename" in effect and "status.json" not in effect)
        or "UPDATE" in effect
        or re.match(r"execve (postfix|postconf.* -[eX]\b)", effect) is not None
    )


class Sequence:
    """Names points: an effect, how many of its kind came since which milestone."""

    def __init__(self) -> None:
        self.after = "start"
        self._counts: Counter[str] = Counter()

    def name(self, effect: str) -> str:
        """Return what the point is called if *effect* comes next."""
        return f"{self.after} | {effect} | {self._counts[effect] + 1}"

    def happened(self, effect: str) -> None:
        """Note that *effect* came about."""
        self._counts[effect] += 1
        if is_milestone(effect):
            self.after = effect
            self._counts.clear()


def effect_of(point: str) -> str:
    """Return the effect of a point."""
    return point.split(" | ")[1]
