"""One id for a call: in its trace, in every request that it sends, and in the log of whoever answers."""

from __future__ import annotations

import importlib
import os
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

TRACEPARENT = "traceparent"


def new_trace_id() -> str:
    """Return a UUID of version 7 (RFC 9562, 5.7) as 32 hexadecimal digits: also a trace id of W3C's Trace Context."""
    milliseconds = time.time_ns() // 1_000_000
    bits = int.from_bytes(os.urandom(10)) & ~(0xF000 << 64 | 0b11 << 62)
    return f"{milliseconds << 80 | bits | 0x7000 << 64 | 0b10 << 62:032x}"


def new_span_id() -> str:
    """Return a span id of W3C's Trace Context: 16 hexadecimal digits."""
    return os.urandom(8).hex()


@dataclass
class Attempt:
    """One request of a call.

    Attributes:
        span_id: as it was sent in ``traceparent``.
        started: POSIX time, in seconds.
        ended: likewise.
        outcome: ``answered``, ``cancelled``, or the name of the error.
        status: the HTTP status; None where there was none.
    """

    span_id: str
    started: float
    ended: float = 0.0
    outcome: str = "answered"
    status: int | None = None


@dataclass
class CallTrace:
    """What happened in one call, complete.

    Attributes:
        trace_id: 32 hexadecimal digits; also the call's ``X-Request-ID``.
        parent_id: the trace of the application that the call belongs to and whose id was sent; None if it has none.
        route: what was asked: ``/predict``, ``/model_info``.
        url: the whole address.
        model: its name, where the service has several.
        rows: how many were asked about; None if that is not known.
        started: POSIX time, in seconds.
        ended: likewise.
        outcome: ``answered``, ``cancelled``, or the name of the error; the error's text may hold values of rows, and is not here.
        status: of the last answer.
        circuit: the state of the circuit after the call.
        attempts: the requests that were sent; none if the call was rejected.
        body: what was sent.
        answer: what came back; None without an answer.
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
    """Is told of every call when it has ended, whatever came of it."""

    def record(self, trace: CallTrace) -> None:
        """Take one call; must not wait for anything."""

    def flush(self, timeout: float) -> bool:
        """Send what was taken, for at most *timeout* seconds, and tell whether that was all."""


def outcome_of(error: BaseException | None) -> str:
    """Return the word for how something ended."""
    if error is None:
        return "answered"
    return type(error).__name__ if isinstance(error, Exception) else "cancelled"


class AttemptSpan:
    """An attempt in the application's own trace.

    Attributes:
        trace_id: of the application.
        span_id: as it was sent: a new one for each attempt, where the application has set up OpenTelemetry's SDK for its process.
    """

    def __init__(self, span: Any, use: Callable[..., AbstractContextManager[Any]], error: Any) -> None:
        self._span, self._use, self._error = span, use, error
        context = span.get_span_context()
        self.trace_id = f"{context.trace_id:032x}"
        self.span_id = f"{context.span_id:016x}"

    def current(self) -> AbstractContextManager[Any]:
        """Return a context in which it is the current span: what else traces requests of httpx stands within it."""
        return self._use(self._span, end_on_exit=False, record_exception=False, set_status_on_exception=False)

    def end(self, status: int | None, error: BaseException | None) -> None:
        """Tell what came of it; the error's text may hold values of rows, and is not told."""
        if status is not None:
            self._span.set_attribute("http.response.status_code", status)
        if error is not None:
            self._span.set_attribute("error.type", outcome_of(error))
            self._span.set_status(self._error)
        self._span.end()


BeginSpan = Callable[[dict[str, str], Callable[[], dict[str, Any]]], AttemptSpan | None]
"""Begins an attempt in the application's own trace, with the attributes that are asked for, and puts its context into the headers of a
request; None where the application traces nothing just now."""


def find_opentelemetry() -> BeginSpan | None:
    """Return how an attempt is told to the application's OpenTelemetry, if it uses that; nothing is imported that it does not use."""
    if "opentelemetry.trace" not in sys.modules:
        return None
    propagate, trace = importlib.import_module("opentelemetry.propagate"), sys.modules["opentelemetry.trace"]
    tracer = trace.get_tracer("tier0.client")

    def begin(headers: dict[str, str], describe: Callable[[], dict[str, Any]]) -> AttemptSpan | None:
        if not trace.get_current_span().get_span_context().is_valid:
            return None
        attributes = describe()
        span = tracer.start_span(
            attributes["http.request.method"], kind=trace.SpanKind.CLIENT, attributes=attributes
        )
        propagate.inject(headers, context=trace.set_span_in_context(span))
        return AttemptSpan(span, trace.use_span, trace.StatusCode.ERROR)

    return begin
