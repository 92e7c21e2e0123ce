"""What the columns of a file are taken for: docs/run.md, "How a file is read"."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from tier0.core.errors import DatasetError
from tier0.pipeline.columns import (
    INFINITE,
    MISSING_MARKERS,
    NUMBER,
    Column,
    count_rows,
    number_column,
    plain_column,
    text_column,
)
from tier0.pipeline.misspellings import CLEAR_SHARE, share_of_misspelled
from tier0.pipeline.profile import (
    REPEATED_TEXT,
    Kind,
    are_nearly_unique,
    has_many_words,
    is_named_as_group,
    is_named_as_time,
    kind_of_numbers,
    kind_of_texts,
    option_for,
    repeats_like_a_group,
    shortened,
)
from tier0.pipeline.written_dates import (
    COMPACT,
    NO_DATES,
    DateSpelling,
    are_not_in_the_calendar,
    are_spelled,
    epoch_of,
    read_dates,
    spelling_of,
    spelling_of_most,
    two_spellings_of,
)
from tier0.pipeline.written_numbers import read_numbers
from tier0.pipeline.written_times import are_times, is_named_as_no_time, seem_times_of_day

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

BOOLEANS = (("true", "false"), ("yes", "no"), ("y", "n"), ("t", "f"), ("on", "off"))
"""Texts, in lower case, that stand for true and false."""
DECLARED_BOOLEANS = (*BOOLEANS, ("1", "0"), ("1.0", "0.0"))
MARKERS = (
    *MISSING_MARKERS,
    *(
        "--",
        "---",
        "*",
        "**",
        "n.a.",
        "n.d.",
        "nil",
        "missing",
        "unknown",
        "not available",
        "not applicable",
        "tbd",
    ),
    *(
        "#div/0!",
        "#value!",
        "#ref!",
        "#name?",
        "#num!",
        "$-",
        "$ -",
        "(null)",
        "(none)",
        "(missing)",
        "(blank)",
    ),
)
"""Texts, in lower case, that stand for a missing value among numbers, dates and booleans."""
LEADING_ZERO = r"^0[0-9]+$"
MOSTLY = 0.5
"""Share of numbers or dates from which those that are not are worth a note."""
NEARLY_ALL = 0.99
"""Share of dates or times of the day from which the others are taken for missing."""
FEW = 100
"""Number of different texts that show that a column contains no dates or times of the day."""
CODES = (
    "year and month without separators",
    "day first, two digits of the year",
    "month first, two digits of the year",
)
"""Spellings of dates that codes and versions may have, too, so that all values have to be dates."""
FEWEST_COMPACT = 6
"""Number of different whole numbers that cannot all be years with months by accident."""
SAMPLE = 1000
ROWS_OF_TEXTS = 50_000
"""Number of rows that show that a column contains texts of several words."""
ROWS_OF_GROUPS = 100_000
"""Number of rows in which groups are searched."""
KINDS_OF_TEXTS: tuple[Kind, ...] = ("category", "misspelled", "text")
"""Kinds of which any texts may be."""
KINDS_OF_NUMBERS = ("number", "id", "date")
"""Kinds that a person may say of a column of numbers."""
MAX_NAMED = 3


@dataclass(frozen=True)
class Wishes:
    """What a person says about a column.

    Attributes:
        missing_texts: texts that are missing values.
        kind: what it contains; None to infer it.
        decimal: decimal separator in text; None if it is not known.
    """

    missing_texts: Collection[str] = ()
    kind: str | None = None
    decimal: str | None = None


@dataclass(frozen=True)
class Taken:
    """What a column was taken for.

    Attributes:
        column: its values as scikit-learn takes them; of a date, the text.
        kind: what its values are.
        read: how its values are written.
        share: share of the values, other than missing ones, that are of this kind.
        missing: number of rows without a value.
        examples: some different values as they are in the file; none of an identifier.
        is_ambiguous: whether a comma in its numbers may be a decimal point or not.
        spelling: spelling of its dates, see `tier0.pipeline.written_dates`; empty if they have several.
        is_group: whether it repeats like a group of rows.
    """

    column: Column
    kind: Kind
    read: str
    share: float = 1.0
    missing: int = 0
    examples: tuple[str, ...] = ()
    spelling: str = ""
    is_group: bool = False
    is_ambiguous: bool = False

    @property
    def has_mixed_dates(self) -> bool:
        """Whether it has dates of several spellings, which are not read."""
        return self.kind == "date" and not self.spelling


def take_column(name: str, cells: pa.ChunkedArray, wishes: Wishes) -> Taken:
    """Return what a column is taken for, and its values.

    Args:
        name: name of the column.
        cells: its cells; text decides by its values what it is, other types stay what they are.
        wishes: what a person says about the column.

    Raises:
        TypeError: no model can take its values; the message is their type.
        DatasetError: its values are not what a person says.
    """
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.compute as pc  # noqa: PLC0415

    is_ = pa.types
    if is_.is_dictionary(cells.type) and _is_text(cells.type.value_type):
        taken = _take_categories(name, cells, wishes)
    elif _is_text(cells.type):
        taken = _take_text(name, cells.cast(pa.string()), wishes)
    else:
        taken = _take_typed(name, cells, wishes)
    examples = () if taken.kind in {"id", "empty"} else _examples(cells)
    is_group = taken.kind in {"category", "misspelled", "number", "id"} and _is_group(name, taken)
    missing = int(pc.sum(pc.is_null(cells)).as_py() or 0) if taken.kind == "date" else 0
    return replace(taken, examples=examples, is_group=is_group, missing=max(missing, taken.missing))


def take_target(name: str, cells: pa.ChunkedArray, wishes: Wishes) -> Taken:
    """Return what a target is taken for: numbers, booleans, or classes as they are written.

    Args:
        name: name of the column.
        cells: its cells.
        wishes: what a person says about the column.

    Raises:
        TypeError: no model can take its values; the message is their type.
        DatasetError: it contains dates, or its values are not what a person says.
    """
    import pyarrow as pa  # noqa: PLC0415

    if _is_text(cells.type):
        texts = cells.cast(pa.string())
        taken = _text_target(name, texts, wishes)
        return replace(taken, examples=_examples(texts))
    if pa.types.is_date(cells.type) or pa.types.is_timestamp(cells.type):
        raise DatasetError(
            f"the target {name!r} contains dates or times; expected numbers or classes. Pass another column "
            "as --target, or this one as --date"
        )
    taken = _take_typed(name, cells, replace(wishes, kind="number"))
    column, missing = _without_infinity(taken.column)
    texts_missing = [text for text in wishes.missing_texts if column.series.isin([text]).any()]
    if texts_missing:
        column = replace(column, series=column.series.mask(column.series.isin(texts_missing)))
    missing = max(missing, cells.null_count)
    return Taken(column, "number", taken.read, missing=missing, examples=_examples(cells))


def _text_target(name: str, cells: pa.ChunkedArray, wishes: Wishes) -> Taken:
    import pyarrow.compute as pc  # noqa: PLC0415

    number = replace(wishes, kind="number" if wishes.kind == "number" else None)
    can_be_number = wishes.kind in {None, "number"}
    if can_be_number:
        taken = _plain_numbers(name, cells, replace(wishes, kind="number"))
        if taken is not None:
            return replace(taken, kind="number")
    different = _Different(cells, wishes.missing_texts)
    if can_be_number:
        taken = _written_numbers(name, different, number)
        if taken is not None and taken.kind != "date":
            return replace(taken, kind="number")
    present = pc.utf8_lower(different.trimmed.filter(pc.invert(different.is_missing)))
    if wishes.kind is None and set(present[:3].to_pylist()) <= {"true", "false"}:
        taken = _booleans(different, wishes)
        if taken is not None:
            return taken
    return _texts(name, different, wishes, "category")


def _is_text(kind: pa.DataType) -> bool:
    import pyarrow as pa  # noqa: PLC0415

    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _examples(cells: pa.ChunkedArray) -> tuple[str, ...]:
    import pyarrow.compute as pc  # noqa: PLC0415

    first = pc.unique(cells[:1000].drop_null()).to_pylist()
    return shortened([str(value) for value in first if str(value).strip()])


def _is_group(name: str, taken: Taken) -> bool:
    """Return whether a column of text, or one that is named so, repeats like a group of rows."""
    import pandas as pd  # noqa: PLC0415

    if taken.kind == "number" and not is_named_as_group(name):
        return False
    codes, different = pd.factorize(taken.column.series.iloc[:ROWS_OF_GROUPS])
    present = int((codes >= 0).sum())
    changes = int(np.count_nonzero(np.diff(codes[codes >= 0])))
    return repeats_like_a_group(name, len(different), present, changes)


# --- text ---


class _Different:
    """The different texts of a column.

    Args:
        cells: the cells of the column.
        declared: texts that are missing values.

    Attributes:
        texts: the different texts, without null.
        trimmed: the same without spaces around them.
        counts: number of rows of each.
        is_blank: whether each is empty, of spaces only, or declared to be missing.
        is_marker: whether each stands for a missing value among numbers.
        is_infinite: whether each is an infinite number.
        is_missing: whether each is missing in a column of numbers.
    """

    def __init__(self, cells: pa.ChunkedArray, declared: Collection[str]) -> None:
        import pyarrow as pa  # noqa: PLC0415
        import pyarrow.compute as pc  # noqa: PLC0415

        found = pc.value_counts(cells.drop_null())
        self.cells = cells
        self.texts = pc.struct_field(found, "values")
        self.counts: np.ndarray[Any, Any] = pc.struct_field(found, "counts").to_numpy(zero_copy_only=False)
        self.trimmed = pc.utf8_trim_whitespace(self.texts)
        self.is_blank = pc.or_(
            pc.equal(self.trimmed, ""), pc.is_in(self.texts, pa.array(list(declared), pa.string()))
        )
        self.is_marker = pc.is_in(pc.utf8_lower(self.trimmed), pa.array(MARKERS))
        self.is_infinite = pc.match_substring_regex(self.trimmed, INFINITE)
        self.is_missing = pc.or_(pc.or_(self.is_blank, self.is_marker), self.is_infinite)

    @property
    def sample(self) -> pa.Array:
        """Some texts, other than missing ones: what is not true of one of them is not true of all."""
        import pyarrow.compute as pc  # noqa: PLC0415

        return self.trimmed[: 2 * SAMPLE].filter(pc.invert(self.is_missing[: 2 * SAMPLE]))[:SAMPLE]

    def notes_of_missing(self, others: str) -> list[str]:
        """Return notes of the texts that are missing since all other values are numbers or booleans."""
        import pyarrow.compute as pc  # noqa: PLC0415

        notes = []
        markers = pc.and_(self.is_marker, pc.invert(self.is_blank))
        if pc.any(markers).as_py():
            notes.append(f"{self.named(markers)} read as missing, since all other values are {others}")
        if pc.any(self.is_infinite).as_py():
            infinite = self.named(self.is_infinite)
            notes.append(f"{infinite} read as missing, since requests cannot contain infinity")
        return notes

    def rows(self, which: pa.Array) -> int:
        """Return the number of rows whose text is one of these."""
        return int(self.counts[which.to_numpy(zero_copy_only=False).astype(bool)].sum())

    def spread(self, values: pa.Array) -> pa.ChunkedArray:
        """Return a value for each row, from one for each of the different texts."""
        import pyarrow as pa  # noqa: PLC0415
        import pyarrow.compute as pc  # noqa: PLC0415

        indices = pc.index_in(self.cells, value_set=self.texts)
        return pa.chunked_array([values.take(chunk) for chunk in indices.chunks], values.type)

    def named(self, which: pa.Array) -> str:
        """Return the most frequent of these texts, each with its number of rows."""
        mask = which.to_numpy(zero_copy_only=False).astype(bool)
        texts, counts = self.texts.filter(which).to_pylist(), self.counts[mask]
        order = np.argsort(-counts, kind="stable")[:MAX_NAMED]
        shown = ", ".join(f"{texts[index]!r} ({count_rows(int(counts[index]))})" for index in order)
        return f"{shown}{' …' if len(texts) > MAX_NAMED else ''}"


def _take_text(name: str, cells: pa.ChunkedArray, wishes: Wishes) -> Taken:
    import pyarrow.compute as pc  # noqa: PLC0415

    if (taken := _long_texts(name, cells, wishes)) is not None:
        return taken
    if (
        wishes.kind in {None, *KINDS_OF_NUMBERS}
        and (taken := _plain_numbers(name, cells, wishes)) is not None
    ):
        return taken
    different = _Different(cells, wishes.missing_texts)
    present = len(cells) - cells.null_count - different.rows(different.is_blank)
    if not present:
        return Taken(_nothing(len(cells)), "empty", "no values", missing=len(cells))
    said = next((kind for kind in KINDS_OF_TEXTS if kind == wishes.kind), None)
    if said is not None:
        return _texts(name, different, wishes, said)
    for take in (partial(_written_numbers, name), _booleans, partial(_times, name), partial(_dates, name)):
        if (taken := take(different, wishes)) is not None:
            return taken
    if wishes.kind not in {None, "id"}:
        problem = (
            f"cannot be read as {wishes.kind}: it contains {different.named(pc.invert(different.is_blank))}"
        )
        raise DatasetError(f"column {name!r} {problem}: omit it from --types, or choose another kind")
    return _texts(name, different, wishes, None)


def _plain_numbers(name: str, cells: pa.ChunkedArray, wishes: Wishes) -> Taken | None:
    """Return a column of which all values are numbers as in JSON or missing; None if it is not.

    Most columns of numbers are, and `_written_numbers` takes longer.
    """
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.compute as pc  # noqa: PLC0415

    trimmed = pc.utf8_trim_whitespace(cells)
    are_numbers = pc.fill_null(pc.match_substring_regex(trimmed, NUMBER), fill_value=True)
    if wishes.decimal == "," and pc.any(pc.match_substring(trimmed.filter(are_numbers), ".")).as_py():
        return None
    rest = _Different(cells.filter(pc.invert(are_numbers)), wishes.missing_texts)
    if not pc.all(rest.is_missing, min_count=0).as_py() or len(rest.cells) + cells.null_count == len(cells):
        return None
    texts = pc.if_else(are_numbers, trimmed, pa.scalar(None, pa.string())) if len(rest.cells) else trimmed
    column = number_column(texts)
    column = replace(column, notes=(*rest.notes_of_missing("numbers"), *column.notes))
    return _numbers(name, texts, column, wishes)


def _nothing(rows: int) -> Column:
    import pandas as pd  # noqa: PLC0415

    return Column(pd.Series(np.full(rows, np.nan)))


def _numbers(name: str, cells: pa.ChunkedArray, column: Column, wishes: Wishes, read: str = "") -> Taken:
    """Return a column of numbers that are read already, with the kind that they have in this column."""
    column, missing = _without_infinity(column)
    values = column.series.to_numpy()
    kind, described = kind_of_numbers(name, values)
    spelling = ""
    if wishes.kind in {None, "date"} and kind in {"number", "id", "index"} and described != "numbers":
        spelling = _date_of_whole_numbers(name, values, sure=wishes.kind == "date")
    if wishes.kind == "date":
        if not spelling:
            raise DatasetError(
                f"column {name!r} cannot be read as dates: its numbers are neither dates such as 20260331 "
                "nor seconds since 1970"
            )
        kind = "date"
    elif spelling:
        kind = "date"
    elif wishes.kind == "number":
        kind = "number"
    elif wishes.kind == "id":
        kind = "id"
    if kind == "date":
        text = plain_column(_as_text(cells)).series
        return Taken(
            replace(column, series=text), "date", _dates_such_as(spelling), missing=missing, spelling=spelling
        )
    if (
        wishes.kind is None
        and not spelling
        and kind == "number"
        and (unit := epoch_of(values[~np.isnan(values)]))
        and described != "numbers"
    ):
        note = (
            f"values could be {unit} since 1970; {option_for('types', [name], 'date')} takes them for dates"
        )
        column = replace(column, notes=(*column.notes, note))
    return Taken(column, kind, read or described, missing=missing)


def _as_text(cells: pa.ChunkedArray) -> pa.ChunkedArray:
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.compute as pc  # noqa: PLC0415

    if pa.types.is_floating(cells.type):  # whole numbers among which values are missing
        cells = pc.cast(cells, pa.int64())
    return pc.cast(cells, pa.string())


def _without_infinity(column: Column) -> tuple[Column, int]:
    """Return numbers with missing values in place of infinity, and the number of missing values."""
    values = column.series
    if values.dtype.kind != "f":
        return column, 0
    infinite = int(np.isinf(values.to_numpy()).sum())
    if infinite:
        values = values.mask(np.isinf(values.to_numpy()))
        note = f"infinity in {count_rows(infinite)} is read as missing, since requests cannot contain it"
        column = replace(column, series=values, notes=(*column.notes, note))
    return column, int(values.isna().sum())


def _date_of_whole_numbers(name: str, values: np.ndarray[Any, Any], *, sure: bool) -> str:
    """Return the spelling of whole numbers that are dates; empty if they are not."""
    import pandas as pd  # noqa: PLC0415
    import pyarrow as pa  # noqa: PLC0415

    present = values[~np.isnan(values)] if values.dtype.kind == "f" else values
    if (unit := epoch_of(present)) and (sure or is_named_as_time(name)):
        return f"{unit} since 1970"
    if not 180_000 <= present.min() <= present.max() < 22_000_000:
        return ""
    different = pd.unique(present.astype("int64"))
    found = spelling_of(pa.array(different).cast(pa.string()), COMPACT)
    if found is None or not (sure or is_named_as_time(name) or len(different) >= FEWEST_COMPACT):
        return ""
    dates = read_dates(pd.Series(different[:1000]).astype(str), found.name)
    return "" if np.isnat(dates).any() else found.name


def _dates_such_as(spelling: str) -> str:
    return f"dates, {spelling}"


def _written_numbers(name: str, different: _Different, wishes: Wishes) -> Taken | None:
    """Return a column of which all values are numbers or markers; None if it is not."""
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.compute as pc  # noqa: PLC0415

    if wishes.kind not in {None, *KINDS_OF_NUMBERS}:
        return None
    if wishes.kind != "number" and read_numbers(different.sample, wishes.decimal or ".").texts.null_count:
        return None
    is_wanted = wishes.kind == "number"
    numbers = read_numbers(different.trimmed, wishes.decimal or ".", may_be_codes=not is_wanted)
    are_numbers = pc.and_(pc.is_valid(numbers.texts), pc.invert(different.is_missing))
    others = pc.invert(pc.or_(different.is_missing, are_numbers))
    if not pc.any(are_numbers).as_py() or (wishes.kind != "number" and pc.any(others).as_py()):
        return None
    texts = different.spread(pc.if_else(are_numbers, numbers.texts, pa.scalar(None, pa.string())))
    column = number_column(texts)
    notes = [*column.notes, *different.notes_of_missing("numbers")]
    if pc.any(others).as_py():
        notes.append(
            f"{different.named(others)} read as missing, since --types says that it contains numbers"
        )
    if numbers.is_ambiguous and wishes.decimal is None:
        other = "1,234 is 1234; if it is 1.234, say --decimal ," if "between" in numbers.style else ""
        notes += [f"a comma may stand for the decimal point: {other}"] if other else []
    counted = different.rows(are_numbers)
    share = counted / (counted + different.rows(others))
    read = "" if numbers.style == "numbers" else numbers.style
    taken = _numbers(name, texts, replace(column, notes=tuple(notes)), wishes, read)
    return replace(taken, share=share, is_ambiguous=numbers.is_ambiguous and wishes.decimal is None)


def _booleans(different: _Different, wishes: Wishes) -> Taken | None:
    """Return a column of which all values are true, false or missing; None if it is not."""
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.compute as pc  # noqa: PLC0415

    if wishes.kind not in {None, "boolean"}:
        return None
    lower = pc.utf8_lower(different.trimmed)
    missing = pc.or_(different.is_blank, different.is_marker)
    found = lower.filter(pc.invert(missing))
    pairs = BOOLEANS if wishes.kind is None else DECLARED_BOOLEANS
    pair = next((pair for pair in pairs if pc.all(pc.is_in(found, pa.array(pair))).as_py()), None)
    if pair is None or not len(found):
        return None
    values = pc.if_else(missing, pa.scalar(None, pa.bool_()), pc.equal(lower, pair[0]))
    column = plain_column(different.spread(values))
    column = replace(column, notes=tuple(different.notes_of_missing("booleans")))
    rows_missing = int(column.series.isna().sum())
    if len(pc.unique(found)) == 1 and not rows_missing:
        return Taken(column, "constant", "one boolean")
    return Taken(column, "boolean", f"{pair[0]} and {pair[1]}", missing=rows_missing)


def _dates(name: str, different: _Different, wishes: Wishes) -> Taken | None:
    """Return a column of which nearly all values are dates or missing; without a spelling if of several.

    All others are missing, too, if a person says that it contains dates.
    """
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.compute as pc  # noqa: PLC0415

    if wishes.kind not in {None, "date"}:
        return None
    missing = _mask(
        pc.or_(
            pc.or_(different.is_blank, different.is_marker), pc.is_in(different.trimmed, pa.array(NO_DATES))
        )
    )
    present = different.trimmed.filter(pa.array(~missing))
    found = spelling_of(present) if len(present) else None
    mixed = two_spellings_of(present) if found is None else None
    if found is None and mixed is None:
        found = _spelling_of_nearly_all(different, missing, wishes)
    if found is None and mixed is None:
        return None
    others = impossible = np.zeros(len(missing), dtype=bool)
    if found is not None:
        others = ~are_spelled(different.trimmed, found.name) & ~missing
        impossible = are_not_in_the_calendar(different.trimmed, found.name)
    gone = pa.array(missing | others | impossible)
    texts = pc.if_else(gone, pa.scalar(None, pa.string()), different.texts)
    column = plain_column(different.spread(texts) if texts.null_count else different.cells)
    notes = _notes_of_unreadable(name, different, missing, others, "dates", is_said=wishes.kind == "date")
    if impossible.any():
        notes.append(f"{different.named(pa.array(impossible))} read as missing: no such day exists")
    if mixed is not None:
        notes.append(
            f"dates are written in several ways, such as {mixed[0]!r} and {mixed[1]!r}: to use them, write "
            "all in one, such as 2026-03-31"
        )
    if found is not None and found.is_ambiguous:
        notes.append("day and month could be exchanged in all values: the day is taken to be first")
    return Taken(
        Column(column.series, tuple(notes), _read_as_missing(different, missing)),
        "date",
        _dates_such_as(found.name) if found is not None else "dates, written in several ways",
        share=_share(different, ~(missing | others | impossible), others | impossible),
        missing=int(column.series.isna().sum()),
        spelling=found.name if found is not None else "",
    )


def _spelling_of_nearly_all(
    different: _Different, missing: np.ndarray[Any, Any], wishes: Wishes
) -> DateSpelling | None:
    """Return the spelling that nearly all rows with a value have, or most if they are said to be dates."""
    import pyarrow as pa  # noqa: PLC0415

    values, counts = different.trimmed.filter(pa.array(~missing)), different.counts[~missing]
    is_said = wishes.kind == "date"
    some = values[:FEW]
    if not is_said and spelling_of_most(some, np.ones(len(some))) is None:
        return None
    found = spelling_of_most(values, counts)
    if found is None or (found.name in CODES and not is_said):
        return None
    rows = counts[are_spelled(values, found.name)].sum()
    return found if is_said or rows >= NEARLY_ALL * counts.sum() else None


def _times(name: str, different: _Different, wishes: Wishes) -> Taken | None:
    """Return a column of which nearly all values are times of the day or missing; None if it is not.

    All others are missing, too, if a person says that it contains times.
    """
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.compute as pc  # noqa: PLC0415

    is_said = wishes.kind == "time"
    if not (is_said or (wishes.kind is None and are_times(different.sample[:FEW]).any())):
        return None
    missing = _mask(pc.or_(different.is_blank, different.is_marker))
    found = are_times(different.trimmed) & ~missing
    others = ~found & ~missing
    share = _share(different, found, others)
    if not found.any() or not (is_said or share >= NEARLY_ALL):
        return None
    if not (is_said or seem_times_of_day(name, different.trimmed.filter(pa.array(~missing)))):
        return None
    texts = pc.if_else(pa.array(found), different.texts, pa.scalar(None, pa.string()))
    column = plain_column(different.spread(texts) if texts.null_count else different.cells)
    notes = _notes_of_unreadable(name, different, missing, others, "times of the day", is_said=is_said)
    return Taken(
        Column(column.series, tuple(notes), _read_as_missing(different, missing)),
        "time",
        "times of the day",
        share=share,
        missing=int(column.series.isna().sum()),
    )


def _mask(which: pa.Array) -> np.ndarray[Any, Any]:
    mask: np.ndarray[Any, Any] = which.to_numpy(zero_copy_only=False).astype(bool)
    return mask


def _share(different: _Different, found: np.ndarray[Any, Any], others: np.ndarray[Any, Any]) -> float:
    """Return the share of the rows with *found* texts among those with these or *others*."""
    rows = int(different.counts[found].sum())
    return rows / max(rows + int(different.counts[others].sum()), 1)


def _read_as_missing(different: _Different, missing: np.ndarray[Any, Any]) -> tuple[str, ...]:
    """Return the texts that were read as missing, which a model has to take for missing, too."""
    import pyarrow as pa  # noqa: PLC0415

    gone = different.texts.filter(pa.array(missing)).to_pylist()
    return ("", *filter(None, gone)) if gone else ()


def _notes_of_unreadable(
    name: str,
    different: _Different,
    missing: np.ndarray[Any, Any],
    others: np.ndarray[Any, Any],
    what: str,
    *,
    is_said: bool,
) -> list[str]:
    """Return notes of markers, and of *others*, that were read as missing among dates or times of the day."""
    import pyarrow as pa  # noqa: PLC0415

    notes = []
    markers = missing & ~_mask(different.is_blank)
    if markers.any():
        notes.append(
            f"{different.named(pa.array(markers))} read as missing, since all other values are {what}"
        )
    if others.any():
        rows = int(different.counts[~missing].sum())
        because = f"since it is said to contain {what}"
        if not is_said:
            because = (
                f"since all others are {what}; {option_for('types', [name], 'category')} keeps the texts"
            )
        notes.append(f"{different.named(pa.array(others))} of {rows} values read as missing, {because}")
    return notes


def _texts(name: str, different: _Different, wishes: Wishes, said: Kind | None) -> Taken:
    """Return a column of text, in which only empty texts and declared ones are missing."""
    import pyarrow.compute as pc  # noqa: PLC0415

    blanks = [text for text in different.texts.filter(different.is_blank).to_pylist() if text]
    declared = tuple(dict.fromkeys([*wishes.missing_texts, *blanks]))
    present = different.texts.filter(pc.invert(different.is_blank))
    rows = len(different.cells)
    count = rows - different.cells.null_count - different.rows(different.is_blank)
    kind, read = kind_of_texts(name, present, count, rows)
    note = ""
    if said is not None:
        kind, read = said, f"{len(present)} different texts"
    elif wishes.kind == "id":
        kind = "id"
    elif kind in {"category", "id", "text"} and (note := _note_of_dates_or_times(name, different)):
        kind, read = "category", f"{len(present)} different texts"
    elif kind == "category":
        kind, read = _kind_of_categories(different, read)
    note = note or _note_of_mixed(name, different, wishes, kind)
    column = text_column(name, different.cells, declared, note)
    if different.cells.null_count and not declared and not pc.any(different.is_blank).as_py():
        column = replace(column, missing_texts=())
    if kind == "category" and are_nearly_unique(len(present), count):
        note = f"almost every value is different; if it identifies rows, say {option_for('drop', [name])}"
        column = replace(column, notes=(*column.notes, note))
    return Taken(column, kind, read, missing=rows - count)


def _kind_of_categories(different: _Different, read: str) -> tuple[Kind, str]:
    """Return whether categories are misspelled, and how they are described."""
    import pyarrow as pa  # noqa: PLC0415

    present = ~_mask(different.is_blank)
    texts = different.texts.filter(pa.array(present)).to_pylist()
    share = share_of_misspelled(texts, different.counts[present])
    if share < CLEAR_SHARE:
        return "category", read
    return "misspelled", f"{read}, {share:.0%} nearly as a more frequent one"


def _note_of_dates_or_times(name: str, different: _Different) -> str:
    """Return why a column in which most values are dates or times is none of these; empty if they are not."""
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.compute as pc  # noqa: PLC0415

    some = different.sample[:FEW]
    missing = _mask(pc.or_(different.is_blank, different.is_marker))
    found, kind, what = np.zeros(len(missing), dtype=bool), "date", "dates"
    if are_times(some).any():
        kind, what = "time", "times of the day"
        found = are_times(different.trimmed) & ~missing
        if not seem_times_of_day(name, different.trimmed.filter(pa.array(~missing))):
            if not (found | missing).all() or is_named_as_no_time(name):
                return ""
            return (
                f"values could be times of the day; {option_for('types', [name], 'time')} takes them for such"
            )
    elif spelling_of_most(some, np.ones(len(some))) is not None:
        spelling = spelling_of_most(different.trimmed, different.counts * ~missing)
        if spelling is not None and spelling.name not in CODES:
            found = are_spelled(different.trimmed, spelling.name) & ~missing
    others = ~found & ~missing
    if not (found.any() and others.any()) or _share(different, found, others) < MOSTLY:
        return ""
    return (
        f"read as text, since {different.named(pa.array(others))} of {int(different.counts[~missing].sum())} "
        f"values are not {what}; {option_for('types', [name], kind)} reads these as missing"
    )


def _note_of_mixed(name: str, different: _Different, wishes: Wishes, kind: Kind) -> str:
    """Return why a column in which most values are numbers is not one of numbers; empty if they are not."""
    import pyarrow.compute as pc  # noqa: PLC0415

    if kind not in {"category", "text"} or wishes.kind is not None:
        return ""
    some = read_numbers(different.sample, wishes.decimal or ".")
    if not some.problem and some.texts.null_count > (1 - MOSTLY / 2) * len(some.texts):
        return ""
    numbers = read_numbers(different.trimmed, wishes.decimal or ".")
    are_numbers = pc.and_(pc.is_valid(numbers.texts), pc.invert(different.is_missing))
    others = pc.invert(pc.or_(different.is_missing, are_numbers))
    counted, strange = different.rows(are_numbers), different.rows(others)
    if numbers.problem and numbers.problem.startswith(("the units", "only some")):
        return f"read as text, since {numbers.problem}"
    are_codes = pc.all(pc.match_substring_regex(different.trimmed.filter(others), LEADING_ZERO)).as_py()
    if not strange or counted < MOSTLY * (counted + strange) or are_codes:
        return ""
    return (
        f"read as text, since {different.named(others)} of {counted + strange} values are not numbers; "
        f"{option_for('types', [name], 'number')} reads these as missing"
    )


def _long_texts(name: str, cells: pa.ChunkedArray, wishes: Wishes) -> Taken | None:
    """Return a column of texts of several words, of which some rows show it; None if it may be another one.

    Copies of many long texts, and a table of the different ones, take memory. The rows are spread over the
    file: if they are neither numbers, booleans nor dates, the column is not, and it has at least as many
    different texts as they have.
    """
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.compute as pc  # noqa: PLC0415

    if wishes.kind not in {None, "text"} or len(cells) <= ROWS_OF_TEXTS:
        return None
    if not has_many_words(cells[:SAMPLE]):
        return None
    places = np.linspace(0, len(cells) - 1, ROWS_OF_TEXTS).astype(int)
    some = cells.take(pa.array(places))
    if not pc.count_distinct(some).as_py() >= REPEATED_TEXT * len(cells):
        return None
    taken = _take_text(name, some, wishes)
    if taken.kind != "text":
        return None
    is_blank = pc.match_substring_regex(cells, r"^\s*$")
    blanks = [text for text in pc.unique(cells.filter(is_blank)).to_pylist() if text]
    declared = tuple(dict.fromkeys([*wishes.missing_texts, *blanks]))
    is_missing = pc.is_in(cells, pa.array(["", *declared], pa.string()))
    missing = cells.null_count + (pc.sum(is_missing).as_py() or 0)
    column = text_column(name, cells, declared)
    if cells.null_count == missing and not declared:
        column = replace(column, missing_texts=())
    return Taken(column, "text", "texts of several words, most of them different", missing=missing)


# --- other types ---


def _take_categories(name: str, cells: pa.ChunkedArray, wishes: Wishes) -> Taken:
    """Return categories of a typed file; those of another declared kind are read as their texts."""
    import pyarrow as pa  # noqa: PLC0415

    if wishes.kind not in {None, "category"}:
        return _take_text(name, cells.cast(pa.string()), wishes)
    column = plain_column(cells)
    removed = [text for text in wishes.missing_texts if text in column.series.cat.categories]
    series = column.series.cat.remove_categories(removed)
    missing = int(series.isna().sum())
    used = series.nunique()
    if not used:
        return Taken(_nothing(len(cells)), "empty", "no values", missing=len(cells))
    kind: Kind = "constant" if used == 1 and not missing else "category"
    read = f"{used} categories"
    if kind == "category" and wishes.kind is None:
        kind, read = _kind_of_categories(_Different(cells.cast(pa.string()), wishes.missing_texts), read)
    return Taken(replace(column, series=series), kind, read, missing=missing)


def _take_typed(  # noqa: PLR0911 - one return for each kind
    name: str, cells: pa.ChunkedArray, wishes: Wishes
) -> Taken:
    """Return a column of a file with types."""
    import pyarrow as pa  # noqa: PLC0415

    is_ = pa.types
    if is_.is_null(cells.type) or cells.null_count == len(cells):
        return Taken(_nothing(len(cells)), "empty", "no values", missing=len(cells))
    if is_.is_date(cells.type) or is_.is_timestamp(cells.type):
        return _typed_dates(cells, wishes)
    if is_.is_time(cells.type) or is_.is_duration(cells.type):
        column = Column(_seconds(cells))
        what = "times of the day" if is_.is_time(cells.type) else "durations"
        note = f"{what} are used, and have to be in requests, as numbers of seconds"
        return Taken(replace(column, notes=(note,)), "number", what, missing=cells.null_count)
    column = plain_column(cells)
    kind = getattr(column.series.dtype, "kind", "O")
    if is_.is_boolean(cells.type):
        used = column.series.nunique()
        is_constant = used == 1 and not cells.null_count
        return Taken(
            column, "constant" if is_constant else "boolean", "true and false", missing=cells.null_count
        )
    if hasattr(column.series, "cat") or kind not in "iuf":
        used = column.series.nunique()
        taken_for: Kind = "constant" if used == 1 and not cells.null_count else "category"
        return Taken(column, taken_for, f"{used} categories", missing=cells.null_count)
    if wishes.kind in {"category", "boolean"}:
        return Taken(
            column,
            "category" if wishes.kind == "category" else "boolean",
            "numbers",
            missing=cells.null_count,
        )
    if wishes.kind == "text":
        return Taken(plain_column(_as_text(cells)), "text", "numbers as text", missing=cells.null_count)
    return _numbers(name, cells, column, wishes)


def _typed_dates(cells: pa.ChunkedArray, wishes: Wishes) -> Taken:
    """Return dates as their texts in ISO 8601, which requests contain."""
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.compute as pc  # noqa: PLC0415

    if wishes.kind not in {None, "date", "id"}:
        raise DatasetError(
            f"dates of type {cells.type} cannot be read as {wishes.kind}: omit it from --types"
        )
    if pa.types.is_timestamp(cells.type):
        form = "%Y-%m-%dT%H:%M:%S%z" if cells.type.tz else "%Y-%m-%dT%H:%M:%S"
        text = pc.strftime(cells.cast(pa.timestamp("s", cells.type.tz), safe=False), format=form)
    else:
        text = pc.cast(cells.cast(pa.date32()), pa.string())
    kind: Kind = "id" if wishes.kind == "id" else "date"
    missing = cells.null_count
    return Taken(plain_column(text), kind, "dates", missing=missing, spelling="year first")


def _seconds(cells: pa.ChunkedArray) -> pd.Series[Any]:
    """Return times of the day, or durations, as seconds."""
    import pandas as pd  # noqa: PLC0415
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.compute as pc  # noqa: PLC0415

    whole = pa.int32() if pa.types.is_time32(cells.type) else pa.int64()
    numbers = pc.cast(pc.cast(cells, whole), pa.float64()).to_numpy()
    return pd.Series(numbers / {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[cells.type.unit])
