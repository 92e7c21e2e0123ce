"""Tolerances for served numbers, derived from the model's dtype and its differences from itself."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

ROW_ALONE_TOLERANCE = 1e-12
"""Relative tolerance for linear models in float64: a row alone and the same row in a batch differ in the last
bits, because BLAS selects other kernels."""
EPSILONS = {"float32": 2.0**-23, "float16": 2.0**-10, "bfloat16": 2.0**-7}
"""Distance from 1 to the next number, for types with rounding errors above `ROW_ALONE_TOLERANCE`."""
FLOAT64_EPSILON = 2.0**-52
RELATIVE_EPSILONS = 32
"""Sum of the rounding errors of a small network, in epsilons, for numbers that are not close to 0."""
ABSOLUTE_EPSILONS = 4
"""The same for numbers close to 0, relative to the largest magnitude of their part: the error of a sum is as
large as that of its terms."""
SAFETY = 8
"""Factor for differences on another machine or in another batch, which can exceed the measured ones."""
MAX_ROUNDING = 1e-4
"""Largest possible rounding error, relative to the largest magnitude. A model with larger differences from
itself draws random numbers or mixes rows."""


@dataclass(frozen=True)
class Spread:
    """Differences between a model's outputs for one row: alone, in a batch, in another order, repeated.

    Attributes:
        absolute: largest difference between two outputs for one row.
        relative: largest difference divided by the larger of the two outputs. It is recorded for readers of
            the file only: a sum close to 0 makes it large by chance, so tolerances use *absolute*.
        repeated: largest difference between two outputs for the same batch, such as that of a model with
            threads of its own.
    """

    absolute: float = 0.0
    relative: float = 0.0
    repeated: float = 0.0

    def widened(self, other: Spread) -> Spread:
        """Return the larger value of each field."""
        return Spread(
            max(self.absolute, other.absolute),
            max(self.relative, other.relative),
            max(self.repeated, other.repeated),
        )


@dataclass(frozen=True)
class Tolerance:
    """Allowed difference between two numbers, which must be within one of the two bounds.

    Attributes:
        relative: bound relative to the larger of the two magnitudes.
        absolute: bound in the unit of the numbers.
        fields: tolerances of the fields of objects, by name, where they differ.
    """

    relative: float = 0.0
    absolute: float = 0.0
    fields: Mapping[str, Tolerance] = field(default_factory=dict, hash=False)

    def of(self, name: str) -> Tolerance:
        """Return the tolerance of one field of an object."""
        return self.fields.get(name, self)

    def widened(self, *, relative: float = 0.0, absolute: float = 0.0) -> Tolerance:
        """Return this tolerance, with at least the given bounds."""
        return Tolerance(
            max(self.relative, relative),
            max(self.absolute, absolute),
            {
                name: inner.widened(relative=relative, absolute=absolute)
                for name, inner in self.fields.items()
            },
        )

    def allows(self, expected: float, got: float) -> bool:
        """Return whether *got* equals *expected* within this tolerance."""
        if expected == got:
            return True
        try:
            return math.isclose(expected, got, rel_tol=self.relative, abs_tol=self.absolute)
        except OverflowError:  # an integer larger than any float
            return False


EXACT = Tolerance()
NO_SPREAD = Spread()


def tolerance_for(
    dtype: str | None, spread: Spread | None, largest: float, *, same_arithmetic: bool, same_batch: bool
) -> Tolerance:
    """Return how far the served numbers of one part may be from the trained model's.

    Args:
        dtype: numpy dtype name of the model's output; None if it is unknown.
        spread: how far the model differs from itself; None if it was not measured.
        largest: largest magnitude of the part.
        same_arithmetic: the service runs on the same machine with the same libraries and one thread.
        same_batch: the rows are sent in the same batch that the model in memory predicted.
    """
    is_repeatable = spread is None or spread.repeated == 0
    if same_arithmetic and ((same_batch and is_repeatable) or spread == NO_SPREAD):
        return EXACT
    epsilon = EPSILONS.get(dtype or "", 0.0)
    relative, absolute = max(ROW_ALONE_TOLERANCE, RELATIVE_EPSILONS * epsilon), 0.0
    if (
        not same_arithmetic
    ):  # other threads add terms in another order: trees of a forest, products of a network
        absolute = min(RELATIVE_EPSILONS * (epsilon or FLOAT64_EPSILON), MAX_ROUNDING) * largest
    if spread != NO_SPREAD:
        absolute = max(absolute, ABSOLUTE_EPSILONS * epsilon * largest)
    if spread is not None:
        absolute = max(absolute, min(spread.absolute * SAFETY, MAX_ROUNDING * largest))
    return Tolerance(relative, absolute)


def largest_magnitude(values: Iterable[Any]) -> float:
    """Return the largest magnitude of the finite floats in nested *values*; 0 if there are none."""
    return max((abs(value) for value in _floats(values) if math.isfinite(value)), default=0.0)


def fields_in(values: Iterable[Any]) -> dict[str, list[Any]]:
    """Return the values of each field of the objects in nested lists; empty if there are none."""
    found: dict[str, list[Any]] = {}
    for value in values:
        if isinstance(value, list):
            for name, inner in fields_in(value).items():
                found.setdefault(name, []).extend(inner)
        elif isinstance(value, dict):
            for name, inner in value.items():
                found.setdefault(name, []).append(inner)
    return found


def inner_name(name: str, field_: str) -> str:
    """Return the name of a field of the objects of a part, such as ``predictions.score``."""
    return f"{name}.{field_}"


def spreads_between(name: str, first: Any, second: Any) -> dict[str, Spread]:
    """Return the differences between two nested values by the name of a part, and of each field within it."""
    found = {name: spread_between(first, second)}
    if isinstance(first, list) and isinstance(second, list):
        inner, other = fields_in(first), fields_in(second)
        for field_ in inner.keys() & other.keys():
            if len(inner[field_]) == len(other[field_]):
                found |= spreads_between(inner_name(name, field_), inner[field_], other[field_])
    return found


def spread_between(first: Any, second: Any) -> Spread:
    """Return the differences between floats at the same positions of two nested values; labels have none."""
    if isinstance(first, dict) and isinstance(second, dict):
        first, second = list(first.values()), [second.get(name) for name in first]
    if isinstance(first, list) and isinstance(second, list):
        spread = NO_SPREAD
        for pair in zip(first, second, strict=False):
            spread = spread.widened(spread_between(*pair))
        return spread
    if not isinstance(first, float) or not isinstance(second, float) or first == second:
        return NO_SPREAD
    return Spread(abs(first - second), abs(first - second) / max(abs(first), abs(second)))


def _floats(values: Iterable[Any]) -> Iterator[float]:
    for value in values:
        if isinstance(value, float):
            yield value
        elif isinstance(value, list):
            yield from _floats(value)
        elif isinstance(value, dict):
            yield from _floats(value.values())
