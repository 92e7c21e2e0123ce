"""Two outputs as text, with as many digits as are needed to show in what they differ."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

DIGITS = range(4, 18)
"""Significant digits: at least 4, and up to all of a float."""

MAX_ITEMS = 4
MAX_LETTERS = 24


class InWords(str):
    """A description that takes the place of an output, such as "no list"; it is shown without quotes."""

    __slots__ = ()


def shown_pair(expected: Any, got: Any) -> tuple[str, str]:
    """Return two different outputs as two different texts.

    Numbers get as many digits as are needed, and the type is named where it is the difference: ``1.0`` and
    ``True``, ``'1'`` and ``1``, or a number and a list of one number.
    """
    if _are_numbers(expected, got):
        return _shown_numbers(expected, got)
    texts = shown(expected), shown(got)
    if is_alone_in_list(got, expected):
        return texts[0], f"{texts[1]} (a list of one {_kind(expected)})"
    if is_alone_in_list(expected, got):
        return f"{texts[0]} (a list of one {_kind(got)})", texts[1]
    if _kind(expected) != _kind(got) and _plain(expected) == _plain(got):
        return f"the {_kind(expected)} {texts[0]}", f"the {_kind(got)} {texts[1]}"
    return texts


def shown(value: Any) -> str:
    """Return an output as text: floats with all digits, ``null`` for a missing value."""
    if isinstance(value, InWords):
        return str(value)
    if value is None:
        return "null"
    if isinstance(value, float) and math.isnan(value):
        return "NaN"
    if isinstance(value, list):
        return f"[{', '.join(map(shown, value))}]"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{name!r}: {shown(item)}" for name, item in value.items()) + "}"
    return repr(value)


def brief(value: Any) -> str:
    """Return an output as text, with four digits of each number, and the start of long texts and lists."""
    if isinstance(value, list):
        more = ", …" if len(value) > MAX_ITEMS else ""
        return f"[{', '.join(map(brief, value[:MAX_ITEMS]))}{more}]"
    if isinstance(value, float) and math.isfinite(value):
        return f"{value:.4g}"
    if isinstance(value, str) and len(value) > MAX_LETTERS:
        return f"{value[:MAX_LETTERS]!r}…"
    return shown(value)


def rounded(number: float) -> str:
    """Return a number with three significant digits, for a size that need not be exact."""
    return f"{number:.3g}"


def is_alone_in_list(value: Any, other: Any) -> bool:
    """Return whether *value* is a list whose only item is plain, but *other* is not a list."""
    is_one = isinstance(value, list) and len(value) == 1 and not isinstance(value[0], (list, Mapping))
    return is_one and not isinstance(other, (list, Mapping, InWords)) and other is not None


def _are_numbers(*values: Any) -> bool:
    return all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values)


def _shown_numbers(expected: float, got: float) -> tuple[str, str]:
    if isinstance(expected, int) or isinstance(got, int) or not math.isfinite(expected - got):
        return shown(expected), shown(got)
    for digits in DIGITS:
        texts = f"{expected:.{digits}g}", f"{got:.{digits}g}"
        if texts[0] != texts[1]:
            return texts
    return shown(expected), shown(got)


def _kind(value: Any) -> str:
    match value:
        case bool():
            return "boolean"
        case int() | float():
            return "number"
        case str():
            return "text"
    return "value"


def _plain(value: Any) -> str:
    """Return what a reader takes two values of different types to be the same by."""
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)
