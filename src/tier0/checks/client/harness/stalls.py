"""For how long an event loop stood still."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

TICK = 0.005
WORTH_COUNTING = 0.02


class Stalls:
    """What was seen of the loop until now.

    Attributes:
        longest: seconds.
        total: seconds, of all that were longer than 20 ms.
    """

    def __init__(self) -> None:
        self.longest = 0.0
        self.total = 0.0
        self._last = time.monotonic()

    def look(self) -> None:
        """Note how long ago the last look was, beyond the time between two."""
        now = time.monotonic()
        stall, self._last = now - self._last - TICK, now
        self.longest = max(self.longest, stall)
        self.total += stall if stall > WORTH_COUNTING else 0.0


@asynccontextmanager
async def watched_loop() -> AsyncIterator[Stalls]:
    """Watch the running loop until the block ends."""
    stalls = Stalls()

    async def watch() -> None:
        while True:
            await asyncio.sleep(TICK)
            stalls.look()

    watching = asyncio.ensure_future(watch())
    try:
        yield stalls
    finally:
        stalls.look()
        watching.cancel()
