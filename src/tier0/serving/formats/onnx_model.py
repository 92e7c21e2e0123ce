"""ONNX models, run by ONNX Runtime from their own file."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tier0.core.errors import RegistrationError
from tier0.golden.predictors import as_predictor
from tier0.serving.formats.choice import require

FILE = "saved_model.onnx"
BENTOML_MODULE = "bentoml.onnx"
LABEL_TYPES = {"tensor(int64)", "tensor(string)"}
LABEL_ATTRIBUTES = {"classlabels_int64s", "classlabels_ints", "classlabels_strings"}
"""Attributes of operators with the labels of a classifier, in the order of its probabilities."""


class OnnxModel:
    """A model with scikit-learn's interface, run with one thread.

    Attributes:
        content: the serialized model.
        estimator: the session.
        feature_names_in_: names of the inputs, each of which takes a column; None if one takes all columns.
    """

    def __init__(self, content: bytes) -> None:
        runtime = require("onnxruntime")
        options = runtime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self.content = content
        self.estimator = runtime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        names = [one.name for one in self.estimator.get_inputs()]
        self.feature_names_in_ = names if len(names) > 1 else None

    def output(self, index: int, rows: Any) -> Any:
        """Return one of the outputs of the model for some rows."""
        name = self.estimator.get_outputs()[index].name
        return as_predictor(self.estimator, name).predict(rows)

    def predict(self, rows: Any) -> Any:
        """Return a label, a number, or a list of numbers, for each row."""
        return self.output(0, rows)


class OnnxClassifier(OnnxModel):
    """A model whose outputs are a label and the probabilities of the classes.

    Attributes:
        classes_: the labels, in the order of the probabilities.
    """

    def __init__(self, content: bytes, classes: list[Any]) -> None:
        super().__init__(content)
        self.classes_ = classes

    def predict_proba(self, rows: Any) -> Any:
        """Return the probability of each class."""
        return probabilities_in(self.output(1, rows), self.classes_)


def adapt(model: Any) -> OnnxModel:
    """Return a ModelProto, a session or the path of a file as a model with scikit-learn's interface."""
    content = _content_of(model)
    plain = OnnxModel(content)
    classes = classes_of(plain.estimator, content)
    return plain if classes is None else OnnxClassifier(content, classes)


def save(model: OnnxModel) -> tuple[bytes, dict[str, Any]]:
    """Return the serialized model, and its classes."""
    return model.content, {"classes": getattr(model, "classes_", None)}


def load(content: bytes, options: Mapping[str, Any]) -> OnnxModel:
    """Load the model."""
    classes = options["classes"]
    return OnnxModel(content) if classes is None else OnnxClassifier(content, classes)


def classes_of(session: Any, content: bytes) -> list[Any] | None:
    """Return the labels of a classifier, in the order of its probabilities; None for a model with one output.

    Args:
        session: session of the model.
        content: the serialized model.

    Raises:
        RegistrationError: the model has other outputs, or does not contain its labels.
    """
    outputs = session.get_outputs()
    if len(outputs) == 1:
        return None
    labels, probabilities = outputs[0], outputs[1]
    if len(outputs) > 2 or labels.type not in LABEL_TYPES or "float" not in probabilities.type:
        named = ", ".join(f"{one.name} ({one.type})" for one in outputs)
        raise RegistrationError(
            f"the ONNX model has the outputs {named}, but a service returns one, or a label and the "
            "probabilities of the classes: extract one with onnx.utils.extract_model"
        )
    for node in require("onnx").load_model_from_string(content).graph.node:
        for attribute in node.attribute:
            if attribute.name in LABEL_ATTRIBUTES and (attribute.ints or attribute.strings):
                return [*attribute.ints, *(text.decode() for text in attribute.strings)]
    raise RegistrationError(
        "the ONNX model returns probabilities, but does not contain the labels of their classes: convert it "
        "with a ZipMap, or extract one of its outputs with onnx.utils.extract_model"
    )


def probabilities_in(output: Any, classes: Sequence[Any]) -> Any:
    """Return the probabilities of a classifier, with a column for each class, also from a dict per row."""
    if isinstance(output, list) or output.dtype == object:  # a ZipMap
        return np.array([[row[label] for label in classes] for row in output], dtype=np.float32)
    return output


def _content_of(model: Any) -> bytes:
    """Return the serialized model.

    Raises:
        RegistrationError: a session does not know its file, or the file cannot be read.
    """
    if hasattr(model, "SerializeToString"):
        return bytes(model.SerializeToString())
    if not isinstance(model, (str, os.PathLike)):
        if content := getattr(model, "_model_bytes", None):
            return bytes(content)
        model = getattr(model, "_model_path", None)
        if not model:
            raise RegistrationError(
                "the ONNX session does not know its model: pass the path of its file, or the ModelProto"
            )
    try:
        return Path(model).read_bytes()
    except OSError as problem:
        raise RegistrationError(
            f"cannot read the ONNX model {str(model)!r}: {problem.strerror}. Pass the path of an .onnx file"
        ) from problem
