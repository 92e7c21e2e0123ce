"""The context of a pipeline run: its steps, their results, and the objects that they pass to each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tier0.core.errors import Tier0Error
from tier0.core.verdict import Status
from tier0.pipeline.study import Study

if TYPE_CHECKING:
    from tier0.pipeline.data import Dataset
    from tier0.pipeline.selection import Selection
    from tier0.pipeline.user_training import UserTraining
    from tier0.runs.session import Session, Trained
    from tier0.serving.server import Server

STEPS = ("scope", "data", "cohort", "selection", "training", "features", "deployment", "observability")
NEEDED = {
    "training": "selection",
    "features": "training",
    "deployment": "training",
    "observability": "training",
}
"""Step to the step that it depends on. The data is not among them: the first step that needs it loads it."""
STATUSES: tuple[Status, ...] = ("pass", "fail", "error")
"""Statuses of a step, indexed by its exit status."""
RESULT = "result: "
"""Beginning of the line that says what the numbers of a step mean."""


@dataclass(frozen=True)
class StepResult:
    """The result of one step.

    Attributes:
        facts: values of built-in types, for reports.
        lines: sentences for people, in order: the input, what was checked, the numbers, and what they mean.
        problems: sentences that say why the run must not continue.
        status: exit status that the problems mean: 1 failed, 2 inconclusive; 0 if nothing was found.
        suspicions: sentences that say why the run must fail in the end, although it continues.
    """

    facts: Mapping[str, Any]
    lines: Sequence[str]
    problems: Sequence[str] = ()
    status: int = 0
    suspicions: Sequence[str] = ()

    @classmethod
    def from_findings(
        cls,
        facts: Mapping[str, Any],
        lines: Sequence[str],
        problems: Sequence[str] = (),
        suspicions: Sequence[str] = (),
    ) -> StepResult:
        """Return the result of a step that was completed: it failed if it found any of them."""
        return cls(facts, lines, problems, 1 if problems or suspicions else 0, suspicions)


@dataclass
class RunContext:
    """The state of a pipeline run, which its steps read and extend.

    Attributes:
        session: session that trains, registers and serves.
        study: statement of the problem.
        folder: folder of the run, for everything that the run leaves.
        serve: whether step 7 registers, serves and verifies the model.
        own: result of the user's training function.
        dataset: rows in use.
        is_cohort: whether `dataset` is the cohort that step 3 chose.
        parts: part name to the indices of its rows in `dataset`.
        selection: result of step 4.
        trained: result of step 5.
        manifest: result of step 7.
        server: server that was started for step 7.
        results: step to its result.
        times: step to its start and end, as POSIX times in seconds; for the current step, both are its start.
    """

    session: Session
    study: Study
    folder: Path
    serve: bool = False
    own: UserTraining | None = None
    dataset: Dataset | None = None
    is_cohort: bool = False
    parts: dict[str, Any] | None = None
    selection: Selection | None = None
    trained: Trained | None = None
    manifest: dict[str, Any] | None = None
    server: Server | None = None
    results: dict[str, StepResult] = field(default_factory=dict)
    times: dict[str, tuple[float, float]] = field(default_factory=dict)

    @property
    def store(self) -> Path:
        """The BentoML home in which the model is registered."""
        return self.session.settings.store or self.folder / "bentoml"

    def data(self) -> Dataset:
        """Return the rows in use, and load them first if necessary.

        Raises:
            Tier0Error: the data cannot be loaded, or contradicts the study.
        """
        if self.dataset is None:
            self.dataset = self._load()
            self._require_problem_of_study(self.dataset.target_name, self.dataset.task)
        return self.dataset

    def _load(self) -> Dataset:
        from tier0.pipeline.cohort import make_rarer  # noqa: PLC0415 - imports pandas and scikit-learn
        from tier0.pipeline.data import load_dataset  # noqa: PLC0415

        settings = self.session.settings
        if settings.pipeline is None:
            dataset = load_dataset(settings, self.study.data, self.study.scope.task)
        else:
            self.own = self.own or self.session.call_user_training()
            dataset = self.own.dataset
        share = self.study.scope.imbalanced
        return dataset if share is None else make_rarer(dataset, share, settings.seed)

    def all_rows(self) -> Dataset:
        """Return the rows from before the choice of the cohort, so that steps 2 and 3 can be repeated."""
        if self.is_cohort:
            self.dataset, self.parts, self.is_cohort = None, None, False
        return self.data()

    def _require_problem_of_study(self, target: str, task: str) -> None:
        scope = self.study.scope
        if scope.target not in {None, target}:
            raise Tier0Error(
                f"the study's scope.target is {scope.target!r}, but the target of the data is {target!r}: "
                "correct one of them"
            )
        for key in ("metric", "selection_metric"):
            if (metric := getattr(scope, key)) is not None:
                from tier0.pipeline.data import require_metric_of_task  # noqa: PLC0415

                require_metric_of_task(metric, task, target, key)

    def split(self) -> dict[str, Any]:
        """Return the parts of the rows in use, by name, as indices."""
        if self.parts is None:
            from tier0.pipeline.data import split  # noqa: PLC0415

            rows = np.arange(len(self.data()))
            if self.own is not None:  # the training function has held out all of these rows
                self.parts = {"test": rows, "holdout": rows}
            else:
                self.parts = split(self.data(), self.session.settings.seed)
        return self.parts

    def require_trained(self, step: str) -> Trained:
        """Return the trained model.

        Args:
            step: name of the step that needs it, for the message.

        Raises:
            Tier0Error: no model was trained.
        """
        if self.trained is None:
            raise Tier0Error(f"step {step!r} needs a trained model: run step 5 (training) first")
        return self.trained
