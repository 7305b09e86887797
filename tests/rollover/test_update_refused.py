"""An update that the primary does not take: its own error and hint each, nothing changed, nothing lost."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.lab import Lab
from tests.lab import addresses as at
from tests.lab.certificates import Certificate
from tests.rollover.driving import (
    advance_to_full_wait,
    alone_in_dns,
    at_the_worst_moment,
    codes,
    hand_over_and_hear,
    left_by_advance,
    nothing_deferred,
    problem,
    settled_serial,
    steady_mail,
    to_the_end,
    untouched,
    whole_rrset,
)

TTL = 2
LAB_OPTIONS = {"ttl": TTL}
SETTINGS = {"check_every": "30s", "retain": "1s", "drain": "1s"}


@dataclass
class Fault:
    """One way in which updates fail, and what must be said about it.

    *configured*: changes of the configuration. *hurt* is done before, *heal* does what the hint
    says, with the hint in hand. *offset*: how wrong the clock of the mail host is meanwhile.
    *exits*: exit code of a tick that meets it.
    """

    code: str
    words: str
    hint: str
    configured: Callable[[Lab], dict[str, Any]] = lambda lab: {}
    hurt: Callable[[Lab], None] = lambda lab: None
    heal: Callable[[Lab, str], None] = lambda lab, hint: None
    offset: str | None = None
    level: str = "warning"
    exits: int = 75


def copy_the_key(lab: Lab, hint: str) -> None:
    """Put the primary's key statement into the file that tsig_key names, as the hint asks."""
    assert "tsig_key" in hint
    configured = re.search(r'^tsig_key = "(.*)"', lab.config_file.read_text(), re.MULTILINE)
    assert configured is not None
    wrong = Path(configured[1])
    assert wrong != lab.tsig_key.path
    shutil.copyfile(lab.tsig_key.path, wrong)


def grant(lab: Lab, hint: str) -> None:
    """Give named the grant that the hint prints, word for word."""
    found = re.search(r"`(grant [^`]+;)`", hint)
    assert found is not None, hint
    lab.primary.reconfigure(update_policy=found[1])


FAULTS = {
    "wrong-secret": Fault(
        "tsig-badsig",
        "has another secret for TSIG key rollover-key: BADSIG",
        "copy the key statement of rollover-key from named.conf on 127.0.0.53",
        configured=lambda lab: {"tsig_key": str(lab.tsig_key.with_wrong_secret().path)},
        heal=copy_the_key,
    ),
    "wrong-algorithm": Fault(
        "tsig-badkey",
        "does not know TSIG key rollover-key with algorithm hmac-sha512: BADKEY",
        "the key statement of rollover-key in named.conf on 127.0.0.53 must be the same",
        configured=lambda lab: {"tsig_key": str(lab.tsig_key.with_wrong_algorithm().path)},
        heal=copy_the_key,
    ),
    "unknown-key": Fault(
        "tsig-badkey",
        "does not know TSIG key nobody-key with algorithm hmac-sha256: BADKEY",
        "the key statement of nobody-key in named.conf on 127.0.0.53 must be the same",
        configured=lambda lab: {"tsig_key": str(lab.tsig_key.with_unknown_name().path)},
        heal=copy_the_key,
    ),
    "clock-ahead": Fault("clock", "clocks differ: ", "set it by NTP", offset="+400s", level="critical", exits=1),
    "clock-behind": Fault("clock", "clocks differ: ", "set it by NTP", offset="-400s", level="critical", exits=1),
    "not-granted": Fault(
        "update-refused",
        "update of zone example.test. refused by 127.0.0.53: REFUSED",
        f"grant: `grant rollover-key name {at.OWNER} TLSA;`",
        hurt=lambda lab: lab.primary.reconfigure(update_policy=""),
        heal=grant,
    ),
    "frozen": Fault(
        "update-refused",
        "update of zone example.test. refused by 127.0.0.53: REFUSED",
        "if the zone is frozen, thaw it",
        hurt=lambda lab: lab.primary.freeze(),
        heal=lambda lab, _hint: lab.primary.thaw(),
    ),
}


@pytest.fixture
def host(shared_lab: Lab) -> Lab:
    """The shared lab, adopted, with nothing under way."""
    shared_lab.configure(**SETTINGS)
    if not shared_lab.chain_file.exists():
        shared_lab.rollover("adopt", "mail", check=0)
    return shared_lab


@pytest.mark.fault(8, 9, 10, 11)
@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_refused(host: Lab, fault: Fault) -> None:
    """The error and its hint come out of `deploy` and `status`; what the hint says helps; nothing is lost."""
    served, new = host.served(), host.certificate()
    fingerprint, spki, record = new.fingerprint, new.spki, new.tlsa
    with steady_mail(host) as mail:
        fault.hurt(host)
        settled_serial(host)
        host.configure(**SETTINGS | fault.configured(host))
        with untouched(host, but_state=True):
            done = hand_over_and_hear(host, new, offset=fault.offset)
            shutil.rmtree(new.directory)  # what the ACME client does with its own files is its affair
            assert f"mail: certificate {fingerprint[:16]} is " in done.stdout
            warning, hint = done.stderr.splitlines()
            assert warning.startswith("rollover: warning: mail: "), done.stderr
            assert fault.words in warning
            assert "the certificate is kept" in warning
            assert hint.startswith("rollover: hint: "), done.stderr
            assert fault.hint in hint

            host.rollover("advance", check=fault.exits, offset=fault.offset)
            it = left_by_advance()
            found = problem(it, fault.code)
            assert fault.words in found["message"]
            assert fault.code in host.rollover("status", "--fresh", offset=fault.offset).stdout
            assert fault.hint in found["hint"]
            assert found["level"] == fault.level
            assert it["level"] == fault.level

        with at_the_worst_moment(host):
            fault.heal(host, found["hint"])
            advance_to_full_wait(host, TTL)
        assert host.served() == served
        to_the_end(host)
        assert host.served() == spki
        whole_rrset(host, record)
        assert fault.code not in codes(left_by_advance())
        host.primary.reconfigure()
    nothing_deferred(host, mail())


@pytest.mark.fault(2)
@pytest.mark.lab(ttl=TTL)
def test_noerror_and_not_applied(lab: Lab) -> None:
    """A limit `TLSA(1)` drops the record under NOERROR: reading back shows it, and nothing is installed."""
    lab.configure(**SETTINGS)
    lab.rollover("adopt", "mail", check=0)
    new: Certificate = lab.certificate()
    lab.primary.reconfigure(update_policy=f"grant rollover-key name {at.OWNER} TLSA(1);")
    with steady_mail(lab) as mail:
        done = hand_over_and_hear(lab, new)
        assert "answered NOERROR and did not do it" in done.stderr
        assert "TLSA(1)" in done.stderr.splitlines()[1]
        lab.rollover("advance", check=1)
        it = left_by_advance()
        found = problem(it, "update-not-applied")
        assert found["level"] == it["level"] == "critical"
        assert at.OWNER in found["message"]
        assert it["phase"] == "blocked"
        assert (lab.served(), lab.primary.tlsa().records) == (lab.old.spki, (lab.old.tlsa,))
        assert "nsupdate" in lab.rollover("history", "mail", check=0).stdout
        with at_the_worst_moment(lab):
            lab.primary.reconfigure()
            advance_to_full_wait(lab, TTL)
        to_the_end(lab)
    assert lab.served() == new.spki
    alone_in_dns(lab, new)
    nothing_deferred(lab, mail())


@pytest.mark.fault(9)
@pytest.mark.lab(ttl=TTL, senders=False, ports=(25, 587))
def test_one_grant_that_is_missing_holds_back_one_owner(lab: Lab) -> None:
    """Both owners go in one update; where one of them is not granted the other still gets its record, and is named right."""
    lab.configure(**SETTINGS)
    lab.rollover("adopt", "mail", check=0)
    new = lab.certificate()
    submission = f"_587._tcp.{at.HOST}"
    lab.primary.reconfigure(update_policy=f"grant rollover-key name {at.OWNER} TLSA;")
    done = hand_over_and_hear(lab, new)
    assert f"grant rollover-key name {submission} TLSA;" in done.stderr
    assert f"name {at.OWNER} TLSA;" not in done.stderr
    assert set(lab.primary.tlsa().records) == {lab.old.tlsa, new.tlsa}
    assert lab.primary.tlsa(submission).records == (lab.old.tlsa,)

    lab.rollover("advance", check=75)
    assert problem(left_by_advance(), "update-refused")["message"].startswith("update of zone example.test. refused")
    assert lab.served() == lab.old.spki
    lab.primary.reconfigure()
    to_the_end(lab)
    assert lab.served() == new.spki
    assert lab.primary.tlsa(submission).records == (new.tlsa,) == lab.primary.tlsa().records
