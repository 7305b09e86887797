"""The key of a certificate that is no longer served: it can be neither removed nor read, and is in nobody's way.

The tool destroys no keys yet (SECURITY.md): a person removes the file. What cannot be done then changes nothing.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.lab import Certificate, Lab
from tests.lab.command import environment, program
from tests.rollover.driving import only_serves, tick, to_the_end, two_lines


@contextmanager
def irremovable(path: Path) -> Iterator[None]:
    """Let nobody remove *path*, root included: it is a mount point."""
    subprocess.run(["mount", "--no-mtab", "--bind", path, path], check=True)
    try:
        with pytest.raises(OSError, match="busy"):
            path.unlink()
        yield
    finally:
        subprocess.run(["umount", "--no-mtab", path], check=True)


def with_bad_disk(lab: Lab, path: Path, *words: str | Path) -> subprocess.CompletedProcess[str]:
    """Run the tool while every call that names *path* fails with an I/O error."""
    fault = ["strace", "-f", "-qq", "-o", lab.directory / "strace", "-P", path, "-e", "inject=%file,%desc:error=EIO"]
    return subprocess.run(
        [*fault, *program(lab.config_file, *words)],
        env=environment(None, {}),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def key_file(lab: Lab, certificate: Certificate) -> Path:
    return lab.state_directory / "vault" / "keys" / f"{certificate.spki}.pem"


@pytest.mark.fault(79)
@pytest.mark.lab(ttl=1, senders=False)
def test_an_old_key_that_cannot_be_removed_or_read(lab: Lab) -> None:
    """The next rollover ends as ever; only what needs that very key is refused, in words, and it changes nothing."""
    lab.configure(check_every="1s", retain="1s", drain="1s")
    lab.rollover("adopt", "mail", check=0)
    new, newer = lab.certificate(), lab.certificate()
    lab.deploy(new, check=0)
    to_the_end(lab)
    old = key_file(lab, lab.old)
    content = old.read_bytes()

    with irremovable(old):
        back = with_bad_disk(lab, old, "rollback", "mail")
        assert back.returncode == 65
        message, hint = two_lines(back.stderr)
        assert f"certificate {lab.old.fingerprint[:16]} or its key is not in the vault any more" in message
        assert "hand it over again" in hint
        tick(lab)
        only_serves(lab, new)

        for words in (("deploy", newer.fullchain, newer.privkey), ("advance", "--wait")):
            done = with_bad_disk(lab, old, *words)
            assert done.returncode == 0, done.stderr
        only_serves(lab, newer)

    assert old.read_bytes() == content
    assert key_file(lab, new).exists(), "no key is destroyed"
