"""The client: total deadline( retry( slot( breaker( attempt deadline( send, read the whole body, parse, validate )))))."""

from __future__ import annotations

import asyncio
import random
import ssl
import time
import uuid
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import quote

import httpx
import tenacity

from tier0.client.breaker import CircuitBreaker, Permit, State
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
from tier0.client.wire import Prediction, decode_json, decode_mapping, decode_prediction, encode, parse_retry_after, server_message

MOST_BREAKERS = 256
KEEPALIVE_EXPIRY = 4.0
"""Seconds; BentoML closes idle connections after 5, and a request on a connection that is just being closed is lost."""
HEALTH_TIMEOUT = 2.0
HEALTH_CONNECTIONS = 2
GIVES_UP_LATE = 0.8
"""A caller that waited for this share of the attempt's limit before giving up has seen the service fail."""
BUDGET = 10.0
NOT_RETRIED = {501, 505}
TOO_MANY_REQUESTS = 429
OK = range(200, 300)
SERVER_FAILED = 500
Answer = TypeVar("Answer")


class BentoMLClient:
    """Calls models that BentoML serves, and fails safely.

    Times are in seconds. A client belongs to the event loop that first uses it.

    Args:
        base_url: of the service.
        timeout: total for a call, retries and waiting included.
        attempt_timeout: of one request, from connecting to the last byte of the answer; half of the total by default, so
            that a hang can be retried.
        max_attempts: requests that one call may send; at least 1.
        backoff_base: the wait before retry n is drawn from 0 to ``backoff_base * 2**(n-1)``, at most *backoff_max*.
        backoff_max: see there.
        retry_budget: what each call adds to a bucket that starts full at 10 and pays 1 for each retry.
        failure_threshold: failing requests in a row that open the circuit of a model.
        reset_timeout: how long it stays open.
        max_connections: to all services together; health checks have their own.
        model_endpoints: model name to base URL, for models that are served elsewhere than under *base_url*.
        idempotent: whether asking twice does no harm; otherwise nothing is retried that may have been received.
        clock: monotonic.
        sleep: waits between attempts.
        rng: gives numbers from 0 to 1, for the backoff.
    """

    def __init__(
        self,
        base_url: str,
        *,
        timeout: float = 10.0,
        attempt_timeout: float | None = None,
        max_attempts: int = 3,
        backoff_base: float = 0.1,
        backoff_max: float = 5.0,
        retry_budget: float = 0.2,
        failure_threshold: int = 5,
        reset_timeout: float = 30.0,
        max_connections: int = 20,
        model_endpoints: Mapping[str, str] | None = None,
        idempotent: bool = True,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        rng: Callable[[], float] = random.random,
    ) -> None:
        for name, value, least in (
            ("max_attempts", max_attempts, 1),
            ("max_connections", max_connections, 1),
            ("failure_threshold", failure_threshold, 1),
        ):
            if value < least:
                raise ValueError(f"{name} = {value}: give {least} or more")
        if timeout <= 0 or (attempt_timeout is not None and attempt_timeout <= 0):
            raise ValueError(f"timeout = {timeout}, attempt_timeout = {attempt_timeout}: give more than 0 seconds")
        self._base_url = _checked_url(base_url)
        self._timeout = timeout
        self._attempt_timeout = attempt_timeout
        self._max_attempts = max_attempts
        self._backoff_base = backoff_base
        self._backoff_max = backoff_max
        self._retry_budget = retry_budget
        self._budget = BUDGET
        self._failure_threshold = failure_threshold
        self._reset_timeout = reset_timeout
        self._max_connections = max_connections
        self._model_endpoints = {name: _checked_url(url) for name, url in (model_endpoints or {}).items()}
        self._idempotent = idempotent
        self._clock = clock
        self._sleep = sleep
        self._rng = rng
        self._breakers: OrderedDict[str, CircuitBreaker] = OrderedDict()
        self._bound: _Bound | None = None
        self._closed = False

    async def predict(self, data: Any, *, model: str | None = None, timeout: float | None = None) -> Prediction:
        """Ask for predictions.

        Args:
            data: rows, records, an array, a DataFrame, or a whole body (see `tier0.client.wire.encode`).
            model: its name, where the service has several.
            timeout: total for this call.

        Raises:
            ClientError: one of its kinds; see `tier0.client.errors`.
        """
        body, rows = encode(data)
        return await self._call("POST", "predict", model, timeout, body, lambda content: decode_prediction(content, rows))

    async def predict_batch(self, rows: Any, *, model: str | None = None, timeout: float | None = None) -> Prediction:
        """Ask about many rows or records in one request; the same rules, the same route."""
        return await self.predict(rows, model=model, timeout=timeout)

    async def model_info(self, model: str | None = None) -> dict[str, Any]:
        """Ask what the model takes and gives."""
        return await self._call("GET", "model_info", model, None, None, decode_mapping)

    async def health_check(self, model: str | None = None) -> dict[str, Any]:
        """Ask whether the service is well, on connections of its own and within 2 s; never raises for a bad answer.

        Returns:
            ``status`` (``healthy`` or ``unhealthy``), ``reason`` if unhealthy, and what the service said about itself.
        """
        bound = self._bind()
        start = self._clock()
        try:
            async with asyncio.timeout(HEALTH_TIMEOUT):
                response = await bound.health.get(self._url(model, "health"))
                if model is None and response.status_code in {404, 405}:  # a service of another style
                    response = await bound.health.get(f"{self._base_url}/readyz")
        except TimeoutError:
            return {"status": "unhealthy", "reason": f"no answer within {HEALTH_TIMEOUT:g} s"}
        except httpx.HTTPError as problem:
            return {"status": "unhealthy", "reason": _describe(problem)}
        return {"latency_ms": (self._clock() - start) * 1000, **_health_of(response)}

    def circuit_state(self, model: str | None = None) -> State:
        """Return the state of the model's circuit."""
        return self._breaker(self._url(model, "")).state

    async def close(self) -> None:
        """Close all connections; calls after this are errors."""
        self._closed = True
        if self._bound is not None:
            bound, self._bound = self._bound, None
            await bound.calls.aclose()
            await bound.health.aclose()

    async def __aenter__(self) -> Self:
        self._bind()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.close()

    def _bind(self) -> _Bound:
        """Return the connections, which belong to the event loop that runs now."""
        if self._closed:
            raise ClientUsageError("the client is closed. Make a new one.")
        loop = asyncio.get_running_loop()
        if self._bound is None:
            encrypted = any(url.startswith("https:") for url in (self._base_url, *self._model_endpoints.values()))
            self._bound = _Bound(loop, self._max_connections, encrypted)
        if self._bound.loop is not loop:
            raise ClientUsageError("the client belongs to another event loop. Make one client for each loop.")
        return self._bound

    def _url(self, model: str | None, route: str) -> str:
        if model is None:
            return f"{self._base_url}/{route}"
        if not model or model in {".", ".."}:
            raise ClientUsageError(f"model = {model!r} is no name of a model")
        if model in self._model_endpoints:
            return f"{self._model_endpoints[model]}/{route}"
        return f"{self._base_url}/{quote(model, safe='')}/{route}"

    def _breaker(self, url: str) -> CircuitBreaker:
        """Return the circuit of a model; the one that was used least recently makes room for a new one."""
        breaker = self._breakers.get(url)
        if breaker is None:
            breaker = CircuitBreaker(failure_threshold=self._failure_threshold, reset_timeout=self._reset_timeout, clock=self._clock)
            self._breakers[url] = breaker
        self._breakers.move_to_end(url)
        if len(self._breakers) > MOST_BREAKERS:
            self._breakers.popitem(last=False)
        return breaker

    async def _call(
        self, method: str, route: str, model: str | None, timeout: float | None, body: bytes | None, decode: Callable[[bytes], Answer]
    ) -> Answer:
        total = self._timeout if timeout is None else timeout
        call = _Call(
            bound=self._bind(),
            method=method,
            url=self._url(model, route),
            body=body,
            breaker=self._breaker(self._url(model, "")),
            deadline=self._clock() + total,
            attempt_timeout=total / 2 if self._attempt_timeout is None else self._attempt_timeout,
        )
        self._budget = min(BUDGET, self._budget + self._retry_budget)
        retrying = tenacity.AsyncRetrying(
            sleep=self._sleep,
            retry=tenacity.retry_if_exception(self._may_be_retried),
            wait=self._wait,
            stop=lambda state: self._must_stop(call, state),
            before_sleep=self._pay,
            reraise=True,
        )
        return await retrying(self._attempt, call, decode)

    def _may_be_retried(self, error: BaseException) -> bool:
        if isinstance(error, ServiceFailedError):
            return self._idempotent and error.status not in NOT_RETRIED
        if isinstance(error, TransportError):
            return self._idempotent or isinstance(error.__cause__, httpx.ConnectError)
        if isinstance(error, (TimedOutError, InvalidAnswerError)):
            return self._idempotent
        return isinstance(error, RateLimitedError)

    def _wait(self, state: tenacity.RetryCallState) -> float:
        """Full jitter (Brooker, "Exponential Backoff and Jitter", 2015), and Retry-After as a floor."""
        limit = min(self._backoff_max, self._backoff_base * 2 ** (state.attempt_number - 1))
        return float(max(self._rng() * limit, _error_of(state).retry_after or 0.0))

    def _must_stop(self, call: _Call, state: tenacity.RetryCallState) -> bool:
        no_time = self._clock() + state.upcoming_sleep >= call.deadline
        return no_time or state.attempt_number >= self._max_attempts or self._budget < 1 or call.breaker.state != "closed"

    def _pay(self, _: tenacity.RetryCallState) -> None:
        self._budget -= 1

    async def _attempt(self, call: _Call, decode: Callable[[bytes], Answer]) -> Answer:
        if self._closed:
            raise ClientUsageError("the client was closed while this call waited.", request_id=call.request_id, attempts=call.attempts)
        try:
            call.waited_for_slot = await call.bound.take_slot(call.deadline - self._clock())
        except TimeoutError:
            if call.last_error is not None:
                raise call.last_error from None
            raise PoolSaturatedError(
                f"all {self._max_connections} connections of this client were busy until the call's time was over", request_id=call.request_id
            ) from None
        try:
            if self._clock() >= call.deadline:
                message = f"nothing was left of the time for {call.url}"
                raise call.last_error or TimedOutError(message, request_id=call.request_id)
            permit = self._permit(call)
            try:
                answer = await self._send(call, permit, decode)
            except ClientError as error:
                call.last_error = error
                raise
            finally:
                permit.release()
        finally:
            call.bound.slots.release()
        return answer

    def _permit(self, call: _Call) -> Permit:
        try:
            return call.breaker.acquire()
        except CircuitOpenError as rejection:
            if call.last_error is not None:
                raise call.last_error from None
            rejection.request_id = call.request_id
            raise

    async def _send(self, call: _Call, permit: Permit, decode: Callable[[bytes], Answer]) -> Answer:
        """Send one request, and settle its permit by what came of it."""
        start = self._clock()
        limit = min(call.attempt_timeout, call.deadline - start)
        had_its_time = limit >= call.attempt_timeout or not call.waited_for_slot  # else our own pool took what it lacked
        call.attempts += 1
        facts: dict[str, Any] = {"attempts": call.attempts, "request_id": call.request_id}
        headers = {"X-Request-ID": call.request_id, **({} if call.body is None else {"Content-Type": "application/json"})}
        try:
            async with asyncio.timeout(limit):
                response = await call.bound.calls.request(call.method, call.url, content=call.body, headers=headers)
            if response.status_code in OK:
                answer = decode(response.content)
        except asyncio.CancelledError:
            if had_its_time and self._clock() - start >= GIVES_UP_LATE * limit:
                permit.fail()
            raise
        except TimeoutError as problem:
            if had_its_time:
                permit.fail()
            raise TimedOutError(f"{call.url} gave no whole answer within {limit:.2f} s", **facts) from problem
        except httpx.HTTPError as problem:
            permit.fail()
            raise TransportError(f"{call.url}: {_describe(problem)}", **facts) from problem
        except InvalidAnswerError as error:
            permit.fail()
            raise InvalidAnswerError(f"{call.url}: {error}", status=response.status_code, **facts) from None
        if response.status_code in OK:
            permit.succeed()
            return answer
        raise _refusal(call.url, response, permit, facts)


@dataclass
class _Bound:
    """Connections of one event loop: for calls, with a semaphore in front so that a full pool is told from a slow service, and for health checks."""

    loop: asyncio.AbstractEventLoop
    connections: int
    encrypted: bool
    calls: httpx.AsyncClient = field(init=False)
    health: httpx.AsyncClient = field(init=False)
    slots: asyncio.Semaphore = field(init=False)

    def __post_init__(self) -> None:
        # Reading the certificates of all authorities takes 20 ms, and a context that trusts nobody none.
        trust = ssl.create_default_context() if self.encrypted else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self.calls = _http_client(self.connections, trust)
        self.health = _http_client(HEALTH_CONNECTIONS, trust)
        self.slots = asyncio.Semaphore(self.connections)

    async def take_slot(self, timeout: float) -> bool:
        """Take a free connection, and tell whether it had to be waited for; raises TimeoutError."""
        if not self.slots.locked():
            await self.slots.acquire()
            return False
        async with asyncio.timeout(timeout):
            await self.slots.acquire()
        return True


@dataclass
class _Call:
    """One call: all its attempts share an id, a deadline and a circuit."""

    bound: _Bound
    method: str
    url: str
    body: bytes | None
    breaker: CircuitBreaker
    deadline: float
    attempt_timeout: float
    request_id: str = field(default_factory=lambda: uuid.uuid4().hex)
    attempts: int = 0
    waited_for_slot: bool = False
    last_error: ClientError | None = None


def _http_client(connections: int, trust: ssl.SSLContext) -> httpx.AsyncClient:
    """Make a client whose only limits are ours: httpx's timeouts are per operation, and a dripping body passes them all."""
    limits = httpx.Limits(max_connections=connections, max_keepalive_connections=connections, keepalive_expiry=KEEPALIVE_EXPIRY)
    return httpx.AsyncClient(timeout=None, verify=trust, limits=limits, trust_env=False, follow_redirects=False)  # noqa: S113


def _checked_url(url: str) -> str:
    if not url.startswith(("http://", "https://")):
        raise ValueError(f"base_url = {url!r} is no URL of a service: give one such as http://127.0.0.1:3000")
    try:
        httpx.URL(url)
    except httpx.InvalidURL as problem:
        raise ValueError(f"base_url = {url!r} is no URL: {problem}") from problem
    return url.rstrip("/")


def _error_of(state: tenacity.RetryCallState) -> ClientError:
    error = state.outcome.exception() if state.outcome is not None else None
    return error if isinstance(error, ClientError) else ClientError("")


def _refusal(url: str, response: httpx.Response, permit: Permit, facts: dict[str, Any]) -> ClientError:
    """Return the error for an answer that is not 2xx, and settle the permit: only 5xx is the service's fault."""
    status = response.status_code
    said = server_message(response.content)
    facts = {**facts, "status": status, "server_message": said, "retry_after": parse_retry_after(response.headers.get("Retry-After"))}
    message = f"{url} answered {status}: {said}"
    if status >= SERVER_FAILED:
        permit.fail()
        return ServiceFailedError(message, **facts)
    if status == TOO_MANY_REQUESTS:
        return RateLimitedError(message, **facts)
    permit.succeed()
    return CallerError(message, **facts)


def _health_of(response: httpx.Response) -> dict[str, Any]:
    facts: dict[str, Any] = {"status_code": response.status_code}
    try:
        body = decode_json(response.content)
    except InvalidAnswerError:
        body = None
    if isinstance(body, dict):
        facts = {**body, **facts}
    if response.status_code not in OK:
        return {**facts, "status": "unhealthy", "reason": f"answered {response.status_code}: {server_message(response.content)}"}
    said = str(facts.get("status", "healthy")).lower()
    if said not in {"healthy", "ok", "ready", "up", "pass"}:
        return {**facts, "status": "unhealthy", "reason": f"says that it is {said}"}
    return {**facts, "status": "healthy"}


def _describe(problem: Exception) -> str:
    return f"{type(problem).__name__}{f' ({problem})' if str(problem) else ''}"
