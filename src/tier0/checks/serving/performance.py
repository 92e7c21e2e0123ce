"""Checks of latency, throughput and memory: measured and reported; only a tenfold loss fails."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import nullcontext, suppress
from typing import Any

import psutil

from tier0.checks.serving.harness.opened_files import opened_files
from tier0.checks.serving.harness.sender import UnansweredError
from tier0.checks.serving.harness.target import NO_ANSWER, NoPredictionError, Target, answered_of
from tier0.checks.serving.observability import read_metrics, read_samples
from tier0.core.verdict import CheckFailedError, NotJudgedError
from tier0.golden.rows import GoldenRows

SEQUENTIAL_REQUESTS = 50
CALLERS = 32
REQUESTS_PER_CALLER = 5
WORST_FACTOR = 10
ALWAYS_ALLOWED = 0.010
"""Seconds that are added to the model's own time for HTTP, parsing and a busy machine."""
WARM_UP = 100
MEASURED = 400
FACTS = 100
AT_ONCE = 4
MIN_SAMPLES = 5
MAX_SECONDS = 5.0
"""Seconds for each part of the measurement: a slow service gets fewer requests."""
UNDER_LOAD = [
    "a fallback responds under load, or after a number of requests",
    "one replica or worker of several serves another model",
    "a cache returns the output of another row",
]
MAX_GROWTH = 64 * 1024
"""Bytes per request: this growth fills a gigabyte within 16,000 requests."""


async def latency(target: Target) -> dict[str, Any]:
    """Measure the latency of one row; fail above ten times the model in memory and a probe, plus 100 ms."""
    target.require_no_rate("measures how fast the service responds")
    row = target.golden.take([0])
    alone = sorted(await _one_by_one(target, row, SEQUENTIAL_REQUESTS))
    probe = await _seconds_of_a_probe(target)
    median, in_memory = statistics.median(alone), target.golden.seconds
    evidence = {
        "p50_ms": median * 1000,
        "p95_ms": alone[int(len(alone) * 0.95)] * 1000,
        "p99_ms": alone[int(len(alone) * 0.99)] * 1000,
        "in_memory_ms": None if in_memory is None else in_memory * 1000,
        "probe_ms": probe * 1000,
        "served_ms": [round(seconds * 1000, 3) for seconds in alone],
    }
    if target.contract.is_batchable:
        return {
            **evidence,
            "batchable": "the service waits to form a batch: latency is reported, not checked",
        }
    limit = WORST_FACTOR * ((in_memory or 0.0) + probe + ALWAYS_ALLOWED)
    if in_memory is not None and median > limit:
        raise CheckFailedError(
            f"one row takes {median * 1000:.0f} ms (median of {len(alone)} requests; limit: "
            f"{limit * 1000:.0f} ms), "
            f"but the trained model took {in_memory * 1000:.1f} ms",
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
    target.require_no_rate("measures how many requests the service handles in a second")
    row = target.golden.take([0])
    alone = await _one_by_one(target, row, SEQUENTIAL_REQUESTS // 2)
    start = time.perf_counter()
    busy = target.under_load()
    outcomes = await asyncio.gather(
        *(_timed(busy, row) for _ in range(CALLERS * REQUESTS_PER_CALLER)), return_exceptions=True
    )
    seconds = time.perf_counter() - start
    if unanswered := [outcome for outcome in outcomes if isinstance(outcome, UnansweredError)]:
        try:
            await target.ask(row)
        except UnansweredError:
            raise _stopped(unanswered[0], len(alone) + len(outcomes) - len(unanswered)) from None
    together = answered_of(outcomes)
    _require_match(target, row, [bodies for _, bodies in together])
    rate_together = len(together) / seconds
    responses_a_second = len(outcomes) / seconds  # a refusal is a quick response, and no loss of throughput
    rate_alone = 1 / statistics.mean(alone)
    evidence = {
        "rows_per_second_one_caller": rate_alone,
        "rows_per_second_many_callers": rate_together,
        "p50_ms_many_callers": statistics.median(taken for taken, _ in together) * 1000,
        "refused_as_too_many": len(outcomes) - len(together),
    }
    if responses_a_second * WORST_FACTOR < rate_alone:
        raise CheckFailedError(
            f"{CALLERS} concurrent callers together get {responses_a_second:.0f} responses per second, "
            f"but one caller alone gets {rate_alone:.0f}",
            evidence=evidence,
            causes=["the model's own threads compete for the cores", "requests wait for one lock"],
        )
    return evidence


async def memory(target: Target) -> dict[str, Any]:
    """Fail if the service's processes grow by more than 64 KiB per request, after a warm-up."""
    pids, row = target.own_process.pids, target.golden.take([0])
    target.require_no_rate("sends hundreds of requests")
    await _ask_repeatedly(target, row, WARM_UP)
    before = _resident(pids)
    first = await _ask_repeatedly(target, row, MEASURED // 2)
    middle = _resident(pids)
    second = await _ask_repeatedly(target, row, MEASURED // 2)
    after = _resident(pids)
    growth = min((middle - before) / first, (after - middle) / second)  # a single growth is not a leak
    own = await _own_processes(target, row)
    evidence = {"bytes_a_request": growth, "megabytes": after / 1e6, **own}
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


async def _own_processes(target: Target, row: GoldenRows) -> dict[str, Any]:
    """Return what requests cost in the service's processes, beside the model in memory; never failed.

    Some requests are of callers that differ in all that a metric could use as a label, others are for unknown
    paths.
    """
    process = target.own_process
    pids, folder = process.pids, process.model_folder
    at_rest = await _labels(target)
    with opened_files(folder) if folder is not None else nullcontext() as opened:
        seconds, read = _cpu_seconds(pids), _bytes_read(pids)
        asked = await _ask_repeatedly(target, row, FACTS)
        seconds, read = _cpu_seconds(pids) - seconds, _bytes_read(pids) - read
        times_opened = None if opened is None else opened.count
    of_requests, resident = await _labels(target), _resident(pids)
    callers = await _ask_as_callers(target, row)
    of_callers, resident_after_callers = await _labels(target), _resident(pids)
    for number in range(FACTS):
        await target.get(f"/tier0-unknown-{number}")
    resident_after_paths, of_paths = _resident(pids), await _labels(target)
    in_memory = target.golden.seconds
    return {
        "cpu_ms_a_request": seconds / asked * 1000 if asked else None,
        "in_memory_ms": None if in_memory is None else in_memory * 1000,
        "threads": _sum_of(pids, lambda process: process.num_threads()),
        "bytes_read_a_request": read / asked if asked else None,
        "model_files_opened_a_request": times_opened / asked if asked and times_opened is not None else None,
        "bytes_a_label": (resident_after_callers - resident) / callers if callers else None,
        "bytes_a_path": (resident_after_paths - resident_after_callers) / FACTS,
        "labels_that_grow": {
            "with requests": _growing(at_rest, of_requests, asked),
            "with callers": _growing(of_requests, of_callers, callers),
            "with paths": _growing(of_callers, of_paths, FACTS),
        },
    }


async def _ask_as_callers(target: Target, row: GoldenRows) -> int:
    """Request the row as up to `FACTS` different callers within `MAX_SECONDS`, and return their number."""
    deadline = time.monotonic() + MAX_SECONDS
    names = [name for name, values in target.contract.vary.items() if not values]
    if target.sender.http.headers.get("User-Agent", "").startswith("python-httpx"):
        names.append("User-Agent")
    names = [name for name in names if name not in target.contract.fields]
    if not names:
        return 0
    for number in range(FACTS):
        if time.monotonic() > deadline:
            return number
        caller = target.under_load().from_another_caller(dict.fromkeys(names, f"tier0-caller-{number}"))
        with suppress(NoPredictionError, UnansweredError):  # a service may know its callers
            await caller.ask_raw(row)
    return FACTS


async def _labels(target: Target) -> set[tuple[str, str]]:
    """Return the names and values of all labels in the metrics; none if these cannot be read."""
    try:
        samples = read_samples(await read_metrics(target))
    except NotJudgedError:
        return set()
    return {label for _, labels, _ in samples for label in labels.items()}


def _growing(before: set[tuple[str, str]], after: set[tuple[str, str]], requests: int) -> dict[str, int]:
    """Return the number of new values of each label that gets one with at least every second request."""
    new = Counter(name for name, _ in after - before)
    return {name: count for name, count in sorted(new.items()) if 0 < requests <= 2 * count}


def _cpu_seconds(pids: list[int]) -> float:
    return _sum_of(pids, lambda process: sum(process.cpu_times()[:2]))


def _bytes_read(pids: list[int]) -> float:
    """Return the bytes that processes have read, also from sockets and from cached files."""
    return _sum_of(pids, lambda process: process.io_counters().read_chars)


def _sum_of(pids: list[int], fact: Callable[[psutil.Process], float]) -> float:
    total = 0.0
    for pid in pids:
        with suppress(psutil.Error, AttributeError):  # io_counters exists on Linux only
            total += fact(psutil.Process(pid))
    return total


async def _ask_repeatedly(target: Target, row: GoldenRows, times: int) -> int:
    """Send up to *times* requests within `MAX_SECONDS`, and return their number."""
    deadline = time.monotonic() + MAX_SECONDS
    busy = target.under_load()
    for sent in range(0, times, AT_ONCE):
        if time.monotonic() > deadline:
            return sent
        requests = (busy.ask_raw(row) for _ in range(AT_ONCE))
        answered = answered_of(await asyncio.gather(*requests, return_exceptions=True))
        _require_match(target, row, answered)
    return times


def _resident(pids: list[int]) -> int:
    return int(_sum_of(pids, lambda process: process.memory_info().rss))


async def _one_by_one(target: Target, row: GoldenRows, times: int) -> list[float]:
    """Send up to *times* sequential requests within `MAX_SECONDS`, and return the seconds of each."""
    deadline = time.monotonic() + MAX_SECONDS
    timed: list[tuple[float, list[Any]]] = []
    while len(timed) < times and (time.monotonic() < deadline or len(timed) < MIN_SAMPLES):
        try:
            timed.append(await _timed(target, row))
        except UnansweredError as problem:
            if timed:
                raise _stopped(problem, len(timed)) from None
            raise
    _require_match(target, row, [bodies for _, bodies in timed])
    return [seconds for seconds, _ in timed]


def _stopped(problem: UnansweredError, answered: int) -> CheckFailedError:
    """Return the failure of a service that stopped responding under the load of this check."""
    return CheckFailedError(
        f"the service stopped responding after {answered} requests of this check, also on new connections: "
        f"{problem}",
        evidence={"responses": answered},
        causes=[*NO_ANSWER, "a firewall or a gateway blocks the caller after this number of requests"],
    )


async def _timed(target: Target, row: GoldenRows) -> tuple[float, list[Any]]:
    """Return the seconds of a request for one row, and the bodies of its response."""
    start = time.perf_counter()
    bodies = await target.ask_raw(row)
    return time.perf_counter() - start, bodies


def _require_match(target: Target, row: GoldenRows, answered: Sequence[list[Any]]) -> None:
    """Compare every response of a measurement with the trained model's output."""
    for bodies in answered:
        answer = target.parts_of(bodies, row)
        target.require_match(answer, row, "one of many requests with the same row", UNDER_LOAD)


async def _seconds_of_a_probe(target: Target) -> float:
    """Return the median seconds of the liveness route: the time of the network and of a busy machine."""
    route = target.contract.live_route or target.contract.health
    seconds = []
    for _ in range(MIN_SAMPLES):
        start = time.perf_counter()
        await target.get(route)
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)
