"""The statistic that tells waits without jitter from waits that are alike by chance."""

from __future__ import annotations

import math
from collections.abc import Sequence

SHARE = 0.75
"""Share of equal waits without jitter; the scheduler may delay the rest."""
LEAST_JITTER = 0.15
"""Jitter that counts as such: the longest wait exceeds the shortest by this share."""


def chance_of_being_so_close(waits: Sequence[float], delay: float = 0.0) -> float:
    """Return the probability that waits with jitter are as close together as *waits*.

    The statistic is the range from the shortest of n waits to the s-th shortest, with s = ⌈0.75 n⌉. If waits
    are uniform on an interval of length w, this range is w times a spacing of uniform order statistics,
    which has the distribution Beta(s-1, n-s+2) (David and Nagaraja, Order Statistics, 3rd edition, 2003,
    section 2.3). Its distribution function at t is the probability that a binomial variable of n trials with
    probability t is at least s-1. The length w is at least the shortest wait times `LEAST_JITTER`, so that
    the result is an upper bound for every larger jitter, whether it is added or subtracted, half or full.

    A client fails below 1 in 1,000. Delays by the machine only increase the range.

    Args:
        waits: seconds that clients waited before the same retry.
        delay: seconds of the range that are due to delays by the machine.
    """
    ordered = sorted(waits)
    rank = math.ceil(SHARE * len(ordered))
    # Relative to the longest wait, which is an upper bound for the shortest, the jitter is a little smaller.
    least = LEAST_JITTER / (1 + LEAST_JITTER) * ordered[0]
    range_ = max(0.0, ordered[rank - 1] - ordered[0] - delay)
    share = range_ / least if least > 0 else 1.0
    return 1.0 if share >= 1 else _at_least(rank - 1, len(ordered), share)


def _at_least(successes: int, trials: int, probability: float) -> float:
    """Return the probability of at least *successes* in a binomial experiment."""
    return sum(
        math.comb(trials, count) * probability**count * (1 - probability) ** (trials - count)
        for count in range(successes, trials + 1)
    )
