"""Step 4: which algorithm, by cross-validation of all of them on the same folds."""

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
from tier0.pipeline.data import Dataset

CV_FOLDS = 5
MAX_ROWS = 20_000
"""To compare the algorithms on: more takes minutes, and hardly ever changes which one wins."""
SCORINGS = {
    "binary": ("roc_auc", "AUC-ROC"),
    "multiclass": ("roc_auc_ovr", "AUC-ROC (one against the rest)"),
    "regression": ("r2", "R²"),
}


@dataclass(frozen=True)
class Score:
    """How one candidate did.

    Attributes:
        candidate: the algorithm.
        mean: of its scores over the folds.
        spread: their standard deviation.
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
        scores: best first.
        metric: what was compared.
        reason: one sentence on why the winner won.
        rows: on how many it was compared.
        drawn: how they were drawn, in words; empty where they are the whole training part.
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
    """Return scikit-learn's name of the score for this task, and the one for people."""
    if dataset.task == "regression":
        return SCORINGS["regression"]
    return SCORINGS["binary" if len(np.unique(dataset.target)) == 2 else "multiclass"]


def select(
    dataset: Dataset,
    train: np.ndarray[Any, Any],
    candidates: list[Candidate],
    seed: int,
    events: EventLog,
    run: Executor = starmap,
) -> Selection:
    """Compare the candidates on the training part and pick the one with the highest mean score.

    A tie goes to the smaller spread, then to the order of *candidates*: never to the clock, so that the same seed gives the
    same winner.
    """
    drawn = ""
    if len(train) > MAX_ROWS:
        drawn = _how_drawn(dataset)
        events.emit(SelectionSampled(), f"step 4 selection: on {MAX_ROWS:,} of {len(train):,} rows: {drawn}")
        train = _sample(dataset, train, seed)
    features, target = dataset.take(train)
    scoring, metric = scoring_of(dataset)
    folds = list(
        _splitter(dataset, seed).split(
            np.zeros(len(train)), target, None if dataset.groups is None else dataset.groups[train]
        )
    )
    scores = []
    for candidate in candidates:
        score = _cross_validate(candidate, features, target, folds, scoring, run)
        scores.append(score)
        events.emit(
            SelectionScore(algorithm=candidate.estimator, mean=score.mean),
            f"step 4 selection: {score} ({metric})",
        )
    if broken := [score for score in scores if not np.isfinite(score.mean)]:
        raise DatasetError(
            f"{broken[0].candidate.estimator} has no {metric} on one of {CV_FOLDS} folds: a fold lacks a class. Give more rows, or smaller groups."
        )
    scores.sort(key=lambda score: (-score.mean, score.spread))
    selection = Selection(scores, metric, _reason(scores, metric), len(train), drawn)
    done = SelectionDone(
        algorithm=selection.winner.estimator, score=scores[0].mean, reason=selection.reason, metric=metric
    )
    events.emit(done, f"step 4 selection: {selection.reason}")
    return selection


def _sample(dataset: Dataset, train: np.ndarray[Any, Any], seed: int) -> np.ndarray[Any, Any]:
    """Draw `MAX_ROWS` rows, of each class as large a share as there is; where there are groups, whole ones until it is enough."""
    if dataset.groups is not None:
        order = np.random.default_rng(seed).permutation(np.unique(dataset.groups[train]))
        place = {group: number for number, group in enumerate(order)}
        ranks = np.array([place[group] for group in dataset.groups[train]])
        return np.sort(train[np.argsort(ranks, kind="stable")[:MAX_ROWS]])
    from sklearn.model_selection import train_test_split  # noqa: PLC0415

    stratify = dataset.target[train] if dataset.task == "classification" else None
    drawn, _ = train_test_split(train, train_size=MAX_ROWS, random_state=seed, stratify=stratify)
    found: np.ndarray[Any, Any] = np.sort(drawn)
    return found


def _how_drawn(dataset: Dataset) -> str:
    if dataset.groups is not None:
        return "whole groups, drawn at random"
    return (
        "drawn at random, each class in its proportion"
        if dataset.task == "classification"
        else "drawn at random"
    )


def _splitter(dataset: Dataset, seed: int) -> Any:
    from sklearn.model_selection import GroupKFold, KFold, StratifiedGroupKFold, StratifiedKFold  # noqa: PLC0415

    if dataset.task == "classification":
        kind = StratifiedKFold if dataset.groups is None else StratifiedGroupKFold
        return kind(CV_FOLDS, shuffle=True, random_state=seed)
    return (
        KFold(CV_FOLDS, shuffle=True, random_state=seed) if dataset.groups is None else GroupKFold(CV_FOLDS)
    )


def _cross_validate(
    candidate: Candidate, features: Any, target: Any, folds: list[Any], scoring: str, run: Executor
) -> Score:
    start = time.perf_counter()
    with threadpool_limits(limits=1), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            values = list(
                run(_score_fold, [(candidate.build(), features, target, *fold, scoring) for fold in folds])
            )
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
    """Fit *model*, and return its score (scikit-learn's name of it) on rows that it has not seen, and the model."""
    from sklearn.metrics import get_scorer  # noqa: PLC0415

    model.fit(features, target)
    return float(get_scorer(scoring)(model, unseen, unseen_target)), model


def _reason(scores: list[Score], metric: str) -> str:
    best = scores[0]
    if len(scores) == 1:
        return f"{best} ({metric}) is the only candidate"
    second = scores[1]
    lead = best.mean - second.mean
    weight = "more" if lead > max(best.spread, second.spread) else "less"
    others = f". Behind them: {'; '.join(map(str, scores[2:]))}" if scores[2:] else ""
    return f"{best} has the highest mean {metric}, {lead:.3f} above {second}; that lead is {weight} than the spread between folds{others}"
