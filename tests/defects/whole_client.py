"""A client that keeps a complete declaration, and its subclasses, each with one silent defect."""

from __future__ import annotations

import asyncio
import json
import logging
import random
import ssl
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from email.utils import parsedate_to_datetime
from typing import Any
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
    "health_timeout": 2.0,
    "traceparent": True,
    "options": {
        "timeout": 1.0,
        "attempt_timeout": 0.5,
        "reset_timeout": 1.0,
        "api_key": "k-5f7a90c2e1b34d68",
    },
}
ATTEMPTS = 3
THRESHOLD = 5
CONNECTIONS = 20
FIRST_BUDGET = 10.0
BUDGET = 0.2
BACKOFF = 0.05
HEALTH_TIMEOUT = 1.5
LATE = 0.8
TOO_MANY = 429
SERVER_ERROR = 500
Failed = bool | None
"""Whether a result is a failure of the service; None says nothing about the service."""
TLS = ssl.create_default_context()
"""Made once, since that takes longer than a call."""
log = logging.getLogger(__name__)


class FailedError(Exception):
    """The service failed, or returned no prediction."""

    def __init__(self, message: str, status: int = 0, retry_after: float = 0.0, kind: str = "status") -> None:
        super().__init__(message)
        self.status = status
        self.retry_after = retry_after
        self.kind = kind


class WrongError(Exception):
    """The caller made a mistake."""


class RejectedError(Exception):
    """The call was rejected without a request."""


class Permit:
    """The right to send one request, from one period of the circuit."""

    def __init__(self, period: int, *, is_probe: bool) -> None:
        self.period = period
        self.is_probe = is_probe


class Breaker:
    """A circuit that opens after five consecutive failures, and sends one probe at a time."""

    def __init__(self, reset: float) -> None:
        self.reset = reset
        self.state = "closed"
        self.failures = 0
        self.opened = 0.0
        self.period = 0
        self.is_probing = False

    def clock(self) -> float:
        return time.monotonic()

    def admit(self) -> Permit:
        if self.state == "open":
            if self.clock() - self.opened < self.reset:
                self.reject()
            self.change("half-open")
        if self.state == "half-open":
            if self.is_probing:
                self.reject()
            self.is_probing = True
        return Permit(self.period, is_probe=self.state == "half-open")

    def reject(self) -> None:
        raise RejectedError("the circuit is open")

    def settle(self, permit: Permit, failed: Failed, problem: BaseException | None = None) -> None:
        """Record a result; None says nothing about the service."""
        del problem
        if permit.period != self.period:
            return
        self.is_probing = False
        if failed is False:
            self.succeed()
        elif failed:
            self.fail()

    def succeed(self) -> None:
        if self.state == "half-open":
            self.change("closed")
        self.failures = 0

    def fail(self) -> None:
        self.failures += 1
        if self.state == "half-open" or self.failures >= THRESHOLD:
            self.open()

    def open(self) -> None:
        self.opened = self.clock()
        self.change("open")

    def change(self, state: str) -> None:
        self.state, self.failures, self.is_probing = state, 0, False
        self.period += 1


class Whole:
    """The client without a defect."""

    breaker_class: type[Breaker] = Breaker

    def __init__(
        self,
        url: str,
        *,
        timeout: float = 1.0,
        attempt_timeout: float = 0.5,
        reset_timeout: float = 1.0,
        api_key: str = "",
    ) -> None:
        self.url = url.rstrip("/")
        self.timeout, self.attempt_timeout, self.reset = timeout, attempt_timeout, reset_timeout
        self.api_key = api_key
        self.http = self.new_http()
        self.health_http = self.new_http()
        self.places = asyncio.Semaphore(CONNECTIONS)
        self.breakers: dict[str | None, Breaker] = {}
        self.budget = FIRST_BUDGET
        self.is_closed = False
        self.loop = asyncio.get_running_loop()

    def new_http(self) -> httpx.AsyncClient:
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=CONNECTIONS)
        return httpx.AsyncClient(timeout=None, trust_env=False, limits=limits, verify=TLS)

    async def predict(self, data: Any, model: str | None = None) -> Any:
        return await self.call(data, model)

    async def predict_batch(self, rows: Any) -> Any:
        return await self.call({"features": rows}, None)

    async def health(self) -> Any:
        try:
            async with asyncio.timeout(HEALTH_TIMEOUT):
                response = await self.health_http.get(f"{self.url}/health", headers=self.credentials())
        except (httpx.HTTPError, TimeoutError):
            return {"status": "unhealthy"}
        return {"status": "healthy" if response.is_success else "unhealthy"}

    async def close(self) -> None:
        self.is_closed = True
        await self.http.aclose()
        await self.health_http.aclose()

    def clock(self) -> float:
        return time.monotonic()

    def new_id(self, data: Any) -> str:
        del data
        return uuid.uuid4().hex

    def breaker(self, model: str | None) -> Breaker:
        if model not in self.breakers:
            self.breakers[model] = self.breaker_class(self.reset)
        return self.breakers[model]

    def require_usable(self) -> None:
        if self.is_closed:
            raise RejectedError("this client is closed")
        if asyncio.get_running_loop() is not self.loop:
            raise RejectedError("this client belongs to another event loop")

    async def call(self, data: Any, model: str | None) -> Any:
        self.require_usable()
        self.budget = min(FIRST_BUDGET, self.budget + BUDGET)
        id_ = self.new_id(data)
        try:
            async with asyncio.timeout(self.timeout):
                return await self.with_retries(data, model, id_, self.clock() + self.timeout)
        except TimeoutError as problem:
            raise FailedError("no time is left", kind="timeout") from problem

    async def with_retries(self, data: Any, model: str | None, id_: str, deadline: float) -> Any:
        number, failure = 0, None
        while True:
            number += 1
            try:
                return await self.attempt(data, model, id_, number)
            except RejectedError:
                raise failure or RejectedError("the circuit is open") from None
            except FailedError as problem:
                failure = problem
            wait: float = max(self.backoff(number), failure.retry_after)
            if not self.may_retry(failure, number, model) or self.clock() + wait > deadline:
                raise failure
            self.spend(failure)
            await asyncio.sleep(wait)

    def backoff(self, number: int) -> float:
        return float(BACKOFF * 2**number * random.random())

    def may_retry(self, failure: FailedError, number: int, model: str | None) -> bool:
        del failure
        return number < ATTEMPTS and self.budget >= 1 and self.breaker(model).state != "open"

    def spend(self, failure: FailedError) -> None:
        del failure
        self.budget -= 1

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """Wait for a connection of the pool, and give it back."""
        await self.places.acquire()
        try:
            yield
        finally:
            self.places.release()

    async def attempt(self, data: Any, model: str | None, id_: str, number: int) -> Any:
        breaker = self.breaker(model)
        if breaker.state == "open" and breaker.clock() - breaker.opened < breaker.reset:
            breaker.reject()
        async with self.place():
            permit = breaker.admit()
            started = time.monotonic()
            failed: bool | None = None
            problem: BaseException | None = None
            try:
                answer = await self.send(data, model, id_, number)
                failed = False
            except WrongError as error:
                failed, problem = self.says_of_mistake(error), error
                raise
            except FailedError as error:
                failed, problem = self.says(error), error
                raise
            except asyncio.CancelledError as error:
                is_late = time.monotonic() - started > LATE * self.attempt_timeout
                failed, problem = True if is_late else None, error
                raise
            finally:
                breaker.settle(permit, failed, problem)
            return answer

    def says(self, error: FailedError) -> bool | None:
        """Return whether an error counts as a failure of the service; None if it says nothing."""
        return None if error.status == TOO_MANY else True

    def says_of_mistake(self, error: WrongError) -> bool | None:
        del error
        return False

    def route(self, model: str | None) -> str:
        return f"{self.url}/predict" if model is None else f"{self.url}/{quote(model, safe='')}/predict"

    def credentials(self) -> dict[str, str]:
        return {"X-API-Key": self.api_key} if self.api_key else {}

    def headers(self, id_: str, number: int) -> dict[str, str]:
        del number
        headers = {"X-Request-ID": id_, "Content-Type": "application/json", **self.credentials()}
        inject(headers)
        return headers

    def body(self, data: Any) -> bytes:
        return json.dumps(data, ensure_ascii=False).encode()

    async def exchange(self, data: Any, model: str | None, id_: str, number: int) -> httpx.Response:
        return await self.http.post(
            self.route(model), content=self.body(data), headers=self.headers(id_, number)
        )

    async def send(self, data: Any, model: str | None, id_: str, number: int) -> Any:
        try:
            async with asyncio.timeout(self.attempt_timeout):
                response = await self.exchange(data, model, id_, number)
        except TimeoutError as problem:
            raise FailedError("no response in time", kind="timeout") from problem
        except httpx.HTTPError as problem:
            raise FailedError(type(problem).__name__, kind="connection") from problem
        status = response.status_code
        if status == TOO_MANY or status >= SERVER_ERROR:
            raise self.failure(response)
        if not response.is_success:
            raise WrongError(f"status {status}")
        return self.decode(response.content, rows_of(data))

    def failure(self, response: httpx.Response) -> FailedError:
        after = seconds(response.headers.get("Retry-After", ""))
        return FailedError(f"status {response.status_code}", response.status_code, after)

    def decode(self, content: bytes, rows: int) -> Any:
        try:
            answer = json.loads(content, parse_constant=_refuse)
        except ValueError as problem:
            raise FailedError("no JSON", kind="body") from problem
        predictions = answer.get("predictions") if isinstance(answer, dict) else None
        if not isinstance(predictions, list) or len(predictions) != rows:
            raise FailedError("no prediction for each row", kind="body")
        return answer


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def rows_of(data: Any) -> int:
    return len(data["features"])


def seconds(retry_after: str) -> float:
    with suppress(ValueError):
        return max(0.0, float(retry_after))
    with suppress(ValueError):
        return max(0.0, parsedate_to_datetime(retry_after).timestamp() - time.time())
    return 0.0


# Declared numbers


class MoreAttemptsAfterBrokenConnections(Whole):
    """Counts only attempts that got a response."""

    def may_retry(self, failure: FailedError, number: int, model: str | None) -> bool:
        return super().may_retry(failure, 0 if failure.kind == "connection" else number, model)


class MoreAttemptsAfter429(Whole):
    def may_retry(self, failure: FailedError, number: int, model: str | None) -> bool:
        return super().may_retry(failure, 0 if failure.status == TOO_MANY else number, model)


class Ignores429InBudget(Whole):
    def spend(self, failure: FailedError) -> None:
        if failure.status != TOO_MANY:
            super().spend(failure)

    def may_retry(self, failure: FailedError, number: int, model: str | None) -> bool:
        if failure.status == TOO_MANY:
            return number < ATTEMPTS
        return super().may_retry(failure, number, model)


class IgnoresConnectionsInBudget(Whole):
    def may_retry(self, failure: FailedError, number: int, model: str | None) -> bool:
        if failure.kind == "connection":
            return number < ATTEMPTS and self.breaker(model).state != "open"
        return super().may_retry(failure, number, model)

    def spend(self, failure: FailedError) -> None:
        if failure.kind != "connection":
            super().spend(failure)


class BatchHasNoBudget(Whole):
    async def predict_batch(self, rows: Any) -> Any:
        self.budget = FIRST_BUDGET
        return await super().predict_batch(rows)


# The breaker's states


class ResetFromLastRejection(Whole):
    class breaker_class(Breaker):  # noqa: N801
        def reject(self) -> None:
            self.opened = self.clock()
            super().reject()


class ResetFromFirstFailure(Whole):
    class breaker_class(Breaker):  # noqa: N801
        first = 0.0

        def fail(self) -> None:
            if self.failures == 0:
                self.first = self.clock()
            super().fail()

        def open(self) -> None:
            super().open()
            self.opened = self.first


class ResetGrows(Whole):
    class breaker_class(Breaker):  # noqa: N801
        def open(self) -> None:
            if self.state == "half-open":
                self.reset *= 2
            super().open()


class ResetShrinks(Whole):
    """Sends the second probe, after one that failed, after half of the reset time."""

    class breaker_class(Breaker):  # noqa: N801
        def open(self) -> None:
            was_half_open = self.state == "half-open"
            super().open()
            if was_half_open:
                self.opened -= self.reset / 2


class TwoSuccessesClose(Whole):
    class breaker_class(Breaker):  # noqa: N801
        successes = 0

        def succeed(self) -> None:
            if self.state == "half-open":
                self.successes += 1
                if self.successes < 2:
                    return
                self.successes = 0
            super().succeed()


def losing(loses: Any) -> type[Breaker]:
    """Return a breaker that keeps the place of a probe that ends with an error for which *loses* is true."""

    class Loses(Breaker):
        def settle(self, permit: Permit, failed: Failed, problem: BaseException | None = None) -> None:
            if permit.is_probe and problem is not None and loses(problem):
                return
            super().settle(permit, failed, problem)

    return Loses


def _is(kind: str) -> Any:
    return lambda problem: getattr(problem, "kind", "") == kind


class CancelledProbeIsLost(Whole):
    breaker_class = losing(lambda problem: isinstance(problem, asyncio.CancelledError))


class TimedOutProbeIsLost(Whole):
    breaker_class = losing(_is("timeout"))


class BrokenProbeIsLost(Whole):
    breaker_class = losing(_is("connection"))


class InvalidProbeIsLost(Whole):
    breaker_class = losing(_is("body"))


class RefusedProbeIsLost(Whole):
    breaker_class = losing(lambda problem: isinstance(problem, WrongError))


class FailedProbeLeavesFailures(Whole):
    """A circuit that closes after two probes opens again at the next failure."""

    class breaker_class(Breaker):  # noqa: N801
        reopened = False

        def open(self) -> None:
            self.reopened = self.state == "half-open"
            super().open()

        def succeed(self) -> None:
            was_reopened = self.state == "half-open" and self.reopened
            super().succeed()
            if was_reopened:
                self.failures = THRESHOLD - 1


class MistakesDoNotClose(Whole):
    """Status 404 leaves the circuit half-open, and counts as a failure of a probe."""

    def says_of_mistake(self, error: WrongError) -> bool | None:
        return "404" in str(error) and self.breaker(None).state == "half-open"


class CountsForbidden(Whole):
    def says_of_mistake(self, error: WrongError) -> bool | None:
        return "403" in str(error)


class CountsNoOverload(Whole):
    """Status 503 with Retry-After does not count as a failure."""

    def failure(self, response: httpx.Response) -> FailedError:
        failure = super().failure(response)
        if "Retry-After" in response.headers:
            failure.kind = "overload"
        return failure

    def says(self, error: FailedError) -> bool | None:
        return None if error.kind == "overload" else super().says(error)


class LateFailureReopens(Whole):
    """The failure of a request from before the opening counts against the circuit that has closed again."""

    class breaker_class(Breaker):  # noqa: N801
        def settle(self, permit: Permit, failed: Failed, problem: BaseException | None = None) -> None:
            if permit.period != self.period and failed:
                self.opened = self.clock()
            super().settle(permit, failed, problem)


class BatchProbesAreNotLimited(Whole):
    class breaker_class(Breaker):  # noqa: N801
        is_batch = False

        def admit(self) -> Permit:
            if self.is_batch and self.state == "half-open":
                return Permit(self.period, is_probe=True)
            return super().admit()

    async def attempt(self, data: Any, model: str | None, id_: str, number: int) -> Any:
        self.breaker(model).is_batch = rows_of(data) > 1  # type: ignore[attr-defined]
        return await super().attempt(data, model, id_, number)


CIRCUITS: dict[str | None, Breaker] = {}


class CircuitOfTheProcess(Whole):
    """All services share a circuit."""

    def __init__(self, url: str, **options: Any) -> None:
        super().__init__(url, **options)
        self.breakers = CIRCUITS


# Retries


class RetriesForbidden(Whole):
    """Sends a request that got status 403 once more."""

    async def send(self, data: Any, model: str | None, id_: str, number: int) -> Any:
        try:
            return await super().send(data, model, id_, number)
        except WrongError as problem:
            if "403" not in str(problem):
                raise
        return await super().send(data, model, id_, number)


class CapsRetryAfter(Whole):
    def failure(self, response: httpx.Response) -> FailedError:
        failure = super().failure(response)
        failure.retry_after = min(failure.retry_after, 0.2)
        return failure


class IgnoresDates(Whole):
    def failure(self, response: httpx.Response) -> FailedError:
        failure = super().failure(response)
        if not response.headers.get("Retry-After", "0").isdigit():
            failure.retry_after = 0.0
        return failure


class WaitsBeyondDeadline(Whole):
    """Retry-After up to 5 s is honoured, whatever is left of the call's time."""

    async def call(self, data: Any, model: str | None) -> Any:
        self.require_usable()
        self.budget = min(FIRST_BUDGET, self.budget + BUDGET)
        return await self.with_retries(data, model, self.new_id(data), self.clock() + self.timeout)

    async def with_retries(self, data: Any, model: str | None, id_: str, deadline: float) -> Any:
        del deadline
        until = self.clock() + self.timeout
        for number in range(1, ATTEMPTS + 1):
            try:
                async with asyncio.timeout(max(0.0, until - self.clock())):
                    return await self.attempt(data, model, id_, number)
            except TimeoutError as problem:
                raise FailedError("no time is left") from problem
            except FailedError as failure:
                wait: float = max(self.backoff(number), failure.retry_after)
                is_too_long = wait > (5.0 if failure.retry_after else until - self.clock())
                if is_too_long or not self.may_retry(failure, number, model):
                    raise
                self.spend(failure)
                await asyncio.sleep(wait)
        return None


class OneMoreAfterCancellation(Whole):
    """A cancelled call leaves its next attempt to the background."""

    left: set[asyncio.Future[Any]]

    async def attempt(self, data: Any, model: str | None, id_: str, number: int) -> Any:
        try:
            return await super().attempt(data, model, id_, number)
        except asyncio.CancelledError:
            self.left = getattr(self, "left", set())
            if number == 1 and not self.left:
                again = asyncio.ensure_future(super().attempt(data, model, id_, 2))
                again.add_done_callback(lambda done: done.cancelled() or done.exception())
                self.left.add(again)
            raise


class CredentialsLostOnRetry(Whole):
    def headers(self, id_: str, number: int) -> dict[str, str]:
        headers = super().headers(id_, number)
        if number > 1:
            headers.pop("X-API-Key", None)
        return headers


class ContextLostOnRetry(Whole):
    def headers(self, id_: str, number: int) -> dict[str, str]:
        headers = super().headers(id_, number)
        if number > 1:
            headers.pop("traceparent", None)
        return headers


class RepeatsErrorObjects(Whole):
    """Declared as a client that repeats nothing that was received, but repeats an error in a 200."""

    def may_retry(self, failure: FailedError, number: int, model: str | None) -> bool:
        is_error_object = failure.kind == "error object"
        return (is_error_object or failure.status in {TOO_MANY, 503}) and super().may_retry(
            failure, number, model
        )

    def decode(self, content: bytes, rows: int) -> Any:
        try:
            return super().decode(content, rows)
        except FailedError as failure:
            if content.startswith(b'{"error"'):
                failure.kind = "error object"
            raise


# Deadlines


class DeadlineOfTheSystemClock(Whole):
    """Ends when time.time() says so."""

    async def call(self, data: Any, model: str | None) -> Any:
        self.require_usable()
        self.budget = min(FIRST_BUDGET, self.budget + BUDGET)
        until = time.time() + self.timeout
        running = asyncio.ensure_future(
            self.with_retries(data, model, self.new_id(data), self.clock() + self.timeout)
        )
        try:
            while not running.done():
                if time.time() > until:
                    raise FailedError("no time is left", kind="timeout")
                await asyncio.wait({running}, timeout=0.02)
            return await running
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


# The pool


class InvalidBodiesKeepPlaces(Whole):
    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        await self.places.acquire()
        try:
            yield
        except FailedError as failure:
            if failure.kind != "body":
                self.places.release()
            raise
        except BaseException:
            self.places.release()
            raise
        else:
            self.places.release()


class TimeoutsKeepPlaces(Whole):
    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        await self.places.acquire()
        try:
            yield
        except FailedError as failure:
            if failure.kind != "timeout":
                self.places.release()
            raise
        except BaseException:
            self.places.release()
            raise
        else:
            self.places.release()


class CancelledInQueueKeepsPlace(Whole):
    """A call that is cancelled while it waits for a connection takes it all the same."""

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        waiting = asyncio.ensure_future(self.places.acquire())
        await asyncio.shield(waiting)
        try:
            yield
        finally:
            self.places.release()


# What callers get


class BatchByRows(Whole):
    """Sends a request for each row; no defect."""

    async def predict_batch(self, rows: Any) -> Any:
        calls = [asyncio.ensure_future(self.call({"features": [row]}, None)) for row in rows]
        try:
            answers = [await done for done in self.ordered(calls)]
        finally:
            for call in calls:
                call.cancel()
            await asyncio.gather(*calls, return_exceptions=True)
        return {"predictions": [answer["predictions"][0] for answer in answers]}

    def ordered(self, calls: Sequence[asyncio.Future[Any]]) -> Iterable[Awaitable[Any]]:
        return calls


class BatchInOrderOfArrival(BatchByRows):
    """Returns the predictions in the order of the responses."""

    def ordered(self, calls: Sequence[asyncio.Future[Any]]) -> Iterable[Awaitable[Any]]:
        return asyncio.as_completed(calls)


class BatchMergesRows(Whole):
    """Sends equal rows once, and returns a prediction for each different row."""

    async def predict_batch(self, rows: Any) -> Any:
        different = [row for number, row in enumerate(rows) if row not in rows[:number]]
        answer = await self.call({"features": different}, None)
        return {**answer, "predictions": (answer["predictions"] * len(rows))[: len(rows)]}

    def decode(self, content: bytes, rows: int) -> Any:
        answer = json.loads(content) if content.startswith(b"{") else None
        predictions = answer.get("predictions") if isinstance(answer, dict) else None
        if rows == 1 and isinstance(predictions, list) and len(predictions) == 2:
            return answer
        return super().decode(content, rows)


class FewerPredictions(Whole):
    def decode(self, content: bytes, rows: int) -> Any:
        for fewer in range(rows, 0, -1):
            with suppress(FailedError):
                return super().decode(content, fewer)
        return super().decode(content, rows)


class AcceptsNan(Whole):
    def decode(self, content: bytes, rows: int) -> Any:
        return super().decode(content.replace(b"NaN", b"0"), rows)


class DefaultOnTimeout(Whole):
    async def call(self, data: Any, model: str | None) -> Any:
        try:
            return await super().call(data, model)
        except FailedError as failure:
            if failure.kind != "timeout":
                raise
            return {"predictions": [0] * rows_of(data)}


class LastAnswerOnBrokenConnection(Whole):
    last: Any = None

    async def predict(self, data: Any, model: str | None = None) -> Any:
        try:
            self.last = await super().predict(data, model)
        except FailedError as failure:
            if failure.kind != "connection" or self.last is None:
                raise
        return self.last


class BatchDefaultWhenOpen(Whole):
    async def predict_batch(self, rows: Any) -> Any:
        try:
            return await super().predict_batch(rows)
        except RejectedError:
            if self.is_closed:
                raise
            return {"predictions": [0] * len(rows)}


class CoalescesCalls(Whole):
    """Calls with equal data share a request, and its end: also that of a call that was cancelled."""

    def __init__(self, url: str, **options: Any) -> None:
        super().__init__(url, **options)
        self.shared: dict[str, asyncio.Future[Any]] = {}

    async def predict(self, data: Any, model: str | None = None) -> Any:
        key = json.dumps([data, model])
        if key in self.shared and not self.shared[key].done():
            return await asyncio.shield(self.shared[key])
        self.shared[key] = asyncio.ensure_future(super().predict(data, model))
        try:
            return await self.shared[key]
        finally:
            self.shared.pop(key, None)


class BatchFollowsRedirects(Whole):
    """Follows redirects of batches, with its key."""

    async def exchange(self, data: Any, model: str | None, id_: str, number: int) -> httpx.Response:
        response = await super().exchange(data, model, id_, number)
        if rows_of(data) > 1 and response.has_redirect_location:
            response = await self.http.post(
                response.headers["Location"], content=self.body(data), headers=self.headers(id_, number)
            )
        return response


class BatchWithoutContext(Whole):
    is_batch = False

    async def exchange(self, data: Any, model: str | None, id_: str, number: int) -> httpx.Response:
        self.is_batch = rows_of(data) > 1
        return await super().exchange(data, model, id_, number)

    def headers(self, id_: str, number: int) -> dict[str, str]:
        headers = super().headers(id_, number)
        if self.is_batch:
            headers.pop("traceparent", None)
        return headers


class BatchIdIsConstant(Whole):
    batch_id = uuid.uuid4().hex

    def new_id(self, data: Any) -> str:
        return self.batch_id if rows_of(data) > 1 else super().new_id(data)


class IdIsCounted(Whole):
    """Counts its calls, so that all processes send the same ids."""

    number = 0

    def new_id(self, data: Any) -> str:
        del data
        self.number += 1
        return f"{self.number:032x}"


class HealthRemembers(Whole):
    """Asks the service until it was healthy once."""

    was_healthy = False

    async def health(self) -> Any:
        if not self.was_healthy:
            self.was_healthy = (await super().health())["status"] == "healthy"
        return {"status": "healthy" if self.was_healthy else "unhealthy"}


class HealthBlocksLoop(Whole):
    async def health(self) -> Any:
        try:
            response = httpx.get(f"{self.url}/health", timeout=HEALTH_TIMEOUT, trust_env=False, verify=TLS)  # noqa: ASYNC210
        except httpx.HTTPError:
            return {"status": "unhealthy"}
        return {"status": "healthy" if response.is_success else "unhealthy"}


class HealthTrustsEnvironment(Whole):
    def __init__(self, url: str, **options: Any) -> None:
        super().__init__(url, **options)
        self.health_http = httpx.AsyncClient(timeout=None, verify=TLS)


class CloseLeavesHealth(Whole):
    async def close(self) -> None:
        self.is_closed = True
        await self.http.aclose()


class BatchSwallowsCancellation(Whole):
    async def predict_batch(self, rows: Any) -> Any:
        running = asyncio.ensure_future(super().predict_batch(rows))
        with suppress(asyncio.CancelledError):
            return await asyncio.shield(running)
        return await running


class QueueSwallowsCancellation(Whole):
    """A call that waits for a connection cannot be cancelled."""

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        waiting = asyncio.ensure_future(self.places.acquire())
        while not waiting.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait({waiting})
        try:
            yield
        finally:
            self.places.release()


FLAWS: dict[type[Whole], tuple[str, ...]] = {
    MoreAttemptsAfterBrokenConnections: ("retry.at_most_attempts",),
    MoreAttemptsAfter429: ("retry.at_most_attempts",),
    Ignores429InBudget: ("retry.budget",),
    IgnoresConnectionsInBudget: ("retry.budget",),
    BatchHasNoBudget: ("retry.budget",),
    ResetFromLastRejection: ("breaker.sequences",),
    ResetFromFirstFailure: ("breaker.sequences",),
    ResetGrows: ("breaker.recovers",),
    ResetShrinks: ("breaker.recovers",),
    TwoSuccessesClose: ("breaker.closes",),
    CancelledProbeIsLost: ("breaker.lost_probe",),
    TimedOutProbeIsLost: ("breaker.lost_probe",),
    BrokenProbeIsLost: ("breaker.lost_probe",),
    InvalidProbeIsLost: ("breaker.lost_probe",),
    RefusedProbeIsLost: ("breaker.closes",),
    FailedProbeLeavesFailures: ("breaker.recovers",),
    MistakesDoNotClose: ("breaker.closes",),
    CountsForbidden: ("retry.callers_mistakes",),
    CountsNoOverload: ("breaker.counts_failures",),
    LateFailureReopens: ("breaker.late_results",),
    BatchProbesAreNotLimited: ("breaker.one_probe",),
    CircuitOfTheProcess: ("breaker.other_services",),
    RetriesForbidden: ("retry.callers_mistakes",),
    CapsRetryAfter: ("retry.retry_after",),
    IgnoresDates: ("retry.retry_after",),
    WaitsBeyondDeadline: ("retry.retry_after",),
    OneMoreAfterCancellation: ("retry.ends_with_its_caller",),
    CredentialsLostOnRetry: ("wire.same_request",),
    ContextLostOnRetry: ("wire.own_context",),
    RepeatsErrorObjects: ("retry.asked_once",),
    DeadlineOfTheSystemClock: ("breaker.clock_steps",),
    InvalidBodiesKeepPlaces: ("pool.failed_calls",),
    TimeoutsKeepPlaces: ("pool.failed_calls",),
    CancelledInQueueKeepsPlace: ("pool.cancelled_calls",),
    BatchInOrderOfArrival: ("batch.own_rows",),
    BatchMergesRows: ("batch.own_rows",),
    FewerPredictions: ("batch.no_prediction",),
    AcceptsNan: ("batch.no_prediction",),
    DefaultOnTimeout: ("wire.no_stand_in",),
    LastAnswerOnBrokenConnection: ("wire.no_stand_in",),
    BatchDefaultWhenOpen: ("wire.no_stand_in",),
    CoalescesCalls: ("pool.crowd",),
    BatchFollowsRedirects: ("wire.redirects",),
    BatchWithoutContext: ("wire.own_context",),
    BatchIdIsConstant: ("wire.own_id",),
    IdIsCounted: ("wire.own_id",),
    HealthRemembers: ("health.tells",),
    HealthBlocksLoop: ("hygiene.free_loop",),
    HealthTrustsEnvironment: ("hygiene.proxy_environment",),
    CloseLeavesHealth: ("hygiene.closed",),
    BatchSwallowsCancellation: ("hygiene.cancelled_at_once",),
    QueueSwallowsCancellation: ("pool.cancelled_calls",),
}
"""Defects, each with the checks of which one must detect it."""
