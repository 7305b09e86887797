"""`verify HOST[:PORT]`: any host's certificates against its TLSA records, as a DANE sender judges them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from rollover.cli.app import main
from tests.lab import Lab
from tests.lab import addresses as at
from tests.rollover.driving import two_lines

LAB_OPTIONS = {"ttl": 2, "senders": False}
pytestmark = pytest.mark.lab(**LAB_OPTIONS)
HOST = "mail.example.test"


@pytest.fixture
def world(shared_lab: Lab) -> Lab:
    """Records for four ports: 25 right, 587 of another certificate, 465 none, 993 right and nobody there."""
    lab = shared_lab
    if not lab.primary.tlsa(f"_993._tcp.{HOST}."):
        other = lab.certificate()
        lab.primary.update(
            f"update add _587._tcp.{HOST}. 2 TLSA {other.tlsa}\nupdate add _993._tcp.{HOST}. 2 TLSA {lab.old.tlsa}"
        )
        lab.resolver.flush()
    return lab


def verify(lab: Lab, *places: str) -> tuple[int, dict[str, Any]]:
    """Return exit code and document of `verify --json`; that the lines without --json agree is asserted."""
    done = lab.rollover("verify", *places, "--json")
    plain = lab.rollover("verify", *places)
    found = json.loads(done.stdout)
    assert (done.returncode, done.stderr, plain.stderr) == (plain.returncode, "", "")
    assert found["schema"] == 1
    lines = plain.stdout.splitlines()
    for host in found["hosts"]:
        for record in host["records"]:
            assert any(f"_{host['port']}._tcp.{host['host']}. TLSA {record}" in line for line in lines), lines
        for it in host["endpoints"]:
            assert f"{it['level'].upper()} {it['endpoint']}: {it['message']}" in lines
    return done.returncode, found


def test_each_verdict_has_its_level(world: Lab) -> None:
    """Accepted, rejected, without record, unreachable, without address: each is told; the worst is the exit code."""
    code, found = verify(
        world, HOST, f"{HOST}:587", f"{HOST}:465", f"{HOST}:993", "nosuch.example.test", "www.example.test:25"
    )

    assert (code, found["level"]) == (2, "critical")
    accepted, rejected, bare, unreachable, absent, silent = found["hosts"]
    assert (accepted["level"], accepted["records"], accepted["authenticated"]) == ("ok", [world.old.tlsa], True)
    (it,) = accepted["endpoints"]
    assert it["endpoint"] == f"{HOST} {at.MX}:25"
    assert it["message"].startswith(f"DANE senders deliver: key {world.old.spki[:16]}: ")
    (it,) = rejected["endpoints"]
    assert (rejected["level"], it["level"]) == ("critical", "critical")
    assert it["message"] == f"DANE senders defer: key {world.old.spki[:16]}: no TLSA record matches the chain"
    assert (bare["level"], bare["records"]) == ("warning", [])
    assert [x["level"] for x in bare["endpoints"]] == ["warning", "ok"]
    assert "no TLSA record: no DANE" in bare["endpoints"][0]["message"]
    assert (unreachable["level"], len(unreachable["records"])) == ("unknown", 1)
    assert "cannot be reached" in unreachable["endpoints"][0]["message"]
    assert (absent["level"], absent["endpoints"][-1]["message"]) == ("critical", "nosuch.example.test has no address")
    assert silent["level"] == "unknown", "a warning that there is no record does not hide that nobody was reached"


@pytest.mark.parametrize(
    ("place", "expected"),
    [(f"{HOST.upper()}.:25", 0), (f"{HOST}:465", 1), (f"{HOST}:993", 3)],
)
def test_exit_code_is_that_of_status(world: Lab, place: str, expected: int) -> None:
    """0 delivered, 1 no DANE, 3 not known (2, deferred, is above); a name counts in any case, with or without final dot."""
    assert world.rollover("verify", place).returncode == expected


def test_an_insecure_zone(world: Lab) -> None:
    """Without DNSSEC senders do not look at the records: a warning, even where record and key disagree."""
    world.resolver.control(f"insecure_add {at.DOMAIN}")
    world.resolver.control(f"flush_zone {at.DOMAIN}")  # the zone's keys, too
    try:
        code, found = verify(world, f"{HOST}:587")
    finally:
        world.resolver.control(f"insecure_remove {at.DOMAIN}")
        world.resolver.control(f"flush_zone {at.DOMAIN}")

    (host,) = found["hosts"]
    assert (code, host["authenticated"], len(host["records"])) == (1, False, 1)
    trouble, endpoint = host["endpoints"]
    assert "the resolver does not authenticate the answer: no DANE" in trouble["message"]
    assert (trouble["level"], endpoint["level"]) == ("warning", "ok")
    assert endpoint["message"].endswith("senders deliver without DANE; with DANE: no TLSA record matches the chain")


def test_a_failing_lookup(world: Lab) -> None:
    """An error for an answer is what makes senders defer: critical, and no endpoint is called good."""
    world.resolver.control(f"local_zone _25._tcp.{HOST}. refuse")
    try:
        code, found = verify(world, HOST)
    finally:
        world.resolver.control(f"local_zone_remove _25._tcp.{HOST}.")

    trouble, endpoint = found["hosts"][0]["endpoints"]
    assert (code, trouble["level"], endpoint["level"]) == (2, "critical", "unknown")
    assert "TLSA lookup fails: " in trouble["message"]
    assert "not judged" in endpoint["message"]


# ------------------------------------------------------------------------------------ which configuration


@contextmanager
def default_configuration(content: str | None) -> Iterator[None]:
    """Put *content* at the default path of this namespace for a while; None: there is no file."""
    path = Path("/etc/rollover/rollover.toml")
    path.unlink(missing_ok=True)
    if content is not None:
        path.parent.mkdir(exist_ok=True)
        path.write_text(content)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


Run = Callable[..., tuple[int, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Return what runs the command without --config of the lab's: (exit code, stderr)."""

    def call(*words: str, variable: str | None = None) -> tuple[int, str]:
        if variable is None:
            monkeypatch.delenv("ROLLOVER_CONFIG", raising=False)
        else:
            monkeypatch.setenv("ROLLOVER_CONFIG", variable)
        code = main(words)
        return code, capsys.readouterr().err

    return call


def test_a_configuration_that_was_named_counts(world: Lab, tmp_path: Path, run: Run) -> None:
    """No file at all: /etc/resolv.conf. One that is named or at its place and broken: 78, by each way alike."""
    broken = tmp_path / "broken.toml"
    broken.write_text("[dns]\nresolver = 1\n")
    with default_configuration(None):
        assert run("verify", HOST) == (0, "")
        assert run("verify", HOST, variable="") == (0, "")
        by_variable = run("verify", HOST, variable=str(broken))
        by_option = run("--config", str(broken), "verify", HOST)
        absent = run("verify", HOST, variable=str(tmp_path / "no.toml"))
    with default_configuration(broken.read_text()):
        by_place = run("verify", HOST)

    assert [code for code, _ in (by_variable, by_option, absent, by_place)] == [78] * 4
    assert two_lines(by_variable[1]) == two_lines(by_option[1])
    assert two_lines(absent[1])[0].endswith("no.toml does not exist (named by $ROLLOVER_CONFIG)")


@pytest.mark.parametrize("place", ["mail.example.test:0", "mail.example.test:smtp", "192.0.2.1", "a b", "mail"])
def test_what_is_no_place_is_a_usage_error(place: str, run: Run) -> None:
    """A port or a host that cannot be is exit 64 with a hint, before anything is asked."""
    code, stderr = run("verify", place)

    assert code == 64
    assert place in two_lines(stderr)[0]
