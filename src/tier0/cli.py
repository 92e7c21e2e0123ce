"""The command line: the same checks, without pytest."""

from __future__ import annotations

import itertools
import json
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
import typer.core

from tier0.core.catalogue import CATALOGUE, GROUPS, Disturbance
from tier0.core.client_catalogue import CLIENT_CATALOGUE, CLIENT_GROUPS
from tier0.core.errors import Tier0Error, missing_extra
from tier0.core.settings import read_headers, remove_report
from tier0.core.verdict import WORDS, CheckResult, Verdict, count_in_words

if TYPE_CHECKING:
    from tier0.pipeline.cluster import Executor
    from tier0.runs.console import Console
    from tier0.runs.plan import Plan
    from tier0.runs.record import Record

INCONCLUSIVE = 2
INTERRUPTED = 130
MAX_SAMPLED = 200


class _Commands(typer.core.TyperGroup):
    """The commands; none ends with status 1, which is a verdict, because of an error."""

    def invoke(self, ctx: Any) -> Any:
        """Run a command, and turn what it raises into a message and an exit status."""
        try:
            return super().invoke(ctx)
        except (typer.Exit, typer.Abort, typer.BadParameter):
            raise
        except Tier0Error as problem:
            _refuse(str(problem))
        except KeyboardInterrupt:
            typer.echo("\nstopped", err=True)
            raise typer.Exit(INTERRUPTED) from None
        except Exception as problem:
            if type(problem).__module__.startswith(("click.", "typer.")):
                raise
            _refuse(str(missing_extra(problem) or f"unexpected error: {type(problem).__name__}: {problem}"))


app = typer.Typer(
    cls=_Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Verify that the served model is the trained model.",
)


@app.callback()
def main() -> None:
    """Verify that the served model is the trained model. Exit status: 0 passed, 1 failed, 2 inconclusive."""


@app.command()
def verify(
    url: Annotated[
        str, typer.Argument(help="URL of the running service, e.g. https://models.example:3000")
    ] = "",
    model: Annotated[
        str | None, typer.Option(help="tag of the expected model, whose store entry holds the golden rows")
    ] = None,
    store: Annotated[
        Path | None,
        typer.Option(
            help="BentoML home that holds the model; only read (by default $BENTOML_HOME or ~/bentoml)"
        ),
    ] = None,
    golden: Annotated[
        Path | None, typer.Option(help="file of golden rows, instead of those in the store")
    ] = None,
    contract: Annotated[
        Path | None,
        typer.Option(
            help="TOML file that declares how the service is asked and read; `tier0 contract` drafts it"
        ),
    ] = None,
    client: Annotated[
        str | None, typer.Option(help="module:function that makes the application's own client, given a URL")
    ] = None,
    groups: Annotated[
        str, typer.Option(help=f"groups of checks, or single ones, separated by commas: {', '.join(GROUPS)}")
    ] = "",
    disturb: Annotated[
        Disturbance,
        typer.Option(
            help="how far the service may be disturbed: none, malformed (what must be refused), load, faults (kills)"
        ),
    ] = "none",
    waivers: Annotated[
        Path | None, typer.Option(help="TOML file of waived checks, each with a reason and an expiry date")
    ] = None,
    header: Annotated[
        list[str] | None,
        typer.Option(help="'Name: value', or 'Name: @FILE' to read a secret from a file; shown nowhere"),
    ] = None,
    ca: Annotated[
        Path | None,
        typer.Option(help="certificates of authorities to trust, in PEM, instead of the system's"),
    ] = None,
    retries: Annotated[
        int,
        typer.Option(
            min=0,
            help="how often a request is sent again after a reset, a timeout, or status 429, 502, 503 or 504",
        ),
    ] = 3,
    wait: Annotated[
        float, typer.Option(min=0, help="seconds to wait for a service that does not respond yet")
    ] = 0.0,
    json_: Annotated[
        Path | None,
        typer.Option("--json", help="write the verdict to a file; an older file is removed first"),
    ] = None,
    *,
    without_golden: Annotated[
        bool,
        typer.Option(
            "--without-golden",
            help="accept a run without golden rows: predictions are then not compared with the trained model",
        ),
    ] = False,
    mask: Annotated[
        bool, typer.Option("--mask", help="show no values of golden rows in evidence and commands")
    ] = False,
    list_: Annotated[
        bool, typer.Option("--list", help="print the catalogue of checks, and do nothing else")
    ] = False,
) -> None:
    """Check a running service: safe against production by default (few requests, all well formed).

    With golden rows (--model or --golden) it proves that the served model is the trained model. Without them the run is inconclusive, unless
    --without-golden accepts that. Exit status: 0 passed, 1 failed, 2 inconclusive.
    """
    if list_:
        typer.echo(catalogue_table())
        return
    _begin_json(json_)
    if not url:
        _refuse("no URL given. Example: tier0 verify http://127.0.0.1:3000 --golden golden.json")
    from tier0.runs.deployment import Deployment  # noqa: PLC0415 - seconds of imports, which --help and --list do not need
    from tier0.runs.verify import check_serving  # noqa: PLC0415

    if client is not None:
        sys.path.insert(0, "")  # as `python -m` does: the application's own package is where the user is
    deployment = Deployment.from_url(
        url, golden=golden, model=model, store=store, contract=contract, headers=_headers(header), client=client, disturb=disturb,
        waivers=waivers or (), ca=ca, mask=mask, without_golden=without_golden, retries=retries, wait=wait,
    )  # fmt: skip
    named = [name.strip() for name in groups.split(",") if name.strip()]
    verdict = check_serving(
        deployment,
        on_fail="return",
        groups=named,
        tell=_tell,
        report=lambda line: typer.echo(f"tier0: {line}", err=True),
    )
    _write_json(json_, verdict.as_dict())
    _conclude(url, verdict)
    raise typer.Exit(verdict.exit_status)


@app.command()
def contract(
    url: Annotated[
        str, typer.Argument(help="URL of the running service, e.g. https://models.example:3000")
    ] = "",
    golden: Annotated[
        Path | None, typer.Option(help="file of golden rows, which are sent to the service")
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="tag of the model, whose store entry holds the golden rows")
    ] = None,
    store: Annotated[
        Path | None,
        typer.Option(
            help="BentoML home that holds the model; only read (by default $BENTOML_HOME or ~/bentoml)"
        ),
    ] = None,
    declared: Annotated[
        Path | None, typer.Option("--contract", help="contract with what is known already, such as the route")
    ] = None,
    header: Annotated[
        list[str] | None,
        typer.Option(help="'Name: value', or 'Name: @FILE' to read a secret from a file; shown nowhere"),
    ] = None,
    ca: Annotated[
        Path | None,
        typer.Option(help="certificates of authorities to trust, in PEM, instead of the system's"),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="file to write the contract to; standard output by default"),
    ] = None,
) -> None:
    """Draft the contract of a running service: how it is asked, and how its response is read.

    The golden rows are sent in the forms that the service's schema allows. The draft is TOML with comments: what was found, what was assumed and
    has to be confirmed, and what is open. Read it, commit it, and pass it to `tier0 verify --contract FILE`. Exit status: 0 the golden rows match
    with that contract, 1 they do not, 2 no contract could be drafted.
    """
    if not url or (golden is None and model is None):
        _refuse(
            "no URL or no golden rows given. Example: tier0 contract http://127.0.0.1:3000 --golden golden.json"
        )
    _refuse_unwritable("--output", output)
    from tier0.runs.deployment import Deployment  # noqa: PLC0415 - what --help does not need
    from tier0.runs.examination import Examination  # noqa: PLC0415

    deployment = Deployment.from_url(
        url, golden=golden, model=model, store=store, contract=declared, headers=_headers(header), ca=ca
    )
    if deployment.golden is None:
        _refuse(f"the store's entry of {model} has no golden rows: pass --golden FILE")
    drafted = Examination(deployment).draft()
    text = drafted.as_text(url)
    if output is None:
        typer.echo(text, nl=False)
    else:
        output.write_text(text, encoding="utf-8")
        typer.echo(
            f"{output}: {drafted.compared} Read it, then: tier0 verify {url} --golden FILE --contract {output}"
        )
    raise typer.Exit(0 if drafted.matches else 1)


@app.command()
def check_client(
    client: Annotated[
        str,
        typer.Argument(help="module:function that makes the client, given a URL (and the declared knobs)"),
    ] = "",
    declare: Annotated[
        Path | None, typer.Option(help="what the client promises, in TOML; what it does not is not judged")
    ] = None,
    only: Annotated[
        str,
        typer.Option(
            help=f"groups of checks, or single ones, separated by commas: {', '.join(CLIENT_GROUPS)}"
        ),
    ] = "",
    json_: Annotated[
        Path | None,
        typer.Option("--json", help="write the verdict to a file; an older file is removed first"),
    ] = None,
    *,
    list_: Annotated[
        bool, typer.Option("--list", help="print the catalogue of checks, and do nothing else")
    ] = False,
) -> None:
    """Test how any client handles failures, against servers that fail on purpose. Takes about ten seconds; no running service is needed.

    Nothing is read from the client's attributes: what counts is which requests arrived, and when. A failure comes with its timeline.
    """
    if list_:
        typer.echo(client_catalogue_table())
        return
    _begin_json(json_)
    if not client:
        _refuse("no client given. Example: tier0 check-client mypkg.client:make_client --declare client.toml")
    from tier0.runs.check_client import check_client as judge  # noqa: PLC0415 - what --help does not need

    sys.path.insert(0, "")
    verdict = judge(
        client,
        declare,
        only=[name.strip() for name in only.split(",") if name.strip()],
        on_fail="return",
        tell=_tell,
    )
    _write_json(json_, verdict.as_dict())
    _conclude(client, verdict)
    raise typer.Exit(verdict.exit_status)


@app.command()
def run(
    context: typer.Context,
    step: Annotated[
        str, typer.Option(help="which steps: 4,5,7 or 4-8 or their names; all eight by default")
    ] = "1-8",
    dataset: Annotated[
        str | None, typer.Option(help="patients, breast_cancer, wine, diabetes, or a .csv or .parquet file")
    ] = None,
    target: Annotated[str | None, typer.Option(help="the column to predict; needed with a file")] = None,
    group: Annotated[
        str | None, typer.Option(help="a column whose rows must not be split between training and test")
    ] = None,
    date: Annotated[
        str | None, typer.Option(help="a column of dates: the oldest rows train, newer ones test")
    ] = None,
    study: Annotated[
        Path | None,
        typer.Option(help="the problem, what the data must be like, and who belongs to the cohort, in TOML"),
    ] = None,
    metric: Annotated[
        str | None,
        typer.Option(help="of success, on the test part: auc_roc, brier, recall_minority, r2, rmse …"),
    ] = None,
    success: Annotated[
        float | None, typer.Option(help="what the metric must reach for the model to go")
    ] = None,
    pipeline: Annotated[
        str | None, typer.Option(help="module:function that trains your own model, instead of steps 4 and 5")
    ] = None,
    imbalanced: Annotated[
        float | None, typer.Option(help="make the rarest class this share of the rows, such as 0.1")
    ] = None,
    algorithms: Annotated[
        str | None, typer.Option(help="what selection compares, separated by commas")
    ] = None,
    hpo_trials: Annotated[
        str | None, typer.Option(help="trials of the search for hyper-parameters (by default 5)")
    ] = None,
    seed: Annotated[
        str | None, typer.Option(help="the same seed gives the same model (by default 7)")
    ] = None,
    port: Annotated[
        str | None,
        typer.Option(help="to serve on: 0 for any, 3001, or 3001+ for the next free one (by default 0)"),
    ] = None,
    store: Annotated[
        str | None, typer.Option(help="BentoML home to register in (by default in the run's own folder)")
    ] = None,
    startup_timeout: Annotated[
        str | None, typer.Option(help="seconds until the server must give its golden rows (by default 30)")
    ] = None,
    dask: Annotated[
        str | None, typer.Option(help="tcp://host:port of a Dask cluster that does the fits of steps 4 and 5")
    ] = None,
    output_dir: Annotated[
        Path, typer.Option(help="where the runs' folders are: record, report, manifest, state")
    ] = Path("tier0-runs"),
    resume: Annotated[str | None, typer.Option(help="go on with this run, with its own settings")] = None,
    json_: Annotated[
        Path | None,
        typer.Option("--json", help="write the report to a file, too; an older file is removed first"),
    ] = None,
    *,
    include_bentoml: Annotated[
        bool, typer.Option("--include-bentoml", help="register, serve and verify the model in step 7")
    ] = False,
    keep: Annotated[
        bool, typer.Option("--keep", help="go on serving when all is done, until Ctrl-C")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="say what would be done, and do nothing")
    ] = False,
) -> None:
    """Do the eight steps: scope, data, cohort, selection, training, features, deployment, observability.

    After each step what it made is written down, so that a run that was ended goes on there with --resume.
    """
    _begin_json(json_)
    from tier0.runs.console import Console  # noqa: PLC0415 - what --help does not need
    from tier0.runs.plan import make_plan  # noqa: PLC0415
    from tier0.runs.record import Record  # noqa: PLC0415
    from tier0.runs.runner import RunListener, run_steps, steps_to_do  # noqa: PLC0415
    from tier0.runs.context import STEPS  # noqa: PLC0415

    options = {
        "dataset": dataset, "target": target, "group": group, "date": date, "pipeline": pipeline, "algorithms": algorithms, "hpo_trials": hpo_trials,
        "seed": seed, "startup_timeout": startup_timeout, "port": port, "store": store,
    }  # fmt: skip
    console = Console()
    sys.path.insert(0, "")  # a pandera schema may be the project's own
    record: Record | None = None
    try:
        if resume is None:
            plan = make_plan(
                options,
                study,
                {"metric": metric, "success": success},
                step,
                imbalanced,
                serve=include_bentoml,
            )
        else:
            _refuse_beside_resume(context)
            record = Record.find(output_dir, resume)
            plan = record.plan
        steps = steps_to_do(plan, record, step if _was_given(context, "step") else None)
        if keep and not (plan.serve and "deployment" in steps):
            _refuse(
                "--keep goes on serving, and nothing would be served: add --include-bentoml, and 7 to --step"
            )
        if dry_run:
            console.plan(plan.options, steps, STEPS, serve=plan.serve)
            return
        with _fit_executor(dask, plan, steps) as fits:
            if record is None:
                record = Record.create(output_dir.absolute(), plan)
            console.say(f"run {record.folder.name}, in {record.folder}")
            console.settings(plan.options)
            telling = RunListener(console.begins, console.ended, console.happened)
            status = run_steps(
                record,
                steps,
                telling,
                hold=partial(_serve_on, console, json_, record) if keep else None,
                executor=fits,
            )
    except KeyboardInterrupt:
        console.say(
            "\nstopped"
            if record is None
            else f"\nstopped; go on with: tier0 run --resume {record.folder.name} --output-dir {output_dir}"
        )
        raise typer.Exit(INTERRUPTED) from None
    _write_json(json_, record.as_dict())
    console.verdict(record)
    raise typer.Exit(status)


def _serve_on(console: Console, json_: Path | None, record: Record, work: Any) -> None:
    """Go on serving, when all is written that is there to be read meanwhile."""
    _write_json(json_, record.as_dict())
    console.hold(work)


def _fit_executor(dask: str | None, plan: Plan, steps: Sequence[str]) -> AbstractContextManager[Executor]:
    """Return what runs the fits; a cluster is connected with before any work is done, and only where there are fits."""
    if dask is not None and plan.settings().pipeline is not None:
        _refuse(
            "--dask does the fits of steps 4 and 5, and --pipeline brings its own model: leave one of the two out"
        )
    if dask is None or not {"selection", "training"} & set(steps):
        return nullcontext(itertools.starmap)
    from tier0.pipeline.cluster import dask_cluster  # noqa: PLC0415

    return dask_cluster(dask)


def _was_given(context: typer.Context, name: str) -> bool:
    """Tell whether an option was given on the command line."""
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def _refuse_beside_resume(context: typer.Context) -> None:
    """Refuse what a run that goes on has settled already."""
    for name in context.params.keys() - {"step", "output_dir", "resume", "json_", "keep", "dry_run", "dask"}:
        if _was_given(context, name):
            _refuse(
                f"--{name.replace('_', '-')} was settled when the run began, and --resume goes on with that: leave it out, or begin anew"
            )


@app.command()
def diff(
    old: Annotated[
        Path, typer.Argument(metavar="OLD.json", help="a report that --tier0-report or --json wrote")
    ],
    new: Annotated[Path, typer.Argument(metavar="NEW.json", help="a later one, of the same command")],
) -> None:
    """Say what changed between two reports: verdicts, checks, metrics, latencies, versions, model. Exit status 1 if anything is worse.

    A metric is worse when it lost more than its spread (what other test rows would make of it), the median latency when it is 1.5 times as
    long and by more than 1 ms, a check also when it held and is not judged any more.
    """
    from tier0.report.diff import changes_between, read_facts  # noqa: PLC0415 - what --help does not need

    try:
        changes = changes_between(read_facts(old), read_facts(new))
    except Tier0Error as problem:
        _refuse(str(problem))
    for change in changes:
        typer.echo(str(change))
    worse = sum(change.kind == "worse" for change in changes)
    typer.echo(f"{worse} worse, {len(changes) - worse} other differences" if changes else "no difference")
    raise typer.Exit(1 if worse else 0)


@app.command()
def golden(
    model: Annotated[
        str,
        typer.Argument(
            help="module:name of the fitted model, or of a function that trains it and returns it"
        ),
    ],
    sample: Annotated[
        Path,
        typer.Argument(help=".csv or .parquet file of rows as the model takes them; the first 200 are used"),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="where to write the golden rows, as JSON")
    ] = Path("golden.json"),
    threshold: Annotated[
        float | None,
        typer.Option(help="for two classes, the probability of the second from which it is predicted"),
    ] = None,
    synthetic: Annotated[
        int,
        typer.Option(
            min=0, help="keep no row of the sample, but this many drawn within its ranges: nobody's data"
        ),
    ] = 0,
    seed: Annotated[int, typer.Option(help="of that draw")] = 7,
    tag: Annotated[
        str | None,
        typer.Option(help="the tag that the model has in its store, to be expected in the answers"),
    ] = None,
) -> None:
    """Make golden rows for a model of your own, from the model in memory, before it is saved anywhere.

    They are what `tier0 verify --golden FILE` compares with: rows of the sample, or synthetic ones, and others that services easily
    get wrong (missing and unseen values, values at the model's boundaries), with the answers that the model gives in memory.
    """
    from dataclasses import replace  # noqa: PLC0415 - what --help does not need

    from tier0.golden.capture import golden_rows  # noqa: PLC0415

    _refuse_unwritable("--output", output)
    sys.path.insert(0, "")
    try:
        fitted = _load_model(model)
        examples = _read_sample(sample, getattr(fitted, "feature_names_in_", None))
        as_array = not hasattr(fitted, "feature_names_in_")
        names = [str(name) for name in examples.columns]
        rows = golden_rows(
            fitted,
            examples.to_numpy() if as_array else examples,
            threshold=threshold,
            feature_names=names if as_array else None,
            synthetic=synthetic,
            seed=seed,
        )
    except Tier0Error as problem:
        _refuse(str(problem))
    replace(rows, tag=tag).write(output)
    typer.echo(
        f"{output}: {len(rows)} golden rows of {len(rows.columns)} columns; check a service with: tier0 verify URL --golden {output}"
    )


@app.command()
def serve(
    context: typer.Context,
    models: Annotated[
        list[str] | None, typer.Argument(help="tags of registered models, which one service will serve")
    ] = None,
    store: Annotated[
        Path | None,
        typer.Option(help="BentoML home that holds them; only read (by default $BENTOML_HOME or ~/bentoml)"),
    ] = None,
    port: Annotated[
        str, typer.Option(help="for models that are named: 0 for any, 3001, or 3001+ for the next free one")
    ] = "3001+",
    first_port: Annotated[
        int, typer.Option(min=0, max=65533, help="with --all, of the first service; 0 for any")
    ] = 3001,
    kinds: Annotated[
        str, typer.Option(help="with --all, which services, separated by commas")
    ] = "classification,regression,causal",
    startup_timeout: Annotated[
        float, typer.Option(min=1, help="seconds until each service must give its golden rows")
    ] = 60.0,
    workers: Annotated[int, typer.Option(min=1, help="processes of each service that answer")] = 1,
    seed: Annotated[int, typer.Option(help="with --all, the same seed trains the same models")] = 7,
    *,
    all_: Annotated[
        bool,
        typer.Option(
            "--all", help="three services, by kind of model: trained here, or, with --store, the latest there"
        ),
    ] = False,
) -> None:
    """Serve registered models on loopback, each proven by its golden rows, until Ctrl-C.

    With --all there are three services, each with a home of its own: classification on port 3001, regression on 3002, causal on 3003.
    Without a --store they serve examples that are trained first: churn, conversion, ltv_90, ltv_365 and training_effect.
    """
    if bool(models) == all_:
        _refuse("which models? Name their tags, or say --all for three services with a model of each kind")
    _refuse_unused(context, by_kind=all_, trained=all_ and store is None)
    from tier0.core.event_log import EventLog  # noqa: PLC0415 - what --help does not need
    from tier0.core.settings import merge_settings  # noqa: PLC0415
    from tier0.runs.deployment import default_store  # noqa: PLC0415
    from tier0.runs.services import Services  # noqa: PLC0415

    events = EventLog(
        listeners=[lambda event: typer.echo(f"tier0: {event.message}") if event.message else None]
    )
    how: dict[str, Any] = {
        "first_port": first_port,
        "startup_timeout": startup_timeout,
        "workers": workers,
        "events": events,
    }
    services = None
    try:
        if models:
            how["port"] = merge_settings({"port": port}, {}).port
        if all_ and store is None:
            services = Services.from_examples([kind for kind in kinds.split(",") if kind], seed=seed, **how)
        else:
            services = Services.from_store((store or default_store()).absolute(), models or (), **how)
        for name, url in services.urls().items():
            typer.echo(f"{name:20} {url}/predict   (health, model_info)")
        typer.echo("Ctrl-C stops " + ("them all" if len(services.servers) > 1 else "it"))
        while not (ended := services.ended()):
            time.sleep(1)
        _refuse(
            f"the {ended[0]} service has ended by itself; its log ends:\n{services.servers[ended[0]].log_end()}"
        )
    except KeyboardInterrupt:
        typer.echo("")
    except Tier0Error as problem:
        _refuse(str(problem))
    finally:
        if services is not None:
            services.close()


@app.command()
def build(
    models: Annotated[
        list[str] | None, typer.Argument(help="tags of registered models, which one service will serve")
    ] = None,
    store: Annotated[
        Path | None,
        typer.Option(help="BentoML home that holds them; only read (by default $BENTOML_HOME or ~/bentoml)"),
    ] = None,
    output_dir: Annotated[
        Path, typer.Option(help="where the Bentos and the compose file go; nothing there is overwritten")
    ] = Path("tier0-build"),
    port: Annotated[
        int,
        typer.Option(min=1, max=65533, help="that the compose file gives the first service; others follow"),
    ] = 3001,
    startup_timeout: Annotated[
        float, typer.Option(min=1, help="seconds until a started Bento must give its golden rows")
    ] = 60.0,
    *,
    all_: Annotated[
        bool, typer.Option("--all", help="a Bento for each kind, of the latest of each model in the store")
    ] = False,
) -> None:
    """Build a Bento of registered models, with Dockerfile and compose file, and prove it: started, it must give their golden rows.

    With --all there are as many as there are kinds of models: classification on port 3001, regression on 3002, causal on 3003.
    """
    if bool(models) == all_:
        _refuse("which models? Name their tags, or say --all for a Bento of each kind of model")
    from tier0.core.event_log import EventLog  # noqa: PLC0415 - what --help does not need
    from tier0.core.events import BentoBuilding, BentoBuilt  # noqa: PLC0415
    from tier0.runs.build import build as build_all  # noqa: PLC0415
    from tier0.runs.deployment import default_store  # noqa: PLC0415

    builds = (BentoBuilding, BentoBuilt)
    events = EventLog(
        listeners=[
            lambda event: typer.echo(f"tier0: {event.message}") if isinstance(event.event, builds) else None
        ]
    )
    how: dict[str, Any] = {"first_port": port, "startup_timeout": startup_timeout, "events": events}
    try:
        built = build_all(
            (store or default_store()).absolute(), models or (), output=output_dir.absolute(), **how
        )
    except Tier0Error as problem:
        typer.echo(f"tier0: {problem}", err=True)
        raise typer.Exit(problem.exit_status) from None
    except KeyboardInterrupt:
        typer.echo("\nstopped")
        raise typer.Exit(INTERRUPTED) from None
    for one in built:
        typer.echo(f"{one.name:20} bentoml serve {output_dir.absolute() / one.name}")
    typer.echo(f"all of them          docker compose -f {output_dir / 'compose.yaml'} up --build")


@app.command()
def doctor(
    json_: Annotated[Path | None, typer.Option("--json", help="write what was found to a file, too")] = None,
) -> None:
    """Say what is missing in this environment, what for, and the one command that mends it.

    Exit status 0: pytest -m tier0_bentoml can run, 2: something is missing that it needs. What only other commands need is told, and does
    not count. Values of environment variables are shown nowhere.
    """
    _begin_json(json_)
    from tier0.doctor import doctor as look  # noqa: PLC0415 - what --help does not need

    environment = look.Environment.here()
    findings = look.examine(environment)
    for finding in findings:
        typer.echo(str(finding))
    typer.echo(look.conclusion(environment, findings))
    _write_json(json_, look.as_document(environment, findings))
    raise typer.Exit(look.exit_status(findings))


def _refuse_unused(context: typer.Context, *, by_kind: bool, trained: bool) -> None:
    """Refuse options of `serve` that were given, and would not be used."""
    unused = (
        {"port": "is for models that are named; with --all say --first-port"}
        if by_kind
        else {"first_port": "goes with --all; say --port"}
    )
    if not trained:
        unused |= {
            "kinds": "goes with --all and examples that are trained here: leave --store out",
            "seed": "is of a training, and nothing is trained",
        }
    for name, why in unused.items():
        if _was_given(context, name):
            _refuse(f"--{name.replace('_', '-')} {why}")


def _load_model(name: str) -> Any:
    from tier0.core.import_object import import_named  # noqa: PLC0415 - what --help does not need

    found = import_named(
        "model", name, "of a fitted model or of a function that returns one, such as training:model"
    )
    try:
        fitted = found if hasattr(found, "predict") or not callable(found) else found()
    except Exception as problem:
        raise Tier0Error(
            f"model = {name!r} raised {type(problem).__name__}: {problem}. Name a fitted model, or a function that returns one"
        ) from problem
    if not hasattr(fitted, "predict"):
        raise Tier0Error(
            f"model = {name!r} is {type(fitted).__name__}, which has no predict: name a fitted model, or a function that returns one"
        )
    return fitted


def _read_sample(path: Path, names: Any) -> Any:
    import pandas as pd  # noqa: PLC0415

    try:
        frame = pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path)
    except (OSError, ValueError, ImportError) as problem:
        raise Tier0Error(f"sample = {str(path)!r} cannot be read: {problem}") from problem
    if names is not None:
        missing = [name for name in names if name not in frame.columns]
        if missing:
            raise Tier0Error(
                f"sample = {str(path)!r} has no column {missing[0]!r}, which the model takes. It has: {', '.join(frame.columns)}"
            )
        frame = frame[list(names)]
    return frame[:MAX_SAMPLED]


def catalogue_table() -> str:
    """Return the catalogue as a Markdown table."""
    rows = [
        f"| `{check.id}` | {check.question} | {', '.join(check.needs) or '-'} | {check.disturb} |"
        for check in CATALOGUE
    ]
    return "\n".join(["| check | question | needs | disturbs |", "|---|---|---|---|", *rows])


def client_catalogue_table() -> str:
    """Return the catalogue of the checks of clients as a Markdown table."""
    rows = [
        f"| `{check.id}` | {check.question} | {', '.join((*check.declared, *check.methods)) or '-'} |"
        for check in CLIENT_CATALOGUE
    ]
    return "\n".join(["| check | question | needs |", "|---|---|---|", *rows])


def _headers(given: list[str] | None) -> dict[str, str]:
    try:
        return read_headers(given or [])
    except ValueError as problem:
        raise Tier0Error(f"--header {problem}") from None


def _refuse_unwritable(option: str, path: Path | None) -> None:
    if path is not None and not path.absolute().parent.is_dir():
        _refuse(f"{option} {path}: there is no folder {path.absolute().parent}")
    if path is not None and path.is_dir():
        _refuse(f"{option} {path}: that is a folder; name a file")


def _begin_json(path: Path | None) -> None:
    """Remove the file of an earlier run: whatever happens now, it must not be taken for this one's."""
    _refuse_unwritable("--json", path)
    try:
        if path is not None:
            remove_report(path)
    except OSError as problem:
        _refuse(f"cannot remove the old --json {path}: {problem.strerror}")


def _write_json(path: Path | None, content: dict[str, Any]) -> None:
    if path is None:
        return
    try:
        path.write_text(json.dumps(content, indent=2, default=str) + "\n", encoding="utf-8")
    except OSError as problem:
        remove_report(path)  # it may be half written
        _refuse(f"cannot write --json {path}: {problem.strerror}. The checks themselves completed")


def _refuse(message: str) -> NoReturn:
    typer.echo(f"tier0: {message}", err=True)
    raise typer.Exit(INCONCLUSIVE)


def _tell(result: CheckResult) -> None:
    numbers = (
        {name: value for name, value in result.evidence.items() if isinstance(value, (int, float))}
        if result.status == "pass"
        else {}
    )
    reported = ", ".join(f"{name.replace('_', ' ')} {value:.3g}" for name, value in numbers.items())
    word = WORDS[result.status].upper() if result.status in {"fail", "error"} else WORDS[result.status]
    typer.echo(f"{word:>11}  {result.id:36} {'; '.join(filter(None, [result.message, reported]))}".rstrip())


def _conclude(what: str, verdict: Verdict) -> None:
    """Print the failures, what was sent again, and the verdict in one line."""
    for result in [*verdict.with_status("fail"), *verdict.with_status("error")]:
        typer.echo(
            "\n"
            + "\n".join([result.explain(), *(f"  {line}" for line in result.evidence.get("timeline", ()))])
        )
    typer.echo("")
    retried: Mapping[str, int] = verdict.target.get("retried", {})
    if retried:
        typer.echo(
            f"requests sent again: {', '.join(f'{count} after {reason}' for reason, count in retried.items())}"
        )
    typer.echo(
        f"{what}: {WORDS[verdict.verdict]}: {count_in_words(result.status for result in verdict.checks)}"
    )
    if verdict.reason:
        typer.echo(verdict.reason)


if __name__ == "__main__":
    sys.exit(app())
