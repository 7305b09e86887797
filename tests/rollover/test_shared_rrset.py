"""Two names lead to one RRset: one rollover of both, and the old record stays until the last of them has switched."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.lab import Lab, endpoint
from tests.lab import addresses as at
from tests.lab.postfix import Mx
from tests.rollover.driving import (
    advance_to_full_wait,
    advance_until,
    at_the_worst_moment,
    codes,
    fill_caches,
    hand_over,
    history,
    nothing_deferred,
    steady_mail,
    to_the_end,
)

TTL, CNAME_TTL = 2, 4
TARGET = at.CNAME_TARGET
NAMES = ("mail.example.test", "mx2.example.test")
OTHER = "_25._tcp.mx2.example.test."
ZONE = f"mx2.example.test. A {at.MX_SECOND}\n@ MX 10 mx2.example.test.\n{OTHER} {CNAME_TTL} CNAME {TARGET}"


def describe(lab: Lab, second: Mx) -> Path:
    """Write a service of two hosts with a Postfix each; return the file without which the second is not reloaded."""
    go = lab.directory / "go"
    reload = lab.directory / "reload"
    reload.write_text(f"#!/bin/sh\n[ -e {go} ] && exec postfix -c {second.config_directory} reload\n")
    reload.chmod(0o755)
    tls = second.directory / "tls"
    install = [
        {"kind": "postfix", "chain_file": str(lab.chain_file), "config_directory": str(lab.mx.config_directory)},
        {"kind": "command", "cert_file": f"{tls}/cert.pem", "key_file": f"{tls}/key.pem", "reload": [str(reload)]},
    ]
    spans = {"check_every": "1s", "retain": "1s", "drain": "1s", "verify_timeout": "5m"}
    lab.configure(hosts=list(NAMES), install=install, **spans)
    return go


@pytest.mark.fault(35)
@pytest.mark.lab(ttl=TTL, owner="cname", cname_ttl=CNAME_TTL, extra=ZONE)
def test_two_names_share_one_rrset(lab: Lab) -> None:
    """One record comes and one goes, once each, at the target of both CNAMEs; it goes when the slower one has switched."""
    second = lab.second_mx(lab.old)
    go = describe(lab, second)
    go.touch()
    lab.rollover("adopt", "mail", check=0)
    go.unlink()
    new = lab.certificate(names=NAMES)
    both = tuple(sorted((lab.old.tlsa, new.tlsa)))

    with steady_mail(lab) as mail:
        with at_the_worst_moment(lab, target=TARGET):
            hand_over(lab, new, target=TARGET)
        fill_caches(lab, OTHER, TARGET)
        advance_to_full_wait(lab, CNAME_TTL)
        assert {lab.served(), endpoint.served(at.MX_SECOND, 25)} == {lab.old.spki}

        advance_until(lab, lambda it: "install-refused" in codes(it))
        for _ in range(3):  # longer than `retain` and `drain`
            lab.rollover("advance", "mail")
        assert (lab.served(), endpoint.served(at.MX_SECOND, 25)) == (new.spki, lab.old.spki)
        assert lab.primary.tlsa(TARGET).records == both

        go.touch()
        to_the_end(lab)
        assert {lab.served(), endpoint.served(at.MX_SECOND, 25)} == {new.spki}
    assert lab.primary.tlsa(TARGET).records == (new.tlsa,)
    assert {lab.resolver.ask(name, "CNAME").rrset.records for name in (at.OWNER, OTHER)} == {(TARGET,)}
    kinds = [event["kind"] for event in history(lab)]
    assert (kinds.count("published"), kinds.count("withdrawn")) == (1, 1), kinds
    nothing_deferred(lab, mail())
    for name in NAMES:
        assert any(f"to {name}[" in event.text for event in lab.mail.events if event.kind == "Verified"), name
