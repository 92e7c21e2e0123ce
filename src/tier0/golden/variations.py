"""Variations: an example with another value in one column, from which rows with much power are chosen."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from tier0.golden.defects import MAX_COLUMNS
from tier0.golden.edge_cases import Row, as_kind, changed, numeric_columns, spread
from tier0.golden.origins import Origin
from tier0.golden.signature import MAX_EXACT_INTEGER

if TYPE_CHECKING:
    from tier0.golden.signature import Feature, Signature

MAX_TEXT_COLUMNS = 2
PLACES_WITHIN = (0.618033988749895, 0.0, 1.0)
"""Places within the range of a column; the first has a fraction of many digits."""
MAX_CATEGORIES = 3
TO_FULL_WIDTH = 0xFEE0
UNUSUAL_TEXTS = (
    "cafe\u0301 \u212b",  # an accent of its own, and a sign that Unicode's forms replace
    "a \"quoted\", comma; and 'more'",
    "two\nlines\r\nand\ta tab",
    "\x01\x1b\x7f",
    "\U0001f600 \u65e5\u672c\u8a9e \u0627\u0644\u0639\u0631\u0628\u064a\u0629",
    "%20&amp;<b>\\n{}$x",
    " ".join(["long text"] * 200),
)


def varied_rows(signature: Signature, base: Row, rows: list[Row]) -> list[tuple[Row, Origin]]:
    """Return *base* with another value in one column: within its range in *rows*, and outside of it.

    A value outside has the sign of those in *rows*, since services refuse negative amounts, and rightly. In a
    column that may lack values it is 0, which a service may take for a missing one.
    """
    found: list[tuple[Row, Origin]] = []
    numeric = set(numeric_columns(signature))
    for position in spread(range(len(signature.features)), MAX_COLUMNS):
        feature = signature.features[position]
        values = [row[position] for row in rows if row[position] is not None]
        if position in numeric:
            made = _of_numbers(feature, values) if values else ()
        else:
            made = ((value, Origin("inside", feature.name)) for value in _others(feature, values))
        found += [
            (changed(base, position, value), origin) for value, origin in made if value != base[position]
        ]
    return found


def text_rows(signature: Signature, base: Row, rows: list[Row]) -> list[tuple[Row, Origin]]:
    """Return *base* with texts that services get wrong: empty, long, in other forms of Unicode."""
    places = [
        position
        for position, feature in enumerate(signature.features)
        if feature.kind == "text" and feature.categories is None
    ]
    return [
        (changed(base, position, text), Origin("text", signature.features[position].name))
        for position in places[:MAX_TEXT_COLUMNS]
        for text in _unusual([row[position] for row in rows])
    ]


def _unusual(texts: list[str | None]) -> Iterator[str]:
    """Yield unusual texts, each but the empty one before a known text, whose loss the output shows."""
    known = [text for text in dict.fromkeys(texts) if text] or [""]
    yield ""
    for number, text in enumerate(UNUSUAL_TEXTS):
        yield f"{text} {known[number % len(known)]}"
    yield from _in_other_forms(known)


def _in_other_forms(known: list[str]) -> Iterator[str]:
    """Yield known texts that another form of Unicode makes equal to what the model was trained on."""
    decomposed = (unicodedata.normalize("NFD", text) for text in known)
    yield from [text for text in decomposed if text not in known][:1]
    yield from [wide for text in known if (wide := _as_wide(text)) not in known][:1]


def _as_wide(text: str) -> str:
    """Return a text with characters of full width, which the forms for compatibility replace."""
    return "".join(
        chr(ord(character) + TO_FULL_WIDTH) if "!" <= character <= "~" else character for character in text
    )


def _of_numbers(feature: Feature, values: list[Any]) -> Iterator[tuple[Any, Origin]]:
    low, high = min(values), max(values)
    if feature.kind == "integer" and max(abs(low), abs(high)) > MAX_EXACT_INTEGER // 4:
        return  # identifiers, which have no range
    for place in PLACES_WITHIN:
        yield as_kind(feature, low + place * (high - low)), Origin("inside", feature.name)
    if feature.accepts_missing and low <= 0 <= high:  # a service may take 0 for a missing value
        yield as_kind(feature, 0), Origin("inside", feature.name)
    distance = (high - low) or abs(high) or 1
    yield as_kind(feature, high + distance), Origin("outside", feature.name, "above")
    below = low - distance
    if low >= 0:
        below = 0 if feature.accepts_missing else max(below, low / 2)
    if below < low:
        yield as_kind(feature, below), Origin("outside", feature.name, "below")


def _others(feature: Feature, values: list[Any]) -> list[Any]:
    """Return values that a column of categories, texts, dates or booleans can have."""
    if feature.kind in {"array", "json"}:
        return []
    if feature.kind == "boolean":
        return [False, True]
    return list(dict.fromkeys([*values, *(feature.categories or ())]))[: MAX_CATEGORIES + 1]
