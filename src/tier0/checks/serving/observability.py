"""Do the metrics count what happens, and can they be read?"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable

import httpx

from tier0.checks.serving.harness.target import MAX_SHOWN, Target
from tier0.core.verdict import CheckFailedError, NotJudgedError

ASKED = 3
SCRAPES = 3
EXPOSITION = ("text/plain", "application/openmetrics-text")
"""Content types of the Prometheus exposition formats."""
COUNTER = "request_total"
SAMPLE = re.compile(
    r"^(?P<name>[a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(?P<labels>.*)\})?\s+(?P<value>\S+)(?:\s+-?\d+)?\s*$"
)
LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
Sample = tuple[str, dict[str, str], float]


async def counts_requests(target: Target) -> None:
    """Fail where requests do not show in the metrics."""
    golden = target.golden.take([0])
    before = await _steady_count(target)
    for _ in range(ASKED):
        await target.expect(
            golden, "a row asked again", ["a canary, or one replica of several, responds differently"]
        )
    counted = _count(await _samples(target)) - before
    if counted < ASKED:
        causes = [
            "another server on the same BENTOML_HOME wiped the metrics",
            "the counter is not registered for this route",
            "several replicas respond, each with its own metrics",
        ]
        message = f"after {ASKED} successful requests, expected the metrics to count {ASKED} more, got {counted:g} more"
        raise CheckFailedError(
            message,
            evidence={"asked": ASKED, "counted": counted},
            causes=causes,
            reproduce=f"curl -sS {target.url}/metrics",
        )


async def counts_refusals(target: Target) -> None:
    """Fail where what was refused does not show in the metrics: an error rate of 0 that is wrong."""
    before = _count(await _samples(target), lambda status: status.startswith(("4", "5")))
    for _ in range(ASKED):
        response = await target.post(b'{"')
        if response.is_success:
            raise NotJudgedError(
                "the service did not refuse a malformed request: see contract.refuses_no_json"
            )
    counted = _count(await _samples(target), lambda status: status.startswith(("4", "5"))) - before
    if counted < ASKED:
        causes = ["the metrics middleware runs inside the error handler", "only successes are counted"]
        message = f"after {ASKED} requests that got status {response.status_code}, expected {ASKED} more errors in the metrics, got {counted:g} more"
        raise CheckFailedError(
            message,
            evidence={"refused": ASKED, "counted": counted},
            causes=causes,
            reproduce=f"curl -sS {target.url}/metrics",
        )


async def metrics_can_be_read(target: Target) -> None:
    """Fail where the text breaks a rule of the Prometheus exposition format (version 0.0.4) that strict readers hold to, whenever it is read."""
    for _ in range(SCRAPES - 1):
        try:
            return _refuse_unreadable(await _text(target))
        except (
            CheckFailedError
        ):  # the client library of several processes may be read while one of them makes a new series
            continue
    return _refuse_unreadable(await _text(target))


def _refuse_unreadable(text: str) -> None:
    families: defaultdict[str, list[Sample]] = defaultdict(list)
    order: list[str] = []
    for line in text.split("\n"):
        if not line.strip() or line.startswith("#"):
            continue
        sample = _read_sample(line)
        if sample is None:
            causes = ["a label's value is not escaped", "other output is mixed into the metrics"]
            raise CheckFailedError(
                f"a line of /metrics is not in the Prometheus text format: {line[:MAX_SHOWN]}",
                evidence={"line": line[:MAX_SHOWN]},
                causes=causes,
            )
        family = re.sub(r"_(bucket|sum|count|created)$", "", sample[0])
        if family in families and order[-1] != family:
            message = f"the samples of {family} are not grouped together in /metrics"
            raise CheckFailedError(
                message,
                evidence={"family": family},
                causes=["the samples of several workers are joined without sorting"],
            )
        order.append(family)
        families[family].append(sample)
    for family, samples in families.items():
        _refuse_broken_histogram(family, samples)


def _refuse_broken_histogram(family: str, samples: list[Sample]) -> None:
    """Raise where buckets do not grow to +Inf, or to the count; where the sum stands among them is free, and BentoML has it first."""
    series: defaultdict[str, list[tuple[float, float]]] = defaultdict(list)
    counted: dict[str, float] = {}
    for name, labels, value in samples:
        key = str(sorted((label, text) for label, text in labels.items() if label != "le"))
        if name.endswith("_bucket"):
            series[key].append((float(labels.get("le", "nan")), value))
        elif name.endswith("_count"):
            counted[key] = value
    for key, buckets in series.items():
        limits, counts = zip(*buckets, strict=True)
        if list(limits) != sorted(limits) or list(counts) != sorted(counts) or limits[-1] != float("inf"):
            message = f"the buckets of {family} in /metrics do not increase up to +Inf"
            raise CheckFailedError(
                message,
                evidence={"family": family, "buckets": buckets},
                causes=["buckets of several workers are mixed"],
            )
        if counted.get(key, counts[-1]) != counts[-1]:
            message = f"in /metrics, the last bucket of {family} is {counts[-1]:g}, but its count is {counted[key]:g}"
            raise CheckFailedError(
                message, evidence={"family": family}, causes=["sum and buckets come from different workers"]
            )


async def _steady_count(target: Target) -> float:
    """Return what the counters say, after a look at whether one and the same server says it each time."""
    counts = [_count(await _samples(target)) for _ in range(3)]
    if counts != sorted(counts):
        raise NotJudgedError(
            "the request counters go up and down: several replicas respond, each with its own metrics"
        )
    if not any(name.endswith(COUNTER) for name, _, _ in await _samples(target)):
        raise NotJudgedError(f"/metrics has no request counter (…{COUNTER})", code="not_offered")
    return counts[-1]


async def _text(target: Target) -> str:
    response = await target.get("/metrics")
    content_type = response.headers.get("content-type", "")
    if response.status_code == httpx.codes.OK and not content_type.startswith(EXPOSITION):
        raise NotJudgedError(
            f"/metrics has content of type {content_type or 'unknown'}, which is not the Prometheus text format",
            code="not_offered",
        )
    if response.status_code != httpx.codes.OK:
        raise NotJudgedError(
            f"/metrics returned {response.status_code}: metrics are disabled or hidden", code="not_offered"
        )
    return response.text


async def _samples(target: Target) -> list[Sample]:
    return [
        sample
        for line in (await _text(target)).split("\n")
        if line and line[0] != "#" and (sample := _read_sample(line)) is not None
    ]


def _read_sample(line: str) -> Sample | None:
    match = SAMPLE.match(line)
    if match is None:
        return None
    try:
        return match["name"], dict(LABEL.findall(match["labels"] or "")), float(match["value"])
    except ValueError:
        return None


def _count(samples: list[Sample], counts: Callable[[str], bool] = lambda _: True) -> float:
    return sum(
        value
        for name, labels, value in samples
        if name.endswith(COUNTER) and counts(labels.get("http_response_code", ""))
    )
