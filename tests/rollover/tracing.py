"""Where a run of the tool can be killed: its effects, read from an strace of it, and the killing.

    found = trace(lab, "advance", "mail")        # under strace -f: the points of that run, in order
    targets = choose(found.points)               # before and after some; every one with ROLLOVER_KILL_ALL=1
    end = killed_at(lab, targets, found, "advance", "mail")

Every system call is looked at. One that names the tool's state, the live files, the mail server's
configuration or the primary, and that leaves something behind, is an effect; so is each program that
is started. What happens inside those programs is not the tool's. A call of the tool that leaves something
behind anywhere else fails the trace: the places are not a list that could be forgotten.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.lab import Lab
from tests.lab import addresses as at
from tests.lab.command import environment, run_python
from tests.rollover.points import SENDS, Call, Watched, effect_of, label, opcode_of, outside
from tests.rollover.points import Sequence as Names

KILL_ALL = "ROLLOVER_KILL_ALL"
COMMIT = "unlink state/rollover.db-journal"  # the instant at which SQLite commits
INSTALL = "renameat live/.mail.pem.rollover-* -> live/mail.pem"
UPDATE = "sendto UPDATE to the primary"
RELOAD = "execve postfix -c reload"
SIDES = ("before", "after")
START = "start"  # the milestone before all others
Target = tuple[str, str]

_LINE = re.compile(r"^(\d+) +\[ *(\d+)\] (<\.\.\. )?(\w+)(.*)$")
_TOKEN = re.compile(r'"(?:\\x[0-9a-f]{2})*"(?:\.\.\.)?|(?:AT_FDCWD|\d+)<(?:->|[^>])*>')


@dataclass
class Trace:
    """The effects of one run: *points* in order, *shapes* of the system calls that made them."""

    points: list[str]
    shapes: dict[int, dict[str, Any]]
    watched: Watched
    done: subprocess.CompletedProcess[str]


@dataclass
class End:
    """How a run under the helper ended: *fired* is the target that killed it, None if it ran to its end."""

    fired: Target | None
    code: int
    output: str


def watched_in(lab: Lab, places: Mapping[str, str] = {}) -> Watched:
    """Return where a lab's effects are looked for; *places*: directories beside the usual ones, and their names."""
    return Watched(
        {
            **places,
            str(lab.state_directory): "state",
            str(lab.chain_file.parent): "live",
            str(lab.mx.config_directory): "mx",
            "/run/rollover": "run",
        },
        f"{at.PRIMARY}:53",
    )


def _command(lab: Lab, words: Iterable[str | Path]) -> list[str]:
    return [str(Path(sys.prefix) / "bin" / "rollover"), "--config", str(lab.config_file), *map(str, words)]


# --------------------------------------------------------------------------------------- the trace


def trace(lab: Lab, *words: str | Path, places: Mapping[str, str] = {}) -> Trace:
    """Run the tool under strace and return its effects in order; *places* as watched_in() takes them."""
    log = lab.directory / "strace"
    done = subprocess.run(
        ["strace", "-f", "-qq", "-n", "-yy", "-xx", "-s", "200", "-o", str(log), "--", *_command(lab, words)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env=environment(None, None),
        timeout=180,
        check=False,
    )
    watched = watched_in(lab, places)
    calls, shapes, missed = _effects(log.read_text().splitlines(), watched)
    assert not missed, f"effects where nobody looks for them: {missed}"
    names, points = Names(), []
    for call in calls:
        effect = label(call, watched)
        points.append(names.name(effect))
        names.happened(effect)
    return Trace(points, shapes, watched, done)


def _effects(lines: list[str], watched: Watched) -> tuple[list[Call], dict[int, dict[str, Any]], list[str]]:
    """Return the successful calls with an effect, the shapes of their system calls by number, and effects elsewhere."""
    whole = list(_whole(lines))
    tool = whole[0][0]
    children = {
        int(end.rpartition("= ")[2].split()[0])
        for _, _, name, _, end in whole
        if name in {"fork", "vfork", "clone", "clone3"} and "CLONE_THREAD" not in end and " = -1" not in end
    }
    threads = {pid for pid, *_ in whole} - children | {tool}
    started: set[int] = set()
    calls, shapes, missed = [], {}, list[str]()
    for pid, number, name, arguments, end in whole:
        ours = pid in threads and name != "execve"
        program = pid in children and name == "execve" and pid not in started and _parent_is_tool(pid, whole, threads)
        if not (ours or program) or re.search(r"\) += (-1|\?)", end):
            continue
        if program:
            started.add(pid)
        call, shape = _parsed(name, arguments)
        if label(call, watched):
            calls.append(call)
            shapes[number] = shape
        missed += outside(call, watched)
    return calls, shapes, missed


def _parent_is_tool(child: int, whole: list[tuple[int, int, str, str, str]], threads: set[int]) -> bool:
    """Tell whether a process was started by the tool itself, not by a program of its."""
    return any(
        pid in threads and name in {"fork", "vfork", "clone", "clone3"} and re.search(rf"= {child}\b", end)
        for pid, _, name, _, end in whole
    )


def _whole(lines: list[str]) -> Iterator[tuple[int, int, str, str, str]]:
    """Yield (pid, number, name, arguments, whole text) of each call, those in two parts put together.

    In the order in which they ended.
    """
    begun: dict[int, str] = {}
    for line in lines:
        if (found := _LINE.match(line)) is None:
            continue
        pid, number, resumed, name, rest = found.groups()
        if resumed:
            rest = begun.pop(int(pid), "(") + rest.partition("resumed>")[2]
        elif rest.endswith("<unfinished ...>"):
            begun[int(pid)] = rest.removesuffix("<unfinished ...>")
            continue
        yield int(pid), int(number), name, rest.rpartition(") ")[0], rest


def _parsed(name: str, arguments: str) -> tuple[Call, dict[str, Any]]:
    """Return a call and the shape of its arguments, from what strace printed."""
    tokens = list(_split(arguments.removeprefix("(")))
    descriptors = {
        i: _decoded(t).partition("<")[2][:-1] for i, t in enumerate(tokens) if _TOKEN.fullmatch(t) and t[0] != '"'
    }
    strings = {i: _decoded(t) for i, t in enumerate(tokens) if t.startswith('"')}
    if name == "execve":
        words = tuple(_decoded(t) for t in _TOKEN.findall(tokens[1]))
        return Call(name, (strings[0],), words), {"name": name, "descriptors": [], "paths": [0]}
    is_path = re.search(r"at2?$", name)
    paths = [i for i in strings if i == 0 or (is_path and i - 1 in descriptors)]
    places = []
    for i in sorted({*descriptors, *paths}):
        if i in paths:
            places.append(str(Path(descriptors.get(i - 1, "")) / strings[i]))
        elif i + 1 not in paths:
            places.append(re.sub(r"\[[^\]]*->", "->", descriptors[i]).removesuffix("]"))
    opcode = None
    if name in SENDS and places and places[0].startswith(("TCP:", "UDP:")) and 1 in strings:
        opcode = opcode_of(strings[1].encode("latin-1"), tcp=places[0].startswith("TCP:"))
    creates = name in {"open", "openat"} and ("O_CREAT" in arguments or "O_TRUNC" in arguments)
    return (
        Call(name, tuple(places), creates=creates, opcode=opcode),
        {"name": name, "descriptors": sorted(descriptors), "paths": sorted(paths)},
    )


def _split(arguments: str) -> Iterator[str]:
    """Yield the arguments of a call: strings are hexadecimal, so that brackets and commas are strace's."""
    depth, start, position = 0, 0, 0
    while position < len(arguments):
        if (token := _TOKEN.match(arguments, position)) is not None:
            position = token.end()
            continue
        sign = arguments[position]
        depth += (sign in "[{(") - (sign in "]})")
        if sign == "," and depth == 0:
            yield arguments[start:position].strip()
            start = position + 1
        position += 1
    yield arguments[start:].strip()


def _decoded(token: str) -> str:
    text = re.sub(r"\\x([0-9a-f]{2})", lambda m: chr(int(m[1], 16)), token)
    return text.partition('"')[2].rpartition('"')[0] if token.startswith('"') else text


# -------------------------------------------------------------------------------------- the killing


def choose(
    points: Sequence[str],
    *,
    routine: bool = False,
    leave_out: str = "",
    commits: int | None = None,
    commit_sides: Sequence[str] = SIDES,
    only: str = "",
) -> list[Target]:
    """Return the targets. With ROLLOVER_KILL_ALL=1: after every point, and before the first of each kind.

    What is left by a kill before an effect is what a kill after the effect before it left, but for a
    program that was about to be started: that one is always tried on both sides.

    By default those that leave different things behind: every point that is not routine is tried
    after, and the first of its kind also before. Every commit of a transaction is tried on both sides:
    before it, the journal is hot. What SQLite does within a transaction is rolled back whole, and
    looking changes nothing: such a point is tried with *routine* only, the first of its kind.

    *leave_out* matches effects that another test tries by default; so it is with all *commits* but the
    first so many since each milestone, and with every point that *only* does not match. Where another test
    tries both, *commit_sides* are but ("before",): the hot journal of the next commit is rolled back to
    what the one before it left.
    """
    distinct = list(dict.fromkeys(points))
    if os.environ.get(KILL_ALL):
        firsts = {effect_of(point): point for point in reversed(distinct)}.values()
        return [
            (point, side)
            for point in distinct
            for side in SIDES
            if side == "after" or point in firsts or effect_of(point).startswith("execve")
        ]
    chosen: list[Target] = []
    seen: set[str] = set()
    for point in distinct:
        effect = effect_of(point)
        first = effect not in seen
        seen.add(effect)
        if not re.search(only, point) or (leave_out and re.search(leave_out, effect)):
            continue
        if effect == COMMIT and commits is not None and int(point.rpartition(" ")[2]) > commits:
            continue
        if effect == COMMIT:
            chosen += [(point, side) for side in commit_sides]
        elif first and (routine or not is_routine(effect)):
            chosen += [(point, side) for side in SIDES]
        elif not is_routine(effect):
            chosen.append((point, "after"))
    return chosen


def is_routine(effect: str) -> bool:
    """Tell whether an effect is of the kind that every run has: SQLite's own, status.json, and looking."""
    return bool(re.search(r"rollover\.db|fdatasync state$|state/lock| run\b|query|postconf.* -[MPnx]\b|^mkdir", effect))


def killed_at(lab: Lab, targets: Sequence[Target], found: Trace, *words: str | Path) -> End:
    """Run the tool; the first of *targets* that comes kills it with SIGKILL."""
    specification, report = lab.directory / "kill.json", lab.directory / "killed.json"
    watched = {"directories": found.watched.directories, "primary": found.watched.primary}
    specification.write_text(json.dumps({"watched": watched, "shapes": found.shapes, "wanted": targets}))
    report.unlink(missing_ok=True)
    arguments = [str(Path(__file__).with_name("killer.py")), str(specification), str(report), *_command(lab, words)]
    done = run_python(
        "tests.rollover.killer:main", [sys.executable, *arguments], arguments, environment(None, None), seconds=180
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(report.read_text())
    if told["fired"] is None:
        assert told["signal"] == 0, f"died of signal {told['signal']} by itself: {done.stderr}"
        return End(None, told["code"], done.stdout + done.stderr)
    assert told["signal"] == 9, f"{told['fired']} fired, and the tool went on: {told}"
    point, side = told["fired"]
    return End((point, side), told["code"], done.stdout + done.stderr)
