"""Examples that are not a table: texts, arrays of any shape, and lists of JSON values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tier0.core.errors import RegistrationError
from tier0.core.json_values import NotJsonError, json_value
from tier0.golden.examples import as_container
from tier0.golden.forms import COLUMNS, Form
from tier0.golden.signature import Feature, Kind

KINDS: dict[str, Kind] = {"texts": "text", "arrays": "array", "json": "json"}
"""For each form other than a table, the kind of its only column."""
TABLE_DIMENSIONS = 2
NUMBER_KINDS = "biuf"


def form_of(examples: Any, *, converts_lists: bool) -> Form:
    """Return what a row of *examples* is.

    Args:
        examples: rows in any form.
        converts_lists: whether the model is an estimator, which takes a table in place of a list of rows.
    """
    values = _texts_in(examples)
    if values is not None:
        return "texts"
    if _is_array(examples):
        is_table = examples.ndim == TABLE_DIMENSIONS or (examples.ndim <= 1 and converts_lists)
        return "table" if is_table or not examples.ndim else "arrays"
    if not isinstance(examples, (list, tuple)) or not len(examples):
        return "table"
    if all(isinstance(item, np.ndarray) and item.ndim >= TABLE_DIMENSIONS for item in examples):
        return "arrays" if len({item.shape for item in examples}) == 1 else "json"
    is_nested = any(_has_nested(row) for row in examples)
    return "json" if is_nested or not (converts_lists or _are_uniform(examples)) else "table"


def _texts_in(examples: Any) -> list[str] | None:
    """Return texts in a list, an array or a column; None for anything else."""
    if isinstance(examples, (list, tuple)):
        values = list(examples)
    elif getattr(examples, "ndim", None) == 1 and hasattr(examples, "tolist") and len(examples):
        values = examples.tolist()
    else:
        return None
    return values if values and all(isinstance(value, str) for value in values) else None


def _is_array(examples: Any) -> bool:
    """Return whether *examples* is an array of numbers of numpy, or a tensor."""
    if isinstance(examples, np.ma.MaskedArray):
        return False
    if isinstance(examples, np.ndarray):
        return examples.dtype.names is None and examples.dtype.kind in NUMBER_KINDS
    return _is_tensor(examples)


def _is_tensor(value: Any) -> bool:
    return hasattr(value, "detach") and hasattr(value, "cpu") and hasattr(value, "ndim")


def as_numpy(examples: Any) -> Any:
    """Return a tensor as an array of numpy; other values unchanged."""
    return examples.detach().cpu().numpy() if _is_tensor(examples) else examples


def as_given(examples: Any, names: Sequence[str] | None) -> Any:
    """Return a table as a container of `as_container`, and rows of another form as they are.

    Args:
        examples: rows in any form that an estimator takes.
        names: names of the columns of a list of rows, if the model was trained on named columns.
    """
    examples = as_numpy(examples)
    is_table = form_of(examples, converts_lists=True) == "table"
    return as_container(examples, names) if is_table else examples


def _has_nested(row: Any) -> bool:
    if isinstance(row, Mapping):
        return any(isinstance(value, (list, tuple, Mapping, np.ndarray)) for value in row.values())
    if isinstance(row, (list, tuple)):
        return any(isinstance(value, (list, tuple, Mapping, np.ndarray)) for value in row)
    return isinstance(row, np.ndarray) and row.ndim > 1


def _are_uniform(rows: Any) -> bool:
    """Return whether all rows are lists of one length, or objects with the same keys."""
    if all(isinstance(row, Mapping) for row in rows):
        return bool(rows[0]) and all(row.keys() == rows[0].keys() for row in rows)
    are_lists = all(isinstance(row, (list, tuple, np.ndarray)) for row in rows)
    return are_lists and len({len(row) for row in rows}) == 1 and len(rows[0]) > 0


def column_of(examples: Any, form: Form) -> tuple[Feature, list[list[Any]], str]:
    """Return the column of examples that are not a table, the rows as JSON values, and the dtype of an array.

    Raises:
        RegistrationError: JSON cannot represent a value.
    """
    dtype = "object"
    if form == "texts":
        values: list[Any] = list(_texts_in(examples) or ())
    elif form == "arrays":
        array = np.asarray(as_numpy(examples))
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise RegistrationError(
                "examples must be finite, since JSON cannot represent NaN and infinity in an array: replace "
                "them before the model"
            )
        dtype = array.dtype.name
        values = array.tolist()
    else:
        values = [_as_json(index, value) for index, value in enumerate(examples)]
    shape = np.shape(values[0]) if form == "arrays" else ()
    return Feature(COLUMNS[form], KINDS[form], dtype, shape=shape), [[value] for value in values], dtype


def _as_json(index: int, value: Any) -> Any:
    try:
        return json_value(as_numpy(value))
    except NotJsonError as problem:
        raise RegistrationError(
            f"examples[{index}]: {problem}: pass what a request contains (numbers, texts, lists, objects), "
            "and convert it in call=lambda rows: …"
        ) from problem
