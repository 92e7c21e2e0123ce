"""One call of a client: requests under one deadline, through a circuit breaker, with retries.

Order of the limits, outermost first: total deadline, retries, wait for a connection, breaker, deadline of the
attempt (send, read the complete body, parse, validate).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Container, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import httpx

from tier0.client.connections import CONNECTION_ERRORS, describe_error
from tier0.client.endpoints import without_credentials, without_secrets
from tier0.client.errors import (
    CallerError,
    CircuitOpenError,
    ClientError,
    ClientUsageError,
    InvalidAnswerError,
    PoolSaturatedError,
    RateLimitedError,
    ServiceFailedError,
    TimedOutError,
    TransportError,
)
from tier0.client.tracing import TRACEPARENT, Attempt, new_span_id, new_trace_id, outcome_of
from tier0.client.wire import parse_retry_after, server_message

if TYPE_CHECKING:
    from tier0.client.breaker import Permit
    from tier0.client.circuits import Circuit
    from tier0.client.connections import Connections
    from tier0.client.options import ClientOptions
    from tier0.client.tracing import AttemptSpan, BeginSpan

Result = TypeVar("Result")
RETRYABLE = (ServiceFailedError, TransportError, TimedOutError, InvalidAnswerError, RateLimitedError)
NOT_RETRYABLE_STATUSES = {501, 505}
OK = range(200, 300)
JSON_HEADERS: Mapping[str, str] = {"Content-Type": "application/json"}
TOO_MANY_REQUESTS = 429
SERVER_ERROR = 500
LATE_CANCELLATION = 0.8
"""Share of the attempt's limit after which a cancellation counts as a failure of the service."""


@dataclass(frozen=True, slots=True)
class CallPolicy:
    """Rules that all calls of a client have in common.

    Attributes:
        options: options of the client.
        clock: monotonic clock, in seconds.
        sleep: waits for the given seconds.
        rng: returns a random number from 0 to 1.
    """

    options: ClientOptions
    clock: Callable[[], float]
    sleep: Callable[[float], Awaitable[None]]
    rng: Callable[[], float]

    def retry_delay(self, attempts: int, error: ClientError) -> float | None:
        """Return the seconds to wait before a retry: full jitter, and at least the service's Retry-After.

        See Brooker, "Exponential Backoff and Jitter", 2015.

        Args:
            attempts: number of attempts so far.
            error: error of the last attempt.

        Returns:
            Seconds; None if the call must not be retried.
        """
        if attempts >= self.options.max_attempts or not self._is_retryable(error):
            return None
        limit = min(self.options.backoff_max, self.options.backoff_base * 2 ** (attempts - 1))
        return float(max(self.rng() * limit, error.retry_after or 0.0))

    def _is_retryable(self, error: ClientError) -> bool:
        """Return whether a retry may succeed, and cannot repeat a request that must not be repeated."""
        if isinstance(error, TransportError) and isinstance(error.__cause__, httpx.ConnectError):
            return True
        if error.status in NOT_RETRYABLE_STATUSES:
            return False
        return self.options.idempotent and isinstance(error, RETRYABLE)


@dataclass(slots=True)
class Request(Generic[Result]):
    """The request of a call, which each attempt sends.

    Attributes:
        method: HTTP method.
        url: URL of the route.
        service: base URL of the service, by which connections are pooled.
        body: JSON, or other content, to send; None for a request without a body.
        decode: returns the content of a response with an accepted status, or raises `InvalidAnswerError`.
        headers: headers of this request, with the content type of the body.
        accepted: statuses of a response with content.
    """

    method: str
    url: str
    service: str
    body: bytes | None
    decode: Callable[[bytes], Result]
    headers: Mapping[str, str] = field(default_factory=lambda: JSON_HEADERS)
    accepted: Container[int] = OK

    @property
    def shown_url(self) -> str:
        """The URL without credentials and query, for messages."""
        return without_secrets(self.url)


@dataclass(slots=True)
class Call(Generic[Result]):
    """One call, whose attempts share an id, a deadline and a circuit.

    Attributes:
        request: request that each attempt sends.
        policy: rules of the client.
        connections: connections of the client.
        circuit: circuit of the model.
        deadline: time by the policy's clock at which the call must have ended.
        attempt_timeout: seconds that one attempt may take.
        begin_span: begins a span in the application's own trace; None without OpenTelemetry.
        sampled: True if the call is traced, as ``traceparent`` reports to the service.
        request_id: id that all attempts send as ``X-Request-ID``.
        attempts: attempts that were sent.
        parent_trace_id: trace of the application that the last attempt belongs to; None without one.
        waited_for_slot: True if an attempt had to wait for a connection.
    """

    request: Request[Result]
    policy: CallPolicy
    connections: Connections
    circuit: Circuit
    deadline: float
    attempt_timeout: float
    begin_span: BeginSpan | None
    sampled: bool
    request_id: str = field(default_factory=new_trace_id)
    attempts: list[Attempt] = field(default_factory=list)
    parent_trace_id: str | None = None
    waited_for_slot: bool = False

    async def run(self) -> Result:
        """Send the request until it succeeds, or must not be sent again.

        Raises:
            ClientError: the last attempt failed, or no attempt could be sent.
        """
        failure: ClientError | None = None
        while True:
            try:
                permit = await self._admit()
            except (CircuitOpenError, PoolSaturatedError, TimedOutError) as rejection:
                if failure is not None:
                    raise failure from failure.__cause__  # the attempt that was sent explains more
                rejection.request_id = self.request_id
                if isinstance(rejection, CircuitOpenError):
                    self.circuit.events.reject(rejection)
                raise
            try:
                return await self._send(permit)
            except ClientError as error:
                failure = error
            finally:
                permit.release()
                self._release_slot()
            delay = self.policy.retry_delay(len(self.attempts), failure)
            if delay is None or not self._can_retry_after(delay):
                raise failure
            self.circuit.retry_budget -= 1
            self.circuit.events.retry(self.request.shown_url, failure, delay)
            await self.policy.sleep(delay)

    def _can_retry_after(self, delay: float) -> bool:
        """Return whether deadline, circuit and budget leave room for a retry after *delay* seconds."""
        in_time = self.policy.clock() + delay < self.deadline
        return in_time and self.circuit.breaker.state != "open" and self.circuit.retry_budget >= 1

    async def _admit(self) -> Permit:
        """Reserve a connection, and acquire the breaker's permit to send one request.

        Raises:
            CircuitOpenError: the breaker rejects the request.
            PoolSaturatedError: no connection became free before the deadline.
            TimedOutError: the deadline has passed.
            ClientUsageError: the client was closed.
        """
        self._require_open_client()
        self.circuit.breaker.raise_if_open()  # before a wait that could not help
        time_left = self.deadline - self.policy.clock()
        try:
            self.waited_for_slot |= await self.connections.take_slot(self.request.service, time_left)
        except TimeoutError:
            raise PoolSaturatedError(
                f"timed out waiting for one of {self.connections.max_connections} connections "
                f"to {self.request.shown_url}"
            ) from None
        try:
            self._require_open_client()
            self._require_time_left()
            return self.circuit.breaker.acquire()
        except BaseException:
            self._release_slot()
            raise

    def _release_slot(self) -> None:
        self.connections.slots[self.request.service].release()

    def _require_open_client(self) -> None:
        if self.connections.closed:
            raise ClientUsageError(
                "the client was closed while this call was waiting",
                request_id=self.request_id,
                attempts=len(self.attempts),
            )

    def _require_time_left(self) -> None:
        if self.policy.clock() >= self.deadline:
            raise TimedOutError(
                f"deadline exceeded before a request to {self.request.shown_url} could be sent"
            )

    async def _send(self, permit: Permit) -> Result:
        """Send one request, and record the attempt, also in the application's own trace."""
        headers, span = self._headers()
        attempt = self.attempts[-1]
        try:
            if span is None:
                return await self._exchange(permit, attempt, headers)
            with span.current():
                return await self._exchange(permit, attempt, headers)
        except BaseException as error:
            attempt.outcome = outcome_of(error)
            raise
        finally:
            attempt.ended = max(time.time(), attempt.started)
            if span is not None:
                span.end(attempt)

    def _headers(self) -> tuple[dict[str, str], AttemptSpan | None]:
        """Return the headers of a new attempt, and its span in the application's trace, if it has one."""
        headers = {"X-Request-ID": self.request_id}
        if self.request.body is not None:
            headers.update(self.request.headers)
        span = None if self.begin_span is None else self.begin_span(headers, self._span_attributes)
        if span is None:
            span_id = new_span_id()
            headers[TRACEPARENT] = f"00-{self.request_id}-{span_id}-{'01' if self.sampled else '00'}"
            self.parent_trace_id = None
        else:
            span_id = span.span_id
            self.parent_trace_id = span.trace_id
        self.attempts.append(Attempt(span_id, time.time()))
        return headers, span

    def _span_attributes(self) -> dict[str, Any]:
        """Return the attributes of the next attempt, by OpenTelemetry's conventions for HTTP clients 1.23."""
        return {
            "http.request.method": self.request.method,
            "http.request.resend_count": len(self.attempts),
            **_url_attributes(self.request.url),
        }

    async def _exchange(self, permit: Permit, attempt: Attempt, headers: dict[str, str]) -> Result:
        """Send one request and read its response, and report to the breaker whether the service failed."""
        clock, request = self.policy.clock, self.request
        start = clock()
        limit = min(self.attempt_timeout, self.deadline - start)
        # If waiting for our own pool has shortened the attempt, a timeout is not the service's fault.
        had_full_time = limit >= self.attempt_timeout or not self.waited_for_slot
        facts: dict[str, Any] = {"attempts": len(self.attempts), "request_id": self.request_id}
        try:
            async with asyncio.timeout(limit):
                response = await self.connections.send(request.method, request.url, request.body, headers)
            attempt.status = response.status_code
            if attempt.status in request.accepted:
                result = request.decode(response.content)
                if clock() - start > limit:  # no timer can end the decoding, which blocks the event loop
                    raise TimeoutError  # noqa: TRY301
        except asyncio.CancelledError:
            waited = clock() - start
            if had_full_time and waited >= LATE_CANCELLATION * limit:
                message = f"{request.shown_url}: no complete response within {waited:.2f} s (call cancelled)"
                permit.fail(TimedOutError(message, **facts))
            raise
        except TimeoutError as problem:
            message = f"{request.shown_url}: no complete response within {limit:.2f} s"
            failure: ClientError = TimedOutError(message, **facts)
            if had_full_time:
                permit.fail(failure)
            raise failure from problem
        except CONNECTION_ERRORS as problem:
            message = f"{request.shown_url}: {describe_error(problem)}"
            failure = TransportError(message, reason=type(problem).__name__, **facts)
            permit.fail(failure)
            raise failure from problem
        except InvalidAnswerError as problem:
            message = f"{request.shown_url}: {problem}"
            failure = InvalidAnswerError(message, status=attempt.status, **facts)
            permit.fail(failure)
            raise failure from None
        if attempt.status not in request.accepted:
            raise _status_error(request.shown_url, response, permit, facts)
        permit.succeed()
        return result


@lru_cache(maxsize=256)
def _url_attributes(address: str) -> dict[str, Any]:
    url = httpx.URL(address)
    port = url.port or (443 if url.scheme == "https" else 80)
    return {"url.full": without_credentials(address), "server.address": url.host, "server.port": port}


def _status_error(url: str, response: httpx.Response, permit: Permit, facts: dict[str, Any]) -> ClientError:
    """Return the error for a response that is not 2xx, and report to the breaker.

    Only 5xx is a failure of the service; 429 is neither a failure nor a success.
    """
    status = response.status_code
    reason = server_message(response.content)
    message = f"{url} returned {status}: {reason}"
    facts = {
        **facts,
        "status": status,
        "server_message": reason,
        "retry_after": parse_retry_after(response.headers.get("Retry-After")),
    }
    if status >= SERVER_ERROR:
        failure = ServiceFailedError(message, **facts)
        permit.fail(failure)
        return failure
    if status == TOO_MANY_REQUESTS:
        return RateLimitedError(message, **facts)
    permit.succeed()
    return CallerError(message, **facts)
