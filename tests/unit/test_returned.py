"""What models return becomes JSON types without a change, or is refused by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_matrix
from sklearn.base import BaseEstimator
from sklearn.ensemble import BaggingRegressor, RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.multioutput import MultiOutputClassifier
from sklearn.neighbors import KNeighborsClassifier
from xgboost import XGBClassifier

from tier0.core.errors import RegistrationError
from tier0.golden.capture import golden_rows
from tier0.golden.prediction import parts_of, use_one_thread

RNG = np.random.default_rng(0)
X = RNG.normal(size=(40, 2))
FIRST = X[:, 0]
SIGN = (FIRST > 0).astype(int)


class Returns(BaseEstimator):  # type: ignore[misc]
    """A model whose predictions are made by a function of the first column."""

    def __init__(self, make: Callable[[Any], Any]) -> None:
        self.make = make

    def predict(self, rows: Any) -> Any:
        return self.make(np.asarray(rows)[:, 0])


RETURNED: dict[str, tuple[Callable[[Any], Any], Callable[[float], Any]]] = {
    "float16": (lambda x: x.astype("float16"), lambda x: float(np.float16(x))),
    "float32": (lambda x: x.astype("float32"), lambda x: float(np.float32(x))),
    "longdouble": (lambda x: x.astype(np.longdouble), float),
    "booleans": (lambda x: x > 0, lambda x: x > 0),
    "one_column": (lambda x: x[:, None], float),
    "list": (list, float),
    "series": (pd.Series, float),
    "nullable_integers": (lambda x: pd.Series(x > 0).astype("Int64"), lambda x: int(x > 0)),
    "objects_of_numpy": (
        lambda x: np.array([np.int64(2) if value > 0 else None for value in x], dtype=object),
        lambda x: 2 if x > 0 else None,
    ),
    "two_columns": (lambda x: np.column_stack([x, -x]), lambda x: [x, -x]),
    "frame": (lambda x: pd.DataFrame({"a": x, "b": -x}), lambda x: [x, -x]),
    "sparse": (lambda x: csr_matrix(np.column_stack([x > 0, x < 0]).astype(int)), lambda x: [x > 0, x < 0]),
    "lists_of_tags": (lambda x: [["a"] if value > 0 else ["a", "b"] for value in x], lambda x: ["a", "b"][:
    2 - (x > 0)]),
}  # fmt: skip


@pytest.mark.parametrize("name", RETURNED)
def test_predictions_are_json_types_with_the_values_of_the_model(name: str) -> None:
    make, expected = RETURNED[name]

    golden = golden_rows(Returns(make), X[:12]).examples

    assert golden.predictions == [expected(x) for x in FIRST[:12].tolist()]
    assert golden.compare({"predictions": golden.predictions}) is None


UNREPRESENTABLE: dict[str, Callable[[Any], Any]] = {
    "dates": lambda x: np.full(len(x), np.datetime64("2026-01-01")),
    "bytes": lambda x: np.full(len(x), b"a"),
    "complex": lambda x: x + 1j,
    "sets": lambda x: [{1} for _ in x],
    "not_finite": lambda x: x * np.nan,
    "not_finite_in_a_list": lambda x: np.column_stack([x, x * np.inf]),
    "large_integers": lambda x: np.array([2**70] * len(x), dtype=object),
    "fewer_rows": lambda x: x[:3],
    "a_number": lambda _: 3,
    "nothing": lambda _: None,
    "an_error": lambda _: 1 / 0,
}


@pytest.mark.parametrize("name", UNREPRESENTABLE)
def test_what_json_cannot_represent_is_refused(name: str) -> None:
    with pytest.raises(RegistrationError):
        golden_rows(Returns(UNREPRESENTABLE[name]), X[:12])


def test_labels_that_json_cannot_represent_are_refused() -> None:
    dates = np.array(["2026-01-01", "2026-02-01"], dtype="datetime64[D]")[SIGN]

    with pytest.raises(RegistrationError, match="datetime64"):
        golden_rows(KNeighborsClassifier().fit(X, dates), X[:6])


def test_probabilities_that_cannot_be_called_for_are_none() -> None:
    class WithoutProbabilities(LogisticRegression):  # type: ignore[misc]
        def predict_proba(self, _: Any) -> Any:
            raise NotImplementedError

    assert golden_rows(WithoutProbabilities().fit(X, SIGN), X[:6]).probabilities is None


def test_outputs_have_a_list_of_labels_and_of_probabilities_each() -> None:
    labels = np.column_stack([SIGN, np.digitize(X[:, 1], [-0.5, 0.5])])
    model = MultiOutputClassifier(LogisticRegression()).fit(X, labels)

    golden = golden_rows(model, X[:6]).examples

    assert golden.classes == [[0, 1], [0, 1, 2]]
    assert golden.predictions == model.predict(X[:6]).tolist()
    first, second = model.predict_proba(X[:6])
    assert golden.probabilities == [list(row) for row in zip(first.tolist(), second.tolist(), strict=True)]


def test_an_indicator_of_labels_has_two_values_per_output() -> None:
    labels = (X > 0).astype(int)

    golden = golden_rows(XGBClassifier(n_estimators=2).fit(X, labels), X[:6]).examples

    assert golden.classes == [[0, 1], [0, 1]]
    assert all(len(row) == 2 for row in golden.predictions)
    assert golden.has_several_outputs


def test_a_single_output_in_two_dimensions_is_a_single_output() -> None:
    model = MultiOutputClassifier(LogisticRegression()).fit(X, SIGN[:, None])

    golden = golden_rows(model, X[:6]).examples

    assert golden.classes == [0, 1]
    assert golden.probabilities == model.predict_proba(X[:6])[0].tolist()
    assert not golden.has_several_outputs


def test_a_threshold_is_refused_for_two_outputs() -> None:
    model = MultiOutputClassifier(LogisticRegression()).fit(X, np.column_stack([SIGN, 1 - SIGN]))

    with pytest.raises(RegistrationError, match="2 outputs"):
        golden_rows(model, X[:6], threshold=0.4)


class Noisy(LinearRegression):  # type: ignore[misc]
    def predict(self, rows: Any) -> Any:
        return super().predict(rows) + RNG.normal(size=len(rows)) * self.noise_


@pytest.mark.parametrize("noise", [0.1, 1e-4])
def test_a_model_that_differs_from_itself_is_refused_for_that(noise: float) -> None:
    model = Noisy().fit(X, FIRST)
    model.noise_ = noise

    with pytest.raises(RegistrationError, match=r"differs from itself.*largest difference") as refusal:
        golden_rows(model, X[:12])

    assert "dtype" not in str(refusal.value)


def test_rounding_errors_of_a_model_that_differs_from_itself_are_measured() -> None:
    model = Noisy().fit(X, FIRST)
    model.noise_ = 1e-13

    golden = golden_rows(model, X[:12])

    assert golden.spreads["predictions"].repeated > 0
    assert golden.tolerance("predictions", same_arithmetic=True, same_batch=True).absolute > 0


def test_every_estimator_within_a_model_gets_one_thread_and_its_own_number_back() -> None:
    forest = RandomForestClassifier(2, n_jobs=3).fit(X, SIGN)
    members: dict[str, Any] = {
        "a": [forest],
        "b": (LogisticRegression(), np.array([forest, None], dtype=object)),
    }
    model = BaggingRegressor(LinearRegression(n_jobs=2), 2, random_state=0).fit(X, FIRST)
    model.n_jobs = 2
    model.members_ = members
    members["a"].append(members)  # a part can contain its owner

    golden_rows(model, X[:6])

    assert (model.n_jobs, forest.n_jobs, model.estimators_[0].n_jobs) == (2, 3, 2)
    use_one_thread(model)
    assert {part.n_jobs for part in parts_of(model) if hasattr(part, "n_jobs")} <= {1, None}
    assert (model.n_jobs, forest.n_jobs, model.estimators_[0].n_jobs) == (1, 1, 1)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", ">f8"])
def test_the_order_of_memory_is_no_difference(order: Any, dtype: str) -> None:
    model = LogisticRegression().fit(X, SIGN)
    examples = np.asarray(np.repeat(X, 2, axis=0).astype(dtype), order=order)[:20:2]
    examples.setflags(write=False)

    golden = golden_rows(model, examples)

    assert golden.rows[:10] == examples.tolist()
    assert golden.examples.predictions == model.predict(examples.astype(float)).tolist()
