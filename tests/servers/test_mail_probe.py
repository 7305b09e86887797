"""The probe against the real Postfix, Dovecot and OpenSSL."""

from __future__ import annotations

import re
import smtplib
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from rollover.core.sighting import Endpoint, Outcome
from rollover.mail.probe import probe, probe_all
from tests.lab import Lab, wait_for
from tests.lab import addresses as at
from tests.lab.certificates import Certificate
from tests.servers.mail_support import dovecot

LAB_OPTIONS = {"ttl": 5, "senders": False, "chain_file": True}
pytestmark = pytest.mark.lab(**LAB_OPTIONS)
HOST = "mail.example.test"


def endpoint(port: int = 25, **options: object) -> Endpoint:
    return Endpoint(HOST, at.MX, port, **options)


def put(lab: Lab, *certificates: Certificate) -> None:
    """Write keys and chains into the file that the MX reads."""
    path = Path(lab.mx.get("smtpd_tls_chain_files"))
    path.write_text("".join(c.privkey.read_text() + c.fullchain.read_text() for c in certificates))


def log_of(lab: Lab, text: str) -> list[str]:
    return [line for line in lab.mx.log_lines() if text in line]


@pytest.mark.parametrize("sni", [True, False], ids=["with SNI", "without SNI"])
@pytest.mark.parametrize("port", [25, 587, 465])
async def test_postfix_presents_its_whole_chain(shared_lab: Lab, port: int, sni: bool) -> None:
    """STARTTLS and TLS from the first octet show leaf and issuer, and the issuer counts as anchor."""
    seen = await probe(endpoint(port, sni=sni), connections=3)

    assert (seen.outcome, seen.connections, seen.detail) == (Outcome.PRESENTED, 3, "")
    (chain,) = seen.chains
    assert chain.fingerprint == shared_lab.old.fingerprint
    assert [link.anchor for link in chain.links] == [False, True]


async def test_every_conversation_ends_in_quit(lab: Lab) -> None:
    """Postfix logs no lost connection, and as many QUITs as connections; none resumed a session."""
    places = [endpoint(port) for port in (25, 587, 465)]
    wait_for(lambda: log_of(lab, "disconnect from"), "the lab's own look at the greeting is over")
    before = len(log_of(lab, "disconnect from"))

    await probe_all(places, connections=4)
    await probe_all(places, connections=4)

    def ended() -> int:
        return len(log_of(lab, " quit=1 ")) - before

    wait_for(lambda: ended() >= 24, "Postfix logs every disconnect")
    assert ended() == len(log_of(lab, "disconnect from")) - before == 24
    assert log_of(lab, "lost connection") == log_of(lab, "SSL_accept error") == log_of(lab, "warning:") == []
    assert len(log_of(lab, "TLS connection established from")) == 24
    assert log_of(lab, "Reusing old session") == log_of(lab, "reloaded session") == []


async def test_new_certificate_is_seen_after_a_reload(lab: Lab) -> None:
    """Old processes show the old chain until the reload; then every connection shows the new one."""
    before = await probe(endpoint(), connections=2)
    put(lab, new := lab.certificate())

    idle = await probe(endpoint())
    lab.mx.reload()
    wait_for(lambda: lab.served() == new.spki, "a process with the new chain answers")
    after = await probe(endpoint(), connections=6)

    assert [c.fingerprint for c in before.chains] == [c.fingerprint for c in idle.chains] == [lab.old.fingerprint]
    assert [c.fingerprint for c in after.chains] == [new.fingerprint]


@contextmanager
def held(lab: Lab) -> Iterator[int]:
    """Keep one smtpd busy in a conversation; yields its process id."""
    with smtplib.SMTP(at.MX, 25, timeout=10) as client:
        port = client.sock.getsockname()[1]
        owners = subprocess.run(["ss", "-Htnp", f"dport = {port}"], capture_output=True, text=True, check=True).stdout
        (pid,) = re.findall(r"pid=(\d+),", owners)
        yield int(pid)


def idle(pid: int) -> bool:
    """Tell whether a process sleeps and talks to nobody: an smtpd that does waits for the next connection."""
    talking = subprocess.run(["ss", "-Htnp", "state", "established"], capture_output=True, text=True, check=True).stdout
    return f"pid={pid}," not in talking and Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "S"


@pytest.mark.fault(53)
async def test_stale_process_among_new_ones_is_found(lab: Lab) -> None:
    """Without a reload one old process goes on beside new ones: both chains are in the sighting."""
    with held(lab) as old:
        put(lab, new := lab.certificate())
        listed = subprocess.run(["ps", "-o", "pid=", "-C", "smtpd"], capture_output=True, text=True, check=True)
        before = set(map(int, listed.stdout.split()))
        with ExitStack() as busy:  # those that wait already are old as well
            latest = old
            while latest in before:
                latest = busy.enter_context(held(lab))
    wait_for(lambda: idle(old) and idle(latest), "an old process and a new one wait for connections")

    seen = await probe(endpoint(), connections=8)

    assert {chain.fingerprint for chain in seen.chains} == {lab.old.fingerprint, new.fingerprint}


async def test_algorithm_tells_two_certificates_apart(lab: Lab) -> None:
    """Beside an ECDSA certificate the RSA one is seen by who asks for it, and the other way about."""
    put(lab, ecdsa := lab.certificate(), rsa := lab.certificate(key="rsa"))
    lab.mx.reload()
    wait_for(lambda: lab.served() == ecdsa.spki, "the new processes answer")

    seen = await probe_all([endpoint(algorithm="rsa"), endpoint(algorithm="ecdsa"), endpoint()])

    assert [s.chains[0].fingerprint for s in seen] == [rsa.fingerprint, ecdsa.fingerprint, ecdsa.fingerprint]


async def test_algorithm_that_is_not_there_is_no_tls(shared_lab: Lab) -> None:
    """A server with an ECDSA certificate alone cannot serve a client that wants RSA."""
    seen = await probe(endpoint(algorithm="rsa"))

    assert (seen.outcome, seen.chains) == (Outcome.NO_TLS, ())
    assert "handshake failure" in seen.detail


async def test_postfix_without_usable_certificate_is_no_tls(lab: Lab) -> None:
    """A chain file that Postfix cannot use shows as its 454, in its own words, and ends politely."""
    path = Path(lab.mx.get("smtpd_tls_chain_files"))
    path.write_text(lab.certificate().privkey.read_text() + lab.old.fullchain.read_text())
    lab.mx.reload()

    def refused() -> bool:
        return bool(log_of(lab, "disabling TLS support"))

    await probe(endpoint())
    wait_for(refused, "a new process meets the file")
    seen = await probe(endpoint())

    assert seen.outcome is Outcome.NO_TLS
    assert seen.detail == "454 4.7.0 TLS not available due to local problem"
    wait_for(lambda: log_of(lab, "starttls=0/1 quit=1"), "the refused conversation ends in QUIT")


@pytest.mark.fault(60)
async def test_postfix_without_tls_is_no_tls(lab: Lab) -> None:
    """STARTTLS that is not offered is told from STARTTLS that fails."""
    lab.mx.postconf("smtpd_tls_security_level=none")
    lab.mx.reload()

    seen = await probe(endpoint())

    assert (seen.outcome, seen.detail) == (Outcome.NO_TLS, "STARTTLS is not offered")


async def test_smtpd_that_dies_gives_no_greeting(lab: Lab) -> None:
    """With a main.cf that kills smtpd the port accepts and nobody greets; the look is bounded."""
    lab.mx.break_main_cf()
    lab.mx.reload()

    seen = await probe(endpoint(), connections=2, timeout=3.0)

    assert (seen.outcome, seen.chains) == (Outcome.NO_GREETING, ())


async def test_stopped_postfix_is_unreachable(lab: Lab) -> None:
    """A refused connection is unreachable, and says so in plain words."""
    lab.mx.stop()

    seen = await probe(endpoint(), connections=3)

    assert (seen.outcome, seen.detail, seen.connections) == (Outcome.UNREACHABLE, "connection refused", 0)


@pytest.mark.fault(58)
@pytest.mark.lab(ttl=5, senders=False, mx_addresses=(at.MX, at.MX_IPV6))
async def test_ipv6_is_an_endpoint_of_its_own(lab: Lab) -> None:
    """The IPv6 address is probed like any other, with a literal that Postfix accepts in EHLO."""
    seen = await probe(Endpoint(HOST, at.MX_IPV6, 25))

    assert [chain.fingerprint for chain in seen.chains] == [lab.old.fingerprint]
    wait_for(lambda: log_of(lab, "ehlo=1 starttls=1 quit=1"), "Postfix accepted every command")


async def test_dovecot_presents_on_both_ports(shared_lab: Lab, tmp_path: Path) -> None:
    """IMAP with STARTTLS and IMAP in TLS present Dovecot's chain; in its log each client logged out."""
    certificate = shared_lab.certificate(names=("imap.example.test",))
    places = [Endpoint("imap.example.test", at.SPARE[1], port) for port in (143, 993)]
    with dovecot(tmp_path / "dovecot", certificate.fullchain, certificate.privkey) as log:
        seen = await probe_all(places, connections=3)

        assert [s.outcome for s in seen] == [Outcome.PRESENTED] * 2, seen
        assert {c.fingerprint for s in seen for c in s.chains} == {certificate.fingerprint}
        wait_for(lambda: log.read_text().count(", TLS, ") >= 6, "Dovecot logs every end")
        ends = [line for line in log.read_text().splitlines() if ", TLS, " in line]

    assert len(ends) == 6
    assert all("by logging out" in line for line in ends), ends


@pytest.mark.parametrize("version", ["-tls1", "-tls1_1", "-tls1_2", "-tls1_3"])
async def test_openssl_server_of_one_version(shared_lab: Lab, version: str) -> None:
    """A server that speaks TLS 1.2 or 1.3 alone, on a port of no mail protocol, is seen; an older one is told as old."""
    certificate = shared_lab.certificate(names=("www.example.test",), key="p384")
    command = ["openssl", "s_server", "-accept", f"{at.SPARE[2]}:4433", "-quiet", version, "-cipher", "ALL:@SECLEVEL=0"]
    files = ["-cert", str(certificate.cert), "-key", str(certificate.privkey), "-cert_chain", str(certificate.chain)]
    server = subprocess.Popen([*command, *files], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    try:
        place = Endpoint("www.example.test", at.SPARE[2], 4433)

        def listening() -> bool:
            return subprocess.run(["ss", "-Htln", "sport = 4433"], capture_output=True, check=True).stdout != b""

        wait_for(listening, "s_server listens")
        seen = await probe(place, connections=2)
    finally:
        server.terminate()
        server.communicate(timeout=10)

    if version in ("-tls1", "-tls1_1"):
        assert (seen.outcome, seen.chains) == (Outcome.NO_TLS, ())
        assert seen.detail.endswith("alert protocol version (nothing later than TLS 1.1 there: senders defer)")
    else:
        assert [chain.fingerprint for chain in seen.chains] == [certificate.fingerprint]
        assert len(seen.chains[0].links) == 2


@pytest.mark.lab(ttl=5)
async def test_what_senders_cannot_deliver_to_is_not_called_good(lab: Lab) -> None:
    """To an MX without TLS 1.2 a Postfix sender defers, and the probe finds no certificate; with it both are content."""
    found = []
    for newest in ("TLSv1.1", "TLSv1.2"):
        lab.mx.postconf(f"smtpd_tls_protocols=>=TLSv1, <={newest}")
        lab.mx.stop()
        lab.mx.start()
        mark = lab.mail.mark()
        lab.load.send(1)
        wait_for(lambda mark=mark: lab.mail.since(mark).messages == 1, "the message has an outcome")
        mail = lab.mail.since(mark)
        found.append((mail.sent, mail.deferred, (await probe(endpoint())).outcome))

    assert found == [(0, 1, Outcome.NO_TLS), (1, 0, Outcome.PRESENTED)]
