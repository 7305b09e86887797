"""A world that is put back between kills, and the proof that each of them changed nothing in the end.

    scene = Scene(lab)                       # right before the run
    found = trace(lab, "advance", "mail")
    kills = Kills("the tick that …", scene, found, ("advance", "mail"))
    kills.try_all(finish, capfd, at_least=20)

For every target the world is put back, the run is killed there, *finish* does what comes next on a
host (the timer's `advance`), and what is left then must be what a run that lived left.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sqlite3
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dns.message
import dns.query
import dns.rdatatype
import pytest

from tests.lab import Lab, wait_for
from tests.lab import addresses as at
from tests.rollover.driving import advance_to, left_by_advance
from tests.rollover.points import effect_of
from tests.rollover.tracing import COMMIT, Target, Trace, choose, is_routine, killed_at

UNDER_WAY = {"publishing", "propagating", "installing", "verifying", "rolling-back", "withdrawing"}
MORE_TICKS = 4
# Runs in which a point may come: the number of looks of a run swings, and a hook on a busy machine
# gives up its look at a slow server, and leaves the update to the next tick.
TRIES = 6
STATUS = Path("/run/rollover")  # each lab has a /run of its own
Place = dict[str, Any]


class Scene:
    """The state directory, the live files, main.cf and the RRset of each owner, as they are now."""

    def __init__(self, lab: Lab, owners: Sequence[str] = (at.OWNER,)) -> None:
        self.lab = lab
        self._owners = owners
        self._kept = lab.directory / f"scene-{time.monotonic_ns()}"
        self._kept.mkdir()
        if lab.state_directory.exists():
            shutil.copytree(lab.state_directory, self._kept / "state")
        (self._kept / "live").mkdir()
        for path in lab.chain_file.parent.iterdir():
            # A link: the tool replaces these files and never writes into one, and knows them by inode.
            os.link(path, self._kept / "live" / path.name)
        shutil.copy2(self._main_cf, self._kept / "main.cf")
        self._told = STATUS.exists()  # the first run makes that directory
        self._records = {owner: lab.primary.tlsa(owner) for owner in owners}
        self._served = lab.served()
        self._reloads = self._reloads_so_far()

    def _reloads_so_far(self) -> int:
        """Return how often Postfix's master was reloaded since the lab began, by its own log."""
        return self.lab.mx.log.read_text(errors="replace").count(": reload -- version ")

    @property
    def _main_cf(self) -> Path:
        return self.lab.mx.config_directory / "main.cf"

    def restore(self) -> None:
        """Put everything back, and wait until the servers show it."""
        lab = self.lab
        # In the order in which it is safe: records are never fewer than what is served needs.
        for owner, kept in self._records.items():
            self._add(owner, kept.records, kept.ttl)
        live = lab.chain_file.parent
        changed = self._main_cf.read_bytes() != (self._kept / "main.cf").read_bytes()
        kept_files = {path.name for path in (self._kept / "live").iterdir()}
        if changed:
            shutil.copy2(self._kept / "main.cf", self._main_cf)
        for name in kept_files:
            if not (live / name).exists() or not (live / name).samefile(self._kept / "live" / name):
                changed = True
                os.link(self._kept / "live" / name, live / ".put-back")
                (live / ".put-back").replace(live / name)
        if changed or lab.served() != self._served:
            before = self._reloads_so_far()
            lab.mx.reload()
            wait_for(lambda: self._reloads_so_far() > before, "the MX has told of its reload")
            wait_for(lambda: lab.served() == self._served, "the MX presents what it presented")
        for path in live.iterdir():
            if path.name not in kept_files:
                path.unlink()
        shutil.rmtree(lab.state_directory, ignore_errors=True)
        if (self._kept / "state").exists():
            shutil.copytree(self._kept / "state", lab.state_directory)
        if not self._told:
            shutil.rmtree(STATUS, ignore_errors=True)
        for owner, kept in self._records.items():
            for record in set(lab.primary.tlsa(owner).records) - set(kept.records):
                lab.primary.update(f"update delete {owner} TLSA {record}")
            wait_for(lambda o=owner, k=kept: lab.secondary.tlsa(o).records == k.records, "the secondary follows")  # type: ignore[misc]
            if (lab.state_directory / "rollover.db").exists():
                self._make_signature_known(owner)
        self._reloads = self._reloads_so_far()

    def _add(self, owner: str, records: Sequence[str], ttl: int) -> None:
        missing = set(records) - set(self.lab.primary.tlsa(owner).records)
        if missing:
            self.lab.primary.update("\n".join(f"update add {owner} {ttl} TLSA {r}" for r in sorted(missing)))
            wait_for(lambda: set(records) <= set(self.lab.secondary.tlsa(owner).records), "the secondary follows")

    def _make_signature_known(self, owner: str) -> None:
        """Let the state know the signature that *owner* has now, as it knew the one before.

        A tool that meets a new one takes it that the RRset was another one in between, and waits for that.
        """
        query = dns.message.make_query(owner, "TLSA", want_dnssec=True)
        answer = dns.query.tcp(query, at.PRIMARY, timeout=20)
        (signature,) = (s for rrset in answer.answer if rrset.rdtype == dns.rdatatype.RRSIG for s in rrset)
        now = datetime.fromtimestamp(signature.inception, UTC).isoformat()
        with sqlite3.connect(self.lab.state_directory / "rollover.db") as database:
            for (entries,) in database.execute("SELECT entries FROM ledger WHERE owner = ?", (owner,)).fetchall():
                ledger = json.loads(entries)
                if ledger["inception"] is not None and ledger["inception"] != now:
                    ledger |= {"inception": now, "inceptions": [*ledger["inceptions"], now]}
                    database.execute("UPDATE ledger SET entries = ? WHERE owner = ?", (json.dumps(ledger), owner))
        database.close()

    def place(self) -> Place:
        """Return where the service stands: all that a run may have changed, but instants and random names."""
        lab = self.lab
        it = left_by_advance()
        with sqlite3.connect(lab.state_directory / "rollover.db") as database:
            rows = database.execute("SELECT book, restore FROM service WHERE name = 'mail'").fetchall()
            ledgers = {o: json.loads(x) for o, x in database.execute("SELECT owner, entries FROM ledger")}
            managed = sorted(database.execute("SELECT target, rdata FROM managed"))
        database.close()
        book, before_adopt = rows[0] if rows else ("{}", None)
        book = json.loads(book)
        return {
            "phase": it["phase"],
            "level": it["level"],
            "problems": sorted(p["code"] for p in it["problems"]),
            "credentials": sorted((c["fingerprint"], c["state"], c["goal"]) for c in it["credentials"]),
            "book": {
                name: book.get(name)
                for name in (
                    "adopted",
                    "releasing",
                    "goal",
                    "active",
                    "queued",
                    "rollback",
                    "returning",
                    "return_spent",
                )
            },
            "before adopt": before_adopt,
            "install open": book.get("install") is not None,
            "reload recorded": {p: _is_identity(Path(p), told[0]) for p, told in book.get("reloads", {}).items()},
            "managed": managed,
            # But what a killed update may still make: it is expected for ten minutes, whatever comes after the kill.
            # And what may have been there since, where nobody read the signature of an update back: it is waited for.
            "ledger": {
                o: sorted(
                    f"{e['rrset']} {e['gone'] is None}"
                    for e in x["entries"]
                    if e["intended"] is None and e["rrset"] is not None
                )
                for o, x in ledgers.items()
            },
            "live": {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in lab.chain_file.parent.iterdir()},
            "vault": sorted(str(p.relative_to(lab.state_directory)) for p in lab.state_directory.rglob("*.pem*")),
            "main.cf": sorted(x for x in self._main_cf.read_text().splitlines() if not x.startswith("#")),
            "records": {owner: lab.primary.tlsa(owner).records for owner in self._owners},
            "served": lab.served(),
            "reloaded": self._reloads_so_far() > self._reloads,
        }


class Kills:
    """The kills of one run: of all points of its trace those chosen, and what became of each."""

    def __init__(self, what: str, scene: Scene, found: Trace, words: Sequence[str | Path], **options: Any) -> None:
        self.what = what
        self.scene = scene
        self.found = found
        self.words = tuple(words)
        self.targets = choose(found.points, **options)
        self._exits = {0, 75, found.done.returncode}  # of one that is not killed
        self.fired: list[Target] = []
        self.second_ticks = 0  # kills after which the next tick was not enough

    def try_all(self, finish: Callable[[], None], capfd: pytest.CaptureFixture[str], *, at_least: int) -> None:
        """Kill at every target, each time from the same scene; *finish* is what comes next, and ends in an `advance`.

        Every target must fire, but see may_be_absent(). *at_least*: how many have to.
        """
        begin = time.monotonic()
        self.scene.restore()
        done = self.scene.lab.rollover(*self.words)
        assert done.returncode in self._exits, done.stderr
        finish()
        for _ in range(MORE_TICKS):
            if left_by_advance()["phase"] in UNDER_WAY:
                ticked(self.scene.lab)
        expected = self.scene.place()
        for target in self.targets:
            if self._killed(target):
                finish()
                other = self._other_than(expected)
                assert not other, f"{self.what}, killed {target[1]} {target[0]}: {other}"
        absent = set(self.targets) - set(self.fired)
        with capfd.disabled():
            print(
                f"\nkilled: {self.what}: {len(set(self.found.points))} points in the trace, "
                f"{len(set(map(effect_of, self.found.points)))} different effects; {len(self.targets)} kills chosen, "
                f"{len(self.fired)} made in {time.monotonic() - begin:.0f} s, a second tick needed after {self.second_ticks}"
                + "".join(f"\n  in this run there was no {point}" for point, _ in sorted(absent)),
                file=sys.stderr,
                flush=True,
            )
        unexplained = {t for t in absent if not self.may_be_absent(t)}
        assert not unexplained, f"{self.what}: never killed at {unexplained}"
        assert set(self.fired) | absent == set(self.targets)
        assert len(absent) <= len(self.targets) // 10, f"{self.what}: too many points did not recur: {absent}"
        assert len(self.fired) >= at_least, f"{self.what}: only {len(self.fired)} kills"

    def _other_than(self, expected: Place) -> Place:
        """Return what is not as expected: (is, should be). A tick stays for 5 s only; a busy machine needs another."""
        for more in range(MORE_TICKS + 1):
            place = self.scene.place()
            other = {key: (place[key], expected[key]) for key in expected if place[key] != expected[key]}
            if not other:
                self.second_ticks += more > 0
                return {}
            ticked(self.scene.lab)
        return other

    def _killed(self, target: Target) -> bool:
        """Restore and run until the run was killed at *target*; False if it did not come to it in TRIES runs."""
        for _ in range(TRIES):
            self.scene.restore()
            end = killed_at(self.scene.lab, [target], self.found, *self.words)
            if end.fired is not None:
                assert (end.fired, end.code) == (target, -9), end
                self.fired.append(target)
                return True
            assert end.code in self._exits, end
        return False

    def may_be_absent(self, target: Target) -> bool:
        """Tell whether a run may lack a point: a repetition of what a look does.

        How often a run looks, and how many pages of the database change meanwhile, depends on how quickly
        the servers answer. Such a point is routine or a commit, is not the first of its kind since the
        milestone, and an earlier one of its kind and side since the same milestone was tried.
        """
        point, side = target
        milestone, effect, number = point.split(" | ")
        if effect != COMMIT and not is_routine(effect):
            return False
        tried = [p.split(" | ") for p, s in self.fired if s == side]
        return any(m == milestone and e == effect and int(n) < int(number) for m, e, n in tried)


def _is_identity(path: Path, told: str) -> bool:
    """Tell whether a recorded reload is one of the file as it is: inode, mtime and hash."""
    found = path.stat()
    return told == f"{found.st_ino}:{found.st_mtime_ns}:{hashlib.sha256(path.read_bytes()).hexdigest()}"


def due(lab: Lab, phase: str) -> None:
    """Advance to *phase*, then wait until its next step is due, and do not do it."""
    it = advance_to(lab, phase)
    until = datetime.fromisoformat(it["next"]["not_before"])
    time.sleep(max(0.0, until.timestamp() - time.time()) + 1.0)  # it is told in whole seconds


def ticked(lab: Lab) -> None:
    """Run `advance mail` once, as the timer does, whatever it has to report: a person may be needed."""
    done = lab.rollover("advance", "mail")
    assert done.returncode in {0, 1, 75}, f"advance exited {done.returncode}: {done.stdout}{done.stderr}"
