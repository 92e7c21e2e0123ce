"""Traces of calls in Opik: one complete trace a call, with one span for each request."""

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
MAX_WAITING = 10_000
BATCH_SECONDS = 0.05
"""Seconds for which calls are gathered, so that a thread need not wake up for each."""
SHUTDOWN = 1.8
"""Seconds that closing may take, whether Opik answers or not."""
FLUSH_RETRY_SECONDS = 10.0
"""Seconds for which an Opik that was waited for in vain is not waited for again."""
QUIET = {"OPIK_SENTRY_ENABLE": "false", "OPIK_ANALYTICS_ENABLE": "false"}


class OpikTracer:
    """Hands calls to Opik in a process of its own: no call waits for it, and none shares the interpreter's lock with it.

    Opik is imported there, and not in the application, whose own Opik, Sentry and environment are left as they are. Its settings are
    Opik's own: ``OPIK_URL_OVERRIDE``, ``OPIK_API_KEY``, ``OPIK_WORKSPACE``, ``OPIK_PROJECT_NAME`` or ``~/.opik.config``. Making one takes
    as long as importing Opik, some seconds; one tracer may serve several clients. The process ends with the tracer, or with the
    application. An application that forks makes a tracer afterwards.

    Args:
        project_name: in Opik; Opik's default if None.
        with_features: send what was asked and what was answered, too; by default no value of a row leaves the process.

    Attributes:
        lost: calls that were not recorded, since too many waited.

    Raises:
        ModuleNotFoundError: Opik is not installed.
        RuntimeError: its process ended while it started.
    """

    def __init__(self, project_name: str | None = None, *, with_features: bool = False) -> None:
        self.lost = 0
        self._pid = os.getpid()
        self._with_features = with_features
        self._process = subprocess.Popen(  # noqa: S603
            [sys.executable, "-P", str(PROCESS), project_name or ""],
            env={**QUIET, **os.environ},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ctrl-C is the application's: what it still sends must arrive
        )
        said = self._process.stdout.readline().strip()  # type: ignore[union-attr]  # it is a pipe
        if said != "ready":
            self._end(0.0)
            if said == "missing":
                raise ModuleNotFoundError(
                    "OpikTracer needs Opik: pip install 'pytest-tier0[opik]'", name="opik"
                )
            raise RuntimeError(
                f"Opik could not be started: its process ended with status {self._process.returncode}; it said why above"
            )
        self._waiting: queue.SimpleQueue[CallTrace | Mapping[str, Any] | _Flush | None] = queue.SimpleQueue()
        self._hurry = threading.Event()
        self._answers: queue.SimpleQueue[str] = queue.SimpleQueue()
        for work in (self._write, self._read):
            threading.Thread(target=work, name="tier0-opik", daemon=True).start()
        self._closed = self._ended = False
        self._taken = self._flushed = 0
        self._flushed_in = 0.0
        self._in_vain = -math.inf
        self._taking, self._flushing = threading.Lock(), threading.Lock()
        self._flushes = 0
        atexit.register(self.close)

    def record(self, trace: CallTrace) -> None:
        """Take one call; costs some microseconds."""
        if not self._with_features:
            trace.body = trace.answer = None
        self._enqueue(trace)

    def record_raw(self, message: Mapping[str, Any]) -> None:
        """Queue a trace in the form that `opik_process` reads: ``{"trace": {...}, "spans": [...]}``."""
        self._enqueue(message)

    def _enqueue(self, trace: CallTrace | Mapping[str, Any]) -> None:
        if os.getpid() != self._pid:
            self._refuse_after_fork()
            return
        if self._closed or self._ended or self._waiting.qsize() >= MAX_WAITING:
            self.lost += 1
            return
        with self._taking:
            self._taken += 1
            self._waiting.put(trace)

    def _refuse_after_fork(self) -> None:
        """Lose a call of a process that was forked with this tracer, whose threads are not there; say so once."""
        self.lost += 1
        if not self._ended:
            self._ended = True
            LOG.warning(
                "this process was forked after its OpikTracer was made: nothing is traced here; make one in each process, after the fork"
            )

    def flush(self, timeout: float) -> bool:
        """Send what was taken, for at most *timeout* seconds, and tell whether Opik says that it has it.

        Whoever has been waited for in vain is not waited for again within ten seconds: an application that closes several clients, and then
        the tracer, has two seconds for all of them.
        """
        start = time.monotonic()
        if not self._flushing.acquire(timeout=timeout):
            return False
        try:
            if self._closed or self._ended or self._is_waited_for_in_vain():
                return False
            return self._everything_is_sent() or self._wait_until_sent(start, timeout)
        finally:
            self._flushing.release()

    def _wait_until_sent(self, start: float, timeout: float) -> bool:
        self._flushes += 1
        with self._taking:
            taken = self._taken
            self._waiting.put(_Flush(self._flushes, timeout - 2 * BATCH_SECONDS))
        self._hurry.set()
        number, said = str(self._flushes), ""
        with suppress(queue.Empty):
            while (
                said.partition(" ")[0] != number
            ):  # an answer to an earlier one, which was not waited for long enough, may come first
                said = self._answers.get(timeout=max(start + timeout - time.monotonic(), 0.0))
        if said != f"{number} flushed":
            self._in_vain = time.monotonic()
            return False
        self._flushed, self._flushed_in = taken, time.monotonic() - start
        return True

    def _is_waited_for_in_vain(self) -> bool:
        return time.monotonic() - self._in_vain < FLUSH_RETRY_SECONDS

    def _everything_is_sent(self) -> bool:
        return self._flushed == self._taken

    def close(self) -> None:
        """Send what is left, and end within 2 s even if Opik does not answer; the time of a flush just before counts."""
        atexit.unregister(self.close)
        if not self._closed and os.getpid() == self._pid:
            self._closed = True
            self._waiting.put(None)
            self._hurry.set()
            all_is_sent = self._everything_is_sent()
            left = SHUTDOWN - (self._flushed_in if all_is_sent else 0.0)
            in_time = self._end(BATCH_SECONDS if self._is_waited_for_in_vain() else max(left, BATCH_SECONDS))
            if not in_time and not all_is_sent:
                LOG.warning("Opik did not take in time what was left: some calls are not traced")

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
                taken = [self._waiting.get()]
                self._hurry.wait(BATCH_SECONDS)
                self._hurry.clear()
                taken += [self._waiting.get() for _ in range(self._waiting.qsize())]
                ended = None in taken
                try:
                    stream.write("".join(self._line(item) for item in taken if item is not None))
                    stream.flush()
                except OSError:
                    LOG.warning("the process that hands traces to Opik has ended; nothing is traced any more")
                    self._ended = ended = True

    def _line(self, item: CallTrace | Mapping[str, Any] | _Flush) -> str:
        try:
            if isinstance(item, CallTrace):
                item = _message(item, with_features=self._with_features)
            message = vars(item) if isinstance(item, _Flush) else item
            return json.dumps(message, default=str) + "\n"
        except (TypeError, ValueError):
            LOG.warning("a call could not be traced", exc_info=True)
            self.lost += 1
            return ""

    def _read(self) -> None:
        with self._process.stdout as stream:  # type: ignore[union-attr]  # it is a pipe
            for line in stream:
                self._answers.put(line.strip())


def opik_is_configured() -> bool:
    """Tell whether anything says where Opik is: its environment variables, or its file; and nothing says that it must not be used."""
    if os.environ.get("OPIK_TRACK_DISABLE", "").lower() in {"1", "true", "yes", "on"}:
        return False
    file = Path(os.environ.get("OPIK_CONFIG_PATH", "~/.opik.config")).expanduser()
    return bool(os.environ.get("OPIK_URL_OVERRIDE") or os.environ.get("OPIK_API_KEY")) or file.is_file()


@dataclass(frozen=True)
class _Flush:
    """A request to send everything before it, which is answered with its number."""

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
    status = "no answer" if ended.status is None else f"status {ended.status}"
    return {"exception_type": ended.outcome, "message": status, "traceback": ""}


def _as_json(body: bytes | None) -> Any:
    content = None if body is None else json.loads(body)
    return content if isinstance(content, dict) or content is None else {"body": content}
