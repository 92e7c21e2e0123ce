"""The runner of the eight steps: it runs them in order and writes the record after each."""

from __future__ import annotations

import itertools
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tier0.core.errors import Tier0Error
from tier0.core.event_log import EventLog, Recorded
from tier0.pipeline.cluster import Executor
from tier0.pipeline.study import Study
from tier0.runs.context import NEEDED, STEPS, RunContext, StepResult
from tier0.runs.plan import Plan, RunError, built_on, steps_of
from tier0.runs.record import Record
from tier0.runs.session import Session
from tier0.runs.steps import BODIES

TRACEBACK = "traceback.txt"


@dataclass
class RunListener:
    """Who is told what happens.

    Attributes:
        begins: a step, by its number and name.
        ends: a step, with what it found.
        event: anything else, as it comes.
    """

    begins: Callable[[int, str], None] = lambda _, __: None
    ends: Callable[[str, StepResult, float], None] = lambda _, __, ___: None
    event: Callable[[Recorded], None] = lambda _: None


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
    steps = tuple(
        step
        for step in STEPS
        if step in chosen or (asked is None and step in outdated.intersection(plan.steps))
    )
    there = {*steps, *(step for step in held if step not in outdated)}
    if plan.settings().pipeline is not None:
        there.add("selection")  # a training of one's own needs none
    for step in steps:
        needed = NEEDED.get(step)
        if needed is not None and needed not in there:
            number, other = STEPS.index(step) + 1, STEPS.index(needed) + 1
            message = f"step {number} ({step}) needs step {other} ({needed}), which was not asked for"
            raise RunError(
                f"{message}: add it (--step {other},{number}), or go on with a run that did it (--resume RUN)"
            )
    if record is not None:
        record.require_passed(steps)
    _refuse_unasked(plan.study, steps, there)
    return steps


def _refuse_unasked(study: Study, steps: Sequence[str], there: set[str]) -> None:
    """Refuse rules that no step holds anything against, neither one of *steps* nor one whose outcome is *there*."""
    later = set(steps) & set(STEPS[STEPS.index("cohort") + 1 :])
    if study.cohort and "cohort" not in there and later:
        raise RunError(
            "the study says who belongs to the cohort, which step 3 (cohort) sees to, and that was not asked for: add 3 to --step"
        )
    if study.data.model_fields_set and "data" not in there and later:
        raise RunError(
            "the study says what the data must be like, which step 2 (data) sees to, and that was not asked for: add 2 to --step"
        )
    if study.scope.success is not None and "training" in steps and "deployment" not in there:
        raise RunError(
            "success is what step 7 (deployment) decides by, and that was not asked for: add 7 to --step, or leave success out"
        )


def run_steps(
    record: Record,
    steps: Sequence[str],
    telling: RunListener,
    *,
    hold: Callable[[RunContext], None] | None = None,
    executor: Executor = itertools.starmap,
) -> int:
    """Do *steps* of a run, and write down each; whatever was started is stopped at the end.

    Args:
        record: of the run.
        steps: those to do now.
        telling: who is told.
        hold: called with what is served, when the verdict is written and before the server is stopped, if the run passed.
        executor: runs the fits of steps 4 and 5.

    Returns:
        The exit status: 0 passed, 1 failed, 2 inconclusive.
    """
    with _alone(record.folder):
        return _run_steps(record, steps, telling, hold, executor)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keep other processes from doing the same run; the lock goes with its process, however that ends."""
    from filelock import FileLock, Timeout  # noqa: PLC0415

    lock = FileLock(folder / "lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise RunError(
            f"run {folder.name} is being done by another process: wait until that has ended"
        ) from None
    try:
        yield
    finally:
        lock.release()


def _run_steps(
    record: Record,
    steps: Sequence[str],
    telling: RunListener,
    hold: Callable[[RunContext], None] | None,
    executor: Executor,
) -> int:
    session = Session(
        record.plan.settings(), EventLog(listeners=[telling.event]), executor=executor, failed=True
    )
    work = RunContext(session, record.plan.study, record.folder, record.plan.imbalanced, record.plan.serve)
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


def _do_all(steps: Sequence[str], work: RunContext, record: Record, telling: RunListener) -> None:
    """Do the steps until one says no; only the deployment's no is told, too, where the model is looked up."""
    work.found = {step: found for step, (found, _) in record.done.items()}
    work.times = {
        step: (record.started[step], record.started[step] + seconds)
        for step, (_, seconds) in record.done.items()
    }
    for step in steps:
        found = _do(step, work, record, telling)
        if found.problems and step != "deployment":
            break


def _start_early(work: RunContext, steps: Sequence[str]) -> None:
    """Start what imports for seconds while the model trains: MLflow, BentoML, and the server's worker."""
    if "training" in steps:
        folder = (
            work.folder / "mlflow"
        )  # a new one where there is one: whoever was killed may have left it half made
        for number in itertools.count(2):
            if not folder.exists():
                break
            folder = work.folder / f"mlflow-{number}"
        folder.mkdir()
        work.session.prepare(
            folder, work.store if work.serve and "deployment" in steps else work.session.workspace.store
        )
    if "deployment" in steps and work.serve:
        work.server = work.session.launch()


def _do(step: str, work: RunContext, record: Record, telling: RunListener) -> StepResult:
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
            found = StepResult(found.facts, found.lines, [str(problem)], problem.exit_status)
    record.done = {
        one: record.done[one] if one != step else (found, seconds)
        for one in STEPS
        if one in record.done or one == step
    }
    record.write()
    telling.ends(step, found, seconds)
    return found


def _found(step: str, work: RunContext) -> StepResult:
    """Do one step; where it cannot be done, what it found is why."""
    try:
        return BODIES[step](work)
    except Tier0Error as problem:
        return StepResult({}, [], [str(problem)], problem.exit_status)
    except (Exception, SystemExit) as problem:  # noqa: BLE001 - what a step did not expect is no verdict on the model
        path = work.folder / TRACEBACK
        path.write_text(traceback.format_exc(), encoding="utf-8")
        return StepResult(
            {}, [], [f"it broke: {type(problem).__name__}: {problem}. Where it came from stands in {path}"], 2
        )
