"""Ids, traces and spans of calls."""

from __future__ import annotations

import importlib
import logging
import os
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

LOG = logging.getLogger(__name__)
TRACEPARENT = "traceparent"


def new_trace_id() -> str:
    """Return a UUID of version 7 (RFC 9562, 5.7) as 32 hexadecimal digits, which is also a W3C trace id."""
    milliseconds = time.time_ns() // 1_000_000
    bits = int.from_bytes(os.urandom(10)) & ~(0xF000 << 64 | 0b11 << 62)
    return f"{milliseconds << 80 | bits | 0x7000 << 64 | 0b10 << 62:032x}"


def new_span_id() -> str:
    """Return a W3C span id: 16 hexadecimal digits."""
    return os.urandom(8).hex()


@dataclass(slots=True)
class Attempt:
    """One request of a call.

    Attributes:
        span_id: span id sent in ``traceparent``.
        started: start in POSIX time, in seconds.
        ended: end in POSIX time, in seconds.
        outcome: ``answered``, ``cancelled``, or the class name of the error.
        status: HTTP status; None without a response.
    """

    span_id: str
    started: float
    ended: float = 0.0
    outcome: str = "answered"
    status: int | None = None


@dataclass
class CallTrace:
    """Record of one call that has ended.

    Attributes:
        trace_id: 32 hexadecimal digits; also the call's ``X-Request-ID``.
        parent_id: trace id of the application that was sent in ``traceparent``; None if it has no trace.
        route: route that was called, e.g. ``/predict`` or ``/model_info``.
        url: URL without credentials.
        model: name of the model, if the service has several.
        rows: number of rows in the request; None if unknown.
        started: start in POSIX time, in seconds.
        ended: end in POSIX time, in seconds.
        outcome: ``answered``, ``cancelled``, or the class name of the error. The error's message is omitted
            because it may contain values of rows.
        status: HTTP status of the last attempt; None without a response.
        circuit: state of the circuit after the call.
        attempts: requests that were sent; empty if the call was rejected.
        body: body of the request.
        answer: content of the response; None if the call failed.
    """

    trace_id: str
    parent_id: str | None
    route: str
    url: str
    model: str | None
    rows: int | None
    started: float
    ended: float = 0.0
    outcome: str = "answered"
    status: int | None = None
    circuit: str = "closed"
    attempts: list[Attempt] = field(default_factory=list)
    body: bytes | None = field(default=None, repr=False)
    answer: Any = field(default=None, repr=False)


class Tracer(Protocol):
    """Records each call when it has ended, whatever its outcome."""

    def record(self, trace: CallTrace) -> None:
        """Record one call; must not block."""

    def flush(self, timeout: float) -> bool:
        """Send the recorded calls within *timeout* seconds, and return whether all were sent."""


class SafeTracer:
    """Passes calls to the application's tracer, and logs its errors instead of raising them.

    Args:
        tracer: tracer of the application.
    """

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer
        self._failed = False

    def record(self, trace: CallTrace) -> None:
        """Record one call; only the first error is logged as a warning."""
        try:
            self._tracer.record(trace)
        except Exception:
            level = logging.DEBUG if self._failed else logging.WARNING
            LOG.log(level, "the tracer raised an error; the call itself is not affected", exc_info=True)
            self._failed = True

    def flush(self, timeout: float) -> None:
        """Flush the tracer for at most *timeout* seconds."""
        try:
            if not self._tracer.flush(timeout):
                LOG.warning("the tracer did not send all traces within %s s; some may be lost", timeout)
        except Exception:
            LOG.warning("flushing the tracer raised an error; some traces may be lost", exc_info=True)


def outcome_of(error: BaseException) -> str:
    """Return the outcome of a call or an attempt that raised *error*."""
    return type(error).__name__ if isinstance(error, Exception) else "cancelled"


class AttemptSpan:
    """Span of an attempt in the application's own OpenTelemetry trace.

    Attributes:
        trace_id: trace id of the application.
        span_id: span id that the attempt sends. It is new for each attempt if the application has set up
            OpenTelemetry's SDK for its process.
    """

    def __init__(self, span: Any, use: Callable[..., AbstractContextManager[Any]], error: Any) -> None:
        self._span, self._use, self._error = span, use, error
        context = span.get_span_context()
        self.trace_id = f"{context.trace_id:032x}"
        self.span_id = f"{context.span_id:016x}"

    def current(self) -> AbstractContextManager[Any]:
        """Return a context in which the span is current, also for instrumentation of httpx."""
        return self._use(self._span, end_on_exit=False, record_exception=False, set_status_on_exception=False)

    def end(self, attempt: Attempt) -> None:
        """End the span with the attempt's status and outcome.

        The error's message is omitted because it may contain values of rows.
        """
        if attempt.status is not None:
            self._span.set_attribute("http.response.status_code", attempt.status)
        if attempt.outcome != "answered":
            self._span.set_attribute("error.type", attempt.outcome)
            self._span.set_status(self._error)
        self._span.end()


BeginSpan = Callable[[dict[str, str], Callable[[], dict[str, Any]]], AttemptSpan | None]
"""Begins the span of an attempt in the application's trace.

The first argument are the headers of the request, to which the context is added; the second returns the
span's attributes. Returns None if the application has no current span.
"""


def find_opentelemetry() -> BeginSpan | None:
    """Return a function that begins spans with OpenTelemetry; None if the application has not imported it."""
    if "opentelemetry.trace" not in sys.modules:
        return None
    propagate, trace = importlib.import_module("opentelemetry.propagate"), sys.modules["opentelemetry.trace"]
    tracer = trace.get_tracer("tier0.client")

    def begin(headers: dict[str, str], attributes_of: Callable[[], dict[str, Any]]) -> AttemptSpan | None:
        if not trace.get_current_span().get_span_context().is_valid:
            return None
        attributes = attributes_of()
        span = tracer.start_span(
            attributes["http.request.method"], kind=trace.SpanKind.CLIENT, attributes=attributes
        )
        propagate.inject(headers, context=trace.set_span_in_context(span))
        return AttemptSpan(span, trace.use_span, trace.StatusCode.ERROR)

    return begin
