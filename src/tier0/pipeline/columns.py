"""Columns of files as scikit-learn takes them, by the rules by which a service reads a request.

A value in a request is a number, true or false, text, or null. A cell of a CSV file is only text, so its
column decides what it is: see docs/run.md, "How a file is read".
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from tier0.core.display import toml_key

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    import pandas as pd
    import pyarrow as pa

Kind = Literal["number", "boolean", "text"]
MISSING_MARKERS = (
    *("na", "n/a", "#n/a", "#n/a n/a", "#na", "<na>", "null", "none", "nan", "-nan", "nat"),
    *("-", "?", ".", "-1.#ind", "-1.#qnan", "1.#ind", "1.#qnan"),
)
"""Texts, in lower case, that stand for a missing value among numbers or booleans."""
LONGEST_MARKER = max(map(len, MISSING_MARKERS))
NUMBER = r"^[+-]?(?:(?:0|[1-9][0-9]*)(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?$"
"""A number as in JSON; a leading + and a bare decimal point are accepted, too."""
WHOLE_NUMBER = r"^[+-]?(?:0|[1-9][0-9]*)$"
CODE_WITH_EXPONENT = r"^[0-9]+[eE][0-9]+$"
"""A number that software rarely writes so, since it adds a point or the sign of the exponent."""
INFINITE = r"(?i)^[+-]?inf(?:inity)?$"
WRITTEN_NUMBER = r"^[^0-9A-Za-z]{0,3}[0-9][0-9.,' ]*[^0-9A-Za-z]{0,3}$"
"""A number with leading zeros, separators of thousands, a decimal comma or a unit: not a number in JSON."""
MOSTLY = 0.5
"""Share of numbers from which a column of text is worth a note."""
MAX_EXACT_INTEGER = 2**53
MAX_NAMED = 3


@dataclass(frozen=True)
class Column:
    """A column as scikit-learn takes it.

    Attributes:
        series: numbers, booleans, text or categories; a missing value is NaN.
        notes: sentences about how it was read, without the column's name.
        missing_texts: texts that were read as missing among other text, so that a request's must be, too.
    """

    series: pd.Series[Any]
    notes: tuple[str, ...] = ()
    missing_texts: tuple[str, ...] = ()


def texts_to_missing(rows: pd.DataFrame, texts: Mapping[str, Collection[str]]) -> pd.DataFrame:
    """Return *rows* with a missing value in place of some texts, a step of a model's preprocessing.

    Args:
        rows: the features.
        texts: name of a column to the texts that were read as missing from the file, so that a request's are,
            too.
    """
    return rows.assign(**{name: rows[name].mask(rows[name].isin(list(texts[name]))) for name in texts})


# --- CSV ---


def infer_column(name: str, cells: pa.ChunkedArray, declared: Collection[str] = ()) -> Column:
    """Infer what the cells of a column are: numbers or booleans, if all values are; otherwise text.

    Args:
        name: name of the column.
        cells: its cells as text.
        declared: texts that are missing values, whatever the column contains.
    """
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.compute as pc  # noqa: PLC0415

    trimmed = pc.utf8_trim_whitespace(cells)
    if pc.all(pc.match_substring_regex(trimmed, NUMBER)).as_py():
        return number_column(trimmed)  # most columns are; the rest of this function takes longer
    declared_here = pc.is_in(cells, pa.array(list(declared), pa.string()))
    markers = pc.or_(declared_here, pc.is_in(pc.utf8_lower(trimmed), pa.array(MISSING_MARKERS)))
    blank = pc.equal(trimmed, "")
    missing = pc.or_(markers, blank)
    values = trimmed.filter(pc.invert(missing))
    are_numbers = pc.match_substring_regex(values, NUMBER)
    numbers = pc.sum(are_numbers).as_py() or 0
    if numbers + (pc.sum(pc.match_substring_regex(values, INFINITE)).as_py() or 0) == len(values):
        kind: Kind = "number"
    elif pc.all(pc.is_in(pc.utf8_lower(values), pa.array(["true", "false"]))).as_py():
        kind = "boolean"
    else:
        return text_column(name, cells, declared, _note_of_numbers(values, are_numbers, numbers))
    seen = _count(cells.filter(pc.and_(markers, pc.invert(blank))))
    notes = [f"{seen} read as missing, since all other values are {kind}s"] if seen and len(values) else []
    column = typed_column(cells, missing, kind)
    return Column(column.series, (*notes, *column.notes))


def typed_column(cells: pa.ChunkedArray, missing: pa.ChunkedArray, kind: Kind) -> Column:
    """Return cells of text, all of which are of one kind or missing, as a column.

    Numbers are rounded exactly as in requests; whole numbers stay whole unless a value is missing.
    """
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.compute as pc  # noqa: PLC0415

    nothing = pa.scalar(None, pa.string())
    if kind == "text":
        return plain_column(pc.if_else(missing, nothing, cells) if pc.any(missing).as_py() else cells)
    present = pc.if_else(missing, nothing, pc.utf8_trim_whitespace(cells))
    if kind == "boolean":
        return plain_column(pc.equal(pc.utf8_lower(present), "true"))
    return number_column(present)


def number_column(cells: pa.ChunkedArray) -> Column:
    """Return cells, all of which are numbers without spaces or null, as a column."""
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.compute as pc  # noqa: PLC0415

    are_whole = pc.all(pc.match_substring_regex(cells, WHOLE_NUMBER)).as_py()
    if are_whole and not cells.null_count:
        for whole in (pa.int64(), pa.uint64()):
            try:
                return plain_column(pc.cast(pc.utf8_ltrim(cells, "+"), whole))
            except pa.ArrowInvalid:  # out of range
                continue
    floats = plain_column(pc.cast(cells, pa.float64())).series
    if are_whole:
        return Column(floats, _note_of_rounding(floats))
    codes = cells.filter(pc.match_substring_regex(cells, CODE_WITH_EXPONENT))
    if not len(codes):
        return Column(floats)
    example = repr(codes[0].as_py())
    return Column(floats, (f"values such as {example} are read as numbers; for text, use a Parquet file",))


def text_column(name: str, cells: pa.ChunkedArray, declared: Collection[str], note: str = "") -> Column:
    """Return cells as text, in which only the empty text and the declared ones are missing."""
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.compute as pc  # noqa: PLC0415

    texts, known = pa.array(["", *declared]), pa.array(MISSING_MARKERS)
    missing = pa.chunked_array([pc.is_in(chunk, texts) for chunk in cells.chunks], pa.bool_())
    found, padded = [], 0
    for chunk, is_missing in zip(cells.chunks, missing.chunks, strict=True):  # copies of all take memory
        kept = chunk.filter(pc.invert(is_missing))
        trimmed = pc.utf8_trim_whitespace(kept)
        padded += pc.sum(pc.not_equal(kept, trimmed)).as_py() or 0
        is_short = pc.less_equal(pc.binary_length(trimmed), LONGEST_MARKER)
        is_marker = pc.is_in(pc.utf8_lower(trimmed.filter(is_short)), known)
        found.append(kept.filter(is_short).filter(is_marker))
    markers = pa.chunked_array(found, cells.type)
    notes = [note] if note else []
    if seen := _count(markers):
        named = json.dumps(pc.unique(markers).to_pylist()[:MAX_NAMED], ensure_ascii=False)
        notes.append(
            f"{seen} kept as text; to read such cells as missing, empty them, or add missing_texts = {named} "
            f"to [data.columns.{toml_key(name)}] of the study"
        )
    if padded:
        notes.append(note_of_padding(padded))
    has_missing = bool(pc.any(missing).as_py())
    texts_read_as_missing = ("", *declared) if has_missing or declared else ()
    return Column(typed_column(cells, missing, "text").series, tuple(notes), texts_read_as_missing)


def _note_of_numbers(values: pa.ChunkedArray, are_numbers: pa.ChunkedArray, numbers: int) -> str:
    """Return why a column in which most values look like numbers is read as text."""
    import pyarrow.compute as pc  # noqa: PLC0415

    others = values.filter(pc.invert(are_numbers))
    written = pc.sum(pc.match_substring_regex(others, WRITTEN_NUMBER)).as_py() or 0
    if numbers + written < MOSTLY * len(values):
        return ""
    return (
        f"read as text, since values such as {others[0].as_py()!r} ({len(others)} of {len(values)}) are not "
        "numbers in JSON"
    )


def _count(cells: pa.ChunkedArray) -> str:
    """Return the different texts with their numbers of rows and a verb; an empty text if there is none."""
    import pyarrow.compute as pc  # noqa: PLC0415

    counts = [(one["counts"], one["values"]) for one in pc.value_counts(cells).to_pylist()]
    shown = [f"{text!r} ({count_rows(count)})" for count, text in sorted(counts, reverse=True)[:MAX_NAMED]]
    if not shown:
        return ""
    return (
        f"{', '.join(shown)}{' …' if len(counts) > MAX_NAMED else ''} {'is' if len(counts) == 1 else 'are'}"
    )


def note_of_padding(count: int) -> str:
    """Return a note of the rows whose text begins or ends with spaces."""
    return f"values begin or end with spaces in {count_rows(count)}, and are used as they are"


def count_rows(count: int) -> str:
    """Return a number of rows in words."""
    return "1 row" if count == 1 else f"{count} rows"


# --- types of Arrow ---


def plain_column(cells: pa.ChunkedArray) -> Column:
    """Return a column of Arrow's as scikit-learn takes it; text of a CSV file needs `infer_column` first.

    Whole numbers become float64 if values are missing, since numpy's integers have no missing value. Decimal
    numbers become float64, as numbers in requests do. Categories lose their order, which no algorithm here
    uses. Dates and durations are returned as numpy's: it depends on the column's use whether they are valid.

    Raises:
        TypeError: no model can take its values; the message is their type.
    """
    import pandas as pd  # noqa: PLC0415
    import pyarrow as pa  # noqa: PLC0415

    is_ = pa.types
    kind, series = cells.type, None
    if is_.is_dictionary(kind):
        series = _categories(cells)
    elif is_.is_boolean(kind):
        series = _booleans(cells)
    elif is_.is_integer(kind) and not cells.null_count:
        series = pd.Series(cells.to_numpy())
    elif is_.is_integer(kind):
        series = _floats(cells)
        return Column(series, _note_of_rounding(series))
    elif is_.is_floating(kind) or is_.is_decimal(kind) or is_.is_null(kind):
        series = _floats(cells)
    elif is_.is_string(kind) or is_.is_large_string(kind) or is_.is_string_view(kind):
        series = _text(cells)
    elif is_.is_date(kind) or is_.is_timestamp(kind) or is_.is_duration(kind):
        series = cells.to_pandas(date_as_object=False)
    if series is None:
        raise TypeError(str(kind))
    return Column(series)


def _categories(cells: pa.ChunkedArray) -> pd.Series[Any]:
    import pandas as pd  # noqa: PLC0415
    import pyarrow as pa  # noqa: PLC0415

    codes = cells.unify_dictionaries().combine_chunks()
    known = plain_column(pa.chunked_array([codes.dictionary])).series
    if known.dtype.kind in "mM":
        raise TypeError(str(cells.type))
    indices = codes.indices.cast(pa.int64()).fill_null(-1).to_numpy()
    return pd.Series(pd.Categorical.from_codes(indices, categories=pd.Index(known)))


def _booleans(cells: pa.ChunkedArray) -> pd.Series[Any]:
    """Return numpy's booleans; Python's if values are missing."""
    import pandas as pd  # noqa: PLC0415

    if not cells.null_count:
        return pd.Series(cells.to_numpy())
    return pd.Series([math.nan if value is None else value for value in cells.to_pylist()], dtype=object)


def _floats(cells: pa.ChunkedArray) -> pd.Series[Any]:
    import pandas as pd  # noqa: PLC0415
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.compute as pc  # noqa: PLC0415

    narrow = pa.types.is_float16(cells.type) or pa.types.is_float32(cells.type)
    if pa.types.is_decimal(cells.type):
        cells = pc.cast(cells, pa.string())  # rounds exactly, unlike Arrow's conversion of decimal numbers
    return pd.Series(pc.cast(cells, pa.float32() if narrow else pa.float64(), safe=False).to_numpy())


def _note_of_rounding(whole_numbers: pd.Series[Any]) -> tuple[str, ...]:
    if not (whole_numbers.abs() >= MAX_EXACT_INTEGER).any():
        return ()
    return ("whole numbers above 2**53 are rounded to floating point",)


def _text(cells: pa.ChunkedArray) -> pd.Series[Any]:
    """Return text with pandas' default dtype, and NaN for a missing value."""
    import pandas as pd  # noqa: PLC0415
    import pyarrow as pa  # noqa: PLC0415

    series = cells.cast(pa.string()).to_pandas()
    if series.dtype != object:
        return series
    return pd.Series([math.nan if value is None else value for value in series], dtype=object)
