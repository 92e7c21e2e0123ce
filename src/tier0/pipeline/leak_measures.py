"""Measures of how well a single column determines the target, for `tier0.pipeline.leaks`.

None of them fits a model: rows are compared with their neighbours in the order of the column, with the other
rows of the same value, or counted along the order of the target.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

EXACT = 0.001
"""Error below which a relation is exact: share of the rows, or of the variance of the target's ranks."""
NEARLY_PERFECT = 0.01
"""Error below which a column is nearly perfect."""
SCATTERED = 0.2
"""Error of the neighbours from which a column of numbers has no order, as codes and identifiers have none."""
NULL = 0.1
"""Share of the error with a shuffled target that the error of a nearly perfect column may have."""
MIN_OF_CLASS = 5
"""Number of rows of a class below which its errors say nothing."""
MIN_REPEATED = 20
"""Number of rows whose value has other rows, below which they say nothing."""
COVERED = 0.3
"""Share of the rows whose value must have other rows."""
FEW_ROWS_OF_VALUE = 5
"""Mean number of rows of a value below which a column is like the name of an entity."""
MIN_ROWS_OF_RANGE = 3
"""Mean number of rows of a value of a column whose values may be ranges of the target."""
FEW_ROWS = 300
"""Number of rows below which nearly perfect may be chance: the classes must be apart, too."""
MAX_CELLS = 10_000_000
"""Limit of the table of values and classes."""
NULL_CUTS = 0.25
"""Share of the changes of a shuffled column that a column has, whose values are ranges of the target."""
MAX_CUTS = 0.005
"""Share of the rows that may be on the wrong side of a cut of the target."""
MAX_GAP = 6.0
"""Distance at a cut, in mean distances around it, above which the target has clusters, and was not cut."""
AROUND = 5
"""Number of distances on each side of a cut that are compared with it."""
MAX_MASS = 0.2
"""Share of the rows with one value of the target, beside which a cut may be natural, as it is beside zero."""
MIN_COPIES = 10
"""Number of copies of rows below which they may be chance."""
MAX_NEARLY_EQUAL = 0.03
"""Share of the different rows that may be nearly equal to another one where the equal ones are copies."""
ONE_CAUSE = 0.3
"""Error of the other columns from which a nearly perfect one may be the main cause of the target."""
EXPLAINED = 0.3
"""Share of what such a cause leaves open that the other columns explain; noise of a copy they do not."""
Relation = Literal["code", "entity", "missing", "order", "cut", "words", "number"]
RELATIONS: dict[Relation, str] = {
    "code": "each of its values belongs to one value of the target",
    "entity": "its values repeat, and rows with the same value have the same target",
    "missing": "where it is missing tells the target",
    "order": "the rows in the order of its values are also ordered by the target",
    "cut": "its values are ranges of the target",
    "words": "words of its texts tell the target",
    "number": "its texts contain the target",
}


@dataclass(frozen=True)
class SampledColumn:
    """A column on the sampled rows.

    Attributes:
        name: name of the column.
        order: numbers to sort by, missing values lowest; None if the values have no order.
        codes: a number from 0 for each different value, a missing one included.
        missing: whether the value is missing.
        distinct: number of different values.
    """

    name: str
    order: np.ndarray[Any, Any] | None
    codes: np.ndarray[Any, Any]
    missing: np.ndarray[Any, Any]
    distinct: int

    @property
    def rows_of_value(self) -> float:
        """Mean number of rows of a value."""
        return len(self.codes) / max(self.distinct, 1)

    def take(self, rows: np.ndarray[Any, Any]) -> SampledColumn:
        """Return the column on some of the rows."""
        order = None if self.order is None else self.order[rows]
        uniques, codes = np.unique(self.codes[rows], return_inverse=True)
        return SampledColumn(self.name, order, codes, self.missing[rows], len(uniques))

    def as_feature(self) -> np.ndarray[Any, Any]:
        """Return the values as numbers for a forest."""
        return self.codes.astype(float) if self.order is None else self.order


@dataclass(frozen=True)
class Measured:
    """How well a column determines the target.

    Attributes:
        relation: the kind of the relation.
        error: share of the rows (each class counts equally), or of the ranks' variance, that it leaves open.
        is_exact: whether the relation is a leak by itself.
        words: the words of a relation of words.
    """

    relation: Relation
    error: float
    is_exact: bool
    words: tuple[str, ...] = ()


def sample_column(name: str, values: pd.Series[Any]) -> SampledColumn:
    """Return a column as it is measured."""
    import pandas as pd  # noqa: PLC0415

    missing: np.ndarray[Any, Any] = values.isna().to_numpy()
    is_number = getattr(values.dtype, "kind", "O") in "fiu" and not hasattr(values, "cat")
    order = None
    if is_number:
        order = values.to_numpy(dtype=float, na_value=np.nan)
        lowest = np.nanmin(order, initial=0.0) - 1.0 if not missing.all() else 0.0
        order = np.where(missing, lowest, order)
    codes, uniques = pd.factorize(values if is_number else values.astype(str).where(~missing))
    codes = np.where(codes < 0, len(uniques), codes)
    return SampledColumn(name, order, codes, missing, len(uniques) + int(missing.any()))


class ClassTarget:
    """The classes of the sampled rows."""

    def __init__(self, target: np.ndarray[Any, Any], rng: np.random.Generator) -> None:
        labels, self._classes = np.unique(target, return_inverse=True)
        self._count, self._rng = len(labels), rng
        self._shuffled = rng.permutation(self._classes)

    def measure(self, column: SampledColumn, groups: np.ndarray[Any, Any] | None = None) -> Measured | None:
        """Return how well *column* determines the class; None unless it is nearly perfect."""
        if min(column.distinct, self._count) < 2:
            return None
        if (missing := self._missing(column)) is not None:
            return missing
        rows = _one_of_each(groups, column.codes)
        column, classes, shuffled = column.take(rows), self._classes[rows], self._shuffled[rows]
        by_value = self._error_by_value(column, classes)
        is_code = by_value <= NEARLY_PERFECT and by_value <= NULL * self._error_by_value(column, shuffled)
        if column.order is None:
            return self._as_code(column, by_value) if is_code else None
        by_order = self._error_by_order(column.order, classes)
        is_ordered = by_order <= NEARLY_PERFECT and by_order <= NULL * self._error_by_order(
            column.order, shuffled
        )
        if len(classes) < FEW_ROWS:
            is_ordered = is_ordered and self._is_apart(column.order, classes)
        first = np.unique(column.codes, return_index=True)[1]
        is_scattered = self._error_by_order(column.order[first], classes[first]) > SCATTERED
        if is_code and (is_scattered or column.distinct == self._count):
            return self._as_code(column, by_value)
        if not is_ordered or is_scattered:
            return None
        counts_rows = bool((np.diff(column.order) > 0).all())
        return Measured("order", by_order, is_exact=counts_rows)

    def _is_apart(self, order: np.ndarray[Any, Any], classes: np.ndarray[Any, Any]) -> bool:
        """Return whether each class is one range of the values, with gaps between the ranges."""
        rank = np.lexsort((classes, order))
        changes = np.flatnonzero(np.diff(classes[rank]))
        if len(changes) != self._count - 1:
            return False
        counts_rows = bool((np.diff(order) > 0).all())
        return counts_rows or float(np.median(_gaps(order[rank], changes))) > MAX_GAP

    def _as_code(self, column: SampledColumn, error: float) -> Measured:
        is_entity = column.rows_of_value < FEW_ROWS_OF_VALUE
        has_rows = len(column.codes) >= 10 * MIN_REPEATED
        is_bijective = column.distinct == self._count and (error == 0.0 or (has_rows and self._count > 2))
        is_exact = is_bijective or (has_rows and error <= EXACT)
        return Measured("entity" if is_entity else "code", error, is_exact)

    def _missing(self, column: SampledColumn) -> Measured | None:
        """Return a finding if the value is missing in all rows of one class and only there, or vice versa."""
        if not MIN_OF_CLASS <= column.missing.sum() <= len(column.missing) - MIN_OF_CLASS:
            return None
        sizes = np.bincount(self._classes, minlength=self._count)
        present = np.bincount(self._classes[~column.missing], minlength=self._count)
        shares = present / sizes
        for chosen in {int(shares.argmin()), int(shares.argmax())}:
            others = np.arange(self._count) != chosen
            rest = present[others].sum() / sizes[others].sum()
            error = 1.0 - abs(shares[chosen] - rest)
            if sizes[chosen] >= MIN_OF_CLASS and error <= NEARLY_PERFECT:
                return Measured("missing", float(error), is_exact=True)
        return None

    def _balanced(self, wrong: np.ndarray[Any, Any], classes: np.ndarray[Any, Any]) -> float:
        """Return the share of wrong rows, mean of the classes; 1.0 if too few classes have enough rows."""
        sizes = np.bincount(classes, minlength=self._count)
        errors = np.bincount(classes, weights=wrong, minlength=self._count)
        enough = sizes >= MIN_OF_CLASS
        return float((errors[enough] / sizes[enough]).mean()) if enough.sum() >= 2 else 1.0

    def _error_by_order(self, order: np.ndarray[Any, Any], classes: np.ndarray[Any, Any]) -> float:
        """Return the share of rows that have another class than three of their four neighbours."""
        rank = np.lexsort((self._rng.random(len(order)), order))
        ordered = classes[rank]
        agree, available = np.zeros(len(ordered)), np.zeros(len(ordered))
        for distance in (1, 2):
            same = ordered[distance:] == ordered[:-distance]
            for side in (slice(distance, None), slice(None, -distance)):
                agree[side] += same
                available[side] += 1
        return self._balanced(agree * 2 < available, ordered)

    def _error_by_value(self, column: SampledColumn, classes: np.ndarray[Any, Any]) -> float:
        """Return the share of rows whose class is not that of the other rows with the same value."""
        if column.distinct * self._count > MAX_CELLS:
            return 1.0
        cells = np.bincount(column.codes * self._count + classes, minlength=column.distinct * self._count)
        table = cells.reshape(column.distinct, self._count)
        repeated = table.sum(axis=1)[column.codes] > 1
        if repeated.sum() < max(MIN_REPEATED, COVERED * len(classes)):
            return 1.0
        mine = table[column.codes, classes]
        second, first = np.partition(table, -2, axis=1)[:, -2:].T
        best_other = np.where(mine == first[column.codes], second[column.codes], first[column.codes])
        wrong = mine - 1 < np.maximum(best_other, 1)
        return self._balanced(wrong[repeated], classes[repeated])

    def error_of_others(self, others: Sequence[SampledColumn], _: SampledColumn, trees: int) -> float:
        """Return the error of a forest on the other columns."""
        from sklearn.ensemble import RandomForestClassifier  # noqa: PLC0415

        if not others:
            return 1.0
        forest = RandomForestClassifier(
            trees, class_weight="balanced_subsample", oob_score=True, random_state=0, n_jobs=1
        )
        forest.fit(np.column_stack([one.as_feature() for one in others]), self._classes)
        found = forest.classes_[forest.oob_decision_function_.argmax(axis=1)]
        return self._balanced(found != self._classes, self._classes)


class NumberTarget:
    """The numbers of the sampled rows, which are measured by their ranks: a few large ones change nothing."""

    def __init__(self, target: np.ndarray[Any, Any], rng: np.random.Generator) -> None:
        self._values = np.asarray(target, dtype=float)
        self._ranks, self._rng = _ranks(self._values), rng
        self._shuffled = rng.permutation(len(self._values))

    def measure(self, column: SampledColumn, groups: np.ndarray[Any, Any] | None = None) -> Measured | None:
        """Return how well *column* determines the number; None unless it is nearly perfect."""
        if column.distinct < 2:
            return None
        has_both = MIN_OF_CLASS <= column.missing.sum() <= len(column.missing) - MIN_OF_CLASS
        if has_both and _is_cut(self._values, column.missing.astype(int), 2, beside_mass=True):
            return Measured("missing", 0.0, is_exact=True)
        rows = _one_of_each(groups, column.codes)
        column, values, ranks = column.take(rows), self._values[rows], self._ranks[rows]
        if _is_cut(values, column.codes, column.distinct):
            return Measured("cut", 0.0, is_exact=True)
        by_value = _open_within_values(column, ranks)
        as_code = self._as_code(column, by_value) if by_value <= NEARLY_PERFECT else None
        return (
            as_code
            if column.order is None
            else self._by_order(column, column.order, values, ranks) or as_code
        )

    def _by_order(
        self,
        column: SampledColumn,
        order: np.ndarray[Any, Any],
        values: np.ndarray[Any, Any],
        ranks: np.ndarray[Any, Any],
    ) -> Measured | None:
        """Return how well a column of numbers determines the target by its order."""
        first = np.unique(column.codes, return_index=True)[1]
        is_scattered = self._open_along(order[first], ranks[first]) > SCATTERED
        forward = self._open_along(order, ranks)
        if not is_scattered and forward <= NEARLY_PERFECT:
            return Measured("order", forward, forward <= EXACT)
        backward = self._open_along(values, _ranks(order))
        if backward <= EXACT and column.rows_of_value < FEW_ROWS_OF_VALUE:
            return Measured("order", backward, is_exact=True)
        return None

    def _as_code(self, column: SampledColumn, error: float) -> Measured:
        is_entity = column.rows_of_value < FEW_ROWS_OF_VALUE
        return Measured("entity" if is_entity else "code", error, error <= EXACT)

    def _open_along(self, order: np.ndarray[Any, Any], ranks: np.ndarray[Any, Any]) -> float:
        """Return the share of the ranks' variance that their order leaves open, by second differences."""
        sorted_ranks = ranks[np.lexsort((self._rng.random(len(order)), order))]
        variance = float(ranks.var())
        if len(ranks) < MIN_OF_CLASS or not variance:
            return 1.0
        rest = sorted_ranks[1:-1] - (sorted_ranks[:-2] + sorted_ranks[2:]) / 2
        return float((rest**2).mean() * 2 / 3 / variance)

    def error_of_others(self, others: Sequence[SampledColumn], column: SampledColumn, trees: int) -> float:
        """Return the error of a forest on the others; 0.0 if they explain what *column* leaves open."""
        from sklearn.ensemble import RandomForestRegressor  # noqa: PLC0415

        if not others:
            return 1.0
        features = np.column_stack([one.as_feature() for one in others])
        forest = RandomForestRegressor(trees, oob_score=True, random_state=0, n_jobs=1, max_features=0.5)
        error = 1.0 - forest.fit(features, self._ranks).oob_score_
        if error < ONE_CAUSE:
            return float(error)
        order = np.lexsort((self._rng.random(len(column.codes)), column.as_feature()))
        ordered = self._ranks[order]
        left = ordered[1:-1] - (ordered[:-2] + ordered[2:]) / 2
        explains = forest.fit(features[order[1:-1]], left).oob_score_ > EXPLAINED
        return 0.0 if explains else float(error)


def _one_of_each(groups: np.ndarray[Any, Any] | None, codes: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return the rows; with groups, one row of each value in each group, which is never divided."""
    if groups is None:
        return np.arange(len(codes))
    return np.sort(np.unique(np.stack([groups, codes]), axis=1, return_index=True)[1])


def _is_cut(
    values: np.ndarray[Any, Any], codes: np.ndarray[Any, Any], distinct: int, *, beside_mass: bool = False
) -> bool:
    """Return whether each value of a column is one range of the target.

    Clusters of the target that a category explains have gaps between them; cuts are anywhere.

    Args:
        values: the target.
        codes: the column.
        distinct: number of different values of the column.
        beside_mass: accept a cut beside a gap, or beside a value that many rows have.
    """
    count = len(codes)
    if distinct < 2 or distinct * MIN_ROWS_OF_RANGE > count:
        return False
    sizes = np.bincount(codes)
    by_chance = count * (1 - ((sizes / count) ** 2).sum())
    if np.sort(sizes)[-2] < max(MIN_OF_CLASS, 0.02 * count) or by_chance < MIN_REPEATED / 2:
        return False
    order = np.lexsort((codes, values))
    changes = np.flatnonzero(np.diff(codes[order]))
    if len(changes) > min(distinct - 1 + 2 * MAX_CUTS * count, NULL_CUTS * by_chance):
        return False
    return beside_mass or _has_no_gaps(values[order], changes)


def _has_no_gaps(ordered: np.ndarray[Any, Any], changes: np.ndarray[Any, Any]) -> bool:
    """Return whether the target goes on across the places at which a column changes its value."""
    sizes = np.unique(ordered, return_inverse=True, return_counts=True)
    counts = sizes[2][sizes[1]]
    if max(counts[changes].max(), counts[changes + 1].max()) > MAX_MASS * len(ordered):
        return False
    return float(np.median(_gaps(ordered, changes))) <= MAX_GAP


def _gaps(ordered: np.ndarray[Any, Any], changes: np.ndarray[Any, Any]) -> list[float]:
    """Return the distances at *changes*, each in mean distances of the different values around it."""
    different = np.unique(ordered)
    distances = np.diff(different)
    gaps = []
    for change in changes:
        below, above = np.searchsorted(different, ordered[[change, change + 1]])
        around = np.concatenate(
            [distances[max(0, below - AROUND) : below], distances[above : above + AROUND]]
        )
        gap = different[above] - different[below]
        gaps.append(float(gap / around.mean()) if around.size else np.inf)
    return gaps


def _ranks(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return ranks from 0 to 1; equal values have their mean rank."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    means = np.cumsum(counts) - (counts + 1) / 2
    ranks: np.ndarray[Any, Any] = means[inverse] / max(len(values) - 1, 1)
    return ranks


def _open_within_values(column: SampledColumn, ranks: np.ndarray[Any, Any]) -> float:
    """Return the share of the ranks' variance that is left within values with several rows."""
    sizes = np.bincount(column.codes)
    means = np.bincount(column.codes, weights=ranks) / np.maximum(sizes, 1)
    repeated = sizes[column.codes] > 1
    free = repeated.sum() - (sizes > 1).sum()
    variance = float(ranks.var())
    if free < MIN_REPEATED or repeated.sum() < COVERED * len(ranks) or not variance:
        return 1.0
    return float(((ranks - means[column.codes])[repeated] ** 2).sum() / free / variance)


def pair_that_makes(
    target: np.ndarray[Any, Any], columns: Sequence[SampledColumn]
) -> tuple[str, str, str] | None:
    """Return two columns of numbers, and the operation that makes the target of them; None without."""
    spread = float(np.subtract(*np.percentile(target, [75, 25]))) or float(np.ptp(target))
    tolerance = np.maximum(1e-6 * np.abs(target), EXACT * spread)
    numbers = [one for one in columns if one.order is not None and not one.missing.any()]
    for first, second in itertools.permutations(numbers, 2):
        a, b = np.asarray(first.order), np.asarray(second.order)
        with np.errstate(all="ignore"):
            made = {"+": a + b, "-": a - b, "*": a * b, "/": a / b}
        for operation, values in made.items():
            if (np.abs(values - target) <= tolerance).mean() >= 1 - EXACT:
                return (first.name, operation, second.name)
    return None


def copies_of_rows(frame: pd.DataFrame, names: Sequence[str], target: str) -> float:
    """Return the share of rows that are copies of others; 0.0 if they may as well be equal by chance.

    Where rows are equal by chance, others are nearly equal: they have another target, or agree only in the
    columns that have the most different values.
    """
    copied = frame.duplicated()
    copies, different = int(copied.sum()), frame[~copied]
    if copies < MIN_COPIES:
        return 0.0
    distinct = {name: different[name].nunique() for name in names}
    most = sorted(names, key=lambda name: -distinct[name])[: (len(names) + 1) // 2]
    with_other_target = int(different.duplicated(list(names)).sum())
    nearly_equal = int(different.duplicated([*most, target]).sum())
    limit = min(MAX_NEARLY_EQUAL * len(different), copies / 3)
    return copies / len(frame) if max(with_other_target, nearly_equal) <= limit else 0.0
