"""Checks of requests and responses: what the client sends, and what it accepts as a prediction."""

from __future__ import annotations

import asyncio
import json
import math
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from tier0.checks.client.harness.call import Call, excerpt
from tier0.checks.client.harness.markers import (
    mark_request,
    mark_response,
    marks_in_answer,
    marks_of_requests,
)
from tier0.checks.client.harness.protocols import no_predictions_of, problem_of_request, without_body
from tier0.checks.client.harness.subject import (
    CREDENTIALS,
    Caller,
    Subject,
    batch_answer_of,
    ends_soon,
    gather_all,
)
from tier0.checks.client.retry import NOT_RETRIED
from tier0.core.declaration import Declaration
from tier0.core.display import text_of
from tier0.core.verdict import NotJudgedError, TooBusyError
from tier0.faults import Arrival, FaultServer, Reply

NO_PREDICTIONS = {
    "an empty object": b"{}",
    "null": b"null",
    "NaN": b"NaN",
    "an empty body": b"",
    "truncated JSON": b'{"predictions": [1',
    "an HTML page": b"<html><body>Bad gateway</body></html>",
    **{
        re.sub(r': ("[^"]*"|\d+)', ": …", json.dumps(error)): json.dumps(error).encode()
        for error in (
            {"error": "the model is not loaded"},
            {"error": {"code": 500, "message": "the model is not loaded"}},
            {"detail": "the model is not loaded"},
            {"message": "the model is not loaded", "status": "error"},
            {"errors": ["the model is not loaded"]},
        )
    },
}
TEXT_AS_PREDICTIONS = "text in the place of predictions"
FEWER = "fewer predictions than rows"
MAX_SHOWN = 60
"""Maximum number of characters of a body or of a value that the client returned, in a message."""
IDS = ("x-request-id", "traceparent", "x-correlation-id", "request-id")
REQUEST_ID = "x-request-id"
CONCURRENT = 12
REFUSED = (4, 9)
"""Concurrent calls that get status 400."""
MODELS = ("firstmodel", "secondmodel", "thirdmodel")
ORDERS = ("at once", "in reverse")
TOGETHER = 0.15
"""Seconds after the first request at which concurrent calls get their responses."""
REDIRECTS = (301, 302, 303, 307, 308)
ELSEWHERE = "/elsewhere"
METHODS = ("predict", "predict_batch")
UNTIL_OPEN = 3
"""Calls that send no request, after which the circuit is open and stays so."""
TEXT = "Zürich, 東京"
WRONG_LENGTH = ("Content-Length is the number of characters, not of bytes",)
TRACEPARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")
TRACE_ID, SPAN_ID = 0x1234567890ABCDEF1234567890ABCDEF, 0x1234567890ABCDEF


async def one_request(subject: Subject) -> dict[str, Any]:
    """Fail unless a successful call sends exactly one request that a service of its protocol accepts."""
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
        if problem := problem_of_request(subject.declared.protocol, request):
            raise caller.fail(problem, path=request.path, method=request.method, bytes=len(request.body))
        return {"path": request.path, "bytes": len(request.body)}


async def no_prediction(subject: Subject) -> None:
    """Fail if the caller gets the content of a response with status 200 that contains no prediction."""
    await require_validation(subject, "predict", "responses with status 200 were accepted as predictions")


async def require_validation(subject: Subject, method: str, problem: str) -> None:
    """Fail with *problem* if *method* returns the content of a response with status 200 and no prediction.

    A client that takes text in the place of predictions leaves their validation to its callers. What another
    client accepts in that place is a gap in its own validation.
    """
    accepted = {}
    gaps = _gaps(subject, method)
    no_predictions = {**NO_PREDICTIONS, **no_predictions_of(subject.declared.protocol), **gaps}

    async def check(what: str, body: bytes) -> None:
        async with subject.against(Reply(body=body)) as caller:
            call = await caller.predict_by(method)
            if call.error is None and (what != FEWER or len(call.requests) == 1):
                accepted[what] = caller

    await gather_all(*(check(what, body) for what, body in no_predictions.items()))
    if TEXT_AS_PREDICTIONS in accepted:
        accepted = {what: caller for what, caller in accepted.items() if what not in gaps}
    if kinds := [what for what in no_predictions if what in accepted]:
        raise accepted[kinds[0]].fail(
            f"{problem}: {', '.join(kinds)}",
            "the body is not validated",
            taken={what: excerpt(text_of(accepted[what].calls[0].answer, repr), MAX_SHOWN) for what in kinds},
        )


def _gaps(subject: Subject, method: str) -> dict[str, bytes]:
    """Return responses like the declared one whose predictions are none; empty if they cannot be made."""
    answer = subject.ok_batch.body if method == "predict_batch" else subject.declared.answer
    if subject.declared.protocol is not None or not isinstance(answer, dict):
        return {}
    named = [name for name, value in answer.items() if isinstance(value, list) and value]
    if "predictions" not in named:
        return {}
    values = {
        TEXT_AS_PREDICTIONS: "the model is not loaded",
        "null in the place of predictions": None,
        "an empty list of predictions": [],
        "NaN among the predictions": [*answer["predictions"][:-1], math.nan],
    }
    bodies = {what: {**answer, "predictions": value} for what, value in values.items()}
    one = subject.declared.answer
    if method == "predict_batch" and len(one["predictions"]) < len(answer["predictions"]):
        bodies[FEWER] = one
    return {what: json.dumps(body).encode() for what, body in bodies.items()}


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
    """Fail if the service does not receive the caller's OpenTelemetry trace with each request of a call."""
    await gather_all(*(_check_context(subject, method) for method in METHODS))


async def _check_context(subject: Subject, method: str) -> None:
    async with subject.against([Reply(503), subject.ok_of(method)]) as caller:
        if subject.lacks(caller.made, method):
            return
        with _trace(TRACE_ID):
            call = await caller.predict_by(method)
        if method == "predict_batch" and not call.requests:
            return
        contexts = [request.headers.get("traceparent", "") for request in call.requests] or [""]
        for number, sent in enumerate(contexts, 1):
            if f"{TRACE_ID:032x}" in sent and TRACEPARENT.fullmatch(sent) is None:
                raise caller.fail(f"traceparent is not in the format of W3C: {excerpt(sent, MAX_SHOWN)}")
            if f"{TRACE_ID:032x}" not in sent:
                raise caller.fail(
                    f"the service did not receive the trace {TRACE_ID:032x} of the caller of {method} with "
                    f"request {number} of the call: traceparent is {sent or 'missing'}"
                )


async def own_answers(subject: Subject) -> dict[str, Any]:
    """Fail if a concurrent call returns the response, or the error, that belongs to another call."""
    wanted = []
    for method in METHODS:
        async with subject.against() as caller:
            if subject.lacks(caller.made, method):
                continue
            if reason := await _unmarked(caller, method):
                if method == "predict":
                    raise NotJudgedError(reason)
                continue
        wanted.append(method)
    await gather_all(
        *(_check_own_answers(subject, method, round_) for method in wanted for round_ in ORDERS),
        _check_answers_of_models(subject),
    )
    return {"calls": CONCURRENT, "methods": wanted}


async def _unmarked(caller: Caller, method: str) -> str:
    """Return why the calls of a method cannot be told apart; empty if they can."""
    caller.server.script = lambda _: Reply(body=_marked_response(caller.declared, method, 1))
    call = await _marked_call(caller, method, 1)
    if call.error is not None or not call.requests or marks_of_requests(call.requests[0].body) != {1}:
        return f"{method} does not accept or send other numbers than those in [data] and [answer]"
    if marks_in_answer(call.answer) != {1}:
        return f"the values that {method} returns do not contain the first number of [answer]"
    return ""


def _marked_response(declared: Declaration, method: str, number: int) -> Any:
    marked = mark_response(declared.answer, number)
    return marked if method == "predict" else batch_answer_of(declared.data, marked)


async def _marked_call(caller: Caller, method: str, number: int) -> Call:
    return await caller.predict_by(method, data=mark_request(caller.declared.data, number))


async def _check_own_answers(subject: Subject, method: str, order: str) -> None:
    """Make concurrent calls whose responses arrive at once, or in reverse, and compare what they return."""
    longest = min(TOGETHER, subject.declared.longest_attempt * 0.5)
    first: list[float] = []

    def respond(arrival: Arrival) -> Reply:
        first.append(arrival.at)
        number = min(marks_of_requests(arrival.body), default=0)
        due = longest * (1 if order == "at once" else 1 - number / (2 * CONCURRENT))
        delay = max(0.0, first[0] + due - arrival.at)
        if number in REFUSED:
            return Reply(400, {"error": f"call {number} is refused"}, delay=delay)
        return Reply(body=_marked_response(subject.declared, method, number), delay=delay)

    async with subject.against(respond) as caller:
        numbers = range(1, CONCURRENT + 1)
        calls = await asyncio.gather(*(_marked_call(caller, method, number) for number in numbers))
        for number, call in zip(numbers, calls, strict=True):
            sent = [request for request in caller.log.arrivals if number in marks_of_requests(request.body)]
            others = marks_in_answer(call.answer) - {number}
            if others and call.error is None:
                raise caller.fail(
                    f"of {CONCURRENT} concurrent calls of {method}, call {number} returned the response to "
                    f"call {min(others)}",
                    "the response is kept in an attribute of the client, which all calls share",
                )
            if number in REFUSED and {request.status for request in sent} == {400} and call.error is None:
                raise caller.fail(
                    f"of {CONCURRENT} concurrent calls of {method}, call {number} got status 400, but "
                    "returned without an error",
                    "the error is kept in an attribute of the client, which all calls share",
                )
        answered = sum(call.error is None for call in calls)
        if answered < 2:
            raise TooBusyError(
                f"of {CONCURRENT} concurrent calls of {method}, {answered} returned (a response takes "
                f"{longest * 1000:.0f} ms): {next(call.outcome for call in calls if call.error is not None)}"
            )


async def _check_answers_of_models(subject: Subject) -> None:
    """Make calls of several models with the same data, at once and one after another, and compare them."""

    def respond(arrival: Arrival) -> Reply:
        text = arrival.path + arrival.body.decode("utf-8", "replace")
        number = next((n for n, name in enumerate(MODELS, 1) if name in text), len(MODELS) + 1)
        delay = longest if arrival.number < len(MODELS) else 0.0
        return Reply(body=_marked_response(subject.declared, "predict", number), delay=delay)

    longest = min(TOGETHER, subject.declared.longest_attempt * 0.5)
    async with subject.against(respond) as caller:
        if subject.lacks(caller.made, "model"):
            return
        calls = await asyncio.gather(*(caller.predict(model=name) for name in MODELS))
        calls += [await caller.predict(model=name) for name in MODELS]
        for call, number in zip(calls, [*range(1, len(MODELS) + 1)] * 2, strict=True):
            others = marks_in_answer(call.answer) - {number, len(MODELS) + 1}
            if others and call.error is None:
                raise caller.fail(
                    f"a call of the model {MODELS[number - 1]!r} returned the response of the model "
                    f"{MODELS[min(others) - 1]!r} to the same data",
                    "calls with equal data share a request or a stored response, whichever their model is",
                )


async def redirects(subject: Subject) -> None:
    """Fail if a redirect to another host is followed, or one on the same host becomes a GET request."""
    for status in REDIRECTS:
        await gather_all(
            _check_redirect(subject, status),
            _check_redirect_on_the_same_host(subject, status),
        )
    others = ("predict_batch", "health")
    await gather_all(*(_check_redirect(subject, REDIRECTS[-1], method) for method in others))


async def _check_redirect_on_the_same_host(subject: Subject, status: int) -> None:
    def script(arrival: Arrival) -> Reply:
        if arrival.path == ELSEWHERE and arrival.method == "GET":
            return subject.ok
        return Reply(status, b"", headers={"Location": ELSEWHERE})

    async with subject.against(script) as caller:
        call = await caller.predict()
        if any(arrival.method == "GET" and arrival.path == ELSEWHERE for arrival in call.requests):
            raise caller.fail(
                f"a redirect (status {status}) on the same host was followed with GET, without the data of "
                "the call",
                "the HTTP library follows redirects (follow_redirects, allow_redirects)",
            )
        if call.error is None:
            raise caller.fail(
                f"a redirect (status {status}) was accepted as a prediction", "the status is not checked"
            )


async def no_stand_in(subject: Subject) -> None:
    """Fail if a call that got no prediction returns one: that of an earlier call, or a default."""
    work = [_check_stand_in(subject, method, Reply(503), "status 503") for method in METHODS]
    work.append(_check_stand_in(subject, "predict", Reply.broken("reset"), "reset connections"))
    if ends_soon(subject.declared):
        work += [_check_stand_in(subject, method, Reply.hang(), "no response", 1) for method in METHODS]
    await gather_all(*work)


async def _check_stand_in(subject: Subject, method: str, reply: Reply, got: str, calls: int = 0) -> None:
    """Make one call that succeeds, and others that get *reply*, which must not succeed.

    Args:
        subject: client under test.
        method: method to call.
        reply: responses to the other calls.
        got: what these calls get, in words.
        calls: their number; by default, they are made until the circuit is open.
    """
    threshold = subject.declared.threshold or 1
    async with subject.against(subject.ok_batch if method == "predict_batch" else subject.ok) as caller:
        if subject.lacks(caller.made, method):
            return
        first = await caller.predict_by(method)
        if first.error is not None:
            if method == "predict_batch":
                return
            raise NotJudgedError("the client does not accept the declared response: see wire.one_request")
        caller.server.script = reply
        rejected = 0
        for _ in range(calls or threshold * 2 + UNTIL_OPEN):
            call = await caller.predict_by(method)
            if call.error is None:
                why = "sent no request" if not call.requests else f"got only {got}"
                returned = excerpt(text_of(call.answer, repr), MAX_SHOWN)
                raise caller.fail(
                    f"a call of {method} that {why} returned {returned}",
                    "the last or a default prediction is returned while the service fails: declare fallback "
                    "if callers can tell it from a prediction",
                )
            rejected += call.rejected
            if rejected == UNTIL_OPEN:
                return


async def _check_redirect(subject: Subject, status: int, method: str = "predict") -> None:
    """Fail if *method* follows a redirect to another host; a health check may, but without credentials."""
    with FaultServer(subject.ok) as other:
        there = Reply(status, b"", headers={"Location": f"http://localhost:{other.port}/elsewhere"})
        async with subject.against(there) as caller:
            if subject.lacks(caller.made, method):
                return
            await caller.call_by(method)
            if not other.arrivals:
                return
            arrival = other.arrivals[0]
            names = [name for name in CREDENTIALS if name in arrival.headers]
            if method == "health" and not names:
                return
            sent = "".join(f" and {name}" for name in names)
            with_data = "the data of the call" if arrival.body else "a request without the data"
            raise caller.fail(
                f"a redirect (status {status}) of {method} to another host was followed: {arrival.method} "
                f"with {with_data}{sent} was sent to that host",
                "the HTTP library follows redirects (follow_redirects, allow_redirects)",
            )


async def same_request(subject: Subject) -> dict[str, Any]:
    """Fail if a repeated request differs from the first in method, path or body, or lacks its credentials."""
    for reply in (Reply(503), Reply.broken()):
        async with subject.against([reply, subject.ok]) as caller:
            call = await caller.predict()
            if len(call.requests) > 1:
                break
    if len(call.requests) <= 1:
        raise NotJudgedError(NOT_RETRIED)
    first, *others = call.requests
    for number, request in enumerate(others, 2):
        different = [
            name
            for name in ("method", "path", "body")
            if _comparable(getattr(request, name)) != _comparable(getattr(first, name))
        ]
        lost = [name for name in CREDENTIALS if name in first.headers and name not in request.headers]
        if lost:  # a signature may differ, since it can depend on the time
            raise caller.fail(
                f"request {number} of a call lacks {' and '.join(lost)}, which the first has",
                "the headers of a repeated request are made in another place than those of the first",
            )
        if different:
            raise caller.fail(
                f"request {number} of a call has another {' and another '.join(different)} than the first "
                f"({len(request.body)} bytes, expected {len(first.body)})",
                "the body is a stream that the first attempt has consumed",
            )
    return {"requests": len(call.requests)}


def _comparable(value: Any) -> Any:
    """Return the JSON in a body, or the value itself: the order of keys may differ."""
    try:
        return json.loads(value) if isinstance(value, bytes) else value
    except ValueError:
        return value


async def whole_body(subject: Subject) -> dict[str, Any]:
    """Fail if text beyond ASCII leads to a body that does not have the length in its header."""
    found = await _check_whole_body(subject, "predict", _with_text(subject.declared.data))
    features = subject.declared.data.get("features")
    if isinstance(features, list) and features and isinstance(features[0], list):
        async with subject.against() as caller:
            lacks_batch = subject.lacks(caller.made, "predict_batch")
        if not lacks_batch:
            with suppress(NotJudgedError):  # a batch need not accept text in its rows
                rows = [[*row, TEXT] for row in features]
                await _check_whole_body(subject, "predict_batch", {"features": rows})
    return found


async def _check_whole_body(subject: Subject, method: str, data: Any) -> dict[str, Any]:
    """Make a call with text beyond ASCII, and return the length of its body.

    Raises:
        CheckFailedError: the body does not have the length in its header.
        NotJudgedError: the client does not send the text.
    """
    async with subject.against() as caller:
        call = await caller.predict_by(method, data=data)
        incomplete = [entry for entry in caller.log.noted if entry.what == "incomplete"]
        if incomplete:
            declared, received = incomplete[0].detail["declared"], incomplete[0].detail["received"]
            raise caller.fail(
                f"a request of {method} promised {declared} bytes (Content-Length), but only {received} "
                "followed",
                *WRONG_LENGTH,
            )
        if not call.requests:
            raise NotJudgedError(f"{method} does not accept text that was added to [data]: {call.outcome}")
        request = call.requests[0]
        body = request.body
        if not body:
            problem = f"with text beyond ASCII in the data, {without_body(request)}"
            raise caller.fail(problem, method=request.method, bytes=0)
        try:
            is_whole = TEXT in json.dumps(json.loads(body), ensure_ascii=False)
        except ValueError:
            raise caller.fail(
                f"with text beyond ASCII in the data, the request body of {method} ends after {len(body)} "
                "bytes, as its Content-Length says, and is not valid JSON",
                *WRONG_LENGTH,
            ) from None
        if not is_whole:
            raise NotJudgedError(f"{method} does not send text that was added to [data]")
        return {"bytes": len(body)}


def _with_text(data: Any) -> Any:
    """Return the argument of ``predict`` with text beyond ASCII.

    Raises:
        NotJudgedError: the declared data is not a table.
    """
    if not isinstance(data, dict):
        raise NotJudgedError("[data] is not a table, so that no text can be added to it")
    return {**data, "note": TEXT}


async def own_id(subject: Subject) -> dict[str, Any]:
    """Fail if different calls, of one client or of two, carry the same request id."""
    async with subject.against() as caller, subject.against() as another:
        calls = [await caller.predict() for _ in range(2)]
        calls += await caller.together(3)
        if not subject.lacks(caller.made, "predict_batch"):
            calls += await _batches_of_one_request(caller)
        calls.append(await another.predict())
        arrivals = (*caller.log.arrivals, *another.log.arrivals)
        ids = [request.headers.get(REQUEST_ID) for request in arrivals]
        if len(ids) < len(calls) or None in ids:
            raise NotJudgedError(f"the client's requests have no {REQUEST_ID}")
        if len(set(ids)) < len({id(call) for call in calls}):
            raise caller.fail(
                f"{len({id(call) for call in calls})} calls carry only {len(set(ids))} different values of "
                f"{REQUEST_ID}",
                "the id is generated once for a client, or counted, and not generated for each call",
                ids=ids,
            )
        return {"ids": len(ids)}


async def _batches_of_one_request(caller: Caller) -> list[Call]:
    """Make two batch calls, and return them; only one, if it sends several requests, or none."""
    caller.server.script = Reply(body=batch_answer_of(caller.declared.data, caller.declared.answer))
    first = await caller.predict_batch()
    if len(first.requests) != 1:
        return [first] * len(first.requests)
    return [first, await caller.predict_batch()]


@contextmanager
def _trace(trace_id: int) -> Iterator[None]:
    """Make a span of the trace *trace_id* the current one until the block ends.

    Raises:
        NotJudgedError: OpenTelemetry is not installed.
    """
    try:
        from opentelemetry import trace  # noqa: PLC0415 - optional dependency
        from opentelemetry.context import attach, detach  # noqa: PLC0415
    except ModuleNotFoundError:
        raise NotJudgedError("OpenTelemetry's API is not installed: pip install opentelemetry-api") from None
    context = trace.SpanContext(trace_id, SPAN_ID, is_remote=False, trace_flags=trace.TraceFlags(1))
    token = attach(trace.set_span_in_context(trace.NonRecordingSpan(context)))
    try:
        yield
    finally:
        detach(token)


async def contexts_apart(subject: Subject) -> dict[str, Any]:
    """Fail if a call sends the trace context of another call's caller."""

    async def call(caller: Caller, number: int) -> None:
        with _trace(TRACE_ID + number):
            await caller.predict(data=mark_request(caller.declared.data, number))

    async with subject.against() as caller:
        for number in range(1, 3):
            await call(caller, number)
        await asyncio.gather(*(call(caller, number) for number in range(3, CONCURRENT)))
        compared = 0
        for request in caller.log.arrivals:
            sent = TRACEPARENT.fullmatch(request.headers.get("traceparent", ""))
            for number in marks_of_requests(request.body) if sent else ():
                compared += 1
                if sent and sent[1] != f"{TRACE_ID + number:032x}":
                    raise caller.fail(
                        f"call {number} sent trace {sent[1]}, but its caller's is {TRACE_ID + number:032x}",
                        "the context of the first call, or of the client's creation, is used for all calls",
                    )
        if not compared:
            raise NotJudgedError(
                "no request has a traceparent and a number from [data]: see wire.own_context"
            )
        return {"requests": compared}
