"""The trained model's and the served outputs side by side, row by row, for the search for a pattern."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from tier0.core.outputs import PARTS
from tier0.golden.rows import GoldenRows
from tier0.golden.shown_values import rounded
from tier0.golden.tolerance import EXACT, Tolerance

RELATIVE = 1e-9
"""Relative difference between a served number and that of a pattern, which Tier0 computes in its own way."""
ABSOLUTE = 1e-12
CLOSER = 0.01
"""A pattern has to explain a number: its own number is this much closer to the served one."""

Outputs = Mapping[str, Sequence[Any]]
"""One output per row, by part."""


class Channel(tuple[float, ...]):
    """One number per row: the predictions of a regressor, or the probabilities of one class."""

    __slots__ = ()


@dataclass(frozen=True)
class SideBySide:
    """Golden rows and the outputs that a service returned for them.

    Attributes:
        golden: rows, with the trained model's outputs.
        outputs: served outputs by part, with one output per row.
        tolerance: tolerance of each part.
        parts: parts that are compared.
    """

    golden: GoldenRows
    outputs: Outputs
    tolerance: Mapping[str, Tolerance]
    parts: tuple[str, ...]

    @classmethod
    def of(
        cls,
        golden: GoldenRows,
        outputs: Mapping[str, Any],
        tolerance: Mapping[str, Tolerance],
        parts: Sequence[str],
    ) -> SideBySide:
        """Return the parts of which both sides have one output per row."""
        count = len(golden)
        paired = tuple(
            part
            for part in PARTS
            if part in parts
            and isinstance(getattr(golden, part), list)
            and isinstance(outputs.get(part), list)
            and len(getattr(golden, part)) == len(outputs[part]) == count
        )
        return cls(golden, {part: outputs[part] for part in paired}, tolerance, paired)

    def __len__(self) -> int:
        return len(self.golden)

    def expected(self, part: str) -> list[Any]:
        """Return the trained model's outputs."""
        values: list[Any] = getattr(self.golden, part)
        return values

    @cached_property
    def wrong(self) -> Mapping[str, frozenset[int]]:
        """Indices of the rows whose output differs, by part."""
        return {
            part: frozenset(
                index
                for index, pair in enumerate(zip(self.expected(part), self.outputs[part], strict=True))
                if not self.golden.is_same(part, *pair, self.tolerance.get(part, EXACT))
            )
            for part in self.parts
        }

    @cached_property
    def differing(self) -> list[int]:
        """Indices of the rows of which an output differs."""
        return sorted(frozenset().union(*self.wrong.values()))

    @cached_property
    def wrong_parts(self) -> tuple[str, ...]:
        """Parts of which an output differs."""
        return tuple(part for part in self.parts if self.wrong[part])

    @cached_property
    def are_labels_only(self) -> bool:
        """Whether only labels differ, of which chance can make two equal."""
        return self.wrong_parts == ("predictions",) and bool(self.golden.classes)

    def largest_difference(self) -> str:
        """Return the largest difference between two numbers as text; empty if the outputs have none."""
        largest = max(
            (
                abs(before - after)
                for part in self.wrong_parts
                if part != "predictions" or not self.golden.classes
                for index in self.wrong[part]
                for before, after in zip(
                    leaves(self.expected(part)[index]), leaves(self.outputs[part][index]), strict=False
                )
                if are_finite(before, after)
            ),
            default=0.0,
        )
        return rounded(largest) if largest and math.isfinite(largest) else ""

    def matches(self, part: str, index: int, value: Any) -> bool:
        """Return whether *value* is the served output of a row, and closer to it than the expected one."""
        served, expected = self.outputs[part][index], self.expected(part)[index]
        if index not in self.wrong[part]:
            return self.equals(value, served) or self.golden.is_same(
                part, value, served, self.tolerance.get(part, EXACT)
            )
        return self.equals(value, served) and _is_closer(value, served, expected)

    def equals(self, value: Any, served: Any) -> bool:
        """Return whether two outputs are equal, up to the arithmetic of a pattern."""
        if isinstance(value, list) and isinstance(served, list):
            return len(value) == len(served) and all(map(self.equals, value, served))
        if are_finite(value, served):
            return math.isclose(value, served, rel_tol=self._relative, abs_tol=ABSOLUTE)
        if isinstance(served, float) and math.isnan(served):
            return value is None or value != value  # noqa: PLR0124 - NaN
        return type(value) is type(served) and bool(value == served)

    @cached_property
    def _relative(self) -> float:
        return max(RELATIVE, *(4 * allowed.relative for allowed in self.tolerance.values()), 0.0)

    def channels(self, part: str) -> tuple[list[Channel], list[Channel]]:
        """Return the numbers of a part, expected and served; nothing if some outputs are not numbers."""
        rows = [
            (leaves(before), leaves(after))
            for before, after in zip(self.expected(part), self.outputs[part], strict=True)
        ]
        width = len(rows[0][0]) if rows else 0
        if not width or any(
            len(before) != width or len(after) != width or not are_finite(*before, *after)
            for before, after in rows
        ):
            return [], []
        return (
            [Channel(float(before[position]) for before, _ in rows) for position in range(width)],
            [Channel(float(after[position]) for _, after in rows) for position in range(width)],
        )

    def follows_probabilities(self, index: int) -> bool:
        """Return whether a served label follows from the served probabilities, as the model's labels do."""
        if "probabilities" not in self.parts:
            return False
        rule = self._label_rule
        return rule is not None and rule(self.outputs["probabilities"][index]) in {
            None,
            str(self.outputs["predictions"][index]),
        }

    @cached_property
    def _label_rule(self) -> Any:
        classes = [str(label) for label in self.golden.classes]
        expected = self.golden.probabilities or []
        width = len(classes)
        if width < 2 or self.golden.has_several_outputs or any(len(row) != width for row in expected):
            return None

        def most_probable(row: Any) -> str | None:
            if not isinstance(row, list) or len(row) != width or not are_finite(*row):
                return ""
            return classes[max(range(width), key=row.__getitem__)]

        labels = [str(label) for label in self.golden.predictions]
        if all(most_probable(row) == label for row, label in zip(expected, labels, strict=True)):
            return most_probable
        return self._threshold_rule(classes) if width == 2 else None

    def _threshold_rule(self, classes: Sequence[str]) -> Any:
        bounds = threshold_between(
            [row[1] for row in self.golden.probabilities or []],
            [str(label) == classes[1] for label in self.golden.predictions],
        )

        def above(row: Any) -> str | None:
            if bounds is None or not isinstance(row, list) or len(row) != 2 or not are_finite(*row):
                return ""
            return None if bounds[0] < row[1] < bounds[1] else classes[int(row[1] >= bounds[1])]

        return above


def threshold_between(
    probabilities: Sequence[float], are_positive: Sequence[bool]
) -> tuple[float, float] | None:
    """Return the largest number with a negative and the smallest with a positive label; None if they mix."""
    pairs = list(zip(probabilities, are_positive, strict=True))
    low = max((number for number, is_positive in pairs if not is_positive), default=-math.inf)
    high = min((number for number, is_positive in pairs if is_positive), default=math.inf)
    return (low, high) if low < high else None


def leaves(value: Any) -> list[Any]:
    """Return the plain values in nested lists and objects, in their order."""
    return list(_leaves(value))


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, list):
        for item in value:
            yield from _leaves(item)
    elif isinstance(value, Mapping):
        for key in sorted(value):
            yield from _leaves(value[key])
    else:
        yield value


def are_finite(*values: Any) -> bool:
    """Return whether all values are numbers that a float can hold."""
    try:
        return all(
            isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
            for value in values
        )
    except OverflowError:
        return False


def _is_closer(value: Any, served: Any, expected: Any) -> bool:
    """Return whether the numbers of a pattern are much closer to the served ones than the expected are."""
    triples = zip(leaves(value), leaves(served), leaves(expected), strict=False)
    changed = [(new, got, old) for new, got, old in triples if are_finite(new, got, old) and old != got]
    return not changed or any(abs(new - got) <= CLOSER * abs(old - got) for new, got, old in changed)


def rebuilt(like: Any, values: Iterator[float]) -> Any:
    """Return nested lists of the shape of *like* with *values* in place of its plain values."""
    if isinstance(like, list):
        return [rebuilt(item, values) for item in like]
    return next(values)


def rows_of(channels: Sequence[Sequence[float]], like: Sequence[Any]) -> list[Any]:
    """Return one output per row from one sequence of numbers per channel; the reverse of `channels`."""
    return [
        rebuilt(output, iter([channel[index] for channel in channels])) for index, output in enumerate(like)
    ]
