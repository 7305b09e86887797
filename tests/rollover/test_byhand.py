"""A person finishes a blocked rollover with the commands that `history` prints, word for word."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.lab import Lab, wait_for
from tests.lab import addresses as at
from tests.rollover.driving import (
    advance_to,
    fill_caches,
    left_by_advance,
    nothing_deferred,
    problem,
    steady_mail,
)

TTL = 2
SUBMISSION = "_587._tcp.mail.example.test."
FOREIGN = "3 1 2 " + "cd" * 64
HEADLINE = "# To finish by hand."


def run(lab: Lab, script: str) -> str:
    """Let a shell run *script* as root would type it; return what it printed."""
    path = f"{Path(sys.prefix) / 'bin'}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "ROLLOVER_CONFIG": str(lab.config_file)}
    done = subprocess.run(
        ["sh", "-u", "-c", script], env=environment, capture_output=True, text=True, check=False, timeout=120
    )
    assert (done.returncode, done.stderr) == (0, ""), f"{script}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def zone_of(command: str) -> str:
    """Return the zone of one call of nsupdate(1)."""
    (zone,) = (line.split()[1] for line in command.splitlines() if line.startswith("zone "))
    return zone


@pytest.mark.lab(ttl=TTL, owner="cname-other-zone", ports=(25, 587), foreign=(FOREIGN,))
def test_the_printed_commands_end_a_blocked_rollover(lab: Lab) -> None:
    """Owners in two zones with a key each, beside somebody's `3 1 2`: nothing is deferred to the end."""
    target = at.DANE_TARGET
    there = tuple(sorted((lab.old.tlsa, lab.old.record(3, 1, 2), FOREIGN)))
    lab.primary.update("\n".join(f"update add {target} {TTL} TLSA {r}" for r in there), at.DANE_DOMAIN)
    wait_for(lambda: lab.secondary.tlsa(target).records == there, "the secondary follows")
    lab.configure(check_every="30s", retain="1s", drain="1s")
    for resolver in lab.resolvers:
        resolver.flush()
    lab.rollover("adopt", "mail", check=0)
    new = lab.certificate()
    lab.primary.reconfigure(dane_update_policy=f"grant dane-key name {target} TLSA({len(there)});")
    with steady_mail(lab) as mail:
        lab.deploy(new, check=0)
        lab.rollover("advance", check=1)
        assert left_by_advance()["phase"] == "blocked"
        assert problem(left_by_advance(), "update-not-applied")
        lab.primary.reconfigure()  # so that a person with the same key can

        script = lab.rollover("history", "mail", check=0).stdout.partition(HEADLINE)[2].partition("\n")[2]
        publishing, mark, rest = script.partition("# 2. ")
        sent = [command for command in publishing.split("nsupdate ")[1:] if "update add" in command]
        assert [zone_of(command) for command in sent] == [at.DANE_DOMAIN], script
        assert str(lab.dane_key.path) in sent[0]
        fill_caches(lab, target=target)
        run(lab, publishing)
        both = tuple(sorted((*there, new.tlsa, new.record(3, 1, 2))))
        assert lab.primary.tlsa(target).records == both
        wait_for(lambda: lab.secondary.tlsa(target).records == both, "the secondary follows")
        assert lab.served() == lab.old.spki

        told = run(lab, mark + rest)
        assert lab.served() == new.spki
        assert f"OK mail.example.test {lab.mx.address}:25: DANE senders deliver" in told
        advance_to(lab, "steady")
    nothing_deferred(lab, mail())
    assert left_by_advance()["problems"] == []
    assert lab.primary.tlsa(target).records == tuple(sorted((new.tlsa, new.record(3, 1, 2), FOREIGN)))
    assert lab.primary.tlsa(SUBMISSION).records == (new.tlsa,)
