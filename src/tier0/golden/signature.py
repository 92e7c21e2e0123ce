"""The signature of a model: its inputs and outputs, and the conversion of a request to the model's container.

The same code builds the container in the training process (for the golden rows) and in the worker (for
requests).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import lru_cache
from importlib import import_module
from itertools import chain
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from tier0.core.errors import InvalidRowError, RegistrationError
from tier0.golden.forms import IN_WORDS, Form

if TYPE_CHECKING:
    import pandas as pd

SCHEMA = 2
JSON_NAMES = {
    str: "text",
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    type(None): "null",
    list: "a list",
    dict: "an object",
}
KIND_NAMES = {
    "number": "a number",
    "integer": "a whole number",
    "boolean": "true or false",
    "text": "text",
    "date": "a date as text, such as 2026-01-31T00:00:00",
    "array": "a number or nested lists of numbers",
    "json": "a JSON value",
}
KIND_NAMES_OF_DTYPE = {"b": "boolean", "f": "number", "i": "whole number", "u": "whole number"}
ALLOWED_TYPES: dict[str, set[type]] = {
    "number": {int, float},
    "integer": {int, float},
    "boolean": {bool},
    "text": {str},
    "date": {str},
    "array": {bool, int, float, list},
    "json": set(JSON_NAMES),
}
MAX_EXACT_INTEGER = 2**53
"""Largest magnitude up to which a float64 represents every integer."""
SMALL_FLOATS = {"float16", "float32"}
"""Types of numbers that cannot represent every float64."""
ARROW_FLOATS = {"halffloat": "float16", "float": "float32", "double": "float64"}
MAX_SHOWN_CATEGORIES = 20
MAX_SHOWN_TEXT = 40
Kind = Literal["number", "integer", "boolean", "text", "date", "array", "json"]
Container = Literal["dataframe", "ndarray", "csr", "lists", "records", "texts", "arrays", "json"]
FORM_OF_CONTAINER: dict[str, Form] = {"texts": "texts", "arrays": "arrays", "json": "json"}


@dataclass(frozen=True)
class Feature:
    """One input of a model.

    Attributes:
        name: name of the column.
        kind: required kind of JSON value.
        dtype: dtype of the column in the training data, such as ``float64``, ``object`` or ``category``.
        accepts_missing: whether the model returns an output if this value is missing (NaN or null).
        missing: representation of a missing value in an object column, NaN or None.
        categories: allowed values of a categorical column; None for any other column.
        categories_dtype: dtype of these values, such as ``int8`` or ``str``.
        is_ordered: whether the categories have an order, which is that of *categories*.
        shape: shape of a row that is an array.
        vocabulary: values of a text column that the model's encoder knows. Other values are passed to the
            model, but a value that differs from a known one only by case or spaces is rejected.
    """

    name: str
    kind: Kind
    dtype: str
    accepts_missing: bool = False
    missing: Literal["nan", "none"] = "nan"
    categories: tuple[Any, ...] | None = None
    vocabulary: tuple[str, ...] | None = None
    categories_dtype: str = "object"
    is_ordered: bool = False
    shape: tuple[int, ...] = ()

    @property
    def value_dtype(self) -> str:
        """The numpy name of the type of a number, such as ``int64`` for ``int64[pyarrow]`` or ``Int64``."""
        name = self.dtype.partition("[")[0].lower()
        return ARROW_FLOATS.get(name, name) if self.dtype.endswith("[pyarrow]") else name

    @property
    def is_numpy_integer(self) -> bool:
        """Whether the column has integers or booleans of numpy, which have no missing value."""
        return self.dtype == "bool" or (
            self.dtype == self.value_dtype and self.dtype.startswith(("int", "uint"))
        )


@dataclass(frozen=True)
class Signature:
    """Inputs and outputs of a model.

    Attributes:
        features: inputs, in the order of the training data.
        container: type of the model's argument. For a table, it is a pandas DataFrame, a 2-D numpy array or a
            scipy CSR matrix of dtype *array_dtype*, a list of lists or a list of records; otherwise a list of
            texts, a numpy array with one item per row, or a list of JSON values.
        task: classification or regression.
        classes: labels, in the order of the columns of the probabilities; for a model with several outputs, a
            list of labels per output; empty for regression.
        has_probabilities: whether the model has ``predict_proba``.
        threshold: for two classes, the lowest probability of ``classes[1]`` for which it is predicted; None
            leaves the decision to the model.
        array_dtype: numpy dtype name of an array or a CSR matrix.
        has_intervals: whether the model has ``predict_interval``, which returns two bounds per row.
        has_several_outputs: whether the model predicts a list of labels or numbers per row.
    """

    features: tuple[Feature, ...]
    container: Container
    task: Literal["classification", "regression"]
    classes: tuple[Any, ...] = ()
    has_probabilities: bool = False
    threshold: float | None = None
    array_dtype: str = "float64"
    has_intervals: bool = False
    has_several_outputs: bool = False

    @property
    def names(self) -> list[str]:
        """The names of the features, in order."""
        return [feature.name for feature in self.features]

    @property
    def form(self) -> Form:
        """What a row is."""
        return FORM_OF_CONTAINER.get(self.container, "table")

    def as_dict(self) -> dict[str, Any]:
        """Return the signature as JSON types."""
        document = {"schema": SCHEMA, **asdict(self)}
        for feature in document["features"]:
            if not feature["shape"]:  # which earlier versions do not know
                del feature["shape"]
        return document

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> Signature:
        """Create a signature from the result of `as_dict`.

        Raises:
            RegistrationError: the document has another schema number.
        """
        if (schema := document.get("schema")) != SCHEMA:
            raise RegistrationError(
                f"the model's signature has schema {schema!r}, but this version of Tier0 reads {SCHEMA}. "
                "Register the model again."
            )
        values = {name: value for name, value in document.items() if name not in {"schema", "features"}}
        features = tuple(Feature(**_with_tuples(feature)) for feature in document["features"])
        return cls(features=features, **_with_tuples(values))

    def parse(self, features: Any, columns: Any = None) -> list[list[Any]]:
        """Convert the ``features`` and ``columns`` of a request to validated rows in the signature's order.

        Args:
            features: a list of rows (lists of values), or of records (objects keyed by feature name).
            columns: names of the columns, in the order of the values in a row; for rows only.

        Returns:
            Rows of JSON values; missing values are None.

        Raises:
            InvalidRowError: a value is invalid; the message names the field, the problem and the remedy.
        """
        if not isinstance(features, list) or not features:
            got = "an empty list" if isinstance(features, list) else _json_name(features)
            raise InvalidRowError(
                "features",
                f"expected a non-empty list, got {got}",
                f"Send a list of rows, each with {len(self.features)} values, or a list of records",
            )
        read = self._rows_from_records if isinstance(features[0], dict) else self._rows_from_rows
        rows = read(features, columns)
        if not self._is_finite_matrix(rows):
            for position, feature in enumerate(self.features):
                _validate_column(rows, position, feature)
                _validate_precision(rows, position, feature)
        return rows

    def parse_request(self, features: Any, columns: Any = None) -> list[list[Any]]:
        """Convert a request as `parse` does; texts, arrays and JSON values are the items of *features*.

        Raises:
            InvalidRowError: see `parse`.
        """
        if self.form == "table":
            return self.parse(features, columns)
        if columns is not None:
            raise InvalidRowError("columns", f"is given, but the rows are {IN_WORDS[self.form]}", "Omit it")
        if not isinstance(features, list) or not features:
            got = "an empty list" if isinstance(features, list) else _json_name(features)
            raise InvalidRowError(
                "features", f"expected a non-empty list, got {got}", f"Send a list of {IN_WORDS[self.form]}"
            )
        are_records = self.form != "json" and isinstance(features[0], dict)
        return self.parse(features if are_records else [[value] for value in features])

    def may_join(self, rows: list[list[Any]]) -> bool:
        """Return whether validated *rows* can join a batch without changing the dtypes of its columns.

        A missing value in an integer or boolean column of a DataFrame changes the dtype of the whole column.
        """
        if self.container != "dataframe" or all(feature.kind == "number" for feature in self.features):
            return True
        return not any(None in row for row in rows)

    def _is_finite_matrix(self, rows: list[list[Any]]) -> bool:
        """Return whether all values are finite floats in number columns: the fast path of `parse`."""
        if not all(
            feature.kind == "number" and feature.value_dtype not in SMALL_FLOATS for feature in self.features
        ):
            return False
        are_floats = set(map(type, chain.from_iterable(rows))) == {float}
        return are_floats and math.isfinite(sum(chain.from_iterable(rows)))

    def _rows_from_records(self, records: list[Any], columns: Any) -> list[list[Any]]:
        if columns is not None:
            raise InvalidRowError(
                "columns", "cannot be combined with records", "Omit it: records contain the names"
            )
        names = self.names
        expected = set(names)
        rows = []
        for index, record in enumerate(records):
            if not isinstance(record, dict):
                raise InvalidRowError(
                    f"features[{index}]",
                    f"expected a record, got {_json_name(record)}",
                    "Send either records or rows, not both",
                )
            if record.keys() != expected:
                raise _name_error(f"features[{index}]", list(record), names)
            rows.append([record[name] for name in names])
        return rows

    def _rows_from_rows(self, rows: list[Any], columns: Any) -> list[list[Any]]:
        order = None if columns is None else self._order_of(columns)
        width = len(self.features)
        for index, row in enumerate(rows):
            if not isinstance(row, list):
                remedy = "Send a list of rows, each a list of values, even for a single row"
                if index:
                    remedy = "Send either records or rows, not both"
                raise InvalidRowError(f"features[{index}]", f"expected a row, got {_json_name(row)}", remedy)
            if len(row) != width:
                raise InvalidRowError(
                    f"features[{index}]",
                    f"expected {width} values, got {len(row)}",
                    f"Send the values in this order: {', '.join(self.names)}",
                )
        return rows if order is None else [[row[position] for position in order] for row in rows]

    def _order_of(self, columns: Any) -> list[int]:
        names = self.names
        if not isinstance(columns, list) or not all(isinstance(name, str) for name in columns):
            raise InvalidRowError(
                "columns", "expected a list of column names", f"The model's columns are: {', '.join(names)}"
            )
        if len(set(columns)) != len(columns):
            duplicate = next(name for name in columns if columns.count(name) > 1)
            raise InvalidRowError("columns", f"duplicate column {duplicate!r}", "Send each column once")
        if set(columns) != set(names):
            raise _name_error("columns", columns, names)
        return [columns.index(name) for name in names]

    def to_container(self, rows: Sequence[Sequence[Any]]) -> Any:
        """Convert rows to the model's container.

        Args:
            rows: validated rows, as returned by `parse`.

        Returns:
            A DataFrame with the dtypes of the training data, an array or a CSR matrix of shape (rows,
            features) and dtype *array_dtype*, or a list; see `Signature.container`.
        """
        to: dict[Container, Callable[[Sequence[Sequence[Any]]], Any]] = {
            "dataframe": self._to_frame,
            "ndarray": self._to_array,
            "csr": self._to_sparse,
            "lists": lambda rows: [list(row) for row in rows],
            "records": lambda rows: [dict(zip(self.names, row, strict=True)) for row in rows],
            "texts": lambda rows: [row[0] for row in rows],
            "arrays": lambda rows: self._to_array([row[0] for row in rows]),
            "json": lambda rows: [row[0] for row in rows],
        }
        return to[self.container](rows)

    def _to_array(self, rows: Sequence[Any]) -> Any:
        return np.array(rows, dtype=self.array_dtype)  # None becomes NaN

    def _to_sparse(self, rows: Sequence[Sequence[Any]]) -> Any:
        from scipy.sparse import csr_matrix  # noqa: PLC0415 - needed only by models with sparse input

        return csr_matrix(self._to_array(rows))

    def _to_frame(self, rows: Sequence[Sequence[Any]]) -> Any:
        import pandas as pd  # noqa: PLC0415 - a worker for a model with array input does not load pandas

        return pd.DataFrame(
            {
                feature.name: _series(feature, [row[position] for row in rows])
                for position, feature in enumerate(self.features)
            },
            columns=self.names,
        )


def _with_tuples(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return *values* with a tuple in place of each list."""
    return {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}


def _series(feature: Feature, values: list[Any]) -> pd.Series[Any]:
    import pandas as pd  # noqa: PLC0415

    if feature.dtype == "category":
        categories = list(feature.categories or ())
        positions = {value: position for position, value in enumerate(categories)}
        index = pd.Index(categories, dtype=object).astype(feature.categories_dtype)
        codes = [-1 if value is None else positions[value] for value in values]
        return pd.Series(pd.Categorical.from_codes(codes, categories=index, ordered=feature.is_ordered))
    if feature.dtype == "object":
        marker = None if feature.missing == "none" else math.nan
        column = np.empty(len(values), dtype=object)
        column[:] = [marker if value is None else value for value in values]
        return pd.Series(column, dtype=object)
    if feature.kind == "date":
        return pd.Series([pd.Timestamp(value) for value in values], dtype=feature.dtype)
    if any(value is None for value in values) and feature.is_numpy_integer:
        # numpy's integers and booleans have no missing value: pandas, too, would convert the column to float
        return pd.Series([math.nan if value is None else value for value in values], dtype="float64")
    return pd.Series(values, dtype=_dtype_of(feature))


def _dtype_of(feature: Feature) -> Any:
    """Return the dtype of a column; pandas reads the name of Arrow's texts as its own type."""
    if feature.dtype != "string[pyarrow]":
        return feature.dtype
    import pandas as pd  # noqa: PLC0415

    return pd.ArrowDtype(import_module("pyarrow").string())


def _validate_column(rows: list[list[Any]], position: int, feature: Feature) -> None:
    """Validate the values of one column, and replace NaN by None, in place."""
    expected = KIND_NAMES[feature.kind]
    allowed = ALLOWED_TYPES[feature.kind]
    for index, row in enumerate(rows):
        value = row[position]
        where = f"features[{index}].{feature.name}"
        if value is None or (type(value) is float and math.isnan(value)):
            if not feature.accepts_missing:
                raise InvalidRowError(where, "is missing, but the model requires it", f"Send {expected}")
            row[position] = None
            continue
        if type(value) not in allowed:
            raise InvalidRowError(where, f"expected {expected}, got {_json_name(value)}", f"Send {expected}")
        if feature.kind in {"number", "integer"}:
            row[position] = value = _validated_number(value, where, feature)
        if feature.kind == "array":
            _validate_array(value, where, feature)
        if feature.kind == "date" and not _is_date(value, feature):
            raise InvalidRowError(where, f"{value[:MAX_SHOWN_TEXT]!r} is not a date", f"Send {expected}")
        if feature.categories is not None and value not in feature.categories:
            known = ", ".join(map(str, feature.categories[:MAX_SHOWN_CATEGORIES]))
            raise InvalidRowError(
                where, f"unknown category {value!r}", f"The model's categories are: {known}"
            )
        spelling = None if feature.vocabulary is None else _known_spelling(value, feature.vocabulary)
        if spelling is not None:
            raise InvalidRowError(
                where, f"{value!r} is spelled {spelling!r} in the training data", f"Send {spelling!r}"
            )


def _validate_array(value: Any, where: str, feature: Feature) -> None:
    """Check the shape of an array, and that its dtype has all of its numbers.

    Raises:
        InvalidRowError: it has another shape, or a value that this dtype cannot represent.
    """
    what = f"numbers of shape {feature.shape}"
    try:
        array = np.asarray(value)
    except ValueError:  # lists of different lengths
        raise InvalidRowError(where, "has lists of different lengths", f"Send {what}") from None
    if array.shape != feature.shape:
        raise InvalidRowError(where, f"has the shape {array.shape}", f"Send {what}")
    dtype = np.dtype(feature.dtype)
    allowed = {"b": "b", "f": "iuf"}.get(dtype.kind, "iu")
    if array.dtype.kind not in allowed:
        raise InvalidRowError(
            where, f"has a value that is not a {KIND_NAMES_OF_DTYPE[dtype.kind]}", f"Send {what}"
        )
    if dtype.kind == "b" or not array.size:
        return
    limits = np.finfo(dtype) if dtype.kind == "f" else np.iinfo(dtype)
    if not (array >= limits.min).all() or not (array <= limits.max).all():  # NaN is neither
        raise InvalidRowError(where, f"has a value that {dtype} cannot represent", f"Send {what}")


def _is_date(text: str, feature: Feature) -> bool:
    """Return whether a text is a date that the column can hold, with a time zone if it has one."""
    try:
        date = datetime.fromisoformat(text)
    except ValueError:
        return False
    has_zone = "," in feature.dtype or "tz=" in feature.dtype
    return (date.tzinfo is not None) == has_zone


def _validate_precision(rows: list[list[Any]], position: int, feature: Feature) -> None:
    """Raise if an integer would lose digits, since a missing value converts an integer column to float."""
    if feature.kind != "integer" or not feature.is_numpy_integer:
        return
    if all(row[position] is not None for row in rows):
        return
    for index, row in enumerate(rows):
        if row[position] is not None and abs(row[position]) > MAX_EXACT_INTEGER:
            raise InvalidRowError(
                f"features[{index}].{feature.name}",
                "is above 2**53, and would lose digits since the value is missing in another row",
                "Send rows with a missing value in a separate request",
            )


def _known_spelling(value: str, vocabulary: tuple[str, ...]) -> str | None:
    """Return the value of the vocabulary that differs from *value* only by case or spaces, if any does."""
    if value in vocabulary:
        return None
    return _folded(vocabulary).get(_fold(value))


@lru_cache(maxsize=1024)
def _folded(vocabulary: tuple[str, ...]) -> dict[str, str]:
    return {_fold(known): known for known in vocabulary}


def _fold(text: str) -> str:
    return " ".join(text.split()).casefold()


def _validated_number(value: float, where: str, feature: Feature) -> float | int:
    if feature.kind == "number":
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        name = feature.value_dtype
        if math.isinf(number) or (name in SMALL_FLOATS and abs(number) > float(np.finfo(name).max)):
            raise InvalidRowError(where, "is not a finite floating-point number", "Send a finite number")
        return number
    if isinstance(value, float) and not value.is_integer():
        raise InvalidRowError(where, f"expected a whole number, got {value!r}", "Send a whole number")
    name = feature.value_dtype
    limits = np.iinfo(name if name.startswith(("int", "uint")) else "int64")
    if not limits.min <= value <= limits.max:
        raise InvalidRowError(
            where,
            f"is out of range for {feature.dtype}",
            f"Send a whole number from {limits.min} to {limits.max}",
        )
    return int(value)


def _name_error(where: str, given: list[str], expected: list[str]) -> InvalidRowError:
    missing = [name for name in expected if name not in given]
    unknown = [name for name in given if name not in expected]
    problems = [
        f"{problem} {', '.join(map(repr, names))}"
        for problem, names in (("missing columns:", missing), ("unknown columns:", unknown))
        if names
    ]
    return InvalidRowError(
        f"{where}.{(missing or unknown)[0]}",
        "; ".join(problems),
        f"The model's columns are: {', '.join(expected)}",
    )


def _json_name(value: Any) -> str:
    if isinstance(value, str):
        return f"text ({value[:MAX_SHOWN_TEXT]!r})"
    return JSON_NAMES.get(type(value), type(value).__name__)
