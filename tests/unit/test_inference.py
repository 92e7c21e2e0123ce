"""What columns of files are taken for: many spellings of each kind, and columns that only look like them."""

from __future__ import annotations

import datetime as dt
import json
import tomllib
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tier0.core.errors import DatasetError
from tier0.core.settings import merge_settings
from tier0.pipeline.data import Dataset, load_dataset
from tier0.pipeline.file_data import study_of
from tier0.pipeline.inference import ROWS_OF_TEXTS, Taken, Wishes, take_column
from tier0.pipeline.profile import MAX_LINES, ColumnProfile, lines_of
from tier0.pipeline.study import ColumnRule, Criterion, DataRules, Scope, Study, as_toml, read_study
from tier0.pipeline.written_dates import read_dates

DRAW = np.random.default_rng(0)
ROWS = 120
WHOLE = DRAW.integers(0, 5000, ROWS)
MONEY = DRAW.normal(3000, 900, ROWS).round(2)
DAYS = [dt.date(2023, 1, 1) + dt.timedelta(days=int(day)) for day in DRAW.integers(0, 800, ROWS)]
CLOCK = [dt.time(int(hour), int(minute)) for hour, minute in DRAW.integers((0, 0), (24, 60), (ROWS, 2))]
START, END = dt.datetime(1950, 1, 1), dt.datetime(2049, 1, 1)  # noqa: DTZ001 - dates of files have no zone
MISSING = ["", "NA", "?", "-", "null", "  "]


def texts(values: Any, form: str = "{}") -> list[str]:
    return [form.format(value) for value in values]


def dates(form: str) -> list[str]:
    return [day.strftime(form) for day in DAYS]


def clock(form: str) -> list[str]:
    return [form.format(time) for time in CLOCK]


def take(name: str, values: Sequence[Any] | pa.Array, **wishes: Any) -> Taken:
    return take_column(name, pa.chunked_array([pa.array(values)]), Wishes(**wishes))


NUMBERS = {
    "plain": texts(MONEY),
    "whole": texts(WHOLE),
    "blank": [*texts(MONEY), *MISSING],
    "of_spreadsheets": [*texts(WHOLE), "#DIV/0!", "n.a.", "unknown"],
    "decimal_comma": texts(MONEY, "{:.2f}") and [text.replace(".", ",") for text in texts(MONEY, "{:.2f}")],
    "thousands": texts(MONEY, "{:,.2f}"),
    "european": [text.translate(str.maketrans(",.", ".,")) for text in texts(MONEY, "{:,.2f}")],
    "spaces": [text.replace(",", "\u202f") for text in texts(MONEY, "{:,.2f}")],
    "swiss": [text.replace(",", "\u2019") for text in texts(MONEY, "{:,.2f}")],
    "dollars": texts(MONEY, "${:,.2f}"),
    "euros": [f"{text.replace('.', ',')} €" for text in texts(MONEY, "{:.2f}")],
    "codes": texts(MONEY, "EUR {:.2f}"),
    "accounting": [f"({value:,.0f})" if value > 3000 else f"{value:,.0f}" for value in MONEY],
    "minus": [f"\u2212{value}" if value > 3000 else f"{value}" for value in MONEY],
    "percent": texts(DRAW.normal(30, 5, ROWS).round(1), "{} %"),
    "units": texts(WHOLE, "{} months"),
    "infinite": [*texts(MONEY), "inf", "-Infinity"],
    "year": texts(DRAW.integers(1950, 2024, ROWS)),
    "years_in_a_row": texts(range(1900, 1900 + ROWS)),
    "age": texts(DRAW.integers(18, 90, ROWS)),
    "rating": texts(DRAW.integers(1, 6, ROWS)),
    "rooms_number_of": texts(DRAW.integers(1, 9, ROWS)),
    "zip": texts(DRAW.integers(10000, 99999, ROWS)),
    "count": texts(DRAW.permutation(5000)[:40]),
    "price": texts(DRAW.permutation(10**6)[:ROWS]),
    "phone_like": texts(DRAW.integers(2_100_000_000, 9_800_000_000, ROWS)),
    "revenue": texts(DRAW.integers(0, 2_000_000_000, ROWS)),
    "store_id": texts(DRAW.integers(1, 9, ROWS)),
    "paid": texts(DRAW.permutation(9000)[:ROWS]),
    "code_with_exponent": ["1e5", "2e5", "3.5"] * 9,
    "step": texts(range(30)),
}
BOOLEANS = {
    "true": ["True", "false", "TRUE"],
    "yes": ["yes", "No", ""],
    "y": ["Y", "N", "NA"],
    "t": ["t", "f", "f"],
    "on": ["on", "off", "off"],
    "one": ["1", "0", "1"],
    "one_missing": ["1.0", "0.0", ""],
}
DATES = {
    "iso": dates("%Y-%m-%d"),
    "iso_time": dates("%Y-%m-%dT10:30:00.5"),
    "zone": [*dates("%Y-%m-%d 10:30:00+02:00"), "2024-01-01T00:00:00Z"],
    "slashes": dates("%Y/%m/%d"),
    "european": dates("%d.%m.%Y"),
    "british": dates("%d/%m/%Y"),
    "american": dates("%m/%d/%Y 3:04 PM"),
    "short": dates("%d/%m/%y"),
    "month": dates("%Y-%m"),
    "names": dates("%d %b %Y"),
    "long_names": dates("%B %d, %Y"),
    "oracle": [text.upper() for text in dates("%d-%b-%y")],
    "mail": dates("%a, %d %b %Y 10:00:00 +0000"),
    "month_name": dates("%b %Y"),
    "quarter": ["2023Q1", "2023Q2", "2024Q3"],
    "compact": dates("%Y%m%d"),
    "compact_month": dates("%Y%m"),
    "iso_basic": dates("%Y%m%dT101500Z"),
    "iso_basic_zone": dates("%Y%m%dT1015+0200"),
    "one_unreadable": [*dates("%Y-%m-%d"), "soon"],
    "one_impossible": [*dates("%d.%m.%Y"), "31.02.2024"],
    "created_at": texts(1_700_000_000 + DRAW.integers(0, 10**7, ROWS)),
    "event_time": texts(1_700_000_000_000 + DRAW.integers(0, 10**10, ROWS)),
    "none_of_mysql": [*dates("%Y-%m-%d"), "0000-00-00", ""],
}
IDS = {
    "customer_id": texts(DRAW.permutation(9000)[:ROWS] + 1000),
    "CustomerID": [*texts(DRAW.permutation(9000)[:ROWS] + 1000), ""],
    "invoice_no": texts(DRAW.permutation(ROWS)),
    "any": texts(DRAW.permutation(ROWS)),
    "code": texts(DRAW.permutation(ROWS), "C{}"),
    "mail": texts(range(ROWS), "user{}@example.org"),
    "uuid": texts(range(ROWS), "{:08x}-0000-4000-8000-000000000000"),
    "big": texts(2**53 + DRAW.permutation(ROWS) * 7),
    "id": texts(range(1, ROWS + 1)),
    "patient_id": texts(np.arange(ROWS) // 3, "P{}"),
    "account_number": texts(DRAW.permutation(9000)[:ROWS], "{:08d}"),
}
TEXTS = {
    "name": texts(range(ROWS), "Smith, Mr. John {}"),
    "review": [
        f"the film was {word} and long, number {row % 70}" for row, word in enumerate(["good", "bad"] * 60)
    ],
}
CATEGORIES = {
    "region": ["NA", "EU", "APAC", "NA"] * 9,
    "zip": texts(DRAW.integers(0, 99999, 48), "{:05d}"),
    "version": ["1.2.3", "2.0.1", "1.10.0"] * 9,
    "range": ["1-2", "3-4", "10-20"] * 9,
    "size": ["S", "M", "L", "XL"] * 9,
    "grade": ["A", "B", "C", "F"] * 9,
    "country": ["NO", "SE", "DK"] * 9,
    "mixed": ["1", "2", "3", "A1"] * 9,
    "currencies": ["$1", "€2", "$3"] * 9,
    "education": ["Some college", "High school", "No degree at all yet"] * 9,
    "phone": texts(DRAW.integers(100, 999, 9), "612 345 {}") * 4,
    "ip": texts(DRAW.integers(100, 250, 9), "192.168.100.{}") * 4,
    "only_yes": ["sure", "", "sure"] * 9,
    "ratio": ["12:30", "16:10", "08:10"] * 9,
    "score": ["3:1", "2:0", "0:0"] * 9,
    "sets": ["21:19", "21:15", "21:9"] * 9,
    "proportion": ["12:30", "16:10", "21:10"] * 9,
    "song": ["03:45", "04:10", "02:59"] * 9,
    "lap_time": ["03:45", "04:10", "02:59"] * 9,
    "elapsed": ["08:30", "09:15", "17:45"] * 9,
    "goals": ["0:30", "12:10", "3:22"] * 9,
    "shift": ["26:15:00", "01:10:00", "12:10:00"] * 9,
    "long_time": [*clock("{:%H:%M}"), "26:15"],
    "date_or_state": [*dates("%Y-%m-%d"), *["never"] * 20],
    "time_or_state": [*clock("{:%H:%M}"), *["never"] * 20],
    "batch": ["20260331T9915Z", "20260331T1015X", "20260331T1016Z"] * 9,
    "period_or_code": [*dates("%Y%m") * 9, "A1"],
}
TIMES = {
    "clock": ["08:30", "09:15", "17:45"] * 9,
    "at": clock("{:%H:%M:%S}"),
    "fractions": clock("{:%H:%M:%S}.250"),
    "american": clock("{:%I:%M %p}"),
    "spoken": clock("{:%I:%M} p.m."),
    "arrival": [text.removeprefix("0") for text in clock("{:%H:%M}")],
    "closing": ["09:30", "18:00", "24:00", "", "n.a."] * 9,
    "one_unreadable": [*clock("{:%H:%M}"), "late"],
}
OTHERS = {
    "constant": [["k"] * 30, ["7"] * 30, ["true"] * 30],
    "empty": [[""] * 30, ["NA", "", "  "] * 10 and [""] * 5],
}
CASES = [
    (kind, name, values)
    for kind, group in (
        ("number", NUMBERS),
        ("boolean", BOOLEANS),
        ("date", DATES),
        ("id", IDS),
        ("text", TEXTS),
        ("category", CATEGORIES),
        ("time", TIMES),
    )
    for name, values in group.items()
] + [(kind, kind, values) for kind, columns in OTHERS.items() for values in columns]


@pytest.mark.parametrize(
    ("kind", "name", "values"), CASES, ids=lambda case: case if isinstance(case, str) else ""
)
def test_a_column_is_taken_for_what_its_values_are(kind: str, name: str, values: list[str]) -> None:
    assert take(name, values).kind == kind


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("1.234,5", 1234.5),
        ("1,234.5", 1234.5),
        ("0,5", 0.5),
        ("$12", 12),
        ("-$1,200.50", -1200.5),
        ("($12)", -12),
        ("45 %", 45),
        ("12,50 €", 12.5),
        ("1'200", 1200),
        ("12-", -12),
        ("1,00,000", 100000),
    ],
)
def test_a_written_number_is_a_number_in_requests(text: str, number: float) -> None:
    taken = take("x", [text] * 3)

    assert float(taken.column.series[0]) == number


@given(st.lists(st.floats(-1e9, 1e9).map(lambda number: round(number, 3)), min_size=2, max_size=9))
@example(
    [100_000_000.0 + number for number in range(5)]
)  # as long as each other, but with decimals: no codes
def test_numbers_written_in_any_style_are_the_same_numbers(numbers: list[float]) -> None:
    english = [f"{number:,.3f}" for number in numbers]
    expected = [float(f"{number:.3f}") for number in numbers]
    for written, decimal in (
        (english, "."),
        ([text.translate(str.maketrans(",.", ".,")) for text in english], ","),
        ([text.replace(",", " ") for text in english], "."),
        ([f"{text} €" for text in english], "."),
    ):
        taken = take("x", written, decimal=decimal, kind="number")
        assert taken.column.series.tolist() == expected, written
        assert taken.share == 1


def test_groups_of_digits_of_one_length_are_codes_unless_numbers_are_wanted() -> None:
    written = [f"{number}00 000" for number in range(1, 8)]

    assert take("x", written).column.series.tolist() == written
    assert take("x", written, kind="number").column.series.tolist() == [1e5 * n for n in range(1, 8)]


@given(st.lists(st.datetimes(START, END), min_size=1, max_size=9))
def test_dates_written_in_any_spelling_are_the_same_dates(times: list[dt.datetime]) -> None:
    for form in ("%Y-%m-%d %H:%M:%S", "%d.%m.%Y %H:%M:%S", "%d %b %Y %H:%M:%S", "%B %d, %Y %I:%M:%S %p"):
        written = [time.strftime(form) for time in times]
        taken = take("x", written, kind="date")

        found = read_dates(pd.Series(written), taken.spelling)

        assert found.tolist() == [time.replace(microsecond=0) for time in times]


@pytest.mark.parametrize(
    ("values", "kind", "part"),
    [
        (["a", "b"], "number", "cannot be read as number"),
        (["a", "b"], "boolean", "cannot be read as boolean"),
        (["a", "b"], "date", "cannot be read as date"),
        (["a", "b"], "time", "cannot be read as time"),
        (["1", "2"], "date", "cannot be read as dates"),
    ],
)
def test_a_declared_kind_that_no_value_has_is_refused(values: list[str], kind: str, part: str) -> None:
    with pytest.raises(DatasetError, match=part):
        take("x", values, kind=kind)


def test_a_declared_kind_replaces_what_was_inferred() -> None:
    assert take("x", ["1", "2", "x"], kind="number").column.series.isna().sum() == 1
    assert take("x", ["1", "2", "x"], kind="number").share == pytest.approx(2 / 3)
    assert take("x", ["1", "2"], kind="category").column.series.tolist() == ["1", "2"]
    assert take("x", ["1", "0"], kind="boolean").column.series.tolist() == [True, False]
    assert take("x", ["a b", "c d"], kind="text").kind == "text"
    assert take("x", ["a", "b"], kind="misspelled").kind == "misspelled"
    assert take("x", ["03:45", "never"], kind="time").column.series.isna().tolist() == [False, True]
    assert take("x", ["2024-01-31", "1.2.24", "never"], kind="date").column.series.isna().sum() == 2
    assert take("x", ["a", "b"], kind="id").kind == "id"
    assert take("x", ["1700000000", "1700000001"], kind="date").spelling == "seconds since 1970"


def test_a_comma_is_what_the_file_says() -> None:
    assert take("x", ["1,234", "5,678"]).column.series.tolist() == [1234, 5678]
    assert take("x", ["1,234", "5,678"]).is_ambiguous
    assert take("x", ["1,234", "5,678"], decimal=",").column.series.tolist() == [1.234, 5.678]
    assert take("x", ["1.234", "5.678"], decimal=",").column.series.tolist() == [1234, 5678]
    assert take("x", ["1.5", "5.678"], decimal=",").column.series.tolist() == [1.5, 5.678]


TYPED = {
    "number": [
        pa.array([1.5, 2.5, None]),
        pa.array([Decimal("1.10"), Decimal("2.20")]),
        pa.array([dt.time(1), dt.time(2)]),
        pa.array([dt.timedelta(seconds=1), dt.timedelta(seconds=3)]),
        pa.array([1, 2, None], pa.int8()),
    ],
    "boolean": [pa.array([True, False, None]), pa.array([0, 1, 1], pa.uint8())],
    "date": [
        pa.array([dt.date(2024, 1, 1), None, dt.date(2024, 1, 2)]),
        pa.array([START, END]),
        pa.array([dt.datetime(2024, 1, 1, tzinfo=dt.UTC)] * 2),
        pa.array(["2024-01-01", "2024-01-02"]),
    ],
    "category": [pa.array(["a", "b", "a"]).dictionary_encode(), pa.array(["a", "b"], pa.large_string())],
    "empty": [pa.nulls(3), pa.array([None, None], pa.float64()), pa.array([None, None], pa.string())],
    "constant": [pa.array([7, 7, 7]), pa.array(["a", "a"]).dictionary_encode(), pa.array([True, True])],
}


@pytest.mark.parametrize(("kind", "cells"), [(kind, cells) for kind in TYPED for cells in TYPED[kind]])
def test_a_type_of_a_file_decides_the_kind(kind: str, cells: pa.Array) -> None:
    assert take("x", cells).kind == kind


@pytest.mark.parametrize("cells", [[[1]], [{"a": 1}], [b"a"]])
def test_values_that_no_model_takes_are_refused(cells: list[Any]) -> None:
    with pytest.raises(TypeError):
        take("x", cells)


def test_a_kept_date_is_the_text_of_a_request() -> None:
    assert take("x", [dt.date(2024, 1, 31)]).column.series.tolist() == ["2024-01-31"]
    assert take("x", [START]).column.series.tolist() == ["1950-01-01T00:00:00"]
    assert take("at", ["1700000000", "1700000001"]).column.series.tolist() == ["1700000000", "1700000001"]


@pytest.mark.parametrize(
    ("name", "values", "unread"),
    [
        ("since", DATES["iso"], "soon"),
        ("since", DATES["american"], "13/13/2024"),
        ("since", DATES["european"], "31.02.2024"),
        ("since", DATES["iso_basic"], "20240231T101500Z"),
        ("since", DATES["iso"], "unknown"),
        ("at", TIMES["at"], "late"),
        ("at", TIMES["at"], "n.a."),
    ],
)
def test_a_cell_that_cannot_be_read_is_missing_and_named(name: str, values: list[str], unread: str) -> None:
    taken = take(name, [*values, unread])

    (note,) = taken.column.notes
    assert taken.column.series.tolist()[:-1] == values
    assert taken.column.series.isna().sum() == taken.missing == 1
    assert f"{unread!r} (1 row)" in note


@pytest.mark.parametrize(
    ("kind", "values"),
    [("date", DATES["iso"]), ("time", TIMES["at"]), ("date", texts(range(90), "2024-{:03d}"))],
)
def test_what_keeps_a_column_from_being_dates_or_times_is_named(kind: str, values: list[str]) -> None:
    taken = take("when", [*values, *["never"] * 20])
    is_almost = values != texts(range(90), "2024-{:03d}")

    assert taken.kind == "category"
    assert (
        any(f"--types when={kind}" in note and "20 rows" in note for note in taken.column.notes) == is_almost
    )


def test_codes_that_look_like_dates_among_others_are_not_noted() -> None:
    values = [*texts(DRAW.integers(1, 13, (ROWS, 1)), "{0[0]}-10-12"), *["13.45.99"] * 20]

    assert not take("version", values).column.notes


def test_different_dates_among_which_are_other_texts_are_no_identifiers() -> None:
    days = [str(dt.date(2000, 1, 1) + dt.timedelta(days=day)) for day in range(ROWS)]

    taken = take("when", [*days, "soon", "later", "never"])

    assert taken.kind == "category"
    assert any("--types when=date" in note for note in taken.column.notes)


def test_values_that_could_be_times_are_noted_unless_their_name_says_what_they_are() -> None:
    assert any("--types song=time" in note for note in take("song", CATEGORIES["song"]).column.notes)
    for name in ("ratio", "score", "elapsed", "shift"):
        assert not take(name, CATEGORIES[name]).column.notes


# --- files ---


def load(
    tmp_path: Path, rules: DataRules | None = None, task: Any = None, **columns: Sequence[Any]
) -> Dataset:
    path = tmp_path / "rows.csv"
    pd.DataFrame(columns).to_csv(path, index=False)
    return load_dataset(merge_settings({"dataset": str(path), "target": "y"}, {}), rules, task)


CLASSES = ["yes", "no"] * (ROWS // 2)


def test_no_value_of_an_identifier_is_in_the_data(tmp_path: Path) -> None:
    columns: dict[str, Any] = {
        "customer_id": IDS["code"],
        "since": DATES["iso"],
        "x": NUMBERS["plain"],
        "k": ["k"] * ROWS,
    }

    dataset = load(tmp_path, y=CLASSES, **columns)

    assert dataset.names == ["x"]
    assert "C17" not in repr(dataset.profile) + repr(dataset.notes)
    assert {column.name: column.done for column in dataset.profile}["customer_id"] == "left out"
    assert any("--keep customer_id" in note for note in dataset.notes)
    assert any("--date since" in note for note in dataset.notes)
    kept = load(tmp_path, DataRules(keep=("customer_id", "since")), y=CLASSES, **columns)
    assert dict(kept.kinds) == {"customer_id": "category", "since": "date", "x": "number"}


def test_other_columns_decide_what_a_comma_is_unless_they_contradict_each_other(tmp_path: Path) -> None:
    amounts = [f"USD {351 + number},838" for number in range(ROWS)]
    comma = [f"{number % 9},{number % 7}" for number in range(ROWS)]
    point = [f"{1 + number},234.5{number % 10}" for number in range(ROWS)]

    with_comma = load(tmp_path, y=CLASSES, amounts=amounts, comma=comma)
    with_both = load(tmp_path, y=CLASSES, amounts=amounts, comma=comma, point=point)

    assert with_comma.take(np.array([0]))[0].tolist() == [[351.838, 0.0]]
    assert with_both.take(np.array([0]))[0].tolist() == [[351_838.0, 0.0, 1234.5]]
    (profile,) = (column for column in with_both.profile if column.name == "amounts")
    assert any("a comma may stand for the decimal point" in note for note in profile.notes)


def test_options_in_notes_are_written_for_a_shell(tmp_path: Path) -> None:
    columns: dict[str, Any] = {"day of sale": DATES["iso"], "net spend": NUMBERS["plain"], "y": CLASSES}

    first = load(tmp_path, **columns)

    assert any("--keep 'day of sale'" in note for note in first.notes)
    assert any("--date 'day of sale'" in note for note in first.notes)
    assert {column.name: column.override for column in first.profile} == {
        "day of sale": "--keep 'day of sale'",
        "net spend": "--types 'net spend=category'",
        "y": "",
    }


@pytest.mark.parametrize("name", ["sold, on", "two\nlines"])
def test_a_name_that_no_list_may_contain_is_named_in_the_study(tmp_path: Path, name: str) -> None:
    columns: dict[str, Any] = {name: DATES["iso"], "x": NUMBERS["plain"], "y": CLASSES}

    first = load(tmp_path, **columns)

    assert any("keep in [data] of the study uses them" in note for note in first.notes)
    assert load(tmp_path, DataRules(keep=(name,)), **columns).names == [name, "x"]


def test_rows_that_repeat_like_groups_are_noted(tmp_path: Path) -> None:
    dataset = load(tmp_path, x=NUMBERS["plain"], household=texts(np.arange(ROWS) // 2, "h{}"), y=CLASSES)

    assert dataset.names == ["x", "household"]
    assert any("--group household" in note for note in dataset.notes)


@pytest.mark.parametrize(
    ("target", "task", "labels"),
    [
        (["$5.50", "$7.25"] * 60, "regression", {5.5, 7.25}),
        (["5,50", "7,25"] * 60, "regression", {5.5, 7.25}),
        (["None", "Some"] * 60, "classification", {"None", "Some"}),
        (["NA", "EU"] * 60, "classification", {"NA", "EU"}),
        (["yes", "no"] * 60, "classification", {"yes", "no"}),
        (["true", "False"] * 60, "classification", {True, False}),
        (["1.0", "0.0"] * 60, "classification", {0, 1}),
        (["1", "", "0"] * 40, "classification", {0, 1}),
        (["1.5", "2.5"] * 59 + ["3.5", "inf"], "regression", {1.5, 2.5, 3.5}),
        (["Left"] * 59 + ["left "] + ["Stay"] * 60, "classification", {"Left", "Stay"}),
        ([*texts([1, 2, 3] * 39), "4", "5", "6"], "regression", {1, 2, 3, 4, 5, 6}),
        (texts([1, 2, 3] * 40), "classification", {1, 2, 3}),
    ],
)
def test_a_target_is_numbers_or_classes_as_they_are_written(
    tmp_path: Path, target: list[str], task: str, labels: set[Any]
) -> None:
    dataset = load(tmp_path, x=NUMBERS["plain"], y=target)

    assert dataset.task == task
    assert set(dataset.target.tolist()) == labels
    assert len(dataset) == sum(value not in {"", "inf"} for value in target)


@pytest.mark.parametrize(
    ("target", "padded"),
    [
        (["Left"] * 59 + ["left "] + ["Stay"] * 60, ""),
        (["Left"] * 59 + ["left "] + [" Stay"] * 60, "in 60 rows"),
        ([" Left"] * 60 + ["Stay"] * 60, "in 60 rows"),
    ],
)
def test_spaces_around_classes_are_noted_only_if_they_are_kept(
    tmp_path: Path, target: list[str], padded: str
) -> None:
    notes = [
        note for note in load(tmp_path, x=NUMBERS["plain"], y=target).notes if "used as they are" in note
    ]

    assert len(notes) == bool(padded)
    assert padded in " ".join(notes)


@pytest.mark.parametrize("target", [[0, 1] * 60, texts(CLASSES), [True, False] * 60, list(MONEY)], ids=str)
def test_the_target_of_a_typed_file_is_described_as_that_of_a_csv_file(
    tmp_path: Path, target: list[Any]
) -> None:
    frame = pd.DataFrame({"x": MONEY, "y": target})
    frame.to_csv(tmp_path / "rows.csv", index=False)
    frame.to_parquet(tmp_path / "rows.parquet")

    described = [
        load_dataset(merge_settings({"dataset": str(tmp_path / name), "target": "y"}, {})).profile[-1].read
        for name in ("rows.csv", "rows.parquet")
    ]

    assert described[0] == described[1].replace("categories", "different texts")


def test_classes_that_stand_for_missing_values_elsewhere_are_not_compared_with_numbers(
    tmp_path: Path,
) -> None:
    notes = load(tmp_path, x=NUMBERS["plain"], y=["NA", "nan", "null"] * 40).notes

    assert not any("not numbers" in note for note in notes)
    assert any("are kept as text" in note for note in notes)


def test_a_target_of_large_numbers_is_not_proposed_as_a_date(tmp_path: Path) -> None:
    numbers = texts(1_700_000_000 + DRAW.integers(0, 10**7, ROWS))

    assert not any("since 1970" in note for note in load(tmp_path, x=NUMBERS["plain"], y=numbers).notes)
    assert any("since 1970" in note for note in load(tmp_path, x=numbers, y=CLASSES).notes)


@pytest.mark.parametrize(
    ("forms", "shown"),
    [
        (["%Y-%m-%d", "%d.%m.%Y"], ("-", ".")),
        (["%b %d, %Y", "%d/%m/%Y", "%Y-%m-%d"], (",", "/")),
        (["%m/%d/%Y", "%d/%m/%Y"], ("/", "/")),
    ],
)
def test_dates_of_several_spellings_are_left_out_with_an_example_of_two(
    tmp_path: Path, forms: list[str], shown: tuple[str, str]
) -> None:
    mixed = [day.strftime(forms[row % len(forms)]) for row, day in enumerate(DAYS)]

    dataset = load(tmp_path, x=NUMBERS["plain"], since=mixed, y=CLASSES)

    (note,) = [note for note in dataset.notes if "in several ways" in note]
    assert dataset.names == ["x"]
    assert all(sign in note for sign in shown)
    assert not any("--keep since" in note or "--date since" in note for note in dataset.notes)
    with pytest.raises(DatasetError, match="in several ways"):
        load(tmp_path, DataRules(keep=("since",)), x=NUMBERS["plain"], since=mixed, y=CLASSES)
    options = {"dataset": str(tmp_path / "rows.csv"), "target": "y", "date": "since"}
    with pytest.raises(DatasetError, match="in several ways"):
        load_dataset(merge_settings(options, {}))
    stated = study_of(Study(), dataset)
    assert load(tmp_path, stated.data, x=NUMBERS["plain"], since=mixed, y=CLASSES).names == ["x"]


@pytest.mark.parametrize(
    "values", [texts(DRAW.integers(1, 13, (ROWS, 1)), "{0[0]}-10-12"), ["1.2.3", "10.12.2"] * 60]
)
def test_codes_that_only_look_like_dates_are_not_left_out(tmp_path: Path, values: list[str]) -> None:
    values = [*values[:-1], "13.45.99"]

    assert "version" in load(tmp_path, x=NUMBERS["plain"], version=values, y=CLASSES).names


def test_an_unreadable_date_is_noted_although_the_column_is_left_out(tmp_path: Path) -> None:
    since = [*DATES["iso"][:-1], "soon"]

    dataset = load(tmp_path, x=NUMBERS["plain"], since=since, y=CLASSES)

    (profile,) = [column for column in dataset.profile if column.name == "since"]
    assert dataset.names == ["x"]
    assert (profile.kind, profile.missing) == ("date", 1)
    assert profile.share == pytest.approx(119 / 120)
    assert any("column 'since': 'soon' (1 row)" in note for note in dataset.notes)
    kept = load(tmp_path, DataRules(types={"since": "category"}), x=NUMBERS["plain"], since=since, y=CLASSES)
    assert kept.kinds["since"] == "category"


def test_rows_without_a_target_are_left_out_with_their_number(tmp_path: Path) -> None:
    dataset = load(tmp_path, x=texts(MONEY), y=["", *CLASSES[1:]])

    assert len(dataset.features) == len(dataset) == ROWS - 1
    assert any("missing in 1 of 120 rows" in note for note in dataset.notes)


def test_the_study_of_a_run_reads_the_file_in_the_same_way(tmp_path: Path) -> None:
    columns = {
        "Unnamed: 0": range(ROWS),
        "spend": NUMBERS["dollars"],
        "vip": ["Y", "N", ""] * 40,
        "flag": ["0", "1"] * 60,
        "since": DATES["european"],
        "user_id": IDS["code"],
        "name": TEXTS["name"],
        "plan": ["a", "b"] * 60,
        "nothing": [""] * ROWS,
    }
    first = load(tmp_path, DataRules(keep=("since",)), y=CLASSES, **columns)
    stated = study_of(Study(data=DataRules(keep=("since",))), first)
    (tmp_path / "study.toml").write_text(as_toml(stated), encoding="utf-8")
    study = read_study(tmp_path / "study.toml")

    again = load(tmp_path, study.data, study.scope.task, y=CLASSES, **columns)

    assert study == stated
    assert again.kinds == first.kinds
    pd.testing.assert_frame_equal(again.features, first.features)


@given(
    st.dictionaries(st.text(max_size=5), st.sampled_from(["number", "date"]), max_size=3), st.text(max_size=9)
)
def test_a_study_is_written_as_it_is_read(types: dict[str, str], text: str) -> None:
    study = Study(
        scope=Scope(problem=text, metric="r2", success=0.5),
        data=DataRules(types=types, drop=(text,), separator=";", columns={text: ColumnRule(least=0, most=9)}),
        cohort=(Criterion(column=text, at_least=1), Criterion(column=text, one_of=("a", 1, True))),
    )

    content = tomllib.loads(as_toml(study))

    assert content.pop("schema") == 1
    assert Study.model_validate(content) == study


def test_the_table_of_columns_is_short() -> None:
    columns = [
        ColumnProfile(f"c{row}", "number", 1.0, "numbers", "a feature") for row in range(MAX_LINES + 5)
    ]

    lines = lines_of(columns)

    assert len(lines) == MAX_LINES + 2
    assert lines[-1].startswith("and 5 more")
    assert json.dumps(lines)


def many_texts(rows: int) -> list[str]:
    words = ["river", "stone", "cloud", "paper", "light", "green"]
    return [f"{words[row % 6]} {words[row // 6 % 6]} and {words[row // 36 % 6]} {row}" for row in range(rows)]


@pytest.mark.parametrize("others", [[], ["", "  ", "NA", " a text with spaces "]])
def test_long_texts_in_many_rows_are_taken_as_in_few(others: list[str]) -> None:
    cells = [*many_texts(ROWS_OF_TEXTS + 100), *others]

    taken, few = (take_column("note", pa.chunked_array([some]), Wishes()) for some in (cells, cells[-1000:]))

    assert (taken.kind, taken.missing) == (few.kind, few.missing) == ("text", min(2, len(others)))
    assert (taken.column.missing_texts, taken.column.notes) == (few.column.missing_texts, few.column.notes)
    pd.testing.assert_series_equal(taken.column.series.iloc[-1000:].reset_index(drop=True), few.column.series)


@pytest.mark.parametrize("form", ["{} March 2021 at 10:00", "the {}th of many"])
def test_categories_of_several_words_in_many_rows_are_no_long_texts(form: str) -> None:
    cells = [form.format(1 + row % 28) for row in range(ROWS_OF_TEXTS + 100)]
    assert take_column("when", pa.chunked_array([cells]), Wishes()).kind in {"category", "date"}


def test_a_number_among_many_rows_of_numbers_that_is_none_is_seen() -> None:
    cells = [str(row % 1000) for row in range(ROWS_OF_TEXTS + 100)]
    cells[12_345] = "a text of several words"
    assert take_column("size", pa.chunked_array([cells]), Wishes()).kind == "category"
