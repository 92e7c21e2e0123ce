"""Measuring how far a model in memory differs from itself, so that no service is accused of the model's own rounding errors."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tier0.golden.rows import PARTS, Spread
from tier0.golden.tolerance import NO_SPREAD, spread_between

if TYPE_CHECKING:
    from tier0.golden.prediction import Output

MAX_SINGLE_ROWS = 20
MAX_SECONDS = 2.0
MIN_ROWS = 5
"""Fewer rows may be equal in every batch by chance."""


@dataclass
class Meter:
    """Collects the differences between a model's answers to the same rows.

    Attributes:
        spreads: what was measured so far, for each part.
        is_complete: whether all was asked that should be: only then does a spread of 0 mean that there is none.
        alone: how many rows were asked alone.
    """

    spreads: dict[str, Spread] = field(default_factory=dict)
    is_complete: bool = True
    alone: int = 0

    def add(self, expected: Output, got: Output, order: list[int]) -> None:
        """Compare *got* for the rows in *order* with what was *expected* of them."""
        self.alone += len(order) == 1
        for part in PARTS:
            whole, chosen = getattr(expected, part), getattr(got, part)
            if whole is not None and chosen is not None:
                between = spread_between([whole[index] for index in order], chosen)
                self.spreads[part] = self.spreads.get(part, NO_SPREAD).widened(between)

    def known(self) -> dict[str, Spread]:
        """Return the spread of each part for which it is known."""
        is_proof = self.is_complete and self.alone >= MIN_ROWS
        return {part: spread for part, spread in self.spreads.items() if is_proof or spread != NO_SPREAD}


def measure(ask: Callable[[list[list[Any]]], Output], rows: list[list[Any]], together: Output) -> Meter:
    """Ask the model for *rows* in other batches, and compare with its answers to all of them *together*.

    It stops after `MAX_SECONDS`: a slow model shall not make registration slow.
    """
    meter = Meter()
    end = time.monotonic() + MAX_SECONDS
    for order in _batches(len(rows)):
        if time.monotonic() > end:
            meter.is_complete = False
            break
        try:
            got = ask([rows[index] for index in order])
        except Exception:  # noqa: BLE001 - a model may refuse a batch for any reason; then this batch shows nothing
            meter.is_complete = False
            continue
        meter.add(together, got, order)
    return meter


def _batches(count: int) -> Iterator[list[int]]:
    """Yield what the checks will ask: all again, in another order, in parts, beside copies of themselves, and one by one."""
    everything = list(range(count))
    yield everything
    yield everything[::-1]
    yield everything[: count // 2 + 1]
    yield everything[count // 2 :]
    yield [index for index in everything[:MAX_SINGLE_ROWS] for _ in range(2)]
    yield from ([index] for index in everything[:MAX_SINGLE_ROWS])
