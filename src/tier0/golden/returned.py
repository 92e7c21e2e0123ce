"""Conversion of what a model returns to JSON types, without a change of a value."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from tier0.core.errors import Tier0Error
from tier0.core.json_values import MISSING_TYPES
from tier0.golden.tolerance import inner_name

JSON_KINDS = "biufUTO"
"""Kinds of numpy dtypes whose values JSON can represent; of objects, each one is converted."""
FLOAT64_SIZE = 8
MIN_SINGLE = 5
"""Floats that are exact as float32, but not as float16, from which the dtype is concluded."""
MAX_INTEGER, MIN_INTEGER = 2**64 - 1, -(2**63)
"""Limits of the integers that JSON encoders write."""


def as_array(returned: Any) -> Any:
    """Return what a model returned as an array: of objects if the lists of its rows differ in length."""
    if hasattr(returned, "toarray"):  # a scipy sparse matrix
        return returned.toarray()
    try:
        return np.asarray(returned)
    except ValueError:
        rows = list(returned)
        array = np.empty(len(rows), dtype=object)
        array[:] = rows
        return array


def as_rows(array: Any, what: str) -> list[Any]:
    """Return an array as nested lists of JSON types.

    Args:
        array: array returned by `as_array`, with one or more dimensions.
        what: name of a value for messages, such as ``prediction``.

    Raises:
        Tier0Error: JSON cannot represent a value.
    """
    kind = array.dtype.kind
    if kind not in JSON_KINDS:
        raise Tier0Error(
            f"the model returned a {what} of dtype {array.dtype}, which JSON cannot represent. Convert it "
            "to a number or text in the model"
        )
    if kind == "f":
        if not np.isfinite(array).all():
            raise _not_finite(what)
        if array.dtype.itemsize > FLOAT64_SIZE:  # tolist returns numpy's own longdouble
            array = array.astype(np.float64)
    values: list[Any] = array.tolist()
    return [_as_json(value, what) for value in values] if kind == "O" else values


def float_dtypes(name: str, values: Any) -> dict[str, np.dtype[Any]]:
    """Return the least precise dtype of the floats in nested values, by the name of a part or field.

    Python's floats that are all exact as float32 were computed as such.
    """
    found: dict[str, list[np.dtype[Any]]] = {}
    numbers: dict[str, list[float]] = {}
    _collect(name, values, found, numbers)
    for place, floats in numbers.items():
        array = np.array(floats)
        with np.errstate(over="ignore"):
            is_single = np.array_equal(array.astype(np.float32).astype(np.float64), array)
            is_shown = (array.astype(np.float16).astype(np.float64) != array).sum() >= MIN_SINGLE
        found.setdefault(place, []).append(np.dtype("float32" if is_single and is_shown else "float64"))
    return {place: min(dtypes, key=lambda dtype: dtype.itemsize) for place, dtypes in found.items()}


def _collect(
    name: str, value: Any, found: dict[str, list[np.dtype[Any]]], numbers: dict[str, list[float]]
) -> None:
    """Add the dtypes of numpy's floats within *value* to *found*, and Python's floats to *numbers*."""
    if isinstance(value, (np.ndarray, np.generic)) and value.dtype.kind == "f":
        found.setdefault(name, []).append(value.dtype)
    elif isinstance(value, float):
        numbers.setdefault(name, []).append(value)
    elif isinstance(value, dict):
        for key, inner in value.items():
            _collect(inner_name(name, str(key)), inner, found, numbers)
    elif isinstance(value, (list, tuple, np.ndarray)):
        for inner in value:
            _collect(name, inner, found, numbers)


def _as_json(value: Any, what: str) -> Any:
    if isinstance(value, (np.generic, np.ndarray)):
        array = np.asarray(value)
        return as_rows(array, what) if array.dtype.kind != "O" else _as_json(array.tolist(), what)
    if value is None or type(value).__name__ in MISSING_TYPES:
        return None
    if isinstance(value, (list, tuple)):
        return [_as_json(item, what) for item in value]
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {key: _as_json(item, what) for key, item in value.items()}
    if isinstance(value, float):
        if not math.isfinite(value):
            raise _not_finite(what)
        return float(value)
    if type(value) in {bool, str} or (type(value) is int and MIN_INTEGER <= value <= MAX_INTEGER):
        return value
    shown = f"the integer {value}" if type(value) is int else f"a value of type {type(value).__name__}"
    raise Tier0Error(
        f"the model returned {shown} as a {what}, which JSON cannot represent. Convert it to a number or "
        "text in the model"
    )


def _not_finite(what: str) -> Tier0Error:
    return Tier0Error(f"the model returned a {what} that is not finite")


def is_list_per_output(returned: Any, outputs: int, rows: int) -> bool:
    """Return whether *returned* has an array of shape (rows, classes) for each of several outputs.

    scikit-learn's classifiers return the probabilities of several outputs like this.
    """
    if not isinstance(returned, (list, tuple)) or len(returned) != outputs:
        return False
    shapes: list[tuple[int, ...]] = [getattr(part, "shape", ()) for part in returned]
    return all(len(shape) == 2 and shape[0] == rows for shape in shapes)


def joined_outputs(returned: Sequence[Any], what: str) -> list[Any]:
    """Return one list per row, with a list for each output, from one array per output."""
    outputs = [as_rows(as_array(part), what) for part in returned]
    return [list(row) for row in zip(*outputs, strict=True)]
