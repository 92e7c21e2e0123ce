"""The threads that a synchronous client is called in. One that never comes back keeps no process from ending."""

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
    """Runs one function in each thread at a time, and uses threads again, as an executor does; but they are daemons, and nobody waits for them."""

    def __init__(self) -> None:
        self._idle: list[SimpleQueue[Work | None]] = []
        self._places = asyncio.Semaphore(MAX_THREADS)
        self._is_closed = False

    async def run(self, work: Callable[[], Any]) -> Any:
        """Run *work* with the caller's context variables, and return what it does, or raise what it raises."""
        outcome: Future[Any] = Future()
        async with self._places:
            thread = self._idle.pop() if self._idle else self._start()
            thread.put((outcome, partial(copy_context().run, work)))
            return await asyncio.wrap_future(outcome)

    def close(self) -> None:
        """Let every thread end: those that have nothing to do now, the others when they come back."""
        self._is_closed = True
        for thread in self._idle:
            thread.put(None)

    def _start(self) -> SimpleQueue[Work | None]:
        waiting: SimpleQueue[Work | None] = SimpleQueue()
        Thread(target=self._work, args=(waiting,), name="tier0-judged-client", daemon=True).start()
        return waiting

    def _work(self, waiting: SimpleQueue[Work | None]) -> None:
        while not self._is_closed and (given := waiting.get()) is not None:
            tell = _done(*given)
            self._idle.append(waiting)  # before its caller goes on, so that the next call finds this thread
            tell()


def _done(outcome: Future[Any], work: Callable[[], Any]) -> Callable[[], object]:
    """Do the work, unless nobody waits for it any more, and return how its outcome is told."""
    try:
        return (
            partial(outcome.set_result, work())
            if outcome.set_running_or_notify_cancel()
            else outcome.cancelled
        )
    except BaseException as problem:  # noqa: BLE001 - whatever it raises is what its caller gets
        return partial(outcome.set_exception, problem)
