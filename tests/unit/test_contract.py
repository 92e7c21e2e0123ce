from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tier0.core.contract import Contract, ContractError, OpenAnswerError, find_contract, read_contract

COLUMNS = ["a", "b"]
ROWS: list[list[Any]] = [[1.0, "x"], [None, "y"]]
MATRIX = {"type": "array", "items": {"type": "array", "items": {"type": "number"}}}
RECORDS = {"type": "array", "items": {"type": "object", "properties": {"a": {"type": "number"}}}}
ROW = {"type": "array", "items": {"type": "number"}}
TENSOR = {"type": "tensor", "format": "numpy-array"}
FRAME = {"type": "dataframe", "orient": "records"}


def schema(inputs: dict[str, Any], output: dict[str, Any], *, required: list[str] | None = None, **route: Any) -> dict[str, Any]:
    needed = list(inputs) if required is None else required
    described = {"route": "/predict", "input": {"type": "object", "properties": inputs, "required": needed}, "output": output, **route}
    return {"routes": [described], "paths": {"/predict": {"mounted": False}}}


@pytest.mark.parametrize(
    ("inputs", "output", "expected"),
    [
        ({"x": TENSOR}, TENSOR, None),
        ({"x": TENSOR}, {"type": "array", "items": {"type": "integer"}}, Contract("/predict", "x", "rows", None, "", None, is_array=True)),
        ({"x": MATRIX}, {"type": "array", "items": {"type": "integer"}}, Contract("/predict", "x", "rows", None, "", None)),
        ({"x": MATRIX}, MATRIX, None),
        ({"df": FRAME}, FRAME, None),
        ({"row": ROW}, {"type": "number"}, Contract("/predict", "row", "row", None, "", None)),
        (
            {"x": RECORDS},
            {"type": "object", "properties": {"labels": {}, "scores": {}}},
            Contract("/predict", "x", "records", None, "labels", "scores"),
        ),
        ({"a": {"type": "number"}, "b": {"type": "string"}}, {"type": "number"}, Contract("/predict", "", "record", None, "", None)),
        (
            {"input": {"type": "object", "properties": {"rows": MATRIX, "columns": {"type": "array", "items": {"type": "string"}}}}},
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
def test_a_schema_that_says_enough_is_the_contract(inputs: dict[str, Any], output: dict[str, Any], expected: Contract | None) -> None:
    if expected is None:
        with pytest.raises(OpenAnswerError, match="where the predictions are in the answer of /predict is not clear"):
            find_contract(schema(inputs, output), {})
        return
    found = find_contract(schema(inputs, output), {})

    parts = ("route", "features", "style", "columns", "predictions", "probabilities", "is_array")
    assert {part: getattr(found, part) for part in parts} == {part: getattr(expected, part) for part in parts}
    assert found.health == "/readyz"


def test_what_may_be_left_out_is_known() -> None:
    inputs = {"features": MATRIX, "threshold": {"type": "number", "default": 0.5}}

    assert find_contract(schema(inputs, TENSOR, required=[]), {"predictions": ""}).optional == ("threshold",)


def test_an_answer_says_what_a_schema_leaves_open() -> None:
    open_ = schema({"df": FRAME}, FRAME)

    found = find_contract(open_, {}, [{"prediction": 1, "probability": 0.5, "note": ""}])

    assert (found.predictions, found.probabilities) == ("*.prediction", "*.probability")
    with pytest.raises(ContractError, match="among verdict in the answer"):
        find_contract(open_, {}, [{"verdict": 1}])


@pytest.mark.parametrize(
    ("answered", "expected"),
    [
        ([1, 0], ("", None)),
        (["yes", "no"], ("", None)),
        ([[0.1, 0.9], [0.7, 0.3]], (None, "")),
        ([[1.0, 2.0, 3.0]], ("", None)),
        ({"label": [1], "other": 2}, ("label", None)),
    ],
)
def test_the_shape_of_an_answer_says_what_it_is(answered: Any, expected: tuple[str | None, str | None]) -> None:
    found = find_contract(schema({"x": MATRIX}, TENSOR), {}, answered, classes=2)

    assert (found.predictions, found.probabilities) == expected


def test_what_is_declared_wins() -> None:
    found = find_contract(schema({"x": MATRIX, "y": MATRIX}, MATRIX), {"features": "y", "style": "rows", "predictions": "p.q", "probabilities": None})

    assert (found.features, found.parts) == ("y", ("predictions",))


@pytest.mark.parametrize(
    ("document", "says"),
    [
        ({"routes": [{"route": "/a"}, {"route": "/b"}]}, r"which of its routes predicts is not clear \(/a, /b\)"),
        (schema({"x": MATRIX, "y": MATRIX}, MATRIX), "which of x, y of /predict takes the rows is not clear"),
        (schema({"text": {"type": "string"}}, MATRIX), "which of text of /predict takes the rows"),
    ],
)
def test_a_schema_that_does_not_is_told_with_what_to_write(document: dict[str, Any], says: str) -> None:
    with pytest.raises(ContractError, match=says) as problem:
        find_contract(document, {})

    assert "Say it with --contract FILE, a few lines of TOML: schema = 1, " in str(problem.value)


def test_our_own_service_is_mounted_and_known() -> None:
    assert find_contract({"routes": [], "paths": {"/predict": {"mounted": True}}}, {}) == Contract()


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
def test_any_answer_can_be_read(answer: Any) -> None:
    for contract in (Contract(), Contract(predictions="*.a.b", probabilities=""), Contract(style="record", predictions="")):
        assert contract.read(answer).keys() == {"predictions", "probabilities", "intervals", "model_tag"}


@pytest.mark.parametrize(
    ("contract", "body"),
    [
        (Contract(), {"features": ROWS, "columns": COLUMNS}),
        (Contract(features="in.rows", columns=None), {"in": {"rows": ROWS}}),
        (Contract(features="", style="records"), [{"a": 1.0, "b": "x"}, {"a": None, "b": "y"}]),
        (Contract(features="row", style="record"), {"row": {"a": 1.0, "b": "x"}}),
        (Contract(features="", style="record"), {"a": 1.0, "b": "x"}),
        (Contract(features="row", style="row"), {"row": [1.0, "x"]}),
    ],
)
def test_rows_become_a_body(contract: Contract, body: Any) -> None:
    assert contract.body(COLUMNS, ROWS) == body


def test_an_answer_about_one_row_is_a_list_of_one() -> None:
    read = Contract(style="record", predictions="label", probabilities="score", probability_of="yes").read({"label": "yes", "score": 0.7})

    assert read == {"predictions": ["yes"], "probabilities": [[0.7]], "intervals": None, "model_tag": None}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "schema = None: write schema = 1"),
        ("schema = 2", "schema = 2"),
        ("schema = 1\nroutes = 'x'", "'routes', which no contract has"),
        ("schema = 1\nroute = 3", "route = 3: give text"),
        ("schema = 1\nroute = 'predict'", "a route begins with a slash"),
        ("schema = 1\nstyle = 'columns'", "give one of rows, records, row, record"),
        ("schema =", "cannot be read"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "contract.toml"
    path.write_text(text, encoding="utf-8")

    with pytest.raises(ContractError, match=says):
        read_contract(path)


def test_a_file_may_say_only_what_is_not_known(tmp_path: Path) -> None:
    path = tmp_path / "contract.toml"
    path.write_text('schema = 1\nroute = "/classify"\ncolumns = ""\n', encoding="utf-8")

    assert read_contract(path) == {"route": "/classify", "columns": None}
