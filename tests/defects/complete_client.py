"""A small client that keeps a complete declaration; `complete_client_flaws` breaks one promise at a time."""

from __future__ import annotations

import asyncio
import json
import logging
import math
import random
import ssl
import time
import uuid
from contextlib import suppress
from email.utils import parsedate_to_datetime
from typing import Any, ClassVar, Literal
from urllib.parse import quote

import httpx
from opentelemetry.propagate import inject

DECLARED: dict[str, Any] = {
    "attempts": 3,
    "threshold": 5,
    "reset": 1.0,
    "probes": 1,
    "timeout": 1.0,
    "attempt_timeout": 0.5,
    "retries_429": True,
    "retry_after": True,
    "budget": 0.2,
    "connections": 20,
    "health_timeout": 1.0,
    "traceparent": True,
}
MAX_CIRCUITS = 100
CERTIFICATES = ssl.create_default_context()
"""Loaded once: each check creates many clients."""
Outcome = Literal["success", "failure", "neutral"]
log = logging.getLogger(__name__)


class ServiceError(Exception):
    """The service failed, or returned no prediction.

    Attributes:
        retry_after: seconds that the service asks for.
        is_limited: whether the status was 429.
    """

    retry_after = 0.0
    is_limited = False


class MistakeError(Exception):
    """The caller made a mistake."""


class RejectedError(Exception):
    """The call was rejected without a request."""


class Breaker:
    threshold = DECLARED["threshold"]

    def __init__(self, reset: float) -> None:
        self.reset = reset
        self.failures = self.generation = 0
        self.opened: float | None = None
        self.half_open = self.probing = False

    def ask(self) -> int:
        if self.opened is not None:
            if time.monotonic() < self.opened + self.reset:
                raise RejectedError("the circuit is open")
            self.opened, self.half_open = None, True
            self.generation += 1
        if self.half_open:
            if self.probing:
                raise RejectedError("the circuit is half-open")
            self.probing = True
        return self.generation

    def settle(self, generation: int, outcome: Outcome, kind: str) -> None:  # noqa: ARG002 - for flaws
        if generation != self.generation or self.opened is not None:
            return
        was_half_open, self.probing = self.half_open, False
        if outcome == "success":
            self.close()
        elif outcome == "failure":
            self.failures += 1
            if was_half_open or self.failures >= self.threshold:
                self.open()

    def open(self) -> None:
        self.opened, self.half_open = time.monotonic(), False
        self.generation += 1

    def close(self) -> None:
        self.failures, self.half_open = 0, False


class WholeClient:
    checks: tuple[str, ...] = ()
    """For a client with a defect: the checks of which one must fail."""
    declared: ClassVar[dict[str, Any]] = {}
    """What it declares differently."""
    attempts = DECLARED["attempts"]
    breaker_class = Breaker

    def __init__(
        self, url: str, timeout: float = 1.0, attempt_timeout: float = 0.5, reset_timeout: float = 1.0
    ) -> None:
        self.url = url.rstrip("/")
        self.timeout, self.attempt_timeout, self.reset = timeout, attempt_timeout, reset_timeout
        self.http = self.connect(DECLARED["connections"])
        self.monitor = self.connect(1)
        self.places = asyncio.Semaphore(DECLARED["connections"])
        self.breakers: dict[str | None, Breaker] = {}
        self.budget = 10.0
        self.is_closed = False
        self.loop = asyncio.get_running_loop()

    def connect(self, connections: int) -> httpx.AsyncClient:
        # `places` is the limit: a pool with one of its own may lose the place of a cancelled call.
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=connections)
        return httpx.AsyncClient(timeout=None, trust_env=False, limits=limits, verify=CERTIFICATES)

    async def predict(self, data: Any, *, model: str | None = None) -> Any:
        return await self.call(data, model)

    async def predict_batch(self, rows: Any) -> Any:
        return await self.call({"features": rows}, None)

    async def health(self) -> dict[str, str]:
        try:
            async with asyncio.timeout(0.8):
                response = await self.monitor.get(f"{self.url}/health")
            is_healthy = response.is_success
        except (httpx.HTTPError, TimeoutError):
            is_healthy = False
        return {"status": "healthy" if is_healthy else "unhealthy"}

    async def close(self) -> None:
        self.is_closed = True
        await self.http.aclose()
        await self.monitor.aclose()

    def breaker(self, model: str | None) -> Breaker:
        if model not in self.breakers:
            if len(self.breakers) >= MAX_CIRCUITS:
                self.breakers.pop(next(iter(self.breakers)))
            self.breakers[model] = self.breaker_class(self.reset)
        return self.breakers[model]

    def route(self, model: str | None) -> str:
        return f"{self.url}/predict" if model is None else f"{self.url}/{quote(model, safe='')}/predict"

    def headers(self) -> dict[str, str]:
        headers = {"X-Request-ID": uuid.uuid4().hex, "Content-Type": "application/json"}
        inject(headers)
        return headers

    async def call(self, data: Any, model: str | None) -> Any:
        if self.is_closed:
            raise RejectedError("this client is closed")
        if asyncio.get_running_loop() is not self.loop:
            raise RejectedError("this client belongs to another event loop")
        self.budget = min(10.0, self.budget + DECLARED["budget"])
        try:
            async with asyncio.timeout(self.timeout):
                return await self.with_retries(data, model, self.headers())
        except TimeoutError:
            raise ServiceError("no time is left") from None

    async def with_retries(self, data: Any, model: str | None, headers: dict[str, str]) -> Any:
        deadline = time.monotonic() + self.timeout
        number, problem = 0, ServiceError()
        while True:
            try:
                return await self.attempt(data, model, headers)
            except RejectedError:
                if number:
                    raise problem from None
                raise
            except ServiceError as error:
                problem = error
            number += 1
            wait = self.wait(number, problem)
            if number >= self.attempts or self.budget < 1 or time.monotonic() + wait > deadline:
                raise problem
            self.budget -= 1
            log.info("attempt %d failed: %s", number, problem)
            await asyncio.sleep(wait)

    def wait(self, number: int, problem: ServiceError) -> float:
        return max(0.1 * 2.0 ** (number - 1) * random.random(), problem.retry_after)

    async def attempt(self, data: Any, model: str | None, headers: dict[str, str]) -> Any:
        async with self.places:
            breaker = self.breaker(model)
            generation, started = breaker.ask(), time.monotonic()
            outcome: Outcome = "success"
            kind = ""
            try:
                return await self.exchange(data, model, headers)
            except ServiceError as problem:
                outcome, kind = "neutral" if problem.is_limited else "failure", str(problem)
                raise
            except asyncio.CancelledError:
                is_late = time.monotonic() - started > self.attempt_timeout * 0.6
                outcome, kind = "failure" if is_late else "neutral", "cancelled"
                raise
            finally:
                breaker.settle(generation, outcome, kind)

    async def exchange(self, data: Any, model: str | None, headers: dict[str, str]) -> Any:
        try:
            async with asyncio.timeout(self.attempt_timeout):
                response = await self.post(self.route(model), json.dumps(data).encode(), headers)
        except (httpx.HTTPError, TimeoutError) as problem:
            raise ServiceError(type(problem).__name__) from problem
        return self.decode(response, len(data.get("features", [None])))

    async def post(self, url: str, body: bytes, headers: dict[str, str]) -> httpx.Response:
        return await self.http.post(url, content=body, headers=headers)

    def decode(self, response: httpx.Response, rows: int) -> Any:
        if response.status_code == 429 or response.status_code >= 500:
            problem = ServiceError(f"status {response.status_code}")
            problem.is_limited = response.status_code == 429
            problem.retry_after = seconds(response.headers.get("Retry-After", ""))
            raise problem
        if not response.is_success:
            raise MistakeError(f"status {response.status_code}")
        try:
            answer = json.loads(response.content)
        except ValueError:
            raise ServiceError("no JSON") from None
        if not self.is_prediction(answer, rows):
            raise ServiceError("no prediction")
        return answer

    def is_prediction(self, answer: Any, rows: int) -> bool:
        predictions = answer.get("predictions") if isinstance(answer, dict) else None
        if not isinstance(predictions, list) or len(predictions) != rows:
            return False
        return all(isinstance(one, (int, float)) and math.isfinite(one) for one in predictions)


def seconds(retry_after: str) -> float:
    with suppress(ValueError):
        return max(0.0, float(retry_after))
    with suppress(ValueError):
        return max(0.0, parsedate_to_datetime(retry_after).timestamp() - time.time())
    return 0.0
