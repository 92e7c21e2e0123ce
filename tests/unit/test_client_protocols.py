"""Protocols in which the servers of the checks of clients speak: requests, batches and declarations."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tier0.checks.client.harness.markers import mark_response, marks_in_answer, order_in_answer, shows_missing
from tier0.checks.client.harness.protocols import problem_of_request, rows_in
from tier0.checks.client.harness.subject import batch_answer_of, batch_of, joined_answers
from tier0.core.declaration import DeclarationError, read_declaration
from tier0.core.protocols import PROTOCOLS
from tier0.faults import Arrival

PATHS = {
    "bentoml": "/predict", "openapi": "/predict", "mlflow": "/invocations", "v2": "/v2/models/m/infer",
    "v1": "/v1/models/m:predict", "sagemaker": "/invocations",
}  # fmt: skip
SECRET = "planted-0123456789abcdef"
TENSOR = {"name": "x", "shape": [1, 2], "datatype": "FP64", "data": [1.0, 2.0]}


def request(path: str, body: Any, content_type: str = "application/json", **headers: str) -> Arrival:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    named = {
        "content-type": content_type,
        **{name.replace("_", "-"): value for name, value in headers.items()},
    }
    return Arrival(0, 0.0, 1, "POST", path, named, content)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_default_request_of_a_protocol_is_valid_and_has_rows_for_a_batch(protocol: str) -> None:
    declared = read_declaration({"attempts": 2}, protocol)

    assert problem_of_request(protocol, request(PATHS[protocol], declared.data)) == ""
    assert batch_of(declared.data, protocol) == [[1.0, 2.0], [1.0, 2.0]]
    assert marks_in_answer(mark_response(declared.answer, 7)) == {7}


@pytest.mark.parametrize(
    ("protocol", "sent"),
    [
        ("v2", request("/serving/v2/models/m/versions/3/infer", {"inputs": [TENSOR], "id": "1"})),
        ("v2", request("/v2/models/m/infer", {"inputs": [{**TENSOR, "data": [[1.0, 2.0]]}]})),
        (
            "v2",
            request(
                "/v2/models/m/infer",
                b'{"inputs":[{"name":"x","shape":[1],"datatype":"FP32","parameters":{"binary_data_size":4}}]}0000',
                "application/octet-stream",
                inference_header_content_length="91",
            ),
        ),
        ("v1", request("/v1/models/m/versions/2:predict", {"inputs": {"a": [1.0]}})),
        ("mlflow", request("/invocations", {"dataframe_records": [{"a": 1}], "params": {}})),
        ("mlflow", request("/invocations", b"a,b\n1,2\n", "text/csv")),
        ("sagemaker", request("/endpoints/m/invocations", b"1,2", "text/csv")),
        ("sagemaker", request("/invocations", b"\x93NUMPY", "application/x-npy")),
        ("openapi", request("/any", [1, 2])),
    ],
)
def test_a_valid_request_is_left_alone(protocol: str, sent: Arrival) -> None:
    assert problem_of_request(protocol, sent) == ""


@pytest.mark.parametrize(
    ("protocol", "sent", "problem"),
    [
        ("v2", request("/v2/models/m/predict", {"inputs": [TENSOR]}), "expected POST /v2/models/m/infer"),
        ("v2", request(PATHS["v2"], {"inputs": []}), "no inputs"),
        ("v2", request(PATHS["v2"], [1]), "no inputs"),
        ("v2", request(PATHS["v2"], {"inputs": [{**TENSOR, "shape": [2, 2]}]}), "2 values, but the shape"),
        (
            "v2",
            request(PATHS["v2"], {"inputs": [{**TENSOR, "datatype": "float64"}]}),
            "the datatype 'float64'",
        ),
        ("v2", request(PATHS["v2"], {"inputs": [{**TENSOR, "datatype": ["FP64"]}]}), "the datatype ['FP64']"),
        ("v2", request(PATHS["v2"], {"inputs": [{"data": [1]}]}), "no name and no shape and no datatype"),
        ("v2", request(PATHS["v2"], {"inputs": [1]}), "no name and no shape and no datatype"),
        ("v1", request(PATHS["v1"], {"features": [[1.0]]}), "none of the fields instances"),
        ("v1", request("/v1/models/m", {"instances": [[1.0]]}), "expected POST /v1/models/m:predict"),
        (
            "mlflow",
            request("/invocations", {"columns": ["a"], "data": [[1]]}),
            "none of the fields dataframe_split",
        ),
        ("mlflow", request("/predict", {"inputs": [[1]]}), "expected POST /invocations"),
        ("sagemaker", request("/invocations", b"1,2"), "not valid JSON"),
        ("bentoml", Arrival(0, 0.0, 1, "GET", "/predict", {}, b""), "GET with an empty body"),
        ("v1", request(PATHS["v1"], b""), "POST with an empty body"),
        ("sagemaker", request("/invocations", b"", "text/csv"), "no body"),
        ("bentoml", request("/predict", {}, "text/plain"), "Content-Type text/plain"),
    ],
)
def test_what_a_real_server_would_refuse_is_found(protocol: str, sent: Arrival, problem: str) -> None:
    assert problem in problem_of_request(protocol, sent)


@pytest.mark.parametrize(
    "sent",
    [
        request(PATHS["v2"], {"inputs": [{**TENSOR, "name": f"key {SECRET}", "shape": [7]}]}),
        request(PATHS["v2"], {"inputs": [{**TENSOR, "datatype": f"key {SECRET}"}]}),
        request(PATHS["v1"], {"key": SECRET}),
        request(f"/key/{SECRET}", {}),
    ],
)
def test_a_secret_in_a_request_is_not_shown(monkeypatch: pytest.MonkeyPatch, sent: Arrival) -> None:
    monkeypatch.setenv("SCORING_API_KEY", SECRET)

    problem = problem_of_request("v1" if sent.path == PATHS["v1"] else "v2", sent)

    assert "key" in problem
    assert SECRET not in problem


def test_each_tensor_of_a_batch_has_its_rows_twice() -> None:
    answer = read_declaration({"protocol": "v2"}).answer

    (output,) = batch_answer_of([[1.0, 2.0]], answer)["outputs"]

    assert (output["shape"], output["data"]) == ([2, 1], [1, 1])
    assert batch_answer_of({"instances": [[1.0]]}, {"predictions": [1]}) == {"predictions": [1, 1]}


def test_the_order_of_marks_is_that_of_the_rows_and_a_missing_one_is_seen() -> None:
    answers = [mark_response({"predictions": [1], "model": "m"}, number) for number in (3, 1, 1)]
    joined = joined_answers({"features": [[1.0]]}, answers)

    assert order_in_answer(joined) == [3, 1, 1]
    assert joined["model"] == "m"
    assert not shows_missing(joined)
    assert shows_missing([1.0, float("nan")])
    assert shows_missing({"predictions": [None]})


def test_rows_are_found_in_bodies_and_nowhere_else() -> None:
    rows = [[1.0], [2.0]]

    assert rows_in(rows) == rows_in({"dataframe_split": {"columns": ["a"], "data": rows}}) == rows
    assert rows_in({"other": rows}) is rows_in([1.0, 2.0]) is rows_in("text") is None


def test_what_is_declared_takes_the_place_of_a_protocols_bodies() -> None:
    declared = read_declaration({"protocol": "v1", "data": [[3.0]]})
    named = read_declaration(read_declaration({"data": [[3.0]]}), "v2")

    assert (declared.data, declared.answer) == ([[3.0]], {"predictions": [1]})
    assert named.data == [[3.0]]
    assert "outputs" in named.answer
    assert "protocol" not in declared.promised
    with pytest.raises(DeclarationError, match="invalid protocol 'v3'"):
        read_declaration({"protocol": "v3"})
