"""Where each server of the lab lives. `enter` gives the loopback interface these addresses."""

from __future__ import annotations

from pathlib import Path

ROOT = Path("/run/rollover-lab")
"""A tmpfs of the namespace: it vanishes with it."""

RESOLVER = "127.0.0.10"
"""The resolver of the mail host, where the tool runs; also in the namespace's resolv.conf."""
SENDER_RESOLVERS = ("127.0.0.11", "127.0.0.12")
PEBBLE = "127.0.0.14"
MX = "127.0.0.25"
MX_SECOND = "127.0.0.26"
MX_IPV6 = "2001:db8::25"
MX_SECOND_IPV6 = "2001:db8::26"
SENDERS = ("127.0.0.31", "127.0.0.32")
PARENT = "127.0.0.52"
PRIMARY = "127.0.0.53"
SECONDARY = "127.0.0.54"
PROXY = "127.0.0.55"
SPARE = ("127.0.0.56", "127.0.0.57", "127.0.0.58", "127.0.0.59")
"""For servers that a test brings along, such as a JunkServer."""

DOMAIN = "example.test."
DANE_DOMAIN = "dane.test."
HOST = "mail.example.test."
WEB_HOST = "www.example.test."
OWNER = "_25._tcp.mail.example.test."
CNAME_TARGET = "_tlsa.mail.example.test."
"""Target of the CNAME at OWNER with `Lab(owner="cname")`."""
DANE_TARGET = "_25._tcp.mail.dane.test."
"""Target of the CNAME at OWNER with `Lab(owner="cname-other-zone")`."""
