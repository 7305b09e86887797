"""Servers that hang, refuse, drip, flood or lie: the probe names it, in bounded time, and stays polite."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from rollover.core.sighting import Endpoint, EndpointSighting, Outcome
from rollover.mail.probe import probe
from tests.lab import addresses as at
from tests.lab.certificates import Authority, Certificate
from tests.servers.scripted import Peer, Script, ScriptedServer

TIMEOUT = 1.5
GREETING = "220 mail.example.test ESMTP"
EHLO_LINE = f"EHLO [{at.SPARE[0]}]"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority") / "ca")


@pytest.fixture(scope="module")
def certificate(authority: Authority) -> Certificate:
    return authority.issue()


async def look(script: Script, port: int = 25, **options: object) -> tuple[EndpointSighting, ScriptedServer]:
    """Probe a server that follows *script*; the probe must end within its bounds."""
    with ScriptedServer(script, port) as server:
        begin = time.monotonic()
        seen = await probe(Endpoint("mail.example.test", server.address, port), **{"timeout": TIMEOUT, **options})
        assert time.monotonic() - begin < TIMEOUT + 6
    return seen, server


def forever(peer: Peer, octets: bytes, pause: float = 0.0) -> None:
    while True:
        peer.send(octets)
        time.sleep(pause)


def after_greeting(what: Callable[[Peer], None]) -> Script:
    def script(peer: Peer) -> None:
        peer.say(GREETING)
        what(peer)

    return script


def after_starttls(what: Callable[[Peer], None], answer: str = "220 go ahead") -> Script:
    def script(peer: Peer) -> None:
        peer.say(GREETING)
        peer.hear()
        peer.say("250-mail.example.test", "250-SIZE 10", "250 STARTTLS")
        peer.hear()
        peer.say(answer)
        what(peer)

    return script


def bye(peer: Peer) -> None:
    if peer.hear() == "QUIT":
        peer.say("221 bye")
    peer.wait_for_the_end()


def refuse_ehlo(peer: Peer) -> None:
    peer.hear()
    peer.say("502 not here")
    bye(peer)


def offer_nothing(peer: Peer) -> None:
    peer.hear()
    peer.say("250-mail.example.test", "250-XSTARTTLS", "250 SIZE 10")
    bye(peer)


CASES: dict[str, tuple[Script, Outcome, str, list[str]]] = {
    "silence after the connection": (Peer.wait_for_the_end, Outcome.NO_GREETING, "no answer within", []),
    "a hang-up at once": (lambda peer: None, Outcome.NO_GREETING, "hung up", []),
    "a greeting of 554": (lambda p: (p.say("554 go away"), bye(p)), Outcome.NO_GREETING, "554 go away", ["QUIT"]),
    "a greeting of 421": (
        lambda p: (p.say("421-busy", "421 4.7.0 too many connections"), bye(p)),
        Outcome.NO_GREETING,
        "421 4.7.0 too many connections",
        ["QUIT"],
    ),
    "a web server": (lambda p: p.say("HTTP/1.1 400 Bad Request"), Outcome.NO_GREETING, "does not speak SMTP", []),
    "random octets": (lambda p: forever(p, os.urandom(4096)), Outcome.NO_GREETING, "", []),
    "one endless line": (lambda p: forever(p, b"220 aaaaaaaaaaaaaaaa" * 200), Outcome.NO_GREETING, "line of more", []),
    "an endless greeting": (lambda p: forever(p, b"220-and\r\n" * 99), Outcome.NO_GREETING, "more than 100 lines", []),
    "a greeting that drips": (lambda p: forever(p, b"2", 0.1), Outcome.NO_GREETING, "no answer within", []),
    "EHLO refused": (after_greeting(refuse_ehlo), Outcome.NO_TLS, "502 not here", [EHLO_LINE, "QUIT"]),
    "no STARTTLS": (after_greeting(offer_nothing), Outcome.NO_TLS, "STARTTLS is not offered", [EHLO_LINE, "QUIT"]),
    "a hang-up after EHLO": (after_greeting(lambda p: (p.hear(), None)[1]), Outcome.NO_TLS, "hung up", [EHLO_LINE]),
    "454": (
        after_starttls(bye, "454 4.7.0 TLS not available due to local problem"),
        Outcome.NO_TLS,
        "454 4.7.0 TLS not available due to local problem",
        [EHLO_LINE, "STARTTLS", "QUIT"],
    ),
    "a hang-up after STARTTLS": (after_starttls(lambda p: None), Outcome.NO_TLS, "hung up", [EHLO_LINE, "STARTTLS"]),
    "silence after STARTTLS": (
        after_starttls(Peer.wait_for_the_end),
        Outcome.NO_TLS,
        "no answer within",
        [EHLO_LINE, "STARTTLS"],
    ),
    "no TLS after STARTTLS": (
        after_starttls(lambda p: (p.connection.recv(9), p.say("250 what?"))),
        Outcome.NO_TLS,
        "TLS handshake failed: ",
        [EHLO_LINE, "STARTTLS"],
    ),
    "words in clear behind STARTTLS": (
        after_starttls(Peer.wait_for_the_end, "220 go ahead\r\n250 injected"),
        Outcome.NO_TLS,
        "sent more after its answer",
        [EHLO_LINE, "STARTTLS"],
    ),
}


@pytest.mark.parametrize(("script", "outcome", "detail", "heard"), CASES.values(), ids=CASES)
async def test_bad_server(script: Script, outcome: Outcome, detail: str, heard: list[str]) -> None:
    """Each has its outcome and the server's words, and is told QUIT where it would listen."""
    seen, server = await look(script)

    assert (seen.outcome, seen.chains, seen.connections) == (outcome, (), 0)
    assert detail in seen.detail
    assert len(seen.detail) < 300 and seen.detail.isprintable()
    assert [line for line in server.heard if line] == heard


async def test_flood_in_the_handshake_is_cut_off() -> None:
    """A server that floods the handshake with TLS records is left after half a mebibyte."""
    record = b"\x16\x03\x03\x40\x00" + bytes(0x4000)  # handshake records that never make a message

    seen, server = await look(lambda peer: forever(peer, record), 465)

    assert seen.outcome is Outcome.NO_TLS
    assert server.peers[0].sent < 16 * 1024 * 1024  # what the kernel's buffers take on the way


@pytest.mark.parametrize(
    ("port", "script", "outcome"),
    [
        (465, Peer.wait_for_the_end, Outcome.NO_GREETING),
        (465, lambda peer: None, Outcome.NO_GREETING),
        (465, lambda peer: peer.say(GREETING), Outcome.NO_TLS),
        (143, lambda peer: (peer.say("* BYE overloaded"), bye(peer)), Outcome.NO_GREETING),
        (143, lambda peer: (peer.say("* PREAUTH welcome home"), bye(peer)), Outcome.NO_TLS),
        (143, lambda peer: forever(peer, b"* OK \r\n"), Outcome.NO_TLS),
        (110, lambda peer: (peer.say("-ERR no"), bye(peer)), Outcome.NO_GREETING),
        (110, lambda peer: (peer.say("+OK"), peer.hear(), peer.say("-ERR no TLS"), bye(peer)), Outcome.NO_TLS),
    ],
    ids=[
        "465 silent",
        "465 hangs up",
        "465 in clear",
        "143 BYE",
        "143 PREAUTH",
        "143 endless",
        "110 -ERR",
        "110 no STLS",
    ],
)
async def test_bad_server_of_other_protocols(port: int, script: Script, outcome: Outcome) -> None:
    """With TLS first, silence is no greeting and other words are no TLS; IMAP and POP3 say what they are."""
    seen, _ = await look(script, port)

    assert seen.outcome is outcome
    assert seen.detail


@pytest.mark.fault(56)
async def test_late_greeting_in_two_parts_is_waited_for(certificate: Certificate) -> None:
    """The teaser line of postscreen(8), a pause, then the rest: it is one greeting."""

    def script(peer: Peer) -> None:
        peer.say("220-wait for it")
        time.sleep(TIMEOUT / 2)
        after_starttls(lambda p: (p.start_tls(certificate.directory), bye(p)))(peer)

    seen, server = await look(script)

    assert [chain.fingerprint for chain in seen.chains] == [certificate.fingerprint]
    assert server.heard == [EHLO_LINE, "STARTTLS", "QUIT"]


async def test_pop3_is_spoken(certificate: Certificate) -> None:
    """POP3 with STLS and POP3 in TLS present their chain and are left by QUIT."""

    def stls(peer: Peer) -> None:
        peer.say("+OK ready")
        peer.hear()
        peer.say("+OK begin")
        peer.start_tls(certificate.directory)
        peer.hear()
        peer.say("+OK bye")

    def implicit(peer: Peer) -> None:
        peer.start_tls(certificate.directory)
        peer.say("+OK ready")
        peer.hear()
        peer.say("+OK bye")

    for port, script, heard in ((110, stls, ["STLS", "QUIT"]), (995, implicit, ["QUIT"])):
        seen, server = await look(script, port)
        assert [chain.fingerprint for chain in seen.chains] == [certificate.fingerprint]
        assert server.heard == heard


async def test_configured_name_is_said(certificate: Certificate) -> None:
    """The name of the configuration is said in EHLO, where the address literal is not wanted."""
    script = after_starttls(lambda p: (p.start_tls(certificate.directory), bye(p)))

    seen, server = await look(script, helo="probe.example.test")

    assert seen.outcome is Outcome.PRESENTED
    assert server.heard[0] == "EHLO probe.example.test"


async def test_silent_goodbye_does_not_hold_us(certificate: Certificate) -> None:
    """A server that never answers QUIT has presented its chain all the same."""
    script = after_starttls(lambda p: (p.start_tls(certificate.directory), p.wait_for_the_end()))

    seen, _ = await look(script)

    assert [chain.fingerprint for chain in seen.chains] == [certificate.fingerprint]


async def test_one_bad_connection_of_several_is_the_outcome(certificate: Certificate) -> None:
    """If one process of several answers 454, the endpoint has failed, and how often is said."""
    counter = iter(range(3))

    def script(peer: Peer) -> None:
        if next(counter) == 1:
            after_starttls(bye, "454 later")(peer)
        else:
            after_starttls(lambda p: (p.start_tls(certificate.directory), bye(p)))(peer)

    seen, _ = await look(script, connections=3)

    assert (seen.outcome, seen.detail) == (Outcome.NO_TLS, "1 of 3 connections: 454 later")
    assert (seen.chains, seen.connections) == ((), 2)


@pytest.mark.fault(57)
async def test_different_chains_are_all_seen(authority: Authority, certificate: Certificate) -> None:
    """Processes that present different chains are told apart; the one that answered last is last."""
    other = authority.issue()
    turns = iter([(certificate, 0.6), (other, 0.3), (certificate, 0.0)])

    def script(peer: Peer) -> None:
        shown, pause = next(turns)
        time.sleep(pause)
        after_starttls(lambda p: (p.start_tls(shown.directory), bye(p)))(peer)

    seen, _ = await look(script, connections=3)

    assert seen.outcome is Outcome.PRESENTED
    assert [chain.fingerprint for chain in seen.chains] == [other.fingerprint, certificate.fingerprint]
    assert seen.connections == 3


async def test_enormous_chain_is_refused(authority: Authority, tmp_path: Path) -> None:
    """A chain of hundreds of certificates is no chain; OpenSSL stops at 100 KiB."""
    certificate = authority.issue(directory=tmp_path / "leaf")
    leaf, issuer = certificate.cert.read_text(), certificate.chain.read_text()
    (certificate.directory / "huge.pem").write_text(leaf + issuer * 400)
    script = after_starttls(lambda p: p.start_tls(certificate.directory, chain="huge.pem"))

    seen, _ = await look(script)

    assert seen.outcome is Outcome.NO_TLS
    assert "excessive message size" in seen.detail


async def test_weak_key_is_seen(tmp_path: Path) -> None:
    """A certificate that today's policies refuse is still shown as what it is."""
    certificate = Authority(tmp_path / "ca").issue(directory=tmp_path / "weak")
    key = certificate.directory / "privkey.pem"
    fullchain = certificate.directory / "fullchain.pem"
    command = "openssl req -x509 -newkey rsa:1024 -sha1 -nodes -days 9 -subj /CN=old -keyout {} -out {} 2>&1"
    assert os.popen(command.format(key, fullchain)).close() is None
    script = after_starttls(lambda p: (p.start_tls(certificate.directory), bye(p)))

    seen, _ = await look(script)

    assert seen.outcome is Outcome.PRESENTED, seen.detail
