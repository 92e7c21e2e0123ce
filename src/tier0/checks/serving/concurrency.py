"""Checks with concurrent callers: each gets the response to its own request, whatever the others send."""

from __future__ import annotations

import asyncio
import json
import re
import time
from contextlib import suppress
from typing import NamedTuple

import httpx

from tier0.checks.serving.harness.sender import REQUEST_ID, UnansweredError, new_request_id
from tier0.checks.serving.harness.target import Target, answered_of
from tier0.core.errors import Tier0Error
from tier0.core.verdict import CheckFailedError, NotJudgedError
from tier0.golden.rows import GoldenRows

CALLERS = 14
MALFORMED = 3
BUSY_CALLERS = 8
BUSY_ROWS = 2000
LIVENESS_LIMIT = 1.0
OURS = re.compile(rb"tier0-[0-9a-f]{32}")
SHARED = [
    "responses of a batch are assigned to the wrong callers",
    "threads share state",
    "predictions depend on statistics of the merged batch",
]


class _ConcurrentRequests(NamedTuple):
    """Concurrent requests, one per caller.

    Attributes:
        row: index of the golden row in each request.
        request_id: request id of each request.
        outcome: response to each request, or exception.
    """

    row: list[int]
    request_id: list[str]
    outcome: list[httpx.Response | BaseException]


async def _send_concurrently(target: Target) -> _ConcurrentRequests:
    """Send one golden row per caller, the first row three times; the result is shared by all checks."""
    if "at_once" not in target.memo:
        golden = target.golden
        rows = [*(number % len(golden) for number in range(CALLERS)), 0, 0]
        ids = [new_request_id() for _ in rows]
        bodies = [json.dumps(target.body(golden.take([row]))).encode() for row in rows]
        limited = target.at_once(len(rows))
        calls = [
            limited.post(body, headers={REQUEST_ID: request_id})
            for body, request_id in zip(bodies, ids, strict=True)
        ]
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        target.memo["at_once"] = _ConcurrentRequests(rows, ids, outcomes)
    requests: _ConcurrentRequests = target.memo["at_once"]
    return requests


async def own_answer(target: Target) -> None:
    """Fail if concurrent callers get wrong outputs for their rows."""
    golden, sent = target.golden, await _send_concurrently(target)
    answered_of(
        [
            _problem(target, golden.take([row]), outcome)
            for row, outcome in zip(sent.row, sent.outcome, strict=True)
        ]
    )
    target.require_declared()


def _problem(target: Target, row: GoldenRows, outcome: httpx.Response | BaseException) -> Exception | None:
    """Return the problem with the response to one caller, or None."""
    body = target.body(row)
    if isinstance(outcome, UnansweredError):
        return target.unanswered(outcome, body)
    if isinstance(outcome, BaseException):
        raise outcome
    try:
        target.require_match(
            target.parts_of([target.answer_of(outcome, body)], row),
            row,
            "a row sent concurrently with those of other callers",
            SHARED,
        )
    except Tier0Error as problem:
        return problem
    return None


async def own_context(target: Target) -> None:
    """Fail if a response contains the request id of another caller or of an earlier request."""
    sent = await _send_concurrently(target)
    echoed = [
        _ids_in(response) if isinstance(response, httpx.Response) else set() for response in sent.outcome
    ]
    for request_id, ids in zip(sent.request_id, echoed, strict=True):
        if others := sorted(ids - {request_id}):
            whose = "another caller" if others[0] in sent.request_id else "an earlier caller"
            raise CheckFailedError(
                f"the response to the request with {REQUEST_ID}: {request_id} contains {others[0]}, "
                f"the id that {whose} sent",
                evidence={"sent": request_id, "got": others[0]},
                causes=[
                    "the headers of the first request are used for its whole batch",
                    "the request context is stored in a variable that threads share",
                ],
            )
    if not any(echoed):
        raise NotJudgedError(f"no response carries the {REQUEST_ID} of its request", code="not_offered")


def _ids_in(response: httpx.Response) -> set[str]:
    """Return the ids of requests of Tier0 in the headers and the body of a response."""
    values = (value for _, value in response.headers.raw)
    return {found.decode() for text in (response.content, *values) for found in OURS.findall(text)}


async def strangers_mistakes(target: Target) -> None:
    """Fail if malformed requests change the responses to concurrent valid requests."""
    golden, target = target.golden, target.at_once(CALLERS + MALFORMED)
    first = golden.take([0])
    wrong_row = ["three" if isinstance(value, (int, float)) else 3 for value in first.rows[0]]
    bad = json.dumps(target.contract.body(golden.columns, [wrong_row])).encode()
    causes = ["requests of several callers are merged into one batch before they are validated", *SHARED]

    async def send_malformed() -> None:
        with suppress(UnansweredError):  # only the responses to the valid requests matter here
            await target.post(bad)

    good = [
        target.expect(
            golden.take([number % len(golden)]), "while other callers send malformed requests", causes
        )
        for number in range(CALLERS)
    ]
    malformed = [send_malformed() for _ in range(MALFORMED)]
    answered_of(await asyncio.gather(*good, *malformed, return_exceptions=True))


async def alive_under_load(target: Target) -> None:
    """Fail if the liveness route takes more than a second while large requests are being processed."""
    golden = target.golden
    route = target.contract.live_route
    if route is None:
        raise NotJudgedError(
            "this is not a BentoML service, and the contract names no liveness route (live)",
            code="not_offered",
        )
    if (status := (await target.get(route)).status_code) >= 400:
        raise NotJudgedError(
            f"{route} returned {status}: the route is hidden, or does not exist", code="not_offered"
        )
    many = golden.take(
        [0] if target.contract.one_row else [number % len(golden) for number in range(BUSY_ROWS)]
    )
    busy = [asyncio.ensure_future(target.under_load().ask(many)) for _ in range(BUSY_CALLERS)]
    slowest = 0.0
    try:
        while not all(call.done() for call in busy):
            start = time.perf_counter()
            await target.get(route)
            slowest = max(slowest, time.perf_counter() - start)
        answered_of(await asyncio.gather(*busy, return_exceptions=True))
    finally:
        for call in busy:
            call.cancel()
        await asyncio.gather(*busy, return_exceptions=True)
    if slowest > LIVENESS_LIMIT:
        raise CheckFailedError(
            f"{route} took {slowest:.1f} s during {BUSY_CALLERS} concurrent requests of {len(many)} rows "
            f"(limit: {LIVENESS_LIMIT:g} s): a liveness probe would restart the service",
            evidence={"slowest_seconds": slowest},
            causes=["blocking work in an async handler"],
        )
