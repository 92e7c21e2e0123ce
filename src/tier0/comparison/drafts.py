"""Rows that are drafted from the description of a service, for a comparison without rows of the user's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tier0.comparison.asking import NotComparableError
from tier0.comparison.batches import RowSource
from tier0.contract.contract import Contract
from tier0.contract.service_schema import Described, example_for, row_properties

NUMBERS = (0, 1, -1, 2, 5, 10, 20, 35, 50, 65, 100, 1000)
DECIMALS = (0.5, 0.001, 2.75)
TEXTS = ("", "a", "unknown")
MAX_ROWS = 400


def drafted_rows(described: Described | None, contract: Contract) -> RowSource:
    """Return rows that vary one column at a time around the examples of the description.

    Raises:
        NotComparableError: the description does not name the columns.
    """
    properties = {} if described is None else row_properties(described.input, contract.features)
    if not properties:
        raise NotComparableError(
            "no rows to compare with, and the service does not describe its columns: pass --rows FILE or "
            "--golden FILE"
        )
    columns = list(properties)
    usual = list(example_for(properties).values())
    rows = [usual]
    for position, name in enumerate(columns):
        before, after = usual[:position], usual[position + 1 :]
        rows += [[*before, value, *after] for value in _values_of(properties[name])]
    return RowSource(tuple(columns), rows=rows[:MAX_ROWS])


def _values_of(part: Mapping[str, Any]) -> list[Any]:
    for key in ("enum", "examples"):
        if isinstance(part.get(key), list) and part[key]:
            return list(part[key])
    by_type: dict[str, list[Any]] = {
        "integer": list(NUMBERS),
        "number": [*NUMBERS, *DECIMALS],
        "boolean": [True, False],
        "string": list(TEXTS),
    }
    return by_type.get(str(part.get("type")), [None])
