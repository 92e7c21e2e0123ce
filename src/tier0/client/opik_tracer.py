"""Traces of calls in Opik: one complete trace a call, with one span for each request."""

from __future__ import annotations

import atexit
import datetime as dt
import json
import logging
import os
import queue
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from tier0.client.tracing import CallTrace, new_trace_id

if TYPE_CHECKING:
    from tier0.client.tracing import Attempt

LOG = logging.getLogger(__name__)
MOST_WAITING = 10_000
SHUTDOWN = 1.8
"""Seconds that closing may take, whether Opik answers or not."""
END_TIMEOUT = 0.8
"""Seconds; Opik spends them twice, for its messages and for its threads."""


class OpikTracer:
    """Sends calls to Opik from a thread of its own, so that a call never waits for it.

    Opik is imported here, which takes seconds, and never in a call. Its settings are Opik's own: ``OPIK_URL_OVERRIDE``,
    ``OPIK_API_KEY``, ``OPIK_WORKSPACE``, ``OPIK_PROJECT_NAME`` or ``~/.opik.config``. One tracer may serve several clients.

    Args:
        project_name: in Opik; Opik's default if None.
        with_features: send what was asked and what was answered, too; by default no value of a row leaves the process.

    Attributes:
        lost: calls that were not recorded, since too many waited.

    Raises:
        ModuleNotFoundError: Opik is not installed.
    """

    def __init__(self, project_name: str | None = None, *, with_features: bool = False) -> None:
        self.lost = 0
        self._with_features = with_features
        with _no_sentry():
            try:
                import opik  # noqa: PLC0415 - seconds, which only those spend who trace
            except ModuleNotFoundError as problem:
                raise ModuleNotFoundError("OpikTracer needs Opik: pip install 'pytest-tier0[opik]'", name="opik") from problem
            self._opik = opik.Opik(project_name=project_name)
        self._waiting: queue.SimpleQueue[CallTrace | _Flush | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._send_all, name="tier0-opik", daemon=True)
        self._thread.start()
        atexit.register(self.close)

    def record(self, trace: CallTrace) -> None:
        """Take one call; costs some microseconds."""
        if self._waiting.qsize() >= MOST_WAITING:
            self.lost += 1
            return
        self._waiting.put(trace)

    def flush(self, timeout: float) -> bool:
        """Send what was taken, for at most *timeout* seconds, and tell whether Opik says that it has it."""
        if not self._thread.is_alive():
            return False
        flushing = _Flush(timeout)
        self._waiting.put(flushing)
        return flushing.done.wait(timeout) and flushing.complete

    def close(self) -> None:
        """Send what is left, and end within 2 s even if Opik does not answer."""
        atexit.unregister(self.close)
        if self._thread.is_alive():
            self._waiting.put(None)
            self._thread.join(SHUTDOWN)

    def _send_all(self) -> None:
        told = False
        while (item := self._waiting.get()) is not None:
            try:
                if isinstance(item, _Flush):
                    item.finish(self._opik)
                else:
                    self._send(item)
            except Exception:  # a tracer that fails must not end, and must not be silent
                LOG.log(logging.DEBUG if told else logging.WARNING, "a call could not be traced in Opik", exc_info=True)
                told = True
        self._opik.end(timeout=END_TIMEOUT)

    def _send(self, trace: CallTrace) -> None:
        trace_id = str(uuid.UUID(trace.trace_id))
        metadata = {
            "route": trace.route,
            "url": trace.url,
            "model": trace.model,
            "rows": trace.rows,
            "outcome": trace.outcome,
            "status": trace.status,
            "circuit": trace.circuit,
            "attempts": len(trace.attempts),
            "request_id": trace.trace_id,
            "parent_trace_id": trace.parent_id,
        }
        features = {"input": _as_json(trace.body), "output": trace.answer} if self._with_features else {}
        self._opik.trace(
            id=trace_id,
            name=f"{trace.model or 'model'} {trace.route}",
            start_time=_time(trace.started),
            end_time=_time(trace.ended),
            metadata=metadata,
            error_info=_error_info(trace),
            **features,
        )
        for number, attempt in enumerate(trace.attempts, 1):
            self._opik.span(
                trace_id=trace_id,
                id=str(uuid.UUID(new_trace_id())),
                name=f"attempt {number}",
                start_time=_time(attempt.started),
                end_time=_time(attempt.ended),
                metadata={"span_id": attempt.span_id, "outcome": attempt.outcome, "status": attempt.status},
                error_info=_error_info(attempt),
            )


class _Flush:
    """A request to send everything that was put before it."""

    def __init__(self, timeout: float) -> None:
        self.deadline = time.monotonic() + timeout
        self.done = threading.Event()
        self.complete = False

    def finish(self, opik: Any) -> None:
        try:
            self.complete = bool(opik.flush(timeout=max(self.deadline - time.monotonic(), 0.1)))
        finally:
            self.done.set()


@contextmanager
def _no_sentry() -> Iterator[None]:
    """Keep Opik from replacing the application's own Sentry client while it is imported, unless the application has said what it wants."""
    name = "OPIK_SENTRY_ENABLE"
    if name in os.environ:
        yield
        return
    os.environ[name] = "false"
    try:
        yield
    finally:
        del os.environ[name]


def _time(seconds: float) -> dt.datetime:
    return dt.datetime.fromtimestamp(seconds, tz=dt.UTC)


def _error_info(ended: CallTrace | Attempt) -> dict[str, str] | None:
    if ended.outcome == "answered":
        return None
    status = "no answer" if ended.status is None else f"status {ended.status}"
    return {"exception_type": ended.outcome, "message": status, "traceback": ""}


def _as_json(body: bytes | None) -> Any:
    content = None if body is None else json.loads(body)
    return content if isinstance(content, dict) or content is None else {"body": content}
