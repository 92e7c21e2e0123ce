"""Columns that give the target away: the target in another form, or what is known only after it.

Every column is measured alone, on a sample of the rows. A column of numbers is sorted: if the neighbours of
nearly every row have its target, the column is nearly perfect. A category is measured by the other rows with
the same value. What is exact (a code, a copy or bins of the target) is a leak by itself; what is nearly
perfect is one only where a forest on all other columns does much worse, since some problems are easy.
"""

from __future__ import annotations

import shlex
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from threadpoolctl import threadpool_limits

from tier0.pipeline.leak_measures import (
    FEW_ROWS_OF_VALUE,
    NEARLY_PERFECT,
    RELATIONS,
    ClassTarget,
    Measured,
    NumberTarget,
    SampledColumn,
    copies_of_rows,
    pair_that_makes,
    sample_column,
)
from tier0.pipeline.leaking_words import measure_numbers, measure_words
from tier0.pipeline.profile import option_for

if TYPE_CHECKING:
    from collections.abc import Collection

    import pandas as pd

    from tier0.pipeline.data import Dataset

MIN_ROWS = 20
"""Number of rows below which any relation may be chance."""
MAX_ROWS = 5000
"""Limit of the rows on which a column is measured."""
MAX_COPY_ROWS = 50_000
"""Limit of the rows among which copies are searched."""
FOREST_ROWS = 2000
TREES = 60
MUCH_WORSE = 10
"""Factor by which all other columns are worse than a nearly perfect one that gives the target away."""
NOT_EASY = 0.02
"""Error of all other columns below which the problem is easy, as a nearly perfect column shows."""
MAX_COPIES = 0.05
"""Share of the rows that may be copies of other rows."""
MAX_PAIRED = 40
"""Limit of the columns whose sums, differences, products and ratios are compared with the target."""
MAX_NAMED = 3
"""Number of words that a reason names."""
DUPLICATES = "duplicate rows"
"""Name by which copies of rows are accepted, as a column is by its own."""


@dataclass(frozen=True)
class Leak:
    """A column that gives the target away, or rows that do.

    Attributes:
        column: name of the column, or `DUPLICATES`.
        reason: what was measured, and the rule.
        remedy: how to leave the column out, and how to accept it.
    """

    column: str
    reason: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.column!r} may give the target away: {self.reason}. {self.remedy}"


def find_leaks(dataset: Dataset, allow: Collection[str] = (), seed: int = 0) -> list[Leak]:
    """Return the columns that give the target away, in the order of the table, and duplicate rows last.

    Args:
        dataset: the data.
        allow: names of columns that a person has accepted, and `DUPLICATES`.
        seed: seed of the samples.
    """
    if len(dataset) < MIN_ROWS:
        return []
    rng = np.random.default_rng(seed)
    with threadpool_limits(limits=1), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        leaks = _leaking_columns(dataset, set(allow), rng)
        order = {name: number for number, name in enumerate(dataset.names)}
        leaks.sort(key=lambda leak: order[leak.column])
        if DUPLICATES not in allow and dataset.groups is None and dataset.dates is None:
            leaks += _copies(dataset, rng)
    return leaks


@dataclass(frozen=True)
class _Sample:
    """Different rows of the data."""

    rows: np.ndarray[Any, Any]
    target: ClassTarget | NumberTarget
    groups: np.ndarray[Any, Any] | None
    frame: pd.DataFrame


def _leaking_columns(dataset: Dataset, allow: set[str], rng: np.random.Generator) -> list[Leak]:
    names = [name for name in dataset.names if name not in allow]
    sample = _sample(dataset, _drawn_rows(dataset, MAX_ROWS, rng), rng)
    leaks, columns, nearly = [], [], []
    for name in names:
        column = sample_column(name, sample.frame[name])
        columns.append(column)
        measured = sample.target.measure(column, sample.groups)
        if measured is None:
            measured = _measure_entity(dataset, column, rng)
        if measured is None and dataset.kinds[name] == "text":
            measured = _measure_text(dataset, sample, name, rng)
        if measured is not None and measured.is_exact:
            leaks.append(_leak(dataset, name, measured))
        elif measured is not None:
            nearly.append((column, measured))
    exact = {leak.column for leak in leaks}
    others = [column for column in columns if column.name not in exact]
    if len(nearly) == 1:  # where several are nearly perfect, the problem is easy
        leaks += _much_better_than_others(dataset, sample, *nearly[0], others, rng)
    if not leaks and dataset.task == "regression":
        leaks += _leaking_pair(dataset, sample, columns)
    return leaks


def _drawn_rows(dataset: Dataset, limit: int, rng: np.random.Generator) -> np.ndarray[Any, Any]:
    """Return at most *limit* rows; if rows are left out, equally many of each class as far as it has them."""
    if len(dataset) <= limit:
        return np.arange(len(dataset))
    if dataset.task == "regression":
        return np.sort(rng.choice(len(dataset), limit, replace=False))
    classes, counts = dataset.classes.codes, dataset.classes.counts
    shuffled = rng.permutation(len(dataset))
    by_class = shuffled[np.argsort(classes[shuffled], kind="stable")]
    place = np.arange(len(dataset)) - np.repeat(np.cumsum(counts) - counts, counts)
    return np.sort(by_class[np.argsort(place, kind="stable")[:limit]])


def _sample(dataset: Dataset, rows: np.ndarray[Any, Any], rng: np.random.Generator) -> _Sample:
    frame, name = _frame(dataset, rows)
    rows = rows[~frame.duplicated().to_numpy()]
    frame = frame[~frame.duplicated().to_numpy()]
    groups = None
    if dataset.groups is not None:
        groups = np.unique(dataset.groups[rows], return_inverse=True)[1]
    kind = NumberTarget if dataset.task == "regression" else ClassTarget
    return _Sample(rows, kind(frame[name].to_numpy(), rng), groups, frame)


def _frame(dataset: Dataset, rows: np.ndarray[Any, Any]) -> tuple[pd.DataFrame, str]:
    """Return features and target of some rows, and the name of the target, which may be a feature's name."""
    import pandas as pd  # noqa: PLC0415

    features, target = dataset.take(rows)
    if hasattr(features, "columns"):
        features = features.set_axis(dataset.names, axis=1)
        texts = features.select_dtypes("object")
        features = features.assign(**texts.astype(str).where(texts.notna()))  # a value may be a list
    else:
        features = pd.DataFrame(features, columns=dataset.names)
    name = next(name for name in ("target", "target ", "target  ") if name not in dataset.names)
    return features.reset_index(drop=True).assign(**{name: target}), name


def _measure_entity(dataset: Dataset, column: SampledColumn, rng: np.random.Generator) -> Measured | None:
    """Measure a column with few rows of each value on all rows of some values, which a sample divides."""
    has_many_values = 1 < column.rows_of_value < FEW_ROWS_OF_VALUE or column.distinct == len(column.codes)
    if len(dataset) <= MAX_ROWS or not has_many_values:
        return None
    import pandas as pd  # noqa: PLC0415

    number = dataset.names.index(column.name)
    features = dataset.features
    values = features.iloc[:, number] if hasattr(features, "iloc") else pd.Series(features[:, number])
    if getattr(values.dtype, "kind", "O") == "f" and column.distinct == len(column.codes):
        return None
    codes, uniques = pd.factorize(values)
    chosen = rng.random(len(uniques) + 1) < MAX_ROWS / len(dataset)
    rows = np.flatnonzero(chosen[codes])
    if not MIN_ROWS <= len(rows) <= 4 * MAX_ROWS:
        return None
    sample = _sample(dataset, rows, rng)
    measured = sample.target.measure(sample_column(column.name, sample.frame[column.name]), sample.groups)
    return measured if measured is not None and measured.relation == "entity" else None


def _measure_text(dataset: Dataset, sample: _Sample, name: str, rng: np.random.Generator) -> Measured | None:
    texts = sample.frame[name].astype("object").fillna("").astype(str).tolist()
    target = dataset.target[sample.rows]
    if dataset.task == "regression":
        return measure_numbers(texts, target.astype(float), rng)
    return measure_words(texts, np.unique(target, return_inverse=True)[1], rng)


def _much_better_than_others(
    dataset: Dataset,
    sample: _Sample,
    column: SampledColumn,
    measured: Measured,
    columns: list[SampledColumn],
    rng: np.random.Generator,
) -> list[Leak]:
    """Return the nearly perfect *column* as a leak if all other columns together come nowhere near it."""
    rows = _drawn_rows(dataset.subset(sample.rows), FOREST_ROWS, rng)
    target = type(sample.target)(dataset.target[sample.rows[rows]], rng)
    others = [one.take(rows) for one in columns if one is not column]
    error = target.error_of_others(others, column.take(rows), TREES)
    is_leak = error >= max(NOT_EASY, MUCH_WORSE * measured.error)
    return [_leak(dataset, column.name, measured, error)] if is_leak else []


def _leak(dataset: Dataset, name: str, measured: Measured, others: float | None = None) -> Leak:
    is_of_ranks = dataset.task == "regression" and measured.relation != "number"
    unit = "of the variance of its ranks" if is_of_ranks else "of the rows"
    reason = RELATIONS[measured.relation]
    if measured.words:
        shown = ", ".join(map(repr, measured.words[:MAX_NAMED]))
        reason += f": {shown}{' …' if len(measured.words) > MAX_NAMED else ''}"
    reason += f" (it explains {1 - measured.error:.1%} {unit}"
    if others is not None:
        reason += f", and all other columns together {1 - min(others, 1.0):.1%}"
    reason += f"; from {1 - NEARLY_PERFECT:.0%} on, a column is taken for a leak)"
    return Leak(name, reason, _remedy(name, is_group=measured.relation == "entity"))


def _remedy(name: str, *, is_group: bool = False) -> str:
    """Return the ways on, as flags and as lines of the study."""
    quoted = shlex.quote(name)
    together = (
        "keep all rows of a value in either the training or the test rows, if it identifies what they are "
        f"about (--group {quoted}), "
    )
    drop, allow = option_for("drop", [name]), option_for("allow", [name])
    if drop.startswith("--"):
        drop, allow = (
            f"{drop}, or drop in [data] of the study",
            f"{allow}, or allow in [data]",
        )
    return (
        f"Leave {name!r} out ({drop}), "
        f"{together if is_group else ''}or accept it if its value is known when the target is not ({allow})"
    )


def _leaking_pair(dataset: Dataset, sample: _Sample, columns: list[SampledColumn]) -> list[Leak]:
    target = dataset.target[sample.rows].astype(float)
    found = pair_that_makes(target, columns) if len(columns) <= MAX_PAIRED else None
    if found is None:
        return []
    first, operation, second = found
    return [Leak(first, f"{first} {operation} {second} is the target in all rows", _remedy(first))]


def _copies(dataset: Dataset, rng: np.random.Generator) -> list[Leak]:
    """Return a leak if many rows are copies of others, which come into different parts."""
    rows = np.arange(len(dataset))
    if len(rows) > MAX_COPY_ROWS:
        rows = _rows_of_some_values(dataset, rng)
    frame, target = _frame(dataset, rows)
    share = copies_of_rows(frame, dataset.names, target)
    if share <= MAX_COPIES:
        return []
    reason = (
        f"{share:.0%} of the rows are copies of other rows, so that the model is tested on rows that it was "
        f"trained on (the rule is at most {MAX_COPIES:.0%})"
    )
    remedy = (
        "Remove the copies from the data, or accept them if they are different cases "
        f"(--allow {shlex.quote(DUPLICATES)}, or allow in [data] of the study)"
    )
    return [Leak(DUPLICATES, reason, remedy)]


def _rows_of_some_values(dataset: Dataset, rng: np.random.Generator) -> np.ndarray[Any, Any]:
    """Return all rows of some values of the column with the most values: copies of a row have the same."""
    import pandas as pd  # noqa: PLC0415

    frame, _ = _frame(dataset, rng.choice(len(dataset), MAX_ROWS, replace=False))
    number = int(np.argmax([frame[name].nunique() for name in dataset.names]))
    features = dataset.features
    values = features.iloc[:, number] if hasattr(features, "iloc") else pd.Series(features[:, number])
    codes, uniques = pd.factorize(values)
    chosen = rng.random(len(uniques) + 1) < MAX_COPY_ROWS / len(dataset)
    return np.flatnonzero(chosen[codes])[: 4 * MAX_COPY_ROWS]
