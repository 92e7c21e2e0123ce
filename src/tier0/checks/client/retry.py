"""Checks of retries: how many, when, and after which responses."""

from __future__ import annotations

import asyncio
import math
import statistics
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from itertools import pairwise
from typing import Any

from tier0.checks.client.deadline import allowed
from tier0.checks.client.harness.call import Call
from tier0.checks.client.harness.jitter import SHARE, chance_of_being_so_close
from tier0.checks.client.harness.subject import (
    MISTAKES_IN_CODE,
    NO_RETRIES,
    NOT_REPEATED,
    Caller,
    Subject,
    gather_all,
    wait_until,
)
from tier0.checks.stalls import watched_loop
from tier0.core.verdict import NotJudgedError, TooBusyError
from tier0.faults import Arrival, Reply

MAX_WAKEUP_DELAY = 0.05
"""Seconds between the last response and the error: a longer pause is a sleep."""
SAMPLES = 3
FREE_RETRIES = 10
BUDGET_CALLS = 60
BUDGET_CALLERS = 6
BATCH_CALLS = 30
CLIENT_ERRORS = (400, 401, 403, 404, 405, 413, 415, 422)
FREQUENT_CLIENT_ERRORS = (400, 403, 404, 422)
CLIENTS = 24
STAGGER = 0.04
"""Seconds between the calls of two clients, so that their retries do not wait for each other."""
MAX_ERROR = 0.001
"""Probability that a client with jitter is accused of having none."""
ROUNDS = 3
MAX_RETRIES = 2
"""Retries of a call whose waits are compared."""
LONGEST_RETRIES = 15.0
"""Seconds for these retries; longer waits are not compared."""
MIN_WAIT = 0.02
"""Seconds: a shorter wait does not count as a backoff."""
AT_ONCE = 0.005
"""Seconds: a retry that follows sooner, or sooner than the first request followed the call, did not wait."""
RETRY_AFTER = 1.0
LATE = 0.15
"""Seconds after which the request of a call that is cancelled before would get its response."""
AFTERWARDS = 0.4
"""Seconds after that in which a retry would arrive."""
MAX_EXCUSED = 0.4
"""Seconds of a blocked event loop that are subtracted from the duration of a call."""
NOT_RETRIED = "the client did not retry: see retry.at_most_attempts"


async def at_most_attempts(subject: Subject) -> dict[str, Any]:
    """Fail if a call to a failing service sends more requests than declared, or does not retry at all."""
    sent, *_ = await gather_all(
        _check_status_503(subject),
        *(_check_attempts(subject, what, reply) for what, reply in _failures(subject).items()),
    )
    return {"requests": sent}


def _failures(subject: Subject) -> dict[str, Reply]:
    """Return replies after which a client may send its request again, with a description of the service."""
    return {
        "resets the connection": Reply.broken("reset"),
        "closes the connection": Reply.broken(),
        "returns truncated responses": Reply(body=subject.declared.answer, cut=5, ending="close"),
        "returns pages of HTML with status 200": Reply(body=b"<html>"),
        "returns 429": Reply(429),
        "returns 500": Reply(500),
    }


async def _check_attempts(subject: Subject, what: str, reply: Reply) -> None:
    """Fail if a call to a service that fails in another way than with status 503 sends too many requests."""
    attempts = subject.declared.attempts or 1
    async with subject.against(reply) as caller:
        call = await caller.predict()
        if len(call.requests) > attempts:
            raise caller.fail(
                f"one call to a service that {what} sent {len(call.requests)} requests "
                f"(declared: at most {attempts})",
                "the attempts are counted for some kinds of failures only",
            )


async def _check_status_503(subject: Subject) -> int:
    attempts = subject.declared.attempts or 1
    async with subject.against(Reply(503)) as caller:
        call = await caller.predict()
        sent = len(call.requests)
        # A deadline or a budget may end a call before its last attempt, but not before its second.
        expected = min(2, attempts, subject.declared.threshold or attempts)
        if subject.declared.idempotent is False:
            expected = 1
        if sent > attempts:
            raise caller.fail(
                f"one call sent {sent} requests (declared: at most {attempts})",
                "two layers retry, so that their attempts multiply",
            )
        if sent < expected:
            raise caller.fail(
                f"a call to a service that returns 503 was not retried (declared attempts: {attempts})"
            )
        if call.error is None:
            raise caller.fail(
                "a response with status 503 was accepted as a prediction", "the status is not checked"
            )
        return sent


async def no_sleep_at_the_end(subject: Subject) -> dict[str, Any]:
    """Fail if a call sleeps after its last attempt has failed."""
    waits, certain = [], []
    for _ in range(SAMPLES):
        async with subject.against(Reply(503)) as caller:
            async with watched_loop() as stalls:
                call = await caller.predict()
            if call.requests and call.requests[-1].ended_at is not None:
                waits.append(call.ended - call.requests[-1].ended_at)
                certain.append(waits[-1] - stalls.total)
    if not waits:
        raise NotJudgedError("no request got a response")
    wait = statistics.median(waits)
    if statistics.median(certain) > MAX_WAKEUP_DELAY:
        raise caller.fail(
            f"a call ended {wait * 1000:.0f} ms after its last response",
            "the client sleeps before it checks whether attempts are left",
        )
    if wait > MAX_WAKEUP_DELAY:
        raise TooBusyError(f"a call ended {wait * 1000:.0f} ms after its last response, on a busy machine")
    return {"ms_after_the_last_answer": wait * 1000}


async def retry_after(subject: Subject) -> None:
    """Fail if a call ignores Retry-After, exceeds its timeout because of it, or crashes on an odd value."""
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
    if (longest := subject.declared.longest_call) is not None:
        beyond = math.ceil(longest) + 1
        values[str(beyond)] = float(beyond)
    async with subject.against(Reply(503)) as caller:
        usual = type((await caller.predict()).error)
    await gather_all(
        *(
            _check_retry_after(subject, status, value, due, usual)
            for status in statuses
            for value, due in values.items()
        )
    )


async def _check_retry_after(
    subject: Subject, status: int, value: str, due: float | datetime, usual: type[object]
) -> None:
    """Check a call to a service that sends a Retry-After header.

    Args:
        subject: client under test.
        status: status of the response with the header.
        value: value of the header.
        due: earliest retry: seconds after the response, or a date.
        usual: class of the exception that the client raises for a failing service.
    """
    async with subject.against([Reply(status, headers={"Retry-After": value}), subject.ok]) as caller:
        async with watched_loop() as stalls:  # creating fourteen clients at once blocks the loop for a while
            call = await caller.predict()
        response = f"status {status} with Retry-After: {value or '(empty)'}"
        if isinstance(call.error, (*MISTAKES_IN_CODE, ValueError)) and type(call.error) is not usual:
            raise caller.fail(
                f"a call crashed on {response}: {call.outcome}",
                "the header is parsed as a number without validation",
            )
        longest = subject.declared.longest_call or math.inf
        if call.seconds - min(stalls.total, MAX_EXCUSED) > allowed(longest):
            raise caller.fail(
                f"after {response}, the call took {call.seconds:.2f} s (declared: at most {longest:g} s)",
                "the wait does not count towards the timeout",
            )
        if len(call.requests) > 1:
            answered = call.requests[0].ended_at or 0.0
            pause = call.requests[1].at - answered
            if isinstance(due, datetime):
                due = due.timestamp() - time.time() + time.monotonic() - answered
            if pause < due - 0.05:
                raise caller.fail(
                    f"after {response}, the client retried after {pause * 1000:.0f} ms",
                    "Retry-After is not read, or not for this status",
                )


async def callers_mistakes(subject: Subject) -> None:
    """Fail if a 4xx response, which is the caller's mistake, is retried or opens the circuit."""
    await gather_all(*(_check_client_error(subject, status) for status in CLIENT_ERRORS))


async def _check_client_error(subject: Subject, status: int) -> None:
    async with subject.against(Reply(status, {"error": "wrong"})) as caller:
        for _ in range((subject.declared.threshold or 1) + 2):
            call = await caller.predict()
            if call.error is None:
                raise caller.fail(
                    f"a response with status {status} was accepted as a prediction",
                    "the status is not checked",
                )
            if len(call.requests) > 1:
                raise caller.fail(
                    f"a request that got status {status} was sent {len(call.requests)} times",
                    "every error is retried",
                )
            if call.rejected:
                raise caller.fail(
                    f"responses with status {status} opened the circuit",
                    "every error counts as a failure of the service",
                )


async def batch(subject: Subject) -> None:
    """Fail if ``predict_batch`` does not retry after a failure."""
    failure = subject.retried
    async with subject.against([failure, subject.ok]) as caller:
        call = await caller.predict_batch()
        if len(call.requests) < 2:
            raise caller.fail(
                f"predict_batch did not retry after status {failure.status}: {call.outcome}",
                "only predict goes through the retries",
            )


def _require_retries(subject: Subject) -> None:
    """Check that the client declares retries.

    Raises:
        NotJudgedError: it declares a single attempt.
    """
    if (subject.declared.attempts or 1) == 1:
        raise NotJudgedError(NO_RETRIES)


async def broken_connections(subject: Subject) -> None:
    """Fail if a call fails because its connection was reset, closed or truncated, or was stale."""
    _require_retries(subject)
    if subject.declared.idempotent is False:
        raise NotJudgedError(NOT_REPEATED)
    faults = {
        "the connection was reset": Reply.broken("reset"),
        "the connection was closed without a response": Reply.broken(),
        "the connection was closed in the middle of the body": Reply(
            body=b'{"predictions": [1]}', cut=5, ending="close"
        ),
    }
    for what, reply in faults.items():
        async with subject.against([reply, subject.ok]) as caller:
            call = await caller.predict()
            if call.error is not None:
                raise caller.fail(
                    f"the call failed after {what}: {call.outcome}",
                    "only status codes are retried, not transport errors",
                )
    async with subject.against(Reply(body=subject.declared.answer, ending="close")) as caller:
        for _ in range(SAMPLES):
            call = await caller.predict()
            if call.error is not None:
                raise caller.fail(
                    f"a call failed on a pooled connection that the service had closed: {call.outcome}"
                )


async def budget(subject: Subject) -> dict[str, Any]:
    """Fail if the retries exceed the declared budget when every second request fails, in one way or another.

    Batch calls may have a budget of their own.
    """
    _require_retries(subject)
    return {
        "retries": await _check_budget(subject, "predict", BUDGET_CALLS),
        "calls": BUDGET_CALLS,
        "retries_of_batches": await _check_budget(subject, "predict_batch", BATCH_CALLS),
    }


async def _check_budget(subject: Subject, method: str, calls: int) -> int:
    """Make *calls* calls of a method, of whose requests every second one fails, and return the retries.

    Raises:
        CheckFailedError: there are more retries than declared.
    """
    ok = subject.ok_of(method)
    failures = [Reply(503), Reply.broken("reset"), *([Reply(429)] if subject.declared.retries_429 else [])]

    def respond(arrival: Arrival) -> Reply:
        number = arrival.number - usual
        return ok if number % 2 else failures[number // 2 % len(failures)]

    async with subject.against(ok) as caller:
        if subject.lacks(caller.made, method):
            return 0
        usual = len((await caller.predict_by(method)).requests)
        if usual != 1:  # a request for each row, of which it cannot be told how many are retries
            return 0
        caller.server.script = respond
        callers = (_call_repeatedly(caller, method, calls // BUDGET_CALLERS) for _ in range(BUDGET_CALLERS))
        await asyncio.gather(*callers)
        retries = len(caller.log.arrivals) - usual - calls
        most = FREE_RETRIES + (subject.declared.budget or 0.0) * (calls + usual) + 1
        if retries > most:
            of = "" if method == "predict" else f" of {method}"
            raise caller.fail(
                f"{calls} calls{of} led to {retries} retries (declared budget: at most {most:.0f})",
                "retries are limited per call only",
                "retries after some kinds of failures are not counted",
            )
        return retries


async def _call_repeatedly(caller: Caller, method: str, times: int) -> None:
    for _ in range(times):
        await caller.predict_by(method)


async def spread(subject: Subject) -> dict[str, Any]:
    """Fail if clients that failed at the same time retry at the same time, for the first time or again.

    Each of `CLIENTS` clients makes one call. The waits before its retries are compared with those of the
    others, one retry at a time, by `chance_of_being_so_close`. If it cannot be told whether they have jitter,
    since the machine is busy, more clients make calls. If jitter is at least 15 % of the wait, the
    probability of a failure is less than 1 in 1,000 for all retries and rounds together. Waits that differ by
    no more than the machine delays them show no jitter, and do not pass. A retry that three quarters of the
    clients send at once has no backoff whose jitter could be compared, and fails.
    """
    failure, retries = subject.retried, min((subject.declared.attempts or 1) - 1, MAX_RETRIES)
    limit = MAX_ERROR / (ROUNDS * MAX_RETRIES)
    waits: list[list[float]] = []
    delay = 0.0
    for _ in range(ROUNDS):
        async with AsyncExitStack() as stack:
            script = [*[failure] * retries, subject.ok]
            callers = [await stack.enter_async_context(subject.against(script)) for _ in range(CLIENTS)]
            async with watched_loop() as stalls:
                await gather_all(*(_predict_after(caller, n * STAGGER) for n, caller in enumerate(callers)))
            delay = max(delay, stalls.longest)
            waits += [_waits(caller.calls[0]) for caller in callers]
            groups = _by_retry(waits)
            if not groups:
                raise NotJudgedError(NOT_RETRIED)
            evidence = {"waits_ms": [[round(wait * 1000, 1) for wait in sorted(group)] for group in groups]}
            if number := _retry_at_once([caller.calls[0] for caller in callers]):
                raise callers[0].fail(
                    f"{CLIENTS} clients that failed at the same time sent retry {number} at once: "
                    f"three quarters of them after {_range_of(groups[number - 1])} ms",
                    "the client does not wait before this retry",
                    **evidence,
                )
            backoffs = [group for group in groups if statistics.median(group) > MIN_WAIT]
            chances = [chance_of_being_so_close(group) for group in backoffs]
            chance, group = min(zip(chances, backoffs, strict=True), default=(1.0, []))
            if chance < limit:
                number = groups.index(group) + 1
                raise callers[0].fail(
                    f"{len(group)} clients that failed at the same time sent retry {number} at the same "
                    f"time: three quarters of them after {_range_of(group)} ms",
                    "the backoff has no jitter, or less than 15 % of the wait",
                    **evidence,
                    chance=chance,
                )
            is_unclear = any(chance_of_being_so_close(group, delay) < limit for group in backoffs)
            if chance == 1.0 and not is_unclear:
                break
    if is_unclear:
        raise TooBusyError(
            f"the waits differ by no more than the {delay * 1000:.0f} ms that the machine delayed them"
        )
    return evidence


def _by_retry(waits: list[list[float]]) -> list[list[float]]:
    """Return the waits before the first retry of each call, those before the second, and so on.

    A retry that some of the calls did not make is left out.
    """
    return [list(group) for group in zip(*waits, strict=False)]


def _retry_at_once(calls: Sequence[Call]) -> int:
    """Return the number of the first retry that three quarters of *calls* sent at once; 0 if there is none.

    On a busy machine, a client takes longer to send a request: its first one is the measure.
    """
    prompt = [
        [wait < min(MIN_WAIT, max(AT_ONCE, call.requests[0].at - call.started)) for wait in _waits(call)]
        for call in calls
    ]
    groups = zip(*prompt, strict=False)
    return next((n for n, group in enumerate(groups, 1) if sum(group) >= SHARE * len(group)), 0)


async def _predict_after(caller: Caller, seconds: float) -> None:
    await asyncio.sleep(seconds)
    await caller.predict(give_up=LONGEST_RETRIES)


def _waits(call: Call) -> list[float]:
    """Return the seconds between each response and the next request."""
    return [after.at - (before.ended_at or after.at) for before, after in pairwise(call.requests)]


def _range_of(waits: Sequence[float]) -> str:
    shortest, *_, longest = sorted(waits)[: math.ceil(SHARE * len(waits))]
    return f"{shortest * 1000:.0f} to {longest * 1000:.0f}"


async def ends_with_its_caller(subject: Subject) -> None:
    """Fail if a cancelled call sends further requests."""
    late = min(LATE, subject.declared.longest_attempt / 2)
    async with subject.against(Reply(503, delay=late)) as caller:
        call = asyncio.ensure_future(caller.predict())
        await wait_until(lambda: bool(caller.log.arrivals) or call.done())
        call.cancel()
        cancelled = time.monotonic()
        await asyncio.gather(call, return_exceptions=True)
        first = caller.log.arrivals[:1]
        await asyncio.sleep(late + AFTERWARDS)
        more = len(caller.log.arrivals) - len(first)
        is_unanswered = all(arrival.at + late > cancelled for arrival in first)
        # After a response, the next request may have been on its way already.
        if more > (0 if is_unanswered else 1):
            raise caller.fail(
                f"a cancelled call sent another request {more} times",
                "the retries run in a separate task or thread, which is not cancelled with the call",
            )


async def asked_once(subject: Subject) -> None:
    """Fail if a request that the service may have processed is sent again."""
    truncated = Reply(body=subject.declared.answer, cut=5, ending="close")
    faults = {
        "the connection was closed without a response": Reply.broken(),
        "the connection was reset": Reply.broken("reset"),
        "the connection was closed in the middle of the body": truncated,
        "there was no response in time": Reply.hang(),
        "it got a body that is not a prediction": Reply(body=b"<html>"),
        "it got an error with status 200": Reply(body={"error": "the model is not loaded"}),
        **{f"it got status {status}": Reply(status) for status in (500, 502, 504)},
    }
    await gather_all(*(_check_asked_once(subject, what, reply) for what, reply in faults.items()))


async def _check_asked_once(subject: Subject, what: str, reply: Reply) -> None:
    async with subject.against([reply, subject.ok]) as caller:
        for method in ("predict", "predict_batch"):
            if subject.lacks(caller.made, method):
                continue
            caller.server.script = subject.ok_of(method)
            usual = len((await caller.predict_by(method)).requests)
            caller.server.script = [reply, subject.ok]
            call = await caller.predict_by(method)
            if len(call.requests) > usual:
                raise caller.fail(
                    f"a request of {method} that the service had received was sent again after {what} "
                    "(declared: not idempotent)",
                    "retries are decided by the kind of error, not by whether the request was received",
                )


async def rate_limited(subject: Subject) -> None:
    """Fail if a request that gets status 429 is not sent again."""
    if subject.declared.idempotent is False:
        raise NotJudgedError("the client declares that it never repeats a request that was received")
    headers_of_429: list[dict[str, str]] = [{}, {"Retry-After": "0"}, {"Retry-After": "1"}]
    for method in ("predict", "predict_batch"):
        # A client may retry only if the service names a time, and only if its deadline permits that.
        for headers in headers_of_429:
            async with subject.against([Reply(429, headers=headers), subject.ok]) as caller:
                if subject.lacks(caller.made, method):
                    break
                call = await caller.predict_by(method)
                if len(call.requests) > 1:
                    break
        else:
            raise caller.fail(
                f"{method} did not send its request again after status 429 (declared: retries_429): "
                f"{call.outcome}",
                "429 counts as a mistake of the caller, as other 4xx do",
            )
