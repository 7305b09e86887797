"""A rollover in which everything goes wrong leaves no copy of a private key but those that SECURITY.md allows."""

from __future__ import annotations

import base64
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.lab import Certificate, Lab
from tests.rollover.driving import advance_to, advance_until, codes, left_by_advance
from tests.rollover.scene import due
from tests.servers.key_search import BASE64, HEXADECIMAL
from tests.servers.key_watch import RENAME, Watch, allowed

SETTINGS = {"retain": "1h", "drain": "1s", "check_every": "30s"}
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
        watch.ticks(lambda: "install-refused" in codes(left_by_advance(), "critical"))
        assert watch.left_over(lab.chain_file.parent) == []


def _killed_and_aborted(lab: Lab, watch: Watch) -> None:
    """Die in the middle of the install, by SIGKILL, then by a signal that makes a core dump."""
    live = lab.chain_file.parent
    killed = watch.ticks(lambda: watch.left_over(live), inject=f"{RENAME}:signal=KILL:when=1")
    assert killed.done.returncode == -9
    first = set(watch.left_over(live))
    assert len(first) == 2, "the new file, and the copy of the old one"
    aborted = watch.ticks(lambda: set(watch.left_over(live)) - first, inject=f"{RENAME}:signal=ABRT:when=1")
    assert "killed by SIGABRT" in aborted.ends, aborted.ends
    assert not [end for end in aborted.ends if "core" in end]
    assert list(watch.cwd.iterdir()) == []
    assert not first & set(watch.left_over(live)), "what the first one left is gone"
    assert lab.served() == lab.old.spki


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
    patterns = allowed(state, [live]).values()

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
