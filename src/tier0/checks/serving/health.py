"""Checks of the health and readiness routes."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import Any

import httpx
import psutil

from tier0.checks.serving.harness.fields import admits_no_model
from tier0.checks.serving.harness.sender import ABSENT, UNREACHABLE, UnansweredError, decode_json
from tier0.checks.serving.harness.target import NO_GOLDEN, SLOWEST, Target
from tier0.core.errors import Tier0Error
from tier0.core.verdict import CheckFailedError, NotJudgedError

READINESS = "ready"
"""Key of the memo of a target for the response of the readiness route before any row was sent."""
BECOMES_READY_WITHIN = 2.0
"""Seconds that a service gets to become ready before rows are sent."""
RESPONDS_WITHIN = 1.0
STILL_STARTING = 1.0
"""Seconds of a first prediction after which the service may have been starting until then."""
POLL = 0.25
WARM_UP = 5
PROBES = 60
HIDDEN = {httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN}
READY_FIELDS = ("model_loaded", "ready", "models_loaded", "models", "loaded")
PROBLEMS = {
    "unhealthy", "degraded", "down", "fail", "failed", "failing", "error", "critical", "starting",
    "not ready", "not_ready", "unavailable", "false",
}  # fmt: skip


async def remember_readiness(target: Target) -> None:
    """Put the response of the readiness route, before any row is sent, into the memo of the target."""
    route = target.contract.ready_route
    if route is None:
        return
    deadline = time.monotonic() + BECOMES_READY_WITHIN
    with suppress(Tier0Error, TimeoutError):  # the checks report what is wrong
        while True:
            async with asyncio.timeout(RESPONDS_WITHIN + target.sender.longest_wait):
                response = await target.get(route)
            if response.status_code != httpx.codes.SERVICE_UNAVAILABLE or time.monotonic() > deadline:
                break
            await asyncio.sleep(POLL)
        target.memo[READINESS] = response


async def ready(target: Target) -> None:
    """Fail if the readiness route does not return 200, or does so only after a prediction."""
    route = target.contract.ready_route
    if route is None:
        raise NotJudgedError(
            "this is not a BentoML service, and the contract names no readiness route (ready)",
            code="not_offered",
        )
    before_rows: httpx.Response | None = target.memo.pop(READINESS, None)
    if before_rows is not None and before_rows.status_code == httpx.codes.OK:
        return
    response = await target.get(route)
    if (
        before_rows is not None
        and before_rows.status_code == httpx.codes.SERVICE_UNAVAILABLE
        and response.status_code == httpx.codes.OK
        and target.memo.get(SLOWEST, 0.0) < STILL_STARTING
    ):
        raise CheckFailedError(
            f"{route} returned 503 for {BECOMES_READY_WITHIN:g} s, and 200 only after rows had been "
            "predicted: a load balancer will not send the requests that make this service ready",
            evidence={"before": before_rows.status_code, "after": response.status_code},
            causes=[
                "the model is loaded by the first request",
                "the service was still starting: --wait SECONDS waits for it",
            ],
        )
    if response.status_code in ABSENT | HIDDEN:
        raise NotJudgedError(
            f"{route} returned {response.status_code}: the route is hidden, or does not exist",
            code="not_offered",
        )
    if response.status_code in UNREACHABLE and target.process is None:
        raise UnansweredError(
            f"{route} returned {response.status_code}: a proxy got no response from the service"
        )
    if response.status_code != httpx.codes.OK:
        message = (
            f"{route} returned {response.status_code}: a load balancer will not route traffic to this service"
        )
        raise CheckFailedError(
            message,
            evidence={"status": response.status_code},
            causes=["a worker is still starting", "a dependency is down"],
            reproduce=target.curl_to(route),
        )


async def body_agrees(target: Target) -> None:
    """Fail if the health route returns 200, but its body reports a problem."""
    response = await _health(target)
    try:
        body: Any = decode_json(response)
    except ValueError:
        raise NotJudgedError("the health route has no JSON body", code="not_offered") from None
    if response.status_code != httpx.codes.OK or not isinstance(body, dict):
        raise NotJudgedError(
            f"the health route returned {response.status_code}, and its body has nothing to compare with that"
        )
    status = str(body.get("status", "healthy")).lower()
    not_ready = [name for name in READY_FIELDS if name in body and not body[name]]
    admitted = [name for name, value in body.items() if admits_no_model(str(name), value)]
    not_ready += [name for name in admitted if name not in {"status", *not_ready}]
    if status in PROBLEMS or admitted or not_ready:
        problem = ", ".join([status, *(f"{name}: {body[name]}" for name in not_ready[:1])])
        raise CheckFailedError(
            f"the health route returned 200, but its body reports {problem}",
            evidence={"body": target.quote(response)},
            causes=[
                "no model is loaded, and the health route does not check that",
                "the status is hard-coded",
            ],
            reproduce=target.curl_to(str(response.url).removeprefix(target.url), response.request.method),
        )


async def can_predict(target: Target) -> None:
    """Fail if the health route returns 200, but the golden rows get no prediction."""
    if target.rows is None:
        raise NotJudgedError(NO_GOLDEN, code="no_golden")
    response = await _health(target)
    if response.status_code == httpx.codes.OK:
        await target.golden_answer()


async def probes_leak_nothing(target: Target) -> dict[str, Any]:
    """Fail if health probes leave files or connections open in the service's processes."""
    pids = target.own_process.pids
    await _probe(target, WARM_UP)
    before = _open_files(pids)
    await _probe(target, PROBES)
    opened = _open_files(pids) - before
    evidence = {"probes": PROBES, "files_and_connections_opened": opened}
    if opened > PROBES // 2:
        causes = [
            "the response of a dependency's health route is not closed",
            "a new client is created for every probe and not closed",
        ]
        raise CheckFailedError(
            f"{PROBES} health probes left {opened} files or connections open",
            evidence=evidence,
            causes=causes,
        )
    return evidence


async def _probe(target: Target, count: int) -> None:
    for _ in range(count):
        await _health(target)


def _open_files(pids: list[int]) -> int:
    total = 0
    for pid in pids:
        with suppress(psutil.Error):
            total += psutil.Process(pid).num_fds()
    return total


async def _health(target: Target) -> httpx.Response:
    ready = target.contract.ready_route
    for route, method in (
        (target.contract.health, "GET"),
        (target.contract.health, "POST"),
        *([(ready, "GET")] if ready else []),
    ):
        response = await target.get(route, method)
        if response.status_code not in ABSENT:
            return response
    raise NotJudgedError("no health route responds", code="not_offered")
