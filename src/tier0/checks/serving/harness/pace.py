"""The rate of requests that the user allows, and the bucket of tokens that keeps all checks to it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from tier0.core.verdict import NotJudgedError

AT_ONCE = 0.1
"""Share of the requests of one second that may be sent at once."""

ROUNDING = 1e-9
"""Part of a token that the arithmetic of floats may leave out."""


class Pace:
    """A bucket of tokens: each request takes one, and waits while there is none.

    No second has more than *rate* requests, rounded up: what may be sent at once is taken off the speed with
    which the bucket is refilled. Below 20 requests per second, they are sent one by one, at equal distances.

    Args:
        rate: requests per second.
        clock: clock in seconds.
        sleep: waits for a number of seconds.

    Attributes:
        rate: requests per second.
        at_once: requests that may be sent at once.
        waited: seconds that all requests together have waited.
    """

    def __init__(
        self,
        rate: float,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self.rate = rate
        self.at_once = max(1, int(rate * AT_ONCE))
        self.waited = 0.0
        self._per_second = rate - (self.at_once - 1)
        self._clock = clock
        self._sleep = sleep
        self._tokens = float(self.at_once)
        self._filled_at = clock()
        self._in_turn = asyncio.Lock()

    @property
    def longest_wait(self) -> float:
        """Seconds that a request waits if no other one does."""
        return 1 / self._per_second

    async def turn(self) -> float:
        """Wait until a request may be sent, and return the seconds that this took."""
        start = self._clock()
        async with self._in_turn:  # first come, first served
            while (missing := self._missing()) > ROUNDING:
                await self._sleep(missing / self._per_second)
            self._tokens -= 1
        waited = self._clock() - start
        self.waited += waited
        return waited

    def _missing(self) -> float:
        """Return the part of a token that is missing for the next request."""
        now = self._clock()
        filled = self._tokens + (now - self._filled_at) * self._per_second
        self._tokens, self._filled_at = min(float(self.at_once), filled), now
        return max(0.0, 1 - self._tokens)

    def require_at_once(self, requests: int) -> None:
        """Check that so many requests may be sent at once.

        Raises:
            NotJudgedError: they may not.
        """
        if requests > self.at_once:
            raise NotJudgedError(
                f"this check sends {requests} requests at once, and --rate {self.rate:g} allows "
                f"{self.at_once}; it needs --rate {requests / AT_ONCE:g}",
                code="rate",
            )
