"""What a model takes and gives: the rules by which a request becomes the container that the model was trained on.

The same code builds the container in the training process (for the golden rows) and in the worker (for requests).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from itertools import chain
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from tier0.core.errors import InvalidRowError, RegistrationError

if TYPE_CHECKING:
    import pandas as pd

SCHEMA = 2
JSON_NAMES = {
    str: "text",
    bool: "true/false",
    int: "a whole number",
    float: "a number",
    type(None): "null",
    list: "a list",
    dict: "an object",
}
KIND_NAMES = {"number": "a number", "integer": "a whole number", "boolean": "true or false", "text": "text"}
ALLOWED_TYPES: dict[str, set[type]] = {
    "number": {int, float},
    "integer": {int, float},
    "boolean": {bool},
    "text": {str},
}
BEYOND_A_FLOAT = 2**53
Kind = Literal["number", "integer", "boolean", "text"]


@dataclass(frozen=True)
class Feature:
    """One input of a model.

    Attributes:
        name: the column's name.
        kind: what a JSON value for it must be.
        dtype: the dtype of the column that the model was trained on, such as ``float64``, ``object`` or ``category``.
        accepts_missing: whether the model gives an answer where this value is missing (NaN or null).
        missing: what stands for a missing value in an object column: NaN, or None.
        categories: the vocabulary of a categorical column, which takes nothing else; None for any other.
        vocabulary: the values of a text column that the model's encoder knows; others are answered as the model answers what it
            has never seen, but not what differs from a known one by case or blanks only.
    """

    name: str
    kind: Kind
    dtype: str
    accepts_missing: bool = False
    missing: Literal["nan", "none"] = "nan"
    categories: tuple[Any, ...] | None = None
    vocabulary: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Signature:
    """What a model takes and gives.

    Attributes:
        features: its inputs, in the order that the model was trained on.
        container: what the model is called with: a pandas DataFrame, or a 2-D numpy array or a scipy matrix in compressed sparse
            rows, both of dtype *array_dtype*.
        task: classification or regression.
        classes: the labels, in the order of the probabilities' columns; empty for regression.
        has_probabilities: whether the model has ``predict_proba``.
        has_intervals: whether the model has ``predict_interval``, which gives a lower and an upper bound a row.
        threshold: for two classes, the probability of ``classes[1]`` from which it is predicted; None leaves the
            decision to the model.
    """

    features: tuple[Feature, ...]
    container: Literal["dataframe", "ndarray", "csr"]
    task: Literal["classification", "regression"]
    classes: tuple[Any, ...] = ()
    has_probabilities: bool = False
    threshold: float | None = None
    array_dtype: str = "float64"
    has_intervals: bool = False

    @property
    def names(self) -> list[str]:
        """The names of the features, in order."""
        return [feature.name for feature in self.features]

    def as_dict(self) -> dict[str, Any]:
        """Return the signature as JSON types."""
        return {"schema": SCHEMA, **asdict(self)}

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> Signature:
        """Read what `as_dict` wrote.

        Raises:
            RegistrationError: the document has another schema number.
        """
        if document.get("schema") != SCHEMA:
            raise RegistrationError(
                f"signature has schema {document.get('schema')!r}, and this version of Tier0 reads {SCHEMA}. Register the model again."
            )
        values = {key: value for key, value in document.items() if key != "schema"}
        features = tuple(
            Feature(
                **{
                    **feature,
                    **{name: tuple(value) for name, value in feature.items() if isinstance(value, list)},
                }
            )
            for feature in values.pop("features")
        )
        return cls(features=features, **{**values, "classes": tuple(values["classes"])})

    def parse(self, features: Any, columns: Any = None) -> list[list[Any]]:
        """Turn the ``features`` and ``columns`` of a request into checked rows in the order of the signature.

        Args:
            features: a list of rows (lists), or of records (objects keyed by feature name).
            columns: the names of the rows' columns, in their order; only with rows.

        Returns:
            Rows of JSON values; missing values are None.

        Raises:
            InvalidRowError: naming the field, the problem and the remedy.
        """
        if not isinstance(features, list) or not features:
            what = "is an empty list" if isinstance(features, list) else f"is {_json_name(features)}"
            raise InvalidRowError(
                "features",
                what,
                f"Send a list of rows, each with {len(self.features)} values, or a list of records",
            )
        read = self._rows_from_records if isinstance(features[0], dict) else self._rows_from_rows
        rows = read(features, columns)
        if not self._is_plain_matrix(rows):
            for position, feature in enumerate(self.features):
                _check_column(rows, position, feature)
                _refuse_loss(rows, position, feature)
        return rows

    def may_join(self, rows: list[list[Any]]) -> bool:
        """Tell whether checked *rows* leave the dtypes of other rows beside them as they are.

        A missing value among whole numbers or booleans of a DataFrame makes the whole column another one.
        """
        if self.container != "dataframe" or all(feature.kind == "number" for feature in self.features):
            return True
        return not any(None in row for row in rows)

    def _is_plain_matrix(self, rows: list[list[Any]]) -> bool:
        """Tell quickly whether every value is a finite float in a number column: the usual case, and nothing to check."""
        if not all(feature.kind == "number" and feature.dtype != "float32" for feature in self.features):
            return False
        return set(map(type, chain.from_iterable(rows))) == {float} and math.isfinite(
            sum(chain.from_iterable(rows))
        )

    def _rows_from_records(self, records: list[Any], columns: Any) -> list[list[Any]]:
        if columns is not None:
            raise InvalidRowError(
                "columns", "is given together with records", "Leave it out: a record names its own values"
            )
        names = self.names
        expected = set(names)
        rows = []
        for index, record in enumerate(records):
            if not isinstance(record, dict):
                raise InvalidRowError(
                    f"features[{index}]",
                    f"is {_json_name(record)} among records",
                    "Send either records or rows, not both",
                )
            if record.keys() != expected:
                _refuse_names(f"features[{index}]", list(record), names)
            rows.append([record[name] for name in names])
        return rows

    def _rows_from_rows(self, rows: list[Any], columns: Any) -> list[list[Any]]:
        order = None if columns is None else self._order_of(columns)
        width = len(self.features)
        for index, row in enumerate(rows):
            if not isinstance(row, list):
                remedy = (
                    "Send a list of rows, each a list of values, even for a single row"
                    if index == 0
                    else "Send either records or rows, not both"
                )
                raise InvalidRowError(
                    f"features[{index}]", f"is {_json_name(row)} where a row was expected", remedy
                )
            if len(row) != width:
                names = ", ".join(self.names)
                raise InvalidRowError(
                    f"features[{index}]",
                    f"has {len(row)} values, and the model takes {width}",
                    f"In this order: {names}",
                )
        return rows if order is None else [[row[position] for position in order] for row in rows]

    def _order_of(self, columns: Any) -> list[int]:
        names = self.names
        if not isinstance(columns, list) or not all(isinstance(name, str) for name in columns):
            raise InvalidRowError(
                "columns", "is not a list of names", f"The model's columns are: {', '.join(names)}"
            )
        if len(set(columns)) != len(columns):
            twice = next(name for name in columns if columns.count(name) > 1)
            raise InvalidRowError("columns", f"names {twice!r} twice", "Name each column once")
        if set(columns) != set(names):
            _refuse_names("columns", columns, names)
        return [columns.index(name) for name in names]

    def to_container(self, rows: Sequence[Sequence[Any]]) -> Any:
        """Build what the model is called with.

        Args:
            rows: checked rows, as `parse` returns them.

        Returns:
            A DataFrame with the dtypes of the training data, or an array or sparse matrix of shape (rows, features) and *array_dtype*.
        """
        if self.container != "dataframe":
            array = np.array(rows, dtype=self.array_dtype)  # None becomes NaN
            if self.container == "ndarray":
                return array
            from scipy.sparse import csr_matrix  # noqa: PLC0415 - only for models that take one

            return csr_matrix(array)
        import pandas as pd  # noqa: PLC0415 - a worker whose model takes arrays never loads pandas

        return pd.DataFrame(
            {
                feature.name: _series(feature, [row[position] for row in rows])
                for position, feature in enumerate(self.features)
            },
            columns=self.names,
        )


def _series(feature: Feature, values: list[Any]) -> pd.Series[Any]:
    import pandas as pd  # noqa: PLC0415

    has_missing = any(value is None for value in values)
    if feature.dtype == "category":
        return pd.Series(pd.Categorical(values, categories=list(feature.categories or ())))
    if feature.dtype == "object":
        marker = None if feature.missing == "none" else math.nan
        column = np.empty(len(values), dtype=object)
        column[:] = [marker if value is None else value for value in values]
        return pd.Series(column, dtype=object)
    if has_missing and feature.dtype.startswith(("int", "uint", "bool")) and feature.dtype != "boolean":
        # numpy has no missing value among integers and booleans: pandas would make the column float, too
        return pd.Series([math.nan if value is None else value for value in values], dtype="float64")
    return pd.Series(values, dtype=feature.dtype)


def _check_column(rows: list[list[Any]], position: int, feature: Feature) -> None:
    """Check one column's values, and replace NaN by None, in place."""
    allowed = ALLOWED_TYPES[feature.kind]
    for index, row in enumerate(rows):
        value = row[position]
        where = f"features[{index}].{feature.name}"
        if value is None or (type(value) is float and math.isnan(value)):
            if not feature.accepts_missing:
                raise InvalidRowError(
                    where,
                    "is missing, and the model gives no answer without it",
                    f"Send {KIND_NAMES[feature.kind]}",
                )
            row[position] = None
        elif type(value) not in allowed:
            raise InvalidRowError(where, f"is {_json_name(value)}", f"Send {KIND_NAMES[feature.kind]}")
        elif feature.kind in {"number", "integer"}:
            row[position] = _checked_number(value, where, feature)
        if (
            feature.categories is not None
            and row[position] is not None
            and row[position] not in feature.categories
        ):
            vocabulary = ", ".join(map(str, feature.categories[:20]))
            raise InvalidRowError(
                where, f"is {value!r}, which the model was never shown", f"Its categories are: {vocabulary}"
            )
        if (
            feature.vocabulary is not None
            and (known := _known_spelling(row[position], feature.vocabulary)) is not None
        ):
            raise InvalidRowError(
                where, f"is {value!r}, and the model was trained on {known!r}", f"Send {known!r}"
            )


def _refuse_loss(rows: list[list[Any]], position: int, feature: Feature) -> None:
    """Refuse whole numbers beyond what a float holds beside a missing value: numpy's integers have none, and the column becomes float."""
    if (
        feature.kind != "integer"
        or not feature.dtype.startswith(("int", "uint"))
        or all(row[position] is not None for row in rows)
    ):
        return
    for index, row in enumerate(rows):
        if row[position] is not None and abs(row[position]) > BEYOND_A_FLOAT:
            where = f"features[{index}].{feature.name}"
            raise InvalidRowError(
                where,
                "is beyond what a float holds, and missing in another row",
                "Send such rows in requests of their own",
            )


def _known_spelling(value: Any, vocabulary: tuple[str, ...]) -> str | None:
    """Return the value of the vocabulary that was meant, if this one differs from it by case or blanks only."""
    if value is None or value in vocabulary:
        return None
    return _folded(vocabulary).get(_fold(value))


@lru_cache(maxsize=1024)
def _folded(vocabulary: tuple[str, ...]) -> dict[str, str]:
    return {_fold(known): known for known in vocabulary}


def _fold(text: str) -> str:
    return " ".join(text.split()).casefold()


def _checked_number(value: float, where: str, feature: Feature) -> float | int:
    if feature.kind == "number":
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if math.isinf(number) or (feature.dtype == "float32" and abs(number) > np.finfo(np.float32).max):
            raise InvalidRowError(where, "is not finite as a floating-point number", "Send a finite number")
        return number
    if math.isinf(value) or value != int(value):
        raise InvalidRowError(
            where, f"is {value!r}, and the model was trained on whole numbers", "Send a whole number"
        )
    limits = np.iinfo(feature.dtype.lower() if feature.dtype.lower().startswith(("int", "uint")) else "int64")
    if not limits.min <= value <= limits.max:
        raise InvalidRowError(
            where, f"does not fit {feature.dtype}", f"Send a whole number from {limits.min} to {limits.max}"
        )
    return int(value)


def _refuse_names(where: str, given: list[str], expected: list[str]) -> None:
    unknown = [name for name in given if name not in expected]
    missing = [name for name in expected if name not in given]
    parts = []
    if missing:
        parts.append(f"lacks {', '.join(map(repr, missing))}")
    if unknown:
        parts.append(f"has unknown {', '.join(map(repr, unknown))}")
    field = f"{where}.{(missing or unknown)[0]}"
    raise InvalidRowError(
        field, f"the set of names {' and '.join(parts)}", f"The model takes: {', '.join(expected)}"
    )


def _json_name(value: Any) -> str:
    name = JSON_NAMES.get(type(value), type(value).__name__)
    return f"text ({value[:40]!r})" if isinstance(value, str) else name
