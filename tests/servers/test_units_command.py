"""`units install` and `units remove` as commands: with the real systemctl, in a root of their own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rollover import units as units_module
from rollover.units import TIMERS, UNITS
from tests.lab import Lab
from tests.servers.mail_support import safe_directory

LAB_OPTIONS = {"ttl": 5, "senders": False}
pytestmark = pytest.mark.lab(**LAB_OPTIONS)
PROGRAM = Path(sys.prefix) / "bin" / "rollover"
BOOTED = Path("/run/systemd/system")
# Everything of this host, and a run where systemd seems to be: in such a root systemctl sees that it
# cannot talk to the real one, enables units by links, and passes over what only a running one can do.
NEW_ROOT = """
mount -t tmpfs -o mode=0755 tmpfs "$0"
for entry in /*; do
    new=$0$entry
    if [ "$0" -ef "$entry" ]; then :
    elif [ -L "$entry" ]; then cp -P "$entry" "$new"
    elif [ -d "$entry" ]; then mkdir "$new"; mount --rbind "$entry" "$new"
    fi
done
exec chroot "$0" "$@"
"""


@pytest.fixture
def booted() -> Iterator[None]:
    """A host on which systemd runs, as far as sd_booted(3) can tell."""
    BOOTED.mkdir(parents=True)
    try:
        yield
    finally:
        BOOTED.rmdir()


def units(lab: Lab, *words: str) -> subprocess.CompletedProcess[str]:
    """Run `rollover units WORDS` in the new root."""
    with safe_directory() as root:
        command = ["unshare", "--mount", "--propagation", "private", "sh", "-euc", NEW_ROOT, str(root)]
        tool = [str(PROGRAM), "--config", str(lab.config_file), "units", *words]
        return subprocess.run([*command, *tool], capture_output=True, text=True, timeout=60, check=False)


def ours() -> list[Path]:
    """Return every file and link in /etc of this namespace that is about our units."""
    return sorted(path for path in Path("/etc").rglob("rollover-*") if path.suffix in (".service", ".timer"))


def test_units_come_and_go(shared_lab: Lab, booted: None) -> None:
    """--dry-run writes nothing; then four units with this command and the directories it writes to; then nothing."""
    lab = shared_lab
    planned = units(lab, "install", "--dry-run")
    assert (planned.returncode, ours()) == (0, []), planned.stderr
    assert [x for x in planned.stdout.splitlines() if not x.startswith("would ")] == []

    done = units(lab, "install")

    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        *(f"wrote /etc/systemd/system/{unit}" for unit in UNITS),
        "ran: systemctl daemon-reload",
        f"ran: systemctl enable {' '.join(TIMERS)}",
        f"ran: systemctl start {' '.join(TIMERS)}",
    ]
    directory = Path("/etc/systemd/system")
    assert ours() == sorted([*(directory / u for u in UNITS), *(directory / "timers.target.wants" / t for t in TIMERS)])
    for unit, words in (("advance", "advance"), ("status", "status --quiet")):
        text = (directory / f"rollover-{unit}.service").read_text()
        assert f"\nExecStart={PROGRAM} --config {lab.config_file} {words}\n" in text
        (writable,) = (line for line in text.splitlines() if line.startswith("ReadWritePaths="))
        written = [lab.state_directory, lab.chain_file.parent, lab.mx.queue_directory, lab.mx.directory / "data"]
        assert set(writable.removeprefix("ReadWritePaths=").split()) >= {f"-{path}" for path in written}

    planned = units(lab, "remove", "--dry-run")
    assert (planned.returncode, len(ours())) == (0, 6)
    assert f"would remove {directory}/rollover-advance.timer" in planned.stdout.splitlines()

    done = units(lab, "remove")

    assert (done.returncode, ours()) == (0, []), done.stderr
    assert done.stdout.splitlines()[:2] == [f"ran: systemctl {verb} {' '.join(TIMERS)}" for verb in ("stop", "disable")]


def test_a_systemd_that_does_not_answer(shared_lab: Lab, booted: None) -> None:
    """Where systemctl fails it is exit 73 with its own words, and the units are there for the next try."""
    done = shared_lab.rollover("units", "install")
    left = ours()
    for path in left:
        path.unlink()

    assert done.returncode == 73
    message, hint = done.stderr.splitlines()
    assert message.startswith("rollover: error: `systemctl daemon-reload` failed: ")
    assert "as root" in hint and "again" in hint
    assert {path.name for path in left} == set(UNITS)


def test_without_systemd_the_crontab_is_printed(shared_lab: Lab) -> None:
    """Nothing is written; the lines name this command by its whole path, and `check` finds them in /etc/cron.d."""
    done = shared_lab.rollover("units", "install", check=0)
    removed = shared_lab.rollover("units", "remove", check=0)

    assert ours() == []
    first, advance, status = done.stdout.splitlines()
    assert first == "systemd does not run here; put this into /etc/cron.d/rollover instead:"
    command = f"{PROGRAM} --config {shared_lab.config_file}"
    assert advance == f"  * * * * * root {command} advance >/dev/null 2>&1"
    assert status == f"  5 * * * * root {command} status --quiet"
    assert "nothing to remove; look into /etc/cron.d/rollover" in removed.stdout


def test_directories_that_came_later_are_found() -> None:
    """What the configuration writes to and the installed unit does not allow is told, odd names included."""
    before, after = ["/srv/a b", "/srv/100%"], ["/srv/a b", "/srv/100%", "/srv/new", "/srv/a"]
    with safe_directory() as root:
        (root / "run/systemd/system").mkdir(parents=True)
        assert units_module.not_allowed(after, root) == [], "there is no unit"
        units_module.install(command="/bin/true", writable=before, root=root)

        assert units_module.not_allowed(before, root) == []
        assert units_module.not_allowed(after, root) == ["/srv/new", "/srv/a"]


@pytest.mark.parametrize(
    ("place", "line", "found"),
    [
        ("etc/cron.d/rollover", "* * * * * root /usr/local/bin/rollover advance >/dev/null 2>&1", True),
        ("etc/crontab", "*/2 * * * * root /opt/r/rollover --config /srv/r.toml advance", True),
        ("var/spool/cron/crontabs/root", "PATH=/usr/local/bin\n* * * * * rollover advance mail", True),
        ("etc/cron.d/rollover", "# * * * * * root /usr/local/bin/rollover advance", False),
        ("etc/cron.d/rollover", "5 * * * * root /usr/local/bin/rollover status --quiet", False),
        ("var/spool/cron/crontabs/www-data", "* * * * * /usr/local/bin/rollover advance", False),
    ],
)
def test_a_crontab_that_calls_advance_is_found(place: str, line: str, found: bool) -> None:
    """A line in root's crontabs counts; a comment, another command or another user's crontab does not."""
    with safe_directory() as root:
        (root / place).parent.mkdir(parents=True)
        (root / place).write_text(f"{line}\n")

        assert units_module.ticking(root) == (str(root / place) if found else "")
