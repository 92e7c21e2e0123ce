"""The forms in which examples are given, as a container that a signature can be inferred from."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tier0.core.errors import RegistrationError

FORMS = (
    "Pass a DataFrame, a numeric array or a sparse matrix of shape (rows, features), or a list of rows or "
    "records"
)
FEW = 5
MAX_EXACT = 2**53


def as_container(examples: Any, names: Sequence[str] | None) -> Any:
    """Return *examples* as a pandas DataFrame, a numpy array or a scipy sparse matrix.

    Args:
        examples: one of these; a DataFrame of another library that has ``to_pandas``; a list of rows or of
            records (dicts); a single record; or a dict of columns.
        names: names of the columns of a list of rows, if the model was trained on named columns.

    Raises:
        RegistrationError: *examples* have another form; the message names it and a remedy.
    """
    kind = type(examples)
    if kind.__module__.startswith("scipy.sparse"):
        return examples
    if isinstance(examples, np.ma.MaskedArray):
        raise RegistrationError(
            "examples is a masked array, whose mask a request cannot contain: pass examples.filled(numpy.nan)"
        )
    if isinstance(examples, np.ndarray) and examples.dtype.names is None:
        return _as_native(np.asarray(examples))
    if isinstance(examples, np.ndarray):
        raise RegistrationError("examples is a structured array: pass pandas.DataFrame(examples)")
    if isinstance(examples, Mapping):
        return _from_mapping(examples, names)
    if isinstance(examples, (list, tuple)):
        return _from_list(list(examples), names)
    if hasattr(examples, "columns"):
        return _as_pandas(examples)
    if hasattr(examples, "__array__") and len(getattr(examples, "shape", ())) == 2:
        return _as_native(np.asarray(examples))
    shape = f" of shape {tuple(examples.shape)}" if hasattr(examples, "shape") else ""
    if len(getattr(examples, "shape", ())) == 1 and hasattr(examples, "index"):
        raise RegistrationError(
            f"examples is a {kind.__name__}{shape}, but rows and columns are needed: pass frame.iloc[[0]] "
            "for a single row, or series.to_frame() for a single column"
        )
    raise RegistrationError(
        f"examples of type {kind.__module__}.{kind.__qualname__}{shape} cannot be read. {FORMS}"
    )


def _as_native(array: Any) -> Any:
    """Return an array in the byte order of this machine, which is that of a request's values."""
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


def _as_pandas(frame: Any) -> Any:
    """Return a DataFrame of pandas; the service passes one to the model as well."""
    pandas = sys.modules.get("pandas")
    if pandas is None or not isinstance(frame, pandas.DataFrame):
        package = type(frame).__module__.partition(".")[0]
        if not hasattr(frame, "to_pandas"):
            raise RegistrationError(
                f"examples is a {type(frame).__name__} of {package}, which cannot be read: collect it, and "
                "convert it to a pandas DataFrame"
            )
        frame = _converted(frame)
    names = [name for name in frame.columns if not isinstance(name, str)]
    if names:
        raise RegistrationError(
            f"column names of examples must be strings, since they are keys in JSON; got {names[0]!r}"
        )
    duplicates = frame.columns[frame.columns.duplicated()].tolist()
    if duplicates:
        raise RegistrationError(
            f"examples has more than one column {duplicates[0]!r}: a request names each column once. "
            "Rename it"
        )
    sparse = {
        name: dtype.subtype
        for name, dtype in frame.dtypes.items()
        if hasattr(dtype, "subtype") and hasattr(dtype, "fill_value")
    }
    return frame.astype(sparse) if sparse else frame


def _converted(frame: Any) -> Any:
    """Return a DataFrame of another library as one of pandas, also without pyarrow, which polars uses."""
    import pandas as pd  # noqa: PLC0415 - not needed for arrays

    try:
        return frame.to_pandas()
    except ModuleNotFoundError:
        if not hasattr(frame, "to_dict"):
            raise
        return pd.DataFrame(frame.to_dict(as_series=False))


def _from_mapping(examples: Mapping[Any, Any], names: Sequence[str] | None) -> Any:
    """Return a single record, or a dict of columns, as a DataFrame."""
    import pandas as pd  # noqa: PLC0415

    are_columns = [hasattr(value, "__len__") and not isinstance(value, str) for value in examples.values()]
    if examples and all(are_columns):
        if len({len(column) for column in examples.values()}) > 1:
            raise RegistrationError(f"examples is a dict of columns of different lengths. {FORMS}")
        return _as_pandas(_with_numbers(pd.DataFrame(dict(examples))))
    return _from_list([examples], names)


def _from_list(rows: list[Any], names: Sequence[str] | None) -> Any:
    """Return a list of rows or records: an array if all values are numbers without names, else a DataFrame.

    JSON has one type of number: whole numbers among them can be floats of the training data, so they become
    floats.
    """
    if not rows:
        raise RegistrationError(f"examples is empty. {FORMS}")
    if all(isinstance(row, Mapping) for row in rows):
        return _from_records(rows, names)
    rows = [row.tolist() if isinstance(row, np.ndarray) else row for row in rows]
    for index, row in enumerate(rows):
        if not isinstance(row, (list, tuple)):
            raise RegistrationError(
                f"examples[{index}] is a {type(row).__name__}, expected a row, such as [1.0, 2.0], or a "
                "record, such as {'age': 31}. A single row must be in a list, too, and a text in a column, "
                "which the first step of the model's pipeline selects"
            )
        if len(row) != len(rows[0]) or not row:
            raise RegistrationError(
                f"examples[{index}] has {len(row)} values, but examples[0] has {len(rows[0])}: every row "
                "needs one value per feature"
            )
    values = [value for row in rows for value in row]
    are_numbers = all(value is None or isinstance(value, (int, float, np.number)) for value in values)
    if are_numbers and names is None and not any(isinstance(value, (bool, np.bool_)) for value in values):
        return np.array(rows, dtype=np.float64)
    columns = list(names) if names is not None else [f"x{index}" for index in range(len(rows[0]))]
    if len(columns) != len(rows[0]):
        raise RegistrationError(
            f"examples[0] has {len(rows[0])} values, but the model has {len(columns)} features: "
            f"{', '.join(columns[:FEW])}{', …' if len(columns) > FEW else ''}"
        )
    import pandas as pd  # noqa: PLC0415

    return _as_pandas(_with_numbers(pd.DataFrame(rows, columns=columns)))


def _from_records(records: list[Any], names: Sequence[str] | None) -> Any:
    import pandas as pd  # noqa: PLC0415

    first = list(records[0])
    for index, record in enumerate(records):
        if record.keys() != records[0].keys():
            name = next(iter(set(first) ^ set(record)))
            raise RegistrationError(
                f"examples[{index}] and examples[0] have different keys: {name!r} is in one of them only. "
                "Every record needs all features; a missing value is None"
            )
    columns = list(names) if names is not None and set(names) == set(first) else first
    rows = [[record[name] for name in columns] for record in records]
    return _as_pandas(_with_numbers(pd.DataFrame(rows, columns=columns)))


def _with_numbers(frame: Any) -> Any:
    """Return a DataFrame of JSON values with floats in place of whole numbers."""
    for name in frame.columns:
        present = frame[name].dropna().tolist()
        is_number = bool(present) and all(
            isinstance(value, (int, float)) and not isinstance(value, bool) for value in present
        )
        if is_number and max(map(abs, present)) <= MAX_EXACT:
            frame[name] = frame[name].astype("float64")
    return frame
