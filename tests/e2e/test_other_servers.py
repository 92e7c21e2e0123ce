"""Real servers of others, started by their commands: MLflow's scoring server, and uvicorn with workers."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import joblib
import mlflow
import pandas as pd
import pytest
from mlflow.models import infer_signature

from tests.support import ROOT
from tests.support.model_servers import DEFECTS, GOLDEN, MODEL, OTHER
from tests.support.wrong_models import UNDECLARED, Switched
from tier0 import Deployment, check_serving
from tier0.core.errors import ServerError, Tier0Error
from tier0.serving.processes import find_free_port, processes_marked

MLFLOW = "mlflow models serve -m {folder} -p {{port}} --env-manager local"
APP = """
import joblib
import pandas as pd
from fastapi import FastAPI

app = FastAPI()
model = joblib.load("model.joblib")


@app.get("/health")
def health():
    return {"status": "ok"}


@app.post("/predict")
def predict(rows: list[dict[str, float | None]]):
    return {"predictions": model.predict(pd.DataFrame(rows, dtype=float)).tolist()}
"""


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models of MLflow: the one of the golden rows with a signature and without, and another one."""
    folder = tmp_path_factory.mktemp("models")
    rows = GOLDEN.examples
    frame = pd.DataFrame(rows.rows, columns=rows.columns).astype(float)
    signature = infer_signature(frame, MODEL.predict(frame))
    for name, model, stated in (
        ("signed", MODEL, signature),
        ("unsigned", MODEL, None),
        ("other", OTHER, signature),
    ):
        path = str(folder / name)
        mlflow.sklearn.save_model(model, path, signature=stated, serialization_format="cloudpickle")
    return folder


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*type hint:UserWarning")  # of MLflow, while it is imported
@pytest.mark.parametrize(("name", "status"), [("signed", 0), ("unsigned", 0), ("other", 1)])
def test_mlflows_server_is_judged_by_its_model(saved: Path, name: str, status: int) -> None:
    command = MLFLOW.format(folder=saved / name)
    with Deployment.from_command(command, golden=GOLDEN, startup_timeout=90) as deployment:
        verdict = check_serving(deployment, groups=("health", "identity", "parity"), on_fail="return")

    assert [result.message for result in verdict.checks if result.status == "error"] == []
    assert verdict.exit_status == status
    assert deployment.server is not None
    assert processes_marked(deployment.server.nonce) == []


@pytest.fixture
def app(tmp_path: Path) -> Path:
    joblib.dump(MODEL, tmp_path / "model.joblib")
    (tmp_path / "app.py").write_text(APP, encoding="utf-8")
    return tmp_path


@pytest.mark.slow
def test_a_server_with_workers_is_ended_with_all_of_them(app: Path) -> None:
    command = [sys.executable, "-m", "uvicorn", "app:app", "--port", "{port}", "--workers", "2"]
    with Deployment.from_command(command, folder=app, golden=GOLDEN, startup_timeout=90) as deployment:
        verdict = check_serving(deployment, groups=("health", "parity"), on_fail="return")
        server = deployment.server
        assert server is not None
        assert server.is_supervised

    assert [(result.id, result.message) for result in verdict.with_status("fail")] == []
    assert processes_marked(server.nonce) == []


@pytest.mark.parametrize(
    ("command", "problem"),
    [
        ("uvicorn app:app", "has no {port}"),
        ("", "the command is empty"),
        ("uvicorn 'app:app --port {port}", "No closing quotation"),
        ("no-such-program --port {port}", "the program 'no-such-program' was not found"),
    ],
)
def test_a_command_that_cannot_be_run_is_an_error(tmp_path: Path, command: str, problem: str) -> None:
    with pytest.raises(Tier0Error, match=problem):
        Deployment.from_command(command, folder=tmp_path, golden=GOLDEN)


def test_a_command_that_ends_shows_the_end_of_its_log(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "raise SystemExit('the model is missing')", "{port}"]

    with pytest.raises(ServerError, match=r"(?s)exited with status 1.*the model is missing"):
        Deployment.from_command(command, folder=tmp_path, golden=GOLDEN)


def test_no_shell_reads_the_command(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "import sys; sys.exit(repr(sys.argv[2:]))", "{port}", "$HOME; touch x"]

    with pytest.raises(ServerError, match=r"\['\$HOME; touch x'\]"):
        Deployment.from_command(command, folder=tmp_path, golden=GOLDEN)
    assert list(tmp_path.iterdir()) == []


MLSERVER = "TIER0_MLSERVER"
"""Variable with the path of `mlserver`, which `make servers` installs into an environment of its own."""


def mlserver_command(folder: Path) -> str:
    """Return the command that serves the model in a folder, after its settings were written."""
    document = {
        "name": "customers",
        "implementation": "mlserver_sklearn.SKLearnModel",
        "parameters": {"uri": "./model.joblib", "version": "1"},
    }
    (folder / "model-settings.json").write_text(json.dumps(document), encoding="utf-8")
    ports = f"MLSERVER_GRPC_PORT={find_free_port()} MLSERVER_METRICS_PORT={find_free_port()}"
    options = f"{ports} MLSERVER_PARALLEL_WORKERS=0 MLSERVER_HTTP_PORT={{port}} PYTHONPATH={ROOT}"
    return f"env {options} {os.environ[MLSERVER]} start ."


@pytest.mark.slow
@pytest.mark.skipif(MLSERVER not in os.environ, reason="make servers installs MLServer")
@pytest.mark.parametrize(("model", "status"), [(MODEL, 0), (OTHER, 1)], ids=["same", "other"])
def test_mlserver_is_judged_by_its_model(tmp_path: Path, model: Any, status: int) -> None:
    joblib.dump(model, tmp_path / "model.joblib")
    command = mlserver_command(tmp_path)

    with Deployment.from_command(command, folder=tmp_path, golden=GOLDEN, startup_timeout=90) as deployment:
        verdict = check_serving(deployment, groups=("health", "parity"), on_fail="return")

    assert [result.message for result in verdict.checks if result.status == "error"] == []
    assert verdict.exit_status == status


def save_for(server: str, model: Switched, folder: Path) -> str:
    """Save a model as the users of a server do, and return the command that serves it."""
    if server == "mlflow":
        rows = GOLDEN.examples
        frame = pd.DataFrame(rows.rows, columns=rows.columns).astype(float)
        mlflow.sklearn.save_model(
            model,
            str(folder / "saved"),
            signature=infer_signature(frame, model.predict(frame)),
            serialization_format="cloudpickle",
        )
        return f"env PYTHONPATH={ROOT} {MLFLOW.format(folder=folder / 'saved')}"
    joblib.dump(model, folder / "model.joblib")
    if server == "mlserver":
        return mlserver_command(folder)
    (folder / "app.py").write_text(APP, encoding="utf-8")
    return f"env PYTHONPATH={ROOT} {sys.executable} -m uvicorn app:app --port {{port}}"


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.filterwarnings("ignore:.*type hint:UserWarning")  # of MLflow, while it is imported
@pytest.mark.parametrize(
    ("server", "place"),
    [
        ("fastapi", "predictions"),
        ("mlflow", "predictions"),
        pytest.param(
            "mlserver",
            "outputs.predict",
            marks=pytest.mark.skipif(MLSERVER not in os.environ, reason="make servers installs MLServer"),
        ),
    ],
)
def test_each_defect_behind_a_real_server_is_caught(tmp_path: Path, server: str, place: str) -> None:
    switch = tmp_path / "defect"
    switch.touch()
    command = save_for(server, Switched(MODEL, OTHER, str(switch)), tmp_path)
    with Deployment.from_command(command, folder=tmp_path, golden=GOLDEN, startup_timeout=90) as deployment:
        statuses = {}
        for defect in ("", *DEFECTS, ""):
            switch.write_text(defect, encoding="utf-8")
            asked = Deployment.from_url(deployment.url, golden=GOLDEN)
            statuses[defect] = check_serving(asked, groups=("parity",), on_fail="return").exit_status
        switch.write_text(UNDECLARED, encoding="utf-8")
        declared = Deployment.from_url(deployment.url, golden=GOLDEN, contract={"predictions": place})
        verdict = check_serving(declared, groups=("parity.golden_rows",), on_fail="return")

    assert statuses == {"": 0, **dict.fromkeys(DEFECTS, 1), UNDECLARED: 2}
    assert verdict.exit_status == 1
