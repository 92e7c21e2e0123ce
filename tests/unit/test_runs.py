"""A run of the pipeline: what is refused before any work, what is written down, and how a run goes on from that."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from filelock import FileLock
from typer.testing import CliRunner

from tier0.cli import app
from tier0.core.errors import SettingsError, Tier0Error
from tier0.core.import_object import import_named
from tier0.core.settings import TABLE
from tier0.pipeline import selection
from tier0.pipeline.study import StudyError
from tier0.runs import runner
from tier0.runs.plan import Plan, RunError, plan_of, steps_of
from tier0.runs.record import Record
from tier0.runs.runner import RunListener, run_steps, steps_to_do
from tier0.runs.steps import BODIES, STEPS, StepResult

STUDY = "schema = 1\n"
COHORT = f'{STUDY}[[cohort]]\ncolumn = "hcp_visits"\nat_least = 1\n'
RULES = f'{STUDY}[data.columns.region]\nallowed = ["south"]\n'
SUCCESS = f'{STUDY}[scope]\nmetric = "auc_roc"\nsuccess = 0.6\n'
TARGET = f'{STUDY}[scope]\ntarget = "y"\n'


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder and an import path of its own, and nothing asked for by the environment."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    for row in TABLE:
        monkeypatch.delenv(row.variable, raising=False)


def plan(
    options: Mapping[str, str | None] | None = None, steps: str = "1-8", study: str = "", **scope: Any
) -> Plan:
    path = None
    if study:
        path = Path("study.toml")
        path.write_text(study, encoding="utf-8")
    return plan_of(options or {}, path, scope, steps, None, serve=False)


def write_rows(path: str = "rows.csv", rows: int = 120) -> str:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"x": rng.normal(size=rows), "z": rng.normal(size=rows)})
    frame.assign(y=(frame["x"] > 0).astype(int)).to_csv(path, index=False)
    return path


@pytest.mark.parametrize(
    ("steps", "study", "says"),
    [
        ("4-8", COHORT, "which step 3 (cohort) sees to, and that was not asked for: add 3 to --step"),
        ("4-8", RULES, "which step 2 (data) sees to, and that was not asked for: add 2 to --step"),
        ("1-6", SUCCESS, "success is what step 7 (deployment) decides by, and that was not asked for"),
    ],
)
def test_rules_that_no_step_would_see_to_are_refused(steps: str, study: str, says: str) -> None:
    with pytest.raises(RunError) as refused:
        steps_to_do(plan(steps=steps, study=study), None, None)
    assert says in str(refused.value)

    seen_to = f"{steps},{ {COHORT: '3', RULES: '2', SUCCESS: '7'}[study] }"
    assert steps_to_do(plan(steps=seen_to, study=study), None, None) == steps_of(seen_to)
    record = run("1", study=study)
    with pytest.raises(RunError) as refused:
        steps_to_do(record.plan, record, steps)
    assert says in str(refused.value), "a run that goes on is told, too"


def test_a_service_of_the_users_own_is_refused_also_from_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TIER0_URL", "http://127.0.0.1:1")

    with pytest.raises(
        RunError,
        match=r"'http://127.0.0.1:1' \(environment TIER0_URL\) is a service of your own.*ask `tier0 verify`",
    ):
        plan()


def test_what_a_run_began_with_is_settled(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Paths mean the same from another folder, and the environment of another day changes nothing."""
    monkeypatch.setenv("TIER0_SEED", "3")
    monkeypatch.setenv("TIER0_STORE", "of-the-environment")
    begun = plan({"dataset": write_rows(), "target": "y", "store": ""})
    kept = plan({"dataset": "rows.csv", "target": "y", "store": None})

    assert begun.options["dataset"] == str(tmp_path / "rows.csv")
    assert kept.options["store"] == str(tmp_path / "of-the-environment")
    monkeypatch.setenv("TIER0_SEED", "4")
    monkeypatch.chdir("/")
    assert begun.settings().seed == 3
    assert begun.settings().store is None, "the option says so, and wins over the environment"
    assert kept.settings().store == tmp_path / "of-the-environment"


def test_a_value_that_cannot_be_used_is_told_by_the_commands_own_option() -> None:
    with pytest.raises(SettingsError, match=r"^--hpo-trials = '0' is less than 1\.\n  --hpo-trials N: "):
        plan({"hpo_trials": "0"})
    write_rows()
    with pytest.raises(SettingsError, match=r"Add --target COLUMN \(or set TIER0_TARGET\)"):
        plan({"dataset": "rows.csv"})


def test_the_study_may_name_the_target() -> None:
    write_rows()

    assert plan({"dataset": "rows.csv"}, study=TARGET).settings().target == "y"
    assert plan({"dataset": "rows.csv", "target": "y"}, study=TARGET).settings().target == "y"
    with pytest.raises(
        RunError, match="the study's target is 'y', and --target says 'x': leave one of the two out"
    ):
        plan({"dataset": "rows.csv", "target": "x"}, study=TARGET)
    record = run("1,2", study=TARGET)
    assert record.status == 2
    assert (
        "scope.target = 'y' in the study, and 'discontinuation_flag' is what the data has" in record.problem
    )


@pytest.mark.parametrize("scope", ["scope = 3", "[[scope]]"])
def test_a_scope_that_is_no_table_is_told(scope: str) -> None:
    with pytest.raises(StudyError, match="scope"):
        plan(study=f"schema = 1\n{scope}", metric="auc_roc")


@pytest.mark.parametrize("what", ["raise SystemExit(0)", "raise SystemExit('no licence')", "1 / 0"])
def test_a_module_that_ends_or_breaks_while_it_is_imported_is_told(
    what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ends_early.py").write_text(what, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)

    with pytest.raises(
        Tier0Error,
        match=r"pipeline = 'ends_early:train' cannot be imported: its module raised (SystemExit|ZeroDivisionError)",
    ):
        import_named("pipeline", "ends_early:train", "a function")


# --- which steps ---


def test_a_training_of_ones_own_needs_no_selection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own.py").write_text("def train(): ...\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    own = plan({"pipeline": "own:train"}, steps="5-8")

    assert steps_to_do(own, None, "5,7") == ("training", "deployment")
    with pytest.raises(RunError, match=r"step 6 \(features\) needs step 5 \(training\)"):
        steps_to_do(own, None, "6")
    with pytest.raises(RunError, match=r"step 5 \(training\) needs step 4 \(selection\)"):
        steps_to_do(plan(), None, "5")


def done(*steps: str, no: str = "", status: int = 1) -> Record:
    made = Record.create(Path("runs"), plan())
    for step in steps:
        made.started[step] = 0.0
        made.done[step] = (
            StepResult({}, [], ["it is bad"], status) if step == no else StepResult({}, []),
            0.0,
        )
    return made


@pytest.mark.parametrize(
    ("record", "asked", "to_do"),
    [
        (
            lambda: done("scope", "data"),
            None,
            ["cohort", "selection", "training", "features", "deployment", "observability"],
        ),
        (lambda: done(*STEPS), None, []),
        (lambda: done(*STEPS, no="deployment"), None, ["deployment", "observability"]),
        (lambda: done("scope", "data", no="data"), None, list(STEPS[1:])),
        (lambda: done(*STEPS), "7,6", ["features", "deployment"]),
        (lambda: done(*STEPS), "4", ["selection"]),
        (lambda: done(*STEPS), "8", ["observability"]),
    ],
)
def test_a_run_goes_on_with_what_is_not_done(
    record: Callable[[], Record], asked: str | None, to_do: list[str]
) -> None:
    made = record()

    assert list(steps_to_do(made.plan, made, asked)) == to_do


@pytest.mark.parametrize(
    ("record", "asked", "says"),
    [
        (
            lambda: done("scope", "data", no="data"),
            "4,5",
            r"step 2 \(data\) said no: it is bad. Step 'selection' would be built on that: add 2",
        ),
        (
            lambda: done("scope", "data", "cohort", no="cohort"),
            "4",
            r"step 3 \(cohort\) said no: it is bad. .* add 3 to --step",
        ),
        (lambda: done(*STEPS[:5], no="training"), "7", r"step 7 \(deployment\) needs step 5 \(training\)"),
        (lambda: done(*STEPS), "4,6", r"step 6 \(features\) needs step 5 \(training\)"),
        (lambda: done(*STEPS), "3,7", r"step 7 \(deployment\) needs step 5 \(training\)"),
    ],
)
def test_no_step_is_built_on_a_no_or_on_what_stands_no_more(
    record: Callable[[], Record], asked: str, says: str
) -> None:
    made = record()

    with pytest.raises(RunError, match=says):
        steps_to_do(made.plan, made, asked)


@pytest.mark.parametrize(
    ("no", "status", "verdict"),
    [("", 0, "pass"), ("deployment", 1, "fail"), ("deployment", 2, "inconclusive")],
)
def test_the_verdict_is_that_of_all_steps_and_is_read_again(no: str, status: int, verdict: str) -> None:
    made = done(*STEPS, no=no, status=status)
    made.conclude()
    made.write()

    again = Record.read(made.folder)
    assert (again.status, again.verdict, again.problem) == (status, verdict, "it is bad" if no else "")
    assert json.loads((made.folder / "run.json").read_text(encoding="utf-8")) == json.loads(
        json.dumps(again.as_dict())
    )


# --- what is written down ---


def without(key: str) -> Callable[[dict[str, Any]], Any]:
    return lambda content: {name: value for name, value in content.items() if name != key}


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda _: [1, 2], r"was written by another version of Tier0 \(schema None\)"),
        (lambda content: {**content, "schema": 1}, r"another version of Tier0 \(schema 1\)"),
        (without("options"), r"run.json is damaged \(KeyError\('options'\)\): run it anew"),
        (lambda content: {**content, "study": {"scope": {"metric": "none"}}}, "run.json is damaged"),
        (lambda content: {**content, "done": {"scope": {"facts": {}}}}, "run.json is damaged"),
        (lambda content: {**content, "done": ["scope"]}, "run.json is damaged"),
        (lambda content: {**content, "steps": None}, "run.json is damaged"),
    ],
)
def test_a_record_that_is_damaged_is_told(damage: Callable[[dict[str, Any]], Any], says: str) -> None:
    made = done("scope")
    made.write()
    path = made.folder / "run.json"
    path.write_text(json.dumps(damage(json.loads(path.read_text(encoding="utf-8")))), encoding="utf-8")

    with pytest.raises(RunError, match=says):
        Record.read(made.folder)


def test_a_record_that_is_cut_off_is_told() -> None:
    made = done("scope")
    (made.folder / "run.json").write_text('{"schema": 2', encoding="utf-8")

    with pytest.raises(RunError, match="there is no run at"):
        Record.read(made.folder)


def test_a_state_that_is_damaged_is_told_and_the_run_is_no_pass() -> None:
    made = run("1,2")
    (made.folder / "state.pickle").write_bytes(b"\x80\x05not a pickle")

    with pytest.raises(RunError, match=r"state.pickle is damaged \(.*\): run it anew"):
        run_steps(made, ["cohort"], RunListener())
    assert Record.read(made.folder).verdict == "inconclusive"


def test_one_run_is_done_by_one_process_at_a_time() -> None:
    made = Record.create(Path("runs"), plan())

    with (
        FileLock(made.folder / "lock"),
        pytest.raises(RunError, match=f"run {made.folder.name} is being done by another process: wait until"),
    ):
        run_steps(made, ["scope"], RunListener())
    assert run_steps(made, ["scope"], RunListener()) == 0


def test_a_folder_that_cannot_be_written_to_is_told() -> None:
    made = Record.create(Path("runs"), plan())
    (made.folder / "run.json.unfinished").mkdir()

    with pytest.raises(
        RunError,
        match=rf"run.json cannot be written: Is a directory. Make room there, and go on with --resume {made.folder.name}",
    ):
        run_steps(made, ["scope"], RunListener())


# --- steps that are done ---


def run(
    steps: str, options: Mapping[str, str | None] | None = None, study: str = "", record: Record | None = None
) -> Record:
    record = record or Record.create(Path("runs"), plan(options, steps, study))
    status = run_steps(record, steps_of(steps), RunListener())
    assert status == record.status == {"pass": 0, "fail": 1, "inconclusive": 2}[record.verdict]
    return record


def test_a_no_ends_the_run_and_stays_one_when_it_goes_on_before_it() -> None:
    record = run("1-4", study=RULES)

    assert list(record.done) == ["scope", "data"]
    assert record.status == 1
    record = run("1", record=Record.read(record.folder))
    assert record.status == 1, "scope is fine, and the data still is not"
    assert "allowed" in record.problem


def test_a_cohort_is_chosen_anew_from_everybody() -> None:
    record = run("2,3", study=COHORT)
    first = {step: found.facts for step, (found, _) in record.done.items()}

    again = run("3", record=Record.read(record.folder))

    assert first["cohort"]["attrition"][0]["removed"] > 0
    assert again.done["cohort"][0].facts == first["cohort"]
    assert run("2", record=Record.read(record.folder)).done["data"][0].facts["rows"] == first["data"]["rows"]


def test_what_was_built_on_a_step_is_forgotten_when_that_is_done_again() -> None:
    record = run("1-4", {"algorithms": "linear"})

    run("1", record=record)
    assert list(record.done) == ["scope", "data", "cohort", "selection"], "in the order of the pipeline"
    run("2", record=record)
    assert list(record.done) == ["scope", "data"]


@pytest.mark.parametrize("problem", [SystemExit(0), KeyError("region")])
def test_a_step_that_breaks_or_ends_is_no_pass(
    problem: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks(_: object) -> StepResult:
        raise problem

    monkeypatch.setitem(BODIES, "data", breaks)

    record = run("1-3")

    assert record.status == 2
    assert list(record.done) == ["scope", "data"]
    assert f"it broke: {type(problem).__name__}: " in record.problem
    assert type(problem).__name__ in (record.folder / "traceback.txt").read_text(encoding="utf-8")
    assert "| 2 data | 0.0 | no |" in (record.folder / "report.md").read_text(encoding="utf-8")


def test_a_model_that_cannot_be_pickled_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "locked.py").write_text(
        "import threading\nimport numpy as np\nfrom sklearn.linear_model import LinearRegression\n"
        "def train():\n    x = np.arange(40.0)[:, None]\n    model = LinearRegression().fit(x, x[:, 0] / 3)\n"
        "    model.lock = threading.Lock()\n    return model, x, x[:, 0] / 3\n",
        encoding="utf-8",
    )
    monkeypatch.syspath_prepend(tmp_path)

    record = run("2", {"pipeline": "locked:train"})

    assert record.status == 2
    assert "cannot be pickled, and so neither kept for --resume nor registered: TypeError" in record.problem


@pytest.mark.parametrize(
    ("dataset", "group", "drawn"),
    [
        (
            "patients",
            None,
            "input: 200 of the 360 rows of the training part, drawn at random, stratified by class",
        ),
        ("diabetes", None, "input: 200 of the 266 rows of the training part, drawn at random"),
        ("file", "who", "rows of the training part, complete groups, drawn at random"),
    ],
)
def test_a_comparison_on_a_sample_says_so(
    dataset: str, group: str | None, drawn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(selection, "MAX_ROWS", 200)
    options = {"dataset": dataset, "algorithms": "linear"}
    if dataset == "file":
        rows = pd.read_csv(write_rows(rows=800))
        rows.assign(who=np.arange(800) // 4).to_csv("rows.csv", index=False)
        options |= {"dataset": "rows.csv", "target": "y", "group": "who"}

    (found, _) = run("4", options).done["selection"]

    assert found.facts["rows"]["compared"] == 200 < found.facts["rows"]["train"]
    assert found.lines[0].endswith(drawn)


# --- the command ---


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--resume", ""], "resume = '' is no run: give the name of a folder in tier0-runs"),
        (["--resume", ".."], "resume = '..' is no run"),
        (["--resume", "."], "resume = '.' is no run"),
        (
            ["--resume", "tier0-runs/20260101-000000-abcdef"],
            "resume = 'tier0-runs/20260101-000000-abcdef' is no run",
        ),
        (
            ["--step", "1", "--json", "/dev/full"],
            "cannot write --json /dev/full: No space left on device. The checks themselves completed",
        ),
        (["--step", "1", "--keep"], "--keep goes on serving, and nothing would be served"),
        (
            ["--step", "5", "--pipeline", "shutil:which", "--dask", "tcp://127.0.0.1:1"],
            "--dask does the fits of steps 4 and 5, and --pipeline",
        ),
    ],
)
def test_what_the_command_cannot_do_is_told_with_status_2(arguments: list[str], says: str) -> None:
    result = CliRunner().invoke(app, ["run", *arguments])

    assert result.exit_code == 2, result.output
    assert says in result.output


def test_what_tier0_does_not_know_is_no_verdict_on_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    def out_of_files(*_: object, **__: object) -> int:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(runner, "run_steps", out_of_files)

    result = CliRunner().invoke(app, ["run", "--step", "1"])

    assert result.exit_code == 2
    assert "unexpected error: OSError: [Errno 24] Too many open files" in result.output


def test_a_dry_run_says_where_it_would_go_on() -> None:
    record = run("1,2", {"seed": "3"})

    result = CliRunner().invoke(
        app, ["run", "--resume", record.folder.name, "--output-dir", "runs", "--step", "3,4", "--dry-run"]
    )

    assert result.exit_code == 0, result.output
    assert result.output.splitlines() == [
        "settings: seed=3",
        "would do step 3: cohort",
        "would do step 4: selection",
    ]
