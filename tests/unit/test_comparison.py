"""The comparison of served outputs with golden rows, and the tolerances for its numbers."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tier0.core.outputs import PARTS
from tier0.golden.rows import GoldenRows, Mismatch, Origin, Spread, Tolerance
from tier0.golden.tolerance import EXACT, MAX_ROUNDING, largest_magnitude, spread_between

HERE_TOGETHER = {"same_arithmetic": True, "same_batch": True}
HERE_OTHERWISE = {"same_arithmetic": True, "same_batch": False}
ELSEWHERE = {"same_arithmetic": False, "same_batch": False}
FLOAT32 = 2.0**-23


def rows_of(dtype: str | None, spread: Spread | None, *, largest: float = 1.0) -> GoldenRows:
    dtypes = {} if dtype is None else {"predictions": dtype}
    return GoldenRows(
        ["x"],
        [[1.0], [2.0]],
        [largest, -0.5],
        None,
        [],
        dtypes=dtypes,
        spreads={} if spread is None else {"predictions": spread},
    )


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16", "object", None])
@pytest.mark.parametrize("spread", [None, Spread(), Spread(1e-3, 1e-3)])
def test_the_same_batch_with_the_same_arithmetic_is_to_the_bit(
    dtype: str | None, spread: Spread | None
) -> None:
    assert rows_of(dtype, spread).tolerance("predictions", **HERE_TOGETHER) == EXACT


@pytest.mark.parametrize(
    ("dtype", "spread", "where", "expected"),
    [
        (None, None, HERE_OTHERWISE, Tolerance(1e-12)),
        (None, None, ELSEWHERE, Tolerance(1e-12)),
        ("float64", None, HERE_OTHERWISE, Tolerance(1e-12)),
        ("float64", Spread(), HERE_OTHERWISE, EXACT),
        ("float64", Spread(), ELSEWHERE, Tolerance(1e-12)),
        ("float64", Spread(1e-15, 1e-15), HERE_OTHERWISE, Tolerance(1e-12, 8e-15)),
        ("float64", Spread(1e-15, 0.5), ELSEWHERE, Tolerance(1e-12, 8e-15)),
        ("float64", Spread(1e-10, 1e-10), ELSEWHERE, Tolerance(1e-12, 8e-10)),
        ("float32", Spread(), HERE_OTHERWISE, EXACT),
        ("float32", Spread(), ELSEWHERE, Tolerance(32 * FLOAT32, 32 * FLOAT32)),
        ("float32", None, ELSEWHERE, Tolerance(32 * FLOAT32, 32 * FLOAT32)),
        ("float32", Spread(1e-8, 1e-7), HERE_OTHERWISE, Tolerance(32 * FLOAT32, 4 * FLOAT32)),
        ("float32", Spread(1e-7, 1e-7), HERE_OTHERWISE, Tolerance(32 * FLOAT32, 8e-7)),
        ("float32", Spread(1e-6, 1e-3), ELSEWHERE, Tolerance(32 * FLOAT32, 8e-6)),
        ("float16", None, ELSEWHERE, Tolerance(32 * 2**-10, 4 * 2**-10)),
        ("float16", Spread(), ELSEWHERE, Tolerance(32 * 2**-10, MAX_ROUNDING)),
        ("object", Spread(), HERE_OTHERWISE, EXACT),
    ],
)
def test_a_tolerance_comes_from_the_dtype_and_from_what_was_measured(
    dtype: str | None, spread: Spread | None, where: dict[str, bool], expected: Tolerance
) -> None:
    found = rows_of(dtype, spread).tolerance("predictions", **where)

    assert (found.relative, found.absolute) == pytest.approx((expected.relative, expected.absolute))


def test_numbers_close_to_zero_are_judged_by_the_largest_of_their_part() -> None:
    assert rows_of("float32", None, largest=1000.0).tolerance(
        "predictions", **ELSEWHERE
    ).absolute == pytest.approx(32_000 * FLOAT32)


def test_a_model_that_mixes_its_rows_gets_no_wide_tolerance() -> None:
    assert rows_of("float64", Spread(0.5, 0.5)).tolerance("predictions", **ELSEWHERE).absolute == MAX_ROUNDING


def test_the_limit_of_a_tolerance_grows_with_the_numbers_of_its_part() -> None:
    mixed = rows_of("float64", Spread(0.5, 0.5), largest=1000.0)

    assert mixed.tolerance("predictions", **ELSEWHERE).absolute == MAX_ROUNDING * 1000


def test_a_file_with_rows_of_unknown_kinds_is_never_compared_to_the_bit() -> None:
    later = replace(rows_of("float64", None), origins=[Origin("example"), Origin("of a later version")])

    assert later.tolerance("predictions", **HERE_TOGETHER) == Tolerance(1e-12)


def test_what_a_user_allows_counts_where_it_is_more() -> None:
    golden = rows_of("float32", None)

    wide = golden.tolerances(**ELSEWHERE, relative=0.1, absolute=0.2)
    narrow = golden.tolerances(**ELSEWHERE, relative=1e-15, absolute=1e-15)

    assert set(wide) == set(PARTS)
    assert wide["predictions"] == Tolerance(0.1, 0.2)
    assert narrow["predictions"] == golden.tolerance("predictions", **ELSEWHERE)


@given(st.floats(allow_nan=False, allow_infinity=False), st.floats(0, 1), st.floats(0, 1e3))
def test_a_number_is_within_every_tolerance_of_itself_and_an_exact_one_of_nothing_else(
    value: float, relative: float, absolute: float
) -> None:
    assert Tolerance(relative, absolute).allows(value, value)
    assert not EXACT.allows(value, math.nextafter(value, math.inf))


def test_an_integer_beyond_all_floats_is_a_difference() -> None:
    assert not Tolerance(0.5, 0.5).allows(1.0, 10**400)


def test_each_part_has_a_tolerance_of_its_own() -> None:
    golden = GoldenRows(["x"], [[1.0]], [1.0], [[0.5, 0.5]], ["a", "b"])
    answer = {"predictions": [1.01], "probabilities": [[0.505, 0.495]]}
    wide, none = Tolerance(0.1), Tolerance()

    assert golden.compare(answer, tolerance={"predictions": wide, "probabilities": wide}) is None
    mismatch = golden.compare(answer, tolerance={"predictions": wide, "probabilities": none})
    assert mismatch == Mismatch(0, "probabilities", [0.5, 0.5], [0.505, 0.495])


def test_a_part_without_a_tolerance_is_compared_exactly() -> None:
    golden = GoldenRows(["x"], [[1.0]], [1.0], None, [])

    assert golden.compare({"predictions": [math.nextafter(1.0, 2.0)]}, tolerance={}) is not None


def test_nested_outputs_and_the_model_s_own_none_are_compared() -> None:
    golden = GoldenRows(["x"], [[1.0]] * 3, [None, {"label": "a", "score": 0.5}, [1, [None, 2.5]]], None, [])
    served = [None, {"score": 0.5, "label": "a"}, [1, [None, 2.5]]]

    assert golden.compare({"predictions": served}) is None
    for index, other in (
        (0, 0.0),
        (0, "None"),
        (1, {"label": "a"}),
        (1, {"label": "a", "score": 0.6}),
        (1, None),
        (2, [1, [0, 2.5]]),
    ):
        assert (
            golden.compare(
                {
                    "predictions": [
                        other if position == index else value for position, value in enumerate(served)
                    ]
                }
            )
            is not None
        )


def test_a_mismatch_says_where_the_row_comes_from_and_how_many_differ() -> None:
    golden = GoldenRows(
        ["age"], [[1.0], [None]], [1.0, 2.0], None, [], origins=[Origin("example"), Origin("missing", "age")]
    )

    mismatch = golden.compare({"predictions": [1.0, 2.5]})

    assert mismatch is not None
    assert str(mismatch) == "row 1 (age missing): prediction: expected 2, got 2.5 (1 of 2 rows differs)"
    assert (
        mismatch.describe(lambda _: "…")
        == "row 1 (age missing): prediction: expected …, got … (1 of 2 rows differs)"
    )


@pytest.mark.parametrize(
    ("expected", "got", "shown"),
    [
        (0.123456789, 0.123456768, "prediction: expected 0.12345679, got 0.12345677"),
        (0.1, math.nextafter(0.1, 1.0), "prediction: expected 0.10000000000000001, got 0.10000000000000002"),
        (2**53 + 1, float(2**53), "prediction: expected 9007199254740993, got 9007199254740992.0"),
        (1.0, True, "prediction: expected the number 1.0, got the boolean True"),
        ("1", 1, "prediction: expected the text '1', got the number 1"),
        (0.5, [0.5], "prediction: expected 0.5, got [0.5] (a list of one number)"),
        ([0.5], 0.5, "prediction: expected [0.5] (a list of one number), got 0.5"),
        ([0.5], [0.25], "prediction of output 0: expected 0.5, got 0.25"),
        ([0.5, 0.1], [0.5, 0.1000001], "prediction of output 1: expected 0.1, got 0.1000001"),
        ([[0.5, 0.5], [1.0]], [[0.5, 0.4], [1.0]], "prediction 1 of output 0: expected 0.5, got 0.4"),
        (None, 0.0, "prediction: expected null, got 0.0"),
        (2.5, math.nan, "prediction: expected 2.5, got NaN"),
        ({"a": 1.0}, {"a": 2.0}, "prediction.a: expected 1, got 2"),
    ],
)
def test_two_different_values_are_two_different_texts(expected: Any, got: Any, shown: str) -> None:
    golden = GoldenRows(["x"], [[1.0]], [expected], None, [])

    assert str(golden.compare({"predictions": [got]})) == shown


@pytest.mark.parametrize(
    ("outputs", "shown"),
    [
        ({"predictions": "a"}, "predictions: expected a list of 3, one for each row, got 'a'"),
        ({"predictions": None}, "predictions: expected a list of 3, one for each row, got none"),
        ({"predictions": ["a"]}, "predictions: expected 3 values, got 1 value"),
        ({"intervals": [[0, 1]] * 3}, "intervals: expected none, got a list of 3"),
        ({"probabilities": [[0.5, 0.25, 0.25], [0.1, 0.6, 0.3], [0, 0.5, 0.5]]},
         "row 1 (synthetic): probability of b: expected 0.7, got 0.6"),
    ],
)  # fmt: skip
def test_a_part_of_another_form_is_described(outputs: dict[str, Any], shown: str) -> None:
    served = {"predictions": THREE.predictions, "probabilities": THREE.probabilities, **outputs}

    mismatch = THREE.compare(served)
    assert mismatch is not None
    assert mismatch.describe_row() == shown


def test_another_number_of_values_is_known_as_that() -> None:
    fewer, other = (THREE.compare({"predictions": labels}) for labels in (["a"], ["z", "z", "z"]))

    assert fewer is not None
    assert other is not None
    assert (fewer.counts, other.counts) == ((3, 1), None)


@pytest.mark.parametrize("where", [HERE_TOGETHER, HERE_OTHERWISE, ELSEWHERE])
def test_every_part_has_its_tolerance_where_a_user_allows_nothing(where: dict[str, bool]) -> None:
    golden = rows_of("float32", Spread(1e-7, 1e-7))

    assert golden.tolerances(**where) == {part: golden.tolerance(part, **where) for part in PARTS}


def test_the_mismatch_of_a_single_row_does_not_count_rows() -> None:
    golden = GoldenRows(["x"], [[1.0]], [1.0], None, [])

    assert str(golden.compare({"predictions": [2.0]})) == "prediction: expected 1, got 2"


def test_differences_are_between_floats_only() -> None:
    assert spread_between([1.0, [2.0, "a"], None, 3], [1.0, [2.5, "b"], 1.0, 4]) == Spread(0.5, 0.2)
    assert largest_magnitude([1, [-2.5, "9"], None, math.inf]) == 2.5


def test_a_spread_is_of_the_positions_that_both_values_have() -> None:
    assert spread_between([1.0, 2.0], [1.5]) == Spread(0.5, 1 / 3)
    assert spread_between([1.0], 2.0) == Spread()
    assert spread_between(1.0, "a") == spread_between("a", 1.0) == spread_between(0.0, 0.0) == Spread()
    assert spread_between(-4.0, 1.0) == spread_between(1.0, -4.0) == Spread(5.0, 1.25)


def test_the_wider_of_two_spreads_or_tolerances_is_taken_by_field() -> None:
    assert Spread(1.0, 0.2).widened(Spread(0.5, 0.3)) == Spread(1.0, 0.3)
    assert Spread(0.5, 0.3).widened(Spread(1.0, 0.2)) == Spread(1.0, 0.3)
    assert Tolerance(0.2, 0.5).widened() == Tolerance(0.2, 0.5)
    assert Tolerance(0.2, 1.0).widened(relative=0.3, absolute=0.5) == Tolerance(0.3, 1.0)
    assert Tolerance(0.2, 1.0).widened(absolute=2.0) == Tolerance(0.2, 2.0)


@pytest.mark.parametrize(
    ("expected", "got", "allowed"),
    [
        (100.0, 110.0, True),
        (110.0, 100.0, True),
        (100.0, 112.0, False),
        (0.0, 0.5, True),
        (0.0, -0.6, False),
        (math.inf, math.inf, True),
        (math.inf, 1.0, False),
    ],
)
def test_one_of_the_two_bounds_is_enough(expected: float, got: float, *, allowed: bool) -> None:
    assert Tolerance(0.1, 0.5).allows(expected, got) is allowed


def test_the_largest_magnitude_is_of_the_finite_floats_at_any_depth() -> None:
    assert largest_magnitude([[1.0, [-3.0]], 2.0]) == 3.0
    assert largest_magnitude([math.nan, -math.inf, 0.5]) == 0.5
    assert largest_magnitude(["a", 7]) == 0.0


THREE = GoldenRows(
    ["age"],
    [[1.0], [2.0], [None]],
    ["a", "b", "b"],
    [[0.5, 0.25, 0.25], [0.1, 0.7, 0.2], [0.0, 0.5, 0.5]],
    ["a", "b", "c"],
    origins=[Origin("example"), Origin("synthetic"), Origin("missing", "age")],
)


def test_a_chart_shows_the_class_that_differs_in_most_rows_and_its_worst_rows() -> None:
    served = {"probabilities": [[0.5, 0.375, 0.25], [0.1, 0.7, 0.3], [0.0, 0.25, 0.5]]}

    assert THREE.comparison(served) == {
        "part": "probabilities",
        "what": "probability of b",
        "expected": [0.25, 0.7, 0.5],
        "served": [0.375, 0.7, 0.25],
        "worst": [
            {"row": 2, "origin": "row 2 (age missing)", "expected": 0.5, "served": 0.25},
            {"row": 0, "origin": "row 0", "expected": 0.25, "served": 0.375},
        ],
    }


def test_a_chart_of_equal_probabilities_shows_the_last_class_and_no_worst_row() -> None:
    chart = THREE.comparison({"probabilities": THREE.probabilities})

    assert chart is not None
    assert (chart["what"], chart["worst"]) == ("probability of c", [])


def test_a_chart_shows_at_most_five_rows_and_those_without_a_number_first() -> None:
    golden = GoldenRows(["x"], [[0.0]] * 8, [float(index) for index in range(8)], None, [])
    served = [0.0, 1.1, 2.3, 3.2, 4.6, 5.5, None, 7.4]

    chart = golden.comparison({"predictions": served})

    assert chart is not None
    assert (chart["part"], chart["what"], chart["served"]) == ("predictions", "prediction", served)
    assert [each["row"] for each in chart["worst"]] == [6, 4, 5, 7, 2]
    assert [each["origin"] for each in chart["worst"][:2]] == ["row 6", "row 4"]


def test_a_row_with_too_few_probabilities_has_no_number_in_the_chart() -> None:
    golden = GoldenRows(["x"], [[0.0]] * 2, [0.0, 1.0], [[0.5, 0.5], [0.2, 0.8]], ["only one name"])

    chart = golden.comparison({"probabilities": [[0.5, 0.5], [0.2]]})

    assert chart is not None
    assert (chart["what"], chart["served"]) == ("probability", [0.5, None])


@pytest.mark.parametrize("probabilities", [None, "none", [[0.5, 0.5]], [[0.5, 0.5], [0.2, 0.8], [0.1, 0.9]]])
def test_a_chart_shows_predictions_where_the_probabilities_cannot_be_paired(probabilities: Any) -> None:
    golden = GoldenRows(["x"], [[0.0]] * 2, [0.0, 1.0], [[0.5, 0.5], [0.2, 0.8]], [])

    chart = golden.comparison({"predictions": [0.0, 2.0], "probabilities": probabilities})

    assert chart is not None
    assert (chart["part"], chart["expected"], chart["served"]) == ("predictions", [0.0, 1.0], [0.0, 2.0])


def test_a_chart_shows_only_the_parts_that_the_service_returns() -> None:
    golden = GoldenRows(["x"], [[0.0]], [0.0], [[0.5, 0.5]], [])
    served = {"predictions": [1.0], "probabilities": [[0.5, 0.5]]}

    chart = golden.comparison(served, parts=["predictions"])
    assert chart is not None
    assert chart["part"] == "predictions"
    assert golden.comparison(served, parts=[]) is None


def test_a_probability_that_the_model_did_not_give_leaves_the_chart_to_the_predictions() -> None:
    golden = GoldenRows(["x"], [[0.0]], [1.0], [[0.5, math.nan]], [])

    chart = golden.comparison({"predictions": [1.0], "probabilities": [[0.5, 0.5]]})

    assert chart is not None
    assert chart["part"] == "predictions"


def test_labels_have_no_chart() -> None:
    assert THREE.comparison({"predictions": ["a", "b", "b"]}) is None
    assert GoldenRows(["x"], [[0.0]], [True], None, []).comparison({"predictions": [True]}) is None


@pytest.mark.parametrize(
    ("outputs", "mismatch"),
    [
        ({"predictions": "a"}, Mismatch(0, "predictions", "a list of 3, one for each row", "a", 3, 3)),
        ({"predictions": ["a"]}, Mismatch(0, "predictions", "3 values", "1 value", 3, 3)),
        ({"predictions": ["a", "b", "a"]}, Mismatch(2, "predictions", "b", "a", 1, 3, THREE.origins[2])),
        ({"predictions": ["a", "a", "a"]}, Mismatch(1, "predictions", "b", "a", 2, 3, THREE.origins[1])),
        ({"classes": ["a"]}, Mismatch(0, "classes", ["a", "b", "c"], ["a"], 3, 3)),
        ({"intervals": [[0, 1]] * 3}, Mismatch(0, "intervals", None, [[0, 1]] * 3, 3, 3)),
    ],
)
def test_a_mismatch_names_the_first_row_and_counts_all(outputs: dict[str, Any], mismatch: Mismatch) -> None:
    served = {"predictions": THREE.predictions, "probabilities": THREE.probabilities, **outputs}

    assert THREE.compare(served) == mismatch


def test_parts_that_are_left_out_are_not_compared() -> None:
    assert THREE.compare({"predictions": THREE.predictions}, parts=["predictions"]) is None
    assert THREE.compare({"predictions": THREE.predictions}) is not None


def test_the_outputs_of_an_earlier_response_are_compared_as_they_are() -> None:
    served = {"predictions": {"a": 1}, "probabilities": [[0.5]], "intervals": [[0, 1]]}
    earlier = THREE.with_outputs(served)

    assert (earlier.predictions, earlier.probabilities, earlier.intervals) == tuple(served.values())
    assert earlier.classes == []
    assert earlier.compare({"predictions": [1]}) == Mismatch(0, "predictions", {"a": 1}, [1], 3, 3)
    assert THREE.with_outputs({"predictions": []}).compare({"predictions": "x"}) == Mismatch(
        0, "predictions", "a list of 3, one for each row", "x", 3, 3
    )


def test_a_number_that_is_as_close_to_its_own_label_as_to_another_is_no_other_label() -> None:
    rows = GoldenRows(["a"], [[1.0]], [10.0], None, [10.0, 11.0, "text"])

    assert rows.compare({"predictions": [10.5]}, tolerance=0.25) is None
    assert rows.compare({"predictions": [10.6]}, tolerance=0.25) is not None
    assert rows.compare({"predictions": ["text"]}, tolerance=0.25) is not None


def test_numbers_beside_labels_may_be_closer_to_a_class() -> None:
    rows = GoldenRows(["a"], [[1.0]], [10.0], [[10.0, 1.0]], [10.0, 11.0])

    served = {"predictions": [10.0], "probabilities": [[11.0, 1.0]]}
    assert rows.compare(served, tolerance=0.25) is None, "a probability is not a label"


@pytest.mark.parametrize(
    ("expected", "got", "same"),
    [
        (1, 1.0, True),
        (1, 1.5, False),
        (True, 1.0, False),
        (1.0, 1, True),
        (1.0, True, False),
        (None, math.nan, True),
        (math.nan, math.nan, True),
        (1.0, math.nan, False),
        ("a", math.nan, False),
        ([1.0, 2.0], [1.0], False),
        ([1.0], (1.0,), False),
        ([1.0, 2.0], [1.0, 3.0], False),
        ({"a": 1}, {"b": 1}, False),
        ({"a": 1}, {"a": 1, "b": 2}, False),
        ({"a": 1}, [1], False),
        ([1], {"a": 1}, False),
        ("a", "a", True),
        ("a", "b", False),
        (1, True, False),
        (None, None, True),
    ],
)
def test_two_outputs_are_equal_if_json_would_not_tell_them_apart(
    expected: Any, got: Any, *, same: bool
) -> None:
    golden = GoldenRows(["x"], [[1.0]], [expected], None, [])

    assert (golden.compare({"predictions": [got]}) is None) is same


def test_numbers_within_lists_and_objects_have_the_tolerance_too() -> None:
    golden = GoldenRows(["x"], [[1.0]], [[{"score": 1.0}]], None, [])

    assert golden.compare({"predictions": [[{"score": 1.01}]]}, tolerance=0.1) is None
    assert golden.compare({"predictions": [[{"score": 1.2}]]}, tolerance=0.1) is not None


def test_each_field_of_an_object_has_its_own_tolerance() -> None:
    golden = GoldenRows(["x"], [[1.0]], [{"a": 1.0, "b": 1.0}], None, [])
    tolerance = {"predictions": Tolerance(fields={"a": Tolerance(absolute=1.0)})}

    mismatch = golden.compare({"predictions": [{"a": 1.5, "b": 1.5}]}, tolerance=tolerance)

    assert mismatch is not None
    assert mismatch.place == "prediction.b"
    assert golden.compare({"predictions": [{"a": 1.5, "b": 1.0}]}, tolerance=tolerance) is None


@pytest.mark.parametrize(("count", "shown"), [(1, "a list of one"), (2, "a list of 2, one for each row")])
def test_an_output_that_is_no_list_is_described_beside_the_number_of_rows(count: int, shown: str) -> None:
    golden = GoldenRows(["x"], [[1.0]] * count, [1.0] * count, None, [])

    mismatch = golden.compare({"predictions": 5})

    assert mismatch is not None
    assert mismatch.describe_row() == f"predictions: expected {shown}, got 5"


def test_a_single_row_is_named_if_it_is_an_edge_case() -> None:
    golden = GoldenRows(["age"], [[None]], [1.0], None, [], origins=[Origin("missing", "age")])

    assert str(golden.compare({"predictions": [2.0]})) == "age missing: prediction: expected 1, got 2"


def test_earlier_outputs_that_were_no_list_are_shown_as_they_are() -> None:
    golden = GoldenRows(["x"], [[1.0]], [1.0], None, []).with_outputs({"predictions": "a"})

    assert (
        str(golden.compare({"predictions": ["a"]}))
        == "predictions: expected 'a', got ['a'] (a list of one text)"
    )
    assert golden.compare({"predictions": "a"}) is None


def test_rows_are_selected_with_all_that_belongs_to_them() -> None:
    golden = replace(THREE, intervals=[[0, 1], [1, 2], [2, 3]], distinguishes={"swapped": [0, 2]})

    taken = golden.take([2, 1])

    assert (taken.rows, taken.predictions, taken.classes) == ([[None], [2.0]], ["b", "b"], ["a", "b", "c"])
    assert (taken.probabilities, taken.intervals) == ([[0.0, 0.5, 0.5], [0.1, 0.7, 0.2]], [[2, 3], [1, 2]])
    assert taken.origins == [Origin("missing", "age"), Origin("synthetic")]
    assert taken.distinguishes == {"swapped": [0]}


def test_rows_are_selected_by_their_origins() -> None:
    assert THREE.examples.rows == [[1.0], [2.0]]
    assert THREE.edge_cases.rows == [[None]]
    assert THREE.with_origin("missing").rows == THREE.with_origin("missing", "age").rows == [[None]]
    assert len(THREE.with_origin("missing", "wage")) == 0
    unknown = replace(THREE, origins=[])
    assert (len(unknown.examples), len(unknown.edge_cases), unknown.origin(2)) == (3, 0, "row 2")


def test_rows_are_sent_as_lists_or_records() -> None:
    golden = GoldenRows(["a", "b"], [[1.0, "x"]], [1.0], None, [])

    assert golden.body() == {"features": [[1.0, "x"]], "columns": ["a", "b"]}
    assert golden.records() == [{"a": 1.0, "b": "x"}]
    with pytest.raises(ValueError, match="zip"):
        replace(golden, columns=["a"]).records()


def test_a_file_keeps_the_rows_and_refuses_nan(tmp_path: Path) -> None:
    golden = GoldenRows(["größe"], [[0.1]], [1.5], None, [])
    golden.write(tmp_path / "golden.json")
    assert GoldenRows.read(tmp_path / "golden.json") == golden

    with pytest.raises(ValueError, match="not JSON compliant"):
        replace(golden, predictions=[math.nan]).write(tmp_path / "nan.json")


@pytest.mark.parametrize(
    ("change", "contradiction"),
    [
        ({"rows": []}, "rows is empty"),
        ({"rows": [[1.0], [2.0, 3.0], [4.0]]}, "rows[1] is not a list of 1 values, one for each column"),
        ({"rows": [[1.0], [2.0], "x"]}, "rows[2] is not a list of 1 values, one for each column"),
        ({"predictions": ["a"]}, "predictions has length 1, but rows has length 3"),
        ({"origins": THREE.origins[:2]}, "origins has length 2, but rows has length 3"),
        ({"predictions": []}, "predictions is empty"),
        ({"categories": {"age": [], "b": [], "a": []}}, "categories has 'a', which is not in columns"),
        ({"categories": {"age": ["young"]}}, None),
        ({"classes": ["a", "b"]}, "probabilities[0] has length 3, but classes has length 2"),
        ({"classes": []}, None),
        ({"probabilities": None}, None),
        ({"predictions": [["a", 0.5]] * 3, "classes": [["a", "b"], []]}, None),
    ],
)
def test_fields_that_contradict_each_other_are_named(
    change: dict[str, Any], contradiction: str | None
) -> None:
    assert replace(THREE, **change).contradiction() == contradiction
