"""Step 6: feature importances of the model."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from threadpoolctl import threadpool_limits

from tier0.golden.prediction import package_of
from tier0.pipeline.labels import LabelledClassifier
from tier0.pipeline.metrics import auc_roc, regression_metrics
from tier0.pipeline.selection import sample, scoring_of

if TYPE_CHECKING:
    from tier0.pipeline.data import Dataset

REPEATS = 5
MAX_ROWS = 2000
"""Limit of test rows for the importances; their spread shows whether more rows are needed."""
EXPLAINED_ROWS = 200
"""Limit of test rows for the SHAP values."""
ALONE_ROWS = 10_000
"""Limit of the training rows for the trees on single features."""
DEPTH = 3
"""Depth of the tree on a single feature."""


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
            makes of the feature; None if neither the model's package nor SHAP computes them.
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
    """

    importances: tuple[Importance, ...]
    metric: str
    rows: int


def analyse(dataset: Dataset, parts: dict[str, np.ndarray[Any, Any]], model: Any, seed: int) -> Analysis:
    """Measure the importances of a fitted model's features on the test part.

    Args:
        dataset: the data.
        parts: part name to row indices; without ``train``, half of the test part trains the trees of single
            features.
        model: the fitted model, neither trained nor tuned on the test part.
        seed: seed of the sample and the shuffles.
    """
    from sklearn.model_selection import train_test_split  # noqa: PLC0415

    _, metric = scoring_of(dataset)
    if dataset.task == "classification" and not hasattr(model, "predict_proba"):
        metric = "accuracy"
    rows = parts["test"]
    if len(rows) > MAX_ROWS:
        stratify = None
        if (
            dataset.task == "classification"
        ):  # the score needs every class; stratifying needs two rows of each
            codes = dataset.classes.codes[rows]
            stratify = codes if np.bincount(codes, minlength=2).min() >= 2 else None
        rows = np.sort(train_test_split(rows, train_size=MAX_ROWS, random_state=seed, stratify=stratify)[0])
    features, target = dataset.take(rows)
    with threadpool_limits(limits=1), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        decreases = _decreases(model, features, target, metric, seed)
        shap = _shap_values(model, features, dataset.names)
        alone = _scores_alone(dataset, parts.get("train"), rows, metric, seed)
    importances = [
        Importance(name, float(decrease.mean()), float(decrease.std()), alone[number], shap.get(name))
        for number, (name, decrease) in enumerate(zip(dataset.names, decreases, strict=True))
    ]
    importances.sort(key=lambda importance: -importance.mean)
    return Analysis(tuple(importances), metric, len(rows))


def _decreases(
    model: Any, features: Any, target: np.ndarray[Any, Any], metric: str, seed: int
) -> np.ndarray[Any, Any]:
    """Return the decrease of the score for each feature and repeat; all repeats are predicted at once."""
    count = len(target)
    rng = np.random.default_rng(seed)
    shuffled = np.concatenate([rng.permutation(count) for _ in range(REPEATS)])
    in_order = np.tile(np.arange(count), REPEATS)
    is_frame = hasattr(features, "iloc")
    whole = _score(model, features, target, metric)
    decreases = np.zeros((features.shape[1], REPEATS))
    for number in range(features.shape[1]):
        rows = features.iloc[in_order].reset_index(drop=True) if is_frame else features[in_order]
        if is_frame:
            rows.isetitem(number, features.iloc[shuffled, number].array)
        else:
            rows[:, number] = features[shuffled, number]
        output = _output(model, rows, metric)
        scores = [
            _score_output(model, output[count * repeat :][:count], target, metric)
            for repeat in range(REPEATS)
        ]
        decreases[number] = whole - np.array(scores)
    return decreases


def _score(model: Any, features: Any, target: np.ndarray[Any, Any], metric: str) -> float:
    return _score_output(model, _output(model, features, metric), target, metric)


def _output(model: Any, features: Any, metric: str) -> np.ndarray[Any, Any]:
    """Return the predictions from which the score is computed: probabilities, labels or numbers."""
    predict = model.predict if metric in {"accuracy", "R²"} else model.predict_proba
    return np.asarray(predict(features))


def _score_output(
    model: Any, output: np.ndarray[Any, Any], target: np.ndarray[Any, Any], metric: str
) -> float:
    if metric == "accuracy":
        return float(np.mean(np.ravel(output) == target))
    if metric == "R²":
        return regression_metrics(target, output)["r2"]
    return auc_roc(target, output, np.asarray(model.classes_))


def _scores_alone(
    dataset: Dataset,
    train: np.ndarray[Any, Any] | None,
    test: np.ndarray[Any, Any],
    metric: str,
    seed: int,
) -> list[float]:
    """Return the score of a shallow tree on each feature alone.

    Categories are encoded by their mean target in the rows of the training.
    """
    import pandas as pd  # noqa: PLC0415
    from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor  # noqa: PLC0415

    kind = DecisionTreeRegressor if dataset.task == "regression" else DecisionTreeClassifier
    if train is None:  # the training rows of a user's own training are not known
        train, test = test[::2], test[1::2]
    rows = np.concatenate([sample(dataset, train, ALONE_ROWS, seed), test])
    fitted = len(rows) - len(test)
    features, _ = dataset.take(rows)
    target = (dataset.target if dataset.task == "regression" else dataset.classes.codes)[rows]
    scores = []
    for number in range(len(dataset.names)):
        column = features.iloc[:, number] if hasattr(features, "iloc") else pd.Series(features[:, number])
        if getattr(column.dtype, "kind", "O") in "fiub":
            values = column.to_numpy(dtype=float, na_value=np.nan)
        else:
            text = column.astype(str)
            means = pd.Series(target[:fitted]).groupby(text.iloc[:fitted].to_numpy()).mean()
            values = text.map(means).to_numpy(dtype=float)
        tree = kind(max_depth=DEPTH, random_state=0).fit(values[:fitted, None], target[:fitted])
        scores.append(_score(tree, values[fitted:, None], target[fitted:], metric))
    return scores


def _shap_values(model: Any, features: Any, names: list[str]) -> dict[str, float]:
    """Return the mean absolute SHAP value of each feature; empty if nothing computes them for the model."""
    steps, estimator = (model[:-1], model[-1]) if hasattr(model, "steps") else (None, model)
    estimator = estimator.estimator if isinstance(estimator, LabelledClassifier) else estimator
    explained = features[:: -(-len(features) // EXPLAINED_ROWS)]  # files may be sorted by the target
    try:
        matrix = steps.transform(explained) if steps else explained
        matrix = np.asarray(matrix.todense() if hasattr(matrix, "todense") else matrix, dtype=float)
        values = np.abs(_values_of_columns(estimator, matrix))
        columns = [str(name) for name in steps.get_feature_names_out(names)] if steps else names
    except Exception:  # noqa: BLE001 - SHAP may be missing, and versions support different estimators
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


def _values_of_columns(estimator: Any, matrix: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return SHAP values, one axis of which is the columns of *matrix*.

    The formula of a linear model, XGBoost and LightGBM compute them without the package shap, whose import
    takes seconds.

    Raises:
        ImportError: the estimator needs the package, which is an optional extra.
    """
    if hasattr(estimator, "coef_"):
        return np.stack([(matrix - matrix.mean(axis=0)) * row for row in np.atleast_2d(estimator.coef_)])
    package = package_of(estimator)
    if package == "lightgbm":
        flat = np.asarray(estimator.predict(matrix, pred_contrib=True))
        return flat.reshape(len(matrix), -1, matrix.shape[1] + 1)[:, :, :-1]
    if package == "xgboost":
        from xgboost import DMatrix  # noqa: PLC0415

        return np.asarray(estimator.get_booster().predict(DMatrix(matrix), pred_contribs=True))[..., :-1]
    import shap  # noqa: PLC0415

    return np.asarray(shap.TreeExplainer(estimator).shap_values(matrix))
