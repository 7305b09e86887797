"""What the tests of whole rollovers share: steps of an operator, and what mail made of them."""

from __future__ import annotations

import hashlib
import json
import subprocess
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

from cryptography.hazmat.primitives import hashes

from tests.lab import Certificate, Lab, endpoint, wait_for
from tests.lab import addresses as at
from tests.lab.command import program
from tests.rollover.mailflow import (  # noqa: F401
    at_the_worst_moment,
    fill_caches,
    nothing_deferred,
    steady_mail,
)

Service = dict[str, Any]


def service(lab: Lab, name: str = "mail") -> Service:
    """Return the object of one service in `status --json`."""
    (found,) = (it for it in lab.status()["services"] if it["name"] == name)
    return dict(found)


def left_by_advance(name: str = "mail") -> Service:
    """Return the same from where the last run left it for monitoring: half a second of processor time less."""
    document = json.loads(Path("/run/rollover/status.json").read_text())
    (found,) = (it for it in document["services"] if it["name"] == name)
    return dict(found)


def codes(it: Service, level: str = "") -> set[str]:
    """Return the codes of a service's problems; with *level*, only those of it."""
    return {p["code"] for p in it["problems"] if not level or p["level"] == level}


def problem(it: Service, code: str) -> dict[str, str]:
    """Return the one problem with *code*."""
    found = [p for p in it["problems"] if p["code"] == code]
    assert found, f"no problem {code!r} in {json.dumps(it, indent=1)}"
    return dict(found[0])


def told_wait(it: Service) -> float:
    """Return the seconds from the look that a service tells of to its next act, both as whole seconds.

    In the first look at a complete propagation it is the whole wait, however busy the machine is.
    """
    return (datetime.fromisoformat(it["next"]["not_before"]) - datetime.fromisoformat(it["seen"])).total_seconds()


def advance_until(
    lab: Lab,
    done: Callable[[Service], bool],
    *,
    seconds: float = 240,
    every: float = 1.0,
    each: Callable[[Service], None] | None = None,
    env: Mapping[str, str] | None = None,
    offset: str | None = None,
) -> Service:
    """Run `advance mail` every *every* seconds, as a quick timer would, until *done*; return the service then.

    *each* is called with the service after every tick. *offset*: how wrong the host's clock is meanwhile.
    An exit code that is neither 0, 1 nor 75 fails.
    """
    deadline = time.monotonic() + seconds
    while True:
        begin = time.monotonic()
        ticked = lab.rollover("advance", "mail", env=env, offset=offset)
        assert ticked.returncode in {0, 1, 75}, f"advance exited {ticked.returncode}: {ticked.stdout}{ticked.stderr}"
        it = left_by_advance()
        if each is not None:
            each(it)
        if done(it):
            return it
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {json.dumps(it, indent=1)}"
        time.sleep(max(0.0, begin + every - time.monotonic(), 0.0 if each else _idle(it)))


def _idle(it: Service) -> float:
    """Return for how many seconds, up to three, ticks would do nothing: they cost a busy machine too much."""
    if it["phase"] not in {"waiting", "retaining"} or not (it["next"] or {}).get("not_before"):
        return 0.0
    return min(3.0, datetime.fromisoformat(it["next"]["not_before"]).timestamp() - time.time())


def advance_to(lab: Lab, *phases: str, seconds: float = 240, every: float = 1.0) -> Service:
    """Run `advance mail` until the service is in one of *phases*; return it."""
    return advance_until(lab, lambda it: it["phase"] in phases, seconds=seconds, every=every)


def served_if_any(lab: Lab) -> str:
    """Return the SPKI SHA-256 that the MX presents; "" while there is no handshake."""
    try:
        return lab.served()
    except OSError:
        return ""


def hand_over(lab: Lab, new: Certificate, *, offset: str | None = None, target: str = at.OWNER) -> None:
    """Do as a hook does: the record is published then.

    A hook that found a server slow has left that to the next tick, which is done here too.
    """
    lab.deploy(new, check=0, offset=offset)
    if new.tlsa not in lab.primary.tlsa(target).records:
        lab.rollover("advance", "mail", offset=offset)
    assert new.tlsa in lab.primary.tlsa(target).records


def hand_over_and_hear(lab: Lab, new: Certificate, *, offset: str | None = None) -> CompletedProcess[str]:
    """Do as a hook does, again until it warns: one that found a server slow has left the update to the next tick."""
    for _ in range(10):
        done = lab.deploy(new, check=0, offset=offset)
        if done.stderr:
            break
    return done


def advance_to_full_wait(lab: Lab, ttl: float, *, offset: str | None = None) -> Service:
    """Run `advance mail` up to the first look at a complete propagation; return the service then.

    Asserts that the wait which is told in it is the whole one: two *ttl*, not yet begun (to a second).
    """
    it = advance_until(lab, lambda it: it["phase"] == "waiting", every=0, offset=offset)
    assert told_wait(it) >= 2 * ttl - 1, json.dumps(it, indent=1)
    return it


def tick(lab: Lab, *, but: Collection[str] = ()) -> Service:
    """Run `advance mail` once; return the service then.

    A server may be a moment behind (75): then once more, and nothing may be wrong then *but* these codes.
    """
    ticked = lab.rollover("advance", "mail")
    if ticked.returncode == 75:
        return _well(lab, but)
    assert ticked.returncode == 0, f"advance exited {ticked.returncode}: {ticked.stdout}{ticked.stderr}"
    return left_by_advance()


def to_the_end(lab: Lab, *, but: Collection[str] = (), offset: str | None = None) -> CompletedProcess[str]:
    """Run `advance --wait`: all is done then. On 75 as tick() does."""
    done = lab.rollover("advance", "--wait", offset=offset)
    assert done.returncode in {0, 75}, f"advance --wait exited {done.returncode}: {done.stdout}{done.stderr}"
    it = left_by_advance() if done.returncode == 0 else _well(lab, but, offset)
    assert it["phase"] == "steady", done.stderr
    return done


def _well(lab: Lab, but: Collection[str], offset: str | None = None) -> Service:
    again = lab.rollover("advance", "mail", offset=offset)
    it = left_by_advance()
    wrong = codes(it, "warning") | codes(it, "critical")
    assert (again.returncode, wrong - set(but)) == (0, set()), f"{again.stdout}{again.stderr}{json.dumps(it, indent=1)}"
    return it


def only_serves(lab: Lab, certificate: Certificate) -> None:
    """Assert the end of a rollover: *certificate* is served, its record alone is published, nothing is wrong."""
    assert lab.served() == certificate.spki
    alone_in_dns(lab, certificate)
    it = service(lab)
    if it["problems"]:  # in the last look a server was a moment behind
        lab.rollover("advance", "mail")
        it = left_by_advance()
    assert (it["phase"], it["level"], it["problems"]) == ("steady", "ok", []), json.dumps(it, indent=1)
    states = {c["fingerprint"]: c["state"] for c in it["credentials"]}
    assert states.get(certificate.fingerprint) == "active", states


def two_lines(stderr: str) -> tuple[str, str]:
    """Return (message, hint) of an error as interface.md wants it: exactly two lines on stderr."""
    lines = stderr.splitlines()
    assert len(lines) == 2, stderr
    assert lines[0].startswith("rollover: error: "), stderr
    assert lines[1].startswith("rollover: hint: "), stderr
    return lines[0].removeprefix("rollover: error: "), lines[1].removeprefix("rollover: hint: ")


# ------------------------------------------------------------------ what was done, and what is served


def history(lab: Lab, name: str = "mail") -> list[dict[str, Any]]:
    """Return the events of `history --json`, oldest first."""
    return [json.loads(line) for line in lab.rollover("history", name, "--json", check=0).stdout.splitlines()]


def instant(event: dict[str, Any]) -> float:
    """Return the time of an event in Unix seconds; the history resolves whole seconds."""
    return datetime.fromisoformat(event["time"]).timestamp()


def goal(it: Service) -> str:
    """Return the fingerprint of the wanted certificate."""
    (found,) = (str(c["fingerprint"]) for c in it["credentials"] if c["goal"])
    return found


def served_leaf(lab: Lab) -> str:
    """Return the fingerprint of the leaf that the MX presents; `lab.served()` returns its key's."""
    return endpoint.presented(lab.mx.address).fingerprint(hashes.SHA256()).hex()


@contextmanager
def untouched(lab: Lab, *, but_state: bool = False) -> Iterator[None]:
    """Assert that the block changes nothing: no record, nothing that is served, no file of the tool or of Postfix.

    *but_state*: its vault and database may change.
    """
    before = everything(lab, but_state=but_state)
    yield
    assert everything(lab, but_state=but_state) == before


def everything(lab: Lab, *, but_state: bool = False) -> dict[str, object]:
    """Return all that the tool can change: every file by its time and digest, the zone's serial, what is served."""
    places = [lab.chain_file.parent, lab.mx.config_directory, *([] if but_state else [lab.state_directory])]
    files = sorted(path for place in places for path in place.rglob("*"))
    found: dict[str, object] = {
        str(path): (path.stat().st_mtime_ns, hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "")
        for path in files
    }
    return found | {"serial": lab.primary.serial(at.DOMAIN), "tlsa": lab.primary.tlsa(), "served": served_leaf(lab)}


def alone_in_dns(lab: Lab, certificate: Certificate) -> None:
    """Assert that *certificate*'s record is the whole RRset, at the primary and soon at the secondary."""
    whole_rrset(lab, certificate.tlsa)


def whole_rrset(lab: Lab, *records: str) -> None:
    """Assert that these records are the whole RRset, at the primary and soon at the secondary."""
    assert lab.primary.tlsa().records == tuple(sorted(records))
    wait_for(lambda: lab.secondary.tlsa().records == tuple(sorted(records)), "the secondary follows")


# ------------------------------------------------------------------------------------------- certbot


def serve_lineage(lab: Lab) -> Certificate:
    """Make the host one that was set up with certbot: its lineage is what Postfix names, and what DNS has.

    The tool is not involved yet. Returns the lineage as it is.
    """
    first = lab.certbot.certonly()
    lab.primary.update(f"update delete {at.OWNER} TLSA\nupdate add {at.OWNER} {lab.ttl} TLSA {first.tlsa}")
    lab.mx.postconf(f"smtpd_tls_cert_file={first.fullchain}", f"smtpd_tls_key_file={first.privkey}")
    lab.mx.reload()
    wait_for(lambda: lab.served() == first.spki, "Postfix presents the lineage")
    wait_for(lambda: lab.secondary.tlsa().records == (first.tlsa,), "the secondary follows")
    forget_caches(lab)
    return first


def settled_serial(lab: Lab, seconds: float = 90) -> int:
    """Return the zone's serial once both servers have shown the same one for a second: signing is done."""
    begin = since = time.monotonic()
    serial = 0
    while time.monotonic() < since + 1:
        now, behind = lab.primary.serial(), lab.secondary.serial()
        if now != serial or behind != now:
            since, serial = time.monotonic(), now
        assert time.monotonic() < begin + seconds, f"serials never settled: primary {now}, secondary {behind}"
        time.sleep(0.05)
    return serial


def forget_caches(lab: Lab) -> None:
    """Let no resolver hold anything of the past."""
    for resolver in lab.resolvers:
        resolver.flush(at.DOMAIN)


class Renewal:
    """A `certbot renew` under way; its deploy hooks run once `let_hooks_run` was called.

    *output* is what certbot printed, that of the hooks included, once it has ended.
    """

    def __init__(self, lab: Lab) -> None:
        self.reached, self._go = lab.directory / "gate-reached", lab.directory / "gate-open"
        self.output = ""
        for path in (self.reached, self._go):
            path.unlink(missing_ok=True)
        self.gate = lab.certbot.config_directory / "renewal-hooks" / "deploy" / "0-gate"  # the first by its name
        self.gate.parent.mkdir(parents=True, exist_ok=True)
        wait = f"for _ in $(seq 1200); do [ -e {self._go} ] && exit 0; sleep 0.05; done"
        self.gate.write_text(f"#!/bin/sh\ntouch {self.reached}\n{wait}\nexit 1\n")
        self.gate.chmod(0o755)

    def let_hooks_run(self) -> None:
        """Open the gate."""
        self._go.touch()


@contextmanager
def renewing(lab: Lab, lineage: str = "", **options: Any) -> Iterator[Renewal]:
    """Run `certbot renew` up to its deploy hooks, then the block, then certbot to its end, which must be good.

    So a test can prepare the very moment at which the hook hands the certificate over.
    """
    renewal = Renewal(lab)
    with ThreadPoolExecutor(1) as pool:
        certbot = pool.submit(lab.certbot.renew, lineage, **options)
        try:
            wait_for(lambda: renewal.reached.exists() or certbot.done(), "certbot comes to its deploy hooks", 120)
            yield renewal
            renewal.let_hooks_run()
            done: CompletedProcess[str] = certbot.result(180)
        finally:
            renewal.let_hooks_run()
            renewal.gate.unlink()
    renewal.output = done.stdout + done.stderr
    assert renewal.reached.exists(), f"certbot ran no deploy hook:\n{renewal.output}"


def begin_tool(lab: Lab, *words: str | Path) -> subprocess.Popen[str]:
    """Start the tool with the lab's configuration as a terminal would; output is text in pipes."""
    # A shell that starts a process in the background, as CI may have done with us, lets it ignore Control-C.
    command = ["env", "--default-signal=INT", *program(lab.config_file, *words)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
