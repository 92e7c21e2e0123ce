"""Discovery of contracts: healthy services with unusual responses, and responses that cannot be read."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

import tier0
from tier0.checks.serving.harness import sender
from tier0.contract.contract import ContractError
from tier0.faults import FaultServer, Reply
from tier0.faults.log import Arrival
from tier0.golden.rows import GoldenRows
from tier0.runs.deployment import Deployment

ROWS = [[float(index)] for index in range(6)]
GOLDEN = GoldenRows(["a"], ROWS, [index % 2 for index in range(6)], None, [0, 1])
CONTRACT = {"route": "/predict", "features": "rows", "style": "rows"}
Answer = Callable[[list[int]], Any]


def verdict(answer: Answer, golden: GoldenRows = GOLDEN, *, contract: dict[str, Any] | None = None) -> str:
    def script(arrival: Arrival) -> Reply:
        if arrival.path != "/predict":
            return Reply(404)
        answered = answer([int(row[0]) % 2 for row in json.loads(arrival.body)["rows"]])
        return answered if isinstance(answered, Reply) else Reply(body=answered)

    with FaultServer(script) as server:
        deployment = Deployment.from_url(server.url, golden=golden, contract=CONTRACT | (contract or {}))
        return tier0.check_serving(deployment, on_fail="return").verdict


def test_status_201_may_have_predictions() -> None:
    assert verdict(lambda labels: Reply(201, {"predictions": labels})) == "pass"


def test_a_single_value_is_the_prediction_for_a_single_golden_row() -> None:
    assert (
        verdict(
            lambda labels: {"prediction": labels[0]} if len(labels) == 1 else Reply(422), GOLDEN.take([0])
        )
        == "pass"
    )


def test_a_field_called_status_may_be_the_label() -> None:
    golden = GoldenRows(["a"], ROWS, ["ok", "failed"] * 3, None, ["failed", "ok"])
    one_row = {"max_rows": 1, "predictions": "status"}

    assert verdict(lambda labels: {"status": ["ok", "failed"][labels[0]]}, golden, contract=one_row) == "pass"
    assert verdict(lambda labels: {"status": ["failed", "ok"][labels[0]]}, golden, contract=one_row) == "fail"


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (lambda _: Reply(202, {"job": "7", "status": "queued"}), "its fields: job, status"),
        (
            lambda _: Reply(307, {}, headers={"Location": "/predict/"}),
            "a redirect to /predict/, which is not followed",
        ),
        (lambda _: Reply(body=b"1\n0\n", headers={"Content-Type": "text/xml"}), "responds with text/xml"),
        (lambda _: {}, "the predictions in the response of /predict"),
    ],
)
def test_a_response_without_predictions_is_reported(answer: Answer, says: str) -> None:
    with pytest.raises(ContractError, match=says):
        verdict(answer)


@pytest.mark.parametrize(
    "body", [b'{"predictions": [' + b",".join([b"1" + b"0" * 400] * 6) + b"]}", b"[" * 100_000]
)
@pytest.mark.parametrize("golden", [GOLDEN, GoldenRows(["a"], ROWS, [0.5] * 6, None, [])])
def test_a_body_that_cannot_be_parsed_is_a_failure_of_the_service(body: bytes, golden: GoldenRows) -> None:
    assert verdict(lambda _: Reply(body=body), golden) == "fail"


@pytest.mark.parametrize("path", ["/schema.json", "/health"])
def test_other_bodies_that_cannot_be_parsed_are_tolerated(path: str) -> None:
    def script(arrival: Arrival) -> Reply:
        if arrival.path != "/predict":
            return Reply(body=b"[" * 100_000) if arrival.path == path else Reply(404)
        return Reply(body={"predictions": [int(row[0]) % 2 for row in json.loads(arrival.body)["rows"]]})

    with FaultServer(script) as server:
        deployment = Deployment.from_url(server.url, golden=GOLDEN, contract=CONTRACT)
        assert tier0.check_serving(deployment, on_fail="return").verdict == "pass"


def test_an_endless_response_ends_in_a_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sender, "MAX_SECONDS", 0.3)

    with (
        FaultServer(Reply(body=b" " * 1000, drip=0.1)) as server,
        pytest.raises(sender.UnansweredError, match=r"nothing responds at .* TimeoutError"),
    ):
        tier0.check_serving(Deployment.from_url(server.url, golden=GOLDEN), on_fail="return")
