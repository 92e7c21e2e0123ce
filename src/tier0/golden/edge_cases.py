"""Edge cases: rows that services often get wrong although the model gets them right.

Each is an example with one change, so it is not the data of a real person. The search for them calls the
model in memory.
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
from tier0.golden.signature import MAX_EXACT_INTEGER, SMALL_FLOATS

if TYPE_CHECKING:
    from tier0.golden.prediction import Output
    from tier0.golden.signature import Feature, Signature

MAX_COLUMNS = 8
GRID = 16
"""Number of parts into which each round of the search divides a line."""
MAX_ROUNDS = 20
MARGIN = 1e-9
"""Relative distance from a boundary: far above the last bits in which machines differ, far below the
precision of a float32."""
JUMP = 1e-6
UNSEEN = "tier0-unseen"
PAIRS_TRIED = 2
STARTS_TRIED = 5
MAX_VALUES = 30

Row = list[Any]
Predict = Callable[[list[Row]], "Output"]
"""Return the model's output for rows of JSON values; raise if it has none."""


def edge_case_rows(
    predict: Predict, signature: Signature, rows: list[Row], decision_margin: float = MARGIN
) -> list[tuple[Row, Origin]]:
    """Return variations of *rows* that services often get wrong, and the origin of each.

    They have missing values, unseen categories, integers too large for a float, values on both sides of a
    boundary at which the model's output jumps, and values on both sides of the decision between two classes,
    each only if the model has an output for them.

    Args:
        predict: function that calls the model.
        signature: signature of the model.
        rows: examples as JSON values.
        decision_margin: distance from the decision, as a fraction of the line between two examples; larger
            for models with larger rounding errors.
    """
    base = rows[base_of(rows)]
    candidates = [*_missing(signature, base), *_unseen(signature, base), *_large(signature, base)]
    found = predictable(predict, candidates)
    lines = [
        *_lines_through_columns(signature, base, rows),
        *_lines_between_classes(predict, signature, rows, decision_margin),
    ]
    for line in _search(predict, lines):
        found += [(line.row_at(line.low), line.below), (line.row_at(line.high), line.above)]
    return found


def base_of(rows: list[Row]) -> int:
    """Return the index of the example that is changed: the first one without missing values, if any."""
    return next((index for index, row in enumerate(rows) if None not in row), 0)


def synthetic_rows(signature: Signature, rows: list[Row], count: int, seed: int) -> list[Row]:
    """Return *count* new rows, with each value drawn independently within the range or values of its column.

    Raises:
        RegistrationError: a text column has so many values that they could be personal data.
    """
    generator = random.Random(seed)  # noqa: S311 - rows, not secrets
    for position, feature in enumerate(signature.features):
        values = {row[position] for row in rows}
        if feature.kind == "text" and len(values) > MAX_VALUES:
            raise RegistrationError(
                f"column {feature.name!r} of the sample has {len(values)} different texts, which synthetic "
                "rows would repeat: they may be names or addresses. Replace them in the sample, or pass "
                "examples that may be stored."
            )
    columns = [[row[position] for row in rows] for position in range(len(signature.features))]
    pairs = list(zip(signature.features, columns, strict=True))
    return [[_draw(feature, column, generator) for feature, column in pairs] for _ in range(count)]


def _draw(feature: Feature, column: list[Any], generator: random.Random) -> Any:
    value = generator.choice(column)
    if value is None or feature.kind not in {"number", "integer"} or feature.categories is not None:
        return value
    present = [value for value in column if value is not None]
    if feature.kind == "integer":
        return generator.randint(min(present), max(present))
    number = generator.uniform(min(present), max(present))
    return _in_precision(feature, number)


def changed(row: Row, position: int, value: Any) -> Row:
    """Return *row* with another value at *position*."""
    return [value if index == position else old for index, old in enumerate(row)]


def _missing(signature: Signature, base: Row) -> Iterator[tuple[Row, Origin]]:
    accepting = [position for position, feature in enumerate(signature.features) if feature.accepts_missing]
    for position in accepting[:MAX_COLUMNS]:
        yield changed(base, position, None), Origin("missing", signature.features[position].name)
    if len(accepting) > 1:
        all_missing = [None if position in accepting else value for position, value in enumerate(base)]
        yield all_missing, Origin("missing")


def _unseen(signature: Signature, base: Row) -> Iterator[tuple[Row, Origin]]:
    for position, feature in enumerate(signature.features):
        if feature.kind == "text" and feature.categories is None:
            yield changed(base, position, UNSEEN), Origin("unseen", feature.name)


def _large(signature: Signature, base: Row) -> Iterator[tuple[Row, Origin]]:
    for position, feature in enumerate(signature.features):
        if (
            feature.kind == "integer"
            and not feature.accepts_missing
            and feature.value_dtype.endswith(("int64", "object"))
            and feature.categories is None
        ):
            yield changed(base, position, MAX_EXACT_INTEGER + 1), Origin("large_integer", feature.name)


def predictable(predict: Predict, candidates: list[tuple[Row, Origin]]) -> list[tuple[Row, Origin]]:
    """Return the candidates for which the model has an output, with a single call if that succeeds."""
    if not candidates:
        return []
    try:
        predict([row for row, _ in candidates])
    except Exception:  # noqa: BLE001 - any error of the model means that it has no output for some of the rows
        middle = len(candidates) // 2
        if not middle:
            return []
        return predictable(predict, candidates[:middle]) + predictable(predict, candidates[middle:])
    return candidates


@dataclass(eq=False)
class _Line:
    """A line through the space of rows on which the model's output may jump.

    Attributes:
        row_at: return the row at a position on the line.
        low: position below the jump; the search moves it towards the jump.
        high: position above the jump.
        as_value: convert a number to a position.
        can_step: whether positions are continuous, so that they can be moved away from the jump.
        by_label: compare labels, not probabilities.
        below: origin of the row at *low*.
        above: origin of the row at *high*.
        margin: distance of both rows from the jump.
    """

    row_at: Callable[[Any], Row]
    low: Any
    high: Any
    as_value: Callable[[Any], Any]
    can_step: bool
    by_label: bool
    below: Origin
    above: Origin
    margin: float = MARGIN

    def grid(self) -> list[Any]:
        """Return the positions between *low* and *high* for the next round; empty if there are none."""
        inner = np.linspace(self.low, self.high, GRID + 1)[1:-1]
        return sorted({self.as_value(value) for value in inner} - {self.low, self.high})

    def close_in(self, grid: list[Any], at_low: Any, outputs: Sequence[Any]) -> None:
        """Move *low* and *high* next to the first position of *grid* whose output is not *at_low*."""
        first = next((index for index, output in enumerate(outputs) if output != at_low), None)
        if first is None:
            self.low = grid[-1]
        else:
            self.low, self.high = grid[first - 1] if first else self.low, grid[first]

    def step_back(self) -> None:
        """Move both rows away from the jump, where the last bit decides, which differs between machines."""
        if self.can_step:
            self.low = self.as_value(self.low - self._step(self.low))
            self.high = self.as_value(self.high + self._step(self.high))

    def _step(self, position: float) -> float:
        if self.by_label:  # the position is a fraction of the line, from 0 to 1
            return self.margin
        return self.margin * max(abs(position), self.margin)

    def outputs(self, output: Output, start: int, count: int) -> Sequence[Any]:
        """Return the part of *output* for *count* rows of this line, in which the jump is searched."""
        values = output.predictions if self.by_label or output.probabilities is None else output.probabilities
        return values[start : start + count]


def _search(predict: Predict, lines: list[_Line]) -> list[_Line]:
    """Return the lines on which the model's output jumps, with *low* and *high* next to the jump.

    Each round predicts `GRID` positions of every line with one call; sixteen rounds distinguish two adjacent
    floats.
    """
    ends = _predict_lines(predict, [(line, [line.low, line.high]) for line in lines])
    lines = [line for line, (below, above) in ends if _jumps(below, above)]
    starts = {id(line): below for line, (below, _) in ends}
    for _ in range(MAX_ROUNDS):
        unfinished = [(line, grid) for line in lines if (grid := line.grid())]
        if not unfinished:
            break
        found = {id(line): outputs for line, outputs in _predict_lines(predict, unfinished)}
        for line, grid in unfinished:
            if id(line) in found:
                line.close_in(grid, starts[id(line)], found[id(line)])
            else:
                lines.remove(line)
    for line in lines:
        line.step_back()
    ends = _predict_lines(predict, [(line, [line.low, line.high]) for line in lines])
    return [line for line, (below, above) in ends if _jumps(below, above)]


def _predict_lines(
    predict: Predict, positions: list[tuple[_Line, list[Any]]]
) -> list[tuple[_Line, Sequence[Any]]]:
    """Predict positions on several lines with one call, without lines for which the model has no output."""
    if not positions:
        return []
    rows = [line.row_at(value) for line, values in positions for value in values]
    try:
        output = predict(rows)
    except Exception:  # noqa: BLE001 - see `predictable`
        if len(positions) == 1:
            return []
        return [found for position in positions for found in _predict_lines(predict, [position])]
    outputs, start = [], 0
    for line, values in positions:
        outputs.append((line, line.outputs(output, start, len(values))))
        start += len(values)
    return outputs


def _lines_through_columns(signature: Signature, base: Row, rows: list[Row]) -> Iterator[_Line]:
    for position in numeric_columns(signature)[:MAX_COLUMNS]:
        feature = signature.features[position]
        values = [row[position] for row in rows if row[position] is not None]
        if values and min(values) < max(values):
            yield _Line(
                partial(changed, base, position),
                min(values),
                max(values),
                partial(as_kind, feature),
                can_step=feature.kind == "number",
                by_label=False,
                below=Origin("boundary", feature.name, "below"),
                above=Origin("boundary", feature.name, "above"),
            )


def _lines_between_classes(
    predict: Predict, signature: Signature, rows: list[Row], margin: float
) -> Iterator[_Line]:
    """Yield lines between rows with different labels, on which the decision changes somewhere."""
    moving = numeric_columns(signature)
    complete = [row for row in rows if None not in row]
    if signature.task != "classification" or not moving or len(complete) <= 1:
        return

    def row_between(start: Row, end: Row, fraction: float) -> Row:
        row = list(start)
        for index in moving:
            value = start[index] + fraction * (end[index] - start[index])
            row[index] = as_kind(signature.features[index], value)
        return row

    for start in complete[:STARTS_TRIED]:
        ends = _ends_with_another_label(predict, start, [row_between(start, row, 1.0) for row in complete])
        for end in ends[:PAIRS_TRIED]:
            yield _Line(
                partial(row_between, start, end),
                0.0,
                1.0,
                float,
                can_step=True,
                by_label=True,
                below=Origin("decision", side="before"),
                above=Origin("decision", side="after"),
                margin=margin,
            )
        if ends:
            return


def _ends_with_another_label(predict: Predict, start: Row, ends: list[Row]) -> list[Row]:
    """Return those of *ends* whose label is not that of *start*, first one for each label."""
    accepted = [row for row, _ in predictable(predict, [(row, Origin("decision")) for row in ends])]
    label, *labels = predict([start, *accepted]).predictions
    others = [(row, other) for row, other in zip(accepted, labels, strict=True) if other != label]
    first_of_each = {str(other): row for row, other in reversed(others)}.values()
    return [*first_of_each, *(row for row, _ in others if row not in first_of_each)]


def spread(items: Sequence[Any], count: int) -> list[Any]:
    """Return up to *count* of *items*, evenly spread."""
    if len(items) <= count:
        return list(items)
    return [items[round(step * (len(items) - 1) / (count - 1))] for step in range(count)]


def numeric_columns(signature: Signature) -> list[int]:
    """Return the positions of the columns of numbers that are not categories."""
    return [
        position
        for position, feature in enumerate(signature.features)
        if feature.kind in {"number", "integer"} and feature.categories is None and feature.dtype != "object"
    ]


def as_kind(feature: Feature, value: float) -> Any:
    """Return a number as the column can hold it."""
    if feature.kind == "integer":
        return round(value)
    return _in_precision(feature, float(value))


def _in_precision(feature: Feature, number: float) -> float:
    """Return the closest number that the column can hold."""
    if feature.value_dtype not in SMALL_FLOATS:
        return number
    return float(np.dtype(feature.value_dtype).type(number))


def _jumps(below: Any, above: Any) -> bool:
    """Return whether two outputs differ more than a continuous model's would after such a small step."""
    if isinstance(below, list) and isinstance(above, list):
        return len(below) != len(above) or any(map(_jumps, below, above))
    if isinstance(below, float) and isinstance(above, float):
        return not math.isclose(below, above, rel_tol=JUMP, abs_tol=JUMP)
    return bool(below != above)
