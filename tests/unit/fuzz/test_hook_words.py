"""The words that an ACME client hands to a hook reach the command as they are, and nothing else runs."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

ROOT = Path(__file__).resolve().parents[3]
LINEAGE = st.binary(min_size=1, max_size=60).map(lambda octets: octets.replace(b"\0", b"\n"))


@pytest.fixture(scope="module")
def recorder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A command that writes down its words, one after the other, each ended by NUL."""
    command = tmp_path_factory.mktemp("hook") / "rollover"
    command.write_text('#!/bin/sh\nprintf \'%s\\0\' "$@" >"$(dirname "$0")/words"\n')
    command.chmod(0o755)
    return command


def words(recorder: Path, program: list[bytes], environment: dict[bytes, bytes]) -> list[bytes]:
    """Run *program* in a directory of its own; return the words that the command was called with."""
    place = recorder.parent / "cwd"
    place.mkdir(exist_ok=True)
    done = subprocess.run(program, check=False, env=environment, cwd=place, capture_output=True, timeout=30)
    assert done.returncode == 0, done.stderr
    assert not list(place.iterdir())
    return (recorder.parent / "words").read_bytes().split(b"\0")[:-1]


def installed(recorder: Path, name: str) -> Path:
    """Write the hook as `rollover hook install` does."""
    hook = recorder.parent / name.replace("/", "-")
    hook.write_text((ROOT / "hooks" / name).read_text().replace("@ROLLOVER@", str(recorder)))
    return hook


hostile = settings(
    max_examples=15, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck)
)


@hostile
@given(lineage=LINEAGE)
@example(lineage=b"/live/a\nb; touch x `touch y` $(touch z) 'q' \"r\" * ?")
@example(lineage=b"/live/\xff\xfe\x80")
@example(lineage=b"-x")
@example(lineage=b"/" + b"a" * 100_000)
def test_lineage_of_certbot_is_handed_over_as_it_is(recorder: Path, lineage: bytes) -> None:
    """Newlines, quotes, what is not UTF-8, and very long names: two files below it, and no shell sees them."""
    hook = installed(recorder, "certbot/rollover")

    found = words(recorder, [b"sh", os.fsencode(hook)], {b"RENEWED_LINEAGE": lineage})

    assert found == [b"deploy", lineage + b"/fullchain.pem", lineage + b"/privkey.pem"]


@hostile
@given(name=LINEAGE, key=LINEAGE, chain=LINEAGE)
@example(name=b"*", key=b"/k\n$(touch x)", chain=b"/c `touch y`")
def test_words_of_acme_sh_are_handed_over_as_they_are(recorder: Path, name: bytes, key: bytes, chain: bytes) -> None:
    """The function takes key and full chain from the words it is called with, whatever is in them."""
    hook = installed(recorder, "acme.sh/rollover.sh")
    call = b'. "$0"; rollover_deploy "$@"'

    found = words(recorder, [b"sh", b"-c", call, os.fsencode(hook), name, key, b"c", b"ca", chain], {b"PATH": b"/bin"})

    assert found == [b"deploy", chain, key]
