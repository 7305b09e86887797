"""Faults of mail servers, and shapes of them that are not supported yet: named, the old record stays, nothing is deferred.

The numbers are those of docs/faults.md.
"""

from __future__ import annotations

import socket
import time

import pytest

from tests.lab import Certificate, Lab, wait_for
from tests.lab import addresses as at
from tests.lab.postfix import Mx
from tests.lab.process import run
from tests.rollover.driving import (
    Service,
    advance_to,
    advance_to_full_wait,
    advance_until,
    codes,
    hand_over,
    left_by_advance,
    only_serves,
    problem,
    to_the_end,
    two_lines,
    untouched,
)
from tests.rollover.scene import due

TTL = 2
SECONDS_TO_JUDGE = 3.5  # longer than verify_timeout
AWAY = "127.0.0.99"  # nothing listens there
SPANS = {"check_every": "30s", "retain": "1s", "drain": "1s", "verify_timeout": "3s"}


def adopted(lab: Lab, **changes: object) -> Certificate:
    """Let the tool take over; return the certificate that is to come."""
    lab.configure(**SPANS | changes)
    lab.rollover("adopt", "mail", check=0)
    return lab.certificate()


def ticked(lab: Lab) -> Service:
    """Run `advance mail` once, whatever it has to report; return the service then."""
    done = lab.rollover("advance", "mail")
    assert done.returncode in {0, 1, 75}, done
    return left_by_advance()


def both(lab: Lab, new: Certificate) -> set[str]:
    """Return the records of a rollover whose old certificate may still be presented."""
    return {lab.old.tlsa, new.tlsa}


def served_by(mx: Mx) -> str:
    """Return the key that one more mail server presents."""
    return Lab.running[0].served(mx.address)


def given(mx: Mx, certificate: Certificate) -> None:
    """Give one more mail server another certificate, and have it loaded."""
    tls = mx.directory / "tls"
    (tls / "key.pem").write_bytes(certificate.privkey.read_bytes())
    (tls / "cert.pem").write_bytes(certificate.fullchain.read_bytes())
    mx.reload()
    wait_for(lambda: served_by(mx) == certificate.spki, f"{mx.name} presents it")


@pytest.mark.fault(40, 54, 57, 58, 59, 70, 77)
@pytest.mark.lab(ttl=TTL, senders=False)
def test_every_address_counts(lab: Lab) -> None:
    """A second instance, an IPv6 address, one that cannot be reached: each alone keeps the old record in DNS.

    The new certificate has another key type, another host of the zone has a record of the same key, and after
    the end one backend comes back with the old certificate. See view.proven, memory.remember, changes.withdrawing.
    """
    other = "_25._tcp.mx2.example.test."
    lab.primary.reconfigure(update_policy="grant rollover-key zonesub TLSA;")
    lab.primary.update(f"update add {other} {TTL} TLSA {lab.old.tlsa}")
    new = lab.certificate(key="rsa")
    adopted(lab)
    second, ipv6 = lab.second_mx(lab.old, at.MX_SECOND), lab.second_mx(lab.old, at.MX_SECOND_IPV6)
    lab.configure(**SPANS, addresses=[at.MX, at.MX_SECOND, at.MX_SECOND_IPV6, AWAY])
    hand_over(lab, new)
    advance_to_full_wait(lab, TTL)
    advance_until(lab, lambda _: lab.served() == new.spki)

    def held_by(code: str, *addresses: str) -> None:
        """Assert that past every span the old record is there, and who is named for it."""
        it = ticked(lab)  # it stays for longer than retain and drain
        assert set(lab.primary.tlsa().records) == both(lab, new)
        told = [p["message"] for p in it["problems"] if p["code"] == code]
        assert {a for a in addresses if any(a in x for x in told)} == set(addresses), it

    advance_until(lab, lambda it: "endpoint-old" in codes(it, "critical"))
    held_by("endpoint-old", at.MX_SECOND, at.MX_SECOND_IPV6)
    given(second, new)
    held_by("endpoint-old", at.MX_SECOND_IPV6)
    given(ipv6, new)
    held_by("endpoint-unreachable", AWAY)
    lab.configure(**SPANS, addresses=[at.MX, at.MX_SECOND, at.MX_SECOND_IPV6])
    to_the_end(lab)
    only_serves(lab, new)
    assert lab.primary.tlsa(other).records == (lab.old.tlsa,), "another owner's, of the same key"

    given(second, lab.old)
    ticked(lab)
    assert set(lab.primary.tlsa().records) == both(lab, new), "what is presented is matched, at once"
    it = advance_until(lab, lambda it: "endpoint-old" in codes(it))
    assert at.MX_SECOND in problem(it, "endpoint-old")["message"]


@pytest.mark.fault(55)
@pytest.mark.lab(ttl=TTL, senders=False)
def test_a_table_of_certificates_by_name(lab: Lab) -> None:
    """An SNI table is refused by name before the adoption and before an install; one that comes later keeps the old record.

    See postfix.Postfix.wiring, postfix.Postfix.current_chain, view.proven.
    """
    table = lab.mx.directory / "sni"
    table.write_text(f"mail.example.test {lab.mx.directory}/tls/key.pem {lab.mx.directory}/tls/cert.pem\n")
    table.chmod(0o600)
    run(["postmap", "-c", lab.mx.config_directory, "-F", f"hash:{table}"])

    def switched(*, on: bool) -> None:
        lab.mx.postconf(f"tls_server_sni_maps={f'hash:{table}' if on else ''}")
        lab.mx.reload()

    lab.configure(**SPANS)
    switched(on=True)
    with untouched(lab, but_state=True):
        message, hint = two_lines(lab.rollover("adopt", "mail", check=78).stderr)
        assert message.startswith(f"tls_server_sni_maps is set (hash:{table}) in ")
        assert "postconf -X tls_server_sni_maps" in hint
        assert "tls_server_sni_maps is set" in lab.rollover("check", "mail").stdout
    switched(on=False)
    new = adopted(lab, retain="1h")
    hand_over(lab, new)
    due(lab, "waiting")
    switched(on=True)
    it = ticked(lab)
    assert it["phase"] == "blocked"
    assert "tls_server_sni_maps is set" in problem(it, "wiring")["message"]
    assert lab.served() == lab.old.spki
    switched(on=False)
    advance_to(lab, "retaining")
    switched(on=True)
    wait_for(lambda: lab.served(sni="mail.example.test") == lab.old.spki, "the table is used")
    assert lab.served() == new.spki, "without SNI the file is served"
    lab.configure(**SPANS)
    time.sleep(1.5)  # retain and drain are over
    assert ticked(lab)["level"] == "critical"
    assert set(lab.primary.tlsa().records) == both(lab, new)
    switched(on=False)
    to_the_end(lab)
    only_serves(lab, new)


@pytest.mark.fault(56)
@pytest.mark.lab(ttl=TTL, senders=False)
def test_postscreen_on_the_port(lab: Lab) -> None:
    """Port 25 through postscreen and tlsproxy, which greet late and keep what they loaded: proven like any other.

    See wire.Wire.greeting, mastercf.Instance.tls_services.
    """
    master = lab.mx.config_directory / "master.cf"
    lines = master.read_text().replace("smtp inet n - n - - smtpd\n", "")
    master.write_text(
        "smtp inet n - n - 1 postscreen\nsmtpd pass - - n - - smtpd\n"
        "dnsblog unix - - n - 0 dnsblog\ntlsproxy unix - - n - 0 tlsproxy\n" + lines
    )
    # The deep tests keep the session in postscreen, so that tlsproxy speaks TLS, as for a client never seen before.
    lab.mx.postconf(
        "postscreen_greet_wait=1s",
        "postscreen_bare_newline_enable=yes",
        "postscreen_cache_map=",
        "postscreen_access_list=",
    )
    lab.mx.stop()
    lab.mx.spawn()  # what waits for its greeting speaks too early for postscreen
    wait_for(lambda: reachable(at.MX), "postscreen listens")
    new = adopted(lab)
    hand_over(lab, new)
    to_the_end(lab)
    only_serves(lab, new)
    assert "postfix/tlsproxy" in lab.mx.log.read_text(), "it was tlsproxy that presented the certificate"


def reachable(address: str) -> bool:
    """Tell whether somebody listens on port 25; says nothing."""
    try:
        socket.create_connection((address, 25), timeout=5).close()
    except OSError:
        return False
    return True


@pytest.mark.fault(51)
@pytest.mark.lab(ttl=TTL, senders=False)
def test_postfix_is_down_at_the_install(lab: Lab) -> None:
    """A reload that fails because nobody runs: critical, the new file stays, both records stay; started, it goes on.

    See postfix.Postfix.reload, judge in machine.py.
    """
    new = adopted(lab)
    hand_over(lab, new)
    due(lab, "waiting")
    lab.mx.stop()
    it = advance_until(lab, lambda it: "install-refused" in codes(it, "critical"))
    assert "is not running" in problem(it, "install-refused")["message"]
    time.sleep(SECONDS_TO_JUDGE)
    it = ticked(lab)
    assert it["level"] == "critical"
    assert new.fullchain.read_text().strip() in lab.chain_file.read_text(), "nothing serves the old one: no way back"
    assert set(lab.primary.tlsa().records) == both(lab, new)
    lab.mx.start()
    assert lab.served() == new.spki
    to_the_end(lab)
    only_serves(lab, new)
