"""The record of a pipeline run: what each step found, and what --resume needs, on disk."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tier0.core.errors import Tier0Error
from tier0.core.verdict import WORDS, Conclusion, conclude
from tier0.pipeline.study import Study
from tier0.report.markdown import plain
from tier0.runs.context import STATUSES, STEPS, RunContext, StepResult
from tier0.runs.plan import Plan, RunError, built_on

SCHEMA = 3
RECORD = "run.json"
STATE = "state.pickle"
KEPT = ("own", "dataset", "is_cohort", "parts", "selection", "trained", "manifest")


@dataclass
class Record:
    """What a run writes down; `folder` is the run's own, and only its owner may enter it.

    Attributes:
        folder: of the run, called as the run is.
        plan: what it is to do.
        done: step to what it found, and how many seconds it took.
        verdict: ``pass``, ``fail`` or ``inconclusive``; ``unfinished`` until it ends.
        problem: why it is not a pass, in words.
        started: step to when it began, as POSIX time in seconds.
    """

    folder: Path
    plan: Plan
    done: dict[str, tuple[StepResult, float]] = field(default_factory=dict)
    verdict: str = "unfinished"
    problem: str = ""
    started: dict[str, float] = field(default_factory=dict)

    @property
    def held(self) -> list[str]:
        """The steps that are done, and did not say no: one that did is asked again."""
        return [step for step, (found, _) in self.done.items() if not found.problems]

    @property
    def status(self) -> int:
        """The exit status: 0 passed, 1 failed, 2 inconclusive; 0 before the first step."""
        return self._conclusion.exit_status if self.done else 0

    @property
    def _conclusion(self) -> Conclusion:
        return conclude((), [STATUSES[found.status] for found, _ in self.done.values()])

    @property
    def verdict_text(self) -> str:
        """How it ended, in words."""
        return WORDS.get(
            self.verdict,
            f"not finished; so far {WORDS[self._conclusion.verdict]}" if self.done else "not finished",
        )

    def conclude(self) -> None:
        """Take the verdict from what the steps found, in this part of the run and in those before it."""
        self.verdict = self._conclusion.verdict
        self.problem = "; ".join(problem for found, _ in self.done.values() for problem in found.problems)

    def require_passed(self, steps: Sequence[str]) -> None:
        """Refuse to go on behind data, or a cohort, that must not be trained on.

        Raises:
            RunError: one of *steps* stands behind that, and it is not asked again.
        """
        for step in ("data", "cohort"):
            problems = self.done[step][0].problems if step in self.done else ()
            later = [one for one in steps if one in built_on(step)]
            if problems and later and step not in steps:
                number = STEPS.index(step) + 1
                raise RunError(
                    f"step {number} ({step}) said no: {'; '.join(problems)}. Step {later[0]!r} would be built on that: add {number} to --step"
                )

    @classmethod
    def create(cls, folder: Path, plan: Plan) -> Record:
        """Make the folder of a new run within *folder*.

        Raises:
            RunError: it cannot be made.
        """
        name = f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{os.urandom(3).hex()}"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / name).mkdir(mode=0o700)
        except OSError as problem:
            raise RunError(
                f"output-dir = {str(folder)!r} cannot be written to: {problem}. Give another with --output-dir"
            ) from problem
        record = cls(folder / name, plan)
        record.write()
        return record

    @classmethod
    def find(cls, folder: Path, name: str) -> Record:
        """Read what the run *name* in *folder* has written down.

        Raises:
            RunError: see `read`; or it is no name.
        """
        if name in {"", ".."} or Path(name).name != name:
            raise RunError(f"resume = {name!r} is no run: give the name of a folder in {folder}")
        return cls.read(folder.absolute() / name)

    @classmethod
    def read(cls, folder: Path) -> Record:
        """Read what a run has written down.

        Raises:
            RunError: there is no such run, or somebody else may write to it.
        """
        try:
            content = json.loads((folder / RECORD).read_text(encoding="utf-8"))
            found = folder.stat()
        except (OSError, ValueError) as problem:
            raise RunError(
                f"resume = {folder.name!r}: there is no run at {folder}: {problem}. See the folders in {folder.parent}"
            ) from problem
        schema = content.get("schema") if isinstance(content, dict) else None
        if schema != SCHEMA:
            raise RunError(
                f"resume = {folder.name!r} was written by another version of Tier0 (schema {schema!r}): run it anew"
            )
        if found.st_uid != os.getuid() or found.st_mode & 0o022:
            raise RunError(
                f"resume = {folder.name!r}: others may write to {folder}, so nothing in it is loaded. Run it anew"
            )
        try:
            plan = Plan(
                content["options"],
                Study.model_validate(content["study"]),
                tuple(content["steps"]),
                content["imbalanced"],
                content["serve"],
            )
            done = {
                step: (StepResult(one["facts"], one["lines"], one["problems"], one["status"]), one["seconds"])
                for step, one in content["done"].items()
            }
            started = {step: one["started"] for step, one in content["done"].items()}
            return cls(folder, plan, done, content["verdict"], content["problem"], started)
        except (KeyError, TypeError, AttributeError, ValueError) as problem:
            raise RunError(
                f"resume = {folder.name!r}: {folder / RECORD} is damaged ({problem!r}): run it anew"
            ) from problem

    def as_dict(self) -> dict[str, Any]:
        """Return it as it is written: the report as JSON."""
        return {
            "schema": SCHEMA,
            "run": self.folder.name,
            "verdict": self.verdict,
            "problem": self.problem,
            "options": dict(self.plan.options),
            "study": self.plan.study.model_dump(mode="json"),
            "steps": list(self.plan.steps),
            "imbalanced": self.plan.imbalanced,
            "serve": self.plan.serve,
            "done": {
                step: {
                    "number": STEPS.index(step) + 1,
                    "started": self.started[step],
                    "seconds": seconds,
                    "facts": found.facts,
                    "lines": found.lines,
                    "problems": found.problems,
                    "status": found.status,
                }
                for step, (found, seconds) in self.done.items()
            },
        }

    def write(self) -> None:
        """Write it down, whole or not at all; and the report for people beside it.

        Raises:
            RunError: there is no room, or no right to.
        """
        _replace(self.folder / RECORD, (json.dumps(self.as_dict(), indent=2, default=str) + "\n").encode())
        _replace(self.folder / "report.md", as_markdown(self).encode())

    def save(self, work: RunContext) -> None:
        """Write down what the steps have made.

        Raises:
            RunError: there is no room, or no right to; or it cannot be pickled.
        """
        import cloudpickle  # noqa: PLC0415 - candidates hold functions of functions

        try:
            state = cloudpickle.dumps({name: getattr(work, name) for name in KEPT})
        except Tier0Error:
            raise
        except Exception as problem:
            raise RunError(
                f"what was made cannot be pickled, and so neither kept for --resume nor registered: {type(problem).__name__}: {problem}. "
                "See to the model's __getstate__ or __reduce__"
            ) from problem
        _replace(self.folder / STATE, state)

    def load(self, work: RunContext) -> None:
        """Give *work* what the steps had made."""
        import cloudpickle  # noqa: PLC0415

        path = self.folder / STATE
        if path.exists():
            try:
                kept = cloudpickle.loads(
                    path.read_bytes()
                )  # of a folder that only we may write to, see `read`
            except Exception as problem:
                raise RunError(
                    f"resume = {self.folder.name!r}: {path} is damaged ({problem!r}): run it anew"
                ) from problem
            for name, value in kept.items():
                setattr(work, name, value)


def _replace(path: Path, content: bytes) -> None:
    unfinished = path.with_suffix(f"{path.suffix}.unfinished")
    try:
        unfinished.write_bytes(content)
        unfinished.replace(path)
    except OSError as problem:
        raise RunError(
            f"{path} cannot be written: {problem.strerror}. Make room there, and go on with --resume {path.parent.name}"
        ) from problem


def as_markdown(record: Record) -> str:
    """Return the report for people."""
    lines = [f"# Tier0 run {record.folder.name}: {record.verdict_text}", ""]
    if record.problem:
        lines += [f"**{plain(record.problem)}**", ""]
    lines += ["| step | seconds | |", "|---|---|---|"]
    for step, (found, seconds) in record.done.items():
        lines.append(
            f"| {STEPS.index(step) + 1} {step} | {seconds:.1f} | {'no' if found.problems else 'yes'} |"
        )
    for step, (found, _) in record.done.items():
        told = [
            *(f"- {plain(line)}" for line in found.lines),
            *(f"- **{plain(one)}**" for one in found.problems),
        ]
        lines += ["", f"## {STEPS.index(step) + 1} {step}", "", *told]
    return "\n".join(lines) + "\n"
