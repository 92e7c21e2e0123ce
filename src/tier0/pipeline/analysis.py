"""Step 6: feature importances of the model, and features that may leak the target."""

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
"""Limit of test rows for the importances; their spread shows whether more rows are needed."""
EXPLAINED_ROWS = 200
"""Limit of test rows for the SHAP values."""
LEAK_SCORES = {"classification": 0.99, "regression": 0.99}
"""Score (AUC-ROC, or R²) of a shallow tree on one feature from which the feature may leak the target."""
DEPTH = 3
"""Depth of that tree."""


@dataclass(frozen=True)
class Importance:
    """Importance of one feature for the model.

    Attributes:
        feature: name of the feature.
        mean: decrease of the score on the test part when the feature's values are shuffled (Breiman 2001),
            mean of the repeats.
        spread: standard deviation over the repeats.
        alone: score on the test part of a shallow tree trained on this feature alone.
        shap: mean absolute SHAP value (Lundberg and Lee 2017), summed over the columns that preprocessing
            makes of the feature; None if SHAP is not installed, or does not support the model.
    """

    feature: str
    mean: float
    spread: float
    alone: float
    shap: float | None


@dataclass(frozen=True)
class Analysis:
    """Feature importances of a model.

    Attributes:
        importances: the features, the most important first.
        metric: the score whose decrease is measured.
        rows: number of test rows used.
        warnings: one sentence for each feature that may leak the target.
    """

    importances: tuple[Importance, ...]
    metric: str
    rows: int
    warnings: tuple[str, ...]


def analyse(dataset: Dataset, parts: dict[str, np.ndarray[Any, Any]], model: Any, seed: int) -> Analysis:
    """Measure the importances of a fitted model's features on the test part.

    Args:
        dataset: the data.
        parts: part name to row indices; without ``train``, half of the test part trains the trees of single
            features.
        model: the fitted model, neither trained nor tuned on the test part.
        seed: seed of the sample and the shuffles.
    """
    from sklearn.inspection import permutation_importance  # noqa: PLC0415
    from sklearn.metrics import get_scorer  # noqa: PLC0415
    from sklearn.model_selection import train_test_split  # noqa: PLC0415

    scoring, metric = scoring_of(dataset)
    if dataset.task == "classification" and not hasattr(model, "predict_proba"):
        scoring, metric = "accuracy", "accuracy"
    rows = parts["test"]
    if len(rows) > MAX_ROWS:
        stratify = None
        if (
            dataset.task == "classification"
        ):  # the score needs every class; stratifying needs two rows of each
            target = dataset.target[rows]
            stratify = target if np.unique(target, return_counts=True)[1].min() >= 2 else None
        rows = np.sort(train_test_split(rows, train_size=MAX_ROWS, random_state=seed, stratify=stratify)[0])
    features, target = dataset.take(rows)
    with threadpool_limits(limits=1), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        decrease = permutation_importance(
            model,
            features,
            target,
            scoring=get_scorer(scoring),
            n_repeats=REPEATS,
            random_state=seed,
            n_jobs=1,
        )
        shap = _shap_values(model, features, dataset.names)
        frame = dataset.frame()
        alone = [_score_alone(dataset, parts, frame[name], scoring) for name in dataset.names]
    importances = [
        Importance(
            name,
            float(decrease.importances_mean[number]),
            float(decrease.importances_std[number]),
            alone[number],
            shap.get(name),
        )
        for number, name in enumerate(dataset.names)
    ]
    importances.sort(key=lambda importance: -importance.mean)
    leaks = tuple(
        f"{importance.feature!r} alone reaches {metric} {importance.alone:.3f} on unseen rows: check that "
        "its "
        f"value is known before {dataset.target_name!r} is"
        for importance in importances
        if importance.alone >= LEAK_SCORES[dataset.task]
    )
    return Analysis(tuple(importances), metric, len(rows), leaks)


def _score_alone(
    dataset: Dataset, parts: dict[str, np.ndarray[Any, Any]], column: pd.Series[Any], scoring: str
) -> float:
    """Return the score of a shallow tree on one feature.

    Categories are encoded by their mean target in the training part.
    """
    import pandas as pd  # noqa: PLC0415
    from sklearn.metrics import get_scorer  # noqa: PLC0415
    from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor  # noqa: PLC0415

    target, test = dataset.target, parts["test"]
    train = parts.get("train", test[::2])  # the training rows of a user's own training are not known
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


def _shap_values(model: Any, features: Any, names: list[str]) -> dict[str, float]:
    """Return the mean absolute SHAP value of each feature; empty if SHAP is missing, or fails."""
    try:
        import shap  # noqa: PLC0415 - an optional extra, and seconds to import
    except ImportError:
        return {}
    steps, estimator = (model[:-1], model[-1]) if hasattr(model, "steps") else (None, model)
    estimator = estimator.estimator if isinstance(estimator, LabelledClassifier) else estimator
    try:
        matrix = steps.transform(features[:EXPLAINED_ROWS]) if steps else features[:EXPLAINED_ROWS]
        matrix = np.asarray(matrix.todense() if hasattr(matrix, "todense") else matrix, dtype=float)
        if hasattr(estimator, "coef_"):
            explainer = shap.LinearExplainer(estimator, matrix)
        else:
            explainer = shap.TreeExplainer(estimator)
        values = np.abs(np.asarray(explainer.shap_values(matrix)))
        columns = [str(name) for name in steps.get_feature_names_out(names)] if steps else names
    except Exception:  # noqa: BLE001 - the supported estimators differ between versions of SHAP
        return {}
    axis = values.shape.index(matrix.shape[1], 1 if values.ndim == 2 else 0)
    each = values.mean(axis=tuple(other for other in range(values.ndim) if other != axis))
    sums = dict.fromkeys(names, 0.0)
    for column, value in zip(columns, each, strict=True):
        plain = column.partition("__")[2] or column
        origins = [name for name in names if plain == name or plain.startswith(f"{name}_")]
        origin = max(origins, key=len, default=None)
        if origin is not None:
            sums[origin] += float(value)
    return sums
