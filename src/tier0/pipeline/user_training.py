"""A training of the user's own in the place of selection and training: what its function returns is looked at, and measured."""

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
from tier0.pipeline.metrics import minority_class, refuse_useless
from tier0.pipeline.training import MAX_EXAMPLES, Training, described, measure

if TYPE_CHECKING:
    from collections.abc import Callable

    from tier0.core.event_log import EventLog

WANTED = "return (fitted estimator, held-out features, held-out target)"
MIN_ROWS = 2


@dataclass(frozen=True)
class UserTraining:
    """What a training function returned.

    Attributes:
        model: the fitted estimator.
        dataset: rows that it has not seen.
    """

    model: Any
    dataset: Dataset


def call_user_training(function: Callable[[], Any], named: str) -> UserTraining:
    """Call a training function, and look at what it returns.

    Args:
        function: takes nothing, and returns ``(fitted estimator, held-out features, held-out target)``. Features are a DataFrame or a
            numeric array of shape (rows, features), just as the estimator takes them; the target has shape (rows,).
        named: ``module:function``, for messages and for the name of the model.

    Raises:
        Tier0Error: it raised, or returned something else.
        DatasetError: the held-out rows cannot be measured on.
    """
    if not callable(function):
        raise Tier0Error(f"pipeline = {named!r} is a {type(function).__name__}, and no function that trains")
    try:
        returned = function()
    except (Exception, SystemExit) as problem:
        where = traceback.extract_tb(problem.__traceback__)[-1]
        raise Tier0Error(
            f"pipeline = {named!r} raised {type(problem).__name__}: {problem} ({where.filename}, line {where.lineno})"
        ) from problem
    if not isinstance(returned, tuple) or len(returned) != 3:  # see `WANTED`
        what = (
            f"a tuple of {len(returned)}" if isinstance(returned, tuple) else f"a {type(returned).__name__}"
        )
        raise Tier0Error(f"pipeline = {named!r} returned {what}: {WANTED}")
    model, features, target = returned
    if not callable(getattr(model, "predict", None)) or not hasattr(model, "__sklearn_tags__"):
        raise Tier0Error(
            f"pipeline = {named!r} returned a {type(model).__name__} as its model, which has not the interface of scikit-learn's estimators "
            f"(sklearn.base.BaseEstimator): {WANTED}, with the preprocessing and the estimator in one sklearn.pipeline.Pipeline"
        )
    try:
        return UserTraining(
            model, _as_dataset(model, features, target, named.partition(":")[2].lower().strip("_") or "own")
        )
    except DatasetError as problem:
        raise DatasetError(
            f"pipeline = {named!r} returned held-out rows that cannot be used: {problem}"
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
                f"features of shape {features.shape} and dtype {features.dtype}: give a DataFrame, or numbers of shape (rows, features)"
            )
        names = [f"x{number}" for number in range(features.shape[1])]
    values = np.asarray(target)
    if values.ndim != 1 or len(values) != len(features):
        raise DatasetError(
            f"the target has shape {values.shape}, and the features have {len(features)} rows: give one value a row"
        )
    if len(values) < MIN_ROWS:
        raise DatasetError(f"{len(values)} rows prove nothing: hold out more")
    if missing := int(pd.isna(values).sum()):
        raise DatasetError(f"the target is missing in {missing} of {len(values)} rows")
    classes = getattr(model, "classes_", None)
    if classes is not None and (
        unseen := [label for label in np.asarray(classes).tolist() if label not in set(values.tolist())]
    ):
        raise DatasetError(
            f"no row has the class {unseen[0]!r} that the model knows: hold out rows of every class"
        )
    target_name = str(getattr(target, "name", None) or "target")
    if target_name in names:
        target_name = "held-out target"
    return Dataset(
        name, features, names, values, target_name, "regression" if classes is None else "classification"
    )


def measure_user_model(model: Any, dataset: Dataset, seed: int, events: EventLog) -> Training:
    """Measure a fitted model on rows that it has not seen.

    Raises:
        UselessModelError: the model is not worth serving.
    """
    start = time.perf_counter()
    algorithm = type(estimator_of(model)).__name__
    minority = minority_class(dataset.target) if dataset.task == "classification" else None
    rows = np.arange(len(dataset))
    metrics, spread = measure(dataset, rows, model, None, minority, seed)
    refuse_useless(metrics, f"{algorithm} of {dataset.name}")
    done = TrainingDone(
        metrics=metrics,
        spread=spread,
        threshold=None,
        seconds=time.perf_counter() - start,
        **described(dataset, algorithm, {"test": len(rows)}),
    )
    numbers = ", ".join(f"{name} {value:.3f}" for name, value in metrics.items())
    events.emit(
        done,
        f"step 5 training: {algorithm}, trained by your own function: {numbers} on the rows that it held out",
    )
    return Training(
        model=model,
        algorithm=algorithm,
        parameters={},
        score=None,
        metric=None,
        trials=0,
        threshold=None,
        metrics=metrics,
        spread=spread,
        minority=minority.item() if isinstance(minority, np.generic) else minority,
        rows={"test": len(rows)},
        examples=dataset.take(rows[:MAX_EXAMPLES])[0],
        names=dataset.names,
        dataset=dataset.name,
        target=dataset.target_name,
        task=dataset.task,
        seed=seed,
    )
