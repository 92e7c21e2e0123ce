"""Checks of the end of a server, with its processes and its port. Each check then restarts the server."""

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
    "a worker does not end with its supervisor, because it runs in a separate session",
    "a hanging request handler keeps its process alive",
]


async def stops(target: Target) -> dict[str, Any]:
    """Fail if a process is running, or the port is open, three seconds after the server was stopped."""
    return await _end(target, lambda process: process.halt(), "the server was stopped")


async def ends_with_its_supervisor(target: Target) -> dict[str, Any]:
    """Fail if workers outlive their killed supervisor, so that the tests of a later run may reach them."""
    return await _end(target, lambda process: process.kill_supervisor(), "the supervisor was killed")


async def _end(target: Target, end: Callable[[Process], Any], what: str) -> dict[str, Any]:
    process = target.own_process
    start = time.monotonic()
    with suppress(Tier0Error):  # processes that it could not end are found below
        await asyncio.to_thread(end, process)
    left = await asyncio.to_thread(_wait_until_gone, process)
    seconds = time.monotonic() - start
    try:
        if left:
            message = f"{GONE_WITHIN:g} s after {what}, there is still: {', '.join(left)}"
            raise CheckFailedError(message, evidence={"left": left}, causes=ORPHANS)
    finally:
        await asyncio.to_thread(process.restart)
    await target.expect(
        target.golden, "after a restart", ["the restarted server loads another model"], same_batch=True
    )
    return {"seconds": seconds}


def _wait_until_gone(process: Process) -> list[str]:
    deadline = time.monotonic() + GONE_WITHIN
    while (left := process.left()) and time.monotonic() < deadline:
        time.sleep(POLL)
    return left
