"""Checks of latency, throughput and memory: measured and reported; only a tenfold loss fails."""

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
"""Seconds that are added to the model's own time for HTTP, parsing and a busy machine."""
WARM_UP = 100
MEASURED = 400
AT_ONCE = 4
MIN_SAMPLES = 5
MAX_SECONDS = 5.0
"""Seconds for each part of the measurement: a slow service gets fewer requests."""
MAX_GROWTH = 64 * 1024
"""Bytes per request: this growth fills a gigabyte within 16,000 requests."""


async def latency(target: Target) -> dict[str, Any]:
    """Measure the latency of one row; fail above ten times that of the model in memory, plus 100 ms."""
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
            "batchable": "the service waits to form a batch: latency is reported, not checked",
        }
    if in_memory is not None and median > WORST_FACTOR * (in_memory + ALWAYS_ALLOWED):
        limit = WORST_FACTOR * (in_memory + ALWAYS_ALLOWED)
        raise CheckFailedError(
            f"one row takes {median * 1000:.0f} ms (median of {len(alone)} requests; limit: "
            f"{limit * 1000:.0f} ms), "
            f"but the model in memory took {in_memory * 1000:.1f} ms",
            evidence=evidence,
            causes=[
                "the model starts many threads for every single row (n_jobs)",
                "the model is loaded, or a client is created, for every request",
            ],
            reproduce=f"time {target.curl(target.body(row))}",
        )
    return evidence


async def many_callers(target: Target) -> dict[str, Any]:
    """Measure the rows per second of 1 and of 32 callers; fail if 32 get less than a tenth of that of 1."""
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
        raise CheckFailedError(
            f"{CALLERS} concurrent callers together get {rate_together:.0f} rows per second, but one caller "
            "alone "
            f"gets {rate_alone:.0f}",
            evidence=evidence,
            causes=["the model's own threads compete for the cores", "requests wait for one lock"],
        )
    return evidence


async def memory(target: Target) -> dict[str, Any]:
    """Fail if the service's processes grow by more than 64 KiB per request, after a warm-up."""
    pids, row = target.own_process.pids, target.golden.take([0])
    await _ask_repeatedly(target, row, WARM_UP)
    before = _resident(pids)
    first = await _ask_repeatedly(target, row, MEASURED // 2)
    middle = _resident(pids)
    second = await _ask_repeatedly(target, row, MEASURED // 2)
    after = _resident(pids)
    growth = min((middle - before) / first, (after - middle) / second)  # a single growth is not a leak
    evidence = {"bytes_a_request": growth, "megabytes": after / 1e6}
    if growth > MAX_GROWTH:
        raise CheckFailedError(
            f"memory grew by {(after - before) / 1e6:.0f} MB in {first + second} requests "
            f"({growth / 1024:.0f} KiB per request) and did not level off",
            evidence=evidence,
            causes=[
                "responses or inputs are kept in a list",
                "a temporary file or folder is created for every request",
            ],
        )
    return evidence


async def _ask_repeatedly(target: Target, row: GoldenRows, times: int) -> int:
    """Send up to *times* requests within `MAX_SECONDS`, and return their number."""
    deadline = time.monotonic() + MAX_SECONDS
    busy = target.under_load()
    for sent in range(0, times, AT_ONCE):
        if time.monotonic() > deadline:
            return sent
        requests = (busy.ask(row) for _ in range(AT_ONCE))
        answered_of(await asyncio.gather(*requests, return_exceptions=True))
    return times


def _resident(pids: list[int]) -> int:
    total = 0
    for pid in pids:
        with suppress(psutil.Error):
            total += psutil.Process(pid).memory_info().rss
    return total


async def _one_by_one(target: Target, row: GoldenRows, times: int) -> list[float]:
    """Send up to *times* sequential requests within `MAX_SECONDS`, and return the seconds of each."""
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
    return CheckFailedError(
        f"the service stopped responding after {answered} requests of this check, also on new connections: "
        f"{problem}",
        evidence={"responses": answered},
        causes=[*NO_ANSWER, "a firewall or a gateway blocks the caller after this number of requests"],
    )


async def _seconds(target: Target, row: GoldenRows) -> float:
    start = time.perf_counter()
    await target.ask(row)
    return time.perf_counter() - start
