"""What goes wrong is told: by `status`, by what monitoring reads, by the command of [alert], by each command itself."""

from __future__ import annotations

import fcntl
import json
import os
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from rollover.cli.app import main
from rollover.core.sighting import Sighting
from rollover.engine import alert, tick
from rollover.engine.look import Looker
from rollover.engine.run import Patience
from tests.lab import Lab, wait_for
from tests.rollover.driving import codes, history, left_by_advance, problem, two_lines

STATUS = Path("/run/rollover/status.json")
PAGER = """#!/bin/sh
[ -e {0}/broken ] && {{ echo the pager is broken >&2; exit 1; }}
[ -e {0}/hanging ] && {{ echo $$ > {0}/pid; sleep 300; }}
cat >> {0}/alerts
"""


def pager(directory: Path) -> list[str]:
    """Return the command of [alert]: it fails or hangs while a file of that name is in *directory*."""
    path = directory / "pager"
    path.write_text(PAGER.format(directory))
    path.chmod(0o755)
    return [str(path)]


def alerts(directory: Path) -> list[tuple[str, str]]:
    """Return code and level of what the pager has got."""
    path = directory / "alerts"
    got = [json.loads(x) for x in path.read_text().splitlines()] if path.exists() else []
    return [(x["code"], x["level"]) for x in got]


def lock_is_free(lab: Lab) -> bool:
    """Tell whether another run could begin."""
    with (lab.state_directory / "lock").open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


@contextmanager
def locked(lab: Lab) -> Iterator[None]:
    """Hold the lock, as another run does."""
    with (lab.state_directory / "lock").open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def called(lab: Lab, *words: str) -> int:
    """Run a command in this process: for what has to be changed in the tool."""
    return main(["--config", str(lab.config_file), *words])


@pytest.mark.lab(ttl=2, senders=False)
def test_what_stops_a_run_is_told_until_a_run_is_good(lab: Lab, tmp_path: Path) -> None:
    """A key that others can read, in the middle of a rollover: critical everywhere, over with the first good run."""
    lab.configure(check_every="1h", retain="1h", alert={"command": pager(tmp_path)})
    lab.rollover("adopt", "mail", check=0)
    assert "no mail is deferred" in lab.rollover("status", check=0).stdout
    new = lab.certificate()
    lab.deploy(new, check=0)

    lab.tsig_key.path.chmod(0o644)
    message, hint = two_lines(lab.rollover("advance", check=77).stderr)
    assert f"chmod 600 {lab.tsig_key.path}" in hint
    it = left_by_advance()
    found = problem(it, "run-failed")
    assert (it["level"], found["level"], found["message"], found["hint"]) == ("critical", "critical", message, hint)
    assert it["phase"] in {"propagating", "waiting"}
    assert alerts(tmp_path) == [("run-failed", "critical")]
    told = lab.rollover("status", check=2).stdout.splitlines()[0]
    assert told.startswith(f"CRITICAL mail: whether mail is deferred is unknown: {message} since ")
    assert "next: look at the next tick" in told
    assert f"`chmod 600 {lab.tsig_key.path}`" in told

    # What a person orders is recorded, though nothing can be done for it now.
    back = lab.rollover("rollback", "mail", check=0)
    assert f"rollover: warning: mail: {message}" in back.stderr
    assert f"rollover: hint: {hint}" in back.stderr
    assert [e["kind"] for e in history(lab)].count("error") == 1

    lab.tsig_key.path.chmod(0o600)
    lab.rollover("advance")
    it = left_by_advance()
    assert "run-failed" not in codes(it)
    assert it["level"] == "ok"
    assert alerts(tmp_path) == [("run-failed", "critical"), ("recovered", "ok")]
    assert [e["text"] for e in history(lab) if e["kind"] == "recovered"] == ["run-failed is over"]


@pytest.mark.lab(ttl=2, senders=False)
def test_a_command_says_what_its_run_met(lab: Lab) -> None:
    """`advance` prints the line of what is not ok and nothing else; adopt and resume warn, and have done their part."""
    lab.configure(check_every="1h")
    unadopted = lab.rollover("advance", "mail", check=0)
    assert "`rollover adopt mail`" in unadopted.stdout
    assert lab.rollover("advance", check=0).stdout == ""
    lab.rollover("adopt", "mail", check=0)
    STATUS.unlink()  # a reboot
    assert lab.rollover("advance", check=0).stdout == ""
    assert left_by_advance()["level"] == "ok", "it is back, though nothing was due"

    lab.rollover("pause", "mail", check=0)
    lab.deploy(lab.certificate(), check=0)
    lab.primary.freeze()
    for command in ("resume", "adopt"):
        done = lab.rollover(command, "mail", check=0)
        assert "rollover: warning: mail: " in done.stderr, command
        assert "REFUSED" in done.stderr, command
        assert "rollover: hint: if the zone is frozen" in done.stderr, command
    done = lab.rollover("advance", check=75)
    assert done.stdout.startswith("WARNING mail: no mail is deferred: "), done.stdout
    assert "REFUSED" in done.stdout
    assert done.stderr == ""
    lab.primary.thaw()


@pytest.mark.lab(ttl=2, senders=False)
def test_one_service_cannot_stop_the_others(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What nobody foresaw is an error of that service: 70 at the end, no traceback; another run's turn is said."""
    other = {
        "hosts": ["mail.example.test"],
        "ports": [587],
        "install": [{"kind": "command", "chain_file": str(lab.directory / "other.pem"), "reload": ["/bin/true"]}],
    }
    lab.configure(services={"other": other})
    lab.rollover("adopt", "mail", check=0)
    with closing(sqlite3.connect(lab.state_directory / "rollover.db")) as database, database:
        database.execute("INSERT INTO service (name, book) SELECT 'other', book FROM service WHERE name = 'mail'")
    before = left_by_advance()["seen"]
    looked = Looker.look

    async def fails(it: Looker, **options: Any) -> Sighting:
        if it.service.name == "other":
            raise RuntimeError("the text may quote a key")
        return await looked(it, **options)

    monkeypatch.setattr(Looker, "look", fails)
    wait_for(
        lambda: called(lab, "advance", "other", "mail") == 70 and left_by_advance()["seen"] > before, "mail's turn"
    )
    stdout, stderr = capsys.readouterr()
    assert "Traceback" not in stderr
    assert "quote a key" not in stdout + stderr
    assert "RuntimeError in test_telling.py" in two_lines("\n".join(stderr.splitlines()[:2]))[0]
    assert "RuntimeError" in problem(left_by_advance("other"), "run-failed")["message"]
    assert "run-failed" not in codes(left_by_advance())
    assert main(["--verbose", "--config", str(lab.config_file), "advance", "other"]) == 70
    assert "Traceback" in capsys.readouterr().err

    monkeypatch.setattr(tick, "TICK", Patience(lock=0.2))
    with locked(lab):
        assert called(lab, "advance", "mail") == 75
    assert capsys.readouterr() == ("mail: another run is at work; nothing was done here\n", "")


@pytest.mark.fault(72)
@pytest.mark.lab(ttl=2, senders=False)
def test_a_lost_alert_is_tried_again(lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the next tick, due or not, until the command has taken it; one that hangs holds no lock and is ended."""
    lab.configure(check_every="1h", alert={"command": pager(tmp_path)})
    lab.rollover("adopt", "mail", check=0)
    (tmp_path / "broken").touch()
    lab.rollover("pause", "mail", check=0)
    for _ in range(2):
        assert "WARNING mail: " in lab.rollover("advance", check=0).stdout
    assert alerts(tmp_path) == []
    failed = [e["text"] for e in history(lab) if e["kind"] == "alert-failed"]
    assert failed == [f"{tmp_path}/pager: exit 1: the pager is broken"]
    (tmp_path / "broken").unlink()
    for _ in range(2):
        lab.rollover("advance", check=0)
    assert alerts(tmp_path) == [("paused", "warning")]

    (tmp_path / "hanging").touch()
    monkeypatch.setattr(alert, "TIMEOUT", 2.0)
    with ThreadPoolExecutor(1) as pool:
        resumed = pool.submit(called, lab, "resume", "mail")
        wait_for(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text(), "the pager hangs", 60)
        assert lock_is_free(lab)
        assert resumed.result(60) == 0
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)
    assert [e["text"] for e in history(lab) if e["kind"] == "alert-failed"][1:] == [
        f"{tmp_path}/pager: did not end within 2 s"
    ]
    (tmp_path / "hanging").unlink()
    seen = left_by_advance()["seen"]
    lab.rollover("advance", check=0)
    assert left_by_advance()["seen"] == seen, "nothing was due"
    assert alerts(tmp_path) == [("paused", "warning"), ("recovered", "ok")]
