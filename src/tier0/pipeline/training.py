"""Step 5: hyper-parameters, fit, decision threshold and metrics of the selected algorithm."""

from __future__ import annotations

import logging
import time
import warnings
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, TypedDict

import numpy as np
from threadpoolctl import threadpool_limits

from tier0.core.events import TrainingDone, TrainingTrial
from tier0.pipeline.candidates import candidates_for, plain_tree
from tier0.pipeline.cluster import on_threads
from tier0.pipeline.evaluation import Evaluation, Predictions, evaluate
from tier0.pipeline.metrics import choose_threshold, minority_class, require_useful
from tier0.pipeline.selection import fit_and_score, sample, scoring_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tier0.core.event_log import EventLog
    from tier0.pipeline.candidates import Candidate
    from tier0.pipeline.cluster import Executor
    from tier0.pipeline.data import Dataset

MAX_EXAMPLES = 50
MAX_NAMED = 3
SEARCH_ROWS = 30_000
"""Limit of the rows on which hyper-parameters are tried; the model itself is fitted on all."""
SCORE_ROWS = 10_000
"""Limit of the rows of the validation part on which they are scored, and the threshold is chosen."""
PLAIN_ROWS = 10_000
"""Limit of the rows on which the plain model beside the trained one is fitted."""
BATCH = 4
"""Trials that the sampler draws before it gets the scores of any of them."""


@dataclass(frozen=True)
class Peer:
    """A simpler model beside the trained one, measured on the same test part.

    Attributes:
        role: ``dummy``, which knows nothing of the features, or ``plain``.
        algorithm: the estimator's class name.
        rows: number of rows that it was fitted on.
        metrics: its metrics.
    """

    role: str
    algorithm: str
    rows: int
    metrics: dict[str, float]


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
        minority: the label with the fewest rows; None for a regression.
        rows: part name to its number of rows.
        examples: features of at most 50 rows of the holdout part, which become golden rows.
        names: names of the features.
        dataset: name of the data.
        target: name of the target.
        task: classification or regression.
        seed: seed of the training.
        evaluation: all measurements on the test part.
        search_rows: number of rows on which hyper-parameters were tried; 0 without a search.
        peers: a dummy and a plain model beside it; empty for a model that the user trained.
        note: a sentence about a model that so few rows cannot tell from chance; empty for others.
        digest: SHA-256 of the file with the data; empty if there is none.
    """

    model: Any
    algorithm: str
    parameters: dict[str, Any]
    score: float | None
    metric: str | None
    trials: int
    threshold: float | None
    minority: Any
    rows: dict[str, int]
    examples: Any
    names: list[str]
    dataset: str
    target: str
    task: str
    seed: int
    evaluation: Evaluation
    search_rows: int = 0
    peers: tuple[Peer, ...] = ()
    note: str = ""
    digest: str = ""

    @property
    def metrics(self) -> dict[str, float]:
        """Metrics on the test part."""
        return self.evaluation.metrics

    @property
    def spread(self) -> dict[str, float]:
        """The spread of each metric that has one, see `tier0.pipeline.evaluation.Evaluation`."""
        return self.evaluation.spread


def train(
    dataset: Dataset,
    parts: dict[str, np.ndarray[Any, Any]],
    candidate: Candidate,
    trials: int,
    seed: int,
    events: EventLog,
    executor: Executor | None = None,
    budget: float | None = None,
    chosen_metric: str | None = None,
) -> Training:
    """Tune a candidate on the validation part, refit it on both, and measure it on the test part.

    The search fits on at most `SEARCH_ROWS` rows. The threshold is chosen on the validation part with the
    search's best model, fitted without that part.

    Args:
        dataset: the data.
        parts: part name to row indices.
        candidate: the algorithm.
        trials: number of hyper-parameters to try.
        seed: seed of the search.
        events: log of events.
        executor: runs the fits of the search; None for threads of this process.
        budget: seconds for the search, in place of *trials*; None for no limit of time.
        chosen_metric: metric that decides, of `tier0.pipeline.study.METRICS`; None for AUC-ROC or R².

    Raises:
        UselessModelError: the model is not worth serving.
    """
    start = time.perf_counter()
    with threadpool_limits(limits=1), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        search = _Search(
            sample(dataset, parts["train"], SEARCH_ROWS, seed),
            sample(dataset, parts["validation"], SCORE_ROWS, seed),
            trials if budget is None else None,
            None if budget is None else start + budget,
            *scoring_of(dataset, chosen_metric),
        )
        parameters, score, tuned, tried = _tune(
            dataset, search, candidate, seed, events, executor or on_threads
        )
        is_regression = dataset.task == "regression"
        minority = None if is_regression else minority_class(dataset.target[parts["train"]])
        threshold = _threshold(dataset, search.unseen, tuned, minority)
        both = np.sort(np.concatenate([parts["train"], parts["validation"]]))
        # A small fit on several threads, which wait for each other, can take minutes on a busy machine.
        with threadpool_limits(limits=1 if len(both) <= SEARCH_ROWS else None):
            model = candidate.build(**parameters).fit(*dataset.take(both))
        made = Predictions.of(dataset, parts["test"], model, threshold, minority)
        mean = float(np.mean(dataset.target[both])) if is_regression else None
        evaluation = evaluate(made, seed, mean)
        note = require_useful(
            evaluation.metrics, evaluation.chance, f"{candidate.estimator} on {dataset.name}"
        )
        peers = _peers(dataset, both, parts["test"], candidate.name, minority, seed)
    metrics = evaluation.metrics
    done = TrainingDone(
        metrics=metrics,
        spread=evaluation.spread,
        evaluation=evaluation.details(),
        peers=[asdict(peer) for peer in peers],
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
        metric=search.metric,
        search_rows=len(search.rows),
        trials=tried,
        threshold=threshold,
        evaluation=evaluation,
        peers=peers,
        note=note,
        minority=minority.item() if isinstance(minority, np.generic) else minority,
        rows={name: len(indices) for name, indices in parts.items()},
        examples=dataset.take(parts["holdout"][:MAX_EXAMPLES])[0],
        names=dataset.names,
        dataset=dataset.name,
        target=dataset.target_name,
        task=dataset.task,
        seed=seed,
        digest=dataset.digest,
    )


@dataclass(frozen=True)
class _Search:
    """The search for hyper-parameters.

    Attributes:
        rows: indices of the rows to fit on.
        unseen: indices of the rows to score on.
        trials: number of hyper-parameters to try; None to try until *end*.
        end: time of `time.perf_counter` at which no more are tried; None for no limit.
        scoring: the score, see `tier0.pipeline.selection.scoring_of`.
        metric: name of the score.
    """

    rows: np.ndarray[Any, Any]
    unseen: np.ndarray[Any, Any]
    trials: int | None
    end: float | None
    scoring: Any
    metric: str

    def next_batch(self, tried: int) -> int:
        """Return how many more to try before the sampler gets their scores; 0 to end the search."""
        if self.end is not None:
            return BATCH if time.perf_counter() < self.end else 0
        return min(BATCH, (self.trials or 0) - tried)


def _tune(
    dataset: Dataset,
    search: _Search,
    candidate: Candidate,
    seed: int,
    events: EventLog,
    executor: Executor,
) -> tuple[dict[str, Any], float, Any, int]:
    """Return the best hyper-parameters, their score, the model fitted with them, and the number of trials.

    The sampler draws a fixed number of trials at once and gets their scores in order, so the result does not
    depend on the executor.
    """
    import optuna  # noqa: PLC0415

    prepared = _Prepared.of(dataset, search, candidate)
    ((score, model),) = executor(fit_and_score, prepared.calls([{}]))
    best: tuple[dict[str, Any], float, Any] = ({}, score, model)
    with _quiet("optuna"):
        study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed))
    tried = 0
    while size := search.next_batch(tried):
        batch = [study.ask() for _ in range(size)]
        drawn = [candidate.suggest(trial) for trial in batch]
        fitted = executor(fit_and_score, prepared.calls(drawn))
        for trial, parameters, (score, model) in zip(batch, drawn, fitted, strict=True):
            study.tell(trial, score)
            tried += 1
            if score > best[1]:
                best = (parameters, score, model)
            count = tried if search.trials is None else f"{tried}/{search.trials}"
            events.emit(
                TrainingTrial(number=tried, score=score),
                f"step 5 training {candidate.estimator}, trial {count}: {score:.3f}, best {best[1]:.3f}",
            )
    parameters, score, model = best
    return parameters, score, prepared.complete(model), tried


@dataclass(frozen=True)
class _Prepared:
    """The rows of a search as the estimator takes them: hyper-parameters do not change the steps before it.

    Attributes:
        candidate: the algorithm.
        steps: the fitted steps before the estimator.
        rows: features and target to fit on, features and target to score on, and the score.
    """

    candidate: Candidate
    steps: list[tuple[str, Any]]
    rows: tuple[Any, ...]

    @classmethod
    def of(cls, dataset: Dataset, search: _Search, candidate: Candidate) -> _Prepared:
        """Fit the steps."""
        features, target = dataset.take(search.rows)
        unseen, unseen_target = dataset.take(search.unseen)
        model = candidate.build()
        if len(model.steps) > 1:
            features, unseen = model[:-1].fit_transform(features, target), model[:-1].transform(unseen)
        return cls(candidate, model.steps[:-1], (features, target, unseen, unseen_target, search.scoring))

    def calls(self, drawn: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
        """Return the arguments of `tier0.pipeline.selection.fit_and_score` for each of the parameters."""
        return [(self.candidate.build(**parameters)[-1], *self.rows) for parameters in drawn]

    def complete(self, estimator: Any) -> Any:
        """Return the pipeline of the steps and a fitted estimator."""
        from sklearn.pipeline import Pipeline  # noqa: PLC0415

        return Pipeline([*self.steps, ("model", estimator)])


def _threshold(dataset: Dataset, unseen: np.ndarray[Any, Any], model: Any, minority: Any) -> float | None:
    """Return the decision threshold; None unless there are two classes."""
    if dataset.task == "regression" or len(model.classes_) != 2:
        return None
    features, target = dataset.take(unseen)
    return choose_threshold(target, model.predict_proba(features)[:, 1], model.classes_, minority)


def _peers(
    dataset: Dataset,
    fitted: np.ndarray[Any, Any],
    test: np.ndarray[Any, Any],
    name: str,
    minority: Any,
    seed: int,
) -> tuple[Peer, ...]:
    """Fit a dummy and a plain model, which is linear, or a small tree if *name* is the linear candidate's."""
    from sklearn.dummy import DummyClassifier, DummyRegressor  # noqa: PLC0415

    is_regression = dataset.task == "regression"
    rows = sample(dataset, fitted, PLAIN_ROWS, seed)
    dummy = DummyRegressor() if is_regression else DummyClassifier(strategy="prior")
    plain = plain_tree(dataset, seed) if name == "linear" else candidates_for(dataset, ("linear",), seed)[0]
    peers = []
    for role, algorithm, model, chosen in (
        ("dummy", type(dummy).__name__, dummy, fitted),
        ("plain", plain.estimator, plain.build(), rows),
    ):
        model.fit(*dataset.take(chosen))
        made = Predictions.of(dataset, test, model, None, minority)
        peers.append(Peer(role, algorithm, len(chosen), made.metrics()))
    return tuple(peers)


def notes_of(training: Training) -> list[str]:
    """Return sentences about what a person should know before the model is used."""
    evaluation = training.evaluation
    metric = evaluation.chance.metric
    spread = evaluation.spread.get(metric, evaluation.chance.spread)
    notes = [
        f"{peer.algorithm}, a plain model, is as good within the spread: {metric} {peer.metrics[metric]:.3f} "
        f"against {training.metrics[metric]:.3f}"
        for peer in training.peers
        if peer.role == "plain" and peer.metrics[metric] >= training.metrics[metric] - spread
    ]
    never = [str(row.label) for row in evaluation.classes if row.support and not row.recall]
    if never:
        named = ", ".join(map(repr, never[:MAX_NAMED]))
        notes.append(f"no row of {named}{' …' if len(never) > MAX_NAMED else ''} is predicted as such")
    return notes


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
