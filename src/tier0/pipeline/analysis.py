"""Step 6: what the model goes by, and whether one feature alone gives the target away."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from threadpoolctl import threadpool_limits

from tier0.pipeline.labels import LabelledClassifier
from tier0.pipeline.selection import scoring_of

if TYPE_CHECKING:
    import pandas as pd

    from tier0.pipeline.data import Dataset

REPEATS = 5
MAX_ROWS = 2000
"""Of the test part, for the importances: their spread says whether more would be needed."""
EXPLAINED_ROWS = 200
GIVES_AWAY = {"classification": 0.99, "regression": 0.99}
"""AUC-ROC, or R², of a shallow tree on one feature alone, from which it is suspected to hold the answer."""
DEPTH = 3
"""Rows that a class must have to be divided."""


@dataclass(frozen=True)
class Importance:
    """How much the model goes by one feature.

    Attributes:
        feature: its name.
        mean: by how much the score on the test part falls when the feature's values are shuffled (Breiman 2001), mean of the repeats.
        spread: standard deviation over the repeats.
        alone: score of a shallow tree that knows nothing but this feature, on the test part.
        shap: mean absolute SHAP value (Lundberg and Lee 2017), summed over what becomes of the feature; None where SHAP is not installed,
            or does not know the model.
    """

    feature: str
    mean: float
    spread: float
    alone: float
    shap: float | None


@dataclass(frozen=True)
class Analysis:
    """What the model goes by.

    Attributes:
        importances: the most important feature first.
        metric: what falls.
        rows: of the test part that were asked about.
        warnings: features that alone give the target away, in sentences.
    """

    importances: tuple[Importance, ...]
    metric: str
    rows: int
    warnings: tuple[str, ...]


def analyse(dataset: Dataset, parts: dict[str, np.ndarray[Any, Any]], model: Any, seed: int) -> Analysis:
    """Ask the fitted *model* about the test part, which neither its training nor its tuning has seen."""
    from sklearn.inspection import permutation_importance  # noqa: PLC0415
    from sklearn.metrics import get_scorer  # noqa: PLC0415
    from sklearn.model_selection import train_test_split  # noqa: PLC0415

    scoring, metric = scoring_of(dataset)
    if dataset.task == "classification" and not hasattr(model, "predict_proba"):
        scoring, metric = "accuracy", "accuracy"
    rows = parts["test"]
    if len(rows) > MAX_ROWS:  # in the same proportions: a score needs every class
        is_divisible = (
            dataset.task == "classification"
            and np.unique(dataset.target[rows], return_counts=True)[1].min() >= 2
        )
        stratify = dataset.target[rows] if is_divisible else None
        rows = np.sort(train_test_split(rows, train_size=MAX_ROWS, random_state=seed, stratify=stratify)[0])
    features, target = dataset.take(rows)
    with threadpool_limits(limits=1), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fall = permutation_importance(
            model,
            features,
            target,
            scoring=get_scorer(scoring),
            n_repeats=REPEATS,
            random_state=seed,
            n_jobs=1,
        )
        shap = _shap(model, features, dataset.names)
        frame = dataset.frame()
        alone = [_alone(dataset, parts, frame[name], scoring) for name in dataset.names]
    importances = [
        Importance(
            name,
            float(fall.importances_mean[number]),
            float(fall.importances_std[number]),
            alone[number],
            shap.get(name),
        )
        for number, name in enumerate(dataset.names)
    ]
    importances.sort(key=lambda one: -one.mean)
    told = tuple(
        f"{one.feature!r} alone gives {metric} {one.alone:.3f} on rows never seen: see whether it is known before {dataset.target_name!r} is"
        for one in importances
        if one.alone >= GIVES_AWAY[dataset.task]
    )
    return Analysis(tuple(importances), metric, len(rows), told)


def _alone(
    dataset: Dataset, parts: dict[str, np.ndarray[Any, Any]], column: pd.Series[Any], scoring: str
) -> float:
    """Return the score of a shallow tree on one feature, its categories numbered by their mean target in the training part."""
    import pandas as pd  # noqa: PLC0415
    from sklearn.metrics import get_scorer  # noqa: PLC0415
    from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor  # noqa: PLC0415

    target, test = dataset.target, parts["test"]
    train = parts.get("train", test[::2])  # of a model that was trained elsewhere, only these rows are known
    test = test if "train" in parts else test[1::2]
    if getattr(column.dtype, "kind", "O") in "fiub":
        values = column.to_numpy(dtype=float, na_value=np.nan)
    else:
        outcome = target if dataset.task == "regression" else np.unique(target, return_inverse=True)[1]
        text = column.astype(str)
        means = pd.Series(outcome[train]).groupby(text.iloc[train].to_numpy()).mean()
        values = text.map(means).to_numpy(dtype=float)
    kind = DecisionTreeRegressor if dataset.task == "regression" else DecisionTreeClassifier
    tree = kind(max_depth=DEPTH, random_state=0).fit(values[train, None], target[train])
    return float(get_scorer(scoring)(tree, values[test, None], target[test]))


def _shap(model: Any, features: Any, names: list[str]) -> dict[str, float]:
    """Return the mean absolute SHAP value of each feature; nothing where SHAP is not installed or does not know the estimator."""
    try:
        import shap  # noqa: PLC0415 - an optional extra, and seconds to import
    except ImportError:
        return {}
    steps, estimator = (model[:-1], model[-1]) if hasattr(model, "steps") else (None, model)
    estimator = estimator.estimator if isinstance(estimator, LabelledClassifier) else estimator
    try:
        matrix = steps.transform(features[:EXPLAINED_ROWS]) if steps else features[:EXPLAINED_ROWS]
        matrix = np.asarray(matrix.todense() if hasattr(matrix, "todense") else matrix, dtype=float)
        explainer = (
            shap.LinearExplainer(estimator, matrix)
            if hasattr(estimator, "coef_")
            else shap.TreeExplainer(estimator)
        )
        values = np.abs(np.asarray(explainer.shap_values(matrix)))
        columns = [str(name) for name in steps.get_feature_names_out(names)] if steps else names
    except Exception:  # noqa: BLE001 - which estimators it knows differs from version to version
        return {}
    axis = values.shape.index(matrix.shape[1], 1 if values.ndim == 2 else 0)
    each = values.mean(axis=tuple(other for other in range(values.ndim) if other != axis))
    sums = dict.fromkeys(names, 0.0)
    for column, value in zip(columns, each, strict=True):
        plain = column.partition("__")[2] or column
        origin = max(
            (name for name in names if plain == name or plain.startswith(f"{name}_")), key=len, default=None
        )
        if origin is not None:
            sums[origin] += float(value)
    return sums
