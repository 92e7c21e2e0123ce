"""A middleware that replaces those of BentoML, with the same effect for a fraction of the work.

The metrics and the lines of the access log are the same for the routes of the application; they are written
once per turn of the event loop, for all responses of that turn. What a client chooses is bounded: all other
paths are one label of the metrics, a line of the log is one line of limited length, and a request whose body
does not arrive ends with 408. OpenTelemetry's middleware collects span attributes that are thrown away
unless an exporter is configured; with an exporter, it is kept. The middleware for the time limit keeps 20
objects of each request for five seconds, which made garbage collections take a tenth of a second, in the
middle of some request. Together they took half of a request's time.
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

from opentelemetry import context, propagate, trace
from opentelemetry.instrumentation.asgi import asgi_getter
from opentelemetry.instrumentation.propagators import get_global_response_propagator
from opentelemetry.metrics import get_meter_provider
from starlette.responses import JSONResponse

from tier0.serving.bentoml_internals import (
    ACCESS,
    CONTAINER,
    LIMIT,
    LOG_FILTER,
    LOG_FORMAT,
    METRICS,
    SERVER_CONTEXT,
    TRACE,
    TRACE_CONTEXT,
    get,
    iter_middleware,
)
from tier0.serving.path_labels import UNKNOWN_PATH, PathLabels, is_never_a_path

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, MutableMapping

    Message = MutableMapping[str, Any]
    Receive = Callable[[], Awaitable[Message]]
    Send = Callable[[Message], Awaitable[None]]
    App = Callable[[Message, Receive, Send], Awaitable[None]]

LOG = logging.getLogger("bentoml.service.tier0")
BODY_TIMEOUT = 10.0
"""Seconds in which the body of a request has to arrive; the time limit begins afterwards."""
MAX_LINE = 1000
"""Limit of characters in a line of the access log, beyond which its fields are shortened."""
MAX_FIELD = 200
"""Limit of characters of a field in such a line."""


def replace_middleware(
    stack: Any, is_route: Callable[[str], bool] = lambda _: False, *, body_timeout: float = BODY_TIMEOUT
) -> None:
    """Replace BentoML's middleware in a Starlette application's *stack*, in place.

    Only adjacent ones are replaced, so that other middleware between them still runs.

    Args:
        stack: outermost middleware of the application.
        is_route: returns True for the path of a route in addition to those of the application's router.
        body_timeout: seconds in which the body of a request has to arrive.
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
        _TimeLimit(body_timeout),
        PathLabels(stack, is_route),
    )
    # Otherwise uvicorn formats a line for every request, which its level then discards.
    uvicorn = logging.getLogger("uvicorn.access")
    uvicorn.propagate = uvicorn.isEnabledFor(logging.INFO)
    for name in ("opentelemetry.baggage", "opentelemetry.trace"):
        logging.getLogger(name).setLevel(logging.ERROR)  # a warning for each part of an invalid header


class _CombinedMiddleware:
    """Metrics, trace ids, time limit and access log of each HTTP request.

    Args:
        app: the application inside.
        original: BentoML's own outermost middleware, for everything that is not an HTTP request.
        ids: trace ids; None if OpenTelemetry's own middleware provides them, or none is configured.
        metrics: metrics, or None.
        log: access log, or None.
        limit: time limit of the response.
        body_limit: time limit of the request's body, during which *limit* does not run.
        endpoints: the paths that are labels of metrics.
    """

    def __init__(
        self,
        app: App,
        original: App,
        ids: _TraceContext | None,
        metrics: _Metrics | None,
        log: _AccessLog | None,
        limit: _TimeLimit,
        body_limit: _TimeLimit,
        endpoints: PathLabels,
    ) -> None:
        self.app = app
        self.original = original
        self.ids = ids
        self.metrics = metrics
        self.log = log
        self.limit = limit
        self.body_limit = body_limit
        self.endpoints = endpoints
        self._is_scheduled = False

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if is_never_a_path(scope) or (
            scope["type"] == "websocket" and self.endpoints.label(scope) == UNKNOWN_PATH
        ):
            scope = {**scope, "path": UNKNOWN_PATH}  # it would be a label, and in the log, as it is
        if scope["type"] != "http":
            await self.original(scope, receive, send)
            return
        request = _RequestContext(self, scope, receive, send)
        token = self.ids.enter(scope) if self.ids is not None else None
        if request.metrics is not None:
            request.metrics.request_started(request.endpoint, is_skipped=request.is_skipped)
        self.write_soon()
        try:
            self.limit.start(request)
            await self._respond(request)
        finally:
            if request.metrics is not None:
                request.metrics.request_ended(request.endpoint)
            self.write_soon()
            if token is not None:
                context.detach(token)

    async def _respond(self, request: _RequestContext) -> None:
        cancelled = request.task.cancelling()
        try:
            await self.app(request.scope, request.receive, request.send_in_time)
        except asyncio.CancelledError:
            if not request.is_late:
                raise
            if request.task.cancelling() > cancelled + 1:  # cancelled from outside as well
                request.task.uncancel()
                raise
        except Exception:
            if not request.is_late:
                raise
            LOG.exception("a request that was cancelled after %s seconds failed", request.limit.timeout)
        finally:
            request.limit.end(request)
        if request.is_late:
            request.task.uncancel()
            late = self._late_response(is_unfinished=request.limit is self.body_limit)
            await late(request.scope, request.receive, request.send)

    def _late_response(self, *, is_unfinished: bool) -> JSONResponse:
        """Return the response to a request whose body did not arrive, or whose time limit was exceeded."""
        if not is_unfinished:
            return JSONResponse(
                {"error": f"Not able to process the request in {self.limit.timeout} seconds"}, 504
            )
        problem = f"did not arrive within {self.body_limit.timeout:g} seconds"
        error = {"field": "body", "message": problem, "remedy": "Send the complete body sooner"}
        return JSONResponse({"error": error}, 408, {"Connection": "close"})

    def write_soon(self) -> None:
        """Write metrics and log once, after all callbacks that are ready in this turn of the event loop."""
        if not self._is_scheduled:
            self._is_scheduled = True
            asyncio.get_running_loop().call_soon(self._write, context=Context())

    def _write(self) -> None:
        self._is_scheduled = False
        if self.log is not None:
            self.log.write()
        if self.metrics is not None:
            self.metrics.write()


class _RequestContext:
    """A request, with the status and the headers of its response."""

    __slots__ = (
        "_has_body",
        "_headers",
        "_middleware",
        "_receive",
        "_send",
        "_status",
        "endpoint",
        "is_late",
        "is_skipped",
        "limit",
        "metrics",
        "scope",
        "since",
        "start",
        "task",
    )

    def __init__(self, middleware: _CombinedMiddleware, scope: Message, receive: Receive, send: Send) -> None:
        self.scope = scope
        path: str = scope["path"]
        self.start = self.since = time.monotonic()
        self.task: asyncio.Task[Any] = asyncio.current_task()  # type: ignore[assignment]  # there is one
        self.is_late = False
        self.limit = middleware.limit
        self.metrics = None if path == "/metrics" else middleware.metrics
        self.endpoint = middleware.endpoints.label(scope)
        self.is_skipped = self.metrics is not None and path.startswith(self.metrics.skips)
        self._middleware = middleware
        self._receive = receive
        self._send = send
        self._has_body = False
        self._status = 0
        self._headers: Any = ()

    async def receive(self) -> Message:
        """Receive a message of the client; while it sends the body, the limit for the body applies."""
        if self._has_body or self._status:
            return await self._receive()
        self._limit_by(self._middleware.body_limit)
        message = await self._receive()
        self._has_body = not message.get("more_body")
        if self._has_body:
            self._limit_by(self._middleware.limit)
        return message

    def _limit_by(self, limit: _TimeLimit) -> None:
        if limit is not self.limit and not self.is_late:
            self.limit.end(self)
            self.limit = limit
            self.since = time.monotonic()
            limit.start(self)

    async def send_in_time(self, message: Message) -> None:
        """Send a message of the application, unless the time limit was exceeded and a 504 is sent instead."""
        if not self.is_late:
            self.limit.end(self)
            await self.send(message)

    async def send(self, message: Message) -> None:
        """Send a message to the client; after the last one, count and log the request."""
        kind = message["type"]
        if kind == "http.response.start":
            self._status = message["status"]
            self._headers = message.get("headers", ())
            await self._send(message)
        elif kind == "http.response.body" and not message.get("more_body"):
            seconds = time.monotonic() - self.start
            if self.metrics is not None:
                self.metrics.response_sent(self.endpoint, self._status, seconds)
                # A caller without concurrency then finds its request counted by any worker.
                if self._middleware.limit.is_idle():
                    self.metrics.write()
            await self._send(message)
            log = self._middleware.log
            if log is not None and not self.scope["path"].startswith(log.skips):
                log.add(self.scope, self._status, self._headers, seconds)
                self._middleware.write_soon()
        else:
            await self._send(message)


class _TimeLimit:
    """Time limit after which a request is cancelled and an error is sent, unless its response has begun.

    All requests have the same *timeout* (in seconds), so one timer suffices.
    """

    def __init__(self, timeout: float) -> None:
        self.timeout = timeout
        self._running: dict[_RequestContext, None] = {}
        self._timer: asyncio.TimerHandle | None = None

    def start(self, request: _RequestContext) -> None:
        self._running[request] = None
        if self._timer is None and self.timeout < math.inf:
            self._set_timer(self.timeout)

    def end(self, request: _RequestContext) -> None:
        self._running.pop(request, None)

    def is_idle(self) -> bool:
        """Return True if no request is limited: their responses have begun, or their bodies are arriving."""
        return not self._running

    def _set_timer(self, seconds: float) -> None:
        # An empty context: the timer must not keep objects of a request alive.
        self._timer = asyncio.get_running_loop().call_later(seconds, self._cancel_late, context=Context())

    def _cancel_late(self) -> None:
        self._timer = None
        now = time.monotonic()
        for request in list(self._running):  # the oldest first
            rest = request.since + self.timeout - now
            if rest > 0:
                self._set_timer(rest)
                return
            del self._running[request]
            request.is_late = True
            request.task.cancel()


class _Metrics:
    """BentoML's metrics of requests, written together, since each write goes to a file shared by the workers.

    Args:
        layer: BentoML's own middleware, whose metrics are written.
    """

    def __init__(self, layer: Any) -> None:
        self._layer = layer
        self._server_context = get(SERVER_CONTEXT)
        self.skips = tuple(layer.skip_paths)
        self._changes: Counter[str] = Counter()
        self._durations: dict[tuple[str, int], list[float]] = {}
        self._last = 0.0
        self._children: dict[tuple[Any, ...], Any] = {}

    def request_started(self, endpoint: str, *, is_skipped: bool) -> None:
        self._changes[endpoint] += 1
        if not is_skipped:
            self._last = time.time()

    def response_sent(self, endpoint: str, status: int, seconds: float) -> None:
        self._durations.setdefault((endpoint, status), []).append(seconds)

    def request_ended(self, endpoint: str) -> None:
        self._changes[endpoint] -= 1

    def write(self) -> None:
        last, changes, durations = self._last, self._changes, self._durations
        self._last, self._changes, self._durations = 0.0, Counter(), {}
        layer = self._layer
        try:
            if last:
                self._child(layer.metrics_last_request_timestamp).set(last)
            for endpoint, change in changes.items():
                self._child(layer.metrics_request_in_progress, endpoint=endpoint).inc(change)
            for (endpoint, status), seconds in durations.items():
                labels = {"endpoint": endpoint, "http_response_code": status}
                self._child(layer.metrics_request_total, **labels).inc(len(seconds))
                observe(self._child(layer.metrics_request_duration, **labels), seconds)
        except Exception:  # such as a full disk: a prediction must not fail because of its metrics
            LOG.exception("metrics could not be written")

    def _child(self, metric: Any, **labels: Any) -> Any:
        """Return the metric with these labels; cached, since finding it takes as long as counting does."""
        key = (metric, *labels.values())
        child = self._children.get(key)
        if child is None:
            server = self._server_context
            service = {"service_name": server.bento_name, "service_version": server.bento_version}
            child = metric.labels(**service, **labels, runner_name=server.service_name)
            self._children[key] = child
        return child


def observe(histogram: Any, amounts: list[float]) -> None:
    """Add all *amounts* to a histogram of prometheus_client, as its own ``observe`` does for a single one."""
    try:
        bounds, counts, total = histogram._upper_bounds, histogram._buckets, histogram._sum  # noqa: SLF001
    except AttributeError:  # another version of prometheus_client
        for amount in amounts:
            histogram.observe(amount)
        return
    for bucket, number in Counter(bisect_left(bounds, amount) for amount in amounts).items():
        counts[bucket].inc(number)
    total.inc(sum(amounts))


class _AccessLog:
    """BentoML's access log, written in batches: one call of logging takes three times as long as the model.

    Args:
        layer: BentoML's own middleware, whose logger and options are used.
    """

    def __init__(self, layer: Any) -> None:
        self._layer = layer
        self.skips = tuple(layer.skip_paths)
        self._handler = _only_handler(layer.logger)
        self._lines: list[str] = []
        self._second, self._prefix = 0, ""
        self._trace_context = get(TRACE_CONTEXT)
        formats = get(CONTAINER).logging_formatting.get()
        ids = f"trace={{:{formats['trace_id']}}},span={{:{formats['span_id']}}}"
        self._suffix = f" ({ids},sampled={{:d}},service.name={{}})"

    def add(self, scope: Message, status: int, headers: Any, seconds: float) -> None:
        logger = self._layer.logger
        if not logger.isEnabledFor(logging.INFO):
            return
        message = self._message(scope, status, headers, seconds)
        if len(message) > MAX_LINE or not message.isprintable():
            message = self._message(scope, status, headers, seconds, shown=_bounded)
        if self._handler is None:
            logger.info("%s", message)
            return
        prefix, suffix = self._line_prefix(self._handler), self._line_suffix()
        self._lines.append(f"{prefix}{message}{suffix}\n")

    def _message(
        self, scope: Message, status: int, headers: Any, seconds: float, shown: Callable[[str], str] = str
    ) -> str:
        """Return the text of a line; *shown* returns the text of a field that the client may choose."""
        layer, client = self._layer, scope.get("client")
        address = shown(f"{client[0]}:{client[1]}") if client else "_"
        request = f"scheme={scope['scheme']},method={shown(scope['method'])},path={shown(scope['path'])}"
        request += _content_fields(
            scope["headers"], layer.has_request_content_type, layer.has_request_content_length, shown
        )
        response = f"status={status}" + _content_fields(
            headers, layer.has_response_content_type, layer.has_response_content_length, shown
        )
        return f"{address} ({request}) ({response}) {seconds * 1000:.3f}ms"

    def _line_prefix(self, handler: logging.Handler) -> str:
        """Return the start of a line, such as its time, as the handler formats it; cached for one second."""
        second = int(time.time())
        if second != self._second:
            record = self._record("")
            Context().run(handler.filter, record)  # without trace ids: they are in the line's suffix
            self._second, self._prefix = second, handler.format(record)
        return self._prefix

    def _line_suffix(self) -> str:
        """Return the current trace's ids as BentoML's TraceRecordFilter formats them, or nothing."""
        span = trace.get_current_span().get_span_context()
        if not span.trace_id:
            return ""
        service = self._trace_context.service_name
        return self._suffix.format(span.trace_id, span.span_id, span.trace_flags.sampled, service)

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
        except Exception:  # noqa: BLE001 - as in the logging module, an unwritable log must not fail a request
            handler.handleError(self._record(text))
        finally:
            handler.release()

    def _record(self, text: str) -> logging.LogRecord:
        logger: logging.Logger = self._layer.logger
        return logger.makeRecord(logger.name, logging.INFO, "", 0, text, (), None)


def _only_handler(logger: logging.Logger) -> logging.StreamHandler[Any] | None:
    """Return the handler of *logger*, if it is the only one and configured as by BentoML."""
    handlers: list[logging.Handler] = []
    current: logging.Logger | None = logger
    while current is not None:
        if current is logger and current.filters:
            return None
        handlers += current.handlers
        current = current.parent if current.propagate else None
    if (
        len(handlers) != 1
        or type(handlers[0]) is not logging.StreamHandler
        or handlers[0].level > logging.INFO
    ):
        return None
    formatter, filters = handlers[0].formatter, handlers[0].filters
    is_bentomls = (
        type(formatter) is logging.Formatter
        and formatter._fmt == get(LOG_FORMAT)  # noqa: SLF001
        and [type(log_filter) for log_filter in filters] == [get(LOG_FILTER)]
    )
    return handlers[0] if is_bentomls else None


def _bounded(text: str) -> str:
    """Return the beginning of a text on one line: other characters than printable ones are escaped."""
    short = text if len(text) <= MAX_FIELD else f"{text[:MAX_FIELD]}…"
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in short
    )


def _content_fields(
    headers: Any,
    with_type: bool,  # noqa: FBT001
    with_length: bool,  # noqa: FBT001
    shown: Callable[[str], str],
) -> str:
    content_type = length = b""
    for name, value in headers:
        if name == b"content-type":
            content_type = value
        elif name == b"content-length":
            length = value
    fields = f",type={shown(content_type.decode('latin-1'))}" if with_type else ""
    return f"{fields},length={shown(length.decode('latin-1'))}" if with_length else fields


def _has_no_exporter(tracer: Any) -> bool:
    """Return True if OpenTelemetry exports nothing: no span exporter, no metrics, no response headers."""
    exporters = getattr(getattr(tracer, "span_processor", None), "_span_processors", None)
    has_metrics = type(get_meter_provider()).__module__.startswith("opentelemetry.sdk")
    propagator = get_global_response_propagator()  # type: ignore[no-untyped-call]
    return exporters == () and not has_metrics and propagator is None


class _Span(trace.NonRecordingSpan):
    """A span that consists of its ids; BentoML reads them from the attribute *context* of recording spans."""

    @property
    def context(self) -> trace.SpanContext:
        return self.get_span_context()


class _TraceContext:
    """Continues the caller's trace, so that its id is in the log, without recording a span.

    OpenTelemetry's middleware collects the attributes of a span and of three more, one for each message, and
    then discards them.

    Args:
        layer: OpenTelemetry's own middleware, whose request hook and id generator are used.
    """

    def __init__(self, layer: Any) -> None:
        self._request_hook = layer.server_request_hook
        self._generator = layer.tracer.id_generator

    def enter(self, scope: Message) -> Any:
        """Make the request's trace the current one, and return the token that detaches it."""
        getter: Any = asgi_getter  # annotated for a dict, but ASGI guarantees a mapping only
        extracted = propagate.extract(scope, getter=getter)
        parent = trace.get_current_span(extracted).get_span_context()
        span = _Span(
            trace.SpanContext(
                parent.trace_id if parent.is_valid else self._generator.generate_trace_id(),
                self._generator.generate_span_id(),
                is_remote=False,
                trace_flags=parent.trace_flags,
                trace_state=parent.trace_state,
            )
        )
        self._request_hook(span, scope)
        return context.attach(trace.set_span_in_context(span, extracted))
