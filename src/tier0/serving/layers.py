"""The layers that BentoML puts around each request, with two of them exchanged for cheaper ones that do the same.

Its access log and its metrics stay as they are. Together, the exchanged ones were a quarter of what a request costs, and what one of
them kept in memory made garbage collections take a tenth of a second, in the middle of some request.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from opentelemetry import context, propagate, trace
from opentelemetry.instrumentation.asgi import asgi_getter
from opentelemetry.instrumentation.propagators import get_global_response_propagator
from opentelemetry.metrics import get_meter_provider
from starlette.responses import JSONResponse

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, MutableMapping

    Message = MutableMapping[str, Any]
    Receive = Callable[[], Awaitable[Message]]
    Send = Callable[[Message], Awaitable[None]]
    App = Callable[[Message, Receive, Send], Awaitable[None]]

LOG = logging.getLogger("bentoml.service.tier0")
METRICS = {f"metrics_{name}" for name in ("request_total", "request_duration", "request_in_progress", "last_request_timestamp")}
MOST_REMEMBERED = 1000


def layers_within(outer: Any) -> Iterator[tuple[Any, Any]]:
    """Go from layer to layer of a Starlette application's middleware, inwards: each with the one around it, whose ``app`` it is."""
    while (layer := getattr(outer, "app", None)) is not None:
        yield outer, layer
        outer = outer.app


def lighten(stack: Any) -> None:
    """Exchange layers of a Starlette application's *stack* of middleware, in place; what is not recognised stays as it is."""
    for outer, layer in layers_within(stack):
        name = type(layer).__name__
        if name == "OpenTelemetryMiddleware" and _tells_nobody(layer.tracer):
            outer.app = _TraceIds(layer.app, layer.server_request_hook, layer.tracer.id_generator)
        elif name == "TimeoutMiddleware":
            outer.app = _TimeLimit(layer.app, layer.timeout)
        elif name == "RunnerTrafficMetricsMiddleware":
            for metric in METRICS & vars(layer).keys():
                setattr(layer, metric, _Remembered(getattr(layer, metric)))
    uvicorn = logging.getLogger("uvicorn.access")
    uvicorn.propagate = uvicorn.isEnabledFor(logging.INFO)  # else it puts together a line for every request that no level lets through


class _Remembered:
    """A metric of prometheus_client that remembers where its labels led, and does not compare their names anew for each request."""

    def __init__(self, metric: Any) -> None:
        self._metric = metric
        self._children: dict[tuple[Any, ...], Any] = {}

    def labels(self, **labels: Any) -> Any:
        asked = tuple(labels.values())
        child = self._children.get(asked)
        if child is None:
            child = self._metric.labels(**labels)
            if len(self._children) < MOST_REMEMBERED:  # paths that nobody serves are endless
                self._children[asked] = child
        return child


def _tells_nobody(tracer: Any) -> bool:
    """Tell whether what OpenTelemetry's layer collects goes nowhere: no exporter of spans, no metrics of its own, no header for the answer."""
    exporters = getattr(getattr(tracer, "span_processor", None), "_span_processors", None)
    counts = type(get_meter_provider()).__module__.startswith("opentelemetry.sdk")
    return exporters == () and not counts and get_global_response_propagator() is None  # type: ignore[no-untyped-call]


class _Ids(trace.NonRecordingSpan):
    """A span that is only its ids; BentoML reads them from its attribute *context*, as a recording span has it."""

    @property
    def context(self) -> trace.SpanContext:
        return self.get_span_context()


class _TraceIds:
    """Continues the caller's trace, so that its id stands in the log, and makes no span: nobody would read it.

    OpenTelemetry's middleware collects attributes for a span and for three more, one for each message, before it throws them away.
    """

    def __init__(self, app: App, told: Callable[[Any, Any], None], new: Any) -> None:
        self.app = app
        self._told = told
        self._new = new

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        token = self._continued(scope)
        try:
            await self.app(scope, receive, send)
        finally:
            context.detach(token)

    def _continued(self, scope: Message) -> Any:
        getter: Any = asgi_getter  # it calls for a dict, and ASGI only for a mapping
        carried = propagate.extract(scope, getter=getter)
        parent = trace.get_current_span(carried).get_span_context()
        trace_id = parent.trace_id if parent.is_valid else self._new.generate_trace_id()
        own = trace.SpanContext(trace_id, self._new.generate_span_id(), False, parent.trace_flags, parent.trace_state)  # noqa: FBT003
        span = _Ids(own)
        self._told(span, scope)
        return context.attach(trace.set_span_in_context(span, carried))


class _TimeLimit:
    """Answers 504 when nothing was answered within *timeout* seconds.

    BentoML's own starts a task for each request, and a timer that nobody cancels: it keeps what belongs to the request until its time
    is over.
    """

    def __init__(self, app: App, timeout: float) -> None:
        self.app = app
        self.timeout = timeout

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def started(message: Message) -> None:
            if not limit.expired():  # else its caller has been told that it is too late
                limit.reschedule(None)
                await send(message)

        limit = asyncio.timeout(self.timeout)
        try:
            async with limit:
                await self.app(scope, receive, started)
        except Exception as problem:
            if not limit.expired():
                raise
            if not isinstance(problem, TimeoutError):
                LOG.exception("what was given up after %s seconds failed", self.timeout)
        if limit.expired():  # which it never is once an answer has started
            late = JSONResponse({"error": f"Not able to process the request in {self.timeout} seconds"}, 504)
            await late(scope, receive, send)
