"""An event loop in a thread that is watched: a loop that stands still is abandoned, and not waited for."""

from __future__ import annotations

import asyncio
import os
import sys
import sysconfig
from collections.abc import Coroutine
from concurrent.futures import Future, wait
from contextvars import copy_context
from pathlib import Path
from threading import Thread
from types import FrameType
from typing import Any, TypeVar

from tier0.core.errors import Tier0Error

Result = TypeVar("Result")
BEAT = 0.1
"""Seconds between two signs of life of the loop."""
MAX_SILENCE = 20.0
"""Seconds after which a loop without a sign of life is abandoned."""
ENDS_WITHIN = 1.0
"""Seconds to wait for tasks that are still running after the work, and for the loop after Ctrl-C."""
OUR_CODE = str(Path(__file__).parents[1]) + os.sep
STANDARD_LIBRARY = sysconfig.get_path("stdlib") + os.sep
SITE_PACKAGES = ("site-packages", "dist-packages")


def run_watched(work: Coroutine[Any, Any, Result], subject: str) -> Result:
    """Run *work* in a new event loop in a daemon thread, and return its result.

    The event loop of the caller's thread stays as it is, whether it runs or not.

    Args:
        work: coroutine to run.
        subject: name of the code that *work* calls, for the error.

    Raises:
        Tier0Error: that code blocks the loop, and does not return.
    """
    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda *_: None)  # for errors in tasks that are not awaited
    outcome: Future[Result] = Future()
    beats = [0]
    context = copy_context()
    thread = Thread(
        target=lambda: context.run(_run, loop, work, outcome, beats), name="tier0-watched-loop", daemon=True
    )
    thread.start()
    seen, silence = -1, 0.0
    try:
        while not wait([outcome], timeout=BEAT).done:
            silence = silence + BEAT if beats[0] == seen else 0.0
            seen = beats[0]
            if silence > MAX_SILENCE:
                raise Tier0Error(
                    f"{subject} did not return within {MAX_SILENCE:g} s, and blocked the event loop: it "
                    f"waits in {_place(thread)}. Give what waits there a timeout, or leave it out with an "
                    "option of the factory"
                )
        return outcome.result()
    except KeyboardInterrupt:
        loop.call_soon_threadsafe(_cancel_all, loop)
        thread.join(ENDS_WITHIN)
        raise


def _run(
    loop: asyncio.AbstractEventLoop,
    work: Coroutine[Any, Any, Result],
    outcome: Future[Result],
    beats: list[int],
) -> None:
    async def beat() -> None:
        while True:
            beats[0] += 1
            await asyncio.sleep(BEAT)

    beating = loop.create_task(beat())
    try:
        result = loop.run_until_complete(work)
    except BaseException as problem:  # noqa: BLE001 - raised again in the caller's thread
        _end(loop, beating)
        outcome.set_exception(problem)
    else:
        _end(loop, beating)
        outcome.set_result(result)


def _end(loop: asyncio.AbstractEventLoop, beating: asyncio.Task[None]) -> None:
    """Cancel what still runs in *loop*, abandon what ignores that, and close the loop."""
    tasks = asyncio.all_tasks(loop) - {beating}
    for task in tasks:
        task.cancel()
    if tasks:
        loop.run_until_complete(asyncio.wait(tasks, timeout=ENDS_WITHIN))
    beating.cancel()
    loop.run_until_complete(asyncio.wait({beating}))
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()


def _cancel_all(loop: asyncio.AbstractEventLoop) -> None:
    for task in asyncio.all_tasks(loop):
        task.cancel()


def _place(thread: Thread) -> str:
    """Return where *thread* is: in its innermost function outside libraries, or else in the innermost."""
    frame: FrameType | None = sys._current_frames().get(thread.ident or 0)  # noqa: SLF001 - documented
    innermost = frame
    while frame is not None and _is_in_a_library(frame.f_code.co_filename):
        frame = frame.f_back
    found = frame or innermost
    return "an unknown place" if found is None else f"{found.f_code.co_filename}:{found.f_lineno}"


def _is_in_a_library(path: str) -> bool:
    return path.startswith((OUR_CODE, STANDARD_LIBRARY, "<")) or any(name in path for name in SITE_PACKAGES)
