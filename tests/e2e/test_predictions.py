"""Is what is served what was trained? Asked through the client, compared with the model in memory."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import httpx
import pytest

from tier0.core.golden import ROW_ALONE_TOLERANCE

if TYPE_CHECKING:
    from tier0 import BentoMLClient, Deployment
    from tier0.core.golden import GoldenRows

pytestmark = [pytest.mark.tier0_bentoml, pytest.mark.timeout(120), pytest.mark.xdist_group("tier0_bentoml")]
HTTP = httpx.Client(trust_env=False, timeout=10)


@pytest.mark.asyncio
async def test_all_golden_rows_together_come_back_to_the_last_bit(tier0_client: BentoMLClient, tier0_deployment: Deployment) -> None:
    golden = tier0_deployment.model.golden

    answer = await tier0_client.predict(golden.body())

    assert_equal(tier0_deployment, golden, answer)
    assert answer["model_tag"] == tier0_deployment.model.tag


@pytest.mark.asyncio
async def test_each_row_alone_agrees(tier0_client: BentoMLClient, tier0_deployment: Deployment) -> None:
    golden = tier0_deployment.model.golden

    for index in range(len(golden)):
        alone = golden.take([index])
        assert_equal(tier0_deployment, alone, await tier0_client.predict(alone.body()), tolerance=ROW_ALONE_TOLERANCE)


@pytest.mark.asyncio
async def test_rows_in_another_order_give_the_answers_in_that_order(tier0_client: BentoMLClient, tier0_deployment: Deployment) -> None:
    golden = tier0_deployment.model.golden
    order = random.Random(7).sample(range(len(golden)), len(golden))
    shuffled = golden.take(order)

    assert_equal(tier0_deployment, shuffled, await tier0_client.predict(shuffled.body()), tolerance=ROW_ALONE_TOLERANCE)


@pytest.mark.asyncio
async def test_named_records_and_permuted_columns_mean_the_same_rows(tier0_client: BentoMLClient, tier0_deployment: Deployment) -> None:
    golden = tier0_deployment.model.golden
    backwards = {"features": [row[::-1] for row in golden.rows], "columns": golden.columns[::-1]}
    records = [dict(reversed(record.items())) for record in golden.records()]

    assert_equal(tier0_deployment, golden, await tier0_client.predict(backwards))
    assert_equal(tier0_deployment, golden, await tier0_client.predict_batch(records))


@pytest.mark.asyncio
async def test_golden_rows_do_not_all_have_the_same_answer(tier0_deployment: Deployment) -> None:
    golden = tier0_deployment.model.golden

    assert len(set(map(str, golden.probabilities or golden.predictions))) > 1, "a constant model would pass every comparison"


def assert_equal(deployment: Deployment, golden: GoldenRows, answer: object, *, tolerance: float = 0.0) -> None:
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
    "an unknown column": (b'{"features": [[1]], "columns": ["a"]}', 422, "columns.days_on_therapy"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_bad_requests_are_refused_by_field(tier0_deployment: Deployment, case: str) -> None:
    body, status, field = REFUSED[case]

    response = post(tier0_deployment, body)

    assert (response.status_code, response.json()["error"]["field"]) == (status, field), response.text
    assert response.json()["error"]["remedy"]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"prior_treatments": "three"}, "features[0].prior_treatments"),
        ({"prior_treatments": 2.5}, "features[0].prior_treatments"),
        ({"prior_treatments": True}, "features[0].prior_treatments"),
        ({"hcp_visits": float("inf")}, "features[0].hcp_visits"),
        ({"hcp_visits": "3"}, "features[0].hcp_visits"),
        ({"region": 7}, "features[0].region"),
        ({"regoin": "south"}, "features[0].regoin"),
    ],
)
def test_bad_values_are_refused_by_field(tier0_deployment: Deployment, change: dict[str, object], field: str) -> None:
    import json

    record = {**tier0_deployment.model.golden.records()[0], **change}

    response = post(tier0_deployment, json.dumps({"features": [record]}).encode())

    assert (response.status_code, response.json()["error"]["field"]) == (422, field), response.text


def test_a_missing_column_is_refused(tier0_deployment: Deployment) -> None:
    import json

    record = tier0_deployment.model.golden.records()[0]
    del record["region"]

    response = post(tier0_deployment, json.dumps({"features": [record]}).encode())

    assert (response.status_code, response.json()["error"]["field"]) == (422, "features[0].region"), response.text


def test_nan_and_null_are_the_same_missing_value(tier0_deployment: Deployment) -> None:
    import json

    record = tier0_deployment.model.golden.records()[0]
    answers = [post(tier0_deployment, json.dumps({"features": [{**record, "hcp_visits": value}]}).encode()) for value in (None, float("nan"))]

    assert [answer.status_code for answer in answers] == [200, 200]
    assert answers[0].json()["probabilities"] == answers[1].json()["probabilities"]


def test_a_body_over_the_limit_is_refused(tier0_deployment: Deployment) -> None:
    response = post(tier0_deployment, b'{"features": [[' + b"1," * 9_000_000 + b"1]]}")

    assert (response.status_code, response.json()["error"]["field"]) == (413, "body")


@pytest.mark.parametrize("content_type", ["application/vnd.bentoml+pickle", "text/csv", ""])
def test_other_content_types_are_refused(tier0_deployment: Deployment, content_type: str) -> None:
    response = post(tier0_deployment, b"{}", content_type)

    assert (response.status_code, response.json()["error"]["field"]) == (415, "Content-Type")


def test_an_unknown_model_is_refused(tier0_deployment: Deployment) -> None:
    response = HTTP.post(f"{tier0_deployment.url}/nobody/predict", json={})

    assert (response.status_code, response.json()["error"]["field"]) == (404, "model")


def post(deployment: Deployment, body: bytes, content_type: str = "application/json") -> httpx.Response:
    headers = {"Content-Type": content_type} if content_type else {}
    return HTTP.post(f"{deployment.url}/predict", content=body, headers=headers)
