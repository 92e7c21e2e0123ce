"""The asynchronous client of a model that BentoML serves."""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from tier0.client.call import OK, Call, CallPolicy, Request
from tier0.client.circuits import Circuits
from tier0.client.connections import Connections, import_late_imports
from tier0.client.endpoints import Endpoints
from tier0.client.errors import (
    CallerError,
    CircuitOpenError,
    ClientError,
    ClientUsageError,
    InvalidAnswerError,
    InvalidDataError,
    TimedOutError,
)
from tier0.client.events import Reporter
from tier0.client.health import check_health
from tier0.client.options import ClientOptions
from tier0.client.tracing import CallTrace, SafeTracer, find_opentelemetry, new_trace_id, outcome_of
from tier0.client.wire import Prediction, decode_mapping, decode_page, decode_prediction, encode

if TYPE_CHECKING:
    from tier0.client.breaker import State
    from tier0.client.events import ClientEvent
    from tier0.client.tracing import BeginSpan, Tracer
    from tier0.contract.contract import Contract
    from tier0.contract.protocols import Page

FLUSH_TIMEOUT = 1.8
SCHEMA_TIMEOUT = 10.0
Result = TypeVar("Result")


class BentoMLClient:
    """Client of models that BentoML serves, with deadlines, retries and a circuit breaker for each model.

    Times are in seconds. A client belongs to the event loop that first uses it. The value of an argument that
    is omitted is taken from the environment (``TIER0_CLIENT_TIMEOUT`` and so on, and
    ``TIER0_CLIENT_MODEL_ENDPOINTS`` as ``name=URL,name=URL``), or else is the default that is given here.

    Args:
        base_url: URL of the service; by default the value of ``BENTOML_SERVICE_URL``.
        timeout: total time of a call, including retries and waiting; 10.
        attempt_timeout: time of one request, from connecting to the last byte of the response. By default
            half of the total, so that a request that hangs can be retried.
        max_attempts: requests that one call may send; 3.
        backoff_base: the wait before retry n is drawn from 0 to ``backoff_base * 2**(n-1)``, but at most
            *backoff_max*; 0.1.
        backoff_max: upper limit of that range; 5.
        retry_budget: retries that each call adds to a budget of at most 10, which is full at first; 0.2.
        failure_threshold: consecutive failures that open the circuit of a model; 5.
        reset_timeout: time for which a circuit stays open; 30.
        max_connections: connections to each service, besides those for health checks; 20.
        max_response_bytes: size of a response body, in bytes, after decompression; 32 MiB. A larger one
            is not read to its end, and counts as a failure of the service.
        model_endpoints: model name to base URL, for models that are not served under *base_url*.
        contract: routes and format of the services, if they differ from Tier0's; see also `for_service`.
        tracer: records each call when it has ended, e.g. `tier0.client.opik_tracer.OpikTracer`. Closing the
            client flushes the tracer but does not close it.
        on_event: called with a `tier0.client.ClientEvent` at each retry, change of a circuit's state and
            rejected call, e.g. to count them. It must not block. Its first error is logged, and does not
            affect the call.
        idempotent: whether a request may be sent twice. If False, a request that the service may have
            received is not retried. True.
        clock: monotonic clock.
        sleep: waits between attempts.
        rng: returns random numbers from 0 to 1, for the backoff.

    Raises:
        ValueError: an argument or an environment variable is invalid.
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
        max_response_bytes: int | None = None,
        model_endpoints: Mapping[str, str] | None = None,
        contract: Contract | None = None,
        tracer: Tracer | None = None,
        on_event: Callable[[ClientEvent], object] | None = None,
        idempotent: bool | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        rng: Callable[[], float] = random.random,
    ) -> None:
        self._options = ClientOptions.resolve(
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
                "max_response_bytes": max_response_bytes,
                "idempotent": idempotent,
            }
        )
        self._endpoints = Endpoints.resolve(base_url, model_endpoints)
        self._policy = CallPolicy(self._options, clock, sleep, rng)
        self._clock = clock
        self._circuits = Circuits(self._options, clock, Reporter(on_event))
        self._connections: Connections | None = None
        self._closed = False
        self._tracer = None if tracer is None else SafeTracer(tracer)
        self._begin_span: BeginSpan | None = find_opentelemetry()
        self.contract = contract
        import_late_imports()

    @classmethod
    async def for_service(
        cls, base_url: str | None = None, *, declared: Mapping[str, Any] | None = None, **options: Any
    ) -> Self:
        """Return a client for a service of any style and protocol, by its own description.

        That is BentoML's ``/schema.json``, OpenAPI, or the routes of another protocol (see
        `tier0.contract.protocols`).

        Args:
            base_url: as for the class.
            declared: what the description does not state, e.g. ``{"route": "/classify", "predictions":
                "labels"}`` or ``{"protocol": "v2"}``; see `tier0.contract.contract`.
            options: as for the class.

        Raises:
            ContractError: description and declaration are not sufficient; the message states what to declare.
            ClientError: no description can be read.
        """
        from tier0.contract.contract import check_declared  # noqa: PLC0415 - only needed by this method
        from tier0.contract.service_schema import contract_of  # noqa: PLC0415 - as above

        declared = check_declared(declared or {})
        wanted = declared.pop("protocol", None)
        async with cls(base_url, **{**options, "tracer": None}) as client:
            try:
                async with asyncio.timeout(SCHEMA_TIMEOUT):
                    described, is_bentoml = await client._describe(declared, wanted)
            except TimeoutError:
                raise TimedOutError(
                    f"{client._endpoints.url(None, '')}: no description within {SCHEMA_TIMEOUT:g} s"
                ) from None
        return cls(base_url, contract=contract_of(described, declared, is_bentoml=is_bentoml), **options)

    async def _describe(self, declared: Mapping[str, Any], wanted: str | None) -> tuple[Any, bool]:
        """Return the description of the service, or None, and whether the service is BentoML's.

        Raises:
            ContractError: description and declaration are not sufficient.
            ClientError: no description can be read.
        """
        from tier0.contract.protocols import Server, find_protocol  # noqa: PLC0415 - only needed by `for_service`
        from tier0.contract.service_schema import describe, needs_description  # noqa: PLC0415 - as above

        try:
            if wanted not in {None, "bentoml"}:
                return await find_protocol(Server(self._fetch, declared), wanted), True
            schema = await self._call("GET", "schema.json", decode_mapping, timeout=SCHEMA_TIMEOUT)
            return describe(schema, declared), True
        except (CallerError, InvalidAnswerError) as problem:  # such as 404: the service is not BentoML's
            failure = problem.with_traceback(None)  # which would keep the response in memory
        described = None if wanted else await find_protocol(Server(self._fetch, declared))
        if described is None and needs_description(declared):
            raise failure
        return described, False

    async def _fetch(self, method: str, route: str) -> Page:
        """Request a description of the service; an error is a page without content."""
        from tier0.contract.protocols import OK, Page  # noqa: PLC0415 - only needed by `for_service`

        body = b"{}" if method == "POST" else None
        try:
            content = await self._call(
                method, route.lstrip("/"), decode_page, timeout=SCHEMA_TIMEOUT, body=body
            )
        except ClientError:
            return Page(0, None)
        return Page(OK, content)

    async def predict(
        self, data: Any, *, model: str | None = None, timeout: float | None = None
    ) -> Prediction:
        """Return the predictions for some rows.

        Args:
            data: rows, records, an array, a DataFrame, or a complete body (see `tier0.client.wire.encode`).
            model: name of the model, if the service has several.
            timeout: total time of this call.

        Raises:
            ClientError: the call failed; see the classes in `tier0.client.errors`.
        """
        start = self._clock()
        if self._tracer is None:
            self._bind()
            self._raise_if_open(model)
        contract = self.contract
        body, rows = encode(data, contract)
        prediction = await self._call(
            "POST" if contract is None else contract.method,
            "predict" if contract is None else contract.route.lstrip("/"),
            lambda content: decode_prediction(content, rows, contract),
            model=model,
            timeout=timeout,
            body=body,
            rows=rows,
            start=start,
            contract=contract,
        )
        if prediction.get("latency_ms") is None:
            prediction["latency_ms"] = (self._clock() - start) * 1000
        return prediction

    async def predict_batch(
        self, rows: Any, *, model: str | None = None, timeout: float | None = None
    ) -> Prediction:
        """Return the predictions for many rows or records, which are sent in one request, as by `predict`."""
        return await self.predict(rows, model=model, timeout=timeout)

    async def model_info(self, model: str | None = None) -> dict[str, Any]:
        """Return the service's description of a model, with its inputs and outputs."""
        return await self._call("GET", "model_info", decode_mapping, model=model)

    async def health_check(self, model: str | None = None) -> dict[str, Any]:
        """Check the health of a service within 2 s, on connections reserved for health checks.

        A failed check does not raise an error.

        Returns:
            ``status`` (``healthy`` or ``unhealthy``), ``reason`` if unhealthy, and the content of the
            response.
        """
        connections = self._bind()
        route = "health" if self.contract is None else self.contract.health.lstrip("/")
        url = self._endpoints.url(model, route)
        service = self._endpoints.service(model)
        is_only_model = model is None or model in self._endpoints.models
        ready_url = f"{service}/readyz" if is_only_model else None
        return await check_health(connections, service, url, ready_url, self._clock)

    def circuit_state(self, model: str | None = None) -> State:
        """Return the state of the model's circuit."""
        return self._circuits.state(self._endpoints.url(model, ""))

    async def close(self) -> None:
        """Close all connections, and flush the tracer for at most 2 s; later calls raise ClientUsageError.

        Raises:
            ClientUsageError: the client belongs to another event loop, which may still use it.
        """
        connections = self._connections
        if connections is not None and connections.loop.is_closed():
            connections = None  # its sockets were closed with the loop
        if connections is not None and connections.loop is not asyncio.get_running_loop():
            raise ClientUsageError("the client belongs to another event loop: close it there")
        self._closed, self._connections = True, None
        try:
            if connections is not None:
                await connections.close()
        finally:
            if self._tracer is not None:
                await asyncio.to_thread(self._tracer.flush, FLUSH_TIMEOUT)

    async def __aenter__(self) -> Self:
        self._bind()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def _bind(self) -> Connections:
        """Return the connections; the first use binds the client to the running event loop."""
        if self._closed:
            raise ClientUsageError("the client is closed: create a new one")
        loop = asyncio.get_running_loop()
        if self._connections is None:
            self._connections = Connections(
                loop,
                self._options.max_connections,
                self._endpoints.urls,
                self._options.max_response_bytes,
            )
        if self._connections.loop is not loop:
            raise ClientUsageError(
                "the client belongs to another event loop: create one client for each loop"
            )
        return self._connections

    def _raise_if_open(self, model: str | None) -> None:
        """Reject a call before its body is encoded, so that a rejection takes almost no time."""
        circuit = self._circuits.get(self._endpoints.url(model, ""), model)
        try:
            circuit.breaker.raise_if_open()
        except CircuitOpenError as rejection:
            rejection.request_id = new_trace_id()
            circuit.events.reject(rejection)
            raise

    async def _call(
        self,
        method: str,
        route: str,
        decode: Callable[[bytes], Result],
        *,
        model: str | None = None,
        timeout: float | None = None,
        body: bytes | None = None,
        rows: int | None = None,
        start: float | None = None,
        contract: Contract | None = None,
    ) -> Result:
        """Make one call, and record it if the client has a tracer.

        Args:
            method: HTTP method.
            route: path below the model.
            decode: returns the content of a 2xx response, or raises InvalidAnswerError.
            model: name of the model.
            timeout: total time of the call; by default that of the client.
            body: JSON to send.
            rows: number of rows in *body*, for the trace.
            start: time by the clock from which *timeout* counts; by default now.
            contract: the contract of a request for predictions, with its headers and statuses.
        """
        total = self._options.timeout if timeout is None else timeout
        if not isinstance(total, (int, float)) or math.isnan(total):
            raise InvalidDataError(f"timeout must be a number of seconds, got {total!r}")
        if self._begin_span is None:
            self._begin_span = (
                find_opentelemetry()
            )  # the application may have imported it since the last call
        endpoints, attempt_timeout = self._endpoints, self._options.attempt_timeout
        circuit = self._circuits.get(endpoints.url(model, ""), model)
        request = Request(method, endpoints.url(model, route), endpoints.service(model), body, decode)
        if contract is not None:
            request.headers = {**contract.headers, "Content-Type": contract.content_type}
            request.accepted = contract.statuses or OK
        call = Call(
            request,
            self._policy,
            self._bind(),
            circuit,
            deadline=(self._clock() if start is None else start) + total,
            attempt_timeout=total / 2 if attempt_timeout is None else attempt_timeout,
            begin_span=self._begin_span,
            sampled=self._tracer is not None,
        )
        circuit.add_to_budget(self._options.retry_budget)
        if self._tracer is None:
            return await call.run()
        trace = CallTrace(
            call.request_id,
            None,
            f"/{route}",
            call.request.shown_url,
            model,
            rows,
            time.time(),
            attempts=call.attempts,
            body=body,
        )
        return await _run_traced(call, trace, self._tracer)


async def _run_traced(call: Call[Result], trace: CallTrace, tracer: SafeTracer) -> Result:
    """Make a call, and record it whatever its outcome."""
    try:
        trace.answer = result = await call.run()
    except BaseException as error:
        trace.outcome = outcome_of(error)
        raise
    finally:
        trace.ended = max(time.time(), trace.started)
        trace.parent_id = call.parent_trace_id
        trace.status = call.attempts[-1].status if call.attempts else None
        trace.circuit = call.circuit.breaker.state
        tracer.record(trace)
    return result
