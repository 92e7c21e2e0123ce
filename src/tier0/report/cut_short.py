"""Ways in which a run can end before all of its tests have run."""

from __future__ import annotations

from typing import Literal, NamedTuple


class CutShort(NamedTuple):
    """The early end of a run.

    Attributes:
        how: interrupted by Ctrl-C, stopped by a test or an option, or ended by an internal error of pytest.
        reason: reason of a stop, from pytest or a test.
    """

    how: Literal["interrupted", "stopped", "internal_error"]
    reason: str = ""

    @property
    def words(self) -> str:
        """The predicate of a sentence with the run as its subject."""
        return {
            "interrupted": "was interrupted",
            "stopped": f"was stopped ({self.reason})",
            "internal_error": "ended with an internal error of pytest",
        }[self.how]
