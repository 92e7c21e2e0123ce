"""How fast is the service, and does it stay fast? Reported; only a factor of ten fails."""

from __future__ import annotations

import asyncio
import statistics
import time
from contextlib import suppress
from typing import Any

import psutil

from tier0.checks.serving.harness.sender import UnansweredError
from tier0.checks.serving.harness.target import NO_ANSWER, Target, answered_of
from tier0.core.verdict import CheckFailedError
from tier0.golden.rows import GoldenRows

SEQUENTIAL_REQUESTS = 50
CALLERS = 32
REQUESTS_PER_CALLER = 5
WORST_FACTOR = 10
ALWAYS_ALLOWED = 0.010
"""Seconds for HTTP, parsing and a busy machine, on top of which a model's own time counts."""
WARM_UP = 100
MEASURED = 400
AT_ONCE = 4
MIN_SAMPLES = 5
MAX_SECONDS = 5.0
"""Seconds for each part of the measurement: a slow service is asked less often."""
GROWTH = 64 * 1024
"""Bytes a request: a service that grows like that fills a gigabyte within 16,000 requests."""


async def latency(target: Target) -> dict[str, Any]:
    """Report the latency of one row; fail beyond ten times what the model in memory took, and ten times 10 ms."""
    row = target.golden.take([0])
    alone = sorted(await _one_by_one(target, row, SEQUENTIAL_REQUESTS))
    median, in_memory = statistics.median(alone), target.golden.seconds
    evidence = {
        "p50_ms": median * 1000,
        "p95_ms": alone[int(len(alone) * 0.95)] * 1000,
        "p99_ms": alone[int(len(alone) * 0.99)] * 1000,
        "in_memory_ms": None if in_memory is None else in_memory * 1000,
        "served_ms": [round(seconds * 1000, 3) for seconds in alone],
    }
    if target.contract.is_batchable:
        return {
            **evidence,
            "batchable": "the service waits for other requests to batch with, as configured: latency is reported, but not checked",
        }
    if in_memory is not None and median > WORST_FACTOR * (in_memory + ALWAYS_ALLOWED):
        message = f"one row takes {median * 1000:.0f} ms (median of {len(alone)} requests), but the model in memory took {in_memory * 1000:.1f} ms"
        causes = [
            "the model uses many threads for every single row (n_jobs)",
            "the model is loaded, or a client made, for every request",
        ]
        raise CheckFailedError(
            message, evidence=evidence, causes=causes, reproduce=f"time {target.curl(target.body(row))}"
        )
    return evidence


async def many_callers(target: Target) -> dict[str, Any]:
    """Report how many rows a second one caller and 32 get; fail where many together get a tenth of what one gets."""
    row = target.golden.take([0])
    alone = await _one_by_one(target, row, SEQUENTIAL_REQUESTS // 2)
    start = time.perf_counter()
    busy = target.under_load()
    outcomes = await asyncio.gather(
        *(_seconds(busy, row) for _ in range(CALLERS * REQUESTS_PER_CALLER)), return_exceptions=True
    )
    if unanswered := [outcome for outcome in outcomes if isinstance(outcome, UnansweredError)]:
        try:
            await target.ask(row)
        except UnansweredError:
            raise _stopped(unanswered[0], len(alone) + len(outcomes) - len(unanswered)) from None
    together = answered_of(outcomes)
    rate_together = len(together) / (time.perf_counter() - start)
    rate_alone = 1 / statistics.mean(alone)
    evidence = {
        "rows_per_second_one_caller": rate_alone,
        "rows_per_second_many_callers": rate_together,
        "p50_ms_many_callers": statistics.median(together) * 1000,
        "refused_as_too_many": len(outcomes) - len(together),
    }
    if rate_together * WORST_FACTOR < rate_alone:
        message = f"{CALLERS} concurrent callers together get {rate_together:.0f} rows per second, but one caller alone gets {rate_alone:.0f}"
        raise CheckFailedError(
            message,
            evidence=evidence,
            causes=["the model's own threads compete for the cores", "requests wait for one lock"],
        )
    return evidence


async def memory(target: Target) -> dict[str, Any]:
    """Fail where the service's processes grow by 64 KiB or more with every request, after the first hundred."""
    pids, row = target.own_process.pids, target.golden.take([0])
    await _ask_often(target, row, WARM_UP)
    before = _resident(pids)
    first = await _ask_often(target, row, MEASURED // 2)
    middle = _resident(pids)
    second = await _ask_often(target, row, MEASURED // 2)
    after = _resident(pids)
    growth = min(
        (middle - before) / first, (after - middle) / second
    )  # what grows once, such as a pool, is no leak
    evidence = {"bytes_a_request": growth, "megabytes": after / 1e6}
    if growth > GROWTH:
        message = f"memory grew by {(after - before) / 1e6:.0f} MB in {first + second} requests ({growth / 1024:.0f} KiB per request) and did not level off"
        causes = [
            "responses or inputs are kept in a list",
            "a temporary file or folder is made for every request",
        ]
        raise CheckFailedError(message, evidence=evidence, causes=causes)
    return evidence


async def _ask_often(target: Target, row: GoldenRows, times: int) -> int:
    """Ask several times, for so long at most; return how often it was."""
    deadline = time.monotonic() + MAX_SECONDS
    for asked in range(0, times, AT_ONCE):
        if time.monotonic() > deadline:
            return asked
        answered_of(
            await asyncio.gather(
                *(target.under_load().ask(row) for _ in range(AT_ONCE)), return_exceptions=True
            )
        )
    return times


def _resident(pids: list[int]) -> int:
    total = 0
    for pid in pids:
        with suppress(psutil.Error):
            total += psutil.Process(pid).memory_info().rss
    return total


async def _one_by_one(target: Target, row: GoldenRows, times: int) -> list[float]:
    """Ask one after the other, for so long at most, and return the seconds of each."""
    deadline = time.monotonic() + MAX_SECONDS
    seconds: list[float] = []
    while len(seconds) < times and (time.monotonic() < deadline or len(seconds) < MIN_SAMPLES):
        try:
            seconds.append(await _seconds(target, row))
        except UnansweredError as problem:
            if seconds:
                raise _stopped(problem, len(seconds)) from None
            raise
    return seconds


def _stopped(problem: UnansweredError, answered: int) -> CheckFailedError:
    """Return the failure of a service that stopped responding under the load of this check."""
    message = f"the service responded to {answered} requests of this check, and then to none, also on new connections: {problem}"
    return CheckFailedError(
        message,
        evidence={"responses": answered},
        causes=[*NO_ANSWER, "a firewall or a gateway blocks the caller after so many"],
    )


async def _seconds(target: Target, row: GoldenRows) -> float:
    start = time.perf_counter()
    await target.ask(row)
    return time.perf_counter() - start
