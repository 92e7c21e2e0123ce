"""Properties that the rows that differ can have in common, such as missing values or large integers."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from tier0.golden.differences.pattern import Selection, Show, short
from tier0.golden.differences.side_by_side import SideBySide, are_finite
from tier0.golden.origins import EXAMPLE_KINDS
from tier0.golden.shown_values import brief, rounded

MAX_EXACT_INTEGER = 2**53
MAX_EXACT_FLOAT32 = 2**24
MAX_VALUES = 40
"""Different values of a column that are tried."""
MISSING = "missing values are replaced, or refused by a step, before they reach the model"
KEEP_MISSING = "pass missing values to the model as they are"
MARKER = "a number that stands for a missing value is used as a number"
KEEP_MARKER = "deploy the setting of the model for missing values"
LARGE = "integers are converted to floats"
KEEP_INTEGERS = "keep integer columns as int64, also next to missing values"
CATEGORY = "this value is changed, or not known to the encoder that the service uses"
SAVE_ENCODER = "deploy the encoder that was fitted in training"
TEXT = "text is changed by an encoding, a normalization or a limit of length"
KEEP_TEXT = "pass text to the model unchanged, as UTF-8"
BOUND = "values in this range are converted, limited or rounded"
KEEP_VALUES = "pass the values to the model unchanged"
BATCH = "a part of the request is handled in another way, such as the last chunk"
ALL_ROWS = "handle all rows of a request in the same way"


def selections(pair: SideBySide, show: Show) -> Iterator[Selection]:
    """Yield properties of rows, the most specific first."""
    yield from _missing(pair)
    yield from _markers(pair, show)
    yield from _large_integers(pair)
    yield from _values(pair, show)
    yield from _texts(pair)
    yield from _origins(pair)
    yield from _near_decision(pair)
    yield from _positions(pair)
    yield from _classes(pair, show)
    yield from _bounds(pair, show)


def _where(pair: SideBySide, position: int, matches: Callable[[Any], bool]) -> frozenset[int]:
    return frozenset(index for index, row in enumerate(pair.golden.rows) if matches(row[position]))


def _is_missing(value: Any) -> bool:
    return value is None or value != value  # noqa: PLR0124 - NaN


def _missing(pair: SideBySide) -> Iterator[Selection]:
    columns = pair.golden.columns
    by_column = [_where(pair, position, _is_missing) for position in range(len(columns))]
    for name, rows in zip(columns, by_column, strict=True):
        kind, sentence = "missing_in_column", f"where {short(name)} is missing"
        yield Selection(kind, sentence, MISSING, KEEP_MISSING, rows, len(columns))
    any_missing = frozenset().union(*by_column)
    yield Selection("missing", "with missing values", MISSING, KEEP_MISSING, any_missing)


def _markers(pair: SideBySide, show: Show) -> Iterator[Selection]:
    """Yield the rows with a number that several columns have often, such as -999 for a missing value."""
    columns: dict[float, set[int]] = {}
    rows: dict[float, set[int]] = {}
    for index, row in enumerate(pair.golden.rows):
        for position, value in enumerate(row):
            if are_finite(value) and value == int(value) and abs(value) >= 9:
                columns.setdefault(value, set()).add(position)
                rows.setdefault(value, set()).add(index)
    markers = [value for value, found in columns.items() if len(found) > 1 and len(rows[value]) > 2]
    for value in markers:
        sentence = f"with the value {show(brief(value))} in any column"
        yield Selection("marker", sentence, MARKER, KEEP_MARKER, frozenset(rows[value]), len(markers))


def _large_integers(pair: SideBySide) -> Iterator[Selection]:
    for limit, name in ((MAX_EXACT_INTEGER, "2**53"), (MAX_EXACT_FLOAT32, "2**24")):

        def is_large(value: Any, limit: int = limit) -> bool:
            return isinstance(value, int) and not isinstance(value, bool) and abs(value) > limit

        rows = frozenset(index for index, row in enumerate(pair.golden.rows) if any(map(is_large, row)))
        yield Selection(
            "large_integers", f"with integers beyond {name}", LARGE, KEEP_INTEGERS, rows, trials=2
        )


def _values(pair: SideBySide, show: Show) -> Iterator[Selection]:
    """Yield a selection for each value of a column that the rows that differ have in common."""
    columns = pair.golden.columns
    texts = {name for name, known in pair.golden.categories.items() if known}
    for position, name in enumerate(columns):
        values = {str(row[position]): row[position] for row in pair.golden.rows}
        common = {str(pair.golden.rows[index][position]) for index in pair.differing}
        if len(common) != 1 or not 1 < len(values) <= MAX_VALUES:
            continue
        value = values[common.pop()]
        if _is_missing(value):
            continue
        rows = _where(pair, position, lambda other, value=value: str(other) == str(value))  # type: ignore[misc]
        trials = len(columns) if name in texts or isinstance(value, str) else len(columns) * len(values)
        yield Selection(
            "category",
            f"where {short(name)} is {show(brief(value))}",
            CATEGORY,
            SAVE_ENCODER,
            rows,
            trials,
        )
    for position, name in enumerate(columns):
        known = set(pair.golden.categories.get(name, ()))
        if known:
            rows = _where(
                pair,
                position,
                lambda value, known=known: isinstance(value, str) and value not in known,  # type: ignore[misc]
            )
            sentence = f"where {short(name)} has a category that the model does not know"
            yield Selection("unseen_category", sentence, CATEGORY, SAVE_ENCODER, rows, len(columns))


def _texts(pair: SideBySide) -> Iterator[Selection]:
    def is_not_ascii(value: Any) -> bool:
        return isinstance(value, str) and not value.isascii()

    def is_padded(value: Any) -> bool:
        return isinstance(value, str) and value != value.strip()

    def is_empty(value: Any) -> bool:
        return isinstance(value, str) and not value.strip()

    def is_quoted(value: Any) -> bool:
        return isinstance(value, str) and any(letter in value for letter in ',"\n\r;\t')

    forms: dict[str, Callable[[Any], bool]] = {
        "with empty text": is_empty,
        "with letters outside ASCII": is_not_ascii,
        "with text that begins or ends with a space": is_padded,
        "with separators, quotes or line breaks in text": is_quoted,
    }
    for sentence, matches in forms.items():
        rows = frozenset(index for index, row in enumerate(pair.golden.rows) if any(map(matches, row)))
        yield Selection("text_form", sentence, TEXT, KEEP_TEXT, rows, len(forms))


def _origins(pair: SideBySide) -> Iterator[Selection]:
    origins = pair.golden.origins
    kinds = {origin.kind for origin in origins} - EXAMPLE_KINDS
    for kind in sorted(kinds):
        rows = frozenset(index for index, origin in enumerate(origins) if origin.kind == kind)
        sentence = f"that were made as edge cases: {kind.replace('_', ' ')}"
        cause = "rows of this kind are handled in another way"
        yield Selection("origin", sentence, cause, KEEP_VALUES, rows, len(kinds))


def _near_decision(pair: SideBySide) -> Iterator[Selection]:
    """Yield the rows whose probabilities are the closest to a decision, as many as differ."""
    golden = pair.golden
    if golden.has_several_outputs or pair.wrong_parts != ("predictions",) or len(golden.classes) < 2:
        return
    margins = []
    for row in golden.probabilities or []:
        if len(row) < 2 or not are_finite(*row):
            return
        first, second = sorted(row, reverse=True)[:2]
        margins.append(first - second)
    if len(margins) != len(pair):
        return
    largest = max(margins[index] for index in pair.differing)
    rows = frozenset(index for index, margin in enumerate(margins) if margin <= largest)
    yield Selection(
        "near_decision",
        "near the decision between classes",
        "another threshold or rule decides, or numbers are rounded",
        "deploy the decision rule of the training with the model",
        rows,
    )


def _positions(pair: SideBySide) -> Iterator[Selection]:
    count, differing = len(pair), pair.differing
    if not differing:
        return
    first, last = differing[0], differing[-1]
    for kind, sentence, rows in (
        ("from_row", f"from number {first} on", frozenset(range(first, count))),
        ("up_to_row", f"up to number {last}", frozenset(range(last + 1))),
    ):
        yield Selection(kind, sentence, BATCH, ALL_ROWS, rows, count)
    for step in (2, 3, 4, 5):
        if len(remainders := {index % step for index in differing}) == 1:
            remainder = remainders.pop()
            rows = frozenset(range(remainder, count, step))
            sentence = f"whose number is {remainder}, {remainder + step}, {remainder + 2 * step}, …"
            cause = "several workers or models share the rows, and one of them differs"
            yield Selection("every_nth_row", sentence, cause, "serve one model", rows, 4 * step)


def _classes(pair: SideBySide, show: Show) -> Iterator[Selection]:
    golden = pair.golden
    if golden.has_several_outputs or len(golden.classes) < 2:
        return
    labels = [str(label) for label in golden.predictions]
    common = {labels[index] for index in pair.differing}
    if len(common) == 1:
        label = common.pop()
        rows = frozenset(index for index, other in enumerate(labels) if other == label)
        cause = "the decision rule for this label differs"
        remedy = "deploy the decision rule of the training with the model"
        sentence = f"with the expected label {show(label)}"
        yield Selection("expected_label", sentence, cause, remedy, rows, len(golden.classes))


def _bounds(pair: SideBySide, show: Show) -> Iterator[Selection]:
    """Yield the rows that are beyond a bound of a column, as far as the rows that differ are."""
    columns = pair.golden.columns
    for position, name in enumerate(columns):
        numbers = [row[position] for row in pair.golden.rows]
        ours = [numbers[index] for index in pair.differing]
        if not are_finite(*ours):
            continue
        for bound, sign, word in ((min(ours), 1, "at least"), (max(ours), -1, "at most")):
            rows = frozenset(
                index
                for index, number in enumerate(numbers)
                if are_finite(number) and sign * number >= sign * bound
            )
            sentence = f"where {short(name)} is {word} {show(rounded(bound))}"
            yield Selection("beyond_bound", sentence, BOUND, KEEP_VALUES, rows, 2 * len(columns))


def chance_of(selection: Selection, differing: Sequence[int], count: int) -> float:
    """Return the chance that rows without a common cause all have one of the properties that were tried.

    It is 1 if some of them do not have it, or if all compared rows have it.
    """
    if not selection.rows.issuperset(differing) or len(selection.rows) == count:
        return 1.0
    ways = math.comb(len(selection.rows), len(differing)) / math.comb(count, len(differing))
    return min(1.0, selection.trials * ways)
