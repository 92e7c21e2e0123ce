"""Checks of `predict_batch`: it keeps what is declared for calls.

A client may send one request for each row. The number of requests of a successful batch call is measured
first, and limits for one request are multiplied by it.
"""

from __future__ import annotations

from typing import Any

from tier0.checks.client.breaker_model import play_all, require_opening
from tier0.checks.client.deadline import DRIP, allowed
from tier0.checks.client.harness.subject import Subject, gather_all
from tier0.checks.client.wire import require_validation
from tier0.core.verdict import NotJudgedError
from tier0.faults import Reply

CLIENT_ERRORS = (400, 403, 404, 422)
TRIES = 3
PER_CALL = "predict_batch does not go through the code that limits the calls of predict"


async def _requests(subject: Subject) -> int:
    """Return the number of requests of a successful batch call.

    Raises:
        NotJudgedError: a batch call with the declared data and response does not succeed.
    """
    for _ in range(TRIES):  # on a busy machine, a call may time out
        async with subject.against(subject.ok_batch) as caller:
            call = await caller.predict_batch()
        if call.error is None and call.requests:
            return len(call.requests)
    raise NotJudgedError(
        "predict_batch did not accept the rows in [data] twice, or not the response with those in [answer] "
        f"twice: {call.outcome}"
    )


async def deadline(subject: Subject) -> dict[str, Any]:
    """Fail if a batch call outlasts the declared timeout."""
    if subject.declared.timeout_is != "total":
        raise NotJudgedError("the timeout is declared for attempts, not for calls")
    limit = (subject.declared.timeout or 0.0) * await _requests(subject)
    body = b'{"predictions": [' + b" " * 1000 + b"1, 1]}"
    services = {
        "a service that accepts requests and never responds": Reply.hang(),
        f"a service that sends one byte of the body every {DRIP:g} s": Reply(body=body, drip=DRIP),
    }

    async def measure(service: str, reply: Reply) -> float:
        async with subject.against(reply) as caller:
            call = await caller.predict_batch(give_up=limit * 1.5 + 1)
            if call.seconds > allowed(limit):
                raise caller.fail(
                    f"a call of predict_batch to {service} took at least {call.seconds:.2f} s "
                    f"(declared: at most {limit:g} s)",
                    "predict_batch has a timeout of its own, or none",
                )
            return call.seconds

    seconds = await gather_all(*(measure(service, reply) for service, reply in services.items()))
    return {"seconds": max(seconds)}


async def attempts(subject: Subject) -> dict[str, Any]:
    """Fail if a batch call to a failing service sends more requests than declared."""
    most = (subject.declared.attempts or 1) * await _requests(subject)
    async with subject.against(Reply(503)) as caller:
        call = await caller.predict_batch()
        if len(call.requests) > most:
            raise caller.fail(
                f"one call of predict_batch sent {len(call.requests)} requests (declared: at most {most})",
                "two layers retry, so that their attempts multiply",
                PER_CALL,
            )
        if call.error is None:
            raise caller.fail(
                "predict_batch took a response with status 503 for a prediction",
                "the status is not checked",
            )
        return {"requests": len(call.requests)}


async def callers_mistakes(subject: Subject) -> None:
    """Fail if a 4xx response to a batch call is retried."""
    most = await _requests(subject)

    async def check(status: int) -> None:
        async with subject.against(Reply(status, {"error": "wrong"})) as caller:
            call = await caller.predict_batch()
            if len(call.requests) > most:
                raise caller.fail(
                    f"predict_batch sent a request that got status {status} {len(call.requests)} times",
                    "every error is retried",
                    PER_CALL,
                )
            if call.error is None:
                raise caller.fail(
                    f"predict_batch accepted a response with status {status} as a prediction",
                    "the status is not checked",
                )

    await gather_all(*(check(status) for status in CLIENT_ERRORS))


async def counts_failures(subject: Subject) -> None:
    """Fail if failures of batch calls leave the circuit closed."""
    if await _requests(subject) > 1:
        raise NotJudgedError("predict_batch sends one request for each row")
    await require_opening(subject)
    threshold = subject.declared.threshold or 1
    await play_all(
        subject,
        [["503"] * threshold, ["a reset connection"] * threshold],
        "predict_batch does not report its failures to the breaker",
        method="predict_batch",
    )


async def no_prediction(subject: Subject) -> None:
    """Fail if a batch call accepts a response with status 200 that contains no prediction."""
    await require_validation(
        subject, "predict_batch", "predict_batch accepted responses with status 200 as predictions"
    )
