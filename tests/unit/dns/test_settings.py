"""The DNS settings: spellings of servers, and which zone has which primary and key."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rollover.dns.keys import TsigKey
from rollover.dns.servers import Server, ignored_by
from rollover.dns.settings import DnsSettings, Ignored, ZoneSettings, join_host_port, split_host_port


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("192.0.2.53", "192.0.2.53", 53),
        ("192.0.2.53:5353", "192.0.2.53", 5353),
        ("2001:db8::1", "2001:db8::1", 53),
        ("[2001:db8::1]", "2001:db8::1", 53),
        ("[2001:db8::1]:53", "2001:db8::1", 53),
        ("ns1.example.net", "ns1.example.net", 53),
        (" ns1.example.net:54 ", "ns1.example.net", 54),
    ],
)
def test_spellings(text: str, host: str, port: int) -> None:
    """A server is a name or an address, with or without a port."""
    assert split_host_port(text) == (host, port)


@pytest.mark.parametrize(
    "text",
    ["", ":53", "192.0.2.53:", "192.0.2.53:0", "192.0.2.53:65536", "a:b", "[192.0.2", "[::1]x", "[::1]:", "1::2::3",
     "[ns1.example.net]:53", "a b", "ns1#key", "192.0.2.53:٣"],
)  # fmt: skip
def test_mistakes(text: str) -> None:
    """Anything else is a ValueError, which the configuration turns into words."""
    with pytest.raises(ValueError, match=r"not a|port missing"):
        split_host_port(text)


@settings(deadline=None)
@given(st.text(max_size=30))
def test_any_text(text: str) -> None:
    """Whatever is written there, it is a server or a ValueError; and a server is written as it is read."""
    try:
        host, port = split_host_port(text)
    except ValueError:
        return
    assert split_host_port(join_host_port(host, port)) == (host, port)


def test_a_zone_has_its_own_primary_and_key() -> None:
    """A zone's own block counts; what it leaves out, and every other zone, takes the general settings."""
    ours, theirs = TsigKey("a", "hmac-sha256", b"1"), TsigKey("b", "hmac-sha256", b"2")
    dns = DnsSettings(
        primary="192.0.2.1",
        key=ours,
        zones=(ZoneSettings("Dane.Example.", "192.0.2.2", theirs), ZoneSettings("other.example", primary="192.0.2.3")),
    )
    assert dns.zone("dane.example.") == ZoneSettings("dane.example.", "192.0.2.2", theirs)
    assert dns.zone("other.example.") == ZoneSettings("other.example.", "192.0.2.3", ours)
    assert dns.zone("third.example.") == ZoneSettings("third.example.", "192.0.2.1", ours)
    assert dns.has_block("DANE.example")
    assert not dns.has_block("third.example")


@pytest.mark.parametrize(
    "server",
    [
        Server("192.0.2.1", name="ns1.example.net.", public=True),
        Server("2001:db8::1", name="ns1.example.net.", public=True),
        Server("2001:db8::1", 5353, public=True),
        Server("192.0.2.1", public=True),
    ],
)
def test_labels_are_read_again(server: Server) -> None:
    """What is remembered of a server is its label; the same server comes out of it."""
    read = Server.parse(server.label)
    assert (read.place, read.label, read.public) == (server.place, server.label, True)


@pytest.mark.parametrize("label", ["", "ns1.example.net", "primary", "a b c", "ns1.example.net (nowhere)"])
def test_what_is_no_label(label: str) -> None:
    """A remembered text that names no address is a ValueError."""
    with pytest.raises(ValueError, match=r"not a"):
        Server.parse(label)


@pytest.mark.parametrize(
    ("word", "hits"),
    [
        ("ns1.example.net", True),
        ("NS1.example.net.", True),
        ("192.0.2.1", True),
        ("192.0.2.1:53", False),
        ("ns2.example.net", False),
        ("example.net", False),
        ("", False),
    ],
)
def test_ignored_by_name_or_address(word: str, hits: bool) -> None:
    """A server is ignored by its name or its address, whole, and to the end of the day given."""
    server = Server("192.0.2.1", name="ns1.example.net.", public=True)
    ignore = (Ignored(word, date(2026, 12, 24)),)
    assert ignored_by(server, ignore, datetime(2026, 12, 24, 23, 59, tzinfo=UTC)) is hits
    assert not ignored_by(server, ignore, datetime(2026, 12, 25, 0, 0, tzinfo=UTC))


def test_the_primary_is_never_ignored() -> None:
    """The server that takes the updates cannot be left out."""
    server = Server("192.0.2.1", name="ns1.example.net.", primary=True)
    assert not ignored_by(server, (Ignored("192.0.2.1", date(2026, 12, 24)),), datetime(2026, 1, 1, tzinfo=UTC))
