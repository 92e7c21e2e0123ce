"""Values of numpy, pandas, polars and Arrow as JSON values, recognised by their methods: nothing is imported.

An array, a column or a scalar becomes what its Python values would become: missing values (None, NaN, NA and
NaT) null, dates and times ISO 8601, decimal numbers the nearest float.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Mapping
from decimal import Decimal
from numbers import Real
from typing import Any

MISSING_TYPES = {"NAType", "NaTType"}
"""Names of the types of pandas' missing values."""
LIST_METHODS = ("tolist", "to_list", "to_pylist")
"""Methods that return Python values: of numpy and pandas, of polars, and of Arrow."""
METHODS = (*LIST_METHODS, "as_py")
"""The same with that of a scalar of Arrow."""
PLAIN = frozenset({str, int, bool, type(None)})
DATES, DURATIONS, FLOATS = "M", "m", "f"
"""Kinds of dtypes whose ``tolist`` does not always return Python's own values."""
WHOLE = frozenset({"b", "i", "u"})
"""Kinds of dtypes of booleans and integers, whose ``tolist`` always does."""
NANOSECONDS = "datetime64[ns]"


class NotJsonError(ValueError):
    """JSON cannot represent a value.

    Attributes:
        value: the value, such as a complex number.
    """

    def __init__(self, value: Any) -> None:
        super().__init__(f"a value of type {type(value).__name__} cannot be represented in JSON")
        self.value = value


def is_missing(value: Any) -> bool:
    """Return whether *value* is None, NaN of any kind of number, or a missing value of pandas."""
    if value is None or type(value).__name__ in MISSING_TYPES:
        return True
    return isinstance(value, (Real, Decimal)) and value != value  # noqa: PLR0124 - true for NaN only


def json_value(value: Any) -> Any:
    """Return *value* with JSON types only, also within lists, tuples and mappings.

    Raises:
        NotJsonError: JSON cannot represent a value, such as infinity.
    """
    if type(value) in PLAIN:
        return value
    if isinstance(value, float):
        if math.isinf(value):
            raise NotJsonError(value)
        return None if math.isnan(value) else value
    if isinstance(value, (list, tuple)):
        return [json_value(item) for item in value]
    if isinstance(value, Mapping):
        return {_key(key): json_value(item) for key, item in value.items()}
    return value if isinstance(value, (str, int)) else json_value(python_value(value))


def _key(key: Any) -> Any:
    """Return a key that Python's encoder accepts; it writes numbers as text."""
    if key is None or isinstance(key, (str, int, float)):
        return key
    if isinstance(converted := python_value(key), (str, int, float)):
        return converted
    raise NotJsonError(key)


def python_value(value: Any) -> Any:
    """Return a value of another library as Python's own, and a date as text; items are not converted.

    Raises:
        NotJsonError: JSON cannot represent the value.
    """
    kind = getattr(getattr(value, "dtype", None), "kind", None)
    if kind in WHOLE and hasattr(value, "tolist"):  # the most frequent case
        return value.tolist()
    if kind is not None:
        return _of_dtype(value, kind)
    if is_missing(value):
        return None
    if isinstance(value, (dt.date, dt.time)):  # a Timestamp is one as well
        return value.isoformat()
    if isinstance(value, Decimal):
        return float(value)
    return dict(value) if isinstance(value, Mapping) else _by_method(value)


def _of_dtype(value: Any, kind: str) -> Any:
    """Return an array, a column or a scalar with a dtype of numpy's kinds as Python's own."""
    is_scalar = not getattr(value, "ndim", 0)
    if kind in {DATES, DURATIONS}:  # tolist would return nanoseconds as integers
        return _date_text(value, kind) if is_scalar else list(value)
    if kind == FLOATS and is_scalar:  # tolist would return a longdouble as it is
        return float(value)
    return _by_method(value)


def _by_method(value: Any) -> Any:
    for name in METHODS:
        if callable(method := getattr(value, name, None)):
            converted = method()
            if type(converted) is not type(value):
                return converted
    raise NotJsonError(value)


def _date_text(value: Any, kind: str) -> str | None:
    """Return a scalar of numpy's datetime64 in ISO 8601, with nine digits only if there are nanoseconds."""
    if kind == DURATIONS:
        raise NotJsonError(value)
    exact = value.item()
    if exact is None or isinstance(exact, dt.date):
        return None if exact is None else exact.isoformat()
    if value.dtype.name != NANOSECONDS:
        raise NotJsonError(value)  # a year that Python does not have, or units below nanoseconds
    moment = value.astype("datetime64[us]").item()
    nanoseconds = exact % 1000
    if not nanoseconds:
        return str(moment.isoformat())
    return f"{moment.isoformat(timespec='microseconds')}{nanoseconds:03d}"


def as_list(value: Any) -> Any:
    """Return an array, a Series or a column as a list, and any other value as it is."""
    if isinstance(value, (list, tuple)):
        return value
    return python_value(value) if any(hasattr(value, name) for name in LIST_METHODS) else value


def columns_of(data: Any) -> tuple[list[str], list[list[Any]]] | None:
    """Return names and values of the columns of a table; None for other data.

    Args:
        data: DataFrame of pandas or polars, table or record batch of Arrow, or other data.

    Raises:
        NotJsonError: the values of a column cannot be read, e.g. because they have yet to be computed.
    """
    kind = type(data)  # an attribute of a Series may be a value
    if hasattr(kind, "iloc") and hasattr(kind, "columns"):
        names = list(data.columns)
        columns = [data.iloc[:, index] for index in range(len(names))]
    elif hasattr(kind, "get_columns"):
        names, columns = data.columns, data.get_columns()
    elif hasattr(kind, "to_pydict") and hasattr(kind, "column_names"):
        names, columns = data.column_names, data.columns
    else:
        return None
    return [str(name) for name in names], [python_value(column) for column in columns]
