"""For how long an event loop stood still."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

TICK = 0.005


class Stalls:
    """What was seen of the loop until now.

    Attributes:
        longest: seconds.
    """

    def __init__(self) -> None:
        self.longest = 0.0
        self._last = time.monotonic()

    def look(self) -> None:
        """Note how long ago the last look was, beyond the time between two."""
        now = time.monotonic()
        self.longest, self._last = max(self.longest, now - self._last - TICK), now


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
