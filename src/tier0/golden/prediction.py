"""Predictions of a model: the one place where a model's output becomes labels and probabilities.

The training process uses it on the model in memory, and the worker on the model from the store.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from tier0.core.errors import Tier0Error

if TYPE_CHECKING:
    from tier0.golden.signature import Signature


@dataclass(frozen=True)
class Output:
    """Output of a model for some rows, as JSON types.

    Attributes:
        predictions: one label (classification) or number (regression) per row; None where the model returned
            None.
        probabilities: for each row, one number per class in the order of the signature's classes; None if the
            model has none.
        intervals: for each row, the lower and the upper bound of its prediction; None if the model has none.
        dtypes: dtypes of the arrays that the model returned, by part.
    """

    predictions: list[Any]
    probabilities: list[list[float]] | None
    intervals: list[list[float]] | None = None
    dtypes: Mapping[str, np.dtype[Any]] = field(default_factory=dict)

    def part(self, first: int, end: int) -> Output:
        """Return the output for the rows from *first* up to, but not including, *end*, without dtypes."""
        probabilities, intervals = self.probabilities, self.intervals
        return Output(
            self.predictions[first:end],
            None if probabilities is None else probabilities[first:end],
            None if intervals is None else intervals[first:end],
        )


LABELS_ARE_THE_MOST_PROBABLE = {
    "XGBClassifier",
    "LGBMClassifier",
    "RandomForestClassifier",
    "ExtraTreesClassifier",
    "DecisionTreeClassifier",
    "HistGradientBoostingClassifier",
}
"""Classifiers whose ``predict`` returns the first class with the highest ``predict_proba``."""


def compute_output(model: Any, signature: Signature, container: Any, *, once: bool = False) -> Output:
    """Return the output of *model* for the rows in *container* (see `Signature.to_container`).

    Args:
        model: model with scikit-learn's interface.
        signature: signature of the model.
        container: rows, in the model's container.
        once: derive the labels from the probabilities instead of calling ``predict``; only for models for
            which `labels_follow` returns True.

    Raises:
        Tier0Error: the output has another number of rows, or a number that is not finite.
    """
    dtypes: dict[str, np.dtype[Any]] = {}
    probabilities = np.asarray(model.predict_proba(container)) if signature.has_probabilities else None
    if probabilities is not None:
        dtypes["probabilities"] = probabilities.dtype
    if signature.threshold is not None and probabilities is not None:
        chosen = (probabilities[:, 1] >= signature.threshold).astype(int)
        predictions = [signature.classes[index] for index in chosen.tolist()]
    elif once and probabilities is not None:
        predictions = [signature.classes[index] for index in probabilities.argmax(axis=1).tolist()]
    else:
        predicted = _one_per_row(np.asarray(model.predict(container)))
        dtypes["predictions"] = predicted.dtype
        predictions = predicted.tolist()
    _validate_predictions(predictions, container.shape[0])
    if probabilities is not None:
        _validate_probabilities(probabilities, (container.shape[0], len(signature.classes)))
    intervals = None
    if signature.has_intervals:
        bounds = np.asarray(model.predict_interval(container))
        dtypes["intervals"] = bounds.dtype
        intervals = bounds.astype(float)
        _validate_intervals(predictions, intervals)
    return Output(
        predictions,
        None if probabilities is None else probabilities.tolist(),
        None if intervals is None else intervals.tolist(),
        dtypes,
    )


def _one_per_row(predicted: Any) -> Any:
    """Return predictions of shape (rows,), also for CatBoost and Keras models that return shape (rows, 1)."""
    return predicted[:, 0] if predicted.ndim == 2 and predicted.shape[1] == 1 else predicted


def labels_follow(model: Any) -> bool:
    """Return whether *model* by definition predicts the most probable labels, so that one call is enough."""
    packages = {type(part).__module__.partition(".")[0] for part in (model, estimator_of(model))}
    return type(estimator_of(model)).__name__ in LABELS_ARE_THE_MOST_PROBABLE and packages <= {
        "sklearn",
        "xgboost",
        "lightgbm",
        "tier0",
    }


def package_of(model: Any) -> str:
    """Return the name of the package that defines the estimator of *model* (see `estimator_of`)."""
    return type(estimator_of(model)).__module__.partition(".")[0]


def estimator_of(model: Any) -> Any:
    """Return the estimator itself: the last step of a pipeline, or the content of one of Tier0's wrappers."""
    estimator = model.steps[-1][1] if hasattr(model, "steps") else model
    return estimator_of(estimator.estimator) if type(estimator).__module__.startswith("tier0.") else estimator


def use_one_thread(model: Any) -> dict[str, Any]:
    """Set every ``n_jobs`` of *model* to 1, and return the old values.

    With several threads, the last bit of a sum depends on the order in which they finish.
    """
    parameters = model.get_params(deep=True) if hasattr(model, "get_params") else {}
    jobs = {name: value for name, value in parameters.items() if name.rpartition("__")[2] == "n_jobs"}
    if jobs:
        model.set_params(**dict.fromkeys(jobs, 1))
    return jobs


def _validate_predictions(predictions: list[Any], rows: int) -> None:
    if len(predictions) != rows:
        raise Tier0Error(f"the model returned {len(predictions)} predictions for {rows} rows")
    if float not in set(map(type, predictions)):
        return
    if any(isinstance(value, float) and not math.isfinite(value) for value in predictions):
        raise Tier0Error("the model predicted a number that is not finite")


def _validate_probabilities(probabilities: Any, expected: tuple[int, int]) -> None:
    if probabilities.shape != expected:
        raise Tier0Error(
            f"the model returned probabilities of shape {probabilities.shape}, expected {expected}"
        )
    if not np.isfinite(probabilities).all():
        raise Tier0Error("the model returned a probability that is not finite")


def _validate_intervals(predictions: list[Any], intervals: Any) -> None:
    expected = (len(predictions), 2)
    if intervals.shape != expected:
        raise Tier0Error(
            f"the model returned intervals of shape {intervals.shape}, expected {expected} (lower, upper)"
        )
    if not np.isfinite(intervals).all():
        raise Tier0Error("the model returned a bound that is not finite")
    for row, (prediction, (lower, upper)) in enumerate(zip(predictions, intervals.tolist(), strict=True)):
        if prediction is not None and not lower <= prediction <= upper:
            raise Tier0Error(
                f"the model's prediction for row {row}, {prediction!r}, is outside its interval, "
                f"{lower!r} to {upper!r}"
            )
