"""The ways in which a run can end before all of its tests have been run."""

from __future__ import annotations

from typing import Literal, NamedTuple


class CutShort(NamedTuple):
    """How a run ended early.

    Attributes:
        how: by Ctrl-C, by a test or an option, or by an error within pytest.
        reason: why it was stopped, in pytest's words or a test's.
    """

    how: Literal["interrupted", "stopped", "internal_error"]
    reason: str = ""

    @property
    def words(self) -> str:
        """The predicate of a sentence about the run."""
        return {
            "interrupted": "was interrupted",
            "stopped": f"was stopped ({self.reason})",
            "internal_error": "broke within pytest",
        }[self.how]
