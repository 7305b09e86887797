"""The command line that a hook ends in: its words, the files that they name, and the environment."""

from __future__ import annotations

import atexit
import contextlib
import io
import os
import shutil
import sys
import tempfile
from pathlib import Path
from unittest import mock

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from rollover.cli import rolling
from rollover.cli.app import main
from tests.fuzz import certificate, config

DIRECTORY = Path(tempfile.mkdtemp(prefix="fuzz-"))
atexit.register(shutil.rmtree, DIRECTORY, ignore_errors=True)
CONFIG = DIRECTORY / "rollover.toml"
CONFIG.write_bytes(b'state = "' + bytes(DIRECTORY) + b'/state"\n' + config.DNS + config.SERVICE)

SEPARATOR = b"\0"  # no word of a command line can have it


def target(octets: bytes) -> None:
    """Two lines and an exit code of sysexits(3) for any words; never a bug, never a traceback."""
    mode, content, *words = [*octets.split(SEPARATOR)[:8], b"", b""]
    words = words[:-2] if len(words) > 1 else []
    for name in ("chain.pem", "privkey.pem"):
        (DIRECTORY / name).write_bytes(content)
        (DIRECTORY / name).chmod(0o600)
    arguments = [os.fsdecode(word.replace(b"DIR", bytes(DIRECTORY))) for word in words]
    environment = {"ROLLOVER_CONFIG": str(CONFIG)}
    match mode[:1]:
        case b"t":
            arguments = ["tlsa", *arguments]
        case b"c":
            environment["ROLLOVER_CONFIG"] = os.fsdecode(mode[1:])
            arguments = ["deploy", *arguments]
        case _:
            arguments = ["deploy", *arguments]
    out, err = _stream("strict"), _stream("backslashreplace")  # as Python opens them
    with (
        mock.patch.dict(os.environ, environment),
        mock.patch.object(rolling, "_first_steps", lambda *_: None),  # staged is as far as this goes
        mock.patch.object(rolling, "run_async", lambda work: work.close() or []),
        mock.patch.object(sys, "stdin", _Stream(io.BytesIO(content))),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        code = main(arguments)
    told = err.buffer.getvalue().decode()
    assert code in (0, 64, 65, 73, 74, 75, 77, 78), told
    assert bool(code) == told.startswith("rollover: error: "), told
    assert told.count("\n") == (2 if code else 0), told
    assert "Traceback" not in told
    printed = out.buffer.getvalue().decode("utf-8", "replace").replace("\n", "")
    assert printed.isprintable(), repr(printed)


class _Stream(io.TextIOWrapper):
    buffer: io.BytesIO


def _stream(errors: str) -> _Stream:
    return _Stream(io.BytesIO(), encoding="ascii", errors=errors, write_through=True)


def seeds() -> tuple[bytes, ...]:
    """A hook's call, and others."""
    pem = certificate.seeds()[0][1:] + certificate.fixed(3).private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
    )
    other = certificate.seeds()[6][1:]
    return tuple(
        SEPARATOR.join(words)
        for words in (
            (b"d", pem, b"DIR/chain.pem", b"DIR/privkey.pem"),
            (b"d", pem, b"DIR/chain.pem"),
            (b"d", pem, b"DIR/chain.pem", b"--service", b"mail"),
            (b"d", other, b"DIR/chain.pem", b"DIR/privkey.pem", b"--dry-run"),
            (b"d", pem, b"/no/such\n\x1b[31mline\xff", b"-x"),
            (b"t", pem, b"DIR/chain.pem", b"--host", b"mail.example.org", b"--port", b"25", b"--records=3 1 2"),
            (b"c/no/\xff\n", pem, b"DIR/chain.pem", b"DIR/privkey.pem"),
            (b"d", b"", b"--help"),
        )
    )
