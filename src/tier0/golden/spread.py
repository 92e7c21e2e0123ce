"""Measurement of a model's differences from itself, so that its own rounding errors fail no check."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from tier0.core.outputs import PARTS
from tier0.golden.tolerance import NO_SPREAD, Spread, spreads_between

if TYPE_CHECKING:
    from tier0.golden.prediction import Output

MAX_REPEATED_ROWS = 20
MAX_SECONDS = 2.0
MEASURED_ALWAYS = 5
"""Batches that are measured however slow the model is."""
MIN_ROWS = 5
"""Rows needed to show that a model has no spread; fewer can be equal in every batch by chance."""


@dataclass
class Meter:
    """Accumulator of the differences between a model's outputs for the same rows.

    Attributes:
        spreads: measured spread of each part, and of each field of its objects.
        is_complete: whether all batches were measured; only then does a spread of 0 mean that there is none.
        alone: number of rows that were predicted alone.
    """

    spreads: dict[str, Spread] = field(default_factory=dict)
    is_complete: bool = True
    alone: int = 0

    def add(self, expected: Output, got: Output, order: list[int], *, is_same_memory: bool = True) -> None:
        """Add the differences between *expected*, for all rows, and *got*, for the rows in *order*.

        Args:
            expected: output for all rows.
            got: output for some of them.
            order: indices of the rows of *got*.
            is_same_memory: whether the values had the same order in memory.
        """
        self.alone += len(order) == 1
        for part in PARTS:
            before, after = getattr(expected, part), getattr(got, part)
            if before is not None and after is not None:
                differences = spreads_between(part, [before[index] for index in order], after)
                for name, difference in differences.items():
                    if is_same_memory and order == list(range(len(before))):  # the same batch again
                        difference = replace(difference, repeated=difference.absolute)  # noqa: PLW2901
                    self.spreads[name] = self.spreads.get(name, NO_SPREAD).widened(difference)

    def known(self) -> dict[str, Spread]:
        """Return the spread of each part, without zeros that the measurement does not prove."""
        proves_zero = self.is_complete and self.alone >= MIN_ROWS
        return {part: spread for part, spread in self.spreads.items() if proves_zero or spread != NO_SPREAD}


def measure(predict: Callable[[list[list[Any]]], Output], rows: list[list[Any]], together: Output) -> Meter:
    """Predict *rows* in other batches, and compare with the outputs for all of them *together*.

    The measurement ends after `MAX_SECONDS`, so that a slow model does not slow down its registration, but
    not before the same batch, some single rows and another batch.
    """
    meter = Meter()
    end = time.monotonic() + MAX_SECONDS
    for number, order in enumerate(_batches(len(rows))):
        if number >= MEASURED_ALWAYS and time.monotonic() > end:
            meter.is_complete = False
            break
        try:
            got = predict([rows[index] for index in order])
        except Exception:  # noqa: BLE001 - a model can reject a batch with any error; other batches still count
            meter.is_complete = False
            continue
        meter.add(together, got, order)
    return meter


def _batches(count: int) -> Iterator[list[int]]:
    """Yield batches like those of the checks: repeated, single rows, halved, reversed, duplicated."""
    indices = list(range(count))
    yield indices
    first = sorted({0, count // 2, count - 1})
    yield from ([index] for index in first)
    yield indices[count // 2 :]
    yield indices[: count // 2 + 1]
    yield indices[::-1]
    yield [index for index in indices[:MAX_REPEATED_ROWS] for _ in range(2)]
    # all: in a linear model, a single row may be the only one to differ
    yield from ([index] for index in indices if index not in first)
