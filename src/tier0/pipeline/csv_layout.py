"""How a CSV file is written, found from its beginning: separator, quotes, header and the lines above it."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING

from tier0.core.errors import DatasetError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "vertical bars"}
"""Separators that are recognised, and their names; of two that fit equally well, the first is taken."""
SAMPLED_ROWS = 1000
LONGEST_VALUE = 2**26
MAX_TITLE_ROWS = 30
DECLARED_SEPARATOR = re.compile(r'^"?sep=(.)"?\s*$')
"""A line that names the separator for Excel."""
NUMBER = re.compile(r"[+-]?[0-9][0-9.,]*(?:[eE][+-]?[0-9]+)?")
Row = tuple[int, list[str]]


@dataclass(frozen=True)
class Layout:
    """How a CSV file is written.

    Attributes:
        separator: the character between values.
        names: the names of the columns, without blanks around them; empty where there is none.
        lines_above: number of lines that end with the header's; the values begin below.
        title: the first line of those above the header; empty if the header is the first line.
        quote: the character around values.
        escape: a character that precedes a quote or a separator within a value, or None.
        blanks_before_quotes: there are blanks between a separator and a quote.
        notes: sentences about decisions that could be wrong.
    """

    separator: str
    names: tuple[str, ...] = ()
    lines_above: int = 1
    title: str = ""
    quote: str = '"'
    escape: str | None = None
    blanks_before_quotes: bool = False
    notes: tuple[str, ...] = ()

    def rows(self, lines: Iterator[str]) -> Iterator[Row]:
        """Yield the rows of *lines*, each with the number of its last line; lines that are empty are none."""
        reader = csv.reader(
            lines,
            delimiter=self.separator,
            quotechar=self.quote,
            escapechar=self.escape,
            skipinitialspace=self.blanks_before_quotes,
        )
        limit = csv.field_size_limit(LONGEST_VALUE)
        try:
            for row in reader:
                if row:
                    yield reader.line_num, row
        finally:
            csv.field_size_limit(limit)

    @property
    def complete_names(self) -> list[str]:
        """The names, with one for each column that has none, as pandas does."""
        return [name or f"Unnamed: {position}" for position, name in enumerate(self.names)]


@dataclass(frozen=True)
class _Attempt:
    """A layout, and how well the sample agrees with it."""

    layout: Layout
    width: int
    agreement: float
    header: int

    @property
    def rank(self) -> tuple[bool, bool, int, float]:
        return self.agreement == 1, self.header == 0, self.width, self.agreement


def find_layout(sample: str, *, is_whole: bool, separator: str | None = None) -> Layout:
    """Return how the file that begins with *sample* is written.

    The separator is the one by which all rows from the header on have the same number of values; of several,
    the one whose header is the file's first line, then the one with most columns.

    Args:
        sample: the beginning of the file.
        is_whole: the sample is the whole file; otherwise its last row may not be complete.
        separator: the separator, if a person named it.

    Raises:
        DatasetError: the sample has no row; the message has no file name.
    """
    if separator is None and (declared := DECLARED_SEPARATOR.match(sample.partition("\n")[0])):
        separator = declared.group(1)
    attempts = [
        attempt
        for character in ([separator] if separator else SEPARATORS)
        if (attempt := _attempt(sample, character, is_whole=is_whole)) is not None
    ]
    if not attempts:
        raise DatasetError("it is empty. Export it again, with a header and rows")
    several = [attempt for attempt in attempts if attempt.width > 1] or attempts[:1]
    best = max(several, key=lambda attempt: attempt.rank)  # the first of equal ones
    equal = [speak(one.layout.separator) for one in several if one.rank == best.rank]
    if len(equal) == 1:
        return best.layout
    note = f"{' and '.join(equal)} separate equally many values; {equal[0]} were taken (--sep takes another)"
    return replace(best.layout, notes=(*best.layout.notes, note))


def _attempt(sample: str, separator: str, *, is_whole: bool) -> _Attempt | None:
    """Return the best of the layouts with this separator; None for a file without rows.

    Blanks before quotes, and an escape character, are assumed if the rows fit better, or if values would
    otherwise contain the quotes that are around them.
    """
    quote = "'" if re.match(rf"\s*'[^'\n]*'\s*({re.escape(separator)}|[\r\n]|$)", sample) else '"'
    layouts = [Layout(separator, quote=quote)]
    if re.search(rf"{re.escape(separator)} +{quote}", sample):
        other = [replace(layout, blanks_before_quotes=True) for layout in layouts]
        quotes = any(re.fullmatch(f" +{quote}.*{quote} *", cell) for cell in _cells(layouts[0], sample))
        layouts = [*other, *layouts] if quotes else [*layouts, *other]
    if f"\\{quote}" in sample or f"\\{separator}" in sample:
        other = [replace(layout, escape="\\") for layout in layouts]
        quotes = any(re.search(rf"\\{quote}.*{quote}$", cell) for cell in _cells(layouts[0], sample))
        layouts = [*other, *layouts] if quotes else [*layouts, *other]
    found = [_measure(layout, sample, is_whole=is_whole) for layout in layouts]
    attempts = [attempt for attempt in found if attempt is not None]
    return max(attempts, key=lambda attempt: attempt.agreement, default=None)


def _cells(layout: Layout, sample: str) -> Iterator[str]:
    rows = islice(layout.rows(iter(io.StringIO(sample, newline=""))), SAMPLED_ROWS)
    return (cell for _, row in rows for cell in row)


def _measure(layout: Layout, sample: str, *, is_whole: bool) -> _Attempt | None:
    rows = list(islice(layout.rows(iter(io.StringIO(sample, newline=""))), SAMPLED_ROWS))
    if not is_whole and 1 < len(rows) < SAMPLED_ROWS:
        rows.pop()
    if rows and DECLARED_SEPARATOR.match(layout.separator.join(rows[0][1])) and len(rows) > 1:
        rows = rows[1:]
    if not any(cell.strip() for _, row in rows for cell in row):
        return None
    rows = [(line, row) for line, row in rows if len(row) > 1 or row[0].strip()]
    width = Counter(len(row) for _, row in rows).most_common(1)[0][0]
    header = _header_of(rows, width)
    below = rows[header:]
    agreement = sum(len(row) == width for _, row in below) / len(below)
    names, notes = _names_of(rows[header][1], [row for _, row in below[1:]], width)
    title = "" if not header else layout.separator.join(rows[0][1]).strip()
    if len(names) == width and len(below[0][1]) != width:
        agreement = sum(len(row) == width for _, row in below[1:]) / max(len(below) - 1, 1)
    line = rows[header][0]
    found = replace(layout, names=tuple(names), lines_above=line, title=title, notes=tuple(notes))
    return _Attempt(found, width, agreement, header)


def _header_of(rows: list[Row], width: int) -> int:
    """Return the position of the header: the first row, unless rows above it can only be a title.

    A title has a value in at most half of the columns. The header below it has a value in at least half of
    them, no value twice, and does not begin with a number.
    """
    for position, (_, row) in enumerate(rows[:MAX_TITLE_ROWS]):
        filled = [cell.strip() for cell in row if cell.strip()]
        if len(row) == width and len(filled) * 2 >= width:
            is_header = bool(filled) and not NUMBER.fullmatch(filled[0]) and len(set(filled)) == len(filled)
            return position if is_header else 0
        if len(filled) > max(1, width // 2):
            break
    return 0


def _names_of(header: list[str], rows: list[list[str]], width: int) -> tuple[list[str], list[str]]:
    """Return the names, of which a file may leave out that of row names, and notes about them."""
    names = [name.strip().removeprefix("\ufeff") for name in header]
    if len(names) == width + 1 and not names[-1]:
        return names[:-1], []
    if len(names) != width - 1 or not rows or any(len(row) != width for row in rows):
        return names, []
    if not any(row[-1].strip() for row in rows):
        return [*names, ""], ["each line ends with a separator; the column without a name was left empty"]
    if _are_row_names([row[0] for row in rows]):
        return ["", *names], ["the header has one name less than there are values: the first column has none"]
    return names, []


def _are_row_names(cells: list[str]) -> bool:
    """Return whether cells are a count of the rows, or different texts, as R writes the names of rows."""
    if all(cell.strip().isdecimal() for cell in cells):
        numbers = [int(cell) for cell in cells]
        return len(numbers) > 1 and numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    return len(set(cells)) == len(cells) and not any(NUMBER.fullmatch(cell.strip()) for cell in cells)


def speak(separator: str) -> str:
    """Return the name of a separator, in the plural."""
    return SEPARATORS.get(separator, "blanks" if separator == " " else f"{separator!r}")


TOTAL = re.compile(
    r"(?:(?:grand|sub)[ -]?)?total(?:s|e|en)?\b|(?:sum|summe|gesamt|insgesamt|somme|suma|totaal)\b",
    re.IGNORECASE,
)
MAX_FOOTER_ROWS = 10


def is_remark(row: list[str], width: int, is_alone: Callable[[int, str], bool]) -> bool:
    """Return whether a row at a file's end is a total, or a remark of several words.

    A total begins with a word such as "Total" that no other row has in its column, and lacks a value; a
    remark is the only value of its row, in the first of at least three columns.

    Args:
        row: its values.
        width: number of the columns.
        is_alone: whether no other row has a value in a column.
    """
    filled = [(position, cell.strip()) for position, cell in enumerate(row) if cell.strip()]
    if not filled:
        return False
    position, first = filled[0]
    if TOTAL.match(first) and len(filled) < width:
        return is_alone(position, row[position])
    several_words = len(first.split()) > 1 and any(letter.isalpha() for letter in first)
    return len(filled) == 1 and position == 0 and several_words and (width > 2 or len(row) < width)
