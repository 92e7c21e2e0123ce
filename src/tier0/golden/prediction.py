"""Predictions of a model: the one place where a model's output becomes labels and probabilities.

The training process uses it on the model in memory, and the worker on the model from the store.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from types import FunctionType, ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from tier0.core.errors import Tier0Error
from tier0.golden.predictors import by_row_if_by_output, count_of
from tier0.golden.returned import as_array, as_rows, float_dtypes, is_list_per_output, joined_outputs

if TYPE_CHECKING:
    from tier0.golden.signature import Signature

MAX_PARTS = 200_000
ATOMS = (str, bytes, int, float, complex, bool, type(None), np.generic)


@dataclass(frozen=True)
class Output:
    """Output of a model for some rows, as JSON types.

    Attributes:
        predictions: one label (classification) or number (regression) per row, or a list of them for a model
            with several outputs; None where the model returned None.
        probabilities: for each row, one number per class in the order of the signature's classes; for a model
            with several outputs, one number or one list of numbers per output; None if the model has none.
        intervals: for each row, the lower and the upper bound of its prediction; None if the model has none.
        dtypes: dtypes of the arrays that the model returned, by part.
    """

    predictions: list[Any]
    probabilities: list[list[Any]] | None
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
"""Classifiers that, with one output, predict the first class with the highest ``predict_proba``."""


def compute_output(model: Any, signature: Signature, container: Any, *, once: bool = False) -> Output:
    """Return the output of *model* for the rows in *container* (see `Signature.to_container`).

    Args:
        model: model with scikit-learn's interface.
        signature: signature of the model.
        container: rows, in the model's container.
        once: derive the labels from the probabilities instead of calling ``predict``; only for models for
            which `labels_follow` returns True.

    Raises:
        Tier0Error: the output has another number of rows or another shape, or a value that JSON cannot
            represent.
    """
    with in_calling_thread():
        return _compute_output(model, signature, container, once=once)


def in_calling_thread() -> AbstractContextManager[Any]:
    """Return a context in which scikit-learn ignores every ``n_jobs``, also of estimators within others.

    With several threads, the last bits of a sum depend on the order in which they finish. The model itself
    is not changed.
    """
    joblib = sys.modules.get("joblib")
    return nullcontext() if joblib is None else joblib.parallel_config(backend="sequential")


def _compute_output(model: Any, signature: Signature, container: Any, *, once: bool) -> Output:
    rows = count_of(container)
    dtypes: dict[str, np.dtype[Any]] = {}
    probabilities = intervals = None
    if signature.has_probabilities:
        probabilities, dtypes["probabilities"] = _probabilities(
            model.predict_proba(container), signature, rows
        )
    if probabilities is not None and signature.threshold is not None:
        second = np.asarray(probabilities, dtype=dtypes["probabilities"])[:, 1]
        predictions = [
            signature.classes[index] for index in (second >= signature.threshold).astype(int).tolist()
        ]
    elif probabilities is not None and once:
        chosen = np.asarray(probabilities).argmax(axis=1).tolist()
        predictions = [signature.classes[index] for index in chosen]
    else:
        returned = by_row_if_by_output(model.predict(container), rows)
        predictions, dtypes["predictions"] = _predictions(returned, signature, rows)
        if isinstance(returned, list) or any(isinstance(output, (dict, list)) for output in predictions):
            dtypes |= float_dtypes("predictions", returned)
    if signature.has_intervals:
        bounds = np.asarray(model.predict_interval(container))
        dtypes["intervals"] = bounds.dtype
        intervals = bounds.astype(float)
        _validate_intervals(predictions, intervals)
    return Output(predictions, probabilities, None if intervals is None else intervals.tolist(), dtypes)


def predicted_array(returned: Any, rows: int) -> Any:
    """Return what ``predict`` returned as an array with one entry per row.

    Raises:
        Tier0Error: it has another number of rows.
    """
    predicted = as_array(returned)
    if predicted.ndim == 0:
        raise Tier0Error(
            f"the model's predict returned {type(returned).__name__}, expected an array with one "
            "prediction per row"
        )
    if len(predicted) != rows:
        raise Tier0Error(f"the model returned {len(predicted)} predictions for {rows} rows")
    return predicted


def has_several_outputs(predicted: Any) -> bool:
    """Return whether *predicted* (see `predicted_array`) has a list per row instead of a single value."""
    if predicted.ndim == 1:
        return predicted.dtype.kind == "O" and any(
            isinstance(row, (list, tuple, np.ndarray)) for row in predicted
        )
    return bool(predicted.size != len(predicted))


def _predictions(returned: Any, signature: Signature, rows: int) -> tuple[list[Any], np.dtype[Any]]:
    predicted = predicted_array(returned, rows)
    if signature.has_several_outputs != has_several_outputs(predicted) and predicted.ndim == 1:
        expected = "a list of values" if signature.has_several_outputs else "one value"
        raise Tier0Error(
            f"the model returned predictions of shape {predicted.shape}, expected {expected} per row"
        )
    if not signature.has_several_outputs:  # CatBoost and Keras return one value per row in shape (rows, 1)
        if predicted.size != rows:
            raise Tier0Error(f"the model returned predictions of shape {predicted.shape}, expected ({rows},)")
        predicted = predicted.reshape(rows)
    return as_rows(predicted, "prediction"), predicted.dtype


def _probabilities(returned: Any, signature: Signature, rows: int) -> tuple[list[Any], np.dtype[Any]]:
    if signature.has_several_outputs and is_list_per_output(returned, len(signature.classes), rows):
        values = joined_outputs(returned, "probability")
        return values, np.result_type(*(as_array(part) for part in returned))
    if is_list_per_output(returned, 1, rows):  # a classifier for several outputs, fitted with one
        returned = returned[0]
    array = as_array(returned)
    expected = (rows, len(signature.classes))
    if array.shape != expected:
        or_else = " or one array per output" if signature.has_several_outputs else ""
        raise Tier0Error(
            f"the model's predict_proba returned shape {array.shape}, expected {expected}{or_else}. Wrap the "
            "model in an estimator that returns one column per class, or none at all"
        )
    return as_rows(array, "probability"), array.dtype


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


def use_one_thread(model: Any) -> None:
    """Set every ``n_jobs`` of *model*, a model of this process, and of the estimators within it to 1.

    It is needed beside `in_calling_thread`, since libraries for gradient boosting start threads of their own.
    """
    for part in parts_of(model):
        if "n_jobs" in vars(part):
            vars(part)["n_jobs"] = 1
        if type(part).__name__ == "Booster" and hasattr(part, "set_param"):
            part.set_param({"nthread": 1})


@contextmanager
def with_one_job(model: Any) -> Iterator[None]:
    """Set every ``n_jobs`` within *model*, which belongs to the user, to 1, and then back to its value."""
    jobs = [(vars(part), vars(part)["n_jobs"]) for part in parts_of(model) if "n_jobs" in vars(part)]
    for attributes, _ in jobs:
        attributes["n_jobs"] = 1
    try:
        yield
    finally:
        for attributes, value in jobs:
            attributes["n_jobs"] = value


def parts_of(model: Any) -> Iterator[Any]:
    """Yield *model* and the objects within it, outer ones first, at most `MAX_PARTS`.

    They are found in attributes, lists, tuples, sets, dicts and arrays of objects, as meta-estimators hold
    what they fitted.
    """
    waiting = deque([model])
    seen = {id(model)}
    for _ in range(MAX_PARTS):
        if not waiting:
            return
        part = waiting.popleft()
        inner: list[Any] = []
        if isinstance(part, Mapping):
            inner += part.values()
        elif isinstance(part, (list, tuple, set, frozenset, deque)):
            inner += part
        elif isinstance(part, np.ndarray):
            inner += part.ravel().tolist() if part.dtype.kind == "O" else []
        if hasattr(part, "__dict__") and not isinstance(part, (type, ModuleType, FunctionType)):
            yield part
            inner += vars(part).values()
        for item in inner:
            if id(item) not in seen and not isinstance(item, ATOMS):
                seen.add(id(item))
                waiting.append(item)


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
