"""How often a client asks again, when, and when it had better not."""

from __future__ import annotations

import asyncio
import statistics
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from functools import partial
from typing import Any

from tier0.checks.client.deadline import DEADLINE_SLACK
from tier0.checks.client.harness.stalls import watched_loop
from tier0.checks.client.harness.subject import MISTAKES_IN_CODE, Subject, gathered, settle
from tier0.core.verdict import NotJudgedError
from tier0.faults import Arrival, Reply

MAX_WAKEUP_DELAY = 0.05
"""Seconds between the last answer and the error: more is a sleep."""
SAMPLES = 3
FREE_RETRIES = 10
BUDGET_CALLS = 60
BUDGET_CALLERS = 6
CALLERS_MISTAKES = (400, 401, 404, 413, 422)
CONCURRENT_CALLS = 10
IN_STEP = 0.1
"""Share of their median within which waits are the same."""
MAX_RATIO = 0.7
"""Share of the waits that must be: on a busy machine one or two come late."""
MIN_WAIT = 0.02
MIN_ATTEMPTS = 2
RETRY_AFTER = 1.0
MAX_EXCUSED = 0.4
"""Seconds for which the event loop stood still that are not held against a call."""


async def at_most_attempts(subject: Subject) -> dict[str, Any]:
    """Fail where one call to a failing service sends more requests than declared, or gives up without trying again."""
    attempts = subject.declared.attempts or 1
    async with subject.against(Reply(503)) as caller:
        call = await caller.predict()
        expected = min(
            2, attempts, subject.declared.threshold or attempts
        )  # its deadline, or its budget, may end it earlier than the last one
        if len(call.requests) > attempts:
            raise caller.fail(
                f"one call sent {len(call.requests)} requests, and {attempts} were declared",
                "two layers retry, and multiply",
            )
        if len(call.requests) < expected:
            raise caller.fail(
                f"one call to a service that answers 503 sent {len(call.requests)} requests, and {attempts} were declared"
            )
        if call.error is None:
            raise caller.fail(
                "a service that only ever answers 503 was taken for one that predicts",
                "the status is not looked at",
            )
        return {"requests": len(call.requests)}


async def no_sleep_at_the_end(subject: Subject) -> dict[str, Any]:
    """Fail where a call sleeps after its last attempt has failed: its caller waits for nothing."""
    waits = []
    for _ in range(SAMPLES):
        async with subject.against(Reply(503)) as caller:
            call = await caller.predict()
            if call.requests and call.requests[-1].ended_at is not None:
                waits.append(call.ended - call.requests[-1].ended_at)
    if not waits:
        raise NotJudgedError("nothing was answered")
    wait = statistics.median(waits)
    if wait > MAX_WAKEUP_DELAY:
        raise caller.fail(
            f"{wait * 1000:.0f} ms pass between the last answer and the error",
            "the backoff comes before the look at the attempts left",
        )
    return {"ms_after_the_last_answer": wait * 1000}


async def retry_after(subject: Subject) -> None:
    """Fail where it comes back before it was asked to, sleeps past its deadline, or crashes on what stands there."""
    later = (datetime.now(UTC) + timedelta(seconds=RETRY_AFTER + 1)).replace(microsecond=0)
    date = format_datetime(later, usegmt=True)
    values: dict[str, float | datetime] = {
        "1": RETRY_AFTER,
        date: later,
        "0": 0.0,
        "-1": 0.0,
        "1000000000": 0.0,
        "abc": 0.0,
        "": 0.0,
    }
    statuses = [503, *([429] if subject.declared.retries_429 else [])]
    async with subject.against(Reply(503)) as caller:
        usual = type((await caller.predict()).error)
    await gathered(
        *(
            _heed(subject, status, value, least, usual)
            for status in statuses
            for value, least in values.items()
        )
    )


async def _heed(
    subject: Subject, status: int, value: str, due: float | datetime, usual: type[object]
) -> None:
    """Ask a service that names a time to come back at: in so many seconds, or at a time."""
    async with subject.against([Reply(status, headers={"Retry-After": value}), subject.ok]) as caller:
        async with (
            watched_loop() as stalls
        ):  # making fourteen clients at once takes a while, in which no call gets on
            call = await caller.predict()
        said = f"{status} with Retry-After: {value or '(empty)'}"
        if isinstance(call.error, (*MISTAKES_IN_CODE, ValueError)) and type(call.error) is not usual:
            raise caller.fail(
                f"{said} makes it crash: {call.outcome}",
                "the header is parsed as a number, without a look at what it is",
            )
        longest = subject.declared.longest_call or 0.0
        if call.seconds - min(stalls.total, MAX_EXCUSED) > longest * 1.1 + DEADLINE_SLACK:
            raise caller.fail(
                f"{said}: the call took {call.seconds:.2f} s, and {longest:g} s were declared",
                "the wait is not held against the deadline",
            )
        if len(call.requests) > 1:
            answered = call.requests[0].ended_at or 0.0
            gap = call.requests[1].at - answered
            least = (
                due if isinstance(due, float) else due.timestamp() - time.time() + time.monotonic() - answered
            )
            if gap < least - 0.05:
                raise caller.fail(
                    f"{said}: it came back after {gap * 1000:.0f} ms",
                    "Retry-After is not read, or not for this status",
                )


async def callers_mistakes(subject: Subject) -> None:
    """Fail where a 4xx is asked again, or opens the circuit: the caller was wrong, and the service is well."""
    await gathered(*(_mistake(subject, status) for status in CALLERS_MISTAKES))


async def _mistake(subject: Subject, status: int) -> None:
    async with subject.against(Reply(status, {"error": "wrong"})) as caller:
        for _ in range((subject.declared.threshold or 1) + 2):
            call = await caller.predict()
            if call.error is None:
                raise caller.fail(
                    f"an answer of {status} is taken for a prediction", "the status is not looked at"
                )
            if len(call.requests) > 1:
                raise caller.fail(
                    f"a request that was refused with {status} was sent {len(call.requests)} times",
                    "every error is retried",
                )
            if call.rejected:
                raise caller.fail(
                    f"requests that were refused with {status} opened the circuit",
                    "every error counts as the service's failure",
                )


async def batch(subject: Subject) -> None:
    """Fail where one failure ends a batch call, though a single prediction would be asked again."""
    if (subject.declared.attempts or 1) == 1:
        raise NotJudgedError("it never asks twice")
    async with subject.against([Reply(503), subject.ok]) as caller:
        call = await caller.predict_batch()
        if len(call.requests) < 2:  # asked, and asked again
            raise caller.fail(
                f"a batch that met one 503 was asked {len(call.requests)} times: {call.outcome}",
                "only predict goes through the retries",
            )


async def broken_connections(subject: Subject) -> None:
    """Fail where a connection that was reset, closed, cut off, or closed while it was idle, ends the call."""
    if (subject.declared.attempts or 1) == 1:
        raise NotJudgedError("it never asks twice")
    bad = {
        "is reset": Reply.broken("reset"),
        "is closed without an answer": Reply.broken(),
        "ends in the middle of the body": Reply(body=b'{"predictions": [1]}', cut=5, ending="close"),
    }
    for what, reply in bad.items():
        async with subject.against([reply, subject.ok]) as caller:
            call = await caller.predict()
            if call.error is not None:
                raise caller.fail(
                    f"a connection that {what} ends the call: {call.outcome}",
                    "only statuses are retried, not the transport's errors",
                )
    async with subject.against(Reply(body=subject.declared.answer, ending="close")) as caller:
        for _ in range(SAMPLES):
            call = await caller.predict()
            if call.error is not None:
                raise caller.fail(
                    f"a kept connection that the service had closed meanwhile ends the call: {call.outcome}"
                )


async def budget(subject: Subject) -> dict[str, Any]:
    """Fail where every second request fails, and each is asked again: that doubles the load of a service in trouble."""
    if (subject.declared.attempts or 1) == 1:
        raise NotJudgedError("it never asks twice")
    promised = subject.declared.budget or 0.0

    def in_turn(arrival: Arrival) -> Reply:
        return Reply(503) if arrival.number % 2 == 0 else subject.ok

    async with subject.against(in_turn) as caller:
        await asyncio.gather(
            *(_often(partial(caller.predict), BUDGET_CALLS // BUDGET_CALLERS) for _ in range(BUDGET_CALLERS))
        )
        retries = len(caller.log.arrivals) - BUDGET_CALLS
        most = FREE_RETRIES + promised * BUDGET_CALLS + 1
        if retries > most:
            raise caller.fail(
                f"{BUDGET_CALLS} calls were asked again {retries} times, and {most:.0f} are within its budget",
                "retries are counted for each call alone",
            )
        return {"retries": retries, "calls": BUDGET_CALLS}


async def _often(work: Any, times: int) -> None:
    for _ in range(times):
        await work()


async def spread(subject: Subject) -> dict[str, Any]:
    """Fail where clients that failed at the same moment come back at the same moment, and so fail again."""
    if (subject.declared.attempts or 1) == 1:
        raise NotJudgedError("it never asks twice")

    async def gap() -> float | None:
        async with subject.against([Reply(503), subject.ok]) as caller:
            call = await caller.predict()
            return (
                None if len(call.requests) <= 1 else call.requests[1].at - (call.requests[0].ended_at or 0.0)
            )

    async def together() -> tuple[float, list[float]]:
        gaps = [one for one in await gathered(*(gap() for _ in range(CONCURRENT_CALLS))) if one is not None]
        if len(gaps) <= CONCURRENT_CALLS // 2:
            raise NotJudgedError("it asked once, see retry.at_most_attempts")
        return statistics.median(gaps), gaps

    for _ in range(MIN_ATTEMPTS):  # waits that are drawn may come out the same by chance, once
        median, gaps = await together()
        evidence = {"waits_ms": [round(one * 1000, 1) for one in gaps]}
        same = [one for one in gaps if abs(one - median) < IN_STEP * median]
        if median <= MIN_WAIT or len(same) < MAX_RATIO * len(gaps):
            return evidence
    async with subject.against([Reply(503), subject.ok]) as caller:
        await caller.predict()
        message = f"{len(same)} of {len(gaps)} clients came back {median * 1000:.0f} ms after they failed, and so together"
        raise caller.fail(message, "the backoff has no jitter", **evidence)


async def ends_with_its_caller(subject: Subject) -> None:
    """Fail where a call that nobody waits for any more goes on asking."""
    async with subject.against(Reply(503)) as caller:
        call = asyncio.ensure_future(caller.predict())
        await settle(lambda: bool(caller.log.arrivals) or call.done())
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        sent = len(caller.log.arrivals)
        await asyncio.sleep(0.4)
        if len(caller.log.arrivals) > sent + 1:
            more = len(caller.log.arrivals) - sent
            raise caller.fail(
                f"a cancelled call sent {more} more requests",
                "it runs in a task or thread of its own, which nobody cancels",
            )


async def asked_once(subject: Subject) -> None:
    """Fail where a request that the service may have carried out is sent again."""
    for what, reply in {
        "was closed without an answer": Reply.broken(),
        "was answered with 500": Reply(500),
    }.items():
        async with subject.against([reply, subject.ok]) as caller:
            call = await caller.predict()
            if len(call.requests) > 1:
                raise caller.fail(
                    f"a request that had arrived, and {what}, was sent again, though that is declared to do harm"
                )
