"""Faults of this host: a state from a backup, a source that went, nobody who listens, a key that must not come back.

The numbers are those of docs/faults.md.
"""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
from pathlib import Path

import pytest

from tests.lab import Lab
from tests.lab.command import program
from tests.rollover.driving import (
    advance_to,
    advance_until,
    codes,
    hand_over,
    left_by_advance,
    nothing_deferred,
    only_serves,
    problem,
    steady_mail,
    to_the_end,
    two_lines,
    untouched,
)
from tests.rollover.scene import due

TTL = 2
SPANS = {"check_every": "30s", "retain": "1s", "drain": "1s", "verify_timeout": "5s"}


@pytest.mark.fault(69)
@pytest.mark.lab(ttl=TTL)
def test_a_state_from_a_backup(lab: Lab) -> None:
    """The state of before a rollover comes back after it: what is served is not matched by guessing, and no mail is deferred.

    The lineage has what is served: it is known again, and the state goes by what is seen. See machine.decide, intake.scan_sources.
    """
    source = lab.directory / "lineage"
    shutil.copytree(lab.old.directory, source)
    lab.configure(**SPANS, source=str(source))
    lab.rollover("adopt", "mail", check=0)
    lab.rollover("advance", "mail", check=0)
    kept = lab.directory / "kept"
    shutil.copytree(lab.state_directory, kept)
    new = lab.certificate()
    with steady_mail(lab) as mail:
        shutil.rmtree(source)
        shutil.copytree(new.directory, source)
        lab.rollover("advance", "mail")
        to_the_end(lab)
        only_serves(lab, new)
        shutil.rmtree(lab.state_directory)
        shutil.copytree(kept, lab.state_directory)
        lab.rollover("advance", "mail")
        assert new.tlsa in lab.primary.tlsa().records
        assert lab.served() == new.spki
        to_the_end(lab)
        only_serves(lab, new)
    nothing_deferred(lab, mail())


@pytest.mark.fault(46)
@pytest.mark.lab(ttl=TTL, senders=False)
def test_a_lineage_that_is_deleted(lab: Lab) -> None:
    """The source goes, as when an order gets another name: what is served stays, it is told until it is back.

    See intake.scan_sources.
    """
    source = lab.directory / "lineage"
    shutil.copytree(lab.old.directory, source)
    lab.configure(**SPANS, source=str(source))
    lab.rollover("adopt", "mail", check=0)
    lab.rollover("advance", "mail", check=0)
    assert left_by_advance()["problems"] == []
    source.rename(source.with_name("renamed"))
    for _ in range(2):
        lab.rollover("advance", "mail", check=0)
        found = problem(left_by_advance(), "source-rejected")
        assert found["level"] == "warning"
        assert f"{source} has no certificate any more" in found["message"]
        assert lab.served() == lab.old.spki
    source.with_name("renamed").rename(source)
    lab.rollover("advance", "mail", check=0)
    assert left_by_advance()["problems"] == []


@pytest.mark.fault(72)
@pytest.mark.lab(ttl=TTL, senders=False)
def test_nobody_can_be_told(lab: Lab) -> None:
    """With output, alerts and the file for monitoring all failing, what is due is done all the same.

    See alert.raise_alerts, status.publish_status.
    """
    lab.configure(**SPANS, alert={"command": ["false"]})
    lab.rollover("adopt", "mail", check=0)
    new = lab.certificate()
    hand_over(lab, new)
    due(lab, "waiting")
    published = Path("/run/rollover")
    shutil.rmtree(published)
    published.touch()  # a file where the directory should be
    try:
        with Path("/dev/full").open("w") as full:
            done = subprocess.run(
                program(lab.config_file, "advance", "mail"),
                stdout=full,
                stderr=full,
                check=False,
                timeout=120,
            )
        assert done.returncode in {0, 73, 75}, done
    finally:
        published.unlink()
    assert lab.served() == new.spki
    to_the_end(lab)
    only_serves(lab, new)
    assert "run-failed" not in codes(left_by_advance())


@pytest.mark.fault(39)
@pytest.mark.lab(ttl=TTL, senders=False)
def test_a_key_that_was_revoked(lab: Lab) -> None:
    """A certificate for a key that was marked as revoked is refused with 65, whatever else is right with it.

    See refuse.refuse.
    """
    lab.configure(**SPANS)
    lab.rollover("adopt", "mail", check=0)
    bad = lab.certificate()
    hand_over(lab, bad)
    advance_to(lab, "waiting", every=0)
    lab.rollover("rollback", "mail", check=0)
    with sqlite3.connect(lab.state_directory / "rollover.db") as database:
        database.execute("UPDATE standing SET state = 'revoked' WHERE fingerprint = ?", (bad.fingerprint,))
    database.close()
    again = lab.certificate(reuse_key_of=bad)
    with untouched(lab):
        message, hint = two_lines(lab.deploy(again, "--service", "mail", check=65).stderr)
        assert message == f"the key of certificate {again.fingerprint[:16]} was revoked"
        assert "with a new key" in hint
    advance_until(lab, lambda _: lab.primary.tlsa().records == (lab.old.tlsa,))
