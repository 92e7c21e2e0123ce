"""Measurement of how long an event loop is blocked."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tier0.core.verdict import TooBusyError

TICK = 0.005
"""Seconds between two measurements."""
MIN_COUNTED = 0.02
"""Seconds: shorter stalls do not count towards the total."""


class Stalls:
    """Stalls of an event loop.

    Attributes:
        longest: longest stall, in seconds.
        total: sum of all stalls longer than 20 ms, in seconds.
    """

    def __init__(self) -> None:
        self.longest = 0.0
        self.total = 0.0
        self._last = time.monotonic()

    def measure(self) -> None:
        """Record the time since the last measurement, beyond the regular interval."""
        now = time.monotonic()
        stall, self._last = now - self._last - TICK, now
        self.longest = max(self.longest, stall)
        self.total += stall if stall > MIN_COUNTED else 0.0


@asynccontextmanager
async def watched_loop() -> AsyncIterator[Stalls]:
    """Measure the stalls of the running loop until the block ends."""
    stalls = Stalls()

    async def watch() -> None:
        while True:
            await asyncio.sleep(TICK)
            stalls.measure()

    watching = asyncio.ensure_future(watch())
    try:
        yield stalls
    finally:
        stalls.measure()
        watching.cancel()


def require_free_loop(stalled: float, limit: float) -> None:
    """Check that the event loop was not blocked for longer than *limit*, both in seconds.

    Raises:
        TooBusyError: it was: calls may have ended before they could do what is judged.
    """
    if stalled > limit:
        raise TooBusyError(f"the event loop was blocked for {stalled:.2f} s")
