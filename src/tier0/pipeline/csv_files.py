"""Tables in CSV files: cells of text, exactly as they are in the file."""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections import Counter
from dataclasses import dataclass
from itertools import chain
from typing import IO, TYPE_CHECKING

from tier0.core.errors import DatasetError, first_line
from tier0.pipeline.csv_layout import MAX_FOOTER_ROWS, Layout, find_layout, is_remark, speak
from tier0.pipeline.table_content import (
    BLOCK,
    blocks_of,
    compression_of_file,
    in_memory,
    open_content,
    reading,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    import pyarrow as pa

SAMPLE = 2**20
"""Number of bytes from which encoding, separator and header are found."""
BATCH = 2**15
BYTE_ORDER_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
"""Longer marks come before those that they begin with."""
NOT_IN_LATIN_1 = re.compile(rb"[\x80-\x9f]")
NOT_IN_CP1252 = re.compile(rb"[\x81\x8d\x8f\x90\x9d]")
HIGH = re.compile(rb"[\x80-\xff]")
UTF_8_CHARACTER = re.compile(rb"[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3}")
SIGNS = "[^0-9A-Za-z,.]{0,4}"
"""What may be around a number: blanks, a sign, a currency, a percent sign."""
DECIMAL_COMMA = rf"^{SIGNS}(?:[0-9]*|[0-9]{{1,3}}(?:\.[0-9]{{3}})+),[0-9]+{SIGNS}$"
DECIMAL_POINT = rf"^{SIGNS}(?:[0-9]*|[0-9]{{1,3}}(?:,[0-9]{{3}})+)\.[0-9]+{SIGNS}$"
THOUSANDS_COMMA = rf"^{SIGNS}[1-9][0-9]{{0,2}},[0-9]{{3}}{SIGNS}$"
THOUSANDS_POINT = rf"^{SIGNS}[1-9][0-9]{{0,2}}\.[0-9]{{3}}{SIGNS}$"


@dataclass(frozen=True)
class Reading:
    """How a CSV file is written, as far as a person says so; None for what is to be detected."""

    separator: str | None = None
    decimal: str | None = None
    encoding: str | None = None


@dataclass(frozen=True)
class CsvCells:
    """The cells of a CSV file.

    Attributes:
        columns: text, by name of the column.
        decimal: decimal separator of its numbers.
        notes: sentences about how the file was read.
    """

    columns: dict[str, pa.ChunkedArray]
    decimal: str
    notes: tuple[str, ...]


def read_csv(path: Path, options: Reading) -> CsvCells:
    """Return the cells of a CSV file.

    Raises:
        DatasetError: the file is not a table in CSV; the message names the line and the remedy.
    """
    with _reading(path):
        encoding, notes_of_encoding = _encoding_of(path, options)
        try:
            found = _read(path, encoding, options)
        except UnicodeError as problem:
            if options.encoding or encoding != "utf-8":
                raise _not_in(encoding, path) from problem
            encoding, note = _single_byte_encoding(path)
            notes_of_encoding.append(note)
            found = _read(path, encoding, options)
        layout, columns, footer = found
    if not columns or not len(columns[0]):
        raise DatasetError(
            f"cannot read {path} as CSV: it has no rows below its header. Export it again, with rows"
        )
    decimal, decimal_notes = _decimal_of(columns, layout, options)
    notes = [*notes_of_encoding, *layout.notes, *footer, *decimal_notes]
    title = [f"the header is line {layout.lines_above}, below {layout.title!r}"] if layout.title else []
    special = [
        f"separated by {speak(layout.separator)}" if layout.separator != "," else "",
        "with decimal commas" if decimal == "," else "",
        f"in {encoding}" if encoding not in {"utf-8", "utf-8-sig"} and not notes_of_encoding else "",
        f"compressed with {compression}" if (compression := compression_of_file(path)) else "",
    ]
    spoken = ", ".join(part for part in special if part)
    notes = [*([f"read as CSV {spoken}"] if spoken else []), *title, *notes]
    return CsvCells(dict(zip(layout.complete_names, columns, strict=True)), decimal, tuple(notes))


def csv_names(path: Path, options: Reading) -> list[str]:
    """Return the names of a CSV file's columns from its beginning.

    Raises:
        DatasetError: the file cannot be read.
    """
    with _reading(path):
        encoding, _ = _encoding_of(path, options)
        try:
            return _layout_of(path, encoding, options).complete_names
        except UnicodeError as problem:
            if options.encoding or encoding != "utf-8":
                raise _not_in(encoding, path) from problem
            return _layout_of(path, _single_byte_encoding(path)[0], options).complete_names


def _reading(path: Path) -> AbstractContextManager[None]:
    return reading(path, "CSV")


# --- encoding ---


def _encoding_of(path: Path, options: Reading) -> tuple[str, list[str]]:
    """Return the encoding by options, byte order mark or zero bytes, otherwise UTF-8; with notes."""
    with open_content(path) as content:
        head = content.read(SAMPLE)
    marked = next((name for mark, name in BYTE_ORDER_MARKS.items() if head.startswith(mark)), None)
    if options.encoding:
        name = codecs.lookup(options.encoding).name
        return ("utf-8-sig" if name == "utf-8" else name), []
    if marked:
        return marked, []
    zeros = [head[parity::2].count(0) * 2 / max(len(head), 1) for parity in (0, 1)]
    if max(zeros) > 1 / 2 and min(zeros) < 1 / 8:
        encoding = "utf-16-le" if zeros[1] > zeros[0] else "utf-16-be"
        return encoding, [f"every second byte is zero: read as {encoding} (--encoding names another)"]
    if b"\0" in head:
        raise ValueError("it is neither text nor a table in a known format: save the table as CSV or Parquet")
    return "utf-8", []


def _single_byte_encoding(path: Path) -> tuple[str, str]:
    """Return the encoding of a file that is not in UTF-8, with a note.

    It is latin-1, or cp1252 if it has one of its characters that latin-1 lacks.

    Raises:
        ValueError: most characters other than ASCII are in UTF-8, so that a few are damaged.
    """
    in_utf_8 = others = 0
    latin, windows = True, True
    first = ""
    with open_content(path) as content:
        for number, line in enumerate(content, 1):
            if line.isascii():
                continue
            characters = UTF_8_CHARACTER.findall(line)
            rest = len(HIGH.findall(line)) - sum(map(len, characters))
            in_utf_8, others = in_utf_8 + len(characters), others + rest
            latin, windows = (
                latin and not NOT_IN_LATIN_1.search(line),
                windows and not NOT_IN_CP1252.search(line),
            )
            if rest and not first:
                first = f"line {number}"
    encoding = "latin-1" if latin or not windows else "cp1252"
    if in_utf_8 > others:
        raise ValueError(
            f"{first} has a character that is not in UTF-8, as the others of the file are: correct it, or "
            "name the encoding with --encoding"
        )
    return encoding, f"it is not in UTF-8 ({first}): read as {encoding} (--encoding names another)"


def _not_in(encoding: str, path: Path) -> ValueError:
    """Return the error of a file that is not in an encoding, with the line if that can be found."""
    where = "it"
    if not encoding.startswith(("utf-16", "utf-32")):
        with open_content(path) as content:
            for number, line in enumerate(content, 1):
                try:
                    line.decode(encoding)
                except UnicodeError:
                    where = f"line {number}"
                    break
    return ValueError(f"{where} is not in {encoding.removesuffix('-sig')}: name the encoding with --encoding")


def _in_utf8(content: IO[bytes], encoding: str) -> Iterator[bytes]:
    """Yield the content of a file in UTF-8.

    Raises:
        UnicodeError: the file is not in this encoding.
    """
    blocks = blocks_of(content)
    if encoding in {"utf-8", "utf-8-sig"}:
        yield from blocks
    else:
        decoder = codecs.getincrementaldecoder(encoding)()
        for block in blocks:
            yield decoder.decode(block).encode()
        yield decoder.decode(b"", final=True).encode()


# --- rows ---


def _read(path: Path, encoding: str, options: Reading) -> tuple[Layout, list[pa.ChunkedArray], list[str]]:
    """Return the layout, the columns, and notes about rows that were left out."""
    import pyarrow as pa  # noqa: PLC0415

    layout = _layout_of(path, encoding, options)
    try:
        columns = _read_fast(path, encoding, layout)
    except pa.ArrowInvalid as problem:
        if "UTF8" in str(problem):
            raise UnicodeError from problem
        columns = None
    if columns is None:
        return layout, *_read_with_lines(path, encoding, layout)
    columns, footer = _without_footer(columns)
    return layout, columns, footer


def _layout_of(path: Path, encoding: str, options: Reading) -> Layout:
    with open_content(path) as content:
        head = content.read(SAMPLE)
        is_whole = not content.read(1)
    sample = codecs.getincrementaldecoder(encoding)().decode(head, final=is_whole).removeprefix("\ufeff")
    if "\0" in sample:
        raise ValueError("it is neither text nor a table in a known format: save the table as CSV or Parquet")
    try:
        layout = find_layout(sample, is_whole=is_whole, separator=options.separator)
    except (csv.Error, DatasetError) as problem:
        raise ValueError(str(problem)) from problem
    for name, count in Counter(layout.complete_names).items():
        if count > 1:
            headless = re.fullmatch(r"[+-]?[0-9.,]+", name)
            remedy = "add a line of names above the values" if headless else "rename one"
            raise ValueError(f"its header has {count} columns named {name!r}: {remedy}")
    return layout


def _read_fast(path: Path, encoding: str, layout: Layout) -> list[pa.ChunkedArray] | None:
    """Return the columns as Arrow reads them, in several threads; None if Python has to read them."""
    import pyarrow as pa  # noqa: PLC0415
    from pyarrow import csv as arrow_csv  # noqa: PLC0415

    if layout.blanks_before_quotes:
        return None
    names = [str(position) for position in range(len(layout.names))]
    with open_content(path) as content:
        memory = in_memory(_in_utf8(content, encoding))
    parts = (memoryview(memory)[start : start + BLOCK] for start in range(0, memory.size, BLOCK))
    if sum(bytes(part).count(b'"') for part in parts) % 2:  # a quote may not be closed, which Arrow accepts
        return None
    table = arrow_csv.read_csv(
        pa.BufferReader(memory),
        arrow_csv.ReadOptions(column_names=names, skip_rows=layout.lines_above, block_size=BLOCK),
        arrow_csv.ParseOptions(
            delimiter=layout.separator,
            quote_char=layout.quote,
            escape_char=layout.escape or False,
            newlines_in_values=True,
        ),
        arrow_csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False),
    )
    columns: list[pa.ChunkedArray] = table.columns
    return columns


def _read_with_lines(path: Path, encoding: str, layout: Layout) -> tuple[list[pa.ChunkedArray], list[str]]:
    """Return the columns as Python reads them, which knows the lines, and notes about rows left out.

    Raises:
        ValueError: a row has too many or too few values, or a quote is not closed.
    """
    import pyarrow as pa  # noqa: PLC0415

    width = len(layout.names)
    batches: list[list[pa.Array]] = []
    rows: list[list[str]] = []
    odd: list[tuple[int, list[str]]] = []
    with open_content(path) as content, io.TextIOWrapper(content, encoding, newline="") as text:
        for line, row in _rows_below_header(text, layout):
            if len(row) == 1 < width and not row[0].strip():
                continue
            if len(row) != width:
                odd.append((line, row))
            elif odd:
                raise _not_rectangular(*odd[0], layout)
            else:
                rows.append(row)
            if len(odd) > MAX_FOOTER_ROWS:
                raise _not_rectangular(*odd[0], layout)
            if len(rows) == BATCH:
                batches.append(_as_arrays(rows))
                rows = []
    batches += [_as_arrays(rows)] if rows or not batches else []
    arrays = zip(*batches, strict=True) if rows or batches[0] else iter([()] * width)
    columns = [pa.chunked_array(list(chunks), pa.string()) for chunks in arrays]
    is_alone = _counter_in(columns, 0)
    for line, row in odd:
        if len(row) > width or not is_remark(row, width, is_alone):
            raise _not_rectangular(line, row, layout)
    columns, notes = _without_footer(columns)
    return columns, [*notes, *(_left_out(f"line {line}", row) for line, row in odd)]


def _as_arrays(rows: list[list[str]]) -> list[pa.Array]:
    import pyarrow as pa  # noqa: PLC0415

    return [pa.array(cells, pa.string()) for cells in zip(*rows, strict=True)]


END = "\x00end of the file"
"""A line below the last, which is a row of its own unless a quote is open."""


def _rows_below_header(text: io.TextIOWrapper, layout: Layout) -> Iterator[tuple[int, list[str]]]:
    """Yield the rows below the header with the numbers of their first lines."""
    line = layout.lines_above
    try:
        for _ in range(layout.lines_above):
            text.readline()
        for last, row in layout.rows(chain(text, [END])):
            if row == [END]:
                return
            if END in row[-1]:
                raise ValueError(f"a quote in line {line + 1} is not closed")
            line = layout.lines_above + last
            yield line - sum(cell.count("\n") for cell in row), row
    except csv.Error as problem:
        raise ValueError(f"line {line + 1} cannot be read: {first_line(problem)}") from problem


def _not_rectangular(line: int, row: list[str], layout: Layout) -> ValueError:
    width = len(layout.names)
    values = "1 value" if len(row) == 1 else f"{len(row)} values"
    names = "1 name" if width == 1 else f"{width} names"
    separator = speak(layout.separator)
    remedy = (
        f"put values that contain {separator} in quotes" if len(row) > width else "add the missing values"
    )
    return ValueError(
        f"line {line} has {values}, but the header (line {layout.lines_above}) has {names}: {remedy}, or "
        f"remove the line. The file was read as separated by {separator}; tier0 run --sep names another one"
    )


# --- footers ---


def _without_footer(columns: list[pa.ChunkedArray]) -> tuple[list[pa.ChunkedArray], list[str]]:
    """Return the columns without totals and remarks in the last rows, and a note for each of those."""
    width, notes = len(columns), []
    count = len(columns[0]) if columns else 0
    for back in range(min(MAX_FOOTER_ROWS, count - 1)):
        row = [column[count - 1 - back].as_py() for column in columns]
        if not is_remark(row, width, _counter_in(columns, 1)):
            break
        notes.append(_left_out("the last row" if not back else f"row {count - back} of {count}", row))
    return [column.slice(0, count - len(notes)) for column in columns], notes


def _counter_in(columns: list[pa.ChunkedArray], times: int) -> Callable[[int, str], bool]:
    import pyarrow.compute as pc  # noqa: PLC0415

    def is_alone(position: int, value: str) -> bool:
        found = pc.sum(pc.equal(columns[position], value)).as_py() or 0
        return bool(found <= times)

    return is_alone


def _left_out(where: str, row: list[str]) -> str:
    shown = " ".join(cell.strip() for cell in row if cell.strip())[:60]
    return f"{where} was left out, since it is a total or a remark: {shown!r}"


# --- decimal separator ---


def _decimal_of(columns: list[pa.ChunkedArray], layout: Layout, options: Reading) -> tuple[str, list[str]]:
    """Return the decimal separator by the number of columns in which most numbers with a fraction have it.

    Numbers such as 1,234 have decimal commas only where semicolons separate the values: elsewhere, the comma
    separates thousands.
    """
    if options.decimal:
        return options.decimal, []
    found = [_decimal_comma_in(column) for column in columns]
    commas, unclear = found.count(","), found.count("?")
    if not commas and not unclear:
        return ".", []
    points = sum(_has_decimal_points(column) for column in columns)
    if commas > points or (commas and commas == points and layout.separator == ";"):
        return ",", []
    if unclear and not commas and not points and layout.separator == ";":
        note = "numbers such as 1,234 were taken for decimal commas, since semicolons separate the values"
        return ",", [f"{note} (--decimal . takes them for thousands)"]
    return ".", []


def _decimal_comma_in(cells: pa.ChunkedArray) -> str:
    """Return ``,`` if most cells with one are fractions, ``?`` if these may be thousands, else nothing."""
    import pyarrow.compute as pc  # noqa: PLC0415

    marked = cells.filter(pc.match_substring(cells, ",")).unique()
    commas = marked.filter(pc.match_substring_regex(marked, DECIMAL_COMMA))
    if not len(commas) or len(commas) * 2 <= len(marked):
        return ""
    return "?" if pc.all(pc.match_substring_regex(commas, THOUSANDS_COMMA)).as_py() else ","


def _has_decimal_points(cells: pa.ChunkedArray) -> bool:
    """Return whether most cells with a point are numbers with a fraction, and not all may be thousands."""
    import pyarrow.compute as pc  # noqa: PLC0415

    marked = cells.filter(pc.match_substring(cells, ".")).unique()
    points = marked.filter(pc.match_substring_regex(marked, DECIMAL_POINT))
    if not len(points) or len(points) * 2 <= len(marked):
        return False
    return not pc.all(pc.match_substring_regex(points, THOUSANDS_POINT)).as_py()
