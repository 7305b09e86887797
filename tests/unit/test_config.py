"""The configuration: what is read, and every mistake with file, key, value and what would be right."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path

import pytest

from rollover.config import CommandInstall, Config, NameServer, PostfixInstall, load
from rollover.config.mistakes import EXAMPLES, TABLES
from rollover.core.errors import ConfigError, PermissionsError, RolloverError
from rollover.engine.trust import roots

SMALLEST = """
[dns]
tsig_key = "/etc/rollover/tsig.key"

[services.mail]
hosts = ["mail.example.org"]

[[services.mail.install]]
kind = "postfix"
chain_file = "/etc/rollover/live/mail.pem"
"""

FULL = """
state = "/srv/rollover"

[dns]
primary = "ns1.example.org:5353"
tsig_key = "/etc/rollover/tsig.key"
resolver = "[2001:db8::10]:5300"
also_check = ["192.0.2.54", "192.0.2.55:5353#/etc/rollover/view.key"]
ignore = [{server = "NS3.example.net.", until = "2026-12-24"}, {server = "192.0.2.9", until = 2027-01-01}]
settle = "90s"
propagation_warn = "20m"
timeout = "2.5s"

[[dns.zone]]
name = "dane.example.org."
primary = "192.0.2.54"
tsig_key = "/etc/rollover/dane.key"

[[dns.zone]]
name = "_dane.example.net"
tsig_key = "/etc/rollover/net.key"

[services.mail]
hosts = ["Mail.Example.org.", "xn--bcher-kva.example"]
ports = [25, 587, 143, 465, 993, 995]
addresses = ["192.0.2.25", "2001:DB8:0::25"]
source = ["/etc/letsencrypt/live/mail", "/root/extra.pem"]
records = ["3 1 1", "3 0 2"]
ttl = "36h"
ttls_to_wait = 1
min_wait = "2d"
retain = "0s"
drain = "1m"
verify_timeout = "2m"
check_every = "5m"
trust = "/etc/ssl/my-ca.pem"

[[services.mail.install]]
kind = "postfix"
chain_file = "/etc/rollover/live/mail.pem"
config_directory = "/etc/postfix-out"

[[services.mail.install]]
kind = "command"
cert_file = "/etc/dovecot/mail.crt"
key_file = "/etc/dovecot/mail.key"
owner = "root"
group = 0
mode = "0640"
reload = ["systemctl", "reload", "dovecot"]

[alert]
command = ["/usr/local/bin/page", "--token=x"]
repeat = "1h"
"""

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Return a writer of files below a directory; the main file is rollover.toml."""

    def to(content: str | bytes, name: str = "rollover.toml") -> Path:
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
        return file

    return to


def refused(file: Path | None, kind: type[RolloverError] = ConfigError) -> RolloverError:
    """Return the error with which loading *file* ends."""
    with pytest.raises(kind) as caught:
        load(file)
    return caught.value


# --- what is read


def test_the_smallest_file_has_the_defaults_of_the_interface(write: Write) -> None:
    """A file of one key, one host and one install is enough; everything else has its documented default."""
    config = load(file := write(SMALLEST))

    assert (config.path, config.state) == (file, Path("/var/lib/rollover"))
    dns = config.dns
    assert (dns.primary, dns.resolver, dns.also_check, dns.ignore, dns.zones) == (None, None, (), (), ())
    assert (dns.settle, dns.propagation_warn, dns.timeout) == (0.0, 3600.0, 5.0)
    mail = config.services["mail"]
    assert (mail.name, mail.hosts, mail.ports, mail.addresses) == ("mail", ("mail.example.org",), (25,), ())
    assert (mail.source, mail.records, mail.ttl, mail.ttls_to_wait, mail.trust) == ((), ((3, 1, 1),), None, 2, "auto")
    assert (mail.min_wait, mail.retain, mail.drain) == (0.0, 86400.0, 600.0)
    assert (mail.verify_timeout, mail.check_every) == (60.0, 900.0)
    assert mail.installs == (PostfixInstall(kind="postfix", chain_file="/etc/rollover/live/mail.pem"),)
    assert mail.installs[0].config_directory == Path("/etc/postfix")
    assert (config.alert.command, config.alert.repeat) == ((), 21600.0)


def test_every_key_is_read(write: Write) -> None:
    """Each key of the interface arrives typed: spans in seconds, names in lower case, addresses canonical."""
    config = load(write(FULL))

    dns = config.dns
    assert config.state == Path("/srv/rollover")
    assert dns.primary == NameServer("ns1.example.org", 5353)
    assert dns.resolver == NameServer("2001:db8::10", 5300)
    assert dns.also_check == (
        NameServer("192.0.2.54"),
        NameServer("192.0.2.55", 5353, Path("/etc/rollover/view.key")),
    )
    assert [(x.server, x.until) for x in dns.ignore] == [
        ("ns3.example.net", date(2026, 12, 24)),
        ("192.0.2.9", date(2027, 1, 1)),
    ]
    assert (dns.settle, dns.propagation_warn, dns.timeout) == (90.0, 1200.0, 2.5)
    mail = config.services["mail"]
    assert mail.hosts == ("mail.example.org", "xn--bcher-kva.example")
    assert mail.addresses == ("192.0.2.25", "2001:db8::25")
    assert mail.source == (Path("/etc/letsencrypt/live/mail"), Path("/root/extra.pem"))
    assert (mail.records, mail.ttl, mail.ttls_to_wait) == (((3, 1, 1), (3, 0, 2)), 129600, 1)
    assert (mail.min_wait, mail.retain, mail.drain) == (172800.0, 0.0, 60.0)
    assert (mail.verify_timeout, mail.check_every, mail.trust) == (120.0, 300.0, Path("/etc/ssl/my-ca.pem"))
    postfix, command = mail.installs
    assert isinstance(postfix, PostfixInstall)
    assert postfix.config_directory == Path("/etc/postfix-out")
    assert isinstance(command, CommandInstall)
    assert command.files == {"cert_file": Path("/etc/dovecot/mail.crt"), "key_file": Path("/etc/dovecot/mail.key")}
    assert (command.owner, command.group, command.mode) == ("root", "0", 0o640)
    assert command.reload == ("systemctl", "reload", "dovecot")
    assert config.alert.command == ("/usr/local/bin/page", "--token=x")


def test_a_zone_has_its_own_primary_and_key_or_the_common_ones(write: Write) -> None:
    """What a [[dns.zone]] leaves out comes from [dns]; any other zone has both from there."""
    dns = load(write(FULL)).dns

    own = dns.for_zone("DANE.example.org.")
    assert (own.primary, own.tsig_key) == (NameServer("192.0.2.54"), Path("/etc/rollover/dane.key"))
    half = dns.for_zone("_dane.example.net")
    assert (half.primary, half.tsig_key) == (dns.primary, Path("/etc/rollover/net.key"))
    other = dns.for_zone("example.org.")
    assert (other.primary, other.tsig_key) == (dns.primary, dns.tsig_key)


BLOCK = "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n"
TRUSTS: dict[str, tuple[str | None, str]] = {
    "no such file": (None, "No such file or directory"),
    "an empty file": ("", "there is no certificate in it"),
    "a file of something else": ("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "no certificate in it"),
    "bad base64": (BLOCK.format("A"), "not base64"),
    "no certificate in base64": (BLOCK.format("AAAA"), "cannot be decoded"),
    "a truncated file": (BLOCK.format("AAAA")[:40], "truncated"),
}  # fmt: skip


@pytest.mark.parametrize("row", TRUSTS)
def test_a_trust_that_holds_no_certificates(row: str, write: Write, tmp_path: Path) -> None:
    """It is found when it is used, and told like any mistake: 78, the file with the service, key and value."""
    content, problem = TRUSTS[row]
    ca = tmp_path / "ca.pem"
    if content is not None:
        ca.write_text(content)
    dns, header, services = SMALLEST.partition("[services.mail]")
    more = write(
        header.replace("mail", '"mx.example"') + services.replace("mail.install", '"mx.example".install'),
        "services.d/x.toml",
    )
    more.write_text(more.read_text().replace("hosts", f'trust = "{ca}"\nhosts'))
    config = load(write(dns))

    with pytest.raises(ConfigError) as caught:
        roots(config, config.services["mx.example"])

    assert caught.value.exit_code == 78
    assert caught.value.message.startswith(f'{more}: services."mx.example".trust = "{ca}": ')
    assert problem in caught.value.message
    assert "PEM" in caught.value.hint


def test_a_host_without_ca_certificates(write: Write, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """With "auto" there is nothing to compare with, with "none" nothing is asked for; "system" has to be there."""
    monkeypatch.setattr("rollover.engine.trust.SYSTEM_TRUST", tmp_path / "store.crt")
    found = {}
    for word in ("auto", "none", "system"):
        config = load(write(SMALLEST.replace("hosts", f'trust = "{word}"\nhosts')))
        try:
            found[word] = roots(config, config.services["mail"])
        except ConfigError as error:
            found[word] = error.message

    assert (found["auto"], found["none"]) == (None, None)
    assert f'services.mail.trust = "system" ({tmp_path}/store.crt): No such file' in str(found["system"])


def test_nothing_can_be_changed_after_reading(write: Write) -> None:
    """The models are frozen."""
    config = load(write(SMALLEST))

    with pytest.raises(ValueError, match="frozen"):
        config.services["mail"].ttl = 1


# --- which file


def test_the_option_goes_before_the_variable(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    """--config wins over $ROLLOVER_CONFIG, which wins over the default path."""
    by_variable = write(SMALLEST.replace("services.mail", "services.other"), "other/by-variable.toml")
    monkeypatch.setenv("ROLLOVER_CONFIG", str(by_variable))

    assert list(load(write(SMALLEST)).services) == ["mail"]
    assert list(load(None).services) == ["other"]


def test_services_of_other_files_are_joined(write: Write) -> None:
    """services.d/*.toml beside the main file are read in the order of their names; other files are left alone."""
    main = write(SMALLEST)
    service = SMALLEST.partition("[services.mail]")
    for number in (2, 1):
        content = (service[1] + service[2]).replace("mail", f"mail{number}")
        write(content, f"services.d/{number}.toml")
    write("broken = = ", "services.d/.hidden.toml")
    write("broken = = ", "services.d/3.toml.bak")

    assert [x.name for x in load(main)] == ["mail", "mail1", "mail2"]


def test_services_may_be_in_other_files_alone(write: Write) -> None:
    """The main file needs no service when there is one in services.d."""
    dns, header, services = SMALLEST.partition("[services.mail]")
    write(header + services, "services.d/mail.toml")

    assert list(load(write(dns)).services) == ["mail"]


def test_an_absent_file_says_where_it_was_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a file the error names the path and who named it, and points to the README."""
    error = refused(tmp_path / "no.toml")
    assert (error.exit_code, error.message) == (
        78,
        f"no configuration: {tmp_path}/no.toml does not exist (named by --config)",
    )
    assert "README.md" in error.hint
    assert "--config FILE" in error.hint

    monkeypatch.setenv("ROLLOVER_CONFIG", str(tmp_path / "a.toml" / "b.toml"))
    assert "(named by $ROLLOVER_CONFIG)" in refused(None).message


def test_an_empty_variable_is_none_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty $ROLLOVER_CONFIG leaves the default path."""
    monkeypatch.setenv("ROLLOVER_CONFIG", "")
    monkeypatch.setattr("rollover.config.files.DEFAULT_PATH", Path("/nonexistent/rollover.toml"))

    assert refused(None).message == "no configuration: /nonexistent/rollover.toml does not exist"


def test_a_directory_is_refused(tmp_path: Path) -> None:
    """A directory instead of a file is exit 78, with the file that was probably meant."""
    error = refused(tmp_path)

    assert (error.exit_code, error.message) == (78, f"{tmp_path}: a directory, not a file")
    assert f"{tmp_path}/rollover.toml" in error.hint


@contextmanager
def as_nobody() -> Iterator[None]:
    """Without the rights of root, which may read everything."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_a_closed_file_is_a_matter_of_permission() -> None:
    """A file, or a services.d, that we may not read is exit 77."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        directory.chmod(0o755)
        main, more = directory / "rollover.toml", directory / "services.d"
        main.write_text(SMALLEST)
        more.mkdir(mode=0)
        with as_nobody():
            closed_directory = refused(main, PermissionsError)
        main.chmod(0)
        with as_nobody():
            closed_file = refused(main, PermissionsError)
        more.chmod(0o700)

    assert (closed_directory.exit_code, closed_file.exit_code) == (77, 77)
    assert closed_directory.message.startswith(f"{more}: not readable by user ")
    assert closed_file.message.startswith(f"{main}: not readable by user ")


def test_a_file_that_everybody_may_write_is_refused(write: Write) -> None:
    """Commands in the configuration are run as root, so a file that any user may write is exit 77."""
    main = write(SMALLEST)
    main.chmod(0o666)

    error = refused(main, PermissionsError)

    assert error.message == f"{main}: every user of this host can write it"
    assert error.hint == f"chmod o-w {main}"


# --- mistakes in the text of the file

TOML_MISTAKES = {
    "text without quotes": ("[dns]\ntsig_key = s3cret\n", ["line 2, tsig_key", "in quotes"]),
    "a bracket that is not closed": ('[dns]\ntsig_key = "/k"\n\n[services.mail\n', ["line 4", "Expected ']'"]),
    "a list that is not closed": ('[services.mail]\nhosts = ["a.example"\n', ["line 2, hosts", "Unclosed array"]),
    "a key that is there twice": (
        '[dns]\ntimeout = "1s"\ntimeout = "2s"\n',
        ["line 3, timeout", "Cannot overwrite", "each key and each [table] is there once"],
    ),
    "a table that is there twice": ("[dns]\n[dns]\n", ["line 2", "Cannot declare"]),
    "no TOML at all": ("primary 192.0.2.53\n", ["line 1", "Expected '='"]),
    "Latin-1": (b"[dns]\n# f\xfcr Post\n", ["line 2", "not UTF-8", "save the file as UTF-8"]),
    "a byte order mark": ("\ufeff[dns]\n", ["line 1", "byte order mark", "without BOM"]),
    "a NUL": (b"[dns]\0\n", ["line 1"]),
    "very deep lists": (f"a = {'[' * 5000}", ["too deep"]),
    "a gigantic file": ("#" * (4 * 1024 * 1024 + 1), ["larger than 4194304 octets"]),
}


@pytest.mark.parametrize("row", TOML_MISTAKES)
def test_broken_toml_names_line_and_key(row: str, write: Write) -> None:
    """A file that is no TOML is exit 78 with file, line and key; the value is not repeated."""
    content, fragments = TOML_MISTAKES[row]

    error = refused(file := write(content))

    assert error.exit_code == 78
    assert error.message.startswith(f"{file}: ")
    for fragment in fragments:
        assert fragment in f"{error.message}\n{error.hint}"
    assert "s3cret" not in f"{error.message}\n{error.hint}"


# --- mistakes in keys and values

# What is changed in FULL (old text, new text), and what the two lines then have in them.
MISTAKES: dict[str, tuple[str, str, list[str]]] = {
    # keys
    "a mistyped key": ("settle =", "setle =", ["dns.setle: unknown key", "did you mean `settle`?"]),
    "a mistyped key that has to be there": ("hosts =", "host =", ["services.mail.host: unknown key", "did you mean `hosts`?"]),
    "a mistyped table": ("[alert]", "[alerts]", ["alerts: unknown key", "did you mean `alert`?"]),
    "a mistyped services": ("[alert]", "[service.web]\n[alert]", ["service: unknown key", "did you mean `services`?"]),
    "a mistyped install": ("[alert]", "[[services.mail.instal]]\n[alert]", ["services.mail.instal", "`install`"]),
    "a key of another table": ("settle =", "drain =", ["dns.drain: unknown key", "`drain` belongs in [services.NAME]"]),
    "a key at the top that belongs in [dns]": ("state =", 'primary = "192.0.2.1"\nstate =', ["primary: unknown key", "[dns]"]),
    "a key below a table that belongs at the top": (
        "[alert]\n",
        '[alert]\nstate = "/srv"\n',
        ["alert.state: unknown key", "belongs in the top of the file, before the first [table]"],
    ),
    "a key of postfix in a command": (
        'owner = "root"',
        'config_directory = "/etc/postfix"',
        ["services.mail.install[1].config_directory: unknown key", 'with kind = "postfix"'],
    ),
    "a key that nobody knows": ("settle =", "colour =", ["dns.colour: unknown key", "known here: primary, tsig_key, resolver"]),
    "standby keys": ("drain =", "standby = true\ndrain =", ["services.mail.standby: unknown key", "comes with a later one", "take it out"]),
    "a key type": ("drain =", 'key_type = "rsa-2048"\ndrain =', ["services.mail.key_type", "version 0.", "later"]),
    "orders of its own": ("[alert]", '[services.mail.acme]\ndirectory = "x"\n[alert]', ["services.mail.acme", "later"]),
    "a name in a service": ("drain =", 'name = "x"\ndrain =', ["services.mail.name: unknown key", "[services.NAME]"]),
    "an unknown key in a zone": ('name = "dane', 'nme = "dane', ["dns.zone[0].nme: unknown key", "did you mean `name`?"]),
    "an unknown key in ignore": ("until = 2027", "til = 2027", ["dns.ignore[1].til: unknown key", "did you mean `until`?"]),
    # missing
    "no tsig_key": ('tsig_key = "/etc/rollover/tsig.key"\nresolver', "resolver", ["dns.tsig_key is missing", "tsig-keygen"]),
    "no hosts": ('hosts = ["Mail.Example.org.", "xn--bcher-kva.example"]', "", ["services.mail.hosts is missing", "hosts = ["]),
    "no kind": ('kind = "postfix"', "", ["services.mail.install[0].kind is missing", 'kind = "postfix" or']),
    "no chain_file": ('chain_file = "/etc/rollover/live/mail.pem"', "", ["install[0].chain_file is missing", "chain_file = "]),
    "no reload": ("reload =", "# =", ["install[1].reload is missing", 'reload = ["systemctl", "reload", "dovecot"]']),
    "no until": (', until = "2026-12-24"', "", ["dns.ignore[0].until is missing", 'until = "2026-12-24"']),
    # types
    "hosts as text": ('hosts = ["Mail.Example.org.", "xn--bcher-kva.example"]', 'hosts = "m.example"', ['services.mail.hosts = "m.example": not a list', 'write hosts = ["m.example"]']),
    "ports as a number": ("ports = [25, 587, 143, 465, 993, 995]", "ports = 25", ["services.mail.ports = 25: not a list", "write ports = [25]"]),
    "a port as text": ("ports = [25,", 'ports = ["25",', ['services.mail.ports[0] = "25": not a port number', "ports = [25]"]),
    "a state that is a number": ('"/srv/rollover"', "7", ["state = 7: not text", '"/var/lib/rollover"']),
    "ttls_to_wait as text": ("ttls_to_wait = 1", 'ttls_to_wait = "2"', ['services.mail.ttls_to_wait = "2": not a whole number']),
    "ttls_to_wait as a truth": ("ttls_to_wait = 1", "ttls_to_wait = true", ["ttls_to_wait = true: not a whole number"]),
    "addresses as a table": ('addresses = ["192.0.2.25", "2001:DB8:0::25"]', "addresses = {}", ["services.mail.addresses", "a list"]),
    "a list in a list": ("ports = [25,", "ports = [[25],", ["services.mail.ports[0] = [25]: not a port number"]),
    # durations
    "a duration without unit": ('"90s"', "90", ["dns.settle = 90: a number without a unit", '"90s"']),
    "a duration in words": ('"90s"', '"two days"', ['dns.settle = "two days": not a duration', '"36h"']),
    "a duration in weeks": ('retain = "0s"', 'retain = "1w"', ['services.mail.retain = "1w": not a duration', '"2d"']),
    "a negative duration": ('retain = "0s"', 'retain = "-1d"', ['services.mail.retain = "-1d": not a duration']),
    "no time for an answer": ('"2.5s"', '"0s"', ['dns.timeout = "0s": too short', 'from "0.1s" to "1m"']),
    "a timeout of an hour": ('"2.5s"', '"1h"', ['dns.timeout = "1h": too long', 'to "1m"']),
    "settle for a month": ('"90s"', '"30d"', ['dns.settle = "30d": too long', 'to "7d"']),
    "a look once a week": ('check_every = "5m"', 'check_every = "7d"', ['check_every = "7d": too long', 'to "1d"']),
    "verified in no time": ('verify_timeout = "2m"', 'verify_timeout = "0s"', ['verify_timeout = "0s": too short', 'from "1s" to "1h"']),
    "a TTL of nothing": ('ttl = "36h"', 'ttl = "0s"', ['services.mail.ttl = "0s": too short', 'write "keep"']),
    "a TTL in fractions": ('ttl = "36h"', 'ttl = "1.5s"', ['services.mail.ttl = "1.5s": not in whole seconds', "RFC 2181"]),
    "a TTL that is another word": ('ttl = "36h"', 'ttl = "kept"', ['services.mail.ttl = "kept": not a duration', 'write "keep"']),
    "no TTL waited": ("ttls_to_wait = 1", "ttls_to_wait = 0", ["ttls_to_wait = 0: out of range", "RFC 7671 §8.1"]),
    "a date that does not exist": ("2026-12-24", "2026-02-30", ['dns.ignore[0].until = "2026-02-30": no such day', "2026-12-24"]),
    "a date the other way round": ("2026-12-24", "24.12.2026", ['dns.ignore[0].until = "24.12.2026": not a date', 'until = "2026-12-24"']),
    "for ever": ('"2026-12-24"', '"never"', ['dns.ignore[0].until = "never": not a date']),
    "an instant for a day": ("until = 2027-01-01", "until = 2027-01-01T00:00:00Z", ["dns.ignore[1].until = 2027-01-01", "not a date"]),
    # names
    "no host at all": ('hosts = ["Mail.Example.org.", "xn--bcher-kva.example"]', "hosts = []", ["services.mail.hosts = []: empty", "name at least one"]),
    "the same host twice": ("xn--bcher-kva.example", "mail.example.ORG", ["services.mail.hosts", "mail.example.org is there twice"]),
    "an internationalised host": ("xn--bcher-kva.example", "Bücher.example", ['hosts[1] = "Bücher.example"', 'A-label form: "xn--bcher-kva.example"']),
    "a host with a sharp s": ("xn--bcher-kva.example", "straße.example", ["hosts[1]", '"xn--strae-oqa.example"']),
    "an address as host": ("xn--bcher-kva.example", "192.0.2.1", ['hosts[1] = "192.0.2.1": an address', "`addresses`"]),
    "a host with a port": ("xn--bcher-kva.example", "m.example.org:25", ["a name with a port", 'write "m.example.org" here', "`ports`"]),
    "a wildcard as host": ("xn--bcher-kva.example", "*.example.org", ['hosts[1] = "*.example.org": a wildcard', "MX record"]),
    "a mail address as host": ("xn--bcher-kva.example", "post@example.org", ["hosts[1]", "not a host name"]),
    "a TLSA owner as host": ("xn--bcher-kva.example", "_25._tcp.example.org", ["hosts[1]", "not a host name"]),
    "a short host name": ("xn--bcher-kva.example", "mail", ['hosts[1] = "mail": not a fully qualified host name', "whole name"]),
    "a host name with a hyphen at its end": ("xn--bcher-kva.example", "mail-.example.org", ["hosts[1]", "not a domain name"]),
    "a host name that is too long": ("xn--bcher-kva.example", "a" * 64 + ".example", ["hosts[1]", "not a domain name"]),
    "an empty host name": ("xn--bcher-kva.example", "", ['hosts[1] = "": not a domain name']),
    "a line break in a host name": ("xn--bcher-kva.example", "a\\n.example", ["hosts[1]", "control characters"]),
    "an empty label in a zone": ("dane.example.org.", "dane..example.org", ['dns.zone[0].name = "dane..example.org": not a domain name']),
    "a zone that is there twice": ("_dane.example.net", "dane.example.org", ['dns.zone[1].name = "dane.example.org": there already']),
    "a zone without anything of its own": ('name = "_dane.example.net"\ntsig_key = "/etc/rollover/net.key"', 'name = "x.example"', ["dns.zone[1]: it has neither primary nor tsig_key"]),
    # addresses and ports
    "an unknown port": ("ports = [25,", "ports = [26,", ["services.mail.ports[0] = 26: no protocol is known", "25 and 587"]),
    "POP3 with STARTTLS": ("ports = [25,", "ports = [110,", ["services.mail.ports[0] = 110", "993 and 995 (implicit TLS)"]),
    "the same port twice": ("ports = [25,", "ports = [25, 25,", ["services.mail.ports", "25 is there twice"]),
    "no port": ("ports = [25, 587, 143, 465, 993, 995]", "ports = []", ["services.mail.ports = []: empty"]),
    "a name among the addresses": ('"192.0.2.25"', '"mx.example"', ['addresses[0] = "mx.example": not an IP address', '"2001:db8::25"']),
    "an address that does not exist": ('"192.0.2.25"', '"192.0.2.256"', ['addresses[0] = "192.0.2.256": not an IP address']),
    "an address with a prefix length": ('"192.0.2.25"', '"192.0.2.0/24"', ["addresses[0]", "without port or prefix length"]),
    "an address of nothing": ('"192.0.2.25"', '"0.0.0.0"', ['addresses[0] = "0.0.0.0": no server can be reached']),
    "a multicast address": ('"192.0.2.25"', '"ff02::1"', ['addresses[0] = "ff02::1": no server can be reached']),
    "one address in two forms": ('"192.0.2.25"', '"2001:db8::0:25"', ["services.mail.addresses", "2001:db8::25 is there twice"]),
    "a resolver by name": ('"[2001:db8::10]:5300"', '"dns.example.org"', ['dns.resolver = "dns.example.org": not an address', "192.0.2.53:5353"]),
    "a primary that is no address": ('"ns1.example.org:5353"', '"192.0.2.300"', ['dns.primary = "192.0.2.300": neither a name nor an address']),
    "a primary as URL": ('"ns1.example.org:5353"', '"dns://192.0.2.1"', ['dns.primary = "dns://192.0.2.1": neither a name']),
    "an internationalised primary": ('"ns1.example.org:5353"', '"bücher.example"', ["dns.primary", '"xn--bcher-kva.example"']),
    "a port that is too large": ("ns1.example.org:5353", "ns1.example.org:65536", ["dns.primary", "no such port", "from 1 to 65535"]),
    "port 0": ("ns1.example.org:5353", "192.0.2.53:0", ['dns.primary = "192.0.2.53:0": no such port']),
    "a key file behind the primary": ("ns1.example.org:5353", "192.0.2.53#/k", ["dns.primary", "no key file can be named here"]),
    "a further server by name": ('"192.0.2.54", "192.0.2.55', '"ns9.example", "192.0.2.55', ['dns.also_check[0] = "ns9.example": not an address']),
    "a further server twice": ('"192.0.2.54", "192.0.2.55:5353#/etc/rollover/view.key"', '"192.0.2.54", "192.0.2.54:53"', ["dns.also_check", "192.0.2.54 is there twice"]),
    "an ignored server with a port": ('"NS3.example.net."', '"192.0.2.9:5353"', ['dns.ignore[0].server = "192.0.2.9:5353": a port is not needed', 'write "192.0.2.9"']),
    # records
    "no record": ('records = ["3 1 1", "3 0 2"]', "records = []", ["services.mail.records = []: empty"]),
    "a record of usage 2": ('"3 0 2"', '"2 1 1"', ['records[1] = "2 1 1"', "a CA that may change them", '"3 1 1"']),
    "a record of usage 1": ('"3 0 2"', '"1 1 1"', ['records[1] = "1 1 1"', "RFC 7672 §3.1.3"]),
    "a record of usage 4": ('"3 0 2"', '"4 1 1"', ['records[1] = "4 1 1": no such usage']),
    "a record of selector 2": ('"3 0 2"', '"3 2 1"', ['records[1] = "3 2 1": no such selector']),
    "a record with all data": ('"3 0 2"', '"3 1 0"', ['records[1] = "3 1 0": matching type 0', "RFC 7671 §10.1.1"]),
    "a record of matching type 3": ('"3 0 2"', '"3 1 3"', ['records[1] = "3 1 3": no such matching type']),
    "a record with its digest": ('"3 0 2"', '"3 1 1 0c72"', ["records[1]", "only the three numbers", "computed from each certificate"]),
    "a record in words": ('"3 0 2"', '"DANE-EE"', ['records[1] = "DANE-EE": not usage, selector and matching type']),
    "a record as number": ('"3 0 2"', "311", ["records[1] = 311: not text", '"3 1 1"']),
    "the same record twice": ('"3 0 2"', '"3  1 1"', ["services.mail.records", "3 1 1 is there twice"]),
    # files and programs
    "a relative chain_file": ('"/etc/rollover/live/mail.pem"', '"live/mail.pem"', ['install[0].chain_file = "live/mail.pem": not a whole path', '"/etc/rollover/live/mail.pem"']),
    "a home directory": ('"/etc/rollover/live/mail.pem"', '"~/mail.pem"', ['chain_file = "~/mail.pem": not a whole path']),
    "an empty path": ('"/srv/rollover"', '""', ['state = "": empty', '"/var/lib/rollover"']),
    "the root directory": ('"/srv/rollover"', '"/"', ['state = "/": not a path of its own']),
    "a path with dots": ('"/srv/rollover"', '"/srv/../etc"', ['state = "/srv/../etc": not a path of its own', 'without ".."']),
    "an unknown kind": ('kind = "command"', 'kind = "dovecot"', ['install[1].kind = "dovecot": no such kind', 'kind = "command" with a reload']),
    "a command that is text": ('["systemctl", "reload", "dovecot"]', '"systemctl reload dovecot"', ["install[1].reload: not a list of words", '["systemctl", "reload", "dovecot"]']),
    "a reload of nothing": ('["systemctl", "reload", "dovecot"]', "[]", ["install[1].reload: empty"]),
    "a program without name": ('["systemctl", "reload", "dovecot"]', '["", "x"]', ["install[1].reload: the program has no name"]),
    "an alert that is text": ('["/usr/local/bin/page", "--token=x"]', '"page --token=x"', ["alert.command: not a list of words", '["/usr/local/bin/page"]']),
    "a certificate without key": ('key_file = "/etc/dovecot/mail.key"', "", ["install[1]: a new certificate beside an old key", "both cert_file and key_file"]),
    "a command without files": ('cert_file = "/etc/dovecot/mail.crt"\nkey_file = "/etc/dovecot/mail.key"', "", ["install[1]: it names no file", "chain_file (key and chain"]),
    "a mode that opens the key": ('"0640"', '"0644"', ['install[1].mode = "0644": every user of this host could use the private key', '"0600"']),
    "a mode as number": ('"0640"', "640", ["install[1].mode = 640: a number", 'mode = "0600"']),
    "a mode that is none": ('"0640"', '"0890"', ['install[1].mode = "0890": not a file mode']),
    "a mode without reading": ('"0640"', '"0200"', ['install[1].mode = "0200"', "its owner reads"]),
    "an owner that is no name": ('"root"', '"ro ot"', ['install[1].owner = "ro ot": not the name of a user', '"dovecot"']),
    "a word for trust": ('"/etc/ssl/my-ca.pem"', '"yes"', ['services.mail.trust = "yes": neither', '"auto", "system", "none"']),
    "a relative source": ('"/root/extra.pem"', '"extra.pem"', ["services.mail.source", "not a whole path", "/etc/letsencrypt/live/mail.example.org"]),
    "a source that is a number": ('["/etc/letsencrypt/live/mail", "/root/extra.pem"]', "5", ["services.mail.source = 5: not text"]),
    "two installs of one file": ('cert_file = "/etc/dovecot/mail.crt"', 'cert_file = "/etc/rollover//live/mail.pem"', ["install[1].cert_file", "also written by services.mail.install[0].chain_file"]),
    "an install into the source": ('"/etc/rollover/live/mail.pem"', '"/etc/letsencrypt/live/mail/fullchain.pem"', ["install[0].chain_file", 'inside source = "/etc/letsencrypt/live/mail"', "/etc/rollover/live/mail.pem"]),
    # names of services
    "a service name with a slash": ("[alert]", '[services."../x"]\n[alert]', ['services."../x": not a name for a service', "[services.mail]"]),
    "a service name with dots, without quotes": (
        "[alert]",
        '[services.mx.example.org]\nhosts = ["mx.example.org"]\n[alert]',
        ["services.mx.example: unknown key", '[services."mail.example.org"]'],
    ),
}  # fmt: skip


@pytest.mark.parametrize("row", MISTAKES)
def test_a_mistake_names_file_key_value_and_what_would_be_right(row: str, write: Write) -> None:
    """Each mistake is exit 78, one line that begins with file and key, and one hint of what is right."""
    old, new, fragments = MISTAKES[row]
    assert old in FULL, f"{old} is not in the file"

    error = refused(file := write(FULL.replace(old, new, 1)))

    assert error.exit_code == 78
    assert error.message.startswith(f"{file}: ")
    assert "\n" not in error.message + error.hint
    for fragment in fragments:
        assert fragment in f"{error.message}\n{error.hint}"


def test_there_are_enough_rows() -> None:
    """The table of mistakes covers every key that a table of the configuration has."""
    text = " ".join(" ".join(row) for _, _, row in MISTAKES.values())
    keys = {field.alias or name for model in TABLES.values() for name, field in model.model_fields.items()}

    assert len(MISTAKES) + len(TOML_MISTAKES) >= 60
    assert {key for key in keys if key not in text} <= {"propagation_warn", "min_wait", "repeat", "group", "cert_file"}


def test_several_mistakes_are_counted(write: Write) -> None:
    """The first mistake is shown, and how many more there are."""
    error = refused(
        write(SMALLEST.replace('"mail.example.org"', '"mail", "192.0.2.1"').replace("/etc/rollover/tsig", "tsig"))
    )

    assert "dns.tsig_key" in error.message
    assert error.message.endswith("(and 2 more mistakes)")


def test_no_dns_table_is_a_mistake(write: Write) -> None:
    """A file without [dns], or with something else under that name, says what belongs there."""
    rest = SMALLEST.partition("[services.mail]")[2]

    error = refused(file := write("[services.mail]" + rest))
    assert error.message == f"{file}: dns is missing"
    assert 'tsig_key = "/etc/rollover/tsig.key"' in error.hint
    assert 'dns = "192.0.2.53": not a table' in refused(write('dns = "192.0.2.53"\n[services.mail]' + rest)).message
    assert "2 more" not in refused(write("")).message


def test_no_service_is_a_mistake(write: Write) -> None:
    """A file without any service says how to write one."""
    error = refused(file := write(SMALLEST.partition("[services")[0]))

    assert error.message == f"{file}: no service is configured"
    assert EXAMPLES["services"] in error.hint


def test_services_that_are_no_tables(write: Write) -> None:
    """`services = …` and a service that is a number are named, not a traceback."""
    dns = SMALLEST.partition("[services")[0]

    assert 'services = "mail": not a table' in refused(write('services = "mail"\n' + dns)).message
    assert "services.mail: not a table" in refused(write("services.mail = 3\n" + dns)).message
    one = SMALLEST.replace("[[services.mail.install]]", "[services.mail.install]")
    error = refused(write(one))
    assert "services.mail.install: one table, where a list of them belongs" in error.message
    assert "[[services.mail.install]]" in error.hint
    number = SMALLEST.replace("[[services.mail.install]]", "install = [1]\n[alert]").replace(
        'kind = "postfix"\nchain_file', "#"
    )
    assert "services.mail.install[0]" in refused(write(number)).message


def test_two_services_naming_one_file(write: Write) -> None:
    """Two services that would write one chain_file are refused, with both keys and the other's file."""
    main = write(SMALLEST)
    _, header, rest = SMALLEST.partition("[services.mail]")
    other = write((header + rest).replace("services.mail", "services.web"), "services.d/web.toml")

    error = refused(main)

    assert error.exit_code == 78
    assert error.message == (
        f'{other}: services.web.install[0].chain_file = "/etc/rollover/live/mail.pem": '
        f"also written by services.mail.install[0].chain_file in {main}"
    )
    assert "a file of its own" in error.hint


def test_two_services_at_one_owner_have_one_ttl(write: Write) -> None:
    """An RRset has one TTL: two services there with two of them are refused; elsewhere each has its own."""
    main = write(SMALLEST)
    _, _, rest = SMALLEST.partition("[services.mail]")
    web = "[services.web]" + rest.replace("services.mail", "services.web").replace("live/mail", "live/web").replace(
        "hosts =", 'ttl = "5m"\nhosts ='
    )
    other = write(web, "services.d/web.toml")

    error = refused(main)

    assert error.exit_code == 78
    assert error.message.startswith(f"{other}: services.web.ttl: another one than services.mail has")
    assert "_25._tcp.mail.example.org" in error.message
    assert "the same ttl" in error.hint
    write(web.replace("mail.example.org", "www.example.org"), "services.d/web.toml")
    assert load(main).services["web"].ttl == 300


def test_one_name_in_two_files(write: Write) -> None:
    """The same service in two files is refused, with both files."""
    main = write(SMALLEST)
    _, header, rest = SMALLEST.partition("[services.mail]")
    other = write(header + rest, "services.d/mail.toml")

    error = refused(main)

    assert error.message == f"{other}: services.mail: also in {main}"


def test_a_services_file_has_services_only(write: Write) -> None:
    """[dns] in a file of services.d is refused, with the file where it belongs."""
    main = write(SMALLEST)
    other = write(SMALLEST.replace("mail", "web"), "services.d/web.toml")

    error = refused(main)

    assert error.message.startswith(f"{other}: dns: only services can be in this file")
    assert str(main) in error.hint


def test_a_mistake_in_a_services_file_names_that_file(write: Write) -> None:
    """A wrong value in services.d is reported with its own file."""
    main = write(SMALLEST)
    _, header, rest = SMALLEST.partition("[services.mail]")
    other = write((header + rest).replace("mail", "web").replace('"web.example.org"', '"web"'), "services.d/web.toml")

    assert refused(main).message.startswith(f'{other}: services.web.hosts[0] = "web": ')


SECRET = "bWFkZSB1cCBmb3IgdGhpcyB0ZXN0IG9ubHk="  # base64, as in a file of tsig-keygen

SECRETS = {
    "the secret instead of its file": f'[dns]\ntsig_key = "{SECRET}"\n',
    "a table with the secret": f'[dns]\ntsig_key = {{algorithm = "hmac-sha256", secret = "{SECRET}"}}\n',
    "a key that does not exist": f'[dns]\ntsig_key = "/k"\ntsig_secret = "{SECRET}"\n',
    "behind an address": f'[dns]\ntsig_key = "/k"\nalso_check = ["192.0.2.1#{SECRET}"]\n',
    "behind no address": f'[dns]\ntsig_key = "/k"\nalso_check = ["ns1#{SECRET}"]\n',
    "as the primary": f'[dns]\ntsig_key = "/k"\nprimary = "hmac-sha256:key:{SECRET}"\n',
    "in a list": f'[dns]\ntsig_key = "/k"\ntimeout = ["{SECRET}"]\n',
    "in a command": f'[dns]\ntsig_key = "/k"\n[alert]\ncommand = "curl -H {SECRET} x"\n',
    "in broken TOML": f"[dns]\ntsig_key = {SECRET}\n",
}


@pytest.mark.parametrize("row", SECRETS)
def test_a_secret_is_never_repeated(row: str, write: Write) -> None:
    """Whatever is wrong around it, a secret in the file is not in the error."""
    error = refused(write(SECRETS[row]))

    assert SECRET not in f"{error.message}\n{error.hint}"
    assert SECRET[:12] not in f"{error.message}\n{error.hint}"


def test_what_follows_an_address_is_not_repeated(write: Write) -> None:
    """Behind the # of also_check stands a key file, or by mistake the key: it is cut, however short."""
    error = refused(write('[dns]\ntsig_key = "/k"\nalso_check = ["ns1#c2hvcnQ"]\n'))

    assert 'dns.also_check[0] = "ns1#…": what follows the # is not the whole path' in error.message
    assert "c2hvcnQ" not in f"{error.message}\n{error.hint}"


@pytest.mark.parametrize("character", ["\\u001b", "\\u009b", "\\u202e"])
def test_what_stands_in_the_file_cannot_drive_the_terminal(character: str, write: Write) -> None:
    """Escape sequences and changes of direction in names are shown as text."""
    error = refused(write(SMALLEST.replace("[dns]", f'[dns]\n"{character}[2J" = 1')))

    assert error.message.isprintable()
    assert f"{character}[2J".lower() in error.message.lower()


def test_reading_is_linear(write: Write) -> None:
    """A thousand services are read, each with two installs, and stay in their order."""
    service = FULL.partition("[services.mail]")
    body = (service[1] + service[2].partition("[alert]")[0]).replace("/etc/letsencrypt/live/mail", "/le/mail")
    parts = [
        body.replace("services.mail", f"services.m{i}")
        .replace("live/mail", f"live/m{i}")
        .replace("dovecot/mail", f"dovecot/m{i}")
        for i in range(1000)
    ]

    config: Config = load(write(SMALLEST.partition("[services")[0] + "".join(parts)))

    assert list(config.services) == [f"m{i}" for i in range(1000)]
