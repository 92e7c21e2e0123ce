"""A user's own training function, which replaces steps 4 and 5: its result is validated and measured."""

from __future__ import annotations

import time
import traceback
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tier0.core.errors import DatasetError, Tier0Error
from tier0.core.events import TrainingDone
from tier0.golden.prediction import estimator_of
from tier0.pipeline.data import Dataset
from tier0.pipeline.evaluation import Predictions, evaluate
from tier0.pipeline.metrics import minority_class, require_useful
from tier0.pipeline.training import MAX_EXAMPLES, Training, card_facts

if TYPE_CHECKING:
    from collections.abc import Callable

    from tier0.core.event_log import EventLog

EXPECTED = "return (fitted estimator, held-out features, held-out target)"
MIN_ROWS = 2


@dataclass(frozen=True)
class UserTraining:
    """Result of a training function.

    Attributes:
        model: the fitted estimator.
        dataset: the held-out rows, which were not used for training.
    """

    model: Any
    dataset: Dataset


def call_user_training(function: Callable[[], Any], name: str) -> UserTraining:
    """Call a training function, and validate its result.

    Args:
        function: takes no arguments, and returns ``(fitted estimator, held-out features, held-out target)``.
            The features are a DataFrame or a numeric array of shape (rows, features), in the form that the
            estimator accepts; the target has shape (rows,).
        name: ``module:function``, for messages and for the model's name.

    Raises:
        Tier0Error: the function raised, or returned something else.
        DatasetError: the held-out rows cannot be used.
    """
    if not callable(function):
        raise Tier0Error(
            f"--pipeline {name} is not a function but an object of type {type(function).__name__}"
        )
    try:
        returned = function()
    except (Exception, SystemExit) as problem:
        where = traceback.extract_tb(problem.__traceback__)[-1]
        raise Tier0Error(
            f"the training function {name} raised {type(problem).__name__}: {problem} ({where.filename}, "
            f"line {where.lineno})"
        ) from problem
    if not isinstance(returned, tuple) or len(returned) != 3:  # see `EXPECTED`
        what = f"a value of type {type(returned).__name__}"
        if isinstance(returned, tuple):
            what = f"a tuple of {len(returned)}"
        raise Tier0Error(f"the training function {name} must {EXPECTED}, but returned {what}")
    model, features, target = returned
    if not callable(getattr(model, "predict", None)) or not hasattr(model, "__sklearn_tags__"):
        raise Tier0Error(
            f"the training function {name} must {EXPECTED}, but its first value has the type "
            f"{type(model).__name__}, which is not an estimator (sklearn.base.BaseEstimator). Put "
            "preprocessing and estimator in one sklearn.pipeline.Pipeline"
        )
    dataset_name = name.partition(":")[2].lower().strip("_") or "own"
    try:
        return UserTraining(model, _as_dataset(model, features, target, dataset_name))
    except DatasetError as problem:
        raise DatasetError(
            f"the training function {name} returned held-out rows that cannot be used: {problem}"
        ) from problem


def _as_dataset(model: Any, features: Any, target: Any, name: str) -> Dataset:
    import pandas as pd  # noqa: PLC0415

    if isinstance(features, pd.DataFrame):
        features = features.reset_index(drop=True)
        names = [str(column) for column in features.columns]
    else:
        features = np.asarray(features)
        if features.ndim != 2 or features.dtype.kind not in "fiub":
            raise DatasetError(
                "features must be a DataFrame, or a numeric array of shape (rows, features), got shape "
                f"{features.shape} and dtype {features.dtype}"
            )
        names = [f"x{number}" for number in range(features.shape[1])]
    values = np.asarray(target)
    if values.ndim != 1 or len(values) != len(features):
        raise DatasetError(
            f"the target must have shape ({len(features)},), one value per row of the features, got "
            f"{values.shape}"
        )
    if len(values) < MIN_ROWS:
        raise DatasetError(f"at least {MIN_ROWS} rows are needed, got {len(values)}")
    if missing := int(pd.isna(values).sum()):
        raise DatasetError(f"the target is missing in {missing} of {len(values)} rows")
    target_name = str(getattr(target, "name", None) or "target")
    if target_name in names:
        target_name = "held-out target"
    classes = getattr(model, "classes_", None)
    if classes is None:
        return Dataset(name, features, names, values, target_name, "regression")
    present = set(values.tolist())
    if absent := [label for label in np.asarray(classes).tolist() if label not in present]:
        raise DatasetError(f"no row has the model's class {absent[0]!r}: hold out rows of every class")
    return Dataset(name, features, names, values, target_name, "classification")


def measure_user_model(model: Any, dataset: Dataset, seed: int, events: EventLog) -> Training:
    """Measure a user's fitted model on the held-out rows.

    Raises:
        UselessModelError: the model is not worth serving.
    """
    start = time.perf_counter()
    algorithm = type(estimator_of(model)).__name__
    minority = minority_class(dataset.target) if dataset.task == "classification" else None
    rows = np.arange(len(dataset))
    evaluation = evaluate(Predictions.of(dataset, rows, model, None, minority), seed)
    metrics = evaluation.metrics
    note = require_useful(metrics, evaluation.chance, f"{algorithm} of {dataset.name}")
    done = TrainingDone(
        metrics=metrics,
        spread=evaluation.spread,
        evaluation=evaluation.details(),
        threshold=None,
        seconds=time.perf_counter() - start,
        **card_facts(dataset, algorithm, {"test": len(rows)}),
    )
    numbers = ", ".join(f"{name} {value:.3f}" for name, value in metrics.items())
    events.emit(
        done, f"step 5 training: {algorithm}, trained by your own function: {numbers} on its held-out rows"
    )
    return Training(
        model=model,
        algorithm=algorithm,
        parameters={},
        score=None,
        metric=None,
        trials=0,
        threshold=None,
        evaluation=evaluation,
        note=note,
        minority=minority.item() if isinstance(minority, np.generic) else minority,
        rows={"test": len(rows)},
        examples=dataset.take(rows[:MAX_EXAMPLES])[0],
        names=dataset.names,
        dataset=dataset.name,
        target=dataset.target_name,
        task=dataset.task,
        seed=seed,
    )
