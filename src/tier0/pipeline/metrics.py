"""Metrics on unseen data, and the choice of a decision threshold."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from tier0.core.errors import UselessModelError

RESAMPLES = 40
FEW_ROWS = 30
"""Number of test rows below which a bootstrap says nothing about how much a metric varies."""
MIN_PROBABILITY = 1e-15
MEANINGS = {
    "auc_roc": "probability that a row of the class is ranked above another row; 0.5 is chance",
    "average_precision": "precision averaged over all thresholds; chance is the share of the class",
    "brier": "mean squared error of the probabilities; lower is better",
    "log_loss": "mean negative logarithm of the true class's probability; lower is better",
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
    predictions: Any,
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
        scikit-learn; for more, the sum over classes, as in Brier), ``log_loss``, ``accuracy``,
        ``recall_minority`` and ``precision_minority``.
    """
    predicted = np.ravel(predictions)
    hits = int(np.sum((target == minority) & (predicted == minority)))
    of_minority, as_minority = int(np.sum(target == minority)), int(np.sum(predicted == minority))
    label_metrics = {
        "accuracy": float(np.mean(target == predicted)),
        "recall_minority": hits / of_minority if of_minority else 0.0,
        "precision_minority": hits / as_minority if as_minority else 0.0,
    }
    if probabilities is None:
        return label_metrics
    if not np.isfinite(probabilities).all():
        raise ValueError("the model's probabilities contain NaN or infinity")
    one_hot = (target[:, None] == classes[None, :]).astype(float)
    of_true_class = np.clip((probabilities * one_hot).sum(axis=1), MIN_PROBABILITY, 1)
    squared = ((probabilities - one_hot) ** 2).sum(axis=1).mean()
    auc, average_precision = _ranking_metrics(one_hot, probabilities, classes, minority)
    return {
        "auc_roc": auc,
        "average_precision": average_precision,
        "brier": float(squared / 2 if len(classes) == 2 else squared),
        "log_loss": float(-np.log(of_true_class).mean()),
        **label_metrics,
    }


def auc_roc(
    target: np.ndarray[Any, Any], probabilities: np.ndarray[Any, Any], classes: np.ndarray[Any, Any]
) -> float:
    """Return AUC-ROC alone: for more than two classes, the mean over one class against the rest."""
    return _ranking_metrics(target[:, None] == classes[None, :], probabilities, classes, classes[-1])[0]


def _ranking_metrics(
    one_hot: np.ndarray[Any, Any],
    probabilities: np.ndarray[Any, Any],
    classes: np.ndarray[Any, Any],
    minority: Any,
) -> tuple[float, float]:
    """Return AUC-ROC and average precision: for two classes, of the minority class; for more, the mean."""
    measured = np.arange(len(classes)) if len(classes) > 2 else np.flatnonzero(classes == minority)[:1]
    rankings = [_metrics_of_ranking(one_hot[:, column], probabilities[:, column]) for column in measured]
    auc, average_precision = np.mean(rankings, axis=0)
    return float(auc), float(average_precision)


def _metrics_of_ranking(is_hit: np.ndarray[Any, Any], scores: np.ndarray[Any, Any]) -> tuple[float, float]:
    """Return AUC-ROC and average precision, as scikit-learn does, which takes ten times as long.

    Without a hit, AUC-ROC is NaN and average precision is 0; without a miss, AUC-ROC is NaN.
    """
    order = np.argsort(-scores, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(scores[order])), len(scores) - 1)  # the last of equal scores
    hits = np.concatenate([[0.0], np.cumsum(is_hit[order])[ends]])
    misses = np.concatenate([[0.0], ends + 1.0]) - hits
    if not hits[-1]:
        return np.nan, 0.0
    precision = hits[1:] / (hits[1:] + misses[1:])
    average_precision = float((np.diff(hits) * precision).sum() / hits[-1])
    if not misses[-1]:
        return np.nan, average_precision
    area = (np.diff(misses) * (hits[1:] + hits[:-1])).sum() / 2
    return float(area / hits[-1] / misses[-1]), average_precision


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


def regression_metrics(target: np.ndarray[Any, Any], predictions: Any) -> dict[str, float]:
    """Measure a regressor: ``r2``, and ``mae`` and ``rmse`` in units of the target."""
    from sklearn.metrics import mean_absolute_error, mean_squared_error, r2_score  # noqa: PLC0415

    return {
        "r2": float(r2_score(target, predictions)),
        "mae": float(mean_absolute_error(target, predictions)),
        "rmse": float(np.sqrt(mean_squared_error(target, predictions))),
    }


def wilson_interval(share: float, rows: int) -> tuple[float, float]:
    """Return the interval that contains the true share with a confidence of 95 % (Wilson 1927)."""
    z2 = 1.96**2
    middle = (share + z2 / (2 * rows)) / (1 + z2 / rows)
    half = 1.96 / (1 + z2 / rows) * np.sqrt(share * (1 - share) / rows + z2 / (4 * rows**2))
    return max(0.0, float(middle - half)), min(1.0, float(middle + half))


@dataclass(frozen=True)
class Chance:
    """Score by chance.

    Attributes:
        metric: name of the metric.
        value: its value for a model that knows nothing of the features.
        spread: its standard deviation for such a model, on as many rows.
        rows: number of test rows.
    """

    metric: str
    value: float
    spread: float
    rows: int

    def __str__(self) -> str:
        return f"{self.value:.3f} ± {self.spread:.3f} by chance on {self.rows} test rows"


def require_useful(metrics: Mapping[str, float], chance: Chance, what: str) -> str:
    """Check that a model is better than chance.

    Args:
        metrics: metrics on the test part.
        chance: score of a model that knows nothing of the features, on the same rows.
        what: description of the model, for the message.

    Returns:
        A note about a model that so few rows cannot tell from chance; empty for others.

    Raises:
        UselessModelError: it is not; the message contains all metrics.
    """
    value = metrics[chance.metric]
    if value > chance.value + 2 * chance.spread:
        return ""
    score = f"{chance.metric} is {value:.3f}, but {chance}"
    doubt = (
        f"{score}: {chance.rows} rows are too few to tell the model from chance. Provide more rows, or "
        "more features"
    )
    if value > chance.value + (0 if chance.rows < FEW_ROWS else chance.spread):
        return doubt
    numbers = ", ".join(f"{name} {value:.3f}" for name, value in metrics.items())
    reason = (
        doubt if value > chance.value or chance.rows < FEW_ROWS else f"{score}. Check target and features"
    )
    raise UselessModelError(f"{what} is not worth serving: {reason} ({numbers}).")
