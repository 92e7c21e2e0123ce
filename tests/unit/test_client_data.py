"""Data of pandas, polars, numpy and Arrow become the body that their Python values become."""

from __future__ import annotations

import datetime as dt
import json
import math
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tier0.client import InvalidDataError
from tier0.client.wire import encode
from tier0.contract.contract import Contract

RECORDS = Contract(style="records", columns=None)
ROWS = Contract(style="rows", features="rows", columns="names")
COLUMNS = Contract(style="columns", columns=None)
CONTRACTS = [RECORDS, ROWS, COLUMNS]
INTEGERS = st.integers(-(2**63), 2**63 - 1)
NUMBERS = st.floats(allow_infinity=False)
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=5)
MOMENTS = st.datetimes(dt.datetime(1700, 1, 1), dt.datetime(2200, 1, 1))  # noqa: DTZ001 - as in a file
CATEGORIES = st.sampled_from(["red", "blue"])
DAYS = st.dates(dt.date(1700, 1, 1), dt.date(2200, 1, 1))
PANDAS: dict[str, tuple[st.SearchStrategy[Any], bool]] = {
    "int64": (INTEGERS, False),
    "int8": (st.integers(-128, 127), False),
    "uint64": (st.integers(0, 2**64 - 1), False),
    "Int64": (INTEGERS, True),
    "float64": (NUMBERS, True),
    "float32": (st.floats(width=32, allow_infinity=False), True),
    "Float64": (st.floats(allow_infinity=False, allow_nan=False), True),
    "bool": (st.booleans(), False),
    "boolean": (st.booleans(), True),
    "string": (TEXTS, True),
    **({"str": (TEXTS, True)} if int(pd.__version__.partition(".")[0]) > 2 else {}),
    "object": (TEXTS | st.integers() | st.booleans() | st.lists(st.integers(), max_size=2), True),
    "category": (CATEGORIES, True),
    "datetime64[ns]": (MOMENTS, True),
    "datetime64[us, UTC]": (MOMENTS.map(lambda moment: moment.replace(tzinfo=dt.UTC)), True),
}
"""Values that a column of each dtype may hold, and whether some may be missing."""
ARROW = {
    "int64[pyarrow]": INTEGERS,
    "double[pyarrow]": NUMBERS,
    "bool[pyarrow]": st.booleans(),
    "string[pyarrow]": TEXTS,
    "timestamp[us][pyarrow]": MOMENTS,
    "date32[day][pyarrow]": DAYS,
}
POLARS = {
    "Int64": INTEGERS,
    "UInt8": st.integers(0, 255),
    "Float64": NUMBERS,
    "Boolean": st.booleans(),
    "String": TEXTS,
    "Categorical": CATEGORIES,
    "Date": DAYS,
}


def table_of(
    data: st.DataObject, columns: dict[str, tuple[st.SearchStrategy[Any], bool]]
) -> tuple[dict[str, str], dict[str, list[Any]]]:
    """Draw the dtypes and the Python values of some columns; a missing value is None."""
    names = data.draw(st.lists(TEXTS, min_size=1, max_size=4, unique=True))
    dtypes = {name: data.draw(st.sampled_from(sorted(columns))) for name in names}
    length = data.draw(st.integers(1, 4))
    table = {}
    for name, dtype in dtypes.items():
        values, may_miss = columns[dtype]
        column = st.none() | values if may_miss else values
        table[name] = data.draw(st.lists(column, min_size=length, max_size=length))
    return dtypes, table


def assert_same_bodies(frame: Any, table: dict[str, list[Any]]) -> None:
    """Assert that a frame becomes the body of its records, and that of its rows, with the same values."""
    rows = [list(row) for row in zip(*table.values(), strict=True)]
    records = [dict(zip(table, row, strict=True)) for row in rows]
    for contract in CONTRACTS:
        assert encode(frame, contract) == encode(records, contract)
    content, count = encode(frame)
    assert (content, count) == encode({"features": frame})
    assert (content, count) == encode({"features": rows, "columns": list(table)})
    body = json.loads(content)
    sent = [dict(zip(body["columns"], row, strict=True)) for row in body["features"]]
    assert sent == json.loads(encode(records)[0])["features"]


@given(st.data())
def test_a_frame_of_pandas_becomes_the_body_of_its_values(data: st.DataObject) -> None:
    dtypes, table = table_of(data, PANDAS)
    frame = pd.DataFrame({name: pd.Series(column, dtype=dtypes[name]) for name, column in table.items()})

    assert_same_bodies(frame, table)


@given(st.data())
def test_a_frame_with_columns_of_arrow_becomes_the_body_of_its_values(data: st.DataObject) -> None:
    pytest.importorskip("pyarrow")
    dtypes, table = table_of(data, {dtype: (values, True) for dtype, values in ARROW.items()})
    frame = pd.DataFrame({name: pd.Series(column, dtype=dtypes[name]) for name, column in table.items()})

    assert_same_bodies(frame, table)


@given(st.data())
def test_a_frame_of_polars_and_its_arrow_table_become_the_body_of_their_values(data: st.DataObject) -> None:
    pl = pytest.importorskip("polars")
    dtypes, table = table_of(data, {dtype: (values, True) for dtype, values in POLARS.items()})
    frame = pl.DataFrame(table, schema={name: getattr(pl, dtype) for name, dtype in dtypes.items()})

    assert_same_bodies(frame, table)
    pytest.importorskip("pyarrow")
    assert_same_bodies(frame.to_arrow(), table)


@given(st.lists(st.lists(NUMBERS, min_size=2, max_size=2), min_size=1, max_size=4), st.data())
def test_an_array_and_its_scalars_become_the_body_of_its_values(
    rows: list[list[float]], data: st.DataObject
) -> None:
    array = np.array(rows)
    kind = data.draw(st.sampled_from([np.float64, np.longdouble]))
    bodies = [
        encode(array),
        encode(array.astype(kind)),
        encode(list(array)),
        encode([list(row) for row in array.astype(kind)]),
        encode([[np.array(value) for value in row] for row in rows]),
        encode({"features": array}),
    ]

    assert bodies == [encode(rows)] * len(bodies)


@given(st.lists(MOMENTS | st.none(), min_size=1, max_size=4))
def test_dates_of_numpy_become_the_text_of_python_s(moments: list[dt.datetime | None]) -> None:
    for unit in ("us", "ns"):
        array = np.array([np.datetime64(moment or "NaT", unit) for moment in moments])
        assert encode(array) == encode(list(array)) == encode(moments)
        assert encode(array.reshape(-1, 1)) == encode([[moment] for moment in moments])
        assert encode(pd.Series(array)) == encode(moments)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (np.datetime64("2026-11-29"), '"2026-11-29"'),
        (np.datetime64("2026-11"), '"2026-11-01"'),
        (np.datetime64("2026-11-29T10:00"), '"2026-11-29T10:00:00"'),
        (np.datetime64("2026-11-29T10:00:00.000000007"), '"2026-11-29T10:00:00.000000007"'),
        (pd.Timestamp("2026-11-29T10:00:00.000000007"), '"2026-11-29T10:00:00.000000007"'),
        (np.datetime64("1969-12-31T23:59:59.999999999"), '"1969-12-31T23:59:59.999999999"'),
        (dt.date(2026, 11, 29), '"2026-11-29"'),
        (dt.time(10, 30), '"10:30:00"'),
        (pd.NaT, "null"),
        (pd.NA, "null"),
        (np.datetime64("NaT"), "null"),
        (Decimal("NaN"), "null"),
        (np.float32("nan"), "null"),
        (Decimal("0.1"), "0.1"),
        (np.bool_(True), "true"),  # noqa: FBT003
        (np.str_("a"), '"a"'),
        (np.int64(2**53 + 1), "9007199254740993"),
        (np.float16(0.5), "0.5"),
        (np.ma.masked_array([1, 2], mask=[False, True]), "[1,null]"),
        (pd.Categorical(["a", None]), '["a",null]'),
        ({np.int64(1): np.float32(0.5)}, '{"1":0.5}'),
        ({"a": (np.int8(1), [np.nan])}, '{"a":[1,[null]]}'),
    ],
)
def test_a_value_within_records_becomes_that_of_python(value: Any, text: str) -> None:
    assert encode([{"a": value}])[0].decode() == f'{{"features":[{{"a":{text}}}]}}'
    assert encode([{"a": value, "b": math.nan}])[0].decode() == f'{{"features":[{{"a":{text},"b":null}}]}}'


def test_scalars_and_columns_of_arrow_and_polars_become_python_s() -> None:
    pa, pl = pytest.importorskip("pyarrow"), pytest.importorskip("polars")
    values = [1, None]
    for column in (pa.array(values), pa.chunked_array([values]), pl.Series(values), pd.Series(values)):
        assert json.loads(encode(column)[0]) == {"features": values}
        assert json.loads(encode({"features": [{"a": column}]})[0]) == {"features": [{"a": values}]}
    assert encode([[pa.scalar(1), pa.scalar(None, pa.int64())]]) == encode([values])


FRAME = pd.DataFrame({"age": [31.0, 40.0], "plan": ["basic", "plus"]})


@pytest.mark.parametrize(
    ("value", "shown", "remedy"),
    [
        (1j, "1j (complex)", "two columns"),
        (np.complex64(1), "(1+0j) (complex)", "two columns"),
        (math.inf, "inf (infinite number)", "infinite"),
        (np.float32(-math.inf), "-inf (infinite number)", "infinite"),
        (Decimal("Infinity"), "inf (infinite number)", "infinite"),
        (b"abc", "b'abc' (bytes)", "text"),
        (dt.timedelta(1), "timedelta", "seconds"),
        (pd.Timedelta(1), "Timedelta", "seconds"),
        (np.timedelta64(1, "ns"), "timedelta64", "seconds"),
        (object(), "(object)", "numbers, text"),
        (pd.Period("2026-11", "M"), "Period", "numbers, text"),
        ({1, 2}, "{1, 2} (set)", "numbers, text"),
        ([0, {"x": 1j}], "1j (complex)", "two columns"),
        (np.datetime64("20000-01-01T00:00"), "(datetime64)", "numbers, text"),
    ],
)
def test_a_value_that_json_lacks_is_an_error_that_names_it(value: Any, shown: str, remedy: str) -> None:
    frame = FRAME.assign(plan=pd.Series(["basic", value], dtype=object))
    forms = [
        (frame, None, "'plan' of row 1"),
        (frame, RECORDS, "'plan' of row 1"),
        (frame, COLUMNS, "'plan' of row 1"),
        ([{"age": 31.0, "plan": "basic"}, {"age": 40.0, "plan": value}], None, "'plan' of row 1"),
        ([[31.0, "basic"], [40.0, value]], None, "1 of row 1"),
        ({"features": [[31.0, "basic"], [40.0, value]]}, None, "1 of row 1"),
    ]
    for data, contract, place in forms:
        with pytest.raises(InvalidDataError) as error:
            encode(data, contract)
        for part in (f"column {place}", shown, remedy):
            assert part in str(error.value)


@pytest.mark.parametrize(
    ("frame", "named"),
    [
        (pd.DataFrame({"a": [1, 2], "b": [1, 2j]}), "'b' of row 0"),
        (pd.DataFrame({"a": [pd.Timedelta(1)]}), "'a' of row 0"),
        (np.array([[1.0, 2.0], [1.0, np.inf]]), "1 of row 1"),
        (np.array([[1, 2j]]), "0 of row 0"),
        (np.array([1, 2], dtype="m8[ns]"), "0 of row 0"),
        ([1.0, np.timedelta64(1, "s")], "0 of row 1"),
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), "'a'"),
        ({"features": [[1]], "threshold": 1j}, "1j"),
        ([{("a", "b"): 1}], "('a', 'b')"),
    ],
)
def test_a_table_that_json_lacks_is_an_error_that_names_the_column(frame: Any, named: str) -> None:
    with pytest.raises(InvalidDataError) as error:
        encode(frame)
    assert named in str(error.value)


def test_a_lazy_frame_is_refused() -> None:
    frame = pytest.importorskip("polars").LazyFrame({"a": [1]})
    for contract in (None, RECORDS):
        with pytest.raises(InvalidDataError, match="LazyFrame"):
            encode(frame, contract)


def test_a_series_with_labels_like_those_of_a_frame_is_a_series() -> None:
    series = pd.Series([1.0, 2.0], index=["columns", "column_names"])

    assert encode(series) == encode([1.0, 2.0])


@pytest.mark.parametrize("empty", [pd.DataFrame({"a": []}), pd.DataFrame(), pd.Series([], dtype=float)])
def test_an_empty_table_is_refused(empty: Any) -> None:
    for contract in (None, RECORDS):
        with pytest.raises(InvalidDataError, match="empty"):
            encode(empty, contract)
