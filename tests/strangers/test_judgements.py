"""The number of requests per check, and the outcome of many runs behind a gateway that fails now and then."""

from __future__ import annotations

import itertools
import json
import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

import tier0
from tests.support.gateway import Gateway
from tier0.faults import FaultServer, Reply
from tier0.faults.log import Arrival
from tier0.golden.rows import GoldenRows, Origin
from tier0.runs.deployment import Deployment

ROWS = [[float(index), float(index * index % 7)] for index in range(30)]
LABELS = [int(first > second) for first, second in ROWS]
GOLDEN = GoldenRows(["a", "b"], ROWS, LABELS, None, [0, 1], origins=[Origin("example")] * len(ROWS))
EDGES = [
    Origin("missing", "a"),
    Origin("unseen", "b"),
    Origin("boundary", "a", "below"),
    Origin("decision", None, "before"),
    Origin("large_integer", "a"),
]
FULL = GoldenRows(
    ["a", "b"],
    [*ROWS, *ROWS[: len(EDGES)]],
    [*LABELS, *LABELS[: len(EDGES)]],
    None,
    [0, 1],
    origins=[*GOLDEN.origins, *EDGES],
)
CONTRACT = {
    "route": "/predict",
    "features": "rows",
    "style": "rows",
    "predictions": "predictions",
    "health": "/health",
    "ready": "/health",
}
MAX_REQUESTS = 60
JUDGEMENTS = int(os.environ.get("TIER0_JUDGEMENTS", "1000"))
SHARE = 0.04


def label(row: list[float]) -> int:
    return int(row[0] > row[1])


def wrong_label(row: list[float]) -> int:
    return label(row) if row[0] != ROWS[7][0] else 1 - label(row)


def answer_with(predict: Callable[[list[float]], int]) -> Callable[[Arrival], Reply]:
    def answer(arrival: Arrival) -> Reply:
        if arrival.method == "GET":
            return (
                Reply(body={"status": "healthy"})
                if arrival.path == "/health"
                else Reply(404, {"error": "no such route"})
            )
        return Reply(body={"predictions": [predict(row) for row in json.loads(arrival.body)["rows"]]})

    return answer


@contextmanager
def behind_gateway(predict: Callable[[list[float]], int], seed: int) -> Iterator[Gateway]:
    with FaultServer(answer_with(predict)) as server, Gateway(server.url, SHARE, seed=seed) as gateway:
        yield gateway


def verdicts(predict: Callable[[list[float]], int], count: int) -> tuple[Counter[str], Counter[Any]]:
    """Return how often each verdict was reached, and what the gateway did meanwhile."""
    found: Counter[str] = Counter()
    with behind_gateway(predict, seed=3) as gateway:
        for _ in range(count):
            deployment = Deployment.from_url(gateway.url, golden=GOLDEN, contract=CONTRACT)
            found[tier0.check_serving(deployment, on_fail="return").verdict] += 1
    return found, Counter(gateway.failed)


@pytest.mark.parametrize(("predict", "verdict"), [(label, "pass"), (wrong_label, "fail")])
def test_a_gateway_that_fails_now_and_then_changes_no_verdict(
    predict: Callable[[list[float]], int], verdict: str
) -> None:
    found, failed = verdicts(predict, 5)

    assert failed.total()
    assert found == {verdict: 5}


@pytest.mark.torture
@pytest.mark.timeout(0)
@pytest.mark.parametrize(
    ("predict", "verdict", "never"), [(label, "pass", "fail"), (wrong_label, "fail", "pass")]
)
def test_nor_in_a_thousand_judgements(
    predict: Callable[[list[float]], int],
    verdict: str,
    never: str,
    record_property: Callable[[str, object], None],
) -> None:
    found, failed = verdicts(predict, JUDGEMENTS)

    record_property("verdicts", dict(found))
    record_property("failed by the gateway", dict(failed))
    assert failed.total()
    assert found[never] == 0
    assert found[verdict] >= 0.99 * JUDGEMENTS


def test_by_default_few_requests_are_sent() -> None:
    with FaultServer(answer_with(label)) as server:
        verdict = tier0.check_serving(
            Deployment.from_url(server.url, golden=FULL, contract=CONTRACT), on_fail="return"
        )
        sent = len(server.arrivals)

    assert verdict.verdict == "pass", [result.explain() for result in verdict.checks]
    assert sent <= MAX_REQUESTS


def test_what_was_sent_again_is_counted() -> None:
    with behind_gateway(label, seed=3) as gateway:
        verdict = tier0.check_serving(
            Deployment.from_url(gateway.url, golden=GOLDEN, contract=CONTRACT), on_fail="return"
        )

    assert sum(verdict.target["retried"].values()) == gateway.failed.total() > 0


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_what_a_network_does_all_the_time_is_inconclusive(status: int) -> None:
    def answer(arrival: Arrival) -> Reply:
        return (
            Reply(status, {"error": "later"}, headers={"Retry-After": "0"})
            if arrival.method == "POST"
            else Reply(body={"status": "healthy"})
        )

    with FaultServer(answer) as server:
        verdict = tier0.check_serving(
            Deployment.from_url(server.url, golden=GOLDEN, contract=CONTRACT), on_fail="return"
        )

    assert verdict.verdict == "inconclusive", [result.explain() for result in verdict.with_status("fail")]
    assert verdict.target["retried"][str(status)] >= 3


@pytest.mark.parametrize("good_of_four", [1, 2])
def test_a_service_that_refuses_every_other_request_is_inconclusive(good_of_four: int) -> None:
    count = itertools.count()

    def answer(arrival: Arrival) -> Reply:
        refuses = arrival.method == "POST" and next(count) % 4 >= good_of_four
        return (
            Reply(503, {"error": "busy"}, headers={"Retry-After": "0"})
            if refuses
            else answer_with(label)(arrival)
        )

    with FaultServer(answer) as server:
        verdict = tier0.check_serving(
            Deployment.from_url(server.url, golden=GOLDEN, contract=CONTRACT), on_fail="return"
        )

    assert verdict.verdict == "inconclusive", [result.explain() for result in verdict.with_status("fail")]


@pytest.mark.parametrize("nth", [3, 5, 10, 20])
def test_a_wrong_response_now_and_then_is_found(nth: int) -> None:
    count = itertools.count(1)

    def answer(arrival: Arrival) -> Reply:
        is_wrong = arrival.method == "POST" and next(count) % nth == 0
        return answer_with(lambda row: 1 - label(row))(arrival) if is_wrong else answer_with(label)(arrival)

    with FaultServer(answer) as server:
        verdict = tier0.check_serving(
            Deployment.from_url(server.url, golden=GOLDEN, contract=CONTRACT), on_fail="return"
        )

    assert verdict.verdict == "fail"
