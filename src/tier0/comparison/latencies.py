"""The latencies of both sides, in pairs of requests with the same body that were sent one after the other."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import Literal, NamedTuple

from tier0.comparison.chance import bounds_of_median

MAX_CHANCE = 1e-3
MIN_PAIRS = 12
SHORT = 1e-3
"""Seconds by which the median latency has to rise to count."""
SPREAD = 1.1
"""Smallest factor between two medians of the same side that is assumed."""
NEARLY = 0.8
"""Share of the limit from which on more pairs are needed to decide."""
Pairs = Sequence[tuple[float, float]]


class Latencies(NamedTuple):
    """Latencies of both sides.

    Attributes:
        pairs: number of pairs.
        old: median of the old side, in seconds.
        new: median of the new side, in seconds.
        ratio: median of the ratios within the pairs.
        lowest: lower bound of that ratio.
        spread: upper bound of the same ratio between two requests to the old side.
    """

    pairs: int
    old: float
    new: float
    ratio: float
    lowest: float
    spread: float

    def judged(self, limit: float) -> Literal["slower", "open", "same"]:
        """Return whether the new side is slower by the factor *limit*; open if more pairs may show it."""
        if self.ratio < NEARLY * limit or self.new - self.old <= SHORT:
            return "same"
        is_certain = self.lowest > max(self.spread, SPREAD)
        return "slower" if self.ratio >= limit and is_certain else "open"


def latencies_of(pairs: Pairs, noise: Pairs) -> Latencies | None:
    """Return the latencies; None if there are too few pairs.

    Args:
        pairs: seconds of a request to the old side and of one to the new side.
        noise: seconds of two requests to the same side.
    """
    ratios, of_noise = _log_ratios(pairs), _log_ratios(noise)
    if len(ratios) < MIN_PAIRS:
        return None
    low, _ = bounds_of_median(ratios, MAX_CHANCE)
    high = bounds_of_median(of_noise, MAX_CHANCE)[1] if len(of_noise) >= MIN_PAIRS else math.inf
    return Latencies(
        len(ratios),
        statistics.median(old for old, _ in pairs),
        statistics.median(new for _, new in pairs),
        math.exp(statistics.median(ratios)),
        math.exp(low),
        math.exp(high) if math.isfinite(high) else SPREAD,
    )


def _log_ratios(pairs: Pairs) -> list[float]:
    return [math.log(second / first) for first, second in pairs if min(first, second) > 0]
