"""What the tests of whole rollovers share: steps of an operator, and what mail made of them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tests.lab import Lab
from tests.lab import addresses as at
from tests.lab.maillog import Counts

Service = dict[str, Any]


def service(lab: Lab, name: str = "mail") -> Service:
    """Return the object of one service in `status --json`."""
    (found,) = (it for it in lab.status()["services"] if it["name"] == name)
    return dict(found)


def codes(it: Service, level: str = "") -> set[str]:
    """Return the codes of a service's problems; with *level*, only those of it."""
    return {p["code"] for p in it["problems"] if not level or p["level"] == level}


def problem(it: Service, code: str) -> dict[str, str]:
    """Return the one problem with *code*."""
    found = [p for p in it["problems"] if p["code"] == code]
    assert found, f"no problem {code!r} in {json.dumps(it, indent=1)}"
    return dict(found[0])


def advance_until(
    lab: Lab,
    done: Callable[[Service], bool],
    *,
    seconds: float = 60,
    every: float = 1.0,
    each: Callable[[Service], None] | None = None,
) -> Service:
    """Run `advance mail` every *every* seconds, as a quick timer would, until *done*; return the service then.

    *each* is called with the service after every tick. An exit code that is neither 0, 1 nor 75 fails.
    """
    deadline = time.monotonic() + seconds
    while True:
        begin = time.monotonic()
        ticked = lab.rollover("advance", "mail")
        assert ticked.returncode in {0, 1, 75}, f"advance exited {ticked.returncode}: {ticked.stdout}{ticked.stderr}"
        it = service(lab)
        if each is not None:
            each(it)
        if done(it):
            return it
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {json.dumps(it, indent=1)}"
        time.sleep(max(0.0, begin + every - time.monotonic()))


def advance_to(lab: Lab, *phases: str, seconds: float = 60, every: float = 1.0) -> Service:
    """Run `advance mail` until the service is in one of *phases*; return it."""
    return advance_until(lab, lambda it: it["phase"] in phases, seconds=seconds, every=every)


def fill_caches(lab: Lab, owner: str = at.OWNER) -> None:
    """Let every sender's resolver hold the RRset as it is now: the worst moment to change it."""
    for sender in lab.senders:
        sender.resolver.fill(owner)
        assert sender.resolver.cached(owner), f"{sender.resolver.name} does not hold {owner}"


@contextmanager
def steady_mail(lab: Lab, per_second: float = 10) -> Iterator[Callable[[], Counts]]:
    """Keep mail flowing within the block; yields what returns the counts since it began."""
    lab.load.start(per_second)
    time.sleep(1.0)  # from here on whole seconds are full
    begin = lab.mail.mark()
    try:
        yield lambda: lab.mail.since(begin)
    finally:
        lab.load.abandon()
    lab.load.stop()  # every message has an outcome


def nothing_deferred(lab: Lab) -> None:
    """Assert that all mail since the lab's start arrived, every connection authenticated by DANE."""
    mail = lab.mail
    assert (mail.deferred, mail.bounced, mail.other) == (0, 0, 0), f"{mail}\n{mail.reasons}"
    assert mail.sent > 0
    assert mail.verified >= mail.sent


def two_lines(stderr: str) -> tuple[str, str]:
    """Return (message, hint) of an error as interface.md wants it: exactly two lines on stderr."""
    lines = stderr.splitlines()
    assert len(lines) == 2, stderr
    assert lines[0].startswith("rollover: error: "), stderr
    assert lines[1].startswith("rollover: hint: "), stderr
    return lines[0].removeprefix("rollover: error: "), lines[1].removeprefix("rollover: hint: ")
