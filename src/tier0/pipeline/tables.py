"""Tables in CSV and Parquet files."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from tier0.core.errors import DatasetError, first_line
from tier0.core.named_file import MAX_TABLE_BYTES, require_regular
from tier0.pipeline.columns import Column, infer_column, plain_column, typed_column

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping
    from pathlib import Path

    import pandas as pd
    import pyarrow as pa

LONGEST_ROW = 16 * 2**20
"""Limit of the bytes of one row, which Arrow needs in one block."""
DELIMITERS = {";": "semicolons", "\t": "tabs", "|": "vertical bars"}
BYTE_ORDER_MARKS = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}


@dataclass(frozen=True)
class Table:
    """The columns of a file.

    Attributes:
        path: the file.
        columns: the columns in Arrow's types, by name; those of a CSV file are text.
    """

    path: Path
    columns: Mapping[str, pa.ChunkedArray]

    @classmethod
    def read(cls, path: Path) -> Table:
        """Read a .parquet file, or a CSV file of any other name.

        Raises:
            DatasetError: it cannot be read, or has no rows.
        """
        _require_readable(path)
        return cls(path, _read_parquet(path) if _is_parquet(path) else _read_csv(path))

    def column(self, name: str, declared: Collection[str] = ()) -> Column:
        """Return a column as scikit-learn takes it.

        Args:
            name: name of the column.
            declared: texts that are missing values.

        Raises:
            TypeError: no model can take its values; the message is their type.
        """
        cells = self.columns[name]
        if not _is_parquet(self.path):
            return infer_column(name, cells, declared)
        import pandas as pd  # noqa: PLC0415

        column = plain_column(cells)
        if isinstance(column.series.dtype, pd.CategoricalDtype):
            removed = [text for text in declared if text in column.series.cat.categories]
            return replace(column, series=column.series.cat.remove_categories(removed))
        if not declared or pd.api.types.infer_dtype(column.series, skipna=True) != "string":
            return column
        series = column.series.mask(column.series.isin(list(declared)))
        return Column(series, column.notes, tuple(declared))

    def unconverted(self, name: str) -> pd.Series[Any]:
        """Return a column as it is in the file: in a CSV file, text, and missing where a cell is empty."""
        import pyarrow.compute as pc  # noqa: PLC0415

        cells = self.columns[name]
        if not _is_parquet(self.path):
            return typed_column(cells, pc.equal(cells, ""), "text").series
        return cells.to_pandas()


def column_names(path: Path) -> list[str]:
    """Return the names of a file's columns without reading its rows.

    Raises:
        DatasetError: the file cannot be read.
    """
    _require_readable(path)
    if not _is_parquet(path):
        return _complete(_header(path))
    import pyarrow.parquet as pq  # noqa: PLC0415

    try:
        return [str(name) for name in pq.ParquetDataset(path).schema.names]
    except (OSError, ValueError) as problem:
        raise _not_parquet(path, problem) from problem


def _require_readable(path: Path) -> None:
    """Check that a table is a regular file, before libraries open it; a Parquet file can be a folder."""
    kind = "PARQUET" if _is_parquet(path) else "CSV"
    if _is_parquet(path) and path.is_dir():
        return
    try:
        require_regular(path, max_bytes=MAX_TABLE_BYTES)
    except FileNotFoundError as problem:
        raise DatasetError(f"cannot read {path} as {kind}: file not found") from problem
    except (OSError, ValueError) as problem:
        raise DatasetError(f"cannot read {path} as {kind}: {first_line(problem)}") from problem


def _check_unique(names: list[str], path: Path) -> None:
    if duplicates := [name for name, count in Counter(names).items() if name and count > 1]:
        raise DatasetError(f"{path} has two columns named {duplicates[0]!r}: rename one")


def _is_parquet(path: Path) -> bool:
    return path.suffix.lower() == ".parquet"


# --- CSV ---


def _read_csv(path: Path) -> dict[str, pa.ChunkedArray]:
    """Return the cells of a CSV file as text, by column.

    Raises:
        DatasetError: the file is not a table in CSV; the message names the remedy.
    """
    import pyarrow as pa  # noqa: PLC0415 - needed for files only
    from pyarrow import csv as arrow_csv  # noqa: PLC0415

    names = _header(path)
    as_text = arrow_csv.ConvertOptions(
        column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False
    )
    with _csv_errors(path):
        table = arrow_csv.read_csv(_utf8(path), *_csv_options(), as_text)
    if not table.num_rows:
        raise DatasetError(f"cannot read {path} as CSV: it has no rows below its header")
    if (line := _unclosed_quote(path)) is not None:
        raise DatasetError(f"cannot read {path} as CSV: a quote in line {line} is not closed")
    return dict(zip(_complete(names), table.columns, strict=True))


def _header(path: Path) -> list[str]:
    """Return the names in a CSV file's first row, without reading its other rows."""
    from pyarrow import csv as arrow_csv  # noqa: PLC0415

    with _csv_errors(path), arrow_csv.open_csv(_utf8(path), *_csv_options()) as reader:
        names: list[str] = reader.schema.names
    _check_unique(names, path)
    if len(names) == 1 and (separators := _separators_in(names[0])):
        raise DatasetError(f"cannot read {path} as CSV: {separators}")
    return names


def _separators_in(header: str) -> str:
    """Return that the columns are not separated by commas, and by what; an empty text if that is not so."""
    found = [spoken for delimiter, spoken in DELIMITERS.items() if delimiter in header]
    return f"its columns are separated by {found[0]}; separate them by commas" if found else ""


def _csv_options() -> tuple[Any, Any]:
    from pyarrow import csv as arrow_csv  # noqa: PLC0415

    # with several threads, errors have no row number
    read = arrow_csv.ReadOptions(use_threads=False, block_size=LONGEST_ROW)
    return read, arrow_csv.ParseOptions(newlines_in_values=True)


@contextmanager
def _csv_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as problem:  # Arrow's and Unicode's errors are ValueErrors
        raise DatasetError(f"cannot read {path} as CSV: {_why_not_csv(path, problem)}") from problem


def _utf8(path: Path) -> Any:
    """Return what Arrow reads: the path, or the content in UTF-8 if a mark says that it is in UTF-16."""
    with path.open("rb") as file:
        mark = file.read(2)
    if mark not in BYTE_ORDER_MARKS:
        return str(path)
    return io.BytesIO(path.read_bytes().decode(BYTE_ORDER_MARKS[mark]).encode())


def _complete(names: list[str]) -> list[str]:
    """Return the names, with one for each column that has none, as pandas does."""
    return [name or f"Unnamed: {position}" for position, name in enumerate(names)]


def _why_not_csv(path: Path, problem: Exception) -> str:
    text = first_line(problem)
    if found := re.search(r"Row #(\d+): Expected (\d+) columns, got (\d+)", text):
        return _why_not_rectangular(path, *found.groups())
    if isinstance(problem, UnicodeDecodeError) or "UTF8" in text:
        return "it is not in UTF-8; save it in that encoding"
    if isinstance(problem, FileNotFoundError):
        return "file not found"
    return "it is empty" if "Empty CSV file" in text else text


def _why_not_rectangular(path: Path, row: str, expected: str, got: str) -> str:
    if (line := _unclosed_quote(path)) is not None:
        return f"a quote in line {line} is not closed"
    with path.open(encoding="utf-8", errors="replace") as file:
        separators = _separators_in(file.readline())
    if expected == "1" and separators:
        return separators
    return f"the number of values in row {row} (the header is row 1) is {got}, but the header has {expected}"


def _unclosed_quote(path: Path) -> int | None:
    """Return the line of a quote that the rest of the file is within, if there is one; Arrow accepts it."""
    if path.suffix.lower() in {".gz", ".bz2"}:
        return None
    content = path.read_bytes()
    if content.count(b'"') % 2 == 0:
        return None
    encoding = BYTE_ORDER_MARKS.get(content[:2], "utf-8-sig")
    reader = csv.reader(io.StringIO(content.decode(encoding, "replace"), newline=""), strict=True)
    line = 1
    try:
        for _ in reader:
            line = reader.line_num + 1
    except csv.Error:
        return line
    return None


# --- Parquet ---


def _read_parquet(path: Path) -> dict[str, pa.ChunkedArray]:
    """Return the columns of a Parquet file, or of a folder of them, without the index of pandas.

    Raises:
        DatasetError: it cannot be read, or has no rows.
    """
    import pyarrow.parquet as pq  # noqa: PLC0415

    try:
        table = pq.read_table(path)
    except (OSError, ValueError, NotImplementedError) as problem:
        raise _not_parquet(path, problem) from problem
    if not table.num_rows:
        raise DatasetError(f"cannot read {path} as PARQUET: it has no rows")
    _check_unique(table.column_names, path)
    index = (table.schema.pandas_metadata or {}).get("index_columns", [])
    return {name: table[name] for name in table.column_names if name not in index}


def _not_parquet(path: Path, problem: Exception) -> DatasetError:
    return DatasetError(f"cannot read {path} as PARQUET: {first_line(problem)}")
