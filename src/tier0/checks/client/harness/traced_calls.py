"""The process in which a client with tracing is called: reads JSON from stdin, writes the calls to a file."""

from __future__ import annotations

import asyncio
import inspect
import json
import sys
import time
from importlib import import_module
from pathlib import Path
from typing import Any

from tier0.checks.client.harness.creation import created
from tier0.checks.stalls import watched_loop

LEAVES_WITHIN = 10.0
"""Seconds for a context manager that has created the client to end."""


async def _call(predict: Any, data: Any, give_up: float) -> dict[str, Any]:
    started, error = time.monotonic(), None
    try:
        async with asyncio.timeout(give_up):
            if inspect.iscoroutinefunction(predict):
                await predict(data)
            else:
                await asyncio.to_thread(predict, data)
    except Exception as problem:  # noqa: BLE001 - a client may raise anything; the check evaluates it
        error = f"{type(problem).__name__}: {problem}"
    return {"started": started, "ended": time.monotonic(), "error": error}


async def _main(given: dict[str, Any]) -> dict[str, Any]:
    module, _, name = given["factory"].partition(":")
    factory: Any = import_module(module)
    for part in name.split("."):
        factory = getattr(factory, part)
    async with created(factory, given["url"], given["options"], LEAVES_WITHIN) as client:
        predict = getattr(client, "predict", client)
        async with watched_loop() as stalls:
            calls = [await _call(predict, given["data"], given["give_up"]) for _ in range(given["calls"])]
        closed = time.monotonic()
        close = getattr(client, "close", None) or getattr(client, "aclose", None)
        if close is not None:
            ended = close()
            if inspect.isawaitable(ended):
                await ended
    return {"calls": calls, "stall": stalls.longest, "closed": closed}


if __name__ == "__main__":
    given = json.load(sys.stdin)
    sys.path[:] = given["path"]
    Path(given["output"]).write_text(json.dumps(asyncio.run(_main(given))), encoding="utf-8")
