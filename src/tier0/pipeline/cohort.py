"""Step 3: selection of the cohort, with the number of rows that each criterion removed."""

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
    """Effect of one criterion.

    Attributes:
        criterion: description of the criterion.
        before: number of rows before it was applied.
        removed: number of rows that it removed.
    """

    criterion: str
    before: int
    removed: int

    @property
    def left(self) -> int:
        """Number of rows that meet this criterion and all before it."""
        return self.before - self.removed


@dataclass(frozen=True)
class Cohort:
    """The selected rows.

    Attributes:
        dataset: the rows that meet all criteria, in their original order.
        attrition: the effect of each criterion, in the order of application.
        classes: label to number of rows; empty for a regression.
        problems: sentences about why the cohort is too small; empty if it is large enough.
    """

    dataset: Dataset
    attrition: tuple[Attrition, ...]
    classes: dict[str, int]
    problems: tuple[str, ...]


def choose_cohort(dataset: Dataset, criteria: tuple[Criterion, ...], scope: Scope) -> Cohort:
    """Apply the criteria, one after the other.

    Raises:
        StudyError: a criterion's column does not exist, or a criterion compares text with a number.
    """
    frame = dataset.frame()
    for criterion in criteria:
        if criterion.column not in frame.columns:
            raise StudyError(
                f"cohort: column {criterion.column!r} of the criterion {str(criterion)!r} not found. "
                f"Available columns: {', '.join(frame.columns)}"
            )
    stays = np.ones(len(dataset), dtype=bool)
    attrition = []
    for criterion in criteria:
        before = int(stays.sum())
        stays &= _meets(frame[criterion.column], criterion)
        attrition.append(Attrition(str(criterion), before, before - int(stays.sum())))
    chosen = dataset if stays.all() else dataset.subset(np.flatnonzero(stays))
    classes = _count(chosen) if dataset.task == "classification" else {}
    return Cohort(chosen, tuple(attrition), classes, tuple(_size_problems(chosen, dataset, classes, scope)))


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
            f"cohort: the criterion {str(criterion)!r} cannot be applied to {criterion.column!r}, whose "
            f"values are {column.dtype}: {problem}"
        ) from problem
    met = met.to_numpy(dtype=bool, na_value=False)
    return np.where(missing, criterion.where_missing == "keep", met)


def _size_problems(chosen: Dataset, original: Dataset, classes: dict[str, int], scope: Scope) -> list[str]:
    problems = []
    if len(chosen) < scope.minimum_rows:
        problems.append(
            f"{len(chosen)} of {len(original)} rows are left, fewer than the study's minimum_rows = "
            f"{scope.minimum_rows}"
        )
    if original.task == "classification":
        counts = {label: classes.get(label, 0) for label in sorted(_count(original))}
        rare = min(counts, key=lambda label: counts[label])
        minimum = scope.minimum_of_each_class
        if counts[rare] < minimum:
            problems.append(
                f"class {rare!r} has {counts[rare]} rows left, fewer than the study's "
                f"minimum_of_each_class = {minimum}"
            )
    return problems


def make_rarer(dataset: Dataset, share: float, seed: int) -> Dataset:
    """Return the data with fewer rows of its rarest class.

    Args:
        dataset: data of a classification with two classes.
        share: share of the rows that belong to that class afterwards.
        seed: seed of the draw of its rows.

    Raises:
        StudyError: the data does not have two classes, or the class is rarer already.
    """
    labels, counts = np.unique(dataset.target, return_counts=True)
    if dataset.task == "regression":
        raise StudyError(
            f"--imbalanced {share:g} needs two classes, but {dataset.name} is a regression: omit it"
        )
    if len(labels) != 2:
        raise StudyError(
            f"--imbalanced {share:g} needs two classes, but {dataset.name} has {len(labels)}: omit it"
        )
    rare = labels[counts.argmin()]
    others = int(counts.max())
    wanted = round(share / (1 - share) * others)
    if wanted > counts.min():
        raise StudyError(
            f"--imbalanced {share:g} needs {wanted} rows of class {rare!r}, but there are {counts.min()}: "
            f"pass a share below {counts.min() / len(dataset):.2g}"
        )
    rare_rows = np.flatnonzero(dataset.target == rare)
    kept = np.random.default_rng(seed).choice(rare_rows, size=wanted, replace=False)
    rows = np.sort(np.concatenate([np.flatnonzero(dataset.target != rare), kept]))
    return replace(dataset.subset(rows), name=dataset.name)
