"""Dynamic batching: rows of concurrent requests are predicted together, without delaying any request.

A request that is alone is processed at once. Requests that arrive within one turn of the event loop, or while
the model is busy, form one batch, and each gets the outputs of its own rows. Rows that could change each
other's outputs are never combined: those of a model whose golden rows get other outputs in a batch than
alone, and rows with missing values where a column's dtype depends on them.
"""

from __future__ import annotations

import asyncio
import time
from contextvars import Context
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tier0.core.errors import QueueFullError
from tier0.golden.prediction import Output

if TYPE_CHECKING:
    from tier0.serving.predictor import Predictor

MAX_ROWS = 1024
"""Limit of rows in a batch of several requests. A single request may have more."""
FIRST_ROWS = 256
"""The limit of rows until the model's speed is known."""
QUICK_BATCH, SLOW_BATCH = 0.1, 0.25
"""Seconds: a full batch that was quicker doubles the limit of rows, a slower batch halves it."""
INLINE_SECONDS = 0.005
"""Batches expected to take longer run in a thread, so that health probes are answered meanwhile."""
MAX_WAITING = 512
"""Limit of queued requests; further ones are rejected."""
MAX_SECONDS = 0.4
"""Limit of the expected waiting time; two batches are always allowed, however slow the model is."""
SHORT_SECONDS = 0.1
"""The limit that replaces `MAX_SECONDS` for `SHORT_FOR` seconds after it was exceeded.

Under sustained overload, accepted requests then keep about the latency that they had before.
"""
SHORT_FOR = 2.0
"""Seconds before the longer limit is tried again: callers that retry at once look like sustained overload."""
LONG_SECONDS = 0.2
"""During that time, requests that have waited longer are rejected, unless two batches take longer."""
FEW_BATCHES = 2
TYPICAL_OF = 12
"""Number of batches averaged for the expected duration; with fewer, one slow batch rejects everything."""


@dataclass(eq=False)
class _QueuedRequest:
    rows: list[list[Any]]
    may_join: bool
    result: asyncio.Future[tuple[Output, float]]
    since: float


@dataclass(eq=False)
class Batcher:
    """Queue in front of one model; belongs to one event loop.

    Attributes:
        predictor: the model.
        can_batch: whether rows of several requests may be combined.
    """

    predictor: Predictor
    can_batch: bool
    _waiting: list[_QueuedRequest] = field(default_factory=list)
    _scheduled: bool = False
    _seconds_a_row: float = INLINE_SECONDS
    _seconds_a_call: float = 0.0
    _seconds_a_batch: float = 0.0
    _rows_waiting: int = 0
    _alone_waiting: int = 0
    _max_rows: int = FIRST_ROWS
    _rows_a_batch: int = MAX_ROWS
    _short_until: float = 0.0

    def is_full(self) -> bool:
        """Return True if a new request must be rejected, for the queue's length or its expected duration."""
        number = len(self._waiting)
        batches = self._alone_waiting + self._rows_waiting / self._rows_a_batch
        now = time.monotonic()
        expected = batches * self._seconds_a_batch
        full = number >= MAX_WAITING or (batches >= FEW_BATCHES and expected > MAX_SECONDS)
        if full:
            self._short_until = now + SHORT_FOR
        return full or (now < self._short_until and batches >= 1 and expected > SHORT_SECONDS)

    async def predict(self, rows: list[list[Any]]) -> tuple[Output, float]:
        """Predict validated rows, in one batch with those of concurrent requests.

        Returns:
            The outputs of these rows, and the seconds that the model took for the batch.

        Raises:
            QueueFullError: the queue is full, see `is_full`.
            Exception: raised by the model for these rows.
        """
        if self.is_full():
            raise QueueFullError(f"{len(self._waiting)} requests are queued")
        loop = asyncio.get_running_loop()
        may_join = self.can_batch and self.predictor.entry.signature.may_join(rows)
        request = _QueuedRequest(rows, may_join, loop.create_future(), time.monotonic())
        self._waiting.append(request)
        self._count(request)
        if not self._scheduled:
            self._scheduled = True
            loop.call_soon(self._next, context=Context())  # the model's logs belong to no caller's trace
        return await request.result

    def _next(self) -> None:
        """Process the next batch, in a thread if it is expected to take long."""
        batch = self._pop_batch()
        if not batch:
            self._scheduled = False
            return
        loop = asyncio.get_running_loop()
        rows = sum(len(request.rows) for request in batch)
        if max(rows * self._seconds_a_row, self._seconds_a_call) <= INLINE_SECONDS:
            _set_results(batch, self._outcomes(batch))
            # Through the loop, so that health probes and new requests have their turn between two batches.
            loop.call_soon(self._next, context=Context())
            return
        future = loop.run_in_executor(None, self._outcomes, batch)
        future.add_done_callback(lambda done: self._resume(batch, done), context=Context())

    def _resume(self, batch: list[_QueuedRequest], done: asyncio.Future[list[Any]]) -> None:
        try:
            outcomes = done.result()
        except BaseException as problem:  # noqa: BLE001 - no thread, or it is ending: every request needs a result
            outcomes = [_as_exception(problem)] * len(batch)
        _set_results(batch, outcomes)
        self._next()

    def _pop_batch(self) -> list[_QueuedRequest]:
        """Remove the next batch from the queue: its first request, and those behind it that may join."""
        not_cancelled = [request for request in self._waiting if not request.result.done()]
        waiting = self._reject_late(not_cancelled)
        batch, rows = waiting[:1], len(waiting[0].rows) if waiting else 0
        if batch and batch[0].may_join:
            for request in waiting[1:]:
                if not request.may_join or rows + len(request.rows) > self._max_rows:
                    break
                batch.append(request)
                rows += len(request.rows)
        self._waiting = waiting[len(batch) :]
        self._rows_waiting = self._alone_waiting = 0
        for request in self._waiting:
            self._count(request)
        return batch

    def _count(self, request: _QueuedRequest) -> None:
        if request.may_join:
            self._rows_waiting += len(request.rows)
        else:
            self._alone_waiting += 1

    def _reject_late(self, waiting: list[_QueuedRequest]) -> list[_QueuedRequest]:
        """Reject requests that were accepted before the overload was known and have waited too long.

        Returns:
            The remaining requests: one batch at least.
        """
        now = time.monotonic()
        if now >= self._short_until:
            return waiting
        longest = max(LONG_SECONDS, FEW_BATCHES * self._seconds_a_batch)
        shares = [len(request.rows) / self._rows_a_batch if request.may_join else 1 for request in waiting]
        batches = sum(shares)
        for index, (request, share) in enumerate(zip(waiting, shares, strict=True)):
            batches -= share
            if batches < 1 or now - request.since <= longest:
                return waiting[index:]
            late = QueueFullError(f"rejected after {now - request.since:.1f} s in the queue")
            request.result.set_exception(late)
        return []

    def _outcomes(self, batch: list[_QueuedRequest]) -> list[tuple[Output, float] | Exception]:
        """Return the output or the exception of each request; if a batch fails, its halves are retried."""
        start = time.perf_counter()
        rows = [row for request in batch for row in request.rows]
        try:
            output = self.predictor.predict(rows)
        except BaseException as problem:  # noqa: BLE001 - raised to the caller; a native panic is not an Exception
            half = len(batch) // 2
            if not half:
                return [_as_exception(problem)]
            return [*self._outcomes(batch[:half]), *self._outcomes(batch[half:])]
        seconds = time.perf_counter() - start
        self._learn(batch, len(rows), seconds)
        if len(batch) == 1:
            return [(output, seconds)]
        outcomes: list[tuple[Output, float] | Exception] = []
        first = 0
        for request in batch:
            outcomes.append((output.part(first, first + len(request.rows)), seconds))
            first += len(request.rows)
        return outcomes

    def _learn(self, batch: list[_QueuedRequest], rows: int, seconds: float) -> None:
        """Update the expected durations and the limit of rows."""
        weight = 1 / TYPICAL_OF if self._seconds_a_batch else 1
        self._seconds_a_batch += (seconds - self._seconds_a_batch) * weight
        self._seconds_a_row += (seconds / rows - self._seconds_a_row) / 4
        if rows == 1:
            self._seconds_a_call = seconds
        was_full = rows > self._max_rows // 2
        if seconds > SLOW_BATCH and len(batch) > 1:
            self._max_rows = max(self._max_rows // 2, 1)
        elif seconds < QUICK_BATCH and was_full:
            self._max_rows = min(2 * self._max_rows, MAX_ROWS)
        if was_full:  # until then, no request is rejected for an expected number of batches
            self._rows_a_batch = self._max_rows


def _as_exception(problem: BaseException) -> Exception:
    """Return an exception that can be set on a future and raised to a caller.

    A future rejects StopIteration, and a SystemExit of the model must not reach the server.
    """
    if isinstance(problem, Exception) and not isinstance(problem, StopIteration):
        return problem
    wrapped = RuntimeError(f"{type(problem).__name__}: {problem}")
    wrapped.__cause__ = problem
    return wrapped


def _set_results(batch: list[_QueuedRequest], outcomes: list[tuple[Output, float] | Exception]) -> None:
    for request, outcome in zip(batch, outcomes, strict=True):
        if request.result.done():
            continue
        if isinstance(outcome, Exception):
            request.result.set_exception(outcome)
        else:
            request.result.set_result(outcome)


def has_batch_independent_outputs(predictor: Predictor) -> bool:
    """Return True if golden rows have the same outputs alone and in a batch, except for rounding errors.

    Only then may rows of several callers be combined.
    """
    kept = predictor.entry.golden_rows()
    golden, tolerance = kept.examples, kept.tolerances(same_arithmetic=False, same_batch=False)

    def predict(rows: list[list[Any]]) -> dict[str, Any]:
        return vars(predictor.predict(rows))

    if len(golden) == 1:
        return False  # one row proves nothing about a batch
    together = golden.with_outputs(predict(golden.rows))
    return all(
        together.take([index]).compare(predict([row]), tolerance=tolerance) is None
        for index, row in enumerate(golden.rows[:20])
    )
