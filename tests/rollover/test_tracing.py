"""The kill tests stand on this: points are read from an strace, and a kill comes exactly there."""

from __future__ import annotations

import shutil

from tests.lab import Lab
from tests.rollover.driving import service
from tests.rollover.tracing import COMMIT, INSTALL, RELOAD, SIDES, effect_of, killed_at, trace

LAB_OPTIONS = {"ttl": 2, "senders": False}


def _fresh(lab: Lab) -> None:
    """Make the host as it was before the first adopt."""
    shutil.rmtree(lab.state_directory, ignore_errors=True)
    for path in lab.chain_file.parent.iterdir():
        path.unlink()
    tls = lab.mx.directory / "tls"
    lab.mx.postconf(
        "smtpd_tls_chain_files=", f"smtpd_tls_cert_file={tls}/cert.pem", f"smtpd_tls_key_file={tls}/key.pem"
    )


def _reloads(lab: Lab) -> int:
    return sum("refreshing the Postfix" in line for line in lab.mx.log_lines())


def test_a_kill_comes_before_or_after_the_call_and_nowhere_else(shared_lab: Lab) -> None:
    """Killed before the rename the live file is not there, killed after it is; so it is with a program."""
    lab = shared_lab
    found = trace(lab, "adopt", "mail")
    assert found.done.returncode == 0, found.done.stderr
    effects = [effect_of(p) for p in found.points]
    for needed in (INSTALL, COMMIT, RELOAD, "execve postconf -c -e", "fsync live", "openat state/rollover.db"):
        assert needed in effects, "\n".join(found.points)
    (renames,) = (p for p in found.points if effect_of(p) == INSTALL)
    reloads = next(p for p in found.points if effect_of(p) == RELOAD)

    for side in SIDES:
        _fresh(lab)
        end = killed_at(lab, [(renames, side)], found, "adopt", "mail")
        assert (end.fired, end.code) == ((renames, side), -9), end
        left = {path.name for path in lab.chain_file.parent.iterdir()}
        assert ("mail.pem" in left) == (side == "after"), left
        assert any(name.startswith(".mail.pem.rollover-") for name in left) == (side == "before"), left

        _fresh(lab)
        before = _reloads(lab)
        end = killed_at(lab, [(reloads, side)], found, "adopt", "mail")
        assert (end.fired, end.code) == ((reloads, side), -9), end
        assert _reloads(lab) == before + (side == "after")


def test_a_point_that_never_comes_kills_nothing(shared_lab: Lab) -> None:
    """A target that a run does not come to leaves the run alone, and that is told."""
    lab = shared_lab
    lab.rollover("adopt", "mail", check=0)
    found = trace(lab, "advance", "mail")
    end = killed_at(lab, [("start | rmdir state | 1", "after")], found, "advance", "mail")
    assert end.fired is None
    assert end.code == 0
    assert service(lab)["phase"] == "steady"
