"""Step 5: the winner's hyper-parameters, its fit, its threshold and its metrics."""

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
    choose_threshold,
    classification_metrics,
    minority_class,
    refuse_useless,
    regression_metrics,
    spread_of,
)
from tier0.pipeline.selection import fit_and_score, scoring_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tier0.core.event_log import EventLog
    from tier0.pipeline.candidates import Candidate
    from tier0.pipeline.cluster import Executor
    from tier0.pipeline.data import Dataset

MAX_EXAMPLES = 50
AT_ONCE = 4
"""Trials that the sampler is asked for before it is told anything of them."""


@dataclass(frozen=True)
class Training:
    """The outcome of step 5, before it is logged.

    Attributes:
        model: the fitted pipeline.
        algorithm: the estimator's class name.
        parameters: the hyper-parameters that the search found; empty where none was better than the defaults.
        score: of those parameters on the validation part; None without a search.
        metric: what *score* is.
        trials: how many were tried.
        threshold: the decision threshold, for two classes.
        metrics: on the test part.
        spread: of each metric, see `tier0.pipeline.metrics.spread_of`.
        minority: the label with the fewest rows; None for regression.
        rows: part name to its number of rows.
        examples: features of at most 50 rows of the holdout part: what becomes the golden rows.
        names: the features' names.
        dataset: what the data is called.
        target: what was predicted.
        task: classification or regression.
        seed: what all of it started from.
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
    run: Executor = starmap,
) -> Training:
    """Tune *candidate* on the validation part, refit it on training and validation, and measure it on the test part.

    The threshold is chosen on the validation part by the best trial's model, which has not seen it.

    Raises:
        UselessModelError: the model is not worth serving.
    """
    start = time.perf_counter()
    with threadpool_limits(limits=1), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        parameters, score, tuned = _search(dataset, parts, candidate, trials, seed, events, run)
        threshold, minority = _threshold(dataset, parts, tuned)
        both = np.sort(np.concatenate([parts["train"], parts["validation"]]))
        model = candidate.build(**parameters).fit(*dataset.take(both))
        metrics, spread = measure(dataset, parts["test"], model, threshold, minority, seed)
    refuse_useless(metrics, f"{candidate.estimator} on {dataset.name}")
    done = TrainingDone(
        metrics=metrics,
        spread=spread,
        threshold=threshold,
        seconds=time.perf_counter() - start,
        **described(dataset, candidate.estimator, {name: len(indices) for name, indices in parts.items()}),
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


def _search(
    dataset: Dataset,
    parts: dict[str, np.ndarray[Any, Any]],
    candidate: Candidate,
    trials: int,
    seed: int,
    events: EventLog,
    run: Executor,
) -> tuple[dict[str, Any], float, Any]:
    """Return the best hyper-parameters, their score on the validation part, and the model that was fitted with them.

    The sampler is asked for a fixed number of trials at once, and told in their order: so it does not matter where they run.
    """
    import optuna  # noqa: PLC0415

    rows = (*dataset.take(parts["train"]), *dataset.take(parts["validation"]), scoring_of(dataset)[0])
    ((score, model),) = run(fit_and_score, [(candidate.build(), *rows)])
    best: tuple[dict[str, Any], float, Any] = ({}, score, model)
    with _quiet("optuna"):
        study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed))
    for first in range(0, trials, AT_ONCE):
        asked = [study.ask() for _ in range(min(AT_ONCE, trials - first))]
        drawn = [candidate.suggest(trial) for trial in asked]
        fitted = run(fit_and_score, [(candidate.build(**parameters), *rows) for parameters in drawn])
        for number, (trial, parameters, (score, model)) in enumerate(
            zip(asked, drawn, fitted, strict=True), first + 1
        ):
            study.tell(trial, score)
            if score > best[1]:
                best = (parameters, score, model)
            message = f"step 5 training {candidate.estimator}, trial {number}/{trials}: {score:.3f}, best {best[1]:.3f}"
            events.emit(TrainingTrial(number=number, score=score), message)
    return best


def _threshold(
    dataset: Dataset, parts: dict[str, np.ndarray[Any, Any]], model: Any
) -> tuple[float | None, Any]:
    """Return the decision threshold (two classes only), and the minority class."""
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
    """Measure a fitted model on the rows at *part*; without probabilities, on what its labels say alone. Return the metrics and their spread."""
    features, target = dataset.take(part)
    predictions = np.asarray(model.predict(features))
    if dataset.task == "regression":

        def of(rows: np.ndarray[Any, Any]) -> dict[str, float]:
            return regression_metrics(target[rows], predictions[rows])

        return of(np.arange(len(target))), spread_of(of, None, len(target), seed)
    classes = np.asarray(model.classes_)
    probabilities = model.predict_proba(features) if hasattr(model, "predict_proba") else None
    if threshold is not None and probabilities is not None:
        predictions = classes[(probabilities[:, 1] >= threshold).astype(int)]

    def of_classes(rows: np.ndarray[Any, Any]) -> dict[str, float]:
        return classification_metrics(
            target[rows],
            predictions[rows],
            None if probabilities is None else probabilities[rows],
            classes,
            minority,
        )

    return of_classes(np.arange(len(target))), spread_of(of_classes, target, len(target), seed)


class Described(TypedDict):
    """The algorithm and the data, as on a model card."""

    algorithm: str
    dataset: str
    target: str
    task: str
    rows: dict[str, int]
    features: int


def described(dataset: Dataset, algorithm: str, rows: dict[str, int]) -> Described:
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
    """Keep a library's notes about itself out of the run's output."""
    logger = logging.getLogger(name)
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)
