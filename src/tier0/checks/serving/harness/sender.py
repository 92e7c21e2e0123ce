"""Sending requests to the one address that was given, and asking again for what a network does."""

from __future__ import annotations

import asyncio
import math
import uuid
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import httpx

from tier0.core.errors import Tier0Error

REQUEST_ID = "X-Request-ID"
DEFAULT_RETRIES = 3
FIRST_PAUSE = 0.1
MAX_PAUSE = 2.0
"""Seconds between two tries, also where a Retry-After header asks for more."""
MAX_SECONDS = 60.0
"""For one try: a response may come in drips, each of them in time."""
MAX_DIGITS = 300
"""Of a whole number that is computed with: floats end at 309."""
MAX_TIMEOUTS = 2
"""Tries that may time out: each costs the whole timeout."""
OVERLOADED = {httpx.codes.TOO_MANY_REQUESTS, httpx.codes.SERVICE_UNAVAILABLE}
"""Statuses of a service that refuses a request as one too many."""
UNREACHABLE = {httpx.codes.BAD_GATEWAY, httpx.codes.GATEWAY_TIMEOUT}
"""Statuses of a proxy that got no response from the service."""
MIN_RETRIED = 10
MAX_RETRIED_SHARE = 0.25
"""Of what was sent: up to it, requests are sent again, and always up to `MIN_RETRIED` of them."""
TRANSIENT = OVERLOADED | UNREACHABLE
"""Statuses after which a caller tries again."""

UNAUTHORIZED = {httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN}
HOW_TO_AUTHORIZE = "the service requires credentials: pass --header 'Authorization: …', or --header 'Authorization: @FILE' to read the value from a file"


def new_request_id() -> str:
    """Return an id for one request that `concurrency.own_context` recognises in any response."""
    return f"tier0-{uuid.uuid4().hex}"


class UnansweredError(Tier0Error):
    """No response arrived, although the request was sent as often as allowed."""


@dataclass
class Sender:
    """Sends the requests of one examination, and counts what had to be sent again.

    Attributes:
        url: of the service, without a trailing slash.
        http: connections, with the user's headers.
        retries: how often a request is sent again after a reset, a timeout, or a 429, 502, 503 or 504.
        retried: the reason for each request that was sent again, such as ``503`` or ``ReadError``, and how often.
        retries_refusals: 429 and 503 are sent again, too; they are an answer where much is asked at once on purpose.
        tries: how often something was sent, in a list of one that copies of the sender share.
    """

    url: str
    http: httpx.AsyncClient
    retries: int = DEFAULT_RETRIES
    retried: Counter[str] = field(default_factory=Counter)
    retries_refusals: bool = True
    tries: list[int] = field(default_factory=lambda: [0])

    async def send(
        self, method: str, route: str, content: bytes | None = None, headers: dict[str, str] | None = None
    ) -> httpx.Response:
        """Send one request, again if the network failed it, each time with a request id of its own unless *headers* has one.

        Returns:
            The last response, which may still be a 429, 502, 503 or 504.

        Raises:
            UnansweredError: there was no response.
        """
        timeouts = 0
        for tries_left in range(self.retries, -1, -1):
            pause = min(FIRST_PAUSE * 2 ** (self.retries - tries_left), MAX_PAUSE)
            self.tries[0] += 1
            is_last = not tries_left or self._fails_too_often()
            try:
                async with asyncio.timeout(MAX_SECONDS):
                    response = await self.http.request(
                        method,
                        f"{self.url}{route}",
                        content=content,
                        headers={REQUEST_ID: new_request_id(), **(headers or {})},
                    )
            except (httpx.HTTPError, TimeoutError) as problem:
                timeouts += isinstance(problem, (httpx.TimeoutException, TimeoutError))
                if is_last or timeouts >= MAX_TIMEOUTS:
                    what = f"{type(problem).__name__} {problem}".rstrip()
                    raise UnansweredError(f"no response to {method} {self.url}{route}: {what}") from problem
                reason = type(problem).__name__
            else:
                if (
                    response.status_code not in (TRANSIENT if self.retries_refusals else UNREACHABLE)
                    or is_last
                ):
                    return response
                reason = str(response.status_code)
                pause = _pause_asked_for(response, pause)
            self.retried[reason] += 1
            await asyncio.sleep(pause)
        raise AssertionError("unreachable: the last try returns or raises")

    def _fails_too_often(self) -> bool:
        """Return True if so much had to be sent again that this is not a network which fails now and then: callers would see it, too."""
        return sum(self.retried.values()) >= max(MIN_RETRIED, MAX_RETRIED_SHARE * self.tries[0])


def decode_json(response: httpx.Response) -> Any:
    """Return the JSON of a body; whole numbers beyond all floats become infinite, since nothing can be computed with them.

    Raises:
        ValueError: it is no JSON, or nested too deeply to be read.
    """
    try:
        return response.json(parse_int=_whole_number)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _whole_number(text: str) -> float:
    return int(text) if len(text) <= MAX_DIGITS else math.copysign(math.inf, -1 if text[0] == "-" else 1)


def _pause_asked_for(response: httpx.Response, default: float) -> float:
    """Return the seconds that a Retry-After header asks for, within bounds."""
    try:
        return min(max(float(response.headers["Retry-After"]), 0.0), MAX_PAUSE)
    except (KeyError, ValueError):
        return default
