"""Mail that was put off: which messages, and when each of them had arrived at its sender.

A broken mail server keeps a sender waiting before the message is put off, so the second of the log
says little about the cause. The message's queue id does: Postfix writes the time of arrival into it.
"""

from __future__ import annotations

import time
from collections.abc import Collection

from tests.lab import Lab
from tests.lab.maillog import Counts

_DIGITS = "0123456789BCDFGHJKLMNPQRSTVWXYZbcdfghjklmnpqrstvwxyz"  # enable_long_queue_ids of postconf(5)
Window = tuple[float, float]


def wall() -> float:
    """Return the present instant in Unix time, the clock of the senders' logs."""
    return time.clock_gettime(time.CLOCK_REALTIME)


def arrived(queue_id: str) -> float:
    """Return when a message arrived at its sender, in Unix time: six digits of seconds, four of microseconds."""
    seconds, microseconds = _number(queue_id[:6]), _number(queue_id[6:10])
    return seconds + microseconds / 1_000_000


def _number(digits: str) -> int:
    value = 0
    for digit in digits:
        value = value * len(_DIGITS) + _DIGITS.index(digit)
    return value


def put_off_within(counts: Counts, *windows: Window) -> int:
    """Assert that no mail bounced and none was put off but for a fault in one of *windows*; return how many were.

    A window is [since, until] in Unix time: such a message was put off in the window's first second or
    later, and had arrived when the window ended or before. To be called when no mail is in flight.
    """
    put_off = [event for event in counts.events if event.kind == "deferred"]
    others = [
        (event.second, arrived(event.queue_id), event.text)
        for event in put_off
        if not any(int(since) <= event.second and arrived(event.queue_id) <= until for since, until in windows)
    ]
    assert not others, f"put off outside of {windows}: {others}"
    assert counts.bounced == 0
    print(f"put off: {len(put_off)} of {counts.messages} messages, in {windows}")
    return len(put_off)


def all_sent(lab: Lab, ids: Collection[str]) -> None:
    """Assert that each of these messages was delivered. To be called when no mail is in flight."""
    outcomes = {event.queue_id: event.kind for event in lab.mail.events if event.queue_id in ids}
    assert outcomes == dict.fromkeys(ids, "sent")
