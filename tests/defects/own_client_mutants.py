"""Tier0's own client with one defect each, for the checks of clients; `base` is without a defect."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Callable
from types import FunctionType
from typing import Any

import httpx

from tier0.client import BentoMLClient, bentoml_client
from tier0.client.breaker import CircuitBreaker, Permit
from tier0.client.call import Call, CallPolicy
from tier0.client.circuits import Circuit, Circuits
from tier0.client.connections import Connections
from tier0.client.errors import (
    CallerError,
    ClientError,
    RateLimitedError,
    ServiceFailedError,
    TimedOutError,
    TransportError,
)
from tier0.client.wire import decode_prediction

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
    "health_timeout": 2.0,
    "options": {"timeout": 1.0, "attempt_timeout": 0.5, "reset_timeout": 1.0},
}
Factory = Callable[..., Any]


def base(url: str, **options: Any) -> Any:
    return BentoMLClient(url, **options)


class Wrapped:
    """Delegates to the client; mutants change one method."""

    def __init__(self, url: str, **options: Any) -> None:
        self.client = BentoMLClient(url, **options)

    async def predict(self, data: Any, *, model: str | None = None) -> Any:
        return await self.client.predict(data, model=model)

    async def predict_batch(self, rows: Any) -> Any:
        return await self.client.predict_batch(rows)

    async def health(self) -> Any:
        return await self.client.health_check()

    async def close(self) -> None:
        await self.client.close()


def with_breaker(changed: type[CircuitBreaker]) -> Factory:
    class ChangedCircuits(Circuits):
        def get(self, url: str, model: str | None = None) -> Circuit:
            circuit = super().get(url, model)
            circuit.breaker.__class__ = changed
            return circuit

    class Changed(BentoMLClient):
        def __init__(self, url: str, **options: Any) -> None:
            super().__init__(url, **options)
            self._circuits = ChangedCircuits(self._options, self._clock)

    return Changed


def with_policy(changed: type[CallPolicy], **more: Any) -> Factory:
    class Changed(BentoMLClient):
        def __init__(self, url: str, **options: Any) -> None:
            super().__init__(url, **options, **more)
            old = self._policy
            self._policy = changed(old.options, old.clock, old.sleep, old.rng)

    return Changed


def with_names(method: str, **names: Any) -> Factory:
    """Return the client with other values of some global names in one of its methods."""
    old = getattr(BentoMLClient, method)
    new = FunctionType(old.__code__, {**vars(bentoml_client), **names}, method)
    new.__kwdefaults__ = old.__kwdefaults__
    # super() is not used in these methods, so that they need no closure
    return type("Changed", (BentoMLClient,), {method: new})


class NeverForgives(CircuitBreaker):
    def _settle(self, generation: int, result: Any, failure: ClientError | None) -> None:
        if generation == self._generation and result == "success" and self._state == "closed":
            return
        super()._settle(generation, result, failure)


class LateSuccessForgives(CircuitBreaker):
    is_lenient = False

    def _settle(self, generation: int, result: Any, failure: ClientError | None) -> None:
        if generation != self._generation and result == "success" and self._state == "open":
            self.is_lenient = True
        is_probe = generation == self._generation and self._state == "half_open"
        if is_probe and result == "failure" and self.is_lenient:
            self._probing = False
            self._failures += 1
            if self._failures < self._failure_threshold:
                return
            self.is_lenient = False
        super()._settle(generation, result, failure)


class No429(CallPolicy):
    def _is_retryable(self, error: ClientError) -> bool:
        return not isinstance(error, RateLimitedError) and super()._is_retryable(error)


class RepeatsTimeouts(CallPolicy):
    def _is_retryable(self, error: ClientError) -> bool:
        return isinstance(error, TimedOutError) or super()._is_retryable(error)


class AnswersOfOthers(Wrapped):
    async def predict(self, data: Any, *, model: str | None = None) -> Any:
        self.last = await self.client.predict(data, model=model)
        await asyncio.sleep(0.001)
        return self.last


class ConnectionForEach(BentoMLClient):
    def _bind(self) -> Connections:
        connections = super()._bind()
        connections.headers["Connection"] = "close"
        return connections


class MildPermit(Permit):
    """A permit that keeps a failure for later."""

    def __init__(self, permit: Permit) -> None:
        self.permit = permit
        self.has_failed = False

    def succeed(self) -> None:
        self.permit.succeed()

    def fail(self, failure: ClientError | None = None) -> None:  # noqa: ARG002
        self.has_failed = True

    def release(self) -> None:
        self.permit.release()


def counting(counts: Callable[[BaseException], bool]) -> Factory:
    """Return the client that counts only those failures for which *counts* returns True."""

    class Changed(Call[Any]):
        async def _exchange(self, permit: Permit, attempt: Any, headers: Any) -> Any:
            mild = MildPermit(permit)
            try:
                return await super()._exchange(mild, attempt, headers)
            except BaseException as problem:
                if mild.has_failed and counts(problem):
                    permit.fail()
                raise

    return with_names("_call", Call=Changed)


def _is_broken(problem: BaseException) -> bool:
    cause = problem.__cause__
    return isinstance(problem, TransportError) and not (
        isinstance(cause, httpx.RemoteProtocolError) and "complete message body" in str(problem)
    )


class LastAttemptHasAllItsTime(Call[Any]):
    async def _exchange(self, permit: Permit, attempt: Any, headers: Any) -> Any:
        deadline, self.deadline = self.deadline, math.inf
        try:
            return await super()._exchange(permit, attempt, headers)
        finally:
            self.deadline = deadline


class BatchWithoutDeadline(Wrapped):
    async def predict_batch(self, rows: Any) -> Any:
        return await self.client.predict_batch(rows, timeout=60.0)


class BatchRetries4xx(Wrapped):
    async def predict_batch(self, rows: Any) -> Any:
        for _ in range(2):
            try:
                return await self.client.predict_batch(rows)
            except CallerError:
                continue
        return await self.client.predict_batch(rows)


def _decode_errors(content: bytes, rows: int | None, contract: Any = None) -> Any:
    try:
        answer = json.loads(content)
    except ValueError:
        answer = None
    if isinstance(answer, dict) and answer and "predictions" not in answer:
        return answer
    return decode_prediction(content, rows, contract)


MUTANTS: dict[str, tuple[Factory, str]] = {
    "failures_never_forgiven": (with_breaker(NeverForgives), "breaker.forgives"),
    "late_success_forgives": (with_breaker(LateSuccessForgives), "breaker.late_results"),
    "429_is_not_retried": (with_policy(No429), "retry.rate_limited"),
    "repeats_after_a_timeout": (with_policy(RepeatsTimeouts, idempotent=False), "retry.asked_once"),
    "answers_of_others": (AnswersOfOthers, "wire.own_answers"),
    "connection_for_each": (ConnectionForEach, "pool.reused"),
    "broken_connections_do_not_count": (
        counting(lambda problem: not _is_broken(problem)),
        "breaker.counts_failures",
    ),
    "batch_without_deadline": (BatchWithoutDeadline, "batch.deadline"),
    "last_attempt_has_all_its_time": (
        with_names("_call", Call=LastAttemptHasAllItsTime),
        "deadline.last_attempt",
    ),
    "batch_retries_4xx": (BatchRetries4xx, "batch.callers_mistakes"),
    "only_503_is_a_failure": (
        counting(lambda problem: not isinstance(problem, ServiceFailedError) or problem.status == 503),
        "breaker.counts_failures",
    ),
    "error_in_a_200": (with_names("predict", decode_prediction=_decode_errors), "wire.no_prediction"),
}
"""Defects, each with the check that must detect it."""
