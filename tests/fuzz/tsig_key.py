"""The file with the TSIG key: an operator's copy, an editor's, or a disk's."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from pathlib import Path

from rollover.core.errors import PermissionsError
from rollover.dns import message, records
from rollover.dns.errors import TsigKeyError
from rollover.dns.keys import load_tsig_key
from tests.pki import NOW

DIRECTORY = Path(tempfile.mkdtemp(prefix="fuzz-"))
FILE = DIRECTORY / "tsig.key"
FILE.touch(mode=0o600)
atexit.register(shutil.rmtree, DIRECTORY, ignore_errors=True)

GOOD = b'key "rollover-key" {\n\talgorithm hmac-sha256;\n\tsecret "MDEyMzQ1Njc4OWFiY2RlZg==";\n};\n'


def target(octets: bytes) -> None:
    """A file is a key that signs, or an error that never shows the secret."""
    FILE.write_bytes(octets)
    try:
        key = load_tsig_key(FILE)
    except (TsigKeyError, PermissionsError) as error:
        assert error.hint
        assert "MDEyMzQ1Njc4" not in error.message + error.hint
        return
    signed = message.query(records.to_name("_25._tcp.mail.example.org"), records.TLSA, now=NOW, key=key)
    assert signed.mac
    assert key.secret not in repr(key).encode() or len(key.secret) < 12
    assert key.name.isprintable()


def seeds() -> tuple[bytes, ...]:
    """What tsig-keygen(8) writes, with comments, without quotes, with other algorithms."""
    return (
        GOOD,
        GOOD.replace(b'"', b""),
        b"// a comment\n# another\n/* and\n one */" + GOOD,
        GOOD.replace(b"sha256", b"sha512").replace(b"rollover-key", b"A.Key.Example."),
        b'key k { secret "YQ=="; algorithm HMAC-SHA1.; };',
        GOOD.replace(b"rollover-key", b"back\\\\slash\\.dot\\046"),
        GOOD.replace(b"sha256", b"md5"),
    )
