"""Sending requests to one service, with retries after network failures."""

from __future__ import annotations

import asyncio
import codecs
import math
import re
import uuid
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx

from tier0.checks.serving.harness.pace import Pace
from tier0.client.transport import RESPONSE_BYTES, ResponseTooLargeError, check_memory_of_json
from tier0.core.address import address
from tier0.core.errors import Tier0Error
from tier0.core.fields import check_depth
from tier0.core.verdict import Code

REQUEST_ID = "X-Request-ID"
DEFAULT_RETRIES = 3
FIRST_PAUSE = 0.1
MAX_PAUSE = 2.0
"""Seconds between two attempts, even if a Retry-After header requests more."""
MAX_SECONDS = 60.0
"""Seconds per attempt: the timeouts of the HTTP library limit only each read of a response."""
MAX_DIGITS = 300
"""Digits of an integer that is used as a number: floats end at 309."""
MAX_TIMEOUTS = 2
"""Attempts that may time out: each costs the whole timeout."""
OVERLOADED = {httpx.codes.TOO_MANY_REQUESTS, httpx.codes.SERVICE_UNAVAILABLE}
"""Statuses of a service that is overloaded or rate limiting."""
UNREACHABLE = {httpx.codes.BAD_GATEWAY, httpx.codes.GATEWAY_TIMEOUT}
"""Statuses of a proxy that got no response from the service."""
WAITED = "tier0_waited"
"""Extension of a response: seconds that its request waited because of the rate that the user allows."""
ATTEMPTS = "tier0_attempts"
"""Extension of a response: how often its request was sent."""
NO_TLS = re.compile(r"WRONG_VERSION_NUMBER|RECORD_LAYER_FAILURE|record layer failure")
"""Errors of OpenSSL when the first bytes of a server are not TLS."""
ABSENT = {httpx.codes.NOT_FOUND, httpx.codes.METHOD_NOT_ALLOWED}
"""Statuses of a route that does not exist, or not for the method."""
MIN_RETRIED = 10
MAX_RETRIED_SHARE = 0.25
"""Share of all attempts that may be retries; `MIN_RETRIED` retries are always allowed."""
HTTPS_PORT = 443
TRANSIENT = OVERLOADED | UNREACHABLE
"""Statuses after which a request is sent again."""

UNAUTHORIZED = {httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN}
HOW_TO_AUTHORIZE = (
    "the service requires credentials: pass --header 'Authorization: …', "
    "or --header 'Authorization: @FILE' to read the value from a file"
)


def new_request_id() -> str:
    """Return a new request id, in a form that `concurrency.own_context` recognises in responses."""
    return f"tier0-{uuid.uuid4().hex}"


class UnansweredError(Tier0Error):
    """No response arrived to a request, including its retries."""

    code: Code = "network"


class OversizedError(Tier0Error):
    """A response is larger than the limit; it was not read to its end."""


@dataclass
class Sender:
    """Sends the requests of one examination, and counts the retries.

    Attributes:
        url: URL of the service, without a trailing slash.
        http: HTTP client, with the user's headers.
        retries: number of retries of a request after a reset, a timeout, or status 429, 502, 503 or 504.
        retried: number of retries by reason, such as ``503`` or ``ReadError``.
        retries_refusals: whether 429 and 503 are retried; False during a deliberate load, which may exceed a
            limit.
        max_bytes: size of each response, if it is less than the limit of *http*.
        tries: number of all attempts, in a list of one item that copies of the sender share.
        headers: headers of every request, in addition to the user's.
        planted: text in the environment of the service's processes that no response may have; empty for none.
        leaks: method and route of each response that has it.
        fresh: HTTP client that makes a new connection for each request; None without one.
        pace: keeps the requests, also those sent again, to the rate that the user allows; None without one.
    """

    url: str
    http: httpx.AsyncClient
    retries: int = DEFAULT_RETRIES
    retried: Counter[str] = field(default_factory=Counter)
    retries_refusals: bool = True
    max_bytes: int | None = None
    tries: list[int] = field(default_factory=lambda: [0])
    headers: Mapping[str, str] = field(default_factory=dict)
    fresh: httpx.AsyncClient | None = None
    planted: str = ""
    leaks: list[str] = field(default_factory=list)
    pace: Pace | None = None

    async def send(
        self, method: str, route: str, content: bytes | None = None, headers: dict[str, str] | None = None
    ) -> httpx.Response:
        """Send one request, with retries; each attempt has a new request id unless *headers* has one.

        Args:
            method: HTTP method.
            route: path of the request.
            content: request body.
            headers: headers in addition to the user's.

        Returns:
            The last response, which may have status 429, 502, 503 or 504.

        Raises:
            AddressError: *route* is not a path.
            UnansweredError: there was no response.
            OversizedError: the response is too large.
        """
        url = address(self.url, route)
        extensions = {} if self.max_bytes is None else {RESPONSE_BYTES: self.max_bytes}
        timeouts, waited = 0, 0.0
        for tries_left in range(self.retries, -1, -1):
            pause = min(FIRST_PAUSE * 2 ** (self.retries - tries_left), MAX_PAUSE)
            waited += await self.pace.turn() if self.pace is not None else 0.0
            self.tries[0] += 1
            is_last = not tries_left or self._fails_too_often()
            try:
                async with asyncio.timeout(MAX_SECONDS):
                    response = await self.http.request(
                        method,
                        url,
                        content=content,
                        headers={REQUEST_ID: new_request_id(), **self.headers, **(headers or {})},
                        extensions=extensions,
                    )
            except ResponseTooLargeError as problem:
                raise OversizedError(f"{method} {url}: {problem}") from problem
            except (httpx.HTTPError, TimeoutError) as problem:
                timeouts += isinstance(problem, (httpx.TimeoutException, TimeoutError))
                if is_last or timeouts >= MAX_TIMEOUTS:
                    error = f"{type(problem).__name__}: {problem}".rstrip(": ")
                    hint = _without_tls(self.url) if NO_TLS.search(error) else ""
                    raise UnansweredError(f"no response to {method} {url}: {error}{hint}") from problem
                reason = type(problem).__name__
            else:
                retried = TRANSIENT if self.retries_refusals else UNREACHABLE
                if is_last or response.status_code not in retried:
                    self._look_for_leak(response, f"{method} {route}")
                    response.extensions[WAITED] = waited
                    response.extensions[ATTEMPTS] = self.retries - tries_left + 1
                    return _with_text(response)
                reason = str(response.status_code)
                pause = _pause_before_retry(response, pause)
            self.retried[reason] += 1
            await asyncio.sleep(pause)
        raise AssertionError("unreachable: the last try returns or raises")

    @property
    def longest_wait(self) -> float:
        """Seconds that a request can wait because of the rate, with its retries, if no other one does."""
        return 0.0 if self.pace is None else self.pace.longest_wait * (1 + self.retries)

    def _look_for_leak(self, response: httpx.Response, request: str) -> None:
        planted = self.planted.encode()
        texts = (response.content, *(value for _, value in response.headers.raw))
        if planted and any(planted in text for text in texts):
            self.leaks.append(request)

    def _fails_too_often(self) -> bool:
        """Return True if so many requests were retried that callers would notice the failures."""
        return sum(self.retried.values()) >= max(MIN_RETRIED, MAX_RETRIED_SHARE * self.tries[0])


def _without_tls(url: str) -> str:
    """Return what to try if the port of an https URL did not respond with TLS."""
    parts = httpx.URL(url)
    plain = parts.copy_with(scheme="http", port=parts.port or HTTPS_PORT)
    return f"; the port does not speak TLS: try {plain}"


def _with_text(response: httpx.Response) -> httpx.Response:
    """Return a response whose text can be read, as UTF-8 if its charset is not that of its body."""
    charset = response.charset_encoding
    # UTF-8 can always be read; its text, which would be in memory beside the body, is not made yet.
    if charset is None or codecs.lookup(charset).name == "utf-8":
        return response
    try:
        _ = response.text
    except Exception:  # noqa: BLE001 - codecs such as hex and undefined raise many kinds
        response.encoding = "utf-8"
    return response


def decode_json(response: httpx.Response) -> Any:
    """Return the JSON value of a response body; integers beyond the range of floats become infinite.

    Raises:
        ValueError: the body is not JSON, or nested too deeply.
    """
    check_memory_of_json(response.content)
    try:
        value = response.json(parse_int=_to_number)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    check_depth(value)
    return value


def _to_number(text: str) -> float:
    return int(text) if len(text) <= MAX_DIGITS else math.copysign(math.inf, -1 if text[0] == "-" else 1)


def _pause_before_retry(response: httpx.Response, default: float) -> float:
    """Return the seconds in the Retry-After header, within bounds, or *default* without a number there."""
    try:
        seconds = float(response.headers["Retry-After"])
    except (KeyError, ValueError):
        return default
    return default if math.isnan(seconds) else min(max(seconds, 0.0), MAX_PAUSE)
