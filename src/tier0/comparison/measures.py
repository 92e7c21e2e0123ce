"""Measures of a comparison in bounded memory: counts, histograms, and samples of rows."""

from __future__ import annotations

import heapq
import math
import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, zip_longest
from typing import Any, Generic, NamedTuple, TypeVar

from tier0.comparison.answers import Answer, difference, differences, is_same_value, magnitude
from tier0.comparison.batches import Batch
from tier0.comparison.limits import Limits

SEED = 7
RELATIVE = 1e-9
"""Relative difference between two numbers that does not count: that of another order of additions."""
RELATIVE_FLOAT32 = 4e-6
"""The same for numbers of a model in float32."""
NEAR_ZERO = 0.01
"""Numbers smaller than this share of the largest one are compared like numbers of that size."""
DIGITS_OF_FLOAT32 = 9
MAX_LABELS = 50
MAX_CELLS = 1_500_000
"""Values of all sampled rows."""
SAME_ROWS, CHANGED_ROWS = 2_500, 2_500
"""Sampled rows that do not differ; and that differ, by a label or by a number."""
PLAIN = {str, int, float, bool}
NEVER = 1 << 62
"""Number of an item that no stream reaches."""
MIN_MATCHED_NUMBERS, MIN_MATCHED_LABELS, MAX_MATCHED = 4, 20, 200
"""Rows from which two fields with different names may be one, and up to which that is tried."""
MATCHING = 0.9
"""Share of these rows whose values must agree: the others are differences."""
MAX_UNMATCHED = 20
"""Fields that only one side has, and that are matched with those of the other one."""
MIN_REPEATED, MAX_REPEATED = 20, 100
"""Rows that differ and were asked again, from which on a field needs no more of them; and takes no more."""
PAIRS = 1000
"""Sampled pairs of numbers, and of latencies."""
LARGEST = 5
MAX_FIELDS = 200
BINS_PER_DECADE = 2
FIRST_DECADE, LAST_DECADE = -18, 12
Item = TypeVar("Item")


class Reservoir(Generic[Item]):
    """A uniform sample of a stream."""

    def __init__(self, size: int, seed: int = SEED) -> None:
        self.items: list[Item] = []
        self.seen = 0
        self._size = size
        self._random = random.Random(seed)  # noqa: S311 - a sample, not a secret  # nosec B311

        self._weight = 1.0
        self._next = size - 1
        self._skip()

    def _skip(self) -> None:
        """Draw the number of the next item that is kept, without a look at those before it (Algorithm L)."""
        self._weight *= math.exp(math.log(1 - self._random.random()) / self._size)
        rate = math.log1p(-min(self._weight, 1 - 1e-12))
        self._next += 1 + (int(math.log(1 - self._random.random()) / rate) if rate else NEVER)

    def extend(self, count: int, item_at: Callable[[int], Item]) -> None:
        """Look at *count* items, and keep some of them.

        Args:
            count: number of the items.
            item_at: returns one of them, by its position.
        """
        start, end = self.seen, self.seen + count
        self.seen = end
        self.items += map(item_at, range(min(count, max(0, self._size - start))))
        while self._next < end:
            self.items[int(self._random.random() * self._size)] = item_at(self._next - start)
            self._skip()

    def add(self, item: Item) -> None:
        """Keep an item, or not."""
        self.extend(1, lambda _: item)


class Tail:
    """How many differences are larger than a size, for sizes at the edges of a fixed histogram."""

    def __init__(self) -> None:
        self.counts: Counter[int] = Counter()
        self.rows = 0

    def extend(self, sizes: Sequence[float]) -> None:
        """Count differences."""
        self.rows += len(sizes)
        self.counts.update(bin_of(size) for size in sizes if size > 0)

    def above(self, edge: int) -> int:
        """Return the number of differences in the bins from *edge* on."""
        return sum(count for place, count in self.counts.items() if place >= edge)


def bin_of(size: float) -> int:
    """Return the bin of a difference."""
    if math.isinf(size):
        return LAST_DECADE * BINS_PER_DECADE
    place = math.floor(math.log10(size) * BINS_PER_DECADE) if size > 0 else FIRST_DECADE * BINS_PER_DECADE
    return min(max(place, FIRST_DECADE * BINS_PER_DECADE), LAST_DECADE * BINS_PER_DECADE)


class LargeDifference(NamedTuple):
    """One of the largest differences of a field; its row is not compared with others of the same size."""

    size: float
    order: int
    row_number: int
    old: Any
    new: Any
    row: Mapping[str, Any]


@dataclass
class Field:
    """The measures of one field of the answers.

    Attributes:
        rows: number of rows with a value on both sides.
        changed: number of rows whose values are not equal, to the last bit.
        beyond: number of rows that differ by more than the tolerance and the allowed difference.
        tail: sizes of the differences between the old and the new side.
        noise: sizes of the differences between two answers of the same side.
        noise_changed: number of rows with two answers of the same side that are not equal.
        noise_beyond: number of them that differ by more than the tolerance and the allowed difference.
        old_labels: values of the old side; not counted beyond `MAX_LABELS` of them.
        new_labels: values of the new side.
        flips: pairs of unequal values, old and new.
        pairs: sample of values, old and new.
        largest: largest differences.
        by_slice: rows, rows that are not equal, and rows beyond the limit, by the index of a slice's limit.
        has_fractions: whether some number is not whole.
        has_lists: whether some value is a list.
        tolerance: relative tolerance; None until the first values.
        scale: largest magnitude in the first batch.
        stable: rows that differed, whose answers did so in all repetitions.
        unstable: rows that differed, whose answers did not so.
    """

    rows: int = 0
    changed: int = 0
    beyond: int = 0
    tail: Tail = field(default_factory=Tail)
    noise: Tail = field(default_factory=Tail)
    noise_changed: int = 0
    noise_beyond: int = 0
    old_labels: Counter[Any] = field(default_factory=Counter)
    new_labels: Counter[Any] = field(default_factory=Counter)
    flips: Counter[Any] = field(default_factory=Counter)
    pairs: Reservoir[tuple[Any, Any]] = field(default_factory=lambda: Reservoir(PAIRS))
    largest: list[LargeDifference] = field(default_factory=list)
    by_slice: dict[int, list[int]] = field(default_factory=dict)
    has_fractions: bool = False
    has_lists: bool = False
    tolerance: float | None = None
    scale: float = 0.0
    stable: int = 0
    unstable: int = 0

    @property
    def is_numeric(self) -> bool:
        """Whether its values are numbers, and not labels."""
        if self.has_lists or self.has_fractions:
            return True
        labels = [*self.old_labels, *self.new_labels]
        are_many = len(self.old_labels) >= MAX_LABELS or len(self.new_labels) >= MAX_LABELS
        return are_many and all(kind == "number" for kind, _ in labels)

    @property
    def is_constant(self) -> bool:
        """Whether each side always has the same value."""
        return not self.is_numeric and len(self.old_labels) == 1 == len(self.new_labels)

    def note_equal(self, values: Sequence[Any], places: Sequence[int]) -> None:
        """Measure the values of a batch that are equal on both sides."""
        self.rows += len(values)
        self.tail.rows += len(values)
        for place, count in Counter(places).items():
            self.by_slice.setdefault(place, [0, 0, 0])[0] += count
        self.pairs.extend(len(values), lambda index: (values[index], values[index]))
        if self.has_lists or self.has_fractions:
            return
        if isinstance(values[0], list):
            self.note_labels(values[0], values[0])
            return
        for value, count in Counter(values).items():
            self.note_labels(value, value, count)

    def note_numbers(
        self, old: Sequence[Any], new: Sequence[Any], sizes: Sequence[float], places: Sequence[int]
    ) -> None:
        """Measure the numbers of a batch, which differ by these *sizes*, up to the question which count."""
        self.rows += len(sizes)
        self.tail.extend(sizes)
        self.pairs.extend(len(sizes), lambda index: (old[index], new[index]))
        differing = [place for place, size in zip(places, sizes, strict=False) if size]
        self.changed += len(differing)
        for position, counted in ((0, places[: len(sizes)]), (1, differing)):
            for place, count in Counter(counted).items():
                self.by_slice.setdefault(place, [0, 0, 0])[position] += count

    def note_first(self, old: Sequence[Any], new: Sequence[Any]) -> None:
        """Find the tolerance from the values of the first batch."""
        if self.tolerance is None:
            numbers = [number for value in (*old, *new) for number in _numbers(value)]
            is_float32 = bool(numbers) and all(map(_can_be_float32, numbers))
            self.tolerance = RELATIVE_FLOAT32 if is_float32 else RELATIVE
            self.scale = max(map(magnitude, (*old, *new)), default=0.0)

    def allows(self, old: Any, new: Any, size: float, allowed: float) -> bool:
        """Return whether a difference of this *size* does not count."""
        if size <= allowed or size == 0:
            return True
        if math.isinf(size):
            return False
        return size <= self.tolerance_of(max(magnitude(old), magnitude(new)))

    def tolerance_of(self, largest: float) -> float:
        """Return the difference that does not count between numbers up to this magnitude."""
        return (self.tolerance or RELATIVE) * max(largest, NEAR_ZERO * self.scale)

    def note_labels(self, old: Any, new: Any, count: int = 1) -> None:
        """Count the values, as labels, while there are few."""
        self.has_lists = self.has_lists or isinstance(old, list) or isinstance(new, list)
        self.has_fractions = self.has_fractions or _is_fraction(old) or _is_fraction(new)
        if self.has_lists or self.has_fractions:
            self.old_labels.clear()
            self.new_labels.clear()
            return
        for labels, value in ((self.old_labels, old), (self.new_labels, new)):
            key = label_key(value)
            if key in labels or len(labels) < MAX_LABELS:
                labels[key] += count


class SampledRow(NamedTuple):
    """A row with the answers of both sides.

    Attributes:
        number: number of the row.
        row: values by column.
        old: values of the old side, by field.
        new: values of the new side, by field.
    """

    number: int
    row: Mapping[str, Any]
    old: Mapping[str, Any]
    new: Mapping[str, Any]


class _Kept(NamedTuple):
    """A sampled row as it is kept: most of them are replaced before they are read."""

    number: int
    columns: Sequence[str]
    values: Sequence[Any]
    paths: Sequence[str]
    old: Sequence[Any]
    new: Sequence[Any]

    def row(self) -> SampledRow:
        """Return the row with its values by name."""
        return SampledRow(
            self.number,
            dict(zip(self.columns, self.values, strict=False)),
            dict(zip(self.paths, self.old, strict=True)),
            dict(zip(self.paths, self.new, strict=True)),
        )


@dataclass
class OneSided:
    """Rows that one side does not answer.

    Attributes:
        rows: number of the rows.
        unseparated: number of the rows of further requests, of which only some need be the reason.
        examples: some of them, each with its number and the reason.
        statuses: statuses of the responses, with the number of rows.
        miscounted: rows of the responses that have values, but not one for each row.
    """

    rows: int = 0
    unseparated: int = 0
    examples: list[tuple[int, Mapping[str, Any], str]] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    miscounted: int = 0

    def add(self, batch: Batch, answer: Answer) -> None:
        """Count the rows of a batch."""
        if batch.can_be_split:
            self.unseparated += len(batch)
        else:
            self.rows += len(batch)
        self.statuses[answer.status] += len(batch)
        self.miscounted += len(batch) if answer.is_miscounted else 0
        if len(self.examples) < LARGEST and len(batch):
            self.examples.append((batch.start, batch.record(0), answer.problem))


@dataclass
class _Match:
    """How far a field of the old side and one of the new side, with different names, have the same values."""

    rows: int = 0
    agreeing: int = 0
    has_fractions: bool = False
    first: Any = None
    varies: bool = False

    def note(self, old: Sequence[Any], new: Sequence[Any]) -> None:
        """Look at the values of a batch."""
        if self.rows >= MAX_MATCHED:
            return
        self.first = old[0] if self.rows == 0 else self.first
        for one, other in zip(old, new, strict=False):
            size = difference(one, other)
            self.rows += 1
            self.agreeing += size <= RELATIVE_FLOAT32 * max(magnitude(one), magnitude(other))
            self.has_fractions = self.has_fractions or any(map(_is_fraction, _numbers(one)))
            self.varies = self.varies or not is_same_value(one, self.first)

    @property
    def is_rename(self) -> bool:
        """Whether so many values agree that it is one field; labels can agree by chance."""
        enough = MIN_MATCHED_NUMBERS if self.has_fractions else MIN_MATCHED_LABELS
        return self.rows >= enough and self.varies and self.agreeing >= MATCHING * self.rows


class Measures:
    """Everything that is measured of two sides; its size does not grow with the number of rows.

    Args:
        limits: limits of the comparison.
        tolerances: absolute tolerance of fields, by path.

    Attributes:
        renames: path on the old side of fields that have another one on the new side, by the latter.
    """

    def __init__(self, limits: Limits, tolerances: Mapping[str, float] | None = None) -> None:
        self.limits = limits
        self.tolerances = tolerances or {}
        self.rows = 0
        self.repeated_rows = 0
        self.fields: dict[str, Field] = {}
        self.only_old = OneSided()
        self.only_new = OneSided()
        self.neither = OneSided()
        self.answers = 0
        self.types: tuple[dict[str, Counter[str]], dict[str, Counter[str]]] = ({}, {})
        self.presence: tuple[Counter[str], Counter[str]] = (Counter(), Counter())
        self.about: tuple[dict[str, Counter[Any]], dict[str, Counter[Any]]] = ({}, {})
        self.unsteady: set[str] = set()
        self.renames: dict[str, str] = {}
        self._matches: dict[tuple[str, str], _Match] = {}
        self.latencies: Reservoir[tuple[float, float]] = Reservoir(PAIRS)
        self.noise_latencies: Reservoir[tuple[float, float]] = Reservoir(PAIRS)
        self.same_rows: Reservoir[_Kept] = Reservoir(SAME_ROWS)
        self.changed_rows: Reservoir[_Kept] = Reservoir(CHANGED_ROWS)
        self.flipped_rows: Reservoir[_Kept] = Reservoir(CHANGED_ROWS)
        self._is_sized = False
        self._order = 0

    def add(self, batch: Batch, old: Answer, new: Answer) -> bool:
        """Measure the answers to a batch, and return whether any of them differ."""
        self.rows += len(batch)
        if old.problem or new.problem:
            group = (
                self.neither
                if old.problem and new.problem
                else self.only_old
                if new.problem
                else self.only_new
            )
            group.add(batch, new if new.problem else old)
            return True
        self.answers += 1
        self._note_form(old, new)
        self.latencies.add((old.seconds, new.seconds))
        self._find_renames(old, self._with_old_names(new))
        return self._compare_rows(batch, old, self._with_old_names(new))

    def _with_old_names(self, new: Answer) -> Answer:
        """Return an answer of the new side whose renamed fields have the names of the old side."""
        if not self.renames:
            return new
        return replace(
            new, fields={self.renames.get(path, path): values for path, values in new.fields.items()}
        )

    def _find_renames(self, old: Answer, new: Answer) -> None:
        """Find fields that only one side has, and that have the values of such a field of the other side."""
        gone, come = (
            [path for path in here.fields if path not in there.fields and path not in self.limits.ignore]
            for here, there in ((old, new), (new, old))
        )
        if not gone or not come or max(len(gone), len(come)) > MAX_UNMATCHED:
            return
        for before in gone:
            for after in come:
                match = self._matches.setdefault((before, after), _Match())
                match.note(old.fields[before], new.fields[after])
                if match.is_rename and after not in self.renames and before not in self.renames.values():
                    self.renames[after] = before

    def _note_form(self, old: Answer, new: Answer) -> None:
        for side, answer in enumerate((old, new)):
            for path, types in answer.types.items():
                if path in self.types[side] or len(self.types[side]) < MAX_FIELDS * 10:
                    self.types[side].setdefault(path, Counter()).update(types)
                    self.presence[side][path] += 1
            for path, value in answer.about.items():
                known = (
                    self.about[side].setdefault(path, Counter())
                    if len(self.about[side]) < MAX_FIELDS
                    else None
                )
                if known is not None and len(known) < MAX_LABELS:
                    known[label_key(value)] += 1

    def _compare_rows(self, batch: Batch, old: Answer, new: Answer) -> bool:
        paths = [path for path in old.fields if path in new.fields and path not in self.limits.ignore]
        flipped, changed = set[int](), set[int]()
        places = [-1] * len(batch)
        if self.limits.slices:
            places = [self.limits.slice_of(batch.record(index)) for index in range(len(batch))]
        for path in paths:
            known = self.fields.get(path)
            if known is None and len(self.fields) >= MAX_FIELDS:
                continue
            known = self.fields.setdefault(path, Field())
            before, after = old.fields[path], new.fields[path]
            known.note_first(before, after)
            if _are_equal(before, after):
                known.note_equal(before, places)
                continue
            if (known.has_lists or known.has_fractions) and (sizes := differences(before, after)) is not None:
                known.note_numbers(before, after, sizes, places)
                changed |= self._beyond(known, batch, path, places, before, after, sizes)
                continue
            equal, others = _split(before, after)
            if equal:
                known.note_equal([before[index] for index in equal], [places[index] for index in equal])
            for index in others:
                one, other = before[index], after[index]
                kind = self._compare_values(known, batch, path, index, places[index], one, other)
                if kind:
                    (flipped if kind == "flip" else changed).add(index)
        self._sample(batch, old, new, paths, flipped, changed - flipped)
        return bool(flipped or changed)

    def _beyond(
        self,
        known: Field,
        batch: Batch,
        path: str,
        places: Sequence[int],
        before: Sequence[Any],
        after: Sequence[Any],
        sizes: Sequence[float],
    ) -> set[int]:
        """Return the positions of the rows that differ by more than the tolerance and the limits allow."""
        found = set()
        by_place = {place: self._allowed(path, place) for place in set(places)}
        allowed = [by_place[place] for place in places]
        numbers = chain(*before, *after) if isinstance(before[0], list) else (*before, *after)
        largest = known.tolerance_of(max(map(abs, numbers), default=0.0))
        for index, size in enumerate(sizes):
            if size > allowed[index] and (
                size > largest or not known.allows(before[index], after[index], size, allowed[index])
            ):
                known.by_slice[places[index]][2] += 1
                found.add(index)
                if len(known.largest) < LARGEST or size > known.largest[0].size:
                    self._keep_largest(known, batch, index, size, before[index], after[index])
        known.beyond += len(found)
        return found

    def _compare_values(
        self, known: Field, batch: Batch, path: str, index: int, place: int, old: Any, new: Any
    ) -> str:
        """Measure one pair of values; return ``flip``, ``change`` or nothing."""
        known.rows += 1
        known.note_labels(old, new)
        known.pairs.add((old, new))
        size = difference(old, new)
        known.tail.extend([size])
        counts = known.by_slice.setdefault(place, [0, 0, 0])
        counts[0] += 1
        if size == 0:
            return ""
        known.changed += 1
        counts[1] += 1
        if not (known.has_lists or known.has_fractions):
            pair = (label_key(old), label_key(new))
            if pair in known.flips or len(known.flips) < MAX_LABELS:
                known.flips[pair] += 1
        if self._is_beyond(known, path, place, old, new, size):
            known.beyond += 1
            counts[2] += 1
        elif known.is_numeric:
            return ""
        self._keep_largest(known, batch, index, size, old, new)
        return "change" if known.is_numeric else "flip"

    def _is_beyond(self, known: Field, path: str, place: int, old: Any, new: Any, size: float) -> bool:
        return not known.allows(old, new, size, self._allowed(path, place))

    def _allowed(self, path: str, place: int) -> float:
        return max(self.limits.difference_of(place), self.tolerances.get(path, 0.0))

    def _keep_largest(self, known: Field, batch: Batch, index: int, size: float, old: Any, new: Any) -> None:
        if len(known.largest) == LARGEST and size <= known.largest[0].size:
            return
        self._order += 1
        large = LargeDifference(size, -self._order, batch.start + index, old, new, batch.record(index))
        if len(known.largest) < LARGEST:
            heapq.heappush(known.largest, large)
        else:
            heapq.heapreplace(known.largest, large)

    def _sample(
        self,
        batch: Batch,
        old: Answer,
        new: Answer,
        paths: Sequence[str],
        flipped: set[int],
        changed: set[int],
    ) -> None:
        if not self._is_sized:
            self._is_sized = True
            rows = max(100, MAX_CELLS // max(1, len(batch.columns) + 2 * len(paths)))
            self.same_rows = Reservoir(min(SAME_ROWS, rows))
            self.changed_rows = Reservoir(min(CHANGED_ROWS, rows))
            self.flipped_rows = Reservoir(min(CHANGED_ROWS, rows))
        same = [index for index in range(len(batch)) if index not in flipped and index not in changed]
        names = tuple(paths)

        before, after = (
            list(zip_longest(*(answer.fields[path] for path in names))) or [()] * len(batch)
            for answer in (old, new)
        )

        def kept(index: int) -> _Kept:
            return _Kept(
                batch.start + index, batch.columns, batch.rows[index], names, before[index], after[index]
            )

        def keep(group: Reservoir[_Kept], rows: Sequence[int]) -> None:
            group.extend(len(rows), lambda place: kept(rows[place]))

        keep(self.same_rows, same)
        keep(self.changed_rows, sorted(changed))
        keep(self.flipped_rows, sorted(flipped))

    def add_noise(self, batch: Batch, first: Answer, second: Answer) -> None:
        """Measure two answers of the same side to a batch."""
        if first.problem or second.problem:
            return
        self.repeated_rows += len(batch)
        self.noise_latencies.add((first.seconds, second.seconds))
        self.unsteady.update(
            path
            for path, value in first.about.items()
            if not is_same_value_or_tuple(value, second.about.get(path))
        )
        self.unsteady.update(first.types.keys() ^ second.types.keys())
        for path in first.fields.keys() & second.fields.keys():
            known = (
                self.fields.setdefault(path, Field())
                if len(self.fields) < MAX_FIELDS
                else self.fields.get(path)
            )
            if known is None:
                continue
            known.note_first(first.fields[path], second.fields[path])
            for one, other in zip(first.fields[path], second.fields[path], strict=False):
                size = difference(one, other)
                known.noise.extend([size])
                known.noise_changed += size > 0
                known.noise_beyond += self._is_beyond(known, path, -1, one, other, size)

    def add_repetitions(self, olds: Sequence[Answer], news: Sequence[Answer]) -> None:
        """Measure whether rows that differ do so in all repetitions."""
        if any(answer.problem for answer in (*olds, *news)):
            return
        news = [self._with_old_names(answer) for answer in news]
        for path, known in self.fields.items():
            is_settled = known.stable + known.unstable >= MAX_REPEATED
            if is_settled or not all(path in answer.fields for answer in (*olds, *news)):
                continue
            columns_old, columns_new = ([a.fields[path] for a in answers] for answers in (olds, news))
            for before, after in zip(
                zip(*columns_old, strict=False), zip(*columns_new, strict=False), strict=False
            ):
                first = difference(before[0], after[0])
                if known.is_numeric:
                    if not self._is_beyond(known, path, -1, before[0], after[0], first):
                        continue
                elif first == 0:
                    continue
                within = max(_spread(before), _spread(after))
                between = min(difference(one, other) for one in before for other in after)
                is_apart = between > 3 * within
                known.stable += is_apart
                known.unstable += not is_apart

    @property
    def needs_repetitions(self) -> bool:
        """Whether the rows that differ in some field were not asked again often enough."""
        return any(
            known.stable + known.unstable < MIN_REPEATED
            for known in self.fields.values()
            if (known.beyond if known.is_numeric else known.changed)
        )

    def sampled(self) -> Iterator[tuple[SampledRow, float, bool]]:
        """Yield the sampled rows, each with the number of rows that it stands for, and whether it differs."""
        for group in (self.same_rows, self.changed_rows, self.flipped_rows):
            weight = group.seen / len(group.items) if group.items else 0.0
            for kept in group.items:
                yield kept.row(), weight, group is not self.same_rows


def is_same_value_or_tuple(old: Any, new: Any) -> bool:
    """Return whether two values outside of rows are equal: plain ones, or tuples of them."""
    if isinstance(old, tuple) and isinstance(new, tuple):
        return len(old) == len(new) and all(map(is_same_value, old, new))
    return is_same_value(old, new)


def label_key(value: Any) -> Any:
    """Return a value as a key, which distinguishes 1, true and the text 1, and not 1 and 1.0."""
    if isinstance(value, (list, tuple)):
        return ("list", tuple(map(label_key, value)))
    if value is None:
        return ("null", None)
    if isinstance(value, bool):
        return ("boolean", value)
    if isinstance(value, (int, float)):
        is_number = not (isinstance(value, float) and math.isnan(value))
        return ("number", value if is_number else "NaN")
    return ("text", str(value))


def _are_equal(old: Sequence[Any], new: Sequence[Any]) -> bool:
    """Return whether all values are equal and of the same type; found in a fast way, which may miss it."""
    return len(old) == len(new) > 0 and old == new and set(map(type, old)) in ({float}, {str}, {int}, {list})


def _split(old: Sequence[Any], new: Sequence[Any]) -> tuple[list[int], list[int]]:
    """Return the positions of the plain values that are equal and of the same type, and all others."""
    equal: list[int] = []
    others: list[int] = []
    for index, (one, other) in enumerate(zip(old, new, strict=False)):
        is_equal = type(one) is type(other) and type(one) in PLAIN and one == other
        (equal if is_equal else others).append(index)
    return equal, others


def _spread(values: Sequence[Any]) -> float:
    return max((difference(values[0], value) for value in values[1:]), default=0.0)


def _numbers(value: Any) -> list[float]:
    if isinstance(value, list):
        return [number for item in value for number in _numbers(item)]
    return [value] if isinstance(value, float) and math.isfinite(value) else []


def _can_be_float32(number: float) -> bool:
    """Return whether a number may come from a float32, written with all of its digits or with the fewest."""
    return float(f"{number:.{DIGITS_OF_FLOAT32}g}") == number or _is_float32(number)


def _is_float32(number: float) -> bool:
    mantissa, exponent = math.frexp(number)
    return -125 <= exponent <= 128 and math.ldexp(mantissa, 24).is_integer()


def _is_fraction(value: Any) -> bool:
    return isinstance(value, float) and not (math.isfinite(value) and value.is_integer())
