"""Numbers that mark a request and its response, so that concurrent calls can be told apart.

The first number in the declared argument of ``predict`` is replaced by one that occurs nowhere else, and so
is the first number in the declared response.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from tier0.core.display import text_of
from tier0.core.verdict import NotJudgedError

FIRST_REQUEST, FIRST_RESPONSE = 731_001, 842_001
"""First markers; seven digits and fewer are exact as numbers of 32 bits, too."""
SHAPE = "shape"
"""Key of a tensor whose numbers are lengths."""
MARKER = re.compile(r"(?<![\d.])(731|842)(\d{3})(?:\.0*)?(?![\d.])")

MISSING = re.compile(r"nan|nat\b|null|none|<na>|masked", re.IGNORECASE)


def mark_request(data: Any, number: int) -> Any:
    """Return the argument of ``predict`` with the marker of call *number*.

    Raises:
        NotJudgedError: it contains no number.
    """
    found, marked = _replace(data, FIRST_REQUEST - 1 + number)
    if not found:
        raise NotJudgedError("[data] contains no number, by which concurrent calls could be told apart")
    return marked


def mark_response(answer: Any, number: int) -> Any:
    """Return the declared response with the marker of call *number*, if it contains a number."""
    return _replace(answer, FIRST_RESPONSE - 1 + number)[1]


def marks_of_requests(body: bytes) -> set[int]:
    """Return the numbers of the calls whose markers are in a request body."""
    return set(order_of_requests(body))


def order_of_requests(body: bytes) -> list[int]:
    """Return the numbers whose markers are in a request body, in their order there."""
    return [int(mark) for kind, mark in MARKER.findall(body.decode("utf-8", "replace")) if kind == "731"]


def marks_in_answer(answer: Any) -> set[int]:
    """Return the numbers of the calls whose responses a returned value contains."""
    return set(order_in_answer(answer))


def order_in_answer(answer: Any) -> list[int]:
    """Return the numbers whose markers are in a returned value, in their order there."""
    return [int(mark) for kind, mark in MARKER.findall(_written(answer)) if kind == "842"]


def shows_missing(answer: Any) -> bool:
    """Return whether a returned value contains NaN, null or another sign of a missing value."""
    return MISSING.search(_written(answer)) is not None


def _written(answer: Any) -> str:
    try:
        return json.dumps(answer, default=_plain)
    except Exception:  # noqa: BLE001 - the answer's own code may raise anything
        return text_of(answer, repr)


def _plain(value: Any) -> Any:
    if hasattr(value, "tolist"):
        return value.tolist()
    return vars(value) if hasattr(value, "__dict__") else text_of(value, repr)


def _replace(value: Any, marker: int) -> tuple[bool, Any]:
    """Replace the first number in nested lists and mappings; return whether there is one, and the result."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return True, type(value)(marker)
    if isinstance(value, Mapping):
        items = dict(value)
        for key, item in items.items():
            if key == SHAPE:
                continue
            found, changed = _replace(item, marker)
            if found:
                return True, {**items, key: changed}
    elif isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
        for index, item in enumerate(value):
            found, changed = _replace(item, marker)
            if found:
                return True, [*value[:index], changed, *value[index + 1 :]]
    return False, value
