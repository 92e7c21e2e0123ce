"""Which format a model is saved in, found without an import of its framework."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any, Protocol, cast

from tier0.core.errors import RegistrationError, missing_extra
from tier0.golden.prediction import package_of

PICKLE, XGBOOST, LIGHTGBM, CATBOOST, ONNX, TORCH, MLFLOW = (
    "pickle",
    "xgboost",
    "lightgbm",
    "catboost",
    "onnx",
    "torch",
    "mlflow",
)
MODULES = {
    PICKLE: "pickled",
    XGBOOST: "xgboost_booster",
    LIGHTGBM: "lightgbm_booster",
    CATBOOST: "catboost_model",
    ONNX: "onnx_model",
    TORCH: "torch_module",
    MLFLOW: "mlflow_model",
}
"""Format to its module in this package."""
CLASSES = {
    ("xgboost", "Booster"): XGBOOST,
    ("lightgbm", "Booster"): LIGHTGBM,
    ("onnx", "ModelProto"): ONNX,
    ("onnxruntime", "InferenceSession"): ONNX,
    ("torch", "Module"): TORCH,
}
"""Package and name of a class to the format of its instances, also of derived classes."""
CATBOOST_CLASSES = {"CatBoost", "CatBoostClassifier", "CatBoostRegressor", "CatBoostRanker"}
MLFLOW_SCHEMES = ("models:/", "runs:/")
TAKEN = (
    "an estimator with scikit-learn's interface, a CatBoost model, a Booster of XGBoost or LightGBM, an ONNX "
    "model, a PyTorch module, or the URI of an MLflow model"
)


class Format(Protocol):
    """What a module of this package has.

    Attributes:
        FILE: name of the model's file in an entry of the store.
        BENTOML_MODULE: module of BentoML that reads the file, or that of its general entries.
        adapt: returns a model in memory with scikit-learn's interface.
        save: returns the content of the file, and the options for *load*, as JSON types.
        load: returns the saved model with scikit-learn's interface.
    """

    FILE: str
    BENTOML_MODULE: str
    adapt: Callable[..., Any]
    save: Callable[[Any], tuple[bytes, dict[str, Any]]]
    load: Callable[[bytes, Mapping[str, Any]], Any]


def format_named(name: str) -> Format:
    """Return the module of a format.

    Raises:
        RegistrationError: this version does not know the format.
    """
    if name not in MODULES:
        raise RegistrationError(
            f"the model is saved in the format {name!r}, which this version of Tier0 does not know: serve it "
            "with the version that registered it"
        )
    return cast("Format", import_module(f"{__package__}.{MODULES[name]}"))


def is_mlflow_uri(model: Any) -> bool:
    """Return whether *model* is the URI of an MLflow model."""
    return isinstance(model, str) and model.startswith(MLFLOW_SCHEMES)


def format_of(model: Any) -> str:
    """Return the format that *model* is saved in.

    Raises:
        RegistrationError: the model cannot be taken; the message has the remedy.
    """
    if isinstance(model, (str, os.PathLike)):
        return _format_at(os.fspath(model))
    for kind in type(model).__mro__:
        if found := CLASSES.get((kind.__module__.partition(".")[0], kind.__name__)):
            return found
    package, name = type(model).__module__.partition(".")[0], type(model).__name__
    if package == "catboost" and name in CATBOOST_CLASSES:
        return CATBOOST
    if package == "mlflow":
        raise RegistrationError(
            f"a loaded MLflow model ({name}) cannot be saved: pass its URI instead, such as models:/churn/3"
        )
    estimator = model.steps[-1][1] if hasattr(model, "steps") else model
    if type(estimator).__name__ == "Booster":
        raise RegistrationError(
            f"the last step of the pipeline is a Booster of {package_of(model)}, which has another interface "
            "than its steps: train a wrapper such as XGBClassifier or LGBMRegressor"
        )
    if not hasattr(estimator, "predict"):
        raise RegistrationError(
            f"unsupported model type {package_of(model)}.{type(estimator).__name__}: expected {TAKEN}. Wrap "
            "it in an estimator with predict and, for classes, predict_proba"
        )
    return PICKLE


def _format_at(place: Any) -> str:
    if is_mlflow_uri(place):
        return MLFLOW
    if str(place).endswith(".onnx"):
        return ONNX
    raise RegistrationError(
        f"model = {place!r} is neither the URI of an MLflow model, such as models:/churn/3, nor the path of "
        "an .onnx file: pass the model itself"
    )


def require(module: str) -> Any:
    """Import a framework, or name the extra that installs it.

    Raises:
        MissingDependencyError: it is not installed.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as problem:
        raise (missing_extra(problem) or problem) from problem
