"""Values of documents that others wrote: each is read with its path in the document, and none is trusted.

A document is what JSON or TOML can represent. Its nesting is limited, so that every reader can follow it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

MAX_DEPTH = 100
"""Levels of a document; predictions have a few."""
MAX_SHOWN = 60


class InvalidFieldError(ValueError):
    """A field of a document is invalid; the message has its path, what is expected, and its value."""

    def __init__(self, field: str, expected: str, value: Any) -> None:
        super().__init__(f"{field} must be {expected}, got {shown(value)}")


def shown(value: Any, limit: int = MAX_SHOWN) -> str:
    """Return the start of a value for a message: on one line, without characters that control a terminal."""
    try:
        text = repr(value)  # which escapes halves of characters
    except RecursionError:
        text = f"a value of type {type(value).__name__} that is nested too deeply"
    except ValueError:  # Python refuses to print integers of thousands of digits
        text = f"a value of type {type(value).__name__} with too many digits"
    return text if len(text) <= limit else f"{text[:limit]}…"


def is_unicode(text: str) -> bool:
    """Return whether a text can be encoded: JSON can contain halves of characters, which cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def check_depth(value: Any) -> None:
    """Check that a JSON value has at most `MAX_DEPTH` levels.

    Raises:
        ValueError: it has more.
    """
    level = [value] if isinstance(value, (dict, list)) else []
    for _ in range(MAX_DEPTH):
        parts = (part.values() if isinstance(part, dict) else part for part in level)
        level = [item for part in parts for item in part if isinstance(item, (dict, list))]
        if not level:
            return
    raise ValueError(f"nested more than {MAX_DEPTH} levels deep")


def read_object(value: Any, field: str) -> dict[str, Any]:
    """Return an object."""
    if not isinstance(value, dict):
        raise InvalidFieldError(field, "an object", value)
    return value


def read_array(value: Any, field: str) -> list[Any]:
    """Return a list of any values."""
    if not isinstance(value, list):
        raise InvalidFieldError(field, "a list", value)
    return value


def read_list(value: Any, field: str, read: Callable[[Any, str], Any]) -> list[Any]:
    """Return a list whose items are read by *read*, each with its path."""
    return [read(item, f"{field}[{index}]") for index, item in enumerate(read_array(value, field))]


def read_text(value: Any, field: str) -> str:
    """Return a text."""
    if not isinstance(value, str):
        raise InvalidFieldError(field, "text", value)
    return value


def read_number(value: Any, field: str) -> float:
    """Return a finite number."""
    limit = sys.float_info.max
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not -limit <= value <= limit:
        raise InvalidFieldError(field, "a finite number", value)
    return float(value)


def read_optional(value: Any, field: str, read: Callable[[Any, str], Any]) -> Any:
    """Return what *read* reads; None for null."""
    return None if value is None else read(value, field)
