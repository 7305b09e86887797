"""For Python under libfaketime, see lab.command.environment.

libfaketime 0.9.10 fails clock_nanosleep(2) until an instant of a clock that it was told to leave
true, with EINVAL; time.sleep() calls that. select(2) waits as long, and works.
"""

from __future__ import annotations

import select
import time


def _sleep(seconds: float) -> None:
    select.select([], [], [], seconds)


time.sleep = _sleep
