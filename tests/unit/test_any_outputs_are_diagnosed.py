"""Whatever is returned, and whatever a golden file expects, the diagnosis describes it without an error."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tests.support.any_json import MANY, VALUES
from tier0.core.outputs import PARTS
from tier0.golden.differences.diagnosis import diagnose
from tier0.golden.rows import GoldenRows

ROWS = [[1.0, "a"], [2.5, "b"], [None, "a"], [2.0**60, ""]]
LABELS = st.sampled_from(["yes", "no", "another label", "0", 0, 1, True, 2.0, None])
NUMBERS = st.one_of(st.floats(), st.integers(-3, 3), st.sampled_from([10**400, -(2**70)]))
OUTPUTS = st.one_of(LABELS, NUMBERS, st.lists(NUMBERS, max_size=3), VALUES)


def per_row(one: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Any]]:
    return st.lists(one, min_size=len(ROWS), max_size=len(ROWS))


GOLDEN = st.builds(
    GoldenRows,
    st.just(["age", "plan"]),
    st.just(ROWS),
    per_row(LABELS | st.floats(-5, 5)),
    st.none() | per_row(st.lists(st.floats(0, 1), min_size=2, max_size=2)),
    st.sampled_from([[], ["no", "yes"], [0, 1], [0, 1, 2]]),
)


@MANY
@given(GOLDEN, per_row(OUTPUTS) | VALUES, st.none() | per_row(OUTPUTS) | VALUES)
def test_any_outputs_are_described(golden: GoldenRows, predictions: Any, probabilities: Any) -> None:
    outputs = {"predictions": predictions, "probabilities": probabilities, "intervals": None}
    tolerance = golden.tolerances(same_arithmetic=False, same_batch=True)

    diagnosis = diagnose(golden, outputs, tolerance=tolerance, parts=PARTS)

    assert str(diagnosis) or not diagnosis.findings


@MANY
@given(GOLDEN, per_row(LABELS))
def test_labels_that_are_no_classes_are_described(golden: GoldenRows, predictions: list[Any]) -> None:
    outputs = {"predictions": predictions, "probabilities": golden.probabilities}
    tolerance = golden.tolerances(same_arithmetic=False, same_batch=True)

    diagnose(golden, outputs, tolerance=tolerance)
