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
from tier0.core.event_log import EventLog, Recorded
from tier0.core.import_object import import_named
from tier0.core.settings import DATASETS, TABLE, Settings, merge_settings
from tier0.core.verdict import WORDS, Conclusion, conclude
from tier0.pipeline.cluster import Run
from tier0.pipeline.study import Study, read_study
from tier0.report.markdown import plain
from tier0.runs.session import TRAINS, Session
from tier0.runs.steps import BODIES, NEEDED, STATUSES, STEPS, Found, Work

__all__ = ["STEPS", "Plan", "Record", "RunError", "Telling", "plan_of", "run_steps", "steps_of", "steps_to_do"]

SCHEMA = 3
HALF = 0.5
RECORD = "run.json"
STATE = "state.pickle"
TRACEBACK = "traceback.txt"
KEPT = ("own", "dataset", "is_cohort", "parts", "selection", "trained", "manifest")


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

    options: Mapping[str, str]
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
    asked = read_study(study, **scope)
    plan = Plan(_settled(options, asked.scope.target), asked, steps_of(steps), imbalanced, serve)
    own = plan.settings().pipeline
    if own is not None and imbalanced is not None:
        raise RunError("imbalanced changes the rows that are trained on, and --pipeline brings its own model: leave one of the two out")
    if own is not None and not callable(import_named("pipeline", own, TRAINS)):
        raise RunError(f"pipeline = {own!r} is no function: give one, {TRAINS}")
    if serve and "deployment" not in plan.steps:
        raise RunError("--include-bentoml is about step 7 (deployment), which was not asked for: add it to --step")
    return plan


def _settled(options: Mapping[str, str | None], target: str | None) -> dict[str, str]:
    """Return what the options, today's environment and the study's target say, so that a run means the same when it goes on from elsewhere."""
    given = {row.name: value for row in TABLE if (value := _first_of(options.get(row.name), os.environ.get(row.variable)))}
    if target is not None and "target" not in given and given.get("dataset", DATASETS[0]) not in DATASETS:
        options, given["target"] = {**options, "target": target}, target
    settings = merge_settings(options, os.environ, spelled="--")
    if address := settings.url or settings.service:
        raise RunError(
            f"{address!r} ({settings.sources['url' if settings.url else 'service']}) is a service of your own, and this run trains a model: "
            "ask `tier0 verify`, or leave it out"
        )
    if settings.target not in {None, target} and target is not None:
        raise RunError(f"the study's target is {target!r}, and {settings.sources['target']} says {settings.target!r}: leave one of the two out")
    if settings.dataset not in DATASETS:
        given["dataset"] = settings.dataset
    if settings.store is not None:
        given["store"] = str(settings.store)
    return given


def _first_of(*values: str | None) -> str | None:
    return next((value for value in values if value is not None), None)


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


def steps_to_do(plan: Plan, record: Record | None, asked: str | None) -> tuple[str, ...]:
    """Return which steps are to be done now, in their order.

    Args:
        plan: of the run.
        record: of the run, if it goes on.
        asked: as `steps_of` reads it; None for all of the plan that are not done, and what was built on an earlier outcome of those.

    Raises:
        RunError: one of them needs a step that is neither among them nor done, or stands behind one that said no; or the study has rules for
            such a step.
    """
    held = [] if record is None else record.held
    chosen = {step for step in plan.steps if step not in held} if asked is None else set(steps_of(asked))
    outdated = {later for step in chosen for later in built_on(step)}
    steps = tuple(step for step in STEPS if step in chosen or (asked is None and step in outdated.intersection(plan.steps)))
    there = {*steps, *(step for step in held if step not in outdated)}
    if plan.settings().pipeline is not None:
        there.add("selection")  # a training of one's own needs none
    for step in steps:
        needed = NEEDED.get(step)
        if needed is not None and needed not in there:
            number, other = STEPS.index(step) + 1, STEPS.index(needed) + 1
            message = f"step {number} ({step}) needs step {other} ({needed}), which was not asked for"
            raise RunError(f"{message}: add it (--step {other},{number}), or go on with a run that did it (--resume RUN)")
    if record is not None:
        record.refuse_past_no(steps)
    _refuse_unasked(plan.study, steps, there)
    return steps


def _refuse_unasked(study: Study, steps: Sequence[str], there: set[str]) -> None:
    """Refuse rules that no step holds anything against, neither one of *steps* nor one whose outcome is *there*."""
    later = set(steps) & set(STEPS[STEPS.index("cohort") + 1 :])
    if study.cohort and "cohort" not in there and later:
        raise RunError("the study says who belongs to the cohort, which step 3 (cohort) sees to, and that was not asked for: add 3 to --step")
    if study.data.model_fields_set and "data" not in there and later:
        raise RunError("the study says what the data must be like, which step 2 (data) sees to, and that was not asked for: add 2 to --step")
    if study.scope.success is not None and "training" in steps and "deployment" not in there:
        raise RunError("success is what step 7 (deployment) decides by, and that was not asked for: add 7 to --step, or leave success out")


def built_on(step: str) -> tuple[str, ...]:
    """Return the steps whose outcome stands no more when *step* is done again."""
    if step in {"features", "deployment"}:
        return ("observability",)
    return () if step == "scope" else STEPS[STEPS.index(step) + 1 :]


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
    done: dict[str, tuple[Found, float]] = field(default_factory=dict)
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
    def in_words(self) -> str:
        """How it ended, in words."""
        return WORDS.get(self.verdict, f"not finished; so far {WORDS[self._conclusion.verdict]}" if self.done else "not finished")

    def conclude(self) -> None:
        """Take the verdict from what the steps found, in this part of the run and in those before it."""
        self.verdict = self._conclusion.verdict
        self.problem = "; ".join(problem for found, _ in self.done.values() for problem in found.problems)

    def refuse_past_no(self, steps: Sequence[str]) -> None:
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
            raise RunError(f"output-dir = {str(folder)!r} cannot be written to: {problem}. Give another with --output-dir") from problem
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
            raise RunError(f"resume = {folder.name!r}: there is no run at {folder}: {problem}. See the folders in {folder.parent}") from problem
        schema = content.get("schema") if isinstance(content, dict) else None
        if schema != SCHEMA:
            raise RunError(f"resume = {folder.name!r} was written by another version of Tier0 (schema {schema!r}): run it anew")
        if found.st_uid != os.getuid() or found.st_mode & 0o022:
            raise RunError(f"resume = {folder.name!r}: others may write to {folder}, so nothing in it is loaded. Run it anew")
        try:
            plan = Plan(content["options"], Study.model_validate(content["study"]), tuple(content["steps"]), content["imbalanced"], content["serve"])
            done = {
                step: (Found(one["facts"], one["lines"], one["problems"], one["status"]), one["seconds"]) for step, one in content["done"].items()
            }
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

    def save(self, work: Work) -> None:
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
    try:
        unfinished.write_bytes(content)
        unfinished.replace(path)
    except OSError as problem:
        raise RunError(f"{path} cannot be written: {problem.strerror}. Make room there, and go on with --resume {path.parent.name}") from problem


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
    event: Callable[[Recorded], None] = lambda _: None


def run_steps(
    record: Record, steps: Sequence[str], telling: Telling, *, hold: Callable[[Work], None] | None = None, run: Run = itertools.starmap
) -> int:
    """Do *steps* of a run, and write down each; whatever was started is stopped at the end.

    Args:
        record: of the run.
        steps: those to do now.
        telling: who is told.
        hold: called with what is served, when the verdict is written and before the server is stopped, if the run passed.
        run: where the fits of steps 4 and 5 run.

    Returns:
        The exit status: 0 passed, 1 failed, 2 inconclusive.
    """
    with _alone(record.folder):
        return _run_steps(record, steps, telling, hold, run)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keep other processes from doing the same run; the lock goes with its process, however that ends."""
    from filelock import FileLock, Timeout  # noqa: PLC0415

    lock = FileLock(folder / "lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise RunError(f"run {folder.name} is being done by another process: wait until that has ended") from None
    try:
        yield
    finally:
        lock.release()


def _run_steps(record: Record, steps: Sequence[str], telling: Telling, hold: Callable[[Work], None] | None, run: Run) -> int:
    session = Session(record.plan.settings(), EventLog(listeners=[telling.event]), run=run, failed=True)
    work = Work(session, record.plan.study, record.folder, record.plan.imbalanced, record.plan.serve)
    record.verdict, record.problem = "unfinished", ""
    try:
        with _ending(session):
            record.load(work)
            _start_early(work, steps)
            _do_all(steps, work, record, telling)
            session.failed = bool(record.status)
            if hold is not None and not record.status and work.server is not None:
                record.conclude()
                record.write()
                hold(work)
        record.conclude()
    except KeyboardInterrupt:
        record.verdict = "unfinished"
        raise
    except Exception as problem:
        record.verdict, record.problem = "inconclusive", str(problem)
        raise
    finally:
        record.write()
    return record.status


@contextmanager
def _ending(session: Session) -> Iterator[None]:
    """Stop what the session started, whatever happens; at once, if somebody wants us gone."""
    try:
        yield
    except KeyboardInterrupt:
        session.interrupted = True
        raise
    finally:
        session.close()


def _do_all(steps: Sequence[str], work: Work, record: Record, telling: Telling) -> None:
    """Do the steps until one says no; only the deployment's no is told, too, where the model is looked up."""
    work.found = {step: found for step, (found, _) in record.done.items()}
    work.times = {step: (record.started[step], record.started[step] + seconds) for step, (_, seconds) in record.done.items()}
    for step in steps:
        found = _do(step, work, record, telling)
        if found.problems and step != "deployment":
            break


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


def _do(step: str, work: Work, record: Record, telling: Telling) -> Found:
    """Do one step, and write down what it found; what was built on an earlier outcome of it is forgotten."""
    telling.begins(STEPS.index(step) + 1, step)
    start = time.perf_counter()
    record.started[step] = time.time()
    for outdated in (step, *built_on(step)):
        record.done.pop(outdated, None)
        work.found.pop(outdated, None)
        work.times.pop(outdated, None)
    work.times[step] = (record.started[step], record.started[step])
    found = _found(step, work)
    seconds = time.perf_counter() - start
    work.found[step], work.times[step] = found, (record.started[step], record.started[step] + seconds)
    if not found.problems:
        try:
            record.save(work)
        except Tier0Error as problem:
            found = Found(found.facts, found.lines, [str(problem)], problem.exit_status)
    record.done = {one: record.done[one] if one != step else (found, seconds) for one in STEPS if one in record.done or one == step}
    record.write()
    telling.ends(step, found, seconds)
    return found


def _found(step: str, work: Work) -> Found:
    """Do one step; where it cannot be done, what it found is why."""
    try:
        return BODIES[step](work)
    except Tier0Error as problem:
        return Found({}, [], [str(problem)], problem.exit_status)
    except (Exception, SystemExit) as problem:  # noqa: BLE001 - what a step did not expect is no verdict on the model
        path = work.folder / TRACEBACK
        path.write_text(traceback.format_exc(), encoding="utf-8")
        return Found({}, [], [f"it broke: {type(problem).__name__}: {problem}. Where it came from stands in {path}"], 2)


def as_markdown(record: Record) -> str:
    """Return the report for people."""
    lines = [f"# Tier0 run {record.folder.name}: {record.in_words}", ""]
    if record.problem:
        lines += [f"**{plain(record.problem)}**", ""]
    lines += ["| step | seconds | |", "|---|---|---|"]
    for step, (found, seconds) in record.done.items():
        lines.append(f"| {STEPS.index(step) + 1} {step} | {seconds:.1f} | {'no' if found.problems else 'yes'} |")
    for step, (found, _) in record.done.items():
        told = [*(f"- {plain(line)}" for line in found.lines), *(f"- **{plain(one)}**" for one in found.problems)]
        lines += ["", f"## {STEPS.index(step) + 1} {step}", "", *told]
    return "\n".join(lines) + "\n"
