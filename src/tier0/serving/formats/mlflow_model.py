"""MLflow models, saved as an archive of their folder, and loaded by mlflow.pyfunc in processes of Tier0."""

from __future__ import annotations

import io
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tier0.serving.formats.choice import require
from tier0.serving.formats.onnx_model import classes_of, probabilities_in

FILE = "mlflow_model.zip"
BENTOML_MODULE = "bentoml.picklable_model"
WITH_PROBABILITIES = {"sklearn", "xgboost", "lightgbm", "catboost"}
"""Flavours whose model may have ``predict_proba`` beside ``predict``, which is all that pyfunc calls."""


class MlflowModel:
    """A pyfunc model with scikit-learn's interface.

    Attributes:
        pyfunc: the loaded model.
        estimator: the model within, as far as MLflow knows it.
        folder: the folder that it was loaded from; some models read their files later.
        feature_names_in_: names of the columns in the model's signature; None if it names none.
    """

    def __init__(self, pyfunc: Any, folder: Path) -> None:
        self.pyfunc = pyfunc
        self.folder = folder
        self.estimator = _raw(pyfunc)
        schema = pyfunc.metadata.get_input_schema()
        is_named = schema is not None and schema.has_input_names() and not schema.is_tensor_spec()
        self.feature_names_in_: list[str] | None = schema.input_names() if is_named else None
        self._takes_arrays = schema is not None and schema.is_tensor_spec()

    def predict(self, rows: Any) -> Any:
        """Return what pyfunc predicts for each row."""
        is_converted = self._takes_arrays and isinstance(rows, list)  # texts
        returned = self.pyfunc.predict(np.array(rows) if is_converted else rows)
        return next(iter(returned.values())) if isinstance(returned, dict) else returned


class MlflowClassifier(MlflowModel):
    """A pyfunc model of a classifier that has probabilities, too.

    Attributes:
        classes_: the labels, in the order of the probabilities.
    """

    def __init__(self, pyfunc: Any, folder: Path) -> None:
        super().__init__(pyfunc, folder)
        self.classes_ = self.estimator.classes_

    def predict_proba(self, rows: Any) -> Any:
        """Return the probability of each class."""
        return self.estimator.predict_proba(rows)


class MlflowOnnxClassifier(MlflowModel):
    """A pyfunc model of the ONNX flavour that returns a label and the probabilities of the classes.

    Attributes:
        classes_: the labels, in the order of the probabilities.
    """

    def __init__(self, pyfunc: Any, folder: Path, classes: list[Any]) -> None:
        super().__init__(pyfunc, folder)
        self.classes_ = classes

    def predict_proba(self, rows: Any) -> Any:
        """Return the probability of each class."""
        _, probabilities = self.pyfunc.predict(rows).values()
        return probabilities_in(probabilities, self.classes_)


def adapt(folder: Path) -> MlflowModel:
    """Load the model in *folder*, which has the file MLmodel, as one with scikit-learn's interface."""
    pyfunc = require("mlflow.pyfunc").load_model(str(folder))
    flavors = pyfunc.metadata.flavors
    raw = _raw(pyfunc)
    if "onnx" in flavors and hasattr(raw, "get_outputs"):
        classes = classes_of(raw, (folder / flavors["onnx"]["data"]).read_bytes())
        return (
            MlflowModel(pyfunc, folder) if classes is None else MlflowOnnxClassifier(pyfunc, folder, classes)
        )
    predicts_labels = flavors["python_function"].get("predict_fn", "predict") == "predict"
    has_probabilities = hasattr(raw, "predict_proba") and hasattr(raw, "classes_")
    if predicts_labels and has_probabilities and WITH_PROBABILITIES & flavors.keys():
        return MlflowClassifier(pyfunc, folder)
    return MlflowModel(pyfunc, folder)


def save(model: MlflowModel) -> tuple[bytes, dict[str, Any]]:
    """Return an archive of the model's folder."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", strict_timestamps=False) as archive:
        for path in sorted(model.folder.rglob("*")):
            if path.is_file():
                archive.write(path, path.relative_to(model.folder))
    return buffer.getvalue(), {}


def load(content: bytes, _: Mapping[str, Any]) -> MlflowModel:
    """Load the model from a temporary folder, which stays until the end of this process' run."""
    folder = Path(tempfile.mkdtemp(prefix="mlflow-"))
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        archive.extractall(folder)
    return adapt(folder)


def _raw(pyfunc: Any) -> Any:
    """Return the model within a pyfunc model; the latter itself for flavours that do not reveal it."""
    try:
        return pyfunc.get_raw_model()
    except (NotImplementedError, AttributeError):
        return pyfunc
