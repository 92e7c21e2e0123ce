"""What a client does to its process, its paths and its loops."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
import tracemalloc
from contextlib import AsyncExitStack
from typing import Any
from unittest import mock
from urllib.parse import quote, unquote

from tier0.checks.client.harness.call import Call, StillWaitingError
from tier0.checks.client.harness.stalls import watched_loop
from tier0.checks.client.harness.subject import Caller, Subject, settle
from tier0.core.verdict import CheckFailedError
from tier0.faults import Reply

ODD_NAMES = ("../../x#", "a?b=1#", "a/b")
DEAD_PROXY = "http://127.0.0.1:9"
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
WARM_UP = 20
MEASURED = 40
GROWTH = 2048
"""Bytes a call."""
LOOP_STALL = 0.25
STALL = 0.1


async def quoted_models(subject: Subject) -> None:
    """Fail where the name of a model becomes another route."""
    for name in ODD_NAMES:
        async with subject.against() as caller:
            call = await caller.predict(model=name)
            for request in call.requests:
                segments = request.path.split("?")[0].split("/")
                if name not in [unquote(segment) for segment in segments] or (
                    quote(name, safe="") not in request.path and "%" not in request.path
                ):
                    raise caller.fail(
                        f"the model {name!r} became the path {request.path}",
                        "the name is put into the URL as it is",
                    )


async def one_slash(subject: Subject) -> None:
    """Fail where a URL that ends in a slash gives a path with two, which services answer with 404."""
    async with subject.against(suffix="/") as caller:
        call = await caller.predict()
        if not call.requests:
            raise caller.fail(f"with a URL that ends in a slash nothing is sent: {call.outcome}")
        if "//" in call.requests[0].path:
            raise caller.fail(f"a URL that ends in a slash becomes {call.requests[0].path}")


async def proxy_environment(subject: Subject) -> None:
    """Fail where a proxy that somebody set for something else gets the predictions, and the data in them."""
    environment = {
        **dict.fromkeys(PROXIES, DEAD_PROXY),
        **dict.fromkeys(map(str.lower, PROXIES), DEAD_PROXY),
        "NO_PROXY": "",
        "no_proxy": "",
    }
    with mock.patch.dict(os.environ, environment):
        async with AsyncExitStack() as stack:
            try:
                caller = await stack.enter_async_context(subject.against())
            except Exception as problem:
                message = f"with HTTP_PROXY set, it cannot even be made: {type(problem).__name__}: {problem}"
                raise CheckFailedError(
                    message, evidence={"timeline": []}, causes=("trust_env is left on",)
                ) from problem
            call = await caller.predict()
            if not call.requests:
                raise caller.fail(
                    f"with HTTP_PROXY set, the call went there: {call.outcome}", "trust_env is left on"
                )


async def closed(subject: Subject) -> None:
    """Fail where a closed client still asks, leaves connections, or ends in a mistake of its own code."""
    async with subject.against() as caller:
        await caller.together(5)
        await caller.run("close")
        if not await settle(lambda: caller.log.open_connections == 0):
            raise caller.fail(f"{caller.log.open_connections} connections are open after it was closed")
        before = len(caller.log.arrivals)
        call = await caller.predict()
        if len(caller.log.arrivals) > before:
            raise caller.fail("it was closed, and a call after that was sent")
        if call.error is None or isinstance(call.error, (AttributeError, TypeError)):
            raise caller.fail(f"a call after close ends in {call.outcome}: nobody understands that")


async def another_loop(subject: Subject) -> None:
    """Fail where a call from another event loop hangs, or breaks in a way that nobody understands."""
    async with subject.against() as caller:
        await caller.predict()
        ended: list[Call] = []

        def elsewhere() -> None:
            ended.append(asyncio.run(caller.predict()))

        thread = threading.Thread(target=elsewhere, daemon=True)
        thread.start()
        if not await settle(lambda: bool(ended), caller.patience + 1) or isinstance(
            ended[0].error, StillWaitingError
        ):
            raise caller.fail(
                "a call from another event loop never ended", "its connections belong to the first loop"
            )


async def memory(subject: Subject) -> dict[str, Any]:
    """Fail where every call leaves something behind, be it answered or refused."""
    answered = await _growth(subject, subject.ok, "each call")
    async with subject.against(Reply(400, {"error": "wrong"})) as caller:
        calls = [await caller.predict() for _ in range(2)]
    if all(
        len(call.requests) == 1 for call in calls
    ):  # else it would sleep between its retries, see retry.callers_mistakes
        await _growth(subject, Reply(400, {"error": "wrong"}), "each call that is refused with 400")
    return {"bytes_a_call": answered}


async def _growth(subject: Subject, reply: Reply, what: str) -> float:
    """Return what Python holds more for each call, in bytes."""
    async with subject.against(reply) as caller:
        for _ in range(WARM_UP):
            await caller.predict()
        tracemalloc.start()
        try:
            before = await _held(caller)
            middle = await _held(caller)
            after = await _held(caller)
        finally:
            tracemalloc.stop()
        growth = min(middle - before, after - middle) / MEASURED
        if growth > GROWTH:
            await caller.predict()  # the timeline of so many calls was forgotten
            raise caller.fail(
                f"{what} leaves {growth / 1024:.1f} KiB behind",
                "answers, errors or traces are kept in a list",
            )
        return growth


async def _held(caller: Caller) -> int:
    """Ask often, forget our own notes, and return what Python holds."""
    for _ in range(MEASURED):
        await caller.predict()
    caller.calls.clear()
    caller.log.forget()
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


async def free_loop(subject: Subject) -> dict[str, Any]:
    """Fail where the client sleeps or waits with the whole event loop."""
    busy = min(LOOP_STALL, subject.declared.longest_attempt * 0.7)
    async with subject.against(
        [Reply(503, delay=busy), Reply(body=subject.declared.answer, delay=busy)]
    ) as caller:
        caller.blocks = False  # here it must
        async with watched_loop() as stalls:
            await caller.predict()
        if stalls.longest > STALL:
            raise caller.fail(
                f"the event loop stood still for {stalls.longest * 1000:.0f} ms while it waited: nothing else in its application went on meanwhile",
                "time.sleep, or a synchronous client, in a coroutine",
            )
        return {"longest_stall_ms": stalls.longest * 1000}
