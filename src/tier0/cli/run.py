"""``tier0 run``: the eight steps from a problem to an observed deployment."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tier0.cli.application import app, examples, refuse
from tier0.cli.parameters import GivenSettings, Verbose, import_from_here, takes_settings, was_given
from tier0.core.interruption import INTERRUPTED, forget_interrupt, raise_on_interrupt
from tier0.core.settings import REPORT_FILES, TABLE

if TYPE_CHECKING:
    from tier0.cli.reporting import CommandReport
    from tier0.core.event_log import Recorded
    from tier0.pipeline.cluster import Executor
    from tier0.runs.console import Console
    from tier0.runs.context import RunContext, StepResult
    from tier0.runs.plan import Plan
    from tier0.runs.record import Record

CHANGEABLE = {"dask", "history", *REPORT_FILES}
"""Settings that may differ when a run is resumed: they do not change its outcome."""
EXAMPLES = examples(
    "tier0 run --dataset breast_cancer --include-bentoml",
    "tier0 run --dataset rows.csv --study study.toml --step 1-7",
    "tier0 run --resume RUN --step 7,8",
)


@app.command(epilog=EXAMPLES)
@takes_settings("run")
def run(
    given: GivenSettings,
    context: typer.Context,
    *,
    step: Annotated[
        str,
        typer.Option(
            metavar="LIST",
            help="Steps to run, by number or name: 4,5,7 or 4-8; all eight by default.",
            show_default=False,
        ),
    ] = "1-8",
    include_bentoml: Annotated[
        bool, typer.Option("--include-bentoml", help="Register, serve and verify the model in step 7.")
    ] = False,
    keep_serving: Annotated[
        bool, typer.Option("--keep-serving", help="Keep serving after the last step, until Ctrl-C.")
    ] = False,
    output_dir: Annotated[
        Path,
        typer.Option(
            metavar="DIR",
            help="Directory of the runs: one folder each, with record, report, manifest and state.",
        ),
    ] = Path("tier0-runs"),
    resume: Annotated[
        str | None,
        typer.Option(
            metavar="RUN",
            help="Resume a run, named by its folder in --output-dir, with its original settings.",
            show_default=False,
        ),
    ] = None,
    verbose: Verbose = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan and exit.")] = False,
) -> None:
    """Run the eight steps: scope, data, cohort, selection, training, features, deployment, observability.

    The outcome of each step is saved, so that an interrupted run continues with the next step when it is
    resumed.

    Exit status: 0 passed, 1 failed (a step rejected the data or the model), 2 inconclusive (an error),
    130 stopped with Ctrl-C.
    """
    files, history = given.begin_report(), given.read("history")
    from tier0.cli.reporting import recorded
    from tier0.runs.console import Console
    from tier0.runs.context import STEPS
    from tier0.runs.record import Record
    from tier0.runs.runner import steps_to_do

    raise_on_interrupt()
    console = Console(verbose=verbose)
    import_from_here()  # a pandera schema or a pipeline function may be the project's own
    record: Record | None = None
    try:
        if resume is None:
            plan = _new_plan(given, step, serve=include_bentoml)
        else:
            _check_unchanged(given, context)
            record = Record.find(output_dir, resume)
            plan = record.plan
        steps = steps_to_do(plan, record, step if was_given(context, "step") else None)
        if keep_serving and not (plan.serve and "deployment" in steps):
            refuse(
                "--keep-serving has no effect without a served model: add --include-bentoml, and 7 to --step"
            )
        if dry_run:
            console.plan(plan.options, steps, STEPS, serve=plan.serve)
            return
        with _fit_executor(given.read("dask"), plan, steps) as executor:
            if record is None:
                record = Record.create(output_dir.absolute(), plan)
            console.say(f"run {record.folder.name}, in {record.folder}")
            if record.changed_file:
                console.say(f"{record.changed_file} has changed since then: what read it runs again")
            console.settings(plan.options)
            settings = ", ".join(f"{name.replace('_', '-')}={value}" for name, value in plan.options.items())
            with recorded(files, settings, record.folder.name, history=history, verbose=verbose) as report:
                report.repeat = _how_to_resume(record, output_dir)
                status = _run(report, console, record, steps, executor, keep_serving=keep_serving)
    except KeyboardInterrupt:
        forget_interrupt()
        console.say("\nstopped" if record is None else f"\nstopped; {_how_to_resume(record, output_dir)}")
        raise typer.Exit(INTERRUPTED) from None
    raise typer.Exit(status)


def _run(
    report: CommandReport,
    console: Console,
    record: Record,
    steps: Sequence[str],
    executor: Executor | None,
    *,
    keep_serving: bool,
) -> int:
    """Run the steps, record them in the report, and print the verdict; return the exit status."""
    from tier0.runs.runner import RunListener, run_steps

    def ended(step: str, result: StepResult, seconds: float) -> None:
        report.events.emit(record.check_of(step))
        console.ended(step, result, seconds)

    def happened(event: Recorded) -> None:
        report.events.events.append(event)
        console.happened(event)

    def hold(work: RunContext) -> None:
        """Write the files, which may be read meanwhile, and serve until Ctrl-C."""
        report.record = record.as_dict()
        report.save()
        console.hold(work)

    for step in record.done:
        report.events.emit(record.check_of(step))
    listener = RunListener(console.begins, ended, happened)
    try:
        status = run_steps(record, steps, listener, hold=hold if keep_serving else None, executor=executor)
    finally:
        report.record = record.as_dict()
    console.verdict(record)
    report.lines_before = console.printed
    return status


def _new_plan(given: GivenSettings, step: str, *, serve: bool) -> Plan:
    """Return the plan of a new run.

    Raises:
        Tier0Error: a setting, the study or the steps are invalid.
    """
    from tier0.pipeline.study import OPTIONS
    from tier0.runs.plan import make_plan

    stated_options = {name: given.read(name) for name in OPTIONS}
    return make_plan(given.texts, given.read("study"), stated_options, step, serve=serve)


def _check_unchanged(given: GivenSettings, context: typer.Context) -> None:
    """Exit with status 2 if a setting is given that a resumed run takes from its record."""
    options = [
        row.spelling("run")
        for row in TABLE
        if given.texts.get(row.name) is not None and row.name not in CHANGEABLE
    ]
    if was_given(context, "include_bentoml"):
        options.append("--include-bentoml")
    if options:
        refuse(f"{options[0]} cannot be changed with --resume; omit it, or start a new run")


def _fit_executor(
    dask: str | None, plan: Plan, steps: Sequence[str]
) -> AbstractContextManager[Executor | None]:
    """Return what runs the fits: this process, or a cluster, which is connected before any work is done."""
    if dask is not None and plan.settings().pipeline is not None:
        refuse("--dask cannot be combined with --pipeline, which replaces the steps that Dask would run")
    if dask is None or not {"selection", "training"} & set(steps):
        return nullcontext(None)
    from tier0.pipeline.cluster import dask_cluster

    return dask_cluster(dask)


def _how_to_resume(record: Record, output_dir: Path) -> str:
    return f"resume with: tier0 run --resume {record.folder.name} --output-dir {output_dir}"
