"""Step 3: selection of the cohort, with the number of rows that each criterion removed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from tier0.core.near_names import did_you_mean
from tier0.pipeline.data import MIN_OF_CLASS, MIN_ROWS, how_to_exclude
from tier0.pipeline.profile import option_for
from tier0.pipeline.study import Criterion, Scope, StudyError

if TYPE_CHECKING:
    import pandas as pd

    from tier0.pipeline.data import Dataset

MAX_NAMED = 3
"""Limit of the classes or values that a sentence names."""


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
        notes: sentences about criteria that may not be the intended ones.
    """

    dataset: Dataset
    attrition: tuple[Attrition, ...]
    classes: dict[str, int]
    problems: tuple[str, ...]
    notes: tuple[str, ...] = ()


def choose_cohort(dataset: Dataset, criteria: tuple[Criterion, ...], scope: Scope) -> Cohort:
    """Apply the criteria, one after the other, and leave out classes that are too rare to be split.

    Raises:
        StudyError: a criterion's column does not exist, or a criterion compares text with a number.
    """
    frame = dataset.frame()
    for criterion in criteria:
        if criterion.column not in frame.columns:
            raise StudyError(
                f"cohort: column {criterion.column!r} of the criterion {str(criterion)!r} not found"
                f"{did_you_mean(criterion.column, frame.columns)}. Available columns: "
                f"{', '.join(frame.columns)}"
            )
        _require_same_type(frame[criterion.column], criterion)
    stays = np.ones(len(dataset), dtype=bool)
    attrition, notes = [], []
    for criterion in criteria:
        before = int(stays.sum())
        stays &= _meets(frame[criterion.column], criterion)
        attrition.append(Attrition(str(criterion), before, before - int(stays.sum())))
        notes += _unknown_values(frame[criterion.column], criterion)
    chosen = dataset if stays.all() else dataset.subset(np.flatnonzero(stays))
    if len(chosen) and scope.minimum_of_each_class is None:
        chosen, rare = without_rare_classes(chosen)
        attrition += [] if rare is None else [rare]
    classes = _count(chosen) if dataset.task == "classification" else {}
    problems = tuple(_size_problems(chosen, dataset, classes, scope))
    return Cohort(chosen, tuple(attrition), classes, problems, tuple(notes))


def without_rare_classes(dataset: Dataset) -> tuple[Dataset, Attrition | None]:
    """Return the rows of classes that can be split, and which classes were left out; None without any.

    No class is left out if fewer than two would be left.
    """
    if dataset.task == "regression":
        return dataset, None
    labels, classes, counts = dataset.classes.labels, dataset.classes.codes, dataset.classes.counts
    is_rare = counts < MIN_OF_CLASS
    if not is_rare.any() or (~is_rare).sum() < 2:
        return dataset, None
    left = dataset.subset(np.flatnonzero(~is_rare[classes]))
    pairs = list(zip(labels[is_rare].tolist(), counts[is_rare].tolist(), strict=True))
    named = ", ".join(f"{label!r} ({count})" for label, count in pairs[:MAX_NAMED])
    more = f" and {len(pairs) - MAX_NAMED} more" if len(pairs) > MAX_NAMED else ""
    rule = f"classes of at least {MIN_OF_CLASS} rows, so without {named}{more}"
    return left, Attrition(rule, len(dataset), len(dataset) - len(left))


def _count(dataset: Dataset) -> dict[str, int]:
    counted = zip(dataset.classes.labels.tolist(), dataset.classes.counts.tolist(), strict=True)
    return dict(sorted((str(label), count) for label, count in counted))


def _values_of(criterion: Criterion) -> tuple[Any, ...]:
    """Return the values with which a criterion compares those of its column."""
    value = None if criterion.present is not None else getattr(criterion, criterion.condition)
    return value if isinstance(value, tuple) else () if value is None else (value,)


def _require_same_type(column: pd.Series[Any], criterion: Criterion) -> None:
    """Check that a criterion compares numbers with numbers, and text with text.

    Raises:
        StudyError: it does not, so that no value would be equal.
    """
    values = _values_of(criterion)
    is_number = getattr(column.dtype, "kind", "O") in "fiu"
    is_boolean = getattr(column.dtype, "kind", "O") == "b"
    present = column.dropna()
    examples = ", ".join(repr(value) for value in present.unique().tolist()[:MAX_NAMED])
    what = f"cohort: the criterion {str(criterion)!r} on {criterion.column!r}"
    texts = [value for value in values if isinstance(value, str)]
    if texts and (is_number or is_boolean):
        kind = "true or false" if is_boolean else "numbers"
        raise StudyError(
            f"{what} compares with the text {texts[0]!r}, but the column contains {kind}, such as {examples}"
            f": write {criterion.condition} without quotation marks"
        )
    numbers = [value for value in values if not isinstance(value, str)]
    if numbers and not (is_number or is_boolean) and all(isinstance(value, str) for value in present):
        remedy = "write its value in quotation marks"
        if criterion.condition in {"at_least", "at_most"}:
            remedy = "at_least and at_most need numbers; use one_of or not_one_of"
        raise StudyError(
            f"{what} compares with the number {numbers[0]!r}, but the column contains text, such as "
            f"{examples}: {remedy}, or read the column as numbers "
            f"({option_for('types', [criterion.column], 'number')})"
        )


def _unknown_values(column: pd.Series[Any], criterion: Criterion) -> list[str]:
    """Return a note for each value of a criterion that no row has."""
    if criterion.condition not in {"equals", "one_of", "not_one_of"}:
        return []
    present = column.dropna().unique().tolist()
    return [
        f"no row has {value!r} in {criterion.column!r}{did_you_mean(value, map(str, present))}, as the "
        f"criterion {str(criterion)!r} supposes"
        for value in _values_of(criterion)
        if value not in present
    ]


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
    minimum, remedy = scope.minimum_rows or MIN_ROWS, "relax the criteria in [[cohort]], or provide more rows"
    if len(chosen) < minimum:
        limit = f"the {MIN_ROWS} that can be split"
        if scope.minimum_rows is not None:
            limit, remedy = f"minimum_rows = {minimum} (in [scope] of the study)", f"lower it, {remedy}"
        return [f"{len(chosen)} of {len(original)} rows are left, fewer than {limit}: {remedy}"]
    if original.task == "regression":
        return []
    target, minimum = original.target_name, scope.minimum_of_each_class or 0
    rare = min(classes, key=lambda label: classes[label])
    if len(classes) < 2:
        problem = f"only the class {rare!r} of {target!r} is left, but training needs at least two: {remedy}"
        return [problem]
    if classes[rare] < minimum:
        label = next(label for label in np.unique(chosen.target).tolist() if str(label) == rare)
        problem = (
            f"class {rare!r} of {target!r} has {classes[rare]} rows left, fewer than minimum_of_each_class = "
            f"{minimum} (in [scope] of the study): lower it, exclude the class "
            f"({how_to_exclude(target, label)}), or {remedy}"
        )
        return [problem]
    return []


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
            f"--imbalanced {share:g} needs two classes, but {dataset.target_name!r} is the target of a "
            "regression: omit it, or pass --task classification"
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
