"""A small client as applications write it, with common defects that are injected one at a time."""

from __future__ import annotations

import asyncio
import json
import math
import random
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import quote

import httpx

DECLARED: dict[str, Any] = {
    "attempts": 3, "threshold": 5, "reset": 0.3, "probes": 1, "timeout": 1.0, "attempt_timeout": 0.3,
    "retry_after": True, "retries_429": True, "budget": 0.2, "connections": 10, "health_timeout": 1.0,
    "slow_after": 0.2, "traceparent": True, "bare_answers": True,
}  # fmt: skip
RESET = 0.3
THRESHOLD = 5
LONG_AGO = 1000.0

FLAWS: dict[str, tuple[str, ...]] = {
    "twice": (
        "wire.one_request",
        "wire.one_id",
        "wire.own_context",
        "retry.at_most_attempts",
        "retry.retry_after",
        "retry.callers_mistakes",
        "retry.broken_connections",
        "retry.budget",
        "breaker.opens",
        "breaker.failing_probe",
        "breaker.lost_probe",
        "breaker.counts_bodies",
        "breaker.burst",
    ),
    "no_validation": ("wire.no_prediction",),
    "no_bare_answers": ("wire.bare_answers",),
    "id_per_attempt": ("wire.one_id",),
    "no_context": ("wire.own_context",),
    "more_attempts": ("retry.at_most_attempts",),
    "sleeps_last": ("retry.no_sleep_at_the_end",),
    "ignores_retry_after": ("retry.retry_after",),
    "crashes_on_retry_after": ("retry.retry_after",),
    "retries_4xx": ("retry.callers_mistakes", "breaker.closes"),
    "batch_not_retried": ("retry.batch",),
    "only_statuses": ("retry.broken_connections",),
    "no_budget": ("retry.budget",),
    "no_jitter": ("retry.spread",),
    "goes_on": ("retry.ends_with_its_caller", "pool.cancelled_calls"),
    "no_deadline": ("deadline.hang", "deadline.dripping_body", "retry.retry_after"),
    "per_operation": ("deadline.dripping_body", "retry.retry_after"),
    "no_breaker": ("breaker.opens", "breaker.counts_bodies", "breaker.counts_hangs", "breaker.burst"),
    "counts_headers": ("breaker.counts_bodies",),
    "counts_calls": (
        "breaker.opens",
        "breaker.counts_bodies",
        "breaker.counts_hangs",
        "breaker.lost_probe",
        "breaker.burst",
        "pool.own_queue",
    ),
    "cancelled_is_not_counted": ("breaker.counts_hangs",),
    "unlimited_probes": ("breaker.one_probe",),
    "two_probes": ("breaker.one_probe", "breaker.burst"),
    "half_open_like_closed": ("breaker.failing_probe", "breaker.lost_probe"),
    "stuck_half_open": ("breaker.lost_probe",),
    "lost_probe_closes": ("breaker.lost_probe",),
    "client_errors_are_failures": ("breaker.closes",),
    "success_closes": ("breaker.stragglers",),
    "requests_after_opening": ("breaker.burst",),
    "batch_unguarded": ("breaker.no_way_round", "retry.batch"),
    "wall_clock": ("breaker.clock_steps",),
    "slow_rejection": ("breaker.price_of_a_rejection", "breaker.burst"),
    "one_breaker": ("breaker.other_models",),
    "slow_is_not_counted": ("breaker.slow_calls",),
    "leaks": ("pool.cancelled_calls",),
    "pool_is_failure": ("pool.own_queue",),
    "unbounded": ("pool.bounded",),
    "health_raises": ("health.never_raises",),
    "health_shares_pool": ("health.while_saturated",),
    "unquoted": ("hygiene.quoted_models",),
    "double_slash": ("hygiene.one_slash",),
    "trust_env": ("hygiene.proxy_environment",),
    "open_after_close": ("hygiene.closed",),
    "hangs_in_another_loop": ("hygiene.another_loop",),
    "keeps_responses": ("hygiene.memory",),
    "keeps_errors": ("hygiene.memory",),
    "time_sleep": ("hygiene.free_loop", "retry.retry_after", "pool.own_queue"),
}
"""Defects; each with the check that must detect it, followed by checks that it may also fail."""
TRACED = {
    "Misused": "tracing.one_trace_a_call",
    "AnotherName": "tracing.one_trace_a_call",
    "Tasks": "tracing.one_trace_a_call",
    "Batches": "tracing.one_trace_a_call",
    "NeverEnds": "tracing.one_trace_a_call",
    "NoSpans": "tracing.one_trace_a_call",
    "WithinTheCall": "tracing.costs_nothing",
    "BlocksTheLoop": "tracing.costs_nothing",
    "NoLimit": "tracing.costs_nothing",
}
"""Clients in traced_clients.py, which run in separate processes, with the check that must detect each."""


class FailedError(Exception):
    """The service failed, or returned no prediction."""


class WrongError(Exception):
    """The caller made a mistake."""


class RejectedError(Exception):
    """The call was rejected without a request."""


class Breaker:
    def __init__(self, flaws: set[str]) -> None:
        self.flaws = flaws
        self.failures = 0
        self.opened: float | None = None
        self.probing = False
        self.half_open = False
        self.generation = 0

    def clock(self) -> float:
        return time.time() if "wall_clock" in self.flaws else time.monotonic()

    def ask(self) -> int:
        if "slow_rejection" in self.flaws and self.opened is not None:
            time.sleep(0.01)
        if self.opened is not None:
            if self.clock() - self.opened < RESET or (self.probing and "unlimited_probes" not in self.flaws):
                raise RejectedError("the circuit is open")
            self.probing = self.half_open or "two_probes" not in self.flaws
            self.half_open = True
        return self.generation

    def change(self, opened: float | None) -> None:
        self.opened, self.failures, self.probing, self.half_open = opened, 0, False, False
        self.generation += 1

    def record(self, generation: int, *, failed: bool | None) -> None:
        """Record how a request ended; *failed* is None if that says nothing about the service."""
        if "success_closes" in self.flaws and failed is False:
            self.change(None)
        if generation != self.generation and "unlimited_probes" not in self.flaws:
            return
        if failed is None:
            if self.half_open and "lost_probe_closes" in self.flaws:
                self.change(None)
            self.probing = self.probing and "stuck_half_open" in self.flaws
        elif failed:
            self.failures += 1
            self.probing = False
            if (self.half_open and "half_open_like_closed" not in self.flaws) or (
                self.failures >= THRESHOLD and "no_breaker" not in self.flaws
            ):
                self.change(self.clock())
        elif self.half_open:
            self.change(None)
        else:
            self.failures = 0


class ModelClient:
    def __init__(self, url: str, flaws: str = "") -> None:
        self.flaws = set(flaws.split())
        self.url = url if "double_slash" in self.flaws else url.rstrip("/")
        most = 1000 if "unbounded" in self.flaws else DECLARED["connections"]
        self.http = httpx.AsyncClient(
            timeout=0.3, trust_env="trust_env" in self.flaws, limits=httpx.Limits(max_connections=None)
        )
        self.limit = 0.7 if "no_deadline" in self.flaws else DECLARED["attempt_timeout"]
        self.places = asyncio.Semaphore(most)
        self.breakers: dict[str | None, Breaker] = {}
        self.budget = 10.0
        self.kept: list[Any] = []
        self.is_closed = False
        self.loop = asyncio.get_running_loop()

    async def predict(self, data: Any, model: str | None = None) -> Any:
        if "goes_on" in self.flaws:
            return await asyncio.shield(asyncio.ensure_future(self.call(data, model)))
        return await self.call(data, model)

    async def predict_batch(self, rows: Any) -> Any:
        if "batch_unguarded" in self.flaws:
            return await self.send(self.route(None), {"features": rows}, "b")
        if "batch_not_retried" in self.flaws:
            return await self.attempt(None, {"features": rows}, "b")
        return await self.predict({"features": rows})

    async def health(self) -> Any:
        async with self.places if "health_shares_pool" in self.flaws else asyncio.Semaphore(1):
            try:
                response = await self.http.get(f"{self.url}/health")
            except httpx.HTTPError:
                if "health_raises" in self.flaws:
                    raise
                return {"status": "unhealthy"}
            if "health_raises" in self.flaws:
                response.raise_for_status()
            return {"status": "healthy" if response.is_success else "unhealthy"}

    async def close(self) -> None:
        self.is_closed = "open_after_close" not in self.flaws
        if self.is_closed:
            await self.http.aclose()

    def route(self, model: str | None) -> str:
        if model is None:
            return f"{self.url}/predict"
        return f"{self.url}/{model if 'unquoted' in self.flaws else quote(model, safe='')}/predict"

    async def call(self, data: Any, model: str | None) -> Any:
        if self.is_closed:
            raise RejectedError("this client is closed")
        if asyncio.get_running_loop() is not self.loop:
            if "hangs_in_another_loop" in self.flaws:
                await asyncio.Event().wait()
            raise RejectedError("this client belongs to another event loop")
        total = math.inf if {"no_deadline", "per_operation"} & self.flaws else DECLARED["timeout"]
        try:
            async with asyncio.timeout(None if math.isinf(total) else total):
                answer = await self.with_retries(data, model, time.monotonic() + total)
        except TimeoutError:
            raise FailedError("no time is left") from None
        except WrongError as problem:
            if "keeps_errors" in self.flaws:
                self.kept.append(problem)
            raise
        if "keeps_responses" in self.flaws:
            self.kept.append(json.dumps(answer) * 100)
        return answer

    async def with_retries(self, data: Any, model: str | None, deadline: float) -> Any:  # noqa: C901 - every line of it can be wrong
        attempts = 5 if "more_attempts" in self.flaws else 3
        self.budget = min(10.0, self.budget + 0.2)
        breaker, request_id = self.breaker(model), uuid.uuid4().hex
        first: Exception | None = None
        for number in range(attempts):
            try:
                return await self.attempt(
                    model, data, uuid.uuid4().hex if "id_per_attempt" in self.flaws else request_id
                )
            except RejectedError:
                if first is not None:
                    break
                raise
            except FailedError as problem:
                first = problem
            if "only_statuses" in self.flaws and isinstance(first.__cause__, httpx.TransportError):
                break
            if number == attempts - 1 and "sleeps_last" not in self.flaws:
                break
            if self.budget < 1 and "no_budget" not in self.flaws:
                break
            self.budget -= 1
            wait = max(
                0.06 * 2**number * (1 if "no_jitter" in self.flaws else random.random()),
                getattr(first, "retry_after", 0.0),
            )
            if "sleeps_last" in self.flaws and number == attempts - 1:
                wait = max(wait, 0.08)
            if time.monotonic() + wait > deadline:
                break
            if "time_sleep" in self.flaws:
                time.sleep(wait + 0.15)  # noqa: ASYNC251 - that is the defect
            await asyncio.sleep(wait)
        if "counts_calls" in self.flaws:
            breaker.record(breaker.generation, failed=True)
        assert first is not None
        raise first

    def breaker(self, model: str | None) -> Breaker:
        return self.breakers.setdefault(None if "one_breaker" in self.flaws else model, Breaker(self.flaws))

    async def attempt(self, model: str | None, data: Any, request_id: str) -> Any:
        breaker = self.breaker(model)
        early = breaker.ask() if "requests_after_opening" in self.flaws else None
        started = time.monotonic()
        try:
            async with asyncio.timeout(0.6):
                await self.places.acquire()
        except TimeoutError as problem:
            if "pool_is_failure" in self.flaws:
                breaker.record(breaker.generation, failed=True)
            raise FailedError("all connections are busy") from problem
        failed: bool | None = None
        try:
            generation = breaker.ask() if early is None else early
        except RejectedError:
            self.places.release()
            raise
        try:
            started = time.monotonic()
            answer = await self.send(self.route(model), data, request_id)
            slow = (
                time.monotonic() - started > DECLARED["slow_after"]
                and "slow_is_not_counted" not in self.flaws
            )
            failed = slow if self.counts_slow else False
        except WrongError:
            failed = "client_errors_are_failures" in self.flaws and breaker.half_open
            raise
        except FailedError as problem:
            failed = None if getattr(problem, "status", 0) == 429 else True
            if (
                "counts_headers" in self.flaws
                and not isinstance(problem.__cause__, (httpx.ReadError, TimeoutError))
                and not hasattr(problem, "status")
            ):
                failed = False
            raise
        except asyncio.CancelledError:
            gave_up_late = time.monotonic() - started > 0.24 and "cancelled_is_not_counted" not in self.flaws
            failed = True if gave_up_late else None
            raise
        finally:
            self.places.release()
            if failed is False or "counts_calls" not in self.flaws:
                breaker.record(generation, failed=failed)
        return answer

    counts_slow = False

    async def send(self, url: str, data: Any, request_id: str) -> Any:
        if "twice" in self.flaws:
            await self.http.post(url, json=data)
        if "leaks" in self.flaws:
            return await asyncio.shield(asyncio.ensure_future(self.ask(url, data, request_id, None)))
        return await self.ask(url, data, request_id, None if "per_operation" in self.flaws else self.limit)

    async def ask(self, url: str, data: Any, request_id: str, limit: float | None) -> Any:
        headers = {"X-Request-ID": request_id}
        if "no_context" not in self.flaws:
            from opentelemetry.propagate import inject

            inject(headers)
        try:
            async with asyncio.timeout(limit):
                response = await self.http.post(
                    url, json=data, headers=headers, timeout=30 if "leaks" in self.flaws else self.limit
                )
        except (httpx.HTTPError, TimeoutError) as problem:
            raise FailedError(type(problem).__name__) from problem
        if response.status_code in {429, 503} or response.status_code >= 500:
            failed = FailedError(f"status {response.status_code}")
            failed.retry_after = self.seconds(response.headers.get("retry-after", "0"))  # type: ignore[attr-defined]
            failed.status = response.status_code  # type: ignore[attr-defined]
            raise failed
        if not response.is_success:
            raise (FailedError if "retries_4xx" in self.flaws else WrongError)(
                f"status {response.status_code}"
            )
        if "no_validation" in self.flaws:
            return response.text
        try:
            answer = response.json()
        except ValueError as problem:
            raise FailedError("no JSON") from problem
        if (
            not (
                isinstance(answer, (list, int, float))
                or (isinstance(answer, dict) and answer.get("predictions"))
            )
            or answer != answer  # noqa: PLR0124 - NaN
        ):
            raise FailedError("no prediction")
        if isinstance(answer, list) and "no_bare_answers" in self.flaws:
            raise FailedError("a list")
        return answer

    def seconds(self, retry_after: str) -> float:
        if "ignores_retry_after" in self.flaws:
            return 0.0
        if "crashes_on_retry_after" in self.flaws:
            return float(retry_after)
        with suppress(ValueError):
            return max(0.0, float(retry_after))
        with suppress(ValueError):
            return max(0.0, parsedate_to_datetime(retry_after).timestamp() - time.time())
        return 0.0


class CountsSlowCalls(ModelClient):
    counts_slow = True


def make(flaws: str = "") -> Callable[[str], ModelClient]:
    return lambda url: (CountsSlowCalls if "slow" in flaws else ModelClient)(url, flaws)
