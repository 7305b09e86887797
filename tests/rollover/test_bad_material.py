"""A certificate, a key or an output path that will not do: refused with a hint, and nothing changes."""

from __future__ import annotations

import hashlib
import shutil
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from tests.lab import Certificate, Lab
from tests.lab.certificates import Authority, x509_time
from tests.rollover.driving import (
    Service,
    advance_until,
    codes,
    fill_caches,
    history,
    left_by_advance,
    nothing_deferred,
    only_serves,
    problem,
    served_leaf,
    steady_mail,
    to_the_end,
    two_lines,
    untouched,
)

TTL = 2
LAB_OPTIONS = {"ttl": TTL}
SETTINGS = {"check_every": "30s", "retain": "1s", "drain": "1s", "propagation_warn": "30s"}
BLOCK = b"-----%s CERTIFICATE-----\n"

# ------------------------------------------------------------------------------------ bad lineages

Make = Callable[[Lab, Path], Certificate]


@dataclass
class Bad:
    """A lineage that must not be served; *make* writes it into a directory. What is said about it."""

    make: Make
    words: str
    hint: str
    exits: int = 65


def issued(lab: Lab, directory: Path, **options: object) -> Certificate:
    """Return a sound lineage in *directory*; with *options*, an unsound one."""
    shutil.rmtree(directory, ignore_errors=True)
    return lab.certificate(directory=directory, **options)


def spoilt(change: Callable[[Certificate], object]) -> Make:
    """Return what makes a sound lineage and then does *change* to its files."""

    def make(lab: Lab, directory: Path) -> Certificate:
        lineage = issued(lab, directory)
        change(lineage)
        return lineage

    return make


def of(**options: object) -> Make:
    """Return what issues with *options*."""
    return lambda lab, directory: issued(lab, directory, **options)


def cut(path: Path, octets: int) -> None:
    path.write_bytes(path.read_bytes()[:octets])


def cut_end(path: Path) -> None:
    """Lose the end, as while it is being written."""
    cut(path, path.stat().st_size - 30)


def other_key(lab: Lab, directory: Path) -> Certificate:
    """Return a lineage with the key of another one, as of a renewal caught half-way."""
    lineage = issued(lab, directory)
    shutil.copyfile(lab.certificate().privkey, lineage.privkey)
    return lineage


def other_authority(lab: Lab, directory: Path) -> Certificate:
    """Return what a staging authority issued."""
    shutil.rmtree(directory, ignore_errors=True)
    where = lab.directory / "staging"
    shutil.rmtree(where, ignore_errors=True)
    return Authority(where).issue(directory=directory)


def encrypt(lineage: Certificate) -> None:
    key = serialization.load_pem_private_key(lineage.privkey.read_bytes(), None)
    lineage.privkey.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )


def to_der(lineage: Certificate) -> None:
    lineage.fullchain.write_bytes(lineage.leaf.public_bytes(serialization.Encoding.DER))


TRUNCATED = "a PEM block begins and does not end"
NO_CERTIFICATE = "no PEM certificate found"
ANEW = "copy it anew from the ACME client"
FULLCHAIN = "fullchain.pem"

BAD = {
    "key-of-another": Bad(other_key, "the private key does not belong to the certificate for mail.example.test", "give the key that stands beside"),
    "another-name": Bad(of(names=("www.example.test",)), "the certificate is for www.example.test, not for mail.example.test", "order one that names mail.example.test"),
    "expired": Bad(of(not_before=x509_time(-86400), not_after=x509_time(-60)), "the certificate expired at ", "renew it"),
    "not-yet-valid": Bad(of(not_before=x509_time(86400)), "the certificate is not valid before ", "if this host's clock is wrong"),
    "another-authority": Bad(other_authority, "this host does not trust certificate ", "a test or staging certificate?"),
    "leaf-cut": Bad(spoilt(lambda it: cut(it.fullchain, 300)), TRUNCATED, ANEW),
    "issuer-cut": Bad(spoilt(lambda it: cut_end(it.fullchain)), TRUNCATED, ANEW),
    "key-cut": Bad(spoilt(lambda it: cut_end(it.privkey)), TRUNCATED, ANEW),
    "empty": Bad(spoilt(lambda it: cut(it.fullchain, 0)), NO_CERTIFICATE, FULLCHAIN),
    "empty-key": Bad(spoilt(lambda it: cut(it.privkey, 0)), "no private key", "key file"),
    "garbage": Bad(spoilt(lambda it: it.fullchain.write_bytes(bytes(range(256)) * 20)), NO_CERTIFICATE, FULLCHAIN),
    "not-base64": Bad(spoilt(lambda it: it.fullchain.write_bytes(BLOCK % b"BEGIN" + b"\xff*A\n" + BLOCK % b"END")), "not base64", FULLCHAIN),
    "no-certificate-inside": Bad(spoilt(lambda it: it.fullchain.write_bytes(BLOCK % b"BEGIN" + b"AAAA\n" + BLOCK % b"END")), "certificate", FULLCHAIN),
    "der": Bad(spoilt(to_der), NO_CERTIFICATE, FULLCHAIN),
    "encrypted-key": Bad(spoilt(encrypt), "the private key is encrypted", "openssl pkey -in KEY -out NEWKEY"),
    "open-key": Bad(spoilt(lambda it: it.privkey.chmod(0o644)), "can be read by others (mode 0644)", "chmod o= ", exits=77),
    "key-missing": Bad(spoilt(lambda it: it.privkey.unlink()), "No such file", "give the files of the lineage"),
}  # fmt: skip


@pytest.fixture
def source(shared_lab: Lab) -> Path:
    """The lineage directory that is the service's `source`; it holds what is served."""
    directory = shared_lab.directory / "lineage"
    if not shared_lab.chain_file.exists():
        shutil.copytree(shared_lab.old.directory, directory)
        shared_lab.configure(**SETTINGS, source=str(directory))
        shared_lab.rollover("adopt", "mail", check=0)
    return directory


def memory(lab: Lab) -> dict[str, object]:
    """Return what a refused certificate must not change: vault, live directory, what is wanted, DNS, what is served."""
    it: dict[str, object] = {"served": served_leaf(lab), "tlsa": lab.primary.tlsa()}
    for place in (lab.state_directory / "vault", lab.chain_file.parent):
        for path in sorted(place.rglob("*")):
            it[str(path)] = (
                path.lstat().st_mode,
                hashlib.sha256(path.read_bytes() if path.is_file() else b"").digest(),
            )
    with sqlite3.connect(f"file:{lab.state_directory}/rollover.db?mode=ro", uri=True) as database:
        for table in ("credential", "inbox", "standing", "managed", "intent"):
            it[table] = database.execute(f"SELECT * FROM {table} ORDER BY 1, 2").fetchall()
        it["goals"] = database.execute(
            "SELECT name, book ->> 'goal', book ->> 'active', book ->> 'queued', book ->> 'install' FROM service"
        ).fetchall()
    return it


@contextmanager
def modes_kept(lab: Lab) -> Iterator[None]:
    """Assert that the block changes no mode, owner or group of the tool's files and Postfix's, and makes none."""
    places = (lab.state_directory, lab.chain_file.parent, lab.mx.config_directory)

    def modes() -> dict[str, tuple[int, int, int]]:
        found = {path: path.lstat() for place in places for path in (place, *place.rglob("*"))}
        return {str(path): (it.st_mode, it.st_uid, it.st_gid) for path, it in found.items()}

    before = modes()
    yield
    assert modes() == before


@pytest.mark.fault(36, 37, 43)
@pytest.mark.parametrize("bad", BAD.values(), ids=BAD)
def test_deployed(shared_lab: Lab, source: Path, bad: Bad) -> None:
    """`deploy` refuses it in two lines with the exit code of its kind, and changes no file, no record, nothing served."""
    lineage = bad.make(shared_lab, shared_lab.directory / "handed-over")
    with untouched(shared_lab), modes_kept(shared_lab):
        done = shared_lab.deploy(lineage, "--service", "mail", check=bad.exits)
    message, hint = two_lines(done.stderr)
    assert bad.words in message
    assert bad.hint in hint
    assert done.stdout == ""


def test_missing_certificate(shared_lab: Lab, source: Path) -> None:
    """A path where there is nothing, or a directory, is refused as bad input, not as a fault of the disk."""
    for path, why in ((source / "gone.pem", "No such file or directory"), (source, "not a regular file")):
        with untouched(shared_lab), modes_kept(shared_lab):
            done = shared_lab.rollover("deploy", path, source / "privkey.pem", "--service", "mail", check=65)
        message, hint = two_lines(done.stderr)
        assert message == f"cannot read {path}: {why}"
        assert "fullchain.pem" in hint


def test_key_and_chain_in_one_open_file(shared_lab: Lab, source: Path) -> None:
    """A file that holds the key too is refused when others can read it."""
    lineage = shared_lab.certificate()
    both = lineage.directory / "both.pem"
    both.write_bytes(lineage.privkey.read_bytes() + lineage.fullchain.read_bytes())
    both.chmod(0o604)
    with untouched(shared_lab), modes_kept(shared_lab):
        done = shared_lab.rollover("deploy", both, "--service", "mail", check=77)
    assert f"{both} can be read by others (mode 0604)" in two_lines(done.stderr)[0]


# -------------------------------------------------------------------------------- through `source`


def replace_by(source: Path, lineage: Certificate) -> None:
    """Put the files of *lineage* into the source, as a renewal or an administrator does."""
    shutil.rmtree(source)
    shutil.copytree(lineage.directory, source)


def tick(lab: Lab) -> Service:
    """Run the timer's `advance`, which must find nothing that is worth an exit code."""
    done = lab.rollover("advance", check=0)
    assert done.stderr == ""
    return left_by_advance()


@pytest.mark.fault(36, 37, 41, 43)
def test_in_the_source(shared_lab: Lab, source: Path) -> None:
    """`status` warns of whatever the source holds, and nothing changes; the warning goes when the source is good again."""
    before = memory(shared_lab)
    for name, bad in BAD.items():
        bad.make(shared_lab, source)
        found = problem(tick(shared_lab), "source-rejected")
        assert found["level"] == "warning"
        assert bad.words in found["message"], name
        assert found["hint"]
    assert memory(shared_lab) == before
    replace_by(source, shared_lab.old)
    assert tick(shared_lab)["problems"] == []
    assert memory(shared_lab) == before


def test_source_is_told_once(shared_lab: Lab, source: Path) -> None:
    """A certificate that stays bad is one line of `status` since its first tick, and one event of the history."""
    other_key(shared_lab, source)
    since = problem(tick(shared_lab), "source-rejected")["since"]
    events = history(shared_lab)
    for _ in range(2):
        shared_lab.rollover("advance", "mail", check=0)
        assert problem(left_by_advance(), "source-rejected")["since"] == since
    assert history(shared_lab) == events
    told = shared_lab.rollover("status", check=1).stdout
    assert told.startswith(
        "WARNING mail: no mail is deferred: the private key does not belong to the certificate for mail.example.test since "
    )
    replace_by(source, shared_lab.old)
    assert tick(shared_lab)["problems"] == []


def test_source_is_mended(start_lab: Callable[..., Lab]) -> None:
    """What the hint asks for is enough with the content unchanged, be it a mode or our clock; then it is rolled out."""
    lab = start_lab(ttl=TTL, senders=False)
    lineage = lab.certificate()
    lineage.privkey.chmod(0o644)
    lab.configure(**SETTINGS, source=str(lineage.directory))
    lab.rollover("adopt", "mail", check=0)
    assert "can be read by others" in problem(tick(lab), "source-rejected")["message"]
    lineage.privkey.chmod(0o600)
    lab.rollover("advance", "mail", offset="-7200s", check=1)
    assert "not valid before" in problem(left_by_advance(), "source-rejected")["message"]
    assert lab.primary.tlsa().records == (lab.old.tlsa,)
    lab.rollover("advance", "mail")
    assert "source-rejected" not in codes(left_by_advance())
    to_the_end(lab)
    only_serves(lab, lineage)


def test_source_is_renewed(shared_lab: Lab, source: Path) -> None:
    """After a bad certificate the good one that follows is picked up by itself and rolled out, and no mail is deferred."""
    with steady_mail(shared_lab) as mail:
        other_key(shared_lab, source)
        problem(tick(shared_lab), "source-rejected")
        new = shared_lab.certificate()
        fill_caches(shared_lab)
        replace_by(source, new)
        shared_lab.rollover("advance")
        assert not codes(left_by_advance(), "warning")
        to_the_end(shared_lab)
        only_serves(shared_lab, new)
    nothing_deferred(shared_lab, mail())


# ------------------------------------------------------------------------------------ output paths


@contextmanager
def elsewhere(lab: Lab) -> Iterator[None]:
    """Make the live file a link to the same content in another directory."""
    place = lab.directory / "elsewhere.pem"
    shutil.move(lab.chain_file, place)
    lab.chain_file.symlink_to(place)
    yield
    lab.chain_file.unlink()
    shutil.move(place, lab.chain_file)


@contextmanager
def writable(lab: Lab) -> Iterator[None]:
    """Let everybody write in the directory of the live file."""
    lab.chain_file.parent.chmod(0o777)
    yield
    lab.chain_file.parent.chmod(0o700)


@contextmanager
def of_somebody(lab: Lab) -> Iterator[None]:
    """Let the directory of the live file be somebody else's."""
    shutil.chown(lab.chain_file.parent, "nobody")
    yield
    shutil.chown(lab.chain_file.parent, "root")


@contextmanager
def not_writable(lab: Lab) -> Iterator[None]:
    """Mount the directory of the live file read-only."""
    directory = lab.chain_file.parent
    subprocess.run(["mount", "--no-mtab", "--bind", directory, directory], check=True)
    try:
        subprocess.run(["mount", "--no-mtab", "-o", "remount,bind,ro", directory], check=True)
        yield
    finally:
        subprocess.run(["umount", "--no-mtab", directory], check=True)


PLACES: dict[str, tuple[Callable[[Lab], AbstractContextManager[None]], int, str, str]] = {
    "link": (elsewhere, 77, "is a symbolic link, and is not replaced", "see where it leads"),
    "open-directory": (writable, 77, "others may write there (mode 0777)", "chmod go-w"),
    "directory-of-somebody": (of_somebody, 77, "who could exchange what is written there", "chown root"),
    "read-only": (not_writable, 73, "Read-only file system", "remount it"),
}


def live_directory(lab: Lab) -> dict[str, tuple[int, int, bytes]]:
    """Return what stands beside the live file, and the file: inode, mode, content."""
    return {it.name: (it.lstat().st_ino, it.lstat().st_mode, it.read_bytes()) for it in lab.chain_file.parent.iterdir()}


@pytest.mark.fault(61, 62)
@pytest.mark.parametrize("name", ["link", "open-directory"])
def test_output_path_at_an_install(shared_lab: Lab, source: Path, name: str) -> None:
    """It is met when the install is due: critical with its hint, the old file and both records stay; once mended it goes on."""
    place, _, words, help_ = PLACES[name]
    old, new = served_leaf(shared_lab), shared_lab.certificate()
    before = shared_lab.primary.tlsa().records
    with steady_mail(shared_lab) as mail:
        with place(shared_lab):
            files = live_directory(shared_lab)
            fill_caches(shared_lab)
            replace_by(source, new)
            shared_lab.rollover("deploy", source / "fullchain.pem", source / "privkey.pem", check=0)
            it = advance_until(shared_lab, lambda it: "install-refused" in codes(it, "critical"))
            for _ in range(2):  # again and again
                done = shared_lab.rollover("advance", check=1)
                assert done.stderr == ""
                found = problem(left_by_advance(), "install-refused")
                assert words in found["message"]
                assert help_ in found["hint"]
                assert "install-refused" in shared_lab.rollover("status", "--fresh", check=2).stdout, "no look meets it"
                assert live_directory(shared_lab) == files
                assert served_leaf(shared_lab) == old
                assert shared_lab.primary.tlsa().records == tuple(sorted((*before, new.tlsa)))
            assert it["phase"] == "installing"
        advance_until(shared_lab, lambda it: it["phase"] == "steady")
        only_serves(shared_lab, new)
    nothing_deferred(shared_lab, mail())


def test_deploy_of_a_ready_key_onto_a_link(shared_lab: Lab, source: Path) -> None:
    """Its install is due within `deploy`: the link and where it leads stay, critical with its hint; mended, it goes on."""
    *_, words, help_ = PLACES["link"]
    served, new = served_leaf(shared_lab), shared_lab.certificate(reuse_key_of=Certificate(source))
    before = shared_lab.primary.tlsa().records
    with elsewhere(shared_lab):
        files, target = live_directory(shared_lab), shared_lab.chain_file.readlink()
        behind = (target.lstat().st_ino, target.lstat().st_mode, target.read_bytes())
        shared_lab.deploy(new, "--service", "mail", check=0)  # kept; what is wrong is not the certificate
        if "install-refused" not in codes(left_by_advance()):  # a server was slow: left to the next tick
            advance_until(shared_lab, lambda it: "install-refused" in codes(it) or served_leaf(shared_lab) != served)
        found = problem(left_by_advance(), "install-refused")
        assert (found["level"], words in found["message"], help_ in found["hint"]) == ("critical", True, True)
        assert shared_lab.rollover("status").returncode == 2
        assert live_directory(shared_lab) == files
        assert shared_lab.chain_file.readlink() == target
        assert (target.lstat().st_ino, target.lstat().st_mode, target.read_bytes()) == behind
        assert served_leaf(shared_lab) == served
        assert shared_lab.primary.tlsa().records == before
    advance_until(shared_lab, lambda it: it["phase"] == "steady")
    assert served_leaf(shared_lab) == new.fingerprint
    assert shared_lab.primary.tlsa().records == before
    replace_by(source, new)


@pytest.mark.parametrize("name", ["link", "directory-of-somebody", "read-only"])
def test_output_path_at_adopt(start_lab: Callable[..., Lab], name: str) -> None:
    """`adopt` meets it at once: 77 or 73 in two lines, Postfix and DNS as before; once mended, `adopt` succeeds."""
    lab, (place, exits, words, help_) = start_lab(ttl=TTL, senders=False), PLACES[name]
    lab.chain_file.write_text("somebody's\n")
    with place(lab):
        files, main_cf = live_directory(lab), (lab.mx.config_directory / "main.cf").read_bytes()
        message, hint = two_lines(lab.rollover("adopt", "mail", check=exits).stderr)
        assert words in message
        assert help_ in hint
        assert live_directory(lab) == files
        assert (lab.mx.config_directory / "main.cf").read_bytes() == main_cf
        assert served_leaf(lab) == lab.old.fingerprint
        assert lab.primary.tlsa().records == (lab.old.tlsa,)
    lab.rollover("adopt", "mail", check=0)
    assert str(lab.chain_file) in lab.mx.get("smtpd_tls_chain_files")
