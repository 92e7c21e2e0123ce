"""Checks of the timeout: when a call ends, or each of its attempts, whatever the service does."""

from __future__ import annotations

import asyncio
import math
from dataclasses import replace
from typing import Any

from tier0.checks.client.harness.call import Call, GivenUpError
from tier0.checks.client.harness.subject import Caller, Subject, gather_all
from tier0.checks.client.harness.threads import MAX_THREADS
from tier0.checks.stalls import require_free_loop, watched_loop
from tier0.core.verdict import NotJudgedError
from tier0.faults import Reply

DEADLINE_SLACK = 0.15
"""Seconds that a busy machine may add to the declared timeout, and to a tenth of it."""
DRIP = 0.05
DRIP_SHARE = 1.1
"""Multiple of the time allowed for an attempt in which the bytes of a late response arrive."""
BUSY_SHARE = 0.45
"""Share of an attempt's timeout for which each request occupies its connection."""
LATE_SHARE = 0.6
"""Share of an attempt's time that is left when the last attempt begins, without the waits."""
BEFORE_TIMEOUT = 0.9
LAST_ATTEMPTS = 4
QUEUE = 1.8
"""Multiple of the timeout for which the last call would wait for a connection."""


async def hang(subject: Subject) -> dict[str, Any]:
    """Fail if a call to a service that never responds outlasts the declared timeout.

    If the timeout is declared for attempts, each of them is judged, and not their sum; see `_late`.
    """
    if subject.declared.timeout_is == "attempt":
        return await _attempts_in_time(
            subject,
            _late(subject),
            "the timeouts of the HTTP library limit each operation, not the attempt",
        )
    async with subject.against(Reply.hang()) as caller:
        return await _call_in_time(
            caller,
            "a service that accepts requests and never responds",
            "the timeouts of the HTTP library limit each operation, not the call",
            "each attempt has the whole timeout",
        )


async def dripping_body(subject: Subject) -> dict[str, Any]:
    """Fail if a call, or an attempt, outlasts the declared timeout because the body arrives byte by byte."""
    cause = "the timeout limits each read, not the attempt"
    if subject.declared.timeout_is == "attempt":
        return await _attempts_in_time(subject, _late(subject, drips=True), cause)
    body = b'{"predictions": [' + b" " * 1000 + b"1]}"
    async with subject.against(Reply(body=body, drip=DRIP)) as caller:
        service = f"a service that sends one byte of the body every {DRIP:g} s"
        return await _call_in_time(caller, service, cause)


async def _call_in_time(caller: Caller, service: str, *causes: str) -> dict[str, Any]:
    promised = caller.declared.longest_call or 0.0
    async with watched_loop() as stalls:
        call = await caller.predict(give_up=promised * 1.5 + 1)
    if call.seconds > allowed(promised):
        require_free_loop(stalls.total, call.seconds - allowed(promised))
        raise caller.fail(
            f"a call to {service} took at least {call.seconds:.2f} s (declared: at most {promised:g} s)",
            *causes,
        )
    return {"seconds": call.seconds}


def _late(subject: Subject, *, drips: bool = False) -> Reply:
    """Return a prediction that arrives too late for an attempt, at once or byte by byte.

    A client may keep the connection of an attempt that it has given up, until it sends the next request: an
    open connection does not prove that it still waits. That it returns the late response does.
    """
    reply, late = subject.ok, allowed(subject.declared.longest_attempt)
    if not drips:
        return replace(reply, delay=late)
    return replace(reply, drip=late * DRIP_SHARE / max(1, len(reply.content) - 1))


async def _attempts_in_time(subject: Subject, reply: Reply, cause: str) -> dict[str, Any]:
    promised = subject.declared.longest_attempt
    async with subject.against(reply) as caller:
        call = await caller.predict(give_up=allowed(promised) * (subject.declared.attempts or 1) + 1)
        if (seconds := _wait_for_a_late_response(call)) > allowed(promised):
            raise caller.fail(
                f"a response that {_arrives(reply)} was still accepted after {seconds:.2f} s "
                f"(declared: at most {promised:g} s per attempt)",
                cause,
            )
        return {"requests": len(call.requests)}


def _wait_for_a_late_response(call: Call) -> float:
    """Return how long the last request of a successful call took; 0 if the call failed."""
    return call.ended - call.requests[-1].at if call.error is None and call.requests else 0.0


def _arrives(reply: Reply) -> str:
    return f"arrived byte by byte, one every {reply.drip:.2g} s," if reply.drip else "came too late"


def allowed(promised: float) -> float:
    """Return the seconds after which something that was promised within *promised* seconds is late."""
    return promised * 1.1 + DEADLINE_SLACK


async def attempt(subject: Subject) -> dict[str, Any]:
    """Fail if the client waits longer for one attempt than declared; see `_late`."""
    limit = subject.declared.longest_attempt

    async def measure(reply: Reply) -> int:
        async with subject.against([reply, subject.ok]) as caller:
            call = await caller.predict(give_up=limit * 2 + 1)
            if not call.requests:
                raise NotJudgedError(f"the call sent no request: {call.outcome}")
            seconds = call.ended - call.requests[0].at
            is_over = not isinstance(call.error, GivenUpError)  # otherwise, it waits for its next attempt
            if is_over and len(call.requests) == 1 and seconds > allowed(limit):
                raise caller.fail(
                    f"an attempt whose response {_arrives(reply)} took at least {seconds:.2f} s "
                    f"(declared: at most {limit:g} s per attempt)",
                    "only the call has a timeout, so that a request which hangs cannot be retried in time",
                    "the timeout limits each read, not the attempt",
                )
            return len(call.requests)

    return {"requests": max(await gather_all(measure(_late(subject)), measure(_late(subject, drips=True))))}


async def own_queue(subject: Subject) -> dict[str, Any]:
    """Fail if the wait for one of the client's own connections does not count towards the timeout."""
    declared = subject.declared
    promised, connections = declared.timeout or 0.0, declared.connections or 1
    if declared.timeout_is != "total":
        raise NotJudgedError("the timeout is declared for attempts, not for calls")
    busy = declared.longest_attempt * BUSY_SHARE
    number = connections * math.ceil(QUEUE * promised / busy)
    async with subject.against() as caller:
        caller.require_feasible(number)
        if subject.lacks(caller.made, "asynchronous"):
            number = min(number, MAX_THREADS)  # further calls would wait for a thread
        methods = ["predict", *([] if subject.lacks(caller.made, "predict_batch") else ["predict_batch"])]
        succeed = await caller.answers_by_method()
        caller.server.script = succeed
        if len(methods) > 1 and len((await caller.predict_batch()).requests) != 1:
            methods = ["predict"]  # a batch of several requests may take as many times as long
        caller.server.script = lambda arrival: replace(succeed(arrival), delay=busy)
        called = [methods[n % len(methods)] for n in range(number)]
        async with watched_loop() as stalls:
            calls = await asyncio.gather(
                *(caller.predict_by(method, give_up=promised * QUEUE + 1) for method in called)
            )
        longest, method = max((call.seconds, method) for call, method in zip(calls, called, strict=True))
        if longest - stalls.total > allowed(promised):
            raise caller.fail(
                f"of {number} concurrent calls, which wait for {connections} connections, one of {method} "
                f"took {longest:.2f} s (declared: at most {promised:g} s)",
                "the timeout begins when a connection is free, not when the call begins",
            )
        return {"calls": number, "seconds": longest}


async def last_attempt(subject: Subject) -> dict[str, Any]:
    """Fail if an attempt that begins late has its whole time, and so outlasts the timeout of the call."""
    declared = subject.declared
    total, attempts, longest = declared.timeout or 0.0, declared.attempts or 1, declared.longest_attempt
    if declared.timeout_is != "total":
        raise NotJudgedError("the timeout is declared for attempts, not for calls")
    late: list[Reply] = []
    left = total - longest * LATE_SHARE
    while left > 0 and len(late) < attempts - 1:
        late.append(Reply(503, delay=min(left, longest * BEFORE_TIMEOUT)))
        left -= late[-1].delay

    async def measure(status: int) -> float:
        before = [replace(reply, status=status) for reply in late]
        async with subject.against([*before, Reply.hang()]) as caller:
            async with watched_loop() as stalls:
                call = await caller.predict(give_up=total * 2 + 1)
            if call.seconds - stalls.total > allowed(total):
                raise caller.fail(
                    f"a call whose last attempt began late, after status {status}, took {call.seconds:.2f} s "
                    f"(declared: at most {total:g} s)",
                    "the time of an attempt is not limited to what is left of the call's time",
                )
            return call.seconds

    # The waits between attempts are random: the last attempt may begin too late, or not at all.
    statuses = [503, 429] if declared.retries_429 else [503]
    numbers = range(LAST_ATTEMPTS)
    return {"seconds": max(await gather_all(*(measure(statuses[n % len(statuses)]) for n in numbers)))}
