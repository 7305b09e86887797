"""Services of other shapes than one host, one port, one Postfix: each key of a service passes through a rollover."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest

from tests.lab import Certificate, Lab, wait_for
from tests.lab import addresses as at
from tests.lab.command import toml
from tests.lab.zones import owner
from tests.rollover.driving import (
    advance_to,
    advance_until,
    fill_caches,
    forget_caches,
    history,
    left_by_advance,
    nothing_deferred,
    steady_mail,
    told_wait,
    two_lines,
)
from tests.servers.mail_support import dovecot

TTL = 2
SETTLE = 3
ROUNDED_UP = 3  # seconds that resolver and sender add to a TTL
PORTS = (25, 465, 993)
OTHER_HOST = "mail.dane.test."
OWNERS = tuple(owner(port, host) for host in (at.HOST, OTHER_HOST) for port in PORTS)
NAMES = ("mail.example.test", "mail.dane.test")


def in_dns(lab: Lab) -> dict[str, set[tuple[str, ...]]]:
    """Return the records at each owner, as each of the two servers has them."""
    return {name: {server.tlsa(name).records for server in (lab.primary, lab.secondary)} for name in OWNERS}


def only(*certificates: Certificate) -> dict[str, set[tuple[str, ...]]]:
    """Return what in_dns() gives when these are published everywhere, each with both records of the service."""
    records = sorted(c.record(3, 1, matching) for c in certificates for matching in (1, 2))
    return {name: {tuple(records)} for name in OWNERS}


def presented(lab: Lab) -> set[str]:
    """Return the keys that are presented at every port, with each name and without one."""
    return {lab.served(port=port, sni=sni) for port in PORTS for sni in (*NAMES, None)}


def second_zone(lab: Lab) -> None:
    """Make the other host an MX as well, in a zone that has another key; the tool's key there may write its owners."""
    owners = [owner(port, OTHER_HOST) for port in PORTS]
    lab.primary.reconfigure(dane_update_policy="\n".join(f"grant dane-key name {name} TLSA;" for name in owners))
    lines = [f"update add {OTHER_HOST} {TTL} A {at.MX}"]
    lines += [f"update add {name} {TTL} TLSA {lab.old.tlsa}" for name in owners]
    lab.primary.update("\n".join(lines), at.DANE_DOMAIN)
    wait_for(lambda: lab.secondary.tlsa(owners[-1]), "the secondary follows")
    forget_caches(lab)


def describe(lab: Lab, live: Path, reload: Path) -> None:
    """Write the configuration: the service in a file of services.d, Postfix and Dovecot in it."""
    dovecots = {"cert_file": live / "dovecot.crt", "key_file": live / "dovecot.key", "reload": [str(reload)]}
    zone = {"name": "dane.test", "primary": at.PRIMARY, "tsig_key": str(lab.dane_key.path)}
    service = {
        "hosts": list(NAMES),
        "ports": list(PORTS),
        "records": ["3 1 1", "3 1 2"],
        "ttls_to_wait": 1,
        "retain": "1s",
        "drain": "1s",
        "check_every": "1s",
        "verify_timeout": "30s",
        "trust": str(lab.trust_file),
        "install": [
            {
                "kind": "postfix",
                "chain_file": str(lab.chain_file),
                "config_directory": str(lab.mx.config_directory),
            },
            {"kind": "command", "owner": "root", "group": "mail", "mode": "0640", **dovecots},
        ],
    }
    lab.configure(zone=[zone], settle=f"{SETTLE}s", services={"mail": None})
    (lab.config_file.parent / "services.d").mkdir()
    (lab.config_file.parent / "services.d" / "mail.toml").write_text(toml({"services": {"mail": service}}))


@pytest.mark.lab(ttl=TTL, ports=PORTS, extra=f"@ MX 10 {OTHER_HOST}")
def test_two_zones_three_ports_two_daemons(lab: Lab) -> None:
    """Nothing is installed before both zones are ready; then every endpoint is proven, every old record withdrawn."""
    live = lab.directory / "imap"
    live.mkdir(mode=0o755)
    reload, done = live / "reload", live / "reloads"
    reload.write_text(f"#!/bin/sh\necho reload >>{done}\nexec doveadm -c {lab.directory}/dovecot/dovecot.conf reload\n")
    reload.chmod(0o755)
    crt, key = live / "dovecot.crt", live / "dovecot.key"
    crt.write_bytes(lab.old.fullchain.read_bytes())
    key.touch(mode=0o600)
    key.write_bytes(lab.old.privkey.read_bytes())
    second_zone(lab)
    describe(lab, live, reload)
    new = lab.certificate(names=NAMES)

    with dovecot(lab.directory / "dovecot", crt, key, at.MX):
        lab.rollover("adopt", "mail", check=0)
        advance_to(lab, "steady")
        wait_for(lambda: in_dns(lab) == only(lab.old), "both records of what is served")
        assert presented(lab) == {lab.old.spki}
        done.unlink(missing_ok=True)

        lab.secondary.stop_transfers(at.DANE_DOMAIN)
        with steady_mail(lab):
            for name in OWNERS:
                fill_caches(lab, name)
            lab.deploy(new, check=0)
            both = only(lab.old, new)
            mine = {name: records for name, records in both.items() if name.endswith(at.DOMAIN)}
            advance_until(lab, lambda _: mine.items() <= in_dns(lab).items())  # one zone has them everywhere
            over = time.monotonic() + TTL + ROUNDED_UP + SETTLE + 1  # by then that zone alone would be ready
            late = advance_until(lab, lambda _: time.monotonic() > over)
            assert late["phase"] == "propagating"
            assert "ns2.example.test" in late["summary"]
            assert in_dns(lab) != both
            assert presented(lab) == {lab.old.spki}
            assert crt.read_bytes() == lab.old.fullchain.read_bytes()
            assert not done.exists()

            for name in OWNERS:
                fill_caches(lab, name)
            lab.secondary.resume_transfers()
            waiting = advance_to(lab, "waiting", every=0)
            assert in_dns(lab) == both
            assert 0 <= TTL + ROUNDED_UP + SETTLE - told_wait(waiting) <= 1, "what may be held, and the time to settle"
            advance_to(lab, "retaining", "withdrawing", "steady")
            assert presented(lab) == {new.spki}
            assert (crt.stat().st_mode & 0o777, key.stat().st_mode & 0o777, key.group()) == (0o644, 0o640, "mail")
            assert done.exists()
            advance_to(lab, "steady")

        wait_for(lambda: in_dns(lab) == only(new), "the old records are gone everywhere")
        assert presented(lab) == {new.spki}
    active = [e for e in history(lab) if e["kind"] == "active"][-1]
    assert active["fingerprint"] == new.fingerprint
    assert len(active["endpoints"]) == len(NAMES) * len(PORTS) + len(PORTS), active
    nothing_deferred(lab)
    for name in NAMES:
        assert any(f"to {name}[" in event.text for event in lab.mail.events if event.kind == "Verified"), name


def beside(*certificates: Certificate) -> set[tuple[str, ...]]:
    """Return what both servers show of one owner when these are published there, each by a record "3 1 1"."""
    return {tuple(sorted(certificate.tlsa for certificate in certificates))}


@pytest.mark.fault(40)
@pytest.mark.lab(ttl=TTL, chain_file=True)
def test_rsa_beside_ecdsa(lab: Lab) -> None:
    """Two services at one owner: each is adopted by its key type, and a rollover of one leaves the other's record."""
    ecdsa, rsa = lab.old, lab.certificate(key="rsa")
    lab.configure(retain="1s", drain="1s")
    files = {"ecdsa": lab.chain_file.parent / "ecdsa.pem", "mail": lab.chain_file}
    for certificate, path in zip((ecdsa, rsa), files.values(), strict=True):
        path.touch(mode=0o600)
        path.write_bytes(certificate.privkey.read_bytes() + certificate.fullchain.read_bytes())
    install = {"kind": "postfix", "chain_file": str(files["ecdsa"]), "config_directory": str(lab.mx.config_directory)}
    other = {"hosts": ["mail.example.test"], "trust": str(lab.trust_file), "install": [install]}
    lab.configure(retain="1s", drain="1s", services={"ecdsa": other})
    lab.primary.update(f"update add {at.OWNER} {TTL} TLSA {rsa.tlsa}")

    def published() -> set[tuple[str, ...]]:
        return {server.tlsa().records for server in (lab.primary, lab.secondary)}

    wait_for(lambda: published() == beside(ecdsa, rsa), "both have a record")
    forget_caches(lab)
    lab.mx.postconf(f"smtpd_tls_chain_files={files['ecdsa']}")
    lab.mx.reload()
    lab.rollover("adopt", "ecdsa", check=0)
    message, hint = two_lines(lab.rollover("adopt", "mail", check=78).stderr)
    assert str(files["ecdsa"]) in message, "what is another service's is not taken over"
    lab.mx.postconf(re.search(r"'(smtpd_tls_chain_files = .*)'", hint)[1])
    lab.mx.reload()
    wait_for(lambda: lab.served(algorithm="rsa") == rsa.spki, "the hint was followed")
    lab.rollover("adopt", "mail", check=0)
    advance_to(lab, "steady")
    assert published() == beside(ecdsa, rsa)

    only_rsa = lab.senders[1].postfix  # up to TLS 1.2 a client says by the cipher which key it takes
    only_rsa.postconf("smtp_tls_mandatory_protocols=TLSv1.2", "smtp_tls_mandatory_exclude_ciphers=aECDSA")
    only_rsa.reload()
    new = lab.certificate(key="rsa")
    with steady_mail(lab):
        fill_caches(lab)
        said = lab.deploy(new, check=0).stdout
        assert "ecdsa" not in said
        advance_to(lab, "steady")
    assert (lab.served(algorithm="rsa"), lab.served(algorithm="ecdsa")) == (new.spki, ecdsa.spki)
    wait_for(lambda: published() == beside(ecdsa, new), "the old RSA record is gone, the other one is there")
    lab.rollover("advance", check=0)
    assert {left_by_advance(name)["phase"] for name in files} == {"steady"}
    assert published() == beside(ecdsa, new)
    nothing_deferred(lab)
    ciphers = {
        "RSA" if "server-signature RSA" in e.text or "ECDHE-RSA" in e.text else "ECDSA"
        for e in lab.mail.events
        if e.kind == "Verified"
    }
    assert ciphers == {"RSA", "ECDSA"}, "mail was sent by both"
