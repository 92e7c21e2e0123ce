"""A pattern in which served outputs can differ, with the outputs that it implies."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from tier0.golden.differences.side_by_side import Outputs

Show = Callable[[str], str]
"""Returns a value of a row or of an output, as text, in the form in which a user may see it."""
MAX_NAME = 24
MAX_LISTED = 3


class Pattern(NamedTuple):
    """A pattern, and the outputs that a service with it would return.

    Attributes:
        kind: identifier, for programs.
        sentence: the pattern as a clause that claims only what was measured.
        cause: likely cause, as a clause.
        remedy: what to do about the cause.
        outputs: implied outputs by part; parts that it says nothing about are left out.
        trials: number of patterns of this kind that were tried, one of which may fit by chance.
        is_weak: whether it fits so few numbers that it may be chance.
        is_local: whether it may be limited to the rows that differ.
        is_fitted: whether its parameters were fitted to the served numbers, so that it has to explain all.
        is_of_outputs: whether outputs are changed, which changed values in a row could not imitate.
    """

    kind: str
    sentence: str
    cause: str
    remedy: str
    outputs: Outputs
    trials: int = 1
    is_weak: bool = False
    is_local: bool = False
    is_fitted: bool = False
    is_of_outputs: bool = False


class Selection(NamedTuple):
    """A property of rows: those that differ may be the ones that have it.

    Attributes:
        kind: identifier, for programs.
        sentence: which rows these are, to be read after "only rows".
        cause: likely cause, as a clause.
        remedy: what to do about the cause.
        rows: indices of the rows with the property.
        trials: number of properties of this kind that were tried.
    """

    kind: str
    sentence: str
    cause: str
    remedy: str
    rows: frozenset[int]
    trials: int = 1


def short(name: str) -> str:
    """Return the name of a column in quotes, shortened for a sentence."""
    return repr(name if len(name) <= MAX_NAME else f"{name[:MAX_NAME]}…")
