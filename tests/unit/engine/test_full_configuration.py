"""Every key of a full configuration arrives where it is used: in the core's service, the DNS settings, the targets."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from rollover.config import Config, load
from rollover.core.ledger import Patience
from rollover.core.model import Service
from rollover.dns.settings import DnsSettings, ExtraServer, Ignored, ZoneSettings
from rollover.engine.host import core_service
from rollover.engine.real import dns_settings, targets_of
from rollover.mail.command import CommandTarget
from rollover.mail.target import PostfixTarget
from tests.unit.test_config import FULL

KEYS = ("tsig", "view", "dane", "net")
SECRET = "c2VjcmV0IG9mIGEgdGVzdCwgMzIgb2N0ZXRzIGxvbmc="


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """Return the full configuration, with a key file of its own name at each place where it names one."""
    for name in KEYS:
        file = tmp_path / f"{name}.key"
        file.touch(mode=0o600)
        file.write_text(f'key "{name}" {{ algorithm hmac-sha256; secret "{SECRET}"; }};\n')
    file = tmp_path / "rollover.toml"
    file.write_text(FULL.replace("/etc/rollover/", f"{tmp_path}/"))
    return load(file)


def test_the_core_gets_every_key_of_a_service(config: Config) -> None:
    """Spans, records and patience are those of the file, settle and propagation_warn those of [dns]."""
    assert core_service(config.services["mail"], config) == Service(
        name="mail",
        hosts=("mail.example.org", "xn--bcher-kva.example"),
        ports=(25, 587, 143, 465, 993, 995),
        records=((3, 1, 1), (3, 0, 2)),
        ttl=36 * 3600,
        patience=Patience(ttls=1, min_wait=2 * 86400.0, settle=90.0),
        retain=0.0,
        drain=60.0,
        verify_timeout=120.0,
        check_every=300.0,
        propagation_warn=1200.0,
    )


def test_owners_are_every_port_of_every_host(config: Config) -> None:
    """Two hosts and six ports are twelve owners."""
    owners = core_service(config.services["mail"], config).owners
    assert len(owners) == len(set(owners)) == 12
    assert {"_25._tcp.mail.example.org.", "_995._tcp.xn--bcher-kva.example."} <= set(owners)


def test_dns_gets_every_key_with_the_keys_read(config: Config) -> None:
    """Each server and zone has its own primary and its own TSIG key, or none."""
    settings = dns_settings(config)
    keys = {k.name: k for k in (settings.key, settings.also_check[1].key, *(z.key for z in settings.zones)) if k}
    assert set(keys) == set(KEYS)
    assert settings == DnsSettings(
        primary="ns1.example.org:5353",
        key=keys["tsig"],
        resolver="[2001:db8::10]:5300",
        also_check=(ExtraServer("192.0.2.54"), ExtraServer("192.0.2.55:5353", keys["view"])),
        ignore=(Ignored("ns3.example.net", date(2026, 12, 24)), Ignored("192.0.2.9", date(2027, 1, 1))),
        settle=90.0,
        propagation_warn=1200.0,
        timeout=2.5,
        zones=(
            ZoneSettings("dane.example.org", "192.0.2.54", keys["dane"]),
            ZoneSettings("_dane.example.net", None, keys["net"]),
        ),
    )


def test_a_zone_without_a_primary_of_its_own_has_the_general_one(config: Config) -> None:
    """Its block is filled up from [dns]; a zone without a block has all of [dns]."""
    settings = dns_settings(config)
    own, bare = settings.zone("_dane.example.net."), settings.zone("example.org")
    assert (own.primary, own.key and own.key.name) == ("ns1.example.org:5353", "net")
    assert (bare.primary, bare.key and bare.key.name) == ("ns1.example.org:5353", "tsig")


def test_each_install_is_a_target(config: Config, tmp_path: Path) -> None:
    """The Postfix instance and the daemon with a pair of files, in their order."""
    postfix, dovecot = targets_of(config.services["mail"], config)
    assert isinstance(postfix, PostfixTarget)
    assert (postfix.label, postfix.postfix.config_directory) == (f"{tmp_path}/live/mail.pem", "/etc/postfix-out")
    assert isinstance(dovecot, CommandTarget)
    assert (dovecot.cert_file, dovecot.key_file, dovecot.chain_file, dovecot.label) == (
        "/etc/dovecot/mail.crt",
        "/etc/dovecot/mail.key",
        "",
        "/etc/dovecot/mail.key",
    )
