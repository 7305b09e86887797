"""The onlooker: asks every server what it serves and the senders' logs what became of the mail.

It reads what anybody could read: TLSA queries, a TLS handshake, `unbound-control dump_cache`, the
mail log, /run/rollover/status.json and the output of `rollover history`. It changes nothing.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from tests.lab import Counts, Lab, LabError, Mark, RRset

from .scene import Cache, Mail, Scene, Wait

PERIOD = 0.5  # seconds between two looks
STATUS = Path("/run/rollover/status.json")

#: What a person would say for each phase of `rollover status`.
SENTENCES = {
    "unadopted": "rollover has not yet taken over this certificate",
    "steady": "nothing to do: what is served and what is in DNS agree",
    "publishing": "the new record goes into DNS, beside the old one",
    "propagating": "until every name server has the new record",
    "waiting": "until no resolver can still hold the old record alone",
    "installing": "Postfix gets the new certificate and is reloaded",
    "verifying": "does Postfix present the new certificate? new connections will tell",
    "retaining": "the old record is kept a little longer, for an instant rollback",
    "withdrawing": "the old record is taken out of DNS",
}


class Watcher:
    """Looks every half second in a thread of its own, and hands each Scene to *show*."""

    def __init__(self, lab: Lab, show: Callable[[Scene], None]) -> None:
        self._lab = lab
        self._show = show
        self._begin = time.monotonic()
        self._names: dict[str, str] = {}
        self._marks: list[Mark] = []
        self._act: tuple[str, str] = ("", "")
        self._end: float | None = None
        self._log: tuple[str, tuple[str, ...]] = ("", ())
        self._follow: Path | None = None
        self._tool = False
        self._wait: Wait | None = None
        self._told: tuple[object, ...] = ()
        self._look_lock = threading.Lock()
        self._stopping = threading.Event()
        self._threads = [threading.Thread(target=self._loop, args=(step,), daemon=True) for step in self._steps()]
        self.scene = Scene()

    def _steps(self) -> tuple[Callable[[], None], ...]:
        return self.look, self._read_history

    def start(self) -> None:
        """Begin to look."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Look once more and end."""
        self._stopping.set()
        for thread in self._threads:
            thread.join()
        self._told = ()
        if self._tool:
            self._read_history()
        self.look()

    # What the acts tell it

    def renewal_begins(self, *, with_tool: bool, log: Path | None = None) -> None:
        """Count mail anew; follow the log of a hook, or `rollover history`."""
        self._marks.append(self._lab.mail.mark())
        self._tool, self._follow, self._wait = with_tool, log, None
        self._log = ("", ())

    def names(self, **records: str) -> None:
        """Call TLSA records "old" and "new" from here on."""
        self._names = {record: name for name, record in records.items()}

    def doing(self, state: str, sentence: str, *, until: float | None = None) -> None:
        """Tell what goes on, and until when (Unix seconds); empty words leave that to `rollover status`."""
        self._act, self._end = (state, sentence), until

    # Looking

    def _loop(self, step: Callable[[], None]) -> None:
        while not self._stopping.wait(PERIOD):
            step()

    def look(self) -> None:
        """Take a Scene and show it."""
        with self._look_lock:
            self.scene = self._take()
            self._show(self.scene)

    def _take(self) -> Scene:
        lab, now = self._lab, time.clock_gettime(time.CLOCK_REALTIME)
        held = [_ask(one.resolver.cached) for one in lab.senders]
        caches = tuple(
            Cache(f"sender {number}", self._name(it), 0 if it is None else it.ttl) for number, it in enumerate(held, 1)
        )
        state, doing = self._act
        wait: Wait | None = None
        if not state:
            state, doing, until = self._from_status()
            wait = self._until(until, now)
        elif self._end is not None:
            wait = self._until(self._end, now)
        if self._follow is not None and self._follow.exists():
            self._log = ("what certbot's hook did", tuple(self._follow.read_text().splitlines()))
        return Scene(
            renewal=len(self._marks),
            elapsed=time.monotonic() - self._begin,
            now=now,
            state=state,
            doing=doing,
            wait=wait,
            servers=(
                ("ns1.example.test", self._name(_ask(lab.primary.tlsa))),
                ("ns2.example.test", self._name(_ask(lab.secondary.tlsa))),
            ),
            presents=self._presents(),
            caches=caches,
            mail=(self._mail(0), self._mail(1)),
            log_title=self._log[0],
            log=self._log[1],
        )

    def _name(self, rrset: RRset | None) -> str:
        if rrset is None:
            return "no answer"
        return " + ".join(sorted((self._names.get(r, "another") for r in rrset.records), key=_age)) or "nothing"

    def _presents(self) -> str:
        try:
            key = self._lab.served()
        except OSError:
            return "no answer"
        return self._names.get(f"3 1 1 {key}", "another")

    def _until(self, until: float | None, now: float) -> Wait | None:
        """Keep the start of a wait while its end stays, to within what counting in whole seconds blurs."""
        if until is None:
            self._wait = None
        elif until > now and (self._wait is None or abs(self._wait.until - until) > 3):
            self._wait = Wait(now, until)
        return self._wait

    def _from_status(self) -> tuple[str, str, float | None]:
        service = self._status()
        if service is None:
            return "", "", None
        phase, following = str(service["phase"]), service["next"] or {}
        problems = [p["message"] for p in service["problems"] if p["level"] != "ok"]
        until = following.get("not_before") if phase in {"waiting", "retaining"} else None
        sentence = problems[0] if problems else SENTENCES.get(phase, str(service["summary"]))
        return phase, sentence, datetime.fromisoformat(until).timestamp() if until else None

    @staticmethod
    def _status() -> dict[str, Any] | None:
        try:
            found: dict[str, Any] = json.loads(STATUS.read_text())["services"][0]
        except (OSError, ValueError, LookupError):
            return None
        return found

    def _read_history(self) -> None:
        """Run `rollover history` when the status tells of something new."""
        service = self._status()
        if not self._tool or service is None:
            return
        told = (service["phase"], service["summary"], len(service["problems"]))
        if told != self._told:
            done = self._lab.rollover("history", "mail")
            if done.returncode == 0:
                self._told = told
                self._log = ("rollover history mail", tuple(done.stdout.splitlines()))

    def _mail(self, number: int) -> Mail:
        if number >= len(self._marks):
            return Mail()
        mark = self._marks[number]
        later = self._marks[number + 1 : number + 2]
        return figures(self._lab.mail.between(mark, *later) if later else self._lab.mail.since(mark))


def figures(counts: Counts) -> Mail:
    """Return the figures of a span of the senders' logs; whatever was not sent counts as deferred."""
    outcomes = [event for event in counts.events if event.queue_id]
    good = sum(event.kind == "sent" for event in outcomes)
    tally: dict[int, list[int]] = {}
    for event in outcomes:
        tally.setdefault(event.second, [0, 0])[event.kind != "sent"] += 1
    first, last = min(tally, default=0), max(tally, default=-1)
    seconds = [tally.get(second, [0, 0]) for second in range(first, last + 1)]
    reasons = counts.reasons.most_common(1)
    return Mail(
        delivered=good,
        deferred=len(outcomes) - good,
        verified=counts.verified,
        other=counts.other,
        seconds=tuple((sent, deferred) for sent, deferred in seconds),
        reason=reasons[0][0] if reasons else "",
    )


def _ask(question: Callable[[], RRset]) -> RRset | None:
    try:
        return question()
    except (OSError, LabError):
        return None


def _age(name: str) -> int:
    return {"old": 0, "new": 1}.get(name, 2)
