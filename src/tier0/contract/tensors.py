"""Tensors as JSON, as servers of the Open Inference Protocol (version 2) write and read them.

A tensor is an object with a name, a shape, a datatype and its values, which are one list in row-major order.
See https://github.com/kserve/open-inference-protocol, "Inference Request JSON Object".
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping, Sequence
from typing import Any

DEFAULT_NAME = "input-0"
NUMBERS, WHOLE, BOOLEAN, TEXT = "FP64", "INT64", "BOOL", "BYTES"
DATATYPES = (
    BOOLEAN, "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", WHOLE, "FP16", "FP32", NUMBERS,
    TEXT,
)  # fmt: skip
MAX_DIMENSIONS = 8
FORMATS = {"FP32": "f", "FP16": "e"}
"""Datatypes that hold fewer digits than a number in JSON, with their formats for `struct`."""
ROUNDING = {"FP32": 1e-5, "FP16": 1e-2}
"""How far outputs may change, relative to the largest, if inputs are rounded to a datatype."""


def matrix(
    name: str, datatypes: Mapping[str, str], flat: Sequence[str], rows: Sequence[Sequence[Any]]
) -> list[dict[str, Any]]:
    """Return rows as one tensor: of two dimensions, or as `column_tensors` does if each row has one value.

    Args:
        name: name of the tensor.
        datatypes: see `column_tensors`.
        flat: see `column_tensors`.
        rows: rows as lists of values of one length.
    """
    width = len(rows[0]) if rows else 0
    if width == 1:
        return column_tensors([name], datatypes, flat, rows)
    values = [value for row in rows for value in row]
    return [_tensor(name, datatypes.get(name), [len(rows), width], values)]


def column_tensors(
    names: Sequence[str], datatypes: Mapping[str, str], flat: Sequence[str], rows: Sequence[Sequence[Any]]
) -> list[dict[str, Any]]:
    """Return rows as one tensor for each column, of shape ``[rows, 1]``; arrays add their own shape instead.

    Args:
        names: the service's names of the columns.
        datatypes: datatypes of tensors, by these names; by default those that have all values.
        flat: names of the tensors of shape ``[rows]``.
        rows: rows as lists of values.
    """
    tensors = []
    for position, name in enumerate(names):
        values = [row[position] for row in rows]
        shape = shape_of(values) or [len(rows)]
        for _ in shape[1:]:
            values = [inner for value in values for inner in value]
        if len(shape) == 1 and name not in flat:
            shape = [*shape, 1]
        tensors.append(_tensor(name, datatypes.get(name), shape, values))
    return tensors


def holds(datatype: str | None, value: Any) -> bool:
    """Return whether a datatype holds a value without rounding it, as it does if it is not a number."""
    if datatype not in FORMATS or not isinstance(value, (int, float)):
        return True
    try:
        if not math.isfinite(value):
            return True
        (rounded,) = struct.unpack(FORMATS[datatype], struct.pack(FORMATS[datatype], value))
    except (OverflowError, struct.error):
        return False
    return bool(rounded == value)


def shape_of(values: Sequence[Any]) -> list[int] | None:
    """Return the shape of nested lists; None if their lengths differ, or they contain objects."""
    if any(isinstance(value, Mapping) for value in values):
        return None
    if not any(isinstance(value, list) for value in values):
        return [len(values)]
    if not all(isinstance(value, list) for value in values):
        return None
    inner = [shape_of(value) for value in values]
    first = inner[0]
    return None if first is None or any(shape != first for shape in inner) else [len(values), *first]


def _tensor(name: str, datatype: str | None, shape: list[int], values: list[Any]) -> dict[str, Any]:
    return {"name": name, "shape": shape, "datatype": datatype or _datatype_of(values), "data": values}


def _datatype_of(values: Sequence[Any]) -> str:
    kinds = {type(value) for value in values if value is not None}
    if kinds == {bool}:
        return BOOLEAN
    if kinds == {int} and None not in values:
        return WHOLE
    return NUMBERS if kinds <= {int, float, bool} else TEXT


def without_tensors(answer: Any) -> Any:
    """Return a response in which a list of tensors is an object of their values, by name.

    The values of a tensor are nested lists of its shape. Other responses are returned unchanged.
    """
    outputs = answer.get("outputs") if isinstance(answer, Mapping) else None
    if not isinstance(outputs, list) or not outputs or not all(map(_is_tensor, outputs)):
        return answer
    names = [tensor["name"] for tensor in outputs]
    if len(set(names)) < len(names):
        return answer
    return {**answer, "outputs": {tensor["name"]: _nested(tensor) for tensor in outputs}}


def _is_tensor(value: Any) -> bool:
    if not isinstance(value, Mapping) or not isinstance(value.get("name"), str):
        return False
    shape, data = value.get("shape"), value.get("data")
    if not isinstance(shape, list) or not isinstance(data, list) or not 0 < len(shape) <= MAX_DIMENSIONS:
        return False
    return all(type(length) is int and length >= 0 for length in shape)


def _nested(tensor: Mapping[str, Any]) -> list[Any]:
    """Return the values of a tensor as nested lists; as they are if they do not have the tensor's shape."""
    shape, values = tensor["shape"], tensor["data"]
    if len(values) != math.prod(shape) or any(isinstance(value, list) for value in values):
        return list(values)
    for length in reversed(shape[1:]):
        values = [values[start : start + length] for start in range(0, len(values), length)] if length else []
    return list(values)
