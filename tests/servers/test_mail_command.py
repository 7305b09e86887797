"""Any other daemon: files of its own, a reload command of its own; Dovecot stands for them all."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from rollover.core.sighting import Endpoint, Outcome
from rollover.mail.command import CommandTarget
from rollover.mail.errors import MailConfigError, MailError, ReloadFailed
from rollover.mail.probe import probe_all
from tests.lab import addresses as at
from tests.lab.certificates import Authority, Certificate
from tests.servers.mail_support import dovecot, safe_directory


@pytest.fixture
def safe() -> Iterator[Path]:
    with safe_directory() as directory:
        yield directory


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority") / "ca")


def both(certificate: Certificate) -> tuple[bytes, bytes]:
    return certificate.privkey.read_bytes(), certificate.fullchain.read_bytes()


async def test_dovecot_serves_what_was_installed(authority: Authority, safe: Path) -> None:
    """Key and certificate in files of their own; after the reload both ports present the new chain."""
    old, new = authority.issue(), authority.issue(key="rsa")
    key, cert = safe / "live" / "imap.key", safe / "live" / "imap.crt"
    (safe / "live").mkdir(mode=0o755)
    reload = ["doveadm", "-c", str(safe / "dovecot" / "dovecot.conf"), "reload"]
    target = CommandTarget(cert_file=cert, key_file=key, reload=reload)
    target.install(*both(old))
    places = [Endpoint("imap.example.test", at.SPARE[1], port) for port in (143, 993)]
    with dovecot(safe / "dovecot", cert, key):
        before = await probe_all(places)
        identity = target.install(*both(new))
        await target.reload()
        deadline = time.monotonic() + 15
        while True:
            after = await probe_all(places, connections=3)
            if {c.fingerprint for s in after for c in s.chains} == {new.fingerprint}:
                break
            assert time.monotonic() < deadline, after

    assert {c.fingerprint for s in before for c in s.chains} == {old.fingerprint}
    assert [s.outcome for s in after] == [Outcome.PRESENTED] * 2
    live = target.live()
    assert (live.identity, live.problem, live.wiring) == (identity, "", "")
    assert live.chain is not None and live.chain.fingerprint == new.fingerprint
    assert (key.stat().st_mode & 0o777, cert.stat().st_mode & 0o777) == (0o600, 0o644)
    assert target.check() == ()


def test_three_files_are_kept_in_step(authority: Authority, safe: Path) -> None:
    """With a chain file beside the pair all three are written; one that differs is a problem."""
    old, new = authority.issue(), authority.issue()
    paths = {f"{kind}_file": safe / f"m.{kind}" for kind in ("cert", "key", "chain")}
    target = CommandTarget(**paths, owner="nobody", group="nogroup", mode=0o640)

    target.install(*both(old))

    found = paths["key_file"].stat()
    assert (found.st_uid, found.st_gid, found.st_mode & 0o777) == (65534, 65534, 0o640)
    assert paths["chain_file"].read_bytes() == b"".join(both(old))
    assert target.live().chain is not None
    paths["key_file"].write_bytes(both(new)[0])
    assert "not that of the certificate" in target.live().problem
    paths["cert_file"].write_bytes(both(new)[1])
    assert "different certificates" in target.live().problem
    assert target.live().chain is None
    paths["cert_file"].unlink()
    assert target.live().identity == ""


async def test_failed_reload_tells_the_last_words(safe: Path) -> None:
    """The exit code decides; the message ends in the last line of stderr, the hint names the command."""
    target = CommandTarget(
        chain_file=safe / "m.pem", reload=["sh", "-c", "echo starting; echo first >&2; echo no such unit >&2; exit 5"]
    )

    with pytest.raises(ReloadFailed) as caught:
        await target.reload()

    assert caught.value.message.endswith("failed: no such unit")
    assert "the new file is in place" in caught.value.hint


async def test_hanging_reload_is_stopped_with_its_children(safe: Path) -> None:
    """A command that never ends is killed with what it started, in bounded time."""
    pid = safe / "pid"
    target = CommandTarget(
        chain_file=safe / "m.pem", reload=["sh", "-c", f"sleep 300 & echo $! > {pid}; wait"], timeout=1.0
    )

    begin = time.monotonic()
    with pytest.raises(MailError, match="did not end within 1 s"):
        await target.reload()

    assert time.monotonic() - begin < 10
    deadline = time.monotonic() + 10
    while Path(f"/proc/{pid.read_text().strip()}").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)


async def test_daemon_that_keeps_the_output_open_does_not_hold_us(safe: Path) -> None:
    """A reload that leaves a process behind with our stdout and stderr is over when it is over."""
    pid = safe / "pid"
    target = CommandTarget(chain_file=safe / "m.pem", reload=["sh", "-c", f"sleep 30 & echo $! > {pid}"], timeout=20.0)

    begin = time.monotonic()
    await target.reload()

    assert time.monotonic() - begin < 10
    os.kill(int(pid.read_text()), 9)


@pytest.mark.fault(71)
async def test_reload_runs_in_a_clean_environment(safe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No variable of a hook, no standard input and no directory of the caller reaches the command."""
    for name in ("PYTHONPATH", "LD_PRELOAD_X", "MAIL_CONFIG"):
        monkeypatch.setenv(name, "/nowhere")
    out = safe / "out"
    target = CommandTarget(chain_file=safe / "m.pem", reload=["sh", "-c", f"env > {out}; pwd >> {out}; cat >> {out}"])

    await target.reload()

    lines = set(out.read_text().splitlines()) - {"_=/usr/bin/env"}
    assert lines == {"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C", "HOME=/root", "PWD=/", "/"}


def test_impossible_settings_are_refused(safe: Path) -> None:
    """No file, half a pair, an unknown owner, a missing program: each says what would be right."""
    for wrong in ({}, {"cert_file": "/a"}, {"key_file": "/a", "chain_file": "/b"}):
        with pytest.raises(MailConfigError) as caught:
            CommandTarget(**wrong)
        assert "chain_file" in caught.value.hint
    for key, account, hint in (("owner", "user", "getent passwd"), ("group", "group", "getent group")):
        settings = {"chain_file": safe / "m.pem", "place": "/r.toml: services.mail.install[1]", key: "nosuch"}
        target = CommandTarget(**settings)
        with pytest.raises(MailConfigError) as caught:
            target.install(b"", b"")
        told = f'/r.toml: services.mail.install[1].{key} = "nosuch": there is no such {account} on this host'
        assert (caught.value.message, target.check()[0].message) == (told, told)
        assert hint in caught.value.hint and f'{key} = "dovecot"' in caught.value.hint
    assert list(safe.iterdir()) == []
    (finding,) = CommandTarget(chain_file=safe / "m.pem", reload=["no-such-program"]).check()
    assert finding.failed and "no-such-program" in finding.message
    (finding,) = CommandTarget(chain_file=safe / "m.pem", mode=0o644).check()
    assert not finding.failed and "everybody" in finding.message


def test_files_are_not_touched_when_nothing_changed(authority: Authority, safe: Path) -> None:
    """A second install of the same pair writes nothing."""
    certificate = authority.issue()
    target = CommandTarget(cert_file=safe / "m.crt", key_file=safe / "m.key")
    identity = target.install(*both(certificate))
    before = safe.stat().st_mtime_ns

    assert target.install(*both(certificate)) == identity
    assert safe.stat().st_mtime_ns == before
