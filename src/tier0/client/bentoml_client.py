"""The client: total deadline( retry( slot( breaker( attempt deadline( send, read the whole body, parse, validate )))))."""

from __future__ import annotations

import asyncio
import logging
import math
import random
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar, cast
from urllib.parse import quote

import httpx
import tenacity

from tier0.client.breaker import CircuitBreaker, Permit, State
from tier0.client.connections import Connections, import_late_imports
from tier0.client.errors import (
    CallerError,
    CircuitOpenError,
    ClientError,
    ClientUsageError,
    InvalidAnswerError,
    InvalidDataError,
    PoolSaturatedError,
    RateLimitedError,
    ServiceFailedError,
    TimedOutError,
    TransportError,
)
from tier0.client.options import ClientOptions, service_url, without_credentials
from tier0.client.options import model_endpoints as endpoints_of
from tier0.client.tracing import (
    TRACEPARENT,
    Attempt,
    AttemptSpan,
    BeginSpan,
    CallTrace,
    Tracer,
    find_opentelemetry,
    new_span_id,
    new_trace_id,
    outcome_of,
)
from tier0.client.wire import (
    Prediction,
    decode_json,
    decode_mapping,
    decode_prediction,
    encode,
    parse_retry_after,
    server_message,
)

if TYPE_CHECKING:
    from tier0.contract.contract import Contract

LOG = logging.getLogger(__name__)
MAX_CIRCUITS = 256
MAX_NAME_LENGTH = 1000
"""Characters; httpx refuses addresses of more than 65,536, and quoting makes up to twelve of one."""
HEALTH_TIMEOUT = 2.0
FLUSH_TIMEOUT = 1.8
SCHEMA_LIMIT = 10.0
GIVES_UP_LATE = 0.8
"""A caller that waited for this share of the attempt's limit before giving up has seen the service fail."""
BUDGET = 10.0
RETRIED = (ServiceFailedError, TransportError, TimedOutError, InvalidAnswerError, RateLimitedError)
NOT_RETRIED = {501, 505}
BROKEN = (httpx.HTTPError, OSError)
"""What a connection fails with: not all that TLS raises is translated by httpx."""
METHOD_NOT_ALLOWED = 405
ABSENT = {404, METHOD_NOT_ALLOWED}
TOO_MANY_REQUESTS = 429
OK = range(200, 300)
SERVER_FAILED = 500
Answer = TypeVar("Answer")


class BentoMLClient:
    """Calls models that BentoML serves, and fails safely.

    Times are in seconds. A client belongs to the event loop that first uses it. What is not given is taken from the
    environment (``TIER0_CLIENT_TIMEOUT`` and so on for every number, ``TIER0_CLIENT_MODEL_ENDPOINTS`` as ``name=URL,name=URL``),
    and else has the default that is named here.

    Args:
        base_url: of the service; ``BENTOML_SERVICE_URL`` by default.
        timeout: total for a call, retries and waiting included; 10.
        attempt_timeout: of one request, from connecting to the last byte of the answer; half of the total by default, so
            that a hang can be retried.
        max_attempts: requests that one call may send; 3.
        backoff_base: the wait before retry n is drawn from 0 to ``backoff_base * 2**(n-1)``, at most *backoff_max*; 0.1.
        backoff_max: see there; 5.
        retry_budget: what each call adds to a bucket that starts full at 10 and pays 1 for each retry; 0.2.
        failure_threshold: failing requests in a row that open the circuit of a model; 5.
        reset_timeout: how long it stays open; 30.
        max_connections: to each service; health checks have their own; 20.
        model_endpoints: model name to base URL, for models that are served elsewhere than under *base_url*.
        contract: how the services are asked, where they are not Tier0's; see also `for_service`.
        tracer: is told of every call when it has ended, such as `tier0.client.opik_tracer.OpikTracer`; it is flushed, and
            not closed, with the client.
        idempotent: whether asking twice does no harm; otherwise nothing is retried that may have been received. True.
        clock: monotonic.
        sleep: waits between attempts.
        rng: gives numbers from 0 to 1, for the backoff.
    """

    def __init__(
        self,
        base_url: str | None = None,
        *,
        timeout: float | None = None,
        attempt_timeout: float | None = None,
        max_attempts: int | None = None,
        backoff_base: float | None = None,
        backoff_max: float | None = None,
        retry_budget: float | None = None,
        failure_threshold: int | None = None,
        reset_timeout: float | None = None,
        max_connections: int | None = None,
        model_endpoints: Mapping[str, str] | None = None,
        contract: Contract | None = None,
        tracer: Tracer | None = None,
        idempotent: bool | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        rng: Callable[[], float] = random.random,
    ) -> None:
        self._knobs = ClientOptions.resolve(
            {
                "timeout": timeout,
                "attempt_timeout": attempt_timeout,
                "max_attempts": max_attempts,
                "backoff_base": backoff_base,
                "backoff_max": backoff_max,
                "retry_budget": retry_budget,
                "failure_threshold": failure_threshold,
                "reset_timeout": reset_timeout,
                "max_connections": max_connections,
                "idempotent": idempotent,
            }
        )
        self._base_url = service_url(base_url)
        self._model_endpoints = endpoints_of(model_endpoints)
        self.contract = contract
        self._tracer = tracer
        self._tracer_failed = False
        self._begin_span: BeginSpan | None = find_opentelemetry()
        self._clock = clock
        self._sleep = sleep
        self._rng = rng
        self._circuits: OrderedDict[str, _Circuit] = OrderedDict()
        self._bound: Connections | None = None
        self._closed = False
        import_late_imports()

    @classmethod
    async def for_service(
        cls, base_url: str | None = None, *, declared: Mapping[str, Any] | None = None, **knobs: Any
    ) -> Self:
        """Make a client for a service of any style: how it is asked is read from its ``/schema.json``.

        Args:
            base_url: see the class.
            declared: what that leaves open, such as ``{"route": "/classify", "predictions": "labels"}``; see `tier0.contract.contract`.
            knobs: see the class.

        Raises:
            ContractError: it does not say enough; with what to declare.
            ClientError: it does not answer.
        """
        from tier0.contract.service_schema import find_contract  # noqa: PLC0415 - what only those need who call services of another style

        async with cls(base_url, **{**knobs, "tracer": None}) as asking:
            schema = await asking._call("GET", "schema.json", None, SCHEMA_LIMIT, None, decode_mapping)
        return cls(base_url, contract=find_contract(schema, declared or {}), **knobs)

    async def predict(
        self, data: Any, *, model: str | None = None, timeout: float | None = None
    ) -> Prediction:
        """Ask for predictions.

        Args:
            data: rows, records, an array, a DataFrame, or a whole body (see `tier0.client.wire.encode`).
            model: its name, where the service has several.
            timeout: total for this call.

        Raises:
            ClientError: one of its kinds; see `tier0.client.errors`.
        """
        start = self._clock()
        if self._tracer is None:
            self._bind()
            self._refuse_while_open(model)
        contract = self.contract
        body, rows = encode(data, contract)
        route = "predict" if contract is None else contract.route.lstrip("/")
        answer = await self._call(
            "POST",
            route,
            model,
            timeout,
            body,
            lambda content: decode_prediction(content, rows, contract),
            rows,
            start,
        )
        if answer.get("latency_ms") is None:
            answer["latency_ms"] = (
                self._clock() - start
            ) * 1000  # the whole call, where the service does not say
        return answer

    async def predict_batch(
        self, rows: Any, *, model: str | None = None, timeout: float | None = None
    ) -> Prediction:
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
            async with asyncio.timeout(HEALTH_TIMEOUT), bound.health_slots[self._service(model)]:
                response = await self._ask_health(bound.health, model)
        except TimeoutError:
            return {"status": "unhealthy", "reason": f"no answer within {HEALTH_TIMEOUT:g} s"}
        except BROKEN as problem:
            return {"status": "unhealthy", "reason": _describe(problem)}
        return {"latency_ms": (self._clock() - start) * 1000, **_health_of(response)}

    async def _ask_health(self, http: httpx.AsyncClient, model: str | None) -> httpx.Response:
        """Ask the health route, which is a POST where it is an API of BentoML's; a service of another style at least whether it is ready."""

        async def ask(method: str, url: str, **body: Any) -> httpx.Response:
            if self._closed:
                raise ClientUsageError("the client was closed while this health check waited.")
            return await http.request(method, url, **body)

        url = self._url(model, "health" if self.contract is None else self.contract.health.lstrip("/"))
        response = await ask("GET", url)
        if response.status_code == METHOD_NOT_ALLOWED:
            response = await ask("POST", url, json={})
        is_whole_service = model is None or model in self._model_endpoints
        if is_whole_service and response.status_code in ABSENT:
            response = await ask("GET", f"{self._service(model)}/readyz")
        return response

    def circuit_state(self, model: str | None = None) -> State:
        """Return the state of the model's circuit."""
        circuit = self._circuits.get(self._url(model, ""))
        return "closed" if circuit is None else circuit.breaker.state

    async def close(self) -> None:
        """Close all connections, and flush the tracer, for at most 2 s; calls after this are errors.

        Raises:
            ClientUsageError: the client belongs to another event loop, which may still use it.
        """
        bound = self._bound
        if bound is not None and bound.loop.is_closed():
            bound = None  # and its sockets with it
        if bound is not None and bound.loop is not asyncio.get_running_loop():
            raise ClientUsageError("the client belongs to another event loop. Close it there.")
        self._closed, self._bound = True, None
        try:
            if bound is not None:
                await bound.close()
        finally:
            if self._tracer is not None:
                await asyncio.to_thread(self._flush, self._tracer)

    def _flush(self, tracer: Tracer) -> None:
        try:
            if not tracer.flush(FLUSH_TIMEOUT):
                LOG.warning(
                    "the tracer could not send all its traces within %s s; some may be lost", FLUSH_TIMEOUT
                )
        except Exception:  # a tracer of the application's own: whoever closes the client is told, and goes on
            LOG.warning("the tracer could not be flushed: some traces may be lost", exc_info=True)

    async def __aenter__(self) -> Self:
        self._bind()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def _bind(self) -> Connections:
        """Return the connections, which belong to the event loop that runs now."""
        if self._closed:
            raise ClientUsageError("the client is closed. Make a new one.")
        loop = asyncio.get_running_loop()
        if self._bound is None:
            encrypted = any(
                url.startswith("https:") for url in (self._base_url, *self._model_endpoints.values())
            )
            self._bound = Connections(loop, self._knobs.max_connections, encrypted)
        if self._bound.loop is not loop:
            raise ClientUsageError("the client belongs to another event loop. Make one client for each loop.")
        return self._bound

    def _service(self, model: str | None) -> str:
        return self._base_url if model is None else self._model_endpoints.get(model, self._base_url)

    def _url(self, model: str | None, route: str) -> str:
        if model is None:
            return f"{self._base_url}/{route}"
        if not model or model in {".", ".."} or len(model) > MAX_NAME_LENGTH:
            raise InvalidDataError(
                f"model = {model[:MAX_NAME_LENGTH]!r} is no name of a model: give 1 to {MAX_NAME_LENGTH} characters, and not . or .."
            )
        if model in self._model_endpoints:
            return f"{self._model_endpoints[model]}/{route}"
        try:
            return f"{self._base_url}/{quote(model, safe='')}/{route}"
        except UnicodeEncodeError as problem:
            raise InvalidDataError(f"model = {model!r} is no name of a model: {problem}") from problem

    def _circuit(self, url: str) -> _Circuit:
        """Return what is remembered of a model; the one that was used least recently makes room for a new one."""
        circuit = self._circuits.get(url)
        if circuit is None:
            knobs = self._knobs
            breaker = CircuitBreaker(
                failure_threshold=knobs.failure_threshold,
                reset_timeout=knobs.reset_timeout,
                clock=self._clock,
            )
            circuit = self._circuits[url] = _Circuit(breaker)
        self._circuits.move_to_end(url)
        if len(self._circuits) > MAX_CIRCUITS:
            closed = next(
                (
                    known
                    for known, other in self._circuits.items()
                    if other.breaker.state == "closed" and known != url
                ),
                None,
            )
            self._circuits.pop(
                closed or next(iter(self._circuits))
            )  # names that nobody serves must not close a circuit
        return circuit

    async def _call(
        self,
        method: str,
        route: str,
        model: str | None,
        timeout: float | None,
        body: bytes | None,
        decode: Callable[[bytes], Answer],
        rows: int | None = None,
        start: float | None = None,
    ) -> Answer:
        total = self._knobs.timeout if timeout is None else timeout
        if not isinstance(total, (int, float)) or math.isnan(total):
            raise InvalidDataError(f"timeout = {total!r} is no number of seconds")
        circuit = self._circuit(self._url(model, ""))
        call = _Call(
            bound=self._bind(),
            method=method,
            url=self._url(model, route),
            service=self._service(model),
            body=body,
            circuit=circuit,
            deadline=(self._clock() if start is None else start) + total,  # making the body counts
            attempt_timeout=total / 2 if self._knobs.attempt_timeout is None else self._knobs.attempt_timeout,
        )
        circuit.budget = min(BUDGET, circuit.budget + self._knobs.retry_budget)
        if self._tracer is None:
            return await self._ask(call, decode)
        call.trace = CallTrace(
            call.request_id, None, f"/{route}", call.shown, model, rows, time.time(), body=body
        )
        try:
            call.trace.answer = answer = await self._ask(call, decode)
        except BaseException as error:
            self._record(self._tracer, call, call.trace, error)
            raise
        self._record(self._tracer, call, call.trace, None)
        return answer

    def _record(self, tracer: Tracer, call: _Call, trace: CallTrace, error: BaseException | None) -> None:
        trace.ended = max(time.time(), trace.started)
        trace.outcome = outcome_of(error)
        trace.status = trace.attempts[-1].status if trace.attempts else None
        trace.circuit = call.circuit.breaker.state
        try:
            tracer.record(trace)
        except Exception:  # a tracer of the application's own must not take the answer away
            LOG.log(
                logging.DEBUG if self._tracer_failed else logging.WARNING,
                "the tracer failed; the call did not",
                exc_info=True,
            )
            self._tracer_failed = True

    async def _ask(self, call: _Call, decode: Callable[[bytes], Answer]) -> Answer:
        """Send the first request at once, and set up retries only where it failed in a way that may be retried."""
        try:
            return await self._attempt(call, decode)
        except ClientError as error:
            if not self._may_be_retried(error):
                raise
            failed = [error]

        async def attempt() -> Answer:
            if failed:
                raise failed.pop()
            return await self._attempt(call, decode)

        retrying = tenacity.AsyncRetrying(
            sleep=self._sleep,
            retry=tenacity.retry_if_exception(self._may_be_retried),
            wait=self._wait,
            stop=lambda state: self._must_stop(call, state),
            before_sleep=lambda _: call.circuit.pay_retry(),
            reraise=True,
        )
        return await retrying(attempt)

    def _may_be_retried(self, error: BaseException) -> bool:
        if isinstance(error, TransportError) and isinstance(error.__cause__, httpx.ConnectError):
            return True
        if isinstance(error, ServiceFailedError) and error.status in NOT_RETRIED:
            return False
        return self._knobs.idempotent and isinstance(error, RETRIED)

    def _wait(self, state: tenacity.RetryCallState) -> float:
        """Full jitter (Brooker, "Exponential Backoff and Jitter", 2015), and Retry-After as a floor."""
        limit = min(self._knobs.backoff_max, self._knobs.backoff_base * 2 ** (state.attempt_number - 1))
        return float(max(self._rng() * limit, _error_of(state).retry_after or 0.0))

    def _must_stop(self, call: _Call, state: tenacity.RetryCallState) -> bool:
        no_time = self._clock() + state.upcoming_sleep >= call.deadline
        refused = call.refused or call.circuit.breaker.state == "open"
        return (
            refused or no_time or state.attempt_number >= self._knobs.max_attempts or call.circuit.budget < 1
        )

    def _refuse_closed(self, call: _Call) -> None:
        if self._closed:
            raise ClientUsageError(
                "the client was closed while this call waited.",
                request_id=call.request_id,
                attempts=call.attempts,
            )

    async def _attempt(self, call: _Call, decode: Callable[[bytes], Answer]) -> Answer:
        self._refuse_closed(call)
        call.ask(
            call.circuit.breaker.refuse_while_open
        )  # whoever is refused anyway need not wait for a connection
        try:
            call.waited_for_slot |= await call.bound.take_slot(call.service, call.deadline - self._clock())
        except TimeoutError:
            if call.last_error is not None:
                raise call.last_error from None
            raise PoolSaturatedError(
                f"all {self._knobs.max_connections} connections of this client to {call.shown} were busy until the call's time was over",
                request_id=call.request_id,
            ) from None
        try:
            self._refuse_closed(call)
            if self._clock() >= call.deadline:
                message = f"nothing was left of the time for {call.shown}"
                raise call.last_error or TimedOutError(message, request_id=call.request_id)
            permit = call.ask(call.circuit.breaker.acquire)
            try:
                answer = await (self._send if call.trace is None else self._send_traced)(call, permit, decode)
            except ClientError as error:
                call.last_error = error
                raise
            finally:
                permit.release()
        finally:
            call.bound.slots[call.service].release()
        return answer

    def _headers(self, call: _Call) -> tuple[dict[str, str], AttemptSpan | None]:
        """Return the headers of an attempt, and the attempt in the application's own trace, where it has one."""
        headers = {"X-Request-ID": call.request_id}
        if call.body is not None:
            headers["Content-Type"] = "application/json"
        if self._begin_span is None:
            self._begin_span = find_opentelemetry()  # the application may have begun to trace since
        span = self._begin_span(headers, call.as_attributes) if self._begin_span is not None else None
        if span is None:
            span_id = new_span_id()
            headers[TRACEPARENT] = f"00-{call.request_id}-{span_id}-{'00' if call.trace is None else '01'}"
        else:
            span_id = span.span_id
        if call.trace is not None:
            call.trace.parent_id = None if span is None else span.trace_id
            call.trace.attempts[-1].span_id = span_id
        return headers, span

    def _refuse_while_open(self, model: str | None) -> None:
        """Reject a call before anything is done for it, so that it costs next to nothing."""
        try:
            self._circuit(self._url(model, "")).breaker.refuse_while_open()
        except CircuitOpenError as rejection:
            rejection.request_id = new_trace_id()
            raise

    async def _send_traced(self, call: _Call, permit: Permit, decode: Callable[[bytes], Answer]) -> Answer:
        attempt = Attempt("", time.time())
        cast("CallTrace", call.trace).attempts.append(attempt)
        try:
            return await self._send(call, permit, decode)
        except BaseException as error:
            attempt.outcome = outcome_of(error)
            raise
        finally:
            attempt.status = call.status
            attempt.ended = max(time.time(), attempt.started)

    async def _send(self, call: _Call, permit: Permit, decode: Callable[[bytes], Answer]) -> Answer:
        """Send one request, and tell the application's own trace of it."""
        call.attempts += 1
        headers, span = self._headers(call)
        if span is None:
            return await self._exchange(call, permit, decode, headers)
        try:
            with span.current():
                answer = await self._exchange(call, permit, decode, headers)
        except BaseException as error:
            span.end(call.status, error)
            raise
        span.end(call.status, None)
        return answer

    async def _exchange(
        self, call: _Call, permit: Permit, decode: Callable[[bytes], Answer], headers: dict[str, str]
    ) -> Answer:
        """Send one request, and settle its permit by what came of it."""
        start = self._clock()
        limit = min(call.attempt_timeout, call.deadline - start)
        had_its_time = (
            limit >= call.attempt_timeout or not call.waited_for_slot
        )  # else our own pool took what it lacked
        facts: dict[str, Any] = {"attempts": call.attempts, "request_id": call.request_id}
        call.status = None
        try:
            async with asyncio.timeout(limit):
                response = await call.bound.send(call.method, call.url, call.body, headers)
            call.status = response.status_code
            if call.status in OK:
                answer = decode(response.content)
                if (
                    self._clock() - start > limit
                ):  # reading it holds the event loop, so that no timer can end it
                    raise TimeoutError  # noqa: TRY301
        except asyncio.CancelledError:
            if had_its_time and self._clock() - start >= GIVES_UP_LATE * limit:
                permit.fail()
            raise
        except TimeoutError as problem:
            if had_its_time:
                permit.fail()
            raise TimedOutError(
                f"{call.shown} gave no whole answer within {limit:.2f} s", **facts
            ) from problem
        except BROKEN as problem:
            permit.fail()
            raise TransportError(f"{call.shown}: {_describe(problem)}", **facts) from problem
        except InvalidAnswerError as error:
            permit.fail()
            raise InvalidAnswerError(f"{call.shown}: {error}", status=call.status, **facts) from None
        if call.status in OK:
            permit.succeed()
            return answer
        raise _refusal(call.shown, response, permit, facts)


@dataclass
class _Circuit:
    """What is remembered of one model: one that fails spends no retries of another."""

    breaker: CircuitBreaker
    budget: float = BUDGET

    def pay_retry(self) -> None:
        self.budget -= 1


@dataclass
class _Call:
    """One call: all its attempts share an id, a deadline and a circuit."""

    bound: Connections
    method: str
    url: str
    service: str
    body: bytes | None
    circuit: _Circuit
    deadline: float
    attempt_timeout: float
    request_id: str = field(default_factory=new_trace_id)
    attempts: int = 0
    status: int | None = None
    waited_for_slot: bool = False
    last_error: ClientError | None = None
    refused: bool = False
    trace: CallTrace | None = None

    def ask(self, breaker: Callable[[], Answer]) -> Answer:
        """Ask the breaker; if it refuses, that ends the call, with what came of its own last attempt where it sent any."""
        try:
            return breaker()
        except CircuitOpenError as rejection:
            self.refused = True
            if self.last_error is not None:
                raise self.last_error from None
            rejection.request_id = self.request_id
            raise

    @property
    def shown(self) -> str:
        """The address, as it may be shown."""
        return without_credentials(self.url)

    def as_attributes(self) -> dict[str, Any]:
        """Describe the next attempt as OpenTelemetry's semantic conventions for HTTP clients do, version 1.23."""
        return {
            "http.request.method": self.method,
            "http.request.resend_count": self.attempts - 1,
            **_described(self.url),
        }


@lru_cache(maxsize=256)
def _described(address: str) -> dict[str, Any]:
    url = httpx.URL(address)
    port = url.port or (443 if url.scheme == "https" else 80)
    return {"url.full": without_credentials(address), "server.address": url.host, "server.port": port}


def _error_of(state: tenacity.RetryCallState) -> ClientError:
    error = state.outcome.exception() if state.outcome is not None else None
    return error if isinstance(error, ClientError) else ClientError("")


def _refusal(url: str, response: httpx.Response, permit: Permit, facts: dict[str, Any]) -> ClientError:
    """Return the error for an answer that is not 2xx, and settle the permit: only 5xx is the service's fault."""
    status = response.status_code
    said = server_message(response.content)
    facts = {
        **facts,
        "status": status,
        "server_message": said,
        "retry_after": parse_retry_after(response.headers.get("Retry-After")),
    }
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
        return {
            **facts,
            "status": "unhealthy",
            "reason": f"answered {response.status_code}: {server_message(response.content)}",
        }
    said = str(facts.get("status", "healthy")).lower()
    if said not in {"healthy", "ok", "ready", "up", "pass"}:
        return {**facts, "status": "unhealthy", "reason": f"says that it is {said}"}
    return {**facts, "status": "healthy"}


def _describe(problem: Exception) -> str:
    return f"{type(problem).__name__}{f' ({problem})' if str(problem) else ''}"
