"""The comparison of served outputs with golden rows, and the tolerances for its numbers."""

from __future__ import annotations

import math
from dataclasses import replace

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
        ("float32", Spread(), ELSEWHERE, Tolerance(32 * FLOAT32)),
        ("float32", None, ELSEWHERE, Tolerance(32 * FLOAT32, 4 * FLOAT32)),
        ("float32", Spread(1e-8, 1e-7), HERE_OTHERWISE, Tolerance(32 * FLOAT32, 4 * FLOAT32)),
        ("float32", Spread(1e-7, 1e-7), HERE_OTHERWISE, Tolerance(32 * FLOAT32, 8e-7)),
        ("float32", Spread(1e-6, 1e-3), ELSEWHERE, Tolerance(32 * FLOAT32, 8e-6)),
        ("float16", None, ELSEWHERE, Tolerance(32 * 2**-10, 4 * 2**-10)),
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
    ).absolute == pytest.approx(4000 * FLOAT32)


def test_a_model_that_mixes_its_rows_gets_no_wide_tolerance() -> None:
    assert rows_of("float64", Spread(0.5, 0.5)).tolerance("predictions", **ELSEWHERE).absolute == MAX_ROUNDING


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
    assert str(mismatch) == "row 1 (age missing): predictions: expected 2.0, got 2.5 (1 of 2 rows differ)"
    assert (
        mismatch.describe(lambda _: "…")
        == "row 1 (age missing): predictions: expected …, got … (1 of 2 rows differ)"
    )


def test_differences_are_between_floats_only() -> None:
    assert spread_between([1.0, [2.0, "a"], None, 3], [1.0, [2.5, "b"], 1.0, 4]) == Spread(0.5, 0.2)
    assert largest_magnitude([1, [-2.5, "9"], None, math.inf]) == 2.5
