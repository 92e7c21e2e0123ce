"""Step 4: selection of the algorithm, by cross-validation of all candidates on the same folds."""

from __future__ import annotations

import time
import warnings
from dataclasses import dataclass
from itertools import starmap
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from tier0.core.errors import DatasetError
from tier0.core.event_log import EventLog
from tier0.core.events import SelectionDone, SelectionSampled, SelectionScore
from tier0.pipeline.candidates import Candidate
from tier0.pipeline.cluster import Executor
from tier0.pipeline.data import Dataset, splitter_for

CV_FOLDS = 5
MAX_ROWS = 20_000
"""Limit of rows for the comparison: more rows take minutes, and rarely change which algorithm is best."""
SCORINGS = {
    "binary": ("roc_auc", "AUC-ROC"),
    "multiclass": ("roc_auc_ovr", "AUC-ROC (one against the rest)"),
    "regression": ("r2", "R²"),
}


@dataclass(frozen=True)
class Score:
    """Cross-validation score of a candidate.

    Attributes:
        candidate: the algorithm.
        mean: mean of its scores over the folds.
        spread: standard deviation of its scores.
        seconds: wall time of all its fits.
    """

    candidate: Candidate
    mean: float
    spread: float
    seconds: float

    def __str__(self) -> str:
        return f"{self.candidate.estimator} {self.mean:.3f} ± {self.spread:.3f} in {self.seconds:.1f} s"


@dataclass(frozen=True)
class Selection:
    """The outcome of step 4.

    Attributes:
        scores: scores of all candidates, the best first.
        metric: name of the score.
        reason: one sentence about the difference between the best and the second.
        rows: number of rows used.
        drawn: description of how they were drawn; empty if they are the complete training part.
    """

    scores: list[Score]
    metric: str
    reason: str
    rows: int
    drawn: str = ""

    @property
    def winner(self) -> Candidate:
        """The candidate with the highest mean."""
        return self.scores[0].candidate


def scoring_of(dataset: Dataset) -> tuple[str, str]:
    """Return scikit-learn's name of the score for this task, and its name in reports."""
    if dataset.task == "regression":
        return SCORINGS["regression"]
    return SCORINGS["binary" if len(np.unique(dataset.target)) == 2 else "multiclass"]


def select(
    dataset: Dataset,
    train: np.ndarray[Any, Any],
    candidates: list[Candidate],
    seed: int,
    events: EventLog,
    executor: Executor = starmap,
) -> Selection:
    """Compare the candidates on the training part, and select the one with the highest mean score.

    In a tie, the smaller spread decides, and then the order of *candidates*. Durations do not count, so that
    the same seed always selects the same algorithm.

    Args:
        dataset: the data.
        train: row indices of the training part.
        candidates: the algorithms.
        seed: seed of the folds, and of the sample if there are more than `MAX_ROWS` rows.
        events: log of events.
        executor: runs the fits.

    Raises:
        DatasetError: a candidate cannot be fitted or scored on every fold.
    """
    drawn = ""
    if len(train) > MAX_ROWS:
        drawn = _sampling_method(dataset)
        events.emit(SelectionSampled(), f"step 4 selection: on {MAX_ROWS:,} of {len(train):,} rows: {drawn}")
        train = _sample(dataset, train, seed)
    features, target = dataset.take(train)
    scoring, metric = scoring_of(dataset)
    groups = None if dataset.groups is None else dataset.groups[train]
    folds = list(splitter_for(dataset, CV_FOLDS, seed).split(np.zeros(len(train)), target, groups))
    scores = []
    for candidate in candidates:
        score = _cross_validate(candidate, features, target, folds, scoring, executor)
        scores.append(score)
        events.emit(
            SelectionScore(algorithm=candidate.estimator, mean=score.mean),
            f"step 4 selection: {score} ({metric})",
        )
    if undefined := [score for score in scores if not np.isfinite(score.mean)]:
        raise DatasetError(
            f"the {metric} of {undefined[0].candidate.estimator} is undefined on one of {CV_FOLDS} folds, "
            "which lacks a class: provide more rows, or smaller groups"
        )
    scores.sort(key=lambda score: (-score.mean, score.spread))
    selection = Selection(scores, metric, _reason(scores, metric), len(train), drawn)
    done = SelectionDone(
        algorithm=selection.winner.estimator, score=scores[0].mean, reason=selection.reason, metric=metric
    )
    events.emit(done, f"step 4 selection: {selection.reason}")
    return selection


def _sample(dataset: Dataset, train: np.ndarray[Any, Any], seed: int) -> np.ndarray[Any, Any]:
    """Draw `MAX_ROWS` rows, stratified by class; with groups, complete groups until there are enough rows."""
    if dataset.groups is not None:
        order = np.random.default_rng(seed).permutation(np.unique(dataset.groups[train]))
        positions = {group: number for number, group in enumerate(order)}
        ranks = np.array([positions[group] for group in dataset.groups[train]])
        return np.sort(train[np.argsort(ranks, kind="stable")[:MAX_ROWS]])
    from sklearn.model_selection import train_test_split  # noqa: PLC0415

    stratify = dataset.target[train] if dataset.task == "classification" else None
    drawn, _ = train_test_split(train, train_size=MAX_ROWS, random_state=seed, stratify=stratify)
    found: np.ndarray[Any, Any] = np.sort(drawn)
    return found


def _sampling_method(dataset: Dataset) -> str:
    if dataset.groups is not None:
        return "complete groups, drawn at random"
    if dataset.task == "classification":
        return "drawn at random, stratified by class"
    return "drawn at random"


def _cross_validate(
    candidate: Candidate, features: Any, target: Any, folds: list[Any], scoring: str, executor: Executor
) -> Score:
    start = time.perf_counter()
    with threadpool_limits(limits=1), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        calls = [(candidate.build(), features, target, *fold, scoring) for fold in folds]
        try:
            values = list(executor(_score_fold, calls))
        except ValueError as problem:
            raise DatasetError(f"{candidate.estimator} cannot be cross-validated: {problem}") from problem
    return Score(candidate, float(np.mean(values)), float(np.std(values)), time.perf_counter() - start)


def _score_fold(
    model: Any,
    features: Any,
    target: Any,
    train: np.ndarray[Any, Any],
    test: np.ndarray[Any, Any],
    scoring: str,
) -> float:
    rows = features.iloc if hasattr(features, "iloc") else features
    return fit_and_score(model, rows[train], target[train], rows[test], target[test], scoring)[0]


def fit_and_score(
    model: Any, features: Any, target: Any, unseen: Any, unseen_target: Any, scoring: str
) -> tuple[float, Any]:
    """Fit a model, and return its score on unseen rows and the model itself.

    Args:
        model: the unfitted model.
        features: features of the training rows.
        target: target of the training rows.
        unseen: features of the rows to score on.
        unseen_target: target of the rows to score on.
        scoring: scikit-learn's name of the score.
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
