from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tier0.core.errors import RegistrationError
from tier0.golden.rows import ROW_ALONE_TOLERANCE, GoldenRows, Origin

GOLDEN = GoldenRows(["x"], [[1.0], [None]], ["no", "yes"], [[0.7, 0.3], [0.1, 0.9]], ["no", "yes"])
ANSWER: dict[str, Any] = {
    "predictions": ["no", "yes"],
    "probabilities": [[0.7, 0.3], [0.1, 0.9]],
    "classes": ["no", "yes"],
}


def test_the_same_answer_is_equal() -> None:
    assert GOLDEN.compare(ANSWER) is None


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"predictions": ["yes", "yes"]}, "row 0: prediction: expected 'no', got 'yes'"),
        ({"predictions": ["no"]}, "predictions"),
        ({"predictions": None}, "predictions"),
        ({"probabilities": None}, "probabilities"),
        ({"probabilities": [[0.7, 0.3], [0.1, math.nextafter(0.9, 1)]]}, "row 1: probability of yes"),
        (
            {"probabilities": [0.7, 0.1]},
            "row 0: probabilities: expected [0.7, 0.3], got 0.7 (2 of 2 rows differ)",
        ),
        ({"probabilities": [[0.3, 0.7], [0.9, 0.1]]}, "(2 of 2 rows differ)"),
        ({"classes": ["yes", "no"]}, "classes"),
    ],
)
def test_any_difference_is_told(change: dict[str, Any], says: str) -> None:
    assert says in str(GOLDEN.compare({**ANSWER, **change}))


def test_a_tolerance_is_for_numbers_and_not_for_labels() -> None:
    near = {**ANSWER, "probabilities": [[0.7, 0.3], [0.1, math.nextafter(0.9, 1)]]}
    far = {**ANSWER, "probabilities": [[0.7, 0.3], [0.1, 0.9 + 1e-9]]}

    assert GOLDEN.compare(near, tolerance=ROW_ALONE_TOLERANCE) is None
    assert GOLDEN.compare(far, tolerance=ROW_ALONE_TOLERANCE) is not None


def test_a_tolerance_that_is_wider_than_labels_are_apart_does_not_join_them() -> None:
    rows = GoldenRows(["a"], [[1.0], [2.0]], [10.0, 11.0], None, [10.0, 11.0])

    assert rows.compare({"predictions": [10.001, 11.0]}, tolerance=0.25) is None
    assert rows.compare({"predictions": [11.0, 10.0]}, tolerance=0.25) is not None


def test_what_was_no_list_twice_is_the_same() -> None:
    rows = GoldenRows(["a"], [[1.0]], [10.0], None, [])

    assert rows.with_outputs({"predictions": {"a": 1}}).compare({"predictions": {"a": 1}}) is None
    assert rows.with_outputs({"predictions": {"a": 1}}).compare({"predictions": [1]}) is not None


@pytest.mark.parametrize(
    ("expected", "got"), [(1, True), (1, "1"), ("1", 1), (1.0, True), (1.5, "1.5"), (0, False), (0, 0.5)]
)
def test_labels_of_another_type_are_different(expected: Any, got: Any) -> None:
    golden = GoldenRows(["x"], [[1.0]], [expected], None, [])

    assert golden.compare({"predictions": [got], "probabilities": None}) is not None


def test_probabilities_where_none_were_expected_are_a_difference() -> None:
    golden = GoldenRows(["x"], [[1.0]], [1.0], None, [])

    assert golden.compare({"predictions": [1.0], "probabilities": [[1.0]]}) is not None


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1))
def test_a_file_keeps_every_bit(tmp_path_factory: pytest.TempPathFactory, values: list[float]) -> None:
    path = tmp_path_factory.getbasetemp() / "golden.json"
    golden = GoldenRows(["x"], [[value] for value in values], values, None, [])

    golden.write(path)

    assert GoldenRows.read(path).compare({"predictions": values, "probabilities": None}) is None


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{}",
        '{"schema": 2}',
        '{"schema": 1, "columns": [], "rows": [], "predictions": [], "probabilities": null, "classes": []}',
    ],
)
def test_a_broken_file_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "golden.json"
    path.write_text(content, encoding="utf-8")

    with pytest.raises(RegistrationError) as refusal:
        GoldenRows.read(path)
    assert refusal.value.__cause__ is not None or "rows is empty" in str(refusal.value)


def test_a_served_integer_larger_than_any_float_is_a_mismatch() -> None:
    golden = GoldenRows(["x"], [[1.0]], [1.0], None, [])
    served = {"predictions": [10**400]}

    mismatch = golden.compare(served)
    comparison = golden.comparison(served)

    assert mismatch is not None
    assert (mismatch.part, mismatch.expected) == ("predictions", 1.0)
    assert comparison is not None
    assert comparison["served"] == [None]


def test_the_body_has_the_rows_as_the_model_takes_them() -> None:
    texts = GoldenRows(["text"], [["good"], ["bad"]], [1, 0], None, [0, 1], form="texts")

    assert texts.body() == {"features": ["good", "bad"]}
    assert GOLDEN.body() == {"features": [[1.0], [None]], "columns": ["x"]}


def test_the_name_of_a_number_of_an_output() -> None:
    assert GOLDEN.name_of("probabilities", 1, 2) == "probability of yes"
    assert GOLDEN.name_of("probabilities", 1, 3) == "probability"
    assert GOLDEN.name_of("intervals", 1, 2) == "upper bound"
    assert GOLDEN.name_of("intervals", 1, 3) == "interval"
    assert GOLDEN.name_of("predictions", 1, 2) == "prediction"


def test_messages_say_which_of_the_golden_rows_were_sent() -> None:
    golden = GoldenRows(
        ["x"],
        [[0], [1], [2]],
        [0, 1, 2],
        None,
        [],
        origins=[Origin("example")] * 2 + [Origin("missing", "x")],
    )
    examples = golden.examples

    assert "2 examples, 1 edge case" in golden.kinds_in_words
    assert examples.kinds_in_words == ""
    assert [part for part in golden.part_in_words(examples).split() if part.isdigit()] == ["2", "3"]
    assert examples.part_in_words(examples) == "all 2 golden rows"
    assert golden.part_in_words(golden.take([0])).startswith("the 1 of 3 ")
