"""Tracer that records calls in Opik: one trace for each call, with one span for each request."""

from __future__ import annotations

import atexit
import json
import logging
import math
import os
import queue
import subprocess
import sys
import threading
import time
import uuid
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tier0.client.tracing import CallTrace, new_trace_id

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tier0.client.tracing import Attempt

LOG = logging.getLogger(__name__)
PROCESS = Path(__file__).with_name("opik_process.py")
MAX_QUEUED = 10_000
BATCH_SECONDS = 0.05
"""Seconds for which calls are collected, so that a thread does not wake up for each of them."""
CLOSE_TIMEOUT = 1.8
"""Seconds that closing may take, whether Opik responds or not."""
FLUSH_RETRY_SECONDS = 10.0
"""Seconds after a failed flush in which no other flush is tried."""
NO_TELEMETRY = {"OPIK_SENTRY_ENABLE": "false", "OPIK_ANALYTICS_ENABLE": "false"}


class OpikTracer:
    """Tracer that sends calls to Opik from a separate process.

    A call never waits for Opik, and does not share the interpreter's lock with it. Opik is imported only in
    that process, so that the application's own Opik, Sentry and environment are unchanged. Its settings are
    Opik's: ``OPIK_URL_OVERRIDE``, ``OPIK_API_KEY``, ``OPIK_WORKSPACE``, ``OPIK_PROJECT_NAME`` or
    ``~/.opik.config``.

    Creating a tracer takes as long as importing Opik, some seconds; several clients may share one tracer. The
    process ends with the tracer, or with the application. An application that forks must create its tracer
    after the fork.

    Args:
        project_name: Opik project; by default that of Opik's settings.
        with_features: whether to send the bodies of requests and responses; by default no value of a row
            leaves the application.

    Attributes:
        lost: calls that were not recorded, e.g. because too many were queued.

    Raises:
        ModuleNotFoundError: Opik is not installed.
        RuntimeError: the process ended during its start.
    """

    def __init__(self, project_name: str | None = None, *, with_features: bool = False) -> None:
        self.lost = 0
        self._pid = os.getpid()
        self._with_features = with_features
        self._process = subprocess.Popen(  # noqa: S603
            [sys.executable, "-P", str(PROCESS), project_name or ""],
            env={**NO_TELEMETRY, **os.environ},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ctrl-C must not end it before the application has sent its last traces
        )
        reported = self._process.stdout.readline().strip()  # type: ignore[union-attr]  # it is a pipe
        if reported != "ready":
            self._end(0.0)
            if reported == "missing":
                raise ModuleNotFoundError(
                    "OpikTracer requires Opik: pip install 'pytest-tier0[opik]'", name="opik"
                )
            raise RuntimeError(
                f"Opik could not be started: its process exited with status {self._process.returncode}; "
                "see its output on stderr"
            )
        self._queue: queue.SimpleQueue[CallTrace | Mapping[str, Any] | _Flush | None] = queue.SimpleQueue()
        self._wake = threading.Event()
        self._reports: queue.SimpleQueue[str] = queue.SimpleQueue()
        for work in (self._write, self._read):
            threading.Thread(target=work, name="tier0-opik", daemon=True).start()
        self._closed = self._ended = False
        self._recorded = self._flushed = 0
        self._flush_seconds = 0.0
        self._flush_failed_at = -math.inf
        self._recording, self._flushing = threading.Lock(), threading.Lock()
        self._flushes = 0
        atexit.register(self.close)

    def record(self, trace: CallTrace) -> None:
        """Queue one call, which takes some microseconds."""
        if not self._with_features:
            trace.body = trace.answer = None
        self._enqueue(trace)

    def record_raw(self, message: Mapping[str, Any]) -> None:
        """Queue a trace in the form that `opik_process` reads: ``{"trace": {...}, "spans": [...]}``."""
        self._enqueue(message)

    def _enqueue(self, trace: CallTrace | Mapping[str, Any]) -> None:
        if os.getpid() != self._pid:
            self._drop_after_fork()
            return
        if self._closed or self._ended or self._queue.qsize() >= MAX_QUEUED:
            self.lost += 1
            return
        with self._recording:
            self._recorded += 1
            self._queue.put(trace)

    def _drop_after_fork(self) -> None:
        """Count a call as lost in a forked process, which has none of the tracer's threads; warn once."""
        self.lost += 1
        if not self._ended:
            self._ended = True
            LOG.warning(
                "this process was forked after its OpikTracer was created, so that its calls are not traced: "
                "create a tracer in each process, after the fork"
            )

    def flush(self, timeout: float) -> bool:
        """Send the recorded calls within *timeout* seconds, and return whether Opik has received all of them.

        After a flush that failed, flushes within the next ten seconds fail at once: an application that
        closes several clients, and then the tracer, waits two seconds for all of them together.
        """
        start = time.monotonic()
        if not self._flushing.acquire(timeout=timeout):
            return False
        try:
            if self._closed or self._ended or self._has_just_failed():
                return False
            return self._all_flushed() or self._wait_until_sent(start, timeout)
        finally:
            self._flushing.release()

    def _wait_until_sent(self, start: float, timeout: float) -> bool:
        self._flushes += 1
        with self._recording:
            recorded = self._recorded
            self._queue.put(_Flush(self._flushes, timeout - 2 * BATCH_SECONDS))
        self._wake.set()
        number, report = str(self._flushes), ""
        with suppress(queue.Empty):
            # The report of an earlier flush, which took longer than its timeout, may come first.
            while report.partition(" ")[0] != number:
                report = self._reports.get(timeout=max(start + timeout - time.monotonic(), 0.0))
        if report != f"{number} flushed":
            self._flush_failed_at = time.monotonic()
            return False
        self._flushed, self._flush_seconds = recorded, time.monotonic() - start
        return True

    def _has_just_failed(self) -> bool:
        return time.monotonic() - self._flush_failed_at < FLUSH_RETRY_SECONDS

    def _all_flushed(self) -> bool:
        return self._flushed == self._recorded

    def close(self) -> None:
        """Send the remaining calls and end the process, within 2 s even if Opik does not respond.

        The two seconds include the time of the last flush, if no call was recorded after it.
        """
        atexit.unregister(self.close)
        if not self._closed and os.getpid() == self._pid:
            self._closed = True
            self._queue.put(None)
            self._wake.set()
            all_flushed = self._all_flushed()
            left = CLOSE_TIMEOUT - (self._flush_seconds if all_flushed else 0.0)
            in_time = self._end(BATCH_SECONDS if self._has_just_failed() else max(left, BATCH_SECONDS))
            if not in_time and not all_flushed:
                LOG.warning("Opik did not receive the remaining traces in time: some calls are not traced")

    def _end(self, seconds: float) -> bool:
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            return False
        return True

    def _write(self) -> None:
        with suppress(OSError), self._process.stdin as stream:  # type: ignore[union-attr]  # it is a pipe
            ended = False
            while not ended:
                items = [self._queue.get()]
                self._wake.wait(BATCH_SECONDS)
                self._wake.clear()
                items += [self._queue.get() for _ in range(self._queue.qsize())]
                ended = None in items
                try:
                    stream.write("".join(self._line(item) for item in items if item is not None))
                    stream.flush()
                except OSError:
                    LOG.warning("the process that sends traces to Opik has ended: later calls are not traced")
                    self._ended = ended = True

    def _line(self, item: CallTrace | Mapping[str, Any] | _Flush) -> str:
        try:
            if isinstance(item, CallTrace):
                item = _message(item, with_features=self._with_features)
            message = vars(item) if isinstance(item, _Flush) else item
            return json.dumps(message, default=str) + "\n"
        except (TypeError, ValueError):
            LOG.warning("the trace of a call cannot be written as JSON", exc_info=True)
            self.lost += 1
            return ""

    def _read(self) -> None:
        with self._process.stdout as stream:  # type: ignore[union-attr]  # it is a pipe
            for line in stream:
                self._reports.put(line.strip())


def opik_is_configured() -> bool:
    """Return True if Opik's environment variables or file configure it, and tracing is not disabled."""
    if os.environ.get("OPIK_TRACK_DISABLE", "").lower() in {"1", "true", "yes", "on"}:
        return False
    if os.environ.get("OPIK_URL_OVERRIDE") or os.environ.get("OPIK_API_KEY"):
        return True
    try:
        return Path(os.environ.get("OPIK_CONFIG_PATH", "~/.opik.config")).expanduser().is_file()
    except RuntimeError:  # there is no home directory
        return False


@dataclass(frozen=True)
class _Flush:
    """A request to send all traces before it; the process reports its number."""

    number: int
    flush: float


def _message(trace: CallTrace, *, with_features: bool) -> dict[str, Any]:
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
    features = {"input": _as_json(trace.body), "output": trace.answer} if with_features else {}
    name = f"{trace.model or 'model'} {trace.route}"
    spans = [
        {
            "trace_id": trace_id,
            "id": str(uuid.UUID(new_trace_id())),
            "name": f"attempt {number}",
            "start_time": attempt.started,
            "end_time": attempt.ended,
            "metadata": {"span_id": attempt.span_id, "outcome": attempt.outcome, "status": attempt.status},
            "error_info": _error_info(attempt),
        }
        for number, attempt in enumerate(trace.attempts, 1)
    ]
    times = {"start_time": trace.started, "end_time": trace.ended}
    return {
        "trace": {
            "id": trace_id,
            "name": name,
            **times,
            "metadata": metadata,
            "error_info": _error_info(trace),
            **features,
        },
        "spans": spans,
    }


def _error_info(ended: CallTrace | Attempt) -> dict[str, str] | None:
    if ended.outcome == "answered":
        return None
    status = "no response" if ended.status is None else f"status {ended.status}"
    return {"exception_type": ended.outcome, "message": status, "traceback": ""}


def _as_json(body: bytes | None) -> Any:
    content = None if body is None else json.loads(body)
    return content if isinstance(content, dict) or content is None else {"body": content}
