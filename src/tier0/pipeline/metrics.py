"""Metrics on data that the model has never seen, and the choice of a decision threshold."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tier0.core.errors import UselessModelError

MIN_AUC = 0.55
MIN_RECALL = 0.10
MIN_R2 = 0.0
RESAMPLES = 40
MEANINGS = {
    "auc_roc": "how often a row of a class gets a higher probability of it than another row; 0.5 is chance",
    "average_precision": "precision of a class over all thresholds; by chance its share of the rows",
    "brier": "mean squared error of the probabilities; less is better",
    "accuracy": "share of the rows that get their label",
    "recall_minority": "share of the rarest class' rows that are found",
    "precision_minority": "share that is right of what is called the rarest class",
    "r2": "share of the target's variance that is explained; 0 is no better than its mean",
    "mae": "mean absolute error, in units of the target; less is better",
    "rmse": "root of the mean squared error, in units of the target; less is better",
}
"""What each metric says, for people."""


def minority_class(target: np.ndarray[Any, Any]) -> Any:
    """Return the label with the fewest rows; the later one in sorted order where two are equal."""
    labels, counts = np.unique(target, return_counts=True)
    return labels[len(labels) - 1 - int(np.argmin(counts[::-1]))]


def choose_threshold(
    target: np.ndarray[Any, Any],
    probabilities: np.ndarray[Any, Any],
    classes: np.ndarray[Any, Any],
    minority: Any,
) -> float:
    """Choose the probability of ``classes[1]`` from which it is predicted, so that F1 of the minority class is highest.

    Args:
        target: labels of the validation part, shape (rows,).
        probabilities: of ``classes[1]``, shape (rows,).
        classes: the two labels.
        minority: one of them.

    Returns:
        A midpoint between two neighbouring probabilities, so that no row of the validation part sits on the threshold. Of
        equally good ones, the nearest to 0.5.
    """
    values, index = np.unique(probabilities, return_inverse=True)
    if len(values) == 1:
        return 0.5
    candidates = (values[1:] + values[:-1]) / 2
    is_minority = target == minority
    rows_below = np.cumsum(np.bincount(index, minlength=len(values)))[:-1]  # of each candidate
    minority_below = np.cumsum(np.bincount(index, weights=is_minority, minlength=len(values)))[:-1]
    if minority == classes[1]:
        hits, says_minority = is_minority.sum() - minority_below, len(target) - rows_below
    else:
        hits, says_minority = minority_below, rows_below
    f1 = 2 * hits / (says_minority + is_minority.sum())
    best = candidates[f1 == f1.max()]
    return float(best[np.argmin(np.abs(best - 0.5))])


def classification_metrics(
    target: np.ndarray[Any, Any],
    predictions: list[Any],
    probabilities: np.ndarray[Any, Any] | None,
    classes: np.ndarray[Any, Any],
    minority: Any,
) -> dict[str, float]:
    """Measure a classifier.

    Args:
        target: true labels, shape (rows,).
        predictions: predicted labels.
        probabilities: shape (rows, classes); None where the classifier gives none: then what needs them is left out.
        classes: the labels, in the order of the columns.
        minority: the label whose recall and precision are told.

    Returns:
        ``auc_roc`` and ``average_precision`` (of the minority class for two classes; the mean over one class against the rest for
        more), ``brier`` (two classes: Brier 1950 halved, as scikit-learn has it; more: the sum over classes, as Brier has it),
        ``accuracy``, ``recall_minority`` and ``precision_minority``.
    """
    from sklearn.metrics import (  # noqa: PLC0415
        accuracy_score,
        average_precision_score,
        precision_score,
        recall_score,
        roc_auc_score,
    )

    label = {"labels": [minority], "average": "macro", "zero_division": 0.0}
    of_labels = {
        "accuracy": float(accuracy_score(target, predictions)),
        "recall_minority": float(recall_score(target, predictions, **label)),
        "precision_minority": float(precision_score(target, predictions, **label)),
    }
    if probabilities is None:
        return of_labels
    one_hot = (target[:, None] == classes[None, :]).astype(float)
    squared = ((probabilities - one_hot) ** 2).sum(axis=1).mean()
    if len(classes) == 2:
        column = int(np.flatnonzero(classes == minority)[0])
        auc = roc_auc_score(one_hot[:, column], probabilities[:, column])
        average_precision = average_precision_score(one_hot[:, column], probabilities[:, column])
        brier = squared / 2
    else:
        auc = roc_auc_score(one_hot, probabilities, average="macro")
        average_precision = average_precision_score(one_hot, probabilities, average="macro")
        brier = squared
    return {
        "auc_roc": float(auc),
        "average_precision": float(average_precision),
        "brier": float(brier),
        **of_labels,
    }


def spread_of(
    measure: Callable[[np.ndarray[Any, Any]], dict[str, float]],
    strata: np.ndarray[Any, Any] | None,
    rows: int,
    seed: int,
) -> dict[str, float]:
    """Return how much each metric would vary with other test rows: its standard deviation over bootstrap samples (Efron 1979).

    Args:
        measure: gives the metrics of the rows at the indices that it is called with.
        strata: labels, each of which keeps its number of rows, shape (rows,); None for regression.
        rows: how many there are.
        seed: of the draw.
    """
    rng = np.random.default_rng(seed)
    parts = (
        [np.arange(rows)]
        if strata is None
        else [np.flatnonzero(strata == label) for label in np.unique(strata)]
    )
    measured = [
        measure(np.concatenate([rng.choice(part, len(part)) for part in parts])) for _ in range(RESAMPLES)
    ]
    return {name: float(np.std([one[name] for one in measured], ddof=1)) for name in measured[0]}


def regression_metrics(target: np.ndarray[Any, Any], predictions: list[float]) -> dict[str, float]:
    """Measure a regressor: ``r2``, and ``mae`` and ``rmse`` in units of the target."""
    from sklearn.metrics import mean_absolute_error, mean_squared_error, r2_score  # noqa: PLC0415

    return {
        "r2": float(r2_score(target, predictions)),
        "mae": float(mean_absolute_error(target, predictions)),
        "rmse": float(np.sqrt(mean_squared_error(target, predictions))),
    }


def refuse_useless(metrics: dict[str, float], what: str) -> None:
    """Fail on a model that is not worth serving.

    Raises:
        UselessModelError: AUC-ROC under 0.55, recall of the minority class under 10 %, or R² under 0; with all the numbers.
    """
    limits = {"auc_roc": MIN_AUC, "recall_minority": MIN_RECALL, "r2": MIN_R2}
    reasons = [
        f"{name} is {metrics[name]:.3f}, under {limit:g}"
        for name, limit in limits.items()
        if name in metrics and not metrics[name] >= limit
    ]
    if reasons:
        numbers = ", ".join(f"{name} {value:.3f}" for name, value in metrics.items())
        raise UselessModelError(
            f"{what} is useless on the test part: {'; '.join(reasons)} ({numbers}). Check the target and the features."
        )
