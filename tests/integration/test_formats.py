"""Models of other frameworks in their own formats, and MLflow models by URI.

One worker process saves all boosters, and one process of MLflow logs what another one registers.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import pandas as pd
import pytest
import xgboost

from tier0 import register_model_for_serving
from tier0.core.errors import ModelChangedError, RegistrationError
from tier0.serving.entry import DESCRIPTION_FILE, Entry
from tier0.serving.registration import EntryWriter, ModelSaver, RegisteredModel, save_models
from tier0.serving.save_entry import prove
from tier0.serving.workspace import Workspace

RNG = np.random.default_rng(0)
X = RNG.normal(size=(200, 3))
Y = (X[:, 0] + X[:, 1] > 0).astype(int)
FRAME = pd.DataFrame({"a": X[:, 0], "plan": pd.Categorical(np.where(X[:, 1] > 0, "pro", "free"))})
LOG = """
import json, logging, pathlib, sys
logging.disable(logging.WARNING)
import mlflow, mlflow.sklearn
import pandas as pd
from sklearn.linear_model import LogisticRegression
from tier0.core.errors import Tier0Error
from tier0.serving import capture_mlflow

given = json.load(sys.stdin)
frame = pd.DataFrame(given["rows"], columns=["a", "b", "c"])
model = LogisticRegression().fit(frame, ["yes" if label else "no" for label in given["labels"]])
client = mlflow.MlflowClient()
for example in (frame[:12], None):
    with mlflow.start_run():
        info = mlflow.sklearn.log_model(
            model, name="model", registered_model_name="churn", input_example=example, pip_requirements=[],
            serialization_format="cloudpickle",
        )
    client.set_registered_model_alias("churn", "champion", "1")
refused = {}
for uri in ("models:/churn/9", "models:/churn@nobody", "models:/other", "models:/churn/Production"):
    try:
        capture_mlflow._found(uri)
    except Tier0Error as problem:
        refused[uri] = str(problem)
without_example = capture_mlflow._loaded("models:/churn/2", pathlib.Path("downloaded"))
try:
    capture_mlflow._examples({"has_examples": False}, without_example, pathlib.Path())
except Tier0Error as problem:
    refused["without example"] = str(problem)
loaded = mlflow.pyfunc.load_model("models:/churn@champion")
print(json.dumps({
    "predictions": loaded.predict(frame[:12]).tolist(),
    "probabilities": loaded.get_raw_model().predict_proba(frame[:12]).tolist(),
    "run": loaded.metadata.run_id,
    "exact": [capture_mlflow._found(uri)[1] for uri in ("models:/churn@champion", "models:/churn/latest")],
    "refused": refused,
}))
"""
HEAVY = ["torch", "onnx", "onnxruntime", "catboost", "xgboost", "lightgbm", "mlflow", "bentoml"]
REGISTER = f"""
import sys
import numpy
from sklearn.linear_model import LinearRegression
from tier0.serving.formats.choice import MODULES, format_named
from tier0.serving.mlflow_source import MlflowSaver
from tier0.serving.registration import ModelSaver
for name in MODULES:
    format_named(name)
rows = numpy.arange(12.0).reshape(6, 2)
ModelSaver(LinearRegression().fit(rows, rows[:, 0]), "m", None, rows)
print(*sorted(set({HEAVY!r}) & set(sys.modules)))
"""


@pytest.fixture(scope="module")
def boosters() -> Iterator[dict[str, RegisteredModel]]:
    labels = np.arange(200) % 3
    trained: dict[str, tuple[Any, Any]] = {
        "xgboost": (xgboost.train({"objective": "binary:logistic"}, xgboost.DMatrix(X, Y), 5), X[:10]),
        "xgboost_table": (
            xgboost.train(
                {"objective": "multi:softprob", "num_class": 3},
                xgboost.DMatrix(FRAME, labels, enable_categorical=True),
                5,
            ),
            FRAME[:10],
        ),
        "lightgbm": (
            lightgbm.train({"objective": "binary", "verbose": -1}, lightgbm.Dataset(X, Y), 5),
            X[:10],
        ),
        "lightgbm_table": (
            lightgbm.train({"objective": "binary", "verbose": -1}, lightgbm.Dataset(FRAME, Y), 5),
            FRAME[:10],
        ),
    }
    workspace = Workspace.create()
    savers = [ModelSaver(model, name, None, examples) for name, (model, examples) in trained.items()]
    writer = EntryWriter(workspace, workspace.store)
    yield {model.name: model for model in save_models(savers, workspace, writer, prove=True)}
    workspace.close()


@pytest.mark.parametrize(
    ("name", "file", "outputs"),
    [
        ("xgboost", "saved_model.ubj", 1),
        ("xgboost_table", "saved_model.ubj", 3),
        ("lightgbm", "saved_model.txt", 1),
        ("lightgbm_table", "saved_model.txt", 1),
    ],
)
def test_a_booster_is_saved_in_its_own_format(
    boosters: dict[str, RegisteredModel], name: str, file: str, outputs: int
) -> None:
    model = boosters[name]
    entry = Entry.read(model.path)

    assert (model.path / file).exists()
    assert not (model.path / "saved_model.pkl").exists()
    assert entry.framework == name.partition("_")[0]
    assert np.size(model.golden.predictions[0]) == outputs
    prove(model.path)


@pytest.mark.parametrize("name", ["xgboost", "lightgbm"])
def test_another_weights_file_is_noticed(
    boosters: dict[str, RegisteredModel], name: str, tmp_path: Path
) -> None:
    original = boosters[name].path
    entry = tmp_path / "models" / name / "v1"
    shutil.copytree(original, entry)
    assert Entry.read(entry).load_model().predict(X[:3]).tolist() == boosters[name].golden.predictions[:3]
    other = (
        bytes(xgboost.train({"objective": "binary:logistic"}, xgboost.DMatrix(X, 1 - Y), 5).save_raw("ubj"))
        if name == "xgboost"
        else lightgbm.train({"objective": "binary", "verbose": -1}, lightgbm.Dataset(X, 1 - Y), 5)
        .model_to_string()
        .encode()
    )

    Entry.read(entry).model_file.write_bytes(other)
    with pytest.raises(RegistrationError, match="was changed after it was registered"):
        Entry.read(entry).load_model()
    description = json.loads((entry / DESCRIPTION_FILE).read_text())
    description["sha256"] = hashlib.sha256(other).hexdigest()
    (entry / DESCRIPTION_FILE).write_text(json.dumps(description))
    with pytest.raises(ModelChangedError, match="the saved model differs"):
        prove(entry)


def test_an_entry_of_an_unknown_format_is_refused(
    boosters: dict[str, RegisteredModel], tmp_path: Path
) -> None:
    entry = tmp_path / "models" / "m" / "v1"
    shutil.copytree(boosters["xgboost"].path, entry)
    description = json.loads((entry / DESCRIPTION_FILE).read_text())
    (entry / DESCRIPTION_FILE).write_text(json.dumps({**description, "format": "brain"}))

    with pytest.raises(RegistrationError, match="'brain', which this version of Tier0 does not know"):
        Entry.read(entry).load_model()


def test_no_framework_is_imported_for_another(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", REGISTER], capture_output=True, text=True, check=True, cwd=tmp_path
    )

    assert done.stdout.strip() == ""


@dataclass(frozen=True)
class Logged:
    """An MLflow store, and what MLflow itself reads from it."""

    uri: str
    found: dict[str, Any]


@pytest.fixture(scope="module")
def logged(tmp_path_factory: pytest.TempPathFactory) -> Logged:
    folder = tmp_path_factory.mktemp("registry")
    uri = f"sqlite:///{folder}/mlflow.db"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", LOG],
        input=json.dumps({"rows": X.tolist(), "labels": Y.tolist()}),
        capture_output=True,
        text=True,
        check=True,
        cwd=folder,
        env={**os.environ, "MLFLOW_TRACKING_URI": uri, "MLFLOW_DISABLE_TELEMETRY": "true"},
    )
    return Logged(uri, json.loads(done.stdout.splitlines()[-1]))


def test_an_mlflow_model_is_registered_by_its_uri_with_the_outputs_of_pyfunc(
    logged: Logged, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", logged.uri)
    before = {"mlflow", "bentoml"} & sys.modules.keys()

    model = asyncio.run(
        register_model_for_serving("models:/churn@champion", "churn", {"team": "t"}, store=tmp_path)
    )

    entry = Entry.read(model.path)
    assert model.golden.predictions[:12] == logged.found["predictions"]
    assert (model.golden.probabilities or [])[:12] == logged.found["probabilities"]
    assert model.signature.names == ["a", "b", "c"]
    assert (entry.framework, entry.format, entry.metadata["team"]) == ("sklearn", "mlflow", "t")
    assert entry.metadata["mlflow"] == {
        "uri": "models:/churn@champion",
        "version": "1",
        "alias": "champion",
        "run_id": logged.found["run"],
        "store": logged.uri,
    }
    assert {"mlflow", "bentoml"} & sys.modules.keys() == before


def test_aliases_and_the_latest_version_are_resolved_once(logged: Logged) -> None:
    assert logged.found["exact"] == ["models:/churn/1", "models:/churn/2"]


def test_what_the_registry_cannot_give_is_refused_with_the_remedy(logged: Logged) -> None:
    refused = logged.found["refused"]

    assert "pass examples to register_model_for_serving" in refused.pop("without example")
    assert len(refused) == 4
    for message in refused.values():
        assert message.endswith("Check the name, the version or alias, and MLFLOW_TRACKING_URI")
