from __future__ import annotations

from typing import Any

import pytest
from syrupy.assertion import SnapshotAssertion

from tier0.contract.assumptions import assumed_request
from tier0.contract.contract import Contract, ContractError
from tier0.contract.service_schema import OpenAnswerError, describe, example_for, find_contract

MATRIX = {"type": "array", "items": {"type": "array", "items": {"type": "number"}}}
RECORD = {
    "type": "object",
    "properties": {"a": {"type": "number"}, "b": {"type": "string"}},
    "required": ["a", "b"],
}
RECORDS = {"type": "array", "items": {"type": "object", "properties": {"a": {"type": "number"}}}}
ROW = {"type": "array", "items": {"type": "number"}}
TENSOR = {"type": "tensor", "format": "numpy-array"}
FRAME = {"type": "dataframe", "orient": "records"}
TEXTS = {"type": "array", "items": {"type": "string"}}
LABELS = {"type": "array", "items": {"type": "integer"}}


def schema(
    inputs: dict[str, Any], output: dict[str, Any], *, required: list[str] | None = None, **route: Any
) -> dict[str, Any]:
    needed = list(inputs) if required is None else required
    described = {
        "route": "/predict",
        "input": {"type": "object", "properties": inputs, "required": needed},
        "output": output,
        **route,
    }
    return {"routes": [described], "paths": {"/predict": {"mounted": False}}}


@pytest.mark.parametrize(
    ("inputs", "output", "expected"),
    [
        ({"x": TENSOR}, TENSOR, None),
        (
            {"x": TENSOR},
            {"type": "array", "items": {"type": "integer"}},
            Contract("/predict", "x", "rows", None, "", None, is_array=True),
        ),
        (
            {"x": MATRIX},
            {"type": "array", "items": {"type": "integer"}},
            Contract("/predict", "x", "rows", None, "", None),
        ),
        ({"x": MATRIX}, MATRIX, None),
        ({"df": FRAME}, FRAME, None),
        ({"row": ROW}, {"type": "number"}, Contract("/predict", "row", "row", None, "", None)),
        (
            {"x": RECORDS},
            {"type": "object", "properties": {"labels": {}, "scores": {}}},
            Contract("/predict", "x", "records", None, "labels", "scores"),
        ),
        (
            {"a": {"type": "number"}, "b": {"type": "string"}},
            {"type": "number"},
            Contract("/predict", "", "record", None, "", None),
        ),
        (
            {
                "input": {
                    "type": "object",
                    "properties": {"rows": MATRIX, "columns": {"type": "array", "items": {"type": "string"}}},
                }
            },
            {"type": "object", "properties": {"predictions": {}}},
            Contract("/predict", "input.rows", "rows", "input.columns", "predictions", None),
        ),
        (
            {"x": MATRIX},
            {"type": "array", "items": {"type": "object", "properties": {"label": {}, "score": {}}}},
            Contract("/predict", "x", "rows", None, "*.label", "*.score"),
        ),
    ],
)
def test_a_schema_that_says_enough_is_the_contract(
    inputs: dict[str, Any], output: dict[str, Any], expected: Contract | None
) -> None:
    if expected is None:
        with pytest.raises(OpenAnswerError, match='predictions = "'):
            find_contract(schema(inputs, output), {})
        return
    found = find_contract(schema(inputs, output), {})

    parts = ("route", "features", "style", "columns", "predictions", "probabilities", "is_array")
    assert {part: getattr(found, part) for part in parts} == {part: getattr(expected, part) for part in parts}
    assert found.health == "/readyz"


def test_what_may_be_left_out_is_known() -> None:
    inputs = {"features": MATRIX, "threshold": {"type": "number", "default": 0.5}}

    assert find_contract(schema(inputs, TENSOR, required=[]), {"predictions": ""}).optional == ("threshold",)


def test_what_is_declared_wins() -> None:
    found = find_contract(
        schema({"x": MATRIX, "y": MATRIX}, MATRIX),
        {"features": "y", "style": "rows", "predictions": "p.q", "probabilities": None},
    )

    assert (found.features, found.parts) == ("y", ("predictions",))


@pytest.mark.parametrize(
    "document",
    [
        pytest.param({"routes": [{"route": "/a"}, {"route": "/b"}]}, id="routes"),
        pytest.param(schema({"x": MATRIX, "y": MATRIX}, MATRIX), id="inputs"),
        pytest.param(schema({"text": {"type": "string"}}, MATRIX), id="text"),
    ],
)
def test_a_schema_that_does_not_show_enough_is_refused_with_what_to_declare(
    document: dict[str, Any], snapshot: SnapshotAssertion
) -> None:
    with pytest.raises(ContractError) as problem:
        find_contract(document, {})

    assert "--contract FILE:\n    schema = 1\n" in str(problem.value)
    assert str(problem.value) == snapshot


def test_our_own_service_is_mounted_and_known() -> None:
    assert find_contract({"routes": [], "paths": {"/predict": {"mounted": True}}}, {}) == Contract()


FORMS: list[tuple[dict[str, Any], tuple[str, ...], list[tuple[str, str, int | None]]]] = [
    ({"rows": MATRIX}, ("a", "b"), [("rows", "rows", None)]),
    ({"rows": {**MATRIX, "maxItems": 8}}, ("a", "b"), [("rows", "rows", 8)]),
    ({"rows": {"type": "tensor", "shape": [1, 4], "dim": 4}}, ("a", "b"), [("rows", "rows", 1)]),
    ({"rows": {"type": "tensor", "shape": [-1, 4], "dim": 4}}, ("a", "b"), [("rows", "rows", None)]),
    ({"row": {"type": "tensor", "shape": [4], "dim": 4}}, ("a", "b"), [("row", "row", None)]),
    ({"data": RECORD}, ("a", "b"), [("data", "record", None)]),
    (
        {"data": {"type": "object", "additionalProperties": True}},
        ("a", "b"),
        [("data", "columns", None), ("data", "record", None)],
    ),
    (
        {"data": {"type": "object", "additionalProperties": {"type": "number"}}},
        ("a", "b"),
        [("data", "record", None)],
    ),
    ({"data": {"type": "object", "additionalProperties": ROW}}, ("a", "b"), [("data", "columns", None)]),
    (
        {"data": {"type": "array", "items": {}}},
        ("a", "b"),
        [("data", "rows", None), ("data", "records", None)],
    ),
    ({"frame": {"type": "dataframe", "orient": "columns"}}, ("a", "b"), [("frame", "columns", None)]),
    ({"texts": TEXTS}, ("text",), [("texts", "values", None)]),
    ({"text": {"type": "string"}}, ("review",), [("text", "value", None)]),
    (
        {"a": {"type": "number"}, "b": {"type": "string"}, "limit": {"type": "number", "default": 1}},
        ("a", "b"),
        [("", "record", None)],
    ),
    ({"a": {"type": "number"}}, ("a",), [("", "record", None)]),
]


@pytest.mark.parametrize(("inputs", "columns", "expected"), FORMS)
def test_the_schema_shows_in_which_forms_rows_can_be_sent(
    inputs: dict[str, Any], columns: tuple[str, ...], expected: list[Any]
) -> None:
    described = describe(schema(inputs, LABELS, required=[]), {}, columns)

    assert described is not None
    assert [tuple(form)[:3] for form in described.forms] == expected


def test_required_fields_beside_the_rows_are_known() -> None:
    wrapped = {
        "w": {
            "type": "object",
            "properties": {"rows": MATRIX, "version": {"enum": ["v1", "v2"]}},
            "required": ["rows", "version"],
        }
    }
    described = describe(
        schema(
            {**wrapped, "model": {"type": "string"}, "trace": {"type": "boolean"}},
            LABELS,
            required=["w", "model"],
        ),
        {},
    )

    assert described is not None
    assert described.contract.features == "w.rows"
    assert set(described.required) == {"w.version", "model"}
    declared = describe(
        schema({**wrapped, "model": {"type": "string"}}, LABELS),
        {"fields": {"w.version": "v1", "model": "m"}},
    )
    assert declared is not None
    assert declared.required == {}
    assert declared.contract.body(["a"], [[1.0]]) == {"w": {"rows": [[1.0]], "version": "v1"}, "model": "m"}


@pytest.mark.parametrize(
    "names", [["sepalLength", "petalWidth"], ["SEPAL LENGTH", "petal-width"], ["Sepal_Length", "PetalWidth"]]
)
def test_columns_that_are_only_spelled_otherwise_are_known(names: list[str]) -> None:
    record = {"type": "object", "properties": {name: {"type": "number"} for name in names}, "required": names}
    described = describe(schema({"row": record}, LABELS), {}, ["sepal_length", "petal_width"])

    assert described is not None
    assert described.contract.body(["sepal_length", "petal_width"], [[1.0, 2.0]]) == {
        "row": dict(zip(names, [1.0, 2.0], strict=True))
    }
    assert described.required == {}


def test_columns_of_other_names_are_not_guessed() -> None:
    record = {
        "type": "object",
        "properties": {"f0": {"type": "number"}, "f1": {"type": "number"}},
        "required": ["f0", "f1"],
    }
    described = describe(schema({"row": record}, LABELS), {}, ["a", "b"])

    assert described is not None
    assert described.contract.names == {}


def routes(*names: str) -> dict[str, Any]:
    described = {"input": {"properties": {"x": MATRIX}, "required": ["x"]}, "output": LABELS}
    return {"routes": [{"route": name, **described} for name in names], "paths": {}}


@pytest.mark.parametrize(
    ("names", "chosen"),
    [
        (("/predict_batch", "/predict", "/predict_proba"), "/predict"),
        (("/health", "/predict_churn"), "/predict_churn"),
        (("/classify",), "/classify"),
    ],
)
def test_the_route_with_the_exact_name_is_chosen(names: tuple[str, ...], chosen: str) -> None:
    assert find_contract(routes(*names), {}).route == chosen


@pytest.mark.parametrize(
    "schema",
    [
        {"routes": [{}]},
        {"paths": 5},
        {
            "routes": [
                {
                    "route": "/predict",
                    "input": {"properties": {"rows": {"type": "array", "items": [1]}}, "required": 5},
                }
            ]
        },
        {"routes": [{"route": "/predict", "input": {"properties": {"rows": {"type": 5}}}}]},
        {"routes": [{"route": "/predict", "input": {"type": "tensor", "shape": 4}}]},
        {
            "routes": [
                {
                    "route": "@other.host/x",
                    "input": {"properties": {"rows": {"type": "array", "items": {"type": "array"}}}},
                }
            ]
        },
    ],
)
def test_a_schema_that_cannot_be_read_is_told(schema: Any) -> None:
    with pytest.raises(ContractError, match=r"schema\.json"):
        describe(schema, {}, ("a",))


def test_a_route_that_does_not_exist_is_never_advised() -> None:
    with pytest.raises(ContractError, match=r'route = "/first"'):
        find_contract(routes("/first", "/second"), {})


@pytest.mark.parametrize(
    ("inputs", "output", "why"),
    [
        ({"table": {"type": "file", "format": "binary"}}, LABELS, "takes a file"),
        ({"picture": {"type": "image"}}, LABELS, "takes a file"),
        ({"x": MATRIX}, {"type": "string", "is_stream": True}, "responds with a stream"),
    ],
)
def test_what_rows_cannot_be_sent_as_is_a_reason(
    inputs: dict[str, Any], output: dict[str, Any], why: str
) -> None:
    assert why in find_contract(schema(inputs, output), {}).why_not_asked


def test_a_task_is_not_asked_and_is_named_if_there_is_nothing_else() -> None:
    task = {"route": "/predict_later", "input": {"properties": {"x": MATRIX}}, "is_task": True}
    api = {"route": "/predict_now", "input": {"properties": {"x": MATRIX}}, "output": LABELS}

    beside = describe({"routes": [task, api]}, {})
    alone = describe({"routes": [task]}, {})

    assert beside is not None
    assert (beside.contract.route, beside.contract.why_not_asked) == ("/predict_now", "")
    assert alone is not None
    assert alone.contract.why_not_asked.startswith("/predict_later is a task (@bentoml.task)")


ITEM = {"type": "object", "properties": {"id": {"type": "string"}, "row": RECORD}, "required": ["id", "row"]}
NAMED_TENSOR = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "shape": {"type": "array", "items": {"type": "integer"}},
        "datatype": {"const": "FP32"},
        "data": ROW,
    },
}


def test_rows_in_a_field_of_each_item_are_found_with_the_fields_beside_them() -> None:
    described = describe(schema({"items": {"type": "array", "items": ITEM}}, LABELS), {}, ["a", "b"])

    assert described is not None
    assert (described.contract.features, described.contract.style) == ("items.*.row", "records")
    assert list(described.required) == ["items.*.id"]
    assert described.contract.why_not_asked == ""


def test_tensors_in_a_schema_are_found_with_their_only_datatype() -> None:
    described = describe(schema({"inputs": {"type": "array", "items": NAMED_TENSOR}}, LABELS), {}, ["a", "b"])

    assert described is not None
    assert described.contract.body(["a", "b"], [[1, 2.5]])["inputs"] == [
        {"name": "input-0", "shape": [1, 2], "datatype": "FP32", "data": [1, 2.5]}
    ]


@pytest.mark.parametrize(
    ("beside", "names", "is_certain"),
    [
        ({"request_id": {"type": "string"}}, RECORDS, True),
        ({"requestId": {"type": "string"}}, RECORDS, True),
        ({"渠道": {"type": "string"}}, RECORDS, False),
        ({"model": {"type": "string"}}, RECORDS, False),
        ({"timestamp": {"type": "number"}}, RECORDS, False),
        ({}, {"type": "array", "items": {"type": "object", "properties": {"c": {}}}}, False),
        ({}, {"type": "array", "items": {"type": "object", "properties": {"c": {}, "d": {}}}}, False),
        ({"table": {"type": "file"}}, None, True),
        ({"table": {"type": "image"}}, None, None),
    ],
)
def test_what_is_missing_for_a_request_is_certain_or_not(
    beside: dict[str, Any], names: dict[str, Any] | None, *, is_certain: bool | None
) -> None:
    inputs = beside if names is None else {"x": names, **beside}
    described = describe(schema(inputs, LABELS), {}, ["a"])
    assert described is not None

    assumption = assumed_request(described, {}, ["a"])

    assert (None if assumption is None else assumption.is_certain) == is_certain


def test_the_example_of_an_object_has_its_required_fields() -> None:
    number, text = {"type": "number"}, {"type": "string"}
    options = {"type": "object", "properties": {"threshold": number, "note": text}, "required": ["threshold"]}

    assert example_for({"options": options, "free": {"type": "object"}}) == {
        "options": {"threshold": 1.0},
        "free": {},
    }
