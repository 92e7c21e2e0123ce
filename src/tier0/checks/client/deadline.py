"""Checks of the timeout: when a call ends, or each of its attempts, whatever the service does."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from tier0.checks.client.harness.call import Call
from tier0.checks.client.harness.subject import Caller, Subject
from tier0.faults import Reply

DEADLINE_SLACK = 0.15
"""Seconds that a busy machine may add to the declared timeout, and to a tenth of it."""
DRIP = 0.05


async def hang(subject: Subject) -> dict[str, Any]:
    """Fail if a call to a service that never responds outlasts the declared timeout.

    If the timeout is declared for attempts, each of them is judged, and not their sum.
    """
    async with subject.against(Reply.hang()) as caller:
        return await _in_time(
            caller,
            "a service that accepts requests and never responds",
            "the timeouts of the HTTP library limit each operation, not the call",
            "each attempt has the whole timeout",
        )


async def dripping_body(subject: Subject) -> dict[str, Any]:
    """Fail if a call, or an attempt, outlasts the declared timeout because the body arrives byte by byte."""
    body = b'{"predictions": [' + b" " * 1000 + b"1]}"
    async with subject.against(Reply(body=body, drip=DRIP)) as caller:
        return await _in_time(
            caller,
            f"a service that sends one byte of the body every {DRIP:g} s",
            "the timeout limits each read, not the attempt",
        )


async def _in_time(caller: Caller, service: str, *causes: str) -> dict[str, Any]:
    if caller.declared.timeout_is == "attempt":
        return await _attempts_in_time(caller, service, causes[0])
    promised = caller.declared.longest_call or 0.0
    call = await caller.predict(give_up=promised * 1.5 + 1)
    if call.seconds > _allowed(promised):
        raise caller.fail(
            f"a call to {service} took at least {call.seconds:.2f} s (declared: at most {promised:g} s)",
            *causes,
        )
    return {"seconds": call.seconds}


async def _attempts_in_time(caller: Caller, service: str, cause: str) -> dict[str, Any]:
    promised = caller.declared.longest_attempt
    call = await caller.predict(give_up=promised * 2 + 1)
    longest = max(_attempts(call), default=0.0)
    if longest > _allowed(promised):
        raise caller.fail(
            f"an attempt at {service} took at least {longest:.2f} s "
            f"(declared: at most {promised:g} s per attempt)",
            cause,
        )
    return {"seconds": longest, "requests": len(call.requests)}


def _attempts(call: Call) -> list[float]:
    """Return the seconds after which the client gave up each request.

    A request that stays open while the next one is sent is left out: the client may have stopped waiting for
    it without closing its connection.
    """
    ended = [
        request.ended_at - request.at
        for request, following in pairwise(call.requests)
        if request.ended_at is not None and request.ended_at <= following.at
    ]
    last = call.requests[-1:]
    return ended + [min(request.ended_at or call.ended, call.ended) - request.at for request in last]


def _allowed(promised: float) -> float:
    return promised * 1.1 + DEADLINE_SLACK
