"""What one reading of Postfix's configuration says about each service; no Postfix is needed."""

from __future__ import annotations

import pytest

from rollover.mail.mastercf import Instance, Service, assignments

FILE = "/etc/rollover/live/mail.pem"


def instance(*services: Service, **main: str) -> Instance:
    """An instance whose tlsproxy parameters follow smtpd's, as they do by default."""
    values = {"smtpd_tls_security_level": "may", **main}
    values |= {
        name.replace("smtpd_", "tlsproxy_", 1): value
        for name, value in values.items()
        if name.endswith(("_file", "_files")) and name.replace("smtpd_", "tlsproxy_", 1) not in values
    }
    return Instance(values, services)


SMTP = Service("smtp", "inet", "smtpd")


@pytest.mark.parametrize(
    ("name", "kind", "port"),
    [
        ("smtp", "inet", 25),
        ("465", "inet", 465),
        ("127.0.0.1:10025", "inet", 10025),
        ("[::1]:submission", "inet", 587),
        ("no-such-service", "inet", None),
        ("smtpd", "pass", None),
        ("tlsproxy", "unix", None),
    ],
)
def test_port_of_a_service(name: str, kind: str, port: int | None) -> None:
    """Names and numbers, with and without an address, give the port; what has none has none."""
    assert Service(name, kind, "smtpd").port == port


def test_chain_files_hide_the_pairs() -> None:
    """Where chain files are named Postfix ignores the pairs, and so do we."""
    both = instance(SMTP, smtpd_tls_chain_files=f"{FILE}, /b.pem", smtpd_tls_cert_file="/c", smtpd_tls_key_file="/k")
    assert both.certificates_of(SMTP) == ([FILE, "/b.pem"], [])


def test_pairs_of_all_algorithms_are_listed() -> None:
    """RSA, ECDSA and DSA pairs count; "none" and empty ones do not."""
    it = instance(
        SMTP,
        smtpd_tls_cert_file="none",
        smtpd_tls_key_file="none",
        smtpd_tls_eccert_file="/ec",
        smtpd_tls_eckey_file="/ec",
        smtpd_tls_dcert_file="",
    )
    assert it.certificates_of(SMTP) == ([], [("/ec", "/ec")])


def test_key_follows_an_overridden_certificate() -> None:
    """smtpd_tls_key_file defaults to the certificate's file, also to that of an -o option."""
    service = Service("587", "inet", "smtpd", {"smtpd_tls_cert_file": "/other"})
    inherited = instance(service, smtpd_tls_cert_file="/c", smtpd_tls_key_file="/c")
    explicit = instance(service, smtpd_tls_cert_file="/c", smtpd_tls_key_file="/k")

    assert inherited.certificates_of(service) == ([], [("/other", "/other")])
    assert explicit.certificates_of(service) == ([], [("/other", "/k")])


def test_tlsproxy_follows_smtpd_unless_told_otherwise() -> None:
    """Its own parameters win; by default it takes smtpd's, overridden for it or not."""
    plain = Service("tlsproxy", "unix", "tlsproxy")
    over = Service("tlsproxy", "unix", "tlsproxy", {"smtpd_tls_chain_files": "/o.pem"})
    it = instance(plain, over, smtpd_tls_chain_files=FILE)
    own = instance(plain, smtpd_tls_chain_files=FILE, tlsproxy_tls_chain_files="/p.pem")

    assert it.certificates_of(plain)[0] == [FILE]
    assert it.certificates_of(over)[0] == ["/o.pem"]
    assert own.certificates_of(plain)[0] == ["/p.pem"]


@pytest.mark.parametrize(
    ("main", "overrides", "speaks"),
    [
        ({"smtpd_tls_security_level": "may"}, {}, True),
        ({"smtpd_tls_security_level": "none"}, {}, False),
        ({"smtpd_tls_security_level": ""}, {}, False),
        ({"smtpd_tls_security_level": "", "smtpd_use_tls": "yes"}, {}, True),
        ({"smtpd_tls_security_level": "", "smtpd_enforce_tls": "yes"}, {}, True),
        ({"smtpd_tls_security_level": "none", "smtpd_use_tls": "yes"}, {}, False),
        ({"smtpd_tls_security_level": "may"}, {"smtpd_tls_security_level": "none"}, False),
        ({"smtpd_tls_security_level": "none"}, {"smtpd_tls_wrappermode": "yes"}, True),
    ],
)
def test_which_services_speak_tls(main: dict[str, str], overrides: dict[str, str], speaks: bool) -> None:
    """The level decides; the two old switches count only without one; wrapper mode always does."""
    service = Service("smtp", "inet", "smtpd", overrides)
    assert instance(service, **main).tls_services() == ([service] if speaks else [])


def test_ports_leave_out_services_of_the_network_only() -> None:
    """Other programs never count; a service of an unknown port always does."""
    services = [
        SMTP,
        Service("587", "inet", "smtpd"),
        Service("odd-name", "inet", "smtpd"),
        Service("smtpd", "pass", "smtpd"),
        Service("tlsproxy", "unix", "tlsproxy"),
        Service("smtp", "unix", "smtp"),
        Service("smtp", "inet", "postscreen"),
    ]
    found = instance(*services).tls_services([25])
    assert [str(service) for service in found] == ["smtp/inet", "odd-name/inet", "smtpd/pass", "tlsproxy/unix"]


def test_assignments_are_read_as_postconf_writes_them() -> None:
    """Empty values, values with an equals sign, and lines that are no assignment."""
    text = "a =\nb = x = y\nsmtp/inet/c = 1, 2\npostconf: warning: odd\n"
    assert assignments(text) == {"a": "", "b": "x = y", "smtp/inet/c": "1, 2"}
