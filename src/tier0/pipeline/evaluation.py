"""Evaluation of a fitted model on rows that it has not seen: metrics, their spread, classes and residuals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from tier0.pipeline.metrics import (
    FEW_ROWS,
    MEANINGS,
    Chance,
    bootstrap_spread,
    classification_metrics,
    regression_metrics,
    wilson_interval,
)

if TYPE_CHECKING:
    from tier0.pipeline.data import Dataset

BOOTSTRAP_ROWS = 5_000
"""Limit of the rows of which bootstrap samples are drawn; the spread of more rows follows from theirs."""
SHUFFLES = 40
CALIBRATION_BINS = 10
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
MAX_SHOWN_CLASSES = 20


@dataclass(frozen=True)
class Predictions:
    """What a model predicts for some rows.

    Attributes:
        target: true labels or numbers, shape (rows,).
        predicted: predicted labels or numbers, shape (rows,).
        probabilities: shape (rows, classes); None for a regression and a classifier without probabilities.
        classes: the labels; None for a regression.
        minority: the rarest label; None for a regression.
    """

    target: np.ndarray[Any, Any]
    predicted: np.ndarray[Any, Any]
    probabilities: np.ndarray[Any, Any] | None = None
    classes: np.ndarray[Any, Any] | None = None
    minority: Any = None

    @classmethod
    def of(
        cls,
        dataset: Dataset,
        part: np.ndarray[Any, Any],
        model: Any,
        threshold: float | None = None,
        minority: Any = None,
    ) -> Predictions:
        """Predict the rows at *part*.

        Args:
            dataset: the data.
            part: row indices.
            model: the fitted model.
            threshold: the decision threshold; None for the model's own labels.
            minority: the minority class; None for a regression.
        """
        features, target = dataset.take(part)
        if dataset.task == "regression":
            return cls(target, np.asarray(model.predict(features)))
        classes = np.asarray(model.classes_)
        probabilities = model.predict_proba(features) if hasattr(model, "predict_proba") else None
        if threshold is None or probabilities is None:
            predicted = np.asarray(model.predict(features))
        else:
            predicted = classes[(probabilities[:, 1] >= threshold).astype(int)]
        return cls(target, predicted, probabilities, classes, minority)

    def __len__(self) -> int:
        return len(self.target)

    def take(self, rows: np.ndarray[Any, Any]) -> Predictions:
        """Return the predictions of some of the rows."""
        chosen = None if self.probabilities is None else self.probabilities[rows]
        return replace(self, target=self.target[rows], predicted=self.predicted[rows], probabilities=chosen)

    def metrics(self) -> dict[str, float]:
        """Return the metrics; those of its labels only for a classifier without probabilities."""
        if self.classes is None:
            return regression_metrics(self.target, self.predicted)
        return classification_metrics(
            self.target, self.predicted, self.probabilities, self.classes, self.minority
        )

    def rows_of_shares(self) -> dict[str, int]:
        """Return the number of rows from which each metric that is a share of rows is counted."""
        if self.classes is None:
            return {}
        return {
            "accuracy": len(self),
            "recall_minority": int(np.sum(self.target == self.minority)),
            "precision_minority": int(np.sum(self.predicted == self.minority)),
        }


@dataclass(frozen=True)
class ClassRow:
    """Metrics of one class; precision and F1 are 0 if it is never predicted."""

    label: Any
    precision: float
    recall: float
    f1: float
    support: int


@dataclass(frozen=True)
class Bin:
    """Rows with similar probabilities: their number, their mean probability, and the share that came true."""

    rows: int
    predicted: float
    observed: float


@dataclass(frozen=True)
class Evaluation:
    """The outcome of a model on unseen rows.

    Attributes:
        rows: number of rows.
        metrics: the metrics.
        spread: standard deviation of each metric over bootstrap samples of the rows; without those metrics
            about which the rows are too few, or have too few errors, to tell.
        intervals: Wilson's interval with 95 % confidence of each metric that is a share of rows.
        classes: metrics of each class; empty for a regression.
        calibration: for two classes, of the rarer one's probabilities; for more, of the most probable one's.
        residuals: quantiles of prediction minus target, and the largest absolute one; empty for classes.
        chance: score of a model that knows nothing of the features.
    """

    rows: int
    metrics: dict[str, float]
    spread: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    classes: tuple[ClassRow, ...]
    calibration: tuple[Bin, ...]
    residuals: Mapping[str, float]
    chance: Chance

    def details(self) -> dict[str, Any]:
        """Return all but the metrics and their spread, as JSON types."""
        return {name: value for name, value in asdict(self).items() if name not in {"metrics", "spread"}}


def evaluate(made: Predictions, seed: int, mean: float | None = None) -> Evaluation:
    """Measure predictions.

    Args:
        made: the predictions of a model for unseen rows.
        seed: seed of the bootstrap samples and shuffles.
        mean: for a regression, the mean target of the training rows; None if they are not known.
    """
    metrics = made.metrics()
    return Evaluation(
        rows=len(made),
        metrics=metrics,
        spread=_spread(made, metrics, seed),
        intervals={
            name: wilson_interval(metrics[name], rows) for name, rows in made.rows_of_shares().items() if rows
        },
        classes=tuple(_class_rows(made)),
        calibration=_calibration(made),
        residuals=_residuals(made),
        chance=_chance(made, metrics, seed, mean),
    )


def _spread(made: Predictions, metrics: Mapping[str, float], seed: int) -> dict[str, float]:
    """Return the spread of the metrics that have one: none if there are few rows, or no row differs."""
    if len(made) < FEW_ROWS:
        return {}
    sample = made
    if len(made) > BOOTSTRAP_ROWS:
        sample = made.take(_stratified(made, BOOTSTRAP_ROWS, seed))
    strata = None if made.classes is None else sample.target
    spread = bootstrap_spread(lambda rows: sample.take(rows).metrics(), strata, len(sample), seed)
    scale = np.sqrt(len(sample) / len(made))
    return {name: float(spread[name] * scale) for name in metrics if spread[name] > 0}


def _stratified(made: Predictions, rows: int, seed: int) -> np.ndarray[Any, Any]:
    """Draw rows, and keep at least one of each class."""
    drawn = np.random.default_rng(seed).permutation(len(made))
    if made.classes is not None:
        firsts = np.unique(made.target[drawn], return_index=True)[1]
        drawn = np.concatenate([drawn[firsts], np.delete(drawn, firsts)])
    return np.sort(drawn[:rows])


def _class_rows(made: Predictions) -> list[ClassRow]:
    if made.classes is None:
        return []
    found = []
    for label in made.classes:
        hits = int(np.sum((made.target == label) & (made.predicted == label)))
        support, predicted = int(np.sum(made.target == label)), int(np.sum(made.predicted == label))
        found.append(
            ClassRow(
                label=label.item() if isinstance(label, np.generic) else label,
                precision=hits / predicted if predicted else 0.0,
                recall=hits / support if support else 0.0,
                f1=2 * hits / (support + predicted) if support + predicted else 0.0,
                support=support,
            )
        )
    return found


def _calibration(made: Predictions) -> tuple[Bin, ...]:
    """Compare probabilities with shares of rows, in bins of about equally many rows."""
    if made.classes is None or made.probabilities is None:
        return ()
    if len(made.classes) == 2:
        chosen = made.probabilities[:, int(np.flatnonzero(made.classes == made.minority)[0])]
        came_true = made.target == made.minority
    else:
        chosen = made.probabilities.max(axis=1)
        came_true = made.target == made.classes[made.probabilities.argmax(axis=1)]
    count = min(CALIBRATION_BINS, max(1, len(made) // 10))
    edges = np.unique(np.quantile(chosen, np.linspace(0, 1, count + 1))[1:-1])
    where = np.searchsorted(edges, chosen, side="right")
    bins = [np.flatnonzero(where == number) for number in range(len(edges) + 1)]
    return tuple(
        Bin(len(rows), float(chosen[rows].mean()), float(came_true[rows].mean()))
        for rows in bins
        if len(rows)
    )


def _residuals(made: Predictions) -> dict[str, float]:
    if made.classes is not None:
        return {}
    errors = made.predicted.astype(float) - made.target.astype(float)
    quantiles = zip(QUANTILES, np.quantile(errors, QUANTILES), strict=True)
    found = {f"quantile_{share:g}": float(value) for share, value in quantiles}
    return {"mean": float(errors.mean()), **found, "largest_absolute": float(np.abs(errors).max())}


def _chance(made: Predictions, metrics: Mapping[str, float], seed: int, mean: float | None) -> Chance:
    """Return what the same rows score by chance: predictions in random order, or the mean of the training."""
    if made.classes is None:
        middle = float(np.mean(made.target)) if mean is None else mean
        dummy = Predictions(made.target, np.full(len(made), middle))
        spread = bootstrap_spread(lambda rows: dummy.take(rows).metrics(), None, len(made), seed)
        return Chance("r2", dummy.metrics()["r2"], spread["r2"], len(made))
    metric = "auc_roc" if "auc_roc" in metrics else "accuracy"
    if metric == "auc_roc" and len(made.classes) == 2:  # known exactly (Mann and Whitney 1947)
        rarer = int(np.sum(made.target == made.minority))
        others = len(made) - rarer
        return Chance(metric, 0.5, float(np.sqrt((len(made) + 1) / (12 * rarer * others))), len(made))
    sample = made.take(_stratified(made, min(BOOTSTRAP_ROWS, len(made)), seed))
    rng = np.random.default_rng(seed)
    scores = []
    for _ in range(SHUFFLES):
        order = rng.permutation(len(sample))
        scores.append(replace(sample.take(order), target=sample.target).metrics()[metric])
    spread_of_all = float(np.std(scores, ddof=1)) * float(np.sqrt(len(sample) / len(made)))
    return Chance(metric, 0.5 if metric == "auc_roc" else float(np.mean(scores)), spread_of_all, len(made))


def metric_lines(evaluation: Evaluation) -> list[str]:
    """Return one line for each metric, with how much it varies, and what it means."""
    return [
        f"{name:20} {value:9.3f} {_uncertainty(evaluation, name):14} {MEANINGS[name]}"
        for name, value in evaluation.metrics.items()
    ]


def _uncertainty(evaluation: Evaluation, name: str) -> str:
    if name in evaluation.spread:
        return f"± {evaluation.spread[name]:.3f}"
    if name in evaluation.intervals:
        low, high = evaluation.intervals[name]
        return f"{low:.2f} to {high:.2f}"
    return "± unknown"


def uncertainty_note(evaluation: Evaluation) -> str:
    """Return what the numbers beside the metrics are."""
    rows = evaluation.rows
    if rows < FEW_ROWS:
        return (
            f"{rows} test rows are too few to tell how good the model is; ranges are Wilson's, with 95 % "
            "confidence"
        )
    note = f"± is the standard deviation over bootstrap samples of the {rows} test rows"
    if len(evaluation.spread) < len(evaluation.metrics):
        note += (
            "; a metric without one is the same in every sample (ranges are Wilson's, with 95 % confidence)"
        )
    return note


def detail_lines(evaluation: Evaluation) -> list[str]:
    """Return the table of classes and the calibration, or the residuals, as lines of text."""
    lines = []
    if evaluation.classes:
        lines.append(f"{'class':20} precision    recall        F1      rows")
        lines += [
            f"{str(row.label)[:20]:20} {row.precision:9.3f} {row.recall:9.3f} {row.f1:9.3f} {row.support:9}"
            for row in evaluation.classes[:MAX_SHOWN_CLASSES]
        ]
        if (left := len(evaluation.classes) - MAX_SHOWN_CLASSES) > 0:
            lines.append(f"and {left} more classes")
    if evaluation.calibration:
        pairs = ", ".join(f"{one.predicted:.2f}→{one.observed:.2f}" for one in evaluation.calibration)
        lines.append(f"calibration (mean probability → share that came true): {pairs}")
    if evaluation.residuals:
        names = {"quantile_0.05": "5 %", "quantile_0.5": "median", "quantile_0.95": "95 %"}
        parts = ", ".join(f"{label} {evaluation.residuals[name]:.4g}" for name, label in names.items())
        largest = evaluation.residuals["largest_absolute"]
        lines.append(f"prediction minus target: {parts}, largest {largest:.4g}")
    return lines
