from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from syrupy.assertion import SnapshotAssertion

from tier0.core.errors import InvalidRowError, RegistrationError
from tier0.golden.signature import Feature, Signature

AGE = Feature("age", "number", "float64", accepts_missing=True)
VISITS = Feature("visits", "integer", "int64")
SMOKER = Feature("smoker", "boolean", "bool")
REGION = Feature("region", "text", "object", accepts_missing=True)
GRADE = Feature("grade", "text", "category", categories=("a", "b"))
FRAME = Signature((AGE, VISITS, SMOKER, REGION, GRADE), "dataframe", "regression")
MATRIX = Signature(
    (Feature("x", "number", "float64"), Feature("y", "number", "float64")), "ndarray", "regression"
)
GOOD: dict[str, Any] = {"age": 3.5, "visits": 2, "smoker": True, "region": "south", "grade": "a"}


@pytest.mark.parametrize(
    ("change", "column"),
    [
        ({"age": "3"}, "age"),
        ({"age": True}, "age"),
        ({"age": math.inf}, "age"),
        ({"age": 10**400}, "age"),
        ({"age": [1]}, "age"),
        ({"visits": 2.5}, "visits"),
        ({"visits": None}, "visits"),
        ({"visits": math.nan}, "visits"),
        ({"visits": 2**63}, "visits"),
        ({"smoker": 1}, "smoker"),
        ({"region": 4}, "region"),
        ({"grade": "c"}, "grade"),
        ({"visits": 10**400}, "visits"),
        ({"visits": math.inf}, "visits"),
    ],
)
def test_a_bad_value_is_refused_by_field(
    change: dict[str, Any], column: str, snapshot: SnapshotAssertion
) -> None:
    with pytest.raises(InvalidRowError) as refusal:
        FRAME.parse([{**GOOD, **change}])

    assert refusal.value.field == f"features[0].{column}"
    assert refusal.value.remedy
    assert refusal.value.status == 422
    assert str(refusal.value) == snapshot


@pytest.mark.parametrize(
    ("features", "columns", "field"),
    [
        (None, None, "features"),
        ([], None, "features"),
        ({"x": 1}, None, "features"),
        ([1, 2], None, "features[0]"),
        ([[1]], None, "features[0]"),
        ([[1, 2], [1, 2, 3]], None, "features[1]"),
        ([[1, 2], {"x": 1, "y": 2}], None, "features[1]"),
        ([{"x": 1, "y": 2}, [1, 2]], None, "features[1]"),
        ([{"x": 1}], None, "features[0].y"),
        ([{"x": 1, "y": 2, "z": 3}], None, "features[0].z"),
        ([{"x": 1, "y": 2}], ["x", "y"], "columns"),
        ([[1, 2]], "xy", "columns"),
        ([[1, 2]], ["x", "x"], "columns"),
        ([[1, 2]], ["x", "z"], "columns.y"),
        ([[1, 2]], ["x"], "columns.y"),
    ],
)
def test_a_bad_shape_is_refused_by_field(
    features: Any, columns: Any, field: str, snapshot: SnapshotAssertion
) -> None:
    with pytest.raises(InvalidRowError) as refusal:
        MATRIX.parse(features, columns)

    assert refusal.value.field == field
    assert str(refusal.value) == snapshot


def test_a_column_is_refused_after_many_good_rows() -> None:
    with pytest.raises(InvalidRowError) as refusal:
        MATRIX.parse([[1.0, 2.0]] * 50 + [[1.0, math.nan]])

    assert refusal.value.field == "features[50].y"


finite = st.floats(allow_nan=False, allow_infinity=False)


@given(rows=st.lists(st.tuples(finite, finite).map(list), min_size=1), swapped=st.booleans())
def test_rows_records_and_permuted_columns_become_the_same_array(
    *, rows: list[list[float]], swapped: bool
) -> None:
    expected = np.array(rows)
    columns = ["y", "x"] if swapped else None
    given_rows = [row[::-1] for row in rows] if swapped else [list(row) for row in rows]
    records = [{"y": row[1], "x": row[0]} for row in rows]

    np.testing.assert_array_equal(MATRIX.to_container(MATRIX.parse(given_rows, columns)), expected)
    np.testing.assert_array_equal(MATRIX.to_container(MATRIX.parse(records)), expected)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_whatever_json_comes_is_parsed_or_refused(features: Any) -> None:
    try:
        rows = FRAME.parse(features)
    except InvalidRowError as refusal:
        assert refusal.field.startswith("features")  # noqa: PT017
    else:
        assert len(FRAME.to_container(rows)) == len(features)


def test_frame_has_the_dtypes_of_the_training_data_and_its_missing_values() -> None:
    frame = FRAME.to_container(FRAME.parse([GOOD, {**GOOD, "age": None, "region": None}]))

    assert [str(dtype) for dtype in frame.dtypes] == ["float64", "int64", "bool", "object", "category"]
    assert isinstance(frame["region"][1], float)
    assert math.isnan(frame["region"][1])
    assert frame["age"].isna().tolist() == [False, True]


TEXT = Signature((Feature("text", "text", "object"),), "texts", "regression")
IMAGE = Signature(
    (Feature("array", "array", "uint8", shape=(2, 3)),), "arrays", "regression", array_dtype="uint8"
)
VALUE = Signature((Feature("value", "json", "object"),), "json", "regression")
PIXELS = [[1, 2, 3], [4, 5, 6]]


@pytest.mark.parametrize(
    ("signature", "features", "given"),
    [
        (TEXT, ["a", "b"], ["a", "b"]),
        (TEXT, [{"text": "a"}], ["a"]),
        (IMAGE, [PIXELS, PIXELS], np.array([PIXELS, PIXELS], dtype="uint8")),
        (IMAGE, [{"array": PIXELS}], np.array([PIXELS], dtype="uint8")),
        (VALUE, [{"tokens": [1]}, 3], [{"tokens": [1]}, 3]),
    ],
)
def test_a_request_has_the_rows_themselves_where_they_are_no_table(
    signature: Signature, features: Any, given: Any
) -> None:
    container = signature.to_container(signature.parse_request(features))

    assert type(container) is type(given)
    assert np.array_equal(container, given)


@pytest.mark.parametrize(
    ("signature", "features", "field"),
    [
        (TEXT, [], "features"),
        (TEXT, "a", "features"),
        (TEXT, ["a", 3], "features[1].text"),
        (TEXT, ["a", None], "features[1].text"),
        (TEXT, [["a"]], "features[0].text"),
        (IMAGE, [PIXELS[0]], "features[0].array"),
        (IMAGE, [[[1, 2, 3], [4, 5]]], "features[0].array"),
        (IMAGE, [[[1, 2, 3], [4, 5, 256]]], "features[0].array"),
        (IMAGE, [[[1, 2, 3], [4, 5, -1]]], "features[0].array"),
        (IMAGE, [[[1, 2, 3], [4, 5, 0.5]]], "features[0].array"),
        (IMAGE, [[[1, 2, 3], [4, 5, "6"]]], "features[0].array"),
        (IMAGE, [[[1, 2, 3], [4, 5, None]]], "features[0].array"),
        (IMAGE, [[[True] * 3] * 2], "features[0].array"),
        (IMAGE, [5], "features[0].array"),
        (VALUE, [None], "features[0].value"),
        (VALUE, {}, "features"),
    ],
)
def test_rows_that_are_no_table_are_refused_by_their_field(
    signature: Signature, features: Any, field: str
) -> None:
    with pytest.raises(InvalidRowError) as refusal:
        signature.parse_request(features)
    assert refusal.value.field == field
    with pytest.raises(InvalidRowError) as refusal:
        signature.parse_request([PIXELS], ["a"])
    assert refusal.value.field == "columns"


def test_none_stays_none_where_the_training_data_had_it() -> None:
    region = Feature("region", "text", "object", accepts_missing=True, missing="none")

    frame = Signature((region,), "dataframe", "regression").to_container([["south"], [None]])

    assert frame["region"].tolist() == ["south", None]


def test_large_whole_numbers_stay_what_they_are() -> None:
    signature = Signature((VISITS,), "dataframe", "regression")

    frame = signature.to_container(signature.parse([[2**53 + 1], [16777217.0]]))

    assert frame["visits"].tolist() == [2**53 + 1, 16777217]


def test_a_large_whole_number_beside_a_missing_one_is_refused_and_not_rounded() -> None:
    signature = Signature((replace(VISITS, accepts_missing=True),), "dataframe", "regression")

    assert signature.parse([[2**53], [None]]) == [[2**53], [None]]
    with pytest.raises(InvalidRowError) as refusal:
        signature.parse([[2**53 + 1], [None]])
    assert refusal.value.field == "features[0].visits"


def test_another_spelling_of_a_known_value_is_refused_and_an_unknown_one_is_the_models_business() -> None:
    region = Feature("region", "text", "object", vocabulary=("North East", "south"))
    signature = Signature((region,), "dataframe", "regression")

    assert signature.parse([["North East"], ["west"]]) == [["North East"], ["west"]]
    for value in (" south", "South", "north  east"):
        with pytest.raises(InvalidRowError) as refusal:
            signature.parse([[value]])
        assert refusal.value.field == "features[0].region"
        assert refusal.value.remedy.startswith("Send ")


@pytest.mark.parametrize("dtype", ["Int64", "boolean", "string"])
def test_pandas_own_dtypes_take_missing_values(dtype: str) -> None:
    kind: Any = {"Int64": "integer", "boolean": "boolean", "string": "text"}[dtype]
    value: Any = {"Int64": 3, "boolean": True, "string": "x"}[dtype]
    signature = Signature((Feature("c", kind, dtype, accepts_missing=True),), "dataframe", "regression")

    column = signature.to_container(signature.parse([[value], [None]]))["c"]

    assert str(column.dtype) == dtype
    assert column[0] == value
    assert pd.isna(column[1])


def test_a_signature_survives_json() -> None:
    assert Signature.from_dict(FRAME.as_dict()) == FRAME


def test_another_schema_is_refused() -> None:
    with pytest.raises(RegistrationError, match="schema 99"):
        Signature.from_dict({**FRAME.as_dict(), "schema": 99})
