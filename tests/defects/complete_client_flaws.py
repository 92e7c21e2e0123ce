"""The clients of `complete_client` with one silent defect each, and the checks that must detect it."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, ClassVar

import httpx

from tests.defects.complete_client import (
    CERTIFICATES,
    Breaker,
    Outcome,
    RejectedError,
    ServiceError,
    WholeClient,
    log,
)

FLAWS: dict[str, type[WholeClient]] = {}
"""Clients by their names."""


QUICK_RESET: dict[str, Any] = {
    "reset": 0.3,
    "attempt_timeout": 0.9,
    "timeout": 2.0,
    "options": {"reset_timeout": 0.3, "attempt_timeout": 0.9, "timeout": 2.0},
}
"""Requests that are sent before the opening may then get their responses after the reset."""


def flaw(*checks: str, **declared: Any) -> Callable[[type[WholeClient]], type[WholeClient]]:
    """Register a client, with the checks of which one must fail, and what it declares differently."""

    def register(client: type[WholeClient]) -> type[WholeClient]:
        client.checks, client.declared = checks, declared
        FLAWS[client.__name__] = client
        return client

    return register


# Circuit


class GrowingReset(Breaker):
    def open(self) -> None:
        if self.generation > 1:
            self.reset *= 2
        super().open()


@flaw("breaker.recovers", "breaker.sequences")
class ResetGrows(WholeClient):
    """Each opening after the first takes twice as long."""

    breaker_class = GrowingReset


class GrowingAfterProbe(Breaker):
    def settle(self, generation: int, outcome: Outcome, kind: str) -> None:
        if generation == self.generation and self.half_open and outcome == "failure":
            self.reset *= 2
        super().settle(generation, outcome, kind)


@flaw("breaker.failing_probe", "breaker.recovers", "breaker.sequences")
class ResetGrowsAfterFailedProbe(WholeClient):
    breaker_class = GrowingAfterProbe


class PostponedBreaker(Breaker):
    def ask(self) -> int:
        try:
            return super().ask()
        except RejectedError:
            if self.opened is not None:
                self.opened = time.monotonic()
            raise


@flaw("breaker.recovers", "breaker.sequences", "breaker.closes")
class RejectionsPostponeTheReset(WholeClient):
    breaker_class = PostponedBreaker


class FromFirstFailure(Breaker):
    first = 0.0

    def settle(self, generation: int, outcome: Outcome, kind: str) -> None:
        if outcome == "failure" and self.failures == 0 and not self.half_open:
            self.first = time.monotonic()
        super().settle(generation, outcome, kind)

    def open(self) -> None:
        super().open()
        self.opened = self.first


@flaw("breaker.recovers", "breaker.sequences", "breaker.failing_probe", "breaker.counts_failures")
class ResetFromFirstFailure(WholeClient):
    """Measures the reset from the first failure of the series."""

    breaker_class = FromFirstFailure


class KeepsBrokenProbes(Breaker):
    def settle(self, generation: int, outcome: Outcome, kind: str) -> None:
        if self.half_open and kind in {"ReadError", "RemoteProtocolError"}:
            return
        super().settle(generation, outcome, kind)


@flaw("breaker.lost_probe", "breaker.counts_failures", "breaker.sequences")
class StuckAfterBrokenProbe(WholeClient):
    """A probe whose connection breaks keeps its place for ever."""

    breaker_class = KeepsBrokenProbes


class KeepsTimedOutProbes(Breaker):
    def settle(self, generation: int, outcome: Outcome, kind: str) -> None:
        if not (self.half_open and kind in {"TimeoutError", "cancelled"}):
            super().settle(generation, outcome, kind)


@flaw("breaker.lost_probe")
class StuckAfterTimedOutProbe(WholeClient):
    breaker_class = KeepsTimedOutProbes


class KeepsMistakenProbes(Breaker):
    def settle(self, generation: int, outcome: Outcome, kind: str) -> None:
        if not (self.half_open and kind == "no prediction"):
            super().settle(generation, outcome, kind)


@flaw("breaker.lost_probe", "breaker.counts_failures", "breaker.sequences")
class StuckAfterInvalidProbe(WholeClient):
    breaker_class = KeepsMistakenProbes


class LenientAfterProbe(Breaker):
    was_reopened = False

    def settle(self, generation: int, outcome: Outcome, kind: str) -> None:
        if generation == self.generation and self.half_open and outcome == "failure":
            self.was_reopened = True
        super().settle(generation, outcome, kind)

    def close(self) -> None:
        was_half_open = self.half_open
        super().close()
        if was_half_open and self.was_reopened:
            self.failures = 1


@flaw("breaker.recovers", "breaker.sequences")
class Tolerance4AfterReopening(WholeClient):
    """After a failed probe and a successful one, four failures open the circuit."""

    breaker_class = LenientAfterProbe


class ProbeEvery50Ms(Breaker):
    probed = 0.0

    def ask(self) -> int:
        if self.half_open and time.monotonic() - self.probed > 0.05:
            self.probing = False
        generation = super().ask()
        self.probed = time.monotonic()
        return generation


@flaw("breaker.one_probe")
class AnotherProbeWhileOneIsPending(WholeClient):
    """A probe keeps its place for 50 ms, whether or not it has ended."""

    breaker_class = ProbeEvery50Ms


class StaleInHalfOpen(Breaker):
    def settle(self, generation: int, outcome: Outcome, kind: str) -> None:
        if generation != self.generation and self.half_open and outcome == "success":
            generation = self.generation
        super().settle(generation, outcome, kind)


@flaw("breaker.late_results", "breaker.stragglers", **QUICK_RESET)
class LateSuccessClosesHalfOpen(WholeClient):
    """A success from before the opening closes the half-open circuit."""

    breaker_class = StaleInHalfOpen


class StaleFailureInHalfOpen(Breaker):
    def settle(self, generation: int, outcome: Outcome, kind: str) -> None:
        if generation != self.generation and self.half_open and outcome == "failure":
            generation = self.generation
        super().settle(generation, outcome, kind)


@flaw("breaker.late_results", "breaker.stragglers", **QUICK_RESET)
class LateFailureReopensHalfOpen(WholeClient):
    breaker_class = StaleFailureInHalfOpen


@flaw("breaker.other_services")
class OneCircuitForAllServices(WholeClient):
    """Keeps the circuits in the class, by the names of the models."""

    shared: ClassVar[dict[Any, Breaker]] = {}

    def breaker(self, model: str | None) -> Breaker:
        return self.shared.setdefault(model, Breaker(self.reset))


@flaw("breaker.other_models")
class ModelsShareACircuit(WholeClient):
    """Models with the same first letter share a circuit."""

    def breaker(self, model: str | None) -> Breaker:
        return super().breaker(model[:1] if model else model)


# Retries


@flaw("retry.budget")
class SuccessFillsTheBudget(WholeClient):
    async def attempt(self, data: Any, model: str | None, headers: dict[str, str]) -> Any:
        answer = await super().attempt(data, model, headers)
        self.budget = 10.0
        return answer


@flaw("retry.budget")
class BatchHasNoBudget(WholeClient):
    async def predict_batch(self, rows: Any) -> Any:
        self.budget = 10.0
        return await super().predict_batch(rows)


@flaw("retry.budget")
class OnlyStatusesUseTheBudget(WholeClient):
    def wait(self, number: int, problem: ServiceError) -> float:
        if not str(problem).startswith("status"):
            self.budget += 1
        return super().wait(number, problem)


@flaw("retry.at_most_attempts")
class MoreAttemptsForBrokenConnections(WholeClient):
    """The transport repeats a request whose connection broke, too."""

    async def post(self, url: str, body: bytes, headers: dict[str, str]) -> httpx.Response:
        with suppress(httpx.TransportError):
            return await super().post(url, body, headers)
        return await super().post(url, body, headers)


@flaw("retry.callers_mistakes")
class Retries403(WholeClient):
    def decode(self, response: httpx.Response, rows: int) -> Any:
        if response.status_code in {403, 405, 415}:
            raise ServiceError("status 403")
        return super().decode(response, rows)


@flaw("retry.retry_after")
class IgnoresDates(WholeClient):
    def decode(self, response: httpx.Response, rows: int) -> Any:
        if not response.headers.get("Retry-After", "0").isdigit():
            del response.headers["Retry-After"]
        return super().decode(response, rows)


@flaw("retry.retry_after")
class RetryAfterOnlyOnce(WholeClient):
    """Waits as long as Retry-After requires before the first retry only."""

    def wait(self, number: int, problem: ServiceError) -> float:
        if number > 1:
            problem.retry_after = 0.0
        return super().wait(number, problem)


@flaw("retry.retry_after")
class BatchIgnoresRetryAfter(WholeClient):
    is_batch = False

    async def predict_batch(self, rows: Any) -> Any:
        self.is_batch = True
        return await super().predict_batch(rows)

    def wait(self, number: int, problem: ServiceError) -> float:
        if self.is_batch:
            problem.retry_after = 0.0
        return super().wait(number, problem)


@flaw("hygiene.cancelled_at_once", "retry.ends_with_its_caller")
class SwallowsCancellation(WholeClient):
    """Returns nothing when it is cancelled."""

    async def predict(self, data: Any, *, model: str | None = None) -> Any:
        try:
            return await super().predict(data, model=model)
        except asyncio.CancelledError:
            return None


@flaw("hygiene.cancelled_at_once", "retry.ends_with_its_caller")
class CancellationIsAnError(WholeClient):
    async def predict(self, data: Any, *, model: str | None = None) -> Any:
        try:
            return await super().predict(data, model=model)
        except asyncio.CancelledError as problem:
            raise ServiceError("the call was interrupted") from problem


@flaw("retry.spread")
class LittleJitter(WholeClient):
    def wait(self, number: int, problem: ServiceError) -> float:
        return max(0.1 * 2.0 ** (number - 1) + super().wait(number, problem) * 0.02, problem.retry_after)


# Deadlines


@flaw("deadline.last_attempt", "deadline.hang", "retry.retry_after")
class RateLimitRestartsTheDeadline(WholeClient):
    async def call(self, data: Any, model: str | None) -> Any:
        problem: Exception = ServiceError()
        for _ in range(2):
            try:
                return await super().call(data, model)
            except ServiceError as error:
                problem = error
                if not isinstance(error.__context__, TimeoutError) or not self.was_limited:
                    raise
                self.was_limited = False
        raise problem

    was_limited = False

    def decode(self, response: httpx.Response, rows: int) -> Any:
        self.was_limited = self.was_limited or response.status_code == 429
        return super().decode(response, rows)


@flaw("deadline.own_queue", "batch.deadline")
class BatchQueuesBeforeItsDeadline(WholeClient):
    def __init__(self, url: str, **options: Any) -> None:
        super().__init__(url, **options)
        self.batches = asyncio.Semaphore(2)

    async def predict_batch(self, rows: Any) -> Any:
        async with self.batches:
            return await super().predict_batch(rows)


@flaw("health.never_raises")
class HealthReadsForEver(WholeClient):
    """The health check's timeout limits each read."""

    async def health(self) -> dict[str, str]:
        try:
            response = await self.monitor.get(f"{self.url}/health", timeout=0.8)
        except httpx.HTTPError:
            return {"status": "unhealthy"}
        return {"status": "healthy" if response.is_success else "unhealthy"}


# Connections


@flaw("pool.reused")
class ConnectionPerBatch(WholeClient):
    async def predict_batch(self, rows: Any) -> Any:
        usual, self.http = self.http, self.connect(20)
        try:
            return await super().predict_batch(rows)
        finally:
            await self.http.aclose()
            self.http = usual


class LeakyPlaces(WholeClient):
    """Keeps the place of an attempt that ended with `lost`."""

    def is_lost(self, problem: Exception) -> bool:
        raise NotImplementedError

    async def attempt(self, data: Any, model: str | None, headers: dict[str, str]) -> Any:
        try:
            return await super().attempt(data, model, headers)
        except Exception as problem:
            if self.is_lost(problem):
                await self.places.acquire()
            raise


@flaw("pool.failed_calls")
class InvalidBodiesKeepTheirPlaces(LeakyPlaces):
    def is_lost(self, problem: Exception) -> bool:
        return str(problem) in {"no JSON", "no prediction"}


@flaw("pool.failed_calls")
class TimedOutAttemptsKeepTheirPlaces(LeakyPlaces):
    def is_lost(self, problem: Exception) -> bool:
        return str(problem) == "TimeoutError"


@flaw("pool.failed_calls")
class RejectedCallsKeepTheirPlaces(LeakyPlaces):
    def is_lost(self, problem: Exception) -> bool:
        return isinstance(problem, RejectedError)


@flaw("pool.failed_calls")
class ServerErrorsKeepTheirPlaces(LeakyPlaces):
    def is_lost(self, problem: Exception) -> bool:
        return str(problem).startswith("status 5")


@flaw("pool.failed_calls", "hygiene.closed")
class ErrorsAreNotRead(WholeClient):
    """Does not close the response of a failed attempt."""

    def connect(self, connections: int) -> httpx.AsyncClient:
        limits = httpx.Limits(max_connections=connections)
        return httpx.AsyncClient(timeout=None, trust_env=False, limits=limits, verify=CERTIFICATES)

    async def post(self, url: str, body: bytes, headers: dict[str, str]) -> httpx.Response:
        request = self.http.build_request("POST", url, content=body, headers=headers)
        response = await self.http.send(request, stream=True)
        if response.is_success:
            await response.aread()
        return response


@flaw("hygiene.closed")
class LeavesTheMonitorOpen(WholeClient):
    async def close(self) -> None:
        self.is_closed = True
        await self.http.aclose()


@flaw("hygiene.closed")
class BatchAfterClose(WholeClient):
    async def predict_batch(self, rows: Any) -> Any:
        if not self.is_closed:
            return await super().predict_batch(rows)
        self.http, self.is_closed = self.connect(1), False
        try:
            return await super().predict_batch(rows)
        finally:
            await self.http.aclose()
            self.is_closed = True


@flaw("hygiene.proxy_environment")
class HealthThroughTheProxy(WholeClient):
    def __init__(self, url: str, **options: Any) -> None:
        super().__init__(url, **options)
        self.monitor = httpx.AsyncClient(timeout=1.0, verify=CERTIFICATES)


@flaw("wire.redirects")
class HealthFollowsRedirects(WholeClient):
    def __init__(self, url: str, **options: Any) -> None:
        super().__init__(url, **options)
        self.monitor.follow_redirects = True
        self.monitor.headers["X-API-Key"] = "key"


@flaw("wire.redirects")
class BatchFollowsRedirects(WholeClient):
    async def predict_batch(self, rows: Any) -> Any:
        self.http.follow_redirects = True
        return await super().predict_batch(rows)


# Callers


@flaw("health.tells")
class RemembersHealth(WholeClient):
    healthy: dict[str, str] | None = None

    async def health(self) -> dict[str, str]:
        if self.healthy is None:
            report = await super().health()
            if report["status"] != "healthy":
                return report
            self.healthy = report
        return self.healthy


@flaw("health.tells")
class RemembersIllness(WholeClient):
    is_ill = False

    async def health(self) -> dict[str, str]:
        report = {"status": "unhealthy"} if self.is_ill else await super().health()
        self.is_ill = report["status"] == "unhealthy"
        return report


@flaw("wire.no_stand_in")
class DefaultAfterTimeout(WholeClient):
    async def predict(self, data: Any, *, model: str | None = None) -> Any:
        try:
            return await super().predict(data, model=model)
        except ServiceError as problem:
            if "time" not in str(problem).lower():
                raise
            return {"predictions": [0.0]}


@flaw("wire.no_stand_in")
class DefaultWhenABatchIsRejected(WholeClient):
    async def predict_batch(self, rows: Any) -> Any:
        try:
            return await super().predict_batch(rows)
        except RejectedError:
            if self.is_closed:
                raise
            return {"predictions": [0.0] * len(rows)}


@flaw("wire.own_answers")
class EqualRowsOfOtherModels(WholeClient):
    """Concurrent calls with equal rows share a request, also those for other models."""

    def __init__(self, url: str, **options: Any) -> None:
        super().__init__(url, **options)
        self.pending: dict[str, asyncio.Future[Any]] = {}

    async def predict(self, data: Any, *, model: str | None = None) -> Any:
        key = json.dumps(data)
        if key in self.pending:
            return await asyncio.shield(self.pending[key])
        self.pending[key] = asyncio.get_running_loop().create_future()
        try:
            answer = await super().predict(data, model=model)
            self.pending[key].set_result(answer)
        except BaseException:
            self.pending[key].cancel()
            raise
        else:
            return answer
        finally:
            del self.pending[key]


@flaw("wire.own_answers")
class CachesByRows(WholeClient):
    """Keeps 100 answers by the rows, and not by the model."""

    def __init__(self, url: str, **options: Any) -> None:
        super().__init__(url, **options)
        self.kept: dict[str, Any] = {}

    async def predict(self, data: Any, *, model: str | None = None) -> Any:
        key = json.dumps(data)
        if model is None:
            return await super().predict(data)
        if key not in self.kept:
            if len(self.kept) > 100:
                self.kept.clear()
            self.kept[key] = await super().predict(data, model=model)
        return self.kept[key]


@flaw("wire.no_prediction", "batch.no_prediction")
class AcceptsNaN(WholeClient):
    def is_prediction(self, answer: Any, rows: int) -> bool:
        predictions = answer.get("predictions") if isinstance(answer, dict) else None
        return isinstance(predictions, list) and len(predictions) == rows


@flaw("batch.no_prediction")
class AcceptsFewerPredictions(WholeClient):
    def is_prediction(self, answer: Any, rows: int) -> bool:
        found = answer.get("predictions") if isinstance(answer, dict) else None
        fewer = len(found) if isinstance(found, list) and found else rows
        return super().is_prediction(answer, min(fewer, rows))


@flaw("wire.no_prediction")
class AcceptsNullPredictions(WholeClient):
    def is_prediction(self, answer: Any, rows: int) -> bool:
        if isinstance(answer, dict) and answer.get("predictions", 0) in (None, []):
            return True
        return super().is_prediction(answer, rows)


@flaw("wire.own_context", "wire.contexts_apart")
class BatchLosesTheTrace(WholeClient):
    async def predict_batch(self, rows: Any) -> Any:
        task = asyncio.get_running_loop().create_task
        from contextvars import Context

        return await task(super().predict_batch(rows), context=Context())


@flaw("wire.own_id")
class BatchIdIsConstant(WholeClient):
    def headers(self) -> dict[str, str]:
        return {**super().headers(), **({"X-Request-ID": "batch"} if self.is_batch else {})}

    is_batch = False

    async def predict_batch(self, rows: Any) -> Any:
        self.is_batch = True
        return await super().predict_batch(rows)


@flaw("wire.own_id")
class IdsOfTheSecond(WholeClient):
    def headers(self) -> dict[str, str]:
        return {**super().headers(), "X-Request-ID": f"{int(time.time())}"}


@flaw("wire.whole_body")
class BatchLengthLies(WholeClient):
    async def post(self, url: str, body: bytes, headers: dict[str, str]) -> httpx.Response:
        text = json.dumps(json.loads(body), ensure_ascii=False)
        content = text.encode()
        if len(json.loads(body).get("features", [])) > 1:
            content = content[: len(text)]
        return await super().post(url, content, headers)


@flaw("hygiene.free_loop")
class BatchBlocksTheLoop(WholeClient):
    async def predict_batch(self, rows: Any) -> Any:
        response = httpx.post(  # noqa: ASYNC210 - that is the defect
            self.route(None), json={"features": rows}, headers=self.headers(), trust_env=False, timeout=0.9
        )
        return self.decode(response, len(rows))


@flaw("hygiene.free_loop")
class HealthBlocksTheLoop(WholeClient):
    async def health(self) -> dict[str, str]:
        try:
            response = httpx.get(self.url + "/health", trust_env=False, timeout=0.8)  # noqa: ASYNC210 - that is the defect
        except httpx.HTTPError:
            return {"status": "unhealthy"}
        return {"status": "healthy" if response.is_success else "unhealthy"}


@flaw("hygiene.keeps_secrets")
class LogsItsEnvironment(WholeClient):
    async def predict(self, data: Any, *, model: str | None = None) -> Any:
        try:
            return await super().predict(data, model=model)
        except ServiceError:
            log.warning("failed with %s", dict(os.environ))
            raise
