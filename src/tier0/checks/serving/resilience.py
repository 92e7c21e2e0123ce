"""Checks of the recovery from failures of callers and of workers."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

from tier0.checks.serving.harness.sender import UnansweredError
from tier0.checks.serving.harness.target import NoPredictionError, Target
from tier0.core.verdict import CheckFailedError, NotJudgedError

HALF_SENT = 20
CONNECTS_WITHIN = 1.0
REPLACED_WITHIN = 60.0
POLL = 0.1


async def half_sent_requests(target: Target) -> None:
    """Fail if callers that never send their announced body block the responses to others."""
    parts = urlsplit(target.url)
    if parts.scheme != "http":
        raise NotJudgedError(
            "not applicable over TLS: the TLS terminator buffers incomplete requests", code="not_offered"
        )
    target.require_at_once(HALF_SENT + 1)
    host, port = parts.hostname or "127.0.0.1", parts.port or 80
    lines = [
        f"{target.contract.method} {parts.path}{target.contract.route} HTTP/1.1",
        f"Host: {host}:{port}",
        f"Content-Type: {target.contract.content_type}",
        "Content-Length: 100",
    ]
    head = "\r\n".join([*lines, "", "{"])
    connections = []
    try:
        with suppress(OSError, TimeoutError):  # the service may accept fewer connections
            for _ in range(HALF_SENT):
                if target.sender.pace is not None:
                    await target.sender.pace.turn()
                connections.append(
                    await asyncio.wait_for(asyncio.open_connection(host, port), CONNECTS_WITHIN)
                )
                connections[-1][1].write(head.encode())
        causes = ["each connection occupies a thread until its body has arrived"]
        row = target.golden.take([0])
        situation = f"while {HALF_SENT} callers never finish sending their requests"
        try:
            await target.expect(row, situation, causes)
        except (NoPredictionError, UnansweredError) as failure:  # the half-sent requests are the only change
            raise CheckFailedError(
                f"{situation}: {failure}", causes=causes, reproduce=target.curl(target.body(row))
            ) from None
    finally:
        for _, writer in connections:
            writer.transport.abort()


async def worker_is_replaced(target: Target) -> dict[str, Any]:
    """Measure the time until correct predictions after a worker was killed; fail if it exceeds a minute."""
    process, golden = target.own_process, target.golden
    if not process.is_supervised:
        raise NotJudgedError(
            "the server is one process, which only its platform can start again", code="not_offered"
        )
    within = REPLACED_WITHIN + target.sender.longest_wait
    start = time.monotonic()
    await asyncio.to_thread(process.kill_worker)
    last_problem = ""
    while (seconds := time.monotonic() - start) < within:
        try:
            await target.expect(
                golden, "after a worker was killed", ["the new worker loads another model"], same_batch=True
            )
        except (CheckFailedError, UnansweredError) as problem:
            last_problem = str(problem)
            await asyncio.sleep(POLL)
            continue
        return {"seconds_without_an_answer": seconds}
    causes = [
        "no supervisor restarts the workers, as in some containers",
        "the model cannot be loaded again",
    ]
    raise CheckFailedError(
        f"no correct predictions within {within:g} s after a worker was killed: {last_problem}",
        causes=causes,
    )
