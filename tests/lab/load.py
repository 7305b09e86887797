"""A steady load of mail, put in at the senders by plain SMTP."""

from __future__ import annotations

import itertools
import smtplib
import threading
import time
from collections.abc import Sequence

from .maillog import MailLog
from .process import LabError, wait_for

_BODY = b"Subject: load\r\n\r\nOne message of a steady load.\r\n"


class Load:
    """One thread a sender; each injects its share on a fixed timetable.

    A thread that was held up catches up, so that the number of messages is that of the timetable.
    """

    def __init__(self, addresses: Sequence[str], mail: MailLog) -> None:
        self._addresses = addresses
        self._mail = mail
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []
        self._failures: list[str] = []
        self.injected: set[str] = set()
        """Queue ids of the messages that the senders took."""

    @property
    def running(self) -> bool:
        """Whether messages are being injected."""
        return bool(self._threads)

    def start(self, per_second: float = 10) -> None:
        """Inject *per_second* messages in each second, over all senders together.

        The logs resolve whole seconds, so that counts of a second swing by some messages: at 10,
        9 to 11 were seen in each on a busy machine; at 6, sometimes 4.
        """
        if self._threads:
            raise LabError("the load runs already")
        self._stopping.clear()
        share = len(self._addresses) / per_second
        for number, address in enumerate(self._addresses):
            offset = number / per_second
            thread = threading.Thread(target=self._inject, args=(address, share, offset), name=f"load-{address}")
            thread.daemon = True
            thread.start()
            self._threads.append(thread)

    def stop(self, seconds: float = 180) -> None:
        """Stop, and wait until every message has had an outcome: sent, deferred or bounced.

        Raises LabError if one has none after *seconds*, or if a sender did not take one.
        """
        self.abandon()
        if self._failures:
            raise LabError(f"a sender did not take mail: {self._failures[0]}")
        wait_for(
            lambda: self.injected <= self._mail.outcomes(),
            "every message has an outcome",
            seconds,
            0.05,
        )

    def abandon(self) -> None:
        """Stop without waiting for outcomes."""
        self._stopping.set()
        for thread in self._threads:
            thread.join()
        self._threads.clear()

    def send(self, count: int = 1, sender: int = 0) -> list[str]:
        """Inject *count* messages at one sender now; return their queue ids."""
        with smtplib.SMTP(self._addresses[sender], 25, "load.test", timeout=60) as connection:
            ids = [_send(connection) for _ in range(count)]
        self.injected.update(ids)
        return ids

    def _inject(self, address: str, interval: float, offset: float) -> None:
        begin = time.monotonic() + offset
        try:
            with smtplib.SMTP(address, 25, "load.test", timeout=60) as connection:
                for number in itertools.count():
                    pause = begin + number * interval - time.monotonic()
                    if self._stopping.wait(max(pause, 0)):
                        return
                    self.injected.add(_send(connection))
        except (OSError, smtplib.SMTPException) as error:
            self._failures.append(f"{address}: {error}")


def _send(connection: smtplib.SMTP) -> str:
    connection.mail("load@senders.test")
    connection.rcpt("postmaster@example.test")
    code, reply = connection.data(_BODY)
    words = reply.decode().split("queued as ")
    if code != 250 or len(words) != 2:
        raise smtplib.SMTPDataError(code, reply)
    return words[1].strip()
