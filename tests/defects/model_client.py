"""A small client as applications write it, with common defects that are injected one at a time."""

from __future__ import annotations

import asyncio
import json
import math
import os
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
MOST_IN_FLIGHT = 200

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
        "retry.spread",
        "breaker.opens",
        "breaker.failing_probe",
        "breaker.lost_probe",
        "breaker.counts_bodies",
        "breaker.burst",
        "breaker.rate_limits",
        "breaker.late_results",
        "deadline.attempt",
        "pool.crowd",
    ),
    "no_validation": ("wire.no_prediction", "batch.no_prediction"),
    "no_bare_answers": ("wire.bare_answers",),
    "id_per_attempt": ("wire.one_id",),
    "no_context": ("wire.own_context",),
    "more_attempts": ("retry.at_most_attempts", "batch.attempts"),
    "sleeps_last": ("retry.no_sleep_at_the_end",),
    "ignores_retry_after": ("retry.retry_after",),
    "crashes_on_retry_after": ("retry.retry_after",),
    "retries_4xx": (
        "retry.callers_mistakes",
        "breaker.closes",
        "batch.callers_mistakes",
        "breaker.sequences",
    ),
    "batch_not_retried": ("retry.batch", "retry.rate_limited"),
    "only_statuses": ("retry.broken_connections",),
    "no_budget": ("retry.budget",),
    "no_jitter": ("retry.spread",),
    "goes_on": ("retry.ends_with_its_caller", "pool.cancelled_calls"),
    "no_deadline": (
        "deadline.hang",
        "deadline.dripping_body",
        "retry.retry_after",
        "deadline.attempt",
        "deadline.own_queue",
        "batch.deadline",
    ),
    "per_operation": (
        "deadline.dripping_body",
        "retry.retry_after",
        "deadline.attempt",
        "deadline.own_queue",
        "batch.deadline",
    ),
    "no_breaker": ("breaker.opens", "breaker.counts_bodies", "breaker.counts_hangs", "breaker.burst"),
    "counts_headers": ("breaker.counts_bodies", "breaker.counts_failures", "breaker.sequences"),
    "counts_calls": (
        "breaker.opens",
        "breaker.counts_bodies",
        "breaker.counts_hangs",
        "breaker.lost_probe",
        "breaker.burst",
        "pool.own_queue",
    ),
    "cancelled_is_not_counted": ("breaker.counts_hangs",),
    "unlimited_probes": ("breaker.one_probe", "breaker.late_results"),
    "two_probes": ("breaker.one_probe", "breaker.burst"),
    "half_open_like_closed": (
        "breaker.failing_probe",
        "breaker.lost_probe",
        "breaker.counts_failures",
        "breaker.recovers",
        "breaker.sequences",
        "breaker.late_results",
    ),
    "stuck_half_open": ("breaker.lost_probe", "breaker.sequences"),
    "lost_probe_closes": ("breaker.lost_probe",),
    "client_errors_are_failures": ("breaker.closes", "breaker.sequences"),
    "success_closes": ("breaker.stragglers", "breaker.late_results"),
    "requests_after_opening": ("breaker.burst",),
    "batch_unguarded": (
        "breaker.no_way_round",
        "breaker.one_probe",
        "retry.batch",
        "batch.counts_failures",
        "retry.rate_limited",
    ),
    "wall_clock": ("breaker.clock_steps",),
    "slow_rejection": ("breaker.price_of_a_rejection", "breaker.burst"),
    "one_breaker": ("breaker.other_models",),
    "slow_is_not_counted": ("breaker.slow_calls",),
    "leaks": ("pool.cancelled_calls", "deadline.attempt"),
    "pool_is_failure": ("pool.own_queue",),
    "unbounded": ("pool.bounded",),
    "health_raises": ("health.never_raises",),
    "health_shares_pool": ("health.while_saturated",),
    "unquoted": ("hygiene.quoted_models",),
    "double_slash": ("hygiene.one_slash",),
    "trust_env": ("hygiene.proxy_environment",),
    "environment_in_headers": ("hygiene.keeps_secrets",),
    "open_after_close": ("hygiene.closed",),
    "hangs_in_another_loop": ("hygiene.another_loop",),
    "keeps_responses": ("hygiene.memory",),
    "keeps_errors": ("hygiene.memory",),
    "time_sleep": ("hygiene.free_loop", "retry.retry_after", "pool.own_queue"),
    "id_per_client": ("wire.own_id",),
    "first_context": ("wire.contexts_apart",),
    "shared_answer": ("wire.own_answers",),
    "shared_error": ("wire.own_answers",),
    "empty_retry": ("wire.same_request",),
    "length_of_characters": ("wire.whole_body",),
    "follows_redirects": ("wire.redirects",),
    "no_429_retry": ("retry.rate_limited",),
    "no_attempt_limit": ("deadline.attempt",),
    "queue_not_counted": ("deadline.own_queue",),
    "uncounted_statuses": ("breaker.counts_failures", "breaker.sequences"),
    "uncounted_resets": (
        "breaker.counts_failures",
        "breaker.sequences",
        "batch.counts_failures",
        "breaker.counts_bodies",
    ),
    "uncounted_refusals": ("breaker.counts_failures",),
    "uncounted_timeouts": ("breaker.counts_failures", "breaker.counts_hangs", "breaker.lost_probe"),
    "never_forgives": ("breaker.forgives", "breaker.recovers", "breaker.sequences"),
    "never_recovers": ("breaker.recovers", "breaker.sequences"),
    "counts_429": ("breaker.rate_limits", "breaker.sequences"),
    "late_success_forgives": ("breaker.late_results",),
    "late_failure_reopens": ("breaker.late_results",),
    "counts_kinds_apart": ("breaker.sequences",),
    "new_connections": ("pool.reused",),
    "always_healthy": ("health.tells",),
    "keeps_failed_places": (
        "pool.failed_calls",
        "breaker.burst",
        "breaker.forgives",
        "breaker.recovers",
        "breaker.sequences",
        "breaker.rate_limits",
        "pool.cancelled_calls",
        "pool.own_queue",
    ),
    "limited_probe_is_lost": ("breaker.sequences",),
    "batch_has_no_deadline": ("batch.deadline",),
    "batch_attempts": ("batch.attempts",),
    "batch_retries_4xx": ("batch.callers_mistakes",),
    "batch_not_counted": ("batch.counts_failures", "breaker.no_way_round"),
    "batch_not_validated": ("batch.no_prediction",),
    "default_when_open": ("wire.no_stand_in",),
    "no_queue": ("pool.crowd",),
    "ignores_cancellation": (
        "hygiene.cancelled_at_once",
        "breaker.counts_hangs",
        "breaker.lost_probe",
        "pool.cancelled_calls",
        "retry.ends_with_its_caller",
    ),
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


UNCOUNTED: dict[str, Callable[[Exception], bool]] = {
    "uncounted_statuses": lambda problem: getattr(problem, "status", 0) in {500, 502, 504},
    "uncounted_resets": lambda problem: str(problem) in {"ReadError", "RemoteProtocolError"},
    "uncounted_refusals": lambda problem: str(problem) == "ConnectError",
    "uncounted_timeouts": lambda problem: str(problem) in {"TimeoutError", "ReadTimeout"},
}
"""Defects that leave some failures uncounted."""


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
        self.is_lenient = False
        self.kind = ""

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

    def record(self, generation: int, *, failed: bool | None, kind: str = "") -> None:  # noqa: C901 - every line of it can be wrong
        """Record how a request ended; *failed* is None if that says nothing about the service."""
        if "success_closes" in self.flaws and failed is False:
            self.change(None)
        is_late = generation != self.generation and self.opened is not None
        if is_late and failed is False and "late_success_forgives" in self.flaws:
            self.is_lenient = True
        if is_late and failed and "late_failure_reopens" in self.flaws:
            self.opened = self.clock()
        if generation != self.generation and "unlimited_probes" not in self.flaws:
            return
        if failed and "counts_kinds_apart" in self.flaws:
            self.failures = self.failures if kind == self.kind else 0
            self.kind = kind
        if failed is None:
            if self.half_open and "lost_probe_closes" in self.flaws:
                self.change(None)
            is_limited = "limited_probe_is_lost" in self.flaws and kind == "status 429"
            self.probing = self.probing and ("stuck_half_open" in self.flaws or is_limited)
        elif failed:
            self.failures += 1
            self.probing = False
            was_lenient, self.is_lenient = self.is_lenient, False
            if (self.half_open and "half_open_like_closed" not in self.flaws and not was_lenient) or (
                self.failures >= THRESHOLD and "no_breaker" not in self.flaws
            ):
                self.change(self.clock())
        elif self.half_open:
            self.change(None)
            self.failures = THRESHOLD - 1 if "never_recovers" in self.flaws else 0
        elif "never_forgives" not in self.flaws:
            self.failures = 0


class ModelClient:
    def __init__(self, url: str, flaws: str = "") -> None:
        self.flaws = set(flaws.split())
        self.url = url if "double_slash" in self.flaws else url.rstrip("/")
        most = 1000 if "unbounded" in self.flaws else DECLARED["connections"]
        self.http = httpx.AsyncClient(
            timeout=0.3,
            trust_env="trust_env" in self.flaws,
            limits=httpx.Limits(max_connections=None),
            follow_redirects="follows_redirects" in self.flaws,
        )
        self.limit = 0.7 if "no_deadline" in self.flaws else DECLARED["attempt_timeout"]
        if "no_attempt_limit" in self.flaws:
            self.limit = 2.0
        self.gate = asyncio.Semaphore(most)
        self.request_id = uuid.uuid4().hex
        self.last: Any = None
        self.in_flight = 0
        self.first_headers: dict[str, str] = {}
        self.places = asyncio.Semaphore(most)
        self.breakers: dict[str | None, Breaker] = {}
        self.budget = 10.0
        self.kept: list[Any] = []
        self.is_closed = False
        self.loop = asyncio.get_running_loop()

    async def predict(self, data: Any, model: str | None = None) -> Any:  # noqa: C901, PLR0911, PLR0912 - every line of it can be wrong
        if "goes_on" in self.flaws:
            return await asyncio.shield(asyncio.ensure_future(self.call(data, model)))
        if "ignores_cancellation" in self.flaws:
            running = asyncio.ensure_future(self.call(data, model))
            with suppress(asyncio.CancelledError):
                return await asyncio.shield(running)
            return await running
        if "shared_answer" in self.flaws:
            self.last = await self.call(data, model)
            await asyncio.sleep(0.001)
            return self.last
        if "shared_error" in self.flaws:
            try:
                self.last = await self.call(data, model), None
            except WrongError as problem:
                self.last = None, problem
            await asyncio.sleep(0.001)
            answer, error = self.last
            if error is not None:
                raise error
            return answer
        if "default_when_open" in self.flaws:
            try:
                return await self.call(data, model)
            except RejectedError:
                if self.is_closed:
                    raise
                return {"predictions": [0]}
        if "no_queue" in self.flaws:
            if self.in_flight >= MOST_IN_FLIGHT:
                raise FailedError("the pool is exhausted")
            self.in_flight += 1
            try:
                return await self.call(data, model)
            finally:
                self.in_flight -= 1
        if "queue_not_counted" in self.flaws:
            async with self.gate:
                return await self.call(data, model)
        return await self.call(data, model)

    async def predict_batch(self, rows: Any) -> Any:
        if "batch_unguarded" in self.flaws:
            return await self.send(self.route(None), {"features": rows}, "b")
        if "batch_not_retried" in self.flaws:
            return await self.attempt(None, {"features": rows}, "b")
        body = {"features": rows}
        if "batch_has_no_deadline" in self.flaws:
            self.limit = 2.0
            return await self.with_retries(body, None, math.inf)
        if "batch_not_counted" in self.flaws:
            self.breakers.clear()
        if "batch_not_validated" in self.flaws:
            self.flaws.add("no_validation")
        for _ in range(2 if {"batch_retries_4xx", "batch_attempts"} & self.flaws else 0):
            try:
                return await self.predict(body)
            except (WrongError, FailedError) as problem:
                flaw = "batch_retries_4xx" if isinstance(problem, WrongError) else "batch_attempts"
                if flaw not in self.flaws:
                    raise
        return await self.predict(body)

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
            is_healthy = response.is_success or "always_healthy" in self.flaws
            return {"status": "healthy" if is_healthy else "unhealthy"}

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

    async def with_retries(self, data: Any, model: str | None, deadline: float) -> Any:  # noqa: C901, PLR0912 - every line of it can be wrong
        attempts = 5 if "more_attempts" in self.flaws else 3
        self.budget = min(10.0, self.budget + 0.2)
        breaker, request_id = self.breaker(model), uuid.uuid4().hex
        if "id_per_client" in self.flaws:
            request_id = self.request_id
        first: Exception | None = None
        for number in range(attempts):
            try:
                return await self.attempt(
                    model,
                    {} if number and "empty_retry" in self.flaws else data,
                    uuid.uuid4().hex if "id_per_attempt" in self.flaws else request_id,
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
            if "no_429_retry" in self.flaws and getattr(first, "status", 0) == 429:
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

    async def attempt(self, model: str | None, data: Any, request_id: str) -> Any:  # noqa: C901, PLR0912 - every line of it can be wrong
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
        kind = ""
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
            if "mistakes_are_neutral" in self.flaws and not breaker.half_open:
                failed = None
            raise
        except FailedError as problem:
            failed = None if getattr(problem, "status", 0) == 429 else True
            if failed is None and ("counts_429" in self.flaws or self.is_probe_limited(breaker)):
                failed = True
            kind = str(problem)
            if any(flaw in self.flaws and matches(problem) for flaw, matches in UNCOUNTED.items()):
                failed = None
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
            if failed is False or "keeps_failed_places" not in self.flaws:
                self.places.release()
            if failed is False or "counts_calls" not in self.flaws:
                breaker.record(generation, failed=failed, kind=kind)
        return answer

    counts_slow = False

    def is_probe_limited(self, breaker: Breaker) -> bool:
        return "limits_reopen" in self.flaws and breaker.half_open

    async def send(self, url: str, data: Any, request_id: str) -> Any:
        if "twice" in self.flaws:
            await self.http.post(url, json=data)
        if "leaks" in self.flaws:
            return await asyncio.shield(asyncio.ensure_future(self.ask(url, data, request_id, None)))
        return await self.ask(url, data, request_id, None if "per_operation" in self.flaws else self.limit)

    async def ask(self, url: str, data: Any, request_id: str, limit: float | None) -> Any:  # noqa: C901 - every line of it can be wrong
        headers = {"X-Request-ID": request_id, "Content-Type": "application/json"}
        if "new_connections" in self.flaws:
            headers["Connection"] = "close"
        if "environment_in_headers" in self.flaws:
            headers["X-Debug"] = str({name: value for name, value in os.environ.items() if "TOKEN" in name})
        content = json.dumps(data, ensure_ascii=False)
        length = len(content) if "length_of_characters" in self.flaws else None
        if "no_context" not in self.flaws:
            from opentelemetry.propagate import inject

            inject(headers)
            if "first_context" in self.flaws:
                headers = {**headers, **self.first_headers}
                self.first_headers = {name: headers[name] for name in headers if name == "traceparent"}
        try:
            async with asyncio.timeout(limit):
                response = await self.http.post(
                    url,
                    content=content.encode()[:length],
                    headers=headers,
                    timeout=30 if "leaks" in self.flaws else self.limit,
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
        predictions = answer["predictions"] if isinstance(answer, dict) else answer
        if isinstance(predictions, list) and len(predictions) != len(data["features"]):
            raise FailedError("no prediction for each row")
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
