"""The eight steps in their order, with what they made written down after each: a run that was ended goes on where it stopped."""

from __future__ import annotations

import itertools
import json
import os
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tier0.core.errors import Tier0Error
from tier0.core.events import Event, EventLog
from tier0.core.settings import DATASETS, TABLE, Settings, merge_settings
from tier0.pipeline.cluster import Run
from tier0.pipeline.study import Study, read_study
from tier0.runs.named import import_named
from tier0.runs.session import TRAINS, Session
from tier0.runs.steps import BODIES, NEEDED, STEPS, Found, Work

__all__ = ["STEPS", "Plan", "Record", "RunError", "Telling", "plan_of", "refuse_gaps", "run_steps", "steps_of"]

SCHEMA = 2
HALF = 0.5
RECORD = "run.json"
STATE = "state.pickle"
TRACEBACK = "traceback.txt"
ENDS_THE_RUN = {"data", "cohort"}
"""Steps whose no is final: what comes after them would be built on it."""
KEPT = ("own", "dataset", "parts", "selection", "trained", "manifest")


class RunError(Tier0Error):
    """The run cannot begin, or go on; the message names what is wrong, and the remedy."""


@dataclass(frozen=True)
class Plan:
    """What a run is to do.

    Attributes:
        options: settings as they were given, by option or environment, as text, under their names; files by their whole path.
        study: what is asked.
        steps: in their order.
        imbalanced: share of the rarest class; None leaves it as it is.
        serve: whether step 7 registers, serves and verifies the model.
    """

    options: Mapping[str, str | None]
    study: Study
    steps: tuple[str, ...] = STEPS
    imbalanced: float | None = None
    serve: bool = False

    def settings(self) -> Settings:
        """Return what was asked for.

        Raises:
            SettingsError: a value cannot be used.
        """
        return merge_settings(self.options, {}, spelled="--")


def plan_of(
    options: Mapping[str, str | None], study: Path | None, scope: Mapping[str, Any], steps: str, imbalanced: float | None, *, serve: bool
) -> Plan:
    """Return the plan of a new run, when every part of it can be used.

    Raises:
        RunError: a part cannot.
        StudyError: the statement of the problem cannot.
        SettingsError: a setting cannot.
    """
    if imbalanced is not None and not 0 < imbalanced < HALF:
        raise RunError(f"imbalanced = {imbalanced:g} is no share of a rarer class: give more than 0 and less than 0.5, such as 0.1")
    plan = Plan(_settled(options), read_study(study, **scope), steps_of(steps), imbalanced, serve)
    _refuse_unasked(plan)
    own = plan.settings().pipeline
    if own is not None and imbalanced is not None:
        raise RunError("imbalanced changes the rows that are trained on, and --pipeline brings its own model: leave one of the two out")
    if own is not None and not callable(import_named("pipeline", own, TRAINS)):
        raise RunError(f"pipeline = {own!r} is no function: give one, {TRAINS}")
    if serve and "deployment" not in plan.steps:
        raise RunError("--include-bentoml is about step 7 (deployment), which was not asked for: add it to --step")
    return plan


def _settled(options: Mapping[str, str | None]) -> dict[str, str | None]:
    """Return what the options and today's environment say, so that a run means the same when it goes on from elsewhere."""
    settings = merge_settings(options, os.environ, spelled="--")
    if address := settings.url or settings.service:
        raise RunError(
            f"{address!r} ({settings.sources['url' if settings.url else 'service']}) is a service of your own, and this run trains a model: "
            "ask `tier0 verify`, or leave it out"
        )
    given = {row.name: options.get(row.name) or os.environ.get(row.variable) for row in TABLE if settings.sources[row.name] != "default"}
    if settings.sources["dataset"] != "default" and settings.dataset not in DATASETS:
        given["dataset"] = str(Path(settings.dataset).absolute())
    if settings.store is not None:
        given["store"] = str(settings.store.absolute())
    return given


def _refuse_unasked(plan: Plan) -> None:
    """Refuse rules that no step of the plan would hold anything against."""
    study, steps = plan.study, set(plan.steps)
    later = steps & set(STEPS[STEPS.index("cohort") + 1 :])
    if study.cohort and "cohort" not in steps and later:
        raise RunError("the study says who belongs to the cohort, which step 3 (cohort) sees to, and that was not asked for: add 3 to --step")
    if study.data.model_fields_set and "data" not in steps and later:
        raise RunError("the study says what the data must be like, which step 2 (data) sees to, and that was not asked for: add 2 to --step")
    if study.scope.success is not None and "training" in steps and "deployment" not in steps:
        raise RunError("success is what step 7 (deployment) decides by, and that was not asked for: add 7 to --step, or leave success out")


def steps_of(text: str) -> tuple[str, ...]:
    """Read which steps: ``4,5,7``, ``4-8``, or their names; in the order of the pipeline.

    Raises:
        RunError: there is no such step.
    """
    chosen: set[str] = set()
    for part in filter(None, (one.strip() for one in text.split(","))):
        first, dash, last = part.partition("-")
        bounds = [_number_of(one, text) for one in ((first, last) if dash else (part, part))]
        chosen |= set(STEPS[bounds[0] - 1 : bounds[1]])
        if bounds[0] > bounds[1]:
            raise RunError(f"step = {text!r} goes backwards: write the smaller one first")
    if not chosen:
        raise RunError(f"step = {text!r} names no step: give numbers or names, such as 4,5,7 or 4-8. There are {_all_steps()}")
    return tuple(step for step in STEPS if step in chosen)


def _number_of(name: str, text: str) -> int:
    name = name.strip()
    if name in STEPS:
        return STEPS.index(name) + 1
    if not name.isdecimal() or not 1 <= int(name) <= len(STEPS):
        raise RunError(f"step = {text!r} has {name!r}: there are {_all_steps()}")
    return int(name)


def _all_steps() -> str:
    return ", ".join(f"{number} {name}" for number, name in enumerate(STEPS, 1))


def refuse_gaps(steps: Sequence[str], done: Sequence[str] = ()) -> None:
    """Refuse steps that need one which is neither asked for nor done.

    Raises:
        RunError: there is one; the message names it.
    """
    for step in steps:
        needed = NEEDED.get(step)
        if needed is not None and needed not in steps and needed not in done:
            number, other = STEPS.index(step) + 1, STEPS.index(needed) + 1
            message = f"step {number} ({step}) needs step {other} ({needed}), which was not asked for"
            raise RunError(f"{message}: add it (--step {other},{number}), or go on with a run that did it (--resume RUN)")


@dataclass
class Record:
    """What a run writes down; `folder` is the run's own, and only its owner may enter it.

    Attributes:
        folder: of the run, called as the run is.
        plan: what it is to do.
        done: step to what it found, and how many seconds it took.
        verdict: ``pass``, ``fail`` or ``error``; ``unfinished`` until it ends.
        problem: why it is not a pass, in words.
        started: step to when it began, as POSIX time in seconds.
    """

    folder: Path
    plan: Plan
    done: dict[str, tuple[Found, float]] = field(default_factory=dict)
    verdict: str = "unfinished"
    problem: str = ""
    started: dict[str, float] = field(default_factory=dict)

    @property
    def held(self) -> list[str]:
        """The steps that are done, and did not say no: one that did is asked again."""
        return [step for step, (found, _) in self.done.items() if not found.problems]

    def refuse_past_no(self, steps: Sequence[str]) -> None:
        """Refuse to go on behind a step whose no is final.

        Raises:
            RunError: one of *steps* stands behind it, and it is not asked again.
        """
        for step in ENDS_THE_RUN & self.done.keys():
            problems = self.done[step][0].problems
            later = [one for one in steps if STEPS.index(one) > STEPS.index(step)]
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
            raise RunError(f"output-dir = {str(folder)!r} cannot be written to: {problem}. Give another with --output-dir") from problem
        record = cls(folder / name, plan)
        record.write()
        return record

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
            raise RunError(f"resume = {folder.name!r}: there is no run at {folder}: {problem}. See the folders in {folder.parent}") from problem
        schema = content.get("schema") if isinstance(content, dict) else None
        if schema != SCHEMA:
            raise RunError(f"resume = {folder.name!r} was written by another version of Tier0 (schema {schema!r}): run it anew")
        if found.st_uid != os.getuid() or found.st_mode & 0o022:
            raise RunError(f"resume = {folder.name!r}: others may write to {folder}, so nothing in it is loaded. Run it anew")
        try:
            plan = Plan(content["options"], Study.model_validate(content["study"]), tuple(content["steps"]), content["imbalanced"], content["serve"])
            done = {step: (Found(one["facts"], one["lines"], one["problems"]), one["seconds"]) for step, one in content["done"].items()}
            started = {step: one["started"] for step, one in content["done"].items()}
            return cls(folder, plan, done, content["verdict"], content["problem"], started)
        except (KeyError, TypeError, AttributeError, ValueError) as problem:
            raise RunError(f"resume = {folder.name!r}: {folder / RECORD} is damaged ({problem!r}): run it anew") from problem

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
                }
                for step, (found, seconds) in self.done.items()
            },
        }

    def write(self) -> None:
        """Write it down, whole or not at all; and the report for people beside it."""
        _replace(self.folder / RECORD, (json.dumps(self.as_dict(), indent=2, default=str) + "\n").encode())
        _replace(self.folder / "report.md", as_markdown(self).encode())

    def save(self, work: Work) -> None:
        """Write down what the steps have made."""
        import cloudpickle  # noqa: PLC0415 - candidates hold functions of functions

        _replace(self.folder / STATE, cloudpickle.dumps({name: getattr(work, name) for name in KEPT}))

    def load(self, work: Work) -> None:
        """Give *work* what the steps had made."""
        import cloudpickle  # noqa: PLC0415

        path = self.folder / STATE
        if path.exists():
            try:
                kept = cloudpickle.loads(path.read_bytes())  # of a folder that only we may write to, see `read`
            except Exception as problem:
                raise RunError(f"resume = {self.folder.name!r}: {path} is damaged ({problem!r}): run it anew") from problem
            for name, value in kept.items():
                setattr(work, name, value)


def _replace(path: Path, content: bytes) -> None:
    unfinished = path.with_suffix(f"{path.suffix}.unfinished")
    unfinished.write_bytes(content)
    unfinished.replace(path)


@dataclass
class Telling:
    """Who is told what happens.

    Attributes:
        begins: a step, by its number and name.
        ends: a step, with what it found.
        event: anything else, as it comes.
    """

    begins: Callable[[int, str], None] = lambda _, __: None
    ends: Callable[[str, Found, float], None] = lambda _, __, ___: None
    event: Callable[[Event], None] = lambda _: None


def run_steps(
    record: Record, steps: Sequence[str], telling: Telling, *, hold: Callable[[Work], None] | None = None, run: Run = itertools.starmap
) -> int:
    """Do *steps* of a run, and write down each; whatever was started is stopped at the end.

    Args:
        record: of the run.
        steps: those to do now.
        telling: who is told.
        hold: is called with what was served before it is stopped, if all went well.
        run: where the fits of steps 4 and 5 run.

    Returns:
        The exit status: 0 it holds, 1 it does not, 2 it could not be done.
    """
    with _alone(record.folder):
        return _run_steps(record, steps, telling, hold, run)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keep other processes from doing the same run; the lock goes with its process, however that ends."""
    from filelock import FileLock, Timeout  # noqa: PLC0415

    try:
        with FileLock(folder / "lock", timeout=0):
            yield
    except Timeout:
        raise RunError(f"run {folder.name} is being done by another process: wait until that has ended") from None


def _run_steps(record: Record, steps: Sequence[str], telling: Telling, hold: Callable[[Work], None] | None, run: Run) -> int:
    settings = record.plan.settings()
    session = Session(settings, EventLog(listeners=[telling.event]), run=run)
    work = Work(session, record.plan.study, record.folder, record.plan.imbalanced, record.plan.serve)
    status, is_done, record.problem, record.verdict = 0, False, "", "unfinished"
    try:
        record.load(work)
        work.found = {step: found for step, (found, _) in record.done.items()}
        work.times = {step: (record.started[step], record.started[step] + seconds) for step, (_, seconds) in record.done.items()}
        _start_early(work, steps)
        for step in steps:
            status = max(status, _do(step, work, record, telling))
            if status and (step in ENDS_THE_RUN or record.verdict == "error"):
                break
        if not status and (said_no := [problem for found, _ in record.done.values() for problem in found.problems]):
            status, record.problem = 1, "; ".join(said_no)  # an earlier part of this run did
        if not status and hold is not None and work.server is not None:
            hold(work)
        is_done = True
    except KeyboardInterrupt:
        session.interrupted = True
        raise
    except Tier0Error as problem:
        record.problem = str(problem)
        raise
    finally:
        session.failed = bool(status) or not is_done
        session.close()
        if not session.interrupted:
            record.verdict = {0: "pass", 1: "fail"}.get(status, "error") if is_done else "error"
        record.write()
    return status


def _start_early(work: Work, steps: Sequence[str]) -> None:
    """Start what imports for seconds while the model trains: MLflow, BentoML, and the server's worker."""
    if "training" in steps:
        folder = work.folder / "mlflow"  # a new one where there is one: whoever was killed may have left it half made
        for number in itertools.count(2):
            if not folder.exists():
                break
            folder = work.folder / f"mlflow-{number}"
        folder.mkdir()
        work.session.prepare(folder, work.store if work.serve and "deployment" in steps else work.session.workspace.store)
    if "deployment" in steps and work.serve:
        work.server = work.session.launch()


def _do(step: str, work: Work, record: Record, telling: Telling) -> int:
    """Do one step, write down what it found, and return its status."""
    telling.begins(STEPS.index(step) + 1, step)
    start = time.perf_counter()
    record.started[step] = time.time()
    work.times[step] = (record.started[step], record.started[step])
    work.found.pop(step, None)
    status = 0
    try:
        found = BODIES[step](work)
        if found.problems:
            status, record.problem = 1, "; ".join(found.problems)
    except Tier0Error as problem:
        status, record.problem = problem.exit_status, str(problem)
        found = Found({}, [f"{'not served' if step == 'deployment' else 'not done'}: {problem}"], [str(problem)])
        if step != "deployment":
            record.verdict = "error"
    except (Exception, SystemExit) as problem:  # noqa: BLE001 - what a step did not expect is no verdict on the model
        (record.folder / TRACEBACK).write_text(traceback.format_exc(), encoding="utf-8")
        record.problem = f"{type(problem).__name__}: {problem}. Where it came from stands in {record.folder / TRACEBACK}"
        status, record.verdict = 2, "error"
        found = Found({}, [f"it broke: {record.problem}"], [record.problem])
    seconds = time.perf_counter() - start
    work.found[step], work.times[step] = found, (record.started[step], record.started[step] + seconds)
    if status == 0:
        record.save(work)
    if status == 0 or found.facts:
        record.done[step] = (found, seconds)
    record.write()
    telling.ends(step, found, seconds)
    return status


def as_markdown(record: Record) -> str:
    """Return the report for people."""
    verdict = {"pass": "it holds", "fail": "it does not hold", "error": "it could not be done", "unfinished": "it has not ended"}[record.verdict]
    lines = [f"# Tier0 run {record.folder.name}: {verdict}", ""]
    if record.problem:
        lines += [f"**{_plain(record.problem)}**", ""]
    lines += ["| step | seconds | |", "|---|---|---|"]
    for step, (found, seconds) in record.done.items():
        lines.append(f"| {STEPS.index(step) + 1} {step} | {seconds:.1f} | {'no' if found.problems else 'yes'} |")
    for step, (found, _) in record.done.items():
        lines += [
            "",
            f"## {STEPS.index(step) + 1} {step}",
            "",
            *(f"- {_plain(line)}" for line in found.lines),
            *(f"- **{_plain(one)}**" for one in found.problems),
        ]
    return "\n".join(lines) + "\n"


def _plain(text: str) -> str:
    """Return text from data so that Markdown takes it as it is."""
    flat = " ".join(text.split())
    return "".join(f"\\{letter}" if letter in "\\`*_[]<>|" else letter for letter in flat)
