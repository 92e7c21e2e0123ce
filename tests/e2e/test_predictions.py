"""Is what is served what was trained? Asked through the client, compared with the model in memory."""

from __future__ import annotations

import json
import random
import time
from typing import TYPE_CHECKING

import httpx
import pytest

from tier0.core.events import LatencyMeasured
from tier0.golden.rows import ROW_ALONE_TOLERANCE

if TYPE_CHECKING:
    from tier0 import BentoMLClient
    from tier0.core.event_log import EventLog
    from tier0.golden.rows import GoldenRows
    from tier0.runs.deployment import OwnDeployment

pytestmark = [pytest.mark.tier0_bentoml, pytest.mark.timeout(120)]


@pytest.mark.asyncio
async def test_all_golden_rows_together_come_back_to_the_last_bit(
    tier0_client: BentoMLClient, tier0_deployment: OwnDeployment
) -> None:
    golden = tier0_deployment.model.golden.examples

    answer = await tier0_client.predict(golden.body())

    assert_equal(tier0_deployment, golden, answer)
    assert answer["model_tag"] == tier0_deployment.model.tag


@pytest.mark.asyncio
async def test_each_row_alone_agrees(
    tier0_client: BentoMLClient, tier0_deployment: OwnDeployment, tier0_events: EventLog
) -> None:
    golden = tier0_deployment.model.golden.examples
    milliseconds = []

    for index in range(len(golden)):
        alone = golden.take([index])
        start = time.perf_counter()
        answer = await tier0_client.predict(alone.body())
        milliseconds.append((time.perf_counter() - start) * 1000)
        assert_equal(tier0_deployment, alone, answer, tolerance=ROW_ALONE_TOLERANCE)
    in_memory = tier0_deployment.model.golden.seconds
    tier0_events.emit(
        LatencyMeasured(served_ms=milliseconds, in_memory_ms=None if in_memory is None else in_memory * 1000)
    )


@pytest.mark.asyncio
async def test_rows_in_another_order_give_the_answers_in_that_order(
    tier0_client: BentoMLClient, tier0_deployment: OwnDeployment
) -> None:
    golden = tier0_deployment.model.golden.examples
    order = random.Random(7).sample(range(len(golden)), len(golden))
    shuffled = golden.take(order)

    assert_equal(
        tier0_deployment, shuffled, await tier0_client.predict(shuffled.body()), tolerance=ROW_ALONE_TOLERANCE
    )


@pytest.mark.asyncio
async def test_named_records_and_permuted_columns_mean_the_same_rows(
    tier0_client: BentoMLClient, tier0_deployment: OwnDeployment
) -> None:
    golden = tier0_deployment.model.golden.examples
    backwards = {"features": [row[::-1] for row in golden.rows], "columns": golden.columns[::-1]}
    records = [dict(reversed(record.items())) for record in golden.records()]

    assert_equal(tier0_deployment, golden, await tier0_client.predict(backwards))
    assert_equal(tier0_deployment, golden, await tier0_client.predict_batch(records))
    assert_equal(tier0_deployment, golden, post(tier0_deployment, json.dumps(records).encode()).json())


@pytest.mark.asyncio
async def test_golden_rows_do_not_all_have_the_same_answer(tier0_deployment: OwnDeployment) -> None:
    golden = tier0_deployment.model.golden.examples

    assert len(set(map(str, golden.probabilities or golden.predictions))) > 1, (
        "a constant model would pass every comparison"
    )


def assert_equal(
    deployment: OwnDeployment, golden: GoldenRows, answer: object, *, tolerance: float = 0.0
) -> None:
    mismatch = golden.compare(answer, tolerance=tolerance)  # type: ignore[arg-type]
    if mismatch is not None:
        pytest.fail(deployment.explain(mismatch, golden), pytrace=False)


REFUSED = {
    "an empty body": (b"", 400, "body"),
    "no JSON": (b"{", 400, "body"),
    "a bare list": (b"[[1]]", 422, "body"),
    "no rows": (b'{"features": []}', 422, "features"),
    "a flat row": (b'{"features": [1, 2, 3]}', 422, "features[0]"),
    "an unknown field": (b'{"features": [[1]], "treshold": 0.9}', 422, "treshold"),
    "no features": (b"{}", 422, "features"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_bad_requests_are_refused_by_field(tier0_deployment: OwnDeployment, case: str) -> None:
    body, status, field = REFUSED[case]

    response = post(tier0_deployment, body)

    assert (response.status_code, response.json()["error"]["field"]) == (status, field), response.text
    assert response.json()["error"]["remedy"]


@pytest.mark.parametrize("value", ["three", "3", True, float("inf"), [1]])
def test_what_is_no_number_is_refused_by_field(tier0_deployment: OwnDeployment, value: object) -> None:
    name = feature_of(tier0_deployment, "number", "integer")

    refused_by(
        tier0_deployment, {**tier0_deployment.model.golden.records()[0], name: value}, f"features[0].{name}"
    )


def test_what_is_no_text_and_what_is_no_whole_number_is_refused_by_field(
    tier0_deployment: OwnDeployment,
) -> None:
    record = tier0_deployment.model.golden.records()[0]
    for feature in tier0_deployment.model.signature.features:
        if feature.kind in {"text", "integer"}:
            refused_by(tier0_deployment, {**record, feature.name: 2.5}, f"features[0].{feature.name}")


def test_unknown_and_missing_columns_are_refused_by_name(tier0_deployment: OwnDeployment) -> None:
    name = tier0_deployment.model.signature.names[0]
    record = tier0_deployment.model.golden.records()[0]
    rest = {other: value for other, value in record.items() if other != name}

    refused_by(tier0_deployment, {**record, "unheard_of": 1}, "features[0].unheard_of")
    refused_by(tier0_deployment, rest, f"features[0].{name}")
    refused_by(tier0_deployment, {**rest, name.upper() + "_": 1}, f"features[0].{name}")


def test_a_missing_value_goes_where_the_model_takes_it_and_is_refused_elsewhere(
    tier0_deployment: OwnDeployment,
) -> None:
    record = tier0_deployment.model.golden.records()[0]
    for feature in tier0_deployment.model.signature.features:
        bodies = [
            json.dumps({"features": [{**record, feature.name: value}]}).encode()
            for value in (None, float("nan"))
        ]
        answers = [post(tier0_deployment, body) for body in bodies]
        assert {answer.status_code for answer in answers} == ({200} if feature.accepts_missing else {422}), (
            feature
        )
        if feature.accepts_missing:
            assert answers[0].json()["predictions"] == answers[1].json()["predictions"], (
                "NaN and null are the same missing value"
            )


def test_half_a_surrogate_pair_is_refused(tier0_deployment: OwnDeployment) -> None:
    response = post(tier0_deployment, b'{"features": [[1]], "\\ud800": 1}')

    assert (response.status_code, response.json()["error"]["field"]) == (400, "body")


def feature_of(deployment: OwnDeployment, *kinds: str) -> str:
    return next(feature.name for feature in deployment.model.signature.features if feature.kind in kinds)


def refused_by(deployment: OwnDeployment, record: dict[str, object], field: str) -> None:
    response = post(deployment, json.dumps({"features": [record]}).encode())

    assert (response.status_code, response.json()["error"]["field"]) == (422, field), response.text
    assert response.json()["error"]["remedy"]


def test_a_body_over_the_limit_is_refused(tier0_deployment: OwnDeployment) -> None:
    response = post(tier0_deployment, b'{"features": [[' + b"1," * 9_000_000 + b"1]]}")

    assert (response.status_code, response.json()["error"]["field"]) == (413, "body")


@pytest.mark.parametrize("content_type", ["application/vnd.bentoml+pickle", "text/csv", ""])
def test_other_content_types_are_refused(tier0_deployment: OwnDeployment, content_type: str) -> None:
    response = post(tier0_deployment, b"{}", content_type)

    assert (response.status_code, response.json()["error"]["field"]) == (415, "Content-Type")


def test_an_unknown_model_is_refused(tier0_deployment: OwnDeployment) -> None:
    response = httpx.post(f"{tier0_deployment.url}/nobody/predict", json={}, trust_env=False)

    assert (response.status_code, response.json()["error"]["field"]) == (404, "model")


def post(deployment: OwnDeployment, body: bytes, content_type: str = "application/json") -> httpx.Response:
    headers = {"Content-Type": content_type} if content_type else {}
    return httpx.post(f"{deployment.url}/predict", content=body, headers=headers, timeout=10, trust_env=False)
