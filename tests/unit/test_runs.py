"""A pipeline run: validation before any work, the record on disk, and resuming.

Messages are in a snapshot; `pytest --snapshot-update` accepts new wording.
"""

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
from hypothesis import given
from hypothesis import strategies as st
from syrupy.assertion import SnapshotAssertion
from typer.testing import CliRunner

from tests.support.any_json import MANY, changed, outcome
from tests.support.leaky_tables import clean_table
from tier0.cli import app
from tier0.core.errors import SettingsError, Tier0Error
from tier0.core.import_object import import_named
from tier0.core.settings import TABLE
from tier0.pipeline import selection
from tier0.pipeline.study import StudyError
from tier0.runs import runner
from tier0.runs.context import STEPS, StepResult
from tier0.runs.plan import Plan, RunError, make_plan, parse_steps
from tier0.runs.record import Record, as_markdown
from tier0.runs.runner import RunListener, run_steps, steps_to_do
from tier0.runs.steps import BODIES

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
    return make_plan(options or {}, path, scope, steps, serve=False)


def write_rows(path: str = "rows.csv", rows: int = 120) -> str:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"x": rng.normal(size=rows), "z": rng.normal(size=rows)})
    frame.assign(y=(frame["x"] > 0).astype(int)).to_csv(path, index=False)
    return path


def message_of(error: pytest.ExceptionInfo[Exception], record: Record | None = None) -> str:
    """The message of an error, without the parts that differ from run to run."""
    text = str(error.value).replace(str(Path.cwd()), "FOLDER")
    return text if record is None else text.replace(record.folder.name, "RUN")


@pytest.mark.parametrize(
    ("steps", "study", "missing"),
    [("4-8", COHORT, "3"), ("4-8", RULES, "2"), ("1-6", SUCCESS, "7")],
    ids=["cohort", "data", "success"],
)
def test_rules_that_no_step_would_apply_are_rejected(
    steps: str, study: str, missing: str, snapshot: SnapshotAssertion
) -> None:
    with pytest.raises(RunError) as rejected:
        steps_to_do(plan(steps=steps, study=study), None, None)
    assert f"add {missing} to --step" in str(rejected.value)
    assert message_of(rejected) == snapshot

    applied = f"{steps},{missing}"
    assert steps_to_do(plan(steps=applied, study=study), None, None) == parse_steps(applied)
    record = run("1", study=study)
    with pytest.raises(RunError) as rejected_again:
        steps_to_do(record.plan, record, steps)
    assert str(rejected_again.value) == str(rejected.value), "a resumed run is validated, too"


def test_a_service_to_check_is_rejected_from_the_environment_as_well(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TIER0_URL", "http://127.0.0.1:1")

    with pytest.raises(RunError, match=r"TIER0_URL .*'http://127.0.0.1:1'.*`tier0 verify`"):
        plan()


def test_a_plan_does_not_depend_on_a_later_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
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


def test_an_invalid_setting_is_reported_with_the_option_of_the_command() -> None:
    with pytest.raises(SettingsError) as invalid:
        plan({"hpo_trials": "0"})
    assert (invalid.value.setting, invalid.value.source) == ("hpo_trials", "--hpo-trials")
    write_rows()
    with pytest.raises(SettingsError, match=r"Add --target COLUMN \(or set TIER0_TARGET\)"):
        plan({"dataset": "rows.csv"})


def test_the_study_may_name_the_target(snapshot: SnapshotAssertion) -> None:
    write_rows()

    assert plan({"dataset": "rows.csv"}, study=TARGET).settings().target == "y"
    assert plan({"dataset": "rows.csv", "target": "y"}, study=TARGET).settings().target == "y"
    with pytest.raises(RunError) as rejected:
        plan({"dataset": "rows.csv", "target": "x"}, study=TARGET)
    assert message_of(rejected) == snapshot
    record = run("1,2", study=TARGET)
    assert record.status == 2
    assert record.problem == snapshot


@pytest.mark.parametrize("scope", ["scope = 3", "[[scope]]"])
def test_a_scope_must_be_a_table(scope: str) -> None:
    with pytest.raises(StudyError, match="scope"):
        plan(study=f"schema = 1\n{scope}", metric="auc_roc")


@pytest.mark.parametrize("what", ["raise SystemExit(0)", "raise SystemExit('no licence')", "1 / 0"])
def test_a_module_that_exits_or_fails_during_import_is_reported(
    what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ends_early.py").write_text(what, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)

    with pytest.raises(Tier0Error, match=r"'ends_early:train' .*(SystemExit|ZeroDivisionError)"):
        import_named("pipeline", "ends_early:train", "a function")


# --- steps to do ---


def test_a_training_function_replaces_the_selection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own.py").write_text("def train(): ...\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    own = plan({"pipeline": "own:train"}, steps="5-8")

    assert steps_to_do(own, None, "5,7") == ("training", "deployment")
    with pytest.raises(RunError, match=r"step 6 \(features\) needs step 5 \(training\)"):
        steps_to_do(own, None, "6")
    with pytest.raises(RunError, match=r"step 5 \(training\) needs step 4 \(selection\)"):
        steps_to_do(plan(), None, "5")


def done(*steps: str, failed: str = "", status: int = 1) -> Record:
    made = Record.create(Path("runs"), plan())
    for step in steps:
        made.started[step] = 0.0
        made.done[step] = (
            StepResult({}, [], ["it is bad"], status) if step == failed else StepResult({}, []),
            0.0,
        )
    return made


@pytest.mark.parametrize(
    ("record", "requested", "to_do"),
    [
        (
            lambda: done("scope", "data"),
            None,
            ["cohort", "selection", "training", "features", "deployment", "observability"],
        ),
        (lambda: done(*STEPS), None, []),
        (lambda: done(*STEPS, failed="deployment"), None, ["deployment", "observability"]),
        (lambda: done("scope", "data", failed="data"), None, list(STEPS[1:])),
        (lambda: done(*STEPS), "7,6", ["features", "deployment"]),
        (lambda: done(*STEPS), "4", ["selection"]),
        (lambda: done(*STEPS), "8", ["observability"]),
    ],
)
def test_a_resumed_run_does_the_steps_that_did_not_pass(
    record: Callable[[], Record], requested: str | None, to_do: list[str]
) -> None:
    made = record()

    assert list(steps_to_do(made.plan, made, requested)) == to_do


@pytest.mark.parametrize(
    ("record", "requested"),
    [
        (lambda: done("scope", "data", failed="data"), "4,5"),
        (lambda: done("scope", "data", "cohort", failed="cohort"), "4"),
        (lambda: done(*STEPS[:5], failed="training"), "7"),
        (lambda: done(*STEPS), "4,6"),
        (lambda: done(*STEPS), "3,7"),
    ],
    ids=["data", "cohort", "training", "selection outdates training", "cohort outdates training"],
)
def test_no_step_depends_on_a_failed_or_outdated_one(
    record: Callable[[], Record], requested: str, snapshot: SnapshotAssertion
) -> None:
    made = record()

    with pytest.raises(RunError) as rejected:
        steps_to_do(made.plan, made, requested)
    assert message_of(rejected, made) == snapshot


@pytest.mark.parametrize(
    ("failed", "status", "verdict"),
    [("", 0, "pass"), ("deployment", 1, "fail"), ("deployment", 2, "inconclusive")],
)
def test_the_verdict_covers_all_steps_and_survives_reading(failed: str, status: int, verdict: str) -> None:
    made = done(*STEPS, failed=failed, status=status)
    made.conclude()
    made.write()

    again = Record.read(made.folder)
    assert (again.status, again.verdict, again.problem) == (status, verdict, "it is bad" if failed else "")
    assert json.loads((made.folder / "run.json").read_text(encoding="utf-8")) == json.loads(
        json.dumps(again.as_dict())
    )


# --- record ---


def without(key: str) -> Callable[[dict[str, Any]], Any]:
    return lambda content: {name: value for name, value in content.items() if name != key}


@pytest.mark.parametrize(
    "damage",
    [
        lambda _: [1, 2],
        lambda content: {**content, "schema": 1},
        without("options"),
        lambda content: {**content, "study": {"scope": {"metric": "none"}}},
        lambda content: {**content, "done": {"scope": {"facts": {}}}},
        lambda content: {**content, "done": ["scope"]},
        lambda content: {**content, "steps": None},
    ],
    ids=["no object", "schema", "no options", "study", "no lines", "done", "steps"],
)
def test_a_damaged_record_is_rejected(
    damage: Callable[[dict[str, Any]], Any], snapshot: SnapshotAssertion
) -> None:
    made = done("scope")
    made.write()
    path = made.folder / "run.json"
    path.write_text(json.dumps(damage(json.loads(path.read_text(encoding="utf-8")))), encoding="utf-8")

    with pytest.raises(RunError) as rejected:
        Record.read(made.folder)
    assert message_of(rejected, made).partition("\n")[0] == snapshot


@MANY
@given(data=st.data())
def test_any_record_is_read_or_rejected(data: st.DataObject) -> None:
    made = done("scope")
    path = made.folder / "run.json"
    path.write_text(json.dumps(data.draw(changed([made.as_dict()]))), encoding="utf-8")
    path.chmod(0o600)

    read = outcome(lambda: Record.read(made.folder), RunError)

    assert isinstance(read, Record) or made.folder.name in str(read)


def test_a_truncated_record_is_rejected() -> None:
    made = done("scope")
    (made.folder / "run.json").write_text('{"schema": 2', encoding="utf-8")

    with pytest.raises(RunError, match=made.folder.name):
        Record.read(made.folder)


def resumed(steps: str = "1-3", file: str = "rows.csv") -> Record:
    """Run steps on a file, and find the run again."""
    write_rows(file)
    made = Record.create(Path("runs"), plan({"dataset": file, "target": "y"}, steps))
    run_steps(made, made.plan.steps, RunListener())
    return Record.find(Path("runs"), made.folder.name)


def test_a_file_that_did_not_change_is_not_read_again() -> None:
    made = resumed()

    write_rows()  # the same content, another time of change

    again = Record.find(Path("runs"), made.folder.name)
    assert again.digest
    assert not again.changed_file
    assert list(steps_to_do(again.plan, again, None)) == []
    assert list(steps_to_do(again.plan, again, "4")) == ["selection"]


def test_a_resumed_run_does_the_steps_again_that_read_a_file_which_has_changed() -> None:
    made = resumed()
    write_rows(rows=150)

    again = Record.find(Path("runs"), made.folder.name)
    to_do = steps_to_do(again.plan, again, None)
    run_steps(again, to_do, RunListener())

    assert list(to_do) == ["data", "cohort"]
    assert again.done["cohort"][0].facts["rows"] == 150
    found = Record.find(Path("runs"), made.folder.name)
    assert not found.changed_file
    assert found.digest != made.digest


def test_a_step_does_not_build_on_a_file_that_has_changed(snapshot: SnapshotAssertion) -> None:
    made = resumed()
    write_rows(rows=150)
    again = Record.find(Path("runs"), made.folder.name)

    with pytest.raises(RunError) as rejected:
        steps_to_do(again.plan, again, "4")
    assert message_of(rejected, made) == snapshot
    assert list(steps_to_do(again.plan, again, "2,3,4")) == ["data", "cohort", "selection"]
    assert list(steps_to_do(again.plan, again, "1")) == ["scope"]


def test_a_file_that_is_gone_is_reported() -> None:
    made = resumed()
    Path("rows.csv").unlink()

    with pytest.raises(SettingsError, match="not found"):
        Record.find(Path("runs"), made.folder.name)


def test_a_damaged_state_makes_the_run_inconclusive() -> None:
    made = run("1,2")
    (made.folder / "state.pickle").write_bytes(b"\x80\x05not a pickle")

    with pytest.raises(RunError, match=r"state\.pickle is damaged"):
        run_steps(made, ["cohort"], RunListener())
    assert Record.read(made.folder).verdict == "inconclusive"


def test_a_run_is_locked_by_its_process() -> None:
    made = Record.create(Path("runs"), plan())

    with (
        FileLock(made.folder / "lock"),
        pytest.raises(RunError, match=f"run {made.folder.name} is in use by another process"),
    ):
        run_steps(made, ["scope"], RunListener())
    assert run_steps(made, ["scope"], RunListener()) == 0


def test_a_record_that_cannot_be_written_is_reported() -> None:
    made = Record.create(Path("runs"), plan())
    (made.folder / "run.json.unfinished").mkdir()

    with pytest.raises(RunError, match=rf"run\.json.* --resume {made.folder.name}"):
        run_steps(made, ["scope"], RunListener())


# --- running steps ---


def run(
    steps: str, options: Mapping[str, str | None] | None = None, study: str = "", record: Record | None = None
) -> Record:
    record = record or Record.create(Path("runs"), plan(options, steps, study))
    status = run_steps(record, parse_steps(steps), RunListener())
    assert status == record.status == {"pass": 0, "fail": 1, "inconclusive": 2}[record.verdict]
    return record


def test_a_failed_step_ends_the_run_and_remains_failed_when_an_earlier_one_is_repeated() -> None:
    record = run("1-4", study=RULES)

    assert list(record.done) == ["scope", "data"]
    assert record.status == 1
    record = run("1", record=Record.read(record.folder))
    assert record.status == 1, "scope is fine, and the data still is not"
    assert "allowed" in record.problem


def test_a_suspicion_fails_the_run_but_does_not_end_it() -> None:
    data = clean_table(0, sizes=(400,))
    data.features.assign(outcome=data.target, left=data.target).to_csv("leaky.csv", index=False)
    options = {"dataset": "leaky.csv", "target": "left", "algorithms": "linear"}

    record = run("2-4", options)

    assert list(record.done) == ["data", "cohort", "selection"]
    assert (record.verdict, record.status) == ("fail", 1)
    again = Record.read(record.folder)
    assert again.done["data"][0].suspicions == list(record.done["data"][0].suspicions)
    assert again.passed_steps == ["data", "cohort", "selection"]
    assert "'outcome'" in as_markdown(again).splitlines()[2]
    assert run("2-4", options, f'{STUDY}[data]\nallow = ["outcome"]').status == 0


def test_a_repeated_cohort_starts_from_all_rows() -> None:
    record = run("2,3", study=COHORT)
    first = {step: found.facts for step, (found, _) in record.done.items()}

    again = run("3", record=Record.read(record.folder))

    assert first["cohort"]["attrition"][0]["removed"] > 0
    assert again.done["cohort"][0].facts == first["cohort"]
    assert run("2", record=Record.read(record.folder)).done["data"][0].facts["rows"] == first["data"]["rows"]


def test_dependent_results_are_discarded_when_a_step_is_repeated() -> None:
    record = run("1-4", {"algorithms": "linear"})

    run("1", record=record)
    assert list(record.done) == ["scope", "data", "cohort", "selection"], "in the order of the pipeline"
    run("2", record=record)
    assert list(record.done) == ["scope", "data"]


@pytest.mark.parametrize("problem", [SystemExit(0), KeyError("region")])
def test_an_unexpected_error_in_a_step_makes_the_run_inconclusive(
    problem: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks(_: object) -> StepResult:
        raise problem

    monkeypatch.setitem(BODIES, "data", breaks)

    record = run("1-3")

    assert record.status == 2
    assert list(record.done) == ["scope", "data"]
    assert f"{type(problem).__name__}: {problem}" in record.problem
    assert str(record.folder / "traceback.txt") in record.problem
    assert type(problem).__name__ in (record.folder / "traceback.txt").read_text(encoding="utf-8")
    assert "| 2 data | 0.0 | error |" in (record.folder / "report.md").read_text(encoding="utf-8")


def test_a_model_that_cannot_be_pickled_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "lock_in_training.py").write_text(
        "import threading\nimport numpy as np\nfrom sklearn.linear_model import LinearRegression\n"
        "def train():\n    x = np.arange(40.0)[:, None]\n    model = LinearRegression().fit(x, x[:, 0] / 3)\n"
        "    model.lock = threading.Lock()\n    return model, x, x[:, 0] / 3\n",
        encoding="utf-8",
    )
    monkeypatch.syspath_prepend(tmp_path)

    record = run("2", {"pipeline": "lock_in_training:train"})

    assert record.status == 2
    assert "cannot be pickled" in record.problem
    assert "TypeError" in record.problem


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
def test_a_comparison_on_a_sample_is_reported(
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
    ("arguments", "message"),
    [
        (["--resume", ""], "no run named '' in tier0-runs"),
        (["--resume", ".."], "no run named '..' in tier0-runs"),
        (["--resume", "."], "no run named '.' in tier0-runs"),
        (
            ["--resume", "tier0-runs/20260101-000000-abcdef"],
            "no run named 'tier0-runs/20260101-000000-abcdef' in tier0-runs",
        ),
        (["--step", "1", "--keep-serving"], "add --include-bentoml"),
        (
            ["--step", "5", "--pipeline", "shutil:which", "--dask", "tcp://127.0.0.1:1"],
            "--dask cannot be combined with --pipeline",
        ),
        (["--step", "1", "--dask", "127.0.0.1:8786"], "invalid value '127.0.0.1:8786' for --dask"),
    ],
)
def test_invalid_arguments_exit_with_status_2(arguments: list[str], message: str) -> None:
    result = CliRunner().invoke(app, ["run", *arguments])

    assert result.exit_code == 2, result.output
    assert message in result.output


def test_an_unexpected_error_exits_with_status_2(monkeypatch: pytest.MonkeyPatch) -> None:
    def out_of_files(*_: object, **__: object) -> int:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(runner, "run_steps", out_of_files)

    result = CliRunner().invoke(app, ["run", "--step", "1"])

    assert result.exit_code == 2
    assert "internal error: OSError: [Errno 24] Too many open files" in result.output


def test_a_dry_run_prints_the_plan_of_a_resumed_run() -> None:
    record = run("1,2", {"seed": "3"})

    result = CliRunner().invoke(
        app, ["run", "--resume", record.folder.name, "--output-dir", "runs", "--step", "3,4", "--dry-run"]
    )

    assert result.exit_code == 0, result.output
    assert result.output.splitlines() == [
        "settings: seed=3",
        "would run step 3: cohort",
        "would run step 4: selection",
    ]
