"""Does every caller get the response to its own request, whatever other callers send?"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Awaitable
from typing import NamedTuple

import httpx

from tier0.checks.serving.harness.sender import REQUEST_ID, UnansweredError, new_request_id
from tier0.checks.serving.harness.target import Answer, Target, answered_of
from tier0.core.errors import Tier0Error
from tier0.core.verdict import CheckFailedError, NotJudgedError
from tier0.golden.rows import GoldenRows

CALLERS = 14
BUSY_CALLERS = 8
BUSY_ROWS = 2000
LIVENESS_LIMIT = 1.0
OURS = re.compile(r"tier0-[0-9a-f]{32}")
SHARED = [
    "responses of a batch are given to the wrong callers",
    "state is shared between threads",
    "statistics of the merged batch influence the predictions",
]


class _AtOnce(NamedTuple):
    """What callers got that asked at the same time.

    Attributes:
        row: the number of the golden row that each asked for.
        request_id: that each sent.
        outcome: the response to each, or what was raised in its place.
    """

    row: list[int]
    request_id: list[str]
    outcome: list[httpx.Response | BaseException]


async def _ask_at_once(target: Target) -> _AtOnce:
    """Let callers ask at the same time, each for a row of its own and three for the first one; once for all checks that look at it."""
    if "at_once" not in target.memo:
        golden = target.golden
        rows = [*(number % len(golden) for number in range(CALLERS)), 0, 0]
        ids = [new_request_id() for _ in rows]
        bodies = [json.dumps(target.body(golden.take([row]))).encode() for row in rows]
        calls = [
            target.post(body, headers={REQUEST_ID: request_id})
            for body, request_id in zip(bodies, ids, strict=True)
        ]
        target.memo["at_once"] = _AtOnce(rows, ids, await asyncio.gather(*calls, return_exceptions=True))
    found: _AtOnce = target.memo["at_once"]
    return found


async def own_answer(target: Target) -> None:
    """Fail where callers that ask at once, each for another row, or the same one, get each other's answers."""
    golden, asked = target.golden, await _ask_at_once(target)
    answered_of(
        [
            _compared(target, golden.take([row]), outcome)
            for row, outcome in zip(asked.row, asked.outcome, strict=True)
        ]
    )
    target.require_declared()


def _compared(target: Target, row: GoldenRows, outcome: httpx.Response | BaseException) -> Exception | None:
    """Return what is wrong with what one caller got; None if nothing is."""
    body = target.body(row)
    if isinstance(outcome, UnansweredError):
        return target.unanswered(outcome, body)
    if isinstance(outcome, BaseException):
        raise outcome
    try:
        target.refuse_difference(
            target.parts_of([target.answer_of(outcome, body)], row),
            row,
            "a row sent at the same time as those of other callers",
            SHARED,
        )
    except Tier0Error as problem:
        return problem
    return None


async def own_context(target: Target) -> None:
    """Fail where a response carries the request id of another caller, or of an earlier request."""
    asked = await _ask_at_once(target)
    echoed = [
        set(OURS.findall(f"{one.text} {dict(one.headers)}")) if isinstance(one, httpx.Response) else set()
        for one in asked.outcome
    ]
    for request_id, said in zip(asked.request_id, echoed, strict=True):
        if others := sorted(said - {request_id}):
            causes = [
                "the headers of the first request are used for all, or for its whole batch",
                "the context is kept where threads share it",
            ]
            whose = "another caller" if others[0] in asked.request_id else "an earlier caller"
            message = f"a caller that sent {REQUEST_ID}: {request_id} got a response with {others[0]}, which {whose} sent"
            raise CheckFailedError(message, evidence={"sent": request_id, "got": others[0]}, causes=causes)
    if not any(echoed):
        raise NotJudgedError(f"no response carries the {REQUEST_ID} of its request", code="not_offered")


async def strangers_mistakes(target: Target) -> None:
    """Fail where a bad request among good ones harms the others."""
    golden = target.golden
    first = golden.take([0])
    wrong_row = ["three" if isinstance(value, (int, float)) else 3 for value in first.rows[0]]
    bad = json.dumps(target.contract.body(golden.columns, [wrong_row])).encode()
    causes = ["requests of several callers are put into one batch before they are validated", *SHARED]

    async def stranger() -> None:
        try:
            await target.post(bad)
        except UnansweredError:
            return  # what it gets is its own business here

    good = [
        target.expect(
            golden.take([number % len(golden)]), "while other callers send malformed requests", causes
        )
        for number in range(CALLERS)
    ]
    await _all(*good, stranger(), stranger(), stranger())


async def alive_under_load(target: Target) -> None:
    """Fail where /livez takes over a second while large requests are worked on."""
    golden = target.golden
    route = target.contract.live_route
    if route is None:
        raise NotJudgedError(
            "this is not a BentoML service, and the contract names no liveness route (live)",
            code="not_offered",
        )
    if (status := (await target.get(route)).status_code) >= 400:  # neither absent nor alive
        raise NotJudgedError(
            f"{route} returned {status}: it is hidden, or does not exist", code="not_offered"
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
        message = f"{route} took {slowest:.1f} s while {BUSY_CALLERS} requests of {len(many)} rows ran: a liveness probe would restart the service"
        raise CheckFailedError(
            message, evidence={"slowest_seconds": slowest}, causes=["blocking work in an async handler"]
        )


async def _all(*calls: Awaitable[Answer]) -> list[Answer]:
    """Run all at once, wait for all of them, and return what was not refused as too many; see `answered_of`."""
    return answered_of(await asyncio.gather(*calls, return_exceptions=True))
