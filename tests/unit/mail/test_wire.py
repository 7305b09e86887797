"""Small parts of the probe that need no server."""

from __future__ import annotations

import pytest

from rollover.core.sighting import Endpoint, Outcome
from rollover.mail.dialogue import Imap, Pop3, Silent, Smtp, dialogue
from rollover.mail.probe import _server_name, probe
from rollover.mail.wire import words


@pytest.mark.parametrize(
    ("octets", "text"),
    [
        (b"  220 hello \r\n", "220 hello"),
        (b"220 \x1b[31mred\x07", "220 ?[31mred?"),
        (b"220 \xff\xfe", "220 \ufffd\ufffd"),
        ("220 Grüße".encode(), "220 Grüße"),
        (b"x" * 300, "x" * 199 + "…"),
    ],
    ids=["plain", "terminal controls", "no UTF-8", "UTF-8", "long"],
)
def test_words_of_a_peer_are_one_printable_line(octets: bytes, text: str) -> None:
    """A server cannot write into an operator's terminal or log more than a line of print."""
    assert words(octets) == text


@pytest.mark.parametrize(
    ("port", "kind", "implicit"),
    [
        (25, Smtp, False),
        (587, Smtp, False),
        (465, Smtp, True),
        (143, Imap, False),
        (993, Imap, True),
        (110, Pop3, False),
        (995, Pop3, True),
        (2525, Smtp, False),
        (443, Silent, True),
    ],
)
def test_port_decides_what_is_spoken(port: int, kind: type, implicit: bool) -> None:
    """Each port of mail has its protocol; any other is TLS alone."""
    spoken, first = dialogue(port)
    assert (type(spoken), first) == (kind, implicit)


@pytest.mark.parametrize(
    ("host", "sni", "name"),
    [
        ("mail.example.org", True, "mail.example.org"),
        ("mail.example.org.", True, "mail.example.org"),
        ("mail.example.org", False, ""),
        ("192.0.2.1", True, ""),
        ("2001:db8::1", True, ""),
        ("bücher.example", True, "xn--bcher-kva.example"),
        ("a" * 64 + ".example", True, ""),
    ],
)
def test_server_name_is_the_host_where_it_is_a_name(host: str, sni: bool, name: str) -> None:
    """SNI is the host without its final dot, in A-labels; never an address (RFC 6066 §3)."""
    assert _server_name(Endpoint(host, "192.0.2.1", 25, sni)) == name


async def test_nonsense_address_is_unreachable() -> None:
    """What is no address at all is reported like a host that is not there; nothing is raised."""
    seen = await probe(Endpoint("h", "not an address", 25), timeout=5)
    assert seen.outcome is Outcome.UNREACHABLE
    assert seen.detail
