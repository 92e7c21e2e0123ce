"""Rows as CSV without a header, as containers for SageMaker take and return them, or in a form's file."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

CONTENT_TYPE = "text/csv"
MISSING = "nan"
"""A missing number, as `float`, `numpy.loadtxt` and pandas read it; only pandas reads an empty cell."""
BOUNDARY = "tier0-rows-of-a-form"
FILE_CONTENT_TYPE = f"multipart/form-data; boundary={BOUNDARY}"


def write_rows(rows: Sequence[Sequence[Any]], missing: str = MISSING) -> str:
    """Return rows as lines of CSV, with true and false as in JSON.

    Args:
        rows: rows as lists of values.
        missing: text of a missing number. A missing text is always an empty cell.
    """
    with_texts = {position for row in rows for position, value in enumerate(row) if isinstance(value, str)}
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    for row in rows:
        writer.writerow(
            [_cell(value, "" if position in with_texts else missing) for position, value in enumerate(row)]
        )
    return text.getvalue().removesuffix("\n")


def _cell(value: Any, missing: str) -> Any:
    if value is None:
        return missing
    return json.dumps(value) if isinstance(value, bool) else value


def write_file(
    name: str, rows: Sequence[Sequence[Any]], fields: Mapping[str, Any], missing: str = MISSING
) -> str:
    """Return a form in which a file has the rows as lines of CSV.

    Args:
        name: name of the field with the file.
        rows: rows as lists of values.
        fields: further fields, with their values.
        missing: text of a missing number.
    """
    file = f'; filename="rows.csv"\r\nContent-Type: {CONTENT_TYPE}'
    values = {
        field: value if isinstance(value, str) else json.dumps(value) for field, value in fields.items()
    }
    parts = [
        (name, file, write_rows(rows, missing)),
        *((field, "", value) for field, value in values.items()),
    ]
    written = [
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{field}"{more}\r\n\r\n{text}\r\n'
        for field, more, text in parts
    ]
    return f"{''.join(written)}--{BOUNDARY}--\r\n"


def read_rows(text: str) -> Any:
    """Return the rows of CSV as lists, with numbers as numbers.

    Rows of one value are that value, and a single row is its values: one for each row of the request.
    """
    rows = [[_value(cell) for cell in row] for row in csv.reader(io.StringIO(text, newline="")) if row]
    if len(rows) == 1:
        return rows[0]
    return [row[0] if len(row) == 1 else row for row in rows]


def _value(cell: str) -> Any:
    for kind in (int, float):
        try:
            return kind(cell)
        except ValueError:
            continue
    return cell.strip()
