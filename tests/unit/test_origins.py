"""Golden rows are selected by the kind and the column of their origin, for any name of a column."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tier0.checks.serving.harness.sender import Sender
from tier0.checks.serving.harness.target import Target
from tier0.contract.contract import Contract
from tier0.core.verdict import NotJudgedError
from tier0.golden.origins import EDGE_CASE_KINDS, EXAMPLE_KINDS, UNRECOGNIZED, EdgeCaseKind, read_sentences
from tier0.golden.rows import GoldenRows, Origin

WORDS = [
    "missing",
    "decision",
    "never seen",
    "boundary",
    "just below a boundary of",
    "just",
    "everything",
    "everything missing that may be",
]
SUFFIXES = [
    "wage",
    "age",
    "total_calls",
    "calls",
    "beyond what a float holds",
    "the decision changes",
    "before",
    "example",
    "synthetic",
    "of",
]
NAMES = st.lists(st.sampled_from(WORDS + SUFFIXES), min_size=1, max_size=3).map(" ".join)
COLUMNS = st.lists(NAMES, min_size=1, max_size=5, unique=True)
SIDES = {"boundary": ("below", "above"), "outside": ("below", "above"), "decision": ("before", "after")}


@st.composite
def origins_of(
    draw: st.DrawFn, columns: list[str], kinds: frozenset[str] = EDGE_CASE_KINDS | EXAMPLE_KINDS
) -> Origin:
    kind = draw(st.sampled_from(sorted(kinds)))
    if kind in EXAMPLE_KINDS:
        return Origin(kind)
    side = draw(st.sampled_from(SIDES[kind])) if kind in SIDES else None
    if kind == "decision":
        return Origin(kind, None, side)
    return Origin(kind, draw(st.sampled_from([None, *columns] if kind == "missing" else columns)), side)


def rows_with(columns: list[str], origins: list[Origin]) -> GoldenRows:
    return GoldenRows(
        columns, [[1.0] * len(columns) for _ in origins], list(range(len(origins))), None, [], origins=origins
    )


@given(st.data())
def test_a_selection_has_the_rows_of_that_kind_and_column_and_no_others(data: st.DataObject) -> None:
    columns = data.draw(COLUMNS)
    origins = data.draw(
        st.lists(origins_of(columns) | st.builds(Origin, NAMES, NAMES), min_size=1, max_size=12)
    )
    kind, column = (
        data.draw(st.sampled_from(sorted(EDGE_CASE_KINDS))),
        data.draw(st.sampled_from([None, *columns])),
    )
    golden = rows_with(columns, origins)

    expected = [
        index
        for index, origin in enumerate(origins)
        if origin.kind == kind and (column is None or origin.column == column)
    ]

    assert golden.with_origin(kind, column).predictions == expected
    assert sorted(golden.examples.predictions + golden.edge_cases.predictions) == list(range(len(origins)))


@settings(deadline=None)
@given(st.data())
def test_a_check_gets_the_rows_of_its_kind_or_is_not_judged(data: st.DataObject) -> None:
    columns = data.draw(COLUMNS)
    golden = rows_with(columns, data.draw(st.lists(origins_of(columns), min_size=1, max_size=8)))
    target = Target(Contract(), Sender("http://127.0.0.1:1", httpx.AsyncClient()), golden)  # nothing is sent

    for kind in get_args(EdgeCaseKind):
        if any(origin.kind == kind for origin in golden.origins):
            assert {origin.kind for origin in target.golden_with(kind).origins} == {kind}
        else:
            with pytest.raises(NotJudgedError, match="no row of this kind"):
                target.golden_with(kind)


def test_a_row_of_an_unknown_kind_is_asked_like_an_example() -> None:
    golden = rows_with(["age"], [Origin("example"), Origin("rounding", "age"), Origin("missing", "age")])

    assert golden.examples.predictions == [0, 1]
    assert golden.edge_cases.predictions == [2]
    assert golden.origin(1) == "row 1 (rounding of age)"


@pytest.mark.parametrize(
    ("origin", "sentence"),
    [
        (Origin("example"), "example"),
        (Origin("missing", "age"), "age missing"),
        (Origin("missing"), "every optional value missing"),
        (Origin("unseen", "region"), "unseen category in region"),
        (Origin("boundary", "age", "below"), "just below a boundary of age"),
        (Origin("boundary", "age"), "near a boundary of age"),
        (Origin("decision", side="after"), "just after the decision changes"),
        (Origin("decision"), "near the decision"),
        (Origin("large_integer", "id"), "integer too large for a float in id"),
        (Origin("inside", "age"), "another value of age"),
        (Origin("outside", "age", "above"), "above the examples' values of age"),
        (Origin("outside", "age"), "outside the examples' values of age"),
        (Origin("text", "note"), "unusual text in note"),
    ],
)
def test_an_origin_is_shown_as_a_sentence(origin: Origin, sentence: str) -> None:
    assert str(origin) == sentence


def sentence_of_schema_2(origin: Origin) -> str:
    return {
        "missing": f"{origin.column} missing" if origin.column else "everything missing that may be",
        "unseen": f"{origin.column} never seen",
        "boundary": f"just {origin.side} a boundary of {origin.column}",
        "decision": f"just {origin.side} the decision changes",
        "large_integer": f"{origin.column} beyond what a float holds",
    }.get(origin.kind, origin.kind)


@given(st.data())
def test_a_sentence_of_schema_2_is_read_as_what_it_was_written_for_or_not_at_all(data: st.DataObject) -> None:
    columns = data.draw(COLUMNS)
    written = data.draw(st.lists(origins_of(columns), min_size=1, max_size=12))

    read = read_sentences([sentence_of_schema_2(origin) for origin in written], columns)

    assert all(
        after == before or after.kind.startswith(UNRECOGNIZED)
        for before, after in zip(written, read, strict=True)
    )


def test_sentences_of_schema_2_about_usual_columns_are_all_read() -> None:
    origins = [
        Origin("missing", "wage"),
        Origin("missing", "age"),
        Origin("missing"),
        Origin("boundary", "age", "above"),
        Origin("unseen", "age"),
    ]

    assert read_sentences([sentence_of_schema_2(origin) for origin in origins], ["wage", "age"]) == origins
    assert not any(
        origin.is_edge_case
        for origin in read_sentences(["missing", "age  missing", "decision", "by hand"], ["wage", "age"])
    )


def test_a_sentence_that_could_be_of_two_origins_is_read_as_neither() -> None:
    columns = ["x", "x missing", "just below a boundary of x"]

    (origin,) = read_sentences(["just below a boundary of x missing"], columns)

    assert not origin.is_known
    assert str(origin) == "unrecognized: just below a boundary of x missing"


def test_origins_come_back_from_a_file(tmp_path: Path) -> None:
    golden = rows_with(
        ["age"],
        [Origin("example"), Origin("boundary", "age", "below"), Origin("of a later version", "age", "left")],
    )

    golden.write(tmp_path / "golden.json")

    assert GoldenRows.read(tmp_path / "golden.json").origins == golden.origins
