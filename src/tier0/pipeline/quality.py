"""Step 2: what the data is like, and whether it may be trained on."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np

from tier0.core.errors import MissingDependencyError
from tier0.pipeline.study import ColumnRule, DataRules, StudyError

if TYPE_CHECKING:
    import pandas as pd

    from tier0.pipeline.data import Dataset

MAX_NAMED = 3
"""Values that do not belong, in a message."""
MAX_TEXT_LENGTH = 300
MIN_SHIFT_YEARS = 1
"""Days by which a row may be newer than today: where it was written, tomorrow may have begun."""


@dataclass(frozen=True)
class ColumnQuality:
    """What one column is like.

    Attributes:
        name: of the column.
        dtype: as pandas has it.
        missing: share of the rows, from 0 to 1.
        distinct: how many different values.
        least: the smallest number; None where they are none.
        most: the greatest.
    """

    name: str
    dtype: str
    missing: float
    distinct: int
    least: float | None
    most: float | None


@dataclass(frozen=True)
class Quality:
    """What the data is like.

    Attributes:
        rows: how many.
        duplicates: share of the rows that are the same as an earlier one, target included.
        columns: one entry each, the target last.
        age_days: of the newest row, where the data has dates.
        problems: why it must not be trained on, in sentences; empty if it may.
        notes: what is odd, and does not stop anything.
    """

    rows: int
    duplicates: float
    columns: tuple[ColumnQuality, ...]
    age_days: int | None
    problems: tuple[str, ...]
    notes: tuple[str, ...]


def assess(dataset: Dataset, rules: DataRules) -> Quality:
    """Look at every column, and hold it against the rules.

    Raises:
        StudyError: a rule is about a column that there is not, or asks for dates where there are none; the pandera schema cannot be used.
        MissingDependencyError: pandera is not installed.
    """
    frame = dataset.frame()
    for name in rules.columns:
        if name not in frame.columns:
            raise StudyError(f"data.columns.{name} is about no column. There are: {', '.join(frame.columns)}")
    columns = tuple(_look_at(frame[name]) for name in frame.columns)
    duplicates = float(frame.duplicated().mean())
    age = (
        None
        if dataset.dates is None
        else (datetime.now(UTC).date() - dataset.dates.max().astype("datetime64[D]").astype(object)).days
    )
    problems = [problem for one in columns for problem in _problems(frame[one.name], one, rules)]
    if duplicates > rules.most_duplicates:
        problems.append(
            f"{duplicates:.0%} of the rows are the same as another one, and most_duplicates is {rules.most_duplicates:.0%}"
        )
    if rules.newest_within_days is not None:
        if age is None:
            raise StudyError(
                "data.newest_within_days asks how old the rows are, and no column says that: name it with --date"
            )
        if age > rules.newest_within_days:
            problems.append(
                f"the newest row is {age} days old, and newest_within_days is {rules.newest_within_days}"
            )
        if age < -MIN_SHIFT_YEARS:
            problems.append(
                f"the newest row is of {-age} days from now, and newest_within_days asks how old it is"
            )
    if rules.pandera is not None:
        problems += _hold_against_pandera(frame, rules.pandera)
    notes = [
        f"{one.name!r} is the same in every row" for one in columns if one.distinct == 1 and not one.missing
    ]
    notes += [
        f"{one.name!r} is different in every row, as ids are"
        for one in columns[:-1]
        if one.distinct == len(frame) and one.dtype in IDS
    ]
    return Quality(len(frame), duplicates, columns, age, tuple(problems), tuple(notes))


IDS = {"object", "str", "string", "int64", "int32"}


def _look_at(column: pd.Series[Any]) -> ColumnQuality:
    is_number = getattr(column.dtype, "kind", "O") in "fiub"
    values = column.dropna()
    bounds = (float(values.min()), float(values.max())) if is_number and len(values) else (None, None)
    return ColumnQuality(
        str(column.name), str(column.dtype), float(column.isna().mean()), int(values.nunique()), *bounds
    )


def _problems(column: pd.Series[Any], seen: ColumnQuality, rules: DataRules) -> list[str]:
    rule = rules.columns.get(seen.name, ColumnRule())
    problems = []
    most_missing = rules.most_missing if rule.most_missing is None else rule.most_missing
    if seen.missing > most_missing:
        problems.append(
            f"{seen.name!r} is missing in {seen.missing:.0%} of the rows, and most_missing is {most_missing:.0%}"
        )
    values = column.dropna()
    is_number = seen.least is not None or not len(values)
    if rule.kind in {"number", "whole"} and not is_number:
        problems.append(f"{seen.name!r} is {seen.dtype}, and a {rule.kind} is asked for")
    elif (
        rule.kind in {"whole", "category"}
        and is_number
        and (broken := values[values != np.floor(values.to_numpy(dtype=float))]).size
    ):
        problems.append(
            f"{seen.name!r} has numbers that are not whole, such as {_some(broken)}, and kind is {rule.kind!r}"
        )
    if (rule.least is not None or rule.most is not None) and not is_number:
        problems.append(f"{seen.name!r} is {seen.dtype}, and least or most is asked of it")
    elif rule.least is not None and seen.least is not None and seen.least < rule.least:
        problems.append(f"{seen.name!r} goes down to {seen.least:g}, and least is {rule.least:g}")
    if is_number and rule.most is not None and seen.most is not None and seen.most > rule.most:
        problems.append(f"{seen.name!r} goes up to {seen.most:g}, and most is {rule.most:g}")
    if rule.allowed is not None and (strange := values[~values.isin(list(rule.allowed))]).size:
        problems.append(
            f"{seen.name!r} has values that are not allowed, in {len(strange)} rows: {_some(strange)}"
        )
    return problems


def _some(values: pd.Series[Any]) -> str:
    found = values.unique().tolist()
    return ", ".join(repr(value) for value in found[:MAX_NAMED]) + (" …" if len(found) > MAX_NAMED else "")


def _hold_against_pandera(frame: pd.DataFrame, name: str) -> list[str]:
    try:
        from pandera.errors import SchemaErrors  # noqa: PLC0415 - only for who uses it
    except ModuleNotFoundError:
        raise MissingDependencyError(
            f"data.pandera = {name!r} needs pandera: pip install pandera, or leave it out"
        ) from None
    module, _, attribute = name.partition(":")
    try:
        schema = getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as problem:
        raise StudyError(f"data.pandera = {name!r} cannot be imported: {problem}") from problem
    try:
        schema.validate(frame, lazy=True)
    except SchemaErrors as problem:
        failed = problem.failure_cases.fillna({"column": "the whole table"}).groupby(
            ["column", "check"], sort=False
        )["failure_case"]
        return [
            f"the pandera schema {name} does not hold: {check} fails for {column}, {len(values)} times, such as {str(values.iloc[0])[:MAX_TEXT_LENGTH]!r}"
            for (column, check), values in failed
        ]
    return []
