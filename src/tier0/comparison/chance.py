"""Chances: how likely counts and orders are if both sides have the same distribution."""

from __future__ import annotations

import math
from collections.abc import Sequence

NEGLIGIBLE = 1e-12


def chance_of_as_many(found: int, of: int, others: int, of_others: int) -> float:
    """Return the chance that at least *found* of all marked rows are in a group (Fisher's exact test).

    Args:
        found: marked rows in the group.
        of: rows in the group.
        others: marked rows outside of the group.
        of_others: rows outside of the group.
    """
    marked, rows = found + others, of + of_others
    if found <= 0 or not rows or found * of_others < others * of:
        return 1.0
    total, whole = 0.0, _log_choose(rows, of)
    for number in range(found, min(marked, of) + 1):
        if of - number > rows - marked:
            continue
        term = math.exp(_log_choose(marked, number) + _log_choose(rows - marked, of - number) - whole)
        total += term
        if term < total * NEGLIGIBLE:
            break
    return min(1.0, total)


def _log_choose(of: int, number: int) -> float:
    return math.lgamma(of + 1) - math.lgamma(number + 1) - math.lgamma(of - number + 1)


def bounds_of_median(values: Sequence[float], chance: float) -> tuple[float, float]:
    """Return bounds between which the median is, except by this *chance* on each side.

    They are infinite if there are too few values.
    """
    ordered, count = sorted(values), len(values)
    below, term = 0.0, 0.5**count if count < 1000 else 0.0
    rank = -1
    if count >= 1000:
        rank = int(count / 2 - 1.7 * math.sqrt(count))
    else:
        for number in range(count // 2):
            below += term
            if below > chance:
                break
            rank = number
            term *= (count - number) / (number + 1)
    if rank < 0:
        return -math.inf, math.inf
    return ordered[rank], ordered[count - 1 - rank]
