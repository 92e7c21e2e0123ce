"""Patterns of numbers: a constant, rounding, limits, and functions of the trained model's numbers."""

from __future__ import annotations

import math
import struct
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from statistics import fmean, median
from typing import Any, NamedTuple

from tier0.golden.differences.pattern import Pattern, Show
from tier0.golden.differences.side_by_side import Channel, SideBySide, are_finite, leaves, rows_of
from tier0.golden.shown_values import brief, rounded

MAX_DECIMALS = 9
MIN_POINTS = 4
"""Rows from which a straight line through two of them is more than chance."""
MIN_ORDERED = 6
"""Rows whose order is more than chance."""
FALLBACK = "a fallback or a default is returned, or the model gets the same input for each row"
NO_FALLBACK = "let the request fail where the model was not used"
SHARED = "rows share an answer: a cache, or a join, uses only a part of the row as its key"
WHOLE_KEY = "compute the key of the cache or join from all values of the row"
NOT_A_NUMBER = "an error, or a value that is not finite, becomes null"
PRECISION = "numbers are rounded, or converted to another type, after the model"
KEEP_DIGITS = "return the model's numbers, or declare decimals in the contract"
SCALING = "a scaling of the target, or a conversion of units, is missing or applied twice"
IN_ONE_PLACE = "apply the scaling in one place, with the parameters of the training"
TARGET = "the transformation of the target, or its inverse, is missing or applied twice"
SAVE_TARGET = "save the model with its TransformedTargetRegressor"


class Constants(NamedTuple):
    """The pattern in which all rows that differ have the same output, if they do.

    Attributes:
        patterns: the pattern, or none.
        can_be_model: whether a model returns such a constant for inputs that are far from its own: only
            labels, or probabilities of 0 and 1.
    """

    patterns: tuple[Pattern, ...]
    can_be_model: bool


def constant_patterns(pair: SideBySide, show: Show) -> Constants:
    """Return the pattern in which all rows that differ have the same output."""
    patterns = tuple(_constants(pair, show))
    if not patterns or pair.wrong_parts[-1] != "probabilities":
        return Constants(patterns, can_be_model=pair.are_labels_only)
    numbers = leaves(pair.outputs["probabilities"][pair.differing[0]])
    return Constants(patterns, can_be_model=bool(numbers) and all(number in {0, 1} for number in numbers))


def _constants(pair: SideBySide, show: Show) -> Iterator[Pattern]:
    part = pair.wrong_parts[-1]
    rows = range(len(pair)) if pair.are_labels_only else pair.differing
    served = [pair.outputs[part][index] for index in rows]
    first = served[0]
    are_same = all(str(value) == str(first) for value in served)
    are_missing = all(_is_missing(value) for value in served)
    expected = {str(pair.expected(part)[index]) for index in rows}
    if not are_missing and (not are_same or len(expected) < 2):
        return
    count = len(served)
    which = f"all {count} rows that differ" if count < len(pair) else f"all {count} rows"
    which = which if count > 1 else "the row"
    of_row = None if are_missing or pair.are_labels_only else _row_with(pair, part, first)
    named = _named(pair, part, first) if of_row is None else f", the output of row {of_row}"
    what = "null" if are_missing else f"{show(brief(first))}{named}"
    cause, remedy = (FALLBACK, NO_FALLBACK) if of_row is None else (SHARED, WHOLE_KEY)
    if are_missing:
        cause, remedy = NOT_A_NUMBER, "return an error in place of null"
    outputs = {name: pair.outputs[name] for name in pair.wrong_parts}
    is_weak = count < 3 and not are_missing
    yield Pattern(
        "constant", f"{which} got {what}", cause, remedy, outputs, trials=2, is_weak=is_weak, is_local=True
    )


def _is_missing(value: Any) -> bool:
    values = leaves(value)
    return bool(values) and all(item is None or item != item for item in values)  # noqa: PLR0124 - NaN


def _named(pair: SideBySide, part: str, constant: Any) -> str:
    """Return what a constant is for the model, as text."""
    expected = pair.expected(part)
    if are_finite(constant) and all(map(are_finite, expected)) and not pair.golden.classes:
        numbers = {"the mean": fmean(expected), "the median": median(expected)}
        for name, number in numbers.items():
            if math.isclose(constant, number, rel_tol=1e-3):
                return f", {name} of the model's outputs"
    if part == "predictions" and pair.golden.classes:
        most = Counter(map(str, expected)).most_common(1)[0][0]
        return ", the most frequent label" if str(constant) == most else ""
    return ""


def _row_with(pair: SideBySide, part: str, constant: Any) -> int | None:
    """Return the number of a row that has a constant rightly; None if many rows may have it, or none has."""
    if all(number in {0, 1} for number in leaves(constant)):
        return None
    rows = (index for index in range(len(pair)) if index not in pair.differing)
    return next((index for index in rows if pair.equals(pair.expected(part)[index], constant)), None)


class _Change(NamedTuple):
    """A function of single numbers, and what it is."""

    kind: str
    sentence: str
    cause: str
    remedy: str
    function: Callable[[float], float]


def rounding_patterns(pair: SideBySide) -> Iterator[Pattern]:
    """Yield patterns in which the numbers of a part are rounded, or have another type."""
    for part, expected, _ in _numeric_parts(pair):
        for change in _roundings():
            yield from _applied(pair, part, expected, change)


def _roundings() -> Iterator[_Change]:
    for decimals in range(MAX_DECIMALS + 1):
        digits = "whole numbers" if not decimals else f"{decimals} decimal{'s' if decimals > 1 else ''}"
        yield _Change(
            "rounded",
            f"the numbers are rounded to {digits}",
            PRECISION,
            KEEP_DIGITS,
            lambda number, decimals=decimals: round(number, decimals),  # type: ignore[misc]
        )
        factor = 10.0**decimals
        yield _Change(
            "truncated",
            f"the numbers are cut off after {decimals} decimals",
            PRECISION,
            KEEP_DIGITS,
            lambda number, factor=factor: math.trunc(number * factor) / factor,  # type: ignore[misc]
        )
    whole: dict[str, Callable[[float], float]] = {"down": math.floor, "up": math.ceil}
    for name, function in whole.items():
        yield _Change(
            "rounded", f"the numbers are rounded {name} to whole numbers", PRECISION, KEEP_DIGITS, function
        )
    casts: dict[str, Callable[[float], float]] = {
        "float32": lambda number: _cast(number, "f"),
        "float16": lambda number: _cast(number, "e"),
    }
    for name, function in casts.items():
        yield _Change(name, f"the numbers are those of {name}", PRECISION, KEEP_DIGITS, function)


def _cast(number: float, code: str) -> float:
    try:
        (result,) = struct.unpack(code, struct.pack(code, number))
    except OverflowError:
        return math.nan
    return float(result)


def limit_patterns(pair: SideBySide, show: Show) -> Iterator[Pattern]:
    """Yield the patterns in which numbers beyond a limit, or beyond one of two, are replaced by the limit."""
    if len(pair.differing) == len(pair):
        return
    for part, expected, served in _numeric_parts(pair):
        flat = [number for channel in served for number in channel]
        changed = [channel[index] for channel in served for index in pair.differing]
        low, high = (limit if changed.count(limit) > 1 else None for limit in (min(flat), max(flat)))
        for lower, upper in ((None, high), (low, None), (low, high)):
            limits = (("below", lower), ("above", upper))
            named = [
                f"numbers {side} {show(rounded(limit))} became {show(rounded(limit))}"
                for side, limit in limits
                if limit is not None
            ]
            if not named:
                continue
            change = _Change(
                "limited",
                " and ".join(named),
                "outputs are limited to a range",
                "return the model's numbers",
                partial(_limited, lower, upper),
            )
            yield from _applied(pair, part, expected, change)


def _limited(lower: float | None, upper: float | None, number: float) -> float:
    at_least = number if lower is None else max(number, lower)
    return at_least if upper is None else min(at_least, upper)


def function_patterns(pair: SideBySide, show: Show) -> Iterator[Pattern]:
    """Yield patterns in which each number is a function of the trained model's number for the same row."""
    for part, expected, served in _numeric_parts(pair):
        for change in _functions():
            yield from _applied(pair, part, expected, change)
        yield from _straight_lines(pair, part, expected, served, show)
        if part == "probabilities":
            yield from _log_odds_lines(pair, part, expected, served)


def _functions() -> Iterator[_Change]:
    functions: dict[str, Callable[[float], float]] = {
        "log1p(x)": math.log1p, "log(x)": math.log, "log10(x)": math.log10, "log2(x)": math.log2,
        "expm1(x)": math.expm1, "exp(x)": math.exp, "10 to the power of x": lambda x: 10.0**x,
        "the square": lambda x: x * x, "the square root": math.sqrt, "the reciprocal": lambda x: 1 / x,
        "the magnitude": abs, "the negative": lambda x: -x,
    }  # fmt: skip
    for name, function in functions.items():
        sentence = f"each number is {name} of the model's" if "(" not in name else f"each number is {name}"
        where = "" if "(" not in name else ", where x is the model's"
        yield _Change("function", f"{sentence}{where}", TARGET, SAVE_TARGET, function)
    raw = "the raw score of the model is returned instead of a probability"
    use = "return predict_proba"
    yield _Change("log_odds", "each number is the log-odds of the probability", raw, use, _logit)
    yield _Change(
        "sigmoid", "each number is the sigmoid of the model's", "the sigmoid is applied twice", use, _sigmoid
    )


def _logit(number: float) -> float:
    return math.log(number) - math.log1p(-number)


def _sigmoid(number: float) -> float:
    return 1 / (1 + math.exp(-number))


def _applied(pair: SideBySide, part: str, expected: Sequence[Channel], change: _Change) -> Iterator[Pattern]:
    """Yield the pattern in which *change* is applied to all numbers of a part, where it is defined."""
    with suppress(ValueError, OverflowError, ZeroDivisionError):
        changed = [[change.function(number) for number in channel] for channel in expected]
        outputs = {part: rows_of(changed, pair.expected(part))}
        yield Pattern(
            change.kind,
            change.sentence,
            change.cause,
            change.remedy,
            outputs,
            is_local=True,
            is_of_outputs=True,
        )


class _Line(NamedTuple):
    """A straight line through numbers."""

    slope: float
    intercept: float

    @classmethod
    def through(cls, points: Sequence[tuple[float, float]]) -> _Line | None:
        """Return the line through the two points that are farthest apart."""
        if len({x for x, _ in points}) < MIN_POINTS:
            return None
        (x1, y1), (x2, y2) = min(points), max(points)
        slope = (y2 - y1) / (x2 - x1)
        return cls(slope, y1 - slope * x1) if slope and math.isfinite(slope) else None

    def at(self, number: float) -> float:
        """Return the value of the line at *number*."""
        return self.slope * number + self.intercept

    @property
    def is_identity(self) -> bool:
        """Whether the line leaves numbers as they are."""
        return math.isclose(self.slope, 1.0, rel_tol=1e-9) and abs(self.intercept) <= 1e-9

    def in_words(self, show: Show) -> str:
        """Return the line as text."""
        sign, constant = "+" if self.intercept > 0 else "-", show(f"{abs(self.intercept):.4g}")
        if math.isclose(self.slope, 1.0, rel_tol=1e-9):
            return f"the model's {sign} {constant}"
        times = f"{show(f'{self.slope:.4g}')} times the model's"
        is_multiple = abs(self.intercept) <= 1e-9 * abs(self.slope)
        return times if is_multiple else f"{times} {sign} {constant}"


def _straight_lines(
    pair: SideBySide, part: str, expected: Sequence[Channel], served: Sequence[Channel], show: Show
) -> Iterator[Pattern]:
    """Yield the pattern in which numbers are scaled, moved, or both."""
    limits = [_limits(channel) for channel in served]
    lines = [
        _Line.through(
            [(before[index], after[index]) for index in pair.differing if low < after[index] < high]
        )
        for before, after, (low, high) in zip(expected, served, limits, strict=True)
    ]
    found = [line for line in lines if line is not None]
    if len(found) != len(lines):
        return
    fitted = [
        [min(max(line.at(number), low), high) for number in channel]
        for line, channel, (low, high) in zip(found, expected, limits, strict=True)
    ]
    cause, remedy = (
        ("another level or method is used for the intervals", "use the level and the method of the training")
        if pair.wrong_parts == ("intervals",)
        else (SCALING, IN_ONE_PLACE)
    )
    within = ", limited to a range" if any(map(math.isfinite, (*limits[0], *limits[-1]))) else ""
    yield Pattern(
        "affine",
        f"{_lines_in_words(found, show)}{within}",
        cause,
        remedy,
        {part: rows_of(fitted, pair.expected(part))},
        is_local=True,
        is_fitted=True,
        is_of_outputs=not all(math.isclose(line.slope, 1.0, rel_tol=1e-9) for line in found),
    )


def _limits(numbers: Sequence[float]) -> tuple[float, float]:
    """Return the smallest and the largest number if several rows have them; else no limit."""
    low, high = min(numbers), max(numbers)
    counts = Counter(numbers)
    return low if counts[low] > 1 else -math.inf, high if counts[high] > 1 else math.inf


def _lines_in_words(lines: Sequence[_Line], show: Show) -> str:
    changed = [position for position, line in enumerate(lines) if not line.is_identity]
    if len(lines) == 1:
        return f"each number is {lines[0].in_words(show)}"
    if len(changed) == 1:
        return f"number {changed[0]} of each output is {lines[changed[0]].in_words(show)}"
    return "each number of an output is a multiple of the model's plus a constant"


def _log_odds_lines(
    pair: SideBySide, part: str, expected: Sequence[Channel], served: Sequence[Channel]
) -> Iterator[Pattern]:
    """Yield the pattern in which the log-odds are scaled or moved, as a calibration does."""
    with suppress(ValueError, OverflowError):
        changed = []
        for before, after in zip(expected, served, strict=True):
            points = sorted((_logit(before[index]), _logit(after[index])) for index in pair.differing)
            inner = points[len(points) // 4 : max(len(points) * 3 // 4, len(points) // 4 + MIN_POINTS)]
            line = _Line.through(inner)
            if line is None:
                return
            changed.append([_sigmoid(line.at(_logit(number))) for number in before])
        yield Pattern(
            "log_odds_line",
            "the log-odds of each probability are scaled and moved",
            "a scaling before or after the model, such as a calibration, is missing or applied otherwise",
            "serve all steps of the model, in their order",
            {part: rows_of(changed, pair.expected(part))},
            is_local=True,
            is_fitted=True,
        )


def order_patterns(pair: SideBySide) -> Iterator[Pattern]:
    """Yield the pattern in which numbers rise, or fall, with the trained model's in all rows."""
    for part, expected, served in _numeric_parts(pair):
        before, after = expected[-1], served[-1]
        ordered = [number for _, number in sorted(zip(before, after, strict=True))]
        if min(len(set(before)), len(set(after))) < MIN_ORDERED or 2 * len(pair.differing) < len(pair):
            continue
        outputs = {part: pair.outputs[part]}
        if ordered == sorted(ordered):
            yield Pattern(
                "same_order",
                "the numbers rise with the model's in all rows, but have other values",
                "a last step is missing, such as a calibration or the transformation of the target",
                "serve the model with all of its steps",
                outputs,
            )
        elif ordered == sorted(ordered, reverse=True):
            yield Pattern(
                "opposite_order",
                "the numbers fall where the model's rise, in all rows",
                "the sign of the target, or the order of the classes, is reversed",
                "return the model's numbers",
                outputs,
            )


def precision_patterns(pair: SideBySide) -> Iterator[Pattern]:
    """Yield the pattern in which all numbers agree to several digits; it is that of most rows, or of none."""
    if 2 * len(pair.differing) < len(pair):
        return
    for part, expected, served in _numeric_parts(pair):
        pairs = [
            two
            for before, after in zip(expected, served, strict=True)
            for two in zip(before, after, strict=True)
        ]
        scale = max((abs(before) for before, _ in pairs), default=0.0)
        largest = max((abs(before - after) for before, after in pairs), default=0.0)
        if not scale or largest > 1e-4 * scale:
            continue
        digits = int(-math.log10(largest / scale)) if largest else MAX_DECIMALS
        yield Pattern(
            "precision",
            f"the numbers agree to {digits} digits",
            "numbers of a lower precision, another library version or another machine",
            "compare the library versions with the training's; a waiver with relative allows the difference",
            {part: pair.outputs[part]},
        )


def _numeric_parts(pair: SideBySide) -> Iterator[tuple[str, list[Channel], list[Channel]]]:
    """Yield the parts that differ and have numbers only, which are not labels, with their channels."""
    for part in pair.wrong_parts:
        if part == "predictions" and pair.golden.classes:
            continue
        expected, served = pair.channels(part)
        if expected:
            yield part, expected, served
