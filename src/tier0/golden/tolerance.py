"""How far a served number may be from the trained model's: one rule, from the model's dtype and from how far it differs from itself."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

ROW_ALONE_TOLERANCE = 1e-12
"""Relative. For linear models in float64, a row alone and the same row in a batch differ in the last bits: BLAS picks other kernels."""
EPSILONS = {"float32": 2.0**-23, "float16": 2.0**-10, "bfloat16": 2.0**-7}
"""The distance from 1 to the next number, for types whose rounding errors are larger than `ROW_ALONE_TOLERANCE`."""
RELATIVE_EPSILONS = 32
"""What the rounding errors of a small network add up to, for numbers that are not close to 0."""
ABSOLUTE_EPSILONS = 4
"""The same for numbers close to 0, of the largest magnitude in their part: sums of large terms leave errors of the terms' size."""
SAFETY = 8
"""Another machine or batch may differ more than what was measured."""
MAX_ROUNDING = 1e-4
"""Of the largest magnitude. A model that differs more from itself draws random numbers, or mixes its rows: that is no rounding error."""


@dataclass(frozen=True)
class Spread:
    """How far a model's answers differ from themselves: a row alone and in a batch, in another order, and asked twice.

    Attributes:
        absolute: the largest difference between two answers to one row.
        relative: the largest difference, divided by the larger of the two answers. It is recorded for readers of the file: a sum close to
            0 makes it large by chance, so tolerances come from the absolute one.
    """

    absolute: float = 0.0
    relative: float = 0.0

    def widened(self, other: Spread) -> Spread:
        """Return the larger of both, field by field."""
        return Spread(max(self.absolute, other.absolute), max(self.relative, other.relative))


@dataclass(frozen=True)
class Tolerance:
    """How far two numbers may be apart: either of the two bounds is enough.

    Attributes:
        relative: of the larger of the two magnitudes.
        absolute: in the unit of the numbers.
    """

    relative: float = 0.0
    absolute: float = 0.0

    def widened(self, *, relative: float = 0.0, absolute: float = 0.0) -> Tolerance:
        """Return this tolerance, or what a user allows where that is more."""
        return Tolerance(max(self.relative, relative), max(self.absolute, absolute))

    def allows(self, expected: float, got: float) -> bool:
        """Return True if *got* is *expected*, or within this tolerance of it."""
        try:
            return expected == got or math.isclose(
                expected, got, rel_tol=self.relative, abs_tol=self.absolute
            )
        except OverflowError:  # an integer beyond all floats
            return False


EXACT = Tolerance()
NO_SPREAD = Spread()


def tolerance_for(
    dtype: str | None, spread: Spread | None, largest: float, *, same_arithmetic: bool, same_batch: bool
) -> Tolerance:
    """Return how far the served numbers of one part may be from the trained model's.

    Args:
        dtype: numpy's name for the type of the model's output; None if it is not known.
        spread: how far the model differs from itself; None if it was not measured.
        largest: the largest magnitude in that part.
        same_arithmetic: the same libraries on the same machine, with one thread.
        same_batch: the rows are asked together exactly as the model in memory was asked.
    """
    if same_arithmetic and (same_batch or spread == NO_SPREAD):
        return EXACT
    epsilon = EPSILONS.get(dtype or "", 0.0)
    relative = max(ROW_ALONE_TOLERANCE, RELATIVE_EPSILONS * epsilon)
    absolute = (
        0.0 if spread == NO_SPREAD else ABSOLUTE_EPSILONS * epsilon * largest
    )  # trees add in one order, everywhere
    if spread is not None:
        absolute = max(absolute, min(spread.absolute * SAFETY, MAX_ROUNDING * largest))
    return Tolerance(relative, absolute)


def largest_magnitude(values: Iterable[Any]) -> float:
    """Return the largest magnitude of the finite floats within nested *values*; 0 without any."""
    return max((abs(value) for value in _floats(values) if math.isfinite(value)), default=0.0)


def spread_between(first: Any, second: Any) -> Spread:
    """Return how far the floats at the same places of two nested values are apart; other values are labels, which have no distance."""
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
