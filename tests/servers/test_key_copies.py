"""A rollover in which everything goes wrong leaves no copy of a private key but those that SECURITY.md allows."""

from __future__ import annotations

import base64
import re
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.lab import Certificate, Lab
from tests.lab.command import environment
from tests.rollover.driving import advance_to, advance_until, codes, left_by_advance
from tests.rollover.scene import due
from tests.servers.key_search import BASE64, HEXADECIMAL, Finding, Run, Search, traced

ROOT = Path(__file__).parents[2]
RENAME = "renameat"  # the call by which a key comes to its place, from the vault to the live file
TICKS = 20
SETTINGS = {"retain": "1h", "drain": "1s", "check_every": "30s"}
#: As long as no limit but the tool's own is in the way of a core dump.
UNLIMITED = ["sh", "-c", 'ulimit -c unlimited; exec "$@"', "sh"]
#: With these a certificate with an RSA key shares no cipher with anybody.
ONLY_ECDSA = (
    "smtpd_tls_protocols = TLSv1.2",
    "tls_high_cipherlist = ECDHE+aECDSA+AESGCM",
    "tls_medium_cipherlist = ECDHE+aECDSA+AESGCM",
)
CONTROL = """
import os, sys
pem = open(sys.argv[2], "rb").read()
with open("/dev/null", "wb") as out:
    out.write(pem)
if sys.argv[3] == "abort":
    os.abort()
"""


def allowed(
    state: Path, live: Path, client: Path = Path("/c"), before: Path = Path("/b")
) -> dict[str, re.Pattern[str]]:
    """Return the paths at which SECURITY.md allows a private key, by the row of its table.

    *live* is the live file; *client* and *before* are what those words stand for there.
    """
    text = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    section = text.partition("## Where private keys may be\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `([^`]+)` \|", section, re.MULTILINE)
    assert len(rows) >= 5, "SECURITY.md has no table of places"
    words = {
        "STATE": re.escape(str(state)),
        "LIVE": re.escape(str(live.parent)),
        "FILE": re.escape(live.name),
        "SPKI": "[0-9a-f]{64}",
        "PID": r"\d+",
        "RANDOM": "[0-9a-f]{16}",
        "CLIENT": re.escape(str(client)),
        "BEFORE": re.escape(str(before)),
        "…": ".*",
    }
    parts = {row: re.split(f"({'|'.join(words)})", row) for row in rows}
    return {row: re.compile("".join(words.get(x, re.escape(x)) for x in parts[row])) for row in rows}


class Watch:
    """Runs of the tool, each under strace, and the search for the keys after each of them."""

    def __init__(self, lab: Lab, directory: Path, **keys: Certificate) -> None:
        self.lab = lab
        self.search = Search(**{name: it.privkey.read_bytes() for name, it in keys.items()})
        self.cwd, self._temporary = directory / "cwd", directory / "tmp"
        self.cwd.mkdir()
        self._temporary.mkdir()
        self._log = directory / "strace"
        self.allowed = allowed(lab.state_directory, lab.chain_file, lab.authority.directory, lab.mx.directory / "tls")
        self.met: set[str] = set()

    def run(self, *words: str | Path, inject: str = "", env: dict[str, str] | None = None) -> Run:
        """Run the tool (or a hook, by its absolute path), search all that it gave away and what it left."""
        program = [] if str(words[0]).startswith("/") else [Path(sys.prefix) / "bin/rollover", "--config"]
        command = [*program, self.lab.config_file, *words] if program else list(words)
        run = self.traced(command, inject=inject, env=env)
        found = self.search.given(run.given)
        found += self.search.octets(run.done.stdout, "stdout") + self.search.octets(run.done.stderr, "stderr")
        self.judge(found + self.on_disk(self.lab.state_directory, self.lab.chain_file.parent))
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
            path = Path(finding.place)
            if path.exists() and not rows[0].startswith(("CLIENT", "BEFORE")):
                there = path.lstat()
                assert stat.S_ISREG(there.st_mode)
                assert (there.st_mode & 0o7777, there.st_uid) == (0o600, 0), finding
                assert path.parent.stat().st_mode & 0o077 == 0, finding

    def left_over(self, directory: Path) -> list[Path]:
        """Return the temporary files there; assert that each is private, and that the search sees the key in one."""
        left = [path for path in directory.iterdir() if path.name.startswith(".")]
        assert all(path.stat().st_mode & 0o7777 == 0o600 for path in left)
        if left:
            assert self.search.tree(*left)
        return left


@contextmanager
def small_disk(lab: Lab) -> Iterator[None]:
    """Put the live file on a file system of 64 KiB."""
    place = lab.chain_file.parent
    lab.mx.stop()
    subprocess.run(["mount", "--no-mtab", "-t", "tmpfs", "-o", "size=64k,mode=0700", "tmpfs", place], check=True)
    lab.mx.start()  # in a mount namespace of its own, which has the new disk
    try:
        yield
    finally:
        subprocess.run(["umount", "--no-mtab", "--lazy", place], check=True)


@contextmanager
def full(directory: Path) -> Iterator[None]:
    filler = directory / "filler"
    with pytest.raises(OSError, match="No space left"), filler.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    yield
    filler.unlink()


def core_lands_here() -> bool:
    """Tell whether the kernel writes a core dump into the directory of the process; else it is the host's affair."""
    pattern = Path("/proc/sys/kernel/core_pattern").read_text().strip()
    return bool(pattern) and pattern[0] not in "|/@"


@pytest.mark.lab(ttl=1, senders=False)
def test_no_copy_of_a_key_whatever_fails(lab: Lab, tmp_path: Path) -> None:
    """Bad material, a full disk, kills, an abort, a rollback and a certificate that is taken back leave keys only where they may be."""
    lab.mx.postconf(*ONLY_ECDSA)
    with small_disk(lab):
        lab.configure(**SETTINGS)
        new, newer = lab.certificate(), lab.certificate(key="rsa")
        watch = Watch(lab, tmp_path, old=lab.old, new=new, newer=newer)
        assert watch.run("adopt", "mail").done.returncode == 0

        _bad_material(lab, watch, new, newer)
        _kill_in_the_vault(lab, watch, new)
        due(lab, "waiting")
        _full_disk(lab, watch)
        _killed_and_aborted(lab, watch)
        assert watch.run("advance", "mail").done.returncode in {0, 75}
        assert watch.left_over(lab.chain_file.parent) == []
        advance_to(lab, "retaining")
        assert lab.served() == new.spki

        assert watch.run("rollback", "mail").done.returncode == 0
        advance_until(lab, lambda _: lab.served() == lab.old.spki)
        _broken_reload(lab, watch, newer)

        watch.judge(watch.everywhere())
    assert watch.met == set(watch.allowed), "a row of SECURITY.md's table was never met: does it still hold?"


def _bad_material(lab: Lab, watch: Watch, new: Certificate, newer: Certificate) -> None:
    """Hand over, through the hook and with every word of an error shown, what no server could use."""
    lab.rollover("hook", "install", "certbot", check=0)
    hook = lab.certbot.config_directory / "renewal-hooks/deploy/rollover"
    mixed = lab.authority.directory / "mixed"  # the client's own directory: what it holds is its affair
    mixed.mkdir()
    shutil.copy(new.fullchain, mixed / "fullchain.pem")
    shutil.copy2(newer.privkey, mixed / "privkey.pem")
    assert watch.run(hook, env={"RENEWED_LINEAGE": str(mixed)}).done.returncode == 65
    pem = new.privkey.read_bytes()
    (mixed / "privkey.pem").write_bytes(pem[:150] + b"\n" + pem[-30:])
    done = watch.run("--verbose", "deploy", mixed / "fullchain.pem", mixed / "privkey.pem").done
    assert (done.returncode, b"Traceback" in done.stderr) == (65, True)
    (mixed / "privkey.pem").unlink()


def _kill_in_the_vault(lab: Lab, watch: Watch, new: Certificate) -> None:
    """Die before the key has its name; hand it over again."""
    keys = lab.state_directory / "vault" / "keys"
    assert watch.run("deploy", new.fullchain, new.privkey, inject=f"{RENAME}:signal=KILL:when=1").done.returncode == -9
    assert len(watch.left_over(keys)) == 1
    assert watch.run("deploy", new.fullchain, new.privkey).done.returncode == 0
    assert watch.left_over(keys) == []
    assert (keys / f"{new.spki}.pem").exists()


def _full_disk(lab: Lab, watch: Watch) -> None:
    """Have no room for the new live file."""
    with full(lab.chain_file.parent):
        _ticks(watch, lambda: "install-refused" in codes(left_by_advance(), "critical"))
        assert watch.left_over(lab.chain_file.parent) == []


def _killed_and_aborted(lab: Lab, watch: Watch) -> None:
    """Die in the middle of the install, by SIGKILL, then by a signal that makes a core dump."""
    live = lab.chain_file.parent
    killed = _ticks(watch, lambda: watch.left_over(live), inject=f"{RENAME}:signal=KILL:when=1")
    assert killed.done.returncode == -9
    first = set(watch.left_over(live))
    assert len(first) == 2, "the new file, and the copy of the old one"
    aborted = _ticks(watch, lambda: set(watch.left_over(live)) - first, inject=f"{RENAME}:signal=ABRT:when=1")
    assert "killed by SIGABRT" in aborted.ends, aborted.ends
    assert not [end for end in aborted.ends if "core" in end]
    assert list(watch.cwd.iterdir()) == []
    assert not first & set(watch.left_over(live)), "what the first one left is gone"
    assert lab.served() == lab.old.spki


def _ticks(watch: Watch, done: Callable[[], object], *, inject: str = "") -> Run:
    """Run `advance` until *done*: where a server was slow to answer, a tick does not come to the install."""
    for _ in range(TICKS):
        run = watch.run("advance", "mail", inject=inject)
        if done():
            return run
    raise AssertionError(f"not in {TICKS} ticks: {run.done.stdout!r} {run.done.stderr!r} {left_by_advance()}")


def _broken_reload(lab: Lab, watch: Watch, newer: Certificate) -> None:
    """Install a certificate with which the mail server cannot do TLS, and take it back."""
    assert watch.run("deploy", newer.fullchain, newer.privkey).done.returncode == 0
    due(lab, "waiting")
    lab.configure(**SETTINGS, verify_timeout="1s")
    watch.run("advance", "mail")
    advance_until(lab, lambda it: "returned" in codes(it) and it["phase"] != "rolling-back")
    assert lab.served() == lab.old.spki


@pytest.mark.lab(ttl=1, senders=False)
def test_the_same_search_finds_what_a_process_gives_away(lab: Lab, tmp_path: Path) -> None:
    """A process with a key in an argument, its environment, a file and its core dump is found out in each of them."""
    watch = Watch(lab, tmp_path, leaked=lab.old)
    leak = watch.cwd / "leak"
    shutil.copy(lab.old.privkey, leak)
    octets = base64.b64decode(b"".join(leak.read_bytes().split(b"\n")[1:-2]))
    last = "abort" if core_lands_here() else "live"

    run = watch.traced(
        [sys.executable, "-c", CONTROL, octets.hex(), leak, last], env={"KEY": base64.b64encode(octets).decode()}
    )

    found = {(x.place.rpartition(": ")[2].partition("<")[0], x.form) for x in watch.search.given(run.given)}
    assert {("argument", HEXADECIMAL), ("environment", BASE64), ("/dev/null", BASE64)} <= found
    places = {Path(x.place) for x in watch.on_disk()}
    if last == "abort":
        assert any("core dumped" in end for end in run.ends), run.ends
        (core,) = places - {leak}
        core.unlink()
    assert leak in places
    with pytest.raises(AssertionError, match="a copy of a private key"):
        watch.judge(watch.on_disk())


def test_the_table_of_allowed_places_is_narrow() -> None:
    """What SECURITY.md allows is no other name, no other directory, and nothing of the database."""
    state, live, key = Path("/s"), Path("/l/mail.pem"), "ab" * 32
    patterns = allowed(state, live).values()

    def may_be(path: str) -> bool:
        return any(pattern.fullmatch(path) for pattern in patterns)

    for path in (f"/s/vault/keys/{key}.pem", f"/s/vault/keys/.new-{key}.pem-17", "/l/mail.pem", "/l/mail.pem.previous"):
        assert may_be(path), path
    for path in (
        *(f"/s/{name}" for name in ("rollover.db", "rollover.db-journal", "lock", f"{key}.pem")),
        *(f"/s/vault/{name}" for name in (f"chains/{key}.pem", f"keys/{key}.pem~", f"keys/x/{key}.pem", "keys/x.pem")),
        *("/l/mail.pem.old", "/l/other.pem", "/l/mail_pem", "/run/rollover/status.json", "/tmp/x", "stdout", "stderr"),
    ):
        assert not may_be(path), path
