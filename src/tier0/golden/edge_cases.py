"""Rows that services get wrong although their models get them right: found by asking the model in memory.

Nobody's rows: each is an example with one thing changed, and the model's answer to it was computed like all others.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from tier0.core.errors import RegistrationError
from tier0.golden.origins import Origin
from tier0.golden.signature import BEYOND_A_FLOAT

if TYPE_CHECKING:
    from tier0.golden.prediction import Output
    from tier0.golden.signature import Feature, Signature

MAX_COLUMNS = 8
GRID = 16
MAX_ROUNDS = 20
MARGIN = 1e-9
"""Relative distance from a boundary: far more than the last bits in which machines differ, far less than a float32 can tell."""
JUMP = 1e-6
UNSEEN = "tier0-unseen"
PAIRS_TRIED = 2
MAX_VALUES = 30

Row = list[Any]
Ask = Callable[[list[Row]], "Output"]
"""Answers rows of JSON values; raises where the model has no answer."""


def edge_case_rows(
    ask: Ask, signature: Signature, rows: list[Row], decision_margin: float = MARGIN
) -> tuple[list[Row], list[Origin]]:
    """Return rows like *rows* with something in them that is easily lost, and the origin of each.

    They have missing values, categories that were never seen, whole numbers that no float holds, values on both sides of a
    boundary at which the model's answer jumps, and values on both sides of the decision between two classes; each only where
    the model has it. *decision_margin* is the distance from the decision, as a share of the way from one example
    to another: more for models with larger rounding errors.
    """
    base = next((row for row in rows if None not in row), rows[0])
    found = _answered(ask, [*_missing(signature, base), *_unseen(signature, base), *_large(signature, base)])
    lines = [
        *_lines_through_columns(signature, base, rows),
        *_line_between_classes(ask, signature, rows, decision_margin),
    ]
    for line in _search(ask, lines):
        found += [(line.row_at(line.low), line.below), (line.row_at(line.high), line.above)]
    return [row for row, _ in found], [origin for _, origin in found]


def synthetic_rows(signature: Signature, rows: list[Row], count: int, seed: int) -> list[Row]:
    """Return *count* rows that are none of *rows*: each value drawn by itself, within its column's range or vocabulary."""
    draw = random.Random(seed)  # noqa: S311 - rows, not secrets
    for position, feature in enumerate(signature.features):
        different = {row[position] for row in rows}
        if feature.kind == "text" and len(different) > MAX_VALUES:
            raise RegistrationError(
                f"column {feature.name!r} of the sample has {len(different)} different texts, which synthetic rows would repeat: "
                "they may be names or addresses. Replace them in the sample, or give examples that may be kept."
            )
    columns = [[row[position] for row in rows] for position in range(len(signature.features))]
    return [
        [_drawn(feature, column, draw) for feature, column in zip(signature.features, columns, strict=True)]
        for _ in range(count)
    ]


def _drawn(feature: Feature, column: list[Any], draw: random.Random) -> Any:
    value = draw.choice(column)
    if value is None or feature.kind not in {"number", "integer"} or feature.categories is not None:
        return value
    present = [value for value in column if value is not None]
    if feature.kind == "integer":
        return draw.randint(min(present), max(present))
    number = draw.uniform(min(present), max(present))
    return float(np.float32(number)) if feature.dtype == "float32" else number


def _changed(row: Row, position: int, value: Any) -> Row:
    return [value if index == position else old for index, old in enumerate(row)]


def _missing(signature: Signature, base: Row) -> Iterator[tuple[Row, Origin]]:
    accepting = [position for position, feature in enumerate(signature.features) if feature.accepts_missing]
    for position in accepting[:MAX_COLUMNS]:
        yield _changed(base, position, None), Origin("missing", signature.features[position].name)
    if len(accepting) > 1:
        yield (
            [None if position in accepting else value for position, value in enumerate(base)],
            Origin("missing"),
        )


def _unseen(signature: Signature, base: Row) -> Iterator[tuple[Row, Origin]]:
    for position, feature in enumerate(signature.features):
        if feature.kind == "text" and feature.categories is None:
            yield _changed(base, position, UNSEEN), Origin("unseen", feature.name)


def _large(signature: Signature, base: Row) -> Iterator[tuple[Row, Origin]]:
    for position, feature in enumerate(signature.features):
        if (
            feature.kind == "integer"
            and not feature.accepts_missing
            and feature.dtype.lower().endswith(("int64", "object"))
            and feature.categories is None
        ):
            yield _changed(base, position, BEYOND_A_FLOAT + 1), Origin("large_integer", feature.name)


def _answered(ask: Ask, candidates: list[tuple[Row, Origin]]) -> list[tuple[Row, Origin]]:
    """Return those to which the model has an answer; all at once where it has one to all."""
    if not candidates:
        return []
    try:
        ask([row for row, _ in candidates])
    except Exception:  # noqa: BLE001 - whatever the model raises, it has no answer, and nobody can be asked for it
        middle = len(candidates) // 2
        return _answered(ask, candidates[:middle]) + _answered(ask, candidates[middle:]) if middle else []
    return candidates


@dataclass(eq=False)
class _Line:
    """A way through the space of rows, along which the model's answer may jump; *low* and *high* close in on the place."""

    row_at: Callable[[Any], Row]
    low: Any
    high: Any
    as_value: Callable[[Any], Any]
    step_off: bool
    by_label: bool
    below: Origin
    above: Origin
    margin: float = MARGIN

    def grid(self) -> list[Any]:
        return sorted(
            {self.as_value(value) for value in np.linspace(self.low, self.high, GRID + 1)[1:-1]}
            - {self.low, self.high}
        )

    def close_in(self, grid: list[Any], at_low: Any, outputs: Sequence[Any]) -> None:
        first = next((index for index, output in enumerate(outputs) if output != at_low), None)
        if first is None:
            self.low = grid[-1]
        else:
            self.low, self.high = grid[first - 1] if first else self.low, grid[first]

    def step_back(self) -> None:
        """Leave the place itself, where the last bit decides, and which another machine may see on the other side."""
        if self.step_off:
            self.low = self.as_value(self.low - self._step(self.low))
            self.high = self.as_value(self.high + self._step(self.high))

    def _step(self, value: float) -> float:
        return (
            self.margin if self.by_label else self.margin * max(abs(value), self.margin)
        )  # a decision is at a share of the way: from 0 to 1

    def outputs(self, output: Output, start: int, count: int) -> Sequence[Any]:
        values = output.predictions if self.by_label or output.probabilities is None else output.probabilities
        return values[start : start + count]


def _search(ask: Ask, lines: list[_Line]) -> list[_Line]:
    """Find on each line two values next to each other between which the answer jumps; lines without such a place are left out.

    Each round asks `GRID` values of every line at once, so that sixteen rounds tell two neighbouring floats apart.
    """
    at_ends = _ask_lines(ask, [(line, [line.low, line.high]) for line in lines])
    lines = [line for line, (below, above) in at_ends if _jumps(below, above)]
    starts = {id(line): below for line, (below, _) in at_ends}
    for _ in range(MAX_ROUNDS):
        open_ = [(line, grid) for line in lines if (grid := line.grid())]
        if not open_:
            break
        answered = {id(line): outputs for line, outputs in _ask_lines(ask, open_)}
        for line, grid in open_:
            if id(line) in answered:
                line.close_in(grid, starts[id(line)], answered[id(line)])
            else:
                lines.remove(line)
    for line in lines:
        line.step_back()
    return [
        line
        for line, (below, above) in _ask_lines(ask, [(line, [line.low, line.high]) for line in lines])
        if _jumps(below, above)
    ]


def _ask_lines(ask: Ask, asked: list[tuple[_Line, list[Any]]]) -> list[tuple[_Line, Sequence[Any]]]:
    """Ask for values of several lines at once; a line on which the model has no answer is left out."""
    if not asked:
        return []
    rows = [line.row_at(value) for line, values in asked for value in values]
    try:
        output = ask(rows)
    except Exception:  # noqa: BLE001 - see `_answered`
        return [] if len(asked) == 1 else [answer for one in asked for answer in _ask_lines(ask, [one])]
    answers, start = [], 0
    for line, values in asked:
        answers.append((line, line.outputs(output, start, len(values))))
        start += len(values)
    return answers


def _lines_through_columns(signature: Signature, base: Row, rows: list[Row]) -> Iterator[_Line]:
    for position in _numeric(signature)[:MAX_COLUMNS]:
        feature = signature.features[position]
        values = [row[position] for row in rows if row[position] is not None]
        if values and min(values) < max(values):
            yield _Line(
                partial(_changed, base, position),
                min(values),
                max(values),
                partial(_as_kind, feature),
                step_off=feature.kind == "number",
                by_label=False,
                below=Origin("boundary", feature.name, "below"),
                above=Origin("boundary", feature.name, "above"),
            )


def _line_between_classes(ask: Ask, signature: Signature, rows: list[Row], margin: float) -> Iterator[_Line]:
    """Yield the way from an example of one class to an example of another, on which the decision changes somewhere."""
    moving = _numeric(signature)
    complete = [row for row in rows if None not in row]
    if signature.task != "classification" or not moving or len(complete) <= 1:
        return
    labels = ask(complete).predictions
    start, others = (
        complete[0],
        [row for row, label in zip(complete, labels, strict=True) if label != labels[0]],
    )
    for end in others[:PAIRS_TRIED]:

        def row_at(share: float, end: Row = end) -> Row:
            return [
                _as_kind(signature.features[index], old + share * (end[index] - old))
                if index in moving
                else old
                for index, old in enumerate(start)
            ]

        before, after = Origin("decision", side="before"), Origin("decision", side="after")
        yield _Line(
            row_at, 0.0, 1.0, float, step_off=True, by_label=True, below=before, above=after, margin=margin
        )


def _numeric(signature: Signature) -> list[int]:
    return [
        position
        for position, feature in enumerate(signature.features)
        if feature.kind in {"number", "integer"} and feature.categories is None and feature.dtype != "object"
    ]


def _as_kind(feature: Feature, value: float) -> Any:
    if feature.kind == "integer":
        return round(value)
    return float(np.float32(value)) if feature.dtype == "float32" else float(value)


def _jumps(below: Any, above: Any) -> bool:
    """Return True if two answers differ by more than a continuous model's would in so small a step."""
    if isinstance(below, list) and isinstance(above, list):
        return any(_jumps(*pair) for pair in zip(below, above, strict=True))
    if isinstance(below, float) and isinstance(above, float):
        return not math.isclose(below, above, rel_tol=JUMP, abs_tol=JUMP)
    return bool(below != above)
