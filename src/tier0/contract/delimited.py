"""Rows as CSV without a header, as containers for SageMaker take and return them."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from typing import Any

CONTENT_TYPE = "text/csv"


def write_rows(rows: Sequence[Sequence[Any]]) -> str:
    """Return rows as lines of CSV; a missing value is empty, and true and false are written as in JSON."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    for row in rows:
        writer.writerow([json.dumps(value) if isinstance(value, bool) else value for value in row])
    return text.getvalue().removesuffix("\n")


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
