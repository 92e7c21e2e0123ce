"""The runner of a pipeline run: it runs the steps in order, and writes the record after each."""

from __future__ import annotations

import itertools
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from tier0.core.display import terminal
from tier0.core.errors import Tier0Error
from tier0.core.event_log import EventLog, Recorded
from tier0.core.secrets import ENVIRONMENT
from tier0.pipeline.cluster import Executor
from tier0.pipeline.study import Study
from tier0.runs.context import NEEDED, STEPS, RunContext, StepResult
from tier0.runs.plan import Plan, RunError, dependents_of, parse_steps
from tier0.runs.record import Record
from tier0.runs.session import Session
from tier0.runs.steps import BODIES

TRACEBACK = "traceback.txt"


@dataclass
class RunListener:
    """Callbacks for the progress of a run.

    Attributes:
        begins: called with number and name of a step when it begins.
        ends: called with name, result and seconds of a step when it ends.
        event: called with each event.
    """

    begins: Callable[[int, str], None] = lambda _, __: None
    ends: Callable[[str, StepResult, float], None] = lambda _, __, ___: None
    event: Callable[[Recorded], None] = lambda _: None


def steps_to_do(plan: Plan, record: Record | None, requested: str | None) -> tuple[str, ...]:
    """Return the steps to run now, in order.

    Args:
        plan: plan of the run.
        record: record of the run if it is resumed, else None.
        requested: steps to run, see `parse_steps`; None for those that did not pass or are outdated.

    Raises:
        RunError: a step depends on one that is neither to be run nor passed, or the study has rules that no
            step would apply.
    """
    passed = [] if record is None else record.passed_steps
    if requested is None:
        chosen = {step for step in plan.steps if step not in passed}
    else:
        chosen = set(parse_steps(requested))
    outdated = {dependent for step in chosen for dependent in dependents_of(step)}
    if requested is None:
        chosen |= outdated.intersection(plan.steps)
    steps = tuple(step for step in STEPS if step in chosen)
    available = {*steps, *(step for step in passed if step not in outdated)}
    if plan.settings().pipeline is not None:
        available.add("selection")  # the user's training function replaces it
    _require_dependencies(steps, available)
    if record is not None:
        record.require_passed(steps)
    _require_applied_rules(plan.study, steps, available)
    return steps


def _require_dependencies(steps: Sequence[str], available: set[str]) -> None:
    """Check that the dependency of each of *steps* is available.

    Raises:
        RunError: one is not.
    """
    for step in steps:
        needed = NEEDED.get(step)
        if needed is not None and needed not in available:
            number, other = STEPS.index(step) + 1, STEPS.index(needed) + 1
            raise RunError(
                f"step {number} ({step}) needs step {other} ({needed}), which was not requested: "
                f"add it (--step {other},{number}), or resume a run that has completed it (--resume RUN)"
            )


def _require_applied_rules(study: Study, steps: Sequence[str], available: set[str]) -> None:
    """Check that every rule of the study is applied by one of *steps* or by a step that has passed.

    Raises:
        RunError: a rule is not.
    """
    has_later_steps = bool(set(steps) & set(STEPS[STEPS.index("cohort") + 1 :]))
    if study.cohort and "cohort" not in available and has_later_steps:
        raise RunError(
            "the study has criteria for the cohort, but step 3 (cohort) was not requested: add 3 to --step"
        )
    if study.data.has_rules and "data" not in available and has_later_steps:
        raise RunError(
            "the study has rules for the data, but step 2 (data) was not requested: add 2 to --step"
        )
    if study.scope.success is not None and "training" in steps and "deployment" not in available:
        raise RunError(
            "the study has a success criterion, but step 7 (deployment), which applies it, was not "
            "requested: add 7 to --step, or remove the criterion"
        )


def run_steps(
    record: Record,
    steps: Sequence[str],
    listener: RunListener,
    *,
    hold: Callable[[RunContext], None] | None = None,
    executor: Executor | None = None,
) -> int:
    """Run *steps* and record each; at the end, everything that was started is stopped.

    Args:
        record: record of the run.
        steps: steps to run.
        listener: callbacks for the progress.
        hold: called if the run passed and a server was started, after the record was written and before the
            server is stopped.
        executor: runs the fits of steps 4 and 5; None for threads of this process.

    Returns:
        The exit status: 0 passed, 1 failed, 2 inconclusive.

    Raises:
        RunError: another process runs the same run, or the record cannot be read or written.
    """
    with _locked(record.folder):
        return _run_steps(record, steps, listener, hold, executor)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Keep other processes from running the same run; the kernel releases the lock when this process ends."""
    from filelock import FileLock, Timeout  # noqa: PLC0415

    lock = FileLock(folder / "lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise RunError(
            f"run {folder.name} is in use by another process: wait until that process has ended"
        ) from None
    try:
        yield
    finally:
        lock.release()


def _run_steps(
    record: Record,
    steps: Sequence[str],
    listener: RunListener,
    hold: Callable[[RunContext], None] | None,
    executor: Executor | None,
) -> int:
    plan, events = record.plan, EventLog(listeners=[listener.event])
    session = Session(plan.settings(), events, executor=executor, failed=True)
    context = RunContext(session, plan.study, record.folder, plan.serve)
    record.verdict, record.problem = "unfinished", ""
    try:
        with _closing(session):
            if not record.changed_file:
                record.load(context)
            _start_early(context, steps)
            _run_each(steps, context, record, listener)
            session.failed = bool(record.status)
            if hold is not None and not record.status and context.server is not None:
                record.conclude()
                record.write()
                hold(context)
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
def _closing(session: Session) -> Iterator[None]:
    """Close the session at the end; after Ctrl-C without waiting for unfinished work."""
    try:
        yield
    except KeyboardInterrupt:
        session.interrupted = True
        raise
    finally:
        session.close()


def _start_early(context: RunContext, steps: Sequence[str]) -> None:
    """Start the processes whose imports take seconds, so that they import while the model trains."""
    serves = context.serve and "deployment" in steps
    if "training" in steps:
        context.session.prepare(_new_mlflow_folder(context.folder), context.store if serves else None)
    if serves:
        context.server = context.session.launch()


def _new_mlflow_folder(folder: Path) -> Path:
    """Create an empty folder for MLflow: a killed run may have left an incomplete one."""
    names = itertools.chain(["mlflow"], (f"mlflow-{number}" for number in itertools.count(2)))
    path = next(folder / name for name in names if not (folder / name).exists())
    path.mkdir(mode=0o700)
    return path


def _run_each(steps: Sequence[str], context: RunContext, record: Record, listener: RunListener) -> None:
    """Run the steps until one has problems; after step 7, step 8 still logs the outcome.

    A suspicion does not end the run: the model is trained and reported, and the run fails in the end.
    """
    for step, (result, seconds) in record.done.items():
        start = record.started[step]
        context.results[step], context.times[step] = result, (start, start + seconds)
        context.session.suspicions += tuple(result.suspicions)
    for step in steps:
        result = _run_step(step, context, record, listener)
        if result.problems and step != "deployment":
            break


def _run_step(step: str, context: RunContext, record: Record, listener: RunListener) -> StepResult:
    """Run one step and record its result; results that depend on an earlier one of it are discarded."""
    listener.begins(STEPS.index(step) + 1, step)
    for outdated in (step, *dependents_of(step)):
        record.done.pop(outdated, None)
        context.results.pop(outdated, None)
        context.times.pop(outdated, None)
    started, clock = time.time(), time.perf_counter()
    record.started[step], context.times[step] = started, (started, started)
    result = _result_of(step, context)
    seconds = time.perf_counter() - clock
    context.results[step], context.times[step] = result, (started, started + seconds)
    if context.dataset is not None:
        record.digest, record.changed_file = context.dataset.digest, ""
    if not result.problems:
        try:
            record.save(context)
        except Tier0Error as problem:
            result = replace(result, problems=[str(problem)], status=problem.exit_status)
    done = {**record.done, step: (result, seconds)}
    record.done = {name: done[name] for name in STEPS if name in done}
    record.write()
    listener.ends(step, result, seconds)
    return result


def _result_of(step: str, context: RunContext) -> StepResult:
    """Run the body of one step; an error becomes a result with the error as its problem."""
    try:
        return BODIES[step](context)
    except Tier0Error as problem:
        return StepResult({}, [], [str(problem)], problem.exit_status)
    except (Exception, SystemExit) as problem:  # noqa: BLE001 - an unexpected error is not a verdict on the model
        path = context.folder / TRACEBACK
        path.write_text(terminal(traceback.format_exc(), ENVIRONMENT.hide), encoding="utf-8")
        message = f"unexpected error: {type(problem).__name__}: {problem} (traceback in {path})"
        return StepResult({}, [], [message], 2)
