"""One layer in the place of those that BentoML puts around each request: it does the same, for a fraction of the work.

Metrics and lines of the access log are the same ones, and are written once per turn of the event loop, for all whose answer was ready in
it. OpenTelemetry's layer collects what nobody reads unless something exports it; then it stays. The time limit's keeps 20 objects of
each request for five seconds, and made garbage collections take a tenth of a second, in the middle of some request. Together they were
half of what a request cost.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from bisect import bisect_left
from collections import Counter
from contextvars import Context
from copy import copy
from itertools import dropwhile, takewhile
from typing import TYPE_CHECKING, Any

from bentoml._internal.configuration.containers import BentoMLContainer
from bentoml._internal.context import server_context, trace_context
from bentoml._internal.log import TRACED_LOG_FORMAT, TraceRecordFilter
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
METRICS, TRACE, ACCESS, LIMIT = (
    "RunnerTrafficMetricsMiddleware",
    "OpenTelemetryMiddleware",
    "AccessLogMiddleware",
    "TimeoutMiddleware",
)
MAX_REMEMBERED = 1000


def iter_middleware(outer: Any) -> Iterator[tuple[Any, Any]]:
    """Go from layer to layer of a Starlette application's middleware, inwards: each with the one around it, whose ``app`` it is."""
    while (layer := getattr(outer, "app", None)) is not None:
        yield outer, layer
        outer = outer.app


def replace_middleware(stack: Any) -> None:
    """Exchange BentoML's layers in a Starlette application's *stack* of middleware, in place.

    Only those that stand next to each other, so that nothing that stands between them is left out.
    """

    def is_bentomls(pair: tuple[Any, Any]) -> bool:
        return type(pair[1]).__name__ in {METRICS, TRACE, ACCESS, LIMIT}

    found = list(
        takewhile(is_bentomls, dropwhile(lambda pair: not is_bentomls(pair), iter_middleware(stack)))
    )
    if not found:
        return
    outer, first, inner = *found[0], found[-1][1].app
    layers = {type(layer).__name__: layer for _, layer in found}
    trace_layer = layers.get(TRACE)
    is_silent = trace_layer is not None and _has_no_exporter(trace_layer.tracer)
    if trace_layer is not None and not is_silent:
        outer.app = outer = copy(trace_layer)
    outer.app = _CombinedMiddleware(
        inner,
        first,
        _TraceContext(trace_layer) if is_silent else None,
        _Metrics(layers[METRICS]) if METRICS in layers else None,
        _AccessLog(layers[ACCESS]) if ACCESS in layers else None,
        _TimeLimit(layers[LIMIT].timeout if LIMIT in layers else math.inf),
    )
    uvicorn = logging.getLogger("uvicorn.access")
    uvicorn.propagate = uvicorn.isEnabledFor(
        logging.INFO
    )  # else it puts together a line for every request that no level lets through


class _CombinedMiddleware:
    """Counts, names, limits and logs each HTTP request; what is None is not done, or by a layer further out.

    Anything else goes through BentoML's own layers, of which *theirs* is the first.
    """

    def __init__(
        self,
        app: App,
        theirs: App,
        ids: _TraceContext | None,
        metrics: _Metrics | None,
        log: _AccessLog | None,
        limit: _TimeLimit,
    ) -> None:
        self.app = app
        self.theirs = theirs
        self.ids = ids
        self.metrics = metrics
        self.log = log
        self.limit = limit
        self._is_called = False

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.theirs(scope, receive, send)
            return
        asked = _RequestContext(self, scope, send)
        token = self.ids.enter(scope) if self.ids is not None else None
        if asked.metrics is not None:
            asked.metrics.began(asked.path)
        self.write_soon()
        try:
            self.limit.start(asked)
            await self._answer(asked, receive)
        finally:
            if asked.metrics is not None:
                asked.metrics.ended(asked.path)
            self.write_soon()
            if token is not None:
                context.detach(token)

    async def _answer(self, asked: _RequestContext, receive: Receive) -> None:
        cancelled = asked.task.cancelling()
        try:
            await self.app(asked.scope, receive, asked.limited)
        except asyncio.CancelledError:
            if not asked.is_late:
                raise
            if asked.task.cancelling() > cancelled + 1:  # somebody else gave it up, too
                asked.task.uncancel()
                raise
        except Exception:
            if not asked.is_late:
                raise
            LOG.exception("what was given up after %s seconds failed", self.limit.timeout)
        finally:
            self.limit.end(asked)
        if asked.is_late:
            asked.task.uncancel()
            late = JSONResponse(
                {"error": f"Not able to process the request in {self.limit.timeout} seconds"}, 504
            )
            await late(asked.scope, receive, asked.told)

    def write_soon(self) -> None:
        """Write what was counted and logged when all who are ready have had their turn."""
        if not self._is_called:
            self._is_called = True
            asyncio.get_running_loop().call_soon(self._write, context=Context())

    def _write(self) -> None:
        self._is_called = False
        if self.log is not None:
            self.log.write()
        if self.metrics is not None:
            self.metrics.write()


class _RequestContext:
    """A request, and what has been answered so far."""

    __slots__ = (
        "_around",
        "_head",
        "_send",
        "_status",
        "is_late",
        "metrics",
        "path",
        "scope",
        "start",
        "task",
    )

    def __init__(self, around: _CombinedMiddleware, scope: Message, send: Send) -> None:
        self.scope = scope
        self.path: str = scope["path"]
        self.start = time.monotonic()
        self.task: asyncio.Task[Any] = asyncio.current_task()  # type: ignore[assignment]  # we are in one
        self.is_late = False
        self.metrics = None if self.path == "/metrics" else around.metrics
        self._around = around
        self._send = send
        self._status = 0
        self._head: Any = ()

    async def limited(self, message: Message) -> None:
        """Tell the caller, unless it has been told that it is too late."""
        if not self.is_late:
            self._around.limit.end(self)
            await self.told(message)

    async def told(self, message: Message) -> None:
        kind = message["type"]
        if kind == "http.response.start":
            self._status = message["status"]
            self._head = message.get("headers", ())
            await self._send(message)
        elif kind == "http.response.body" and not message.get("more_body"):
            seconds = time.monotonic() - self.start
            if self.metrics is not None:
                self.metrics.answered(self.path, self._status, seconds)
                if (
                    self._around.limit.is_idle()
                ):  # whoever asks alone finds it counted, also by another worker
                    self.metrics.write()
            await self._send(message)
            log = self._around.log
            if log is not None and not self.path.startswith(log.skips):
                log.add(self.scope, self._status, self._head, seconds)
                self._around.write_soon()
        else:
            await self._send(message)


class _TimeLimit:
    """Answers 504 when nothing was answered within *timeout* seconds. One timer serves all: each may take equally long."""

    def __init__(self, timeout: float) -> None:
        self.timeout = timeout
        self._running: dict[_RequestContext, None] = {}
        self._timer: asyncio.TimerHandle | None = None

    def start(self, asked: _RequestContext) -> None:
        self._running[asked] = None
        if self._timer is None and self.timeout < math.inf:
            self._set_timer(self.timeout)

    def end(self, asked: _RequestContext) -> None:
        self._running.pop(asked, None)

    def is_idle(self) -> bool:
        """Tell whether everybody who has asked is being answered."""
        return not self._running

    def _set_timer(self, seconds: float) -> None:
        self._timer = asyncio.get_running_loop().call_later(
            seconds, self._give_up, context=Context()
        )  # which keeps nothing of a request

    def _give_up(self) -> None:
        self._timer = None
        now = time.monotonic()
        for asked in list(self._running):  # the oldest first
            rest = asked.start + self.timeout - now
            if rest > 0:
                self._set_timer(rest)
                return
            del self._running[asked]
            asked.is_late = True
            asked.task.cancel()


class _Metrics:
    """BentoML's metrics of requests; every change of one writes into a file that the workers share."""

    def __init__(self, layer: Any) -> None:
        self._layer = layer
        self._skips = tuple(layer.skip_paths)
        self._changes: Counter[str] = Counter()
        self._answered: dict[tuple[str, int], list[float]] = {}
        self._last = 0.0
        self._remembered: dict[tuple[Any, ...], Any] = {}

    def began(self, path: str) -> None:
        self._changes[path] += 1
        if not path.startswith(self._skips):
            self._last = time.time()

    def answered(self, path: str, status: int, seconds: float) -> None:
        self._answered.setdefault((path, status), []).append(seconds)

    def ended(self, path: str) -> None:
        self._changes[path] -= 1

    def write(self) -> None:
        last, changes, answered = self._last, self._changes, self._answered
        self._last, self._changes, self._answered = 0.0, Counter(), {}
        layer = self._layer
        try:
            if last:
                self._of(layer.metrics_last_request_timestamp).set(last)
            for path, change in changes.items():
                self._of(layer.metrics_request_in_progress, endpoint=path).inc(change)
            for (path, status), seconds in answered.items():
                self._of(layer.metrics_request_total, endpoint=path, http_response_code=status).inc(
                    len(seconds)
                )
                observe(
                    self._of(layer.metrics_request_duration, endpoint=path, http_response_code=status),
                    seconds,
                )
        except Exception:  # such as a disk that is full: a prediction is worth more than its count
            LOG.exception("the metrics could not be written")

    def _of(self, metric: Any, **labels: Any) -> Any:
        """Return what a metric's labels lead to, which costs as much as counting does."""
        key = (metric, *labels.values())
        child = self._remembered.get(key)
        if child is None:
            service = {
                "service_name": server_context.bento_name,
                "service_version": server_context.bento_version,
            }
            child = metric.labels(**service, **labels, runner_name=server_context.service_name)
            if len(self._remembered) < MAX_REMEMBERED:  # paths that nobody serves are endless
                self._remembered[key] = child
        return child


def observe(histogram: Any, amounts: list[float]) -> None:
    """Put all *amounts* into a histogram of prometheus_client: what its own ``observe`` does for one of them."""
    for bucket, number in Counter(bisect_left(histogram._upper_bounds, amount) for amount in amounts).items():  # noqa: SLF001
        histogram._buckets[bucket].inc(number)  # noqa: SLF001
    histogram._sum.inc(sum(amounts))  # noqa: SLF001


class _AccessLog:
    """Lines of BentoML's access log. By the logging module each costs three times what the model does."""

    def __init__(self, layer: Any) -> None:
        self._layer = layer
        self.skips = tuple(layer.skip_paths)
        self._handler = _only_handler(layer.logger)
        self._lines: list[str] = []
        self._second, self._beginning = 0, ""
        formats = BentoMLContainer.logging_formatting.get()
        self._ids = f" (trace={{:{formats['trace_id']}}},span={{:{formats['span_id']}}},sampled={{:d}},service.name={{}})"

    def add(self, scope: Message, status: int, headers: Any, seconds: float) -> None:
        layer, client = self._layer, scope.get("client")
        if not layer.logger.isEnabledFor(logging.INFO):
            return
        address = f"{client[0]}:{client[1]}" if client else "_"
        asked = f"scheme={scope['scheme']},method={scope['method']},path={scope['path']}"
        asked += _described(
            scope["headers"], layer.has_request_content_type, layer.has_request_content_length
        )
        answered = f"status={status}" + _described(
            headers, layer.has_response_content_type, layer.has_response_content_length
        )
        if self._handler is None:
            layer.logger.info("%s (%s) (%s) %.3fms", address, asked, answered, seconds * 1000)
        else:
            self._lines.append(
                f"{self._begin(self._handler)}{address} ({asked}) ({answered}) {seconds * 1000:.3f}ms{self._end()}\n"
            )

    def _begin(self, handler: logging.Handler) -> str:
        """Return how a line of this second begins, as the handler would write it."""
        second = int(time.time())
        if second != self._second:
            record = self._record("")
            Context().run(handler.filter, record)  # without a trace: its ids end the line
            self._second, self._beginning = second, handler.format(record)
        return self._beginning

    def _end(self) -> str:
        """Return how a line ends that belongs to a trace, as BentoML's TraceRecordFilter has it."""
        span = trace.get_current_span().get_span_context()
        return (
            self._ids.format(
                span.trace_id, span.span_id, span.trace_flags.sampled, trace_context.service_name
            )
            if span.trace_id
            else ""
        )

    def write(self) -> None:
        handler = self._handler
        if handler is None or not self._lines:
            return
        text = "".join(self._lines)
        self._lines.clear()
        handler.acquire()
        try:
            try:
                handler.stream.write(text)
            except UnicodeEncodeError as problem:
                handler.stream.write(
                    text.encode(problem.encoding, "backslashreplace").decode(problem.encoding)
                )
            handler.flush()
        except Exception:  # noqa: BLE001 - a log that cannot be written harms nobody, as with the logging module
            handler.handleError(self._record(text))
        finally:
            handler.release()

    def _record(self, text: str) -> logging.LogRecord:
        logger: logging.Logger = self._layer.logger
        return logger.makeRecord(logger.name, logging.INFO, "", 0, text, (), None)


def _only_handler(logger: logging.Logger) -> logging.StreamHandler[Any] | None:
    """Return the handler that writes what *logger* is told, if there is no other, and it is just as BentoML made it."""
    handlers: list[logging.Handler] = []
    asked: logging.Logger | None = logger
    while asked is not None:
        if asked is logger and asked.filters:
            return None
        handlers += asked.handlers
        asked = asked.parent if asked.propagate else None
    if (
        len(handlers) != 1
        or type(handlers[0]) is not logging.StreamHandler
        or handlers[0].level > logging.INFO
    ):
        return None
    formatter, filters = handlers[0].formatter, handlers[0].filters
    as_made = (
        type(formatter) is logging.Formatter
        and formatter._fmt == TRACED_LOG_FORMAT  # noqa: SLF001
        and [type(one) for one in filters] == [TraceRecordFilter]
    )
    return handlers[0] if as_made else None


def _described(headers: Any, with_type: bool, with_length: bool) -> str:  # noqa: FBT001
    content_type = length = b""
    for name, value in headers:
        if name == b"content-type":
            content_type = value
        elif name == b"content-length":
            length = value
    described = f",type={content_type.decode('latin-1')}" if with_type else ""
    return f"{described},length={length.decode('latin-1')}" if with_length else described


def _has_no_exporter(tracer: Any) -> bool:
    """Tell whether what OpenTelemetry's layer collects goes nowhere: no exporter of spans, no metrics of its own, no header for the answer."""
    exporters = getattr(getattr(tracer, "span_processor", None), "_span_processors", None)
    counts = type(get_meter_provider()).__module__.startswith("opentelemetry.sdk")
    return exporters == () and not counts and get_global_response_propagator() is None  # type: ignore[no-untyped-call]


class _Span(trace.NonRecordingSpan):
    """A span that is only its ids; BentoML reads them from its attribute *context*, as a recording span has it."""

    @property
    def context(self) -> trace.SpanContext:
        return self.get_span_context()


class _TraceContext:
    """Continues the caller's trace, so that its id stands in the log, and makes no span that anybody would read.

    OpenTelemetry's middleware collects attributes for a span and for three more, one for each message, before it throws them away.
    """

    def __init__(self, layer: Any) -> None:
        self._told = layer.server_request_hook
        self._new = layer.tracer.id_generator

    def enter(self, scope: Message) -> Any:
        getter: Any = asgi_getter  # it calls for a dict, and ASGI only for a mapping
        carried = propagate.extract(scope, getter=getter)
        parent = trace.get_current_span(carried).get_span_context()
        trace_id = parent.trace_id if parent.is_valid else self._new.generate_trace_id()
        own = trace.SpanContext(
            trace_id,
            self._new.generate_span_id(),
            False,
            parent.trace_flags,
            parent.trace_state,
        )
        span = _Span(own)
        self._told(span, scope)
        return context.attach(trace.set_span_in_context(span, carried))
