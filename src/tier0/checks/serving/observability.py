"""Checks of the Prometheus metrics: counters and format."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable

import httpx

from tier0.checks.serving.harness.target import Target
from tier0.client.transport import MIB, describe_size
from tier0.core.verdict import CheckFailedError, NotJudgedError

REQUESTS = 3
SCRAPES = 3
EXPOSITION = ("text/plain", "application/openmetrics-text")
"""Content types of the Prometheus exposition formats."""
COUNTER = "request_total"
MAX_BYTES = 4 * MIB
MAX_LINES = 100_000
"""Limits of the metrics, of which a service has some hundred lines; each takes 300 bytes when it is read."""
SAMPLE = re.compile(
    r"^(?P<name>[a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(?P<labels>.*)\})?\s+(?P<value>\S+)(?:\s+-?\d+)?\s*$"
)
LABEL = re.compile(r'(?<!\w)(\w++)="((?:[^"\\]|\\.)*+)"')
"""Possessive, so that a long line takes a time in proportion to its length."""
Sample = tuple[str, dict[str, str], float]


async def counts_requests(target: Target) -> None:
    """Fail if the metrics do not count successful requests."""
    golden = target.golden.take([0])
    before = await _steady_count(target)
    for _ in range(REQUESTS):
        await target.expect(
            golden,
            "a row in a repeated request",
            ["a canary, or one replica of several, responds differently"],
        )
    counted = _count(await _samples(target)) - before
    if counted < REQUESTS:
        raise CheckFailedError(
            f"after {REQUESTS} successful requests, expected the request counters to grow by {REQUESTS}, "
            f"got {counted:g}",
            evidence={"asked": REQUESTS, "counted": counted},
            causes=[
                "another server with the same BENTOML_HOME deleted the metrics",
                "the counter is not registered for this route",
                "several replicas respond, each with its own metrics",
            ],
            reproduce=_counted_again(target, target.curl(target.body(golden))),
        )


async def counts_refusals(target: Target) -> None:
    """Fail if the metrics do not count refused requests, so that the error rate is too low."""
    before = _count(await _samples(target), _is_error)
    for _ in range(REQUESTS):
        response = await target.post(b'{"')
        if response.is_success:
            raise NotJudgedError(
                "the service did not refuse a malformed request: see contract.refuses_no_json"
            )
    counted = _count(await _samples(target), _is_error) - before
    if counted < REQUESTS:
        raise CheckFailedError(
            f"after {REQUESTS} requests with status {response.status_code}, expected the error counters to "
            "grow "
            f"by {REQUESTS}, got {counted:g}",
            evidence={"refused": REQUESTS, "counted": counted},
            causes=[
                "the metrics middleware runs inside the error handler",
                "only successful requests are counted",
            ],
            reproduce=_counted_again(target, target.curl('{"')),
        )


def _counted_again(target: Target, request: str) -> str:
    """Return the shell command that shows the counters, sends requests, and shows the counters again."""
    counters = f"{target.curl_to(target.contract.metrics_route)} | grep {COUNTER}"
    numbers = " ".join(map(str, range(1, REQUESTS + 1)))
    return f"{counters}; for i in {numbers}; do {request} > /dev/null; done; {counters}"


def _is_error(status: str) -> bool:
    return status.startswith(("4", "5"))


async def metrics_can_be_read(target: Target) -> None:
    """Fail if the metrics violate the Prometheus text format (version 0.0.4) in every scrape."""
    for _ in range(SCRAPES - 1):
        try:
            return _validate_metrics(await read_metrics(target), target.excerpt)
        except CheckFailedError:  # with several processes, a scrape may see a series that is being created
            continue
    return _validate_metrics(await read_metrics(target), target.excerpt)


def _validate_metrics(text: str, excerpt: Callable[[str], str]) -> None:
    """Validate metrics in the Prometheus text format.

    Raises:
        CheckFailedError: a strict parser would reject them.
    """
    families: defaultdict[str, list[Sample]] = defaultdict(list)
    order: list[str] = []
    for line in text.split("\n"):
        if not line.strip() or line.startswith("#"):
            continue
        sample = _read_sample(line)
        if sample is None:
            causes = ["a label value is not escaped", "the metrics contain other output"]
            raise CheckFailedError(
                f"a line of /metrics is not in the Prometheus text format: {excerpt(line)}",
                evidence={"line": excerpt(line)},
                causes=causes,
            )
        family = re.sub(r"_(bucket|sum|count|created)$", "", sample[0])
        if family in families and order[-1] != family:
            message = f"the samples of {family} are not grouped together in /metrics"
            raise CheckFailedError(
                message,
                evidence={"family": family},
                causes=["the samples of several workers are concatenated without sorting"],
            )
        order.append(family)
        families[family].append(sample)
    for family, samples in families.items():
        _validate_histogram(family, samples)


def _validate_histogram(family: str, samples: list[Sample]) -> None:
    """Validate the buckets of a histogram; the position of its sum is free, and BentoML puts it first.

    Raises:
        CheckFailedError: the buckets do not increase to +Inf, or the last one is not the count.
    """
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
            last, count = counts[-1], counted[key]
            message = f"in /metrics, the last bucket of {family} is {last:g}, but its count is {count:g}"
            raise CheckFailedError(
                message, evidence={"family": family}, causes=["count and buckets come from different workers"]
            )


async def _steady_count(target: Target) -> float:
    """Return the number of requests in the metrics.

    Raises:
        NotJudgedError: there is no request counter, or several servers respond with different counters.
    """
    scraped = [await _samples(target) for _ in range(3)]
    counts = [_count(samples) for samples in scraped]
    if counts != sorted(counts):
        raise NotJudgedError(
            "the request counters go up and down: several replicas respond, each with its own metrics"
        )
    if not any(name.endswith(COUNTER) for name, _, _ in scraped[-1]):
        raise NotJudgedError(f"/metrics has no request counter (…{COUNTER})", code="not_offered")
    return counts[-1]


async def read_metrics(target: Target) -> str:
    """Return the text of the metrics.

    Raises:
        NotJudgedError: there are none, or they are too large to be read.
    """
    response = await target.get(target.contract.metrics_route)
    content_type = response.headers.get("content-type", "")
    if response.status_code == httpx.codes.OK and not content_type.startswith(EXPOSITION):
        raise NotJudgedError(
            f"/metrics has content type {content_type or 'unknown'}, which is not the Prometheus text format",
            code="not_offered",
        )
    if response.status_code != httpx.codes.OK:
        raise NotJudgedError(
            f"/metrics returned {response.status_code}: metrics are disabled or hidden", code="not_offered"
        )
    if len(response.content) > MAX_BYTES or response.content.count(b"\n") > MAX_LINES:
        raise NotJudgedError(
            f"/metrics has more than {describe_size(MAX_BYTES)} or {MAX_LINES:,} lines, which are not read"
        )
    return response.text


async def _samples(target: Target) -> list[Sample]:
    return read_samples(await read_metrics(target))


def read_samples(text: str) -> list[Sample]:
    """Return the samples in metrics, without lines that are not in the Prometheus text format."""
    return [
        sample
        for line in text.split("\n")
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


def _count(samples: list[Sample], has_status: Callable[[str], bool] = lambda _: True) -> float:
    return sum(
        value
        for name, labels, value in samples
        if name.endswith(COUNTER) and has_status(labels.get("http_response_code", ""))
    )
