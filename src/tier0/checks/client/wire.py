"""Checks of requests and responses: what the client sends, and what it accepts as a prediction."""

from __future__ import annotations

import json
from typing import Any

from tier0.checks.client.harness.call import excerpt
from tier0.checks.client.harness.subject import Subject
from tier0.checks.client.retry import NOT_RETRIED
from tier0.core.verdict import NotJudgedError
from tier0.faults import Reply

NO_PREDICTIONS = {
    "an empty object": b"{}",
    "null": b"null",
    "NaN": b"NaN",
    "an empty body": b"",
    "truncated JSON": b'{"predictions": [1',
    "an HTML page": b"<html><body>Bad gateway</body></html>",
}
MAX_SHOWN = 60
"""Maximum number of characters of a body or of a value that the client returned, in a message."""
IDS = ("x-request-id", "traceparent", "x-correlation-id", "request-id")
TRACE_ID, SPAN_ID = 0x1234567890ABCDEF1234567890ABCDEF, 0x1234567890ABCDEF


async def one_request(subject: Subject) -> dict[str, Any]:
    """Fail unless a successful call sends exactly one request, with a JSON body."""
    async with subject.against() as caller:
        call = await caller.predict()
        if call.error is not None:
            raise caller.fail(
                f"the client did not accept the declared response as a prediction: {call.outcome}",
                "[answer] in the declaration is not a response of the client's services",
            )
        if len(call.requests) != 1:
            raise caller.fail(
                f"one call sent {len(call.requests)} requests although the first was successful"
            )
        request = call.requests[0]
        try:
            json.loads(request.body)
        except ValueError:
            raise caller.fail(
                f"the request body is not valid JSON: {excerpt(repr(request.body), MAX_SHOWN)}",
                path=request.path,
            ) from None
        content_type = request.headers.get("content-type", "")
        if request.method != "POST" or not content_type.startswith("application/json"):
            raise caller.fail(
                f"the client sent {request.method} with Content-Type {content_type or 'missing'} "
                "(expected POST with application/json)"
            )
        return {"path": request.path, "bytes": len(request.body)}


async def no_prediction(subject: Subject) -> None:
    """Fail if the caller gets the content of a response with status 200 that contains no prediction."""
    accepted = {}
    for what, body in NO_PREDICTIONS.items():
        async with subject.against(Reply(body=body)) as caller:
            call = await caller.predict()
            if call.error is None:
                accepted[what] = excerpt(repr(call.answer), MAX_SHOWN)
                last = caller
    if accepted:
        raise last.fail(
            f"responses with status 200 were accepted as predictions: {', '.join(accepted)}",
            "the body is not validated",
            taken=accepted,
        )


async def bare_answers(subject: Subject) -> None:
    """Fail if a bare list or number, which the client declares to accept, raises an error.

    The list has as many predictions as the declared response, and the number is for a single one.
    """
    predictions = _predictions_in(subject.declared.answer)
    bodies = [predictions, *(value for value in predictions if isinstance(value, (int, float)))]
    for body in bodies if len(predictions) == 1 else [predictions]:
        async with subject.against(Reply(body=body)) as caller:
            call = await caller.predict()
            if call.error is not None:
                raise caller.fail(f"the client did not accept the response {body!r}: {call.outcome}")


def _predictions_in(answer: Any) -> list[Any]:
    """Return the list in a response that has one item for each row; ``[1]`` if it has no list."""
    lists = [answer.get("predictions"), *answer.values()] if isinstance(answer, dict) else [answer]
    return next((found for found in lists if isinstance(found, list) and found), [1])


async def one_id(subject: Subject) -> dict[str, Any]:
    """Fail if the requests of one call carry different ids."""
    attempts = subject.declared.attempts or 1
    async with subject.against([subject.retried] * (attempts - 1) + [subject.ok]) as caller:
        call = await caller.predict()
        if len(call.requests) <= 1:
            raise NotJudgedError(NOT_RETRIED)
        for name in IDS:
            ids = [request.headers.get(name) for request in call.requests]
            if any(ids) and len({_trace_of(name, id_) for id_ in ids}) > 1:
                raise caller.fail(
                    f"the requests of one call carry different values of {name}",
                    "a new id is generated for each attempt",
                    ids=ids,
                )
        if not any(name in call.requests[0].headers for name in IDS):
            raise NotJudgedError(f"the client's requests have no id (none of {', '.join(IDS)})")
        return {"requests": len(call.requests)}


def _trace_of(name: str, value: str | None) -> str | None:
    return value.split("-")[1] if name == "traceparent" and value and value.count("-") > 1 else value


async def own_context(subject: Subject) -> None:
    """Fail if the service does not receive the caller's OpenTelemetry trace."""
    try:
        from opentelemetry import trace  # noqa: PLC0415 - optional dependency
        from opentelemetry.context import attach, detach  # noqa: PLC0415
    except ModuleNotFoundError:
        raise NotJudgedError("OpenTelemetry's API is not installed: pip install opentelemetry-api") from None
    context = trace.SpanContext(TRACE_ID, SPAN_ID, is_remote=False, trace_flags=trace.TraceFlags(1))
    async with subject.against() as caller:
        token = attach(trace.set_span_in_context(trace.NonRecordingSpan(context)))
        try:
            call = await caller.predict()
        finally:
            detach(token)
        sent = call.requests[0].headers.get("traceparent", "") if call.requests else ""
        if f"{TRACE_ID:032x}" not in sent:
            raise caller.fail(
                f"the service did not receive the caller's trace {TRACE_ID:032x}: traceparent is "
                f"{sent or 'missing'}"
            )
