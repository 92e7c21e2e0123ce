"""Checks of `predict_batch`: it keeps what is declared for calls.

A client may send one request for each row. The number of requests of a successful batch call is measured
first, and limits for one request are multiplied by it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from tier0.checks.client.breaker_model import play_all, require_opening
from tier0.checks.client.deadline import DRIP, allowed
from tier0.checks.client.harness.call import Call
from tier0.checks.client.harness.markers import (
    FIRST_RESPONSE,
    mark_request,
    mark_response,
    marks_in_answer,
    order_in_answer,
    order_of_requests,
    shows_missing,
)
from tier0.checks.client.harness.subject import Caller, Subject, batch_of, gather_all, joined_answers
from tier0.checks.client.retry import FREQUENT_CLIENT_ERRORS
from tier0.checks.client.wire import require_validation
from tier0.core.verdict import NotJudgedError, TooBusyError
from tier0.faults import Arrival, Reply

TRIES = 3
DIFFERENT, ROWS = (1, 2, 3, 4), (3, 1, 1, 2)
"""Marks of the rows of two batch calls."""
LAST_RESPONSE = 0.15
"""Seconds after which the last response to a batch call arrives."""
PER_CALL = "predict_batch does not go through the code that limits the calls of predict"


async def _requests(subject: Subject) -> int:
    """Return the number of requests of a successful batch call, of which each may have all rows, or one.

    Raises:
        NotJudgedError: a batch call with the declared data and response does not succeed.
    """
    for _ in range(TRIES):  # on a busy machine, a call may time out
        for reply in (subject.ok_batch, subject.ok):
            async with subject.against(reply) as caller:
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

    await gather_all(*(check(status) for status in FREQUENT_CLIENT_ERRORS))


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
    """Fail if a batch call accepts a response with status 200 that lacks a prediction for one or all rows."""
    await gather_all(
        require_validation(
            subject, "predict_batch", "predict_batch accepted responses with status 200 as predictions"
        ),
        _check_fewer_predictions(subject),
        _check_nan(subject),
    )


async def _check_fewer_predictions(subject: Subject) -> None:
    """Fail if a call whose request has two rows accepts a response with a prediction for one."""
    if subject.ok_batch == subject.ok:
        return  # the response does not tell how many rows it is for
    async with subject.against(subject.ok) as caller:
        call = await caller.predict_batch()
        if call.error is None and len(call.requests) == 1:
            raise caller.fail(
                "predict_batch accepted a response with predictions for half of its rows",
                "the number of predictions is not compared with the number of rows",
            )


async def _check_nan(subject: Subject) -> None:
    """Fail if a call returns a number in the place of a prediction that is NaN.

    NaN is not JSON. A client that reads it nevertheless, and returns it, does not invent a prediction.
    """
    declared = subject.declared
    answer = joined_answers(declared.data, [mark_response(declared.answer, number) for number in (1, 2)])
    second = str(FIRST_RESPONSE + 1)
    body = json.dumps(answer).replace(f"{second}.0", "NaN").replace(second, "NaN")
    async with subject.against(Reply(body=body.encode())) as caller:
        call = await caller.predict_batch()
        is_whole = call.error is None and len(call.requests) == 1
        if is_whole and marks_in_answer(call.answer) == {1} and not shows_missing(call.answer):
            raise caller.fail(
                "predict_batch got NaN as the prediction for a row, and returned neither NaN nor an error",
                "NaN is replaced before the response is read, or after it",
            )


async def own_rows(subject: Subject) -> dict[str, Any]:
    """Fail if a batch call returns other predictions than those for its rows, in their order.

    The rows are marked by numbers that are not in order, and two rows are equal. If the client sends several
    requests, those with higher numbers get their responses later.
    """
    _, ordinary = await _call_with_rows(subject, DIFFERENT, 0.0)
    if ordinary.error is not None or order_in_answer(ordinary.answer) != list(DIFFERENT):
        raise NotJudgedError("predict_batch does not return the first number of [answer] for each row")
    longest = min(LAST_RESPONSE, subject.declared.longest_attempt * 0.5)
    caller, call = await _call_with_rows(subject, ROWS, longest / max(ROWS))
    if call.error is not None:
        raise TooBusyError(f"a call of predict_batch failed: {call.outcome}")
    if (found := order_in_answer(call.answer)) != list(ROWS):
        raise caller.fail(
            f"predict_batch with the rows {_in_words(ROWS)} returned the predictions for the rows "
            f"{_in_words(found) or '(none)'}",
            "predictions are returned in the order in which responses arrive",
            "equal rows are sent once, and their prediction is not returned for each of them",
        )
    return {"rows": len(ROWS), "requests": len(call.requests)}


async def _call_with_rows(subject: Subject, rows: tuple[int, ...], pause: float) -> tuple[Caller, Call]:
    """Make a batch call with marked rows.

    Args:
        subject: client under test.
        rows: marks of the rows.
        pause: seconds until the response to a request, as a multiple of its highest mark.
    """
    declared = subject.declared

    def respond(arrival: Arrival) -> Reply:
        marks = order_of_requests(arrival.body)
        answers = [mark_response(declared.answer, mark) for mark in marks] or [declared.answer]
        return Reply(body=joined_answers(declared.data, answers), delay=pause * max(marks, default=0))

    async with subject.against(respond) as caller:
        marked = [batch_of(mark_request(declared.data, row), declared.protocol) for row in rows]
        call = await caller.predict_batch(rows=[row for twice in marked for row in twice[: len(twice) // 2]])
        return caller, call


def _in_words(rows: Sequence[int]) -> str:
    return ", ".join(map(str, rows))
