"""Asking a model: the one place where a model's output becomes labels and probabilities.

Both sides use it: the training process on the model in memory, the worker on the model from the store.
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
    """A model's answer to some rows, as JSON types.

    Attributes:
        predictions: one label (classification) or number (regression) a row; None where the model gave None.
        probabilities: for each row one number a class, in the order of the signature's classes; None without them.
        intervals: for each row the lower and the upper bound of its prediction; None without them.
        dtypes: of the arrays that the model returned, for the parts that came from one.
    """

    predictions: list[Any]
    probabilities: list[list[float]] | None
    intervals: list[list[float]] | None = None
    dtypes: Mapping[str, np.dtype[Any]] = field(default_factory=dict)

    def part(self, first: int, end: int) -> Output:
        """Return the answer to the rows from *first* to before *end*, without dtypes."""
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
"""Classifiers whose ``predict`` is, in their own code, the class with the highest of ``predict_proba``, the first of equal ones."""


def ask_model(model: Any, signature: Signature, container: Any, *, once: bool = False) -> Output:
    """Ask *model* about the rows in *container* (see `Signature.to_container`).

    Args:
        model: that answers.
        signature: what it takes and gives.
        container: the rows.
        once: take the labels from the probabilities, where `labels_follow` says that the model would do the same.

    Raises:
        Tier0Error: the model's output is not an answer: it has another number of rows, or a number that is not finite.
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
        predicted = _one_a_row(np.asarray(model.predict(container)))
        dtypes["predictions"] = predicted.dtype
        predictions = predicted.tolist()
    _refuse_no_answer(predictions, probabilities, container.shape[0], len(signature.classes))
    intervals = None
    if signature.has_intervals:
        bounds = np.asarray(model.predict_interval(container))
        dtypes["intervals"] = bounds.dtype
        intervals = bounds.astype(float)
        _refuse_no_interval(predictions, intervals)
    return Output(
        predictions,
        None if probabilities is None else probabilities.tolist(),
        None if intervals is None else intervals.tolist(),
        dtypes,
    )


def _one_a_row(predicted: Any) -> Any:
    """Return one value a row, also for models such as CatBoost's and Keras's that return a column of shape (rows, 1)."""
    return predicted[:, 0] if predicted.ndim == 2 and predicted.shape[1] == 1 else predicted


def labels_follow(model: Any) -> bool:
    """Tell whether the labels of *model* are by its own definition the most probable ones, so that it need not be asked twice."""
    packages = {type(part).__module__.partition(".")[0] for part in (model, estimator_of(model))}
    return type(estimator_of(model)).__name__ in LABELS_ARE_THE_MOST_PROBABLE and packages <= {
        "sklearn",
        "xgboost",
        "lightgbm",
        "tier0",
    }


def package_of(model: Any) -> str:
    """Return the package that an estimator comes from: of the last step of a pipeline, and of what a wrapper of ours wraps."""
    return type(estimator_of(model)).__module__.partition(".")[0]


def estimator_of(model: Any) -> Any:
    """Return the estimator itself: the last step of a pipeline, and what a wrapper of ours wraps."""
    estimator = model.steps[-1][1] if hasattr(model, "steps") else model
    return estimator_of(estimator.estimator) if type(estimator).__module__.startswith("tier0.") else estimator


def use_one_thread(model: Any) -> dict[str, Any]:
    """Set every ``n_jobs`` of *model* to 1, and return what they were: the order in which threads add up a sum decides its last bit."""
    parameters = model.get_params(deep=True) if hasattr(model, "get_params") else {}
    jobs = {name: value for name, value in parameters.items() if name.rpartition("__")[2] == "n_jobs"}
    if jobs:
        model.set_params(**dict.fromkeys(jobs, 1))
    return jobs


def _refuse_no_answer(predictions: list[Any], probabilities: Any, rows: int, classes: int) -> None:
    if len(predictions) != rows:
        raise Tier0Error(f"the model gave {len(predictions)} predictions for {rows} rows")
    if float in set(map(type, predictions)) and any(
        isinstance(value, float) and not math.isfinite(value) for value in predictions
    ):
        raise Tier0Error("the model predicted a number that is not finite")
    if probabilities is None:
        return
    if probabilities.ndim != 2 or probabilities.shape != (rows, classes):
        raise Tier0Error(
            f"the model gave probabilities of shape {probabilities.shape} for {rows} rows and {classes} classes"
        )
    if not np.isfinite(probabilities).all():
        raise Tier0Error("the model gave a probability that is not finite")


def _refuse_no_interval(predictions: list[Any], intervals: Any) -> None:
    if intervals.shape != (len(predictions), 2):
        raise Tier0Error(
            f"the model gave intervals of shape {intervals.shape} for {len(predictions)} rows: give (rows, 2), lower and upper"
        )
    if not np.isfinite(intervals).all():
        raise Tier0Error("the model gave a bound that is not finite")
    for row, (prediction, (lower, upper)) in enumerate(zip(predictions, intervals.tolist(), strict=True)):
        if prediction is not None and not lower <= prediction <= upper:
            raise Tier0Error(
                f"the model predicted {prediction!r} for row {row}, which is not within its interval, {lower!r} to {upper!r}"
            )
