"""Checks of the client's health check."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any

from tier0.checks.client.harness.call import MAX_SHOWN, Call, excerpt
from tier0.checks.client.harness.subject import PATIENCE, Subject, gather_all, wait_until
from tier0.core.declaration import MAX_RESET
from tier0.core.display import text_of
from tier0.core.verdict import NotJudgedError
from tier0.faults import Arrival, Reply

HEALTHY = Reply(body={"status": "healthy"})
REPLIES = {
    "for status 200": HEALTHY,
    "for status 503": Reply(503, {"status": "unhealthy"}),
    "for status 404": Reply(404),
    "for status 500": Reply(500, b"Internal Server Error"),
    "when the connection is reset": Reply.broken("reset"),
    "when the service never responds": Reply.hang(),
    "for status 200 with a body that is not JSON": Reply(body=b"OK"),
}
UNHEALTHY = (
    "for status 503",
    "for status 500",
    "when the connection is reset",
    "when the service never responds",
)
STATUS_FIELDS = ("status", "healthy", "is_healthy", "ok", "ready", "is_ready")
"""Fields of a result in which clients report whether a service is healthy."""
DRIP = 0.05
"""Seconds between two bytes of a response."""
PAUSE = 0.1
"""Seconds between two health checks."""
REPORTS_WITHIN = 5.0
"""Seconds for which a health check may report what it has found out before."""
AN_ERROR = "an error"
MAX_SECONDS = 0.5
QUEUED = 4
"""Predictions per connection, so that a request in the same queue has to wait for several of them."""


async def never_raises(subject: Subject) -> None:
    """Fail if a health check raises an exception, or does not end in time."""
    replies = dict(REPLIES)
    if subject.declared.health_timeout is not None:
        replies["when the body arrives byte by byte"] = Reply(body=HEALTHY.content.ljust(1000), drip=DRIP)
    await gather_all(*(_check_health(subject, when, reply) for when, reply in replies.items()))


async def _check_health(subject: Subject, when: str, reply: Reply) -> None:
    async with subject.against(reply) as caller:
        call = await caller.health()
        limit = subject.declared.health_timeout or PATIENCE
        if call.seconds > limit * 1.1 + 0.15:
            raise caller.fail(
                f"{when}, a health check took at least {call.seconds:.1f} s (limit: {limit:g} s)"
            )
        if call.error is not None:
            raise caller.fail(
                f"{when}, a health check raised {call.outcome}",
                "an error of the HTTP library is not caught",
            )


async def while_saturated(subject: Subject) -> dict[str, Any]:
    """Fail if a health check has to wait for a connection that predictions use."""
    connections = subject.declared.connections or 1
    busy = min(MAX_SECONDS * 2, 0.8 * subject.declared.longest_attempt)

    def respond(arrival: Arrival) -> Reply:
        return Reply(body=subject.declared.answer, delay=busy) if arrival.method == "POST" else HEALTHY

    async with subject.against(respond) as caller:
        caller.require_feasible(connections * QUEUED)
        calls = [asyncio.ensure_future(caller.predict()) for _ in range(connections * QUEUED)]
        await wait_until(lambda: len(caller.log.arrivals) >= connections)
        call = await caller.health()
        for prediction in calls:
            prediction.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        if call.error is not None or call.seconds > MAX_SECONDS:
            raise caller.fail(
                f"a health check took {call.seconds:.2f} s during {len(calls)} concurrent predictions "
                f"(limit: {MAX_SECONDS:g} s): {call.outcome}",
                "health checks share the connection pool, or a lock, with predictions",
            )
        return {"ms": call.seconds * 1000}


async def tells(subject: Subject) -> dict[str, Any]:
    """Fail if a health check reports the same for a service that fails as for a healthy one."""
    healthy = [await _reported(subject, HEALTHY) for _ in range(2)]
    usual = healthy[0]
    if failed := [report for report in healthy if report is not None and report.startswith(AN_ERROR)]:
        raise NotJudgedError(f"a health check of a healthy service ended with {failed[0]}", code="busy")
    if usual is None or usual != healthy[1]:
        raise NotJudgedError("the result of a health check is neither true or false nor names a status")
    unhealthy = {when: REPLIES[when] for when in UNHEALTHY}
    reported = await gather_all(*(_reported(subject, reply) for reply in unhealthy.values()))
    for (when, reply), report in zip(unhealthy.items(), reported, strict=True):
        if report == usual:
            async with subject.against(reply) as caller:
                call = await caller.health()
                raise caller.fail(
                    f"{when}, a health check reported {usual}, as it does for a healthy service",
                    "every response, or every exception, counts as healthy",
                    returned=excerpt(text_of(call.answer, repr), MAX_SHOWN),
                )
    await _check_changes(subject, usual)
    return {"healthy": usual}


async def _check_changes(subject: Subject, usual: str) -> None:
    """Fail if the health check of one client still reports the past when the service fails, or is well again.

    It may do so for `REPORTS_WITHIN` seconds, or until a circuit lets a request through.
    """
    failing = Reply(503, {"status": "unhealthy"})
    longest = max(REPORTS_WITHIN, 2 * min(subject.declared.reset or 0.0, MAX_RESET) + 1)
    async with subject.against(HEALTHY) as caller:
        await caller.health()
        for reply, now in ((failing, "fails"), (HEALTHY, "is healthy again")):
            caller.server.script = reply
            deadline = time.monotonic() + longest
            while (_report_of(call := await caller.health()) == usual) is (reply is failing):
                if time.monotonic() > deadline:
                    raise caller.fail(
                        f"a health check still reported {_report_of(call)} after {longest:g} s, although the "
                        f"service {now}",
                        "the result of an earlier health check is kept",
                        returned=excerpt(text_of(call.answer, repr), MAX_SHOWN),
                    )
                await asyncio.sleep(PAUSE)


async def _reported(subject: Subject, reply: Reply) -> str | None:
    """Return what a health check reports, without further details; None if that cannot be read."""
    async with subject.against(reply) as caller:
        return _report_of(await caller.health())


def _report_of(call: Call) -> str | None:
    """Return what a health check reported; see `_reported`."""
    if call.error is not None:
        return f"{AN_ERROR} ({type(call.error).__name__})"
    answer = call.answer
    if isinstance(answer, (bool, str)):
        return str(answer)
    fields = answer if isinstance(answer, Mapping) else getattr(answer, "__dict__", {})
    named = [str(getattr(fields[name], "value", fields[name])) for name in STATUS_FIELDS if name in fields]
    return ", ".join(named) or None
