"""What predicts, as an estimator: functions, named methods, boosters, modules of PyTorch, sessions of ONNX.

No framework is imported: what is passed has loaded its own.
"""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from tier0.core.errors import RegistrationError

Call = str | Callable[[Any], Any] | None
USUAL_METHODS = (
    "predict",
    "predict_proba",
    "transform",
    "encode",
    "embed",
    "score_samples",
    "decision_function",
    "forecast",
    "run",
)
"""Methods that are suggested where a model has no ``predict``."""
DTYPES_OF_ONNX = {
    "tensor(float)": "float32",
    "tensor(double)": "float64",
    "tensor(float16)": "float16",
    "tensor(bool)": "bool",
    "tensor(string)": "object",
    **{f"tensor({name})": name for name in ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32")},
}
HOW_TO_CALL = (
    "It is called with all rows at once: for a function of one row, pass "
    "call=lambda rows: [predict(row) for row in rows]"
)
CLASSIFIER_OUTPUTS = 2
BOOSTERS = {"xgboost", "lightgbm"}
OF_TRAINING = (
    "Dropout",
    "AlphaDropout",
    "FeatureAlphaDropout",
    "BatchNorm",
    "LazyBatchNorm",
    "SyncBatchNorm",
)
"""Beginnings of the names of PyTorch's layers whose outputs are others in training mode."""


@dataclass
class Predictor:
    """What predicts, with the interface of an estimator.

    Attributes:
        model: what was passed.
        function: takes rows, and returns one output per row.
    """

    model: Any
    function: Callable[[Any], Any]

    def predict(self, rows: Any) -> Any:
        """Return one output per row: an array, or a list of JSON values."""
        return by_row(self.function(rows), count_of(rows))


def as_predictor(model: Any, call: Call = None) -> Any:
    """Return *model* itself if it is an estimator, or else a `Predictor` that calls it.

    Args:
        model: an estimator; a function; an object with the method *call*; a booster of XGBoost or LightGBM; a
            module of PyTorch; a session of ONNX Runtime.
        call: name of the method (or, of an ONNX session, of the output), or a function of the rows that calls
            the model.

    Raises:
        RegistrationError: it cannot be called like this, or is a PyTorch module in training mode.
    """
    _require_predicting(model, call)
    if _is_module(model):
        if call in {None, "forward"}:
            _require_evaluation_mode(model)
        return _of_module(model, call)
    if callable(call):
        return Predictor(model, call)
    if _is_session(model):
        return _of_session(model, call)
    if call not in {None, "predict"}:
        return Predictor(model, _method(model, str(call)))
    return _of_predict(model)


def _require_predicting(model: Any, call: Call) -> None:
    """Refuse what does not predict when it is called, before it is called.

    Raises:
        RegistrationError: it is a class, a name, or asynchronous.
    """
    if isinstance(model, type) and not callable(call):
        raise RegistrationError(f"{model.__name__} is a class: pass an object of it that is fitted")
    if isinstance(model, (str, os.PathLike)) and not callable(call):
        raise RegistrationError(
            f"{os.fspath(model)!r} is a text: load the model that it names, and pass it (a model of MLflow "
            "is loaded with mlflow.pyfunc.load_model)"
        )
    called = call if callable(call) else getattr(model, str(call or "predict"), model)
    called = called.func if isinstance(called, partial) else called
    for function in (called, type(called).__call__ if callable(called) else None):
        if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
            raise RegistrationError(
                "the model is asynchronous: pass a function that waits for it, such as "
                "call=lambda rows: asyncio.run(predict(rows))"
            )


def _of_predict(model: Any) -> Any:
    """Return an estimator as it is, and a function as one."""
    if _package_of_booster(model):
        return Booster(model, model.predict)
    if hasattr(model, "predict"):
        return model
    if callable(model):
        return Predictor(model, model)
    raise RegistrationError(
        f"the model is of type {type(model).__name__}, which has no predict, and cannot be called: name the "
        f'method that predicts (call="{_usual(model)}", or --call {_usual(model)}), or return the model '
        "itself where a function was named"
    )


def converts_lists(model: Any, call: Call) -> bool:
    """Return whether *model* is an estimator, which takes an array or a DataFrame in place of a list."""
    return call is None and hasattr(model, "predict")


def count_of(rows: Any) -> int:
    """Return the number of rows in any container."""
    return int(rows.shape[0]) if hasattr(rows, "shape") else len(rows)


def _method(model: Any, name: str) -> Callable[[Any], Any]:
    method = getattr(model, name, None)
    if not callable(method):
        raise RegistrationError(
            f'call="{name}": the model, of type {type(model).__name__}, has no such method; name one that it '
            f'has, such as "{_usual(model)}", or pass call=lambda rows: …'
        )
    found: Callable[[Any], Any] = method
    return found


def _usual(model: Any) -> str:
    return next((name for name in USUAL_METHODS if callable(getattr(model, name, None))), "name_of_method")


# --- outputs of any library ---


def by_row(returned: Any, rows: int) -> Any:
    """Return the outputs of a call with one item per row, and arrays of numpy in place of tensors.

    An object of columns, or a tuple or list of arrays, has an object, or a list, for each row.
    """
    returned = _without_tensors(list(returned) if isinstance(returned, Iterator) else returned)
    if isinstance(returned, Mapping):
        columns = {name: _list_of(column, rows) for name, column in returned.items()}
        if columns and all(column is not None for column in columns.values()):
            return _as_objects([dict(zip(columns, row, strict=True)) for row in zip(*columns.values())])  # noqa: B905
    if _are_outputs(returned, rows):
        outputs = [_list_of(column, rows) for column in returned]
        if outputs and all(output is not None for output in outputs):
            return _as_objects([list(row) for row in zip(*outputs)])  # noqa: B905
    if isinstance(returned, (list, tuple)) and any(isinstance(item, (Mapping, list)) for item in returned):
        return _as_objects(list(returned))
    return returned


def by_row_if_by_output(returned: Any, rows: int) -> Any:
    """Return what an estimator returned; with one item per row if it is an object, or has one per output."""
    is_list = isinstance(returned, (list, tuple)) and not _are_outputs(returned, rows)
    return returned if is_list else by_row(returned, rows)


def _are_outputs(returned: Any, rows: int) -> bool:
    """Return whether a tuple or a list has an item for each output, in place of one for each row."""
    if isinstance(returned, tuple) and len(returned) != rows:
        return True
    if not isinstance(returned, (list, tuple)) or not returned:
        return False
    if not all(isinstance(item, np.ndarray) and item.ndim > 0 for item in returned):
        return False
    are_equal = len({item.shape for item in returned}) == 1
    return len(returned) != rows or isinstance(returned, tuple) or not are_equal


def _without_tensors(value: Any) -> Any:
    if hasattr(value, "detach") and hasattr(value, "cpu"):
        tensor = value.detach().cpu()
        return (tensor.float() if str(tensor.dtype) == "torch.bfloat16" else tensor).numpy()
    if isinstance(value, Mapping):
        return {name: _without_tensors(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        items = map(_without_tensors, value)
        return list(items) if isinstance(value, list) else tuple(items)
    return value


def _list_of(column: Any, rows: int) -> list[Any] | None:
    """Return a column of outputs as a list; None if it does not have one item per row."""
    if not hasattr(column, "__len__") or isinstance(column, (str, Mapping)) or len(column) != rows:
        return None
    return list(column)


def _as_objects(rows: Sequence[Any]) -> Any:
    """Return an array with one object per row, which numpy does not take apart."""
    array = np.empty(len(rows), dtype=object)
    array[:] = rows
    return array


# --- boosters ---


class Booster(Predictor):
    """A booster of XGBoost or LightGBM."""

    @property
    def estimator(self) -> Any:
        """The booster itself."""
        return self.model

    @property
    def feature_names_in_(self) -> list[str]:
        """The names of the columns that it was trained on; empty if it was trained on an array."""
        if _package_of_booster(self.model) == "xgboost":
            return list(self.model.feature_names or ())
        names: list[str] = self.model.feature_name()
        return [] if names == [f"Column_{index}" for index in range(len(names))] else names

    def predict(self, rows: Any) -> Any:
        """Return one output per row, computed with one thread."""
        names, is_frame = self.feature_names_in_, hasattr(rows, "columns")
        if _package_of_booster(self.model) == "lightgbm":
            return self.model.predict(rows, validate_features=bool(names) and is_frame, num_threads=1)
        matrix = sys.modules["xgboost"].DMatrix(
            rows, feature_names=None if is_frame else names or None, enable_categorical=True
        )
        return self.function(matrix)


def _package_of_booster(model: Any) -> str | None:
    """Return ``xgboost`` or ``lightgbm`` for a booster, also of a derived class; None for other models."""
    bases = ((base.__module__.partition(".")[0], base.__name__) for base in type(model).__mro__)
    return next((package for package, name in bases if name == "Booster" and package in BOOSTERS), None)


# --- PyTorch ---


def _is_module(model: Any) -> bool:
    return any(
        base.__module__ == "torch.nn.modules.module" and base.__name__ == "Module"
        for base in type(model).__mro__
    )


def _require_evaluation_mode(module: Any) -> None:
    if any(part.training and type(part).__name__.startswith(OF_TRAINING) for part in module.modules()):
        raise RegistrationError(
            "the PyTorch module, or a part of it, was left in training mode, in which dropout and batch "
            "normalization change its outputs: call module.eval() first"
        )


def _of_module(module: Any, call: Call) -> Predictor:
    if callable(call):
        function, takes_tensors = call, False
    elif call is None:
        has_predict = callable(getattr(module, "predict", None))
        function, takes_tensors = (module.predict, False) if has_predict else (module, True)
    else:
        function, takes_tensors = _method(module, call), call == "forward"
    torch = sys.modules["torch"]

    def predict(rows: Any) -> Any:
        with torch.no_grad():
            return _without_tensors(function(_as_tensor(module, rows) if takes_tensors else rows))

    return Predictor(module, predict)


def _as_tensor(module: Any, rows: Any) -> Any:
    """Return numbers as a tensor, floats with the dtype of the module's weights; other rows unchanged."""
    array = rows.to_numpy() if hasattr(rows, "columns") else rows
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "biuf":
        return rows
    tensor = sys.modules["torch"].from_numpy(np.ascontiguousarray(array))
    weights = next((weight for weight in module.parameters() if weight.is_floating_point()), None)
    return tensor.to(weights.dtype) if weights is not None and tensor.is_floating_point() else tensor


# --- ONNX ---


def _is_session(model: Any) -> bool:
    return all(hasattr(model, name) for name in ("run", "get_inputs", "get_outputs"))


def _of_session(session: Any, call: Call) -> Predictor:
    names = [output.name for output in session.get_outputs()]
    wanted = None if call in {None, "run"} else call
    if wanted is not None and wanted not in names:
        raise RegistrationError(
            f'call="{wanted}": the ONNX session has no such output; its outputs are {", ".join(names)}'
        )

    def run(rows: Any) -> Any:
        outputs = session.run([wanted] if wanted else names, _feeds(session, rows))
        return outputs[0] if len(outputs) == 1 else dict(zip(names, outputs, strict=True))

    if wanted is None and len(names) == CLASSIFIER_OUTPUTS:
        return _SessionPredictor(session, run)
    return Predictor(session, run)


def _feeds(session: Any, rows: Any) -> dict[str, Any]:
    """Return the inputs of a session: all rows in one, or a column in each."""
    inputs = session.get_inputs()
    if len(inputs) == 1:
        values = rows.to_numpy() if hasattr(rows, "columns") else rows
        return {inputs[0].name: _fitting(inputs[0], values)}
    names = [one.name for one in inputs]
    if hasattr(rows, "columns"):
        columns = {name: rows[name].to_numpy() for name in rows.columns}
    else:
        array = np.asarray(rows)
        by_position = array.T if array.ndim == MATRIX else ()
        columns = dict(zip(names, by_position, strict=False))
    if missing := [name for name in names if name not in columns]:
        raise RegistrationError(
            f"the ONNX session has the inputs {', '.join(names)}, but the rows have no {missing[0]}: pass a "
            "DataFrame with these columns"
        )
    return {one.name: _fitting(one, columns[one.name]) for one in inputs}


MATRIX = 2


def _fitting(one: Any, values: Any) -> Any:
    """Return values with the dtype and the number of dimensions of an input."""
    array = np.asarray(values, dtype=DTYPES_OF_ONNX.get(one.type))
    return array.reshape(-1, 1) if array.ndim == 1 and len(one.shape) == MATRIX else array


@dataclass
class _SessionPredictor(Predictor):
    """A session with two outputs: the labels and the probabilities of a classifier, or any others.

    The classes are known after the first call, from the keys of the probabilities, or from the labels that
    the largest ones belong to.
    """

    classes_: list[Any] = field(default_factory=list)
    is_classifier: bool | None = None

    def predict(self, rows: Any) -> Any:
        """Return labels, or an object with both outputs per row."""
        outputs = self.function(rows)
        labels, scores = outputs.values()
        if self.is_classifier is None:
            self.classes_ = _classes(labels, scores)
            self.is_classifier = bool(self.classes_)
        return labels if self.is_classifier else by_row(outputs, count_of(rows))

    def predict_proba(self, rows: Any) -> Any:
        """Return the probabilities, in the order of the classes."""
        if not self.is_classifier:
            raise NotImplementedError
        _, scores = self.function(rows).values()
        if isinstance(scores, np.ndarray):
            return scores
        return np.array([[row[label] for label in self.classes_] for row in scores], dtype=np.float32)


def _classes(labels: Any, scores: Any) -> list[Any]:
    """Return the classes of a classifier's outputs, in the order of the probabilities; empty for others."""
    if isinstance(scores, list):
        is_map = bool(scores) and all(isinstance(row, Mapping) for row in scores)
        return list(scores[0]) if is_map else []
    labels = np.asarray(labels)
    width = scores.shape[1] if getattr(scores, "ndim", 0) == MATRIX else 0
    if labels.ndim != 1 or width <= 1 or len(labels) != len(scores):
        return []
    found: dict[int, Any] = {}
    for position, label in zip(scores.argmax(axis=1).tolist(), labels.tolist(), strict=True):
        if found.setdefault(position, label) != label:
            return []
    if all(label == position for position, label in found.items()):
        return list(range(width))
    return [found[position] for position in range(width)] if len(found) == width else []
