"""Preprocessing of the features by their kinds, as the first steps of a model's pipeline.

The steps are saved with the model, so a service prepares a request exactly as the training did: a date is the
text of the request, and a text that was read as missing is missing in a request, too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from packaging.version import Version
from sklearn import __version__ as sklearn_version
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.compose import ColumnTransformer
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.model_selection import KFold, StratifiedKFold
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    OneHotEncoder,
    OrdinalEncoder,
    StandardScaler,
    TargetEncoder,
)

from tier0.pipeline.columns import texts_to_missing
from tier0.pipeline.written_dates import EPOCHS, SPELLINGS, epoch_of, read_dates, spelling_of
from tier0.pipeline.written_times import read_hours

if TYPE_CHECKING:
    from tier0.pipeline.data import Dataset

MAX_CATEGORIES = 50
"""Number of different values up to which each category becomes a column of its own."""
RARE = 3
"""Number of rows below which categories share a column."""
MAX_NATIVE_CATEGORIES = 254
"""Number of categories of one column that HistGradientBoosting takes as they are."""
TARGET_FOLDS = 5
MAX_WORDS = 5000
"""Limit of the vocabulary of one column of text."""
TEXT_DIMENSIONS = 50
"""Numbers that stand for one column of text in a model that needs dense features."""
PARTS_DIMENSIONS = 30
"""Numbers that stand for the parts of words of one column of misspelled categories."""
TIME_PARTS = ("hour", "sine", "cosine")
DATE_PARTS = ("year", "month", "day", "weekday", "hour", "elapsed_days")
MAX_SECONDS = 1e11
"""Limit of the seconds since 1970 of a date."""
SPELLING_VALUES = 10_000
"""Number of different dates from which their spelling is found."""


@dataclass(frozen=True)
class Needs:
    """What an estimator requires of its features.

    Attributes:
        impute: numbers instead of missing values.
        scale: numbers with mean 0 and standard deviation 1.
        dense: no sparse matrix.
        native: codes of categories, which it splits by itself, in the first columns.
    """

    impute: bool = False
    scale: bool = False
    dense: bool = True
    native: bool = False


@dataclass(frozen=True)
class Columns:
    """Names of a table's features by what becomes of them."""

    numbers: tuple[str, ...]
    booleans: tuple[str, ...]
    categories: tuple[str, ...]
    many_categories: tuple[str, ...]
    misspelled: tuple[str, ...]
    texts: tuple[str, ...]
    dates: tuple[str, ...]
    times: tuple[str, ...]


def columns_of(dataset: Dataset, most_categories: int = MAX_CATEGORIES) -> Columns:
    """Sort the features of a table by the kinds that were found when it was read.

    Args:
        dataset: the data, with a DataFrame of features.
        most_categories: number of different values up to which a column has few categories.
    """
    found: dict[str, list[str]] = {name: [] for name in Columns.__dataclass_fields__}
    for name, column in dataset.features.items():
        kind, storage = dataset.kinds.get(name), getattr(column.dtype, "kind", "O")
        if kind in {"text", "date", "time"}:
            found[f"{kind}s"].append(name)
            continue
        if kind == "misspelled":
            found["misspelled"].append(name)
        if storage in "fiu" and kind != "category":
            found["numbers"].append(name)
        elif storage == "b" or _has_only_booleans(column):
            found["booleans"].append(name)
        elif dataset.different[name] > most_categories:
            found["many_categories"].append(name)
        else:
            found["categories"].append(name)
    return Columns(**{name: tuple(names) for name, names in found.items()})


def _has_only_booleans(column: pd.Series[Any]) -> bool:
    return bool(pd.api.types.infer_dtype(column, skipna=True) == "boolean")


def pipeline_of(dataset: Dataset, estimator: Any, needs: Needs, seed: int) -> Any:
    """Return an unfitted pipeline of preprocessing and *estimator*.

    Args:
        dataset: the data, whose features and kinds decide the preprocessing.
        estimator: the unfitted estimator.
        needs: what the estimator requires.
        seed: seed of the folds in which categories are encoded, and of the dimensions of text.
    """
    if not hasattr(dataset.features, "columns"):
        return Pipeline([*_number_steps(needs), ("model", estimator)])
    columns = columns_of(dataset, MAX_NATIVE_CATEGORIES if needs.native else MAX_CATEGORIES)
    if needs.native and columns.categories:
        estimator.set_params(categorical_features=list(range(len(columns.categories))))
    numbers = Pipeline(_number_steps(needs)) if _number_steps(needs) else "passthrough"
    if needs.native and dataset.features[list(columns.numbers)].isna().to_numpy().any():
        numbers = EmptyColumnsAsZero()
    steps: dict[str, Any] = {
        "categories": _category_encoder(needs),
        "numbers": numbers,
        "booleans": _then(FunctionTransformer(to_floats, feature_names_out="one-to-one"), needs),
        "many_categories": _then(_target_encoder(dataset, seed), needs),
        "dates": _then(DateFeatures(), needs),
        "times": _then(TimeFeatures(), needs),
    }
    chosen = [
        (group, _with_missing(dataset, names, step), list(names))
        for group, step in steps.items()
        if (names := getattr(columns, group))
    ]
    for group, parts_of_words in (("texts", False), ("misspelled", True)):
        for number, name in enumerate(getattr(columns, group)):
            words = TextFeatures(dense=needs.dense, parts_of_words=parts_of_words, seed=seed)
            chosen.append((f"{group}_{number}", _with_missing(dataset, (name,), words), [name]))
    return Pipeline([("columns", ColumnTransformer(chosen)), ("model", estimator)])


def _number_steps(needs: Needs) -> list[tuple[str, Any]]:
    return [
        *([("impute", SimpleImputer(strategy="median", keep_empty_features=True))] if needs.impute else []),
        *([("scale", StandardScaler())] if needs.scale else []),
    ]


def _then(encode: Any, needs: Needs) -> Any:
    """Return *encode*, followed by the steps of numbers."""
    steps = _number_steps(needs)
    return Pipeline([("encode", encode), *steps]) if steps else encode


def _with_missing(dataset: Dataset, names: tuple[str, ...], step: Any) -> Any:
    """Return *step* after one that takes the texts that were read as missing from the file for missing."""
    texts = {name: tuple(dataset.missing_texts[name]) for name in names if name in dataset.missing_texts}
    if not texts:
        return step
    arguments = {"texts": texts}
    to_missing = FunctionTransformer(texts_to_missing, kw_args=arguments, feature_names_out="one-to-one")
    return Pipeline([("missing", to_missing), ("encode", step)])


def _category_encoder(needs: Needs) -> Any:
    if needs.native:
        return OrdinalEncoder(
            handle_unknown="use_encoded_value", unknown_value=np.nan, encoded_missing_value=np.nan
        )
    return OneHotEncoder(handle_unknown="infrequent_if_exist", min_frequency=RARE, sparse_output=False)


def _target_encoder(dataset: Dataset, seed: int) -> Any:
    """Return an encoder of categories by the mean of the target, which is not told a row's own target."""
    if dataset.task == "regression":
        splitter: Any = KFold(TARGET_FOLDS, shuffle=True, random_state=seed)
        target_type = "continuous"
    else:
        splitter = StratifiedKFold(TARGET_FOLDS, shuffle=True, random_state=seed)
        target_type = "binary" if len(dataset.classes.labels) == 2 else "multiclass"
    if Version(sklearn_version) < Version("1.9"):  # it has no splitter, but a seed of its own
        return TargetEncoder(target_type=target_type, cv=TARGET_FOLDS, random_state=seed)
    return TargetEncoder(target_type=target_type, cv=splitter)


class EmptyColumnsAsZero(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Numbers as they are, but 0 in a column that has no number in the rows of the fit.

    scikit-learn 1.9 cannot fit HistGradientBoosting on such a column, which a fold may have.
    """

    def fit(self, X: pd.DataFrame, y: Any = None) -> EmptyColumnsAsZero:  # noqa: N803, ARG002
        """Find the columns without a number, of a table of numbers."""
        self.feature_names_in_ = np.asarray(X.columns, dtype=object)
        self.empty_ = X.isna().to_numpy().all(axis=0)
        return self

    def transform(self, X: pd.DataFrame) -> np.ndarray[Any, Any]:  # noqa: N803
        """Return the numbers as float64, shape (rows, columns)."""
        return np.where(self.empty_, 0.0, X.to_numpy(dtype=float, na_value=np.nan))

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray[Any, Any]:  # noqa: ARG002
        """Return the names of the columns."""
        return self.feature_names_in_


def to_floats(rows: pd.DataFrame) -> np.ndarray[Any, Any]:
    """Return booleans as 0 and 1, and a missing value as NaN, shape (rows, columns)."""
    numbers: np.ndarray[Any, Any] = rows.astype(object).where(rows.notna(), np.nan).to_numpy().astype(float)
    return numbers


class TextFeatures(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Words of one column of text, weighted by tf-idf; a missing value is a text without words.

    Args:
        dense: whether a truncated singular value decomposition makes `TEXT_DIMENSIONS` numbers of them, or
            `PARTS_DIMENSIONS` of parts of words.
        parts_of_words: whether the features are three or four letters in a row, by which misspelled texts are
            near to the right ones, instead of words.
        seed: seed of that decomposition.
    """

    def __init__(self, *, dense: bool = False, parts_of_words: bool = False, seed: int = 7) -> None:
        self.dense = dense
        self.parts_of_words = parts_of_words
        self.seed = seed

    def fit(self, X: Any, y: Any = None) -> TextFeatures:  # noqa: N803 - scikit-learn's names
        """Learn the vocabulary: words, or parts of words if there are none, as in texts without spaces."""
        self.fit_transform(X, y)
        return self

    def fit_transform(self, X: Any, y: Any = None) -> Any:  # noqa: ARG002, N803
        """Learn the vocabulary, and return the features of the rows that it is learned from."""
        texts = _texts(X)
        self.feature_names_in_ = np.asarray(X.columns, dtype=object)
        self.n_features_in_ = 1
        lengths = [("char_wb", (3, 4))] if self.parts_of_words else [("word", (1, 1)), ("char_wb", (1, 3))]
        for analyzer, length in lengths:
            self.words_ = TfidfVectorizer(
                analyzer=analyzer, ngram_range=length, max_features=MAX_WORDS, sublinear_tf=True
            )
            try:
                weights = self.words_.fit_transform(texts)
                break
            except ValueError:  # no word in any text
                continue
        else:
            self.words_ = TfidfVectorizer(vocabulary=["no text"])
            weights = self.words_.fit_transform(texts)
        self.decomposition_ = None
        dimensions = PARTS_DIMENSIONS if self.parts_of_words else TEXT_DIMENSIONS
        size = min(dimensions, weights.shape[1] - 1, weights.shape[0] - 1)
        if not self.dense:
            return weights
        if weights.shape[1] <= dimensions or size < 1:
            return weights.toarray()
        self.decomposition_ = TruncatedSVD(size, random_state=self.seed)
        return self.decomposition_.fit_transform(weights)

    def transform(self, X: Any) -> Any:  # noqa: N803
        """Return the features of texts, shape (rows, words) or (rows, dimensions)."""
        weights = self.words_.transform(_texts(X))
        if self.decomposition_ is not None:
            return self.decomposition_.transform(weights)
        return weights.toarray() if self.dense else weights

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray[Any, Any]:  # noqa: ARG002
        """Return the column's name with a word, or with the number of a dimension."""
        parts: Any = self.words_.get_feature_names_out()
        if self.decomposition_ is not None:
            parts = range(self.decomposition_.n_components)
        return np.asarray([f"{self.feature_names_in_[0]}_{part}" for part in parts], dtype=object)


def _texts(rows: pd.DataFrame) -> list[str]:
    column = rows.iloc[:, 0].astype(object)
    return [str(text) for text in column.where(column.notna(), "")]


class DateFeatures(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Year, month, day, weekday and hour of dates, and the days since the first one of the training.

    The dates are text, or numbers such as 20260331 or seconds since 1970. A missing or unreadable date is
    missing.
    """

    def fit(self, X: pd.DataFrame, y: Any = None) -> DateFeatures:  # noqa: ARG002, N803
        """Learn the spelling and the first date of each column, and whether its dates have a time."""
        self.feature_names_in_ = np.asarray(X.columns, dtype=object)
        self.n_features_in_ = X.shape[1]
        self.spellings_: dict[str, str] = {}
        self.origins_: dict[str, pd.Timestamp] = {}
        self.parts_: dict[str, tuple[str, ...]] = {}
        for name in X.columns:
            self.spellings_[name] = _spelling_of(X[name])
            dates = _parse(X[name], self.spellings_[name])
            first = dates.min()
            self.origins_[name] = pd.Timestamp(0) if pd.isna(first) else first
            has_time = bool((dates.dropna() != dates.dropna().dt.normalize()).any())
            self.parts_[name] = tuple(part for part in DATE_PARTS if has_time or part != "hour")
        return self

    def transform(self, X: pd.DataFrame) -> np.ndarray[Any, Any]:  # noqa: N803
        """Return the parts of the dates, shape (rows, parts of all columns)."""
        return np.column_stack([part for name in self.feature_names_in_ for part in self._parts(X[name])])

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray[Any, Any]:  # noqa: ARG002
        """Return the column's name with the part's."""
        names = [f"{name}_{part}" for name in self.feature_names_in_ for part in self.parts_[name]]
        return np.asarray(names, dtype=object)

    def _parts(self, column: pd.Series[Any]) -> list[np.ndarray[Any, Any]]:
        name = str(column.name)
        dates = _parse(column, self.spellings_[name])
        days = (dates - self.origins_[name]).dt.total_seconds() / 86_400
        values = {
            "year": dates.dt.year,
            "month": dates.dt.month,
            "day": dates.dt.day,
            "weekday": dates.dt.day_of_week,
            "hour": dates.dt.hour,
            "elapsed_days": days,
        }
        return [values[part].to_numpy(dtype=float, na_value=np.nan) for part in self.parts_[name]]


class TimeFeatures(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Hours since midnight, with minutes and seconds as fractions, and their sine and cosine in a day.

    By the latter, 23:59 is near to 00:00. A missing or unreadable time is missing.
    """

    def fit(self, X: pd.DataFrame, y: Any = None) -> TimeFeatures:  # noqa: ARG002, N803
        """Learn the names of the columns."""
        self.feature_names_in_ = np.asarray(X.columns, dtype=object)
        self.n_features_in_ = X.shape[1]
        return self

    def transform(self, X: pd.DataFrame) -> np.ndarray[Any, Any]:  # noqa: N803
        """Return the parts of the times, shape (rows, 3 for each column)."""
        hours = [read_hours(X[name]) for name in self.feature_names_in_]
        angles = [2 * np.pi * one / 24 for one in hours]
        parts = ((one, np.sin(angle), np.cos(angle)) for one, angle in zip(hours, angles, strict=True))
        return np.column_stack([part for column in parts for part in column])

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray[Any, Any]:  # noqa: ARG002
        """Return the column's name with the part's."""
        names = [f"{name}_{part}" for name in self.feature_names_in_ for part in TIME_PARTS]
        return np.asarray(names, dtype=object)


def _spelling_of(column: pd.Series[Any]) -> str:
    """Return the spelling of most dates of a column, or the unit of its numbers."""
    import pyarrow as pa  # noqa: PLC0415 - a service does not need it
    import pyarrow.compute as pc  # noqa: PLC0415

    values = pd.Series(column.dropna().unique()[:SPELLING_VALUES])
    numbers = _numbers_in(values)
    if numbers.notna().all() and (unit := epoch_of(numbers.to_numpy(dtype=float))):
        return f"{unit} since 1970"
    texts = pa.array(_date_texts(values).str.strip().dropna().to_list(), pa.string())
    if found := spelling_of(texts):
        return found.name
    counts = {
        name: pc.sum(pc.match_substring_regex(texts, f"^(?:{pattern})$")).as_py() or 0
        for name, pattern in SPELLINGS.items()
    }
    return max(counts, key=lambda name: counts[name])


def _parse(column: pd.Series[Any], spelling: str) -> pd.Series[Any]:
    """Return dates in UTC; NaT for a missing or unreadable one."""
    unit = spelling.removesuffix(" since 1970")
    if unit in EPOCHS:
        numbers = pd.to_numeric(column, errors="coerce")
        values = numbers.where(numbers.abs() < MAX_SECONDS * EPOCHS[unit])
    else:
        values = _date_texts(column)
    return pd.Series(read_dates(values, spelling))


def _numbers_in(column: pd.Series[Any]) -> pd.Series[Any]:
    """Return numbers, also of texts such as those of step 2; NaN for anything else."""
    is_date = getattr(column.dtype, "kind", "O") == "M"
    return pd.Series(np.nan, index=column.index) if is_date else pd.to_numeric(column, errors="coerce")


def _date_texts(column: pd.Series[Any]) -> pd.Series[Any]:
    """Return dates as text; numbers are whole, as in 20260331."""
    if _is_numeric(column):
        column = column.where(column.abs() < MAX_SECONDS * 1000).round().astype("Int64")
    return column.astype(object).map(str, na_action="ignore").astype(object)


def _is_numeric(column: pd.Series[Any]) -> bool:
    return getattr(column.dtype, "kind", "O") in "iuf"
