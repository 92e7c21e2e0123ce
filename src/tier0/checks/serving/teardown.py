"""Is anything left after the server ended? Each check ends the server, and starts it again where it was."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from tier0.checks.serving.harness.target import Process, Target
from tier0.core.errors import Tier0Error
from tier0.core.verdict import CheckFailedError

GONE_WITHIN = 3.0
POLL = 0.05
ORPHANS = [
    "a worker runs in a session of its own, and is not ended with its supervisor",
    "a hanging handler keeps its process alive",
]


async def stops(target: Target) -> dict[str, Any]:
    """Fail where a process or the port is left three seconds after a stop."""
    return await _end(target, lambda process: process.halt(), "a stop")


async def ends_with_its_supervisor(target: Target) -> dict[str, Any]:
    """Fail where workers go on answering after their supervisor was killed: the next run's tests would talk to them."""
    return await _end(target, lambda process: process.kill_supervisor(), "its supervisor was killed")


async def _end(target: Target, end: Callable[[Process], Any], what: str) -> dict[str, Any]:
    process = target.own_process
    start = time.monotonic()
    with suppress(Tier0Error):  # what it could not end is found by looking
        await asyncio.to_thread(end, process)
    left = await asyncio.to_thread(_wait_until_gone, process)
    seconds = time.monotonic() - start
    try:
        if left:
            message = f"{GONE_WITHIN:g} s after {what}, these are still there: {', '.join(left)}"
            raise CheckFailedError(message, evidence={"left": left}, causes=ORPHANS)
    finally:
        await asyncio.to_thread(process.restart)
    await target.expect(
        target.golden, "after a restart", ["another model is loaded the second time"], same_batch=True
    )
    return {"seconds": seconds}


def _wait_until_gone(process: Process) -> list[str]:
    deadline = time.monotonic() + GONE_WITHIN
    while (left := process.left()) and time.monotonic() < deadline:
        time.sleep(POLL)
    return left
