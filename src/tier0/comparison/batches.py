"""The rows that both sides are asked, in batches: from a CSV file, from a file of requests, or in memory."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from tier0.contract.contract import Contract
from tier0.core.errors import Tier0Error
from tier0.core.fields import check_depth
from tier0.core.named_file import MAX_TABLE_BYTES, open_regular

BATCH = 100
"""Rows in one request, unless the service takes fewer."""
SEEN_FOR_TYPES = 1000
"""Rows from which the types of a CSV file's columns are found."""
SEPARATORS = ",;\t|"
SWITCHES = {"true": True, "false": False}
MAX_LINE_BYTES = 16 << 20
MAX_NESTING = 3
"""Levels of a request that are searched for its rows."""
REQUESTS = {".jsonl", ".ndjson"}


class RowsError(Tier0Error):
    """The rows to compare with cannot be read."""


@dataclass(frozen=True)
class Batch:
    """Rows that are sent in one request.

    Attributes:
        start: number of the first row.
        columns: names of the columns; empty for a recorded request whose rows have none.
        rows: rows as lists of values, in the order of *columns*.
        request: recorded request body; None if the body is made from the rows.
        memo: what the sides make of the rows, and need not make again.
    """

    start: int
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    request: Any = None
    memo: list[Any] = field(default_factory=list, compare=False, repr=False)

    def __len__(self) -> int:
        return len(self.rows)

    def part(self, start: int, end: int) -> Batch:
        """Return the rows from *start* to *end*, of a batch without a recorded request."""
        return Batch(self.start + start, self.columns, self.rows[start:end])

    @property
    def can_be_split(self) -> bool:
        """Whether its rows can be sent in several requests."""
        return self.request is None and len(self) > 1

    def record(self, index: int) -> dict[str, Any]:
        """Return one row by column."""
        return dict(zip(self.columns, self.rows[index], strict=False))

    def body(self, contract: Contract, sent: Sequence[str]) -> Any:
        """Return the body of the request.

        Args:
            contract: form of the request.
            sent: columns to send; empty for all.
        """
        if self.request is not None:
            return self.request
        if not sent or list(sent) == list(self.columns):
            return contract.body(self.columns, self.rows)
        positions = [self.columns.index(name) for name in sent]
        return contract.body(sent, [[row[position] for position in positions] for row in self.rows])


@dataclass(frozen=True)
class RowSource:
    """Where the rows come from; each iteration reads them again, and keeps one batch in memory.

    Attributes:
        columns: names of the columns; empty if only the requests show them.
        path: file with the rows; None for rows in memory.
        rows: rows in memory.
        types: for a CSV file, what the texts of each column stand for.
        separator: separator of a CSV file.
    """

    columns: tuple[str, ...]
    path: Path | None = None
    rows: Sequence[Sequence[Any]] = ()
    types: tuple[str, ...] = ()
    separator: str = ","

    @classmethod
    def read(cls, path: Path) -> RowSource:
        """Return the source of a file: lines of requests if its name ends in .jsonl, else a CSV file.

        Raises:
            RowsError: the file cannot be read, or has no rows.
        """
        source = cls((), path)
        if path.suffix.lower() == ".json":
            raise RowsError(
                f"{path} is not read as rows: pass a CSV file with a header, a .jsonl file with the body of "
                "one request per line, or a file of golden rows with --golden"
            )
        if path.suffix.lower() not in REQUESTS:
            source = cls._of_csv(path)
        if next(source.batches(1), None) is None:
            raise RowsError(f"{path} has no rows")
        return source

    @classmethod
    def _of_csv(cls, path: Path) -> RowSource:
        with _opened(path) as file:
            try:
                header = file.readline(MAX_LINE_BYTES)
            except (ValueError, OSError) as problem:
                raise _unreadable(path, problem) from problem
            separator = max(SEPARATORS, key=header.count)
            columns = next(_csv_rows(path, io.StringIO(header), separator), [])
            if not any(columns):
                raise RowsError(f"{path} has no header: the first line must name the columns")
            if len(set(columns)) < len(columns):
                raise RowsError(f"{path} names a column twice: {_first_duplicate(columns)!r}")
            seen = list(islice(_csv_rows(path, file, separator), SEEN_FOR_TYPES))
        types = tuple(
            _type_of([row[place] for row in seen if place < len(row)]) for place in range(len(columns))
        )
        return cls(tuple(columns), path, types=types, separator=separator)

    def with_texts(self, names: Sequence[str]) -> RowSource:
        """Return the source with the columns *names* as text, whatever their values look like."""
        if self.path is None or not self.types:
            return self
        types = tuple(
            "text" if name in names else type_ for name, type_ in zip(self.columns, self.types, strict=True)
        )
        return RowSource(self.columns, self.path, types=types, separator=self.separator)

    def batches(self, size: int = BATCH) -> Iterator[Batch]:
        """Yield the rows in batches of *size*.

        Raises:
            RowsError: the file cannot be read, or a line is invalid.
        """
        if self.path is None:
            for start in range(0, len(self.rows), size):
                yield Batch(start, self.columns, self.rows[start : start + size])
        elif self.columns:
            yield from self._batches_of_table(self.path, size)
        else:
            yield from _requests(self.path)

    def _batches_of_table(self, path: Path, size: int) -> Iterator[Batch]:
        start = 0
        with _opened(path) as file:
            rows = _csv_rows(path, file, self.separator)
            next(rows)
            while texts := list(islice(rows, size)):
                yield Batch(start, self.columns, self._values(texts))
                start += len(texts)

    def _values(self, lines: Sequence[Sequence[str]]) -> list[list[Any]]:
        for texts in lines:
            if len(texts) != len(self.columns):
                raise RowsError(
                    f"{self.path} has a line with {len(texts)} values for {len(self.columns)} columns: "
                    f"{self.separator.join(texts)[:80]!r}"
                )
        texts_by_column = zip(*lines, strict=True)
        columns = map(_column, texts_by_column, self.types)
        return list(map(list, zip(*columns, strict=True)))


def _opened(path: Path) -> io.TextIOWrapper:
    try:
        return io.TextIOWrapper(
            open_regular(path, max_bytes=MAX_TABLE_BYTES), encoding="utf-8-sig", errors="strict", newline=""
        )
    except (OSError, ValueError) as problem:
        raise _unreadable(path, problem) from problem


def _unreadable(path: Path, problem: Exception, where: str = "") -> RowsError:
    reason: object = problem
    if isinstance(problem, UnicodeDecodeError):
        reason = "it is not text in UTF-8"
    elif isinstance(problem, OSError):
        reason = problem.strerror
    return RowsError(f"cannot read rows from {path}{where}: {reason}")


def _csv_rows(path: Path, file: io.TextIOBase, separator: str) -> Iterator[list[str]]:
    reader = csv.reader(file, delimiter=separator)
    try:
        for row in reader:
            if row:
                yield row
    except (csv.Error, ValueError, OSError) as problem:
        raise _unreadable(path, problem, f" after line {reader.line_num}") from problem


def _first_duplicate(names: Sequence[str]) -> str:
    return next(name for index, name in enumerate(names) if name in names[:index])


def _type_of(texts: Sequence[str]) -> str:
    """Return what the texts of a column stand for: ``switch``, ``integer``, ``number`` or ``text``."""
    given = [text for text in texts if text]
    if given and all(text.lower() in SWITCHES for text in given):
        return "switch"
    has_leading_zero = any(len(text) > 1 and text[0] == "0" and text.isdigit() for text in given)
    for type_ in ("integer", "number"):
        if given and not has_leading_zero and not any(isinstance(_value(text, type_), str) for text in given):
            return type_
    return "text"


def _column(texts: Sequence[str], type_: str) -> Sequence[Any]:
    """Return the values of the texts of a column; see `_value`."""
    if all(texts) and not any("_" in text for text in texts):  # the usual column, fast
        if type_ == "text":
            return texts
        with suppress(ValueError):
            if type_ == "integer":
                return list(map(int, texts))
            if type_ == "number":
                return [int(text) if text.lstrip("+-").isdecimal() else float(text) for text in texts]
    return [_value(text, type_) for text in texts]


def _value(text: str, type_: str) -> Any:
    """Return the value of a text of a column; the text itself if it is not of the column's type."""
    if not text:
        return None
    if type_ == "switch":
        return SWITCHES.get(text.lower(), text)
    if type_ == "text" or "_" in text:
        return text
    try:
        number = float(text)
        return int(text) if type_ == "integer" or text.lstrip("+-").isdecimal() else number
    except ValueError:
        return text


def _requests(path: Path) -> Iterator[Batch]:
    """Yield one batch for each line, which is the JSON body of a request."""
    start = 0
    with _opened(path) as file:
        number = 0
        while True:
            number += 1
            try:
                line = file.readline(MAX_LINE_BYTES)
                if not line:
                    return
                body = json.loads(line) if line.strip() else None
                check_depth(body)
            except (ValueError, RecursionError, OSError) as problem:
                raise RowsError(f"{path}, line {number} is not a JSON request body: {problem}") from problem
            if body is None:
                continue
            columns, rows = rows_of(body)
            yield Batch(start, columns, rows, body)
            start += len(rows)


def rows_of(body: Any) -> tuple[list[str], list[list[Any]]]:
    """Return the rows in the body of a request, with the names of their columns.

    Rows are a list of objects, a list of lists, or an object of lists of the same length; a body without
    them is one row.
    """
    found = _rows_in(body, MAX_NESTING)
    if found is not None:
        return found
    leaves = dict(_leaves(body, "", MAX_NESTING))
    return list(leaves), [list(leaves.values())]


def _rows_in(value: Any, depth: int) -> tuple[list[str], list[list[Any]]] | None:
    if isinstance(value, list) and value:
        if all(isinstance(row, dict) for row in value):
            records = [dict(_leaves(row, "", MAX_NESTING)) for row in value]
            columns = list(dict.fromkeys(name for record in records for name in record))
            return columns, [[record.get(name) for name in columns] for record in records]
        if all(isinstance(row, list) and len(row) == len(value[0]) for row in value):
            return [f"column {position}" for position in range(len(value[0]))], value
    if not isinstance(value, dict) or not depth:
        return None
    for inner in value.values():
        if isinstance(inner, (list, dict)) and (found := _rows_in(inner, depth - 1)) is not None:
            names = value.get("columns")
            has_names = isinstance(names, list) and len(names) == len(found[0])
            return (
                (list(map(str, names or ())), found[1])
                if has_names and found[0][:1] == ["column 0"]
                else found
            )
    lists = list(value.values())
    if lists and all(isinstance(column, list) and len(column) == len(lists[0]) > 0 for column in lists):
        plain = not any(isinstance(item, (list, dict)) for column in lists for item in column)
        if plain and len(lists) > 1:
            return list(value), [list(row) for row in zip(*lists, strict=True)]
    return None


def _leaves(value: Any, path: str, depth: int) -> Iterator[tuple[str, Any]]:
    """Yield the plain values in an object, by their dotted paths."""
    if isinstance(value, Mapping) and depth:
        for name, inner in value.items():
            yield from _leaves(inner, f"{path}.{name}" if path else str(name), depth - 1)
    elif not isinstance(value, (list, Mapping)):
        yield path, value
