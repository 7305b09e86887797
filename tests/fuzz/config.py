"""The configuration file and one file of services.d beside it."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from pathlib import Path

from rollover.config import load
from rollover.core.errors import ConfigError, PermissionsError
from rollover.engine.host import core_service

DIRECTORY = Path(tempfile.mkdtemp(prefix="fuzz-"))
MAIN, MORE = DIRECTORY / "rollover.toml", DIRECTORY / "services.d/more.toml"
MORE.parent.mkdir()
atexit.register(shutil.rmtree, DIRECTORY, ignore_errors=True)

SEPARATOR = b"\x1e"  # between the two files
SERVICE = b"""[services.mail]
hosts = ["mail.example.org"]
[[services.mail.install]]
kind = "postfix"
chain_file = "/etc/rollover/live/mail.pem"
"""
DNS = b'[dns]\ntsig_key = "/etc/rollover/tsig.key"\n'


def target(octets: bytes) -> None:
    """Text is a configuration that is complete, or an error with file and hint."""
    main, mark, more = octets.partition(SEPARATOR)
    MAIN.write_bytes(main)
    MORE.unlink(missing_ok=True)
    if mark:
        MORE.write_bytes(more)
    try:
        config = load(MAIN)
    except (ConfigError, PermissionsError) as error:
        assert str(DIRECTORY) in error.message
        assert error.hint
        assert len(error.message) < 4000
        return
    for it in config:
        assert core_service(it, config).owners
        config.dns.for_zone(it.hosts[0])


def seeds() -> tuple[bytes, ...]:
    """The smallest file, one with every key, and ways to be wrong."""
    everything = b"""state = "/var/lib/rollover"
[dns]
primary = "192.0.2.53"
tsig_key = "/etc/rollover/tsig.key"
resolver = "[2001:db8::1]:53"
also_check = ["192.0.2.54:5353#/etc/rollover/x.key"]
ignore = [{server = "ns3.example.net", until = "2026-12-24"}]
settle = "90s"
propagation_warn = "1.5h"
timeout = "5s"
[[dns.zone]]
name = "dane.example.org"
primary = "ns1.example.net"
[alert]
command = ["/usr/local/bin/page"]
repeat = "6h"
[services.mail]
hosts = ["mail.example.org", "mx.example.net."]
ports = [25, 465]
addresses = ["192.0.2.25"]
source = "/etc/letsencrypt/live/mail.example.org"
records = ["3 1 1", "3 1 2"]
ttl = "1h"
ttls_to_wait = 2
min_wait = "0s"
retain = "1d"
drain = "10m"
verify_timeout = "60s"
check_every = "15m"
trust = "/etc/ssl/my-ca.pem"
[[services.mail.install]]
kind = "command"
cert_file = "/x/c"
key_file = "/x/k"
owner = "root"
mode = "0640"
reload = ["systemctl", "reload", "dovecot"]
"""
    small = DNS + SERVICE
    return (
        small,
        everything,
        DNS + SEPARATOR + SERVICE,
        small + SEPARATOR + SERVICE.replace(b"mail", b"other"),
        small.replace(b"mail.example", "bücher.example".encode()),
        small + b'ttl = 3600\nports = "25"\nretain = 1e400\nmode = 0x1ff\nuntil = 2026-12-24\n',
        b'[dns]\ntsig_key = """\n\\U0001F600"""\n[services."a.b".c]\nx = [[[{y = 1979-05-27T07:32:00Z}]]]\n',
    )
