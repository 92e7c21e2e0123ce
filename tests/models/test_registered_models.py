"""Models of CatBoost, ONNX, PyTorch and MLflow: registered, served and verified, and mutants of them."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import RandomForestClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.tree import DecisionTreeClassifier

import tier0
from tier0.core.errors import ModelChangedError, RegistrationError, Tier0Error
from tier0.runs.services import Services
from tier0.serving.entry import DESCRIPTION_FILE, Entry
from tier0.serving.mlflow_source import MlflowSaver
from tier0.serving.registration import EntryWriter, ModelSaver, RegisteredModel, save_models
from tier0.serving.save_entry import prove
from tier0.serving.workspace import Workspace

torch = pytest.importorskip("torch", reason="needs torch: make models")
pytest.importorskip("onnxruntime", reason="needs onnxruntime: make models")
skl2onnx = pytest.importorskip("skl2onnx", reason="needs skl2onnx: make models")
catboost = pytest.importorskip("catboost", reason="needs catboost: make models")

from tests.models import nets  # noqa: E402 - imports torch
from tests.models.kinds import MOODS, TEXTS  # noqa: E402

pytestmark = [
    pytest.mark.server,
    pytest.mark.slow,
    pytest.mark.timeout(1200),  # models of all frameworks are saved, and proven, before the first test
    pytest.mark.filterwarnings("ignore"),
]
RNG = np.random.default_rng(0)
X = RNG.normal(size=(200, 3))
NARROW = X.astype(np.float32)
Y = (X[:, 0] + X[:, 1] > 0).astype(int)
FRAME = pd.DataFrame(X, columns=["a", "b", "c"])
TABLE = FRAME.assign(plan=np.where(X[:, 2] > 0, "pro", "free"))
TREE = DecisionTreeClassifier(max_depth=5, random_state=0).fit(X, np.where(Y > 0, "yes", "no"))
IMAGES = RNG.normal(size=(16, 1, 8, 8)).astype(np.float32)
NOT_JSON: Any = np.int64(3)
GROUPS = ["identity", "contract", "parity"]
FLAVORS = ("sklearn", "xgboost", "lightgbm", "pytorch", "onnx", "sklearn_texts", "pytorch_images")
"""Flavours of MLflow, and the form of the rows where it is not a table."""
PYFUNC = """
import json, sys
import mlflow, numpy as np
found = {}
for name in sys.argv[1:]:
    model = mlflow.pyfunc.load_model(f"models:/{name}@champion")
    returned = model.predict(model.metadata.load_input_example(f"models:/{name}@champion"))
    returned = np.asarray(next(iter(returned.values())) if isinstance(returned, dict) else returned)
    found[name] = (returned[:, 0] if returned.ndim == 2 and returned.shape[1] == 1 else returned).tolist()
print(json.dumps(found))
"""


def as_onnx(model: Any, *, zipmap: bool = False) -> Any:
    options = {"zipmap": zipmap} if hasattr(model, "classes_") else None
    return skl2onnx.to_onnx(model, NARROW[:1], options=options)


def onnx_of_images() -> Any:
    """Return a model of images: their pixels times weights."""
    onnx = pytest.importorskip("onnx")
    floats, helper = onnx.TensorProto.FLOAT, onnx.helper
    weights = RNG.normal(size=(64, 2)).astype(np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("Flatten", ["pixels"], ["flat"]),
            helper.make_node("MatMul", ["flat", "weights"], ["sums"]),
        ],
        "images",
        [helper.make_tensor_value_info("pixels", floats, [None, 1, 8, 8])],
        [helper.make_tensor_value_info("sums", floats, [None, 2])],
        [onnx.numpy_helper.from_array(weights, "weights")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def text_pipeline(count: int) -> Any:
    return make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(TEXTS[:count], MOODS[:count])


def trained() -> dict[str, ModelSaver]:
    import lightgbm
    import xgboost

    quiet = {"iterations": 10, "verbose": 0, "allow_writing_files": False}
    labels = np.where(Y > 0, "yes", "no")
    several = np.column_stack([Y, X[:, 2] > 0]).astype(int)
    torch.manual_seed(0)
    models: dict[str, tuple[Any, Any, dict[str, Any]]] = {
        "catboost": (catboost.CatBoostClassifier(**quiet, cat_features=["plan"]).fit(TABLE, Y), TABLE, {}),
        "catboost_numbers": (catboost.CatBoostRegressor(**quiet).fit(X, X[:, 0]), X, {}),
        "catboost_classes": (catboost.CatBoostClassifier(**quiet).fit(X, np.arange(200) % 3), X, {}),
        "catboost_labels": (
            catboost.CatBoostClassifier(**quiet, loss_function="MultiLogloss").fit(X, several),
            X,
            {},
        ),
        "catboost_base": (catboost.CatBoost({**quiet, "loss_function": "Logloss"}).fit(X, Y), X, {}),
        "onnx": (as_onnx(RandomForestClassifier(10, random_state=0).fit(X, labels)), NARROW, {}),
        "onnx_zipmap": (as_onnx(LogisticRegression().fit(X, labels), zipmap=True), NARROW, {}),
        "onnx_tree": (as_onnx(TREE), X, {}),
        "torch": (nets.Net().eval(), NARROW, {}),
        "torch_built": (nets.Net(3, hidden=4).eval(), X, {"build": partial(nets.Net, 3, hidden=4)}),
        "torch_double": (nets.Net().double().eval(), X, {}),
        "torch_images": (nets.OfImages().eval(), IMAGES, {}),
        "onnx_images": (onnx_of_images(), IMAGES, {}),
        "text_pipeline": (text_pipeline(120), TEXTS, {}),
        "xgboost": (
            xgboost.train({"objective": "binary:logistic"}, xgboost.DMatrix(TABLE[["a", "b"]], Y), 5),
            TABLE[["a", "b"]],
            {},
        ),
        "lightgbm": (lightgbm.train({"verbose": -1}, lightgbm.Dataset(FRAME, Y), 5), FRAME, {}),
    }
    return {
        name: ModelSaver(model, name, None, examples[:20], **options)
        for name, (model, examples, options) in models.items()
    }


@pytest.fixture(scope="module")
def workspace() -> Iterator[Workspace]:
    workspace = Workspace.create()
    yield workspace
    workspace.close()


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, tuple[str, str]]]:
    """Log a model of each flavour to a registry, and yield its run, and its URI in one of the three forms."""
    import lightgbm
    import mlflow
    import xgboost

    uri = f"sqlite:///{tmp_path_factory.mktemp('registry')}/mlflow.db"
    logistic = LogisticRegression().fit(FRAME, Y)
    models: dict[str, tuple[Any, Any]] = {
        "sklearn": (logistic, FRAME),
        "xgboost": (xgboost.train({"objective": "binary:logistic"}, xgboost.DMatrix(FRAME, Y), 5), FRAME),
        "lightgbm": (lightgbm.train({"verbose": -1}, lightgbm.Dataset(FRAME, Y), 5), FRAME),
        "pytorch": (nets.Net().eval(), NARROW),
        "onnx": (as_onnx(logistic), NARROW),
        "sklearn_texts": (text_pipeline(120), np.array(TEXTS)),
        "pytorch_images": (nets.OfImages().eval(), IMAGES),
    }
    uris: dict[str, tuple[str, str]] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", uri)
        mlflow.set_tracking_uri(uri)
        mlflow.create_experiment("models", artifact_location=str(tmp_path_factory.mktemp("artifacts")))
        mlflow.set_experiment("models")
        for name, (model, examples) in models.items():
            flavor = name.partition("_")[0]
            with mlflow.start_run() as run:
                __import__(f"mlflow.{flavor}")
                logged = getattr(mlflow, flavor).log_model(
                    model,
                    name="model",
                    registered_model_name=name,
                    input_example=examples[:20],
                    pip_requirements=[],
                    **({"serialization_format": "cloudpickle"} if flavor == "sklearn" else {}),
                )
            version = str(logged.registered_model_version)
            mlflow.MlflowClient().set_registered_model_alias(name, "champion", version)
            run_id = run.info.run_id
            forms = [f"models:/{name}@champion", f"models:/{name}/{version}", f"runs:/{run_id}/model"]
            uris[name] = forms[len(uris) % 3], run_id
        yield uris
        mlflow.set_tracking_uri(None)


@pytest.fixture(scope="module")
def models(workspace: Workspace) -> dict[str, RegisteredModel]:
    savers = trained()
    writer = EntryWriter(workspace, workspace.store)
    return {model.name: model for model in save_models([*savers.values()], workspace, writer, prove=True)}


@pytest.fixture(scope="module")
def from_mlflow(workspace: Workspace, registry: dict[str, tuple[str, str]]) -> dict[str, RegisteredModel]:
    savers = [
        MlflowSaver(uri, f"mlflow_{flavor}", None, None, None, workspace)
        for flavor, (uri, _) in registry.items()
    ]
    writer = EntryWriter(workspace, workspace.store)
    saved = [save_models([saver], workspace, writer, prove=True, close_after=False)[0] for saver in savers]
    writer.close()
    return {model.name: model for model in saved}


@pytest.fixture(scope="module")
def services(models: dict[str, RegisteredModel]) -> Iterator[Services]:
    with served(models) as running:
        yield running


@pytest.fixture(scope="module")
def services_from_mlflow(from_mlflow: dict[str, RegisteredModel]) -> Iterator[Services]:
    with served(from_mlflow) as running:
        yield running


def served(models: dict[str, RegisteredModel]) -> Services:
    store = next(iter(models.values())).store
    return Services.from_store(store, [*models], startup_timeout=120)


NAMES = [
    "catboost", "catboost_numbers", "catboost_classes", "catboost_labels", "catboost_base",
    "onnx", "onnx_zipmap", "onnx_tree", "torch", "torch_built", "torch_double", "torch_images",
    "onnx_images", "text_pipeline", "xgboost", "lightgbm",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_no_check_accuses_a_served_model(services: Services, name: str) -> None:
    require_passed(services.deployment(name))


@pytest.mark.parametrize("flavor", FLAVORS)
def test_no_check_accuses_a_served_model_of_mlflow(services_from_mlflow: Services, flavor: str) -> None:
    require_passed(services_from_mlflow.deployment(f"mlflow_{flavor}"))


def require_passed(deployment: tier0.Deployment) -> None:
    verdict = tier0.check_serving(deployment, groups=GROUPS, disturb="malformed", on_fail="return")

    accused = [result.explain() for result in verdict.checks if result.status in {"fail", "error"}]
    assert accused == []
    assert "parity.golden_rows" in {result.id for result in verdict.with_status("pass")}


def test_golden_outputs_are_those_of_pyfunc_in_a_fresh_interpreter(
    from_mlflow: dict[str, RegisteredModel],
) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PYFUNC, *FLAVORS], capture_output=True, text=True, check=True
    )
    expected = json.loads(done.stdout.splitlines()[-1])

    for flavor, outputs in expected.items():
        assert from_mlflow[f"mlflow_{flavor}"].golden.predictions[: len(outputs)] == outputs, flavor


def test_the_entry_keeps_where_a_model_of_mlflow_comes_from(
    from_mlflow: dict[str, RegisteredModel], registry: dict[str, tuple[str, str]]
) -> None:
    for flavor, (uri, run_id) in registry.items():
        origin = Entry.read(from_mlflow[f"mlflow_{flavor}"].path).metadata["mlflow"]
        assert (origin["uri"], origin["run_id"]) == (uri, run_id)


def test_an_onnx_model_that_decides_ties_in_float32_is_caught(services: Services) -> None:
    deployment = replace(services.deployment("onnx_tree"), golden=tier0.golden_rows(TREE, X[:50]))

    verdict = tier0.check_serving(deployment, groups=["parity"], on_fail="return")

    assert [result.id for result in verdict.with_status("fail") if result.id.startswith("parity.")]


def mutated(model: RegisteredModel, folder: Path, change: Callable[[Path, dict[str, Any]], None]) -> Path:
    """Copy an entry of a store, change it, and write the digest that fits."""
    entry = folder / "models" / model.name / model.tag.partition(":")[2]
    shutil.copytree(model.path, entry)
    description = json.loads((entry / DESCRIPTION_FILE).read_text())
    change(entry, description)
    content = Entry.read(entry).model_file.read_bytes()
    description["sha256"] = hashlib.sha256(content).hexdigest()
    (entry / DESCRIPTION_FILE).write_text(json.dumps(description))
    return entry


def other_weights(other: RegisteredModel) -> Callable[[Path, dict[str, Any]], None]:
    def change(entry: Path, _: dict[str, Any]) -> None:
        shutil.copyfile(Entry.read(other.path).model_file, Entry.read(entry).model_file)

    return change


def training_mode(_: Path, description: dict[str, Any]) -> None:
    description["options"]["build"]["name"] = "AlwaysTraining"


def test_other_weights_and_training_mode_are_caught(
    models: dict[str, RegisteredModel], workspace: Workspace, tmp_path: Path
) -> None:
    others = {
        "catboost_numbers": ModelSaver(
            catboost.CatBoostRegressor(iterations=10, verbose=0, allow_writing_files=False).fit(X, X[:, 1]),
            "other_catboost", None, X[:20],
        ),
        "onnx": ModelSaver(
            as_onnx(RandomForestClassifier(10, random_state=1).fit(X, np.where(Y > 0, "yes", "no"))),
            "other_onnx", None, NARROW[:20],
        ),
        "torch": ModelSaver(nets.Net().eval(), "other_torch", None, NARROW[:20]),
        "torch_images": ModelSaver(nets.OfImages().eval(), "other_images", None, IMAGES[:10]),
        "text_pipeline": ModelSaver(text_pipeline(30), "other_texts", None, TEXTS[:20]),
    }  # fmt: skip
    writer = EntryWriter(workspace, workspace.store)
    saved = save_models([*others.values()], workspace, writer, prove=False)
    for name, other in zip(others, saved, strict=True):
        entry = mutated(models[name], tmp_path / name, other_weights(other))
        with pytest.raises(ModelChangedError, match="the saved model differs"):
            prove(entry)

    entry = mutated(models["torch"], tmp_path / "training", training_mode)
    with pytest.raises(ModelChangedError, match="left in training mode"):
        prove(entry)
    with pytest.raises(Tier0Error):
        Services.from_store(tmp_path / "training", ["torch"], startup_timeout=60).close()


REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "training_mode": (nets.Net, r"training mode, .*: call model\.eval\(\)"),
    "class_with_arguments": (lambda: nets.Net(hidden=4).eval(), "Pass build="),
    "sequential": (lambda: torch.nn.Sequential(torch.nn.Linear(3, 1)).eval(), "Pass build="),
    "not_fitted": (catboost.CatBoostRegressor, "not fitted: call fit"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_taken_is_refused_with_the_remedy(case: str) -> None:
    make, message = REFUSED[case]

    with pytest.raises(RegistrationError, match=message):
        ModelSaver(make(), "m", None, NARROW[:10])


def test_the_random_numbers_of_the_user_are_not_used() -> None:
    torch.manual_seed(3)
    expected = torch.rand(2).tolist()
    module = nets.Net().eval()
    torch.manual_seed(3)

    ModelSaver(module, "m", None, NARROW[:10])

    assert torch.rand(2).tolist() == expected


@pytest.mark.parametrize(
    "build", [lambda: nets.Net(3), partial(nets.Net, NOT_JSON), partial(nets.Net, features=4)]
)
def test_a_module_that_another_process_cannot_create_is_refused(build: Any) -> None:
    with pytest.raises(RegistrationError, match="Pass build="):
        ModelSaver(nets.Net().eval(), "m", None, NARROW[:10], build=build)
