"""Models in files, as the makers of each library say, and loaded from them in another process."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

DESCRIPTION, GOLDEN = "saved.json", "golden.json"
JOBLIB = "joblib"
IN_WORDS = {
    "catboost": "`save_model`, `.cbm`",
    "xgboost": "`save_model`, `.ubj`",
    "lightgbm": "`Booster.save_model`",
    "torch": "`torch.save` of the weights",
    "onnxruntime": "`.onnx`",
    "statsmodels": "`results.save`",
    "sentence_transformers": "`save_pretrained`",
    "mlflow": "`mlflow.sklearn.save_model`",
    JOBLIB: "`joblib.dump`",
}


def way_of(model: Any) -> str:
    """Return the key of `IN_WORDS` for a model."""
    package, name = type(model).__module__.partition(".")[0], type(model).__name__
    if any(base.__module__ == "torch.nn.modules.module" for base in type(model).__mro__):
        return "sentence_transformers" if package == "sentence_transformers" else "torch"
    if package == "lightgbm" and name != "Booster":  # its wrappers have no file of their own
        return JOBLIB
    return package if package in IN_WORDS else JOBLIB


def save(model: Any, folder: Path) -> None:
    """Save *model* in *folder*."""
    way = way_of(model)
    path = str(folder / "model")
    match way:
        case "catboost":
            model.save_model(f"{path}.cbm")
        case "xgboost":
            model.save_model(f"{path}.ubj")
        case "lightgbm":
            model.save_model(path)
        case "torch":
            import_module("torch").save(model.state_dict(), path)
        case "onnxruntime":
            Path(f"{path}.onnx").write_bytes(model._model_bytes)
        case "statsmodels":
            model.save(path)
        case "sentence_transformers":
            model.save_pretrained(path)
        case "mlflow":
            sklearn = import_module("mlflow.sklearn")
            sklearn.save_model(model.get_raw_model(), path, serialization_format="cloudpickle")
        case _:
            import_module(JOBLIB).dump(model, path)
    description = {"way": way, "class": type(model).__name__}
    (folder / DESCRIPTION).write_text(json.dumps(description), encoding="utf-8")


def load(folder: Path, build: Any = None) -> Any:
    """Load the model in *folder*; a PyTorch module gets its weights after *build* has created it."""
    saved = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
    path = str(folder / "model")
    loaders: dict[str, Callable[[], Any]] = {
        "catboost": lambda: _native("catboost", saved["class"], f"{path}.cbm"),
        "xgboost": lambda: _native("xgboost", saved["class"], f"{path}.ubj"),
        "lightgbm": lambda: import_module("lightgbm").Booster(model_file=path),
        "torch": lambda: _with_weights(build(), path),
        "onnxruntime": lambda: import_module("onnxruntime").InferenceSession(f"{path}.onnx"),
        "statsmodels": lambda: import_module("statsmodels.api").load(path),
        "sentence_transformers": lambda: import_module("sentence_transformers").SentenceTransformer(
            path, device="cpu"
        ),
        "mlflow": lambda: import_module("mlflow.pyfunc").load_model(path),
        JOBLIB: lambda: import_module(JOBLIB).load(path),
    }
    return loaders[saved["way"]]()


def _native(package: str, name: str, path: str) -> Any:
    model = getattr(import_module(package), name)()
    model.load_model(path)
    return model


def _with_weights(module: Any, path: str) -> Any:
    module.load_state_dict(import_module("torch").load(path, weights_only=True))
    return module.eval()
