"""A booster from a store and an MLflow model by its URI, in one service."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import numpy as np
import pytest
import xgboost

import tier0
from tier0.core.event_log import EventLog
from tier0.runs.services import Services
from tier0.serving.registration import EntryWriter, ModelSaver, save_models
from tier0.serving.workspace import Workspace

pytestmark = [pytest.mark.server, pytest.mark.slow, pytest.mark.timeout(300)]
X = np.random.default_rng(0).normal(size=(100, 3))
LOG = """
import mlflow, mlflow.lightgbm, lightgbm, numpy, pandas
frame = pandas.DataFrame(numpy.random.default_rng(1).normal(size=(200, 3)), columns=["a", "b", "c"])
model = lightgbm.LGBMClassifier(n_estimators=5, verbose=-1).fit(frame, frame["a"] > 0)
with mlflow.start_run():
    mlflow.lightgbm.log_model(
        model, name="model", registered_model_name="Churn", input_example=frame[:20], pip_requirements=[]
    )
mlflow.MlflowClient().set_registered_model_alias("Churn", "champion", "1")
"""


@pytest.fixture(scope="module")
def workspace() -> Iterator[Workspace]:
    workspace = Workspace.create()
    yield workspace
    workspace.close()


def test_a_tag_and_a_uri_are_served_together(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = workspace.folder("registry")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/mlflow.db")
    subprocess.run([sys.executable, "-W", "ignore", "-c", LOG], cwd=folder, check=True)
    booster = xgboost.train({"objective": "binary:logistic"}, xgboost.DMatrix(X, X[:, 0] > 0), 5)
    savers = [ModelSaver(booster, "scores", None, X[:20])]
    writer = EntryWriter(workspace, workspace.store)
    (scores,) = save_models(savers, workspace, writer, prove=True)
    before = sorted(workspace.store.rglob("model.yaml"))
    events = EventLog()

    with Services.from_store(
        workspace.store, ["scores", "models:/Churn@champion"], events=events
    ) as services:
        verdicts = {
            name: tier0.check_serving(
                services.deployment(name),
                groups=["identity", "contract", "parity"],
                disturb="malformed",
                on_fail="return",
            )
            for name in ("scores", "churn")
        }

    assert {name: verdict.verdict for name, verdict in verdicts.items()} == {
        "scores": "pass",
        "churn": "pass",
    }
    assert services.models["models"][0].tag == scores.tag
    assert sorted(workspace.store.rglob("model.yaml")) == before, "the store of the tags is only read"
    messages = [event.message for event in events.events]
    assert [one for one in messages if "from models:/Churn@champion (version 1, alias champion, run " in one]
