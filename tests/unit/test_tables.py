"""How files become columns: every cell is what a request would carry for it.

Messages and notes are in a snapshot; `pytest --snapshot-update` accepts new wording.
"""

from __future__ import annotations

import datetime as dt
import json
import math
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from syrupy.assertion import SnapshotAssertion

from tier0.core.errors import DatasetError
from tier0.core.settings import merge_settings
from tier0.pipeline.candidates import candidates_for
from tier0.pipeline.columns import MISSING_MARKERS, Column, infer_column, plain_column
from tier0.pipeline.data import Dataset, load_dataset
from tier0.pipeline.study import ColumnRule, DataRules
from tier0.pipeline.tables import Table

NAN = math.nan
MARKERS = ["NA", "null", "None", "nan", "N/A", "n/a", "", "-", "#N/A", "<NA>", "?", " ", "NULL"]


def has_texts(series: pd.Series[Any]) -> bool:
    """Return whether the column is of texts: pandas 2 has them as objects."""
    return bool(series.dtype == object or pd.api.types.is_string_dtype(series))


def infer(cells: Sequence[str], declared: Sequence[str] = ()) -> Column:
    return infer_column("c", pa.chunked_array([list(cells)]), declared)


def values(column: Column) -> list[Any]:
    """Return the values as JSON, with NaN as None."""
    return [None if value != value else value for value in column.series.astype(object).tolist()]  # noqa: PLR0124 - NaN


KINDS: dict[str, tuple[list[str], str, list[Any]]] = {
    "whole": (["7", "-3", "+5", " 8 "], "int64", [7, -3, 5, 8]),
    "whole_missing": (["7", ""], "float64", [7.0, None]),
    "unsigned": (["18446744073709551615", "1"], "uint64", [2**64 - 1, 1]),
    "exact": (["9007199254740993", "1"], "int64", [2**53 + 1, 1]),
    "too_large": (["99999999999999999999", "1"], "float64", [1e20, 1.0]),
    "rounded": (["9007199254740993", ""], "float64", [float(2**53), None]),
    "fractions": (["0.5", ".25", "3.", "2"], "float64", [0.5, 0.25, 3.0, 2.0]),
    "exponents": (["1e+5", "2E-3"], "float64", [1e5, 2e-3]),
    "codes": (["1e5", "2e5"], "float64", [1e5, 2e5]),
    "infinite": (["1", "inf", "-Infinity"], "float64", [1.0, math.inf, -math.inf]),
    "leading_zeros": (["007", "90210"], "text", ["007", "90210"]),
    "thousands": (["1,234", "5"], "text", ["1,234", "5"]),
    "decimal_comma": (["1,5", "2,25"], "text", ["1,5", "2,25"]),
    "units": (["12 %", "$3"], "text", ["12 %", "$3"]),
    "hexadecimal": (["0x10", "1_000", "\u0661"], "text", ["0x10", "1_000", "\u0661"]),
    "dates": (["2024-01-31", "2024-02-01"], "text", ["2024-01-31", "2024-02-01"]),
    "booleans": (["True", "false", "TRUE"], "bool", [True, False, True]),
    "booleans_missing": (["True", "NA", "false"], "object", [True, None, False]),
    "booleans_and_numbers": (["True", "1"], "text", ["True", "1"]),
    "yes_and_no": (["yes", "no"], "text", ["yes", "no"]),
    "mixed": (["1", "2", "3", "x"], "text", ["1", "2", "3", "x"]),
    "padded": ([" EU", "EU", ""], "text", [" EU", "EU", None]),
    "blank": (["a", "  "], "text", ["a", "  "]),
    "nothing": (["", "NA", "-"], "float64", [None, None, None]),
}


@pytest.mark.parametrize("case", KINDS)
def test_a_column_of_text_is_what_all_its_values_are(case: str, snapshot: SnapshotAssertion) -> None:
    cells, dtype, expected = KINDS[case]

    column = infer(cells)

    is_text = all(isinstance(value, str) for value in expected if value is not None) and dtype == "text"
    assert has_texts(column.series) if is_text else column.series.dtype == dtype
    assert values(column) == expected
    assert column.notes == snapshot


@pytest.mark.parametrize("marker", MARKERS)
def test_a_marker_is_missing_among_numbers_and_booleans_and_a_value_among_text(marker: str) -> None:
    assert values(infer(["1", marker, "2.5"])) == [1.0, None, 2.5]
    assert values(infer(["true", marker, "false"])) == [True, None, False]
    assert values(infer(["EU", marker, "APAC"])) == ["EU", marker or None, "APAC"]
    assert all(known.strip().lower() in {"", *MISSING_MARKERS} for known in MARKERS)


def test_a_marker_is_reported_with_its_rows(snapshot: SnapshotAssertion) -> None:
    assert infer(["EU", "NA", "NA", "null"]).notes == snapshot(name="text")
    assert infer(["1", "NA", "NA", "-"]).notes == snapshot(name="numbers")


def test_declared_texts_are_missing_in_training_and_for_the_model() -> None:
    column = infer(["EU", "NA", "", "unknown"], ["NA", "unknown"])

    assert values(column) == ["EU", None, None, None]
    assert column.missing_texts == ("", "NA", "unknown")
    assert not column.notes
    assert values(infer(["1", "unknown"], ["unknown"])) == [1.0, None]


@pytest.mark.parametrize("text", ["-999", "0", " 1e3", "true"])
def test_a_number_cannot_be_declared_missing(text: str) -> None:
    with pytest.raises(ValueError, match="requests contain it"):
        DataRules(missing_texts=(text,))


@given(st.one_of(st.floats(allow_nan=False, allow_infinity=False), st.integers(-(2**63), 2**64 - 1)))
def test_a_number_is_rounded_as_in_a_request(number: float) -> None:
    text = json.dumps(number)

    assert values(infer([text])) == [json.loads(text)]
    assert values(infer([text, ""]))[0] == float(json.loads(text))


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=6), min_size=1, max_size=4))
def test_text_is_used_as_it_is(cells: list[str]) -> None:
    found = values(infer(["some text", *cells]))[1:]

    assert found == [cell or None for cell in cells]


# --- Parquet files ---


def arrow(type_: str, content: list[Any]) -> pd.DataFrame:
    return pd.DataFrame({"c": pd.array(content, dtype=type_)})


FRAMES: dict[str, tuple[Any, str, list[Any]]] = {
    "Int64": (arrow("Int64", [1, None, 3]), "float64", [1.0, None, 3.0]),
    "Int8": (arrow("Int8", [1, 2]), "int8", [1, 2]),
    "int64[pyarrow]": (arrow("int64[pyarrow]", [1, None, 3]), "float64", [1.0, None, 3.0]),
    "double[pyarrow]": (arrow("double[pyarrow]", [1.5, None]), "float64", [1.5, None]),
    "Float32": (arrow("Float32", [1.5, None]), "float32", [1.5, None]),
    "boolean": (arrow("boolean", [True, None, False]), "object", [True, None, False]),
    "bool[pyarrow]": (arrow("bool[pyarrow]", [True, False]), "bool", [True, False]),
    "string": (arrow("string", ["a", None, "NA"]), "text", ["a", None, "NA"]),
    "string[pyarrow]": (arrow("string[pyarrow]", ["a", None, ""]), "text", ["a", None, ""]),
    "objects": (pd.DataFrame({"c": np.array([True, None], object)}), "object", [True, None]),
    "decimal": (pd.DataFrame({"c": [Decimal("0.10"), None]}), "float64", [0.1, None]),
    "category": (pd.DataFrame({"c": pd.Categorical(["b", None, "a"])}), "category", ["b", None, "a"]),
    "ordered": (
        pd.DataFrame({"c": pd.Categorical(["b", "a"], ["b", "c", "a"], ordered=True)}),
        "category",
        ["b", "a"],
    ),
    "categories_of_int8": (
        pd.DataFrame({"c": pd.Series([3, 1], dtype="int8").astype("category")}),
        "int8",
        [3, 1],
    ),
    "dates": (pd.DataFrame({"c": [dt.date(2024, 1, 31)]}), "M", [pd.Timestamp("2024-01-31")]),
    "timestamps": (arrow("timestamp[us][pyarrow]", [pd.Timestamp(0)]), "M", [pd.Timestamp(0)]),
}


@pytest.mark.parametrize("case", FRAMES)
def test_a_dtype_becomes_one_that_scikit_learn_takes(tmp_path: Path, case: str) -> None:
    frame, dtype, expected = FRAMES[case]
    frame.index = pd.Index(range(len(frame)), name="id")
    frame.to_parquet(tmp_path / "rows.parquet")

    table = Table.read(tmp_path / "rows.parquet")
    series = table.column("c").series

    assert list(table.columns) == ["c"], "the index is not a column"
    if dtype == "text":
        assert has_texts(series)
    else:
        assert dtype in {str(series.dtype), series.dtype.kind}
    assert getattr(series.dtype, "ordered", False) in {False, None}
    assert values(table.column("c")) == expected


OTHER_WRITERS = {
    "large_string": pa.array(["a", None], pa.large_string()),
    "string_view": pa.array(["a", None], pa.string_view()),
    "dictionary": pa.array(["a", None]).dictionary_encode(),
    "dictionary_uint32": pa.array(["a", None])
    .dictionary_encode()
    .cast(pa.dictionary(pa.uint32(), pa.string())),
    "half": pa.array([1.5, None], pa.float16()),
    "uint8": pa.array([1, None], pa.uint8()),
    "decimal256": pa.array([Decimal("1.1"), None], pa.decimal256(60, 2)),
    "null": pa.nulls(2),
}


@pytest.mark.parametrize("case", OTHER_WRITERS)
def test_types_of_other_writers_are_read(case: str) -> None:
    cells = OTHER_WRITERS[case]

    expected = [float(value) if isinstance(value, Decimal) else value for value in cells.to_pylist()]
    assert values(plain_column(pa.chunked_array([cells, cells]))) == expected * 2


UNSUPPORTED = {
    "list": pa.array([[1], [2]]),
    "struct": pa.array([{"a": 1}, {"a": 2}]),
    "binary": pa.array([b"a", b"b"]),
    "time": pa.array([dt.time(1), dt.time(2)]),
    "map": pa.array([[("a", 1)]] * 2, pa.map_(pa.string(), pa.int64())),
    "period": pa.array(pd.period_range("2024-01", periods=2, freq="M")),
}


def test_columns_that_no_model_takes_are_named_together(tmp_path: Path, snapshot: SnapshotAssertion) -> None:
    table = pa.table({**UNSUPPORTED, "y": [0, 1]})
    pq.write_table(table, tmp_path / "rows.parquet")

    with pytest.raises(DatasetError) as rejected:
        load(tmp_path / "rows.parquet")

    assert str(rejected.value).replace(str(tmp_path), "…") == snapshot


def test_categories_of_dates_are_not_supported() -> None:
    dates = pa.chunked_array([pa.array([dt.date(2024, 1, 1)] * 2).dictionary_encode()])

    with pytest.raises(TypeError, match="dictionary<values=date32"):
        plain_column(dates)


@pytest.mark.parametrize("number", [2**53 + 1, -(2**60)])
def test_rounding_of_large_whole_numbers_beside_missing_values_is_noted(number: int) -> None:
    assert len(plain_column(pa.chunked_array([[number, None]])).notes) == 1
    assert len(infer([str(number), ""]).notes) == 1
    assert not plain_column(pa.chunked_array([[number, 1]])).notes
    assert not infer(["1e+30", ""]).notes


# --- data sets ---


def load(path: Path, rules: DataRules | None = None, target: str = "y", **options: str) -> Dataset:
    return load_dataset(merge_settings({"dataset": str(path), "target": target, **options}, {}), rules)


def write(path: Path, header: str, *rows: str) -> Path:
    path.write_text("\n".join([header, *rows, ""]), encoding="utf-8")
    return path


def test_a_target_of_categories_and_nullable_numbers_is_plain(tmp_path: Path) -> None:
    for content in (pd.Categorical(["b", "a"] * 20), pd.array([1, 0] * 20, dtype="Int64")):
        pd.DataFrame({"x": range(40), "y": content}).to_parquet(tmp_path / "rows.parquet")

        target = load(tmp_path / "rows.parquet").target

        assert target.tolist() == list(content)
        assert isinstance(target, np.ndarray)


def test_a_category_of_a_parquet_file_may_be_declared_missing(tmp_path: Path) -> None:
    frame = pd.DataFrame({"x": pd.Categorical(["NA", "EU"] * 20), "z": ["NA", "EU"] * 20, "y": [0, 1] * 20})
    frame.to_parquet(tmp_path / "rows.parquet")

    dataset = load(tmp_path / "rows.parquet", DataRules(missing_texts=("NA",)))

    assert dataset.features.isna().sum().tolist() == [20, 20]
    assert dataset.features["x"].cat.categories.tolist() == ["EU"]
    assert "NA" in dataset.missing_texts["z"]


def test_a_class_may_be_called_none(tmp_path: Path) -> None:
    dataset = load(
        write(tmp_path / "rows.csv", "x,y", *(f"{row},{'None' if row % 2 else 'Some'}" for row in range(40)))
    )

    assert set(dataset.target) == {"None", "Some"}
    assert len(dataset.notes) == 1


def test_dates_are_read_as_text_and_groups_as_they_are(tmp_path: Path) -> None:
    path = write(
        tmp_path / "rows.csv", "x,y,at,who", *(f"{row},{row % 2},2024013{row % 2},0{row}" for row in range(9))
    )

    dataset = load(path, date="at", group="who")

    assert dataset.names == ["x"]
    assert dataset.dates is not None
    assert dataset.dates[:2].astype("datetime64[D]").tolist() == [
        dt.date(2024, 1, 30),
        dt.date(2024, 1, 31),
    ]
    assert dataset.groups is not None
    assert dataset.groups[0] == "00"


def test_rows_whose_date_cannot_be_read_are_left_out_and_named(tmp_path: Path) -> None:
    days = [f"{day}.1.2024" for day in range(1, 31)] * 4
    rows = [f"{row},{row % 2},{day}" for row, day in enumerate(days)]

    dataset = load(write(tmp_path / "rows.csv", "x,y,at", *rows, "7.5,0,31.2.2024"), date="at")

    assert len(dataset) == len(rows)
    assert any("column 'at'" in note and "'31.2.2024' (1 row)" in note for note in dataset.notes)
    with pytest.raises(DatasetError, match=r"'soon' \(10 rows\)"):
        load(write(tmp_path / "rows.csv", "x,y,at", *rows, *["7,0,soon"] * 10), date="at")


def test_numbers_of_32_bits_stay_what_requests_are_rounded_to(tmp_path: Path) -> None:
    frame = pd.DataFrame({"x": np.array([0.1, 0.2] * 20, "float32"), "z": range(40), "y": [0, 1] * 20})
    frame.to_parquet(tmp_path / "rows.parquet")

    assert load(tmp_path / "rows.parquet").features["x"].dtype == "float32"


@pytest.mark.parametrize("request_", [math.nan, "", "NA"])
def test_a_request_with_a_text_that_was_read_as_missing_is_answered_as_without_it(
    tmp_path: Path, request_: str | float
) -> None:
    path = write(
        tmp_path / "rows.csv",
        "x,region,y",
        *(f"{row % 7},{('EU', 'NA', '', 'APAC')[row % 4]},{int(row % 4 in {1, 2})}" for row in range(80)),
    )
    dataset = load(path, DataRules(columns={"region": ColumnRule(missing_texts=("NA",))}))
    model = candidates_for(dataset, ("linear",), 7)[0].build().fit(dataset.features, dataset.target)

    asked = pd.DataFrame({"x": [1], "region": pd.Series([request_], dtype=dataset.features["region"].dtype)})

    assert model.predict_proba(asked)[0, 1] > 0.8
    assert list(dataset.features["region"].isna()[:4]) == [False, True, True, False]
