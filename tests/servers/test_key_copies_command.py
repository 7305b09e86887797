"""A daemon's key file that its group may read, and all commands that only read: no other copy of a private key."""

from __future__ import annotations

import grp
import pwd
import shutil
from pathlib import Path

import pytest

from tests.lab import Certificate, Lab
from tests.rollover.driving import advance_to, codes, left_by_advance
from tests.rollover.scene import due
from tests.servers.key_watch import RENAME, Rights, Watch

SETTINGS = {"retain": "1h", "drain": "1s", "check_every": "30s", "verify_timeout": "60s"}
OWNER, GROUP = "dovecot", "mail"
#: Tells what it was given; fails once while there is a file `broken`; is content with a key that the daemon can read.
RELOAD = """#!/bin/sh
env
[ -e {0}/broken ] && {{ rm {0}/broken; echo no such daemon >&2; exit 1; }}
exec setpriv --reuid {1} --regid {2} --clear-groups test -r {3}
"""


@pytest.mark.lab(ttl=1, senders=False)
def test_no_copy_of_a_key_that_a_daemons_group_may_read(lab: Lab, tmp_path: Path) -> None:
    """A kill between two files, a reload that fails and every command that only reads leave no copy, and no wider rights."""
    imap = lab.directory / "imap"
    key, crt = imap / "imap.key", imap / "imap.crt"
    rights = Rights(0o640, pwd.getpwnam(OWNER).pw_uid, grp.getgrnam(GROUP).gr_gid)
    _prepare(lab, key, crt)
    new = lab.certificate()
    watch = Watch(lab, tmp_path, {lab.chain_file: Rights(), key: rights}, old=lab.old, new=new)

    assert watch.run("adopt", "mail").done.returncode == 0
    assert watch.run("deploy", new.fullchain, new.privkey).done.returncode == 0
    due(lab, "waiting")
    (lab.directory / "broken").touch()
    # The third file that comes to its place, after two of Postfix: the predecessor of the key.
    killed = watch.ticks(lambda: watch.left_over(imap), inject=f"{RENAME}:signal=KILL:when=3")
    assert killed.done.returncode == -9
    kept = {path.name.partition(".rollover-")[0]: path for path in watch.left_over(imap)}
    assert kept.keys() == {".imap.key", ".imap.crt"}, "the new files, and the copies of the old ones"
    watch.ticks(lambda: "install-refused" in codes(left_by_advance(), "critical"))
    assert watch.left_over(imap) == []
    assert not (lab.directory / "broken").exists()
    advance_to(lab, "retaining")
    assert lab.served() == new.spki
    _read_only(watch, new, key)
    assert watch.run("release", "mail").done.returncode == 0

    watch.judge(watch.everywhere())
    assert {str(path) for path in (key, Path(f"{key}.previous"))} <= watch.places
    there = key.stat()
    assert (there.st_mode & 0o7777, there.st_uid, there.st_gid) == (rights.mode, rights.owner, rights.group)


def _prepare(lab: Lab, key: Path, crt: Path) -> None:
    """Put what is served before `adopt` there, and configure the daemon beside Postfix."""
    key.parent.mkdir(mode=0o750)
    shutil.chown(key.parent, group=GROUP)
    crt.write_bytes(lab.old.fullchain.read_bytes())
    key.touch(mode=0o600)
    key.write_bytes(lab.old.privkey.read_bytes())
    shutil.chown(key, group=GROUP)
    key.chmod(0o640)
    reload = lab.directory / "reload"
    reload.write_text(RELOAD.format(lab.directory, OWNER, GROUP, key))
    reload.chmod(0o755)
    install = [
        {"kind": "postfix", "chain_file": str(lab.chain_file), "config_directory": str(lab.mx.config_directory)},
        {"kind": "command", "owner": OWNER, "group": GROUP, "mode": "0640", "reload": [str(reload)]}
        | {"cert_file": str(crt), "key_file": str(key)},
    ]
    lab.configure(**SETTINGS, install=install)


def _read_only(watch: Watch, new: Certificate, key: Path) -> None:
    """Run each command that changes nothing, with every word of an error shown."""
    for words, exits in (
        (("check", "mail"), {0, 1}),
        (("status", "--json"), {0}),
        (("history", "mail", "--json"), {0}),
        (("verify", "mail.example.test"), {0}),
        (("tlsa", str(key)), {0}),
    ):
        done = watch.run("--verbose", *words).done
        assert done.returncode in exits, (words, done.stdout, done.stderr)
    assert done.stdout.decode().strip() == new.tlsa
