"""Checks with concurrent callers: each gets the response to its own request, whatever the others send."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import httpx

from tier0.checks.serving.harness.sender import (
    ABSENT,
    REQUEST_ID,
    OversizedError,
    UnansweredError,
    new_request_id,
)
from tier0.checks.serving.harness.target import NoPredictionError, OverloadedError, Target, answered_of
from tier0.checks.stalls import watched_loop
from tier0.contract.response import is_number
from tier0.core.errors import Tier0Error
from tier0.core.verdict import CheckFailedError, NotJudgedError
from tier0.golden.rows import GoldenRows

CALLERS = 12
MALFORMED = 3
HUGE = 1e300
UNUSUAL: Mapping[str, Callable[[Any], Any]] = {
    "huge numbers": lambda value: HUGE if is_number(value) else value,
    "negative numbers": lambda value: -abs(value) - 1 if is_number(value) else value,
    "zeros": lambda value: type(value)(0) if is_number(value) else value,
    "empty texts": lambda value: "" if isinstance(value, str) else value,
    "missing values": lambda _: None,
}
"""Changes of a row that keep the types of its values, and that a handler may refuse after validation."""
BUSY_CALLERS = 8
BUSY_ROWS = 2000
LIVENESS_LIMIT = 1.0
PROBES_AT_REST = 3
SLOWER = 20
"""How many times slower than at rest a probe may be, in addition to the limit."""
STALLED = 4
"""How many times the longest stall of this process, which shows how busy the machine is, a probe may take."""
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
        bodies = [target.contract.write(target.body(golden.take([row]))).encode() for row in rows]
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


async def strangers_mistakes(target: Target) -> dict[str, Any]:
    """Fail if requests that the service refuses change the responses to concurrent valid requests.

    A row that the service refuses late, in its handler, can make a whole batch fail: such rows are found by
    sending each alone first.
    """
    golden, target = target.golden, target.at_once(CALLERS + MALFORMED)
    first = golden.take([0])
    wrong_row = ["three" if isinstance(value, (int, float)) else 3 for value in first.rows[0]]
    refused = await _refused_rows(target, first)
    strangers = [wrong_row] * (MALFORMED - len(refused)) + list(refused.values())
    causes = [
        "one bad row makes the whole batch fail",
        "requests of several callers are merged into one batch before they are validated",
        *SHARED,
    ]

    async def send_malformed(row: list[Any]) -> None:
        with suppress(UnansweredError, OversizedError):  # only the responses to valid requests matter here
            await target.post(target.request(golden.columns, [row]).encode())

    calls: list[Coroutine[Any, Any, Any]] = [
        target.expect(
            golden.take([number % len(golden)]), "while other callers send rows that are refused", causes
        )
        for number in range(CALLERS)
    ]
    for number, row in enumerate(strangers):
        calls.insert(number * (CALLERS // MALFORMED + 1) + 1, send_malformed(row))
    answered_of(await asyncio.gather(*calls, return_exceptions=True))
    return {"refused": sorted(refused)}


async def _refused_rows(target: Target, row: GoldenRows) -> dict[str, list[Any]]:
    """Return rows of valid types that get no prediction when sent alone, by what is unusual in them."""
    found: dict[str, list[Any]] = {}
    for what, changed in UNUSUAL.items():
        values = [changed(value) for value in row.rows[0]]
        if values == row.rows[0]:
            continue
        try:
            await target.ask_body(target.contract.body(row.columns, [values]))
        except OverloadedError:
            continue
        except (NoPredictionError, UnansweredError):
            found[what] = values
        if len(found) == MALFORMED:
            break
    return found


async def alive_under_load(target: Target) -> dict[str, Any]:
    """Fail if a liveness or health route gets slow, or another status, while large requests are processed."""
    target.require_no_rate("needs the load of many requests")
    golden = target.golden
    probes = await _probes_at_rest(target)
    many = golden.take(
        [0] if target.contract.one_row else [number % len(golden) for number in range(BUSY_ROWS)]
    )
    slow = await _first_slow_probe(target, probes, many)
    if slow is not None:  # a machine that stalls once is not a service that blocks
        slow = await _first_slow_probe(target, probes, many)
    if slow is not None:
        raise slow
    return {"probes": {probe.name: probe.at_rest for probe in probes}}


class _Probe(NamedTuple):
    """A health or liveness route at rest.

    Attributes:
        route: the route.
        method: GET or POST.
        status: its status at rest.
        at_rest: seconds of its slowest response at rest.
    """

    route: str
    method: str
    status: int
    at_rest: float

    @property
    def name(self) -> str:
        """The method and the route."""
        return f"{self.method} {self.route}"


async def _probes_at_rest(target: Target) -> list[_Probe]:
    """Return the liveness route and the health route that respond with a success status at rest.

    Raises:
        NotJudgedError: there is none.
    """
    contract = target.contract
    routes = [(contract.live_route, "GET"), (contract.health, "GET"), (contract.health, "POST")]
    found: dict[str, _Probe] = {}
    status = 0
    for route, method in routes:
        if route is None or route in found or (method == "POST" and status not in ABSENT):
            continue
        seconds = 0.0
        for _ in range(PROBES_AT_REST):
            start = time.perf_counter()
            status = (await target.get(route, method)).status_code
            seconds = max(seconds, time.perf_counter() - start)
            if status >= httpx.codes.BAD_REQUEST:
                break
        else:
            found[route] = _Probe(route, method, status, seconds)
    if not found:
        raise NotJudgedError(
            f"{contract.live_route or contract.health} returned {status}: the route is hidden, or does not "
            "exist",
            code="not_offered",
        )
    return list(found.values())


async def _first_slow_probe(
    target: Target, probes: Sequence[_Probe], many: GoldenRows
) -> CheckFailedError | None:
    """Probe the routes during large requests, whose outputs are compared, and return the failure, if any."""
    loaded = target.under_load()
    busy = [asyncio.ensure_future(loaded.ask_raw(many)) for _ in range(BUSY_CALLERS)]
    slowest = dict.fromkeys(probes, 0.0)
    statuses: dict[_Probe, int] = {}
    try:
        async with watched_loop() as stalls:
            while not all(call.done() for call in busy):
                for probe in probes:
                    start = time.perf_counter()
                    response = await loaded.get(probe.route, probe.method)
                    slowest[probe] = max(slowest[probe], time.perf_counter() - start)
                    if response.status_code not in {probe.status, httpx.codes.TOO_MANY_REQUESTS}:
                        statuses[probe] = response.status_code
        outcomes = await asyncio.gather(*busy, return_exceptions=True)
    finally:
        for call in busy:
            call.cancel()
        await asyncio.gather(*busy, return_exceptions=True)
    for bodies in answered_of(outcomes):
        target.require_match(
            target.parts_of(bodies, many), many, f"one of {BUSY_CALLERS} concurrent large requests", SHARED
        )
    load = f"during {BUSY_CALLERS} concurrent requests of {len(many)} rows"
    for probe, status in statuses.items():
        return CheckFailedError(
            f"{probe.name} returned {status} {load}, and {probe.status} at rest: a probe would restart the "
            "service, or take it out of the load balancer",
            evidence={"under_load": status, "at_rest": probe.status},
            causes=["the health route waits in the queue of the predictions, or reports load as a failure"],
        )
    for probe, seconds in slowest.items():
        limit = LIVENESS_LIMIT + SLOWER * probe.at_rest + STALLED * stalls.longest
        if seconds > limit and probe.method == "GET":  # a health route that is an API may wait like one
            return CheckFailedError(
                f"{probe.name} took {seconds:.1f} s {load} (limit: {limit:.1f} s; at rest: "
                f"{probe.at_rest:.3f} s): a liveness probe would restart the service",
                evidence={"slowest_seconds": seconds, "at_rest": probe.at_rest, "limit": limit},
                causes=["blocking work in an async handler"],
            )
    return None
