"""Rows that arrive together are predicted together: nearly free for the model, and nobody waits for anybody.

A request that is alone is answered at once. Those that arrive within one turn of the event loop, or while the model is busy, go
to it as one batch, and each gets its own rows back. Never put together are rows that could change each other's answer: the rows of a
model that does not answer its golden rows alone as it does together, and rows with missing values where a column's dtype depends on them.
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
"""In one batch of several requests, of a model that takes little longer for them; a single request may have more."""
FIRST_ROWS = 256
"""The same until it is known how long the model takes."""
QUICK_BATCH, SLOW_BATCH = 0.1, 0.25
"""Seconds: after a full batch that was quicker the next may have twice as many rows, after a slower one half as many."""
INLINE_SECONDS = 0.005
"""What is expected to take longer runs in a thread, so that health probes are answered meanwhile."""
MAX_WAITING = 512
"""Requests; more than these are shed."""
MAX_SECONDS = 0.4
"""That a request may expect to wait for its turn, unless the model is so slow that two batches take longer."""
SHORT_SECONDS = 0.1
"""The same for a while after that was exceeded: under a load that does not end, whoever is accepted keeps about the latency of before."""
SHORT_FOR = 2.0
"""Seconds; then it is tried whether the load has ended, since callers who ask again at once look like one."""
LONG_SECONDS = 0.2
"""During that while, whoever has waited longer is told to come back, unless the model is so slow that two batches take longer."""
FEW_BATCHES = 2
TYPICAL_OF = 12
"""Batches: their mean is what the next one is expected to take. Of fewer, one that was held up would have everybody shed."""


@dataclass(eq=False)
class _QueuedRequest:
    rows: list[list[Any]]
    may_join: bool
    answer: asyncio.Future[tuple[Output, float]]
    since: float


@dataclass(eq=False)
class Batcher:
    """Asks one model, for everybody; belongs to one event loop.

    Attributes:
        predictor: the model.
        joins: whether requests are put together at all.
    """

    predictor: Predictor
    joins: bool
    _waiting: list[_QueuedRequest] = field(default_factory=list)
    _scheduled: bool = False
    _seconds_a_row: float = INLINE_SECONDS
    _seconds_a_call: float = 0.0
    _seconds_a_batch: float = 0.0
    _rows_waiting: int = 0
    _alone_waiting: int = 0
    _most_rows: int = FIRST_ROWS
    _rows_a_batch: int = MAX_ROWS
    _short_until: float = 0.0

    def is_full(self) -> bool:
        """Tell whether one more must be shed, since too many wait: by their number, or by what the batches before it are expected to take."""
        number = len(self._waiting)
        batches = self._alone_waiting + self._rows_waiting / self._rows_a_batch
        now = time.monotonic()
        expected = batches * self._seconds_a_batch
        full = number >= MAX_WAITING or (batches >= FEW_BATCHES and expected > MAX_SECONDS)
        if full:
            self._short_until = now + SHORT_FOR
        return full or (now < self._short_until and batches >= 1 and expected > SHORT_SECONDS)

    async def ask(self, rows: list[list[Any]]) -> tuple[Output, float]:
        """Ask about checked rows, together with whatever else arrives.

        Returns:
            The answer to these rows, and the seconds that the model took for the batch.

        Raises:
            QueueFullError: too many wait, see `is_full`.
            Exception: what the model raises for these rows.
        """
        if self.is_full():
            raise QueueFullError(f"{len(self._waiting)} requests wait")
        loop = asyncio.get_running_loop()
        asked = _QueuedRequest(
            rows,
            self.joins and self.predictor.entry.signature.may_join(rows),
            loop.create_future(),
            time.monotonic(),
        )
        self._waiting.append(asked)
        self._count(asked)
        if not self._scheduled:
            self._scheduled = True
            loop.call_soon(self._next, context=Context())  # what the model logs belongs to no caller's trace
        return await asked.answer

    def _next(self) -> None:
        """Answer what waits, batch by batch; in a thread where that takes long."""
        batch = self._take()
        if not batch:
            self._scheduled = False
            return
        loop = asyncio.get_running_loop()
        rows = sum(len(asked.rows) for asked in batch)
        if max(rows * self._seconds_a_row, self._seconds_a_call) <= INLINE_SECONDS:
            _settle(batch, self._outcomes(batch))
            loop.call_soon(
                self._next, context=Context()
            )  # health probes, and whoever has just come, have their turn in between
            return
        asking = loop.run_in_executor(None, self._outcomes, batch)
        asking.add_done_callback(lambda done: self._resume(batch, done), context=Context())

    def _resume(self, batch: list[_QueuedRequest], done: asyncio.Future[list[Any]]) -> None:
        try:
            outcomes = done.result()
        except BaseException as problem:  # noqa: BLE001 - the thread could not be had, or is going: nobody may wait for it
            outcomes = [_as_answer(problem)] * len(batch)
        _settle(batch, outcomes)
        self._next()

    def _take(self) -> list[_QueuedRequest]:
        """Take the next batch: the first that waits, and those behind it that may join."""
        waiting = self._in_time(
            [asked for asked in self._waiting if not asked.answer.done()]
        )  # whose caller has gone is not asked about
        batch, rows = waiting[:1], len(waiting[0].rows) if waiting else 0
        if batch and batch[0].may_join:
            for asked in waiting[1:]:
                if not asked.may_join or rows + len(asked.rows) > self._most_rows:
                    break
                batch.append(asked)
                rows += len(asked.rows)
        self._waiting = waiting[len(batch) :]
        self._rows_waiting = self._alone_waiting = 0
        for asked in self._waiting:
            self._count(asked)
        return batch

    def _count(self, asked: _QueuedRequest) -> None:
        if asked.may_join:
            self._rows_waiting += len(asked.rows)
        else:
            self._alone_waiting += 1

    def _in_time(self, waiting: list[_QueuedRequest]) -> list[_QueuedRequest]:
        """Return who waits, without those who were let in before it was known that this would take so long; one batch is always kept."""
        now = time.monotonic()
        if now >= self._short_until:
            return waiting
        longest = max(LONG_SECONDS, FEW_BATCHES * self._seconds_a_batch)
        shares = [len(asked.rows) / self._rows_a_batch if asked.may_join else 1 for asked in waiting]
        batches = sum(shares)
        for index, (asked, share) in enumerate(zip(waiting, shares, strict=True)):
            batches -= share
            if batches < 1 or now - asked.since <= longest:
                return waiting[index:]
            asked.answer.set_exception(QueueFullError(f"it has waited for {now - asked.since:.1f} s"))
        return []

    def _outcomes(self, batch: list[_QueuedRequest]) -> list[tuple[Output, float] | Exception]:
        """Return an answer, or what the model raised, for each request; where a batch fails, its halves are asked again."""
        predictor, start = self.predictor, time.perf_counter()
        rows = [row for asked in batch for row in asked.rows]
        try:
            output = predictor.ask(rows)
        except BaseException as problem:  # noqa: BLE001 - told to those whom it concerns; a panic of a library's own is none of Exception
            half = len(batch) // 2
            return (
                [*self._outcomes(batch[:half]), *self._outcomes(batch[half:])]
                if half
                else [_as_answer(problem)]
            )
        seconds = time.perf_counter() - start
        self._learn(batch, len(rows), seconds)
        if len(batch) == 1:
            return [(output, seconds)]
        outcomes: list[tuple[Output, float] | Exception] = []
        first = 0
        for asked in batch:
            outcomes.append((output.part(first, first + len(asked.rows)), seconds))
            first += len(asked.rows)
        return outcomes

    def _learn(self, batch: list[_QueuedRequest], rows: int, seconds: float) -> None:
        self._seconds_a_batch += (seconds - self._seconds_a_batch) / (
            TYPICAL_OF if self._seconds_a_batch else 1
        )
        self._seconds_a_row += (seconds / rows - self._seconds_a_row) / 4
        if rows == 1:
            self._seconds_a_call = seconds
        was_full = rows > self._most_rows // 2
        if seconds > SLOW_BATCH and len(batch) > 1:
            self._most_rows = max(self._most_rows // 2, 1)
        elif seconds < QUICK_BATCH and was_full:
            self._most_rows = min(2 * self._most_rows, MAX_ROWS)
        if was_full:  # before that nobody is shed for how many batches there would be
            self._rows_a_batch = self._most_rows


def _as_answer(problem: BaseException) -> Exception:
    """Return what can be raised to whoever waits: a future takes no StopIteration, and nobody outside is told to exit."""
    if isinstance(problem, Exception) and not isinstance(problem, StopIteration):
        return problem
    told = RuntimeError(f"{type(problem).__name__}: {problem}")
    told.__cause__ = problem
    return told


def _settle(batch: list[_QueuedRequest], outcomes: list[tuple[Output, float] | Exception]) -> None:
    for asked, outcome in zip(batch, outcomes, strict=True):
        if asked.answer.done():
            continue
        if isinstance(outcome, Exception):
            asked.answer.set_exception(outcome)
        else:
            asked.answer.set_result(outcome)


def answers_alike(predictor: Predictor) -> bool:
    """Return True if the model's answer to each golden row is the same alone as together: only then may rows of several callers be joined."""
    kept = predictor.entry.golden_rows()
    golden, tolerance = (
        kept.examples,
        kept.tolerances(same_arithmetic=False, same_batch=False),
    )  # rounding errors do not keep callers apart

    def ask(rows: list[list[Any]]) -> dict[str, Any]:
        return vars(predictor.ask(rows))

    if len(golden) == 1:
        return False  # one row proves nothing about a batch
    together = golden.with_outputs(ask(golden.rows))
    return all(
        together.take([index]).compare(ask([row]), tolerance=tolerance) is None
        for index, row in enumerate(golden.rows[:20])
    )
