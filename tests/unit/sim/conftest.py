"""What tests of the simulator share."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="module")
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    """One event loop for all worlds."""
    it = asyncio.new_event_loop()
    yield it
    it.close()
