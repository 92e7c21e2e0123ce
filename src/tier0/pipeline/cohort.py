"""Step 3: who belongs to the cohort, and how many each criterion removed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from tier0.pipeline.study import Criterion, Scope, StudyError

if TYPE_CHECKING:
    import pandas as pd

    from tier0.pipeline.data import Dataset


@dataclass(frozen=True)
class Attrition:
    """What one criterion did.

    Attributes:
        criterion: in words.
        before: rows that it was asked about.
        removed: of them.
    """

    criterion: str
    before: int
    removed: int

    @property
    def left(self) -> int:
        """Rows that meet it, and all before it."""
        return self.before - self.removed


@dataclass(frozen=True)
class Cohort:
    """Who is left.

    Attributes:
        dataset: those rows, in their order.
        attrition: one entry a criterion, in their order.
        classes: label to number of rows, for a classification.
        problems: why it is too small, in sentences; empty if it is not.
    """

    dataset: Dataset
    attrition: tuple[Attrition, ...]
    classes: dict[str, int]
    problems: tuple[str, ...]


def choose_cohort(dataset: Dataset, criteria: tuple[Criterion, ...], scope: Scope) -> Cohort:
    """Apply the criteria, one after the other.

    Raises:
        StudyError: a criterion is about a column that there is not, or compares text with a number.
    """
    frame = dataset.frame()
    for criterion in criteria:
        if criterion.column not in frame.columns:
            raise StudyError(
                f"cohort: {str(criterion)!r} is about {criterion.column!r}, which is no column. There are: {', '.join(frame.columns)}"
            )
    stays = np.ones(len(dataset), dtype=bool)
    attrition = []
    for criterion in criteria:
        before = int(stays.sum())
        stays &= _meets(frame[criterion.column], criterion)
        attrition.append(Attrition(str(criterion), before, before - int(stays.sum())))
    chosen = dataset if stays.all() else dataset.subset(np.flatnonzero(stays))
    classes = _count(chosen) if dataset.task == "classification" else {}
    return Cohort(chosen, tuple(attrition), classes, tuple(_too_few(chosen, dataset, classes, scope)))


def _count(dataset: Dataset) -> dict[str, int]:
    labels, counts = np.unique(dataset.target.astype(str), return_counts=True)
    return {str(label): int(count) for label, count in zip(labels, counts, strict=True)}


def _meets(column: pd.Series[Any], criterion: Criterion) -> np.ndarray[Any, Any]:
    missing: np.ndarray[Any, Any] = column.isna().to_numpy()
    if criterion.present is not None:
        return ~missing if criterion.present else missing
    try:
        match criterion.condition:
            case "at_least":
                met = column >= criterion.at_least
            case "at_most":
                met = column <= criterion.at_most
            case "equals":
                met = column == criterion.equals
            case "one_of":
                met = column.isin(list(criterion.one_of or ()))
            case _:
                met = ~column.isin(list(criterion.not_one_of or ()))
    except TypeError as problem:
        raise StudyError(
            f"cohort: {str(criterion)!r} cannot be asked of {criterion.column!r}, whose values are {column.dtype}: {problem}"
        ) from problem
    met = met.to_numpy(dtype=bool, na_value=False)
    return np.where(missing, criterion.where_missing == "keep", met)


def _too_few(chosen: Dataset, everybody: Dataset, classes: dict[str, int], scope: Scope) -> list[str]:
    problems = []
    if len(chosen) < scope.minimum_rows:
        problems.append(
            f"{len(chosen)} of {len(everybody)} rows are left, and minimum_rows is {scope.minimum_rows}"
        )
    if everybody.task == "classification":
        counts = {label: classes.get(label, 0) for label in sorted(_count(everybody))}
        rare = min(counts, key=lambda label: counts[label])
        if counts[rare] < scope.minimum_of_each_class:
            problems.append(
                f"class {rare!r} has {counts[rare]} rows left, and minimum_of_each_class is {scope.minimum_of_each_class}"
            )
    return problems


def make_rarer(dataset: Dataset, share: float, seed: int) -> Dataset:
    """Return the data with so few rows of its rarest class that they are *share* of it; the rows that stay are drawn by *seed*.

    Raises:
        StudyError: it is no classification of two classes, or the class is rarer already.
    """
    labels, counts = np.unique(dataset.target, return_counts=True)
    if dataset.task != "classification" or len(labels) != 2:
        raise StudyError(
            f"imbalanced = {share:g} is for two classes, and {dataset.name} has {len(labels)} or is a regression: leave it out"
        )
    rare = labels[counts.argmin()]
    others = int(counts.max())
    wanted = round(share / (1 - share) * others)
    if wanted > counts.min():
        raise StudyError(
            f"imbalanced = {share:g} asks for {wanted} rows of class {rare!r}, and there are {counts.min()}: ask for less"
        )
    of_it = np.flatnonzero(dataset.target == rare)
    kept = np.random.default_rng(seed).choice(of_it, size=wanted, replace=False)
    return replace(
        dataset.subset(np.sort(np.concatenate([np.flatnonzero(dataset.target != rare), kept]))),
        name=dataset.name,
    )
