"""Origins of golden rows, by which checks select rows.

The text of an origin is for display only; nothing parses it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

ExampleKind = Literal["example", "synthetic"]
EdgeCaseKind = Literal[
    "missing", "unseen", "boundary", "decision", "large_integer", "inside", "outside", "text"
]
EXAMPLE_KINDS: frozenset[str] = frozenset(get_args(ExampleKind))
EDGE_CASE_KINDS: frozenset[str] = frozenset(get_args(EdgeCaseKind))
UNRECOGNIZED = "unrecognized: "


@dataclass(frozen=True)
class Origin:
    """Origin of a golden row.

    Attributes:
        kind: one of `ExampleKind` or `EdgeCaseKind`. Other kinds are allowed, since files of later versions
            may have them; their rows are treated like examples.
        column: column that the row was made for; None for the whole row. In a row of kind ``missing`` without
            a column, every optional value is missing.
        side: ``below`` or ``above`` a boundary or a range, ``before`` or ``after`` a decision; None for other
            kinds.
    """

    kind: str
    column: str | None = None
    side: str | None = None

    @property
    def is_edge_case(self) -> bool:
        """Whether the row belongs to the batch of edge cases."""
        return self.kind in EDGE_CASE_KINDS

    @property
    def is_extreme(self) -> bool:
        """Whether the row has a value outside the range of the examples, so that its output may be huge."""
        return self.kind in {"large_integer", "outside"}

    @property
    def is_known(self) -> bool:
        """Whether this version of Tier0 makes rows of this kind."""
        return self.is_edge_case or self.kind in EXAMPLE_KINDS

    def __str__(self) -> str:
        if self.kind == "missing":
            return "every optional value missing" if self.column is None else f"{self.column} missing"
        if self.kind == "decision":
            return f"just {self.side} the decision changes" if self.side else "near the decision"
        place = "near" if self.side is None else f"just {self.side}"
        sentences = {
            "unseen": f"unseen category{self._of_column(' in ')}",
            "boundary": f"{place} a boundary{self._of_column(' of ')}",
            "large_integer": f"integer too large for a float{self._of_column(' in ')}",
            "inside": f"another value{self._of_column(' of ')}",
            "outside": f"{self.side or 'outside'} the examples' values{self._of_column(' of ')}",
            "text": f"unusual text{self._of_column(' in ')}",
        }
        return sentences.get(self.kind, f"{self.kind}{self._of_column(' of ')}")

    def _of_column(self, preposition: str) -> str:
        return "" if self.column is None else preposition + self.column


EXAMPLE = Origin("example")
SYNTHETIC = Origin("synthetic")


def read_sentences(sentences: Sequence[str], columns: Sequence[str]) -> list[Origin]:
    """Convert the origins of a file with schema 2, which were sentences.

    The function rebuilds every sentence that the old version wrote for *columns*, and looks up complete
    sentences. A sentence that this version did not write, or wrote for two origins, gets a kind that no check
    selects.
    """
    origins = {
        "example": {EXAMPLE},
        "synthetic": {SYNTHETIC},
        "everything missing that may be": {Origin("missing")},
    }
    for side in ("before", "after"):
        origins[f"just {side} the decision changes"] = {Origin("decision", side=side)}
    for column in columns:
        for sentence, origin in (
            (f"{column} missing", Origin("missing", column)),
            (f"{column} never seen", Origin("unseen", column)),
            (f"just below a boundary of {column}", Origin("boundary", column, "below")),
            (f"just above a boundary of {column}", Origin("boundary", column, "above")),
            (f"{column} beyond what a float holds", Origin("large_integer", column)),
        ):
            origins.setdefault(sentence, set()).add(origin)
    found = [origins.get(sentence, set()) for sentence in sentences]
    return [
        next(iter(matching)) if len(matching) == 1 else Origin(UNRECOGNIZED + sentence)
        for matching, sentence in zip(found, sentences, strict=True)
    ]
