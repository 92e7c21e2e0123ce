"""Tolerances for real models, and the measurement of the spread of the model in memory."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.tree import DecisionTreeClassifier
from xgboost import XGBClassifier, XGBRegressor

from tier0.core.errors import Tier0Error
from tier0.golden import spread as spread_module
from tier0.golden.capture import golden_rows
from tier0.golden.prediction import Output
from tier0.golden.rows import GoldenRows, Spread, Tolerance
from tier0.golden.tolerance import (
    EXACT,
    MAX_ROUNDING,
    NO_SPREAD,
    ROW_ALONE_TOLERANCE,
    fields_in,
    largest_magnitude,
    spread_between,
    spreads_between,
    tolerance_for,
)
from tier0.serving.registration import ModelSaver

RNG = np.random.default_rng(0)
X = RNG.normal(size=(120, 3))
Y = (X[:, 0] + X[:, 1] > 0).astype(int)
HERE_OTHERWISE = {"same_arithmetic": True, "same_batch": False}
ELSEWHERE = {"same_arithmetic": False, "same_batch": False}


class Network(BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """A network in float32, as a PyTorch model behind scikit-learn's interface is."""

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        self.weights = [
            (rng.normal(size=shape) / np.sqrt(shape[0])).astype("float32")
            for shape in ((20, 128), (128, 128), (128, 3))
        ]
        self.classes_ = np.array([0, 1, 2])

    def predict_proba(self, rows: Any) -> Any:
        hidden = np.asarray(rows, dtype="float32")
        for weights in self.weights[:-1]:
            hidden = np.maximum(hidden @ weights, 0)
        scores = np.exp(hidden @ self.weights[-1])
        return scores / scores.sum(axis=1, keepdims=True)

    def predict(self, rows: Any) -> Any:
        return self.predict_proba(rows).argmax(axis=1)


NETWORK_ROWS = np.random.default_rng(1).normal(size=(30, 20)).astype("float32")


def test_a_healthy_float32_network_is_within_its_tolerance_in_every_batch_and_order_of_sums() -> None:
    golden = golden_rows(Network(), NETWORK_ROWS)
    plain, tolerance = golden.examples, golden.tolerances(**ELSEWHERE)
    backwards = Network()
    order = np.arange(128)[::-1]
    first, second, last = backwards.weights
    backwards.weights = [
        first[:, order],
        second[order][:, order],
        last[order],
    ]  # the same function, with its sums in another order

    served = backwards.predict_proba(plain.rows)

    assert golden.dtypes["probabilities"] == "float32"
    assert 0 < golden.spreads["probabilities"].absolute < 1e-6
    assert not np.array_equal(served, plain.probabilities or [])
    assert (
        plain.compare(
            {"predictions": served.argmax(axis=1).tolist(), "probabilities": served.tolist()},
            tolerance=tolerance,
        )
        is None
    )
    assert golden.compare(
        {
            "predictions": golden.predictions,
            "probabilities": np.add(golden.probabilities or [], 1e-5).tolist(),
        },
        tolerance=tolerance,
    )


def test_a_float32_network_has_rows_on_both_sides_of_a_decision_whose_labels_rounding_does_not_change() -> (
    None
):
    golden = golden_rows(Network(), NETWORK_ROWS)

    decisions = golden.with_origin("decision")
    assert {origin.side for origin in decisions.origins} == {"before", "after"}
    gaps = [np.diff(np.sort(row)[-2:])[0] for row in decisions.probabilities or []]
    assert min(gaps) > 5e-6
    assert max(gaps) < 0.01


@pytest.mark.parametrize(
    "model", [XGBClassifier(n_estimators=10), XGBRegressor(n_estimators=10), DecisionTreeClassifier()]
)
def test_trees_stay_exact_in_every_batch_whatever_their_dtype(model: Any) -> None:
    golden = golden_rows(model.fit(X, Y), X[:20])

    assert set(golden.spreads.values()) == {Spread()}
    assert set(golden.tolerances(**HERE_OTHERWISE).values()) - {Tolerance(ROW_ALONE_TOLERANCE)} == {EXACT}
    assert len(golden.with_origin("boundary")) > 0
    assert {"float32", "float64", "int64"} >= set(golden.dtypes.values())


def test_a_sum_over_threads_elsewhere_may_differ_in_its_last_bits_close_to_0() -> None:
    golden = GoldenRows(["a"], [[1.0], [2.0]], [1e-5, 1.0], None, [], spreads={"predictions": Spread()})

    def differs(by: float, where: dict[str, bool]) -> bool:
        answer = {"predictions": [1e-5 + by, 1.0]}
        return golden.compare(answer, tolerance=golden.tolerances(**where)) is not None

    assert not differs(2e-15, ELSEWHERE)
    assert differs(1e-13, ELSEWHERE)
    assert differs(2e-15, HERE_OTHERWISE)


def test_a_float32_vector_elsewhere_may_differ_close_to_0_although_the_model_in_one_thread_does_not() -> None:
    golden = GoldenRows(
        ["text"],
        [["a"]],
        [[0.2, 1e-5]],
        None,
        [],
        dtypes={"predictions": "float32"},
        spreads={"predictions": Spread()},
    )

    def differs(by: float, where: dict[str, bool]) -> bool:
        return (
            golden.compare({"predictions": [[0.2, 1e-5 + by]]}, tolerance=golden.tolerances(**where))
            is not None
        )

    assert not differs(1.6e-7, ELSEWHERE)
    assert differs(1e-6, ELSEWHERE)
    assert differs(1.6e-7, HERE_OTHERWISE)


@pytest.mark.parametrize("model", [LogisticRegression(), LinearRegression()])
def test_linear_models_in_float64_are_judged_as_strictly_as_before(model: Any) -> None:
    golden = golden_rows(model.fit(X, Y), X[:20])

    part = "probabilities" if golden.probabilities else "predictions"
    assert golden.dtypes[part] == "float64"
    assert golden.tolerance(part, **ELSEWHERE).relative == ROW_ALONE_TOLERANCE
    assert golden.tolerance(part, **ELSEWHERE).absolute < 1e-14


def test_examples_that_lie_column_by_column_in_memory_are_not_refused() -> None:
    wide = RNG.normal(size=(200, 20))
    model = LogisticRegression().fit(wide, (wide[:, 0] > 0).astype(int))
    by_column = np.asfortranarray(wide[:50])

    golden = golden_rows(model, by_column)

    assert golden.examples.probabilities == model.predict_proba(np.ascontiguousarray(by_column)).tolist(), (
        "as a request brings them"
    )
    assert golden.examples.probabilities != model.predict_proba(by_column).tolist()


def test_casting_to_float32_is_beyond_the_tolerance_of_a_float64_model() -> None:
    model = LogisticRegression().fit(X, Y)
    golden = golden_rows(model, X[:20])

    cast = {
        "predictions": golden.predictions,
        "probabilities": np.array(golden.probabilities, dtype="float32").tolist(),
    }

    assert golden.compare(cast, tolerance=golden.tolerances(**ELSEWHERE)) is not None


def test_a_registered_model_has_the_same_facts(tmp_path: Path) -> None:
    saver = ModelSaver(XGBClassifier(n_estimators=5).fit(X, Y), "m", None, X[:20])

    saver.write_files(tmp_path)

    read = GoldenRows.read(tmp_path / "golden_rows.json")
    assert read == saver.golden
    assert (read.dtypes["probabilities"], read.spreads["probabilities"]) == ("float32", Spread())


@pytest.mark.parametrize(("count", "known"), [(4, {}), (5, {"predictions": Spread()})])
def test_too_few_rows_prove_no_exactness(count: int, known: dict[str, Spread]) -> None:
    rows = X[:count].tolist()

    assert (
        spread_module.measure(
            lambda asked: Output([row[0] for row in asked], None), rows, Output(X[:count, 0].tolist(), None)
        ).known()
        == known
    )


def test_a_batch_that_the_model_refuses_shows_nothing() -> None:
    def ask(rows: list[list[Any]]) -> Output:
        if len(rows) == 1:
            raise ValueError("one row has no deviation")
        return Output([row[0] for row in rows], None)

    assert spread_module.measure(ask, X[:20].tolist(), ask(X[:20].tolist())).known() == {}


class OfTheBatch(BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """Answers by the mean of the rows beside a row."""

    def predict(self, rows: Any) -> Any:
        return np.asarray(rows, dtype=float).mean(axis=1) - np.asarray(rows, dtype=float).mean()


def test_a_model_that_answers_by_the_batch_is_not_compared_more_widely() -> None:
    golden = golden_rows(OfTheBatch(), np.abs(X[:10]) + 1)

    assert golden.spreads["predictions"].absolute > 0.01
    assert golden.tolerance("predictions", **ELSEWHERE).absolute <= MAX_ROUNDING * largest_magnitude(
        golden.predictions
    )


class Abstains(BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    def predict(self, frame: Any) -> Any:
        return np.array(
            [None if math.isnan(value) or value < 3 else float(value) for value in frame["x"]], dtype=object
        )


def test_a_model_s_own_none_is_kept() -> None:
    golden = golden_rows(Abstains(), pd.DataFrame({"x": np.arange(10.0)}))

    assert golden.predictions[:5] == [None, None, None, 3.0, 4.0]
    assert golden.with_origin("missing", "x").predictions == [None]
    assert golden.dtypes == {"predictions": "object"}
    below, above = golden.with_origin("boundary", "x").predictions
    assert below is None
    assert above == pytest.approx(3.0)


def test_a_nan_is_refused_also_among_objects() -> None:
    class Silent(BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
        def predict(self, rows: Any) -> Any:
            return np.array([math.nan] * len(rows), dtype=object)

    with pytest.raises(Tier0Error):
        golden_rows(Silent(), X[:5])


@pytest.mark.parametrize("dtype", ["int64", "float32", "object"])
def test_predictions_in_a_column_are_one_a_row(dtype: str) -> None:
    class OneColumn(BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
        def predict(self, rows: Any) -> Any:
            return np.asarray(rows, dtype=float)[:, [0]].round().astype(dtype)

    golden = golden_rows(OneColumn(), X[:5])

    assert golden.predictions[:5] == X[:5, 0].round().tolist()
    assert golden.dtypes == {"predictions": dtype}


def test_bounds_are_widened_one_by_one_and_in_each_field() -> None:
    inner = Tolerance(absolute=0.5)

    assert Spread(1.0, 0.1, 3.0).widened(Spread(0.5, 0.2, 2.0)) == Spread(1.0, 0.2, 3.0)
    assert Spread(repeated=1.0).widened(Spread(repeated=2.0)) == Spread(repeated=2.0)
    assert Tolerance(0.1, 0.2, {"a": inner}).widened(relative=0.3, absolute=0.1) == Tolerance(
        0.3, 0.2, {"a": Tolerance(0.3, 0.5)}
    )
    assert Tolerance(fields={"a": inner}).widened(absolute=0.6).of("a") == Tolerance(absolute=0.6)
    assert inner.widened(absolute=0.7).widened(absolute=0.6) == Tolerance(absolute=0.7)


def test_the_fields_of_objects_in_nested_lists_are_found() -> None:
    assert fields_in([[{"a": 1}, [{"a": 2}]], {"a": 3, "b": 4}, 5]) == {"a": [1, 2, 3], "b": [4]}
    assert largest_magnitude([{"a": -3.0}, [{"b": 2.0}]]) == 3.0


def test_each_field_of_objects_has_its_own_difference() -> None:
    first = [{"a": 1.0, "b": [{"c": 10.0}]}, {"a": 2.0}]
    second = [{"b": [{"c": 8.0}], "a": 0.5}, {"a": 2.0}]

    assert spreads_between("p", first, second) == {
        "p": Spread(2.0, 0.5),
        "p.a": Spread(0.5, 0.5),
        "p.b": Spread(2.0, 0.2),
        "p.b.c": Spread(2.0, 0.2),
    }


@pytest.mark.parametrize(
    ("first", "second"),
    [([{"a": 1.0}, {"a": 2.0}], [{"a": 1.0}, {"b": 2.0}]), ([{"a": 1.0}], 5), (5, [{"a": 1.0}])],
)
def test_fields_that_do_not_belong_together_are_not_compared(first: Any, second: Any) -> None:
    assert spreads_between("p", first, second) == {"p": NO_SPREAD}


def test_an_object_and_a_list_have_no_difference_that_is_a_number() -> None:
    assert spread_between({"a": 1.0}, [2.0]) == spread_between([2.0], {"a": 1.0}) == NO_SPREAD
    assert spread_between({"a": 1.0}, {}) == NO_SPREAD


def test_each_field_of_objects_has_the_tolerance_of_its_own_numbers() -> None:
    golden = GoldenRows(
        ["x"],
        [[1.0]] * 2,
        [{"a": 100.0, "b": {"c": 1e-3}}, {"a": 50.0, "b": {"c": -2e-3}}],
        None,
        [],
        dtypes={"predictions.a": "float32"},
        spreads={"predictions.a": Spread(1e-3), "predictions.b.c": Spread(1e-9)},
    )

    for where in (HERE_OTHERWISE, ELSEWHERE, {"same_arithmetic": True, "same_batch": True}):
        tolerance = golden.tolerance("predictions", **where)

        assert replace(tolerance, fields={}) == tolerance_for(None, None, 100.0, **where)
        assert tolerance.of("a") == tolerance_for("float32", Spread(1e-3), 100.0, **where)
        assert tolerance.of("b").of("c") == tolerance_for(None, Spread(1e-9), 2e-3, **where)
