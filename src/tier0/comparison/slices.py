"""Where the differences sit: conditions on columns, found by a shallow search, corrected for its looks.

Each level takes the condition that separates the rows that differ from the others best. A slice is reported
only if the chance that so many of its rows differ, times the number of conditions that were tried, is less
than `MAX_CHANCE`.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import compress, pairwise
from typing import Any, NamedTuple

from tier0.comparison.chance import chance_of_as_many
from tier0.comparison.conditions import Condition, Slice, is_finite, is_missing

MAX_CHANCE = 0.01
MAX_CONDITIONS = 3
MAX_SLICES = 3
MIN_DIFFERING = 4
MAX_COLUMNS = 500
MAX_SEARCHED = 2500
MAX_CATEGORIES = 200
MIN_GAIN = 0.02
"""Share of the information about which rows differ that a further condition must add."""
KEPT_BY_MORE = 0.9
"""Share of the rows that differ that each condition after the first one must keep."""
COMPLETE = 0.999


class Marked(NamedTuple):
    """A row, whether its answers differ, and the number of rows that it stands for."""

    row: Mapping[str, Any]
    differs: bool
    weight: float


@dataclass(frozen=True)
class FoundSlice:
    """A slice in which more rows differ than elsewhere.

    Attributes:
        rows: the slice.
        count: sampled rows in it.
        differing: sampled rows in it that differ.
        share: share of all rows that are in it, estimated from the sample.
        of_differing: share of all rows that differ that are in it.
        chance: upper bound of the chance of this many, after the correction.
    """

    rows: Slice
    count: int
    differing: int
    share: float
    of_differing: float
    chance: float

    def in_words(self, verb: str) -> str:
        """Return the slice with its support, such as ``age > 60 (2.1 % of rows): 38 of 42 flipped``."""
        percent = 100 * self.share
        share = f"{percent:.1f}" if percent >= 0.1 else f"{percent:.2g}"
        return f"{self.rows} ({share} % of rows): {self.differing} of {self.count} {verb}"


def find_slices(rows: Sequence[Marked]) -> list[FoundSlice]:
    """Return up to three slices in which the rows that differ are concentrated, the largest first.

    Args:
        rows: sampled rows.
    """
    found: list[FoundSlice] = []
    left = list(rows)
    while len(found) < MAX_SLICES:
        conditions, trials = _grow(left)
        if not conditions:
            break
        slice_ = Slice(tuple(conditions))
        one = _measured(slice_, left, rows, trials)
        if one.chance > MAX_CHANCE:
            break
        found.append(one)
        left = [marked for marked in left if not slice_.holds(marked.row)]
    return found


def _grow(rows: Sequence[Marked]) -> tuple[list[Condition], int]:
    """Return the conditions of the best slice, and how many conditions were tried."""
    rows = _thinned(rows)
    inside, conditions, trials = list(rows), list[Condition](), 0
    whole = _information(rows)
    while len(conditions) < MAX_CONDITIONS:
        differing = sum(marked.differs for marked in inside)
        if differing < MIN_DIFFERING or differing >= COMPLETE * len(inside):
            break
        best, gain, tried = _best_condition(inside)
        trials += tried
        if best is None or gain < MIN_GAIN * whole:
            break
        chosen = [marked for marked in inside if best.holds(marked.row)]
        now = sum(marked.differs for marked in chosen)
        if conditions and now < KEPT_BY_MORE * differing:
            break
        chance = chance_of_as_many(now, len(chosen), differing - now, len(inside) - len(chosen))
        if chance * tried > MAX_CHANCE:
            break
        conditions.append(best)
        inside = chosen
    conditions = _simplified(conditions)
    if len(conditions) > 1:
        conditions = [_again(conditions, place, rows) for place in range(len(conditions))]
    return conditions, trials


def _thinned(rows: Sequence[Marked]) -> list[Marked]:
    """Return at most `MAX_SEARCHED` of the rows that differ, and as many of the others."""
    groups = (
        [marked for marked in rows if marked.differs],
        [marked for marked in rows if not marked.differs],
    )
    return [marked for group in groups for marked in group[:: max(1, math.ceil(len(group) / MAX_SEARCHED))]]


def _again(conditions: Sequence[Condition], place: int, rows: Sequence[Marked]) -> Condition:
    """Return one of several conditions with the best threshold, or value, beside the others.

    The first conditions were chosen without those that followed.
    """
    condition = conditions[place]
    others = Slice((*conditions[:place], *conditions[place + 1 :]))
    inside = [marked for marked in rows if others.holds(marked.row)]
    differing = sum(marked.differs for marked in inside)
    best, best_gain = condition, -math.inf
    for candidate in _Column.of(condition.column, inside).candidates():
        if candidate.operator == condition.operator and candidate.is_above(differing, len(inside)):
            gain = candidate.gain(differing, len(inside))
            if gain > best_gain:
                best, best_gain = candidate.of(condition.column), gain
    return best


def _simplified(conditions: Sequence[Condition]) -> list[Condition]:
    """Return the conditions without those that a later one on the same column and side contains."""
    last = {(condition.column, condition.operator): condition for condition in conditions}
    return [condition for condition in conditions if last[condition.column, condition.operator] is condition]


def _measured(slice_: Slice, left: Sequence[Marked], rows: Sequence[Marked], trials: int) -> FoundSlice:
    inside = [marked for marked in rows if slice_.holds(marked.row)]
    is_first = len(left) == len(rows)
    in_left = inside if is_first else [marked for marked in left if slice_.holds(marked.row)]
    differing = sum(marked.differs for marked in in_left)
    others = sum(marked.differs for marked in left) - differing
    chance = chance_of_as_many(differing, len(in_left), others, len(left) - len(in_left))
    weight = sum(marked.weight for marked in rows)
    all_differing = sum(marked.weight for marked in rows if marked.differs)
    return FoundSlice(
        slice_,
        len(inside),
        sum(marked.differs for marked in inside),
        sum(marked.weight for marked in inside) / weight if weight else 0.0,
        sum(marked.weight for marked in inside if marked.differs) / all_differing if all_differing else 0.0,
        min(1.0, chance * max(1, trials)),
    )


def _information(rows: Sequence[Marked]) -> float:
    return _entropy(sum(marked.differs for marked in rows), len(rows))


def _entropy(marked: int, count: int) -> float:
    """Return the entropy of a group in nats, times its size."""
    if not 0 < marked < count:
        return 0.0
    share = marked / count
    return -count * (share * math.log(share) + (1 - share) * math.log(1 - share))


def _best_condition(rows: Sequence[Marked]) -> tuple[Condition | None, float, int]:
    """Return the condition whose rows differ most clearly more often, its gain, and the number of looks.

    Thresholds between two rows that are alike are not measured, since another one is better, but they count.
    """
    names = list(dict.fromkeys(name for marked in rows[:100] for name in marked.row))[:MAX_COLUMNS]
    best: tuple[str, _Candidate] | None = None
    best_gain, trials = 0.0, 0
    differing, count = sum(marked.differs for marked in rows), len(rows)
    whole = _entropy(differing, count)
    for name in names:
        column = _Column.of(name, rows)
        trials += 2 * column.distinct
        for candidate in column.candidates():
            if candidate.is_above(differing, count):
                gain = whole + candidate.gain(differing, count)
                if gain > best_gain * (1 + 1e-9):
                    best, best_gain = (name, candidate), gain
    return None if best is None else best[1].of(best[0]), best_gain, trials


class _Candidate(NamedTuple):
    """A condition on some column that may become part of a slice.

    Attributes:
        operator: operator of the condition.
        value: value of the condition; for a threshold, the two values between which it is.
        rows: number of the rows that meet the condition.
        differing: those of them that differ.
    """

    operator: str
    value: Any
    rows: int
    differing: int

    def is_above(self, differing: int, count: int) -> bool:
        """Return whether its rows differ more often than all *count* rows, of which *differing* do."""
        return 0 < self.rows < count and self.differing * count > differing * self.rows

    def gain(self, differing: int, count: int) -> float:
        """Return the negative entropy of the rows that meet the condition and of the others."""
        return -_entropy(self.differing, self.rows) - _entropy(differing - self.differing, count - self.rows)

    def of(self, column: str) -> Condition:
        """Return the condition on a column."""
        value = _round_between(*self.value) if self.operator in {"<=", ">"} else self.value
        return Condition(column, self.operator, value)


class _Column(NamedTuple):
    """The values of a column: how many rows have each, and how many of them differ."""

    numbers: Counter[Any]
    differing_numbers: Counter[Any]
    labels: Counter[Any]
    differing_labels: Counter[Any]
    absent: int
    differing_absent: int

    @classmethod
    def of(cls, name: str, rows: Sequence[Marked]) -> _Column:
        """Return the values of a column of some rows."""
        raw: list[Any] = [marked.row.get(name) for marked in rows]
        differing = [marked.differs for marked in rows]
        types = {*map(type, raw)}
        if types == {int} or (types == {float} and all(map(math.isfinite, raw))):  # the usual column, fast
            return cls(Counter(raw), Counter(compress(raw, differing)), Counter(), Counter(), 0, 0)
        values = list(zip(raw, differing, strict=True))
        numbers = [pair for pair in values if is_finite(pair[0])]
        labels = [pair for pair in values if isinstance(pair[0], (str, bool))]
        absent = [differs for value, differs in values if is_missing(value)]
        return cls(
            Counter(value for value, _ in numbers),
            Counter(value for value, differs in numbers if differs),
            Counter(value for value, _ in labels),
            Counter(value for value, differs in labels if differs),
            len(absent),
            sum(absent),
        )

    @property
    def distinct(self) -> int:
        """Number of different values."""
        return len(self.numbers) + len(self.labels) + bool(self.absent)

    def candidates(self) -> Iterator[_Candidate]:
        """Yield the conditions on the column."""
        present = self.numbers.total() + self.labels.total()
        if self.absent and present:
            differing = self.differing_numbers.total() + self.differing_labels.total()
            yield _Candidate("is missing", None, self.absent, self.differing_absent)
            yield _Candidate("is not missing", None, present, differing)
        yield from self._thresholds()
        for label, count in self.labels.most_common(MAX_CATEGORIES):
            yield _Candidate("=", label, count, self.differing_labels[label])
        if len(self.numbers) <= MAX_CATEGORIES // 10:
            for value, count in self.numbers.items():
                yield _Candidate("=", value, count, self.differing_numbers[value])

    def _thresholds(self) -> Iterator[_Candidate]:
        """Yield the conditions that a number is above, or not above, a threshold between two values."""
        counts, differing = self.numbers, self.differing_numbers
        rows, total, inside, below = counts.total(), differing.total(), 0, 0
        for low, high in pairwise(sorted(counts)):
            at_low, at_high = differing[low], differing[high]
            inside, below = inside + counts[low], below + at_low
            if (not at_low and not at_high) or (at_low == counts[low] and at_high == counts[high]):
                continue  # an edge of the group of values that are alike is better
            yield _Candidate("<=", (low, high), inside, below)
            yield _Candidate(">", (low, high), rows - inside, total - below)


def _round_between(low: Any, high: Any) -> Any:
    """Return the number with the fewest digits that is at least *low* and less than *high*."""
    if isinstance(low, int) and isinstance(high, int) and high - low == 1:
        return low
    try:
        for digits in range(1, 16):
            for number in (float(f"{low:.{digits}g}"), float(f"{(float(low) + float(high)) / 2:.{digits}g}")):
                if low <= number < high:
                    return int(number) if number.is_integer() and abs(number) < 1e15 else number
    except OverflowError:  # an integer beyond the range of floats
        pass
    return low
