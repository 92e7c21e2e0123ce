"""The context of a pipeline run: its steps, what each step found, and what the steps pass on to each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tier0.core.errors import Tier0Error
from tier0.core.verdict import Status
from tier0.pipeline.study import METRICS, Study

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
"""What a step cannot do without; the data is loaded by whichever step comes first."""
STATUSES: tuple[Status, ...] = ("pass", "fail", "error")
"""Of a step, by its exit status."""


@dataclass(frozen=True)
class StepResult:
    """What one step found.

    Attributes:
        facts: of built-in types, for reports.
        lines: what a person reads, in order: what went in, what was checked, the numbers, and what they mean.
        problems: why the run must not go on, in sentences.
        status: the exit status that the problems mean: 1 failed, 2 inconclusive; 0 where there is none.
    """

    facts: Mapping[str, Any]
    lines: Sequence[str]
    problems: Sequence[str] = ()
    status: int = 0

    @classmethod
    def of(cls, facts: Mapping[str, Any], lines: Sequence[str], problems: Sequence[str] = ()) -> StepResult:
        """Return what a step found that was done: its problems say that it does not hold."""
        return cls(facts, lines, problems, 1 if problems else 0)


@dataclass
class RunContext:
    """What is known so far.

    Attributes:
        session: that trains, registers and serves.
        study: what was asked.
        folder: of the run: what it leaves is there.
        imbalanced: the share that the rarest class is to have; None leaves it as it is.
        serve: whether the model is registered, served and verified.
        own: what a training function of the user's own returned.
        dataset: the rows in use.
        is_cohort: they are those that step 3 left.
        parts: of them.
        selection: step 4.
        trained: step 5.
        manifest: step 7.
        server: that was started for step 7.
        found: step to what it found.
        times: step to when it began and ended, as POSIX times in seconds; of the one that is being done, both are its beginning.
    """

    session: Session
    study: Study
    folder: Path
    imbalanced: float | None = None
    serve: bool = False
    own: UserTraining | None = None
    dataset: Dataset | None = None
    is_cohort: bool = False
    parts: dict[str, Any] | None = None
    selection: Selection | None = None
    trained: Trained | None = None
    manifest: dict[str, Any] | None = None
    server: Server | None = None
    found: dict[str, StepResult] = field(default_factory=dict)
    times: dict[str, tuple[float, float]] = field(default_factory=dict)

    @property
    def store(self) -> Path:
        """The BentoML home that the model is registered in."""
        return self.session.settings.store or self.folder / "bentoml"

    def data(self) -> Dataset:
        """Return the rows in use; load them, if no step has."""
        if self.dataset is None:
            from tier0.pipeline.cohort import make_rarer  # noqa: PLC0415 - imports pandas and scikit-learn
            from tier0.pipeline.data import load_dataset  # noqa: PLC0415

            if self.session.settings.pipeline is None:
                dataset = load_dataset(self.session.settings)
            else:
                self.own = self.own or self.session.call_user_training()
                dataset = self.own.dataset
            self.dataset = (
                dataset
                if self.imbalanced is None
                else make_rarer(dataset, self.imbalanced, self.session.settings.seed)
            )
            self._refuse_another_problem(self.dataset.target_name, self.dataset.task)
        return self.dataset

    def everybody(self) -> Dataset:
        """Return the rows among which step 3 has not chosen: a step that is done again begins where it began."""
        if self.is_cohort:
            self.dataset, self.parts, self.is_cohort = None, None, False
        return self.data()

    def _refuse_another_problem(self, target: str, task: str) -> None:
        asked = self.study.scope
        if asked.target not in {None, target}:
            raise Tier0Error(
                f"scope.target = {asked.target!r} in the study, and {target!r} is what the data has as its target: correct one of them"
            )
        if asked.metric is not None and METRICS[asked.metric][0] != task:
            others = ", ".join(name for name, (of, *_) in METRICS.items() if of == task)
            raise Tier0Error(
                f"scope.metric = {asked.metric!r} is for a {METRICS[asked.metric][0]}, and {target!r} is a {task}: give one of {others}"
            )

    def split(self) -> dict[str, Any]:
        """Return the parts of the rows in use."""
        if self.parts is None:
            from tier0.pipeline.data import split  # noqa: PLC0415

            rows = np.arange(len(self.data()))
            self.parts = (
                {"test": rows, "holdout": rows}
                if self.own is not None
                else split(self.data(), self.session.settings.seed)
            )
        return self.parts
