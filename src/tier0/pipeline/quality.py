"""Step 2: quality of the data, and the check of the study's rules for it."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import UTC, date, datetime
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np

from tier0.core.errors import MissingDependencyError
from tier0.core.near_names import did_you_mean
from tier0.pipeline.profile import option_for
from tier0.pipeline.study import ColumnRule, DataRules, StudyError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pandas as pd

    from tier0.pipeline.data import Dataset

MAX_NAMED = 3
"""Limit of invalid values named in a message."""
MAX_TEXT_LENGTH = 300
MAX_DAYS_AHEAD = 1
"""Days by which a row may be newer than today: dates may come from a time zone ahead of UTC."""
FEW_ROWS = 100
"""Number of rows below which a note says that they are few."""
MUCH_MISSING = 0.5
"""Share of missing values of a column from which there is a note, unless the study has a rule."""
MANY_DUPLICATES = 0.1
"""Share of duplicate rows from which there is a note, unless the study has a rule."""
IDENTIFIER_DTYPES = {"object", "str", "string", "int64", "int32"}


@dataclass(frozen=True)
class ColumnQuality:
    """Summary of a column.

    Attributes:
        name: name of the column.
        dtype: the column's dtype in pandas.
        missing: share of rows without a value, from 0 to 1.
        distinct: number of different values.
        least: the smallest number; None if the values are not numbers.
        most: the largest number; None if the values are not numbers.
    """

    name: str
    dtype: str
    missing: float
    distinct: int
    least: float | None
    most: float | None


@dataclass(frozen=True)
class Quality:
    """Summary of the data, and the rules that it violates.

    Attributes:
        rows: number of rows.
        duplicates: share of rows that are equal to an earlier one, including the target.
        columns: summary of each column, the target last.
        age_days: age of the newest row in days; None if the data has no dates.
        problems: one sentence for each violated rule; empty if the data can be used.
        notes: sentences about how columns were read and unusual columns, which do not fail the step.
    """

    rows: int
    duplicates: float
    columns: tuple[ColumnQuality, ...]
    age_days: int | None
    problems: tuple[str, ...]
    notes: tuple[str, ...]


def assess(dataset: Dataset, rules: DataRules) -> Quality:
    """Summarise every column, and check the rules.

    Raises:
        StudyError: a rule's column does not exist, a rule needs dates and there are none, or the pandera
            schema cannot be imported.
        MissingDependencyError: pandera is not installed.
    """
    frame = dataset.frame()
    for name in rules.columns:
        if name not in frame.columns:
            raise StudyError(
                f"data.columns.{name}: no such column{did_you_mean(name, frame.columns)}. Available columns: "
                f"{', '.join(frame.columns)}"
            )
    columns = tuple(_summarise(frame[name]) for name in frame.columns)
    duplicates = float(frame.duplicated().mean())
    age = _age_days(dataset)
    problems = [problem for column in columns for problem in _problems(frame[column.name], column, rules)]
    if rules.most_duplicates is not None and duplicates > rules.most_duplicates:
        limit = f"{rules.most_duplicates:.0%}"
        problems.append(
            f"{duplicates:.0%} of the rows are duplicates, but most_duplicates is {limit} (in [data] of "
            "the study): raise it, or remove the duplicates"
        )
    if rules.newest_within_days is not None:
        if age is None:
            raise StudyError("data.newest_within_days needs a column of dates: pass its name as --date")
        if age > rules.newest_within_days:
            problems.append(
                f"the newest row is {age} days old, but newest_within_days is {rules.newest_within_days} "
                "(in [data] of the study): raise it, or provide newer rows"
            )
        if age < -MAX_DAYS_AHEAD:
            problems.append(
                f"the newest row is {-age} days in the future, but newest_within_days is set (in [data] of "
                "the study): correct the dates, or remove the rule"
            )
    if rules.pandera is not None:
        problems += _pandera_problems(frame, rules.pandera)
    described = {
        column.name for column in dataset.profile if column.kind in {"text", "category", "misspelled", "time"}
    }
    notes = [
        *dataset.notes,
        *_notes_without_rules(len(frame), columns, duplicates, rules),
        *(
            f"{column.name!r} has the same value in every row"
            for column in columns
            if column.distinct == 1 and not column.missing
        ),
        *(
            f"{column.name!r} has a different value in every row, as an identifier has"
            for column in columns[:-1]
            if column.distinct == len(frame)
            and column.dtype in IDENTIFIER_DTYPES
            and column.name not in described
        ),
    ]
    return Quality(len(frame), duplicates, columns, age, tuple(problems), tuple(notes))


def _notes_without_rules(
    rows: int, columns: Sequence[ColumnQuality], duplicates: float, rules: DataRules
) -> Iterator[str]:
    """Return notes about what a study may forbid, but does not."""
    if rows < FEW_ROWS:
        yield (
            f"{rows} rows are few: the metrics vary much between samples (minimum_rows in [scope] of the "
            "study sets a minimum)"
        )
    for column in columns:
        rule = rules.columns.get(column.name, ColumnRule())
        if column.missing > MUCH_MISSING and rules.most_missing is rule.most_missing is None:
            yield (
                f"{column.name!r} is missing in {column.missing:.0%} of the rows (most_missing in [data] of "
                "the study sets a maximum)"
            )
    if duplicates > MANY_DUPLICATES and rules.most_duplicates is None:
        yield (
            f"{duplicates:.0%} of the rows are equal to another row (most_duplicates in [data] of the study "
            "sets a maximum)"
        )


def _age_days(dataset: Dataset) -> int | None:
    if dataset.dates is None:
        return None
    newest: date = dataset.dates.max().astype("datetime64[D]").astype(object)
    return (datetime.now(UTC).date() - newest).days


def _summarise(column: pd.Series[Any]) -> ColumnQuality:
    is_number = getattr(column.dtype, "kind", "O") in "fiub"
    values = column.dropna()
    bounds = (float(values.min()), float(values.max())) if is_number and len(values) else (None, None)
    return ColumnQuality(
        str(column.name), str(column.dtype), float(column.isna().mean()), int(values.nunique()), *bounds
    )


def _problems(column: pd.Series[Any], summary: ColumnQuality, rules: DataRules) -> list[str]:
    rule = rules.columns.get(summary.name, ColumnRule())
    name, place = repr(summary.name), f"(in [data.columns.{_key(summary.name)}] of the study)"
    problems = []
    most_missing = rules.most_missing if rule.most_missing is None else rule.most_missing
    if most_missing is not None and summary.missing > most_missing:
        where = "(in [data] of the study)" if rule.most_missing is None else place
        problems.append(
            f"{name} is missing in {summary.missing:.0%} of the rows, but most_missing is {most_missing:.0%} "
            f"{where}: raise it, or leave the column out ({option_for('drop', [summary.name])})"
        )
    values = column.dropna()
    is_number = summary.least is not None or not len(values)
    remedy = f"{place}: correct the values, or the rule"
    if rule.kind in {"number", "whole"} and not is_number:
        problems.append(
            f"{name} has the dtype {summary.dtype}, with values such as {_some(values)}, but kind is "
            f"{rule.kind!r} {remedy}"
        )
    elif rule.kind in {"whole", "category"} and is_number:
        fractions = values[values != np.floor(values.to_numpy(dtype=float))]
        if fractions.size:
            problems.append(
                f"{name} contains fractions, such as {_some(fractions)}, but kind is {rule.kind!r} {remedy}"
            )
    if (rule.least is not None or rule.most is not None) and not is_number:
        problems.append(
            f"{name} has the dtype {summary.dtype}, with values such as {_some(values)}, but least or most, "
            f"which need numbers, is set {remedy}"
        )
    elif rule.least is not None and summary.least is not None and summary.least < rule.least:
        problems.append(f"the minimum of {name} is {summary.least:g}, but least is {rule.least:g} {remedy}")
    if is_number and rule.most is not None and summary.most is not None and summary.most > rule.most:
        problems.append(f"the maximum of {name} is {summary.most:g}, but most is {rule.most:g} {remedy}")
    if rule.allowed is not None and (others := values[~values.isin(list(rule.allowed))]).size:
        problems.append(
            f"{name} has values that are not allowed in {len(others)} rows: {_some(others)} {place}: "
            "correct the values, or add them to allowed"
        )
    return problems


def _key(name: str) -> str:
    """Return a name as a key of TOML."""
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else json.dumps(name, ensure_ascii=False)


def _some(values: pd.Series[Any]) -> str:
    """List the first `MAX_NAMED` different values."""
    found = values.unique().tolist()
    return ", ".join(repr(value) for value in found[:MAX_NAMED]) + (" …" if len(found) > MAX_NAMED else "")


def _pandera_problems(frame: pd.DataFrame, name: str) -> list[str]:
    try:
        from pandera.errors import SchemaErrors  # noqa: PLC0415 - an optional package
    except ModuleNotFoundError:
        raise MissingDependencyError(
            f"data.pandera = {name!r} needs the package pandera, which is not installed: pip install "
            "pandera, or remove the field"
        ) from None
    module, _, attribute = name.partition(":")
    try:
        schema = getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as problem:
        raise StudyError(f"data.pandera = {name!r} cannot be imported: {problem}") from problem
    try:
        schema.validate(frame, lazy=True)
    except SchemaErrors as problem:
        cases = problem.failure_cases.fillna({"column": "the table"})
        return [
            f"the pandera schema {name} failed: {check} failed for {column} in {len(values)} cases, such as "
            f"{str(values.iloc[0])[:MAX_TEXT_LENGTH]!r}"
            for (column, check), values in cases.groupby(["column", "check"], sort=False)["failure_case"]
        ]
    return []
