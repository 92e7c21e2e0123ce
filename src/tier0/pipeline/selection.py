"""Step 4: selection of the algorithm, by cross-validation of all candidates on the same folds."""

from __future__ import annotations

import time
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from tier0.core.errors import DatasetError
from tier0.core.event_log import EventLog
from tier0.core.events import SelectionDone, SelectionSampled, SelectionScore
from tier0.pipeline.candidates import Candidate
from tier0.pipeline.cluster import Executor, on_threads
from tier0.pipeline.data import Dataset, newest_dates, require_metric_of_task, splitter_for
from tier0.pipeline.evaluation import Predictions
from tier0.pipeline.metrics import minority_class

CV_FOLDS = 5
FOLDS_OF_SAMPLE = 3
"""Number of folds of a sample of `MAX_ROWS` rows, whose scores vary little between folds."""
LEADING = 2
"""Number of candidates of a sample, the best ones on one fold, that are measured on the other folds."""
MAX_ROWS = 10_000
"""Limit of rows for the comparison: more rows take minutes, and rarely change which algorithm is best."""
SCORINGS = {
    "binary": ("roc_auc", "AUC-ROC"),
    "multiclass": ("roc_auc_ovr", "AUC-ROC (one against the rest)"),
    "regression": ("r2", "R²"),
}


@dataclass(frozen=True)
class MetricScorer:
    """A score for scikit-learn: a metric of Tier0, with its sign changed if less is better.

    Attributes:
        metric: name of the metric.
        sign: 1, or -1 if less is better.
        minority: the rarest class; None for a regression.
    """

    metric: str
    sign: int
    minority: Any

    def __call__(self, model: Any, features: Any, target: np.ndarray[Any, Any]) -> float:
        """Return the score of a fitted model."""
        classes = None if self.minority is None else np.asarray(model.classes_)
        probabilities = None if classes is None else model.predict_proba(features)
        made = Predictions(target, np.asarray(model.predict(features)), probabilities, classes, self.minority)
        return self.sign * made.metrics()[self.metric]


@dataclass(frozen=True)
class Score:
    """Cross-validation score of a candidate.

    Attributes:
        candidate: the algorithm.
        mean: mean of its scores over the folds.
        spread: standard deviation of its scores; 0.0 with a single one.
        seconds: time of all its fits.
        folds: number of folds that it was scored on.
    """

    candidate: Candidate
    mean: float
    spread: float
    seconds: float
    folds: int

    def __str__(self) -> str:
        return f"{self.candidate.estimator} {self.measured} in {self.seconds:.1f} s"

    @property
    def measured(self) -> str:
        """The mean with its spread, which a single fold does not have."""
        return f"{self.mean:.3f} on one fold" if self.folds == 1 else f"{self.mean:.3f} ± {self.spread:.3f}"


@dataclass(frozen=True)
class Selection:
    """The outcome of step 4.

    Attributes:
        scores: scores of all candidates, the best first.
        metric: name of the score.
        reason: one sentence about the difference between the best and the second.
        rows: number of rows used.
        folds: number of folds.
        drawn: description of how they were drawn; empty if they are the complete training part.
    """

    scores: list[Score]
    metric: str
    reason: str
    rows: int
    folds: int
    drawn: str = ""

    @property
    def winner(self) -> Candidate:
        """The candidate with the highest mean."""
        return self.scores[0].candidate


def scoring_of(dataset: Dataset, metric: str | None = None) -> tuple[Any, str]:
    """Return the score for this task (scikit-learn's name, or a function), and its name in reports.

    Args:
        dataset: the data.
        metric: metric that the study chooses; None for AUC-ROC or R².

    Raises:
        DatasetError: the metric is for another task.
    """
    if metric is not None:
        from tier0.pipeline.study import METRICS  # noqa: PLC0415 - imports pydantic

        require_metric_of_task(metric, dataset.task, dataset.target_name, "selection_metric")
        sign = 1 if METRICS[metric][1] == "most" else -1
        minority = minority_class(dataset.target) if dataset.task == "classification" else None
        return MetricScorer(metric, sign, minority), metric if sign == 1 else f"-{metric}"
    if dataset.task == "regression":
        return SCORINGS["regression"]
    return SCORINGS["binary" if len(dataset.classes.labels) == 2 else "multiclass"]


def select(
    dataset: Dataset,
    train: np.ndarray[Any, Any],
    candidates: list[Candidate],
    seed: int,
    events: EventLog,
    executor: Executor | None = None,
    chosen_metric: str | None = None,
) -> Selection:
    """Compare the candidates on the training part, and select the one with the highest mean score.

    In a tie, the smaller spread decides, and then the order of *candidates*. Durations do not count, so that
    the same seed always selects the same algorithm. Of a sample of many rows, one fold decides which
    candidates are measured on the others (successive halving: Jamieson and Talwalkar 2016).

    Args:
        dataset: the data.
        train: row indices of the training part.
        candidates: the algorithms.
        seed: seed of the folds, and of the sample if there are more than `MAX_ROWS` rows.
        events: log of events.
        executor: runs the fits; None for threads of this process.
        chosen_metric: metric that decides, of `tier0.pipeline.study.METRICS`; None for AUC-ROC or R².

    Raises:
        DatasetError: a candidate cannot be fitted or scored on every fold.
    """
    drawn = ""
    if len(train) > MAX_ROWS:
        drawn = _sampling_method(dataset)
        events.emit(SelectionSampled(), f"step 4 selection: on {MAX_ROWS:,} of {len(train):,} rows: {drawn}")
        train = sample(dataset, train, MAX_ROWS, seed)
    features, target = dataset.take(train)
    scoring, metric = scoring_of(dataset, chosen_metric)
    folds = folds_of(dataset, train, seed, FOLDS_OF_SAMPLE if drawn else CV_FOLDS)
    fits = _Fits(features, target, scoring, executor or on_threads)
    first, leading = _lead(candidates, fits, folds[-1]) if drawn else ({}, {one.name for one in candidates})
    scores = []
    for candidate in candidates:
        rest = folds[: len(folds) - bool(first)] if candidate.name in leading else []
        score = _score(candidate, [*fits.measure([candidate], rest), *first.get(candidate.name, [])])
        scores.append(score)
        events.emit(
            SelectionScore(algorithm=candidate.estimator, mean=score.mean),
            f"step 4 selection: {score} ({metric})",
        )
    if undefined := [score for score in scores if not np.isfinite(score.mean)]:
        raise DatasetError(
            f"the {metric} of {undefined[0].candidate.estimator} is undefined on one of {len(folds)} folds, "
            "which lacks a class: provide more rows, or smaller groups"
        )
    scores.sort(key=lambda score: (-score.folds, -score.mean, score.spread))
    selection = Selection(scores, metric, _reason(scores, metric), len(train), len(folds), drawn)
    done = SelectionDone(
        algorithm=selection.winner.estimator, score=scores[0].mean, reason=selection.reason, metric=metric
    )
    events.emit(done, f"step 4 selection: {selection.reason}")
    return selection


def folds_of(
    dataset: Dataset, train: np.ndarray[Any, Any], seed: int, count: int = CV_FOLDS
) -> list[tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]]:
    """Return positions in *train* to fit on and to score on, divided as the split into parts is.

    A group is never divided. With dates, the rows to score on are newer than those to fit on.

    Raises:
        DatasetError: no fold has rows of all classes on both sides.
    """
    if dataset.dates is None:
        groups = None if dataset.groups is None else dataset.groups[train]
        splitter = splitter_for(dataset, count, seed)
        return list(splitter.split(np.zeros(len(train)), dataset.target[train], groups))
    dates, target = newest_dates(dataset)[train], dataset.target[train]
    order = np.sort(dates)
    bounds = [order[len(order) * number // (count + 1)] for number in range(1, count + 1)]
    where = np.searchsorted(np.array(bounds), dates, side="right")
    folds = [
        (np.flatnonzero(where < number), np.flatnonzero(where == number)) for number in range(1, count + 1)
    ]
    labels = set(np.unique(target).tolist()) if dataset.task == "classification" else set()
    usable = [
        (fit, score)
        for fit, score in folds
        if len(fit) and len(score) and all(labels <= set(target[rows].tolist()) for rows in (fit, score))
    ]
    if not usable:
        raise DatasetError(
            f"no period of {dataset.name} has rows of every class in it and before it, so the algorithms "
            "cannot be compared in the order of time: provide more rows of the rarest class, or omit --date"
        )
    return usable


def sample(dataset: Dataset, rows: np.ndarray[Any, Any], count: int, seed: int) -> np.ndarray[Any, Any]:
    """Draw *count* of some rows, stratified by class; with groups, complete groups until there are enough."""
    if len(rows) <= count:
        return rows
    if dataset.groups is not None:
        order = np.random.default_rng(seed).permutation(np.unique(dataset.groups[rows]))
        positions = {group: number for number, group in enumerate(order)}
        ranks = np.array([positions[group] for group in dataset.groups[rows]])
        return np.sort(rows[np.argsort(ranks, kind="stable")[:count]])
    from sklearn.model_selection import train_test_split  # noqa: PLC0415

    stratify = dataset.classes.codes[rows] if dataset.task == "classification" else None
    drawn, _ = train_test_split(rows, train_size=count, random_state=seed, stratify=stratify)
    found: np.ndarray[Any, Any] = np.sort(drawn)
    return found


def _sampling_method(dataset: Dataset) -> str:
    if dataset.groups is not None:
        return "complete groups, drawn at random"
    if dataset.task == "classification":
        return "drawn at random, stratified by class"
    return "drawn at random"


@dataclass(frozen=True)
class _Fits:
    """Fits on parts of the compared rows.

    Attributes:
        features: features of the rows.
        target: target of the rows.
        scoring: the score, see `scoring_of`.
        executor: runs the fits.
    """

    features: Any
    target: np.ndarray[Any, Any]
    scoring: Any
    executor: Executor

    def measure(self, candidates: list[Candidate], folds: list[Any]) -> list[tuple[float, float]]:
        """Return score and seconds of each candidate on each fold.

        Raises:
            DatasetError: a candidate cannot be fitted or scored.
        """
        calls = [
            (candidate.estimator, candidate.build(), self.features, self.target, *fold, self.scoring)
            for candidate in candidates
            for fold in folds
        ]
        with threadpool_limits(limits=1), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return list(self.executor(_score_fold, calls)) if calls else []


def _lead(
    candidates: list[Candidate], fits: _Fits, fold: Any
) -> tuple[dict[str, list[tuple[float, float]]], set[str]]:
    """Return the outcome of each candidate on one fold, and the names of the `LEADING` best ones."""
    outcomes = fits.measure(candidates, [fold])
    first = {candidate.name: [outcome] for candidate, outcome in zip(candidates, outcomes, strict=True)}
    ordered = sorted(first, key=lambda name: -np.nan_to_num(first[name][0][0], nan=-np.inf))
    return first, set(ordered[:LEADING])


def _score(candidate: Candidate, outcomes: list[tuple[float, float]]) -> Score:
    values, seconds = zip(*outcomes, strict=True)
    return Score(candidate, float(np.mean(values)), float(np.std(values)), sum(seconds), len(values))


def _score_fold(
    name: str,
    model: Any,
    features: Any,
    target: Any,
    train: np.ndarray[Any, Any],
    test: np.ndarray[Any, Any],
    scoring: Any,
) -> tuple[float, float]:
    """Return score and seconds of a model on one fold.

    Raises:
        DatasetError: it cannot be fitted or scored.
    """
    start = time.perf_counter()
    rows = features.iloc if hasattr(features, "iloc") else features
    try:
        score, _ = fit_and_score(model, rows[train], target[train], rows[test], target[test], scoring)
    except ValueError as problem:
        raise DatasetError(f"{name} cannot be cross-validated: {problem}") from problem
    return score, time.perf_counter() - start


def fit_and_score(
    model: Any, features: Any, target: Any, unseen: Any, unseen_target: Any, scoring: Any
) -> tuple[float, Any]:
    """Fit a model, and return its score on unseen rows and the model itself.

    Args:
        model: the unfitted model.
        features: features of the training rows.
        target: target of the training rows.
        unseen: features of the rows to score on.
        unseen_target: target of the rows to score on.
        scoring: scikit-learn's name of the score, or a function of model, features and target.
    """
    from sklearn.metrics import get_scorer  # noqa: PLC0415

    model.fit(features, target)
    return float(get_scorer(scoring)(model, unseen, unseen_target)), model


def _reason(scores: list[Score], metric: str) -> str:
    best = scores[0]
    if len(scores) == 1:
        return f"the only candidate, with {best} ({metric})"
    second = scores[1]
    lead = best.mean - second.mean
    comparison = "larger" if lead > max(best.spread, second.spread) else "smaller"
    others = f". Others: {'; '.join(map(str, scores[2:]))}" if scores[2:] else ""
    return (
        f"{best} has the highest mean {metric}, {lead:.3f} above {second}; the difference is {comparison} "
        f"than the spread between folds{others}"
    )
