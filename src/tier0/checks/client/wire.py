"""What a client sends, and what it takes for a prediction."""

from __future__ import annotations

import json
from typing import Any

from tier0.checks.client.harness.call import Call
from tier0.checks.client.harness.subject import Caller, Subject
from tier0.core.verdict import NotJudgedError
from tier0.faults import Reply

NO_PREDICTIONS = {
    "an empty object": b"{}",
    "null": b"null",
    "NaN": b"NaN",
    "nothing": b"",
    "half of a JSON document": b'{"predictions": [1',
    "an error page": b"<html><body>Bad gateway</body></html>",
}
IDS = ("x-request-id", "traceparent", "x-correlation-id", "request-id")
TRACE_ID, SPAN_ID = 0x1234567890ABCDEF1234567890ABCDEF, 0x1234567890ABCDEF


async def one_request(subject: Subject) -> dict[str, Any]:
    """Fail unless a call that is answered sends exactly one request, with a JSON body."""
    async with subject.against() as caller:
        call = await caller.predict()
        if call.error is not None:
            raise caller.fail(
                f"it does not take the declared answer for a prediction: {call.outcome}",
                "declare [answer] as the client's services give it",
            )
        if len(call.requests) != 1:
            raise caller.fail(
                f"one call sent {len(call.requests)} requests to a service that answered the first"
            )
        request = call.requests[0]
        try:
            json.loads(request.body)
        except ValueError:
            raise caller.fail(f"the body is no JSON: {request.body[:60]!r}", path=request.path) from None
        content_type = request.headers.get("content-type", "")
        if request.method != "POST" or not content_type.startswith("application/json"):
            raise caller.fail(
                f"it sends {request.method} with Content-Type {content_type or 'missing'}: BentoML refuses it"
            )
        return {"path": request.path, "bytes": len(request.body)}


async def no_prediction(subject: Subject) -> None:
    """Fail where a 200 with something that is no prediction is given to the caller as if it were one."""
    taken = {}
    for what, body in NO_PREDICTIONS.items():
        async with subject.against(Reply(body=body)) as caller:
            call = await caller.predict()
            if call.error is None:
                taken[what] = repr(call.answer)[:60]
                last = caller
    if taken:
        names = ", ".join(taken)
        raise last.fail(
            f"with status 200, it takes for a prediction: {names}",
            "the body is not read, or not validated",
            taken=taken,
        )


async def bare_answers(subject: Subject) -> None:
    """Fail where a service's bare list or number is refused, though it was declared to be taken."""
    for body in ([1, 2], 0.5):
        async with subject.against(Reply(body=body)) as caller:
            call = await caller.predict()
            if call.error is not None:
                raise caller.fail(f"it refuses {body!r}: {call.outcome}")


async def one_id(subject: Subject) -> dict[str, Any]:
    """Fail where the requests of one call cannot be told to belong together."""
    attempts = subject.declared.attempts or 1
    if attempts == 1:
        raise NotJudgedError("it never asks twice")
    async with subject.against([Reply(503)] * (attempts - 1) + [subject.ok]) as caller:
        call = await caller.predict()
        if len(call.requests) <= 1:
            raise NotJudgedError("it asked once, see retry.at_most_attempts")
        for name in IDS:
            ids = [request.headers.get(name) for request in call.requests]
            if any(ids) and len({_trace_of(name, one) for one in ids}) > 1:
                raise caller.fail(
                    f"the requests of one call carry different ids in {name}",
                    "the id is made for each attempt",
                    ids=ids,
                )
        if not any(name in call.requests[0].headers for name in IDS):
            raise NotJudgedError("it sends no id with its requests")
        return {"requests": len(call.requests)}


def _trace_of(name: str, value: str | None) -> str | None:
    return value.split("-")[1] if name == "traceparent" and value and value.count("-") > 1 else value


async def own_context(subject: Subject) -> None:
    """Fail where the trace of OpenTelemetry that the caller is in ends at the client."""
    try:
        from opentelemetry import trace  # noqa: PLC0415 - only for who uses it
        from opentelemetry.context import attach, detach  # noqa: PLC0415
    except ModuleNotFoundError:
        raise NotJudgedError("OpenTelemetry's API is not installed: pip install opentelemetry-api") from None
    context = trace.SpanContext(TRACE_ID, SPAN_ID, is_remote=False, trace_flags=trace.TraceFlags(1))
    async with subject.against() as caller:
        token = attach(trace.set_span_in_context(trace.NonRecordingSpan(context)))
        try:
            call: Call = await caller.predict()
        finally:
            detach(token)
        _refuse_another_trace(caller, call)


def _refuse_another_trace(caller: Caller, call: Call) -> None:
    sent = call.requests[0].headers.get("traceparent", "") if call.requests else ""
    if f"{TRACE_ID:032x}" not in sent:
        raise caller.fail(
            f"the caller's trace {TRACE_ID:032x} does not reach the service: traceparent is {sent or 'missing'}"
        )
