"""Watches the tool for copies of private keys: what a run gives away and leaves, against the table of SECURITY.md."""

from __future__ import annotations

import re
import stat
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.lab import Certificate, Lab
from tests.lab.command import environment
from tests.rollover.driving import left_by_advance
from tests.servers.key_search import Finding, Run, Search, traced

ROOT = Path(__file__).parents[2]
RENAME = "renameat"  # the call by which a key comes to its place, from the vault to the live file
TICKS = 20
#: As long as no limit but the tool's own is in the way of a core dump.
UNLIMITED = ["sh", "-c", 'ulimit -c unlimited; exec "$@"', "sh"]


@dataclass(frozen=True)
class Rights:
    """Who may read a live file, at the most: its mode, and the numbers of its owner and group."""

    mode: int = 0o600
    owner: int = 0
    group: int = 0


def allowed(
    state: Path, live: Iterable[Path], client: Path = Path("/c"), before: Path = Path("/b")
) -> dict[str, re.Pattern[str]]:
    """Return the paths at which SECURITY.md allows a private key, by the row of its table.

    *live* are the live files; *client* and *before* are what those words stand for there.
    """
    text = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    section = text.partition("## Where private keys may be\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `([^`]+)` \|", section, re.MULTILINE)
    assert len(rows) >= 5, "SECURITY.md has no table of places"
    words = {
        "STATE": re.escape(str(state)),
        "SPKI": "[0-9a-f]{64}",
        "PID": r"\d+",
        "RANDOM": "[0-9a-f]{16}",
        "CLIENT": re.escape(str(client)),
        "BEFORE": re.escape(str(before)),
        "…": ".*",
    }
    each = [words | {"LIVE": re.escape(str(x.parent)), "FILE": re.escape(x.name)} for x in live]

    def pattern(row: str) -> re.Pattern[str]:
        parts = re.split(f"({'|'.join(each[0])})", row)
        return re.compile("|".join("".join(it.get(part, re.escape(part)) for part in parts) for it in each))

    return {row: pattern(row) for row in rows}


class Watch:
    """Runs of the tool, each under strace, and the search for the keys after each of them.

    *live*: the files that a daemon reads, with their rights; that of the lab's Postfix alone without it.
    """

    def __init__(
        self, lab: Lab, directory: Path, live: Mapping[Path, Rights] | None = None, **keys: Certificate
    ) -> None:
        self.lab = lab
        self.search = Search(**{name: it.privkey.read_bytes() for name, it in keys.items()})
        self.cwd, self._temporary = directory / "cwd", directory / "tmp"
        self.cwd.mkdir()
        self._temporary.mkdir()
        self._log = directory / "strace"
        self.live = live or {lab.chain_file: Rights()}
        self.allowed = allowed(lab.state_directory, self.live, lab.authority.directory, lab.mx.directory / "tls")
        self.met: set[str] = set()  # rows of the table
        self.places: set[str] = set()

    def run(self, *words: str | Path, inject: str = "", env: dict[str, str] | None = None) -> Run:
        """Run the tool (or a hook, by its absolute path), search all that it gave away and what it left."""
        program = [] if str(words[0]).startswith("/") else [Path(sys.prefix) / "bin/rollover", "--config"]
        command = [*program, self.lab.config_file, *words] if program else list(words)
        run = self.traced(command, inject=inject, env=env)
        found = self.search.given(run.given)
        found += self.search.octets(run.done.stdout, "stdout") + self.search.octets(run.done.stderr, "stderr")
        self.judge(found + self.on_disk(self.lab.state_directory, *(path.parent for path in self.live)))
        assert any("PR_SET_DUMPABLE, SUID_DUMP_DISABLE" in call for call in run.calls), "it could leave a core dump"
        return run

    def traced(self, command: Sequence[str | Path], *, inject: str = "", env: dict[str, str] | None = None) -> Run:
        told = environment(None, {"TMPDIR": str(self._temporary), **(env or {})})
        return traced([*UNLIMITED, *command], self._log, env=told, cwd=self.cwd, also=("prctl", RENAME), inject=inject)

    def on_disk(self, *directories: Path) -> list[Finding]:
        return self.search.tree(*directories, self.cwd, self._temporary)

    def everywhere(self) -> list[Finding]:
        """Search whatever the tool, its hooks and the servers of the lab write to."""
        self._log.unlink()  # it has what every process wrote
        return self.on_disk(self.lab.directory, Path("/run/rollover"), Path("/etc"), Path("/var/log"))

    def judge(self, found: Sequence[Finding]) -> None:
        """Assert that each finding is one that SECURITY.md allows, and that a file has the mode that it says."""
        for finding in found:
            rows = [row for row, pattern in self.allowed.items() if pattern.fullmatch(finding.place)]
            assert rows, f"a copy of a private key: {finding}"
            self.met.update(rows)
            self.places.add(finding.place)
            path = Path(finding.place)
            if path.exists() and not rows[0].startswith(("CLIENT", "BEFORE")):
                self._judge_rights(path, finding)

    def _judge_rights(self, path: Path, finding: Finding) -> None:
        there, may = path.lstat(), self._rights(path)
        assert stat.S_ISREG(there.st_mode)
        assert there.st_mode & 0o7777 & ~may.mode == 0, finding
        assert there.st_uid in {0, may.owner} and there.st_gid in {0, may.group}, finding
        # Who is in the group has to come to the file.
        assert path.parent.stat().st_mode & (0o027 if may.mode & 0o070 else 0o077) == 0, finding

    def _rights(self, path: Path) -> Rights:
        """Return what holds for *path*: a live file, its predecessor, or either of them while it is written."""
        name = path.name.removeprefix(".").partition(".rollover-")[0].removesuffix(".previous")
        return self.live.get(path.with_name(name), Rights())

    def left_over(self, directory: Path) -> list[Path]:
        """Return the temporary files there; assert that what has a key is private, and that the search sees one."""
        left = [path for path in directory.iterdir() if path.name.startswith(".")]
        found = self.search.tree(*left)
        assert bool(found) == bool(left)
        self.judge(found)
        return left

    def ticks(self, done: Callable[[], object], *, inject: str = "") -> Run:
        """Run `advance` until *done*: where a server was slow to answer, a tick does not come to the install."""
        for _ in range(TICKS):
            run = self.run("advance", "mail", inject=inject)
            if done():
                return run
        raise AssertionError(f"not in {TICKS} ticks: {run.done.stdout!r} {run.done.stderr!r} {left_by_advance()}")
