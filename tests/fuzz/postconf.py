"""What postconf(1) prints of main.cf and master.cf, which other people write."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from pathlib import Path
from unittest import mock

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from rollover.core.errors import RolloverError
from rollover.mail import mastercf, postfix
from rollover.mail.run import Finished
from tests.fuzz import certificate

DIRECTORY = Path(tempfile.mkdtemp(prefix="fuzz-"))
atexit.register(shutil.rmtree, DIRECTORY, ignore_errors=True)
CHAIN = DIRECTORY / "c.pem"
CHAIN.write_bytes(
    certificate.fixed(3).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()) + certificate.seeds()[0][1:]
)

SEPARATOR = b"\x1e"  # between the outputs for -x, -x -P, -M, -n, -P


def target(octets: bytes) -> None:
    """Any output is a configuration, one line that says what is wrong with it, or a MailError."""
    parts = [part.decode("utf-8", "replace").replace("DIR", str(DIRECTORY)) for part in octets.split(SEPARATOR)]

    def run(command: list[str], *, timeout: float = 10.0) -> Finished:
        if command[0] != "postconf":
            return Finished(0, "", "")
        order = {("-x", "-P"): 1, ("-M",): 2, ("-n",): 3, ("-P",): 4}
        at = order.get(tuple(command[3:]), 3 if command[3] == "-n" else 0)
        return Finished(0, parts[at] if at < len(parts) else "", "")

    with mock.patch.object(mastercf, "run", run), mock.patch.object(postfix, "run", run):
        it = postfix.Postfix(DIRECTORY)
        instance = mastercf.read_instance(str(DIRECTORY))
        for service in instance.services:
            instance.certificates_of(service)
            assert service.port is None or service.port >= 0
        for ports in (None, [25]):
            assert isinstance(it.wiring(CHAIN, ports=ports), str)
            for finding in it.check(CHAIN, ports=ports, beside=["/b.pem"]):
                assert finding.message
            for chain_file in ("", CHAIN):
                try:
                    it.current_chain(chain_file, ports=ports, beside=["/b.pem"])
                except RolloverError as error:
                    assert error.hint
        for use in (it.parameters, lambda: it.chain_of(it.parameters()), it.drop_ignored):
            try:
                use()
            except RolloverError as error:
                assert error.hint


def seeds() -> tuple[bytes, ...]:
    """A usual instance, one with overrides, one with pairs."""
    main = b"smtpd_tls_security_level = may\nsmtpd_tls_chain_files = DIR/c.pem\ntls_server_sni_maps =\n"
    master = b"smtp       inet  n       -       y       -       -       smtpd\n"
    more = b"127.0.0.1:587 inet n - n - - smtpd -o x=y\ntlsproxy unix - - y - 0 tlsproxy\n"
    over = b"127.0.0.1:587/inet/smtpd_tls_security_level = encrypt\n587/inet/smtpd_tls_cert_file = DIR/c.pem\n"
    pairs = b"smtpd_tls_cert_file = DIR/c.pem\nsmtpd_tls_key_file = $smtpd_tls_cert_file\nsmtpd_use_tls = yes\n"
    return (
        SEPARATOR.join((main, b"", master, main, b"")),
        SEPARATOR.join((main, over, master + more, main, over)),
        SEPARATOR.join((pairs, b"", master + more, pairs, b"smtp/inet/x = ${smtpd_tls_cert_file}\n")),
        SEPARATOR.join((main + b"tls_server_sni_maps = hash:/x\n", b"", master)),
    )
