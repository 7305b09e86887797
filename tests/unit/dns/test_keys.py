"""TSIG key files: what is read, what is refused, and that no secret is ever shown."""

from __future__ import annotations

import base64
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rollover.core.errors import EX_CONFIG, EX_NOPERM, ConfigError, PermissionsError, RolloverError
from rollover.dns.keys import load_tsig_key

SECRET = base64.b64encode(b"not a secret of anybody, 32 long").decode()
AS_GENERATED = f'key "rollover-key" {{\n\talgorithm hmac-sha256;\n\tsecret "{SECRET}";\n}};\n'


def key_file(directory: Path, text: str | bytes, mode: int = 0o600) -> Path:
    path = directory / "tsig.key"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    path.chmod(mode)
    return path


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(AS_GENERATED, id="as tsig-keygen writes it"),
        pytest.param(f"key rollover-key {{ algorithm HMAC-SHA256; secret {SECRET}; }};", id="without quotes"),
        pytest.param(f'key "rollover-key." {{ secret "{SECRET}"; algorithm "hmac-sha256"; }};', id="the other order"),
        pytest.param(
            f"# one\n// two\n/* three\n * {{ */ {AS_GENERATED} // four\n#five", id="with all three kinds of comment"
        ),
        pytest.param(AS_GENERATED.replace("\n", "\r\n"), id="with the line ends of another system"),
    ],
)
def test_reads(tmp_path: Path, text: str) -> None:
    """A key statement in any of BIND's spellings is read."""
    key = load_tsig_key(key_file(tmp_path, text))
    assert (key.name, key.algorithm) == ("rollover-key", "hmac-sha256")
    assert base64.b64encode(key.secret).decode() == SECRET


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o644, 0o666])
def test_open_to_others(tmp_path: Path, mode: int) -> None:
    """A file that group or others can read or write is refused, with the chmod that helps."""
    path = key_file(tmp_path, AS_GENERATED, mode)
    with pytest.raises(PermissionsError, match=f"mode {mode:04o}") as refused:
        load_tsig_key(path)
    assert refused.value.exit_code == EX_NOPERM
    assert f"chmod 600 {path}" in refused.value.hint
    path.chmod(0o600)
    assert load_tsig_key(path).name == "rollover-key"


@pytest.mark.parametrize("mode", [0o600, 0o400, 0o700, 0o711])
def test_closed_to_others(tmp_path: Path, mode: int) -> None:
    """A file that only its owner can read and write is accepted."""
    assert load_tsig_key(key_file(tmp_path, AS_GENERATED, mode)).name == "rollover-key"


def test_of_another_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of somebody who is neither root nor us is refused: he may replace it."""
    path = key_file(tmp_path, AS_GENERATED)
    if os.geteuid() == 0:
        os.chown(path, 12345, 0)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: 12345)
    with pytest.raises(PermissionsError, match="neither root nor us") as refused:
        load_tsig_key(path)
    assert "chown root" in refused.value.hint


GARBAGE = [
    pytest.param("", "not one key statement", id="an empty file"),
    pytest.param("hello", "not one key statement", id="words"),
    pytest.param(AS_GENERATED + AS_GENERATED, "not one key statement", id="two keys"),
    pytest.param(AS_GENERATED[:-5], "not one key statement", id="cut short"),
    pytest.param('key "a" { algorithm hmac-sha256; };', "not one key statement", id="no secret"),
    pytest.param('key "a" { secret "x"; secret "y"; };', "one algorithm and one secret", id="two secrets"),
    pytest.param(AS_GENERATED.replace("hmac-sha256", "hmac-md5"), "hmac-md5 must not be used", id="md5"),
    pytest.param(
        AS_GENERATED.replace("hmac-sha256", "hmac-md5.sig-alg.reg.int"), "must not be used", id="md5 by its long name"
    ),
    pytest.param(AS_GENERATED.replace("sha256", "sha3"), "algorithm 'hmac-sha3' is none of", id="no such algorithm"),
    pytest.param(AS_GENERATED.replace(SECRET, "%%%"), "not base64", id="a secret that is not base64"),
    pytest.param(AS_GENERATED.replace(SECRET, ""), "secret is empty", id="an empty secret"),
    pytest.param(AS_GENERATED.replace("rollover-key", "a..b"), "not a domain name", id="a name that is none"),
    pytest.param('key "a', "not a BIND key statement", id="a quote that never ends"),
    pytest.param("/* for ever", "not a BIND key statement", id="a comment that never ends"),
    pytest.param(b"\xff\xfe\x00", "not text", id="octets"),
    pytest.param("x" * 70000, "too long", id="too long"),
]


@pytest.mark.parametrize(("text", "words"), GARBAGE)
def test_garbage(tmp_path: Path, text: str | bytes, words: str) -> None:
    """What is not one usable key statement is a mistake in the configuration; the secret is not shown."""
    path = key_file(tmp_path, text)
    with pytest.raises(ConfigError, match=words) as refused:
        load_tsig_key(path)
    assert refused.value.exit_code == EX_CONFIG
    assert str(path) in refused.value.message
    assert "tsig-keygen" in refused.value.hint
    assert SECRET not in refused.value.message + refused.value.hint


def test_no_such_file(tmp_path: Path) -> None:
    """A file that is not there is a mistake in the configuration; the hint tells how to make it."""
    with pytest.raises(ConfigError, match="No such file") as refused:
        load_tsig_key(tmp_path / "absent")
    assert "tsig-keygen NAME >" in refused.value.hint


def test_no_file_at_all(tmp_path: Path) -> None:
    """A directory or a FIFO is refused, at once."""
    tmp_path.chmod(0o700)
    with pytest.raises(ConfigError, match="not a regular file"):
        load_tsig_key(tmp_path)
    os.mkfifo(tmp_path / "fifo", 0o600)
    with pytest.raises(ConfigError, match="not a regular file"):
        load_tsig_key(tmp_path / "fifo")


def test_the_secret_is_not_shown(tmp_path: Path) -> None:
    """Neither str nor repr of a key shows its secret, in any form."""
    key = load_tsig_key(key_file(tmp_path, AS_GENERATED))
    for text in (str(key), repr(key)):
        assert "rollover-key" in text
        assert SECRET not in text
        assert "secret" not in text


@settings(deadline=None)
@given(text=st.text(alphabet=st.sampled_from('key "a{};\n/*#algorithm secret hmac-sha256=+')) | st.binary())
def test_any_content(tmp_path_factory: pytest.TempPathFactory, text: str | bytes) -> None:
    """Whatever the file holds, it is a key or an error of ours."""
    path = key_file(tmp_path_factory.mktemp("fuzz"), text)
    try:
        key = load_tsig_key(path)
    except RolloverError:
        return
    assert key.secret
