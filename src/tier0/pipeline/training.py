"""Step 5: hyper-parameters, fit, decision threshold and metrics of the selected algorithm."""

from __future__ import annotations

import logging
import time
import warnings
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import starmap
from typing import TYPE_CHECKING, Any, TypedDict

import numpy as np
from threadpoolctl import threadpool_limits

from tier0.core.events import TrainingDone, TrainingTrial
from tier0.pipeline.metrics import (
    bootstrap_spread,
    choose_threshold,
    classification_metrics,
    minority_class,
    regression_metrics,
    require_useful,
)
from tier0.pipeline.selection import fit_and_score, scoring_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tier0.core.event_log import EventLog
    from tier0.pipeline.candidates import Candidate
    from tier0.pipeline.cluster import Executor
    from tier0.pipeline.data import Dataset

MAX_EXAMPLES = 50
BATCH = 4
"""Trials that the sampler draws before it gets the scores of any of them."""


@dataclass(frozen=True)
class Training:
    """The outcome of step 5, before it is logged.

    Attributes:
        model: the fitted pipeline.
        algorithm: the estimator's class name.
        parameters: the hyper-parameters that the search found; empty if none was better than the defaults.
        score: score of those parameters on the validation part; None without a search.
        metric: name of *score*.
        trials: number of hyper-parameters tried.
        threshold: the decision threshold, for two classes.
        metrics: metrics on the test part.
        spread: spread of each metric, see `tier0.pipeline.metrics.bootstrap_spread`.
        minority: the label with the fewest rows; None for a regression.
        rows: part name to its number of rows.
        examples: features of at most 50 rows of the holdout part, which become golden rows.
        names: names of the features.
        dataset: name of the data.
        target: name of the target.
        task: classification or regression.
        seed: seed of the training.
    """

    model: Any
    algorithm: str
    parameters: dict[str, Any]
    score: float | None
    metric: str | None
    trials: int
    threshold: float | None
    metrics: dict[str, float]
    spread: dict[str, float]
    minority: Any
    rows: dict[str, int]
    examples: Any
    names: list[str]
    dataset: str
    target: str
    task: str
    seed: int


def train(
    dataset: Dataset,
    parts: dict[str, np.ndarray[Any, Any]],
    candidate: Candidate,
    trials: int,
    seed: int,
    events: EventLog,
    executor: Executor = starmap,
) -> Training:
    """Tune a candidate on the validation part, refit it on both, and measure it on the test part.

    The threshold is chosen on the validation part with the search's best model, fitted without that part.

    Args:
        dataset: the data.
        parts: part name to row indices.
        candidate: the algorithm.
        trials: number of hyper-parameters to try.
        seed: seed of the search.
        events: log of events.
        executor: runs the fits of the search.

    Raises:
        UselessModelError: the model is not worth serving.
    """
    start = time.perf_counter()
    with threadpool_limits(limits=1), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        parameters, score, tuned = _tune(dataset, parts, candidate, trials, seed, events, executor)
        threshold, minority = _threshold(dataset, parts, tuned)
        both = np.sort(np.concatenate([parts["train"], parts["validation"]]))
        model = candidate.build(**parameters).fit(*dataset.take(both))
        metrics, spread = measure(dataset, parts["test"], model, threshold, minority, seed)
    require_useful(metrics, f"{candidate.estimator} on {dataset.name}")
    done = TrainingDone(
        metrics=metrics,
        spread=spread,
        threshold=threshold,
        seconds=time.perf_counter() - start,
        **card_facts(dataset, candidate.estimator, {name: len(indices) for name, indices in parts.items()}),
    )
    numbers = ", ".join(f"{name} {value:.3f}" for name, value in metrics.items())
    events.emit(done, f"step 5 training {candidate.estimator}: {numbers} on the test part")
    return Training(
        model=model,
        algorithm=candidate.estimator,
        parameters=parameters,
        score=score,
        metric=scoring_of(dataset)[1],
        trials=trials,
        threshold=threshold,
        metrics=metrics,
        spread=spread,
        minority=minority.item() if isinstance(minority, np.generic) else minority,
        rows={name: len(indices) for name, indices in parts.items()},
        examples=dataset.take(parts["holdout"][:MAX_EXAMPLES])[0],
        names=dataset.names,
        dataset=dataset.name,
        target=dataset.target_name,
        task=dataset.task,
        seed=seed,
    )


def _tune(
    dataset: Dataset,
    parts: dict[str, np.ndarray[Any, Any]],
    candidate: Candidate,
    trials: int,
    seed: int,
    events: EventLog,
    executor: Executor,
) -> tuple[dict[str, Any], float, Any]:
    """Return the best hyper-parameters, their score on the validation part, and the model fitted with them.

    The sampler draws a fixed number of trials at once and gets their scores in order, so the result does not
    depend on the executor.
    """
    import optuna  # noqa: PLC0415

    rows = (*dataset.take(parts["train"]), *dataset.take(parts["validation"]), scoring_of(dataset)[0])
    ((score, model),) = executor(fit_and_score, [(candidate.build(), *rows)])
    best: tuple[dict[str, Any], float, Any] = ({}, score, model)
    with _quiet("optuna"):
        search = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed))
    for first in range(0, trials, BATCH):
        batch = [search.ask() for _ in range(min(BATCH, trials - first))]
        drawn = [candidate.suggest(trial) for trial in batch]
        fitted = executor(fit_and_score, [(candidate.build(**parameters), *rows) for parameters in drawn])
        outcomes = zip(batch, drawn, fitted, strict=True)
        for number, (trial, parameters, (score, model)) in enumerate(outcomes, first + 1):
            search.tell(trial, score)
            if score > best[1]:
                best = (parameters, score, model)
            progress = f"trial {number}/{trials}: {score:.3f}, best {best[1]:.3f}"
            events.emit(
                TrainingTrial(number=number, score=score),
                f"step 5 training {candidate.estimator}, {progress}",
            )
    return best


def _threshold(
    dataset: Dataset, parts: dict[str, np.ndarray[Any, Any]], model: Any
) -> tuple[float | None, Any]:
    """Return the decision threshold (for two classes) and the minority class (for a classification)."""
    if dataset.task == "regression":
        return None, None
    minority = minority_class(dataset.target[parts["train"]])
    classes = model.classes_
    if len(classes) != 2:
        return None, minority
    features, target = dataset.take(parts["validation"])
    return choose_threshold(target, model.predict_proba(features)[:, 1], classes, minority), minority


def measure(
    dataset: Dataset,
    part: np.ndarray[Any, Any],
    model: Any,
    threshold: float | None,
    minority: Any,
    seed: int,
) -> tuple[dict[str, float], dict[str, float]]:
    """Measure a fitted model on the rows at *part*.

    Args:
        dataset: the data.
        part: row indices.
        model: the fitted model.
        threshold: the decision threshold; None for the model's own labels.
        minority: the minority class; None for a regression.
        seed: seed of the bootstrap samples.

    Returns:
        The metrics and the spread of each. A classifier without probabilities has the metrics of its labels
        only.
    """
    features, target = dataset.take(part)
    predictions = np.asarray(model.predict(features))
    if dataset.task == "regression":

        def measure_numbers(rows: np.ndarray[Any, Any]) -> dict[str, float]:
            return regression_metrics(target[rows], predictions[rows])

        spread = bootstrap_spread(measure_numbers, None, len(target), seed)
        return measure_numbers(np.arange(len(target))), spread
    classes = np.asarray(model.classes_)
    probabilities = model.predict_proba(features) if hasattr(model, "predict_proba") else None
    if threshold is not None and probabilities is not None:
        predictions = classes[(probabilities[:, 1] >= threshold).astype(int)]

    def measure_classes(rows: np.ndarray[Any, Any]) -> dict[str, float]:
        chosen = None if probabilities is None else probabilities[rows]
        return classification_metrics(target[rows], predictions[rows], chosen, classes, minority)

    spread = bootstrap_spread(measure_classes, target, len(target), seed)
    return measure_classes(np.arange(len(target))), spread


class CardFacts(TypedDict):
    """The algorithm and the data, as on a model card."""

    algorithm: str
    dataset: str
    target: str
    task: str
    rows: dict[str, int]
    features: int


def card_facts(dataset: Dataset, algorithm: str, rows: dict[str, int]) -> CardFacts:
    """Return the model card's facts about the algorithm and the data."""
    return {
        "algorithm": algorithm,
        "dataset": dataset.name,
        "target": dataset.target_name,
        "task": dataset.task,
        "rows": rows,
        "features": len(dataset.names),
    }


@contextmanager
def _quiet(name: str) -> Iterator[None]:
    """Suppress a library's messages below warnings."""
    logger = logging.getLogger(name)
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)
