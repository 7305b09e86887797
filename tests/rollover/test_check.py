"""`check`: what is in place and what is missing, each with a hint; nothing is changed by it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.lab import Lab
from tests.lab import addresses as at
from tests.rollover.driving import untouched

LAB_OPTIONS = {"ttl": 60, "senders": False}
pytestmark = pytest.mark.lab(**LAB_OPTIONS)

CRON = Path("/etc/cron.d/rollover")
HOOK = Path("/etc/letsencrypt/renewal-hooks/deploy/rollover")


@dataclass
class Checked:
    """What one `check` printed: (word, what) → hint."""

    code: int
    rows: dict[tuple[str, str], str] = field(default_factory=dict)

    def hint(self, word: str, *fragments: str) -> str:
        """Return the hint of the one row with *word* ("ok", "warning", "failed") and all *fragments* in it."""
        found = [row for row in self.rows if row[0] == word and all(f in row[1] for f in fragments)]
        assert len(found) == 1, f"{word} {fragments}: {len(found)} rows of {self.words()}"
        return self.rows[found[0]]

    def words(self, *words: str) -> list[str]:
        """Return the rows of *words*, all without any."""
        return [" ".join(row) for row in self.rows if not words or row[0] in words]


def check(lab: Lab, *services: str, offset: str | None = None) -> Checked:
    """Run `check`, which must change nothing and write nothing to stderr; every fault has a hint."""
    with untouched(lab):
        done = lab.rollover("check", *services, offset=offset)
    assert done.stderr == ""
    checked = Checked(done.returncode)
    row = ("", "")
    for line in done.stdout.splitlines():
        if line.startswith("        hint: "):
            checked.rows[row] = line.removeprefix("        hint: ")
        else:
            word, _, what = line.partition(" ")
            row = (word, what.strip())
            assert row not in checked.rows, f"twice: {line}"
            checked.rows[row] = ""
    worst = max({"ok": 0, "warning": 1, "failed": 2}[word] for word, _ in checked.rows)
    assert checked.code == worst, done.stdout
    assert [row for row, hint in checked.rows.items() if (row[0] == "ok") != (not hint)] == []
    return checked


@pytest.fixture
def adopted(shared_lab: Lab) -> Lab:
    """The lab of the module, adopted, with hook and crontab: everything is in place."""
    lab = shared_lab
    if not CRON.exists():
        CRON.parent.mkdir(exist_ok=True)
        settle(lab)
        lab.rollover("hook", "install", "certbot", check=0)
        lines = lab.rollover("units", "install", check=0).stdout.splitlines()
        CRON.write_text("".join(f"{line.strip()}\n" for line in lines if " root " in line))
        lab.rollover("adopt", "mail", check=0)
    settle(lab)
    return lab


def settle(lab: Lab, **changes: object) -> None:
    """Write the configuration: the lab's, with a source that certbot might keep, and *changes*."""
    source = lab.certbot.config_directory / "live" / "mail.example.test"
    source.mkdir(parents=True, exist_ok=True)
    lab.configure(**{"source": str(source), **changes})


def test_a_host_that_is_not_adopted(shared_lab: Lab) -> None:
    """What is still to be done is a warning with its command, not a failure; exit 1."""
    found = check(shared_lab)

    assert found.code == 1, found.words("failed")
    assert found.hint("warning", "mail: not adopted yet").endswith("`rollover adopt mail`")
    assert "rollover adopt" in found.hint("warning", "smtp/inet is configured with", "not with")
    assert "rollover hook install certbot" in found.hint("warning", "no hook of certbot or acme.sh is installed")
    assert "rollover units install" in found.hint("warning", "nothing calls `advance`")
    assert found.hint("warning", "mail: no `source`")
    found.hint("ok", "the primary lets our key change _25._tcp.mail.example.test. TLSA")
    found.hint("ok", f"{shared_lab.chain_file} can be written")


def test_everything_is_in_place(adopted: Lab) -> None:
    """A healthy host is exit 0, and says what was looked at: nothing but ok."""
    found = check(adopted, "mail")

    assert (found.code, found.words("warning", "failed")) == (0, [])
    for fragments in (
        (str(adopted.config_file), "in order"),
        (f"{CRON} calls `advance`",),
        ("mail: adopted",),
        (f"{HOOK} is the hook of certbot",),
        ("trust = ", "1 CA certificates"),
        (f"{adopted.chain_file} can be replaced",),
        ("clock agrees with ours",),
        ("3 name servers reached",),
        ("the resolver authenticates",),
        ("our key change",),
        (f"{at.MX}:25 presents {adopted.old.fingerprint[:16]}",),
        (f"{adopted.chain_file} is what the mail server reads",),
    ):
        found.hint("ok", *fragments)


@pytest.mark.fault(9, 22)
def test_a_key_without_grant_and_a_dead_secondary(adopted: Lab) -> None:
    """The hint of the refusal is the grant, word for word; the dead server is named once, with `ignore`."""
    adopted.primary.reconfigure(update_policy="")
    adopted.secondary.stop()
    try:
        found = check(adopted)
    finally:
        adopted.primary.reconfigure()
        adopted.secondary.start()

    assert (len(found.words("failed")), found.words("warning")) == (2, [])
    hint = found.hint("failed", "update of zone example.test. refused by 127.0.0.53: REFUSED")
    assert f"grant {adopted.tsig_key.name} name {at.OWNER} TLSA;" in hint
    assert "`ignore`" in found.hint("failed", "example.test.: ", at.SECONDARY)


def test_a_wrong_clock(adopted: Lab) -> None:
    """One row says by how much the clocks differ; that every update would meet it is not said again."""
    found = check(adopted, offset="+400s")

    assert len(found.words("failed")) == 1, found.words("failed")
    assert "timedatectl" in found.hint("failed", "clocks differ: ", at.PRIMARY, "BADTIME")


def test_a_dead_resolver(adopted: Lab) -> None:
    """What could not be found out is said in words, each fault once; no grant is tried in a zone without a name."""
    stranger = adopted.directory / "stranger"
    stranger.mkdir(mode=0o700)
    adopted.resolver.stop()
    try:
        remembered = check(adopted)
        settle(adopted, state=stranger)
        unknown = check(adopted)
    finally:
        adopted.resolver.start()

    for found in (remembered, unknown):
        assert len(found.words("failed")) == 2, found.words("failed")
        assert "[dns] resolver" in found.hint("failed", "resolver 127.0.0.10 gives no answer for _25._tcp.mail", "TLSA")
        assert found.hint("failed", "mail.example.test: resolver 127.0.0.10 gives no answer for mail.example.test. A")
        assert found.hint("warning", "which name servers its zone has cannot be found out without the resolver")
        assert [words for words in found.words() if ": :" in words or " . " in words] == []
    remembered.hint("ok", "lets our key change")
    assert [words for words in unknown.words("ok") if "our key" in words] == []


# ------------------------------------------------------------------------------------ files and programs

Settings = dict[str, object]
Expected = list[tuple[str, tuple[str, ...], str]]  # word and fragments of the row, fragment of its hint


def outputs(lab: Lab, *paths: Path, **more: str) -> list[Settings]:
    """Return the lab's install, and one of kind command for each of *paths*."""
    own = {"kind": "postfix", "chain_file": str(lab.chain_file), "config_directory": str(lab.mx.config_directory)}
    others = [{"kind": "command", "chain_file": str(path), "reload": ["true"], **more} for path in paths]
    return [own, *others]


def nothing_there(lab: Lab, place: Path) -> tuple[Settings, Expected]:
    """Return what names files that are not there, and a server whose day is over."""
    yesterday = datetime.now(UTC).date() - timedelta(1)
    return {
        "alert": {"command": [str(place / "page")]},
        "trust": str(place / "ca.pem"),
        "install": outputs(lab, place / "a" / "b" / "mail.pem"),
        "ignore": [{"server": "ns9.example.net", "until": f"{yesterday}"}],
        "retain": "0s",
    }, [
        ("failed", ("rollover.toml: alert.command: ", "page does not exist"), "whole path"),
        ("failed", ("rollover.toml: services.mail.trust = ", 'ca.pem": No such file'), "PEM"),
        ("failed", ("rollover.toml: services.mail.install[1].chain_file: ", "no such directory"), "install -d"),
        ("failed", (f"mail: {place}/a/b/mail.pem does not exist",), "advance"),
        ("warning", (f"dns.ignore: ns9.example.net was ignored until {yesterday}", "counts again"), "later day"),
        ("warning", ("retain is 0",), '"1d"'),
    ]


def something_else_there(lab: Lab, place: Path) -> tuple[Settings, Expected]:
    """Return what names a file that cannot be run, a link, an open directory, an unknown user."""
    (place / "page").touch(mode=0o600)
    (place / "ca.pem").write_bytes(b"no certificate")
    (place / "mail.pem").symlink_to("/dev/null")
    (place / "open").mkdir()
    (place / "open").chmod(0o777)
    tomorrow = datetime.now(UTC).date() + timedelta(1)
    return {
        "alert": {"command": [str(place / "page")]},
        "trust": str(place / "ca.pem"),
        "install": outputs(lab, place / "mail.pem", place / "open" / "mail.pem", owner="nosuch"),
        "ignore": [{"server": at.SECONDARY, "until": f"{tomorrow}"}],
    }, [
        ("failed", ("alert.command: ", "page is not executable"), "chmod +x"),
        ("failed", ("services.mail.trust = ", "there is no certificate in it"), "PEM"),
        ("failed", ("services.mail.install[1].chain_file: ", "is a symbolic link, and is not replaced"), "ls -l"),
        ("failed", ("install[2].chain_file: ", "others may write there (mode 0777)"), "chmod go-w"),
        ("failed", ('rollover.toml: services.mail.install[1].owner = "nosuch": there is no such user',), '"dovecot"'),
        ("failed", ('rollover.toml: services.mail.install[2].owner = "nosuch": there is no such user',), '"dovecot"'),
        ("failed", ("mail: /", "mail.pem is not a regular file"), "advance"),
        ("failed", ("mail: /", "open/mail.pem does not exist"), "advance"),
        ("warning", (f"({at.SECONDARY}) is left out",), "`ignore`"),
    ]


@pytest.mark.parametrize("make", [nothing_there, something_else_there])
def test_mistakes_on_this_host(adopted: Lab, make: Callable[[Lab, Path], tuple[Settings, Expected]]) -> None:
    """Files, programs and users that the configuration names: each mistake is one row with file and key."""
    place = adopted.directory / "place"
    place.mkdir(mode=0o700)
    try:
        settings, expected = make(adopted, place)
        settle(adopted, **settings)
        found = check(adopted)
    finally:
        shutil.rmtree(place)

    for word, fragments, hint in expected:
        assert hint in found.hint(word, *fragments)
    assert len(found.words("warning", "failed")) == len(expected), found.words("warning", "failed")


def test_a_live_file_is_named_once(adopted: Lab) -> None:
    """A file that is gone is told with its path once, here as in `status`."""
    content = adopted.chain_file.read_bytes()
    adopted.chain_file.unlink()
    try:
        found = check(adopted)
        status = adopted.rollover("status", "--fresh").stdout
    finally:
        adopted.chain_file.write_bytes(content)
        adopted.chain_file.chmod(0o600)

    assert "rollover advance mail" in found.hint("failed", f"mail: {adopted.chain_file} does not exist")
    assert f"{adopted.chain_file}: {adopted.chain_file}" not in status
    assert f"{adopted.chain_file} does not exist" in status


def test_a_hook_of_somebody_else_and_no_crontab(adopted: Lab) -> None:
    """A hook that is not ours, and a crontab line that is a comment, are warnings with what helps."""
    hook, cron = HOOK.read_text(), CRON.read_text()
    try:
        HOOK.write_text("#!/bin/sh\n")
        CRON.write_text("# * * * * * root /usr/local/bin/rollover advance\n")
        found = check(adopted)
    finally:
        CRON.write_text(cron)
        HOOK.write_text(hook)

    assert (found.code, len(found.words("warning"))) == (1, 2), found.words("warning")
    assert "rm " in found.hint("warning", f"{HOOK} was not written by rollover")
    assert "`rollover units install`" in found.hint("warning", "nothing calls `advance`")
