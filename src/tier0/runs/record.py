"""The record of a pipeline run on disk: the results of its steps, and the state that --resume needs."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tier0.core.display import MAX_TEXT, markdown
from tier0.core.errors import Tier0Error, UntrustedFileError, reason_of
from tier0.core.events import CheckDone
from tier0.core.fields import check_depth
from tier0.core.step_catalogue import STEP_CATALOGUE
from tier0.core.trusted_file import read_trusted, write_private
from tier0.core.verdict import WORDS, CheckResult, Conclusion, conclude
from tier0.pipeline.study import Study
from tier0.pipeline.table_content import digest_of
from tier0.runs.context import RESULT, STATUSES, STEPS, RunContext, StepResult
from tier0.runs.plan import Plan, RunError, dependents_of

SCHEMA = 3
RECORD = "run.json"
STATE = "state.pickle"
REPORT = "report.md"
STATE_FIELDS = ("own", "dataset", "is_cohort", "parts", "selection", "trained", "manifest")
"""Attributes of the context that are saved for --resume."""
NOT_SERVED = "not served: "
"""Beginning of the problem of a step whose model was accepted, but could not be served."""


@dataclass
class Record:
    """The record of one run.

    Attributes:
        folder: folder of the run, named like the run; only its owner has access.
        plan: plan of the run.
        done: step to its result, and the seconds that it took.
        verdict: ``pass``, ``fail`` or ``inconclusive``; ``unfinished`` until the run ends.
        problem: reason why the verdict is not ``pass``.
        started: step to its start, as POSIX time in seconds.
        digest: SHA-256 of the file with the data; empty before it is read, and if there is none.
        changed_file: the file with the data if it has changed since the run read it; otherwise empty.
    """

    folder: Path
    plan: Plan
    done: dict[str, tuple[StepResult, float]] = field(default_factory=dict)
    verdict: str = "unfinished"
    problem: str = ""
    started: dict[str, float] = field(default_factory=dict)
    digest: str = ""
    changed_file: str = ""

    @property
    def passed_steps(self) -> list[str]:
        """The steps that were run without problems; a resumed run does not repeat them.

        Steps that read a file which has changed since are not among them.
        """
        outdated = ("data", *dependents_of("data")) if self.changed_file else ()
        passed = [step for step, (result, _) in self.done.items() if not result.problems]
        return [step for step in passed if step not in outdated]

    @property
    def status(self) -> int:
        """The exit status: 0 passed, 1 failed, 2 inconclusive; 0 before the first step."""
        return self._conclusion.exit_status if self.done else 0

    @property
    def _conclusion(self) -> Conclusion:
        return conclude((), [STATUSES[result.status] for result, _ in self.done.values()])

    @property
    def verdict_text(self) -> str:
        """The verdict in words."""
        if self.verdict in WORDS:
            return WORDS[self.verdict]
        return f"not finished; so far {WORDS[self._conclusion.verdict]}" if self.done else "not finished"

    def conclude(self) -> None:
        """Set verdict and problem from the results of all steps, including those run before --resume."""
        self.verdict = self._conclusion.verdict
        reasons = [(*result.suspicions, *result.problems) for result, _ in self.done.values()]
        self.problem = "; ".join(itertools.chain.from_iterable(reasons))

    def require_passed(self, steps: Sequence[str]) -> None:
        """Check that none of *steps* builds on data or a cohort that failed, or on a file that has changed.

        Raises:
            RunError: one does, and the failed or outdated step is not among *steps*.
        """
        if self.changed_file:
            self._require_first_outdated(steps)
        for step in ("data", "cohort"):
            problems = self.done[step][0].problems if step in self.done else ()
            dependents = [one for one in steps if one in dependents_of(step)]
            if problems and dependents and step not in steps:
                number = STEPS.index(step) + 1
                numbers = ",".join(str(STEPS.index(one) + 1) for one in (step, *steps))
                raise RunError(
                    f"step {number} ({step}) failed: {'; '.join(problems)}. "
                    f"Step {dependents[0]!r} depends on it; run it again with --step {numbers}"
                )

    def _require_first_outdated(self, steps: Sequence[str]) -> None:
        """Check that *steps* begin with the first of the steps that a changed file outdates.

        Raises:
            RunError: they begin with a later one.
        """
        affected = ("data", *dependents_of("data"))
        first = next((step for step in affected if step in steps), None)
        earlier = [step for step in affected[: affected.index(first or "data")] if step in self.done]
        if earlier:
            numbers = ",".join(str(STEPS.index(one) + 1) for one in (*earlier, *steps))
            raise RunError(
                f"{self.changed_file} has changed since run {self.folder.name!r} read it, so that the "
                f"results of {', '.join(earlier)} are outdated: run these steps again, too, with --step "
                f"{numbers}, or start a new run"
            )

    @classmethod
    def create(cls, folder: Path, plan: Plan) -> Record:
        """Create the folder of a new run in *folder*, and write its record.

        Raises:
            RunError: the folder cannot be created.
        """
        name = f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{os.urandom(3).hex()}"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / name).mkdir(mode=0o700)
        except OSError as problem:
            raise RunError(
                f"cannot create a folder in --output-dir {str(folder)!r}: {reason_of(problem)}. "
                "Choose another one"
            ) from problem
        record = cls(folder / name, plan)
        record.write()
        return record

    @classmethod
    def find(cls, folder: Path, name: str) -> Record:
        """Read the record of the run *name* in *folder*.

        Raises:
            RunError: there is no such run, or its record cannot be used, see `read`.
            Tier0Error: the file with its data cannot be read any more.
        """
        if name in {"", ".."} or Path(name).name != name:
            raise RunError(f"no run named {name!r} in {folder} (run names are the folder names in it)")
        record = cls.read(folder.absolute() / name)
        dataset = record.plan.settings().dataset
        if record.digest and digest_of(Path(dataset)) != record.digest:
            record.changed_file = dataset
        return record

    @classmethod
    def read(cls, folder: Path) -> Record:
        """Read the record of the run in *folder*.

        Raises:
            RunError: the record is missing, damaged, from another version, or writable by other users.
        """
        path = folder / RECORD
        try:
            content = json.loads(read_trusted(path))  # it names functions, which are imported and called
            check_depth(content)
        except UntrustedFileError as problem:
            raise RunError(f"{problem}; or start a new run") from problem
        except (OSError, ValueError, RecursionError) as problem:
            raise RunError(
                f"cannot read the run {folder.name!r}: {reason_of(problem)}. "
                f"Pass the name of a folder in {folder.parent}, or another --output-dir"
            ) from problem
        schema = content.get("schema") if isinstance(content, dict) else None
        if schema != SCHEMA:
            raise RunError(
                f"run {folder.name!r} was written by another version of Tier0 "
                f"(schema {schema!r}, expected {SCHEMA}): start a new run"
            )
        try:
            return cls._from_dict(folder, content)
        except (KeyError, TypeError, AttributeError, ValueError, OverflowError) as problem:
            raise RunError(f"{path} is damaged ({problem!r}): start a new run") from problem

    @classmethod
    def _from_dict(cls, folder: Path, content: dict[str, Any]) -> Record:
        """Return the record that `as_dict` returned as *content*."""
        study = Study.model_validate(content["study"])
        options, steps, saved = content["options"], _texts(content["steps"]), content["done"]
        verdict, problem = _texts([content["verdict"], content["problem"]])
        if unknown := [step for step in (*steps, *saved) if step not in STEPS]:
            raise ValueError(f"unknown step {unknown[0]!r}")
        _texts(list(options.values()))
        plan = Plan(options, study, tuple(steps), bool(content["serve"]))
        done, started = {}, {}
        for step, entry in saved.items():
            lines, problems, status = _texts(entry["lines"]), _texts(entry["problems"]), entry["status"]
            if status not in range(len(STATUSES)):
                raise ValueError(f"unknown status {status!r}")
            suspicions = _texts(entry.get("suspicions", []))
            result = StepResult(dict(entry["facts"]), lines, problems, status, suspicions)
            done[step] = (result, float(entry["seconds"]))
            started[step] = float(entry["started"])
        (digest,) = _texts([content.get("data_sha256", "")])
        return cls(folder, plan, done, verdict, problem, started, digest)

    def check_of(self, step: str) -> CheckDone:
        """Return a step that was done as the event of a check, beside those of the served model."""
        result, seconds = self.done[step]
        message = "\n".join([*result.suspicions, *result.problems]).removeprefix(NOT_SERVED)
        if result.status and not message:  # another step has the reason
            conclusion = next((line for line in result.lines if line.startswith(RESULT)), "")
            message = conclusion.removeprefix(RESULT)
        status = STATUSES[result.status]
        check = CheckResult(f"step.{step}", status, message, {"lines": list(result.lines)}, seconds=seconds)
        return CheckDone.of(check, STEP_CATALOGUE[step].question)

    def as_dict(self) -> dict[str, Any]:
        """Return the record as JSON types: the content of run.json and of the report of --json."""
        return {
            "schema": SCHEMA,
            "run": self.folder.name,
            "verdict": self.verdict,
            "problem": self.problem,
            "options": dict(self.plan.options),
            "study": self.plan.study.model_dump(mode="json"),
            "steps": list(self.plan.steps),
            "imbalanced": self.plan.study.scope.imbalanced,
            "serve": self.plan.serve,
            "data_sha256": self.digest,
            "done": {
                step: {
                    "number": STEPS.index(step) + 1,
                    "started": self.started[step],
                    "seconds": seconds,
                    "facts": result.facts,
                    "lines": result.lines,
                    "problems": result.problems,
                    "suspicions": result.suspicions,
                    "status": result.status,
                }
                for step, (result, seconds) in self.done.items()
            },
        }

    def write(self) -> None:
        """Write the record and the report for people, each atomically.

        Raises:
            RunError: a file cannot be written.
        """
        content = json.dumps(self.as_dict(), indent=2, default=str) + "\n"
        _replace(self.folder / RECORD, content.encode())
        _replace(self.folder / REPORT, as_markdown(self).encode(errors="backslashreplace"))

    def save(self, context: RunContext) -> None:
        """Save what the steps have made, for `load`.

        Raises:
            RunError: the state cannot be pickled, or the file cannot be written.
        """
        import cloudpickle  # noqa: PLC0415 - candidates have functions that were defined within functions

        try:
            state = cloudpickle.dumps({name: getattr(context, name) for name in STATE_FIELDS})
        except Tier0Error:
            raise
        except Exception as problem:
            raise RunError(
                "the result of the step cannot be pickled, so it can be neither resumed nor registered: "
                f"{type(problem).__name__}: {problem}. Check the model's __getstate__ or __reduce__"
            ) from problem
        _replace(self.folder / STATE, state)

    def load(self, context: RunContext) -> None:
        """Restore what the steps had made into *context*.

        Raises:
            RunError: the state is damaged, or other users can have written it.
        """
        import cloudpickle  # noqa: PLC0415

        path = self.folder / STATE
        try:
            content = read_trusted(path)
        except FileNotFoundError:
            return
        except UntrustedFileError as problem:
            raise RunError(f"{problem}; or start a new run") from problem
        except OSError as problem:
            raise RunError(f"cannot read {path}: {problem.strerror}. Start a new run") from problem
        try:
            state = cloudpickle.loads(content)
            values = {name: state[name] for name in STATE_FIELDS}
        except Exception as problem:
            raise RunError(f"{path} is damaged ({problem!r}): start a new run") from problem
        for name, value in values.items():
            setattr(context, name, value)


def _texts(values: Any) -> list[str]:
    """Return a list of texts as it is.

    Raises:
        TypeError: it is something else.
    """
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise TypeError(f"{values!r} is not a list of texts")
    return values


def _replace(path: Path, content: bytes) -> None:
    try:
        write_private(path, content)
    except OSError as problem:
        raise RunError(
            f"cannot write {path}: {problem.strerror}. Free space or correct the permissions, "
            f"then continue with --resume {path.parent.name}"
        ) from problem


def as_markdown(record: Record) -> str:
    """Return the report for people as Markdown."""
    lines = [f"# Tier0 run {record.folder.name}: {record.verdict_text}", ""]
    if record.problem:
        lines += [f"**{markdown(record.problem, MAX_TEXT)}**", ""]
    lines += ["| step | seconds | status |", "|---|---|---|"]
    for step, (result, seconds) in record.done.items():
        status = WORDS[STATUSES[result.status]]
        lines.append(f"| {STEPS.index(step) + 1} {step} | {seconds:.1f} | {status} |")
    for step, (result, _) in record.done.items():
        lines += ["", f"## {STEPS.index(step) + 1} {step}", ""]
        lines += [f"- {markdown(line, MAX_TEXT)}" for line in result.lines]
        found = [*result.suspicions, *result.problems]
        lines += [f"- **{markdown(problem, MAX_TEXT)}**" for problem in found]
    return "\n".join(lines) + "\n"
