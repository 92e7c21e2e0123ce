"""Asking a client whether the service is well."""

from __future__ import annotations

import asyncio
from typing import Any

from tier0.checks.client.harness.subject import PATIENCE, Subject, gathered, settle
from tier0.faults import Arrival, Reply

HEALTHY = Reply(body={"status": "healthy"})
ANSWERS = {
    "200": HEALTHY,
    "503": Reply(503, {"status": "unhealthy"}),
    "404": Reply(404),
    "500": Reply(500, b"Internal Server Error"),
    "a reset": Reply.broken("reset"),
    "nothing at all": Reply.hang(),
    "a 200 that is no JSON": Reply(body=b"OK"),
}
MAX_SECONDS = 0.5
QUEUED = 4
"""Predictions for each connection, so that whoever has to queue with them waits for several."""


async def never_raises(subject: Subject) -> None:
    """Fail where asking for health raises, or does not end: whoever asks wants an answer, above all when things are bad."""
    await gathered(*(_ask(subject, what, reply) for what, reply in ANSWERS.items()))


async def _ask(subject: Subject, what: str, reply: Reply) -> None:
    async with subject.against(reply) as caller:
        call = await caller.health()
        promised = subject.declared.health_timeout or PATIENCE
        if call.seconds > promised * 1.1 + 0.15:
            raise caller.fail(
                f"with {what}, a health check took {call.seconds:.1f} s or more, and {promised:g} s are its limit"
            )
        if call.error is not None:
            raise caller.fail(
                f"with {what}, a health check raises {call.outcome}",
                "the status is raised, and nobody catches it",
            )


async def while_saturated(subject: Subject) -> dict[str, Any]:
    """Fail where health waits for a place in the pool that predictions fill."""
    connections = subject.declared.connections or 1
    busy = min(MAX_SECONDS * 2, 0.8 * subject.declared.longest_attempt)

    def answer(arrival: Arrival) -> Reply:
        return Reply(body=subject.declared.answer, delay=busy) if arrival.method == "POST" else HEALTHY

    async with subject.against(answer) as caller:
        caller.refuse_too_many(connections * QUEUED)
        calls = [asyncio.ensure_future(caller.predict()) for _ in range(connections * QUEUED)]
        await settle(lambda: len(caller.log.arrivals) >= connections)
        call = await caller.health()
        for one in calls:
            one.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        if call.error is not None or call.seconds > MAX_SECONDS:
            message = (
                f"while {len(calls)} calls waited, a health check took {call.seconds:.2f} s: {call.outcome}"
            )
            raise caller.fail(message, "health checks share the pool, or the lock, of predictions")
        return {"ms": call.seconds * 1000}
