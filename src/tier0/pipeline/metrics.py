"""Metrics on unseen data, and the choice of a decision threshold."""

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
    "auc_roc": "probability that a row of the class is ranked above another row; 0.5 is chance",
    "average_precision": "precision averaged over all thresholds; chance is the share of the class",
    "brier": "mean squared error of the probabilities; lower is better",
    "accuracy": "share of rows with the correct label",
    "recall_minority": "share of the rarest class's rows that are predicted as such",
    "precision_minority": "share of rows predicted as the rarest class that belong to it",
    "r2": "share of the target's variance that is explained; 0 is as good as predicting the mean",
    "mae": "mean absolute error, in units of the target; lower is better",
    "rmse": "root mean squared error, in units of the target; lower is better",
}
"""Explanation of each metric, for reports."""


def minority_class(target: np.ndarray[Any, Any]) -> Any:
    """Return the label with the fewest rows; of several, the last one in sorted order."""
    labels, counts = np.unique(target, return_counts=True)
    return labels[len(labels) - 1 - int(np.argmin(counts[::-1]))]


def choose_threshold(
    target: np.ndarray[Any, Any],
    probabilities: np.ndarray[Any, Any],
    classes: np.ndarray[Any, Any],
    minority: Any,
) -> float:
    """Choose the decision threshold with the highest F1 score of the minority class.

    Args:
        target: labels of the validation part, shape (rows,).
        probabilities: probabilities of ``classes[1]``, shape (rows,).
        classes: the two labels.
        minority: the minority class, one of the two.

    Returns:
        The minimum probability at which ``classes[1]`` is predicted. It is a midpoint between two
        neighbouring probabilities, so that no row of the validation part is at the threshold; of equally good
        ones, the nearest to 0.5.
    """
    values, index = np.unique(probabilities, return_inverse=True)
    if len(values) == 1:
        return 0.5
    candidates = (values[1:] + values[:-1]) / 2
    is_minority = target == minority
    rows_below = np.cumsum(np.bincount(index, minlength=len(values)))[:-1]  # of each candidate
    minority_below = np.cumsum(np.bincount(index, weights=is_minority, minlength=len(values)))[:-1]
    if minority == classes[1]:
        hits, predicted = is_minority.sum() - minority_below, len(target) - rows_below
    else:
        hits, predicted = minority_below, rows_below
    f1 = 2 * hits / (predicted + is_minority.sum())
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
        probabilities: shape (rows, classes); None for a classifier without probabilities, whose result then
            lacks the metrics that need them.
        classes: the labels, in the order of the columns.
        minority: the label whose recall and precision are measured.

    Returns:
        ``auc_roc`` and ``average_precision`` (for two classes, of the minority class; for more, the mean over
        one class against the rest), ``brier`` (for two classes, half of the score of Brier 1950, as in
        scikit-learn; for more, the sum over classes, as in Brier), ``accuracy``, ``recall_minority`` and
        ``precision_minority``.
    """
    from sklearn.metrics import (  # noqa: PLC0415
        accuracy_score,
        average_precision_score,
        precision_score,
        recall_score,
        roc_auc_score,
    )

    label = {"labels": [minority], "average": "macro", "zero_division": 0.0}
    label_metrics = {
        "accuracy": float(accuracy_score(target, predictions)),
        "recall_minority": float(recall_score(target, predictions, **label)),
        "precision_minority": float(precision_score(target, predictions, **label)),
    }
    if probabilities is None:
        return label_metrics
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
        **label_metrics,
    }


def bootstrap_spread(
    measure: Callable[[np.ndarray[Any, Any]], dict[str, float]],
    strata: np.ndarray[Any, Any] | None,
    rows: int,
    seed: int,
) -> dict[str, float]:
    """Return the standard deviation of each metric over bootstrap samples of the test rows (Efron 1979).

    Args:
        measure: function that returns the metrics of the rows at given indices.
        strata: labels, each of which keeps its number of rows, shape (rows,); None for regression.
        rows: number of rows.
        seed: seed of the samples.
    """
    rng = np.random.default_rng(seed)
    strata = np.zeros(rows) if strata is None else strata
    parts = [np.flatnonzero(strata == label) for label in np.unique(strata)]
    samples = (np.concatenate([rng.choice(part, len(part)) for part in parts]) for _ in range(RESAMPLES))
    measured = [measure(sample) for sample in samples]
    return {name: float(np.std([each[name] for each in measured], ddof=1)) for name in measured[0]}


def regression_metrics(target: np.ndarray[Any, Any], predictions: list[float]) -> dict[str, float]:
    """Measure a regressor: ``r2``, and ``mae`` and ``rmse`` in units of the target."""
    from sklearn.metrics import mean_absolute_error, mean_squared_error, r2_score  # noqa: PLC0415

    return {
        "r2": float(r2_score(target, predictions)),
        "mae": float(mean_absolute_error(target, predictions)),
        "rmse": float(np.sqrt(mean_squared_error(target, predictions))),
    }


def require_useful(metrics: dict[str, float], what: str) -> None:
    """Check that a model is better than chance.

    Args:
        metrics: metrics on the test part.
        what: description of the model, for the message.

    Raises:
        UselessModelError: AUC-ROC is below 0.55, recall of the minority class below 10 %, or R² below 0; the
            message contains all metrics.
    """
    limits = {"auc_roc": MIN_AUC, "recall_minority": MIN_RECALL, "r2": MIN_R2}
    reasons = [
        f"{name} is {metrics[name]:.3f}, below Tier0's minimum of {limit:g}"
        for name, limit in limits.items()
        if name in metrics and not metrics[name] >= limit
    ]
    if reasons:
        numbers = ", ".join(f"{name} {value:.3f}" for name, value in metrics.items())
        raise UselessModelError(
            f"{what} is not worth serving: on the test part, {'; '.join(reasons)} ({numbers}). Check the "
            "target and the features."
        )
