"""The deploy hooks and the units: run by the shells and the systemd tools of this host."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rollover import hooks, units
from rollover.core.errors import CannotWrite, PermissionsError, RolloverError, UsageError
from tests.lab import Certificate, Lab, wait_for
from tests.rollover.driving import goal, left_by_advance, only_serves, tick, to_the_end, two_lines
from tests.servers.mail_support import safe_directory

NOBODY = pwd.getpwnam("nobody")
SHELLS = ["dash", "bash"]
CLEAN = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# Stands for the command: writes down how it was called, and ends as it is told.
RECORDER = """#!INTERPRETER -I
import json, os, sys
call = {"words": sys.argv[1:], "environment": dict(os.environ), "umask": os.umask(0)}
json.dump(call, open(RECORD, "w"))
sys.exit(int(os.environ.get("EXIT", "0")))
"""


class Recorder:
    """A command at *path*; what it was called with is in call()."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "a command"
        self._record = directory / "call.json"
        self.path.write_text(RECORDER.replace("INTERPRETER", sys.executable).replace("RECORD", repr(str(self._record))))
        self.path.chmod(0o755)

    def call(self) -> dict:
        return json.loads(self._record.read_text())

    @property
    def was_called(self) -> bool:
        return self._record.exists()


@pytest.fixture
def root() -> Iterator[Path]:
    """A directory that stands for / of a host with certbot and acme.sh."""
    with safe_directory() as directory:
        directory.chmod(0o755)
        (directory / "etc/letsencrypt").mkdir(parents=True)
        (directory / "root/.acme.sh/deploy").mkdir(parents=True)
        yield directory


@pytest.fixture
def recorder(root: Path) -> Recorder:
    return Recorder(root)


def refusal(call: Callable[[], object]) -> RolloverError:
    with pytest.raises(RolloverError) as caught:
        call()
    assert caught.value.hint
    return caught.value


def certbot_hook(root: Path) -> Path:
    return root / "etc/letsencrypt/renewal-hooks/deploy/rollover"


def acme_hook(root: Path) -> Path:
    return root / "root/.acme.sh/deploy/rollover.sh"


def shell(name: str, script: str, *, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [name, "-c", script], capture_output=True, text=True, env={"PATH": CLEAN} | (env or {}), check=False, timeout=30
    )


# --- certbot --------------------------------------------------------------------------------------


@pytest.mark.fault(71)
@pytest.mark.parametrize("name", SHELLS)
def test_certbot_hook_hands_over_the_lineage(root: Path, recorder: Recorder, name: str) -> None:
    """Paths with spaces arrive whole; nothing of a hostile environment does."""
    hooks.install("certbot", command=recorder.path, root=root)
    lineage = "/etc/letsencrypt/live/mail example"
    hostile = {
        "PYTHONPATH": "/snap",
        "PYTHONHOME": "/snap",
        "LD_LIBRARY_PATH": "/snap",
        "PATH": "/snap/bin",
        "LC_ALL": "C.UTF-8",
    }

    done = subprocess.run(
        [f"/bin/{name}", certbot_hook(root)],
        env={**hostile, "RENEWED_LINEAGE": lineage, "RENEWED_DOMAINS": "mail.example"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, done.stderr) == (0, "")
    call = recorder.call()
    assert call["words"] == ["deploy", f"{lineage}/fullchain.pem", f"{lineage}/privkey.pem"]
    assert call["umask"] == 0o077
    assert (call["environment"]["PATH"], call["environment"]["LC_ALL"]) == (CLEAN, "C")
    assert not {"PYTHONPATH", "PYTHONHOME", "LD_LIBRARY_PATH"} & set(call["environment"])


def test_certbot_hook_hands_back_the_exit_status(root: Path, recorder: Recorder) -> None:
    """A hook that fails makes certbot warn, so the status of the command is the status of the hook."""
    hooks.install("certbot", command=recorder.path, root=root)

    done = subprocess.run([certbot_hook(root)], env={"RENEWED_LINEAGE": "/l", "EXIT": "65"}, check=False)

    assert done.returncode == 65


def test_certbot_hook_by_hand_says_what_to_do(root: Path, recorder: Recorder) -> None:
    """Without certbot's variable it is a usage error of two lines, and nothing is called."""
    hooks.install("certbot", command=recorder.path, root=root)

    done = subprocess.run([certbot_hook(root)], env={}, capture_output=True, text=True, check=False)

    assert done.returncode == 64
    error, hint = done.stderr.splitlines()
    assert error.startswith("rollover: error: ") and hint.startswith("rollover: hint: ")
    assert not recorder.was_called


def test_certbot_hook_is_where_certbot_looks(root: Path, recorder: Recorder) -> None:
    """It is executable, stands alone in its directory, and a second installation changes nothing."""
    first = hooks.install("certbot", command=recorder.path, root=root)
    path = certbot_hook(root)

    assert path.stat().st_mode & 0o7777 == 0o755
    assert [p.name for p in path.parent.iterdir()] == ["rollover"]
    assert first == [f"wrote {path}, which runs: '{recorder.path}' deploy …"]
    assert hooks.install("certbot", command=recorder.path, root=root) == [f"{path} is in place"]
    assert "wrote" in hooks.install("certbot", command="/usr/bin/rollover", root=root)[0]
    assert [p.name for p in path.parent.iterdir()] == ["rollover"]
    assert hooks.remove("certbot", root=root) == [f"removed {path}"]
    assert list(path.parent.iterdir()) == []
    assert "nothing to remove" in hooks.remove("certbot", root=root)[0]


def test_other_configuration_is_passed_on(root: Path, recorder: Recorder) -> None:
    """Only a configuration that is not the default one appears in the hook."""
    hooks.install("certbot", command=recorder.path, config="/etc/rollover/rollover.toml", root=root)
    assert "--config" not in certbot_hook(root).read_text()
    hooks.install("certbot", command=recorder.path, config="/srv/my files/r.toml", root=root)

    subprocess.run([certbot_hook(root)], env={"RENEWED_LINEAGE": "/l"}, check=True)

    assert recorder.call()["words"][:3] == ["--config", "/srv/my files/r.toml", "deploy"]


# --- acme.sh --------------------------------------------------------------------------------------

CALL = "rollover_deploy mail.example '/a b/key' /c/cert /c/ca '/a b/full' /c/pfx"
FUNCTIONS = '_info() { echo "INFO $1"; }; _err() { echo "ERR $1" >&2; }; _debug() { echo "DEBUG $1"; };'


@pytest.mark.parametrize("name", SHELLS)
@pytest.mark.parametrize("functions", [FUNCTIONS, ""], ids=["inside acme.sh", "alone"])
def test_acme_hook_hands_over_key_and_chain(root: Path, recorder: Recorder, name: str, functions: str) -> None:
    """Of acme.sh's arguments the key and the full chain are handed over; the caller's shell stays as it was."""
    hooks.install("acme.sh", command=recorder.path, root=root)
    script = f'set -u; {functions} . {acme_hook(root)}; umask 022; {CALL}; echo "$? $(umask) $PYTHONPATH"'

    done = shell(name, script, env={"PYTHONPATH": "/somewhere"})

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1] == "0 0022 /somewhere"
    assert ("INFO rollover has taken over" in done.stdout) == bool(functions)
    call = recorder.call()
    assert call["words"] == ["deploy", "/a b/full", "/a b/key"]
    assert call["umask"] == 0o077
    assert "PYTHONPATH" not in call["environment"]


@pytest.mark.parametrize("name", SHELLS)
@pytest.mark.parametrize("functions", [FUNCTIONS, ""], ids=["inside acme.sh", "alone"])
def test_acme_hook_reports_a_failure(root: Path, recorder: Recorder, name: str, functions: str) -> None:
    """A command that fails makes the hook return 1, and acme.sh go on with its own words."""
    hooks.install("acme.sh", command=recorder.path, root=root)

    done = shell(name, f'{functions} . {acme_hook(root)}; {CALL}; echo "returned $?"', env={"EXIT": "69"})

    assert done.stdout.splitlines()[-1] == "returned 1"
    assert "did not take the certificate of mail.example" in done.stderr


@pytest.mark.parametrize("name", SHELLS)
@pytest.mark.parametrize("arguments", ["", "d k c a", "d '' c a f", "d k c a ''"])
def test_acme_hook_without_its_arguments_fails(root: Path, recorder: Recorder, name: str, arguments: str) -> None:
    """Too few or empty arguments are an error, and nothing is called."""
    hooks.install("acme.sh", command=recorder.path, root=root)

    done = shell(name, f". {acme_hook(root)}; rollover_deploy {arguments}")

    assert done.returncode == 1
    assert "needs domain, key" in done.stderr
    assert not recorder.was_called


def test_acme_hook_prints_what_is_left_to_do(root: Path, recorder: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    """The line for acme.sh is printed; another working directory is honoured."""
    lines = hooks.install("acme.sh", command=recorder.path, root=root)
    assert lines[1].endswith("acme.sh --deploy -d NAME --deploy-hook rollover")
    assert acme_hook(root).stat().st_mode & 0o7777 == 0o644

    (root / "opt/acme/deploy").mkdir(parents=True)
    monkeypatch.setenv("LE_WORKING_DIR", "/opt/acme")
    assert str(root / "opt/acme/deploy/rollover.sh") in hooks.install("acme.sh", command=recorder.path, root=root)[0]


def test_hook_of_another_user_goes_through_sudo(root: Path, recorder: Recorder) -> None:
    """The file belongs to that user, calls sudo, and the sudoers line allows exactly this command."""
    home = root / NOBODY.pw_dir.lstrip("/") / ".acme.sh"
    (home / "deploy").mkdir(parents=True)
    os.chown(home / "deploy", NOBODY.pw_uid, NOBODY.pw_gid)

    lines = hooks.install("acme.sh", command="/usr/local/bin/rollover", config="/srv/r.toml", user="nobody", root=root)

    path = home / "deploy/rollover.sh"
    assert (path.stat().st_uid, path.stat().st_gid) == (NOBODY.pw_uid, NOBODY.pw_gid)
    assert "exec sudo -n /usr/local/bin/rollover --config /srv/r.toml deploy" in path.read_text()
    assert "  nobody ALL=(root) NOPASSWD: /usr/local/bin/rollover --config /srv/r.toml deploy *" in lines[-1]
    assert os.geteuid() == 0 and os.getegid() == 0


def test_link_in_a_home_directory_leads_root_nowhere(root: Path, recorder: Recorder) -> None:
    """A user who points the deploy directory at a directory of root's gets no file of root's there."""
    home = root / NOBODY.pw_dir.lstrip("/") / ".acme.sh"
    home.mkdir(parents=True)
    (root / "cron.d").mkdir(mode=0o755)
    (home / "deploy").symlink_to(root / "cron.d")

    error = refusal(lambda: hooks.install("acme.sh", command=recorder.path, user="nobody", root=root))

    assert (type(error), error.exit_code) == (PermissionsError, 77)
    assert list((root / "cron.d").iterdir()) == []


# --- both -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("client", hooks.CLIENTS)
def test_dry_run_writes_nothing(root: Path, recorder: Recorder, client: str) -> None:
    """--dry-run tells what would be written and removed, and does neither."""
    before = sorted(root.rglob("*"))
    assert hooks.install(client, command=recorder.path, dry_run=True, root=root)[0].startswith("would write ")
    assert sorted(root.rglob("*")) == before
    hooks.install(client, command=recorder.path, root=root)
    assert hooks.remove(client, dry_run=True, root=root)[0].startswith("would remove ")
    assert certbot_hook(root).exists() or acme_hook(root).exists()


def test_file_of_somebody_else_is_left_alone(root: Path, recorder: Recorder) -> None:
    """A hook of that name which is not ours, or a link, is neither replaced nor removed."""
    certbot_hook(root).parent.mkdir(parents=True)
    certbot_hook(root).write_text("#!/bin/sh\necho mine\n")
    acme_hook(root).symlink_to("/dev/null")
    for client in hooks.CLIENTS:
        for call in (
            lambda c=client: hooks.install(c, command=recorder.path, root=root),
            lambda c=client: hooks.remove(c, root=root),
        ):
            error = refusal(call)
            assert (type(error), error.exit_code) == (CannotWrite, 73)
    assert certbot_hook(root).read_text() == "#!/bin/sh\necho mine\n"
    assert acme_hook(root).is_symlink()


def test_impossible_requests_are_refused(root: Path) -> None:
    """An unknown client or user, a relative command, an absent client: each with its code and hint."""
    error = refusal(lambda: hooks.install("lego", command="/r", root=root))
    assert (type(error), error.exit_code) == (UsageError, 64)
    assert "certbot, acme.sh" in error.hint
    assert "no user nosuch" in refusal(lambda: hooks.install("certbot", command="/r", user="nosuch", root=root)).message
    assert "not an absolute path" in refusal(lambda: hooks.install("certbot", command="rollover", root=root)).message
    shutil.rmtree(root / "etc")
    shutil.rmtree(root / "root")
    for client, word in (("certbot", "--config-dir"), ("acme.sh", "LE_WORKING_DIR")):
        error = refusal(lambda client=client: hooks.install(client, command="/r", root=root))
        assert (type(error), error.exit_code) == (CannotWrite, 73)
        assert word in error.hint


def test_hooks_are_clean_for_shellcheck(root: Path, recorder: Recorder) -> None:
    """Both scripts, as shipped and as installed, are plain POSIX sh without a finding."""
    for client in hooks.CLIENTS:
        hooks.install(client, command=recorder.path, root=root)
    source = Path(hooks.__file__).parent.parent / "hooks"
    files = [certbot_hook(root), acme_hook(root), source / "certbot/rollover", source / "acme.sh/rollover.sh"]

    done = subprocess.run(["shellcheck", "--shell=sh", *files], capture_output=True, text=True, check=False)

    assert (done.returncode, done.stdout) == (0, "")


# --- on a host that serves mail -------------------------------------------------------------------

NAME = "mail.example.test"
ROLLING = {"check_every": "30s", "retain": "1s", "drain": "1s"}


def copied(certificate: Certificate, directory: Path, chain: str, key: str) -> Certificate:
    """Put a certificate into a lineage with these file names, as a client that renewed it would."""
    directory.mkdir(exist_ok=True)
    shutil.copy(certificate.fullchain, directory / chain)
    shutil.copy(certificate.privkey, directory / key)
    return certificate


@pytest.mark.lab(ttl=2, senders=False)
def test_certificates_of_acme_sh_come_by_the_hook_and_without_it(lab: Lab, tmp_path: Path) -> None:
    """The deploy function hands over what acme.sh keeps in NAME_ecc; where it never runs `advance` finds it there."""
    (tmp_path / "deploy").mkdir()
    lineage = tmp_path / f"{NAME}_ecc"
    names = ("fullchain.cer", f"{NAME}.key")
    copied(lab.old, lineage, *names)
    lab.configure(source=str(lineage), **ROLLING)
    lab.rollover("adopt", "mail", check=0)
    lab.rollover("hook", "install", "acme.sh", env={"LE_WORKING_DIR": str(tmp_path)}, check=0)

    first = copied(lab.certificate(), lineage, *names)
    arguments = f"{NAME} {lineage}/{NAME}.key {lineage}/{NAME}.cer {lineage}/ca.cer {lineage}/fullchain.cer"
    done = shell("dash", f"{FUNCTIONS} . {tmp_path}/deploy/rollover.sh; rollover_deploy {arguments}")
    assert (done.returncode, done.stderr) == (0, "")
    assert f"mail: certificate {first.fingerprint[:16]} is recorded" in done.stdout
    assert goal(left_by_advance()) == first.fingerprint

    missed = copied(lab.certificate(), lineage, *names)
    tick(lab)
    assert goal(left_by_advance()) == missed.fingerprint
    to_the_end(lab)
    only_serves(lab, missed)


def of_another_name(lab: Lab) -> Certificate:
    return lab.certificate(names=("www.example.test",))


def cut_short(lab: Lab) -> Certificate:
    it = lab.certificate()
    it.fullchain.write_bytes(it.fullchain.read_bytes()[:-30])
    return it


def open_to_others(lab: Lab) -> Certificate:
    it = lab.certificate()
    it.privkey.chmod(0o644)
    return it


@pytest.mark.lab(ttl=2, senders=False)
def test_a_bad_lineage_is_refused_through_the_hook(lab: Lab, tmp_path: Path) -> None:
    """The hook names no service: what the `source` of one holds and cannot be served is refused with its code and hint."""
    lineage, names = tmp_path / "live", ("fullchain.pem", "privkey.pem")
    copied(lab.old, lineage, *names)
    lab.configure(source=str(lineage), **ROLLING)
    lab.rollover("adopt", "mail", check=0)
    lab.rollover("hook", "install", "certbot", check=0)
    hook = lab.certbot.config_directory / "renewal-hooks/deploy/rollover"
    rows = (
        (of_another_name, 65, "is for www.example.test, not for mail.example.test", "order one that names"),
        (cut_short, 65, "a PEM block begins and does not end", "copy it anew from the ACME client"),
        (open_to_others, 77, f"{lineage}/privkey.pem can be read by others (mode 0644)", "chmod o= "),
    )
    for make, code, words, advice in rows:
        copied(make(lab), lineage, *names)
        done = subprocess.run(
            [hook], env={"RENEWED_LINEAGE": str(lineage)}, capture_output=True, text=True, check=False
        )
        message, hint = two_lines(done.stderr)
        assert (done.returncode, done.stdout) == (code, ""), make
        assert words in message
        assert advice in hint
    assert lab.served() == lab.old.spki
    assert lab.primary.tlsa().records == (lab.old.tlsa,)


# --- units ----------------------------------------------------------------------------------------


@pytest.fixture
def systemd(root: Path) -> Path:
    """The same with systemd running."""
    (root / "run/systemd/system").mkdir(parents=True)
    (root / "etc/systemd/system").mkdir(parents=True)
    return root


def test_units_verify(systemd: Path) -> None:
    """Nothing is wrong, says systemd, with the units as they are installed, odd paths included."""
    command = systemd / "100% odd/rollover"
    command.parent.mkdir()
    command.symlink_to("/bin/true")
    units.install(command=command, config="/srv/a b.toml", writable=["/srv/a b", "/var/lib/rollover"], root=systemd)
    paths = [systemd / "etc/systemd/system" / unit for unit in units.UNITS]

    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *paths], capture_output=True, text=True, check=False
    )

    ours = [line for line in (done.stdout + done.stderr).splitlines() if "rollover" in line]
    assert (done.returncode, ours) == (0, [])
    text = paths[0].read_text()
    assert f'ExecStart="{systemd}/100%% odd/rollover" --config "/srv/a b.toml" advance\n' in text
    assert 'ReadWritePaths="-/srv/a b" -/var/lib/rollover -/var/spool/postfix -/var/lib/postfix\n' in text
    assert "SuccessExitStatus=75\n" in text
    assert "@" not in text.replace("@system-service", "")


def test_units_are_hardened(systemd: Path) -> None:
    """By systemd's own judgement of their exposure both services are "OK" or better."""
    units.install(command="/bin/true", root=systemd)
    for unit in units.UNITS:
        if unit.endswith(".service"):
            command = ["systemd-analyze", "security", "--offline=true", "--threshold=35", "--no-pager"]
            done = subprocess.run(
                [*command, systemd / "etc/systemd/system" / unit], capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, done.stdout + done.stderr


def test_timers_are_enabled_and_go_again(systemd: Path) -> None:
    """Both timers are wanted by timers.target; twice is once; removing takes all of it away."""
    lines = units.install(command="/bin/true", root=systemd)
    directory = systemd / "etc/systemd/system"

    timers = "rollover-advance.timer rollover-status.timer"
    assert lines[-2:] == [f"ran: systemctl enable {timers}", f"ran: systemctl start {timers}"]
    assert sorted(p.name for p in (directory / "timers.target.wants").iterdir()) == list(units.TIMERS)
    again = units.install(command="/bin/true", root=systemd)
    assert [line for line in again if line.startswith("wrote")] == []
    assert units.install(command="/bin/true", root=systemd, dry_run=True)[-1].startswith("would run")

    units.remove(root=systemd)

    assert [p for p in directory.rglob("*rollover*") if p.is_file() or p.is_symlink()] == []
    assert "nothing to remove" in units.remove(root=systemd)[0]


def test_timer_runs_every_minute() -> None:
    """To systemd the expressions of the timers are every minute and every quarter of an hour."""
    expected = {"rollover-advance.timer": "*-*-* *:*:00", "rollover-status.timer": "*-*-* *:05/15:00"}
    for unit, normalized in expected.items():
        text = hooks.shared_text(f"systemd/{unit}")
        expression = text.partition("OnCalendar=")[2].partition("\n")[0]
        done = subprocess.run(["systemd-analyze", "calendar", expression], capture_output=True, text=True, check=True)
        assert f"Normalized form: {normalized}" in done.stdout


def test_without_systemd_a_crontab_line_is_printed(root: Path) -> None:
    """Nothing is written; the lines run as they stand in /etc/cron.d."""
    before = sorted(root.rglob("*"))

    lines = units.install(command="/usr/local/bin/rollover", config="/srv/r.toml", root=root)

    assert "  * * * * * root /usr/local/bin/rollover --config /srv/r.toml advance >/dev/null 2>&1" in lines
    assert any(line.endswith("status --quiet") for line in lines)
    assert sorted(root.rglob("*")) == before


def test_unit_of_somebody_else_is_left_alone(systemd: Path) -> None:
    """A unit of that name which is not ours is not replaced."""
    path = systemd / "etc/systemd/system/rollover-advance.timer"
    path.write_text("[Timer]\n")

    error = refusal(lambda: units.install(command="/bin/true", root=systemd))

    assert error.exit_code == 73
    assert path.read_text() == "[Timer]\n"


@pytest.mark.lab(ttl=5, senders=False)
def test_reload_works_within_what_the_unit_allows(lab: Lab) -> None:
    """With the unit's capabilities, no new privileges and nothing else writable `postfix reload` takes effect."""
    text = hooks.shared_text("systemd/rollover-advance.service")
    capabilities = text.partition("CapabilityBoundingSet=")[2].split("\n")[0].split()
    kept = ",".join(["-all", *(f"+{name.removeprefix('CAP_').lower()}" for name in capabilities)])
    mx = lab.mx
    writable = [mx.queue_directory, mx.directory / "data"]
    steps = [
        *(f"mount --no-mtab --bind {path} {path}" for path in writable),
        *(f"mount --no-mtab -o remount,bind,ro {path}" for path in ("/run", "/etc", "/")),
        *(
            f"if touch {path}/x 2>/dev/null; then echo {path} is writable; exit 9; fi"
            for path in ("/run", "/etc", "/tmp", "/var/lib", mx.config_directory)
        ),
        f"exec setpriv --no-new-privs --bounding-set={kept} --inh-caps=-all postfix -c {mx.config_directory} reload",
    ]
    certificate = lab.certificate()
    tls = mx.directory / "tls"
    shutil.copy(certificate.privkey, tls / "key.pem")
    shutil.copy(certificate.fullchain, tls / "cert.pem")

    done = subprocess.run(
        ["unshare", "--mount", "--propagation", "private", "sh", "-ec", "\n".join(steps)],
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    wait_for(
        lambda: any("refreshing the Postfix mail system" in line for line in mx.log_lines()), "the reload is logged"
    )
    wait_for(lambda: lab.served() == certificate.spki, "the new certificate is served")
    assert [line for line in mx.log_lines() if "fatal" in line or "Read-only" in line] == []
