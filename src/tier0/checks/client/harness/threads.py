"""Daemon threads in which a synchronous client is called, so that a call that hangs cannot block the exit."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from contextvars import copy_context
from functools import partial
from queue import SimpleQueue
from threading import Thread
from typing import Any

MAX_THREADS = 128
Work = tuple[Future[Any], Callable[[], Any]]


class Threads:
    """A pool of daemon threads; unlike an executor, it is never joined."""

    def __init__(self) -> None:
        self._idle: list[SimpleQueue[Work | None]] = []
        self._places = asyncio.Semaphore(MAX_THREADS)
        self._is_closed = False

    async def run(self, work: Callable[[], Any]) -> Any:
        """Return the result of *work*, or raise its exception; it sees the caller's context variables."""
        outcome: Future[Any] = Future()
        async with self._places:
            thread = self._idle.pop() if self._idle else self._start()
            thread.put((outcome, partial(copy_context().run, work)))
            return await asyncio.wrap_future(outcome)

    def close(self) -> None:
        """End every idle thread now, and the others when their function returns."""
        self._is_closed = True
        for thread in self._idle:
            thread.put(None)

    def _start(self) -> SimpleQueue[Work | None]:
        queue: SimpleQueue[Work | None] = SimpleQueue()
        Thread(target=self._work, args=(queue,), name="tier0-checked-client", daemon=True).start()
        return queue

    def _work(self, queue: SimpleQueue[Work | None]) -> None:
        while not self._is_closed and (work := queue.get()) is not None:
            publish = _run(*work)
            self._idle.append(queue)  # before the caller continues, so that its next call finds this thread
            publish()


def _run(outcome: Future[Any], work: Callable[[], Any]) -> Callable[[], object]:
    """Run *work* unless *outcome* was cancelled, and return the function that publishes the outcome."""
    try:
        if not outcome.set_running_or_notify_cancel():
            return outcome.cancelled
        return partial(outcome.set_result, work())
    except BaseException as problem:  # noqa: BLE001 - raised again where the outcome is awaited
        return partial(outcome.set_exception, problem)
