"""A schedule that fails is made as short as it gets, and told as a story."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence

from tests.sim.events import Event
from tests.sim.judge import Violation
from tests.sim.play import play
from tests.sim.shape import Shape

VARIES = r"\b(c\d+|[\d.]+)\b"  # instants and certificates


def failure(shape: Shape, events: Sequence[Event], loop: asyncio.AbstractEventLoop) -> str:
    """Return the kind of failure that a schedule ends in; empty if it ends well."""
    try:
        play(shape, events, loop)
    except (Exception, Violation) as error:  # whatever it is, the shortest schedule with it is wanted
        return f"{type(error).__name__}: {re.sub(VARIES, '…', str(error))[:60]}"
    return ""


def shrink(shape: Shape, events: Sequence[Event], loop: asyncio.AbstractEventLoop, *, tries: int = 400) -> list[Event]:
    """Return a schedule that fails in the same way and of which nothing can be left out, within so many *tries*.

    Pieces are left out, halves first, then single events (delta debugging).
    """
    kind, kept = failure(shape, events, loop), list(events)
    size = max(1, len(kept) // 2)
    while kind and tries > 0:
        start = 0
        shorter = False
        while start < len(kept) and tries > 0:
            candidate = kept[:start] + kept[start + size :]
            tries -= 1
            if candidate and failure(shape, candidate, loop) == kind:
                kept, shorter = candidate, True
            else:
                start += size
        if size == 1 and not shorter:
            break
        size = max(1, size // 2) if not shorter or size > 1 else 1
    return kept


def story(shape: Shape, events: Sequence[Event], loop: asyncio.AbstractEventLoop) -> str:
    """Return what happens in a schedule, line by line, and how it ends."""
    lines = [f"world: {shape}", f"schedule: {list(events)!r}"]
    try:
        it = play(shape, events, loop)
    except (Exception, Violation) as error:
        played = getattr(error, "play", None)
        if played is not None:
            lines += played.world.log
        return "\n".join([*lines, f"{type(error).__name__}: {error}"])
    return "\n".join([*lines, *it.world.log, "ends well"])
