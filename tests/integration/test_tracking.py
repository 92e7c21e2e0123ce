"""MLflow's stores as their users set them: every logged model can be loaded, and nothing else is changed.

MLflow takes seconds to import, so that one fixture logs at once what it can, and one process reads it all.
"""

from __future__ import annotations

import json
import os
import pickle
import shutil
import signal
import socket
import sqlite3
import stat
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from tier0.core.errors import Tier0Error
from tier0.pipeline.evaluation import Predictions, evaluate
from tier0.pipeline.tracking import Tracking
from tier0.pipeline.training import Training
from tier0.serving.workspace import Workspace

FEATURES = np.random.default_rng(3).normal(size=(40, 2))
MODEL = LogisticRegression().fit(FEATURES, FEATURES[:, 0] > 0)
PARAMETERS: dict[str, Any] = {
    "algorithm": "LogisticRegression",
    "dataset": "patients",
    "target": "y",
    "task": "classification",
}
TRAINING = Training(
    model=MODEL,
    parameters={},
    score=None,
    metric=None,
    trials=1,
    threshold=0.5,
    minority=True,
    rows={"train": 40},
    examples=FEATURES,
    names=["a", "b"],
    seed=7,
    evaluation=replace(
        evaluate(
            Predictions(FEATURES[:, 0] > 0, MODEL.predict(FEATURES), None, MODEL.classes_, minority=True), 7
        ),
        metrics={"auc_roc": 0.75},
        spread={"auc_roc": 0.1},
    ),
    **PARAMETERS,
)
READ = """
import json, sys
import mlflow, numpy
from mlflow import MlflowClient

found = {}
for name, (uri, run_id, model_uri) in json.load(sys.stdin).items():
    mlflow.set_tracking_uri(uri)
    run = mlflow.get_run(run_id)
    experiment = mlflow.get_experiment(run.info.experiment_id)
    found[name] = {
        "answer": None if model_uri is None else mlflow.sklearn.load_model(model_uri).predict(
            numpy.array([[1.0, 0.0], [-1.0, 0.0]])).tolist(),
        "status": run.info.status, "params": run.data.params, "metrics": run.data.metrics,
        "tags": run.data.tags, "experiment": experiment.name, "location": experiment.artifact_location,
        "default": mlflow.get_experiment("0").artifact_location,
        "runs": len(MlflowClient().search_runs([experiment.experiment_id])),
    }
print(json.dumps(found))
"""
DRIVE = """
import json, os, sys
from mlflow import MlflowClient
from mlflow.entities import Experiment
from pathlib import Path
from tier0.core.errors import Tier0Error
from tier0.pipeline import log_to_mlflow

def prepare(uri, **variables):
    for name in [name for name in os.environ if name.startswith("MLFLOW_EXPERIMENT_")]:
        del os.environ[name]
    os.environ |= {"TIER0_TRACKING_URI": uri, "TIER0_ADDS": "", **variables}
    return log_to_mlflow.prepare()

given = json.load(sys.stdin)
uri, folder = given["uri"], Path(os.environ["TIER0_USER_FOLDER"])
found = {
    "in files": prepare("file:mlruns")(given["order"])["run_id"],
    "steered": prepare(uri, **given["variables"])(given["order"])["run_id"],
}
prepare(uri, TIER0_ADDS="true", MLFLOW_EXPERIMENT_ID="99")(given["added"])

client = MlflowClient()
client.create_experiment("gone", (folder / "deleted" / "mlruns" / "9").as_uri())
client.create_experiment("new", (folder / "artifacts").as_uri())
client.delete_experiment(client.create_experiment("deleted"))
for case, variables in {
    "gone": {"MLFLOW_EXPERIMENT_NAME": "gone"},
    "deleted": {"MLFLOW_EXPERIMENT_NAME": "deleted"},
    "new": {"MLFLOW_EXPERIMENT_NAME": "new"},
    "unknown": {"MLFLOW_EXPERIMENT_ID": "99"},
    "not a number": {"MLFLOW_EXPERIMENT_ID": "mine"},
    "two": {"MLFLOW_EXPERIMENT_ID": "0", "MLFLOW_EXPERIMENT_NAME": "new"},
}.items():
    try:
        prepare(uri, **variables)
        found[case] = None
    except Tier0Error as problem:
        found[case] = str(problem)
try:
    store = log_to_mlflow.TrackingStore.in_folder(folder)
    log_to_mlflow._require_place(Experiment("9", "relative", "mlruns/9", "active"), store)
except Tier0Error as problem:
    found["relative"] = str(problem)
print(json.dumps(found))
"""


class _Waits:
    """A model that is being loaded until a signal arrives."""

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return exec, ("while True: pass",)


@dataclass(frozen=True)
class Logged:
    """What the fixture logged.

    Attributes:
        found: what a new process in another folder finds about each run.
        refused: message about each experiment that cannot be used.
        sqlite: folder of a user with an SQLite store.
        files: folder of a user with a file store.
        foreign: rows of a run that was named by MLFLOW_RUN_ID, before and after.
        stopped: status of a run whose logging was stopped.
    """

    found: Mapping[str, Any]
    refused: Mapping[str, Any]
    sqlite: Path
    files: Path
    foreign: tuple[Any, Any]
    stopped: str


@contextmanager
def tracking(folder: Path, user_folder: Path, uri: str | None = None, **variables: str) -> Iterator[Tracking]:
    folder.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("MLFLOW_")]:
            patch.delenv(name)
        for name, value in variables.items():
            patch.setenv(name, value)
        opened = Tracking(folder, user_folder, uri)
    try:
        yield opened
    finally:
        opened.close()


def run_in(folder: Path, code: str, stdin: str = "", **variables: str) -> Any:
    """Run code in a new process, and return what it prints as JSON."""
    folder.mkdir()
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        cwd=folder,
        env={**os.environ, "MLFLOW_ALLOW_FILE_STORE": "true", **variables},
        input=stdin,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def rows(database: Path, run_id: str) -> list[Any]:
    """Return everything that the database has about a run."""
    with closing(sqlite3.connect(database)) as connection:
        return [
            connection.execute(f"select * from {table} where run_uuid = ? order by 1, 2", [run_id]).fetchall()
            for table in ("runs", "params", "metrics", "tags")
        ]


def status_in(database: Path, experiment: str) -> str | None:
    """Return the status of the only run of an experiment; None as long as there is none."""
    query = "select status from runs join experiments using (experiment_id) where experiments.name = ?"
    with closing(sqlite3.connect(database)) as connection:
        row = connection.execute(query, [experiment]).fetchone()
    return None if row is None else str(row[0])


@pytest.fixture(scope="module")
def logged(tmp_path_factory: pytest.TempPathFactory) -> Logged:
    tmp = tmp_path_factory.mktemp("tracking")
    sqlite, files = tmp / "Ann's project", tmp / "files"
    sqlite.mkdir()
    files.mkdir()
    database, relative = sqlite / "mlflow.db", {"MLFLOW_TRACKING_URI": "sqlite:///mlflow.db"}
    content = cloudpickle.dumps(MODEL)

    with (
        tracking(tmp / "first", sqlite, **relative) as first,
        tracking(tmp / "second", sqlite, **relative) as second,
        tracking(tmp / "third", sqlite, **relative, MLFLOW_EXPERIMENT_NAME="stopped") as third,
    ):
        first_run, second_run = first.log(TRAINING, content), second.log(TRAINING, content)
        third.require_usable()
        third.log(TRAINING, pickle.dumps(_Waits()))
        deadline = time.monotonic() + 60
        while status_in(database, "stopped") != "RUNNING":
            assert time.monotonic() < deadline
            time.sleep(0.01)
        third._worker._process.send_signal(signal.SIGINT)  # as Ctrl-C does, before `close`
        third._worker._process.wait(60)  # longer than `close` waits: the machine may be busy
        third.close()
        runs = {"first": (first.uri, *first_run.result()), "second": (second.uri, *second_run.result())}
    uri, foreign, _ = runs["first"]
    before = rows(database, foreign)

    for name in ("model.pkl", "report.md"):
        (tmp / name).write_bytes(content)
    order = {"model": str(tmp / "model.pkl"), "tags": {}, "params": PARAMETERS, "metrics": TRAINING.metrics}
    variables = {
        "MLFLOW_RUN_ID": foreign,
        "MLFLOW_EXPERIMENT_NAME": "mine",
        "MLFLOW_ENABLE_ASYNC_LOGGING": "true",
        "MLFLOW_ACTIVE_MODEL_ID": "m-0123456789abcdef0123456789abcdef",
        "MLFLOW_DEFAULT_ARTIFACT_ROOT": str(tmp / "other"),
        "MLFLOW_REGISTRY_URI": "sqlite:///registry.db",
    }
    given = {
        "uri": uri,
        "order": {**order, "evaluation": {}, "requirements": ["scikit-learn"]},
        "variables": variables,
        "added": {
            "run_id": runs["second"][1],
            "tags": {"tier0.run": "r1"},
            "metrics": {"latency": 2.0},
            "artifacts": [str(tmp / "report.md")],
        },
    }
    refused = run_in(tmp / "driver", DRIVE, json.dumps(given), TIER0_USER_FOLDER=str(files))
    addresses = {"steered": uri, "in files": (files / "mlruns").as_uri()}
    for name, address in addresses.items():
        run_id = refused.pop(name)
        runs[name] = (address, run_id, f"runs:/{run_id}/model")
    for name in ("first", "second", "third", "driver"):
        shutil.rmtree(tmp / name)
    return Logged(
        run_in(tmp / "elsewhere", READ, json.dumps(runs)),
        refused,
        sqlite,
        files,
        (before, rows(database, foreign)),
        str(status_in(database, "stopped")),
    )


@pytest.mark.parametrize("name", ["first", "second", "steered", "in files"])
def test_a_logged_model_can_be_loaded_after_the_run(logged: Logged, name: str) -> None:
    found = logged.found[name]

    assert found["answer"] == [True, False]
    assert found["status"] == "FINISHED"
    assert found["params"].items() >= PARAMETERS.items()
    assert found["metrics"]["auc_roc"] == TRAINING.metrics["auc_roc"]


def test_new_experiments_have_their_artifacts_beside_the_store(logged: Logged) -> None:
    artifacts = (logged.sqlite / "mlruns").as_uri()

    assert logged.found["first"]["default"] == f"{artifacts}/0"
    assert logged.found["first"]["location"].startswith(f"{artifacts}/")
    assert logged.found["steered"]["location"].startswith(f"{artifacts}/")
    assert logged.found["in files"]["location"].startswith((logged.files / "mlruns").as_uri())
    assert sorted(path.name for path in logged.sqlite.iterdir()) == ["mlflow.db", "mlruns"]
    assert [path.name for path in logged.files.iterdir()] == ["mlruns"]


def test_runs_at_once_share_one_experiment(logged: Logged) -> None:
    assert (logged.found["first"]["experiment"], logged.found["first"]["runs"]) == ("tier0", 2)


def test_the_experiment_of_the_user_is_used_and_the_open_run_of_the_user_is_not(logged: Logged) -> None:
    before, after = logged.foreign

    assert (logged.found["steered"]["experiment"], logged.found["steered"]["runs"]) == ("mine", 1)
    assert after == before


def test_the_outcome_is_added_to_the_run_of_the_training(logged: Logged) -> None:
    found = logged.found["second"]

    assert (found["tags"]["tier0.run"], found["metrics"]["latency"]) == ("r1", 2.0)
    assert list((logged.sqlite / "mlruns").glob("*/*/artifacts/report.md"))


def test_a_run_that_was_stopped_is_not_finished(logged: Logged) -> None:
    assert logged.stopped == "KILLED"


def test_an_experiment_that_cannot_be_used_is_reported_before_the_training(logged: Logged) -> None:
    found = dict(logged.refused)

    assert found.pop("new") is None
    assert str(logged.files / "deleted") in found["gone"]
    assert "mlruns/9" in found["relative"]
    for case in ("gone", "deleted", "relative"):
        assert "MLFLOW_EXPERIMENT_NAME" in found.pop(case), case
    for case in ("unknown", "not a number", "two"):
        assert "MLFLOW_EXPERIMENT_ID" in found.pop(case), case
    assert found == {}


def test_a_server_that_is_down_is_reported_without_the_password(
    tmp_path: Path,
) -> None:
    with closing(socket.socket()) as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        uri = f"http://ann:pw@127.0.0.1:{port}"
        with tracking(tmp_path / "m", tmp_path, MLFLOW_TRACKING_URI=uri) as opened:
            opened._worker._process.wait(30)  # it ends before it is asked
            with pytest.raises(Tier0Error, match="MLFLOW_TRACKING_URI") as raised:
                opened.require_usable()

    assert f"http://127.0.0.1:{port}" in str(raised.value)
    assert "pw" not in str(raised.value)
    assert raised.value.exit_status == 2


def test_folders_of_a_run_are_private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    workspace = Workspace.create()
    try:
        modes = [stat.S_IMODE(path.stat().st_mode) for path in (workspace.path, workspace.folder("m"))]
    finally:
        workspace.close()

    assert modes == [0o700, 0o700]
